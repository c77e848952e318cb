r"""How much of the speed is weight normalization?
================================================

Time: quick about 10 s, full about 1 h.
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
from lessons import Lesson, commit, file_name, versions, writable_folder, write_text
from minigrad import backend, data, nn, optim
from minigrad.nn import functional as F

VARIATIONS = ["as in the paper", "whitening with 0.1", "dense layer g = 1, b = 0", "mean subtracted"]
RATES = (0.0003, 0.001, 0.003, 0.01)


def own_flags(parser):
    """For a part of the full run."""
    parser.add_argument("--only", nargs="+", choices=VARIATIONS, metavar="NAME",
                        help=f"train these and stop; of {', '.join(map(repr, VARIATIONS))}")


lesson = Lesson(__file__, own_flags)


@dataclass(frozen=True)
class Size:
    """What is the same in all runs of the experiment."""

    widths: tuple  # channels of the first three layers, and of all that follow
    train: int  # pictures
    test: int
    batch: int
    epochs: int
    noise: float = 0.15  # standard deviation of the noise that is added to pictures
    dropout: float = 0.1


@dataclass(frozen=True)
class Run:
    """What distinguishes one run from the others."""

    parameterization: str  # "normal" or "weight norm"
    rate: float
    seed: int
    variation: str = "as in the paper"

    def name(self):
        return file_name(f"{lesson.data}-seed{self.seed}-{self.variation}-{self.parameterization}-{self.rate:g}")


EXPERIMENT = Size(widths=(16, 32), train=10_000, test=2_000, batch=50, epochs=5)
TINY = Size(widths=(8, 16), train=1_000, test=500, batch=50, epochs=2)

# %%
# One run
# -------


def network(run, size, rng):
    """Table 1 with every v drawn from N(0, 0.05²), weight-normalized, not initialized yet."""
    subtracts = run.variation == "mean subtracted"

    def followed(layer, channels):
        return [layer, wn.MeanOnlyBatchNorm(channels)] if subtracts else [layer]

    def conv(inputs, outputs, kernel, padding=0):
        layer = nn.Conv2d(inputs, outputs, kernel, padding=padding, bias=not subtracts)
        return [*followed(layer, outputs), nn.LeakyReLU(0.1)]

    a, b = size.widths
    model = nn.Sequential(
        nn.GaussianNoise(size.noise, rng),
        *conv(3, a, 3, padding=1), *conv(a, a, 3, padding=1), *conv(a, a, 3, padding=1),
        nn.MaxPool2d(2), nn.Dropout(size.dropout, rng),
        *conv(a, b, 3, padding=1), *conv(b, b, 3, padding=1), *conv(b, b, 3, padding=1),
        nn.MaxPool2d(2), nn.Dropout(size.dropout, rng),
        *conv(b, b, 3), *conv(b, b, 1), *conv(b, b, 1),
        nn.GlobalAvgPool2d(), *followed(nn.Linear(b, 10, bias=not subtracts), 10),
    )
    for layer in model:
        if isinstance(layer, (nn.Conv2d, nn.Linear)):
            layer.weight.data = rng.normal(0, 0.05, layer.weight.shape).astype(np.float32)
    return wn.apply_weight_norm(model)


# %%


def initialized(run, size, start):
    """The run's network at the starting point that it shares with all runs of its seed and variation."""
    model = network(run, size, lesson.rng(run.seed, 0))
    wn.data_dependent_init(model, start)
    if run.variation == "dense layer g = 1, b = 0":
        model[-1].weight_g.data = np.ones_like(model[-1].weight_g.data)
        model[-1].bias.data = np.zeros_like(model[-1].bias.data)
    if run.parameterization == "normal":
        wn.remove_weight_norm(model)
    return model.to(lesson.device)


def test_error(model, test_set):
    """The share of test pictures that the model gets wrong, in percent."""
    model.eval()
    with mg.no_grad():
        wrong = sum(int((model(x).data.argmax(axis=1) != y).sum()) for x, y in data.batches(test_set, 200))
    model.train()
    return 100 * wrong / len(test_set[1])


