r"""Weight normalization: length and direction apart
=================================================

Afterwards you can explain

- why one step of gradient descent on a weight vector changes its length and its direction together, and how
  $w = g\,v/\|v\|$ takes the two apart;
- where the gradients for $v$ and $g$ come from, line by line, and what they cost;
- why $\|v\|$ can only grow under plain gradient descent, and what that does to the learning rate;
- which part of a network this protects from too large a learning rate, and which part it does not.

Read first: lesson 01 (tensors and the tape); sections 1 and 2 of Salimans & Kingma (2016), arXiv:1602.07868.

Claims checked, and where the paper makes them:

- ‖w‖ = g, whatever v is (section 2, below equation 2);
- equation 3, against autograd and against central differences (section 2.1);
- the extra work does not depend on the size of the minibatch (section 2.1);
- ∇_v L is (g/‖v‖) times the projection of ∇_w L away from w (section 2.1, equation 4);
- the conditioning of the problem changes with the parameterization (sections 1 and 2);
- ‖v‖ grows monotonically, by √(1 + c²) per step (section 2.1);
- the growth of ‖v‖ makes training robust to the learning rate (section 2.1): true of the direction, not of g;
- the log-scale g = eˢ is no advantage, and slightly slower (section 2).

Time: quick about 10 s, full about 1 min.
"""

# %%
# We follow the paper with the smallest objects that show the effect: one neuron, then a plane, then a small network.
# Everything here is made of random numbers; no data set is needed. Numbers are float64 unless a cell says otherwise,
# so that an identity can be checked to about 15 digits.

import time
from itertools import pairwise

import matplotlib.pyplot as plt
import numpy as np
import threadpoolctl

import minigrad as mg
import wn
from lessons import COLOURS, Lesson

lesson = Lesson(__file__)
threadpoolctl.threadpool_limits(1)  # matrices this small are multiplied fastest by a single thread
NORMAL, WEIGHT_NORM = COLOURS["normal"], COLOURS["weight norm"]
LOG_SCALE = COLOURS["weight norm, log-scale"]  # g = e^s

# %%
# One neuron
# ----------
#
# The paper starts from one neuron (equation 1):
#
# $$y = \phi(w \cdot x + b)$$
#
# with a weight vector $w$ of $k$ numbers, inputs $x$, a bias $b$, and a nonlinearity $\phi$, such as tanh or the
# rectifier $\max(t, 0)$, called ReLU. The sum $t = w \cdot x + b$ is its *pre-activation*. Write $w$ as a length times
# a direction, $w = \|w\|\,u$ with $\|u\| = 1$. The direction says *which* combination of inputs the neuron looks at;
# the length says *how strongly* it reacts to it. Gradient descent on a loss $L$, $w \leftarrow w - \eta\,\nabla_w L$
# with a *learning rate* $\eta$, knows nothing of these two roles. Take a gradient at a right angle to $w$, of size 1:
# the loss asks for another direction and has nothing to say about the length. What one step does depends on how long
# $w$ happens to be.

eta = 0.5
print("  ‖w‖    turns by    length changes by")
for length in (0.25, 0.5, 1.0, 2.0, 4.0):
    w = np.array([length, 0.0])
    stepped = w - eta * np.array([0.0, -1.0])
    angle = np.degrees(np.arctan2(stepped[1], stepped[0]))
    print(f"{length:5.2f}  {angle:7.1f}°   {100 * (np.linalg.norm(stepped) / length - 1):+10.1f} %")

# %%
# A short vector is thrown about and stretched; a long one hardly moves. So the length of $w$ acts as a hidden learning
# rate for its direction, and steps meant for the direction change the length. That is the tangle.
#
# Equation 2
# ----------
#
# The paper gives length and direction parameters of their own, a number $g$ and a vector $v$ (equation 2):
#
# $$w = \frac{g}{\|v\|}\,v$$
#
# In the ordinary operations of the library that is one line. (The library has it too, as
# ``wn.weight_norm_composite``, for many neurons at once.)


def weight(v, g):
    """w = g v/‖v‖ for one neuron: v of shape (k,), g a number."""
    return g * v / mg.norm(v)


# %%
# "We now have ‖w‖ = g, independent of the parameters v" (section 2). We try vectors $v$ from a thousandth to a thousand
# times their usual size. A relative error of some $10^{-16}$ per operation is the best that float64 can do; about
# $\sqrt{k}$ of them accumulate in a norm of $k = 20$ numbers, so $10^{-14}$ is a generous bound and still far below
# anything that a wrong formula would give.

rng = lesson.rng(1)
k = 20
worst = 0.0
for scale in np.logspace(-3, 3, 13):
    v, g = scale * rng.normal(size=k), rng.uniform(0.1, 10)
    worst = max(worst, abs(np.linalg.norm(weight(v, g)) / g - 1))
lesson.claim("‖w‖ = g whatever v is (section 2): relative error over v of size 0.001 to 1000", worst, below=1e-14)

# %%
# One small correction: nothing keeps $g$ positive. The exact statement is $\|w\| = |g|$; a neuron whose $g$ passes
# through zero comes out pointing the other way. With $g = e^s$, further down, that cannot happen.
#
# Equation 3, by autograd and by hand
# -----------------------------------
#
# Equation 2 is made of differentiable operations, so autograd needs no help. Here is a neuron with a loss: 64 examples,
# 20 inputs, $\phi = \tanh$, half the mean squared error.

x, y = rng.normal(size=(64, k)), rng.normal(size=64)


def loss_of(w):
    """Half the mean squared error of one tanh neuron with weights w."""
    return mg.square(mg.tanh(x @ w) - y).mean() / 2


v = mg.tensor(rng.normal(size=k), requires_grad=True)
g = mg.tensor(rng.uniform(1, 2), dtype=np.float64, requires_grad=True)  # without the dtype, float32: 8 digits fewer
w = weight(v, g)
w.retain_grad()  # we want ∇_w L too, and w is not a leaf
loss_of(w).backward()
grad_w, grad_v, grad_g = w.grad.numpy(), v.grad.numpy(), g.grad.numpy()
print(f"L = {loss_of(w).item():.4f}   ‖∇_w L‖ = {np.linalg.norm(grad_w):.4f}   ∇_g L = {grad_g:+.4f}")

# %%
# Now on paper. Let a small change $dv, dg$ change the weights by $dw$; the gradients are whatever makes
# $dL = \nabla_w L \cdot dw = \nabla_v L \cdot dv + \nabla_g L\,dg$ true for every change. Three steps:
#
# 1. *The norm.* From $\|v\|^2 = v \cdot v$ follows $2\,\|v\|\,d\|v\| = 2\,v \cdot dv$, so
#    $d\|v\| = (v \cdot dv)/\|v\|$.
# 2. *The product.* $w = g \cdot v \cdot \|v\|^{-1}$ has three factors, and each contributes:
#
#    $$dw = \frac{v}{\|v\|}\,dg + \frac{g}{\|v\|}\,dv - \frac{g\,v}{\|v\|^2}\,d\|v\|
#         = \frac{v}{\|v\|}\,dg + \frac{g}{\|v\|}\,dv - \frac{g\,v}{\|v\|^3}\,(v \cdot dv).$$
#
# 3. *The loss.* Multiply by $\nabla_w L$ and sort by $dg$ and $dv$. What stands before $dg$ is
#    $\nabla_w L \cdot v/\|v\|$. What stands before $dv$ is
#    $(g/\|v\|)\,\nabla_w L - (g/\|v\|^3)(\nabla_w L \cdot v)\,v$, and the bracket is $\|v\|\,\nabla_g L$.
#
# That is equation 3:
#
# $$\nabla_g L = \frac{\nabla_w L \cdot v}{\|v\|}, \qquad
#   \nabla_v L = \frac{g}{\|v\|}\,\nabla_w L - \frac{g\,\nabla_g L}{\|v\|^2}\,v.$$
#
# As code, four lines:


