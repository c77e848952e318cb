"""Large arrays in blocks: the same numbers, to the last bit, as all at once."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import minigrad as mg
from minigrad.fast.cpu import elementwise
from minigrad.ops import convolution

LAYOUTS = [
    lambda a: a,
    lambda a: a.transpose(0, 2, 3, 1).copy().transpose(0, 3, 1, 2),  # channels last, as convolutions leave it
    lambda a: np.asfortranarray(a),
    lambda a: np.repeat(a, 2, axis=-1)[..., ::2],  # with gaps
    lambda a: a[::-1],
    lambda a: np.broadcast_to(a[:1], a.shape),
]
shapes = st.tuples(*[st.integers(0, 4)] * 4)
seeds = st.integers(0, 2**32 - 1)


@pytest.fixture(scope="module")
def tiny_blocks():
    """Blocks of three entries for arrays of four and more, so that small arrays are cut up too."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(elementwise, "BLOCK", 3)
        patch.setattr(elementwise, "LARGE", 4)
        yield


def identical(a, b):
    assert a.shape == b.shape and a.dtype == b.dtype and np.ascontiguousarray(a).tobytes() == b.copy().tobytes()


@given(shape=shapes, seed=seeds, layouts=st.tuples(*[st.sampled_from(LAYOUTS)] * 2), dtype=st.sampled_from("fd"))
def test_functions_of_each_entry(tiny_blocks, shape, seed, layouts, dtype):
    rng = np.random.default_rng(seed)
    a, b = (layout(rng.normal(size=shape).astype(dtype)) for layout in layouts)

    def function(x, y, scale, extra=0.0):
        return np.where(x > y, x * scale, np.tanh(y)) + extra

    identical(elementwise.in_blocks(function)(a, b, 2.0, extra=1.0), function(a, b, 2.0, extra=1.0))
    identical(elementwise.in_blocks(lambda x: x > 0)(a), a > 0)  # another dtype
    identical(elementwise.in_blocks(lambda x, y: x + y)(a, b[:, :1]), a + b[:, :1])  # shapes that differ: as it is


@given(
    shape=st.tuples(st.integers(0, 5), st.integers(1, 3), st.integers(2, 5), st.integers(2, 5)),
    seed=seeds,
    layout=st.sampled_from(LAYOUTS),
)
def test_functions_of_each_image(tiny_blocks, shape, seed, layout):
    x = layout(np.random.default_rng(seed).normal(size=shape))
    out = tuple((n - 2) // 2 + 1 for n in shape[2:])
    windows = x[:, :, : 2 * out[0], : 2 * out[1]].reshape(*shape[:2], out[0], 2, out[1], 2)
    identical(convolution.max_pool2d(x, 2), windows.max(axis=(3, 5)))


def test_what_an_op_does_in_blocks_is_what_it_does_at_once(monkeypatch):
    x = np.random.default_rng(0).normal(size=(3, 4, 5, 2))

    def everything():
        found = []
        for function in (
            mg.relu,
            mg.leaky_relu,
            mg.elu,
            mg.softplus,
            mg.sigmoid,
            lambda t: mg.clip(t, -0.5, 0.5),
            lambda t: mg.max_pool2d(t, 2),
            lambda t: mg.avg_pool2d(t, 2),
            lambda t: t * t + 1.0,
        ):
            t = mg.tensor(x, requires_grad=True)
            y = function(t)
            first = mg.grad(y, t, np.cos(y.numpy()), create_graph=True)
            found += [y.numpy(), first.numpy()]
        return found

    at_once = everything()
    monkeypatch.setattr(elementwise, "BLOCK", 7)
    monkeypatch.setattr(elementwise, "LARGE", 8)
    for a, b in zip(at_once, everything(), strict=True):
        identical(b, a)


def test_the_order_in_memory_is_kept():
    x = np.zeros((3, 8, 100, 100), np.float32).transpose(0, 2, 3, 1)
    assert elementwise.memory_order(mg.relu(x)) == elementwise.memory_order(x) == (0, 3, 1, 2)
    assert elementwise.memory_order(x[:, ::2]) is None
    assert elementwise.memory_order(np.broadcast_to(np.zeros(3), (2, 3))) is None


def test_an_error_in_a_block_is_the_callers():
    @elementwise.in_blocks
    def refuses(x):
        if x[0] > 0:
            raise ValueError("no")
        return x

    with pytest.raises(ValueError, match="no"):
        refuses(np.arange(elementwise.LARGE, dtype=float))


def test_the_callers_errstate_holds_on_all_threads():
    x = np.zeros(4 * elementwise.LARGE)
    with np.errstate(divide="raise"), pytest.raises(FloatingPointError):
        mg.log(x)
    with np.errstate(divide="ignore"):  # else a warning, and warnings are errors in these tests
        assert (mg.log(x) == -np.inf).all()
