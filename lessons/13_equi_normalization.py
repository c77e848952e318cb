r"""Equi-normalization: the smallest of many equal networks
=======================================================

Double everything that comes into a ReLU unit, halve what goes out of it, and the network still computes the same
function. So the same function has many sets of weights, and they are not equally good to train: SGD takes different
steps from each, and weight decay prefers some of them for reasons that have nothing to do with the data. Weight
normalization takes one such freedom, the length of a vector, and uses it. Equi-normalization takes another, the sizes
of the hidden units, and removes it: among all networks that are the same function it finds the smallest one.

Afterwards you can

- derive the factor for one unit, and say why repeating such steps leads to one network, whatever the start;
- predict how fast, from a random walk on the network: for $q$ layers, by a factor of $\cos^2(\pi/q)$ a cycle;
- say which units a shortcut ties together, and what happens if a tie is forgotten;
- train with it, rescaling the momentum as well, and say what it has in common with weight normalization.

Read first: lesson 03 (weight normalization), lesson 05 (norm growth); the abstract of Stock, Graham, Gribonval & Jégou
(2019), "Equi-normalization of Neural Networks", arXiv:1902.10416.

Claims checked:

- rescaled networks (dense, convolutional and residual) are the same function;
- no cycle increases the sum of squared weights, the limit is unique, and there incoming and outgoing norms are equal;
- the rate of convergence is that of a random walk, and the same argument holds for Sinkhorn and Knopp's algorithm;
- an identity shortcut ties units, a projection frees them; with the tie the function stays, without it it changes;
- a step of SGD changes the balance by the squared rate times a difference of squared gradients.

Time: quick about 30 s, full about 3 min.
"""

# %%
# Two networks, one function
# --------------------------
#
# A *ReLU* replaces negative numbers by 0, so $\mathrm{relu}(d\,t) = d\,\mathrm{relu}(t)$ for every $d > 0$. Write the
# weights between two layers as a matrix $W_k$, outputs × inputs. What comes into unit $i$ of hidden layer $k$ is row
# $i$ of $W_k$ and a bias; what goes out is column $i$ of $W_{k+1}$. Multiply what comes in by $d$, the bias included,
# and divide what goes out by $d$: the unit's output is $d$ times as large, and the units that read it get what they got
# before. We try random factors.

import itertools

import matplotlib.pyplot as plt
import numpy as np

import minigrad as mg
import wn
from lessons import COLOURS, Lesson
from lessons.resnet import ARMS, ResNet18, initialized
from minigrad import data, nn, optim
from minigrad.nn import functional as F
from wn.scales import read_scales

lesson = Lesson(__file__)
EPSILON, THEORY = float(np.finfo(float).eps), "0.3"
WIDTHS = (10, 20, 30, 20, 3)

# %%


def in_float64(model, rng):
    """The model in float64, with biases that are not 0."""
    for p in model.parameters():
        noise = 0.1 * rng.normal(size=p.shape) if p.ndim == 1 else 0.0
        p.data = p.numpy().astype(float) + noise
    return model


def dense(rng, *widths):
    """Linear layers of these widths with ReLUs between them."""
    layers = [nn.Linear(a, b, rng=rng) for a, b in itertools.pairwise(widths)]
    return in_float64(nn.Sequential(*[m for layer in layers for m in (layer, nn.ReLU())][:-1]), rng)


def rescaled(model, factors):
    """Multiply what comes into each hidden unit of a dense network by its factor, and divide what goes out."""
    layers = [layer for layer in model if isinstance(layer, nn.Linear)]
    for layer, following, d in zip(layers, layers[1:], factors, strict=False):
        layer.weight.data = layer.weight.data * d[:, None]
        layer.bias.data = layer.bias.data * d
        following.weight.data = following.weight.data / d
    return model


def total(model):
    """Σ‖W‖² over all weights."""
    return sum(float(np.sum(p.numpy().astype(float) ** 2)) for p in model.parameters() if p.ndim > 1)


# %%


def random_factors(widths, stream=1):
    """e^N(0, 1) for each hidden unit."""
    return [np.exp(lesson.rng(stream, k).normal(size=n)) for k, n in enumerate(widths[1:-1])]


rng = lesson.rng(0)
x = rng.normal(size=(200, 10))
first, second = (dense(lesson.rng(2), *WIDTHS) for _ in range(2))
rescaled(second, random_factors(WIDTHS))
y, other_y = first(x).numpy(), second(x).numpy()
difference = np.abs(other_y - y).max() / np.abs(y).max()
print(f"as initialized: y[0] = {y[0].round(4)}, Σ‖W‖² = {total(first):.1f}")
print(f"rescaled:       y[0] = {other_y[0].round(4)}, Σ‖W‖² = {total(second):.1f}; largest difference {difference:.0e}")

# %% Tolerance tags=["hide-input"]
# *Tolerance.* A factor rounds a number by $\varepsilon/2$, $\varepsilon = 2.2 \cdot 10^{-16}$ in float64, and sums of
# up to 30 products by a few $\varepsilon$ of their size. Four layers: some tens of $\varepsilon$, relative to the
# largest output. We allow a thousand $\varepsilon$ here and for all networks below; a forgotten factor changes the
# outputs by about their own size.

SAME = 1000 * EPSILON
lesson.claim("rescaled by random factors it is the same function: largest difference, relative to the largest output",
             difference, below=SAME)

