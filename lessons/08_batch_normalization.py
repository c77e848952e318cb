r"""Batch normalization, and its mean-only form
===========================================

Batch normalization came first, and most convolutional networks since have used it. Weight normalization promises much
of its effect without its dependence on the minibatch. The paper claims more than a resemblance: on the right inputs the
two are the *same* thing. This lesson finds out where that is true to the last digit, and where it stops. In a deep
network weight normalization lacks two things. One of them, the mean, can be restored almost for free, and this closes
about half of the gap. Anyone who swaps one normalization for the other should know what is lost.

Afterwards you can

- write the gradient of batch normalization as a projection, and say in which space it projects;
- say when batch normalization and weight normalization are the same function with the same gradient;
- compute what weight normalization lacks in the second layer of a ReLU network: means and standard deviations;
- explain why training moves the means more than the deviations, and what equations 7 and 8 do about it.

Read first: lesson 03 (weight normalization), lesson 07 (data-dependent initialization); sections 2.2 and 4 of Salimans
& Kingma (2016), arXiv:1602.07868.

Claims checked, and where the paper makes them:

- for one layer with whitened inputs, batch normalization equals weight normalization (section 2.2);
- "exact equivalence does not usually hold for deeper architectures" (section 2.2);
- weight normalization makes the scale of activations nearly independent of v, but not their means (section 4): true at
  the start, and in the early layers;
- mean-only batch normalization (equation 7) centres the backpropagated gradients (equation 8, section 4).

Eight further chapters take up the rest of what the paper says about the two. Each can be read on its own, after this
lesson; the last part says when to open which.

Time: quick about 25 s, full about 1 min.
"""

# %%
# Batch normalization and its gradient
# ------------------------------------
#
# A unit computes the pre-activation $t_i = v \cdot x_i$ for each example $i$ of a minibatch of size $B$. Batch
# normalization (Ioffe & Szegedy 2015, arXiv:1502.03167) subtracts the minibatch's mean, divides by its standard
# deviation, and gives the unit a learned scale $g$ and shift $b$ in return:
#
# $$\hat t_i = \frac{t_i - \mu[t]}{\sigma[t]}, \qquad \tilde t_i = g\,\hat t_i + b,$$
#
# where $\mu[t]$ is the mean over the minibatch, and $\sigma^2[t]$ the mean of $(t - \mu[t])^2$. (The scale and shift
# are often called gamma and beta. We write $g$ and $b$, because they will turn out to *be* the $g$ and $b$ of weight
# normalization. Code adds a small ``eps`` to $\sigma^2$ against division by zero; here it is 0 wherever an identity is
# checked.)
#
# Both statistics depend on all $B$ examples, so the gradient must go through them as well. Write $\delta_i$ for the
# derivative $\partial L/\partial \tilde t_i$ of the loss. A change $dt$ changes the mean by $\mu[dt]$ and, since
# $2\sigma\,d\sigma = 2\mu[(t - \mu[t])\,dt]$, the deviation by $\mu[\hat t\,dt]$. Hence
#
# $$d\hat t_i = \frac{1}{\sigma}\left(dt_i - \mu[dt] - \hat t_i\,\mu[\hat t\,dt]\right).$$
#
# Collect what multiplies each $dt_i$ in $dL = g \sum_i \delta_i\,d\hat t_i$:
#
# $$\nabla_{t_i} L = \frac{g}{\sigma}\left(\delta_i - \mu[\delta] - \hat t_i\,\mu[\delta\,\hat t]\right).$$
#
# Read this as a formula for vectors of $B$ numbers: remove from $\delta$ its part along $\mathbf 1 = (1, \dots, 1)$
# and its part along $\hat t$. The two directions are orthogonal, because $\hat t$ has mean 0, and both have length
# $\sqrt B$. So this is a projection, as in equation 4. But weight normalization projects in the space of *weights*, and
# batch normalization in the space of *examples*.

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


def batch_norm_gradient(delta, t, g=1.0):
    """∇_t L from δ = ∇_t̃ L; t and δ of shape (B, units)."""
    hat = (t - t.mean(axis=0)) / t.std(axis=0)
    return g / t.std(axis=0) * (delta - delta.mean(axis=0) - hat * (delta * hat).mean(axis=0))


rng = lesson.rng(1)
t = mg.tensor(3 + 2 * rng.normal(size=(50, 4)), requires_grad=True)
delta = rng.normal(size=(50, 4)) + rng.normal(size=(50, 4)) ** 2
by_library = mg.grad(nn.BatchNorm(4, eps=0)(t), t, delta).numpy()
by_hand = batch_norm_gradient(delta, t.numpy())
print("unit   δ of the first example   ∇_t L of it")
for unit in range(4):
    print(f"{unit:4} {delta[0, unit]:22.4f} {by_library[0, unit]:15.4f}")

