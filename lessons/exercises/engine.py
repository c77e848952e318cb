"""What the laws of the engine share: they run a learner's engine, and compare with NumPy."""

import types

import numpy as np
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from lessons.exercises import BrokenLaw, agree, differences, hold, shown
from lessons.exercises.cases import NUMBERS

SHAPES = array_shapes(min_dims=0, max_dims=3, max_side=3)
AWAY_FROM_0 = NUMBERS.map(lambda x: x or 0.25)
COMPUTES = "computes with arrays, which remember nothing; write it with functions of your engine."


def tensors_of(shapes=SHAPES, elements=NUMBERS):
    """Arrays of these shapes, for tensors."""
    return shapes.flatmap(lambda shape: arrays(float, shape, elements=elements))


def array_of(what, came, answer):
    """The numbers of a tensor; BrokenLaw if it is none."""
    if not isinstance(came, answer.Tensor):
        kind = "nothing (a function that ends without return, or dots)" if came is None else f"a {type(came).__name__}"
        raise BrokenLaw(what, kind, "a Tensor")
    return np.asarray(came.data)


def theirs(answer, value):
    """A list or array in the answer's process: an engine that keeps it sees how it changes afterwards."""
    module = vars(answer).get("_answer", answer)
    return value if isinstance(module, types.ModuleType) else module._client.keep(value)


def ramp(shape):
    """1, 2, 3, …: a gradient to go back with."""
    return np.arange(1.0, np.prod(shape, dtype=int) + 1).reshape(shape)


def check(answer, words, f, truth, **given):
    """Raise BrokenLaw unless f, of tensors, has the values of `truth`, of arrays, and the slopes of differences of it.

    The differences are of one number, Σ g · truth. Each evaluation rounds it by some ε times the sum of its terms'
    sizes; divided by the step, 1e-6, that is 1e-10 of the sum a rounding. Truncation, by the third derivative, is less.
    """
    leaves, places = [answer.Tensor(x) for x in given.values()], list(given.values())
    at = ", ".join(f"{name} = {shown(x)}" for name, x in given.items())
    y, wanted = f(*leaves), truth(*places)
    agree(f"{words}, where {at}", array_of(words, y, answer), wanted, rtol=1e-12, atol=1e-12)
    g = ramp(np.shape(wanted))
    y.backward(answer.Tensor(g))
    for i, (name, leaf) in enumerate(zip(given, leaves, strict=True)):
        what = f"{name}.grad after y = {words} and y.backward(g), where {at}, g = {shown(g)}"
        slopes = differences(lambda x, i=i: np.sum(g * truth(*places[:i], x, *places[i + 1 :])), places[i])
        agree(what, array_of(what, leaf.grad, answer), slopes, rtol=1e-6, atol=1e-9 * (1 + np.abs(g * wanted).sum()))


def gradients(answer, f, *given, g=None):
    """The gradients, as arrays, after y = f(…) of tensors and y.backward(g); g is a ramp if it is not given."""
    answer.Tensor.recording = True  # whatever went before
    leaves = [answer.Tensor(x) for x in given]
    y = f(*leaves)
    y.backward(answer.Tensor(ramp(y.shape) if g is None else g))
    return [leaf.grad.data for leaf in leaves]


def shares(answer, result, g):
    """{source: the sum of its shares, an array} for a tensor and the gradient that comes in, an array."""
    totals = {}
    for step in result.steps:
        hold(isinstance(step, tuple) and len(step) == 2, "a step", shown(step), "a pair (source, rule)")
        source, rule = step
        hold(isinstance(source, answer.Tensor), "the source in a step", f"a {type(source).__name__}", "a Tensor")
        hold(callable(rule), "the rule in a step", f"a {type(rule).__name__}", "a function of g")
        share = array_of("what a rule returns", rule(answer.Tensor(g)), answer)
        totals[source] = totals.get(source, 0) + share
    return totals


def remembers(answer, f, *given):
    """Whether the shares of all rules of f, of tensors, lead back to the gradient that comes in."""
    answer.Tensor.recording = True
    y = f(*map(answer.Tensor, given))
    g = answer.Tensor(ramp(y.shape))
    return all(leads_to(rule(g), g) for _, rule in y.steps)


def leads_to(result, source):
    """Whether a tensor was made from another."""
    found, waiting = {result}, [result]
    while waiting:
        earlier = {tensor for tensor, _ in waiting.pop().steps} - found
        found |= earlier
        waiting += earlier
    return source in found


def refused(what, kind, function):
    """Raise BrokenLaw unless calling the function raises an error of this kind."""
    try:
        function()
    except kind:
        return
    except Exception as error:
        raise BrokenLaw(what, f"{type(error).__name__}: {error}", f"a {kind.__name__}") from None
    raise BrokenLaw(what, "no error", f"a {kind.__name__}")


def equal(came, wanted):
    """Whether two arrays have one shape and agree to about eight digits."""
    return np.shape(came) == np.shape(wanted) and bool(np.allclose(came, wanted, rtol=1e-7, atol=1e-9))


small_integers = st.integers(-2, 2).map(float)
