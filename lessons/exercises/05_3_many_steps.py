"""5.3 Many steps in the plane

In the plane a right angle leaves two ways to go. Let v always turn left: each step is at a right angle to v, and c
times as long as v is at that moment. The lesson draws the spiral that results. Write how long v is, and by which
angle it has turned, at the beginning and after each step.

In one step v and the step are the legs of a right triangle. So v becomes √(1 + c²) times as long, and turns by the
angle whose tangent is c.

    spiral(norm_0, c)
        norm_0 : float, ‖v_0‖, positive
        c : array (steps,), the relative step of each; none is negative; there may be none
        returns the pair (norm, angle), two arrays (steps + 1,): ‖v_0‖, ‖v_1‖, …, and the angle by which each v has
            turned from v_0, in radians; it begins with 0 and goes on beyond π

For example, a step as long as v makes it √2 times as long and turns it by 45°. After two such steps:

    spiral(2.0, np.array([1.0, 1.0]))     # ([2.0, 2.828, 4.0], [0.0, 0.785, 1.571])
"""

import numpy as np


def spiral(norm_0, c):
    """‖v‖, and the angle by which v has turned, before and after each step."""
    # solution
    growth = np.sqrt(1 + c**2)
    norm = norm_0 * np.cumprod(np.append(1.0, growth))
    angle = np.cumsum(np.append(0.0, np.arctan(c)))
    return norm, angle
    # end of solution


# %% Laws

from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from lessons.exercises import Exercise, agree, numbers, parts
from lessons.exercises.cases import POSITIVE

exercise = Exercise(
    __file__,
    'lesson 05, "A step at a right angle"',
    hints=[
        "Each step multiplies the length by its own √(1 + c²), and adds its own angle to the angle so far.",
        "`np.cumprod` returns the products of the first 1, 2, 3, … entries of an array, `np.cumsum` their sums.",
        "Both arrays have one entry more than c: put 1 before the factors, and 0 before the angles.",
    ],
)
RELATIVE = st.integers(0, 8).map(lambda k: k / 4)
STEPS = arrays(float, st.integers(0, 4), elements=RELATIVE)
MORE_STEPS = arrays(float, st.integers(8, 12), elements=RELATIVE, fill=st.nothing()) | STEPS


def both(answer, case):
    norm, angle = parts(answer.spiral(*case), "norm", "angle")
    shape = (len(case[1]) + 1,)
    return numbers("norm", norm, shape), numbers("angle", angle, shape)


@exercise.law("norm and angle have an entry more than c", st.tuples(POSITIVE, STEPS))
def shapes(answer, case):
    both(answer, case)


@exercise.law("norm begins with ‖v_0‖, angle with 0", st.tuples(POSITIVE, STEPS))
def beginning(answer, case):
    norm, angle = both(answer, case)
    agree("norm[0]", norm[0], case[0])
    agree("angle[0]", angle[0], 0.0)


@exercise.law("‖v'‖² = ‖v‖² + c² ‖v‖² in each step", st.tuples(POSITIVE, STEPS))
def pythagoras(answer, case):
    norm, _ = both(answer, case)
    agree("norm² after each step", norm[1:] ** 2, norm[:-1] ** 2 + (case[1] * norm[:-1]) ** 2)


@exercise.law("the tangent of the angle of a step is c", st.tuples(POSITIVE, STEPS))
def tangent(answer, case):
    agree("the tangent of the angle of each step", np.tan(np.diff(both(answer, case)[1])), case[1])


@exercise.law(
    "norm and angle are those of the path, step by step, also after more than a turn", st.tuples(POSITIVE, MORE_STEPS)
)
def way(answer, case):
    norm, angle = both(answer, case)
    v = np.array([case[0], 0.0])
    places = [v]
    for c in case[1]:
        v = v + c * np.array([-v[1], v[0]])
        places.append(v)
    agree("norm · (cos, sin) of angle", norm[:, None] * np.stack([np.cos(angle), np.sin(angle)], axis=1), places)
    if len(angle) > 1:
        agree("the largest angle", angle.max(), angle[-1])


