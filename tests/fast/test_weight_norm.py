"""Weight normalization by rows on the CPU (wn/fast.py) at sizes where a square, a product or a quotient would fail."""

import itertools

import numpy as np
import pytest

from minigrad.fast.replace import PLAIN
from minigrad.op import REGISTRY


def by_both_forms(v, g, grad_w, axis=0):
    """(w, grad_v, grad_g) of the faster form and of the plain one."""
    ops = REGISTRY["weight_norm"], PLAIN["weight_norm"]
    return [[op.forward(np, v, g, axis), *op.joint(grad_w, None, v, g, axis)] for op in ops]


EXPONENTS = [-38, -32, -26, -22, -21, -20, -17, -11, -7, -5, 0, 5, 7, 11, 17, 20, 22, 26, 29, 32, 36]


@pytest.mark.parametrize("of_v", EXPONENTS)
def test_the_faster_form_agrees_with_the_plain_one_at_every_scale_entry_by_entry(of_v):
    """v, g and ∇_w have sizes of their own. A norm and an inner product are sums over a vector, and less than ten
    roundings come after them. Products of v and ∇_w lose what is smaller than the smallest number there is, and their
    sum is divided by ‖v‖.
    """
    numbers, columns = np.finfo(np.float32), 5
    start_v, start_grad = np.random.default_rng(0).choice([-1, 1], (2, 1, columns)) * np.linspace(0.3, 2, columns)
    for of_g, of_grad in itertools.product(EXPONENTS, repeat=2):
        arrays = start_v * 10.0**of_v, np.array([10.0**of_g]), start_grad * 10.0**of_grad
        v, g, grad_w = (a.astype(np.float32) for a in arrays)
        with np.errstate(all="ignore"):
            both = by_both_forms(v, g, grad_w)
        v, g, grad_w = (abs(a).astype(float) for a in (v, g, grad_w))
        norm = np.sqrt((v * v).sum())
        along = (grad_w * v).sum(axis=1) / norm
        lost = columns * numbers.smallest_subnormal * (1 + 1 / norm)
        bounds = [(g * v / norm, 0), (g / norm * (grad_w + along * v / norm), g / norm * lost), (along, lost)]
        for faster, plain, (terms, lost) in zip(*both, bounds, strict=True):
            assert faster.dtype == plain.dtype and faster.shape == plain.shape
            np.testing.assert_array_equal(np.isfinite(faster), np.isfinite(plain))
            off = abs(np.subtract(faster, plain, where=np.isfinite(plain), out=np.zeros(plain.shape), dtype=float))
            assert (off <= (columns + 10) * numbers.eps * terms + 4 * (lost + numbers.tiny)).all(), (of_g, of_grad)


@pytest.mark.parametrize(
    "shape, dtypes",
    [
        ((0, 3), "fff"),
        ((2, 3), "eee"),  # whose squares overflow at 256
        ((2, 3), "fdf"),
        ((2, 3), "dff"),
        ((2, 10_001), "fff"),  # a sum in an order that depends on the number of threads
        ((10_001, 2), "fff"),
    ],
)
def test_what_the_faster_form_leaves_to_the_plain_one_is_the_same_bit_for_bit(shape, dtypes):
    rng = np.random.default_rng(0)
    v, g, grad_w = (rng.uniform(1, 2, s).astype(c) for s, c in zip((shape, shape[0], shape), dtypes, strict=True))
    taken = dtypes == "fff" and 0 < shape[1] < 10
    for faster, plain in zip(*by_both_forms(v, g, grad_w), strict=True):
        assert faster.dtype == plain.dtype and faster.shape == plain.shape
        assert taken or (faster == plain).all()
