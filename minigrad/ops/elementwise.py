"""Elementwise functions, each line the function and its derivative.

Operands of two-operand functions are broadcast against each other; `unbroadcast`, of `shape.py`, undoes that for the
gradients.
"""

import math

from minigrad import backend
from minigrad.op import op, primitive
from minigrad.ops.shape import unbroadcast

__all__ = [
    "abs", "add", "clip", "cos", "divide", "elu", "equal", "erf", "exp", "greater", "greater_equal", "leaky_relu",
    "less", "less_equal", "log", "maximum", "minimum", "multiply", "negative", "not_equal", "power", "relu",
    "sigmoid", "sign", "sin", "softplus", "sqrt", "square", "subtract", "tanh", "where",
]  # fmt: skip

# ---- arithmetic ---------------------------------------------------------------------------------------------------

add = op("add", "a + b.", lambda xp, a, b: a + b,
         lambda g, _y, _a, _b: unbroadcast(g, _a),
         lambda g, _y, _a, _b: unbroadcast(g, _b))  # fmt: skip
subtract = op("subtract", "a - b.", lambda xp, a, b: a - b,
              lambda g, _y, _a, _b: unbroadcast(g, _a),
              lambda g, _y, _a, _b: unbroadcast(-g, _b))  # fmt: skip
multiply = op("multiply", "a · b.", lambda xp, a, b: a * b,
              lambda g, _y, _a, b: unbroadcast(g * b, _a),
              lambda g, _y, a, _b: unbroadcast(g * a, _b))  # fmt: skip
divide = op("divide", "a / b.", lambda xp, a, b: a / b,
            lambda g, _y, _a, b: unbroadcast(g / b, _a),
            lambda g, y, _a, b: unbroadcast(-g * y / b, b))  # fmt: skip
power = op("power", "aᵇ; the gradient for b is 0 where a = 0 ≤ b, and NaN where a < 0.", lambda xp, a, b: a**b,
           lambda g, _y, a, b: unbroadcast(g * b * a ** _one_less(a, b), a),
           lambda g, y, a, _b: unbroadcast(g * y * log(where((a == 0) * (abs(y) <= 1), 1, a)), _b))  # fmt: skip
negative = op("negative", "-x.", lambda xp, x: -x, lambda g, _y, _x: -g)

# ---- functions of one variable --------------------------------------------------------------------------------------

exp = op("exp", "eˣ.", lambda xp, x: xp.exp(x), lambda g, y, _x: g * y)
log = op("log", "Natural logarithm, ln x.", lambda xp, x: xp.log(x), lambda g, _y, x: g / x)
sqrt = op("sqrt", "√x; its derivative at 0 is infinite.", lambda xp, x: xp.sqrt(x),
          lambda g, y, _x: g / (2 * y))  # fmt: skip
square = op("square", "x².", lambda xp, x: x * x, lambda g, _y, x: g * 2 * x)
sin = op("sin", "Sine of x in radians.", lambda xp, x: xp.sin(x), lambda g, _y, x: g * cos(x))
cos = op("cos", "Cosine of x in radians.", lambda xp, x: xp.cos(x), lambda g, _y, x: -g * sin(x))
tanh = op("tanh", "Hyperbolic tangent, (eˣ - e⁻ˣ) / (eˣ + e⁻ˣ).", lambda xp, x: xp.tanh(x),
          lambda g, y, _x: g * (1 - y * y))  # fmt: skip
sigmoid = op("sigmoid", "1 / (1 + exp(-x)), computed without overflow, and exactly where it is small.", lambda xp, x:
             xp.exp(xp.minimum(x, 0)) / (1 + xp.exp(xp.minimum(x, -1.0 * x))),
             lambda g, _y, x: g * (sigmoid(x) * sigmoid(-x)))  # fmt: skip
softplus = op("softplus", "log(1 + exp(x)), computed without overflow.", lambda xp, x:
              xp.maximum(x, 0) + xp.log1p(xp.exp(xp.minimum(x, -1.0 * x))),
              lambda g, _y, x: g * sigmoid(x))  # fmt: skip
erf = op("erf", "The error function, 2/√π ∫₀ˣ exp(-t²) dt.", lambda xp, x: backend.erf(xp, x),
         lambda g, _y, x: g * (2 / math.sqrt(math.pi)) * exp(-x * x))  # fmt: skip
