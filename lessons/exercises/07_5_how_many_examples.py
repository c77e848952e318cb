"""7.5 How many examples?

Equation 6 takes μ[t] and σ[t] from B examples, and later minibatches inherit their errors. Let t be Gaussian with mean
0 and standard deviation 1, as in the first layer of the lesson. Typically the mean is then off by 1/√B, and the
standard deviation by 1/√(2B). What is the smallest B for which both errors are small enough?

    examples_needed(mean_error, deviation_error)
        mean_error : number above 0, the largest error allowed for the mean
        deviation_error : number above 0, the same for the standard deviation
        returns B, an int

For example, half a standard deviation would do for the mean: 4 examples. But the deviation is to be within a quarter:

    examples_needed(0.5, 0.25)     # 8
"""

import math


def examples_needed(mean_error, deviation_error):
    """The smallest minibatch with errors no larger than these."""
    # solution
    return math.ceil(max(1 / mean_error**2, 1 / (2 * deviation_error**2)))
    # end of solution


# %% Laws

from fractions import Fraction

import numpy as np
from hypothesis import strategies as st

from lessons.exercises import Exercise, hold

exercise = Exercise(
    __file__,
    "lesson 07, part 5",
    hints=[
        "The mean of B independent numbers of variance 1 has the variance 1/B. How large is its standard deviation?",
        "The lesson has 1/√B for the mean and 1/√(2B) for the standard deviation. Solve each for B.",
        "Both have to be small enough, so take the larger B, and round up to a whole number.",
    ],
)

errors = st.integers(1, 64).map(lambda k: k / 32)  # exact in binary, so that limits which are met exactly are
cases = st.tuples(errors, errors)


def squares(B):
    """The squares of the two errors, exactly: no rounding decides about a limit."""
    return Fraction(1, B), Fraction(1, 2 * B)


def enough(B, limits):
    return all(square <= Fraction(limit) ** 2 for square, limit in zip(squares(B), limits, strict=True))


@exercise.law("B is a whole number, 1 or more", cases)
def kind(answer, case):
    B = answer.examples_needed(*case)
    whole = isinstance(B, (int, np.integer))
    hold(whole, "what is returned", f"{B!r}, a {type(B).__name__}", "an int")
    hold(B >= 1, "B", B, "1 or more")


@exercise.law("with B examples the mean is off by mean_error at most: 1/√B", cases)
def mean(answer, case):
    B = int(answer.examples_needed(*case))
    hold(enough(B, (case[0], 8)), f"1/√B for B = {B}", B**-0.5, f"{case[0]:g} or less")


@exercise.law("with B examples the standard deviation is off by deviation_error at most: 1/√(2B)", cases)
def deviation(answer, case):
    B = int(answer.examples_needed(*case))
    hold(enough(B, (8, case[1])), f"1/√(2B) for B = {B}", (2 * B) ** -0.5, f"{case[1]:g} or less")


@exercise.law("one example fewer would not do", cases)
def smallest(answer, case):
    B = int(answer.examples_needed(*case))
    hold(B == 1 or not enough(B - 1, case), "B", B, f"smaller: {B - 1} are enough")


MEAN, DEVIATION = "1 / mean_error**2", "1 / (2 * deviation_error**2)"
NEEDED = f"math.ceil(max({MEAN}, {DEVIATION}))"
exercise.mistake("it rounds down: B examples are then too few.", "math.ceil(", "int(")
exercise.mistake("it rounds to the nearest number; B examples may then be too few.", "math.ceil(", "round(")
exercise.mistake("one of the two is enough here, but both have to be: take the larger B.", "max(", "min(")
exercise.mistake(
    "B has to fall with the square of the error: errors are 1/√B, not 1/B.",
    MEAN,
    "1 / mean_error",
    DEVIATION,
    "1 / (2 * deviation_error)",
)
exercise.mistake("the error of the mean is 1/√B, not 1/B.", MEAN, "1 / mean_error")
exercise.mistake("the error of the standard deviation is 1/√(2B), not 1/(2B).", DEVIATION, "1 / (2 * deviation_error)")
exercise.mistake(
    "√(2/B) is the error of the variance; that of the standard deviation is half as large.",
    DEVIATION,
    "2 / deviation_error**2",
)
exercise.mistake("1/√(2B) has the 2 under the root: B is half of 1/error².", DEVIATION, "1 / deviation_error**2")
exercise.mistake("1/√(2B) has the 2 under the root, so it is not squared.", DEVIATION, "1 / (2 * deviation_error) ** 2")
exercise.mistake(
    "the errors of the mean and of the deviation are exchanged.",
    MEAN,
    "1 / (2 * mean_error**2)",
    DEVIATION,
    "1 / deviation_error**2",
)
exercise.mistake("the error of the standard deviation is not looked at.", NEEDED, f"math.ceil({MEAN})")
exercise.mistake("the error of the mean is not looked at.", NEEDED, f"math.ceil({DEVIATION})")
exercise.mistake("the two B are added; the larger one does for both.", NEEDED, f"math.ceil({MEAN} + {DEVIATION})")
exercise.mistake(
    "that is one too many where the limit is met exactly: at most this error, so it may be equal.",
    NEEDED,
    f"int(max({MEAN}, {DEVIATION})) + 1",
)
exercise.mistake("B is a whole number: round up.", NEEDED, f"max({MEAN}, {DEVIATION})")
exercise.mistake(FLOAT := "B is right, but a float: make an int of it.", "math.ceil(", "0.0 + math.ceil(")


@exercise.symptom(FLOAT)
def is_float(answer):
    came = [answer.examples_needed(*limits) for limits in ((0.5, 0.25), (0.9375, 4.0), (0.03125, 4.0))]
    return came == [8, 2, 1024] and any(isinstance(B, float) for B in came)
