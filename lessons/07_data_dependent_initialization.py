r"""Data-dependent initialization
=============================

A deep network can be lost before its first training step. Draw its weights a little too small, and whatever goes in
comes out as $10^{-20}$; a little too large, and it comes out as $10^{8}$. No learning rate repairs either. Weight
normalization does not prevent this, because it gives every weight vector a length $g$ without saying which. The paper
reads the right $g$, and the right bias, off a single minibatch. That takes four lines of code. Here you derive them,
see what they gain, and find out what they cost.

Afterwards you can

- predict how fast a signal fades or explodes from layer to layer;
- derive equations 5 and 6, and implement them so that every pre-activation begins with mean 0 and variance 1;
- explain why this makes gradients grow on their way back, and by how much;
- say when the initialization helps, and where it cannot be used.

Read first: lesson 03 (weight normalization); section 3 of Salimans & Kingma (2016), arXiv:1602.07868.

Claims checked, and where the paper makes them:

- "weight normalization lacks this property", a fixed scale of the features (section 3, the motivation);
- equations 5 and 6 give every pre-activation mean 0 and variance 1, at any depth, with or without weight
  normalization (section 3);
- "subsequent minibatches may have slightly different statistics" (section 3): the first layer;
- recurrent models need another initialization (section 3);
- not in the paper: what the initialization does to gradients, and to training at 4 to 32 layers.

Time: quick about 20 s, full about 3 min.
"""

# %%
# All weights and data are random numbers: no data set is needed. Identities are checked in float64, training is shown
# in float32.

from itertools import pairwise
from math import log, pi, sqrt

import matplotlib.pyplot as plt
import numpy as np
import threadpoolctl

import minigrad as mg
import wn
from lessons import COLOURS, Lesson
from minigrad import nn

lesson = Lesson(__file__)
threadpoolctl.threadpool_limits(1)  # matrices this small are multiplied fastest by a single thread
NORMAL, WEIGHT_NORM = COLOURS["normal"], COLOURS["weight norm"]

# %%
# A signal in fifty layers
# ------------------------
#
# A layer takes the outputs $x$ of the layer below and computes pre-activations $t = Wx + b$, one for each of its units;
# its own output is $\phi(t)$. The number of entries in $x$ is the layer's *fan-in* $n$. We use 50 layers with as many
# units as inputs, $n = 100$, no biases for now, and the ReLU $\phi(t) = \max(t, 0)$. With weight normalization, each
# row of $W$ is $g\,v/\|v\|$. What happens if we leave $g = 1$?

n, depth, examples = 100, 50, 500


def unit_rows(rng):
    """Weight normalization with g = 1: every row is a random unit vector."""
    v = rng.normal(size=(n, n))
    return v / np.linalg.norm(v, axis=1, keepdims=True)


def pre_activations(x, layers, phi):
    """t of each layer (W, b), first layer first: an array of shape (layers, examples, units)."""
    ts = []
    for W, b in layers:
        ts.append(x @ W.T + b)
        x = phi(ts[-1])
    return np.array(ts)


x, rng = lesson.rng(1).normal(size=(examples, n)), lesson.rng(2)
ts = pre_activations(x, [(unit_rows(rng), 0) for _ in range(depth)], mg.relu)
for layer in (1, 2, 3, 10, 20, 30, 40, 50):
    print(f"layer {layer:2}: root mean square of t = {np.sqrt((ts[layer - 1] ** 2).mean()):.1e}")

# %%
# The signal fades by a constant factor per layer, which we can predict. Suppose the entries of $W$ are independent with
# mean 0 and standard deviation $s$. Given $x$, each $t_i = \sum_j W_{ij} x_j$ is a sum of $n$ independent terms, so
# $\mathbb{E}\,t_i^2 = s^2 \sum_j x_j^2$. Here $x_j = \phi(t_j)$ comes from the layer below. For the half of all $t_j$
# that are positive, the ReLU keeps $t_j^2$; for the others it leaves 0. So the mean square of $t$ is
# $s^2 \cdot n \cdot \frac12$ times that of the layer below, and its root mean square (RMS) changes per layer by a
# factor of
#
# $$s\,\sqrt{n/2}.$$
#
# A row of length 1 has entries of size $s = 1/\sqrt n$: the factor is $1/\sqrt2$, whatever the width. Only
# $s = \sqrt{2/n}$ keeps the scale (He et al. 2015, arXiv:1502.01852). Now several common starts, with four networks
# each:

STARTS = {  # name: (standard deviation s of the entries of W, how W is drawn)
    "N(0, 4/n)": (2 / sqrt(n), lambda rng: rng.normal(0, 2 / sqrt(n), (n, n))),
    "He: N(0, 2/n)": (sqrt(2 / n), lambda rng: rng.normal(0, sqrt(2 / n), (n, n))),
    "weight norm, g = 1": (1 / sqrt(n), unit_rows),
    "PyTorch's default": (1 / sqrt(3 * n), lambda rng: rng.uniform(-1, 1, (n, n)) / sqrt(n)),
    "N(0, 0.05²)": (0.05, lambda rng: rng.normal(0, 0.05, (n, n))),
}
rms = {}
for row, (name, (_, draw)) in enumerate(STARTS.items()):
    rng, logarithms = lesson.rng(3, row), []
    for _ in range(4):
        ts = pre_activations(x, [(draw(rng), 0) for _ in range(depth)], mg.relu)
        logarithms.append(np.log((ts**2).mean(axis=(1, 2))) / 2)
    rms[name] = np.exp(np.mean(logarithms, axis=0))
