"""8.4 Equation 8, and what it does to the weights

A layer computes t = x wᵀ and then, in training, t̃ = t - μ[t] + b, with the mean over the minibatch of size B. Each row
of w is one unit's weight vector. δ is the derivative of the loss with respect to t̃. Write the gradients:

- ∇_t L by equation 8, which centres δ over the minibatch, for each unit;
- ∇_w L, the sum over the examples of ∇_t L times the inputs: row j is unit j's;
- ∇_b L, the sum over the examples of the gradient with respect to what b is added to.

    mean_only_gradients(delta, x)
        delta : array (B, units), ∇_t̃ L
        x : array (B, n), the layer's inputs
        returns (grad_t, grad_w, grad_b), arrays (B, units), (units, n) and (units,)

For example, with one unit and two inputs:

    delta, x = np.array([[3.0], [1.0]]), np.array([[1.0, 5.0], [2.0, 0.0]])
    mean_only_gradients(delta, x)     # [[1.0], [-1.0]],  [[-1.0, 5.0]],  [4.0]
"""

import numpy as np


def mean_only_gradients(delta, x):
    """∇_t L, ∇_w L and ∇_b L from δ = ∇_t̃ L."""
    # solution
    grad_t = delta - delta.mean(axis=0)
    return grad_t, grad_t.T @ x, delta.sum(axis=0)
    # end of solution


# %% Laws

from hypothesis import strategies as st

from lessons.exercises import Exercise, agree, hold
from lessons.exercises.cases import matrices

exercise = Exercise(
    __file__,
    "lesson 08, part 5",
    hints=[
        "Equation 8 is one subtraction: δ less its mean over the examples, which is an array (units,).",
        "∇_w L has one row for each unit and one column for each input. A product of two matrices adds up over the "
        "examples, if the examples are the inner axis.",
        "It is ∇_t L that the inputs are multiplied by, transposed to (units, B). b is added to t̃ directly: for it δ "
        "itself is added up.",
    ],
)


@st.composite
def cases(draw, copies=1):
    """`copies` gradients δ of one shape, and inputs."""
    rows, units, n = draw(st.tuples(st.integers(1, 4), st.integers(1, 3), st.integers(1, 3)))
    return *(draw(matrices(rows, units)) for _ in range(copies)), draw(matrices(rows, n))


@exercise.law("there are three gradients, (B, units), (units, n) and (units,), and δ is left as it was", cases())
def shapes(answer, case):
    delta, x = case[0].copy(), case[1]
    came = answer.mean_only_gradients(delta, x)
    hold(isinstance(came, (tuple, list)) and len(came) == 3, "what comes out", came, "(grad_t, grad_w, grad_b)")
    wanted = delta.shape, (delta.shape[1], x.shape[1]), delta.shape[1:]
    for name, gradient, shape in zip(("grad_t", "grad_w", "grad_b"), came, wanted, strict=True):
        hold(np.shape(gradient) == shape, f"the shape of {name}", np.shape(gradient), shape)
    agree("δ after the call", delta, case[0], 0, 0)


@exercise.law("∇_t L adds up to zero over the minibatch, for each unit", cases())
def centred(answer, case):
    agree("the sum of ∇_t L", answer.mean_only_gradients(*case)[0].sum(axis=0), np.zeros(case[0].shape[1]))


@exercise.law("centring twice is centring once", cases())
def idempotent(answer, case):
    once = answer.mean_only_gradients(*case)[0]
    agree("∇_t L of a δ that is centred already", answer.mean_only_gradients(once, case[1])[0], once)


@exercise.law("centring is self-adjoint: ∇_t L of δ times δ' is δ times ∇_t L of δ', for each unit", cases(2))
def self_adjoint(answer, case):
    one, other, x = case
    left = (answer.mean_only_gradients(one, x)[0] * other).sum(axis=0)
    right = (one * answer.mean_only_gradients(other, x)[0]).sum(axis=0)
    agree("∇_t L of the first δ, times the second δ", left, right)


