"""6.1 The effective learning rate

A step v ← v - η ∇_v L has the learning rate η. Read as a step of something else, it has another rate. Write the first
two readings of the lesson, for small steps in which g stays the same:

- the step turns w = g v/‖v‖ by Δw = -(rate of w) M_w ∇_w L;
- it turns the direction u = v/‖v‖ by Δu = -(rate of u) M_w ∇_u L, where ∇_u L = g ∇_w L.

M_w is the projection of equation 4, which takes out the part along w. Each row of v is a weight vector of its own, with
its own length in g and its own two rates.

    effective_rates(eta, v, g)
        eta : number, the learning rate η
        v : array (units, inputs), no row of it zero
        g : array (units,)
        returns (rate of w, rate of u), two arrays (units,)

For example, η = 0.5, g = 10 and the row (3, 4):

    effective_rates(0.5, np.array([[3.0, 4.0]]), np.array([10.0]))     # ([2.0], [0.02])
"""

import numpy as np


def effective_rates(eta, v, g):
    """The rate of w and the rate of u = v/‖v‖, row by row."""
    # solution
    of_u = eta / (v * v).sum(axis=1)
    of_w = g**2 * of_u
    return of_w, of_u
    # end of solution


# %% Laws

from hypothesis import strategies as st

from lessons.exercises import Exercise, agree, numbers, parts
from lessons.exercises.cases import POSITIVE, matrices, vectors

exercise = Exercise(
    __file__,
    "lesson 06, part 2",
    hints=[
        "By equation 3, ∇_v L = (g/‖v‖) M_w ∇_w L: one factor g/‖v‖. How much does w turn when v changes a little?",
        "w = g v/‖v‖ brings the factor g/‖v‖ a second time. The direction u is w/g, and ∇_u L is g ∇_w L.",
        "So the rate of w has (g/‖v‖)² in it. In the rate of u both factors g cancel, and ‖v‖² is left: the sum of the "
        "squares of one row.",
    ],
)


@st.composite
def cases(draw):
    v = draw(matrices(columns=st.integers(2, 4), rows_not_zero=True))
    return draw(POSITIVE), v, draw(vectors(len(v), POSITIVE)) * draw(st.sampled_from([1.0, -1.0]))


def measured(case, of_w):
    """The rate of w or of u, from a step so small that c² is below 1e-6: the loss is one entry of w, row by row."""
    eta, v, g = case
    length, small = np.linalg.norm(v, axis=1, keepdims=True), 1e-6
    u = v / length
    grad_w = np.eye(v.shape[1])[abs(v).argmin(axis=1)]
    across = grad_w - u * (u * grad_w).sum(axis=1, keepdims=True)
    moved = v - small * g[:, None] / length * across
    turned = moved / np.linalg.norm(moved, axis=1, keepdims=True) - u
    turned, slope = (g[:, None] * turned, across) if of_w else (turned, g[:, None] * across)
    return -eta / small * (turned * slope).sum(axis=1) / (slope * slope).sum(axis=1)


@exercise.law("there is a rate of w and a rate of u for each row of v", cases(), examples=10)
def shape(answer, case):
    names = "the rate of w", "the rate of u"
    for name, rate in zip(names, parts(answer.effective_rates(*case), *names), strict=True):
        numbers(name, rate, case[2].shape)


# A small step h has c = h |g| / ‖v‖² at most, 64e-6: c² and the rounding of Δu, 1e-16 / 5e-9, are both below 1e-7.


@exercise.law("a small step on v turns u by -(rate of u) M_w ∇_u L", cases(), examples=30)
def of_direction(answer, case):
    agree("the rate of u", answer.effective_rates(*case)[1], measured(case, of_w=False), rtol=1e-6)


@exercise.law("a small step on v turns w by -(rate of w) M_w ∇_w L", cases(), examples=25)
def of_weight(answer, case):
    agree("the rate of w", answer.effective_rates(*case)[0], measured(case, of_w=True), rtol=1e-6)


@exercise.law("a²η and a v have the rates of η and v, for every a > 0", st.tuples(cases(), POSITIVE), examples=10)
def stretch(answer, case):
    (eta, v, g), a = case
    came, wanted = answer.effective_rates(a * a * eta, a * v, g), answer.effective_rates(eta, v, g)
    for name, one, other in zip("wu", came, wanted, strict=True):
        agree(f"the rate of {name}", one, other)


SQUARES = "(v * v).sum(axis=1)"
exercise.mistake("‖v‖ stands where ‖v‖² belongs.", SQUARES, "np.linalg.norm(v, axis=1)")
exercise.mistake(
    "the two come in the wrong order: first the rate of w, then that of u.", "of_w, of_u\n", "of_u, of_w\n"
)
exercise.mistake("g stands in the rate of w where g² belongs.", "g**2", "g")
exercise.mistake("g² is missing from the rate of w.", "g**2 * of_u", "of_u")
exercise.mistake(
    "g/‖v‖ is the factor in the gradient for v; w = g v/‖v‖ brings it once more.",
    "g**2 * of_u",
    "g * eta / np.linalg.norm(v, axis=1)",
)
exercise.mistake(
    "g² belongs in the rate of w only: u = v/‖v‖ does not know g.", "return of_w, of_u", "return of_w, of_w"
)
exercise.mistake(
    "g does not belong in the rate of u: it is in ∇_u L = g ∇_w L already.",
    "return of_w, of_u",
    "return of_w, g * of_u",
)
exercise.mistake(
    "g does not belong in the rate of u: it is in ∇_u L = g ∇_w L already.",
    "return of_w, of_u",
    "return of_w, of_u / g",
)
exercise.mistake(
    "g does not belong in the rate of u: it is in ∇_u L = g ∇_w L already.",
    "return of_w, of_u",
    "return of_w, abs(g) * of_u",
)
WHOLE = "the length is taken of the whole matrix; each row has a length of its own."
exercise.mistake(WHOLE, "sum(axis=1)", "sum()")
exercise.mistake(WHOLE, "sum(axis=1)", "sum() * np.ones(len(v))")
exercise.mistake("lengths are taken of the columns: axis=0 sums over rows.", "sum(axis=1)", "sum(axis=0)")
exercise.mistake(
    "keepdims makes columns of the lengths, (units, 1), which do not fit g, (units,).",
    "sum(axis=1)",
    "sum(axis=1, keepdims=True)",
)
exercise.mistake("η is missing.", "eta / ", "1 / ")
exercise.mistake("it multiplies by ‖v‖², but the rate falls as v grows.", "eta / ", "eta * ")
exercise.mistake("the minus sign stands in Δw and Δu already; the rates are positive.", "eta / ", "-eta / ")
exercise.mistake(
    "both rates have squares in them: g/‖v‖ comes once with the gradient for v, and once more with w = g v/‖v‖.",
    "eta / (v * v).sum(axis=1)",
    "eta / np.linalg.norm(v, axis=1)",
    "g**2",
    "g",
)
exercise.mistake(
    "the rate of u is made of that of w, and has g²/‖v‖² in it: it is η/‖v‖².",
    "return of_w, of_u",
    "return of_w, of_w / (v * v).sum(axis=1)",
)
