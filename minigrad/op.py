"""How an op is made: a forward function and, beside it, one backward rule per operand.

    multiply = op("multiply", "a · b.", lambda xp, a, b: a * b,
                  lambda g, _y, _a, b: unbroadcast(g * b, _a),
                  lambda g, _y, a, _b: unbroadcast(g * a, _b))

The forward function gets the array library `xp` and plain arrays. Rule number i gets the gradient `g` of the output,
the output `y`, and all the arguments, and returns the gradient of operand i: the vector-Jacobian product gᵀ ∂y/∂xᵢ.
Rules are written with the same functions and operators that users call. In an ordinary backward pass they run on
plain arrays and cost nothing extra; under `create_graph=True` they run on Tensors and are recorded themselves, which
is where derivatives of every order come from.

A parameter of a rule whose name begins with an underscore stands for something of which the rule needs at most the
shape and dtype. If no rule that is going to run needs its numbers, the tape does not keep them.
"""

import functools
import inspect
from typing import NamedTuple

import numpy

from minigrad import backend
from minigrad.graph import check_finite, state
from minigrad.tensor import Node, Tensor

REGISTRY = {}  # name → Op: the test suite walks it


class Spec(NamedTuple):
    """What is left of a constant whose numbers the tape did not keep; of a tensor, its node is."""

    shape: tuple
    dtype: numpy.dtype

    @property
    def ndim(self):
        return len(self.shape)


class Op:
    """The record of an op: its name, its forward function, its rules, and what those rules need."""

    def __init__(self, name, forward, rules, rule_for_every=None, joint_rule=None):
        self.name, self.forward, self.rules, self.rule_for_every = name, forward, rules, rule_for_every
        self.joint_rule = joint_rule
        self._needs = [_needs(joint_rule or rule, first=1) for rule in rules]
        self._all_needs = frozenset().union(*self._needs)
        self._every_needs = _needs(rule_for_every, first=2)  # such a rule takes the operand's position first

    def rules_for(self, operands):
        """The backward rules of so many operands, in order; None where there is no derivative."""
        if self.joint_rule is not None:
            return _sharing(self.joint_rule, operands)
        if self.rule_for_every is None:
            return self.rules
        return [functools.partial(self.rule_for_every, position) for position in range(operands)]

    def needed(self, parents):
        """The positions of the arguments whose numbers the rules for `parents` need; -1 stands for the output."""
        if self.rule_for_every is not None:
            operands = range(len(parents)) if 0 in self._every_needs else ()
            return {-1, *operands} if -1 in self._every_needs else set(operands)
        if None not in parents:
            return self._all_needs
        return set().union(*(needs for needs, parent in zip(self._needs, parents, strict=True) if parent is not None))


def op(name, doc, forward, *rules, rule_for_every=None, joint_rule=None, operands=0):
    """Make a function of arrays and Tensors out of a forward function and its backward rules.

    Parameters
    ----------
    name, doc : str
        What it is called and its docstring.
    forward : callable(xp, *arrays, **params)
    *rules : callable(g, y, *arrays, **params) or None
        One per operand, in order; None where there is no derivative. Arguments beyond the operands are parameters.
    rule_for_every : callable(i, g, y, *arrays, **params), optional
        Instead of `rules`, for an op on any number of operands.
    joint_rule : callable(g, y, *arrays, **params), optional
        Instead of `rules`, for an op on so many `operands` whose gradients share much of their work: it returns all of
        them, in order.

    Returns
    -------
    callable
        Given a Tensor among its operands it returns a Tensor, recorded if any of them requires a gradient; given
        plain arrays only, a plain array.
    """
    if joint_rule is not None:
        rules = [lambda *args, _i=i, **params: joint_rule(*args, **params)[_i] for i in range(operands)]
    record = Op(name, forward, rules, rule_for_every, joint_rule)
    if name in REGISTRY:
        raise ValueError(f"there is already an op named {name!r}")
    REGISTRY[name] = record
    count, has_gaps = len(rules), None in rules

    def apply(*args, **params):
        for value in params.values():
            if isinstance(value, Tensor):
                raise TypeError(f"{name}: pass tensors by position, not by keyword")
        for arg in args:
            if isinstance(arg, Tensor):
                break
        else:  # plain arrays only, as in the backward rules
            return record.forward(backend.array_module(*args), *args, **params)

        values, nodes = [], []
        for arg in args:
            if isinstance(arg, Tensor):
                values.append(arg._data)
                nodes.append(arg._node)
            else:
                values.append(arg)
                nodes.append(None)
        operands = count
        if rule_for_every is not None:
            operands = len(args)
        elif len(args) != count:
            _check_arguments(record, len(args), count, nodes)
        _agree_on_dtype(record, values, operands, params)
        try:
            xp = backend.array_module(*values)  # TypeError if they are on two devices
            value = record.forward(xp, *values, **params)
        except (ValueError, TypeError, IndexError) as error:
            raise _explained(error, record, values[:operands]) from error
        if not backend.is_array(value):  # NumPy turns 0-d results into scalars
            value = xp.asarray(value)
        if state.detecting_anomaly:
            check_finite(value, name, values)

        if value.dtype.kind == "c":
            raise TypeError(f"{name}: tensors hold real numbers, not {value.dtype}")
        if not any(nodes) or not state.recording or value.dtype.kind != "f":
            return Tensor(value)
        parents = nodes[:operands]
        if has_gaps:
            parents = [node if rule else None for node, rule in zip(parents, rules, strict=True)]
            if not any(parents):
                return Tensor(value)
        needed = record.needed(parents)
        for i, parent in enumerate(parents):
            if i not in needed and backend.is_array(values[i]):
                values[i] = parent or Spec(values[i].shape, values[i].dtype)
        return Tensor(value, Node(value, record, parents, values, params, keeps_value=-1 in needed))

    apply.__name__ = apply.__qualname__ = name
    apply.__doc__ = doc
    parameters = list(inspect.signature(forward).parameters.values())
    apply.__signature__ = inspect.Signature(parameters[1:])  # without xp
    apply.op = record
    return apply


