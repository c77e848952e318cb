"""Module: what is inside, and what can be done to all of it."""

import copy
import pickle

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import minigrad as mg
from minigrad import nn
from minigrad.nn.module import Buffer


def model(seed=0):
    rng = np.random.default_rng(seed)
    return nn.Sequential(
        nn.Conv2d(1, 2, 3, rng=rng), nn.BatchNorm(2), nn.ReLU(), nn.Flatten(), nn.Linear(8, 3, rng=rng)
    )


class Nested(nn.Module):
    """A list, a tuple, a shared parameter and a module used twice."""

    def __init__(self):
        super().__init__()
        self.layers = [nn.Linear(2, 2), nn.Linear(2, 2)]
        self.pair = (nn.ReLU(), nn.Sequential(nn.Linear(2, 1)))
        self.again = self.layers[0]
        self.tied = self.layers[1].weight
        self.plain = mg.tensor([1.0])

    def forward(self, x):
        return x


def numbers(module):
    return {name: value.copy() for name, value in module.state_dict().items()}


def same(a, b):
    assert list(a) == list(b)
    for name in a:
        np.testing.assert_array_equal(a[name], b[name])


def test_parameters_are_found_once_each_in_lists_too():
    found = [name for name, _ in Nested().named_parameters()]
    assert sorted(found) == [
        "layers.0.bias",
        "layers.0.weight",
        "layers.1.bias",
        "pair.1.0.bias",
        "pair.1.0.weight",
        "tied",
    ]
    assert len(Nested().parameters()) == 6 and Nested().buffers() == []


def test_names_are_attributes_joined_by_dots():
    assert list(model().state_dict()) == [
        "0.weight",
        "0.bias",
        "1.weight",
        "1.bias",
        "4.weight",
        "4.bias",
        "1.running_mean",
        "1.running_var",
    ]
    assert [name for name, _ in model().named_modules()] == ["", "0", "1", "2", "3", "4"]


def test_sequential_is_a_sequence():
    layers = model()
    assert len(layers) == 5 and layers[-1] is list(layers)[4] and isinstance(layers[1], nn.BatchNorm)


@pytest.mark.parametrize("other", [mg.relu, nn.ReLU, None, [nn.ReLU()]], ids=["function", "class", "None", "list"])
def test_sequential_refuses_what_it_would_leave_out(other):
    with pytest.raises(TypeError, match=r"position 1.*nn\.ReLU\(\)"):
        nn.Sequential(nn.Linear(2, 2), other)


def test_train_and_eval_reach_everything():
    nested = Nested()
    assert nested.eval() is nested and not any(m.training for m in nested.modules())
    assert nested.train() is nested and all(m.training for m in nested.modules())


def test_zero_grad_forgets_all_gradients():
    layer = nn.Linear(2, 2)
    layer(np.ones((1, 2), np.float32)).sum().backward()
    assert all(p.grad is not None for p in layer.parameters())
    layer.zero_grad()
    assert all(p.grad is None for p in layer.parameters())


def test_frozen_parameters_have_no_gradient_to_forget():
    layer = nn.Linear(2, 2)
    layer.weight.requires_grad = False
    optimizer = mg.optim.SGD(layer.parameters(), 1.0)
    before = layer.weight._data
    for zero_grad in (layer.zero_grad, optimizer.zero_grad):
        layer(np.ones((1, 2), np.float32)).sum().backward()
        optimizer.step()
        zero_grad()
    assert layer.weight._data is before and layer.weight.grad is layer.bias.grad is None
    with pytest.raises(RuntimeError, match="requires_grad=True"):
        layer.weight.grad = mg.tensor(before)


def test_state_dict_round_trip():
    source, target = model(0), model(1)
    target.load_state_dict(source.state_dict())
    same(source.state_dict(), target.state_dict())


def test_state_dict_is_a_copy_both_ways():
    layers = model()
    saved, before = layers.state_dict(), numbers(layers)
    saved["0.weight"][...] = 7
    same(numbers(layers), before)
    layers.load_state_dict(saved)
    saved["0.weight"][...] = 9
    assert (layers[0].weight.numpy() == 7).all()


def test_loading_keeps_the_model_s_dtype_and_its_parameters():
    layers = model()
    parameters = layers.parameters()
    layers.load_state_dict({name: mg.tensor(value.astype(np.float64)) for name, value in model(1).state_dict().items()})
    assert all(a is b for a, b in zip(parameters, layers.parameters(), strict=True))
    assert {p.dtype for p in parameters} == {np.dtype(np.float32)}


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        (lambda s: s.pop("4.bias"), KeyError, "missing.*4.bias"),
        (lambda s: s.update(new=1.0), KeyError, "unknown.*new"),
        (lambda s: s.update({"4.bias": np.ones(4)}), ValueError, r"4.bias.*\(4,\).*\(3,\)"),
    ],
)
def test_a_state_dict_that_does_not_fit_changes_nothing(change, error, message):
    layers, state = model(), model(1).state_dict()
    before = numbers(layers)
    change(state)
    with pytest.raises(error, match=message):
        layers.load_state_dict(state)
    same(numbers(layers), before)


