r"""What the next minibatch sees
============================

Equations 5 and 6 read $g$ and $b$ off one minibatch. Everything that follows, training and test data alike, is
different data. With 500 examples and ten layers nobody notices. With ten examples, the tenth ReLU layer works at
several times its intended scale. Open this chapter if you must choose the size of the initialization batch, or if your
batches are small.

Afterwards you can

- say how far later means and standard deviations are off in the first layer, for inputs with any tails;
- follow the errors through a deep ReLU network, layer by layer, in the limit of infinite width;
- tell when "slightly different statistics" (section 3) is true.

Read first: lesson 07 as far as "What one minibatch can promise".

Time: quick about 15 s, full about 1 min.
"""

# %%

from math import exp, lgamma, pi, sqrt

import matplotlib.pyplot as plt
import numpy as np
import threadpoolctl

import minigrad as mg
from lessons import Lesson

lesson = Lesson(__file__)
threadpoolctl.threadpool_limits(1)  # matrices this small are multiplied fastest by a single thread

# %%
# Tails decide how well a standard deviation is known
# ---------------------------------------------------
#
# Take one unit whose pre-activation $t$ has mean 0 and variance 1 over all data, and an initialization batch of $B$
# examples. Later data come out with the mean $-\mu[t]/\sigma[t]$ and the deviation $1/\sigma[t]$. The mean of the
# minibatch is off by $1/\sqrt B$, whatever the distribution. Its variance is a mean of squares, so it is off by
# $\sqrt{\operatorname{Var}(t^2)/B}$, and $\operatorname{Var}(t^2) = \mathbb{E}\,t^4 - 1$ depends on the tails.
#
# The usual measure of tails is the *excess kurtosis* $\gamma_2 = \mathbb{E}(t - \mathbb{E}\,t)^4/\sigma^4 - 3$. It is 0
# for a normal distribution, $-1.2$ for a uniform one, and 3 for a Laplace distribution, whose density falls as
# $e^{-|t|}$ on both sides. In terms of it, $\operatorname{Var}(t^2) = 2 + \gamma_2$, and since $\ln\sigma$ is half of
# $\ln\sigma^2$,
#
# $$\text{typical error of } \ln\sigma[t] = \frac12\sqrt{\frac{2 + \gamma_2}{B}} .$$
#
# For normal $t$ this is the $1/\sqrt{2B}$ of lesson 07. (A unit that adds up many inputs has a $t$ closer to
# normal than any of them. Wide layers are the mild case.)

B, batches = 1000, 10_000 if lesson.full else 4000
TAILS = {  # name: (γ₂, samples of mean 0 and variance 1)
    "uniform": (-1.2, lambda rng: rng.uniform(-sqrt(3), sqrt(3), (batches, B))),
    "normal": (0.0, lambda rng: rng.normal(size=(batches, B))),
    "Laplace": (3.0, lambda rng: rng.laplace(scale=sqrt(1 / 2), size=(batches, B))),
}
errors = {}
for row, (name, (excess, draw)) in enumerate(TAILS.items()):
    errors[name] = np.log(draw(lesson.rng(100, row)).std(axis=1)).std()
    print(f"{name:8} γ₂ = {excess:4.1f}: ln σ is off by {errors[name]:.4f}, predicted {sqrt((2 + excess) / B) / 2:.4f}")

# %% tags=["hide-input"]
# *Tolerance.* A standard deviation from 4000 batches is known to $1/\sqrt{2 \cdot 4000} = 1.1$ %. The curvature of the
# logarithm and the estimated mean add terms of relative size $1/B$ times a number below 10. Four standard deviations
# and 1 % make 5.5 %.

lesson.claim("ln σ[t] is off by ½√((2 + γ₂)/B): uniform, normal and Laplace t, B = 1000", list(errors.values()),
             predicted=[sqrt((2 + excess) / B) / 2 for excess, _ in TAILS.values()], rtol=0.055)

