"""mg.checkpoint: derivatives of every order as without it, from fewer bytes, or an error that says why not."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import minigrad as mg
import wn
from minigrad import nn
from tests.devices import given_on_each_device, on

seeds = st.integers(0, 2**32 - 1)


def normal(seed, *shape, dtype=np.float64):
    return np.random.default_rng(seed).standard_normal(shape).astype(dtype)


def leaf(array, device="cpu"):
    return mg.tensor(array, requires_grad=True, device=device)


def counted(f):
    def counting(*args):
        counting.calls += 1
        return f(*args)

    counting.calls = 0
    return counting


def network(seed=0):
    rng = np.random.default_rng(seed)
    return wn.apply_weight_norm(nn.Sequential(nn.Linear(3, 4, rng=rng), nn.ELU(), nn.Linear(4, 3, rng=rng)))


def all_gradients(model, x, forward):
    """The gradients of a loss that uses the model three times, in a chain, for the input and the parameters."""
    model.zero_grad()
    x = leaf(x, model.parameters()[0].device)
    y = forward(forward(mg.sin(x)) + x)
    mg.sum(mg.square(y + model(x))).backward()
    return [x.grad.numpy(), *(p.grad.numpy() for p in model.parameters())]


@given_on_each_device(seed=seeds, dtype=st.sampled_from([np.float32, np.float64]))
def test_the_gradients_are_those_of_the_function_itself(seed, dtype, device):
    model, x = network(seed), normal(seed, 5, 3, dtype=dtype)
    for p in model.parameters():
        p.data = p.numpy().astype(dtype)
    model.to(device)
    wanted = all_gradients(model, x, model)
    for forward in (lambda t: mg.checkpoint(model, t), lambda t: mg.checkpoint(lambda u: mg.checkpoint(model, u), t)):
        for a, b in zip(all_gradients(model, x, forward), wanted, strict=True):
            assert a.dtype == b.dtype == dtype
            # Sums in another order: float32's ε = 1.2e-7, times a hundred numbers of size 1.
            np.testing.assert_allclose(a, b, rtol=1e-4 if dtype == np.float32 else 1e-12, atol=1e-4)


@given(seed=seeds)
def test_several_arguments_of_several_kinds(seed):
    a, b, c = (normal(seed + i, 2, 3) for i in range(3))

    def f(x, y, constant, array, scale, unused):
        return mg.tanh(x * y) * constant * scale + mg.exp(array) * x

    def gradients(call):
        x, unused = leaf(a), leaf(np.ones(2))
        y = x * leaf(b)  # an argument that was computed from another one
        z = call(f, x, y, mg.tensor(b), c, 2.0, unused)
        assert z.requires_grad
        return z, mg.grad(z, [x, unused], np.cos(c))

    (z, found), (wanted_z, wanted) = gradients(mg.checkpoint), gradients(lambda f, *args: f(*args))
    np.testing.assert_array_equal(z.numpy(), wanted_z.numpy())
    for g, w in zip(found, wanted, strict=True):
        np.testing.assert_allclose(g.numpy(), w.numpy(), rtol=1e-13, atol=1e-13)


def test_the_function_is_called_once_forward_and_once_backward(device):
    f = counted(lambda x, y: mg.exp(x) * y)
    x, y = leaf(normal(0, 3), device), leaf(normal(1, 3), device)
    z = mg.checkpoint(f, x, y)
    assert f.calls == 1
    z.sum().backward(retain_graph=True)
    assert f.calls == 2
    z.sum().backward()
    assert f.calls == 3
    np.testing.assert_allclose(x.grad.numpy(), 2 * z.numpy(), rtol=1e-15)
    with pytest.raises(RuntimeError, match="retain_graph"):
        z.sum().backward()


def test_only_arguments_and_results_are_kept(device):
    def piece(x):
        for _ in range(10):
            x = mg.tanh(x)
        return x

    x = leaf(normal(0, 1000), device)
    plain, saving = piece(piece(x)), mg.checkpoint(piece, mg.checkpoint(piece, x))
    assert mg.draw.bytes_kept(plain) == 20 * x.data.nbytes  # a tanh keeps its result
    assert mg.draw.bytes_kept(saving) == 3 * x.data.nbytes  # x, and the results of two pieces
    assert mg.draw.text(saving).count("checkpoint") == 2


def test_what_needs_no_record_gets_none():
    f = counted(mg.exp)
    with mg.no_grad():
        assert not mg.checkpoint(f, leaf(np.ones(2))).requires_grad
    assert not mg.checkpoint(f, mg.tensor(np.ones(2))).requires_grad
    assert isinstance(mg.checkpoint(f, np.ones(2)), np.ndarray)
    assert f.calls == 3


@pytest.mark.parametrize("f", [lambda x, w: x, lambda x, w: w, lambda x, w: x.T])
def test_functions_that_compute_nothing(f, device):
    x, w = leaf(normal(0, 2, 2), device), leaf(normal(1, 2, 2), device)
    g = on(device, normal(2, 2, 2))
    found = mg.grad(mg.checkpoint(lambda t: f(t, w), x), [x, w], g)
    for a, b in zip(found, mg.grad(f(x, w), [x, w], g), strict=True):
        np.testing.assert_array_equal(a.numpy(), b.numpy())


def test_hooks_of_parameters_run_once(device):
    x, w = leaf(np.ones(2), device), leaf(np.array([2.0, 3.0]), device)
    w.register_hook(lambda g: 10 * g)
    (mg.checkpoint(lambda t: t * w, x) + w).sum().backward()
    assert w.grad.numpy().tolist() == [20, 20] and x.grad.numpy().tolist() == [2, 3]


# ---- derivatives of higher order ------------------------------------------------------------------------------------


def plainly(f, *args):
    return f(*args)


def twice(f, *args):
    return mg.checkpoint(lambda *inner: mg.checkpoint(f, *inner), *args)


STEPS = [  # of a state s, an argument t and a leaf w that is not among the arguments, all (2, 2)
    lambda s, t, w: mg.sin(s) * t,
    lambda s, t, w: mg.tanh(s @ w),
    lambda s, t, w: s + mg.square(t) * w,
    lambda s, t, w: mg.exp(-mg.square(s)) - t.T,
    lambda s, t, w: s / (2 + mg.cos(w * t)),
    lambda s, t, w: 2.0 * w,
]
pieces_of_programs = st.lists(st.lists(st.sampled_from(STEPS), min_size=1, max_size=3), min_size=1, max_size=3)


def derivatives(pieces, call, arrays, weights, order):
    """Gradients of order 1, 2, … of a program in pieces, each of which `call` calls; one by one, for x, y and w."""
    x, y, w = (leaf(array) for array in arrays)

    def piece(steps):
        def run(s, t):
            for step in steps:
                s = step(s, t, w)
            return s

        return run

    s = t = mg.sin(x * y)  # an argument that was computed from others, and twice the same
    for steps in pieces:
        s, t = call(piece(steps), s, t), s + y
    value, found = mg.sum(mg.square(s)), []
    for _ in range(order):
        gradients = mg.grad(value, [x, y, w], create_graph=True)
        found += [g.numpy() for g in gradients]
        value = sum(mg.sum(g * u) for g, u in zip(gradients, weights, strict=True))
    return found


@given(pieces=pieces_of_programs, seed=seeds, call=st.sampled_from([mg.checkpoint, twice]), order=st.integers(2, 3))
def test_programs_have_the_derivatives_that_they_have_without(pieces, seed, call, order):
    arrays, weights = normal(seed, 3, 2, 2), normal(seed + 1, 3, 2, 2)
    wanted = derivatives(pieces, plainly, arrays, weights, order)
    for a, b in zip(derivatives(pieces, call, arrays, weights, order), wanted, strict=True):
        # The same numbers added up in another order: a derivative may be small beside what it is the sum of.
        np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-9 * max(1, *(np.abs(w).max() for w in wanted)))


@given_on_each_device(seed=seeds, dtype=st.sampled_from([np.float32, np.float64]))
def test_second_derivatives_of_a_network(seed, dtype, device):
    """The gradient of ‖∇‖² for the input, in `dtype`, and parameters in float32, normalized weights among them."""
    found = []
    for call in (plainly, mg.checkpoint, twice):
        model = network(seed).to(device)
        x, noise = leaf(normal(seed, 5, 3, dtype=dtype), device), normal(seed + 1, 5, 3, dtype=dtype)
        y = call(lambda t, noise, model=model: model(t) * noise, mg.sin(x), mg.tensor(noise, device=device))
        first = mg.grad(mg.sum(mg.square(y)), [x, *model.parameters()], create_graph=True)
        sum(mg.sum(mg.square(g)) for g in first).backward()
        found.append([t.grad for t in [x, *model.parameters()]])
    for gradients in found[1:]:
        for a, b in zip(gradients, found[0], strict=True):
            assert a.dtype == b.dtype and a.shape == b.shape
            np.testing.assert_allclose(a.numpy(), b.numpy(), rtol=1e-3, atol=1e-4 * np.abs(b.numpy()).max() + 1e-6)


@given(seed=seeds)
def test_transforms_of_a_checkpointed_function(seed):
    w, x, v = leaf(normal(seed, 3, 3)), normal(seed + 1, 3), normal(seed + 2, 3)

    def f(call):
        return lambda t: call(lambda s: mg.tanh(w @ s) * s, mg.sin(t)) * t

    def scalar(call):
        return lambda t: mg.sum(mg.square(f(call)(t)))

    def in_floats(results):
        return [r.numpy() for r in results] if isinstance(results, tuple) else [results.numpy()]

    for transform in (
        lambda call: mg.jacobian(f(call), x),
        lambda call: mg.jvp(f(call), x, v),
        lambda call: mg.hvp(scalar(call), x, v),
        lambda call: mg.hessian(scalar(call), x),
    ):
        for a, b in zip(in_floats(transform(mg.checkpoint)), in_floats(transform(plainly)), strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-9)


def test_differences_agree_with_a_checkpointed_function():
    mg.testing.check_grads(
        lambda x, y: mg.checkpoint(lambda s, t: mg.exp(s) @ t + mg.sin(s @ t), x, y), [normal(0, 2, 3), normal(1, 3, 2)]
    )


def test_each_order_calls_the_function_once_more():
    f = counted(mg.exp)
    x = leaf(normal(0, 3))
    value = mg.checkpoint(f, x)
    for order in range(1, 4):
        (value,) = mg.grad(value, [x], np.ones(3), create_graph=True)
        assert f.calls == order + 1
        np.testing.assert_allclose(value.numpy(), np.exp(x.numpy()), rtol=1e-14)


def test_recorded_gradients_keep_nothing_of_what_is_in_between(device):
    def piece(x):
        for _ in range(10):
            x = mg.tanh(x)
        return x

    x, u = leaf(normal(0, 1000), device), mg.tensor(normal(1, 1000), device=device)
    y = mg.checkpoint(piece, x)
    (gradient,) = mg.grad(y, [x], u, create_graph=True)
    assert mg.draw.bytes_kept(gradient) == 2 * x.data.nbytes  # x and u
    assert mg.draw.bytes_kept(mg.grad(piece(x), [x], u, create_graph=True)[0]) > 20 * x.data.nbytes


def test_arrays_stay_arrays_in_every_call(device):
    seen = []

    def f(x, array, number, text):
        seen.append((type(array), type(number), type(text)))
        return mg.square(x) * array * number

    x, array = leaf(normal(0, 3), device), on(device, normal(1, 3))
    (gradient,) = mg.grad(mg.checkpoint(f, x, array, 3.0, "text"), [x], on(device, np.ones(3)), create_graph=True)
    gradient.sum().backward()
    np.testing.assert_allclose(x.grad.numpy(), 6 * normal(1, 3), rtol=1e-14)
    assert len(seen) == 3 and set(seen) == {(type(array), float, str)}


def test_hooks_of_parameters_run_once_in_each_order(device):
    def run(call):
        calls = []
        x, w = leaf(np.ones(2), device), leaf(np.array([2.0, 3.0]), device)
        w.register_hook(lambda g: calls.append(g) or 10 * g)
        y = call(lambda t: t * mg.square(w), x)
        first = mg.grad(y.sum(), [x, w], create_graph=True)
        second = mg.grad(sum(g.sum() for g in first), [x, w])
        return [g.numpy().tolist() for g in (*first, *second)], len(calls)

    assert run(mg.checkpoint) == run(plainly)
    assert run(plainly) == ([[4, 9], [40, 60], [40, 60], [240, 260]], 2)


def test_gradients_of_the_same_call_with_and_without_a_record(device):
    x = leaf(normal(0, 3), device)
    y = mg.checkpoint(mg.sin, x)
    ones = on(device, np.ones(3))
    (recorded,) = mg.grad(y, [x], ones, create_graph=True)
    (second,) = mg.grad(recorded, [x], ones, retain_graph=True)
    (first,) = mg.grad(y, [x], ones)
    np.testing.assert_array_equal(first.numpy(), recorded.numpy())
    np.testing.assert_allclose(second.numpy(), -np.sin(x.numpy()), rtol=1e-14)


def test_a_parameter_changed_between_two_orders_is_an_error(device):
    x, w = leaf(np.ones(8), device), leaf(np.ones(8), device)
    (gradient,) = mg.grad(mg.checkpoint(lambda t: mg.square(t) * w, x).sum(), [x], create_graph=True)
    w.data = w.data * 1.001
    with pytest.raises(RuntimeError, match="changed"):
        gradient.sum().backward()
    assert x.grad is None


# ---- what is not supported says so ----------------------------------------------------------------------------------


def test_a_computed_tensor_must_be_an_argument():
    x = leaf(np.ones(2))
    outside = mg.exp(x)
    with pytest.raises(RuntimeError, match=r"exp.*argument"):
        mg.checkpoint(lambda t: t * outside, x)


def test_several_results_are_refused():
    with pytest.raises(TypeError, match=r"one Tensor.*stack"):
        mg.checkpoint(lambda x: (x, x), leaf(np.ones(2)))


def test_another_result_the_second_time_is_an_error_rather_than_a_wrong_gradient(device):
    x, dropout = leaf(np.ones((8, 8)), device), nn.Dropout(0.5, np.random.default_rng(0))
    for create_graph in (False, True):
        with pytest.raises(RuntimeError, match="random"):
            mg.checkpoint(lambda t: dropout(t * 2), x).sum().backward(create_graph=create_graph)
    w = leaf(np.ones(8), device)
    y = mg.checkpoint(lambda t: t * w, x).sum()
    w.data = w.data * 1.001
    with pytest.raises(RuntimeError, match="changed"):
        y.backward()
    assert x.grad is None


def test_a_result_that_is_not_finite_can_be_computed_again(device):
    x = leaf(np.array([0.0, 1.0]), device)
    with np.errstate(divide="ignore", invalid="ignore"):
        mg.checkpoint(mg.log, x)[1].backward()
        assert x.grad.numpy()[1] == 1


def test_the_module_for_saving_runs_keeps_its_name():
    from minigrad.saving import save

    assert callable(mg.checkpoint) and save is mg.save


def test_gradients_can_be_asked_for_again_and_one_by_one(device):
    a, b = leaf(normal(0, 3), device), leaf(normal(1, 3), device)
    y, u = mg.checkpoint(lambda s, t: mg.sin(s) * t, a, b), mg.tensor(normal(2, 3), device=device)
    wanted = [(u * mg.cos(a) * b).numpy(), (u * mg.sin(a)).numpy()]
    for asked in ([0], [0], [1], [1, 0], [0, 1], [1]):  # the same u each time
        found = mg.grad(y, [(a, b)[i] for i in asked], u, retain_graph=True)
        for i, g in zip(asked, found, strict=True):
            np.testing.assert_allclose(g.numpy(), wanted[i], rtol=1e-15)
