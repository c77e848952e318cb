"""CUDA graphs: what a function makes a GPU do, recorded once and started as a whole from then on.

A training step of ten layers is some 200 kernels. Python needs about as long to ask for one as a fast GPU to run it,
and longer where the arrays are small: then the GPU waits. The kernels are the same at every step, only the numbers are
others. So the GPU can note down all it is asked for, and the next step is one request. `mg.cuda_graph` says what of
that its user sees.
"""

from minigrad import cuda_graphs
from minigrad.cuda_graphs import array_of, detached
from minigrad.fast.cuda import gpu
from minigrad.fast.cuda.copying import copy_all
from minigrad.fast.cuda.kernel import empty_like
from minigrad.graph import state as tape
from minigrad.settings import config
from minigrad.tensors import Tensor

MOST = 4  # graphs that are kept, for the latest shapes


def recorder(function, modules):
    """A function that records `function` at its second call, for inputs on a GPU, and then replays it."""
    layers = [layer for module in modules for layer in module.modules()]
    parameters = list(dict.fromkeys(p for module in modules for p in module.parameters()))
    buffers = list(dict.fromkeys(b for module in modules for b in module.buffers()))
    graphs = {}

    def replay(*inputs):
        situation = (
            *((type(x), x.shape, x.dtype) for x in inputs),
            *((layer.training, id(vars(layer).get("rng"))) for layer in layers),
            *(p.requires_grad for p in parameters),
            *(config.tf32, config.cudnn, tape.recording),
        )
        graph = graphs.get(situation)
        if graph is None:
            while len(graphs) >= MOST:
                del graphs[next(iter(graphs))]
            graph = graphs[situation] = _Graph(function, parameters, buffers)
        return graph(inputs)

    return replay


cuda_graphs.recorder = recorder


class _Graph:
    """A recording for arrays of certain shapes, and the arrays that it reads and fills."""

    def __init__(self, function, parameters, buffers):
        self.function, self.parameters, self.tensors = function, parameters, [*parameters, *buffers]
        self.recording, self.calls = gpu.Recording(), 0

    def __call__(self, inputs):
        given = [array_of(value) for value in (*inputs, *self.tensors)]
        if self.calls == 0:
            self.read = self.recording.rehearse(lambda: [array.copy(order="K") for array in given])
            self.made = self._run(self.recording.rehearse, inputs)
        else:
            if self.calls == 1:
                self.made = self._run(self.recording.record, inputs)
            copy_all([*zip(self.read, given, strict=True), *self.recording.new_numbers()])
            self.recording.replay()
        self.calls += 1  # those that came to their end
        return self._given_out()

    def _run(self, how, inputs):
        """What the function makes of the recording's own arrays: results, gradients, buffers. Afterwards the modules
        hold again what they held before."""
        before, grads = [t._data for t in self.tensors], [p.grad for p in self.parameters]
        own = self.read[len(inputs) :]
        arguments = [Tensor(a) if isinstance(x, Tensor) else a for x, a in zip(inputs, self.read, strict=False)]
        try:
            for tensor, array in zip(self.tensors, own, strict=True):
                tensor._data = array
            for parameter in self.parameters:
                parameter.grad = None
            results = detached(how(lambda: self.function(*arguments)))
            if any(p._data is not array for p, array in zip(self.parameters, own, strict=False)):
                raise RuntimeError("cuda_graph: the function changed a parameter; step the optimizer outside of it")
            buffers = self.tensors[len(self.parameters) :]
            return results, [p.grad for p in self.parameters], [b._data for b in buffers]
        finally:
            for tensor, array in zip(self.tensors, before, strict=True):
                tensor._data = array
            for parameter, grad in zip(self.parameters, grads, strict=True):
                parameter.grad = grad

    def _given_out(self):
        """The results, gradients and buffers, as copies that the next replay leaves alone."""
        results, grads, buffers = self.made
        results = results if isinstance(results, tuple) else (results,)
        arrays = [*(t._data for t in results), *(g._data for g in grads if g is not None), *buffers]
        copies = [empty_like(a) for a in arrays]
        copy_all(list(zip(copies, arrays, strict=True)))
        rest = map(Tensor, copies)
        found = tuple(next(rest) for _ in results)
        for parameter, grad in zip(self.parameters, grads, strict=True):
            if grad is not None:
                parameter.grad = next(rest) if parameter.grad is None else parameter.grad + next(rest)
        for buffer, new in zip(self.tensors[len(self.parameters) :], rest, strict=True):
            buffer._data = new._data
        return found if isinstance(self.made[0], tuple) else found[0]
