"""engine.7 Matrix products

    flipped(x)       x with its last two axes exchanged: a matrix, or each matrix of a stack, transposed
    matmul(a, b)     a @ b, of two Tensors with two axes or more; returns a Tensor with a step to each

With two axes these are matrices, (n, k) and (k, m). With more, the last two axes hold matrices and the others
number them, as in NumPy: (5, n, k) @ (5, k, m) are five products, and stacks broadcast: in (5, n, k) @ (k, m) one
matrix is used five times. So its gradient is summed up, with sum_to. Lesson 01 has the rules for two matrices: g bᵀ
and aᵀ g. Write them with your engine, where `@` works now.

For example:

    a, b = Tensor([[1.0, 2.0]]), Tensor([[3.0], [4.0]])
    y = a @ b                                # Tensor([[11.]])
    y.backward(Tensor([[10.0]]))             # a.grad.data is [[30, 40]], b.grad.data is [[10], [20]]
    flipped(Tensor(np.zeros((5, 2, 3)))).shape     # (5, 3, 2)
"""

# %% Laws

import numpy as np
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays, mutually_broadcastable_shapes

from lessons.exercises import Exercise, agree, hold
from lessons.exercises.cases import NUMBERS, SIZES
from lessons.exercises.engine import COMPUTES, array_of, check, equal, gradients, leads_to, ramp, remembers

exercise = Exercise(
    __file__,
    "lesson 01, part 4",
    hints=[
        "transpose(x, axes) of step 5 exchanges two axes: its axes are 0, 1, … in order, except for the last two.",
        "For the rules, the shapes leave little choice: g is (n, m), and the share of a is (n, k) as a is.",
        "The share of a is `sum_to(g @ flipped(b), a.shape)`: where a was not repeated, sum_to changes nothing.",
    ],
    uses=("math", "numpy", "contextlib", "copy", "itertools"),
    only_one=False,
    written_in="my_engine.py",
)


@st.composite
def factors(draw, stacks=True):
    n, k, m = (draw(st.integers(1, 3)) for _ in "nkm")
    left, right = (), ()
    if stacks:
        left, right = draw(mutually_broadcastable_shapes(num_shapes=2, max_dims=2, max_side=2)).input_shapes
    return [draw(arrays(float, shape, elements=NUMBERS)) for shape in ((*left, n, k), (*right, k, m))]


@exercise.law("flipped exchanges the last two axes, and those of the gradient", st.lists(SIZES, min_size=2, max_size=4))
def exchanged(answer, shape):
    x = ramp(tuple(shape))
    what = f"flipped(x), x of shape {x.shape}"
    agree(what, array_of(what, answer.flipped(answer.Tensor(x)), answer), np.moveaxis(x, -1, -2))
    check(answer, "flipped(x)", answer.flipped, lambda x: np.moveaxis(x, -1, -2), x=x)


@exercise.law("matrices: values and gradients", factors(stacks=False))
def matrices(answer, case):
    check(answer, "a @ b", lambda a, b: a @ b, np.matmul, a=case[0], b=case[1])


@exercise.law("stacks of matrices, which broadcast: each gradient has the shape of its tensor", factors(), examples=30)
def stacked(answer, case):
    check(answer, f"a @ b, shapes {case[0].shape} and {case[1].shape}", answer.matmul, np.matmul, a=case[0], b=case[1])


@exercise.law("an array on either side of @ is as good as a tensor")
def others(answer):
    x = answer.Tensor([[1.0, 2.0], [3.0, 4.0]])
    array = np.array([[0.0, 1.0], [1.0, 1.0]])
    agree("array @ x", array_of("array @ x", array @ x, answer), array @ x.data)
    agree("x @ array", array_of("x @ array", x @ array, answer), x.data @ array)