# %%
# The smallest one
# ----------------
#
# Which factors minimize $\sum_k\|W_k\|^2$, the quantity that weight decay penalizes? Begin with one unit. Let $I$ be
# the norm of what comes in, without the bias, and $O$ that of what goes out. A factor makes them $d\,I$ and $O/d$. Take
# any $p$-norm ($p = 2$ is the Euclidean one), and multiply the incoming norm by a constant $c \ge 1$. Then
#
# $$(c\,d\,I)^p + (O/d)^p \quad\text{is smallest for}\quad c\,d\,I = O/d,
#   \quad\text{that is}\quad d = \sqrt{O/(c\,I)}.$$
#
# (The product of the two terms does not depend on $d$, and of two numbers with a given product the sum is smallest if
# they are equal.) With $c = 1$ incoming and outgoing norms become equal: hence the name. The authors also use
# $c = 1.1$ and $1.2$, so that the norms grow from layer to layer; over $q$ layers that makes
# $\sum_k c^{p(q-k)}\|W_k\|_p^p$ smallest.
#
# The step lowers the sum of the two terms $X$ and $Y$ to $2\sqrt{XY}$, that is, by $(\sqrt X - \sqrt Y)^2$: nothing is
# gained only if they are already equal. The units of a layer share no weights with each other, so a whole layer takes
# its steps at once. We try it on the second of four layers, whose units enter the sum over all layers as $c^p(X + Y)$.


def weighted_sum(weights, p, c):
    """Σ c^{p(q-k)} ‖W_k‖ₚᵖ over the matrices, k = 1 … q."""
    return sum(c ** (p * (len(weights) - k)) * np.sum(np.abs(w) ** p) for k, w in enumerate(weights, start=1))


def factors(incoming, outgoing, p, c):
    """d for each unit of a layer: the rows of one matrix, the columns of the next."""
    into = np.sum(np.abs(incoming) ** p, axis=1) ** (1 / p)
    out = np.sum(np.abs(outgoing) ** p, axis=0) ** (1 / p)
    return np.sqrt(out / (c * into)), into, out


fallen, predicted = [], []
for p, c in ((2, 1.0), (1, 1.0), (3, 1.0), (2, 1.2)):
    W = [layer.weight.numpy().copy() for layer in second if isinstance(layer, nn.Linear)]
    before = weighted_sum(W, p, c)
    d, into, out = factors(W[1], W[2], p, c)
    W[1], W[2] = W[1] * d[:, None], W[2] / d
    fallen.append(before - weighted_sum(W, p, c))
    predicted.append(c**p * np.sum(((c * into) ** (p / 2) - out ** (p / 2)) ** 2))
    print(f"p = {p}, c = {c}: the sum falls from {before:.1f} by {fallen[-1]:.2f}; "
          f"c^p Σ (√X - √Y)² = {predicted[-1]:.2f}")

# %% tags=["hide-input"]
# *Tolerance.* A difference of sums of two thousand numbers in float64; it is a hundredth of them or more.

lesson.claim("a step with d = √(O/(cI)) lowers the sum by c^p Σ ((cI)^(p/2) - O^(p/2))²: p = 1, 2, 3, c = 1, 1.2",
             fallen, predicted=predicted, rtol=1e-9)

# %%
# A cycle
# -------
#
# A step on the second layer unbalances the first and the third. A *cycle* goes through the hidden layers one after the
# other, front to back; then the next cycle begins. ``wn.EquiNormalizer`` does this for any network made of layers,
# ReLUs, pooling and sums. For a convolution $I$ is taken over a filter, and $O$ over everything that reads a channel;
# where pictures are flattened, all columns that come from a channel belong to it; a bias is multiplied by $d$ like the
# weights beside it. The normalizer takes one example, reads from the tape which weights meet at which unit
# (``wn/scales.py``), and can then be called repeatedly. We try three networks, the last of them the residual one of
# ``lessons/resnet.py``, with two maps in its first stage:


def convolutional(rng):
    """Two convolutions, max pooling between them, and two linear layers."""
    return in_float64(nn.Sequential(
        nn.Conv2d(3, 6, 3, padding=1, rng=rng), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(6, 8, 3, padding=1, rng=rng), nn.LeakyReLU(0.1), nn.Flatten(),
        nn.Linear(8 * 16, 20, rng=rng), nn.ReLU(), nn.Linear(20, 5, rng=rng)), rng)  # fmt: skip


def residual(rng, shortcut="projection", norm=None):
    return in_float64(ResNet18(10, 2, shortcut, norm, rng=rng), rng)


pictures = lesson.rng(3).normal(size=(4, 3, 8, 8))
networks = {
    "dense": (second, x),
    "convolutional": (convolutional(lesson.rng(4)), pictures),
    "residual": (residual(lesson.rng(5)), pictures),
}
CYCLES, largest_rise, changed, imbalance = 1000, 0.0, 0.0, 0.0
print(f"Σ‖W‖² after 0, 1, 2, 4, 8, 16 and {CYCLES} cycles:")
for name, (model, example) in networks.items():
    before, balance = model(example).numpy(), wn.EquiNormalizer(model, example)
    sums = [balance.total()]
    for _ in range(CYCLES):
        balance()
        sums.append(balance.total())
    after, (incoming, outgoing) = model(example).numpy(), balance.norms()
    largest_rise = max(largest_rise, np.max(np.diff(sums) / sums[0]))
    changed = max(changed, np.abs(after - before).max() / np.abs(before).max())
    imbalance = max(imbalance, np.abs(np.log(incoming / outgoing)).max())
    shown = "  ".join(f"{sums[m]:.3f}" for m in (0, 1, 2, 4, 8, 16, CYCLES))
    print(f"{name:13}  {shown}")

# %% tags=["hide-input"]
# *Tolerances.* Each cycle rounds each weight, in up to 20 layers, and a thousand of these errors add up like a random
# walk, to thirty times a single one. A sum that has converged goes up and down by a few $\varepsilon$. How far apart
# the norms are after a thousand cycles follows from the rate of convergence below: a factor of less than 0.96 a cycle
# leaves nothing but rounding. We allow $10^{-9}$.

lesson.claim("a thousand cycles leave the function: largest difference, dense, convolutional and residual network",
             changed, below=30 * SAME)
