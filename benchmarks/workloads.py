"""What `against` times: training steps and operations, in public names only, so that old versions can do them, too.

    python -m benchmarks.workloads NAME

does the steps of one name, in whichever minigrad comes first on the path, as its standard input asks for them. Each
line there is a JSON document, answered by a line of standard output: {"make": label, "size": a `measure.Size`} makes
that step, somewhere in memory, and does it once; {"turn": n} does it n times and answers with the seconds of each.

Each name below is a function of the size that returns {label: function that makes the step}. The weights and the data
come from fixed seeds: both versions begin with the same numbers.
"""

import json
import secrets
import signal
import sys

import numpy as np
import threadpoolctl

import minigrad as mg
from benchmarks import convolutions, engine_overhead, in_minigrad, measure, operators, three_layers
from minigrad import nn
from minigrad.nn import functional as F


def arrays(*shapes):
    """Random arrays in float32, the same at each call."""
    rng = np.random.default_rng(0)
    return [rng.standard_normal(shape, dtype=np.float32) for shape in shapes]


def forward_and_backward(function, operands, inputs=()):
    """A step: the gradients of function(*operands) with respect to the operands and to other inputs."""
    operands = [mg.tensor(x, requires_grad=True) for x in operands]
    inputs = [*operands, *inputs]
    gradient = mg.tensor(np.ones(function(*operands).shape, np.float32))
    return lambda: mg.grad(function(*operands), inputs, gradient)


# ---- whole steps ----------------------------------------------------------------------------------------------------


def paper_network(size):
    """A training step of the paper's CIFAR-10 network (table 1), with Adam."""

    def training(parameterization, batch):
        model = in_minigrad.paper_network(size.widths, parameterization)
        return in_minigrad.training_step(model, *measure.pictures(batch))

    batches = {"weight norm": 50, "batch norm": 20, "WN + mean-only BN": 20}
    batches = {parameterization: min(size.batch, batch) for parameterization, batch in batches.items()}
    return {f"{p}, batch {batch}": lambda p=p, batch=batch: training(p, batch) for p, batch in batches.items()}


def small_step(_size):
    """Two layers so small that the arithmetic hardly counts, in one thread."""

    def layers():
        return engine_overhead.minigrad_step(*engine_overhead.start(np.random.default_rng(0)))

    return {"linear, ReLU, cross-entropy": layers, "x @ W + b, tanh, mean of squares, SGD": operators.in_minigrad}


def three_layers_(size):
    """Three 3×3 convolutions with ReLU, forward and backward (benchmarks.three_layers)."""
    batch = min(size.batch, 20)
    start = {"width": size.widths[0], "batch": batch, "size": 32}
    return {f"width {size.widths[0]}, batch {batch}": lambda: three_layers.in_minigrad(*three_layers.start(**start))}


def evaluation(size):
    """The paper's network at work: a forward pass under `no_grad`."""
    batch = min(size.batch, 50)

    def answers():
        return in_minigrad.evaluation(in_minigrad.paper_network(size.widths), measure.pictures(batch)[0])

    return {f"weight norm, batch {batch}": answers}


def lstm(size):
    """An LSTMCell over ten steps in time, forward and backward to its weights and its input."""
    batch, units = (4, 8) if size.name == "tiny" else (100, 256)

    def step():
        cell = nn.LSTMCell(units, units, rng=np.random.default_rng(0))

        def last(x):
            h = c = mg.tensor(np.zeros((batch, units), np.float32))
            for _ in range(10):
                h, c = cell(x, (h, c))
            return h

        return forward_and_backward(last, arrays((batch, units)), cell.parameters())

    return {f"{units} units, batch {batch}, 10 steps": step}


def matrix_products(size):
    """NumPy's products of square matrices, which BLAS computes: one set of kernels beside another."""

    def product(n, dtype):
        a, b = (array.astype(dtype) for array in arrays((n, n), (n, n)))
        return lambda: a @ b

    sizes = (8,) if size.name == "tiny" else (32, 128, 512, 2048)
    return {f"{n} × {n}, {d}": lambda n=n, d=d: product(n, d) for d in ("float32", "float64") for n in sizes}


# ---- operations -----------------------------------------------------------------------------------------------------


def operations(size):
    """Operations on arrays as large as the outputs of the paper's first layers, forward and backward."""
    channels, labels = size.widths[0], measure.pictures(size.batch)[1]
    large, logits = (size.batch, channels, 32, 32), (size.batch, 10)

    def batch_norm():
        layer = nn.BatchNorm(channels)
        return forward_and_backward(layer, arrays(large), layer.parameters())

    def cross_entropy():
        return forward_and_backward(lambda x: F.cross_entropy(x, labels), arrays(logits))

    functions = {
        "tanh": (mg.tanh, large),
        "exp": (mg.exp, large),
        "x · y": (mg.multiply, large, large),
        "x + bias": (mg.add, large, (1, channels, 1, 1)),
        "ReLU": (mg.relu, large),
        "leaky ReLU": (nn.LeakyReLU(0.1), large),
        "sigmoid": (mg.sigmoid, large),
        "max pooling 2×2": (nn.MaxPool2d(2), large),
    }
    makers = {
        name: lambda function=function, shapes=shapes: forward_and_backward(function, arrays(*shapes))
        for name, (function, *shapes) in functions.items()
    }
    return makers | {"batch norm": batch_norm, "cross-entropy": cross_entropy}


def convolution(size):
    """The convolutions of benchmarks.convolutions, forward and backward."""
    cases = [c._replace(batch=2, size=12) if size.name == "tiny" else c for c in convolutions.CASES]
    return {f"{c}, batch {c.batch}, {c.size}×{c.size}": lambda c=c: convolutions.in_minigrad(c) for c in cases}


NAMES = {
    "paper_network": paper_network,
    "small_step": small_step,
    "three_layers": three_layers_,
    "evaluation": evaluation,
    "lstm": lstm,
    "matrix_products": matrix_products,
    "operations": operations,
    "convolution": convolution,
}
IN_ONE_THREAD = ("small_step",)


# ---- a process that does them ---------------------------------------------------------------------------------------


def answers(name, questions):
    """An answer to each question; where it cannot be answered, {"error": why}."""
    made = None
    for question in questions:
        try:
            if "make" in question:
                made = None  # so that two steps need not fit into memory
                made = Made(NAMES[name](measure.Size(*question["size"]))[question["make"]])
                made.step()
                yield {"library": mg.__file__}
            else:
                yield {"seconds": seconds(made.step, question["turn"])}
        except Exception as error:
            yield {"error": f"{type(error).__name__}: {error}"}


class Made:
    """A step, and in front of its arrays so much unused memory that they may begin anywhere."""

    def __init__(self, make):
        self.unused = bytearray(2**20 + 16 * secrets.randbelow(2**16))  # more than the gaps that are there already
        self.step = make()


def seconds(step, turn):
    """How long each step of a turn takes."""
    return [1e-6 * value for value in engine_overhead.timed({"": step}, turn, turn)[""]]


def main(name):
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # whoever asks is interrupted too, and closes the input
    replies, sys.stdout = sys.stdout, sys.stderr  # what else is printed is no answer
    with threadpoolctl.threadpool_limits(1 if name in IN_ONE_THREAD else None):
        for answer in answers(name, map(json.loads, sys.stdin)):
            print(json.dumps(answer), file=replies, flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
