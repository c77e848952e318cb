r"""The variational autoencoder
===========================

Weight normalization was made with classifiers in mind, yet the paper also tries it where nothing is classified: on a
model that learns to draw. Such a model has no error rate to follow. It is trained on, and judged by, a *bound* on a
quantity that nobody can compute, and a better bound may mean a better model or only a tighter bound. This lesson
derives the bound, measures how loose it is where the truth is known, tightens it, and then trains the network of
section 5.2 with and without weight normalization.

Afterwards you can

- derive the bound, say what it loses, and close the gap with an autoregressive posterior;
- say why its gradient is taken through the sample, and how much noise this avoids;
- build masks so that output $i$ sees only what comes before it, and read the log-determinant off the diagonal;
- separate what data-dependent initialization does for such a network from what the parameterization does.

Read first: lesson 01 (the tape), lesson 03 (weight normalization), lesson 07 (data-dependent initialization); section
5.2 of Salimans & Kingma (2016). The bound is Kingma & Welling's (2014, arXiv:1312.6114), the autoregressive step Kingma
et al.'s (2016, arXiv:1606.04934), importance weighting Burda et al.'s (2016, arXiv:1509.00519).

Claims checked:

- the bound and its gap add up to log p(x); its gradient through the sample has the variance that theory predicts;
- more samples tighten the bound, at the rate that the chi-squared divergence gives;
- one autoregressive step closes the gap that independence leaves;
- a step's Jacobian is triangular, and its log-determinant is minus the sum of s; several steps compose;
- data-dependent initialization works through the sampling: every pre-activation has mean 0 and variance 1;
- the normal parameterization, started there too, is the same function at the start.

Time: quick about 60 s, full about two days on two CPU cores for each of nine runs (a GPU is meant for it).
"""

# %%
# The pictures are digits: MNIST where it can be found, otherwise a synthetic set of the same kind. They are *binarized*
# once and for all. In a full run each pixel is drawn as 0 or 1, with its brightness as the probability of a 1, as is
# customary for MNIST. The quick run shrinks the pictures to 14 × 14, where most pixels of a stroke are gray and random
# draws would be mostly noise; there a pixel is 1 if it is brighter than one half.

import time
from dataclasses import dataclass

import matplotlib.pyplot as plt
import numpy as np

import minigrad as mg
import wn
from lessons import COLOURS, Lesson, positive
from lessons.autoencoder import ARMS, PAPER, AutoregressiveStep, Size, Training, binarized, initialized
from minigrad import data, nn
from minigrad.data import DataError
from minigrad.nn.densities import normal_log_density


def own_flags(parser):
    """For runs in pieces."""
    parser.add_argument("--only", nargs="+", choices=ARMS, metavar="NAME",
                        help=f"train these and stop; of {', '.join(map(repr, ARMS))}")
    parser.add_argument("--minutes", type=positive, help="stop after the last epoch that ends within so many minutes")


lesson = Lesson(__file__, own_flags)
ARM_COLOURS = dict(zip(ARMS, (COLOURS["normal"], COLOURS["mean-only BN"], COLOURS["weight norm"]), strict=True))
THEORY = "0.3"

# %%
# A model with something hidden
# -----------------------------
#
# A picture $x$ of a digit is largely determined by a few things that we do not see: which digit it is, how slanted, how
# thick the pen. Call them the *latent variables* $z$. The model draws $z$ from a standard normal distribution $p(z)$,
# and then $x$ from $p(x \mid z)$. The model is good if real pictures are likely under it, that is, if
#
# $$\log p(x) = \log \int p(x \mid z)\,p(z)\,dz$$
#
# is large on average. For a network no one can compute this integral. For one simple model we can: let $x = Wz + $
# noise of standard deviation $\sigma$. Then everything is Gaussian. We take three observed and two latent numbers, and
# use this model to see what the bound does.

rng = lesson.rng(0)
W, spread = np.array([[1.0, 0.8], [0.9, -0.2], [0.3, 0.7]]), 0.5
x = W @ rng.normal(size=2) + spread * rng.normal(size=3)
covariance_of_x = W @ W.T + spread**2 * np.eye(3)
log_p = -0.5 * (x @ np.linalg.solve(covariance_of_x, x) + np.linalg.slogdet(2 * np.pi * covariance_of_x)[1])

