"""9.5 A step of Adam

Write one step of Adam. It remembers two running means, of the gradients and of their squares, entry by entry. Each
becomes β times the old one plus 1 - β times what is new: β₁ for the gradient, β₂ for its square. Both begin at 0, and
are therefore too small at first. So the step uses corrected ones, divided by 1 - β₁ᵗ and 1 - β₂ᵗ, where t counts the
steps from 1. The step goes against the corrected mean divided by the root of the corrected square plus eps, times the
learning rate η:

    w  becomes  w - η · corrected mean / (√(corrected square) + eps)

The paper changes β₁ from 0.9 to 0.5 halfway through the training. Then t goes on counting, and the correction uses the
present β₁.

    adam_step(w, grad, mean, square, t, rate, betas, eps)
        w, grad, mean, square : arrays of one shape; mean and square are what is remembered from the step before
        t : int, 1 in the first step
        rate : float, η
        betas : (β₁, β₂), those of this step
        eps : float
        returns (w, mean, square) after the step: new arrays, with mean and square as they are to be remembered,
            before the correction

For example, the first step of two weights, with eps = 0: each moves by η.

    w, grad, zero = np.array([1.0, 1.0]), np.array([4.0, -2.0]), np.zeros(2)
    adam_step(w, grad, zero, zero, 1, 0.5, (0.5, 0.75), 0.0)    # [0.5, 1.5],  [2.0, -1.0],  [4.0, 1.0]
"""

import numpy as np


def adam_step(w, grad, mean, square, t, rate, betas, eps):
    """The weights and the two running means after one step."""
    # solution
    beta1, beta2 = betas
    mean = beta1 * mean + (1 - beta1) * grad
    square = beta2 * square + (1 - beta2) * grad**2
    corrected_mean = mean / (1 - beta1**t)
    corrected_square = square / (1 - beta2**t)
    return w - rate * corrected_mean / (np.sqrt(corrected_square) + eps), mean, square
    # end of solution


# %% Laws

from hypothesis import strategies as st

from lessons.exercises import Exercise, agree, hold
from lessons.exercises.cases import matrices

exercise = Exercise(
    __file__,
    "lesson 09, part 4",
    hints=[
        "Update the two running means first; the step uses the new ones.",
        "Keep two names for each: the running mean, which is returned, and the corrected one, which is only used in "
        "this step.",
        "The correction of the mean is `mean / (1 - beta1**t)`; that of the square is alike. eps is added after the "
        "root.",
    ],
)
BETAS = st.sampled_from([(0.5, 0.75), (0.75, 0.5), (0.0, 0.5), (0.75, 0.875)])


@st.composite
def cases(draw, eps=(0.0, 0.25, 1.0), switch=False, least=1):
    """Weights at the start, the gradients of some steps, one a row, and for each step the betas; the rate, eps."""
    grads = draw(matrices(st.integers(least, 4), st.integers(1, 2), elements=st.integers(3, 10).map(lambda k: k / 2)))
    grads = grads * draw(matrices(*grads.shape, elements=st.sampled_from([1.0, -1.0])))
    betas = [draw(BETAS)] * len(grads)
    if switch:
        betas[-1] = (0.25, betas[-1][1])
    rate, eps = draw(st.sampled_from([1.0, 0.25])), draw(st.sampled_from(eps))
    return np.arange(5.0, grads.shape[1] + 5), grads, betas, rate, eps


def steps(answer, case):
    """The weights before the last step and after it, and the two running means, of the answer."""
    w, grads, betas, rate, eps = case
    mean = square = np.zeros(w.shape)
    for t, (grad, pair) in enumerate(zip(grads, betas, strict=True), 1):
        given = [array.copy() for array in (w, grad, mean, square)]
        before, came = w, answer.adam_step(*given, t, rate, pair, eps)
        hold(isinstance(came, (tuple, list)) and len(came) == 3, "what comes out", came, "(w, mean, square)")
        for name, array, old in zip(("w", "grad", "mean", "square"), given, (w, grad, mean, square), strict=True):
            agree(f"the argument {name} after the call", array, old, 0, 0)
        w, mean, square = came
    return before, w, mean, square


