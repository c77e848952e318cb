"""11.1 An LSTM with peepholes, forward and back

A step of an LSTM, for one minibatch. What W, U and b contribute is given: the pre-activations of the input gate, the
forget gate, the new content and the output gate. With the logistic function 1/(1 + e^(-t)), the memory c, and the
peepholes p_i, p_f and p_o, three numbers for each unit,

    i = logistic(its pre-activation + p_i c)          new = tanh(its pre-activation)
    f = logistic(its pre-activation + p_f c)          c' = f c + i new
    o = logistic(its pre-activation + p_o c')         h = o tanh(c')

    step(gates, c, peepholes)
        gates : array (N, 4, units), the pre-activations of i, f, new and o, in this order
        c : array (N, units)
        peepholes : array (3, units), p_i, p_f and p_o
        returns (h, c'), arrays (N, units)

Then the way back. Later steps send the derivatives of the loss with respect to h and c', taken as if the two were
independent variables. Write the derivatives with respect to the pre-activations and c:

    back(gates, c, peepholes, grad_h, grad_c)
        grad_h, grad_c : arrays (N, units), the derivatives of the loss with respect to h and c'
        returns the derivatives with respect to gates, array (N, 4, units), and c, array (N, units)

For example, with everything 0 but the memory, and a loss that is c' itself:

    gates, c, zeros = np.zeros((1, 4, 1)), np.array([[2.0]]), np.zeros((1, 1))
    step(gates, c, np.zeros((3, 1)))                          # h is [[0.38080]], c' is [[1]]
    back(gates, c, np.zeros((3, 1)), zeros, zeros + 1)        # by gates [[[0], [0.5], [0.5], [0]]], by c [[0.5]]
"""

import numpy as np


def step(gates, c, peepholes):
    """h and c' after a step."""
    # solution
    i = 1 / (1 + np.exp(-(gates[:, 0] + peepholes[0] * c)))
    f = 1 / (1 + np.exp(-(gates[:, 1] + peepholes[1] * c)))
    after = f * c + i * np.tanh(gates[:, 2])
    o = 1 / (1 + np.exp(-(gates[:, 3] + peepholes[2] * after)))
    return o * np.tanh(after), after
    # end of solution


def back(gates, c, peepholes, grad_h, grad_c):
    """The derivatives by gates and by c, from those by h and c'."""
    # solution
    i = 1 / (1 + np.exp(-(gates[:, 0] + peepholes[0] * c)))
    f = 1 / (1 + np.exp(-(gates[:, 1] + peepholes[1] * c)))
    new = np.tanh(gates[:, 2])
    after = f * c + i * new
    o = 1 / (1 + np.exp(-(gates[:, 3] + peepholes[2] * after)))
    by_o = grad_h * np.tanh(after) * o * (1 - o)
    by_after = grad_c + grad_h * o * (1 - np.tanh(after) ** 2) + by_o * peepholes[2]
    by_i = by_after * new * i * (1 - i)
    by_f = by_after * c * f * (1 - f)
    by_new = by_after * i * (1 - new**2)
    by_c = by_after * f + by_i * peepholes[0] + by_f * peepholes[1]
    return np.stack([by_i, by_f, by_new, by_o], axis=1), by_c
    # end of solution


# %% Laws

from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from lessons.exercises import Exercise, agree, differences, numbers, parts

exercise = Exercise(
    __file__,
    'lesson 11, "A cell that remembers"',
    hints=[
        "logistic'(t) = y (1 - y) with y the value, and tanh' = 1 - y². Compute the gates once more in back.",
        "Begin at the end: h = o tanh(c') gives the derivative with respect to o's pre-activation and a share of that "
        "for c'. The other shares of c' are grad_c and, through o's peephole, p_o times the derivative for o's "
        "pre-activation.",
        "When the derivative for c' is complete, i, f and new get theirs from c' = f c + i new. c gets a share "
        "through f c, and one through each peephole of i and f.",
    ],
)

QUARTERS = st.integers(-8, 8).map(lambda k: k / 4)


@st.composite
def cases(draw, with_peepholes=True):
    """gates, c, peepholes, and the derivatives by h and by c'."""
    n, units = draw(st.integers(1, 2)), draw(st.integers(1, 3))
    some = lambda *shape: draw(arrays(float, shape, elements=QUARTERS))
    return some(n, 4, units), some(n, units), some(3, units) * with_peepholes, some(n, units), some(n, units)


def stepped(answer, gates, c, peepholes):
    given = gates.copy(), c.copy(), peepholes.copy()
    came = parts(answer.step(*given), "h", "c'")
    for name, one, before in zip(("gates", "c", "peepholes"), given, (gates, c, peepholes), strict=True):
        agree(f"the {name} that step was given, afterwards", one, before)
    return [numbers(f"the {name} of step", one, c.shape) for name, one in zip(("h", "c'"), came, strict=True)]


def gone_back(answer, gates, c, peepholes, grad_h, grad_c):
    came = parts(answer.back(*(a.copy() for a in (gates, c, peepholes, grad_h, grad_c))), "by gates", "by c")
    return numbers("the derivative by gates", came[0], gates.shape), numbers("the derivative by c", came[1], c.shape)


@exercise.law("h and c' come back, arrays (N, units); what is given stays as it is", cases())
def shape(answer, case):
    stepped(answer, *case[:3])


@exercise.law(
    "without peepholes: a forget gate that is open and an input gate that is shut keep the memory", cases(False)
)
def kept(answer, case):
    gates, c, peepholes, *_ = case
    gates = gates.copy()
    gates[:, 0], gates[:, 1] = -50, 50
    agree("c'", stepped(answer, gates, c, peepholes)[1], c)


