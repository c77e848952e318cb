r"""Depth: what gradients and differences pay
=========================================

Lesson 07 ends in a dilemma. After equations 5 and 6 a deep network's gradients grow from layer to layer; with He's
start they do not, but there all inputs end up looking alike. This chapter shows that the growth comes with every
nonlinearity, and measures what He's start loses. Open it if you train deep networks without shortcuts, or want to see
how far infinite-width theory can be trusted at width 100.

Afterwards you can

- show that $\chi \ge 1$ for every nonlinearity, with equality only for straight lines;
- predict how fast differences between inputs grow after equations 5 and 6, and fade with He's start;
- correct the infinite-width prediction for a finite width.

Read first: lesson 07 as far as "Backwards".

Time: quick about 15 s, full about 1 min.
"""

# %%

from math import factorial, pi, sqrt

import matplotlib.pyplot as plt
import numpy as np
import threadpoolctl

import minigrad as mg
from lessons import COLOURS, Lesson

lesson = Lesson(__file__)
threadpoolctl.threadpool_limits(1)  # matrices this small are multiplied fastest by a single thread
NORMAL = COLOURS["normal"]

# %%
# Every nonlinearity loses something
# ----------------------------------
#
# After equations 5 and 6 the mean square of the gradient is multiplied per layer by (lesson 07, "Backwards")
#
# $$\chi = \frac{\mathbb{E}\,\phi'(z)^2}{\operatorname{Var}\phi(z)}, \qquad z \text{ standard normal}.$$
#
# Could a clever $\phi$ make it 1? To see that none can, write $\phi$ as a sum of *Hermite polynomials*: $h_0 = 1$,
# $h_1 = z$, $h_2 = (z^2 - 1)/\sqrt2$, and so on, one of each degree. They are to the normal distribution what sines are
# to an interval: $\mathbb{E}\,h_j h_k$ is 1 if $j = k$, else 0. Their derivatives are $h_k' = \sqrt k\,h_{k-1}$. With
# $\phi = \sum_k a_k h_k$, therefore,
#
# $$\operatorname{Var}\phi = \sum_{k \ge 1} a_k^2, \qquad \mathbb{E}\,\phi'^2 = \sum_{k \ge 1} k\,a_k^2, \qquad
#   \chi = \frac{\sum k\,a_k^2}{\sum a_k^2} \ge 1 .$$
#
# So $\chi$ is the average degree of $\phi$, weighted by how much of $\phi$ each degree carries. It is 1 only if all
# weight is on degree 1, a straight line. (The inequality $\operatorname{Var}\phi \le \mathbb{E}\,\phi'^2$ is known as
# the Gaussian Poincaré inequality.) **Hence every wide network of nonlinear layers that begins with unit variance, and
# has no shortcuts, has gradients that grow exponentially on their way back.**


def leaky(t):
    """Leaky ReLU with slope 0.1 for negative inputs."""
    return mg.leaky_relu(t, 0.1)


NONLINEARITIES = {
    "identity": lambda t: t * 1.0, "tanh": mg.tanh, "sigmoid": mg.sigmoid, "softplus": mg.softplus, "ELU": mg.elu,
    "leaky ReLU": leaky, "ReLU": mg.relu, "sin": mg.sin, "abs": mg.abs,
}
z = np.linspace(-9, 9, 100_000)  # an even number of points: none at 0, where some nonlinearities have a kink
density = np.exp(-(z**2) / 2) / np.exp(-(z**2) / 2).sum()


def slope_of(phi, t):
    """φ'(t), by autograd."""
    t = mg.tensor(t, requires_grad=True)
    return mg.grad(phi(t).sum(), t).numpy()


chi = {}
for name, phi in NONLINEARITIES.items():
    y = phi(mg.tensor(z)).numpy()
    chi[name] = (density @ slope_of(phi, z) ** 2) / (density @ y**2 - (density @ y) ** 2)
