"""engine.1 An array that remembers how it was made

You write an engine like that of lesson 01, part 5, in one file, my_engine.py, in ten steps. Each step has a text like
this one; you write where the dots are, in the functions that it names.

    Tensor(data, *steps)     `data` is numbers in any form that NumPy takes; each of the steps is a pair (source, rule)
        t._data      a NumPy array of float64 with the numbers, also if they were integers (`t.data`, which is there
                     already, returns it)
        t.steps      the tuple of pairs; an empty one for a tensor that you make of numbers; and always an empty one
                     while the switch `Tensor.recording` is False
        t.grad       None
        t.shape      the shape of the array
    add(a, b)        a + b, entry by entry, of two tensors of one shape; returns a Tensor
    multiply(a, b)   a · b, entry by entry, likewise

The step (source, rule) of a result says that the source was used in it, and what to do on the way back. A *rule* is a
function of one argument: it takes `g`, the gradient of some loss with respect to the result, and returns the share of
the source, g times the slope of the result with respect to the source. For its single numbers, lesson 01 kept the
slopes themselves; functions work for arrays of any kind. Both g and the share are Tensors of the result's shape. Write
rules with functions of your own engine (`multiply(g, …)`), never with NumPy on `.data`: then the share remembers how it
was made as well, and step 8 has its second derivatives.

For example:

    a, b = Tensor([2.0, 3.0]), Tensor([4.0, 5.0])
    y = multiply(a, b)                     # y.data is [8, 15], a.steps is ()
    (s, rule), (t, other) = y.steps        # s is a, t is b
    rule(Tensor([1.0, 10.0])).data         # [4, 50]
    other(Tensor([1.0, 10.0])).data        # [2, 30]
"""

# %% Laws

import numpy as np
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from lessons.exercises import Exercise, agree, hold
from lessons.exercises.cases import NUMBERS
from lessons.exercises.engine import COMPUTES, SHAPES, array_of, equal, ramp, remembers, shares, tensors_of

exercise = Exercise(
    __file__,
    "lesson 01, parts 2, 4 and 5",
    hints=[
        "`np.array(data, dtype=float)` takes numbers, lists and arrays. `*steps` arrives in the function as a tuple.",
        "The slope of a + b is 1 for both, so their rules pass g on. The slope of a · b with respect to a is b.",
        "add ends with `return Tensor(a.data + b.data, (a, lambda g: g), (b, lambda g: g))`.",
    ],
    uses=("math", "numpy", "contextlib", "copy", "itertools"),
    only_one=False,
    written_in="my_engine.py",
)
DATA = tensors_of() | NUMBERS | st.integers(-9, 9) | st.lists(st.integers(-9, 9), max_size=3)
PAIRS = SHAPES.flatmap(lambda shape: st.tuples(*[arrays(float, shape, elements=NUMBERS)] * 2))
OPS = {"add": np.add, "multiply": np.multiply}


@exercise.law("t.data is an array of float64 with the numbers of data, and t.shape its shape", DATA)
def numbers(answer, data):
    t, wanted = answer.Tensor(data), np.array(data, dtype=float)
    hold(isinstance(t.data, np.ndarray), "t.data", f"a {type(t.data).__name__}", "a NumPy array")
    hold(t.data.dtype == float, f"the dtype of Tensor({data}).data", t.data.dtype, "float64")
    agree(f"Tensor({data}).data", t.data, wanted, rtol=0, atol=0)
    hold(t.shape == wanted.shape, "t.shape", t.shape, wanted.shape)


@exercise.law("add and multiply return tensors of the sums and the products", PAIRS)
def values(answer, case):
    for name, truth in OPS.items():
        y = getattr(answer, name)(*map(answer.Tensor, case))
        agree(f"{name}({case[0]}, {case[1]}).data", array_of(f"what {name} returns", y, answer), truth(*case))


@exercise.law("a tensor made of numbers has no steps and no gradient")
def leaf(answer):
    t = answer.Tensor([1.0])
    hold(isinstance(t.steps, (tuple, list)) and not t.steps, "Tensor([1.0]).steps", t.steps, ())
    hold(t.grad is None, "Tensor([1.0]).grad", t.grad, None)


