"""13.1 The factor of a hidden unit

Multiply what comes into a ReLU unit by d > 0, and divide what goes out of it by d: the network computes the same. For
each hidden unit find the d that makes

    (c d I)^p + (O/d)^p

smallest, where I is the p-norm of the weights that come in, ‖w‖_p = (Σ |w|^p)^(1/p), and O that of the weights that go
out. For a unit whose weights on one side are all 0 there is nothing to gain, and d is 1.

    factors(incoming, outgoing, p, c)
        incoming : array (units, inputs), the weights of the layer: row i leads into unit i
        outgoing : array (outputs, units), those of the next layer: column i leads out of unit i
        p : a number, at least 1
        c : float, positive
        returns d for each unit, array (units,)

For example, a unit with I = 5 and O = 20 for p = 2:

    factors(np.array([[3.0, 4.0]]), np.array([[20.0]]), 2, 1.0)     # [2]: both norms become 10
    factors(np.array([[3.0, 4.0]]), np.array([[20.0]]), 2, 4.0)     # [1]: c I = O already
"""

import numpy as np


def factors(incoming, outgoing, p, c):
    """The best factor of each hidden unit."""
    # solution
    into = np.sum(np.abs(incoming) ** p, axis=1) ** (1 / p)
    out = np.sum(np.abs(outgoing) ** p, axis=0) ** (1 / p)
    alive = (into > 0) & (out > 0)
    return np.where(alive, np.sqrt(np.where(alive, out, 1.0) / np.where(alive, c * into, 1.0)), 1.0)
    # end of solution


# %% Laws

from hypothesis import strategies as st

from lessons.exercises import Exercise, agree, hold, numbers
from lessons.exercises.cases import POSITIVE, SIZES, matrices

exercise = Exercise(
    __file__,
    'lesson 13, "The smallest one"',
    hints=[
        "The product of the two terms does not depend on d. A sum of two positive numbers with a given product is "
        "smallest where they are equal.",
        "c d I = O/d. What is d²? Rows of incoming are axis 1, columns of outgoing axis 0.",
        "Where I or O is 0, choose 1 with np.where, and give the division something other than 0.",
    ],
)
POWERS = st.sampled_from([1, 2, 3])


@st.composite
def cases(draw, alive=True):
    """Weights (rows and columns that are not all 0, unless otherwise wished), p and c."""
    units = draw(SIZES)
    incoming = draw(matrices(units, rows_not_zero=alive))
    outgoing = draw(matrices(units, rows_not_zero=alive)).T
    return incoming, outgoing, draw(POWERS), draw(POSITIVE)


def norms(incoming, outgoing, p):
    return [np.array([sum(abs(w) ** p for w in ws) ** (1 / p) for ws in rows]) for rows in (incoming, outgoing.T)]


def objective(incoming, outgoing, p, c):
    into, out = norms(incoming, outgoing, p)
    return (c * into) ** p + out**p


@exercise.law("each hidden unit has a factor", cases())
def shape(answer, case):
    numbers("the factors", answer.factors(*case), (len(case[0]),))


@exercise.law("afterwards c times the incoming norm is the outgoing norm", cases())
def balanced(answer, case):
    incoming, outgoing, p, c = case
    d = numbers("the factors", answer.factors(incoming.copy(), outgoing.copy(), p, c), (len(incoming),))
    into, out = norms(incoming * d[:, None], outgoing / d, p)
    agree("c I after the step, beside O", c * into, out)


@exercise.law("a factor that is a little larger or smaller makes the sum larger", cases())
def smallest(answer, case):
    incoming, outgoing, p, c = case
    d = numbers("the factors", answer.factors(incoming.copy(), outgoing.copy(), p, c), (len(incoming),))
    here = objective(incoming * d[:, None], outgoing / d, p, c)
    for other in (0.9 * d, 1.1 * d):
        there = objective(incoming * other[:, None], outgoing / other, p, c)
        hold((there > here).all(), "the sum at 0.9 d or 1.1 d", there, f"more than {here}")


