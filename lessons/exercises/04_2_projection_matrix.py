"""4.2 The projection matrix and the condition number

Now with matrices, for small n. Write two functions: the matrix of equation 4, M_w = I - w wᵀ/‖w‖², and the condition
number of M_w C M_w for a covariance matrix C. As an n × n matrix M_w C M_w has the eigenvalue 0, which belongs to w.
Gradient descent never moves v along w, so that one is left out: the condition number is the largest of the other n - 1
eigenvalues, divided by the smallest of them.

    projection_matrix(w)
        w : array (n,), not zero; of any length
        returns M_w, array (n, n)

    condition_across(w, C)
        w : array (n,), n at least 2, not zero
        C : array (n, n), symmetric; all its eigenvalues are positive
        returns a float

For example, w = (3, 4) has ‖w‖² = 25. And the directions across w = (0, 0, 2) are the first two axes, with the
variances 8 and 2:

    projection_matrix(np.array([3.0, 4.0]))                                   # [[0.64, -0.48], [-0.48, 0.36]]
    condition_across(np.array([0.0, 0.0, 2.0]), np.diag([8.0, 2.0, 100.0]))   # 4.0
"""

import numpy as np


def projection_matrix(w):
    """M_w = I - w wᵀ/‖w‖²."""
    # solution
    return np.eye(len(w)) - np.outer(w, w) / (w @ w)
    # end of solution


def condition_across(w, C):
    """Largest over smallest eigenvalue of M_w C M_w, without the 0 that belongs to w."""
    # solution
    M = projection_matrix(w)
    values = np.linalg.eigvalsh(M @ C @ M)  # in ascending order
    return values[-1] / values[1]
    # end of solution


# %% Laws

from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from lessons.exercises import Exercise, agree, numbers
from lessons.exercises.cases import NUMBERS, POSITIVE, vectors

exercise = Exercise(
    __file__,
    "lesson 04, parts 1 and 3",
    hints=[
        "w wᵀ is the array of all products w_i w_j: `np.outer`. ‖w‖² is the product of w with itself.",
        "`np.linalg.eigvalsh` returns the eigenvalues of a symmetric matrix, in ascending order. M_w C is not "
        "symmetric; M_w C M_w is.",
        "Except for rounding, no eigenvalue is negative. So in ascending order the 0 of w comes first, and the "
        "smallest that counts comes second.",
    ],
)


@st.composite
def weights(draw, least=1):
    w = draw(vectors(draw(st.integers(least, 4))))
    w[0] = w[0] if w.any() else 1.0
    return w


def basis(w):
    """An orthogonal matrix whose first column is w/‖w‖, up to its sign: a reflection."""
    h = w / np.linalg.norm(w)
    h[0] += 1 if h[0] >= 0 else -1
    return np.eye(len(w)) - 2 * np.outer(h, h) / (h @ h)


@st.composite
def covariances(draw):
    """w, C, and the eigenvalues of C across w, which C has been made of."""
    w = draw(weights(least=2))
    values = draw(arrays(float, len(w) - 1, elements=POSITIVE))
    mixed = draw(arrays(float, len(w) - 1, elements=NUMBERS))  # covariance of the noise along w with that across
    inner = np.diag(np.append(draw(POSITIVE) + np.sum(mixed**2 / values), values))
    inner[0, 1:] = inner[1:, 0] = mixed
    return w, basis(w) @ inner @ basis(w), values


def matrix(answer, w):
    return numbers("M_w", answer.projection_matrix(w), (len(w), len(w)))


@exercise.law("M_w has the shape (n, n)", weights())
def shape(answer, w):
    matrix(answer, w)


@exercise.law("M_w w = 0", weights())
def no_part_along(answer, w):
    agree("M_w w", matrix(answer, w) @ w, np.zeros(len(w)))


@exercise.law("M_w leaves alone what is at a right angle to w", weights())
def rest(answer, w):
    M = matrix(answer, w)
    for i in range(len(w)):
        for j in range(i):
            d = np.zeros(len(w))
            d[i], d[j] = w[j], -w[i]
            agree(f"M_w d for d = {d.tolist()}", M @ d, d)


@exercise.law("M_w M_w = M_w, and M_w is symmetric", weights())
def projection(answer, w):
    M = matrix(answer, w)
    agree("M_w M_w", M @ M, M)
    agree("the transpose of M_w", M.T, M)


@exercise.law("the condition number is that of the noise across w, whatever the noise along w is", covariances())
def across(answer, case):
    w, C, values = case
    came = numbers("the condition number", answer.condition_across(w, C), ())
    agree("the condition number", came, values.max() / values.min(), rtol=1e-6)


