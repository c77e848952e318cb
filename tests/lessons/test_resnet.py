"""The residual network of lesson 13: as PyTorch computes it, and equi-normalized."""

import itertools

import numpy as np
import pytest

import minigrad as mg
import wn
from lessons.resnet import ARMS, ResNet18, initialized
from minigrad import nn, optim
from minigrad.nn import functional as F

SHORTCUTS = ("projection", "identity")
NORMS = (None, "batch", "group")
each_kind = pytest.mark.parametrize("shortcut, norm", list(itertools.product(SHORTCUTS, NORMS)))


def in_float64(shortcut, norm, seed=0):
    """A narrow one, with biases, γ and β of any size."""
    rng = np.random.default_rng(seed)
    model = ResNet18(5, 4, shortcut, norm, rng=rng)
    for parameter in model.parameters():
        noise = 0.2 * rng.standard_normal(parameter.shape)
        parameter.data = parameter.numpy().astype(float) + (noise if parameter.ndim == 1 else 0)
    return model, rng.standard_normal((3, 3, 16, 16))


@pytest.mark.parametrize(
    "shortcut, norm, wanted",
    [
        # 11,173,962 are the ResNet-18 for CIFAR-10 whose three shortcuts between stages are normalized projections:
        ("identity", "batch", 11_173_962 - (64 * 128 + 128 * 256 + 256 * 512) - 2 * (128 + 256 + 512)),
        ("projection", "group", 11_173_962 + 64 * 64 * (2 + 4 + 16 + 64) + 2 * (64 + 64 + 128 + 256 + 512)),
        ("identity", None, 11_000_138 - (64 + 4 * (64 + 128 + 256 + 512))),
    ],
)
def test_it_has_as_many_parameters_as_in_the_papers(shortcut, norm, wanted):
    assert sum(p.size for p in ResNet18(10, 64, shortcut, norm).parameters()) == wanted


def test_weights_start_with_variance_two_over_fan_in():
    model = ResNet18(10, 16, rng=np.random.default_rng(0))
    assert all(p.dtype == np.float32 for p in model.parameters())
    for layer in model.modules():
        if isinstance(layer, nn.Conv2d) and layer.weight.size > 10_000:
            assert layer.weight.numpy().var() == pytest.approx(2 / layer.weight[0].size, rel=0.1)
            assert not layer.bias.numpy().any()


def test_unknown_kinds_are_refused():
    with pytest.raises(ValueError, match="'none'"):
        ResNet18(10, 4, shortcut="none")
    with pytest.raises(ValueError, match="'layer'"):
        ResNet18(10, 4, norm="layer")


