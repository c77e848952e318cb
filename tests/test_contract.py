"""The contract, row by row: docs/contract.md says what holds in plain words and names the test here that shows it."""

import os
import re
import subprocess
import sys
import warnings
from pathlib import Path

import numpy as np
import pytest

import minigrad as mg
import wn
from minigrad.nn import functional as F

PAGE = Path(__file__).parent.parent / "docs" / "contract.md"


def leaf(data, dtype=np.float64):
    return mg.tensor(np.array(data, dtype), requires_grad=True)


def gradient(function, data):
    x = leaf(data)
    y = function(x)
    return mg.grad(y, x, np.ones(y.shape)).numpy()


# ---- numbers --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("two", [2.0, 2, True, np.float64(2), np.int64(2)], ids=lambda two: type(two).__name__)
def test_float32_stays_float32_beside_numbers(two):
    x = leaf([1.0, 3.0], np.float32)
    for y in (x * two, two * x, x + two, two - x, x / two, two / x, x**two, mg.maximum(x, two)):
        assert y.dtype == np.float32
    assert (x * np.ones(2)).dtype == np.float64  # an array in float64 asks for it


@pytest.mark.parametrize("shape", [(), (1,), (3,), (1, 3), (2, 1), (2, 3)])
@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_a_gradient_has_the_dtype_and_shape_of_its_tensor(shape, dtype):
    x = leaf(np.ones(shape), dtype)
    (x * np.ones((2, 3)) + x).backward(np.ones((2, 3)))
    assert (x.grad.dtype, x.grad.shape) == (dtype, shape)


@pytest.mark.parametrize("dtype", ["int64", "uint8", "bool"])
def test_integers_cannot_require_a_gradient(dtype):
    with pytest.raises(TypeError, match=dtype):
        mg.tensor([1, 0], dtype=dtype, requires_grad=True)
    with pytest.raises(TypeError, match=dtype):
        leaf([1.0, 0.0]).data = np.array([1, 0], dtype)


def test_ties_share_the_gradient_except_in_max_pooling():
    assert gradient(mg.max, [2, 2, 1, 2]).tolist() == [1 / 3, 1 / 3, 0, 1 / 3]
    assert gradient(mg.min, [2, 1, 1]).tolist() == [0, 0.5, 0.5]
    for function in (mg.maximum, mg.minimum):
        assert gradient(lambda x, f=function: f(x, np.array([2.0])), [2]).tolist() == [0.5]
    pooled = gradient(lambda x: mg.max_pool2d(x.reshape(1, 1, 2, 2), 2), [1, 2, 2, 2])
    assert pooled.tolist() == [0, 1, 0, 0]


@pytest.mark.parametrize(
    ("function", "slope"), [(mg.relu, 0), (lambda x: mg.leaky_relu(x, 0.2), 0.2), (mg.abs, 0), (mg.norm, 0)]
)
def test_the_slopes_chosen_at_kinks(function, slope):
    assert gradient(function, 0.0) == slope
    with np.errstate(divide="ignore"):
        assert gradient(mg.sqrt, 0.0) == np.inf
        assert gradient(lambda b: np.zeros(2) ** b, [2.0, -2.0]).tolist() == [0, -np.inf]
    assert gradient(lambda x: mg.clip(x, -1, 1), [-1.0, 1.0]).tolist() == [1, 1]


def test_a_zero_weight_vector_is_refused():
    def with_a_zero_row():
        layer = mg.nn.Linear(3, 2)
        layer.weight.data = np.array([[1, 2, 3], [0, 0, 0]], np.float32)
        return layer

    with pytest.raises(ValueError, match=r"Linear.*1"):
        wn.WeightNorm(with_a_zero_row())
    normalized = wn.WeightNorm(mg.nn.Linear(3, 2))
    state = normalized.state_dict() | {"weight_v": with_a_zero_row().weight.numpy()}
    with pytest.raises(ValueError, match=r"Linear.*1"):
        normalized.load_state_dict(state)


ARRAYS = {
    "no entries": np.zeros((0, 3)),
    "0-d": np.array(0.5),
    "negative strides": np.arange(6.0).reshape(2, 3)[::-1, ::-1],
    "every other entry": np.arange(12.0).reshape(2, 6)[:, ::2],
    "transposed": np.arange(6.0).reshape(3, 2).T,
}


def test_tensors_have_the_byte_order_of_the_machine():  # in every function: tests/test_fuzz.py
    swapped = np.array([1.0, 2.0, 3.0], np.float32).astype(np.dtype(np.float32).newbyteorder())
    x = mg.tensor(swapped, requires_grad=True)
    (x * swapped).sum().backward()
    for array in (x.data, x.grad.data):
        assert array.dtype == np.float32 and array.dtype.isnative and array.tolist() == [1, 2, 3]


