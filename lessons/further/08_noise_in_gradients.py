r"""Noise in a trained network, and in its gradients
================================================

``08_noise.py`` found that for normal pre-activations batch normalization's noise has an excess kurtosis of 2/3,
whatever the minibatch. In a trained network nothing is normal, gradients least of all: most examples are classified
well and have hardly any gradient, and a few have large ones. Open this chapter if you want to know what the noise of
the statistics does to gradients, where the paper's sentence on heavy tails (section 4) matters most, or if you want to
predict the noise of some other statistic.

Afterwards you can

- write batch normalization's noise in the gradient as a sum of three minibatch averages;
- predict its kurtosis for large minibatches from single examples, without drawing a minibatch;
- say how much of it mean-only batch normalization avoids.

Read first: lesson 08; ``08_noise.py``, "Three kinds of noise".

Claims checked, and where the paper makes them:

- mean-only batch normalization causes less noise, with much lighter tails (section 4), in a trained network and in its
  gradients.

Time: quick about 10 s, full about 1 min.
"""

# %%
# Three averages
# --------------
#
# Take one unit: its pre-activations $z_i$, and the derivatives $\delta_i$ of the loss with respect to the normalized
# ones. Measure both in units in which the population has mean 0 and variance 1. With the population's statistics, batch
# normalization would pass on the gradient $\delta_i - \overline{\delta z}\,z_i$, where $\overline{\delta z}$ is the
# mean of the product over the population, the correlation of the two (lesson 08: take out the part along $\hat t$).
# With a minibatch's mean $\mu$ and standard deviation $\sigma = \sigma[z]$, it passes on
# $(\delta_i - \mu[\delta] - \hat t_i\,\mu[\delta\,\hat t])/\sigma$. The noise is the difference of the two. To first
# order it is
#
# $$-(\mu[\delta] - \overline{\delta z}\,\mu[z]) + (3\,\overline{\delta z}\,z_i - \delta_i)(\sigma - 1)
#   - z_i\,(\mu[\delta z] - \overline{\delta z}) .$$
#
# (Where does the 3 come from? $\hat t_i\,\mu[\delta\,\hat t]/\sigma$ has $\sigma$ in the denominator three times.)
# These are three minibatch averages, of $\delta - \overline{\delta z}\,z$, of $(z^2 - 1)/2$ and of
# $\delta z - \overline{\delta z}$, with coefficients that depend on the example:
#
# $$a(z, \delta) = (-1,\;\; 3\,\overline{\delta z}\,z - \delta,\;\; -z).$$
#
# Let $K$ be the covariance matrix of the three, over single examples. For large minibatches the averages are normal
# with the covariance $K/B$. So for a given example the noise is normal with the variance $V/B$,
# $V = a^{\mathsf T} K a$, and over all examples it is a mixture, with the excess kurtosis
#
# $$\gamma_2 \to 3\,\frac{\mathrm{Var}\,V}{(\mathbb{E}\,V)^2} .$$
#
# The noise in the pre-activation $\hat t$ is of the same kind, with two averages, of $z$ and of $(z^2 - 1)/2$, and the
# coefficients $(-1, -z)$.

import math

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


def kurtosis(y, axis=0):
    """The excess kurtosis along an axis."""
    y = y - y.mean(axis=axis, keepdims=True)
    return (y**4).mean(axis=axis) / (y**2).mean(axis=axis) ** 2 - 3


def mixture_limit(averaged, coefficients):
    """3 Var V/(E V)², V = aᵀKa: the excess kurtosis, for B → ∞, of noise that is linear in minibatch averages."""
    K = np.cov(averaged)
    V = np.einsum("in,ij,jn->n", coefficients, K, coefficients)
    return 3 * V.var() / V.mean() ** 2


def gradient_limit(z, delta, r):
    """The same for batch normalization's noise in the gradient."""
    coefficients = np.stack([-np.ones_like(z), 3 * r * z - delta, -z])
    return mixture_limit([delta - r * z, (z**2 - 1) / 2, delta * z], coefficients)


def gradient_noise(z, delta, r):
    """Batch normalization's noise in the gradient: one row for each minibatch of standardized z and δ."""
    s = z.std(axis=1, keepdims=True)
    hat = (z - z.mean(axis=1, keepdims=True)) / s
    of_batch = delta - delta.mean(axis=1, keepdims=True) - hat * (delta * hat).mean(axis=1, keepdims=True)
    return of_batch / s - (delta - r * z)


