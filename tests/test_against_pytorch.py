"""Beside PyTorch, on its own samples: values, first and second derivatives of ops, then layers, losses and optimizers.

A row of `ROWS` names one of PyTorch's operator samples (`op_db`), and says in minigrad's words what that operator
computes. Samples for which there are no such words are left out: an argument that the function does not take, or
`unless`. What is compared is the value, a vector-Jacobian product with a random vector, and, in float64, all
derivatives of a random projection of that, for the operands and for the vector.
"""

import contextlib
import functools
import inspect

import numpy as np
import pytest

import minigrad as mg
import wn
from minigrad import nn, ops, optim
from minigrad.nn import functional as F
from minigrad.nn.normalization import lerp
from minigrad.op import REGISTRY
from minigrad.ops.shape import scatter

try:
    import torch
    from torch.nn.utils.parametrizations import weight_norm as torch_weight_norm
except ImportError:
    torch = None

needs_torch = pytest.mark.peers("torch")
needs_samples = pytest.mark.peers("torch", "expecttest")


class LeftOut(Exception):
    """A sample that minigrad has no words for."""


def unless(condition):
    if not condition:
        raise LeftOut


# ---- the table ------------------------------------------------------------------------------------------------------


def reduced(function):
    def run(x, dim=None, keepdim=False):
        unless(x.ndim or function not in (mg.mean, mg.logsumexp))  # a number has no axis 0, except for NumPy's ufuncs
        return function(x, axes(dim), keepdim)

    return run


def axes(dim):
    return tuple(dim) or None if isinstance(dim, (list, tuple)) else dim


def deviation(function):
    def run(x, dim=None, unbiased=True, correction=None, keepdim=False):
        dim, unbiased = (None, dim) if isinstance(dim, bool) else (dim, unbiased)
        return function(x, axes(dim), keepdim, int(unbiased) if correction is None else correction)

    return run


def euclidean(x, ord=2, dim=None, keepdim=False):
    unless(ord in (2, "fro"))
    return mg.norm(x, axes(dim), keepdim)


def softplus(x, beta=1.0, threshold=20.0):
    return mg.where(x * beta > threshold, x, mg.softplus(x * beta) / beta)  # ours has no threshold: it is exact


def moved_back_and_forth(x, dim0, dim1):
    """Two axes exchanged, by moveaxis."""
    unless(x.ndim)
    first, second = sorted((dim0 % x.ndim, dim1 % x.ndim))
    return mg.moveaxis(mg.moveaxis(x, first, second), second - 1, first) if first < second else mg.moveaxis(x, dim0, dim1)


def padded(x, pad, mode="constant", value=0):
    unless(mode == "constant" and min(pad) >= 0)
    pairs = list(zip(pad[::2], pad[1::2], strict=True))[::-1]
    return mg.pad(x, [(0, 0)] * (x.ndim - len(pairs)) + pairs, value or 0)


def added_at(x, indices, values, accumulate=False):
    unless(accumulate)
    return x + scatter(mg.broadcast_to(values, x[indices].shape), indices, x.shape)


def parts(x, sections, dim=0):
    unless(not isinstance(sections, np.ndarray) and (not isinstance(sections, int) or x.shape[dim] % sections == 0))
    return mg.split(x, sections, dim)


def convolved(x, weight, bias=None, stride=1, padding=0, dilation=1, groups=1):
    unless(x.ndim == 4 and dilation in (1, (1, 1)) and groups == 1 and not isinstance(padding, str))
    return mg.conv2d(x, weight, bias, stride, padding)


def transposed(x, weight, bias=None, stride=1, padding=0, output_padding=0, groups=1, dilation=1):
    unless(x.ndim == 4 and dilation in (1, (1, 1)) and groups == 1)
    return mg.conv_transpose2d(x, weight, bias, stride, padding, output_padding)


def pooled(function):
    def run(x, kernel_size, stride=None, padding=0, dilation=1, ceil_mode=False, return_indices=False):
        unless(x.ndim == 4 and padding in (0, (0, 0)) and dilation in (1, (1, 1)) and not (ceil_mode or return_indices))
        return function(x, kernel_size, stride)

    return run