@pytest.mark.parametrize("array", ARRAYS.values(), ids=ARRAYS)
def test_empty_0d_and_strided_arrays_work(array):
    x = mg.Tensor(array)  # unlike mg.tensor, without a copy
    x.requires_grad = True
    np.testing.assert_allclose(mg.grad((x * x * 0.5).sum(), x).numpy(), array)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # the mean of nothing is NaN; its gradient has no entries
        mean = mg.mean(x)
    np.testing.assert_allclose(mg.grad(mean, x).numpy(), np.full(array.shape, 1 / max(1, array.size)))
    if not x.ndim:  # NumPy lets its ufuncs reduce a number over "axis" 0
        for function in (mg.sum, mg.prod, mg.max, mg.min):
            assert mg.grad(function(x, 0), x).numpy() == 1


# ---- the tape -------------------------------------------------------------------------------------------------------


def test_a_node_on_2_to_the_60_paths_is_visited_once():
    x, visits = leaf(1.0), []
    y = x
    for _ in range(60):
        y = y + y
        y.register_hook(visits.append)
    y.backward()
    assert x.grad.item() == 2.0**60 and len(visits) == 60


def test_a_chain_of_100000_ops():
    x = y = leaf(1.0)
    for _ in range(100_000):
        y = y + 1.0
    assert mg.grad(y, x).item() == 1
    del y


def test_leaf_gradients_accumulate_and_others_are_not_kept():
    x, z = leaf([1.0, 2.0]), leaf([3.0, 4.0])
    for k in (1, 2, 3):
        y, kept = x + z, x * 2.0
        kept.retain_grad()
        (y + kept).sum().backward()
        assert x.grad.numpy().tolist() == [3 * k, 3 * k] and y.grad is None and kept.grad.numpy().tolist() == [1, 1]


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_grad_of_an_unconnected_input_is_zeros(dtype):
    found = mg.grad(leaf(1.0) * 2.0, leaf([[np.nan, 1.0]], dtype))
    assert found.numpy().tolist() == [[0, 0]] and found.dtype == dtype


def test_arrays_in_arrays_out():
    a = np.ones((2, 2))
    for function in (mg.add, mg.multiply, mg.matmul, mg.maximum):
        assert isinstance(function(a, a), np.ndarray)
        for args in ((mg.tensor(a), a), (a, mg.tensor(a))):
            assert isinstance(function(*args), mg.Tensor)


def test_a_checkpointed_function_has_the_same_derivatives():  # of every order: tests/test_checkpointing.py
    def f(x):
        return mg.tanh(mg.exp(mg.sin(x)))

    found = []
    for call in (f, lambda x: mg.checkpoint(f, x)):
        x = leaf([1.0, 2.0])
        (first,) = mg.grad(call(x).sum(), [x], create_graph=True)
        (second,) = mg.grad(first.sum(), [x], retain_graph=True)
        found.append((first.numpy(), second.numpy(), mg.draw.bytes_kept(first)))
    np.testing.assert_allclose(found[0][:2], found[1][:2], rtol=1e-5)
    assert found[1][2] < found[0][2]
    rng = np.random.default_rng(0)
    y = mg.checkpoint(lambda x: x * rng.normal(), x)
    with pytest.raises(RuntimeError, match="random numbers"):
        y.sum().backward()


# ---- errors that say what to do -------------------------------------------------------------------------------------


def test_a_second_backward_says_retain_graph():
    y = leaf(2.0) ** 2
    y.backward(retain_graph=True)
    y.backward()
    with pytest.raises(RuntimeError, match="retain_graph=True"):
        y.backward()


def test_backward_says_what_it_needs():
    with pytest.raises(RuntimeError, match=r"\(2,\).*sum\(\)"):
        (leaf([1.0, 2.0]) * 2.0).backward()
    with pytest.raises(RuntimeError, match="requires_grad=True"):
        mg.tensor(1.0).backward()


def write(target):
    target[0] = 5


