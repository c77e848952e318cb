"""Written by `python -m tests.types.stubs`: types for checkers and editors, who cannot see what op() makes."""

import os
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from typing import Any, Protocol, TypeVar, overload

import numpy
import numpy.typing as npt

from minigrad import data as data, draw as draw, nn as nn, optim as optim, testing as testing, workers as workers
from minigrad.settings import config as config
from minigrad.tensors import Array as Array
from minigrad.tensors import Operand as Operand
from minigrad.tensors import Tensor as Tensor

__version__: str
__all__ = ['Tensor', 'abs', 'add', 'argmax', 'astype', 'avg_pool2d', 'broadcast_to', 'checkpoint', 'clip', 'concatenate', 'config', 'conv2d', 'conv_transpose2d', 'cos', 'cuda_graph', 'cumsum', 'data', 'detect_anomaly', 'divide', 'draw', 'einsum', 'elu', 'enable_grad', 'equal', 'erf', 'exp', 'expand_dims', 'flip', 'getitem', 'grad', 'greater', 'greater_equal', 'hessian', 'hvp', 'is_available', 'jacobian', 'jvp', 'leaky_relu', 'less', 'less_equal', 'load', 'log', 'log_softmax', 'logsumexp', 'matmul', 'max', 'max_pool2d', 'maximum', 'mean', 'min', 'minimum', 'moveaxis', 'multiply', 'negative', 'nn', 'no_grad', 'norm', 'not_equal', 'optim', 'pad', 'power', 'prod', 'relu', 'reshape', 'save', 'sigmoid', 'sign', 'sin', 'softmax', 'softplus', 'split', 'sqrt', 'square', 'squeeze', 'stack', 'std', 'subtract', 'sum', 'swapaxes', 'take', 'tanh', 'tensor', 'tensordot', 'testing', 'transpose', 'var', 'vjp', 'where', 'workers']

_F = TypeVar("_F", bound=Callable[..., Any])

class ContextDecorated(AbstractContextManager[None], Protocol):
    def __call__(self, function: _F) -> _F: ...

@overload
def abs(x: Tensor) -> Tensor:
    r"""Absolute value; its derivative at 0 is taken as 0."""
@overload
def abs(x: Array) -> Array: ...
@overload
def add(a: Tensor, b: Operand) -> Tensor:
    r"""a + b."""
@overload
def add(a: Operand, b: Tensor) -> Tensor: ...
@overload
def add(a: Array | float, b: Array | float) -> Array: ...
@overload
def argmax(x: Tensor, axis: int | None = None) -> Tensor:
    r"""The position of the largest entry along `axis`; of several, the first."""
@overload
def argmax(x: Array, axis: int | None = None) -> Array: ...
@overload
def astype(x: Tensor, dtype: npt.DTypeLike) -> Tensor:
    r"""x in another dtype."""
@overload
def astype(x: Array, dtype: npt.DTypeLike) -> Array: ...
@overload
def avg_pool2d(x: Tensor, size: int | tuple[int, int], stride: int | tuple[int, int] | None = None) -> Tensor:
    r"""The mean of each window; arguments as for `max_pool2d`."""
@overload
def avg_pool2d(x: Array, size: int | tuple[int, int], stride: int | tuple[int, int] | None = None) -> Array: ...
@overload
def broadcast_to(x: Tensor, shape: int | Sequence[int]) -> Tensor:
    r"""`x` repeated, without a copy, to the given shape."""
@overload
def broadcast_to(x: Array, shape: int | Sequence[int]) -> Array: ...
def checkpoint(f: Callable[..., Any], *args: Any) -> Any:
    r"""f(*args), of which the tape keeps the arguments and the result only: backward calls `f` a second time.

    Derivatives of every order are those of f(*args), for tensors among the arguments and for leaves, such as
    parameters, that `f` uses without being given them. Each order calls `f` once more.

    Parameters
    ----------
    f : callable
        Returns one Tensor, and the same one whenever it is called with the same arguments: noise is to be drawn
        outside and given as an argument. What it changes, it changes twice: the running statistics of a BatchNorm, say.
    *args
        Tensors, arrays, anything. A Tensor reaches `f` as a leaf of its own, with the same numbers.

    Returns
    -------
    Tensor

    Raises
    ------
    TypeError
        If `f` returns several tensors: stack or concatenate them. In backward under `create_graph=True`, if its
        arguments and the leaves that it uses are on two devices.
    RuntimeError
        Here, if `f` uses a tensor that was computed outside of it: give it as an argument. In backward, if `f` gives
        another result than the first time (random numbers, a parameter changed in between).
    """