factors = {name: (value[-1] / value[0]) ** (1 / (depth - 1)) for name, value in rms.items()}
predicted = {name: s * sqrt(n / 2) for name, (s, _) in STARTS.items()}
for name in STARTS:
    print(f"{name:20} factor per layer {factors[name]:.3f}, predicted {predicted[name]:.3f}; layer 50: "
          f"RMS {rms[name][-1]:.0e}")

# %% tags=["hide-input"]
# *Tolerance.* A sum of $n$ terms does not equal its expectation exactly. With Gaussian weights, the factor of a layer
# for the mean square is $\frac2n\sum_j\phi(z_j)^2$ times the predicted one, with standard normal $z_j$. This sum has
# mean 1 and variance $(4\,\mathbb{E}\,\phi(z)^4 - 1)/n = 5/n$. Over 49 layers and four networks, the logarithm of the
# factor for the RMS has the standard deviation $\frac12\sqrt{5/(49 \cdot 4\,n)} = 0.008$. The logarithm of a quantity
# that fluctuates is also too small on average, by up to half of half the variance: $5/(4n) = 0.0125$. We allow four
# standard deviations and the bias, 0.045.

lesson.claim("RMS changes by s√(n/2) per layer, 50 ReLU layers, five starts (section 3, the motivation)",
             list(factors.values()), predicted=list(predicted.values()), rtol=0.045)

# %%
# So with weight normalization and $g = 1$ the signal fades, and also with the paper's own $v \sim N(0, 0.05^2)$ if it
# is used directly as the weights. He's start works, but only because someone worked out the 2 for this $\phi$. Max
# pooling, dropout or another nonlinearity would each need a number of its own.
#
# Equations 5 and 6
# -----------------
#
# The paper's remedy: do not compute the scale, measure it. Send one minibatch of $B$ examples through the network. At
# each unit take the mean $\mu[t]$ and the standard deviation $\sigma[t]$ of the pre-activation over the minibatch
# (here $\mu$ stands for a mean, never for momentum), and normalize (equation 5):
#
# $$t = \frac{v \cdot x}{\|v\|}, \qquad y = \phi\!\left(\frac{t - \mu[t]}{\sigma[t]}\right).$$
#
# On this minibatch, every normalized pre-activation has mean 0 and variance 1. But $\mu[t]$ and $\sigma[t]$ are
# now plain numbers, and a layer with weight normalization computes $g\,(v \cdot x)/\|v\| + b = g\,t + b$. Compare that
# with
#
# $$\frac{t - \mu[t]}{\sigma[t]} = \frac{1}{\sigma[t]}\,t - \frac{\mu[t]}{\sigma[t]}$$
#
# and read off what to store (equation 6):
#
# $$g \leftarrow \frac{1}{\sigma[t]}, \qquad b \leftarrow -\frac{\mu[t]}{\sigma[t]} .$$
#
# From then on the layer is an ordinary one. It depends on no minibatch, and $g$ and $b$ are trained like all other
# parameters.


def initialize(x, directions, phi):
    """Equations 5 and 6, front to back: (g, b) of each layer."""
    found = []
    for V in directions:
        t = x @ (V / np.linalg.norm(V, axis=1, keepdims=True)).T
        mean, deviation = t.mean(axis=0), t.std(axis=0)
        found.append((1 / deviation, -mean / deviation))
        x = phi((t - mean) / deviation)
    return found


def with_lengths(directions, found):
    """(W, b) of each layer, with the rows of W as long as g says."""
    return [(g[:, None] * V / np.linalg.norm(V, axis=1, keepdims=True), b)
            for V, (g, b) in zip(directions, found, strict=True)]


# %%
# One layer first. Its inputs have mean 5 and standard deviation 3:

V, inputs_ = lesson.rng(4).normal(size=(n, n)), 5 + 3 * lesson.rng(5).normal(size=(examples, n))
before = pre_activations(inputs_, [(V / np.linalg.norm(V, axis=1, keepdims=True), 0)], mg.relu)[0]
after = pre_activations(inputs_, with_lengths([V], initialize(inputs_, [V], mg.relu)), mg.relu)[0]
for unit in range(3):
    print(f"unit {unit}: t from {before[:, unit].mean():6.2f} ± {before[:, unit].std():.2f} "
          f"to {after[:, unit].mean():6.2f} ± {after[:, unit].std():.2f}")

# %%
# The last line in the loop of ``initialize`` matters: each layer must be measured on the *new* output of the layer
# below. It is tempting to run the uninitialized network once, collect all statistics, and set every $g$ at once. Then
# the second layer is measured on inputs that it will never see. If the first layer's $t$ has a deviation of 3 in that
# run, its outputs are three times too large, the second layer's $g$ comes out three times too small, and the second
# layer ends with a deviation of 1/3.

