"""Equi-normalization: the function stays, the sum of squares falls to its only minimum, and norms are equal there."""

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import minigrad as mg
import wn
from minigrad import nn, optim
from tests.devices import given_on_each_device, on

seeds = st.integers(0, 2**32 - 1)


def dense(seed, depth=3, dtype=np.float64, bias=True):
    """A fully connected ReLU network with weights and biases of very different sizes, in float64 unless told."""
    rng = np.random.default_rng(seed)
    sizes = [int(n) for n in rng.integers(2, 6, depth + 1)]
    layers = []
    for a, b in itertools.pairwise(sizes):
        layers += [nn.Linear(a, b, bias=bias, rng=rng), nn.LeakyReLU(0.1) if rng.integers(2) else nn.ReLU()]
    return sized(nn.Sequential(*layers[:-1]), rng, dtype), rng.standard_normal((7, sizes[0])).astype(dtype)


def images(seed, dtype=np.float64):
    """Convolutions, transposed ones too, pooling of both kinds, a flatten, dropout; noise before, a softmax after."""
    rng = np.random.default_rng(seed)
    model = nn.Sequential(
        nn.GaussianNoise(0.1, rng),
        nn.Conv2d(2, 3, 3, padding=1, rng=rng),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Sequential(nn.ConvTranspose2d(3, 4, 2, stride=2, rng=rng), nn.LeakyReLU(0.2), nn.Dropout(0.5, rng)),
        nn.Conv2d(4, 2, 3, rng=rng),
        nn.ReLU(),
        nn.AvgPool2d(2),
        nn.Flatten(),
        nn.Linear(8, 5, bias=False, rng=rng),
        nn.ReLU(),
        nn.Linear(5, 3, rng=rng),
        nn.ELU(),
    )
    return sized(model, rng, dtype), rng.standard_normal((3, 2, 6, 6)).astype(dtype)


def sized(model, rng, dtype):
    for p in model.parameters():
        p.data = (rng.standard_normal(p.shape) * np.exp(rng.normal(size=(len(p),) + (1,) * (p.ndim - 1)))).astype(dtype)
    return model.eval()


def weights(model):
    return [layer for layer in model.modules() if isinstance(layer, (nn.Linear, nn.Conv2d, nn.ConvTranspose2d))]


def matrices(model):
    """Each weight as (outputs, inputs, kernel)."""
    return [
        w.weight.numpy().swapaxes(0, 1) if isinstance(w, nn.ConvTranspose2d) else w.weight.numpy()
        for w in weights(model)
    ]


def total(model, p=2, c=1.0):
    """Σ_k c^{p(q-k)} ‖W_k‖ₚᵖ."""
    terms = [(abs(w) ** p).sum() for w in matrices(model)]
    return sum(c ** (p * (len(terms) - k)) * term for k, term in enumerate(terms, start=1))


def both_norms(model, p=2):
    """For each hidden layer, the norms of what comes into each unit and of what goes out of it."""
    result = []
    for a, b in itertools.pairwise(matrices(model)):
        incoming = (abs(a.reshape(len(a), -1)) ** p).sum(axis=1) ** (1 / p)
        outgoing = (abs(b.reshape(len(b), len(a), -1)) ** p).sum(axis=(0, 2)) ** (1 / p)
        result.append((incoming, outgoing))
    return result


def rescaled(model, seed):
    """The same function with every hidden unit of a dense network scaled at random."""
    rng = np.random.default_rng(seed)
    for a, b in itertools.pairwise(weights(model)):
        d = np.exp(rng.normal(size=len(a.weight)))
        a.weight.data, b.weight.data = d[:, None] * a.weight.numpy(), b.weight.numpy() / d
        if a.bias is not None:
            a.bias.data = d * a.bias.numpy()
    return model


c_and_p = {"c": st.sampled_from([1.0, 1.2, 0.7]), "p": st.sampled_from([1, 1.5, 2, 3])}


