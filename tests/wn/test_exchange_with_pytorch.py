"""Weights go to PyTorch and come back by name, and the outputs agree. Where torch is missing, only names are tested."""

import numpy as np
import pytest

import minigrad as mg
import wn
from minigrad import nn

try:
    import torch
except ImportError:
    torch = None
needs_torch = pytest.mark.peers("torch")

# float32 on both sides, sums of at most a hundred products of numbers of size 1 in different orders
CLOSE = {"rtol": 1e-5, "atol": 1e-5}
RNG = np.random.default_rng
CASES = {  # ours, PyTorch's, PyTorch's dim and names of weights, the input's shape
    "Linear": (lambda: nn.Linear(5, 4, rng=RNG(0)), lambda: torch.nn.Linear(5, 4), 0, ["weight"], (3, 5)),
    "Linear without bias": (
        lambda: nn.Linear(5, 4, bias=False, rng=RNG(0)),
        lambda: torch.nn.Linear(5, 4, bias=False),
        0,
        ["weight"],
        (3, 5),
    ),
    "Conv2d": (
        lambda: nn.Conv2d(3, 4, 3, stride=2, padding=1, rng=RNG(0)),
        lambda: torch.nn.Conv2d(3, 4, 3, stride=2, padding=1),
        0,
        ["weight"],
        (2, 3, 6, 6),
    ),
    "ConvTranspose2d": (
        lambda: nn.ConvTranspose2d(3, 4, 3, stride=2, padding=1, output_padding=1, rng=RNG(0)),
        lambda: torch.nn.ConvTranspose2d(3, 4, 3, stride=2, padding=1, output_padding=1),
        1,
        ["weight"],
        (2, 3, 4, 4),
    ),
    "LSTMCell": (
        lambda: nn.LSTMCell(5, 4, rng=RNG(0)),
        lambda: torch.nn.LSTMCell(5, 4),
        0,
        ["weight_ih", "weight_hh"],
        (3, 5),
    ),
}
each_case = pytest.mark.parametrize("case", CASES.values(), ids=CASES)
each_scale = pytest.mark.parametrize("scale", ["linear", "exp"])


def ours_of(case, scale="linear"):
    """Our layer, weight-normalized, with lengths that are not those of v; inside a model, so that names have a path."""
    model = wn.apply_weight_norm(nn.Sequential(case[0]()), scale)
    for name, p in model.named_parameters():
        if name.endswith("_v"):
            p.data = p.data * np.float32(3)
    return model


def theirs_of(case, normalize="parametrizations"):
    """PyTorch's layer, weight-normalized by its new or its old function."""
    torch.manual_seed(1)
    layer = case[1]()
    for name in case[3]:
        if normalize == "parametrizations":
            torch.nn.utils.parametrizations.weight_norm(layer, name, dim=case[2])
        else:
            torch.nn.utils.weight_norm(layer, name, dim=case[2])
    return torch.nn.Sequential(layer)


def as_torch(state):
    return {name: torch.from_numpy(np.array(array)) for name, array in state.items()}


def same_outputs(ours, theirs, shape):
    """After a step (two for a recurrent cell, so that weight_hh counts)."""
    x = RNG(2).standard_normal(shape).astype(np.float32)
    y = torch.from_numpy(x.copy())  # the tape makes x itself read-only
    found, wanted = ours[0](x), theirs[0](y)
    if isinstance(ours[0], nn.LSTMCell):
        found, wanted = ours[0](x, found), theirs[0](y, wanted)
    else:
        found, wanted = (found,), (wanted,)
    for a, b in zip(found, wanted, strict=True):
        np.testing.assert_allclose(a.numpy(), b.detach().numpy(), **CLOSE)


@needs_torch
@each_case
@each_scale
def test_from_here_to_pytorch(case, scale):
    ours, theirs = ours_of(case, scale), theirs_of(case)
    theirs.load_state_dict(as_torch(wn.to_torch_state_dict(ours)))
    same_outputs(ours, theirs, case[4])


@needs_torch
@each_case
@each_scale
def test_from_pytorch_to_here(case, scale):
    ours, theirs = ours_of(case, scale), theirs_of(case)
    assert wn.load_torch_state_dict(ours, theirs.state_dict()) is ours
    same_outputs(ours, theirs, case[4])


@needs_torch
@each_case
@pytest.mark.filterwarnings("ignore:`torch.nn.utils.weight_norm` is deprecated")
def test_from_pytorch_s_old_function_to_here_and_back(case):
    ours, theirs = ours_of(case), theirs_of(case, "old")
    wn.load_torch_state_dict(ours, theirs.state_dict())
    same_outputs(ours, theirs, case[4])
    other = theirs_of(case, "old")
    other.load_state_dict(as_torch(ours_of(case).state_dict()))  # the old names are ours
    same_outputs(ours_of(case), other, case[4])


