"""Every op in the registry, and what is made of them, against NumPy and against central differences.

`CASES` has an entry for each: how to draw valid operands, away from kinks and ties by far more than the step of a
central difference, and what NumPy would compute. An op without an entry fails the suite; an entry gets every law.
"""

import math
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

import minigrad as mg
import wn
from minigrad import backend
from minigrad.nn import functional as F
from minigrad.nn import normalization, recurrent
from minigrad.op import REGISTRY
from minigrad.ops import convolution, linear_algebra
from minigrad.ops import shape as rearranging
from minigrad.workers import total
from tests.devices import given_on_each_device, host, is_on, on
from wn.mean_only_batch_norm import mean_only

# ---- numbers and shapes ---------------------------------------------------------------------------------------------

seeds = st.integers(0, 2**32 - 1)
any_shapes = hnp.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=3)
full_shapes = hnp.array_shapes(min_dims=1, max_dims=3, min_side=1, max_side=3)
images = st.tuples(st.integers(0, 2), st.integers(1, 2), st.integers(1, 5), st.integers(1, 5))


def numbers(seed, shape, kind="any"):
    """Random numbers of a kind: how far they stay away from 0 and from each other."""
    rng = np.random.default_rng(seed)
    if kind == "any":
        return rng.uniform(-2, 2, shape)
    if kind == "positive":
        return rng.uniform(0.3, 2.5, shape)
    if kind == "nonzero":
        return rng.choice([-1.0, 1.0], shape) * rng.uniform(0.3, 2, shape)
    if kind == "distinct":  # 0.2 apart, and at least 0.05 from 0, ±0.1, ±0.2, …
        size = math.prod(shape)
        return (rng.permutation(size) - size // 2).reshape(shape) * 0.2 + 0.05
    raise ValueError(kind)


class Example(NamedTuple):
    """Operands to differentiate for, and everything else that the function takes."""

    args: list
    params: dict


def unary(kind="any", shapes=any_shapes, **params):
    return st.builds(lambda s, seed: Example([numbers(seed, s, kind)], params), shapes, seeds)


def binary(first="any", second="any", **params):
    shapes = hnp.mutually_broadcastable_shapes(num_shapes=2, min_side=0, max_side=3, max_dims=3)
    return st.builds(
        lambda s, seed: Example(
            [numbers(seed, s.input_shapes[0], first), numbers(seed + 1, s.input_shapes[1], second)], params
        ),
        shapes,
        seeds,
    )


@st.composite
def reduction(draw, kind="any", shapes=full_shapes, none=True, tuples=True, keepdims=True, **params):
    """x, axis and keepdims: no axis, one, or several, counted from either end."""
    x = numbers(draw(seeds), draw(shapes), kind)
    choices = [st.integers(-x.ndim, x.ndim - 1)] if x.ndim else []
    if none:
        choices.append(st.none())
    if tuples:
        choices.append(
            st.lists(st.integers(0, x.ndim - 1), unique=True, max_size=x.ndim).map(tuple) if x.ndim else st.just(())
        )
    params = {"axis": draw(st.one_of(choices)), **params}
    return Example([x], params | ({"keepdims": draw(st.booleans())} if keepdims else {}))


@st.composite
def one_axis(draw, shapes=full_shapes, kind="any", count=1):
    s, seed = draw(shapes), draw(seeds)
    args = [numbers(seed + i, s, kind) for i in range(draw(st.integers(1, count)))]
    return Example(args, {"axis": draw(st.integers(-len(s), len(s) - 1))})


@st.composite
def indexed(draw):
    s = draw(full_shapes)
    index = draw(
        st.one_of(
            hnp.basic_indices(s, allow_newaxis=True),
            hnp.integer_array_indices(s),
            hnp.arrays(bool, s),
            st.lists(st.integers(-s[0], s[0] - 1), min_size=1, max_size=4),
        )
    )
    return numbers(draw(seeds), s), index


@st.composite
def scattered(draw):
    x, index = draw(indexed())
    return Example([numbers(draw(seeds), x[index].shape)], {"index": index, "shape": x.shape})


@st.composite
def convolved(draw, output_padding=False):
    """x, w, stride and padding that fit together."""
    n, channels, height, width = draw(images)
    out, stride = draw(st.integers(1, 2)), (draw(st.integers(1, 3)), draw(st.integers(1, 3)))
    padding = (draw(st.integers(0, 3)), draw(st.integers(0, 3)))
    size = tuple(draw(st.integers(1, min(3, i + 2 * p))) for i, p in zip((height, width), padding, strict=True))
    return (
        numbers(draw(seeds), (n, channels, height, width)),
        numbers(draw(seeds), (out, channels, *size)),
        {"stride": stride, "padding": padding},
    )


def naive_conv2d(x, w, stride, padding):
    """The definition: a loop over the places of the kernel."""
    padded = np.pad(x, ((0, 0), (0, 0), (padding[0],) * 2, (padding[1],) * 2))
    (kh, kw), (height, width) = w.shape[2:], padded.shape[2:]
    rows, columns = range(0, height - kh + 1, stride[0]), range(0, width - kw + 1, stride[1])
    y = np.zeros((len(x), len(w), len(rows), len(columns)), np.result_type(x, w))
    for i, r in enumerate(rows):
        for j, c in enumerate(columns):
            y[:, :, i, j] = np.einsum("ncab,ocab->no", padded[:, :, r : r + kh, c : c + kw], w)
    return y


def naive_input_gradient(gy, w, size, stride, padding):
    """Every entry of gy times the kernel, added up where the kernel stood."""
    full = np.zeros((len(gy), w.shape[1], size[0] + 2 * padding[0], size[1] + 2 * padding[1]), np.result_type(gy, w))
    kh, kw = w.shape[2:]
    for i in range(gy.shape[2]):
        for j in range(gy.shape[3]):
            r, c = i * stride[0], j * stride[1]
            full[:, :, r : r + kh, c : c + kw] += np.einsum("no,ocab->ncab", gy[:, :, i, j], w)
    return full[:, :, padding[0] : padding[0] + size[0], padding[1] : padding[1] + size[1]]


def naive_weight_gradient(gy, x, size, stride, padding):
    padded = np.pad(x, ((0, 0), (0, 0), (padding[0],) * 2, (padding[1],) * 2))
    w = np.zeros((gy.shape[1], x.shape[1], *size), np.result_type(gy, x))
    for i in range(gy.shape[2]):
        for j in range(gy.shape[3]):
            r, c = i * stride[0], j * stride[1]
            w += np.einsum("no,ncab->ocab", gy[:, :, i, j], padded[:, :, r : r + size[0], c : c + size[1]])
    return w


def _conv_gradient_example(drawn, operand):
    x, w, params = drawn
    gy = naive_conv2d(x, w, **params)
    gy = np.cos(1 + np.arange(gy.size)).reshape(gy.shape)
    size = {"size": x.shape[2:] if operand is w else w.shape[2:]}
    return Example([gy, operand], size | params)


conv_inputs = convolved().map(lambda d: Example([d[0], d[1]], d[2]))
conv_input_gradients = convolved().map(lambda d: _conv_gradient_example(d, d[1]))
conv_weight_gradients = convolved().map(lambda d: _conv_gradient_example(d, d[0]))


@st.composite
def transposed_convolution(draw):
    x, w, params = draw(convolved())
    bias, stride = numbers(draw(seeds), w.shape[1:2]), params["stride"]
    x = numbers(draw(seeds), (x.shape[0], w.shape[0], *x.shape[2:]))
    extra = tuple(draw(st.integers(0, s - 1)) for s in stride)
    padding = tuple(
        draw(st.integers(0, min(p, ((n - 1) * s + k + e - 1) // 2)))
        for p, n, s, k, e in zip(params["padding"], x.shape[2:], stride, w.shape[2:], extra, strict=True)
    )
    return Example([x, w, bias], {"stride": stride, "padding": padding, "output_padding": extra})


def naive_conv_transpose2d(x, w, bias, stride, padding, output_padding):
    size = [
        (n - 1) * s - 2 * p + k + e
        for n, s, p, k, e in zip(x.shape[2:], stride, padding, w.shape[2:], output_padding, strict=True)
    ]
    return naive_input_gradient(x, w, size, stride, padding) + bias[:, None, None]


@st.composite
def pooled(draw, kind="any"):
    """x (N, C, H, W), and windows that may overlap or leave gaps."""
    s = draw(images)
    size = tuple(draw(st.integers(1, min(3, n))) for n in s[2:])
    stride = (draw(st.integers(1, 3)), draw(st.integers(1, 3)))
    return Example([numbers(draw(seeds), s, kind)], {"size": size, "stride": stride})


def naive_windows(x, size, stride):
    """(…, H', W', kh, kw): every window."""
    view = np.lib.stride_tricks.sliding_window_view(x, size, axis=(2, 3))
    return view[:, :, :: stride[0], :: stride[1]]


def _pool_derivative_example(example, of_windows):
    (x,), params = example
    y = naive_windows(x, **params).max(axis=(4, 5))
    operand = y if of_windows else x
    return Example([np.cos(1 + np.arange(operand.size)).reshape(operand.shape)], {"x": x, "y": y, **params})


def naive_max_unpool(v, x, y, size, stride):
    result = np.zeros(x.shape)
    for n, c, i, j in np.ndindex(v.shape):
        r, s = i * stride[0], j * stride[1]
        window = x[n, c, r : r + size[0], s : s + size[1]]
        a, b = np.unravel_index(window.argmax(), window.shape)
        result[n, c, r + a, s + b] += v[n, c, i, j]
    return result


def naive_max_gather(u, x, y, size, stride):
    entries = (*y.shape, size[0] * size[1])
    chosen = naive_windows(x, size, stride).reshape(entries).argmax(axis=-1)
    return np.take_along_axis(naive_windows(u, size, stride).reshape(entries), chosen[..., None], -1)[..., 0]


def naive_avg_unpool(v, image, size, stride):
    result = np.zeros((*v.shape[:2], *image))
    for i, j in np.ndindex(v.shape[2:]):
        r, s = i * stride[0], j * stride[1]
        result[:, :, r : r + size[0], s : s + size[1]] += v[:, :, i, j][:, :, None, None] / math.prod(size)
    return result


def _avg_unpool_example(example):
    (x,), params = example
    return Example([naive_windows(x, **params).sum(axis=(4, 5))], {"image": x.shape[2:], **params})


@st.composite
def chosen(draw):
    """a and b, distinct and broadcastable, and a condition."""
    shapes = draw(hnp.mutually_broadcastable_shapes(num_shapes=3, min_side=0, max_side=3, max_dims=3)).input_shapes
    a, b = numbers(draw(seeds), shapes[0]), numbers(draw(seeds), shapes[1])
    return Example([a, b], {"condition": draw(hnp.arrays(bool, shapes[2]))})


@st.composite
def matrices(draw):
    """Stacks of matrices, with leading axes that broadcast, and sizes 0 … 3."""
    lead = draw(hnp.mutually_broadcastable_shapes(num_shapes=2, min_side=0, max_side=2, max_dims=1)).input_shapes
    n, k, m = (draw(st.integers(0, 3)) for _ in range(3))
    return Example([numbers(draw(seeds), (*lead[0], n, k)), numbers(draw(seeds), (*lead[1], k, m))], {})


@st.composite
def vectors_and_matrices(draw):
    n, k, m = (draw(st.integers(0, 3)) for _ in range(3))
    shapes = draw(st.sampled_from([((k,), (k,)), ((n, k), (k,)), ((k,), (k, m)), ((k,), (2, k, m)), ((2, n, k), (k,))]))
    return Example([numbers(draw(seeds), s) for s in shapes], {})


@st.composite
def contracted(draw):
    """Operands of tensordot: `count` pairs of axes, given as a number or as two lists in any order."""
    inner = draw(st.lists(st.integers(1, 3), max_size=2))
    rows, columns = draw(st.lists(st.integers(0, 2), max_size=1)), draw(st.lists(st.integers(0, 2), max_size=1))
    a, b = numbers(draw(seeds), (*rows, *inner)), numbers(draw(seeds), (*inner, *columns))
    if draw(st.booleans()):
        return Example([a, b], {"axes": len(inner)})
    order = draw(st.permutations(range(b.ndim)))
    over_b = [order.index(i) for i in range(len(inner))]
    over_a = [i - len(inner) for i in range(len(inner))]
    return Example([a, b.transpose(order)], {"axes": (over_a, over_b)})


@st.composite
def summed_products(draw):
    """Operands of einsum: indices once or more, some axes of size 1 in place of more, the result's in any order."""
    sizes = {label: draw(st.integers(0, 3)) for label in "abc"}
    terms = draw(st.lists(st.text("abc", max_size=3), min_size=1, max_size=3))
    shapes = []
    for term in terms:
        repeated = draw(st.sets(st.sampled_from("abc")))
        shapes.append([1 if label in repeated else sizes[label] for label in term])
    subscripts = ",".join(terms)
    if draw(st.booleans()):
        present = sorted(set("".join(terms)))
        chosen = draw(st.permutations(present))[: draw(st.integers(0, len(present)))] if present else []
        subscripts += "->" + "".join(chosen)
    return Example([numbers(draw(seeds), s) for s in shapes], {"subscripts": subscripts})


@st.composite
def dotted_products(draw):
    """Operands of einsum with `...`, for axes that broadcast from the right."""
    lead = draw(hnp.mutually_broadcastable_shapes(num_shapes=2, min_side=0, max_side=3, max_dims=2)).input_shapes
    n, k, m = (draw(st.integers(1, 3)) for _ in range(3))
    subscripts = draw(st.sampled_from(["...ab,...bc->a...c", "...ab,...bc", "...ab, ...bc -> ..."]))
    return Example(
        [numbers(draw(seeds), (*lead[0], n, k)), numbers(draw(seeds), (*lead[1], k, m))], {"subscripts": subscripts}
    )


def naive_einsum(*xs, subscripts):
    return np.asarray(np.einsum(subscripts, *xs))


@st.composite
def permuted(draw):
    s = draw(any_shapes)
    return Example([numbers(draw(seeds), s)], {"axes": tuple(draw(st.permutations(range(len(s)))))})


@st.composite
def reshaped(draw):
    s = draw(any_shapes)
    size = math.prod(s)
    shapes = [(size,), (1, size), tuple(reversed(s))] + ([(-1, 1), (-1,)] if size else [])
    return Example([numbers(draw(seeds), s)], {"shape": draw(st.sampled_from(shapes))})


@st.composite
def repeated(draw):
    shapes = draw(hnp.mutually_broadcastable_shapes(num_shapes=2, min_side=0, max_side=3, max_dims=3))
    return Example([numbers(draw(seeds), shapes.input_shapes[0])], {"shape": shapes.result_shape})


@st.composite
def padded(draw):
    s = draw(hnp.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=3))
    widths = tuple((draw(st.integers(0, 2)), draw(st.integers(0, 2))) for _ in s)
    return Example([numbers(draw(seeds), s)], {"pad_width": widths, "value": draw(st.sampled_from([0, 1.5]))})


@st.composite
def concatenated(draw):
    s = list(draw(full_shapes))
    axis = draw(st.integers(-len(s), len(s) - 1))
    sizes = draw(st.lists(st.integers(0, 2), min_size=1, max_size=3))
    args = []
    for n in sizes:
        s[axis] = n
        args.append(numbers(draw(seeds), tuple(s)))
    return Example(args, {"axis": axis})


@st.composite
def stacked(draw):
    s = draw(any_shapes)
    args = [numbers(draw(seeds), s) for _ in range(draw(st.integers(1, 3)))]
    return Example(args, {"axis": draw(st.integers(-len(s) - 1, len(s)))})


@st.composite
def divided(draw):
    s = list(draw(full_shapes))
    axis, parts = draw(st.integers(-len(s), len(s) - 1)), draw(st.integers(1, 3))
    s[axis] = parts * draw(st.integers(0, 2))
    cuts = sorted(draw(st.lists(st.integers(0, s[axis]), max_size=3)))
    return Example([numbers(draw(seeds), tuple(s))], {"sections": draw(st.sampled_from([parts, cuts])), "axis": axis})


@st.composite
def taken(draw):
    s = draw(full_shapes)
    axis = draw(st.one_of(st.none(), st.integers(-len(s), len(s) - 1)))
    n = math.prod(s) if axis is None else s[axis]
    some = st.integers(-n, n - 1)
    elements = draw(st.sampled_from([some, st.just(draw(some))]))  # in half of the cases, one entry again and again
    indices = draw(hnp.arrays(np.int64, draw(any_shapes), elements=elements))
    return Example([numbers(draw(seeds), s)], {"indices": indices, "axis": axis})


@st.composite
def squeezed(draw):
    s = draw(hnp.array_shapes(min_dims=0, max_dims=3, min_side=1, max_side=2))
    ones = [i for i, n in enumerate(s) if n == 1]
    axis = draw(st.one_of(st.none(), st.lists(st.sampled_from(ones), unique=True).map(tuple) if ones else st.none()))
    return Example([numbers(draw(seeds), s)], {"axis": axis})


@st.composite
def two_axes(draw, first, second):
    s = draw(hnp.array_shapes(min_dims=1, max_dims=3, min_side=0, max_side=3))
    axes = st.integers(-len(s), len(s) - 1)
    return Example([numbers(draw(seeds), s)], {first: draw(axes), second: draw(axes)})


@st.composite
def expanded(draw):
    s = draw(any_shapes)
    return Example([numbers(draw(seeds), s)], {"axis": draw(st.integers(-len(s) - 1, len(s)))})


@st.composite
def normalized(draw):
    s = draw(full_shapes)
    axes = draw(st.lists(st.integers(0, len(s) - 1), unique=True, min_size=1).map(tuple))
    return Example([numbers(draw(seeds), s)], {"axes": axes, "eps": 0.1})


@st.composite
def batch_normalized(draw):
    s = (draw(st.integers(1, 4)), draw(st.integers(1, 3)), *draw(st.sampled_from([(), (2, 3), (1, 1)])))
    x, weight, bias = (numbers(draw(seeds), shape) for shape in (s, s[1:2], s[1:2]))
    return Example([x, weight, bias], {"eps": 0.1})


@st.composite
def linear_layer(draw):
    lead, n, m = draw(st.sampled_from([(), (2,), (2, 3), (0,)])), draw(st.integers(1, 3)), draw(st.integers(1, 3))
    return Example([numbers(draw(seeds), s) for s in ((*lead, n), (m, n), (m,))], {})


@st.composite
def gates_and_state(draw):
    """(…, 4·hidden) and (…, hidden)."""
    lead, hidden = draw(hnp.array_shapes(min_dims=0, max_dims=2, min_side=0, max_side=3)), draw(st.integers(0, 3))
    seed = draw(seeds)
    return Example([numbers(seed, (*lead, 4 * hidden)), numbers(seed + 1, (*lead, hidden))], {})


def naive_sigmoid(x):
    return 1 / (1 + np.exp(-x))


def naive_cell_state(gates, c):
    i, f, g, _ = np.split(gates, 4, axis=-1)
    return naive_sigmoid(f) * c + naive_sigmoid(i) * np.tanh(g)


def naive_lstm_output(gates, c):
    return naive_sigmoid(np.split(gates, 4, axis=-1)[3]) * np.tanh(c)


@st.composite
def labelled(draw):
    n, classes = draw(st.integers(1, 4)), draw(st.integers(1, 4))
    labels = draw(hnp.arrays(np.int64, n, elements=st.integers(0, classes - 1)))
    return Example([numbers(draw(seeds), (n, classes))], {"labels": labels})


@st.composite
def predicted(draw, distances=(0.2, 0.8, 1.2, 2.0)):
    """A prediction and a target of one shape, their distance away from 0 and from 1."""
    s, rng = draw(full_shapes), np.random.default_rng(draw(seeds))
    apart = np.where(rng.random(s) < 0.5, rng.uniform(*distances[:2], s), rng.uniform(*distances[2:], s))
    target = rng.uniform(-1, 1, s)
    return Example([target + rng.choice([-1, 1], s) * apart, target], {})


@st.composite
def distinct_pair(draw):
    shapes = draw(hnp.mutually_broadcastable_shapes(num_shapes=2, min_side=0, max_side=3, max_dims=3)).input_shapes
    return Example([numbers(draw(seeds), shapes[0], "distinct"), numbers(draw(seeds), shapes[1], "distinct") + 0.1], {})


def naive_logsumexp(x, axis=-1, keepdims=False):
    return np.log(np.exp(x).sum(axis=axis, keepdims=keepdims))


def naive_softmax(x, axis=-1):
    return np.exp(x) / np.exp(x).sum(axis=axis, keepdims=True)


def naive_norm(x, axis=None, keepdims=False):
    return np.sqrt((x * x).sum(axis=axis, keepdims=keepdims))


def naive_normalize(x, axes, eps):
    return (x - x.mean(axes, keepdims=True)) / np.sqrt(x.var(axes, keepdims=True) + eps)


def naive_batch_norm(x, weight, bias, eps):
    column = (-1, *[1] * (x.ndim - 2))
    return naive_normalize(x, (0, *range(2, x.ndim)), eps) * weight.reshape(column) + bias.reshape(column)


def naive_mean_only(t, bias, axes):
    return t - t.mean(axes, keepdims=True) + bias.reshape(-1, *[1] * (t.ndim - 2))


def naive_mask(x, p, seed):
    n, c, h, w = x.shape
    uniform = np.random.default_rng(seed).random((n, h, w, c), dtype=np.float32)
    return np.where(uniform >= p, 1 / (1 - p), 0.0).transpose(0, 3, 1, 2)


def naive_normal(x, sigma, seed):
    n, c, h, w = x.shape
    rng, numbers = np.random.default_rng(seed), []
    while len(numbers) < x.size:
        u, v = rng.random(2, dtype=np.float32).tolist()
        radius = sigma * math.sqrt(-2 * math.log(1 - u))
        numbers += [radius * math.cos(2 * math.pi * v), radius * math.sin(2 * math.pi * v)]
    return np.array(numbers[: x.size]).reshape(n, h, w, c).transpose(0, 3, 1, 2)


def naive_scatter(x, index, shape):
    result = np.zeros(shape)
    np.add.at(result, index, x)
    return result


def naive_cross_entropy(logits, labels):
    return np.mean([-np.log(naive_softmax(row)[label]) for row, label in zip(logits, labels, strict=True)])


def naive_bce(x, targets):
    p = 1 / (1 + np.exp(-x))
    return np.mean(-targets * np.log(p) - (1 - targets) * np.log(1 - p))


def naive_huber(p, t):
    d = np.abs(p - t)
    return np.mean(np.where(d <= 1, 0.5 * d * d, d - 0.5))


@st.composite
def directions(draw):
    """v with ‖v‖ away from 0, and g."""
    s = draw(full_shapes)
    axis = draw(st.integers(-len(s), len(s) - 1))
    return Example([numbers(draw(seeds), s, "nonzero"), numbers(draw(seeds), s[axis])], {"axis": axis})


def naive_weight_norm(v, g, axis):
    rows = np.moveaxis(v, axis, -1)
    return np.moveaxis(rows * g / np.sqrt((rows**2).sum(axis=tuple(range(v.ndim - 1)))), -1, axis)


# ---- the table ------------------------------------------------------------------------------------------------------


class Case(NamedTuple):
    """One function: how it is called, how examples are drawn, what NumPy computes."""

    function: Callable
    examples: st.SearchStrategy
    reference: Callable
    differentiable: bool = True
    keeps_dtype: bool = True  # float32 in, float32 out


def elementwise(function, reference, kind="any", **params):
    return Case(function, unary(kind, **params), reference)


def comparison(function, reference):
    return Case(function, binary(), reference, differentiable=False, keeps_dtype=False)


def device_of(x):
    return x.device if isinstance(x, mg.Tensor) else backend.device_of(x)


erf_reference = np.vectorize(math.erf, otypes=[float])
targets = np.array([[0.0, 0.3, 1.0]])

CASES = {
    # elementwise
    "add": Case(mg.add, binary(), np.add),
    "subtract": Case(mg.subtract, binary(), np.subtract),
    "multiply": Case(mg.multiply, binary(), np.multiply),
    "divide": Case(mg.divide, binary(second="nonzero"), np.divide),
    "power": Case(mg.power, binary(first="positive"), np.power),
    "power of a Python number": Case(
        lambda x, b: x**b,
        st.builds(lambda e, b: Example(e.args, {"b": b}), unary("positive"), st.sampled_from([-1, 0, 0.5, 1, 2, 3.0])),
        lambda x, b: x**b,
    ),
    "whole power": Case(
        lambda x, b: x**b,
        st.builds(lambda e, b: Example(e.args, {"b": b}), unary(), st.sampled_from([0, 1, 2, 3])),
        lambda x, b: x**b,
    ),
    "Python number to a power": elementwise(lambda x: 2**x, lambda x: 2**x),
    "negative": elementwise(mg.negative, np.negative),
    "exp": elementwise(mg.exp, np.exp),
    "log": elementwise(mg.log, np.log, "positive"),
    "sqrt": elementwise(mg.sqrt, np.sqrt, "positive"),
    "square": elementwise(mg.square, np.square),
    "sin": elementwise(mg.sin, np.sin),
    "cos": elementwise(mg.cos, np.cos),
    "tanh": elementwise(mg.tanh, np.tanh),
    "sigmoid": elementwise(mg.sigmoid, lambda x: 1 / (1 + np.exp(-x))),
    "softplus": elementwise(mg.softplus, lambda x: np.log(1 + np.exp(x)), "nonzero"),
    "erf": elementwise(mg.erf, erf_reference),
    "abs": elementwise(mg.abs, np.abs, "nonzero"),
    "sign": elementwise(mg.sign, np.sign, "nonzero"),
    "relu": elementwise(mg.relu, lambda x: np.maximum(x, 0), "nonzero"),
    "leaky_relu": elementwise(
        mg.leaky_relu, lambda x, slope: np.where(x > 0, x, slope * x), "nonzero", slope=0.2
    ),
    "leaky_relu by default": elementwise(mg.leaky_relu, lambda x: np.where(x > 0, x, 0.01 * x), "nonzero"),
    "leaky_relu, steep": elementwise(
        lambda x: mg.leaky_relu(x, 1.5), lambda x: np.where(x > 0, x, 1.5 * x), "nonzero"
    ),
    "elu": elementwise(mg.elu, lambda x, alpha: np.where(x > 0, x, alpha * (np.exp(x) - 1)), "nonzero", alpha=0.7),
    "where": Case(
        lambda a, b, condition: mg.where(condition, a, b), chosen(), lambda a, b, condition: np.where(condition, a, b)
    ),
    "maximum": Case(mg.maximum, distinct_pair(), np.maximum),
    "minimum": Case(mg.minimum, distinct_pair(), np.minimum),
    "clip": Case(mg.clip, unary("distinct", low=-0.5, high=0.5), lambda x, low, high: np.clip(x, low, high)),
    "clip from below": Case(lambda x: mg.clip(x, -0.5), unary("distinct"), lambda x: np.maximum(x, -0.5)),
    "equal": comparison(mg.equal, np.equal),
    "not_equal": comparison(mg.not_equal, np.not_equal),
    "greater": comparison(mg.greater, np.greater),
    "greater_equal": comparison(mg.greater_equal, np.greater_equal),
    "less": comparison(mg.less, np.less),
    "less_equal": comparison(mg.less_equal, np.less_equal),
    # reductions
    "sum": Case(mg.sum, reduction(shapes=any_shapes), np.sum),
    "mean": Case(mg.mean, reduction(), np.mean),
    "mean of images": Case(mg.mean, unary(shapes=images, axis=(2, 3)), np.mean),
    "mean of images, keepdims": Case(mg.mean, unary(shapes=images, axis=(2, 3), keepdims=True), np.mean),
    "var": Case(mg.var, reduction(), np.var),
    "std": Case(mg.std, reduction("distinct"), np.std),
    "var, unbiased": Case(
        mg.var,
        reduction(shapes=hnp.array_shapes(min_dims=1, max_dims=2, min_side=2, max_side=3), tuples=False, ddof=1),
        np.var,
    ),
    "max": Case(mg.max, reduction("distinct"), np.max),
    "min": Case(mg.min, reduction("distinct"), np.min),
    "argmax": Case(
        mg.argmax, reduction("distinct", tuples=False, keepdims=False), np.argmax, differentiable=False,
        keeps_dtype=False,
    ),
    "norm": Case(mg.norm, reduction("nonzero"), naive_norm),
    "prod": Case(mg.prod, reduction(shapes=any_shapes), np.prod),
    "logsumexp": Case(mg.logsumexp, reduction(), naive_logsumexp),
    "softmax": Case(mg.softmax, reduction(keepdims=False), naive_softmax),
    "log_softmax": Case(mg.log_softmax, reduction(keepdims=False), lambda x, axis: np.log(naive_softmax(x, axis))),
    # shapes
    "broadcast_to": Case(mg.broadcast_to, repeated(), np.broadcast_to),
    "cumsum": Case(mg.cumsum, one_axis(hnp.array_shapes(max_dims=3, min_side=0, max_side=3)), np.cumsum),
    "reshape": Case(
        lambda x, shape: mg.reshape(x, shape), reshaped(), lambda x, shape: np.reshape(x, shape)
    ),
    "reshape, sizes one by one": Case(
        lambda x, shape: mg.reshape(x, *shape), reshaped(), lambda x, shape: np.reshape(x, shape)
    ),
    "transpose": Case(lambda x, axes: mg.transpose(x, axes), permuted(), np.transpose),
    "transpose, axes one by one": Case(
        lambda x, axes: mg.transpose(x, *axes), permuted(), lambda x, axes: np.transpose(x, axes)
    ),
    "transpose, reversed": elementwise(lambda x: mg.transpose(x), np.transpose),
    "swapaxes": Case(mg.swapaxes, two_axes("axis1", "axis2"), lambda x, axis1, axis2: np.swapaxes(x, axis1, axis2)),
    "moveaxis": Case(mg.moveaxis, two_axes("source", "destination"), np.moveaxis),
    "expand_dims": Case(mg.expand_dims, expanded(), np.expand_dims),
    "squeeze": Case(mg.squeeze, squeezed(), np.squeeze),
    "flip": Case(mg.flip, reduction(keepdims=False, shapes=any_shapes), np.flip),
    "getitem": Case(
        mg.getitem, indexed().map(lambda d: Example([d[0]], {"index": d[1]})), lambda x, index: x[index]
    ),
    "scatter": Case(rearranging.scatter, scattered(), naive_scatter),
    "take": Case(mg.take, taken(), np.take),
    "pad": Case(mg.pad, padded(), lambda x, pad_width, value: np.pad(x, pad_width, constant_values=value)
                if x.ndim else x),
    "concatenate": Case(lambda *xs, axis: mg.concatenate(xs, axis), concatenated(),
                        lambda *xs, axis: np.concatenate(xs, axis)),
    "stack": Case(lambda *xs, axis: mg.stack(xs, axis), stacked(), lambda *xs, axis: np.stack(xs, axis)),
    "split": Case(mg.split, divided(), lambda x, sections, axis: np.split(x, sections, axis)),
    "astype": Case(lambda x: mg.astype(x, np.float64), unary(), lambda x: x, keeps_dtype=False),
    "to_device": Case(lambda x: rearranging.to_device(x, device_of(x), device_of(x)), unary(), lambda x: x),
    # products
    "matmul": Case(linear_algebra._matmul, matrices(), np.matmul),
    "matmul of vectors": Case(mg.matmul, vectors_and_matrices(), np.matmul),
    "tensordot": Case(mg.tensordot, contracted(), np.tensordot),
    "einsum": Case(lambda *xs, subscripts: mg.einsum(subscripts, *xs), summed_products(), naive_einsum),
    "einsum with ...": Case(lambda *xs, subscripts: mg.einsum(subscripts, *xs), dotted_products(), naive_einsum),
    "linear": Case(F.linear, linear_layer(), lambda x, w, b: x @ w.T + b),
    # convolution and pooling
    "conv2d": Case(convolution._conv2d, conv_inputs, naive_conv2d),
    "conv2d_input_gradient": Case(convolution.conv2d_input_gradient, conv_input_gradients, naive_input_gradient),
    "conv2d_weight_gradient": Case(convolution.conv2d_weight_gradient, conv_weight_gradients, naive_weight_gradient),
    "conv2d_with_bias": Case(
        lambda x, w, b, stride, padding: mg.conv2d(x, w, b, stride, padding),
        conv_inputs.map(lambda e: Example([*e.args, np.cos(np.arange(len(e.args[1])) + 1.0)], e.params)),
        lambda x, w, b, stride, padding: naive_conv2d(x, w, stride, padding) + b[:, None, None],
    ),
    "conv_transpose2d": Case(mg.conv_transpose2d, transposed_convolution(), naive_conv_transpose2d),
    "max_pool2d": Case(mg.max_pool2d, pooled("distinct"), lambda x, **p: naive_windows(x, **p).max(axis=(4, 5))),
    "max_unpool2d": Case(
        lambda v, x, y, size, stride: convolution._max_unpool2d(v, x, y, size, stride),
        pooled("distinct").map(lambda e: _pool_derivative_example(e, True)), naive_max_unpool
    ),
    "max_gather2d": Case(
        lambda u, x, y, size, stride: convolution._max_gather2d(u, x, y, size, stride),
        pooled("distinct").map(lambda e: _pool_derivative_example(e, False)), naive_max_gather
    ),
    "avg_unpool2d": Case(convolution._avg_unpool2d, pooled().map(_avg_unpool_example), naive_avg_unpool),
    "avg_pool2d": Case(mg.avg_pool2d, pooled(), lambda x, **p: naive_windows(x, **p).mean(axis=(4, 5))),
    # layers' functions
    "weight_norm": Case(wn.weight_norm, directions(), naive_weight_norm),
    "normalize": Case(F.normalize, normalized(), naive_normalize),
    "batch_norm": Case(lambda *args, **p: F.batch_norm(*args, **p)[0], batch_normalized(), naive_batch_norm),
    "mean_only": Case(
        lambda t, bias: mean_only(t, bias)[0],
        batch_normalized().map(lambda e: Example([e.args[0], e.args[2]], {})),
        lambda t, bias: naive_mean_only(t, bias, (0, *range(2, t.ndim))),
    ),
    "batch_moments": Case(
        F.batch_moments, batch_normalized().map(lambda e: Example(e.args[:1], {})),
        lambda x: np.stack([f(x, axis=(0, *range(2, x.ndim))) for f in (np.mean, np.var)]), differentiable=False
    ),
    "inverse_deviation": Case(
        F.inverse_deviation, unary("positive", eps=1e-3), lambda var, eps: 1 / np.sqrt(var + eps)
    ),
    "lerp": Case(normalization.lerp, binary(fraction=0.3), lambda a, b, fraction: a + fraction * (b - a)),
    "total": Case(lambda x: total(x, mg.workers.Alone()), unary(), lambda x: x),
    "dropout_mask": Case(
        lambda x, p, seed: F.dropout_mask(x, p, np.random.default_rng(seed)),
        unary(shapes=images, p=0.3, seed=5), naive_mask, differentiable=False
    ),
    "normal_like": Case(
        lambda x, sigma, seed: F.normal_like(x, sigma, np.random.default_rng(seed)),
        unary(shapes=images, sigma=2.0, seed=5), naive_normal, differentiable=False
    ),
    "lstm_cell_state": Case(recurrent.lstm_cell_state, gates_and_state(), naive_cell_state),
    "lstm_output": Case(recurrent.lstm_output, gates_and_state(), naive_lstm_output),
    "cross_entropy": Case(F.cross_entropy, labelled(), naive_cross_entropy),
    "binary_cross_entropy_with_logits": Case(
        F.binary_cross_entropy_with_logits,
        unary("nonzero", st.sampled_from([(2, 3), (1, 3)]), targets=targets), naive_bce,
        keeps_dtype=False,  # targets in float64 ask for float64
    ),
    "mse_loss": Case(F.mse_loss, predicted(), lambda p, t: np.mean((p - t) ** 2)),
    "huber_loss": Case(F.huber_loss, predicted(), naive_huber),
}  # fmt: skip


# ---- the laws -------------------------------------------------------------------------------------------------------

every_case = pytest.mark.parametrize("name", CASES)
differentiable = pytest.mark.parametrize("name", [name for name, case in CASES.items() if case.differentiable])


def all_of(output):
    """The outputs of a function that may have one or several."""
    return list(output) if isinstance(output, (list, tuple)) else [output]


def drawn(data, name, device="cpu"):
    """Operands and parameters of an example, on the device; indices and labels there or, more often, on the host."""
    args, params = data.draw(CASES[name].examples)
    stay = () if name == "scatter" or data.draw(st.integers(0, 3)) == 0 else ("index", "indices", "labels")
    return on(device, args), on(device, params, but=stay)


def gradients(function, args):
    """Gradients of a weighted sum of all outputs, weights fixed, for Tensors of the dtype of the args."""
    tensors = [mg.tensor(a, requires_grad=True) for a in args]
    outputs = all_of(function(*tensors))
    weights = [on(o.device, np.cos(np.arange(o.size, dtype=o.dtype)).reshape(o.shape)) for o in outputs]
    return mg.grad(outputs, tensors, weights)


def test_every_op_has_a_case():
    missing = sorted(REGISTRY.keys() - CASES.keys())
    assert not missing, f"ops without a case in {__file__}: {missing}"


@every_case
@given_on_each_device(data=st.data())
def test_forward_is_what_numpy_computes(name, data, device):
    case = CASES[name]
    args, params = drawn(data, name, device)
    expected = all_of(case.reference(*map(host, args), **on("cpu", params)))
    for inputs, is_tensor in ((args, False), ([mg.tensor(a) for a in args], True)):
        outputs = all_of(case.function(*inputs, **params))
        assert all(isinstance(output, mg.Tensor) == is_tensor and is_on(device, output) for output in outputs)
        for output, wanted in zip(outputs, expected, strict=True):
            assert output.shape == wanted.shape
            # Sums of at most a hundred numbers of size 2, in another order: 100 * 2 * eps = 4e-14.
            np.testing.assert_allclose(host(output), wanted, rtol=1e-12, atol=1e-12)


@differentiable
@given_on_each_device(data=st.data())
def test_gradients_to_second_order_are_those_of_central_differences(name, data, device):
    case = CASES[name]
    args, params = drawn(data, name, device)
    mg.testing.check_grads(lambda *a: case.function(*a, **params), args, order=2)


@differentiable
@given_on_each_device(data=st.data())
def test_float32_stays_float32_forward_and_backward(name, data, device):
    case = CASES[name]
    args, params = drawn(data, name, device)
    single = [a.astype(np.float32) for a in args]
    if case.keeps_dtype:
        for inputs in (single, [mg.tensor(a) for a in single]):
            dtypes = {output.dtype for output in all_of(case.function(*inputs, **params))}
            assert dtypes == {np.dtype(np.float32)}
    found = gradients(lambda *a: case.function(*a, **params), single)
    assert [(g.dtype, g.shape, g.device) for g in found] == [(a.dtype, a.shape, device) for a in single]


LAYOUTS = {
    "Fortran order": lambda xp, a: xp.array(a, order="F"),
    "negative strides": lambda xp, a: xp.flip(xp.flip(a).copy())[...],
    "every other entry": lambda xp, a: xp.stack([a, a], axis=-1)[..., 0],
    "read-only": lambda xp, a: xp.broadcast_to(a, a.shape),
}


@differentiable
@given_on_each_device(data=st.data(), layout=st.sampled_from(sorted(LAYOUTS)))
def test_the_layout_in_memory_does_not_matter(name, data, layout, device):
    case = CASES[name]
    args, params = data.draw(case.examples)
    params = on(device, params)

    def both(arrays):
        tensors = [mg.Tensor(a) for a in arrays]  # unlike mg.tensor, without a copy
        for tensor in tensors:
            tensor.requires_grad = True
        outputs = all_of(case.function(*tensors, **params))
        starts = [on(device, np.sin(1.0 + np.arange(o.size)).reshape(o.shape)) for o in outputs]
        return [t.numpy() for t in (*outputs, *mg.grad(outputs, tensors, starts))]

    xp = backend.module_for(device)
    usual = on(device, args)
    for plain, arranged in zip(both(usual), both([LAYOUTS[layout](xp, a) for a in usual]), strict=True):
        np.testing.assert_allclose(arranged, plain, rtol=1e-12, atol=1e-12)  # sums may go in another order


@every_case
@given_on_each_device(data=st.data())
def test_operands_are_never_written_to(name, data, device):
    case = CASES[name]
    args, params = drawn(data, name, device)
    copies = [a.copy() for a in args]
    if case.differentiable:
        gradients(lambda *a: case.function(*a, **params), args)
    case.function(*args, **params)
    for arg, copy in zip(args, copies, strict=True):
        np.testing.assert_array_equal(host(arg), host(copy))


@pytest.mark.parametrize("name", [name for name, case in CASES.items() if not case.differentiable and name in REGISTRY])
@given(data=st.data())
def test_what_has_no_derivative_is_not_recorded(name, data):
    args, params = data.draw(CASES[name].examples)
    output = CASES[name].function(*(mg.tensor(a, requires_grad=True) for a in args), **params)
    assert not output.requires_grad


# ---- two more witnesses, both without a step to choose --------------------------------------------------------------
#
# Along a direction v, and weighted with u, a derivative is one number: ⟨u, J v⟩ = ⟨Jᵀ u, v⟩. mg.jvp gives the first
# (it runs the rules' own derivatives), mg.vjp the second. For a function that NumPy can continue to complex numbers
# there is a third way, without any rule: Im ⟨u, f(x + i h v)⟩ / h, exact but for rounding when h² vanishes beside 1.
# Each is a sum of a few hundred products, the intermediate ones of moderate size: 300 ε = 7e-14 of their sizes' sum.

# What contains |x|, or is made for real numbers only:
NOT_COMPLEX = {"abs", "sign", "erf", "astype", "huber_loss"}
analytic = pytest.mark.parametrize(
    "name", [name for name, case in CASES.items() if case.differentiable and name not in NOT_COMPLEX]
)


def flat(outputs):
    """All outputs, one after the other, in one vector."""
    return mg.concatenate([mg.reshape(o, (o.size,)) for o in all_of(outputs)])


def a_direction(args, size, seed):
    rng = np.random.default_rng(seed)
    return [rng.uniform(-1, 1, a.shape) for a in args], rng.uniform(-1, 1, size)


def assert_same_number(terms, others):
    """Two sums agree up to rounding, which is relative to the sizes of what is added up."""
    sizes = sum(np.abs(t).sum() for t in (*terms, *others))
    assert abs(sum(t.sum() for t in terms) - sum(t.sum() for t in others)) <= 1e-12 * (1 + sizes)


@differentiable
@given_on_each_device(data=st.data(), seed=seeds)
def test_jvp_and_vjp_are_transposes(name, data, seed, device):
    case = CASES[name]
    args, params = drawn(data, name, device)

    def f(*a):
        return flat(case.function(*a, **params))

    value, pull_back = mg.vjp(f, *args)
    v, u = a_direction(args, value.shape, seed)
    pulled, pushed = pull_back(on(device, u)), mg.jvp(f, args, on(device, v))[1].numpy()
    pulled = pulled if isinstance(pulled, tuple) else (pulled,)
    assert_same_number([u * pushed], [p.numpy() * t for p, t in zip(pulled, v, strict=True)])


@analytic
@given(data=st.data(), seed=seeds)
def test_gradients_are_those_of_the_complex_step(name, data, seed):
    case = CASES[name]
    args, params = data.draw(case.examples)
    value, pull_back = mg.vjp(lambda *a: flat(case.function(*a, **params)), *args)
    v, u = a_direction(args, value.shape, seed)
    pulled = pull_back(u)
    pulled = pulled if isinstance(pulled, tuple) else (pulled,)
    h = 1e-30
    moved = flat(case.function(*(a + 1j * h * t for a, t in zip(args, v, strict=True)), **params))
    assert moved.dtype == complex
    assert_same_number([u * (moved.imag / h)], [p.numpy() * t for p, t in zip(pulled, v, strict=True)])