def layer_norm(x, normalized_shape, weight=1.0, bias=0.0, eps=1e-5):
    return F.normalize(x, tuple(range(x.ndim - len(normalized_shape), x.ndim)), eps) * weight + bias


def batch_norm(x, running_mean, running_var, weight=None, bias=None, training=False, momentum=0.1, eps=1e-5):
    unless(training and weight is not None and bias is not None)
    return F.batch_norm(x, weight, bias, eps)[0]


def mean_loss(function):
    """A loss for the mean over all entries, the only reduction there is."""

    def run(x, target, reduction="mean", **options):
        unless(reduction == "mean" and all(value is None for name, value in options.items() if name != "delta"))
        return function(x, target, **{name: value for name, value in options.items() if name == "delta"})

    return run


def cross_entropy(x, target, weight=None, ignore_index=-100, reduction="mean", label_smoothing=0.0):
    unless(x.ndim == 2 and target.dtype.kind == "i" and weight is None and reduction == "mean" and not label_smoothing)
    unless(not (target == ignore_index).any())
    return F.cross_entropy(x, target)


def one_hot(x, num_classes=-1):
    unless(x.ndim == 1 and num_classes > 0)
    return F.one_hot(x, num_classes, np.int64)


SAME = {  # op_db's name, and where ours differs
    "abs": "", "exp": "", "log": "", "sqrt": "", "square": "", "sin": "", "cos": "", "tanh": "", "sigmoid": "", "erf": "",
    "sign": "", "maximum": "", "minimum": "", "matmul": "", "add": "", "subtract": "sub", "multiply": "mul",
    "divide": "div_no_rounding_mode", "power": "pow", "negative": "neg", "equal": "eq", "not_equal": "ne",
    "greater": "gt", "greater_equal": "ge", "less": "lt", "less_equal": "le", "transpose, reversed": "T",
}  # fmt: skip
ROWS = {  # ours → (op_db's name, in our words); a name may go on after a comma
    **{name: (theirs or name, getattr(mg, name.split(",")[0])) for name, theirs in SAME.items()},
    "power, from the right": ("__rpow__", lambda x, other: other**x),
    "relu": ("nn_functional_relu", mg.relu),
    "leaky_relu": ("nn_functional_leaky_relu", lambda x, negative_slope=0.01: mg.leaky_relu(x, negative_slope)),
    "elu": ("nn_functional_elu", mg.elu),
    "softplus": ("nn_functional_softplus", softplus),
    "where": ("where", lambda x, condition, other: mg.where(condition, x, other)),
    "clip": ("nn_functional_hardtanh", lambda x, min_val=-1.0, max_val=1.0: mg.clip(x, min_val, max_val)),
    "lerp": ("lerp", lambda a, b, weight: unless(isinstance(weight, float)) or lerp(a, b, weight)),
    "sum": ("sum", reduced(mg.sum)),
    "mean": ("mean", reduced(mg.mean)),
    "prod": ("prod", reduced(mg.prod)),
    "max": ("amax", reduced(mg.max)),
    "min": ("amin", reduced(mg.min)),
    "var": ("var", deviation(mg.var)),
    "std": ("std", deviation(mg.std)),
    "norm": ("linalg_vector_norm", euclidean),
    "norm, of everything": ("norm", lambda x, p="fro", dim=None, keepdim=False: euclidean(x, p, dim, keepdim)),
    "argmax": ("argmax", lambda x, dim=None: mg.argmax(x, dim)),
    "logsumexp": ("logsumexp", reduced(mg.logsumexp)),
    "softmax": ("softmax", lambda x, dim: mg.softmax(x, dim)),
    "log_softmax": ("log_softmax", lambda x, dim: mg.log_softmax(x, dim)),
    "broadcast_to": ("broadcast_to", lambda x, size: mg.broadcast_to(x, tuple(size))),
    "cumsum": ("cumsum", lambda x, dim: unless(x.ndim) or mg.cumsum(x, dim)),  # NumPy makes a row of a number
    "reshape": ("reshape", mg.reshape),
    "transpose": ("permute", lambda x, dims: mg.transpose(x, tuple(dims))),
    "swapaxes": ("transpose", lambda x, dim0, dim1: unless(x.ndim) or mg.swapaxes(x, dim0, dim1)),
    "moveaxis": ("transpose", moved_back_and_forth),
    "expand_dims": ("unsqueeze", lambda x, dim: mg.expand_dims(x, dim)),
    "squeeze": ("squeeze", lambda x, dim=None: unless(dim is None or (x.ndim and x.shape[dim] == 1)) or mg.squeeze(x, dim)),
    "flip": ("flip", lambda x, dims: mg.flip(x, tuple(dims))),
    "getitem": ("__getitem__", mg.getitem),
    "scatter": ("index_put", added_at),
    "take": ("index_select", lambda x, dim, index: unless(x.ndim) or mg.take(x, index, dim)),
    "take, of the flattened array": ("take", mg.take),
    "pad": ("nn_functional_pad_constant", padded),
    "concatenate": ("cat", lambda xs, dim=0: unless(len({x.ndim for x in xs}) == 1) or mg.concatenate(xs, dim)),
    "stack": ("stack", lambda xs, dim=0: mg.stack(xs, dim)),
    "split": ("tensor_split", parts),
    "astype": ("double", lambda x: mg.astype(x, np.float64)),
    "tensordot": ("tensordot", lambda a, b, dims=2: unless(isinstance(dims, int)) or mg.tensordot(a, b, dims)),
    "einsum": ("einsum", lambda xs, equation: unless("...ik, ...j" not in equation) or mg.einsum(equation, *xs)),
    "linear": ("nn_functional_linear", F.linear),
    "conv2d": ("nn_functional_conv2d", convolved),
    "conv_transpose2d": ("nn_functional_conv_transpose2d", transposed),
    "max_pool2d": ("nn_functional_max_pool2d", pooled(mg.max_pool2d)),
    "avg_pool2d": ("nn_functional_avg_pool2d", pooled(mg.avg_pool2d)),
    "normalize": ("nn_functional_layer_norm", layer_norm),
    "batch_norm": ("nn_functional_batch_norm", batch_norm),
    "cross_entropy": ("nn_functional_cross_entropy", cross_entropy),
    "mse_loss": ("nn_functional_mse_loss", mean_loss(F.mse_loss)),
    "huber_loss": ("nn_functional_huber_loss", mean_loss(F.huber_loss)),
    "binary_cross_entropy_with_logits": (
        "nn_functional_binary_cross_entropy_with_logits", mean_loss(F.binary_cross_entropy_with_logits)
    ),
    "one_hot": ("nn_functional_one_hot", one_hot),
}  # fmt: skip
ELSEWHERE = {
    "dropout": "random", "dropout_mask": "random", "normal_like": "random",
    "to_device": "a copy on another device",
    "conv2d_with_bias": "conv2d", "conv2d_input_gradient": "a derivative of conv2d",
    "conv2d_weight_gradient": "a derivative of conv2d", "max_unpool2d": "a derivative of max_pool2d",
    "max_gather2d": "a derivative of max_pool2d", "avg_unpool2d": "a derivative of avg_pool2d",
    "batch_moments": "a part of batch_norm", "inverse_deviation": "a part of batch_norm",
    "lstm_cell_state": "LAYERS", "lstm_output": "LAYERS", "weight_norm": "LAYERS",
    "mean_only": "the paper's: PyTorch has none",
}  # fmt: skip