print("√χ:", ", ".join(f"{name} {sqrt(value):.3f}" for name, value in chi.items()))

# %%
# The same for tanh and sin from their Hermite coefficients $a_k = \mathbb{E}\,\phi(z)\,h_k(z)$:


def average_degree(phi, degrees=40):
    """Σ k a_k² / Σ a_k²."""
    y, a = phi(mg.tensor(z)).numpy(), []
    for k in range(1, degrees):
        h = np.polynomial.hermite_e.hermeval(z, np.eye(degrees)[k]) / sqrt(factorial(k))
        a.append(density @ (y * h))
    a = np.array(a)
    return (np.arange(1, degrees) * a**2).sum() / (a**2).sum()


degrees = {name: average_degree(NONLINEARITIES[name]) for name in ("tanh", "sin")}
print("average degree:", {name: round(float(value), 4) for name, value in degrees.items()})

# %% tags=["hide-input"]
# *Tolerances.* The sums over $z$ stand for integrals of smooth functions, or of functions with one kink between two
# points, and are accurate far beyond $10^{-6}$. The coefficients of tanh beyond degree 40 carry some $10^{-5}$ of its
# weight, times their degree. The claim about $\chi - 1$ rests on curvature: all eight functions have some.

lesson.claim("√χ of the ReLU by numerical integration is √(π/(π - 1))", sqrt(chi["ReLU"]),
             predicted=sqrt(pi / (pi - 1)), rtol=1e-5)
lesson.claim("χ is the average Hermite degree: tanh and sin", list(degrees.values()),
             predicted=[chi[name] for name in degrees], rtol=1e-3)
lesson.claim("Gaussian Poincaré: the identity has χ = 1", chi["identity"], predicted=1, rtol=1e-6)
lesson.claim("Gaussian Poincaré: the smallest χ - 1 of eight others",
             min(value for name, value in chi.items() if name != "identity") - 1, above=0.01)

# %%
# Differences forward, gradients backward
# ---------------------------------------
#
# If a layer keeps the variance although its nonlinearity loses some of it, something must magnify. The layer magnifies
# both ways: a small difference $dt$ between two inputs becomes $W(\phi'(t) \odot dt)$ in the next layer, with the same
# two factors as the gradient. In the words of Poole et al. (2016, arXiv:1606.05340), equations 5 and 6 put every deep
# network on the chaotic side. We follow two inputs that are $10^{-7}$ apart through 50 layers, after equations 5 and 6.
# He's start, for comparison, has the factor $\sqrt{2\,\mathbb{E}\,\phi'^2} = 1$.

depth, examples, wide = 50, 300, 200


def apart(phi, initialized, rng):
    """The distance of two nearly equal inputs in each layer, RMS over examples and units."""
    x, found = rng.normal(size=(examples, wide)), []
    near = x + 1e-7 * rng.normal(size=x.shape)
    for _ in range(depth):
        W = rng.normal(0, sqrt(2 / wide), (wide, wide))
        t, close = x @ W.T, near @ W.T
        if initialized:
            mean, deviation = t.mean(axis=0), t.std(axis=0)
            t, close = (t - mean) / deviation, (close - mean) / deviation
        found.append(np.sqrt(((t - close) ** 2).mean()))
        x, near = phi(t), phi(close)
    return np.array(found)


CASES = {"ReLU": (mg.relu, True), "leaky ReLU": (leaky, True), "tanh": (mg.tanh, True), "He's start": (mg.relu, False)}
networks, growth = 8 if lesson.full else 3, {}
for row, (name, case) in enumerate(CASES.items()):
    runs = [apart(*case, lesson.rng(200, row, i)) for i in range(networks)]
    growth[name] = np.exp(np.mean([np.log(run[-1] / run[0]) for run in runs]) / (depth - 1))
expected = {name: sqrt(chi[name]) if initialized else 1.0 for name, (_, initialized) in CASES.items()}
for name in CASES:
    print(f"{name:11} growth of a small difference per layer {growth[name]:.4f}, predicted {expected[name]:.4f}")

