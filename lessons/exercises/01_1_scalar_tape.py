"""1.1 A tape for single numbers

Write reverse mode for single numbers, with addition, multiplication and powers. A `Number` holds its value and the
steps to it: pairs (input, slope), where the slope is the derivative of this number with respect to that input. Every
new Number goes on the tape.

    a + b, a * b
        a : Number
        b : Number, or a float: a constant, to which no step leads
        returns a Number
    a ** n
        n : int, at least 1; a constant
        returns a Number
    go_back(result)
        result : Number on the tape
        sets the `gradient` of every number on the tape to the derivative of the result with respect to it: 1.0 for the
        result itself, 0.0 where the result does not depend on it. Called once more, it starts afresh.

`run`, at the end, is complete. It computes functions and goes back from the result of each. For example, at (2, 3)
f(x, y) = xy + x² is 10, and has the derivatives y + 2x = 7 and x = 2:

    run([lambda x, y: x * y + x**2], 2.0, 3.0)     # [(10.0, [7.0, 2.0])]
"""

tape = []


class Number:
    """A number that notes the steps to it: pairs (input, slope with respect to it)."""

    def __init__(self, value, *steps):
        self.value, self.steps = value, steps
        self.gradient = 0.0  # to be: the derivative of the result with respect to this number
        tape.append(self)

    def __add__(self, other):
        # solution
        if isinstance(other, Number):
            return Number(self.value + other.value, (self, 1.0), (other, 1.0))
        return Number(self.value + other, (self, 1.0))
        # end of solution

    def __mul__(self, other):
        # solution
        if isinstance(other, Number):
            return Number(self.value * other.value, (self, other.value), (other, self.value))
        return Number(self.value * other, (self, other))
        # end of solution

    def __pow__(self, n):
        # solution
        return Number(self.value**n, (self, n * self.value ** (n - 1)))
        # end of solution

    __radd__, __rmul__ = __add__, __mul__  # so that 2 + x and 2 * x work, too


def go_back(result):
    """Leave in the `gradient` of each number on the tape the derivative of the result with respect to it."""
    # solution
    for number in tape:
        number.gradient = 0.0
    result.gradient = 1.0
    for number in reversed(tape):
        for source, slope in number.steps:
            source.gradient += slope * number.gradient
    # end of solution


def run(functions, *inputs):
    """For each function its value, and its derivatives with respect to the inputs."""
    tape.clear()
    numbers, found = [Number(value) for value in inputs], []
    for function in functions:
        result = function(*numbers)
        go_back(result)
        found.append((result.value, [number.gradient for number in numbers]))
    return found


# %% Laws

from hypothesis import strategies as st

from lessons.exercises import Exercise, agree, hold
from lessons.exercises.cases import Program, programs

exercise = Exercise(
    __file__,
    "lesson 01, part 2",
    hints=[
        "Each operation returns `Number(value, (input, slope), …)` with a pair for each input that is a Number. What "
        "is the slope of a · b with respect to a?",
        "go_back: set all gradients to 0 and that of the result to 1, then go from the youngest number to the oldest.",
        "Each number hands `slope * number.gradient` to each of its inputs, and an input that is used twice gets two "
        "such shares.",
    ],
)


X, Y = st.sampled_from([3.0, -1.5, 4.0, 0.0]), st.sampled_from([5.0, 2.0, -2.5, 0.0])  # unlike each other
SINGLE = st.sampled_from([Program(2, [(sign, 0, 1)]) for sign in "+·"])
WITH_CONSTANT = st.sampled_from(
    [Program(1, [(sign, *operands)]) for sign in "+·" for operands in [(0, (7.0,)), ((7.0,), 0)]]
)
POWER = st.integers(1, 4).map(lambda n: Program(1, [("**", 0, (n,))]))
SHARED = st.sampled_from([Program(1, [("+", 0, 0)]), Program(1, [("·", 0, 0)]), Program(1, [("·", 0, 0), ("+", 1, 0)])])
DISTANT = st.sampled_from(  # x is used early, and again late
    [Program(2, [("·", 0, 1), ("·", 2, 0)]), Program(2, [("·", 0, 0), ("·", 2, 2), ("+", 3, 0)])]
)


def slopes(answer, program, point):
    return answer.run([program], *point)[0][1]


@exercise.law("values and derivatives are numbers", st.tuples(SINGLE, X, Y))
def numbers_come(answer, case):
    program, *point = case
    ((value, gradient),) = answer.run([program], *point)
    for number in (value, *gradient):
        hold(isinstance(number, (int, float)), "a value or a derivative", f"a {type(number).__name__}", "a number")