@pytest.mark.parametrize("duplicate", [copy.deepcopy, lambda m: pickle.loads(pickle.dumps(m))])
def test_copies_are_equal_and_independent(duplicate):
    layers = model().eval()
    layers[0].weight.requires_grad = False
    twin = duplicate(layers)
    same(twin.state_dict(), layers.state_dict())
    assert [p.requires_grad for p in twin.parameters()] == [p.requires_grad for p in layers.parameters()]
    assert not any(m.training for m in twin.modules())
    x = np.ones((2, 1, 4, 4), np.float32)
    np.testing.assert_array_equal(twin(x).numpy(), layers(x).numpy())
    twin[4].weight.data = twin[4].weight.data + 1
    assert not np.array_equal(twin[4].weight.numpy(), layers[4].weight.numpy())


@pytest.mark.parametrize("duplicate", [copy.deepcopy, lambda m: pickle.loads(pickle.dumps(m))])
def test_what_is_shared_stays_shared_in_a_copy(duplicate):
    twin = duplicate(Nested())
    assert twin.again is twin.layers[0] and twin.tied is twin.layers[1].weight


def test_forward_hooks_see_and_may_replace_the_output_until_removed():
    layer, seen = nn.ReLU(), []
    remove = layer.register_forward_hook(lambda m, inputs, y: seen.append((m, inputs, y)))
    remove_too = layer.register_forward_hook(lambda m, inputs, y: y + 1)
    assert layer(np.zeros(1)).tolist() == [1] and seen[0][0] is layer
    remove()
    remove_too()
    assert layer(np.zeros(1)).tolist() == [0] and len(seen) == 1


def test_a_computed_attribute_replaces_a_parameter_and_cannot_be_set():
    layer = nn.Linear(2, 2, bias=False)
    layer.half = nn.Parameter(np.ones((2, 2), np.float32))
    layer.compute("weight", lambda m: m.half * 2.0)
    assert layer.weight.numpy().tolist() == [[2, 2], [2, 2]]
    assert [name for name, _ in layer.named_parameters()] == ["half"]
    with pytest.raises(AttributeError, match="computed"):
        layer.weight = nn.Parameter(np.ones((2, 2)))
    layer.compute("weight", None)
    layer.weight = nn.Parameter(np.ones((2, 2)))
    assert len(layer.parameters()) == 2


@pytest.mark.parametrize("other", [np.ones((2, 2)), mg.tensor(np.ones((2, 2))), 1.0])
def test_nothing_else_takes_the_place_of_a_parameter_or_a_buffer(other):
    layers = nn.Sequential(nn.Linear(2, 2), nn.BatchNorm(2))
    before = numbers(layers)
    for layer, name in ((layers[0], "weight"), (layers[1], "weight"), (layers[1], "running_mean")):
        with pytest.raises(TypeError, match=f"{type(layer).__name__}.{name}.*data"):
            setattr(layer, name, other)
    same(numbers(layers), before)
    layers[0].weight = nn.Parameter(np.zeros((2, 2)))
    layers[0].bias = None
    assert [name for name, _ in layers[0].named_parameters()] == ["weight"]


@pytest.mark.parametrize("kind", [nn.Parameter, Buffer])
def test_parameters_and_buffers_are_made_of_whatever_tensors_are(kind):
    for data in (1.5, [1.0, 2.0], np.float32(1), np.ones((2, 1)), mg.tensor([1.0])):
        made, wanted = kind(data), mg.tensor(data)
        assert type(made) is kind and isinstance(made.data, np.ndarray) and made.dtype == wanted.dtype
        np.testing.assert_array_equal(made.numpy(), wanted.numpy())
        assert made.requires_grad == (kind is nn.Parameter)
    array = np.ones(2)
    made = kind(array)
    array[:] = 5  # which it has copied
    assert made.numpy().tolist() == [1, 1]


def test_a_module_that_was_not_initialized_says_so():
    class Forgetful(nn.Module):
        def __init__(self):
            self.layer = nn.Linear(2, 2)

        def forward(self, x):
            return self.layer(x)

    with pytest.raises(AttributeError, match=r"super\(\).__init__\(\)"):
        Forgetful()(np.ones((1, 2), np.float32))


def test_unknown_attributes_and_missing_forward_are_errors():
    with pytest.raises(AttributeError, match=r"ReLU.*nothing"):
        nn.ReLU().nothing  # noqa: B018
    with pytest.raises(NotImplementedError, match="forward"):
        nn.Module()(1)


@given(seed=st.integers(0, 2**32 - 1))
def test_the_same_rng_makes_the_same_layers(seed):
    same(model(seed).state_dict(), model(seed).state_dict())


def test_repr_shows_the_layers():
    text = repr(model())
    for name in ("Sequential", "(0): Conv2d(1, 2", "BatchNorm(2", "Linear(8, 3)"):
        assert name in text