@needs_torch
@each_case
def test_the_gradients_agree_too(case):
    ours, theirs = ours_of(case), theirs_of(case)
    theirs.load_state_dict(as_torch(wn.to_torch_state_dict(ours)))
    x = RNG(2).standard_normal(case[4]).astype(np.float32)
    mine, other = ours[0](x), theirs[0](torch.from_numpy(x.copy()))
    mine, other = (mine[0], other[0]) if isinstance(mine, tuple) else (mine, other)
    mg.sum(mine * mine).backward()
    (other * other).sum().backward()
    for name in case[3]:
        pair = theirs[0].parametrizations[name]
        for part, theirs_part in (("g", pair.original0), ("v", pair.original1)):
            wanted = 0 * theirs_part if theirs_part.grad is None else theirs_part.grad
            found = getattr(ours[0], f"{name}_{part}").grad.numpy()
            scale = max(1, float(abs(wanted).max()))  # sums over pictures and places: relative to the largest
            np.testing.assert_allclose(found, wanted.detach().numpy(), rtol=1e-4, atol=1e-5 * scale)


@needs_torch
def test_a_single_length_for_the_whole_weight_is_dim_none():
    ours = wn.WeightNorm(nn.Linear(5, 4, rng=RNG(0)), axis=None)
    theirs = torch.nn.utils.parametrizations.weight_norm(torch.nn.Linear(5, 4), dim=None)
    theirs.load_state_dict(as_torch(wn.to_torch_state_dict(ours)))
    same_outputs([ours], [theirs], (3, 5))
    wn.load_torch_state_dict(ours, theirs.state_dict())


@needs_torch
def test_a_network_with_batch_normalization():
    ours = wn.apply_weight_norm(nn.Sequential(nn.Linear(5, 4, rng=RNG(0)), nn.BatchNorm(4), nn.Linear(4, 2)))
    wrap = torch.nn.utils.parametrizations.weight_norm
    theirs = torch.nn.Sequential(wrap(torch.nn.Linear(5, 4)), torch.nn.BatchNorm1d(4), wrap(torch.nn.Linear(4, 2)))
    x = RNG(2).standard_normal((6, 5)).astype(np.float32)
    theirs(torch.from_numpy(x))  # moves the running averages
    wn.load_torch_state_dict(ours, theirs.state_dict())
    np.testing.assert_allclose(ours.eval()(x).numpy(), theirs.eval()(torch.from_numpy(x)).detach().numpy(), **CLOSE)
    theirs.load_state_dict(as_torch(wn.to_torch_state_dict(ours)))


# ---- without torch --------------------------------------------------------------------------------------------------


@each_case
@each_scale
def test_names_go_there_and_back(case, scale):
    ours, other = ours_of(case, scale), ours_of(case, scale)
    state = wn.to_torch_state_dict(ours)
    biases = [name for name in ours.state_dict() if "bias" in name]
    assert sorted(state) == sorted(
        [*biases, *(f"0.parametrizations.{name}.original{i}" for name in case[3] for i in (0, 1))]
    )
    for p in other.parameters():
        p.data = p.data + np.float32(1)
    wn.load_torch_state_dict(other, state)
    for name, wanted in ours.state_dict().items():  # e^s and the logarithm: two roundings
        np.testing.assert_allclose(other.state_dict()[name], wanted, rtol=1e-6, atol=1e-6)


def test_original0_is_g_and_original1_is_v():
    layer = wn.WeightNorm(nn.Conv2d(2, 3, 1))
    shapes = {name: array.shape for name, array in wn.to_torch_state_dict(nn.Sequential(layer)).items()}
    prefix = "0.parametrizations.weight.original"
    assert shapes == {"0.bias": (3,), f"{prefix}0": (3, 1, 1, 1), f"{prefix}1": (3, 2, 1, 1)}


def test_names_without_a_path():
    layer = wn.WeightNorm(nn.Linear(3, 2))
    state = wn.to_torch_state_dict(layer)
    assert sorted(state) == ["bias", "parametrizations.weight.original0", "parametrizations.weight.original1"]
    wn.load_torch_state_dict(layer, state)


def test_what_the_log_scale_cannot_hold_and_zero_vectors_are_refused_and_nothing_changes():
    model = wn.apply_weight_norm(nn.Sequential(nn.ReLU(), nn.Linear(3, 2)), "exp")
    before = model.state_dict()
    for part, message in (
        ("original0", "1.weight_g: g = e.s"),
        ("original1", "Linear.weight_v of layer '1'.*vector 0"),
    ):
        state = wn.to_torch_state_dict(model)
        state[f"1.parametrizations.weight.{part}"][0] = 0
        with pytest.raises(ValueError, match=message):
            wn.load_torch_state_dict(model, state)
    for name, array in model.state_dict().items():
        np.testing.assert_array_equal(array, before[name])


def test_a_model_normalized_in_other_places_is_refused():
    with pytest.raises(KeyError, match="weight_g"):
        wn.load_torch_state_dict(nn.Linear(3, 2), wn.to_torch_state_dict(wn.WeightNorm(nn.Linear(3, 2))))
