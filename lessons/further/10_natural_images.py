r"""Natural images
==============

A digit is one stroke on an empty page; thirty-two numbers say nearly everything about it. A photograph has a sky, a
wing in front of the sky and feathers on the wing: there is something to say at every scale. Models of photographs
therefore have latent variables at every scale, and one number by which they are compared, *bits per dimension*. Section
5.2 trains such a model on CIFAR-10, and finds that weight normalization "has lower variance and converges to a better
optimum". Open this chapter if you want to read papers on generative models of images, or if you are about to compare
two methods by the spread of a few runs.

Afterwards you can

- turn nats into bits per dimension, and say what such a number is worth;
- take the bound of a model with several layers of latent variables apart, layer by layer;
- say what an allowance of free bits does to the gradient;
- say what three seeds can tell about a variance, and what they cannot.

Read first: lesson 10. The model is that of Kingma et al. (2016, arXiv:1606.04934), the manuscript "in preparation" to
which section 5.2 refers.

Claims checked:

- the probabilities of the 256 bytes add up to 1, and a model that knows nothing needs 8 bits for each;
- an autoregressive step of masked convolutions is triangular, row by row, with minus the sum of s as log-determinant;
- the layers' terms add up to the bound;
- free bits: below its allowance a map's divergence is not in the gradient, above it all of it is;
- data-dependent initialization reaches all layers; the normal parameterization, started there, is the same function;
- of two equal variances, three seeds find one more than 39 times the other in 5 % of all cases.

Time: quick about 60 s, full about five days on two CPU cores for each of nine runs (a GPU is meant for it).
"""

# %%

import math
import time
from dataclasses import dataclass

import matplotlib.pyplot as plt
import numpy as np

import minigrad as mg
import wn
from lessons import COLOURS, Lesson, positive
from lessons.autoencoder import ARMS
from lessons.natural_images import PUBLISHED, ConvolutionalStep, PictureTraining, Size, initialized, with_free_bits
from minigrad import data, nn
from minigrad.nn.densities import logistic_log_probability, normal_log_density


def own_flags(parser):
    """For runs in pieces, and for the search that found the rates."""
    parser.add_argument("--only", nargs="+", choices=ARMS, metavar="NAME",
                        help=f"train these and stop; of {', '.join(map(repr, ARMS))}")
    parser.add_argument("--minutes", type=positive, help="stop after the last epoch that ends within so many minutes")
    parser.add_argument("--grid", action="store_true", help="train at each rate of the grid, with other seeds; stop")


lesson = Lesson(__file__, own_flags)
ARM_COLOURS = dict(zip(ARMS, (COLOURS["normal"], COLOURS["mean-only BN"], COLOURS["weight norm"]), strict=True))

# %%
# Pictures
# --------
#
# We use CIFAR-10 where it can be found, otherwise a synthetic set of the same kind. The full run takes pictures as they
# are; the quick one shrinks them to 16 × 16 by averaging, and rounds to bytes again.


@dataclass(frozen=True)
class Experiment:
    """Everything that differs between a quick and a full run."""

    size: Size
    train: int  # pictures
    test: int
    batch: int
    epochs: int
    average: float  # epochs over which the parameters are averaged
    allowance: float  # nats that each map may tell for nothing
    seeds: int


QUICK = Experiment(Size(16, 12, 4, (1, 1)), 1500, 500, 50, 6, 1, 0.25, 3)
FULL = Experiment(PUBLISHED, 50_000, 10_000, 16, 450, 10, 0.25, 3)
experiment = FULL if lesson.full else QUICK

if lesson.data == "cifar10":
    pictures = data.load_cifar10(download=lesson.flags.download)
else:
    pictures = data.synthetic_pictures(experiment.train, experiment.test, lesson.seed)


def prepared(images, count, side):
    """The first pictures of a set as bytes/255 (count, 3, side, side), float32."""
    by = images.shape[-1] // side
    shrunk = images[:count].reshape(-1, 3, side, by, side, by).mean(axis=(3, 5), dtype=np.float32)
    return np.rint(shrunk) / np.float32(255)


x = prepared(pictures.train_images, experiment.train, experiment.size.side)
test = prepared(pictures.test_images, experiment.test, experiment.size.side)
note = f"{pictures.description}, {experiment.size.side} × {experiment.size.side}"
print(f"{note}: {len(x):,} training and {len(test):,} test pictures")

