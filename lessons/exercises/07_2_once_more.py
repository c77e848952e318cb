"""7.2 A layer that has a length and a bias already

Equation 6 is for a layer with g = 1 and b = 0. Suppose that a layer has other values, and that its whole pre-activation
t = g (v · x)/‖v‖ + b has been measured over a minibatch: each unit's mean μ[t] and standard deviation σ[t]. Give it the
g and b with which the layer computes (t - μ[t])/σ[t] instead, with the same t and the same v.

    correct(g, b, mean, deviation)
        g, b : arrays (units,), what the layer has
        mean, deviation : arrays (units,), μ[t] and σ[t]; no deviation is 0
        returns (g, b), the new ones, two arrays (units,); the old ones are not changed

For example, a unit with g = 6, b = 1, whose t has mean 4 and standard deviation 3:

    correct(np.array([6.0]), np.array([1.0]), np.array([4.0]), np.array([3.0]))     # ([2.0], [-1.0])
"""

import numpy as np


def correct(g, b, mean, deviation):
    """g and b after which a layer's pre-activations have mean 0 and variance 1."""
    # solution
    return g / deviation, (b - mean) / deviation
    # end of solution


# %% Laws

from hypothesis import strategies as st

from lessons.exercises import Exercise, agree, hold, numbers, parts
from lessons.exercises.cases import POSITIVE, matrices, vectors

exercise = Exercise(
    __file__,
    "lesson 07, part 2",
    hints=[
        "Put t = g (v · x)/‖v‖ + b into (t - μ[t])/σ[t], and sort the terms: what multiplies (v · x)/‖v‖, and what "
        "stands alone?",
        "What multiplies (v · x)/‖v‖ is the new g. Both terms of the rest are divided by σ[t].",
        "The old g divided by σ[t]; and for b, subtract first, then divide all of it.",
    ],
)


@st.composite
def drawn(draw):
    """What (v · x)/‖v‖ is, (B, units), and g and b."""
    raw = draw(matrices(rows=st.integers(2, 4)))
    g = draw(vectors(raw.shape[1], POSITIVE)) * draw(vectors(raw.shape[1], st.sampled_from([1.0, -1.0])))
    return raw, g, draw(vectors(raw.shape[1]))


cases = drawn().filter(lambda case: case[0].std(axis=0).min() > 0.1)


def corrected(answer, case):
    """The new pre-activations."""
    raw, g, b = case
    t = g * raw + b
    g, b = answer.correct(g, b, t.mean(axis=0), t.std(axis=0))
    return g * raw + b


@exercise.law("there is a new g and a new b for each unit, and the old ones stay as they were", cases, examples=10)
def shape(answer, case):
    raw, g, b = case
    given = g.copy(), b.copy(), raw.mean(axis=0), raw.std(axis=0)
    for name, came in zip("gb", parts(answer.correct(*given), "g", "b"), strict=True):
        numbers(name, came, g.shape)
    hold(np.array_equal(given[0], g), "the g that it was given, afterwards", given[0], g)
    hold(np.array_equal(given[1], b), "the b that it was given, afterwards", given[1], b)


# t is 20 at most and σ[t] above 0.025, so rounding makes 1e-13 of 1e-16.


@exercise.law("afterwards the layer's pre-activations have mean 0", cases, examples=30)
def mean_zero(answer, case):
    agree("their mean, unit by unit", corrected(answer, case).mean(axis=0), np.zeros(len(case[1])))


@exercise.law("afterwards they have variance 1", cases, examples=25)
def variance_one(answer, case):
    agree("their variance, unit by unit", corrected(answer, case).var(axis=0), np.ones(len(case[1])))


@exercise.law("afterwards they are (t - μ[t])/σ[t], no unit with its sign flipped", cases, examples=15)
def equation_5(answer, case):
    raw, g, b = case
    t = g * raw + b
    agree("the pre-activations", corrected(answer, case), (t - t.mean(axis=0)) / t.std(axis=0))


@exercise.law("mean 0 and deviation 1 leave g and b as they are: twice is the same as once", cases, examples=10)
def again(answer, case):
    _, g, b = case
    for name, came, wanted in zip("gb", answer.correct(g, b, np.zeros_like(g), np.ones_like(g)), (g, b), strict=True):
        agree(name, came, wanted)


G, B = "g / deviation", "(b - mean) / deviation"
exercise.mistake(
    "that adds equation 6's bias to the old one; the old b has to be divided by σ[t], too.", B, "b - mean / deviation"
)
exercise.mistake("the old b is forgotten; the mean that was measured contains it.", B, "-mean / deviation")
exercise.mistake(
    "the old g is forgotten: what was measured is the spread of g (v · x)/‖v‖, not of (v · x)/‖v‖.", G, "1 / deviation"
)
exercise.mistake(
    "that is equation 6 for a layer with g = 1 and b = 0; this one has others.",
    G,
    "1 / deviation",
    B,
    "-mean / deviation",
)
exercise.mistake("the mean in b is not divided by σ[t].", B, "b / deviation - mean")
exercise.mistake("b is not divided by σ[t].", B, "b - mean")
exercise.mistake("the mean is added to b; equation 5 subtracts it.", B, "(b + mean) / deviation")
exercise.mistake("the mean is added to b; equation 5 subtracts it.", B, "b + mean / deviation")
exercise.mistake("b has the wrong sign: it is the mean that is subtracted.", B, "(mean - b) / deviation")
exercise.mistake("b stays as it was, so the mean is not 0 yet.", B, "b * 1")
exercise.mistake("b is divided by σ[t], but the mean is not subtracted.", B, "b / deviation")
exercise.mistake(
    "the new g stands in b, but b takes no part of g: it is added after g has multiplied.",
    B,
    "(b - mean) * g / deviation",
)
exercise.mistake(
    "the new g stands in b, but b takes no part of g: it is added after g has multiplied.",
    B,
    "b - mean * g / deviation",
)
exercise.mistake(
    "the mean is multiplied by the old g, but t has been measured with g in it.", B, "(b - g * mean) / deviation"
)
exercise.mistake("it multiplies by σ[t]; divide by it.", G, "g * deviation", B, "(b - mean) * deviation")
exercise.mistake("g is multiplied by σ[t]; divide by it.", G, "g * deviation")
exercise.mistake("the variance stands in g where the standard deviation belongs.", G, "g / deviation**2")
exercise.mistake(
    "the variance stands where the standard deviation belongs.", G, "g / deviation**2", B, "(b - mean) / deviation**2"
)
exercise.mistake(
    "it takes the root of σ[t], which is a root already.",
    G,
    "g / np.sqrt(deviation)",
    B,
    "(b - mean) / np.sqrt(deviation)",
)
exercise.mistake("|g| stands where g belongs: a negative g stays negative.", G, "abs(g) / deviation")
exercise.mistake(
    "they come in the wrong order: g first, then b.",
    "g / deviation, (b - mean) / deviation",
    "(b - mean) / deviation, g / deviation",
)
