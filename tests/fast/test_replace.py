"""Every faster form against the plain one that it stands in for: values, first and second derivatives.

The tests walk what has been replaced (`replace.PLAIN`), so a new faster form is compared without a line here.
"""

import contextlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import minigrad as mg
from minigrad.fast.cpu import convolution, elementwise, normalization
from minigrad.fast.replace import PLAIN
from minigrad.op import REGISTRY
from tests.test_ops_contracts import ELEMENTWISE
from tests.test_ops_gradients import CASES, all_of

REPLACED = sorted(PLAIN)


@contextlib.contextmanager
def plain_forms():
    """Within this every op is what ops/, nn/ and wn/ define."""
    with pytest.MonkeyPatch.context() as patch:
        for name, plain in PLAIN.items():
            for part in ("forward", "rules", "joint"):
                patch.setattr(REGISTRY[name], part, getattr(plain, part))
        yield


@pytest.fixture(scope="module", autouse=True)
def small():
    """Small arrays are cut into pieces too, and small convolutions are worth all ways to compute them."""
    with pytest.MonkeyPatch.context() as patch:
        for module, name, value in [
            (elementwise, "LARGE", 4),
            (elementwise, "BLOCK", 3),
            (normalization, "BLOCK", 8),
            (normalization, "MANY", 1),
            (normalization, "WIDTH", 4),
            (convolution, "WORTH", 1),
            (convolution, "CHANNELS", 1),
            (convolution, "TILES_IN_ALL", 1),
            (convolution, "TILES_IN_CHUNK", 1),
        ]:
            patch.setattr(module, name, value)
        yield


def derivatives(case, args, params):
    """Values, gradients of a weighted sum of them, and gradients of a weighted sum of those."""
    tensors = [mg.tensor(a, requires_grad=case.differentiable) for a in args]
    values = all_of(case.function(*tensors, **params))
    if not case.differentiable:
        return [values]
    starts = [weights(v, 1) for v in values]
    unrecorded = mg.grad(values, tensors, starts, retain_graph=True)  # by rules on plain arrays
    first = mg.grad(values, tensors, starts, create_graph=True)  # by rules on Tensors
    total = sum(((f * weights(f, 2)).sum() for f in first), mg.tensor(0.0))
    return [values, unrecorded, first, mg.grad(total, tensors) if total.requires_grad else []]


def weights(array, phase):
    return np.cos(np.arange(array.size, dtype=array.dtype) + phase).reshape(array.shape)


# Numbers are of size 2, sums of at most some hundred products of two or three of them. Winograd's values at the points
# are up to a hundred times as large as the result.
ROUNDINGS = 2000


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("name", CASES)
@given(data=st.data())
def test_values_and_derivatives_are_those_of_the_plain_forms(name, dtype, data):
    case = CASES[name]
    args, params = data.draw(case.examples)
    args = [np.asarray(a, dtype) for a in args]
    found = derivatives(case, args, params)
    with plain_forms():
        wanted = derivatives(case, args, params)
    for of_order, plain in zip(found, wanted, strict=True):
        for f, w in zip(of_order, plain, strict=True):
            assert f.shape == w.shape and f.dtype == w.dtype
            f, w = (a.numpy().astype(float) for a in (f, w))  # also what is True or False
            largest = max([1.0, *(abs(a).max(initial=0) for a in (w, *args))])
            assert abs(f - w).max(initial=0) <= ROUNDINGS * np.finfo(dtype).eps * largest


@pytest.fixture(scope="module")
def seen():
    """The ops whose faster forward function, and whose faster rules, any of the cases takes."""
    seen = set()

    def spied(function, label):
        def run(first, *args, **params):
            if not isinstance(first, mg.Tensor):
                seen.add(label)
            return function(first, *args, **params)

        return run

    with pytest.MonkeyPatch.context() as patch:
        for name in REPLACED:
            record = REGISTRY[name]
            patch.setattr(record, "forward", spied(record.forward, (name, "forward")))
            patch.setattr(record, "rules", [rule and spied(rule, (name, "backward")) for rule in record.rules])
            patch.setattr(record, "joint", record.joint and spied(record.joint, (name, "backward")))
        for case in CASES.values():

            @given(data=st.data())
            def look(data):
                args, params = data.draw(case.examples)  # noqa: B023 - called at once
                derivatives(case, args, params)  # noqa: B023

            look()
    return seen


