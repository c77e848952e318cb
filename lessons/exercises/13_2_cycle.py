"""13.2 A cycle of equi-normalization

A fully connected network with ReLUs between its layers computes, for an input x,

    x ← relu(W x + b)   for each layer but the last,   x ← W x + b   for the last.

Make one cycle of equi-normalization, with p = 2 and c = 1. Go through the hidden layers, front to back. For each hidden
unit take I, the norm of what comes in, without the bias, and O, that of what goes out, both with the weights as they
are by then; then multiply what comes in, bias included, by d = √(O/I), and divide what goes out by d. No row or column
is all zeros.

    cycle(weights, biases)
        weights : list of arrays, at least one; that of layer k is (outputs, inputs)
        biases : list of arrays (outputs,), one for each layer
        returns the new (weights, biases), two lists; the arrays that were given stay as they are

For example, with a single hidden unit, I = 1 and O = 4:

    weights = [np.array([[1.0]]), np.array([[4.0]])]
    biases = [np.array([3.0]), np.array([5.0])]
    cycle(weights, biases)      # weights [[2]] and [[2]], biases [6] and [5]
"""

import numpy as np


def cycle(weights, biases):
    """One cycle: new weights, new biases."""
    # solution
    weights, biases = list(weights), list(biases)
    for k in range(len(weights) - 1):
        into = np.sqrt(np.sum(weights[k] ** 2, axis=1))
        out = np.sqrt(np.sum(weights[k + 1] ** 2, axis=0))
        d = np.sqrt(out / into)
        weights[k] = weights[k] * d[:, None]
        biases[k] = biases[k] * d
        weights[k + 1] = weights[k + 1] / d
    return weights, biases
    # end of solution


# %% Laws

import itertools

from hypothesis import strategies as st

from lessons.exercises import Exercise, agree, hold, parts
from lessons.exercises.cases import SIZES, matrices, vectors

exercise = Exercise(
    __file__,
    'lesson 13, "A cycle"',
    hints=[
        "In the loop over k, unit i of the hidden layer has row i of weights[k] and column i of weights[k + 1].",
        "The next round of the loop has to see the columns that were divided: work on a list of your own, in which you "
        "replace the arrays.",
        "d is (units,). Rows are multiplied by d[:, None], columns divided by d; biases[k] is multiplied, the last "
        "bias stays.",
    ],
)


@st.composite
def cases(draw, least=1, most=4):
    """Weights without rows and columns of zeros, biases."""
    widths = [draw(SIZES) for _ in range(draw(st.integers(least, most)) + 1)]
    weights = [draw(matrices(n, m, rows_not_zero=True)) for m, n in itertools.pairwise(widths)]
    for W in weights:
        W[0] = np.where((W == 0).all(axis=0), 1.0, W[0])
    return weights, [draw(vectors(len(W))) for W in weights]


def cycled(answer, case):
    weights, biases = case
    came = answer.cycle([W.copy() for W in weights], [b.copy() for b in biases])
    new_weights, new_biases = parts(came, "weights", "biases")
    for name, given, new in (("weights", weights, new_weights), ("biases", biases, new_biases)):
        hold(len(new) == len(given), f"how many {name} are returned", len(new), len(given))
    return [np.asarray(W, float) for W in new_weights], [np.asarray(b, float) for b in new_biases]


def output(weights, biases, x):
    for W, b in zip(weights[:-1], biases[:-1], strict=True):
        x = np.maximum(W @ x + b, 0)
    return weights[-1] @ x + biases[-1]


def sides(weights, k):
    return np.linalg.norm(weights[k], axis=1), np.linalg.norm(weights[k + 1], axis=0)


@exercise.law("each array keeps its shape", cases())
def shapes(answer, case):
    for name, given, new in zip(("a weight", "a bias"), case, cycled(answer, case), strict=True):
        for before, after in zip(given, new, strict=True):
            hold(before.shape == after.shape, f"the shape of {name}", after.shape, before.shape)