# %% tags=["hide-input"]
# *Tolerance.* A few sums of 50 numbers each: some $50 \cdot 10^{-16}$ relative to the largest, which is below 10. We
# allow $10^{-13}$.

lesson.claim("The gradient of batch normalization, library = by hand: 50 examples, 4 units", by_library,
             predicted=by_hand, rtol=0.0, atol=1e-13)

# %%
# Whitened inputs: the same thing twice
# -------------------------------------
#
# "For the special case where our network only has a single layer, and the input features x for that layer are whitened
# [...], these statistics are given by μ[t] = 0 and σ[t] = ‖v‖. In that case, normalizing the pre-activations using
# batch normalization is equivalent to normalizing the weights using weight normalization" (section 2.2).
#
# For the forward pass, two lines prove it. Let the rows of $X$ be the inputs. *Whitened* means $\mu[x] = 0$ and
# $X^{\mathsf T} X/B = I$ on the minibatch. Then $\mu[t] = v \cdot \mu[x] = 0$ and
# $\sigma^2[t] = v^{\mathsf T} X^{\mathsf T} X\, v/B = \|v\|^2$, so $\hat t = v \cdot x/\|v\|$. But two functions that
# agree at a point may still have different gradients, and batch normalization's gradient goes through statistics that
# weight normalization does not have. So we compute it. With $t = Xv$, the direction $u = v/\|v\|$, $\hat t = Xu$ and
# $\sigma = \|v\|$,
#
# $$\nabla_v L = X^{\mathsf T} \nabla_t L = \frac{g}{\|v\|}\Bigl(X^{\mathsf T}\delta
#   - \underbrace{X^{\mathsf T}\mathbf 1}_{0}\,\mu[\delta]
#   - \underbrace{X^{\mathsf T} X u}_{B u}\,\tfrac1B\,u \cdot X^{\mathsf T} \delta\Bigr)
#   = \frac{g}{\|v\|}\,(I - u u^{\mathsf T})\,X^{\mathsf T}\delta .$$
#
# That is equation 4, with $X^{\mathsf T}\delta$ as the gradient for $w$. The two projections, in the space of examples
# and in the space of weights, are images of each other under $X$. We assumed nothing about what comes after the layer,
# so it may be the first layer of a deep network. And only the first and second moments of $x$ entered: the paper asks
# for "independently distributed" inputs, but uncorrelated ones will do.
#
# We test it on inputs that are anything but Gaussian, and whiten them exactly: subtract the mean, and multiply by
# $(X^{\mathsf T} X/B)^{-1/2}$.


def whitened(x):
    """x with mean 0 and covariance I on these very examples."""
    for _ in range(2):  # the second time takes away the roundings of the first
        x = x - x.mean(axis=0)
        values, vectors = np.linalg.eigh(x.T @ x / len(x))
        x = x @ (vectors / np.sqrt(values)) @ vectors.T
    return x


inputs, classes, examples = 20, 10, 512
mixing = rng.normal(size=(inputs, inputs)) / np.sqrt(inputs)
raw = rng.exponential(size=(examples, inputs)) @ mixing + rng.normal(size=inputs)
white = whitened(raw)
teacher = 2 * rng.normal(size=(inputs, classes)) / np.sqrt(inputs)
labels = (white @ teacher + rng.gumbel(size=(examples, classes))).argmax(axis=1)

# %%


def network(kinds, hidden=16):
    """Dense layers, one of each kind, with ELU between them, in float64. Every g is 1, every b is 0."""
    generator, sizes, parts = lesson.rng(2), [inputs, *[hidden] * (len(kinds) - 1), classes], []
    for kind, (a, b) in zip(kinds, pairwise(sizes), strict=True):
        layer = nn.Linear(a, b, rng=generator)
        layer.bias.data = np.zeros_like(layer.bias.data)
        if kind == "batch norm":
            layer.bias = None
        if kind == "weight norm":
            wn.WeightNorm(layer)
            layer.weight_g.data = np.ones_like(layer.weight_g.data)
        parts += [layer, *([nn.BatchNorm(b, eps=0)] if kind == "batch norm" else []), nn.ELU()]
    model = nn.Sequential(*parts[:-1])
    for parameter in model.parameters():
        parameter.data = parameter.data.astype(np.float64)
    return model


# %%
# First, a single layer of ten units, with softmax and cross-entropy, and a single gradient.

x = mg.tensor(white)
bn, wn_ = network(["batch norm"]), network(["weight norm"])
outputs = bn(x).numpy(), wn_(x).numpy()
gradients = []
for model, names in ((bn, ("0.weight", "1.weight", "1.bias")), (wn_, ("0.weight_v", "0.weight_g", "0.bias"))):
    parameters = dict(model.named_parameters())
    found = mg.grad(F.cross_entropy(model(x), labels), [parameters[name] for name in names])
    gradients.append(np.concatenate([gradient.numpy().ravel() for gradient in found]))
