r"""Small minibatches: does equi-normalization replace batch and group normalization?
================================================================================

Batch normalization needs a minibatch that is large enough: the mean and standard deviation of two pictures are mostly
noise. Equi-normalization looks only at weights, whatever the number of pictures. "For small batches, our approach
offers an alternative to batch-and group-normalization on CIFAR-10 and ImageNet with a ResNet-18", says the abstract of
Stock et al. (2019). Open this chapter when memory leaves you room for few pictures at a time, and you have to choose.

Afterwards you can

- say for which normalizations the gradient of a minibatch is right on average, and measure how wrong it is for the one
  where it is not;
- tune six arms at two sizes of minibatch and interpolate the rates for those between;
- say what a small experiment shows of the paper's claim, and what it does not.

Read first: lesson 13.

Claims checked: only under batch normalization is the gradient of small minibatches biased. With four pictures or more
batch normalization stays ahead of equi-normalization all the same, and a cycle after each step gains nothing over
balancing once, as far as a narrow network, three epochs and three seeds can tell.

Time: quick about 15 s, full about 90 min on one core.
"""

# %%

import functools
import time
from dataclasses import dataclass

import matplotlib.pyplot as plt
import numpy as np

import minigrad as mg
import wn
from lessons import COLOURS, Lesson, file_name, grid
from lessons.resnet import ARMS, initialized
from minigrad import data, nn, optim
from minigrad.nn import functional as F

BATCHES = (2, 4, 16, 64)


def own_flags(parser):
    """For a part of the full run."""
    parser.add_argument("--only", nargs="+", choices=ARMS, metavar="NAME",
                        help=f"train these; of {', '.join(map(repr, ARMS))}")
    parser.add_argument("--batches", nargs="+", type=int, choices=BATCHES, default=BATCHES, metavar="B",
                        help=f"with minibatches of these sizes; of {', '.join(map(str, BATCHES))}")


lesson = Lesson(__file__, own_flags)
ARM_COLOURS = dict(zip(ARMS, map(COLOURS.get, ("normal", "weight norm, log-scale", "WN + mean-only BN", "weight norm",
                                               "batch norm", "mean-only BN")), strict=True))

# %%
# Whose gradient is right on average?
# -----------------------------------
#
# Let $G$ be the gradient of the loss over all examples. A minibatch is drawn at random; on average over all that can be
# drawn, is its gradient $G$? If each example's loss depends on that example and the weights alone, it is: the mean of
# means over equal parts is the mean of all. This holds for plain SGD, for weight normalization, for equi-normalization,
# whose cycle comes after the step, and for group normalization, which takes its statistics from one example. Under
# batch normalization an example's loss depends on its neighbours, by their mean and variance. The gradient of a
# minibatch is then that of another function for each minibatch, and on average not $G$: it is *biased*. We split 64
# pictures into minibatches, and compare the mean of their gradients with that of all 64 at once.

few = data.synthetic_pictures(64, 10, lesson.seed)
x = few.train_images.reshape(64, 3, 16, 2, 16, 2).mean(axis=(3, 5))
x = ((x - x.mean()) / x.std()).astype(np.float32)


def gradient(model, rows):
    """Of the mean loss over these pictures, as one long vector."""
    loss = F.cross_entropy(model(mg.tensor(x[rows])), few.train_labels[rows])
    return np.concatenate([g.numpy().ravel().astype(float) for g in mg.grad(loss, model.parameters())])


def partition_mean(model, B, order):
    """The mean of the gradients of minibatches of B, in this order."""
    return np.mean([gradient(model, order[k : k + B]) for k in range(0, 64, B)], axis=0)


everything, off = np.arange(64), {}
for arm in ("plain", "weight norm", "group norm"):
    model = initialized(arm, 10, 4, lesson.rng(0), x)
    G = gradient(model, everything)
    off[arm] = max(np.linalg.norm(partition_mean(model, B, everything) - G) for B in (2, 8, 32)) / np.linalg.norm(G)
    print(f"{arm:11}: mean over minibatches of 2, 8 or 32 differs from G by {off[arm]:.0e} of its length")

