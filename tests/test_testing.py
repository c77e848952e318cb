"""check_grads must fail for a wrong rule: each test plants one kind of mistake."""

import numpy as np
import pytest

import minigrad as mg
from minigrad.op import REGISTRY, op
from minigrad.ops.shape import unbroadcast

X = np.random.default_rng(0).uniform(0.5, 2, (3, 3))


@pytest.fixture(autouse=True)
def registry():
    """Ops made in a test leave the registry afterwards."""
    names = set(REGISTRY)
    yield
    for name in REGISTRY.keys() - names:
        del REGISTRY[name]


def detached(x):
    return x.detach() if isinstance(x, mg.Tensor) else x


def cube(xp, x):
    return x**3


WRONG = {
    "missing factor": (cube, lambda g, _y, x: g * x**2),
    "factor of 1.00001": (cube, lambda g, _y, x: g * 3.00003 * x**2),
    "sign": (cube, lambda g, _y, x: -g * 3 * x**2),
    "transposed": (lambda xp, x: x @ X, lambda g, _y, x: g @ X),
    "transposed gradient": (cube, lambda g, _y, x: (g * 3 * x**2).T),
    "forgot the incoming gradient": (cube, lambda g, _y, x: g * 0 + 3 * x**2),
    "ignores the operand": (cube, lambda g, _y, _x: g * 3),
    "one entry wrong": (cube, lambda g, _y, x: g * 3 * x**2 * (1 + (np.arange(9).reshape(3, 3) == 4))),
    "constant added": (cube, lambda g, _y, x: g * 3 * x**2 + 1e-3),
    "zero": (cube, lambda g, _y, x: g * 0),
    "nan": (cube, lambda g, _y, x: g * float("nan")),
}
WRONG_SECOND = {
    "x counts as a constant": (cube, lambda g, _y, x: g * 3 * detached(x) ** 2),
    "g counts as a constant": (cube, lambda g, _y, x: detached(g) * 3 * x**2),
    "y is the wrong y": (lambda xp, x: xp.exp(x), lambda g, _y, x: g * exp_with_wrong_derivative(x)),
}


def exp_with_wrong_derivative(x):
    return mg.exp(x) if not isinstance(x, mg.Tensor) else mg.exp(x.detach()) * (1 + 2 * (x - x.detach()))


def planted(forward, rule):
    return op("planted", "", forward, rule)


@pytest.mark.parametrize("mistake", WRONG)
@pytest.mark.parametrize("order", [1, 2])
def test_a_wrong_rule_is_found(mistake, order):
    f = planted(*WRONG[mistake])
    with pytest.raises(AssertionError, match="derivative of order 1 for argument 0"):
        mg.testing.check_grads(f, [X], order=order)


@pytest.mark.parametrize("mistake", WRONG_SECOND)
def test_a_rule_that_is_wrong_at_second_order_only_is_found(mistake):
    f = planted(*WRONG_SECOND[mistake])
    mg.testing.check_grads(f, [X], order=1)
    with pytest.raises(AssertionError, match="derivative of order 2"):
        mg.testing.check_grads(f, [X], order=2)


def test_the_right_rule_passes_to_third_order():
    mg.testing.check_grads(planted(cube, lambda g, _y, x: g * 3 * x**2), [X], order=3)


def test_a_rule_missing_for_one_operand_is_found():
    f = op("planted", "", lambda xp, a, b: a * b, lambda g, _y, _a, b: g * b, None)
    with pytest.raises(AssertionError, match="argument 1"):
        mg.testing.check_grads(f, [X, X], order=1)


def test_a_forgotten_unbroadcast_is_found():
    f = op("planted", "", lambda xp, a, b: a * b, lambda g, _y, _a, b: g * b, lambda g, _y, a, _b: g * a)
    with pytest.raises(RuntimeError, match=r"planted.*argument 1.*\(3, 3\).*\(3,\)"):
        mg.testing.check_grads(f, [X, X[0]])


def test_an_unbroadcast_over_the_wrong_axis_is_found():
    f = op("planted", "", lambda xp, a, b: a * b, lambda g, _y, _a, b: unbroadcast(g * b, _a),
           lambda g, _y, a, _b: mg.sum(g * a, axis=1))  # fmt: skip
    with pytest.raises(AssertionError, match="argument 1"):
        mg.testing.check_grads(f, [X, X[0]])


def test_a_kink_is_found():
    with pytest.raises(AssertionError):
        mg.testing.check_grads(mg.relu, [np.zeros(1)], order=1)


def test_functions_with_several_arguments_and_outputs():
    mg.testing.check_grads(lambda a, b: (mg.sin(a) @ b, a * b.T), [X, X[::-1]])


def test_the_last_of_several_outputs_is_checked():
    f = planted(*WRONG["sign"])
    with pytest.raises(AssertionError):
        mg.testing.check_grads(lambda x: (x, x * x, f(x)), [X])


def test_what_is_differentiated_may_itself_be_a_gradient():
    def slope(x):
        leaf = x if x.requires_grad else mg.tensor(x, requires_grad=True)
        return mg.grad(mg.sin(leaf).sum(), leaf, create_graph=True)

    mg.testing.check_grads(slope, [X], order=2)


def test_arguments_are_not_changed_and_may_be_tensors_of_any_dtype():
    x = X.astype(np.float32)
    copy = x.copy()
    mg.testing.check_grads(mg.sin, [mg.tensor(x)])
    mg.testing.check_grads(mg.sin, [x])
    np.testing.assert_array_equal(x, copy)


@pytest.mark.parametrize("shape", [(), (0,), (0, 3)])
def test_0d_and_empty_arguments(shape):
    mg.testing.check_grads(lambda x: mg.sin(x) * x, [np.full(shape, 0.5)])


def test_arguments_of_different_sizes():
    mg.testing.check_grads(lambda x: x * x, [np.array([100.0, 1e-6, 1.0])])