def test_each_op_and_function_has_a_row_or_a_reason():
    covered = {name.split(",")[0] for name in ROWS}
    assert not covered & ELSEWHERE.keys()
    assert covered | ELSEWHERE.keys() == REGISTRY.keys() | {*ops.__all__} | {*F.__all__}


# ---- what is compared -----------------------------------------------------------------------------------------------


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
        pairs = {name: both(v, leaves) for name, v in value.items()}
        return {name: ours for name, (ours, _) in pairs.items()}, {name: theirs for name, (_, theirs) in pairs.items()}
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
        found, wanted = (x.numpy() if isinstance(x, mg.Tensor) else np.asarray(x) for x in (found, wanted.numpy(force=True)))
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
    """What to call to get our result and PyTorch's arguments; LeftOut if our function has no such argument."""
    (args, kwargs), theirs = both(([sample.input, *sample.args], sample.kwargs), leaves)
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


ACCEPTED = {"clip": "as in NumPy, a lower bound above the upper one", "mean": "integers", "maximum": "numbers", "minimum": "numbers"}


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


# ---- layers ---------------------------------------------------------------------------------------------------------


def theirs_normalized(layer, names=("weight",), dim=0):
    for name in names:
        torch_weight_norm(layer, name, dim=dim)
    return layer


