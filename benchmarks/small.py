"""Steps of many small operations, where a library's own overhead shows.

Two layers with batch 32, in one thread and turns of 50 steps: once in operators (`operators.py`), once from
ready-made layers (`engine_overhead.py`).
"""

import contextlib

import numpy as np
import threadpoolctl

from benchmarks import engine_overhead, measure, operators


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
    with one_thread():
        makers = {
            name: lambda make=make: make(*engine_overhead.start(np.random.default_rng(0)))
            for name, make in engine_overhead.LIBRARIES.items()
        }
        layers = small_table("Two linear layers, ReLU, cross-entropy (benchmarks.engine_overhead)", makers, size)
        by_operators = small_table(
            "x @ W + b, tanh, x @ W + b, mean of squares, SGD (benchmarks.operators)", operators.LIBRARIES, size
        )
    return [by_operators, layers]


def small_table(title, makers, size):
    """A table of steps so small that a turn has 50 of them; each beside PyTorch, MyGrad and the arithmetic alone."""
    steps, left_out = measure.made(makers)
    times = measure.compare(steps, size, share=0.1, turn=50)
    rows = measure.rows(times, ("PyTorch", "MyGrad", "NumPy by hand"))
    return measure.Table(f"{title}, batch 32, one thread", rows, left_out)
