"""3.4 The largest learning rates

The lesson's loss in the plane is L(w) = ½ (w - w*)ᵀ H (w - w*), a valley along w* or across it: w* is an eigenvector
of H. Let h_along be its eigenvalue, and h_across the other one. Close to w*, a step of gradient descent on v and g
with the learning rate η multiplies

    the error of the length by      1 - η h_along
    the error of the direction by   1 - η (g²/‖v‖²) h_across,   with g = ‖w*‖

An error that is multiplied by a number below -1 grows. So each of the two has a largest learning rate, at which it is
multiplied by -1. Write both.

    largest_rates(H, w_star, norm_v)
        H : array (2, 2), symmetric, with positive eigenvalues; w_star is an eigenvector of it
        w_star : array (2,), not zero; of any length
        norm_v : float, ‖v‖, positive
        returns the pair (for_length, for_direction) of floats: the largest η for each

For example, w* = (0, 2) lies along the second axis, where the curvature is 0.25. So h_along = 0.25 and h_across = 1;
the length allows η up to 8. With ‖v‖ = 1, g²/‖v‖² = 4, and the direction allows η up to 0.5:

    largest_rates(np.array([[1.0, 0.0], [0.0, 0.25]]), np.array([0.0, 2.0]), 1.0)     # (8.0, 0.5)
"""

import numpy as np


def largest_rates(H, w_star, norm_v):
    """The η at which the error of the length, and that of the direction, no longer shrinks."""
    # solution
    g = np.linalg.norm(w_star)
    u = w_star / g
    h_along = u @ H @ u
    h_across = np.trace(H) - h_along
    return 2 / h_along, 2 * norm_v**2 / (g**2 * h_across)
    # end of solution


# %% Laws

from hypothesis import strategies as st

from lessons.exercises import Exercise, agree, hold, numbers, parts
from lessons.exercises.cases import POSITIVE

OFF = 1e-6  # how far from w* the laws start, relative to its length

exercise = Exercise(
    __file__,
    'lesson 03, "Two curvatures"',
    hints=[
        "Which eigenvalue belongs to w*? If u = w*/‖w*‖ is an eigenvector, then H u = h u, and u · H u is the "
        "eigenvalue.",
        "In the plane the other eigenvector is at a right angle to u: (-u₂, u₁). Or use that the two eigenvalues "
        "add up to "
        "the trace of H.",
        "Set each factor equal to -1 and solve for η. For the length that is 2/h_along.",
    ],
)


@st.composite
def cases(draw):
    u = np.array(draw(st.sampled_from([(1.0, 0.0), (0.0, 1.0), (0.6, 0.8), (-0.8, 0.6), (0.0, -1.0)])))
    across = np.array([-u[1], u[0]])
    h_along, h_across, length, norm_v = (draw(POSITIVE) for _ in range(4))
    return h_along * np.outer(u, u) + h_across * np.outer(across, across), length * u, norm_v


def rates(answer, case):
    names = "for_length", "for_direction"
    came = parts(answer.largest_rates(*case), *names)
    return [float(numbers(name, value, ())) for name, value in zip(names, came, strict=True)]


def step(H, w_star, v, g, eta):
    """v and g after a step of gradient descent on L: the gradient for w, split as in equation 3."""
    norm = np.linalg.norm(v)
    grad_w = H @ (g * v / norm - w_star)
    grad_g = grad_w @ v / norm
    return v - eta * g / norm * (grad_w - grad_g * v / norm), g - eta * grad_g


@exercise.law("both rates are positive numbers", cases())
def positive(answer, case):
    came = rates(answer, case)
    hold(min(came) > 0 and np.isfinite(came).all(), "the pair of rates", tuple(came), "positive, both of them")


@exercise.law("at the largest η for the length, a step turns a small error of g into its opposite", cases())
def of_length(answer, case):
    H, w_star, norm_v = case
    length = np.linalg.norm(w_star)
    eta = rates(answer, case)[0]
    _, g = step(H, w_star, norm_v / length * w_star, (1 + OFF) * length, eta)
    agree(f"the factor of the error of g at η = {eta:.5g}", (g - length) / (OFF * length), -1, rtol=1e-6)