# %%
# Small batches
# -------------
#
# For normal $t$ no approximation is needed. $\sum_i (t_i - \mu[t])^2 = B\,\sigma^2[t]$ is a sum of squares of $B$
# normal numbers after one of their $B$ directions, the mean, has been removed. It therefore has the *chi-squared
# distribution* with $B - 1$ degrees of freedom: that of the sum of $B - 1$ squares of standard normal numbers. (The
# root of such a sum has the *chi distribution*, which we will also need.) Two facts about it are standard: it is
# independent of $\mu[t]$, and the mean of its inverse is $1/(B - 3)$. So
#
# $$\mathbb{E}\,\frac{1}{\sigma^2[t]} = \frac{B}{B - 3}, \qquad
#   p = \mathbb{E}\,\frac{\mu^2[t]}{\sigma^2[t]} = \frac{1}{B - 3}, \qquad
#   q = \frac{B + 1}{B - 3},$$
#
# where $q$ is the mean square of a later pre-activation, and $p$ the mean product of two different later ones, which is
# the square of the offset that they share. Dividing by an *estimated* deviation makes things larger on average:
# with ten examples, by 57 % in the mean square.

small, counts = 10, 100_000
t = lesson.rng(101).normal(size=(counts, small))
offset, variance = t.mean(axis=1), t.var(axis=1)
p_first, q_first = (offset**2 / variance).mean(), ((1 + offset**2) / variance).mean()
print(f"B = 10: q = {q_first:.4f}, predicted {11 / 7:.4f}; p = {p_first:.4f}, predicted {1 / 7:.4f}")

# %% tags=["hide-input"]
# *Tolerance.* An inverse chi-squared variable with 9 degrees of freedom has the relative variance $2/(9 - 4) = 0.4$;
# $p$ has a relative variance below $3 \cdot 1.4$ or so. The means of 100,000 are known to 0.2 % and 0.7 %. We allow 3
# %.

lesson.claim("Layer 1, B = 10: q = (B + 1)/(B - 3) and p = 1/(B - 3)", [q_first, p_first], predicted=[11 / 7, 1 / 7],
             rtol=0.03)

# %%
# Deeper down
# -----------
#
# A layer inherits the errors of all layers below. For ReLU networks of infinite width, $q$ and $p$ of one layer give
# those of the next. We need four ingredients, the first of which depends on the angle $\theta$ between two examples.
#
# 1. *The kernel.* For two jointly normal numbers with mean squares $q_1$, $q_2$ and mean product $p$ (Cho & Saul 2009),
#    $$K(q_1, q_2, p) = \mathbb{E}\,\phi(t_1)\phi(t_2) =
#      \frac{\sqrt{q_1 q_2}}{2\pi}\,\bigl(\sin\theta + (\pi - \theta)\cos\theta\bigr), \qquad
#      \cos\theta = \frac{p}{\sqrt{q_1 q_2}}.$$
# 2. *The initialization batch.* Its $B$ values of $t$ have mean 0 and variance 1 exactly, so two of them have the mean
#    product $-1/(B-1)$. Their outputs have the mean square $\frac12$ and the mean product
#    $K_0 = K(1, 1, -\frac1{B-1})$. The mean vector $\bar\phi$ of the batch has the mean square
#    $\frac{1}{2B} + (1 - \frac1B) K_0$, which we call $m$.
# 3. *A later example*, seen from that mean vector: $\mathbb{E}(\phi - \bar\phi)^2 = \frac q2 - 2A + m$ with
#    $A = \mathbb{E}[\phi(t)]\,\mathbb{E}[\phi(t_0)]$, for a later $t$ and a $t_0$ of the batch. (By symmetry a later
#    example is uncorrelated with each single example of the centred batch.)
# 4. *The division.* In the next layer $\sigma^2[t] = V\,X/B$, where $X$ is chi-squared with $B - 1$ degrees of freedom
#    and $V = \frac12 - K_0$ is the variance that the batch's outputs have left. $\mathbb{E}\,B/X = B/(B - 3)$.
#
# Together:
#
# $$q' = \frac{B}{B-3}\,\frac{\frac q2 - 2A + m}{V}, \qquad p' = \frac{B}{B-3}\,\frac{K(q, q, p) - 2A + m}{V} .$$
#
# Only $A$ needs care. Given $\sigma[t]$, a later $t$ is normal, but $\sigma[t]$ differs from unit to unit. So
# $\mathbb{E}\,\phi(t)$ is not $\sqrt{q/2\pi}$ but smaller, by $\mathbb{E}[X^{-1/2}]/\sqrt{\mathbb{E}[X^{-1}]}$: 3.5 %
# for $B = 10$. And a value $t_0$ of the batch is not normal either: it is $\sqrt{B - 1}$ times one coordinate of a
# random unit vector in $B - 1$ dimensions.