# %%
# Bits per dimension
# ------------------
#
# A picture is a list of bytes, three for each pixel; their number is its dimension. A model that gives it the
# probability $p(x)$ can be made into a code that spends $-\log_2 p(x)$ bits on it: a likely picture is a short file. So
#
# $$\text{bits per dimension} = -\frac{\log p(x)}{\text{dimension} \cdot \log 2}$$
#
# says how many of the eight bits of a byte are left, and can be compared between pictures of different sizes. A model
# that knows nothing gives each of the 256 bytes the same probability. One that knows how often each byte comes up, and
# nothing else, is already better; what it needs is the *entropy* of the bytes.


def bits(nats, dimension):
    """A log-probability, or a bound on it, in bits per dimension."""
    return -nats / (dimension * math.log(2))


DIMENSION = test[0].size
nothing = np.full(test.shape, -math.log(256)).sum(axis=(1, 2, 3))  # log p of each test picture
counts = np.bincount(np.rint(255 * test).astype(int).ravel(), minlength=256)
shares = counts[counts > 0] / counts.sum()
log_shares = np.log(np.maximum(counts, 1) / counts.sum())
by_itself = log_shares[np.rint(255 * test).astype(int)].sum(axis=(1, 2, 3))
entropy = -(shares * np.log2(shares)).sum()
print(f"bits per dimension: {bits(nothing, DIMENSION).mean():.4f} knowing nothing, "
      f"{bits(by_itself, DIMENSION).mean():.4f} knowing how often each byte comes up")
print("The axis of figure 3 for CIFAR-10: " + ", ".join(
    f"{bound} is {8 - bound / (3072 * math.log(2)):.2f}" for bound in (8000, 9000, 10000)))

# %% Tolerance tags=["hide-input"]
# *Tolerance.* Rounding of sums of this many numbers in float64.

lesson.claim("a model that knows nothing: bits per dimension", bits(nothing, DIMENSION), predicted=8.0, rtol=1e-12)
lesson.claim("one that knows each byte's share: bits per dimension, on average, are the entropy",
             bits(by_itself, DIMENSION).mean(), predicted=entropy, rtol=1e-12)

# %%
# The last line reads figure 3. Its axis for CIFAR-10 runs from 8,000 to 10,000, and a probability has no positive
# logarithm: it must be a *density*, of numbers between 0 and 1 in steps of 1/256. A density times the width of a step
# is a probability, so 8 bits for each dimension come off. (This is our reading; the paper does not say it.)
#
# The probability of a byte
# -------------------------
#
# The network will say what it expects of each byte, and how sure it is. A normal distribution is for real numbers; we
# need a distribution over 256 values, here multiples of 1/255. Take a continuous one, cut the line into bins around the
# bytes, and let the two bins at the ends include everything beyond. With the *logistic* distribution this is easy,
# because the share below $t$ has a formula, $\operatorname{logistic}(t) = 1/(1 + e^{-t})$:
#
# $$P(x) = \operatorname{logistic}\Bigl(\frac{x + \frac1{510} - \text{mean}}{\text{scale}}\Bigr) -
#   \operatorname{logistic}\Bigl(\frac{x - \frac1{510} - \text{mean}}{\text{scale}}\Bigr).$$
#
# As it stands the formula is of no use: for a byte that is far from the mean both terms round to the same number, and
# the logarithm of 0 ends the training. ``logistic_log_probability`` in ``minigrad/nn/densities.py`` writes the
# difference as a product, whose logarithm loses nothing.


def by_difference(byte, mean, scale):
    """P(byte/255), for bytes that are not at an end."""
    edges = [((byte + half) / 255 - mean) / scale for half in (0.5, -0.5)]
    return np.subtract(*(1 / (1 + np.exp(-t)) for t in edges))


every = np.arange(256) / 255
sums = [np.exp(logistic_log_probability(every, 0.31, log_scale)).sum() for log_scale in (-50, -5, -2, 0, 3, 50)]
inner = np.arange(1, 255)
written_out = by_difference(inner, 0.3, 0.1)
ours = np.exp(logistic_log_probability(inner / 255, 0.3, math.log(0.1)))
with np.errstate(divide="ignore", over="ignore"):
    naive = np.log(by_difference(np.float32(200), np.float32(0.3), np.float32(0.01)))
stable = logistic_log_probability(np.float32(200 / 255), np.float32(0.3), np.float32(math.log(0.01)))
print(f"byte 200, mean 0.3, scale 0.01, float32: log P is {naive:.2f} by the difference, {stable:.2f} by the product")

