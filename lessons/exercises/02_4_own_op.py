"""2.4 An op of your own, to second order

`hypot(a, b)` is √(a² + b²), entry by entry, and a and b broadcast. Make it an op of minigrad: write its forward
function and, beside it, a backward rule for each operand. (minigrad/ops/elementwise.py has many examples.)

    forward(xp, a, b)
        xp : the array library, such as NumPy
        a, b : arrays
        returns y = √(a² + b²), of the shape to which a and b broadcast
    rule_a(g, y, a, b), rule_b(g, y, a, b)
        g : the gradient of the output y, in the shape of y
        returns the gradient of a, or of b, in the shape of a, or of b; `unbroadcast(gradient, a)` sums a gradient to
        the shape of a

a and b are never both 0. In an ordinary backward pass a rule runs on plain arrays. For derivatives of second order it
runs on Tensors and is recorded itself. So write it with operators and with functions of minigrad (mg), which work on
both, and never turn a Tensor into a constant. (If the rule needs at most the shape of a parameter, you may, but need
not, put an underscore before its name, as in lesson 01, part 6.)

`derivatives` is complete: it computes y, the gradients of Σ u y, and the gradients of ⟨gradients, (v, w)⟩. For example,
at (3, 4) y is 5, its gradients are a/y = 0.6 and b/y = 0.8, and with v = 1, w = 0 the second derivatives are b²/y³
and -ab/y³:

    three, four, one, zero = (np.array([n]) for n in (3.0, 4.0, 1.0, 0.0))
    derivatives(three, four, one, one, zero)     # [5.0], ([0.6], [0.8]), ([0.128], [-0.096])
"""

import numpy as np

import minigrad as mg
from minigrad.op import REGISTRY, op
from minigrad.ops.shape import unbroadcast


def forward(xp, a, b):
    """√(a² + b²)."""
    # solution
    return xp.sqrt(a * a + b * b)
    # end of solution


def rule_a(g, y, a, b):
    """The gradient of a."""
    # solution
    return unbroadcast(g * a / y, a)
    # end of solution


def rule_b(g, y, a, b):
    """The gradient of b."""
    # solution
    return unbroadcast(g * b / y, b)
    # end of solution


REGISTRY.pop("hypot", None)  # this file may be loaded several times
hypot = op("hypot", "√(a² + b²), entry by entry.", forward, rule_a, rule_b)


def derivatives(a, b, u, v, w):
    """y, the gradients of Σ u y for a and b, and the gradients of ⟨these gradients, (v, w)⟩, as arrays."""
    a, b = (mg.tensor(x, requires_grad=True) for x in (a, b))
    y = hypot(a, b)
    first = mg.grad((y * u).sum(), [a, b], create_graph=True)
    second = mg.grad((first[0] * v).sum() + (first[1] * w).sum(), [a, b])
    return y.data, tuple(part.data for part in first), tuple(part.data for part in second)


# %% Laws

from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from lessons.exercises import Exercise, agree, differences, hold
from lessons.exercises.cases import NUMBERS

exercise = Exercise(
    __file__,
    "lesson 02, part 4",
    hints=[
        "The derivative of √(a² + b²) with respect to a is a/√(a² + b²), and the root is y. A rule multiplies it by g.",
        "The product has the shape of y. `unbroadcast(…, a)` sums it to the shape of a.",
        "Use g, y, a and b as they come, with *, / and other operators: then the rule can be differentiated again. "
        "np.asarray(a), a.data or a.detach() would turn a into a constant.",
    ],
    uses=("math", "numpy", "minigrad"),
    forbids={"norm", "jvp", "vjp", "hvp", "jacobian", "hessian"},
)

SIDES = st.sampled_from([-3, -2, -1, 1, 2, 3]).map(lambda k: k / 2)
SHAPES = st.lists(st.integers(1, 2), max_size=2).map(tuple)


@st.composite
def cases(draw, shapes=None):
    """(a, b, u, v, w) with a and b that broadcast, and are not 0."""
    if shapes is None:
        full = draw(st.lists(st.integers(1, 3), max_size=2))
        shapes = [tuple(draw(st.sampled_from([1, n])) for n in full)[draw(st.integers(0, len(full))) :] for _ in "ab"]
    a, b = (draw(arrays(float, shape, elements=SIDES)) for shape in shapes)
    u = draw(arrays(float, np.broadcast_shapes(*shapes), elements=NUMBERS))
    return a, b, u, draw(arrays(float, a.shape, elements=NUMBERS)), draw(arrays(float, b.shape, elements=NUMBERS))


