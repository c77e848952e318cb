"""2.2 The complex step

A central difference subtracts two numbers that are nearly equal. The imaginary part of f(x + ih) is h f'(x), up to
h³f‴/6, and nothing is subtracted: with h = 1e-200 all digits of Im f(x + ih) / h are right. Write the gradient by the
complex step.

    gradient(f, x)
        f : function of an array of the shape of x, real or complex; returns a single number
        x : array of float64, of any shape; it stays as it is
        returns the derivatives of f with respect to the entries of x, an array of float64 of the shape of x

The complex step works on the program, not on the function: every operation in it must be smooth for complex numbers.
np.abs and np.linalg.norm are not: they take the absolute value √(a² + b²) of a + ib, and the imaginary part is lost. So
write the length of a vector anew, so that the complex step finds its derivative.

    length(v)
        v : array (n,), real or complex, its real part not zero
        returns ‖v‖ = √(v₁² + … + vₙ²): for real v the length, and the same formula, without absolute values, for
        complex v

For example, the derivative of ‖v‖ is v/‖v‖, and that of 3x³ is 9x²:

    gradient(length, np.array([3.0, 4.0]))                             # [0.6, 0.8]
    gradient(lambda x: 3 * x[0] ** 3, np.array([2.0]))                 # [36.0]
"""

import numpy as np


def gradient(f, x):
    """The derivatives of the number f(x) by the complex step."""
    # solution
    slopes, h = np.zeros(x.shape), 1e-200
    for entry in np.ndindex(x.shape):
        moved = x.astype(complex)
        moved[entry] += 1j * h
        slopes[entry] = f(moved).imag / h
    return slopes
    # end of solution


def length(v):
    """‖v‖, for the complex step, too."""
    # solution
    return np.sqrt(np.sum(v * v))
    # end of solution


# %% Laws

from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from lessons.exercises import Exercise, agree, hold
from lessons.exercises.cases import NUMBERS, vectors

exercise = Exercise(
    __file__,
    "further/02_complex_step, parts 1 and 2",
    hints=[
        "Copy x as an array of complex numbers with `x.astype(complex)`, and add 1j * h to one entry at a time.",
        "The derivative is the imaginary part of what f returns, divided by h. Give the result the shape of x: `for "
        "entry in np.ndindex(x.shape)` goes through all its entries.",
        "length: v * v is a² - b² + 2iab for complex numbers, as it should be. Its sum and np.sqrt are smooth.",
    ],
)


class Cubes:
    """Σ cᵢ xᵢ³ + Σ xᵢ xᵢ₊₁: its derivatives are 3 cᵢ xᵢ² + xᵢ₋₁ + xᵢ₊₁."""

    def __init__(self, factors, products=True):
        self.factors, self.products = factors, products
        self.__name__ = "sum(c * x ** 3)" + (" + sum of products of neighbours" if products else "")

    def __call__(self, x):
        y = x.ravel()
        return (self.factors * y * y * y).sum() + self.products * (y[1:] * y[:-1]).sum()

    def slopes(self, x):
        y = np.concatenate([[0.0], x.ravel(), [0.0]])
        return (3 * self.factors * y[1:-1] ** 2 + self.products * (y[:-2] + y[2:])).reshape(x.shape)


@st.composite
def cases(draw, shape=None, products=True):
    shape = draw(st.lists(st.integers(1, 3), max_size=2).map(tuple)) if shape is None else shape
    x = draw(arrays(float, shape, elements=NUMBERS))
    return Cubes(draw(vectors(x.size)), products), x


@exercise.law("the gradient is an array of real numbers, of the shape of x", cases())
def shape(answer, case):
    came = answer.gradient(*case)
    hold(np.shape(came) == case[1].shape, "the shape of the gradient", np.shape(came), case[1].shape)
    hold(not np.iscomplexobj(came), "the dtype of the gradient", np.asarray(came).dtype, "float64")


@exercise.law("x stays as it was", cases())
def untouched(answer, case):
    f, x = case
    before = x.copy()
    answer.gradient(f, x)
    agree("x afterwards", x, before, rtol=0.0, atol=0.0)


@exercise.law("for a function of one number it is the derivative: c x³ has 3c x²", cases((1,), False))
def one_number(answer, case):
    f, x = case
    agree("the derivative", answer.gradient(f, x), f.slopes(x), rtol=1e-13)


@exercise.law("each derivative is right to 13 digits", cases())
def all_digits(answer, case):
    f, x = case
    agree("the gradient", answer.gradient(f, x), f.slopes(x), rtol=1e-13, atol=1e-13)


@exercise.law(
    "however small x is, 13 digits are right",
    st.tuples(st.integers(1, 16).map(lambda k: k / 4), st.sampled_from([1e-10, 1e-20, 1e-40])),
)
def small(answer, case):
    x = np.array([case[0] * case[1]])
    f = Cubes(np.ones(1), False)
    agree("the derivative", answer.gradient(f, x), f.slopes(x), rtol=1e-13, atol=0.0)


@exercise.law("the length of a real vector: Pythagoras", st.tuples(st.sampled_from([3.0, -3.0]), st.integers(-4, 4)))
def pythagoras(answer, case):
    leg, power = case
    agree("the length", answer.length(np.array([leg, 4.0]) * 2.0**power), 5 * 2.0**power)


@exercise.law("the length of a v is |a| ‖v‖", st.tuples(vectors(), st.sampled_from([-4.0, -0.5, 2.0])))
def scale(answer, case):
    v, a = case
    if v.any():
        agree("the length of a v", answer.length(a * v), abs(a) * answer.length(v))