# %% tags=["hide-input"]
# *Tolerance.* 256 terms in float64. The difference loses digits itself: up to $\varepsilon = 2.2 \cdot 10^{-16}$ of 1,
# where the smallest of these probabilities is about $10^{-5}$.

lesson.claim("the probabilities of 256 bytes add up to 1, for scales from e⁻⁵⁰ to e⁵⁰: sums", sums, predicted=1.0,
             rtol=1e-12)
lesson.claim("the probability of an inner byte is the difference of two logistic functions", ours,
             predicted=written_out, rtol=1e-9)

# %%
# Latent variables at every scale
# -------------------------------
#
# Let $z_1, z_2, \dots$ be the latent variables of the layers, from the picture up. Each $z_l$ consists of maps, which
# are half as high and wide at each level up. The model draws them from the top down, each given all above it, and the
# posterior goes the same way, but has seen the picture:
#
# $$p(x, z) = p(x \mid z) \prod_{l} p(z_l \mid z_{l+1}, \dots), \qquad
#   q(z \mid x) = \prod_{l} q(z_l \mid z_{l+1}, \dots, x).$$
#
# So the bound of lesson 10 falls into one term for the picture and one for each layer:
#
# $$\mathbb{E}_q \bigl[\log p(x \mid z)\bigr] - \sum_l \mathbb{E}_q \bigl[\log q(z_l \mid z_{l+1}, \dots, x) -
#   \log p(z_l \mid z_{l+1}, \dots)\bigr].$$
#
# The second term is what layer $l$ says about the picture beyond what the layers above have said.
#
# In the network, a deterministic pass goes *up* from the picture, and leaves at each layer a mean, a log-scale and a
# context. A second pass goes *down*. At each layer it computes the prior from what came from above, adds its own mean
# and log-scale to those from the way up, draws $z_l$, and goes on with it. The down pass is the model: without the
# picture, it draws $z_l$ from the prior instead, and a new picture comes out at the bottom. So the posterior *shares*
# most of its computation with the model. ``lessons/natural_images.py`` has all of it in 200 lines.
#
# Masks for maps
# --------------
#
# Before $z_l$ goes on, it makes one autoregressive step, $z \leftarrow (z - m)/e^s$, in which $m$ and $s$ at each place
# depend on the places before it: all rows above, the places to its left in its own row, and, at the place itself, the
# maps before. A 3 × 3 kernel with a mask does this. We take two maps of 3 × 4, and put the Jacobian in this order.


def in_float64(model):
    for tensor in (*model.parameters(), *model.buffers()):
        tensor.data = tensor.data.astype(float)
    return model


def raster(maps, height, width):
    """Where the entries of maps (maps, height, width) stand in the order of the masks: place by place, then by map."""
    return np.arange(maps * height * width).reshape(maps, height * width).T.ravel()


step = in_float64(wn.apply_weight_norm(ConvolutionalStep(latents=2, maps=6, rng=lesson.rng(20))))
z0, context = mg.tensor(lesson.rng(21).normal(size=24)), mg.tensor(lesson.rng(22).normal(size=(1, 6, 3, 4)))


def taken(z):
    """The step from z (24,), and the s of each entry."""
    return [t.reshape(-1) for t in step(z.reshape(1, 2, 3, 4), context)]


for layer in (step.m, step.s):
    layer.weight_g.data = 10 * layer.weight_g.data  # or else the step would hardly do anything
order = raster(2, 3, 4)
jacobian = mg.jacobian(lambda z: taken(z)[0], z0).numpy()[np.ix_(order, order)]
log_determinant = -taken(z0)[1].numpy().sum()
for layer in (step.m, step.s):
    for parameter in (layer.weight_g, layer.bias):
        parameter.data = np.zeros_like(parameter.data)
unmoved = np.abs(taken(z0)[0].numpy() - z0.numpy()).max()
print(f"log |det| {np.linalg.slogdet(jacobian)[1]:.12f}; minus the sum of s {log_determinant:.12f}")

# %% tags=["hide-input"]
# *Tolerance.* Rounding of a few dozen operations in float64; zeros are exact.

lesson.claim("the Jacobian of a step of masked convolutions is triangular, row by row: largest entry above it",
             np.abs(np.triu(jacobian, 1)).max(), near=0.0, within=0.0)
lesson.claim("its log-determinant is minus the sum of s", log_determinant, predicted=np.linalg.slogdet(jacobian)[1],
             rtol=1e-10, atol=1e-13)
lesson.claim("with m = s = 0 it is the identity: largest change of an entry", unmoved, near=0.0, within=0.0)

