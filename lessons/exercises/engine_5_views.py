"""engine.5 Views

    reshape(x, shape)            the same entries in another shape, as `x.data.reshape(shape)` has them; shape may
                                 have a -1
    transpose(x, axes=None)      axis i of the result is axis axes[i] of x, as in `x.data.transpose(axes)`; axes is
                                 a tuple of 0, 1, …, each once; without it the order of the axes is reversed
    index(x, key)                x.data[key], for every key that NumPy takes: numbers, slices, tuples, lists,
                                 arrays, masks
    put_back(x, key, shape)      the opposite way: zeros of this shape, to which x is added at [key]. A list such as
                                 [0, 0, 1] names a place twice, and what goes there twice is added twice

Each returns a Tensor with one step, to x. Nothing is computed here, entries only move, so each rule is one of these
four functions that moves them back. Then `x[key]` works, too: it is written in Tensor already.

For example:

    x = Tensor([10.0, 20.0, 30.0])
    y = x[[0, 0, 2]]                             # Tensor([10. 10. 30.])
    y.backward(Tensor([1.0, 2.0, 4.0]))          # x.grad.data is [3, 0, 4]
    transpose(Tensor(np.zeros((2, 3, 4))), (1, 2, 0)).shape    # (3, 4, 2)
"""

# %% Laws

import numpy as np
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes

from lessons.exercises import Exercise, agree, hold
from lessons.exercises.engine import COMPUTES, array_of, check, equal, gradients, ramp, remembers

exercise = Exercise(
    __file__,
    "lesson 01, part 4",
    hints=[
        "Ask of each function: where has entry number i gone, and how does the gradient that arrives there come home?"
        " After reshape, by a reshape to x.shape.",
        "Axis axes[i] of x went to place i. So axis j of x is to be found at the place where axes has j: "
        "`np.argsort(axes)` lists these places. Without axes the way back reverses the order, too.",
        "`whole[key] += x.data` adds once only where key names a place twice; `np.add.at(whole, key,"
        " x.data)` adds each."
        " The rules of index and of put_back are each other.",
    ],
    uses=("math", "numpy", "contextlib", "copy", "itertools"),
    only_one=False,
    written_in="my_engine.py",
)
KEYS = {
    (4,): (
        2,
        -1,
        slice(1, 3),
        slice(None, None, -1),
        [0, 0, 2],
        [3, 3, 3],
        [[0, 1], [1, 3]],
        [True, False, True, True],
        ...,
        None,
    ),
    (3, 2): (0, (2, 1), (slice(None), 1), ([0, 0, 2], [1, 1, 0]), ([0, 0, 1],), (..., [1, 1]), (slice(0, 2), None, 0)),
    (2, 3, 2): (1, (slice(None), [0, 0, 2]), (..., 0), (1, slice(None), [1, 0, 1])),
}


@st.composite
def permutations(draw):
    x = ramp(draw(array_shapes(min_dims=0, max_dims=4, max_side=3)))
    return x, draw(st.none() | st.permutations(range(x.ndim)).map(tuple))


