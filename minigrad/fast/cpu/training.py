"""Training and evaluation: large parameters change in threads, and memory is kept and kept together."""

import numpy

from minigrad import graph
from minigrad.fast.cpu import memory, parallel
from minigrad.fast.replace import faster_method
from minigrad.nn import Module
from minigrad.optim import Optimizer
from minigrad.settings import config
from minigrad.tensors import Tensor

LARGE = 2**16  # entries from which on a parameter's step is worth a thread
PARAMETER = 2**22  # entries; few parameters have more, and the gradients of pictures and the like do


def threaded(plain):
    """`Optimizer.step` that changes large parameters side by side."""

    def step(self):
        large = []
        for parameter, state in zip(self.params, self.state, strict=True):
            if parameter.grad is not None:
                if parameter._data.size >= LARGE and parameter.device == "cpu":
                    large.append((parameter, state))
                else:
                    self.change(parameter, state)
        if large:
            parallel.for_each(lambda pair: self.change(*pair), large)

    return step


def keeping_memory(plain):
    """A function with which training or evaluation begins: from the first call on freed memory is kept."""

    def run(*args, **options):
        if not memory.kept and config.keep_memory:
            memory.keep_freed_memory()
        return plain(*args, **options)

    return run


def kept_together(plain):
    """`graph._of_its_own` that copies gradients of parameters' sizes, now that the backward pass is over.

    Where they are, they lie scattered between the arrays that it needed and that are free now: they would keep the
    allocator from joining these, and the next step from using them (5 % of the paper's network's memory).
    """

    def run(total):
        if total._node is None and isinstance(total._data, numpy.ndarray) and total._data.size < PARAMETER:
            return Tensor(total._data.copy(order="K"))
        return plain(total)

    return run


faster_method(Optimizer, "step", "cpu", threaded)
faster_method(graph, "_of_its_own", "cpu", kept_together)
faster_method(graph, "backward_pass", "cpu", keeping_memory)
faster_method(Module, "eval", "cpu", keeping_memory)