# %%
# The terms add up
# ----------------
#
# Is it true that the layers' shares add up to $\log q(z \mid x)$, though each layer depends on draws of others, and
# makes a step of its own? There is an independent way to compute it. All latent variables together are a function of
# all noise $\xi$ together, and a density follows from a determinant:
#
# $$\log q(z \mid x) = \log p(\xi) - \log\Bigl|\det \frac{\partial z}{\partial \xi}\Bigr|.$$
#
# A tiny model, of pictures with 8 × 8 pixels and two layers, has 40 latent variables. We put them in order, the upper
# layer first, and each layer's in the order of its masks.

TINY = Size(side=8, maps=4, latents=2, levels=(1, 1))
small = prepared(pictures.train_images, 100, TINY.side)
tiny = in_float64(initialized("weight norm", TINY, lesson.rng(23), small))
small = mg.tensor(small[:20].astype(float))
shapes = [(1, TINY.latents, side, side) for side, _ in TINY.layers][::-1]  # the upper layer first
cuts = np.cumsum([math.prod(shape) for shape in shapes])[:-1]
xi = lesson.rng(24).normal(size=sum(map(math.prod, shapes)))


def drawn(xi):
    """(z, log p, log q) of each layer, the upper one first, for the first picture."""
    noise = [part.reshape(shape) for part, shape in zip(mg.split(xi, cuts), shapes, strict=True)]
    return tiny.down(noise[::-1], tiny.up(small[:1]))[1][::-1]


whole = mg.jacobian(lambda xi: mg.concatenate([z.reshape(-1) for z, _, _ in drawn(xi)]), mg.tensor(xi)).numpy()
order = np.concatenate([start + raster(*shape[1:]) for start, shape in zip((0, *cuts), shapes, strict=True)])
whole = whole[np.ix_(order, order)]
log_q = sum(share.sum().item() for _, _, share in drawn(mg.tensor(xi)))
by_determinant = normal_log_density(xi, 0.0, 0.0).sum() - np.linalg.slogdet(whole)[1]
print(f"log q(z | x): {log_q:.12f} by layers, {by_determinant:.12f} by the determinant")

# %%
# And the bound? We compute it once more, from $\log p(x, z) - \log q(z \mid x)$ with the second of these.

noise = [mg.tensor(part.reshape(shape)) for part, shape in zip(np.split(xi, cuts), shapes, strict=True)][::-1]
log_likelihood, divergences = tiny.terms(small[:1], noise)
terms = [log_likelihood.item(), *(-divergence.sum().item() for divergence in divergences)]
mean, _ = tiny.down(noise, tiny.up(small[:1]))
log_joint = logistic_log_probability(small[:1], mean, tiny.log_scale).sum().item()
log_joint += sum(share.sum().item() for _, share, _ in drawn(mg.tensor(xi)))
print("terms in nats: " + ", ".join(f"{name} {term:.3f}" for name, term in zip(
    ("the picture", "lower layer", "upper layer"), terms, strict=True)))

# %% tags=["hide-input"]
# *Tolerance.* A determinant of 40 rows in float64, and sums of hundreds of numbers: a few thousand times $\varepsilon =
# 2.2 \cdot 10^{-16}$.

lesson.claim("the layers' shares add up to log q(z | x), as the determinant of the whole has it", log_q,
             predicted=by_determinant, rtol=1e-10)
lesson.claim("the terms of the picture and of each layer add up to the bound log p(x, z) - log q(z | x)", sum(terms),
             predicted=log_joint - by_determinant, rtol=1e-10)
lesson.claim("the whole Jacobian is triangular, layer by layer and row by row: largest entry above the diagonal",
             np.abs(np.triu(whole, 1)).max(), near=0.0, within=0.0)

# %% Drawing tags=["hide-input"]

figure, axes = plt.subplots(figsize=(4.6, 4.0))
shown = np.where(whole == 0, np.nan, np.log10(np.abs(np.where(whole == 0, 1, whole))))
image = axes.imshow(shown, cmap="viridis", vmin=-4, vmax=0)
for cut in cuts:
    axes.axhline(cut - 0.5, color=COLOURS["weight norm"], lw=1)
    axes.axvline(cut - 0.5, color=COLOURS["weight norm"], lw=1)
axes.grid(visible=False)
axes.set(xlabel=r"noise $\xi$", ylabel="latent variables z", title="upper layer first")
figure.colorbar(image, ax=axes, label=r"$\log_{10}|\partial z/\partial\xi|$")
lesson.figure(figure, "jacobian", alt="A square matrix of 40 rows, white above its diagonal, which is near 1. Lines "
              "divide it into two layers. Below the diagonal most entries are between 0.001 and 0.1. Within the lower "
              "layer some are white, zeros of the masks; its block for the noise of the upper layer is full.")

