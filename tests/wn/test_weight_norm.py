"""Equations 2, 3 and 4 as laws of the functions."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

import minigrad as mg
import wn
from tests.devices import given_on_each_device, host, is_on, on
from wn import weight_norm_composite

seeds = st.integers(0, 2**32 - 1)
TOLERANCE = {"rtol": 1e-12, "atol": 1e-12}  # float64, sums of at most a hundred products of numbers of size 10


@st.composite
def weights(draw, dtype=np.float64):
    """v with ‖v‖ away from 0, g of either sign in one of its shapes, an axis, and a gradient for w.

    The axis that counts the weight vectors is one, or several, or none at all.
    """
    rng = np.random.default_rng(draw(seeds))
    shape = draw(hnp.array_shapes(min_dims=1, max_dims=4, min_side=1, max_side=4))
    one = st.integers(-len(shape), len(shape) - 1)
    several = st.lists(one, unique_by=lambda a: a % len(shape), max_size=len(shape)).map(tuple)
    axis = draw(st.one_of(one, one, several, st.none()))
    v = rng.choice([-1, 1], shape) * rng.uniform(0.3, 2, shape)
    column = tuple(n if i in counting(axis, shape) else 1 for i, n in enumerate(shape))
    g = rng.choice([-1, 1], column) * rng.uniform(0.3, 2, column)
    shapes = [(-1,), column, (-1, 1)] + ([()] if g.size == 1 else [])
    return (
        v.astype(dtype),
        g.reshape(draw(st.sampled_from(shapes))).astype(dtype),
        axis,
        rng.standard_normal(shape).astype(dtype),
    )


def counting(axis, shape):
    """The axes that count weight vectors, as a list from 0 on."""
    axes = [] if axis is None else axis if isinstance(axis, tuple) else [axis]
    return sorted(a % len(shape) for a in axes)


def norms(v, axis):
    """‖v‖ of each weight vector, along `axis`."""
    return np.sqrt((rows(v, axis) ** 2).sum(axis=1))


def rows(v, axis):
    """One weight vector in each row."""
    axes = counting(axis, v.shape)
    front = np.moveaxis(v, axes, range(len(axes)))
    return front.reshape(int(np.prod(front.shape[: len(axes)])), -1)


def autograd(function, v, g, axis, grad_w, device="cpu"):
    v, g = (mg.tensor(a, requires_grad=True, device=device) for a in (v, g))
    return [d.numpy() for d in mg.grad(function(v, g, axis), [v, g], on(device, grad_w))]


# ---- equation 2 -----------------------------------------------------------------------------------------------------


@given_on_each_device(case=weights())
def test_every_weight_vector_is_g_long_and_points_along_v(case, device):
    v, g, axis, _ = case
    w = rows(host(wn.weight_norm(on(device, v), on(device, g), axis)), axis)
    np.testing.assert_allclose(w, g.reshape(-1, 1) * rows(v, axis) / norms(v, axis)[:, None], **TOLERANCE)
    np.testing.assert_allclose(np.linalg.norm(w, axis=1), np.abs(g).ravel(), **TOLERANCE)


@given(case=weights(), log_scale=st.floats(-10, 10))
def test_the_length_of_v_does_not_matter(case, log_scale):
    v, g, axis, _ = case
    np.testing.assert_allclose(
        wn.weight_norm(math.exp(log_scale) * v, g, axis), wn.weight_norm(v, g, axis), **TOLERANCE
    )


@given_on_each_device(case=weights())
def test_it_is_what_ordinary_ops_compute(case, device):
    v, g, axis, _ = on(device, case)
    found, wanted = wn.weight_norm(v, g, axis), weight_norm_composite(v, g, axis)
    assert is_on(device, found) and not isinstance(found, mg.Tensor) and found.shape == v.shape
    np.testing.assert_allclose(host(found), host(wanted), **TOLERANCE)
    assert isinstance(wn.weight_norm(mg.tensor(v), g, axis), mg.Tensor)


@given_on_each_device(case=weights())
def test_gradients_to_second_order(case, device):
    v, g, axis, _ = on(device, case)
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


@given_on_each_device(case=weights(np.float32))
def test_float32_stays_float32(case, device):
    v, g, axis, grad_w = on(device, case)
    dtypes = [
        wn.weight_norm(v, g, axis).dtype,
        *(d.dtype for d in wn.explicit_gradients(grad_w, v, g, axis)),
        *(d.dtype for d in autograd(wn.weight_norm, v, g, axis, grad_w, device)),
    ]
    assert set(dtypes) == {np.dtype(np.float32)}


@given(case=weights(), seed=seeds)  # on the CPU: a GPU would have to be waited for, there it becomes NaN
def test_a_zero_vector_is_refused_not_turned_into_nan(case, seed):
    v, g, axis, _ = case
    row = np.random.default_rng(seed).integers(len(rows(v, axis)))
    mask = np.zeros(len(rows(v, axis)), bool)
    mask[row] = True
    zeroed = v * ~wn.gradients.as_column(mask, v, axis)
    for some_v in (zeroed, mg.tensor(zeroed), zeroed.astype(np.float32)):
        with pytest.raises(ValueError, match=f"weight vector {row} is zero"):
            wn.weight_norm(some_v, g, axis)


@given(seed=seeds, k=st.integers(1, 5), units=st.integers(1, 4))
def test_with_whitened_inputs_batch_normalization_is_weight_normalization(seed, k, units):
    """Section 2.2: μ[t] = 0 and σ[t] = ‖v‖ where the inputs have mean 0 and covariance I, here on the batch itself."""
    rng = np.random.default_rng(seed)
    x = np.linalg.qr(np.column_stack([np.ones(12), rng.standard_normal((12, k))]))[0][:, 1:] * np.sqrt(12)
    v, g = rng.uniform(0.3, 2, (units, k)), rng.uniform(0.3, 2, units)
    normalized = mg.nn.functional.normalize(x @ v.T, (0,), 0.0)
    np.testing.assert_allclose(g * normalized, x @ wn.weight_norm(v, g).T, rtol=1e-12, atol=1e-12)


# ---- equation 3 -----------------------------------------------------------------------------------------------------


@given_on_each_device(case=weights())
def test_explicit_gradients_are_those_of_autograd(case, device):
    v, g, axis, grad_w = on(device, case)
    explicit = wn.explicit_gradients(grad_w, v, g, axis)
    for function in (weight_norm_composite, wn.weight_norm):
        for found, wanted in zip(autograd(function, v, g, axis, grad_w, device), explicit, strict=True):
            assert found.shape == wanted.shape
            np.testing.assert_allclose(found, host(wanted), **TOLERANCE)


@given_on_each_device(case=weights())
def test_explicit_gradients_for_the_log_scale_are_those_of_autograd(case, device):
    v, s, axis, grad_w = on(device, case)
    explicit = wn.explicit_gradients_log_scale(grad_w, v, s, axis)
    for function in (weight_norm_composite, wn.weight_norm):
        found = autograd(lambda v, s, axis, f=function: f(v, mg.exp(s), axis), v, s, axis, grad_w, device)
        for a, b in zip(found, explicit, strict=True):
            assert a.shape == b.shape
            np.testing.assert_allclose(a, host(b), **TOLERANCE)


@given(case=weights())
def test_the_gradient_for_the_log_scale_is_that_for_g_times_g_and_v_has_the_same(case):
    v, s, axis, grad_w = case
    grad_v, grad_s = wn.explicit_gradients_log_scale(grad_w, v, s, axis)
    same_v, grad_g = wn.explicit_gradients(grad_w, v, np.exp(s), axis)
    np.testing.assert_allclose(grad_s, np.exp(s) * grad_g, **TOLERANCE)
    np.testing.assert_array_equal(grad_v, same_v)


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


@given(case=weights())
def test_the_jacobian_that_autograd_finds_is_the_projection(case):
    """∂w/∂v = g/‖v‖ M_w as a matrix, for one weight vector, and ∂w/∂g = v/‖v‖: nothing but equation 2 is used."""
    v, g, _, _ = case
    v, g = v.ravel(), g.ravel()[:1]
    for function in (weight_norm_composite, wn.weight_norm):
        by_v = mg.jacobian(lambda v, f=function: f(v, g, None), v).numpy()
        by_g = mg.jacobian(lambda g, f=function: f(v, g, None), g).numpy()
        length = np.linalg.norm(v)
        np.testing.assert_allclose(by_v, g / length * wn.projection_matrix(v), **TOLERANCE)
        np.testing.assert_allclose(by_g, v[:, None] / length, **TOLERANCE)


@given(seed=seeds, k=st.integers(1, 5), stretch=st.sampled_from([0.1, 1.0, 7.0]))
def test_the_hessian_at_a_minimum_is_that_of_w_between_two_jacobians(seed, k, stretch):
    """Jᵀ H J with J = (g/‖v‖ M_w, v/‖v‖): how the parameterization changes the curvature (sections 1 and 2)."""
    rng = np.random.default_rng(seed)
    w, h = rng.uniform(0.3, 2, k), rng.standard_normal((k, k))
    h = h @ h.T
    v, g = stretch * w, np.linalg.norm(w)

    def loss(p):
        d = wn.weight_norm(p[:k], p[k:], None) - w
        return (d * (h @ d)).sum() / 2

    found = mg.hessian(loss, np.append(v, g)).numpy()
    jacobian = np.column_stack([wn.projection_matrix(w) / stretch, w / g])
    scale = np.abs(h).max() * max(1, 1 / stretch**2)
    np.testing.assert_allclose(found, jacobian.T @ h @ jacobian, rtol=1e-9, atol=1e-11 * scale)
    np.testing.assert_allclose(found @ np.append(v, 0), 0, atol=1e-11 * scale * stretch)  # the length of v is free


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


@pytest.mark.parametrize(
    "call",
    [
        lambda: wn.weight_norm(np.ones((2, 3)), np.ones(3)),
        lambda: wn.weight_norm(np.ones((2, 3)), np.ones(2), 2),
        lambda: wn.weight_norm(np.ones((2, 3)), np.ones(2), None),
        lambda: wn.weight_norm(np.ones((2, 3)), np.ones(2), (0, 1)),
        lambda: wn.explicit_gradients_log_scale(np.ones((2, 3)), np.ones((2, 3)), np.ones(3)),
        lambda: wn.weight_norm(mg.tensor(np.ones((2, 3))), np.ones(2), 2),
        lambda: wn.explicit_gradients(np.ones((3, 2)), np.ones((2, 3)), np.ones(2)),
        lambda: wn.explicit_gradients(np.ones((2, 3)), np.ones((2, 3)), np.ones(3)),
        lambda: wn.projection_matrix(np.ones((2, 2))),
        lambda: wn.project(np.ones(2), np.ones(3)),
        lambda: wn.project(np.ones(2), np.ones((2, 1, 1))),
    ],
)
def test_shapes_that_do_not_fit_are_refused(call):
    with pytest.raises(ValueError):
        call()
