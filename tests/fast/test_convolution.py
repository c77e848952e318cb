"""Convolutions by im2col and by Winograd's algorithm against the plain definitions."""

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import minigrad as mg
from minigrad.fast.cpu import convolution as kernel
from minigrad.fast.cpu import parallel, winograd
from minigrad.fast.replace import PLAIN
from minigrad.op import REGISTRY
from minigrad.ops import convolution
from tests.fast import reference
from tests.test_convolution import LAYOUTS, batches, problems, seeds


@pytest.fixture(scope="module", autouse=True, params=[1, kernel.SMALL])
def small_chunks(request):
    """Small batches are cut into chunks too, and multiplied with and without being cut into lines."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(kernel, "WORTH", 1)
        patch.setattr(kernel, "SMALL", request.param)
        patch.setattr(kernel, "ROWS", 1)
        yield


def close(found, wanted):
    """Sums of at most a few thousand products of size 1, in another order: 1e4 · ε = 2e-12."""
    assert found.shape == wanted.shape and found.dtype == wanted.dtype
    np.testing.assert_allclose(found, wanted, rtol=1e-11, atol=1e-11)


@given(problem=problems())
def test_the_fast_convolutions_are_the_plain_ones(problem):
    x, w, stride, padding = problem
    y = PLAIN["conv2d"].forward(np, x, w, stride, padding)
    bias = np.cos(np.arange(len(w)) + 1.0)
    for name, *arguments in [
        ("conv2d", x, w),
        ("conv2d_with_bias", x, w, bias),
        ("conv2d_input_gradient", y, w, x.shape[2:]),
        ("conv2d_weight_gradient", y, x, w.shape[2:]),
    ]:
        found, wanted = (ops[name].forward(np, *arguments, stride, padding) for ops in (REGISTRY, PLAIN))
        close(found, wanted)


@given(problem=problems(), data=st.data())
def test_nan_and_inf_reach_only_who_sees_them_by_definition(problem, data):
    """Narrow convolutions and those behind strides have matrices with zeros in them, and 0 · inf is NaN."""
    x, w, stride, padding = problem
    g = np.array(PLAIN["conv2d"].forward(np, x, w, stride, padding))
    for array in (x := x.copy(), w := w.copy(), g):
        for index in data.draw(st.lists(st.integers(0, max(0, array.size - 1)), max_size=2)) if array.size else []:
            array.flat[index] = data.draw(st.sampled_from([np.nan, np.inf, -np.inf]))
    for name, *arguments in [("conv2d", x, w), ("conv2d_input_gradient", g, w, x.shape[2:])]:
        with np.errstate(invalid="ignore"):
            found, wanted = (ops[name].forward(np, *arguments, stride, padding) for ops in (REGISTRY, PLAIN))
        np.testing.assert_allclose(found, wanted, rtol=1e-11, atol=1e-11)


@given(seed=seeds)
def test_behind_a_stride_what_sees_zeros_is_zero(seed):
    """A phase of a 5×5 kernel with stride 2 has up to 3×3 taps, but Winograd's algorithm must not take it."""
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((1, 48, 9, 9), dtype=np.float32) * (np.arange(9) % 3 == 1)
    w = rng.standard_normal((48, 16, 5, 5), dtype=np.float32)
    y, exact = (mg.conv_transpose2d(x.astype(t), w.astype(t), None, 2, 4) for t in (np.float32, float))
    assert not y[exact == 0].any() and abs(y - exact).max() <= 1e-4 * abs(exact).max()


@given(problem=problems(), data=st.data())
def test_the_correlation_is_the_one_by_definition(problem, data):
    x, w, stride, offset = problem
    # Any canvas: pixels dilated, cut off at the front (negative offset) or at the end, or surrounded by zeros.
    dilation = (data.draw(st.integers(1, 4)), data.draw(st.integers(1, 4)))
    stride = stride if dilation == (1, 1) else (1, 1)
    span = (data.draw(st.integers(1, 12)), data.draw(st.integers(1, 12)))
    offset = (offset[0] - data.draw(st.integers(0, 9)), offset[1] - data.draw(st.integers(0, 9)))
    arguments = (stride, offset, dilation, span)
    bias = data.draw(st.sampled_from([None, np.cos(np.arange(len(w)) + 1.0)]))
    wanted = reference.correlate(x, w, *arguments) + (0 if bias is None else bias[:, None, None])
    close(kernel.correlate(x, w, *arguments, bias), wanted)


