"""9.3 ZCA whitening

Write the map that whitens pictures: with the mean picture m and the eigenvectors U (in columns) and eigenvalues S of
the pixels' covariance matrix,

    x ↦ (x - m) U diag(1/√(S + eps)) Uᵀ.

    zca(x, eps)
        x : array (N, D), one picture of D pixels in each row
        eps : float above 0; it keeps directions without variance finite
        returns (m, matrix), arrays (D,) and (D, D): a picture x, or many in rows, becomes (x - m) @ matrix

The covariance is the mean over the pictures (divide by N) of the products of two pixels' deviations from m. For
example, pixels with variances 3 and 8, uncorrelated, and eps = 1:

    r = np.sqrt([3.0, 8.0])
    x = 5 + np.array([[1.0, 1.0], [1.0, -1.0], [-1.0, 1.0], [-1.0, -1.0]]) * r
    zca(x, 1.0)     # [5.0, 5.0],  [[1/2, 0.0], [0.0, 1/3]]
"""

import numpy as np


def zca(x, eps):
    """The mean picture, and the matrix that whitens."""
    # solution
    m = x.mean(axis=0)
    centred = x - m
    S, U = np.linalg.eigh(centred.T @ centred / len(x))
    return m, (U / np.sqrt(S + eps)) @ U.T
    # end of solution


# %% Laws

from hypothesis import strategies as st

from lessons.exercises import Exercise, agree, hold
from lessons.exercises.cases import matrices

exercise = Exercise(
    __file__,
    "lesson 09, part 1",
    hints=[
        "m is the mean over the pictures, so along axis 0. The covariance is a matrix (D, D): a product of the centred "
        "pictures with themselves, summed over the pictures.",
        "`np.linalg.eigh` takes a symmetric matrix and gives (S, U), with the eigenvectors in the columns of U.",
        "U diag(s) is U with column k multiplied by s_k: `U * s`, since NumPy aligns from the right. Then comes Uᵀ.",
    ],
)


@st.composite
def cases(draw):
    x = draw(matrices(st.integers(2, 5), st.integers(1, 3)))
    return x, draw(st.sampled_from([1.0, 0.25, 4.0]))


def both(answer, case):
    came = answer.zca(*case)
    hold(isinstance(came, (tuple, list)) and len(came) == 2, "what comes out", came, "(m, matrix)")
    return came


def covariance(x):
    centred = x - sum(x) / len(x)
    return sum(np.outer(row, row) for row in centred) / len(x)


@exercise.law("m has D entries, the matrix D × D, and the pictures are left as they were", cases())
def shapes(answer, case):
    x, pixels = case[0].copy(), case[0].shape[1]
    m, matrix = both(answer, (x, case[1]))
    hold(np.shape(m) == (pixels,), "the shape of m", np.shape(m), (pixels,))
    hold(np.shape(matrix) == (pixels, pixels), "the shape of the matrix", np.shape(matrix), (pixels, pixels))
    agree("x after the call", x, case[0], 0, 0)


@exercise.law("m is the mean picture: the pictures less m add up to zero", cases())
def mean(answer, case):
    agree("the sum of x - m", (case[0] - both(answer, case)[0]).sum(axis=0), np.zeros(case[0].shape[1]))


@exercise.law("the matrix is symmetric", cases())
def symmetric(answer, case):
    matrix = both(answer, case)[1]
    agree("the matrix", matrix, np.transpose(matrix))


@exercise.law("a direction in which all pictures agree is multiplied by 1/√eps", cases())
def constant(answer, case):
    x, eps = case
    x = np.concatenate([x, np.full((len(x), 1), 3.0)], axis=1)  # one more pixel, the same in all pictures
    last = np.eye(x.shape[1])[-1]
    agree("that pixel's row of the matrix", both(answer, (x, eps))[1][-1], last / np.sqrt(eps))


@exercise.law("with C the covariance, matrix (C + eps I) matrix = I", cases())
def whitens(answer, case):
    x, eps = case
    matrix = both(answer, case)[1]
    identity = np.eye(x.shape[1])
    agree("matrix (C + eps I) matrix", matrix @ (covariance(x) + eps * identity) @ matrix, identity)


@exercise.law("the matrix has no negative eigenvalue: no direction is turned round", cases())
def positive(answer, case):
    lowest = np.linalg.eigvalsh(both(answer, case)[1])[0]
    hold(lowest > 0, "its smallest eigenvalue", lowest, "above 0")


exercise.mistake(
    "eps is added to the deviation; it belongs to the eigenvalue, under the root.",
    "np.sqrt(S + eps)",
    "(np.sqrt(abs(S)) + eps)",
)
exercise.mistake("the root is missing: it divides by S + eps.", "np.sqrt(S + eps)", "(S + eps)")
exercise.mistake("eps is left out: a direction without variance becomes infinite.", "np.sqrt(S + eps)", "np.sqrt(S)")
exercise.mistake("it multiplies by √(S + eps); whitening divides.", "U / np.sqrt(S + eps)", "U * np.sqrt(S + eps)")
exercise.mistake(
    "the last factor Uᵀ is missing: that whitens as well (PCA), but leaves the pictures in the eigenvectors' frame.",
    "(U / np.sqrt(S + eps)) @ U.T",
    "U / np.sqrt(S + eps)",
)
exercise.mistake(
    "U and Uᵀ have changed places: `eigh` gives the eigenvectors in the columns.",
    "(U / np.sqrt(S + eps)) @ U.T",
    "(U.T / np.sqrt(S + eps)) @ U",
)
exercise.mistake(
    "the rows of U are divided; it is the columns that are the eigenvectors.",
    "(U / np.sqrt(S + eps)) @ U.T",
    "(U / np.sqrt(S + eps)[:, None]) @ U.T",
)
exercise.mistake("the covariance is divided by N - 1; divide by N.", "/ len(x))", "/ max(len(x) - 1, 1))")
exercise.mistake("the covariance is not divided by N.", "centred.T @ centred / len(x)", "centred.T @ centred")
exercise.mistake(
    "the covariance is formed before the mean picture is subtracted.",
    "centred.T @ centred / len(x)",
    "x.T @ x / len(x)",
)
exercise.mistake(
    "m is one number, the mean of all pixels; every pixel has its own.",
    "x.mean(axis=0)",
    "np.full(x.shape[1], x.mean())",
)
exercise.mistake(
    "each pixel is divided by its own deviation; correlations between pixels stay.",
    "(U / np.sqrt(S + eps)) @ U.T",
    "np.diag(1 / np.sqrt(x.var(axis=0) + eps))",
)
exercise.mistake(
    "the whitened pictures come out; what is asked for is the matrix that they are multiplied by.",
    "(U / np.sqrt(S + eps)) @ U.T",
    "centred @ (U / np.sqrt(S + eps)) @ U.T",
)
