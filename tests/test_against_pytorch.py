"""Ops and losses beside PyTorch, on its own samples: values, first and second derivatives.

A row of `ROWS` names one of PyTorch's sets of samples (`op_db`), and our function for it. Samples with an argument that
the function does not have are left out. What is compared is the value, the gradients of its product with a random
vector, and, in float64, the gradients of a random projection of those, for the operands and for the vector.
"""

import contextlib
import functools
import inspect

import numpy as np
import pytest

import minigrad as mg
import wn  # noqa: F401 - makes ops, too
from minigrad import ops
from minigrad.nn import functional as F
from minigrad.nn.normalization import lerp
from minigrad.op import REGISTRY
from minigrad.ops.shape import scatter

try:
    import torch

    from tests.beside_pytorch import agree, both, flat
except ImportError:
    torch = None

needs_samples = pytest.mark.peers("torch", "expecttest")


class LeftOut(Exception):  # noqa: N818 - no error
    """A sample that minigrad has no words for."""


def unless(condition):
    if not condition:
        raise LeftOut


# ---- the table ------------------------------------------------------------------------------------------------------


def deviation(function):
    def run(x, axis=None, unbiased=True, ddof=None, keepdims=False):
        axis, unbiased = (None, axis) if isinstance(axis, bool) else (axis, unbiased)
        return function(x, axis, keepdims, int(unbiased) if ddof is None else ddof)

    return run


def euclidean(x, ord=2, axis=None, keepdims=False):
    unless(ord in (2, "fro"))
    return mg.norm(x, axis if axis is None or isinstance(axis, int) else tuple(axis), keepdims)


def softplus(x, beta=1.0, threshold=20.0):
    return mg.where(x * beta > threshold, x, mg.softplus(x * beta) / beta)  # ours has no threshold: it is exact


def exchanged(x, first, second):
    """Two axes exchanged, by moveaxis."""
    unless(x.ndim)
    first, second = sorted((first % x.ndim, second % x.ndim))
    return mg.moveaxis(mg.moveaxis(x, first, second), second - (first < second), first)


def padded(x, pad, value=0):
    unless(min(pad) >= 0)
    pairs = list(zip(pad[::2], pad[1::2], strict=True))[::-1]
    return mg.pad(x, [(0, 0)] * (x.ndim - len(pairs)) + pairs, value or 0)


def added_at(x, index, values, accumulate=False):
    unless(accumulate)
    return x + scatter(mg.broadcast_to(values, x[index].shape), index, x.shape)


def split(x, sections, axis=0):
    unless(isinstance(sections, (list, tuple)) or (isinstance(sections, int) and x.shape[axis] % sections == 0))
    return mg.split(x, sections, axis)


def convolved(x, weight, bias=None, stride=1, padding=0):
    unless(not isinstance(padding, str))
    return mg.conv2d(x, weight, bias, stride, padding)


def layer_norm(x, shape, weight=1.0, bias=0.0, eps=1e-5):
    return F.normalize(x, tuple(range(x.ndim - len(shape), x.ndim)), eps) * weight + bias


def batch_norm(x, mean, var, weight=None, bias=None, training=False, momentum=0.1, eps=1e-5):
    unless(training and weight is not None and bias is not None)
    return F.batch_norm(x, weight, bias, eps)[0]


def cross_entropy(x, target):
    unless(x.ndim == 2 and target.dtype.kind == "i" and (target >= 0).all())
    return F.cross_entropy(x, target)


def when(condition, function):
    """The function for those samples whose first operand meets a condition; NumPy is stricter than PyTorch."""

    def run(x, *args, **kwargs):
        unless(condition(x))
        return function(x, *args, **kwargs)

    run.__signature__ = inspect.signature(function)
    return run


def has_axes(x):
    return x.ndim > 0


def is_images(x):
    return x.ndim == 4