lesson.claim("no cycle increases Σ‖W‖², but for rounding: largest rise, relative to the first sum", largest_rise,
             below=100 * EPSILON)
lesson.claim("at the end incoming and outgoing norms are equal: largest |ln(I/O)| of all hidden units", imbalance,
             below=1e-9)

# %%
# Only one minimum
# ----------------
#
# Is that the smallest network, or only one where no single step helps? Write the factor of unit $u$ as $e^{s_u}$, and
# let $a_{uv}$ be $\sum|W|^p$ over all weights that lead from unit $v$ to unit $u$. Input and output are units as well,
# with $s$ fixed at 0. In the log-scales $s$, we minimize a sum of exponentials of linear functions,
#
# $$f(s) = \sum_{u,v} a_{uv}\,e^{p\,(s_u - s_v)},$$
#
# which is convex. It is strictly convex along any direction that changes some difference $s_u - s_v$ with $a_{uv} > 0$.
# Suppose that every hidden unit lies on a path of nonzero weights from the input to the output. Then every direction
# changes some difference, and makes some difference grow: $s$ is 0 at both ends of a path, so if it changes along the
# path it must rise somewhere. Hence $f$ is strictly convex and grows without bound in all directions. It has exactly
# one minimum, and no other stationary point: every start and every order of the updates leads there.
#
# The list of the $a_{uv}$ is all that a cycle needs to know. Here is the algorithm again, on that list, one unit at a
# time, independent of the library except for reading the tape.


def graph(model, example, p=2):
    """a[u, v] of a network (units, units); unit 0 is the input and the output."""
    scales = read_scales(model, example)
    a = np.zeros((scales.count, scales.count))
    for weight in scales.weights:
        power = np.abs(weight.parameter.numpy()) ** p
        power = power.reshape(*power.shape[:2], -1).sum(axis=2)
        np.add.at(a, (weight.outputs[:, None], weight.inputs), power)
    return a


def cycles(a, order, count, p=2):
    """a after so many cycles through the units in this order, and the log-scales after each cycle (count, units)."""
    a, s, found = a.copy(), np.zeros(len(a)), []
    for _ in range(count):
        for u in order:
            step = 0.5 * np.log(a[:, u].sum() / a[u].sum())  # ln dᵖ = ½ ln(Oᵖ/Iᵖ)
            a[u] *= np.exp(step)
            a[:, u] /= np.exp(step)
            s[u] += step / p
        found.append(s.copy())
    return a, np.array(found)


# %%

apart = 0.0
for name, (model, example) in networks.items():
    end = graph(model, example)  # where wn.EquiNormalizer has left it
    for _ in range(2):
        s = np.append(0.0, rng.normal(size=len(end) - 1))
        start = end * np.exp(2 * (s[:, None] - s))
        found, _ = cycles(start, 1 + rng.permutation(len(end) - 1), CYCLES)
        apart = max(apart, np.abs(found - end).max() / end.max())
        print(f"{name:13}: Σ‖W‖² {start.sum():.1f} at a random start, {found.sum():.6f} at the end; "
              f"the library's: {end.sum():.6f}")

# %% tags=["hide-input"]
# *Tolerance.* With a factor below 0.96 a cycle, a thousand cycles leave nothing but rounding, and later cycles correct
# that as they do any other error. We allow $10^{-9}$.

lesson.claim("six random starts, in random orders, end with the weights that wn.EquiNormalizer found: largest "
             "difference of an a, relative to the largest", apart, below=1e-9)

# %%
# How fast
# --------
#
# Near the minimum, $f$ is a quadratic function of the distance $e$ from it. Its Hessian is $p^2$ times
#
# $$H_{uu} = I_u^p + O_u^p, \qquad H_{uv} = -(a_{uv} + a_{vu}),$$
#
# the *Laplacian* of the network as a graph, with $a_{uv}$ and $a_{vu}$ as the strength of the edge between $u$ and $v$.
# To minimize over one $s_u$ is to solve row $u$ of $He = 0$ for $e_u$, with the latest values of the others: a cycle is
# one sweep of the Gauss–Seidel method. With $M$ the lower triangle of $H$, diagonal included, in the order of the
# updates, $e \leftarrow (1 - M^{-1}H)\,e$, and in the long run the error shrinks by the largest absolute eigenvalue of
# that matrix in each cycle.
#
# For a chain of layers this eigenvalue can be found without a computer. Row $u$ of $He = 0$ makes $e_u$ a weighted mean
# of its neighbours: the expectation of $e$ after one step of a *random walk*, which goes from $u$ to a neighbour with a
# probability proportional to the strength of the edge, and ends at the input or the output. At the minimum $I_u = O_u$.
# So a walker goes to the layer before with probability 1/2, and to the layer after with probability 1/2, whatever the
# weights. Its layer is a walk on the numbers 0 to $q$, and $h_k = \sin(\pi k/q)$ has
# $\tfrac12(h_{k-1} + h_{k+1}) = \cos(\pi/q)\,h_k$. Updating all units *at once* would therefore multiply this error by
# $\cos(\pi/q)$, and since it is positive everywhere, no other decays more slowly (Perron and Frobenius). Updating them
# one after the other along a chain gives the square of that factor (Young 1954):
#
# $$\text{error after a cycle} = \cos^2(\pi/q) \cdot \text{error before},$$
#
# whatever the widths, the weights, $p$ and $c$.
#
# One hidden layer ($q = 2$) needs one cycle; with three layers of weights the error falls to a quarter each time; and
# for deep networks $\cos^2(\pi/q) \approx e^{-\pi^2/q^2}$: some $q^2/10$ cycles for a factor of $e$.


def predicted_rate(a, order):
    """The spectral radius of a cycle: a[u, v] at its limit, units in the order of their updates."""
    H = np.diag(a.sum(axis=0) + a.sum(axis=1)) - a - a.T
    H = H[np.ix_(order, order)]
    return np.abs(np.linalg.eigvals(np.eye(len(H)) - np.linalg.solve(np.tril(H), H))).max()


