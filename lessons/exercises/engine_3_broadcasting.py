"""engine.3 Broadcasting

NumPy repeats what is smaller: numbers of shape (3,) beside some of shape (2, 3) are used in both rows. What is used
many times gets the sum of its shares. Write the repetition and the sum as operations of your engine; the rule of each
is the other.

    broadcast_to(x, shape)   x repeated to this shape, by NumPy's rules (`np.broadcast_to`); a Tensor with one step,
                             to x
    sum_to(x, shape)         the opposite way: the sum of x over the axes along which an array of this shape would
                             be repeated to get the shape of x; a Tensor of this shape with one step, to x
    alike(a, b)              a pair of Tensors of one shape, to which both broadcast (`np.broadcast_shapes`); a and
                             b may be Tensors, numbers or arrays, which `tensor` turns into Tensors. The two lead
                             back to a and b

With `alike` the operators + - * work, also with numbers and arrays: they are written in Tensor already. / and **
wait for step 4, the others for 5 and 7. (Rules are functions of your engine here, too: sum_to and broadcast_to.)

For example:

    b = Tensor([10.0, 20.0, 30.0])
    broadcast_to(b, (2, 3)).data                                  # [[10, 20, 30], [10, 20, 30]]
    sum_to(Tensor([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]]), (3,))      # Tensor([5. 7. 9.])
    sum_to(Tensor([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]]), (2, 1))    # Tensor([[ 6.] [15.]])
    y = Tensor(np.ones((2, 3))) * b
    y.backward(Tensor(np.ones((2, 3))))                           # b.grad.data is [2, 2, 2]
"""

# %% Laws

import numpy as np
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays, mutually_broadcastable_shapes

from lessons.exercises import Exercise, agree, hold
from lessons.exercises.cases import NUMBERS
from lessons.exercises.engine import COMPUTES, array_of, check, equal, gradients, ramp, remembers, tensors_of

exercise = Exercise(
    __file__,
    "lesson 01, part 4",
    hints=[
        "NumPy aligns shapes from the right. x is repeated along axes that it lacks on the left, and along"
        " those where it"
        " has 1 entry and the result more.",
        "In sum_to, `len(x.shape) - len(shape)` axes on the left are new; axis i of `shape` is axis i + new of x. Sum"
        " over all of these axes at once, and `reshape(shape)` puts the ones back.",
        "The rule of broadcast_to is `lambda g: sum_to(g, x.shape)`, and the rule of sum_to is broadcast_to likewise.",
    ],
    uses=("math", "numpy", "contextlib", "copy", "itertools"),
    only_one=False,
    written_in="my_engine.py",
)


@st.composite
def repetitions(draw):
    """An array, and a shape to which it can be repeated."""
    x = draw(tensors_of())
    left = draw(st.lists(st.integers(1, 3), max_size=2))
    return x, (*left, *[draw(st.integers(1, 3)) if n == 1 else n for n in x.shape])


@st.composite
def pairs(draw):
    shapes = draw(mutually_broadcastable_shapes(num_shapes=2, max_dims=3, max_side=3)).input_shapes
    return [draw(arrays(float, shape, elements=NUMBERS)) for shape in shapes]


@exercise.law("broadcast_to repeats x as NumPy does", repetitions())
def repeated(answer, case):
    x, shape = case
    what = f"broadcast_to(x, {shape}), x of shape {x.shape}"
    agree(what, array_of(what, answer.broadcast_to(answer.Tensor(x), shape), answer), np.broadcast_to(x, shape))


@exercise.law("sum_to is the adjoint of repeating: Σ sum_to(y) · x = Σ y · broadcast_to(x), for every x", repetitions())
def adjoint(answer, case):
    x, shape = case
    y = ramp(shape)
    what = f"sum_to(y, {x.shape}), y of shape {shape}"
    came = array_of(what, answer.sum_to(answer.Tensor(y), x.shape), answer)
    hold(came.shape == x.shape, f"the shape of {what}", came.shape, x.shape)
    for place in np.ndindex(x.shape):
        one = np.zeros(x.shape)
        one[place] = 1
        agree(f"entry {place} of {what}, y = {y.tolist()}", came[place], (y * np.broadcast_to(one, shape)).sum())


@exercise.law("the gradients of both agree with differences", repetitions(), examples=25)
def slopes(answer, case):
    x, shape = case
    words = f"broadcast_to(x, {shape})"
    check(answer, words, lambda x: answer.broadcast_to(x, shape), lambda x: np.broadcast_to(x, shape), x=x)
    y, back = np.broadcast_to(x, shape).copy(), ramp(x.shape)
    leaf = answer.Tensor(y)
    answer.sum_to(leaf, x.shape).backward(answer.Tensor(back))
    what = f"y.grad after sum_to(y, {x.shape}).backward(g), where g = {back.tolist()}"
    agree(what, array_of(what, leaf.grad, answer), np.broadcast_to(back, shape))