@pytest.mark.parametrize("norm", NORMS)
def test_it_learns(norm):
    rng = np.random.default_rng(0)
    model = ResNet18(3, 4, norm=norm, rng=rng)
    x, labels = rng.standard_normal((6, 3, 8, 8), dtype=np.float32), np.arange(6) % 3
    optimizer, losses = optim.Adam(model.parameters(), 0.01), []
    for _ in range(15):
        loss = F.cross_entropy(model(mg.tensor(x)), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.3 * losses[0]


@pytest.mark.parametrize("norm", NORMS[:2])
@pytest.mark.parametrize("shortcut", SHORTCUTS)
def test_equi_normalized_it_is_the_same_function(shortcut, norm):
    model, x = in_float64(shortcut, norm)
    before = [model.train(mode)(x).numpy() for mode in (True, False)]
    balance = wn.EquiNormalizer(model, x)
    total = balance.total()
    assert balance(5000, 1e-9) <= 1e-9 and balance.total() < 0.98 * total
    for mode, wanted in zip((False, True), reversed(before), strict=True):
        np.testing.assert_allclose(model.train(mode)(x).numpy(), wanted, rtol=0, atol=1e-10 * abs(wanted).max())
    np.testing.assert_allclose(*balance.norms(), rtol=1e-7)


@pytest.mark.parametrize("shortcut", SHORTCUTS)
def test_identity_shortcuts_tie_the_units_of_all_stages(shortcut):
    """With projections each block has units of its own at its end; with identities the sums have one set for all."""
    model, x = in_float64(shortcut, None)
    incoming, _ = wn.EquiNormalizer(model, x).norms()
    inside = 2 * (4 + 8 + 16 + 32)  # between the two convolutions of each block
    assert len(incoming) == inside + (32 if shortcut == "identity" else 4 + inside)


def test_group_normalization_is_refused_by_name():
    model, x = in_float64("projection", "group")
    with pytest.raises(ValueError, match=r"normalize in GroupNorm at 'stem\.1'"):
        wn.equi_normalize(model, example=x)


@pytest.mark.peers("torch")
@each_kind
def test_logits_and_gradients_are_those_of_pytorch_before_and_after(shortcut, norm):
    import torch

    model, x = in_float64(shortcut, norm)
    labels = np.array([0, 3, 1])
    found = []
    for equi_normalized in (False, True) if norm != "group" else (False,):
        if equi_normalized:
            wn.equi_normalize(model, example=x)
        state = {name: torch.from_numpy(array) for name, array in wn.to_torch_state_dict(model).items()}
        weights = [state[name].requires_grad_() for name, _ in model.named_parameters()]
        theirs = logits_in_torch(state, torch.from_numpy(x), shortcut, norm, groups=2)
        torch.nn.functional.cross_entropy(theirs, torch.from_numpy(labels)).backward()
        ours = model(mg.tensor(x))
        model.zero_grad()
        F.cross_entropy(ours, labels).backward()
        np.testing.assert_allclose(ours.numpy(), theirs.detach().numpy(), rtol=0, atol=1e-10 * abs(ours.numpy()).max())
        for parameter, weight in zip(model.parameters(), weights, strict=True):
            wanted = weight.grad.numpy()
            np.testing.assert_allclose(parameter.grad.numpy(), wanted, rtol=0, atol=1e-9 * max(1, abs(wanted).max()))
        found.append(ours.numpy())
    np.testing.assert_allclose(found[-1], found[0], rtol=0, atol=1e-10 * abs(found[0]).max())


def logits_in_torch(state, x, shortcut, norm, groups):
    """He et al.'s network, written out with PyTorch's functions and nothing of minigrad's, in training."""
    from torch.nn import functional as torch_f

    def conv(name, h, stride):
        if norm is None:
            weight, bias = state[f"{name}.weight"], state[f"{name}.bias"]
            return torch_f.conv2d(h, weight, bias, stride, weight.shape[-1] // 2)
        weight = state[f"{name}.0.weight"]
        h = torch_f.conv2d(h, weight, None, stride, weight.shape[-1] // 2)
        gamma, beta = state[f"{name}.1.weight"], state[f"{name}.1.bias"]
        if norm == "group":
            return torch_f.group_norm(h, groups, gamma, beta)
        return torch_f.batch_norm(h, None, None, gamma, beta, training=True)

    h = torch_f.relu(conv("stem", x, 1))
    for i in range(8):
        stride, name = 2 if i in (2, 4, 6) else 1, f"blocks.{i}"
        body = conv(f"{name}.second", torch_f.relu(conv(f"{name}.first", h, stride)), 1)
        if shortcut == "projection":
            h = conv(f"{name}.shortcut", h, stride)
        elif stride == 2:
            h = torch_f.pad(h[:, :, ::2, ::2], (0, 0, 0, 0, 0, h.shape[1]))
        h = torch_f.relu(body + h)
    return torch_f.linear(h.mean(dim=(2, 3)), state["last.weight"], state["last.bias"])


def test_the_arms_without_a_normalization_of_outputs_start_as_one_function():
    x = np.random.default_rng(0).standard_normal((20, 3, 8, 8), dtype=np.float32)
    models = {arm: initialized(arm, 5, 4, np.random.default_rng(1), x) for arm in ARMS}
    outputs = {arm: model.eval()(mg.tensor(x)).numpy() for arm, model in models.items()}
    for arm in ("balanced once", "equi-normalized", "weight norm"):
        np.testing.assert_allclose(outputs[arm], outputs["plain"], atol=1e-3)  # logits of size 1, 20 layers in float32
    assert abs(outputs["group norm"] - outputs["plain"]).max() > 0.1
    np.testing.assert_allclose(outputs["plain"].std(axis=0), 1, rtol=1e-3)  # data-dependent initialization


def test_balanced_once_is_balanced_and_no_other_arm_is():
    x = np.random.default_rng(0).standard_normal((20, 3, 8, 8), dtype=np.float32)
    for arm in ("plain", "balanced once", "equi-normalized"):
        incoming, outgoing = wn.EquiNormalizer(initialized(arm, 5, 4, np.random.default_rng(1), x), x[:2]).norms()
        assert (abs(np.log(incoming / outgoing)).max() < 1e-3) == (arm == "balanced once")
