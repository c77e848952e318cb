"""9.2 A convolution, backwards

Write the gradients of the convolution of 9.1,

    y[n, o, row, column] = Σ over c, i, j of  w[o, c, i, j] · padded[n, c, row + i, column + j],

where `padded` is x with a border of zeros, `padding` places wide on all four sides. δ is the derivative of the loss
with respect to y. Each number of x goes into several places of y, through several weights, and each weight is used at
every place of every picture: all these contributions are added up.

    conv2d_gradients(delta, x, w, padding=0)
        delta : array (N, out, H + 2 padding - kh + 1, W + 2 padding - kw + 1), ∇_y L
        x : array (N, C, H, W), pictures
        w : array (out, C, kh, kw), kernels
        returns (grad_x, grad_w), ∇_x L and ∇_w L, with the shapes of x and of w

For example, y = (x₀ - x₁, x₁ - x₂) for a row of three places and the kernel (1, -1):

    x, w = np.array([[[[1.0, 2.0, 4.0]]]]), np.array([[[[1.0, -1.0]]]])
    conv2d_gradients(np.array([[[[10.0, 1.0]]]]), x, w)     # [[[[10.0, -9.0, -1.0]]]],  [[[[12.0, 24.0]]]]
"""

import numpy as np


def conv2d_gradients(delta, x, w, padding=0):
    """∇_x L and ∇_w L from δ = ∇_y L."""
    # solution
    padded = np.pad(x, ((0, 0), (0, 0), (padding, padding), (padding, padding)))
    grad_padded, grad_w = np.zeros(padded.shape), np.zeros(w.shape)
    height, width = delta.shape[2:]
    for i, j in np.ndindex(w.shape[2:]):
        window = np.s_[:, :, i : i + height, j : j + width]
        grad_padded[window] += np.einsum("nohw,oc->nchw", delta, w[:, :, i, j])
        grad_w[:, :, i, j] = np.einsum("nohw,nchw->oc", delta, padded[window])
    return grad_padded[:, :, padding : padding + x.shape[2], padding : padding + x.shape[3]], grad_w
    # end of solution


# %% Laws

from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from lessons.exercises import Exercise, agree, hold

exercise = Exercise(
    __file__,
    "lesson 09, part 2",
    hints=[
        "Loop over the places (i, j) of the kernel. For fixed i and j every place of y takes one place of the padded "
        "picture, times w[:, :, i, j]: a slice of the padded picture, as large as y, that begins in row i, column j.",
        "Going back, the same slice of the padded picture's gradient gets δ times w[:, :, i, j], summed over `out`. "
        "The slices overlap, so add (`+=`). The gradient of w[:, :, i, j] is δ times that slice of the padded "
        "picture, summed over pictures and places.",
        'The two sums are np.einsum("nohw,oc->nchw", ...) and np.einsum("nohw,nchw->oc", ...). At the end, cut '
        "off the border of the padded gradient.",
    ],
)
NUMBERS = st.integers(-3, 3).map(float)


@st.composite
def cases(draw):
    padding, (kh, kw) = draw(st.integers(0, 1)), draw(st.tuples(st.integers(1, 2), st.integers(1, 2)))
    height = draw(st.integers(max(1, kh - 2 * padding), 3))
    width = draw(st.integers(max(1, kw - 2 * padding), 3))
    pictures, channels, out = (draw(st.integers(1, 2)) for _ in range(3))
    x = draw(arrays(float, (pictures, channels, height, width), elements=NUMBERS))
    w = draw(arrays(float, (out, channels, kh, kw), elements=NUMBERS))
    size = pictures, out, height + 2 * padding - kh + 1, width + 2 * padding - kw + 1
    return draw(arrays(float, size, elements=NUMBERS)), x, w, padding


def places(delta, x, w, padding):
    """For each place of y: its δ, the kernel, and the window of the padded picture, (picture, rows, columns)."""
    padded = np.pad(x, ((0, 0), (0, 0), (padding, padding), (padding, padding)))
    for n, o, row, column in np.ndindex(delta.shape):
        window = n, slice(None), slice(row, row + w.shape[2]), slice(column, column + w.shape[3])
        yield delta[n, o, row, column], o, window, padded[window]


def loss(delta, x, w, padding):
    """L = Σ δ y."""
    return sum(slope * (w[o] * under).sum() for slope, o, _, under in places(delta, x, w, padding))


@exercise.law("there are two gradients, with the shapes of x and of w, and δ is left as it was", cases(), examples=20)
def shapes(answer, case):
    delta = case[0].copy()
    came = answer.conv2d_gradients(delta, *case[1:])
    hold(isinstance(came, (tuple, list)) and len(came) == 2, "what comes out", came, "(grad_x, grad_w)")
    for name, gradient, like in zip(("grad_x", "grad_w"), came, case[1:], strict=False):
        hold(np.shape(gradient) == like.shape, f"the shape of {name}", np.shape(gradient), like.shape)
    agree("δ after the call", delta, case[0], 0, 0)


