"""9.1 A convolution

Write the convolution of a network: at every place of a picture it takes the same weighted sums of the places around it,
over all channels, one sum for each channel that comes out. Around the picture there is a border of zeros, `padding`
places wide on all four sides. As in every network library the kernel is not flipped: w[o, c, i, j] multiplies what
stands i rows below and j columns to the right of the upper left corner of the window,

    y[n, o, row, column] = Σ over c, i, j of  w[o, c, i, j] · padded[n, c, row + i, column + j],

with a place of y for every place where the whole kernel lies inside the padded picture. (There is no bias.)

    conv2d(x, w, padding=0)
        x : array (N, C, H, W), pictures
        w : array (out, C, kh, kw), kernels
        returns y, array (N, out, H + 2 padding - kh + 1, W + 2 padding - kw + 1)

For example, a kernel that subtracts from each place the one to its right:

    x, w = np.array([[[[1.0, 2.0, 4.0]]]]), np.array([[[[1.0, -1.0]]]])
    conv2d(x, w)                # [[[[-1.0, -2.0]]]]
    conv2d(x, w, 1)[0, 0, 1]    # [-1.0, -1.0, -2.0, 4.0]; the rows above and below are 0
"""

import numpy as np


def conv2d(x, w, padding=0):
    """The convolution of every picture of x with every kernel of w."""
    # solution
    padded = np.pad(x, ((0, 0), (0, 0), (padding, padding), (padding, padding)))
    windows = np.lib.stride_tricks.sliding_window_view(padded, w.shape[2:], axis=(2, 3))
    return np.einsum("nchwij,ocij->nohw", windows, w)
    # end of solution


# %% Laws

from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from lessons.exercises import Exercise, agree, hold

exercise = Exercise(
    __file__,
    "lesson 09, part 2",
    hints=[
        "Make the padded picture first: np.pad takes a pair of widths for each of the four axes, (0, 0) for the first "
        "two.",
        "Loop over the places of the kernel, not over those of the picture: for fixed i and j, w[:, :, i, j] "
        "multiplies one slice of the padded pictures, as large as the result.",
        'Add up, over i and j, np.einsum("nchw,oc->nohw", slice, w[:, :, i, j]): it sums over c, as wanted.',
    ],
)
NUMBERS = st.integers(-4, 4).map(float)


@st.composite
def cases(draw, pictures=2, padding=2, square=False):
    padding, kh, kw = draw(st.integers(0, padding)), draw(st.integers(1, 3)), draw(st.integers(1, 3))
    kw = kh if square else kw
    height = draw(st.integers(max(1, kh - 2 * padding), 4))
    width = draw(st.integers(max(1, kw - 2 * padding), 4))
    channels, out = draw(st.integers(1, 2)), draw(st.integers(1, 2))
    x = draw(arrays(float, (draw(st.integers(1, pictures)), channels, height, width), elements=NUMBERS))
    return x, draw(arrays(float, (out, channels, kh, kw), elements=NUMBERS)), padding


def size(x, w, padding):
    return len(x), len(w), *(n + 2 * padding - k + 1 for n, k in zip(x.shape[2:], w.shape[2:], strict=True))


@exercise.law("y has a place for every place of the kernel inside the padded picture", cases(square=True))
def shape(answer, case):
    came = np.shape(answer.conv2d(*case))
    hold(came == size(*case), "the shape of y", came, size(*case))


@exercise.law("a single 1 in a picture brings out the kernel, last place first", cases(1, square=True))
def impulse(answer, case):
    _, w, _ = case
    _, channels, kh, kw = w.shape
    for c in range(channels):
        x = np.zeros((1, channels, 2 * kh - 1, 2 * kw))
        x[0, c, kh - 1, kw] = 1
        agree(
            f"y of a 1 in channel {c}", answer.conv2d(x, w, 0)[0], np.pad(w[:, c, ::-1, ::-1], ((0, 0), (0, 0), (1, 0)))
        )


@exercise.law("every place of y is the sum of products of the kernel and what lies under it, zeros outside", cases())
def places(answer, case):
    x, w, padding = case
    came = np.asarray(answer.conv2d(x, w, padding))
    for n, o, row, column in np.ndindex(came.shape):
        total = 0.0
        for c, i, j in np.ndindex(w.shape[1:]):
            y_at, x_at = row + i - padding, column + j - padding
            if 0 <= y_at < x.shape[2] and 0 <= x_at < x.shape[3]:
                total += w[o, c, i, j] * x[n, c, y_at, x_at]
        agree(f"y[{n}, {o}, {row}, {column}]", came[n, o, row, column], total)


