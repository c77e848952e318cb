"""Random programs on the engine and on a model of it that has nothing in common with it.

The model computes with polynomials: every entry of every value is a polynomial in the entries of the leaves, in an
array of objects, for which NumPy does the broadcasting and rearranging. Everybody knows how to differentiate a
polynomial, as often as needed; there is no tape, no order and no accumulation to get wrong. All numbers are small
integers, which float64 holds exactly, so that engine and model must agree to the last bit.
"""

import contextlib
import math
from collections import Counter
from itertools import product
from typing import NamedTuple

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import minigrad as mg

# ---- polynomials ----------------------------------------------------------------------------------------------------


class Polynomial:
    """A sum of monomials: {sorted tuple of variables: coefficient}."""

    def __init__(self, terms):
        self.terms = {monomial: c for monomial, c in terms.items() if c}

    def __add__(self, other):
        total = Counter(self.terms)
        total.update(other.terms)
        return Polynomial(total)

    def __mul__(self, other):
        total = Counter()
        for (a, x), (b, y) in product(self.terms.items(), other.terms.items()):
            total[tuple(sorted(a + b))] += x * y
        return Polynomial(total)

    def __neg__(self):
        return Polynomial({monomial: -c for monomial, c in self.terms.items()})

    def __sub__(self, other):
        return self + -other

    def derivative(self, variable):
        total = Counter()
        for monomial, c in self.terms.items():
            if variable in monomial:
                rest = list(monomial)
                rest.remove(variable)
                total[tuple(rest)] += c * monomial.count(variable)
        return Polynomial(total)


def constants(array):
    """An array of numbers as an array of polynomials without variables."""
    return mapped(lambda c: Polynomial({(): c}), np.asarray(array, dtype=float))


def mapped(function, array):
    result = np.empty(array.shape, object)
    for entry in np.ndindex(array.shape):
        result[entry] = function(array[entry])
    return result


def objects(result):
    """What NumPy makes of an array of objects, as an array again if it has become one object."""
    return result if isinstance(result, np.ndarray) else mapped(lambda _: result, np.empty(()))


# ---- the model ------------------------------------------------------------------------------------------------------


class Value:
    """A tensor of the engine, and what the model knows of it."""

    def __init__(self, tensor, entries, parents=(), order=0):
        self.tensor, self.entries = tensor, entries
        self.parents = [parent for parent in parents if parent.requires_grad] if tensor.requires_grad else []
        self.requires_grad = tensor.requires_grad
        # How many gradients deep. A gradient is made from some of its parents, it is up to the rules from which.
        self.order = max((parent.order for parent in self.parents), default=0) + order
        self.variables = []  # arrays of variables for which it can be differentiated
        self.grad, self.grad_parents = None, []
        self.seen = []  # by its hook
        self.freed = self.unknown = self.doubled = False

    def ancestry(self):
        """It and all values that backward goes through, each of them once."""
        found, waiting = {self}, [self]
        while waiting:
            new = set(waiting.pop().parents) - found
            found |= new
            waiting += new
        return found


UNARY = [
    lambda x: -x,
    lambda x: x[0] if x.ndim else x[...],
    lambda x: x[..., [0, 0]] if x.ndim else x[None],
    lambda x: x.transpose(),
    lambda x: x.reshape(-1),
    lambda x: x.sum(),
    lambda x: x.sum(axis=0) if x.ndim else x.sum(),
    lambda x: x.sum(axis=-1, keepdims=True) if x.ndim else x.sum(),
]
BINARY = [lambda a, b: a + b, lambda a, b: a - b, lambda a, b: a * b, lambda a, b: a * b]

SHAPES = [(), (1,), (2,), (3,), (2, 1), (2, 3)]