scaled = 3 * x
t1 = pre_activations(scaled, [(unit_rows(lesson.rng(6)), 0)], mg.relu)[0]
U = unit_rows(lesson.rng(7))
g_too_small = 1 / (mg.relu(t1) @ U.T).std(axis=0)
second = mg.relu((t1 - t1.mean(axis=0)) / t1.std(axis=0)) @ U.T * g_too_small

# %% tags=["hide-input"]
# *Tolerance.* The first layer's deviations are estimated from 500 examples, to $1/\sqrt{2 \cdot 500} = 3$ % each, and
# hardly anything else makes them differ from 3. A mean over 100 units that share the same inputs averages most of that
# away. We allow 3 %.

lesson.claim("Mistake: all statistics from one pass leave the second layer's deviation at 1/3",
             second.std(axis=0).mean(), predicted=1 / 3, rtol=0.03)

# %%
# The library
# -----------
#
# ``wn.data_dependent_init(model, x)`` applies equations 5 and 6 to any model made of modules. To give it something to
# do, we draw each layer's weights at a random scale between $10^{-3}$ and $10^3$, with random biases.
#
# Section 3 adds that "the method can also be applied to networks without weight normalization": take $w$ itself as $v$,
# so divide it by $\|w\|\,\sigma[t]$ and set the same $b$. We initialize each network both ways.


class Stack(nn.Module):
    """Linear layers of n units with a nonlinearity between them."""

    def __init__(self, layers, phi, rng):
        super().__init__()
        self.phi, self.layers = phi, [nn.Linear(n, n, rng=rng) for _ in range(layers)]
        for layer in self.layers:
            layer.weight.data = rng.normal(0, 10 ** rng.uniform(-3, 3), (n, n))
            layer.bias.data = rng.normal(size=n)

    def forward(self, x):
        for i, layer in enumerate(self.layers):
            x = layer(self.phi(x) if i else x)
        return x


def numbers(model):
    """(W, b) of each layer of a Stack."""
    return [(layer.weight.numpy(), layer.bias.numpy()) for layer in model.layers]


# %%

PHIS = {"ReLU": mg.relu, "tanh": mg.tanh}
difference, means, variances, outputs = [], [], [], []
for row, phi in enumerate(PHIS.values()):
    for layers in (2, 5, 10, 20, 50):
        plain = wn.data_dependent_init(Stack(layers, phi, lesson.rng(8, row)), x)
        model = wn.apply_weight_norm(Stack(layers, phi, lesson.rng(8, row)))
        by_hand = initialize(x, [layer.weight_v.numpy() for layer in model.layers], phi)
        wn.data_dependent_init(model, x)
        for layer, (g, b) in zip(model.layers, by_hand, strict=True):
            difference += [np.abs(layer.weight_g.numpy().ravel() / g - 1).max(), np.abs(layer.bias.numpy() - b).max()]
        for network in (model, plain):
            ts = pre_activations(x, numbers(network), phi)
            means.append(np.abs(ts.mean(axis=1)).max())
            variances.append(np.abs(ts.var(axis=1) - 1).max())
            outputs.append(ts[-1])
apart = max(np.abs(a - b).max() for a, b in zip(outputs[::2], outputs[1::2], strict=True))
print(f"largest mean {max(means):.0e}, largest |variance - 1| {max(variances):.0e}")

# %% tags=["hide-input"]
# *Tolerance.* Each layer has rounding errors of some $10^{-15}$ (sums of 100 products of size 1 in float64). A
# difference grows by a factor of up to 1.21 per layer on its way through the network, as the next part shows: by $10^4$
# over 50 layers. So $10^{-9}$ leaves room, and is far from anything that a wrong formula could give.

lesson.claim("wn.data_dependent_init = equations 5 and 6 written out, depth 2 to 50: largest difference in g or b",
             max(difference), below=1e-9)
lesson.claim("Every pre-activation has mean 0 (section 3), depth 2 to 50: largest mean", max(means), below=1e-9)
lesson.claim("Every pre-activation has variance 1 (section 3), with and without weight norm: largest error",
             max(variances), below=1e-9)
lesson.claim("Same function without and with weight normalization (section 3): largest difference of an output", apart,
             below=1e-9)

# %%
# So in the forward direction the promise holds to the last digits, for any scale of $v$ and any depth.

# %% tags=["hide-input"]

figure, axes = plt.subplots(figsize=(7.4, 4.4))
layers = np.arange(1, depth + 1)
for (name, (s, _)), marker in zip(STARTS.items(), "^soPv", strict=True):
    colour = WEIGHT_NORM if "weight norm" in name else NORMAL
    axes.plot(layers, rms[name][0] * (s * sqrt(n / 2)) ** (layers - 1), "-", color="0.6", lw=1, zorder=0)
    axes.plot(layers[::3], rms[name][::3], marker, color=colour, mfc="white", ms=5)
    axes.annotate(name, (51, rms[name][-1]), (3, 6 if "He" in name else 0), textcoords="offset points", color=colour,
                  fontsize=9, va="center", annotation_clip=False)
