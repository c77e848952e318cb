"""2.3 A dot-product test

Write a test that looks at all entries of a gradient at once. The Jacobian J of a function at x can be multiplied from
both sides, and for all u and v

    ⟨u, J v⟩ = ⟨Jᵀu, v⟩ .

The right-hand side comes from the backward rule that is to be tested. The left-hand side must not use it: take a
central difference along v.

    rule_is_right(f, rule, x, seed)
        f : function of an array of the shape of x; returns an array of any shape, or a number
        rule : function (x, u), where u has the shape of f(x); claims to return Jᵀu, an array of the shape of x
        x : array of float64; its entries are of size 1 or so
        seed : int, for np.random.default_rng(seed)
        returns True if the rule is right, False if it is not

Draw u and v at random, as random signs or normal numbers, say, and divide each by its length. Take h = ε^(1/3),
J v ≈ (f(x + hv) - f(x - hv)) / 2h. A trial raises an alarm if the two sides differ by more than 1e-6 ‖J v‖: relative to
J v, since f may be of any size. Call the rule right if none of three trials, each with its own u and v, raises an
alarm. A right rule leaves a gap below 1e-8 ‖J v‖; a rule that is wrong in a single entry must be found.

For example, for y = x² the rule is 2x u:

    x = np.array([1.0, 2.0])
    rule_is_right(np.square, lambda x, u: 2 * x * u, x, 0)     # True
    rule_is_right(np.square, lambda x, u: x * u, x, 0)         # False
"""

import numpy as np


def rule_is_right(f, rule, x, seed):
    """Whether ⟨u, J v⟩ = ⟨Jᵀu, v⟩ in three trials, with J v by a central difference."""
    # solution
    rng, h = np.random.default_rng(seed), np.cbrt(np.finfo(float).eps)

    def random_direction(shape):
        direction = rng.choice([-1.0, 1.0], shape)
        return direction / np.linalg.norm(direction)

    for _ in range(3):
        u, v = random_direction(np.shape(f(x))), random_direction(x.shape)
        pushed = (f(x + h * v) - f(x - h * v)) / (2 * h)
        gap = abs(np.sum(u * pushed) - np.sum(rule(x, u) * v))
        if not gap <= 1e-6 * np.linalg.norm(pushed):
            return False
    return True
    # end of solution


# %% Laws

import contextlib

from hypothesis import strategies as st

from lessons.exercises import Exercise, hold

exercise = Exercise(
    __file__,
    "further/02_dot_product, part 1",
    hints=[
        "A trial: draw u of the shape of f(x) and v of the shape of x, each of length 1, and compute both sides as "
        "sums of products, np.sum(u * pushed) and np.sum(rule(x, u) * v).",
        "Compare the absolute value of the difference with 1e-6 times the length of J v. What would an absolute "
        "tolerance do to a function of size 1e-8?",
        "Make one generator, and draw from it in each trial. Return False from the first trial that raises an alarm, "
        "True after the last.",
    ],
)


class Layer:
    """s tanh(A x) for the flattened x: (f, right rule). Smooth, and its Jacobian has no zeros."""

    def __init__(self, shape, outputs, size=1.0, linear=False):
        rng = np.random.default_rng(len(shape) * 100 + int(np.prod(outputs)))
        inputs = int(np.prod(shape))
        A = rng.uniform(0.5, 1.5, (int(np.prod(outputs)), inputs)) * rng.choice(
            [-1, 1], (int(np.prod(outputs)), inputs)
        )
        self.A, self.outputs, self.size, self.linear = A / np.sqrt(inputs), outputs, size, linear
        self.__name__ = f"{size:g} * {'A x' if linear else 'tanh(A x)'}: {shape} to {outputs}"

    def __call__(self, x):
        y = self.A @ x.ravel()
        return (self.size * (y if self.linear else np.tanh(y))).reshape(self.outputs)[()]

    def transposed(self, x, u):
        y = self.A @ x.ravel()
        inner = np.ravel(u) if self.linear else np.ravel(u) * (1 - np.tanh(y) ** 2)
        return self.size * (inner @ self.A).reshape(x.shape)


def named(words, function):
    function.__name__ = words
    return function


