"""Numbers made on the GPU: the same bits as NumPy's generator, and the generator afterwards where it would stand.

The kernel itself is tested without a GPU too, where there is a C++ compiler: see kernels_on_cpu.py.
"""

import math
from unittest import mock

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import minigrad as mg
from minigrad import nn
from minigrad.fast.cuda import random
from minigrad.nn import functional as F
from tests.fast import kernels_on_cpu

seeds, counts = st.integers(0, 2**64), st.integers(0, 700)


def generator(seed, used):
    """A generator that has drawn `used` numbers: an odd number leaves half an output behind."""
    rng = np.random.default_rng(seed)
    rng.random(used, dtype=np.float32)
    return rng


@given(seed=seeds, used=st.integers(0, 3), count=counts, threads=st.sampled_from([1, 3, 64]))
def test_the_reference_is_numpys_generator(seed, used, count, threads):
    rng = generator(seed, used)
    found = random.uniform_reference(rng.bit_generator.state, count, threads)
    wanted = rng.random(count, dtype=np.float32)
    assert found.dtype == wanted.dtype
    np.testing.assert_array_equal(found, wanted)


@given(seed=seeds, used=st.integers(0, 3), count=st.integers(0, 5000))
def test_the_generator_is_put_where_it_would_stand(seed, used, count):
    rng = generator(seed, used)
    moved = random.advanced(rng.bit_generator.state, count)
    rng.random(count, dtype=np.float32)
    assert moved == rng.bit_generator.state


@given(seed=seeds, steps=st.integers(0, 2**70))
def test_a_jump_is_so_many_steps(seed, steps):
    """NumPy's own `advance` goes as far; it drops the half that was kept, so it cannot be used in its place."""
    rng = np.random.PCG64(seed)
    state = rng.state["state"]
    multiplier, offset = random.jump(state["inc"], steps)
    rng.advance(steps)
    assert (multiplier * state["state"] + offset) % 2**128 == rng.state["state"]["state"]


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_normal_numbers_are_normal_and_independent(dtype):
    """Means of n independent numbers, and of products of neighbours and of pairs, are normal with deviation 1/√n times
    that of one; five of them are allowed. Of a normal number to the powers 1, 2, 3, 4 the mean is 0, 1, 0, 3, and the
    deviation √1, √2, √15, √96."""
    n = 400_000
    x = F.draw_normal(np.random.default_rng(12), (n,), np.dtype(dtype), 1.0)
    assert x.dtype == dtype
    x = x.astype(float)
    for power, mean, variance in [(1, 0, 1), (2, 1, 2), (3, 0, 15), (4, 3, 96)]:
        assert abs((x**power).mean() - mean) < 5 * (variance / n) ** 0.5
    for distance in (1, 2, 3):
        for f in (lambda t: t, lambda t: t**2 - 1):
            assert abs((f(x[distance:]) * f(x[:-distance])).mean()) < 5 * (2 if f(2.0) == 3 else 1) / n**0.5
    for bound in (0.5, 1.0, 2.0, 3.0):  # shares beyond: binomial
        share = math.erfc(bound / 2**0.5)
        assert abs((abs(x) > bound).mean() - share) < 5 * (share * (1 - share) / n) ** 0.5
    assert np.isfinite(x).all() and abs(x).max() < 5.8


@given(seed=seeds, used=st.integers(0, 3), shape=st.sampled_from([(), (0, 3), (1,), (2,), (7,), (4, 5, 3)]))
def test_each_normal_number_takes_one_draw_and_a_last_pair_two(seed, used, shape):
    ours, numpys = generator(seed, used), generator(seed, used)
    x = F.draw_normal(ours, shape, np.dtype(np.float32), 0.5)
    count = math.prod(shape)
    numpys.random(count + count % 2, dtype=np.float32)
    assert x.shape == shape and x.dtype == np.float32
    assert ours.bit_generator.state == numpys.bit_generator.state


@pytest.fixture(scope="module")
def library(tmp_path_factory):
    if kernels_on_cpu.COMPILER is None:
        pytest.skip("needs g++ or clang++ to run the kernel's source on the CPU")
    return kernels_on_cpu.Library(tmp_path_factory.mktemp("kernel"), ["draw", "box_muller"])


@pytest.fixture
def as_if_on_gpu(library, monkeypatch):
    """The kernel on the CPU, with so few threads that each of them draws several times."""
    monkeypatch.setattr(random.backend, "module_for", lambda device: np)
    monkeypatch.setattr(random, "BLOCKS", 3)
    with kernels_on_cpu.installed(library, threads=16):
        yield