def errors(a, order, count, p=2):
    """The largest |error| of a log-scale after each cycle, and a at the limit."""
    end, s = cycles(a, order, count + 600, p)
    return np.abs(s - s[-1]).max(axis=1)[:count], end


def measured_rate(error, largest=1e-3, smallest=1e-9):
    """The factor by which the error falls in a cycle, between two sizes."""
    late = np.flatnonzero((error < largest) & (error > smallest))
    return (error[late[-1]] / error[late[0]]) ** (1 / (late[-1] - late[0]))

# %%

decays, predicted_decays, curves = [], [], {}
for q in (3, 4, 6, 10):
    widths = (10, *[12] * (q - 1), 5)
    model = rescaled(dense(lesson.rng(6, q), *widths), random_factors(widths))
    for p, c in ((2, 1.0), (1, 1.2)):
        a = graph(model, np.ones((2, 10)), p)
        depth = np.append(0, 1 + np.arange(len(a) - 1) // 12)  # of each unit; what leads to the output is number q
        number = np.where(depth[:, None] == 0, q, depth[:, None])
        error, _ = errors(a * c ** (p * (q - number)), range(1, len(a)), 250, p)
        decays.append(-np.log(measured_rate(error)))
        predicted_decays.append(-2 * np.log(np.cos(np.pi / q)))
        curves[f"{q} layers" + ("" if p == 2 else f", p = {p}, c = {c}")] = error, np.cos(np.pi / q) ** 2
        print(f"q = {q:2}, p = {p}, c = {c}: error times {np.exp(-decays[-1]):.4f} a cycle; "
              f"cos²(π/q) = {np.exp(-predicted_decays[-1]):.4f}")

# %%
# The convolutional network above is a chain of four, with factor 1/2, as long as its layers come in order. For other
# orders and other graphs there is no such formula, but the Laplacian still gives the rate. In the residual network the
# second convolution of a block and its projection write into the same sum, so their units are one; a walker may take
# the projection and skip the block.

graph_decays, predicted_graph_decays = [], []
for name in ("convolutional", "residual"):
    a = graph(*networks[name])
    s = np.append(0.0, rng.normal(size=len(a) - 1))
    for way, order in (("in order", np.arange(1, len(a))), ("shuffled", 1 + rng.permutation(len(a) - 1))):
        error, end = errors(a * np.exp(2 * (s[:, None] - s)), order, CYCLES)
        graph_decays.append(-np.log(measured_rate(error)))
        predicted_graph_decays.append(-np.log(predicted_rate(end, order)))
        print(f"{name:13}, units {way}: error times {np.exp(-graph_decays[-1]):.4f} a cycle; "
              f"the Laplacian says {np.exp(-predicted_graph_decays[-1]):.4f}")
        curves.setdefault(name, (error, np.exp(-predicted_graph_decays[-1])))

# %% tags=["hide-input"]
# *Tolerance.* The rate is measured between errors of $10^{-3}$ and $10^{-9}$. The quadratic function leaves out a
# thousandth of the error at first. The next eigenvalue's share decays faster (for ten layers by 0.65, where the first
# has 0.90) and matters for a few of some hundred cycles. We allow 1 % of the logarithm; with $\cos(\pi/q)$ in place of
# its square it would be off by half.

lesson.claim("rate of convergence of a chain of q layers: -ln of it = -2 ln cos(π/q), q = 3, 4, 6, 10, two p and c",
             decays, predicted=predicted_decays, rtol=0.01)
lesson.claim("the same for a convolutional and a residual network, in two orders: -ln of the Gauss–Seidel radius",
             graph_decays, predicted=predicted_graph_decays, rtol=0.01)

# %% Drawing tags=["hide-input"]

figure, axes = plt.subplots(figsize=(7, 3.8))
shades = plt.colormaps["viridis"](np.linspace(0, 0.85, len(curves)))
for (name, (error, rate)), shade in zip(curves.items(), shades, strict=True):
    if "p = 1" not in name:
        m = np.arange(1, len(error) + 1)
        axes.semilogy(m, error, "o", ms=3, color=shade, markevery=max(1, len(error) // 60), label=name)
        anchor = np.argmin(np.abs(np.log(error + 1e-300) - np.log(1e-5)))
        axes.semilogy(m, error[anchor] * rate ** (m - m[anchor]), "-", color=THEORY, lw=1)
axes.set(xlabel="cycle", ylabel="largest error of a log-scale", ylim=(1e-11, 10), xlim=(0, 250),
         title="Dots: measured; lines: the predicted slope")
axes.legend(fontsize=9)
lesson.figure(figure, "convergence", note="random weights", alt="Error of the log-scales against the number of cycles, "
              "on a logarithmic axis: dots for chains of 3, 4, 6 and 10 layers and for a convolutional and a residual "
              "network, on straight lines with the predicted slopes, the steeper the shallower the network.")

# %%
# *Sinkhorn and Knopp.* The authors were inspired by an algorithm for a single matrix $A$ of positive numbers: divide
# each row by its sum, then each column by its sum, and so on. It ends with a matrix $e^{r_i} A_{ij}\,e^{c_j}$ all of
# whose rows and columns add up to 1. In $r$ and $c$ this again minimizes, one coordinate after the other, a sum of
# exponentials and a linear function, $\sum_{ij} A_{ij}\,e^{r_i + c_j} - \sum_i r_i - \sum_j c_j$. So the same argument
# gives its rate. The graph has two layers, rows and columns, and no end where a walker stops. Two steps of the walk are
# $P P^\top$, with $P$ the limit. Its largest eigenvalue, 1, belongs to a constant added to all $r_i$ and subtracted
# from all $c_j$, which changes nothing; the next one is the square of the second singular value of $P$ (Knight 2008).

A = np.exp(rng.normal(size=(6, 6)))
rows = []
for _ in range(60):
    A = A / A.sum(axis=1, keepdims=True)
    A = A / A.sum(axis=0)
    rows.append(np.abs(A.sum(axis=1) - 1).max())
second_singular_value = np.linalg.svd(A)[1][1]
sinkhorn = measured_rate(np.array(rows))
print(f"Sinkhorn and Knopp: error times {sinkhorn:.4f} a cycle; "
      f"second singular value squared {second_singular_value**2:.4f}")

# %% tags=["hide-input"]
# *Tolerance.* As above, but convergence is faster, so fewer cycles are left to measure its rate: 5 %.

lesson.claim("Sinkhorn and Knopp's algorithm: -ln of its rate = -2 ln of the limit's second singular value",
             -np.log(sinkhorn), predicted=-2 * np.log(second_singular_value), rtol=0.05)

# %%
# Shortcuts
# ---------
#
# If two layers write into one sum, both must be multiplied by the same factor, or the sum changes. In a block with an
# *identity shortcut*, $\mathrm{relu}(\mathrm{conv}(\mathrm{relu}(\mathrm{conv}(x))) + x)$, one of the summands is the
# input itself. So the block's output has the factors of its input, and so has the next block's: all units along the
# shortcuts are *tied*, with one factor for each map from the first block to the last. With a *projection*, a 1 × 1
# convolution in place of the identity, a block's output has factors of its own. The authors use projections throughout.
#
# How many factors are free? ResNet-18 has four stages of two blocks with $m$, $2m$, $4m$ and $8m$ maps. Inside the
# blocks there are $2\,(m + 2m + 4m + 8m) = 30m$ factors either way. Projections add $30m$ for the blocks' outputs and
# $m$ for the stem's, $61m$ in all. With identity shortcuts, widened by maps of zeros, the outputs of all blocks share
# $8m$ factors, which makes $38m$ in all.

freedom = []
for m in (2, 4):
    for shortcut in ("projection", "identity"):
        model = ResNet18(10, m, shortcut, rng=rng)
        freedom.append(read_scales(model, pictures.astype(np.float32)).count - 1)
        print(f"{shortcut} shortcuts, m = {m}: {freedom[-1]} factors can be chosen")

# %%
# What if a tie is forgotten? Take a dense network with one block: the stem and the block's second layer write into the
# sum, and the block's first layer and the last one read it. All four must be rescaled, or the function changes.


class OneBlock(nn.Module):
    """last(relu(second(relu(first(h))) + h)) with h = relu(stem(x))."""

    def __init__(self, rng):
        super().__init__()
        self.stem, self.last = nn.Linear(10, 8, rng=rng), nn.Linear(8, 3, rng=rng)
        self.first, self.second = nn.Linear(8, 6, rng=rng), nn.Linear(6, 8, rng=rng)

    def forward(self, x):
        h = mg.relu(self.stem(x))
        return self.last(mg.relu(self.second(mg.relu(self.first(h))) + h))


def difference_after(writing, reading):
    """How much the outputs change if these layers are rescaled, relative to the largest output."""
    model = in_float64(OneBlock(lesson.rng(7)), lesson.rng(8))
    before, d = model(x).numpy(), np.exp(0.3 * lesson.rng(9).normal(size=8))
    for layer in (getattr(model, name) for name in writing):
        layer.weight.data, layer.bias.data = layer.weight.data * d[:, None], layer.bias.data * d
    for layer in (getattr(model, name) for name in reading):
        layer.weight.data = layer.weight.data / d
    return np.abs(model(x).numpy() - before).max() / np.abs(before).max()


tied, untied = difference_after(["stem", "second"], ["first", "last"]), difference_after(["second"], ["last"])
print(f"outputs change by {tied:.0e} with the tie, by {untied:.2f} without it")

# %% tags=["hide-input"]
# *Tolerance.* Factors are counted, so they agree exactly. With the tie the outputs change by rounding, as above;
# without it they change by something like the factors, $e^{\pm 0.3}$. We ask for a per cent at least.

lesson.claim("free factors of ResNet-18: 61m with projections, 38m with identity shortcuts, m = 2 and 4", freedom,
             predicted=[61 * 2, 38 * 2, 61 * 4, 38 * 4], rtol=0.0)
lesson.claim("with the tie of the identity the function stays: largest difference, relative to the largest output",
             tied, below=SAME)
lesson.claim("without the tie of the identity the function changes: largest difference of an output", untied,
             above=0.01)

# %%
# What refuses, what absorbs
# --------------------------
#
# Which nonlinearities let a factor pass? If $\phi(d\,t) = d\,\phi(t)$ for all $d > 0$, then $\phi(1)$ and $\phi(-1)$
# determine all values: two straight lines that meet at the origin, as in ReLU, leaky ReLU and $|t|$, and nothing else.
# Taking the maximum, adding up and averaging let a factor pass as well, so pooling does. $\tanh$ does not, nor do
# normalizations of a layer's outputs, and a weight that is itself computed, $g\,v/\|v\|$, cannot be rescaled directly.
# ``EquiNormalizer`` refuses them, and names the layer.


class Tanh(nn.Module):
    def forward(self, t):
        return mg.tanh(t)


refused, between = [], {"tanh": Tanh(), "ELU": nn.ELU(), "layer norm": nn.LayerNorm(8), "weight norm": nn.ReLU()}
for name, layer in between.items():
    model = nn.Sequential(nn.Linear(10, 8, rng=rng), layer, nn.Linear(8, 3, rng=rng))
    model = wn.apply_weight_norm(model) if name == "weight norm" else model
    try:
        wn.EquiNormalizer(model, x.astype(np.float32))
    except ValueError as error:
        refused.append(name)
        print(f"{name:12}: {str(error)[:80]} …")

lesson.claim("what does not let a factor pass is refused: how many of tanh, ELU, layer norm and weight norm",
             len(refused), near=4, within=0)

# %%
# Batch normalization divides by the standard deviation of its input. The length of a row before it does not matter,
# just as the length of $v$ does not in weight normalization, and there is nothing to balance. The unit's size is set by
# the scale $g$ after the division, so $g$ counts as the weight that comes in; $g$ and $b$ are rescaled, and the layer
# before keeps its rows.

model = residual(lesson.rng(10), norm="batch")
trained, evaluated = model.train()(pictures).numpy(), model.eval()(pictures).numpy()
rows, balance = model.stem[0].weight.numpy().copy(), wn.EquiNormalizer(model, pictures)
sum_before, _ = balance.total(), balance(100)
absorbed = [np.abs(mode()(pictures).numpy() - before).max() / np.abs(before).max()
            for mode, before in ((model.eval, evaluated), (model.train, trained))]
print(f"with batch norm the sum falls from {sum_before:.2f} to {balance.total():.2f}, outputs change by "
      f"{max(absorbed):.0e}, the stem's rows by {np.abs(model.stem[0].weight.numpy() - rows).max():.0e}")

# %% tags=["hide-input"]
# *Tolerance.* In evaluation each of twenty layers divides by the root of a running average, which may be small, and so
# enlarges rounding errors. For a hundred cycles we allow what we allowed for a thousand above.

lesson.claim("batch norm absorbs the scale: largest change of an output, in training and in evaluation",
             max(absorbed), below=30 * SAME)

# %%
# Right angles, again
# -------------------
#
# What has this to do with weight normalization? In lesson 05 the loss did not change along $v$, so the gradient was at
# a right angle to $v$. Here the loss does not change if what comes in grows by a factor $e^s$ and what goes out shrinks
# by it. The derivative at $s = 0$ says
#
# $$\langle \nabla_{\text{in}}, w_{\text{in}}\rangle = \langle \nabla_{\text{out}}, w_{\text{out}}\rangle,$$
#
# for each hidden unit, where what comes in includes the bias. A step of SGD at the learning rate $\eta$ adds
# $-2\eta\langle\nabla, w\rangle + \eta^2\|\nabla\|^2$ to a squared norm. In the difference of two such squares the
# first terms cancel:
#
# $$\Delta\bigl(\|w_{\text{in}}\|^2 - \|w_{\text{out}}\|^2\bigr) =
#   \eta^2\bigl(\|\nabla_{\text{in}}\|^2 - \|\nabla_{\text{out}}\|^2\bigr).$$
#
# With infinitely small steps the difference stays the same for ever (Du, Hu & Lee 2018, arXiv:1806.00900). A finite
# step changes it by a term of second order, just as a finite step lengthens $v$ by a term of second order. The two
# methods do opposite things with a direction in which the loss does not change. Weight normalization creates one, lets
# noise carry $v$ along it, and so sets its own learning rate. Equi-normalization finds one that is already there, and
# undoes, after each step, what the step did along it.

teacher, model = dense(lesson.rng(11), 10, 20, 3), dense(lesson.rng(12), *WIDTHS)
labels = teacher(x).numpy().argmax(axis=1)


def gradients(model, rows):
    """Of the loss for these examples: weight and bias of each layer in turn."""
    return [g.numpy() for g in mg.grad(F.cross_entropy(model(mg.tensor(x[rows])), labels[rows]), model.parameters())]


def imbalance_of(arrays):
    """‖in‖² - ‖out‖² of each hidden unit, of parameters or of their gradients."""
    triples = zip(arrays[::2], arrays[1::2], arrays[2::2], strict=False)
    return np.concatenate([np.sum(w**2, axis=1) + b**2 - np.sum(following**2, axis=0) for w, b, following in triples])


eta, second_order = 0.5, 0.0
at_first = imbalance_of([p.numpy() for p in model.parameters()])
for t in range(20):
    step = gradients(model, slice(10 * t, 10 * t + 10))
    second_order = second_order + eta**2 * imbalance_of(step)
    for parameter, gradient in zip(model.parameters(), step, strict=True):
        parameter.data = parameter.numpy() - eta * gradient
gained = imbalance_of([p.numpy() for p in model.parameters()]) - at_first
for unit in (0, 20, 50):
    print(f"unit {unit:2}: ‖in‖² - ‖out‖² was {at_first[unit]:+.3f}, changes by {gained[unit]:+.5f}; "
          f"η² Σ(‖∇in‖² - ‖∇out‖²) = {second_order[unit]:+.5f}")

# %% tags=["hide-input"]
# *Tolerance.* Squares of size 1 to 10 in float64, over twenty steps: rounding of $10^{-14}$ or so.

lesson.claim("a step changes ‖in‖² - ‖out‖² by η²(‖∇in‖² - ‖∇out‖²): sum over 20 steps, all 70 hidden units", gained,
             predicted=second_order, rtol=1e-9, atol=1e-12)

# %%
# Momentum
# --------
#
# For training, the authors make one cycle after each step. A cycle is a jump to other weights: $w$ becomes $d\,w$,
# where the function is the same and the gradient is $\nabla/d$. The momentum buffer is a sum of old gradients. What
# would it be if the network had been rescaled from the beginning? The same sum, divided by $d$. So where weights are
# multiplied by $d$, their momentum is divided by $d$. (Adam's average of squares is divided by $d^2$.)
#
# A network like that of the first cells, out of balance by random factors, collects ten gradients without moving, at
# the learning rate 0. Then it is balanced, and its buffer is compared with one that the balanced network collects.


def collecting(model, optimizer):
    """Ten minibatches' gradients into the momentum buffers."""
    for t in range(10):
        for parameter, gradient in zip(model.parameters(), gradients(model, slice(20 * t, 20 * t + 20)), strict=True):
            parameter.grad = mg.tensor(gradient)
        optimizer.step()
    return buffers(optimizer)


def buffers(optimizer):
    return np.concatenate([state["momentum"].ravel() for state in optimizer.state])


def momentum(model, rate=0.0):
    return optim.SGD(model.parameters(), lr=rate, momentum=0.9)


model = rescaled(dense(lesson.rng(12), *WIDTHS), random_factors(WIDTHS))
optimizer = momentum(model)
forgotten = collecting(model, optimizer)
wn.equi_normalize(model, optimizer=optimizer)
along, wanted = buffers(optimizer), collecting(model, momentum(model))
off = np.linalg.norm(forgotten - wanted) / np.linalg.norm(wanted)
print(f"the buffer scaled along is off by {np.linalg.norm(along - wanted) / np.linalg.norm(wanted):.0e}, "
      f"the forgotten one by {off:.2f} of its length")

# %%
# Does training suffer if the buffer is forgotten? We train thirty steps out of balance, balance completely, the worst
# case, and train thirty more.


def losses(forget, rate):
    model, found = rescaled(dense(lesson.rng(12), *WIDTHS), random_factors(WIDTHS)), []
    optimizer = momentum(model, rate)
    for t in range(60):
        if t == 30:
            wn.equi_normalize(model, optimizer=None if forget else optimizer)
        with mg.no_grad():
            found.append(F.cross_entropy(model(mg.tensor(x)), labels).item())
        rows = slice(20 * (t % 10), 20 * (t % 10) + 20)
        for parameter, gradient in zip(model.parameters(), gradients(model, rows), strict=True):
            parameter.grad = mg.tensor(gradient)
        optimizer.step()
    return found


print("loss every 5 steps, momentum scaled along or forgotten:")
for rate in (0.003, 0.03):
    for name, forget in (("scaled along", False), ("forgotten", True)):
        shown = " ".join(f"{loss:.3f}" for loss in losses(forget, rate)[::5])
        print(f"η = {rate:5}, {name:12}: {shown}")

# %% tags=["hide-input"]
# *Tolerance.* The balanced network's gradients agree to rounding; we allow $10^{-9}$ of the largest. The control must
# be off by a tenth of its length at least; with factors of $e^{\pm 1}$ it is off by about its length.

lesson.claim("momentum scaled along is what a balanced network would have collected: all entries of the buffers", along,
             predicted=wanted, rtol=0.0, atol=1e-9 * np.abs(wanted).max())
lesson.claim("momentum forgotten is not: how far it is off, relative to its length", off, above=0.1)

# %%
# The losses differ by 0.002 at most: in ten steps the wrong memory has faded to $0.9^{10} = 0.35$, and in training the
# factors of a cycle are far closer to 1. Scaling the momentum along is right; forgetting it once does no harm here.
#
# Training
# --------
#
# Now we train ResNet-18 with four maps in its first stage, on a few pictures of 16 × 16, with momentum, in four ways.
# They begin as the same function, by data-dependent initialization (lesson 07). Without batch normalization, the usual
# weights, normal with variance 2/fan-in (He et al. 2015), would give logits in the dozens. *Plain* is SGD.
# *Equi-normalized* is balanced at the start, and makes one cycle after each step. *Balanced once* is balanced at the
# start only. *Weight norm* trains $v$, $g$ and $b$. All have the same learning rate, which does not mean the same to
# each, so this is no race; for one, see the chapter ``further/13_small_batches.py``.

SIDE, MAPS, EXAMPLES, STEPS = (32, 8, 2000, 600) if lesson.full else (16, 4, 400, 120)
if lesson.data == "cifar10":
    found = data.load_cifar10(download=lesson.flags.download)
else:
    found = data.synthetic_pictures(EXAMPLES, 10, lesson.seed)
few, few_labels = found.train_images[:EXAMPLES], found.train_labels[:EXAMPLES]
few = few.reshape(EXAMPLES, 3, SIDE, 32 // SIDE, SIDE, 32 // SIDE).mean(axis=(3, 5))
few = ((few - few.mean(axis=(0, 2, 3), keepdims=True)) / few.std(axis=(0, 2, 3), keepdims=True)).astype(np.float32)
note = f"{EXAMPLES} of the {found.description}, {SIDE} × {SIDE}"
print(note)

# %%


def train(arm, rate=0.003):
    """Loss, Σ‖W‖² before and after the cycle of each step, and the largest |ln(I/O)|; ‖v‖ (steps + 1, vectors)."""
    draw = lesson.rng(15)
    model = initialized("balanced once" if arm == "equi-normalized" else arm, 10, MAPS, draw, few[:200])
    optimizer, rows = momentum(model, rate), []
    tracker = wn.NormTracker(model, optimizer)
    balance = None if arm == "weight norm" else wn.EquiNormalizer(model, few[:2], optimizer=optimizer)
    for _ in range(STEPS):
        chosen = draw.integers(0, EXAMPLES, 20)
        loss = F.cross_entropy(model(mg.tensor(few[chosen])), few_labels[chosen])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        tracker.record()
        if balance:
            stepped = balance.total()
            if arm == "equi-normalized":
                balance()
            incoming, outgoing = balance.norms()
            rows.append((loss.item(), stepped, balance.total(), np.abs(np.log(incoming / outgoing)).max()))
        else:
            rows.append((loss.item(), np.nan, np.nan, np.nan))
    return np.array(rows).T, np.concatenate([tracker.history(layer, "norm") for layer in tracker.layers], axis=1)


# %%

runs = {arm: train(arm) for arm in ARMS[:4]}
for arm, ((loss, _, after, off_balance), v) in runs.items():
    growth = v[-1] / v[0]
    print(f"{arm:15}: loss {loss[:20].mean():.2f} → {loss[-20:].mean():.2f}, lengths of rows times {growth.min():.2f} "
          f"to {growth.max():.2f}")
    if arm != "weight norm":
        print(f"{'':17}Σ‖W‖² {after[0]:.1f} → {after[-1]:.1f}, largest |ln(I/O)| at the end {off_balance[-1]:.4f}")
_, stepped, after, _ = runs["equi-normalized"][0]
print(f"all {STEPS} cycles together took {np.sum(stepped - after):.4f} off a sum of {after[0]:.0f}")

# %% tags=["hide-input"]
# *Tolerances.* The sums are added up in float64, from weights in float32, which a cycle rounds: $10^{-7}$ of the sum if
# all errors agreed, and there are thousands that do not. For ‖v‖ we allow the rounding of float32 over a hundred steps,
# as in lesson 05. A step leaves the squares balanced up to the second order in $\eta$; momentum, whose old gradients
# are not quite at a right angle, and the bias, which the norms leave out, add to that. We expect a few per cent, and
# allow a tenth of what plain SGD has throughout.

lesson.claim("in training no cycle increases Σ‖W‖², but for rounding: largest rise, relative to the sum",
             np.max((after - stepped) / stepped), below=1e-7)
lesson.claim("balanced once, it stays balanced to first order: largest |ln(I/O)| in training, over that of plain SGD",
             runs["balanced once"][0][3].max() / runs["plain"][0][3].min(), below=0.1)
lesson.claim("under weight norm every ‖v‖ grows, but for rounding: smallest ‖v‖ at the end / at the start",
             (runs["weight norm"][1][-1] / runs["weight norm"][1][0]).min(), above=1 - 1e-5)

# %% Drawing tags=["hide-input"]

figure, axes = plt.subplots(1, 2, figsize=(8.6, 3.7))
arm_colours = dict(zip(ARMS, map(COLOURS.get, ("normal", "weight norm, log-scale", "WN + mean-only BN", "weight norm")),
                       strict=False))
for arm, ((*_, off_balance), v) in runs.items():
    if arm != "weight norm":
        axes[0].semilogy(np.arange(1, STEPS + 1), off_balance, color=arm_colours[arm], label=arm)
    if arm in ("equi-normalized", "weight norm"):
        growth = v / v[0]
        some = np.argsort(growth[-1])[:: max(1, growth.shape[1] // 40)]
        axes[1].plot(growth[:, some], color=arm_colours[arm], lw=0.7)
        axes[1].plot([], [], color=arm_colours[arm], label=arm)
axes[0].set(xlabel="step", ylabel="largest $|\\ln(I/O)|$ of all units", title="How far from balance")
axes[1].set(xlabel="step", ylabel="length, relative to the start", title="Lengths of rows: ‖w‖, or ‖v‖")
for ax, place in zip(axes, ((0.05, 0.62), "lower left"), strict=True):
    ax.legend(fontsize=9, loc=place)
lesson.figure(figure, "training", note=note, alt="Left: the largest logarithm of incoming over outgoing norm against "
              "the step, on a logarithmic axis: above 1 for plain SGD, a few hundredths for the network that was "
              "balanced once, below a thousandth with a cycle each step. Right: lengths of rows relative to the start: "
              "with weight norm all grow, with equi-normalization some grow and some shrink.")

# %%
# A cycle after each step has little left to do: the network was balanced before the step, and the step, at a right
# angle, hardly unbalances it. In the full run, 600 steps on CIFAR-10 (JPEG-compressed), all cycles together take 0.008
# off a sum of 1261, and both balanced networks end at a loss of 1.57, where plain SGD has 1.67 (one seed, one rate).
# The large difference is between a network that was balanced at least once and one that never was. The balanced one has
# different gradients, so the same learning rate means something else to it. Anyone who finds that equi-normalization
# improves training should also try balancing once and training as usual.
#
# What the paper says, and what we found
# --------------------------------------
#
# Quotations from the abstract of Stock et al. (2019); numbers from ``--quick --seed 0`` on synthetic pictures.
#
# - "Can be modified by a multiplicative factor [...] without changing the rest of the network": to $10^{-15}$, if
#   biases are rescaled too. (The authors' code leaves biases alone, and says that training is more stable this way.
#   Then the function changes a little with each cycle.)
# - "Provably converges to a unique solution": six starts and orders end with the same weights to $10^{-14}$.
# - "Fast": the error is multiplied by $\cos^2(\pi/q)$ in each cycle, so the number of cycles grows with the square of
#   the depth. In ResNet-18 with projections the factor is 0.95: 45 cycles for a decimal digit. In training this does
#   not matter once the network is balanced.
# - "Equivalently the weight decay regularizer": the minimum is that of $\sum\|W\|^2$, among equal functions.
# - "Interleaving our algorithm with SGD during training improves the test accuracy": on 4000 pictures
#   of CIFAR-10 (JPEG-compressed) balancing once does, by 0.8 to 4.6 points; interleaving gains nothing more (three
#   seeds; chapter ``further/13_small_batches.py``).
#
# Questions
# ---------
#
# 1. *Depth.* In how many cycles does the error of a chain of 20 layers fall to a thousandth, in the long run? And that
#    of 40 layers? Check the rate of the first with ``cycles``. What does going back to front in every other cycle
#    change?
# 2. *The bias.* On the incoming side, the right angles include the bias, while equi-normalization leaves it out of $I$.
#    Start from balance, and take many small steps of gradient descent. What becomes of $I^2 - O^2$? If the bias counted
#    in $I$, what would be minimized, and would the function change?
# 3. *Rates.* In the cell on momentum, balance the network before the first step. Find the rate at which it gets as far
#    in thirty steps as the other one does at 0.003. Is the ratio that of the squared gradients at the start?
# 4. *Both.* Can a network with weight normalization be balanced by changing the $g$ alone? By changing $v$ and $g$?

lesson.finish()
