"""2.1 A central difference with the right step

Write the central difference D₀ = (f(x + h) - f(x - h)) / 2h with the step that leaves the most digits. Truncation and
rounding balance at h = ε^(1/3), if x and the scale on which f varies are of size 1. Here f varies on the scale of x
itself, whatever that is, so the step must follow it:

    h = ε^(1/3) |x| for each entry, and h = ε^(1/3) where x is 0

with the ε of the dtype of x: 2.2e-16 in float64, 1.2e-7 in float32. The error is then near ε^(2/3), relative to f'.

    derivative(f, x)
        f : function of an array that works entry by entry and returns an array of the same shape and dtype
        x : array of any shape, float64 or float32; it stays as it is
        returns the derivative of f at each entry, of the shape and dtype of x

For example, the derivative of x² is 2x, at any scale:

    derivative(np.square, np.array([1e-8, 1.0, 1e8]))     # [2e-08, 2.0, 2e+08], to ten digits
"""

import numpy as np


def derivative(f, x):
    """f', entry by entry, by central differences."""
    # solution
    eps = np.finfo(x.dtype).eps
    h = np.cbrt(eps) * np.where(x == 0, x.dtype.type(1), abs(x))
    return (f(x + h) - f(x - h)) / (2 * h)
    # end of solution


# %% Laws

from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from lessons.exercises import Exercise, agree, hold

exercise = Exercise(
    __file__,
    "lesson 02, part 1",
    hints=[
        "`np.finfo(x.dtype).eps` is the machine epsilon of the dtype of x.",
        "The step is an array of the shape of x: the cube root of epsilon times |x|. `np.where(x == 0, 1, abs(x))` "
        "takes care of the zeros.",
        "In float32 the step must be float32, too, or the whole computation becomes one in float64: compare "
        "`(x + h).dtype` with `x.dtype`.",
    ],
)


class Power:
    """(x + shift)ᵖ, entry by entry."""

    def __init__(self, power, shift=0):
        self.power, self.shift = power, shift
        self.__name__ = f"{'(x + 1)' if shift else 'x'} ** {power:g}"

    def __call__(self, x):
        return (x + x.dtype.type(self.shift)) ** x.dtype.type(self.power)

    def slope(self, x):
        return self.power * (np.asarray(x, float) + self.shift) ** (self.power - 1)


SHAPES = st.lists(st.integers(1, 3), max_size=2).map(tuple)
SIDES = st.integers(4, 8).map(lambda k: k / 4)  # from 1 to 2
DTYPES = st.sampled_from([np.float64, np.float32])


@st.composite
def cases(draw, powers=(-1, 0.5, 2, 3), scales=(-25, 25), dtypes=DTYPES, signs=(1,)):
    """(f, x) with entries of one scale, a power of 2."""
    power, dtype = draw(st.sampled_from(powers)), draw(dtypes)
    x = draw(arrays(float, draw(SHAPES), elements=SIDES)) * draw(st.sampled_from(signs))
    return Power(power), (x * 2.0 ** draw(st.integers(*scales))).astype(dtype)


def close(answer, case, factor=12):
    """Relative truncation is (p - 1)(p - 2)/6 ≤ 1 times ε^(2/3); rounding of f twice, of x ± h twice: a few ε / h."""
    f, x = case
    bound, right = factor * float(np.finfo(x.dtype).eps) ** (2 / 3), f.slope(x)
    error = abs(numbers(answer.derivative(f, x), x) / right - 1)
    what = f"the relative error of the derivative, in {x.dtype}"
    hold((error <= bound).all(), what, error, f"below {bound:.1e}")


def numbers(came, x):
    """What came as float64, if it has the shape of x."""
    hold(np.shape(came) == x.shape, "the shape of the derivative", np.shape(came), x.shape)
    return np.asarray(came, float)


DOUBLE = st.just(np.float64)


