"""14.3 Statistics in one message

Synchronized batch normalization, as the lesson has it, sends two messages forward: sums first, and when the mean is
known, sums of squares. One message is enough: each worker sends how many values it has, their mean and their (biased)
variance. Compute the mean and the variance of all values from these.

    merge(counts, means, variances)
        counts : array (workers,), how many values each has, at least 1
        means, variances : arrays (workers, channels), for each channel
        returns (mean, variance) of all values, two arrays (channels,)

The variance of all values is the weighted mean of the workers' variances, plus that of their means' squared distances
from the mean of all values. (Subtracting the squared mean from the mean of squares is the same on paper, but loses all
digits where the mean is large.) For example, the values 1, 3 and 8, 8, with means 2 and 8 and variances 1 and 0:

    merge(np.array([2, 2]), np.array([[2.0], [8.0]]), np.array([[1.0], [0.0]]))      # [5] and [9.5]
"""

import numpy as np


def merge(counts, means, variances):
    """Mean and biased variance of all workers' values."""
    # solution
    weights = (counts / counts.sum())[:, None]
    mean = (weights * means).sum(axis=0)
    variance = (weights * (variances + (means - mean) ** 2)).sum(axis=0)
    return mean, variance
    # end of solution


# %% Laws

from hypothesis import strategies as st

from lessons.exercises import Exercise, agree, hold, numbers, parts
from lessons.exercises.cases import SIZES, matrices

exercise = Exercise(
    __file__,
    'lesson 14, "What depends on the batch"',
    hints=[
        "The mean of all values is the mean of the workers' means, each weighted by its count.",
        "For one worker: the mean of (t - m)² around another centre m is the variance plus (mean - m)².",
        "Weights are counts / counts.sum(); they need [:, None] beside arrays (workers, channels).",
    ],
)


@st.composite
def cases(draw):
    """Each worker's values, arrays (count, channels)."""
    channels = draw(SIZES)
    counts = draw(st.lists(st.integers(1, 4), min_size=1, max_size=4))
    return [draw(matrices(count, channels)) for count in counts]


def merged(answer, values):
    counts = np.array([len(own) for own in values])
    means, variances = (np.array([f(own, axis=0) for own in values]) for f in (np.mean, np.var))
    mean, variance = parts(answer.merge(counts, means, variances), "mean", "variance")
    shape = values[0].shape[1:]
    return numbers("the mean", mean, shape), numbers("the variance", variance, shape)


@exercise.law("the mean is that of all values", cases())
def mean_of_all(answer, values):
    agree("the mean", merged(answer, values)[0], np.concatenate(values).mean(axis=0))


@exercise.law("the variance is that of all values", cases())
def variance_of_all(answer, values):
    agree("the variance", merged(answer, values)[1], np.concatenate(values).var(axis=0))


@exercise.law("one worker alone: what it has", cases())
def alone(answer, values):
    mean, variance = merged(answer, values[:1])
    agree("the mean", mean, values[0].mean(axis=0))
    agree("the variance", variance, values[0].var(axis=0))


@exercise.law("all values larger by 10⁹: the same variance", cases())
def large_mean(answer, values):
    _, variance = merged(answer, [own + 1e9 for own in values])
    wanted = np.concatenate(values).var(axis=0)
    agree("the variance", variance, wanted, rtol=1e-4, atol=1e-4)  # values and means round by 1e-7


@exercise.law("variances are never negative", cases())
def not_negative(answer, values):
    _, variance = merged(answer, [own + 1e9 for own in values])
    hold((variance >= 0).all(), "the variance", variance, "0 or more")


@exercise.law("what was given stays as it is", cases())
def untouched(answer, values):
    counts = np.array([len(own) for own in values])
    means, variances = (np.array([f(own, axis=0) for own in values]) for f in (np.mean, np.var))
    given = counts.copy(), means.copy(), variances.copy()
    answer.merge(*given)
    for name, before, after in zip(("counts", "means", "variances"), (counts, means, variances), given, strict=True):
        agree(f"the {name} that were given", after, before)


exercise.mistake("the means' distance from the mean of all is missing in the variance.", " + (means - mean) ** 2", "")
exercise.mistake("all workers weigh the same: whoever has more values has to weigh more.", "(counts / counts.sum())",
                 "(np.ones(len(counts)) / len(counts))")  # fmt: skip
exercise.mistake(
    "the mean is that of the workers' means, all weighing the same.",
    "mean = (weights * means).sum(axis=0)",
    "mean = means.mean(axis=0)",
)
exercise.mistake("the variance has the sum of the workers' variances, not their weighted mean.",
                 "weights * (variances + (means", "(variances + weights * (means")  # fmt: skip
exercise.mistake("the means' distances are not squared.", "(means - mean) ** 2", "np.abs(means - mean)")


@exercise.symptom(
    "the squared mean is subtracted from the mean of squares: where the mean is large, no digit is left.",
    "(weights * (variances + (means - mean) ** 2)).sum(axis=0)",
    "(weights * (variances + means**2)).sum(axis=0) - mean**2",
)
def cancels(answer):
    def variance(shift):
        return float(answer.merge(np.array([2, 2]), np.array([[0.0], [1.0]]) + shift, np.ones((2, 1)))[1][0])

    return abs(variance(0.0) - 1.25) < 1e-9 and abs(variance(1e9) - 1.25) > 1e-3


exercise.mistake("variances are those for a sample, divided by the count less one; the biased ones are asked for.",
                 "sum(axis=0)\n    return",
                 "sum(axis=0) * counts.sum() / max(counts.sum() - 1, 1)\n    return")  # fmt: skip