def kernel(q1, q2, p):
    """E φ(t1)φ(t2) for the ReLU and two jointly normal numbers."""
    theta = np.arccos(p / sqrt(q1 * q2))
    return sqrt(q1 * q2) * (np.sin(theta) + (pi - theta) * np.cos(theta)) / (2 * pi)


def later_statistics(B, layers):
    """(q, p) in each layer, for infinitely wide ReLU networks initialized on B > 3 examples."""
    inverse_root = exp(lgamma(B / 2 - 1) - lgamma((B - 1) / 2)) / sqrt(2)  # E X^(-1/2)
    of_batch = sqrt((B - 1) / pi) * exp(lgamma((B - 1) / 2) - lgamma(B / 2)) / 2  # E φ(t0)
    K0 = kernel(1, 1, -1 / (B - 1))
    V, m = 1 / 2 - K0, 1 / (2 * B) + (1 - 1 / B) * K0
    found = [((B + 1) / (B - 3), 1 / (B - 3))]
    for _ in range(layers - 1):
        q, p = found[-1]
        A = sqrt(q / (2 * pi)) * inverse_root * sqrt(B - 3) * of_batch
        found.append(tuple(B / (B - 3) * (first - 2 * A + m) / V for first in (q / 2, kernel(q, q, p))))
    return np.array(found)


# %%
# We measure layers 2 and 3 with many networks 400 units wide. With $N$ later examples the measured mean itself is off
# by $\sqrt{q/N}$. The mean product of two *different* examples, $(N\bar t^2 - \overline{t^2})/(N-1)$, is not.


def later_measured(B, width, levels, phi, rng, N=300):
    """(q, p) in each layer of one network."""
    batch, fresh, found = rng.normal(size=(B, width)), rng.normal(size=(N, width)), []
    for _ in range(levels):
        W = rng.normal(size=(width, width))
        t, later = batch @ W.T, fresh @ W.T
        mean, deviation = t.mean(axis=0), t.std(axis=0)
        t, later = (t - mean) / deviation, (later - mean) / deviation
        q = (later**2).mean()
        found.append((q, (N * (later.mean(axis=0) ** 2).mean() - q) / (N - 1)))
        batch, fresh = phi(t), phi(later)
    return np.array(found)


shallow, networks = {}, 300 if lesson.full else 100
for B in (10, 30):
    runs = [later_measured(B, 400, 3, mg.relu, lesson.rng(102, B, i)) for i in range(networks)]
    shallow[B] = np.mean(runs, axis=0)
    expected = later_statistics(B, 3)
    for layer in (1, 2):
        print(f"B = {B}, layer {layer + 1}: q = {shallow[B][layer, 0]:.3f} ({expected[layer, 0]:.3f}), "
              f"p = {shallow[B][layer, 1]:.4f} ({expected[layer, 1]:.4f})")

# %% tags=["hide-input"]
# *Tolerance.* One network's $p$ scatters by 25 % around the mean, mostly because all units share the same minibatch of
# only ten. With 100 networks 2.5 % is left. We allow four times that, and 2 % for the finite width. (Without the factor
# of 3.5 % in $A$, $p$ in layer 2 would be smaller by 24 %.)

lesson.claim("Layers 2 and 3, B = 10 and 30: q and p of later minibatches by the recursion",
             [shallow[B][1:] for B in shallow], predicted=[later_statistics(B, 3)[1:] for B in shallow], rtol=0.12)

# %%
# And 20 layers:

SIZES, width, levels = (10, 30, 100, 300, 1000), (400 if lesson.full else 200), 20
several = 8 if lesson.full else 3
deep, theory = {}, {B: later_statistics(B, levels) for B in SIZES}
for row, B in enumerate(SIZES):
    runs = [later_measured(B, width, levels, mg.relu, lesson.rng(103, row, i)) for i in range(several)]
    deep[B] = np.exp(np.mean(np.log([run[:, 0] for run in runs]), axis=0))
