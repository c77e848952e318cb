r"""Lanczos: the largest eigenvalues of a Hessian too large to write down
=====================================================================

The steepest direction of a loss decides which learning rates are stable. In a network with a few thousand weights the
Hessian, which would show that direction, has millions of entries; in a large one it would not fit into any memory. Its
largest eigenvalue can still be found, at the price of some twenty gradients. Open this chapter if you want to measure
the sharpness of a network of your own.

Afterwards you can explain

- how a product of a Hessian with a vector is computed without the Hessian;
- how Lanczos's method turns such products into extreme eigenvalues, and what it says about its own error;
- what the growth of $\|v\|$ does to the largest eigenvalue in networks with weight normalization.

Read first: lesson 04; ``mg.hvp`` (lesson 01, part 7). The chapter ``04_spectra.py`` looks at whole spectra of small
networks.

Claims checked: weight normalization improves the conditioning of the problem (introduction): the growth of $\|v\|$
lowers the largest eigenvalue, where the learning rate is large.

Time: quick about 10 s, full about 1 min.
"""

# %%
# Products without a matrix
# -------------------------
#
# For a fixed vector $d$, the number $\nabla L \cdot d$ is a function of the weights like any other. Its gradient is $H
# d$, with $H$ the Hessian of the loss $L$. So the product costs a gradient of a gradient, and no matrix is needed:
# ``mg.hvp``. The network below has 33 weights and biases, few enough for comparison with ``mg.hessian``. (All on the
# CPU, whatever ``--device`` says.)

from itertools import pairwise

import matplotlib.pyplot as plt
import numpy as np
import threadpoolctl

import minigrad as mg
import wn
from lessons import COLOURS, Lesson
from minigrad import nn, optim
from minigrad.nn import functional as F
from wn.covariance import lanczos

lesson = Lesson(__file__)
threadpoolctl.threadpool_limits(1)  # matrices this small are multiplied fastest by a single thread
NORMAL, WEIGHT_NORM = COLOURS["normal"], COLOURS["weight norm"]

rng = lesson.rng(80)
x, y, weights = rng.normal(size=(200, 6)), rng.normal(size=(200, 1)), rng.normal(size=33) / 2


def loss_of(p):
    """Half the mean squared error of a 6-4-1 tanh network with the weights and biases p."""
    hidden = mg.tanh(x @ p[:24].reshape(6, 4) + p[24:28])
    return mg.square(hidden @ p[28:32].reshape(4, 1) + p[32] - y).mean() / 2


def product(d):
    """H d."""
    return mg.hvp(loss_of, weights, d).numpy()


H, d = mg.hessian(loss_of, weights).numpy(), rng.normal(size=33)
lesson.claim("mg.hvp = the Hessian times the vector, entry by entry", product(d), predicted=H @ d, rtol=1e-10,
             atol=1e-10 * np.linalg.norm(H @ d))

# %%
# Lanczos's method
# ----------------
#
# From a random $d$ the method builds an orthonormal basis of $d, Hd, H^2d, \dots$ (a *Krylov space*). Repeated products
# lean more and more towards the directions with the largest eigenvalues, positive or negative, and so these are found
# first. Within the basis $H$ is a small *tridiagonal* matrix $S$: only the diagonal and its neighbours are not zero.
# The eigenvalues of $S$ are the estimates (*Ritz values*).
#
# Each estimate comes with a bound. Let $c$ be the length of what the last product added to the space, and $s$ the last
# entry of the estimate's unit eigenvector of $S$. Then $H$ has an eigenvalue within $c\,|s|$ of the estimate (after two
# or three products not always the outermost one). ``wn.covariance.lanczos`` is the method.

exact = np.linalg.eigvalsh(H)
start = lesson.rng(81).normal(size=33)
estimates = {steps: lanczos(product, start, steps) for steps in range(2, 21)}
for steps in (3, 5, 10, 20):
    values, bounds = estimates[steps]
    print(f"{steps:2} products: largest {values[-1]:.6f} ± {bounds[-1]:.0e} (exact {exact[-1]:.6f}), "
          f"smallest {values[0]:+.6f} ± {bounds[0]:.0e} (exact {exact[0]:+.6f})")
lesson.claim("Lanczos, 10 products: largest eigenvalue of the Hessian", estimates[10][0][-1], predicted=exact[-1],
             rtol=1e-4)
lesson.claim("Lanczos, 20 products: largest eigenvalue of the Hessian", estimates[20][0][-1], predicted=exact[-1],
             rtol=1e-8)
excess = [(np.abs(values[:, None] - exact).min(axis=1) - bounds).max() for values, bounds in estimates.values()]
lesson.claim("Every estimate is within its bound: largest distance to an eigenvalue beyond it", max(excess),
             below=1e-12)

# %%
# Dense networks
# --------------
#
# Now we train three dense ReLU networks with 2,442 weights and biases, which learn ten classes with one label in ten
# wrong: inputs of mean 0 or 1, SGD with a learning rate $\eta$ of 0.5 or 0.03, always with weight normalization.