@overload
def clip(x: Tensor, low: Array | float | None = None, high: Array | float | None = None) -> Tensor:
    r"""x, but at least `low` and at most `high`; the gradient passes where x was not changed, bounds included."""
@overload
def clip(x: Array, low: Array | float | None = None, high: Array | float | None = None) -> Array: ...
@overload
def concatenate(xs: Sequence[Tensor], axis: int | None = 0) -> Tensor:
    r"""The arrays or tensors in the sequence `xs`, one after the other along an axis that exists (None: flattened)."""
@overload
def concatenate(xs: Sequence[Array], axis: int | None = 0) -> Array: ...  # type: ignore[overload-overlap]
@overload
def concatenate(xs: Sequence[Tensor | Array], axis: int | None = 0) -> Tensor: ...
@overload
def conv2d(x: Tensor, weight: Operand, bias: Operand | None = None, stride: int | tuple[int, int] = 1, padding: int | tuple[int, int] = 0) -> Tensor:
    r"""Two-dimensional convolution (cross-correlation) with zero padding.

    Parameters
    ----------
    x : (N, C, H, W) array or Tensor
    weight : (O, C, kh, kw) array or Tensor
    bias : (O,) array or Tensor, optional
    stride, padding : int or (int, int)

    Returns
    -------
    (N, O, H', W') array or Tensor, with H' = (H + 2·padding - kh) // stride + 1

    Raises
    ------
    ValueError
        If the channels differ, or the kernel does not fit into the padded image.
    """
@overload
def conv2d(x: Operand, weight: Tensor, bias: Operand | None = None, stride: int | tuple[int, int] = 1, padding: int | tuple[int, int] = 0) -> Tensor: ...
@overload
def conv2d(x: Array | float, weight: Array | float, bias: Array | None = None, stride: int | tuple[int, int] = 1, padding: int | tuple[int, int] = 0) -> Array: ...
@overload
def conv_transpose2d(x: Tensor, weight: Operand, bias: Operand | None = None, stride: int | tuple[int, int] = 1, padding: int | tuple[int, int] = 0, output_padding: int | tuple[int, int] = 0) -> Tensor:
    r"""The transpose of conv2d as a linear map: it takes the shape of conv2d's output to that of its input.

    Parameters
    ----------
    x : (N, C, H, W) array or Tensor
    weight : (C, O, kh, kw) array or Tensor
    bias : (O,) array or Tensor, optional
    stride, padding, output_padding : int or (int, int)

    Returns
    -------
    (N, O, H', W') array or Tensor, with H' = (H - 1)·stride - 2·padding + kh + output_padding

    Raises
    ------
    ValueError
        If the channels differ, or if conv2d would not take an image of that size back to the size of `x`: if
        `output_padding` is not less than `stride`, or nothing is left by `padding`.
    """
@overload
def conv_transpose2d(x: Operand, weight: Tensor, bias: Operand | None = None, stride: int | tuple[int, int] = 1, padding: int | tuple[int, int] = 0, output_padding: int | tuple[int, int] = 0) -> Tensor: ...
@overload
def conv_transpose2d(x: Array | float, weight: Array | float, bias: Array | None = None, stride: int | tuple[int, int] = 1, padding: int | tuple[int, int] = 0, output_padding: int | tuple[int, int] = 0) -> Array: ...
@overload
def cos(x: Tensor) -> Tensor:
    r"""Cosine of x in radians."""
