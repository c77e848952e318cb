"""1.2 The order of the backward pass

A tape is a list from the oldest number to the youngest. Without that list, all that is known is what each number was
made from, and the backward pass must find an order by itself: a number may hand on its gradient only when all of its
shares have arrived, that is, after every number that was made from it has handed on its own.

Here a program is plain data. Its numbers are called 0, 1, 2, …; these names say nothing about their ages.

    gradients(steps, result)
        steps : list; steps[i] holds the steps to number i, pairs (source, slope): i was made from the number `source`,
            and has this slope with respect to it. Inputs have none: []. A source may come twice, as in x · x.
        result : int, the number to go back from
        returns a list of floats, as long as steps: the derivative of the result with respect to each number. It is 1.0
        for the result itself, and 0.0 for each number that the result was not made from.

Programs are large. A number may be reached along 2^60 paths, so visit each number once (or a few times), not once for
each path; a chain may be 100,000 numbers long, too long for recursion. Leave `steps` as it is.

For example, x is number 1, y = x² with x = 3 is number 2, and the result, y + x, is number 0:

    gradients([[(2, 1.0), (1, 1.0)], [], [(1, 6.0)]], 0)     # [1.0, 7.0, 1.0]
"""


def gradients(steps, result):
    """The derivative of the number `result` with respect to every number."""
    # solution
    reached, waiting_for = [result], [0] * len(steps)  # how many shares a number has yet to get
    for number in reached:  # the list grows while we go through it
        for source, _ in steps[number]:
            if waiting_for[source] == 0:
                reached.append(source)
            waiting_for[source] += 1
    gradient = [0.0] * len(steps)
    gradient[result] = 1.0
    ready = [result]
    while ready:
        number = ready.pop()
        for source, slope in steps[number]:
            gradient[source] += slope * gradient[number]
            waiting_for[source] -= 1
            if waiting_for[source] == 0:
                ready.append(source)
    return gradient
    # end of solution


# %% Laws

import numpy as np
from hypothesis import strategies as st

from lessons.exercises import BrokenLaw, Exercise, agree, hold

exercise = Exercise(
    __file__,
    "lesson 01, part 2 (and further/01_order)",
    hints=[
        "First find out which numbers the result was made from, and how many shares each of them will get: one for "
        "each step that leads to it.",
        "A number whose last share has arrived is ready. At the beginning only the result is. Keep the ready ones in a "
        "list; a loop over that list takes the place of recursion.",
        "Take a ready number, hand on its shares, and count down at each source; a source whose count reaches 0 is "
        "ready. Count only steps from numbers that the result was made from, or some will wait forever.",
    ],
    seconds=6.0,
)

FACTORS = st.sampled_from([2.0, 3.0, -1.0])
SLOPES = st.integers(-3, 3).map(float)


@st.composite
def cases(draw, most=6, shuffled=True):
    """(steps, result) of a small program, its numbers named at random."""
    count = draw(st.integers(1, most))
    by_age = [
        draw(st.lists(st.tuples(st.integers(0, age - 1), SLOPES), max_size=3)) if age else [] for age in range(count)
    ]
    names = draw(st.permutations(range(count))) if shuffled else list(range(count))
    steps = [[] for _ in range(count)]
    for age, its_steps in enumerate(by_age):
        steps[names[age]] = [(names[source], slope) for source, slope in its_steps]
    return steps, draw(st.integers(0, count - 1))


@st.composite
def woven(draw, beside=False):
    """(steps, result): each number is made from the one before, and some from an older one as well."""
    count = draw(st.integers(4 if beside else 2, 6))
    names = draw(st.permutations(range(count)))
    steps = [[] for _ in range(count)]
    for age in range(1, count):
        sources = [age - 1, *draw(st.lists(st.integers(0, age - 1), max_size=1))]
        steps[names[age]] = [(names[source], draw(FACTORS)) for source in draw(st.permutations(sources))]
    return steps, names[draw(st.integers(2, count - 2)) if beside else -1]