# The posterior p(z | x): which z may have been behind this x.
precision = np.eye(2) + W.T @ W / spread**2
S = np.linalg.inv(precision)  # its covariance
center = S @ W.T @ x / spread**2
correlation = S[0, 1] / np.sqrt(S[0, 0] * S[1, 1])
print(f"log p(x) = {log_p:.4f}; behind it z is about {center.round(2)}, with correlation {correlation:.2f}")

# %%
# The bound
# ---------
#
# Take any distribution $q(z)$ that we can draw from. Since $p(x) = p(x, z)/p(z \mid x)$ for every $z$, we may average
# over $q$ and split:
#
# $$\log p(x) = \underbrace{\mathbb{E}_q\bigl[\log p(x, z) - \log q(z)\bigr]}_{\text{the bound}} +
#   \underbrace{\mathbb{E}_q\bigl[\log q(z) - \log p(z \mid x)\bigr]}_{\mathrm{KL}(q\,\|\,p(z \mid x))\;\ge\;0}.$$
#
# The last term is the *Kullback–Leibler divergence* of $q$ from the posterior, which is never negative and 0 only if
# they agree. So the first is a lower bound, and the better $q$ imitates the posterior, the tighter it is. The bound
# needs no intractable integral: an average over draws from $q$ will do. We take a normal distribution with independent
# entries, mean $\bar z$ and standard deviations $\sigma$, and draw.


def log_joint(z):
    """log p(x, z) for rows z, an array or a Tensor (draws, 2)."""
    likelihood = normal_log_density(x, z @ W.T, np.log(spread))
    return likelihood.sum(axis=1) + normal_log_density(z, 0.0, 0.0).sum(axis=1)


DRAWS = 400_000
mean, scale = center - [0.25, 0.15], np.array([0.5, 0.5])  # some q; not a good one
xi = lesson.rng(1).normal(size=(DRAWS, 2))  # standard normal noise
z = mean + scale * xi
terms = log_joint(z) - normal_log_density(z, mean, np.log(scale)).sum(axis=1)
off = mean - center
gap = 0.5 * (np.trace(precision @ np.diag(scale**2)) + off @ precision @ off - 2
             - np.sum(np.log(scale**2)) - np.linalg.slogdet(precision)[1])
print(f"the bound {terms.mean():.4f} ± {terms.std() / np.sqrt(DRAWS):.4f}, plus the divergence {gap:.4f}: "
      f"{terms.mean() + gap:.4f}; log p(x) is {log_p:.4f}")

# %% Tolerance tags=["hide-input"]
# *Tolerance.* A mean of independent draws is off by one standard error on average, and by more than five in one of
# two million cases.

lesson.claim("the bound is log p(x) - KL(q ‖ p(z | x)): how far below log p(x) the mean of all draws lies",
             log_p - terms.mean(), predicted=gap, rtol=5 * float(terms.std()) / np.sqrt(DRAWS) / gap)

# %%
# Through the sample
# ------------------
#
# To train, we need the gradient of an average over $q$, and $q$ itself depends on the parameters. There are two ways.
#
# - *The score function.* $\nabla \mathbb{E}_q[f] = \mathbb{E}_q[f\,\nabla \log q]$: draw, and weight the gradient of
#   $\log q$ by how good the draw was. It needs only the values of $f$.
# - *Through the sample.* Write $z = \bar z + \sigma\,\xi$ with standard normal noise $\xi$ that depends on nothing. The
#   average is then over $\xi$, and the gradient goes inside: $\mathbb{E}_\xi[\nabla f(\bar z + \sigma\,\xi)]$. This is
#   called the *reparameterization* of the sample. It uses the slope of $f$, which the tape gives for free.
#
# Both are right on average. They differ in noise. Here $f = \log p(x, z)$ is quadratic, so its slope is a linear
# function, $-S^{-1}(z - z^*)$ with the posterior's mean $z^*$, and the variance of the gradient for $\bar z_i$ through
# the sample is exactly $\sum_j (S^{-1})_{ij}^2\,\sigma_j^2$.

samples = mg.tensor(z, requires_grad=True)
log_joint(samples).sum().backward()
through_sample = samples.grad.numpy()  # ∂f/∂z̄ for each draw
score_function = terms[:, None] * xi / scale  # (f - log q) ∂log q/∂z̄
exact = -precision @ (mean - center)
variance = (precision**2) @ scale**2
for name, g in (("through the sample", through_sample), ("score function", score_function)):
    print(f"{name:18}: mean {g.mean(axis=0).round(3)}, exactly {exact.round(3)}; "
          f"variance of one draw {g.var(axis=0).round(1)}")