CHANGES = [
    write,
    lambda t: write(t[:1]),
    lambda t: write(t.reshape(2, 1)),
    lambda t: np.add(t, 1, out=t),
    lambda t: np.add.at(t, [0], 1),
    lambda t: t.fill(5),
    lambda t: t.put(0, 5),
    lambda t: np.copyto(t, 5),
    lambda t: t.sort(),
]
WAYS = [lambda x: x.data, lambda x: x.numpy(), lambda x: x.detach().data, lambda x: x[:].data]


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("operand", [0, 1])
def test_the_numbers_of_a_tensor_cannot_be_changed_in_place(change, way, operand):
    operands = x, w = leaf([2.0, 1.0]), leaf([4.0, 3.0])
    before = way(operands[operand])
    y = x * w
    for array in (before, way(operands[operand])):
        with pytest.raises(ValueError, match=r"read-only|assign new ones"):
            change(array)
    y.backward(np.ones(2))
    assert x.grad.numpy().tolist() == [4, 3] and w.grad.numpy().tolist() == [2, 1]
    for tensor in (x, x.grad, y, mg.exp(x)):
        with pytest.raises(ValueError, match=r"read-only|assign new ones"):
            change(way(tensor))
    array = way(x)
    array -= 1  # is array = array - 1
    assert x.numpy().tolist() == [2, 1] and array.tolist() == [1, 0] and type(array) is np.ndarray
    z = mg.exp(x)  # whose rule needs its output
    x.data -= 3  # another array: z keeps the old one
    assert x.numpy().tolist() == [-1, -2]
    assert mg.grad(z, x, np.ones(2)).numpy().tolist() == z.numpy().tolist()


def borrowed(tmp_path):
    """Arrays whose memory is not NumPy's: of a buffer, of a file, of another library; and a part of an array."""
    buffer = bytearray(np.array([4.0, 3.0]).tobytes())
    file = np.memmap(tmp_path / "numbers", np.float64, "w+", shape=2)
    file[:] = [4.0, 3.0]

    class Library:
        memory = np.array([4.0, 3.0])
        __array_interface__ = memory.__array_interface__

    return [np.frombuffer(buffer), file, np.asarray(Library()), np.array([0.0, 4.0, 3.0, 0.0])[1:3]]


def test_plain_arrays_stay_as_they_are_and_may_be_changed(tmp_path):
    for array in borrowed(tmp_path):
        for use in (lambda t, a: t * a, lambda t, a: a * t, lambda t, a: mg.where(a > 0, t * a, t)):
            array[:] = [4.0, 3.0]
            flags, x = str(array.flags), leaf([2.0, 1.0])
            y = use(x, array).sum()
            array[:] = 100
            assert str(array.flags) == flags
            assert mg.grad(y, x).numpy().tolist() == [4, 3]
    x, start = leaf([2.0, 1.0]), np.ones(2)
    (x + 0.0).backward(start, create_graph=True)
    x.data, replaced = start, x.data
    start[:] = 100
    assert x.grad.numpy().tolist() == [1, 1] and x.data.tolist() == [1, 1] and replaced.tolist() == [2, 1]


def test_devices_do_not_mix(cuda):
    for other in (mg.tensor([1.0], device=cuda), mg.tensor([1.0], device=cuda).data):
        for here in (mg.tensor([1.0]), np.ones(1)):
            with pytest.raises(TypeError, match=r"cpu.*cuda|numpy"):
                here + other


def test_labels_and_indices_out_of_range_are_refused(device):
    logits = mg.tensor(np.zeros((2, 3)), device=device)
    for labels in ([0, 3], [-1, 0]):
        with pytest.raises((IndexError, ValueError)):
            F.cross_entropy(logits, np.array(labels))
    for index in (2, -3, np.array([0, 2])):
        with pytest.raises((IndexError, ValueError)):
            logits[index]


def test_detect_anomaly_names_the_op():  # on devices: tests/test_devices.py
    with mg.detect_anomaly(), np.errstate(all="ignore"):
        with pytest.raises(FloatingPointError, match="log"):
            mg.log(leaf(-1.0))
        with pytest.raises(FloatingPointError, match=r"backward.*sqrt"):
            mg.sqrt(leaf(0.0)).backward()


def test_random_numbers_come_from_numpy_generators():
    x = mg.tensor(np.ones((4, 5)))
    first, second = (F.dropout(x, 0.5, np.random.default_rng(3)).numpy() for _ in range(2))
    np.testing.assert_array_equal(first, second)
    assert set(first.ravel()) == {0, 2}


# ---- models: in detail in tests/test_edges.py -----------------------------------------------------------------------


def test_numbers_of_every_size():
    for size in (1e-37, 1e-20, 1.0, 1e20, 1e37):
        v = leaf(np.array([[3.0, 4.0]]) * size, np.float32)
        np.testing.assert_allclose(mg.norm(v).item() / size, 5, rtol=1e-6)
        np.testing.assert_allclose(wn.weight_norm(v, leaf([10.0], np.float32)).numpy(), [[6, 8]], rtol=1e-6)
    assert mg.sigmoid(leaf(-20.0, np.float32)).item() == pytest.approx(2.0611537e-9, rel=1e-6)
    assert mg.logsumexp(leaf([1e308, 1e308])).item() == 1e308