def truth(steps, result):
    """(I + S + S² + …)ᵀ e: the matrix power k sums over all paths of k steps."""
    S = np.zeros((len(steps), len(steps)))
    for number, its_steps in enumerate(steps):
        for source, slope in its_steps:
            S[number, source] += slope
    row = np.eye(len(steps))[result]
    gradient = row.copy()
    for _ in steps:
        row = row @ S
        gradient += row
    return gradient


class Counted(list):
    """A list that counts how often its entries are read."""

    reads = 0

    def __getitem__(self, place):
        self.reads += 1
        return super().__getitem__(place)


def diamonds(count):
    """Number k + 1 is made from number k along two paths."""
    steps = [[]]
    for k in range(count):
        start, left, right = 3 * k, 3 * k + 1, 3 * k + 2
        steps += [[(start, 1.0)], [(start, 1.0)], [(left, 1.0), (right, 1.0)]]
    return steps


def chain(count):
    """Each number is made from the next."""
    return Counted([[(number + 1, 1.0)] for number in range(count - 1)] + [[]])


@exercise.law("there is a number for each number of the program", cases())
def length(answer, case):
    steps, result = case
    came = answer.gradients(steps, result)
    is_list = isinstance(came, (list, tuple, np.ndarray))
    hold(is_list, "what comes out", "nothing" if came is None else f"a {type(came).__name__}", "a list")
    hold(len(came) == len(steps), "the length of the list", len(came), len(steps))


@exercise.law("the derivative of the result with respect to itself is 1", cases())
def of_itself(answer, case):
    steps, result = case
    agree("the derivative", answer.gradients(steps, result)[result], 1.0)


@exercise.law("where names follow age, each derivative is the sum over all paths to it", cases(4, shuffled=False))
def by_age(answer, case):
    agree("the derivatives", answer.gradients(*case), truth(*case))


@exercise.law("a number that is reached along a short way and a long one waits for both shares", woven())
def waits(answer, case):
    agree("the derivatives", answer.gradients(*case), truth(*case))


@exercise.law("what was made besides, from the same numbers, does not matter", woven(beside=True))
def besides(answer, case):
    agree("the derivatives", answer.gradients(*case), truth(*case))


@exercise.law("whatever the names, each derivative is the sum over all paths to it", cases(), examples=60)
def all_paths(answer, case):
    agree("the derivatives", answer.gradients(*case), truth(*case))


@exercise.law("the steps stay as they were", cases())
def untouched(answer, case):
    steps, result = case
    before = [list(its_steps) for its_steps in steps]
    answer.gradients(steps, result)
    hold(steps == before, "the steps", steps, before)


@exercise.law("with 2^12 paths through 37 numbers, no number is looked at 2^12 times")
def few_visits(answer):
    steps = Counted(diamonds(12))
    came = answer.gradients(steps, len(steps) - 1)
    agree("the derivative with respect to the input", came[0], 2.0**12)
    hold(
        steps.reads < 2**12, "how often entries of `steps` are read", steps.reads, "a few times for each of 37 numbers"
    )


@exercise.law("with 2^60 paths it is finished at once")
def many_paths(answer):
    steps = Counted(diamonds(60))
    agree("the derivative with respect to the input", answer.gradients(steps, len(steps) - 1)[0], 2.0**60)


@exercise.law("a chain of 100,000 numbers is no trouble")
def long_chain(answer):
    try:
        came = answer.gradients(chain(100_000), 0)
    except RecursionError:
        raise BrokenLaw("what comes out", "a RecursionError", "a list of 100,000 derivatives") from None
    agree("the derivative with respect to the input", came[-1], 1.0)


