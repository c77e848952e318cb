"""Equations 5 and 6: on the initialization batch every pre-activation has mean 0 and variance 1."""

import copy

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import minigrad as mg
import wn
from minigrad import nn
from tests.devices import given_on_each_device, host, on

seeds = st.integers(0, 2**32 - 1)
FORMS = ["plain", "linear", "exp"]
each_form = pytest.mark.parametrize("form", FORMS)
stretches = st.sampled_from([1e-12, 0.01, 1.0, 70.0, 1e12])
CLOSE = {"rtol": 1e-3, "atol": 1e-3}  # float32 through four layers, each of which may amplify an error some tenfold
# The same in float64, whose rounding errors are 5e8 times smaller.
EQUAL = {"rtol": 1e-10, "atol": 1e-10}


def chain(seed, bias=True):
    rng = np.random.default_rng(seed)
    return nn.Sequential(
        nn.Conv2d(2, 3, 3, bias=bias, rng=rng),
        nn.LeakyReLU(0.1),
        nn.ConvTranspose2d(3, 3, 2, bias=bias, rng=rng),
        nn.LeakyReLU(0.1),
        nn.Flatten(),
        nn.Linear(75, 5, bias=bias, rng=rng),
        nn.LeakyReLU(0.1),
        nn.Linear(5, 4, bias=bias, rng=rng),
    )


class Residual(nn.Module):
    """Two branches that are added, layers in a list, and one layer that runs twice."""

    def __init__(self, seed, bias=True):
        super().__init__()
        rng = np.random.default_rng(seed)
        self.blocks = [nn.Conv2d(2, 4, 3, padding=1, bias=bias, rng=rng), nn.Conv2d(4, 4, 1, bias=bias, rng=rng)]
        self.shortcut = nn.Conv2d(2, 4, 1, bias=bias, rng=rng)
        self.head = nn.Linear(4, 4, bias=bias, rng=rng)

    def forward(self, x):
        y = self.shortcut(x) + self.blocks[1](mg.tanh(self.blocks[0](x)))
        return self.head(mg.tanh(self.head(mg.tanh(y).mean(axis=(2, 3)))))


each_network = pytest.mark.parametrize("network", [chain, Residual])


def weighted(model):
    return [layer for layer in model.modules() if isinstance(layer, (nn.Conv2d, nn.ConvTranspose2d, nn.Linear))]


def formed(model, form, stretch=1.0, dtype=np.float32):
    """The model plain or weight-normalized, with ‖v‖ (or ‖w‖, and b with it) far from 1."""
    if form != "plain":
        wn.apply_weight_norm(model, form)
    for layer in weighted(model):
        stretched = [layer.weight, layer.bias] if form == "plain" else [layer.weight_v]
        for parameter in [p for p in stretched if p is not None]:
            parameter.data = parameter.data * np.float32(stretch)
    for parameter in model.parameters():
        parameter.data = parameter.data.astype(dtype)
    return model


def batch(seed, dtype=np.float32):
    return (2 + 3 * np.random.default_rng(seed).standard_normal((20, 2, 6, 6))).astype(dtype)


def pre_activations(model, x):
    """The output of each weighted layer at its first use, units in the rows."""
    seen = {}

    def hook(layer, _inputs, t):
        seen.setdefault(layer, np.moveaxis(host(t), 1, 0))

    removals = [layer.register_forward_hook(hook) for layer in weighted(model)]
    model(x)
    for remove in removals:
        remove()
    return [t.reshape(len(t), -1).astype(np.float64) for t in seen.values()]


def batch_normalized(model, x, others):
    """Equation 5 as an op of the forward pass: each t becomes (t - μ)/σ. The model's output for `x` and for `others`.

    μ and σ are those of `x`, at a layer's first use. Without a bias nothing is subtracted.
    """
    statistics = {}

    def hook(layer, _inputs, t):
        if layer not in statistics:
            axes = (0,) if t.ndim == 2 else (0, 2, 3)
            mean, deviation = t.numpy().mean(axis=axes, keepdims=True), t.numpy().std(axis=axes, keepdims=True)
            statistics[layer] = (0 * mean if layer.bias is None else mean), deviation
        mean, deviation = statistics[layer]
        return (t - mean) / deviation

    model = copy.deepcopy(model)
    for layer in weighted(model):
        layer.register_forward_hook(hook)
    return [model(mg.tensor(each)).numpy() for each in (x, others)]