axes.plot(layers, np.sqrt((ts**2).mean(axis=(1, 2))), "-", color="0.1", lw=2)
axes.annotate("after equations 5 and 6", (51, 1), (3, -7), textcoords="offset points", fontsize=9, va="center")
axes.set(yscale="log", xlabel="layer", ylabel="RMS of t", title="Scale of the pre-activations", xlim=(0, 70))
axes.set_xticks([1, 10, 20, 30, 40, 50])
lesson.figure(
    figure, "signal", note="random numbers; gray lines: s√(n/2) per layer; 100 ReLU units wide",
    alt="Root mean square of the pre-activations in layers 1 to 50, logarithmic, for five starts. Each is a straight "
    "line with the predicted slope: N(0, 4/n) rises to about 10⁷, He's start stays near 1, weight norm with g = 1 "
    "falls to 10⁻⁷, PyTorch's default and N(0, 0.05²) fall below 10⁻¹⁹. After equations 5 and 6 it is 1 in all layers.",
)

# %%
# Backwards
# ---------
#
# Training needs gradients, too. Are they well scaled if the signal is? Let $\delta_l$ be the gradient of the loss with
# respect to the pre-activations of layer $l$. Backpropagation (lesson 01) carries it from layer $l+1$ to layer $l$ by
#
# $$\delta_l = \phi'(t_l) \odot (W^{\mathsf T} \delta_{l+1}),$$
#
# where $\odot$ multiplies entry by entry. Two factors set the size of $\delta_l$. The rows of $W$ have length $g$ and
# random directions, so $W^{\mathsf T}$ multiplies the mean square by $g^2$. The slopes multiply it by
# $\mathbb{E}\,\phi'(z)^2$, where $z$ is standard normal, as $t$ is after equations 5 and 6 if it is Gaussian.
#
# What is $g$? Equation 6 sets it to $1/\sigma[t]$, and $t = u \cdot x$ with a random unit vector $u$ has the
# variance of a typical entry of $x = \phi(z)$. So $g^2 = 1/\operatorname{Var}\phi(z)$, and each layer multiplies the
# mean square of the gradient by
#
# $$\chi = \frac{\mathbb{E}\,\phi'(z)^2}{\operatorname{Var}\phi(z)} ,$$
#
# and hence its RMS by $\sqrt\chi$. (The same $\chi$ multiplies the square of a small difference between two inputs on
# its way forward: a difference $dt$ becomes $W(\phi'(t) \odot dt)$ in the next layer, with the same two factors.)
#
# For the ReLU, $\mathbb{E}\,\phi'^2 = \frac12$, and $\operatorname{Var}\phi = \mathbb{E}\,\phi^2 - (\mathbb{E}\,\phi)^2
# = \frac12 - \frac1{2\pi}$. That gives $\sqrt\chi = \sqrt{\pi/(\pi - 1)} = 1.211$. With He's start $g^2 = 2$, and the
# factor is $\sqrt{2 \cdot \frac12} = 1$. We measure 50 layers, 200 units wide:

SLOPES = {"ReLU": lambda t: t > 0, "tanh": lambda t: 1 - np.tanh(t) ** 2}
wide = 200


def gradient_sizes(name, initialized, rng):
    """The RMS of the gradient in each layer, relative to the last, for a random gradient at the output."""
    phi, x = PHIS[name], rng.normal(size=(examples, wide))
    directions = [rng.normal(0, sqrt(2 / wide), (wide, wide)) for _ in range(depth)]
    layers = [(V, 0) for V in directions]  # He's start
    if initialized:
        layers = with_lengths(directions, initialize(x, directions, phi))
    ts = pre_activations(x, layers, phi)
    delta = rng.normal(size=ts[-1].shape)
    sizes = [np.sqrt((delta**2).mean())]
    for (W, _), t in zip(layers[:0:-1], ts[-2::-1], strict=True):
        delta = SLOPES[name](t) * (delta @ W)
        sizes.append(np.sqrt((delta**2).mean()))
    return np.array(sizes[::-1]) / sizes[0]


z = np.linspace(-9, 9, 100_000)
density = np.exp(-(z**2) / 2) / np.exp(-(z**2) / 2).sum()
chi = {}
for name, phi in PHIS.items():
    variance = density @ phi(z) ** 2 - (density @ phi(z)) ** 2
    chi[name] = (density @ SLOPES[name](z) ** 2) / variance
print("√χ:", {name: round(sqrt(value), 4) for name, value in chi.items()}, f"√(π/(π - 1)) = {sqrt(pi / (pi - 1)):.4f}")

# %%

CASES = {  # (nonlinearity, whether initialized, predicted growth per layer)
    "ReLU, equations 5 and 6": ("ReLU", True, sqrt(chi["ReLU"])),
    "tanh, equations 5 and 6": ("tanh", True, sqrt(chi["tanh"])),
    "ReLU, He's start": ("ReLU", False, 1.0),
}
several, sizes = 12 if lesson.full else 4, {}
for row, (case, (name, initialized, _)) in enumerate(CASES.items()):
    runs = [gradient_sizes(name, initialized, lesson.rng(9, row, i)) for i in range(several)]
    sizes[case] = np.exp(np.log(runs).mean(axis=0))
