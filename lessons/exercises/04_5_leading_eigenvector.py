"""4.5 The leading eigenvector

The leading eigenvector of C, that of its largest eigenvalue, is the noisiest direction; the lesson asks how close w
is to it. Power iteration finds it by products alone. Each product with C multiplies the part of a vector along an
eigenvector by its eigenvalue. So, product by product, the leading one gains on all others.

    leading_eigenvector(C, start, steps)
        C : array (n, n), symmetric; all its eigenvalues are positive
        start : array (n,), not zero; of any length
        steps : int, 0 or more: how many times to multiply by C
        returns the pair (value, d): d, array (n,), is C C … C start, with `steps` factors C, divided by its length;
            value, a float, is dᵀ C d, the variance along d

Divide by the length after each product, not only at the end: 2^2000 is more than float64 can hold, and one law takes
2000 steps.

For example, one product turns (1, 0) into (2, 1), of length √5; along it the variance is 14/5. Many products end at
(1, 1)/√2, with the eigenvalue 3.

    C = np.array([[2.0, 1.0], [1.0, 2.0]])
    leading_eigenvector(C, np.array([1.0, 0.0]), 1)      # (2.8, [0.894, 0.447])
    leading_eigenvector(C, np.array([1.0, 0.0]), 50)     # (3.0, [0.707, 0.707])
"""

import numpy as np


def leading_eigenvector(C, start, steps):
    """The variance along d, and d: start after so many products with C, of length 1."""
    # solution
    d = start / np.linalg.norm(start)
    for _ in range(steps):
        d = C @ d
        d = d / np.linalg.norm(d)
    return d @ C @ d, d
    # end of solution


# %% Laws

from hypothesis import strategies as st

from lessons.exercises import Exercise, agree, numbers, parts
from lessons.exercises.cases import matrices, vectors

exercise = Exercise(
    __file__,
    "lesson 04, part 4",
    hints=[
        "Divide start by its length before the loop: with 0 steps that is d already.",
        "In each step: multiply by C, then divide by the length of the result.",
        "The value comes last, from the final d: d · (C d). It is not the length that you divided by, though the two "
        "agree in the end.",
    ],
)


@st.composite
def cases(draw, most=5):
    A = draw(matrices(st.integers(1, 3), 2))
    C = A @ A.T + np.eye(len(A))
    start = draw(vectors(len(A)))
    start[0] = start[0] if start.any() else 1.0
    return C, start, draw(st.integers(0, most))


def both(answer, C, start, steps):
    value, d = parts(answer.leading_eigenvector(C, start, steps), "value", "d")
    return float(numbers("value", value, ())), numbers("d", d, start.shape)


@exercise.law("value is a number, and d has the shape of start", cases())
def shapes(answer, case):
    both(answer, *case)


@exercise.law("d has length 1", cases())
def length(answer, case):
    agree("‖d‖", np.linalg.norm(both(answer, *case)[1]), 1.0)


@exercise.law("without steps d is start, divided by its length", cases(most=0))
def none(answer, case):
    start = case[1]
    agree("d", both(answer, *case)[1], start / np.linalg.norm(start))


@exercise.law("d points where the product of all factors C with start points", cases())
def direction(answer, case):
    C, start, steps = case
    product = np.linalg.matrix_power(C, steps) @ start
    agree("d", both(answer, *case)[1], product / np.linalg.norm(product))


@exercise.law("value is the variance along d", cases())
def variance(answer, case):
    value, d = both(answer, *case)
    agree("value", value, np.sum(d * (case[0] @ d)))


@exercise.law(
    "after 2000 steps C d is value times d, and nothing has overflowed",
    st.tuples(st.integers(2, 9), st.integers(1, 9)),
    examples=10,
)
def many(answer, case):
    ratio, scale = case
    # The eigenvalues are 2 and 2 ratio, times scale.
    C = scale * np.array([[ratio + 1.0, ratio - 1.0], [ratio - 1.0, ratio + 1.0]])
    value, d = both(answer, C, np.array([1.0, 0.0]), 2000)
    agree("value, the largest eigenvalue", value, 2.0 * ratio * scale)
    agree("C d", C @ d, value * d)


@exercise.law("the arguments are left as they were", cases())
def untouched(answer, case):
    C, start = case[0].copy(), case[1].copy()
    answer.leading_eigenvector(C, start, case[2])
    agree("start after the call", start, case[1])
    agree("C after the call", C, case[0])


