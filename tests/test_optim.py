"""The optimizers against the published formulas, and what they promise about state and arrays."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import minigrad as mg
from minigrad import nn, optim
from minigrad.optim import schedules

seeds = st.integers(0, 2**32 - 1)
STEPS = 12


def gradients(seed, steps=STEPS):
    return np.random.default_rng(seed).standard_normal((steps, 3))


def parameter(dtype=np.float64):
    return nn.Parameter(np.array([1.0, -2.0, 3.0], dtype))


def follow(optimizer, p, grads):
    """The parameter after each of the steps."""
    path = []
    for g in grads:
        p.grad = mg.tensor(g.astype(p.dtype))
        optimizer.step()
        path.append(p.numpy().copy())
    return np.array(path)


def sgd(x, grads, lr, momentum=0.0, weight_decay=0.0):
    """As in PyTorch's documentation: without dampening, the first velocity is the first gradient."""
    velocity, path = 0, []
    for g in grads:
        velocity = momentum * velocity + g + weight_decay * x
        x = x - lr * velocity
        path.append(x)
    return np.array(path)


def adam(x, grads, lr, betas=(0.9, 0.999), eps=1e-8, weight_decay=0.0):
    """Kingma & Ba 2014, algorithm 1, line by line; β₁ may be a sequence."""
    m, v, path = 0, 0, []
    for t, g in enumerate(grads, start=1):
        beta1, beta2 = np.broadcast_to(betas[0], len(grads))[t - 1], betas[1]
        g = g + weight_decay * x
        m = beta1 * m + (1 - beta1) * g
        v = beta2 * v + (1 - beta2) * g**2
        x = x - lr * (m / (1 - beta1**t)) / (np.sqrt(v / (1 - beta2**t)) + eps)
        path.append(x)
    return np.array(path)


START = np.array([1.0, -2.0, 3.0])
TOLERANCE = {"rtol": 1e-12, "atol": 1e-13}  # a dozen steps in float64


@given(seed=seeds, momentum=st.sampled_from([0.0, 0.5, 0.9]), decay=st.sampled_from([0.0, 0.1]))
def test_sgd_follows_its_formula(seed, momentum, decay):
    p, grads = parameter(), gradients(seed)
    path = follow(optim.SGD([p], 0.1, momentum, decay), p, grads)
    np.testing.assert_allclose(path, sgd(START, grads, 0.1, momentum, decay), **TOLERANCE)


@given(seed=seeds, betas=st.sampled_from([(0.9, 0.999), (0.5, 0.9), (0.0, 0.0)]), eps=st.sampled_from([1e-8, 0.1]),
       decay=st.sampled_from([0.0, 0.1]))  # fmt: skip
def test_adam_follows_algorithm_1(seed, betas, eps, decay):
    p, grads = parameter(), gradients(seed)
    path = follow(optim.Adam([p], 0.01, betas, eps, decay), p, grads)
    np.testing.assert_allclose(path, adam(START, grads, 0.01, betas, eps, decay), **TOLERANCE)


@given(seed=seeds)
def test_adam_with_beta1_changed_midway(seed):
    p, grads = parameter(), gradients(seed)
    optimizer = optim.Adam([p], 0.01)
    first = follow(optimizer, p, grads[:6])
    optimizer.betas = (0.5, 0.999)
    second = follow(optimizer, p, grads[6:])
    wanted = adam(START, grads, 0.01, ([0.9] * 6 + [0.5] * 6, 0.999))
    np.testing.assert_allclose(np.concatenate([first, second]), wanted, **TOLERANCE)


MAKERS = {
    "SGD": lambda params: optim.SGD(params, 0.1),
    "momentum": lambda params: optim.SGD(params, 0.1, 0.9, 0.01),
    "Adam": lambda params: optim.Adam(params, 0.01),
}
every_optimizer = pytest.mark.parametrize("make", MAKERS.values(), ids=MAKERS)


