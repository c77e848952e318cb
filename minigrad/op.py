"""How an op is made: a forward function and, beside it, one backward rule per operand.

    multiply = op("multiply", "a · b.", lambda xp, a, b: a * b,
                  lambda g, _y, a, b: unbroadcast(g * b, a),
                  lambda g, _y, a, b: unbroadcast(g * a, b))

The forward function gets the array library `xp` and plain arrays. Rule number i gets the gradient `g` of the output,
the output `y`, and all the arguments, and returns the gradient of operand i: the vector-Jacobian product gᵀ ∂y/∂xᵢ.
Rules are written with the same functions and operators that users call. In an ordinary backward pass they run on
plain arrays and cost nothing extra; under `create_graph=True` they run on Tensors and are recorded themselves, which
is where derivatives of every order come from.

A parameter of a rule whose name begins with an underscore stands for something of which the rule needs at most the
shape and dtype. If no rule of an op needs its numbers, the tape does not keep them.
"""

import inspect
from typing import NamedTuple

import numpy

from minigrad import backend
from minigrad.graph import check_finite, state
from minigrad.tensor import Node, Tensor

REGISTRY = {}  # name → Op: the test suite walks it


class Spec(NamedTuple):
    """What is left of an array whose numbers the tape did not keep."""

    shape: tuple
    dtype: numpy.dtype

    @property
    def ndim(self):
        return len(self.shape)


class Op:
    """The record of an op: its name, its forward function, its rules, and what those rules need."""

    def __init__(self, name, forward, rules, rule_for_every):
        self.name, self.forward, self.rules, self.rule_for_every = name, forward, rules, rule_for_every
        given = [r for r in (*rules, rule_for_every) if r is not None]
        names = [list(inspect.signature(rule).parameters) for rule in given]
        skip = 1 if rule_for_every else 0  # such a rule takes the operand's position first
        self.keeps_value = any(not n[skip + 1].startswith("_") for n in names)
        self.keeps = tuple(any(not n[i].startswith("_") for n in names) for i in range(2, 2 + len(rules)))
        self.keeps_every = bool(rule_for_every) and any(not n[skip + 2].startswith("_") for n in names)

    def rule(self, position):
        """The backward rule of the operand at `position`, or None."""
        if self.rule_for_every is not None:
            return lambda *args, **params: self.rule_for_every(position, *args, **params)
        return self.rules[position]


def op(name, doc, forward, *rules, rule_for_every=None):
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

    Returns
    -------
    callable
        Given a Tensor among its operands it returns a Tensor, recorded if any of them requires a gradient; given
        plain arrays only, a plain array.
    """
    record = Op(name, forward, rules, rule_for_every)
    if name in REGISTRY:
        raise ValueError(f"there is already an op named {name!r}")
    REGISTRY[name] = record
    count = len(rules)

    def apply(*args, **params):
        operands = len(args) if rule_for_every is not None else count
        values = [arg._data if isinstance(arg, Tensor) else arg for arg in args]
        parents, any_tensor = None, False
        for i in range(min(operands, len(args))):
            if isinstance(args[i], Tensor):
                any_tensor = True
                if args[i]._node is not None and (rule_for_every is not None or rules[i] is not None):
                    parents = parents or [None] * operands
                    parents[i] = args[i]._node
        xp = backend.array_module(*values)
        if params and any(isinstance(value, Tensor) for value in params.values()):
            raise TypeError(f"{name}: pass tensors by position, not by keyword")
        if any(isinstance(arg, Tensor) and arg._node is not None for arg in args[operands:]):
            raise TypeError(f"{name}: only its first {operands} arguments have derivatives; detach() the others")
        if any_tensor:
            if len(args) < operands:
                raise TypeError(f"{name} takes {operands} arrays by position, got {len(args)}")
            values[operands:] = map(_plain_number, values[operands:])
            params = {key: _plain_number(value) for key, value in params.items()}
            if operands > 1:
                _agree_on_dtype(record, values, operands)
            try:
                value = forward(xp, *values, **params)
            except (ValueError, TypeError, IndexError) as error:
                raise _explained(error, record, values[:operands]) from error
            if not backend.is_array(value):
                value = xp.asarray(value)
            if state.detecting_anomaly:
                check_finite(value, name)
            if parents is None or not state.recording or value.dtype.kind != "f":
                return Tensor(value)
            kept = [
                Spec(v.shape, v.dtype)
                if i < operands and backend.is_array(v) and not (record.keeps_every or (i < count and record.keeps[i]))
                else v
                for i, v in enumerate(values)
            ]
            return Tensor(value, Node(value, record, tuple(parents), kept, params, record.keeps_value))
        return forward(xp, *values, **params)

    apply.__name__ = apply.__qualname__ = name
    apply.__doc__ = doc
    parameters = list(inspect.signature(forward).parameters.values())
    apply.__signature__ = inspect.Signature(parameters[1:])  # without xp
    apply.op = record
    return apply


def primitive(*rules, rule_for_every=None):
    """`op` as a decorator of the forward function, for ops that are longer than a line."""
    return lambda forward: op(
        forward.__name__.strip("_"), inspect.getdoc(forward), forward, *rules, rule_for_every=rule_for_every
    )


def _plain_number(value):
    """A NumPy number as a Python number: the one, but not the other, would turn float32 into float64."""
    return value.item() if isinstance(value, numpy.floating) else value


def _agree_on_dtype(record, values, operands):
    """Make scalars and integers follow the floating-point arrays, so that float32 stays float32.

    NumPy 2 lets a Python scalar follow, but takes np.float64(2.0) and integer arrays as requests for float64.
    """
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


def _explained(error, record, values):
    """The same error, saying which op it was and what came in."""
    came = ", ".join(f"{v.shape} {v.dtype}" if backend.is_array(v) else repr(v) for v in values)
    kind = type(error) if type(error) in (ValueError, TypeError, IndexError) else ValueError
    return kind(f"{record.name}({came}): {error}")
