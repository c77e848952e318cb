"""An engine of one's own: arrays that remember how they were made, and the way back through them.

It grows in ten steps. The task of each stands in a file beside this one, engine_1_tensor.md and so on; three dots mark
the places where you write. Helpers of your own are welcome, and a later step may change what an earlier one wrote.
"""

import contextlib
import copy
import itertools

import numpy as np

# ---- Tensor: steps 1, 2 and 9 ---------------------------------------------------------------------------------------


class Tensor:
    """An array of float64 that remembers how it was made."""

    recording = True  # whether tensors keep their steps
    ages = itertools.count()
    __array_ufunc__ = None  # NumPy then leaves `array * tensor` to Tensor

    def __init__(self, data, *steps):
        """Numbers, and a step, (source, rule), for each tensor that they were computed from."""
        # solution 1
        self._data = np.array(data, dtype=float)
        self._data.flags.writeable = False
        self.steps = steps if Tensor.recording else ()
        self.seen = [source.data for source, _ in self.steps]  # the arrays that backward relies on
        self.age, self.grad = next(Tensor.ages), None
        # end of solution

    @property
    def data(self):
        return self._data

    @data.setter
    def data(self, numbers):
        """Put other numbers of the same shape in the place of a leaf's."""
        # solution 9
        if self.steps:
            raise RuntimeError("this tensor was computed from others: compute it again, with other numbers")
        new = Tensor(numbers)
        if new.shape != self.shape:
            raise ValueError(f"numbers of shape {new.shape} cannot replace those of a tensor of shape {self.shape}")
        self._data = new.data
        # end of solution

    @property
    def shape(self):
        # solution 1
        return self.data.shape
        # end of solution

    def backward(self, g=None):
        """Add to `.grad` of every leaf that this tensor was made from; g is the gradient of this tensor."""
        # solution 2
        if g is None and self.data.size != 1:
            raise RuntimeError(f"backward from shape {self.shape} needs g of that shape; or sum up first")
        with recording(False):
            gradients = go_back(self, Tensor(np.ones(self.shape)) if g is None else g)
        for tensor, gradient in gradients.items():
            if not tensor.steps:
                before = 0.0 if tensor.grad is None else tensor.grad.data
                tensor.grad = Tensor(before + gradient.data)
        # end of solution

    def __add__(self, other):
        return add(*alike(self, other))

    def __mul__(self, other):
        return multiply(*alike(self, other))

    def __truediv__(self, other):
        a, b = alike(self, other)
        return multiply(a, power(b, -1))

    __radd__, __rmul__ = __add__, __mul__
    __neg__ = lambda self: self * -1.0
    __sub__ = lambda self, other: self + -other
    __rsub__ = lambda self, other: -self + other
    __rtruediv__ = lambda self, other: power(self, -1) * other
    __pow__ = lambda self, p: power(self, p)
    __matmul__ = lambda self, other: matmul(self, tensor(other))
    __rmatmul__ = lambda self, other: matmul(tensor(other), self)
    __getitem__ = lambda self, key: index(self, key)
    __repr__ = lambda self: f"Tensor({self.data})"


def tensor(x):
    """A tensor itself; anything else as a tensor."""
    return x if isinstance(x, Tensor) else Tensor(x)


@contextlib.contextmanager
def recording(wanted):
    """Within `with recording(False):` tensors keep no steps; within `with recording(True):` they do."""
    before, Tensor.recording = Tensor.recording, wanted
    try:
        yield
    finally:
        Tensor.recording = before


# ---- 1. Two operations ----------------------------------------------------------------------------------------------


def add(a, b):
    """a + b, for two tensors of one shape."""
    # solution 1
    return Tensor(a.data + b.data, (a, lambda g: g), (b, lambda g: g))
    # end of solution


def multiply(a, b):
    """a · b, entry by entry, for two tensors of one shape."""
    # solution 1
    return Tensor(a.data * b.data, (a, lambda g: multiply(g, b)), (b, lambda g: multiply(g, a)))
    # end of solution


