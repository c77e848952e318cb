"""What tests need to compare results and their derivatives with PyTorch's. PyTorch must be installed."""

import numpy as np
import torch

import minigrad as mg


def both(value, leaves):
    """An argument for us and for PyTorch; what is to be differentiated for is added to `leaves`."""
    if isinstance(value, torch.Tensor):
        value = value.detach().requires_grad_(value.requires_grad)
        if value.requires_grad:
            leaves.append((mg.tensor(value.detach().numpy(), requires_grad=True), value))
            return leaves[-1]
        return value.numpy(), value
    if isinstance(value, (list, tuple)):
        pairs, kind = [both(v, leaves) for v in value], list if isinstance(value, list) else tuple
        return kind(ours for ours, _ in pairs), kind(theirs for _, theirs in pairs)
    if isinstance(value, dict):
        return tuple(dict(zip(value, values, strict=True)) for values in both(list(value.values()), leaves))
    return value, value


def random_vector(rng, like):
    values = rng.uniform(-1, 1, like.shape)
    theirs = torch.tensor(values, dtype=like.dtype, requires_grad=True)
    return mg.tensor(theirs.detach().numpy(), requires_grad=True), theirs


def gradients(outputs, vectors, leaves):
    """Of the sum of products of all outputs with their vectors, as pairs (ours, PyTorch's), recorded."""
    mine = sum(((y * v).sum() for (y, _), (v, _) in zip(outputs, vectors, strict=True)), start=mg.tensor(0.0))
    other = sum((y * v).sum() for (_, y), (_, v) in zip(outputs, vectors, strict=True))
    found = mg.grad(mine, [x for x, _ in leaves], create_graph=True)
    wanted = [torch.zeros_like(x) for _, x in leaves]
    if other.requires_grad:
        wanted = torch.autograd.grad(
            other, [x for _, x in leaves], create_graph=True, allow_unused=True, materialize_grads=True
        )
    return list(zip(found, wanted, strict=True))


def agree(outputs, leaves, order, condition=1.0):
    """Values and derivatives, of pairs (ours, PyTorch's), up to rounding.

    An entry is the result of a few roundings and of a sum over at most all entries of an operand; sums in another
    order differ by no more than eps times their number times the largest term. Operands and vectors are around 1, so
    the terms are at most around 1 where the results are smaller. `condition` is how much the function itself enlarges
    a rounding.
    """
    roundings = 32 + max(x.numel() for _, x in (*outputs, *leaves))

    def close(found, wanted, what):
        found, wanted = (
            x.numpy() if isinstance(x, mg.Tensor) else np.asarray(x) for x in (found, wanted.numpy(force=True))
        )
        assert found.shape == wanted.shape, what
        integers = wanted.dtype == np.float32 and not leaves  # of integers NumPy, and so we, make float64
        assert found.dtype == wanted.dtype or (integers and found.dtype == np.float64), what
        if wanted.dtype.kind != "f":
            return np.testing.assert_array_equal(found, wanted, what)
        largest = max(1.0, np.abs(wanted, where=np.isfinite(wanted), out=np.zeros_like(wanted)).max(initial=0))
        bound = float(np.finfo(wanted.dtype).eps) * roundings * condition * float(largest)
        np.testing.assert_allclose(found, wanted, rtol=0, atol=bound, err_msg=what)

    for ours, theirs in outputs:
        close(ours, theirs, "value")
    outputs = [(ours, theirs) for ours, theirs in outputs if theirs.requires_grad]
    if not outputs:
        return
    rng = np.random.default_rng(0)
    vectors = [random_vector(rng, y) for _, y in outputs]
    first = gradients(outputs, vectors, leaves)
    for ours, theirs in first:
        close(ours, theirs, "first derivative")
    if order == 2:
        for ours, theirs in gradients(first, [random_vector(rng, g) for _, g in first], [*leaves, *vectors]):
            close(ours, theirs, "second derivative")


def flat(result):
    return [part for r in result for part in flat(r)] if isinstance(result, (list, tuple)) else [result]