@exercise.law("the shares of each source add up to g times the slope, for every g", st.tuples(PAIRS, st.booleans()))
def rules(answer, case):
    (x, y), same = case
    g = ramp(x.shape)
    a = answer.Tensor(x)
    b, y = (a, x) if same else (answer.Tensor(y), y)
    for name, slope_a, slope_b in (("add", np.ones(x.shape), np.ones(x.shape)), ("multiply", y, x)):
        words = f"{name}(a, {'a' if same else 'b'}), where a = {x}" + ("" if same else f", b = {y}")
        totals = shares(answer, getattr(answer, name)(a, b), g)
        for letter, source, slope in (
            ("a", a, g * (slope_a + same * slope_b)),
            ("b", b, g * (slope_b + same * slope_a)),
        ):
            hold(source in totals, f"the steps of {words}", f"none to {letter}", f"one with {letter} as its source")
            agree(f"the share of {letter} in {words}, g = {g}", totals[source], slope)
        hold(len(totals) == 2 - same, f"how many tensors the steps of {words} lead to", len(totals), 2 - same)


@exercise.law("while Tensor.recording is False, a result has its numbers and no steps")
def switched_off(answer):
    a, b = answer.Tensor([2.0]), answer.Tensor([3.0])
    with answer.recording(False):
        y = answer.multiply(a, b)
    agree("multiply(a, b).data", array_of("multiply(a, b)", y, answer), [6.0])
    hold(len(y.steps) == 0, "how many steps multiply(a, b) has, while Tensor.recording is False", len(y.steps), 0)


@exercise.law("a share remembers that it was made of g and of the other operand")
def recorded(answer):
    a, b, g = (answer.Tensor([number]) for number in (2.0, 3.0, 5.0))
    for source, rule in answer.multiply(a, b).steps:
        other, words = (b, "a") if source is a else (a, "b")
        totals = shares(answer, rule(g), np.array([7.0]))
        for made_of, wanted, letter in ((g, other.data, "g"), (other, g.data, "the other operand")):
            hold(made_of in totals, f"the steps of the share of {words}", f"none to {letter}", f"one to {letter}")
            agree(f"the rule to {letter} in the share of {words}", totals[made_of], 7 * wanted)


def products(answer, g):
    """What the rules of multiply make of g, for 2 · 3."""
    answer.Tensor.recording = True
    steps = answer.multiply(answer.Tensor([2.0]), answer.Tensor([3.0])).steps
    return [rule(answer.Tensor([g])) for _, rule in steps]


def sums(answer, g):
    answer.Tensor.recording = True
    steps = answer.add(answer.Tensor([2.0]), answer.Tensor([3.0])).steps
    return [rule(answer.Tensor([g])) for _, rule in steps]


@exercise.symptom(
    "The numbers are kept in the form in which they come: make an array of float64 of them.",
    "np.array(data, dtype=float)",
    "np.array(data)",
)
def as_they_come(answer):
    return any(str(getattr(answer.Tensor(x).data, "dtype", "")) != "float64" for x in ([1, 2], [1.5, 2.5]))


@exercise.symptom(
    "The rules of multiply are exchanged: the slope with respect to a is b.",
    "(a, lambda g: multiply(g, b)), (b, lambda g: multiply(g, a))",
    "(a, lambda g: multiply(g, a)), (b, lambda g: multiply(g, b))",
)
def exchanged(answer):
    return [share.data[0] for share in products(answer, 5.0)] == [10, 15]


@exercise.symptom(
    "The rules of multiply return the slope alone: the share is g times the slope.",
    "(a, lambda g: multiply(g, b)), (b, lambda g: multiply(g, a))",
    "(a, lambda g: b), (b, lambda g: a)",
)
def without_g(answer):
    return [share.data[0] for share in products(answer, 5.0)] == [3, 2]


@exercise.symptom(
    "The rules of add return 1 whatever g is: the slope is 1, and the share g times that.",
    "(a, lambda g: g), (b, lambda g: g)",
    "*[(x, lambda g: Tensor(np.ones(a.shape))) for x in (a, b)]",
)
def ones(answer):
    return [share.data[0] for share in sums(answer, 5.0)] == [1, 1]