for name, of_bn, of_wn in (("t̃ of the first example", *(t_tilde[0] for t_tilde in outputs)), ("∇_v L", *gradients)):
    print(f"{name}:", *(f"{a:.5f} / {b:.5f}" for a, b in zip(of_bn[:4], of_wn[:4], strict=True)))

# %% tags=["hide-input"]
# *Tolerance.* The whitening leaves $X^{\mathsf T} X/B - I$ at some $10^{-15}$; everything after it adds sums of 512
# numbers. We allow a few hundred roundings, $10^{-13}$; the gradients are of size 0.01 to 0.1.

lesson.claim("Inputs whitened on the batch: BN and WN have equal outputs (section 2.2)", outputs[0],
             predicted=outputs[1], rtol=0.0, atol=1e-13)
lesson.claim("Inputs whitened on the batch: BN and WN have equal gradients for v, g and b", gradients[0],
             predicted=gradients[1], rtol=0.0, atol=1e-13)

# %%
# Equal functions with equal gradients take equal steps, under any optimizer. So whole training runs must coincide. We
# train one layer with all 512 examples in each step and momentum 0.9:


def loss_curve(model, x, batch=None, steps=300, rate=0.2):
    """The loss on all examples before each step."""
    optimizer, order, curve = mg.optim.SGD(model.parameters(), lr=rate, momentum=0.9), lesson.rng(3), []
    for _ in range(steps):
        rows = slice(None) if batch is None else order.permutation(len(x))[:batch]
        with mg.no_grad():
            curve.append(F.cross_entropy(model(mg.tensor(x)), labels).item())
        optimizer.zero_grad()
        F.cross_entropy(model(mg.tensor(x[rows])), labels[rows]).backward()
        optimizer.step()
    return np.array(curve)


bn, wn_ = loss_curve(network(["batch norm"]), white), loss_curve(network(["weight norm"]), white)
for step in (0, 1, 10, 100, 299):
    print(f"after {step:3} steps: loss {bn[step]:.12f} with BN, {wn_[step]:.12f} with WN")

# %%
# Then four more pairs: one in which the argument says that they still agree, and three in which it breaks down.
#
# - *the first of two layers* is normalized, the second is plain: should agree;
# - *minibatches of 64* out of the 512: a part of a whitened set is not itself whitened;
# - *both of two layers* are normalized: the second layer's inputs come out of a nonlinearity;
# - *correlated inputs*, as they were before whitening.
#
# In the last two, weight normalization gets its $g$ and $b$ from equation 6, so that both networks begin as the same
# function there, too.


def pair(kinds, x, batch=None, initialize=False):
    """The loss curves with batch norm and with weight norm in the layers marked "either"."""
    curves = []
    for kind in ("batch norm", "weight norm"):
        model = network([kind if entry == "either" else entry for entry in kinds])
        if initialize and kind == "weight norm":
            wn.data_dependent_init(model, x)
        curves.append(loss_curve(model, x, batch))
    return curves


pairs = {"one layer": (bn, wn_),
         "first of two layers": pair(["either", "plain"], white),
         "minibatches of 64": pair(["either"], white, batch=64),
         "both of two layers": pair(["either", "either"], white, initialize=True),
         "correlated inputs": pair(["either"], raw, initialize=True)}
apart = {name: np.abs(of_bn - of_wn) for name, (of_bn, of_wn) in pairs.items()}
for name, (of_bn, of_wn) in pairs.items():
    print(f"{name:20} loss from {of_bn[0]:.4f} to {of_bn[-1]:.4f} (BN), {of_wn[-1]:.4f} (WN); "
          f"largest difference {apart[name].max():.1e}")

# %% tags=["hide-input"]
# *Tolerances.* For one layer the loss is convex in $w$, and training forgets its errors: $10^{-12}$ allows thousands of
# roundings. With two layers the loss is not convex, and errors may grow from step to step; we allow a thousand times as
# much, still far below any real difference. (They do grow in longer runs, as question 3 shows.)

lesson.claim("One layer, whitened, full batch: the loss curves of BN and WN are the same, 300 steps", bn,
             predicted=wn_, rtol=0.0, atol=1e-12)
lesson.claim("First of two layers, whitened, full batch: the loss curves are the same", pairs["first of two layers"][0],
             predicted=pairs["first of two layers"][1], rtol=0.0, atol=1e-9)
lesson.claim("Minibatches, both layers, correlated inputs: the curves differ, smallest of the largest differences",
             min(apart[name].max() for name in list(pairs)[2:]), above=1e-4)

# %% tags=["hide-input"]

BN, WN, MEAN_ONLY = (COLOURS[key] for key in ("batch norm", "weight norm", "WN + mean-only BN"))
figure, (left, right) = plt.subplots(1, 2, figsize=(8.4, 4.0), width_ratios=(1, 1.25))
left.plot(bn, color=BN, lw=4.5, label="batch norm", solid_capstyle="butt")
left.plot(wn_, color=WN, lw=1.6, label="weight norm")
left.set(xlabel="step", ylabel="cross-entropy (nats)", title="One layer, whitened inputs", xlim=(0, 60))
left.legend()
shades = {"correlated inputs": "#AA3377", "both of two layers": "#4477AA", "minibatches of 64": "#999933",
          "one layer": "0.1", "first of two layers": "0.5"}
