"""Two-dimensional convolution, closed under differentiation.

y = conv2d(x, w) is linear in x and in w. The gradient for x is itself a convolution (`conv2d_input_gradient`), and so
is the one for w (`conv2d_weight_gradient`); the gradients of these two are again among the three.

Shapes: x (N, C, H, W); w (O, C, kh, kw); y (N, O, H', W') with H' = (H + 2·padding - kh) // stride + 1.
As everywhere in deep learning this is a cross-correlation: the kernel is not flipped.
"""

import numpy

from minigrad.op import primitive
from minigrad.ops.reduction import floats
from minigrad.ops.shape import sum

__all__ = [
    "avg_pool2d", "conv2d", "conv_transpose2d", "max_pool2d",
]  # fmt: skip


def pair(value, name):
    """(value, value) for an int, or the given pair; ValueError unless they are ints, at least 1, or 0 for a padding."""
    both = tuple(value) if isinstance(value, (tuple, list)) else (value, value)
    least = 0 if "padding" in name else 1
    if len(both) != 2 or not all(isinstance(v, int) and v >= least for v in both):
        raise ValueError(f"{name} must be an int or a pair of ints, at least {least}, not {value!r}")
    return both


def window_entries(size, stride, out):
    """Yield (i, j, index) for each position in a window; x[index], (N, C, *out), is that entry of every window."""
    for i in range(size[0]):
        for j in range(size[1]):
            rows = slice(i, i + (out[0] - 1) * stride[0] + 1, stride[0])
            columns = slice(j, j + (out[1] - 1) * stride[1] + 1, stride[1])
            yield i, j, (slice(None), slice(None), rows, columns)


# ---- convolution, its gradient for x, its gradient for w: each a sum over the entries (i, j) of the kernel ----------