abs = op("abs", "Absolute value; its derivative at 0 is taken as 0.", lambda xp, x: xp.abs(x),
         lambda g, _y, x: g * sign(x))  # fmt: skip
sign = op("sign", "-1, 0 or 1; its derivative is 0 everywhere.", lambda xp, x: xp.sign(x), lambda g, _y, _x: g * 0)

# ---- activations ----------------------------------------------------------------------------------------------------

relu = op("relu", "max(x, 0); its derivative at 0 is taken as 0.", lambda xp, x: xp.maximum(x, 0),
          lambda g, y, _x: where(y > 0, g, 0))  # fmt: skip
_leaky_relu = op("leaky_relu", "leaky_relu for slope ≥ 0: then y tells where x > 0 was.", lambda xp, x, slope=0.01:
                 xp.where(x > 0, x, slope * x),
                 lambda g, y, _x, slope=0.01: where(y > 0, g, slope * g))  # fmt: skip
elu = op("elu", "x where x > 0, else alpha · (exp(x) - 1).", lambda xp, x, alpha=1.0:
         xp.where(x > 0, x, alpha * xp.expm1(xp.minimum(x, 0))),
         lambda g, _y, x, alpha=1.0: where(x > 0, g, g * alpha * exp(minimum(x, 0))))  # fmt: skip


def leaky_relu(x, slope=0.01):
    """x where x > 0, else slope · x; its derivative at 0 is taken as `slope`."""
    return _leaky_relu(x, slope) if slope >= 0 else where(x > 0, x, slope * x)


# ---- choosing -------------------------------------------------------------------------------------------------------

where = op("where", "a where the condition holds, else b.", lambda xp, condition, a, b: xp.where(condition, a, b),
           None,
           lambda g, _y, condition, _a, _b: unbroadcast(where(condition, g, 0), _a),
           lambda g, _y, condition, _a, _b: unbroadcast(where(condition, 0, g), _b))  # fmt: skip
maximum = op("maximum", "The larger of a and b; ties split the gradient evenly.", lambda xp, a, b: xp.maximum(a, b),
             lambda g, _y, a, b: unbroadcast(_share(g, a > b, a == b), a),
             lambda g, _y, a, b: unbroadcast(_share(g, b > a, a == b), b))  # fmt: skip
minimum = op("minimum", "The smaller of a and b; ties split the gradient evenly.", lambda xp, a, b: xp.minimum(a, b),
             lambda g, _y, a, b: unbroadcast(_share(g, a < b, a == b), a),
             lambda g, _y, a, b: unbroadcast(_share(g, b < a, a == b), b))  # fmt: skip


@primitive(lambda g, y, x, low=None, high=None: g * (x == y))
def clip(xp, x, low=None, high=None):
    """x, but at least `low` and at most `high`; the gradient passes where x was not changed, bounds included."""
    if low is None and high is None:
        raise ValueError("clip needs a lower bound, an upper bound, or both")
    x = x if low is None else xp.maximum(x, low)
    return x if high is None else xp.minimum(x, high)


# ---- comparisons: no derivative -------------------------------------------------------------------------------------

equal = op("equal", "a == b, elementwise.", lambda xp, a, b: xp.equal(a, b), None, None)
not_equal = op("not_equal", "a != b, elementwise.", lambda xp, a, b: xp.not_equal(a, b), None, None)
greater = op("greater", "a > b, elementwise.", lambda xp, a, b: a > b, None, None)
greater_equal = op("greater_equal", "a >= b, elementwise.", lambda xp, a, b: a >= b, None, None)
less = op("less", "a < b, elementwise.", lambda xp, a, b: a < b, None, None)
less_equal = op("less_equal", "a <= b, elementwise.", lambda xp, a, b: a <= b, None, None)

# ---- what the rules above share -------------------------------------------------------------------------------------


def _one_less(a, b):
    """b - 1, but 1 where a and b are 0: the factor b makes the product 0 there, and 0 · 0⁻¹ would be NaN."""
    if isinstance(b, (int, float)):
        return b - 1 if b else where(a == 0, 1, -1)
    return where(a == 0, where(b == 0, 1, b - 1), b - 1)


def _share(g, wins, ties):
    """g where an operand wins, half of it where it ties, else 0."""
    return where(ties, g * 0.5, where(wins, g, 0))