# %%
# Free bits
# ---------
#
# At the start, $z_l$ is of no help: the decoder does not use it yet, so the cheapest choice for the posterior is to
# become the prior, and then the decoder has nothing to use. Some maps never recover. The remedy is an *allowance*: the
# divergence of each map, summed over its places and averaged over the minibatch, costs at least this much,
#
# $$\mathbb{E}[\log p(x \mid z)] - \sum_{\text{maps}} \max(\text{allowance}, \text{divergence}),$$
#
# and what lies below it is free ("free bits", though the allowance is in nats). What does a maximum do to a gradient?
# Below the allowance the map's divergence is absent from it; above it, all of it is there. We look at three allowances:
# one that is below every map's divergence, one above, and one in the middle.

parameters = tiny.parameters()


def gradient(value):
    """The derivatives of a number with respect to all parameters, one after the other."""
    return np.concatenate([g.numpy().ravel() for g in mg.grad(value, parameters, retain_graph=True)])


log_likelihood, divergences = tiny.terms(small, tiny.noise(20, lesson.rng(25)))
by_map = mg.concatenate([d.mean(axis=0) for d in divergences])  # nats, for each map of each layer
found = np.sort(by_map.numpy())
of_likelihood, of_maps = gradient(log_likelihood.mean()), [gradient(nats) for nats in by_map]
measured, expected = {}, {}
for name, allowance in (("below", found[0] - 1), ("between", found[1:3].mean()), ("above", found[-1] + 1)):
    measured[name] = gradient(with_free_bits(log_likelihood, divergences, allowance))
    counted = by_map.numpy() > allowance
    expected[name] = of_likelihood - np.einsum("m,mp->p", counted, of_maps)
    print(f"allowance {name:7} {allowance:6.2f} nats: {counted.sum()} of {len(counted)} maps count")
of_bound = gradient((log_likelihood - sum(d.sum(axis=1) for d in divergences)).mean())

# %% tags=["hide-input"]
# *Tolerance.* Sums of the same numbers in another order, in float64.

tiny_bit = 1e-12 * float(np.abs(of_bound).max())
lesson.claim("all maps below their allowance: the gradient is that of the likelihood alone", measured["above"],
             predicted=of_likelihood, rtol=1e-9, atol=tiny_bit)
lesson.claim("all maps above it: the gradient is the bound's", measured["below"], predicted=of_bound, rtol=1e-9,
             atol=tiny_bit)
lesson.claim("some above, some below: the likelihood's, less that of the divergences that are above",
             measured["between"], predicted=expected["between"], rtol=1e-9, atol=tiny_bit)

# %%
# The network
# -----------
#
# The paper gives no sizes for CIFAR-10. The full run has those of the example in the published code's description: 64
# maps that go from layer to layer, 32 maps of latent variables in each of six layers, two each at 16 × 16, 8 × 8 and 4
# × 4 places, minibatches of 16, 0.25 nats for each map. The quick run has 12 and 4 maps and two layers. Both have
# residual blocks with the ELU, as in lesson 10, and Adamax.
#
# How is such a network to be started? With a batch of pictures, as section 3 says, whose signal meets noise at each
# layer on its way down. And as in lesson 10, the normal parameterization can be started as the same function.

size = experiment.size
model = initialized("weight norm", size, lesson.rng(30), x[:500])
model.rng = lesson.rng(31)
wn.data_dependent_init(model, x[:500])
means, deviations = [], []


def look(layer, inputs, t):
    means.append(np.abs(t.numpy().mean(axis=(0, 2, 3), dtype=float)).max())
    deviations.extend(t.numpy().std(axis=(0, 2, 3), dtype=float))


for layer in model.modules():
    if isinstance(layer, (nn.Conv2d, nn.ConvTranspose2d)):
        layer.register_forward_hook(look)
model.rng = lesson.rng(31)
with mg.no_grad():
    model(mg.tensor(x[:500]))
starts = {arm: initialized(arm, size, lesson.rng(30), x[:500]) for arm in ARMS}
with mg.no_grad():
    noise = starts["normal"].noise(100, lesson.rng(32))
    at_start = {arm: start(mg.tensor(test[:100]), noise).numpy() for arm, start in starts.items()}
