"""1.4 The rules of the matrix product

A matrix product Y = A B uses each entry of A in a whole row of Y, and each entry of B in a whole column. Write its two
backward rules: from g, the gradient of the output, the gradients of A and of B, without forming a Jacobian. Stacks of
matrices are multiplied one by one, as `@` does; a single matrix beside a stack is used for every matrix of it, so its
shares add up.

    matmul_rules(g, a, b)
        a : array (n, k), or a stack (B, n, k)
        b : array (k, m), or a stack (B, k, m)
        g : array of the shape of a @ b: (n, m), or (B, n, m) if a or b is a stack
        returns (gradient of a, gradient of b), of the shapes of a and b

No axis of size 1 has to be stretched: two stacks have the same B. For example, a row times a matrix:

    a, b = np.array([[1.0, 2.0]]), np.array([[3.0, 4.0], [5.0, 6.0]])
    matmul_rules(np.array([[1.0, 10.0]]), a, b)     # ([[43.0, 65.0]], [[1.0, 10.0], [2.0, 20.0]])
"""

import numpy as np


def matmul_rules(g, a, b):
    """The gradients of a and b, from the gradient g of a @ b."""
    # solution
    by_a = g @ np.swapaxes(b, -1, -2)
    by_b = np.swapaxes(a, -1, -2) @ g
    if by_a.ndim > a.ndim:  # one matrix, used for the whole stack
        by_a = by_a.sum(axis=0)
    if by_b.ndim > b.ndim:
        by_b = by_b.sum(axis=0)
    return by_a, by_b
    # end of solution


# %% Laws

from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from lessons.exercises import Exercise, agree, hold
from lessons.exercises.cases import NUMBERS

exercise = Exercise(
    __file__,
    "lesson 01, part 4",
    hints=[
        "For two matrices the shapes leave little choice: the gradient of a is (n, k), made from g (n, m) and b (k, "
        "m); that of b is (k, m), made from a (n, k) and g (n, m).",
        "`.T` reverses the order of all axes. For a stack only the last two may be exchanged: np.swapaxes(x, -1, -2).",
        "If a is a single matrix and g is a stack, g @ (b transposed) is a stack of shares, one for each use of a. "
        "What remains to be done with it?",
    ],
)


@st.composite
def cases(draw, stacks=((False, False), (False, True), (True, False), (True, True)), square=False):
    n, k, m, count = (draw(st.integers(1, 3)) for _ in range(4))
    if square:
        k = m = count = n = draw(st.integers(2, 3))
    of_a, of_b = draw(st.sampled_from(stacks))
    a = draw(arrays(float, (count,) * of_a + (n, k), elements=NUMBERS))
    b = draw(arrays(float, (count,) * of_b + (k, m), elements=NUMBERS))
    return draw(arrays(float, (a @ b).shape, elements=NUMBERS)), a, b


def by_each_entry(number, shape):
    """A linear function of an array of this shape, for each array that has one 1 and else 0."""
    found = np.empty(shape)
    for entry in np.ndindex(*shape):
        one = np.zeros(shape)
        one[entry] = 1.0
        found[entry] = number(one)
    return found


def compare(answer, case):
    """The gradients, and how g · Y depends on each entry: it is linear in a and in b, so this is exact."""
    g, a, b = case
    by_a, by_b = answer.matmul_rules(g, a, b)
    agree("the gradient of a", by_a, by_each_entry(lambda one: np.sum(g * (one @ b)), a.shape))
    agree("the gradient of b", by_b, by_each_entry(lambda one: np.sum(g * (a @ one)), b.shape))


ONE, STACKS, SHARED = [(False, False)], [(True, True)], [(False, True), (True, False)]


@exercise.law("there are two gradients, of the shapes of a and b", cases(ONE, square=True), examples=20)
def shapes(answer, case):
    came = answer.matmul_rules(*case)
    hold(isinstance(came, (tuple, list)) and len(came) == 2, "what comes out", type(came), "a pair of arrays")
    for name, gradient, operand in zip("ab", came, case[1:], strict=True):
        shape = operand.shape
        hold(np.shape(gradient) == shape, f"the shape of the gradient of {name}", np.shape(gradient), shape)


@exercise.law(
    "moving one entry of a or b changes g · Y by its gradient: square matrices", cases(ONE, square=True), examples=20
)
def squares(answer, case):
    compare(answer, case)


@exercise.law("the same for two stacks of square matrices", cases(STACKS, square=True), examples=20)
def stacks_of_squares(answer, case):
    compare(answer, case)


