"""check_grads must fail for a wrong rule, and say why if it can: each test plants one kind of mistake."""

import math
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import find, given
from hypothesis import strategies as st

import minigrad as mg
from minigrad.op import REGISTRY, op
from minigrad.ops.shape import unbroadcast

ROOT = Path(__file__).parent.parent
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
    REGISTRY.pop("planted", None)
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


@pytest.mark.parametrize(
    "bent",
    [
        mg.abs,
        mg.relu,
        lambda g: -mg.relu(-g),
        lambda g: mg.leaky_relu(g, 0.5),
        lambda g: mg.minimum(g, 0.1),
        lambda g: mg.maximum(g, -0.1),
    ],
)
@pytest.mark.parametrize("order", [1, 2])
def test_a_rule_that_is_right_for_gradients_of_one_sign_only_is_found(bent, order):
    f = planted(lambda xp, x: (x**3).sum(), lambda g, _y, x: bent(g) * 3 * x**2)
    with pytest.raises(AssertionError, match="derivative of order 1 for argument 0"):
        mg.testing.check_grads(f, [X], order=order)


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
    f = op(
        "planted",
        "",
        lambda xp, a, b: a * b,
        lambda g, _y, _a, b: unbroadcast(g * b, _a),
        lambda g, _y, a, _b: mg.sum(g * a, axis=1),
    )
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


# ---- likely causes: named when the numbers show them, and only then -------------------------------------------------


def cube_rule(change):
    """x³ with its right gradient, changed."""
    return cube, lambda g, _y, x: change(3 * g * x**2)


def middle(array):
    """True at the entry in the middle."""
    return np.arange(array.size).reshape(array.shape) == array.size // 2


CAUSES = {
    "twice": (*cube_rule(lambda g: g * 2), "backward is twice the difference quotient"),
    "half": (*cube_rule(lambda g: g * 0.5), "backward is half the difference quotient"),
    "a third": (cube, lambda g, _y, x: g * x**2, "backward is a third of the difference quotient"),
    "any factor": (*cube_rule(lambda g: g * 1.234), "backward is 1.234 times the difference quotient"),
    "twice, at one entry": (*cube_rule(lambda g: g * (1 + middle(g))), "backward is twice the difference quotient"),
    "sign": (*cube_rule(lambda g: -g), "the sign is flipped"),
    "transposed": (*cube_rule(lambda g: g.T), r"axes in the order \(1, 0\): a transposition"),
    "summed": (
        *cube_rule(lambda g: mg.broadcast_to(mg.sum(g, axis=0, keepdims=True), (3, 3))),
        "constant along axis 0, where it repeats the sum",
    ),
    "averaged": (
        *cube_rule(lambda g: mg.broadcast_to(mg.mean(g, axis=1, keepdims=True), (3, 3))),
        "constant along axis 1, where it repeats the mean",
    ),
    "zero": (*cube_rule(lambda g: g * 0), "0 for every entry: the argument is not wired"),
    "no rule": (cube, None, "0 for every entry: the argument is not wired"),
    "one share dropped": (*cube_rule(lambda g: g * ~middle(g)), "0 at every wrong entry, and is right elsewhere"),
    "nan": (*cube_rule(lambda g: g * float("nan")), "makes NaN or inf where f and its differences are finite"),
}


@pytest.mark.parametrize("name", CAUSES)
def test_the_likely_cause_is_named(name):
    forward, rule, words = CAUSES[name]
    with pytest.raises(AssertionError, match=f"Likely cause: .*{words}"):
        mg.testing.check_grads(planted(forward, rule), [X])


@pytest.mark.parametrize("shape", [(), (1,)])
@pytest.mark.parametrize("name", ["twice", "sign", "zero"])
def test_a_single_entry_is_evidence_enough_for_a_simple_cause(name, shape):
    forward, rule, words = CAUSES[name]
    with pytest.raises(AssertionError, match=f"Likely cause: .*{words}"):
        mg.testing.check_grads(planted(forward, rule), [np.full(shape, 1.5)])


@pytest.mark.parametrize("index", [0, -1])
def test_a_missing_sum_is_named(index):
    f = op("planted", "", lambda xp, a, b: a * b, lambda g, _y, _a, b: g * b, lambda g, _y, a, _b: (g * a)[index])
    with pytest.raises(AssertionError, match=r"argument 1 .*\n.*index . of the output's axis 0 alone.*unbroadcast"):
        mg.testing.check_grads(f, [X, X[0]])


