"""Equations 7 and 8."""

import copy
import pickle

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import minigrad as mg
import wn
from minigrad import nn
from tests.devices import given_on_each_device, host, on
from wn.mean_only_batch_norm import mean_only_gradients

seeds = st.integers(0, 2**32 - 1)
shapes = st.one_of(
    st.tuples(st.integers(2, 9), st.integers(1, 4)),
    st.tuples(st.integers(1, 4), st.integers(1, 4), st.integers(1, 4), st.integers(2, 4)),
)
dtypes = st.sampled_from([np.float32, np.float64])


def layer_and_batch(seed, image, momentum=0.1):
    rng = np.random.default_rng(seed)
    layer = wn.MeanOnlyBatchNorm(3, momentum)
    layer.bias.data = rng.standard_normal(3).astype(np.float32)
    t = 2 + rng.standard_normal((4, 3, 2, 5) if image else (4, 3))
    return layer, t, ((0, 2, 3) if image else (0,)), ((3, 1, 1) if image else (3,))


@given_on_each_device(seed=seeds, image=st.booleans())
def test_equation_7(seed, image, device):
    layer, t, axes, shape = layer_and_batch(seed, image)
    y = layer.to(device)(mg.tensor(t, device=device))
    np.testing.assert_allclose(
        y.numpy(), t - t.mean(axes, keepdims=True) + layer.bias.numpy().reshape(shape), rtol=1e-12, atol=1e-13
    )
    np.testing.assert_allclose(y.numpy().mean(axes), layer.bias.numpy(), rtol=1e-12, atol=1e-13)


