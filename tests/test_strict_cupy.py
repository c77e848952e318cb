"""The stand-in for CuPy: that it has nothing which CuPy has not, and refuses what CuPy refuses.

Where there is a GPU, the part about behaviour runs on the real CuPy too: it is a list of what is believed of it.
"""

import importlib
import inspect
import types

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from tests import strict_cupy
from tests.strict_cupy import names

NAMES = names.read()


@pytest.fixture
def cupy(cuda):
    """The stand-in, or with MINIGRAD_TEST_DEVICE=cuda the real CuPy."""
    return importlib.import_module("cupy")


# ---- names ----------------------------------------------------------------------------------------------------------


def offered():
    """(name, value) for everything that the stand-in offers."""
    for path, module in strict_cupy.MODULES.items():
        for name, value in vars(module).items():
            if not name.startswith("_") and not isinstance(value, types.ModuleType):
                yield f"{path}.{name}", value
    for path in ("cupy.ndarray", "cupy.random.Generator", "cupy.ufunc"):
        owner, _, name = path.rpartition(".")
        for member, value in vars(getattr(strict_cupy.MODULES[owner], name)).items():
            if not member.startswith("_"):
                yield f"{path}.{member}", value


def test_cupy_has_all_that_the_stand_in_offers():
    instance = {"cupy.ufunc.__signature__"}
    unknown = sorted({name for name, _ in offered()} - NAMES.keys() - instance)
    assert not unknown, f"CuPy has no {unknown}"


@pytest.mark.parametrize("name", sorted(name for name, value in offered() if NAMES.get(name) and callable(value)))
def test_its_functions_take_no_argument_that_cupys_do_not_take(name):
    value = dict(offered())[name]
    here = list(inspect.signature(value).parameters.values())
    here = here[1:] if here and here[0].name == "self" else here
    there = NAMES[name].parameters
    assert [p.name for p in here] == list(there), f"CuPy's arguments are {NAMES[name]}"
    for p in here:
        assert (p.default is p.empty) == (there[p.name].default is p.empty), p


def test_the_list_is_the_one_that_the_installed_cupy_makes():
    real = pytest.importorskip("cupy", reason="needs CuPy, but no GPU")
    lines = list(names.made_anew())
    listed = names.LIST.read_text("utf-8").splitlines()
    if lines[0] != listed[0]:
        pytest.skip(f"made from another version: {listed[0]}, here {lines[0]} ({real.__name__})")
    assert lines == listed


# ---- what CuPy refuses ----------------------------------------------------------------------------------------------

