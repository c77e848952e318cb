r"""Batch normalization, and its mean-only form
===========================================

Afterwards you can explain

- when batch normalization and weight normalization are the same thing, to the last digit, and what makes them differ;
- what batch normalization does to the gradient, and why people say that it smooths the loss;
- what mean-only batch normalization (equations 7 and 8) keeps of it, and what it leaves to weight normalization;
- what kind of noise the two add, where its tails are heavy and where they are not;
- what the size of the minibatch does to each of them.

Read first: lesson 03 (weight normalization), lesson 07 (data-dependent initialization); sections 2.2 and 4 of Salimans
& Kingma (2016), arXiv:1602.07868.

Claims checked, and where the paper makes them:

- for one layer with whitened inputs, batch normalization equals weight normalization (section 2.2);
- "exact equivalence does not usually hold for deeper architectures" (section 2.2);
- a convolutional network has fewer weights than pre-activations (section 2.2): yes per minibatch, not per picture;
- equation 8: mean-only batch normalization centres the gradients that are backpropagated (section 4);
- it costs less than full batch normalization (section 4); whether weight normalization does depends on the minibatch
  (section 2.2);
- weight normalization makes no example depend on another (abstract);
- mean-only batch normalization causes less noise, with much lighter tails (section 4): true across examples, not of
  the estimates themselves at the paper's minibatch of 100;
- the noise "can be useful for regularizing the network" (section 5.1);
- batch normalization shortens gradients (Santurkar et al. 2018, arXiv:1805.11604): here as an equation.

Time: quick about 30 s, full about 4 min.
"""

# %%
# Batch normalization came first (Ioffe & Szegedy 2015, arXiv:1502.03167), and section 2.2 of the paper calls it "an
# important source of inspiration". This lesson puts the two side by side. Everything is made of random numbers; no data
# set is needed. Identities are checked in float64, training is shown in float32.

import math
from itertools import pairwise

import matplotlib.pyplot as plt
import numpy as np
import threadpoolctl

import minigrad as mg
import wn
from lessons import COLOURS, Lesson
from minigrad import nn
from minigrad.nn import functional as F

lesson = Lesson(__file__)
threadpoolctl.threadpool_limits(1)  # matrices this small are multiplied fastest by a single thread

# %%
# Batch normalization and its gradient
# ------------------------------------
#
# A unit computes the pre-activation $t_i = v \cdot x_i$ for each of the $N$ examples of a minibatch. Batch
# normalization then does (section 2.2, with the usual learned scale $\gamma$ and shift $\beta$)
#
# $$\hat t_i = \frac{t_i - \mu[t]}{\sigma[t]}, \qquad \tilde t_i = \gamma\,\hat t_i + \beta,$$
#
# where $\mu[t]$ is the mean over the minibatch and $\sigma^2[t] = \mu[(t - \mu[t])^2]$ its variance. (Code adds a small
# $\varepsilon$ to $\sigma^2$ against division by zero. Here it is 0 wherever an identity is checked.)
#
# Both statistics depend on all $N$ examples, so the gradient must go through them. Write $\delta_i$ for
# $\partial L/\partial \tilde t_i$. A change $dt$ changes $\mu$ by $\mu[dt]$ and, since
# $2\sigma\,d\sigma = 2\mu[(t - \mu)\,dt]$, changes $\sigma$ by $\mu[\hat t\,dt]$. Hence
#
# $$d\hat t_i = \frac{1}{\sigma}\left(dt_i - \mu[dt] - \hat t_i\,\mu[\hat t\,dt]\right),$$
#
# and collecting what multiplies each $dt_i$ in $dL = \gamma \sum_i \delta_i\,d\hat t_i$ gives
#
# $$\nabla_{t_i} L = \frac{\gamma}{\sigma}\left(\delta_i - \mu[\delta] - \hat t_i\,\mu[\delta\,\hat t]\right).$$
#
# As vectors of $N$ numbers: take out of $\delta$ its part along $\mathbf 1 = (1, \dots, 1)$ and its part along
# $\hat t$, and multiply by $\gamma/\sigma$. The two directions are orthogonal, because $\hat t$ has mean 0, and both
# have the length $\sqrt N$. So this is a projection, as in equation 4; but where weight normalization projects in the
# space of *weights*, batch normalization projects in the space of *examples*.


def batch_norm_gradient(delta, t, gamma=1.0):
    """∇_t L from δ = ∇_t̃ L; t and δ of shape (N, C)."""
    sigma = t.std(axis=0)
    hat = (t - t.mean(axis=0)) / sigma
    return gamma / sigma * (delta - delta.mean(axis=0) - hat * (delta * hat).mean(axis=0))


def batch_norm(t):
    """t̂ in ordinary operations, so that autograd finds the gradient by itself."""
    centred = t - t.mean(axis=0)
    return centred / mg.sqrt(mg.square(centred).mean(axis=0))


rng = lesson.rng(1)
t = mg.tensor(3 + 2 * rng.normal(size=(50, 4)), requires_grad=True)
delta = rng.normal(size=(50, 4)) + rng.normal(size=(50, 4)) ** 2
library = mg.grad(nn.BatchNorm(4, eps=0)(t), t, delta).numpy()
by_autograd = mg.grad(batch_norm(t), t, delta).numpy()
by_hand = batch_norm_gradient(delta, t.numpy())

# %%
# *Tolerance.* Sums of 50 numbers, a few times: some $50 \cdot 10^{-16}$ relative to the largest. We allow $10^{-13}$.

lesson.claim("The gradient of batch normalization by hand = autograd: largest difference",
             np.abs(by_hand - by_autograd).max(), below=1e-13)
lesson.claim("The gradient of the layer nn.BatchNorm = autograd: largest difference",
             np.abs(library - by_autograd).max(), below=1e-13)

# %%
# **A smoother loss?** Santurkar et al. (2018, arXiv:1805.11604) explain the success of batch normalization by shorter
# gradients: their theorem 4.1 bounds, for one unit,
#
# $$\|\nabla_t L\|^2 \le \frac{\gamma^2}{\sigma^2}\left(\|\delta\|^2 - \frac{(\mathbf 1 \cdot \delta)^2}{N}
#   - \frac{(\hat t \cdot \delta)^2}{N}\right).$$
#
# With $\delta$ the gradient at the layer's own output, Pythagoras makes it an *equation*: a projection takes away two
# parts at right angles, and nothing else. Mean-only batch normalization will take away the first part only. Law 1 of
# weight normalization (lesson 03) has the same form in the space of weights:
# $\|\nabla_v L\|^2 = (g^2/\|v\|^2)\,(\|\nabla_w L\|^2 - (\nabla_w L \cdot u)^2)$ with $u = v/\|v\|$.
#
# In all of them the factor in front decides: $\gamma/\sigma$ here, $g/\|v\|$ there. The gradient is shorter where
# $\sigma > \gamma$. Where a layer's pre-activations are small, batch normalization *lengthens* the gradient.

hat = (t.numpy() - t.numpy().mean(axis=0)) / t.numpy().std(axis=0)
squares = (library**2).sum(axis=0)
parts = (delta**2).sum(axis=0), delta.sum(axis=0) ** 2 / 50, (hat * delta).sum(axis=0) ** 2 / 50
predicted = (parts[0] - parts[1] - parts[2]) / t.numpy().var(axis=0)
print("unit   ‖δ‖²   along 1   along t̂   left over   × γ²/σ² = ‖∇_t L‖²")
for c in range(4):
    print(f"{c:4} {parts[0][c]:7.1f} {parts[1][c]:8.1f} {parts[2][c]:9.1f} "
          f"{parts[0][c] - parts[1][c] - parts[2][c]:10.1f} {squares[c]:16.1f}")
lesson.claim("‖∇_t L‖² = (γ²/σ²)(‖δ‖² - mean part - radial part) (Santurkar 2018, with =): relative difference",
             np.abs(squares / predicted - 1).max(), below=1e-12)
small = mg.tensor(0.1 * t.numpy(), requires_grad=True)
longer = mg.grad(nn.BatchNorm(4, eps=0)(small), small, delta).numpy()
lesson.claim("The same t times 0.1: the gradient of batch normalization is longer than δ, smallest ratio",
             np.sqrt((longer**2).sum(axis=0) / parts[0]).min(), above=1)

# %%
# Whitened inputs: the same thing twice
# -------------------------------------
#
# "For the special case where our network only has a single layer, and the input features x for that layer are whitened
# [...], these statistics are given by μ[t] = 0 and σ[t] = ‖v‖. In that case, normalizing the pre-activations using
# batch normalization is equivalent to normalizing the weights using weight normalization" (section 2.2).
#
# Forward that is two lines. If on the minibatch $\mu[x] = 0$ and $X^{\mathsf T} X/N = I$, then
# $\mu[t] = v \cdot \mu[x] = 0$ and $\sigma^2[t] = v^{\mathsf T} X^{\mathsf T} X\, v/N = \|v\|^2$. But two functions
# that agree at a point may still have different gradients, and batch normalization's goes through statistics that
# weight normalization does not have. So: with $t = Xv$, $u = v/\|v\|$, $\hat t = Xu$ and $\sigma = \|v\|$,
#
# $$\nabla_v L = X^{\mathsf T} \nabla_t L = \frac{\gamma}{\|v\|}\left(X^{\mathsf T}\delta
#   - \underbrace{X^{\mathsf T}\mathbf 1}_{0}\,\mu[\delta]
#   - \underbrace{X^{\mathsf T} X u}_{N u}\,\tfrac1N\,u \cdot X^{\mathsf T} \delta\right)
#   = \frac{\gamma}{\|v\|}\,(I - u u^{\mathsf T})\,X^{\mathsf T}\delta .$$
#
# That is equation 4, with $\gamma$ as $g$ and $X^{\mathsf T}\delta$ as the gradient for $w$. The two projections, in
# the space of examples and in the space of weights, are images of each other under $X$. Equal functions with equal
# gradients take equal steps, under any optimizer. Two remarks. Nothing was said of what comes after the layer, so it
# may be the first layer of a deep network as well. And only first and second moments of $x$ entered, so "independently
# distributed" is more than is needed: uncorrelated will do.
#
# We test it on inputs that are anything but Gaussian, and whiten them *exactly*, on the batch: subtract the mean and
# multiply by $(X^{\mathsf T} X/N)^{-1/2}$.


def whitened(x):
    """x with mean 0 and covariance I on these very examples."""
    for _ in range(2):  # the second time takes away the roundings of the first
        x = x - x.mean(axis=0)
        values, vectors = np.linalg.eigh(x.T @ x / len(x))
        x = x @ (vectors / np.sqrt(values)) @ vectors.T
    return x


k, classes, examples = 20, 10, 512
mixing = rng.normal(size=(k, k)) / np.sqrt(k)
raw = rng.exponential(size=(examples, k)) @ mixing + rng.normal(size=k)
white = whitened(raw)
teacher = 2 * rng.normal(size=(k, classes)) / np.sqrt(k)
labels = (white @ teacher + rng.gumbel(size=(examples, classes))).argmax(axis=1)


def network(kinds, hidden=16):
    """Dense layers with ELU between them; one kind for each. Every γ or g is 1, every β or b is 0."""
    generator = lesson.rng(2)
    sizes = [k, *[hidden] * (len(kinds) - 1), classes]
    parts = []
    for kind, (a, b) in zip(kinds, pairwise(sizes), strict=True):
        layer = nn.Linear(a, b, rng=generator)
        layer.bias.data = np.zeros_like(layer.bias.data)
        if kind == "weight norm":
            wn.WeightNorm(layer)
            layer.weight_g.data = np.ones_like(layer.weight_g.data)
        if kind == "batch norm":
            layer.bias = None
        parts += [layer, *([nn.BatchNorm(b, eps=0)] if kind == "batch norm" else []), nn.ELU()]
    model = nn.Sequential(*parts[:-1])
    for parameter in model.parameters():  # they are made in float32; these identities want more digits
        parameter.data = parameter.data.astype(np.float64)
    return model


# %%
# One layer, ten units, softmax and cross-entropy. Forward and gradient first. The parameters of the two are paired as
# $v$ with $v$, $\gamma$ with $g$, and $\beta$ with $b$.

