"""Equations 2, 3 and 4 as laws of the functions."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

import minigrad as mg
import wn
from wn.reparameterization import weight_norm_composite

seeds = st.integers(0, 2**32 - 1)
TOLERANCE = {"rtol": 1e-12, "atol": 1e-12}  # float64, sums of at most a hundred products of numbers of size 10


@st.composite
def weights(draw, dtype=np.float64):
    """v with ‖v‖ away from 0, g of either sign in one of its shapes, an axis, and a gradient for w."""
    rng = np.random.default_rng(draw(seeds))
    shape = draw(hnp.array_shapes(min_dims=1, max_dims=4, min_side=1, max_side=4))
    axis = draw(st.integers(-len(shape), len(shape) - 1))
    v = rng.choice([-1, 1], shape) * rng.uniform(0.3, 2, shape)
    g = rng.choice([-1, 1], shape[axis]) * rng.uniform(0.3, 2, shape[axis])
    column = tuple(n if i == axis % len(shape) else 1 for i, n in enumerate(shape))
    g = g.reshape(draw(st.sampled_from([(-1,), column, (-1, 1)])))
    return v.astype(dtype), g.astype(dtype), axis, rng.standard_normal(shape).astype(dtype)


def norms(v, axis):
    """‖v‖ of each weight vector, along `axis`."""
    return np.sqrt((np.moveaxis(v, axis, 0).reshape(v.shape[axis], -1) ** 2).sum(axis=1))


def rows(v, axis):
    """One weight vector in each row."""
    return np.moveaxis(v, axis, 0).reshape(v.shape[axis], -1)


def autograd(function, v, g, axis, grad_w):
    v, g = mg.tensor(v, requires_grad=True), mg.tensor(g, requires_grad=True)
    return [d.numpy() for d in mg.grad(function(v, g, axis), [v, g], grad_w)]


# ---- equation 2 -----------------------------------------------------------------------------------------------------


@given(case=weights())
def test_every_weight_vector_is_g_long_and_points_along_v(case):
    v, g, axis, _ = case
    w = rows(wn.weight_norm(v, g, axis), axis)
    np.testing.assert_allclose(w, g.reshape(-1, 1) * rows(v, axis) / norms(v, axis)[:, None], **TOLERANCE)
    np.testing.assert_allclose(np.linalg.norm(w, axis=1), np.abs(g).ravel(), **TOLERANCE)


@given(case=weights(), log_scale=st.floats(-10, 10))
def test_the_length_of_v_does_not_matter(case, log_scale):
    v, g, axis, _ = case
    np.testing.assert_allclose(
        wn.weight_norm(math.exp(log_scale) * v, g, axis), wn.weight_norm(v, g, axis), **TOLERANCE
    )


@given(case=weights())
def test_it_is_what_ordinary_ops_compute(case):
    v, g, axis, _ = case
    found, wanted = wn.weight_norm(v, g, axis), weight_norm_composite(v, g, axis)
    assert isinstance(found, np.ndarray) and found.shape == v.shape
    np.testing.assert_allclose(found, wanted, **TOLERANCE)
    assert isinstance(wn.weight_norm(mg.tensor(v), g, axis), mg.Tensor)


@given(case=weights())
def test_gradients_to_second_order(case):
    v, g, axis, _ = case
    mg.testing.check_grads(lambda v, g: wn.weight_norm(v, g, axis), [v, g], order=2)


@given(case=weights(), seed=seeds)
def test_second_derivatives_are_those_of_ordinary_ops(case, seed):
    v, g, axis, grad_w = case
    rng = np.random.default_rng(seed)
    along = [rng.standard_normal(v.shape), rng.standard_normal(g.shape)]
    hvps = [
        mg.hvp(lambda v, g, f=f: (mg.sin(f(v, g, axis)) * grad_w).sum(), [v, g], along)
        for f in (wn.weight_norm, weight_norm_composite)
    ]
    for found, wanted in zip(*hvps, strict=True):
        np.testing.assert_allclose(found.numpy(), wanted.numpy(), rtol=1e-10, atol=1e-10)


@given(case=weights(np.float32))
def test_float32_stays_float32(case):
    v, g, axis, grad_w = case
    dtypes = [wn.weight_norm(v, g, axis).dtype, *(d.dtype for d in wn.explicit_gradients(grad_w, v, g, axis)),
              *(d.dtype for d in autograd(wn.weight_norm, v, g, axis, grad_w))]  # fmt: skip
    assert set(dtypes) == {np.dtype(np.float32)}


# ---- equation 3 -----------------------------------------------------------------------------------------------------


@given(case=weights())
def test_explicit_gradients_are_those_of_autograd(case):
    v, g, axis, grad_w = case
    explicit = wn.explicit_gradients(grad_w, v, g, axis)
    for function in (weight_norm_composite, wn.weight_norm):
        for found, wanted in zip(autograd(function, v, g, axis, grad_w), explicit, strict=True):
            assert found.shape == wanted.shape
            np.testing.assert_allclose(found, wanted, **TOLERANCE)


@given(case=weights())
def test_the_gradient_for_v_is_orthogonal_to_v(case):
    v, g, axis, grad_w = case
    grad_v, _ = wn.explicit_gradients(grad_w, v, g, axis)
    inner = (rows(v, axis) * rows(grad_v, axis)).sum(axis=1)
    np.testing.assert_allclose(inner, 0, atol=1e-12)


@given(case=weights(), scale=st.sampled_from([0.01, 0.5, 3.0, 1e4]))
def test_the_gradient_for_v_falls_with_the_length_of_v(case, scale):
    v, g, axis, grad_w = case
    grad_v, grad_g = wn.explicit_gradients(grad_w, v, g, axis)
    scaled_v, scaled_g = wn.explicit_gradients(grad_w, scale * v, g, axis)
    np.testing.assert_allclose(scaled_v * scale, grad_v, **TOLERANCE)
    np.testing.assert_allclose(scaled_g, grad_g, **TOLERANCE)


@given(case=weights())
def test_the_gradient_for_g_is_the_part_of_the_gradient_along_v(case):
    v, g, axis, grad_w = case
    _, grad_g = wn.explicit_gradients(grad_w, v, g, axis)
    wanted = (rows(v, axis) * rows(grad_w, axis)).sum(axis=1) / norms(v, axis)
    np.testing.assert_allclose(grad_g.ravel(), wanted, **TOLERANCE)


@given(case=weights())
def test_pythagoras_holds_for_the_two_parts_of_the_gradient(case):
    """‖∇_w‖² = (‖v‖/g)² ‖∇_v‖² + ‖∇_g‖²: nothing is lost."""
    v, g, axis, grad_w = case
    grad_v, grad_g = wn.explicit_gradients(grad_w, v, g, axis)
    parts = (norms(v, axis) / g.ravel() * norms(grad_v, axis)) ** 2 + grad_g.ravel() ** 2
    np.testing.assert_allclose(parts, norms(grad_w, axis) ** 2, rtol=1e-10)


# ---- equation 4 -----------------------------------------------------------------------------------------------------


@given(case=weights())
def test_equation_4_is_equation_3(case):
    v, g, axis, grad_w = case
    grad_v, _ = wn.explicit_gradients(grad_w, v, g, axis)
    w = wn.weight_norm(v, g, axis)
    lines = zip(rows(w, axis), rows(grad_w, axis), g.ravel() / norms(v, axis), rows(grad_v, axis), strict=True)
    for w_k, grad_k, scale, wanted in lines:
        np.testing.assert_allclose(scale * (wn.projection_matrix(w_k) @ grad_k), wanted, **TOLERANCE)
        np.testing.assert_allclose(scale * wn.project(w_k, grad_k), wanted, **TOLERANCE)


vectors = st.builds(lambda seed, k: np.random.default_rng(seed).uniform(0.3, 2, k), seeds, st.integers(1, 8))


@given(w=vectors, scale=st.sampled_from([1.0, -3.0, 1e6]))
def test_the_projection_is_symmetric_idempotent_kills_w_and_has_rank_k_minus_1(w, scale):
    m, k = wn.projection_matrix(scale * w), len(w)
    np.testing.assert_allclose(m, wn.projection_matrix(w), **TOLERANCE)
    np.testing.assert_array_equal(m, m.T)
    np.testing.assert_allclose(m @ m, m, **TOLERANCE)
    np.testing.assert_allclose(m @ w, 0, atol=1e-12)
    np.testing.assert_allclose(np.linalg.eigvalsh(m), [0] + [1] * (k - 1), **TOLERANCE)


@given(w=vectors, seed=seeds, columns=st.sampled_from([(), (0,), (3,)]))
def test_projecting_is_multiplying_by_the_matrix(w, seed, columns):
    x = np.random.default_rng(seed).standard_normal((len(w), *columns))
    np.testing.assert_allclose(wn.project(w, x), wn.projection_matrix(w) @ x, **TOLERANCE)


def test_projections_are_differentiable_and_keep_float32():
    w, x = np.array([1.0, 2.0, -1.0]), np.array([0.5, 1.0, 3.0])
    mg.testing.check_grads(wn.project, [w, x])
    mg.testing.check_grads(wn.projection_matrix, [w])
    w32, x32 = w.astype(np.float32), x.astype(np.float32)
    assert wn.project(w32, x32).dtype == wn.projection_matrix(w32).dtype == np.float32


@pytest.mark.parametrize("call", [
    lambda: wn.weight_norm(np.ones((2, 3)), np.ones(3)), lambda: wn.weight_norm(np.ones((2, 3)), np.ones(2), 2),
    lambda: wn.weight_norm(mg.tensor(np.ones((2, 3))), np.ones(2), 2),
    lambda: wn.explicit_gradients(np.ones((3, 2)), np.ones((2, 3)), np.ones(2)),
    lambda: wn.explicit_gradients(np.ones((2, 3)), np.ones((2, 3)), np.ones(3)),
    lambda: wn.projection_matrix(np.ones((2, 2))), lambda: wn.project(np.ones(2), np.ones(3)),
    lambda: wn.project(np.ones(2), np.ones((2, 1, 1))),
])  # fmt: skip
def test_shapes_that_do_not_fit_are_refused(call):
    with pytest.raises(ValueError):
        call()