NAMES = {  # PyTorch's names of arguments, and ours
    "dim": "axis", "keepdim": "keepdims", "correction": "ddof", "negative_slope": "slope", "kernel_size": "size",
    "min_val": "low", "max_val": "high",
}  # fmt: skip
NEUTRAL = {  # arguments that only PyTorch has, with values, as text, that make no difference
    "dilation": ["1", "(1, 1)"], "padding": ["0", "(0, 0)"], "groups": ["1"], "ceil_mode": ["False"],
    "mode": ["constant"], "return_indices": ["False"], "count_include_pad": ["True"], "divisor_override": ["None"],
    "reduction": ["mean"], "weight": ["None"], "pos_weight": ["None"], "label_smoothing": ["0.0"],
}  # fmt: skip
ROWS = {  # ours (it may go on after a comma), op_db's name, our function under NAMES
    **{name: (name, getattr(mg, name)) for name in (
        "abs", "exp", "log", "sqrt", "square", "sin", "cos", "tanh", "sigmoid", "erf", "sign", "maximum", "minimum",
        "sum", "prod", "argmax", "softmax", "log_softmax", "broadcast_to", "reshape", "matmul",
    )},
    **{ours: (theirs, getattr(mg, ours)) for ours, theirs in {
        "add": "add", "subtract": "sub", "multiply": "mul", "divide": "div_no_rounding_mode", "power": "pow",
        "negative": "neg", "equal": "eq", "not_equal": "ne", "greater": "gt", "greater_equal": "ge", "less": "lt",
        "less_equal": "le", "max": "amax", "min": "amin", "getitem": "__getitem__", "expand_dims": "unsqueeze",
        "transpose": "permute",
    }.items()},
    **{name: (f"nn_functional_{name}", getattr(F, name)) for name in (
        "linear", "mse_loss", "huber_loss", "binary_cross_entropy_with_logits",
    )},
    **{name: (f"nn_functional_{name}", when(is_images, getattr(F, name))) for name in (
        "conv_transpose2d", "max_pool2d", "avg_pool2d",
    )},
    **{name: (f"nn_functional_{name}", getattr(mg, name)) for name in ("relu", "leaky_relu", "elu")},
    "conv2d": ("nn_functional_conv2d", when(is_images, convolved)),
    "clip": ("nn_functional_hardtanh", lambda x, low=-1.0, high=1.0: mg.clip(x, low, high)),
    "tensordot": ("tensordot", lambda a, b, dims=2: unless(isinstance(dims, int)) or mg.tensordot(a, b, dims)),
    "power, from the right": ("__rpow__", lambda x, other: other**x),
    "softplus": ("nn_functional_softplus", softplus),
    "where": ("where", lambda x, condition, other: mg.where(condition, x, other)),
    "lerp": ("lerp", lambda a, b, weight: unless(isinstance(weight, float)) or lerp(a, b, weight)),
    "mean": ("mean", when(has_axes, mg.mean)),
    "logsumexp": ("logsumexp", when(has_axes, mg.logsumexp)),
    "var": ("var", deviation(mg.var)),
    "std": ("std", deviation(mg.std)),
    "norm": ("linalg_vector_norm", euclidean),
    "norm, of everything": ("norm", lambda x, p="fro", axis=None, keepdims=False: euclidean(x, p, axis, keepdims)),
    "cumsum": ("cumsum", when(has_axes, mg.cumsum)),
    "transpose, reversed": ("T", lambda x: mg.transpose(x)),
    "swapaxes": ("transpose", when(has_axes, mg.swapaxes)),
    "moveaxis": ("transpose", exchanged),
    "squeeze": ("squeeze", lambda x, i=None: unless(i is None or (x.ndim and x.shape[i] == 1)) or mg.squeeze(x, i)),
    "flip": ("flip", lambda x, dims: mg.flip(x, tuple(dims))),
    "scatter": ("index_put", added_at),
    "take": ("index_select", when(has_axes, lambda x, axis, index: mg.take(x, index, axis))),
    "take, of the flattened array": ("take", mg.take),
    "pad": ("nn_functional_pad_constant", padded),
    "concatenate": ("cat", when(lambda xs: len({x.ndim for x in xs}) == 1, mg.concatenate)),
    "stack": ("stack", mg.stack),
    "split": ("tensor_split", split),
    "astype": ("double", lambda x: mg.astype(x, np.float64)),
    "einsum": ("einsum", lambda xs, text: unless("...ik, ...j" not in text) or mg.einsum(text, *xs)),
    "normalize": ("nn_functional_layer_norm", layer_norm),
    "batch_norm": ("nn_functional_batch_norm", batch_norm),
    "cross_entropy": ("nn_functional_cross_entropy", cross_entropy),
    "one_hot": ("nn_functional_one_hot", lambda x, num_classes: unless(x.ndim == 1 and num_classes > 0)
                or F.one_hot(x, num_classes, np.int64)),
}  # fmt: skip
ELSEWHERE = {
    **dict.fromkeys(["dropout", "dropout_mask", "normal_like"], "random"),
    **dict.fromkeys(["conv2d_with_bias", "conv2d_input_gradient", "conv2d_weight_gradient"], "conv2d, differentiated"),
    **dict.fromkeys(["max_unpool2d", "max_gather2d", "avg_unpool2d"], "pooling, differentiated"),
    **dict.fromkeys(["batch_moments", "inverse_deviation"], "parts of batch_norm"),
    **dict.fromkeys(["lstm_cell_state", "lstm_output", "weight_norm"], "LAYERS"),
    "to_device": "a copy on another device", "mean_only": "the paper's; PyTorch has none",
    "total": "a sum over machines",
}  # fmt: skip


