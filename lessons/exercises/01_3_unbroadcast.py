"""1.3 The gradient of what was broadcast

Broadcasting uses one value many times, and a value that is used many times gets the sum of its shares. Write the rule:
sum a gradient to the shape that the operand had before it was broadcast.

    unbroadcast(g, shape)
        g : array, of a shape to which `shape` broadcasts
        shape : tuple of int, the operand's shape
        returns an array of that shape and of g's dtype; g stays as it is

NumPy broadcasts in two ways: it puts new axes in front, and it stretches axes of size 1. For example, in x * s with x
of shape (2, 3), an s of shape (3,) is used in both rows, and an s of shape (2, 1) in all three columns:

    g = np.array([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]])
    unbroadcast(g, (3,))       # [5.0, 7.0, 9.0]
    unbroadcast(g, (2, 1))     # [[6.0], [15.0]]
"""

import numpy as np


def unbroadcast(g, shape):
    """Sum g over the axes along which an operand of this shape was broadcast."""
    # solution
    g = g.sum(axis=tuple(range(g.ndim - len(shape))))  # axes that broadcasting put in front
    stretched = tuple(axis for axis, size in enumerate(shape) if size == 1)
    return np.sum(g, axis=stretched, keepdims=True)
    # end of solution


# %% Laws

from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from lessons.exercises import Exercise, agree, hold
from lessons.exercises.cases import NUMBERS

exercise = Exercise(
    __file__,
    "lesson 01, part 4",
    hints=[
        "Two kinds of axes must be summed. The new ones in front are the first g.ndim - len(shape).",
        "When those are gone, g has as many axes as `shape`. Sum over those whose size in `shape` is 1, and keep them.",
        "`g.sum(axis=(0, 2), keepdims=True)` sums over two axes and leaves them with size 1; an empty tuple of axes "
        "sums over none. The new axes in front must go, those of size 1 must stay.",
    ],
)


@st.composite
def cases(draw, in_front=(0, 2), stretch=True, dims=(0, 3)):
    """(g, shape): a shape, some of whose 1s are stretched, and new axes in front."""
    shape = draw(st.lists(st.integers(1, 3), min_size=dims[0], max_size=dims[1]))
    grown = [draw(st.integers(1, 3)) if stretch and size == 1 else size for size in shape]
    front = draw(st.lists(st.integers(1, 3), min_size=in_front[0], max_size=in_front[1]))
    return draw(arrays(float, (*front, *grown), elements=NUMBERS)), tuple(shape)


def shares(g, shape):
    """For each entry of an array of this shape: the sum of g over the places at which broadcasting puts that entry."""
    size = int(np.prod(shape))
    used = np.broadcast_to(np.arange(size).reshape(shape), g.shape)
    return np.bincount(used.ravel(), g.ravel(), size).reshape(shape)


@exercise.law("the result has the shape of the operand", cases())
def shape(answer, case):
    came = answer.unbroadcast(*case)
    hold(np.shape(came) == case[1], "the shape of the result", np.shape(came), case[1])


@exercise.law("nothing was broadcast, nothing is summed", cases((0, 0), stretch=False))
def same(answer, case):
    agree("the result", answer.unbroadcast(*case), case[0])


@exercise.law("an axis put in front is summed over", cases((1, 2), stretch=False))
def front(answer, case):
    agree("the result", answer.unbroadcast(*case), shares(*case))


@exercise.law("an axis stretched from 1 is summed over", cases((0, 0), dims=(1, 3)))
def stretched(answer, case):
    agree("the result", answer.unbroadcast(*case), shares(*case))


@exercise.law("each entry gets the sum of g over all places where it was used", cases(), examples=80)
def sums(answer, case):
    agree("the result", answer.unbroadcast(*case), shares(*case))


@exercise.law("g stays as it was", cases())
def untouched(answer, case):
    g, shape = case
    before = g.copy()
    answer.unbroadcast(g, shape)
    agree("g afterwards", g, before)


@exercise.law("the dtype stays that of g", cases())
def dtype(answer, case):
    g, shape = case
    came = answer.unbroadcast(g.astype(np.float32), shape)
    hold(came.dtype == np.float32, "the dtype of the result, for g in float32", came.dtype, "float32")


exercise.mistake(
    "axes that broadcasting put in front are not summed.",
    "g = g.sum(axis=tuple(range(g.ndim - len(shape))))",
    "g = g + 0",
)
exercise.mistake("axes that were stretched from 1 are not summed.", "np.sum(g, axis=stretched, keepdims=True)", "g")
exercise.mistake("axes of size 1 get lost: keep them.", "axis=stretched, keepdims=True", "axis=stretched")
exercise.mistake(
    "it takes means: what is used many times gets the sum of its shares.",
    "g.sum(axis",
    "g.mean(axis",
    "np.sum(",
    "np.mean(",
)
exercise.mistake("it takes the mean over the axes that were stretched from 1; shares add up.", "np.sum(", "np.mean(")
exercise.mistake("it takes the mean over the axes in front; shares add up.", "g.sum(axis", "g.mean(axis")
exercise.mistake(
    "one of the shares is picked; they are to be added up.",
    "g = g.sum(axis=tuple(range(g.ndim - len(shape))))",
    "g = g[(0,) * (g.ndim - len(shape))]",
    "np.sum(g, axis=stretched, keepdims=True)",
    "g[tuple(slice(0, 1 if size == 1 else None) for size in shape)]",
)
exercise.mistake(
    "only one axis in front is summed, where there may be several.",
    "g.sum(axis=tuple(range(g.ndim - len(shape))))",
    "g.sum(axis=0) if g.ndim > len(shape) else g",
)
exercise.mistake(
    "only one axis of size 1 is summed over, where there may be several.",
    "enumerate(shape) if size == 1)",
    "enumerate(shape) if size == 1)[:1]",
)
exercise.mistake(
    "only the last of several axes of size 1 is summed over: each sum has to start from the one before.",
    "enumerate(shape) if size == 1)",
    "enumerate(shape) if size == 1)[-1:]",
)
exercise.mistake(
    "all axes are summed, also those that were not broadcast.",
    "np.sum(g, axis=stretched, keepdims=True)",
    "np.full(shape, np.sum(g))",
)
exercise.mistake(
    "the last axes of g are summed; NumPy puts new axes in front.",
    "g.sum(axis=tuple(range(g.ndim - len(shape))))",
    "g.sum(axis=tuple(range(len(shape), g.ndim)))",
)
exercise.mistake(
    "the axes of g and of `shape` are compared from the left; new axes stand in front, so align them on the right.",
    """    g = g.sum(axis=tuple(range(g.ndim - len(shape))))  # axes that broadcasting put in front
    stretched = tuple(axis for axis, size in enumerate(shape) if size == 1)
""",
    """    stretched = tuple(axis for axis, (a, b) in enumerate(zip(g.shape, shape, strict=False)) if a != b)
""",
)


@exercise.symptom("the result is float64, whatever g is: keep the dtype of g.")
def wider(answer):
    g = np.array([[1.0, 2.0], [3.0, 5.0]])
    right = np.array_equal(answer.unbroadcast(g, (1, 2)), [[4.0, 7.0]])
    return right and answer.unbroadcast(g.astype(np.float32), (1, 2)).dtype == np.float64
