r"""Figure 4 on a desk: a recurrent network, its rates, and clipping
================================================================

The paper's figure 4 shows DRAW on MNIST's digits for 100 epochs: with weight normalization the bound is about five nats
higher at the end, "even without modifying the initialization method and learning rate that were tuned for use with the
normal parameterization". Open this chapter when you want to know whether that is the parameterization's work or the
rate's, and whether a recurrent network with weight normalization still needs its gradients clipped.

Afterwards you can

- say what a learning rate means to Adam in either parameterization, at the start and later;
- tell a lead at one rate from a lead at each arm's best;
- say how often gradients are clipped, and what becomes of the runs if they are not.

Read first: lesson 11. (The chapters on figures 1 and 3 ask the same of other networks.)

Claims checked: "this significantly speeds up convergence of the optimization procedure" (section 5.3, figure 4), as far
as a small network and a few epochs can tell.

Time: quick about 5 s, full about 55 min for each seed.
"""

# %%

import json
import sys
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path

import numpy as np

import minigrad as mg
from lessons import FOLDER, Lesson, commit, file_name, versions, writable_folder, write_text
from lessons.autoencoder import binarized
from lessons.recurrent_autoencoder import ARMS, CLIP, DrawTraining, Size
from minigrad import backend, data

RATES = (0.001, 0.01, 0.003, 0.03)  # in the order in which they are run; the first is that of the implementation


def own_flags(parser):
    """For a part of the full run."""
    parser.add_argument("--only", nargs="+", choices=ARMS, metavar="NAME",
                        help=f"train these; of {', '.join(map(repr, ARMS))}")
    parser.add_argument("--rates", nargs="+", type=float, default=RATES, metavar="RATE",
                        help=f"train at these rates; {', '.join(map(str, RATES))} by default")
    parser.add_argument("--clipping", nargs="+", choices=CLIPPING, default=list(CLIPPING), metavar="NAME",
                        help=f"with gradients clipped or not; of {', '.join(CLIPPING)}, both by default")


CLIPPING = {"clipped": CLIP, "unclipped": None}
SIZE, EPOCHS, BATCH = Size(side=28, steps=10, units=64, latents=16), 5, 100  # small: the results are those of this one
lesson = Lesson(__file__, own_flags)
STORED = FOLDER.parent / "results" / "figure_4"  # the results of the runs, which take hours


@dataclass(frozen=True)
class Run:
    """What distinguishes one run from the others."""

    arm: str  # of `ARMS`
    rate: float
    clipping: str  # of `CLIPPING`
    seed: int
    epochs: int = EPOCHS
    batch: int = BATCH

    def name(self):
        return file_name(f"mnist-seed{self.seed}-{self.epochs}-{self.clipping}-{self.arm}-{self.rate:g}")


def train(run, pictures, test):
    """Train one network; its curves with one entry per epoch."""
    training = DrawTraining(run.arm, SIZE, run.rate, lesson.rng(run.seed), pictures, test, run.batch,
                            CLIPPING[run.clipping], lesson.device)
    for _ in lesson.progress(range(run.epochs), run.name()):
        try:
            with np.errstate(over="ignore", invalid="ignore"):
                training.epoch()
        except FloatingPointError as error:  # a gradient that is not finite: what there is of the curves is kept
            return training.curves | {"ended": str(error)}
    return training.curves


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
        record = {"run": asdict(run), "size": asdict(SIZE), "data": digits.description, "curves": curves,
                  "command": " ".join(["python", *sys.argv]), "commit": commit(), "versions": versions(),
                  "machine": backend.description(lesson.device), "blas": mg.config.blas_description(),
                  "date": f"{began:%Y-%m-%d %H:%M} UTC"}
        write_text(path, json.dumps(record, ensure_ascii=False) + "\n")
        bound = curves["likelihood"][-1] - sum(curves["divergence"][-1]) if curves["likelihood"] else np.nan
        print(f"{run.name()}: {bound:.2f} nats, {sum(curves['seconds']):.0f} s", flush=True)


if lesson.full:
    wanted = [Run(arm, rate, clipping, lesson.seed) for clipping in lesson.flags.clipping
              for rate in lesson.flags.rates for arm in lesson.flags.only or ARMS]
    train_all(wanted, writable_folder(Path(lesson.flags.out) / "figure_4"))
    lesson.stop("complete")
