"""5.1 A step at a right angle

The gradient ∇_v L is at a right angle to v. So v and the step -η ∇_v L are the legs of a right triangle, and the new v'
is its hypotenuse:

    c = η ‖∇_v L‖/‖v‖        ‖v'‖ = √(1 + c²) ‖v‖

Write the relative step c and the growth ‖v'‖/‖v‖, for each unit of a layer.

    growth(v, grad_v, eta)
        v : array (units, n), no row of it zero
        grad_v : array (units, n), ∇_v L; each row is at a right angle to the same row of v
        eta : float, the learning rate
        returns the pair (c, ratio), two arrays (units,): the relative step, and ‖v'‖/‖v‖

For example, v = (3, 4) has length 5, and (-8, 6) is at a right angle to it and has length 10. With η = 0.5 the step is
as long as v; so c = 1, and v becomes √2 times as long:

    growth(np.array([[3.0, 4.0]]), np.array([[-8.0, 6.0]]), 0.5)     # ([1.0], [1.41421])
"""

import numpy as np


def growth(v, grad_v, eta):
    """The relative step c and ‖v'‖/‖v‖, unit by unit."""
    # solution
    c = eta * np.linalg.norm(grad_v, axis=1) / np.linalg.norm(v, axis=1)
    return c, np.sqrt(1 + c**2)
    # end of solution


# %% Laws

from hypothesis import strategies as st

from lessons.exercises import Exercise, agree, numbers, parts
from lessons.exercises.cases import NUMBERS, POSITIVE, matrices, vectors

exercise = Exercise(
    __file__,
    'lesson 05, "A step at a right angle"',
    hints=[
        "Both lengths are taken row by row: `np.linalg.norm(..., axis=1)`.",
        "c has no unit: the length of the step, η ‖∇_v L‖, is divided by the length of v.",
        "Pythagoras: ‖v'‖² = ‖v‖² + η² ‖∇_v L‖². Divide by ‖v‖², and take the root.",
    ],
)


@st.composite
def cases(draw):
    """v and a gradient at an exact right angle: pairs of v's entries, turned by 90° and multiplied by numbers."""
    v = draw(matrices(columns=st.sampled_from([2, 4]), rows_not_zero=True))
    pairs = v.reshape(len(v), -1, 2)
    turned = np.stack([-pairs[:, :, 1], pairs[:, :, 0]], axis=2)
    factors = draw(matrices(len(v), pairs.shape[1], elements=NUMBERS))
    return v, (factors[:, :, None] * turned).reshape(v.shape) + 0.0, draw(POSITIVE)  # + 0.0 makes 0 of -0


def both(answer, case):
    c, ratio = parts(answer.growth(*case), "c", "ratio")
    return numbers("c", c, (len(case[0]),)), numbers("‖v'‖/‖v‖", ratio, (len(case[0]),))


@exercise.law("c and ‖v'‖/‖v‖ have a number for each unit", cases())
def shapes(answer, case):
    both(answer, case)


@exercise.law("c times ‖v‖ is the length of the step", cases())
def relative(answer, case):
    v, grad_v, eta = case
    step = np.linalg.norm(eta * grad_v, axis=1)
    agree("c ‖v‖, unit by unit", both(answer, case)[0] * np.linalg.norm(v, axis=1), step)


@exercise.law("v' = v - η ∇_v L is ‖v'‖/‖v‖ times as long as v", cases())
def longer(answer, case):
    v, grad_v, eta = case
    after = np.linalg.norm(v - eta * grad_v, axis=1)
    agree("the ratio times ‖v‖, unit by unit", both(answer, case)[1] * np.linalg.norm(v, axis=1), after)


@exercise.law("without a gradient nothing happens: c = 0, and the ratio is 1", vectors().map(lambda v: v + (v == 0)))
def still(answer, v):
    c, ratio = both(answer, (v[None], np.zeros((1, len(v))), 1.0))
    agree("c", c, [0.0])
    agree("‖v'‖/‖v‖", ratio, [1.0])


@exercise.law("for a v twice as long, whose gradient is half as long, c is a quarter", cases())
def stretched(answer, case):
    v, grad_v, eta = case
    agree("c", both(answer, (2 * v, grad_v / 2, eta))[0], both(answer, case)[0] / 4)