@exercise.law("the derivative has the shape of x", cases(dtypes=DOUBLE))
def shape(answer, case):
    came = np.shape(answer.derivative(*case))
    hold(came == case[1].shape, "the shape of the derivative", came, case[1].shape)


@exercise.law("x stays as it was", cases())
def untouched(answer, case):
    f, x = case
    before = x.copy()
    answer.derivative(f, x)
    agree("x afterwards", x, before, rtol=0.0, atol=0.0)


@exercise.law("the derivative of x² is 2x, to three digits at least", cases([2], (0, 0), DOUBLE))
def roughly(answer, case):
    f, x = case
    agree("the derivative", answer.derivative(f, x), 2 * x, rtol=1e-3)


@exercise.law("where x is 1 to 2, the error is near ε^(2/3) in float64", cases(scales=(0, 0), dtypes=DOUBLE))
def at_one(answer, case):
    close(answer, case)


@exercise.law("at every scale of x, the error is near ε^(2/3) in float64", cases(dtypes=DOUBLE))
def at_every_scale(answer, case):
    close(answer, case)


@exercise.law("the error is near ε^(2/3) for negative x, too", cases([-1, 2, 3], dtypes=DOUBLE, signs=(-1,)))
def negative(answer, case):
    close(answer, case)


@exercise.law(
    "entries of different scales have steps of their own",
    st.lists(st.integers(-25, 25), min_size=2, max_size=3).map(lambda k: (Power(3), 1.5 * 2.0 ** np.array(k))),
)
def mixed(answer, case):
    close(answer, case)


@exercise.law(
    "where x is 0 the step is ε^(1/3)",
    st.sampled_from([2, 3, -1, 0.5]).map(lambda p: (Power(p, 1), np.array([0.0, 1.0]))),
)
def at_zero(answer, case):
    close(answer, case)


@exercise.law("the error is near ε^(2/3) of float32, if x is float32", cases(dtypes=st.just(np.float32)))
def single(answer, case):
    close(answer, case)


@exercise.law("the derivative has the dtype of x", cases())
def dtype(answer, case):
    f, x = case
    came = getattr(answer.derivative(f, x), "dtype", None)
    hold(came == x.dtype, "the dtype of the derivative", came, x.dtype)


def arguments(answer, x):
    """By how much the arguments at which f is evaluated differ from x, relative to x."""
    x, seen = np.array(x), []

    def square(t):
        seen.append(np.array((t.astype(float) - x) / x))
        return t * t

    answer.derivative(square, x)
    return np.array(seen).reshape(len(seen), -1)


def step(answer, x):
    return abs(arguments(answer, x)).max()


FORWARD = "this is the forward quotient, whose error is of the size of h, not h²."
BACKWARD = "this is the backward quotient, whose error is of the size of h, not h²."
FIXED = "the step is the same at every scale: multiply it by |x|."
ROOT = "the step is √ε |x|, the best one for the forward quotient; for the central one it is too small."
TINY = "the step is so small that rounding is larger than it need be: it should be ε^(1/3) |x|."
LARGE = "the step is too large: it should be ε^(1/3) |x|."
FLOOR = "the step does not follow |x| down to small x: it has a smallest size, or something is added to |x|."
COMMON = "one step is made for all entries, from the largest, their mean or their norm; each has a scale of its own."


@exercise.symptom(FORWARD)
def forward(answer):
    return (arguments(answer, [1.5]) >= 0).all()


@exercise.symptom(BACKWARD)
def backward(answer):
    return (arguments(answer, [1.5]) <= 0).all()


@exercise.symptom(FIXED)
def fixed(answer):
    return abs(step(answer, [2.0**20]) * 2.0**40 / step(answer, [2.0**-20]) - 1) < 0.01


@exercise.symptom(FLOOR)
def floor(answer):
    return step(answer, [2.0**-20]) > 100 * step(answer, [2.0**4]) and not fixed(answer)