@exercise.law("alike makes two tensors of the shape to which both broadcast", pairs())
def of_one_shape(answer, case):
    a, b = case
    came = answer.alike(answer.Tensor(a), b)
    hold(isinstance(came, (tuple, list)) and len(came) == 2, "what alike returns", came, "a pair of Tensors")
    for letter, tensor, x in zip("ab", came, case, strict=True):
        what = f"{letter} of alike(a, b), shapes {a.shape} and {b.shape}"
        agree(what, array_of(what, tensor, answer), np.broadcast_to(x, np.broadcast_shapes(a.shape, b.shape)))


@exercise.law(
    "+, - and * of any two shapes agree with differences; each gradient has the shape of its tensor",
    pairs(),
    examples=25,
)
def operators(answer, case):
    a, b = case
    for words, f in (("a + b", np.add), ("a - b", np.subtract), ("a * b", np.multiply)):
        operator = {"a + b": lambda a, b: a + b, "a - b": lambda a, b: a - b, "a * b": lambda a, b: a * b}[words]
        check(answer, words, operator, f, a=a, b=b)


@exercise.law("numbers and arrays beside a tensor are as good as tensors")
def others(answer):
    x = answer.Tensor([1.0, 2.0])
    for words, y, wanted in (
        ("3 * x", lambda: 3 * x, [3, 6]),
        ("1 - x", lambda: 1 - x, [0, -1]),
        ("np.array([[1.0], [2.0]]) * x", lambda: np.array([[1.0], [2.0]]) * x, [[1, 2], [2, 4]]),
    ):
        agree(f"{words}, x = Tensor([1, 2])", array_of(words, y(), answer), wanted)


@exercise.law("shares remember how they were made")
def recorded(answer):
    wide, narrow = np.ones((2, 3)), np.ones((1, 3))
    for words, f, given in (
        ("broadcast_to", lambda x: answer.broadcast_to(x, (2, 3)), narrow),
        ("sum_to", lambda x: answer.sum_to(x, (1, 3)), wide),
    ):
        hold(
            remembers(answer, f, given),
            f"the share that the rule of {words} makes",
            "no step leads to g",
            "one that does",
        )


def summed(answer, shape, by):
    answer.Tensor.recording = True
    return answer.sum_to(answer.Tensor(ramp(shape)), by).data


def fails(function):
    """Whether something is not computed, or wrongly."""
    try:
        return not function()
    except Exception:
        return True


def front(answer):
    return equal(summed(answer, (2, 3), (3,)), [5, 7, 9])


def stretched(answer):
    return equal(summed(answer, (2, 3), (2, 1)), [[6], [15]]) and equal(summed(answer, (2, 3), (1, 3)), [[5, 7, 9]])


@exercise.symptom(
    "sum_to does not sum over the axes that are new on the left.",
    "axis < new or shape[axis - new] == 1",
    "axis >= new and shape[axis - new] == 1",
)
def not_front(answer):
    return stretched(answer) and fails(lambda: front(answer)) and fails(lambda: from_the_left(answer))


@exercise.symptom(
    "sum_to aligns the shapes from the left; NumPy aligns them from the right.",
    "axis < new or shape[axis - new] == 1",
    "axis >= len(shape) or shape[axis] == 1",
)
def from_the_left(answer):
    return equal(summed(answer, (2, 2), (2,)), [3, 7])


@exercise.symptom(
    "sum_to counts the axes of 1 entry from the left; in x they stand further right, behind those that are new.",
    "axis < new or shape[axis - new] == 1",
    "axis < new or shape[axis : axis + 1] == (1,)",
)
def counted_without_the_new(answer):
    cube = ramp((2, 2, 2))
    return stretched(answer) and equal(summed(answer, (2, 2, 2), (2, 1)), cube.sum(axis=(0, 1)).reshape(2, 1))


@exercise.symptom(
    "sum_to does not sum over axes that were stretched from 1 entry.",
    "axis < new or shape[axis - new] == 1",
    "axis < new",
)
def not_stretched(answer):
    return front(answer) and fails(lambda: stretched(answer)) and fails(lambda: lost(answer))


@exercise.symptom(
    "sum_to takes means instead of sums.", "x.data.sum(axis=tuple(axes))", "x.data.mean(axis=tuple(axes))"
)
def means(answer):
    return equal(summed(answer, (2, 3), (3,)), [2.5, 3.5, 4.5])


