"""engine.4 Functions of each entry

    exp(x), log(x), tanh(x)      entry by entry; x is a Tensor of any shape
    relu(x)                      max(x, 0), entry by entry; its slope is 1 above 0, and 0 at 0 and below
    power(x, p)                  x to the power p, a number such as 2, -1 or 0.5; with p = 0 the slope is 0, even at
                                 x = 0

Each returns a Tensor with one step, to x. Its rule is g times the slope, written with your engine: with operators
and with these functions themselves, so that the share remembers g and x. (`x / y` and `x ** p` work as soon as
power does.) Take the slope of tanh from its result: tanh' = 1 - tanh².

For example:

    x = Tensor([3.0])
    power(x, 2).backward(Tensor([10.0]))      # x.grad.data is [60]: 10 · 2 · 3
    y = relu(Tensor([-1.0, 0.0, 2.0]))        # y.data is [0, 0, 2]; the rule turns g into [0, 0, g₂]
"""

# %% Laws

import numpy as np
from hypothesis import strategies as st

from lessons.exercises import Exercise, agree, hold
from lessons.exercises.cases import POSITIVE
from lessons.exercises.engine import (
    AWAY_FROM_0,
    COMPUTES,
    array_of,
    check,
    equal,
    gradients,
    leads_to,
    remembers,
    tensors_of,
)

exercise = Exercise(
    __file__,
    "lesson 01, part 4",
    hints=[
        "The slopes: eˣ, 1/x, 1 - tanh² x, 1 where x is above 0, and p xᵖ⁻¹.",
        "In the rule of exp, `exp(x)` is a Tensor that leads back to x; `x.data` in its place would be a constant."
        " For relu a constant is right: where x is above 0 does not change.",
        "The rule of tanh is `lambda g: g * (1 - tanh(x) ** 2)`; the others look like it.",
    ],
    uses=("math", "numpy", "contextlib", "copy", "itertools"),
    only_one=False,
    written_in="my_engine.py",
)
FUNCTIONS = {"exp": np.exp, "log": np.log, "tanh": np.tanh, "relu": lambda x: np.maximum(x, 0)}
POWERS = (2, 3, 1, 0.5, -1, -0.5)


@exercise.law("values and gradients are those of NumPy's function and its differences", tensors_of(elements=POSITIVE))
def slopes(answer, x):
    for name, truth in FUNCTIONS.items():
        check(answer, f"{name}(x)", getattr(answer, name), truth, x=x)


@exercise.law("also for negative numbers: exp, tanh, relu", tensors_of(elements=AWAY_FROM_0), examples=25)
def negative(answer, x):
    for name in ("exp", "tanh", "relu"):
        check(answer, f"{name}(x)", getattr(answer, name), FUNCTIONS[name], x=x)


@exercise.law(
    "power: values and gradients for whole, broken and negative p",
    st.tuples(tensors_of(elements=POSITIVE), st.sampled_from(POWERS)),
)
def powers(answer, case):
    x, p = case
    check(answer, f"power(x, {p})", lambda x: answer.power(x, p), lambda x: x**p, x=x)


@exercise.law(
    "a negative number to a whole power is no trouble",
    st.tuples(tensors_of(elements=AWAY_FROM_0), st.sampled_from([2, 3, -1])),
    examples=15,
)
def negative_powers(answer, case):
    x, p = case
    check(answer, f"power(x, {p})", lambda x: answer.power(x, p), lambda x: x**p, x=x)


@exercise.law("at 0: the slope of relu, of x² and of x⁰ is 0")
def at_0(answer):
    for words, f in (
        ("relu(x)", answer.relu),
        ("power(x, 2)", lambda x: answer.power(x, 2)),
        ("power(x, 0)", lambda x: answer.power(x, 0)),
    ):
        x = answer.Tensor([0.0])
        f(x).backward(answer.Tensor([1.0]))
        agree(f"x.grad after {words}.backward(), x = [0]", array_of("x.grad", x.grad, answer), [0.0])


@exercise.law("/ and ** of tensors, numbers and arrays", tensors_of(elements=AWAY_FROM_0), examples=15)
def quotients(answer, x):
    check(answer, "3 / x", lambda x: 3 / x, lambda x: 3 / x, x=x)
    check(answer, "x / 4", lambda x: x / 4, lambda x: x / 4, x=x)
    check(answer, "x ** 2 / (1 + x ** 2)", *[lambda x: x**2 / (1 + x**2)] * 2, x=x)


@exercise.law("shares remember g, and x as well where the slope depends on it")
def recorded(answer):
    for name in OF:
        what = f"the share that the rule of {name} makes"
        hold(kept_in_mind(answer, name), what, "no step leads to g, or none to x", "steps that lead there")


def kept_in_mind(answer, name):
    f, x = (lambda x: OF[name](answer, x)), answer.Tensor([1.0, 2.0])
    ((_, rule),) = f(x).steps
    return remembers(answer, f, [1.0, 2.0]) and (name == "relu" or leads_to(rule(answer.Tensor([1.0, 1.0])), x))


