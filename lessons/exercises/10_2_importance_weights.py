"""10.2 The bound with K samples

A draw z from q has the importance weight ω = p(x, z)/q(z). With K draws for a picture, the bound is

    log (1/K) Σ_k ω_k ,

the logarithm of the mean of K weights; with one draw it is log ω. With many pixels a weight is e^(-1000) or less, which
no float can hold, so what is known is log ω. Subtract the largest log ω of a picture before you take exponentials, and
make up for it afterwards: then nothing can overflow, and not all weights underflow. A weight may be 0, with log ω = -∞,
and still counts among the K; the weights of a picture are never all 0.

    bound(log_weights)
        log_weights : array (N, K), log ω of K draws for each of N pictures
        returns the bound of each picture, array (N,)

In training, each draw counts in the gradient as much as its weight does in their sum. Write this share, too:

    shares(log_weights)
        returns ω_k / (ω_1 + … + ω_K), array (N, K): the derivative of the bound with respect to log ω_k

For example, weights of 1 and 3, once as they are, and once multiplied by e^(-5000):

    log_weights = np.log([[1.0, 3.0], [1.0, 3.0]]) - np.array([[0.0], [5000.0]])
    bound(log_weights)        # [0.69315, -4999.30685], since log 2 = 0.69315
    shares(log_weights)       # [[0.25, 0.75], [0.25, 0.75]]
"""

import numpy as np


def bound(log_weights):
    """log (1/K) Σ ω for each picture."""
    # solution
    largest = np.max(log_weights, axis=1)
    return largest + np.log(np.mean(np.exp(log_weights - largest[:, None]), axis=1))
    # end of solution


def shares(log_weights):
    """The share of each draw in the sum of a picture's weights."""
    # solution
    weights = np.exp(log_weights - np.max(log_weights, axis=1, keepdims=True))
    return weights / np.sum(weights, axis=1, keepdims=True)
    # end of solution


# %% Laws

from hypothesis import strategies as st

from lessons.exercises import Exercise, agree, differences, hold, numbers
from lessons.exercises.cases import SIZES, matrices

exercise = Exercise(
    __file__,
    'lesson 10, "How loose is it?"',
    hints=[
        "For any number c, log Σ ω = c + log Σ e^(log ω - c). Which c makes the largest of the exponentials 1?",
        "The largest is taken over the draws of a picture, axis 1. To subtract it from (N, K) it needs a second axis.",
        "bound: `largest + np.log(np.mean(np.exp(…), axis=1))`, where largest is (N,) again. In shares the same "
        "factor stands in numerator and denominator, so there is nothing to make up for.",
    ],
)


@st.composite
def cases(draw, most=4, least_draws=1):
    """log ω, of size 1 or so."""
    return draw(matrices(st.integers(1, 3), st.integers(least_draws, most)))


# With sizes like these nothing overflows, and 1/K Σ ω can be computed as it stands, to some 1e-15.


@exercise.law("each picture has one bound, and each draw one share", cases())
def shape(answer, case):
    numbers("the bound", answer.bound(case.copy()), (len(case),))
    numbers("the shares", answer.shares(case.copy()), case.shape)


@exercise.law("with one draw the bound is log ω", cases(most=1))
def one_draw(answer, case):
    agree("the bound", answer.bound(case.copy()), case[:, 0])


@exercise.law("K draws of the same weight: the bound is its logarithm", st.tuples(cases(most=1), SIZES))
def equal_weights(answer, case):
    once, K = case
    agree(f"the bound with {K} equal weights", answer.bound(np.repeat(once, K, axis=1)), once[:, 0])


@exercise.law("e^bound is the mean of a picture's weights", cases())
def mean_of_weights(answer, case):
    agree("e^bound", np.exp(answer.bound(case.copy())), [sum(np.exp(row)) / len(row) for row in case])


@exercise.law(
    "without one of the K draws, each of them in turn, the bound is not larger on average", cases(least_draws=2)
)
def more_draws(answer, case):
    K = case.shape[1]
    fewer = np.mean([answer.bound(np.delete(case, k, axis=1)) for k in range(K)], axis=0)
    came = answer.bound(case.copy())
    hold((came >= fewer - 1e-9).all(), f"the bound with {K} draws", came, f"at least {fewer}")