@pytest.mark.parametrize("name", REPLACED)
def test_each_of_them_has_a_case(name, seen):
    record = REGISTRY[name]
    assert (name, "forward") in seen
    assert (name, "backward") in seen or not (record.joint or any(record.rules))


SPECIAL = [0.0, -0.0, np.inf, -np.inf, np.nan, 1e-30, -1e-30, 1e30, -1e30, 1.0, -1.0, 88.0, -88.0, 1e-3, -1e-3]
UNARY = sorted({"clip", *ELEMENTWISE} & PLAIN.keys())
OPTIONS = {
    "leaky_relu": [(0.0,), (0.3,), (1.0,), (2.0,), (1e9,)],
    "elu": [(0.3,), (1.0,), (2.0,)],
    "clip": [(-0.5, 0.3)],
}


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize(("name", "options"), [(name, rest) for name in UNARY for rest in OPTIONS.get(name, [()])])
def test_elementwise_forms_agree_at_every_scale_entry_by_entry(name, options, dtype):
    """To a few roundings of each entry, as each is computed by itself; infinite and NaN where the plain one is.

    The exponential of sigmoid multiplies the rounding of its exponent, as far as its result is a normal number.
    """
    x, g = (a.reshape(-1).astype(dtype) for a in np.meshgrid(SPECIAL, SPECIAL))
    record, plain = REGISTRY[name], PLAIN[name]
    with np.errstate(all="ignore"):
        y = plain.forward(np, x, *options)
        pairs = [(record.forward(np, x, *options), y)]
        pairs.append((record.rules[0](g, y, x, *options), plain.rules[0](g, y, x, *options)))
    largest_exponent = -np.log(np.finfo(dtype).tiny)
    roundings = 8 + np.nan_to_num(abs(x)).clip(max=largest_exponent) * (name == "sigmoid")
    for found, wanted in pairs:
        assert found.dtype == wanted.dtype
        bound = roundings * np.finfo(dtype).eps
        assert np.isclose(found, wanted, rtol=bound, atol=np.finfo(dtype).tiny, equal_nan=True).all(), (found, wanted)


def test_what_the_faster_forms_do_not_take_goes_the_plain_way():
    x = np.array([[1, 5], [2, 5], [4, 6]])  # integers, whose mean is none
    layer = mg.nn.BatchNorm(2)
    np.testing.assert_allclose(layer(mg.tensor(x)).numpy(), layer(mg.tensor(x, np.float32)).numpy(), rtol=1e-5)
    large = np.linspace(-1, 1, 100)
    np.testing.assert_array_equal(mg.clip(large, low=np.zeros(100)), np.maximum(large, 0))
    for dtype in (np.float16, np.longdouble):
        t = mg.tensor(np.array([1.0, -1.0] * 10), dtype, requires_grad=True)
        assert mg.grad(mg.relu(t).sum(), t).numpy().tolist() == [1, 0] * 10


@pytest.mark.parametrize("name", ["relu", "leaky_relu"])
def test_an_infinite_gradient_does_not_go_where_the_slope_is_zero(name):
    g, y = np.array([np.inf, -np.inf, np.inf, 1.0]), np.array([0.0, 0.0, 2.0, 0.0])
    found = REGISTRY[name].rules[0](g, y, y, *([0.5] if name == "leaky_relu" else []))
    assert found.tolist() == ([0, 0, np.inf, 0] if name == "relu" else [np.inf, -np.inf, np.inf, 0.5])
