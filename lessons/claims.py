"""What a lesson claims: a sentence, a measurement, and what should have been measured if the sentence is true."""

from dataclasses import dataclass

import numpy

from minigrad import backend

WRONG_BY = 1.5  # a prediction that is so many times too large or too small must be found out
CANNOT_FAIL = "cannot fail: 1.5 times the prediction would hold, too"


@dataclass(frozen=True)
class Claim:
    """A sentence, what should be measured if it is true, what was measured, and whether that agrees.

    Of several measurements it keeps the one that deviates most. `deviation` is in units of the tolerance, where there
    is one; `remark` says why a claim whose numbers agree does not hold.
    """

    text: str
    expected: str
    measured: float
    holds: bool
    deviation: float | None = None
    remark: str = ""


def bound(text, measured, below, above, near, within):
    """The `Claim` that a number lies within bounds."""
    if near is not None:
        expected = f"{near:.6g} ± {within:.2g}" if within else f"{near:.6g}"
        holds = abs(measured - near) <= within
        wrong = any(abs(measured - near * factor) <= within for factor in (WRONG_BY, 1 / WRONG_BY))
        if holds and near and wrong:
            return Claim(text, expected, measured, False, remark=CANNOT_FAIL)
    elif below is not None and above is not None:
        expected, holds = f"{above:.4g} to {below:.4g}", above < measured < below
    elif below is not None:
        expected, holds = f"< {below:.4g}", measured < below
    elif above is not None:
        expected, holds = f"> {above:.4g}", measured > above
    else:
        raise TypeError("claim() needs predicted= with rtol=, below=, above=, or near= with within=")
    return Claim(text, expected, measured, bool(holds))


def prediction(text, measured, predicted, rtol, atol):
    """The `Claim` that measurements agree with predictions, which they would not do with others."""
    measured, predicted = (numpy.atleast_1d(numpy.asarray(backend.to_numpy(x), float)) for x in (measured, predicted))
    measured, predicted = numpy.broadcast_arrays(measured, predicted)
    if not measured.size:
        raise ValueError(f"nothing was measured for the claim {text!r}")

    def deviations(predicted):
        """|measured - predicted| in units of the tolerance; infinite where one of them is NaN or infinite."""
        with numpy.errstate(all="ignore"):
            difference, tolerance = abs(measured - predicted), rtol * abs(predicted) + atol
            units = numpy.where(difference == 0, 0.0, difference / tolerance)
        return numpy.where(numpy.isfinite(measured) & numpy.isfinite(predicted), units, numpy.inf)

    found = deviations(predicted)
    worst = numpy.unravel_index(found.argmax(), found.shape)
    agrees = bool((found <= 1).all())
    remark = ""
    if agrees and any((deviations(predicted * factor) <= 1).all() for factor in (WRONG_BY, 1 / WRONG_BY)):
        remark = CANNOT_FAIL
    value = float(predicted[worst])
    expected = f"{value:.6g} ± {rtol * abs(value) + atol:.2g}" + (f" (of {found.size})" if found.size > 1 else "")
    return Claim(text, expected, float(measured[worst]), agrees and not remark, float(found[worst]), remark)
