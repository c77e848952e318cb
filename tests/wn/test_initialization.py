"""Equations 5 and 6: on the initialization batch every pre-activation has mean 0 and variance 1."""

import copy

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import wn
from minigrad import nn

seeds = st.integers(0, 2**32 - 1)
FORMS = ["plain", "linear", "exp"]
each_form = pytest.mark.parametrize("form", FORMS)
CLOSE = {"rtol": 1e-3, "atol": 1e-3}  # float32 through four layers whose weights have been scaled a hundredfold


def network(seed, bias=True):
    rng = np.random.default_rng(seed)
    return nn.Sequential(
        nn.Conv2d(2, 3, 3, bias=bias, rng=rng), nn.LeakyReLU(0.1), nn.ConvTranspose2d(3, 3, 2, bias=bias, rng=rng),
        nn.LeakyReLU(0.1), nn.Flatten(), nn.Linear(75, 5, bias=bias, rng=rng), nn.ReLU(),
        nn.Linear(5, 4, bias=bias, rng=rng),
    )  # fmt: skip


def weighted(model):
    return [layer for layer in model.modules() if isinstance(layer, (nn.Conv2d, nn.ConvTranspose2d, nn.Linear))]


def formed(model, form, stretch=1.0):
    """The model plain or weight-normalized, with ‖v‖ (or ‖w‖) far from 1."""
    if form != "plain":
        wn.apply_weight_norm(model, form)
    for layer in weighted(model):
        direction = layer.weight if form == "plain" else layer.weight_v
        direction.data = direction.data * np.float32(stretch)
    return model


def batch(seed):
    return (2 + 3 * np.random.default_rng(seed).standard_normal((20, 2, 6, 6))).astype(np.float32)


def pre_activations(model, x):
    """The output of each weighted layer, units in the rows."""
    seen = []
    removals = [
        layer.register_forward_hook(lambda _layer, _inputs, t: seen.append(np.moveaxis(t.numpy(), 1, 0)))
        for layer in weighted(model)
    ]
    model(x)
    for remove in removals:
        remove()
    return [t.reshape(len(t), -1).astype(np.float64) for t in seen]


@each_form
@given(seed=seeds, stretch=st.sampled_from([0.01, 1.0, 70.0]))
def test_every_pre_activation_has_mean_0_and_variance_1(form, seed, stretch):
    model, x = formed(network(seed), form, stretch), batch(seed)
    assert wn.data_dependent_init(model, x) is model
    for t in pre_activations(model, x):
        np.testing.assert_allclose(t.mean(axis=1), 0, **CLOSE)
        np.testing.assert_allclose(t.std(axis=1), 1, **CLOSE)


@each_form
@given(seed=seeds)
def test_without_bias_the_variance_is_1_all_the_same(form, seed):
    model, x = formed(network(seed, bias=False), form, 20.0), batch(seed)
    wn.data_dependent_init(model, x)
    for t in pre_activations(model, x):
        np.testing.assert_allclose(t.std(axis=1), 1, **CLOSE)


@each_form
@given(seed=seeds)
def test_initializing_again_on_the_same_batch_changes_nothing(form, seed):
    model, x = formed(network(seed), form, 5.0), batch(seed)
    wn.data_dependent_init(model, x)
    before = model.state_dict()
    wn.data_dependent_init(model, x)
    for name, value in model.state_dict().items():
        np.testing.assert_allclose(value, before[name], **CLOSE)


@given(seed=seeds, bias=st.booleans())
def test_normalized_or_not_the_function_is_the_same(seed, bias):
    x, other = batch(seed), batch(seed + 1)
    outputs = [wn.data_dependent_init(formed(network(seed, bias), form), x)(other).numpy() for form in FORMS]
    for y in outputs[1:]:
        np.testing.assert_allclose(y, outputs[0], rtol=1e-3, atol=1e-2)


@given(seed=seeds)
def test_directions_are_left_alone(seed):
    model = formed(network(seed), "linear")
    before = [layer.weight_v.numpy().copy() for layer in weighted(model)]
    wn.data_dependent_init(model, batch(seed))
    for layer, v in zip(weighted(model), before, strict=True):
        np.testing.assert_array_equal(layer.weight_v.numpy(), v)


def test_hooks_are_gone_afterwards_and_parameters_float32():
    model = wn.data_dependent_init(network(0), batch(0))
    assert all(not layer._hooks for layer in model.modules())
    assert {p.dtype for p in model.parameters()} == {np.dtype(np.float32)}
    assert all(p.requires_grad for p in model.parameters())


@pytest.mark.parametrize("count", [1, 3, 7, 100])
def test_a_batch_without_variation_is_refused_with_the_layer_s_name(count):
    model = nn.Sequential(nn.Linear(3, 2, rng=np.random.default_rng(0)))
    before = copy.deepcopy(model)
    with pytest.raises(ValueError, match=r"unit 0 of layer '0'"):
        wn.data_dependent_init(model, np.full((count, 3), 0.1, np.float32))
    np.testing.assert_array_equal(model[0].weight.numpy(), before[0].weight.numpy())
    assert not model[0]._hooks


def test_a_normalization_along_another_axis_is_refused():
    layer = wn.WeightNorm(nn.ConvTranspose2d(3, 3, 2), axis=0)  # axis 0 counts the inputs there
    with pytest.raises(ValueError, match="axis"):
        wn.data_dependent_init(layer, np.random.default_rng(0).standard_normal((4, 3, 5, 5)).astype(np.float32))


def test_a_layer_that_runs_twice_is_initialized_by_its_first_run():
    layer = nn.Linear(4, 4, rng=np.random.default_rng(0))
    x = np.random.default_rng(1).standard_normal((50, 4)).astype(np.float32)
    wn.data_dependent_init(nn.Sequential(layer, nn.ReLU(), layer), x)
    np.testing.assert_allclose(layer(x).numpy().std(axis=0), 1, **CLOSE)