def dense_task(mean, rng, examples=2000, inputs=32):
    """Inputs of variance 1 around `mean`, and classes."""
    x = rng.normal(size=(examples, inputs))
    teacher = np.tanh(2 * x @ rng.normal(size=(inputs, 20)) / np.sqrt(inputs)) @ rng.normal(size=(20, 10))
    y = np.where(rng.uniform(size=examples) < 0.1, rng.integers(0, 10, examples), teacher.argmax(axis=1))
    return (x + mean).astype(np.float32), y


def dense_network(rng, sizes=(32, 32, 32, 10)):
    """Linear layers with weight normalization and ReLU between them; weights of variance 2/n, n the fan-in."""
    layers = []
    for n, units in pairwise(sizes):
        layers += [nn.Linear(n, units, rng=rng), nn.ReLU()]
        layers[-2].weight.data = rng.normal(0, np.sqrt(2 / n), (units, n)).astype(np.float32)
        layers[-2].bias.data = np.zeros(units, np.float32)
    return wn.apply_weight_norm(nn.Sequential(*layers[:-1]))


# %%

steps = 6000 if lesson.full else 1500
SETTINGS = {"mean 0, η = 0.5": (0.0, 0.5), "mean 1, η = 0.5": (1.0, 0.5), "mean 0, η = 0.03": (0.0, 0.03)}
trained = {}
for name, (mean, rate) in SETTINGS.items():
    x, y = dense_task(mean, lesson.rng(5, 0))
    model, order = dense_network(lesson.rng(6, 0)), lesson.rng(4, 0)
    optimizer = optim.SGD(model.parameters(), rate)
    for _ in lesson.progress(range(steps), name):
        rows = order.integers(0, len(x), 32)
        optimizer.zero_grad()
        F.cross_entropy(model(mg.tensor(x[rows])), y[rows]).backward()
        optimizer.step()
    trained[name] = model, x[:1000].astype(float), y[:1000]

# %%
# The same network can be described by its weights $w$ and biases, or by $v$, their length $g$, and the biases. Along
# each $v$ the network does not change, so we leave these directions out: we start from a vector with no part along any
# $v$, and remove that part from each product. The resulting eigenvalue 0 is never found, because Lanczos's method does
# not leave the space that it starts in.


def dense_loss(parameters, x, y, normalized):
    """The loss of a dense network from a list of W, b (or v, g, b) for each layer."""
    size, t = 3 if normalized else 2, x
    for i in range(0, len(parameters), size):
        weight = wn.weight_norm(*parameters[i : i + 2]) if normalized else parameters[i]
        t = (mg.relu(t) if i else t) @ weight.swapaxes(0, 1) + parameters[i + size - 1]
    return F.cross_entropy(t, y)


def arrays_of(model, normalized):
    """W, b (or v, g, b) of each layer, in float64."""
    arrays = []
    for layer in (m for m in model if isinstance(m, nn.Linear)):
        weights = [layer.weight_v, layer.weight_g.reshape(-1)] if normalized else [layer.weight]
        arrays += [array.numpy().astype(float) for array in (*weights, layer.bias)]
    return arrays


# %%


def extreme_eigenvalues(model, x, y, normalized, start_rng, steps=30):
    """The largest and smallest eigenvalue of the Hessian of a dense network, and the larger of their bounds."""
    arrays = arrays_of(model, normalized)
    ends = np.cumsum([array.size for array in arrays])[:-1]

    def across(vectors):
        """The vectors without their parts along each v."""
        if normalized:
            for i in range(0, len(arrays), 3):
                units = arrays[i] / np.linalg.norm(arrays[i], axis=1, keepdims=True)
                vectors[i] = vectors[i] - (vectors[i] * units).sum(axis=1, keepdims=True) * units
        return np.concatenate([vector.ravel() for vector in vectors])

    def parts(flat):
        return [part.reshape(array.shape) for part, array in zip(np.split(flat, ends), arrays, strict=True)]

    def product(flat):
        return across([t.numpy() for t in mg.hvp(lambda *p: dense_loss(p, x, y, normalized), arrays, parts(flat))])

    start = across(parts(start_rng.normal(size=sum(array.size for array in arrays))))
    values, bounds = lanczos(product, start, steps)
    return values[-1], values[0], max(bounds[0], bounds[-1])


# %%
# For all three networks, in both descriptions. Gradient descent is stable along an eigenvector with eigenvalue $h$ only
# if $\eta h < 2$.

largest = {}
for name, (model, x, y) in trained.items():
    for normalized in (False, True):
        high, low, bound = extreme_eigenvalues(model, x, y, normalized, lesson.rng(85))
        largest[name, normalized] = high
        print(f"{name:18} {'(v, g)' if normalized else 'w':7}: largest {high:7.3f}, smallest {low:+.3f} "
              f"(± {bound:.0e}); η h_max = {SETTINGS[name][1] * high:.2f}")
    factors = [np.abs(layer.weight_g.numpy()).ravel() / np.linalg.norm(layer.weight_v.numpy(), axis=1)
               for layer in model if isinstance(layer, nn.Linear)]
    print(f"{'':27}median of g²/‖v‖² over all neurons: {np.median(np.square(np.concatenate(factors))):.2f}")