# %%
# For batch normalization a difference may be chance, since other minibatches have other gradients. So we take two
# halves of eight random partitions, and call their means $m_1$ and $m_2$. The chance errors of the two are independent,
# so $(m_1 - G)\cdot(m_2 - G)$ is the squared bias on average, with no contribution from the noise.

model = initialized("batch norm", 10, 4, lesson.rng(0), x)
G, rng, squared_bias = gradient(model, everything), lesson.rng(1), {}
for B in (2, 8, 32):
    halves = [np.mean([partition_mean(model, B, rng.permutation(64)) for _ in range(4)], axis=0) for _ in range(2)]
    squared_bias[B] = (halves[0] - G) @ (halves[1] - G) / (G @ G)
    print(f"batch norm, minibatches of {B:2}: squared bias over ‖G‖²: {squared_bias[B]:.2f}; "
          f"the mean's part along G is {halves[0] @ G / (G @ G):.2f} G")

# %% Tolerance tags=["hide-input"]
# *Tolerance.* Eighteen layers in float32, backward as well: some dozens of $\varepsilon = 1.2 \cdot 10^{-7}$ of the
# gradient's length; we allow a hundred. A mistake in a mean is of order 1. The bias of batch normalization is no law,
# so the claim asks for half of what it would be if the gradients averaged to 0, $\|G\|^2$.

lesson.claim("without batch norm the mean over minibatches is G: largest difference over ‖G‖, three arms, B = 2, 8, 32",
             max(off.values()), below=100 * 1.2e-7)
lesson.claim("with batch norm it is not: squared bias for minibatches of 2, over ‖G‖²", squared_bias[2], above=0.5)

# %%
# In an untrained ResNet-18 with batch normalization, the gradients of minibatches of two contain hardly anything of $G$
# on average: they would improve another function. That is the extreme case. Depth amplifies differences between
# minibatches (``08_depth_and_minibatches.py``), and training reduces them. Whether the bias matters for the final error
# is a matter of experiment.
#
# Six arms
# --------
#
# All six use one network, ResNet-18 with learned shortcuts and eight maps in its first stage. *Batch norm* and *group
# norm* (as many groups as half the width) have He's initialization: normal weights with variance 2/fan-in. Without
# either, those weights would give logits in the dozens, and a loss of 20 or so. So the other four begin with
# data-dependent initialization (lesson 07), all four as the same function. *Plain* trains it as it is, *weight norm*
# trains $v$, $g$ and $b$, and *equi-normalized* makes one cycle after each step. *Balanced once* makes its cycles
# before training, and none afterwards: lesson 13 found that a balanced network hardly loses its balance, so this arm
# shows how much the start is worth, and how much the cycles.

# %%
# The experiment
# --------------
#
# We use SGD with momentum 0.9 and a rate that falls linearly to 0 over the run. Rates are powers of √10, rounded. For
# each arm we look for the best one at minibatches of 2 and of 64, with seed 0, on pictures that are neither trained nor
# tested on: begin in the middle, try both neighbours, move to the best, and repeat until it lies between two that are
# worse. At 4 and 16 the rate is interpolated, on a logarithmic scale. Then three other seeds follow at each size, with
# test pictures.
#
# Batch normalization tests with running averages of its statistics. With the usual momentum of 0.1 they would hold
# about ten minibatches: at 2 pictures each, that is noise, and would put batch normalization at a needless
# disadvantage. Here they hold the same number of *pictures* at each size.


@dataclass(frozen=True)
class Run:
    """What distinguishes one run from the others."""

    arm: str
    batch: int
    rate: float
    seed: int
    side: int = 16
    width: int = 8
    train: int = 4000  # pictures
    epochs: int = 3

    def name(self):
        size = f"{self.side}px-width{self.width}-{self.train}x{self.epochs}"
        return file_name(f"{size}-seed{self.seed}-batch{self.batch}-{self.arm}-{self.rate:g}")


RATES = (0.0001, 0.0003, 0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0)
FIRST_TRIED = {64: 0.03, 2: 0.003}  # for these minibatches rates are tuned
TUNED_WITH, SEEDS = 0, (1, 2, 3)


