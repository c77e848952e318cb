"""3.2 Equation 3

Backpropagation has found ∇_w L, the gradient of the loss for the weights. Write equation 3, which turns it into the
gradients of the two parameters:

    ∇_g L = (∇_w L · v)/‖v‖
    ∇_v L = (g/‖v‖) ∇_w L - (g ∇_g L/‖v‖²) v

A layer has several units, each with a weight vector of n entries; each unit has one row of v and of ∇_w L, and one
entry of g.

    gradients(grad_w, v, g)
        grad_w : array (units, n), ∇_w L
        v : array (units, n), no row of it zero
        g : array (units,)
        returns the pair (grad_v, grad_g): ∇_v L, array (units, n), and ∇_g L, array (units,)

For example, one unit with v = (3, 4), whose length is 5, g = 10, and ∇_w L = (1, 0):

    gradients(np.array([[1.0, 0.0]]), np.array([[3.0, 4.0]]), np.array([10.0]))
    # ([[1.28, -0.96]], [0.6])
"""

import numpy as np


def gradients(grad_w, v, g):
    """∇_v L and ∇_g L from ∇_w L, row by row."""
    # solution
    norm = np.linalg.norm(v, axis=1)
    grad_g = np.sum(grad_w * v, axis=1) / norm
    grad_v = (g / norm)[:, None] * grad_w - (g * grad_g / norm**2)[:, None] * v
    return grad_v, grad_g
    # end of solution


# %% Laws

from hypothesis import strategies as st

from lessons.exercises import Exercise, agree, numbers, parts
from lessons.exercises.cases import matrices, vectors

exercise = Exercise(
    __file__,
    'lesson 03, "Equation 3, by autograd and by hand"',
    hints=[
        "Begin with ‖v‖ of each row, an array (units,). Then ∇_g L, since ∇_v L needs it.",
        "∇_w L · v is a sum over the entries of each row: multiply entry by entry, and sum over axis 1.",
        "g / ‖v‖ and g ∇_g L / ‖v‖² are arrays (units,). To multiply the rows of an array (units, n) they need a new "
        "axis, as in 3.1: `(...)[:, None]`.",
    ],
)


@st.composite
def cases(draw):
    v = draw(matrices(st.integers(1, 3), st.integers(1, 3), rows_not_zero=True))
    return draw(matrices(*v.shape)), v, draw(vectors(len(v)))


def both(answer, case):
    """∇_v L and ∇_g L as the answer has them, as arrays."""
    grad_v, grad_g = parts(answer.gradients(*case), "grad_v", "grad_g")
    return numbers("∇_v L", grad_v, case[1].shape), numbers("∇_g L", grad_g, case[2].shape)


def slopes(f, x):
    """The gradient of f by the complex step: its error is a rounding, since nothing is subtracted."""
    found = np.empty(x.shape)
    for entry in np.ndindex(x.shape):
        moved = x.astype(complex)
        moved[entry] += 1e-30j
        found[entry] = f(moved).imag / 1e-30
    return found


def loss(grad_w, v, g):
    """A loss whose gradient for the weights is grad_w wherever w is: the sum of grad_w times w."""
    return np.sum(grad_w * (g / np.sqrt(np.sum(v * v, axis=1)))[:, None] * v)


@exercise.law("∇_v L has the shape of v, ∇_g L that of g", cases())
def shapes(answer, case):
    both(answer, case)


@exercise.law("∇_v L is at a right angle to v", cases())
def right_angle(answer, case):
    grad_v, _ = both(answer, case)
    agree("∇_v L · v, row by row", np.sum(grad_v * case[1], axis=1), np.zeros(len(case[1])))


@exercise.law("∇_g L is the slope of L as g changes", cases())
def slope_g(answer, case):
    grad_w, v, g = case
    agree("∇_g L", both(answer, case)[1], slopes(lambda moved: loss(grad_w, v, moved), g))


@exercise.law("∇_v L is the slope of L as v changes, entry by entry", cases())
def slope_v(answer, case):
    grad_w, v, g = case
    agree("∇_v L", both(answer, case)[0], slopes(lambda moved: loss(grad_w, moved, g), v))


@exercise.law("a v twice as long has half the gradient, and g the same", cases())
def stretched(answer, case):
    grad_w, v, g = case
    grad_v, grad_g = both(answer, (grad_w, 2 * v, g))
    half, same = both(answer, case)
    agree("∇_v L at 2v", grad_v, half / 2)
    agree("∇_g L at 2v", grad_g, same)


