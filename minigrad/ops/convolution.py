"""Two-dimensional convolution, closed under differentiation.

y = conv2d(x, w) is linear in x and in w. Its derivative for x is itself a convolution (`conv2d_input_gradient`), and
so is the one for w (`conv2d_weight_gradient`); the derivatives of these two are again among the three.

Shapes: x (N, C, H, W); w (O, C, kh, kw); y (N, O, H', W') with H' = (H + 2·padding - kh) // stride + 1.
As everywhere in deep learning this is a cross-correlation: the kernel is not flipped.
"""

from minigrad.kernels import convolution as kernel
from minigrad.kernels.blocks import imagewise
from minigrad.kernels.cuda import pooling
from minigrad.op import primitive
from minigrad.ops.shape import sum

__all__ = [
    "avg_pool2d", "conv2d", "conv_transpose2d", "max_pool2d",
]  # fmt: skip


def _checked(x, w, stride, padding):
    """The output's height and width; ValueError for shapes that do not fit together."""
    if x.ndim != 4 or w.ndim != 4:
        raise ValueError("expected x of shape (N, C, H, W) and weight of shape (out, in, kh, kw)")
    if x.shape[1] != w.shape[1]:
        raise ValueError(f"x has {x.shape[1]} channels and the weight is made for {w.shape[1]}")
    sizes = [(n + 2 * p - k) // s + 1 for n, k, s, p in zip(x.shape[2:], w.shape[2:], stride, padding, strict=True)]
    if min(sizes) < 1:
        raise ValueError(f"the kernel {w.shape[2:]} is larger than the padded image: use more padding than {padding}")
    return tuple(sizes)


def pair(value, name):
    """(value, value) for an int, or the given pair; ValueError unless they are ints, at least 1, or 0 for a padding."""
    both = tuple(value) if isinstance(value, (tuple, list)) else (value, value)
    least = 0 if "padding" in name else 1
    if len(both) != 2 or not all(isinstance(v, int) and v >= least for v in both):
        raise ValueError(f"{name} must be an int or a pair of ints, at least {least}, not {value!r}")
    return both


@primitive(
    lambda g, _y, _x, w, stride, padding: conv2d_input_gradient(g, w, _x.shape[2:], stride, padding),
    lambda g, _y, x, _w, stride, padding: conv2d_weight_gradient(g, x, _w.shape[2:], stride, padding),
)
def _conv2d(xp, x, w, stride, padding):
    """y[n, o, i, j] = Σ x[n, c, i·s + a - p, j·s + b - p] · w[o, c, a, b], with zeros outside the image."""
    height, width = _checked(x, w, stride, padding)
    out = ((height - 1) * stride[0] + 1, (width - 1) * stride[1] + 1)
    return kernel.correlate(xp, x, w, stride, padding, (1, 1), out)


@primitive(
    lambda g, _y, _x, w, _b, stride, padding: conv2d_input_gradient(g, w, _x.shape[2:], stride, padding),
    lambda g, _y, x, _w, _b, stride, padding: conv2d_weight_gradient(g, x, _w.shape[2:], stride, padding),
    lambda g, _y, _x, _w, _b, stride, padding: sum(g, (0, 2, 3)),
)
def conv2d_with_bias(xp, x, w, b, stride, padding):
    """y[n, o, i, j] of conv2d, plus b[o]."""
    height, width = _checked(x, w, stride, padding)
    if b.shape != w.shape[:1]:
        raise ValueError(f"the bias must be of shape {w.shape[:1]}, one number for each channel of the output")
    out = ((height - 1) * stride[0] + 1, (width - 1) * stride[1] + 1)
    return kernel.correlate(xp, x, w, stride, padding, (1, 1), out, b)


@primitive(
    lambda g, _y, _gy, w, size, stride, padding: _conv2d(g, w, stride, padding),
    lambda g, _y, gy, _w, size, stride, padding: conv2d_weight_gradient(gy, g, _w.shape[2:], stride, padding),
)
def conv2d_input_gradient(xp, gy, w, size, stride, padding):
    """The gradient of conv2d for x, an image of `size` (H, W), from the gradient `gy` of y.

    It is a convolution of `gy`, its entries set `stride` apart, with the kernel flipped and its channels exchanged.
    """
    flipped = w[:, :, ::-1, ::-1].swapaxes(0, 1)
    full = tuple(k - 1 - p for k, p in zip(w.shape[2:], padding, strict=True))
    return kernel.correlate(xp, gy, flipped, (1, 1), full, stride, size)


@primitive(
    lambda g, _y, _gy, x, size, stride, padding: _conv2d(x, g, stride, padding),
    lambda g, _y, gy, _x, size, stride, padding: conv2d_input_gradient(gy, g, _x.shape[2:], stride, padding),
)
def conv2d_weight_gradient(xp, gy, x, size, stride, padding):
    """The gradient of conv2d for w, a kernel of `size` (kh, kw): the images correlated with the gradient `gy` of y."""
    return kernel.correlate_over_batch(xp, gy, x, size, stride, padding)


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
        raise ValueError(f"conv_transpose2d: an image of {size} would not come back as one of {x.shape[2:]}; "
                         "output_padding must be less than stride, and padding must leave something")  # fmt: skip
    y = conv2d_input_gradient(x, weight, size, stride, padding)
    return y if bias is None else y + bias.reshape(1, -1, 1, 1)


# ---- max pooling ----------------------------------------------------------------------------------------------------
#
# Given x, pooling picks one entry of each window: the first that attains the maximum. `_spread` puts a value for each
# window back to the entry picked, `_pick` reads the entry picked; each is the transpose of the other.


def _pooled(x, size, stride):
    """The output's height and width; ValueError if x does not hold images that are at least as large as a window."""
    if x.ndim != 4:
        raise ValueError("expected x of shape (N, C, H, W)")
    out = tuple((n - k) // s + 1 for n, k, s in zip(x.shape[2:], size, stride, strict=True))
    if min(out) < 1:
        raise ValueError(f"the window {size} is larger than the image")
    return out


def _window_entries(x, size, stride, out):
    """The views of `x` that hold entry (i, j) of every window, for each (i, j)."""
    for i in range(size[0]):
        for j in range(size[1]):
            yield (
                slice(None),
                slice(None),
                slice(i, i + (out[0] - 1) * stride[0] + 1, stride[0]),
                slice(j, j + (out[1] - 1) * stride[1] + 1, stride[1]),
            )


def _picked(xp, x, y, size, stride):
    """(view, mask) for each (i, j): where the window's entry (i, j) is the one that was picked."""
    free = xp.ones_like(y, dtype=bool)
    for view in _window_entries(x, size, stride, y.shape[2:]):
        mask = x[view] == y
        mask &= free
        free ^= mask
        yield view, mask


@primitive(lambda g, y, x, size, stride: _spread(g, x, y, size, stride))
@imagewise
def _max_pool2d(xp, x, size, stride):
    """The largest entry of each window."""
    out = _pooled(x, size, stride)
    if pooling.takes(x):
        return pooling.max_pool2d(x, size, stride)
    first, *others = _window_entries(x, size, stride, out)
    y = x[first].copy(order="K")
    for view in others:
        xp.maximum(y, x[view], out=y)
    return y


@primitive(lambda g, _y, _v, x, y, size, stride: _pick(g, x, y, size, stride), None, None)
@imagewise
def _spread(xp, v, x, y, size, stride):
    """Zeros in the shape of x, with v[window] added at the entry picked in that window."""
    if pooling.takes(v, x, y):
        return pooling.spread(v, x, y, size, stride)
    result = xp.zeros_like(x, dtype=v.dtype)
    for view, mask in _picked(xp, x, y, size, stride):
        result[view] += v * mask
    return result


@primitive(lambda g, _y, _u, x, y, size, stride: _spread(g, x, y, size, stride), None, None)
@imagewise
def _pick(xp, u, x, y, size, stride):
    """u at the entry picked in each window."""
    result = xp.zeros_like(y, dtype=u.dtype)
    for view, mask in _picked(xp, x, y, size, stride):
        result += u[view] * mask
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


# ---- average pooling: linear, so that it and its transpose are each other's derivative ------------------------------


@primitive(lambda g, _y, _x, size, stride: _spread_evenly(g, _x.shape[2:], size, stride))
@imagewise
def _avg_pool2d(xp, x, size, stride):
    """The mean of each window."""
    out = _pooled(x, size, stride)
    if pooling.takes(x):
        return pooling.mean_pool2d(x, size, stride)
    first, *others = _window_entries(x, size, stride, out)
    total = x[first].copy(order="K")
    for view in others:
        total += x[view]
    return total * (1 / (size[0] * size[1]))


@primitive(lambda g, _y, _v, image, size, stride: _avg_pool2d(g, size, stride))
@imagewise
def _spread_evenly(xp, v, image, size, stride):
    """Zeros of size `image`, with v[window], divided by the window's entries, added to each of them."""
    if pooling.takes(v):
        return pooling.spread_evenly(v, image, size, stride)
    share = v * (1 / (size[0] * size[1]))
    n, channels = v.shape[:2]
    result = xp.zeros((n, *image, channels), v.dtype).transpose(0, 3, 1, 2)  # in the order of a convolution's output
    for view in _window_entries(result, size, stride, v.shape[2:]):
        result[view] += share
    return result


def avg_pool2d(x, size, stride=None):
    """The mean of each window; arguments as for `max_pool2d`."""
    size = pair(size, "size")
    return _avg_pool2d(x, size, size if stride is None else pair(stride, "stride"))
