"""7.4 How fast gradients grow

After equations 5 and 6 the pre-activations of a wide layer are standard normal numbers z. On the way back each layer
then multiplies the root mean square of the gradient by √χ, where χ is the mean of φ'(z)² divided by the variance of
φ(z). Compute √χ for any nonlinearity, to three digits (0.5 %): for example with sums over a grid of values of z, each
weighted with the density of z. (φ and φ' grow no faster than z³. Random numbers would be too coarse.)

    growth(phi, slope)
        phi : function φ, from an array of any shape to one of the same shape
        slope : function φ', the same
        returns √χ, a number

For example, φ(z) = z² has φ'(z) = 2 z. The mean of 4 z² is 4, the variance of z² is 2, so χ = 2:

    growth(lambda z: z**2, lambda z: 2 * z)     # 1.414
"""

import numpy as np


def growth(phi, slope):
    """√χ, the factor by which the gradient's root mean square grows per layer."""
    # solution
    z = np.linspace(-12, 12, 4001)
    density = np.exp(-(z**2) / 2)
    density = density / density.sum()
    variance = density @ phi(z) ** 2 - (density @ phi(z)) ** 2
    return np.sqrt(density @ slope(z) ** 2 / variance)
    # end of solution


# %% Laws

from hypothesis import strategies as st

from lessons.exercises import Exercise, agree, numbers
from lessons.exercises.cases import NUMBERS, POSITIVE

exercise = Exercise(
    __file__,
    "lesson 07, part 4",
    hints=[
        "The mean of f(z) is the sum of f(z) times the density of z over a fine grid, say from -9 to 9. The weights "
        "have to add up to 1.",
        "The density of a standard normal number is proportional to exp(-z²/2): divide it by its sum over the grid.",
        "The variance of φ is the mean of φ(z)² minus the square of the mean of φ(z). Take the root at the end.",
    ],
)


def polynomial(c):
    """(φ, φ') for c₀ + c₁ z + c₂ (z² - 1) + c₃ (z³ - 3 z), which print as such."""
    terms = [
        f"{factor:g}{name}" for factor, name in zip(c, ("", " z", " (z² - 1)", " (z³ - 3z)"), strict=True) if factor
    ]

    def phi(z):
        return c[0] + c[1] * z + c[2] * (z * z - 1) + c[3] * (z * (z * z - 3))

    def slope(z):
        return c[1] + 2 * c[2] * z + c[3] * (3 * z * z - 3)

    phi.__name__, slope.__name__ = f"φ = {' + '.join(terms) or '0'}", "φ'"
    return phi, slope


def named(name, phi, slope):
    phi.__name__, slope.__name__ = f"φ = {name}", "φ'"
    return phi, slope


# Hermite polynomials are orthogonal under the normal density, z² - 1 with the mean square 2, z³ - 3z with 6. The slope
# of each is a multiple of the one before it. So a sum of them has the variance Σ k! c², and Σ k k! c² for its slope.

SMALL = st.integers(-4, 4).map(lambda k: k / 2)
lines = st.tuples(NUMBERS, POSITIVE)
coefficients = st.tuples(SMALL, SMALL, SMALL, SMALL).filter(lambda c: any(c[1:]))
TOLERANCE = 5e-3  # half a unit of the third digit


@exercise.law("it is a number", lines, examples=3)
def kind(answer, case):
    numbers("what is returned", answer.growth(*polynomial((*case, 0.0, 0.0))), ())


@exercise.law("a straight line, a + b z, keeps gradients as they are", lines, examples=8)
def straight(answer, case):
    agree("√χ", answer.growth(*polynomial((*case, 0.0, 0.0))), 1.0, rtol=TOLERANCE)


@exercise.law("for a sum of Hermite polynomials χ is Σ k k! c² / Σ k! c², from k = 1 on", coefficients, examples=10)
def hermite(answer, c):
    chi = (c[1] ** 2 + 4 * c[2] ** 2 + 18 * c[3] ** 2) / (c[1] ** 2 + 2 * c[2] ** 2 + 6 * c[3] ** 2)
    agree("√χ", answer.growth(*polynomial(c)), np.sqrt(chi), rtol=TOLERANCE)


@exercise.law("ReLU: √(π/(π - 1)); sin z: 1/√tanh 1")
def known(answer):
    relu = named("max(z, 0)", lambda z: np.maximum(z, 0), lambda z: np.where(np.asarray(z) > 0, 1.0, 0.0))
    agree("√χ of the ReLU", answer.growth(*relu), np.sqrt(np.pi / (np.pi - 1)), rtol=TOLERANCE)
    # the mean of cos 2z is e⁻², so those of cos² z and sin² z are (1 ± e⁻²)/2
    sine = named("sin z", lambda z: np.sin(z), lambda z: np.cos(z))
    agree("√χ of sin z", answer.growth(*sine), 1 / np.sqrt(np.tanh(1)), rtol=TOLERANCE)


@exercise.law("a φ + b grows as φ does", st.tuples(POSITIVE, SMALL, coefficients), examples=8)
def scaled(answer, case):
    a, b, c = case
    stretched = (a * c[0] + b, *(a * factor for factor in c[1:]))
    agree("√χ", answer.growth(*polynomial(stretched)), answer.growth(*polynomial(c)), rtol=2 * TOLERANCE)