for name, shade in shades.items():
    right.plot(np.maximum(apart[name], 1e-17), color=shade, lw=1.4, label=name)
right.set(yscale="log", xlabel="step", ylabel="|loss with BN − loss with WN| (nats)", ylim=(1e-17, 10),
          title="The pair's difference, in each case")
right.legend(loc="center", bbox_to_anchor=(0.5, 0.5), fontsize=9)
lesson.figure(figure, "whitened", note="random numbers, 512 examples, 20 inputs, 10 classes", alt="Left: the loss of "
              "one layer with batch norm and with weight norm over 60 steps; the two curves lie on top of each other. "
              "Right: the difference of the two losses over 300 steps, on a logarithmic scale: about 1e-15 for one "
              "layer and for the first of two layers, between 1e-3 and 0.1 for minibatches, for both layers normalized "
              "and for correlated inputs.")

# %%
# The two curves on the left lie on top of each other. On the right, the pair that differs in the first of two layers
# (gray) agrees as closely as the single layer does. The other three pairs differ by real amounts, some $10^{13}$ times
# as much. Minibatches and correlated inputs have chapters of their own. The rest of this lesson is about depth, because
# there the two part even with large minibatches and whitened inputs.
#
# What the second layer lacks
# ---------------------------
#
# Beyond the first layer, the inputs are outputs of a nonlinearity, and no longer whitened. How far off is weight
# normalization there? Take standard normal inputs and a first layer with $g = 1$ and $b = 0$. Its pre-activations are
# standard normal, and the ReLU turns them into $h = \max(t, 0)$. By integration,
#
# $$\mathbb{E}\,h = \frac{1}{\sqrt{2\pi}} = 0.40, \qquad
#   \operatorname{Var} h = \frac12 - \frac1{2\pi} = 0.34 .$$
#
# The second layer computes $t = u \cdot h$ with $\|u\| = 1$. If the entries of $h$ were independent,
#
# $$\mu[t] = \frac{1}{\sqrt{2\pi}} \sum_j u_j, \qquad \sigma[t] = \sqrt{\frac12 - \frac1{2\pi}} = 0.58 .$$
#
# So the deviation is off by a factor that is nearly the same for every unit: a single number could repair it. The mean
# is another matter: it depends on the direction. For random directions of $n$ inputs, $\sum_j u_j$ has standard
# deviation 1, so the means scatter by 0.40, more than half of $\sigma[t]$. The cause is geometry. The inputs form a
# cloud of roughly the same width in each direction, but its centre is far from the origin, at a distance of
# $0.40 \sqrt n$. Turn $u$, and the width along $u$ stays the same; the centre's position along $u$ does not.
#
# That is section 4 in numbers: weight normalization "makes the scale of neuron activations approximately independent of
# the parameters v [...] however, the means of the neuron activations still depend on v". We look at 2000 random
# directions in the second layer of a network with 64 units in each layer.

width, depth = 64, 5
rng = lesson.rng(4)
pool = whitened(rng.normal(size=(2000, width)))


def directions(number):
    """Random vectors of length 1, one a row."""
    v = rng.normal(size=(number, width))
    return v / np.linalg.norm(v, axis=1, keepdims=True)


h = np.maximum(pool @ directions(width).T, 0)  # the first layer's outputs
U = directions(2000)
means, deviations = (h @ U.T).mean(axis=0), (h @ U.T).std(axis=0)
print(f"2000 directions in layer 2: μ[t] scatters by {means.std():.3f} about {means.mean():.3f}, "
      f"σ[t] by {deviations.std():.3f} about {deviations.mean():.3f}")

# %% tags=["hide-input"]
# *Tolerances.* On the whitened pool each $t$ of the first layer has mean 0 and variance 1 exactly. Once these are
# fixed, what is left of $h$'s sampling error has variance $0.34 - 0.25 - 0.08 = 0.011$ (ReLU less its linear and its
# quadratic part). The mean of 2000 examples is then off by 0.0024, and so is $\mu[t]$, since $\|u\| = 1$; the largest
# of 2000 stays within five times that, 0.012.
#
# The entries of $h$ are not quite independent: rows of the first layer have random correlations of size $1/\sqrt n$, of
# which a ReLU passes on a quarter. The mean over directions of $\sigma^2[t]$ is unaffected. Its scatter comes from
# nothing else: $u^{\mathsf T} C u$, with off-diagonal entries of the size $1/(4\sqrt n)$ in $C$, varies by
# $1/\sqrt{8n}$. For $\sigma[t]$ this is, in relative terms, $1/(2 \cdot 0.34\,\sqrt{8n}) = 6.5$ %. The scatter of 2000
# numbers is known to 1.6 %, $C$ itself varies by 2 % from one first layer to another, and estimating it from 2000
# examples adds 3 %. We allow 15 %, and for the mean of $\sigma[t]$ 2 %.

