"""Weight normalization of layers: the function is kept, the names are right, zero vectors are refused."""

import copy
import pickle

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import minigrad as mg
import wn
from minigrad import nn
from tests.devices import given_on_each_device, on

seeds = st.integers(0, 2**32 - 1)
LAYERS = {
    "Linear": (lambda rng: nn.Linear(6, 4, rng=rng), (5, 6), 0),
    "Linear without bias": (lambda rng: nn.Linear(6, 4, bias=False, rng=rng), (5, 6), 0),
    "Conv2d": (lambda rng: nn.Conv2d(3, 4, 3, padding=1, rng=rng), (2, 3, 5, 5), 0),
    "ConvTranspose2d": (lambda rng: nn.ConvTranspose2d(3, 4, 3, stride=2, rng=rng), (2, 3, 4, 4), 1),
}
each_layer = pytest.mark.parametrize("name", LAYERS)
each_scale = pytest.mark.parametrize("scale", ["linear", "exp"])


def made(name, seed=0):
    make, shape, axis = LAYERS[name]
    rng = np.random.default_rng(seed)
    return make(rng), rng.standard_normal(shape).astype(np.float32), axis


def network(seed=0):
    rng = np.random.default_rng(seed)
    return nn.Sequential(
        nn.Conv2d(1, 3, 3, rng=rng),
        nn.ReLU(),
        nn.ConvTranspose2d(3, 2, 2, rng=rng),
        nn.Flatten(),
        nn.Linear(50, 4, rng=rng),
    )


IMAGES = np.random.default_rng(9).standard_normal((8, 1, 6, 6)).astype(np.float32)
CLOSE = {"rtol": 1e-5, "atol": 1e-5}  # float32, sums of up to a hundred numbers of size 1


@each_layer
@each_scale
@given_on_each_device(seed=seeds)
def test_wrapping_keeps_the_function_and_removing_keeps_it_again(name, scale, seed, device):
    layer, x, axis = made(name, seed)
    layer, x = layer.to(device), on(device, x)
    before = layer(x).numpy()
    assert wn.WeightNorm(layer, axis=axis, scale=scale) is layer
    np.testing.assert_allclose(layer(x).numpy(), before, **CLOSE)
    layer.weight_g.data = layer.weight_g.data + np.float32(0.3)
    changed = layer(x).numpy()
    assert not np.allclose(changed, before)
    assert wn.remove_weight_norm(layer) is layer
    np.testing.assert_allclose(layer(x).numpy(), changed, **CLOSE)
    assert isinstance(layer.weight, nn.Parameter) and layer._computed == {}


@each_layer
@each_scale
def test_the_pair_has_the_names_and_shapes_of_pytorch(name, scale):
    layer, _, axis = made(name)
    shape = layer.weight.shape
    wn.WeightNorm(layer, axis=axis, scale=scale)
    state = layer.state_dict()
    assert "weight" not in state and state["weight_v"].shape == shape
    assert state["weight_g"].shape == tuple(n if i == axis else 1 for i, n in enumerate(shape))
    lengths = np.sqrt(
        (state["weight_v"] ** 2).sum(axis=tuple(i for i in range(len(shape)) if i != axis), keepdims=True)
    )
    np.testing.assert_allclose(
        state["weight_g"], lengths if scale == "linear" else np.log(lengths), rtol=1e-5, atol=1e-6
    )
    assert {p.dtype for p in layer.parameters()} == {np.dtype(np.float32)}


@each_layer
@each_scale
def test_gradients_flow_to_v_and_g(name, scale, device):
    layer, x, axis = made(name)
    layer, x = layer.to(device), on(device, x)
    plain = copy.deepcopy(layer)
    wn.WeightNorm(layer, axis=axis, scale=scale)
    (layer(x) ** 2).sum().backward()
    (plain(x) ** 2).sum().backward()
    v, length = layer.weight_v.numpy(), layer._computed["weight"].length(layer).numpy()
    grad_v, grad_g = wn.explicit_gradients(plain.weight.grad.numpy(), v, length, axis)
    np.testing.assert_allclose(layer.weight_v.grad.numpy(), grad_v, rtol=1e-4, atol=1e-3)
    wanted = grad_g if scale == "linear" else grad_g * length  # ds: g = e^s
    np.testing.assert_allclose(layer.weight_g.grad.numpy(), wanted, rtol=1e-4, atol=1e-3)