def test_a_gradient_that_counts_g_as_a_constant_is_named_at_second_order():
    words = "order 2 for argument 1 .the gradient that backward starts from.*\n.*0 for every entry"
    with pytest.raises(AssertionError, match=words):
        mg.testing.check_grads(planted(*WRONG_SECOND["g counts as a constant"]), [X])


KINKS = {
    "relu": (mg.relu, [0.0, 1.0]),
    "relu, just above": (mg.relu, [2e-6, 1.0]),
    "relu, just below": (mg.relu, [-2e-6, 1.0]),
    "abs, just above": (mg.abs, [2e-6, 1.0]),
    "sign": (mg.sign, [0.0, 1.0]),
    "max of three equal": (mg.max, [1.0, 1.0, 1.0]),
    "clip": (lambda x: mg.clip(x, -1.0, 1.0), [1.0, 0.5]),
}


@pytest.mark.parametrize("name", KINKS)
def test_a_kink_is_not_called_a_mistake(name):
    f, x = KINKS[name]
    eps = mg.testing.STEP if "just" in name else None  # else a smaller step is found, and all is well
    with pytest.raises(
        AssertionError, match=r"f has a kink or a jump here, so that differences say nothing.*move the point"
    ):
        mg.testing.check_grads(f, [x], order=1, eps=eps)


def test_a_wrong_rule_at_a_kink_is_not_excused():
    f = planted(lambda xp, x: xp.maximum(x, 0), lambda g, _y, _x: g * -3)
    with pytest.raises(AssertionError) as error:
        mg.testing.check_grads(f, [np.zeros(2)], order=1)
    assert "kink" not in str(error.value)


def test_mistakes_beside_a_kink_are_what_is_reported():
    f = planted(lambda xp, x: xp.maximum(x, 0), lambda g, _y, x: g * 2 * (x > 0))
    with pytest.raises(AssertionError, match="backward is twice"):
        mg.testing.check_grads(f, [np.array([0.0, 1.0, 2.0])], order=1)


@pytest.mark.parametrize("wrong", [lambda g: g * 2, lambda g: -g])
def test_a_wrong_rule_of_a_curved_function_is_not_called_a_kink(wrong):
    f = planted(lambda xp, x: xp.sin(30 * x), lambda g, _y, x: wrong(g * 30 * mg.cos(30 * x)))
    with pytest.raises(AssertionError, match=r"backward is twice|the sign is flipped"):
        mg.testing.check_grads(f, [X])


def test_an_error_smaller_than_the_curvature_over_a_step_is_not_called_a_kink():
    # Slopes below and above differ by 4h·f″ = 0.02, the rule is off by 0.003.
    f = planted(lambda xp, x: xp.sin(30 * x), lambda g, _y, x: g * 30.003 * mg.cos(30 * x))
    with pytest.raises(AssertionError, match=r"backward is 1\.0001 times"):
        mg.testing.check_grads(f, [X])


def test_any_factor_would_explain_a_single_entry_and_so_none_is_named():
    forward, rule, _ = CAUSES["any factor"]
    with pytest.raises(AssertionError) as error:
        mg.testing.check_grads(planted(forward, rule), [[1.5]])
    assert "Likely cause" not in str(error.value)


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_an_infinite_difference_does_not_excuse_a_gradient():
    with pytest.raises(AssertionError, match="not finite within a step"):
        mg.testing.check_grads(mg.log, [[mg.testing.STEP]], eps=mg.testing.STEP)


def test_a_function_that_draws_random_numbers_is_named():
    rng = np.random.default_rng(0)
    with pytest.raises(AssertionError, match="f is not deterministic"):
        mg.testing.check_grads(lambda x: x * rng.normal(size=x.shape), [X])


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@pytest.mark.parametrize(
    ("f", "words"), [(mg.log, "f itself is"), (mg.sqrt, "not finite within a step"), (lambda x: 1 / x, "f itself is")]
)
def test_the_border_of_the_domain_is_named(f, words):
    with pytest.raises(AssertionError, match=words):
        mg.testing.check_grads(f, [np.zeros(2)])


