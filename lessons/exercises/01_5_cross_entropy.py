"""1.5 Cross-entropy and its gradient, without overflow

A network that chooses among K classes gives K numbers for each example, its logits t. They stand for the probabilities

    p_k = exp(t_k) / Σ_j exp(t_j)          (softmax)

and the loss, the cross-entropy, is minus the logarithm of the probability of the right class, averaged over the N
examples. Write it, and its gradient with respect to the logits.

    cross_entropy(t, labels)
        t : array (N, K)
        labels : array of int (N,), from 0 to K - 1: the right class of each example
        returns the loss, a float
    cross_entropy_gradient(t, labels)
        returns the derivative of that loss with respect to each entry of t, array (N, K)

Logits may be as large as ±10,000, where exp gives inf or 0. The probabilities stay the same when one number is
subtracted from all logits of an example; with a good choice nothing overflows, and the loss is right even where a
probability is too small for a float. Leave t and labels as they are.

For example, with the probabilities 1/4 and 3/4 the loss is log(4/3) = 0.2877 if class 1 is right:

    t = np.array([[0.0, np.log(3)]])
    cross_entropy(t, np.array([1]))              # 0.2877
    cross_entropy_gradient(t, np.array([1]))     # [[0.25, -0.25]]
"""

import numpy as np


def cross_entropy(t, labels):
    """Minus the logarithm of the right classes' probabilities, averaged."""
    # solution
    t = t - t.max(axis=1, keepdims=True)
    log_p = t - np.log(np.exp(t).sum(axis=1, keepdims=True))
    return -log_p[np.arange(len(t)), labels].mean()
    # end of solution


def cross_entropy_gradient(t, labels):
    """The derivative of the loss with respect to each logit."""
    # solution
    e = np.exp(t - t.max(axis=1, keepdims=True))
    p = e / e.sum(axis=1, keepdims=True)
    p[np.arange(len(t)), labels] -= 1
    return p / len(t)
    # end of solution


# %% Laws

from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from lessons.exercises import Exercise, agree, hold
from lessons.exercises.cases import NUMBERS

exercise = Exercise(
    __file__,
    "lesson 02, part 2 (for two classes: lesson 01, part 2)",
    hints=[
        "Subtract from each row of t its largest entry: then exp is at most 1, and the sum at least 1. For the loss, "
        "log p_k = t_k - log Σ_j exp(t_j): take the logarithm of the sum, not of p.",
        "For one example the derivative of log Σ_j exp(t_j) with respect to t_k is p_k, and that of the right class's "
        "logit is 1 for k = label, else 0.",
        "`p[np.arange(N), labels]` picks one entry of each row. The gradient is p, less 1 there, and the mean in the "
        "loss divides it by …",
    ],
)


@st.composite
def cases(draw, least_classes=1, most_examples=3):
    count, classes = draw(st.integers(1, most_examples)), draw(st.integers(least_classes, 4))
    t = draw(arrays(float, (count, classes), elements=NUMBERS))
    return t, draw(arrays(int, count, elements=st.integers(0, classes - 1)))


def loss(t, labels):
    """By the definition: for logits up to 4 it neither overflows nor loses digits. t may be complex."""
    e = np.exp(t)
    return -np.mean(np.log((e / e.sum(axis=1)[:, None])[range(len(t)), labels]))


def slopes(t, labels):
    """The derivatives of the loss by the complex step, whose digits are all right."""
    found = np.empty(t.shape)
    for entry in np.ndindex(*t.shape):
        moved = t.astype(complex)
        moved[entry] += 1e-200j
        found[entry] = loss(moved, labels).imag / 1e-200
    return found


@exercise.law("the loss is a number, and the gradient has the shape of t", cases())
def shapes(answer, case):
    hold(np.shape(came := answer.cross_entropy(*case)) == (), "the shape of the loss", np.shape(came), "a number, ()")
    came = np.shape(answer.cross_entropy_gradient(*case))
    hold(came == case[0].shape, "the shape of the gradient", came, case[0].shape)


@exercise.law(
    "equal logits for K classes have the loss log K", st.tuples(st.integers(1, 4), st.integers(1, 5), NUMBERS)
)
def equal(answer, case):
    count, classes, t = case
    came = answer.cross_entropy(np.full((count, classes), t), np.arange(count) % classes)
    agree("the loss", came, np.log(classes))


@exercise.law(
    "for one example the loss is minus the logarithm of the right class's probability", cases(2, 1), examples=20
)
def one_example(answer, case):
    agree("the loss", answer.cross_entropy(*case), loss(*case))


@exercise.law("the loss is the mean over the examples", cases(2), examples=20)
def mean(answer, case):
    agree("the loss", answer.cross_entropy(*case), loss(*case))


@exercise.law("for one example each entry of the gradient is the derivative of the loss", cases(2, 1), examples=20)
def gradient_of_one(answer, case):
    agree("the gradient", answer.cross_entropy_gradient(*case), slopes(*case))


@exercise.law("each entry of the gradient is the derivative of the loss", cases(2))
def gradient(answer, case):
    agree("the gradient", answer.cross_entropy_gradient(*case), slopes(*case))


@exercise.law(
    "adding one large number to all logits of an example changes neither loss nor gradient",
    st.tuples(cases(2), st.sampled_from([-10_000.0, -1_000.0, 1_000.0, 10_000.0])),
)
def shift(answer, case):
    (t, labels), far = case
    moved = t + far * (np.arange(len(t)) % 2 == 0)[:, None]  # every other example, and the first
    agree("the loss", answer.cross_entropy(moved, labels), loss(t, labels))
    agree("the gradient", answer.cross_entropy_gradient(moved, labels), slopes(t, labels))