def equation_3(grad_w, v, g):
    """∇_v L and ∇_g L from ∇_w L, for one neuron."""
    length = np.linalg.norm(v)
    grad_g = grad_w @ v / length
    grad_v = g / length * grad_w - g * grad_g / length**2 * v
    return grad_v, grad_g


# %%
# Three independent ways to the same numbers: autograd through equation 2, the four lines, and central differences,
# which know nothing of derivatives at all: $(L(p + h) - L(p - h))/2h$ for each entry $p$. Errors are measured against
# the largest term, $(g/\|v\|)\,\|\nabla_w L\|$.
#
# *Tolerances.* Autograd and the four lines do the same sums in another order: some 64 · 20 roundings of $10^{-16}$,
# most of which cancel; we allow $10^{-12}$. Central differences are off by about $h^2 L'''/6$ from truncation and by
# $10^{-16} L/h$ from rounding; with $h = 6 \cdot 10^{-6}$ both are near $10^{-11}$. We allow $10^{-8}$, for the size of
# $L'''$ and for 21 entries.

plain_v, plain_g = v.numpy(), g.numpy()
hand_v, hand_g = equation_3(grad_w, plain_v, plain_g)
library_v, library_g = wn.explicit_gradients(grad_w[None, :], plain_v[None, :], plain_g[None])
unit = plain_g / np.linalg.norm(plain_v) * np.linalg.norm(grad_w)


def central_differences(f, p, h=6e-6):
    """The gradient of f at the vector p, entry by entry."""
    return np.array([(f(p + h * e) - f(p - h * e)) / (2 * h) for e in np.eye(len(p))])


both = np.append(plain_v, plain_g)
measured = central_differences(lambda p: loss_of(weight(p[:-1], p[-1])), both)


def distance(other_v, other_g):
    """How far a pair of gradients is from the one by hand, relative to the largest term of equation 3."""
    return np.linalg.norm(np.append(other_v - hand_v, other_g - hand_g)) / unit


lesson.claim(
    "Equation 3 by hand = autograd through equation 2: relative difference", distance(grad_v, grad_g), below=1e-12
)
lesson.claim("wn.explicit_gradients = equation 3 by hand: relative difference", distance(library_v[0], library_g[0]),
             below=1e-12)
lesson.claim("Equation 3 by hand = central differences: relative difference", distance(measured[:-1], measured[-1]),
             below=1e-8)

# %%
# What it costs
# -------------
#
# Each operation of equation 2 leaves a node on the tape, and a node keeps the arrays that its backward rule will need.
# ``wn.weight_norm`` is the same function as a single op whose backward rule is equation 3. ``mg.draw`` of lesson 01
# tells what the tape of $w$ keeps, and which of it is $v$ and $g$ themselves (``of_leaf``). A layer of 100 neurons with
# 500 inputs, float32 as in training:

V = mg.tensor(rng.normal(size=(100, 500)).astype(np.float32), requires_grad=True)
G = mg.tensor(np.ones(100, np.float32), requires_grad=True)
extra = {}
for name, function in [("ordinary ops", wn.weight_norm_composite), ("one op", wn.weight_norm)]:
    entries = [entry for entry in mg.draw.entries(function(V, G)) if not entry.is_leaf]
    extra[name] = sum(kept.bytes for entry in entries for kept in entry.kept if not kept.of_leaf)
    ops = ", ".join(entry.title for entry in entries)
    print(f"{name:12}: {len(entries)} on the tape ({ops}); keeps {extra[name]:,} bytes besides v and g")
lesson.claim("wn.weight_norm keeps for its backward rule nothing but v and g: further bytes", extra["one op"], near=0,
             within=0)

# %%
# The single op keeps nothing but its own parameters. The composite keeps one more array of the size of the weights, and
# the norms. Now the whole layer, $t = X w^{\mathsf T}$, for several sizes of the *minibatch*: the examples, a row of
# $X$ each, that one step of training looks at. How much more does the tape hold with weight normalization than without?


def bytes_for_layer(batch, normalized):
    """What the tape of one linear layer keeps for backward."""
    inputs = mg.tensor(np.ones((batch, 500), np.float32), requires_grad=True)  # as if a layer came before this one
    w = wn.weight_norm(V, G) if normalized else V
    return mg.draw.bytes_kept(inputs @ w.swapaxes(0, 1))


overhead = {batch: bytes_for_layer(batch, True) - bytes_for_layer(batch, False) for batch in (10, 100, 1000)}
print("extra bytes by minibatch size:", overhead, f"(the weights themselves: {V.data.nbytes})")
lesson.claim("The memory that weight normalization adds is the same for minibatches of 10 and of 1000, in bytes",
             overhead[1000] - overhead[10], near=0, within=0)

# %%
# "No additional memory is required", says the introduction. Strictly there is some: $w$ itself has to exist beside $v$,
# one array of the size of the weights, and the $g$. What the authors compare with is batch normalization, which
# keeps arrays of the size of the *pre-activations*, and those grow with the minibatch. "Independent of the minibatch
# size" (section 2.1) is exact. Time on a shared machine is too noisy for a claim; here it is as measured, for a
# forward and backward pass of the layer with a minibatch of 100:


def seconds(make_weight, repeats=60):
    """The time of a forward and backward pass: the fastest of many, which the machine's other work disturbs least."""
    inputs, times = rng.normal(size=(100, 500)).astype(np.float32), []
    for _ in range(repeats):
        start = time.perf_counter()
        mg.square(inputs @ make_weight().swapaxes(0, 1)).mean().backward()
        times.append(time.perf_counter() - start)
    return min(times)


composite = wn.weight_norm_composite
for name, make in (("normal", lambda: V), ("in ordinary ops", lambda: composite(V, G)),
                   ("as one op", lambda: wn.weight_norm(V, G))):
    print(f"{name:15}: {1e3 * seconds(make):.2f} ms")

