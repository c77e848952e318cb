"""Log-densities: against their definitions in exact or high precision, adding up to 1, and finite at extreme scales."""

import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import minigrad as mg
from minigrad.nn import densities
from minigrad.testing import check_grads
from tests.devices import given_on_each_device, on

numbers = st.floats(-4, 4)
seeds = st.integers(0, 2**32 - 1)


@given(numbers, numbers, st.floats(-3, 3))
def test_normal_log_density_is_the_formula(x, mean, log_scale):
    wanted = -0.5 * ((x - mean) / math.exp(log_scale)) ** 2 - math.log(math.sqrt(2 * math.pi) * math.exp(log_scale))
    assert densities.normal_log_density(np.array(x), mean, log_scale) == pytest.approx(wanted, rel=1e-12)


@given(numbers, st.floats(-2, 2), numbers, st.floats(-2, 2))
def test_normal_kl_is_the_expected_difference_of_log_densities(mean, log_scale, prior_mean, prior_log_scale):
    nodes, weights = np.polynomial.hermite_e.hermegauss(5)  # exact for squares
    x = mean + math.exp(log_scale) * nodes
    difference = densities.normal_log_density(x, mean, log_scale) - densities.normal_log_density(
        x, prior_mean, prior_log_scale
    )
    wanted = (weights * difference).sum() / weights.sum()
    found = densities.normal_kl(np.array(mean), log_scale, prior_mean, prior_log_scale)
    assert found == pytest.approx(wanted, rel=1e-9, abs=1e-9) and found >= -1e-12


def test_normal_kl_is_zero_for_equal_ones():
    assert densities.normal_kl(np.zeros(3), np.zeros(3)).tolist() == [0, 0, 0]
    assert abs(densities.normal_kl(np.array(1.5), 0.3, 1.5, 0.3)) < 1e-15


@given(st.integers(0, 1), st.floats(-30, 30))
def test_bernoulli_log_probability_is_the_formula(x, logit):
    p = 1 / (1 + Fraction(math.exp(-logit)))
    wanted = math.log(p if x else 1 - p)
    assert densities.bernoulli_log_probability(np.array(float(x)), logit) == pytest.approx(wanted, rel=1e-12)


@settings(max_examples=40)
@given(st.floats(-1, 2), st.floats(-8, 6))
def test_logistic_probabilities_of_all_256_values_add_up_to_one(mean, log_scale):
    x = np.arange(256) / 255
    log_p = densities.logistic_log_probability(x, np.full(256, mean), log_scale)
    assert (log_p <= 0).all() and np.exp(log_p).sum() == pytest.approx(1, rel=1e-12)


@given(st.integers(1, 254), st.floats(-0.5, 1.5), st.floats(-3, 2))
def test_logistic_log_probability_is_the_difference_of_the_distribution_function(k, mean, log_scale):
    def below(x):
        return 1 / (1 + math.exp(-(x - mean) / math.exp(log_scale)))

    wanted = below((k + 0.5) / 255) - below((k - 0.5) / 255)
    found = math.exp(densities.logistic_log_probability(np.array(k / 255), np.array(mean), log_scale))
    assert found == pytest.approx(wanted, rel=1e-9)


@pytest.mark.parametrize("log_scale", [-50.0, -3.0, 50.0])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("mean", [-1e4, 0.3, 1e4])
@pytest.mark.parametrize("x", [0.0, 100 / 255, 1.0])
def test_logistic_log_probability_is_finite_to_second_order_at_extreme_scales_and_means(x, mean, dtype, log_scale):
    def function(arguments):
        return densities.logistic_log_probability(np.array(x, dtype), arguments[0], arguments[1])

    arguments = mg.tensor(np.array([mean, log_scale], dtype))
    value, gradient = function(arguments), mg.jacobian(function, arguments)
    hessian = mg.hessian(function, arguments)
    assert value.dtype == gradient.dtype == hessian.dtype == dtype
    assert all(np.isfinite(t.numpy()).all() for t in (value, gradient, hessian))


