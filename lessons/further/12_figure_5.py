r"""Figure 5 on a desk: weight normalization while the target moves
===============================================================
"""

# %%

import functools
from dataclasses import asdict, dataclass, replace

import matplotlib.pyplot as plt
import numpy as np

import minigrad as mg
import wn
from lessons import COLOURS, Lesson, file_name, grid
from lessons.games import Orchard, make
from lessons.q_learning import ARMS, MINATAR, ORCHARD, Size, Training

RATES = (0.001, 0.003, 0.01, 0.03)


def own_flags(parser):
    """For a part of the full run."""
    parser.add_argument("--game", default="orchard", metavar="NAME",
                        help="orchard (the default), or a game of MinAtar, such as minatar/breakout")
    parser.add_argument("--only", nargs="+", choices=ARMS, metavar="NAME",
                        help=f"train these; of {', '.join(map(repr, ARMS))}")


lesson = Lesson(__file__, own_flags)

# %%


@dataclass(frozen=True)
class Run:
    """What distinguishes one run from the others."""

    game: str
    arm: str  # of `ARMS`
    rate: float
    seed: int
    frames: int

    def name(self):
        return file_name(f"{self.game}-{self.frames}-seed{self.seed}-{self.arm}-{self.rate:g}")


@dataclass(frozen=True)
class Plan:
    """Which runs a game gets."""

    settings: object
    frames: int
    rates: tuple
    tuning: tuple  # seeds with which every rate is tried
    testing: tuple  # seeds for the best rate of each arm
    pieces: int = 20  # entries of a curve


ORCHARD_PLAN = Plan(ORCHARD, 12_000, RATES, (0, 1, 2), tuple(range(3, 13)))
MINATAR_PLAN = Plan(MINATAR, 1_000_000, (0.0001, 0.0003, 0.001), (0,), (1, 2, 3, 4, 5))


def plan(game):
    return ORCHARD_PLAN if game == "orchard" else MINATAR_PLAN


@functools.cache
def solved(orchard, discount):
    """What is needed to say what a policy is worth: frames of all states, P, R, and which states a game begins with."""
