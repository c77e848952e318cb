"""3.1 Weight normalization

Write equation 2: each weight vector is w = g v/‖v‖. A layer has several units, each with a weight vector of n entries;
each unit has one row of v, and one entry of g.

    weight_norm(v, g)
        v : array (units, n), no row of it zero
        g : array (units,)
        returns w, array (units, n)

For example, the row (3, 4) has length 5, so with g = 10 it becomes (6, 8):

    weight_norm(np.array([[3.0, 4.0]]), np.array([10.0]))     # [[6.0, 8.0]]
"""

import numpy as np


def weight_norm(v, g):
    """w = g v/‖v‖, row by row."""
    # solution
    return (g / np.linalg.norm(v, axis=1))[:, None] * v
    # end of solution


# %% Laws

from hypothesis import strategies as st

from lessons.exercises import Exercise, agree, numbers
from lessons.exercises.cases import matrices, vectors

exercise = Exercise(
    __file__,
    'lesson 03, "Equation 2"',
    hints=[
        "Compute the length of each row first: an array (units,).",
        "g / length is an array (units,), v is (units, n): NumPy aligns shapes from the right, so one of them needs a "
        "new axis.",
        "`(g / length)[:, None]` has the shape (units, 1), which multiplies every row of v by its own number.",
    ],
)


@st.composite
def cases(draw):
    v = draw(matrices(rows_not_zero=True))
    return v, draw(vectors(len(v)))


@exercise.law("w has the shape of v", cases())
def shape(answer, case):
    numbers("w", answer.weight_norm(*case), case[0].shape)


@exercise.law("‖w‖ = |g|, whatever v is", cases())
def length(answer, case):
    v, g = case
    agree("‖w‖, row by row", np.linalg.norm(answer.weight_norm(v, g), axis=1), abs(g))


@exercise.law("w points where v points, and the opposite way if g is negative", cases())
def direction(answer, case):
    v, g = case
    w = answer.weight_norm(v, g)
    agree("w · v, row by row", np.sum(w * v, axis=1), g * np.linalg.norm(v, axis=1))


@exercise.law("v twice as long gives the same w", cases())
def scale(answer, case):
    v, g = case
    agree("w", answer.weight_norm(2 * v, g), answer.weight_norm(v, g))


@exercise.law("v is left as it was", cases())
def untouched(answer, case):
    v, g = case
    given = v.copy()
    answer.weight_norm(given, g)
    agree("v after the call", given, v)


exercise.mistake(
    "you take one length, of the whole matrix; each row has a length of its own.",
    "np.linalg.norm(v, axis=1)",
    "np.linalg.norm(v)",
)
exercise.mistake("you divide by ‖v‖² instead of ‖v‖.", "np.linalg.norm(v, axis=1)", "np.sum(v * v, axis=1)")
exercise.mistake("the division by ‖v‖ is missing.", " / np.linalg.norm(v, axis=1)", "")
exercise.mistake("you multiply by ‖v‖ where you should divide by it.", "(g / ", "(g * ")
exercise.mistake("g is missing: your w has length 1.", "(g / ", "(1 / ")
exercise.mistake("you divide by g where you should multiply by it.", "(g / ", "(1 / g / ")
exercise.mistake(
    "you take the lengths of the columns: axis=0 sums over the rows. Each row is a weight vector.",
    "axis=1))[:, None]",
    "axis=0))",
)
exercise.mistake("|g| stands where g belongs: g may be negative.", "(g /", "(abs(g) /")
exercise.mistake(
    "g/‖v‖ multiplies columns: without a new axis NumPy pairs its entries with the last axis of v.", "[:, None]", ""
)
exercise.mistake(
    "you add up |v|, not v²: that is another norm. ‖v‖ is the root of the sum of squares.",
    "np.linalg.norm(v, axis=1)",
    "np.abs(v).sum(axis=1)",
)
exercise.mistake(
    "your length is the root of the mean of the squares; ‖v‖ is the root of their sum.",
    "np.linalg.norm(v, axis=1)",
    "np.sqrt(np.mean(v * v, axis=1))",
)
exercise.mistake(
    "you divide each entry by its own absolute value; ‖v‖ is one number for the whole row.",
    "(g / np.linalg.norm(v, axis=1))[:, None] * v",
    "g[:, None] * np.sign(v)",
)
exercise.mistake(
    "‖v‖ divides columns: without a new axis (or keepdims=True) NumPy pairs its entries with the last axis of v.",
    "(g / np.linalg.norm(v, axis=1))[:, None] * v",
    "g[:, None] * v / np.linalg.norm(v, axis=1)",
)
exercise.mistake(
    "you divide by the largest entry; ‖v‖ is the root of the sum of squares.",
    "np.linalg.norm(v, axis=1)",
    "np.abs(v).max(axis=1)",
)
exercise.mistake(
    "you divide by the lengths of the columns: axis=0 sums over the rows. Each row is a weight vector.",
    "(g / np.linalg.norm(v, axis=1))[:, None] * v",
    "g[:, None] * v / np.linalg.norm(v, axis=0)",
)
exercise.mistake(
    "g multiplies columns: without a new axis NumPy pairs its entries with the last axis of v.",
    "(g / np.linalg.norm(v, axis=1))[:, None] * v",
    "g * v / np.linalg.norm(v, axis=1, keepdims=True)",
)


@exercise.symptom("something is added to ‖v‖: for short v it shows. No row of v is zero, so nothing needs it.")
def added(answer):
    lengths = 2.0 ** np.array([0, -10, -20])
    came = [answer.weight_norm(np.array([[length]]), np.array([1.0]))[0, 0] for length in lengths]
    constants = lengths / np.array(came) - lengths
    return constants[0] > 1e-14 and np.ptp(constants) < 1e-3 * constants[0]
