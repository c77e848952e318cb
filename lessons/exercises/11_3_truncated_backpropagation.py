"""11.3 Truncated backpropagation through time

A small recurrent network, h_t = tanh(W h_(t-1) + x_t), has the loss ½ Σ ‖h_t - y_t‖² over all steps. Its gradient for W
goes back from each step to the first, which for a long sequence needs a long tape. *Truncated* backpropagation cuts the
sequence into pieces of `length` steps, one after the other from the first step on; the last piece may be shorter. The
states go on from piece to piece, but gradients do not: within a piece, the state that it begins with counts as a
constant.

    gradient(W, x, y, h, length)
        W : array (units, units)
        x, y : arrays (T, units), inputs and targets of steps 1 to T
        h : array (units,), the state before the first step
        length : int, 1 or more
        returns the gradient for W, the sum over all pieces, array (units, units)

For example, one unit and two steps, in one piece and in two:

    W, x, y, h = np.array([[1.0]]), np.array([[0.0], [0.0]]), np.array([[0.0], [0.0]]), np.array([1.0])
    gradient(W, x, y, h, 2)     # [[0.71752]]
    gradient(W, x, y, h, 1)     # [[0.59978]]: what h_2 owes to W by way of h_1 is missing
"""

import numpy as np


def gradient(W, x, y, h, length):
    """The gradient for W, cut off at the beginning of each piece."""
    # solution
    total = np.zeros(W.shape)
    for first in range(0, len(x), length):
        states = [h]
        for t in range(first, min(first + length, len(x))):
            h = np.tanh(W @ h + x[t])
            states.append(h)
        by_state = np.zeros(h.shape)
        for k in reversed(range(1, len(states))):
            by_state = by_state + states[k] - y[first + k - 1]
            by_pre_activation = by_state * (1 - states[k] ** 2)
            total = total + np.outer(by_pre_activation, states[k - 1])
            by_state = W.T @ by_pre_activation
    return total
    # end of solution


# %% Laws

from hypothesis import strategies as st

from lessons.exercises import Exercise, agree, differences, numbers
from lessons.exercises.cases import matrices, vectors

exercise = Exercise(
    __file__,
    'lesson 11, "The length of the tape"',
    hints=[
        "Keep the states of a piece in a list, including the one that it begins with. Then go back through the list.",
        "On the way back carry the derivative of the loss with respect to the state. At each step: add h_t - y_t, "
        "multiply by 1 - h_t², add the outer product with h_(t-1) to the gradient, and multiply by W transposed for "
        "the step before.",
        "What is carried begins at 0 in each piece. The state is carried forward into the next piece.",
    ],
)

QUARTERS = st.integers(-6, 6).map(lambda k: k / 4)


@st.composite
def cases(draw, steps=None):
    """W, x, y and h."""
    units, T = draw(st.integers(1, 2)), draw(st.integers(1, 5)) if steps is None else steps
    W, x, y = (draw(matrices(rows, units, QUARTERS)) for rows in (units, T, T))
    return W, x, y, draw(vectors(units, QUARTERS))


def found(answer, W, x, y, h, length):
    given = [a.copy() for a in (W, x, y, h)]
    came = numbers("the gradient", answer.gradient(*given, length), W.shape)
    for name, a, b in zip("Wxyh", given, (W, x, y, h), strict=True):
        agree(f"{name}, afterwards", a, b)
    return came


def states_of(W, x, h):
    """All states, the first of which is h."""
    states = [h]
    for one in x:
        states.append(np.tanh(W @ states[-1] + one))
    return states


def loss(W, x, y, h):
    return 0.5 * sum(np.sum((a - b) ** 2) for a, b in zip(states_of(W, x, h)[1:], y, strict=True))


# Central differences with a step of 1e-6 of losses below 100 are off by 1e-8, and by third derivatives times 1e-12.


@exercise.law("the gradient has the shape of W; what is given stays as it is", st.tuples(cases(), st.integers(1, 6)))
def shape(answer, case):
    found(answer, *case[0], case[1])


