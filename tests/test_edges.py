"""Nothing silently wrong at the edges: sizes beyond the usual, arrays that are empty, numbers of other kinds."""

import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import minigrad as mg
import wn
from minigrad import nn, optim
from minigrad.nn import functional as F

SINGLE, DOUBLE = np.float32, np.float64


def leaf(data, dtype=DOUBLE):
    return mg.tensor(np.array(data, dtype), requires_grad=True)


# ---- large and small ------------------------------------------------------------------------------------------------


@given(x=st.lists(st.floats(-80, 80, width=32), min_size=1, max_size=5))
def test_sigmoid_and_softplus_are_right_relative_to_their_size(x):
    """Where the value is small it has all its digits, and so has the slope: a few roundings of float32."""
    t = leaf(x, SINGLE)
    exact = 1 / (1 + np.exp(-np.array(x, DOUBLE)))
    slope = exact / (1 + np.exp(np.array(x, DOUBLE)))
    rounding = 16 * np.finfo(SINGLE).eps * (1 + abs(np.array(x)))  # of the exponent, which the exponential multiplies
    assert (abs(mg.sigmoid(t).numpy() - exact) <= rounding * exact + 1e-37).all()
    assert (abs(mg.grad(mg.sigmoid(t).sum(), t).numpy() - slope) <= rounding * slope + 1e-37).all()
    assert (abs(mg.grad(mg.softplus(t).sum(), t).numpy() - exact) <= rounding * exact + 1e-37).all()


@pytest.mark.parametrize(
    ("dtype", "exponent"),
    [(DOUBLE, e) for e in (-300, -160, -23, 0, 30, 160, 300)] + [(SINGLE, e) for e in (-37, -23, -19, 0, 19, 30, 37)],
)
def test_norms_of_every_size(dtype, exponent):
    size = 10.0**exponent
    x = np.array([[3.0, 4.0], [0.0, 2.0]]) * size
    eps = 4 * np.finfo(dtype).eps
    for found in (mg.norm(x.astype(dtype), axis=1), mg.norm(leaf(x, dtype), axis=1).numpy()):
        np.testing.assert_allclose(found / size, [5, 2], rtol=eps)
    v, g = leaf(x, dtype), leaf([2.0, 3.0], dtype)
    w = wn.weight_norm(v, g)
    np.testing.assert_allclose(w.numpy(), [[1.2, 1.6], [0, 3]], rtol=eps)
    grad_v, grad_g = mg.grad(w, [v, g], np.array([[1.0, 0.0], [1.0, 1.0]]))
    np.testing.assert_allclose(grad_g.numpy(), [0.6, 1], rtol=eps)
    wanted = np.array([[0.4 * 0.64, -0.4 * 0.48], [1.5, 0]]) / size
    if abs(wanted).max() < np.finfo(dtype).max:
        np.testing.assert_allclose(grad_v.numpy(), wanted, rtol=8 * eps, atol=8 * eps * abs(wanted).max())


def test_logsumexp_overflows_nowhere_in_between():
    with np.errstate(over="raise"):
        assert mg.logsumexp(np.array([1e308, 1e308])) == 1e308
        assert mg.logsumexp(leaf([1e308, 1e308])).item() == 1e308


def test_the_mean_of_four_million_rows():
    """Added up one after the other in float32, 0.1 becomes 0.096. In blocks of 512 rows: 512 ε/2 = 3e-5 at worst."""
    x = np.full((4_000_000, 2), 0.1, SINGLE)
    layer = wn.MeanOnlyBatchNorm(2)
    assert abs(layer(x).numpy()).max() < 3e-6 and abs(layer.running_mean.numpy() - 0.01).max() < 3e-7
    for mean in (mg.mean(x, 0), mg.mean(x, (0,)), mg.mean(mg.tensor(x), 0).numpy(), F.batch_moments(x)[0]):
        assert mean.dtype == SINGLE and abs(mean - 0.1).max() < 3e-6


def test_half_precision_batch_norm_of_a_deviation_of_300():
    x = np.random.default_rng(0).normal(0, 300, (1000, 2))
    y, _, var = F.batch_norm(mg.tensor(x, np.float16), np.ones(2, SINGLE), np.zeros(2, SINGLE), 1e-5)
    np.testing.assert_allclose(var, x.var(axis=0), rtol=1e-2)
    np.testing.assert_allclose(y.numpy().std(axis=0), 1, rtol=1e-2)


@pytest.mark.parametrize("size", [2, (2, 2)])
def test_the_gradient_of_a_nan_that_a_window_picks_goes_to_it(size):
    x = np.arange(16.0).reshape(1, 1, 4, 4)
    x[0, 0, 0, 1] = np.nan
    t = leaf(x)
    y = mg.max_pool2d(t, size)
    assert np.isnan(y.numpy()[0, 0, 0, 0])
    wanted = np.zeros((4, 4))
    wanted[0, 1] = wanted[1, 3] = wanted[3, 1] = wanted[3, 3] = 1
    np.testing.assert_array_equal(mg.grad(y.sum(), t).numpy()[0, 0], wanted)