def parameters_changed(model, x):
    """The names of the parameters and buffers that initialization changes."""
    before = model.state_dict()
    wn.data_dependent_init(model, x)
    return {name for name, value in model.state_dict().items() if (value != before[name]).any()}


# ---- the equations -------------------------------------------------------------------------------------------------


@each_form
@given_on_each_device(seed=seeds, stretch=stretches)
def test_every_pre_activation_has_mean_0_and_variance_1(form, seed, stretch, device):
    model, x = formed(chain(seed), form, stretch).to(device), mg.tensor(batch(seed), device=device)
    assert wn.data_dependent_init(model, x) is model
    for t in pre_activations(model, x):
        np.testing.assert_allclose(t.mean(axis=1), 0, **CLOSE)
        np.testing.assert_allclose(t.std(axis=1), 1, **CLOSE)


@each_form
@given_on_each_device(seed=seeds)
def test_without_bias_the_variance_is_1_all_the_same(form, seed, device):
    model, x = formed(chain(seed, bias=False), form, 20.0).to(device), on(device, batch(seed))
    wn.data_dependent_init(model, x)
    for t in pre_activations(model, x):
        np.testing.assert_allclose(t.std(axis=1), 1, **CLOSE)


@each_form
@each_network
@given(seed=seeds, stretch=stretches, bias=st.booleans())
def test_the_network_becomes_the_batch_normalized_one_with_the_statistics_frozen(network, form, seed, stretch, bias):
    model, x, others = (
        formed(network(seed, bias), form, stretch, np.float64),
        batch(seed, float),
        batch(seed + 1, float),
    )
    expected = batch_normalized(model, x, others)
    wn.data_dependent_init(model, x)
    for given_, y in zip((x, others), expected, strict=True):
        np.testing.assert_allclose(model(mg.tensor(given_)).numpy(), y, **EQUAL)


@each_form
@each_network
@given(seed=seeds)
def test_where_it_starts_from_does_not_matter_neither_g_nor_b_nor_an_earlier_batch(network, form, seed):
    model, x = formed(network(seed), form, dtype=np.float64), batch(seed, float)
    once = wn.data_dependent_init(copy.deepcopy(model), x).state_dict()
    rng = np.random.default_rng(seed)
    for layer in weighted(model):
        layer.bias.data = layer.bias.data + rng.normal(size=layer.bias.shape)
        scale = layer.weight if form == "plain" else layer.weight_g
        scale.data = scale.data * 3 if form != "exp" else scale.data - 2
    wn.data_dependent_init(model, batch(seed + 1, float))
    for _ in range(2):
        wn.data_dependent_init(model, x)
        for name, value in model.state_dict().items():
            np.testing.assert_allclose(value, once[name], **EQUAL)


@each_form
@given(seed=seeds)
def test_initializing_again_on_the_same_batch_changes_nothing(form, seed):
    model, x = formed(chain(seed), form, 5.0), batch(seed)
    wn.data_dependent_init(model, x)
    before = model.state_dict()
    wn.data_dependent_init(model, x)
    for name, value in model.state_dict().items():
        np.testing.assert_allclose(value, before[name], **CLOSE)


@given(seed=seeds)
def test_directions_are_left_alone_and_a_negative_g_stays_negative(seed):
    model = formed(chain(seed), "linear")
    before = [layer.weight_v.numpy().copy() for layer in weighted(model)]
    model[0].weight_g.data = model[0].weight_g.data * np.float32([[[[1]]], [[[-1]]], [[[1]]]])
    wn.data_dependent_init(model, batch(seed))
    for layer, v in zip(weighted(model), before, strict=True):
        np.testing.assert_array_equal(layer.weight_v.numpy(), v)
    np.testing.assert_array_equal(np.sign(model[0].weight_g.numpy()).ravel(), [1, -1, 1])


# ---- which layers ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", [(40, 3), (8, 5, 3), (4, 2, 5, 3)])
def test_the_units_of_a_linear_layer_are_on_the_last_axis(shape):
    layer = nn.Linear(3, 2, rng=np.random.default_rng(0))
    x = np.random.default_rng(1).standard_normal(shape).astype(np.float32)
    t = wn.data_dependent_init(layer, x)(x).numpy().reshape(-1, 2)
    np.testing.assert_allclose(t.mean(axis=0), 0, **CLOSE)
    np.testing.assert_allclose(t.std(axis=0), 1, **CLOSE)