@exercise.law("one step: the outer product of (h - y)(1 - h²) and the state before", cases(1))
def one_step(answer, case):
    W, x, y, h = case
    after = np.tanh(W @ h + x[0])
    agree("the gradient", found(answer, *case, 1), np.outer((after - y[0]) * (1 - after**2), h))


@exercise.law("in one piece it is the derivative of the loss", cases(), examples=25)
def whole(answer, case):
    W, x, y, h = case
    agree(
        "the gradient", found(answer, *case, len(x)), differences(lambda a: loss(a, x, y, h), W), rtol=1e-5, atol=1e-6
    )


@exercise.law("a length beyond the end changes nothing", cases(), examples=25)
def beyond(answer, case):
    W, x, y, h = case
    wanted = differences(lambda a: loss(a, x, y, h), W)
    agree("the gradient", found(answer, *case, len(x) + 3), wanted, rtol=1e-5, atol=1e-6)


@exercise.law("in pieces it is the sum of the derivatives of each piece, from its first state on",
              st.tuples(cases(), st.integers(1, 4)), examples=40)  # fmt: skip
def pieces(answer, case):
    (W, x, y, h), length = case
    states, wanted = states_of(W, x, h), np.zeros(W.shape)
    for first in range(0, len(x), length):
        part = slice(first, first + length)
        wanted += differences(lambda a, part=part, first=first: loss(a, x[part], y[part], states[first]), W)
    agree(f"the gradient with a length of {length}", found(answer, W, x, y, h, length), wanted, rtol=1e-5, atol=1e-6)


exercise.mistake(
    "nothing is cut: the gradient goes back to the first step, whatever the length.",
    "range(0, len(x), length)",
    "range(0, len(x), len(x))",
    "min(first + length, len(x))",
    "len(x)",
)
exercise.mistake(
    "each piece begins with the first state: states go on from piece to piece.",
    "        states = [h]\n",
    "        start = h if first == 0 else start\n        h = start\n        states = [h]\n",
)
exercise.mistake(
    "a last piece that is shorter is left out.", "range(0, len(x), length)", "range(0, len(x) - length + 1, length)"
)
exercise.mistake(
    "it does not go back within a piece: what a state owes to W by way of earlier states is missing.",
    "by_state = W.T @ by_pre_activation",
    "by_state = 0 * by_pre_activation",
)
exercise.mistake("on the way back W is not transposed.", "W.T @ by_pre_activation", "W @ by_pre_activation")
exercise.mistake("the derivative of tanh is missing: 1 - h².", "by_state * (1 - states[k] ** 2)", "by_state * 1.0")
exercise.mistake(
    "the derivative of tanh is taken at the state before: it is 1 - h_t² with the step's own h_t.",
    "(1 - states[k] ** 2)",
    "(1 - states[k - 1] ** 2)",
)
exercise.mistake(
    "only the last step of each piece has a share in the loss.",
    "by_state = by_state + states[k] - y[first + k - 1]",
    "by_state = by_state + (states[k] - y[first + k - 1]) * (k == len(states) - 1)",
)
exercise.mistake(
    "the outer product is with the step's own state: it is with the one before.",
    "np.outer(by_pre_activation, states[k - 1])",
    "np.outer(by_pre_activation, states[k])",
)
exercise.mistake(
    "the outer product is the wrong way round: rows of W belong to pre-activations.",
    "np.outer(by_pre_activation, states[k - 1])",
    "np.outer(states[k - 1], by_pre_activation)",
)
exercise.mistake(
    "it returns the gradient of the last piece: those of all pieces are added up.",
    "        by_state = np.zeros(h.shape)\n",
    "        by_state, total = np.zeros(h.shape), np.zeros(W.shape)\n",
)
exercise.mistake(
    "the target's sign is wrong: the derivative of ½(h - y)² is h - y.",
    "states[k] - y[first + k - 1]",
    "states[k] + y[first + k - 1]",
)