@overload
def cos(x: Array) -> Array: ...
def cuda_graph(function: Callable[..., Any], *modules: Any) -> Callable[..., Any]:
    r"""`function`, which on a GPU from its third call on, with arrays of the same shapes, replays what its second did.

    On the CPU it runs as it is. Either way its results come back detached: whatever needs the tape, `backward` first of
    all, belongs into the function. Nothing that one call gave is changed by the next.

    When it replays, no line of the function runs. What the GPU does is fixed: the kernels, with every number that
    Python had put into them. New are only

    - the arrays that it is called with,
    - the parameters and buffers of `modules`, which may also change in between (by an optimizer, or loaded),
    - what dropout and noise draw, from the same generators and in the same order as without a graph.

    It is recorded anew when shapes or dtypes change, or a layer's mode (training or not) or generator, or the precision
    of convolutions. After any other change, such as another probability of dropout, make a new one.

    Parameters
    ----------
    function : callable(*arrays)
        Takes arrays or Tensors and returns a Tensor or several. It may call `backward`; gradients are added to `.grad`
        of the modules' parameters. It may not look at a number (`item()`, `float()`, `if loss > 0`), nor change
        parameters: step the optimizer outside.
    *modules : nn.Module
        Everything trained or remembered that the function uses.

    Returns
    -------
    callable(*arrays)
        RuntimeError if the function does on the GPU what cannot be recorded.
    """
@overload
def cumsum(x: Tensor, axis: int = -1) -> Tensor:
    r"""Running sums along one axis, the last by default. (NumPy's default is to flatten the array.)"""
@overload
def cumsum(x: Array, axis: int = -1) -> Array: ...
def detect_anomaly() -> AbstractContextManager[None]:
    r"""Within this, the first op to make a NaN or inf, forward or backward, raises FloatingPointError naming itself."""
@overload
def divide(a: Tensor, b: Operand) -> Tensor:
    r"""a / b."""
@overload
def divide(a: Operand, b: Tensor) -> Tensor: ...
@overload
def divide(a: Array | float, b: Array | float) -> Array: ...
@overload
def einsum(subscripts: str, *operands: Array) -> Array:  # type: ignore[overload-overlap]
    r"""The sum of products over indices named by letters: `einsum("ij,jk->ik", a, b)` is the product of matrices.

    Parameters
    ----------
    subscripts : str
        A letter for each axis of each operand; after the arrow, the indices of the result. All others are summed
        over. A letter twice in one operand means its diagonal; `...` stands for further axes, broadcast from the
        right. Without an arrow, the result has the indices that occur once, in alphabetical order, after `...`.
    *operands : array or Tensor
        Where they share an index they have one size along it, or size 1, which is repeated.

    Returns
    -------
    array or Tensor

    Raises
    ------
    ValueError
        If the subscripts cannot be read, or do not fit the operands' shapes.
    """
@overload
def einsum(subscripts: str, *operands: Operand) -> Tensor: ...
@overload
def elu(x: Tensor, alpha: float = 1.0) -> Tensor:
    r"""x where x > 0, else alpha · (exp(x) - 1)."""
@overload
def elu(x: Array, alpha: float = 1.0) -> Array: ...
def enable_grad() -> ContextDecorated:
    r"""Within this, operations are recorded even inside `no_grad`."""
@overload
def equal(a: Tensor, b: Operand) -> Tensor:
    r"""a == b, elementwise."""
@overload
def equal(a: Operand, b: Tensor) -> Tensor: ...
@overload
def equal(a: Array | float, b: Array | float) -> Array: ...
@overload
def erf(x: Tensor) -> Tensor:
    r"""The error function, 2/√π ∫₀ˣ exp(-t²) dt."""
@overload
def erf(x: Array) -> Array: ...
@overload
def exp(x: Tensor) -> Tensor:
    r"""eˣ."""
@overload
def exp(x: Array) -> Array: ...
@overload
def expand_dims(x: Tensor, axis: int) -> Tensor:
    r"""A new axis of size 1 at position `axis` of the result."""
@overload
def expand_dims(x: Array, axis: int) -> Array: ...
@overload
def flip(x: Tensor, axis: int | tuple[int, ...] | None = None) -> Tensor:
    r"""The entries in reversed order along `axis` (None: every axis)."""
@overload
def flip(x: Array, axis: int | tuple[int, ...] | None = None) -> Array: ...
@overload
def getitem(x: Tensor, index: Any) -> Tensor:
    r"""x[index], for integers, slices, `...`, None, boolean masks, and arrays of integers."""