# %%
# Pairs made for the purpose
# --------------------------
#
# In trained networks $\overline{\delta z}$ is close to 0, and a mistake in the term with the 3 would not be seen. So
# the formula is tried first on normal pairs with the correlation 0.8, in minibatches of 256. Let $\delta$ be
# $\overline{\delta z}\,z$ plus a part that is independent of $z$, and $e$ that part in units of its deviation. Then $K$
# can be calculated by hand, and everything collapses (question 1):
#
# $$V = \bigl(1 - \overline{\delta z}^2\bigr)\,\bigl(1 + z^2 + \tfrac12 e^2\bigr), \qquad
#   \gamma_2 \to 3 \cdot \frac{5/2}{(5/2)^2} = \frac65$$
#
# for any correlation. The noise in gradients of normal pairs has heavier tails than that in pre-activations (2/3).

made = lesson.rng(1).normal(size=(48, 2, 2**17 // 256, 256))
made_z, made_delta = made[:, 0], 0.8 * made[:, 0] + 0.6 * made[:, 1]
made_kurtosis = [kurtosis(gradient_noise(z, d, 0.8).ravel()) for z, d in zip(made_z, made_delta, strict=True)]
made_law = gradient_limit(made_z[:4].ravel(), made_delta[:4].ravel(), 0.8)
print(f"normal pairs, correlation 0.8: γ₂ of the noise {np.mean(made_kurtosis):.3f} ± "
      f"{np.std(made_kurtosis, ddof=1) / math.sqrt(48):.3f}, of the mixture {made_law:.3f}")
by_hand = [gradient_limit(made_z[:4].ravel(), (c * made_z[:4] + math.sqrt(1 - c**2) * made[:4, 1]).ravel(), c)
           for c in (0.0, 0.4, 0.8)]
print("the formula for the correlations 0, 0.4, 0.8:", np.round(by_hand, 3))
for wrong in (0, 1, 2, 4):
    coefficients = np.stack([-np.ones_like(made_z[:4]), wrong * 0.8 * made_z[:4] - made_delta[:4], -made_z[:4]])
    z, d = made_z[:4].ravel(), made_delta[:4].ravel()
    other = mixture_limit([d - 0.8 * z, (z**2 - 1) / 2, d * z], coefficients.reshape(3, -1))
    print(f"   with {wrong} for the 3 the mixture would have {other:.3f}")

# %% tags=["hide-input"]
# *Tolerance.* The kurtosis of 48 times 131,072 examples is known to some 3 %, that of the formula from half a million
# examples to 1 % (we allow 4), and terms of the next order are some $10/B = 4$ %. We allow 12 %.

lesson.claim("Normal pairs: the formula gives 6/5, for the correlations 0, 0.4 and 0.8", by_hand, predicted=6 / 5,
             rtol=0.04)
lesson.claim("Normal pairs, correlation 0.8, B = 256: γ₂ of BN's noise in the gradient = that of the mixture",
             np.mean(made_kurtosis), predicted=made_law, rtol=0.12)

# %%
# A trained network
# -----------------
#
# There are 20 correlated inputs with means that are not 0, and ten classes, drawn from the softmax of a random tanh
# network, so that classes overlap as they do in real data. New examples can be drawn without end. The network has two
# hidden layers of 32 units with weight normalization and mean-only batch normalization.

inputs, units, classes = 20, 32, 10


def problem(generator):
    """A function that draws n examples, (inputs, labels), with a generator of its own."""
    axes, _ = np.linalg.qr(generator.normal(size=(inputs, inputs)))
    scales = np.sqrt(1 / np.arange(1, inputs + 1))
    root, mean = axes * scales * np.sqrt(inputs / (scales**2).sum()), 0.5 * generator.normal(size=inputs)
    first = 2 * generator.normal(size=(inputs, 24)) / np.sqrt(inputs)
    second = 3 * generator.normal(size=(24, classes)) / np.sqrt(24)

    def draw(n, source):
        z = source.normal(size=(n, inputs))
        logits = np.tanh(z @ first) @ second
        return (z @ root.T + mean).astype(np.float32), (logits + source.gumbel(size=logits.shape)).argmax(axis=1)

    return draw


draw, source = problem(lesson.rng(2)), lesson.rng(3)
parts = []
for a, b in ((inputs, units), (units, units)):
    parts += [wn.WeightNorm(nn.Linear(a, b, bias=False, rng=source)), wn.MeanOnlyBatchNorm(b), nn.ReLU()]
net = nn.Sequential(*parts, wn.WeightNorm(nn.Linear(units, classes, rng=source)))
wn.data_dependent_init(net, draw(500, source)[0])
optimizer = mg.optim.Adam(net.parameters(), lr=0.003)
for _ in lesson.progress(range(2000 if lesson.full else 600), "network for the noise"):
    x, targets = draw(100, source)
    optimizer.zero_grad()
    F.cross_entropy(net(mg.tensor(x)), targets).backward()
    optimizer.step()

# %%
# The population is 16,384 new examples. In the second layer, we take the pre-activations and the gradients $\delta$ of
# each example, with the statistics of the population, in the first 16 units that are not dead, and standardize both.
# From single examples the formula predicts the limits.

x, targets = draw(2**14, source)
below, above = nn.Sequential(*list(net)[:4]), nn.Sequential(*list(net)[5:])  # net[4] is the normalization of layer 2
t = below(mg.tensor(x)).numpy()
t_tilde = mg.tensor(net[4](t).numpy(), requires_grad=True)
delta = mg.grad(F.cross_entropy(above(t_tilde), targets), t_tilde).numpy()
alive = np.flatnonzero(delta.std(axis=0) > 0)[:16]
z, delta = ((a - a.mean(axis=0)) / a.std(axis=0) for a in (t[:, alive].astype(float), delta[:, alive].astype(float)))
correlations = (delta * z).mean(axis=0)
own = {"t": kurtosis(z), "δ": kurtosis(delta)}
limits = {"t, BN": [], "δ, BN": []}
for zu, du, r in zip(z.T, delta.T, correlations, strict=True):
    limits["t, BN"].append(mixture_limit([zu, (zu**2 - 1) / 2], np.stack([-np.ones_like(zu), -zu])))
    limits["δ, BN"].append(gradient_limit(zu, du, r))
for name, values in own.items():
    print(f"{name}: excess kurtosis of single examples, median over {len(alive)} units {np.median(values):.2f} "
          f"({values.min():.2f} to {values.max():.2f}); limit of BN's noise {np.median(limits[f'{name}, BN']):.2f}")
print(f"correlation of δ and z: from {correlations.min():+.3f} to {correlations.max():+.3f}")

# %%
# Now the minibatches. For mean-only batch normalization the noise is $-\mu[z]$ in the pre-activations and
# $-\mu[\delta]$ in the gradients (equation 8). We record kurtosis and variance, unit by unit.

sizes = [4, 8, 16, 32, 64, 128, 256]
total = 2**19 if lesson.full else 2**17  # examples in all minibatches of one size and unit; of the largest size 8 times
KEYS = ("t, mean-only", "t, BN", "δ, mean-only", "δ, BN")


def noise_of(unit, B, generator):
    """The four kinds of noise of one unit in minibatches of B examples."""
    rows = generator.integers(0, len(z), (total * (8 if B == sizes[-1] else 1) // B, B))
    tb, db = z[rows, unit], delta[rows, unit]
    mean = tb.mean(axis=1, keepdims=True)
    hat = (tb - mean) / tb.std(axis=1, keepdims=True)
    return -mean, hat - tb, -db.mean(axis=1, keepdims=True), gradient_noise(tb, db, correlations[unit])


found = {key: np.empty((len(sizes), len(alive))) for key in KEYS}
variance = {key: np.empty((len(sizes), len(alive))) for key in KEYS}
for i, B in enumerate(lesson.progress(sizes, "noise in the network")):
    generator = lesson.rng(4, i)
    for unit in range(len(alive)):
        for key, y in zip(KEYS, noise_of(unit, B, generator), strict=True):
            found[key][i, unit], variance[key][i, unit] = kurtosis(y.ravel()), y.var()
print("median over units of the excess kurtosis of the noise, and of its variance times B")
print("   B" + "".join(f"{key:>22}" for key in KEYS))
for i, B in enumerate(sizes):
    print(f"{B:4}" + "".join(f"{np.median(found[k][i]):14.2f} {B * np.median(variance[k][i]):7.2f}" for k in KEYS))

# %% tags=["hide-input"]
# *Tolerances.* Each of the 16 units has $R$ minibatches of its own, 4096 of the largest size. For mean-only batch
# normalization the standard error of a kurtosis of 0 is $\sqrt{24/R}$, and of the median of 16 about $1.25/\sqrt{16}$
# of that; four times this is 0.1, and the $\gamma_2/B$ that remains is less. At $B = 4$ the mean's kurtosis is a
# quarter of a gradient's; medians over units of both are known to 10 %, and we allow twice that. For batch
# normalization's noise the kurtosis of one unit is off by 10 to 15 %, that of the mean over 16 by 4 %; terms of the
# next order are some $10/B = 4$ %. We allow 20 %.

for key, name in (("t, mean-only", "pre-activations"), ("δ, mean-only", "gradients")):
    lesson.claim(f"Trained network, mean-only, B = 256: the noise in {name} is nearly normal, median γ₂",
                 np.median(found[key][-1]), near=0, within=1.25 * math.sqrt(24 / (8 * total // 256)))
lesson.claim("Trained network, mean-only, B = 4: γ₂ of the mean gradient = γ₂ of a gradient / B, medians",
             np.median(found["δ, mean-only"][0]), predicted=np.median(own["δ"]) / 4, rtol=0.2)
for key, name in (("t, BN", "pre-activations"), ("δ, BN", "gradients")):
    lesson.claim(f"Trained network, BN, B = 256: γ₂ of the noise in {name} = that of the mixture, mean of units",
                 np.mean(found[key][-1]), predicted=np.mean(limits[key]), rtol=0.2)
at = sizes.index(128)
lesson.claim("Trained network, B = 128: the noise in gradients has heavier tails with BN, difference of median γ₂",
             np.median(found["δ, BN"][at]) - np.median(found["δ, mean-only"][at]), above=1)
for which, name in (("t", "pre-activations"), ("δ", "gradients")):
    lesson.claim(f"Trained network, B = 128: variance of the noise in {name}, BN / mean-only (section 4: less noise)",
                 np.median(variance[f"{which}, BN"][at]) / np.median(variance[f"{which}, mean-only"][at]), above=1.2)

# %% tags=["hide-input"]

BN, MEAN_ONLY = COLOURS["batch norm"], COLOURS["WN + mean-only BN"]
figure, axes = plt.subplots(1, 2, figsize=(8.4, 4.0))
for axis, which, name, top in ((axes[0], "t", "pre-activations t", 1.6), (axes[1], "δ", "gradients", 16)):
    for key, colour, label in ((f"{which}, BN", BN, "batch norm"), (f"{which}, mean-only", MEAN_ONLY, "mean-only BN")):
        low, middle, high = np.quantile(found[key], [0.25, 0.5, 0.75], axis=1)
        axis.errorbar(sizes, middle, (middle - low, high - middle), fmt="o", color=colour, ms=5, lw=1.2, label=label)
    axis.axhline(np.median(limits[f"{which}, BN"]), color=BN, lw=1.2, label="mixture, B → ∞")
    axis.plot(sizes, np.median(own[which]) / np.array(sizes), color=MEAN_ONLY, lw=1.2, label="that of one example / B")
    axis.set(xscale="log", xlabel="size B of the minibatch", title=f"Noise in {name}", ylim=(-0.13 * top, top))
    axis.set_xticks(sizes, [str(B) for B in sizes])
    axis.minorticks_off()
axes[1].annotate(f"B = 4: {np.median(found['δ, BN'][0]):.0f}", (4, 16), (5, 14.3), fontsize=9,
                 arrowprops={"arrowstyle": "->"})
axes[0].set_ylabel("excess kurtosis $\\gamma_2$ over all examples")
axes[1].legend(fontsize=9)
lesson.figure(figure, "noise_trained", note="second layer of a trained network, synthetic problem: median and middle "
              "half of 16 units", alt="Excess kurtosis of the noise against the size of the minibatch, in "
              "pre-activations (left) and gradients (right). That of mean-only batch norm falls as 1/B to 0; that of "
              "batch norm approaches a limit above 0, predicted from single examples, and for gradients is far above "
              "it at small sizes.")

# %%
# In the trained network the sentence of section 4 holds where it matters most, in the gradients: at $B = 128$ the noise
# of batch normalization has an excess kurtosis near 3, that of mean-only batch normalization hardly any. The gradient
# of a single example has heavy tails itself. Mean-only batch normalization averages them over the minibatch; batch
# normalization multiplies the noise of $1/\sigma$ by the example's own gradient. For $B = 4$ the tails are extreme. But
# it is this multiplication that makes the tails heavy, not "the minibatch estimate of the variance" as such.
#
# Questions
# ---------
#
# 1. *By hand.* Derive $K$ and $V$ for normal pairs. Where does the term in $z\,e$ go?
# 2. *Divide, but do not subtract.* Which averages and which coefficients does a normalization have that only divides by
#    the root of $\mu[z^2]$? What is the limit for normal $z$?

lesson.finish()
