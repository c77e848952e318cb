"""5.6 Growth with momentum

Momentum μ adds up past gradients, p_t = μ p_{t-1} + ∇_t, and steps by Δv_t = -η p_t. Each gradient is at a right angle
to v as it was then. As v has turned further since then, the old ones point slightly outward, and v grows by more than
√(1 + c²):

    ‖v_{t+1}‖² = ‖v_t‖² + ‖Δv_t‖² + 2 Σ_{k<t} μ^{t-k} ‖Δv_k‖²

The sum is over all steps before t: the last one counts μ times, the one before μ² times, and so on; the first step
of all has none before it. Write ‖v‖ at the beginning and after each step, from the lengths of the steps.

    norms(norm_0, steps, mu)
        norm_0 : float, ‖v_0‖, positive
        steps : array (T,), ‖Δv_0‖, ‖Δv_1‖, …; there may be none
        mu : float, μ, from 0 to less than 1
        returns array (T + 1,): ‖v_0‖, ‖v_1‖, …, ‖v_T‖

For example, from ‖v_0‖ = 2 two steps of length 2 and 3, with μ = 0.5: ‖v_1‖² = 4 + 4 = 8. The second step adds its own
9 and 2 · 0.5 · 4 = 4, so ‖v_2‖² = 21.

    norms(2.0, np.array([2.0, 3.0]), 0.5)     # [2.0, 2.828, 4.583]
"""

import numpy as np


def norms(norm_0, steps, mu):
    """‖v‖ before and after each step of gradient descent with momentum."""
    # solution
    squares, memory = [norm_0**2], 0.0  # memory: the sum over the steps before
    for step in steps:
        squares.append(squares[-1] + step**2 + 2 * memory)
        memory = mu * (memory + step**2)
    return np.sqrt(squares)
    # end of solution


# %% Laws

from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from lessons.exercises import Exercise, agree, hold, numbers
from lessons.exercises.cases import NUMBERS, POSITIVE

exercise = Exercise(
    __file__,
    'lesson 05, "Momentum and Adam"',
    hints=[
        "Add up squares of lengths; take the root at the end.",
        "Carry the sum over k along from step to step: when a step has been made, its square joins the sum, and "
        "then all of "
        "it is multiplied by μ.",
        "The order matters: a step uses the sum from before it, and only then joins it. At the first step the sum "
        "is 0.",
    ],
)
MUS = st.sampled_from([0.0, 0.5, 0.25, 0.75])
SETTINGS = st.tuples(POSITIVE, arrays(float, st.integers(0, 4), elements=POSITIVE), MUS)


@st.composite
def runs(draw):
    """v_0, the sizes of some gradients relative to v (negative: to the right), and μ."""
    return draw(POSITIVE), draw(st.lists(NUMBERS, max_size=4)), draw(MUS)


def lengths(answer, norm_0, steps, mu):
    return numbers("the lengths", answer.norms(norm_0, steps, mu), (len(steps) + 1,))


@exercise.law("there is a length more than steps", SETTINGS)
def shape(answer, case):
    lengths(answer, *case)


@exercise.law("the first length is ‖v_0‖, and the first step is at a right angle to it", SETTINGS)
def beginning(answer, case):
    norm_0, steps, _ = case
    agree("the first two lengths", lengths(answer, *case)[:2], np.hypot(norm_0, np.append(0.0, steps[:1])))


@exercise.law("the lengths are those of gradient descent with momentum in the plane", runs(), examples=80)
def descent(answer, case):
    norm_0, sizes, mu = case
    v, p = np.array([norm_0, 0.0]), np.zeros(2)
    wanted, steps = [norm_0], []
    for size in sizes:
        gradient = size * np.array([-v[1], v[0]])  # at a right angle to v
        p = mu * p + gradient
        v = v - p
        steps.append(np.linalg.norm(p))
        wanted.append(np.linalg.norm(v))
    agree("‖v‖, step by step", lengths(answer, norm_0, np.array(steps), mu), wanted)


