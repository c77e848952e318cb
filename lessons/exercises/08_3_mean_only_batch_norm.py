"""8.3 Mean-only batch normalization

Write equation 7, for training and for evaluation, with the running mean that evaluation needs.

- In training, t̃ = t - μ[t] + b, where μ[t] is the mean over the minibatch of size B, for each unit. The running mean
  moves towards it: it becomes (1 - momentum) times the old one plus momentum times μ[t].
- In evaluation the running mean replaces μ[t], and is left as it is.

    mean_only_batch_norm(t, b, running, training, momentum=0.1)
        t : array (B, units), pre-activations
        b : array (units,)
        running : array (units,), the running mean so far; not to be changed in place
        training : bool
        momentum : float between 0 and 1, the weight of the newest minibatch
        returns (t̃, the running mean afterwards), arrays (B, units) and (units,)

For example:

    t, b, running = np.array([[2.0], [6.0]]), np.array([1.0]), np.array([8.0])
    mean_only_batch_norm(t, b, running, True, 0.25)      # [[-1.0], [3.0]],   [7.0]
    mean_only_batch_norm(t, b, running, False, 0.25)     # [[-5.0], [-1.0]],  [8.0]
"""

import numpy as np


def mean_only_batch_norm(t, b, running, training, momentum=0.1):
    """t̃ by equation 7, and the running mean afterwards."""
    # solution
    if not training:
        return t - running + b, running
    mean = t.mean(axis=0)
    return t - mean + b, (1 - momentum) * running + momentum * mean
    # end of solution


# %% Laws

from hypothesis import strategies as st

from lessons.exercises import Exercise, agree, hold
from lessons.exercises.cases import matrices, vectors

exercise = Exercise(
    __file__,
    "lesson 08, part 5",
    hints=[
        "The two modes differ in what is subtracted, and in whether the running mean moves. Nothing is divided.",
        "μ[t] is the mean along axis 0, an array (units,). It is the mean of t, before b is added.",
        "In evaluation return early: t less the running mean, plus b, and the running mean itself. In training the new "
        "running mean is a weighted mean of two arrays (units,), with momentum as the weight of μ[t].",
    ],
)

MOMENTA = st.sampled_from([0.25, 0.125, 0.75])


@st.composite
def cases(draw, training):
    t = draw(matrices(st.integers(1, 4), st.integers(1, 3)))
    units = t.shape[1]
    return t, draw(vectors(units)), draw(vectors(units)), training, draw(MOMENTA)


def both(answer, case):
    came = answer.mean_only_batch_norm(*case)
    hold(isinstance(came, (tuple, list)) and len(came) == 2, "what comes out", came, "(t̃, the running mean)")
    return came


@exercise.law(
    "t̃ has the shape of t, the running mean that of b, and no argument is changed",
    st.booleans().flatmap(lambda training: cases(not training)),
)
def shapes(answer, case):
    given = [array.copy() for array in case[:3]]
    t_tilde, running = both(answer, (*given, *case[3:]))
    hold(np.shape(t_tilde) == case[0].shape, "the shape of t̃", np.shape(t_tilde), case[0].shape)
    hold(np.shape(running) == case[1].shape, "the shape of the running mean", np.shape(running), case[1].shape)
    for name, array, before in zip(("t", "b", "running"), given, case[:3], strict=True):
        agree(f"{name} after the call", array, before, 0, 0)


@exercise.law("in training the mean of t̃ over the minibatch is b, whatever t is", cases(True))
def mean(answer, case):
    agree("the mean of t̃", both(answer, case)[0].mean(axis=0), case[1])


@exercise.law("in both modes two examples differ by as much as before", st.booleans().flatmap(cases))
def differences_stay(answer, case):
    agree("t̃ less its first row", (t_tilde := both(answer, case)[0]) - t_tilde[:1], case[0] - case[0][:1])


@exercise.law("in evaluation an example does not feel its neighbours: t̃ + running - b is t", cases(False))
def evaluation(answer, case):
    t, b, running, *_ = case
    agree("t̃ + running - b", both(answer, case)[0] + running - b, t)
    agree("t̃ of the first example alone", both(answer, (t[:1], *case[1:]))[0] + running - b, t[:1])


@exercise.law("evaluation leaves the running mean as it is", cases(False))
def unmoved(answer, case):
    agree("the running mean afterwards", both(answer, case)[1], case[2], 0, 0)


