"""Training: large parameters change in threads, and the memory of freed arrays is kept."""

from minigrad import graph
from minigrad.fast.cpu import memory, parallel
from minigrad.fast.replace import faster_method
from minigrad.optim import Optimizer
from minigrad.settings import config

LARGE = 2**16  # entries from which on a parameter's step is worth a thread


def threaded(plain):
    """`Optimizer.step` that changes large parameters side by side."""

    def step(self):
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


def keeping_memory(plain):
    """A function with which training begins: from the first call on freed memory is kept."""

    def run(*args, **options):
        if not memory.kept and config.keep_memory:
            memory.keep_freed_memory()
        return plain(*args, **options)

    return run


faster_method(Optimizer, "step", "cpu", threaded)
faster_method(graph, "backward_pass", "cpu", keeping_memory)