@exercise.law("without momentum the squares of the steps add up", SETTINGS)
def pythagoras(answer, case):
    norm_0, steps, _ = case
    came = lengths(answer, norm_0, steps, 0.0)
    agree("‖v‖² for μ = 0", came**2, norm_0**2 + np.cumsum(np.append(0.0, steps**2)))


@exercise.law("each step lengthens v by √(1 + c²) at least", SETTINGS)
def monotone(answer, case):
    squares = lengths(answer, *case) ** 2
    least = squares[:-1] + case[1] ** 2
    hold(np.all(squares[1:] >= least * (1 - 1e-12)), "‖v‖² after each step", squares[1:], f"{least.tolist()} at least")


exercise.mistake("the factor 2 before the sum is missing.", "2 * memory", "memory")
exercise.mistake("the sum over the steps before is missing: you have left the right angle.", " + 2 * memory", "")
exercise.mistake("the sum is subtracted; momentum makes v longer.", "+ 2 * memory", "- 2 * memory")
exercise.mistake(
    "a step joins the sum before it is used; the sum is over the steps before.",
    "        squares.append(squares[-1] + step**2 + 2 * memory)\n        memory = mu * (memory + step**2)\n",
    "        memory = mu * (memory + step**2)\n        squares.append(squares[-1] + step**2 + 2 * memory)\n",
)
exercise.mistake(
    "the step itself stands in the sum, with the weight 1; the sum is over the steps before.",
    "        squares.append(squares[-1] + step**2 + 2 * memory)\n        memory = mu * (memory + step**2)\n",
    "        memory = mu * memory + step**2\n        squares.append(squares[-1] + step**2 + 2 * memory)\n",
)
exercise.mistake(
    "the last step counts with the weight 1, and the one before with μ: all powers of μ are one too low.",
    "mu * (memory + step**2)",
    "mu * memory + step**2",
)
exercise.mistake(
    "the sum forgets: only the last step is in it; keep μ times the sum before.",
    "mu * (memory + step**2)",
    "mu * step**2",
)
exercise.mistake(
    "all steps before count μ times; the older a step, the higher its power of μ.",
    "2 * memory",
    "2 * mu * memory",
    "mu * (memory + step**2)",
    "memory + step**2",
)
exercise.mistake("all steps before count fully: μ is missing.", "mu * (memory + step**2)", "memory + step**2")
exercise.mistake("the steps are not squared in the sum.", "mu * (memory + step**2)", "mu * (memory + step)")
exercise.mistake(
    "the steps are not squared.", "squares[-1] + step**2", "squares[-1] + step", "(memory + step**2)", "(memory + step)"
)
exercise.mistake("the square of the step itself is missing.", "squares[-1] + step**2 + 2", "squares[-1] + 2")
exercise.mistake("you return squares: the root is missing.", "np.sqrt(squares)", "np.array(squares)")
exercise.mistake("you begin with ‖v_0‖ where its square belongs.", "norm_0**2", "norm_0")
exercise.mistake("the first entry, ‖v_0‖, is missing.", "np.sqrt(squares)", "np.sqrt(squares[1:])")
exercise.mistake("you return the last length only.", "np.sqrt(squares)", "np.sqrt(squares[-1])")
exercise.mistake("μ is squared: the sum has μ, μ², μ³, and so on.", "mu * (memory", "mu**2 * (memory")
exercise.mistake("1 - μ stands where μ belongs.", "mu * (memory", "(1 - mu) * (memory")
exercise.mistake(
    "you add lengths and not squares.",
    "[norm_0**2]",
    "[norm_0]",
    "squares[-1] + step**2 + 2",
    "squares[-1] + step + 2",
    "np.sqrt(squares)",
    "np.array(squares)",
)
exercise.mistake(
    "your powers of μ count from the first step, μ^k; they count back from the present one, μ^(t-k).",
    "mu * (memory + step**2)",
    "memory + mu ** (len(squares) - 2) * step**2",
)
exercise.mistake(
    "each length starts from ‖v_0‖ again; it starts from the length before the step.",
    "squares[-1] + step**2 + 2",
    "squares[0] + step**2 + 2",
)
