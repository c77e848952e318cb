r"""Figure 3 on a desk: is it the parameterization, the start or the rate?
=====================================================================

The paper's figure 3 shows a bound on the log-probability of MNIST's digits, epoch by epoch: with weight normalization
it rises faster, and ends higher. But the network with weight normalization also *starts* elsewhere, by data-dependent
initialization, and a learning rate need not mean the same to both. Open this chapter when you want to know what a
normalization would do for a generative model of your own, or how a bound can rise while the model stays as it is.

Afterwards you can

- take a comparison of methods apart into parameterization, start and learning rate;
- say what a learning rate means to Adamax in either parameterization;
- tell a better model from a tighter bound, by importance weighting;
- say how much of figure 3 a small network on real digits reproduces.

Read first: lesson 10. (The last chapter of lesson 09 asks the same of figure 1.)

Claims checked: "the weight normalized parameterization [...] more rapid convergence" (section 5.2, figure 3), as far as
a small network, five epochs and three seeds can tell.

Time: quick about 5 s, full about 70 min for each seed.
"""

# %%

import json
import sys
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np

import minigrad as mg
import wn
from lessons import COLOURS, FOLDER, Lesson, UsageError, commit, file_name, versions, writable_folder, write_text
from lessons.autoencoder import ARMS, Size, Training, binarized, initialized
from minigrad import backend, data, optim

RATES = (0.002, 0.004, 0.008, 0.016, 0.032)


def own_flags(parser):
    """For a part of the full run."""
    parser.add_argument("--only", nargs="+", choices=ARMS, metavar="NAME",
                        help=f"train these; of {', '.join(map(repr, ARMS))}")
    parser.add_argument("--rates", nargs="+", type=float, default=RATES, metavar="RATE",
                        help=f"train at these rates; {', '.join(map(str, RATES))} by default")
    parser.add_argument("--sizes", nargs="+", choices=SIZES, default=["small"], metavar="NAME",
                        help=f"train networks of these sizes; of {', '.join(SIZES)}")
    parser.add_argument("--epochs", type=int, default=5, metavar="N", help="passes over the pictures; 5 by default")


SIZES = {  # the results are those of small networks
    "small": Size(side=28, maps=(4, 8, 8), dense=64, latents=16, hidden=64),
    "medium": Size(side=28, maps=(8, 16, 16), dense=128, latents=32, hidden=128),
}
lesson = Lesson(__file__, own_flags)
STORED = FOLDER.parent / "results" / "figure_3"  # the results of the runs, which take hours
if not STORED.is_dir():
    raise UsageError(f"this chapter reads {STORED}, which the repository has and the installed package lacks: "
                     "run it in a clone")


ARM_COLOURS = dict(zip(ARMS, (COLOURS["normal"], COLOURS["mean-only BN"], COLOURS["weight norm"]), strict=True))

# %%
# Three arms
# ----------
#
# Lesson 10 trained three networks. *Weight norm* has its $v$ drawn from $N(0, 0.05^2)$, and $g$ and $b$ chosen from
# data. *Normal, initialized* is the same function, with $w = g\,v/\|v\|$ multiplied out: what differs is the
# parameterization alone. *Normal* has weights from $N(0, 0.05^2)$ and biases 0: what differs from the second is the
# start alone. The paper compares the first with the last.
#
# What a rate means to Adamax
# ---------------------------
#
# The paper trains with Adamax at 0.002, whatever the arm. Adamax divides a running mean of the gradients, $m$, by the
# largest gradient so far, $u$. In the first step $u = |\nabla|$, and $m = 0.1\,\nabla$, as the paper does not correct
# for $m$ having started at 0. So each weight moves by $0.1\,\eta$, whatever the loss, and a vector of $n$ weights by
# $0.1\,\eta\sqrt n$. Relative to its length that is
#
# $$c = \frac{0.1\,\eta\sqrt n}{\|v\|} \ \text{with weight normalization,} \qquad
#   c = \frac{0.1\,\eta\sqrt n}{\|w\|} \ \text{without.}$$
#
# To first order $c$ is the angle by which the vector turns. One step on synthetic digits shows it.