NOTHING_FITS = {
    "constant added": lambda g, _y, x: g * 3 * x**2 + 1e-3,
    "noise": lambda g, _y, x: g * 3 * x**2 * np.random.default_rng(1).uniform(2, 3, (3, 3)),
    "another function": lambda g, _y, x: g * mg.cos(x),
    "the incoming gradient forgotten": lambda g, _y, x: g * 0 + 3 * x**2,
    "a constant": lambda g, _y, x: g * 0 + 3,
}


@pytest.mark.parametrize("name", NOTHING_FITS)
def test_no_cause_is_named_when_nothing_fits(name):
    with pytest.raises(AssertionError) as error:
        mg.testing.check_grads(planted(cube, NOTHING_FITS[name]), [X])
    assert "Likely cause" not in str(error.value)


def test_the_message_names_the_worst_entry_both_numbers_and_how_many_are_wrong():
    f = planted(cube, lambda g, _y, x: g * 3 * x**2 * np.array([1, 2, 11.0]))
    with pytest.raises(AssertionError) as error:
        mg.testing.check_grads(lambda a, b: mg.sin(a) + f(b), [X, np.ones(3)], order=1)
    words = r"argument 1 of shape \(3,\), entry \(2,\): backward says (\S+), .* (\S+) \(step 6.1e-06\); 2 of 3 entries"
    found = re.search(words, str(error.value))
    assert found and float(found[1]) / float(found[2]) == pytest.approx(11)


def test_one_infinite_entry_does_not_excuse_the_others():
    f = planted(cube, lambda g, _y, x: g * np.where(middle(X), np.inf, 5.0))
    with pytest.raises(AssertionError, match="9 of 9 entries are wrong"):
        mg.testing.check_grads(f, [X])


@pytest.mark.parametrize(("args", "order"), [([], 1), ([X], 0)])
def test_a_check_of_nothing_is_refused(args, order):
    with pytest.raises(ValueError, match="nothing to check"):
        mg.testing.check_grads(lambda *a: mg.sin(X), args, order=order)


@pytest.mark.parametrize("args", [X, mg.tensor(X)])
def test_a_bare_array_is_refused(args):
    with pytest.raises(TypeError, match=r"pass \[x\]"):
        mg.testing.check_grads(mg.sin, args)


def test_a_function_that_leaves_the_tape_is_refused():
    with pytest.raises(TypeError, match="must return a Tensor or several, not ndarray"):
        mg.testing.check_grads(lambda x: np.sin(x.data), [X])


# ---- the tolerance follows each entry -------------------------------------------------------------------------------

SMALL = [1e-7, 1e-12, 1e-30]
CHANGES = {
    "sign": lambda g: -g,
    "dropped": lambda g: g * 0,
    "factor of 1.00001": lambda g: g * 1.00001,
}


@pytest.mark.parametrize("scale", SMALL)
@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("order", [1, 2])
def test_a_mistake_in_a_small_gradient_is_found(change, scale, order):
    f = planted(lambda xp, x: scale * x**3, lambda g, _y, x: CHANGES[change](g * 3 * scale * x**2))
    with pytest.raises(AssertionError, match="derivative of order 1"):
        mg.testing.check_grads(f, [X], order=order)


@pytest.mark.parametrize("scale", SMALL)
@pytest.mark.parametrize("change", CHANGES)
def test_a_mistake_in_one_entry_beside_others_of_size_1_is_found(change, scale):
    scales = np.where(middle(X), scale, 1.0)
    wrong = lambda g: mg.where(middle(X), CHANGES[change](g), g)  # noqa: E731
    f = planted(lambda xp, x: scales * xp.exp(x), lambda g, y, _x: wrong(g * y))
    with pytest.raises(AssertionError, match=r"entry \(1, 1\).*1 of 9 entries"):
        mg.testing.check_grads(f, [X], order=1)


@pytest.mark.parametrize("scale", SMALL)
def test_a_mistake_at_a_small_argument_is_found(scale):
    second = np.array([False, True])
    for f in (
        planted(cube, lambda g, _y, x: mg.where(second, -1, 1) * 3 * g * x**2),
        planted(lambda xp, x: xp.exp(x), lambda g, y, _x: mg.where(second, 0, g * y)),
        planted(lambda xp, x: xp.abs(x), lambda g, _y, x: mg.where(second, 0, g * mg.sign(x))),
    ):
        with pytest.raises(AssertionError, match=r"entry \(1,\).*1 of 2 entries"):
            mg.testing.check_grads(f, [[1.0, scale]], order=1)