@exercise.symptom(
    "sum_to loses the axes of 1 entry: the result has the shape that was asked for.",
    "x.data.sum(axis=tuple(axes)).reshape(shape)",
    "x.data.sum(axis=tuple(axes))",
)
def lost(answer):
    return summed(answer, (2, 3), (1, 3)).shape == (3,)


@exercise.symptom(
    "The rule of broadcast_to passes g on as it is: what was repeated gets the sum, sum_to.",
    "(x, lambda g: sum_to(g, x.shape))",
    "(x, lambda g: g)",
)
def passed_on(answer):
    return front(answer) and gradients(answer, lambda x: answer.broadcast_to(x, (2, 3)), [1.0, 2.0, 3.0])[0].shape == (
        2,
        3,
    )


@exercise.symptom(
    "The rule of sum_to passes g on as it is: each entry that was summed gets it, broadcast_to.",
    "(x, lambda g: broadcast_to(g, x.shape))",
    "(x, lambda g: g)",
)
def not_repeated(answer):
    return gradients(answer, lambda x: answer.sum_to(x, (3,)), np.ones((2, 3)))[0].shape == (3,)


@exercise.symptom(
    "The rule of sum_to divides g by the number of entries that were summed: each of them gets all of g.",
    "(x, lambda g: broadcast_to(g, x.shape))",
    "(x, lambda g: broadcast_to(g, x.shape) * (g.data.size / x.data.size))",
)
def divided(answer):
    f = lambda x: answer.sum_to(x, (3,))
    return equal(gradients(answer, f, np.ones((2, 3)), g=[2.0, 4.0, 6.0])[0], [[1, 2, 3], [1, 2, 3]])


@exercise.symptom(
    "alike repeats one of its arguments only: both may have to be.",
    "    return broadcast_to(a, shape), broadcast_to(b, shape)",
    "    return (a, broadcast_to(b, a.shape)) if a.shape == shape else (a, b)",
)
def one_only(answer):
    def works(a, b):
        a, b = answer.alike(answer.Tensor(np.ones(a)), answer.Tensor(np.ones(b)))
        return a.shape == b.shape == (2, 3)

    return fails(lambda: works((2, 3), (3,))) != fails(lambda: works((3,), (2, 3)))


@exercise.symptom(
    "alike makes new tensors of the numbers, which do not lead back to a and b.",
    "    return broadcast_to(a, shape), broadcast_to(b, shape)",
    "    return Tensor(np.broadcast_to(a.data, shape)), Tensor(np.broadcast_to(b.data, shape))",
)
def cut_off(answer):
    answer.Tensor.recording = True
    a, repeated = answer.Tensor([1.0]), answer.broadcast_to(answer.Tensor([1.0]), (2,))
    first, _ = answer.alike(a, answer.Tensor([1.0, 2.0]))
    return first.shape == (2,) and a not in answer.in_order(first) and len(repeated.steps) > 0


@exercise.symptom("alike does not make tensors of numbers and arrays.", "a, b = tensor(a), tensor(b)", "pass")
def only_tensors(answer):
    x = answer.Tensor([1.0])
    same = answer.alike(x, x)[1]
    return isinstance(same, answer.Tensor) and fails(lambda: isinstance(answer.alike(x, 2.0)[1], answer.Tensor))


@exercise.symptom(
    "A result of broadcast_to or sum_to has no step: it does not lead back to x.",
    "Tensor(np.broadcast_to(x.data, shape), (x, lambda g: sum_to(g, x.shape)))",
    "Tensor(np.broadcast_to(x.data, shape))",
)
def no_step(answer):
    answer.Tensor.recording = True
    x = answer.Tensor([[1.0]])
    return not (answer.broadcast_to(x, (2, 1)).steps and answer.sum_to(x, (1,)).steps)


@exercise.symptom(
    "sum_to sums over all axes: only over those along which an array of this shape would be repeated.",
    "x.data.sum(axis=tuple(axes)).reshape(shape)",
    "np.full(shape, x.data.sum())",
)
def over_all(answer):
    return equal(summed(answer, (2, 3), (3,)), [21, 21, 21])


@exercise.symptom(
    f"The rule of broadcast_to {COMPUTES}", "lambda g: sum_to(g, x.shape)", "lambda g: Tensor(sum_to(g, x.shape).data)"
)
def forgetful_repetition(answer):
    return not no_step(answer) and not remembers(answer, lambda x: answer.broadcast_to(x, (2, 3)), np.ones((1, 3)))


@exercise.symptom(
    f"The rule of sum_to {COMPUTES}",
    "(x, lambda g: broadcast_to(g, x.shape))",
    "(x, lambda g: Tensor(np.broadcast_to(g.data, x.shape)))",
)
def forgetful_sum(answer):
    return not no_step(answer) and not remembers(answer, lambda x: answer.sum_to(x, (1, 3)), np.ones((2, 3)))