@exercise.law(
    "one logit far above the others: the loss is 0 for its class, and the distance for another",
    st.tuples(st.sampled_from([1_000.0, 10_000.0]), st.integers(0, 2), st.integers(0, 2)),
)
def far_apart(answer, case):
    distance, top, label = case
    t = distance * np.eye(3)[[top]]
    agree("the loss", answer.cross_entropy(t, np.array([label])), 0.0 if top == label else distance)
    wanted = np.eye(3)[[top]] - np.eye(3)[[label]]
    agree("the gradient", answer.cross_entropy_gradient(t, np.array([label])), wanted)


@exercise.law("t and labels stay as they were", cases(2), examples=20)
def untouched(answer, case):
    t, labels = case
    before = t.copy(), labels.copy()
    for function in (answer.cross_entropy, answer.cross_entropy_gradient):
        function(t, labels)
        agree("t afterwards", t, before[0])
        agree("labels afterwards", labels, before[1])


exercise.mistake("the loss is a sum over the examples; it should be their mean.", "labels].mean()", "labels].sum()")
exercise.mistake(
    "the sign of the loss is flipped: the logarithm of a probability is negative.", "return -log_p", "return log_p"
)
exercise.mistake(
    "the gradient is that of a sum over the examples; the loss is their mean.", "return p / len(t)", "return p"
)
exercise.mistake(
    "exp overflows for large logits: subtract the largest logit of each example first.",
    "    t = t - t.max(axis=1, keepdims=True)\n",
    "",
    "np.exp(t - t.max(axis=1, keepdims=True))",
    "np.exp(t)",
)
exercise.mistake(
    "the gradient is that of minus the loss: it is p - 1 for the right class.",
    "return p / len(t)",
    "return -p / len(t)",
)
exercise.mistake(
    "softmax is taken over the examples (axis 0) in the loss; it belongs to each example by itself.",
    "np.exp(t).sum(axis=1, keepdims=True)",
    "np.exp(t).sum(axis=0, keepdims=True)",
    "    t = t - t.max(axis=1, keepdims=True)\n",
    "    t = t - t.max(axis=0, keepdims=True)\n",
)
exercise.mistake(
    "softmax is taken over the examples (axis 0) in the gradient; it belongs to each example by itself.",
    "e.sum(axis=1, keepdims=True)",
    "e.sum(axis=0, keepdims=True)",
)
exercise.mistake(
    "softmax is taken over the whole array; each example has a sum of its own.",
    "np.exp(t).sum(axis=1, keepdims=True)",
    "np.exp(t).sum()",
)
exercise.mistake(
    "the gradient lacks the part of the right class's own logit: there it is p - 1.",
    "    p[np.arange(len(t)), labels] -= 1\n",
    "",
)
exercise.mistake(
    "p[:, labels] is several columns of every row; one entry of each row is meant.",
    "p[np.arange(len(t)), labels] -= 1",
    "p[:, labels] -= 1",
)
exercise.mistake(
    "log_p[:, labels] is several columns of every row; one entry of each row is meant.",
    "log_p[np.arange(len(t)), labels]",
    "log_p[:, labels]",
)
exercise.mistake(
    "it divides by the number of classes as well: the mean is over examples only.",
    "return p / len(t)",
    "return p / t.size",
)
exercise.mistake(
    "one maximum is subtracted from the whole array; an example far below it is left with 0/0.",
    "    t = t - t.max(axis=1, keepdims=True)\n",
    "    t = t - t.max()\n",
    "np.exp(t - t.max(axis=1, keepdims=True))",
    "np.exp(t - t.max())",
)
exercise.mistake(
    "the logarithm of p is infinite where p is too small for a float: use log p_k = t_k - log Σ exp(t_j).",
    "log_p = t - np.log(np.exp(t).sum(axis=1, keepdims=True))",
    "log_p = np.log(np.exp(t) / np.exp(t).sum(axis=1, keepdims=True))",
)
exercise.mistake(
    "something is added to p, or p is clipped, before the logarithm: that changes the loss.",
    "log_p = t - np.log(np.exp(t).sum(axis=1, keepdims=True))",
    "log_p = np.log(np.exp(t) / np.exp(t).sum(axis=1, keepdims=True) + 1e-12)",
)
exercise.mistake(
    "the logarithm of the sum is missing: this is the right class's logit alone.",
    "log_p = t - np.log(np.exp(t).sum(axis=1, keepdims=True))",
    "log_p = t",
)
OVERFLOW = "exp overflows for large logits: subtract the largest logit of each example before it."
exercise.mistake(
    OVERFLOW,
    "    t = t - t.max(axis=1, keepdims=True)\n",
    "",
    "log_p = t - np.log(np.exp(t).sum(axis=1, keepdims=True))",
    "log_p = np.log(np.exp(t) / np.exp(t).sum(axis=1, keepdims=True))",
    "np.exp(t - t.max(axis=1, keepdims=True))",
    "np.exp(t)",
)
exercise.mistake(
    "exp overflows in the gradient: subtract the largest logit of each example there, too.",
    "np.exp(t - t.max(axis=1, keepdims=True))",
    "np.exp(t)",
)
exercise.mistake(
    "exp overflows in the loss: subtract the largest logit of each example there, too.",
    "    t = t - t.max(axis=1, keepdims=True)\n",
    "",
)
exercise.mistake(
    "the loss is divided by the number of classes as well: the mean is over examples only.",
    "labels].mean()",
    "labels].sum() / t.size",
)


@exercise.symptom("something is added to p, or p is clipped, before the logarithm: that changes the loss.")
def added(answer):
    return 0 < abs(answer.cross_entropy(np.zeros((1, 1)), np.array([0]))) < 1e-3