def train(run, size, train_set, test_set):
    """Train one network with Adam at a constant rate; its curves, with one entry per epoch."""
    model, orders = initialized(run, size, train_set[0][:500]), lesson.rng(run.seed, 1)
    optimizer = optim.Adam(model.parameters(), lr=run.rate)
    curves = {"training error": [], "test error": [], "seconds": [], "wrong by step": []}
    for _ in lesson.progress(range(size.epochs), run.name()):
        wrong, started = [], time.process_time()
        for x, y in data.batches(train_set, size.batch, orders):
            optimizer.zero_grad()
            logits = model(mg.tensor(x, device=lesson.device))
            F.cross_entropy(logits, y).backward()
            optimizer.step()
            wrong.append(int((logits.data.argmax(axis=1) != y).sum()))
        curves["seconds"].append(round(time.process_time() - started, 3))  # of computing, however busy the machine is
        curves["training error"].append(100 * sum(wrong) / len(train_set[1]))
        curves["wrong by step"] += wrong
        curves["test error"].append(test_error(model, test_set))
    return curves


# %%
# Pictures
# --------


def whitened(pictures, size, eps):
    """(training pictures, labels) and (test pictures, labels), ZCA-whitened with the statistics of all there are."""
    zca = data.zca_cached(data.scale_pixels(pictures.train_images), epsilon=eps)
    train_x = zca(data.scale_pixels(pictures.train_images[: size.train]))
    test_x = zca(data.scale_pixels(pictures.test_images[: size.test]))
    return (train_x, pictures.train_labels[: size.train]), (test_x, pictures.test_labels[: size.test])


# %%
# The full run
# ------------

# The rates at which the three variations run: each parameterization's best of the grid, over the seeds 0 to 2.
BEST = {"normal": 0.003, "weight norm": 0.003}
PARAMETERIZATIONS = list(BEST)


def plan(seed):
    """All runs of one seed: the grid, then each variation at the best rates."""
    runs = [Run(p, rate, seed) for rate in RATES for p in PARAMETERIZATIONS]
    return runs + [Run(p, BEST[p], seed, variation) for variation in VARIATIONS[1:] for p in PARAMETERIZATIONS]


def train_all(runs, pictures, folder):
    """Train what has no file in the folder yet, each run into a file of its own."""
    sets = {}  # by eps
    for run in runs:
        path = folder / f"{run.name()}.json"
        if path.exists() and not lesson.flags.fresh:
            continue
        eps = 0.1 if run.variation == "whitening with 0.1" else 1e-5
        if eps not in sets:
            sets[eps] = whitened(pictures, EXPERIMENT, eps)
        began, curves = datetime.now(UTC), train(run, EXPERIMENT, *sets[eps])
        record = {"run": asdict(run), "size": asdict(EXPERIMENT), "data": pictures.description, "curves": curves,
                  "command": " ".join(["python", *sys.argv]), "commit": commit(), "versions": versions(),
                  "machine": backend.description(lesson.device), "blas": mg.config.blas_description(),
                  "date": f"{began:%Y-%m-%d %H:%M} UTC"}
        write_text(path, json.dumps(record, ensure_ascii=False) + "\n")
        print(f"{run.name()}: training error {curves['training error'][-1]:.1f} %, test error "
              f"{curves['test error'][-1]:.1f} %, {sum(curves['seconds']):.0f} s")


if lesson.full:
    found = data.load_cifar10() if lesson.data == "cifar10" else data.synthetic_pictures(10_000, 2_000, lesson.seed)
    wanted = [run for run in plan(lesson.seed) if not lesson.flags.only or run.variation in lesson.flags.only]
    train_all(wanted, found, writable_folder(Path(lesson.flags.out) / "headline"))
    if lesson.flags.only:
        lesson.stop("complete")

# %%
lesson.finish()