@given_on_each_device(seed=seeds, image=st.booleans())
def test_equation_8_the_gradient_is_centered(seed, image, device):
    layer, t, axes, _ = layer_and_batch(seed, image)
    t = mg.tensor(t, requires_grad=True, device=device)
    g = np.random.default_rng(seed + 1).standard_normal(t.shape)
    grad_t, grad_b = mg.grad(layer.to(device)(t), [t, layer.bias], on(device, g))
    for found, written in zip((grad_t, grad_b), mean_only_gradients(on(device, g)), strict=True):
        np.testing.assert_allclose(found.numpy(), host(written), rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(grad_t.numpy(), g - g.mean(axes, keepdims=True), rtol=1e-12, atol=1e-13)
    np.testing.assert_allclose(grad_b.numpy(), g.sum(axes), rtol=1e-5, atol=1e-5)  # the bias is float32


@given(seed=seeds, shape=shapes, dtype=dtypes)
def test_equation_8_written_out_is_what_autograd_finds_and_adds_up_to_zero(seed, shape, dtype):
    rng = np.random.default_rng(seed)
    layer = wn.MeanOnlyBatchNorm(shape[1])
    t = mg.tensor(rng.standard_normal(shape).astype(dtype), requires_grad=True)
    g = rng.standard_normal(shape).astype(dtype)
    found = mg.grad(layer(t), [t, layer.bias], g)
    written = mean_only_gradients(g)
    assert found[0].dtype == written[0].dtype == written[1].dtype == dtype
    # At most 64 numbers of size 1 to 4 are added up: 64 roundings. The bias, and so its gradient, is float32.
    tolerance = 64 * 4 * np.finfo(dtype).eps
    np.testing.assert_allclose(found[0].numpy(), written[0], rtol=0, atol=tolerance)
    np.testing.assert_allclose(found[1].numpy(), written[1], rtol=0, atol=64 * 4 * np.finfo(np.float32).eps)
    axes = tuple(axis for axis in range(len(shape)) if axis != 1)
    for grad_t in (found[0].numpy(), written[0]):
        np.testing.assert_allclose(grad_t.sum(axes), 0, atol=64 * tolerance)
    # Centring twice is centring once, and it has nothing to say about the bias any more.
    again, nothing = mean_only_gradients(written[0])
    np.testing.assert_allclose(again, written[0], rtol=0, atol=tolerance)
    np.testing.assert_allclose(nothing, 0, atol=64 * tolerance)


@pytest.mark.parametrize("shape", [(), (3,), (4, 3, 2), (0, 3), (2, 3, 0, 4)])
def test_equation_8_refuses_gradients_of_other_shapes_or_without_values(shape):
    with pytest.raises(ValueError, match="mean_only_gradients"):
        mean_only_gradients(np.zeros(shape))


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("shape", [(4, 2), (2, 2, 2, 3)])
def test_its_gradients_match_finite_differences_to_second_order(shape, training):
    layer = wn.MeanOnlyBatchNorm(2).train(training)
    t = np.random.default_rng(0).standard_normal(shape)
    mg.testing.check_grads(lambda t: mg.tanh(layer(t)), (t,), order=2)


@given(seed=seeds, shift=st.floats(-100, 100))
def test_a_shift_of_the_pre_activations_has_no_effect_in_training(seed, shift):
    layer, t, _, _ = layer_and_batch(seed, True)
    np.testing.assert_allclose(layer(mg.tensor(t + shift)).numpy(), layer(mg.tensor(t)).numpy(), rtol=1e-10, atol=1e-11)


@given(seed=seeds, convolution=st.booleans(), normalized=st.booleans())
def test_a_bias_of_the_layer_before_has_no_effect_and_no_gradient(seed, convolution, normalized):
    rng = np.random.default_rng(seed)
    before = nn.Conv2d(2, 3, 2, rng=rng) if convolution else nn.Linear(2, 3, rng=rng)
    if normalized:
        wn.apply_weight_norm(before)
    model = nn.Sequential(before, wn.MeanOnlyBatchNorm(3))
    x = rng.standard_normal((4, 2, 3, 3) if convolution else (5, 2)).astype(np.float32)
    y = model(mg.tensor(x))
    gradients = dict(
        zip((n for n, _ in model.named_parameters()), mg.grad(mg.square(y).sum(), model.parameters()), strict=True)
    )
    # float32: at most 20 numbers of size up to 10 that cancel.
    np.testing.assert_allclose(gradients["0.bias"].numpy(), 0, atol=20 * 10 * 1.2e-7)
    weight = "0.weight_v" if normalized else "0.weight"
    assert np.abs(gradients[weight].numpy()).max() > 1e-3
    before.bias.data = before.bias.data + np.float32(2)
    np.testing.assert_allclose(model(mg.tensor(x)).numpy(), y.numpy(), rtol=0, atol=1e-5)


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


@given(seed=seeds, momentum=st.floats(0.05, 0.9), count=st.integers(1, 40))
def test_the_running_mean_comes_closer_to_a_constant_mean_by_a_fixed_factor(seed, momentum, count):
    layer, t, axes, _ = layer_and_batch(seed, False, momentum)
    for _ in range(count):
        layer(mg.tensor(t))
    covered = 1 - (1 - momentum) ** count
    # 40 roundings to float32 of numbers up to the size of the mean.
    wanted = covered * t.mean(axes)
    np.testing.assert_allclose(layer.running_mean.numpy(), wanted, rtol=0, atol=40 * 1.2e-7 * np.abs(wanted).max())


@given(seed=seeds)
def test_the_running_mean_comes_to_the_mean_of_the_data_within_the_noise_of_its_window(seed):
    momentum, size, rng = 0.1, 16, np.random.default_rng(seed)
    layer = wn.MeanOnlyBatchNorm(3, momentum)
    mean, deviation = np.array([-2.0, 0.0, 5.0]), np.array([1.0, 0.5, 3.0])
    for _ in range(150):  # 0.9^150 of the way is left: 1e-7
        layer(mg.tensor(mean + deviation * rng.standard_normal((size, 3))))
    # Var = σ²/N · momentum/(2 - momentum); six standard deviations.
    allowed = 6 * deviation * np.sqrt(momentum / (2 - momentum) / size)
    assert (np.abs(layer.running_mean.numpy() - mean) < allowed).all()


@given(seed=seeds, image=st.booleans(), dtype=dtypes)
def test_the_input_s_dtype_is_kept_in_training_and_evaluation(seed, image, dtype):
    layer, t, _, _ = layer_and_batch(seed, image)
    for x in (t.astype(dtype), mg.tensor(t.astype(dtype))):  # arrays are taken too
        assert layer.train()(x).dtype == layer.eval()(x).dtype == dtype
        assert layer.running_mean.dtype == layer.bias.dtype == np.float32


@pytest.mark.parametrize("shape", [(1, 3), (1, 3, 1, 1), (0, 3), (0, 3, 2, 2), (2, 3, 0, 2)])
def test_training_on_less_than_two_values_a_channel_is_refused_and_leaves_the_running_mean(shape):
    layer = wn.MeanOnlyBatchNorm(3)
    with pytest.raises(ValueError, match=r"MeanOnlyBatchNorm.*larger batch or eval"):
        layer(np.ones(shape, np.float32))
    np.testing.assert_array_equal(layer.running_mean.numpy(), 0)
    t = mg.tensor(np.ones(shape, np.float32), requires_grad=True)
    y = layer.eval()(t)  # evaluation takes any number, none included
    assert y.shape == shape
    np.testing.assert_array_equal(mg.grad(y.sum(), t).numpy(), np.ones(shape))


def test_one_picture_is_enough_if_it_has_two_places():
    t = np.array([1.0, 5.0]).reshape(1, 1, 1, 2)
    np.testing.assert_array_equal(wn.MeanOnlyBatchNorm(1)(t).numpy().ravel(), [-2, 2])


def test_its_state_has_a_bias_and_a_running_mean_and_no_scale():
    assert list(wn.MeanOnlyBatchNorm(3).state_dict()) == ["bias", "running_mean"]


@pytest.mark.parametrize("how", ["deepcopy", "pickle", "state dict"])
def test_a_copy_computes_the_same_and_lives_on_its_own(how):
    layer, t, _, _ = layer_and_batch(0, True, momentum=0.3)
    layer(t)
    if how == "state dict":
        copied = wn.MeanOnlyBatchNorm(3, momentum=0.3)
        copied.load_state_dict(layer.state_dict())
    else:
        copied = copy.deepcopy(layer) if how == "deepcopy" else pickle.loads(pickle.dumps(layer))
    assert copied.momentum == layer.momentum
    np.testing.assert_array_equal(copied.eval()(t).numpy(), layer.eval()(t).numpy())
    before = layer.state_dict()
    copied.train()(t + 1)
    copied.bias.data = copied.bias.data + 1
    for name, value in layer.state_dict().items():
        np.testing.assert_array_equal(value, before[name])
        assert not np.array_equal(copied.state_dict()[name], value)


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("shape", [(4, 2), (4,), (4, 3, 2), (4, 2, 3, 3)])
def test_shapes_that_do_not_fit_are_refused(shape, training):
    with pytest.raises(ValueError, match=r"MeanOnlyBatchNorm: expected x of shape \(N, 3\)"):
        wn.MeanOnlyBatchNorm(3).train(training)(np.zeros(shape))
