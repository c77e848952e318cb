"""Layers, optimizers and weight normalization beside PyTorch's, from the same numbers and in float64."""

import numpy as np
import pytest

import wn
from minigrad import nn, optim
from wn.reparameterization import output_axis, weights

try:
    import torch

    from tests.beside_pytorch import agree, flat, random_vector
except ImportError:
    torch = None

pytestmark = pytest.mark.peers("torch")

# ---- layers ---------------------------------------------------------------------------------------------------------

IMAGES = (3, 2, 5, 6)
LAYERS = [  # the name and arguments that both have, the shape of the input
    ("Linear", (5, 4), {}, (3, 5)), ("Linear", (5, 4), {"bias": False}, (2, 3, 5)),
    ("Conv2d", (2, 3, 3), {}, IMAGES), ("Conv2d", (2, 3, (3, 2), (2, 1), (1, 2)), {}, IMAGES),
    ("ConvTranspose2d", (2, 3, 3, (2, 3), 1, (1, 2)), {}, IMAGES), ("LSTMCell", (5, 4), {}, (3, 5)),
    ("BatchNorm1d", (4,), {}, (5, 4)), ("BatchNorm2d", (2,), {"momentum": 0.3, "eps": 0.1}, IMAGES),
    ("LayerNorm", (6,), {}, IMAGES), ("GroupNorm", (2, 6), {}, (5, 6)),
    ("GroupNorm", (2, 4), {"eps": 0.1}, (3, 4, 5, 2)), ("MaxPool2d", (2,), {}, IMAGES),
    ("AvgPool2d", ((3, 2), 2), {}, IMAGES), ("ReLU", (), {}, IMAGES), ("ELU", (0.5,), {}, IMAGES),
    ("LeakyReLU", (0.2,), {}, IMAGES),
]  # fmt: skip


def paired(ours, theirs, rng):
    """Every parameter and buffer of two layers with the same random numbers, in float64: pairs by PyTorch's names."""
    mine, others = (dict(m.named_parameters()) | dict(m.named_buffers()) for m in (ours, theirs.double()))
    pairs = {there: (mine[here], others[there]) for here, there in zip(mine, wn.to_torch_state_dict(ours), strict=True)}
    for name, (here, there) in pairs.items():
        numbers = rng.uniform(0.5 if name.endswith("var") else -1, 1, here.shape)
        here.data, there.data = numbers, torch.tensor(numbers)
    assert {name for name in others if "num_batches" not in name} == pairs.keys()
    return pairs


@pytest.mark.parametrize("normalized", [False, True], ids=["plain", "weight norm"])
@pytest.mark.parametrize("name, args, options, shape", LAYERS, ids=[f"{name} {args}" for name, args, *_ in LAYERS])
def test_layers_and_what_they_remember(name, args, options, shape, normalized):
    ours = getattr(nn, name.removesuffix("1d") if name != "BatchNorm2d" else "BatchNorm")(*args, **options)
    theirs, rng = getattr(torch.nn, name)(*args, **options), np.random.default_rng(0)
    for weight in weights(ours) if normalized else ():
        wn.WeightNorm(ours, weight)
        torch.nn.utils.parametrizations.weight_norm(theirs, weight, dim=output_axis(ours, weight))
    pairs = paired(ours, theirs, rng)
    for _ in range(2):  # in training; then in evaluation, with the averages that training has left
        x = random_vector(rng, torch.zeros(shape, dtype=torch.float64))
        results = [layer(value) for layer, value in zip((ours, theirs), x, strict=True)]
        if name == "LSTMCell":  # a second step, or the first state would not count
            results = [layer(value, state) for layer, value, state in zip((ours, theirs), x, results, strict=True)]
        leaves = [x, *(pair for pair in pairs.values() if isinstance(pair[0], nn.Parameter))]
        agree(list(zip(*map(flat, results), strict=True)), leaves, 1 if normalized else 2)
        agree([pair for pair in pairs.values() if isinstance(pair[0], nn.Buffer)], leaves, 0)
        ours.eval()
        theirs.eval()


@pytest.mark.parametrize("axis", [0, 1, (0, 2), None])
def test_weight_norm_to_second_order(axis):
    """Beside the formula written out: PyTorch's own weight_norm along axis 0 fails its gradgradcheck (2.13)."""
    rng = np.random.default_rng(0)
    others = [i for i in range(3) if axis is not None and i not in np.atleast_1d(axis)]
    shape = [1 if axis is None or i in others else n for i, n in enumerate((4, 3, 2))]
    (v, theirs_v), (g, theirs_g) = (
        random_vector(rng, torch.zeros(*s, dtype=torch.float64)) for s in ((4, 3, 2), shape)
    )
    length = theirs_v.square().sum(others or (0, 1, 2), keepdim=True).sqrt()
    agree([(wn.weight_norm(v, g, axis), theirs_g * theirs_v / length)], [(v, theirs_v), (g, theirs_g)], 2)


# ---- optimizers -----------------------------------------------------------------------------------------------------

OPTIMIZERS = [  # eps = 0 for Adamax: PyTorch adds it elsewhere (docstring of Adamax)
    ("SGD", {"lr": 0.1}), ("SGD", {"lr": 0.1, "momentum": 0.9, "weight_decay": 0.1}), ("Adam", {}),
    ("Adam", {"lr": 0.1, "betas": (0.5, 0.9), "eps": 1e-2, "weight_decay": 0.1}), ("AdamW", {}),
    ("AdamW", {"lr": 0.1, "betas": (0.8, 0.99), "weight_decay": 0.3}), ("Adamax", {"eps": 0.0}),
    ("Adamax", {"lr": 0.1, "betas": (0.5, 0.9), "eps": 0.0}), ("RMSprop", {}),
    ("RMSprop", {"lr": 0.01, "alpha": 0.9, "eps": 1e-3, "momentum": 0.8, "weight_decay": 0.1}),
    ("RMSprop", {"lr": 0.01, "alpha": 0.9, "eps": 1e-3, "momentum": 0.8, "weight_decay": 0.1, "centered": True}),
]  # fmt: skip


@pytest.mark.parametrize("name, options", OPTIMIZERS, ids=[f"{name} {options}" for name, options in OPTIMIZERS])
def test_twenty_steps(name, options):
    rng = np.random.default_rng(0)
    x, y = random_vector(rng, torch.zeros(3, 4, dtype=torch.float64))
    ours, theirs = getattr(optim, name)([x], **options), getattr(torch.optim, name)([y], **options)
    for _ in range(20):
        slope = rng.standard_normal(x.shape)
        ours.zero_grad()
        theirs.zero_grad()
        (x * slope + x * x).sum().backward()
        (y * torch.tensor(slope) + y * y).sum().backward()
        ours.step()
        theirs.step()
    # 20 steps of a dozen roundings; a small gradient of Adam's may enlarge one a hundred times
    np.testing.assert_allclose(x.numpy(), y.detach().numpy(), rtol=0, atol=20 * 12 * 100 * np.finfo(float).eps)
