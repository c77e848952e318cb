r"""Small minibatches: does equi-normalization replace batch and group normalization?
================================================================================

Batch normalization needs a minibatch that is worth its name: mean and standard deviation of two pictures are mostly
noise. Equi-normalization looks at weights only and does not care how many pictures there are. "For small batches, our
approach offers an alternative to batch-and group-normalization on CIFAR-10 and ImageNet with a ResNet-18", says the
abstract of Stock et al. (2019). Open this chapter when memory leaves you room for few pictures at a time, and you have
to choose.

Afterwards you can

- say for which normalizations the gradient of a minibatch is right on average, and measure how wrong it is for the
  other one;
- tune six arms at two sizes of minibatch and interpolate the rates for those between;
- say what a small experiment shows of the paper's claim, and what it does not.

Read first: lesson 13.

Claims checked: only under batch normalization is the gradient of small minibatches biased. The abstract's claim is
tested by the table of runs, which says what is missing.

Time: quick about 10 s, full about 3 hours on one core.
"""

# %%

import json
import sys
import time
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path

import numpy as np

import minigrad as mg
import wn
from lessons import COLOURS, FOLDER, Lesson, commit, file_name, versions, writable_folder, write_text
from lessons.resnet import ARMS, initialized
from minigrad import backend, data, nn, optim
from minigrad.nn import functional as F

BATCHES = (2, 4, 16, 64)


def own_flags(parser):
    """For a part of the full run."""
    parser.add_argument("--only", nargs="+", choices=ARMS, metavar="NAME",
                        help=f"train these; of {', '.join(map(repr, ARMS))}")


lesson = Lesson(__file__, own_flags)
STORED = FOLDER.parent / "results" / "small_batches"  # the results of the runs, which take hours
ARM_COLOURS = dict(zip(ARMS, map(COLOURS.get, ("normal", "weight norm, log-scale", "WN + mean-only BN", "weight norm",
                                               "batch norm", "mean-only BN")), strict=True))

# %%
# Six arms
# --------
#
# One network, ResNet-18 with learned shortcuts, eight maps in its first stage. *Batch norm* and *group norm* (as many
# groups as half the width) have He's initialization: normal weights with variance 2/fan-in. Without either,
# those weights would give logits in the dozens, and a loss of 20 or so. So the other four begin with data-dependent
# initialization (lesson 07), all four as the same function. *Plain* trains it as it is, *weight norm* trains $v$, $g$
# and $b$, and *equi-normalized* makes one cycle after each step. *Balanced once* makes its cycles before training, and
# none afterwards: lesson 13 found that a balanced network hardly loses its balance, so this arm tells what the start is
# worth, and what the cycles.

# %%
# The experiment
# --------------
#
# SGD with momentum 0.9 and a rate that falls linearly to 0 over the run. Rates are powers of √10, rounded. For each arm
# we look for the best one at minibatches of 2 and of 64, with seed 0, on pictures that are neither trained nor tested
# on: begin in the middle, try both neighbours, go to the best, until it lies between two that are worse. At 4 and 16
# the rate is interpolated, on a logarithmic scale. Then three other seeds at each size, and test pictures.
#
# Batch normalization tests with running averages of its statistics. With the usual momentum of 0.1 they would hold
# about ten minibatches: at 2 pictures each, that is noise, and would be held against batch normalization without need.
# Here they hold as many *pictures* at each size.


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
    rng = lesson.rng(run.seed)
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
# Each run has a file of its own; one that is there is not trained again.


def sets(run):
    """Training, validation and test pictures, shrunk by averaging, each channel with mean 0 and variance 1; labels."""
    pictures = data.load_cifar10(download=lesson.flags.download)
    parts = [(pictures.train_images[: run.train], pictures.train_labels[: run.train]),
             (pictures.train_images[-2000:], pictures.train_labels[-2000:]),
             (pictures.test_images[:5000], pictures.test_labels[:5000])]
    by = 32 // run.side
    parts = [(x.reshape(len(x), 3, run.side, by, run.side, by).mean(axis=(3, 5)), y) for x, y in parts]
    mean, deviation = (f(parts[0][0], axis=(0, 2, 3), keepdims=True) for f in (np.mean, np.std))
    return [(((x - mean) / deviation).astype(np.float32), y) for x, y in parts], pictures.description


def result(run, folder, loaded=[]):  # noqa: B006 - pictures are loaded when a run first needs them
    """The stored record of a run, which is trained if there is none."""
    path = folder / f"{run.name()}.json"
    if not path.exists():
        if not loaded:
            loaded.extend(sets(run))
        began, curves = datetime.now(UTC), train(run, *loaded[0])
        record = {"run": asdict(run), "data": loaded[1], "curves": curves,
                  "command": " ".join(["python", *sys.argv]), "commit": commit(), "versions": versions(),
                  "machine": backend.description(lesson.device), "blas": mg.config.blas_description(),
                  "date": f"{began:%Y-%m-%d %H:%M} UTC"}
        write_text(path, json.dumps(record, ensure_ascii=False) + "\n")
        print(f"{run.name()}: validation {curves['validation error'][-1]:.1f} %, test {curves['test error']:.1f} %, "
              f"{sum(curves['seconds']):.0f} s", flush=True)
    return json.loads(path.read_text("utf-8"))


def tuned(arm, batch, find):
    """The best rate; `find(run)` returns a run's record, or None if it cannot be had, and then so is the answer."""
    here, tried = RATES.index(FIRST_TRIED[batch]), {}
    while True:
        for place in range(max(here - 1, 0), min(here + 2, len(RATES))):
            if place not in tried:
                record = find(Run(arm, batch, RATES[place], TUNED_WITH))
                if record is None:
                    return None
                tried[place] = record["curves"]["validation error"][-1]
        best = min(tried, key=tried.get)
        if best == here:
            return RATES[here]
        here = best


def interpolated(rates, batch):
    """The rate for minibatches of any size, from those tuned at 2 and 64; two digits."""
    share = np.log(batch / 2) / np.log(64 / 2)
    return float(f"{rates[2] ** (1 - share) * rates[64] ** share:.2g}")


if lesson.full:
    folder, arms = writable_folder(Path(lesson.flags.out) / "small_batches"), lesson.flags.only or ARMS
    rates = {(arm, batch): tuned(arm, batch, lambda run: result(run, folder)) for batch in FIRST_TRIED for arm in arms}
    for seed in SEEDS:
        for batch in BATCHES:
            for arm in arms:
                rate = interpolated({tuned_at: rates[arm, tuned_at] for tuned_at in FIRST_TRIED}, batch)
                result(Run(arm, batch, rate, seed), folder)
    lesson.stop("complete")
