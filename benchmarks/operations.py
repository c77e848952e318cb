"""The operations between the convolutions, one by one, forward and backward, at the network's sizes.

They do little arithmetic; what they can cost is decided by memory. So beside each stands a floor: the bytes that must
be read and written, over the rate at which NumPy copies on all cores, measured in the same run. An operation made of
several NumPy calls reads and writes more than it must, and that is what "÷ floor" shows. Where arrays fit into the
cache (small batches, late layers) they move faster than the copy does, and where random numbers or exponentials have
to be computed the floor is out of reach: it is a yardstick for the large and simple ones.
"""

import time
from typing import NamedTuple

import numpy as np

import minigrad as mg
import wn
from benchmarks import in_minigrad as networks
from benchmarks import measure
from minigrad import nn
from minigrad.fast.cpu import parallel

COPIED = 2**26  # bytes: twice as many as caches hold


class Case(NamedTuple):
    """An operation in both libraries."""

    name: str
    touched: float  # how often an array of the first operand's size must be read or written, forward + backward
    shapes: tuple  # of the operands
    ours: object  # a function or layer of minigrad
    theirs: object  # given torch, the same in PyTorch


def cases(widths, batch):
    """What stands between the convolutions of the paper's network, and the elementwise functions of the other ones."""
    a, b = widths
    first, image, late, logits = [(batch, a, 32, 32)], [(batch, 3, 32, 32)], [(batch, b, 6, 6)], [(batch, 10)]
    channel, labels = (1, a, 1, 1), measure.pictures(batch)[1]

    def torch_cross_entropy(torch):
        targets = torch.from_numpy(labels)
        return lambda x: torch.nn.functional.cross_entropy(x, targets)

    return [
        Case("x + y", 3 + 0, first * 2, mg.add, lambda torch: torch.add),
        Case("x · y", 3 + 5, first * 2, mg.multiply, lambda torch: torch.mul),
        Case("x + bias", 2 + 1, [*first, channel], mg.add, lambda torch: torch.add),
        Case("ReLU", 2 + 3, first, mg.relu, lambda torch: torch.relu),
        Case("leaky ReLU", 2 + 3, first, nn.LeakyReLU(0.1), lambda torch: torch.nn.LeakyReLU(0.1)),
        Case("ELU", 2 + 3, first, mg.elu, lambda torch: torch.nn.ELU()),
        Case("tanh", 2 + 3, first, mg.tanh, lambda torch: torch.tanh),
        Case("sigmoid", 2 + 3, first, mg.sigmoid, lambda torch: torch.sigmoid),
        Case("exp", 2 + 3, first, mg.exp, lambda torch: torch.exp),
        Case("max pooling 2×2", 1.25 + 1.25, first, nn.MaxPool2d(2), lambda torch: torch.nn.MaxPool2d(2)),
        Case("mean pooling 2×2", 1.25 + 1.25, first, nn.AvgPool2d(2), lambda torch: torch.nn.AvgPool2d(2)),
        Case("global mean pooling", 1 + 1, late, nn.GlobalAvgPool2d(), lambda torch: lambda x: x.mean(dim=(2, 3))),
        Case("dropout", 2.25 + 2.25, first, nn.Dropout(0.5), lambda torch: torch.nn.Dropout(0.5)),
        Case(
            "Gaussian noise",
            2 + 0,
            image,
            nn.GaussianNoise(0.15),
            lambda torch: lambda x: x + 0.15 * torch.randn_like(x),
        ),
        Case("batch norm", 3 + 5, first, nn.BatchNorm(a), lambda torch: torch.nn.BatchNorm2d(a)),
        Case(
            "mean-only batch norm",
            3 + 3,
            [*first, channel],
            lambda x, bias: x + (bias - x.mean(axis=(0, 2, 3), keepdims=True)),
            lambda torch: lambda x, bias: x + (bias - x.mean(dim=(0, 2, 3), keepdim=True)),
        ),
        Case(
            "weight norm",
            3 + 5,
            [(b, b, 3, 3), (b, 1, 1, 1)],
            wn.weight_norm,
            lambda torch: lambda v, g: torch._weight_norm(v, g, 0),
        ),
        Case("softmax", 2 + 3, logits, lambda x: mg.softmax(x, axis=1), lambda torch: torch.nn.Softmax(dim=1)),
        Case("cross-entropy", 1 + 2, logits, lambda x: nn.functional.cross_entropy(x, labels), torch_cross_entropy),
    ]