def primitive(*rules, **options):
    """`op` as a decorator of the forward function, for ops that are longer than a line."""
    return lambda forward: op(forward.__name__.strip("_"), inspect.getdoc(forward), forward, *rules, **options)


def _sharing(joint_rule, operands):
    """A rule for each operand, of which only the first to be called, in one backward pass, does the work."""
    found = []

    def rule(position, *args, **params):
        if not found:
            found.extend(joint_rule(*args, **params))
        return found[position]

    return [functools.partial(rule, position) for position in range(operands)]


def _needs(rule, first):
    """The positions of the arguments whose numbers a rule needs, by its parameters' names; -1 for the output.

    `first` is where the output stands among the parameters. A starred parameter stands for all operands: {0}.
    """
    if rule is None:
        return frozenset()
    names = list(inspect.signature(rule).parameters)[first:]
    return frozenset(i - 1 for i, name in enumerate(names) if not name.startswith("_"))


def _check_arguments(record, given, operands, nodes):
    """TypeError for too few operands, or for a tensor where the op has no derivative: its gradient would get lost."""
    if given < operands:
        raise TypeError(f"{record.name} takes {operands} arrays by position, got {given}")
    if given > operands and any(nodes[operands:]):
        raise TypeError(f"{record.name}: only its first {operands} arguments have derivatives; detach() the others")


def _agree_on_dtype(record, values, operands, params):
    """Make scalars and integers follow the floating-point arrays, so that float32 stays float32.

    NumPy 2 lets a Python scalar follow, but takes np.float64(2.0) and integer arrays as requests for float64.
    """
    for i in range(operands, len(values)):
        values[i] = _plain_number(values[i])
    for key in params:
        params[key] = _plain_number(params[key])
    first = getattr(values[0], "dtype", None)
    for i in range(1, operands):
        if first is None or getattr(values[i], "dtype", None) is not first:
            break
    else:
        return
    movable = [i for i in range(operands) if record.rule_for_every is not None or record.rules[i] is not None]
    floats = [values[i].dtype for i in movable if backend.is_array(values[i]) and values[i].dtype.kind == "f"]
    for i in movable:
        value = values[i]
        if isinstance(value, numpy.generic):
            values[i] = value.item()
        elif backend.is_array(value):
            if floats and value.dtype.kind in "biu":
                values[i] = value.astype(max(floats, key=lambda dtype: dtype.itemsize))
        elif not isinstance(value, (int, float, bool)):
            raise TypeError(f"{record.name}: cannot combine a tensor with {type(value).__name__}; "
                            "make it a tensor with mg.tensor(...)")  # fmt: skip


def _plain_number(value):
    """A NumPy number as a Python number: the one, but not the other, would turn float32 into float64."""
    return value.item() if isinstance(value, numpy.number) else value


def _explained(error, record, values):
    """The same error, saying which op it was and what came in."""
    came = ", ".join(f"{v.shape} {v.dtype}" if backend.is_array(v) else repr(v) for v in values)
    kind = type(error) if type(error) in (ValueError, TypeError, IndexError) else ValueError
    return kind(f"{record.name}({came}): {error}")