@pytest.fixture(scope="module")
def small():
    """Winograd's algorithm for small problems too."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(kernel, "CHANNELS", 4)
        patch.setattr(kernel, "TILES_IN_ALL", 1)
        patch.setattr(kernel, "TILES_IN_CHUNK", 1)
        yield


@st.composite
def for_winograd(draw):
    """float32, 3×3, stride 1, and enough channels; images whose outputs are and are not made of whole 4×4 tiles."""
    rng = np.random.default_rng(draw(seeds))
    padding = (draw(st.integers(0, 4)), draw(st.integers(0, 4)))
    image = [draw(st.integers(max(1, 3 - 2 * p), 13)) for p in padding]
    channels, out = draw(st.integers(4, 7)), draw(st.integers(4, 7))
    x = draw(st.sampled_from(LAYOUTS))(rng.standard_normal((draw(batches), channels, *image), dtype=np.float32))
    return x, rng.standard_normal((out, channels, 3, 3), dtype=np.float32), padding


@given(problem=for_winograd(), seed=seeds)
def test_winograd_agrees_with_the_plain_way(small, problem, seed):
    """Its values at the points are up to some hundred times as large as the result: 1000 ε = 1e-4, of the largest."""
    x, w, padding = problem

    def everything():
        y = convolution._conv2d(x, w, (1, 1), padding)
        g = np.random.default_rng(seed).standard_normal(y.shape, dtype=np.float32)
        return [
            y,
            convolution.conv2d_input_gradient(g, w, x.shape[2:], (1, 1), padding),
            convolution.conv2d_weight_gradient(g, x, (3, 3), (1, 1), padding),
        ]

    fast = everything()
    with mg.config(winograd=False):
        plain = everything()
    for a, b in zip(fast, plain, strict=True):
        assert a.shape == b.shape and a.dtype == b.dtype == np.float32
        assert abs(a - b).max(initial=0) <= 1e-4 * abs(b).max(initial=1e-30)


@st.composite
def even(draw):
    """x, w, the gradient for the result, and the padding: all numbers of size 1."""
    x, w, padding = draw(for_winograd())
    shape = PLAIN["conv2d"].forward(np, x, w, (1, 1), padding).shape
    return x, w, np.random.default_rng(draw(seeds)).standard_normal(shape, dtype=np.float32), padding


SCALES = [1.0, 1.0, 3.0, 30.0, 1e3, 1e8, 1e-8, 0.0]


@st.composite
def uneven(draw):
    """Problems in which some pixels, images, channels, kernels or taps are far larger or smaller than the others."""
    x, w, g, padding = draw(even())
    rng = np.random.default_rng(draw(seeds))
    arrays = []
    for array in (x, w, g):
        array = array * np.float32(draw(st.sampled_from([1, 1, 1e-9, 1e9])))
        others = draw(st.sampled_from([(), (0,), (1,), (2, 3), (2,), (0, 1, 2, 3)]))
        for scaled in [others] if array is w else [(2, 3), others]:
            shape = [n if axis in scaled else 1 for axis, n in enumerate(array.shape)]
            scale = rng.choice(np.float32(SCALES), shape, p=[0.6, *[0.4 / 7] * 7])
            array = array * scale
        arrays.append(np.clip(array, -1e12, 1e12))  # products of two of them, and their sums, do not overflow
    return *arrays, padding


def convolutions(x, w, g, padding):
    return [
        convolution._conv2d(x, w, (1, 1), padding),
        convolution.conv2d_input_gradient(g, w, x.shape[2:], (1, 1), padding),
        convolution.conv2d_weight_gradient(g, x, (3, 3), (1, 1), padding),
    ]


def window_norms(x, padding):
    """‖what a position sees‖ for each, (N, H', W')."""
    squares = (x.astype(float) ** 2).sum(axis=1, keepdims=True)
    return np.sqrt(PLAIN["conv2d"].forward(np, squares, np.ones((1, 1, 3, 3)), (1, 1), padding))


@given(problem=st.one_of(uneven(), even()))
def test_winograd_is_accurate_at_each_place_whatever_is_elsewhere(small, problem):
    """|error| ≤ 1000 ε ‖what the place sees‖ ‖its kernel‖, in which nothing else of the image appears.

    The matrices enlarge roundings of ε/2 of the tile's largest pixel by a factor that is some 30 as signs fall, and
    evenness adds one of 16 at worst: about 250 ε. In 150,000 other problems of this kind the largest was 320 ε.
    """
    x, w, g, padding = problem
    found = convolutions(*problem)
    exact = convolutions(*(a.astype(float) for a in (x, w, g)), padding)
    kernels = np.sqrt((w.astype(float) ** 2).sum(axis=(1, 2, 3)))
    back = np.sqrt((w.astype(float) ** 2).sum(axis=(0, 2, 3)))
    norms = window_norms(x, padding)
    sizes = [
        norms * kernels[:, None, None],
        window_norms(g, [2 - p for p in padding]) * back[:, None, None] if max(padding) <= 2 else None,
        (abs(g).astype(float) * norms).sum(axis=(0, 2, 3))[:, None, None, None],
    ]
    for a, b, size in zip(found, exact, sizes, strict=True):
        if size is not None:
            worst = (abs(a - b) / (np.finfo(np.float32).eps * size + 1e-37)).max(initial=0)
            assert worst <= 1000


@given(problem=st.one_of(uneven(), even()), data=st.data())
def test_nan_and_inf_reach_only_who_sees_them(small, problem, data):
    *arrays, padding = problem
    array = data.draw(st.sampled_from(arrays))
    for index in data.draw(st.lists(st.integers(0, max(0, array.size - 1)), max_size=2)) if array.size else []:
        array.flat[index] = data.draw(st.sampled_from([np.nan, np.inf, -np.inf]))
    with np.errstate(invalid="ignore", over="ignore"):
        found = convolutions(*arrays, padding)
        with mg.config(winograd=False):
            wanted = convolutions(*arrays, padding)
    for a, b in zip(found, wanted, strict=True):
        np.testing.assert_array_equal(np.where(np.isfinite(a), 0, a), np.where(np.isfinite(b), 0, b))  # inf is no NaN


@pytest.mark.parametrize("entry", [np.inf, np.nan, 1e37])
def test_an_entry_of_the_gradient_that_winograd_cannot_take_brings_no_warning(small, entry):
    """An image is looked at beforehand, the gradient is not: only its result, which is then computed the plain way."""
    rng = np.random.default_rng(0)
    x, g = (rng.standard_normal((2, 64, 8, 8), dtype=np.float32) for _ in "xg")
    g[0, 0, 2, 2] = entry
    with np.errstate(all="raise", under="ignore"):
        found = convolution.conv2d_weight_gradient(g, x, (3, 3), (1, 1), (1, 1))
        with mg.config(winograd=False):
            wanted = convolution.conv2d_weight_gradient(g, x, (3, 3), (1, 1), (1, 1))
    np.testing.assert_array_equal(np.where(np.isfinite(found), 0, found), np.where(np.isfinite(wanted), 0, wanted))


def test_winograd_overflows_nowhere_in_between_and_keeps_the_digits_of_small_kernels(small):
    signs = np.array([1, -1, -1, 1] * 4)
    x = np.broadcast_to(np.outer(signs, signs) * 3e17, (1, 64, 16, 16)).astype(np.float32)
    w = np.zeros((64, 64, 3, 3), np.float32)
    w[:] = np.array([[1, -1, 1], [-1, 1, -1], [1, -1, 1]]) * 3e17
    assert np.isfinite(convolution._conv2d(x, w, (1, 1), (1, 1))).all()

    rng = np.random.default_rng(0)
    x, w = rng.standard_normal((1, 64, 8, 8)) * 1e15, rng.standard_normal((64, 64, 3, 3))
    w[7] *= 1e-38
    y, exact = (convolution._conv2d(x.astype(t), w.astype(t), (1, 1), (1, 1)) for t in (np.float32, float))
    assert (abs(y - exact) <= 1e-4 * abs(exact).max(axis=(0, 2, 3), keepdims=True)).all()


def test_fractions_are_convolved_the_plain_way():
    rng = np.random.default_rng(0)
    x, w = rng.integers(-9, 9, (2, 3, 7, 8)), rng.integers(-9, 9, (4, 3, 3, 3))
    thirds = [np.vectorize(lambda n: Fraction(int(n), 3), otypes=[object])(a) for a in (x, w)]
    for stride in (1, 2):
        y = convolution._conv2d(*thirds, (stride, stride), (1, 1))
        assert (y * 9 == convolution._conv2d(x, w, (stride, stride), (1, 1))).all()
        back = convolution.conv2d_input_gradient(y, thirds[1], (7, 8), (stride, stride), (1, 1))
        assert (
            back * 27 == convolution.conv2d_input_gradient((y * 9).astype(int), w, (7, 8), (stride, stride), (1, 1))
        ).all()


def test_winograd_is_used_where_it_can_be_and_nowhere_else():
    def is_used(shape=(64, 64, 3, 3), dtype=np.float32, stride=(1, 1), dilation=(1, 1)):
        return kernel._by_winograd(shape, np.dtype(dtype), stride, dilation)

    assert is_used((kernel.CHANNELS, kernel.CHANNELS, 3, 3))
    assert not is_used((kernel.CHANNELS, kernel.CHANNELS - 1, 3, 3))
    assert not is_used(dtype=np.float64)
    assert not is_used(stride=(1, 2)) and not is_used(dilation=(2, 1)) and not is_used((64, 64, 3, 5))
    with mg.config(winograd=False):
        assert not is_used((64, 64, 3, 3))


def test_few_tiles_are_convolved_the_plain_way(monkeypatch):
    """Transforming the kernel takes as long as some tens of tiles; a weight gradient does so for each chunk."""
    monkeypatch.setattr(kernel, "TILES_IN_ALL", 64)
    monkeypatch.setattr(kernel, "TILES_IN_CHUNK", 16)
    rng = np.random.default_rng(0)
    w = rng.standard_normal((64, 64, 3, 3), dtype=np.float32)

    def plain(images):
        x, g = (rng.standard_normal((images, 64, 8, 8), dtype=np.float32) for _ in "xg")
        found = convolutions(x, w, g, (1, 1))
        with mg.config(winograd=False):
            return [(a == b).all() for a, b in zip(found, convolutions(x, w, g, (1, 1)), strict=True)]

    assert plain(12) == [True, True, True]  # 48 tiles, 12 in each of four chunks
    assert plain(16) == [False, False, False]  # 64 and 16


def test_winograds_algorithm_is_exact_where_no_rounding_happens():
    """A, G and B multiplied out over a basis: the sum of products itself, for one row of a tile."""
    for tap, pixel in np.ndindex(3, 6):
        y = winograd.A_T @ ((winograd.G @ np.eye(3)[tap]) * (winograd.B_T @ np.eye(6)[pixel]))
        np.testing.assert_allclose(y, [float(pixel == output + tap) for output in range(4)], atol=1e-6)


def on_threads(monkeypatch, count, function):
    """What `function` gives where the process may use `count` cores."""
    with monkeypatch.context() as patch:
        patch.setattr(parallel, "_pool", None)
        patch.setattr(parallel, "cores", lambda: count)
        result = function()
        if parallel._pool is not None:
            parallel._pool.shutdown()
    return result


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_results_are_the_same_to_the_bit_on_any_number_of_threads(small, monkeypatch, dtype):
    rng = np.random.default_rng(0)
    x, w = rng.standard_normal((37, 9, 9, 8)).astype(dtype), rng.standard_normal((12, 9, 3, 3)).astype(dtype)

    def everything():
        y = convolution._conv2d(x, w, (1, 1), (1, 1))
        return [
            y,
            convolution.conv2d_input_gradient(y, w, x.shape[2:], (1, 1), (1, 1)),
            convolution.conv2d_weight_gradient(y, x, w.shape[2:], (1, 1), (1, 1)),
        ]

    once = on_threads(monkeypatch, 1, everything)
    for count in (2, 5):
        for a, b in zip(once, on_threads(monkeypatch, count, everything), strict=True):
            assert a.tobytes() == b.tobytes()