@exercise.law("factors are positive", cases(alive=False))
def positive(answer, case):
    d = numbers("the factors", answer.factors(*case), (len(case[0]),))
    hold((d > 0).all(), "the factors", d, "positive")


@exercise.law("incoming weights 4 times as large: half the factor", cases())
def stretched(answer, case):
    incoming, outgoing, p, c = case
    agree("the factors", answer.factors(4 * incoming, outgoing.copy(), p, c),
          np.asarray(answer.factors(incoming.copy(), outgoing.copy(), p, c)) / 2)  # fmt: skip


@exercise.law("a unit with only zeros coming in, or going out, keeps its scale", cases(alive=False))
def dead(answer, case):
    incoming, outgoing, p, c = case
    d = numbers("the factors", answer.factors(incoming.copy(), outgoing.copy(), p, c), (len(incoming),))
    zeros = ~incoming.any(axis=1) | ~outgoing.any(axis=0)
    agree("the factors of these units", d[zeros], np.ones(zeros.sum()))


ROOT = "np.sqrt(np.where(alive, out, 1.0) / np.where(alive, c * into, 1.0))"
exercise.mistake("d is the root of O/(cI): the quotient is that of d².", ROOT, ROOT.removeprefix("np.sqrt"))
exercise.mistake(
    "O and I are exchanged: a unit with much going out needs a d above 1.",
    ROOT,
    "np.sqrt(np.where(alive, c * into, 1.0) / np.where(alive, out, 1.0))",
)
exercise.mistake(
    "that is 1/d, with c on the wrong side as well.",
    ROOT,
    "np.sqrt(np.where(alive, into, 1.0) / np.where(alive, c * out, 1.0))",
)
exercise.mistake("c is missing.", "c * into, 1.0", "into, 1.0")
exercise.mistake("c belongs to what comes in, below the line; it stands above.", ROOT,
                 "np.sqrt(np.where(alive, c * out, 1.0) / np.where(alive, into, 1.0))")  # fmt: skip
exercise.mistake("c stands outside the root: d = √(O/(cI)), so it is √c by which d is smaller.", ROOT,
                 "np.sqrt(np.where(alive, out, 1.0) / np.where(alive, into, 1.0)) / c")  # fmt: skip
exercise.mistake(
    "the norms are those for p = 2 whatever p is.",
    "np.sum(np.abs(incoming) ** p, axis=1) ** (1 / p)",
    "np.sqrt(np.sum(incoming**2, axis=1))",
    "np.sum(np.abs(outgoing) ** p, axis=0) ** (1 / p)",
    "np.sqrt(np.sum(outgoing**2, axis=0))",
)
exercise.mistake("the p-th roots are missing: those are I^p and O^p.",
                 "axis=1) ** (1 / p)", "axis=1)", "axis=0) ** (1 / p)", "axis=0)")  # fmt: skip
exercise.mistake("the sums are Σ w^p without the absolute value.",
                 "np.abs(incoming) ** p, axis=1) ** (1 / p)", "incoming**p, axis=1) ** (1 / p)",
                 "np.abs(outgoing) ** p, axis=0) ** (1 / p)", "outgoing**p, axis=0) ** (1 / p)")  # fmt: skip
for unguarded in ("np.sqrt(out / (c * into))", "np.sqrt(out / np.where(into > 0, c * into, 1.0))"):
    exercise.mistake(
        "where all weights of one side are 0 the factor is 0 or infinite; such a unit is to keep its scale, d = 1.",
        f"np.where(alive, {ROOT}, 1.0)",
        unguarded,
    )
exercise.mistake(
    "the sums are over the wrong axis: rows of incoming lead into the units, columns of outgoing out of them.",
    "np.abs(incoming) ** p, axis=1)", "np.abs(incoming) ** p, axis=0)",
    "np.abs(outgoing) ** p, axis=0)", "np.abs(outgoing) ** p, axis=1)",
)  # fmt: skip
