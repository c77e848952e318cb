"""8.6 Batch normalization as weight normalization

For whitened inputs batch normalization is weight normalization. So for *any* inputs it is weight normalization of other
inputs and other directions. Find them: transform the inputs x of a minibatch so that they are whitened, and the weight
vectors v so that every t = v · x changes only by its mean.

    whitened_layer(x, v)
        x : array (B, n), one example in each row; its covariance has no eigenvalue 0
        v : array (units, n), one weight vector in each row, none of them zero
        returns (x_white, v_white), arrays (B, n) and (units, n)

- x_white has mean 0 and, over these very examples, the covariance x_whiteᵀ x_white/B = I. It is x less its mean, times
  a matrix (n, n); the symmetric one will do, (XᵀX/B)^(-1/2) for the centred inputs X.
- v_white · x_white = v · (x - μ[x]) for every example and unit. So v_white is v times the inverse of that matrix.

Then v_white · x_white/‖v_white‖ is (t - μ[t])/σ[t], where t = v · x on the old inputs.

For example, with one input whose mean is 3 and whose deviation is 2:

    whitened_layer(np.array([[1.0], [5.0]]), np.array([[4.0]]))     # [[-1.0], [1.0]],  [[8.0]]
"""

import numpy as np


def whitened_layer(x, v):
    """Inputs and directions with which weight normalization does what batch normalization does on x and v."""
    # solution
    centred = x - x.mean(axis=0)
    variances, directions = np.linalg.eigh(centred.T @ centred / len(x))
    x_white = centred @ (directions / np.sqrt(variances)) @ directions.T
    v_white = v @ (directions * np.sqrt(variances)) @ directions.T
    return x_white, v_white
    # end of solution


# %% Laws

from hypothesis import strategies as st

from lessons.exercises import Exercise, agree, hold
from lessons.exercises.cases import NUMBERS, matrices

exercise = Exercise(
    __file__,
    "lesson 08, part 2",
    hints=[
        "Centre x, and form the covariance XᵀX/B of what is left: a symmetric matrix (n, n).",
        "`np.linalg.eigh` gives the eigenvalues S and, in the columns of U, the eigenvectors. U diag(S) Uᵀ is the "
        "covariance; any power of it has the same U, and the powers of S.",
        "x is multiplied by U diag(1/√S) Uᵀ, and v by the inverse of that matrix, which has √S in place of 1/√S.",
    ],
)
SIGNS = np.array([[1, 1, 1, 1], [1, 1, -1, -1], [1, -1, 1, -1], [1, -1, -1, 1]]).T[:, 1:].astype(float)


@st.composite
def cases(draw):
    """Four examples: columns of signs, which are whitened, times a triangular matrix, plus a mean."""
    n = draw(st.integers(1, 3))
    mixing = np.triu(draw(matrices(n, n)), 1) + np.diag(
        draw(matrices(1, n, elements=st.sampled_from([3.0, 1.0, 0.5])))[0]
    )
    mean = draw(matrices(1, n, elements=NUMBERS))
    return SIGNS[:, :n] @ mixing + mean, draw(matrices(st.integers(1, 3), n, rows_not_zero=True))


def both(answer, case):
    came = answer.whitened_layer(*case)
    hold(isinstance(came, (tuple, list)) and len(came) == 2, "what comes out", came, "(x_white, v_white)")
    return came


@exercise.law("the new inputs and directions have the shapes of the old ones", cases())
def shapes(answer, case):
    for name, came, like in zip(("x_white", "v_white"), both(answer, case), case, strict=True):
        hold(np.shape(came) == like.shape, f"the shape of {name}", np.shape(came), like.shape)


@exercise.law("every feature of x_white has mean 0", cases())
def mean(answer, case):
    agree("the mean of x_white", both(answer, case)[0].mean(axis=0), np.zeros(case[0].shape[1]))


@exercise.law("the covariance of x_white over the minibatch is I", cases())
def covariance(answer, case):
    white = both(answer, case)[0]
    agree("x_whiteᵀ x_white/B", white.T @ white / len(white), np.eye(white.shape[1]))


@exercise.law("v_white · x_white = v · (x - μ[x])", cases())
def same_t(answer, case):
    x, v = case
    white, v_white = both(answer, case)
    agree("v_white · x_white", white @ v_white.T, (x - x.mean(axis=0)) @ v.T)


@exercise.law("‖v_white‖ is the deviation σ[t] of t = v · x", cases())
def deviation(answer, case):
    x, v = case
    agree("‖v_white‖", np.linalg.norm(both(answer, case)[1], axis=1), (x @ v.T).std(axis=0))


