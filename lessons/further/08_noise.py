r"""The noise of the minibatch's statistics
=======================================

Since batch normalization's output for one example depends on the others in its minibatch, and those are drawn at
random, training sees a noisy network. Section 4 of the paper says that mean-only batch normalization "causes less noise
during training", with "much lighter tails than the highly kurtotic noise caused by the minibatch estimate of the
variance". Open this chapter if you want to know whether that is so, and what exactly is kurtotic. It derives the
distribution of the noise for Gaussian pre-activations; ``08_noise_in_gradients.py`` goes on to a trained network.

Afterwards you can

- tell apart three things that "noise" can mean here;
- compute the excess kurtosis of each, for any size of the minibatch;
- say in which sense the sentence of section 4 is true, and why no central limit theorem removes those tails.

Read first: lesson 08, "Mean-only batch normalization".

Claims checked, and where the paper makes them:

- mean-only batch normalization causes less noise (section 4);
- its noise has much lighter tails than that of an estimated variance (section 4): true across examples, not of the
  estimates themselves at the paper's minibatch of 100.

Time: quick about 10 s, full about 40 s.
"""

# %%
# Three kinds of noise
# --------------------
#
# The heaviness of tails is measured by the *excess kurtosis* $\gamma_2 = \mathbb{E}(y - \mathbb{E}y)^4/
# \mathrm{Var}(y)^2 - 3$. It is 0 for a normal distribution, $-2$ for a fair coin, 3 for a Laplace distribution, and
# infinite if the fourth moment is infinite. Section 4 argues that "the law of large numbers ensures that μ[t] and
# μ[∇_t̃] are approximately normally distributed". (It is the central limit theorem that is meant.)
#
# Let $z$ be a pre-activation in units in which the population has mean 0 and variance 1, and $\mu[z]$, $\sigma[z]$ the
# mean and the standard deviation of the $B$ examples of a minibatch.
#
# **First: the estimates themselves.** Cumulants of independent variables add, so the mean of $B$ examples has
# $\gamma_2[\mu] = \gamma_2[z]/B$, whatever the distribution. Let $z$ be normal. Then this is 0, and $B\,\sigma^2[z]$
# has the chi-squared distribution with $B - 1$ degrees of freedom, so $\gamma_2[\sigma^2] = 12/(B - 1)$. What
# multiplies $t$ is $1/\sigma$. Its moments follow from $\mathbb{E}\,y^{-p} = 2^{-p/2}\,\Gamma((k - p)/2)/\Gamma(k/2)$
# for $p < k$, where $y^2$ has that distribution with $k$ degrees of freedom: the fourth exists for $B - 1 > 4$ only. Up
# to $B = 5$ the kurtosis of $1/\sigma$ is infinite.

import math

import matplotlib.pyplot as plt
import numpy as np
import threadpoolctl

from lessons import COLOURS, Lesson

lesson = Lesson(__file__)
threadpoolctl.threadpool_limits(1)


def kurtosis(y, axis=0):
    """The excess kurtosis along an axis."""
    y = y - y.mean(axis=axis, keepdims=True)
    return (y**4).mean(axis=axis) / (y**2).mean(axis=axis) ** 2 - 3


def inverse_deviation_kurtosis(B):
    """The excess kurtosis of 1/σ[z] for B normal numbers; inf for B < 6."""
    k = B - 1
    if k <= 4:
        return math.inf
    m1, m2, m3, m4 = (2 ** (-p / 2) * math.exp(math.lgamma((k - p) / 2) - math.lgamma(k / 2)) for p in (1, 2, 3, 4))
    return (m4 - 4 * m1 * m3 + 6 * m1**2 * m2 - 3 * m1**4) / (m2 - m1**2) ** 2 - 3


# %%
# **Second: the noise that one example sees.** Fix an example, with its $z_0$, and draw the other $B - 1$. Mean-only:
# $\tilde t = z_0 - \mu[z]$ is normal if $z$ is. Batch norm: $\hat t = (z_0 - \mu[z])/\sigma[z]$. Here $1/\sigma$ does
# *not* run wild, because the example itself is part of the minibatch: no single number among $B$ can be more than
# $\sqrt{B - 1}$ deviations from their mean, so $|\hat t| \le \sqrt{B - 1}$. For $B = 2$, $\hat t$ is $+1$ or $-1$ and
# nothing else: as light a tail as there is. In general, let $d$ be the difference of $z_0$ and the mean of the others,
# normal with mean $z_0$ and variance $1/(B - 1)$, and $r^2$ the sum of squares of the others about their own mean,
# chi-squared with $B - 2$ degrees of freedom and independent of $d$. Then
#
# $$\hat t = \frac{d\,(B - 1)/B}{\sqrt{\bigl(r^2 + d^2 (B - 1)/B\bigr)/B}} .$$
#
# A sum over a grid of $d$ and $r$ gives its moments.


