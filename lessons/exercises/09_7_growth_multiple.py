"""9.7 The multiple by which v grows under Adam

Suppose that Adam's gradients, once divided, are nothing but noise: z_k is the gradient of step k, and those of
different steps have nothing to do with each other. Adam's step t is a weighted mean of those so far,

    Δv_t = -Σ over k ≤ t of  d_tk z_k,       d_tk = η_t (1 - β₁) β₁^(t - k) / (1 - β₁ᵗ),

where steps and gradients are counted from 1, and η_t is the learning rate of step t. By the end, gradient k has moved v
by Σ_t d_tk times itself. For the whole way squares add up over the gradients, for the single steps over steps and
gradients. Write the ratio of the two, the *multiple*:

    multiple = Σ_k (Σ_t d_tk)² / Σ_t Σ_k d_tk²

    growth_multiple(rates, beta1)
        rates : array (T,), η_t of every step
        beta1 : float, at least 0 and below 1
        returns the multiple, a number

For example, two steps with β₁ = 0.5 and η = 1. In the first step d is 1 for z₁; in the second it is 1/3 for z₁ and 2/3
for z₂. So the multiple is ((4/3)² + (2/3)²)/(1 + 1/9 + 4/9):

    growth_multiple(np.array([1.0, 1.0]), 0.5)      # 20/14 = 1.42857
"""

import numpy as np


def growth_multiple(rates, beta1):
    """Growth of ‖v‖² over the sum of the squared steps, of Adam on gradients that are noise."""
    # solution
    t = np.arange(1, len(rates) + 1)
    age = t[:, None] - t  # of gradient k, in column k, at step t
    weights = np.where(age >= 0, (1 - beta1) * beta1 ** abs(age), 0)
    d = (rates / (1 - beta1**t))[:, None] * weights
    return np.sum(d.sum(axis=0) ** 2) / np.sum(d**2)
    # end of solution


# %% Laws

from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from lessons.exercises import Exercise, agree, hold
from lessons.exercises.cases import POSITIVE

exercise = Exercise(
    __file__,
    "lesson 09, part 6",
    hints=[
        "Make the matrix d first, with a row for each step t and a column for each gradient k. Above the diagonal it "
        "is zero: a step does not know later gradients.",
        "`t[:, None] - t` with t = np.arange(1, T + 1) is the exponent t - k for all pairs at once. The factor "
        "η_t/(1 - β₁ᵗ) depends on the row only.",
        "In the numerator add up over the steps, which are the rows, then square, then add up. In the denominator "
        "square first.",
    ],
)


@st.composite
def cases(draw, least=1):
    rates = draw(arrays(float, draw(st.integers(least, 6)), elements=POSITIVE, unique=True))
    return rates, draw(st.sampled_from([0.5, 0.0, 0.25, 0.75]))


@exercise.law("the multiple is a number above 0", cases())
def kind(answer, case):
    came = answer.growth_multiple(*case)
    hold(np.shape(came) == () and came > 0, "the multiple", came, "a number above 0")


@exercise.law("a single step has the multiple 1", cases())
def single(answer, case):
    rates, beta1 = case
    agree("the multiple", answer.growth_multiple(rates[:1], beta1), 1.0)


@exercise.law("with β₁ = 0 a step knows its own gradient only: the multiple is 1", cases())
def no_memory(answer, case):
    agree("the multiple", answer.growth_multiple(case[0], 0.0), 1.0)


@exercise.law("on gradients at right angles, it is ‖v_T - v_0‖² over the sum of ‖Δv‖² of Adam's running mean", cases(2))
def walk(answer, case):
    rates, beta1 = case
    mean, way, squares = np.zeros(len(rates)), np.zeros(len(rates)), 0.0
    for t, (rate, z) in enumerate(zip(rates, np.eye(len(rates)), strict=True), 1):
        mean = beta1 * mean + (1 - beta1) * z
        step = -rate * mean / (1 - beta1**t)
        way, squares = way + step, squares + step @ step
    agree("the multiple", answer.growth_multiple(rates, beta1), way @ way / squares)