@exercise.law("examples differ in ∇_t L by as much as in δ", cases())
def differences_stay(answer, case):
    grad_t = answer.mean_only_gradients(*case)[0]
    agree("∇_t L less its first row", grad_t - grad_t[:1], case[0] - case[0][:1])


@exercise.law("the same number added to every example of an input changes no gradient", cases())
def shift(answer, case):
    delta, x = case
    agree("∇_w L", answer.mean_only_gradients(delta, x + 3)[1], answer.mean_only_gradients(delta, x)[1])


@exercise.law("L = Σ δ t̃ is linear in w: each entry of ∇_w L is L at a w of one 1 and zeros", cases())
def slope_in_w(answer, case):
    delta, x = case
    grad_w = answer.mean_only_gradients(delta, x)[1]
    for unit, k in np.ndindex(grad_w.shape):
        w = np.zeros(grad_w.shape)
        w[unit, k] = 1
        t = x @ w.T
        agree(f"∇_w L, row {unit}, column {k}", grad_w[unit, k], (delta * (t - sum(t) / len(t))).sum())


@exercise.law("b moves t̃ of every example by its own change: ∇_b L is the sum of δ", cases())
def slope_in_b(answer, case):
    agree("∇_b L", answer.mean_only_gradients(*case)[2], sum(case[0]))


exercise.mistake("δ comes back as it is: the way through μ[t] is missing.", "delta - delta.mean(axis=0)", "delta")
exercise.mistake(
    "the sum over the minibatch is subtracted; equation 8 subtracts the mean.",
    "delta.mean(axis=0)",
    "delta.sum(axis=0)",
)
exercise.mistake(
    "the mean is taken over the units of one example (axis=1); each unit has its own, over the minibatch.",
    "delta.mean(axis=0)",
    "delta.mean(axis=1, keepdims=True)",
)
exercise.mistake("the mean is taken of the whole matrix; each unit has its own.", "delta.mean(axis=0)", "delta.mean()")
exercise.mistake("the mean is added; it is subtracted.", "delta - delta", "delta + delta")
exercise.mistake(
    "the sign of ∇_t L is flipped, and with it that of ∇_w L.",
    "delta - delta.mean(axis=0)",
    "delta.mean(axis=0) - delta",
)
exercise.mistake(
    "∇_w L is made with δ; the inputs are multiplied by ∇_t L, which is centred.", "grad_t.T @ x", "delta.T @ x"
)
exercise.mistake("∇_w L is a mean over the examples; it is a sum.", "grad_t.T @ x", "grad_t.T @ x / len(x)")
exercise.mistake("∇_w L is transposed: each unit has a row.", "grad_t.T @ x", "x.T @ grad_t")
exercise.mistake(
    "∇_b L adds up ∇_t L, which always gives 0; b is added after the mean was subtracted, so δ is added up.",
    "delta.sum(axis=0)",
    "grad_t.sum(axis=0)",
)
exercise.mistake("∇_b L is a mean over the examples; it is a sum.", "delta.sum(axis=0)", "delta.mean(axis=0)")
exercise.mistake(
    "∇_w L and ∇_b L are means over the examples; they are sums.",
    "grad_t.T @ x, delta.sum",
    "grad_t.T @ x / len(x), delta.mean",
)
exercise.mistake(
    "δ is divided by its deviation, too; equation 8 only subtracts the mean.",
    "delta - delta.mean(axis=0)",
    "(delta - delta.mean(axis=0)) / delta.std(axis=0)",
)
exercise.mistake(
    "mean and sum are taken over the units of one example (axis=1); both are to go over the minibatch.",
    "delta.mean(axis=0)",
    "delta.mean(axis=1, keepdims=True)",
    "delta.sum(axis=0)",
    "delta.sum(axis=1)",
)