@overload
def getitem(x: Array, index: Any) -> Array: ...
@overload
def grad(outputs: Tensor | Sequence[Tensor], inputs: Tensor, grad_outputs: Any = None, retain_graph: bool = False, create_graph: bool = False) -> Tensor:
    r"""Gradients of `outputs` with respect to `inputs`; no tensor's `.grad` is changed.

    Parameters
    ----------
    outputs, inputs : Tensor or sequence of Tensor
        Several outputs count as their sum.
    grad_outputs : array_like or sequence, optional
        One gradient per output to start from; may be left out for outputs of one element.
    retain_graph, create_graph : bool
        As for `Tensor.backward`.

    Returns
    -------
    Tensor or list of Tensor
        One gradient per input, of its shape and dtype; zeros for an input that no output depends on.
    """
@overload
def grad(outputs: Tensor | Sequence[Tensor], inputs: Sequence[Tensor], grad_outputs: Any = None, retain_graph: bool = False, create_graph: bool = False) -> list[Tensor]: ...
@overload
def greater(a: Tensor, b: Operand) -> Tensor:
    r"""a > b, elementwise."""
@overload
def greater(a: Operand, b: Tensor) -> Tensor: ...
@overload
def greater(a: Array | float, b: Array | float) -> Array: ...
@overload
def greater_equal(a: Tensor, b: Operand) -> Tensor:
    r"""a >= b, elementwise."""
@overload
def greater_equal(a: Operand, b: Tensor) -> Tensor: ...
@overload
def greater_equal(a: Array | float, b: Array | float) -> Array: ...
def hessian(f: Callable[..., Any], x: Operand) -> Tensor:
    r"""The Hessian of a scalar function `f` at `x`, of shape (*x.shape, *x.shape)."""
def hvp(f: Callable[..., Any], args: Any, vectors: Any) -> Any:
    r"""H v for the Hessian H of a scalar function `f` at `args`, without forming H: the gradient of ∇fᵀ v.

    Parameters
    ----------
    f : callable
        A function of Tensors that returns a Tensor of one element.
    args, vectors : array, Tensor or number, or list or tuple with one array_like per argument
        Of equal shapes, as for `jvp`.

    Returns
    -------
    Tensor or list of Tensor, like `args`

    Raises
    ------
    ValueError
        If a vector does not have its argument's shape.
    """
def is_available(device: str) -> bool:
    r"""Whether arrays can be made on `device`, "cpu" or "cuda"."""
def jacobian(f: Callable[..., Any], x: Operand) -> Tensor:
    r"""The Jacobian of `f` at `x`, of shape (*f(x).shape, *x.shape): one backward pass for each entry of f(x)."""
def jvp(f: Callable[..., Any], args: Any, tangents: Any) -> tuple[Tensor, Tensor]:
    r"""The value of `f` at `args` and J v, the product of its Jacobian with the tangents.

    Forward mode by reverse mode twice: uᵀ J v is linear in u, and its gradient with respect to u is J v. So no second
    table of rules is needed.

    Parameters
    ----------
    f : callable
        A function of Tensors that returns one Tensor.
    args, tangents : array, Tensor or number, or list or tuple with one array_like per argument
        Of equal shapes. A single argument that is a list of numbers must be wrapped in a list: [[1.0, 2.0]].

    Returns
    -------
    value, tangent : Tensor
        Of one shape and dtype.

    Raises
    ------
    ValueError
        If a tangent does not have its argument's shape.
    """
@overload
def leaky_relu(x: Tensor, slope: float = 0.01) -> Tensor:
    r"""x where x > 0, else slope · x; its derivative at 0 is taken as `slope`."""
@overload
def leaky_relu(x: Array, slope: float = 0.01) -> Array: ...
@overload
def less(a: Tensor, b: Operand) -> Tensor:
    r"""a < b, elementwise."""
@overload
def less(a: Operand, b: Tensor) -> Tensor: ...
@overload
def less(a: Array | float, b: Array | float) -> Array: ...
@overload
def less_equal(a: Tensor, b: Operand) -> Tensor:
    r"""a <= b, elementwise."""
@overload
def less_equal(a: Operand, b: Tensor) -> Tensor: ...
@overload
def less_equal(a: Array | float, b: Array | float) -> Array: ...
def load(path: str | os.PathLike[str]) -> Any:
    r"""Read what `save` wrote.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    CheckpointError
        If it is not a file, not a checkpoint, or damaged.
    """
@overload
def log(x: Tensor) -> Tensor:
    r"""Natural logarithm, ln x."""