# %%
# The addition is for reading and writing the 50,000 weights a few times more. Whether that is "negligible" depends on
# how often each weight is used: here 100 times per pass; in a convolution, once for each place in each image.
#
# What follows from equation 3
# ----------------------------
#
# Call the direction $u = v/\|v\|$. Equation 3 then reads
#
# $$\nabla_g L = \nabla_w L \cdot u, \qquad
#   \nabla_v L = \frac{g}{\|v\|}\,\bigl(\nabla_w L - (\nabla_w L \cdot u)\,u\bigr)
#              = \frac{g}{\|v\|}\,M_w \nabla_w L, \qquad M_w = I - \frac{w w^{\mathsf T}}{\|w\|^2},$$
#
# where the last form is the paper's equation 4, and $M_w$ the projection that takes out of a vector its part along $w$.
# So the gradient of the weights is *split*: the part along $w$ goes to $g$, the part at right angles to $w$ goes to
# $v$, scaled by $g/\|v\|$. Nothing is lost: $\nabla_w L = (\nabla_g L)\,u + (\|v\|/g)\,\nabla_v L$.

u = plain_v / np.linalg.norm(plain_v)
cosine = abs(grad_v @ plain_v) / (np.linalg.norm(grad_v) * np.linalg.norm(plain_v))
lesson.claim("∇_v L is at a right angle to v (section 2.1): cosine of the angle", cosine, below=1e-12)
together = grad_g * u + np.linalg.norm(plain_v) / plain_g * grad_v
lesson.claim("∇_w L = (∇_g L) u + (‖v‖/g) ∇_v L: relative difference",
             np.linalg.norm(together - grad_w) / np.linalg.norm(grad_w), below=1e-12)

# %%
# Stretching $v$ changes nothing that the loss can see. But the gradient gets smaller: $\nabla_v L$ at $\alpha v$ is
# $1/\alpha$ times that at $v$. A vector twice as long gets half the gradient, and needs twice the step to turn by the
# same angle: its direction learns at a quarter of the rate.

worst_loss = worst_gradient = 0.0
for alpha in np.logspace(-3, 3, 13):
    stretched = mg.tensor(alpha * plain_v, requires_grad=True)
    value = loss_of(weight(stretched, plain_g))
    gradient = mg.grad(value, stretched).numpy()
    worst_loss = max(worst_loss, abs(value.item() / loss_of(w).item() - 1))
    worst_gradient = max(worst_gradient, np.linalg.norm(alpha * gradient - grad_v) / unit)
lesson.claim("The loss at αv is the loss at v, α from 0.001 to 1000: relative difference", worst_loss, below=1e-12)
lesson.claim("∇_v L at αv is 1/α times that at v: relative difference", worst_gradient, below=1e-12)

# %%
# Now put the two parameters' steps together. With $\Delta v = -\eta\,\nabla_v L$ and $\Delta g = -\eta\,\nabla_g L$,
# the $dw$ derived above gives, to first order in $\eta$,
#
# $$\Delta w = -\eta \left( u\,u^{\mathsf T} + \frac{g^2}{\|v\|^2}\,M_w \right) \nabla_w L + O(\eta^2).$$
#
# Weight normalization is gradient descent on $w$ with *two learning rates*: $\eta$ along $w$, and $\eta\,g^2/\|v\|^2$
# across it. If $\|v\| = g$, as it is when a trained or freshly initialized layer is wrapped, the matrix is the identity
# and the first step is the step of the normal parameterization, up to order $\eta^2$. All that weight normalization
# does, it does by what comes after: $\|v\|$ and $g$ change, and with them the ratio of the two rates. We check the
# formula by making $\eta$ small: what is left over must fall as $\eta^2$, for any $\|v\|/g$.

rates = np.logspace(-4, -1, 13)
leftover = {}
for ratio in (1 / 3, 1.0, 3.0):
    start = u * plain_g * ratio  # v with ‖v‖/g = ratio
    v_gradient, g_gradient = equation_3(grad_w, start, plain_g)
    along = (grad_w @ u) * u
    first_order = along + (grad_w - along) / ratio**2
    exact = [weight(start - r * v_gradient, plain_g - r * g_gradient) - weight(start, plain_g) for r in rates]
    leftover[ratio] = [np.linalg.norm(d + r * first_order) for d, r in zip(exact, rates, strict=True)]
slopes = [np.polyfit(np.log(rates[:9]), np.log(values[:9]), 1)[0] for values in leftover.values()]
print("slopes for ‖v‖/g = 1/3, 1, 3:", np.round(slopes, 4))
lesson.claim("One step moves w by -η(u uᵀ + (g²/‖v‖²) M_w)∇_w L up to η²: slope of the rest, furthest from 2",
             slopes[np.argmax(np.abs(np.array(slopes) - 2))], near=2, within=0.05)

# %%
# The left panel draws the split for a weight in the plane; the right panel is the check just made.

figure, (left, right) = plt.subplots(1, 2, figsize=(8.4, 3.9))
w2, down = np.array([2.0, 1.0]), np.array([-1.5, 1.2])  # a weight, and -∇_w L there
u2 = w2 / np.linalg.norm(w2)
along = (down @ u2) * u2


def arrow(axes, start, vector, colour, text, offset):
    """An arrow with its name, in points from its tip."""
    style = {"arrowstyle": "-|>", "color": colour, "lw": 2, "shrinkA": 0, "shrinkB": 0}
    axes.annotate("", start + vector, start, arrowprops=style)
    axes.annotate(text, start + vector, offset, textcoords="offset points", color=colour, fontsize=10)


turn = np.linspace(0.05, 1.75, 80)
left.plot(np.linalg.norm(w2) * np.cos(turn), np.linalg.norm(w2) * np.sin(turn), ":", color="0.5", lw=1.2)
left.text(2.27, 0.12, "same\nlength", color="0.4", fontsize=8.5)
arrow(left, np.zeros(2), w2, "0.25", "$w = g\\,u$", (4, -8))
arrow(left, w2, down, NORMAL, "$-\\nabla_w L$", (-40, -16))
arrow(left, w2, along, WEIGHT_NORM, "$-(\\nabla_g L)\\,u$", (-14, -18))
arrow(left, w2, down - along, WEIGHT_NORM, "$-(\\|v\\|/g)\\,\\nabla_v L$", (-8, 8))
for start, end in ((w2 + along, w2 + down), (w2 + down - along, w2 + down)):
    left.plot(*np.stack([start, end]).T, "--", color="0.6", lw=1)
left.set(
    xlabel="$w_1$", ylabel="$w_2$", xlim=(-0.4, 3.1), ylim=(-0.3, 3.0), aspect="equal", title="The gradient, split"
)
for (ratio, values), marker in zip(leftover.items(), "osD", strict=True):
    name = {1 / 3: "1/3", 1.0: "1", 3.0: "3"}[ratio]
    right.loglog(
        rates, values, marker, color=WEIGHT_NORM, mfc=WEIGHT_NORM if ratio == 1 else "none", label=f"‖v‖/g = {name}"
    )
    line = values[0] * (rates / rates[0]) ** 2
    right.loglog(rates, line, "-", color="0.3", lw=1, label="slope 2" if ratio == 3 else None, zorder=0)
right.set(xlabel="learning rate η", ylabel="‖Δw − first-order formula‖", title="One step, to first order")
right.legend()
lesson.figure(figure, "gradient_split")