TINY = Size(side=14, maps=(4, 8, 8), dense=32, latents=4, hidden=16)
synthetic = data.synthetic_digits(500, 0, lesson.seed, TINY.side)
few = binarized(synthetic.train_images)
print(f"{synthetic.description}, binarized, {TINY.side} × {TINY.side}: {len(few)} pictures")


def first_step(arm, rate):
    """For each layer without a mask: its name, √n, and the lengths and relative steps of its vectors."""
    model = initialized(arm, TINY, lesson.rng(0), few)
    sizes = {name.rpartition(".")[0]: p.size for name, p in model.named_parameters() if p.ndim > 1}
    optimizer = optim.Adamax(model.parameters(), lr=rate, bias_correction=False)
    tracker = wn.NormTracker(model, optimizer)
    (-model(mg.tensor(few)).mean()).backward()
    optimizer.step()
    tracker.record()
    found = []
    for layer in tracker.layers:
        if not layer.startswith("steps."):  # of the autoregressive steps, whose masked weights do not move
            length = tracker.history(layer, "norm")[0]
            found.append((layer, np.sqrt(sizes[layer] / len(length)), length,
                          tracker.history(layer, "relative_step")[1]))
    return found


eta, measured, predicted = 0.002, [], []
for arm in ARMS:
    found = first_step(arm, eta)
    for _, root_n, length, relative_step in found:
        measured.append(np.median(relative_step))
        predicted.append(np.median(0.1 * eta * root_n / length))
    lengths, turns = ([np.median(layer[k]) / by for layer in found] for k, by in ((2, 1), (3, eta)))
    print(f"{arm:19}: ‖v‖ of a layer {min(lengths):5.2f} to {max(lengths):5.2f}; "
          f"turns by η · {min(turns):.2f} to η · {max(turns):.2f}")

# %% Tolerance tags=["hide-input"]
# *Tolerance.* Adamax adds $10^{-8}$ to $u$; the gradients that are smallest here, those of the normal network's first
# layers, are about a thousand times that on average. We compare each layer's median in each arm, to 2 %, which a factor
# of 1.5, or an exponent, is far beyond.

lesson.claim("Adamax's first step turns vectors by 0.1 η√n over their length, in each layer of all three arms: medians",
             measured, predicted=predicted, rtol=0.02)

# %%
# With $\eta = 0.002$ and weights from $N(0, 0.05^2)$, every vector turns by about $2\eta$ in the first step, with
# weight normalization and without. The network that was initialized turns less, and unevenly: where the initialization
# chose a large $g$, by a tenth of that. The three arms do not mean the same by a rate, and the middle one is slow at
# the paper's.
#
# The experiment
# --------------
#
# MNIST at 28 × 28, 60,000 pictures, each pixel drawn once as 0 or 1. The network is that of section 5.2 with a quarter
# of the maps (4, 8, 8), 64 units in the dense layer and 16 latent variables; minibatches of 100, five epochs, a running
# average over half an epoch. Each arm runs at rates from 0.002 to 0.032.
#
# Which part of a difference is the model's, and which the bound's? After the last epoch the bound with 64 samples,
# $\mathcal L_{64}$ of lesson 10, is computed for 500 test pictures. It lies closer to $\log p(x)$.


@dataclass(frozen=True)
class Run:
    """What distinguishes one run from the others."""

    arm: str  # of `ARMS`
    rate: float
    seed: int
    size: str = "small"
    epochs: int = 5
    batch: int = 100
    average: float = 0.5  # epochs over which the parameters are averaged

    def name(self):
        return file_name(f"mnist-seed{self.seed}-{self.size}-{self.epochs}-{self.arm}-{self.rate:g}")


def importance_weighted(training, samples=64, pictures=500):
    """The bound with so many samples, mean over the first test pictures, and beside it the bound with one."""
    rng, found = np.random.default_rng(1), []
    with mg.no_grad(), training.average.applied():
        for x in training.test[:pictures]:
            noise = rng.standard_normal((samples, training.model.size.latents), dtype=np.float32)
            many = mg.tensor(np.repeat(x[None], samples, axis=0), device=training.device)
            log_weights = training.model(many, mg.tensor(noise, device=training.device)).numpy().astype(float)
            found.append((np.logaddexp.reduce(log_weights) - np.log(samples), log_weights.mean()))
    return np.mean(found, axis=0).tolist()


