"""The tape: whether to record, and how to go back through what was recorded.

The backward pass is one loop over the nodes, from the youngest to the oldest. There is no recursion, so a graph may
be as deep as memory allows, and each node is visited once however many paths lead through it.
"""

import contextlib
import threading

from minigrad import backend
from minigrad.tensor import Tensor


class _State(threading.local):
    """What each thread has switched on or off for itself."""

    recording = True
    detecting_anomaly = False


state = _State()


@contextlib.contextmanager
def _switched(name, value):
    before = getattr(state, name)
    setattr(state, name, value)
    try:
        yield
    finally:
        setattr(state, name, before)


def no_grad():
    """Within `with mg.no_grad():` nothing is recorded (in this thread). Also usable as a decorator."""
    return _switched("recording", False)


def enable_grad():
    """Within this, operations are recorded even inside `no_grad`."""
    return _switched("recording", True)


def detect_anomaly():
    """Within this, the first op to make a NaN or inf, forward or backward, raises FloatingPointError naming itself."""
    return _switched("detecting_anomaly", True)


def check_finite(array, what):
    """Raise FloatingPointError, naming `what` was being computed, if `array` holds a NaN or an infinity."""
    if array.dtype.kind == "f" and not backend.array_module(array).isfinite(array).all():
        raise FloatingPointError(f"{what} produced NaN or inf: {array.shape} {array.dtype}")


def backward(output, grad=None, retain_graph=False, create_graph=False):
    """Add the gradient of `output` to `.grad` of every leaf that it was made from. See `Tensor.backward`."""
    if output._node is None:
        raise RuntimeError("backward() on a tensor that does not require a gradient: none of its inputs was made with "
                           "requires_grad=True, or it was computed under no_grad()")  # fmt: skip
    starts = {output._node: _starting_gradient(output, grad)}
    for node, total in _sweep(starts, None, retain_graph, create_graph):
        if node.retains:
            node.grad = _owned(total) if node.grad is None else node.grad + total


def grad(outputs, inputs, grad_outputs=None, retain_graph=False, create_graph=False):
    """Gradients of `outputs` with respect to `inputs`; `.grad` of no tensor changes.

    Parameters
    ----------
    outputs, inputs : Tensor or sequence of Tensor
        Several outputs count as their sum.
    grad_outputs : array_like or sequence, optional
        One gradient per output to start from; may be left out for outputs of one element.
    retain_graph, create_graph : bool
        As for `Tensor.backward`.

    Returns
    -------
    Tensor or list of Tensor
        One gradient per input, of its shape and dtype; zeros for an input that no output depends on.
    """
    output_list = [outputs] if isinstance(outputs, Tensor) else list(outputs)
    input_list = [inputs] if isinstance(inputs, Tensor) else list(inputs)
    if grad_outputs is None:
        grad_outputs = [None] * len(output_list)
    elif isinstance(outputs, Tensor) and not isinstance(grad_outputs, (list, tuple)):
        grad_outputs = [grad_outputs]
    if len(grad_outputs) != len(output_list):
        raise ValueError(f"grad() got {len(output_list)} outputs and {len(grad_outputs)} grad_outputs")
    for position, tensor in enumerate(input_list):
        if tensor._node is None:
            raise RuntimeError(f"grad(): input {position} does not require a gradient; make it with requires_grad=True")
    starts = {}
    for output, start in zip(output_list, grad_outputs, strict=True):
        if output._node is not None:
            start = _starting_gradient(output, start)
            starts[output._node] = starts[output._node] + start if output._node in starts else start
    wanted = {tensor._node for tensor in input_list}
    found = {node: _owned(total) for node, total in _sweep(starts, wanted, retain_graph, create_graph)}
    results = [found[tensor._node] if tensor._node in found else zeros_like(tensor) for tensor in input_list]
    return results[0] if isinstance(inputs, Tensor) else results


def _owned(total):
    """A gradient in an array of its own: the same array may have reached several inputs, or be a read-only view."""
    return Tensor(total._data.copy(), total._node)


def zeros_like(tensor):
    """A Tensor of zeros with the shape, dtype and device of another."""
    return Tensor(backend.array_module(tensor._data).zeros_like(tensor._data))