@pytest.mark.usefixtures("as_if_on_gpu")
@pytest.mark.parametrize("shape", [(), (0, 3), (1,), (2,), (95,), (96,), (97,), (98,), (5, 7, 11)])
@pytest.mark.parametrize("used", [0, 1, 2, 3])
def test_the_kernel_draws_what_numpy_draws(shape, used):
    ours, numpys = generator(5, used), generator(5, used)
    np.testing.assert_array_equal(random.drawn_on_gpu(ours, shape, np.float32), numpys.random(shape, dtype=np.float32))
    assert ours.bit_generator.state == numpys.bit_generator.state


@pytest.mark.usefixtures("as_if_on_gpu")
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("p", [0.0, 0.1, 0.5])
def test_the_mask_kernel_decides_as_numpy_does(dtype, p):
    ours, numpys = generator(6, 1), generator(6, 1)
    mask = random.mask_on_gpu(ours, (9, 21), np.dtype(dtype), p)
    wanted = F.draw_mask(numpys, (9, 21), np.dtype(dtype), p)
    assert mask.dtype == wanted.dtype == dtype
    np.testing.assert_array_equal(mask, wanted)
    assert ours.bit_generator.state == numpys.bit_generator.state


@pytest.mark.usefixtures("as_if_on_gpu")
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("shape", [(), (0, 3), (1,), (95,), (96,), (5, 7, 11)])
@pytest.mark.parametrize("used", [0, 1])
def test_the_normal_kernel_draws_what_the_host_draws(dtype, shape, used):
    """To a few roundings of the functions that both take from their libraries, of numbers below 5.8 · 0.15 < 1."""
    ours, numpys = generator(6, used), generator(6, used)
    found = random.normal_on_gpu(ours, shape, np.dtype(dtype), 0.15)
    wanted = F.draw_normal(numpys, shape, np.dtype(dtype), 0.15)
    assert found.dtype == wanted.dtype == dtype
    np.testing.assert_allclose(found, wanted, rtol=0, atol=4 * np.finfo(dtype).eps)
    assert ours.bit_generator.state == numpys.bit_generator.state


@pytest.mark.usefixtures("as_if_on_gpu")
@pytest.mark.parametrize("count", [0, 1, 95, 96, 98])
@pytest.mark.parametrize("used", [0, 1])
def test_in_a_graph_the_kernel_reads_where_the_generator_is(count, used, monkeypatch):
    """A graph asks for that place at each replay, and the generator moves on."""
    recording = mock.Mock()
    recording.from_host = lambda make: np.ascontiguousarray(make())
    monkeypatch.setattr(random.gpu._state, "recording", recording)
    ours, numpys = generator(5, used), generator(5, used)
    for _ in range(3):
        np.testing.assert_array_equal(
            random.drawn_on_gpu(ours, (count,), np.float32), numpys.random(count, dtype=np.float32)
        )
        assert ours.bit_generator.state == numpys.bit_generator.state


def test_other_generators_draw_on_the_host():
    assert random.supported(np.random.default_rng(0))
    for kind in (np.random.PCG64DXSM, np.random.Philox, np.random.MT19937):
        assert not random.supported(np.random.Generator(kind(0)))


@pytest.mark.gpu
@pytest.mark.skipif(not mg.is_available("cuda"), reason="needs an NVIDIA GPU and CuPy")
@pytest.mark.parametrize("shape", [(), (0, 3), (1,), (2,), (524289,), (524290,), (1_048_577,), (100, 16, 16, 96)])
@pytest.mark.parametrize("used", [0, 1])
def test_the_gpu_draws_what_numpy_draws(shape, used):
    ours, numpys = generator(7, used), generator(7, used)
    np.testing.assert_array_equal(
        random.drawn_on_gpu(ours, shape, np.float32).get(), numpys.random(shape, dtype=np.float32)
    )
    assert ours.bit_generator.state == numpys.bit_generator.state


@pytest.mark.gpu
@pytest.mark.skipif(not mg.is_available("cuda"), reason="needs an NVIDIA GPU and CuPy")
@pytest.mark.parametrize("kind", [np.random.PCG64, np.random.Philox])
@pytest.mark.parametrize("shape", [(3, 5), (2, 3, 5, 7)])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_noise_is_the_same_on_both_devices(kind, shape, dtype):
    """Dropout to the bit; normal numbers to the rounding of a logarithm and a cosine."""
    x = np.random.default_rng(8).standard_normal(shape).astype(dtype)
    here, there = (np.random.Generator(kind(9)) for _ in range(2))
    for layer, atol in [(nn.Dropout(0.3), 0), (nn.GaussianNoise(0.15), 4 * np.finfo(dtype).eps)] * 2:
        layer.rng = there
        on_gpu = layer(mg.tensor(x, device="cuda"))
        layer.rng = here
        np.testing.assert_allclose(on_gpu.numpy(), layer(mg.tensor(x)).numpy(), rtol=np.finfo(dtype).eps, atol=atol)
    np.testing.assert_equal(there.bit_generator.state, here.bit_generator.state)