bounded = later_measured(10, width, levels, mg.tanh, lesson.rng(104))[:, 0]
print("   B   RMS of later t in layer 10 (theory)    in layer 20 (theory)")
for B in SIZES:
    print(f"{B:4} {sqrt(deep[B][9]):22.2f} ({sqrt(theory[B][9, 0]):.2f}) {sqrt(deep[B][19]):20.2f} "
          f"({sqrt(theory[B][19, 0]):.2f})")
print(f"tanh, B = 10: {sqrt(bounded[9]):.2f} in layer 10, {sqrt(bounded[19]):.2f} in layer 20")

# %% tags=["hide-input"]
# *Bounds.* In a network of finite width $\ln q$ fluctuates from network to network, by about 0.4 in layer 10 for
# $B = 10$, and the mean of three by 0.25. Theory says $\ln q = 4.5$ there, an RMS of 9.5; half of that, 4.7, is six
# such deviations away. With $B = 300$ theory says an RMS of 1.05. tanh keeps $q$ at 1 to 1.5.

lesson.claim("Layer 10, B = 300: 'slightly different statistics' (section 3), RMS of later minibatches",
             sqrt(deep[300][9]), predicted=sqrt(theory[300][9, 0]), rtol=0.12)
lesson.claim("Layer 10, B = 10: not slightly, RMS of later minibatches where it should be 1", sqrt(deep[10][9]),
             above=4.7)
lesson.claim("Layer 20, B = 10, tanh: RMS of later minibatches", sqrt(bounded[19]), below=1.3)

# %% tags=["hide-input"]

figure, axes = plt.subplots(figsize=(7.0, 4.4))
shades = plt.colormaps["viridis"](np.linspace(0, 0.85, len(SIZES)))
for B, shade, marker in zip(SIZES, shades, "osD^v", strict=True):
    axes.plot(range(1, levels + 1), np.sqrt(theory[B][:, 0]), "-", color=shade, lw=1)
    axes.plot(range(1, levels + 1), np.sqrt(deep[B]), marker, color=shade, ms=4, label=f"B = {B}")
axes.plot(range(1, levels + 1), np.sqrt(bounded), ":", color=shades[0], label="B = 10, tanh")
axes.set(yscale="log", xlabel="layer", ylabel="RMS of t in later minibatches", xticks=[1, 5, 10, 15, 20],
         title="ReLU networks, initialized on B examples")
axes.legend(fontsize=9)
lesson.figure(
    figure, "later_minibatches", note=f"random numbers; lines: theory; {width} units wide, {several} networks each",
    alt="Root mean square of pre-activations in later minibatches against the layer, 1 to 20, for initialization "
    "batches of 10 to 1000 examples. For 10 examples it grows exponentially to about 200, for 30 to about 7, for 100 "
    "to below 2; for 1000 it stays at 1. With tanh and 10 examples it stays near 1. Dots follow the theoretical lines.",
)

# %%
# What to do
# ----------
#
# Layer after layer the dots follow the recursion. Where they leave it, at $B = 100$ from layer 10 on, the finite width
# is the reason: with 100, 200 and 400 units the RMS in layer 20 was 1.9, 1.7 and 1.6, and theory has 1.46 for
# infinitely many.
#
# In the recursion, $q = 1$ is a fixed point as $B \to \infty$, with slope 1: errors neither die out nor multiply; they
# add up, some $4/B$ in the first layer and $3/B$ in each layer after it. This is the regime of the paper, with 500
# examples and ten layers. But once $q$ is large, its growth per layer rises to $\frac{B}{B-3}\cdot\frac{1}{2V}$. For
# large $B$ this tends to $\pi/(\pi - 1) = 1.47$, the rate at which a small difference grows in lesson 07 ($\chi$); for
# $B = 10$ it is 1.94. Bounded nonlinearities such as tanh stop this: their outputs cannot grow.
#
# So use as many examples as you can afford. The pass is made once.
#
# Question
# --------
#
# 1. *How many examples?* Use ``later_statistics`` to find the smallest $B$ for which the RMS of later data stays below
#    1.1 in all layers of a ReLU network, for 5, 10, 20 and 50 layers. How does it grow with depth, and why? Compare
#    with "errors add up".

lesson.finish()