@overload
def log(x: Array) -> Array: ...
@overload
def log_softmax(x: Tensor, axis: int | tuple[int, ...] | None = -1) -> Tensor:
    r"""x - log Σ exp(x) along `axis` (the last by default)."""
@overload
def log_softmax(x: Array, axis: int | tuple[int, ...] | None = -1) -> Array: ...
@overload
def logsumexp(x: Tensor, axis: int | tuple[int, ...] | None = -1, keepdims: bool = False) -> Tensor:
    r"""log Σ exp(x) over `axis` (the last by default); of nothing -inf."""
@overload
def logsumexp(x: Array, axis: int | tuple[int, ...] | None = -1, keepdims: bool = False) -> Array: ...
@overload
def matmul(a: Tensor, b: Operand) -> Tensor:
    r"""a @ b: matrices (…, n, k) and (…, k, m), the leading axes broadcast; a vector counts as one row or one column."""
@overload
def matmul(a: Operand, b: Tensor) -> Tensor: ...
@overload
def matmul(a: Array | float, b: Array | float) -> Array: ...
@overload
def max(x: Tensor, axis: int | tuple[int, ...] | None = None, keepdims: bool = False) -> Tensor:
    r"""The largest entry over `axis`; among ties the gradient is split evenly."""
@overload
def max(x: Array, axis: int | tuple[int, ...] | None = None, keepdims: bool = False) -> Array: ...
@overload
def max_pool2d(x: Tensor, size: int | tuple[int, int], stride: int | tuple[int, int] | None = None) -> Tensor:
    r"""The largest entry of each window; among ties the first, in row-major order, gets the whole gradient.

    Parameters
    ----------
    x : (N, C, H, W) array or Tensor
    size : int or (int, int)
    stride : int or (int, int), optional
        The windows' distance; by default their size, so that they do not overlap.
    """
@overload
def max_pool2d(x: Array, size: int | tuple[int, int], stride: int | tuple[int, int] | None = None) -> Array: ...
@overload
def maximum(a: Tensor, b: Operand) -> Tensor:
    r"""The larger of a and b; ties split the gradient evenly."""
@overload
def maximum(a: Operand, b: Tensor) -> Tensor: ...
@overload
def maximum(a: Array | float, b: Array | float) -> Array: ...
@overload
def mean(x: Tensor, axis: int | tuple[int, ...] | None = None, keepdims: bool = False) -> Tensor:
    r"""The arithmetic mean over `axis`; of nothing it is NaN."""
@overload
def mean(x: Array, axis: int | tuple[int, ...] | None = None, keepdims: bool = False) -> Array: ...
@overload
def min(x: Tensor, axis: int | tuple[int, ...] | None = None, keepdims: bool = False) -> Tensor:
    r"""The smallest entry over `axis`; among ties the gradient is split evenly."""
@overload
def min(x: Array, axis: int | tuple[int, ...] | None = None, keepdims: bool = False) -> Array: ...
@overload
def minimum(a: Tensor, b: Operand) -> Tensor:
    r"""The smaller of a and b; ties split the gradient evenly."""
@overload
def minimum(a: Operand, b: Tensor) -> Tensor: ...
@overload
def minimum(a: Array | float, b: Array | float) -> Array: ...
@overload
def moveaxis(x: Tensor, source: int, destination: int) -> Tensor:
    r"""One axis moved to another position, the others kept in order."""
@overload
def moveaxis(x: Array, source: int, destination: int) -> Array: ...
@overload
def multiply(a: Tensor, b: Operand) -> Tensor:
    r"""a · b."""
@overload
def multiply(a: Operand, b: Tensor) -> Tensor: ...
@overload
def multiply(a: Array | float, b: Array | float) -> Array: ...
@overload
def negative(x: Tensor) -> Tensor:
    r"""-x."""
@overload
def negative(x: Array) -> Array: ...
def no_grad() -> ContextDecorated:
    r"""Within `with mg.no_grad():` nothing is recorded (in this thread). Also usable as a decorator."""
@overload
def norm(x: Tensor, axis: int | tuple[int, ...] | None = None, keepdims: bool = False) -> Tensor:
    r"""The Euclidean norm √Σx² over `axis`; its gradient at 0 is taken as 0."""
@overload
def norm(x: Array, axis: int | tuple[int, ...] | None = None, keepdims: bool = False) -> Array: ...
@overload
def not_equal(a: Tensor, b: Operand) -> Tensor:
    r"""a != b, elementwise."""