# %%
# Is that plausible? If all $g/\|v\|$ were 1, both descriptions would have the same spectrum at a minimum; and the
# factor $g^2/\|v\|^2$ multiplies the curvature of the directions across each $v$. So the largest eigenvalue should be
# lowered where the factors have become small, and raised where $g$ has outgrown $\|v\|$. A second test checks the code:
# with each $v$ rescaled to $\|v\| = g$, which leaves the network as it is, the largest eigenvalue must be nearly that
# of ordinary weights (the networks are near no minimum, so not exactly).

model, x, y = trained["mean 1, η = 0.5"]
before = {normalized: largest["mean 1, η = 0.5", normalized] for normalized in (False, True)}
for layer in (m for m in model if isinstance(m, nn.Linear)):
    v, g = layer.weight_v.numpy(), np.abs(layer.weight_g.numpy()).reshape(-1, 1)
    layer.weight_v.data = (v * g / np.linalg.norm(v, axis=1, keepdims=True)).astype(np.float32)
rescaled = extreme_eigenvalues(model, x, y, True, lesson.rng(85))[0]
print(f"largest eigenvalue: {before[False]:.3f} with w, {before[True]:.3f} with (v, g), {rescaled:.3f} with ‖v‖ = g")

# %% tags=["hide-input"]
# *Tolerance.* The second term of the Hessian, which makes the difference at $\|v\| = g$, is of the order of
# the gradient divided by $g$: a few per cent of the largest eigenvalue at most. We allow 5 %. That growth lowers the
# largest eigenvalue is a statement about a sign; we ask for a tenth at least.

lesson.claim("Dense network, mean 1, η = 0.5, v rescaled to ‖v‖ = g: largest eigenvalue as with ordinary weights",
             rescaled, predicted=before[False], rtol=0.05)
lesson.claim("Dense network, mean 1, η = 0.5: growth of ‖v‖ has lowered the largest eigenvalue, with WN / with w",
             before[True] / before[False], below=0.9)

# %% tags=["hide-input"]

figure, (left, right) = plt.subplots(1, 2, figsize=(9.0, 4.0), width_ratios=(1.1, 1))
for steps, (values, bounds) in estimates.items():
    for end, colour, marker in ((-1, "0.1", "o"), (0, "0.55", "s")):
        label = {-1: "largest", 0: "smallest"}[end] if steps == 2 else None
        left.semilogy(steps, max(abs(values[end] - exact[end]), 1e-16), marker, color=colour, ms=5, label=label)
        left.semilogy(steps, max(bounds[end], 1e-16), "_", color=colour, ms=9)
left.set(xlabel="products with the Hessian", ylabel="distance from the exact eigenvalue", ylim=(3e-17, 30),
         xticks=(2, 5, 10, 15, 20),
         title="33 weights and biases")
left.legend(loc="lower left", title="lines: the bound")
places = np.arange(len(SETTINGS))
for normalized, colour, label in ((False, NORMAL, "ordinary weights"), (True, WEIGHT_NORM, "weight norm")):
    heights = [rate * largest[name, normalized] for name, (_, rate) in SETTINGS.items()]
    right.bar(places + (0.2 if normalized else -0.2), heights, 0.36, color=colour, label=label)
right.axhline(2, color="0.3", lw=1, ls=":")
right.text(2.45, 2.05, "unstable above", fontsize=9, color="0.3", ha="right", va="bottom")
right.set(xticks=places, xticklabels=[name.replace(", ", "\n") for name in SETTINGS], title="Three dense networks",
          ylabel="η × largest eigenvalue of the Hessian")
right.grid(axis="x", visible=False)
right.legend()
lesson.figure(figure, "lanczos", note="right: the same networks in two descriptions",
              alt="Left: error of Lanczos's largest and smallest eigenvalue against the number of products; both fall "
                  "to rounding error within 20 products, from the fifth on below their bounds. Right: learning rate "
                  "times largest eigenvalue for three networks: for the large learning rate it is far smaller with "
                  "weight normalization than with ordinary weights; for the small one both are near 0.")

# %%
# What we found
# -------------
#
# (Numbers of the quick run, seed 0.) With a large $\eta$, $\|v\|$ has grown, and in the coordinates $(v, g)$ the
# largest eigenvalue is far smaller than with ordinary weights: for inputs of mean 1 $\eta h_{\max}$ is 2.1 in place of
# 6.4, at the limit of stability instead of far above it. (Both fluctuate: one step of SGD later they are 1.1 and 4.4.)
# With a small $\eta$ nothing has been gained: 0.21 in place of 0.17. The chapter ``04_spectra.py`` shows the same for
# small networks, with whole spectra.
#
# Questions
# ---------
#
# 1. *Power iteration.* Replace Lanczos's method by $d \leftarrow H d/\|H d\|$. How many products does it take for six
#    digits of the largest eigenvalue of the small network? When does it find the smallest one instead?
# 2. *Lost orthogonality.* In ``wn.covariance.lanczos`` remove the loop that makes each new vector orthogonal to all
#    before it. What becomes of the estimates after 20 products, and after 33?

lesson.finish()
