"""Section 2.1: C, D = (g²/‖v‖²) M_w C M_w, and the spectra of matrices that can and cannot be written down."""

# ruff: noqa: N806 - the paper's names

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import minigrad as mg
import wn
from tests.devices import given_on_each_device, host, on
from wn.covariance import (
    gradient_covariance,
    lanczos,
    preconditioned_covariance,
    preconditioned_covariance_composite,
    tangent_basis,
)

seeds = st.integers(0, 2**32 - 1)
TOLERANCE = {"rtol": 1e-12, "atol": 1e-12}  # float64, sums of at most a thousand products of numbers of size 10


@st.composite
def neurons(draw, dtype=np.float64):
    """Gradients of one weight vector in rows, with a mean that is not 0; v away from 0; g of either sign."""
    rng = np.random.default_rng(draw(seeds))
    n, k = draw(st.integers(1, 12)), draw(st.integers(1, 6))
    gradients = rng.standard_normal((n, k)) @ rng.standard_normal((k, k)) + rng.standard_normal(k)
    v = rng.choice([-1, 1], k) * rng.uniform(0.3, 2, k)
    g = rng.choice([-1, 1]) * rng.uniform(0.3, 2)
    return gradients.astype(dtype), v.astype(dtype), dtype(g)


def symmetric(rng, n, spread=1.0):
    """A symmetric matrix with n random eigenvalues, and these in ascending order."""
    q = np.linalg.qr(rng.standard_normal((n, n)))[0]
    values = np.sort(spread * rng.standard_normal(n))
    return (q * values) @ q.T, values


# ---- C --------------------------------------------------------------------------------------------------------------


@given(case=neurons())
def test_it_is_the_covariance_of_numpy_with_divisor_n(case):
    gradients, _, _ = case
    found = gradient_covariance(gradients)
    np.testing.assert_allclose(found, np.atleast_2d(np.cov(gradients.T, bias=True)), **TOLERANCE)


@given(case=neurons())
def test_second_moment_and_covariance_differ_by_the_mean(case):
    gradients, _, _ = case
    mean = gradients.mean(axis=0)
    difference = gradient_covariance(gradients, centered=False) - gradient_covariance(gradients)
    np.testing.assert_allclose(difference, np.outer(mean, mean), **TOLERANCE)


@given(case=neurons(), centered=st.booleans())
def test_it_is_symmetric_and_positive_semidefinite_of_bounded_rank(case, centered):
    gradients, _, _ = case
    C = gradient_covariance(gradients, centered)
    np.testing.assert_array_equal(C, C.T)
    values = np.linalg.eigvalsh(C)
    rounding = 1e-13 * max(1, values[-1])
    assert values[0] > -rounding
    assert (values > rounding).sum() <= min(len(gradients) - centered, gradients.shape[1])


@given(seed=seeds, batch=st.integers(1, 4))
def test_the_mean_over_a_minibatch_has_one_bth_of_the_covariance(seed, batch):
    """Exact where every minibatch of B examples, drawn with replacement, occurs once."""
    gradients = np.random.default_rng(seed).standard_normal((4, 3))
    every = np.stack(np.meshgrid(*[range(4)] * batch, indexing="ij")).reshape(batch, -1)
    means = gradients[every].mean(axis=0)
    np.testing.assert_allclose(gradient_covariance(means), gradient_covariance(gradients) / batch, **TOLERANCE)


# ---- D --------------------------------------------------------------------------------------------------------------


@given(case=neurons(), centered=st.booleans())
def test_it_is_the_covariance_of_the_gradients_for_v(case, centered):
    gradients, v, g = case
    for_v = np.concatenate([wn.explicit_gradients(row[None], v[None], np.array([g]))[0] for row in gradients])
    found = preconditioned_covariance(gradient_covariance(gradients, centered), v, g)
    # Squared entries of up to 30, times g²/‖v‖² of up to 50, with some ten roundings each.
    np.testing.assert_allclose(found, gradient_covariance(for_v, centered), rtol=1e-11, atol=1e-11)


@given(seed=seeds)
def test_it_is_the_covariance_of_what_autograd_computes(seed):
    rng = np.random.default_rng(seed)
    x, y, v, g = rng.standard_normal((9, 5)), rng.standard_normal(9), rng.standard_normal(5), np.array(1.3)
    for_w, for_v = [], []
    for x_i, y_i in zip(x, y, strict=True):
        leaf = mg.tensor(v, requires_grad=True)
        w = wn.weight_norm(mg.reshape(leaf, 1, -1), g.reshape(1))
        for gradient, into in zip(
            mg.grad(mg.square(mg.tanh((w * x_i).sum()) - y_i), [w, leaf]), (for_w, for_v), strict=True
        ):
            into.append(gradient.numpy().ravel())
    found = preconditioned_covariance(gradient_covariance(np.array(for_w)), v, g)
    np.testing.assert_allclose(found, gradient_covariance(np.array(for_v)), rtol=1e-10, atol=1e-10)


