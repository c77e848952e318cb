"""Batch normalization in blocks against its formulas, with many blocks, and rows of several places side by side."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from minigrad.fast.cpu import normalization, parallel

shapes = st.tuples(st.integers(1, 9), st.integers(1, 5)) | st.tuples(*[st.integers(1, 5)] * 4)


@pytest.fixture(scope="module")
def tiny_blocks():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(normalization, "BLOCK", 7)
        patch.setattr(normalization, "WIDTH", 6)
        yield


def numbers(shape, seed, mean=0.0):
    return np.random.default_rng(seed).normal(mean, 1, shape)


def axes_of(x):
    return (0, *range(2, x.ndim))


def column(numbers, x):
    return numbers.reshape(-1, *[1] * (x.ndim - 2))


@given(shape=shapes, seed=st.integers(0, 2**32 - 1), last=st.booleans())
def test_each_function_is_its_formula(tiny_blocks, shape, seed, last):
    x, g = numbers((2, *shape), seed, mean=3.0)
    if last and x.ndim == 4:
        x = np.ascontiguousarray(x.transpose(0, 2, 3, 1)).transpose(0, 3, 1, 2)
    weight, bias, inverse = numbers((3, shape[1]), seed + 1)
    mean, var = normalization.moments(x)
    np.testing.assert_allclose(mean, x.mean(axes_of(x)), rtol=1e-12)
    np.testing.assert_allclose(var, x.var(axes_of(x)), rtol=1e-12, atol=1e-14)  # of one value it is 0
    centered = x - column(mean, x)
    y = normalization.normalized(x, mean, weight, bias)
    np.testing.assert_allclose(y, centered * column(weight, x) + column(bias, x), rtol=1e-12, atol=1e-12)

    of_x, of_weight, of_bias = normalization.normalized_gradients(g, x, mean, inverse, weight)
    normal = centered * column(inverse, x)
    np.testing.assert_allclose(of_bias, g.sum(axes_of(x)), rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose(of_weight, (g * normal).sum(axes_of(x)), rtol=1e-12, atol=1e-12)
    count = x.size // shape[1]
    expected = g - column(of_bias / count, x) - normal * column(of_weight / count, x)
    np.testing.assert_allclose(of_x, expected * column(weight * inverse, x), rtol=1e-10, atol=1e-10)


def test_the_variance_survives_a_large_mean():
    # In float32 the squares of 1000 are exact to 0.06; their mean less the squared mean would be off by as much.
    x = numbers((4000, 3), 0, mean=1000.0).astype(np.float32)
    np.testing.assert_allclose(normalization.moments(x)[1], x.astype(float).var(axis=0), rtol=1e-4)


def test_results_do_not_depend_on_the_number_of_threads(monkeypatch):
    x, g = numbers((2, 70, 30, 32, 32), 0).astype(np.float32)  # several blocks

    def results():
        mean, var = normalization.moments(x)
        return [mean, var, *normalization.normalized_gradients(g, x, mean, var, mean)]

    threads = results()
    monkeypatch.setattr(parallel, "for_each", lambda function, items: [function(item) for item in items])
    for a, b in zip(threads, results(), strict=True):
        assert a.tobytes() == b.tobytes()


@pytest.mark.parametrize("channels_last", [False, True])
@pytest.mark.parametrize("shape", [(1001, 3, 15, 15), (99, 3, 33, 33), (101, 64, 7, 7)])
def test_the_variance_beside_a_mean_ten_thousand_times_as_large(shape, channels_last):
    """The mean of a float32 block is off by its rounding, which must not enter the variance as a square."""
    x = (1e4 + np.random.default_rng(0).standard_normal(shape)).astype(np.float32)
    if channels_last:
        x = np.ascontiguousarray(x.transpose(0, 2, 3, 1)).transpose(0, 3, 1, 2)
    mean, variance = normalization.moments(x)
    exact = x.astype(float)
    np.testing.assert_allclose(mean, exact.mean(axis=(0, 2, 3)), rtol=1e-6)
    np.testing.assert_allclose(variance, exact.var(axis=(0, 2, 3)), rtol=1e-3)