@exercise.law("a memory that is forgotten is replaced by i tanh(…)", cases())
def replaced(answer, case):
    gates, c, peepholes, *_ = case
    gates = gates.copy()
    gates[:, 0], gates[:, 1] = 100, -100
    agree("c'", stepped(answer, gates, c, peepholes)[1], np.tanh(gates[:, 2]))


def logistic(t):
    return np.where(t < 0, np.exp(t) / (1 + np.exp(t)), 1 / (1 + np.exp(-t)))


@exercise.law("c' = f c + i new", cases())
def memory(answer, case):
    gates, c, p, *_ = case
    f, i = logistic(gates[:, 1] + p[1] * c), logistic(gates[:, 0] + p[0] * c)
    agree("c'", stepped(answer, gates, c, p)[1], f * c + i * np.tanh(gates[:, 2]))


@exercise.law("h is the output gate, which sees c', times tanh(c')", cases())
def output(answer, case):
    gates, c, p, *_ = case
    h, after = stepped(answer, gates, c, p)
    agree("h", h, logistic(gates[:, 3] + p[2] * after) * np.tanh(after))


# Central differences of sums of numbers below 10, with a step of 1e-6, are off by 1e-9 or less.


def loss_of(answer, gates, c, p, grad_h, grad_c):
    h, after = answer.step(gates, c, p)
    return np.sum(h * grad_h + after * grad_c)


def by_differences(answer, gates, c, p, *grads):
    of_gates = differences(lambda a: loss_of(answer, a, c, p, *grads), gates)
    return of_gates, differences(lambda a: loss_of(answer, gates, a, p, *grads), c)


@exercise.law(
    "back is the derivative of step, where nothing comes by h and there are no peepholes", cases(False), examples=20
)
def through_the_memory(answer, case):
    *given, grad_h, grad_c = case
    case = (*given, 0 * grad_h, grad_c)
    for name, a, b in zip(("gates", "c"), gone_back(answer, *case), by_differences(answer, *case), strict=True):
        agree(f"the derivative by {name}", a, b, rtol=1e-5, atol=1e-6)


@exercise.law("back is the derivative of step, without peepholes", cases(False), examples=20)
def without_peepholes(answer, case):
    for name, a, b in zip(("gates", "c"), gone_back(answer, *case), by_differences(answer, *case), strict=True):
        agree(f"the derivative by {name}", a, b, rtol=1e-5, atol=1e-6)


@exercise.law("back is the derivative of step", cases(), examples=20)
def derivative(answer, case):
    for name, a, b in zip(("gates", "c"), gone_back(answer, *case), by_differences(answer, *case), strict=True):
        agree(f"the derivative by {name}", a, b, rtol=1e-5, atol=1e-6)


RETURNED = "    return o * np.tanh(after), after\n"
exercise.mistake("h lacks its tanh: it is o tanh(c').", RETURNED, "    return o * after, after\n")
exercise.mistake("h and c' have changed places.", RETURNED, "    return after, o * np.tanh(after)\n")
exercise.mistake(
    "the output gate sees the memory of before: it decides last, and sees c'.",
    "    o = 1 / (1 + np.exp(-(gates[:, 3] + peepholes[2] * after)))\n" + RETURNED,
    "    o = 1 / (1 + np.exp(-(gates[:, 3] + peepholes[2] * c)))\n" + RETURNED,
)
exercise.mistake(
    "the new content goes into the memory without its tanh.",
    "after = f * c + i * np.tanh(gates[:, 2])",
    "after = f * c + i * gates[:, 2]",
)
exercise.mistake(
    "i and f have changed places in the new memory.",
    "after = f * c + i * np.tanh(gates[:, 2])",
    "after = i * c + f * np.tanh(gates[:, 2])",
)
BY_AFTER = "by_after = grad_c + grad_h * o * (1 - np.tanh(after) ** 2) + by_o * peepholes[2]"
exercise.mistake(
    "c' has no share from h: h = o tanh(c') depends on it, too.", BY_AFTER, "by_after = grad_c + by_o * peepholes[2]"
)
exercise.mistake(
    "what comes by c' from later steps is lost: the shares of a value that is used twice add up.",
    BY_AFTER,
    BY_AFTER.replace("grad_c + ", ""),
)
exercise.mistake(
    "the share of c' through the output gate's peephole is missing.",
    BY_AFTER,
    BY_AFTER.replace(" + by_o * peepholes[2]", ""),
)
exercise.mistake(
    "the derivative of tanh is 1 - y², in the share of c' from h.",
    BY_AFTER,
    BY_AFTER.replace("np.tanh(after) ** 2", "np.tanh(after)"),
)
BY_C = "by_c = by_after * f + by_i * peepholes[0] + by_f * peepholes[1]"
exercise.mistake("the shares of c through the peepholes of i and f are missing.", BY_C, "by_c = by_after * f")
exercise.mistake("c has no share through the product f c.", BY_C, BY_C.replace("by_after * f + ", ""))
for name in ("i", "f"):
    exercise.mistake(
        f"the share of c through the peephole of {name} is missing.",
        BY_C,
        BY_C.replace({"i": " + by_i * peepholes[0]", "f": " + by_f * peepholes[1]"}[name], ""),
    )
for gate, term in {"i": "i * (1 - i)", "f": "f * (1 - f)", "o": "o * (1 - o)"}.items():
    exercise.mistake(
        f"the derivative of the logistic function is missing for {gate}: it is y (1 - y).", f" * {term}", ""
    )
exercise.mistake(
    "the derivative of tanh is missing in that by the new content.",
    "by_new = by_after * i * (1 - new**2)",
    "by_new = by_after * i",
)
