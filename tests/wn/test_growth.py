"""Section 2.1: how ‖v‖ grows, step by step."""

import copy

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import minigrad as mg
import wn
from minigrad import nn, optim
from tests.devices import given_on_each_device

seeds = st.integers(0, 2**32 - 1)
rng = np.random.default_rng(0)
X, Y = rng.standard_normal((12, 4)), rng.standard_normal((12, 2))


def network(seed, scale="linear", normalized=True):
    """A small network in float64."""
    made = np.random.default_rng(seed)
    model = nn.Sequential(nn.Linear(4, 5, rng=made), nn.LeakyReLU(0.1), nn.Linear(5, 2, rng=made))
    for p in model.parameters():
        p.data = p.data.astype(np.float64)
    return wn.apply_weight_norm(model, scale) if normalized else model


def train(model, optimizer, tracker, steps):
    x, y = (mg.tensor(a, device=model.parameters()[0].device) for a in (X, Y))
    for _ in range(steps):
        optimizer.zero_grad()
        ((model(x) - y) ** 2).mean().backward()
        optimizer.step()
        tracker.record()


@given_on_each_device(seed=seeds, scale=st.sampled_from(["linear", "exp"]), every=st.sampled_from([1, 3]))
def test_plain_gradient_descent_leads_to_the_predicted_norm(seed, scale, every, device):
    model = network(seed, scale).to(device)
    optimizer = optim.SGD(model.parameters(), 0.05)
    tracker = wn.NormTracker(model, optimizer, every)
    train(model, optimizer, tracker, 12)
    for layer in tracker.layers:
        norm, predicted = (tracker.history(layer, quantity) for quantity in ("norm", "predicted_norm"))
        np.testing.assert_allclose(predicted, norm, rtol=1e-12)  # exact but for rounding: ∇_v ⟂ v
        assert (np.diff(norm, axis=0) >= -1e-12).all()


@given(seed=seeds)
def test_momentum_leaves_the_prediction(seed):
    model = network(seed)
    optimizer = optim.SGD(model.parameters(), 0.05, momentum=0.9)
    tracker = wn.NormTracker(model, optimizer)
    train(model, optimizer, tracker, 12)
    assert np.abs(tracker.history("0", "predicted_norm")[-1] / tracker.history("0", "norm")[-1] - 1).max() > 1e-6


@given_on_each_device(seed=seeds)
def test_the_quantities_are_what_they_say(seed, device):
    model = network(seed, "exp").to(device)
    optimizer = optim.SGD(model.parameters(), 0.05)
    tracker = wn.NormTracker(model, optimizer)
    v = model[0].weight_v.numpy()
    train(model, optimizer, tracker, 1)
    new, grad = model[0].weight_v.numpy(), model[0].weight_v.grad.numpy()
    wanted = {
        "norm": np.linalg.norm(new, axis=1),
        "g": np.linalg.norm(model[0].weight.numpy(), axis=1),
        "grad_norm": np.linalg.norm(grad, axis=1),
        "relative_step": np.linalg.norm(new - v, axis=1) / np.linalg.norm(v, axis=1),
        "effective_lr": 0.05 / np.linalg.norm(new, axis=1) ** 2,
    }
    for quantity, value in wanted.items():
        history = tracker.history("0", quantity)
        assert history.shape == (2, 5)
        np.testing.assert_allclose(history[1], value, rtol=1e-12)
    assert tracker.history("0", "relative_step")[0].tolist() == [0] * 5


@given(seed=seeds)
def test_the_norm_grows_by_the_law_of_the_relative_step(seed):
    """‖v′‖ = √(1 + c²) ‖v‖ with c = ‖Δv‖/‖v‖."""
    model = network(seed)
    optimizer = optim.SGD(model.parameters(), 0.5)
    tracker = wn.NormTracker(model, optimizer)
    train(model, optimizer, tracker, 5)
    norm, c = tracker.history("2", "norm"), tracker.history("2", "relative_step")
    np.testing.assert_allclose(norm[1:], np.sqrt(1 + c[1:] ** 2) * norm[:-1], rtol=1e-12)


def test_layers_without_normalization_are_followed_by_their_weights():
    model = network(0, normalized=False)
    optimizer = optim.SGD(model.parameters(), 0.05)
    tracker = wn.NormTracker(model, optimizer)
    train(model, optimizer, tracker, 2)
    assert tracker.layers == ["0", "2"] and tracker.steps == [0, 1, 2]
    np.testing.assert_allclose(tracker.history("0", "norm")[-1], np.linalg.norm(model[0].weight.numpy(), axis=1))
    np.testing.assert_array_equal(tracker.history("0", "g"), tracker.history("0", "norm"))


def test_a_transposed_convolution_is_followed_along_its_outputs():
    model = wn.apply_weight_norm(nn.Sequential(nn.ConvTranspose2d(3, 2, 2)))
    tracker = wn.NormTracker(model, optim.SGD(model.parameters(), 0.1))
    assert tracker.history("0", "norm").shape == (1, 2)


@pytest.mark.parametrize("every", [1, 2])
def test_going_on_from_a_checkpoint_gives_the_same_history(every, tmp_path, device):
    model = network(0).to(device)
    optimizer = optim.SGD(model.parameters(), 0.05)
    tracker = wn.NormTracker(model, optimizer, every)
    train(model, optimizer, tracker, 5)
    state, saved = model.state_dict(), tracker.state_dict()
    mg.save(tmp_path / "tracker", saved)
    frozen = copy.deepcopy(saved)
    train(model, optimizer, tracker, 4)
    assert saved["steps"] == frozen["steps"] and saved["count"] == frozen["count"]  # a snapshot: it does not go on
    for name in tracker.layers:
        np.testing.assert_array_equal(saved["predicted"][name], frozen["predicted"][name])

    other = network(1).to(device)
    other.load_state_dict(state)
    optimizer = optim.SGD(other.parameters(), 0.05)
    resumed = wn.NormTracker(other, optimizer, every)
    resumed.load_state_dict(mg.load(tmp_path / "tracker"))
    train(other, optimizer, resumed, 4)
    assert resumed.steps == tracker.steps
    for layer in tracker.layers:
        for quantity in tracker.QUANTITIES:
            np.testing.assert_array_equal(resumed.history(layer, quantity), tracker.history(layer, quantity))


def test_unknown_names_and_other_models_are_errors():
    model = network(0)
    tracker = wn.NormTracker(model, optim.SGD(model.parameters(), 0.1))
    for layer, quantity in (("1", "norm"), ("0", "speed")):
        with pytest.raises(KeyError, match="there are"):
            tracker.history(layer, quantity)
    linear = nn.Linear(2, 2)
    with pytest.raises(ValueError, match="layers"):
        wn.NormTracker(linear, optim.SGD(linear.parameters(), 0.1)).load_state_dict(tracker.state_dict())