OF = {
    "exp": lambda m, x: m.exp(x),
    "log": lambda m, x: m.log(x),
    "tanh": lambda m, x: m.tanh(x),
    "relu": lambda m, x: m.relu(x),
    "power": lambda m, x: m.power(x, 3),
}
E, T = np.exp(2.0), np.tanh(2.0)
SLOPES = {"exp": E, "log": 1 / 2, "tanh": 1 - T**2, "relu": 1.0, "power": 12.0}  # at 2


def slope(answer, name, x=2.0, g=1.0):
    return gradients(answer, lambda x: OF[name](answer, x), x, g=g)[0]


for cause, name, wrong, old, new in (  # `wrong` is what comes out at 2
    ("The rule of exp multiplies g by x: the slope of eˣ is eˣ.", "exp", 2.0, "g * exp(x)", "g * x"),
    ("The rule of exp has a factor x: the slope of eˣ is eˣ.", "exp", 2 * E, "g * exp(x)", "g * x * exp(x)"),
    (
        "The rule of exp is that of a power, x eˣ⁻¹: the slope of eˣ is eˣ.",
        "exp",
        2 * np.e,
        "g * exp(x)",
        "g * x * exp(x - 1)",
    ),
    ("The rule of log multiplies by x: the slope is 1/x.", "log", 2.0, "g / x", "g * x"),
    ("The rule of log divides by log x: the slope is 1/x.", "log", 1 / np.log(2), "g / x", "g / log(x)"),
    ("The rule of tanh lacks the square: 1 - tanh².", "tanh", 1 - T, "tanh(x) ** 2", "tanh(x)"),
    ("The rule of tanh adds the square: 1 - tanh².", "tanh", 1 + T**2, "1 - tanh(x) ** 2", "1 + tanh(x) ** 2"),
    ("The rule of tanh takes 1 - x²: it is 1 - tanh² x.", "tanh", -3.0, "1 - tanh(x) ** 2", "1 - x**2"),
    ("The rule of relu multiplies by relu(x): the slope is 1.", "relu", 2.0, "g * (x.data > 0)", "g * relu(x)"),
    ("The rule of power lacks the factor p.", "power", 4.0, "p * power(x, p - 1)", "power(x, p - 1)"),
    ("The rule of power lacks the -1: p xᵖ⁻¹.", "power", 24.0, "p * power(x, p - 1)", "p * power(x, p)"),
    ("The rule of power takes p - 1 as the factor: p xᵖ⁻¹.", "power", 8.0, "p * power(", "(p - 1) * power("),
):
    exercise.symptom(cause, old, new)(lambda m, name=name, wrong=wrong: equal(slope(m, name), wrong))
for name, right in SLOPES.items():
    turned = lambda m, name=name, right=right: equal(slope(m, name), -right)
    exercise.symptom(f"The share that {name} makes has the wrong sign.")(turned)


def everywhere(m):
    return equal(slope(m, "relu", -1.0), 1.0) and equal(slope(m, "relu", -1.0, g=-1.0), -1.0)


exercise.symptom("The rule of relu passes g on everywhere: only where x is above 0.", "g * (x.data > 0)", "g")(
    everywhere
)


@exercise.symptom("The rule of relu looks at the sign of g: it is x that counts.", "(x.data > 0)", "(g.data > 0)")
def looks_at_g(m):
    return equal(slope(m, "relu", -1.0), 1.0) and equal(slope(m, "relu", -1.0, g=-1.0), 0.0)


@exercise.symptom("The slope of relu at 0 is to be 0.", "x.data > 0", "x.data >= 0")
def slope_at_0(m):
    return slope(m, "relu", 0.0) != 0 and equal(slope(m, "relu", -1.0), 0.0)


@exercise.symptom("The slope of x⁰ is 0 everywhere; 0 · x⁻¹ is NaN at 0.", "1) if p else 0", "1)")
def not_a_number(m):
    return np.isnan(gradients(m, lambda x: m.power(x, 0), 0.0, g=1.0)[0])


def without_g(name):
    return lambda m: equal(slope(m, name, g=5.0), slope(m, name))


for name, old, new in (
    ("exp", "g * exp(x)", "exp(x)"),
    ("log", "g / x", "1 / x"),
    ("tanh", "g * (1 - tanh(x) ** 2)", "1 - tanh(x) ** 2"),
    ("relu", "g * (x.data > 0)", "Tensor(x.data > 0)"),
    ("power", "g * (p * power(x, p - 1) if p else 0)", "p * power(x, p - 1) if p else Tensor(np.zeros(x.shape))"),
):
    cause = f"The rule of {name} does not use g: the share is g times the slope."
    exercise.symptom(cause, old, new)(without_g(name))
for name, old, new in (
    ("exp", "g * exp(x)", "g * np.exp(x.data)"),
    ("log", "g / x", "g / x.data"),
    ("tanh", "g * (1 - tanh(x) ** 2)", "Tensor(g.data * (1 - np.tanh(x.data) ** 2))"),
    ("relu", "g * (x.data > 0)", "Tensor(g.data * (x.data > 0))"),
    ("power", "power(x, p - 1) if", "x.data ** (p - 1.0) if"),
):
    forgets = lambda m, name=name: not without_g(name)(m) and not kept_in_mind(m, name)
    exercise.symptom(f"The rule of {name} {COMPUTES}", old, new)(forgets)