exercise.mistake("the root is missing: 1 + c² is the growth of ‖v‖².", "np.sqrt(1 + c**2)", "1 + c**2")
exercise.mistake(
    "1 + c would be right if the steps pointed along v; they are at a right angle to it.", "np.sqrt(1 + c**2)", "1 + c"
)
exercise.mistake("c is not squared under the root.", "np.sqrt(1 + c**2)", "np.sqrt(1 + c)")
exercise.mistake(
    "you add up the c²: that is as if each step were compared with ‖v_0‖, but c compares it with v at that moment.",
    "norm_0 * np.cumprod(np.append(1.0, growth))",
    "norm_0 * np.sqrt(1 + np.cumsum(np.append(0.0, c**2)))",
)
exercise.mistake(
    "you add up the steps as if all were c long, not c times the length of v.",
    "norm_0 * np.cumprod(np.append(1.0, growth))",
    "np.sqrt(norm_0**2 + np.cumsum(np.append(0.0, c**2)))",
)
exercise.mistake(
    "each length is that after one step from ‖v_0‖; the factors are to be multiplied up.",
    "np.cumprod(np.append(1.0, growth))",
    "np.append(1.0, growth)",
)
exercise.mistake(
    "the factors √(1 + c²) are added up; they are to be multiplied.",
    "np.cumprod(np.append(1.0, growth))",
    "np.cumsum(np.append(1.0, growth))",
)
exercise.mistake("norm is not multiplied by ‖v_0‖.", "norm_0 * np", "np")
exercise.mistake("you take the root of ‖v_0‖, too; only the growth has one.", "norm_0 * np", "np.sqrt(norm_0) * np")
exercise.mistake(
    "exp(c²/2) is an approximation for small c.", "growth = np.sqrt(1 + c**2)", "growth = np.exp(c**2 / 2)"
)
exercise.mistake("c is the tangent of the angle, not the angle.", "np.arctan(c)", "c")
exercise.mistake("c is the tangent of the angle, not its sine.", "np.arctan(c)", "np.arcsin(c)")
exercise.mistake("c is the tangent of the angle: you need the inverse of the tangent.", "np.arctan(c)", "np.tan(c)")
exercise.mistake("the angle is in degrees; it is to be in radians.", "np.arctan(c)", "np.degrees(np.arctan(c))")
exercise.mistake(
    "the angles are those of single steps; they are to be added up.",
    "np.cumsum(np.append(0.0, np.arctan(c)))",
    "np.append(0.0, np.arctan(c))",
)
exercise.mistake(
    "you take the inverse tangent of the sum; each step has an angle of its own, and the angles add up.",
    "np.cumsum(np.append(0.0, np.arctan(c)))",
    "np.arctan(np.cumsum(np.append(0.0, c)))",
)
exercise.mistake(
    "the angle is negative; a turn to the left counts as positive.",
    "np.cumsum(np.append(0.0, np.arctan(c)))",
    "-np.cumsum(np.append(0.0, np.arctan(c)))",
)
exercise.mistake(
    "the angle jumps by 2π after half a turn; add up the angles of the steps.",
    "return norm, angle",
    "return norm, np.angle(np.exp(1j * angle))",
)
exercise.mistake(
    "norm and angle lack their first entry, for the beginning.", "return norm, angle", "return norm[1:], angle[1:]"
)
exercise.mistake("norm lacks its first entry, ‖v_0‖.", "return norm, angle", "return norm[1:], angle")
exercise.mistake("angle lacks its first entry, 0.", "return norm, angle", "return norm, angle[1:]")
exercise.mistake(
    "you return the end only; what is wanted is every step.", "return norm, angle", "return norm[-1], angle[-1]"
)
exercise.mistake("the order is wrong: norm comes first, then angle.", "return norm, angle", "return angle, norm")
exercise.mistake(
    "you divide c by ‖v‖ once more: c is relative already, and the tangent of the angle.",
    "np.arctan(c)",
    "np.arctan(c / norm[:-1])",
)
exercise.mistake("the factor of the length is c; it is √(1 + c²).", "growth = np.sqrt(1 + c**2)", "growth = c")