@given_on_each_device(case=neurons())
def test_it_is_the_formula_of_the_paper(case, device):
    gradients, v, g = (*on(device, case[:2]), case[2])
    C = gradient_covariance(gradients)
    D, composite = host(preconditioned_covariance(C, v, g)), host(preconditioned_covariance_composite(C, v, g))
    np.testing.assert_allclose(D, composite, rtol=1e-11, atol=1e-11)
    np.testing.assert_array_equal(D, D.T)


@given(case=neurons())
def test_it_has_no_variance_along_v_and_is_positive_semidefinite(case):
    gradients, v, g = case
    D = preconditioned_covariance(gradient_covariance(gradients), v, g)
    size = g**2 / (v @ v) * np.linalg.norm(gradients) ** 2
    np.testing.assert_allclose(D @ v, 0, atol=1e-13 * size * np.linalg.norm(v))
    assert np.linalg.eigvalsh(D)[0] > -1e-13 * size


@given(case=neurons())
def test_its_eigenvalues_across_v_interlace_with_those_of_c(case):
    """Cauchy: λ_1 ≤ μ_1 ≤ λ_2 ≤ … ≤ μ_{k-1} ≤ λ_k, so that the condition number across v is at most that of C."""
    gradients, v, _ = case
    C = gradient_covariance(gradients)
    Q = tangent_basis(v)
    across = np.linalg.eigvalsh(Q.T @ preconditioned_covariance(C, v, np.linalg.norm(v)) @ Q)
    values = np.linalg.eigvalsh(C)
    rounding = 1e-12 * max(1, values[-1])
    assert (values[:-1] <= across + rounding).all() and (across <= values[1:] + rounding).all()


@given_on_each_device(case=neurons())
def test_covariances_are_differentiable_and_keep_float32(case, device):
    gradients, v, g = on(device, case)
    mg.testing.check_grads(gradient_covariance, [gradients], order=1)
    C = gradient_covariance(gradients)
    mg.testing.check_grads(preconditioned_covariance, [C, v, g], order=1)
    small = [a.astype(np.float32) for a in (gradients, C, v)]
    assert gradient_covariance(small[0]).dtype == np.float32
    assert preconditioned_covariance(*small[1:], np.float32(case[2])).dtype == np.float32


# ---- the directions at right angles to w ----------------------------------------------------------------------------

vectors = st.builds(lambda seed, k: np.random.default_rng(seed).standard_normal(k), seeds, st.integers(1, 8))


@given_on_each_device(w=vectors, scale=st.sampled_from([1.0, -3.0, 1e6]))
def test_the_tangent_basis_is_orthonormal_across_w_and_spans_the_projection(w, scale, device):
    Q, k = host(tangent_basis(on(device, scale * w))), len(w)
    assert Q.shape == (k, k - 1)
    np.testing.assert_allclose(Q.T @ Q, np.eye(k - 1), **TOLERANCE)
    np.testing.assert_allclose(Q.T @ w, 0, atol=1e-13)
    np.testing.assert_allclose(Q @ Q.T, wn.projection_matrix(w), **TOLERANCE)


@pytest.mark.parametrize("w", np.concatenate([np.eye(3), -np.eye(3)]))
def test_the_tangent_basis_along_an_axis_does_not_cancel(w):
    np.testing.assert_allclose(tangent_basis(w).T @ w, 0, atol=1e-15)
    assert tangent_basis(w.astype(np.float32)).dtype == np.float32


# ---- Lanczos --------------------------------------------------------------------------------------------------------


@given_on_each_device(seed=seeds, n=st.integers(1, 30))
def test_as_many_steps_as_dimensions_give_all_eigenvalues(seed, n, device):
    rng = np.random.default_rng(seed)
    A, values = symmetric(rng, n)
    A, start = on(device, A), on(device, rng.standard_normal(n))
    found, bounds = lanczos(lambda x: A @ x, start, n)
    # A random spectrum in a random basis: every eigenvector is in the start, and the Krylov space is the whole space
    # unless two eigenvalues are closer than rounding. Reorthogonalized twice, errors stay at n roundings of size ‖A‖.
    np.testing.assert_allclose(found, values, atol=1e-12)
    assert bounds.max() < 1e-12