def one_example_kurtosis(z0, B):
    """The excess kurtosis of t̂ for a fixed example z₀ among B normal ones, by a sum over a grid."""
    if B == 2:  # t̂ is 1 where the other number is smaller, else -1
        p = (1 + math.erf(z0 / math.sqrt(2))) / 2
        return 1 / (p * (1 - p)) - 6
    d = z0 + np.linspace(-8, 8, 801)[:, None] / math.sqrt(B - 1)
    top = math.sqrt(B - 2) + 8
    r = (np.arange(800) + 0.5) * top / 800
    log_density = -((d - z0) ** 2) * (B - 1) / 2 + (B - 3) * np.log(r) - r**2 / 2
    p = np.exp(log_density - log_density.max())
    p /= p.sum()
    hat = d * (B - 1) / B / np.sqrt((r**2 + d**2 * (B - 1) / B) / B)
    hat = hat - (p * hat).sum()
    return (p * hat**4).sum() / (p * hat**2).sum() ** 2 - 3


# %%
# **Third: the noise that the network sees**, over all examples. To first order in $1/\sqrt B$,
#
# $$\hat t - z \approx -\mu[z] - z\,(\sigma[z] - 1) .$$
#
# Mean-only batch normalization has only the first term, the same for all examples. The noise of batch normalization is
# partly *multiplicative*: an example with a large $z$ gets more of it. For large $B$ both statistics are normal;
# $\mu[z]$ has the variance $1/B$, $\sigma[z]$ has $(2 + \gamma_2)/4B$, and their covariance is $\gamma_1/2B$, where
# $\gamma_1$ and $\gamma_2$ are skewness and excess kurtosis of $z$. So for a given $z$ the noise is normal, with
# the variance
#
# $$\frac1B\,V(z), \qquad V(z) = 1 + \gamma_1 z + \frac{2 + \gamma_2}{4}\,z^2 ,$$
#
# and over all examples it is a mixture of normal distributions of different widths. Such a mixture always has heavier
# tails: $\mathbb{E}\,y^4 = 3\,\mathbb{E}\,V^2$ and $\mathbb{E}\,y^2 = \mathbb{E}\,V$ make
#
# $$\gamma_2[\hat t - z] \to 3\,\frac{\mathrm{Var}\,V(z)}{(\mathbb{E}\,V(z))^2} .$$
#
# $B$ has dropped out. For normal $z$, $V = 1 + z^2/2$, with mean $3/2$ and variance $1/2$: the kurtosis tends to
# $3 \cdot \frac12/\frac94 = \frac23$, however large the minibatch. And the variance of the noise is $3/2B$, against
# $1/B$ for mean-only batch normalization.
#
# One size first
# --------------
#
# We draw many minibatches of 16, and take one number of every kind from each; of the third kind, eight.

draws = 2**18 if lesson.full else 2**16


def noise(B, key, draws):
    """Samples of each kind of noise, from minibatches of B standard normal numbers."""
    z = lesson.rng(1, key).normal(size=(draws, B))
    mean, s = z.mean(axis=1), z.std(axis=1)
    some = z[:, :8]
    samples = {"mean": mean, "σ²": s**2, "1/σ": 1 / s}
    others, squares = z[:, 1:].sum(axis=1), (z[:, 1:] ** 2).sum(axis=1)
    for z0 in (0.0, 2.0):
        m0 = (others + z0) / B
        samples[f"z₀ = {z0:.0f}"] = (z0 - m0) / np.sqrt(np.maximum((squares + z0**2) / B - m0**2, 1e-300))
    return samples | {"all, BN": ((some - mean[:, None]) / s[:, None] - some).ravel()}


NAMES = ("mean", "σ²", "1/σ", "z₀ = 0", "z₀ = 2", "all, BN")
sixteen = noise(16, 0, draws)
print("B = 16, the first minibatches:")
for name in NAMES:
    print(f"{name:8}", *(f"{y:8.3f}" for y in sixteen[name][:6]), f"   excess kurtosis {kurtosis(sixteen[name]):.3f}")

# %%
# Every size
# ----------
#
# Now the same for sizes from 2 to 256, with the standard error of each kurtosis from 32 parts of the sample.