x = mg.tensor(white)
one_bn, one_wn = network(["batch norm"]), network(["weight norm"])
forward = np.abs(one_bn(x).numpy() - one_wn(x).numpy()).max()
bn_gradients, wn_gradients = (
    [g.numpy() for g in mg.grad(F.cross_entropy(model(x), labels), parameters)]
    for model, parameters in (
        (one_bn, [one_bn[0].weight, one_bn[1].weight, one_bn[1].bias]),
        (one_wn, [one_wn[0].weight_v, one_wn[0].weight_g, one_wn[0].bias]),
    )
)
backward = [np.abs(a.ravel() - b.ravel()).max() for a, b in zip(bn_gradients, wn_gradients, strict=True)]
print(
    f"largest difference in t̃: {forward:.1e}; in ∇_v, in ∇_γ and ∇_g, in ∇_β and ∇_b:", *[f"{b:.1e}" for b in backward]
)

# %%
# *Tolerance.* The whitening leaves $X^{\mathsf T} X/N - I$ of some $10^{-15}$; everything after adds sums of 512
# numbers. We allow a few hundred roundings, $10^{-13}$.

lesson.claim("Inputs whitened on the batch: BN and WN have equal outputs (section 2.2), largest difference", forward,
             below=1e-13)
lesson.claim("Inputs whitened on the batch: BN and WN have equal gradients for v, scale and shift, largest difference",
             max(backward), below=1e-13)

# %%
# So whole training runs must coincide. We run five pairs, each pair from one starting point, with momentum 0.9 and the
# whole set of 512 examples in each step unless it says otherwise:
#
# 1. *one layer*, whitened inputs;
# 2. *the first of two layers* normalized, whitened inputs; the second layer is plain;
# 3. *one layer*, whitened inputs, but minibatches of 64 out of the 512;
# 4. *both of two layers* normalized, whitened inputs;
# 5. *one layer*, correlated inputs, as they were before whitening.
#
# In 4 and 5, weight normalization gets its $g$ and $b$ from equation 6, so that there, too, both networks are the same
# function to begin with. Losses are compared on all 512 examples.


def loss_curve(model, x, steps, batch=None, eta=0.2):
    """The loss on all examples before each step."""
    optimizer, order, curve = mg.optim.SGD(model.parameters(), lr=eta, momentum=0.9), lesson.rng(3), []
    for _ in range(steps):
        rows = slice(None) if batch is None else order.permutation(len(x))[:batch]
        with mg.no_grad():
            curve.append(F.cross_entropy(model(mg.tensor(x)), labels).item())
        optimizer.zero_grad()
        F.cross_entropy(model(mg.tensor(x[rows])), labels[rows]).backward()
        optimizer.step()
    return np.array(curve)


def pair(kinds, x, batch=None, initialize=False):
    """The loss curves with batch norm and with weight norm in the layers marked "either"."""
    curves = []
    for kind in ("batch norm", "weight norm"):
        model = network([kind if entry == "either" else entry for entry in kinds])
        if initialize and kind == "weight norm":
            wn.data_dependent_init(model, x)
        curves.append(loss_curve(model, x, steps, batch))
    return curves


steps = 300
pairs = {
    "one layer": pair(["either"], white),
    "first of two layers": pair(["either", "plain"], white),
    "one layer, minibatches of 64": pair(["either"], white, batch=64),
    "both of two layers": pair(["either", "either"], white, initialize=True),
    "one layer, correlated inputs": pair(["either"], raw, initialize=True),
}
apart = {name: np.abs(bn - wn_) for name, (bn, wn_) in pairs.items()}
for name, (bn, wn_) in pairs.items():
    print(f"{name:30} loss from {bn[0]:.4f} to {bn[-1]:.4f} (BN), {wn_[-1]:.4f} (WN); "
          f"largest difference {apart[name].max():.1e}")

# %%
# *Tolerances.* For one layer the loss is convex in $w$ and training forgets its errors: $10^{-12}$ allows thousands of
# roundings. With two layers it is not convex, and errors may grow from step to step; we allow a thousand times as much,
# which is still far below any real difference. (They do grow if one goes on: with seeds 0 to 7 the difference was below
# $10^{-15}$ after 300 steps, and between $5 \cdot 10^{-6}$ and 0.7 after 1000. Equality of two programs ends where
# training amplifies the last bit.)

lesson.claim("One layer, whitened, full batch: largest difference between the loss curves of BN and WN",
             apart["one layer"].max(), below=1e-12)
lesson.claim("First of two layers, whitened, full batch: largest difference between the loss curves",
             apart["first of two layers"].max(), below=1e-9)
for name in list(pairs)[2:]:
    lesson.claim(f"{name.capitalize()}: the curves differ, largest difference", apart[name].max(), above=1e-4)

# %%

BN, WN, MEAN_ONLY = (COLOURS[key] for key in ("batch norm", "weight norm", "WN + mean-only BN"))
figure, (left, right) = plt.subplots(1, 2, figsize=(8.4, 4.0), width_ratios=(1, 1.25))
bn, wn_ = pairs["one layer"]
left.plot(bn, color=BN, lw=4.5, label="batch norm", solid_capstyle="butt")
left.plot(wn_, color=WN, lw=1.6, label="weight norm")
left.set(xlabel="step", ylabel="cross-entropy (nats)", title="One layer, whitened inputs", xlim=(0, 60))
left.legend()
shades = {"one layer, correlated inputs": "#AA3377", "both of two layers": "#4477AA",
          "one layer, minibatches of 64": "#999933", "one layer": "0.1", "first of two layers": "0.5"}
for name, shade in shades.items():
    right.plot(np.maximum(apart[name], 1e-17), color=shade, lw=1.4, label=name)
right.set(yscale="log", xlabel="step", ylabel="|loss with BN − loss with WN| (nats)", ylim=(1e-17, 10),
          title="The pair's difference, for each case")
right.legend(loc="center", bbox_to_anchor=(0.5, 0.5), fontsize=9)
lesson.figure(figure, "whitened", note="random numbers, 512 examples, 20 inputs, 10 classes")

# %%
# The two curves on the left lie on top of each other. On the right, the first layer of a deeper network is as equal as
# one layer alone (gray). The other three differ by real amounts, for three different reasons. We take them in turn.
#
# Minibatches
# -----------
#
# A minibatch drawn from whitened data is not whitened itself. Let $t/\|v\| = z$, with mean 0 and variance 1 over the
# population. Weight normalization leaves $z$ as it is; batch normalization makes $(z - \bar z)/s$ of it, with the
# minibatch's own mean and standard deviation. Over the minibatch the two differ by
#
# $$D^2 = \frac1N \sum_i \left(z_i - \frac{z_i - \bar z}{s}\right)^2
#   = \bar z^2 + s^2\left(1 - \frac1s\right)^2 = \bar z^2 + (s - 1)^2 ,$$
#
# because $z_i = \bar z + (z_i - \bar z)$ splits the sum into two orthogonal parts. Its mean is known exactly if $z$ is
# Gaussian. Then $E\,\bar z^2 = 1/N$ and $N s^2$ is $\chi^2$ with $N - 1$ degrees of freedom, so $E\,s^2 = (N - 1)/N$
# and
#
# $$E\,D^2 = 2\,(1 - c_N), \qquad
#   c_N = E\,s = \sqrt{\frac2N}\;\frac{\Gamma(N/2)}{\Gamma((N - 1)/2)} \approx 1 - \frac{3}{4N}.$$
#
# So $D \approx \sqrt{3/(2N)}$: two thirds of $D^2$ from the mean, one third from the deviation.


def mean_deviation(N):
    """c_N: the mean of the standard deviation s of N standard normal numbers (with 1/N, not 1/(N - 1))."""
    return math.sqrt(2 / N) * math.exp(math.lgamma(N / 2) - math.lgamma((N - 1) / 2))


# %%
# Depth
# -----
#
# Beyond the first layer the inputs are outputs of a nonlinearity. They are neither centred nor uncorrelated, however
# large the minibatch. If the pre-activations of layer 1 were independent and standard normal, then $h = \max(z, 0)$ has
# the mean $m = 1/\sqrt{2\pi} = 0.40$ and the variance $\frac12 - \frac1{2\pi} = 0.34$, so in layer 2
# $\mu[t] = m \sum_j u_j$ and $\sigma[t] = 0.58$: not 0 and 1.
#
# We take five layers of 64 ReLU units on 64 independent Gaussian inputs, so that layer 1 is the special case, and let
# weight normalization run through it: $t = v \cdot h/\|v\|$. In every layer, what would batch normalization make of
# that layer's pre-activations on the same minibatch? $D$ is the root mean square of the difference over units and
# examples: $D^2$ averaged over units is the mean of $\mu^2[t] + (\sigma[t] - 1)^2$, so all that is needed are the
# minibatch's statistics.
#
# Once without, once with the initialization of equations 5 and 6 on 500 examples: there $t$ is replaced by
# $(t - \mu_0)/\sigma_0$ with the $\mu_0$, $\sigma_0$ of those examples, frozen.

width, depth = 64, 5
sizes = [2, 4, 8, 16, 32, 64, 128, 256, 512, 1024]
directions = [v / np.linalg.norm(v, axis=1, keepdims=True) for v in lesson.rng(4).normal(size=(depth, width, width))]


def statistics(x, frozen=None):
    """Mean and standard deviation, (depth, 2, batches, width), of t in every layer, for x (batches, N, width)."""
    found = []
    for layer, u in enumerate(directions):
        t = x @ u.T
        if frozen is not None:
            t = (t - frozen[layer, 0]) / frozen[layer, 1]
        found.append([t.mean(axis=1), t.std(axis=1)])
        x = np.maximum(t, 0)
    return np.array(found)


def initialization(x):
    """μ₀ and σ₀ of every layer, front to back (equations 5 and 6), of shape (depth, 2, width)."""
    frozen = np.tile(np.array([0.0, 1.0])[None, :, None], (depth, 1, width))
    for layer in range(depth):
        frozen[layer] = statistics(x[None], frozen)[layer, :, 0]
    return frozen


def discrepancy(found):
    """D² of every layer and unit, averaged over minibatches: (depth, width)."""
    return (found[:, 0] ** 2 + (found[:, 1] - 1) ** 2).mean(axis=1)