# %% tags=["hide-input"]
# *Tolerance.* As for gradients in lesson 07: 0.7 % from scatter, 1 % from the width; together 2 %.

lesson.claim("A small difference grows by √χ per layer: ReLU, leaky ReLU, tanh after equations 5 and 6, He's start",
             list(growth.values()), predicted=list(expected.values()), rtol=0.02)

# %%
# What He's initialization costs
# ------------------------------
#
# He's start keeps the RMS of $t$. (So does $\sqrt2$ times a random orthogonal matrix, question 2.) How much of that
# RMS is standard deviation between examples, and how much a mean that all examples share? First, one network of lesson
# 07's size:

n = 100


def share(n, rng, count=300):
    """In each layer of a ReLU network with He's start: standard deviation over the batch / RMS."""
    x, found = rng.normal(size=(count, n)), []
    for _ in range(depth):
        t = x @ rng.normal(0, sqrt(2 / n), (n, n)).T
        found.append(sqrt(t.var(axis=0).sum() / (t**2).mean(axis=0).sum()))
        x = mg.relu(t)
    return np.array(found)


one = share(n, lesson.rng(201))
print("deviation over the batch / RMS:", ", ".join(f"layer {k}: {one[k - 1]:.2f}" for k in (1, 2, 5, 10, 20, 50)))

# %%
# First the theory for infinite width. There all examples keep equal lengths, and only directions matter. The
# correlation $p$ of two examples, the cosine of the angle $\theta$ between them, becomes (Cho & Saul 2009)
#
# $$p' = \frac{\sin\theta + (\pi - \theta)\cos\theta}{\pi},$$
#
# which creeps towards 1: ReLU outputs are positive, so their means add up, and all inputs end in nearly the same
# direction. The share of the deviation is $\sqrt{1 - p}$, which falls as $1/l$ and is 0.11 in layer 50. The network
# above has about 0.3. That is not chance.
#
# At finite width, *lengths* differ, too. A ReLU layer without bias multiplies an input's length by a factor that
# depends on its direction only. While two examples still point in different directions they get different factors; once
# their directions agree, their ratio of lengths stays fixed for ever. Directions forget; lengths remember.
#
# How much? For one example, the layer changes $\ln\|t\|$ by half the logarithm of $\frac2n\sum_j\phi(z_j)^2$. For two
# examples at angle $\theta$ the difference of these changes has the variance
#
# $$\frac{1}{4}\cdot\frac{4}{n}\operatorname{Var}\bigl(\phi(z_1)^2 - \phi(z_2)^2\bigr)
#   = \frac2n\left(\frac32 - \frac{J(\theta)}{2\pi}\right), \qquad
#   \mathbb{E}\,\phi(z_1)^2\phi(z_2)^2 = \frac{J(\theta)}{2\pi},$$
#
# with $J(\theta) = 3\sin\theta\cos\theta + (\pi - \theta)(1 + 2\cos^2\theta)$ (Cho & Saul again), since
# $\mathbb{E}\,\phi(z)^4 = \frac32$. Add these up over the layers, beginning with $1/n$ for Gaussian inputs, and call
# the sum $D$. A product with $n$ fresh Gaussian rows adds $(1 - p^2)/n$ for the layer where we look. If logarithms of
# lengths are about normal, with variance $D/2$ among the examples, then
#
# $$\text{share}^2 = 1 - p\,e^{-D/2} .$$


def predicted_share(n):
    """Deviation over the batch / RMS in each layer, He's start, n units wide."""
    p, D, found = 0.0, 1 / n, []
    for _ in range(depth):
        found.append(sqrt(1 - p * np.exp(-(D + (1 - p * p) / n) / 2)))
        theta = np.arccos(p)
        J = 3 * np.sin(theta) * np.cos(theta) + (pi - theta) * (1 + 2 * np.cos(theta) ** 2)
        D += 2 / n * (3 / 2 - J / (2 * pi))
        p = min(1.0, (np.sin(theta) + (pi - theta) * np.cos(theta)) / pi)
    return np.array(found)