@pytest.mark.parametrize(
    ("axis", "shape"), [(None, ()), ((0, 1), (4, 3, 1, 1)), ((), (1, 1, 1, 1)), (-3, (1, 3, 1, 1))]
)
@each_scale
@given(seed=seeds)
def test_any_choice_of_weight_vectors_keeps_the_function(axis, shape, scale, seed):
    layer, x, _ = made("Conv2d", seed)
    before = layer(x).numpy()
    wn.WeightNorm(layer, axis=axis, scale=scale)
    assert layer.weight_g.shape == shape and layer.weight_g.dtype == np.float32
    np.testing.assert_allclose(layer(x).numpy(), before, **CLOSE)
    mg.sum(layer(x)).backward()
    assert layer.weight_g.grad.shape == shape
    copy.deepcopy(layer).load_state_dict(layer.state_dict())
    np.testing.assert_allclose(wn.remove_weight_norm(layer)(x).numpy(), before, **CLOSE)


@each_scale
@pytest.mark.parametrize("duplicate", [copy.deepcopy, lambda m: pickle.loads(pickle.dumps(m))])
def test_wrapped_layers_can_be_copied_and_the_copies_are_independent(duplicate, scale):
    model = wn.apply_weight_norm(network(), scale)
    twin = duplicate(model)
    np.testing.assert_array_equal(twin(IMAGES).numpy(), model(IMAGES).numpy())
    assert list(twin.state_dict()) == list(model.state_dict())
    before = model(IMAGES).numpy()
    twin[0].weight_g.data = twin[0].weight_g.data * np.float32(2)
    np.testing.assert_array_equal(model(IMAGES).numpy(), before)
    assert not np.array_equal(twin(IMAGES).numpy(), before)


@each_scale
def test_state_dicts_go_from_model_to_model(scale, device):
    source, target = (wn.apply_weight_norm(network(seed), scale).to(device) for seed in (0, 1))
    target.load_state_dict(source.state_dict())
    x = on(device, IMAGES)
    np.testing.assert_array_equal(target(x).numpy(), source(x).numpy())


@each_layer
@given(seed=seeds)
def test_no_example_depends_on_another(name, seed):
    layer, x, axis = made(name, seed)
    x = mg.tensor(x, requires_grad=True)
    output = wn.WeightNorm(layer, axis=axis)(x)
    others = mg.grad(mg.sum(mg.square(output[0])), x).numpy()[1:]
    np.testing.assert_array_equal(others, 0)


def test_the_weight_is_never_stale():
    layer = wn.WeightNorm(nn.Linear(3, 2))
    layer.weight_v.data = np.array([[3, 4, 0], [0, 0, 2]], np.float32)
    layer.weight_g.data = np.array([[10], [1]], np.float32)
    np.testing.assert_allclose(layer.weight.numpy(), [[6, 8, 0], [0, 0, 1]], rtol=1e-6)


@each_scale
@pytest.mark.parametrize("duplicate", [copy.deepcopy, lambda m: pickle.loads(pickle.dumps(m))])
def test_wrapped_lstm_cells_can_be_copied_and_their_state_moved(duplicate, scale):
    cell = wn.apply_weight_norm(nn.LSTMCell(3, 2, rng=np.random.default_rng(0)), scale)
    other = wn.apply_weight_norm(nn.LSTMCell(3, 2, rng=np.random.default_rng(1)), scale)
    other.load_state_dict(cell.state_dict())
    x = IMAGES[0, 0, :, :3]
    for twin in (other, duplicate(cell)):
        for found, wanted in zip(twin(x, twin(x)), cell(x, cell(x)), strict=True):
            np.testing.assert_array_equal(found.numpy(), wanted.numpy())
        twin.weight_hh_g.data = twin.weight_hh_g.data + np.float32(1)
        assert not np.array_equal(twin.weight_hh.numpy(), cell.weight_hh.numpy())


