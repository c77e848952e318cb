"""The tape: what is recorded, what comes back, and what is freed."""

import copy
import gc
import pickle
import sys
import threading
import weakref

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import minigrad as mg
from minigrad import backend
from minigrad.op import REGISTRY, op
from tests.devices import on


def leaf(data, dtype=np.float64, device="cpu"):
    return mg.tensor(np.array(data, dtype), requires_grad=True, device=device)


# ---- many uses, many paths, long chains -----------------------------------------------------------------------------


@given(k=st.integers(1, 20), x=st.floats(-2, 2))
def test_a_tensor_used_k_times_gets_k_gradients(k, x):
    t = leaf(x)
    sum((t for _ in range(k)), start=mg.tensor(0.0)).backward()
    assert t.grad.item() == k


def test_adding_a_tensor_to_itself(device):
    x = leaf([1.0, 2.0], device=device)
    (x + x + x).sum().backward()
    assert x.grad.numpy().tolist() == [3, 3]


def test_a_node_on_2_to_the_60_paths_is_visited_once(device):
    x = leaf(1.0, device=device)
    y, visits = x, []
    for _ in range(60):
        y = y + y
        y.register_hook(visits.append)
    y.backward()
    assert x.grad.item() == 2.0**60 and len(visits) == 60


def test_a_shared_node_gets_all_contributions_before_it_passes_them_on(device):
    x = leaf(3.0, device=device)
    y = x * x
    (y * y + y).backward()
    assert x.grad.item() == 4 * 27 + 2 * 3


def test_a_chain_of_100000_ops_is_built_differentiated_and_freed():
    limit = sys.getrecursionlimit()
    x = leaf(1.0)
    y = x
    for _ in range(100_000):
        y = y + 1.0
    y.backward(retain_graph=True)
    assert x.grad.item() == 1 and mg.grad(y, x).item() == 1
    del y
    assert sys.getrecursionlimit() == limit


@st.composite
def programs(draw):
    """Straight-line programs: each step combines two earlier values."""
    steps = draw(st.lists(st.tuples(st.sampled_from("+-*s"), st.integers(0, 99), st.integers(0, 99)), max_size=12))
    return [(kind, i % (n + 3), j % (n + 3)) for n, (kind, i, j) in enumerate(steps)]


def run(program, values, sin):
    values = list(values)
    for kind, i, j in program:
        a, b = values[i], values[j]
        values.append(
            {"+": lambda a, b: a + b, "-": lambda a, b: a - b, "*": lambda a, b: a * b * 0.5, "s": lambda a, b: sin(a)}[
                kind
            ](a, b)
        )
    return sum(values[1:], start=values[0])


@given(program=programs(), seed=st.integers(0, 2**32 - 1))
def test_gradients_of_any_program_are_those_of_the_complex_step(program, seed):
    start = np.random.default_rng(seed).uniform(-1, 1, 3)
    leaves = [leaf(s) for s in start]
    run(program, leaves, mg.sin).backward()
    for i in range(3):
        moved = start.astype(complex)
        moved[i] += 1e-30j  # no subtraction, so no error but rounding
        wanted = run(program, moved, np.sin).imag / 1e-30
        np.testing.assert_allclose(leaves[i].grad.numpy(), wanted, rtol=1e-10, atol=1e-10)


# ---- where gradients end up -----------------------------------------------------------------------------------------


def test_leaves_accumulate_and_can_be_cleared(device):
    x = leaf([1.0, 2.0], device=device)
    for k in (1, 2):
        (x * x).sum().backward()
        assert x.grad.numpy().tolist() == [2 * k, 4 * k]
    x.grad = None
    (x * x).sum().backward()
    assert x.grad.numpy().tolist() == [2, 4]