@given(st.floats(10, 50), st.floats(-2, 2))
def test_a_wide_logistic_has_the_slope_and_the_curvature_that_its_limit_has(log_scale, mean):
    """log P = log(w/4s) up to 1/s, so its derivatives by log s are -1 and 0."""
    scale = mg.tensor(np.array(log_scale))

    def function(scale):
        return densities.logistic_log_probability(np.array(0.4), mean, scale)

    small = 10 * math.exp(-log_scale) + 1e-15
    assert function(scale).item() == pytest.approx(-math.log(4 * 255) - log_scale, rel=1e-12, abs=small)
    assert mg.jacobian(function, scale).item() == pytest.approx(-1, abs=small)
    assert mg.hessian(function, scale).item() == pytest.approx(0, abs=small)


@given(st.floats(-50, -10), st.floats(0.05, 1e4))
def test_a_narrow_logistic_far_away_falls_off_exponentially(log_scale, distance):
    """log P = -d/s, with d the distance from μ to the nearer edge: derivatives by log s are d/s and -d/s."""
    scale, x = mg.tensor(np.array(log_scale)), np.array(0.4)

    def function(scale):
        return densities.logistic_log_probability(x, x + 0.5 / 255 + distance, scale)

    wanted = distance * math.exp(-log_scale)
    for found, sign in ((function(scale), -1), (mg.jacobian(function, scale), 1), (mg.hessian(function, scale), -1)):
        assert found.item() == pytest.approx(sign * wanted, rel=1e-9)


@given(st.integers(0, 255), st.floats(-0.5, 1.5), st.floats(-4, 2))
def test_only_ratios_matter(k, mean, log_scale):
    """Bins of 1/256 around (k + ½)/256, and bins of 1 around k."""
    scaled = densities.logistic_log_probability(
        np.array((k + 0.5) / 256),
        (255 * mean + 0.5) / 256,
        log_scale + math.log(255 / 256),
        1 / 256,
        0.5 / 256,
        255.5 / 256,
    )
    bytes_ = densities.logistic_log_probability(np.array(float(k)), 255 * mean, log_scale + math.log(255), 1, 0, 255)
    found = densities.logistic_log_probability(np.array(k / 255), mean, log_scale)
    np.testing.assert_allclose([scaled, bytes_], found, rtol=1e-9)


@pytest.mark.parametrize("log_scale", [-50.0, 50.0])
def test_normal_densities_are_finite_at_extreme_scales(log_scale):
    for function in (densities.normal_log_density, densities.normal_kl):
        arguments = (0.5, 1.0, log_scale) if function is densities.normal_log_density else (1.0, log_scale)
        tensors = [mg.tensor(np.array(v), requires_grad=True) for v in arguments]
        value = function(*tensors)
        value.backward()
        assert np.isfinite(value.item()) and all(np.isfinite(t.grad.item()) for t in tensors)


def test_a_narrow_logistic_knows_its_bin():
    log_p = densities.logistic_log_probability(np.arange(256) / 255, np.full(256, 100 / 255), -50.0)
    assert log_p[100] == 0 and (np.delete(log_p, 100) < -1e15).all()


FUNCTIONS = {
    "normal_log_density": (densities.normal_log_density, 3),
    "normal_kl": (densities.normal_kl, 4),
    "bernoulli_log_probability": (densities.bernoulli_log_probability, 2),
    "logistic_log_probability": (lambda m, s: densities.logistic_log_probability(np.array([0, 0.2, 1]), m, s), 2),
}


@pytest.mark.parametrize("name", FUNCTIONS)
def test_gradients_to_second_order(name):
    function, count = FUNCTIONS[name]
    rng = np.random.default_rng(0)
    check_grads(function, [rng.uniform(0.1, 0.9, 3) for _ in range(count)])


@given_on_each_device(seed=seeds)
def test_tensors_give_what_arrays_give(seed, device):
    rng = np.random.default_rng(seed)
    a, b, c, d = rng.standard_normal((4, 5)).astype(np.float32)
    for function, arguments in [
        (densities.normal_log_density, (a, b, c)),
        (densities.normal_kl, (a, b, c, d)),
        (densities.bernoulli_log_probability, (abs(a) % 1, b)),
        (densities.logistic_log_probability, (abs(a) % 1, b, c)),
    ]:
        found = function(*(mg.tensor(on(device, x)) for x in arguments))
        assert isinstance(found, mg.Tensor) and found.device == device and found.dtype == np.float32
        np.testing.assert_allclose(found.numpy(), function(*arguments), rtol=1e-5, atol=1e-5)