@exercise.law("for complex v, too, the square of the length is Σ v²", st.tuples(vectors(3), vectors(3)))
def complex_vectors(answer, case):
    v = 2.0**8 * np.array([3.0, 2.0, 2.0]) + case[0] + 1j * case[1]
    came = answer.length(v)
    hold(np.iscomplexobj(came), "the length of a complex vector", came, "a complex number")
    square = np.sum(v * v)
    agree("real and imaginary part of its square", [(came**2).real, (came**2).imag], [square.real, square.imag])


@exercise.law("Im ‖v + ihu‖ / h is the derivative along u: times ‖v‖ it is v · u", st.tuples(vectors(3), vectors(3)))
def along(answer, case):
    v, u = case
    if v.any():
        came = answer.length(v + 1e-200j * u)
        agree("‖v‖ times the derivative of the length along u", np.sqrt(v @ v) * np.imag(came) * 1e200, v @ u)


def moves(answer):
    """By how much the arguments differ from x, in a case of two entries."""
    x, seen = np.array([1.0, 2.0]), []

    def f(t):
        seen.append(t - x)
        return (t * t * t).sum()

    answer.gradient(f, x)
    return np.array(seen)


LARGE = "the step is too large for small x: nothing is subtracted, so h may be 1e-200."
DIFFERENCE = "this is a difference quotient, which subtracts and loses digits: move along the imaginary axis."


@exercise.symptom(LARGE)
def large(answer):
    return (abs(moves(answer).imag) > 1e-100).any()


@exercise.symptom("the entry is moved by h instead of ih.")
def real_move(answer):
    return np.iscomplexobj(moves(answer)) and not moves(answer).imag.any()


@exercise.symptom("the imaginary step gets lost: make x complex before you move an entry, with x.astype(complex).")
def lost_move(answer):
    return not np.iscomplexobj(moves(answer)) and not moves(answer).any()


@exercise.symptom(DIFFERENCE)
def difference(answer):
    return not np.iscomplexobj(moves(answer)) and len(moves(answer)) > 2


exercise.mistake(
    "the real part is taken; the derivative is in the imaginary part.", "f(moved).imag / h", "f(moved).real / h"
)
exercise.mistake("the division by h is missing.", "f(moved).imag / h", "f(moved).imag")
exercise.mistake(
    "all entries are moved at once, so each place gets the sum of the derivatives.",
    "moved[entry] += 1j * h",
    "moved += 1j * h",
)
exercise.mistake(
    "an entry stays moved when the next one is: start from x each time.",
    "    for entry in np.ndindex(x.shape):\n        moved = x.astype(complex)\n",
    "    moved = x.astype(complex)\n    for entry in np.ndindex(x.shape):\n",
)
exercise.mistake(LARGE, "np.zeros(x.shape), 1e-200", "np.zeros(x.shape), 1e-8")
exercise.mistake(LARGE, "np.zeros(x.shape), 1e-200", "np.zeros(x.shape), 1e-20")
exercise.mistake(
    DIFFERENCE,
    "        moved[entry] += 1j * h\n        slopes[entry] = f(moved).imag / h\n",
    "        h = 6e-6\n        moved = x.copy()\n        moved[entry] += h\n        above = f(moved)\n"
    "        moved[entry] -= 2 * h\n        slopes[entry] = (above - f(moved)) / (2 * h)\n",
)
exercise.mistake("the sign is flipped: add ih, and do not subtract it.", "+= 1j", "-= 1j")
exercise.mistake(
    "the result holds complex numbers: take the imaginary part.",
    "f(moved).imag / h",
    "f(moved) / h",
    "np.zeros(x.shape)",
    "np.zeros(x.shape, complex)",
)
exercise.mistake(
    "np.linalg.norm and np.abs take absolute values, and the imaginary part of the length is lost.",
    "np.sqrt(np.sum(v * v))",
    "np.linalg.norm(v)",
)
exercise.mistake(
    "v times its conjugate is |v|², which loses the imaginary part: take v * v.",
    "np.sqrt(np.sum(v * v))",
    "np.sqrt(np.sum(v * np.conj(v)))",
)
exercise.mistake("only the real part of v enters the length.", "np.sqrt(np.sum(v * v))", "np.sqrt(np.sum(v.real**2))")
exercise.mistake("the root is missing in the length: this is ‖v‖².", "np.sqrt(np.sum(v * v))", "np.sum(v * v)")
exercise.mistake(
    "the length is not the sum of the entries: it is the root of the sum of their squares.",
    "np.sqrt(np.sum(v * v))",
    "np.sum(np.sqrt(v * v))",
)
exercise.mistake(
    "one number is made for all entries together: move one entry at a time, and note what it gives.",
    "    return slopes\n",
    "    return f(x + 1j * h).imag / h\n",
)
exercise.mistake(
    "it divides by 2h: there is no difference of two values here, one is enough, and h is divided by.",
    "f(moved).imag / h",
    "f(moved).imag / (2 * h)",
)


@exercise.symptom(
    "whole rows are moved, so their entries get the sum of their derivatives: go through np.ndindex(x.shape).",
    "np.ndindex(x.shape)",
    "(range(len(x)) if x.ndim else [()])",
)
def rows_are_moved(answer):
    x, moved = np.array([[1.0, 2.0], [4.0, 8.0]]), []

    def f(t):
        moved.append(np.count_nonzero(np.asarray(t) - x))
        return (t * t).sum()

    answer.gradient(f, x)
    return moved == [2, 2]


exercise.mistake(
    "your length is the root of the mean of the squares; ‖v‖ is the root of their sum.",
    "np.sqrt(np.sum(v * v))",
    "np.sqrt(np.mean(v * v))",
)