ratio = score_function.var(axis=0) / through_sample.var(axis=0)
print(f"the score function needs {ratio.min():.1f} to {ratio.max():.1f} times as many draws for the same precision")

# %% tags=["hide-input"]
# *Tolerance.* We allow five standard errors for means. A variance estimated from $n$ normal numbers has a relative
# standard error of $\sqrt{2/n}$, here 0.2 %; again we allow five.

for name, g in (("through the sample", through_sample), ("by the score function", score_function)):
    errors = 5 * g.std(axis=0) / np.sqrt(DRAWS)
    lesson.claim(f"the gradient for the mean {name} is right on average: ∇z̄", g.mean(axis=0), predicted=exact,
                 rtol=0.0, atol=float(errors.max()))
lesson.claim("its variance through the sample is Σ (S⁻¹)²σ², both entries", through_sample.var(axis=0),
             predicted=variance, rtol=5 * np.sqrt(2 / DRAWS))

# %% Drawing tags=["hide-input"]

figure, axes = plt.subplots(figsize=(7, 3.2))
bins = np.linspace(-25, 25, 121)
axes.hist(score_function[:, 0], bins, density=True, color=COLOURS["normal"], alpha=0.55, label="score function")
axes.hist(through_sample[:, 0], bins, density=True, color=COLOURS["weight norm"], alpha=0.55,
          label="through the sample")
axes.axvline(exact[0], color=THEORY, lw=1, ls="--", label="exact gradient")
axes.set(xlabel=r"gradient for $\bar z_1$, one draw", ylabel="density", xlim=(-25, 25))
axes.legend()
lesson.figure(figure, "gradients", alt="Two histograms of the gradient of one draw. Through the sample it is a bell "
              "about the exact value, which is positive; by the score function it is lopsided, with its peak below "
              "zero and a long tail to the right.")

# %%
# How loose is it?
# ----------------
#
# A draw $z$ from $q$ has the *importance weight* $\omega = p(x, z)/q(z)$. Its average over $q$ is exactly $p(x)$; the
# bound is the average of $\log \omega$. Averaging $K$ weights before the logarithm gives a bound in between,
#
# $$\mathcal{L}_K = \mathbb{E}\Bigl[\log \tfrac1K \sum_{k=1}^K \omega_k\Bigr], \qquad
#   \mathcal{L}_1 \le \mathcal{L}_2 \le \dots \le \log p(x),$$
#
# because the logarithm is concave, and the mean of $K + 1$ weights is the average of the $K + 1$ means that leave one
# of them out. And for large $K$ the mean of the weights differs little from $p(x)$, so the logarithm can be expanded to
# second order: the gap becomes $d/2K$, where $d = \mathbb{E}[\omega^2]/p(x)^2 - 1$ is the *chi-squared divergence*. For
# Gaussians it has a closed form.

Q = np.diag(1 / scale**2)  # precision of q
A = 2 * precision - Q  # of p²/q, up to a factor
shift = 2 * precision @ center - Q @ mean
log_second = (np.linalg.slogdet(precision)[1] - 0.5 * np.linalg.slogdet(Q)[1] - 0.5 * np.linalg.slogdet(A)[1]
              + 0.5 * shift @ np.linalg.solve(A, shift) - center @ precision @ center + 0.5 * mean @ Q @ mean)
divergence = np.exp(log_second) - 1
print(f"chi-squared divergence {divergence:.3f}, of the {DRAWS:,} draws {np.mean(np.exp(2 * (terms - log_p))) - 1:.3f}")


