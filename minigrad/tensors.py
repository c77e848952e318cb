"""Tensor: an array that remembers how it was made.

A `Tensor` is two things: an array, and, if a gradient is wanted, the `Node` that says which op made the array and
from what. Nodes point to the nodes that they were made from and to no others, so the tape has no cycles, and Python
frees it as soon as the last tensor that needs it is gone. (The exception: after `backward(create_graph=True)` a leaf's
`.grad` leads back to the leaf, and the garbage collector has to find that cycle. `mg.grad` makes none.)

Operators, the methods that are ops, and `backward` are attached in `ops/__init__.py`.
"""

import itertools

import numpy

from minigrad import backend, guard, hints

_ages = itertools.count()


class Node:
    """One entry of the tape: the op that ran, what it ran on, and what is needed to go back through it.

    A node is younger than everything that it was made from, so going through nodes from the youngest to the oldest
    meets each of them after all of its uses: age is the topological order.
    """

    __slots__ = tuple("age op parents args params value shape dtype grad retains hooks".split())

    def __init__(self, value, op=None, parents=(), args=(), params=None, keeps_value=False):
        self.age = next(_ages)
        self.shape, self.dtype = value.shape, value.dtype
        self.op = op  # None for a leaf: a tensor that the user made
        self.parents = parents  # one per operand; None where no gradient flows
        self.args = args  # the op's arguments as plain arrays, or what stands for them; None once they are freed
        self.params = params
        self.value = value if keeps_value else None
        self.grad = None  # the gradient that the user sees, a Tensor
        self.retains = op is None
        self.hooks = ()

    @property
    def ndim(self):
        return len(self.shape)

    def free(self):
        """Let go of what backward would need; it cannot run through this node again."""
        self.args = self.value = None


class Tensor:
    """An array with an optional record of how it was made. Make one with `mg.tensor`.

    Attributes
    ----------
    data : numpy.ndarray or cupy.ndarray
        The numbers, read-only on the CPU. Assign an array of the same shape, on the same device, to replace them by a
        copy of it; the old array stays as it was. TypeError for integers or booleans where a gradient is required.
    grad : Tensor or None
        The gradient that `backward` has accumulated here, with the shape and dtype that `data` had.
    requires_grad : bool
        Whether operations on this tensor are recorded.
    """

    __slots__ = ("__weakref__", "_data", "_node")
    __array_ufunc__ = hints.ArrayUfunc()  # NumPy and CuPy then leave `array * tensor` to Tensor
    __array_function__ = hints.array_function  # numpy.concatenate([tensor, tensor]) is an error
    __getattr__ = hints.no_attribute

    def __init__(self, data, node=None):
        if not hasattr(data, "dtype"):
            raise TypeError(f"Tensor() takes an array, not {type(data).__name__}: write mg.tensor(data)")
        self._data = data
        self._node = node

    # ---- what it is -------------------------------------------------------------------------------------------

    @property
    def data(self):
        return guard.shown(self._data)

    @data.setter
    def data(self, array):
        if isinstance(array, Tensor):
            array = array._data
        elif backend.is_array(array):
            array = guard.own(array)
        self.replace(array)

    def replace(self, array):
        """Put an array that nobody else will write into in the place of the numbers, without copying it."""
        if not backend.is_array(array):
            array = backend.array_module(self._data).asarray(array, dtype=self._data.dtype)
        backend.array_module(self._data, array)  # on two devices?
        if array.shape != self._data.shape:
            raise ValueError(f"data of a tensor of shape {self.shape} cannot be replaced by shape {array.shape}")
        if self._node is not None and array.dtype.kind != "f":
            raise TypeError(f"data of a tensor that requires a gradient must be floating-point, not {array.dtype}")
        self._data = array
        if self._node is not None:
            self._node.dtype = array.dtype

    shape = property(lambda self: self._data.shape)
    ndim = property(lambda self: self._data.ndim)
    size = property(lambda self: hints.Size(self._data.size))
    dtype = property(lambda self: self._data.dtype)
    device = property(lambda self: backend.device_of(self._data))

    def __repr__(self):
        text = numpy.array2string(self.numpy(), separator=", ", prefix="tensor(")
        grad = ", requires_grad=True" if self.requires_grad else ""
        device = "" if self.device == "cpu" else f', device="{self.device}"'
        return f"tensor({text}, dtype={self.dtype}{device}{grad})"

    def __len__(self):
        if not self.ndim:
            raise TypeError("len() of a 0-d tensor")
        return self.shape[0]

    def __iter__(self):
        return (self[i] for i in range(len(self)))

    def __setitem__(self, index, value):
        raise TypeError(
            "a tensor's entries cannot be assigned, because the tape would not see it: select entries with mg.where, "
            "or replace all the numbers by assigning an array to .data"
        )

    __bool__, __float__, __int__ = (lambda self, to=to: to(self._data) for to in (bool, float, int))

    def __format__(self, spec):
        return format(self.item() if spec and self.size == 1 else str(self), spec)

    def __reduce__(self):  # for copies and pickles
        if not self.is_leaf:
            raise RuntimeError("a computed tensor cannot be copied or pickled with its record; detach() it first")
        return _restored, (type(self), self._data, self.requires_grad)

    def __array__(self, dtype=None, copy=None):
        if self.device != "cpu":
            raise TypeError(f"a tensor on {self.device} does not become a NumPy array by itself; .numpy() copies it")
        return numpy.array(self.numpy(), dtype=dtype, copy=copy)

    def numpy(self):
        """The numbers as a NumPy array: `data` itself, read-only, on the CPU; a copy from the GPU."""
        return backend.to_numpy(self.data)

    def item(self):
        """The number in a tensor of one element, as a Python scalar."""
        return self._data.item()

    # ---- its place on the tape --------------------------------------------------------------------------------

    @property
    def requires_grad(self):
        return self._node is not None

    @requires_grad.setter
    def requires_grad(self, wanted):
        if not self.is_leaf:
            raise RuntimeError("requires_grad of a computed tensor follows from its inputs; use detach() to cut it off")
        if wanted and self._data.dtype.kind != "f":
            raise TypeError(f"only floating-point tensors can require a gradient, not {self.dtype}")
        self._node = (self._node or Node(self._data)) if wanted else None

    @property
    def is_leaf(self):
        """Whether the user made this tensor: true also of every tensor that needs no gradient."""
        return self._node is None or self._node.op is None

    @property
    def grad(self):
        return None if self._node is None else self._node.grad

    @grad.setter
    def grad(self, value):
        if self._node is None:
            if value is None:  # there is nothing to forget: frozen parameters
                return
            raise RuntimeError("this tensor does not require a gradient; make it with requires_grad=True")
        if value is not None and not isinstance(value, Tensor) and not backend.is_array(value):
            raise TypeError(f"grad must be a Tensor, an array or None, not {type(value).__name__}")
        if value is not None and (value.shape, value.dtype) != (self.shape, self.dtype):
            raise ValueError(f"grad must be {self.shape} {self.dtype} like the tensor, not {value.shape} {value.dtype}")
        value = value if value is None or isinstance(value, Tensor) else Tensor(guard.own(value))
        if value is not None:
            backend.array_module(self._data, value._data)  # on two devices?
        self._node.grad = value

    def retain_grad(self):
        """Keep the gradient when `backward` passes through this computed tensor, as is always done for leaves."""
        if self._node is None:
            raise RuntimeError("retain_grad() on a tensor that does not require a gradient")
        self._node.retains = True

    def register_hook(self, function):
        """Call `function(grad)` when this tensor's gradient is complete; what it returns, if not None, replaces it.

        Returns a function that takes the hook away again.
        """
        if self._node is None:
            raise RuntimeError("register_hook() on a tensor that does not require a gradient")
        node = self._node
        node.hooks = (*node.hooks, function)

        def remove():
            hooks = list(node.hooks)
            if function in hooks:
                hooks.remove(function)  # once, as it was put there
                node.hooks = tuple(hooks)

        return remove

    def detach(self):
        """The same numbers (not copied) without the record."""
        return Tensor(self._data)