def test_the_slope_of_a_constant_power_is_0_everywhere():
    t = leaf([np.inf, -np.inf, 0.0, 3.0])
    assert mg.grad((t**0).sum(), t).numpy().tolist() == [0, 0, 0, 0]
    assert mg.grad((t ** np.zeros(4)).sum(), t).numpy().tolist() == [0, 0, 0, 0]


def test_the_gradient_of_a_product_of_a_million_numbers():
    t = leaf(np.ones(10**6))
    np.testing.assert_array_equal(mg.grad(mg.prod(t), t).numpy(), np.ones(10**6))


def test_an_anomaly_in_a_sum_of_gradients_is_found():
    x = leaf([1e-10], SINGLE)
    with np.errstate(over="ignore"), mg.detect_anomaly(), pytest.raises(FloatingPointError, match="adding up"):
        (x * 3e38 + x * 3e38).sum().backward()
    x.grad = mg.tensor(np.array([3e38], SINGLE))
    with np.errstate(over="ignore"), mg.detect_anomaly(), pytest.raises(FloatingPointError, match="add"):
        (x * 3e38).sum().backward()


# ---- empty ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("function", [mg.softmax, mg.log_softmax, mg.logsumexp, mg.norm])
@pytest.mark.parametrize("shape", [(2, 0), (0, 2), (0, 0), (0,)])
def test_functions_along_an_empty_axis(function, shape):
    t = leaf(np.ones(shape))
    y = function(t, axis=-1)
    assert y.shape == (shape if "softmax" in function.__name__ else shape[:-1])
    if function is mg.logsumexp:
        assert (y.numpy() == -np.inf).all()  # the logarithm of nothing
    assert mg.grad(y.sum(), t).shape == shape


@pytest.mark.parametrize("shape", [(3, 0), (2, 3, 0), (0, 0)])
@pytest.mark.parametrize("bias", [True, False])
def test_a_linear_layer_without_input_features(shape, bias):
    layer, x = nn.Linear(0, 2, bias=bias), leaf(np.ones(shape), SINGLE)
    y = layer(x)
    y.sum().backward()
    assert y.shape == (*shape[:-1], 2) and layer.weight.grad.shape == (2, 0) and x.grad.shape == shape
    if bias:
        np.testing.assert_array_equal(y.numpy(), np.broadcast_to(layer.bias.numpy(), y.shape))


# ---- numbers of other kinds -----------------------------------------------------------------------------------------

A = np.arange(6.0).reshape(2, 3)


@pytest.mark.parametrize(
    "call",
    [
        lambda t: mg.take(A, t([1, 0])),
        lambda t: mg.take(A, t([1, 0]), axis=1),
        lambda t: mg.getitem(A, t([1, 0])),
        lambda t: mg.getitem(A, (slice(None), t([1, 0]))),
        lambda t: F.cross_entropy(A, t([1, 0])),
        lambda t: F.one_hot(t([1, 0]), 3),
        lambda t: wn.explicit_gradients(A, A + 1, t([1.0, 2.0]))[0],
        lambda t: wn.explicit_gradients(A, A + 1, t([1.0, 2.0]))[1],
    ],
)
def test_with_any_tensor_among_the_arguments_a_tensor_comes_back(call):
    found, plain = call(mg.tensor), call(np.array)
    assert isinstance(found, mg.Tensor) and not isinstance(plain, mg.Tensor)
    np.testing.assert_allclose(found.numpy(), plain, rtol=1e-6)


@pytest.mark.parametrize("kind", [np.longdouble, np.float64, np.float16, np.int8, np.bool_])
def test_numpy_numbers_follow_the_tensor(kind):
    x = leaf([1.0, 2.0], SINGLE)
    for y in (kind(1) * x, x * kind(1), x + kind(1), mg.leaky_relu(x, kind(1)), mg.clip(x, kind(0))):
        assert y.dtype == mg.grad(y.sum(), x).dtype == SINGLE


@pytest.mark.parametrize("loss", [F.mse_loss, F.huber_loss])
def test_losses_of_integers_do_not_wrap_around(loss):
    a, b = np.array([100, -100], np.int8), np.array([-100, 100], np.int8)
    wanted = loss(a.astype(float), b.astype(float))
    assert loss(a, b) == loss(mg.tensor(a), mg.tensor(b)).item() == wanted


@pytest.mark.parametrize("dtype", [">f4", ">f8"])
def test_big_endian_numbers(dtype):
    x = np.array([[3.0, 4.0]], dtype)
    for t in (mg.tensor(x, requires_grad=True), leaf(x, dtype)):
        y = mg.norm(t, axis=1) + mg.exp(-t).sum(axis=1)
        assert abs(y.item() - 5 - np.exp(-3.0) - np.exp(-4.0)) < 1e-6
        assert mg.grad(y, t).shape == (1, 2)
    assert mg.norm(x) == 5


