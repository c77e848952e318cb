"""check_grads: compares the gradients of any function with central differences.

For a smooth f the central difference (f(x + h) - f(x - h)) / 2h is off by h²f‴/6 from truncation and by about ε|f|/h
from rounding. Both are smallest near h = ∛ε, which in float64 is 6e-6 and leaves an error near 1e-10, relative to
the size of the function and its derivatives.
"""

import numpy

from minigrad.graph import grad
from minigrad.tensor import Tensor

EPSILON = numpy.finfo(numpy.float64).eps
STEP = EPSILON ** (1 / 3)


def check_grads(f, args, order=2, eps=None, rtol=None, atol=None):
    """Compare the gradients of `f` at `args` with central differences in float64, every entry of every argument.

    Parameters
    ----------
    f : callable
        A function of Tensors that returns a Tensor or a tuple of Tensors, of any shape.
    args : sequence of array_like
        Where to differentiate; taken as float64. Keep away from kinks and ties by more than the step.
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
        Naming the order, the argument, the entry, both numbers and the step.
    """
    args = [numpy.array(a.data if isinstance(a, Tensor) else a, dtype=numpy.float64) for a in args]
    eps, rtol, atol = eps or STEP, 1e-6 if rtol is None else rtol, 1e-6 if atol is None else atol
    for level in range(1, order + 1):
        _check_first_order(f, args, eps, rtol, atol, level)
        if level < order:
            f, args = _gradients(f, args)


def _outputs(f, tensors):
    outputs = f(*tensors)
    return list(outputs) if isinstance(outputs, (tuple, list)) else [outputs]


def _weights(f, args):
    """Fixed random numbers, one for each output of `f`, that make one number out of all outputs."""
    rng = numpy.random.default_rng(0)
    shapes = [output.shape for output in _outputs(f, [_leaf(a) for a in args])]
    return [numpy.asarray(rng.uniform(0.5, 1.5, shape) * rng.choice([-1, 1], shape)) for shape in shapes]


def _gradients(f, args):
    """The gradients of `f`, as a function of its arguments and of the gradients u to start from; and values for both.

    A rule must be differentiable in u too: in a chain of functions, u depends on the arguments.
    """
    count = len(args)
    return (
        lambda *tensors: grad(_outputs(f, tensors[:count]), tensors[:count], tensors[count:], create_graph=True),
        [*args, *_weights(f, args)],
    )


def _check_first_order(f, args, eps, rtol, atol, level):
    weights = _weights(f, args)

    def scalar(*tensors):  # one gradient of this checks every output
        return sum(((o * w).sum() for o, w in zip(_outputs(f, tensors), weights, strict=True)), start=0.0)

    tensors = [_leaf(a) for a in args]
    computed = [g.numpy() for g in grad(scalar(*tensors), tensors)]

    def value(position, entry, step):
        moved = [a.copy() if i == position else a for i, a in enumerate(args)]
        moved[position][entry] += step
        return scalar(*(_leaf(a) for a in moved)).item()

    for position, (arg, gradient) in enumerate(zip(args, computed, strict=True)):
        scale = numpy.abs(gradient).max(initial=0.0)
        for entry in numpy.ndindex(arg.shape):
            step = eps * max(1.0, abs(arg[entry]))
            measured = (value(position, entry, step) - value(position, entry, -step)) / (2 * step)
            if not abs(gradient[entry] - measured) <= atol + rtol * max(scale, abs(measured)):
                raise AssertionError(
                    f"derivative of order {level} for argument {position} of shape {arg.shape}, entry {entry}: "
                    f"backward says {gradient[entry]:.10g}, central differences {measured:.10g} (step {step:.2g})"
                )


def _leaf(array):
    leaf = Tensor(array)
    leaf.requires_grad = True
    return leaf