# Two answers on two grids agree to a few digits only, so mistakes are told by what they give for the probe
# φ = 1 + 3z + z², whose slope is 3 + 2z: means 2 of φ, 15 of φ², 3 of φ', 13 of φ'². (With exp(-z²) as the density,
# which makes the variance of z 1/2: 1.5, 7.25, 3 and 11.)

SQUARE, VARIANCE = "density @ slope(z) ** 2", "density @ phi(z) ** 2 - (density @ phi(z)) ** 2"
RETURN = f"np.sqrt({SQUARE} / variance)"
KNOWN = [  # cause, what it makes of the probe, old, new
    ("that is χ; the root mean square grows by its root.", 13 / 11, RETURN, f"{SQUARE} / variance"),
    (
        "the mean of φ² stands where its variance belongs: subtract the square of the mean.",
        np.sqrt(13 / 15),
        VARIANCE,
        "density @ phi(z) ** 2",
    ),
    ("that is 1/√χ: the slopes belong in the numerator.", np.sqrt(11 / 13), RETURN, f"np.sqrt(variance / ({SQUARE}))"),
    (
        "that is 1/χ: the slopes belong in the numerator, and the root is missing.",
        11 / 13,
        RETURN,
        f"variance / ({SQUARE})",
    ),
    (
        "the mean of φ² stands where its variance belongs, and the root is missing.",
        13 / 15,
        RETURN,
        f"{SQUARE} / (density @ phi(z) ** 2)",
    ),
    ("the mean of φ is subtracted without being squared.", 1.0, VARIANCE, "density @ phi(z) ** 2 - density @ phi(z)"),
    (
        "the mean of the slopes is squared; take the mean of their squares.",
        np.sqrt(9 / 11),
        RETURN,
        "np.sqrt((density @ slope(z)) ** 2 / variance)",
    ),
    (
        "the mean of the slopes is squared; take the mean of their squares.",
        9 / 11,
        RETURN,
        "(density @ slope(z)) ** 2 / variance",
    ),
    ("the slopes are not squared.", np.sqrt(3 / 11), RETURN, "np.sqrt(density @ slope(z) / variance)"),
    (
        "the variance of φ' stands where the mean of its square belongs.",
        np.sqrt(4 / 11),
        RETURN,
        f"np.sqrt(({SQUARE} - (density @ slope(z)) ** 2) / variance)",
    ),
    (
        "the standard deviation of φ stands where its variance belongs.",
        np.sqrt(13 / np.sqrt(11)),
        RETURN,
        f"np.sqrt({SQUARE} / np.sqrt(variance))",
    ),
    ("the root is taken of the numerator only.", np.sqrt(13) / 11, RETURN, f"np.sqrt({SQUARE}) / variance"),
    ("the root is taken of the denominator only.", 13 / np.sqrt(11), RETURN, f"{SQUARE} / np.sqrt(variance)"),
    ("the variance of φ is missing.", np.sqrt(13), RETURN, f"np.sqrt({SQUARE})"),
    (
        "it multiplies by the variance of φ instead of dividing by it.",
        np.sqrt(143),
        RETURN,
        f"np.sqrt({SQUARE} * variance)",
    ),
    (
        "exp(-z²) is not the density of a standard normal number: its exponent is -z²/2.",
        np.sqrt(11 / 5),
        "-(z**2) / 2",
        "-(z**2)",
    ),
]


def of_probe(answer):
    return float(answer.growth(lambda z: 1 + 3 * z + z**2, lambda z: 3 + 2 * z))


def of_line(answer, shift=0):
    return float(answer.growth(lambda z: z + shift, lambda z: np.ones_like(z)))


def gives(value):
    return lambda answer: abs(of_probe(answer) / value - 1) < TOLERANCE


for cause, value, *change in KNOWN:
    exercise.mistake(cause, *change)
    exercise.symptom(cause)(gives(value))


def unknown(answer):
    return not any(gives(value)(answer) for _, value, *_ in KNOWN)


NOT_ONE = "the weights of your grid do not add up to 1: divide the density by its sum, or multiply it by the step."
exercise.mistake(NOT_ONE, "    density = density / density.sum()\n", "")


@exercise.symptom(NOT_ONE)
def weights_not_one(answer):
    return unknown(answer) and abs(of_line(answer) - 1) < TOLERANCE and not abs(of_line(answer, 1) - 1) < TOLERANCE


EVERYWHERE = "every value of z on your grid counts the same: weight them with the density of a standard normal number."
exercise.mistake(EVERYWHERE, "np.exp(-(z**2) / 2)", "np.ones_like(z)")


@exercise.symptom(EVERYWHERE)
def uniform(answer):
    return unknown(answer) and of_line(answer) < 0.9


NARROW = "the grid ends too early: φ² may grow as z⁶, and counts far out."
exercise.mistake(NARROW, "-12, 12, 4001", "-3, 3, 4001")


@exercise.symptom(NARROW)
def too_narrow(answer):
    return unknown(answer) and 1 + TOLERANCE < of_line(answer) < 2 and not is_random(answer)


def is_random(answer):
    """A grid treats z and -z alike."""
    mirrored = float(answer.growth(lambda z: 1 - 3 * z + z**2, lambda z: 2 * z - 3))
    return abs(of_probe(answer) - mirrored) > 1e-4


@exercise.symptom("a mean over random numbers is too coarse for three digits: use a grid.")
def random_numbers(answer):
    return unknown(answer) and abs(of_line(answer) - 1) < 0.2 and is_random(answer)