exercise.mistake(
    "the second term of ∇_v L is missing: nothing takes out the part along v.",
    " - (g * grad_g / norm**2)[:, None] * v",
    "",
)
exercise.mistake(
    "the second term of ∇_v L is added; it is to be subtracted.", "grad_w - (g * grad_g", "grad_w + (g * grad_g"
)
exercise.mistake("the second term of ∇_v L is divided by ‖v‖, not by ‖v‖².", "norm**2", "norm")
exercise.mistake(
    "the second term of ∇_v L is divided by one ‖v‖ too many: ∇_g L already holds one of the three.",
    "norm**2",
    "norm**3",
)
exercise.mistake(
    "the second term of ∇_v L is not divided by ‖v‖².", "(g * grad_g / norm**2)[:, None]", "(g * grad_g)[:, None]"
)
exercise.mistake(
    "∇_g L is not divided by ‖v‖ (and ∇_v L is wrong with it).",
    "np.sum(grad_w * v, axis=1) / norm",
    "np.sum(grad_w * v, axis=1)",
)
exercise.mistake(
    "∇_g L is divided by ‖v‖², which should be ‖v‖ (and ∇_v L is wrong with it).",
    "np.sum(grad_w * v, axis=1) / norm",
    "np.sum(grad_w * v, axis=1) / norm**2",
)
exercise.mistake(
    "∇_g L, as you return it, is not divided by ‖v‖.", "return grad_v, grad_g", "return grad_v, grad_g * norm"
)
exercise.mistake("the first term of ∇_v L lacks its division by ‖v‖.", "(g / norm)[:, None]", "g[:, None]")
exercise.mistake("the first term of ∇_v L lacks its factor g.", "(g / norm)", "(1 / norm)")
exercise.mistake("the second term of ∇_v L lacks its factor g.", "(g * grad_g", "(grad_g")
exercise.mistake("both terms of ∇_v L lack their factor g.", "(g / norm)", "(1 / norm)", "(g * grad_g", "(grad_g")
exercise.mistake("the first term of ∇_v L lacks its factor g/‖v‖.", "(g / norm)[:, None] * grad_w", "grad_w")
exercise.mistake("the second term of ∇_v L lacks ∇_g L.", "(g * grad_g / norm**2)", "(g / norm**2)")
exercise.mistake(
    "you multiply ∇_w L by w, not by v: ∇_g L then holds a factor g too many.",
    "np.sum(grad_w * v, axis=1) / norm",
    "np.sum(grad_w * v, axis=1) * g / norm**2",
)
exercise.mistake(
    "you take one length, of the whole matrix; each row has a length of its own.",
    "np.linalg.norm(v, axis=1)",
    "np.linalg.norm(v)",
)
exercise.mistake(
    "‖v‖ is the root of the sum of squares; yours lacks the root.", "np.linalg.norm(v, axis=1)", "np.sum(v * v, axis=1)"
)
exercise.mistake(
    "∇_w L · v is a sum over the entries of a row; you take their mean.", "np.sum(grad_w * v", "np.mean(grad_w * v"
)
exercise.mistake(
    "∇_w L · v is to be a sum for each row; you add up all rows.", "np.sum(grad_w * v, axis=1)", "np.sum(grad_w * v)"
)
exercise.mistake("the order is wrong: ∇_v L comes first, then ∇_g L.", "return grad_v, grad_g", "return grad_g, grad_v")
exercise.mistake(
    "∇_g L still has the axis that keepdims=True has kept; its shape is to be (units,).",
    "return grad_v, grad_g",
    "return grad_v, grad_g[:, None]",
)
exercise.mistake(
    "the factor g/‖v‖ of ∇_v L is missing from both terms.",
    "(g / norm)[:, None] * grad_w - (g * grad_g / norm**2)[:, None] * v",
    "grad_w - (grad_g / norm)[:, None] * v",
)
exercise.mistake(
    "the division by ‖v‖ is missing from both terms of ∇_v L.",
    "(g / norm)[:, None] * grad_w - (g * grad_g / norm**2)[:, None] * v",
    "g[:, None] * grad_w - (g * grad_g / norm)[:, None] * v",
)
exercise.mistake(
    "∇_g L is the product of ∇_w L with v/‖v‖, not the length of ∇_w L.",
    "np.sum(grad_w * v, axis=1) / norm",
    "np.linalg.norm(grad_w, axis=1)",
)
exercise.mistake(
    "you sum over axis 0, the units; the entries of a weight vector are axis 1.",
    "np.linalg.norm(v, axis=1)",
    "np.linalg.norm(v, axis=0)",
    "np.sum(grad_w * v, axis=1)",
    "np.sum(grad_w * v, axis=0)",
    "(g / norm)[:, None] * grad_w - (g * grad_g / norm**2)[:, None] * v",
    "0 * v",
)
exercise.mistake(
    "g, ‖v‖ and ∇_g L multiply columns: to multiply rows they need a new axis, `[:, None]`.",
    "(g / norm)[:, None] * grad_w - (g * grad_g / norm**2)[:, None] * v",
    "(g / norm) * grad_w - (g * grad_g / norm**2) * v",
)
exercise.mistake(
    "∇_w L stands in the second term of ∇_v L where v belongs.",
    "(g * grad_g / norm**2)[:, None] * v",
    "(g * grad_g / norm**2)[:, None] * grad_w",
)
exercise.mistake(
    "you multiply ∇_w L by w, not by v/‖v‖: ∇_g L then holds a factor g too many.",
    "np.sum(grad_w * v, axis=1) / norm",
    "np.sum(grad_w * v, axis=1) * g / norm",
)
