"""4.3 From C to D

Minibatches give a cloud of gradients. Its covariance matrix is C, with the divisor N:

    C = 1/N Σ_i (∇_i - ∇̄)(∇_i - ∇̄)ᵀ,   ∇̄ the mean of the N gradients

Weight normalization turns each gradient of w into one of v by equation 4, so their covariance becomes

    D = (g²/‖v‖²) M_w C M_w,   M_w = I - u uᵀ,   u = w/‖w‖ = v/‖v‖

(up to a sign of u, which drops out). Write both.

    gradient_covariance(gradients)
        gradients : array (N, n), a gradient in each row; N is at least 2
        returns C, array (n, n)

    preconditioned_covariance(C, v, g)
        C : array (n, n), symmetric
        v : array (n,), not zero
        g : float
        returns D, array (n, n)

For example, the gradients (3, 0) and (1, 0) have the mean (2, 0), and are 1 away from it, along the first axis. And
with v = (3, 4) and g = 10, g²/‖v‖² is 4:

    gradient_covariance(np.array([[3.0, 0.0], [1.0, 0.0]]))                # [[1.0, 0.0], [0.0, 0.0]]
    preconditioned_covariance(np.eye(2), np.array([3.0, 4.0]), 10.0)       # [[2.56, -1.92], [-1.92, 1.44]]
"""

import numpy as np


def gradient_covariance(gradients):
    """The covariance matrix of the rows, with the divisor N."""
    # solution
    apart = gradients - np.mean(gradients, axis=0)
    return apart.T @ apart / len(gradients)
    # end of solution


def preconditioned_covariance(C, v, g):
    """D = (g²/‖v‖²) M_w C M_w."""
    # solution
    M = np.eye(len(v)) - np.outer(v, v) / (v @ v)
    return g**2 / (v @ v) * M @ C @ M
    # end of solution


# %% Laws

from hypothesis import strategies as st

from lessons.exercises import Exercise, agree, numbers
from lessons.exercises.cases import NUMBERS, matrices, vectors

exercise = Exercise(
    __file__,
    "lesson 04, part 2",
    hints=[
        "First subtract the mean gradient, an array (n,), from each row: the mean over axis 0.",
        "The sum over i of the products of entry j and entry k is what a product of matrices does: (n, N) times "
        "(N, n).",
        "For D, M_w is a matrix as in 4.2, with v in place of w. It stands on both sides of C. g/‖v‖ comes in "
        "squared, since "
        "a covariance is a mean of squares.",
    ],
)
SEVERAL = st.integers(2, 4)


@st.composite
def clouds(draw):
    """Gradients of w, and a direction to look at."""
    gradients = draw(matrices(SEVERAL, SEVERAL))
    return gradients, draw(vectors(gradients.shape[1]))


@st.composite
def neurons(draw):
    """The same, with v and g."""
    gradients, d = draw(clouds())
    v = draw(vectors(len(d)))
    v[0] = v[0] if v.any() else 1.0
    return gradients, d, v, draw(NUMBERS)


def covariance(gradients):
    """C, entry by entry."""
    apart = gradients - gradients.mean(axis=0)
    return np.array([[np.mean(x * y) for y in apart.T] for x in apart.T])


@exercise.law("C has the shape (n, n)", clouds())
def shape_of_c(answer, case):
    n = case[0].shape[1]
    numbers("C", answer.gradient_covariance(case[0]), (n, n))


@exercise.law("dᵀ C d is the variance of the gradients along d", clouds())
def variance(answer, case):
    gradients, d = case
    C = numbers("C", answer.gradient_covariance(gradients), (len(d), len(d)))
    agree(f"dᵀ C d for d = {d.tolist()}", d @ C @ d, np.var(gradients @ d))


@exercise.law("C is symmetric", clouds())
def symmetric(answer, case):
    C = np.asarray(answer.gradient_covariance(case[0]))
    agree("the transpose of C", C.T, C)


@exercise.law("adding the same vector to all gradients leaves C as it is", clouds())
def shifted(answer, case):
    gradients, d = case
    agree("C", answer.gradient_covariance(gradients + d), answer.gradient_covariance(gradients))


@exercise.law("the gradients are left as they were", clouds())
def untouched(answer, case):
    given = case[0].copy()
    answer.gradient_covariance(given)
    agree("the gradients after the call", given, case[0])


@exercise.law("D has the shape (n, n)", neurons())
def shape_of_d(answer, case):
    gradients, d, v, g = case
    numbers("D", answer.preconditioned_covariance(covariance(gradients), v, g), (len(d), len(d)))


