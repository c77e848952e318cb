"""check_grads: a backward rule is right when its gradients agree with central differences.

For a smooth f the central difference (f(x + h) - f(x - h)) / 2h is off by h²f‴/6 from truncation and by about ε|f|/h
from rounding. Both are smallest near h = ∛ε, which in float64 is 6e-6 and leaves an error near 1e-10, relative to
the size of the function and its derivatives. Lesson 2 derives and measures this. How large the two errors are at one
entry, `_best_difference` estimates from more differences, and takes smaller steps where f asks for them.
"""

import functools

import numpy

from minigrad import backend, graph
from minigrad.tensors import Tensor
from minigrad.testing.diagnosis import likely_cause

EPSILON = numpy.finfo(numpy.float64).eps
UNDERFLOW = numpy.finfo(numpy.float64).tiny  # below this, a number's rounding is no longer ε times its size
STEP = EPSILON ** (1 / 3)
SMALLER_STEPS = 64.0 ** -numpy.arange(21)  # each 64 times smaller than the last, down to 1e-36
NEARBY = 2.0**24 * EPSILON  # far enough to round anew, so near that its square is far below ε
MARGIN = 10
CANCELLED = 1e-11  # what is allowed from the second order on: a rule such as 1 - y² may have lost more than f did


def check_grads(f, args, order=2, eps=None, rtol=None, atol=None, grad=None):
    """Compare the gradients of `f` at `args` with central differences in float64, for every entry of every argument.

    Backward must also be linear in the gradient it starts from: the opposite of that must give opposite gradients.

    Parameters
    ----------
    f : callable
        A function of Tensors that returns a Tensor or a tuple of Tensors, of any shape. With `grad`, a function of
        NumPy arrays that returns a number, an array or several of them: anybody's code.
    args : sequence of array_like
        Where to differentiate; converted to float64. Keep away from kinks and ties by more than the step. `f` gets
        each argument on its own device (with `grad`, on the host); the differences are taken on the host.
    order : int
        1: gradients. 2 (default): also the gradients of the gradients, and so on. With `grad`, only the first order
        is checked, whatever `order` says.
    eps : float, optional
        The step, relative to the size of each entry (and absolute below 1). By default ∛(machine epsilon) = 6e-6,
        and smaller steps for entries where this one is too large to tell.
    rtol, atol : float, optional
        Allowed difference, relative to the measured derivative of the entry (1e-6 by default) and absolute (0 for
        gradients, 1e-11 from the second order on), on top of ten times the estimated error of the difference.
    grad : callable, optional
        A function of the same arguments that returns the gradient of f's output, or of the sum of all its entries:
        an array for one argument, a sequence of arrays for several. It is checked in place of backward.

    Raises
    ------
    AssertionError
        If they disagree. The message names the order, the argument, its worst entry, both numbers, the step, and how
        many entries of the argument are wrong; then the likely cause, if the numbers show one (see `diagnosis.py`).
    TypeError
        If `args` is a single array, or `f` returns something that is not a Tensor.
    ValueError
        If there is nothing to check: no arguments, or an order below 1.

    Notes
    -----
    An absolute tolerance sees nothing below itself, and one that follows the largest entry nothing beside it. So each
    entry has a tolerance of its own, from the two errors of its own difference quotient D(h):

    - Truncation: the error is h²f‴/6, and D(2h) - D(h) is three times that, without knowing f‴.
    - Rounding: move all arguments there and back by a few parts in 10⁹, and f(x + d) - 2f(x) + f(x - d) holds only
      rounding errors, those of terms that cancel inside f included. D(h) is off by as much over h. This is done for
      each output alone, and only those that depend on the entry count. (Whether one does, a NaN tells: put in the place
      of the entry, it comes out.) The others cancel in the difference, however large they are.

    A kink within the step is seen from two quotients that look to one side only, 2F(h) - F(2h) with F(h) = (f(x + h) -
    f(x)) / h and the same to the left. They agree up to h³f⁗ unless there is a kink. Of all steps, the one with the
    smallest sum of the three counts. A kink excuses nothing, though: where the best step has one, there is no gradient.
    """
    if isinstance(args, Tensor) or backend.is_array(args):
        raise TypeError("check_grads: args must be a sequence of arguments; for a single one, pass [x]")
    args = [a.data if isinstance(a, Tensor) else a for a in args]
    devices = [backend.device_of(a) for a in args]
    if "cuda" in devices and grad is None:
        f = _between(f, devices)
    args = [numpy.array(backend.to_numpy(a) if backend.is_array(a) else a, dtype=numpy.float64) for a in args]
    if not args or order < 1:
        raise ValueError(f"check_grads has nothing to check with {len(args)} arguments and order {order}")
    rtol, of_level = 1e-6 if rtol is None else rtol, [0.0 if atol is None else atol] * (order + 1)
    of_level[2:] = [CANCELLED if atol is None else atol] * (order - 1)
    names = [f"argument {i}" for i in range(len(args))]
    if grad is not None:
        return _check_first_order(GivenGradient(f, args, grad), names, eps, rtol, of_level[1], 1)
    for level in range(1, order + 1):
        _check_first_order(Weighted(f, args), names, eps, rtol, of_level[level], level)
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

    source = "backward"

    def __init__(self, f, args):
        self.f, self.args = f, args
        self.weights = _weights(f, args)

    def outputs(self, args):
        """What f returns, as arrays."""
        return [output.numpy() for output in _outputs(self.f, [_leaf(a) for a in args])]

    def gradients(self, sign=1):
        """The gradient for each argument, by backward; -1 turns what backward starts from, and then its result."""
        tensors = [_leaf(a) for a in self.args]
        outputs = zip(_outputs(self.f, tensors), self.weights, strict=True)
        total = sum(((output * (sign * weight)).sum() for output, weight in outputs), start=0.0)
        return [sign * g.numpy() for g in graph.grad(total, tensors)]

    def parts(self, position=0, entry=(), move=0.0, args=None):
        """weight · output for every entry of every output, in one row, after one entry of one argument has moved."""
        moved = [numpy.array(a) for a in args or self.args]
        moved[position][entry] += move
        return numpy.concatenate([(o * w).ravel() for o, w in zip(self.outputs(moved), self.weights, strict=True)])

    def value(self, position=0, entry=(), move=0.0):
        """The sum after one entry of one argument has moved."""
        return self.parts(position, entry, move).sum()

    def differences(self, position, entry, step):
        """The central difference for one entry of one argument, for each of the parts."""
        return (self.parts(position, entry, step) - self.parts(position, entry, -step)) / (2 * step)

    @functools.cached_property
    def noise(self):
        """The rounding of each part: what is left of f(x + d) - 2f(x) + f(x - d), where for tiny d nothing else is."""
        rng, here = numpy.random.default_rng(0), self.parts()
        noise = EPSILON * abs(here)
        for _ in range(6):
            moves = [NEARBY * rng.uniform(-1, 1, a.shape) * a for a in self.args]
            above, below = (
                self.parts(args=[a + sign * m for a, m in zip(self.args, moves, strict=True)]) for sign in (1, -1)
            )
            left = abs((above - here) + (below - here))
            noise = numpy.fmax(noise, numpy.where(numpy.isfinite(left), left, 0.0))
        return noise

    def depends(self, position, entry):
        """Which parts depend on an entry: those into which a NaN in its place finds its way."""
        try:
            return numpy.isnan(self.parts(position, entry, numpy.nan))
        except Exception:  # f may refuse a NaN as it likes
            return numpy.full(self.noise.shape, True)


