"""How the tables of `python -m benchmarks` are measured. Read this first: a benchmark is only as honest as its method.

- Within one run the libraries take turns, so that whatever else the machine does disturbs all of them alike. A turn has
  several steps, of short ones many: in the first the threads of the library before still look out for work, the caches
  are full of its numbers, and its memory has gone back to the system. What is measured is training that goes on.
  (On a machine that others use as well there is no honest number: who needs all cores at the same time, as PyTorch's
  threads do, loses most. The load is printed at the top.)
- Reported are medians, and from where to where the middle 90 % of the steps lie. A ratio is the median over pairs of
  steps from the same round, not the ratio of two medians: a slow drift of the machine cancels.
- Every step is done twice before the clock starts: memory is allocated, caches are full, kernels are chosen.
- All libraries get the same numbers, in float32, and all cores, unless a table says otherwise.
- A peer (the `bench` extra) that is not installed is named and left out.

This file imports neither minigrad nor any of its peers, for `memory` measures each in a process of its own.
"""

import math
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

from benchmarks.engine_overhead import timed


class Size(NamedTuple):
    """How much is measured."""

    name: str
    batch: int  # pictures in a step
    widths: tuple  # of the paper's network
    seconds: float  # for each library in each comparison of whole steps
    rounds: int  # at least
    turn: float  # seconds that a turn lasts at least, if a hundred steps last as long; 0: one step


FULL = Size("full", 100, (96, 192), 20.0, 5, 0.3)
QUICK = Size("quick", 20, (96, 192), 1.0, 3, 0.1)
TINY = Size("tiny", 2, (2, 3), 0.0, 2, 0.0)  # for the tests: that everything can be computed


class Spread(NamedTuple):
    """The median, and the range of the middle 90 %."""

    median: float
    low: float
    high: float


def spread(values):
    """The Spread of some measurements."""
    return Spread(*np.percentile(values, [50, 5, 95]).tolist())


def pictures(batch, size=32):
    """Random pictures (batch, 3, size, size) in float32, and a label from 0 to 9 for each."""
    rng = np.random.default_rng(1)
    return rng.standard_normal((batch, 3, size, size), dtype=np.float32), rng.integers(0, 10, batch)


def made(makers, *arguments):
    """What each of the makers makes, by name; and a sentence for each that lacks its library."""
    found, left_out = {}, []
    for name, make in makers.items():
        try:
            found[name] = make(*arguments)
        except ImportError as error:
            left_out.append(f"{name}: not installed ({error}); left out")
    return found, left_out


def compare(steps, size, share=1.0, turn=None):
    """Time functions against each other.

    Parameters
    ----------
    steps : {name: function without arguments}
    size : Size
    share : float
        Of `size.seconds`, for each of the functions.
    turn : int, optional
        How many steps are done before the next function's turn; by default as many as last `size.turn`, at least 3.

    Returns
    -------
    {name: array of seconds}
        Entry i of each was measured in the same round.
    """
    for step in steps.values():
        step()
    once = [1e-6 * values[0] for values in timed(steps, 1, turn=1).values()]
    turn = turn or (min(max(math.ceil(size.turn / min(once)), 3), 100) if size.turn else 1)
    rounds = int(size.seconds * share * len(steps) / (turn * sum(once)))
    rounds = min(max(rounds, size.rounds), 1000)
    return {name: 1e-6 * np.array(values) for name, values in timed(steps, rounds * turn, turn).items()}


def rows(times, references=("PyTorch",), operations=None):
    """A row for each entry of what `compare` returned: time, rate if `operations` are given, ratios."""
    found = []
    for name, seconds in times.items():
        row = {"": name, "ms a step": spread(1e3 * seconds)}
        if operations:
            row["GFLOP/s"] = operations / float(np.median(seconds)) / 1e9
        for reference in references:
            if reference in times:
                row[f"÷ {reference}"] = spread(seconds / times[reference])
        found.append(row)
    return found


@dataclass
class Table:
    """Rows with the same keys, which are the columns' titles; and what has to be said about them."""

    title: str
    rows: list
    notes: list = field(default_factory=list)

    def __str__(self):
        columns = list(dict.fromkeys(key for row in self.rows for key in row))
        cells = [columns, *([shown(row.get(key)) for key in columns] for row in self.rows)]
        widths = [max(len(line[i]) for line in cells) for i in range(len(columns))]
        lines = [
            line[0].ljust(widths[0]) + "".join(f"  {c:>{w}}" for c, w in zip(line[1:], widths[1:], strict=True))
            for line in cells
        ]
        return "\n".join([self.title, *(f"  {line.rstrip()}" for line in [*lines, *self.notes])])


def shown(value):
    """A table's entry as text."""
    if isinstance(value, Spread):
        return f"{shown(value.median)} ({shown(value.low)} to {shown(value.high)})"
    if isinstance(value, (tuple, list)):
        return "×".join(map(str, value))
    if not isinstance(value, float):
        return "" if value is None else str(value)
    digits = 2 - math.floor(math.log10(abs(value))) if value else 0
    return f"{value:.{min(max(digits, 0), 5)}f}"