def changed(layer, kind, entry):
    """A rule with a mistake."""
    A, transposed = layer.A, layer.transposed

    def at_entry(x, u, factor):
        gradient = transposed(x, u)
        gradient.flat[entry % x.size] *= factor
        return gradient

    def shifted(x, u):  # each share stands in the next place: their sum is right
        return np.roll(transposed(x, u).ravel(), 1).reshape(x.shape)

    rules = {
        "the sign flipped": lambda x, u: -transposed(x, u),
        "the factor 2": lambda x, u: 2 * transposed(x, u),
        "the factor 1/2": lambda x, u: transposed(x, u) / 2,
        "0.5 % too much": lambda x, u: 1.005 * transposed(x, u),
        "0.01 % too much": lambda x, u: 1.0001 * transposed(x, u),
        "u forgotten": lambda x, u: transposed(x, np.ones_like(u)),
        "the sum of u": lambda x, u: transposed(x, np.full_like(u, np.mean(u))),
        "zeros": lambda x, u: np.zeros(x.shape),
        "nan": lambda x, u: np.full(x.shape, np.nan),
        "one entry doubled": lambda x, u: at_entry(x, u, 2.0),
        "one entry zero": lambda x, u: at_entry(x, u, 0.0),
        "all shares one place too far": shifted,
        "J u instead of Jᵀu": lambda x, u: layer.size * (A @ np.ravel(u)).reshape(x.shape),
    }
    return named(f"rule with: {kind}", rules[kind])


SHAPES = st.sampled_from([(2,), (3,), (6,), (2, 3)])
OUTPUTS = st.sampled_from([(2,), (4,), (2, 2)])
SEEDS = st.integers(0, 5)
POINTS = st.tuples(SHAPES, SEEDS).map(lambda drawn: np.random.default_rng(drawn[1]).uniform(-1, 1, drawn[0]).round(2))
WIDE = st.tuples(POINTS.filter(lambda x: x.size == 6), st.sampled_from([(8,), (2, 4)]), SEEDS)
ONE = ["the sign flipped", "the factor 1/2", "0.5 % too much", "u forgotten", "zeros"]


def right_rule(layer):
    return named("the right rule", lambda x, u: layer.transposed(x, u))


def accepts(answer, case, size):
    x, outputs, seed = case
    layer = Layer(x.shape, outputs, size)
    came = answer.rule_is_right(layer, right_rule(layer), x, seed)
    hold(came, f"a right rule, for f = {layer.__name__}", came, True)


def rejects(answer, kind, layer, x, seed, entry=0):
    came = answer.rule_is_right(layer, changed(layer, kind, entry), x, seed)
    hold(not came, f"a rule with {kind}, for f = {layer.__name__}", came, False)


CASES = st.tuples(POINTS, OUTPUTS, SEEDS)


@exercise.law("the verdict is True or False", CASES)
def verdict(answer, case):
    x, outputs, seed = case
    none = Layer(x.shape, outputs, 0.0)
    came = [answer.rule_is_right(none, right_rule(none), x, seed)]
    for layer, point in [(Layer(x.shape, outputs), x), (Layer((1,), (1,)), np.array([0.5]))]:
        for rule in (right_rule(layer), changed(layer, "the sign flipped", 0), changed(layer, "the factor 2", 0)):
            came.append(answer.rule_is_right(layer, rule, point, seed))
    for one in came:
        hold(isinstance(one, (bool, np.bool_)), "the verdict", one, "True or False")


def directions(answer, kind=None):
    """The vectors u with which a rule is asked, right or with a mistake of this kind."""
    layer, asked = Layer((6,), (4,)), []
    rule = changed(layer, kind, 0) if kind else layer.transposed

    def noted(x, u):
        asked.append(np.array(u))
        return rule(x, u)

    noted.__name__ = "the right rule"
    answer.rule_is_right(layer, noted, np.linspace(-1, 1, 6), 0)
    return asked


@exercise.law("the right rule of a linear function passes", st.tuples(POINTS, OUTPUTS, SEEDS))
def linear(answer, case):
    x, outputs, seed = case
    layer = Layer(x.shape, outputs, linear=True)
    came = answer.rule_is_right(layer, right_rule(layer), x, seed)
    hold(came, f"a right rule, for f = {layer.__name__}", came, True)


@exercise.law("a right rule passes", CASES)
def right(answer, case):
    accepts(answer, case, 1.0)