def test_gradients_from_several_threads_add_up():
    x, before = leaf(np.zeros(3)), sys.getswitchinterval()

    def work():
        for _ in range(200):
            (x * 1.0).sum().backward()

    sys.setswitchinterval(1e-6)  # without a lock, half of such runs lose a gradient
    try:
        for _ in range(5):
            x.grad = None
            threads = [threading.Thread(target=work) for _ in range(4)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
            assert x.grad.numpy().tolist() == [800] * 3
    finally:
        sys.setswitchinterval(before)


def test_intermediate_gradients_do_not_leak_into_the_next_backward(device):
    x = leaf(2.0, device=device)
    y = x * x
    z = y * y
    z.backward(retain_graph=True)
    z.backward()
    assert x.grad.item() == 2 * 4 * 8 and y.grad is None


def test_gradients_may_share_memory_and_cannot_be_written_to():
    x, y, start = leaf([1.0, 2.0]), leaf([1.0, 2.0]), np.ones(2)
    (x + y + x.reshape(2)).backward(start)
    for array in (x.grad.data, y.grad.numpy()):
        with pytest.raises(ValueError, match="assign new ones"):
            array[0] = 100
    start[:] = 100
    x.grad = start
    start[:] = 1000
    assert x.grad.numpy().tolist() == [100, 100] and y.grad.numpy().tolist() == [1, 1]


def test_the_gradient_of_a_number_is_an_array(device):
    x = leaf(2.0, np.float32, device=device)
    (x * x + x).backward()
    assert backend.is_array(x.grad.data) and x.grad.dtype == np.float32
    assert backend.is_array(mg.grad(x * x + x, x).data)


def test_retain_grad_keeps_the_gradient_of_a_computed_tensor(device):
    x = leaf(3.0, device=device)
    y = x * x
    z = x * 2.0
    y.retain_grad()
    (y * z).backward()
    assert y.grad.item() == 6 and z.grad is None


def test_grad_takes_arrays_and_refuses_what_does_not_fit():
    for other in ([1.0, 2.0], 1.0):
        with pytest.raises(TypeError, match="grad must be"):
            leaf([1.0, 2.0]).grad = other
    x = leaf([1.0, 2.0])
    x.grad = np.ones(2)
    assert isinstance(x.grad, mg.Tensor)
    (2 * x).sum().backward()
    assert x.grad.numpy().tolist() == [3, 3]
    for wrong in (np.ones(3), np.ones(2, np.float32)):
        with pytest.raises(ValueError, match="grad must be"):
            x.grad = wrong


def test_hooks_see_the_complete_gradient_and_may_replace_it(device):
    x = leaf(1.0, device=device)
    y = x + x
    seen = []
    remove = y.register_hook(lambda g: seen.append(g.item()))
    y.register_hook(lambda g: g * 10)
    (y * 2.0 + y).backward(retain_graph=True)
    assert seen == [3] and x.grad.item() == 60
    remove()
    (y * 1.0).backward()
    assert seen == [3]


@pytest.mark.parametrize("on_leaf", [False, True])
def test_a_hook_can_only_put_a_gradient_of_the_right_kind_in_its_place(on_leaf, device):
    def gradient_with(replacement):
        x = leaf([1.0, 2.0], np.float32, device)
        y = x * 2
        (x if on_leaf else y).register_hook(lambda g: replacement)
        y.sum().backward()
        assert (x.grad.dtype, x.grad.shape, x.grad.device) == (x.dtype, x.shape, device)
        return x.grad.numpy()

    for dtype in (np.float64, np.float16, int):
        assert gradient_with(mg.tensor(np.ones(2, dtype), device=device)).tolist() == [2 - on_leaf, 2 - on_leaf]
    for other in (mg.tensor([1.0], device=device), mg.tensor(1.0, device=device), on(device, np.ones(2)), 1.0):
        with pytest.raises(TypeError, match=r"hook.*\(2,\)"):
            gradient_with(other)


def test_a_hook_that_was_registered_twice_is_removed_once():
    x, calls = leaf(1.0), []
    first, second = x.register_hook(calls.append), x.register_hook(calls.append)
    for remove, count in ((lambda: None, 2), (first, 1), (second, 0), (second, 0)):
        remove()
        calls.clear()
        (x * 2).backward()
        assert len(calls) == count


def test_a_leaf_s_hook_runs_once_per_backward():
    x, calls = leaf(1.0), []
    x.register_hook(calls.append)
    (x * x + x).backward()
    assert [c.item() for c in calls] == [3]


# ---- mg.grad --------------------------------------------------------------------------------------------------------


def test_grad_leaves_every_grad_alone(device):
    x, y = leaf(2.0, device=device), leaf(3.0, device=device)
    z = x * y
    z.retain_grad()
    assert [g.item() for g in mg.grad(z * z, [x, y, z])] == [2 * 2 * 9, 2 * 4 * 3, 12]
    assert x.grad is None and y.grad is None and z.grad is None


@pytest.mark.parametrize("value", [0.0, 1.0, np.inf, np.nan])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_the_gradient_of_an_unconnected_input_is_zeros(value, dtype):
    x, y = leaf([value, 1.0], dtype), leaf(1.0)
    for output in (y * 2.0, mg.tensor(1.0)):
        found = mg.grad(output, x)
        assert found.numpy().tolist() == [0, 0] and found.dtype == dtype


def test_several_outputs_count_as_their_sum(device):
    x = leaf([1.0, 2.0], device=device)
    y, z = x * 2.0, x * x
    found = mg.grad([y, z, z], x, on(device, [np.ones(2), np.array([1.0, 0.0]), np.array([0.0, 3.0])]))
    assert found.numpy().tolist() == [4, 14]


def test_an_output_may_be_an_input_or_on_the_way_to_another(device):
    x = leaf(3.0, device=device)
    y = x * x
    assert [g.item() for g in mg.grad([y * 2.0, y], [x, y])] == [18, 3]
    assert mg.grad(x, x).item() == 1


def test_third_derivatives(device):
    x = leaf(0.7, device=device)
    y = mg.sin(x) * x**3
    for wanted in (
        lambda t: t**3 * np.cos(t) + 3 * t**2 * np.sin(t),
        lambda t: 6 * t**2 * np.cos(t) - (t**3 - 6 * t) * np.sin(t),
        lambda t: -9 * t**2 * np.sin(t) + (18 * t - t**3) * np.cos(t) + 6 * np.sin(t),
    ):
        y = mg.grad(y, x, create_graph=True)
        assert y.item() == pytest.approx(wanted(0.7), rel=1e-12)


def test_backward_with_create_graph_makes_grad_differentiable(device):
    x = leaf(2.0, device=device)
    (x**3).backward(create_graph=True)
    assert mg.grad(x.grad, x).item() == 12


def test_a_gradient_penalty_trains(device):
    x, w = leaf([1.0, 2.0], device=device), leaf([3.0, 4.0], device=device)
    slope = mg.grad(mg.tanh(x * w).sum(), x, create_graph=True)
    found = mg.grad((slope * slope).sum(), w).numpy()
    y = np.tanh(x.numpy() * w.numpy())
    slope = (1 - y**2) * w.numpy()
    wanted = 2 * slope * ((1 - y**2) - 2 * y * (1 - y**2) * x.numpy() * w.numpy())
    np.testing.assert_allclose(found, wanted, rtol=1e-12, atol=1e-15)  # 1 - y² loses the digits of its small values


# ---- errors that say what to do -------------------------------------------------------------------------------------


def test_a_second_backward_says_retain_graph(device):
    x = leaf(2.0, device=device)
    y = x * x
    y.backward()
    with pytest.raises(RuntimeError, match=r"multiply.*retain_graph=True"):
        y.backward()
    with pytest.raises(RuntimeError, match="retain_graph=True"):
        (y * x).backward()


def test_retain_graph_allows_a_second_backward(device):
    x = leaf(2.0, device=device)
    y = x * x
    y.backward(retain_graph=True)
    y.backward()
    assert x.grad.item() == 8


def test_backward_of_several_numbers_needs_a_start():
    y = leaf([1.0, 2.0]) * 2.0
    with pytest.raises(RuntimeError, match=r"\(2,\).*sum\(\)"):
        y.backward()
    with pytest.raises(ValueError, match=r"\(3,\).*\(2,\)"):
        y.backward(np.ones(3))


def test_backward_without_a_graph_says_requires_grad():
    with pytest.raises(RuntimeError, match="requires_grad=True"):
        mg.tensor(1.0).backward()
    with pytest.raises(RuntimeError, match="requires_grad=True"):
        mg.grad(leaf(1.0) * 2.0, mg.tensor(1.0))


@pytest.mark.parametrize("dtype", [int, np.uint8, bool])
def test_integers_cannot_require_a_gradient(dtype):
    with pytest.raises(TypeError, match=np.dtype(dtype).name):
        mg.tensor([1, 0], dtype=dtype, requires_grad=True)


def test_requires_grad_of_a_computed_tensor_cannot_be_set():
    y = leaf(1.0) * 2.0
    with pytest.raises(RuntimeError, match="detach"):
        y.requires_grad = False


def test_a_rule_that_returns_the_wrong_shape_is_caught(registered):
    wrong = registered(op("wrong_shape", "", lambda xp, x: x * 2, lambda g, _y, _x: g.sum()))
    with pytest.raises(RuntimeError, match=r"wrong_shape.*\(\).*\(2,\)"):
        wrong(leaf([1.0, 2.0])).backward(np.ones(2))


@pytest.fixture
def registered():
    """Ops made in a test leave the registry afterwards."""

    names = set(REGISTRY)
    yield lambda function: function
    for name in REGISTRY.keys() - names:
        del REGISTRY[name]


# ---- switches -------------------------------------------------------------------------------------------------------


def test_no_grad_records_nothing_as_a_context_and_as_a_decorator():
    x = leaf(1.0)

    @mg.no_grad()
    def double(t):
        return t * 2.0

    with mg.no_grad():
        assert not (x * 2.0).requires_grad
        with mg.enable_grad():
            assert (x * 2.0).requires_grad
    assert not double(x).requires_grad and not double(x).requires_grad and (x * 2.0).requires_grad


def test_no_grad_ends_with_an_error_too():
    with pytest.raises(KeyError), mg.no_grad():
        raise KeyError
    assert (leaf(1.0) * 2.0).requires_grad


def test_no_grad_is_for_its_own_thread():
    inside, finish, results = threading.Event(), threading.Event(), []

    def work():
        inside.wait(10)
        results.append((leaf(1.0) * 2.0).requires_grad)
        finish.set()

    thread = threading.Thread(target=work)
    thread.start()
    with mg.no_grad():
        inside.set()
        finish.wait(10)
    thread.join()
    assert results == [True]


@pytest.mark.parametrize("create_graph", [False, True])
def test_backward_restores_the_recording_state_when_a_hook_fails(create_graph):
    y = leaf(1.0) * 2.0

    def fail(_):
        raise KeyError("hook")

    y.register_hook(fail)
    with mg.no_grad():
        with pytest.raises(KeyError):
            y.backward(create_graph=create_graph)
        assert not (leaf(1.0) * 2.0).requires_grad
    assert (leaf(1.0) * 2.0).requires_grad


def test_detect_anomaly_names_the_op_that_made_a_nan():
    with mg.detect_anomaly(), np.errstate(all="ignore"):
        with pytest.raises(FloatingPointError, match="log"):
            mg.log(mg.tensor([-1.0]))
        y = mg.sqrt(leaf(0.0))
        with pytest.raises(FloatingPointError, match=r"backward.*sqrt"):
            y.backward()
    with np.errstate(all="ignore"):
        mg.log(mg.tensor([-1.0]))


# ---- memory ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_detect_anomaly_says_if_an_op_was_given_what_it_passes_on(bad, device):
    x, constant = leaf([1.0, 2.0], device=device), on(device, np.array([1.0, bad]))
    with mg.detect_anomaly():
        with pytest.raises(FloatingPointError, match=r"multiply.*given"):
            x * constant
        with pytest.raises(FloatingPointError, match=r"log.*float64$"), np.errstate(all="ignore"):
            mg.log(x - 1.0)


@pytest.mark.parametrize("ending", ["dropped", "backward", "grad", "grad of grad"])
def test_a_graph_is_freed_by_reference_counting_alone(ending, device):
    gc.collect()
    gc.disable()
    try:
        x = leaf(np.ones(10), device=device)
        middle = mg.exp(x)
        array, tensor = weakref.ref(middle.data), weakref.ref(middle)
        y = (middle * middle).sum()
        del middle
        if ending == "backward":
            y.backward()
            assert array() is None  # freed as backward went by, though y is alive
        elif ending == "grad":
            mg.grad(y, x)
        elif ending == "grad of grad":
            mg.grad(mg.grad(y, x, create_graph=True).sum(), x)
        del y
        assert array() is None and tensor() is None
    finally:
        gc.enable()


def test_the_tape_keeps_no_array_that_no_rule_needs(device):
    x = leaf(np.ones(10), device=device)
    first = x + 1.0
    array = weakref.ref(first.data)
    y = (first + 2.0).sum()
    del first
    assert array() is None
    y.backward()


# ---- tensors --------------------------------------------------------------------------------------------------------


def test_tensor_copies_its_numbers_and_data_can_be_replaced():
    array = np.ones(2)
    x = mg.tensor(array)
    array[0] = 5
    assert x.numpy().tolist() == [1, 1]
    x.data = np.zeros(2)
    assert x.numpy().tolist() == [0, 0]
    with pytest.raises(ValueError, match=r"\(2,\)"):
        x.data = np.zeros(3)


def test_entries_cannot_be_assigned_and_the_error_says_what_can():
    for x in (leaf([1.0, 2.0]), leaf([1.0, 2.0]) * 2, mg.tensor([1.0, 2.0])):
        before = x.numpy().tolist()
        with pytest.raises(TypeError, match=r"mg\.where.*\.data"):
            x[0] = 5.0
        assert x.numpy().tolist() == before


@pytest.mark.parametrize("dtype", [np.int64, np.uint8, bool])
def test_data_that_requires_a_gradient_cannot_become_whole_numbers(dtype):
    x = leaf([1.0, 2.0])
    for tensor in (x, x * 2):
        with pytest.raises(TypeError, match=np.dtype(dtype).name):
            tensor.data = np.ones(2, dtype)
    assert x.numpy().tolist() == [1, 2] and x.dtype == np.float64
    x.data = np.zeros(2, np.float32)
    assert mg.grad((x * 3).sum(), x).dtype == np.float32
    without = x.detach()
    without.data = np.ones(2, dtype)
    assert without.dtype == dtype


@pytest.mark.parametrize(
    ("data", "dtype"),
    [
        (1.5, np.float32),
        ([1.0, 2.0], np.float32),
        (3, np.int64),
        (True, bool),
        (np.float64(1), np.float64),
        (np.ones(2), np.float64),
        ([np.float64(1.0)], np.float64),
        (np.ones(2, np.float16), np.float16),
    ],
)
def test_python_floats_become_float32_and_arrays_keep_their_dtype(data, dtype):
    assert mg.tensor(data).dtype == dtype


@pytest.mark.parametrize("data", ["text", [[1.0], [1.0, 2.0]], 1j, [None]])
def test_what_is_not_a_rectangle_of_real_numbers_is_refused(data):
    with pytest.raises((TypeError, ValueError)):
        mg.tensor(data)


@pytest.mark.parametrize("dtype", [complex, object, str])
def test_a_dtype_that_is_no_real_number_is_refused(dtype):
    with pytest.raises(TypeError, match="real numbers"):
        mg.tensor([1.0], dtype=dtype)


@pytest.mark.parametrize("other", [np.array([1j, 2]), np.ones(2, np.complex64)])
def test_no_op_makes_complex_tensors(other, device):
    for make in (
        lambda: leaf([1.0, 2.0], device=device) * on(device, other),
        lambda: mg.tensor([1, 2], device=device).astype(complex),
    ):
        with pytest.raises(TypeError, match=r"(multiply|astype).*real"):
            make()


@pytest.mark.parametrize("dtype", [int, bool])
def test_data_that_requires_a_gradient_stays_floating_point(dtype):
    x = leaf([1.0, 2.0])
    with pytest.raises(TypeError, match=str(np.dtype(dtype))):
        x.data = np.ones(2, dtype)
    assert x.numpy().tolist() == [1, 2]


@pytest.mark.parametrize("spec", ["", ".2f", ">12", "e"])
@pytest.mark.parametrize("shape", [(), (1,), (1, 1)])
def test_one_number_is_formatted_as_a_number(spec, shape):
    x = mg.tensor(np.full(shape, 2 / 3))
    assert f"{x:{spec}}" == (f"{2 / 3:{spec}}" if spec else str(x))
    with pytest.raises(ValueError, match="format"):
        format(mg.tensor([1.0, 2.0]), ".2f")


DUPLICATES = {"copy": copy.copy, "deepcopy": copy.deepcopy, "pickle": lambda t: pickle.loads(pickle.dumps(t))}


@pytest.mark.parametrize("duplicate", DUPLICATES.values(), ids=DUPLICATES)
@pytest.mark.parametrize("requires_grad", [False, True])
def test_copies_of_a_leaf_are_leaves_of_their_own(duplicate, requires_grad):
    x = mg.tensor([1.0, 2.0], requires_grad=requires_grad)
    twin = duplicate(x)
    assert type(twin) is mg.Tensor and twin.requires_grad == requires_grad and twin.dtype == x.dtype
    np.testing.assert_array_equal(twin.numpy(), x.numpy())
    if requires_grad:
        (twin * x).sum().backward()
        assert twin.grad is not x.grad and twin.grad.numpy().tolist() == [1, 2]


@pytest.mark.parametrize("duplicate", DUPLICATES.values(), ids=DUPLICATES)
def test_a_computed_tensor_is_copied_without_its_record_or_not_at_all(duplicate):
    x = leaf([1.0, 2.0])
    y = mg.exp(x)
    with pytest.raises(RuntimeError, match="detach"):
        duplicate(y)
    assert not duplicate(y.detach()).requires_grad
    assert mg.grad(y.sum(), x).numpy().tolist() == y.numpy().tolist()


VIEWS = {
    "part": lambda a: a[:2],
    "reversed": lambda a: a[::-1],
    "reshaped": lambda a: a.reshape(2, 2),
    "transposed": lambda a: a.reshape(2, 2).T,
}


@pytest.mark.parametrize("view", VIEWS.values(), ids=VIEWS)
def test_a_view_taken_before_the_op_does_not_change_the_gradient(view):
    whole = np.arange(1.0, 5.0)
    part = view(whole)
    wanted, x = part.copy(), leaf(np.ones(part.shape))
    y = (x * part).sum()
    whole[:] = 100
    np.testing.assert_array_equal(mg.grad(y, x).numpy(), wanted)
    t = leaf(wanted)
    shown = view(t.data.reshape(-1)) if t.size == 4 else t.data[:1]
    y = (t * t).sum()
    with pytest.raises(ValueError, match="assign new ones"):
        shown[0] = 100
    np.testing.assert_array_equal(mg.grad(y, t).numpy(), 2 * wanted)


def test_a_view_that_could_not_be_written_into_stays_so():
    part = np.arange(4.0)[:2]
    part.setflags(write=False)
    (leaf([1.0, 1.0]) * part).sum().backward()
    assert not part.flags.writeable and part.base.flags.writeable


def test_detach_cuts_the_record_and_shares_the_numbers(device):
    x = leaf([1.0, 2.0], device=device)
    y = (x * 2.0).detach()
    assert not y.requires_grad
    assert backend.module_for(device).shares_memory(x.detach().data, x.data)


def test_tensors_count_as_themselves_in_sets():
    x, y = mg.tensor([1.0]), mg.tensor([1.0])
    assert len({x, y, x}) == 2


# ---- memory, and who owns what --------------------------------------------------------------------------------------


def test_a_share_of_a_wrong_shape_is_refused_whatever_came_before_it():
    bad = mg.op.op("bad", "2x, with a rule that forgets the shape.", lambda xp, x: x * 2, lambda g, _y, _x: g.sum())
    try:
        for f in (lambda y: bad(y) + y * 3.0, lambda y: y * 3.0 + bad(y)):
            x = mg.tensor([1.0, 2.0, 3.0], requires_grad=True)
            with pytest.raises(RuntimeError, match="backward rule of bad"):
                f(x * 1.0).backward(np.ones(3, np.float32))
    finally:
        del mg.op.REGISTRY["bad"]


def test_an_input_that_is_named_twice_gets_two_gradients_of_its_own():
    x = mg.tensor([1.0, 2.0], requires_grad=True)
    first, second = mg.grad((x * x).sum(), [x, x])
    assert first is not second and first.numpy().tolist() == second.numpy().tolist() == [2.0, 4.0]


def test_recorded_gradients_that_are_equal_are_not_one_tensor():
    x, y = mg.tensor([1.0, 2.0], requires_grad=True), mg.tensor([3.0, 4.0], requires_grad=True)
    first, second = mg.grad(((x + y) ** 2).sum(), [x, y], create_graph=True)  # addition passes its gradient on as it is
    first.retain_grad()
    second.sum().backward()
    assert first.grad is None
