"""9.6 The schedule, and how long v gets

Write the paper's schedule. In the first half of the training the learning rate is η and β₁ is 0.9. From the middle on
β₁ is 0.5, and the learning rate falls: in the middle epoch it is still η, and from there it falls by the same amount
from each epoch to the next, so that it would be 0 one epoch after the last.

    schedule(epoch, epochs, rate)
        epoch : int, 0 in the first epoch and epochs - 1 in the last
        epochs : int, an even number
        rate : float, η
        returns (the learning rate of this epoch, its β₁)

Then write the law of growth. If Adam's gradients are noise, step t adds (η_t)² to the mean of the squared entries of a
weight vector v, where η_t is the learning rate of that step. So how long has v become, relative to its length at the
start?

    growth(rates, start=0.05)
        rates : array (T,), the learning rate of every step
        start : float, the standard deviation of v's entries at the start: their mean square is start²
        returns ‖v_T‖/‖v_0‖

For example:

    [schedule(epoch, 4, 0.8)[0] for epoch in range(4)]      # [0.8, 0.8, 0.8, 0.4]
    [schedule(epoch, 4, 0.8)[1] for epoch in range(4)]      # [0.9, 0.9, 0.5, 0.5]
    growth(np.array([2.0, 2.0]), start=1.0)                 # 3.0
"""

import numpy as np


def schedule(epoch, epochs, rate):
    """The learning rate and β₁ of an epoch, counted from 0."""
    # solution
    factor = min(1, 2 * (epochs - epoch) / epochs)
    return rate * factor, 0.9 if epoch < epochs / 2 else 0.5
    # end of solution


def growth(rates, start=0.05):
    """‖v_T‖/‖v_0‖ after steps of these learning rates on gradients that are noise."""
    # solution
    return np.sqrt(1 + np.sum(rates**2) / start**2)
    # end of solution


# %% Laws

from hypothesis import strategies as st

from lessons.exercises import Exercise, agree, hold
from lessons.exercises.cases import POSITIVE, vectors

exercise = Exercise(
    __file__,
    "lesson 09, parts 4 and 6",
    hints=[
        "In the second half the learning rate is proportional to the number of epochs that are left, this one "
        "included: epochs - epoch.",
        "In the middle, epochs/2 are left, and the rate is η. After it, the factor is the share of the second half "
        "that is left; in the first half that number is above 1, and `min` cuts it off.",
        "For the growth, ‖v‖² is proportional to the mean square of the entries: first start², at the end start² plus "
        "one square for each step. The ratio of lengths is the root of the ratio of squares.",
    ],
)
EPOCHS = st.integers(2, 6).map(lambda half: 2 * half)