X = np.array([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]])
REFUSED = {
    "a NumPy operand": (TypeError, lambda cp, x: x + X),
    "a NumPy operand on the left": (TypeError, lambda cp, x: X + x),
    "a NumPy operand of a comparison": (TypeError, lambda cp, x: x > X),
    "a NumPy operand in place": (TypeError, lambda cp, x: x.__iadd__(X)),
    "a NumPy operand of a function": (TypeError, lambda cp, x: cp.maximum(x, X)),
    "a NumPy operand of a product": (TypeError, lambda cp, x: x @ X.T),
    "a list as an operand": (TypeError, lambda cp, x: cp.exp([1.0, 2.0])),
    "a NumPy array among others": (TypeError, lambda cp, x: cp.concatenate([x, X])),
    "implicit conversion": (TypeError, lambda cp, x: np.asarray(x)),
    "implicit conversion in an assignment": (TypeError, lambda cp, x: X.copy().__setitem__(0, x[0])),
    "where= of a ufunc": (TypeError, lambda cp, x: cp.add(x, x, where=x > 0)),
    "where= of a reduction": (TypeError, lambda cp, x: x.sum(where=x > 0)),
    "initial= of a reduction": (TypeError, lambda cp, x: cp.max(x, initial=0)),
    "reducing with maximum": (NotImplementedError, lambda cp, x: cp.maximum.reduce(x)),
    "multiply.at": (NotImplementedError, lambda cp, x: cp.multiply.at(x, 0, 2.0)),
    "running sums of a 0-d array along an axis": (ValueError, lambda cp, x: cp.cumsum(x.sum(), axis=-1)),
    "clip with one bound": (TypeError, lambda cp, x: cp.clip(x, 0)),
    "take_along_axis without an axis": (TypeError, lambda cp, x: cp.take_along_axis(x, x.argmax(1)[:, None])),
    "errstate": (AttributeError, lambda cp, x: cp.errstate),
    "block": (AttributeError, lambda cp, x: cp.block),
    "insert": (AttributeError, lambda cp, x: cp.insert),
    "nditer": (AttributeError, lambda cp, x: cp.nditer),
    "setflags": (AttributeError, lambda cp, x: x.setflags),
    "flags.writeable": (AttributeError, lambda cp, x: x.flags.writeable),
    "normal of a Generator": (AttributeError, lambda cp, x: cp.random.default_rng(0).normal),
    "permutation of a Generator": (AttributeError, lambda cp, x: cp.random.default_rng(0).permutation),
    "an array as a Python index": (TypeError, lambda cp, x: range(x.argmax())),
    "filling with a NumPy array": (ValueError, lambda cp, x: x.__setitem__(slice(None), X)),
    "text": (ValueError, lambda cp, x: cp.array(["a"])),
    "a number as the condition of where": (AttributeError, lambda cp, x: cp.where(True, x, 0.0)),
    "an index out of range": (IndexError, lambda cp, x: x[2]),
    "too many indices": (IndexError, lambda cp, x: x[0, 0, 0]),
    "a float as an index": (IndexError, lambda cp, x: x[cp.array([0.5])]),
    "float64 into int64": (TypeError, lambda cp, x: x.astype(int).__iadd__(x)),
}


@pytest.mark.parametrize("what", REFUSED)
def test_what_cupy_refuses_is_refused(cupy, what):
    error, call = REFUSED[what]
    with pytest.raises(error):
        call(cupy, cupy.array(X))


# ---- what CuPy does otherwise ---------------------------------------------------------------------------------------


def test_index_arrays_wrap_around(cupy):
    x = cupy.array(X)
    assert x[:, cupy.array([3, -4, 7])].get().tolist() == X[:, [0, 2, 1]].tolist()
    assert x[cupy.array([2]), cupy.array([5])].get().tolist() == [X[0, 2]]
    x[0, cupy.array([4])] = 9
    assert x.get()[0].tolist() == [1, 9, 3]
    cupy.add.at(x, (cupy.array([3]), cupy.array([3])), 1.0)
    assert x.get()[1].tolist() == [5, 5, 6]


def test_there_is_no_read_only_array(cupy):
    view = cupy.broadcast_to(cupy.array(1.0), (2, 2))
    view[0, 0] = 5
    assert view.get().tolist() == [[5, 5], [5, 5]]
    windows = cupy.lib.stride_tricks.sliding_window_view(cupy.arange(3.0), 2)
    windows[0, 1] = 7
    assert windows.get().tolist() == [[0, 7], [7, 2]]


def test_reductions_and_single_entries_are_arrays(cupy):
    x = cupy.array(X)
    for value in (x.sum(), x.mean(), x.max(), x[0, 0], x.argmax(), cupy.sum(x), x @ x.T @ x @ x[0] @ cupy.ones(2)):
        assert isinstance(value, cupy.ndarray) and value.shape == ()


def test_computed_arrays_are_in_c_order_and_copies_that_ask_for_it_are_not(cupy):
    x = cupy.asarray(np.asfortranarray(X))
    assert x.flags.f_contiguous and not x.flags.c_contiguous
    for y in (x + 1, cupy.exp(x), x * x, -x, cupy.where(x > 0, x, 0.0), cupy.concatenate([x, x]), x.copy()):
        assert y.flags.c_contiguous
    for y in (cupy.zeros_like(x), cupy.empty_like(x), x.astype(np.float32), x.copy("K")):
        assert y.flags.f_contiguous
    out = cupy.empty_like(x)
    assert cupy.add(x, x, out=out) is out and out.flags.f_contiguous