@exercise.law("convolution is linear in the pictures", cases())
def linear(answer, case):
    x, w, padding = case
    other = x[..., ::-1] - 1
    both = answer.conv2d(x, w, padding) + 2 * answer.conv2d(other, w, padding)
    agree("conv2d(x + 2x', w)", answer.conv2d(x + 2 * other, w, padding), both)


@exercise.law("padding is 0 where it is not given", cases(padding=0), examples=5)
def default(answer, case):
    x, w, _ = case
    came = np.shape(answer.conv2d(x, w))
    hold(came == size(x, w, 0), "the shape of y", came, size(x, w, 0))


exercise.mistake(
    "the kernel is flipped, as in mathematics; here w[o, c, 0, 0] multiplies the window's upper left corner.",
    "windows, w)",
    "windows, w[:, :, ::-1, ::-1])",
)
exercise.mistake(
    "the border of zeros is missing: `padding` has no effect.", "sliding_window_view(padded,", "sliding_window_view(x,"
)
exercise.mistake(
    "`padding` is added on one side only; it goes on all four.",
    "(padding, padding), (padding, padding)",
    "(padding, 0), (padding, 0)",
)
exercise.mistake(
    "`padding` is added on one side only; it goes on all four.",
    "(padding, padding), (padding, padding)",
    "(0, padding), (0, padding)",
)
exercise.mistake(
    "the border repeats the picture's edge; it should be zeros.",
    "(padding, padding), (padding, padding)))",
    '(padding, padding), (padding, padding)), mode="edge")',
)
exercise.mistake(
    "the sum is taken over the kernel only: the channels that come in have to be added up, too.",
    'np.einsum("nchwij,ocij->nohw", windows, w)',
    'np.einsum("nhwij,oij->nohw", windows[:, 0], w[:, 0])',
)
exercise.mistake(
    "the kernel is transposed: w[o, c, i, j] stands for row i and column j.",
    'np.einsum("nchwij,ocij->nohw", windows, w)',
    'np.einsum("nchwij,ocij->nohw", windows.swapaxes(4, 5), w)',
)
exercise.mistake(
    "it takes a mean; a convolution adds up, over the places of the kernel and over the channels that come in.",
    "windows, w)",
    "windows, w) / w[0].size",
)
exercise.mistake(
    "it takes a mean; a convolution adds up, over the places of the kernel and over the channels that come in.",
    "windows, w)",
    "windows, w) / w.shape[1]",
)
exercise.mistake(
    "it takes a mean; a convolution adds up, over the places of the kernel and over the channels that come in.",
    "windows, w)",
    "windows, w) / w[0, 0].size",
)
exercise.mistake("the rows and columns of y have changed places.", "->nohw", "->nowh")
exercise.mistake("the axes of y are in another order: pictures come first, then channels.", "->nohw", "->onhw")
exercise.mistake(
    "the last row and the last column of y are missing: H + 2 padding - kh + 1 places fit.",
    "windows, w)",
    "windows, w)[:, :, :-1, :-1]",
)
exercise.mistake(
    "zeros are added along all four axes; only the picture's rows and columns get a border.",
    "((0, 0), (0, 0), (padding, padding), (padding, padding))",
    "padding",
)
exercise.mistake(
    "only the last place of the kernel counts: its places have to be added up (`+=`, not `=`).",
    "windows, w)",
    "windows[..., -1:, -1:], w[:, :, -1:, -1:])",
)
for rows, columns in (("0, 2 * padding", "0, 2 * padding"), ("2 * padding, 0", "2 * padding, 0")):
    exercise.mistake(
        "all of the border stands on one side, twice as wide; `padding` places go on each of the four sides.",
        "(padding, padding), (padding, padding)",
        f"({rows}), ({columns})",
    )


def size_of_one(answer):
    """The height and width that a picture of 3 × 3 has after a kernel of 1 × 1, with a padding of 1."""
    return np.shape(answer.conv2d(np.ones((1, 1, 3, 3)), np.ones((1, 1, 1, 1)), 1))[2:]


@exercise.symptom(
    "only columns have a border; rows have one, too, above and below the picture.",
    "(padding, padding), (padding, padding)",
    "(0, 0), (padding, padding)",
)
def columns_only(answer):
    return size_of_one(answer) == (3, 5)


@exercise.symptom(
    "only rows have a border; columns have one, too, left and right of the picture.",
    "(padding, padding), (padding, padding)",
    "(padding, padding), (0, 0)",
)
def rows_only(answer):
    return size_of_one(answer) == (5, 3)