@exercise.law("shares remember g and the other operand")
def recorded(answer):
    ok = remembers(answer, answer.matmul, ramp((2, 2)), ramp((2, 2)))
    hold(ok, "a share that a rule of matmul makes", "no step leads to g", "one that does")
    for letter, other in (("a", "b"), ("b", "a")):
        ok = knows_other(answer, letter)
        hold(ok, f"the share of {letter} that matmul(a, b) makes", f"no step leads to {other}", "one that does")


def knows_other(answer, letter):
    """Whether the share of a, or of b, leads to the other operand."""
    answer.Tensor.recording = True
    a, b, g = (answer.Tensor(ramp((2, 2))) for _ in "abg")
    source, other = (a, b) if letter == "a" else (b, a)
    return all(leads_to(rule(g), other) for tensor, rule in answer.matmul(a, b).steps if tensor is source)


A, B, G = (
    np.array([[1.0, 2.0], [3.0, 5.0]]),
    np.array([[2.0, 7.0], [1.0, 4.0]]),
    np.array([[1.0, 10.0], [100.0, 1000.0]]),
)
BY_A, BY_B = "sum_to(g @ flipped(b), a.shape)", "sum_to(flipped(a) @ g, b.shape)"


def both(answer):
    return gradients(answer, answer.matmul, A, B, g=G)


@exercise.symptom("The share of a lacks the transpose: it is g bᵀ.", BY_A, "sum_to(g @ b, a.shape)")
def without_flip_of_b(answer):
    return equal(both(answer)[0], G @ B)


@exercise.symptom("The share of b lacks the transpose: it is aᵀ g.", BY_B, "sum_to(a @ g, b.shape)")
def without_flip_of_a(answer):
    return equal(both(answer)[1], A @ G)


@exercise.symptom(
    "The share of a has its factors in the wrong order: it is g bᵀ.", BY_A, "sum_to(flipped(b) @ g, a.shape)"
)
def turned_around(answer):
    return equal(both(answer)[0], B.T @ G)


@exercise.symptom(
    "The share of b has its factors in the wrong order: it is aᵀ g.", BY_B, "sum_to(g @ flipped(a), b.shape)"
)
def turned_around_too(answer):
    return equal(both(answer)[1], G @ A.T)


@exercise.symptom("The share of a is transposed: it is g bᵀ, not b gᵀ.", BY_A, "sum_to(b @ flipped(g), a.shape)")
def transposed_share(answer):
    return equal(both(answer)[0], B @ G.T)


@exercise.symptom("The share of b is transposed: it is aᵀ g, not gᵀ a.", BY_B, "sum_to(flipped(g) @ a, b.shape)")
def transposed_share_too(answer):
    return equal(both(answer)[1], G.T @ A)


@exercise.symptom(
    "The shares of a matrix that several of a stack were multiplied by are averaged: they add up.",
    BY_B,
    "sum_to(flipped(a) @ g, b.shape) * (b.data.size / (flipped(a) @ g).data.size)",
)
def averaged(answer):
    stack, one, g = ramp((2, 1, 3)), ramp((3, 1)), ramp((2, 1, 1))
    by_b = gradients(answer, answer.matmul, stack, one, g=g)[1]
    by_a = gradients(answer, answer.matmul, one.T, stack.swapaxes(1, 2), g=g)[0]
    total = (stack.swapaxes(1, 2) @ g).sum(axis=0)
    return equal(2 * by_b, total) or equal(2 * by_a, total.T)


@exercise.symptom(
    "The two rules are exchanged: g bᵀ belongs to a, and aᵀ g to b.", "(a, by_a), (b, by_b)", "(a, by_b), (b, by_a)"
)
def exchanged_rules(answer):
    answer.Tensor.recording = True
    shares = [rule(answer.Tensor(G)).data for _, rule in answer.matmul(answer.Tensor(A), answer.Tensor(B)).steps]
    return equal(shares[0], A.T @ G) and equal(shares[1], G @ B.T)