@overload
def not_equal(a: Operand, b: Tensor) -> Tensor: ...
@overload
def not_equal(a: Array | float, b: Array | float) -> Array: ...
@overload
def pad(x: Tensor, pad_width: int | Sequence[Sequence[int]], value: float = 0) -> Tensor:
    r"""`x` with `value` around it; `pad_width` is a number, or one (before, after) pair for each axis."""
@overload
def pad(x: Array, pad_width: int | Sequence[Sequence[int]], value: float = 0) -> Array: ...
@overload
def power(a: Tensor, b: Operand) -> Tensor:
    r"""aᵇ; the gradient for b is 0 where a = 0 ≤ b, and NaN where a < 0."""
@overload
def power(a: Operand, b: Tensor) -> Tensor: ...
@overload
def power(a: Array | float, b: Array | float) -> Array: ...
@overload
def prod(x: Tensor, axis: int | tuple[int, ...] | None = None, keepdims: bool = False) -> Tensor:
    r"""The product over `axis`."""
@overload
def prod(x: Array, axis: int | tuple[int, ...] | None = None, keepdims: bool = False) -> Array: ...
@overload
def relu(x: Tensor) -> Tensor:
    r"""max(x, 0); its derivative at 0 is taken as 0."""
@overload
def relu(x: Array) -> Array: ...
@overload
def reshape(x: Tensor, *shape: int | Sequence[int]) -> Tensor:
    r"""The same entries, in row-major order, in another shape, given as a tuple or one by one; one size may be -1."""
@overload
def reshape(x: Array, *shape: int | Sequence[int]) -> Array: ...
def save(path: str | os.PathLike[str], tree: Any, compress: bool = False) -> None:
    r"""Write `tree` (dicts with string keys, lists, strings, numbers, None, arrays, Tensors) to the file `path`.

    Arrays come back as NumPy arrays, bit for bit; integers of any size and floats come back exactly.

    With `compress` the file is smaller, for weights by about a sixth, and takes half a second for 20 MB. Most of what
    can be saved is in the exponents, of which a network has few different ones. So the bytes of all numbers are stored
    in groups: first bytes, second bytes, and so on.
    """
@overload
def sigmoid(x: Tensor) -> Tensor:
    r"""1 / (1 + exp(-x)), computed without overflow, and exactly where it is small."""
@overload
def sigmoid(x: Array) -> Array: ...
@overload
def sign(x: Tensor) -> Tensor:
    r"""-1, 0 or 1; its derivative is 0 everywhere."""
@overload
def sign(x: Array) -> Array: ...
@overload
def sin(x: Tensor) -> Tensor:
    r"""Sine of x in radians."""
@overload
def sin(x: Array) -> Array: ...
@overload
def softmax(x: Tensor, axis: int | tuple[int, ...] | None = -1) -> Tensor:
    r"""exp(x) / Σ exp(x) along `axis` (the last by default)."""
@overload
def softmax(x: Array, axis: int | tuple[int, ...] | None = -1) -> Array: ...
@overload
def softplus(x: Tensor) -> Tensor:
    r"""log(1 + exp(x)), computed without overflow."""
@overload
def softplus(x: Array) -> Array: ...
@overload
def split(x: Tensor, sections: int | Sequence[int], axis: int = 0) -> list[Tensor]:
    r"""A list of parts of `x` along `axis`: `sections` equal ones, or, for a sequence, cut at those positions."""
@overload
def split(x: Array, sections: int | Sequence[int], axis: int = 0) -> list[Array]: ...
@overload
def sqrt(x: Tensor) -> Tensor:
    r"""√x; its derivative at 0 is infinite."""
@overload
def sqrt(x: Array) -> Array: ...
@overload
def square(x: Tensor) -> Tensor:
    r"""x²."""
@overload
def square(x: Array) -> Array: ...
@overload
def squeeze(x: Tensor, axis: int | tuple[int, ...] | None = None) -> Tensor:
    r"""Without the axes of size 1: all of them, or those in `axis`."""
@overload
def squeeze(x: Array, axis: int | tuple[int, ...] | None = None) -> Array: ...
@overload
def stack(xs: Sequence[Tensor], axis: int = 0) -> Tensor:
    r"""The arrays or tensors in the sequence `xs`, all of one shape, along a new axis."""