def test_a_dropped_entry_beside_one_a_hundred_million_times_as_large_is_found():
    scales = np.array([1e8, 1.0])
    for outputs in (lambda xp, y: y, lambda xp, y: xp.sum(y)):
        f = planted(lambda xp, x: outputs(xp, scales * x), lambda g, _y, _x: g * np.array([1e8, 0.0]))  # noqa: B023
        with pytest.raises(AssertionError, match="is right elsewhere: shares of the gradient are dropped"):
            mg.testing.check_grads(f, [np.ones(2)], order=1)


def test_an_absolute_tolerance_is_added_where_it_is_given():
    f = planted(lambda xp, x: 1e-7 * x, lambda g, _y, _x: -1e-7 * g)
    mg.testing.check_grads(f, [X], atol=1e-6)
    with pytest.raises(AssertionError):
        mg.testing.check_grads(f, [X], atol=1e-8)
    doubled = planted(lambda xp, x: x * x, lambda g, _y, x: 2.002 * g * x)
    mg.testing.check_grads(doubled, [X], rtol=2e-3)
    with pytest.raises(AssertionError):
        mg.testing.check_grads(doubled, [X], rtol=5e-4)


def test_a_given_step_is_taken():
    f = lambda x: mg.sin(1e3 * x)  # noqa: E731
    mg.testing.check_grads(f, [X], eps=1e-8, order=1)
    with pytest.raises(AssertionError, match=r"step 0\.02\)"):
        mg.testing.check_grads(lambda x: x + mg.relu(x - 2), [[1.99]], eps=1e-2, order=1)


@st.composite
def scaled(draw, *shapes, low=-30, high=30):
    """Arrays whose entries are each of a size of their own, some of them 0 or equal in size."""
    entries = st.tuples(st.sampled_from([-1.0, 1.0, -1.7, 1.3, 0.0, 2.6]), st.integers(low, high))
    return [
        np.array([m * 10.0**e for m, e in draw(st.lists(entries, min_size=n, max_size=n))]).reshape(shape)
        for shape in shapes
        for n in [int(np.prod(shape))]
    ]


def away(arrays):
    """1 where an entry is 0."""
    return [np.where(a == 0, 1.0, a) for a in arrays]


OF_EVERY_SIZE = {
    "linear": (lambda x: 3 * x - x[::-1], scaled((3,))),
    "sum": (mg.sum, scaled((4,))),
    "product": (lambda a, b: a * b, scaled((2, 2), (2,))),
    "prod": (mg.prod, scaled((3,))),
    "square": (mg.square, scaled((3,))),
    "quotient": (lambda a, b: a / b, scaled((3,), (3,)).map(away)),
    "exp": (mg.exp, scaled((3,), high=2)),
    "exp of a difference": (lambda a, b: mg.exp(a - b), scaled((2,), (2,), high=2)),
    "softmax": (mg.softmax, scaled((3,))),
    "tanh": (mg.tanh, scaled((3,))),
    "norm": (lambda x: mg.norm(x, axis=1), scaled((2, 2)).map(away)),
    "direction": (lambda x: x / mg.norm(x, axis=1, keepdims=True), scaled((2, 2)).map(away)),
    "matmul": (lambda a, b: a @ b, scaled((2, 3), (3, 2))),
    "conv2d": (lambda x, w: mg.nn.functional.conv2d(x, w, padding=1), scaled((1, 1, 2, 2), (2, 1, 2, 2))),
}


@pytest.mark.filterwarnings("ignore::RuntimeWarning")  # exp of 260 and the like
@pytest.mark.parametrize("name", OF_EVERY_SIZE)
def test_right_rules_raise_no_alarm_whatever_the_sizes_of_the_entries(name):
    f, arguments = OF_EVERY_SIZE[name]

    @given(arguments)
    def law(args):
        mg.testing.check_grads(f, args)

    law()