# ---- 2. The way back ------------------------------------------------------------------------------------------------


def in_order(result):
    """The result and every tensor that it was made from, each once, and before all that it was made from."""
    # solution 2
    found, waiting = {result}, [result]
    while waiting:
        for source, _ in waiting.pop().steps:
            if source not in found:
                found.add(source)
                waiting.append(source)
    return sorted(found, key=lambda tensor: tensor.age, reverse=True)
    # end of solution


def go_back(result, g):
    """{tensor: its gradient} for the result, whose gradient is g, and every tensor that it was made from."""
    # solution 2
    gradients = {result: g}
    for tensor in in_order(result):
        for (source, rule), seen in zip(tensor.steps, tensor.seen, strict=True):
            if source.data is not seen:
                raise RuntimeError(f"a tensor of shape {source.shape} was given other numbers after it had been used")
            share = rule(gradients[tensor])
            gradients[source] = add(gradients[source], share) if source in gradients else share
    return gradients
    # end of solution


# ---- 3. Broadcasting ------------------------------------------------------------------------------------------------


def broadcast_to(x, shape):
    """x, repeated as NumPy repeats it to have this shape."""
    # solution 3
    return Tensor(np.broadcast_to(x.data, shape), (x, lambda g: sum_to(g, x.shape)))
    # end of solution


def sum_to(x, shape):
    """The sum of x over the axes along which an array of this shape is repeated to have the shape of x."""
    # solution 3
    new = len(x.shape) - len(shape)
    axes = [axis for axis in range(len(x.shape)) if axis < new or shape[axis - new] == 1]
    return Tensor(x.data.sum(axis=tuple(axes)).reshape(shape), (x, lambda g: broadcast_to(g, x.shape)))
    # end of solution


def alike(a, b):
    """Two tensors of one shape, to which a and b are broadcast; numbers and arrays become tensors."""
    # solution 3
    a, b = tensor(a), tensor(b)
    shape = np.broadcast_shapes(a.shape, b.shape)
    return broadcast_to(a, shape), broadcast_to(b, shape)
    # end of solution


# ---- 4. Functions of each entry -------------------------------------------------------------------------------------


def exp(x):
    # solution 4
    return Tensor(np.exp(x.data), (x, lambda g: g * exp(x)))
    # end of solution


def log(x):
    # solution 4
    return Tensor(np.log(x.data), (x, lambda g: g / x))
    # end of solution


def tanh(x):
    # solution 4
    return Tensor(np.tanh(x.data), (x, lambda g: g * (1 - tanh(x) ** 2)))
    # end of solution


def relu(x):
    """max(x, 0); the slope at 0 is 0."""
    # solution 4
    return Tensor(np.maximum(x.data, 0), (x, lambda g: g * (x.data > 0)))
    # end of solution


def power(x, p):
    """x to the power p, a number."""
    # solution 4
    return Tensor(x.data**p, (x, lambda g: g * (p * power(x, p - 1) if p else 0)))
    # end of solution


# ---- 5. Views -------------------------------------------------------------------------------------------------------


def reshape(x, shape):
    # solution 5
    return Tensor(x.data.reshape(shape), (x, lambda g: reshape(g, x.shape)))
    # end of solution


def transpose(x, axes=None):
    """Axis i of the result is axis axes[i] of x; without axes, their order is reversed."""
    # solution 5
    back = None if axes is None else np.argsort(axes)
    return Tensor(x.data.transpose(axes), (x, lambda g: transpose(g, back)))
    # end of solution


def index(x, key):
    """x[key], for every key that NumPy takes."""
    # solution 5
    key = copy.deepcopy(key)  # an array in it may be changed
    return Tensor(x.data[key], (x, lambda g: put_back(g, key, x.shape)))
    # end of solution


def put_back(x, key, shape):
    """Zeros of this shape, to which x is added at [key]; what stands there twice is added twice."""
    # solution 5
    whole = np.zeros(shape)
    np.add.at(whole, key, x.data)
    return Tensor(whole, (x, lambda g: index(g, key)))
    # end of solution