@pytest.mark.parametrize("network", [dense, images])
@given_on_each_device(seed=seeds, **c_and_p)
def test_the_function_stays(network, seed, c, p, device):
    model, x = network(seed)
    model, x = model.to(device), on(device, x)
    before = model(x).numpy()
    assert wn.equi_normalize(model, c, p) is model
    # float64; the largest terms in a sum can be much larger than the sum
    np.testing.assert_allclose(model(x).numpy(), before, rtol=1e-9, atol=1e-11 * max(1, abs(before).max()))


@given(seed=seeds)
def test_in_float32_there_is_one_rounding_of_each_weight_however_many_cycles(seed):
    model, _ = images(seed, np.float32)
    exact, _ = images(seed, np.float64)
    for p, q in zip(exact.parameters(), model.parameters(), strict=True):
        p.data = q.numpy().astype(np.float64)
    wn.equi_normalize(model, tolerance=0), wn.equi_normalize(exact, tolerance=0)
    for p, q in zip(exact.parameters(), model.parameters(), strict=True):
        assert q.dtype == np.float32
        np.testing.assert_allclose(q.numpy(), p.numpy(), rtol=2e-7)  # the factor and the product: 2 · 6e-8


@pytest.mark.parametrize("network", [dense, images])
@given(seed=seeds, **c_and_p)
def test_no_cycle_increases_the_sum(network, seed, c, p):
    model, _ = network(seed)
    sums = [total(model, p, c)]
    for _ in range(6):
        wn.equi_normalize(model, c, p, cycles=1)
        sums.append(total(model, p, c))
    assert all(after <= before * (1 + 1e-12) for before, after in itertools.pairwise(sums)), sums


@pytest.mark.parametrize("network", [dense, images])
@given(seed=seeds, **c_and_p)
def test_at_the_end_incoming_norms_times_c_are_outgoing_norms_and_it_stays_there(network, seed, c, p):
    model, _ = network(seed)
    wn.equi_normalize(model, c, p, cycles=10_000, tolerance=1e-12)
    for incoming, outgoing in both_norms(model, p):
        np.testing.assert_allclose(c * incoming, outgoing, rtol=1e-9)
    before = model.state_dict()
    wn.equi_normalize(model, c, p)
    for name, array in model.state_dict().items():
        np.testing.assert_allclose(array, before[name], rtol=1e-9)


@given(seed=seeds, c=c_and_p["c"], p=c_and_p["p"])
def test_the_end_does_not_depend_on_which_equivalent_network_one_starts_from(seed, c, p):
    model, other = dense(seed)[0], rescaled(dense(seed)[0], seed + 1)
    for m in (model, other):
        wn.equi_normalize(m, c, p, cycles=10_000, tolerance=1e-12)
    for name, array in model.state_dict().items():
        # a step of 1e-12 at the end leaves a distance of 1e-12/(1 - rate); 1e-8 allows for a rate of 0.9999
        np.testing.assert_allclose(other.state_dict()[name], array, rtol=1e-8, err_msg=name)


@given(seed=seeds, other=seeds)
def test_no_equivalent_network_has_a_smaller_sum(seed, other):
    model, _ = dense(seed)
    smallest = total(wn.equi_normalize(model, cycles=10_000, tolerance=1e-12))
    assert total(rescaled(model, other)) >= smallest * (1 - 1e-12)


def test_more_c_makes_early_weights_smaller():
    norms = {}
    for c in (1.0, 1.2):
        model, _ = dense(3, depth=4)
        wn.equi_normalize(model, c, cycles=1000)
        norms[c] = [np.linalg.norm(w) for w in matrices(model)]
    assert norms[1.2][0] < norms[1.0][0] and norms[1.2][-1] > norms[1.0][-1]


def test_dead_units_are_left_alone():
    model, x = dense(0)
    first, second, _ = weights(model)
    first.weight.data = np.concatenate([np.zeros_like(first.weight.numpy()[:1]), first.weight.numpy()[1:]])
    second.weight.data = np.where(np.arange(second.weight.shape[1]) == 1, 0, second.weight.numpy())
    bias, row, column = first.bias.numpy()[:2], first.weight.numpy()[:2].copy(), second.weight.numpy()[:, 0].copy()
    before = model(x).numpy()
    wn.equi_normalize(model)
    np.testing.assert_allclose(model(x).numpy(), before, rtol=1e-9, atol=1e-12)
    np.testing.assert_array_equal(first.weight.numpy()[:2], row)
    np.testing.assert_array_equal(first.bias.numpy()[:2], bias)
    assert np.isfinite(column).all() and np.isfinite(second.weight.numpy()).all()