@exercise.symptom(ROOT)
def root(answer):
    return 0.7e-8 < step(answer, [1.0]) < 3e-8


@exercise.symptom(TINY)
def tiny(answer):
    return step(answer, [1.0]) < 1e-6 and not root(answer)


@exercise.symptom(LARGE)
def large(answer):
    return step(answer, [1.0]) > 4e-5


@exercise.symptom(COMMON)
def common(answer):
    alone, beside = (abs(arguments(answer, x)[:, 0]).max() for x in ([2.0**-20], [2.0**-20, 1.0]))
    return abs(beside / alone - 1) > 0.01


@exercise.symptom(
    "the step is proportional to x²: it should be proportional to |x|.",
    "np.where(x == 0, x.dtype.type(1), abs(x))",
    "np.where(x == 0, x.dtype.type(1), x * x)",
)
def square(answer):
    return abs(step(answer, [4.0]) / step(answer, [1.0]) - 4) < 0.01


exercise.mistake(
    "it divides by h where 2h belongs: x + h and x - h are 2h apart.",
    "return (f(x + h) - f(x - h)) / (2 * h)",
    "return (f(x + h) - f(x - h)) / h",
)
exercise.mistake(
    "`/ 2 * h` divides by 2 and then multiplies by h: write `/ (2 * h)`.",
    "return (f(x + h) - f(x - h)) / (2 * h)",
    "return (f(x + h) - f(x - h)) / 2 * h",
)
exercise.mistake(
    FIXED,
    "np.where(x == 0, x.dtype.type(1), abs(x))",
    "np.ones_like(x)",
)
exercise.mistake(
    FORWARD,
    "return (f(x + h) - f(x - h)) / (2 * h)",
    "return (f(x + h) - f(x)) / h",
)
exercise.mistake(
    BACKWARD,
    "return (f(x + h) - f(x - h)) / (2 * h)",
    "return (f(x) - f(x - h)) / h",
)
exercise.mistake(
    ROOT,
    "np.cbrt(eps)",
    "np.sqrt(eps)",
)
exercise.mistake(TINY, "np.cbrt(eps)", "eps")
exercise.mistake(TINY, "np.cbrt(eps)", "np.cbrt(eps) ** 2")
exercise.mistake(
    "the sign is flipped: f(x + h) comes first.", "return (f(x + h) - f(x - h))", "return (f(x - h) - f(x + h))"
)
exercise.mistake(
    "where x is 0 the step is 0, and 0/0 is not a number.", "np.where(x == 0, x.dtype.type(1), abs(x))", "abs(x)"
)
exercise.mistake(
    FLOOR,
    "np.where(x == 0, x.dtype.type(1), abs(x))",
    "np.maximum(x.dtype.type(1), abs(x))",
)
exercise.mistake(
    FLOOR,
    "np.where(x == 0, x.dtype.type(1), abs(x))",
    "(x.dtype.type(1) + abs(x))",
)
exercise.mistake(
    COMMON,
    "np.where(x == 0, x.dtype.type(1), abs(x))",
    "(abs(x).max() or x.dtype.type(1))",
)
exercise.mistake(
    COMMON,
    "np.where(x == 0, x.dtype.type(1), abs(x))",
    "(abs(x).mean() or x.dtype.type(1))",
)
exercise.mistake(
    "ε is that of float64 for float32 as well: take it from the dtype of x.",
    "np.finfo(x.dtype).eps",
    "np.finfo(float).eps.astype(x.dtype)",
)


@exercise.symptom("x is float32, and the result float64: ε or the step carries float64 into the computation.")
def wider(answer):
    x = np.array([1.5, 0.5], np.float32)
    if np.asarray(answer.derivative(np.square, x.astype(float))).shape != x.shape:
        return False
    came = answer.derivative(np.square, x)
    return came.dtype == np.float64 and abs(came - 2 * x).max() < 1e-2
