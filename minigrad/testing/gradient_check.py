"""check_grads: a backward rule is right when its gradients agree with central differences.

For a smooth f the central difference (f(x + h) - f(x - h)) / 2h is off by h²f‴/6 from truncation and by about ε|f|/h
from rounding. Both are smallest near h = ∛ε, which in float64 is 6e-6 and leaves an error near 1e-10, relative to
the size of the function and its derivatives. Lesson 2 derives and measures this.
"""

import numpy

from minigrad import backend
from minigrad.graph import grad
from minigrad.tensors import Tensor
from minigrad.testing.diagnosis import likely_cause

EPSILON = numpy.finfo(numpy.float64).eps
STEP = EPSILON ** (1 / 3)


def check_grads(f, args, order=2, eps=None, rtol=None, atol=None):
    """Compare the gradients of `f` at `args` with central differences in float64, for every entry of every argument.

    Backward must also be linear in the gradient it starts from: the opposite of that must give opposite gradients.

    Parameters
    ----------
    f : callable
        A function of Tensors that returns a Tensor or a tuple of Tensors, of any shape.
    args : sequence of array_like
        Where to differentiate; converted to float64. Keep away from kinks and ties by more than the step. `f` gets
        each argument on its own device; the differences are taken on the host.
    order : int
        1: gradients. 2 (default): also the gradients of the gradients, and so on.
    eps : float, optional
        The step, relative to the size of each entry (and absolute below 1); ∛(machine epsilon) = 6e-6 by default.
    rtol, atol : float, optional
        Allowed difference, relative to the largest derivative and absolute; 1e-6 each by default: ten thousand
        times the error to be expected of a smooth function of moderate size, far below any wrong factor or sign.

    Raises
    ------
    AssertionError
        If they disagree. The message names the order, the argument, its worst entry, both numbers, the step, and how
        many entries of the argument are wrong; then the likely cause, if the numbers show one (see `diagnosis.py`).
    TypeError
        If `args` is a single array, or `f` returns something that is not a Tensor.
    ValueError
        If there is nothing to check: no arguments, or an order below 1.
    """
    if isinstance(args, Tensor) or backend.is_array(args):
        raise TypeError("check_grads: args must be a sequence of arguments; for a single one, pass [x]")
    args = [a.data if isinstance(a, Tensor) else a for a in args]
    devices = [backend.device_of(a) for a in args]
    if "cuda" in devices:
        f = _between(f, devices)
    args = [numpy.array(backend.to_numpy(a) if backend.is_array(a) else a, dtype=numpy.float64) for a in args]
    if not args or order < 1:
        raise ValueError(f"check_grads has nothing to check with {len(args)} arguments and order {order}")
    eps, rtol, atol = eps or STEP, 1e-6 if rtol is None else rtol, 1e-6 if atol is None else atol
    names = [f"argument {i}" for i in range(len(args))]
    for level in range(1, order + 1):
        _check_first_order(Weighted(f, args), names, eps, rtol, atol, level)
        if level < order:
            f, args, names = _gradients(f, args, names)


def _between(f, devices):
    """`f`, which takes its arguments on these devices, as a function of host tensors that returns host tensors."""

    def on_host(*tensors):
        outputs = _outputs(f, [tensor.to(device) for tensor, device in zip(tensors, devices, strict=True)])
        return [output.to("cpu") for output in outputs]

    return on_host


class Weighted:
    """Σ weight · output over all entries of all outputs of `f`: one scalar whose gradient checks every output."""

    def __init__(self, f, args, weights=None):
        self.f, self.args = f, args
        self.weights = _weights(f, args) if weights is None else weights

    def _sum(self, tensors):
        return sum(((o * w).sum() for o, w in zip(_outputs(self.f, tensors), self.weights, strict=True)), start=0.0)

    def gradients(self):
        """The gradient for each argument, by backward."""
        tensors = [_leaf(a) for a in self.args]
        return [g.numpy() for g in grad(self._sum(tensors), tensors)]

    def value(self, position=0, entry=(), move=0.0):
        """The sum after one entry of one argument has moved."""
        moved = [a.copy() if i == position else a for i, a in enumerate(self.args)]
        moved[position][entry] += move
        return self._sum([_leaf(a) for a in moved]).item()

    def step(self, position, entry, eps):
        """The step for one entry: `eps`, times the entry's size where that is above 1."""
        return eps * max(1.0, abs(self.args[position][entry]))

    def difference(self, position, entry, eps):
        """The central difference for one entry of one argument."""
        step = self.step(position, entry, eps)
        return (self.value(position, entry, step) - self.value(position, entry, -step)) / (2 * step)