def _starting_gradient(output, grad):
    xp = backend.array_module(output._data)
    if grad is None:
        if output.size != 1:
            raise RuntimeError(f"backward from a tensor of shape {output.shape} needs a gradient of that shape to "
                               "start from; or reduce it to one number first, with sum() or mean()")  # fmt: skip
        return Tensor(xp.ones_like(output._data))
    start = grad if isinstance(grad, Tensor) else Tensor(xp.asarray(grad, dtype=output.dtype))
    if start.shape != output.shape:
        raise ValueError(f"the starting gradient has shape {start.shape}, the output {output.shape}")
    return start if start.dtype == output.dtype else start.astype(output.dtype)


def _sweep(starts, wanted, retain_graph, create_graph):
    """Go back from the nodes in `starts`, yielding (node, its complete gradient as a Tensor) where somebody asks.

    With `wanted`, a set of nodes, only what lies between the starts and those nodes is computed.
    The rules run on plain arrays and record nothing, unless `create_graph`: then they run on Tensors.
    """
    order = _reachable(starts)
    if wanted is not None:
        on_path = set()
        for node in reversed(order):  # oldest first: parents are decided before their children
            if node in wanted or not on_path.isdisjoint(node.parents):
                on_path.add(node)
        order = [node for node in order if node in on_path]
    retain_graph = retain_graph or create_graph
    unwrap = (lambda g: g) if create_graph else (lambda g: g._data)
    totals = {node: unwrap(start) for node, start in starts.items()}
    with _switched("recording", create_graph):
        for node in order:
            total = totals.pop(node, None)
            if total is None:  # only possible through an op with a rule of None
                continue
            for hook in node.hooks:
                replaced = hook(total if create_graph else Tensor(total))
                total = total if replaced is None else unwrap(replaced)
            if (node in wanted) if wanted is not None else node.retains:
                yield node, (total if create_graph else Tensor(total))
            if node.op is None:
                continue
            if node.args is None:
                raise RuntimeError(f"backward has already run through this graph ({node.op.name}) and freed it; "
                                   "pass retain_graph=True to the first call to go through it twice")  # fmt: skip
            for parent, contribution in _pull_back(node, total, create_graph):
                if wanted is None or parent in on_path:
                    known = totals.get(parent)
                    # Never in place: the same array may be on its way to another node.
                    totals[parent] = contribution if known is None else _added(known, contribution)
            if not retain_graph:
                node.free()


def _added(a, b):
    total = a + b
    if not (isinstance(total, Tensor) or backend.is_array(total)):  # NumPy turns 0-d results into scalars
        total = backend.array_module(a).asarray(total)
    return total


def _reachable(starts):
    """Every node that the starts were made from, youngest first."""
    seen, waiting = set(starts), list(starts)
    while waiting:
        for parent in waiting.pop().parents:
            if parent is not None and parent not in seen:
                seen.add(parent)
                waiting.append(parent)
    return sorted(seen, key=_age, reverse=True)


def _age(node):
    return node.age


def _pull_back(node, total, create_graph):
    """(parent, its share of the gradient) for each parent of one node: the op's own rules, checked."""
    args, value = node.args, node.value
    if create_graph:
        args = [Tensor(arg, parent) if backend.is_array(arg) else arg for arg, parent in _paired(args, node.parents)]
        value = None if value is None else Tensor(value, node)
    for position, parent in enumerate(node.parents):
        if parent is None:
            continue
        share = node.op.rule(position)(total, value, *args, **node.params)
        if not (create_graph or backend.is_array(share)):  # NumPy turns 0-d results into scalars
            share = backend.array_module(total).asarray(share)
        if share.shape != parent.shape:
            raise RuntimeError(f"the backward rule of {node.op.name} for argument {position} returned shape "
                               f"{share.shape} for an argument of shape {parent.shape}")  # fmt: skip
        if share.dtype != parent.dtype:
            share = share.astype(parent.dtype)
        if state.detecting_anomaly:
            check_finite(share._data if create_graph else share, f"the backward rule of {node.op.name}")
        yield parent, share


def _paired(args, parents):
    """Arguments with their parents; what follows the operands (axes, indices) has none."""
    return zip(args, (*parents, *(None,) * (len(args) - len(parents))), strict=True)
