"""engine.6 Reductions

    sum(x, axis=None, keepdims=False)      the sum of the entries of x
    mean(x, axis=None, keepdims=False)     their mean
    max(x, axis=None, keepdims=False)      the largest of them

`axis` and `keepdims` are NumPy's: None reduces all axes; a number, which may be negative, one; a tuple several. With
keepdims the reduced axes stay, with 1 entry. Each returns a Tensor that leads back to x. (In this file the three names
now stand for your functions, not for Python's.)

Each entry that was summed gets the gradient of its sum. Mind where its axis was: g of shape (2,), from a sum over
axis 1 of (2, 2), has to become a column before it is repeated. Each of the entries that a mean was taken of gets
its part. With max, the entry that is the largest gets all of the gradient; where several are equal and the largest,
they share it evenly, among those that were reduced together.

For example:

    x = Tensor([[1.0, 4.0, 4.0], [3.0, 2.0, 1.0]])
    max(x, axis=1).backward(Tensor([10.0, 20.0]))      # x.grad.data is [[0, 5, 5], [20, 0, 0]]
    mean(x, axis=0)                                    # Tensor([2.  3.  2.5])
    sum(x, axis=1, keepdims=True).shape                # (2, 1)
"""

# %% Laws

import numpy as np
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from lessons.exercises import Exercise, agree, hold
from lessons.exercises.cases import NUMBERS
from lessons.exercises.engine import COMPUTES, array_of, check, equal, gradients, ramp

exercise = Exercise(
    __file__,
    "lesson 01, part 4",
    hints=[
        "Whatever keepdims is, find out the shape that the result would have with it: then reshape(g, that"
        " shape) stands in"
        " the right place to be repeated.",
        "A mean is a sum times a number: how many entries the result has, over how many x has.",
        "For max, `x.data == x.data.max(axis=axis, keepdims=True)` marks the largest; divided by how many"
        " are marked along"
        " the axis, these are the shares. They are constants, an array; multiply g by it.",
    ],
    uses=("math", "numpy", "contextlib", "copy", "itertools"),
    only_one=False,
    written_in="my_engine.py",
)


@st.composite
def cases(draw):
    """An array, an axis and keepdims."""
    x = draw(arrays(float, draw(array_shapes(min_dims=0, max_dims=3, max_side=3)), elements=NUMBERS))
    axes = [None, *range(-x.ndim, x.ndim), *[tuple(p) for p in ((0, 1), (0, 2), (-1, 0)) if x.ndim > 2 - (p != (0, 2))]]
    return x, draw(st.sampled_from(axes)), draw(st.booleans())


def call(name, axis, keepdims):
    return f"{name}(x, axis={axis}, keepdims={keepdims})"


@exercise.law("sum: values and gradients for every axis, with and without keepdims", cases())
def sums(answer, case):
    x, axis, keepdims = case
    f = lambda x: answer.sum(x, axis, keepdims)
    check(answer, call("sum", axis, keepdims), f, lambda x: x.sum(axis=axis, keepdims=keepdims), x=x)


@exercise.law("mean: values and gradients likewise", cases())
def means(answer, case):
    x, axis, keepdims = case
    f = lambda x: answer.mean(x, axis=axis, keepdims=keepdims)
    check(answer, call("mean", axis, keepdims), f, lambda x: x.mean(axis=axis, keepdims=keepdims), x=x)


@exercise.law("max: values, and gradients where all entries differ", cases())
def largest(answer, case):
    x, axis, keepdims = case
    x = x + np.random.default_rng(0).permutation(x.size).reshape(x.shape) / 64  # the numbers are quarters
    f = lambda x: answer.max(x, axis=axis, keepdims=keepdims)
    check(answer, call("max", axis, keepdims), f, lambda x: x.max(axis=axis, keepdims=keepdims), x=x)


@exercise.law("max: equal largest entries share the gradient evenly, the others get nothing", cases())
def ties(answer, case):
    x, axis, keepdims = case
    x = np.sign(x)
    leaf, shape = answer.Tensor(x), x.max(axis=axis, keepdims=keepdims).shape
    answer.max(leaf, axis, keepdims).backward(answer.Tensor(ramp(shape)))
    what = f"x.grad after {call('max', axis, keepdims)}.backward(g), where x = {x.tolist()}, g = {ramp(shape).tolist()}"
    came = array_of(what, leaf.grad, answer)
    hold(came.shape == x.shape, f"the shape of {what}", came.shape, x.shape)
    top = x == x.max(axis=axis, keepdims=True)
    agree(f"the sum over the axis of {what}", came.sum(axis=axis, keepdims=keepdims), ramp(shape))
    agree(f"what is not the largest in {what}", came * ~top, np.zeros(x.shape))
    agree(
        f"the largest, each times their number, in {what}",
        came * top.sum(axis=axis, keepdims=True),
        top * ramp(shape).reshape(top.sum(axis=axis, keepdims=True).shape),
    )