def test_nothing_warns(cupy):
    zero = cupy.zeros(2)
    assert np.isnan((zero / zero).get()).all() and np.isinf(cupy.log(zero).get()).all()
    assert np.isnan(cupy.zeros(0).mean().get())


PROMOTED = {
    "Python numbers are weak": (lambda x: x * 2.0, np.float32),
    "NumPy numbers are not": (lambda x: x * np.float64(2), np.float64),
    "nor those on the left": (lambda x: np.float64(2) * x, np.float64),
    "0-d arrays are not": (lambda x: x * x.sum(dtype=np.float64), np.float64),
    "integers of the size of the mantissa": (lambda x: x + (x > 0), np.float32),
    "sums of booleans": (lambda x: (x > 0).sum(), np.int64),
    "means of integers": (lambda x: x.astype(np.int32).mean(), np.float64),
}


@pytest.mark.parametrize("what", PROMOTED)
def test_dtypes_follow_numpy_2(cupy, what):
    call, dtype = PROMOTED[what]
    assert call(cupy.ones(2, np.float32)).dtype == dtype


def test_numpys_functions_of_its_arrays_are_its_own(cupy):
    x = cupy.array(X)
    for y in (np.exp(x), np.sum(x), np.concatenate([x, x]), np.linalg.norm(x)):
        assert isinstance(y, cupy.ndarray)


@pytest.mark.parametrize("seed", [0, 1])
def test_its_generator_is_not_numpys(cupy, seed):
    theirs = cupy.random.default_rng(seed).random(5).get()
    assert not np.allclose(theirs, np.random.default_rng(seed).random(5))


def test_the_first_of_repeated_indices_wins_an_assignment():
    """CuPy promises nothing here, so a test that relies on NumPy's last one must fail."""
    with strict_cupy.installed():
        import cupy

        x = cupy.zeros((2, 2))
        x[cupy.array([1, 1]), cupy.array([0, 0])] = cupy.array([1.0, 2.0])
        assert x.get().tolist() == [[0, 0], [1, 0]]


@given(x=hnp.arrays(float, (2, 3, 4), elements=st.floats(-9, 9)), data=st.data())
def test_indexing_is_numpys_within_the_range(x, data):
    index = data.draw(
        st.one_of(
            hnp.basic_indices(x.shape, allow_newaxis=True),
            hnp.integer_array_indices(x.shape),
            hnp.arrays(bool, x.shape),
            hnp.arrays(bool, x.shape[:1]),
        )
    )
    with strict_cupy.installed():
        import cupy

        made, wanted = cupy.array(x), x.copy()
        np.testing.assert_array_equal(made[index].get(), x[index])
        made[index] = 7.0
        wanted[index] = 7.0
        np.testing.assert_array_equal(made.get(), wanted)


# ---- counting -------------------------------------------------------------------------------------------------------

TO_HOST = {
    "get": lambda cp, x: x.get(),
    "float": lambda cp, x: float(x.sum()),
    "bool": lambda cp, x: bool(x.all()),
    "item": lambda cp, x: x[0, 0].item(),
    "int": lambda cp, x: int(x.argmax()),
    "asnumpy": lambda cp, x: cp.asnumpy(x),
    "a condition": lambda cp, x: 1 if x.sum() > 0 else 2,
    "max of Python": lambda cp, x: max(x[0, 0], x[0, 1]),
    "a mask": lambda cp, x: x[x > 0],
    "nonzero": lambda cp, x: cp.nonzero(x),
    "tolist": lambda cp, x: x.tolist(),
    "printing": lambda cp, x: f"{x.sum():.2f}",
    "unique": lambda cp, x: cp.unique(x),
}