def _restored(kind, data, requires_grad):
    made = kind(data)
    made.requires_grad = requires_grad
    return made


def tensor(data, dtype=None, device=None, requires_grad=False):
    """Make a Tensor from numbers, a nested list, an array or another tensor. The numbers are copied.

    Arrays keep their dtype; Python floats become float32 and Python integers int64.

    Parameters
    ----------
    data : array_like
    dtype : dtype, optional
    device : {"cpu", "cuda"}, optional
        Where the numbers go; by default they stay where they are.
    requires_grad : bool
        Record what is done with this tensor. TypeError unless its dtype is floating-point.
    """
    if isinstance(data, Tensor):
        data = data.data
    if not backend.is_array(data):
        plain = not isinstance(data, numpy.generic)
        if isinstance(data, (list, tuple)):  # a list may hold tensors or NumPy numbers, whose dtype then counts
            plain = not any(hasattr(entry, "dtype") for entry in _entries(data))
            data = [numpy.asarray(entry) for entry in data] if not plain else data
        data = numpy.asarray(data)
        if data.dtype == object:
            raise TypeError("tensor() needs numbers in a rectangular arrangement")
        if plain and dtype is None and data.dtype == numpy.float64:
            dtype = numpy.float32
    if data.dtype.kind not in "bfiu":
        raise TypeError(f"tensor() takes real numbers, integers and booleans, not {data.dtype}")
    data = data if device is None else backend.to_device(data, device)
    made = Tensor(backend.array_module(data).array(data, dtype=numpy.dtype(dtype or data.dtype).type))  # native bytes
    if made.dtype.kind not in "bfiu":
        raise TypeError(f"tensor() makes real numbers, integers and booleans, not {made.dtype}")
    made.requires_grad = requires_grad
    return made


def _entries(nested):
    for entry in nested:
        if isinstance(entry, (list, tuple)):
            yield from _entries(entry)
        else:
            yield entry