growth = {case: size[0] ** (1 / (depth - 1)) for case, size in sizes.items()}
for case, (_, _, expected) in CASES.items():
    print(f"{case:25} gradient's growth per layer {growth[case]:.4f}, predicted {expected:.4f}; "
          f"over 50 layers {sizes[case][0]:.0f}")

# %% tags=["hide-input"]
# *Tolerance.* With He's start the argument of the first section holds: $\frac12\sqrt{5/(49 \cdot 4 \cdot 200)} =
# 0.006$ for the standard deviation, and a bias of up to 0.006; after equations 5 and 6 the minibatch's own statistics
# remove most of both. What remains is that the variances of the units scatter about their mean, by $\sqrt{2/n} = 10$ %
# or more where the features are correlated, as in deep tanh layers. The mean of $g^2 = 1/\sigma^2$ then exceeds
# the inverse of the mean of $\sigma^2$ by $2/n = 1$ % or more. Half of that counts for $g$. In total we allow 2 %.

lesson.claim("Gradients grow by √χ per layer: ReLU and tanh after equations 5 and 6, ReLU with He's start",
             list(growth.values()), predicted=[case[2] for case in CASES.values()], rtol=0.02)

# %% tags=["hide-input"]

figure, axes = plt.subplots(figsize=(7.0, 4.0))
for (case, (_, initialized, expected)), marker in zip(CASES.items(), "o^s", strict=True):
    colour = "0.1" if initialized else NORMAL
    axes.plot(layers, expected ** (depth - layers), "-", color="0.6", lw=1, zorder=0)
    axes.plot(layers[::3], sizes[case][::3], marker, color=colour, ms=5, mfc="white" if marker == "^" else colour,
              label=f"{case}: {expected:.3f} per layer")
axes.set(yscale="log", xlabel="layer", ylabel="RMS of the gradient, relative to layer 50",
         title="Backwards through 50 layers", xticks=[1, 10, 20, 30, 40, 50])
axes.legend()
lesson.figure(
    figure, "gradients", note=f"random numbers; lines: predicted; {wide} units wide, {several} networks each",
    alt="Root mean square of the gradient in layers 1 to 50 relative to layer 50, logarithmic. From right to left it "
    "grows by the predicted factor per layer: for ReLU after equations 5 and 6 to about 10⁴ in layer 1, for tanh to "
    "about 80, and with He's start not at all.",
)

# %%
# (Over 49 layers the dots leave their lines by up to a factor of 1.5. That is 1 % per layer, from the finite width.)
#
# This growth is the cost. A nonlinearity removes some of the variation between examples, and equations 5 and 6 put it
# back by making $g$ larger than the slopes make up for. Whatever magnifies differences forward magnifies gradients
# backward. **With unit variance in every layer, gradients grow exponentially with depth**, whichever nonlinearity you
# choose, straight lines excepted. Batch normalization does the same (Yang et al. 2019, arXiv:1902.08129). Over 10 ReLU
# layers the factor is 6.8, which training survives. Over 50 it is 12,000.
#
# He's start avoids this, but pays in the forward direction: the scale stays, while the *differences* between examples
# fade, until all inputs look alike. The chapter on depth (``further/07_depth.py``) measures both.
#
# What one minibatch can promise
# ------------------------------
#
# "With our method this only holds for the minibatch we use for initialization, and subsequent minibatches may have
# slightly different statistics" (section 3). How slightly? Take a unit in the first layer whose $t$ is Gaussian with
# mean 0 and deviation 1 over all data. The $B$ examples of the minibatch estimate the mean to within $1/\sqrt B$ and
# the variance to within $\sqrt{2/B}$. The deviation is its root, so its relative error is half of that:
# $1/\sqrt{2B}$. Later data inherit both errors. They have the mean $-\mu[t]/\sigma[t]$ and the deviation
# $1/\sigma[t]$ instead of 0 and 1.
#
# Gaussian inputs of variance 1 and unit vectors give exactly such a $t$, so no later data need to be drawn:

BATCHES = (100, 300, 1000)
errors = []
for row, B in enumerate(BATCHES):
    batches, rng = [], lesson.rng(13, row)
    for _ in range(40):
        t = pre_activations(rng.normal(size=(B, n)), [(unit_rows(rng), 0)], mg.relu)[0]
        batches.append((-t.mean(axis=0) / t.std(axis=0), np.log(1 / t.std(axis=0))))
    of_mean, of_deviation = np.array(batches).swapaxes(0, 1)
    errors.append((np.sqrt((of_mean**2).mean()), of_deviation.std()))
    print(f"B = {B:4}: mean off by {errors[-1][0]:.4f} (1/√B = {1 / sqrt(B):.4f}), "
          f"ln of the deviation by {errors[-1][1]:.4f} (1/√2B = {1 / sqrt(2 * B):.4f})")

# %% tags=["hide-input"]
# *Tolerance.* Root mean squares of 4000 values, of which the 100 of one batch are correlated enough to count half, are
# known to $1/\sqrt{2 \cdot 2000} = 1.6$ %. The formulas leave out terms of relative size $3/(2B)$, 1.5 % at $B = 100$.
# Four standard deviations plus these terms make 8 %.

