"""3.1 Weight normalization

Write equation 2: each weight vector is w = g v/‖v‖. A layer has n weight vectors of k entries each, one in each row
of v.

    weight_norm(v, g)
        v : array (n, k), no row of it zero
        g : array (n,)
        returns w, array (n, k)

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

from lessons.exercises import Exercise, agree, hold
from lessons.exercises.cases import matrices, vectors

exercise = Exercise(
    __file__,
    "lesson 03, part 1",
    hints=[
        "Compute the length of each row first: an array (n,).",
        "g / length is an array (n,), v is (n, k): NumPy aligns shapes from the right, so one of them needs a new axis.",
        "`(g / length)[:, None]` has the shape (n, 1), which multiplies every row of v by its own number.",
    ],
)


@st.composite
def cases(draw):
    v = draw(matrices(rows_not_zero=True))
    return v, draw(vectors(len(v)))


@exercise.law("w has the shape of v", cases())
def shape(answer, case):
    hold(np.shape(w := answer.weight_norm(*case)) == case[0].shape, "the shape of w", np.shape(w), case[0].shape)


@exercise.law("‖w‖ = |g|, whatever v is", cases())
def length(answer, case):
    v, g = case
    agree("‖w‖, row by row", np.linalg.norm(answer.weight_norm(v, g), axis=1), abs(g))


@exercise.law("w points where v points, and the opposite way if g is negative", cases())
def direction(answer, case):
    v, g = case
    w = answer.weight_norm(v, g)
    agree("w · v, row by row", (w * v).sum(axis=1), g * np.linalg.norm(v, axis=1))


@exercise.law("v twice as long gives the same w", cases())
def scale(answer, case):
    v, g = case
    agree("w", answer.weight_norm(2 * v, g), answer.weight_norm(v, g))


exercise.mistake(
    "the length is taken of the whole matrix; each row has a length of its own.",
    "np.linalg.norm(v, axis=1)",
    "np.linalg.norm(v)",
)
exercise.mistake("it divides by ‖v‖² instead of ‖v‖.", "np.linalg.norm(v, axis=1)", "np.sum(v * v, axis=1)")
exercise.mistake("the division by ‖v‖ is missing.", " / np.linalg.norm(v, axis=1)", "")
exercise.mistake("lengths are taken of the columns: axis=0 sums over rows.", "axis=1))[:, None]", "axis=0))")
exercise.mistake("|g| stands where g belongs: g may be negative.", "(g /", "(abs(g) /")