class GivenGradient(Weighted):
    """The sum of all outputs of anybody's `f`, with a function for its gradients."""

    source = "grad"

    def __init__(self, f, args, grad):
        self.f, self.args, self.grad = f, args, grad
        self.weights = [numpy.ones(output.shape) for output in self.outputs(args)]

    def outputs(self, args):
        outputs = self.f(*(a.copy() for a in args))
        outputs = outputs if isinstance(outputs, (tuple, list)) else [outputs]
        return [numpy.asarray(output, dtype=numpy.float64) for output in outputs]

    def gradients(self, sign=1):
        found, shapes = self.grad(*(a.copy() for a in self.args)), [a.shape for a in self.args]
        if not isinstance(found, (tuple, list)) or [numpy.shape(found)] == shapes:
            found = [found]
        found = [numpy.array(g, dtype=numpy.float64) for g in found]
        if [g.shape for g in found] != shapes:
            raise AssertionError(
                f"grad returns gradients of the shapes {[g.shape for g in found]} for arguments of the shapes {shapes}"
            )
        return found


def _check_first_order(function, names, eps, rtol, atol, level):
    """Compare the gradients with central differences; then those from the opposite starting gradient."""
    first, second = function.parts(), function.parts()
    if abs(first - second).sum() > STEP * abs(first).sum():
        raise AssertionError(
            f"f is not deterministic: two evaluations at the same point differ by {abs(first - second).max():.3g}. "
            "Fix its random numbers."
        )
    gradients, opposite = function.gradients(), function.gradients(-1)
    whats = [f"derivative of order {level} for {n} of shape {g.shape}" for n, g in zip(names, gradients, strict=True)]
    for position, (what, gradient) in enumerate(zip(whats, gradients, strict=True)):
        compared = Compared(function, position, gradient, eps, rtol, atol)
        if compared.wrong:
            raise AssertionError(f"{what}, {compared.report()}")
    for position, (what, gradient, other) in enumerate(zip(whats, gradients, opposite, strict=True)):
        if (gradient != other).any() and Compared(function, position, other, eps, rtol, atol).wrong:
            raise AssertionError(
                f"{what}: right for one gradient g that backward starts from, but not for -g.\nLikely cause: a rule is "
                "not linear in g; look for abs, relu, or a bound on g."
            )