# %%
# In the plane
# ------------
#
# With $k = 2$ everything can be drawn. The loss is a long valley with its minimum at $w^*$,
#
# $$L(w) = \tfrac12 (w - w^*)^{\mathsf T} H\,(w - w^*),$$
#
# where $H$ has the eigenvalues 1 across the valley and 0.1 along it: a condition number of 10, small, but enough. Plain
# gradient descent on $w$ converges only for $\eta < 2/\lambda_{\max} = 2$. The valley here runs along $w^*$, so that
# "across" is a matter of direction.


def unit_vector(degrees):
    """(cos, sin) of an angle in degrees."""
    return np.array([np.cos(np.radians(degrees)), np.sin(np.radians(degrees))])


def valley(degrees, across=1.0, along=0.1):
    """A symmetric matrix with eigenvalue `along` in the direction given, and `across` at a right angle to it."""
    a, b = unit_vector(degrees), unit_vector(degrees + 90)
    return along * np.outer(a, a) + across * np.outer(b, b)


w_star = 2 * unit_vector(30)


def descend_w(H, w, eta, steps):
    """The path of w under gradient descent in the normal parameterization."""
    path = [w]
    for _ in range(steps):
        path.append(path[-1] - eta * H @ (path[-1] - w_star))
    return np.array(path)


def descend_vg(H, v, g, eta, steps, train_g=True):
    """The paths of v and of g under gradient descent on both (or on v alone)."""
    path_v, path_g = [v], [g]
    for _ in range(steps):
        grad_w = H @ (weight(v, g) - w_star)
        grad_v, grad_g = equation_3(grad_w, v, g)
        v, g = v - eta * grad_v, g - eta * grad_g * train_g
        path_v.append(v)
        path_g.append(g)
    return np.array(path_v), np.array(path_g)


def value(H, w):
    """The loss at one w, or at each w of an array (…, 2)."""
    return np.einsum("...i,ij,...j", w - w_star, H, w - w_star) / 2


# %%
# First hold $g = \|w^*\|$ and train $v$ alone. In the plane of $v$ the loss is constant along every ray from the
# origin: its contours are a fan. The gradient is at a right angle to the rays, so every step leaves $v$ at a right
# angle to $v$: outward, always. With a small rate the path is nearly an arc. With a rate that is too large it
# overshoots the valley, lands farther out, where the same change of direction needs a longer step and the gradient is
# smaller, overshoots less, and comes to rest. Nobody lowered $\eta$.

along_valley = valley(30)
slow, _ = descend_vg(along_valley, 1.0 * unit_vector(115), 2.0, 0.12, 25, train_g=False)
fast, _ = descend_vg(along_valley, 1.0 * unit_vector(115), 2.0, 1.8, 25, train_g=False)
for name, path, rate in (("small", slow, 0.12), ("large", fast, 1.8)):
    steps, at = np.diff(path, axis=0), path[:-1]
    size = np.linalg.norm(steps, axis=1)
    moving = size > 1e-6
    cosines = np.abs(np.sum(steps * at, axis=1))[moving] / (size * np.linalg.norm(at, axis=1))[moving]
    norms = np.linalg.norm(path, axis=1)
    final = value(along_valley, 2 * path[-1] / norms[-1])
    print(f"η = {rate}: ‖v‖ from {norms[0]:.2f} to {norms[-1]:.2f}, final loss {final:.1e}")
    lesson.claim(f"Each step leaves v at a right angle, {name} learning rate: largest cosine while steps exceed 1e-6",
                 cosines.max(), below=1e-8)
lesson.claim("A learning rate 15 times larger still converges, g fixed: final loss",
             value(along_valley, 2 * fast[-1] / np.linalg.norm(fast[-1])), below=1e-6)

# %%
# Now train $g$ as well, from a start off to the side, with $\eta\,\lambda_{\max} = 2.2$: ten per cent more than
# gradient descent on $w$ can bear. Both begin at the same $w$, with $\|v\| = g$.

rate, count = 2.2, 100
w_start = 1.0 * unit_vector(100)
path_w = descend_w(along_valley, w_start, rate, count)
path_v, path_g = descend_vg(along_valley, w_start, 1.0, rate, count)
path_wn = path_g[:, None] * path_v / np.linalg.norm(path_v, axis=1, keepdims=True)
first = value(along_valley, w_start)
ends = [value(along_valley, path[-1]) for path in (path_w, path_wn)]
print(f"η λ_max = {rate}: loss {first:.2f} at first; after {count} steps normal {ends[0]:.1e}, "
      f"weight norm {ends[1]:.1e}; ‖v‖ from 1 to {np.linalg.norm(path_v[-1]):.2f}")
lesson.claim("Valley along w*, η λ_max = 2.2: normal parameterization, final loss / first loss",
             ends[0] / first, above=1e3)
lesson.claim("Valley along w*, η λ_max = 2.2: weight normalization, final loss / first loss",
             ends[1] / first, below=1e-6)

# %%

figure, (left, right) = plt.subplots(1, 2, figsize=(8.4, 4.4))
reach = 1.18 * np.abs(fast).max()
grid = np.stack(np.meshgrid(*[np.linspace(-reach, reach, 500)] * 2), axis=-1)
fan = value(along_valley, 2 * grid / np.linalg.norm(grid, axis=-1, keepdims=True))
left.contourf(*np.moveaxis(grid, -1, 0), fan, 24, cmap="Greys", alpha=0.75)
left.plot(*np.stack([np.zeros(2), 3 * reach * unit_vector(30)]).T, "--", color="0.35", lw=1)
for path, marker, label in ((slow, ".", "η = 0.12"), (fast, "o", "η = 1.8")):
    left.plot(*path.T, "-", marker=marker, color=WEIGHT_NORM, mfc="white" if marker == "o" else None, ms=6, label=label)
for start, end in pairwise(fast[:4]):  # a right angle at the foot of each long step
    out, way = start / np.linalg.norm(start), (end - start) / np.linalg.norm(end - start)
    left.plot(*np.stack([np.zeros(2), start]).T, ":", color="0.2", lw=1)
    corner = 0.07 * reach
    left.plot(
        *np.stack([start - corner * out, start - corner * out + corner * way, start + corner * way]).T,
        color="0.1",
        lw=1,
    )
left.annotate("$w^*$", 0.98 * reach * unit_vector(30), (-3, 7), textcoords="offset points", color="0.2")
left.set(xlabel="$v_1$", ylabel="$v_2$", aspect="equal", xlim=(-reach / 2, reach), ylim=(-reach / 2, reach),
         title="Loss over v, g fixed: a fan of rays")
left.legend(loc="lower right", frameon=True, framealpha=0.9, title="darker: higher loss", title_fontsize=8.5)
left.grid(False)
grid = np.stack(np.meshgrid(np.linspace(-2.2, 3.4, 300), np.linspace(-2.3, 3.3, 300)), axis=-1)
right.contour(*np.moveaxis(grid, -1, 0), value(along_valley, grid), np.array([0.05, 0.2, 0.5, 1, 2, 4, 7, 11]),
              colors="0.7", linewidths=0.8)