exercise.mistake("the learning rate is missing from c.", "eta * np", "np")
exercise.mistake("η comes in squared: c holds it once.", "eta * np", "eta**2 * np")
exercise.mistake("c is not divided by ‖v‖.", " / np.linalg.norm(v, axis=1)", "")
exercise.mistake(
    "c is divided by ‖v‖², as the effective learning rate is; it is η ‖∇_v L‖/‖v‖.",
    "/ np.linalg.norm(v, axis=1)",
    "/ np.sum(v * v, axis=1)",
)
exercise.mistake("you return c² in place of c.", "return c, ", "return c**2, ")
exercise.mistake(
    "you use the square of the gradient's length in c: the root is missing.",
    "np.linalg.norm(grad_v, axis=1)",
    "np.sum(grad_v**2, axis=1)",
)
exercise.mistake(
    "c is upside down: it is the length of the step over that of v.",
    "eta * np.linalg.norm(grad_v, axis=1) / np.linalg.norm(v, axis=1)",
    "np.linalg.norm(v, axis=1) / (eta * np.linalg.norm(grad_v, axis=1))",
)
exercise.mistake("the root is missing: 1 + c² is the growth of ‖v‖².", "np.sqrt(1 + c**2)", "1 + c**2")
exercise.mistake("c is not squared under the root.", "np.sqrt(1 + c**2)", "np.sqrt(1 + c)")
exercise.mistake(
    "1 + c would be right if the step pointed along v; it is at a right angle to v.", "np.sqrt(1 + c**2)", "1 + c"
)
exercise.mistake("c² is subtracted; v gets longer.", "np.sqrt(1 + c**2)", "np.sqrt(1 - c**2)")
exercise.mistake("1 + c²/2 is an approximation for small c.", "np.sqrt(1 + c**2)", "1 + c**2 / 2")
exercise.mistake(
    "you return the growth less 1; the ratio of two equal lengths is 1.", "np.sqrt(1 + c**2)", "np.sqrt(1 + c**2) - 1"
)
exercise.mistake(
    "you return the new length ‖v'‖; divide it by ‖v‖.",
    "np.sqrt(1 + c**2)",
    "np.sqrt(1 + c**2) * np.linalg.norm(v, axis=1)",
)
exercise.mistake("c is squared twice under the root.", "np.sqrt(1 + c**2)", "np.sqrt(1 + c**4)")
exercise.mistake(
    "you take one length, of the whole matrix; each unit has a length of its own.",
    "np.linalg.norm(grad_v, axis=1) / np.linalg.norm(v, axis=1)",
    "np.linalg.norm(grad_v) / np.linalg.norm(v)",
)
exercise.mistake(
    "you take the lengths of the columns; each row is a weight vector.",
    "np.linalg.norm(grad_v, axis=1) / np.linalg.norm(v, axis=1)",
    "np.linalg.norm(grad_v, axis=0) / np.linalg.norm(v, axis=0)",
)
exercise.mistake(
    "the order is wrong: c comes first, then the ratio.", "return c, np.sqrt(1 + c**2)", "return np.sqrt(1 + c**2), c"
)
exercise.mistake(
    "you divide the step by the new length ‖v'‖; c compares it with ‖v‖, before the step.",
    "return c, ",
    "return c / np.sqrt(1 + c**2), ",
)
exercise.mistake(
    "your c is the growth less 1; it is the length of the step over that of v.",
    "return c, ",
    "return np.sqrt(1 + c**2) - 1, ",
)
exercise.mistake(
    "your c is a ratio of squares of lengths; take the lengths.",
    "eta * np.linalg.norm(grad_v, axis=1) / np.linalg.norm(v, axis=1)",
    "eta * np.sum(grad_v**2, axis=1) / np.sum(v**2, axis=1)",
)
exercise.mistake("η is not squared under the root: c² holds η².", "np.sqrt(1 + c**2)", "np.sqrt(1 + c**2 / eta)")
exercise.mistake(
    "c still has the axis that keepdims=True has kept; its shape is to be (units,).",
    "return c, np.sqrt(1 + c**2)",
    "return c[:, None], np.sqrt(1 + c[:, None] ** 2)",
)
exercise.mistake(
    "you take one length, of the whole matrix; each unit has a length of its own.",
    "np.linalg.norm(grad_v, axis=1) / np.linalg.norm(v, axis=1)",
    "np.linalg.norm(grad_v) / np.linalg.norm(v) * np.ones(len(v))",
)