class Compared:
    """The gradient for one argument beside its central differences, entry by entry, and which entries are wrong."""

    def __init__(self, function, position, gradient, eps, rtol, atol):
        self.function, self.position, self.gradient = function, position, gradient
        self.eps, self.rtol, self.atol = eps, rtol, atol
        self.measured, self.error, self.steps = (numpy.zeros(gradient.shape) for _ in range(3))
        entries, sizes = [*numpy.ndindex(gradient.shape)], abs(function.args[position])
        for entry in entries:
            step = self.steps[entry] = (eps or STEP) * max(1.0, sizes[entry])
            self.measured[entry] = function.differences(position, entry, step).sum()
            # One difference settles most entries: that both are 0, only if a step of the entry's own size agrees.
            small = STEP * sizes[entry] if not (eps or self.measured[entry]) else 0.0
            if not self.agrees(entry) or (0 < small < step and function.differences(position, entry, small).any()):
                self.look_closer(entry)
        self.wrong = [entry for entry in entries if not self.agrees(entry)]
        for entry in entries if self.wrong else ():
            self.look_closer(entry)

    def look_closer(self, entry):
        """Estimate the error of the difference, and look for a better step unless one is prescribed."""
        if not self.error[entry]:
            steps = self.steps[entry] * SMALLER_STEPS[: 1 if self.eps else None]
            best = _best_difference(self.function, self.position, entry, steps)
            self.measured[entry], self.error[entry], self.steps[entry] = best

    def allowed(self, entry=...):
        return self.atol + self.rtol * abs(self.measured[entry]) + self.error[entry]

    def agrees(self, entry):
        off = abs(self.gradient[entry] - self.measured[entry])
        return bool(numpy.isfinite(off) and off <= self.allowed(entry))

    def report(self):
        """The worst entry, both numbers and the likely cause."""
        gradient, measured, wrong, source = self.gradient, self.measured, self.wrong, self.function.source
        worst = max(wrong, key=lambda entry: _size(gradient[entry] - measured[entry]))
        cause = likely_cause(self.function, self.position, self.steps, gradient, measured, self.allowed(), wrong)
        return (
            f"entry {worst}: {source} says {gradient[worst]:.10g}, central differences {measured[worst]:.10g} "
            f"(step {self.steps[worst]:.2g}); {len(wrong)} of {gradient.size} entries are wrong"
            + (f"\nLikely cause: {cause.replace('backward', source)}" if cause else "")
        )


def _size(difference):
    return abs(difference) if numpy.isfinite(difference) else numpy.inf


@numpy.errstate(all="ignore")
def _best_difference(function, position, entry, steps):
    """The central difference with the smallest estimated error among falling steps, its error, and its step."""
    x, here = function.args[position][entry], function.parts()
    noise = function.noise[function.depends(position, entry)].sum() + UNDERFLOW
    smallest, best = numpy.inf, (numpy.nan, 0.0, steps[0])
    for step in steps:
        rounding = noise / step
        if rounding >= smallest:  # and it grows with every smaller step
            break
        step = (x + step) - x  # so that x + step is not rounded
        if not step:  # f varies over less than the distance between x and the next number: all is possible
            return best[0], numpy.inf, best[2]
        left, right = (function.parts(position, entry, move) - here for move in (-step, step))
        far_left, far_right = (function.parts(position, entry, move) - here for move in (-2 * step, 2 * step))
        change, far_change = (abs(left) + abs(right)).sum(), (abs(far_left) + abs(far_right)).sum()
        difference = (right - left) / (2 * step)
        if abs(difference.sum() - best[0]) > MARGIN * smallest:
            break  # unforeseen rounding: else no smaller step leaves the range of a larger one
        truncation = abs((far_right - far_left) / (4 * step) - difference).sum()
        kink = abs(2 * (right + left) - (far_right + far_left) / 2).sum() / step
        rounding += EPSILON * change / step
        estimate = truncation + kink + rounding
        if far_change < 1.5 * change and change > min(MARGIN * noise, STEP * abs(here).sum()):
            estimate = numpy.nan  # f has levelled off: all that happens to it happens within a step
        if estimate < smallest:
            smallest, best = estimate, (difference.sum(), truncation + MARGIN * rounding, step)
        elif smallest == numpy.inf and numpy.isfinite(difference).all():
            best = difference.sum(), MARGIN * rounding, step
    return best


def _gradients(f, args, names):
    """The gradients of `f` as a function of its arguments and of the gradients u that backward starts from.

    A rule must be differentiable in u too: in a chain of functions, u depends on the arguments. Returns that function,
    the values to check it at, and their names.
    """
    count, weights = len(args), _weights(f, args)

    def gradients(*tensors):
        args, starts = tensors[:count], tensors[count:]
        return graph.grad(_outputs(f, args), args, starts, create_graph=True)

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