@pytest.mark.parametrize("share", ["layer", "weight"])
@each_form
def test_what_is_used_twice_is_initialized_at_its_first_use(form, share):
    layer = formed(nn.Linear(4, 4, rng=np.random.default_rng(0)), form)
    other = layer
    if share == "weight":
        other = formed(nn.Linear(4, 4, rng=np.random.default_rng(0)), form)
        for name in ["weight"] if form == "plain" else ["weight_v", "weight_g"]:
            setattr(other, name, getattr(layer, name))
    x = np.random.default_rng(1).standard_normal((50, 4)).astype(np.float32)
    wn.data_dependent_init(nn.Sequential(layer, nn.ReLU(), other), x)
    np.testing.assert_allclose(layer(x).numpy().std(axis=0), 1, **CLOSE)


def test_layers_that_do_not_run_and_recurrent_cells_are_left_alone():
    class Reader(nn.Module):
        def __init__(self):
            super().__init__()
            rng = np.random.default_rng(0)
            self.cell, self.head, self.spare = nn.LSTMCell(3, 4, rng=rng), nn.Linear(4, 2, rng=rng), nn.Linear(3, 3)

        def forward(self, x):
            return self.head(self.cell(x)[0])

    x = np.random.default_rng(1).standard_normal((30, 3)).astype(np.float32)
    assert parameters_changed(Reader(), x) == {"head.weight", "head.bias"}
    assert parameters_changed(wn.apply_weight_norm(Reader()), x) == {"head.weight_g", "head.bias"}


def test_a_normalization_along_another_axis_is_refused():
    layer = wn.WeightNorm(nn.ConvTranspose2d(3, 3, 2), axis=0)  # axis 0 counts the inputs there
    with pytest.raises(ValueError, match="axis"):
        wn.data_dependent_init(layer, np.random.default_rng(0).standard_normal((4, 3, 5, 5)).astype(np.float32))


def test_a_weight_that_something_else_computes_is_refused():
    layer = nn.Linear(3, 3)
    layer.compute("weight", lambda layer: mg.tensor(np.eye(3, dtype=np.float32)))
    with pytest.raises(ValueError, match=r"weight of layer 'Linear' is computed by"):
        wn.data_dependent_init(layer, batch(0)[:, 0, 0, :3])


# ---- what else it does, and does not do ------------------------------------------------------------------------------


def noisy(seed):
    rng = np.random.default_rng(seed)
    return nn.Sequential(
        nn.GaussianNoise(0.1, rng),
        nn.Conv2d(2, 3, 3, bias=False, rng=rng),
        nn.BatchNorm(3),
        nn.ReLU(),
        nn.Dropout(0.2, rng),
        nn.Conv2d(3, 3, 1, bias=False, rng=rng),
        wn.MeanOnlyBatchNorm(3),
    )


@pytest.mark.parametrize("training", [True, False])
def test_running_averages_gradients_modes_and_hooks_are_what_they_were(training):
    model = noisy(0).train(training)
    model[1].training = not training
    for parameter in model.parameters():
        parameter.grad = mg.tensor(np.full(parameter.shape, 3, np.float32))
    assert parameters_changed(model, batch(0)) == {"1.weight", "5.weight"}
    assert all((p.grad.numpy() == 3).all() and p.requires_grad and p.dtype == np.float32 for p in model.parameters())
    assert [layer.training for layer in model] == [training, not training] + [training] * 5
    assert not any(layer._hooks for layer in model.modules())


def test_noise_and_dropout_act_in_training_mode_only():
    x, ran, initialized = batch(0), noisy(0), noisy(0)
    ran(mg.tensor(x))
    wn.data_dependent_init(initialized, x)
    assert ran[0].rng.random() == initialized[0].rng.random()  # it draws what one forward pass draws
    evaluated, fresh = noisy(0).eval(), noisy(0)
    wn.data_dependent_init(evaluated, x)
    assert evaluated[0].rng.random() == fresh[0].rng.random()
    np.testing.assert_allclose(evaluated[1](x).numpy().std(axis=(0, 2, 3)), 1, **CLOSE)


