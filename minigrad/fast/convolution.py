"""The three convolutions as correlations, which fast/cpu and fast/cuda compute each in a way of its own."""

from minigrad.fast.replace import faster, instead, without_library
from minigrad.ops.convolution import check_bias, check_channels_of_gradient, check_number_of_images, output_size


def faster_convolutions(device, takes, correlate, correlate_over_batch, takes_kernel=lambda w: True):
    """Put convolutions in the place of the plain forms, for the arrays for which `takes(*arrays)` is true.

    Parameters
    ----------
    correlate : callable(x, w, stride, offset, dilation, span, bias=None)
        Correlates images with kernels on a canvas of zeros around and between the pixels. `offset` rows and columns of
        zeros come before the first pixel, pixels lie `dilation` apart, the kernel visits 0, stride, … below `span`.
    correlate_over_batch : callable(gy, x, size, stride, offset)
        The sum over images of gy[n]ᵀ · windows(x[n]), the gradient of a convolution for a kernel of this size.
    takes_kernel : callable(w)
        Whether the gradient for x may be computed with this kernel, which meets zeros around gy there.
    """

    def conv2d(x, w, stride, padding, bias=None):
        height, width = output_size(x, w, stride, padding)
        visited = ((height - 1) * stride[0] + 1, (width - 1) * stride[1] + 1)
        return correlate(x, w, stride, padding, (1, 1), visited, bias)

    def conv2d_with_bias(x, w, b, stride, padding):
        check_bias(w, b)
        return conv2d(x, w, stride, padding, b)

    def conv2d_input_gradient(gy, w, size, stride, padding):  # of `gy` dilated, with the kernel flipped
        check_channels_of_gradient(gy, w)
        flipped = w[:, :, ::-1, ::-1].swapaxes(0, 1)
        full = tuple(k - 1 - p for k, p in zip(w.shape[2:], padding, strict=True))
        return correlate(gy, flipped, (1, 1), full, stride, size)

    def conv2d_weight_gradient(gy, x, size, stride, padding):
        check_number_of_images(gy, x)
        return correlate_over_batch(gy, x, size, stride, padding)

    for function in (conv2d, conv2d_weight_gradient):
        wrap = instead(without_library(function), lambda xp, a, b, *others, **params: takes(a, b))
        faster(function.__name__, device, wrap)
    wrap = instead(
        without_library(conv2d_input_gradient),
        lambda xp, gy, w, *others, **params: takes(gy, w) and takes_kernel(w),
    )
    faster("conv2d_input_gradient", device, wrap)
    wrap = instead(without_library(conv2d_with_bias), lambda xp, x, w, b, *others, **params: takes(x, w, b))
    faster("conv2d_with_bias", device, wrap)