@exercise.law("the shares are those of the weights in their sum", cases())
def proportions(answer, case):
    came = np.asarray(answer.shares(case.copy()))
    agree("the sum of a picture's shares", came.sum(axis=1), np.ones(len(case)))
    agree("each share over the first", came / came[:, :1], np.exp(case - case[:, :1]))


@exercise.law("the shares are the derivatives of the bound with respect to log ω", cases(), examples=20)
def derivatives(answer, case):
    # A difference is off by the rounding of the bound, 1e-15, over the step, 1e-6, and by the square of the step.
    slopes = differences(lambda log_weights: np.sum(answer.bound(log_weights.copy())), case)
    agree("the shares", answer.shares(case.copy()), slopes, rtol=0, atol=1e-7)


SHIFTS = st.sampled_from([-4096.0, 4096.0, -1024.0, 1024.0])


@exercise.law("weights e^c times as large: c more in the bound, and the same shares, however large c is",
              st.tuples(cases(), SHIFTS))  # fmt: skip
def shifted(answer, case):
    log_weights, c = case
    agree(f"the bound of log ω + {c:g}", answer.bound(log_weights + c), answer.bound(log_weights.copy()) + c)
    agree(f"the shares of log ω + {c:g}", answer.shares(log_weights + c), answer.shares(log_weights.copy()))


@exercise.law("a picture's bound and shares do not depend on the other pictures", st.tuples(cases(), SHIFTS))
def alone(answer, case):
    log_weights, c = case
    both = np.concatenate([log_weights, log_weights + c])
    agree(
        "the bound of the first half", answer.bound(both.copy())[: len(log_weights)], answer.bound(log_weights.copy())
    )
    agree(
        "the shares of the first half",
        answer.shares(both.copy())[: len(log_weights)],
        answer.shares(log_weights.copy()),
    )


@exercise.law("a weight of 0 counts among the K, and so does one that is e^1024 times smaller than another", cases())
def zero_weights(answer, case):
    K = case.shape[1]
    for small in (-np.inf, -1024.0):
        more = np.concatenate([case, np.full((len(case), 1), small)], axis=1)
        agree(f"the bound with one draw more, of log ω = {small:g}", answer.bound(more.copy()),
              answer.bound(case.copy()) + np.log(K / (K + 1)))  # fmt: skip
        agree("its share", np.asarray(answer.shares(more.copy()))[:, -1], np.zeros(len(case)))


@exercise.law("log_weights are left as they were", cases())
def untouched(answer, case):
    for name in ("bound", "shares"):
        given = case.copy()
        getattr(answer, name)(given)
        agree(f"log_weights after {name}", given, case)