@pytest.mark.parametrize(
    "given_",
    [lambda x: x, lambda x: mg.tensor(x), lambda x: x.astype(float), lambda x: x.tolist()],
    ids=["array", "Tensor", "float64", "list"],
)
def test_a_batch_may_be_an_array_a_tensor_or_a_list_and_of_any_dtype(given_):
    x = np.random.default_rng(0).integers(0, 256, (20, 6)).astype(np.uint8)
    model = wn.data_dependent_init(nn.Sequential(nn.Linear(6, 4, rng=np.random.default_rng(0))), given_(x))
    assert {p.dtype for p in model.parameters()} == {np.dtype(np.float32)}
    np.testing.assert_allclose(model(x.astype(np.float32)).numpy().std(axis=0), 1, **CLOSE)


# ---- units without a scale ------------------------------------------------------------------------------------------


@given(seed=seeds, count=st.integers(1, 300), inputs=st.integers(1, 60), dtype=st.sampled_from([np.float32, float]))
def test_a_batch_without_variation_is_refused_with_the_layer_s_name(seed, count, inputs, dtype):
    rng = np.random.default_rng(seed)
    model = nn.Sequential(formed(nn.Linear(inputs, 2, rng=rng), "plain", dtype=dtype))
    model[0].bias.data = 0 * model[0].bias.data + 1  # so that t is not the small difference of large numbers
    with pytest.raises(ValueError, match=r"unit \d of layer '0' has the same pre-activation"):
        wn.data_dependent_init(model, np.repeat(rng.uniform(size=(1, inputs)).astype(dtype), count, axis=0))


def test_a_single_image_will_do_for_a_convolution():
    model = nn.Sequential(nn.Conv2d(2, 3, 3, rng=np.random.default_rng(0)))
    t = wn.data_dependent_init(model, batch(0)[:1])(batch(0)[:1]).numpy()
    np.testing.assert_allclose(t.std(axis=(0, 2, 3)), 1, **CLOSE)


@each_form
def test_when_a_later_layer_is_refused_the_earlier_ones_are_as_they_were(form, device):
    model = formed(chain(0), form)
    dead = nn.Sequential(model, nn.BatchNorm(4), nn.ReLU(), nn.Linear(4, 3))
    dead[1].bias.data = np.full(4, -100, np.float32)  # nothing gets through the ReLU
    before = dead.to(device).state_dict()
    with pytest.raises(ValueError, match=r"unit 0 of layer '3' has the same pre-activation"):
        wn.data_dependent_init(dead, on(device, batch(0)))
    for name, value in dead.state_dict().items():
        np.testing.assert_array_equal(value, before[name])
    assert not any(layer._hooks for layer in dead.modules())


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_pre_activations_that_are_not_finite_are_named(bad, device):
    x = batch(0)
    x[3, 1, 2, 2] = bad
    with np.errstate(invalid="ignore"), pytest.raises(ValueError, match=r"unit 0 of layer '0' .*not finite"):
        wn.data_dependent_init(chain(0).to(device), on(device, x))


@pytest.mark.parametrize("dtype", [np.float32, float])
def test_a_variation_of_the_size_of_rounding_is_none(dtype):
    layer = formed(nn.Linear(1, 2, rng=np.random.default_rng(0)), "plain", dtype=dtype)
    layer.bias.data = 0 * layer.bias.data
    x = 1 + 4 * np.finfo(dtype).eps * np.random.default_rng(1).choice([-1, 1], (50, 1)).astype(dtype)
    with pytest.raises(ValueError, match="has the same pre-activation"):
        wn.data_dependent_init(layer, x)
    wn.data_dependent_init(layer, 1 + 1000 * (x - 1))


@pytest.mark.parametrize("axis", [None, (0, 1)])
def test_a_weight_without_one_length_for_each_output_is_refused(axis):
    layer = wn.WeightNorm(mg.nn.Linear(3, 2, rng=np.random.default_rng(0)), axis=axis)
    with pytest.raises(ValueError, match="one length for each output"):
        wn.data_dependent_init(layer, np.random.default_rng(1).standard_normal((8, 3), dtype=np.float32))


def test_a_zero_vector_is_refused_by_its_place_in_the_model():
    model = wn.apply_weight_norm(mg.nn.Sequential(mg.nn.Linear(3, 4), mg.nn.ReLU(), mg.nn.Linear(4, 2)))
    v = model[2].weight_v
    v.data = v.data * np.array([[1], [0]], np.float32)
    with pytest.raises(ValueError, match=r"layer '2': weight vector 1 is zero"):
        wn.data_dependent_init(model, np.random.default_rng(1).standard_normal((8, 3), dtype=np.float32))
