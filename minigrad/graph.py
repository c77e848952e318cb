"""The tape: whether to record, and the backward pass through what was recorded.

The backward pass is one loop over the nodes, from the youngest to the oldest. There is no recursion, so a graph may
be as deep as memory allows, and each node is visited once however many paths lead through it.
"""

import contextlib
import itertools
import operator
import threading

import numpy

from minigrad import backend
from minigrad.tensors import Tensor


class TapeState(threading.local):
    """What each thread has switched on or off for itself."""

    recording = True
    detecting_anomaly = False
    transforming = False  # within a function that vjp, jvp, … differentiate: see transforms.py


state = TapeState()
_adding = threading.Lock()  # another thread may have a gradient for the same leaf


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


def check_finite(array, what, given=()):
    """Raise FloatingPointError, naming `what` was computed from `given`, if `array` holds a NaN or an infinity."""
    if not _finite(array):
        already = "" if all(map(_finite, given)) else "; it was given some already"
        raise FloatingPointError(f"{what} produced NaN or inf: {array.shape} {array.dtype}{already}")


def _finite(value):
    if not backend.is_array(value) or value.dtype.kind != "f":
        return True
    return bool(backend.array_module(value).isfinite(value).all())


def backward(tensor, grad=None, retain_graph=False, create_graph=False):
    """Add the gradient of this tensor to `.grad` of every leaf that it was made from.

    Parameters
    ----------
    grad : array_like, optional
        The gradient to start from, of this tensor's shape; 1 for a tensor of one element.
    retain_graph : bool
        Keep what the tape has stored, so that backward can run through it again.
    create_graph : bool
        Record the backward pass itself, so that the gradients can be differentiated in turn. Prefer `mg.grad` for it,
        which leaves nothing behind in `.grad`.
    """
    if tensor._node is None:
        raise RuntimeError(
            "backward() on a tensor that does not require a gradient: none of its inputs was made with "
            "requires_grad=True, or it was computed under no_grad()"
        )
    found = backward_pass({tensor._node: _starting_gradient(tensor, grad)}, None, retain_graph, create_graph)
    with _adding:
        for node, total in found.items():
            node.grad = _of_its_own(total) if node.grad is None else _sum(node.grad, total)