WIDTHS = {50: 60, 100: 40, 200: 12, 400: 4}  # width: number of networks
shares = {}
for width, count in WIDTHS.items():
    count *= 3 if lesson.full else 1
    shares[width] = np.sqrt(np.mean([share(width, lesson.rng(202, width, i)) ** 2 for i in range(count)], axis=0))
for width in WIDTHS:
    print(f"layer 50, n = {width:3}: {shares[width][-1]:.3f}, predicted {predicted_share(width)[-1]:.3f}")
print(f"infinite width: {predicted_share(np.inf)[-1]:.3f}")

# %% tags=["hide-input"]
# *Tolerance.* Networks of one width scatter by about 14 % (n = 50) to 9 % (n = 400) around each other in layer 50, so
# the means are known to 2, 2, 3 and 5 %. The formula follows directions as if the width were infinite, and lengths to
# first order in $D$, which is 0.4 at most ($n = 50$): another few per cent. We allow 15 %. The infinite-width value
# 0.11 is smaller than the others by 40 % or more.

lesson.claim("He's start, layers 10 and 50: deviation over the batch / RMS = √(1 - p exp(-D/2)), width 50 to 400",
             [value[[9, 49]] for value in shares.values()], predicted=[predicted_share(k)[[9, 49]] for k in shares],
             rtol=0.15)

# %% tags=["hide-input"]

figure, axes = plt.subplots(figsize=(7.0, 4.4))
layers = np.arange(1, depth + 1)
shades = ("#9ecae1", "#6baed6", NORMAL, "#08306b")
for (width, value), marker, shade in zip(shares.items(), "o^sD", shades, strict=True):
    axes.plot(layers, predicted_share(width), "-", color=shade, lw=1, zorder=0)
    axes.plot(layers[::3], value[::3], marker, color=shade, ms=5, label=f"n = {width}")
axes.plot(layers, predicted_share(np.inf), "--", color="0.4", lw=1.4, label="infinite width")
axes.plot(layers, np.ones(depth), "-", color="0.1", lw=2, label="after equations 5 and 6")
axes.set(xlabel="layer", ylabel="deviation over the batch / RMS of t", ylim=(0, 1.05), xticks=[1, 10, 20, 30, 40, 50],
         title="What differs between examples (He's start)")
axes.legend(loc="upper right", bbox_to_anchor=(1, 0.93))
lesson.figure(
    figure, "share", note="random numbers; lines: theory; ReLU",
    alt="Standard deviation over the batch divided by the root mean square of t, layers 1 to 50, He's start. All "
    "widths begin at 1 and fall. Infinite width falls to 0.11; finite widths level off, at 0.43 for 50 units, 0.32 "
    "for 100, 0.24 for 200 and 0.19 for 400, on the corrected lines. "
    "After equations 5 and 6 the ratio is 1 in every layer.",
)

# %%
# So He's start keeps the scale, and loses most of what the scale is for. In layer 50, most of the signal is the same
# for all inputs, and they still differ mainly in how *long* they are. Equations 5 and 6 lose none of the deviation, but
# magnify gradients by $\chi$. Either way depth has its price, and shortcuts around layers are the usual way out.
#
# Questions
# ---------
#
# 1. *Shortcuts.* In lesson 07, change ``losses_of`` and ``initialize`` to ``x + ...`` in every layer whose width does
#    not change, and repeat the depth experiment. What happens to the gradients, and why does $\chi$ no longer apply?
#    What goes wrong if ``initialize`` does not know about the shortcuts?
# 2. *Orthogonal.* Replace He's matrices by $\sqrt2$ times random orthogonal ones (``np.linalg.qr`` of a Gaussian
#    matrix, each column times the sign of R's diagonal). Does the RMS still stay the same? Does ``share`` change?

lesson.finish()
