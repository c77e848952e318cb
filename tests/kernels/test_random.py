"""Numbers made on the GPU: the same bits as NumPy's generator, and the generator afterwards where it would stand.

The kernel itself is tested without a GPU too, where there is a C++ compiler: its source, compiled with a few
definitions that stand for CUDA's, runs thread by thread on the CPU.
"""

import ctypes
import shutil
import subprocess

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import minigrad as mg
from minigrad.kernels import random
from minigrad.nn import functional as F

seeds, counts = st.integers(0, 2**64), st.integers(0, 700)
CUDA = r"""
#include <cstdint>
#define __device__
#define __global__
struct { long long x; } blockIdx, blockDim, threadIdx, gridDim;
static uint64_t __umul64hi(uint64_t a, uint64_t b) { return (unsigned __int128)a * b >> 64; }
"""
LOOP = r"""
#define RUN(NAME, T)                                                                                               \
    extern "C" void run_##NAME(int blocks, int threads, T* out, long long count, int first, uint32 kept,           \
            uint64 a, uint64 b, uint64 c, uint64 d, uint64 e, uint64 f, uint64 g, uint64 h, float p, T scale) {    \
        gridDim.x = blocks; blockDim.x = threads;                                                                  \
        for (blockIdx.x = 0; blockIdx.x < blocks; blockIdx.x++)                                                    \
            for (threadIdx.x = 0; threadIdx.x < threads; threadIdx.x++)                                            \
                NAME(out, count, first, kept, a, b, c, d, e, f, g, h, p, scale);                                   \
    }
RUN(uniform_float32, float)
RUN(mask_float32, float)
RUN(mask_float64, double)
"""


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


@given(seed=seeds, steps=st.integers(0, 2**127))
def test_distance_is_how_far_a_jump_went(seed, steps):
    state = np.random.PCG64(seed).state["state"]
    multiplier, offset = random.jump(state["inc"], steps)
    assert random.distance(state["inc"], state["state"], (multiplier * state["state"] + offset) % 2**128) == steps


@given(
    seed=seeds,
    steps=st.lists(
        st.sampled_from(["noise", "noise", "noise, uniform", "noise, uniform", "permutation", "other noise"]),
        max_size=12,
    ),
    count=st.integers(1, 40),
)
def test_normal_numbers_drawn_ahead_are_numpys(seed, steps, count):
    """Whatever else is drawn in between, each number and the state at the end are those of the generator alone."""
    ours, numpys = np.random.default_rng(seed), np.random.default_rng(seed)

    def both(kind, shape):
        wanted = numpys.standard_normal(shape, dtype=np.float32)
        np.testing.assert_array_equal(random.standard_normal(ours, shape), wanted)
        assert ours.bit_generator.state == numpys.bit_generator.state

    for step in steps:
        if "noise" in step:
            both(step, (3, 5) if "other" in step else (7, 11))
        if "uniform" in step:
            np.testing.assert_array_equal(ours.random(count), numpys.random(count))
            np.testing.assert_array_equal(ours.random(count, np.float32), numpys.random(count, np.float32))
        if "permutation" in step:
            np.testing.assert_array_equal(ours.permutation(count), numpys.permutation(count))


def test_a_step_like_the_one_before_finds_its_numbers_drawn(monkeypatch):
    """From the third step on; and again after an epoch's permutation has come in between."""
    drawn = []
    draw = random._draw
    monkeypatch.setattr(random, "_draw", lambda *arguments: drawn.append(arguments[0]) or draw(*arguments))
    rng, used = np.random.default_rng(11), []
    for step in range(10):
        if step == 5:
            rng.permutation(100)
        state = rng.bit_generator.state
        random.standard_normal(rng, (31, 7))
        used.append(state in drawn)
        rng.random(99, np.float32)
        rng.random(40, np.float32)
    assert used == [False, False, True, True, True, False, False, True, True, True]


@pytest.fixture(scope="module")
def on_cpu(tmp_path_factory):
    """A stand-in for `gpu.raw_kernel`: the kernels' source, compiled for the CPU."""
    compiler = shutil.which("g++") or shutil.which("clang++")
    if compiler is None:
        pytest.skip("needs g++ or clang++ to run the kernel's source on the CPU")
    folder = tmp_path_factory.mktemp("kernel")
    (folder / "random.cpp").write_text(CUDA + random.SOURCE + LOOP)
    library = folder / "random.so"
    # -ffp-contract=off: neither compiler may fuse what NumPy rounds twice; nvcc finds nothing to fuse here.
    subprocess.run([compiler, "-O1", "-shared", "-fPIC", "-ffp-contract=off", "-o", library, folder / "random.cpp"],
                   check=True)  # fmt: skip
    compiled = ctypes.CDLL(library)
    scalar = {np.dtype("int64"): ctypes.c_int64, np.dtype("int32"): ctypes.c_int32, np.dtype("uint32"): ctypes.c_uint32,
              np.dtype("uint64"): ctypes.c_uint64, np.dtype("float32"): ctypes.c_float,
              np.dtype("float64"): ctypes.c_double}  # fmt: skip

    def raw_kernel(name, source):
        assert source is random.SOURCE

        def kernel(grid, block, arguments):
            out, *numbers = arguments
            out.fill(np.nan)  # every entry must be written
            numbers = [scalar[n.dtype](n.item()) for n in numbers]
            getattr(compiled, f"run_{name}")(*grid, *block, ctypes.c_void_p(out.ctypes.data), *numbers)

        return kernel

    return raw_kernel


@pytest.fixture
def as_if_on_gpu(on_cpu, monkeypatch):
    """`random.uniform` and `dropout_mask` with the kernels on the CPU, small enough for several rounds of threads."""
    monkeypatch.setattr(random.gpu, "raw_kernel", on_cpu)
    monkeypatch.setattr(random.backend, "module_for", lambda device: np)
    monkeypatch.setattr(random, "THREADS", 16)
    monkeypatch.setattr(random, "BLOCKS", 3)


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