def train(run, pictures, test):
    """Train one network; its curves with one entry per epoch, and the importance-weighted bound at the end."""
    training = Training(run.arm, SIZES[run.size], run.rate, lesson.rng(run.seed), pictures, test, run.batch,
                        run.average, lesson.device)
    for _ in lesson.progress(range(run.epochs), run.name()):
        training.epoch()
    return training.curves | {"importance weighted": importance_weighted(training)}


def train_all(runs, folder):
    """Train what has no file in the folder yet, each run into a file of its own."""
    digits = data.load_mnist()
    pictures = binarized(digits.train_images, np.random.default_rng(0))
    test = binarized(digits.test_images, np.random.default_rng(1))
    for run in runs:
        path = folder / f"{run.name()}.json"
        if path.exists() and not lesson.flags.fresh:
            continue
        began, curves = datetime.now(UTC), train(run, pictures, test)
        record = {"run": asdict(run), "size": asdict(SIZES[run.size]), "data": digits.description, "curves": curves,
                  "command": " ".join(["python", *sys.argv]), "commit": commit(), "versions": versions(),
                  "machine": backend.description(lesson.device), "blas": mg.config.blas_description(),
                  "date": f"{began:%Y-%m-%d %H:%M} UTC"}
        write_text(path, json.dumps(record, ensure_ascii=False) + "\n")
        print(f"{run.name()}: {curves['likelihood'][-1] - curves['divergence'][-1]:.2f} nats, "
              f"{sum(curves['seconds']):.0f} s", flush=True)


if lesson.full:
    wanted = [Run(arm, rate, lesson.seed, size, lesson.flags.epochs)
              for size in lesson.flags.sizes for rate in lesson.flags.rates for arm in lesson.flags.only or ARMS]
    train_all(wanted, writable_folder(Path(lesson.flags.out) / "figure_3"))
    lesson.stop("complete")

# %%
# The grid
# --------
#
# A run takes five minutes of one core, and a seed has fifteen, so that is not what happens when you run this chapter.
# Each run's result is in a file of its own in ``results/figure_3``; ``--full`` with ``--seed`` trains what has none. So
# far there is **one seed**: what follows is an anecdote, to be told again when there are three.


def stored(folder=STORED):
    """{(size, epochs, arm, rate): {seed: curves}} of the runs on MNIST, and the pictures' description."""
    runs, described = {}, set()
    for path in sorted(folder.glob("*.json")):
        record = json.loads(path.read_text("utf-8"))
        run = record["run"]
        key = run["size"], run["epochs"], run["arm"], run["rate"]
        runs.setdefault(key, {})[run["seed"]] = record["curves"]
        described.add(record["data"])
    if len(described) != 1:
        raise UsageError(f"{folder} holds no runs, or runs on different pictures: {sorted(described)}")
    return runs, described.pop()


runs, pictures_are = stored()


def bounds(arm, rate, size="small", epochs=5):
    """The test bound in nats by epoch, a row for each seed."""
    by_seed = runs[size, epochs, arm, rate]
    return np.array([np.subtract(by_seed[s]["likelihood"], by_seed[s]["divergence"]) for s in sorted(by_seed)])


def shown(values, digits=1):
    """ "-98.4 ± 0.3", mean and standard deviation over seeds; without the latter if there is only one."""
    deviation = f" ± {np.std(values, ddof=1):.{digits}f}" if len(values) > 1 else ""
    return f"{np.mean(values):.{digits}f}{deviation}"


seeds = sorted(set.intersection(*(set(runs["small", 5, arm, rate]) for arm in ARMS for rate in RATES)))
note = f"{pictures_are}, binarized by draws; seed{'s' * (len(seeds) > 1)} {', '.join(map(str, seeds))}"
print(f"{note}; test bound after epochs 1 to 5, nats a picture")
for arm in ARMS:
    for rate in RATES:
        print(f"{arm:19} {rate:<5} ", "  ".join(map(shown, bounds(arm, rate).T)))
best = {arm: max(RATES, key=lambda rate: bounds(arm, rate)[:, -1].mean()) for arm in ARMS}
print("best after five epochs:", ", ".join(f"{arm} {rate}" for arm, rate in best.items()))

# %% Drawing tags=["hide-input"]