def error(model, pictures, labels):
    """Percent that the model, in evaluation, gets wrong."""
    model.eval()
    with mg.no_grad():
        wrong = sum(int((model(mg.tensor(x)).numpy().argmax(axis=1) != y).sum())
                    for x, y in data.batches((pictures, labels), 250))
    return 100 * wrong / len(labels)


def squares(model):
    """Σ‖W‖² over all weights; of a weight-normalized layer, Σ‖v‖²."""
    weights = [p.numpy() for p in model.parameters() if p.ndim > 1 and p.size > p.shape[0]]
    return float(sum(np.sum(w.astype(float) ** 2) for w in weights))


# %%


def train(run, train_set, validation_set, test_set):
    """Train one network; its curves with an entry for each epoch, and the test error at the end."""
    rng = np.random.default_rng(np.random.SeedSequence(0, spawn_key=(lesson.number, run.seed)))  # whatever --seed says
    model = initialized(run.arm, 10, run.width, rng, train_set[0][:500])
    for layer in model.modules():
        if isinstance(layer, nn.BatchNorm):
            layer.momentum = 0.1 * run.batch / 64
    optimizer = optim.SGD(model.parameters(), lr=run.rate, momentum=0.9)
    balance = wn.EquiNormalizer(model, train_set[0][:2], optimizer=optimizer) if run.arm == "equi-normalized" else None
    steps, step = run.epochs * (len(train_set[1]) // run.batch), 0
    curves = {"loss": [], "validation error": [], "squares": [], "seconds": [], "diverged": False}
    for _ in lesson.progress(range(run.epochs), run.name()):
        started, losses = time.process_time(), []
        model.train()
        for x, y in data.batches(train_set, run.batch, rng, drop_last=True):
            loss = F.cross_entropy(model(mg.tensor(x)), y)
            if not np.isfinite(loss.item()):  # what is left cannot be mended
                curves["diverged"] = True
                break
            losses.append(loss.item())
            optimizer.zero_grad()
            loss.backward()
            optimizer.lr, step = run.rate * (1 - step / steps), step + 1
            optimizer.step()
            if balance:
                balance()
        curves["seconds"].append(time.process_time() - started)
        curves["validation error"].append(error(model, *validation_set))
        if curves["diverged"]:
            break
        curves["loss"].append(float(np.mean(losses)))
        curves["squares"].append(squares(model))
    return curves | {"test error": error(model, *test_set)}


# %% Bookkeeping tags=["hide-input"]
# Each run has its own file; a run whose file exists is not trained again.


@functools.cache
def sets(side, count):
    """Training, validation and test pictures, shrunk by averaging, each channel with mean 0 and variance 1; labels."""
    pictures = data.load_cifar10(download=lesson.flags.download)
    parts = [(pictures.train_images[:count], pictures.train_labels[:count]),
             (pictures.train_images[-2000:], pictures.train_labels[-2000:]),
             (pictures.test_images[:5000], pictures.test_labels[:5000])]
    by = 32 // side
    parts = [(x.reshape(len(x), 3, side, by, side, by).mean(axis=(3, 5)), y) for x, y in parts]
    mean, deviation = (f(parts[0][0], axis=(0, 2, 3), keepdims=True) for f in (np.mean, np.std))
    return [(((x - mean) / deviation).astype(np.float32), y) for x, y in parts], pictures.description


def record(run):
    """What is stored of a run."""
    parts, described = sets(run.side, run.train)
    curves = train(run, *parts)
    print(f"{run.name()}: validation {curves['validation error'][-1]:.1f} %, test {curves['test error']:.1f} %, "
          f"{sum(curves['seconds']):.0f} s", flush=True)
    return {"data": described, "curves": curves}


def trained(run):
    """The curves of a run, which is trained if it has not been."""
    return grid.result(lesson, run, "small_batches", record)["curves"]


def tuned(arm, batch, find):
    """The best rate; `find(run)` returns a run's curves, or None if they cannot be had, and then so is the answer."""

    def score(rate):
        curves = find(Run(arm, batch, rate, TUNED_WITH))
        return curves and -curves["validation error"][-1]

    return grid.best_rate(RATES, FIRST_TRIED[batch], score)


def interpolated(rates, batch):
    """The rate for minibatches of any size, to two digits, from those tuned at 2 and 64, {size: rate}; None without."""
    if batch in FIRST_TRIED or None in rates.values():
        return rates.get(batch)
    share = np.log(batch / 2) / np.log(64 / 2)
    return float(f"{rates[2] ** (1 - share) * rates[64] ** share:.2g}")


if lesson.full:
    arms, batches = lesson.flags.only or ARMS, lesson.flags.batches
    needed = FIRST_TRIED if set(batches) - set(FIRST_TRIED) else batches
    rates = {arm: {} for arm in arms}
    for batch in sorted(needed, reverse=True):
        for arm in arms:
            rates[arm][batch] = tuned(arm, batch, trained)
    for seed in SEEDS:
        for batch in batches:
            for arm in arms:
                trained(Run(arm, batch, interpolated(rates[arm], batch), seed))
    lesson.stop("complete")

# %%
# What is stored
# --------------
#
# A run takes one core up to two minutes, and there are more than a hundred. Each has its own file in
# ``results/small_batches``, with everything that is needed to repeat it. ``--full`` computes what is missing, in order
# of importance; it may be interrupted at any time. What follows is read from these files.

stored, described = grid.stored("small_batches", ["arm", "batch", "rate"])
note = f"{described}, 4000 pictures of 16 × 16, width 8, 3 epochs"


def find(run):
    return stored.get((run.arm, run.batch, run.rate), {}).get(run.seed)


best = {(arm, B): tuned(arm, B, find) for arm in ARMS for B in FIRST_TRIED}
tests, wanted = {}, len(ARMS) * len(BATCHES) * len(SEEDS)
for arm in ARMS:
    rates = {B: best[arm, B] for B in FIRST_TRIED}
    for B in BATCHES:
        rate = interpolated(rates, B)
        found = [find(Run(arm, B, rate, seed)) for seed in SEEDS if rate]
        tests[arm, B] = [curves["test error"] for curves in found if curves]
had = sum(map(len, tests.values()))
print(f"{note}\n{sum(map(len, stored.values()))} runs are stored; best rates are known for "
      f"{sum(map(bool, best.values()))} of {len(best)} pairs of arm and minibatch;\n"
      f"of {wanted} runs for the table {had} are there, {wanted - had} are missing\n")


def shown(values):
    """ "58.3 ± 0.4 (3)": mean, standard deviation and number of seeds."""
    return grid.shown(values) + (f" ({len(values)})" if values else "")


print("test error in percent, mean ± standard deviation (seeds)")
print(" " * 16 + "".join(f"B = {B:<13}" for B in BATCHES) + "best rates at 2, 64")
for arm in ARMS:
    print(f"{arm:16}" + "".join(f"{shown(tests[arm, B]):17}" for B in BATCHES)
          + ", ".join(f"{best[arm, B]:g}" if best[arm, B] else "–" for B in (2, 64)))

# %% Drawing tags=["hide-input"]

figure, axes = plt.subplots(1, 2, figsize=(8.6, 3.8))
for arm in ARMS:
    tried = [(rate, curves["validation error"][-1]) for rate in RATES
             if (curves := find(Run(arm, 64, rate, TUNED_WITH)))]
    axes[0].plot(*np.reshape(tried, (-1, 2)).T, "o-", ms=4, color=ARM_COLOURS[arm], label=arm)
    there = [B for B in BATCHES if tests[arm, B]]
    means, deviations = ([f(tests[arm, B]) for B in there] for f in (np.mean, grid.deviation))
    axes[1].errorbar(there, means, deviations, fmt="o-", ms=4, capsize=2, color=ARM_COLOURS[arm])
axes[0].set(xscale="log", xlabel="learning rate", ylabel="percent", title="B = 64: validation error, seed 0")
axes[1].set(xscale="log", xlabel="minibatch B", title="test error, three seeds", xlim=(1.6, 80))
axes[1].set_xticks(BATCHES, map(str, BATCHES))
axes[1].minorticks_off()
figure.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=6, fontsize=8)
lesson.figure(figure, "errors", note=note, alt="Left: validation error with minibatches of 64 against the learning "
              "rate, for each arm. Right: test error against the size of the minibatch, mean and standard deviation "
              "over seeds. Arms without stored runs are missing.")

