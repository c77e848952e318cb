"""1.6 Dual numbers

Write forward mode. A dual number carries a tangent beside its value: the derivative of the value along the direction in
which the inputs move. Each operation computes both at once, so there is no tape.

    a + b, a * b, a / b
        a, b : Dual, or one of them a float, which is a constant: `dual` makes it a Dual with the tangent 0
        returns a Dual; its tangent follows from the rules for the derivative of a sum, a product and a quotient
    jvp(f, x, v)
        f : function of n numbers, given one by one, f(x1, x2); returns one number
        x, v : lists of n floats: the inputs, and the direction in which they move
        returns (value, tangent) of f, two floats, from a single run of f
    gradient(f, x)
        returns the derivatives of f with respect to the inputs, a list of n floats, from n runs of f

For example, f(x, y) = xy + x/y has the derivatives y + 1/y and x - x/y². At (3, 2), along (1, 0) and along (1, 4):

    jvp(lambda x, y: x * y + x / y, [3.0, 2.0], [1.0, 0.0])     # (7.5, 2.5)
    jvp(lambda x, y: x * y + x / y, [3.0, 2.0], [1.0, 4.0])     # (7.5, 11.5)
    gradient(lambda x, y: x * y + x / y, [3.0, 2.0])            # [2.5, 2.25]
"""


class Dual:
    """A number and its tangent."""

    def __init__(self, value, tangent=0.0):
        self.value, self.tangent = value, tangent

    def __add__(self, other):
        other = dual(other)
        # solution
        return Dual(self.value + other.value, self.tangent + other.tangent)
        # end of solution

    def __mul__(self, other):
        other = dual(other)
        # solution
        return Dual(self.value * other.value, self.tangent * other.value + self.value * other.tangent)
        # end of solution

    def __truediv__(self, other):
        other = dual(other)
        # solution
        value = self.value / other.value
        return Dual(value, (self.tangent - value * other.tangent) / other.value)
        # end of solution

    __radd__, __rmul__ = __add__, __mul__

    def __rtruediv__(self, other):
        return dual(other) / self


def dual(x):
    """x as a Dual: a plain number is a constant, whose tangent is 0."""
    return x if isinstance(x, Dual) else Dual(x)


def jvp(f, x, v):
    """The value of f at x, and its derivative along v."""
    # solution
    result = dual(f(*map(Dual, x, v)))
    return result.value, result.tangent
    # end of solution


def gradient(f, x):
    """The derivatives of f at x with respect to each input."""
    # solution
    return [jvp(f, x, [float(i == j) for j in range(len(x))])[1] for i in range(len(x))]
    # end of solution


# %% Laws

from hypothesis import strategies as st

from lessons.exercises import Exercise, agree, hold
from lessons.exercises.cases import NUMBERS, POSITIVE, Program, programs

exercise = Exercise(
    __file__,
    "lesson 01, part 2",
    hints=[
        "The tangents are derivatives: (a + b)' = a' + b', (ab)' = a'b + ab', (a/b)' = (a'b - ab')/b². Read a' as "
        "`self.tangent` and b' as `other.tangent`.",
        "jvp: make a Dual of each input with its entry of v as tangent, call f with them, read value and tangent of "
        "the result.",
        "gradient: the derivative with respect to input i is the one along the direction that has a 1 in place i and "
        "0 elsewhere. That takes one run for each i.",
    ],
)

ONE = {sign: Program(2, [(sign, 0, 1)]) for sign in "+·/"}
POINTS = st.tuples(st.sampled_from([3.0, -1.5, 4.0, 0.0]), st.sampled_from([5.0, 2.0, -2.5])).map(list)
DIRECTIONS = st.tuples(st.sampled_from([7.0, -0.5, 1.0, 0.0]), st.sampled_from([11.0, 1.5, 1.0, 0.0])).map(list)


def along(program, x, v):
    return sum(slope * move for slope, move in zip(program.slopes(*x), v, strict=True))


def tangent_of(answer, sign, x, v):
    agree("the tangent", answer.jvp(ONE[sign], x, v)[1], along(ONE[sign], x, v))


@st.composite
def with_direction(draw, signs):
    program, x = draw(programs(signs))
    return program, x, draw(st.lists(NUMBERS, min_size=len(x), max_size=len(x)))


@exercise.law("jvp returns two numbers, and gradient one for each input", programs("+·", most_steps=1))
def kinds(answer, case):
    program, x = case
    came = answer.jvp(program, x, [1.0] * len(x))
    hold(isinstance(came, (tuple, list)) and len(came) == 2, "what jvp returns", type(came), "a pair (value, tangent)")
    for part, number in zip(("value", "tangent"), came, strict=True):
        hold(isinstance(number, (int, float)), f"the {part} that jvp returns", f"a {type(number).__name__}", "a number")
    gradient = answer.gradient(program, x)
    hold(not isinstance(gradient, (int, float)), "what gradient returns", gradient, "a list")
    hold(len(gradient) == len(x), "how many derivatives gradient returns", len(gradient), len(x))


@exercise.law("values are those that plain numbers have", programs("+·/", most_steps=2))
def values(answer, case):
    program, x = case
    agree("the value", answer.jvp(program, x, [1.0] * len(x))[0], program(*x))


@exercise.law("the tangent of a sum is the sum of the tangents", st.tuples(POINTS, DIRECTIONS))
def sums(answer, case):
    tangent_of(answer, "+", *case)