@exercise.law("the network computes what it computed before", cases())
def function(answer, case):
    for x in np.random.default_rng(0).integers(-8, 9, (3, case[0][0].shape[1])) / 2:
        agree(f"the output for x = {x}", output(*cycled(answer, case), x), output(*case, x))


@exercise.law("one hidden layer: incoming and outgoing norms are equal after a cycle", cases(2, 2))
def balanced(answer, case):
    agree("I beside O", *sides(cycled(answer, case)[0], 0))


@exercise.law("the last hidden layer that a cycle visits is the last one: its norms are equal", cases(3, 4))
def last(answer, case):
    agree("I beside O", *sides(cycled(answer, case)[0], len(case[0]) - 2))


@exercise.law("the first hidden layer is rescaled first: its rows become √(I O) long", cases(2, 4))
def first(answer, case):
    weights, _ = cycled(answer, case)
    into, out = sides(case[0], 0)
    agree("row norms of the first layer: √(I O)", np.linalg.norm(weights[0], axis=1), np.sqrt(into * out))


@exercise.law("a cycle does not increase the sum of squares", cases())
def sum_of_squares(answer, case):
    before, after = (sum(np.sum(W**2) for W in weights) for weights in (case[0], cycled(answer, case)[0]))
    hold(after <= before * (1 + 1e-9), "the sum after the cycle", after, f"at most {before:g}")


@exercise.law("after forty cycles all norms are equal", cases(2, 4), examples=10)
def limit(answer, case):
    for _ in range(40):
        case = cycled(answer, case)
    for k in range(len(case[0]) - 1):
        agree("I beside O", *sides(case[0], k), rtol=1e-4)  # four layers: 0.5 to the 40th of what it was


@exercise.law("the arrays that were given stay as they are", cases())
def untouched(answer, case):
    weights, biases = [W.copy() for W in case[0]], [b.copy() for b in case[1]]
    lists = list(weights), list(biases)
    answer.cycle(*lists)
    for name, given, now in (("a weight", case[0], weights), ("a bias", case[1], biases)):
        for before, after in zip(given, now, strict=True):
            agree(f"{name} that was given", after, before)
    hold(all(a is b for old, new in zip((weights, biases), lists, strict=True) for a, b in zip(old, new, strict=True)),
         "the lists that were given", "with other arrays in them", "with the same arrays")  # fmt: skip


exercise.mistake(
    "biases are left as they were: a bias comes into its unit, and is multiplied like the weights beside it.",
    "biases[k] = biases[k] * d",
    "pass",
)
exercise.mistake("biases are divided by d: they come into the unit, so they are multiplied.", "biases[k] * d",
                 "biases[k] / d")  # fmt: skip
exercise.mistake("the next layer's columns are not divided by d.", "        weights[k + 1] = weights[k + 1] / d\n", "")
exercise.mistake("d is √(I/O): the quotient is upside down.", "out / into", "into / out")
exercise.mistake("d is O/I without the root.", "d = np.sqrt(out / into)", "d = out / into")
exercise.mistake(
    "all factors are those of the weights at the beginning; each layer has to see the steps before it.",
    "    weights, biases = list(weights), list(biases)\n",
    "    old, weights, biases = weights, list(weights), list(biases)\n",
    "weights[k] ** 2, axis=1",
    "old[k] ** 2, axis=1",
    "weights[k + 1] ** 2, axis=0",
    "old[k + 1] ** 2, axis=0",
)
exercise.mistake("the cycle goes back to front.", "range(len(weights) - 1)", "reversed(range(len(weights) - 1))")
exercise.mistake("the last hidden layer is left out.", "range(len(weights) - 1)", "range(len(weights) - 2)")
exercise.mistake(
    "the bias is counted in the norm of what comes in.",
    "np.sum(weights[k] ** 2, axis=1)",
    "np.sum(weights[k] ** 2, axis=1) + biases[k] ** 2",
)
