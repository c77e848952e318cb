"""5.5 The balance of growth and weight decay

Weight decay λ adds λ v to the gradient of v:

    v' = v - η (∇_v L + λ v)

The gradient lengthens v, and the decay shortens it. Let ∇_v L be at a right angle to v and G/‖v‖ long, with a constant
G. Then there is one length at which the two effects are equal, so that a step leaves ‖v‖ as it is. For small ηλ the
lesson finds c = √(2ηλ) there. Find the length and c without such an approximation. Write

    decayed_step(v, grad_v, eta, decay)
        v, grad_v : arrays of the same shape
        eta, decay : floats, η and λ
        returns v', a new array

    balance(eta, decay, G)
        eta, decay, G : floats, all positive; eta * decay is less than 1
        returns the pair (norm, c) of floats: the length ‖v‖ at which ‖v'‖ = ‖v‖, exactly, and the relative step of the
            gradient there, c = η ‖∇_v L‖/‖v‖ = η G/‖v‖²

For example, with η = 1, λ = 0.4 and G = 0.8 the balance is at ‖v‖ = 1. There decay leaves 1 - 0.4 = 0.6 of v, the
gradient adds 0.8 at a right angle, and √(0.6² + 0.8²) = 1. (√(2ηλ) would be 0.89 in place of 0.8.)

    decayed_step(np.array([1.0, 0.0]), np.array([0.0, 0.8]), 1.0, 0.4)     # [0.6, -0.8]
    balance(1.0, 0.4, 0.8)                                                 # (1.0, 0.8)
"""

import numpy as np


def decayed_step(v, grad_v, eta, decay):
    """v after a step of gradient descent with weight decay."""
    # solution
    return v - eta * (grad_v + decay * v)
    # end of solution


def balance(eta, decay, G):
    """The length at which growth and decay are equal, and c there."""
    # solution
    kept = 1 - eta * decay  # what decay leaves of v
    c = np.sqrt(1 - kept**2)  # at the balance kept² + c² = 1
    return np.sqrt(eta * G / c), c
    # end of solution


# %% Laws

from hypothesis import strategies as st

from lessons.exercises import Exercise, agree, numbers, parts
from lessons.exercises.cases import POSITIVE, matrices

exercise = Exercise(
    __file__,
    'lesson 05, "Momentum and Adam", and further/05_weight_decay.py, "The balance"',
    hints=[
        "v' has two parts: (1 - ηλ) v along v, and -η ∇_v L at a right angle to it. So ‖v'‖² is a sum of two squares.",
        "Set ‖v'‖ = ‖v‖ and divide by ‖v‖²: 1 = (1 - ηλ)² + c². There is no G in it.",
        "Once you have c, c = ηG/‖v‖² gives the length.",
    ],
)
DECAYS = st.integers(1, 15).map(lambda k: k / 16)  # of ηλ


@st.composite
def steps(draw):
    v = draw(matrices())
    return v, draw(matrices(*v.shape)), draw(POSITIVE), draw(POSITIVE)


@st.composite
def settings(draw):
    eta = 2.0 ** draw(st.integers(-4, 4))
    return eta, draw(DECAYS) / eta, draw(POSITIVE)


def stepped(answer, v, grad_v, eta, decay):
    return numbers("v'", answer.decayed_step(v, grad_v, eta, decay), v.shape)


def level(answer, case):
    norm, c = parts(answer.balance(*case), "norm", "c")
    return float(numbers("norm", norm, ())), float(numbers("c", c, ()))


@exercise.law("v' has the shape of v", steps())
def shape(answer, case):
    stepped(answer, *case)


@exercise.law("v is left as it was: v' is a new array", steps())
def untouched(answer, case):
    v, grad_v = case[0].copy(), case[1].copy()
    answer.decayed_step(v, grad_v, *case[2:])
    agree("v after the call", v, case[0])
    agree("∇_v L after the call", grad_v, case[1])


@exercise.law("without decay it is gradient descent", steps())
def descent(answer, case):
    v, grad_v, eta, _ = case
    agree("v' for λ = 0", stepped(answer, v, grad_v, eta, 0.0), v - eta * grad_v)


@exercise.law("decay takes ηλv away from v, whatever the gradient is", steps())
def decay_alone(answer, case):
    v, grad_v, eta, decay = case
    taken = stepped(answer, v, grad_v, eta, 0.0) - stepped(answer, *case)
    agree("v' for λ = 0, less v'", taken, eta * decay * v)


@exercise.law("norm and c are numbers", settings())
def two_numbers(answer, case):
    level(answer, case)


@exercise.law("at the balance a step leaves ‖v‖ as it is", settings())
def at_rest(answer, case):
    eta, decay, G = case
    norm, _ = level(answer, case)
    v, grad_v = np.array([norm, 0.0]), np.array([0.0, G / norm if norm else np.inf])
    agree(f"‖v'‖ from ‖v‖ = {norm:.5g}", np.linalg.norm(v - eta * grad_v - eta * decay * v), norm, rtol=1e-9)