def test_each_op_and_function_has_a_row_or_a_reason():
    covered = {name.split(",")[0] for name in ROWS}
    assert not covered & ELSEWHERE.keys()
    assert covered | ELSEWHERE.keys() == REGISTRY.keys() | {*ops.__all__} | {*F.__all__}


# ---- ops ------------------------------------------------------------------------------------------------------------


@functools.cache
def infos():
    from torch.testing._internal.common_methods_invocations import op_db

    return {info.formatted_name: info for info in op_db}


CONDITION = {"normalize": 1e-5**-0.5}  # a single number has variance 0, and its rounding is divided by √eps
INTEGERS_DIFFER = {
    "power, from the right": "NumPy refuses integers to negative powers",
    "clip": "bounds of 0.5 are 0 for PyTorch",
    "avg_pool2d": "PyTorch rounds the mean down",
}
AT_SPECIAL_NUMBERS = {  # up to which order both agree there
    "where": (0, "PyTorch's samples want the gradient for booleans"),
    "clip": (0, "hardtanh has no gradient at its bounds, clip and PyTorch's clamp have"),
    "elu": (1, "at 0 its second derivative is, for PyTorch, the one from the right"),
    "power": (1, "where b is 0, PyTorch takes ∂²/∂a∂b aᵇ for 0; it is 1/a"),
    "power, from the right": (1, "likewise"),
}


def samples(name, dtype):
    """(sample, order to compare to) for the ordinary ones; in float64 also reference samples, of special numbers."""
    info, dtype, order = infos()[ROWS[name][0]], getattr(torch, dtype), 1
    sets = [info.sample_inputs]
    if dtype == torch.float64:
        order, special = 2, AT_SPECIAL_NUMBERS.get(name, (2, ""))[0]
        sets += [info.reference_inputs] if special and info.reference_inputs_func else []
    with torch.random.fork_rng():
        torch.manual_seed(0)
        for make in sets:
            for sample in make("cpu", dtype, requires_grad=dtype.is_floating_point and info.supports_autograd):
                tensors = [x for x in flat([sample.input, sample.args]) if isinstance(x, torch.Tensor)]
                if tensors and all(x.numel() <= 1000 and not x.isnan().any() for x in tensors):
                    yield sample, order if make == info.sample_inputs else special


def in_our_words(function, sample, leaves):
    """What to call to get our result, and PyTorch's arguments; LeftOut if our function has no such argument."""
    (args, kwargs), theirs = both(([sample.input, *sample.args], sample.kwargs), leaves)
    has = inspect.signature(function).parameters
    kwargs = {NAMES.get(name, name): value for name, value in kwargs.items()}
    kwargs = {n: v for n, v in kwargs.items() if n in has or str(v) not in NEUTRAL.get(n, ())}
    kwargs = {n: (tuple(v) or None if n == "axis" and isinstance(v, (list, tuple)) else v) for n, v in kwargs.items()}
    try:
        inspect.signature(function).bind(*args, **kwargs)
    except TypeError as error:
        raise LeftOut from error
    return functools.partial(function, *args, **kwargs), theirs


@needs_samples
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("dtype", ["float64", "float32", "int64"])
@pytest.mark.parametrize("name", ROWS)
def test_on_pytorch_s_samples(name, dtype):
    theirs, function = ROWS[name]
    info, compared = infos()[theirs], 0
    if (name in INTEGERS_DIFFER and dtype == "int64") or getattr(torch, dtype) not in info.dtypes:
        return
    for sample, order in samples(name, dtype):
        leaves = []
        with contextlib.suppress(LeftOut), np.errstate(all="ignore"):
            ours, (args, kwargs) = in_our_words(function, sample, leaves)
            outputs = list(zip(flat(ours()), flat(info(*args, **kwargs)), strict=True))
            agree(outputs, leaves, order, CONDITION.get(name, 1.0))
            compared += 1
    assert compared


ACCEPTED = {
    "clip": "as in NumPy, a lower bound above the upper one",
    "mean": "integers",
    "maximum": "numbers",
    "minimum": "numbers",
}


@needs_samples
@pytest.mark.parametrize("name", [name for name in ROWS if name not in ACCEPTED])
def test_what_pytorch_refuses_is_refused(name):
    theirs, function = ROWS[name]
    info = infos()[theirs]
    for error in info.error_inputs("cpu") if info.error_inputs_func else ():
        sample = error.sample_input
        if isinstance(sample.input, torch.Tensor) and sample.input.ndim <= 64:
            with contextlib.suppress(LeftOut):
                ours, _ = in_our_words(function, sample, [])
                with pytest.raises((ValueError, TypeError, IndexError)):
                    ours()