lesson.claim("Layer 2: μ[t] = Σu_j/√(2π), 2000 directions u", means, predicted=U.sum(axis=1) / np.sqrt(2 * np.pi),
             rtol=0.0, atol=0.012)
lesson.claim("Layer 2: σ[t] = √(1/2 - 1/(2π)) whatever v is (section 4), mean over directions", deviations.mean(),
             predicted=np.sqrt(1 / 2 - 1 / (2 * np.pi)), rtol=0.02)
lesson.claim("Layer 2: σ[t] is only approximately independent of v, relative scatter over directions",
             deviations.std() / deviations.mean(), predicted=1 / (2 * 0.3408 * np.sqrt(8 * width)), rtol=0.15)

# %%
# Equation 6, and what training does to it
# ----------------------------------------
#
# Equation 6 repairs both at the start: it chooses $g$ and $b$ so that each unit has mean 0 and deviation 1 on a
# minibatch, just as with batch normalization. But equation 6 acts once, and training goes on. How long does the repair
# last? We train five layers of 64 ReLU units. The labels come from a random network with one hidden layer (the
# *teacher*), and new examples are drawn from the same source for each step.

KINDS = ("weight norm", "WN + mean-only BN", "batch norm")


def problem(generator):
    """A function that draws n examples, (inputs, labels); whitened ones if asked."""
    first, second = generator.normal(size=(width, 16)) / np.sqrt(width), generator.normal(size=(16, classes))

    def draw(n, white=False):
        x = generator.normal(size=(n, width))
        x = whitened(x) if white else x
        return x.astype(np.float32), (np.tanh(2 * x @ first) @ second).argmax(axis=1)

    return draw


def deep_network(kind, generator):
    """Five hidden layers, and a plain output layer; the same directions for each kind."""
    parts = []
    for _ in range(depth):
        layer = nn.Linear(width, width, rng=generator)
        after = {"WN + mean-only BN": [wn.MeanOnlyBatchNorm], "batch norm": [nn.BatchNorm]}.get(kind, [])
        if after:
            layer.bias = None
        parts += [layer if kind == "batch norm" else wn.WeightNorm(layer), *(make(width) for make in after), nn.ReLU()]
    return nn.Sequential(*parts, nn.Linear(width, classes, rng=generator))


# %%
# To see the statistics alone, we follow $t = u \cdot h$, without $g$ and $b$, which may learn any scale and mean they
# like. $\mu_0$ and $\sigma_0$ are its mean and deviation at the start, over 2000 whitened examples. After 200 steps,
# how far has each unit's mean moved, in units of $\sigma_0$, and by what factor has its deviation changed? We take the
# root mean square over the units of a layer.


def statistics(model, x):
    """Mean and deviation of u·h over the examples, in each hidden layer: (depth, 2, width)."""
    found = []
    with mg.no_grad():
        for layer in model:
            if isinstance(layer, nn.Linear):
                w = layer.weight.numpy()
                t = x @ (w / np.linalg.norm(w, axis=1, keepdims=True)).T
                found.append([t.mean(axis=0), t.std(axis=0)])
            x = layer(mg.tensor(x)).numpy()
    return np.array(found[:depth], np.float64)


# %%


def train(kind, rate, seed, steps=200):
    """Train from equation 6 on; the change of the means and of the deviations in each layer, and the test loss."""
    draw = problem(lesson.rng(5, seed))
    pool, (test_x, test_y) = draw(2000, white=True)[0], draw(2000)
    model = wn.data_dependent_init(deep_network(kind, lesson.rng(7, seed)), pool)
    start = statistics(model, pool)
    optimizer = mg.optim.SGD(model.parameters(), lr=rate, momentum=0.9)
    for _ in range(steps):
        x, y = draw(100)
        optimizer.zero_grad()
        F.cross_entropy(model(mg.tensor(x)), y).backward()
        optimizer.step()
    now = statistics(model, pool)
    moved = (now[:, 0] - start[:, 0]) / start[:, 1], now[:, 1] / start[:, 1] - 1
    with mg.no_grad():
        loss = F.cross_entropy(model(mg.tensor(test_x)), test_y).item()
    return [np.sqrt((change**2).mean(axis=1)) for change in moved], loss


(shift, stretch), loss = train("weight norm", 0.01, seed=0)
print("layer   means moved by (units of σ₀)   deviations changed by (relative)")
for i in range(depth):
    print(f"{i + 1:5} {shift[i]:28.4f} {stretch[i]:34.4f}")

# %% tags=["hide-input"]
# *Tolerances.* Layer 1 is in float32, where means and deviations over 2000 examples are off by some $10^{-7}$ to
# $10^{-6}$: at most $10^{-5}$. "More than" means a ratio above 1. A deviation that is "approximately independent"
# should change by less than 0.3; in layer 5 it changes by more.

