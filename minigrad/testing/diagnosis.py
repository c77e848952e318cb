"""What may be wrong with a backward rule, from how its numbers differ from central differences.

Each cause is named only if the numbers show it: the wrong gradient must be explained by it entirely, within the
tolerance of the check. If nothing explains it, nothing is said.
"""

import itertools

import numpy

FACTORS = {2: "twice", 0.5: "half", -2: "minus twice", -0.5: "minus half", 3: "3 times", 1 / 3: "a third of",
           4: "4 times", 0.25: "a quarter of"}  # fmt: skip


def likely_cause(function, position, eps, gradient, measured, allowed, wrong):
    """A sentence or two about why backward and central differences disagree, or "" if nothing fits.

    Parameters
    ----------
    function : minigrad.testing.gradient_check.Weighted
        What was differentiated; it may be evaluated again.
    position : int
        The argument whose gradient is wrong.
    eps : float
        The relative step.
    gradient, measured, allowed : ndarray, of the shape of the argument
        Backward's gradient, the central differences, and the difference that was allowed.
    wrong : list of tuple of int
        The entries that differ by more.
    """
    with numpy.errstate(all="ignore"):
        cause = _not_a_function(function, position, eps, allowed, wrong)
        cause = cause or _not_finite(gradient, measured, wrong)
        if cause:
            return cause
        kinks = {
            entry: slopes for entry in wrong if (slopes := _kink(function, position, entry, eps, gradient, allowed))
        }
        rest = [entry for entry in wrong if entry not in kinks]
        if not rest:
            entry, (below, above) = next(iter(kinks.items()))
            return (
                f"f has a kink or a jump here, so that differences say nothing about the rule. At entry {entry} the "
                f"one-sided differences are {below:.4g} and {above:.4g}; move the point away by more than the step."
            )
        where = tuple(numpy.array(rest).T) if gradient.ndim else ()
        return (
            _zero(gradient, where)
            or _common_factor(gradient[where], measured[where], allowed[where])
            or _transposed(gradient, measured, allowed)
            or _sum_too_many(gradient, measured, allowed)
            or _sum_missing(function, position, eps, gradient, allowed)
        )


def _close(a, b, allowed, factor=1.0):
    """Whether two arrays agree within what is allowed of numbers that were multiplied by `factor`."""
    return bool((abs(a - b) <= allowed * max(1.0, abs(factor))).all())


def _not_a_function(function, position, eps, allowed, wrong):
    """f gives two values at one point, further apart than would matter to a difference quotient."""
    first, second = function.value(), function.value()
    if not numpy.isfinite([first, second]).all():
        return f"f itself is {first} at this point." if first == second or first != first else ""
    step = min(function.step(position, entry, eps) for entry in wrong)
    if abs(first - second) > 2 * step * allowed.min():
        return (f"f is not deterministic: two evaluations at the same point differ by {abs(first - second):.3g}. "
                "Fix its random numbers.")  # fmt: skip
    return ""


def _not_finite(gradient, measured, wrong):
    if any(not numpy.isfinite(measured[entry]) for entry in wrong):
        return "f is not finite within a step of this point: move the point into the inside of f's domain."
    if any(not numpy.isfinite(gradient[entry]) for entry in wrong):
        return "backward makes NaN or inf where f and its differences are finite: look for 0/0, 0·inf or overflow."
    return ""


def _kink(function, position, entry, eps, gradient, allowed):
    """The slopes below and above, if they disagree and the gradient lies between them; else None.

    For smooth f, the second difference q(h) = f(x + h) - 2f(x) + f(x - h) is h²f″: four times the step makes it 16
    times as large. With a kink within h it grows in proportion to h, at most 5 times from 4h to 16h. The first
    difference grows 4 times from 4h to 16h (or more, if f′ = 0), but not at all where f jumps.
    """
    step = 4 * function.step(position, entry, eps)
    here = function.value()
    below, above, far_below, far_above = (function.value(position, entry, move * step) for move in (-1, 1, -4, 4))
    slopes = (here - below) / step, (above - here) / step
    jump = abs(slopes[1] - slopes[0])
    is_kink = jump > allowed[entry] and abs(far_above - 2 * here + far_below) < 8 * abs(above - 2 * here + below)
    is_jump = abs(above - below) / (2 * step) > allowed[entry] and abs(far_above - far_below) < 2 * abs(above - below)
    margin = allowed[entry] + 1e-3 * jump
    between = min(slopes) - margin <= gradient[entry] <= max(slopes) + margin
    return slopes if is_jump or (is_kink and between) else None


def _zero(gradient, where):
    if not gradient.any():
        return ("backward gives 0 for every entry: the argument is not wired to the output. Look for a rule of None, "
                "detach(), .data, or arithmetic outside minigrad.")  # fmt: skip
    if not gradient[where].any():
        return ("backward gives 0 at every wrong entry, and is right elsewhere: shares of the gradient are dropped. "
                "Look for a mask, a slice that is too short, or = in place of +=.")  # fmt: skip
    return ""


def _common_factor(gradient, measured, allowed):
    """The wrong entries are the differences times one number. A single entry is evidence for a simple number only."""
    significant = int((abs(measured) > 1e3 * allowed).sum())
    if not significant:
        return ""
    if _close(gradient, -measured, allowed):
        return "the sign is flipped: backward is minus the difference quotient at every wrong entry."
    for factor, words in FACTORS.items():
        if _close(gradient, factor * measured, allowed, factor):
            return f"backward is {words} the difference quotient at every wrong entry: a missing or extra factor."
    factor = float((gradient * measured).sum() / (measured**2).sum())
    if significant > 1 and _close(gradient, factor * measured, allowed, factor):
        return (f"backward is {factor:.7g} times the difference quotient at every wrong entry: a missing or extra "
                "factor.")  # fmt: skip
    return ""


def _transposed(gradient, measured, allowed):
    for axes in itertools.permutations(range(gradient.ndim)) if 2 <= gradient.ndim <= 4 else ():
        other = measured.transpose(axes)
        if other.shape == gradient.shape and _close(gradient, other, allowed):
            return f"backward is right with its axes in the order {axes}: a transposition is missing, or one too many."
    return ""


def _sum_too_many(gradient, measured, allowed):
    for axis in range(gradient.ndim):
        for word, reduced in (("sum", measured.sum(axis, keepdims=True)), ("mean", measured.mean(axis, keepdims=True))):
            if gradient.shape[axis] > 1 and _close(gradient, reduced, allowed, gradient.shape[axis]):
                return (f"backward is constant along axis {axis}, where it repeats the {word} of the differences: it "
                        f"was reduced over an axis along which the argument is not broadcast.")  # fmt: skip
    return ""


def _sum_missing(function, position, eps, gradient, allowed):
    """The gradient is the share that comes from one index of an output alone, and no sum over the others was taken."""
    for number, weights in enumerate(function.weights):
        for axis, size in enumerate(weights.shape):
            for index in (0, size - 1) if size > 1 else ():
                alone = [numpy.zeros_like(w) for w in function.weights]
                place = (slice(None),) * axis + (index,)
                alone[number][place] = weights[place]
                part = type(function)(function.f, function.args, alone)
                if all(abs(part.difference(position, entry, eps) - gradient[entry]) <= allowed[entry]
                       for entry in numpy.ndindex(gradient.shape)):  # fmt: skip
                    return (f"backward is what comes from index {index} of the output's axis {axis} alone: the sum "
                            "over that axis is missing (unbroadcast).")  # fmt: skip
    return ""
