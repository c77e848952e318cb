"""Who writes PyTorch's or NumPy's words is told minigrad's; help and ?? show an op as it stands in its file."""

import inspect
import operator
import pickle
import pydoc
import re

import numpy as np
import pytest

import minigrad as mg
from minigrad import hints, ops

ARRAY = np.array([[1.0, 2.0], [3.0, 4.0]])


@pytest.fixture
def t():
    return mg.tensor(ARRAY, requires_grad=True)


ERRORS = {
    "write mg.sin(x), or numpy.sin(x.numpy())": lambda t: np.sin(t),
    "write mg.abs(x), or numpy.absolute(x.numpy())": lambda t: np.abs(t),
    "write numpy.floor(x.numpy())": lambda t: np.floor(t),
    "write numpy.add.reduce(x.numpy())": lambda t: np.add.reduce(t),
    "write a = a + x in place of a += x": lambda t: operator.iadd(ARRAY.copy(), t),
    "numpy.sum takes arrays, not tensors: write mg.sum(…), or numpy.sum of x.numpy()": lambda t: np.sum(t),
    "write mg.mean(…), or numpy.mean of x.numpy()": lambda t: np.mean(t, axis=0),
    "write mg.concatenate(…), or numpy.concatenate of x.numpy()": lambda t: np.concatenate([ARRAY, t]),
    "write mg.concatenate(tensors, axis), or numpy.hstack": lambda t: np.hstack((t, t)),
    "write x @ y, or numpy.dot": lambda t: np.dot(ARRAY, t),
    "write mg.norm(…), or numpy.linalg.norm of x.numpy()": lambda t: np.linalg.norm(t),
    "numpy.linalg.svd takes arrays, not tensors: write numpy.linalg.svd of x.numpy()": lambda t: np.linalg.svd(t),
    "write mg.where(…), or numpy.where": lambda t: np.where(ARRAY > 1, 0.0, t),
    "write mg.sum(x), without out=": lambda t: t.sum(out=ARRAY),
    "write mg.mean(x.astype(dtype)), without dtype=": lambda t: t.mean(dtype="float32"),
    "write mg.tensor(data)": lambda t: mg.Tensor([1, 2]),
    "write x.size without (), and for PyTorch's x.size() x.shape": lambda t: t.size(),
    "'dim'; write axis=": lambda t: t.sum(dim=0),
    "std() got an unexpected keyword argument 'dim'; write axis=": lambda t: t.std(dim=0),
    "stack() got an unexpected keyword argument 'dim'; write axis=": lambda t: mg.stack([t, t], dim=0),
    "'keepdim'; write keepdims=": lambda t: t.max(0, keepdim=True),
    "softmax((2, 2) float64): softmax() got an unexpected keyword argument 'dim'; write axis=": lambda t: mg.softmax(
        t, dim=1
    ),
    "'unbiased'; write ddof=1 for True": lambda t: t.var(unbiased=True),
    "write all axes in their new order, or swapaxes": lambda t: mg.expand_dims(t, 0).transpose(0, 1),
    "has no attribute 'view'; write x.reshape(shape)": lambda t: t.view(4),
    "has no attribute 'cat'; write mg.concatenate(tensors, axis)": lambda t: mg.cat([t, t]),
}


@pytest.mark.parametrize("wanted", ERRORS)
def test_the_error_says_what_to_write(wanted, t):
    with pytest.raises((TypeError, ValueError, AttributeError), match=re.escape(wanted)):
        ERRORS[wanted](t)


def test_numpys_functions_answer_where_no_gradient_can_be_lost(t):
    assert np.allclose(t, ARRAY) and np.array_equal(ARRAY, t) and np.shape(t) == (2, 2) and np.ndim([t, t]) == 3
    assert np.argsort(t, axis=1).tolist() == [[0, 1], [0, 1]] and np.argmax(t) == 3
    for found, expected in ((np.zeros_like(t), 0 * ARRAY), (np.asarray(t), ARRAY), (np.array([t, t])[1], ARRAY)):
        assert type(found) is np.ndarray
        np.testing.assert_array_equal(found, expected)


def test_an_unknown_name_is_a_plain_error(t):
    for ask in (lambda: t.nonsense, lambda: mg.nonsense, lambda: t.sum(nonsense=1), lambda: t.std(nonsense=1)):
        with pytest.raises((TypeError, AttributeError)) as caught:
            ask()
        assert "nonsense" in str(caught.value) and "write" not in str(caught.value)


def test_no_hint_is_for_something_that_is_there(t):
    assert not [name for name in hints.NAMES if hasattr(mg, name)]
    assert not [name for name in hints.ATTRIBUTES if hasattr(t, name)]
    taken = {p for name in ops.__all__ for p in inspect.signature(getattr(mg, name)).parameters}
    assert set(hints.KEYWORDS) & taken <= {"dtype"}  # astype's


@pytest.mark.parametrize("hint", [*hints.NAMES.values(), *hints.ATTRIBUTES.values(), *hints.NUMPYS.values()])
def test_the_functions_and_methods_in_hints_exist(hint, t):
    for name in re.findall(r"\bmg\.([a-zA-Z_.]+)", hint):
        assert operator.attrgetter(name)(mg)
    for name in re.findall(r"\bx\.([a-z_]+)", hint):
        assert name in dir(t)


SYMBOLS = {
    operator.add: mg.add, operator.sub: mg.subtract, operator.mul: mg.multiply, operator.truediv: mg.divide,
    operator.pow: mg.power, operator.matmul: mg.matmul, operator.lt: mg.less, operator.ge: mg.greater_equal,
    operator.eq: mg.equal, operator.ne: mg.not_equal,
}  # fmt: skip


@pytest.mark.parametrize("symbol", SYMBOLS, ids=lambda f: f.__name__)
@pytest.mark.parametrize("array", [ARRAY[::-1] / 2, np.float64(2.0)], ids=["array", "NumPy's number"])
def test_an_array_beside_a_tensor_is_the_tensors_matter(symbol, array, t):
    if symbol is operator.matmul and not array.ndim:
        pytest.skip("a number has no matrix product")
    for x in (array, t.detach().data * array):  # the second shows what a tensor holds, read-only
        for arguments in ((x, t), (t, x)):
            found, expected = symbol(*arguments), SYMBOLS[symbol](*arguments)
            assert type(found) is mg.Tensor and found.requires_grad == expected.requires_grad
            np.testing.assert_array_equal(found.numpy(), expected.numpy())


def test_size_is_an_int(t):
    assert isinstance(t.size, int) and t.size == 4 and repr(t.size) == "4" and type(t.size + 1) is int


# ---- help -----------------------------------------------------------------------------------------------------------


MADE_BY_OP = [name for name in ops.__all__ if hasattr(getattr(mg, name), "op")]


@pytest.mark.parametrize("name", MADE_BY_OP)
def test_help_and_source_are_the_ops_own(name):
    function = getattr(mg, name)
    text = pydoc.render_doc(function, renderer=pydoc.plaintext)
    assert f"{name} in module minigrad.ops." in text and f"{name}{inspect.signature(function)}" in text
    source = inspect.getsource(function)
    assert source.startswith((f'{name} = op("{name}", ', "@primitive("))
    if any([*function.op.rules, function.op.joint]):
        assert "lambda g, " in source or "_rule)" in source


def test_functions_can_be_pickled_by_name():
    for name in ops.__all__:
        assert pickle.loads(pickle.dumps(getattr(mg, name))) is getattr(mg, name)
