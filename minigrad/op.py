"""How an op is made: a forward function and, beside it, one backward rule per operand.

    multiply = op("multiply", "a · b.", lambda xp, a, b: a * b,
                  lambda g, _y, _a, b: unbroadcast(g * b, _a),
                  lambda g, _y, a, _b: unbroadcast(g * a, _b))

The forward function gets the array library `xp` and plain arrays. Rule number i gets the gradient `g` of the output,
the output `y`, and all the arguments, and returns the gradient of operand i: the vector-Jacobian product gᵀ ∂y/∂xᵢ.
Rules are written with minigrad's own functions and operators, never NumPy's: these take plain arrays and Tensors alike.
In an ordinary backward pass they run on plain arrays and cost nothing extra; under `create_graph=True` they run on
Tensors and are recorded themselves, which is where derivatives of every order come from. (So an op whose derivative is
a function that minigrad lacks needs that function as an op first: cosh needs sinh.) `unbroadcast`, of `ops/shape.py`,
sums a gradient over the axes along which its operand was broadcast.

A parameter of a rule whose name begins with an underscore stands for something of which the rule needs at most the
shape and dtype. If no rule that is going to run needs its numbers, the tape does not keep them.
"""

import functools
import inspect
from typing import NamedTuple

import numpy

from minigrad import backend, guard, hints
from minigrad.graph import check_finite, state
from minigrad.tensors import Node, Tensor

REGISTRY = {}  # name → Op: the test suite walks it


class Spec(NamedTuple):
    """What is left of a constant whose numbers the tape did not keep; of a tensor, its node is."""

    shape: tuple
    dtype: numpy.dtype

    @property
    def ndim(self):
        return len(self.shape)


class Op:
    """An op: its name, its forward function, and either one rule per operand (`rules`) or one for all (`joint`).

    What a rule needs is a set of positions: of arguments, and -1 for the output.
    """

    def __init__(self, name, forward, rules=(), joint=None, operands=None):
        self.name, self.forward, self.rules, self.joint = name, forward, list(rules), joint
        self.operands = len(rules) if joint is None else operands  # None: any number
        self.has_gaps = None in rules
        self._needs = [_needs(rule) for rule in self.rules]
        self._all_needs = _needs(joint).union(*self._needs)

    def needed(self, parents):
        """The positions of the arguments whose numbers the rules for `parents` need; -1 stands for the output."""
        if "*" in self._all_needs:  # a starred parameter stands for all operands
            return {*range(len(parents)), *self._all_needs}
        if self.joint or None not in parents:
            return self._all_needs
        return set().union(*[needs for needs, parent in zip(self._needs, parents, strict=True) if parent is not None])


def op(name, doc, forward, *rules, joint=None, operands=None):
    """Make a function of arrays and Tensors out of a forward function and its backward rules.

    Parameters
    ----------
    name, doc : str
        What it is called and its docstring.
    forward : callable(xp, *arrays, **params)
    *rules : callable(g, y, *arrays, **params) or None
        One per operand, in order; None where there is no derivative. Arguments beyond the operands are parameters:
        every rule takes them too, with the same defaults.
    joint : callable(g, y, *arrays, **params), optional
        Instead of `rules`, one rule that returns the gradients of all operands, in order, or a function from an
        operand's position to its gradient: for gradients that share work, and for any number of operands.
    operands : int, optional
        How many there are, with `joint`; by default any number.

    Returns
    -------
    callable
        Given a Tensor among its operands it returns a Tensor, recorded if any of them requires a gradient; given
        plain arrays only, a plain array.
    """
    if name in REGISTRY:
        raise ValueError(f"there is already an op named {name!r}")
    for rule in (*rules, joint):
        _check_signature(name, forward, rule)
    the_op = REGISTRY[name] = Op(name, forward, rules, joint, operands)

    def apply(*args, **params):  # args: the operands, then parameters given by position; params: those by keyword
        if params and any(isinstance(value, Tensor) for value in params.values()):
            raise TypeError(f"{name}: pass tensors by position, not by keyword")
        for arg in args:
            if isinstance(arg, Tensor):
                return _run(the_op, args, params)
        return the_op.forward(backend.array_module(*args), *args, **params)  # as in the backward rules

    functools.update_wrapper(apply, forward)  # its module, and where help and ?? find the source
    apply.__name__ = apply.__qualname__ = name
    apply.__doc__ = doc
    parameters = list(inspect.signature(forward).parameters.values())
    apply.__signature__ = inspect.Signature(parameters[1:])  # without xp
    apply.op = the_op
    return apply


def primitive(*rules, **options):
    """`op` as a decorator of the forward function, for ops that are longer than a line."""
    return lambda forward: op(forward.__name__.strip("_"), inspect.getdoc(forward), forward, *rules, **options)