lesson.claim("Trained, weight norm: in layer 1, with whitened inputs, nothing moves, means or deviations",
             max(shift[0], stretch[0]), below=1e-5)
lesson.claim("Trained, weight norm: in layer 2 the means have moved more than the deviations (section 4), ratio",
             shift[1] / stretch[1], above=1)
lesson.claim("Trained, weight norm: in layer 5 the deviations have moved too, relative change", stretch[4], above=0.3)

# %%
# Layer 1 is the special case, and its statistics stay as they were: its inputs are still white, whatever $v$ has
# become. From the second layer on, the means have moved by one deviation or more, and in layer 2 by about three times
# as much as the deviations. Further up, the deviations follow, because there the inputs change as well, with everything
# that the layers below have learned: "approximately independent" holds for $v$, but not for what $v$ is multiplied by.
#
# Why the means? The gradient for the weights of a unit is a sum over the minibatch, $\sum_i \delta_i\,h_i$. Split each
# input into the mean input $\mu[h]$ and the rest:
#
# $$\nabla_w L = \sum_i \delta_i\,h_i = B\,\mu[\delta]\,\mu[h] + \sum_i \delta_i\,(h_i - \mu[h]).$$
#
# The first term pushes $w$ along $\mu[h]$, the one direction that changes the mean of $t$. And $\mu[h]$ is long: 3.2
# with 64 inputs, whereas the inputs vary by only 0.58 in each direction. Unless the $\delta_i$ of a unit cancel over
# the minibatch, this term is large, and each step moves the mean.
#
# Mean-only batch normalization
# -----------------------------
#
# Section 4 adopts just this part of batch normalization (equation 7):
#
# $$t = w \cdot x, \qquad \tilde t = t - \mu[t] + b, \qquad y = \phi(\tilde t),$$
#
# with $w = g\,v/\|v\|$ and the nonlinearity $\phi$; at test time a running average replaces $\mu[t]$. Now the mean of
# $\tilde t$ is $b$, whatever $v$ is. For the gradient, $d\tilde t_i = dt_i - \mu[dt]$, so
# $dL = \sum_i \delta_i\,(dt_i - \mu[dt]) = \sum_i (\delta_i - \mu[\delta])\,dt_i$: equation 8,
#
# $$\nabla_t L = \nabla_{\tilde t} L - \mu[\nabla_{\tilde t} L].$$
#
# It is the projection off $\mathbf 1$: one half of what batch normalization does to a gradient. "Centered" gradients
# sum to zero over the minibatch. Put that into the split above, and the first term vanishes:
#
# $$\nabla_w L = \sum_i (\delta_i - \mu[\delta])\,h_i = \sum_i \delta_i\,(h_i - \mu[h]).$$
#
# So the weights learn *as if their inputs had been centred*, though the inputs were not touched. We check both
# equations on one layer of eight units, with the inputs of the first part (not whitened).

batch = raw[:40]
layer = nn.Linear(inputs, 8, bias=False, rng=lesson.rng(6))
model = nn.Sequential(wn.WeightNorm(layer), wn.MeanOnlyBatchNorm(8))
for parameter in model.parameters():
    parameter.data = parameter.data.astype(np.float64)
target = mg.tensor(rng.normal(size=(40, 8)))


def loss_after(t_tilde):
    """Some loss of the layer's output."""
    return mg.square(mg.tanh(t_tilde) - target).sum() / 2


t = mg.tensor(layer(mg.tensor(batch)).numpy(), requires_grad=True)
t_tilde = mg.tensor(model[1](t).numpy(), requires_grad=True)
delta = mg.grad(loss_after(t_tilde), t_tilde).numpy()
by_autograd = mg.grad(loss_after(model[1](t)), t).numpy()
w = mg.tensor(layer.weight.numpy(), requires_grad=True)
for_w = mg.grad(loss_after(model[1](mg.tensor(batch) @ w.T)), w).numpy()
print(f"sum over the minibatch, unit 0: of δ {delta[:, 0].sum():+.4f}, of ∇_t L {by_autograd[:, 0].sum():+.1e}")

# %% tags=["hide-input"]
# *Tolerance.* Sums of 40 numbers of size 1, and products of size 10: $10^{-14}$ to $10^{-12}$.

lesson.claim("Equation 8 = autograd through equation 7", by_autograd, predicted=delta - delta.mean(axis=0), rtol=0.0,
             atol=1e-13)
lesson.claim("The backpropagated gradients are centred (section 4): largest sum over a minibatch of 40",
             np.abs(by_autograd.sum(axis=0)).max(), below=1e-12)
lesson.claim("The weights learn as if their inputs were centred: ∇_w L = Σ δ_i (x_i - μ[x])", for_w,
             predicted=delta.T @ (batch - batch.mean(axis=0)), rtol=0.0, atol=1e-12)

