"""4.1 Equation 4 without the matrix

M_w = I - u uᵀ with u = w/‖w‖ takes out of a vector d its part along w, and leaves the rest. The matrix has n² entries,
and nobody needs them: M_w d = d - (d · u) u takes about 4n operations. Write that, for several vectors at once. Your
function must not form any array of n × n entries; a law looks at the memory that it takes.

    project(w, d)
        w : array (n,), not zero; of any length
        d : array (m, n), a vector in each row
        returns array (m, n), M_w d in each row

For example, along w = (3, 4) lies the direction u = (0.6, 0.8). The vector (1, 2) has the part (1, 2) · u = 2.2 along
it, and 2.2 u = (1.32, 1.76); what is left is (-0.32, 0.24). Of (6, 8) nothing is left.

    project(np.array([3.0, 4.0]), np.array([[1.0, 2.0], [6.0, 8.0]]))     # [[-0.32, 0.24], [0.0, 0.0]]
"""

import numpy as np


def project(w, d):
    """Each row of d without its part along w."""
    # solution
    u = w / np.linalg.norm(w)
    return d - (d @ u)[:, None] * u
    # end of solution


# %% Laws

import tracemalloc

from hypothesis import strategies as st

from lessons.exercises import Exercise, agree, hold, numbers
from lessons.exercises.cases import SIZES, matrices, vectors

MANY = 3000  # a matrix of MANY × MANY entries takes 72 MB, a vector 0.024

exercise = Exercise(
    __file__,
    "lesson 04, part 1",
    hints=[
        "Divide w by its length first. How long w is must not matter.",
        "The numbers d · u, one for each row, are the product of the array (m, n) with the vector (n,): an array (m,).",
        "Each row loses its own multiple of u. An array (m, 1) times an array (n,) is an array (m, n).",
    ],
)


@st.composite
def cases(draw):
    w = draw(vectors())
    w[0] = w[0] if w.any() else 1.0
    return w, draw(matrices(SIZES, len(w)))


def projected(answer, w, d):
    return numbers("M_w d", answer.project(w, d), d.shape)


@exercise.law("the result has the shape of d", cases())
def shape(answer, case):
    projected(answer, *case)


@exercise.law("what is left is at a right angle to w", cases())
def right_angle(answer, case):
    w, d = case
    agree("M_w d · w, row by row", projected(answer, w, d) @ w, np.zeros(len(d)))


@exercise.law("what is taken out lies along w", cases())
def along(answer, case):
    w, d = case
    taken = d - projected(answer, w, d)
    agree("‖w‖² times what is taken out", w @ w * taken, np.outer(taken @ w, w))


@exercise.law("a second time there is nothing left to take out", cases())
def again(answer, case):
    w, d = case
    once = projected(answer, w, d)
    agree("M_w M_w d", projected(answer, w, once), once)


@exercise.law("only the direction of w counts, not its length or its sign", cases())
def direction(answer, case):
    w, d = case
    agree("M_w d with -2w in place of w", projected(answer, -2 * w, d), projected(answer, w, d))


@exercise.law("the arguments are left as they were", cases())
def untouched(answer, case):
    w, d = case[0].copy(), case[1].copy()
    answer.project(w, d)
    agree("w after the call", w, case[0])
    agree("d after the call", d, case[1])


def memory(answer):
    """The bytes that the answer takes at most for one vector of MANY entries."""
    w, d = np.ones(MANY), np.eye(1, MANY)
    tracemalloc.start()
    try:
        answer.project(w, d)
        return tracemalloc.get_traced_memory()[1]
    except MemoryError:
        return np.inf
    finally:
        tracemalloc.stop()


@exercise.law("it takes a few arrays of n numbers, and no matrix")
def no_matrix(answer):
    took, matrix = memory(answer) / 1e6, 8 * MANY**2 / 1e6
    hold(
        took < matrix / 8,
        f"the memory it takes for n = {MANY}, in MB",
        took,
        f"far less than the {matrix:g} of a matrix",
    )


exercise.mistake(
    "you multiply by w where u = w/‖w‖ belongs: the division by ‖w‖ is missing.", "w / np.linalg.norm(w)", "w"
)
exercise.mistake(
    "w appears twice in w (d · w), so it has to be divided by ‖w‖ twice; you do it once.",
    "(d @ u)[:, None]",
    "(d @ w)[:, None]",
)
exercise.mistake("you divide by ‖w‖ too often: u has to have length 1.", "np.linalg.norm(w)", "(w @ w)")
exercise.mistake("you add the part along w; it is to be taken away.", "return d - (d", "return d + (d")
exercise.mistake("you return the part along w; what is wanted is the rest.", "return d - (d", "return (d")
exercise.mistake(
    "the sign is flipped: you return the part along w minus d.",
    "return d - (d @ u)[:, None] * u",
    "return (d @ u)[:, None] * u - d",
)
exercise.mistake(
    "d · u is a sum over all entries of a row; you multiply entry by entry and do not add up.",
    "(d @ u)[:, None] * u",
    "d * u * u",
)
exercise.mistake(
    "d · u is to be a number for each row; you add up all rows.", "(d @ u)[:, None] * u", "np.sum(d * u) * u"
)
exercise.mistake(
    "you take away d · u from each entry; it still has to be multiplied by u.",
    "(d @ u)[:, None] * u",
    "(d @ u)[:, None]",
)
exercise.mistake(
    "you divide by the sum of |w|; the length ‖w‖ is the root of the sum of squares.",
    "np.linalg.norm(w)",
    "np.abs(w).sum()",
)
exercise.mistake(
    "d · u multiplies columns: NumPy pairs its entries with the last axis. To multiply rows it needs a new axis.",
    "(d @ u)[:, None] * u",
    "(d @ u) * u",
)
exercise.mistake(
    "you rescale what is left to its old length; the projection makes it shorter.",
    "return d - (d @ u)[:, None] * u",
    "rest = d - (d @ u)[:, None] * u\n"
    "    return rest * np.linalg.norm(d, axis=1, keepdims=True) / np.linalg.norm(rest, axis=1, keepdims=True)",
)
MATRIX = "you form the matrix M_w, or another one of n × n entries. Compute d · u first: then only vectors are left."
exercise.mistake(MATRIX, "return d - (d @ u)[:, None] * u", "return d - d @ np.outer(u, u)")


@exercise.symptom(MATRIX)
def matrix(answer):
    small = answer.project(np.array([3.0, 4.0]), np.array([[1.0, 2.0]]))
    return np.allclose(small, [[-0.32, 0.24]]) and memory(answer) > MANY**2


exercise.mistake(
    "you take the part along w away twice, which mirrors d; once leaves nothing along w.",
    "return d - (d @ u)[:, None] * u",
    "return d - 2 * (d @ u)[:, None] * u",
)
exercise.mistake(
    "you take the absolute value of d · u; it is negative where d points against w.",
    "(d @ u)[:, None] * u",
    "np.abs(d @ u)[:, None] * u",
)