T = torch.nn if torch else None
IMAGES = (3, 2, 5, 6)
LAYERS = {  # ours, PyTorch's, shapes of the input in training, then in evaluation
    "Linear": (lambda: nn.Linear(5, 4), lambda: T.Linear(5, 4), (3, 5)),
    "Linear of stacks": (lambda: nn.Linear(5, 4, bias=False), lambda: T.Linear(5, 4, bias=False), (2, 3, 5)),
    "Conv2d": (lambda: nn.Conv2d(2, 3, 3), lambda: T.Conv2d(2, 3, 3), IMAGES),
    "Conv2d, stride": (
        lambda: nn.Conv2d(2, 3, (3, 2), (2, 1), (1, 2)), lambda: T.Conv2d(2, 3, (3, 2), (2, 1), (1, 2)), IMAGES
    ),
    "ConvTranspose2d": (
        lambda: nn.ConvTranspose2d(2, 3, 3, (2, 3), 1, (1, 2)), lambda: T.ConvTranspose2d(2, 3, 3, (2, 3), 1, (1, 2)),
        IMAGES,
    ),
    "LSTMCell": (lambda: nn.LSTMCell(5, 4), lambda: T.LSTMCell(5, 4), (3, 5)),
    "BatchNorm": (lambda: nn.BatchNorm(4), lambda: T.BatchNorm1d(4), (5, 4)),
    "BatchNorm of images": (lambda: nn.BatchNorm(2, 0.3, 0.1), lambda: T.BatchNorm2d(2, 0.1, 0.3), IMAGES),
    "LayerNorm": (lambda: nn.LayerNorm(6), lambda: T.LayerNorm(6), IMAGES),
    "MaxPool2d": (lambda: nn.MaxPool2d(2), lambda: T.MaxPool2d(2), IMAGES),
    "AvgPool2d": (lambda: nn.AvgPool2d((3, 2), 2), lambda: T.AvgPool2d((3, 2), 2), IMAGES),
    "GlobalAvgPool2d": (nn.GlobalAvgPool2d, lambda: T.Sequential(T.AdaptiveAvgPool2d(1), T.Flatten()), IMAGES),
    "ReLU": (nn.ReLU, lambda: T.ReLU(), IMAGES),
    "ELU": (lambda: nn.ELU(0.5), lambda: T.ELU(0.5), IMAGES),
    "LeakyReLU": (lambda: nn.LeakyReLU(0.2), lambda: T.LeakyReLU(0.2), IMAGES),
    "WeightNorm of Linear": (
        lambda: wn.WeightNorm(nn.Linear(5, 4)), lambda: theirs_normalized(T.Linear(5, 4)), (3, 5)
    ),
    "WeightNorm of Conv2d": (
        lambda: wn.WeightNorm(nn.Conv2d(2, 3, 3)), lambda: theirs_normalized(T.Conv2d(2, 3, 3)), IMAGES
    ),
    "WeightNorm of ConvTranspose2d": (
        lambda: wn.WeightNorm(nn.ConvTranspose2d(2, 3, 2)),
        lambda: theirs_normalized(T.ConvTranspose2d(2, 3, 2), dim=1), IMAGES,
    ),
    "WeightNorm with one length": (
        lambda: wn.WeightNorm(nn.Linear(5, 4), axis=None), lambda: theirs_normalized(T.Linear(5, 4), dim=None), (3, 5)
    ),
    "WeightNorm of LSTMCell": (
        lambda: wn.apply_weight_norm(nn.LSTMCell(5, 4)),
        lambda: theirs_normalized(T.LSTMCell(5, 4), ("weight_ih", "weight_hh")), (3, 5),
    ),
}  # fmt: skip