# %%
# Equation 7 does not set the scale. That is left to weight normalization. Make $v$ three times as long: with weight
# normalization nothing happens; with mean-only batch normalization alone the deviation triples.

ratios = {}
for name in ("weight norm", "normal"):
    dense = nn.Linear(inputs, 8, bias=False, rng=lesson.rng(6))
    model = nn.Sequential(wn.WeightNorm(dense) if name == "weight norm" else dense, wn.MeanOnlyBatchNorm(8))
    before = model(mg.tensor(batch)).numpy().std(axis=0)
    direction = dense.weight_v if name == "weight norm" else dense.weight
    direction.data = 3 * direction.data
    ratios[name] = model(mg.tensor(batch)).numpy().std(axis=0) / before
    print(f"{name:11} + mean-only BN, v three times as long: deviation of t̃ times {ratios[name].mean():.5f}")

# %% tags=["hide-input"]
# *Tolerance.* These layers are in float32: roundings of $6 \cdot 10^{-8}$ each, in sums of 20 and of 40 numbers.

lesson.claim("v three times as long: deviation of t̃ with weight norm + mean-only BN, and with mean-only BN alone",
             [ratios["weight norm"], ratios["normal"]], predicted=[[1.0], [3.0]], rtol=1e-5)

# %%
# Does it matter?
# ---------------
#
# We train the same network with each of the three normalizations. Each gets the best of five learning rates, judged by
# the mean over five problems. All begin as the same function, with equation 6, and see 200 minibatches of 100 new
# examples; the loss is measured on 2000 others. (In the test, too, the statistics are those of the examples at hand.)

RATES, PROBLEMS = (0.003, 0.01, 0.03, 0.1, 0.3), 8 if lesson.full else 5
runs = {}
with np.errstate(over="ignore", invalid="ignore"):  # some of these diverge
    for kind in KINDS:
        for rate in lesson.progress(RATES, kind):
            runs[kind, rate] = [train(kind, rate, seed) for seed in range(PROBLEMS)]
losses = {kind: np.array([[loss for _, loss in runs[kind, rate]] for rate in RATES]) for kind in KINDS}
best = {}
print(f"test loss (nats), mean of {PROBLEMS} problems\n" + " " * 20 + "".join(f"η = {rate:<8}" for rate in RATES))
for kind in KINDS:
    finite = np.where(np.isfinite(losses[kind]), losses[kind], np.inf)
    best[kind] = finite[finite.mean(axis=1).argmin()]
    print(f"{kind:18}" + "".join(f"{mean:12.3f}" for mean in finite.mean(axis=1))
          + f"   best: {best[kind].mean():.3f} ± {best[kind].std(ddof=1):.3f}")
gain, whole = (best["weight norm"] - best[kind] for kind in KINDS[1:])
print(f"weight norm − (WN + mean-only BN): {gain.mean():.3f} ± {gain.std(ddof=1):.3f}; weight norm − batch norm: "
      f"{whole.mean():.3f} ± {whole.std(ddof=1):.3f}")

# %% tags=["hide-input"]
# *Tolerance.* Both train on the same problems and minibatches. Their difference scatters from problem to problem by the
# deviation printed above; its mean must be positive.

lesson.claim("Best rate of each: test loss, weight norm − (WN + mean-only BN), mean over the problems", gain.mean(),
             above=0)

# %%
# In this network equation 7 recovers about half of what weight normalization lacks (up to two thirds with other seeds),
# and it allows a larger learning rate. (At 0.3 weight normalization alone diverges in some of the problems.) The rest
# is due to the deviations, which batch normalization holds fixed and equation 7 does not. Do we see the mechanism, too?
# Here are the statistics after training, at a rate that suits all three; for mean-only batch normalization the means
# are those of $t$, *before* $\mu[t]$ is subtracted. Afterwards they would be 0.

moved = {kind: np.mean([change for change, _ in runs[kind, 0.03]], axis=0) for kind in KINDS}
for name, row in (("means moved by, in σ₀", 0), ("deviations changed by", 1)):
    print(f"η = 0.03, {name}, layers 1 to 5:", *(f"{kind}: {np.round(moved[kind][row], 2)};" for kind in KINDS))
lesson.claim("η = 0.03: the means of t move less if the gradients are centred, layers 2 to 5, smallest ratio",
             (moved["weight norm"][0] / moved["WN + mean-only BN"][0])[1:].min(), above=1)

# %% tags=["hide-input"]

figure, (left, right) = plt.subplots(1, 2, figsize=(8.6, 4.0))
for kind in KINDS:
    use = losses[kind].max(axis=1) < np.log(classes)  # where all learn
    mean, scatter = losses[kind].mean(axis=1)[use], losses[kind].std(axis=1, ddof=1)[use]
    left.errorbar(np.array(RATES)[use], mean, scatter, fmt="o-", color=COLOURS[kind], ms=5, capsize=2, label=kind)
    layers = np.arange(1, depth + 1)
    right.plot(layers, moved[kind][0], "o-", color=COLOURS[kind], ms=5)
    right.plot(layers, moved[kind][1], "x--", color=COLOURS[kind], ms=5)
