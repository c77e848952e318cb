"""3.3 A convolution's kernel

In a layer with one row for each unit, ‖v‖ is taken over axis 1. The kernel of a convolution has four axes, (outputs,
inputs, height, width). Its weight vectors belong to the outputs: all weights that one output is computed with form one
vector, with one length. A transposed convolution keeps its kernel as (inputs, outputs, height, width); there the
outputs are axis 1. So the axis is an argument. Write equation 2, w = g v/‖v‖, for such a kernel.

    weight_norm(v, g, axis)
        v : array of four axes; the part that belongs to one output is never all zero
        g : array (outputs,), where outputs is v.shape[axis]
        axis : 0 or 1, the axis of the outputs; ‖v‖ is taken over all other axes
        returns w, array of the shape of v

For example, two outputs that see one input through a kernel of 1 × 2: their vectors are (3, 4) and (0, 2).

    v = np.array([[[[3.0, 4.0]]], [[[0.0, 2.0]]]])             # shape (2, 1, 1, 2)
    weight_norm(v, np.array([10.0, 1.0]), axis=0)              # [[[[6.0, 8.0]]], [[[0.0, 1.0]]]]

As the kernel of a transposed convolution the same v has one output, axis 1, with the vector (3, 4, 0, 2).
"""

import numpy as np


def weight_norm(v, g, axis):
    """w = g v/‖v‖ for each output; ‖v‖ over every axis but this one."""
    # solution
    others = tuple(i for i in range(v.ndim) if i != axis)
    shape = [-1 if i == axis else 1 for i in range(v.ndim)]
    norm = np.sqrt(np.sum(v * v, axis=others, keepdims=True))
    return g.reshape(shape) / norm * v
    # end of solution


# %% Laws

from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from lessons.exercises import Exercise, agree, numbers
from lessons.exercises.cases import NUMBERS, vectors

exercise = Exercise(
    __file__,
    'lesson 03, "Equation 2" and "In a layer"',
    hints=[
        "NumPy sums over several axes at once if axis is a tuple: all of 0, 1, 2, 3 except the axis of the outputs.",
        "With keepdims=True the length has four axes, too, and v can be divided by it directly. g needs such a shape "
        "as well.",
        "If the outputs are axis 0, `g.reshape(-1, 1, 1, 1)` fits; if they are axis 1, `g.reshape(1, -1, 1, 1)`.",
    ],
)


@st.composite
def cases(draw):
    shape = [draw(st.integers(1, most)) for most in (3, 3, 2, 2)]
    axis, v = draw(st.integers(0, 1)), draw(arrays(float, shape, elements=NUMBERS))
    vectors_of_v = np.moveaxis(v, axis, 0)
    vectors_of_v[~vectors_of_v.any(axis=(1, 2, 3)), 0, 0, 0] = 1.0
    return v, draw(vectors(shape[axis])), axis


def rows(v, axis):
    """The weight vectors of a kernel, one in each row."""
    return np.moveaxis(v, axis, 0).reshape(v.shape[axis], -1)


def weights(answer, case):
    return numbers("w", answer.weight_norm(*case), case[0].shape)


@exercise.law("w has the shape of v", cases())
def shape(answer, case):
    weights(answer, case)


@exercise.law("the weight vector of each output has the length |g|", cases(), examples=80)
def length(answer, case):
    agree("‖w‖, output by output", np.linalg.norm(rows(weights(answer, case), case[2]), axis=1), abs(case[1]))


@exercise.law("w points where v points, and the opposite way if g is negative", cases(), examples=80)
def direction(answer, case):
    v, g, axis = case
    came, wanted = rows(weights(answer, case), axis), rows(v, axis)
    agree("w · v, output by output", np.sum(came * wanted, axis=1), g * np.linalg.norm(wanted, axis=1))


@exercise.law("v is left as it was", cases())
def untouched(answer, case):
    v, g, axis = case
    given = v.copy()
    answer.weight_norm(given, g, axis)
    agree("v after the call", given, v)


exercise.mistake(
    "you do not use the argument axis, but take the outputs to be axis 0.",
    "if i != axis",
    "if i != 0",
    "if i == axis",
    "if i == 0",
)
exercise.mistake(
    "you do not use the argument axis, but take the outputs to be axis 1.",
    "if i != axis",
    "if i != 1",
    "if i == axis",
    "if i == 1",
)
exercise.mistake(
    "the lengths are right, but g is always put on axis 0, whatever axis says.", "if i == axis", "if i == 0"
)
exercise.mistake(
    "g is on the right axis, but ‖v‖ is taken for axis 0, whatever axis says.", "if i != axis", "if i != 0"
)
exercise.mistake(
    "you sum over the axis of the outputs; that is the one axis to keep, and all others are to be summed.",
    "if i != axis",
    "if i == axis",
)
exercise.mistake(
    "you sum over height and width only, so each pair of an output and an input gets a length of its own; the "
    "vector of "
    "an output reaches over all inputs.",
    "for i in range(v.ndim) if i != axis)",
    "for i in (2, 3))",
)
for axes in ("(1 - axis,)", "(1,)"):
    exercise.mistake(
        "you sum over axis 1 or over the inputs only, so each place in the kernel gets a length of its own; the "
        "vector of "
        "an output reaches over height and width, too.",
        "for i in range(v.ndim) if i != axis)",
        f"for i in {axes})",
    )
exercise.mistake(
    "you sum over the last axis only; the vector of an output reaches over all axes but one.",
    "for i in range(v.ndim) if i != axis)",
    "for i in (3,))",
)
exercise.mistake(
    "you take one length, of the whole kernel; each output has a length of its own.",
    "for i in range(v.ndim) if i != axis)",
    "for i in range(v.ndim))",
)
exercise.mistake(
    "g multiplies the last axis: NumPy aligns shapes from the right. Give g a shape of four axes.",
    "g.reshape(shape)",
    "g",
)
exercise.mistake(
    "you divide by ‖v‖², not by ‖v‖: the root is missing.",
    "np.sqrt(np.sum(v * v, axis=others, keepdims=True))",
    "np.sum(v * v, axis=others, keepdims=True)",
)
exercise.mistake("g is missing: your weight vectors have length 1.", "g.reshape(shape) / norm", "1 / norm")
exercise.mistake("the division by ‖v‖ is missing.", " / norm * v", " * v")
exercise.mistake("|g| stands where g belongs: g may be negative.", "g.reshape(shape) /", "abs(g.reshape(shape)) /")
exercise.mistake(
    "your length is the root of the mean of the squares; ‖v‖ is the root of their sum.", "np.sum(v * v", "np.mean(v * v"
)
exercise.mistake(
    "you move the axis of the outputs to the front, but not back again.",
    "    return g.reshape(shape) / norm * v",
    "    return np.moveaxis(g.reshape(shape) / norm * v, axis, 0)",
)
exercise.mistake(
    "reshaping does not move an axis: with axis=1 its rows are not the vectors of the outputs. Use np.moveaxis first, "
    "or sum over a tuple of axes.",
    "    norm = np.sqrt(np.sum(v * v, axis=others, keepdims=True))\n    return g.reshape(shape) / norm * v",
    "    rows = v.reshape(v.shape[axis], -1)\n"
    "    return ((g / np.linalg.norm(rows, axis=1))[:, None] * rows).reshape(v.shape)",
)
exercise.mistake(
    "g and ‖v‖ are put on the last axis: NumPy aligns shapes from the right. Give them a shape of four axes.",
    "keepdims=True",
    "keepdims=False",
    "g.reshape(shape)",
    "g",
)
