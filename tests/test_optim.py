"""The optimizers against the published formulas, and what they promise about state and arrays."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import minigrad as mg
from minigrad import nn, optim
from minigrad.optim import schedules
from tests.devices import given_on_each_device, on

seeds = st.integers(0, 2**32 - 1)
STEPS = 12


def gradients(seed, steps=STEPS):
    return np.random.default_rng(seed).standard_normal((steps, 3))


def parameter(dtype=np.float64, device="cpu"):
    return nn.Parameter(on(device, np.array([1.0, -2.0, 3.0], dtype)))


def follow(optimizer, p, grads):
    """The parameter after each of the steps."""
    path = []
    for g in grads:
        p.grad = mg.tensor(g.astype(p.dtype), device=p.device)
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


def adamw(x, grads, lr, betas, eps, weight_decay):
    """Loshchilov & Hutter 2017, algorithm 2, with the learning rate also on the decay, as in PyTorch."""
    m, v, path = 0, 0, []
    for t, g in enumerate(grads, start=1):
        m = betas[0] * m + (1 - betas[0]) * g
        v = betas[1] * v + (1 - betas[1]) * g**2
        x = x - lr * ((m / (1 - betas[0] ** t)) / (np.sqrt(v / (1 - betas[1] ** t)) + eps) + weight_decay * x)
        path.append(x)
    return np.array(path)


def adamax(x, grads, lr, betas, eps, bias_correction):
    """Kingma & Ba 2014, algorithm 2; eps is added to u."""
    m, u, path = 0, 0, []
    for t, g in enumerate(grads, start=1):
        m = betas[0] * m + (1 - betas[0]) * g
        u = np.maximum(betas[1] * u, np.abs(g))
        x = x - lr / (1 - betas[0] ** t if bias_correction else 1) * m / (u + eps)
        path.append(x)
    return np.array(path)


def rmsprop(x, grads, lr, alpha, eps, weight_decay, momentum, centered):
    """As in PyTorch's documentation."""
    v, mean, b, path = 0, 0, 0, []
    for g in grads:
        g = g + weight_decay * x
        v = alpha * v + (1 - alpha) * g**2
        mean = alpha * mean + (1 - alpha) * g
        b = momentum * b + g / (np.sqrt(v - centered * mean**2) + eps)
        x = x - lr * b
        path.append(x)
    return np.array(path)


START = np.array([1.0, -2.0, 3.0])
TOLERANCE = {"rtol": 1e-12, "atol": 1e-13}  # a dozen steps in float64


every_beta = st.sampled_from([(0.9, 0.999), (0.5, 0.9), (0.0, 0.0)])
every_eps = st.sampled_from([1e-8, 0.1])


@given_on_each_device(seed=seeds, momentum=st.sampled_from([0.0, 0.5, 0.9]), decay=st.sampled_from([0.0, 0.1]))
def test_sgd_follows_its_formula(seed, momentum, decay, device):
    p, grads = parameter(device=device), gradients(seed)
    path = follow(optim.SGD([p], 0.1, momentum, decay), p, grads)
    np.testing.assert_allclose(path, sgd(START, grads, 0.1, momentum, decay), **TOLERANCE)


@given_on_each_device(seed=seeds, betas=every_beta, eps=every_eps, decay=st.sampled_from([0.0, 0.1]))
def test_adam_follows_algorithm_1(seed, betas, eps, decay, device):
    p, grads = parameter(device=device), gradients(seed)
    path = follow(optim.Adam([p], 0.01, betas, eps, decay), p, grads)
    np.testing.assert_allclose(path, adam(START, grads, 0.01, betas, eps, decay), **TOLERANCE)


@given_on_each_device(seed=seeds, betas=every_beta, eps=every_eps, decay=st.sampled_from([0.0, 0.1]))
def test_adamw_decays_past_the_moments(seed, betas, eps, decay, device):
    p, grads = parameter(device=device), gradients(seed)
    path = follow(optim.AdamW([p], 0.01, betas, eps, decay), p, grads)
    np.testing.assert_allclose(path, adamw(START, grads, 0.01, betas, eps, decay), **TOLERANCE)