@exercise.law("the sum of no entries is 0, and goes back")
def empty(answer):
    x = answer.Tensor(np.zeros((2, 0)))
    y = answer.sum(x, axis=1)
    agree("sum(x, axis=1), x of shape (2, 0)", array_of("the sum", y, answer), [0.0, 0.0])
    y.backward(answer.Tensor([1.0, 2.0]))
    agree("x.grad", array_of("x.grad", x.grad, answer), np.zeros((2, 0)))


@exercise.law("shares remember how they were made")
def recorded(answer):
    for name in ("sum", "mean", "max"):
        f = lambda x, name=name: getattr(answer, name)(x, axis=1)
        hold(leads_back(answer, f), f"the share that the rules of {name} make", "no step leads to g", "one that does")


def leads_back(answer, f):
    """Whether the gradient of x leads back to g: `remembers`, for functions that are made of several."""
    answer.Tensor.recording = True
    x = answer.Tensor([[1.0, 2.0], [4.0, 3.0]])
    y = f(x)
    g = answer.Tensor(ramp(y.shape))
    return g in answer.in_order(answer.go_back(y, g)[x])


SQUARE = np.array([[1.0, 2.0], [4.0, 3.0]])


def gradient(answer, name, x=SQUARE, axis=1, **options):
    return gradients(answer, lambda x: getattr(answer, name)(x, axis=axis, **options), x)[0]


@exercise.symptom(
    "The gradient of a sum is repeated along the wrong axis: reshape it first, as keepdims would have it.",
    "broadcast_to(reshape(g, kept), x.shape)",
    "broadcast_to(g, x.shape)",
)
def wrong_axis(answer):
    return equal(gradient(answer, "sum"), [[1, 2], [1, 2]])


@exercise.symptom(
    "The rule of sum divides g by the number of entries; that is for the mean.",
    "broadcast_to(reshape(g, kept), x.shape)",
    "broadcast_to(reshape(g, kept), x.shape) * (g.data.size / x.data.size)",
)
def divided(answer):
    return equal(gradient(answer, "sum", axis=0), [[0.5, 1], [0.5, 1]])


@exercise.symptom(
    "mean divides by the number of all entries; only those along the axis count.",
    "(total.data.size / x.data.size)",
    "(1 / x.data.size)",
)
def by_all(answer):
    answer.Tensor.recording = True
    return equal(answer.mean(answer.Tensor(SQUARE), axis=0).data, [1.25, 1.25])


@exercise.symptom(
    "The gradient of the mean is not divided by the number of entries.",
    "    return total * (total.data.size / x.data.size)\n",
    "    return Tensor(total.data * (total.data.size / x.data.size), (total, lambda g: g))\n",
)
def undivided(answer):
    return equal(gradient(answer, "mean", axis=0), [[1, 2], [1, 2]]) and equal(
        answer.mean(answer.Tensor(SQUARE), axis=0).data, [2.5, 2.5]
    )


@exercise.symptom("mean does not use its keepdims.", "total = sum(x, axis, keepdims)", "total = sum(x, axis)")
def mean_without_keepdims(answer):
    return keepdims_ignored(answer, "mean") and not keepdims_ignored(answer, "sum")


def keepdims_ignored(answer, name):
    answer.Tensor.recording = True
    return getattr(answer, name)(answer.Tensor(SQUARE), axis=1, keepdims=True).shape == (2,)


@exercise.symptom(
    "sum does not use its keepdims.",
    "Tensor(x.data.sum(axis=axis, keepdims=keepdims)",
    "Tensor(x.data.sum(axis=axis)",
)
def sum_without_keepdims(answer):
    return keepdims_ignored(answer, "sum")


@exercise.symptom(
    "sum always keeps the axes that it sums over: only with keepdims=True.",
    "Tensor(x.data.sum(axis=axis, keepdims=keepdims)",
    "Tensor(x.data.sum(axis=axis, keepdims=True)",
)
def always_kept(answer):
    answer.Tensor.recording = True
    return answer.sum(answer.Tensor(SQUARE), axis=1).shape == (2, 1)


@exercise.symptom(
    "mean has no step: it does not lead back to x.",
    "    return total * (total.data.size / x.data.size)\n",
    "    return Tensor(total.data * (total.data.size / x.data.size))\n",
)
def mean_without_step(answer):
    answer.Tensor.recording = True
    return len(answer.mean(answer.Tensor(SQUARE)).steps) == 0


