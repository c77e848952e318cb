r"""Figure 5 on a desk: weight normalization while the target moves
===============================================================
"""

# %%

import functools
from dataclasses import asdict, dataclass, replace

import numpy as np

from lessons import Lesson, file_name, grid
from lessons.games import Orchard, make
from lessons.q_learning import ARMS, MINATAR, ORCHARD, Settings, Size, Training


def own_flags(parser):
    """For a part of the full run."""
    parser.add_argument("--game", default="orchard", metavar="NAME",
                        help="orchard (the default), or a game of MinAtar, such as minatar/breakout")
    parser.add_argument("--only", nargs="+", choices=ARMS, metavar="NAME",
                        help=f"train these; of {', '.join(map(repr, ARMS))}")


lesson = Lesson(__file__, own_flags)

# %%


@dataclass(frozen=True)
class Plan:
    """Which runs a game gets."""

    settings: Settings
    frames: int  # of each run
    pieces: int  # of a run: entries of its curve
    first_tried: float  # of `RATES`
    tuned_with: tuple  # seeds with which rates are tried
    tested_with: tuple  # seeds for the best rate


@dataclass(frozen=True)
class Run:
    """What distinguishes one run from the others."""

    game: str
    arm: str
    rate: float
    seed: int
    frames: int

    def name(self):
        return file_name(f"{self.game}-{self.frames}-seed{self.seed}-{self.arm}-{self.rate:g}")


SIDE = 5
RATES = (0.00003, 0.0001, 0.0003, 0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0)
LESSONS = replace(ORCHARD, size=Size((), 48), start=300, exploring=1_500, target_every=50)  # lesson 12's settings
SMALL = Plan(LESSONS, 4_000, 20, 0.01, (0, 1, 2), tuple(range(3, 13)))
LARGE = Plan(MINATAR, 1_000_000, 100, 0.0003, (0,), (1, 2, 3, 4, 5))
GAME = lesson.flags.game
PLAN = SMALL if GAME == "orchard" else LARGE

# %%


def new_game(name):
    """By default the orchard of lesson 12."""
    return Orchard(SIDE, SIDE) if name == "orchard" else make(name)


@functools.cache
def solved(discount):
    """Of the orchard: pictures of all states, P, R, in which states games begin, and what the best play earns there."""
    orchard = Orchard(SIDE, SIDE)
    states, (P, R) = orchard.states(), orchard.model()
    V = np.zeros(len(states))
    for _ in range(300):
        V = (R + discount * P @ V).max(axis=0)
    begins = (states[:, 0] == orchard.width // 2) & (states[:, 2] == 1)
    return np.array([orchard.drawn(state) for state in states]), P, R, begins, V[begins].mean()


def share(training):
    """What the network's own policy is worth at the beginning of a game, as a share of what the best one is."""
    discount = training.settings.discount
    pictures, P, R, begins, best = solved(discount)
    policy, states = training.values(training.network, pictures).argmax(axis=1), np.arange(len(pictures))
    V = np.linalg.solve(np.eye(len(states)) - discount * P[policy, states], R[policy, states])
    return V[begins].mean() / best


def score(training):
    """How well it plays: on the orchard its share, elsewhere the mean return of the games since the last score."""
    if isinstance(training.game, Orchard):
        return float(share(training))
    return float(np.mean([total for _, total in training.returns])) if training.returns else np.nan


def train(run, plan):
    """Train one agent, or go on with it; its curves, with an entry for each piece."""
    rng = lesson.rng(4, run.seed)
    training = Training(lambda: new_game(run.game), run.arm, run.rate, plan.settings, rng, lesson.device)
    checkpoint = lesson.checkpoint(run.name(), asdict(run))
    curves = {"score": [], "loss": []}
    if saved := checkpoint.load():
        training.load(saved["training"])
        curves = saved["curves"]
    for _ in lesson.progress(range(len(curves["score"]), plan.pieces), run.name()):
        training.returns.clear()
        training.losses.clear()
        training.run(run.frames // plan.pieces)
        curves["score"].append(score(training))
        curves["loss"].append(float(np.mean(training.losses)) if training.losses else np.nan)
        if checkpoint.due(300):
            checkpoint.save({"training": training.state(), "curves": curves})
    checkpoint.path.unlink(missing_ok=True)  # the result has a file of its own
    return curves


def record(run):
    """What is stored of a run."""
    curves = train(run, PLAN)
    print(f"{run.name()}: {np.nanmean(curves['score']):.3f}, at the end {curves['score'][-1]:.3f}", flush=True)
    return {"settings": asdict(PLAN.settings), "data": "frames of the games that the agent plays", "curves": curves}


def best_rate(arm, plan, find):
    """The rate with the largest mean score, over a run and the seeds for tuning, between two that are tried and worse.

    `find(run)` returns a run's curves, or None if they cannot be had, and then so is the answer.
    """
    here, tried = RATES.index(plan.first_tried), {}
    while True:
        for place in range(max(here - 1, 0), min(here + 2, len(RATES))):
            if place not in tried:
                found = [find(Run(GAME, arm, RATES[place], seed, plan.frames)) for seed in plan.tuned_with]
                if None in found:
                    return None
                tried[place] = np.nanmean([curves["score"] for curves in found])
        best = max(tried, key=tried.get)
        if best == here:
            return RATES[here]
        here = best


if lesson.full:
    arms = lesson.flags.only or ARMS

    def trained(run):
        return grid.result(lesson, run, "figure_5", record)["curves"]

    rates = {arm: best_rate(arm, PLAN, trained) for arm in arms}
    for seed in PLAN.tested_with:
        for arm in arms:
            trained(Run(GAME, arm, rates[arm], seed, PLAN.frames))
    lesson.stop("complete")