@exercise.law("weight normalization of (x_white, v_white) is batch normalization of t = v · x", cases())
def the_same(answer, case):
    x, v = case
    t = x @ v.T
    white, v_white = both(answer, case)
    of_wn = white @ (v_white / np.linalg.norm(v_white, axis=1, keepdims=True)).T
    agree("v_white · x_white/‖v_white‖", of_wn, (t - t.mean(axis=0)) / t.std(axis=0))


exercise.mistake("the mean is not subtracted from the inputs.", "centred = x - x.mean(axis=0)", "centred = x")
exercise.mistake(
    "the covariance is divided by B - 1; batch normalization divides by B.", "/ len(x))", "/ (len(x) - 1))"
)
exercise.mistake("the covariance is not divided by B.", "centred.T @ centred / len(x)", "centred.T @ centred")
exercise.mistake(
    "the covariance is formed before the mean is subtracted.", "centred.T @ centred / len(x)", "x.T @ x / len(x)"
)
exercise.mistake(
    "the inputs are centred for the covariance, but not when they are multiplied.",
    "x_white = centred @",
    "x_white = x @",
)
exercise.mistake(
    "the roots are missing: x is multiplied by the inverse of the covariance.",
    "directions / np.sqrt(variances)",
    "directions / variances",
)
exercise.mistake(
    "the roots are missing, for x as for v.",
    "directions / np.sqrt(variances)",
    "directions / variances",
    "directions * np.sqrt(variances)",
    "directions * variances",
)
exercise.mistake(
    "the root is missing for v: it is multiplied by the covariance.",
    "directions * np.sqrt(variances)",
    "directions * variances",
)
exercise.mistake(
    "v is multiplied by the same matrix as x; it needs the inverse one.",
    "directions * np.sqrt(variances)",
    "directions * (1 / np.sqrt(variances))",
)
exercise.mistake(
    "x is multiplied by the root of the covariance; whitening divides by it.",
    "directions / np.sqrt(variances)",
    "directions * (variances**0.5)",
)
exercise.mistake(
    "v comes back as it was; x has changed, so v must.",
    "v_white = v @ (directions * np.sqrt(variances)) @ directions.T",
    "v_white = v",
)
exercise.mistake(
    "the last factor Uᵀ is missing for x: it is turned into the eigenvectors' frame, and v is not.",
    "(directions / np.sqrt(variances)) @ directions.T",
    "(directions / np.sqrt(variances))",
)
exercise.mistake(
    "each feature is divided by its own deviation; correlated inputs stay correlated.",
    "centred @ (directions / np.sqrt(variances)) @ directions.T",
    "centred / centred.std(axis=0)",
)
exercise.mistake(
    "U and Uᵀ have changed places: `eigh` gives the eigenvectors in the columns.",
    "centred @ (directions / np.sqrt(variances)) @ directions.T",
    "centred @ (directions.T / np.sqrt(variances)) @ directions",
)
exercise.mistake(
    "each feature is divided by its own deviation; correlated inputs stay correlated.",
    "centred @ (directions / np.sqrt(variances)) @ directions.T",
    "centred / centred.std(axis=0)",
    "v @ (directions * np.sqrt(variances)) @ directions.T",
    "v * centred.std(axis=0)",
)
exercise.mistake(
    "the Cholesky factor L stands where Lᵀ belongs: with X in rows, X L⁻ᵀ is whitened, and v takes L.",
    "    variances, directions = np.linalg.eigh(centred.T @ centred / len(x))\n"
    "    x_white = centred @ (directions / np.sqrt(variances)) @ directions.T\n"
    "    v_white = v @ (directions * np.sqrt(variances)) @ directions.T\n",
    "    factor = np.linalg.cholesky(centred.T @ centred / len(x))\n"
    "    x_white, v_white = centred @ np.linalg.inv(factor), v @ factor\n",
)
exercise.mistake(
    "the Cholesky factor L stands where Lᵀ belongs: with X in rows, X L⁻ᵀ is whitened, and v takes L.",
    "    variances, directions = np.linalg.eigh(centred.T @ centred / len(x))\n"
    "    x_white = centred @ (directions / np.sqrt(variances)) @ directions.T\n"
    "    v_white = v @ (directions * np.sqrt(variances)) @ directions.T\n",
    "    factor = np.linalg.cholesky(centred.T @ centred / len(x))\n"
    "    x_white, v_white = centred @ np.linalg.inv(factor), v @ factor.T\n",
)