@exercise.law("at the largest η for the direction, a step turns a small angle to w* into its opposite", cases())
def of_direction(answer, case):
    H, w_star, norm_v = case
    length = np.linalg.norm(w_star)
    u = w_star / length
    across = np.array([-u[1], u[0]])
    eta = rates(answer, case)[1]
    v, _ = step(H, w_star, norm_v * (np.cos(OFF) * u + np.sin(OFF) * across), length, eta)
    agree(f"the factor of the angle at η = {eta:.5g}", np.arctan2(v @ across, v @ u) / OFF, -1, rtol=1e-4)


exercise.mistake(
    "along and across are exchanged: h_along is the eigenvalue that belongs to w*.",
    "h_along = u @ H @ u",
    "h_along = np.trace(H) - u @ H @ u",
)
exercise.mistake(
    "you take the smaller eigenvalue as the one along w*; which one it is depends on the direction of w*.",
    "h_along = u @ H @ u",
    "h_along = np.linalg.eigvalsh(H)[0]",
)
exercise.mistake(
    "you take the larger eigenvalue as the one along w*; which one it is depends on the direction of w*.",
    "h_along = u @ H @ u",
    "h_along = np.linalg.eigvalsh(H)[1]",
)
exercise.mistake(
    "you use the larger eigenvalue for both; each error meets only the curvature in its own direction.",
    "h_along = u @ H @ u",
    "h_along = np.linalg.eigvalsh(H)[1]",
    "h_across = np.trace(H) - h_along",
    "h_across = h_along",
)
exercise.mistake(
    "you take H[0, 0] as h_along and H[1, 1] as h_across; that is so only if w* lies along the first axis.",
    "h_along = u @ H @ u",
    "h_along = H[0, 0]",
)
exercise.mistake(
    "u is w* without its division by ‖w*‖, so h_along comes out ‖w*‖² times too large.", "w_star / g", "w_star"
)
exercise.mistake(
    "a factor 2 is missing: your rates make the errors zero in one step; here they are to change their sign.",
    "return 2 / h_along, 2 * norm_v**2",
    "return 1 / h_along, norm_v**2",
)
exercise.mistake(
    "the rate for the length is right; that for the direction lacks a factor 2.", "2 * norm_v**2", "norm_v**2"
)
exercise.mistake(
    "g²/‖v‖² is upside down: the longer v is, the larger η may be.",
    "2 * norm_v**2 / (g**2 * h_across)",
    "2 * g**2 / (norm_v**2 * h_across)",
)
exercise.mistake(
    "g/‖v‖ stands where g²/‖v‖² belongs.", "2 * norm_v**2 / (g**2 * h_across)", "2 * norm_v / (g * h_across)"
)
exercise.mistake("‖v‖ is not squared.", "norm_v**2", "norm_v")
exercise.mistake("g is not squared.", "g**2", "g")
exercise.mistake("g² is missing: at w*, g = ‖w*‖.", "(g**2 * h_across)", "h_across")
exercise.mistake(
    "the factor g²/‖v‖² is missing from the rate for the direction.",
    "2 * norm_v**2 / (g**2 * h_across)",
    "2 / h_across",
)
exercise.mistake("‖v‖² is missing from the rate for the direction.", "2 * norm_v**2", "2")
exercise.mistake(
    "the order is wrong: the rate for the length comes first.",
    "2 / h_along, 2 * norm_v**2 / (g**2 * h_across)",
    "2 * norm_v**2 / (g**2 * h_across), 2 / h_along",
)
exercise.mistake(
    "the direction across u = (u₁, u₂) is (-u₂, u₁): after the exchange one of the two has to change its sign.",
    "np.trace(H) - h_along",
    "u[::-1] @ H @ u[::-1]",
)
exercise.mistake(
    "g²/‖v‖² belongs to the direction only; g itself is learned as it is, with η.",
    "return 2 / h_along",
    "return 2 * norm_v**2 / (g**2 * h_along)",
)
exercise.mistake(
    "you take the diagonal of H for its eigenvalues; it holds them only if w* lies along an axis.",
    "h_along = u @ H @ u",
    "k = np.argmax(abs(w_star))\n    h_along = H[k, k]",
)