@pytest.mark.peers("torch")
def test_batches_of_pytorch_s_loaders():
    """Arrays that are PyTorch's memory, also through DLPack; PyTorch may write into it afterwards."""
    import torch

    pictures, labels = torch.rand(4, 3), torch.tensor([0, 1, 2, 0])
    wanted = None
    for export in (lambda t: t.numpy(), np.from_dlpack, np.asarray):
        layer = nn.Linear(3, 3, rng=np.random.default_rng(0))
        x, y = export(pictures.clone()), export(labels.clone())
        before = str(x.flags), str(y.flags)
        loss = F.cross_entropy(layer(x), y)
        torch.as_tensor(np.asarray(y)).fill_(1) if y.flags.writeable else None
        loss.backward()
        assert (str(x.flags), str(y.flags)) == before
        wanted = layer.weight.grad.numpy() if wanted is None else wanted
        np.testing.assert_array_equal(layer.weight.grad.numpy(), wanted)


# ---- modules and optimizers -----------------------------------------------------------------------------------------


def test_modules_and_parameters_in_lists_of_lists_and_dicts_are_seen():
    class Deep(nn.Module):
        def __init__(self):
            super().__init__()
            self.blocks = [[nn.Linear(1, 1)], (nn.Linear(1, 1), [nn.Linear(1, 1)])]
            self.named = {"a": nn.Linear(1, 1, bias=False)}
            self.scales = [nn.Parameter([1.0]), [nn.Parameter([2.0])]]

    names = [name for name, _ in Deep().named_parameters()]
    in_lists = ["scales.0", "scales.1.0"]
    layers = [f"blocks.{place}.{name}" for place in ("0.0", "1.0", "1.1.0") for name in ("weight", "bias")]
    assert names == [*in_lists, *layers, "named.a.weight"]
    model, other = Deep(), Deep()
    other.load_state_dict(model.state_dict())
    assert all((a.numpy() == b.numpy()).all() for a, b in zip(model.parameters(), other.parameters(), strict=True))


def tied():
    model = nn.Sequential(nn.Linear(3, 3, rng=np.random.default_rng(0)), nn.ReLU(), nn.Linear(3, 3))
    model[2].weight = model[0].weight
    return model


def test_tied_weights_stay_tied_under_weight_normalization():
    model, x = tied(), np.random.default_rng(1).standard_normal((4, 3)).astype(SINGLE)
    before, names = model(x).numpy(), [name for name, _ in model.named_parameters()]
    wn.apply_weight_norm(model)
    assert model[0].weight_v is model[2].weight_v and model[0].weight_g is model[2].weight_g
    assert len(model.parameters()) == 4  # v and g once, two biases
    np.testing.assert_allclose(model(x).numpy(), before, rtol=1e-5, atol=1e-6)
    optimizer = optim.SGD(model.parameters(), lr=0.1)
    model(x).sum().backward()
    optimizer.step()
    np.testing.assert_array_equal(model[0].weight.numpy(), model[2].weight.numpy())
    wn.remove_weight_norm(model)
    assert model[0].weight is model[2].weight and sorted(dict(model.named_parameters())) == sorted(names)


def test_ties_along_different_axes_are_refused_by_name():
    model = nn.Sequential(nn.Conv2d(3, 3, 1), nn.ConvTranspose2d(3, 3, 1))
    model[1].weight = model[0].weight
    with pytest.raises(ValueError, match=r"ConvTranspose2d\.weight of layer '1' is shared"):
        wn.apply_weight_norm(model)
    assert len(model.parameters()) == 3


def test_weight_norm_takes_the_output_axis_of_the_layer():
    transposed = wn.WeightNorm(nn.ConvTranspose2d(2, 5, 3))
    assert transposed.weight_g.shape == (1, 5, 1, 1)
    assert wn.WeightNorm(nn.Conv2d(2, 5, 3)).weight_g.shape == (5, 1, 1, 1)


@pytest.mark.parametrize(
    "make",
    [
        lambda p: optim.SGD(p, lr=float("nan")),
        lambda p: optim.SGD(p, lr=float("inf")),
        lambda p: optim.SGD(p, lr=0.1, momentum=1.5),
        lambda p: optim.Adam(p, betas=(0.9, 1.0)),
        lambda p: optim.AdamW(p, betas=(-0.1, 0.9)),
        lambda p: optim.Adamax(p, betas=(float("nan"), 0.9)),
        lambda p: optim.RMSprop(p, alpha=1.0),
    ],
)
def test_hyperparameters_that_cannot_work_are_refused(make):
    with pytest.raises(ValueError, match="must be at least"):
        make([nn.Parameter([1.0])])


def test_only_floats_are_trained_and_each_state_goes_to_its_own_kind():
    with pytest.raises(TypeError, match="int64"):
        optim.SGD([mg.tensor([1, 2])], lr=0.1)
    p = nn.Parameter([1.0])
    with pytest.raises(ValueError, match="Adam, not of SGD"):
        optim.SGD([p], 0.1).load_state_dict(optim.Adam([p]).state_dict())


def test_a_thread_may_outlive_the_main_thread():
    code = """
import threading, time, numpy as np, minigrad as mg
mg.tanh(np.ones((1024, 1024)))  # the pool of threads exists
def late():
    threading.main_thread().join()
    print(mg.tanh(np.ones((1024, 2048))).sum() > 0)
threading.Thread(target=late).start()
"""
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert run.stdout.strip() == "True" and not run.stderr