right.plot(*path_w[:14].T, "-s", color=NORMAL, ms=4, label="normal: diverges")
right.plot(*path_wn.T, "-o", color=WEIGHT_NORM, ms=4, label="weight norm: settles")
right.plot(*w_star, "*", color="0.1", ms=13, zorder=5)
right.annotate("$w^*$", w_star, (8, 4), textcoords="offset points")
right.plot(*w_start, "o", color="0.1", ms=7, mfc="none", zorder=5)
right.annotate("start", w_start, (-9, 7), textcoords="offset points", ha="right")
right.set(xlabel="$w_1$", ylabel="$w_2$", aspect="equal", xlim=(-2.2, 3.4), ylim=(-2.3, 3.3),
          title="Paths of w, the same $\\eta = 2.2/\\lambda_{\\max}$")
right.legend(loc="lower left", frameon=True, framealpha=0.9)
right.grid(False)
lesson.figure(figure, "plane")

# %%
# **The catch.** Turn the valley by 90°, so that its steep side is along $w^*$. Then "too large a learning rate"
# concerns the length, and $g$ has no mechanism that would slow it down: its second derivative is $u^{\mathsf T} H u$,
# as for a weight of its own. At $\eta\,\lambda_{\max} = 3$ the first problem still comes to rest at $w^*$. The second
# does not. Near $w^*$ the length swings more and more; its swings make large gradients for $v$, which throw the
# direction to where $u^{\mathsf T} H u$ is small enough for $g$ to calm down. From there it creeps back towards $w^*$,
# slowly because $\|v\|$ has grown, until the length swings again.

results = {}
for name, H in (("steep across w*", along_valley), ("steep along w*", valley(120))):
    some_v, some_g = descend_vg(H, w_start, 1.0, 3.0, 1000)
    some_w = some_g[:, None] * some_v / np.linalg.norm(some_v, axis=1, keepdims=True)
    results[name] = value(H, some_w[500:]).mean() / value(H, w_start)
    print(f"{name}, η λ_max = 3: mean loss of steps 500 to 1000 / first loss {results[name]:.1e}, "
          f"‖v‖ at the end {np.linalg.norm(some_v[-1]):.3g}")
lesson.claim("Steep across w*, η λ_max = 3: weight norm converges, mean loss of steps 500 to 1000 / first loss",
             results["steep across w*"], below=1e-6)
lesson.claim("Steep along w*, η λ_max = 3: weight norm does not, mean loss of steps 500 to 1000 / first loss",
             results["steep along w*"], above=0.05)

# %%
# **Conditioning.** The introduction says that the curvature "is not invariant to reparameterization", and section 2
# that this one "improves the conditioning". The plane shows when. At the minimum, with $w^*$ along an eigenvector of
# $H$, the Hessian in $(v, g)$ has the eigenvalues
#
# - $\lambda_{\text{along}}$, for $g$;
# - $\lambda_{\text{across}}\; g^2/\|v\|^2$, for the direction of $v$;
# - 0, for the length of $v$, which the loss does not see and gradient descent does not use.
#
# So $\|v\|$ is a knob on the condition number. At $\|v\| = g$ nothing is gained. Here a growing $\|v\|$ *improves* the
# condition number, up to a perfect 1 at $\|v\| = g\sqrt{10}$; with the steep side along $w^*$ it would make it worse.
# ``mg.hessian`` confirms it.


def eigenvalues(H, length):
    """The eigenvalues of the Hessian of the loss in (v, g) at the minimum, for one ‖v‖, in ascending order."""

    def loss(p):
        d = weight(p[:2], p[2]) - w_star
        return (d * (H @ d)).sum() / 2

    return np.linalg.eigvalsh(mg.hessian(loss, np.append(length * unit_vector(30), 2.0)).numpy())


print("   ‖v‖    eigenvalues in (v, g)          condition number")
worst = 0.0
for length in (1.0, 2.0, 2 * np.sqrt(10), 20.0):
    computed = eigenvalues(along_valley, length)
    worst = max(worst, np.abs(computed - np.sort([0, 0.1, 4 / length**2])).max())
    print(f"{length:6.2f}   0, {computed[1]:.4f}, {computed[2]:.4f}   {computed[2] / computed[1]:20.1f}")
lesson.claim("Hessian in (v, g) at the minimum: eigenvalues 0, λ_along, λ_across g²/‖v‖², largest difference", worst,
             below=1e-12)

# %%
# The norm of v grows
# -------------------
#
# A step at a right angle to $v$ makes $v$ the hypotenuse of a right triangle (section 2.1):
#
# $$\|v'\|^2 = \|v\|^2 + \eta^2 \|\nabla_v L\|^2, \qquad \|v'\| = \sqrt{1 + c^2}\,\|v\|
#   \quad\text{with}\quad c = \|\Delta v\|/\|v\|.$$
#
# It is exact, for every neuron of a network and for every minibatch, as long as the optimizer is plain gradient descent
# without momentum or weight decay. ``wn.NormTracker`` adds up the right-hand side while a network trains. A network
# with 10 inputs, 32 ReLU units and one output, wrapped layer by layer, in float32 this time; minibatches of 32.

net_rng = lesson.rng(2)
inputs = net_rng.normal(size=(512, 10)).astype(np.float32)
targets = np.tanh(2 * inputs @ net_rng.normal(size=(10, 1)) / np.sqrt(10)).astype(np.float32)
batches = net_rng.integers(0, len(inputs), size=(300, 32))
trackers = {}
for rate in (0.03, 0.1, 0.3):
    layer_rng = lesson.rng(3)
    net = mg.nn.Sequential(mg.nn.Linear(10, 32, rng=layer_rng), mg.nn.ReLU(), mg.nn.Linear(32, 1, rng=layer_rng))
    wn.apply_weight_norm(net)
    optimizer = mg.optim.SGD(net.parameters(), lr=rate)
    tracker = trackers[rate] = wn.NormTracker(net, optimizer)
    for batch in batches:
        optimizer.zero_grad()
        mg.nn.functional.mse_loss(net(mg.tensor(inputs[batch])), targets[batch]).backward()
        optimizer.step()
        tracker.record()

# %%
# *Tolerance.* Each of the 300 steps rounds $v$ to float32 ($1.2 \cdot 10^{-7}$), so the norms may drift apart by at
# most about $300 \cdot 1.2 \cdot 10^{-7} = 3.6 \cdot 10^{-5}$.

epsilon = float(np.finfo(np.float32).eps)
drift = pythagoras = 0.0
smallest_growth = np.inf
for tracker in trackers.values():
    for layer in tracker.layers:
        norm, predicted = tracker.history(layer, "norm"), tracker.history(layer, "predicted_norm")
        c = tracker.history(layer, "relative_step")[1:]
        drift = max(drift, np.abs(norm / predicted - 1).max())
        pythagoras = max(pythagoras, np.abs(norm[1:] / norm[:-1] / np.sqrt(1 + c**2) - 1).max())
        smallest_growth = min(smallest_growth, (norm[1:] / norm[:-1] - 1).min())
lesson.claim("‖v‖² = ‖v₀‖² + Σ η²‖∇_v L‖², 33 neurons, 300 steps, 3 learning rates: relative difference", drift,
             below=len(batches) * epsilon)