# ---- 6. Reductions --------------------------------------------------------------------------------------------------


def sum(x, axis=None, keepdims=False):
    # solution 6
    kept = x.data.sum(axis=axis, keepdims=True).shape
    return Tensor(x.data.sum(axis=axis, keepdims=keepdims), (x, lambda g: broadcast_to(reshape(g, kept), x.shape)))
    # end of solution


def mean(x, axis=None, keepdims=False):
    # solution 6
    total = sum(x, axis, keepdims)
    return total * (total.data.size / x.data.size)
    # end of solution


def max(x, axis=None, keepdims=False):
    """The largest entries; several equal ones share the gradient evenly."""
    # solution 6
    kept = x.data.max(axis=axis, keepdims=True)
    largest = x.data == kept
    share = largest / largest.sum(axis=axis, keepdims=True)
    return Tensor(kept if keepdims else x.data.max(axis=axis), (x, lambda g: reshape(g, kept.shape) * share))
    # end of solution


# ---- 7. Matrix products ---------------------------------------------------------------------------------------------


def flipped(x):
    """x with its last two axes exchanged: each of its matrices transposed."""
    # solution 7
    *stack, rows, columns = range(len(x.shape))
    return transpose(x, (*stack, columns, rows))
    # end of solution


def matmul(a, b):
    """a @ b, for matrices and stacks of them, which broadcast."""
    # solution 7
    by_a, by_b = lambda g: sum_to(g @ flipped(b), a.shape), lambda g: sum_to(flipped(a) @ g, b.shape)
    return Tensor(a.data @ b.data, (a, by_a), (b, by_b))
    # end of solution


# ---- 8. Derivatives of derivatives ----------------------------------------------------------------------------------


def grad(result, inputs, create_graph=False):
    """A list: the gradient of the sum of the result's entries for each of the inputs."""
    # solution 8
    with recording(create_graph):
        gradients = go_back(result, Tensor(np.ones(result.shape)))
        return [gradients[x] if x in gradients else Tensor(np.zeros(x.shape)) for x in inputs]
    # end of solution


# ---- 10. Modules and an optimizer -----------------------------------------------------------------------------------


class Module:
    """Something with parameters: every tensor among its attributes is one."""

    def parameters(self):
        """A list of the tensors among the attributes, in lists, tuples, dictionaries and modules too, each once."""
        # solution 10
        found, waiting = {}, [self]
        while waiting:
            match waiting.pop(0):
                case Tensor() as parameter:
                    found[parameter] = True
                case Module() as module:
                    waiting[:0] = vars(module).values()
                case dict() as several:
                    waiting[:0] = several.values()
                case list() | tuple() as several:
                    waiting[:0] = several
        return list(found)
        # end of solution


class WeightNorm(Module):
    """A layer under weight normalization: x wᵀ + b, where each row of w is g v/‖v‖."""

    def __init__(self, weight, bias):
        # solution 10
        self.v, self.g, self.b = Tensor(weight), Tensor(np.linalg.norm(weight, axis=1)), Tensor(bias)
        # end of solution

    def __call__(self, x):
        # solution 10
        w = reshape(self.g / sum(self.v**2, axis=1) ** 0.5, (-1, 1)) * self.v
        return x @ transpose(w) + self.b
        # end of solution


class SGD:
    """Gradient descent with momentum."""

    def __init__(self, parameters, lr, momentum=0.0):
        # solution 10
        self.parameters, self.lr, self.momentum = list(parameters), lr, momentum
        self.velocities = [0.0] * len(self.parameters)
        # end of solution

    def zero_grad(self):
        # solution 10
        for parameter in self.parameters:
            parameter.grad = None
        # end of solution

    def step(self):
        # solution 10
        for i, parameter in enumerate(self.parameters):
            if parameter.grad is not None:
                self.velocities[i] = self.momentum * self.velocities[i] + parameter.grad.data
                parameter.data = parameter.data - self.lr * self.velocities[i]
        # end of solution
