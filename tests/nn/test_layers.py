"""Each layer against its formula in NumPy."""

import numpy as np
import pytest
from hypothesis import strategies as st

import minigrad as mg
from minigrad import nn
from minigrad.nn import functional as F
from tests.devices import given_on_each_device, host, is_on, on

seeds = st.integers(0, 2**32 - 1)
TOLERANCE = {"rtol": 1e-5, "atol": 1e-5}  # float32, ε = 1.2e-7, sums of up to a hundred numbers of size 1


def normal(seed, *shape):
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


@given_on_each_device(seed=seeds, lead=st.sampled_from([(), (3,), (2, 3), (0,)]), bias=st.booleans())
def test_linear(seed, lead, bias, device):
    layer, x = nn.Linear(4, 2, bias=bias, rng=np.random.default_rng(seed)).to(device), normal(seed, *lead, 4)
    wanted = x @ layer.weight.numpy().T + (layer.bias.numpy() if bias else 0)
    y = layer(on(device, x))
    np.testing.assert_allclose(y.numpy(), wanted, **TOLERANCE)
    assert y.shape == (*lead, 2) and y.device == device


@pytest.mark.parametrize("layer", [nn.Linear(100, 50), nn.Conv2d(25, 50, 2), nn.ConvTranspose2d(50, 25, 2)])
def test_weights_start_uniform_with_the_fan_in_as_bound(layer):
    weight = layer.weight.numpy()
    assert weight.dtype == np.float32 and np.abs(weight).max() <= 0.1
    assert weight.var() == pytest.approx(0.1**2 / 3, rel=0.1)  # 5000 numbers: standard error 1.3 %


def test_layers_refuse_other_numbers_of_features():
    x = np.ones((2, 5), np.float32)
    for layer in (nn.Linear(4, 2), nn.LayerNorm(4), nn.BatchNorm(4), nn.GroupNorm(2, 4)):
        with pytest.raises(ValueError, match=type(layer).__name__):
            layer(x)


@given_on_each_device(seed=seeds, stride=st.integers(1, 2), padding=st.integers(0, 2), bias=st.booleans())
def test_convolutions_are_the_functional_ones_with_their_parameters(seed, stride, padding, bias, device):
    rng, x = np.random.default_rng(seed), on(device, normal(seed, 2, 3, 5, 5))
    layer = nn.Conv2d(3, 4, 3, stride, padding, bias, rng).to(device)
    wanted = F.conv2d(x, layer.weight, None, stride, padding).numpy() + (
        layer.bias.numpy()[:, None, None] if bias else 0
    )
    np.testing.assert_allclose(layer(x).numpy(), wanted, **TOLERANCE)
    layer = nn.ConvTranspose2d(3, 4, 3, stride, padding, stride - 1, bias, rng).to(device)
    wanted = F.conv_transpose2d(x, layer.weight, None, stride, padding, stride - 1).numpy()
    wanted = wanted + (layer.bias.numpy()[:, None, None] if bias else 0)
    np.testing.assert_allclose(layer(x).numpy(), wanted, **TOLERANCE)
    assert wanted.shape[2:] == tuple(2 * [4 * stride - 2 * padding + 3 + stride - 1])


@given_on_each_device(seed=seeds, image=st.booleans())
def test_batch_norm(seed, image, device):
    x = 3 * normal(seed, *((4, 2, 3, 3) if image else (4, 2))) + 1
    axes, shape = ((0, 2, 3), (1, 2, 1, 1)) if image else ((0,), (1, 2))
    layer = nn.BatchNorm(2, momentum=0.3, eps=0.1)
    layer.weight.data, layer.bias.data = normal(seed + 1, 2), normal(seed + 2, 2)
    layer.to(device)
    gamma, beta = layer.weight.numpy().reshape(shape), layer.bias.numpy().reshape(shape)
    mean, var = x.mean(axes, dtype=float), x.var(axes, dtype=float)
    y = layer(on(device, x)).numpy()
    wanted = (x - mean.reshape(shape)) / np.sqrt(var.reshape(shape) + 0.1) * gamma + beta
    np.testing.assert_allclose(y, wanted, **TOLERANCE)
    n = x.size // 2
    np.testing.assert_allclose(layer.running_mean.numpy(), 0.3 * mean, **TOLERANCE)
    np.testing.assert_allclose(layer.running_var.numpy(), 0.7 + 0.3 * var * n / (n - 1), **TOLERANCE)
    running_mean, running_var = (b.numpy().reshape(shape) for b in layer.buffers())
    wanted = (x - running_mean) / np.sqrt(running_var + 0.1) * gamma + beta
    np.testing.assert_allclose(layer.eval()(on(device, x)).numpy(), wanted, **TOLERANCE)
    np.testing.assert_array_equal(layer.running_mean.numpy().reshape(shape), running_mean)  # eval changes nothing