lesson.claim("‖v'‖ = √(1 + c²) ‖v‖ in each step (section 2.1): relative difference", pythagoras, below=4 * epsilon)
lesson.claim("‖v‖ never shrinks (section 2.1) by more than one rounding: smallest growth in a step", smallest_growth,
             above=-epsilon)

# %%

figure, axes = plt.subplots(figsize=(7.0, 3.9))
for (rate, tracker), marker in zip(trackers.items(), "osD", strict=True):
    output = tracker.layers[-1]
    norm, predicted = tracker.history(output, "norm")[:, 0], tracker.history(output, "predicted_norm")[:, 0]
    theory = "$\\|v_0\\|^2 + \\Sigma\\,\\eta^2\\|\\nabla_v L\\|^2$" if rate == 0.03 else None
    axes.plot(tracker.steps, (predicted / predicted[0]) ** 2, "-", color="0.3", lw=1.2, label=theory)
    axes.plot(tracker.steps[::20], (norm[::20] / norm[0]) ** 2, marker, color=WEIGHT_NORM, mfc="white",
              label=f"measured, η = {rate}")
axes.set(xlabel="step", ylabel="$\\|v\\|^2/\\|v_0\\|^2$ of the output neuron", title="Pythagoras, step by step")
axes.legend(loc="center right", bbox_to_anchor=(1, 0.6))
lesson.figure(figure, "norm_growth")

# %%
# A larger $\eta$ makes $\|v\|$ grow more, and so takes back part of itself: the direction learns at the rate
# $\eta/\|v\|^2$. Lesson 05 goes on from here: what the growth law becomes after many steps, with momentum, with Adam,
# with weight decay.
#
# Robustness to the learning rate
# -------------------------------
#
# "Neural networks with weight normalization therefore work well with a much wider range of learning rates than when
# using the normal parameterization" (section 2.1). We try it on two problems, each drawn many times:
#
# - *one neuron*: logistic regression, 20 inputs, noisy labels from a random true $w$; the loss is minus the natural
#   logarithm of the probability that the neuron gives to the label, in the unit that belongs to that logarithm, *nats*;
# - *a small network*: 20 inputs, 32 ReLU units, one output, squared error, targets from a random tanh network plus
#   noise.
#
# The noise gives the loss a floor that every good run comes close to, as real data do. Both are trained by plain SGD
# (*stochastic* gradient descent: each step follows the gradient of another minibatch), with minibatches of 32. Many
# runs go side by side: the first two axes of every array count the problem and the learning rate, and ``rate`` has an
# entry for each learning rate. The loop is the ordinary one.
#
# There are four kinds: the normal parameterization; weight normalization with $g$; with $g = e^s$ (for the next
# section); and one more, to find out *what* is robust: $\eta$ for $v$ only, while $g$ and $b$ learn at a fixed 0.1.

problems, steps, per_decade = (24, 1000, 8) if lesson.full else (12, 300, 4)
etas = 10 ** (np.arange(-2 * per_decade, 2 * per_decade + 1) / per_decade)
OTHER_RATE = 0.1


def draw_problem(task, rng):
    """2048 examples with 20 inputs, their targets, and the first weights of every layer."""
    x = rng.normal(size=(2048, 20))
    if task == "one neuron":
        t = 3 * x @ rng.normal(size=(20, 1)) / np.sqrt(20)
        y, sizes = rng.uniform(size=t.shape) < 1 / (1 + np.exp(-t)), [20, 1]
    else:
        t = np.tanh(2 * x @ rng.normal(size=(20, 8)) / np.sqrt(20)) @ rng.normal(size=(8, 1))
        y, sizes = (t - t.mean()) / t.std() + 0.5 * rng.normal(size=t.shape), [20, 32, 1]
    return x, y, [rng.normal(size=(b, a)) / np.sqrt(a) for a, b in pairwise(sizes)]


def effective_weights(kind, parameters):
    """w of shape (…, outputs, inputs) from one layer's parameters: equation 2 along the last axis."""
    if kind == "normal":
        return parameters[0]
    v, scale = parameters[:2]
    return (mg.exp(scale) if kind == "e^s" else scale) * v / mg.norm(v, axis=-1, keepdims=True)


def final_losses(task, kind):
    """The loss on all examples after training, of shape (problems, learning rates); inf where it has diverged."""
    drawn = [draw_problem(task, lesson.rng(4, i)) for i in range(problems)]
    x, y = (np.stack([d[i] for d in drawn])[:, None].astype(np.float32) for i in (0, 1))
    rate = etas.astype(np.float32)[:, None, None]
    layers = []
    for first in zip(*[d[2] for d in drawn], strict=True):
        v = np.repeat(np.stack(first)[:, None].astype(np.float32), len(etas), axis=1)
        lengths, bias = np.linalg.norm(v, axis=-1, keepdims=True), np.zeros_like(v[..., None, :, 0])
        arrays = {"normal": [v, bias], "e^s": [v, np.log(lengths), bias]}.get(kind, [v, lengths, bias])
        layers.append([mg.tensor(a, requires_grad=True) for a in arrays])

    def losses(x, y):
        for i, parameters in enumerate(layers):
            x = mg.relu(x) if i else x
            x = x @ effective_weights(kind, parameters).swapaxes(-1, -2) + parameters[-1]
        each = mg.softplus(x) - y * x if task == "one neuron" else mg.square(x - y) / 2
        return each.mean(axis=(-2, -1))

    trained = [(p, OTHER_RATE if kind == "v only" and i else rate) for ps in layers for i, p in enumerate(ps)]
    order = lesson.rng(5)
    with np.errstate(over="ignore", invalid="ignore"):  # some of these runs are meant to diverge
        for _ in lesson.progress(range(steps), f"{task}, {kind}"):
            batch = order.integers(0, x.shape[2], 32)
            gradients = mg.grad(losses(x[:, :, batch], y[:, :, batch]).sum(), [p for p, _ in trained])
            for (p, r), gradient in zip(trained, gradients, strict=True):
                p.data = p.data - r * gradient.data
        with mg.no_grad():
            final = losses(mg.tensor(x), y).numpy()
    return np.where(np.isfinite(final), final, np.inf)


kinds = ("normal", "g", "e^s", "v only")
final = {task: {kind: final_losses(task, kind) for kind in kinds} for task in ("one neuron", "small network")}

# %%
# How wide is the range? For each problem, count the learning rates whose final loss is at most 1.25 times the best that
# the *normal* parameterization reached with any of them, and express the count in decades (factors of ten).


def usable_decades(task, kind):
    """The width of the usable range of learning rates, in decades, for each problem."""
    best = final[task]["normal"].min(axis=1, keepdims=True)
    return (final[task][kind] <= 1.25 * best).sum(axis=1) / per_decade


print(f"medians over {problems} problems, {steps} steps")
print("                          usable range   best loss, relative to normal   runs that stay finite")
for task in final:
    for kind in kinds:
        best = np.median(final[task][kind].min(axis=1) / final[task]["normal"].min(axis=1))
        width, finite = np.median(usable_decades(task, kind)), np.isfinite(final[task][kind]).mean()
        print(f"{task:14} {kind:8} {width:8.2f} decades {best:19.2f} {100 * finite:29.0f} %")


