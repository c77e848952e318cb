"""Masked layers: an output sees what the mask lets it see, before training and after, normalized or not."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import minigrad as mg
import wn
from minigrad import nn, optim
from tests.devices import given_on_each_device, on

seeds = st.integers(0, 2**32 - 1)


def layer_of(kind, rng, strict=False):
    if kind == "dense":
        return nn.MaskedLinear(nn.autoregressive_mask(6, 4, strict=False, variables=2), rng=rng), (5, 4)
    return nn.MaskedConv2d(nn.causal_mask(4, 2, 3, strict), padding=1, rng=rng), (2, 2, 4, 5)


@given_on_each_device(seed=seeds, kind=st.sampled_from(["dense", "convolution"]), normalized=st.booleans())
def test_the_layer_is_an_ordinary_one_with_zeros_in_its_weight(seed, kind, normalized, device):
    rng = np.random.default_rng(seed)
    layer, shape = layer_of(kind, rng)
    plain = nn.Linear(4, 6) if kind == "dense" else nn.Conv2d(2, 4, 3, padding=1)
    plain.weight.data, plain.bias.data = layer.weight.numpy() * layer.mask.numpy(), layer.bias.numpy()
    assert (layer.weight.numpy() == plain.weight.numpy()).all()
    if normalized:
        wn.WeightNorm(layer)
    x = rng.standard_normal(shape).astype(np.float32)
    plain, layer = plain.to(device), layer.to(device)
    np.testing.assert_allclose(layer(on(device, x)).numpy(), plain(on(device, x)).numpy(), rtol=1e-5, atol=1e-5)


OPTIMIZERS = {
    "SGD": lambda p: optim.SGD(p, 0.1, momentum=0.9, weight_decay=0.1),
    "Adam": lambda p: optim.Adam(p, 0.1, weight_decay=0.1),
    "AdamW": lambda p: optim.AdamW(p, 0.1),
    "Adamax": lambda p: optim.Adamax(p, 0.1),
    "RMSprop": lambda p: optim.RMSprop(p, 0.1),
}


@pytest.mark.parametrize("kind", ["dense", "convolution"])
@pytest.mark.parametrize("normalized", [False, True])
@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_masked_weights_stay_zero_whatever_steps_are_made(optimizer, kind, normalized):
    rng = np.random.default_rng(0)
    layer, shape = layer_of(kind, rng)
    if normalized:
        wn.WeightNorm(layer)
    stepper = OPTIMIZERS[optimizer](layer.parameters())
    for _ in range(5):
        loss = mg.square(layer(mg.tensor(rng.standard_normal(shape), dtype=np.float32)) - 1).mean()
        loss.backward()
        stepper.step()
        stepper.zero_grad()
    held = layer.weight_v if normalized else layer.weight
    hidden = layer.mask.numpy() == 0
    assert (held.numpy()[hidden] == 0).all() and (layer.weight.numpy()[hidden] == 0).all()
    assert (held.numpy()[~hidden] != 0).all()
    if normalized:
        lengths = np.sqrt((layer.weight.numpy() ** 2).reshape(len(layer.mask.numpy()), -1).sum(axis=1))
        np.testing.assert_allclose(lengths, abs(layer.weight_g.numpy().ravel()), rtol=1e-5)


@given(st.integers(1, 6), st.integers(1, 3), st.integers(1, 3), st.booleans())
def test_the_jacobian_of_a_dense_mask_is_triangular_in_the_variables(variables, per_output, per_input, strict):
    mask = nn.autoregressive_mask(variables * per_output, variables * per_input, strict, variables)
    assert mask.shape == (variables * per_output, variables * per_input) and mask.dtype == np.float32
    for i in range(mask.shape[0]):
        for j in range(mask.shape[1]):
            output, seen = i // per_output, j // per_input
            assert mask[i, j] == (seen < output if strict else seen <= output)


@settings(max_examples=20)
@given(st.integers(1, 3), st.booleans(), st.sampled_from([1, 3, (3, 5), 5]), seeds)
def test_a_place_sees_only_what_comes_before_it(channels, strict, kernel, seed):
    if strict and kernel == 1:
        return  # the first channel would see nothing at all
    kh, kw = (kernel, kernel) if isinstance(kernel, int) else kernel
    layer = nn.MaskedConv2d(nn.causal_mask(channels, channels, kernel, strict), padding=(kh // 2, kw // 2))
    layer.weight.data = np.abs(layer.weight.numpy()) + layer.mask.numpy()  # no weight that is used is 0
    x = np.random.default_rng(seed).standard_normal((channels, 4, 5)).astype(np.float32)
    jacobian = mg.jacobian(lambda t: layer(t.reshape(1, channels, 4, 5)).reshape(-1), mg.tensor(x.ravel())).numpy()
    order = np.arange(channels * 20).reshape(channels, 20).T.ravel()  # by place, then by channel
    jacobian = jacobian[np.ix_(order, order)]
    assert (np.triu(jacobian, 0 if strict else 1) == 0).all()
    if not strict:
        assert (np.diag(jacobian) != 0).all()


def test_masks_that_make_no_layer_are_refused():
    with pytest.raises(ValueError, match="output 0 without a weight"):
        nn.MaskedLinear(nn.autoregressive_mask(3, 3, strict=True))
    with pytest.raises(ValueError, match="hold 0 and 1"):
        nn.MaskedLinear(np.full((2, 2), 0.5))
    with pytest.raises(ValueError, match="4 axes"):
        nn.MaskedConv2d(np.ones((2, 2)))
    with pytest.raises(ValueError, match="odd sides"):
        nn.causal_mask(2, 2, 4, strict=False)
    with pytest.raises(ValueError, match="features"):
        nn.MaskedLinear(np.ones((2, 3)))(mg.tensor(np.ones((1, 2), np.float32)))


def test_data_dependent_initialization_reaches_masked_layers():
    rng = np.random.default_rng(1)
    for kind in ("dense", "convolution"):
        layer, shape = layer_of(kind, rng)
        wn.WeightNorm(layer)
        x = rng.standard_normal((500, *shape[1:])).astype(np.float32)
        wn.data_dependent_init(layer, x)
        y = layer(mg.tensor(x)).numpy()
        axes = (0, *range(2, y.ndim))
        np.testing.assert_allclose(y.mean(axis=axes), 0, atol=1e-5)
        np.testing.assert_allclose(y.std(axis=axes), 1, rtol=1e-5)