def _check_first_order(function, names, eps, rtol, atol, level):
    """Compare backward with central differences, then with itself from the opposite starting gradient."""
    gradients = function.gradients()
    for position, (name, gradient) in enumerate(zip(names, gradients, strict=True)):
        what = f"derivative of order {level} for {name} of shape {gradient.shape}"
        _compare(function, position, gradient, eps, rtol, atol, what)
    opposite = Weighted(function.f, function.args, [-w for w in function.weights]).gradients()
    for name, gradient, negated in zip(names, gradients, opposite, strict=True):
        if gradient.size and abs(gradient + negated).max() > atol + rtol * abs(gradient).max():
            raise AssertionError(
                f"derivative of order {level} for {name} of shape {gradient.shape}: right for one gradient g that "
                "backward starts from, but not for -g.\nLikely cause: a rule is not linear in g; look for abs, relu, "
                "or a bound on g."
            )


def _compare(function, position, gradient, eps, rtol, atol, what):
    """Compare the gradient for one argument with central differences, entry by entry."""
    scale = numpy.abs(gradient[numpy.isfinite(gradient)]).max(initial=0.0)
    measured, allowed, wrong = numpy.full(gradient.shape, numpy.nan), numpy.zeros(gradient.shape), []
    for entry in numpy.ndindex(gradient.shape):
        measured[entry] = function.difference(position, entry, eps)
        allowed[entry] = atol + rtol * max(scale, abs(measured[entry]))
        off = abs(gradient[entry] - measured[entry])
        if not (numpy.isfinite(off) and off <= allowed[entry]):
            wrong.append(entry)
    if not wrong:
        return
    worst = max(wrong, key=lambda entry: _size(gradient[entry] - measured[entry]))
    cause = likely_cause(function, position, eps, gradient, measured, allowed, wrong)
    raise AssertionError(
        f"{what}, entry {worst}: backward says {gradient[worst]:.10g}, central differences {measured[worst]:.10g} "
        f"(step {function.step(position, worst, eps):.2g}); {len(wrong)} of {gradient.size} entries are wrong"
        + (f"\nLikely cause: {cause}" if cause else "")
    )


def _size(difference):
    return abs(difference) if numpy.isfinite(difference) else numpy.inf


def _gradients(f, args, names):
    """The gradients of `f` as a function of its arguments and of the gradients u that backward starts from.

    A rule must be differentiable in u too: in a chain of functions, u depends on the arguments. Returns that function,
    the values to check it at, and their names.
    """
    count, weights = len(args), _weights(f, args)

    def gradients(*tensors):
        args, starts = tensors[:count], tensors[count:]
        return grad(_outputs(f, args), args, starts, create_graph=True)

    starts = [f"argument {count + i} (the gradient that backward starts from)" for i in range(len(weights))]
    return gradients, [*args, *weights], [*names, *starts]


def _outputs(f, tensors):
    outputs = f(*tensors)
    outputs = list(outputs) if isinstance(outputs, (tuple, list)) else [outputs]
    for output in outputs:
        if not isinstance(output, Tensor):
            raise TypeError(f"check_grads: f must return a Tensor or several, not {type(output).__name__}")
    return outputs


def _weights(f, args):
    """Weights for the outputs of `f`, the same at every call: 0.5 to 1.5 in size, of either sign."""
    rng = numpy.random.default_rng(0)
    shapes = [output.shape for output in _outputs(f, [_leaf(a) for a in args])]
    return [numpy.asarray(rng.uniform(0.5, 1.5, shape) * rng.choice([-1, 1], shape)) for shape in shapes]


def _leaf(array):
    leaf = Tensor(array)
    leaf.requires_grad = True
    return leaf