@exercise.symptom(
    "The rules of add multiply g by the operands: that is how multiply goes back.",
    "(a, lambda g: g), (b, lambda g: g)",
    "(a, lambda g: multiply(g, b)), (b, lambda g: multiply(g, a))",
)
def as_a_product(answer):
    return [share.data[0] for share in sums(answer, 5.0)] == [15, 10]


@exercise.symptom(
    "Steps are kept while Tensor.recording is False.",
    "self.steps = steps if Tensor.recording else ()",
    "self.steps = steps",
)
def always_recorded(answer):
    with answer.recording(False):
        return len(answer.Tensor([1.0], (answer.Tensor([1.0]), lambda g: g)).steps) == 1


@exercise.symptom(
    "A rule returns an array; a share is a Tensor.",
    "(a, lambda g: multiply(g, b)), (b, lambda g: multiply(g, a))",
    "(a, lambda g: g.data * b.data), (b, lambda g: g.data * a.data)",
)
def arrays_come(answer):
    return any(isinstance(share, (np.ndarray, np.generic)) for share in (*products(answer, 5.0), *sums(answer, 5.0)))


@exercise.symptom(
    f"A rule of multiply {COMPUTES}",
    "(a, lambda g: multiply(g, b)), (b, lambda g: multiply(g, a))",
    "(a, lambda g: Tensor(g.data * b.data)), (b, lambda g: Tensor(g.data * a.data))",
)
def forgetful(answer):
    return not remembers(answer, answer.multiply, [2.0], [3.0]) and equal(products(answer, 5.0)[0].data, [15])


@exercise.symptom("The results have no steps: give Tensor a pair (source, rule) for each operand.")
def no_steps(answer):
    answer.Tensor.recording = True
    given = answer.Tensor([2.0]), answer.Tensor([3.0])
    return any(len(op(*given).steps) == 0 for op in (answer.add, answer.multiply))


@exercise.symptom("A step holds the slope: here it holds a rule, a function that takes g.")
def slopes(answer):
    answer.Tensor.recording = True
    steps = answer.multiply(answer.Tensor([2.0]), answer.Tensor([3.0])).steps
    return all(isinstance(slope, (float, np.ndarray, answer.Tensor)) for _, slope in steps) and len(steps) > 0


@exercise.symptom("All pairs arrive as a single step: pass them one by one, as in Tensor(numbers, pair, pair).")
def in_a_list(answer):
    answer.Tensor.recording = True
    steps = answer.add(answer.Tensor([2.0]), answer.Tensor([3.0])).steps
    return len(steps) == 1 and all(isinstance(pair, tuple) and len(pair) == 2 for pair in steps[0])


@exercise.symptom(
    "There is a step to one operand only: each has its share.", "(a, lambda g: g), (b, lambda g: g)", "(a, lambda g: g)"
)
def one_operand(answer):
    answer.Tensor.recording = True
    a, b = answer.Tensor([2.0]), answer.Tensor([3.0])
    return any(len({source for source, _ in op(a, b).steps}) == 1 for op in (answer.add, answer.multiply))


@exercise.symptom("The pairs are turned around: the source comes first, then its rule.")
def turned_around(answer):
    answer.Tensor.recording = True
    (first, second), *_ = answer.add(answer.Tensor([2.0]), answer.Tensor([3.0])).steps
    return callable(first) and isinstance(second, answer.Tensor)


@exercise.symptom(
    "A new tensor has a gradient already: it is None until somebody goes back.",
    "next(Tensor.ages), None",
    "next(Tensor.ages), 0.0",
)
def with_gradient(answer):
    return answer.Tensor([1.0]).grad is not None


@exercise.symptom("A share has the wrong sign.")
def wrong_sign(answer):
    return any(share.data[0] < 0 for share in (*products(answer, 5.0), *sums(answer, 5.0)))


@exercise.symptom(
    "t.shape is not that of the array, a tuple.", "        return self.data.shape\n", "        return self.data.size\n"
)
def other_shape(answer):
    answer.Tensor.recording = True
    return answer.Tensor([[1.0, 2.0, 3.0]]).shape != (1, 3)
