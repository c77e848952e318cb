"""Steps of many small operations, where a library's own overhead shows.

A recurrent network with the sizes of DRAW (the paper's section 5.3): two LSTMs of 256 units, 10 steps in time over
28×28 pictures, batch 100; forward, backward, Adam; all cores. PyTorch's cells are `LSTMCell`, from the same weights.
Once more with peepholes, as DRAW has them: PyTorch's cell is then written in its operations.

And two layers with batch 32, in one thread and turns of 50 steps: once in operators (`operators.py`), once from
ready-made layers (`engine_overhead.py`).
"""

import contextlib

import numpy as np
import threadpoolctl

from benchmarks import engine_overhead, measure, operators

INPUTS, UNITS, STEPS = 28 * 28, 256, 10


def recurrent_in_minigrad(x, *sizes):
    from benchmarks import in_minigrad

    return in_minigrad.recurrent_step(in_minigrad.Recurrent(x.shape[1], *sizes), x, STEPS)


def recurrent_in_torch(x, *sizes):
    from benchmarks import in_minigrad, in_torch

    weights = in_minigrad.Recurrent(x.shape[1], *sizes).state_dict()
    return in_torch.recurrent_step(in_torch.load(in_torch.Recurrent(x.shape[1], *sizes), weights), x, STEPS)


@contextlib.contextmanager
def one_thread():
    """Within this BLAS has one thread; PyTorch, which engine_overhead gives one too, has all of its own afterwards."""
    try:
        import torch
    except ImportError:
        torch = None
    threads = torch and torch.get_num_threads()
    with threadpoolctl.threadpool_limits(1):
        yield
    if torch:
        torch.set_num_threads(threads)


def run(size):
    batch, units = (4, 8) if size.name == "tiny" else (100, UNITS)
    x = np.random.default_rng(1).random((batch, INPUTS), dtype=np.float32)
    recurrent = []
    for peepholes in (False, True):
        makers = {"minigrad": recurrent_in_minigrad, "PyTorch": recurrent_in_torch}
        steps, left_out = measure.made(makers, x, units, peepholes)
        losses = [f"{name} {step():.7f}" for name, step in steps.items()]
        table = measure.Table(
            f"Two LSTMs{' with peepholes' * peepholes} of {units} units, {STEPS} steps in time, batch {batch}",
            measure.rows(measure.compare(steps, size, share=0.5)),
            [*left_out, "first loss: " + ", ".join(losses)],
        )
        recurrent.append(table)
    with one_thread():
        makers = {
            name: lambda make=make: make(*engine_overhead.start(np.random.default_rng(0)))
            for name, make in engine_overhead.LIBRARIES.items()
        }
        layers = small_table("Two linear layers, ReLU, cross-entropy (benchmarks.engine_overhead)", makers, size)
        by_operators = small_table(
            "x @ W + b, tanh, x @ W + b, mean of squares, SGD (benchmarks.operators)", operators.LIBRARIES, size
        )
    return [*recurrent, by_operators, layers]


def small_table(title, makers, size):
    """A table of steps so small that a turn has 50 of them; each beside PyTorch, MyGrad and the arithmetic alone."""
    steps, left_out = measure.made(makers)
    times = measure.compare(steps, size, share=0.1, turn=50)
    rows = measure.rows(times, ("PyTorch", "MyGrad", "NumPy by hand"))
    return measure.Table(f"{title}, batch 32, one thread", rows, left_out)