def repeats(N):
    """How many minibatches of size N to average over."""
    return max(8, (200_000 if lesson.full else 30_000) // N)


generator = lesson.rng(5)
frozen = initialization(generator.normal(size=(500, width)))
measured = {"without": [], "with": []}
for N in sizes:
    sample = generator.normal(size=(repeats(N), N, width))
    measured["without"].append(discrepancy(statistics(sample)))
    measured["with"].append(discrepancy(statistics(sample, frozen)))
measured = {name: np.array(values) for name, values in measured.items()}  # (sizes, depth, width)
layers = {name: np.sqrt(values.mean(axis=2)) for name, values in measured.items()}
theory = np.array([math.sqrt(2 * (1 - mean_deviation(N))) for N in sizes])
print("D of each layer, without equation 6         with equation 6")
for N, a, b in zip(sizes, layers["without"], layers["with"], strict=True):
    print(f"N = {N:4}  ", "".join(f"{d:7.3f}" for d in a), "   ", "".join(f"{d:7.3f}" for d in b))

# %%
# *Tolerance* for the theory of layer 1. $D^2$ is $1/N$ times about a $\chi^2$ variable with a coefficient of variation
# below 1.5, averaged over the minibatches and over 64 nearly independent units: with $R$ minibatches, $D$ is off by
# about $0.75/\sqrt{64 R}$, relative. The fewest minibatches are there for the largest $N$; four times that is allowed.
# With equation 6 the sampling errors of the minibatch and of the 500 examples add up. The 500 are drawn only once: the
# formula with $R = 1$ gives 9 % for their part, which is two thirds of $D^2$ at $N = 1024$, so 6 % in all. We
# allow 20 %.

allowed = 4 * 0.75 / math.sqrt(width * repeats(sizes[-1]))
lesson.claim("Layer 1, Gaussian inputs: D = √(2(1 - c_N)), N from 2 to 1024, largest relative difference",
             np.abs(layers["without"][:, 0] / theory - 1).max(), below=allowed)
slope = [np.polyfit(np.log(sizes[5:]), np.log(layers["without"][5:, i]), 1)[0] for i in range(depth)]
print("slopes of log D over log N, N from 64 to 1024:", np.round(slope, 3))
lesson.claim("Layer 1: D falls as 1/√N, slope for N from 64 to 1024", slope[0], near=-0.5, within=0.05)
lesson.claim("Layers 2 to 5 without equation 6: D does not fall with N, steepest slope", min(slope[1:]), above=-0.05)
lesson.claim("Layers 2 to 5 without equation 6, N = 1024: smallest D", layers["without"][-1, 1:].min(), above=0.3)
two_samples = np.sqrt(theory**2 + 2 * (1 - mean_deviation(500)))
lesson.claim("Layer 1 with equation 6, N = 1024: D = √(D² of N + D² of 500)", layers["with"][-1, 0],
             predicted=two_samples[-1], rtol=0.2)
lesson.claim("Layers 2 to 5 with equation 6, N = 1024: largest D", layers["with"][-1, 1:].max(), below=0.2)

# %%
# The paper is careful here: "exact equivalence does not usually hold for deeper architectures". The table says what
# holds instead. Without equation 6 the two differ from the second layer on by as much as the pre-activations' own size,
# and no minibatch is large enough to help. With equation 6 they agree in every layer up to the sampling error of two
# minibatches, the present one and the one of the initialization. So it is the initialization that makes weight
# normalization an approximation to batch normalization in a deep network, and only for as long as the statistics stay
# as they were.
#
# How long is that? We train such a network, with weight normalization and equation 6, and watch how far batch
# normalization would move each layer's pre-activations. Layer 1 is again fed with exactly whitened inputs. To see the
# statistics alone, and not $g$ and $b$, which may well learn some other scale and mean, $t = v \cdot h/\|v\|$ is
# compared in the units of the beginning: $D^2$ is the mean over units of
# $((\mu[t] - \mu_0)/\sigma_0)^2 + (\sigma[t]/\sigma_0 - 1)^2$, over all examples.

train_rng = lesson.rng(6)
inputs = whitened(train_rng.normal(size=(2000, width)))
hidden = np.tanh(2 * inputs @ train_rng.normal(size=(width, 16)) / np.sqrt(width))
targets = (hidden @ train_rng.normal(size=(16, 10))).argmax(axis=1)
inputs = inputs.astype(np.float32)
deep = nn.Sequential(*[part for _ in range(depth) for part in (nn.Linear(width, width, rng=train_rng), nn.ReLU())],
                     nn.Linear(width, 10, rng=train_rng))
wn.data_dependent_init(wn.apply_weight_norm(deep), inputs)
optimizer = mg.optim.SGD(deep.parameters(), lr=0.01, momentum=0.9)
trained_steps = 1000 if lesson.full else 200


def layer_statistics():
    """Mean and deviation of v·h/‖v‖ in each hidden layer over all examples: (depth, 2, width)."""
    h, found = inputs, []
    with mg.no_grad():
        for layer in list(deep)[0 : 2 * depth : 2]:
            out = layer(mg.tensor(h)).numpy()
            t = (out - layer.bias.numpy()) / layer.weight_g.numpy().ravel()
            found.append([t.mean(axis=0), t.std(axis=0)])
            h = np.maximum(out, 0)
    return np.array(found, np.float64)


first, moved, seen = layer_statistics(), [], []
for step in lesson.progress(range(trained_steps + 1), "five layers"):
    if step % (trained_steps // 20) == 0:
        now = layer_statistics()
        squared = ((now[:, 0] - first[:, 0]) / first[:, 1]) ** 2 + (now[:, 1] / first[:, 1] - 1) ** 2
        moved.append(np.sqrt(squared.mean(axis=1)))
        seen.append(step)
    rows = train_rng.integers(0, len(inputs), 100)
    optimizer.zero_grad()
    F.cross_entropy(deep(mg.tensor(inputs[rows])), targets[rows]).backward()
    optimizer.step()
moved = np.array(moved)
print("D after training, layers 1 to 5:", np.round(moved[-1], 3))
lesson.claim("Trained: layer 1 with whitened inputs still has mean 0 and deviation ‖v‖, D", moved[-1, 0], below=1e-5)
lesson.claim("Trained: in layers 2 to 5 the statistics have left their beginning, smallest D", moved[-1, 1:].min(),
             above=0.1)

# %%

figure, (left, right) = plt.subplots(1, 2, figsize=(8.4, 4.2), width_ratios=(1.25, 1))
shade = plt.colormaps["viridis"](np.linspace(0, 0.85, depth))
left.loglog(sizes, theory, "-", color="0.3", lw=1.2, zorder=0, label="layer 1, theory: $\\sqrt{2(1-c_N)}$")
left.loglog(sizes, two_samples, ":", color="0.3", lw=1.2, zorder=0, label="layer 1 with equation 6, theory")
for i in range(depth):
    left.loglog(sizes, layers["without"][:, i], "o", color=shade[i], ms=5)
    left.loglog(sizes, layers["with"][:, i], "x", color=shade[i], ms=5)
left.plot([], [], "o", color="0.3", label="without equation 6")
left.plot([], [], "x", color="0.3", label="with equation 6")
left.legend(loc="lower left", fontsize=9)
left.set(xlabel="size N of the minibatch", ylabel="D: rms of (BN − WN), units of σ", ylim=(0.02, 3),
         title="At the start")
for i in range(depth):
    right.plot(seen, moved[:, i], color=shade[i], label=f"layer {i + 1}")
right.set(xlabel="training step", ylabel="D, all examples", title="During training, with equation 6")
right.set_ylim(-0.05, 1.45 * moved.max())
right.legend(fontsize=9, ncols=2, loc="upper left")
lesson.figure(figure, "discrepancy", note="random numbers; 5 ReLU layers of 64 units")

# %%
# Correlated inputs
# -----------------
#
# Let the inputs of one layer have mean $m$ and covariance $\Sigma$. Then $\mu[t] = v \cdot m$ and
# $\sigma^2[t] = v^{\mathsf T}\Sigma\,v$: batch normalization measures $v$ with $\Sigma$, weight normalization with $I$.
# With $\tilde x = \Sigma^{-1/2}(x - m)$ and $\tilde v = \Sigma^{1/2} v$,
#
# $$\hat t = \frac{v \cdot (x - m)}{\sqrt{v^{\mathsf T}\Sigma\,v}} = \frac{\tilde v \cdot \tilde x}{\|\tilde v\|}:$$
#
# *the function of batch normalization is that of weight normalization on whitened inputs*. It whitens without forming
# $\Sigma$. But it takes its steps in $v$, not in $\tilde v$. The gradient is
#
# $$\nabla_v L = \frac{\gamma}{\sigma}\left(I - \frac{\Sigma\,v v^{\mathsf T}}{v^{\mathsf T}\Sigma\,v}\right)
#   X_c^{\mathsf T}\delta, \qquad X_c = X - \mathbf 1 m^{\mathsf T},$$
#
# still at a right angle to $v$, as it must be where the length of $v$ has no effect; but it is an *oblique* projection:
# what it takes away is along $\Sigma v$. Weight normalization takes away the part along $v$.

x_raw, m = mg.tensor(raw), raw.mean(axis=0)
Sigma = (raw - m).T @ (raw - m) / examples
values, vectors = np.linalg.eigh(Sigma)
root, inverse_root = vectors * np.sqrt(values) @ vectors.T, vectors / np.sqrt(values) @ vectors.T
on_raw, on_white = network(["batch norm"]), network(["weight norm"])
V = on_raw[0].weight.numpy()  # (classes, k)
on_white[0].weight_v.data = V @ root
same = np.abs(on_raw(x_raw).numpy() - on_white(mg.tensor((raw - m) @ inverse_root)).numpy()).max()
lesson.claim("Correlated inputs: BN in v = WN in Σ^½ v on whitened inputs, largest difference of outputs", same,
             below=1e-10)
grad_v = mg.grad(F.cross_entropy(on_raw(x_raw), labels), on_raw[0].weight).numpy()
logits = mg.tensor(on_raw(x_raw).numpy(), requires_grad=True)
delta = mg.grad(F.cross_entropy(logits, labels), logits).numpy()  # γ = 1
a = (raw - m).T @ delta  # (k, classes)
oblique = np.stack([(a[:, c] - Sigma @ v * (v @ a[:, c]) / (v @ Sigma @ v)) / np.sqrt(v @ Sigma @ v)
                    for c, v in enumerate(V)])
lesson.claim("Correlated inputs: ∇_v of BN is the oblique projection above, relative difference",
             np.linalg.norm(grad_v - oblique) / np.linalg.norm(oblique), below=1e-10)
lesson.claim("Correlated inputs: ∇_v of BN is at a right angle to v, largest v·∇_v relative to ‖v‖‖∇_v‖",
             (np.abs((V * grad_v).sum(axis=1)) / np.linalg.norm(V, axis=1) / np.linalg.norm(grad_v, axis=1)).max(),
             below=1e-10)
spread = np.sqrt(values[[0, -1]])
many = rng.normal(size=(10_000, k))
many /= np.linalg.norm(many, axis=1, keepdims=True)
of_random = np.sqrt(np.einsum("ni,ij,nj->n", many, Sigma, many))
print(f"deviation of v·x/‖v‖: between {spread[0]:.3f} and {spread[1]:.3f} for the worst directions, "
      f"{of_random.min():.2f} to {of_random.max():.2f} for 10,000 random ones; with batch norm always 1")

# %%
# What it costs
# -------------
#
# "Convolutional neural networks usually have much fewer weights than pre-activations, so normalizing the weights is
# often much cheaper computationally" (section 2.2). We count, for the paper's CIFAR-10 network (its table 1) and its
# minibatch of 100. A convolution has (inputs · outputs · kernel²) weights and (outputs · side²) pre-activations for
# each picture.

CIFAR = [(3, 96, 3, 32), (96, 96, 3, 32), (96, 96, 3, 32), (96, 192, 3, 16), (192, 192, 3, 16), (192, 192, 3, 16),
         (192, 192, 3, 6), (192, 192, 1, 6), (192, 192, 1, 6), (192, 10, 1, 1)]
weights = np.array([a * b * kernel**2 for a, b, kernel, side in CIFAR])
per_picture = np.array([b * side**2 for a, b, kernel, side in CIFAR])
print("layer              weights   pre-activations of 100   ratio")
for (a, b, kernel, side), w, p in zip(CIFAR, weights, per_picture, strict=True):
    print(f"{a:3} → {b:3}, {kernel}×{kernel}, {side:2}² {w:9,} {100 * p:16,} {100 * p / w:16.1f}")
whole = 100 * per_picture.sum() / weights.sum()
print(f"all {weights.sum():20,} {100 * per_picture.sum():16,} {whole:16.1f}; for one picture {whole / 100:.2f}")
lesson.claim(
    "CIFAR-10 network, minibatch of 100: pre-activations per weight (section 2.2: fewer weights)", whole, above=10
)
lesson.claim("CIFAR-10 network, one picture: pre-activations per weight", whole / 100, below=1)
lesson.claim("CIFAR-10 network, minibatch of 100: the last layer alone has more weights than pre-activations, ratio",
             100 * per_picture[-1] / weights[-1], below=1)

# %%
# The sentence holds for the paper's network and minibatch, by a factor of 33. It is the minibatch that makes it so: for
# a single picture there are three weights for each pre-activation. And nearly all of the 33 comes from the early layers
# with their large images; in the layers with 6 × 6 places it is 2 (for 3 × 3 kernels). A dense layer with $k$ inputs
# has $N/k$ pre-activations per weight: there, normalizing the weights is the cheaper way only if $N > k$.
#
# Mean-only batch normalization
# -----------------------------
#
# What did weight normalization lose on the way into the depth? The mean and the deviation of $t$ both change when $v$
# changes. Section 4 says that weight normalization "makes the scale of neuron activations approximately independent of
# the parameters v [...] however, the means of the neuron activations still depend on v". The network trained above can
# tell how approximate that is: $D^2$ had a part from the means and a part from the deviations. (Both also change with
# the inputs $h$, which earlier layers change.)

shift = np.sqrt((((now[:, 0] - first[:, 0]) / first[:, 1]) ** 2).mean(axis=1))
stretch = np.sqrt(((now[:, 1] / first[:, 1] - 1) ** 2).mean(axis=1))
print(f"after {trained_steps} steps, in units of the σ₀ at the start; layers 2 to 5:")
print("means have moved by (rms)     ", np.round(shift[1:], 2))
print("deviations have moved by (rms)", np.round(stretch[1:], 2))
lesson.claim("Trained: in layer 2 the means have moved more than the deviations (section 4), ratio",
             shift[1] / stretch[1], above=1)
lesson.claim(
    "Trained: in layer 5 the deviations have moved too, rms change relative to the start", stretch[4], above=0.3
)

# %%
# "Approximately independent" is true of the early layers: there the deviations change by a few tenths, and the means by
# two or three times as much. It is not true of the deepest layers, where the changes of all layers before add up and
# the deviations have changed nearly as much as the means. Section 4 takes care of the means, the cheap part of batch
# normalization (equation 7):
#
# $$t = w \cdot x, \qquad \tilde t = t - \mu[t] + b, \qquad y = \phi(\tilde t),$$
#
# with $w = g\,v/\|v\|$, and $\mu[t]$ a running average of the minibatch means at test time. For the gradient,
# $d\tilde t_i = dt_i - \mu[dt]$, so $dL = \sum_i \delta_i\,(dt_i - \mu[dt]) = \sum_i (\delta_i - \mu[\delta])\,dt_i$:
# equation 8,
#
# $$\nabla_t L = \nabla_{\tilde t} L - \mu[\nabla_{\tilde t} L].$$
#
# It is the projection off $\mathbf 1$, the first half of what batch normalization does to a gradient. Taking away a
# mean is symmetric: forward and backward are the same operation. Three consequences:
#
# - the gradients of a unit sum to zero over the minibatch ("centered");
# - a bias in the layer before gets no gradient and has no effect: $b$ comes after the mean is taken away;
# - adding a constant vector $c$ to every input adds the same $w \cdot c$ to every $t_i$, and changes nothing.
#
# *Tolerances.* Sums of 40 numbers of size 1: $10^{-14}$ to $10^{-12}$. For central differences with
# $h = 6 \cdot 10^{-6}$, $h^2$ and the rounding of a loss of some hundreds, $10^{-14}/h$, come to a few $10^{-9}$; we
# allow $2 \cdot 10^{-8}$.

layer = mg.nn.Linear(k, 8, rng=lesson.rng(7))
model = nn.Sequential(wn.WeightNorm(layer), wn.MeanOnlyBatchNorm(8))
for parameter in model.parameters():
    parameter.data = parameter.data.astype(np.float64)
target = mg.tensor(rng.normal(size=(40, 8)))
some = raw[:40]
t = mg.tensor(layer(mg.tensor(some)).numpy(), requires_grad=True)
t_tilde = mg.tensor(model[1](t).numpy(), requires_grad=True)


def loss_after(t_tilde):
    """Some loss of the layer's output."""
    return mg.square(mg.tanh(t_tilde) - target).sum() / 2


delta = mg.grad(loss_after(t_tilde), t_tilde).numpy()
by_autograd = mg.grad(loss_after(model[1](t)), t).numpy()
written_out, _ = wn.mean_only_gradients(delta)
step = 6e-6
entry = np.zeros_like(delta)
entry[3, 5] = step
with mg.no_grad():
    difference = loss_after(model[1](t + entry)).item() - loss_after(model[1](t - entry)).item()
print(f"∇_t L at one place: equation 8 {written_out[3, 5]:+.8f}, differences {difference / (2 * step):+.8f}, "
      f"δ itself {delta[3, 5]:+.8f}")
lesson.claim("Equation 8 written out = autograd through equation 7: largest difference",
             np.abs(written_out - by_autograd).max(), below=1e-14)
lesson.claim("Equation 8 = central differences at one place: difference",
             abs(difference / (2 * step) - written_out[3, 5]), below=2e-8)
lesson.claim("The backpropagated gradients are centred (section 4): largest sum over a minibatch of 40",
             np.abs(by_autograd.sum(axis=0)).max(), below=1e-13)
lesson.claim("The same without centring: largest sum", np.abs(delta.sum(axis=0)).max(), above=0.1)
of_bias = mg.grad(loss_after(model(mg.tensor(some))), layer.bias).numpy()
lesson.claim("A bias before mean-only batch normalization gets no gradient: largest entry",
             np.abs(of_bias).max(), below=1e-12)
moved_inputs = np.abs(model(mg.tensor(some + 5)).numpy() - model(mg.tensor(some)).numpy()).max()
lesson.claim("Adding 5 to every input changes nothing in training: largest difference", moved_inputs, below=1e-12)

# %%
# What it does not do is set the scale. That is what weight normalization is there for: make the direction $v$ three
# times as long, and with weight normalization nothing happens, while mean-only batch normalization alone gives three
# times the deviation. ("Mean-only BN" without weight normalization is one of the five networks of section 5.1. It tests
# about as the normal parameterization does there: 8.52 and 8.43 % errors, against 7.31 % for the combination.)

deviations = {}
for name in ("weight norm", "normal"):
    dense = nn.Linear(k, 8, bias=False, rng=lesson.rng(7))
    model = nn.Sequential(wn.WeightNorm(dense) if name == "weight norm" else dense, wn.MeanOnlyBatchNorm(8))
    before = model(mg.tensor(some)).numpy().std(axis=0)
    direction = dense.weight_v if name == "weight norm" else dense.weight
    direction.data = 3 * direction.data
    deviations[name] = (model(mg.tensor(some)).numpy().std(axis=0) / before).mean()
lesson.claim("v three times as long, weight norm + mean-only BN: deviation of t̃, relative (float32)",
             deviations["weight norm"], near=1, within=1e-5)
lesson.claim("w three times as long, mean-only BN alone: deviation of t̃, relative (float32)",
             deviations["normal"], near=3, within=1e-5)

# %%
# **Memory and passes.** What does the tape of one dense layer hold for the backward pass, with 500 inputs and 100
# units, in float32? We count as in lesson 03, with ``mg.draw`` of lesson 01, for two sizes of the minibatch.


KINDS = {"normal": (False, None), "weight norm": (True, None), "mean-only BN": (False, wn.MeanOnlyBatchNorm),
         "WN + mean-only BN": (True, wn.MeanOnlyBatchNorm), "batch norm": (False, nn.BatchNorm)}


def bytes_kept(kind, N):
    """Bytes that the layer's tape keeps, and its number of nodes."""
    normalize, after = KINDS[kind]
    layer = nn.Linear(500, 100, bias=after is None, rng=lesson.rng(7))
    parts = [wn.WeightNorm(layer) if normalize else layer, *([after(100)] if after else [])]
    output = nn.Sequential(*parts)(mg.tensor(np.ones((N, 500), np.float32), requires_grad=True))
    return mg.draw.bytes_kept(output), sum(not entry.is_leaf for entry in mg.draw.entries(output))


extra = {}
print("kept beyond the normal layer, in bytes; t itself has 400 N bytes, the weights 200,000")
for kind in KINDS:
    extra[kind] = [bytes_kept(kind, N)[0] - bytes_kept("normal", N)[0] for N in (100, 1000)]
    print(f"{kind:18} N = 100: {extra[kind][0]:9,}   N = 1000: {extra[kind][1]:9,}   {bytes_kept(kind, 100)[1]} nodes")
per_example = {kind: (large - small_) / 900 for kind, (small_, large) in extra.items()}
lesson.claim("Weight norm: bytes kept for each further example", per_example["weight norm"], near=0, within=0)
lesson.claim("Weight norm + mean-only BN: bytes kept for each further example",
             per_example["WN + mean-only BN"], near=0, within=0)
lesson.claim("Batch norm: arrays of the size of t kept for each further example (t: 400 bytes)",
             per_example["batch norm"] / 400, above=0.99)
for i, (N, options) in enumerate(((100, {"above": 1}), (1000, {"below": 1}))):
    lesson.claim(f"Dense layer with 500 inputs, N = {N}: bytes kept beyond the normal layer, weight norm / batch norm",
                 extra["weight norm"][i] / extra["batch norm"][i], **options)

# %%
# Subtraction is linear, so its backward rule needs none of the numbers that went forward: mean-only batch normalization
# keeps nothing that grows with the minibatch. Batch normalization's rule needs $\hat t$ and $\sigma$; this library
# keeps $t$, and the mean and variance of each unit, and computes $\hat t$ again. Weight normalization keeps $w$ beside
# $v$. That is less if the layer has fewer than $N$ inputs: here for $N = 1000$, but not for $N = 100$. (In a
# convolution, the places of the image multiply $N$.)
#
# In passes over the array $t$ it is the same story. Forward, mean-only: one to add up, one to subtract. Batch norm: the
# mean, the variance, then subtract, divide, scale. Backward, mean-only: the same two again. Batch norm: the two sums
# $\mu[\delta]$ and $\mu[\delta\,\hat t]$, then three terms to combine. "Comparatively cheap" (section 4) is right.
#
# Examples that know each other
# -----------------------------
#
# Weight normalization "does not introduce any dependencies between the examples in a minibatch" (abstract). We take
# the Jacobian $\partial \tilde t_i/\partial x_j$ for a minibatch of six. For weight normalization the blocks with
# $i \ne j$ must be exactly zero. For mean-only batch normalization, equation 7 says
# $\partial\tilde t_i/\partial x_j = (\delta_{ij} - 1/N)\,w$.

six = rng.normal(size=(6, 4))
blocks = {}
for kind, (normalize, after) in KINDS.items():
    layer = nn.Linear(4, 3, rng=lesson.rng(8))
    model = nn.Sequential(wn.WeightNorm(layer) if normalize else layer, *([after(3)] if after else []))
    jacobian = mg.jacobian(model, six).numpy()  # (6, 3, 6, 4)
    between = [np.abs(jacobian[i, :, j]).max() for i in range(6) for j in range(6) if i != j]
    blocks[kind] = max(between)
    print(f"{kind:18} largest |∂t̃_i/∂x_j|, i ≠ j: {max(between):.4f}")
    if kind == "WN + mean-only BN":
        w = layer.weight.numpy()
        law = np.einsum("ij,ck->icjk", np.eye(6) - 1 / 6, w)
        lesson.claim("Mean-only BN: ∂t̃_i/∂x_j = (δ_ij - 1/N) w, largest difference (w is float32)",
                     np.abs(jacobian - law).max(), below=1e-6)
lesson.claim(
    "Weight norm: influence of one example on another (abstract), exactly", blocks["weight norm"], near=0, within=0
)
for kind in ("WN + mean-only BN", "batch norm"):
    lesson.claim(f"{kind}: largest influence of one example on another", blocks[kind], above=0.01)

# %%
# With a minibatch of one, $\tilde t = b$ whatever $t$ is, and the gradient $\delta - \mu[\delta]$ is zero: nothing
# comes through, in either direction. (In a convolution, the mean is also over the places of the image, so that one
# picture can do.) That would be a silent way for a network to learn nothing; the library refuses.

alone = wn.mean_only_gradients(np.array([[0.3, -1.2, 4.0]]))[0]
lesson.claim(
    "One example: the gradient that mean-only BN lets through, largest entry", np.abs(alone).max(), near=0, within=0
)
refused = 0
for after in (wn.MeanOnlyBatchNorm(3), nn.BatchNorm(3)):
    try:
        after(mg.tensor(np.ones((1, 3), np.float32)))
    except ValueError as error:
        refused += 1
        print("ValueError:", error)
lesson.claim("One example in training: mean-only and full batch normalization refuse, times out of 2", refused, near=2,
             within=0)

# %%
# The noise
# ---------
#
# Since $\tilde t_i$ depends on the other examples of its minibatch, and those are drawn at random, training sees a
# noisy $\tilde t_i$. Section 4 compares the two kinds: mean-only batch normalization "causes less noise during
# training, and the noise that is caused is more gentle as the law of large numbers ensures that μ[t] and μ[∇_t̃] are
# approximately normally distributed. Thus, the added noise has much lighter tails than the highly kurtotic noise caused
# by the minibatch estimate of the variance used in full batch normalization."
#
# (It is the central limit theorem that is meant: the law of large numbers says that a mean converges, not how it is
# distributed.) The heaviness of tails is measured by the *excess kurtosis*
# $\kappa = E(y - Ey)^4/\mathrm{Var}(y)^2 - 3$: 0 for a normal distribution, $-2$ for a fair coin, 3 for a Laplace
# distribution, and infinite if the fourth moment is. "Noise" can mean three things here, and they differ. As before,
# $z$ is the pre-activation in units in which the population has mean 0 and variance 1.
#
# **First: the estimates themselves.** Cumulants of independent variables add, so for the mean of $N$ examples
# $\kappa[\bar z] = \kappa[z]/N$, for any distribution. For Gaussian $z$ that is 0, and $N s^2$ is $\chi^2_{N-1}$, so
# $\kappa[s^2] = 12/(N - 1)$. What multiplies $t$ is $1/s$. Its moments follow from
# $E\,\chi_\nu^{-p} = 2^{-p/2}\,\Gamma((\nu - p)/2)/\Gamma(\nu/2)$ for $p < \nu$: the fourth exists only for
# $N - 1 > 4$. Up to $N = 5$ its kurtosis is infinite.


def kurtosis(y, axis=0):
    """The excess kurtosis along an axis."""
    y = y - y.mean(axis=axis, keepdims=True)
    return (y**4).mean(axis=axis) / (y**2).mean(axis=axis) ** 2 - 3


def inverse_deviation_kurtosis(N):
    """The excess kurtosis of 1/s for N Gaussian numbers; inf for N < 6."""
    nu = N - 1
    if nu <= 4:
        return math.inf
    m1, m2, m3, m4 = (2 ** (-p / 2) * math.exp(math.lgamma((nu - p) / 2) - math.lgamma(nu / 2)) for p in (1, 2, 3, 4))
    variance = m2 - m1**2
    return (m4 - 4 * m1 * m3 + 6 * m1**2 * m2 - 3 * m1**4) / variance**2 - 3


# %%
# **Second: the noise that one example sees.** Fix an example, with its $z_0$, and draw the other $N - 1$. Mean-only:
# $\tilde t = z_0 - \bar z$ is Gaussian if $z$ is. Batch norm: $\hat t = (z_0 - \bar z)/s$. Here $1/s$ does *not* run
# wild, because the example itself is part of the minibatch: no single number among $N$ can be more than $\sqrt{N - 1}$
# deviations from their mean, so $|\hat t| \le \sqrt{N - 1}$. For $N = 2$, $\hat t$ is $+1$ or $-1$ and nothing else: as
# light a tail as there is. In general, with $a = z_0 - \bar z_{\text{others}} \sim N(z_0, 1/(N - 1))$ and $r^2$ the sum
# of squares of the others about their own mean, $\chi^2_{N-2}$ and independent of $a$,
#
# $$\hat t = \frac{a\,(N - 1)/N}{\sqrt{\bigl(r^2 + a^2 (N - 1)/N\bigr)/N}} .$$
#
# A sum over a grid of $a$ and $r$ gives its moments.


def one_example_kurtosis(z0, N):
    """The excess kurtosis of t̂ for a fixed example z₀ among N Gaussian ones, by a sum over a grid."""
    if N == 2:  # t̂ is 1 where the other number is smaller, else -1
        p = (1 + math.erf(z0 / math.sqrt(2))) / 2
        return 1 / (p * (1 - p)) - 6
    a = z0 + np.linspace(-8, 8, 1601)[:, None] / math.sqrt(N - 1)
    top = math.sqrt(N - 2) + 8
    r = (np.arange(1600) + 0.5) * top / 1600
    log_density = -((a - z0) ** 2) * (N - 1) / 2 + (N - 3) * np.log(r) - r**2 / 2
    p = np.exp(log_density - log_density.max())
    p /= p.sum()
    hat = a * (N - 1) / N / np.sqrt((r**2 + a**2 * (N - 1) / N) / N)
    hat = hat - (p * hat).sum()
    return (p * hat**4).sum() / (p * hat**2).sum() ** 2 - 3


# %%
# **Third: the noise that the network sees**, over all examples. To first order in $1/\sqrt N$, with
# $A = -\bar z$ and $B = -(s - 1)$,
#
# $$\hat t - z \approx A + z\,B .$$
#
# Mean-only batch normalization has only $A$, the same for all examples. The noise of batch normalization is partly
# *multiplicative*: an example with a large $z$ gets more of it. For large $N$, $A$ and $B$ are Gaussian with the
# variances $1/N$ and $(2 + \kappa)/4N$ and the covariance $\gamma_1/2N$, where $\kappa$ and $\gamma_1$ are excess
# kurtosis and skewness of $z$. So for a given $z$ the noise is Gaussian with the variance $q(z)/N$,
#
# $$q(z) = 1 + \gamma_1 z + \frac{2 + \kappa}{4}\,z^2 ,$$
#
# and over all examples it is a mixture of Gaussians of different widths. Such a mixture always has heavier tails:
#
# $$\kappa[\hat t - z] \to 3\,\frac{\mathrm{Var}\,q(z)}{(E\,q(z))^2} .$$
#
# $N$ has dropped out. For Gaussian $z$, $q = 1 + z^2/2$: $\kappa \to 3 \cdot \frac12/\frac94 = \frac23$, however
# large the minibatch. And the variance of the noise is $E\,q/N = 3/2N$, that of mean-only batch normalization $1/N$.

draws = 2**18 if lesson.full else 2**16
noise_sizes = [2, 3, 4, 6, 8, 16, 32, 64, 128, 256]
names = ("mean", "s²", "1/s", "z₀ = 0", "z₀ = 2", "all, mean-only", "all, batch norm")
found = {name: [] for name in names}
spread_of = {name: [] for name in names}
variances = []


def with_error(y):
    """Excess kurtosis and its standard error, from 16 parts of the sample."""
    parts = kurtosis(y.reshape(16, -1), axis=1)
    return kurtosis(y), parts.std(ddof=1) / 4


for index, N in enumerate(lesson.progress(noise_sizes, "noise")):
    z = lesson.rng(9, index).normal(size=(draws, N))
    mean, s = z.mean(axis=1), z.std(axis=1)
    some_of = z[:, :8]  # examples of the same minibatch, for the noise over all examples
    others, squares_of_others = z[:, 1:].sum(axis=1), (z[:, 1:] ** 2).sum(axis=1)
    of_batch_norm = (some_of - mean[:, None]) / s[:, None] - some_of
    samples = {
        "mean": mean,
        "s²": s**2,
        "1/s": 1 / s,
        "all, mean-only": -mean,
        "all, batch norm": of_batch_norm.ravel(),
    }
    for z0 in (0.0, 2.0):
        m0 = (others + z0) / N
        samples[f"z₀ = {z0:.0f}"] = (z0 - m0) / np.sqrt(np.maximum((squares_of_others + z0**2) / N - m0**2, 1e-300))
    for name, y in samples.items():
        value, error = with_error(y)
        found[name].append(value)
        spread_of[name].append(error)
    variances.append(samples["all, batch norm"].var() / mean.var())
found = {name: np.array(values) for name, values in found.items()}
spread_of = {name: np.array(values) for name, values in spread_of.items()}
noise_sizes = np.array(noise_sizes)

print(f"excess kurtosis, Gaussian pre-activations, {draws:,} minibatches")
print("   N " + "".join(f"{name:>17}" for name in names) + "   variance BN / mean-only")
for i, N in enumerate(noise_sizes):
    print(f"{N:4} " + "".join(f"{found[name][i]:10.3f} ±{spread_of[name][i]:5.3f}" for name in names)
          + f"{variances[i]:14.3f}")

# %%
# *Tolerances.* The sampling error of a kurtosis is measured, from 16 parts of the sample; we allow five standard
# errors, because there are many comparisons, and a further 0.02 for terms of higher order in $1/N$. A kurtosis that
# barely exists cannot be estimated: for $1/s$ the estimate's own variance needs eight moments, and more to be of use,
# so the comparison begins at $N = 32$.

theories = {
    "mean": np.zeros(len(noise_sizes)),
    "s²": 12 / (noise_sizes - 1),
    "1/s": np.array([inverse_deviation_kurtosis(N) for N in noise_sizes]),
    "z₀ = 0": np.array([one_example_kurtosis(0, N) for N in noise_sizes]),
    "z₀ = 2": np.array([one_example_kurtosis(2, N) for N in noise_sizes]),
}


def worst(name, smallest):
    """The largest deviation from theory, in multiples of what sampling error allows."""
    use = noise_sizes >= smallest
    return (np.abs(found[name] - theories[name])[use] / (5 * spread_of[name][use] + 0.02)).max()


for name, smallest, text in (("mean", 2, "the minibatch mean: κ = 0"), ("s²", 4, "the variance: κ = 12/(N - 1)"),
                             ("1/s", 32, "1/s: κ from the moments of χ"),
                             ("z₀ = 0", 2, "one example, z₀ = 0: κ from the grid"),
                             ("z₀ = 2", 4, "one example, z₀ = 2: κ from the grid")):
    lesson.claim(
        f"Gaussian, {text}, N ≥ {smallest}: deviation / (5 standard errors + 0.02)", worst(name, smallest), below=1
    )
at = {N: i for i, N in enumerate(noise_sizes)}
lesson.claim("Gaussian, N = 128: the variance estimate is not highly kurtotic, κ[s²]", found["s²"][at[128]], below=0.2)
lesson.claim("Gaussian, N = 2: the noise that an example with z₀ = 0 sees from BN has the lightest tails there are, κ",
             found["z₀ = 0"][at[2]], near=-2, within=0.001)
lesson.claim("Gaussian, N from 16 to 256: the noise that one example with z₀ = 0 or 2 sees from BN, largest |κ|",
             max(np.abs(found[name][at[16] :]).max() for name in ("z₀ = 0", "z₀ = 2")), below=1)
lesson.claim("Gaussian, N = 256: the noise over all examples, BN: κ → 2/3",
             found["all, batch norm"][at[256]], near=2 / 3,
             within=5 * spread_of["all, batch norm"][at[256]] + 0.02)
lesson.claim("Gaussian, N = 256: variance of the noise, BN / mean-only → 3/2 (section 4: less noise)",
             variances[at[256]], near=1.5, within=0.04)

# %%
# So for Gaussian pre-activations:
#
# - The estimate of the variance is kurtotic for small minibatches only. At the paper's $N = 100$, $\kappa[s^2] = 0.12$;
#   in a convolution, whose statistics also run over the places of an image, less. "Highly kurtotic" it is not, and it
#   vanishes as $1/N$, by the same theorem that section 4 appeals to for the mean.
# - Nor does one example see heavy tails, unless $N$ is tiny *and* the example is an outlier.
# - But over all examples the noise of batch normalization does have heavier tails than that of mean-only batch
#   normalization, for *any* $N$, because it is multiplicative. In this sense the sentence holds, and more strongly than
#   it is argued: no central limit theorem takes this away.
# - Less noise: yes, by a factor of 1.5 in variance for $N$ of 16 or more, and by more than that below.

figure, (left, right) = plt.subplots(1, 2, figsize=(8.4, 4.2), width_ratios=(1, 1.2))
N = 16
z = lesson.rng(10).normal(size=(4 * draws, N))
mean, s = z.mean(axis=1, keepdims=True), z.std(axis=1, keepdims=True)
noises = {"mean-only BN": -mean.ravel(), "batch norm": ((z - mean) / s - z).ravel()}
bins = np.linspace(-7, 7, 71)
for (name, y), colour in zip(noises.items(), (MEAN_ONLY, BN), strict=True):
    density, _ = np.histogram(y / y.std(), bins, density=True)
    left.stairs(
        np.where(density > 0, density, np.nan), bins, color=colour, lw=1.5, label=f"{name}, κ = {kurtosis(y):.2f}"
    )
left.plot(bins, np.exp(-(bins**2) / 2) / math.sqrt(2 * math.pi), "--", color="0.5", lw=1.2, label="normal")
left.set(yscale="log", ylim=(1e-6, 30), xlim=(-7, 7), xlabel="noise / its standard deviation", ylabel="density",
         title=f"Over all examples, N = {N}")
left.legend(loc="upper right", fontsize=8.5)
for name, colour, marker, label in (("1/s", "#AA3377", "s", "the estimate 1/s"),
                                    ("s²", "#999933", "D", "the estimate s²"),
                                    ("z₀ = 0", "#4477AA", "v", "BN, one example, z₀ = 0"),
                                    ("z₀ = 2", "#66CCEE", "^", "BN, one example, z₀ = 2")):
    use = np.isfinite(theories[name])
    right.plot(noise_sizes[use], theories[name][use], "-", color=colour, lw=1.2)
    right.plot(noise_sizes[use], found[name][use], marker, color=colour, ms=4.5, label=label)
right.plot(noise_sizes, found["all, batch norm"], "o", color=BN, ms=5, label="BN, all examples")
right.axhline(2 / 3, color=BN, lw=1.2)
right.plot(noise_sizes, found["mean"], "o", color=MEAN_ONLY, ms=5, label="mean-only BN")
right.axhline(0, color=MEAN_ONLY, lw=1.2)
right.annotate("2/3", (300, 2 / 3), (0, 4), textcoords="offset points", fontsize=9, ha="right")
right.set(xscale="log", xlabel="size N of the minibatch", ylabel="excess kurtosis κ of the noise", ylim=(-2.3, 4.2),
          title="Theory (lines) and measurement")
right.set_xticks([2, 4, 8, 16, 32, 64, 128, 256], ["2", "4", "8", "16", "32", "64", "128", "256"])
right.minorticks_off()
right.legend(loc="upper right", fontsize=8.5)
lesson.figure(
    figure, "noise", note=f"Gaussian pre-activations; left {4 * draws:,}, right {draws:,} minibatches of each size"
)

# %%
# **In a trained network** pre-activations are not Gaussian, and gradients less so: most examples are classified well
# and have hardly any, a few have large ones. We need a problem to train on, here and for the rest of the lesson: 20
# correlated inputs with means that are not zero; ten classes, drawn from the softmax of a random tanh network. Classes
# overlap, as they do in real data. New examples can be drawn without end.


def problem(generator):
    """A function that draws n examples of a problem, (inputs, labels), with a generator of its own."""
    directions, _ = np.linalg.qr(generator.normal(size=(k, k)))
    scales = np.sqrt(1 / np.arange(1, k + 1))
    root = directions * scales * np.sqrt(k / (scales**2).sum())
    mean = 0.5 * generator.normal(size=k)
    first, second = (
        2 * generator.normal(size=(k, 24)) / np.sqrt(k),
        3 * generator.normal(size=(24, classes)) / np.sqrt(24),
    )

    def draw(n, source):
        z = source.normal(size=(n, k))
        logits = np.tanh(z @ first) @ second
        return (z @ root.T + mean).astype(np.float32), (logits + source.gumbel(size=logits.shape)).argmax(axis=1)

    return draw


draw, source = problem(lesson.rng(11)), lesson.rng(12)
units = 32
parts = []
for a, b in ((k, units), (units, units)):
    parts += [wn.WeightNorm(nn.Linear(a, b, bias=False, rng=source)), wn.MeanOnlyBatchNorm(b), nn.ReLU()]
net = nn.Sequential(*parts, wn.WeightNorm(nn.Linear(units, classes, rng=source)))
wn.data_dependent_init(net, draw(500, source)[0])
optimizer = mg.optim.Adam(net.parameters(), lr=0.003)
for _ in lesson.progress(range(2000 if lesson.full else 600), "network for the noise"):
    inputs, targets = draw(100, source)
    optimizer.zero_grad()
    F.cross_entropy(net(mg.tensor(inputs)), targets).backward()
    optimizer.step()

# %%
# The population: 16,384 new examples. Of the second layer we take the pre-activations $t$ and the gradients $\delta$ of
# each example, with the statistics of the population, in the first 16 units that are not dead, and standardize both.
# Then we draw minibatches and apply both normalizations to *this layer*. With $\hat t$ and $s$ from the minibatch, the
# noise in the gradient of example $i$ is the minibatch's $\nabla_{t_i}$ less what it would be with the population's
# statistics:
#
# - mean-only (equation 8): $-\mu[\delta]$;
# - batch norm: $(\delta_i - \mu[\delta] - \hat t_i\,\mu[\delta\,\hat t])/s - (\delta_i - \rho z_i)$ with
#   $\rho = E[\delta z]$.
#
# The argument about mixtures holds for the gradient as well. To first order batch normalization's noise is
#
# $$-(\mu[\delta] - \rho\,\bar z) + (3\rho z_i - \delta_i)(s - 1) - z_i\,(\mu[\delta z] - \rho),$$
#
# three minibatch averages, of $\delta - \rho z$, of $(z^2 - 1)/2$ and of $\delta z - \rho$, with coefficients
# $a = (-1,\ 3\rho z_i - \delta_i,\ -z_i)$ that depend on the example. With $K$ for the covariance of the three, its
# variance for a given example is $q/N$, $q = a^{\mathsf T} K a$, and over all examples
# $\kappa \to 3\,\mathrm{Var}\,q/(E q)^2$ as before.

inputs, targets = draw(2**14, source)
below, above = nn.Sequential(*list(net)[:4]), nn.Sequential(*list(net)[5:])  # net[4] is the normalization of layer 2
t = below(mg.tensor(inputs)).numpy()
t_tilde = mg.tensor(net[4](t).numpy(), requires_grad=True)
delta = mg.grad(F.cross_entropy(above(t_tilde), targets), t_tilde).numpy()
alive = np.flatnonzero(delta.std(axis=0) > 0)[:16]
z, delta = ((a - a.mean(axis=0)) / a.std(axis=0) for a in (t[:, alive].astype(float), delta[:, alive].astype(float)))
radial = (delta * z).mean(axis=0)  # ρ
own_kurtosis = {"t": kurtosis(z), "δ": kurtosis(delta)}
print(f"{z.shape[1]} units; excess kurtosis over examples, median and range: "
      + "; ".join(f"{name}: {np.median(a):.1f} ({a.min():.1f} to {a.max():.1f})"
                  for name, a in own_kurtosis.items()))

# %%
# In this network $\rho$ is within 0.05 of 0, and a mistake in the term with $3\rho z_i$ would not be seen. So the
# formula is tried first on pairs that are made for it: $z$ and $\delta$ Gaussian with $\rho = 0.8$, in minibatches of
# 256. *Tolerance.* The kurtosis of 16 times 131,072 examples is known to some 5 %, and terms of the next order are some
# $10/N = 4$ %. Without the 3, or with any number from 0 to 2 for it, the limit would be more than twice as large.


def mixture_limit(averaged, coefficients):
    """3 Var q/(E q)², q = aᵀKa: the excess kurtosis, for N → ∞, of noise that is linear in minibatch averages."""
    K = np.cov(averaged)
    q = np.einsum("in,ij,jn->n", coefficients, K, coefficients)
    return 3 * q.var() / q.mean() ** 2


def gradient_limit(z, delta, rho):
    """The same for batch normalization's noise in the gradient."""
    coefficients = np.stack([-np.ones_like(z), 3 * rho * z - delta, -z])
    return mixture_limit([delta - rho * z, (z**2 - 1) / 2, delta * z], coefficients)


def gradient_noise(z, delta, rho):
    """Batch normalization's noise in the gradient: one row for each minibatch of standardized z and δ."""
    s = z.std(axis=1, keepdims=True)
    hat = (z - z.mean(axis=1, keepdims=True)) / s
    of_batch = delta - delta.mean(axis=1, keepdims=True) - hat * (delta * hat).mean(axis=1, keepdims=True)
    return of_batch / s - (delta - rho * z)


made = lesson.rng(13, 100).normal(size=(16, 2, 2**17 // 256, 256))
made_z, made_delta = made[:, 0], 0.8 * made[:, 0] + 0.6 * made[:, 1]
made_kurtosis = [kurtosis(gradient_noise(z, d, 0.8).ravel()) for z, d in zip(made_z, made_delta, strict=True)]
lesson.claim("Gaussian pairs, ρ = 0.8, N = 256: κ of BN's noise in the gradient = that of the mixture",
             np.mean(made_kurtosis), predicted=gradient_limit(made_z.ravel(), made_delta.ravel(), 0.8), rtol=0.2)

# %%

network_sizes = [4, 8, 16, 32, 64, 128, 256]
total = 2**19 if lesson.full else 2**17  # examples in all minibatches of one size
keys = ("t, mean-only", "t, BN", "δ, mean-only", "δ, BN")
of_network = {key: [] for key in keys}
power = {key: [] for key in keys}
for index, N in enumerate(lesson.progress(network_sizes, "noise in the network")):
    noise, drawn_by = {key: [] for key in keys}, lesson.rng(13, index)
    for _ in range(total // 2**17):
        for unit in range(z.shape[1]):
            rows = drawn_by.integers(0, len(z), (2**17 // N, N))
            tb, db = z[rows, unit], delta[rows, unit]
            tm, dm = tb.mean(axis=1, keepdims=True), db.mean(axis=1, keepdims=True)
            hat = (tb - tm) / tb.std(axis=1, keepdims=True)
            entries = (-tm, hat - tb, -dm, gradient_noise(tb, db, radial[unit]))
            for key, y in zip(keys, entries, strict=True):
                noise[key].append([np.mean(y**p) for p in (1, 2, 3, 4)])
    for key in keys:
        m1, m2, m3, m4 = np.array(noise[key]).reshape(-1, z.shape[1], 4).mean(axis=0).T
        variance = m2 - m1**2
        of_network[key].append((m4 - 4 * m1 * m3 + 6 * m1**2 * m2 - 3 * m1**4) / variance**2 - 3)
        power[key].append(np.median(variance))
of_network = {key: np.array(values) for key, values in of_network.items()}  # (sizes, units)
print("median over units of the excess kurtosis of the noise, and of its variance times N")
print("   N" + "".join(f"{key:>22}" for key in keys))
for i, N in enumerate(network_sizes):
    print(f"{N:4}" + "".join(f"{np.median(of_network[key][i]):14.2f} {N * power[key][i]:7.2f}" for key in keys))

limits = {"t, BN": [], "δ, BN": []}
for zu, du, rho in zip(z.T, delta.T, radial, strict=True):
    one = np.ones_like(zu)
    limits["t, BN"].append(mixture_limit([zu, (zu**2 - 1) / 2], np.stack([-one, -zu])))
    limits["δ, BN"].append(gradient_limit(zu, du, rho))
print("mixtures, N → ∞:", {key: round(float(np.median(values)), 2) for key, values in limits.items()})

# %%
# *Tolerances.* Each of the 16 units has minibatches of its own. For mean-only batch normalization and $N = 256$ there
# are few means to judge by: with $R$ minibatches the standard error of a kurtosis of 0 is $\sqrt{24/R}$, and of the
# median of 16 about $1.25/\sqrt{16}$ of that; four times this is allowed, and $\kappa/N$ is less. The limits for
# $N \to \infty$ are compared at $N = 256$ within 25 %: a kurtosis of 1 to 4 from 131,072 correlated examples is off by
# some 10 % for one unit, and terms of the next order are some $10/N$.

draws_256 = total // 256
for key, name in (("t, mean-only", "pre-activations"), ("δ, mean-only", "gradients")):
    lesson.claim(f"Trained network, mean-only, N = 256: the noise in {name} is nearly Gaussian, median κ",
                 np.median(of_network[key][-1]), near=0, within=1.25 * math.sqrt(24 / draws_256))
own = np.median(of_network["δ, mean-only"][0]) / np.median(own_kurtosis["δ"])
lesson.claim("Trained network, N = 4: κ of the mean gradient / κ of a gradient = 1/N", own, near=1 / 4, within=0.08)
for key, name in (("t, BN", "pre-activations"), ("δ, BN", "gradients")):
    lesson.claim(f"Trained network, BN, N = 256: κ of the noise in {name} / κ of the mixture, medians",
                 np.median(of_network[key][-1]) / np.median(limits[key]), near=1, within=0.25)
at_128 = network_sizes.index(128)
heavier = np.median(of_network["δ, BN"][at_128]) - np.median(of_network["δ, mean-only"][at_128])
lesson.claim("Trained network, N = 128: the noise in gradients has heavier tails with BN, difference of median κ",
             heavier, above=1)
lesson.claim("Trained network, N = 128: variance of the noise in pre-activations, BN / mean-only (section 4)",
             power["t, BN"][at_128] / power["t, mean-only"][at_128], above=1.2)
lesson.claim("Trained network, N = 128: variance of the noise in gradients, BN / mean-only",
             power["δ, BN"][at_128] / power["δ, mean-only"][at_128], above=1.2)

# %%

figure, axes = plt.subplots(1, 2, figsize=(8.4, 4.0))
for axis, which, name, top in (
    (axes[0], "t", "pre-activations $t$", 1.6),
    (axes[1], "δ", "gradients $\\nabla_t L$", 14),
):
    for key, colour, label in ((f"{which}, BN", BN, "batch norm"), (f"{which}, mean-only", MEAN_ONLY, "mean-only BN")):
        low, middle, high = np.quantile(of_network[key], [0.25, 0.5, 0.75], axis=1)
        axis.errorbar(network_sizes, middle, (middle - low, high - middle), fmt="o", color=colour, ms=5, lw=1.2,
                      label=label)
    axis.axhline(np.median(limits[f"{which}, BN"]), color=BN, lw=1.2, label="mixture of Gaussians, N → ∞")
    axis.plot(network_sizes, np.median(own_kurtosis[which]) / np.array(network_sizes), color=MEAN_ONLY, lw=1.2,
              label="κ of one example / N")
    axis.set(xscale="log", xlabel="size N of the minibatch", title=f"Noise in {name}", ylim=(-0.13 * top, top))
    axis.set_xticks(network_sizes, [str(N) for N in network_sizes])
    axis.minorticks_off()
axes[1].annotate(f"N = 4: κ = {np.median(of_network['δ, BN'][0]):.0f}", (4, 14), (3.7, 7.3), fontsize=9, ha="left",
                 arrowprops={"arrowstyle": "->"})
axes[0].set_ylabel("excess kurtosis κ over all examples")
axes[1].legend(fontsize=9)
lesson.figure(
    figure,
    "noise_trained",
    note="second layer of a trained network, synthetic problem: median and middle half of 16 units",
)

# %%
# In the trained network the sentence of section 4 holds where it matters most, in the gradients: at $N = 128$ the noise
# of batch normalization has an excess kurtosis near 3, that of mean-only batch normalization hardly any. The gradient
# of a single example has heavy tails itself; for mean-only batch normalization the average over the minibatch smooths
# them out, while batch normalization multiplies the noise of $1/s$ by the example's own gradient. For $N = 4$ it is
# wild. But what makes the tails heavy is that multiplication, not "the minibatch estimate of the variance" as such.

# %%
# The size of the minibatch
# -------------------------
#
# Now train. Weight normalization, with and without mean-only batch normalization, full batch normalization and the
# normal parameterization, with minibatches of 1 to 256 examples: a network of 20 inputs, two hidden layers of 32 ReLU
# units and ten outputs; plain SGD; several learning rates for each, of which the best counts; new examples in each
# step. All take the same number of *steps*, so the columns for large $N$ have seen more examples. What is to be
# compared are the kinds at one $N$.
#
# Only the hidden layers are normalized over the minibatch. All four start as the same function: equations 5 and 6 on
# 500 examples, and $v = w$, so that weight normalization starts with $\|v\| = g$ and takes the same first step as the
# normal parameterization (lesson 03). Many runs go side by side, as in lesson 03: the first two axes of every array
# count the problem and the learning rate.

SIZES = [k, units, units, classes]
KIND_NAMES = ("normal", "weight norm", "WN + mean-only BN", "batch norm")


def start(kind, xs, sources):
    """The parameters of every layer, at the common starting point, with a leading axis for the problems.

    Per layer: weight or v; then g or γ, if the kind has one; then b or β.
    """
    layers, h = [], xs
    for i, (a, b) in enumerate(pairwise(SIZES)):
        w = np.stack([source.normal(size=(b, a)) for source in sources]) / math.sqrt(a)
        t = h @ w.swapaxes(1, 2)
        mean, deviation = t.mean(axis=1), t.std(axis=1)
        h = np.maximum((t - mean[:, None]) / deviation[:, None], 0)
        w = w / deviation[..., None]
        hidden = i < len(SIZES) - 2
        bias = np.zeros_like(mean) if hidden and kind in ("WN + mean-only BN", "batch norm") else -mean / deviation
        scale = {"normal": [], "batch norm": [np.ones_like(mean)] if hidden else []}.get(
            kind, [np.linalg.norm(w, axis=2)]
        )
        layers.append([w, *scale, bias])
    return layers


def forward(kind, layers, x, given=None, rows=slice(None)):
    """Logits for x (…, N, inputs), and the (mean, variance) used in each hidden layer.

    The statistics are those of `rows` of the minibatch itself, unless they are `given`.
    """
    used = []
    for i, parameters in enumerate(layers):
        w, bias = parameters[0], mg.expand_dims(parameters[-1], -2)
        if kind in ("weight norm", "WN + mean-only BN"):
            w = mg.expand_dims(parameters[1], -1) * w / mg.norm(w, axis=-1, keepdims=True)
        t = x @ w.swapaxes(-1, -2)
        if i < len(layers) - 1 and kind in ("WN + mean-only BN", "batch norm"):
            of = t[..., rows, :]
            mean, variance = given[i] if given else (of.mean(axis=-2, keepdims=True), None)
            t = t - mean
            if kind == "batch norm":
                if not given:
                    variance = mg.square(t[..., rows, :]).mean(axis=-2, keepdims=True)
                t = t * mg.expand_dims(parameters[1], -2) / mg.sqrt(variance + 1e-5)
            used.append((mean, variance))
        x = t + bias
        x = mg.relu(x) if i < len(layers) - 1 else x
    return x, used


def nats(logits, targets):
    """Cross-entropy of each run, averaged over its examples."""
    right = (logits * np.eye(classes, dtype=np.float32)[targets]).sum(axis=-1)
    return (mg.logsumexp(logits, axis=-1) - right).mean(axis=-1)


class Runs:
    """Networks of one kind, for every problem and every learning rate, trained side by side."""

    def __init__(self, kind, rates, key):
        self.kind, self.draws, self.rates = kind, [problem(lesson.rng(11, s)) for s in range(seeds)], np.array(rates)
        self.sources = [lesson.rng(14, s) for s in range(seeds)]
        xs = np.stack([draw(500, source)[0] for draw, source in zip(self.draws, self.sources, strict=True)])
        self.layers = [
            [mg.tensor(np.repeat(p[:, None], len(rates), axis=1).astype(np.float32), requires_grad=True) for p in layer]
            for layer in start(kind, xs, self.sources)
        ]
        self.sources = [lesson.rng(15, s, key) for s in range(seeds)]
        self.parameters = [p for layer in self.layers for p in layer]
        self.running = None

    def new_examples(self, n, sources):
        """n examples of every problem, with an axis of length 1 for the learning rates."""
        pairs_ = [draw(n, source) for draw, source in zip(self.draws, sources, strict=True)]
        return np.stack([p[0] for p in pairs_])[:, None], np.stack([p[1] for p in pairs_])[:, None]

    def step(self, x, targets, rows=slice(None), counted=slice(None)):
        """One step of SGD on the `counted` examples, with the statistics of `rows`."""
        logits, used = forward(self.kind, self.layers, x, rows=rows)
        gradients = mg.grad(nats(logits[..., counted, :], targets[..., counted]).sum(), self.parameters)
        for p, gradient in zip(self.parameters, gradients, strict=True):
            rate = self.rates.reshape(1, -1, *[1] * (p.ndim - 2)).astype(np.float32)
            p.data = p.data - rate * gradient.data
        if used:
            self.follow(used, x[..., rows, :].shape[-2])

    def follow(self, used, n):
        """Running averages with momentum 0.1, the variance unbiased."""
        new = [[m.data, v.data * (n / max(n - 1, 1)) if v is not None else np.zeros_like(m.data)] for m, v in used]
        old = self.running or [[np.zeros_like(m), np.ones_like(v)] for m, v in new]
        self.running = [
            [0.9 * a + 0.1 * b for a, b in zip(was, now, strict=True)] for was, now in zip(old, new, strict=True)
        ]

    def test(self, x, targets, running=True):
        """Cross-entropy and error rate of every run, with running averages or the statistics of these very examples."""
        with mg.no_grad():
            logits = forward(self.kind, self.layers, x, self.running if running else None)[0]
            wrong = logits.numpy().argmax(axis=-1) != targets
            return np.stack([nats(logits, targets).numpy(), wrong.mean(axis=-1)])


# %%
# With one example, mean-only batch normalization leaves the hidden layers without any gradient. The library's layer
# refuses that; the stacked code above does not, so that we can watch. Full batch normalization would divide zero by
# zero.

seeds, sgd_steps = (12, 1000) if lesson.full else (6, 400)
rates = [0.01, 0.03, 0.1, 0.3, 1.0] if lesson.full else [0.03, 0.1, 0.3, 1.0]
batch_sizes = [1, 2, 4, 8, 16, 32, 64, 128, 256] if lesson.full else [1, 2, 4, 8, 32, 128]
tests = [lesson.rng(16, s) for s in range(seeds)]
test_x, test_y = Runs("normal", rates, 0).new_examples(2048, tests)
results = {}  # (kind, N) → test loss, (seeds, rates), for each way to evaluate
at_one = []
for kind in KIND_NAMES:
    for N in lesson.progress(batch_sizes, kind):
        if N == 1 and kind == "batch norm":
            continue
        runs = Runs(kind, rates, N)
        before = [p.data for p in runs.parameters]
        with np.errstate(over="ignore", invalid="ignore"):  # some of these runs diverge
            for _ in range(sgd_steps):
                runs.step(*runs.new_examples(N, runs.sources))
            losses = {"running": runs.test(test_x, test_y)[0]}
            if runs.running and N > 1:
                losses["large batch"] = runs.test(test_x, test_y, running=False)[0]
                cut = min(2048 // N, 128)
                x, y = (a[:, :, : cut * N].reshape(seeds, 1, cut, N, *a.shape[3:]) for a in (test_x, test_y))
                losses["batch"] = np.mean(
                    [runs.test(x[:, :, j], y[:, :, j], running=False)[0] for j in range(cut)], axis=0
                )
        if N == 1 and kind == "WN + mean-only BN":
            at_one = [np.abs(p.data - b).max() for p, b in zip(runs.parameters, before, strict=True)]
        results[kind, N] = {name: np.where(np.isfinite(a), a, np.inf) for name, a in losses.items()}


def best(kind, N, how="running"):
    """The test loss of each problem at the learning rate that is best for this kind and N in the median."""
    losses = results[kind, N][how]
    return losses[:, np.median(losses, axis=0).argmin()]


print(f"test loss (nats), mean over {seeds} problems, best learning rate; guessing: {math.log(classes):.3f}")
print("   N" + "".join(f"{kind:>20}" for kind in KIND_NAMES))
for N in batch_sizes:
    print(
        f"{N:4}"
        + "".join(f"{best(kind, N).mean():20.3f}" if (kind, N) in results else f"{'-':>20}" for kind in KIND_NAMES)
    )
print("WN + mean-only BN, N = 1: largest change of v, g, b, layer by layer:", [f"{c:.2g}" for c in at_one])
print("ways to evaluate, best learning rate of each: running averages / the test minibatch's own / 2048 examples'")
for kind in KIND_NAMES[2:]:
    for N in batch_sizes[1:]:
        print(
            f"{kind:18} N = {N:3}: "
            + " / ".join(f"{best(kind, N, how).mean():.3f}" for how in ("running", "batch", "large batch"))
        )


def behind(kind, other, N, how="running", other_how="running"):
    """How much more test loss one kind has than another: mean over problems, and its standard error."""
    difference = best(kind, N, how) - best(other, N, other_how)
    return difference.mean(), difference.std(ddof=1) / math.sqrt(seeds)


def claim_behind(text, kind, other, N, **options):
    """Claim that `kind` has more test loss than `other`, in the mean over the problems."""
    mean, error = behind(kind, other, N, **options)
    print(f"difference {mean:+.3f}, standard error {error:.3f}")
    lesson.claim(f"{text}: mean difference of test losses", mean, above=0)


top = batch_sizes[-1]
lesson.claim("N = 1, WN + mean-only BN: largest change of any parameter but the last bias, after all steps",
             max(at_one[:-1]), near=0, within=0)
lesson.claim("N = 1, weight norm: learns, mean test loss − that of guessing",
             best("weight norm", 1).mean() - math.log(classes), below=0)
claim_behind("N = 2: batch norm is behind weight norm", "batch norm", "weight norm", 2)
for N in (2, 4):
    claim_behind(f"N = {N}: batch norm is behind WN + mean-only BN", "batch norm", "WN + mean-only BN", N)
claim_behind(f"N = {top}: weight norm alone is behind WN + mean-only BN", "weight norm", "WN + mean-only BN", top)
lesson.claim(f"N = {top}: batch norm and WN + mean-only BN, mean difference of test losses",
             behind("batch norm", "WN + mean-only BN", top)[0], near=0, within=0.03)
for kind in KIND_NAMES[2:]:
    claim_behind(f"N = 8, {kind}: the test minibatch's own statistics are worse than running averages", kind, kind, 8,
                 how="batch")

# %%

figure, (left, right) = plt.subplots(1, 2, figsize=(8.4, 4.2), width_ratios=(1.15, 1), sharey=True)
for kind in KIND_NAMES:
    Ns = [N for N in batch_sizes if (kind, N) in results and best(kind, N).mean() < 2.6]
    middle = np.array([best(kind, N).mean() for N in Ns])
    left.plot(Ns, middle, "o-", color=COLOURS[kind], ms=4.5, label=kind)
    if kind != "weight norm":
        error = np.array([2 * behind(kind, "weight norm", N)[1] for N in Ns])
        left.fill_between(Ns, middle - error, middle + error, color=COLOURS[kind], alpha=0.18, lw=0)
left.axhline(math.log(classes), ls="--", color="0.5", lw=1)
left.text(batch_sizes[-1], math.log(classes) + 0.015, "guessing", color="0.4", fontsize=9, ha="right")
left.set(xscale="log", xlabel="size N of the minibatch", ylabel="test loss (nats)", ylim=(None, 2.42),
         title="Best learning rate, running averages")
left.legend(loc="lower left", fontsize=9)
for kind in KIND_NAMES[2:]:
    for how, line, marker, label in (("running", "-", "o", "running averages"),
                                     ("batch", ":", "s", "the minibatch's own"),
                                     ("large batch", "--", "x", "those of 2048 examples")):
        values = [best(kind, N, how).mean() for N in batch_sizes[1:]]
        right.plot(batch_sizes[1:], values, line, marker=marker, color=COLOURS[kind], ms=4.5,
                   label=label if kind == "batch norm" else None)
right.set(xscale="log", xlabel="size N of the minibatch", title="With which statistics at test time?")
right.legend(fontsize=9)
for axis, ticks in ((left, batch_sizes), (right, batch_sizes[1:])):
    axis.set_xticks(ticks, [str(N) for N in ticks])
    axis.minorticks_off()
lesson.figure(figure, "batch_size", note=f"synthetic problems: mean of {seeds}, {sgd_steps} steps; "
              "band: 2 standard errors of the difference to weight norm")

# %%
# - *One example.* Weight normalization and the normal parameterization learn. With mean-only batch normalization
#   nothing but the last bias ever changes. Its test loss is even above that of guessing: at test time the running
#   average replaces the mean, and a random network comes to light that training never saw.
# - *Two to four.* With $N = 2$ full batch normalization hardly beats guessing. It passes on which of two numbers is the
#   larger, and nothing else. Mean-only batch normalization keeps by how much, and stays close to weight normalization,
#   which is indifferent to $N$ but for the noise in the gradient that all four share. Here "less noisy approximation to
#   batch normalization" (section 2.2) is plain to see.
# - *Large.* Taking the mean away helps on this problem, whose inputs have means that are not zero. Once its noise is
#   small enough, from about 8 examples on, mean-only batch normalization is ahead of weight normalization alone, by one
#   or two hundredths of a nat in the end. The division by $\sigma$ adds nothing to that.
# - *At test time*, running averages are better than the statistics of the test minibatch itself, which bring the noise
#   along, and about as good as those of 2048 examples. (For $N = 2$ they average over some 40 examples only: with
#   momentum 0.1, over $2/0.1 - 1 = 19$ minibatches.)

# %%
# The noise as a regularizer
# --------------------------
#
# Section 5.1 finds that batch normalization, alone or mean-only with weight normalization, tests better than weight
# normalization alone, and "suggests that the noise added by batch normalization can be useful for regularizing the
# network". On ImageNet, Gitman & Ginsburg (2017, arXiv:1709.08145) found that a ResNet-50 with weight normalization
# trains better and tests about 6 % worse than with batch normalization: at that size it is no cheaper batch
# normalization. That is their measurement; we cannot repeat it here.
#
# What can be done in small is to see whether it is the *noise*. The same network, but with only 256 training examples,
# used over and over, with minibatches of 8; the labels are random to a good part, so there is much to overfit. And two
# more runs: batch normalization whose statistics come from *all* 256 examples at each step, while the loss counts the 8
# of the minibatch only. That is the same parameterization without the noise of the statistics. Likewise for mean-only.

pool_size, small_batch, pool_steps = 256, 8, 2000 if lesson.full else 800
HISTORIES = {"weight norm": ("weight norm", False), "WN + mean-only BN": ("WN + mean-only BN", False),
             "batch norm": ("batch norm", False), "WN + mean-only BN, no noise": ("WN + mean-only BN", True),
             "batch norm, no noise": ("batch norm", True)}
history = {}
for name, (kind, no_noise) in HISTORIES.items():
    runs = Runs(kind, [0.1], 0)
    pool_x, pool_y = runs.new_examples(pool_size, [lesson.rng(17, s) for s in range(seeds)])
    order, curve = lesson.rng(18), []
    for step in lesson.progress(range(1, pool_steps + 1), name):
        rows = order.integers(0, pool_size, small_batch)
        if no_noise:
            x, y = (np.concatenate([a[:, :, rows], a], axis=2) for a in (pool_x, pool_y))
            runs.step(x, y, rows=slice(small_batch, None), counted=slice(small_batch))
        else:
            runs.step(pool_x[:, :, rows], pool_y[:, :, rows])
        if step % (pool_steps // 20) == 0:
            curve.append([*runs.test(pool_x, pool_y), *runs.test(test_x, test_y)])
    history[name] = np.array(curve)[..., 0]  # (times, 4, seeds): loss and error, in training and in test
print(f"after {pool_steps} steps, mean over {seeds} problems; test loss where the training loss passes 1")
print(" " * 30 + "train loss, error     test loss, error      lowest test loss    test loss at train = 1")


def test_at(name, level=1.0):
    """The test loss of each problem when its training loss has come down to `level`."""
    train, test = history[name][:, 0], history[name][:, 2]
    # Training losses go up and down a little: the lowest so far is what is interpolated.
    return np.array([np.interp(-level, -np.minimum.accumulate(a), b) for a, b in zip(train.T, test.T, strict=True)])


for name, curve in history.items():
    train_loss, train_error, test_loss, test_error = curve[-1].mean(axis=1)
    print(f"{name:28} {train_loss:8.3f} {100 * train_error:6.1f} %   {test_loss:8.3f} {100 * test_error:6.1f} % "
          f"{curve[:, 2].min(axis=0).mean():16.3f} {test_at(name).mean():20.3f}")


lesson.claim("256 examples: final test loss, weight norm − (WN + mean-only BN), smallest over problems",
             (history["weight norm"] - history["WN + mean-only BN"])[-1, 2].min(), above=0)
lesson.claim("256 examples: final test loss, (WN + mean-only BN) − batch norm, smallest over problems",
             (history["WN + mean-only BN"] - history["batch norm"])[-1, 2].min(), above=0)
for kind in ("WN + mean-only BN", "batch norm"):
    lesson.claim(f"256 examples: final test loss of {kind}, without the noise − with it, smallest over problems",
                 (history[f"{kind}, no noise"] - history[kind])[-1, 2].min(), above=0)
    for other, text in (("weight norm", f"weight norm tests worse than {kind}"),
                        (f"{kind}, no noise", f"{kind} tests worse without the noise")):
        difference = test_at(other) - test_at(kind)
        print(f"difference {difference.mean():+.3f}, standard error {difference.std(ddof=1) / math.sqrt(seeds):.3f}")
        lesson.claim(f"256 examples, at a training loss of 1: {text}, mean difference", difference.mean(), above=0)

# %%

figure, (left, right) = plt.subplots(1, 2, figsize=(8.4, 4.2))
times = (np.arange(20) + 1) * (pool_steps // 20)
for name, curve in history.items():
    kind, no_noise = HISTORIES[name]
    train, test = curve[:, 0].mean(axis=1), curve[:, 2].mean(axis=1)
    if not no_noise:
        left.plot(times, test, "-", color=COLOURS[kind], label=kind)
        left.plot(times, train, "--", color=COLOURS[kind], lw=1.2)
        error = 2 * curve[:, 2].std(axis=1, ddof=1) / math.sqrt(seeds)
        left.fill_between(times, test - error, test + error, color=COLOURS[kind], alpha=0.15, lw=0)
    right.plot(train, test, ":" if no_noise else "-", marker="o", ms=3, mfc="white" if no_noise else None,
               color=COLOURS[kind], label=name)
left.set(xlabel="step", ylabel="loss (nats)", title="Test (lines), training (dashed)", ylim=(0, None))
left.legend(fontsize=9, loc="upper left")
right.set(xlabel="training loss (nats): learning goes to the right", ylabel="test loss (nats)", xlim=(1.9, 0),
          title="The same, against each other")
right.legend(fontsize=8.5, loc="upper left")
lesson.figure(
    figure, "regularization", note=f"synthetic problems, 256 training examples, minibatches of 8: mean of {seeds}"
)

# %%
# The order is the same in each problem: weight normalization overfits the fastest, batch normalization the slowest. And
# it is the noise: with the statistics of all 256 examples, both overfit like weight normalization or faster. It does
# two things. It slows down the fit (left, dashed), and it gives a lower test loss at the same training loss (right).
# What it saves is the *loss*: error rates, in the table, differ by a point or two only. A network that has memorized
# its examples is sure of itself, and the test loss counts how sure it is when it is wrong.
#
# The paper's order on CIFAR-10 is another: weight normalization with mean-only batch normalization tests best (7.31 %),
# before full batch normalization (8.05 %); section 5.1 offers the lighter tails as a hypothesis. Here, with few
# examples, small minibatches and noisy labels, more noise is better, whatever its tails. Neither refutes the other: how
# much noise is good depends on how much there is to overfit.

# %%
# What the paper says, and what we found
# --------------------------------------
#
# Numbers are those of the quick run with seed 0.
#
# - *For whitened inputs, batch normalization is weight normalization* (section 2.2). Yes: outputs, gradients and 300
#   steps of training agree to $10^{-14}$. More than that: it is enough that the inputs are uncorrelated *on the
#   minibatch*, and the layer may be the first of a deep network.
# - *Exact equivalence does not usually hold for deeper architectures* (section 2.2). Yes. For minibatches of whitened
#   data the difference falls as $\sqrt{3/(2N)}$. From the second layer on it stays at 0.6 to 0.9 of a standard
#   deviation for any $N$, unless $g$ and $b$ are set from data; and training moves the statistics again, in the early
#   layers mostly the means.
# - *Fewer weights than pre-activations* (section 2.2). 33 pre-activations for each weight in the paper's network with
#   its minibatch of 100; for a single picture 0.33.
# - *Mean-only batch normalization centres the gradients, and costs less* (section 4). Yes, exactly; and on the tape it
#   keeps nothing that grows with the minibatch, where full batch normalization keeps an array of the size of $t$.
# - *Less noise* (section 4). Yes: two thirds of the variance in pre-activations, less than half in gradients.
# - *Much lighter tails than the highly kurtotic noise caused by the minibatch estimate of the variance* (section 4).
#   Partly. At $N = 100$ the estimate of the variance has an excess kurtosis of 0.12, which is not high, and a single
#   example sees no more than about that. What does have heavy tails is the noise over all examples, because it is
#   multiplied by $t$ and by the gradient: 2/3 for Gaussian pre-activations and near 3 for the gradients of a trained
#   network, for large $N$ too, against $\kappa/N$ for mean-only batch normalization.
# - *No dependencies between examples* (abstract). Exactly none with weight normalization. The two others need
#   minibatches: with one example they have nothing to learn from, with two full batch normalization hardly learns.
# - *The noise is useful for regularizing* (section 5.1). In our small problem, yes: without the noise of the statistics
#   the final test loss is that of weight normalization or worse (3.4 to 3.5, against 3.3), with it 2.6 and 2.2. At
#   equal training loss the noise accounts for most of the lead, some 0.12 of 0.17 nats (mean-only) and 0.16 of 0.23
#   (full); the rest is the parameterization's. That more noise is better here says nothing about CIFAR-10.
#
# Exercises
# ---------
#
# 1. *Too few examples.* Whiten a minibatch of $N = 15$ examples with 20 inputs. What goes wrong in ``whitened``, and
#    why must it? What is left of the equivalence in the 14 directions that the minibatch spans?
# 2. *The ε.* Set ``eps=1e-5`` in ``network`` and run the first pair again. How large is the difference of the loss
#    curves now, and how does it depend on $\|v\|$? Is the gradient still at a right angle to $v$?
# 3. *Heavy tails.* Draw $z$ from a Laplace distribution ($\kappa = 3$) in the table of the noise. Predict three columns
#    first: the mean ($3/N$), the noise over all examples (the mixture, with $\gamma_1 = 0$), and the ratio of the
#    variances.
# 4. *The last bit.* Train the second pair for 1000 steps. From when on do roundings grow, and by what factor per step?
#    Add $10^{-15}$ to one weight of *one* network and train it against itself. What changes with ``eta=0.05``?
# 5. *A leave-one-out mean.* Subtract from each example the mean of the *other* $N - 1$. Show that this is mean-only
#    batch normalization times a constant, and find the constant. What does it become for $N = 2$?
# 6. *Give weight normalization the noise.* Train weight normalization on the 256 examples, and add to each hidden
#    pre-activation Gaussian noise of the standard deviation $\sigma/\sqrt 8$, one number for each minibatch and unit,
#    as mean-only batch normalization would. How much of the gap in the last figure does it close? And multiplicative
#    noise?

lesson.finish()
