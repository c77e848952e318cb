"""The identities that tie the three convolutions together, and pooling."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import minigrad as mg
from minigrad.ops import convolution
from tests.devices import given_on_each_device, on

seeds = st.integers(0, 2**32 - 1)
batches = st.sampled_from([0, 1, 2, 9, 23])  # empty, one chunk, several chunks
LAYOUTS = [
    lambda a: a,
    lambda a: np.array(a, order="F"),
    lambda a: np.flip(np.flip(a).copy()),
    lambda a: np.repeat(a, 2, axis=-1)[..., ::2],
    lambda a: a.swapaxes(0, 1).copy().swapaxes(0, 1),
]


@st.composite
def problems(draw):
    """x, w, stride and padding that fit together: odd sizes, strides beyond the kernel, padding beyond it too."""
    rng = np.random.default_rng(draw(seeds))
    padding, stride = [draw(st.integers(0, 6)) for _ in "ab"], [draw(st.integers(1, 4)) for _ in "ab"]
    image = [draw(st.integers(1, 9)) for _ in "ab"]
    size = [draw(st.integers(1, min(5, n + 2 * p))) for n, p in zip(image, padding, strict=True)]
    channels, out = draw(st.integers(0, 3)), draw(st.integers(0, 3))
    x = draw(st.sampled_from(LAYOUTS))(rng.standard_normal((draw(batches), channels, *image)))
    w = draw(st.sampled_from(LAYOUTS))(rng.standard_normal((out, channels, *size)))
    return x, w, tuple(stride), tuple(padding)


@given(problem=problems(), seed=seeds)
def test_the_three_convolutions_are_adjoint(problem, seed):
    """⟨conv(x, w), g⟩ = ⟨x, input gradient⟩ = ⟨w, weight gradient⟩."""
    x, w, stride, padding = problem
    y = convolution._conv2d(x, w, stride, padding)
    g = np.random.default_rng(seed).standard_normal(y.shape)
    for_x = convolution.conv2d_input_gradient(g, w, x.shape[2:], stride, padding)
    for_w = convolution.conv2d_weight_gradient(g, x, w.shape[2:], stride, padding)
    scale = np.linalg.norm(x) * np.linalg.norm(w) * np.linalg.norm(g)  # bounds the products and so their rounding
    for other in (np.vdot(x, for_x), np.vdot(w, for_w)):
        assert abs(np.vdot(y, g) - other) <= 1e-13 * scale


@given(problem=problems(), seed=seeds)
def test_the_transposed_convolution_is_the_transpose(problem, seed):
    """⟨conv(x, w), y⟩ = ⟨x, conv_transpose(y, w)⟩, with output_padding making up for what the stride leaves over."""
    x, w, stride, padding = problem
    y = convolution._conv2d(x, w, stride, padding)
    g = np.random.default_rng(seed).standard_normal(y.shape)
    left_over = tuple((n + 2 * p - k) % s for n, p, k, s in zip(x.shape[2:], padding, w.shape[2:], stride, strict=True))
    back = mg.conv_transpose2d(g, w, None, stride, padding, left_over)
    assert back.shape == x.shape
    assert abs(np.vdot(y, g) - np.vdot(x, back)) <= 1e-13 * np.linalg.norm(x) * np.linalg.norm(w) * np.linalg.norm(g)


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
@given_on_each_device(problem=problems())
def test_convolutions_keep_their_dtype(dtype, problem, device):
    x, w, stride, padding = problem
    x, w = (mg.tensor(a.astype(dtype), device=device, requires_grad=True) for a in (x, w))
    y = mg.conv2d(x, w, stride=stride, padding=padding)
    assert {t.dtype for t in (y, *mg.grad(y, [x, w], on(device, np.ones(y.shape))))} == {np.dtype(dtype)}


@given(seed=seeds)
def test_a_convolution_with_a_delta_is_a_shift(seed):
    x = np.random.default_rng(seed).standard_normal((2, 1, 5, 6))
    delta = np.zeros((1, 1, 3, 3))
    delta[0, 0, 0, 2] = 1  # not flipped: the entry one up and one to the right
    np.testing.assert_array_equal(
        mg.conv2d(x, delta, padding=1), np.pad(x, ((0, 0), (0, 0), (1, 0), (0, 1)))[:, :, :-1, 1:]
    )


@given(seed=seeds, k=st.integers(1, 3))
def test_pooling_without_overlap_is_a_reshape(seed, k):
    x = np.random.default_rng(seed).standard_normal((2, 3, 3 * k - 1, 3 * k))
    windows = x[:, :, : 2 * k].reshape(2, 3, 2, k, 3, k)  # what does not fill a window is left out
    np.testing.assert_array_equal(mg.max_pool2d(x, k), windows.max(axis=(3, 5)))
    np.testing.assert_allclose(mg.avg_pool2d(x, k), windows.mean(axis=(3, 5)), rtol=1e-13, atol=1e-15)
