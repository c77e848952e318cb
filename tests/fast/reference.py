"""What fast/cpu/convolution.py and fast/cuda/convolution.py compute, by definition and without any hurry."""

import numpy


def correlate(x, w, stride, offset, dilation, span):
    """`correlate` by its definition: one sum for each position of the kernel."""
    (kh, kw), (n, c, height, width) = w.shape[2:], x.shape
    reach = [
        max(0, o) + (k - 1) * s + 1 + r for o, k, s, r in zip(offset, (height, width), dilation, span, strict=True)
    ]
    canvas = numpy.zeros((n, c, reach[0] + kh, reach[1] + kw), x.dtype)
    for i in range(height):
        for j in range(width):
            row, column = offset[0] + i * dilation[0], offset[1] + j * dilation[1]
            if row >= 0 and column >= 0:
                canvas[:, :, row, column] = x[:, :, i, j]
    positions = [range(0, r, s) for r, s in zip(span, stride, strict=True)]
    y = numpy.empty((n, w.shape[0], len(positions[0]), len(positions[1])), numpy.result_type(x, w))
    for i, row in enumerate(positions[0]):
        for j, column in enumerate(positions[1]):
            window = canvas[:, :, row : row + kh, column : column + kw]
            y[:, :, i, j] = numpy.einsum("ncab,ocab->no", window, w)
    return y


def correlate_over_batch(gy, x, size, stride, offset):
    """`correlate_over_batch` by its definition: one sum for each entry of the kernel."""
    out = gy.shape[2:]
    reach = [max(o + n, (m - 1) * s + k) for o, n, m, s, k in zip(offset, x.shape[2:], out, stride, size, strict=True)]
    canvas = numpy.zeros((*x.shape[:2], *reach), x.dtype)
    canvas[:, :, offset[0] : offset[0] + x.shape[2], offset[1] : offset[1] + x.shape[3]] = x
    w = numpy.empty((gy.shape[1], x.shape[1], *size), numpy.result_type(gy, x))
    for a in range(size[0]):
        for b in range(size[1]):
            seen = canvas[
                :, :, a : a + (out[0] - 1) * stride[0] + 1 : stride[0], b : b + (out[1] - 1) * stride[1] + 1 : stride[1]
            ]
            w[:, :, a, b] = numpy.einsum("noij,ncij->oc", gy, seen)
    return w
