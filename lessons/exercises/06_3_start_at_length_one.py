"""6.3 Another length, another rate, the same training

A loss that does not depend on the length of v is trained from v with the learning rate η. Start it from a vector of
length 1 that points the same way instead. With which learning rate does v point, after every step, where it points in
the first training? Write both starts, for plain SGD (v ← v - η ∇_v L) and for Adam. Adam divides each entry of the
gradient by its typical size, so its steps do not become longer or shorter with the gradient (its `eps` is 0 here).

    for_sgd(v, eta)
    for_adam(v, eta)
        v : array (n,), one weight vector, not zero
        eta : number, the learning rate η from v
        returns (v of length 1, its learning rate): an array (n,) and a number; v itself is not changed

For example, v = (0, 2) with η = 1:

    for_sgd(np.array([0.0, 2.0]), 1.0)      # ([0.0, 1.0], 0.25)
    for_adam(np.array([0.0, 2.0]), 1.0)     # ([0.0, 1.0], 0.5)
"""

import numpy as np


def for_sgd(v, eta):
    """The start at length 1 that trains as v does with the rate η under SGD."""
    # solution
    length = np.linalg.norm(v)
    return v / length, eta / length**2
    # end of solution


def for_adam(v, eta):
    """The start at length 1 that trains as v does with the rate η under Adam."""
    # solution
    size = np.linalg.norm(v)
    return v / size, eta / size
    # end of solution


# %% Laws

from hypothesis import strategies as st

from lessons.exercises import Exercise, agree, hold, numbers, parts
from lessons.exercises.cases import vectors

exercise = Exercise(
    __file__,
    "lesson 06, part 3",
    hints=[
        "Multiply v by a. For the direction to turn by the same angle, the step has to be a times as long, too.",
        "At a v the gradient is 1/a times as long. SGD's step is η times the gradient; Adam's step is of the size of "
        "η, whatever the gradient.",
        "So a v that is a times as long wants a²η under SGD, and a η under Adam. Which a makes the length 1?",
    ],
)

whole = st.integers(-4, 4).map(float)


@st.composite
def cases(draw):
    """v, η such that the first steps are not too large, and the slope p of the loss p · v/‖v‖."""
    v, p = draw(vectors(n := draw(st.integers(2, 4)), whole)), draw(vectors(n, whole))
    v[0], p[-1] = v[0] or 2.0, p[-1] or 1.0
    return v, draw(st.sampled_from([1.0, 0.5, 0.25])), p


def gradient(v, p):
    """∇_v of p · v/‖v‖."""
    u = v / np.linalg.norm(v)
    return (p - u * (u @ p)) / np.linalg.norm(v)


def sgd(v, eta, p):
    """The directions after each of three steps of SGD."""
    directions = []
    for _ in range(3):
        v = v - eta * gradient(v, p)
        directions.append(v / np.linalg.norm(v))
    return np.array(directions)


def adam(v, eta, p):
    """The same for Adam. Its eps belongs to the gradient, so it is taken in units of 1/‖v‖: then entries of the
    gradient that are 0 up to rounding stay small, and the equivalence is as exact as with eps = 0."""
    directions, mean, square, eps = [], 0.0, 0.0, 1e-2 / np.linalg.norm(v)
    for t in (1, 2, 3):
        slope = gradient(v, p)
        mean, square = 0.9 * mean + 0.1 * slope, 0.99 * square + 0.01 * slope**2
        v = v - eta * mean / (1 - 0.9**t) / (np.sqrt(square / (1 - 0.99**t)) + eps)
        directions.append(v / np.linalg.norm(v))
    return np.array(directions)


def starts(answer, v, eta):
    """(name of the function, what it returns) of both; v is looked at afterwards."""
    for name in ("for_sgd", "for_adam"):
        given = v.copy()
        short, rate = parts(getattr(answer, name)(given, eta), "v of length 1", "the learning rate")
        came = numbers(f"the v of {name}", short, v.shape), numbers(f"the learning rate of {name}", rate, ())
        hold(np.array_equal(given, v), f"the v that {name} was given, afterwards", given, v)
        yield name, came


@exercise.law("the new v has length 1 and points where v points; v itself stays as it was", cases(), examples=15)
def length_one(answer, case):
    v, eta, _ = case
    for name, (short, _) in starts(answer, v, eta):
        agree(f"the length of the v of {name}", np.linalg.norm(short), 1.0)
        agree(f"the v of {name}", short, v / np.sqrt(v @ v))


# A step passes on rounding errors with a factor of the size of 1 + c, below 10 under SGD; under Adam with one of the
# size of 1/eps, 100. Three steps make 1e-13 and 1e-10 of 1e-16.


@exercise.law("SGD: after each step both trainings point the same way", cases(), examples=25)
def same_sgd(answer, case):
    v, eta, p = case
    short, rate = answer.for_sgd(v, eta)
    agree("the directions after three steps", sgd(short, rate, p), sgd(v, eta, p))


@exercise.law("Adam: after each step both trainings point the same way", cases(), examples=25)
def same_adam(answer, case):
    v, eta, p = case
    short, rate = answer.for_adam(v, eta)
    agree("the directions after three steps", adam(short, rate, p), adam(v, eta, p))


@exercise.law("a v of length 1 keeps its learning rate", cases(), examples=10)
def already(answer, case):
    v, eta, _ = case
    for name in ("for_sgd", "for_adam"):
        agree(f"the rate of {name}", getattr(answer, name)(v / np.sqrt(v @ v), eta)[1], eta)


SGD, ADAM = "eta / length**2", "eta / size"
exercise.mistake("η stays the same, but SGD's steps at another length turn v by another angle.", SGD, "eta")
exercise.mistake("η/‖v‖ is the rule for Adam. SGD's gradient, too, is longer where v is shorter.", SGD, "eta / length")
exercise.mistake(
    "that goes the wrong way: a shorter v turns faster under SGD, and wants a smaller rate.", SGD, "eta * length**2"
)
exercise.mistake(
    "that goes the wrong way: a shorter v turns faster under SGD, and wants a smaller rate.", SGD, "eta * length"
)
exercise.mistake("‖v‖⁴ stands where ‖v‖² belongs.", SGD, "eta / length**4")
exercise.mistake("√‖v‖ stands where ‖v‖² belongs.", SGD, "eta / np.sqrt(length)")
exercise.mistake("η stays the same, but a step of the same length turns a shorter v further under Adam.", ADAM, "eta")
exercise.mistake(
    "η/‖v‖² is the rule for SGD. The gradient is longer where v is shorter, but Adam's step is not.",
    ADAM,
    "eta / size**2",
)
exercise.mistake(
    "that goes the wrong way: a shorter v turns faster under Adam, and wants a smaller rate.", ADAM, "eta * size"
)
exercise.mistake("√‖v‖ stands where ‖v‖ belongs.", ADAM, "eta / np.sqrt(size)")
exercise.mistake("the length of v is still the old one: divide v by ‖v‖.", "v / length,", "v,", "v / size,", "v,")
exercise.mistake(
    "v is divided by ‖v‖², which does not make its length 1.",
    "v / length,",
    "v / length**2,",
    "v / size,",
    "v / size**2,",
)