@exercise.law(
    "a matrix that is used for a whole stack gets the sum of its shares", cases(SHARED, square=True), examples=20
)
def shared(answer, case):
    compare(answer, case)


@exercise.law("all of this holds for matrices of any shape", cases(), examples=30)
def any_shape(answer, case):
    compare(answer, case)


exercise.mistake("b is not transposed in the gradient of a.", "by_a = g @ np.swapaxes(b, -1, -2)", "by_a = g @ b")
exercise.mistake("a is not transposed in the gradient of b.", "by_b = np.swapaxes(a, -1, -2) @ g", "by_b = a @ g")
exercise.mistake(
    "the factors stand in the wrong order: in the gradient of a, g comes first.",
    "by_a = g @ np.swapaxes(b, -1, -2)",
    "by_a = np.swapaxes(b, -1, -2) @ g",
)
exercise.mistake(
    "the factors stand in the wrong order: in the gradient of b, g comes last.",
    "by_b = np.swapaxes(a, -1, -2) @ g",
    "by_b = g @ np.swapaxes(a, -1, -2)",
)
exercise.mistake(
    "the gradient of b is that of its transpose: gᵀA instead of Aᵀg.",
    "by_b = np.swapaxes(a, -1, -2) @ g",
    "by_b = np.swapaxes(g, -1, -2) @ a",
)
exercise.mistake(
    "the gradient of a is that of its transpose: B gᵀ instead of g Bᵀ.",
    "by_a = g @ np.swapaxes(b, -1, -2)",
    "by_a = b @ np.swapaxes(g, -1, -2)",
)
exercise.mistake("the two gradients are exchanged: that of a comes first.", "return by_a, by_b", "return by_b, by_a")
exercise.mistake(
    "a single matrix beside a stack gets a stack of shares: they are to be added up.",
    "        by_a = by_a.sum(axis=0)\n",
    "        pass\n",
    "        by_b = by_b.sum(axis=0)\n",
    "        pass\n",
)
exercise.mistake(
    "the shares of a matrix that is used for a whole stack are averaged; they add up.",
    "by_a.sum(",
    "by_a.mean(",
    "by_b.sum(",
    "by_b.mean(",
)
exercise.mistake(
    "`.T` turns all axes of a stack around: exchange the last two only.",
    "np.swapaxes(b, -1, -2)",
    "b.T",
    "np.swapaxes(a, -1, -2)",
    "a.T",
)
exercise.mistake(
    "a sum over the stack is taken of every gradient: two stacks have a gradient for each of their matrices.",
    "if by_a.ndim > a.ndim:",
    "if by_a.ndim > 2:",
    "if by_b.ndim > b.ndim:",
    "if by_b.ndim > 2:",
)
exercise.mistake(
    "only the first matrix of the stack is taken; the shares of all of them add up.",
    "by_a.sum(axis=0)",
    "by_a[0]",
    "by_b.sum(axis=0)",
    "by_b[0]",
)
exercise.mistake(
    "the gradient g that comes in is not used.",
    "    by_a = g @",
    "    g = np.ones_like(g)\n    by_a = g @",
)
exercise.mistake(
    "nothing is transposed: shapes that are not square show it.",
    "by_a = g @ np.swapaxes(b, -1, -2)",
    "by_a = g @ b",
    "by_b = np.swapaxes(a, -1, -2) @ g",
    "by_b = a @ g",
)
exercise.mistake(
    "the shares of b are added up over the stack, those of a are not.",
    "        by_a = by_a.sum(axis=0)\n",
    "        pass\n",
)
exercise.mistake(
    "the shares of a are added up over the stack, those of b are not.",
    "        by_b = by_b.sum(axis=0)\n",
    "        pass\n",
)
for axis in (-1, 1):
    exercise.mistake(
        "the shares of b are added up along the wrong axis: the stack is axis 0.",
        "by_b = by_b.sum(axis=0)",
        f"by_b = by_b.sum(axis={axis})",
    )
    exercise.mistake(
        "the shares of a are added up along the wrong axis: the stack is axis 0.",
        "by_a = by_a.sum(axis=0)",
        f"by_a = by_a.sum(axis={axis})",
    )
    exercise.mistake(
        "the shares of a and b are added up along the wrong axis: the stack is axis 0.",
        "by_a = by_a.sum(axis=0)",
        f"by_a = by_a.sum(axis={axis})",
        "by_b = by_b.sum(axis=0)",
        f"by_b = by_b.sum(axis={axis})",
    )