@exercise.symptom(
    "max does not use its keepdims.",
    "Tensor(kept if keepdims else x.data.max(axis=axis)",
    "Tensor(x.data.max(axis=axis)",
)
def max_without_keepdims(answer):
    return keepdims_ignored(answer, "max")


@exercise.symptom(
    "The rule of sum does not use g.", "broadcast_to(reshape(g, kept), x.shape)", "Tensor(np.ones(x.shape))"
)
def sum_without_g(answer):
    return equal(gradient(answer, "sum"), np.ones((2, 2)))


@exercise.symptom(
    "mean divides by the length of the first axis, whatever `axis` is.",
    "(total.data.size / x.data.size)",
    "(1 / (x.shape[0] if x.shape else 1))",
)
def by_the_first(answer):
    answer.Tensor.recording = True
    return equal(answer.mean(answer.Tensor(ramp((2, 4))), axis=1).data, [5, 13])


@exercise.symptom(
    "mean divides by the length of one axis; with axis=None, or several axes, all entries along them count.",
    "(total.data.size / x.data.size)",
    "(1 / (x.shape[axis if isinstance(axis, int) else 0] if x.shape else 1))",
)
def by_one_axis(answer):
    answer.Tensor.recording = True
    mean = lambda axis: answer.mean(answer.Tensor(ramp((2, 4))), axis=axis).data
    return equal(mean(1), [2.5, 6.5]) and (equal(mean(None), 18.0) or equal(mean(None), 9.0))


TIED = np.array([[4.0, 4.0], [1.0, 0.0]])


@exercise.symptom(
    "Each of several equal largest entries gets the whole gradient; they share it.",
    "largest / largest.sum(axis=axis, keepdims=True)",
    "1.0 * largest",
)
def whole(answer):
    return equal(gradient(answer, "max", TIED), [[1, 1], [2, 0]])


@exercise.symptom(
    "The first of several equal largest entries gets all of the gradient; they share it.",
    "    share = largest / largest.sum(axis=axis, keepdims=True)\n",
    "    first = 0 if axis is None or isinstance(axis, tuple) or not x.shape else axis\n"
    "    share = largest * (np.cumsum(np.reshape(largest, x.shape), axis=first) == 1) if x.shape else 1.0\n",
)
def first(answer):
    return equal(gradient(answer, "max", TIED), [[1, 0], [2, 0]])


@exercise.symptom(
    "The gradient is shared among the largest of all of x: only those along the axis count.",
    "largest / largest.sum(axis=axis, keepdims=True)",
    "largest / largest.sum()",
)
def among_all(answer):
    return equal(gradient(answer, "max", TIED), np.array([[1, 1], [2, 0]]) / 3)


@exercise.symptom(
    "max takes the largest of all of x for the marks: compare along the axis.",
    "largest = x.data == kept",
    "largest = x.data == x.data.max()",
)
def of_all(answer):
    return (
        fails(lambda: equal(gradient(answer, "max"), [[0, 1], [2, 0]]))
        and equal(answer.max(answer.Tensor(SQUARE), axis=1).data, [2, 4])
        and not np.nan_to_num(gradient(answer, "max"))[0].any()
    )


@exercise.symptom(
    "The gradient of max stands along the wrong axis: reshape it first, as keepdims would have it.",
    "reshape(g, kept.shape) * share",
    "g * share",
)
def max_along_the_wrong_axis(answer):
    return equal(gradient(answer, "max"), [[0, 2], [1, 0]])


@exercise.symptom(
    "max passes g on to all entries, not only to the largest.",
    "reshape(g, kept.shape) * share",
    "reshape(g, kept.shape) * np.ones(x.shape)",
)
def to_all(answer):
    return equal(gradient(answer, "max"), [[1, 1], [2, 2]])


@exercise.symptom(
    f"The rule of sum {COMPUTES}",
    "broadcast_to(reshape(g, kept), x.shape)",
    "Tensor(broadcast_to(reshape(g, kept), x.shape).data)",
)
def forgetful_sum(answer):
    return not sum_without_g(answer) and not leads_back(answer, lambda x: answer.sum(x, axis=1))


@exercise.symptom(
    f"The rule of max {COMPUTES}",
    "lambda g: reshape(g, kept.shape) * share",
    "lambda g: Tensor(g.data.reshape(kept.shape) * share)",
)
def forgetful_max(answer):
    return not leads_back(answer, lambda x: answer.max(x, axis=1))


def fails(function):
    try:
        return not function()
    except Exception:
        return True