@pytest.mark.parametrize(
    "make",
    [
        lambda p: optim.SGD(p, 0.0, momentum=0.9),
        lambda p: optim.Adam(p, 0.0),
        lambda p: optim.AdamW(p, 0.0),
        lambda p: optim.Adamax(p, 0.0),
        lambda p: optim.RMSprop(p, 0.0, momentum=0.9, eps=1e-99),
        lambda p: optim.RMSprop(p, 0.0, eps=1e-99, centered=True),
    ],
)
@pytest.mark.parametrize("network", [dense, images])
def test_what_an_optimizer_remembers_becomes_what_it_would_have_seen(make, network):
    """With learning rate 0 nothing moves, so the memory must be that of the rescaled network's own gradients."""

    def remembered(model, x, equi_normalized):
        optimizer = make(model.parameters())
        for batch in (x, x[:2]):
            model.zero_grad()
            mg.sum(mg.square(model(batch))).backward()
            optimizer.step()
        if equi_normalized:
            wn.equi_normalize(model, optimizer=optimizer)
        return optimizer.state_dict()["state"]

    model, x = network(1)
    found = remembered(model, x, True)
    for after, wanted in zip(found, remembered(model, x, False), strict=True):
        assert after.keys() == wanted.keys() and after
        for name in after:
            np.testing.assert_allclose(after[name], wanted[name], rtol=1e-9, atol=1e-9)


class Custom(nn.Module):
    def forward(self, x):
        return x


def two(*between):
    return nn.Sequential(nn.Linear(4, 4), *between, nn.Linear(4, 4))


SHARED = nn.Linear(4, 4)


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (two(nn.BatchNorm(4)), "BatchNorm at '1'.*fold"),
        (two(nn.ELU()), "ELU at '1'"),
        (two(Custom()), "Custom at '1'"),
        (two(nn.Sequential(nn.ReLU(), nn.GaussianNoise(1))), "GaussianNoise at '1.1'"),
        (two(wn.MeanOnlyBatchNorm(4)), "MeanOnlyBatchNorm"),
        (two(nn.LSTMCell(4, 4)), "LSTMCell"),
        (nn.Linear(4, 4), "nn.Sequential"),
        (nn.Sequential(nn.Linear(4, 4), nn.ReLU(), wn.WeightNorm(nn.Linear(4, 4))), "'2'.*remove_weight_norm"),
        (nn.Sequential(SHARED, nn.ReLU(), SHARED), "'2' shares"),
        (nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Linear(4, 2)), "4 inputs.*'2'"),
        (nn.Sequential(nn.Linear(4, 3), nn.Flatten(), nn.Linear(6, 2)), "6 inputs.*'2'"),
        (nn.Sequential(nn.Conv2d(3, 4, 3), nn.Flatten(), nn.Linear(6, 2)), "6 inputs.*'2'"),
    ],
)
def test_what_would_change_the_function_is_refused_and_nothing_changes(model, message):
    before = model.state_dict()
    with pytest.raises(ValueError, match=message):
        wn.equi_normalize(model)
    for name, array in model.state_dict().items():
        np.testing.assert_array_equal(array, before[name])


def test_an_unknown_optimizer_is_refused():
    model = two(nn.ReLU())
    with pytest.raises(ValueError, match="Optimizer"):
        wn.equi_normalize(model, optimizer=optim.optimizer.Optimizer(model.parameters(), 0.1))


def test_a_single_layer_or_none_has_nothing_to_rescale():
    for model in (nn.Sequential(nn.Linear(3, 2)), nn.Sequential(nn.ReLU())):
        before = model.state_dict()
        wn.equi_normalize(model)
        for name, array in model.state_dict().items():
            np.testing.assert_array_equal(array, before[name])