@pytest.mark.parametrize("distance", [1e-3, 1e-7, -1e-9, 1e-30])
def test_a_kink_at_a_distance_is_no_alarm(distance):
    for f in (mg.relu, mg.abs, lambda x: mg.norm(x.reshape(2, 1), axis=1)):
        mg.testing.check_grads(f, [[distance, 1.0]])
        if abs(distance) > 1e-15:  # less than the distance between 1 and the next number: nobody can tell
            mg.testing.check_grads(lambda x, f=f: f(x) + 1.0, [[distance, 1.0]], order=1)


def test_a_shared_offset_hides_small_gradients_and_is_no_alarm():
    mg.testing.check_grads(lambda x: 1e12 + mg.sum(np.array([1.0, 1e-9, 1e12]) * mg.tanh(x)), [[0.3, 0.2, 0.1]])


# ---- gradients that are not ours ------------------------------------------------------------------------------------


def spring(x, k):
    return 0.5 * np.sum(k * x * x)


def test_anybodys_gradient_is_checked():
    k = np.array([1.0, 2.0, 1e-9])
    mg.testing.check_grads(spring, [X[0], k], grad=lambda x, k: (k * x, x * x / 2))
    mg.testing.check_grads(lambda x: x**2, [X], grad=lambda x: 2 * x)  # of the sum of an array
    mg.testing.check_grads(lambda x: x**2, [X], grad=lambda x: [2 * x])
    mg.testing.check_grads(lambda x: (x**2, np.sum(x)), [X], grad=lambda x: 2 * x + 1)
    mg.testing.check_grads(lambda x: math.sin(x), [0.5], grad=lambda x: math.cos(x))
    mg.testing.check_grads(lambda t: 1e-7 * t, [[1.0]], grad=lambda t: [1e-7])


@pytest.mark.parametrize(
    ("gradient", "words"),
    [
        (lambda x: -2 * x, "the sign is flipped"),
        (lambda x: x, "grad is half the difference quotient"),
        (lambda x: 2 * x.T, r"grad is right with its axes in the order \(1, 0\)"),
        (lambda x: 2 * x * ~middle(x), "0 at every wrong entry"),
        (lambda x: 0 * x, "0 for every entry"),
    ],
)
def test_a_mistake_in_anybodys_gradient_is_found_and_named(gradient, words):
    with pytest.raises(AssertionError, match=f"argument 0.*grad says.*\nLikely cause: .*{words}"):
        mg.testing.check_grads(lambda x: 1e-7 * np.sum(x**2), [X], grad=lambda x: 1e-7 * gradient(x))


def test_a_gradient_of_another_shape_or_number_is_refused():
    with pytest.raises(AssertionError, match=r"grad returns.*shapes \[\(3,\)\] for.*\[\(3, 3\)\]"):
        mg.testing.check_grads(np.sum, [X], grad=lambda x: np.ones(3))
    with pytest.raises(AssertionError, match=r"grad returns.*shapes \[\(3, 3\)\] for.*\[\(3, 3\), \(3, 3\)\]"):
        mg.testing.check_grads(spring, [X, X], grad=lambda x, k: [k * x])


def test_a_function_that_changes_its_arguments_or_refuses_nan_can_be_checked():
    def f(x):
        if np.isnan(x).any():
            raise ValueError("NaN")
        x *= x
        return x

    x = np.array([1.0, 1e-9, 0.0])
    mg.testing.check_grads(f, [x], grad=lambda x: 2 * x)
    assert x.tolist() == [1.0, 1e-9, 0.0]


# ---- strategies -----------------------------------------------------------------------------------------------------


@given(data=st.data(), dtype=st.sampled_from([np.float32, np.float64]), distinct=st.booleans())
def test_arrays_keep_their_bounds_and_distances(data, dtype, distinct):
    x = data.draw(mg.testing.arrays(dtype=dtype, min_value=-1.3, max_value=1.7, away_from=(0, 1), distinct=distinct))
    assert x.dtype == dtype and x.ndim <= 3 and np.isfinite(x).all()
    assert ((x >= -1.3) & (x <= 1.7)).all()
    rounding = np.finfo(dtype).eps
    assert (abs(x) >= 0.01 - rounding).all() and (abs(x - 1) >= 0.01 - rounding).all()
    if distinct and x.size > 1:
        assert np.diff(np.sort(x, axis=None)).min() >= 0.01


