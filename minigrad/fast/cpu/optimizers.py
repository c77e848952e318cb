"""Optimizers: large parameters change in threads, and training keeps the memory of freed arrays."""

from minigrad.fast.cpu import memory, parallel
from minigrad.fast.replace import faster_method
from minigrad.optim import Optimizer
from minigrad.settings import config

LARGE = 2**16  # entries from which on a parameter's step is worth a thread


def threaded(plain):
    """`Optimizer.step` that changes large parameters side by side."""

    def step(self):
        if not memory.kept and config.keep_memory:  # this is training
            memory.keep_freed_memory()
        large = []
        for parameter, state in zip(self.params, self.state, strict=True):
            if parameter.grad is not None:
                if parameter.size >= LARGE and parameter.device == "cpu":
                    large.append((parameter, state))
                else:
                    self.change(parameter, state)
        if large:
            parallel.for_each(lambda pair: self.change(*pair), large)

    return step


faster_method(Optimizer, "step", "cpu", threaded)