def test_batch_norm_s_running_averages_converge():
    layer, x = nn.BatchNorm(2), normal(0, 50, 2)
    for _ in range(200):
        layer(x)
    np.testing.assert_allclose(layer.running_mean.numpy(), x.mean(axis=0), **TOLERANCE)
    np.testing.assert_allclose(layer.running_var.numpy(), x.var(axis=0, ddof=1), **TOLERANCE)


def test_batch_norm_does_not_train_on_a_single_value():
    with pytest.raises(ValueError, match="eval"):
        nn.BatchNorm(2)(np.ones((1, 2), np.float32))


@given_on_each_device(seed=seeds)
def test_layer_norm(seed, device):
    layer, x = nn.LayerNorm(5, eps=0.1), normal(seed, 2, 3, 5)
    layer.weight.data, layer.bias.data = normal(seed + 1, 5), normal(seed + 2, 5)
    wanted = (x - x.mean(-1, keepdims=True)) / np.sqrt(x.var(-1, keepdims=True) + 0.1)
    y = layer.to(device)(on(device, x))
    np.testing.assert_allclose(y.numpy(), wanted * layer.weight.numpy() + layer.bias.numpy(), **TOLERANCE)


@given_on_each_device(seed=seeds, groups=st.sampled_from([1, 2, 3, 6]), image=st.booleans())
def test_group_norm(seed, groups, image, device):
    layer, x = nn.GroupNorm(groups, 6, eps=0.1), 3 * normal(seed, *((2, 6, 3, 4) if image else (2, 6))) + 1
    layer.weight.data, layer.bias.data = normal(seed + 1, 6), normal(seed + 2, 6)
    column, wanted = (6, 1, 1) if image else (6,), np.empty_like(x)
    for example in range(2):
        for members in np.split(np.arange(6), groups):
            part = x[example, members].astype(float)
            wanted[example, members] = (part - part.mean()) / np.sqrt(part.var() + 0.1)
    wanted = wanted * layer.weight.numpy().reshape(column) + layer.bias.numpy().reshape(column)
    layer.to(device)
    np.testing.assert_allclose(layer(on(device, x)).numpy(), wanted, **TOLERANCE)
    alone = [layer(on(device, x[i : i + 1])).numpy() for i in range(2)]  # other examples do not count
    np.testing.assert_allclose(np.concatenate(alone), wanted, **TOLERANCE)


@given_on_each_device(seed=seeds, image=st.booleans())
def test_with_one_group_it_is_layer_norm_over_all_axes_and_it_ignores_the_scale_of_its_input(seed, image, device):
    x = on(device, normal(seed, *((3, 4, 2, 2) if image else (3, 4))))
    by_layer = nn.LayerNorm(x[0].size).to(device)(x.reshape(3, -1)).numpy().reshape(x.shape)
    group = nn.GroupNorm(1, 4, eps=1e-5).to(device)
    np.testing.assert_allclose(group(x).numpy(), by_layer, **TOLERANCE)
    group.eps = 0.0
    np.testing.assert_allclose(group(1000 * x).numpy(), group(x).numpy(), **TOLERANCE)


@pytest.mark.parametrize("shape", [(3, 4), (2, 4, 3, 2)])
def test_group_norm_s_gradients_to_second_order(shape):
    rng = np.random.default_rng(0)
    layer, x, gamma, beta = nn.GroupNorm(2, 4), *(rng.standard_normal(s) for s in (shape, 4, 4))

    def f(x, gamma, beta):
        layer.compute("weight", lambda _: gamma)
        layer.compute("bias", lambda _: beta)
        return layer(x)

    mg.testing.check_grads(f, (x, gamma, beta), order=2)


@pytest.mark.parametrize("shape", [(0, 4), (0, 4, 3, 3), (2, 4, 0, 3)])
def test_group_norm_of_nothing(shape):
    layer, x = nn.GroupNorm(2, 4), mg.tensor(np.ones(shape, np.float32), requires_grad=True)
    y = layer(x)
    y.sum().backward()
    assert y.shape == x.grad.shape == shape
    assert (layer.weight.grad.numpy() == 0).all() and layer.bias.grad.shape == (4,)


def test_group_norm_refuses_groups_that_are_not_equal():
    for groups in (0, 3, -1):
        with pytest.raises(ValueError, match="equal groups"):
            nn.GroupNorm(groups, 4)