@given(x=mg.testing.arrays(3, away_from=(5, -9, 3, 1.995, -2, 0.5, 0.505)))
def test_points_to_keep_away_from_may_overlap_or_lie_outside(x):
    assert ((-1.99 <= x) & (x <= 1.985)).all()
    assert ((x <= 0.49) | (x >= 0.515)).all()


@given(x=mg.testing.arrays(2, np.float32, min_value=0.7, max_value=0.7000001))
def test_bounds_that_float32_does_not_have_are_rounded_inwards(x):
    assert ((x.astype(float) >= 0.7) & (x.astype(float) <= 0.7000001)).all()


@given(x=mg.testing.arrays((3, 3), min_value=-0.1, max_value=0.1, distinct=True))
def test_distinct_entries_keep_their_distance_where_there_is_hardly_room(x):
    assert np.diff(np.sort(x, axis=None)).min() >= 0.01


@pytest.mark.parametrize("distinct", [False, True])
def test_arrays_reach_both_ends(distinct):
    for side in (-1, 1):
        find(mg.testing.arrays(4, distinct=distinct), lambda x, side=side: (side * x > 1).all())


@pytest.mark.parametrize("shape", [3, (2, 2), mg.testing.shapes(min_dims=1, max_dims=1)])
@pytest.mark.parametrize("distinct", [False, True])
def test_arrays_take_a_shape_or_a_strategy(shape, distinct):
    x = find(mg.testing.arrays(shape, distinct=distinct), lambda x: x.size >= 2)
    assert x.shape == (shape if isinstance(shape, tuple) else (x.size,))


@pytest.mark.parametrize("options", [{"away_from": (0,), "distance": 3}, {"distinct": True, "max_value": -1.99}])
def test_arrays_for_which_there_is_no_room_are_refused(options):
    with pytest.raises(ValueError, match=r"no number between|do not fit between"):
        find(mg.testing.arrays((2, 2), **options), lambda x: True)


def test_ties_are_found_unless_entries_are_distinct():
    assert (find(mg.testing.arrays((2,)), lambda x: x[0] == x[1] != 0)).shape == (2,)


@given(drawn=mg.testing.broadcastable_shapes(3))
def test_broadcastable_shapes_broadcast(drawn):
    assert len(drawn) == 3
    np.broadcast_shapes(*drawn)


@pytest.mark.parametrize("condition", [lambda a, b: a != b, lambda a, b: len(a) != len(b), lambda a, b: 0 in a])
def test_broadcastable_shapes_differ(condition):
    find(mg.testing.broadcastable_shapes(2), lambda drawn: condition(*drawn))


WITHOUT_HYPOTHESIS = """
import sys
sys.modules["hypothesis"] = None  # makes its import fail
import minigrad as mg
mg.testing.check_grads(mg.sin, [[1.0, 2.0]])
try:
    mg.testing.arrays
except ImportError as error:
    print(error)
"""


def test_check_grads_needs_no_hypothesis_and_strategies_say_that_they_do():
    run = subprocess.run([sys.executable, "-c", WITHOUT_HYPOTHESIS], capture_output=True, text=True, cwd=ROOT)
    assert run.returncode == 0, run.stderr
    assert "pip install hypothesis" in run.stdout


def test_importing_minigrad_does_not_import_hypothesis():
    code = "import sys, minigrad; sys.exit('hypothesis' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT).returncode == 0


# ---- the template ---------------------------------------------------------------------------------------------------

TEMPLATE = ROOT / "docs" / "property_test_template.py"
MISTAKES = {
    None: (0, "", ""),
    "a factor": (1, "2 * a * g", "1.01 * a * g"),
    "no unbroadcast": (1, "unbroadcast(-2 * b * g, b)", "-2 * b * g"),
    "forward": (1, "a * a - b * b", "a * a - b"),
    "ties": (1, "a >= b", "a > b"),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_the_template_passes_and_finds_mistakes(mistake, tmp_path):
    code, old, new = MISTAKES[mistake]
    source = TEMPLATE.read_text(encoding="utf-8")
    assert old in source
    (tmp_path / "test_copy.py").write_text(source.replace(old, new), encoding="utf-8")
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--rootdir", tmp_path, tmp_path]
    run = subprocess.run(command, capture_output=True, text=True, cwd=ROOT)
    assert run.returncode == code, run.stdout
    assert "passed" in run.stdout
