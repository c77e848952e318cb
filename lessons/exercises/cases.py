"""Cases for laws: hypothesis strategies whose smallest examples are easy to read."""

import operator

import numpy as np
from hypothesis import assume
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

SIZES = st.integers(1, 4)
NUMBERS = st.integers(-16, 16).map(lambda k: k / 4)  # exact in binary, and short in print
POSITIVE = st.integers(1, 16).map(lambda k: k / 4)


def vectors(size=None, elements=NUMBERS):
    """Arrays (size,), or of 1 to 4 entries."""
    return arrays(float, SIZES if size is None else size, elements=elements)


@st.composite
def matrices(draw, rows=SIZES, columns=SIZES, elements=NUMBERS, rows_not_zero=False):
    """Arrays (rows, columns); each row has an entry that is not 0, if so wanted."""
    n, k = (size if isinstance(size, int) else draw(size) for size in (rows, columns))
    made = draw(arrays(float, (n, k), elements=elements))
    if rows_not_zero:
        made[:, 0] = np.where((made == 0).all(axis=1), 1.0, made[:, 0])
    return made


OPERATORS = {"+": operator.add, "·": operator.mul, "/": operator.truediv, "**": operator.pow}


class Program:
    """A small program on numbers, whatever they are: call it with them. Its name is its formula.

    Each step is (operator, first, second): an operand is the place of an earlier number, the inputs coming first, or a
    constant, given as a tuple of one number.
    """

    def __init__(self, inputs, steps):
        self.steps, names = steps, list("xyz"[:inputs])
        for sign, *operands in steps:
            left, right = (f"{o[0]:g}" if isinstance(o, tuple) else names[o] for o in operands)
            names.append(f"({left} {sign} {right})")
        self.__name__ = names[-1].removeprefix("(").removesuffix(")") if steps else names[-1]

    def __call__(self, *inputs):
        numbers = list(inputs)
        for sign, *operands in self.steps:
            numbers.append(OPERATORS[sign](*(o[0] if isinstance(o, tuple) else numbers[o] for o in operands)))
        return numbers[-1]

    def slopes(self, *inputs):
        """The derivatives with respect to the inputs, by the complex step: all digits are right."""
        moved = [[x + 1e-200j * (i == j) for j, x in enumerate(inputs)] for i in range(len(inputs))]
        return [complex(self(*numbers)).imag / 1e-200 for numbers in moved]


@st.composite
def programs(draw, signs, inputs=2, most_steps=4):
    """(program, its inputs), at which it and its derivatives are below a million."""
    count, steps = draw(st.integers(1, inputs)), []
    for place in range(count, count + draw(st.integers(1, most_steps))):
        sign, number = draw(st.sampled_from(signs)), st.integers(0, place - 1)
        constant = st.tuples(st.integers(-2, 3).map(float))
        first, second = draw(number), draw(number if sign == "/" else number | constant)
        if sign == "**":
            second = (draw(st.integers(1, 3)),)
        elif draw(st.booleans()):
            first, second = second, first
        steps.append((sign, first, second))
    program, point = Program(count, steps), draw(st.lists(NUMBERS, min_size=count, max_size=count))
    try:
        sizes = [abs(program(*point)), *map(abs, program.slopes(*point))]
    except ZeroDivisionError:
        sizes = [np.inf]
    assume(max(sizes) < 1e6)
    return program, point
