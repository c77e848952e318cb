"""Convolutions of the sizes that small networks use, beside PyTorch's: few channels, strides, several kernels.

Forward and backward to the pictures, the weight and the bias, with the pictures as another layer leaves them: channels
last in memory here, and in PyTorch in both of its layouts. The sizes are those of the lessons' quick networks, an
autoencoder's and a deep Q-network's (84×84 pictures, 8×8 kernels with stride 4). `operations` has what stands between
convolutions, `paper_network` the wide ones.
"""

from typing import NamedTuple

import numpy as np

from benchmarks import measure


class Case(NamedTuple):
    """A convolution: pictures (batch, inputs, size, size), weight (outputs, inputs, kernel, kernel)."""

    kernel: int
    stride: int
    batch: int
    size: int
    inputs: int
    outputs: int

    def __str__(self):
        return f"{self.kernel}×{self.kernel}, stride {self.stride}, {self.inputs} → {self.outputs}"

    @property
    def padding(self):
        return (self.kernel - 1) // 2 if self.stride < self.kernel - 1 else 0


CASES = [
    *[Case(3, 1, 50, 32, n, n) for n in (8, 16, 32, 64, 96)],
    *[Case(3, 1, batch, 32, 16, 16) for batch in (10, 100)],
    Case(3, 1, 50, 8, 32, 32),
    Case(3, 1, 50, 84, 8, 8),
    Case(3, 1, 50, 32, 3, 16),
    Case(3, 2, 50, 32, 16, 16),
    Case(3, 2, 50, 32, 32, 32),
    Case(4, 2, 50, 28, 16, 32),
    Case(5, 1, 50, 28, 16, 16),
    Case(5, 2, 50, 28, 16, 16),
    Case(8, 4, 32, 84, 4, 16),
    Case(4, 2, 32, 20, 16, 32),
]


def start(case):
    """x, weight, bias and the gradient for the result, all (N, C, H, W)."""
    rng = np.random.default_rng(0)
    out = (case.size + 2 * case.padding - case.kernel) // case.stride + 1
    shapes = [
        (case.batch, case.inputs, case.size, case.size),
        (case.outputs, case.inputs, case.kernel, case.kernel),
        (case.outputs,),
        (case.batch, case.outputs, out, out),
    ]
    return [rng.standard_normal(shape, dtype=np.float32) for shape in shapes]


def in_minigrad(case):
    """A function that goes forward and backward, and returns the three gradients."""
    import minigrad as mg

    x, weight, bias, gradient = start(case)
    x, gradient = (np.ascontiguousarray(a.transpose(0, 2, 3, 1)).transpose(0, 3, 1, 2) for a in (x, gradient))
    tensors = [mg.tensor(a, requires_grad=True) for a in (x, weight, bias)]
    gradient = mg.tensor(gradient)
    return lambda: mg.grad(mg.nn.functional.conv2d(*tensors, case.stride, case.padding), tensors, gradient)


def in_torch(case, channels_last=False):
    """The same in PyTorch."""
    import torch

    layout = torch.channels_last if channels_last else torch.contiguous_format
    x, weight, bias, gradient = map(torch.tensor, start(case))
    x, weight, gradient = (a.to(memory_format=layout) for a in (x, weight, gradient))
    tensors = [a.requires_grad_() for a in (x, weight, bias)]
    return lambda: torch.autograd.grad(torch.conv2d(*tensors, case.stride, case.padding), tensors, gradient)


def in_torch_channels_last(case):
    return in_torch(case, channels_last=True)


LIBRARIES = {"minigrad": in_minigrad, "PyTorch": in_torch, "PyTorch, channels last": in_torch_channels_last}


def run(size):
    rows, left_out = [], []
    for case in CASES:
        if size.name == "tiny":
            case = case._replace(batch=2, size=12)
        steps, left_out = measure.made(LIBRARIES, case)
        times = measure.compare(steps, size, share=0.1)
        ours = times.pop("minigrad")
        row = {"": str(case), "batch": case.batch, "pictures": f"{case.size}×{case.size}"}
        row["minigrad: ms"] = measure.spread(1e3 * ours)
        row |= {f"÷ {library}": measure.spread(ours / seconds) for library, seconds in times.items()}
        if times:  # the better of the two layouts by its median
            row["speed ÷ PyTorch's best"] = min(map(np.median, times.values())) / float(np.median(ours))
        rows.append(row)
    return [measure.Table("Convolutions, forward and backward to pictures, weight and bias", rows, left_out)]