@given_on_each_device(seed=seeds, betas=every_beta, eps=every_eps, corrected=st.booleans())
def test_adamax_follows_algorithm_2(seed, betas, eps, corrected, device):
    p, grads = parameter(device=device), gradients(seed)
    path = follow(optim.Adamax([p], 0.01, betas, eps, corrected), p, grads)
    np.testing.assert_allclose(path, adamax(START, grads, 0.01, betas, eps, corrected), **TOLERANCE)


def test_adamax_s_first_step_has_the_length_of_the_learning_rate():
    p = parameter()
    follow(optim.Adamax([p], 0.25, eps=0.0), p, [np.array([1e-3, -7.0, 2.0])])
    np.testing.assert_allclose(p.numpy(), START - [0.25, -0.25, 0.25], rtol=1e-15)


@given_on_each_device(
    seed=seeds,
    alpha=st.sampled_from([0.99, 0.5]),
    eps=every_eps,
    decay=st.sampled_from([0.0, 0.1]),
    momentum=st.sampled_from([0.0, 0.9]),
    centered=st.booleans(),
)
def test_rmsprop_follows_its_formula(seed, alpha, eps, decay, momentum, centered, device):
    p, grads = parameter(device=device), gradients(seed)
    path = follow(optim.RMSprop([p], 0.01, alpha, eps, decay, momentum, centered), p, grads)
    np.testing.assert_allclose(path, rmsprop(START, grads, 0.01, alpha, eps, decay, momentum, centered), **TOLERANCE)


def test_centered_rmsprop_where_rounding_makes_the_variance_negative():
    """A gradient that stays the same has none in the end, and what is left of v - m² may have either sign."""
    p, gradient = parameter(), np.array([0.74, -0.56, 0.28])
    path = follow(optim.RMSprop([p], 1.0, 0.5, eps=0.5, centered=True), p, [gradient] * 400)
    np.testing.assert_allclose(path[-2] - path[-1], gradient / 0.5, rtol=1e-6)


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
    "AdamW": lambda params: optim.AdamW(params, 0.01),
    "Adamax": lambda params: optim.Adamax(params, 0.01),
    "RMSprop": lambda params: optim.RMSprop(params, 0.001),
    "RMSprop with momentum": lambda params: optim.RMSprop(params, 0.001, momentum=0.9),
    "RMSprop, centered": lambda params: optim.RMSprop(params, 0.001, eps=0.01, centered=True),
}
every_optimizer = pytest.mark.parametrize("make", MAKERS.values(), ids=MAKERS)


@every_optimizer
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_resuming_from_a_checkpoint_is_the_same_to_the_bit(make, dtype, tmp_path, device):
    grads = gradients(0)
    straight = follow(make([p := parameter(dtype, device)]), p, grads)
    first = make([p := parameter(dtype, device)])
    follow(first, p, grads[:5])
    mg.save(tmp_path / "run", {"p": p, "optimizer": first.state_dict()})
    follow(first, p, grads[5:])  # what goes on afterwards does not change what was saved
    saved = mg.load(tmp_path / "run")
    second = make([q := nn.Parameter(on(device, saved["p"]))])
    second.load_state_dict(saved["optimizer"])
    assert follow(second, q, grads[5:]).tobytes() == straight[5:].tobytes()


@every_optimizer
def test_a_state_dict_is_a_snapshot(make, device):
    p, grads = parameter(device=device), gradients(0)
    optimizer = make([p])
    follow(optimizer, p, grads[:3])
    saved, before = optimizer.state_dict(), p.data
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
def test_parameters_without_a_gradient_stay(make, device):
    p, q = parameter(device=device), parameter(device=device)
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


NUMBERS = {
    "SGD": lambda p, n: optim.SGD(p, n(0.1), n(0.9), n(0.1)),
    "Adam": lambda p, n: optim.Adam(p, n(0.1), (n(0.9), n(0.99)), n(1e-8), n(0.1)),
    "AdamW": lambda p, n: optim.AdamW(p, n(0.1), (n(0.9), n(0.99)), n(1e-8), n(0.1)),
    "Adamax": lambda p, n: optim.Adamax(p, n(0.1), (n(0.9), n(0.99)), n(1e-8)),
    "RMSprop": lambda p, n: optim.RMSprop(p, n(0.1), n(0.9), n(1e-8), n(0.1), n(0.9)),
}


