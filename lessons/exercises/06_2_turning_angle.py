"""6.2 How far a step turns

A step v ← v - η ∇_v L is at a right angle to v, since ∇_v L is. By which angle does it turn v? Write the third reading
of the lesson, row by row and in radians.

Small angles are to be as precise as large ones: a step with c = η ‖∇_v L‖/‖v‖ = 10⁻⁹ turns v by 10⁻⁹, not by 0.

    turning_angle(v, grad_v, eta)
        v : array (units, inputs), no row of it zero
        grad_v : array (units, inputs), ∇_v L, each row at a right angle to that of v
        eta : number, the learning rate η
        returns the angle for each row, array (units,)

For example, v = (3, 4) has length 5, and so has 0.5 (-8, 6). So the step turns v by 45°, which is π/4:

    turning_angle(np.array([[3.0, 4.0]]), np.array([[-8.0, 6.0]]), 0.5)     # [0.7854]
"""

import numpy as np


def turning_angle(v, grad_v, eta):
    """The angle between v and v - η ∇_v L in radians, row by row."""
    # solution
    c = eta * np.linalg.norm(grad_v, axis=1) / np.linalg.norm(v, axis=1)
    return np.arctan(c)
    # end of solution


# %% Laws

from hypothesis import strategies as st

from lessons.exercises import Exercise, agree, numbers
from lessons.exercises.cases import NUMBERS, POSITIVE, matrices, vectors

exercise = Exercise(
    __file__,
    "lesson 06, part 2",
    hints=[
        "Draw v, the step, and the new v: a triangle with a right angle between v and the step.",
        "In this triangle the step is opposite to the angle that you want, and v is adjacent. Which function of the "
        "angle is opposite over adjacent?",
        "c, the length of the step over that of v, is the tangent. Take norms with axis=1.",
    ],
)


@st.composite
def cases(draw):
    """v, a gradient exactly at a right angle to it, η."""
    v = draw(matrices(columns=st.integers(2, 4), rows_not_zero=True))
    factor = draw(vectors(len(v), NUMBERS))[:, None]
    grad_v, largest, rows = np.zeros_like(v), abs(v).argmax(axis=1), np.arange(len(v))
    other = (largest + 1) % v.shape[1]
    grad_v[rows, largest], grad_v[rows, other] = -v[rows, other], v[rows, largest]
    return v, factor * grad_v, draw(POSITIVE)


@exercise.law("there is an angle for each row of v", cases(), examples=10)
def shape(answer, case):
    numbers("what is returned", answer.turning_angle(*case), (len(case[0]),))


@exercise.law("it is the angle between v and v - η ∇_v L", cases(), examples=30)
def between(answer, case):
    v, grad_v, eta = case
    u, after = (rows / np.linalg.norm(rows, axis=1, keepdims=True) for rows in (v, v - eta * grad_v))
    angle = 2 * np.arctan2(np.linalg.norm(after - u, axis=1), np.linalg.norm(after + u, axis=1))
    agree("the angle, row by row", answer.turning_angle(v, grad_v, eta), angle)


@exercise.law("a tiny step turns v by c, to all digits", cases(), examples=15)
def tiny(answer, case):
    v, grad_v, _ = case
    c = 1e-9 * np.linalg.norm(grad_v, axis=1) / np.linalg.norm(v, axis=1)
    agree("the angle, row by row", answer.turning_angle(v, grad_v, 1e-9), c, atol=0)


@exercise.law("the longest step turns v by no more than a right angle, π/2", cases(), examples=15)
def huge(answer, case):
    v, grad_v, _ = case
    wanted = np.where((grad_v == 0).all(axis=1), 0, np.pi / 2)
    agree("the angle for η = 10¹²", answer.turning_angle(v, grad_v, 1e12), wanted)


C = "c = eta * np.linalg.norm(grad_v, axis=1) / np.linalg.norm(v, axis=1)"
exercise.mistake("that is c, the tangent of the angle.", "np.arctan(c)", "c")
exercise.mistake("that is in degrees, not in radians.", "np.arctan(c)", "np.degrees(np.arctan(c))")
exercise.mistake("c is the tangent of the angle, not its sine.", "np.arctan(c)", "np.arcsin(c)")
exercise.mistake("c is the tangent of the angle, not its sine.", "np.arctan(c)", "np.arcsin(np.minimum(c, 1))")
exercise.mistake("c is the tangent of the angle, not its cosine.", "np.arctan(c)", "np.arccos(c)")
exercise.mistake("that is the tangent of c, but c is the tangent of the angle.", "np.arctan(c)", "np.tan(c)")
exercise.mistake("that is the cosine of the angle.", "np.arctan(c)", "1 / np.sqrt(1 + c**2)")
exercise.mistake("that is the sine of the angle.", "np.arctan(c)", "c / np.sqrt(1 + c**2)")
exercise.mistake(
    "that is the other angle of the triangle: the step is opposite, v is adjacent.", "np.arctan(c)", "np.arctan(1 / c)"
)
exercise.mistake(
    "the new v is the hypotenuse, not the side next to the angle: divide by the length of the old v.",
    "np.arctan(c)",
    "np.arctan(c / np.sqrt(1 + c**2))",
)
exercise.mistake("η is missing.", C, C.replace("eta * ", ""))
exercise.mistake("‖v‖² stands where ‖v‖ belongs: ∇_v L has a 1/‖v‖ in it already.", C, C + " ** 2")
exercise.mistake("it multiplies by ‖v‖ instead of dividing by it.", C, C.replace("/", "*"))
exercise.mistake("it does not divide by ‖v‖.", C, "c = eta * np.linalg.norm(grad_v, axis=1)")
exercise.mistake(
    "squares stand where lengths belong: take the root of both sums.",
    C,
    C.replace("eta *", "eta**2 *").replace("grad_v, axis=1)", "grad_v, axis=1) ** 2") + " ** 2",
)
exercise.mistake(
    "squares stand where lengths belong: take the root of both sums.",
    C,
    C.replace("grad_v, axis=1)", "grad_v, axis=1) ** 2") + " ** 2",
)
exercise.mistake(
    "the lengths are taken of whole matrices; each row has a length of its own.", C, C.replace(", axis=1", "")
)
exercise.mistake("lengths are taken of the columns: axis=0 sums over rows.", C, C.replace("axis=1", "axis=0"))


@exercise.symptom("the arccosine loses small angles: their cosine is rounded to 1.")
def small_angles_are_lost(answer):
    v, grad_v = np.array([[3.0, 4.0]]), np.array([[-8.0, 6.0]])
    right = abs(np.ravel(answer.turning_angle(v, grad_v, 0.25))[0] - np.arctan(0.5)) < 1e-7
    lost = abs(np.ravel(answer.turning_angle(v, grad_v, 1e-9))[0] - 2e-9) > 1e-10
    return right and lost