@overload
def stack(xs: Sequence[Array], axis: int = 0) -> Array: ...  # type: ignore[overload-overlap]
@overload
def stack(xs: Sequence[Tensor | Array], axis: int = 0) -> Tensor: ...
@overload
def std(x: Tensor, axis: int | tuple[int, ...] | None = None, keepdims: bool = False, ddof: int = 0) -> Tensor:
    r"""The standard deviation over `axis`; where all entries are equal its gradient is taken as 0."""
@overload
def std(x: Array, axis: int | tuple[int, ...] | None = None, keepdims: bool = False, ddof: int = 0) -> Array: ...
@overload
def subtract(a: Tensor, b: Operand) -> Tensor:
    r"""a - b."""
@overload
def subtract(a: Operand, b: Tensor) -> Tensor: ...
@overload
def subtract(a: Array | float, b: Array | float) -> Array: ...
@overload
def sum(x: Tensor, axis: int | tuple[int, ...] | None = None, keepdims: bool = False) -> Tensor:
    r"""The sum over `axis` (None: all; an int; a tuple)."""
@overload
def sum(x: Array, axis: int | tuple[int, ...] | None = None, keepdims: bool = False) -> Array: ...
@overload
def swapaxes(x: Tensor, axis1: int, axis2: int) -> Tensor:
    r"""Two axes exchanged."""
@overload
def swapaxes(x: Array, axis1: int, axis2: int) -> Array: ...
@overload
def take(x: Tensor, indices: Operand | Sequence[int], axis: int | None = None) -> Tensor:
    r"""The entries of `x` at integer `indices` along `axis` (None: of the flattened array)."""
@overload
def take(x: Array, indices: Operand | Sequence[int], axis: int | None = None) -> Array: ...
@overload
def tanh(x: Tensor) -> Tensor:
    r"""Hyperbolic tangent, (eˣ - e⁻ˣ) / (eˣ + e⁻ˣ)."""
@overload
def tanh(x: Array) -> Array: ...
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
@overload
def tensordot(a: Tensor, b: Operand, axes: int | Sequence[int] | Sequence[Sequence[int]] = 2) -> Tensor:
    r"""The sum of products over pairs of axes: the last `axes` of `a` with the first of `b`, or two lists of axes."""
@overload
def tensordot(a: Operand, b: Tensor, axes: int | Sequence[int] | Sequence[Sequence[int]] = 2) -> Tensor: ...
@overload
def tensordot(a: Array | float, b: Array | float, axes: int | Sequence[int] | Sequence[Sequence[int]] = 2) -> Array: ...
@overload
def transpose(x: Tensor, *axes: int | Sequence[int]) -> Tensor:
    r"""The axes in the given order (a tuple, or one by one), or reversed if none is given."""
@overload
def transpose(x: Array, *axes: int | Sequence[int]) -> Array: ...
@overload
def var(x: Tensor, axis: int | tuple[int, ...] | None = None, keepdims: bool = False, ddof: int = 0) -> Tensor:
    r"""The variance over `axis`: squared deviations from the mean, added up and divided by (count - ddof)."""
@overload
def var(x: Array, axis: int | tuple[int, ...] | None = None, keepdims: bool = False, ddof: int = 0) -> Array: ...
def vjp(f: Callable[..., Any], *args: Any) -> tuple[Tensor, Callable[..., Any]]:
    r"""The value of `f` at `args`, and the function u ↦ uᵀ J, where J is the Jacobian of `f` there.

    Parameters
    ----------
    f : callable
        A function of Tensors that returns one Tensor.
    *args : array_like or Tensor

    Returns
    -------
    value : Tensor
    pull_back : callable
        Takes u, array_like of the shape of `value`; returns a tuple with one Tensor per argument, of that argument's
        shape and dtype, or the Tensor itself if there is a single argument. It may be called any number of times.
    """
@overload
def where(condition: Tensor, a: Operand, b: Operand) -> Tensor:
    r"""a where the condition holds, else b."""
@overload
def where(condition: Operand, a: Tensor, b: Operand) -> Tensor: ...
@overload
def where(condition: Operand, a: Operand, b: Tensor) -> Tensor: ...
@overload
def where(condition: Array | float, a: Array | float, b: Array | float) -> Array: ...
