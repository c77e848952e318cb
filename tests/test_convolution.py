"""The fast kernels against the plain ones, and the identities that tie the three convolutions together."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import minigrad as mg
from minigrad import backend, parallel
from minigrad.kernels import convolution as kernel
from minigrad.kernels import winograd
from minigrad.ops import convolution
from tests.devices import given_on_each_device, host, on

seeds = st.integers(0, 2**32 - 1)
batches = st.sampled_from([0, 1, 2, 9, 23])  # empty, one chunk, several chunks
LAYOUTS = [
    lambda a: a,
    lambda a: np.array(a, order="F"),
    lambda a: np.flip(np.flip(a).copy()),
    lambda a: np.repeat(a, 2, axis=-1)[..., ::2],
    lambda a: a.swapaxes(0, 1).copy().swapaxes(0, 1),
]


@pytest.fixture(scope="module", autouse=True)
def small_chunks():
    """Small batches are cut into chunks too."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(kernel, "WORTH", 1)
        yield


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


def close(found, wanted):
    """Sums of at most a few thousand products of size 1, in another order: 1e4 · ε = 2e-12."""
    assert found.shape == wanted.shape and found.dtype == wanted.dtype
    np.testing.assert_allclose(found, wanted, rtol=1e-11, atol=1e-11)


@given_on_each_device(problem=problems(), data=st.data())
def test_the_fast_correlation_is_the_plain_one(problem, data, device):
    x, w, stride, offset = problem
    # Any canvas: pixels set apart, cut off at the front (negative offset) or at the end, or surrounded by zeros.
    spread = (data.draw(st.integers(1, 3)), data.draw(st.integers(1, 3)))
    span = (data.draw(st.integers(1, 12)), data.draw(st.integers(1, 12)))
    offset = (offset[0] - data.draw(st.integers(0, 9)), offset[1] - data.draw(st.integers(0, 9)))
    arguments = (stride, offset, spread, span)
    bias = data.draw(st.sampled_from([None, np.cos(np.arange(len(w)) + 1.0)]))
    wanted = kernel.reference_correlate(x, w, *arguments) + (0 if bias is None else bias[:, None, None])
    found = kernel.correlate(backend.module_for(device), on(device, x), on(device, w), *arguments, on(device, bias))
    close(host(found), wanted)


@given_on_each_device(problem=problems())
def test_the_fast_weight_gradient_is_the_plain_one(problem, device):
    x, w, stride, padding = problem
    gy = convolution._conv2d(x, w, stride, padding)
    arguments = (w.shape[2:], stride, padding)
    found = kernel.correlate_over_batch(backend.module_for(device), on(device, gy), on(device, x), *arguments)
    close(host(found), kernel.reference_correlate_over_batch(gy, x, *arguments))


@pytest.fixture(scope="module")
def few_channels():
    """Winograd's algorithm for small problems too."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(kernel, "CHANNELS", 4)
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
def test_winograd_agrees_with_the_plain_way(few_channels, problem, seed):
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
    with kernel.plain():
        plain = everything()
    for a, b in zip(fast, plain, strict=True):
        assert a.shape == b.shape and a.dtype == b.dtype == np.float32
        assert abs(a - b).max(initial=0) <= 1e-4 * abs(b).max(initial=1e-30)


def test_winograd_is_used_where_it_can_be_and_nowhere_else():
    def is_used(shape=(64, 64, 3, 3), dtype=np.float32, stride=(1, 1), spread=(1, 1)):
        return kernel._by_winograd(shape, np.dtype(dtype), stride, spread)

    assert is_used((kernel.CHANNELS, kernel.CHANNELS, 3, 3))
    assert not is_used((kernel.CHANNELS, kernel.CHANNELS - 1, 3, 3))
    assert not is_used(dtype=np.float64)
    assert not is_used(stride=(1, 2)) and not is_used(spread=(2, 1)) and not is_used((64, 64, 3, 5))
    with kernel.plain():
        assert not is_used((64, 64, 3, 3))


def test_winograds_algorithm_is_exact_where_no_rounding_happens():
    """A, G and B multiplied out over a basis: the sum of products itself, for one row of a tile."""
    for tap, pixel in np.ndindex(3, 6):
        y = winograd.A_T @ ((winograd.G @ np.eye(3)[tap]) * (winograd.B_T @ np.eye(6)[pixel]))
        np.testing.assert_allclose(y, [float(pixel == output + tap) for output in range(4)], atol=1e-6)


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
def test_results_are_the_same_to_the_bit_on_any_number_of_threads(few_channels, monkeypatch, dtype):
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


def test_for_each_keeps_the_order_and_passes_errors_on():
    assert parallel.for_each(lambda i: i * i, range(20)) == [i * i for i in range(20)]
    assert parallel.for_each(lambda i: i, []) == []
    with pytest.raises(ZeroDivisionError):
        parallel.for_each(lambda i: 1 / (i - 5), range(10))


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