@exercise.law("in training the running mean goes the fraction `momentum` of its way to μ[t]", cases(True))
def moved(answer, case):
    t, _, running, _, momentum = case
    way = sum(t) / len(t) - running
    agree("the way that the running mean goes", both(answer, case)[1] - running, momentum * way)


@exercise.law("momentum is 0.1 where it is not given", cases(True), examples=5)
def default(answer, case):
    t, _, running, *_ = case
    came = both(answer, case[:4])[1]
    agree("the way that the running mean goes", came - running, 0.1 * (sum(t) / len(t) - running))


exercise.mistake(
    "in evaluation the minibatch's mean is subtracted; there the running mean replaces it.",
    "t - running + b, running",
    "t - t.mean(axis=0) + b, running",
)
exercise.mistake(
    "in training the running mean is subtracted; there it is the minibatch's own mean.",
    "t - mean + b",
    "t - running + b",
)
exercise.mistake(
    "in training the updated running mean is subtracted; there it is the minibatch's own mean.",
    "t - mean + b",
    "t - ((1 - momentum) * running + momentum * mean) + b",
)
exercise.mistake(
    "momentum is the weight of the old running mean here; it is to be the weight of the newest minibatch.",
    "(1 - momentum) * running + momentum * mean",
    "momentum * running + (1 - momentum) * mean",
)
exercise.mistake(
    "evaluation moves the running mean; only training does.",
    "+ b, running\n",
    "+ b, (1 - momentum) * running + momentum * t.mean(axis=0)\n",
)
exercise.mistake(
    "`training` makes no difference: evaluation, too, subtracts the minibatch's mean and moves the running mean.",
    "t - running + b, running\n",
    "t - t.mean(axis=0) + b, (1 - momentum) * running + momentum * t.mean(axis=0)\n",
)
exercise.mistake("in training the running mean does not move.", "(1 - momentum) * running + momentum * mean", "running")
exercise.mistake(
    "the running mean becomes μ[t] at once; it moves only the fraction `momentum` of the way.",
    "(1 - momentum) * running + momentum * mean",
    "mean",
)
exercise.mistake("the old running mean is not multiplied by 1 - momentum.", "(1 - momentum) * running +", "running +")
exercise.mistake(
    "the running mean follows the mean of t̃, which is b; it must follow that of t.", "momentum * mean", "momentum * b"
)
exercise.mistake(
    "b is in the running mean: it follows the mean of t, without b.", "momentum * mean", "momentum * (mean + b)"
)
exercise.mistake("b is missing.", "t - mean + b", "t - mean", "t - running + b", "t - running")
exercise.mistake("b is missing in training.", "t - mean + b", "t - mean")
exercise.mistake("b is missing in evaluation.", "t - running + b", "t - running")
exercise.mistake("b is subtracted; it is added.", "t - mean + b", "t - mean - b", "t - running + b", "t - running - b")
exercise.mistake(
    "the mean is taken over the units of one example (axis=1); each unit has its own, over the minibatch.",
    "t.mean(axis=0)",
    "t.mean(axis=1, keepdims=True)",
)
exercise.mistake("the mean is taken of the whole matrix; each unit has its own.", "t.mean(axis=0)", "t.mean()")
exercise.mistake(
    "it divides by the deviation, as full batch normalization does; equation 7 only subtracts.",
    "t - mean + b",
    "(t - mean) / t.std(axis=0) + b",
)
exercise.mistake("a sum over the minibatch stands where its mean belongs.", "t.mean(axis=0)", "t.sum(axis=0)")
exercise.mistake(
    "evaluation moves the running mean; only training does.",
    "    if not training:\n        return t - running + b, running\n",
    "    if not training:\n"
    "        running = (1 - momentum) * running + momentum * t.mean(axis=0)\n"
    "        return t - running + b, running\n",
)
exercise.mistake(
    "the mean is taken over the units of one example (axis=1); each unit has its own, over the minibatch.",
    "t.mean(axis=0)",
    "t.mean(axis=1)",
    "t - mean + b",
    "t - mean[:, None] + b",
)
exercise.mistake(
    "the argument `momentum` is not used: the weight is always 0.1.",
    "(1 - momentum) * running + momentum * mean",
    "0.9 * running + 0.1 * mean",
)
exercise.mistake(
    "the new mean has the weight 0.1, whatever `momentum` is.",
    "momentum * mean",
    "0.1 * mean",
)