@pytest.mark.parametrize("make", NUMBERS.values(), ids=NUMBERS)
@pytest.mark.parametrize("number", [np.float64, np.array, mg.tensor], ids=["numpy", "0-d array", "0-d tensor"])
def test_hyperparameters_may_be_numpy_numbers(make, number, device):
    p = parameter(np.float32, device)
    optimizer = make([p], number)
    follow(optimizer, p, gradients(0, 2))
    assert p.dtype == np.float32
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
    with pytest.raises(ValueError, match="lr must be at least 0"):
        optim.Adam([parameter()], -1)
    with pytest.raises(ValueError, match=r"2 parameters.*1"):
        optim.SGD([parameter()], 0.1).load_state_dict(optim.SGD([parameter(), parameter()], 0.1).state_dict())


@pytest.mark.parametrize(
    "make", [*MAKERS.values(), lambda params: optim.ExponentialMovingAverage(params, 0.9)], ids=[*MAKERS, "average"]
)
def test_what_cannot_be_trained_is_refused(make):
    p, model = parameter(), nn.Linear(2, 1)
    for params, error, message in [
        (p, TypeError, r"\[p\]"),  # it would be taken apart into its rows
        (model.named_parameters(), TypeError, "position 0.*tuple"),
        ([{"params": [p]}], TypeError, "position 0.*dict"),
        ([p, p * 2], ValueError, "position 1.*computed"),
        ([p, p], ValueError, "more than once"),
    ]:
        with pytest.raises(error, match=message):
            make(params)
    make([p, (p * 2).detach()])


@every_optimizer
@pytest.mark.parametrize("shape", [(1,), (2, 3), ()])
def test_a_state_of_other_shapes_is_refused_and_changes_nothing(make, shape):
    theirs, p = nn.Parameter(np.ones(shape)), parameter()
    other, mine = make([theirs]), make([p])
    for q in (theirs, p):
        q.grad = np.ones(q.shape)
    other.step()
    mine.step()
    saved, before = other.state_dict(), mine.state_dict()
    if not saved["state"][0]:  # plain SGD remembers nothing
        return
    with pytest.raises(ValueError, match=r"\(3,\)"):
        mine.load_state_dict(saved)
    np.testing.assert_equal(mine.state_dict(), before)


# ---- averages of parameters -----------------------------------------------------------------------------------------


@given_on_each_device(seed=seeds, decay=st.sampled_from([0.0, 0.5, 0.999]))
def test_the_average_is_the_weighted_sum_of_all_parameters_so_far(seed, decay, device):
    p, path = parameter(device=device), gradients(seed)
    average = optim.ExponentialMovingAverage([p], decay)
    for value in path:
        p.data = on(device, value)
        average.update()
    powers = decay ** np.arange(len(path) - 1, -1, -1)
    wanted = decay ** len(path) * START + (1 - decay) * powers @ path
    with average.applied():
        np.testing.assert_allclose(p.numpy(), wanted, rtol=1e-12, atol=1e-12)
    np.testing.assert_array_equal(p.numpy(), path[-1])


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_averaged_parameters_are_put_back_whatever_happens(dtype):
    model = nn.Linear(3, 2, rng=np.random.default_rng(0))
    for p in model.parameters():
        p.data = p.numpy().astype(dtype)
    average = optim.ExponentialMovingAverage(model, np.float64(0.9))
    first = model.state_dict()
    for p in model.parameters():
        p.data = p.numpy() + 1
    average.update()
    own = [p._data for p in model.parameters()]
    with pytest.raises(KeyboardInterrupt), average.applied():
        for name, p in model.named_parameters():
            assert p.dtype == dtype
            np.testing.assert_allclose(p.numpy(), first[name] + 0.1, rtol=1e-6)
        raise KeyboardInterrupt
    assert all(p._data is array for p, array in zip(model.parameters(), own, strict=True))