MEAN = "largest + np.log(np.mean(np.exp(log_weights - largest[:, None]), axis=1))"
exercise.mistake(
    "the mean of the logarithms is the bound with one draw, averaged: take the logarithm of the mean.",
    MEAN,
    "np.mean(log_weights, axis=1)",
)
exercise.mistake("the 1/K is missing: the weights are to be averaged, not added up.", "np.mean(np.exp", "np.sum(np.exp")
exercise.mistake(
    "the logarithm of the sum is divided by K: the 1/K belongs to the weights, inside the logarithm.",
    MEAN,
    "(largest + np.log(np.sum(np.exp(log_weights - largest[:, None]), axis=1))) / log_weights.shape[1]",
)
exercise.mistake(
    "log K is added where it is to be subtracted.",
    MEAN,
    "largest + np.log(np.sum(np.exp(log_weights - largest[:, None]), axis=1)) + np.log(log_weights.shape[1])",
)
exercise.mistake(
    "the largest log ω, which was subtracted, is not added again.", "return largest + np.log", "return np.log"
)
exercise.mistake(
    "the largest log ω is subtracted once more, where it is to be added.", "return largest +", "return -largest +"
)
exercise.mistake(
    "the largest of all pictures is subtracted: one whose weights are far smaller has nothing but zeros left.",
    "largest = np.max(log_weights, axis=1)",
    "largest = np.full(len(log_weights), np.max(log_weights))",
)
exercise.mistake(
    "exponentials of log ω itself overflow, or are all 0: subtract the largest first.",
    "largest = np.max(log_weights, axis=1)",
    "largest = np.zeros(len(log_weights))",
)
exercise.mistake(
    "the mean of log ω is subtracted, not the largest: a single large weight can still overflow, and a 0 makes it -∞.",
    "largest = np.max(log_weights, axis=1)",
    "largest = np.mean(log_weights, axis=1)",
)
exercise.mistake("the sign is flipped: that is minus the bound.", f"return {MEAN}", f"return -({MEAN})")
exercise.mistake(
    "the logarithm at the end is missing: that is the mean of the weights, not its logarithm.",
    MEAN,
    "np.exp(largest) * np.mean(np.exp(log_weights - largest[:, None]), axis=1)",
)
exercise.mistake("the largest log ω alone is not the mean of all.", f"return {MEAN}", "return largest")
exercise.mistake(
    "something is added to the mean before the logarithm, which changes the bound; the mean is never 0 there.",
    "axis=1))\n",
    "axis=1) + 1e-3)\n",
)
exercise.mistake(
    "the mean is over the pictures, axis 0; the draws of a picture are along axis 1.",
    "    largest = np.max(log_weights, axis=1)\n    " + f"return {MEAN}",
    "    largest = np.max(log_weights, axis=0)\n"
    "    return largest + np.log(np.mean(np.exp(log_weights - largest), axis=0))",
)
exercise.mistake(
    "draws whose weight is 0 are left out of K: they count, and make the mean smaller.",
    MEAN,
    "largest + np.log(np.sum(np.exp(log_weights - largest[:, None]), axis=1)"
    " / np.sum(np.exp(log_weights - largest[:, None]) > 0, axis=1))",
)
exercise.mistake(
    "the largest log ω still has its second axis, (N, 1), where it is added to (N,) logarithms: that makes (N, N).",
    f"    largest = np.max(log_weights, axis=1)\n    return {MEAN}",
    "    largest = np.max(log_weights, axis=1, keepdims=True)\n"
    "    return largest + np.log(np.mean(np.exp(log_weights - largest), axis=1))",
)
SHARES = "weights / np.sum(weights, axis=1, keepdims=True)"
LARGEST = "np.exp(log_weights - np.max(log_weights, axis=1, keepdims=True))"
exercise.mistake(
    "the shares are of the sum over the pictures, axis 0; those of a picture's draws add up to 1.",
    SHARES,
    "weights / np.sum(weights, axis=0, keepdims=True)",
)
exercise.mistake("the shares are of the weights of all pictures together.", SHARES, "weights / np.sum(weights)")
for undivided in ("weights", "weights / np.max(weights, axis=1, keepdims=True)"):
    exercise.mistake(
        "the weights are not divided by their sum: at most the largest has been taken out, and shares add up to 1.",
        f"return {SHARES}",
        f"return {undivided}",
    )
exercise.mistake(
    "the weights are divided by their mean: shares add up to 1, not to K.",
    SHARES,
    "weights / np.mean(weights, axis=1, keepdims=True)",
)
exercise.mistake(
    "all draws have the same share here: in the gradient of the bound each counts by its weight.",
    f"return {SHARES}",
    "return np.full(log_weights.shape, 1 / log_weights.shape[1])",
)
exercise.mistake(
    "in shares exponentials of log ω itself overflow, or are all 0: subtract the largest first.",
    LARGEST,
    "np.exp(log_weights)",
)
exercise.mistake(
    "in shares the largest of all pictures is subtracted: where all weights are far smaller, 0/0 is left.",
    LARGEST,
    "np.exp(log_weights - np.max(log_weights))",
)
exercise.mistake(
    "the largest of all pictures is subtracted, in both: one whose weights are far smaller has nothing but zeros left.",
    "largest = np.max(log_weights, axis=1)",
    "largest = np.full(len(log_weights), np.max(log_weights))",
    LARGEST,
    "np.exp(log_weights - np.max(log_weights))",
)
exercise.mistake(
    "those are shares of log ω in the sum of log ω: take the exponentials first.",
    f"weights = {LARGEST}",
    "weights = log_weights",
)
exercise.mistake(
    "the bound still has the axis that keepdims=True has kept; its shape is to be (N,).",
    f"return {MEAN}",
    f"return ({MEAN})[:, None]",
)