class Program:
    """A program as it runs, on the engine and on the model at once."""

    def __init__(self):
        self.values, self.numbers = [], {}  # numbers: of each variable

    # -- what the model computes

    def evaluated(self, entries):
        def number(polynomial):
            return float(sum(c * math.prod(self.numbers[v] for v in m) for m, c in polynomial.terms.items()))

        return mapped(number, entries).astype(float)

    def new_variables(self, numbers):
        first = len(self.numbers)
        variables = first + np.arange(numbers.size).reshape(numbers.shape)
        self.numbers |= dict(zip(variables.ravel().tolist(), numbers.ravel().tolist(), strict=True))
        return variables

    def derivative(self, output, start, value):
        """The polynomials of the gradient of Σ start · output for the entries of a value."""
        total = constants(np.zeros(value.entries.shape))
        for variables, entry in product(value.variables, np.ndindex(value.entries.shape)):
            for s, polynomial in zip(start.ravel(), output.entries.ravel(), strict=True):
                total[entry] += Polynomial({(): s}) * polynomial.derivative(int(variables[entry]))
        return total

    def vary(self, value):
        """Make a value one for which the model differentiates, by adding variables that are 0."""
        variables = self.new_variables(np.zeros(value.entries.shape))
        value.entries = objects(value.entries + mapped(lambda v: Polynomial({(int(v),): 1}), variables))
        value.variables.append(variables)

    def double(self, value):
        """What a hook does that doubles gradients: c + 2 (value - c) has the same number and twice the slope."""
        number = constants(self.evaluated(value.entries))
        value.entries = objects(value.entries + value.entries - number)

    # -- what a program can do

    def pick(self, i, differentiable=False):
        values = [v for v in self.values if v.requires_grad] if differentiable else self.values
        return values[-1 - i % len(values)]

    def keep(self, value, extra=""):
        if value.requires_grad:
            if "watched" in extra and not value.variables:
                self.vary(value)
                value.tensor.retain_grad()
            if "doubled" in extra:
                value.doubled = True
                self.double(value)
                value.tensor.register_hook(lambda g: g * 2.0)
            value.tensor.register_hook(lambda g: value.seen.append(g.numpy().copy()))
        np.testing.assert_array_equal(value.tensor.numpy(), self.evaluated(value.entries))
        self.values.append(value)

    def leaf(self, step, requires_grad=True):
        numbers = step.numbers(SHAPES[step.k % len(SHAPES)])
        value = Value(mg.tensor(numbers, requires_grad=requires_grad), constants(numbers))
        if requires_grad:
            self.vary(value)
        self.keep(value, step.extra)

    def constant(self, step):
        self.leaf(step, requires_grad=False)

    def apply(self, function, operands, extra, recorded=True):
        tensors, entries = [v.tensor for v in operands], [v.entries for v in operands]
        try:
            result = objects(function(*entries))
        except ValueError:  # shapes that do not fit
            with pytest.raises(ValueError):
                function(*tensors)
            return
        if result.size > 12 or max(len(p.terms) for p in result.ravel()) > 100:
            return
        with contextlib.nullcontext() if recorded else mg.no_grad():
            tensor = function(*tensors)
        wanted = recorded and any(v.requires_grad for v in operands)
        assert tensor.requires_grad == wanted
        result = result if wanted else constants(self.evaluated(result))
        if np.abs(self.evaluated(result)).max() < 2**20:  # so that products stay below 2^53
            self.keep(Value(tensor, result, operands), extra)

    def unary(self, step):
        self.apply(UNARY[step.k % len(UNARY)], [self.pick(step.i)], step.extra)

    def binary(self, step, recorded=True):
        a, b = self.pick(step.i), self.pick(step.j)
        degree = sum(max(len(m) for p in v.entries.ravel() for m in [(), *p.terms]) for v in (a, b))
        self.apply(BINARY[step.k % (len(BINARY) if degree <= 4 else 2)], [a, b], step.extra, recorded)

    def without_recording(self, step):
        self.binary(step, recorded=False)

    def detach(self, step):
        value = self.pick(step.i)
        self.keep(Value(value.tensor.detach(), constants(self.evaluated(value.entries))))

    def assign(self, step):
        """New numbers for a leaf: what was computed from the old ones keeps them."""
        value = self.pick(step.i)
        if value.tensor.is_leaf and value.requires_grad:
            value.tensor.data = step.numbers(value.entries.shape)
            value.entries = constants(value.tensor.numpy())
            self.vary(value)
            if value.doubled:
                self.double(value)

    def forget_gradient(self, step):
        value = self.pick(step.i, differentiable=True)
        value.tensor.grad = value.grad = None
        value.grad_parents = []

    def use_gradient(self, step):
        value = self.pick(step.i, differentiable=True)
        if value.grad is not None and all(parent.order < 2 for parent in value.grad_parents):
            self.use(value.tensor.grad, value.grad, value.grad_parents)

    def use(self, tensor, entries, parents):
        """Go on with a gradient that is part of the tape."""
        if not tensor.requires_grad:  # then it must not depend on anything
            assert not any(m for p in entries.ravel() for m in p.terms)
        if max(len(p.terms) for p in entries.ravel()) <= 100:
            self.keep(Value(tensor, entries, parents, order=1))

    def backward(self, step, **options):
        output = self.pick(step.i, differentiable=True)
        start = step.numbers(output.entries.shape)
        ancestry = output.ancestry()
        inexact, freed = output.order > 0, any(v.freed for v in ancestry)
        if any(v.unknown for v in ancestry) or (inexact and (freed or not options)):
            return
        if freed:
            with pytest.raises(RuntimeError, match="retain_graph=True"):
                output.tensor.backward(start, **options)
            for value in ancestry:  # how far it got is nobody's business
                value.unknown = bool(value.parents)
                value.seen.clear()
                if value.variables:
                    value.tensor.grad = value.grad = None
            return
        output.tensor.backward(start, **options)
        for value in ancestry:
            value.freed = bool(value.parents) and not options
            if not value.variables:
                continue
            found = self.derivative(output, start, value)
            if inexact and value.tensor.grad is None:  # not reached after all
                assert not any(p.terms for p in found.ravel())
                continue
            if "create_graph" not in options:
                found = constants(self.evaluated(found))
            else:
                value.grad_parents = list({*value.grad_parents, *ancestry})
            if not inexact:
                np.testing.assert_array_equal(np.array(value.seen), self.evaluated(found)[None])  # one call
            value.grad = found if value.grad is None else objects(value.grad + found)
        for value in self.values:
            assert value in ancestry or not value.seen
            value.seen.clear()

    def backward_and_retain(self, step):
        self.backward(step, retain_graph=True)

    def backward_and_record(self, step):
        if self.pick(step.i, differentiable=True).order < 2:  # each order makes the tape a few times as large
            self.backward(step, create_graph=True)

    def backward_of_a_constant(self, step):
        value = self.pick(step.i)
        if not value.requires_grad:
            with pytest.raises(RuntimeError, match="requires_grad=True"):
                value.tensor.backward(np.ones(value.entries.shape))

    def grad(self, step, create_graph=False):
        """mg.grad for two inputs, connected or not; `.grad` of nobody changes."""
        output = self.pick(step.i, True)
        inputs = [v for v in (self.pick(step.j, True), self.pick(step.k, True)) if v.variables]
        ancestry = output.ancestry()
        if not inputs or output.order == 2 or any(v.unknown or v.freed for v in ancestry):
            return
        start = step.numbers(output.entries.shape)
        found = mg.grad(output.tensor, [v.tensor for v in inputs], start, True, create_graph)
        for value, gradient in zip(inputs, found, strict=True):
            wanted = self.derivative(output, start, value)
            np.testing.assert_array_equal(gradient.numpy(), self.evaluated(wanted))
            assert create_graph or not gradient.requires_grad
            if create_graph:
                self.use(gradient, wanted, list(ancestry))
        for value in self.values:
            value.seen.clear()

    def grad_and_record(self, step):
        self.grad(step, create_graph=True)

    # -- what must hold after every step

    def check(self):
        for value in self.values:
            if value.grad is None:
                assert value.tensor.grad is None
            else:
                np.testing.assert_array_equal(value.tensor.grad.numpy(), self.evaluated(value.grad))