@every_optimizer
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_resuming_from_a_checkpoint_is_the_same_to_the_bit(make, dtype, tmp_path):
    grads = gradients(0)
    straight = follow(make([p := parameter(dtype)]), p, grads)
    first = make([p := parameter(dtype)])
    follow(first, p, grads[:5])
    mg.save(tmp_path / "run", {"p": p, "optimizer": first.state_dict()})
    follow(first, p, grads[5:])  # what goes on afterwards does not change what was saved
    saved = mg.load(tmp_path / "run")
    second = make([q := nn.Parameter(saved["p"])])
    second.load_state_dict(saved["optimizer"])
    assert follow(second, q, grads[5:]).tobytes() == straight[5:].tobytes()


@every_optimizer
def test_a_state_dict_is_a_snapshot(make):
    p, grads = parameter(), gradients(0)
    optimizer = make([p])
    follow(optimizer, p, grads[:3])
    saved, before = optimizer.state_dict(), p.numpy()
    once = follow(optimizer, p, grads[3:])
    optimizer.load_state_dict(saved)
    p.data = before
    assert follow(optimizer, p, grads[3:]).tobytes() == once.tobytes()


@every_optimizer
def test_a_step_never_writes_into_arrays(make):
    p = parameter()
    optimizer = make([p])
    for g in gradients(0, 3):
        old, p.grad = p.data, mg.tensor(g)
        for array in (old, p.grad.data):
            array.flags.writeable = False
        copy, gradient = old.copy(), p.grad.numpy()
        optimizer.step()
        assert p.data is not old
        np.testing.assert_array_equal(old, copy)
        np.testing.assert_array_equal(gradient, g)


@every_optimizer
def test_parameters_without_a_gradient_stay(make):
    p, q = parameter(), parameter()
    optimizer = make([p, q])
    follow(optimizer, p, gradients(0, 2))
    assert q.numpy().tolist() == START.tolist() and p.numpy().tolist() != START.tolist()
    optimizer.zero_grad()
    assert p.grad is None


@every_optimizer
@pytest.mark.parametrize("shape", [(), (0,), (2, 3)])
def test_float32_parameters_stay_float32_whatever_the_learning_rate_is(make, shape):
    p = nn.Parameter(np.ones(shape, np.float32))
    optimizer = make([p])
    for scale in (1.0, np.float64(0.5)):
        optimizer.lr = optimizer.lr * scale
        p.grad = mg.tensor(np.ones(shape, np.float32))
        optimizer.step()
    assert isinstance(p.data, np.ndarray) and p.dtype == np.float32 and p.shape == shape
    assert {v.dtype for s in optimizer.state for v in s.values() if not isinstance(v, int)} <= {np.dtype(np.float32)}


@every_optimizer
def test_the_minimum_of_a_parabola_is_found(make):
    p = nn.Parameter(np.array([0.5]))
    optimizer = make([p])
    for _ in range(500):
        optimizer.zero_grad()
        ((p - 1.0) ** 2).sum().backward()
        optimizer.step()
    assert p.item() == pytest.approx(1, abs=0.05)  # weight decay 0.01 moves the minimum by 0.005


def test_bad_arguments_are_refused():
    with pytest.raises(ValueError, match="no parameters"):
        optim.SGD([], 0.1)
    with pytest.raises(ValueError, match="negative"):
        optim.Adam([parameter()], -1)
    with pytest.raises(ValueError, match=r"2 parameters.*1"):
        optim.SGD([parameter()], 0.1).load_state_dict(optim.SGD([parameter(), parameter()], 0.1).state_dict())


def test_the_schedule_is_constant_then_linear():
    factors = [schedules.constant_then_linear(epoch, 200) for epoch in range(200)]
    assert factors[:101] == [1.0] * 101 and factors[150] == 0.5 and factors[199] == pytest.approx(0.01)
    with pytest.raises(ValueError):
        schedules.constant_then_linear(200, 200)