lesson.claim("Layer 1: later minibatches' means are off by 1/√B and their deviations by 1/√(2B), B = 100 to 1000",
             errors, predicted=[(1 / sqrt(B), 1 / sqrt(2 * B)) for B in BATCHES], rtol=0.08)

# %%
# For a few hundred examples the difference is slight: the authors used 500. But each layer inherits the errors of
# all layers below, and small minibatches go badly wrong: ten examples leave the tenth ReLU layer at several
# times its intended scale. ``further/07_later_minibatches.py`` finds the law for that, and treats inputs
# that are not Gaussian.
#
# Where it does not apply
# -----------------------
#
# "The downside of this initialization method is that it can only be applied in similar cases as where batch
# normalization is applicable. For models with recursion, such as RNNs and LSTMs, we will have to resort to standard
# initialization methods" (section 3). A recurrent layer shows why. It reads its input $x$ and its own last output $h$,
# $h \leftarrow \phi(W[x, h] + b)$, with *one* $g$ and $b$ for all steps. But its pre-activations have different
# statistics at each step.
#
# Initialize it at its first step. There $h = 0$, and half of the unit vector $u$ has nothing to read, so
# $\sigma^2[t] = \frac12$ and $g = \sqrt2$. At the second step the other half brings in $h = \phi(z)$. Its share of the
# variance is $g^2 \cdot \frac12 \cdot \operatorname{Var}\phi = \operatorname{Var}\phi$, and the means of the
# units' outputs, all positive, add an offset of RMS $\mathbb{E}\,\phi = 1/\sqrt{2\pi}$. So we expect a deviation of
# $\sqrt{1 + \operatorname{Var}\phi} = 1.158$ and an offset of 0.399.


def recurrent(rng):
    """The deviation of t, and the RMS of its mean, at each of 20 steps; initialized at the first step."""
    V = rng.normal(size=(n, 2 * n))
    U, h, found = V / np.linalg.norm(V, axis=1, keepdims=True), np.zeros((examples, n)), []
    for step in range(20):
        t = np.concatenate([rng.normal(size=(examples, n)), h], axis=1) @ U.T
        if step == 0:
            mean, deviation = t.mean(axis=0), t.std(axis=0)
        t = (t - mean) / deviation
        h = mg.relu(t)
        found.append((sqrt(t.var(axis=0).mean()), sqrt((t.mean(axis=0) ** 2).mean())))
    return found


by_step = np.sqrt(np.mean([np.square(recurrent(lesson.rng(14, i))) for i in range(20)], axis=0))
print("step:     ", "".join(f"{k:8}" for k in (1, 2, 3, 5, 10, 20)))
for what, values in zip(("deviation", "offset"), by_step.T, strict=True):
    print(f"{what:10}", "".join(f"{values[k - 1]:8.2f}" for k in (1, 2, 3, 5, 10, 20)))

# %% tags=["hide-input"]
# *Tolerance.* The mean square of the offset over 100 units scatters by $\sqrt{2/100} = 14$ %, its root over 20 networks
# by 1.6 %; the deviation by far less. The noise of 500 examples adds a variance of 1/500 twice over to the squared
# offset, which makes 1.3 % of 0.399. We allow 8 %, which still tells $1.158$ from 1.

lesson.claim("Recurrent ReLU layer initialized at its first step: deviation √(1 + Var φ), offset E φ at step 2",
             by_step[1], predicted=[sqrt(1.5 - 1 / (2 * pi)), 1 / sqrt(2 * pi)], rtol=0.08)

# %%
# What is set for one step does not hold for the next. ``wn.data_dependent_init`` therefore leaves LSTM cells alone.
# Nor can the method help where a unit's $t$ is the same for the whole minibatch, as with a single example or an input
# that is always 0: there $\sigma[t] = 0$. And it sets the scale only for the *start* of training. Unlike batch
# normalization (lesson 08), it does not maintain it.
#
# Does it help?
# -------------
#
# Now we train. The task has ten classes, each of which has three clusters of points in 32 dimensions. A shallow network
# solves it easily, so depth is the only difficulty. Layers have 40 units; the optimizer is SGD with minibatches of 40,
# for 200 steps. There are four starts: PyTorch's default, He's, and equations 5 and 6 on $v \sim N(0, 0.05^2)$, the
# paper's choice, without and with weight normalization.

problems, steps = (5, 400) if lesson.full else (2, 200)
hidden, inputs, classes, minibatch = 40, 32, 10, 40
KINDS = ("PyTorch's default", "He's start", "equations 5 and 6, normal", "equations 5 and 6, weight norm")


def draw_problem(rng):
    """2048 points and their classes."""
    centres = rng.normal(size=(3 * classes, inputs))
    cluster = rng.integers(0, len(centres), 2048)
    return (centres[cluster] + 0.5 * rng.normal(size=(2048, inputs))).astype(np.float32), cluster % classes


