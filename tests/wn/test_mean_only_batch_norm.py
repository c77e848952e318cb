"""Equations 7 and 8."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import minigrad as mg
import wn

seeds = st.integers(0, 2**32 - 1)


def layer_and_batch(seed, image, momentum=0.1):
    rng = np.random.default_rng(seed)
    layer = wn.MeanOnlyBatchNorm(3, momentum)
    layer.bias.data = rng.standard_normal(3).astype(np.float32)
    t = 2 + rng.standard_normal((4, 3, 2, 5) if image else (4, 3))
    return layer, t, ((0, 2, 3) if image else (0,)), ((3, 1, 1) if image else (3,))


@given(seed=seeds, image=st.booleans())
def test_equation_7(seed, image):
    layer, t, axes, shape = layer_and_batch(seed, image)
    y = layer(mg.tensor(t))
    np.testing.assert_allclose(
        y.numpy(), t - t.mean(axes, keepdims=True) + layer.bias.numpy().reshape(shape), rtol=1e-12
    )
    np.testing.assert_allclose(y.numpy().mean(axes), layer.bias.numpy(), rtol=1e-12, atol=1e-13)


@given(seed=seeds, image=st.booleans())
def test_equation_8_the_gradient_is_centered(seed, image):
    layer, t, axes, _ = layer_and_batch(seed, image)
    t = mg.tensor(t, requires_grad=True)
    g = np.random.default_rng(seed + 1).standard_normal(t.shape)
    grad_t, grad_b = mg.grad(layer(t), [t, layer.bias], g)
    np.testing.assert_allclose(grad_t.numpy(), g - g.mean(axes, keepdims=True), rtol=1e-12, atol=1e-13)
    np.testing.assert_allclose(grad_b.numpy(), g.sum(axes), rtol=1e-5, atol=1e-5)  # the bias is float32


@given(seed=seeds, shift=st.floats(-100, 100))
def test_a_shift_of_the_pre_activations_has_no_effect_in_training(seed, shift):
    layer, t, _, _ = layer_and_batch(seed, True)
    np.testing.assert_allclose(layer(mg.tensor(t + shift)).numpy(), layer(mg.tensor(t)).numpy(), rtol=1e-10, atol=1e-11)


@given(seed=seeds, image=st.booleans(), momentum=st.sampled_from([0.1, 0.5, 1.0]))
def test_the_running_mean_is_used_in_evaluation_and_followed_in_training_only(seed, image, momentum):
    layer, t, axes, shape = layer_and_batch(seed, image, momentum)
    running = 0
    for k in range(3):
        layer(mg.tensor(t + k))
        running = (1 - momentum) * running + momentum * (t + k).mean(axes)
    np.testing.assert_allclose(layer.running_mean.numpy(), running, rtol=1e-5)
    before = layer.running_mean.numpy().copy()
    y = layer.eval()(mg.tensor(t)).numpy()
    np.testing.assert_allclose(y, t + (layer.bias.numpy() - before).reshape(shape), rtol=1e-6, atol=1e-6)
    np.testing.assert_array_equal(layer.running_mean.numpy(), before)


def test_float32_stays_float32_and_arrays_are_taken_too():
    layer, t, _, _ = layer_and_batch(0, True)
    for x in (t.astype(np.float32), mg.tensor(t.astype(np.float32))):
        assert layer(x).dtype == layer.running_mean.dtype == np.float32
    layer.eval()
    assert layer(t.astype(np.float32)).dtype == np.float32


def test_its_state_has_a_bias_and_a_running_mean_and_no_scale():
    assert list(wn.MeanOnlyBatchNorm(3).state_dict()) == ["bias", "running_mean"]


@pytest.mark.parametrize("shape", [(4, 2), (4,), (4, 3, 2), (4, 2, 3, 3)])
def test_shapes_that_do_not_fit_are_refused(shape):
    with pytest.raises(ValueError, match="MeanOnlyBatchNorm"):
        wn.MeanOnlyBatchNorm(3)(np.zeros(shape))
