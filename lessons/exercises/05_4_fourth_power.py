"""5.4 The effective learning rate of a schedule

The gradient of v is G/‖v‖ long. Suppose that noise keeps G constant. Once the steps are small compared with v, the
fourth power of the length grows by 2η²G² in each step. If the learning rate η_t changes from step to step, that is

    ‖v_t‖⁴ = ‖v_0‖⁴ + 2 G² (η_0² + η_1² + … + η_{t-1}²)

Step t begins at the length ‖v_t‖, so in this step the direction of v learns at the effective learning rate η_t/‖v_t‖².
Write that for each step of a schedule; take the formula as exact.

    effective_rates(norm_0, rates, G)
        norm_0 : float, ‖v_0‖, positive
        rates : array (steps,), η_0, η_1, …; there may be none
        G : float, the gradient's norm at ‖v‖ = 1, not negative
        returns array (steps,): η_0/‖v_0‖², η_1/‖v_1‖², …

For example, with ‖v_0‖ = 2, G = 4 and the rates 2 and 6: ‖v_0‖⁴ = 16, ‖v_1‖⁴ = 16 + 2 · 16 · 4 = 144, ‖v_1‖² = 12.

    effective_rates(2.0, np.array([2.0, 6.0]), 4.0)     # [0.5, 0.5]
"""

import numpy as np


def effective_rates(norm_0, rates, G):
    """η/‖v‖² in each step."""
    # solution
    before = np.cumsum(rates**2) - rates**2  # the sum over the steps before
    fourth = norm_0**4 + 2 * G**2 * before
    return rates / np.sqrt(fourth)
    # end of solution


# %% Laws

from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from lessons.exercises import Exercise, agree, numbers
from lessons.exercises.cases import POSITIVE

exercise = Exercise(
    __file__,
    'lesson 05, "The effective learning rate"',
    hints=[
        "Compute ‖v_t‖⁴ for all steps at once. `np.cumsum` gives the sums of the squares of the rates, with one thing "
        "to watch:",
        "the sum for step t holds the rates of the steps before t, and not that of t itself. For the first step "
        "it is 0.",
        "From ‖v_t‖⁴ to ‖v_t‖² is one square root.",
    ],
)
RATES = arrays(float, st.integers(0, 4), elements=POSITIVE)
SETTINGS = st.tuples(POSITIVE, RATES, st.just(0.0) | POSITIVE)


def effective(answer, norm_0, rates, G):
    return numbers("the effective rates", answer.effective_rates(norm_0, rates, G), rates.shape)


@exercise.law("there is a number for each step", SETTINGS)
def shape(answer, case):
    effective(answer, *case)


@exercise.law("the first step has η_0/‖v_0‖²: nothing has grown yet", SETTINGS)
def first(answer, case):
    norm_0, rates, _ = case
    agree("the first effective rate", effective(answer, *case)[:1], rates[:1] / norm_0**2)


@exercise.law("from each step to the next ‖v‖⁴ grows by 2 η² G²", SETTINGS)
def fourth_power(answer, case):
    _, rates, G = case
    fourth = (rates / effective(answer, *case)) ** 2
    agree("the growth of (η/η_eff)² = ‖v‖⁴", np.diff(fourth), 2 * (G * rates[:-1]) ** 2)


@exercise.law("(2‖v_0‖, 4η) has the same effective rates as (‖v_0‖, η)", SETTINGS)
def stretched(answer, case):
    norm_0, rates, G = case
    agree("the effective rates", effective(answer, 2 * norm_0, 4 * rates, G), effective(answer, *case))


@exercise.law(
    "in the long run a constant η does not matter: after t steps it is 1/(G √(2t))", st.tuples(POSITIVE, POSITIVE)
)
def long_run(answer, case):
    eta, G = case
    came = effective(answer, 0.25, np.full(10_001, 4 * eta), G)[-1]
    agree("the effective rate after 10,000 steps, times G √(2t)", came * G * np.sqrt(20_000), 1.0, rtol=1e-4)


exercise.mistake(
    "the sum for a step holds the rate of that step, too; it has not been made when the step begins.",
    "np.cumsum(rates**2) - rates**2",
    "np.cumsum(rates**2)",
)
exercise.mistake(
    "each step has the same sum, over all steps; it is over the steps before.",
    "np.cumsum(rates**2) - rates**2",
    "np.sum(rates**2)",
)
exercise.mistake(
    "you multiply the square of this step's rate by the number of steps; each step adds the square of its own.",
    "np.cumsum(rates**2) - rates**2",
    "np.arange(len(rates)) * rates**2",
)
exercise.mistake(
    "you multiply the square of the first rate by the number of steps; each step adds the square of its own.",
    "np.cumsum(rates**2) - rates**2",
    "np.arange(len(rates)) * np.sum(rates[:1]) ** 2",
)
exercise.mistake(
    "you use the rate of the step before alone; the sum is over all steps before.",
    "np.cumsum(rates**2) - rates**2",
    "np.append(0.0, rates**2)[:-1][: len(rates)]",
)
exercise.mistake(
    "you square the sum of the rates; the squares are to be summed.",
    "np.cumsum(rates**2) - rates**2",
    "(np.cumsum(rates) - rates) ** 2",
)
exercise.mistake("the rates are not squared in the sum.", "np.cumsum(rates**2) - rates**2", "np.cumsum(rates) - rates")
exercise.mistake("the factor 2 is missing.", "2 * G**2", "G**2")
exercise.mistake("G is not squared.", "G**2", "G")
exercise.mistake("G is missing.", "2 * G**2 * before", "2 * before")
exercise.mistake("‖v_0‖² stands where ‖v_0‖⁴ belongs.", "norm_0**4", "norm_0**2")
exercise.mistake("‖v_0‖⁴ is missing.", "norm_0**4 + ", "0.0 + ")
exercise.mistake("you start from ‖v_0‖ without its fourth power.", "norm_0**4", "norm_0")
exercise.mistake("you divide by ‖v‖⁴: its root is missing.", "np.sqrt(fourth)", "fourth")
exercise.mistake("you divide by ‖v‖; the effective rate is η/‖v‖².", "np.sqrt(fourth)", "fourth**0.25")
exercise.mistake("you return ‖v‖²; η is to be divided by it.", "rates / np.sqrt(fourth)", "np.sqrt(fourth)")
exercise.mistake("η is missing: you return 1/‖v‖².", "rates / np", "1 / np")
exercise.mistake(
    "you divide the first rate by ‖v‖² in all steps; each step has a rate of its own.",
    "return rates /",
    "return rates[:1] /",
)
exercise.mistake(
    "you follow Pythagoras exactly, without leaving out c⁴; here the formula for ‖v‖⁴ is to be taken as exact.",
    "    fourth = norm_0**4 + 2 * G**2 * before\n",
    "    fourth, here = 0 * before, float(norm_0) ** 4\n"
    "    for t, eta in enumerate(rates):\n"
    "        fourth[t] = here\n"
    "        here = here + 2 * (eta * G) ** 2 + (eta * G) ** 4 / here\n",
)
for rest in ("1 / np.sqrt(after)", "np.append(rates, rates[-1:])[: len(after)] / np.sqrt(after)"):
    exercise.mistake(
        "there is an entry too many: the length after the last step belongs to no step.",
        "    return rates / np.sqrt(fourth)",
        f"    after = norm_0**4 + 2 * G**2 * np.append(0.0, np.cumsum(rates**2))\n    return {rest}",
    )
