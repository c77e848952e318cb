"""2.5 A gradient checker

Write a check that says which entries of a claimed gradient are wrong. It compares each with the central difference
D₀(h), with a step of h = ε^(1/3) = 6e-6, and gives each entry a tolerance of its own (lesson 02, part 2):

    tolerance = 1e-6 |D₀(h)| + |D₀(2h) - D₀(h)| + 10 rounding(f, x) / h

The first part follows the size of the entry, the second is an estimate of truncation, the third of rounding. An entry
is wrong if it is further than this from D₀(h), on either side, or is not a number (nan).

    differences(f, x, h)
        f : function of an array of the shape of x; returns a number
        x : array of float64; it stays as it is
        h : float, the step
        returns D₀(h) = (f(x + h eᵢ) - f(x - h eᵢ)) / 2h for each entry i, an array of the shape of x
    wrong_entries(f, x, claimed)
        claimed : array of the shape of x, what somebody says is the gradient of f at x
        returns an array of bool, of the shape of x: True where `claimed` is wrong

`rounding(f, x)`, which measures by how much rounding moves f(x), is complete. For example, the gradient of Σ sin x is
cos x:

    x = np.array([0.0, 1.0])
    wrong_entries(lambda x: np.sum(np.sin(x)), x, np.cos(x))                # [False, False]
    wrong_entries(lambda x: np.sum(np.sin(x)), x, np.array([-1.0, 0.54]))   # [True, True]
"""

import numpy as np

STEP = np.finfo(float).eps ** (1 / 3)


def rounding(f, x):
    """How far rounding moves f(x): six tiny steps there and back; at least ε|f|."""
    moves = 2**24 * np.finfo(float).eps * x * np.random.default_rng(0).uniform(-1, 1, (6, *x.shape))
    return max(np.finfo(float).eps * abs(f(x)), *(abs(f(x + d) - 2 * f(x) + f(x - d)) for d in moves))


def differences(f, x, h):
    """The central difference of the number f(x) for each entry of x."""
    # solution
    slopes = np.zeros(x.shape)
    for entry in np.ndindex(x.shape):
        move = np.zeros(x.shape)
        move[entry] = h
        slopes[entry] = (f(x + move) - f(x - move)) / (2 * h)
    return slopes
    # end of solution


def wrong_entries(f, x, claimed):
    """True for each entry of the claimed gradient that differs from D₀ by more than its tolerance."""
    # solution
    slopes = differences(f, x, STEP)
    truncation = abs(differences(f, x, 2 * STEP) - slopes)
    tolerance = 1e-6 * abs(slopes) + truncation + 10 * rounding(f, x) / STEP
    return ~(abs(claimed - slopes) <= tolerance)
    # end of solution


# %% Laws

from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from lessons.exercises import Exercise, agree, hold
from lessons.exercises.cases import vectors

exercise = Exercise(
    __file__,
    "lesson 02, part 2",
    hints=[
        "differences: for each entry make an array of zeros with h in that place, `move`, and evaluate f at x + move "
        "and at x - move. `for entry in np.ndindex(x.shape)` works for any shape.",
        "wrong_entries: all three parts of the tolerance are arrays of the shape of x, or numbers. Truncation comes "
        "from a second call of differences, with twice the step.",
        "Compare |claimed - D₀(h)| with the tolerance. A comparison with nan is never true, so ask which entries are "
        "within the tolerance, and return all others.",
    ],
)


class Waves:
    """s Σ cᵢ sin(k xᵢ) + shift: its gradient is s k cᵢ cos(k xᵢ)."""

    def __init__(self, factors, size=1.0, speed=1, shift=0.0):
        self.factors, self.size, self.speed, self.shift = np.asarray(factors), size, speed, shift
        self.__name__ = (
            f"{size:g} * sum(c * sin({speed} x)){f' + {shift:g}' if shift else ''}, c = {shown_list(factors)}"
        )

    def __call__(self, x):
        return float(self.size * np.sum(self.factors * np.sin(self.speed * x)) + self.shift)

    def slopes(self, x):
        return self.size * self.speed * self.factors * np.cos(self.speed * x)


def shown_list(factors):
    return np.array2string(np.asarray(factors), precision=3, separator=", ").replace("\n", "")


class Cancelling:
    """Σ ((x + 5e7) - 5e7)²: large terms cancel, and rounding is large."""

    __name__ = "sum(((x + 5e7) - 5e7) ** 2)"

    def __call__(self, x):
        return float(np.sum(((x + 5e7) - 5e7) ** 2))


PLACES = st.integers(8, 16).map(lambda k: k / 16)  # from 0.5 to 1, where no sine or cosine is near 0
ONE = st.just(1)
SCALES = st.sampled_from([2.0**-30, 2.0**30])