def start(kind, count, x, rng):
    """The parameters of `count` layers: [w, b] of each, or [v, b, g] with weight normalization."""
    shapes = [(b, a) for a, b in pairwise([inputs] + [hidden] * (count - 1) + [classes])]
    if kind == "PyTorch's default":
        return [[rng.uniform(-1, 1, shape) / sqrt(shape[1]), np.zeros((1, shape[0]))] for shape in shapes]
    if kind == "He's start":
        return [[rng.normal(0, sqrt(2 / shape[1]), shape), np.zeros((1, shape[0]))] for shape in shapes]
    directions = [rng.normal(0, 0.05, shape) for shape in shapes]
    found = initialize(x, directions, mg.relu)
    if "weight norm" in kind:
        return [[v, b[None], g[:, None]] for v, (g, b) in zip(directions, found, strict=True)]
    return [[w, b[None]] for w, b in with_lengths(directions, found)]


# %%
# We train each start at seven learning rates $\eta$ side by side: the first axis of every array runs over the networks.
# The gradient of the *sum* of their losses gives each network its own gradient.


def weight(layer):
    """w from one layer's parameters: equation 2, if there is a g."""
    return layer[0] if len(layer) == 2 else layer[2] * layer[0] / mg.norm(layer[0], axis=-1, keepdims=True)


def losses_of(layers, x, y):
    """The cross-entropy of each network, of shape (networks,)."""
    for i, layer in enumerate(layers):
        x = (mg.relu(x) if i else x) @ weight(layer).swapaxes(-1, -2) + layer[1]
    right = np.eye(classes, dtype=np.float32)[y]
    return -(mg.log_softmax(x, axis=-1) * right).sum(axis=-1).mean(axis=-1)


def train(starts, etas, x, y, rng):
    """The mean loss over the last 20 steps, (starts, rates); infinite if the run has diverged."""
    layers = [[mg.tensor(np.repeat(np.stack(p), len(etas), axis=0).astype(np.float32), requires_grad=True)
               for p in zip(*same, strict=True)] for same in zip(*starts, strict=True)]
    flat, curve = [p for layer in layers for p in layer], []
    rates = np.tile(etas, len(starts)).astype(np.float32)[:, None, None]
    with np.errstate(all="ignore"):  # some of these runs are meant to diverge
        for _ in range(steps):
            i = rng.integers(0, len(x), minibatch)
            losses = losses_of(layers, mg.tensor(np.repeat(x[None, i], len(rates), axis=0)), y[i])
            curve.append(losses.numpy())
            for p, gradient in zip(flat, mg.grad(losses.sum(), flat), strict=True):
                p.data = p.data - rates * gradient.data
    final = np.where(np.isfinite(curve).all(axis=0), np.mean(curve[-20:], axis=0), np.inf)
    return final.reshape(len(starts), len(etas))


# %%
# One network of 16 layers first, from two starts, at every rate. Guessing costs $\ln 10 = 2.303$:

etas = 10 ** np.arange(-3.5, -0.4, 0.5)
points, labels = draw_problem(lesson.rng(10, 0))
print("log10 η                  ", "".join(f"{value:8.1f}" for value in np.log10(etas)))
starts = [start(kind, 16, points[:500], lesson.rng(11, 0)) for kind in (KINDS[0], KINDS[2])]
for kind, final in zip((KINDS[0], KINDS[2]), train(starts, etas, points, labels, lesson.rng(12, 0)), strict=True):
    print(f"{kind:25}", "".join(f"{value:8.3f}" for value in final))

# %%
# Now all four starts at several depths. For each we report the loss at its *best* learning rate. (The networks with
# weight normalization get rates ten times smaller; the chapter ``further/07_scale_of_v.py`` says why they need them.)
# There are only two problems, five with ``--full``: trust large effects, such as learning or not, and no small
# difference.

DEPTHS = (4, 8, 16, 24, 32, 48) if lesson.full else (4, 8, 16, 32)
best = {kind: np.zeros((len(DEPTHS), problems)) for kind in KINDS}
for problem in range(problems):
    points, labels = draw_problem(lesson.rng(10, problem))
    for row, count in enumerate(lesson.progress(DEPTHS, f"problem {problem + 1} of {problems}")):
        for kinds, rates in ((KINDS[:3], etas), (KINDS[3:], etas / 10)):
            starts = [start(kind, count, points[:500], lesson.rng(11, problem)) for kind in kinds]
            final = train(starts, rates, points, labels, lesson.rng(12, problem))
            for kind, losses in zip(kinds, final, strict=True):
                best[kind][row, problem] = losses.min()
print("layers                         ", "".join(f"{k:8}" for k in DEPTHS))
for kind in KINDS:
    print(f"{kind:31}", "".join(f"{value:8.3f}" for value in best[kind].mean(axis=1)))

# %% tags=["hide-input"]
# *Bounds.* There is no theory of the final loss to compare with. If a network only guesses, its losses scatter by 0.05
# or less around 2.3, so that by chance the mean of 20 does not fall to 2.1; 1 is less than half of guessing. At 32
# layers we claim only which start gets further.

at = {count: row for row, count in enumerate(DEPTHS)}
lesson.claim("16 layers: PyTorch's default does not learn at any rate, lowest final loss (guessing: 2.30)",
             best["PyTorch's default"][at[16]].min(), above=2.1)