@st.composite
def epochs(draw, later=False):
    number = draw(EPOCHS)
    return draw(st.integers(number // 2 if later else 0, number - 1)), number, draw(POSITIVE)


@st.composite
def all_steps(draw):
    return draw(vectors(elements=POSITIVE)), draw(st.sampled_from([1.0, 0.5, 2.0]))


def both(answer, epoch, number, rate):
    came = answer.schedule(epoch, number, rate)
    hold(isinstance(came, (tuple, list)) and len(came) == 2, "what comes out", came, "(learning rate, β₁)")
    return came


@exercise.law("each epoch has a learning rate and a β₁", epochs())
def kind(answer, case):
    for name, value in zip(("the learning rate", "β₁"), both(answer, *case), strict=True):
        hold(np.shape(value) == () and np.isfinite(value), name, value, "a number")


@exercise.law("β₁ is 0.9 in the first half of the epochs and 0.5 in the second", EPOCHS)
def beta1(answer, number):
    came = [both(answer, epoch, number, 1.0)[1] for epoch in range(number)]
    agree("β₁ of all epochs", came, [0.9] * (number // 2) + [0.5] * (number // 2))


@exercise.law("up to the middle, which is included, the learning rate is η", epochs())
def first_half(answer, case):
    epoch, number, rate = case
    agree("the learning rate", both(answer, min(epoch, number // 2), number, rate)[0], rate)


@exercise.law(
    "in the second half it is η times the epochs that are left, this one included, over half of all", epochs(True)
)
def second_half(answer, case):
    epoch, number, rate = case
    left = len(range(epoch, number))
    agree("the learning rate", both(answer, *case)[0], rate * left / (number / 2))


@exercise.law("two epochs are enough: both have the learning rate η", POSITIVE, examples=5)
def two_epochs(answer, rate):
    agree("the learning rates", [both(answer, epoch, 2, rate)[0] for epoch in (0, 1)], [rate, rate])


@exercise.law("growth gives a number: 1 where the learning rate is 0", all_steps())
def no_steps(answer, case):
    rates, start = case
    came = answer.growth(0 * rates, start)
    hold(np.shape(came) == (), "what comes out", came, "a number")
    agree("‖v_T‖/‖v_0‖", came, 1.0)


@exercise.law("every step adds (η_t/start)² to (‖v_T‖/‖v_0‖)²", all_steps())
def squares_add_up(answer, case):
    rates, start = case
    agree("(‖v_T‖/‖v_0‖)² - 1", answer.growth(rates, start) ** 2 - 1, sum((rate / start) ** 2 for rate in rates))


@exercise.law("start is 0.05 where it is not given")
def default(answer):
    rates = np.array([0.15, 0.15, 0.05])
    agree("‖v_T‖/‖v_0‖", answer.growth(rates), np.sqrt(20.0))


exercise.mistake(
    "the rate falls from the first epoch on; it is constant in the first half.",
    "min(1, 2 * (epochs - epoch) / epochs)",
    "(epochs - epoch) / epochs",
)
exercise.mistake(
    "the rate jumps to the half in the middle: what is left of the epochs is divided by all, not by half of them.",
    "min(1, 2 * (epochs - epoch) / epochs)",
    "1 if epoch < epochs / 2 else (epochs - epoch) / epochs",
)
exercise.mistake(
    "the rate is above η in the first half: it has to be cut off at η.",
    "min(1, 2 * (epochs - epoch) / epochs)",
    "2 * (epochs - epoch) / epochs",
)
exercise.mistake(
    "the last epoch has rate 0; it should be 0 only one epoch later.",
    "min(1, 2 * (epochs - epoch) / epochs)",
    "1 if epoch <= epochs / 2 else (epochs - 1 - epoch) / (epochs / 2 - 1)",
)
exercise.mistake(
    "the last epoch has rate 0; it should be 0 only one epoch later.",
    "min(1, 2 * (epochs - epoch) / epochs)",
    "1 if epoch < epochs / 2 else (epochs - 1 - epoch) / (epochs / 2 - 1)",
)
exercise.mistake(
    "the epoch in the middle is the first to fall: there the rate is still η, and half of the epochs are left.",
    "min(1, 2 * (epochs - epoch) / epochs)",
    "1 if epoch < epochs / 2 else (epochs - epoch) / (epochs / 2 + 1)",
)
exercise.mistake(
    "the fall begins an epoch too early: in the middle the rate is still η.",
    "min(1, 2 * (epochs - epoch) / epochs)",
    "min(1, 2 * (epochs - 1 - epoch) / epochs)",
)
exercise.mistake(
    "the rate begins to rise: the epochs that are done are counted, not those that are left.",
    "min(1, 2 * (epochs - epoch) / epochs)",
    "1 if epoch < epochs / 2 else 2 * epoch / epochs - 1",
)
exercise.mistake("the factor comes back without η.", "return rate * factor", "return factor")
exercise.mistake(
    "0.9 and 0.5 have changed places.", "0.9 if epoch < epochs / 2 else 0.5", "0.5 if epoch < epochs / 2 else 0.9"
)
exercise.mistake(
    "β₁ changes one epoch too late: the epoch in the middle has 0.5.", "epoch < epochs / 2", "epoch <= epochs / 2"
)
exercise.mistake(
    "β₁ and the learning rate have changed places.",
    "return rate * factor, 0.9 if epoch < epochs / 2 else 0.5",
    "return 0.9 if epoch < epochs / 2 else 0.5, rate * factor",
)
exercise.mistake("the root is missing: that is the ratio of the squared lengths.", "np.sqrt(1 +", "(1 +")
exercise.mistake(
    "the square of the sum stands where the sum of squares belongs.", "np.sum(rates**2)", "np.sum(rates) ** 2"
)
exercise.mistake("the rates are not squared.", "np.sum(rates**2)", "np.sum(rates)")
exercise.mistake("start is not squared.", "/ start**2", "/ start")
exercise.mistake("the 1 is missing: v has a length at the start.", "1 + np.sum", "np.sum")
exercise.mistake("a mean over the steps stands where their sum belongs.", "np.sum(rates**2)", "np.mean(rates**2)")
exercise.mistake("the division by start² is missing.", " / start**2", "")
exercise.mistake(
    "the rate falls only half as fast: in the end half of it is left.",
    "min(1, 2 * (epochs - epoch) / epochs)",
    "min(1, 1.5 - epoch / epochs)",
)
exercise.mistake(
    "what comes out is a length, not its ratio to the length at the start.",
    "1 + np.sum(rates**2) / start**2",
    "start**2 + np.sum(rates**2)",
)
exercise.mistake(
    "every step multiplies here; squares add up.",
    "np.sqrt(1 + np.sum(rates**2) / start**2)",
    "np.prod(np.sqrt(1 + rates**2 / start**2))",
)