@st.composite
def cases(draw, sizes=ONE, speeds=ONE, shift=0.0, several=True):
    """(f, x): factors of which some are a thousand or a million times smaller than others, if so wanted."""
    shape = draw(st.lists(st.integers(1, 3), min_size=1, max_size=2).map(tuple))
    factors = draw(
        arrays(float, shape, elements=st.sampled_from([1.0, -1.0, 2.0**-10, 2.0**-22] if several else [1.0, -1.0]))
    )
    factors.flat[0] = np.sign(factors.flat[0])
    return Waves(factors, draw(sizes), draw(speeds), shift), draw(arrays(float, shape, elements=PLACES))


def flags(answer, f, x, claimed, wanted):
    came = answer.wrong_entries(f, x, claimed)
    hold(np.array_equal(came, wanted), "which entries are wrong", came, wanted)


def silent(answer, f, x, claimed):
    flags(answer, f, x, claimed, np.zeros(x.shape, bool))


def finds(answer, f, x, place, factor):
    claimed, wanted = f.slopes(x), np.zeros(x.shape, bool)
    claimed.flat[place % x.size] *= factor
    wanted.flat[place % x.size] = True
    flags(answer, f, x, claimed, wanted)


FACTORS = st.sampled_from([2.0, 0.0, -1.0])


@exercise.law("differences and verdicts have the shape of x, and verdicts are True or False", cases(), examples=20)
def shapes(answer, case):
    f, x = case
    came = answer.differences(f, x, 1e-5)
    hold(np.shape(came) == x.shape, "the shape of the differences", np.shape(came), x.shape)
    came = answer.wrong_entries(f, x, f.slopes(x))
    hold(np.shape(came) == x.shape, "the shape of the verdicts", np.shape(came), x.shape)
    hold(np.asarray(came).dtype == bool, "the dtype of the verdicts", np.asarray(came).dtype, "bool")


@exercise.law("x stays as it was", cases(), examples=20)
def untouched(answer, case):
    f, x = case
    before = x.copy()
    for factor in (1, -3):
        answer.wrong_entries(f, x, factor * f.slopes(x))
    agree("x afterwards", x, before, rtol=0.0, atol=0.0)


@exercise.law(
    "of a quadratic form the central difference is exact, with any step",
    st.tuples(st.integers(1, 3).flatmap(lambda n: st.tuples(vectors(n), vectors(n))), st.sampled_from([0.5, 1.0, 2.0])),
    examples=20,
)
def quadratic(answer, case):
    (c, x), h = case

    def form(x):
        return float(np.sum(c * x * x))

    form.__name__ = f"sum(c * x ** 2), c = {shown_list(c)}"
    agree("the differences", answer.differences(form, x, h), 2 * c * x)


@exercise.law(
    "the difference of x³ is too large by h², with step h",
    st.tuples(vectors(), st.sampled_from([0.5, 1.0])),
    examples=20,
)
def cubic(answer, case):
    x, h = case

    def cubes(x):
        return float(np.sum(x**3))

    cubes.__name__ = "sum(x ** 3)"
    agree("the differences", answer.differences(cubes, x, h), 3 * x**2 + h**2)


@exercise.law("a right gradient raises no alarm", cases(), examples=20)
def right(answer, case):
    f, x = case
    silent(answer, f, x, f.slopes(x))


@exercise.law(
    "an entry that is wrong is found, and no other", st.tuples(cases(several=False), st.integers(0, 8), FACTORS)
)
def one_wrong(answer, case):
    (f, x), place, factor = case
    finds(answer, f, x, place, factor)


@exercise.law(
    "an entry that is too large, or too small, by 0.01 % is found",
    st.tuples(cases(several=False), st.integers(0, 8), st.sampled_from([1.0001, 0.9999])),
    examples=20,
)
def slightly_wrong(answer, case):
    (f, x), place, factor = case
    finds(answer, f, x, place, factor)


@exercise.law(
    "a wrong entry is found, however small f is",
    st.tuples(cases(SCALES, several=False), st.integers(0, 8), FACTORS),
    examples=20,
)
def at_every_scale(answer, case):
    (f, x), place, factor = case
    finds(answer, f, x, place, factor)


@exercise.law("a right gradient raises no alarm, however large f is", cases(SCALES), examples=20)
def right_at_every_scale(answer, case):
    f, x = case
    silent(answer, f, x, f.slopes(x))


@exercise.law(
    "a wrong entry is found beside entries a million times as large", st.tuples(cases(), st.integers(0, 8), FACTORS)
)
def beside_large_ones(answer, case):
    (f, x), place, factor = case
    finds(answer, f, x, place, factor)


@exercise.law(
    "a right gradient raises no alarm where f varies quickly", cases(speeds=st.sampled_from([300, 1000])), examples=20
)
def quick(answer, case):
    f, x = case
    silent(answer, f, x, f.slopes(x))