def paired(ours, theirs, rng):
    """Every parameter and buffer of two layers with the same random numbers, in float64: pairs by PyTorch's names."""
    mine, others = (
        dict(layer.named_parameters()) | dict(layer.named_buffers()) for layer in (ours, theirs.double())
    )
    pairs = {there: (mine[here], others[there]) for here, there in zip(mine, wn.to_torch_state_dict(ours), strict=True)}
    for name, (here, there) in pairs.items():
        numbers = rng.uniform(0.5 if name.endswith("var") else -1, 1, here.shape)
        here.data, there.data = numbers, torch.tensor(numbers)
    assert {name for name in others if "num_batches" not in name} == pairs.keys()
    return pairs


@needs_torch
@pytest.mark.parametrize("ours, theirs, shape", LAYERS.values(), ids=LAYERS)
def test_layers_and_what_they_remember(ours, theirs, shape):
    ours, theirs, rng = ours(), theirs(), np.random.default_rng(0)
    pairs = paired(ours, theirs, rng)
    for _ in range(2):  # in training; then in evaluation, with the averages that training has left
        x = random_vector(rng, torch.zeros(shape, dtype=torch.float64))
        results = [layer(value) for layer, value in zip((ours, theirs), x, strict=True)]
        if isinstance(ours, nn.LSTMCell):  # a second step, or the first state would not count
            results = [layer(value, state) for layer, value, state in zip((ours, theirs), x, results, strict=True)]
        leaves = [x, *(pair for pair in pairs.values() if isinstance(pair[0], nn.Parameter))]
        agree(list(zip(*map(flat, results), strict=True)), leaves, 2)
        agree([pair for pair in pairs.values() if isinstance(pair[0], nn.Buffer)], leaves, 0)
        ours.eval()
        theirs.eval()


# ---- optimizers -----------------------------------------------------------------------------------------------------

OPTIMIZERS = [  # eps = 0 for Adamax: PyTorch adds it elsewhere (docstring of Adamax)
    ("SGD", {"lr": 0.1}), ("SGD", {"lr": 0.1, "momentum": 0.9, "weight_decay": 0.1}), ("Adam", {}),
    ("Adam", {"lr": 0.1, "betas": (0.5, 0.9), "eps": 1e-2, "weight_decay": 0.1}), ("AdamW", {}),
    ("AdamW", {"lr": 0.1, "betas": (0.8, 0.99), "weight_decay": 0.3}), ("Adamax", {"eps": 0.0}),
    ("Adamax", {"lr": 0.1, "betas": (0.5, 0.9), "eps": 0.0}), ("RMSprop", {}),
    ("RMSprop", {"lr": 0.01, "alpha": 0.9, "eps": 1e-3, "momentum": 0.8, "weight_decay": 0.1}),
]  # fmt: skip


@needs_torch
@pytest.mark.parametrize("name, options", OPTIMIZERS, ids=[f"{name} {options}" for name, options in OPTIMIZERS])
def test_twenty_steps(name, options):
    rng = np.random.default_rng(0)
    x, y = random_vector(rng, torch.zeros(3, 4, dtype=torch.float64))
    ours, theirs = getattr(optim, name)([x], **options), getattr(torch.optim, name)([y], **options)
    for _ in range(20):
        slope = rng.standard_normal(x.shape)
        ours.zero_grad()
        theirs.zero_grad()
        (x * slope + x * x).sum().backward()
        (y * torch.tensor(slope) + y * y).sum().backward()
        ours.step()
        theirs.step()
    # 20 steps of a dozen roundings; a small gradient of Adam's may enlarge one a hundred times
    np.testing.assert_allclose(x.numpy(), y.detach().numpy(), rtol=0, atol=20 * 12 * 100 * np.finfo(float).eps)