@pytest.mark.parametrize("what", TO_HOST)
def test_copies_to_the_host_are_counted_and_say_where(what):
    with strict_cupy.installed():
        import cupy

        x = cupy.array(X)
        with strict_cupy.transfers() as seen:
            y = (x * 2).sum(axis=0)[1:] - cupy.ones(2)
            y[cupy.array([0])] = 1.0
            y[0] = y[1]
        assert not seen.to_host and len(seen.to_device) == 1  # of the index [0]; ones() is made on the device
        with strict_cupy.transfers() as seen:
            TO_HOST[what](cupy, x)
    assert len(seen.to_host) == 1 and "(test_strict_cupy.py:" in seen.to_host[0]


def test_copies_to_the_device_are_counted():
    with strict_cupy.installed():
        import cupy

        with strict_cupy.transfers() as seen:
            x = cupy.asarray(X)
            x[np.array([0, 1])] = 0
            cupy.asarray(x)
    assert len(seen.to_device) == 2 and not seen.to_host


# ---- CUDA graphs ----------------------------------------------------------------------------------------------------


def captured(cupy, function):
    stream = cupy.cuda.Stream(non_blocking=True)
    with stream:
        stream.begin_capture()
        try:
            result = function()
        finally:
            graph = stream.end_capture()
    return result, graph


def test_a_captured_function_computes_when_its_graph_is_launched(cupy):
    x, running = cupy.asarray(X), cupy.zeros(X.shape[1])
    cupy.exp(x), (x[:, ::2].T * 2).sum(axis=0)  # compiled beforehand: compiling cannot be captured

    def function():
        y = cupy.exp(x)
        y[0] = 3.0
        part = y[:, ::2].T  # a view of what is new
        part *= 2
        y += 1
        running[...] = running + y.sum(axis=0)
        return y, part, x[1:]

    results, graph = captured(cupy, function)
    total = np.zeros(X.shape[1])
    for launch in range(3):
        x[...] = cupy.asarray(X + launch)
        graph.launch()
        y = np.exp(X + launch)
        y[0] = 3.0
        y[:, ::2] *= 2
        y += 1
        total += y.sum(axis=0)
        for found, wanted in zip((*results, running), (y, y[:, ::2].T, X[1:] + launch, total), strict=True):
            np.testing.assert_allclose(found.get(), wanted, rtol=1e-12)


def test_on_the_stand_in_nothing_captured_can_be_used_before(cupy):
    if not isinstance(cupy.zeros(1), strict_cupy.ndarray):
        pytest.skip("on a GPU there is whatever the memory held before")
    x = cupy.asarray(X)
    (y, counts, part), graph = captured(cupy, lambda: (x + 1, x.argmax(axis=0), x[1:]))
    assert np.isnan(y.get()).all() and (counts.get() == 83).all()
    np.testing.assert_array_equal(x.get(), X)
    graph.launch()
    np.testing.assert_array_equal(y.get(), X + 1)
    np.testing.assert_array_equal(part.get(), X[1:])


@pytest.mark.parametrize("what", ["float", "get", "asarray", "synchronize"])
def test_what_would_wait_or_copy_from_the_host_cannot_be_captured(what, cupy):
    x = cupy.asarray(X)
    stream = cupy.cuda.Stream(non_blocking=True)
    function = {
        "float": lambda: float(x.sum()),
        "get": x.get,
        "asarray": lambda: cupy.asarray(X),
        "synchronize": stream.synchronize,
    }[what]
    with stream:
        stream.begin_capture()
        with pytest.raises(RuntimeError, match=r"captur|Captur"):
            function()
        try:
            stream.end_capture()
        except RuntimeError:  # CUDA's: the capture has been broken off
            assert not isinstance(x, strict_cupy.ndarray)
    np.testing.assert_array_equal((x + 1).get(), X + 1)
