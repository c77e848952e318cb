"""7.1 Equations 5 and 6

Initialize one layer from one minibatch. Its pre-activations are g (v · x)/‖v‖ + b. Choose g and b so that over this
minibatch each unit's pre-activation has mean 0 and variance 1, with g above 0. The variance is the mean of the squared
deviations over the minibatch (it divides by B, not by B - 1); nothing is added to it.

    initialize(x, v)
        x : array (B, n), the minibatch: one example in each row
        v : array (units, n), one direction in each row, of any length but 0
        returns (g, b), two arrays (units,)

For example, with v = (0, 2) the numbers t = v · x/‖v‖ are 1 and 5, with mean 3 and standard deviation 2:

    initialize(np.array([[7.0, 1.0], [0.0, 5.0]]), np.array([[0.0, 2.0]]))     # ([0.5], [-1.5])
"""

import numpy as np


def initialize(x, v):
    """g and b of a layer of weight normalization, from a minibatch."""
    # solution
    t = x @ (v / np.linalg.norm(v, axis=1)[:, None]).T
    mean, deviation = t.mean(axis=0), t.std(axis=0)
    return 1 / deviation, -mean / deviation
    # end of solution


# %% Laws

from hypothesis import strategies as st

from lessons.exercises import Exercise, agree, hold, numbers, parts
from lessons.exercises.cases import POSITIVE, matrices

exercise = Exercise(
    __file__,
    "lesson 07, part 2",
    hints=[
        "Compute t = v · x/‖v‖ first, for all examples and units: an array (B, units). Then its mean and its standard "
        "deviation over the examples.",
        "Equation 5 subtracts μ[t] and divides by σ[t]. Write the result as a number times t plus another number.",
        "The number that multiplies t is g; what is left over is b, and σ[t] divides it as well. μ[t] and σ[t] are "
        "taken over the examples, axis=0.",
    ],
)


def measured(x, v):
    """t, (B, units)."""
    return np.einsum("en, un -> eu", x, v) / np.sqrt((v * v).sum(axis=1))


@st.composite
def drawn(draw):
    n = draw(st.integers(1, 3))
    return draw(matrices(rows=st.integers(2, 5), columns=n)), draw(matrices(columns=n, rows_not_zero=True))


cases = drawn().filter(lambda case: measured(*case).std(axis=0).min() > 0.1)


def pre_activations(answer, case):
    g, b = answer.initialize(*case)
    return g * measured(*case) + b


@exercise.law("there is a g and a b for each unit", cases, examples=10)
def shape(answer, case):
    for name, came in zip("gb", parts(answer.initialize(*case), "g", "b"), strict=True):
        numbers(name, came, (len(case[1]),))


# t is 7 at most and σ above 0.1, so rounding makes 1e-14 of 1e-16.


@exercise.law("each unit's pre-activation has mean 0", cases, examples=30)
def mean_zero(answer, case):
    agree("the mean of g t + b, unit by unit", pre_activations(answer, case).mean(axis=0), np.zeros(len(case[1])))


@exercise.law("each unit's pre-activation has variance 1", cases, examples=25)
def variance_one(answer, case):
    t = pre_activations(answer, case)
    agree("the variance of g t + b, unit by unit", ((t - t.mean(axis=0)) ** 2).mean(axis=0), np.ones(len(case[1])))


@exercise.law("g is above 0", cases, examples=10)
def positive(answer, case):
    g, _ = answer.initialize(*case)
    hold((np.asarray(g) > 0).all(), "g", g, "above 0")


@exercise.law("v a times as long gives the same g and b", st.tuples(cases, POSITIVE), examples=10)
def any_length(answer, case):
    (x, v), a = case
    for name, came, wanted in zip("gb", answer.initialize(x, a * v), answer.initialize(x, v), strict=True):
        agree(name, came, wanted)