def gap_with(K):
    """log p(x) minus the bound with K samples, from all draws in groups of K: its mean and standard error.

    The mean of a group's weights, over p(x), is 1 on average; subtracting its excess over 1 removes most of the noise.
    """
    r = np.exp(terms[: DRAWS // K * K] - log_p).reshape(-1, K).mean(axis=1)
    each = r - 1 - np.log(r)
    return each.mean(), each.std() / np.sqrt(len(each))


counts = [1, 2, 4, 8, 16, 32, 64, 128]
gaps = np.array([gap_with(K) for K in counts])
for K, (value, error) in zip(counts, gaps, strict=True):
    print(f"K = {K:3}: below log p(x) by {value:.4f} ± {error:.4f}; d/2K = {divergence / 2 / K:.4f}")

# %% tags=["hide-input"]
# *Tolerance.* The next terms of the expansion are of relative order $1/K$. At $K = 128$ the standard error is 3 to 4
# per cent of the gap. We allow 20 %.

lesson.claim("more samples tighten the bound: smallest step from K to 2K", -np.diff(gaps[:, 0]).max(), above=0.0)
lesson.claim("the gap with 128 samples is half the chi-squared divergence over 128", gaps[-1, 0],
             predicted=divergence / 2 / 128, rtol=0.2)

# %%
# A posterior that is not independent
# -----------------------------------
#
# The best $q$ with independent entries has the posterior's mean and $\sigma_i^2 = 1/(S^{-1})_{ii}$. It cannot imitate
# the correlation, and that costs
#
# $$\mathrm{KL} = \tfrac12\Bigl(\sum_i \log\,(S^{-1})_{ii} + \log\det S\Bigr).$$
#
# Now let $z_2$ depend on $z_1$. Draw as before, then shift and scale each entry by amounts that depend on the entries
# *before* it:
#
# $$z_i \leftarrow \bigl(z_i - m_i(z_1, \dots, z_{i-1})\bigr)/e^{s_i(z_1, \dots, z_{i-1})}.$$
#
# This is an *autoregressive step*. All entries can be computed at once, since $m$ and $s$ depend on the old $z$. The
# Jacobian is triangular, with $e^{-s_i}$ on the diagonal, so the density is easy to update:
# $\log q \leftarrow \log q + \sum_i s_i$. Written out in two dimensions, with $s = 0$ and $m_2$ a multiple of $z_1$:

best = 1 / np.sqrt(np.diag(precision))
first = np.sqrt(S[0, 0])  # z₁ has the posterior's own deviation; z₂, given z₁, that of a regression on z₁
slope = S[1, 0] / S[0, 0]


def step_by_hand(xi):
    """z = center + (z₁, z₂), z₂ shifted by slope · z₁; log q for each draw."""
    z = xi * [first, best[1]]
    log_q = normal_log_density(z, 0.0, np.log([first, best[1]])).sum(axis=1)
    z[:, 1] -= -slope * z[:, 0]  # m₂ = -slope · z₁, s = 0
    return center + z, log_q


independent = center + best * xi
flat = log_joint(independent) - normal_log_density(independent, center, np.log(best)).sum(axis=1)
z, log_q = step_by_hand(xi)
bent = log_joint(z) - log_q
lost = 0.5 * (np.sum(np.log(np.diag(precision))) + np.linalg.slogdet(S)[1])
print(f"independent entries: gap {log_p - flat.mean():.4f}, predicted {lost:.4f}")
print(f"one autoregressive step: gap {log_p - bent.mean():.1e}, and no draw differs from the mean by more than "
      f"{np.abs(bent - bent.mean()).max():.1e}")

# %% tags=["hide-input"]
# *Tolerance.* Five standard errors for the first. Where $q$ is the posterior itself, $p(x, z)/q(z) = p(x)$ for *every*
# $z$: only rounding is left, some tens of $\varepsilon = 2.2 \cdot 10^{-16}$.

lesson.claim("what independence costs: KL = (Σ log (S⁻¹)ᵢᵢ + log det S)/2", log_p - flat.mean(), predicted=lost,
             rtol=5 * float(flat.std()) / np.sqrt(DRAWS) / lost)
lesson.claim("one autoregressive step closes the gap, draw by draw: largest |log p(x, z) - log q(z) - log p(x)|",
             np.abs(bent - log_p).max(), below=1e-12)

# %%
# Masks
# -----
#
# In the network $m$ and $s$ come from layers. A dense layer with a *mask*, weights that are 0 and stay 0, lets each
# output see only some of the inputs. Give every hidden unit the number of an entry; the unit may see the entries up to
# that number. The outputs for entry $i$ see the hidden units with numbers below $i$. All see the *context*, numbers
# that the encoder sends along. (Without it, the first output would see nothing, and a weight vector without an entry
# has no direction to normalize.) A masked weight stays 0 through training and weight normalization: its gradient is 0,
# and so is its entry of $v$.

step = AutoregressiveStep(latents=6, hidden=24, rng=lesson.rng(2))
for parameter in step.parameters():
    parameter.data = parameter.data.astype(float)
wn.apply_weight_norm(step)
z0, context = lesson.rng(3).normal(size=(2, 6))


def moved(z):
    return step(z.reshape(1, 6), mg.tensor(context[None]))[0].reshape(-1)


def sum_of_s(z):
    return step(z.reshape(1, 6), mg.tensor(context[None]))[1].sum().item()


jacobian = mg.jacobian(moved, mg.tensor(z0)).numpy()
log_determinant = -sum_of_s(mg.tensor(z0))
print(np.array2string(jacobian, precision=3, suppress_small=True))
print(f"log |det| {np.linalg.slogdet(jacobian)[1]:.12f}; minus the sum of s {log_determinant:.12f}")

# %%
# Several steps compose: the Jacobian of two steps is the product of their Jacobians, and log-determinants add up.
# Between steps we reverse the order of the entries, so that the last entry gets its turn to be first. With $m = s = 0$
# a step is the identity.

both = mg.jacobian(lambda z: moved(mg.flip(moved(z), axis=0)), mg.tensor(z0)).numpy()
halfway = mg.flip(moved(mg.tensor(z0)), axis=0)
log_determinants = log_determinant - sum_of_s(halfway)
wrong = step.s.mask.data.copy()
wrong[2, -7] = 1  # output 2 now sees a hidden unit that sees everything
right, step.s.mask.data = step.s.mask.data, wrong
step.s.weight_v.data = step.s.weight_v.data + wrong - right
leaking = mg.jacobian(moved, mg.tensor(z0)).numpy()

# %% tags=["hide-input"]
# *Tolerance.* Rounding of a few dozen operations in float64. The mask with one entry too many is the control: it must
# show up as a Jacobian that is no longer triangular, even where the hidden unit's slopes are small. With the correct
# mask the entries above the diagonal are exactly 0.

lesson.claim("the Jacobian of a step is triangular: largest entry above the diagonal",
             np.abs(np.triu(jacobian, 1)).max(), near=0.0, within=0.0)
lesson.claim("its log-determinant is minus the sum of s", log_determinant, predicted=np.linalg.slogdet(jacobian)[1],
             rtol=1e-12)
lesson.claim("two steps, with the order turned round between them: log-determinants add up",
             log_determinants, predicted=np.linalg.slogdet(both)[1], rtol=1e-12)
lesson.claim("a mask with one entry too many is seen: largest entry above the diagonal",
             np.abs(np.triu(leaking, 1)).max(), above=1e-9)

# %%
# The network
# -----------
#
# Section 5.2: "a convolutional VAE model [...] the encoder consists of 3 sequences of two ResNet blocks each, the
# networks has 16, 32 and 32 feature maps, the activations are subsampled by strided convolutions [after the first two],
# followed by a fully connected layer [of 450 units]; the decoder mirrors this." A residual block adds
# $\mathrm{conv}(\mathrm{ELU}(\mathrm{conv}(\mathrm{ELU}(x))))$ to its input. The ELU is $x$ for positive $x$, and
# $e^x - 1$ below. Where the encoder halves pictures with convolutions of stride 2, the decoder doubles them with
# transposed ones. The outputs are *logits*: a pixel is 1 with probability $1/(1 + e^{-\text{logit}})$. All of this is
# in ``lessons/autoencoder.py``, 200 lines that are worth reading now. The quick run has fewer maps, smaller pictures
# and fewer latent variables.


@dataclass(frozen=True)
class Experiment:
    """Everything that differs between a quick and a full run."""

    size: Size
    train: int  # pictures
    test: int
    batch: int
    epochs: int
    average: float  # epochs over which the parameters are averaged
    seeds: int


QUICK = Experiment(Size(14, (8, 16, 16), 64, 8, 32), 1500, 500, 50, 6, 1, 3)
FULL = Experiment(PAPER, 60_000, 10_000, 100, 300, 10, 3)
experiment = FULL if lesson.full else QUICK

try:
    digits = data.load_mnist() if lesson.data != "synthetic" else None
except DataError:
    digits = None
digits = digits or data.synthetic_digits(experiment.train, experiment.test, lesson.seed, experiment.size.side)


def prepared(images, count, stream):
    """The first pictures of a set, shrunk to the network's size by averaging, as 0 and 1."""
    images, side = images[:count], experiment.size.side
    by = images.shape[-1] // side
    shrunk = images.reshape(len(images), 1, side, by, side, by).mean(axis=(3, 5))
    return binarized(shrunk, lesson.rng(4, stream) if lesson.full else None)


pictures, test = prepared(digits.train_images, experiment.train, 0), prepared(digits.test_images, experiment.test, 1)
note = f"{digits.description}, binarized, {experiment.size.side} × {experiment.size.side}"
print(f"{note}: {len(pictures):,} training and {len(test):,} test pictures")

# %%
# Section 3 says how to start: draw $v$, send a batch through, and choose $g$ and $b$ so that every pre-activation has
# mean 0 and variance 1. Here the batch meets the noise of a sample on its way; the decoder is initialized with what the
# encoder, itself just initialized, makes of the pictures. We initialize with noise that we can repeat, and look at all
# pre-activations of a second pass.

model = initialized("weight norm", experiment.size, lesson.rng(5), pictures[:500])
model.rng = lesson.rng(6)
wn.data_dependent_init(model, pictures[:500])
means, deviations = [], []


def look(layer, inputs, t):
    axes = tuple(i for i in range(t.ndim) if i != (t.ndim - 1 if isinstance(layer, nn.Linear) else 1))
    means.append(np.abs(t.numpy().mean(axis=axes, dtype=float)).max())
    deviations.extend(t.numpy().std(axis=axes, dtype=float))


for layer in model.modules():
    if isinstance(layer, (nn.Linear, nn.Conv2d, nn.ConvTranspose2d)):
        layer.register_forward_hook(look)
model.rng = lesson.rng(6)
with mg.no_grad():
    model(mg.tensor(pictures[:500]))
starts = {arm: initialized(arm, experiment.size, lesson.rng(5), pictures[:500]) for arm in ARMS}
noise = lesson.rng(7).normal(size=(len(test), experiment.size.latents)).astype(np.float32)
with mg.no_grad():
    at_start = {arm: start(mg.tensor(test), mg.tensor(noise)).numpy() for arm, start in starts.items()}
for arm, bound in at_start.items():
    print(f"{arm:19}: at the start the bound is {bound.mean():.2f} nats a picture")

# %% tags=["hide-input"]
# *Tolerance.* Some thirty layers in float32, each of which divides by a deviation and passes on the last one's errors:
# a few hundred times $\varepsilon = 1.2 \cdot 10^{-7}$.

lesson.claim(f"after initialization every pre-activation has mean 0, in {len(means)} layers: largest mean", max(means),
             below=1e-3)
lesson.claim("and variance 1, those that depend on samples included: standard deviations", deviations, predicted=1.0,
             rtol=1e-3)
lesson.claim("the normal parameterization, started there, is the same function: largest relative difference of a bound",
             np.abs(at_start["weight norm"] / at_start["normal, initialized"] - 1).max(), below=1e-3)

# %%
# Training
# --------
#
# We train three networks: weight normalization with its initialization; the normal parameterization started as the same
# function; and the normal one with its usual start, weights from $N(0, 0.05^2)$. The second answers a question that the
# paper's figure 3 leaves open: is it the parameterization that helps, or the start?
#
# The optimizer is Adamax, as in the paper. We test a running average of the parameters,
# $\bar x \leftarrow (1 - f)\,\bar x + f\,x$, which the paper takes "over approximately 10 epochs". After $k$ steps a
# parameter's share has fallen to $(1 - f)^k$ of its first value, so the average age is $1/f$ steps: hence
# $f = 1/(10 \cdot \text{steps per epoch})$. (The common decay 0.999 forgets after 1000 steps, a sixth of that in the
# full run.)

RATES = {"normal": 0.016, "normal, initialized": 0.008, "weight norm": 0.004}


def train(arm, seed):
    """One run to its end, or for --minutes; it resumes from its checkpoint, if there is one."""
    rate, e = RATES[arm], experiment
    run = Training(arm, e.size, rate, lesson.rng(8, seed), pictures, test, e.batch, e.average, lesson.device)
    checkpoint = lesson.checkpoint(f"{arm}, seed {seed}", {"experiment": str(e), "data": note, "rate": rate})
    if saved := checkpoint.load():
        run.load(saved)
    for epoch in lesson.progress(range(len(run.curves["train"]), e.epochs), f"{arm}, seed {seed}"):
        started = time.perf_counter()
        run.epoch()
        stop = lesson.time_is_up(needed=1.2 * (time.perf_counter() - started)) and epoch + 1 < e.epochs
        if stop or epoch + 1 == e.epochs or checkpoint.due(60):
            checkpoint.save(run.state())
        if stop:
            lesson.stop(f"stopped after epoch {epoch + 1} of {e.epochs} of {arm}, seed {seed}; "
                        "the same command goes on from there")
    return run


runs = {(arm, seed): train(arm, seed) for arm in lesson.flags.only or ARMS for seed in range(experiment.seeds)}
if lesson.flags.only:
    lesson.stop(f"trained: {', '.join(lesson.flags.only)}")

# %%


def bounds(arm):
    """The test bound by epoch, for each seed."""
    curves = [runs[arm, seed].curves for seed in range(experiment.seeds)]
    return np.array([np.subtract(c["likelihood"], c["divergence"]) for c in curves])


for arm in ARMS:
    last = bounds(arm)[:, -1]
    print(f"{arm:19} at {RATES[arm]}: {last.mean():.2f} ± {last.std(ddof=1):.2f} nats after {experiment.epochs} epochs")

# %% Drawing tags=["hide-input"]

epochs = np.arange(1, experiment.epochs + 1)
figure, axes = plt.subplots(1, 2, figsize=(8.4, 3.6))
for arm in ARMS:
    by_epoch = bounds(arm)
    axes[0].errorbar(epochs, by_epoch.mean(axis=0), by_epoch.std(axis=0, ddof=1), color=ARM_COLOURS[arm], marker="o",
                     ms=3, capsize=2, label=arm)
    curves = [runs[arm, seed].curves for seed in range(experiment.seeds)]
    axes[1].plot(epochs, np.mean([c["divergence"] for c in curves], axis=0), "o-", ms=3, color=ARM_COLOURS[arm])
lowest = np.quantile([bounds(arm).mean(axis=0) for arm in ARMS], 0.2)
axes[0].set(xlabel="epoch", ylabel="nats a picture", title="test bound on log p(x)", ylim=(lowest, None), xticks=epochs)
axes[1].set(xlabel="epoch", title=r"of which KL(q(z | x) ‖ p(z))", xticks=epochs)
figure.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=3, fontsize=9)
lesson.figure(figure, "bound_by_epoch", note=note, alt="Left: the test bound in nats against the epoch, mean and "
              "standard deviation over seeds, for weight normalization and for the normal parameterization with and "
              "without data-dependent initialization; the one without begins far below. Right: how many nats about a "
              "picture its latent variables hold.")

# %%
# Without the initialization the normal network spends its first epochs on nothing but waking up its latent variables:
# on the right, its posterior tells next to nothing about the picture. Given the same start, the two parameterizations
# are close. How close, after how many epochs, and at which rates, a quick run of three seeds on 1,500 pictures cannot
# say. (Its rates are the best of 0.002, 0.004, 0.008 and 0.016 for two other seeds; for the normal one the best was the
# last of the grid.) But it does show that the start alone explains most of the difference between "weight
# normalization" and "normal" in so short a comparison. (Over five epochs of MNIST at 28 × 28 that is different: see the
# chapter ``further/10_figure_3.py``.)
#
# What remains of the theory after training? The same as in every network of this course: masks hold, and the gradient
# for $v$ is at a right angle to $v$, for every weight vector.

trained = runs["weight norm", 0].model
bound = trained(mg.tensor(pictures[:100])).mean()
trained.zero_grad()
bound.backward()
cosines, hidden = [], []
for layer in trained.modules():
    if hasattr(layer, "weight_v"):
        axis = 1 if isinstance(layer, nn.ConvTranspose2d) else 0
        v, g = (np.moveaxis(a.numpy(), axis, 0).reshape(a.shape[axis], -1).astype(float)
                for a in (layer.weight_v, layer.weight_v.grad))
        cosines.append((v * g).sum(axis=1) / np.linalg.norm(v, axis=1) / (np.linalg.norm(g, axis=1) + 1e-30))
    if hasattr(layer, "mask"):
        hidden.append(np.abs(layer.weight_v.numpy()[layer.mask.numpy() == 0]).max(initial=0))
print(f"{sum(map(len, cosines))} weight vectors in {len(cosines)} layers")

# %% tags=["hide-input"]
# *Tolerance.* The gradient's part along $v$ is a difference of numbers that cancel, in float32: it is of order
# $\varepsilon = 1.2 \cdot 10^{-7}$ times the ratio of these numbers to what is left. We allow a thousand $\varepsilon$
# for the worst of hundreds of vectors.

lesson.claim("∇_v L is at a right angle to v in every weight vector (section 2.1): largest |cosine|",
             max(np.abs(c).max() for c in cosines), below=1e-3 * 0.12)
lesson.claim("masked weights are still 0: largest |v| behind a mask", max(hidden), near=0.0, within=0.0)

# %%
# What it has learned
# -------------------
#
# With the averaged parameters we make four kinds of pictures. *Reconstructions*: encode a test picture, draw $z$,
# decode. *Samples*: draw $z$ from $p(z)$, decode. *A walk*: encode two pictures, go from one $z$ to the other in a
# straight line, decode. *Doubt*: decode many $z$ from the posterior of one picture, and take the mean and standard
# deviation of each pixel. After six epochs the latent variables hold three or four nats, little more than enough to say
# which of ten digits it is ($\ln 10 = 2.3$) and roughly how slanted: expect blurred pictures, and some mistaken for
# another digit.


def probabilities(z):
    """The pixels' probabilities (N, side, side) for latent variables, an array or a Tensor."""
    return mg.sigmoid(trained.decoder(mg.tensor(z))).numpy()[:, 0]


rng = lesson.rng(9)
with mg.no_grad(), runs["weight norm", 0].average.applied():
    shown = mg.tensor(test[:10])
    codes = trained.posterior(shown, trained.noise(10))[0].numpy()
    rows = {"test pictures": test[:10, 0], "reconstructions": probabilities(codes)}
    rows["samples"] = probabilities(rng.normal(size=codes.shape).astype(np.float32))
    share = np.linspace(0, 1, 10, dtype=np.float32)[:, None]
    rows["a walk"] = probabilities((1 - share) * codes[:1] + share * codes[1:2])
    many = mg.tensor(np.repeat(test[:10], 30, axis=0))
    drawn = probabilities(trained.posterior(many, trained.noise(300))[0].numpy()).reshape(10, 30, *test.shape[2:])
    rows["doubt: mean"], rows["doubt: deviation"] = drawn.mean(axis=1), 2 * drawn.std(axis=1)
    _, log_prior, log_q = trained.terms(mg.tensor(test), mg.tensor(noise))
information = (log_q - log_prior).numpy().mean(axis=0)
print(f"nats in each latent variable: {np.sort(information)[::-1].round(1)}, sum {information.sum():.1f}")

# %% Drawing tags=["hide-input"]

figure, axes = plt.subplots(len(rows), 10, figsize=(7, 4.6))
for line, (name, images) in zip(axes, rows.items(), strict=True):
    for ax, image in zip(line, images, strict=True):
        ax.imshow(image, cmap="gray", vmin=0, vmax=1)
        ax.set(xticks=[], yticks=[])
        ax.grid(visible=False)
    line[0].set_ylabel(name, rotation=0, ha="right", va="center", fontsize=9)
lesson.figure(figure, "digits", note=note, alt="Six rows of ten small digits: test pictures; their reconstructions, "
              "gray and blurred, some of them another digit; samples from the model, as blurred; a walk from the first "
              "test picture to the second; and for each test picture the mean and twice the standard deviation of what "
              "its posterior decodes to.")

# %%
# Questions
# ---------
#
# 1. *A loose bound.* In the Gaussian model, make $q$'s standard deviations 0.2 and 1.5 in turn, with the posterior's
#    mean. Which is worse, too narrow or too wide? What happens to the importance-weighted bound, and why does the
#    formula with the chi-squared divergence fail for one of them?
# 2. *Order.* In two dimensions, let $z_1$ depend on $z_2$ instead. Show that one step closes the gap in either order.
#    In which case would one step not be enough?
# 3. *Steps.* Train with ``steps=0`` and with four. How much do they change the bound, and how much the divergence?
# 4. *Forgetting.* Replace the average over one epoch by one over five, and by one with decay 0.999. Look at the bound
#    by epoch, and say what the average costs at the beginning.

lesson.finish()