def grad(outputs, inputs, grad_outputs=None, retain_graph=False, create_graph=False):
    """Gradients of `outputs` with respect to `inputs`; no tensor's `.grad` is changed.

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
    found = backward_pass(starts, wanted, retain_graph, create_graph)
    results = [_of_its_own(found[t._node]) if t._node in found else zeros_like(t) for t in input_list]
    return results[0] if isinstance(inputs, Tensor) else results


def _of_its_own(total):
    """A gradient as a Tensor, and if recorded a node, of its own: the same one may have reached several inputs."""
    if total._node is None:
        return Tensor(total._data)
    with enable_grad():
        return total.astype(total.dtype)


def zeros_like(tensor):
    """A Tensor of zeros with the shape, dtype and device of another."""
    return Tensor(backend.array_module(tensor._data).zeros_like(tensor._data))


def _starting_gradient(output, grad):
    xp = backend.array_module(output._data)
    if grad is None:
        if output.size != 1:
            raise RuntimeError(
                f"backward from a tensor of shape {output.shape} needs a gradient of that shape to start from; or "
                "reduce it to one number first, with sum() or mean()"
            )
        return Tensor(xp.ones_like(output._data))
    start = getattr(grad, "_data", grad)
    if backend.is_array(start):
        backend.array_module(output._data, start)  # on two devices?
    start = grad if isinstance(grad, Tensor) else Tensor(xp.array(grad, dtype=output.dtype))
    if start.shape != output.shape:
        raise ValueError(f"the starting gradient has shape {start.shape}, the output {output.shape}")
    return start if start.dtype == output.dtype else start.astype(output.dtype)


def backward_pass(starts, wanted, retain_graph, create_graph):
    """Go back from the nodes in `starts`; return {node: its complete gradient, a Tensor} for those asked for.

    With `wanted`, a set of nodes, those are asked for, and only what lies between the starts and them is computed;
    else the leaves are, and whatever retains its gradient. The rules run on plain arrays and record nothing, unless
    `create_graph`: then they run on Tensors.
    """
    order = _reachable(starts)
    if wanted is not None:
        order = _leading_to(wanted, order)
        within = set(order)
    wrap, unwrap = (lambda x: x, lambda x: x) if create_graph else (Tensor, lambda x: x._data)
    totals = {node: unwrap(start) for node, start in starts.items()}
    complete = {}
    recording, state.recording = state.recording, create_graph
    try:
        for node in order:
            total = totals.pop(node, None)
            if total is None:
                continue
            for hook in node.hooks:
                replaced = hook(wrap(total))
                total = total if replaced is None else unwrap(_from_hook(replaced, node))
            if node.retains if wanted is None else node in wanted:
                complete[node] = wrap(total)
            if node.op is None:
                continue
            towards = node.parents if wanted is None else [p if p in within else None for p in node.parents]
            if any(towards):
                for parent, share in _shares(node, towards, total, create_graph):
                    # Never in place: the same array may be on its way to another node.
                    totals[parent] = _sum(totals[parent], share) if parent in totals else share
                if not (retain_graph or create_graph):
                    node.free()
    finally:
        state.recording = recording
    return complete


def _from_hook(replaced, node):
    """What a hook returned in place of a gradient, checked: a Tensor of its shape, and in its dtype."""
    if not isinstance(replaced, Tensor) or replaced.shape != node.shape:
        came = f"{getattr(replaced, 'shape', '')} {type(replaced).__name__}"
        raise TypeError(f"a hook on a tensor of shape {node.shape} must return None or a Tensor of that shape: {came}")
    return replaced if replaced.dtype == node.dtype else replaced.astype(node.dtype)


def _leading_to(wanted, order):
    """Those of the nodes in `order`, youngest first, from which one of the wanted nodes can be reached."""
    found = {}
    for node in reversed(order):  # oldest first: parents are decided before their children
        if node in wanted or any(parent in found for parent in node.parents):
            found[node] = True
    return list(reversed(found))


def _seen_by_rules(node, create_graph):
    """The arguments and the output of a node, as Tensors that are part of the tape if the rules are to be recorded.

    Where the tape keeps no numbers, a Node or a Spec stands for them, which has their shape and dtype.
    """
    if node.args is None:
        raise RuntimeError(
            f"backward has already run through this graph ({node.op.name}) and freed it; pass retain_graph=True to the "
            "first call to go through it twice"
        )
    if not create_graph:
        return node.args, node if node.value is None else node.value
    pairs = itertools.zip_longest(node.args, node.parents)  # what follows the operands has no parent
    args = [Tensor(arg, parent) if backend.is_array(arg) else arg for arg, parent in pairs]
    return args, node if node.value is None else Tensor(node.value, node)


def _as_array(share):
    """NumPy turns 0-d results into scalars; this turns them back."""
    return share if isinstance(share, (numpy.ndarray, Tensor)) or backend.is_array(share) else numpy.asarray(share)


def _sum(total, share):
    total = _as_array(total + share)
    if state.detecting_anomaly:
        check_finite(getattr(total, "_data", total), "adding up the gradients of one tensor")
    return total


def _shares(node, towards, total, create_graph):
    """(parent, its share of the gradient) for each of those in `towards`: of the parent's shape, checked, and dtype."""
    op, params, (args, value) = node.op, node.params, _seen_by_rules(node, create_graph)
    joint = op.joint and op.joint(total, value, *args, **params)
    for i, parent in enumerate(towards):
        if parent is None:
            continue
        if joint is None:
            share = op.rules[i](total, value, *args, **params)
        else:
            share = joint(i) if callable(joint) else joint[i]
        share = _as_array(share)
        if share.shape != parent.shape:
            raise RuntimeError(
                f"the backward rule of {op.name} for argument {i} returned shape {share.shape} for an argument "
                f"of shape {parent.shape}; unbroadcast it, if it was broadcast"
            )
        if share.dtype != parent.dtype:
            share = share.astype(parent.dtype)
        if state.detecting_anomaly:
            check_finite(getattr(share, "_data", share), f"the backward rule of {op.name}")
        yield parent, share


def _reachable(starts):
    """Every node that the starts were made from, youngest first."""
    seen, waiting = set(starts), list(starts)
    while waiting:
        for parent in waiting.pop().parents:
            if parent is not None and parent not in seen:
                seen.add(parent)
                waiting.append(parent)
    return sorted(seen, key=operator.attrgetter("age"), reverse=True)