@exercise.symptom(
    "The rules multiply entry by entry: they are matrix products.", BY_A, "sum_to(g * flipped(b), a.shape)"
)
def entry_by_entry(answer):
    by_a, by_b = both(answer)
    return equal(by_a, G * B.T) or equal(by_a, G * B) or equal(by_b, A.T * G) or equal(by_b, A * G)


@exercise.symptom(
    "A matrix that several of a stack were multiplied by gets a gradient for each: sum them up, with sum_to.",
    BY_B,
    "flipped(a) @ g",
)
def not_summed(answer):
    shapes = [gradients(answer, answer.matmul, ramp(a), ramp(b)) for a, b in (((2, 1, 3), (3, 1)), ((1, 3), (2, 3, 1)))]
    return shapes[0][1].shape == (2, 3, 1) or shapes[1][0].shape == (2, 1, 3)


@exercise.symptom(
    "flipped turns the order of all axes around: only the last two are to change places.",
    "return transpose(x, (*stack, columns, rows))",
    "return transpose(x)",
)
def all_turned(answer):
    answer.Tensor.recording = True
    return answer.flipped(answer.Tensor(ramp((5, 2, 3)))).shape == (3, 2, 5)


@exercise.symptom(
    "flipped works on matrices only, not on stacks of them.",
    "    *stack, rows, columns = range(len(x.shape))\n",
    "    (rows, columns), stack = range(len(x.shape)), ()\n",
)
def matrices_only(answer):
    answer.Tensor.recording = True
    try:
        answer.flipped(answer.Tensor(ramp((5, 2, 3))))
        return False
    except Exception:
        return answer.flipped(answer.Tensor(ramp((2, 3)))).shape == (3, 2)


@exercise.symptom(f"A rule of matmul {COMPUTES}", BY_A, "Tensor(sum_to(g @ flipped(b), a.shape).data)")
def forgetful(answer):
    return not remembers(answer, answer.matmul, A, B)


@exercise.symptom(
    "A rule of matmul uses the numbers of the other operand (.data), which remember nothing: use the tensor itself.",
    BY_A,
    "sum_to(g @ np.swapaxes(b.data, -1, -2), a.shape)",
)
def constant_operand(answer):
    if (
        forgetful(answer)
        or no_step(answer)
        or not equal(both(answer)[0], G @ B.T)
        or not equal(both(answer)[1], A.T @ G)
    ):
        return False
    return not (knows_other(answer, "a") and knows_other(answer, "b"))


@exercise.symptom(
    "flipped has no step: it does not lead back to x.",
    "return transpose(x, (*stack, columns, rows))",
    "return Tensor(np.swapaxes(x.data, -1, -2))",
)
def no_step(answer):
    answer.Tensor.recording = True
    return len(answer.flipped(answer.Tensor(A)).steps) == 0


@exercise.symptom(
    "flipped exchanges the first two axes: it is to be the last two.",
    "return transpose(x, (*stack, columns, rows))",
    "return transpose(x, (1, 0, *range(2, len(x.shape))))",
)
def first_two(answer):
    answer.Tensor.recording = True
    return answer.flipped(answer.Tensor(ramp((5, 2, 3)))).shape == (2, 5, 3)


@exercise.symptom(
    "The rules turn the order of all axes around, which is right for matrices only: flipped is for stacks, too.",
    "flipped(b), a.shape)",
    "transpose(b), a.shape)",
)
def transposed(answer):
    answer.Tensor.recording = True
    if (
        all_turned(answer)
        or first_two(answer)
        or not equal(both(answer)[0], G @ B.T)
        or not equal(both(answer)[1], A.T @ G)
    ):
        return False
    a, b = ramp((3, 2, 2)), ramp((3, 2, 2))
    try:
        by_a, by_b = gradients(answer, answer.matmul, a, b, g=ramp((3, 2, 2)))
    except ValueError:
        return True
    return not equal(by_a, ramp((3, 2, 2)) @ b.swapaxes(1, 2)) or not equal(by_b, a.swapaxes(1, 2) @ ramp((3, 2, 2)))