@exercise.law("a rule that is wrong everywhere does not pass", st.tuples(CASES, st.sampled_from(ONE)))
def wrong(answer, case):
    (x, outputs, seed), kind = case
    rejects(answer, kind, Layer(x.shape, outputs), x, seed)


@exercise.law(
    "a rule that is wrong in one entry does not pass",
    st.tuples(CASES, st.sampled_from(["one entry doubled", "one entry zero"]), st.integers(0, 5)),
)
def one_entry(answer, case):
    (x, outputs, seed), kind, entry = case
    rejects(answer, kind, Layer(x.shape, outputs), x, seed, entry)


@exercise.law(
    "a rule that is right for the sum over all entries of x, or of u, only does not pass",
    st.tuples(WIDE, st.sampled_from(["all shares one place too far", "the sum of u"])),
)
def sums(answer, case):
    (x, outputs, seed), kind = case
    rejects(answer, kind, Layer(x.shape, outputs), x, seed)


@exercise.law("a rule that multiplies by J instead of Jᵀ does not pass", SEEDS)
def transposition(answer, seed):
    rejects(answer, "J u instead of Jᵀu", Layer((4,), (4,), linear=True), np.array([0.5, -0.25, 1.0, 0.75]), seed)


@exercise.law("a wrong rule does not pass, however small f is", st.tuples(CASES, st.sampled_from(ONE)))
def small_and_wrong(answer, case):
    (x, outputs, seed), kind = case
    rejects(answer, kind, Layer(x.shape, outputs, 2.0**-40), x, seed)


@exercise.law("a right rule passes, however large f is", CASES)
def large_and_right(answer, case):
    accepts(answer, case, 2.0**40)


@exercise.law("a rule that is too large by 0.01 % does not pass", CASES)
def nearly(answer, case):
    x, outputs, seed = case
    rejects(answer, "0.01 % too much", Layer(x.shape, outputs), x, seed)


@exercise.law("a rule that returns nan does not pass", CASES)
def not_a_number(answer, case):
    x, outputs, seed = case
    rejects(answer, "nan", Layer(x.shape, outputs), x, seed)


@exercise.law("a function whose result is a single number is tested as well", st.tuples(POINTS, SEEDS))
def single_output(answer, case):
    x, seed = case
    accepts(answer, (x, (), seed), 1.0)
    rejects(answer, "the factor 1/2", Layer(x.shape, ()), x, seed)


@exercise.law("there are three trials, each with a u of its own")
def trials(answer):
    asked = directions(answer)
    hold(len(asked) >= 3, "how often a right rule is asked for Jᵀu", len(asked), 3)
    differ = all(not np.allclose(asked[i], asked[j]) for i in range(3) for j in range(i))
    same = "three vectors, two of which are equal"
    hold(
        differ or any(len(set(map(abs, np.round(u, 9)))) == 1 for u in asked),
        "the vectors u",
        same,
        "unlike each other",
    )


@exercise.symptom("one trial without an alarm is enough for it: a right rule raises none in any of the three.")
def any_trial(answer):
    return len(directions(answer)) == 1 and len(directions(answer, "the sign flipped")) == 3


@exercise.symptom("there is only one trial: `return True` belongs after the loop.")
def one_trial(answer):
    layer, x = Layer((6,), (4,)), np.linspace(-1, 1, 6)
    accepted = answer.rule_is_right(layer, right_rule(layer), x, 0)
    return bool(accepted) and len(directions(answer)) == 1 and len(directions(answer, "the sign flipped")) == 1


@exercise.symptom("every trial draws the same directions: make one generator before the loop, and draw from it.")
def same_directions(answer):
    asked = directions(answer)
    if not len(asked) > 1 or len(np.unique(np.round(np.ravel(asked[0]), 9))) == 1:
        return False
    return all(np.array_equal(u, asked[0]) for u in asked)


FORWARD = "this is the forward quotient: its error is far larger than the tolerance."


@exercise.symptom("the rule is given v: it is u that Jᵀ is multiplied by, and the result has the shape of x, as v has.")
def rule_of_v(answer):
    layer, asked = Layer((6,), (4,), linear=True), []

    def noted(x, u):
        asked.append(np.shape(u))
        return np.zeros(x.shape)

    with contextlib.suppress(Exception):
        answer.rule_is_right(layer, noted, np.linspace(-1, 1, 6), 0)
    return asked[:1] == [(6,)]