lesson.claim("16 layers: after equations 5 and 6, normal parameterization, mean final loss",
             best["equations 5 and 6, normal"][at[16]].mean(), below=1)
lesson.claim("16 layers: after equations 5 and 6, weight normalization, mean final loss",
             best["equations 5 and 6, weight norm"][at[16]].mean(), below=1)
lesson.claim("32 layers: He's start gets further than equations 5 and 6 (normal), difference of mean final losses",
             (best["equations 5 and 6, normal"] - best["He's start"])[at[32]].mean(), above=0)

# %% tags=["hide-input"]

figure, axes = plt.subplots(figsize=(7.0, 4.4))
LOOKS = ((NORMAL, ":", "v"), (NORMAL, "--", "s"), (NORMAL, "-", "o"), (WEIGHT_NORM, "-", "o"))
for kind, (colour, line, marker) in zip(KINDS, LOOKS, strict=True):
    mean, shown = best[kind].mean(axis=1), np.isfinite(best[kind]).all(axis=1)
    axes.plot(np.array(DEPTHS)[shown], mean[shown], line, color=colour, marker=marker, ms=5, label=kind,
              mfc="white" if line != "-" else colour)
axes.axhline(log(classes), color="0.6", lw=1)
axes.annotate("guessing", (DEPTHS[0], log(classes)), (0, 4), textcoords="offset points", fontsize=9, color="0.4")
axes.set(xscale="log", xlabel="layers", ylabel="final loss (nats) at the best learning rate", xticks=DEPTHS,
         xticklabels=DEPTHS, ylim=(-0.1, 2.7), title="Training by depth")
axes.minorticks_off()
figure.legend(*axes.get_legend_handles_labels(), loc="outside lower center", ncols=2, fontsize=9)
lesson.figure(
    figure, "depth", note=f"synthetic clusters; {steps} steps of SGD; mean of {problems} problems",
    alt="Final loss at the best learning rate against the number of layers, for four starts. All learn with 4 layers. "
    "PyTorch's default is at the level of guessing from 8 layers on. He's start and both networks after equations 5 "
    "and 6 still learn at 16. At 32 layers only He's start is clearly below guessing.",
)

# %%
# The paper finds that the method works well; this holds, with a limit. At moderate depth, equations 5 and 6 make a
# network trainable that could not be trained at all, and nobody had to know about $\sqrt{2/n}$. At 32 layers they do
# not: between the first and the last layer gradients differ by a factor of $1.211^{31} = 380$, and no single learning
# rate suits both. He's start, whose gradients keep their size, gets further there, if not far. (Depths like these
# became routine with shortcuts around layers: He et al. 2015, arXiv:1512.03385.)
#
# Two groups had similar ideas at the same time, and section 3 names both. Mishkin & Matas (2016, arXiv:1511.06422)
# start from orthonormal matrices and divide each by the deviation of the whole *layer's* output: one number where
# equation 6 has one per unit, and no change of means. Krähenbühl et al. (2016, arXiv:1511.06856) choose weights from
# data so that all layers train at about the same rate.
#
# What the paper says, and what we found
# --------------------------------------
#
# (Numbers: ``--quick --seed 0``.)
#
# - *Weight normalization does not fix the scale of the features.* True. With $g = 1$ each ReLU layer multiplies it by
#   0.71.
# - *Zero mean and unit variance in all layers.* Exact up to rounding after 50 layers, with or without weight
#   normalization, for vectors of any length.
# - *"Subsequent minibatches may have slightly different statistics."* In the first layer they differ by $1/\sqrt B$ in
#   the mean and $1/\sqrt{2B}$ in the deviation. In deeper layers they differ more.
# - *"Experimentally we find this initialization method to work well."* At 16 layers it made training possible where
#   PyTorch's default failed. At 32 layers its gradients, which grow by 1.21 per layer, defeated it.
# - *Recurrent models:* as the paper says.
#
# Questions
# ---------
#
# 1. *Half a step.* Apply equation 6 only halfway: $g \leftarrow \sigma^{-1/2}$ and $b \leftarrow -\mu\,\sigma^{-1/2}$.
#    At which deviation does a deep ReLU network settle? Answer on paper first, then change two lines of ``initialize``.
# 2. *Closer to linear.* Compute $\chi$ of the leaky ReLU, $\phi(t) = \max(t, \alpha t)$, as a function of its slope
#    $\alpha$. Which slopes keep the growth below 10 over 50 layers? Does a 32-layer network with such a slope learn?
# 3. *Which minibatch?* Initialize a 10-layer network of the last part on examples of a single class, and look at the
#    statistics of the other classes. What should the minibatch look like?
#
# Further chapters
# ----------------
#
# Open one when you have the question. None is needed for lesson 08.
#
# - "I write equation 6 myself. What can go wrong?" ``further/07_writing_equation_6.py``
# - "How large must the minibatch be?" ``further/07_later_minibatches.py``
# - "Why do gradients grow for *every* nonlinearity, and what does He's start pay?" ``further/07_depth.py``
# - "Does the paper's 0.05 matter?" ``further/07_scale_of_v.py``
# - "My loss starts above guessing, or jumps." ``further/07_last_layer.py``; also for question 5 of lesson 09.

lesson.finish()