sizes = np.array([2, 3, 4, 6, 8, 16, 32, 64, 128, 256])
found, errors, variances = {name: [] for name in NAMES}, {name: [] for name in NAMES}, []
for key, B in enumerate(lesson.progress(sizes, "noise")):
    samples = noise(B, 1 + key, draws)
    for name, y in samples.items():
        found[name].append(kurtosis(y))
        errors[name].append(kurtosis(y.reshape(32, -1), axis=1).std(ddof=1) / math.sqrt(32))
    variances.append(samples["all, BN"].var() / samples["mean"].var())
found, errors = ({name: np.array(values) for name, values in each.items()} for each in (found, errors))
at = {int(B): i for i, B in enumerate(sizes)}
print(f"excess kurtosis, normal pre-activations, {draws:,} minibatches")
print("   B " + "".join(f"{name:>17}" for name in NAMES) + "   variance of the noise, BN / mean-only")
for i, B in enumerate(sizes):
    print(f"{B:4} " + "".join(f"{found[name][i]:10.3f} ±{errors[name][i]:5.3f}" for name in NAMES)
          + f"{variances[i]:14.3f}")
theories = {"mean": np.zeros(len(sizes)), "σ²": 12 / (sizes - 1),
            "1/σ": np.array([inverse_deviation_kurtosis(B) for B in sizes]),
            "z₀ = 0": np.array([one_example_kurtosis(0, B) for B in sizes]),
            "z₀ = 2": np.array([one_example_kurtosis(2, B) for B in sizes])}

# %% tags=["hide-input"]
# *Tolerances.* The sampling error of a kurtosis of 0 is $\sqrt{24/65{,}536} = 0.02$; it is larger where the kurtosis
# is, and is measured. We allow five standard errors, because there are many comparisons and the errors are estimates. A
# kurtosis that barely exists cannot be estimated: for $1/\sigma$ the estimate's own variance needs eight moments, and
# more to be of use. So that comparison begins at $B = 32$, and draws $\sigma^2$ from its distribution directly, a
# million times, which makes the error at most 0.02 of 0.88, and 0.005 of 0.09 at $B = 256$; five times that is 0.1 and
# 0.025. For $z_0 = 2$, where $B = 2$ and 3 have a rare outcome, it begins at 4. The limit $\frac23$ is measured with
# four times as many minibatches of 256, to 0.01; four of these, and terms of the order of $1/B$, some $5/256 = 2$ %,
# make 8 %. For the ratio of variances $\frac32$ we allow 3 %.

direct = []
for key, B in enumerate(sizes[sizes >= 32]):
    direct.append(kurtosis(np.sqrt(B / lesson.rng(2, key).chisquare(B - 1, size=2**20))))
limit = np.mean([kurtosis(noise(256, 20 + part, draws)["all, BN"]) for part in range(4)])

for name, smallest, text in (("σ²", 4, "the variance, γ₂ = 12/(B - 1)"),
                             ("z₀ = 0", 2, "one example, z₀ = 0, γ₂ from the grid"),
                             ("z₀ = 2", 4, "one example, z₀ = 2, γ₂ from the grid")):
    use = sizes >= smallest
    error = errors[name][use]
    lesson.claim(f"Normal pre-activations: {text}, B ≥ {smallest}, in standard errors", found[name][use] / error,
                 predicted=theories[name][use] / error, rtol=0.0, atol=5)
lesson.claim("Normal pre-activations: 1/σ, γ₂ from the moments, B ≥ 32", direct, predicted=theories["1/σ"][sizes >= 32],
             rtol=0.11, atol=0.02)
lesson.claim("Normal pre-activations: the minibatch's mean has γ₂ = 0, largest |γ₂|, in standard errors",
             np.abs(found["mean"] / errors["mean"]).max(), below=5)
lesson.claim("Normal pre-activations, B = 128: the variance estimate is not highly kurtotic, γ₂[σ²]",
             found["σ²"][at[128]], below=0.2)
lesson.claim("Normal pre-activations, B = 2: the noise that z₀ = 0 sees from BN has the lightest tails there are, γ₂",
             found["z₀ = 0"][at[2]], predicted=-2, rtol=0.001)
lesson.claim("Normal pre-activations, B from 16 on: the noise that z₀ = 0 or 2 sees from BN, largest |γ₂|",
             max(np.abs(found[name][at[16] :]).max() for name in ("z₀ = 0", "z₀ = 2")), below=1)
lesson.claim("Normal pre-activations, B = 256: over all examples, γ₂ of BN's noise → 2/3", limit, predicted=2 / 3,
             rtol=0.08)
