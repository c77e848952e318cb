"""8.1 Batch normalization

Write batch normalization as it works in training. The pre-activations t hold one example of the minibatch in each row
and one unit in each column. Each unit is normalized by itself, with its statistics over the minibatch of size B:

    μ[t]    the mean over the examples
    σ²[t]   the mean of (t - μ[t])² over the examples (divide by B)
    t̂ = (t - μ[t]) / √(σ²[t] + eps)
    t̃ = g t̂ + b

    batch_norm(t, g, b, eps)
        t : array (B, units)
        g, b : arrays (units,), scale and shift of each unit; g may be negative
        eps : float, at least 0; it saves a unit that is the same for all examples from 0/0
        returns t̃, array (B, units)

For example, the unit (1, 5) has mean 3 and variance 4. With eps = 12, t̂ is (-2, 2)/√16:

    t, g, b = np.array([[1.0], [5.0]]), np.array([2.0]), np.array([1.0])
    batch_norm(t, g, b, 0.0)      # [[-1.0], [3.0]]
    batch_norm(t, g, b, 12.0)     # [[0.0], [2.0]]
"""

import numpy as np


def batch_norm(t, g, b, eps):
    """t̃ = g (t - μ[t])/√(σ²[t] + eps) + b, unit by unit."""
    # solution
    centred = t - t.mean(axis=0)
    variance = (centred**2).mean(axis=0)
    return g * centred / np.sqrt(variance + eps) + b
    # end of solution


# %% Laws

from hypothesis import strategies as st

from lessons.exercises import Exercise, agree, hold
from lessons.exercises.cases import matrices, vectors

exercise = Exercise(
    __file__,
    "lesson 08, part 1",
    hints=[
        "Every statistic is taken over the examples, so along axis 0: μ[t] and σ²[t] are arrays (units,).",
        "NumPy aligns shapes from the right, so (B, units) and (units,) fit as they are: subtract the mean first.",
        "σ²[t] is the mean of the squares of what is left. eps is added to it before the root; g multiplies the "
        "quotient, and b comes last.",
    ],
)


@st.composite
def cases(draw, eps=(0.0, 1.0, 0.25, 4.0), least=2):
    t = draw(matrices(st.integers(least, 5), st.integers(1, 3)))
    t[0] += np.ptp(t, axis=0) == 0  # no unit is the same for all examples
    return t, draw(vectors(t.shape[1])), draw(vectors(t.shape[1])), draw(st.sampled_from(eps))


@exercise.law("t̃ has the shape of t, and t is left as it was", cases())
def shape(answer, case):
    t = case[0].copy()
    came = np.shape(answer.batch_norm(t, *case[1:]))
    hold(came == t.shape, "the shape of t̃", came, t.shape)
    agree("t after the call", t, case[0], 0, 0)


@exercise.law("over the minibatch, the mean of t̃ is b", cases())
def mean(answer, case):
    agree("the mean of t̃", answer.batch_norm(*case).mean(axis=0), case[2])


@exercise.law("over the minibatch, the variance of t̃ is g² σ²[t]/(σ²[t] + eps)", cases())
def variance(answer, case):
    t, g, _, eps = case
    scaled = t.var(axis=0)
    agree("the variance of t̃", answer.batch_norm(*case).var(axis=0), g**2 * scaled / (scaled + eps))


@exercise.law("t̃ - b is parallel to t - μ[t], and points the opposite way where g is negative", cases())
def direction(answer, case):
    t, g, b, eps = case
    centred = t - t.mean(axis=0)
    length = np.linalg.norm(centred, axis=0)
    along = ((answer.batch_norm(*case) - b) * centred).sum(axis=0) / length
    agree("the component of t̃ - b along t - μ[t]", along, g * length / np.sqrt(t.var(axis=0) + eps))


@exercise.law("a unit that is the same for all examples comes out as b", cases([1.0, 0.25], 1))
def constant(answer, case):
    t, g, b, eps = case
    t = np.repeat(t[:1], len(t), axis=0)
    agree("t̃", answer.batch_norm(t, g, b, eps), np.repeat(b[None], len(t), axis=0))


exercise.mistake(
    "the variance is divided by B - 1; batch normalization divides by B.",
    "(centred**2).mean(axis=0)",
    "(centred**2).sum(axis=0) / (len(t) - 1)",
)
exercise.mistake(
    "mean and variance are taken over the units of one example (axis=1); each unit has its own, over the minibatch.",
    "t.mean(axis=0)",
    "t.mean(axis=1, keepdims=True)",
    "(centred**2).mean(axis=0)",
    "(centred**2).mean(axis=1, keepdims=True)",
)
exercise.mistake(
    "mean and variance are taken of the whole matrix; each unit has its own.",
    "t.mean(axis=0)",
    "t.mean()",
    "(centred**2).mean(axis=0)",
    "(centred**2).mean()",
)
exercise.mistake(
    "the variance is taken of the whole matrix; each unit has its own.",
    "(centred**2).mean(axis=0)",
    "t.var()",
)
exercise.mistake(
    "eps is added to the deviation; it belongs to the variance, under the root.",
    "variance + eps)",
    "variance) + eps)",
    "/ np",
    "/ (np",
)
exercise.mistake("it divides by the variance; the root is missing.", "np.sqrt(variance + eps)", "(variance + eps)")
exercise.mistake("eps is left out.", "variance + eps", "variance")
exercise.mistake("the mean is not subtracted; only the deviation is divided out.", "g * centred", "g * t")
exercise.mistake(
    "the division by the deviation is missing; only the mean is subtracted.", " / np.sqrt(variance + eps)", ""
)
exercise.mistake("the shift b is missing.", "variance + eps) + b", "variance + eps)")
exercise.mistake("the scale g is missing.", "g * centred", "centred")
exercise.mistake(
    "t̂ itself comes out: g and b are missing.", "g * centred", "centred", "variance + eps) + b", "variance + eps)"
)
exercise.mistake(
    "g multiplies b as well; b is added after the scale.",
    "g * centred / np.sqrt(variance + eps) + b",
    "g * (centred / np.sqrt(variance + eps) + b)",
)
exercise.mistake(
    "g and b have changed places.", "g * centred", "b * centred", "variance + eps) + b", "variance + eps) + g"
)
exercise.mistake("|g| stands where g belongs: g may be negative.", "g * centred", "abs(g) * centred")
exercise.mistake("σ²[t] is the mean of t² here; subtract the mean before you square.", "(centred**2)", "(t**2)")
exercise.mistake("eps is squared; it is added to the variance as it is.", "variance + eps", "variance + eps**2")
exercise.mistake(
    "eps is added to the quotient; it belongs to the variance, under the root.",
    "np.sqrt(variance + eps) + b",
    "np.sqrt(variance) + eps + b",
)
exercise.mistake(
    "the squares are added up; σ²[t] is their mean.", "(centred**2).mean(axis=0)", "(centred**2).sum(axis=0)"
)