def _run(the_op, args, params):
    """Compute an op on arguments with a Tensor among them, and record it if a gradient is going to be wanted."""
    values, nodes, dtypes, only_tensors = [], [], set(), True
    for arg in args:
        if isinstance(arg, Tensor):
            values.append(arg._data)
            nodes.append(arg._node)
            dtypes.add(arg._data.dtype)
        else:
            values.append(arg)
            nodes.append(None)
            only_tensors = False
    operands = len(args) if the_op.operands is None else the_op.operands
    if len(args) != operands:
        _check_arguments(the_op, nodes)
    if params or not only_tensors or len(dtypes) > 1:
        _agree_on_dtype(the_op, values, operands, params)
    try:
        xp = backend.array_module(*values)  # TypeError if they are on two devices
        value = the_op.forward(xp, *values, **params)
    except (ValueError, TypeError, IndexError, OverflowError) as error:
        raise _explained(error, the_op, values[:operands]) from error
    if not isinstance(value, numpy.ndarray) and not backend.is_array(value):  # NumPy turns 0-d results into scalars
        value = xp.asarray(value)
    if state.detecting_anomaly:
        check_finite(value, the_op.name, values)
    if value.dtype.kind == "c":
        raise TypeError(f"{the_op.name}: tensors hold real numbers, not {value.dtype}")
    if not any(nodes) or not state.recording or value.dtype.kind != "f":
        return Tensor(value)
    parents = nodes[:operands]
    if the_op.has_gaps:
        parents = [node if rule else None for node, rule in zip(parents, the_op.rules, strict=True)]
        if not any(parents):
            return Tensor(value)
    needed = the_op.needed(parents)
    for i, parent in enumerate(parents):
        if i not in needed and (parent or backend.is_array(values[i])):
            values[i] = parent or Spec(values[i].shape, values[i].dtype)
    if not only_tensors:  # a plain array may be changed by whoever made it, so the tape keeps a copy
        values = [guard.own(v) if v is arg and backend.is_array(v) else v for v, arg in zip(values, args, strict=True)]
    params = {key: guard.own(v) if backend.is_array(v) else v for key, v in params.items()}
    return Tensor(value, Node(value, the_op, parents, values, params, keeps_value=-1 in needed))


def _needs(rule):
    """The positions of the arguments whose numbers a rule needs, by its parameters' names; -1 for the output."""
    if rule is None:
        return frozenset()
    parameters = list(inspect.signature(rule).parameters.values())[1:]  # without g
    return frozenset(
        "*" if p.kind is p.VAR_POSITIONAL else i - 1
        for i, p in enumerate(parameters)
        if not p.name.startswith("_") and p.kind is not p.KEYWORD_ONLY
    )


def _check_signature(name, forward, rule):
    """TypeError unless a rule takes g, y, and then what the forward function takes after xp, with the same defaults."""
    if rule is not None:
        wanted, found = (list(inspect.signature(f).parameters.values()) for f in (forward, rule))
        if [p.default for p in found[2:]] != [p.default for p in wanted[1:]]:
            takes = ", ".join(map(str, wanted[1:]))
            raise TypeError(f"{name}: each rule must take g, y, {takes}, with these defaults; one takes {found}")


def _check_arguments(the_op, nodes):
    """TypeError for too few operands, or for a tensor where the op has no derivative: its gradient would get lost."""
    given, operands = len(nodes), the_op.operands
    if given < operands:
        raise TypeError(f"{the_op.name} takes {operands} arrays by position, got {given}")
    if any(nodes[operands:]):
        raise TypeError(f"{the_op.name}: only its first {operands} arguments have derivatives; detach() the others")


def _agree_on_dtype(the_op, values, operands, params):
    """Make scalars and integers follow the floating-point arrays, so that float32 stays float32.

    NumPy 2 lets a Python scalar follow, but takes np.float64(2.0) and integer arrays as requests for float64.
    """
    for i in range(operands, len(values)):
        values[i] = _python_number(values[i])
    for key in params:
        params[key] = _python_number(params[key])
    if len({getattr(value, "dtype", type(value)) for value in values[:operands]} - {int, float, bool}) == 1:
        return  # arrays of one dtype, and Python's numbers, which follow
    differentiable = [i for i in range(operands) if the_op.joint or the_op.rules[i]]
    floats = [values[i].dtype for i in differentiable if backend.is_array(values[i]) and values[i].dtype.kind == "f"]
    for i in differentiable:
        value = values[i]
        if isinstance(value, numpy.generic):
            values[i] = _python_number(value)
        elif backend.is_array(value):
            if floats and value.dtype.kind in "biu":
                values[i] = value.astype(max(floats, key=lambda dtype: dtype.itemsize))
        elif not isinstance(value, (int, float, bool)):
            kind = type(value).__name__
            raise TypeError(f"{the_op.name}: cannot combine a tensor with {kind}; make it a tensor with mg.tensor(...)")


def _python_number(value):
    """A NumPy number as a Python number, which would not turn float32 into float64."""
    if isinstance(value, numpy.longdouble):  # whose item() is one again
        return float(value)
    return value.item() if isinstance(value, numpy.generic) and not isinstance(value, numpy.void) else value


def _explained(error, the_op, values):
    """The same error, saying which op it was and what came in."""
    came = ", ".join(f"{v.shape} {v.dtype}" if backend.is_array(v) else repr(v) for v in values)
    kind = type(error) if type(error) in (ValueError, TypeError, IndexError) else ValueError
    return kind(f"{the_op.name}({came}): {error}{hints.about(error, the_op.name)}")