@exercise.symptom(FORWARD)
def one_end(answer):
    layer, x, moves = Layer((6,), (4,), linear=True), np.linspace(-1, 1, 6), []

    def noted(t):
        moves.append(np.array(t) - x)
        return layer(t)

    answer.rule_is_right(noted, layer.transposed, x, 0)
    moved = [move for move in moves if move.any()]
    return bool(moved) and not any(np.allclose(move, -other, 1e-3, 0) for move in moved for other in moved)


ONE_SIDED = "only one side of the difference raises an alarm: take its absolute value."


@exercise.symptom(ONE_SIDED)
def one_sided(answer):
    layer, x = Layer((6,), (4,), linear=True), np.linspace(-1, 1, 6)
    rule = changed(layer, "the sign flipped", 0)
    return 0 < sum(bool(answer.rule_is_right(layer, rule, x, seed)) for seed in range(32)) < 16


exercise.mistake("every rule passes.", "            return False\n", "            pass\n")
exercise.mistake("no rule passes: True is missing at the end.", "    return True\n", "    return False\n")
exercise.mistake(
    "the tolerance is absolute: compare with the length of J v, since f may be of any size.",
    "1e-6 * np.linalg.norm(pushed)",
    "1e-6",
)
exercise.mistake(
    ONE_SIDED,
    "gap = abs(np.sum(u * pushed) - np.sum(rule(x, u) * v))",
    "gap = np.sum(u * pushed) - np.sum(rule(x, u) * v)",
)
exercise.mistake(
    "the absolute values of both sides are compared, so a flipped sign passes.",
    "gap = abs(np.sum(u * pushed) - np.sum(rule(x, u) * v))",
    "gap = abs(abs(np.sum(u * pushed)) - abs(np.sum(rule(x, u) * v)))",
)
exercise.mistake(
    "both directions are all ones: mistakes that cancel in the sum pass. Draw them at random.",
    "rng.choice([-1.0, 1.0], shape)",
    "np.ones(shape)",
)
exercise.mistake(
    "u is all ones: a rule that forgets u, or uses its sum only, passes.",
    "u, v = random_direction(np.shape(f(x))),",
    "u, v = np.ones(np.shape(f(x))) / np.sqrt(np.size(f(x))),",
)
exercise.mistake(
    "v is all ones: a rule that puts a share in the wrong place passes.",
    "random_direction(x.shape)\n",
    "np.ones(x.shape) / np.sqrt(x.size)\n",
)
exercise.mistake(
    "v has a 1 in a single place: all other entries of the gradient go unseen.",
    "random_direction(x.shape)\n",
    "np.eye(x.size)[0].reshape(x.shape)\n",
)
exercise.mistake("the difference is divided by h where 2h belongs.", "/ (2 * h)", "/ h")
exercise.mistake(
    "the tolerance is so narrow that differences, which are off by 1e-10 or so, raise alarms for right rules.",
    "1e-6 *",
    "1e-13 *",
)
exercise.mistake("the tolerance is too wide.", "1e-6 *", "1e-2 *")
exercise.mistake(
    "nan passes: no comparison with it is true, so ask whether the gap is small, not whether it is large.",
    "not gap <= 1e-6",
    "gap > 1e-6",
)
exercise.mistake(
    "it returns True where the rule is wrong, and False where it is right.",
    "            return False\n    return True\n",
    "            return True\n    return False\n",
)
exercise.mistake(
    FORWARD,
    "(f(x + h * v) - f(x - h * v)) / (2 * h)",
    "(f(x + h * v) - f(x)) / h",
)
exercise.mistake(
    "both sides come from the rule, so a wrong rule agrees with itself: take J v by a difference of f.",
    "(f(x + h * v) - f(x - h * v)) / (2 * h)",
    "np.array([np.sum(rule(x, e.reshape(np.shape(f(x)))) * v) for e in np.eye(np.size(f(x)))]).reshape(np.shape(f(x)))",
)
exercise.mistake(
    "the verdict is that of a single entry of J v and u: sum over all products.",
    "gap = abs(np.sum(u * pushed) - np.sum(rule(x, u) * v))",
    "gap = abs(np.ravel(u * pushed)[0] - np.sum(rule(x, u) * v))",
)
