"""LSTMCell against its formulas, weight-normalized, and with its weights computed once for a sequence."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import minigrad as mg
import wn
from minigrad import nn
from tests.devices import given_on_each_device, on

seeds = st.integers(0, 2**32 - 1)
TOLERANCE = {"rtol": 1e-5, "atol": 1e-6}  # float32, ε = 1.2e-7, sums of a dozen numbers of size 1


def normal(seed, *shape, dtype=np.float32):
    return np.random.default_rng(seed).standard_normal(shape).astype(dtype)


def made(seed=0, bias=True, dtype=np.float32, peepholes=False):
    cell = nn.LSTMCell(3, 2, bias, np.random.default_rng(seed), peepholes)
    for p in cell.parameters():
        p.data = p.numpy().astype(dtype)
    return cell


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def step(state, x, h, c):
    """The equations of PyTorch's documentation, gate by gate, and Gers' peepholes, from a state dict."""
    gates = []
    for k in range(4):
        rows = slice(2 * k, 2 * k + 2)
        t = x @ state["weight_ih"][rows].T + h @ state["weight_hh"][rows].T
        gates.append(t + state["bias_ih"][rows] + state["bias_hh"][rows] if "bias_ih" in state else t)
    p_i, p_f, p_o = state.get("weight_peephole", np.zeros((3, 2)))
    c = sigmoid(gates[1] + p_f * c) * c + sigmoid(gates[0] + p_i * c) * np.tanh(gates[2])
    return sigmoid(gates[3] + p_o * c) * np.tanh(c), c


@given_on_each_device(
    seed=seeds, lead=st.sampled_from([(), (4,), (2, 4), (0,)]), bias=st.booleans(), peepholes=st.booleans()
)
def test_a_step_follows_its_formulas(seed, lead, bias, peepholes, device):
    cell, x = made(seed, bias, peepholes=peepholes).to(device), normal(seed, *lead, 3)
    h, c = normal(seed + 1, *lead, 2), normal(seed + 2, *lead, 2)
    expected = step(cell.state_dict(), x, h, c)
    x, h, c = on(device, (x, h, c))
    for found, wanted in zip(cell(x, (h, c)), expected, strict=True):
        assert found.dtype == np.float32 and found.shape == (*lead, 2) and found.device == device
        np.testing.assert_allclose(found.numpy(), wanted, **TOLERANCE)
    for found, wanted in zip(cell(mg.tensor(x)), cell(x, (0 * h, 0 * c)), strict=True):
        np.testing.assert_array_equal(found.numpy(), wanted.numpy())


def test_names_shapes_and_bounds_are_pytorch_s():
    cell = nn.LSTMCell(50, 100, rng=np.random.default_rng(0))
    shapes = {name: p.shape for name, p in cell.named_parameters()}
    assert shapes == {"weight_ih": (400, 50), "weight_hh": (400, 100), "bias_ih": (400,), "bias_hh": (400,)}
    for p in cell.parameters():
        assert p.dtype == np.float32 and np.abs(p.numpy()).max() <= 0.1
    assert cell.weight_hh.numpy().var() == pytest.approx(0.1**2 / 3, rel=0.05)  # 40,000 numbers: standard error 0.4 %
    assert list(nn.LSTMCell(3, 2, bias=False).state_dict()) == ["weight_ih", "weight_hh"]
    assert repr(cell) == "LSTMCell(50, 100)"


def test_peepholes_are_three_numbers_for_each_unit():
    cell = nn.LSTMCell(50, 100, bias=False, rng=np.random.default_rng(0), peepholes=True)
    peephole = cell.state_dict()["weight_peephole"]
    assert peephole.shape == (3, 100) and peephole.dtype == np.float32 and 0.09 < np.abs(peephole).max() <= 0.1
    assert repr(cell) == "LSTMCell(50, 100, bias=False, peepholes=True)"
    without = nn.LSTMCell(50, 100, bias=False, rng=np.random.default_rng(0))  # the other weights are the same
    assert all((cell.state_dict()[name] == array).all() for name, array in without.state_dict().items())


@given(seed=seeds, peepholes=st.booleans())
def test_gradients_through_time_are_those_of_central_differences(seed, peepholes):
    x, h, c = (normal(seed + i, 2, n, dtype=float) for i, n in enumerate((3, 2, 2)))
    cell = made(seed, dtype=float, peepholes=peepholes)
    names, values = zip(*((name, p.numpy()) for name, p in cell.named_parameters()), strict=True)

    def two_steps(x, h, c, *weights):
        for name, w in zip(names, weights, strict=True):
            vars(cell)[name] = w
        return cell(x, cell(x, (h, c)))

    mg.testing.check_grads(two_steps, [x, h, c, *values], order=1)


@pytest.mark.parametrize("peepholes", [False, True])
def test_gradients_of_a_normalized_cell_have_gradients(peepholes, device):
    cell = wn.apply_weight_norm(made(dtype=float, peepholes=peepholes))
    names, values = zip(*((name, p.numpy()) for name, p in cell.named_parameters()), strict=True)
    x, h, c = (on(device, normal(i, 2, n, dtype=float)) for i, n in enumerate((3, 2, 2)))

    def two_steps(*weights):
        for name, w in zip(names, weights, strict=True):
            vars(cell)[name] = w
        return cell(x, cell(x, (h, c)))

    mg.testing.check_grads(two_steps, on(device, list(values)), order=2)


@pytest.mark.parametrize(
    "shapes",
    [
        ((2, 4), (2, 2), (2, 2)),
        ((2, 3), (2, 3), (2, 2)),
        ((2, 3), (1, 2), (1, 2)),
        ((2, 3), (2, 2), (2,)),
        ((), (2,), (2,)),
    ],
)
def test_other_shapes_are_refused(shapes):
    x, h, c = (np.ones(s, np.float32) for s in shapes)
    with pytest.raises(ValueError, match="LSTMCell"):
        made()(x, (h, c))


def test_a_state_is_a_pair():
    x, h = np.ones((2, 3), np.float32), np.ones((2, 4), np.float32)
    with pytest.raises(TypeError, match=r"pair \(h, c\), not ndarray"):
        made()(x, h)


# ---- weight normalization -------------------------------------------------------------------------------------------


def run(cell, xs):
    """The sum of all outputs along a sequence (T, N, 3)."""
    state, total = None, 0.0
    for x in xs:
        state = cell(x, state)
        total = total + mg.sum(mg.square(state[0]))
    return total


def test_peepholes_are_not_normalized():
    cell = wn.apply_weight_norm(made(peepholes=True))
    assert isinstance(cell.weight_peephole, nn.Parameter) and cell.weight_peephole.shape == (3, 2)
    assert {name for name, _ in cell.named_parameters() if "peephole" in name} == {"weight_peephole"}


@pytest.mark.parametrize("scale", ["linear", "exp"])
def test_both_matrices_are_normalized_by_rows_and_the_function_stays(scale, device):
    cell, xs = made().to(device), on(device, normal(1, 5, 4, 3))
    before = run(cell, xs).item()
    wn.apply_weight_norm(nn.Sequential(cell), scale)
    wn.apply_weight_norm(cell, scale)
    assert {name: p.shape for name, p in cell.named_parameters()} == {
        "bias_ih": (8,),
        "bias_hh": (8,),
        "weight_ih_g": (8, 1),
        "weight_ih_v": (8, 3),
        "weight_hh_g": (8, 1),
        "weight_hh_v": (8, 2),
    }
    assert run(cell, xs).item() == pytest.approx(before, rel=1e-5)
    wn.remove_weight_norm(cell)
    assert run(cell, xs).item() == pytest.approx(before, rel=1e-5)
    assert sorted(cell.state_dict()) == sorted(made().state_dict())


def test_what_one_matrix_has_already_the_other_gets():
    cell = wn.WeightNorm(made(), "weight_hh")
    assert {"weight_ih_v", "weight_hh_v"} <= wn.apply_weight_norm(cell).state_dict().keys()


# ---- computed once --------------------------------------------------------------------------------------------------


def counting(cell):
    """Make the cell's computed weights count how often they are computed."""
    counts = {}
    for name, function in list(cell._computed.items()):

        def count(layer, name=name, function=function):
            counts[name] = counts.get(name, 0) + 1
            return function(layer)

        cell._computed[name] = count
    return counts