def deviation(values):
    """Over seeds, along the first axis; nothing to draw if there is only one."""
    return np.std(values, axis=0, ddof=1) if len(values) > 1 else None


figure, axes = plt.subplots(1, 2, figsize=(8.4, 3.8))
for arm in ARMS:
    for rate, style in ((0.002, "--"), (best[arm], "-")):
        by_epoch = bounds(arm, rate)
        axes[0].errorbar(range(1, 6), by_epoch.mean(axis=0), deviation(by_epoch), color=ARM_COLOURS[arm], ls=style,
                         marker="o", ms=3, capsize=2)
    ends = np.array([bounds(arm, rate)[:, -1] for rate in RATES]).T
    axes[1].errorbar(RATES, ends.mean(axis=0), deviation(ends), color=ARM_COLOURS[arm], marker="o", ms=3, capsize=2,
                     label=arm)
axes[0].set(xlabel="epoch", ylabel="nats a picture", xticks=range(1, 6), ylim=(-130, -94),
            title="at 0.002 (dashed), at its best rate (solid)")
axes[1].set(xlabel="learning rate", title="after five epochs", xscale="log")
axes[1].set_xticks(RATES, [f"{rate:g}" for rate in RATES])
axes[1].minorticks_off()
figure.legend(*axes[1].get_legend_handles_labels(), loc="outside lower center", ncols=3, fontsize=9)
lesson.figure(figure, "bounds", note=note, alt="Two panels. Left: the bound by epoch at the rate 0.002, "
              "dashed, and at each arm's best rate, solid. Dashed, weight norm is ahead of normal by two nats, and of "
              "the initialized normal network by more; solid, weight norm and normal end together. Right: the bound "
              "after five epochs against the rate. Weight norm peaks at 0.008, the other two at 0.016.")

# %%
# At the paper's rate of 0.002, weight normalization is ahead of the normal parameterization from the first epoch to the
# fifth, by 2.4 nats at the end. This is figure 3 in small: there the lead is about 0.8 after 300 epochs, -84.5 against
# -85.3. At 0.008 and 0.016, their best rates, the two are 0.2 nats apart. So in this run nearly all of the lead is one
# of learning rates, as in figure 1. What remains of it is speed at the beginning: the normal network takes an epoch to
# wake up its latent variables, and three more to make up for it.
#
# *The start alone* is no help. The initialized normal network is ahead of the other normal one after one epoch, and
# behind it after five, at every rate. The first table says why: its longest vectors turn a twentieth as fast.
# Data-dependent initialization goes with weight normalization, which turns all vectors alike whatever their $g$.
# (Lesson 10's quick run was over while the lead of the start still lasted.)
#
# Is it the model that differs, or the bound?

print("after five epochs, 500 test pictures: the bound, the bound with 64 samples, and the difference")
for arm in ARMS:
    for rate in (0.002, best[arm]):
        by_seed = runs["small", 5, arm, rate]
        tight, one = np.transpose([by_seed[seed]["importance weighted"] for seed in seeds])
        print(f"{arm:19} {rate:<5} {shown(one, 2)}  {shown(tight, 2)}  {shown(tight - one, 2)}")

# %%
# The bound gives away 3.5 to 4.3 nats, much the same in all arms. With 64 samples, the two at their best rates agree to
# 0.01 nats, so there is no difference between the models that this run could see. At 0.002, weight normalization's lead
# is in the model, too.
#
# What to take from it
# --------------------
#
# - *Reproduced, in one run:* at the paper's rate weight normalization is ahead, from the first epoch on.
# - *Not reproduced:* that this needs the parameterization. At eight times the rate the normal network ends as
#   high, after five epochs.
# - *Not tested yet:* other seeds, and with them the paper's "lower variance"; the paper's size, 300 epochs.
#
# Questions
# ---------
#
# 1. With bias correction, Adamax's first step divides $m$ by 0.1. What becomes of $c$? Change ``first_step``, and see
#    which claim fails.
# 2. At which rate would the longest vectors of the initialized normal network turn as fast as those with weight
#    normalization at 0.008? What would the others do there?
# 3. ``results/figure_3`` has the divergences by epoch. In which epoch does each arm's posterior begin to tell anything
#    about the picture, and does that depend on the rate?

lesson.finish()