def running(values, betas):
    """The running mean of values from 0 on, as a sum: each value times its 1 - β times all β that came later."""
    return sum((1 - betas[k]) * np.prod(betas[k + 1 :]) * values[k] for k in range(len(values)))


@exercise.law("w, mean and square keep their shapes, and no argument is changed", cases(), examples=20)
def shapes(answer, case):
    _, *came = steps(answer, case)
    for name, array in zip(("w", "mean", "square"), came, strict=True):
        hold(np.shape(array) == case[0].shape, f"the shape of {name}", np.shape(array), case[0].shape)


@exercise.law(
    "the mean is Σ over steps of (1 - β₁) times the later steps' β₁ times the gradient", cases(least=2), examples=20
)
def mean(answer, case):
    _, grads, betas, *_ = case
    agree("the running mean", steps(answer, case)[2], running(grads, [b for b, _ in betas]))


@exercise.law("the square is the same sum of squared gradients, with β₂", cases(least=2), examples=20)
def square(answer, case):
    _, grads, betas, *_ = case
    agree("the running square", steps(answer, case)[3], running(grads**2, [b for _, b in betas]))


@exercise.law("the first step is η in every entry, against the gradient, whatever β₁ and β₂ (eps = 0)", cases((0.0,)))
def first(answer, case):
    w, grads, betas, rate, eps = case
    _, after, *_ = steps(answer, (w, grads[:1], betas[:1], rate, eps))
    agree("the step", after - w, -rate * np.sign(grads[0]))


@exercise.law("if the gradient stays the same, every step is η ∇/(|∇| + eps)", cases())
def constant(answer, case):
    w, grads, betas, rate, eps = case
    before, after, *_ = steps(answer, (w, np.repeat(grads[:1], len(grads), axis=0), betas, rate, eps))
    agree("the last step", after - before, -rate * grads[0] / (abs(grads[0]) + eps))


@exercise.law("gradients that are four times as large make the same steps (eps = 0)", cases((0.0,)), examples=20)
def scale(answer, case):
    w, grads, betas, rate, eps = case
    agree("w", steps(answer, (w, 4 * grads, betas, rate, eps))[1], steps(answer, case)[1])


@exercise.law("a step is η times a weighted mean of the gradients over (√ of that of the squares + eps)", cases())
def step(answer, case):
    _, grads, betas, rate, eps = case
    ones = np.ones(len(grads))
    means = [
        running(values, pair) / running(ones, pair)
        for values, pair in zip((grads, grads**2), zip(*betas, strict=True), strict=True)
    ]
    before, after, *_ = steps(answer, case)
    agree("the last step", after - before, -rate * means[0] / (np.sqrt(means[1]) + eps))


@exercise.law("after a change of β₁, the present one corrects", cases(switch=True))
def switched(answer, case):
    _, grads, betas, rate, eps = case
    first, second = zip(*betas, strict=True)
    top = running(grads, first) / (1 - first[-1] ** len(grads))
    below = np.sqrt(running(grads**2, second) / (1 - second[-1] ** len(grads))) + eps
    before, after, *_ = steps(answer, case)
    agree("the last step", after - before, -rate * top / below)


@exercise.law(
    "an entry whose gradient has always been 0 stays where it is (eps above 0)", cases((0.25, 1.0)), examples=20
)
def zero(answer, case):
    w, grads, *rest = case
    agree("w", steps(answer, (w, 0 * grads, *rest))[1], w)


