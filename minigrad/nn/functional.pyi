"""Written by `python -m tests.types.stubs`: types for checkers and editors, who cannot see what op() makes."""

from collections.abc import Sequence
from typing import Any, overload

import numpy
import numpy.typing as npt

from minigrad.tensors import Array, Operand, Tensor

__all__ = ['avg_pool2d', 'binary_cross_entropy_with_logits', 'conv2d', 'conv_transpose2d', 'cross_entropy', 'dropout', 'huber_loss', 'linear', 'max_pool2d', 'mse_loss', 'normalize', 'one_hot']

@overload
def avg_pool2d(x: Tensor, size: int | tuple[int, int], stride: int | tuple[int, int] | None = None) -> Tensor:
    r"""The mean of each window; arguments as for `max_pool2d`."""
@overload
def avg_pool2d(x: Array, size: int | tuple[int, int], stride: int | tuple[int, int] | None = None) -> Array: ...
@overload
def binary_cross_entropy_with_logits(logits: Tensor, targets: Operand) -> Tensor:
    r"""Mean of -t log σ(x) - (1 - t) log(1 - σ(x)) = softplus(x) - t·x; targets between 0 and 1.

    Here and in the next two, `targets` have the shape of `logits` or can be broadcast to it, else a ValueError.
    """
@overload
def binary_cross_entropy_with_logits(logits: Operand, targets: Tensor) -> Tensor: ...
@overload
def binary_cross_entropy_with_logits(logits: Array | float, targets: Array | float) -> Array: ...
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
def cross_entropy(logits: Tensor, labels: Operand | Sequence[int]) -> Tensor:
    r"""Mean of -log softmax(logits)[label].

    Parameters
    ----------
    logits : (N, classes) array or Tensor
    labels : (N,) array of integers
        IndexError if one is out of range, TypeError if they are not integers. Labels that are on the GPU already are
        not looked at, so as not to wait for it: there one out of range makes the loss NaN, and its row of the gradient.

    Returns
    -------
    0-d Tensor (or number, for plain arrays), in nats
    """
@overload
def cross_entropy(logits: Array, labels: Operand | Sequence[int]) -> Array: ...
@overload
def dropout(x: Tensor, p: float, rng: numpy.random.Generator) -> Tensor:
    r"""Each entry is 0 with probability `p`, else divided by 1 - p; decided by the NumPy generator `rng`."""
@overload
def dropout(x: Array, p: float, rng: numpy.random.Generator) -> Array: ...
@overload
def huber_loss(prediction: Tensor, target: Operand, delta: float = 1.0) -> Tensor:
    r"""Mean of ½d² where |d| ≤ delta, else delta·(|d| - ½delta); ValueError unless delta is positive."""
@overload
def huber_loss(prediction: Operand, target: Tensor, delta: float = 1.0) -> Tensor: ...
@overload
def huber_loss(prediction: Array | float, target: Array | float, delta: float = 1.0) -> Array: ...
@overload
def linear(x: Tensor, weight: Operand, bias: Operand | None = None) -> Tensor:
    r"""x Wᵀ + b, for x (…, in), weight (out, in) and bias (out,); the result is (…, out)."""
@overload
def linear(x: Operand, weight: Tensor, bias: Operand | None = None) -> Tensor: ...
@overload
def linear(x: Array | float, weight: Array | float, bias: Array | None = None) -> Array: ...
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
def mse_loss(prediction: Tensor, target: Operand) -> Tensor:
    r"""Mean squared difference."""
@overload
def mse_loss(prediction: Operand, target: Tensor) -> Tensor: ...
@overload
def mse_loss(prediction: Array | float, target: Array | float) -> Array: ...
@overload
def normalize(x: Tensor, axes: int | tuple[int, ...], eps: float) -> Tensor:
    r"""(x - mean) / √(variance + eps) with the mean and the (biased) variance over `axes`."""
@overload
def normalize(x: Array, axes: int | tuple[int, ...], eps: float) -> Array: ...
def one_hot(labels: Operand | Sequence[int], classes: int, dtype: npt.DTypeLike = ...) -> Array:
    r"""(N,) integer labels as an (N, classes) array with a 1 in each row.

    IndexError if a label is out of range; if the labels are on the GPU, its row is NaN instead.
    """
def _batch_norm(*args: Any, **params: Any) -> Any: ...
def _batch_norm_rule(*args: Any, **params: Any) -> Any: ...
def _but_channels(*args: Any, **params: Any) -> Any: ...
def _cross_entropy(*args: Any, **params: Any) -> Any: ...
def _cross_entropy_rule(*args: Any, **params: Any) -> Any: ...
def _deviation(*args: Any, **params: Any) -> Any: ...
def _difference(*args: Any, **params: Any) -> Any: ...
def _in_range(*args: Any, **params: Any) -> Any: ...
def _linear(*args: Any, **params: Any) -> Any: ...
def _normalize_rule(*args: Any, **params: Any) -> Any: ...
def _one_hot(*args: Any, **params: Any) -> Any: ...
def _one_target_each(*args: Any, **params: Any) -> Any: ...
def _rows(*args: Any, **params: Any) -> Any: ...
def array_of(*args: Any, **params: Any) -> Any: ...
def batch_moments(*args: Any, **params: Any) -> Any: ...
def batch_norm(*args: Any, **params: Any) -> Any: ...
def check_channels(*args: Any, **params: Any) -> Any: ...
def checked_labels(*args: Any, **params: Any) -> Any: ...
def draw_mask(*args: Any, **params: Any) -> Any: ...
def draw_normal(*args: Any, **params: Any) -> Any: ...
def drawn(*args: Any, **params: Any) -> Any: ...
def dropout_mask(*args: Any, **params: Any) -> Any: ...
def inverse_deviation(*args: Any, **params: Any) -> Any: ...
def normal_like(*args: Any, **params: Any) -> Any: ...
def on_device_of(*args: Any, **params: Any) -> Any: ...