def test_apply_finds_every_layer_with_its_output_axis_and_skips_what_is_done():
    model = network()
    before = model(IMAGES).numpy()
    assert wn.apply_weight_norm(model) is model
    wn.apply_weight_norm(model)
    assert [model[i].weight_g.shape for i in (0, 2, 4)] == [(3, 1, 1, 1), (1, 2, 1, 1), (4, 1)]
    np.testing.assert_allclose(model(IMAGES).numpy(), before, **CLOSE)
    wn.remove_weight_norm(model)
    np.testing.assert_allclose(model(IMAGES).numpy(), before, **CLOSE)
    assert sorted(model.state_dict()) == sorted(network().state_dict())


@each_scale
def test_a_frozen_weight_stays_frozen(scale):
    for trained in (True, False):
        layer, *_ = made("Linear")
        layer.weight.requires_grad = trained
        wn.WeightNorm(layer, scale=scale)
        assert layer.weight_v.requires_grad == layer.weight_g.requires_grad == trained
        assert wn.remove_weight_norm(layer).weight.requires_grad == trained


def test_a_shared_layer_is_wrapped_once():
    layer = nn.Linear(4, 4)
    model = wn.apply_weight_norm(nn.Sequential(layer, nn.ReLU(), layer))
    assert len(model.parameters()) == 3


def test_setting_the_weight_of_a_wrapped_layer_is_an_error_rather_than_ignored():
    layer = wn.WeightNorm(nn.Linear(3, 2))
    with pytest.raises(AttributeError, match="computed"):
        layer.weight = nn.Parameter(np.ones((2, 3), np.float32))


@pytest.mark.parametrize(
    "initialize",
    [
        lambda w: setattr(w, "data", np.ones((2, 3), np.float32)),
        lambda w: w.data.fill(1),
        lambda w: w.numpy().fill(1),
        lambda w: w.data.__setitem__(0, 1),
    ],
)
@pytest.mark.parametrize("recording", [True, False])
def test_initializing_the_effective_weight_is_an_error_rather_than_lost(initialize, recording):
    layer = wn.WeightNorm(nn.Linear(3, 2))
    before = layer.weight.numpy().copy()
    with (
        pytest.raises((AttributeError, ValueError), match=r"_v and _g|read-only|assign new ones"),
        mg.enable_grad() if recording else (mg.no_grad()),
    ):
        initialize(layer.weight)
    np.testing.assert_array_equal(layer.weight.numpy(), before)


@given(seed=seeds)
def test_initializing_v_changes_directions_only(seed):
    layer, _, axis = made("ConvTranspose2d", seed)
    wn.WeightNorm(layer, axis=axis)
    lengths = layer.weight_g.numpy().copy()
    layer.weight_v.data = np.random.default_rng(seed).normal(0, 0.05, layer.weight_v.shape).astype(np.float32)
    np.testing.assert_allclose(mg.norm(layer.weight.numpy(), (0, 2, 3), keepdims=True), lengths, rtol=1e-5)


def test_after_removal_the_weight_is_an_ordinary_parameter_again():
    layer = wn.remove_weight_norm(wn.WeightNorm(nn.Linear(3, 2)))
    layer.weight.data = np.full((2, 3), 5, np.float32)
    assert (layer.weight.numpy() == 5).all() and isinstance(vars(layer)["weight"], nn.Parameter)


# ---- zero vectors ---------------------------------------------------------------------------------------------------


@each_layer
def test_zero_vectors_are_refused_when_wrapped(name, device):
    layer, _, axis = made(name)
    weight = layer.weight.numpy().copy()
    np.moveaxis(weight, axis, 0)[2] = 0
    layer.weight.data = weight
    with pytest.raises(ValueError, match=rf"{type(layer).__name__}\.weight.*vector 2"):
        wn.WeightNorm(layer.to(device), axis=axis)
    assert "weight" in layer.state_dict()