@exercise.law(
    "one dominant direction e at the angle θ to w: κ = 1 + (Λ - 1) sin²θ", st.tuples(POSITIVE, st.integers(0, 6))
)
def one_direction(answer, case):
    largest, angle = 1 + case[0], np.radians(15 * case[1])
    e = np.array([1.0, 0.0, 0.0])
    C = np.eye(3) + (largest - 1) * np.outer(e, e)
    w = np.array([np.cos(angle), np.sin(angle), 0.0])
    came = numbers("κ", answer.condition_across(w, C), ())
    agree(f"κ for Λ = {largest:g}, θ = {15 * case[1]}°", came, 1 + (largest - 1) * np.sin(angle) ** 2)


exercise.mistake("the division by ‖w‖² is missing.", " / (w @ w)", "")
exercise.mistake("you divide w wᵀ by ‖w‖; it holds w twice, so it takes ‖w‖².", "(w @ w)", "np.linalg.norm(w)")
exercise.mistake("you add w wᵀ/‖w‖²; it is to be subtracted.", "np.eye(len(w)) - np", "np.eye(len(w)) + np")
exercise.mistake(
    "you return w wᵀ/‖w‖², which keeps the part along w and drops the rest; it is to be subtracted from I.",
    "return np.eye(len(w)) - np",
    "return np",
)
exercise.mistake(
    "w * w multiplies entry by entry; w wᵀ is the matrix of all products w_i w_j.", "np.outer(w, w)", "w * w"
)
exercise.mistake(
    "you subtract from a matrix of ones; I has ones on the diagonal only.",
    "np.eye(len(w))",
    "np.ones((len(w), len(w)))",
)
exercise.mistake(
    "you divide by the sum of |w|; ‖w‖² is the sum of the squares.",
    "(w @ w)",
    "np.abs(w).sum()",
)
exercise.mistake("you use M_w C; D has M_w on both sides.", "M @ C @ M", "M @ C")
exercise.mistake("you use C M_w; D has M_w on both sides.", "M @ C @ M", "C @ M")
exercise.mistake(
    "you return the condition number of C itself; M_w C M_w is the matrix to look at.",
    "M @ C @ M",
    "C",
    "values[1]",
    "values[0]",
)
exercise.mistake("you took the eigenvalues of C itself, not of M_w C M_w.", "M @ C @ M", "C")
exercise.mistake(
    "the fraction is upside down: the largest eigenvalue is to be divided by the smallest.",
    "values[-1] / values[1]",
    "values[1] / values[-1]",
)
exercise.mistake(
    "you leave out two eigenvalues; only one is 0, that of w.", "/ values[1]", "/ values[min(2, len(values) - 1)]"
)
exercise.mistake(
    "you take the second largest eigenvalue; the one to leave out is the smallest, 0.",
    "values[-1] / values[1]",
    "values[-2] / values[1]",
)
exercise.mistake(
    "you divide by the mean of the eigenvalues; divide by the smallest.",
    "values[-1] / values[1]",
    "values[-1] / np.mean(values[1:])",
)
exercise.mistake(
    "you return the root of the condition number.",
    "return values[-1] / values[1]",
    "return np.sqrt(values[-1] / values[1])",
)
exercise.mistake(
    "you return the largest eigenvalue; it is to be divided by the smallest across w.",
    "values[-1] / values[1]",
    "values[-1]",
)
exercise.mistake(
    "w @ w.T is a number: the transpose of an array of one axis is the array itself. w wᵀ is `np.outer(w, w)`.",
    "np.outer(w, w)",
    "(w @ w)",
)
WITH_ZERO = (
    "you divide by the eigenvalue 0 of w itself, or by what rounding has left of it; that one is to be left out."
)
exercise.mistake(WITH_ZERO, "values[-1] / values[1]", "values[-1] / values[0]")


NEARLY_NONE = (
    "you divide the eigenvalue 0 of w, or what rounding has left of it, by another one; `np.linalg.eigvalsh` has the "
    "smallest eigenvalue first and the largest last."
)
exercise.mistake(NEARLY_NONE, "values[-1] / values[1]", "values[0] / max(values[-2], 1e-300)")


def in_space(answer):
    """The condition number of an example, None if the matrix is wrong already."""
    w, C = np.array([1.0, 2.0, 3.0]), np.diag([3.0, 2.0, 1.0])
    M = answer.projection_matrix(w)
    if not np.allclose(M @ w, 0) or not np.isclose(np.trace(M), 2):
        return None
    return float(answer.condition_across(w, C))


@exercise.symptom(WITH_ZERO)
def with_zero(answer):
    value = in_space(answer)
    return value is not None and not abs(value) < 1e9


@exercise.symptom(NEARLY_NONE)
def nearly_none(answer):
    value = in_space(answer)
    return value is not None and abs(value) < 1e-9