@exercise.law("it does not depend on the unit of the learning rate", cases())
def unit(answer, case):
    rates, beta1 = case
    agree("the multiple", answer.growth_multiple(4 * rates, beta1), answer.growth_multiple(rates, beta1))


@exercise.law("in a long run at a constant rate it comes near (1 + β₁)/(1 - β₁)")
def long_run(answer):
    # The ends of the run, some 1/(1 - β₁) = 2 steps each, make it differ by a few times 2/400.
    agree("the multiple of 400 steps with β₁ = 0.5", answer.growth_multiple(np.ones(400), 0.5), 3.0, rtol=0.03)


exercise.mistake(
    "Σ_t and Σ_k have changed places above the line: add up over the steps, before the square.",
    "d.sum(axis=0)",
    "d.sum(axis=1)",
)
exercise.mistake(
    "later gradients are not left out: for k > t, d_tk is 0.",
    "np.where(age >= 0, (1 - beta1) * beta1 ** abs(age), 0)",
    "(1 - beta1) * beta1 ** abs(age)",
)
exercise.mistake("the correction 1 - β₁ᵗ is missing.", "rates / (1 - beta1**t)", "rates")
exercise.mistake(
    "t is counted from 0 in 1 - β₁ᵗ, or one too far: the first step has t = 1.", "beta1**t", "beta1 ** (t + 1)"
)
exercise.mistake(
    "η is taken of the gradient's step k; it is η_t, of the step that is made.",
    "(rates / (1 - beta1**t))[:, None] * weights",
    "rates * weights / (1 - beta1**t)[:, None]",
)
exercise.mistake(
    "the correction is that of the gradient's step k; it is 1 - β₁ᵗ, of the step that is made.",
    "(rates / (1 - beta1**t))[:, None] * weights",
    "rates[:, None] * weights / (1 - beta1**t)",
)
exercise.mistake(
    "η and the correction are taken of the gradient's step k; they belong to the step t that is made.",
    "(rates / (1 - beta1**t))[:, None] * weights",
    "rates / (1 - beta1**t) * weights",
)
exercise.mistake(
    "the fraction is upside down.",
    "np.sum(d.sum(axis=0) ** 2) / np.sum(d**2)",
    "np.sum(d**2) / np.sum(d.sum(axis=0) ** 2)",
)
exercise.mistake(
    "above the line all of d is added up before the square; square for each gradient.",
    "np.sum(d.sum(axis=0) ** 2)",
    "np.sum(d) ** 2",
)
exercise.mistake(
    "below the line the square of the steps' sums stands where every d_tk is squared.",
    "np.sum(d**2)",
    "np.sum(d.sum(axis=1) ** 2)",
)
exercise.mistake("a step's own gradient is left out: k = t belongs to the sum.", "age >= 0", "age > 0")
exercise.mistake("the learning rates are left out.", "(rates / (1 - beta1**t))", "(1 / (1 - beta1**t))")
exercise.mistake(
    "the root is taken; the multiple is a ratio of squares.",
    "np.sum(d.sum(axis=0) ** 2) / np.sum(d**2)",
    "np.sqrt(np.sum(d.sum(axis=0) ** 2) / np.sum(d**2))",
)
exercise.mistake("(1 - β₁)ᵗ stands where 1 - β₁ᵗ belongs.", "(1 - beta1**t)", "(1 - beta1) ** t")
exercise.mistake(
    "the exponent of β₁ is one too large: it is 0 for a step's own gradient.",
    "beta1 ** abs(age)",
    "beta1 ** (abs(age) + 1)",
)
exercise.mistake(
    "the first gradient is left out above the line: Σ_k begins at 1, which is column 0 of d.",
    "np.sum(d.sum(axis=0) ** 2)",
    "np.sum(d.sum(axis=0)[1:] ** 2)",
)