def by_complex_step(f, x):
    """The gradient of f, a function of one array that returns a number, to all digits."""
    found = np.empty(x.shape)
    for entry in np.ndindex(*x.shape):
        moved = x.astype(complex)
        moved[entry] += 1e-200j
        found[entry] = f(moved).imag / 1e-200
    return found


def first_of(a, b, u):
    root = lambda a, b: np.sum(u * np.sqrt(a * a + b * b))
    return by_complex_step(lambda a: root(a, b), a), by_complex_step(lambda b: root(a, b), b)


def check_first(answer, case):
    a, b, u, *_ = case
    _, first, _ = answer.derivatives(*case)
    for name, came, wanted in zip("ab", first, first_of(a, b, u), strict=True):
        agree(f"the gradient of {name}", came, wanted)


def check_second(answer, case):
    """Central differences of a gradient that is right to all digits: off by ε^(2/3) = 4e-11, times a factor of 1000."""
    a, b, u, v, w = case
    _, _, second = answer.derivatives(*case)

    def sum_of_first(a, b):
        by_a, by_b = first_of(a, b, u)
        return np.sum(by_a * v) + np.sum(by_b * w)

    wanted = differences(lambda a: sum_of_first(a, b), a), differences(lambda b: sum_of_first(a, b), b)
    for name, came, right in zip("ab", second, wanted, strict=True):
        agree(f"the second derivatives, for {name}", came, right, rtol=1e-7, atol=1e-7)


@exercise.law("y is √(a² + b²), of the shape to which a and b broadcast", cases())
def values(answer, case):
    a, b, *_ = case
    y, *_ = answer.derivatives(*case)
    agree("y", y, np.sqrt(a * a + b * b))


@exercise.law("gradients agree with the complex step: one number", cases([(1,), (1,)]))
def one_number(answer, case):
    check_first(answer, case)


@exercise.law("gradients agree with the complex step: broadcast operands", cases())
def first_order(answer, case):
    check_first(answer, case)


@exercise.law("second derivatives agree with differences of the gradients: one number", cases([(1,), (1,)]))
def second_order_of_one(answer, case):
    check_second(answer, case)


@exercise.law("second derivatives agree with differences of the gradients: broadcast operands", cases(), examples=20)
def second_order(answer, case):
    check_second(answer, case)


@exercise.law("the rules work on plain arrays, too", cases())
def plain(answer, case):
    a, b, u, *_ = case
    came = answer.rule_a(u, np.sqrt(a * a + b * b), a, b)
    hold(isinstance(came, (np.ndarray, np.floating)), "what rule_a makes of arrays", type(came), "an array")


A, B, G = np.array([1.0, 2.0, 3.0]), np.array([[1.0], [5.0]]), np.array([[1.0, 10.0, 100.0], [2.0, 20.0, 200.0]])


def by_rule(answer, name):
    """What rule_a or rule_b makes of arrays of the shapes (3,) and (2, 1); what it should be before it is summed."""
    y = np.sqrt(A * A + B * B)
    return np.asarray(getattr(answer, f"rule_{name}")(G, y, A, B)), {"a": A, "b": B}[name] / y


for name, own, other in (("a", A, B), ("b", B, A)):

    @exercise.symptom(f"the gradient of {name} is not summed to the shape of {name}: unbroadcast.")
    def not_summed(answer, name=name):
        came, slope = by_rule(answer, name)
        return came.shape == G.shape and np.allclose(came, G * slope)

    @exercise.symptom(f"rule_{name} sums before it multiplies by g: unbroadcast comes last.")
    def summed_first(answer, name=name, own=own):
        came, slope = by_rule(answer, name)
        summed = slope.sum(axis=0) if own.ndim == 1 else slope.sum(axis=1, keepdims=True)
        return came.shape == G.shape and np.allclose(came, G * summed)

    @exercise.symptom(f"rule_{name} sums to the shape of the other operand: its gradient has the shape of {name}.")
    def other_shape(answer, name=name, other=other):
        came, _ = by_rule(answer, name)
        return came.shape == other.shape


