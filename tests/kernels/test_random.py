"""Numbers made on the GPU: the same bits as NumPy's generator, and the generator afterwards where it would stand.

The kernel itself is tested without a GPU too, where there is a C++ compiler: see kernels_on_cpu.py.
"""

from unittest import mock

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import minigrad as mg
from minigrad.kernels import random
from minigrad.nn import functional as F
from tests.kernels import kernels_on_cpu

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


@given(seed=seeds, shape=st.sampled_from([(), (0,), (7,), (2, 5), (31,), (8, 11)]))
def test_normal_numbers_are_those_of_generators_seeded_by_the_generator(seed, shape):
    ours, numpys = np.random.default_rng(seed), np.random.default_rng(seed)
    with mock.patch.object(random, "SHARE", 10):
        found = random.standard_normal(ours, shape)
    count = int(np.prod(shape))
    if count <= 10:
        wanted = numpys.standard_normal(shape, dtype=np.float32)
    else:
        seeds = [int(numpys.bit_generator.random_raw()) for _ in range(-(-count // 10))]
        parts = [np.random.default_rng(s).standard_normal(10, dtype=np.float32) for s in seeds]
        wanted = np.concatenate(parts)[:count].reshape(shape)
    assert found.dtype == np.float32
    np.testing.assert_array_equal(found, wanted)
    assert ours.bit_generator.state == numpys.bit_generator.state


def test_normal_numbers_from_several_generators_are_normal_and_independent():
    """Of n numbers the mean, the mean square and the products of neighbours are normal to first order, with deviations
    1/√n, √2/√n, 1/√n; five of them are allowed. So are products of numbers at the same place of two generators."""
    n = 4 * random.SHARE
    x = random.standard_normal(np.random.default_rng(12), (4, random.SHARE)).astype(float)
    assert abs(x.mean()) < 5 / n**0.5
    assert abs((x**2).mean() - 1) < 5 * 2**0.5 / n**0.5
    assert abs((x.ravel()[1:] * x.ravel()[:-1]).mean()) < 5 / n**0.5
    products = x @ x.T / random.SHARE
    assert np.abs(products - np.diag(np.diag(products))).max() < 5 / random.SHARE**0.5


@pytest.fixture(scope="module")
def library(tmp_path_factory):
    if kernels_on_cpu.COMPILER is None:
        pytest.skip("needs g++ or clang++ to run the kernel's source on the CPU")
    return kernels_on_cpu.Library(tmp_path_factory.mktemp("kernel"), ["draw"])


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
    np.testing.assert_array_equal(random.uniform(ours, shape), numpys.random(shape, dtype=np.float32))
    assert ours.bit_generator.state == numpys.bit_generator.state


@pytest.mark.usefixtures("as_if_on_gpu")
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("p", [0.0, 0.1, 0.5])
def test_the_mask_kernel_decides_as_numpy_does(dtype, p):
    ours, numpys = generator(6, 1), generator(6, 1)
    mask = random.dropout_mask(ours, (9, 21), p, dtype)
    wanted = (numpys.random((9, 21), dtype=np.float32) >= p) * np.dtype(dtype).type(1 / (1 - p))
    assert mask.dtype == dtype
    np.testing.assert_array_equal(mask, wanted)
    assert ours.bit_generator.state == numpys.bit_generator.state


@pytest.mark.usefixtures("as_if_on_gpu")
@pytest.mark.parametrize("count", [0, 1, 95, 96, 98])
@pytest.mark.parametrize("used", [0, 1])
def test_in_a_graph_the_kernel_reads_where_the_generator_is(count, used, monkeypatch):
    """A graph asks for that place at each replay, and the generator moves on."""
    recording = mock.Mock()
    recording.from_host = lambda make: np.ascontiguousarray(make())
    monkeypatch.setattr(random.backend._state, "recording", recording)
    ours, numpys = generator(5, used), generator(5, used)
    for _ in range(3):
        np.testing.assert_array_equal(random.uniform(ours, (count,)), numpys.random(count, dtype=np.float32))
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
    np.testing.assert_array_equal(random.uniform(ours, shape).get(), numpys.random(shape, dtype=np.float32))
    assert ours.bit_generator.state == numpys.bit_generator.state


@pytest.mark.gpu
@pytest.mark.skipif(not mg.is_available("cuda"), reason="needs an NVIDIA GPU and CuPy")
@pytest.mark.parametrize("kind", [np.random.PCG64, np.random.Philox])
@pytest.mark.parametrize("shape", [(3, 5), (2, 3, 5, 7)])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_dropout_is_the_same_on_both_devices(kind, shape, dtype):
    x = np.random.default_rng(8).standard_normal(shape).astype(dtype)
    here, there = (np.random.Generator(kind(9)) for _ in range(2))
    for _ in range(2):
        on_gpu = F.dropout(mg.tensor(x, device="cuda"), 0.3, there)
        np.testing.assert_array_equal(on_gpu.numpy(), F.dropout(mg.tensor(x), 0.3, here).numpy())
    np.testing.assert_equal(there.bit_generator.state, here.bit_generator.state)
