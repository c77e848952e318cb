"""Written by `python -m tests.types.stubs`: types for checkers and editors, who cannot see what op() makes."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any, Literal, TypeAlias

import numpy
import numpy.typing as npt

Array: TypeAlias = npt.NDArray[Any]
Operand: TypeAlias = Tensor | Array | numpy.number[Any] | float  # what an op takes beside a tensor

class Node:
    def __getattr__(self, name: str) -> Any: ...

class Tensor:
    r"""An array with an optional record of how it was made. Make one with `mg.tensor`.

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

    _data: Any
    _node: Any
    def __init__(self, data: Array, node: Node | None = None) -> None: ...
    @property
    def T(self) -> Tensor: ...
    @property
    def data(self) -> Any: ...
    @data.setter
    def data(self, value: Any) -> None: ...
    @property
    def device(self) -> Literal["cpu", "cuda"]: ...
    @property
    def dtype(self) -> numpy.dtype[Any]: ...
    @property
    def grad(self) -> Any: ...
    @grad.setter
    def grad(self, value: Any) -> None: ...
    @property
    def is_leaf(self) -> bool: ...
    @property
    def ndim(self) -> int: ...
    @property
    def requires_grad(self) -> bool: ...
    @requires_grad.setter
    def requires_grad(self, value: Any) -> None: ...
    @property
    def shape(self) -> tuple[int, ...]: ...
    @property
    def size(self) -> int: ...
    def __add__(self, other: Operand) -> Tensor: ...
    def __radd__(self, other: Operand) -> Tensor: ...
    def __iadd__(self, other: Operand) -> Tensor: ...
    def __sub__(self, other: Operand) -> Tensor: ...
    def __rsub__(self, other: Operand) -> Tensor: ...
    def __isub__(self, other: Operand) -> Tensor: ...
    def __mul__(self, other: Operand) -> Tensor: ...
    def __rmul__(self, other: Operand) -> Tensor: ...
    def __imul__(self, other: Operand) -> Tensor: ...
    def __truediv__(self, other: Operand) -> Tensor: ...
    def __rtruediv__(self, other: Operand) -> Tensor: ...
    def __itruediv__(self, other: Operand) -> Tensor: ...
    def __pow__(self, other: Operand) -> Tensor: ...
    def __rpow__(self, other: Operand) -> Tensor: ...
    def __ipow__(self, other: Operand) -> Tensor: ...
    def __matmul__(self, other: Operand) -> Tensor: ...
    def __rmatmul__(self, other: Operand) -> Tensor: ...
    def __imatmul__(self, other: Operand) -> Tensor: ...
    def __eq__(self, other: Operand) -> Tensor: ...  # type: ignore[override]
    def __ne__(self, other: Operand) -> Tensor: ...  # type: ignore[override]
    def __gt__(self, other: Operand) -> Tensor: ...  # type: ignore[misc]
    def __ge__(self, other: Operand) -> Tensor: ...  # type: ignore[misc]
    def __lt__(self, other: Operand) -> Tensor: ...  # type: ignore[misc]
    def __le__(self, other: Operand) -> Tensor: ...  # type: ignore[misc]
    def __getitem__(self, index: Any) -> Tensor: ...
    def __abs__(self) -> Tensor: ...
    def __bool__(self) -> bool: ...
    def __float__(self) -> float: ...
    def __format__(self, spec: str) -> str: ...
    def __hash__(self) -> int: ...
    def __int__(self) -> int: ...
    def __iter__(self) -> Iterator[Tensor]: ...
    def __len__(self) -> int: ...
    def __neg__(self) -> Tensor: ...
    def __repr__(self) -> str: ...
    def abs(self) -> Tensor:
        r"""Absolute value; its derivative at 0 is taken as 0."""
    def argmax(self, axis: int | None = None) -> Tensor:
        r"""The position of the largest entry along `axis`; of several, the first."""
    def astype(self, dtype: npt.DTypeLike) -> Tensor:
        r"""x in another dtype."""
    def backward(self, grad: Operand | None = None, retain_graph: bool = False, create_graph: bool = False) -> None:
        r"""Add the gradient of this tensor to `.grad` of every leaf that it was made from.

        Parameters
        ----------
        grad : array_like, optional
            The gradient to start from, of this tensor's shape; 1 for a tensor of one element.
        retain_graph : bool
            Keep what the tape has stored, so that backward can run through it again.
        create_graph : bool
            Record the backward pass itself, so that the gradients can be differentiated in turn. Prefer `mg.grad` for it,
            which leaves nothing behind in `.grad`.
        """
    def broadcast_to(self, shape: int | Sequence[int]) -> Tensor:
        r"""`x` repeated, without a copy, to the given shape."""
    def clip(self, low: Array | float | None = None, high: Array | float | None = None) -> Tensor:
        r"""x, but at least `low` and at most `high`; the gradient passes where x was not changed, bounds included."""
    def cos(self) -> Tensor:
        r"""Cosine of x in radians."""
    def cumsum(self, axis: int = -1) -> Tensor:
        r"""Running sums along one axis, the last by default. (NumPy's default is to flatten the array.)"""
    def detach(self) -> Tensor:
        r"""The same numbers (not copied) without the record."""
    def exp(self) -> Tensor:
        r"""eˣ."""
    def flip(self, axis: int | tuple[int, ...] | None = None) -> Tensor:
        r"""The entries in reversed order along `axis` (None: every axis)."""
    def item(self) -> float:
        r"""The number in a tensor of one element, as a Python scalar."""
    def log(self) -> Tensor:
        r"""Natural logarithm, ln x."""
    def log_softmax(self, axis: int | tuple[int, ...] | None = -1) -> Tensor:
        r"""x - log Σ exp(x) along `axis` (the last by default)."""
    def logsumexp(self, axis: int | tuple[int, ...] | None = -1, keepdims: bool = False) -> Tensor:
        r"""log Σ exp(x) over `axis` (the last by default); of nothing -inf."""
    def matmul(self, b: Operand) -> Tensor:
        r"""a @ b: matrices (…, n, k) and (…, k, m), the leading axes broadcast; a vector counts as one row or one column."""
    def max(self, axis: int | tuple[int, ...] | None = None, keepdims: bool = False) -> Tensor:
        r"""The largest entry over `axis`; among ties the gradient is split evenly."""
    def mean(self, axis: int | tuple[int, ...] | None = None, keepdims: bool = False) -> Tensor:
        r"""The arithmetic mean over `axis`; of nothing it is NaN."""
    def min(self, axis: int | tuple[int, ...] | None = None, keepdims: bool = False) -> Tensor:
        r"""The smallest entry over `axis`; among ties the gradient is split evenly."""
    def moveaxis(self, source: int, destination: int) -> Tensor:
        r"""One axis moved to another position, the others kept in order."""
    def norm(self, axis: int | tuple[int, ...] | None = None, keepdims: bool = False) -> Tensor:
        r"""The Euclidean norm √Σx² over `axis`; its gradient at 0 is taken as 0."""
    def numpy(self) -> Array:
        r"""The numbers as a NumPy array: `data` itself, read-only, on the CPU; a copy from the GPU."""
    def prod(self, axis: int | tuple[int, ...] | None = None, keepdims: bool = False) -> Tensor:
        r"""The product over `axis`."""
    def register_hook(self, function: Callable[[Tensor], Tensor | None]) -> Callable[[], None]:
        r"""Call `function(grad)` when this tensor's gradient is complete; what it returns, if not None, replaces it.

        Returns a function that takes the hook away again.
        """
    def relu(self) -> Tensor:
        r"""max(x, 0); its derivative at 0 is taken as 0."""
    def replace(self, array: Any) -> None:
        r"""Put an array that nobody else will write into in the place of the numbers, without copying it."""
    def reshape(self, *shape: int | Sequence[int]) -> Tensor:
        r"""The same entries, in row-major order, in another shape, given as a tuple or one by one; one size may be -1."""
    def retain_grad(self) -> None:
        r"""Keep the gradient when `backward` passes through this computed tensor, as is always done for leaves."""
    def sigmoid(self) -> Tensor:
        r"""1 / (1 + exp(-x)), computed without overflow, and exactly where it is small."""
    def sin(self) -> Tensor:
        r"""Sine of x in radians."""
    def softmax(self, axis: int | tuple[int, ...] | None = -1) -> Tensor:
        r"""exp(x) / Σ exp(x) along `axis` (the last by default)."""
    def split(self, sections: int | Sequence[int], axis: int = 0) -> list[Tensor]:
        r"""A list of parts of `x` along `axis`: `sections` equal ones, or, for a sequence, cut at those positions."""
    def sqrt(self) -> Tensor:
        r"""√x; its derivative at 0 is infinite."""
    def square(self) -> Tensor:
        r"""x²."""
    def squeeze(self, axis: int | tuple[int, ...] | None = None) -> Tensor:
        r"""Without the axes of size 1: all of them, or those in `axis`."""
    def std(self, axis: int | tuple[int, ...] | None = None, keepdims: bool = False, ddof: int = 0) -> Tensor:
        r"""The standard deviation over `axis`; where all entries are equal its gradient is taken as 0."""
    def sum(self, axis: int | tuple[int, ...] | None = None, keepdims: bool = False) -> Tensor:
        r"""The sum over `axis` (None: all; an int; a tuple)."""
    def swapaxes(self, axis1: int, axis2: int) -> Tensor:
        r"""Two axes exchanged."""
    def take(self, indices: Operand | Sequence[int], axis: int | None = None) -> Tensor:
        r"""The entries of `x` at integer `indices` along `axis` (None: of the flattened array)."""
    def tanh(self) -> Tensor:
        r"""Hyperbolic tangent, (eˣ - e⁻ˣ) / (eˣ + e⁻ˣ)."""
    def to(self, device: str) -> Tensor:
        r"""This tensor on a device ("cpu", "cuda"), recorded, so that gradients come back to where it was."""
    def transpose(self, *axes: int | Sequence[int]) -> Tensor:
        r"""The axes in the given order (a tuple, or one by one), or reversed if none is given."""
    def var(self, axis: int | tuple[int, ...] | None = None, keepdims: bool = False, ddof: int = 0) -> Tensor:
        r"""The variance over `axis`: squared deviations from the mean, added up and divided by (count - ddof)."""

def tensor(data: Any, dtype: npt.DTypeLike | None = None, device: str | None = None, requires_grad: bool = False) -> Tensor:
    r"""Make a Tensor from numbers, a nested list, an array or another tensor. The numbers are copied.

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