WRONG_END = "it begins at the wrong end, with the oldest numbers, or with number 0; the result has to be the first."
exercise.mistake(
    "names are taken for ages: a number's sources may have larger names than it has.",
    """    ready = [result]
    while ready:
        number = ready.pop()
""",
    """    for number in reversed(range(len(steps))):
""",
    """            waiting_for[source] -= 1
            if waiting_for[source] == 0:
                ready.append(source)
""",
    "",
)
exercise.mistake(
    "a number hands on its gradient as soon as it is reached, when later shares have not arrived yet.",
    """    while ready:
        number = ready.pop()
""",
    """    for number in reached:
""",
    """            waiting_for[source] -= 1
            if waiting_for[source] == 0:
                ready.append(source)
""",
    "",
)
exercise.mistake(
    "a number hands on its gradient when its first share arrives, before the others are there.",
    """            waiting_for[source] -= 1
            if waiting_for[source] == 0:
                ready.append(source)
""",
    """            if waiting_for[source]:
                ready.append(source)
            waiting_for[source] = 0
""",
)
exercise.mistake(
    "a number hands on its gradient when it is first taken from the stack: later shares have not arrived yet.",
    """    while ready:
        number = ready.pop()
""",
    """    seen = set()
    while ready:
        number = ready.pop()
        if number in seen:
            continue
        seen.add(number)
""",
    """            waiting_for[source] -= 1
            if waiting_for[source] == 0:
                ready.append(source)
""",
    """            ready.append(source)
""",
)
exercise.mistake(
    WRONG_END,
    """    ready = [result]
    while ready:
        number = ready.pop()
""",
    """    for number in range(len(steps)):
""",
    """            waiting_for[source] -= 1
            if waiting_for[source] == 0:
                ready.append(source)
""",
    "",
)
exercise.mistake(
    WRONG_END,
    """    ready = [result]
    while ready:
        number = ready.pop()
""",
    """    order, ready = [], [result]
    while ready:
        order.append(number := ready.pop())
        for source, _ in steps[number]:
            waiting_for[source] -= 1
            if waiting_for[source] == 0:
                ready.append(source)
    for number in reversed(order):
""",
    """            waiting_for[source] -= 1
            if waiting_for[source] == 0:
                ready.append(source)
    return gradient
""",
    "    return gradient\n",
)
exercise.mistake(
    "shares overwrite each other: they add up (`+=`).",
    "gradient[source] += slope",
    "gradient[source] = slope",
)
exercise.mistake(
    "each time a share arrives, all that has arrived so far is handed on again.",
    """            waiting_for[source] -= 1
            if waiting_for[source] == 0:
                ready.append(source)
""",
    """            ready.append(source)
""",
)
exercise.mistake("the slopes are not used.", "slope * gradient[number]", "gradient[number]")
exercise.mistake(
    "the share is the slope alone: multiply it by the gradient of the number that hands it on.",
    "slope * gradient[number]",
    "slope",
)
exercise.mistake("the gradient of the result is never set to 1.", "    gradient[result] = 1.0\n", "")
exercise.mistake(
    "a source that comes twice among the steps of one number counts once: x · x has two steps to x.",
    "for source, slope in steps[number]:",
    "for source, slope in dict(steps[number]).items():",
    "for source, _ in steps[number]:",
    "for source in dict(steps[number]):",
)
exercise.mistake(
    "some numbers wait for shares that never come: count only the steps of numbers that the result was made from.",
    """    for number in reached:  # the list grows while we go through it
        for source, _ in steps[number]:
            if waiting_for[source] == 0:
                reached.append(source)
            waiting_for[source] += 1
""",
    """    for its_steps in steps:
        for source, _ in its_steps:
            waiting_for[source] += 1
""",
)


def reads(answer):
    """How often entries of `steps` are read for 2^12 paths through 37 numbers."""
    steps = Counted(diamonds(12))
    answer.gradients(steps, len(steps) - 1)
    return steps.reads


def is_right_for_small_ones(answer):
    woven = [[], [(0, 2.0)], [(1, 3.0), (0, 1.0)], [(2, 1.0), (1, 1.0)], [(3, 2.0), (3, 1.0)]]
    return all(np.allclose(answer.gradients(steps, 4), truth(steps, 4)) for steps in (woven, diamonds(2)))


@exercise.symptom("it goes along every path by itself: right, but with 2^60 paths it never ends.")
def path_by_path(answer):
    return is_right_for_small_ones(answer) and reads(answer) >= 2**12


@exercise.symptom("it calls itself for every step on the way, and a chain of 100,000 is too deep for that.")
def recursion(answer):
    if not is_right_for_small_ones(answer) or reads(answer) >= 2**12:
        return False
    try:
        answer.gradients(chain(10_000), 0)
    except RecursionError:
        return True
    return False