def test_averaging_goes_on_from_what_was_saved_to_the_bit(tmp_path):
    p, path = parameter(np.float32), gradients(0).astype(np.float32)
    average, other = (optim.ExponentialMovingAverage([p], 0.9) for _ in range(2))
    for i, value in enumerate(path):
        p.data = value
        average.update()
        if i == 5:
            mg.save(tmp_path / "run", average.state_dict())
    other.load_state_dict(mg.load(tmp_path / "run"))
    for value in path[6:]:
        p.data = value
        other.update()
    assert other.averages[0].tobytes() == average.averages[0].tobytes()
    assert other.averages[0].dtype == np.float32


def test_misuse_of_averages_is_refused():
    p = parameter()
    average = optim.ExponentialMovingAverage([p], 0.9)
    with average.applied():
        with pytest.raises(RuntimeError, match="update"):
            average.update()
        with pytest.raises(RuntimeError, match="already"), average.applied():
            pass
    for decay in (1.0, -0.1, float("nan")):
        with pytest.raises(ValueError, match="decay"):
            optim.ExponentialMovingAverage([p], decay)
    with pytest.raises(ValueError, match="no parameters"):
        optim.ExponentialMovingAverage(nn.ReLU(), 0.9)
    with pytest.raises(ValueError, match=r"\(2,\).*\(3,\)"):
        average.load_state_dict({"averages": [np.ones(2)]})


# ---- clipping -------------------------------------------------------------------------------------------------------


def with_gradients(*gradients):
    """Parameters of zeros with these gradients, or with none."""
    params = []
    for g in gradients:
        params.append(nn.Parameter(np.zeros(3 if g is None else g.shape, np.float32 if g is None else g.dtype)))
        params[-1].grad = g
    return params


@given(seed=seeds, most=st.sampled_from([0.0, 0.1, 1.0, 100.0]), size=st.sampled_from([1.0, 1e25]))
def test_gradients_are_clipped_to_their_common_norm(seed, most, size):
    rng = np.random.default_rng(seed)
    grads = [
        np.asarray(rng.standard_normal(s) * size, d)
        for s, d in (((2, 3), np.float32), ((), np.float64), ((0,), np.float32))
    ]
    copies = [g.copy() for g in grads]
    params = with_gradients(*grads, None)
    before = [p.grad for p in params]
    norm = np.sqrt(sum((g.astype(float) ** 2).sum() for g in grads))
    assert optim.clip_grad_norm(iter(params), np.float64(most)) == pytest.approx(norm, rel=1e-12)
    factor = min(1, most / norm)
    for p, g, copy in zip(params, grads, copies, strict=False):
        assert (p.grad.dtype, p.grad.shape) == (g.dtype, g.shape)
        np.testing.assert_allclose(p.grad.numpy(), copy * factor, rtol=1e-6)
        np.testing.assert_array_equal(g, copy)  # not in place
    if factor == 1:
        assert all(p.grad is b for p, b in zip(params, before, strict=True))
    assert params[-1].grad is None


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_a_norm_that_is_not_finite_is_an_error_and_changes_nothing(bad):
    params = with_gradients(np.ones(2), np.array([1.0, bad]), None)
    with pytest.raises(FloatingPointError, match=r"positions \[1\]"):
        optim.clip_grad_norm(params, 1.0)
    assert params[0].grad.numpy().tolist() == [1, 1]


def test_clipping_at_the_edges():
    (p,) = with_gradients(np.array([3.0, 4.0]))
    assert optim.clip_grad_norm(p, 5.0) == 5 and p.grad.numpy().tolist() == [3, 4]
    assert optim.clip_grad_norm([], 1.0) == optim.clip_grad_norm([parameter()], 1.0) == 0
    for most in (-1.0, float("nan")):
        with pytest.raises(ValueError, match="max_norm"):
            optim.clip_grad_norm(p, most)


def test_the_schedule_is_constant_then_linear():
    factors = [schedules.constant_then_linear(epoch, 200) for epoch in range(200)]
    assert factors[:101] == [1.0] * 101 and factors[150] == 0.5 and factors[199] == pytest.approx(0.01)
    with pytest.raises(ValueError):
        schedules.constant_then_linear(200, 200)