@st.composite
def new_shapes(draw):
    x = ramp(draw(array_shapes(min_dims=1, max_dims=3, max_side=3)))
    divisors = [n for n in range(1, x.size + 1) if x.size % n == 0]
    rows = draw(st.sampled_from(divisors))
    return x, draw(st.sampled_from([(rows, x.size // rows), (x.size,), (-1, rows), (1, x.size, 1)]))


@st.composite
def keys(draw):
    shape = draw(st.sampled_from(sorted(KEYS)))
    return ramp(shape), draw(st.sampled_from(KEYS[shape]))


@exercise.law("reshape has the entries of x in the new shape, and gradients in the old one", new_shapes(), examples=25)
def reshaped(answer, case):
    x, shape = case
    check(answer, f"reshape(x, {shape})", lambda x: answer.reshape(x, shape), lambda x: x.reshape(shape), x=x)


@exercise.law("transpose moves the axes as NumPy does, and gradients back", permutations(), examples=25)
def transposed(answer, case):
    x, axes = case
    check(answer, f"transpose(x, {axes})", lambda x: answer.transpose(x, axes), lambda x: x.transpose(axes), x=x)


@exercise.law("index takes the entries at a key; the gradient of one that is taken twice is the sum of both", keys())
def indexed(answer, case):
    x, key = case
    check(answer, f"index(x, {key})", lambda x: answer.index(x, key), lambda x: x[key], x=x)


@exercise.law("put_back is the adjoint of index: Σ put_back(y) · x = Σ y · x[key], for every x", keys())
def adjoint(answer, case):
    x, key = case
    y = ramp(x[key].shape)
    what = f"put_back(y, {key}, {x.shape}), y = {y.tolist()}"
    came = array_of(what, answer.put_back(answer.Tensor(y), key, x.shape), answer)
    wanted = np.zeros(x.shape)
    for place in np.ndindex(x.shape):
        one = np.zeros(x.shape)
        one[place] = 1
        wanted[place] = (y * one[key]).sum()
    agree(what, came, wanted)
    leaf = answer.Tensor(y)
    answer.put_back(leaf, key, x.shape).backward(answer.Tensor(x))
    agree(
        f"y.grad after put_back(y, {key}, {x.shape}).backward(g), g = {x.tolist()}",
        array_of("y.grad", leaf.grad, answer),
        x[key],
    )


@exercise.law("shares remember how they were made")
def recorded(answer):
    for name, f in OF.items():
        hold(
            remembers(answer, lambda x, f=f: f(answer, x), given(name)),
            f"the share that the rule of {name} makes",
            "no step leads to g",
            "one that does",
        )


OF = {
    "reshape": lambda m, x: m.reshape(x, (3, 2)),
    "transpose": lambda m, x: m.transpose(x),
    "index": lambda m, x: m.index(x, 0),
    "put_back": lambda m, x: m.put_back(x, [0, 2], (3,)),
}


def given(name):
    return ramp((2,) if name == "put_back" else (2, 3))


def gradient(m, name, x, g=None):
    return gradients(m, lambda x: OF[name](m, x), x, g=g)[0]


@exercise.symptom(
    "The rule of reshape passes g on as it is: it goes back to the shape of x.",
    "lambda g: reshape(g, x.shape)",
    "lambda g: g",
)
def as_it_is(m):
    return gradient(m, "reshape", ramp((2, 3))).shape == (3, 2)


@exercise.symptom(
    "The rule of transpose permutes the axes by `axes` once more: the way back is the inverse permutation.",
    "lambda g: transpose(g, back)",
    "lambda g: transpose(g, axes)",
)
def once_more(m):
    g = ramp((2, 2, 2))
    return equal(gradients(m, lambda x: m.transpose(x, (1, 2, 0)), g, g=g)[0], g.transpose(1, 2, 0))


@exercise.symptom(
    "The rule of transpose always turns the order of the axes around: with `axes` it is the inverse permutation.",
    "lambda g: transpose(g, back)",
    "lambda g: transpose(g)",
)
def always_turned(m):
    g = ramp((2, 2, 2))
    return not without_axes(m) and equal(gradients(m, lambda x: m.transpose(x, (1, 2, 0)), g, g=g)[0], g.transpose())


@exercise.symptom("The rule of transpose passes g on as it is.", "lambda g: transpose(g, back)", "lambda g: g")
def not_turned(m):
    return equal(gradient(m, "transpose", np.ones((2, 2)), g=[[1.0, 2.0], [3.0, 4.0]]), [[1, 2], [3, 4]])


@exercise.symptom("transpose does not use `axes`.", "x.data.transpose(axes)", "x.data.T")
def without_axes(m):
    m.Tensor.recording = True
    return m.transpose(m.Tensor(ramp((2, 3, 4))), (1, 2, 0)).shape == (4, 3, 2)


@exercise.symptom(
    "Where a key names a place twice, the last one replaces the first: both are to be added.",
    "np.add.at(whole, key, x.data)",
    "whole[key] = x.data",
)
def assigned(m):
    m.Tensor.recording = True
    return equal(m.put_back(m.Tensor([1.0, 2.0]), [0, 0], (2,)).data, [2, 0])


@exercise.symptom(
    "The rule of index passes g on as it is: put_back gives it the shape of x.",
    "lambda g: put_back(g, key, x.shape)",
    "lambda g: g",
)
def not_put_back(m):
    return gradient(m, "index", ramp((2, 3))).shape == (3,)


@exercise.symptom(
    "The rule of index puts g into zeros of its own shape: the share of x has the shape of x.",
    "put_back(g, key, x.shape)",
    "put_back(g, key, g.shape)",
)
def zeros_like_g(m):
    first = gradients(m, lambda x: m.index(x, slice(0, 1)), ramp((2,)))[0]
    try:
        gradient(m, "index", ramp((2, 3)))
        return False
    except (ValueError, IndexError):
        return first.shape == (1,)


@exercise.symptom(
    "The rule of put_back passes g on as it is: the share of x is g at the key.",
    "lambda g: index(g, key)",
    "lambda g: g",
)
def not_taken(m):
    return gradient(m, "put_back", ramp((2,))).shape == (3,)


for name, old, new in (
    ("reshape", "lambda g: reshape(g, x.shape)", "lambda g: Tensor(g.data.reshape(x.shape))"),
    ("transpose", "lambda g: transpose(g, back)", "lambda g: Tensor(g.data.transpose(back))"),
    ("index", "lambda g: put_back(g, key, x.shape)", "lambda g: Tensor(put_back(g, key, x.shape).data)"),
    ("put_back", "lambda g: index(g, key)", "lambda g: Tensor(g.data[key])"),
):
    exercise.symptom(f"The rule of {name} {COMPUTES}", old, new)(lambda m, name=name: forgets(m, name))


def steps(m, name):
    m.Tensor.recording = True
    return OF[name](m, m.Tensor(given(name))).steps


def forgets(m, name):
    return not no_step(m) and not remembers(m, lambda x: OF[name](m, x), given(name))


@exercise.symptom(
    "A result has no step: it does not lead back to x.", "Tensor(whole, (x, lambda g: index(g, key)))", "Tensor(whole)"
)
def no_step(m):
    return not all(steps(m, name) for name in OF)


@exercise.symptom(
    "The rule of index takes entries of g at the key once more: they are to be put back there.",
    "lambda g: put_back(g, key, x.shape)",
    "lambda g: g[key]",
)
def taken_again(m):
    return gradient(m, "index", ramp((2, 3))).shape == ()


@exercise.symptom(
    "The rule of transpose permutes by `axes` read from the end: that is not the inverse permutation.",
    "np.argsort(axes)",
    "axes[::-1]",
)
def read_from_the_end(m):
    g = ramp((2, 2, 2))
    return equal(gradients(m, lambda x: m.transpose(x, (1, 2, 0)), g, g=g)[0], g.transpose(0, 2, 1))
