"""8.2 Batch normalization, backwards

Write the gradients of batch normalization,

    t̂ = (t - μ[t]) / σ[t],      t̃ = g t̂ + b,

with the statistics over the minibatch of size B, and eps = 0. δ is the derivative of the loss with respect to t̃. Both
statistics depend on t, so the gradient goes through them as well. In the space of examples it is a projection: it
removes from δ the part along (1, …, 1) and the part along t̂, and multiplies what is left by g/σ[t]. g and b belong to
all examples, so their gradients are sums over the minibatch.

    batch_norm_gradients(delta, t, g)
        delta : array (B, units), ∇_t̃ L
        t : array (B, units); no unit is the same for all examples
        g : array (units,)
        returns (grad_t, grad_g, grad_b): ∇_t L, array (B, units), ∇_g L and ∇_b L, arrays (units,)

For example, with one unit that is normalized already (μ[t] = 0, σ[t] = 1):

    t = np.array([[-1.0], [1.0], [-1.0], [1.0]])
    delta = np.array([[4.0], [0.0], [0.0], [0.0]])
    batch_norm_gradients(delta, t, np.array([3.0]))
    # [[6.0], [0.0], [-6.0], [0.0]],  [-4.0],  [4.0]
"""

import numpy as np


def batch_norm_gradients(delta, t, g):
    """∇_t L, ∇_g L and ∇_b L from δ = ∇_t̃ L."""
    # solution
    deviation = t.std(axis=0)
    hat = (t - t.mean(axis=0)) / deviation
    grad_t = g / deviation * (delta - delta.mean(axis=0) - hat * (delta * hat).mean(axis=0))
    return grad_t, (delta * hat).sum(axis=0), delta.sum(axis=0)
    # end of solution


# %% Laws

from hypothesis import strategies as st

from lessons.exercises import Exercise, agree, hold
from lessons.exercises.cases import NUMBERS, matrices, vectors

exercise = Exercise(
    __file__,
    "lesson 08, part 1",
    hints=[
        "(1, …, 1) and t̂ are orthogonal vectors of B numbers, both of the length √B. The part of δ along a vector of "
        "that length is the vector times the mean of their product.",
        "So two terms are subtracted from δ: μ[δ], and t̂ times the mean over the examples of δ t̂. What is left is "
        "multiplied by g/σ[t].",
        "b is added to every example, so ∇_b L adds up δ over axis 0. g multiplies t̂ in every example: ∇_g L adds up δ "
        "times what?",
    ],
)


@st.composite
def cases(draw):
    t = draw(matrices(st.integers(2, 5), st.integers(1, 3)))
    t[0] += np.ptp(t, axis=0) == 0  # no unit is the same for all examples
    return draw(matrices(*t.shape, elements=NUMBERS)), t, draw(vectors(t.shape[1]))


def complex_step(f, x):
    """The gradient of f, a function of one array that returns a number, to rounding: Im f(x + ih)/h."""
    gradient = np.empty(x.shape)
    for entry in np.ndindex(x.shape):
        moved = x.astype(complex)
        moved[entry] += 1e-30j
        gradient[entry] = f(moved).imag / 1e-30
    return gradient


def t_tilde(t, g, b):
    centred = t - t.mean(axis=0)
    return g * centred / np.sqrt((centred**2).mean(axis=0)) + b


@exercise.law("there are three gradients, each with the shape of what it belongs to", cases())
def shapes(answer, case):
    came = answer.batch_norm_gradients(*case)
    hold(isinstance(came, (tuple, list)) and len(came) == 3, "what comes out", came, "(grad_t, grad_g, grad_b)")
    for name, gradient, like in zip(("grad_t", "grad_g", "grad_b"), came, (case[1], case[2], case[2]), strict=True):
        hold(np.shape(gradient) == like.shape, f"the shape of {name}", np.shape(gradient), like.shape)


@exercise.law("∇_t L adds up to zero over the minibatch: it is orthogonal to (1, …, 1)", cases())
def orthogonal_to_one(answer, case):
    grad_t = answer.batch_norm_gradients(*case)[0]
    agree("the sum of ∇_t L over the minibatch, for each unit", grad_t.sum(axis=0), np.zeros(grad_t.shape[1]))


@exercise.law("∇_t L is orthogonal to t, unit by unit", cases())
def orthogonal_to_t(answer, case):
    grad_t, t = answer.batch_norm_gradients(*case)[0], case[1]
    agree("∇_t L · t, for each unit", (grad_t * t).sum(axis=0), np.zeros(t.shape[1]), atol=1e-8)


@exercise.law("∇_t L is the slope of L = Σ δ t̃ in every entry of t", cases())
def slope_in_t(answer, case):
    delta, t, g = case
    came = answer.batch_norm_gradients(*case)[0]
    agree("∇_t L", came, complex_step(lambda moved: (delta * t_tilde(moved, g, 0)).sum(), t), atol=1e-8)