exercise.mistake("you multiply by C once too often.", "range(steps)", "range(steps + 1)")
exercise.mistake("you multiply by C once too few times.", "range(steps)", "range(steps - 1)")
exercise.mistake("with 0 steps start is not divided by its length.", "start / np.linalg.norm(start)", "start * 1.0")
exercise.mistake(
    "d is never divided by its length.",
    "start / np.linalg.norm(start)",
    "start * 1.0",
    "        d = d / np.linalg.norm(d)\n",
    "",
)
exercise.mistake(
    "start is divided by its length, but the products with C are not.", "        d = d / np.linalg.norm(d)\n", ""
)
exercise.mistake(
    "you divide by the length only in the end: after many products the numbers are too large for float64.",
    "        d = d / np.linalg.norm(d)\n",
    "",
    "    return d @ C @ d, d",
    "    d = d / np.linalg.norm(d)\n    return d @ C @ d, d",
)
exercise.mistake(
    "value is the length ‖C d‖; the variance along d is dᵀ C d.",
    "return d @ C @ d, d",
    "return np.linalg.norm(C @ d), d",
)
for at_first in ("np.linalg.norm(start)", "0.0", "1.0"):
    exercise.mistake(
        "value is the length that you divided by in the last step, so it belongs to the d before; compute dᵀ C d from "
        "the final d.",
        "    for _",
        f"    length = {at_first}\n    for _",
        "        d = d / np.linalg.norm(d)\n    return d @ C @ d, d",
        "        length = np.linalg.norm(d)\n        d = d / length\n    return length, d",
    )
for value in ("d @ C @ d", "d @ C @ d / (d @ d)"):
    exercise.mistake(
        "you divide by the length before you multiply by C; after the last product d then has some other length.",
        "start / np.linalg.norm(start)",
        "start * 1.0",
        "        d = C @ d\n        d = d / np.linalg.norm(d)\n    return d @ C @ d, d",
        f"        d = C @ (d / np.linalg.norm(d))\n    return {value}, d",
    )
exercise.mistake(
    "value belongs to the d before the last product; compute it from the final d.",
    "    for _",
    "    value = d @ C @ d\n    for _",
    "        d = C @ d\n",
    "        value = d @ C @ d\n        d = C @ d\n",
    "return d @ C @ d, d",
    "return value, d",
)
exercise.mistake(
    "you divide by the largest entry, not by the length: d has to have length 1.",
    "d = d / np.linalg.norm(d)",
    "d = d / np.max(np.abs(d))",
)
exercise.mistake("you divide by the square of the length.", "d = d / np.linalg.norm(d)", "d = d / (d @ d)")
exercise.mistake("the order is wrong: value comes first, then d.", "return d @ C @ d, d", "return d, d @ C @ d")
exercise.mistake(
    "you return the leading eigenvector itself; what is wanted is start after so many products, however few.",
    "return d @ C @ d, d",
    "values, vectors = np.linalg.eigh(C)\n    return values[-1], vectors[:, -1]",
)
exercise.mistake(
    "your value is dᵀ d, which is always 1; C is missing: it is dᵀ C d.", "return d @ C @ d, d", "return d @ d, d"
)
exercise.mistake(
    "you start from another vector: use start.",
    "start / np.linalg.norm(start)",
    "np.ones(len(start)) / np.sqrt(len(start))",
)
exercise.mistake(
    "value is made from start; compute it from the final d.",
    "return d @ C @ d, d",
    "return start @ C @ start / (start @ start), d",
)
exercise.mistake(
    "value is made from start; compute it from the final d.",
    "return d @ C @ d, d",
    "return start @ C @ start, d",
)
exercise.mistake(
    "the product is summed along the wrong axis: C d is a sum over the columns, axis 1, or simply C @ d.",
    "d = C @ d",
    "d = (C * d).sum(axis=0)",
)
exercise.mistake(
    "value is the length that you divided by in the last step, so it belongs to the d before; compute dᵀ C d from "
    "the final d.",
    "    for _",
    "    length = start @ C @ start / (start @ start)\n    for _",
    "        d = d / np.linalg.norm(d)\n    return d @ C @ d, d",
    "        length = np.linalg.norm(d)\n        d = d / length\n    return length, d",
)
