"""Training steps of the paper's CIFAR-10 network (table 1), timed op by op.

    python -m benchmarks.training_step [--parameterization "weight norm"] [--batch 100] [--steps 20] [--widths 96 192]

Prints seconds per step, the rate in GFLOP/s (2 operations per multiply-add of the convolutions, forward and both
gradients), the largest memory of the process, and each op's share: forward, and the rules that run backward.
"""

import argparse
import platform
import resource
import statistics
import time
from collections import defaultdict

import numpy as np

import minigrad as mg
from benchmarks.in_minigrad import PARAMETERIZATIONS, network
from minigrad import op, optim
from minigrad.fast.cpu import parallel
from minigrad.nn import functional as F


def forward_operations(widths, batch):
    """Operations of a forward pass in the convolutions: 2 for each multiplication with its addition."""
    a, b = widths
    return 2 * batch * (32 * 32 * 9 * (3 * a + 2 * a * a) + 16 * 16 * 9 * (a * b + 2 * b * b) + 36 * (9 + 2) * b * b)


def operations(widths, batch):
    """Operations of one training step in the convolutions: forward, and a gradient each for input and weight."""
    first_layer = 2 * batch * 32 * 32 * 9 * 3 * widths[0]
    return 3 * forward_operations(widths, batch) - first_layer  # the pictures need no gradient


class Clock:
    """Adds up the time spent in each op, without what the ops inside it took."""

    def __init__(self):
        self.seconds, self._inner = defaultdict(float), []
        for record in op.REGISTRY.values():
            record.forward = self.timed(record.forward, f"{record.name}, forward")
            record.rules = [rule and self.timed(rule, f"{record.name}, backward") for rule in record.rules]
            record.joint = record.joint and self.timed(record.joint, f"{record.name}, backward")

    def timed(self, function, label):
        def run(*args, **kwargs):
            self._inner.append(0.0)
            started = time.perf_counter()
            try:
                return function(*args, **kwargs)
            finally:
                took = time.perf_counter() - started
                self.seconds[label] += took - self._inner.pop()
                if self._inner:
                    self._inner[-1] += took

        return run


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--parameterization", choices=PARAMETERIZATIONS, default="weight norm")
    parser.add_argument("--batch", type=int, default=100)
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--widths", type=int, nargs=2, default=(96, 192))
    flags = parser.parse_args()

    rng = np.random.default_rng(0)
    model = network(flags.parameterization, flags.widths, rng)
    optimizer = optim.Adam(model.parameters(), lr=1e-3)
    x = mg.tensor(rng.standard_normal((flags.batch, 3, 32, 32), dtype=np.float32))
    labels = rng.integers(0, 10, flags.batch)
    clock, whole = Clock(), []
    for step in range(flags.steps + 2):
        if step == 2:  # the first two warm up
            clock.seconds.clear()
        started = time.perf_counter()
        loss = F.cross_entropy(model(x), labels)
        optimizer.zero_grad()
        loss.backward()
        before = time.perf_counter()
        optimizer.step()
        clock.seconds["Adam"] += time.perf_counter() - before
        whole.append(time.perf_counter() - started)
    whole = whole[2:]
    median = statistics.median(whole)
    print(
        f"{flags.parameterization}, widths {tuple(flags.widths)}, batch {flags.batch}, {flags.steps} steps; "
        f"{parallel.cores()} cores, {platform.machine()}, NumPy {np.__version__}"
    )
    print(
        f"median {median:.3f} s a step (from {min(whole):.3f} to {max(whole):.3f}), "
        f"{operations(flags.widths, flags.batch) / median / 1e9:.0f} GFLOP/s, largest memory "
        f"{resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024:.0f} MiB"
    )
    total = sum(whole)
    clock.seconds["everything else"] = total - sum(clock.seconds.values())
    for label, seconds in sorted(clock.seconds.items(), key=lambda item: -item[1])[:16]:
        print(f"{100 * seconds / total:6.1f} %  {1000 * seconds / flags.steps:8.1f} ms  {label}")


if __name__ == "__main__":
    main()