@each_layer
@each_scale
@pytest.mark.parametrize("tiny", [0.0, 1e-60])  # zero in float32
def test_zero_vectors_are_refused_when_loaded_and_nothing_changes(name, scale, tiny, device):
    layer, x, axis = made(name)
    x, model = on(device, x), nn.Sequential(wn.WeightNorm(layer, axis=axis, scale=scale)).to(device)
    before, state = model(x).numpy(), {k: v.astype(float) for k, v in model.state_dict().items()}
    np.moveaxis(state["0.weight_v"], axis, 0)[1] = tiny
    with pytest.raises(ValueError, match=rf"{type(layer).__name__}\.weight_v.*vector 1"):
        model.load_state_dict(state)
    np.testing.assert_array_equal(model(x).numpy(), before)


def zeroed(model, path, row):
    """The model, with one vector of the weight at `path` zero."""
    parameter = dict(model.named_parameters())[path]
    weight = parameter.numpy().copy()
    weight[row] = 0
    parameter.data = weight
    return model


class Recurrent(nn.Module):
    """A cell and a list, so that paths are not only numbers."""

    def __init__(self):
        super().__init__()
        self.first, self.cell, self.heads = nn.Linear(3, 3), nn.LSTMCell(3, 2), [nn.Linear(2, 2), nn.Linear(2, 2)]


PATHS = ["first.weight", "cell.weight_hh", "heads.1.weight"]


@pytest.mark.parametrize("path", PATHS)
def test_a_zero_vector_anywhere_in_a_model_is_named_by_its_path_and_nothing_is_wrapped(path):
    model = zeroed(Recurrent(), path, 1)
    names = list(model.state_dict())
    owner, _, name = path.rpartition(".")
    with pytest.raises(ValueError, match=rf"\.{name} of layer '{owner}': weight vector 1 is zero"):
        wn.apply_weight_norm(model)
    assert list(model.state_dict()) == names


@pytest.mark.parametrize("path", PATHS)
def test_a_zero_vector_in_a_state_dict_is_named_by_its_path(path):
    model = wn.apply_weight_norm(Recurrent())
    state = zeroed(wn.apply_weight_norm(Recurrent()), f"{path}_v", 0).state_dict()
    owner, _, name = path.rpartition(".")
    with pytest.raises(ValueError, match=rf"\.{name}_v of layer '{owner}': weight vector 0 is zero"):
        model.load_state_dict(state)


def test_a_vector_that_has_become_zero_is_refused_when_the_layer_runs():
    layer = zeroed(wn.WeightNorm(nn.Linear(3, 2)), "weight_v", 1)
    with pytest.raises(ValueError, match=r"Linear\.weight: .*weight vector 1 is zero"):
        layer(np.ones((1, 3), np.float32))


def test_half_precision_is_refused():
    layer = nn.Linear(3, 2)
    layer.weight.data = layer.weight.numpy().astype(np.float16)
    with pytest.raises(ValueError, match="half precision"):
        wn.WeightNorm(layer)


@pytest.mark.parametrize(
    "wrong",
    [
        {"name": "nothing"},
        {"scale": "cubic"},
        {"axis": 2},
        {"name": "bias", "axis": 1},
        {"axis": (0, 2)},
    ],
)
def test_bad_arguments_are_refused_and_the_layer_stays(wrong):
    layer = nn.Linear(3, 2)
    with pytest.raises(ValueError):
        wn.WeightNorm(layer, **wrong)
    assert list(layer.state_dict()) == ["weight", "bias"]


def test_a_layer_cannot_be_wrapped_twice():
    with pytest.raises(ValueError, match="computed already"):
        wn.WeightNorm(wn.WeightNorm(nn.Linear(3, 2)))


@each_layer
@each_scale
def test_a_model_shows_which_of_its_weights_are_normalized(name, scale):
    layer, _, axis = made(name)
    model = nn.Sequential(layer, nn.ReLU())
    plain = repr(model)
    text = repr(wn.apply_weight_norm(model, scale))
    length = "g" if scale == "linear" else "e^s"
    shown = f"weight = {length} v/‖v‖ along axis {axis})"
    assert text.count(shown) == 1 and text.replace(f", {shown}", ")") == plain
    assert repr(wn.remove_weight_norm(model)) == plain