@exercise.law("∇_g L and ∇_b L are the slopes of L = Σ δ t̃ in g and b", cases())
def slope_in_g_and_b(answer, case):
    delta, t, g = case
    _, for_g, for_b = answer.batch_norm_gradients(*case)
    agree("∇_g L", for_g, complex_step(lambda moved: (delta * t_tilde(t, moved, 0)).sum(), g), atol=1e-8)
    agree("∇_b L", for_b, complex_step(lambda moved: (delta * t_tilde(t, g, moved)).sum(), 0 * g), atol=1e-8)


exercise.mistake(
    "mean and deviation are treated as constants; the gradient goes through them, too.",
    "(delta - delta.mean(axis=0) - hat * (delta * hat).mean(axis=0))",
    "delta",
)
exercise.mistake(
    "the way through the mean is missing: the part of δ along (1, …, 1) is still there.",
    "delta - delta.mean(axis=0) -",
    "delta -",
)
exercise.mistake(
    "the way through the deviation is missing: the part of δ along t̂ is still there.",
    " - hat * (delta * hat).mean(axis=0))",
    ")",
)
exercise.mistake("what is along t̂ is added; it must be subtracted.", "- hat * (delta", "+ hat * (delta")
exercise.mistake(
    "what is along (1, …, 1) is added; it must be subtracted.",
    "delta - delta.mean(axis=0) -",
    "delta + delta.mean(axis=0) -",
)
exercise.mistake(
    "sums stand where means belong in ∇_t L: the parts of δ along (1, …, 1) and t̂ come out B times too large.",
    "delta.mean(axis=0)",
    "delta.sum(axis=0)",
    "(delta * hat).mean(axis=0)",
    "(delta * hat).sum(axis=0)",
)
exercise.mistake("the factor g is missing in ∇_t L.", "g / deviation *", "1 / deviation *")
exercise.mistake("the factor 1/σ[t] is missing in ∇_t L.", "g / deviation *", "g *")
exercise.mistake("∇_t L is divided by σ²[t]; it is σ[t] that belongs there.", "g / deviation *", "g / deviation**2 *")
exercise.mistake("the factor g/σ[t] is missing in ∇_t L.", "g / deviation * ", "")
exercise.mistake(
    "t - μ[t] stands where t̂ belongs: the division by σ[t] is missing.",
    "(t - t.mean(axis=0)) / deviation",
    "t - t.mean(axis=0)",
)
exercise.mistake(
    "the part along t is removed with t - μ[t] in place of t̂; only t̂ has the length √B.",
    "hat * (delta * hat).mean(axis=0))",
    "(t - t.mean(axis=0)) * (delta * (t - t.mean(axis=0))).mean(axis=0))",
)
exercise.mistake(
    "t stands where t̂ belongs in the projection.",
    "hat * (delta * hat).mean(axis=0))",
    "t * (delta * t).mean(axis=0))",
)
exercise.mistake(
    "the deviation is divided by B - 1; batch normalization divides by B.", "t.std(axis=0)", "t.std(axis=0, ddof=1)"
)
exercise.mistake(
    "∇_g L adds up δ t; it is t̂ that g multiplies.", "(delta * hat).sum(axis=0)", "(delta * t).sum(axis=0)"
)
exercise.mistake(
    "∇_g L adds up δ (t - μ[t]); it is t̂ that g multiplies.",
    "(delta * hat).sum(axis=0)",
    "(delta * (t - t.mean(axis=0))).sum(axis=0)",
)
exercise.mistake(
    "∇_g L and ∇_b L are means; they add up over the minibatch.",
    "(delta * hat).sum(axis=0)",
    "(delta * hat).mean(axis=0)",
    "delta.sum(axis=0)",
    "delta.mean(axis=0)",
)
exercise.mistake(
    "∇_g L is a mean; it adds up over the minibatch.", "(delta * hat).sum(axis=0)", "(delta * hat).mean(axis=0)"
)
exercise.mistake("∇_b L is a mean; it adds up over the minibatch.", "delta.sum(axis=0)", "delta.mean(axis=0)")
exercise.mistake("∇_g L has a factor g too many.", "(delta * hat).sum(axis=0)", "(delta * g * hat).sum(axis=0)")
exercise.mistake(
    "∇_g L and ∇_b L have changed places.",
    "(delta * hat).sum(axis=0), delta.sum(axis=0)",
    "delta.sum(axis=0), (delta * hat).sum(axis=0)",
)
exercise.mistake(
    "a sum stands where a mean belongs: the part of δ along t̂ comes out B times too large.",
    "(delta * hat).mean(axis=0)",
    "(delta * hat).sum(axis=0)",
)
exercise.mistake(
    "a sum stands where a mean belongs: the part of δ along (1, …, 1) comes out B times too large.",
    "delta.mean(axis=0)",
    "delta.sum(axis=0)",
)
exercise.mistake(
    "∇_g L and ∇_b L are those of the single examples; they have to be added up over the minibatch.",
    "return grad_t, (delta * hat).sum(axis=0), delta.sum(axis=0)",
    "return grad_t, delta * hat, delta",
)