exercise.mistake(
    "both corrections are missing: the running means begin at 0 and are too small at first.",
    "mean / (1 - beta1**t)",
    "mean",
    "square / (1 - beta2**t)",
    "square",
)
exercise.mistake("the mean is not corrected for its beginning at 0.", "mean / (1 - beta1**t)", "mean")
exercise.mistake("the square is not corrected for its beginning at 0.", "square / (1 - beta2**t)", "square")
exercise.mistake("the step goes along the gradient; it must go against it.", "w - rate", "w + rate")
exercise.mistake(
    "eps stands under the root; it is added after it.",
    "(np.sqrt(corrected_square) + eps)",
    "np.sqrt(corrected_square + eps)",
)
exercise.mistake("eps is left out.", "(np.sqrt(corrected_square) + eps)", "np.sqrt(corrected_square)")
exercise.mistake(
    "the root is missing: it divides by the mean of the squares.", "np.sqrt(corrected_square)", "corrected_square"
)
exercise.mistake(
    "the gradient is not squared in the second running mean.", "(1 - beta2) * grad**2", "(1 - beta2) * grad"
)
exercise.mistake(
    "the second running mean takes the square of the first; it is the gradient's square.",
    "(1 - beta2) * grad**2",
    "(1 - beta2) * mean**2",
)
exercise.mistake("the new gradient is not multiplied by 1 - β₁.", "(1 - beta1) * grad\n", "grad\n")
exercise.mistake(
    "what is new is not multiplied by 1 - β, for neither running mean.",
    "(1 - beta1) * grad\n",
    "grad\n",
    "(1 - beta2) * grad**2",
    "grad**2",
)
exercise.mistake("the new square is not multiplied by 1 - β₂.", "(1 - beta2) * grad**2", "grad**2")
exercise.mistake("β₁ and β₂ have changed places.", "beta1, beta2 = betas", "beta2, beta1 = betas")
exercise.mistake(
    "β and 1 - β have changed places: β is the weight of the old running mean.",
    "beta1 * mean + (1 - beta1) * grad",
    "(1 - beta1) * mean + beta1 * grad",
    "beta2 * square + (1 - beta2) * grad**2",
    "(1 - beta2) * square + beta2 * grad**2",
)
exercise.mistake(
    "t is counted from 0 in the correction; here the first step has t = 1 already.",
    "beta1**t",
    "beta1 ** (t + 1)",
    "beta2**t",
    "beta2 ** (t + 1)",
)
exercise.mistake("β t stands where βᵗ belongs in the correction.", "beta1**t", "beta1 * t", "beta2**t", "beta2 * t")
exercise.mistake(
    "the correction is always that of the first step, 1 - β; the power t is missing.",
    "beta1**t",
    "beta1",
    "beta2**t",
    "beta2",
)
exercise.mistake(
    "the corrected means are returned and remembered; the running means go on without the correction.",
    "+ eps), mean, square",
    "+ eps), corrected_mean, corrected_square",
)
exercise.mistake("the division by the root of the square is missing.", " / (np.sqrt(corrected_square) + eps)", "")
exercise.mistake("the learning rate is missing.", "w - rate * corrected_mean", "w - corrected_mean")
exercise.mistake(
    "eps is added before the square is corrected; correct first, then take the root, then add eps.",
    "(np.sqrt(corrected_square) + eps)",
    "((np.sqrt(square) + eps) / np.sqrt(1 - beta2**t))",
)
exercise.mistake(
    "the step is made with the running means from before this gradient; update them first.",
    "    mean = beta1 * mean + (1 - beta1) * grad\n    square = beta2 * square + (1 - beta2) * grad**2\n",
    "",
    "mean, square\n",
    "beta1 * mean + (1 - beta1) * grad, beta2 * square + (1 - beta2) * grad**2\n",
)
exercise.mistake("the step itself comes out; it has to be subtracted from w.", "w - rate", "rate")
exercise.mistake(
    "the step goes along the gradient itself; its running mean belongs there.",
    "rate * corrected_mean",
    "rate * grad",
)
exercise.mistake(
    "β₁ and β₂ have changed places in the corrections.",
    "beta1**t",
    "beta2**t",
    "square / (1 - beta2**t)",
    "square / (1 - beta1**t)",
)