@given(seed=seeds, steps=st.integers(1, 15), dtype=st.sampled_from([np.float32, np.float64]))
def test_the_bounds_hold_and_ritz_values_lie_within_the_spectrum(seed, steps, dtype):
    rng = np.random.default_rng(seed)
    A, values = symmetric(rng, 30)
    A = A.astype(dtype)
    found, bounds = lanczos(lambda x: A @ x, rng.standard_normal(30).astype(dtype), steps)
    rounding = 100 * np.finfo(dtype).eps * np.abs(values).max()  # of 30 products and as many subtractions
    nearest = np.abs(found[:, None] - values).min(axis=1)
    assert (nearest <= bounds + rounding).all()
    assert found[0] >= values[0] - rounding and found[-1] <= values[-1] + rounding


@given(seed=seeds)
def test_extreme_eigenvalues_come_first(seed):
    """An eigenvalue far from the others is found in a few steps, at the rate of Chebyshev polynomials (Kaniel, Paige).

    The gap between 10 and [-1, 1] makes the error after 12 products smaller than tan²∠(x, q)/T_11(10)², with
    T_11(10) > 10^13; the tangent of a random start is below 10^4 but for one start in a thousand.
    """
    rng = np.random.default_rng(seed)
    q = np.linalg.qr(rng.standard_normal((50, 50)))[0]
    values = np.append(rng.uniform(-1, 1, 49), 10)
    found, _ = lanczos(lambda x: q @ (values * (q.T @ x)), rng.standard_normal(50), 12)
    np.testing.assert_allclose(found[-1], 10, rtol=1e-12)


@given(seed=seeds)
def test_it_stops_when_the_krylov_space_is_exhausted(seed):
    rng = np.random.default_rng(seed)
    values = np.repeat([-1.0, 0.5, 2.0], 7)
    found, _ = lanczos(lambda x: values * x, rng.standard_normal(21), 21)
    assert len(found) <= 4  # three, and one more if what was left was just above rounding
    np.testing.assert_allclose(np.abs(found[:, None] - values).min(axis=1), 0, atol=1e-12)
    np.testing.assert_allclose(found[[0, -1]], [-1, 2], atol=1e-12)
    assert lanczos(np.zeros_like, rng.standard_normal(5), 5)[0].tolist() == [0]


@given(seed=seeds)
def test_with_hessian_vector_products_it_finds_the_exact_hessian(seed):
    rng = np.random.default_rng(seed)
    x, y = rng.standard_normal((12, 3)), rng.standard_normal(12)

    def loss(p):
        v, g, a = mg.reshape(p[:12], 4, 3), p[12:16], p[16:]
        return mg.square(mg.tanh(x @ wn.weight_norm(v, g).swapaxes(0, 1)) @ a - y).mean()

    p = rng.uniform(0.3, 1, 20)
    exact = np.linalg.eigvalsh(mg.hessian(loss, p).numpy())
    found, bounds = lanczos(lambda q: mg.hvp(loss, p, q).numpy(), rng.standard_normal(20), 20)
    size = np.abs(exact).max()
    assert np.abs(found[[0, -1]] - exact[[0, -1]]).max() < 1e-10 * size  # twenty steps span all twenty dimensions
    assert (np.abs(found[:, None] - exact).min(axis=1) <= bounds + 1e-12 * size).all()


@pytest.mark.parametrize(
    ("call", "word"),
    [
        (lambda: gradient_covariance(np.ones(3)), "gradients"),
        (lambda: gradient_covariance(np.ones((0, 3))), "n > 0"),
        (lambda: preconditioned_covariance(np.ones((3, 2)), np.ones(3), 1.0), "C of shape"),
        (lambda: preconditioned_covariance(np.eye(3), np.ones(2), 1.0), "C of shape"),
        (lambda: preconditioned_covariance(np.eye(3), np.ones((3, 1)), 1.0), "v of shape"),
        (lambda: preconditioned_covariance_composite(np.eye(3), np.ones(3), np.ones(2)), "one number g"),
        (lambda: tangent_basis(np.zeros(3)), "not zero"),
        (lambda: tangent_basis(np.eye(2)), "vector"),
        (lambda: lanczos(lambda x: x, np.zeros(3), 2), "not zero"),
        (lambda: lanczos(lambda x: x, np.ones((2, 2)), 2), "vector"),
        (lambda: lanczos(lambda x: x, np.ones(2), 0), "one step"),
    ],
)
def test_shapes_that_do_not_fit_are_refused(call, word):
    with pytest.raises(ValueError, match=word):
        call()