@exercise.law("∇_x L is the adjoint: ∇_x L · x = Σ δ y, since y is linear in x", cases(), examples=25)
def adjoint_in_x(answer, case):
    agree("∇_x L · x", (answer.conv2d_gradients(*case)[0] * case[1]).sum(), loss(*case))


@exercise.law("∇_w L is the adjoint: ∇_w L · w = Σ δ y, since y is linear in w", cases(), examples=25)
def adjoint_in_w(answer, case):
    agree("∇_w L · w", (answer.conv2d_gradients(*case)[1] * case[2]).sum(), loss(*case))


@exercise.law("an entry of ∇_x L adds up δ times weight over all places of y that the entry goes into", cases())
def slope_in_x(answer, case):
    _, x, w, padding = case
    total = np.zeros(np.add(x.shape, [0, 0, 2 * padding, 2 * padding]))
    for slope, o, window, _ in places(*case):
        total[window] += slope * w[o]
    for _ in range(padding):
        total = total[:, :, 1:-1, 1:-1]
    agree("∇_x L", answer.conv2d_gradients(*case)[0], total)


@exercise.law("an entry of ∇_w L adds up δ times x over all places where the weight is used", cases())
def slope_in_w(answer, case):
    total = np.zeros(case[2].shape)
    for slope, o, _, under in places(*case):
        total[o] += slope * under
    agree("∇_w L", answer.conv2d_gradients(*case)[1], total)


exercise.mistake(
    "the border is still on ∇_x L: it has the padded picture's shape.",
    "grad_padded[:, :, padding : padding + x.shape[2], padding : padding + x.shape[3]], grad_w",
    "grad_padded, grad_w",
)
exercise.mistake(
    "∇_x L and ∇_w L have changed places.",
    "return grad_padded[:, :, padding : padding + x.shape[2], padding : padding + x.shape[3]], grad_w",
    "return grad_w, grad_padded[:, :, padding : padding + x.shape[2], padding : padding + x.shape[3]]",
)
exercise.mistake(
    "`=` stands where `+=` belongs: the slices overlap, and the gradient of x adds up.",
    "grad_padded[window] +=",
    "grad_padded[window] =",
)
exercise.mistake(
    "the kernel is flipped in ∇_x L: w[:, :, i, j] goes with the slice that begins at row i and column j.",
    "delta, w[:, :, i, j])",
    "delta, w[:, :, -1 - i, -1 - j])",
)
exercise.mistake(
    "the kernel is flipped in ∇_w L.",
    "grad_w[:, :, i, j] =",
    "grad_w[:, :, -1 - i, -1 - j] =",
)
exercise.mistake(
    "the border is cut off at the wrong end: the picture begins at row `padding` of the padded one.",
    "grad_padded[:, :, padding : padding + x.shape[2], padding : padding + x.shape[3]], grad_w",
    "grad_padded[:, :, : x.shape[2], : x.shape[3]], grad_w",
)
exercise.mistake(
    "∇_w L is made from an x whose border is not where it was: `padding` zeros go on each of the four sides.",
    "padded[window])",
    "np.pad(x, ((0, 0), (0, 0), (0, 2 * padding), (0, 2 * padding)))[window])",
)
exercise.mistake(
    "∇_w L is a mean over the pictures; it is a sum.", "delta, padded[window])", "delta, padded[window]) / len(x)"
)
exercise.mistake(
    "∇_w L is a mean over pictures and places; it is a sum.",
    "delta, padded[window])",
    "delta, padded[window]) / (len(x) * height * width)",
)
exercise.mistake(
    "∇_w L is a mean over the places; it is a sum.",
    "delta, padded[window])",
    "delta, padded[window]) / (height * width)",
)
exercise.mistake(
    "∇_w L holds the last picture only: add up over the pictures.",
    "delta, padded[window])",
    "delta[-1:], padded[window][-1:])",
)
exercise.mistake(
    "∇_w L has its first two axes the wrong way round: the channels that come out stand first.",
    "padding + x.shape[3]], grad_w",
    "padding + x.shape[3]], grad_w.swapaxes(0, 1)",
)
LOOP = """\
    for i, j in np.ndindex(w.shape[2:]):
        window = np.s_[:, :, i : i + height, j : j + width]
        grad_padded[window] += np.einsum("nohw,oc->nchw", delta, w[:, :, i, j])
        grad_w[:, :, i, j] = np.einsum("nohw,nchw->oc", delta, padded[window])
"""
PLACES = """\
    for n, o, i, j in np.ndindex(delta.shape):
        window = np.s_[n, :, i : i + w.shape[2], j : j + w.shape[3]]
        grad_padded[window] += delta[n, o, i, j] * w[o]
        grad_w[o] += delta[n, o, i, j] * padded[window]
"""
exercise.mistake(
    "`=` stands where `+=` belongs: the windows overlap, and the gradient of x adds up.",
    LOOP,
    PLACES.replace("grad_padded[window] +=", "grad_padded[window] ="),
)
exercise.mistake(
    "`=` stands where `+=` belongs: a kernel is used at every place, and its gradient adds up.",
    LOOP,
    PLACES.replace("grad_w[o] +=", "grad_w[o] ="),
)