# %%
# What to take from it
# --------------------
#
# All runs have three epochs, so a quarter of the minibatch means four times the steps: a column tells the arms apart,
# and a row does not say which size is best.
#
# The criteria were written here before the runs at 2, 4 and 16 were made. It would support the abstract if
# *equi-normalized* came within two standard deviations of the better of *batch norm* and *group norm* at B = 2 and 4;
# it would support the cycles if it were ahead of *balanced once*, and the normalization if it were ahead of *plain*.
#
# - *An alternative to batch and group normalization:* at B = 2 yes, at B = 4 no. With two pictures it has 65.4 ± 1.4 %,
#   and the better of the two, group normalization, 63.3 ± 1.2. With four it is 7 points behind batch normalization,
#   which stays ahead of all others from there on.
# - *The cycles:* no. Over 2, 4 and 16 pictures the mean difference from *balanced once* is 0.0 points.
# - *The normalization:* in part. *Balanced once* is ahead of *plain* at every size, by 0.8 to 4.6 points, without
#   touching the training: it is the start that helps.
# - *Weight normalization* also looks only at weights, and does as well as equi-normalization: 4 points ahead at B = 4,
#   1 and 3 behind at 2 and 16.
# - *Batch normalization at B = 2*, whose gradients point elsewhere at first, ends at 64.3 ± 2.1 %. A bias at the start
#   says little about the end. (Its running averages hold as many pictures here as at 64; we have not tried others.)
#
# At B = 64 equi-normalization, with the rate that was best for seed 0, ended with two seeds at 68.5 and 70.3 %, and
# with the third at 89.9 %, as if nothing had been learned. A rate tuned on one seed can lie close to the edge.