lesson.claim("Normal pre-activations, B = 256: variance of the noise, BN / mean-only → 3/2 (section 4: less noise)",
             variances[at[256]], predicted=3 / 2, rtol=0.03)

# %% tags=["hide-input"]

BN, MEAN_ONLY = COLOURS["batch norm"], COLOURS["WN + mean-only BN"]
figure, (left, right) = plt.subplots(1, 2, figsize=(8.4, 4.2), width_ratios=(1, 1.2))
bins = np.linspace(-7, 7, 71)
for name, key, colour in (("mean-only BN", "mean", MEAN_ONLY), ("batch norm", "all, BN", BN)):
    y = sixteen[key]
    density, _ = np.histogram(y / y.std(), bins, density=True)
    label = f"{name}, $\\gamma_2$ = {abs(kurtosis(y)):.2f}"
    left.stairs(np.where(density > 0, density, np.nan), bins, color=colour, lw=1.5, label=label)
left.plot(bins, np.exp(-(bins**2) / 2) / math.sqrt(2 * math.pi), "--", color="0.5", lw=1.2, label="normal")
left.set(yscale="log", ylim=(1e-6, 30), xlim=(-7, 7), xlabel="noise / its standard deviation", ylabel="density",
         title="Over all examples, B = 16")
left.legend(loc="upper right", fontsize=8.5)
for name, colour, marker, label in (("1/σ", "#AA3377", "s", "the estimate 1/σ"),
                                    ("σ²", "#999933", "D", "the estimate σ²"),
                                    ("z₀ = 0", "#4477AA", "v", "BN, one example, z₀ = 0"),
                                    ("z₀ = 2", "#66CCEE", "^", "BN, one example, z₀ = 2")):
    use = np.isfinite(theories[name])
    right.plot(sizes[use], theories[name][use], "-", color=colour, lw=1.2)
    right.plot(sizes[use], found[name][use], marker, color=colour, ms=4.5, label=label)
right.plot(sizes, found["all, BN"], "o", color=BN, ms=5, label="BN, all examples")
right.axhline(2 / 3, color=BN, lw=1.2)
right.plot(sizes, found["mean"], "o", color=MEAN_ONLY, ms=5, label="mean-only BN")
right.axhline(0, color=MEAN_ONLY, lw=1.2)
right.annotate("2/3", (300, 2 / 3), (0, 4), textcoords="offset points", fontsize=9, ha="right")
right.set(xscale="log", xlabel="size B of the minibatch", ylabel="excess kurtosis $\\gamma_2$ of the noise",
          ylim=(-2.3, 4.6), title="Theory (lines) and measurement")
right.set_xticks([2, 4, 8, 16, 32, 64, 128, 256], ["2", "4", "8", "16", "32", "64", "128", "256"])
right.minorticks_off()
right.legend(loc="upper right", fontsize=8.5)
lesson.figure(figure, "noise", note=f"normal pre-activations, {draws:,} minibatches of each size", alt="Left: "
              "logarithmic density of the noise for minibatches of 16; that of mean-only batch norm lies on the normal "
              "curve, that of batch norm has visibly heavier tails. Right: excess kurtosis against the size of the "
              "minibatch; the estimates and the noise of single examples go to 0, mean-only is 0 throughout, and batch "
              "norm's noise over all examples goes to 2/3.")

# %%
# So for normal pre-activations:
#
# - The estimate of the variance is kurtotic only for small minibatches. At the paper's $B = 100$,
#   $\gamma_2[\sigma^2] = 0.12$; in a convolution, whose statistics also run over the places of a picture, less. "Highly
#   kurtotic" it is not, and it vanishes as $1/B$, by the same theorem that section 4 appeals to for the mean.
# - Nor does one example see heavy tails, unless $B$ is tiny *and* the example is an outlier.
# - But over all examples the noise of batch normalization does have heavier tails than that of mean-only batch
#   normalization, for *any* $B$, because it is multiplicative. In this sense the sentence holds, and more strongly than
#   the paper argues: no central limit theorem removes this.
# - Less noise: yes, by a factor of 1.5 in variance for large $B$, and by more than that for small.
#
# Questions
# ---------
#
# 1. *Heavy tails.* Draw $z$ from a Laplace distribution ($\gamma_2 = 3$). First predict three columns: the mean
#    ($3/B$), the noise over all examples (the mixture, with $\gamma_1 = 0$), and the ratio of the variances.
# 2. *The order of a name.* Which theorem says that $\mu[z]$ converges, and which that it is normal? Which of the two
#    would be enough for "less noise"?

lesson.finish()