def output_size(x, w, stride, padding):
    """The output's height and width; ValueError for shapes that do not fit together."""
    if x.ndim != 4 or w.ndim != 4:
        raise ValueError("expected x of shape (N, C, H, W) and weight of shape (out, in, kh, kw)")
    if x.shape[1] != w.shape[1]:
        raise ValueError(f"x has {x.shape[1]} channels and the weight is made for {w.shape[1]}")
    sizes = [(n + 2 * p - k) // s + 1 for n, k, s, p in zip(x.shape[2:], w.shape[2:], stride, padding, strict=True)]
    if min(sizes) < 1:
        raise ValueError(f"the kernel {w.shape[2:]} is larger than the padded image: use more padding than {padding}")
    return tuple(sizes)


def _with_zeros_around(xp, x, padding):
    return xp.pad(x, ((0, 0), (0, 0), (padding[0],) * 2, (padding[1],) * 2))


@primitive(
    lambda g, _y, _x, w, stride, padding: conv2d_input_gradient(g, w, _x.shape[2:], stride, padding),
    lambda g, _y, x, _w, stride, padding: conv2d_weight_gradient(g, x, _w.shape[2:], stride, padding),
)
def _conv2d(xp, x, w, stride, padding):
    """y[n, o, h, w] = Σ x[n, c, h·s + i - p, w·s + j - p] · w[o, c, i, j], with zeros outside the image."""
    out = output_size(x, w, stride, padding)
    x = _with_zeros_around(xp, x, padding)
    y = xp.zeros((len(x), len(w), *out), xp.result_type(x, w))
    for i, j, seen in window_entries(w.shape[2:], stride, out):
        y += xp.einsum("nchw,oc->nohw", x[seen], w[:, :, i, j], optimize=True)
    return y


@primitive(
    lambda g, _y, _gy, w, size, stride, padding: _conv2d(g, w, stride, padding),
    lambda g, _y, gy, _w, size, stride, padding: conv2d_weight_gradient(gy, g, _w.shape[2:], stride, padding),
)
def conv2d_input_gradient(xp, gy, w, size, stride, padding):
    """The gradient of conv2d for x, an image of `size` (H, W), from the gradient `gy` of y."""
    check_channels_of_gradient(gy, w)
    height, width = (n + 2 * p for n, p in zip(size, padding, strict=True))
    gx = xp.zeros((len(gy), w.shape[1], height, width), xp.result_type(gy, w))
    for i, j, seen in window_entries(w.shape[2:], stride, gy.shape[2:]):
        gx[seen] += xp.einsum("nohw,oc->nchw", gy, w[:, :, i, j], optimize=True)
    return gx[:, :, padding[0] : height - padding[0], padding[1] : width - padding[1]]


@primitive(
    lambda g, _y, _gy, x, size, stride, padding: _conv2d(x, g, stride, padding),
    lambda g, _y, gy, _x, size, stride, padding: conv2d_input_gradient(gy, g, _x.shape[2:], stride, padding),
)
def conv2d_weight_gradient(xp, gy, x, size, stride, padding):
    """The gradient of conv2d for w, a kernel of `size` (kh, kw), from the gradient `gy` of y."""
    check_number_of_images(gy, x)
    x = _with_zeros_around(xp, x, padding)
    gw = xp.zeros((gy.shape[1], x.shape[1], *size), xp.result_type(gy, x))
    for i, j, seen in window_entries(size, stride, gy.shape[2:]):
        gw[:, :, i, j] = xp.einsum("nohw,nchw->oc", gy, x[seen], optimize=True)
    return gw


@primitive(
    lambda g, _y, _x, w, _b, stride, padding: conv2d_input_gradient(g, w, _x.shape[2:], stride, padding),
    lambda g, _y, x, _w, _b, stride, padding: conv2d_weight_gradient(g, x, _w.shape[2:], stride, padding),
    lambda g, _y, _x, _w, _b, stride, padding: sum(g, (0, 2, 3)),
)
def conv2d_with_bias(xp, x, w, b, stride, padding):
    """conv2d, plus b[o] at every place of output channel o."""
    check_bias(w, b)
    return _conv2d(x, w, stride, padding) + b.reshape(-1, 1, 1)


def check_channels_of_gradient(gy, w):
    """ValueError unless the gradient of y has a channel for each output of the weight."""
    if gy.shape[1] != w.shape[0]:
        raise ValueError(f"the gradient has {gy.shape[1]} channels, the weight {w.shape[0]} outputs")


def check_number_of_images(gy, x):
    """ValueError unless there is a gradient for each image."""
    if len(gy) != len(x):
        raise ValueError(f"gradients for {len(gy)} images, and {len(x)} images")


def check_bias(w, b):
    """ValueError unless `b` fits the weight."""
    if b.shape != w.shape[:1]:
        raise ValueError(f"the bias must be of shape {w.shape[:1]}, one number for each channel of the output")


def conv2d(x, weight, bias=None, stride=1, padding=0):
    """Two-dimensional convolution (cross-correlation) with zero padding.

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
    stride, padding = pair(stride, "stride"), pair(padding, "padding")
    return _conv2d(x, weight, stride, padding) if bias is None else conv2d_with_bias(x, weight, bias, stride, padding)


def conv_transpose2d(x, weight, bias=None, stride=1, padding=0, output_padding=0):
    """The transpose of conv2d as a linear map: it takes the shape of conv2d's output to that of its input.

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
    stride, padding, extra = pair(stride, "stride"), pair(padding, "padding"), pair(output_padding, "output_padding")
    if x.ndim != 4 or weight.ndim != 4 or x.shape[1] != weight.shape[0]:
        raise ValueError(f"conv_transpose2d: x {x.shape} must be (N, C, H, W) and weight {weight.shape} (C, O, kh, kw)")
    size = tuple(
        (n - 1) * s - 2 * p + k + e
        for n, s, p, k, e in zip(x.shape[2:], stride, padding, weight.shape[2:], extra, strict=True)
    )
    if min(size) < 1 or any(e >= s for e, s in zip(extra, stride, strict=True)):
        raise ValueError(
            f"conv_transpose2d: an image of {size} would not come back as one of {x.shape[2:]}; output_padding must be "
            "less than stride, and padding must leave something"
        )
    y = conv2d_input_gradient(x, weight, size, stride, padding)
    return y if bias is None else y + bias.reshape(1, -1, 1, 1)


# ---- max pooling ----------------------------------------------------------------------------------------------------
#
# Given x, pooling picks one entry of each window: the first that attains the maximum. `_max_unpool2d` puts a value for
# each window back to the entry picked, `_max_gather2d` reads the entry picked; each is the transpose of the other.


def pooled_size(x, size, stride):
    """The output's height and width; ValueError if x does not hold images that are at least as large as a window."""
    if x.ndim != 4:
        raise ValueError("expected x of shape (N, C, H, W)")
    out = tuple((n - k) // s + 1 for n, k, s in zip(x.shape[2:], size, stride, strict=True))
    if min(out) < 1:
        raise ValueError(f"the window {size} is larger than the image")
    return out


def _picked(xp, x, y, size, stride):
    """(index, mask) for each entry of a window: in which windows it is the one that was picked."""
    free = xp.ones_like(y, dtype=bool)
    may_be_nan = xp is not numpy or (y != y).any()  # on a GPU that would have to be waited for
    for _, _, index in window_entries(size, stride, y.shape[2:]):
        mask = x[index] == y
        if may_be_nan:  # it is picked then
            mask |= x[index] != x[index]
        mask &= free
        free ^= mask
        yield index, mask


@primitive(lambda g, y, x, size, stride: _max_unpool2d(g, x, y, size, stride))
def _max_pool2d(xp, x, size, stride):
    """The largest entry of each window."""
    first, *others = (x[index] for _, _, index in window_entries(size, stride, pooled_size(x, size, stride)))
    y = first.copy(order="K")
    for entry in others:
        xp.maximum(y, entry, out=y)
    return y


@primitive(lambda g, _y, _v, x, y, size, stride: _max_gather2d(g, x, y, size, stride), None, None)
def _max_unpool2d(xp, v, x, y, size, stride):
    """Zeros in the shape of x, with v[window] added at the entry picked in that window."""
    result = xp.zeros_like(x, dtype=v.dtype)
    for index, mask in _picked(xp, x, y, size, stride):
        result[index] += v * mask
    return result


@primitive(lambda g, _y, _u, x, y, size, stride: _max_unpool2d(g, x, y, size, stride), None, None)
def _max_gather2d(xp, u, x, y, size, stride):
    """u at the entry picked in each window."""
    result = xp.zeros_like(y, dtype=u.dtype)
    for index, mask in _picked(xp, x, y, size, stride):
        result += u[index] * mask
    return result


def max_pool2d(x, size, stride=None):
    """The largest entry of each window; among ties the first, in row-major order, gets the whole gradient.

    Parameters
    ----------
    x : (N, C, H, W) array or Tensor
    size : int or (int, int)
    stride : int or (int, int), optional
        The windows' distance; by default their size, so that they do not overlap.
    """
    size = pair(size, "size")
    return _max_pool2d(x, size, size if stride is None else pair(stride, "stride"))


# ---- average pooling: linear, so the backward pass applies its transpose, whose own transpose is average pooling -----


@primitive(lambda g, _y, _x, size, stride: _avg_unpool2d(g, _x.shape[2:], size, stride))
def _avg_pool2d(xp, x, size, stride):
    """The mean of each window."""
    x = floats(xp, x)
    first, *others = (x[index] for _, _, index in window_entries(size, stride, pooled_size(x, size, stride)))
    total = first.copy(order="K")
    for entry in others:
        total += entry
    return total * (1 / (size[0] * size[1]))


@primitive(lambda g, _y, _v, image, size, stride: _avg_pool2d(g, size, stride))
def _avg_unpool2d(xp, v, image, size, stride):
    """Zeros of size `image`, with v[window], divided by the window's entries, added to each of them."""
    share = v * (1 / (size[0] * size[1]))
    result = xp.zeros((*v.shape[:2], *image), v.dtype)
    for _, _, index in window_entries(size, stride, v.shape[2:]):
        result[index] += share
    return result


def avg_pool2d(x, size, stride=None):
    """The mean of each window; arguments as for `max_pool2d`."""
    size = pair(size, "size")
    return _avg_pool2d(x, size, size if stride is None else pair(stride, "stride"))
