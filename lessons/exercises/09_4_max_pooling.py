"""9.4 Max pooling, forwards and backwards

Max pooling keeps the largest number of each square of 2 × 2 places, channel by channel; the squares do not overlap.
Backwards, the gradient goes to the place where that number stood, and the other three get 0. If the largest number
occurs more than once, the first of its places in the order of reading gets the whole gradient: upper left, upper right,
lower left, lower right.

    max_pool(x)
        x : array (N, C, H, W), with H and W even
        returns y, array (N, C, H/2, W/2)

    max_pool_gradient(delta, x)
        delta : array (N, C, H/2, W/2), ∇_y L
        x : as above
        returns ∇_x L, array (N, C, H, W)

For example:

    x = np.array([[[[1.0, 4.0, 2.0, 0.0],
                    [3.0, 4.0, 2.0, 0.0]]]])
    max_pool(x)                                             # [[[[4.0, 2.0]]]]
    max_pool_gradient(np.array([[[[10.0, 20.0]]]]), x)      # [[[[0.0, 10.0, 20.0, 0.0],
                                                            #    [0.0,  0.0,  0.0, 0.0]]]]
"""

import numpy as np


def max_pool(x):
    """The largest number of each 2 × 2 places."""
    # solution
    n, c, height, width = x.shape
    return x.reshape(n, c, height // 2, 2, width // 2, 2).max(axis=(3, 5))
    # end of solution


def max_pool_gradient(delta, x):
    """∇_x L from δ = ∇_y L: to the first of the places with the largest number."""
    # solution
    n, c, height, width = x.shape
    squares = x.reshape(n, c, height // 2, 2, width // 2, 2).swapaxes(3, 4)
    first = squares.reshape(*delta.shape, 4).argmax(axis=-1)
    gradient = delta[..., None] * (first[..., None] == np.arange(4))
    return gradient.reshape(squares.shape).swapaxes(3, 4).reshape(x.shape)
    # end of solution


# %% Laws

from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from lessons.exercises import Exercise, agree, hold

exercise = Exercise(
    __file__,
    "lesson 09, part 2",
    hints=[
        "Reshape x to (N, C, H/2, 2, W/2, 2): the two axes of length 2 are the rows and the columns of a square.",
        "For the gradient bring these two axes side by side (swapaxes) and join them into one of length 4, which is "
        "then in the order of reading. argmax gives the first of equals.",
        "Compare the argmax with np.arange(4): that is 1 at one place of each square, 0 at three. Multiply by δ, and "
        "go back through the same reshapes, in reverse order.",
    ],
)
SQUARE = ((0, 0), (0, 1), (1, 0), (1, 1))  # in the order of reading


@st.composite
def cases(draw):
    size = (draw(st.integers(1, 2)), draw(st.integers(1, 2)), draw(st.integers(1, 3)), draw(st.integers(1, 3)))
    x = draw(arrays(float, (*size[:2], 2 * size[2], 2 * size[3]), elements=st.integers(-3, 3).map(float)))
    return draw(arrays(float, size, elements=st.integers(1, 9).map(float))), x


def square(x, n, c, row, column):
    return [x[n, c, 2 * row + i, 2 * column + j] for i, j in SQUARE]


@exercise.law("y has half the height and half the width, and x is left as it was", cases())
def shape(answer, case):
    x = case[1].copy()
    came = np.shape(answer.max_pool(x))
    hold(came == case[0].shape, "the shape of y", came, case[0].shape)
    agree("x after the call", x, case[1], 0, 0)


@exercise.law("each number of y is the largest of its square of four", cases())
def largest(answer, case):
    y = answer.max_pool(case[1])
    for at in np.ndindex(y.shape):
        agree(f"y[{', '.join(map(str, at))}]", y[at], max(square(case[1], *at)))


@exercise.law("∇_x L has the shape of x, and δ and x are left as they were", cases())
def gradient_shape(answer, case):
    delta, x = case[0].copy(), case[1].copy()
    came = np.shape(answer.max_pool_gradient(delta, x))
    hold(came == x.shape, "the shape of ∇_x L", came, x.shape)
    agree("δ after the call", delta, case[0], 0, 0)
    agree("x after the call", x, case[1], 0, 0)


@exercise.law("a square's part of ∇_x L adds up to its δ", cases())
def conserved(answer, case):
    came = answer.max_pool_gradient(*case)
    for at in np.ndindex(case[0].shape):
        agree(f"∇_x L, the sum over square [{', '.join(map(str, at))}]", sum(square(came, *at)), case[0][at])


@exercise.law("only the first place with the largest number gets a gradient", cases())
def to_the_first(answer, case):
    delta, x = case
    came = answer.max_pool_gradient(delta, x)
    for at in np.ndindex(delta.shape):
        four = square(x, *at)
        wanted = np.zeros(4)
        wanted[four.index(max(four))] = delta[at]
        agree(f"∇_x L in square [{', '.join(map(str, at))}]", square(came, *at), wanted)


exercise.mistake(
    "it takes the mean of the four; max pooling keeps the largest.", ".max(axis=(3, 5))", ".mean(axis=(3, 5))"
)
exercise.mistake("it keeps the smallest of the four.", ".max(axis=(3, 5))", ".min(axis=(3, 5))")
exercise.mistake(
    "it keeps the largest absolute value; the sign counts.",
    "return x.reshape(n, c, height // 2, 2, width // 2, 2).max",
    "return abs(x).reshape(n, c, height // 2, 2, width // 2, 2).max",
)
exercise.mistake(
    "the reshape is (N, C, 2, H/2, 2, W/2), which takes places far apart; neighbours come with (N, C, H/2, 2, W/2, 2).",
    "return x.reshape(n, c, height // 2, 2, width // 2, 2).max(axis=(3, 5))",
    "return x.reshape(n, c, 2, height // 2, 2, width // 2).max(axis=(2, 4))",
)
exercise.mistake(
    "negative numbers count as 0: the largest of four may be negative.",
    ".max(axis=(3, 5))",
    ".max(axis=(3, 5), initial=0)",
)
exercise.mistake(
    "ties: the gradient goes to every place with the largest number; only the first gets it.",
    "(first[..., None] == np.arange(4))",
    "((flat := squares.reshape(*delta.shape, 4)) == flat.max(axis=-1, keepdims=True))",
)
exercise.mistake(
    "ties: the gradient is split evenly; the first place gets all of it.",
    "(first[..., None] == np.arange(4))",
    "((top := (s := squares.reshape(*delta.shape, 4)) == s.max(-1, keepdims=True)) / top.sum(-1, keepdims=True))",
)
exercise.mistake(
    "ties: the gradient goes to the last place with the largest number; it should be the first.",
    "squares.reshape(*delta.shape, 4).argmax(axis=-1)",
    "3 - squares.reshape(*delta.shape, 4)[..., ::-1].argmax(axis=-1)",
)
exercise.mistake(
    "ties: the first place is looked for column by column; the order of reading goes row by row.",
    "squares.reshape(*delta.shape, 4).argmax(axis=-1)",
    "np.array([0, 2, 1, 3])[squares.swapaxes(4, 5).reshape(*delta.shape, 4).argmax(axis=-1)]",
)
exercise.mistake(
    "all four places get δ; only the one with the largest number does.",
    "delta[..., None] * (first[..., None] == np.arange(4))",
    "delta[..., None] * np.ones(4)",
)
exercise.mistake(
    "all four places get a quarter of δ, as in average pooling.",
    "delta[..., None] * (first[..., None] == np.arange(4))",
    "delta[..., None] * np.full(4, 0.25)",
)
exercise.mistake(
    "δ is missing: the places are right, but they get 1.",
    "delta[..., None] * (first[..., None] == np.arange(4))",
    "1.0 * (first[..., None] == np.arange(4))",
)
exercise.mistake(
    "δ is multiplied by the largest number; the derivative of the maximum is 1.",
    "delta[..., None] * (first",
    "delta[..., None] * squares.reshape(*delta.shape, 4) * (first",
)
exercise.mistake(
    "row and column of a place in its square have changed places: place 1 of 0 to 3 is the upper right one.",
    "(first[..., None] == np.arange(4))",
    "(first[..., None] == np.array([0, 2, 1, 3]))",
)
exercise.mistake(
    "the reshape joins four neighbours of one row; a square has two rows: (N, C, H/2, 2, W/2, 2).",
    "return x.reshape(n, c, height // 2, 2, width // 2, 2).max(axis=(3, 5))",
    "return x.reshape(n, c, height // 2, width // 2, 4).max(axis=4)",
)
exercise.mistake(
    "it takes one place of each four; max pooling keeps the largest.",
    "return x.reshape(n, c, height // 2, 2, width // 2, 2).max(axis=(3, 5))",
    "return x[:, :, ::2, ::2]",
)
exercise.mistake(
    "the gradient is put back in the wrong places: what was transposed before a reshape is to be transposed back.",
    "gradient.reshape(squares.shape).swapaxes(3, 4).reshape(x.shape)",
    "gradient.reshape(x.shape)",
)