@exercise.law("there is no noise along v: D v = 0", neurons())
def no_noise(answer, case):
    gradients, _, v, g = case
    D = np.asarray(answer.preconditioned_covariance(covariance(gradients), v, g))
    agree("D v", D @ v, np.zeros(len(v)))


@exercise.law("dᵀ D d is the variance along d of the gradients of v, which equation 4 makes of those of w", neurons())
def variance_of_v(answer, case):
    gradients, d, v, g = case
    u = v / np.linalg.norm(v)
    for_v = g / np.linalg.norm(v) * (gradients - np.outer(gradients @ u, u))
    D = np.asarray(answer.preconditioned_covariance(covariance(gradients), v, g))
    agree(f"dᵀ D d for d = {d.tolist()}", d @ D @ d, np.var(for_v @ d))
    agree("the transpose of D", D.T, D)


exercise.mistake("your divisor is N - 1; here it is N.", "/ len(gradients)", "/ (len(gradients) - 1)")
exercise.mistake("the division by N is missing.", " / len(gradients)", "")
exercise.mistake(
    "you divide by n, the number of entries; divide by N, the number of gradients.",
    "/ len(gradients)",
    "/ gradients.shape[1]",
)
exercise.mistake(
    "the mean gradient is not subtracted: that is the mean of the squares, not the variance.",
    " - np.mean(gradients, axis=0)",
    "",
)
exercise.mistake(
    "you subtract from each gradient the mean of its own entries; ∇̄ is the mean over the gradients, axis 0.",
    "np.mean(gradients, axis=0)",
    "np.mean(gradients, axis=1, keepdims=True)",
)
exercise.mistake(
    "you subtract one number, the mean of all entries; ∇̄ is a vector.",
    "np.mean(gradients, axis=0)",
    "np.mean(gradients)",
)
exercise.mistake(
    "the rows are the gradients, so the product is to sum over rows: (n, N) times (N, n). Yours has the shape (N, N).",
    "apart.T @ apart",
    "apart @ apart.T",
)
exercise.mistake(
    "you compute the variance of each entry alone; C also holds the covariances of different entries.",
    "return apart.T @ apart / len(gradients)",
    "return np.diag(np.var(gradients, axis=0))",
)
exercise.mistake(
    "you subtract the sum of the gradients, not their mean.", "np.mean(gradients, axis=0)", "np.sum(gradients, axis=0)"
)
exercise.mistake("g/‖v‖ stands where g²/‖v‖² belongs.", "g**2 / (v @ v) *", "g / np.linalg.norm(v) *")
exercise.mistake("the factor g²/‖v‖² of D is missing.", "g**2 / (v @ v) * M", "M")
exercise.mistake("the factor of D is upside down: it is g²/‖v‖².", "g**2 / (v @ v) * M", "np.float64(v @ v) / g**2 * M")
exercise.mistake("g is not squared in the factor of D.", "g**2", "g")
exercise.mistake("‖v‖ is not squared in the factor of D.", "g**2 / (v @ v)", "g**2 / np.linalg.norm(v)")
exercise.mistake("the division by ‖v‖² in the factor of D is missing.", "g**2 / (v @ v) *", "g**2 *")
exercise.mistake("M_w stands only to the left of C; it belongs on both sides.", "M @ C @ M", "M @ C")
exercise.mistake("M_w stands only to the right of C; it belongs on both sides.", "M @ C @ M", "C @ M")
exercise.mistake("you multiply M_w and C entry by entry; these are products of matrices.", "* M @ C @ M", "* M * C * M")
exercise.mistake("M_w is missing: D is more than a multiple of C.", "* M @ C @ M", "* C")
exercise.mistake("w wᵀ in M_w is not divided by ‖v‖².", "np.outer(v, v) / (v @ v)", "np.outer(v, v)")
exercise.mistake(
    "w wᵀ in M_w is divided by ‖v‖; it takes ‖v‖².", "np.outer(v, v) / (v @ v)", "np.outer(v, v) / np.linalg.norm(v)"
)
exercise.mistake("v vᵀ/‖v‖² stands where M_w belongs; subtract it from I.", "np.eye(len(v)) - np", "np")
exercise.mistake("the factor g²/‖v‖² comes in twice.", "g**2 / (v @ v) *", "(g**2 / (v @ v)) ** 2 *")
for options in ("", ", bias=True"):
    exercise.mistake(
        "`np.cov` takes each row for a variable, unless you say rowvar=False; here the rows are the samples.",
        "return apart.T @ apart / len(gradients)",
        f"return np.cov(gradients{options})",
    )