@exercise.law(
    "a right gradient raises no alarm where f is large and its gradient small",
    st.tuples(st.sampled_from([1e4, 1e5]), vectors(elements=PLACES)),
    examples=20,
)
def beside_a_constant(answer, case):
    shift, x = case
    f = Waves(np.ones(len(x)), shift=shift)
    silent(answer, f, x, f.slopes(x))


@exercise.law("a right gradient raises no alarm where large terms cancel", vectors(elements=PLACES), examples=20)
def cancelling(answer, x):
    silent(answer, Cancelling(), x, 2 * x)


@exercise.law("an entry that is nan is wrong", st.tuples(cases(several=False), st.integers(0, 8)), examples=20)
def not_a_number(answer, case):
    (f, x), place = case
    finds(answer, f, x, place, np.nan)


TOLERANCE = "tolerance = 1e-6 * abs(slopes) + truncation + 10 * rounding(f, x) / STEP"
exercise.mistake("the verdicts are turned around: True means wrong.", "~(abs", "(abs")
exercise.mistake("the difference is divided by h where 2h belongs.", "/ (2 * h)", "/ h")
exercise.mistake(
    "this is the forward quotient; the central one is (f(x + h) - f(x - h)) / 2h.",
    "(f(x + move) - f(x - move)) / (2 * h)",
    "(f(x + move) - f(x)) / h",
)
exercise.mistake(
    "the argument h is not used: differences takes a step of its own.", "move[entry] = h", "h = move[entry] = STEP"
)
exercise.mistake(
    "all entries are moved at once; each difference moves one of them.",
    "move[entry] = h",
    "move[...] = h",
)
exercise.mistake(
    "an entry stays moved when the next one is: begin with zeros for each.",
    "    for entry in np.ndindex(x.shape):\n        move = np.zeros(x.shape)\n",
    "    move = np.zeros(x.shape)\n    for entry in np.ndindex(x.shape):\n",
)
exercise.mistake("the sign of the difference is flipped.", "f(x + move) - f(x - move)", "f(x - move) - f(x + move)")
exercise.mistake(
    "the tolerance is absolute: it lets small entries pass, and stops large ones.", TOLERANCE, "tolerance = 1e-6"
)
exercise.mistake(
    "the tolerance is absolute: it lets small entries pass, and stops large ones.", "1e-6 * abs(slopes) +", "1e-6 +"
)
for size in ("abs(slopes).max()", "np.linalg.norm(slopes)"):
    exercise.mistake(
        "one tolerance is made for all entries, from the largest or from the length of the gradient: a wrong small "
        "entry hides behind large ones.",
        "1e-6 * abs(slopes) +",
        f"1e-6 * {size} +",
    )
exercise.mistake("truncation is missing in the tolerance.", "abs(slopes) + truncation +", "abs(slopes) +")
exercise.mistake("rounding is missing in the tolerance, or not divided by h.", " + 10 * rounding(f, x) / STEP", "")
exercise.mistake(
    "truncation and rounding are missing in the tolerance.", " + truncation + 10 * rounding(f, x) / STEP", ""
)
exercise.mistake(
    "truncation has a sign, and may make the tolerance negative: take its absolute value.",
    "abs(differences(f, x, 2 * STEP) - slopes)",
    "(differences(f, x, 2 * STEP) - slopes)",
)
exercise.mistake(
    "the size of an entry has a sign, and may make the tolerance negative: take |D₀|.",
    "1e-6 * abs(slopes)",
    "1e-6 * slopes",
)
exercise.mistake(
    "only entries that are too large raise an alarm: take the absolute value of the difference.",
    "abs(claimed - slopes)",
    "(claimed - slopes)",
)
exercise.mistake(
    "only entries that are too small raise an alarm: take the absolute value of the difference.",
    "abs(claimed - slopes)",
    "(slopes - claimed)",
)
exercise.mistake(
    "nan passes: no comparison with it is true.",
    "~(abs(claimed - slopes) <= tolerance)",
    "abs(claimed - slopes) > tolerance",
)
exercise.mistake(
    "the tolerance follows the claimed entry; D₀ is what can be trusted.", "1e-6 * abs(slopes)", "1e-3 * abs(claimed)"
)
exercise.mistake(
    "one verdict is given for the whole gradient; each entry has its own.",
    "return ~(abs(claimed - slopes) <= tolerance)",
    "return np.full(x.shape, not (abs(claimed - slopes) <= tolerance).all())",
)
exercise.mistake(
    "np.isclose and np.allclose add an absolute tolerance of 1e-8, which lets small entries pass.",
    "~(abs(claimed - slopes) <= tolerance)",
    "~np.isclose(claimed, slopes, rtol=1e-6)",
)
exercise.mistake(
    "truncation is estimated with half the step, where it is four times too small: take the double one.",
    "2 * STEP",
    "STEP / 2",
)