class Step(NamedTuple):
    """One step of a program: what it does, to which values (counted from the newest), and with which numbers."""

    action: str
    i: int
    j: int
    k: int
    seed: int
    extra: str  # what is special about the result

    def numbers(self, shape):
        return np.random.default_rng(self.seed).integers(-3, 4, shape).astype(float)


ACTIONS = {
    "binary": 8,
    "unary": 4,
    "leaf": 2,
    "constant": 1,
    "without_recording": 1,
    "detach": 1,
    "assign": 1,
    "forget_gradient": 1,
    "use_gradient": 1,
    "backward": 1,
    "backward_and_retain": 2,
    "backward_and_record": 1,
    "backward_of_a_constant": 1,
    "grad": 1,
    "grad_and_record": 1,
}  # how often
which = st.integers(0, 11)
steps = st.builds(
    Step,
    st.sampled_from([action for action, weight in ACTIONS.items() for _ in range(weight)]),
    which,
    which,
    which,
    st.integers(0, 999),
    st.sampled_from(["", "", "", "watched", "doubled", "doubled, watched"]),
)


@settings(max_examples=4 * settings.default.max_examples)
@given(program=st.lists(steps, min_size=20, max_size=40))
def test_any_program_does_what_the_model_does(program):
    running = Program()
    running.leaf(Step("leaf", 0, 0, 5, 0, ""))
    running.leaf(Step("leaf", 0, 0, 2, 1, ""))
    for step in program:
        getattr(running, step.action)(step)
        running.check()
