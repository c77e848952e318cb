"""6.5 A schedule that undoes the growth

Steps of gradient descent on v make v longer, and so the rate η/‖v‖², at which the direction u = v/‖v‖ learns, falls.
Choose the learning rate of each step so that η/‖v‖² stays what it is at the first step. Let v grow: do not change its
length, change η.

    descend(v, gradient, eta, steps)
        v : array (n,), where to start; it is not changed
        gradient : function of v that returns ∇_v L, array (n,), at a right angle to v
        eta : number, the learning rate of the first step
        steps : int, how many steps v ← v - η ∇_v L, 1 or more
        returns (v after the last step, the learning rate of each step): arrays (n,) and (steps,)

For example, v = (1, 0), and a gradient that is v turned by 90° and divided by ‖v‖². Each step doubles ‖v‖²:

    descend(np.array([1.0, 0.0]), lambda v: np.array([-v[1], v[0]]) / (v @ v), 1.0, 3)
    # ([-2.0, -2.0], [1.0, 2.0, 4.0])
"""

import numpy as np


def descend(v, gradient, eta, steps):
    """The last v, and the learning rates that keep η/‖v‖² constant."""
    # solution
    rates, square = [], v @ v
    for _ in range(steps):
        rates.append(eta * (v @ v) / square)
        v = v - rates[-1] * gradient(v)
    return v, np.array(rates)
    # end of solution


# %% Laws

from hypothesis import strategies as st

from lessons.exercises import Exercise, agree, hold, numbers, parts
from lessons.exercises.cases import vectors

exercise = Exercise(
    __file__,
    "lesson 06, parts 3 and 5",
    hints=[
        "Before each step, compare ‖v‖² with what it was at the start.",
        "If ‖v‖² is twice what it was at the start, then η has to be twice the first η.",
        "Remember the first ‖v‖² before the loop. In the loop, compute the rate from the v of that moment, note it, "
        "and only then take the step.",
    ],
)

whole = st.integers(-4, 4).map(float)


def of_loss(p):
    """The gradient of the loss p · v/‖v‖, as a function whose name says so."""

    def gradient(v):
        u = v / np.linalg.norm(v)
        return (p - u * (u @ p)) / np.linalg.norm(v)

    gradient.__name__ = f"∇ of {p.tolist()} · v/‖v‖"
    return gradient


@st.composite
def cases(draw):
    """v, a gradient, η and steps, such that no step is longer than v."""
    v, p = draw(vectors(n := draw(st.integers(2, 3)), whole)), draw(vectors(n, st.sampled_from([0.0, 0.5, -0.5])))
    v[0], p[-1] = v[0] or 2.0, p[-1] or 0.5
    return v, of_loss(p), draw(st.sampled_from([1.0, 0.5])), draw(st.integers(1, 4))


def tried(answer, case):
    """What the answer returns, if it is of the right kind."""
    v, gradient, eta, steps = case
    last, rates = parts(answer.descend(v.copy(), gradient, eta, steps), "the last v", "the learning rates")
    return numbers("the last v", last, v.shape), numbers("the learning rates", rates, (steps,))


@exercise.law(
    "it returns a v and a learning rate for each step, and leaves the v that it was given alone", cases(), examples=10
)
def shape(answer, case):
    tried(answer, case)
    v, gradient, eta, steps = case
    answer.descend(given := v.copy(), gradient, eta, steps)
    hold(np.array_equal(given, v), "the v that it was given, afterwards", given, v)


# Rounding grows by a factor of the size of 1 + c in a step, at most 2: 2⁴ times 1e-16.


@exercise.law("η/‖v‖² is the same at every step", cases(), examples=30)
def constant(answer, case):
    v, gradient, eta, _ = case
    _, rates = tried(answer, case)
    came, wanted = [], eta / (v @ v)
    for rate in rates:
        came.append(rate / (v @ v))
        v = v - rate * gradient(v)
    agree("η/‖v‖², step by step", came, np.full(len(rates), wanted))


@exercise.law("each step is v ← v - η ∇_v L with the rate that it returns", cases(), examples=20)
def plain_steps(answer, case):
    v, gradient, _, _ = case
    last, rates = tried(answer, case)
    for rate in rates:
        v = v - rate * gradient(v)
    agree("v after the last step", last, v)


@exercise.law(
    "v points where it would if it got its first length back after each step, with a constant η", cases(), examples=15
)
def as_on_the_sphere(answer, case):
    v, gradient, eta, steps = case
    last, length = tried(answer, case)[0], np.linalg.norm(v)
    for _ in range(steps):
        v = v - eta * gradient(v)
        v = length * v / np.linalg.norm(v)
    agree("the direction of the last v", last / np.linalg.norm(last), v / length)


RATE = "eta * (v @ v) / square"
LOOP = "        rates.append(eta * (v @ v) / square)\n        v = v - rates[-1] * gradient(v)\n"
exercise.mistake("η is constant here, so that η/‖v‖² falls as v grows.", RATE, "eta")
exercise.mistake("the rate follows ‖v‖; it has to follow ‖v‖².", RATE, "eta * np.sqrt(v @ v / square)")
exercise.mistake(
    "the rate falls as v grows, which makes it worse: it has to rise as ‖v‖² does.", RATE, "eta * square / (v @ v)"
)
exercise.mistake("the rate falls as v grows, which makes it worse: it has to rise as ‖v‖² does.", RATE, "eta / (v @ v)")
exercise.mistake(
    "the rate of the first step has to be η: compare ‖v‖² with what it was at the start.", RATE, "eta * (v @ v)"
)
exercise.mistake(
    "the growth is counted again at every step: take the growth since the start times the first η.",
    RATE,
    "(rates[-1] if rates else eta) * (v @ v) / square",
)
exercise.mistake(
    "the growth is counted from one step to the next only: take the growth since the start.",
    LOOP,
    "        rates.append(eta * (v @ v) / square)\n        square = v @ v\n        v = v - rates[-1] * gradient(v)\n",
)
exercise.mistake(
    "the rate comes from the v of the step before: compute it anew before each step.",
    LOOP,
    "        rates.append(eta * (old @ old if rates else v @ v) / square)\n"
    "        old, v = v, v - rates[-1] * gradient(v)\n",
)
exercise.mistake(
    "the rates are noted one step late: the first in the list is the one of the first step, η.",
    LOOP,
    "        v = v - eta * (v @ v) / square * gradient(v)\n        rates.append(eta * (v @ v) / square)\n",
)
exercise.mistake(
    "v gets its length back here; leave v as it is and change η.",
    "rates[-1] * gradient(v)",
    "rates[-1] * gradient(v)\n        v = v * np.sqrt(square / (v @ v))",
)
exercise.mistake(
    "v gets the length 1 here; leave v as it is and change η.",
    "rates[-1] * gradient(v)",
    "rates[-1] * gradient(v)\n        v = v / np.sqrt(v @ v)",
)
exercise.mistake("it goes up: gradient descent subtracts.", "v - rates", "v + rates")
exercise.mistake(
    "all steps use the gradient of the first v.",
    "square = [], v @ v",
    "square, first = [], v @ v, gradient(v)",
    "gradient(v)\n    return",
    "first\n    return",
)
exercise.mistake(
    "the steps are taken with the first η, not with the rates in the list.", "v - rates[-1] *", "v - eta *"
)
exercise.mistake(
    "the length of the gradient does not belong in the rate.",
    RATE,
    "eta * (v @ v) / square / np.linalg.norm(gradient(v))",
)