def test_tied_weights_stay_tied():
    model = mg.nn.Sequential(mg.nn.Linear(2, 2), mg.nn.Linear(2, 2, bias=False))
    model[1].weight = model[0].weight
    wn.apply_weight_norm(model)
    assert len(model.parameters()) == 3 and model[1].weight_v is model[0].weight_v
    assert wn.remove_weight_norm(model)[1].weight is model[0].weight
    pair = mg.nn.Sequential(mg.nn.Conv2d(2, 2, 1), mg.nn.ConvTranspose2d(2, 2, 1))
    pair[1].weight = pair[0].weight
    with pytest.raises(ValueError, match="layer '1' is shared"):
        wn.apply_weight_norm(pair)


def test_modules_in_lists_of_lists_are_seen():
    model = mg.nn.Module()
    model.blocks = [[mg.nn.Linear(1, 1, bias=False)], {"a": mg.nn.Parameter([1.0])}]
    assert [name for name, _ in model.named_parameters()] == ["blocks.1.a", "blocks.0.0.weight"]


def test_optimizers_refuse_what_cannot_work():
    p = mg.nn.Parameter([1.0])
    for wrong in ({"lr": float("nan")}, {"betas": (0.9, 1.0)}):
        with pytest.raises(ValueError, match="must be at least 0 and less than"):
            mg.optim.Adam([p], **wrong)
    with pytest.raises(TypeError, match="only floats can be trained"):
        mg.optim.Adam([mg.tensor([1])])
    with pytest.raises(ValueError, match="the state of SGD"):
        mg.optim.Adam([p]).load_state_dict(mg.optim.SGD([p], 0.1).state_dict())


# ---- settings -------------------------------------------------------------------------------------------------------


def in_a_new_process(code, **environment):
    command = [sys.executable, "-c", code]
    run = subprocess.run(command, env=os.environ | environment, capture_output=True, text=True, timeout=60, check=True)
    return run.stdout.strip()


def test_importing_changes_nothing():  # in detail: tests/test_structure.py
    code = """
import os, signal, sys, threading, warnings, numpy
def state():
    signals = [signal.getsignal(s) for s in signal.valid_signals()]
    filters, random = warnings.filters[:], numpy.random.get_state()[1].tolist()
    return dict(os.environ), threading.active_count(), signals, filters, numpy.geterr(), random
before = state()
import minigrad, wn
print(state() == before, {"matplotlib", "hypothesis", "cupy"} & set(sys.modules))
"""
    assert in_a_new_process(code) == "True set()"


def test_settings_are_in_one_object(monkeypatch):  # in detail: tests/test_settings.py
    monkeypatch.setenv("MINIGRAD_TF32", "0")
    assert mg.config.tf32 is False and "tf32 = False" in repr(mg.config)
    with mg.config(tf32=True):
        assert mg.config.tf32 is True
    assert mg.config.tf32 is False
    with pytest.raises(AttributeError, match="no setting 'tf23'"):
        mg.config.tf23 = True
    with pytest.raises(TypeError, match="True or False"):
        mg.config.tf32 = "yes"


def test_plain_and_fast_agree():  # op by op: tests/fast/test_replace.py
    code = """
import numpy as np, minigrad as mg, wn
rng = np.random.default_rng(0)
layers = [mg.nn.Conv2d(3, 4, 3, padding=1, rng=rng), mg.nn.BatchNorm(4), mg.nn.ReLU(), mg.nn.MaxPool2d(2)]
model = wn.apply_weight_norm(mg.nn.Sequential(*layers))
x = mg.tensor(rng.standard_normal((5, 3, 6, 6)), requires_grad=True)
first = mg.grad((model(x) ** 2).sum(), x, create_graph=True)
second = mg.grad((first * first).sum(), x)
print(*(f"{number:.4g}" for number in (abs(first.data).sum(), abs(second.data).sum())))
"""
    plain, fast = (in_a_new_process(code, MINIGRAD_PLAIN=plain) for plain in "10")
    assert plain == fast and len(plain.split()) == 2


def test_a_pixel_changes_only_what_sees_it():  # to a bound, at every scale: tests/fast/test_convolution.py
    x, w = np.ones((1, 64, 16, 16), np.float32), np.ones((64, 64, 3, 3), np.float32)
    others = np.ones((14, 14), bool)
    others[3:6, 3:6] = False
    for pixel in (1e8, np.nan, np.inf):
        x[0, 0, 5, 5] = pixel
        y = F.conv2d(x, w)
        assert (y[..., others] == 576).all() and not (y[..., ~others] == 576).any()


# ---- the page -------------------------------------------------------------------------------------------------------


def test_the_page_and_the_tests_correspond():
    named = re.findall(r"`(test_\w+)`", PAGE.read_text("utf-8"))
    here = [name for name in globals() if name.startswith("test_") and not name.startswith("test_the_page")]
    assert sorted(named) == sorted(here)