@exercise.law("the tangent of a product is a'b + ab'", st.tuples(POINTS, DIRECTIONS))
def products(answer, case):
    tangent_of(answer, "·", *case)


@exercise.law("the tangent of a quotient q = a/b is such that q'b + qb' = a'", st.tuples(POINTS, DIRECTIONS))
def quotients(answer, case):
    tangent_of(answer, "/", *case)


@exercise.law(
    "a constant does not move",
    st.tuples(st.sampled_from([Program(1, [(sign, (5.0,), 0)]) for sign in "+·/"]), POSITIVE, NUMBERS),
)
def constants(answer, case):
    program, x, v = case
    agree("the tangent", answer.jvp(program, [x], [v])[1], along(program, [x], [v]))


@exercise.law("every program has the tangent that the complex step finds", with_direction("+·/"), examples=60)
def whole_programs(answer, case):
    program, x, v = case
    value, tangent = answer.jvp(program, x, v)
    agree("the value", value, program(*x))
    agree("the tangent", tangent, along(program, x, v))


@exercise.law("every program has the gradient that the complex step finds", programs("+·/"), examples=60)
def gradients(answer, case):
    program, x = case
    agree("the gradient", answer.gradient(program, x), program.slopes(*x))


exercise.mistake(
    "the tangent of a product is not the product of the tangents: it is a'b + ab'.",
    "self.tangent * other.value + self.value * other.tangent",
    "self.tangent * other.tangent",
)
exercise.mistake(
    "the tangent of a quotient has a plus where a minus belongs.",
    "self.tangent - value * other.tangent",
    "self.tangent + value * other.tangent",
)
exercise.mistake(
    "the tangent of a quotient is not the quotient of the tangents.",
    "(self.tangent - value * other.tangent) / other.value",
    "self.tangent / other.tangent if other.tangent else 0.0",
)
exercise.mistake(
    "the tangent of a quotient is divided by b where b² belongs.",
    "(self.tangent - value * other.tangent) / other.value",
    "(self.tangent * other.value - self.value * other.tangent) / other.value",
)
exercise.mistake(
    "the division by b² is missing in the tangent of a quotient.",
    "(self.tangent - value * other.tangent) / other.value",
    "self.tangent * other.value - self.value * other.tangent",
)
exercise.mistake(
    "the tangent of a quotient has the wrong sign: a'b comes first, ab' is subtracted.",
    "(self.tangent - value * other.tangent)",
    "(value * other.tangent - self.tangent)",
)
exercise.mistake(
    "the tangent of a quotient lacks the part in which b moves.",
    "(self.tangent - value * other.tangent)",
    "self.tangent",
)
exercise.mistake(
    "the tangent of a product lacks a term: both factors move.",
    "self.tangent * other.value + self.value * other.tangent",
    "self.tangent * other.value",
)
exercise.mistake(
    "the tangent of a product has its factors exchanged: a' goes with b, and b' with a.",
    "self.tangent * other.value + self.value * other.tangent",
    "self.tangent * self.value + other.value * other.tangent",
)
exercise.mistake("in the tangent of a sum one tangent is missing.", "self.tangent + other.tangent", "self.tangent")
exercise.mistake(
    "the tangents of a sum are multiplied; they add up.", "self.tangent + other.tangent", "self.tangent * other.tangent"
)
exercise.mistake("the direction v is not used: it gives the inputs their tangents.", "map(Dual, x, v)", "map(Dual, x)")
exercise.mistake(
    "every input gets the tangent 1; the direction v says how each of them moves.",
    "map(Dual, x, v)",
    "(Dual(value, 1.0) for value in x)",
)
exercise.mistake(
    "in `gradient` all inputs move at once: give a tangent of 1 to one of them in each run.",
    "float(i == j) for j",
    "1.0 for j",
)
exercise.mistake("`gradient` returns the values of f, not the tangents.", "len(x))])[1] for", "len(x))])[0] for")
exercise.mistake(
    "`gradient` returns pairs: of each run it is the tangent alone that is wanted.", "len(x))])[1] for", "len(x))]) for"
)
exercise.mistake(
    "jvp returns the tangent first; the value comes first.",
    "return result.value, result.tangent",
    "return result.tangent, result.value",
    "len(x))])[1] for",
    "len(x))])[0] for",
)


@exercise.symptom(
    "the tangent of a quotient a/b is divided by a² where b² belongs.",
    "(self.tangent - value * other.tangent) / other.value",
    "(self.tangent * other.value - self.value * other.tangent) / self.value**2",
)
def other_square(answer):
    return abs(answer.jvp(ONE["/"], [3.0, 5.0], [7.0, 11.0])[1] - (7.0 * 5.0 - 3.0 * 11.0) / 3.0**2) < 1e-9


exercise.mistake(
    "in `gradient` the earlier inputs still move: each run has a single 1 in its direction.",
    "float(i == j)",
    "float(j <= i)",
)
exercise.mistake(
    "in `gradient` an input moves by its own value: the direction of each run has a 1, whatever x is.",
    "float(i == j) for j",
    "x[i] * (i == j) for j",
)
exercise.mistake(
    "plain numbers get the tangent 1: a constant does not move, and its tangent is 0.",
    "isinstance(x, Dual) else Dual(x)",
    "isinstance(x, Dual) else Dual(x, 1.0)",
)
