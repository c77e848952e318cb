"""The likely cause of a wrong gradient, read off the way it differs from central differences.

A cause is named only if it explains every wrong entry, within the tolerance of the check. If none does, nothing is
said: a wrong hint costs more than no hint.
"""

import copy
import itertools

import numpy

FACTORS = {
    2: "twice",
    0.5: "half",
    -2: "minus twice",
    -0.5: "minus half",
    3: "3 times",
    1 / 3: "a third of",
    4: "4 times",
    0.25: "a quarter of",
}


def likely_cause(function, position, steps, gradient, measured, allowed, wrong):
    """A sentence or two on why backward and central differences disagree, or "" if nothing fits.

    Parameters
    ----------
    function : minigrad.testing.gradient_check.Weighted
        What was differentiated; it may be evaluated again.
    position : int
        The argument whose gradient is wrong.
    steps, gradient, measured, allowed : ndarray, of the shape of the argument
        The steps that were taken, backward's gradient, the central differences, and the difference that was allowed.
    wrong : list of tuple of int
        The entries that differ by more.

    Returns
    -------
    str
    """
    with numpy.errstate(all="ignore"):
        cause = _not_a_function(function) or _not_finite(gradient, measured, wrong)
        if cause:
            return cause
        kinks = {entry: _slopes_at_kink(function, position, entry, steps, gradient, allowed) for entry in wrong}
        rest = [entry for entry in wrong if not kinks[entry]]
        if not rest:
            below, above = kinks[wrong[0]]
            return (
                f"f has a kink or a jump here, so that differences say nothing about the rule. At entry {wrong[0]} the "
                f"one-sided differences are {below:.4g} and {above:.4g}; move the point away by more than the step."
            )
        where = tuple(numpy.array(rest).T) if gradient.ndim else ()
        return (
            _zero(gradient, where)
            or _common_factor(gradient[where], measured[where], allowed[where])
            or _transposed(gradient, measured, allowed)
            or _sum_too_many(gradient, measured, allowed)
            or _sum_missing(function, position, steps, gradient, allowed)
        )


def _close(a, b, allowed, factor=1.0):
    """Whether two arrays agree within the allowed difference, which grows with the `factor` that one was scaled by."""
    return bool((abs(a - b) <= allowed * max(1.0, abs(factor))).all())


def _not_a_function(function):
    value = function.value()
    return "" if numpy.isfinite(value) else f"f itself is {value} at this point."


def _not_finite(gradient, measured, wrong):
    if any(not numpy.isfinite(measured[entry]) for entry in wrong):
        return "f is not finite within a step of this point: move the point into the interior of f's domain."
    if any(not numpy.isfinite(gradient[entry]) for entry in wrong):
        return "backward makes NaN or inf where f and its differences are finite: look for 0/0, 0·inf or overflow."
    return ""


def _slopes_at_kink(function, position, entry, steps, gradient, allowed):
    """The slopes below and above a kink or a jump; None where f is smooth or the gradient lies outside them.

    For smooth f, the second difference q(h) = f(x + h) - 2f(x) + f(x - h) is h²f″: four times the step makes it 16
    times as large. With a kink within h it is proportional to h: from 4h to 16h it grows at most 5 times. The first
    difference grows 4 times from 4h to 16h (or more, if f′ = 0), but not at all where f jumps.
    """
    step = 4 * steps[entry]
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
        return (
            "backward gives 0 for every entry: the argument is not wired to the output. Look for a rule of None, "
            "detach(), .data, or arithmetic outside minigrad."
        )
    if not gradient[where].any():
        return (
            "backward gives 0 at every wrong entry, and is right elsewhere: shares of the gradient are dropped. "
            "Look for a mask, a slice that is too short, or = in place of +=."
        )
    return ""


def _common_factor(gradient, measured, allowed):
    """The wrong entries are the differences times one number. A single entry is evidence for a simple number only."""
    significant = int((abs(measured) > 1e3 * allowed).sum())
    if not significant:
        return ""
    if _close(gradient, -measured, allowed):
        return "the sign is flipped: backward is minus the difference quotient at every wrong entry."
    factor = float((gradient * measured).sum() / (measured**2).sum())
    times = next((words for f, words in FACTORS.items() if _close(gradient, f * measured, allowed, f)), None)
    if not times and significant > 1 and _close(gradient, factor * measured, allowed, factor):
        times = f"{factor:.7g} times"
    if not times:
        return ""
    return f"backward is {times} the difference quotient at every wrong entry: a missing or extra factor."


def _transposed(gradient, measured, allowed):
    for axes in itertools.permutations(range(gradient.ndim)) if 2 <= gradient.ndim <= 4 else ():
        other = measured.transpose(axes)
        if other.shape == gradient.shape and _close(gradient, other, allowed.transpose(axes)):
            return f"backward is right with its axes in the order {axes}: a transposition is missing, or one too many."
    return ""


def _sum_too_many(gradient, measured, allowed):
    for axis, size in enumerate(gradient.shape):
        total, off = measured.sum(axis, keepdims=True), allowed.sum(axis, keepdims=True)
        for word, share in (("sum", 1), ("mean", 1 / size if size else 1)):
            if size > 1 and _close(gradient, share * total, share * off):
                return (
                    f"backward is constant along axis {axis}, where it repeats the {word} of the differences: it was "
                    "reduced over an axis along which the argument is not broadcast."
                )
    return ""


def _sum_missing(function, position, steps, gradient, allowed):
    """One index of an output explains the whole gradient, so the contributions of the others were not added."""
    for axis, index, weights in _single_indices(function.weights):
        part = copy.copy(function)
        part.weights = weights
        alone = {e: part.differences(position, e, steps[e]).sum() for e in numpy.ndindex(gradient.shape)}
        if all(abs(slope - gradient[entry]) <= allowed[entry] for entry, slope in alone.items()):
            return (
                f"backward is what comes from index {index} of the output's axis {axis} alone: the sum over that axis "
                "is missing (unbroadcast)."
            )
    return ""


def _single_indices(weights):
    """(axis, index, weights that are 0 at all other indices) for the first and last index of every output axis."""
    for number, weight in enumerate(weights):
        for axis, size in enumerate(weight.shape):
            for index in (0, size - 1) if size > 1 else ():
                alone = [numpy.zeros_like(w) for w in weights]
                place = (slice(None),) * axis + (index,)
                alone[number][place] = weight[place]
                yield axis, index, alone