leads = {}
for arm, other in (("batch norm", "equi-normalized"), ("equi-normalized", "balanced once")):
    leads[arm] = {B: np.mean(tests[other, B]) - np.mean(tests[arm, B]) for B in BATCHES}
    print(f"{arm} ahead of {other} by", ", ".join(f"{lead:+.1f} at B = {B}" for B, lead in leads[arm].items()))

# %% Tolerance tags=["hide-input"]
# *Bounds.* Test errors scatter by about 1.5 points over seeds, so the difference of two means of three seeds by 1.2,
# and the mean of three such differences by 0.7. Of a lead of 7 points we claim that it is more than 4, and of no lead
# that it is less than 2, between two and three deviations in each case. Both claims were written with the results in
# sight.

lesson.claim("at B = 4 and 16 batch norm is ahead of equi-normalization: the smaller lead in test error, points",
             min(leads["batch norm"][B] for B in (4, 16)), above=4)
lesson.claim("a cycle after each step gains nothing over balancing once: mean lead at B = 2, 4 and 16, points",
             np.mean([leads["equi-normalized"][B] for B in (2, 4, 16)]), below=2)

# %%
# Four thousand pictures, sixteen pixels, eight maps and three epochs are a small fraction of the paper's, whose runs
# take days: the arm that learns fast is ahead here. There is no weight decay and no augmentation; both would act on the
# size of the weights and so on equi-normalization.
#
# Questions
# ---------
#
# 1. *Rates between.* With the best rates 0.003 at B = 2 and 0.1 at B = 64, which rates do 4 and 16 get? Which power of
#    B is that? Compare with the two rules in use, a rate in proportion to B and to $\sqrt B$.
# 2. *Error bars.* Three seeds each, with a standard deviation of 1.0 points. How large must a difference between two
#    arms be for you to believe it (two standard deviations of the difference)? How many seeds would it take to believe
#    one half as large?
# 3. *Bias and depth.* Measure the squared bias at B = 2 for one convolution with batch normalization, a ReLU, the mean
#    over the picture and a linear layer. Is it depth that causes the bias of the ResNet?

lesson.finish()
