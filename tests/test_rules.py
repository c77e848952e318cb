"""A rule's parameter without an underscore is one whose numbers the rule reads: the tape keeps those, and no others."""

import inspect
from collections import defaultdict

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import minigrad as mg
from minigrad.op import REGISTRY
from tests.test_ops_gradients import CASES, gradients


def garbage(array, rng):
    """Other numbers of the same shape and dtype."""
    if array.dtype == bool:
        return ~array
    return array + rng.uniform(1, 2, array.shape).astype(array.dtype)


def read(rule, g, y, args, params, position):
    """Whether the result of a rule changes with the numbers of an argument; -1 for the output."""
    wanted = rule(g, y, *args, **params)
    given = [y, *args]
    given[position + 1] = garbage(given[position + 1], np.random.default_rng(0))
    try:
        with np.errstate(all="ignore"):
            found = rule(g, *given, **params)
    except (ValueError, IndexError):
        return True
    pairs = zip(found, wanted, strict=True) if isinstance(wanted, (tuple, list)) else [(found, wanted)]
    return not all(np.array_equal(f, w, equal_nan=True) for f, w in pairs)


def rules_of(record):
    """{position of the operand, or "joint": its rule}."""
    found = {i: rule for i, rule in enumerate(record.rules) if rule is not None}
    return found | ({"joint": record.joint} if record.joint else {})


@pytest.fixture(scope="module")
def looked_at():
    """{(op, rule, name of a parameter): whether any example was seen in which the rule reads it}."""
    found = defaultdict(bool)

    def spied(name, key, rule):
        names = list(inspect.signature(rule).parameters)[1:]

        def run(g, y, *args, **params):
            if isinstance(g, np.ndarray):
                operands = len(REGISTRY[name].rules) or REGISTRY[name].operands or 0  # of any number: not looked at
                for position, parameter in enumerate(names[: operands + 1], start=-1):
                    value = y if position < 0 else args[position]
                    if isinstance(value, np.ndarray) and value.size and not parameter.startswith("_"):
                        found[name, key, parameter] |= read(rule, g, y, args, params, position)
            return rule(g, y, *args, **params)

        run.__signature__ = inspect.signature(rule)
        return run

    with pytest.MonkeyPatch.context() as patch:
        for name, record in REGISTRY.items():
            patch.setattr(record, "rules", [rule and spied(name, i, rule) for i, rule in enumerate(record.rules)])
            patch.setattr(record, "joint", record.joint and spied(name, "joint", record.joint))
        for case in CASES.values():
            if case.differentiable:
                look_at_examples(case)
    return found


def look_at_examples(case):
    @settings(max_examples=10)
    @given(data=st.data())
    def look(data):
        args, params = data.draw(case.examples)
        gradients(lambda *a: case.function(*a, **params), args)

    look()


@pytest.mark.parametrize("name", sorted(REGISTRY))
def test_a_parameter_that_a_rule_never_reads_is_marked(name, looked_at):
    for (op, key, parameter), was_read in looked_at.items():
        assert was_read or op != name, f"{name}: rule {key} never reads {parameter}: call it _{parameter}"


def test_every_rule_that_reads_something_was_looked_at(looked_at):
    for name, record in REGISTRY.items():
        for key, rule in rules_of(record).items():
            parameters = list(inspect.signature(rule).parameters.values())[1:]
            operands = parameters[: 1 + (len(record.rules) or record.operands or 0)]
            reads = [p.name for p in operands if not p.name.startswith("_") and p.kind is not p.VAR_POSITIONAL]
            missing = [parameter for parameter in reads if (name, key, parameter) not in looked_at]
            assert not missing, f"{name}: no example shows whether rule {key} reads {missing}"


def test_a_first_linear_layer_keeps_its_input_and_not_its_weight():
    """Weight and bias get their gradients from the input; only the input's own would need the weight."""
    layer, x = mg.nn.Linear(300, 400), np.zeros((10, 300), np.float32)
    kept = layer(x)._node.args
    assert [isinstance(value, np.ndarray) for value in kept] == [True, False, False]


def test_concatenate_keeps_none_of_its_operands():
    parts = [mg.tensor(np.ones(3), requires_grad=True) for _ in range(3)]
    assert not any(isinstance(value, np.ndarray) for value in mg.concatenate(parts)._node.args)


def test_a_rule_knows_the_shape_of_an_output_that_is_not_kept():
    op = mg.op.op("shape_of_output", "2x.", lambda xp, x: 2 * x, lambda g, _y, _x: g * (2 * len(_y.shape)))
    try:
        mg.testing.check_grads(op, [np.ones(3)])
    finally:
        del REGISTRY["shape_of_output"]


@pytest.mark.parametrize("rule", [lambda g, y, x: g, lambda g, y, x, s=3.0: g * s, lambda g, y, x, s=2.0, t=1: g])
def test_a_rule_takes_the_parameters_of_its_op_with_their_defaults(rule):
    with pytest.raises(TypeError, match=r"scaled: each rule must take g, y, x, s=2.0"):
        mg.op.op("scaled", "s · x.", lambda xp, x, s=2.0: s * x, rule)
    assert "scaled" not in REGISTRY