@exercise.law("c is the relative step of the gradient: c ‖v‖² = η G", settings())
def relative(answer, case):
    eta, _, G = case
    norm, c = level(answer, case)
    agree("c ‖v‖²", c * norm**2, eta * G, rtol=1e-9)


@exercise.law("G changes the length, but not c", settings())
def whatever_g(answer, case):
    eta, decay, G = case
    agree("c for 4G", level(answer, (eta, decay, 4 * G))[1], level(answer, case)[1])


exercise.mistake("the decay is not multiplied by η.", "v - eta * (grad_v + decay * v)", "v - eta * grad_v - decay * v")
exercise.mistake(
    "the decay has the wrong sign: it is to pull v towards 0.", "(grad_v + decay * v)", "(grad_v - decay * v)"
)
exercise.mistake("the sign is wrong: you step along the gradient, and let v grow.", "v - eta *", "v + eta *")
exercise.mistake("λ stands alone: it is to be multiplied by v.", "decay * v)", "decay)")
exercise.mistake("the decay is missing.", "(grad_v + decay * v)", "grad_v")
exercise.mistake(
    "the gradient is not multiplied by η.", "v - eta * (grad_v + decay * v)", "v - grad_v - eta * decay * v"
)
exercise.mistake(
    "the decay also shrinks the step of the gradient: the two are to be added.",
    "v - eta * (grad_v + decay * v)",
    "(1 - eta * decay) * (v - eta * grad_v)",
)
exercise.mistake("the decay counts twice: it adds λ v to the gradient, not 2 λ v.", "decay * v)", "2 * decay * v)")
exercise.mistake("you return the change of v; v itself is missing.", "return v - eta", "return -eta")
exercise.mistake(
    "the decay pulls with λ whatever the length of v is; it is to be λ v.", "decay * v)", "decay * np.sign(v))"
)
exercise.mistake(
    "that is the approximation for small ηλ; here the square of ηλ counts, too.",
    "c = np.sqrt(1 - kept**2)",
    "c = np.sqrt(2 * eta * decay)",
)
exercise.mistake("you return ‖v‖²; its root is missing.", "return np.sqrt(eta * G / c), c", "return eta * G / c, c")
exercise.mistake(
    "you return ‖v‖⁴; the fourth root is missing.", "return np.sqrt(eta * G / c), c", "return (eta * G / c) ** 2, c"
)
exercise.mistake(
    "you return c²; its root is missing.", "return np.sqrt(eta * G / c), c", "return np.sqrt(eta * G / c), c**2"
)
exercise.mistake(
    "c is not squared: at the balance the squares of 1 - ηλ and of c add up to 1.",
    "np.sqrt(1 - kept**2)",
    "eta * decay",
)
exercise.mistake("c is right, but ‖v‖ is not: η is missing in c = ηG/‖v‖².", "np.sqrt(eta * G / c)", "np.sqrt(G / c)")
exercise.mistake(
    "the step of the gradient is not divided by ‖v‖: the gradient is G/‖v‖ long.",
    "np.sqrt(eta * G / c), c",
    "eta * G / c, eta * G / (eta * G / c) ** 2",
)
exercise.mistake(
    "the order is wrong: the length comes first, then c.",
    "return np.sqrt(eta * G / c), c",
    "return c, np.sqrt(eta * G / c)",
)
exercise.mistake("1 - ηλ is not squared: ‖v'‖² holds (1 - ηλ)² ‖v‖².", "1 - kept**2", "1 - kept")
exercise.mistake("decay leaves 1 - ηλ of v, not 1 - λ.", "1 - eta * decay", "1 - decay")
exercise.mistake(
    "c is ‖v‖ times too large: it is the gradient's step divided by ‖v‖ once more.",
    "return np.sqrt(eta * G / c), c",
    "return np.sqrt(eta * G / c), c * np.sqrt(eta * G / c)",
)
exercise.mistake(
    "you take c² for c: the squares of 1 - ηλ and of c add up to 1, so a root is missing.",
    "np.sqrt(1 - kept**2)",
    "1 - kept**2",
)
exercise.mistake(
    "you compare the step with what decay has left of v; c compares it with ‖v‖ before.",
    "c = np.sqrt(1 - kept**2)",
    "c = np.sqrt(1 - kept**2) / kept",
)
exercise.mistake(
    "there is a factor √η too many in ‖v‖²: at the balance 2ηλ - η²λ², with η in both terms, is η² G²/‖v‖⁴.",
    "    return np.sqrt(eta * G / c), c",
    "    norm = np.sqrt(eta**1.5 * G / c)\n    return norm, eta * G / norm**2",
)