@given_on_each_device(seed=seeds)
def test_weights_computed_once_give_the_same_gradients(seed, device):
    cell = wn.apply_weight_norm(made(seed, dtype=float).to(device))
    xs = on(device, normal(seed, 5, 4, 3, dtype=float))
    wanted = mg.grad(run(cell, xs), cell.parameters())
    counts = counting(cell)
    with nn.Sequential(cell).computed_once():
        assert cell.weight_ih is cell.weight_ih
        found = mg.grad(run(cell, xs), cell.parameters())
    assert counts == {"weight_ih": 1, "weight_hh": 1}
    for a, b in zip(found, wanted, strict=True):
        np.testing.assert_allclose(a.numpy(), b.numpy(), rtol=1e-12, atol=1e-12)
    assert cell.weight_ih is not cell.weight_ih


def test_what_was_kept_is_forgotten_at_the_end_also_after_an_error():
    cell = wn.apply_weight_norm(made())
    with pytest.raises(KeyboardInterrupt), cell.computed_once():
        kept = cell.weight_ih
        with cell.computed_once():  # within another one, it goes on keeping
            assert cell.weight_ih is kept
        assert cell.weight_ih is kept
        raise KeyboardInterrupt
    cell.weight_ih_g.data = cell.weight_ih_g.numpy() * 2
    np.testing.assert_allclose(cell.weight_ih.numpy(), 2 * kept.numpy(), rtol=1e-6)


def test_weights_computed_without_a_record_are_not_used_with_one():
    cell = wn.apply_weight_norm(made())
    with cell.computed_once():
        with mg.no_grad():
            assert not cell.weight_ih.requires_grad
        assert cell.weight_ih.requires_grad
