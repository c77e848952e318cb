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

RATES = (0.002, 0.004, 0.008, 0.016)


def own_flags(parser):
    """For a part of the full run."""
    parser.add_argument("--only", nargs="+", choices=ARMS, metavar="NAME",
                        help=f"train these; of {', '.join(map(repr, ARMS))}")
    parser.add_argument("--rates", nargs="+", type=float, default=RATES, metavar="RATE",
                        help=f"train at these rates; {', '.join(map(str, RATES))} by default")
    parser.add_argument("--sizes", nargs="+", choices=SIZES, default=["small"], metavar="NAME",
                        help=f"train networks of these sizes; of {', '.join(SIZES)}")
    parser.add_argument("--epochs", type=int, default=5, metavar="N", help="pass over the pictures so often; 5 by default")


SIZES = {
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
        measured.extend(relative_step)
        predicted.extend(0.1 * eta * root_n / length)
    lengths, turns = ([np.median(layer[k]) / by for layer in found] for k, by in ((2, 1), (3, eta)))
    print(f"{arm:19}: ‖v‖ of a layer {min(lengths):5.2f} to {max(lengths):5.2f}; "
          f"turns by η · {min(turns):.2f} to η · {max(turns):.2f}")

# %% Tolerance tags=["hide-input"]
# *Tolerance.* Adamax adds $10^{-8}$ to $u$; the gradients that are smallest here, those of the normal network's first
# layers, are about a thousand times that on average. We compare medians of vectors to 2 %, which a factor of 1.5, or an
# exponent, is far beyond.

lesson.claim("Adamax's first step turns each vector by 0.1 η√n over its length, in all three arms: median ratio",
             np.median(np.divide(measured, predicted)), predicted=1.0, rtol=0.02)

# %%


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
        return file_name(f"{lesson.data}-seed{self.seed}-{self.size}-{self.epochs}-{self.arm}-{self.rate:g}")


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
    training = Training(run.arm, SIZES[run.size], run.rate, lesson.rng(run.seed), pictures, test, run.batch, run.average,
                        lesson.device)
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
