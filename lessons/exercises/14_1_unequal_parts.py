"""14.1 The gradient of a batch in unequal parts

A batch is divided among workers. Each has computed the mean loss of its own examples and the gradient of that. What is
the gradient of the mean loss of the whole batch?

    whole(gradients, counts)
        gradients : list of arrays of one shape, for each worker the gradient of its mean loss
        counts : list of ints, how many examples each had, at least one of them above 0
        returns the gradient of the mean over all examples, an array of that shape

A worker without examples has computed a mean over nothing: its gradient is all NaN, and has to be left out. For
example:

    whole([np.array([1.0, 2.0]), np.array([4.0, 8.0])], [2, 1])      # [2, 4]
    whole([np.array([3.0]), np.array([np.nan])], [5, 0])             # [3]
"""

import numpy as np


def whole(gradients, counts):
    """The gradient of the mean loss over all workers' examples."""
    # solution
    total = sum(counts)
    return sum(gradient * (count / total) for gradient, count in zip(gradients, counts, strict=True) if count > 0)
    # end of solution


# %% Laws

from hypothesis import strategies as st

from lessons.exercises import Exercise, agree, numbers
from lessons.exercises.cases import SIZES, matrices

exercise = Exercise(
    __file__,
    'lesson 14, "The same step"',
    hints=[
        "A mean over B_r examples times B_r is a sum over them, and sums can be added up.",
        "The weight of a worker is B_r/B with B = Σ B_r. Weights add up to 1.",
        "0 times NaN is NaN: leave out workers without examples.",
    ],
)


@st.composite
def cases(draw, least=1, workers=None):
    """Rows of gradients of single examples, and how many belong to each worker."""
    counts = draw(st.lists(st.integers(least, 3), min_size=1, max_size=4).filter(any))
    return draw(matrices(sum(counts), draw(SIZES))), counts


def of_workers(rows, counts):
    """Each worker's mean, NaN where it has no rows."""
    ends = np.cumsum(counts)
    return [rows[end - n : end].sum(axis=0) / n if n else np.full(rows.shape[1], np.nan)
            for end, n in zip(ends, counts, strict=True)]  # fmt: skip


def answered(answer, gradients, counts):
    came = answer.whole([g.copy() for g in gradients], list(counts))
    return numbers("the gradient", came, gradients[0].shape)


@exercise.law("it is the mean over the gradients of all examples", cases())
def mean_of_all(answer, case):
    rows, counts = case
    agree("the gradient", answered(answer, of_workers(rows, counts), counts), rows.mean(axis=0))


@exercise.law("workers without examples do not matter", cases(least=0))
def empty(answer, case):
    rows, counts = case
    agree("the gradient", answered(answer, of_workers(rows, counts), counts), rows.mean(axis=0))


@exercise.law("all counts doubled: the same gradient", cases())
def doubled(answer, case):
    rows, counts = case
    gradients = of_workers(rows, counts)
    agree("the gradient", answered(answer, gradients, [2 * n for n in counts]), answered(answer, gradients, counts))


@exercise.law("arrays of more dimensions are combined entry by entry", cases())
def any_shape(answer, case):
    rows, counts = case
    gradients = of_workers(rows, counts)
    agree("the gradients as columns", answered(answer, [g[:, None] for g in gradients], counts),
          answered(answer, gradients, counts)[:, None])  # fmt: skip


@exercise.law("what was given stays as it is", cases())
def untouched(answer, case):
    rows, counts = case
    gradients, given = of_workers(rows, counts), list(counts)
    copies = [g.copy() for g in gradients]
    answer.whole(copies, given)
    for before, after in zip(gradients, copies, strict=True):
        agree("a gradient that was given", after, before)
    agree("the counts that were given", given, counts)


WEIGHT = "gradient * (count / total)"
exercise.mistake("all workers weigh the same: whoever has more examples has to weigh more.", WEIGHT,
                 "gradient / sum(n > 0 for n in counts)")  # fmt: skip
exercise.mistake("the sum is not divided by the number of all examples.", WEIGHT, "gradient * count")
exercise.mistake("the gradients are added up as if they were of parts of one mean; each is a mean of its own.", WEIGHT,
                 "gradient")  # fmt: skip
exercise.mistake("the sum is divided by the number of workers, not of examples.", WEIGHT,
                 "gradient * count / len(counts)")  # fmt: skip
exercise.mistake("a worker without examples makes all NaN: 0 times NaN is NaN.", " if count > 0)", ")")
