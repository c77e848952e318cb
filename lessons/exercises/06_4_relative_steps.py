"""6.4 The clock

Let the gradient's norm at length 1, G = ‖v‖ ‖∇_v L‖, be the same at every step. Then the relative step
c = η ‖∇_v L‖/‖v‖ falls, since each step, at a right angle to v, makes v longer. Write c at the steps 1, 2, …, `steps`,
if it is c₁ at the first: exactly, not by the lesson's formula for large t, which is off by up to 2.7 %.

    relative_steps(c1, steps)
        c1 : number above 0, the first of them
        steps : int, 1 or more
        returns c₁, c₂, …: array (steps,)

For example, after a first step that is as long as v, ‖v‖² has doubled:

    relative_steps(1.0, 3)     # [1.0, 0.5, 0.4]
"""

import numpy as np


def relative_steps(c1, steps):
    """c at the first `steps` steps, with a constant G."""
    # solution
    c = [c1]
    while len(c) < steps:
        c.append(1 / (1 / c[-1] + c[-1]))
    return np.array(c)
    # end of solution


# %% Laws

from hypothesis import strategies as st

from lessons.exercises import Exercise, agree, numbers
from lessons.exercises.cases import POSITIVE

exercise = Exercise(
    __file__,
    "lesson 06, part 5",
    hints=[
        "In terms of G, c = η G/‖v‖². Only ‖v‖² changes from step to step.",
        "By Pythagoras one step turns ‖v‖² into (1 + c²)‖v‖². So what becomes of c?",
        "c is divided by 1 + c², with the c of that same step. Keep a list, and get each entry from the one before.",
    ],
)

cases = st.tuples(POSITIVE, st.integers(1, 6))


def walked(c1, steps):
    """‖Δv‖/‖v‖ of steps in the plane, at a right angle to v, with η = 1 and a gradient of norm c1/‖v‖."""
    v, came = np.array([1.0, 0.0]), []
    for _ in range(steps):
        step = c1 / (v @ v) * np.array([-v[1], v[0]])
        came.append(np.linalg.norm(step) / np.linalg.norm(v))
        v = v + step
    return np.array(came)


@exercise.law("there is one c for each step, and the first is c₁", cases, examples=20)
def shape(answer, case):
    came = numbers("what is returned", answer.relative_steps(*case), (case[1],))
    agree("the first c", came[0], case[0])


@exercise.law("c is ‖Δv‖/‖v‖ of steps at a right angle to v, with a gradient G/‖v‖ long", cases, examples=30)
def right_angles(answer, case):
    agree("c, step by step", answer.relative_steps(*case), walked(*case))


@exercise.law("from the second step on, 1/c₁ gives what c₁ gives", cases, examples=15)
def symmetric(answer, case):
    c1, steps = case
    came, wanted = answer.relative_steps(1 / c1, steps)[1:], answer.relative_steps(c1, steps)[1:]
    agree("c from the second step on", came, wanted)


@exercise.law("late steps have c = 1/√(2t), whatever c₁ was", st.integers(1, 4).map(float), examples=4)
def late(answer, c1):
    # 1/c² is 2t and a little: (c₁ + 1/c₁)² < 19, and at most ln t: together below 1.3 % at t = 1000
    agree("c at step 1000", answer.relative_steps(c1, 1000)[-1], 1 / np.sqrt(2000), rtol=0.01)


STEP = "1 / (1 / c[-1] + c[-1])"
exercise.mistake("c falls as ‖v‖² grows; you have let it fall as ‖v‖ grows.", STEP, "c[-1] / np.sqrt(1 + c[-1] ** 2)")
exercise.mistake("c never changes here, but v grows with each step.", STEP, "c[-1]")
exercise.mistake(
    "the lengths of v and of the step do not add up: they are at a right angle.", STEP, "c[-1] / (1 + c[-1])"
)
exercise.mistake(
    "the lengths of v and of the step do not add up: they are at a right angle.", STEP, "c[-1] / (1 + c[-1]) ** 2"
)
exercise.mistake("1/c and c add up to the next 1/c, not to the next c.", STEP, "1 / c[-1] + c[-1]")
exercise.mistake("c is squared once too often.", STEP, "c[-1] / (1 + c[-1] ** 2) ** 2")
exercise.mistake("c grows here: ‖v‖² belongs in the denominator.", STEP, "c[-1] * (1 + c[-1] ** 2)")
exercise.mistake(
    "c₁ stands where the c of the latest step belongs: the growth slows down with c.", STEP, "1 / (1 / c[-1] + c1)"
)
exercise.mistake(
    "c₁ stands where the c of the latest step belongs: the growth slows down with c.", STEP, "c[-1] / (1 + c1**2)"
)
exercise.mistake("every c comes from c₁ here; each has to come from the one before it.", STEP, "1 / (1 / c1 + c1)")
exercise.mistake(
    "that is the formula of the lesson, an approximation; get each c from the one before it.",
    STEP,
    "1 / np.sqrt((c1 + 1 / c1) ** 2 + 2 * (len(c) - 1))",
)
exercise.mistake(
    "1/√(2t) is what becomes of c late, if it was neither very small nor very large at first.",
    "np.array(c)",
    "1 / np.sqrt(2 * np.arange(1, steps + 1))",
)
exercise.mistake("these are the angles arctan c, not c itself.", "np.array(c)", "np.arctan(c)")
exercise.mistake(
    "the list begins with c₂: put c₁ in before the first step.",
    "np.array(c)",
    "np.array([*c[1:], 1 / (1 / c[-1] + c[-1])])",
)
exercise.mistake("there is one c too many: c₁ counts.", "< steps", "< steps + 1")
exercise.mistake("there is one c too few.", "np.array(c)", "np.array(c[:-1])")
exercise.mistake("only the last c is returned, not all of them.", "np.array(c)", "c[-1]")
exercise.mistake(
    "the c of all steps are wanted, in this order; yours are turned around.", "np.array(c)", "np.array(c[::-1])"
)
exercise.mistake(
    "that is the formula of the lesson, an approximation; get each c from the one before it.",
    "np.array(c)",
    "1 / np.sqrt((c1 + 1 / c1) ** 2 + 2 * (np.arange(1, steps + 1) - 2))",
)
exercise.mistake(
    "‖v‖² grows by 2c₁² in units of its start here; the square of the step is c², and c falls.",
    "np.array(c)",
    "c1 / np.sqrt(1 + 2 * c1**2 * np.arange(steps))",
)