RULES = "    return unbroadcast(g * a / y, a)\n", "    return unbroadcast(g * b / y, b)\n"
for name, rule in zip("ab", RULES, strict=True):
    for what, changed in (("y", "y"), (name, name), (f"{name} and y", f"{name}, y")):
        are = "are constants" if " " in what else "is a constant"
        exercise.mistake(
            f"the first derivatives are right, but in rule_{name} {what} {are}, so the second ones are wrong.",
            rule,
            f"    {changed}, = (x.detach() if isinstance(x, mg.Tensor) else x for x in ({changed},))\n{rule}",
        )
exercise.mistake(
    "the gradients are not summed to the shapes of a and b: unbroadcast.",
    RULES[0],
    "    return g * a / y\n",
    RULES[1],
    "    return g * b / y\n",
)
exercise.mistake("the gradient g that comes in is not used.", "g * a / y", "a / y", "g * b / y", "b / y")
exercise.mistake("the gradient g that comes in is not used by rule_a.", "g * a / y", "a / y")
exercise.mistake("the gradient g that comes in is not used by rule_b.", "g * b / y", "b / y")
exercise.mistake("the division by y is missing.", "g * a / y", "g * a", "g * b / y", "g * b")
exercise.mistake("it divides by y², where y belongs.", "g * a / y", "g * a / (y * y)", "g * b / y", "g * b / (y * y)")
exercise.mistake(
    "a factor 2 is left: the 2 of 2a and the 1/2 of the root's slope cancel.",
    "g * a / y",
    "2 * g * a / y",
    "g * b / y",
    "2 * g * b / y",
)
exercise.mistake(
    "a factor 1/2 is left: the 1/2 of the root's slope and the 2 of 2a cancel.",
    "g * a / y",
    "0.5 * g * a / y",
    "g * b / y",
    "0.5 * g * b / y",
)
exercise.mistake(
    "only the slope of the root, 1/2y, is there: the derivative of a² is missing.",
    "g * a / y",
    "g / (2 * y)",
    "g * b / y",
    "g / (2 * y)",
)
exercise.mistake(
    "the rules of a and b are exchanged.",
    "unbroadcast(g * a / y, a)",
    "unbroadcast(g * b / y, a)",
    "(g * b / y, b)",
    "(g * a / y, b)",
)
exercise.mistake(
    "rule_a is that of b: the derivative with respect to a has a above the line.", "g * a / y", "g * b / y"
)
exercise.mistake(
    "rule_b is that of a: the derivative with respect to b has b above the line.", "g * b / y", "g * a / y"
)
exercise.mistake("the sign of the rules is flipped.", "g * a / y", "-g * a / y", "g * b / y", "-g * b / y")
exercise.mistake(
    "the first derivatives are right, but y is turned into a constant, so the second ones are wrong.",
    RULES[0],
    "    y = y.detach() if isinstance(y, mg.Tensor) else y\n" + RULES[0],
    RULES[1],
    "    y = y.detach() if isinstance(y, mg.Tensor) else y\n" + RULES[1],
)
exercise.mistake(
    "the first derivatives are right, but a and b are turned into constants, so the second ones are wrong.",
    RULES[0],
    "    by = a.detach() if isinstance(a, mg.Tensor) else a\n    return unbroadcast(g * by / y, a)\n",
    RULES[1],
    "    by = b.detach() if isinstance(b, mg.Tensor) else b\n    return unbroadcast(g * by / y, b)\n",
)
exercise.mistake(
    "the first derivatives are right, but a, b and y are turned into constants, so the second ones are wrong.",
    RULES[0],
    "    a, y = (x.detach() if isinstance(x, mg.Tensor) else x for x in (a, y))\n" + RULES[0],
    RULES[1],
    "    b, y = (x.detach() if isinstance(x, mg.Tensor) else x for x in (b, y))\n" + RULES[1],
)
exercise.mistake("the root is missing in the forward function.", "xp.sqrt(a * a + b * b)", "a * a + b * b")
exercise.mistake(
    "|a| + |b| is another length: the root of a sum of squares is wanted.", "xp.sqrt(a * a + b * b)", "abs(a) + abs(b)"
)