def gain(task, kind):
    """Decades of usable learning rates beyond those of the normal parameterization: mean over problems."""
    return np.mean(usable_decades(task, kind) - usable_decades(task, "normal"))


top = etas >= 10
finite = {kind: np.isfinite(final["small network"][kind][:, top]).mean() for kind in kinds}
lesson.claim(
    "One neuron: weight norm widens the usable range of η, mean gain in decades", gain("one neuron", "g"), above=0.4
)
lesson.claim("Small network, one η for all parameters: the range gains less than a decade, mean gain in decades",
             gain("small network", "g"), above=0.1, below=1)
lesson.claim("Small network, η for v only: the range gains much more, mean gain in decades",
             gain("small network", "v only"), above=1.5)
lesson.claim("Small network, η from 10 to 100: share of normal runs that stay finite", finite["normal"], below=0.05)
lesson.claim("Small network, η from 10 to 100, one η for all: share of runs with weight norm that stay finite",
             finite["g"], below=0.05)
lesson.claim(
    "Small network, η from 10 to 100 for v only: share of runs that stay finite", finite["v only"], near=1, within=0
)

# %%

STYLES = {"normal": (NORMAL, "-", "s", "normal"), "g": (WEIGHT_NORM, "-", "o", "weight norm"),
          "e^s": (LOG_SCALE, "-", "D", "weight norm, g = eˢ"),
          "v only": (WEIGHT_NORM, ":", "^", "weight norm, η for v only")}


def draw_losses(axes, task, kinds, ylim):
    """Final loss against learning rate: median over problems, and the middle half as a band."""
    for row, kind in enumerate(kinds):
        colour, line, marker, label = STYLES[kind]
        low, middle, high = np.quantile(final[task][kind], [0.25, 0.5, 0.75], axis=0, method="nearest")
        shown = np.isfinite(middle)
        face = "white" if line == ":" else None
        axes.plot(etas[shown], middle[shown], line, color=colour, marker=marker, ms=4.5, mfc=face, label=label)
        axes.fill_between(etas, low, high, where=np.isfinite(high), color=colour, alpha=0.15, lw=0)
        lost = etas[~shown]  # along the upper edge: learning rates at which most runs have diverged
        axes.plot(
            lost, np.full(len(lost), 0.97 - 0.045 * row), "x", color=colour, ms=5, transform=axes.get_xaxis_transform()
        )
    axes.set(xscale="log", yscale="log", xlabel="learning rate η", ylim=ylim, title=task.capitalize())


figure, (left, right) = plt.subplots(1, 2, figsize=(8.4, 4.0))
draw_losses(left, "one neuron", ("normal", "g", "v only"), (0.1, 10))
draw_losses(right, "small network", ("normal", "g", "v only"), (0.1, 10))
left.set_ylabel("loss after training (nats)")
right.set_ylabel("loss after training")
left.legend(fontsize=8.5, loc="upper left")
right.annotate(
    "×: most runs have diverged", (0.97, 0.83), xycoords="axes fraction", fontsize=8.5, color="0.35", ha="right"
)
lesson.figure(figure, "learning_rates", note=f"synthetic problems: median and middle half of {problems}; {steps} steps")

# %%
# What was measured:
#
# - For *one neuron* the range widens by the better part of a decade, at the side of large $\eta$, as the paper says.
#   The best loss is the same to a few per cent.
# - For the *small network* with one $\eta$ for everything, the range widens by a factor of two or so: a gain, but
#   hardly "a much wider range". The paper's experiments use deep networks and Adam; this is neither, so it is no
#   refutation.
# - The dotted curve says why. Where $\eta$ acts on $v$ alone, the curve is flat over three decades and no run diverges:
#   the mechanism of section 2.1 works, for the direction. What blows up at large $\eta$ are $g$ and $b$: no norm grows
#   that would slow *them* down. (The output's $b$ alone, with a second derivative of 1, rules out every $\eta$ above
#   2.) The argument in section 2.1 is about $v$, and does not cover the other parameters.
# - The noise matters. Without it, and with so few examples that the network can fit them exactly, the loss has no
#   floor. With 512 examples, and otherwise the full run's 24 problems and 1000 steps, the normal parameterization at
#   its best $\eta$ then ended at a loss about 1.4 times lower than weight normalization at its best (exercise 5).
#
# The log-scale
# -------------
#
# Section 2 offers $g = e^s$ and reports that it was no advantage: final results alike, and "optimization was slightly
# slower". The chain rule gives $\nabla_s L = g\,\nabla_g L$. Hence to first order
# $\Delta g = g\,\Delta s = -\eta\,g^2\,\nabla_g L$: with $s$, the length learns at the rate $\eta\,g^2$ in place of
# $\eta$.

s = mg.tensor(np.log(plain_g), requires_grad=True)
grad_s = mg.grad(loss_of(weight(plain_v, mg.exp(s))), s).numpy()
lesson.claim("∇_s L = g ∇_g L: relative difference", abs(grad_s / (plain_g * grad_g) - 1), below=1e-12)
narrower = gain("one neuron", "e^s") - gain("one neuron", "g")
lesson.claim("One neuron: the log-scale narrows the usable range of g, mean change in decades", narrower, below=0)
for task in final:
    best = np.median(final[task]["e^s"].min(axis=1) / final[task]["g"].min(axis=1))
    lesson.claim(
        f"{task.capitalize()}: best final loss with g = e^s / with g, median: no advantage beyond 10 %", best, above=0.9
    )

# %%
# "Slightly slower", then, should not be a law: it depends on whether $g$ is below or above 1. And $g$ is in the units
# of the inputs. Multiply every input by a factor $a$ and divide $g$ by $a$: the same function, the same direction, in
# other units. With $s$ that is a shift of $s$ by a constant, which no gradient sees: training must be *identical*. With
# $g$, its own second derivative changes by $a^2$. One neuron, all 2048 examples in each step, $a$ = 1/4, 1 and 4.

SCALES = (0.25, 1.0, 4.0)
drawn = [draw_problem("one neuron", lesson.rng(4, i)) for i in range(problems)]
xs, ys = np.stack([d[0] for d in drawn]), np.stack([d[1] for d in drawn])
starts = np.stack([d[2][0] for d in drawn])


def loss_curves(a, log_scale, eta=0.3, steps=300):
    """The loss after each step, of shape (steps, problems), with inputs times a and g divided by a."""
    v = mg.tensor(starts, requires_grad=True)
    length = np.linalg.norm(starts, axis=-1, keepdims=True) / a
    scale = mg.tensor(np.log(length) if log_scale else length, requires_grad=True)
    curves = []
    for _ in range(steps):
        w = effective_weights("e^s" if log_scale else "g", [v, scale])
        t = (a * xs) @ w.swapaxes(-1, -2)
        losses = (mg.softplus(t) - ys * t).mean(axis=(1, 2))
        curves.append(losses.numpy())
        for p, gradient in zip((v, scale), mg.grad(losses.sum(), [v, scale]), strict=True):
            p.data = p.data - eta * gradient.data
    return np.array(curves)