for arm, bound in at_start.items():
    print(f"{arm:19}: at the start the bound is {bits(bound, DIMENSION).mean():.3f} bits per dimension")

# %% tags=["hide-input"]
# *Tolerance.* Some layers in float32, each of which divides by a deviation and passes on the last one's errors: a few
# hundred times $\varepsilon = 1.2 \cdot 10^{-7}$.

lesson.claim(f"after initialization every pre-activation has mean 0, in {len(means)} layers: largest mean", max(means),
             below=1e-3)
lesson.claim("and variance 1, those that depend on samples included: standard deviations", deviations, predicted=1.0,
             rtol=1e-3)
lesson.claim("the normal parameterization, started there, is the same function: largest relative difference of a bound",
             np.abs(at_start["weight norm"] / at_start["normal, initialized"] - 1).max(), below=1e-3)

# %%
# What can three seeds say?
# -------------------------
#
# A question before we train anything: the quick run trains each network from three seeds, and the paper says that
# weight normalization has the lower variance. What do three results say about the spread of the distribution that they
# come from? Suppose that two methods have *the same* variance $\sigma^2$, and estimate each from three seeds. If the
# results are normally distributed, the estimate is $\sigma^2/2$ times a sum of two independent squares, and such a sum
# has an exponential distribution. Of two exponential numbers, one is more than $F$ times the other with probability
# $2/(1 + F)$. To be wrong in only 5 % of all cases, we need $F = 39$, that is, a standard deviation more than six times
# as large as the other.

three = lesson.rng(36).normal(size=(2, 200_000, 3)).var(axis=2, ddof=1)  # pairs of estimates from three seeds each
larger = np.maximum(three[0] / three[1], three[1] / three[0])
F = 39
chance = 2 / (1 + F)
print(f"equal variances: a ratio of more than {F} in {100 * (larger > F).mean():.2f} % of all pairs, and of more than "
      f"4 in {100 * (larger > 4).mean():.0f} %")

# %% tags=["hide-input"]
# *Tolerance.* Five standard errors of a share of 200,000 pairs.

lesson.claim("equal variances, three seeds each: how often one estimate is more than 39 times the other",
             (larger > F).mean(), predicted=chance, rtol=5 * math.sqrt((1 - chance) / chance / 200_000))

# %%
# Training
# --------
#
# Three networks, as in lesson 10: weight normalization with its initialization, the normal parameterization started as
# the same function, and the normal one with weights from $N(0, 0.05^2)$. All begin with the same scale of the logistic
# distributions, which the pictures' own standard deviation sets. In the full run, all have the paper's rate of 0.002.
# In the quick run, each has its best rate of a grid, by the mean of two seeds that are not used below. For both normal
# networks that is the last of the grid; at twice that rate they end in infinities. ``--grid`` trains the grid again.

GRID, GRID_SEEDS = (0.004, 0.008, 0.016, 0.032, 0.064, 0.128), (3, 4)
RATES = {"normal": 0.128, "normal, initialized": 0.128, "weight norm": 0.064}
PAPERS_RATE = 0.002


def train(arm, seed, rate):
    """One run to its end, or for --minutes; it resumes from its checkpoint, if there is one."""
    e = experiment
    run = PictureTraining(arm, e.size, rate, lesson.rng(33, seed), x, test, e.batch, e.average, lesson.device,
                          allowance=e.allowance)
    name = f"{arm}, seed {seed}, rate {rate}"
    checkpoint = lesson.checkpoint(name, {"experiment": str(e), "data": note})
    if saved := checkpoint.load():
        run.load(saved)
    for epoch in lesson.progress(range(len(run.curves["train"]), e.epochs), name):
        started = time.perf_counter()
        run.epoch()
        stop = lesson.time_is_up(needed=1.2 * (time.perf_counter() - started)) and epoch + 1 < e.epochs
        if stop or epoch + 1 == e.epochs or checkpoint.due(60):
            checkpoint.save(run.state())
        if stop:
            lesson.stop(f"stopped after epoch {epoch + 1} of {e.epochs} of {name}; "
                        "the same command goes on from there")
    return run


def bits_by_epoch(run):
    """The test bound by epoch, in bits per dimension."""
    return bits(np.subtract(run.curves["likelihood"], np.sum(run.curves["divergence"], axis=1)), DIMENSION)


# %%

if lesson.flags.grid:
    for arm in lesson.flags.only or ARMS:
        for rate in GRID:
            last = [bits_by_epoch(train(arm, seed, rate))[-1] for seed in GRID_SEEDS]
            print(f"{arm:19} at {rate}: {np.mean(last):.4f} bits per dimension {np.round(last, 4)}")
    lesson.stop(f"trained the grid on {note}")
