"""cuda_graph: a training step that a GPU replays as a whole, instead of being asked for kernel after kernel.

    def loss_and_gradients(x, labels):
        loss = F.cross_entropy(model(x), labels)
        loss.backward()
        return loss

    loss_and_gradients = mg.cuda_graph(loss_and_gradients, model)

    for x, labels in batches:
        optimizer.zero_grad()
        loss = loss_and_gradients(x, labels)
        optimizer.step()

On the CPU the function runs as it is. What records and replays is `fast/cuda/graphs.py`.
"""

from minigrad import backend
from minigrad.tensors import Tensor

recorder = None  # fast/cuda/graphs.py puts it here: a function of (function, modules) that makes one that replays


def cuda_graph(function, *modules):
    """`function`, which on a GPU from its third call on, with arrays of the same shapes, replays what its second did.

    On the CPU it runs as it is. Either way its results come back detached: whatever needs the tape, `backward` first of
    all, belongs into the function. Nothing that one call gave is changed by the next.

    When it replays, no line of the function runs. What the GPU does is fixed: the kernels, with every number that
    Python had put into them. New are only

    - the arrays that it is called with,
    - the parameters and buffers of `modules`, which may also change in between (by an optimizer, or loaded),
    - what dropout and noise draw, from the same generators and in the same order as without a graph.

    It is recorded anew when shapes or dtypes change, or a layer's mode (training or not) or generator, or the precision
    of convolutions. After any other change, such as another probability of dropout, make a new one.

    Parameters
    ----------
    function : callable(*arrays)
        Takes arrays or Tensors and returns a Tensor or several. It may call `backward`; gradients are added to `.grad`
        of the modules' parameters. It may not look at a number (`item()`, `float()`, `if loss > 0`), nor change
        parameters: step the optimizer outside.
    *modules : nn.Module
        Everything trained or remembered that the function uses.

    Returns
    -------
    callable(*arrays)
        RuntimeError if the function does on the GPU what cannot be recorded.
    """
    replay = recorder and recorder(function, modules)

    def call(*inputs):
        if not replay or not inputs or any(backend.device_of(array_of(x)) == "cpu" for x in inputs):
            return detached(function(*inputs))
        return replay(*inputs)

    return call


def array_of(value):
    """The array of a Tensor; an array itself."""
    return value._data if isinstance(value, Tensor) else value


def detached(results):
    """A Tensor, or several as a tuple, without their record."""
    if isinstance(results, Tensor):
        return results.detach()
    if isinstance(results, (tuple, list)) and all(isinstance(r, Tensor) for r in results):
        return tuple(r.detach() for r in results)
    raise TypeError(f"cuda_graph: the function must return a Tensor or several, not {type(results).__name__}")