@exercise.law("values are those that plain numbers have", programs(["+", "·", "**"], most_steps=2))
def values(answer, case):
    program, point = case
    agree("the value", answer.run([program], *point)[0][0], program(*point))


@exercise.law("the slopes of a + b are 1 and 1, those of a · b are b and a", st.tuples(SINGLE, X, Y))
def one_operation(answer, case):
    program, *point = case
    agree("the derivatives", slopes(answer, program, point), program.slopes(*point))


@exercise.law("a plain number is a constant", st.tuples(WITH_CONSTANT, X))
def constants(answer, case):
    program, x = case
    agree("the derivative", slopes(answer, program, [x]), program.slopes(x))


@exercise.law("the derivative of xⁿ is n times that of a product with n - 1 factors", st.tuples(POWER, X))
def powers(answer, case):
    program, x = case
    agree("the derivative", slopes(answer, program, [x]), program.slopes(x))


@exercise.law("a number that is used twice gets the sum of both shares", st.tuples(SHARED, X))
def shares_add_up(answer, case):
    program, x = case
    agree("the derivative", slopes(answer, program, [x]), program.slopes(x))


@exercise.law("shares that come early and late add up, too", st.tuples(DISTANT, X, Y))
def late_shares(answer, case):
    program, *point = case
    agree("the derivatives", slopes(answer, program, point), program.slopes(*point))


@exercise.law("every program has the derivatives that the complex step finds", programs(["+", "·", "**"]), examples=60)
def whole_programs(answer, case):
    program, point = case
    agree("the derivatives", slopes(answer, program, point), program.slopes(*point))


@exercise.law("a second pass starts afresh", st.tuples(SINGLE, SINGLE, X, Y))
def afresh(answer, case):
    first, second, *point = case
    gradients = [gradient for _, gradient in answer.run([first, second], *point)]
    agree("the derivatives of both", gradients, [first.slopes(*point), second.slopes(*point)])


exercise.mistake(
    "the last share overwrites the others: a number that is used several times gets the sum (`+=`).",
    "source.gradient += slope",
    "source.gradient = slope",
)
exercise.mistake(
    "only the inputs of the result itself get their shares: go through the whole tape, the youngest number first.",
    "reversed(tape)",
    "tape",
)
exercise.mistake(
    "the slopes of a · b are exchanged: with respect to a it is b.",
    "(self, other.value), (other, self.value)",
    "(self, self.value), (other, other.value)",
)
exercise.mistake("the factor n of n xⁿ⁻¹ is missing.", "n * self.value ** (n - 1)", "self.value ** (n - 1)")
exercise.mistake("the slope of xⁿ has the power n; it is one less.", "n * self.value ** (n - 1)", "n * self.value**n")
exercise.mistake(
    "gradients of an earlier pass are still there: set them all to 0 first.",
    "    for number in tape:\n        number.gradient = 0.0\n    result",
    "    result",
)
exercise.mistake(
    "the gradient of the result is never set to 1, so every share is 0.", "    result.gradient = 1.0\n", ""
)
exercise.mistake("the gradient of the result is its value; it is 1.", "gradient = 1.0", "gradient = result.value")
exercise.mistake(
    "a share is the slope alone: it must be multiplied by the gradient of the number that hands it on.",
    "slope * number.gradient",
    "slope",
)
exercise.mistake("each number hands on its gradient without the slope.", "slope * number.gradient", "number.gradient")
exercise.mistake(
    "a · b notes a step to one of its inputs only.", "(self, other.value), (other, self.value)", "(self, other.value)"
)
exercise.mistake(
    "a + b notes a step to one of its inputs only.",
    "other.value, (self, 1.0), (other, 1.0)",
    "other.value, (self, 1.0)",
)
exercise.mistake("the slope of a · 3 is 3, not 1.", "(self, other))", "(self, 1.0))")
exercise.mistake(
    "the slope of a + 3 is 1: the constant is not part of it.", "+ other, (self, 1.0)", "+ other, (self, other)"
)
exercise.mistake(
    "a + b has the slopes 1 and 1, not its values.",
    "other.value, (self, 1.0), (other, 1.0)",
    "other.value, (self, self.value), (other, other.value)",
)
exercise.mistake(
    "the product has the value of a sum.", "Number(self.value * other.value", "Number(self.value + other.value"
)
exercise.mistake(
    "gradients of an earlier pass are still there: set them all to 0 before you hand on shares.",
    """    for number in tape:
        number.gradient = 0.0
    result.gradient = 1.0
    for number in reversed(tape):
        for source, slope in number.steps:
            source.gradient += slope * number.gradient
""",
    """    waiting = [(result, 1.0)]
    while waiting:
        number, share = waiting.pop()
        number.gradient += share
        waiting += [(source, slope * share) for source, slope in number.steps]
""",
)