curves = {(a, log): loss_curves(a, log) for a in SCALES for log in (False, True)}
lowest = np.min([c.min(axis=0) for c in curves.values()], axis=0)


def steps_needed(curve):
    """For each problem, the steps until 99 % of the way from the first loss to the lowest of all runs is done."""
    reached = curve <= lowest + 0.01 * (curve[0] - lowest)
    return np.where(reached.any(axis=0), reached.argmax(axis=0), len(curve))  # or all of them, if they do not suffice


same = max(np.abs(curves[a, True] - curves[1.0, True]).max() for a in SCALES)
lesson.claim(
    "With g = e^s the units of the inputs do not matter: largest difference between loss curves", same, below=1e-10
)
slowdown = {a: np.median(steps_needed(curves[a, True]) / steps_needed(curves[a, False])) for a in SCALES}
for a in SCALES:
    g_start = np.median(np.linalg.norm(starts, axis=-1)) / a
    print(f"inputs times {a:4}: g starts near {g_start:.2f}; steps with e^s / steps with g = {slowdown[a]:.2f}")
lesson.claim(
    "Small inputs (times 1/4, g above 1): the log-scale is faster, steps with e^s / steps with g",
    slowdown[0.25],
    below=0.9,
)
lesson.claim(
    "Large inputs (times 4, g below 1): the log-scale is slower, steps with e^s / steps with g",
    slowdown[4.0],
    above=1.1,
)

# %%

figure, (left, right) = plt.subplots(1, 2, figsize=(8.4, 4.0))
draw_losses(left, "one neuron", ("g", "e^s"), (0.1, 10))
left.set(ylabel="loss after training (nats)", title="One neuron: final loss")
left.legend(fontsize=8.5, loc="upper left")
for a, line in zip(SCALES, (":", "-", "--"), strict=True):
    excess = np.median(curves[a, False] - lowest, axis=1)
    right.plot(excess, line, color=WEIGHT_NORM, label=f"g, inputs × {a:g}")
right.plot(np.median(curves[1.0, True] - lowest, axis=1), "-", color=LOG_SCALE, lw=2.4, label="g = eˢ, inputs × any")
right.set(yscale="log", xlabel="step", ylabel="loss above the lowest seen (nats)", ylim=(1e-6, 1),
          title="Units of the inputs, η = 0.3")
right.legend(fontsize=8.5, loc="lower right")
lesson.figure(figure, "log_scale", note=f"synthetic problems: median (left: and middle half) of {problems}")

# %%
# So the paper's finding holds here: $g = e^s$ is no advantage at the best learning rate, and it takes away part of the
# range of learning rates, because a neuron that has grown long ($g > 1$) turns $\eta$ into $\eta\,g^2$. But "slower" is
# a matter of units: slower for $g < 1$, faster for $g > 1$. What the log-scale does give is independence of those
# units. The paper fixes the units in another way, by setting $g$ from data (equation 6, lesson 07).
#
# In a layer
# ----------
#
# ``wn.WeightNorm`` replaces the parameter ``weight`` of a layer by ``weight_v`` and ``weight_g``; reading
# ``layer.weight`` computes equation 2. The pair starts as $v = w$, $g = \|w\|$, so the layer computes what it did
# before. ``wn.apply_weight_norm`` does it to every layer of a model, ``wn.remove_weight_norm`` undoes it.

layer_rng = lesson.rng(6)
net = mg.nn.Sequential(mg.nn.Linear(20, 16, rng=layer_rng), mg.nn.ReLU(), mg.nn.Linear(16, 3, rng=layer_rng))
probe = mg.tensor(layer_rng.normal(size=(50, 20)).astype(np.float32))
before = net(probe).numpy()
wn.apply_weight_norm(net)
wrapped = net(probe).numpy()
print("state dict:", {name: array.shape for name, array in net.state_dict().items()})
for parameter in net.parameters():  # train a little, so that v is no longer w
    parameter.data = parameter.data + 0.1 * layer_rng.normal(size=parameter.shape).astype(np.float32)
changed = net(probe).numpy()
wn.remove_weight_norm(net)
unwrapped = net(probe).numpy()
print("after removal:", list(net.state_dict()))

# %%
# *Tolerance.* A sum of 20 products in float32, twice: differences of some $10^{-7}$ of the output's size; we allow
# $10^{-5}$.

lesson.claim("Wrapping keeps the function: largest change of an output, relative to the largest output",
             np.abs(wrapped - before).max() / np.abs(before).max(), below=1e-5)
lesson.claim("Removing keeps the function: largest change of an output, relative to the largest output",
             np.abs(unwrapped - changed).max() / np.abs(changed).max(), below=1e-5)

# %%
# A zero vector has no direction. In several libraries it becomes a NaN that appears much later and far away; here it is
# refused when the layer is wrapped, and again when a state dict is loaded.

broken = mg.nn.Linear(20, 16, rng=layer_rng)
broken.weight.data = np.where(np.arange(16)[:, None] == 5, 0, broken.weight.data).astype(np.float32)
refused = 0
try:
    wn.WeightNorm(broken)
except ValueError as error:
    refused += 1
    print("ValueError:", error)
healthy = wn.WeightNorm(mg.nn.Linear(20, 16, rng=layer_rng))
state = healthy.state_dict()
state["weight_v"][3] = 0
try:
    healthy.load_state_dict(state)
except ValueError as error:
    refused += 1
    print("ValueError:", error)
lesson.claim(
    "A weight vector of zeros is refused, when wrapping and when loading: times out of 2", refused, near=2, within=0
)

# %%
# Exercises
# ---------
#
# 1. *Normalize after the step.* Earlier work trained $w$ itself and rescaled it to its old length after each step;
#    section 2 calls that "fundamentally different". Show that to first order in $\eta$ the two take the same step when
#    $g$ is fixed and $\|v\| = g$. Then run both in the plane with $\eta = 2.2$ and say what the older method lacks.
# 2. *Second derivatives.* Use ``mg.testing.check_grads`` with ``order=2`` on ``weight``. Then derive the
#    Hessian of $L$ in $g$ alone, and explain with it the catch of the plane: for which $\eta$ does $g$ diverge?
# 3. *Choose ‖v₀‖.* Start the plane from $\|v\| = g\,r$ for $r$ from 0.1 to 10 and plot the steps needed until the loss
#    is below $10^{-6}$, with $\eta = 1$ and with the best $\eta$ for each $r$. Where is the best $r$, and what does the
#    table of condition numbers predict?
# 4. *Two rates.* In the small network, give $g$ and $b$ the rate $\min(\eta, \eta_0)$. How large can $\eta_0$ be before
#    the flat curve breaks off? Is it the second derivative for $g$ that decides?
# 5. *No floor.* Take the noise out of the small network's targets and leave 512 examples. What happens to the usable
#    range as defined here when you train for 300, 1000, 3000 steps, and why? Find a definition that says something
#    useful there.
# 6. *Momentum.* Repeat the norm growth with ``momentum=0.9``. Which of its three claims fails, and by how much? Lesson
#    05 has the formula.

lesson.finish()