used = {arm: PAPERS_RATE if lesson.full else RATES[arm] for arm in ARMS}
seeds = range(experiment.seeds)
runs = {(arm, seed): train(arm, seed, used[arm]) for arm in lesson.flags.only or ARMS for seed in seeds}
if lesson.flags.only:
    lesson.stop(f"trained: {', '.join(lesson.flags.only)}")
curves = {arm: np.array([bits_by_epoch(runs[arm, seed]) for seed in seeds]) for arm in ARMS}
for arm in ARMS:
    last = curves[arm][:, -1]
    print(f"{arm:19} at {used[arm]}: {last.mean():.3f} ± {last.std(ddof=1):.3f} bits per dimension after "
          f"{experiment.epochs} epochs ({', '.join(f'{value:.3f}' for value in last)})")
lesson.measurements |= {"bits by epoch": {arm: curves[arm].tolist() for arm in ARMS}, "rates": used, "data": note}

# %% Drawing tags=["hide-input"]

epochs = np.arange(1, experiment.epochs + 1)
figure, axes = plt.subplots(1, 2, figsize=(8.4, 3.6))
for place, arm in enumerate(ARMS):
    axes[0].errorbar(epochs, curves[arm].mean(axis=0), curves[arm].std(axis=0, ddof=1), color=ARM_COLOURS[arm],
                     marker="o", ms=3, capsize=2, errorevery=max(1, len(epochs) // 10), label=arm)
    axes[1].plot(np.full(experiment.seeds, place), curves[arm][:, -1], "o", color=ARM_COLOURS[arm])
highest = np.nanquantile([curves[arm].mean(axis=0) for arm in ARMS], 0.85)
axes[0].set(xlabel="epoch", ylabel="bits per dimension", title="test bound", ylim=(None, highest))
axes[1].set(title="after the last epoch, each seed", xticks=range(len(ARMS)), xlim=(-0.5, len(ARMS) - 0.5))
axes[1].set_xticklabels(ARMS, fontsize=8)
figure.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=3, fontsize=9)
lesson.figure(figure, "bits_by_epoch", note=note, alt="Left: the test bound in bits per dimension against the epoch, "
              "mean and standard deviation over seeds, for weight normalization and for the normal parameterization "
              "with and without data-dependent initialization. Right: the bounds after the last epoch, a dot for each "
              "seed.")

# %% tags=["hide-input"]
# *Bound.* Neighbouring pixels are alike, and any network that has learned anything uses that: to beat the entropy of
# single bytes is the least that one can ask for.

lesson.claim("trained with weight normalization, the bound is better than single bytes' entropy: most bits of a seed",
             curves["weight norm"][:, -1].max(), below=entropy)

# %%
# Is its variance lower?
# ----------------------
#
# Here are the estimates after the last epoch, with what we know about ratios of such estimates:

spread = {arm: curves[arm][:, -1].std(ddof=1) for arm in ARMS}
for arm in ARMS[:2]:
    ratio = (spread[arm] / spread["weight norm"]) ** 2
    told = "more" if max(ratio, 1 / ratio) > F else "no more"
    print(f"variance of {arm!r} over that of weight norm: {ratio:.2f}, {told} than chance would do")

# %%
# A quick run cannot tell. We ran this chapter six times on synthetic pictures, with ``--seed`` 0 and 101 to 105. From
# run to run, the ratio for the normal parameterization went from 0.06 to 13, and that for the initialized one from 0.06
# to 2.5; none was past 39 or 1/39. Together the six runs have 18 networks of each kind, and twelve degrees of freedom
# for each variance, enough to tell ratios above 3.3 from chance. The standard deviations are 0.025 bits for the normal
# parameterization, 0.016 for the initialized one, and 0.030 for weight normalization. So there is no sign that its
# variance is lower. It is even 3.4 times that of the initialized one, just past the limit, of which more than half
# comes from one run.
#
# Nor does it reach a better bound. After six epochs the means are 6.891, 6.893 and 6.904 bits. What is left of the
# paper's claim is speed at the beginning: in all six runs weight normalization is ahead after the first two epochs,
# though the others have twice its rate. A run on JPEG-compressed pictures of CIFAR-10, with the same rates, looks
# similar: 6.66 ± 0.06, 6.58 ± 0.02 and 6.62 ± 0.07 bits in the end, and weight normalization ahead after two epochs.
# But these are 180 steps of small networks on small pictures, and each rate was chosen by the bound after the last of
# them. Where the three converge to, at the paper's size, is for the full run to say.
#
# What remains of the theory after training? Masks hold, and gradients for $v$ are at a right angle to $v$.

trained = runs["weight norm", 0].model
bound = trained(mg.tensor(test[:100], device=lesson.device)).mean()
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
# *Tolerance.* As in lesson 10: the gradient's part along $v$ is a difference of numbers that cancel, in float32.

lesson.claim("∇_v L is at a right angle to v in every weight vector (section 2.1): largest |cosine|",
             max(np.abs(c).max() for c in cosines), below=1e-3 * 0.12)
lesson.claim("masked weights are still 0: largest |v| behind a mask", max(hidden), near=0.0, within=0.0)

# %%
# What each layer holds
# ---------------------
#
# *Reconstructions* take every layer's $z$ from the posterior of a test picture. *The top alone*: only the uppermost
# layer has seen the picture, the others are drawn from the prior, given what is above. *Samples*: nothing was seen. The
# pictures show the means of the bytes. After six epochs expect reconstructions to have the right colours in the right
# places, and samples to be coloured clouds: a model first learns that neighbouring places are alike.

shown, count = mg.tensor(test[:10], device=lesson.device), len(size.layers)
with mg.no_grad(), runs["weight norm", 0].average.applied():
    seen, rng = trained.up(shown), lesson.rng(35)
    rows = {"test pictures": test[:10]}
    for name, used_layers in (("reconstructions", seen), ("the top alone", [None] * (count - 1) + seen[-1:]),
                              ("samples", None)):
        rows[name] = trained.down(trained.noise(10, rng), used_layers)[0].numpy()
last_divergence = {arm: np.array([runs[arm, seed].curves["divergence"][-1] for seed in seeds]) for arm in ARMS}
for arm in ARMS:
    print(f"{arm:19}: nats in each layer, from the picture up: {last_divergence[arm].mean(axis=0).round(1)}")

# %% Drawing tags=["hide-input"]

figure, axes = plt.subplots(len(rows), 10, figsize=(7, 3.2))
for line, (name, images) in zip(axes, rows.items(), strict=True):
    for ax, image in zip(line, images, strict=True):
        ax.imshow(np.clip(np.moveaxis(image, 0, 2), 0, 1))
        ax.set(xticks=[], yticks=[])
        ax.grid(visible=False)
    line[0].set_ylabel(name, rotation=0, ha="right", va="center", fontsize=9)
lesson.figure(figure, "pictures", note=note, alt="Four rows of ten small colour pictures: test pictures; their "
              "reconstructions; what the model draws when only its top layer has seen the picture; and samples.")

# %% Drawing tags=["hide-input"]

figure, axes = plt.subplots(figsize=(7, 3.2))
places = np.arange(count)
for i, arm in enumerate(ARMS):
    told = bits(-last_divergence[arm], DIMENSION)
    axes.bar(places + 0.27 * (i - 1), told.mean(axis=0), 0.25, yerr=told.std(axis=0, ddof=1), color=ARM_COLOURS[arm],
             capsize=2, label=arm)
labels = [f"{i + 1}: {side} × {side}" for i, (side, _) in enumerate(size.layers)]
axes.set(xticks=places, ylabel="bits per dimension", xlabel="layer, from the picture up", title="what each layer tells")
axes.set_xticklabels(labels)
axes.legend(fontsize=9)
lesson.figure(figure, "bits_by_layer", note=note, alt="For each stochastic layer, bars with error bars: how many bits "
              "per dimension its latent variables tell about a test picture, for weight normalization and for the "
              "normal parameterization with and without data-dependent initialization.")

# %%
# Questions
# ---------
#
# 1. *Figure 3.* Where on its axis for CIFAR-10 would a model be that knows nothing? And one that knows only each byte's
#    share? By how much does an improvement of 0.01 bits per dimension move a point on it?
# 2. *No allowance.* Train with an allowance of 0, and with 4 nats. What becomes of the layers' terms and of the bound?
# 3. *More seeds.* How many seeds does it take until, with equal variances, a ratio of standard deviations of 2 comes up
#    in fewer than 5 % of all cases? And if one standard deviation really is twice the other, how often do that many
#    seeds detect it, and how often do three? Change the simulation.
# 4. *Pairs.* The two networks that begin as the same function also meet the same minibatches and the same noise.
#    Compute the standard deviation over seeds of the *difference* between their bounds. Is it smaller than that of
#    either?

lesson.finish()