STATELESS = {
    "ReLU": (nn.ReLU(), lambda x: np.maximum(x, 0)),
    "LeakyReLU": (nn.LeakyReLU(0.1), lambda x: np.where(x > 0, x, 0.1 * x)),
    "ELU": (nn.ELU(0.5), lambda x: np.where(x > 0, x, 0.5 * (np.exp(x) - 1))),
    "Flatten": (nn.Flatten(), lambda x: x.reshape(len(x), -1)),
    "MaxPool2d": (nn.MaxPool2d(2), lambda x: x.reshape(2, 3, 2, 2, 2, 2).max((3, 5))),
    "AvgPool2d": (nn.AvgPool2d(2), lambda x: x.reshape(2, 3, 2, 2, 2, 2).mean((3, 5))),
    "GlobalAvgPool2d": (nn.GlobalAvgPool2d(), lambda x: x.mean((2, 3))),
    "MaxPool2d, overlapping": (
        nn.MaxPool2d(3, 1),
        lambda x: np.lib.stride_tricks.sliding_window_view(x, (3, 3), (2, 3)).max((4, 5)),
    ),
}


@pytest.mark.parametrize("name", STATELESS)
@given_on_each_device(seed=seeds)
def test_layers_without_parameters_take_tensors_and_arrays(name, seed, device):
    (layer, formula), x = STATELESS[name], normal(seed, 2, 3, 4, 4)
    of_tensor, of_array = layer(mg.tensor(x, device=device)), layer(on(device, x))
    np.testing.assert_allclose(of_tensor.numpy(), formula(x), **TOLERANCE)
    assert not isinstance(of_array, mg.Tensor) and is_on(device, of_array) and is_on(device, of_tensor)
    assert of_array.dtype == of_tensor.dtype == np.float32


NOISY = {
    "dropout": lambda seed: nn.Dropout(0.4, rng=np.random.default_rng(seed)),
    "noise": lambda seed: nn.GaussianNoise(0.15, rng=np.random.default_rng(seed)),
}


@pytest.mark.parametrize("make", NOISY.values(), ids=NOISY)
def test_noise_is_determined_by_its_generator_and_absent_in_evaluation(make, device):
    x = mg.tensor(np.ones((5, 4), np.float32), device=device)
    a, b = make(0), make(0)
    first = a(x).numpy()
    np.testing.assert_array_equal(first, b(x).numpy())
    assert not np.array_equal(first, a(x).numpy())
    assert not np.array_equal(first, make(1)(x).numpy())
    assert a.eval()(x) is x and first.dtype == np.float32


@pytest.mark.parametrize("make", NOISY.values(), ids=NOISY)
def test_noise_does_not_change_the_expectation(make, device):
    x = np.full((400, 500), 2.0, np.float32)
    y = host(make(0)(on(device, x)))
    # 200,000 entries of standard deviation at most 2·√(0.4/0.6) = 1.63: standard error 0.0037; five of them.
    assert y.mean() == pytest.approx(2, abs=0.02)


def test_dropout_keeps_or_drops_and_the_gradient_follows(device):
    x = mg.tensor(np.ones((100, 100)), requires_grad=True, device=device)
    y = nn.Dropout(0.5, np.random.default_rng(0))(x)
    assert set(np.unique(y.numpy())) == {0.0, 2.0}
    np.testing.assert_array_equal(mg.grad(y.sum(), x).numpy(), y.numpy())


def test_dropout_of_nothing_keeps_everything_and_of_all_is_refused():
    x = np.ones((10, 10), np.float32)
    np.testing.assert_array_equal(F.dropout(x, 0.0, np.random.default_rng(0)), x)
    for p in (1.0, -0.1):
        with pytest.raises(ValueError, match="p must be"):
            F.dropout(x, p, np.random.default_rng(0))


@pytest.mark.parametrize("make", NOISY.values(), ids=NOISY)
@pytest.mark.parametrize("dtype", [np.uint8, np.int64, bool])
def test_noise_on_whole_numbers_is_refused_rather_than_rounded_away(make, dtype, device):
    x = on(device, np.ones((2, 3), dtype))
    for given in (x, mg.Tensor(x)):
        with pytest.raises(TypeError, match=f"{np.dtype(dtype)}.*float32"):
            make(0)(given)
        assert make(0).eval()(given) is given


def test_gaussian_noise_has_its_deviation():
    y = nn.GaussianNoise(0.15, np.random.default_rng(0))(np.zeros((400, 500), np.float32))
    assert y.std() == pytest.approx(0.15, rel=0.01)  # standard error 1/√(2·200,000) = 0.16 %


@given_on_each_device(labels=st.lists(st.integers(0, 4), max_size=6))
def test_one_hot(labels, device):
    rows = F.one_hot(on(device, np.array(labels, int)), 5)
    assert is_on(device, rows)
    np.testing.assert_array_equal(host(rows), np.eye(5)[labels])


def test_cross_entropy_of_equal_logits_is_the_logarithm_of_their_number(device):
    loss = F.cross_entropy(on(device, np.zeros((3, 10))), np.array([0, 5, 9]))
    assert host(loss) == pytest.approx(np.log(10))