T, RETURN = "x @ (v / np.linalg.norm(v, axis=1)[:, None]).T", "1 / deviation, -mean / deviation"
exercise.mistake("v · x has been measured without dividing by ‖v‖, but the layer divides by it.", T, "x @ v.T")
exercise.mistake("b has the wrong sign: equation 5 subtracts the mean.", RETURN, "1 / deviation, mean / deviation")
exercise.mistake(
    "the mean in b is not divided by σ[t]: g multiplies t only, and the mean comes after that.",
    RETURN,
    "1 / deviation, -mean",
)
exercise.mistake(
    "the mean is added to b, and not divided by σ[t]; equation 5 subtracts it first.", RETURN, "1 / deviation, mean"
)
exercise.mistake("b is multiplied by σ[t] instead of divided by it.", RETURN, "1 / deviation, -mean * deviation")
exercise.mistake("g is σ[t] here; it has to undo σ[t].", RETURN, "deviation, -mean / deviation")
exercise.mistake("g is σ[t] here, and b follows it; they have to undo σ[t].", RETURN, "deviation, -mean * deviation")
exercise.mistake("g is σ[t] here and b is μ[t]: they have to undo these.", RETURN, "deviation, mean")
exercise.mistake("the variance stands where the standard deviation belongs.", "t.std(axis=0)", "t.var(axis=0)")
exercise.mistake(
    "the variance stands in g where the standard deviation belongs.", RETURN, "1 / deviation**2, -mean / deviation"
)
exercise.mistake("the root of σ[t] stands where σ[t] belongs.", "t.std(axis=0)", "np.sqrt(t.std(axis=0))")
exercise.mistake(
    "the variance divides by B - 1 here; over this minibatch it divides by B.", "t.std(axis=0)", "t.std(axis=0, ddof=1)"
)
exercise.mistake(
    "the root mean square of t has been measured; subtract the mean from t before squaring.",
    "t.std(axis=0)",
    "np.sqrt((t**2).mean(axis=0))",
)
exercise.mistake(
    "the deviations are absolute values here; the variance is the mean of squares.",
    "t.std(axis=0)",
    "abs(t - mean).mean(axis=0)",
    "mean, deviation = t.mean(axis=0), ",
    "mean = t.mean(axis=0)\n    deviation = ",
)
exercise.mistake(
    "mean and deviation are taken over units here; they are taken over examples, axis=0.",
    "t.mean(axis=0), t.std(axis=0)",
    "t.mean(axis=1), t.std(axis=1)",
)
exercise.mistake(
    "mean and deviation are taken over everything; each unit has its own.",
    "t.mean(axis=0), t.std(axis=0)",
    "np.full(len(v), t.mean()), np.full(len(v), t.std())",
)
exercise.mistake(
    "mean and deviation are taken over everything; each unit has its own.",
    "t.mean(axis=0), t.std(axis=0)",
    "t.mean(), t.std()",
)
exercise.mistake(
    "the length is taken of the whole matrix; each row of v has a length of its own.",
    "np.linalg.norm(v, axis=1)[:, None]",
    "np.linalg.norm(v)",
)
exercise.mistake(
    "lengths are taken of the columns of v: axis=0 sums over rows.",
    "np.linalg.norm(v, axis=1)[:, None]",
    "np.linalg.norm(v, axis=0)",
)
exercise.mistake(
    "it divides by ‖v‖² instead of ‖v‖.", "np.linalg.norm(v, axis=1)[:, None]", "(v * v).sum(axis=1)[:, None]"
)
exercise.mistake("they come in the wrong order: g first, then b.", RETURN, "-mean / deviation, 1 / deviation")
exercise.mistake("b is 0 here, so the mean stays.", RETURN, "1 / deviation, 0 * mean")
exercise.mistake(
    "keepdims leaves an axis of length 1: the shapes are (units,).",
    "t.mean(axis=0), t.std(axis=0)",
    "t.mean(axis=0, keepdims=True), t.std(axis=0, keepdims=True)",
)


@exercise.symptom("something small is added to σ[t] or to the variance, so the variance comes out below 1.")
def has_eps(answer):
    x = np.array([[1.0], [3.0]])
    g, b = (np.ravel(part)[0] for part in answer.initialize(x, np.array([[2.0]])))
    return 1e-12 < 1 - g < 2e-2 and abs(b + 2 * g) < 1e-7
