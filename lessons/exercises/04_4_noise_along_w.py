"""4.4 Does w stand out?

Is w a direction of much noise? The lesson measures that by

    r = (variance of the gradient along w) / (mean variance across w)

With u = w/‖w‖ the variance along w is uᵀ C u. Across w there are n - 1 directions at right angles to w and to each
other; the mean is over their n - 1 variances. It is the same for any choice of these directions, since the variances
along n directions at right angles to each other always add up to the trace of C, the sum of its diagonal.

    noise_ratio(w, C)
        w : array (n,), n at least 2, not zero; of any length
        C : array (n, n), the covariance matrix of the gradient; all its eigenvalues are positive
        returns r, a float

For example, with w = (0, 2, 0) and the variances 1, 6 and 2 along the axes, 6 lies along w and (1 + 2)/2 = 1.5 across:

    noise_ratio(np.array([0.0, 2.0, 0.0]), np.diag([1.0, 6.0, 2.0]))     # 4.0
"""

import numpy as np


def noise_ratio(w, C):
    """r, the variance of the gradient along w, relative to the mean variance across w."""
    # solution
    u = w / np.linalg.norm(w)
    along = u @ C @ u
    across = (np.trace(C) - along) / (len(w) - 1)
    return along / across
    # end of solution


# %% Laws

from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from lessons.exercises import Exercise, agree, numbers
from lessons.exercises.cases import NUMBERS, POSITIVE, vectors

exercise = Exercise(
    __file__,
    "lesson 04, part 4",
    hints=[
        "Begin with the direction u = w/‖w‖: the length of w must not matter.",
        "All n variances add up to `np.trace(C)`. What is left without the one along w is the sum of those across w.",
        "That sum has n - 1 terms; r needs their mean.",
    ],
)


@st.composite
def weights(draw):
    w = draw(vectors(draw(st.integers(2, 4))))
    w[0] = w[0] if w.any() else 1.0
    return w


def basis(w):
    """An orthogonal matrix whose first column is w/‖w‖, up to its sign: a reflection."""
    h = w / np.linalg.norm(w)
    h[0] += 1 if h[0] >= 0 else -1
    return np.eye(len(w)) - 2 * np.outer(h, h) / (h @ h)


@st.composite
def covariances(draw):
    """w, C, and what C has been made of: the variance along w and those along n - 1 directions across it."""
    w = draw(weights())
    values = draw(arrays(float, len(w) - 1, elements=POSITIVE))
    mixed = draw(arrays(float, len(w) - 1, elements=NUMBERS))  # covariance of the noise along w with that across
    along = draw(POSITIVE) + np.sum(mixed**2 / values)
    inner = np.diag(np.append(along, values))
    inner[0, 1:] = inner[1:, 0] = mixed
    return w, basis(w) @ inner @ basis(w), along, values


@exercise.law("r is a number", covariances())
def number(answer, case):
    numbers("r", answer.noise_ratio(case[0], case[1]), ())


@exercise.law("r is the variance along w over the mean of the variances across w", covariances())
def ratio(answer, case):
    w, C, along, values = case
    agree("r", answer.noise_ratio(w, C), along / values.mean(), rtol=1e-6)


@exercise.law("noise alike in all directions has r = 1", st.tuples(weights(), POSITIVE))
def alike(answer, case):
    w, variance = case
    agree("r", answer.noise_ratio(w, variance * np.eye(len(w))), 1.0)


@exercise.law("only the direction of w counts, not its length or its sign", covariances())
def direction(answer, case):
    w, C, *_ = case
    agree("r with -2w in place of w", answer.noise_ratio(-2 * w, C), answer.noise_ratio(w, C))


@exercise.law("twice the noise in all directions has the same r", covariances())
def scale(answer, case):
    w, C, *_ = case
    agree("r with 2C in place of C", answer.noise_ratio(w, 2 * C), answer.noise_ratio(w, C))


exercise.mistake("you divide by n; across w there are n - 1 directions.", "(len(w) - 1)", "len(w)")
exercise.mistake(
    "the variance along w is still in the mean: subtract it from the trace, and divide by n - 1.",
    "(np.trace(C) - along) / (len(w) - 1)",
    "np.trace(C) / len(w)",
)
exercise.mistake(
    "the variance along w is still in the sum: subtract it from the trace.", "(np.trace(C) - along)", "np.trace(C)"
)
exercise.mistake("you divide by the sum of the variances across w; take their mean.", " / (len(w) - 1)", "")
exercise.mistake(
    "you divide by the sum of all variances, the trace; take the mean of those across w.",
    "(np.trace(C) - along) / (len(w) - 1)",
    "np.trace(C)",
)
exercise.mistake(
    "w is not divided by its length: wᵀ C w is ‖w‖² times the variance along w.", "w / np.linalg.norm(w)", "w"
)
exercise.mistake("wᵀ C w is divided by ‖w‖ once; it holds w twice.", "u @ C @ u", "w @ C @ u")
exercise.mistake("the fraction is upside down.", "along / across", "across / along")
exercise.mistake(
    "you compare standard deviations; r compares variances.", "return along / across", "return np.sqrt(along / across)"
)
exercise.mistake(
    "you divide by the largest variance across w; take the mean.",
    "(np.trace(C) - along) / (len(w) - 1)",
    "np.linalg.eigvalsh((np.eye(len(w)) - np.outer(u, u)) @ C @ (np.eye(len(w)) - np.outer(u, u)))[-1]",
)
exercise.mistake("‖C u‖ stands where uᵀ C u belongs.", "u @ C @ u", "np.linalg.norm(C @ u)")
exercise.mistake("you use the diagonal of C only; uᵀ C u needs all of C.", "u @ C @ u", "u @ np.diag(np.diag(C)) @ u")
exercise.mistake(
    "you return the variance along w; it is to be divided by the mean across w.",
    "return along / across",
    "return along",
)
exercise.mistake(
    "what you subtract from the trace is wᵀ C w; it has to be divided by ‖w‖² there, too.",
    "(np.trace(C) - along)",
    "(np.trace(C) - w @ C @ w)",
)
exercise.mistake(
    "you leave out the first axis, not the direction of w.",
    "(np.trace(C) - along) / (len(w) - 1)",
    "np.mean(np.diag(C)[1:])",
)
exercise.mistake(
    "you add up all entries of C; the variances stand on its diagonal, and their sum is the trace.",
    "np.trace(C)",
    "np.sum(C)",
)
