"""13.3 Units that a shortcut ties together

A network with one residual block and no biases computes, for an input x,

    h = relu(stem x),   s = relu(second relu(first h) + h),   output = last s .

The block's shortcut is the identity: entry i of `second …` is added to entry i of h. So unit i of the sum and unit i of
h have to be rescaled by the same factor d_i if the network is to compute the same as before: they are tied. Rescale
these units with the d that makes the sum of the squares of all weights smallest. Leave the units in the block alone.

    balance(stem, first, second, last)
        stem : array (units, inputs)
        first : array (inner, units)
        second : array (units, inner)
        last : array (outputs, units)
        returns the new (stem, first, second, last); no factor is 0 or infinite: each unit has weights on both sides

For example, with one unit of each kind, what comes in has squares 1 + 0 and what goes out 7 + 9:

    balance(np.array([[1.0]]), np.sqrt([[7.0]]), np.array([[0.0]]), np.array([[3.0]]))
    # d = 2: stem [[2]], first [[1.32288]], second [[0]], last [[1.5]]
"""

import numpy as np


def balance(stem, first, second, last):
    """The tied units rescaled by their best factors."""
    # solution
    into = np.sqrt(np.sum(stem**2, axis=1) + np.sum(second**2, axis=1))
    out = np.sqrt(np.sum(first**2, axis=0) + np.sum(last**2, axis=0))
    d = np.sqrt(out / into)
    return stem * d[:, None], first / d, second * d[:, None], last / d
    # end of solution


# %% Laws

from hypothesis import strategies as st

from lessons.exercises import Exercise, agree, hold, parts
from lessons.exercises.cases import SIZES, matrices

exercise = Exercise(
    __file__,
    'lesson 13, "Shortcuts"',
    hints=[
        "Which of the four matrices write into h or into the sum, and which read one of the two?",
        "stem and second write: their rows are multiplied. first and last read: their columns are divided. All by the "
        "same d.",
        "I² is the sum of the squares of row i of both writers, O² of column i of both readers, and d = √(O/I).",
    ],
)
NAMES = ("stem", "first", "second", "last")


@st.composite
def cases(draw):
    """stem and last have no row or column of zeros, so no unit is without weights on a side."""
    units, inner, inputs, outputs = (draw(SIZES) for _ in range(4))
    stem, last = draw(matrices(units, inputs, rows_not_zero=True)), draw(matrices(units, outputs, rows_not_zero=True)).T
    return stem, draw(matrices(inner, units)), draw(matrices(units, inner)), last


def balanced(answer, case):
    came = parts(answer.balance(*(W.copy() for W in case)), *NAMES)
    for name, given, new in zip(NAMES, case, came, strict=True):
        hold(np.shape(new) == given.shape, f"the shape of {name}", np.shape(new), given.shape)
    return [np.asarray(W, dtype=float) for W in came]


def output(stem, first, second, last, x):
    h = np.maximum(stem @ x, 0)
    return last @ np.maximum(second @ np.maximum(first @ h, 0) + h, 0)


def squares(stem, first, second, last):
    return np.sum(stem**2, axis=1) + np.sum(second**2, axis=1), np.sum(first**2, axis=0) + np.sum(last**2, axis=0)


@exercise.law("four matrices come back, each of its shape", cases())
def shapes(answer, case):
    balanced(answer, case)


@exercise.law("the network computes what it computed before", cases())
def function(answer, case):
    for x in np.random.default_rng(0).integers(-8, 9, (3, case[0].shape[1])) / 2:
        agree(f"the output for x = {x}", output(*balanced(answer, case), x), output(*case, x))


@exercise.law("all that comes into a tied unit has the norm of all that goes out", cases())
def equal_norms(answer, case):
    agree("I² beside O²", *squares(*balanced(answer, case)))


@exercise.law("no other factor, for one unit at a time, makes the sum of squares smaller", cases())
def smallest(answer, case):
    here = balanced(answer, case)
    for factor in (0.9, 1.1):
        into, out = squares(*here)
        hold((factor**2 * into + out / factor**2 >= (into + out) * (1 - 1e-9)).all(),
             f"the sum of squares of a unit rescaled by {factor} more", factor**2 * into + out / factor**2,
             f"at least {into + out}")  # fmt: skip


@exercise.law("rescaled by hand first, it comes to the same end", st.tuples(cases(), st.sampled_from([0.25, 4.0])))
def any_start(answer, case):
    (stem, first, second, last), d = case
    elsewhere = stem * d, first / d, second * d, last / d
    for name, a, b in zip(NAMES, balanced(answer, elsewhere), balanced(answer, case[0]), strict=True):
        agree(name, a, b)


@exercise.law("the matrices that were given stay as they are", cases())
def untouched(answer, case):
    given = [W.copy() for W in case]
    answer.balance(*given)
    for name, before, after in zip(NAMES, case, given, strict=True):
        agree(f"{name} that was given", after, before)


RETURN = "return stem * d[:, None], first / d, second * d[:, None], last / d"
exercise.mistake(
    "the tie is missing: the block's last layer and what reads the sum are rescaled, the shortcut brings h as it was.",
    RETURN,
    "return stem, first, second * d[:, None], last / d",
)
exercise.mistake(
    "the tie is missing: h is rescaled, what the block adds to it is not.", RETURN,
    "return stem * d[:, None], first / d, second, last",
)  # fmt: skip
exercise.mistake(
    "second is left as it was: what it writes is added to what has been rescaled.", RETURN,
    "return stem * d[:, None], first / d, second, last / d",
)  # fmt: skip
exercise.mistake(
    "first is left as it was: it reads h, which has been rescaled.", RETURN,
    "return stem * d[:, None], first, second * d[:, None], last / d",
)  # fmt: skip
exercise.mistake("second's weights are missing in the norm of what comes in.", " + np.sum(second**2, axis=1))", ")")
exercise.mistake("first's weights are missing in the norm of what goes out.", "np.sum(first**2, axis=0) + ", "")
exercise.mistake(
    "norms are added up where their squares belong: I² is the sum of all squares that come in.",
    "np.sqrt(np.sum(stem**2, axis=1) + np.sum(second**2, axis=1))",
    "np.sqrt(np.sum(stem**2, axis=1)) + np.sqrt(np.sum(second**2, axis=1))",
    "np.sqrt(np.sum(first**2, axis=0) + np.sum(last**2, axis=0))",
    "np.sqrt(np.sum(first**2, axis=0)) + np.sqrt(np.sum(last**2, axis=0))",
)
exercise.mistake("d is √(I/O): the quotient is upside down.", "out / into", "into / out")
exercise.mistake("d is O/I: the root is missing.", "d = np.sqrt(out / into)", "d = out / into")