left.set(xscale="log", xlabel="learning rate η", ylabel="test loss (nats)", title="After 200 steps")
left.set_xticks(RATES, [str(rate) for rate in RATES])
left.minorticks_off()
left.legend()
right.plot([], [], "o-", color="0.4", label="means, in units of σ₀")
right.plot([], [], "x--", color="0.4", label="deviations, relative")
right.set(xlabel="layer", ylabel="change since the start (rms)", title="What has moved, η = 0.03", xticks=layers)
right.legend(loc="upper left", fontsize=9)
lesson.figure(figure, "depth", note=f"mean and standard deviation of {PROBLEMS} synthetic problems; 5 layers of 64",
              alt="Left: test loss against the learning rate for weight norm, weight norm with mean-only batch norm "
              "and batch norm; at the best rate of each, mean-only lies between the two others. Right: change of the "
              "means and of the deviations in layers 1 to 5: zero in layer 1; from layer 2 on the means of weight norm "
              "have moved by 1.4 deviations or more, twice as far as with mean-only batch norm.")

# %%
# The means move half as far once the gradients are centred; the rest of their motion comes from the inputs, which
# change with the layers below. Equation 7 subtracts it, so the next layer sees none of it. Batch normalization's
# deviations move as well, before they are divided out.
#
# What the paper says, and what we found
# --------------------------------------
#
# Numbers from ``--quick --seed 0``.
#
# - *For whitened inputs, batch normalization is weight normalization* (section 2.2). Yes: outputs, gradients and 300
#   steps of training agree to $10^{-14}$. It is enough that the inputs are uncorrelated *on the minibatch*, and the
#   layer may be the first of a deep network.
# - *Exact equivalence does not usually hold for deeper architectures* (section 2.2). Right. In the second layer of a
#   ReLU network $\sigma[t]$ is 0.58 of what it should be, in nearly all directions, and $\mu[t]$ scatters by 0.40.
# - *The scale is approximately independent of v, the means are not* (section 4). Right for $v$: over directions, the
#   deviation varies by 6.5 per cent, the mean by more than half a deviation. In training, the deviations of deeper
#   layers move nearly as much, because their inputs change.
# - *Mean-only batch normalization centres the gradients* (section 4). Exactly; the weights then learn as if their
#   inputs were centred. At the best rates it recovers about half of weight normalization's lag behind batch
#   normalization: 0.10 ± 0.05 of 0.18 ± 0.03 nats. (On CIFAR-10, section 5.1, weight normalization with mean-only batch
#   normalization is ahead of full batch normalization. That is another network; lesson 09 trains it.)
#
# Further chapters
# ----------------
#
# Open one when you have the question. None is needed for lesson 09.
#
# - ``further/08_correlated_inputs.py``: your inputs are correlated, or someone says that batch normalization smooths
#   the loss;
# - ``further/08_depth_and_minibatches.py``: you ask how far apart the two are for a given minibatch size;
# - ``further/08_dependent_examples.py``: an example's output changes with its neighbours in the minibatch, or a
#   minibatch may have one example;
# - ``further/08_cost.py``: you need to know what each costs in memory and time;
# - ``further/08_noise.py``: you want the distribution of the noise that the minibatch's statistics add;
# - ``further/08_noise_in_gradients.py``: the same for gradients and trained networks, where the tails are heavy;
# - ``further/08_minibatch_size.py``: you must train with few examples at a time;
# - ``further/08_regularization.py``: your network overfits, and you ask whether the noise helps.
#
# Questions
# ---------
#
# 1. *Too few examples.* Whiten a minibatch of $B = 15$ examples with 20 inputs. What goes wrong in ``whitened``, and
#    why must it? What is left of the equivalence in the 14 directions that the minibatch spans?
# 2. *The constant in the denominator.* Set ``eps=1e-5`` in ``network`` and run the first pair again. How large is the
#    difference between the loss curves now, and how does it depend on $\|v\|$? Is the gradient still at a right angle
#    to $v$?
# 3. *The last bit.* Train the pair "first of two layers" for 1000 steps. When do roundings begin to grow, and by what
#    factor per step? Add $10^{-15}$ to one weight of *one* network and train it against itself. What changes with
#    ``rate=0.05``?
# 4. *A leave-one-out mean.* Subtract from each example the mean of the *other* $B - 1$. Show that this is mean-only
#    batch normalization times a constant, and find the constant. What does it become for $B = 2$?
# 5. *Another nonlinearity.* Compute $\mu[t]$ and $\sigma[t]$ of the second layer for tanh instead of ReLU. Which of the
#    two things that weight normalization lacks is still there? Would you use equation 7 with it?

lesson.finish()