def in_minigrad(case, operands):
    operands = [mg.tensor(x, requires_grad=True) for x in operands]
    inputs = [*operands, *getattr(case.ours, "parameters", list)()]
    gradient = mg.tensor(np.ones(case.ours(*operands).shape, np.float32))
    return lambda: mg.grad(case.ours(*operands), inputs, gradient)


def in_torch(case, operands):
    import torch

    function, operands = case.theirs(torch), [torch.tensor(x, requires_grad=True) for x in operands]
    inputs = [*operands, *getattr(function, "parameters", list)()]
    gradient = torch.ones(function(*operands).shape)
    return lambda: torch.autograd.grad(function(*operands), inputs, gradient)


OPTIMIZERS = [  # name, touched (weights, gradients, what is remembered), class, arguments, those for PyTorch only
    ("SGD with momentum", 5, "SGD", {"lr": 1e-3, "momentum": 0.9}, {}),
    ("Adam", 7, "Adam", {"lr": 1e-3}, {}),
    ("Adam, PyTorch's fused", 7, "Adam", {"lr": 1e-3}, {"fused": True}),
    ("Adamax", 7, "Adamax", {"lr": 1e-3}, {}),
]


def our_optimizer(kind, options, _theirs, arrays):
    parameters = [nn.Parameter(array.copy()) for array in arrays]
    for parameter, array in zip(parameters, arrays, strict=True):
        parameter.grad = mg.tensor(array)
    return getattr(mg.optim, kind)(parameters, **options).step


def their_optimizer(kind, options, theirs, arrays):
    import torch

    parameters = [torch.nn.Parameter(torch.tensor(array)) for array in arrays]
    for parameter, array in zip(parameters, arrays, strict=True):
        parameter.grad = torch.tensor(array)
    return getattr(torch.optim, kind)(parameters, **options, **theirs).step


def copy_rate():
    """Bytes read and written in a second when NumPy copies a large array, a part of it on each core."""
    source, cores = np.ones(COPIED // 4, np.float32), parallel.cores()
    target, seconds = np.empty_like(source), []
    parts = [slice(i, i + source.size // cores) for i in range(0, source.size, source.size // cores)]
    for _ in range(20):
        started = time.perf_counter()
        parallel.for_each(lambda part: np.copyto(target[part], source[part]), parts)
        seconds.append(time.perf_counter() - started)
    return 2 * source.nbytes / float(np.median(seconds[2:]))


def row(name, makers, arguments, size, what, floor):
    """One operation in both libraries beside its floor, in seconds; `what` it works on is for the reader."""
    steps, _ = measure.made(makers, *arguments)
    times = measure.compare(steps, size, share=0.1)
    ours, found = times["minigrad"], {"": name, "on": what}
    found |= {f"{library}: ms": measure.spread(1e3 * seconds) for library, seconds in times.items()}
    if "PyTorch" in times:
        found["÷ PyTorch"] = measure.spread(ours / times["PyTorch"])
    return found | {"floor: ms": 1e3 * floor, "÷ floor": float(np.median(ours)) / floor}


def run(size):
    rng, rate, rows = np.random.default_rng(0), copy_rate(), []
    for case in cases(size.widths, size.batch):
        operands = [rng.standard_normal(shape, dtype=np.float32) for shape in case.shapes]
        floor = case.touched * operands[0].nbytes / rate
        makers = {"minigrad": in_minigrad, "PyTorch": in_torch}
        rows.append(row(case.name, makers, (case, operands), size, case.shapes[0], floor))

    weights = [parameter.numpy().copy() for parameter in networks.paper_network(size.widths).parameters()]
    count = sum(array.size for array in weights)
    for name, touched, *arguments in OPTIMIZERS:
        makers = {"minigrad": our_optimizer, "PyTorch": their_optimizer}
        floor = touched * 4 * count / rate
        rows.append(row(name, makers, (*arguments, weights), size, f"{count} weights", floor))

    notes = [f"floor: bytes over the rate of NumPy's copy, {rate / 1e9:.1f} GB/s read and written on all cores"]
    if "PyTorch: ms" not in rows[0]:
        notes.append("PyTorch: not installed; left out")
    return [measure.Table("Operations between the convolutions, forward and backward, and optimizers", rows, notes)]
