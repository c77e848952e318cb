"""Every public function on arrays of every dtype, layout and size, with NaN and infinities among the numbers.

The laws: the answer is NumPy's on the same values in long double, to a few roundings, or an error in words; float32
stays float32; every input that requires a gradient gets one of its own shape and dtype, which lies between the slopes
to either side; inputs are left as they were; a result does not depend on where and in which order the numbers lay.

Operands, parameters and what NumPy computes come from `CASES` of test_ops_gradients.py, and from `MORE` here for
functions that are no ops: a new op or public function without an entry in either fails the suite. Large arrays go
through the faster forms in blocks, so in half of the examples a block is a few entries.
"""

import contextlib
import tempfile

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

import minigrad as mg
import wn
from minigrad import ops
from minigrad.nn import functional as F
from minigrad.op import REGISTRY
from tests import test_ops_gradients as gradients
from tests.test_ops_gradients import Case, Example, all_of, numbers, seeds

WIDE = np.longdouble  # 64 bits of mantissa and exponents to ±4932 on most machines; float64 on others

# ---- what NumPy computes: in place of formulas that lose digits at sizes far from 1 ---------------------------------


def logsumexp(x, axis=-1, keepdims=False):
    largest = np.max(x, axis=axis, keepdims=True, initial=-np.inf)
    largest = np.where(np.isfinite(largest), largest, 0)
    result = np.log(np.exp(x - largest).sum(axis=axis, keepdims=True)) + largest
    return result.sum(axis=axis, keepdims=keepdims)  # over axes of size 1


def log_softmax(x, axis=-1):
    rest = x - np.max(x, axis=axis, keepdims=True, initial=-np.inf)
    return rest - np.log(np.exp(rest).sum(axis=axis, keepdims=True))


STABLE = {
    "lerp": lambda a, b, fraction: (1 - fraction) * a + fraction * b,
    "inverse_deviation": lambda var, eps: (var + eps) ** -0.5,
    "softplus": lambda x: np.logaddexp(0, x),
    "elu": lambda x, alpha: np.where(x > 0, x, alpha * np.expm1(np.minimum(x, 0))),
    "logsumexp": logsumexp,
    "log_softmax": log_softmax,
    "softmax": lambda x, axis=-1: np.exp(log_softmax(x, axis)),
    "cross_entropy": lambda x, labels: -log_softmax(x)[np.arange(len(x)), labels].mean(),
    "binary_cross_entropy_with_logits": lambda x, targets: (np.logaddexp(0, x) - targets * x).mean(),
}

# ---- public functions that are no ops -------------------------------------------------------------------------------


def explicit_gradients(grad_w, v, g, axis):
    over = tuple(i for i in range(v.ndim) if i != axis % v.ndim)
    column = g.reshape([-1 if i == axis % v.ndim else 1 for i in range(v.ndim)])
    norm = np.sqrt((v * v).sum(axis=over, keepdims=True))
    grad_g = (grad_w * (v / norm)).sum(axis=over, keepdims=True)
    return column / norm * (grad_w - grad_g * (v / norm)), grad_g.reshape(g.shape)


def with_log_scale(grad_w, v, s, axis):
    grad_v, grad_g = explicit_gradients(grad_w, v, np.exp(s), axis)
    return grad_v, np.exp(s) * grad_g


def projection(w):
    return np.eye(len(w), dtype=w.dtype) - np.outer(w, w) / (w @ w)


def preconditioned(c, v, g):
    return g * g / (v @ v) * (projection(v) @ (c + c.T) @ projection(v))


def covariance(gradients, centered):
    gradients = gradients - gradients.mean(axis=0) * centered
    return gradients.T @ gradients / len(gradients)


def of_shapes(*shapes, **params):
    """Operands of given shapes, in letters for sizes from 1 to 3."""

    @st.composite
    def example(draw):
        sizes = {letter: draw(st.integers(1, 3)) for letter in sorted(set("".join(shapes)))}
        return Example([numbers(draw(seeds), tuple(sizes[s] for s in shape), "nonzero") for shape in shapes], params)

    return example()


labels = hnp.arrays(np.int64, 3, elements=st.integers(0, 3))
directed = gradients.directions().map(lambda e: Example([np.cos(e.args[0]), *e.args], e.params))
MORE = {
    "explicit_gradients": Case(wn.explicit_gradients, directed, explicit_gradients),
    "explicit_gradients_log_scale": Case(wn.explicit_gradients_log_scale, directed, with_log_scale),
    "weight_norm_composite": Case(wn.weight_norm_composite, gradients.directions(), gradients.naive_weight_norm),
    "project": Case(wn.project, of_shapes("k", "kn"), lambda w, x: projection(w) @ x),
    "projection_matrix": Case(wn.projection_matrix, of_shapes("k"), projection),
    "gradient_covariance": Case(wn.gradient_covariance, of_shapes("nk", centered=True), covariance),
    "preconditioned_covariance": Case(lambda c, v, g: wn.preconditioned_covariance(c + c.T, v, g),
                                      of_shapes("kk", "k", ""), preconditioned),
    "mean_only_gradients": Case(wn.mean_only_gradients, of_shapes("nc"),
                                lambda g: (g - g.mean(axis=0), g.sum(axis=0))),
    "dropout": Case(lambda x, p, seed: F.dropout(x, p, np.random.default_rng(seed)),
                    of_shapes("nchw", p=0.3, seed=5), lambda x, p, seed: x * gradients.naive_mask(x, p, seed)),
    "one_hot": Case(lambda labels: F.one_hot(labels, 4), st.builds(lambda x: Example([], {"labels": x}), labels),
                    lambda labels: np.eye(4)[labels], differentiable=False, keeps_dtype=False),
}  # fmt: skip
CASES = gradients.CASES | MORE
NO_NUMBERS = {  # they take a model or its state
    "apply_weight_norm", "data_dependent_init", "equi_normalize", "load_torch_state_dict", "remove_weight_norm",
    "to_torch_state_dict",
}  # fmt: skip


def test_every_public_function_is_fuzzed():
    public = {*ops.__all__, *F.__all__, *(name for name in wn.__all__ if not name[0].isupper())}
    assert not sorted((REGISTRY.keys() | public) - CASES.keys() - NO_NUMBERS)


# ---- numbers of every size, in arrays of every kind -----------------------------------------------------------------

FLOATS = (np.float16, np.float32, np.float64)[: 3 if np.finfo(WIDE).max > np.finfo(np.float64).max else 2]
WHOLE = (bool, np.int8, np.uint8, np.int16, np.int32, np.uint64)

# Powers of an operand that are computed on the way. The sizes of operands stay within that root of the dtype's range;
# those of all others come up to its ends, so nothing may overflow or vanish on the way that is there at the end.
DEGREE = {
    "weight_norm": 1, "prod": 30, "einsum": 3, "einsum with ...": 2, "power": 2, "inverse_deviation": 3,
    "batch_norm": 3, "normalize": 3, "weight_norm_composite": 4,
    **dict.fromkeys(["var", "var, unbiased", "batch_moments", "mse_loss", "huber_loss", "gradient_covariance"], 2),
    "explicit_gradients": 6, "explicit_gradients_log_scale": 1000,  # of numbers of size 2, for e^s
    **dict.fromkeys(["project", "projection_matrix"], 4), "preconditioned_covariance": 8,
}  # fmt: skip


def limits(dtype, degree):
    """The least and the largest size of numbers of which sums of 64 are normal numbers still."""
    info = np.finfo(dtype)
    return (64 * float(info.tiny)) ** (1 / degree), (float(info.max) / 64) ** (1 / degree)


def sized(values, dtype, power, degree=1):
    """Numbers of size 2, times 10 to a power, as far as the dtype has room for that."""
    if dtype in WHOLE:
        if dtype is bool:
            return np.asarray(values > 0)
        least, most = np.iinfo(dtype).min // 2, np.iinfo(dtype).max // 2  # room enough for floats to be rounded
        return np.asarray(np.clip(np.rint(values * 10.0 ** np.clip(power, 0, 18)), least, most)).astype(dtype)
    least, most = limits(dtype, degree)
    return np.asarray(values * np.clip(10.0**power, least, most)).astype(dtype)


class Library:
    """An object of another library, which shows its memory."""

    def __init__(self, array):
        self.array, self.__array_interface__ = array, array.__array_interface__


def borrowed(memory, a, offset):
    return np.frombuffer(memory, a.dtype, offset=offset).reshape(a.shape)


def mapped(a):
    with tempfile.TemporaryFile() as file:
        array = np.memmap(file, a.dtype, "w+", shape=a.shape)
    array[...] = a
    return array


LAYOUTS = {
    "contiguous": lambda a: a.copy(),
    "Fortran order": lambda a: np.array(a, order="F"),
    "reversed": lambda a: np.flip(np.flip(a).copy()) if a.ndim else a,
    "every other entry": lambda a: np.stack([a, a], axis=-1)[..., 0],
    "stride 0": lambda a: np.broadcast_to(a[..., :1].copy(), a.shape) if a.ndim and (a == a[..., :1]).all() else a,
    "read-only": lambda a: np.broadcast_to(a.copy(), a.shape),
    "of bytes": lambda a: borrowed(a.tobytes(), a, 0) if a.size else a,
    "of bytes, not aligned": lambda a: borrowed(bytearray(b"?" + a.tobytes()), a, 1) if a.size else a,
    "of a file": lambda a: mapped(a) if a.size else a,
    "of another library": lambda a: np.asarray(Library(a.copy())),
    "bytes in the other order": lambda a: a.astype(a.dtype.newbyteorder()),
}
layouts = st.sampled_from(sorted(LAYOUTS))


@contextlib.contextmanager
def pieces(small):
    """Within this, the faster forms take blocks of a few entries, if there are any and `small`."""
    with pytest.MonkeyPatch.context() as patch:
        if small and not mg.config.plain:
            from minigrad.fast.cpu import elementwise, normalization

            patch.setattr(elementwise, "LARGE", 4)
            patch.setattr(elementwise, "BLOCK", 3)
            patch.setattr(normalization, "BLOCK", 8)
        yield


def laid_out(data, params):
    """Arrays among the parameters in any layout, indices and labels in any dtype that holds them."""
    found = {}
    for key, value in params.items():
        if isinstance(value, np.ndarray):
            if value.dtype.kind == "i":
                fitting = [t for t in WHOLE[1:] if value.size == 0 or (value == value.astype(t)).all()]
                value = value.astype(data.draw(st.sampled_from(fitting)))
            value = LAYOUTS[data.draw(layouts)](value)
        found[key] = value
    return found


# ---- how far from NumPy's answer ------------------------------------------------------------------------------------
#
# An answer counts as right if it is the exact one for operands that are each a few roundings away, with a few roundings
# on top: |found - f| ≤ K ε (|f| + Σ|∂f/∂x · x|) + K of the smallest number. The sum needs no rule: it is what f changes
# by if each x grows by a part of itself. K = 64 roundings: few functions add up more than 27 numbers, in a few steps.

K, STEP = 64, 1e-7


FLOORS = {  # what cancels for every operand, as in x - x, or may happen to
    "normal_like": lambda x: 12,  # twice a radius of up to 5.8 deviations, times a cosine
    "mean_only": lambda t, bias: abs(t).max(initial=0),
    "batch_norm": lambda x, w, bias: abs(w).max() * abs(x).max(initial=0) / np.sqrt(x.var(axis=0).min() + 0.1),
    **dict.fromkeys(["logsumexp", "log_softmax", "cross_entropy"], lambda x: 1),  # log(1 + what is small)
    "binary_cross_entropy_with_logits": lambda x: abs(x).max(),
    "explicit_gradients": lambda grad_w, v, g: abs(grad_w).max() * (abs(g) / abs(v).min()).max(),
    "explicit_gradients_log_scale": lambda grad_w, v, s: abs(grad_w).max() * (np.exp(s) / abs(v).min()).max(),
    "project": lambda w, x: abs(x).max(),
    "projection_matrix": lambda w: 1,
    "preconditioned_covariance": lambda c, v, g: g * g / (v @ v) * abs(c).max(),
}


def reference(name, args, params):
    return [np.asarray(y, WIDE) for y in all_of(STABLE.get(name, CASES[name].reference)(*args, **params))]


def moved(args, step):
    """For each entry of each operand: its place, and all operands with this entry larger by `step(operand, entry)`."""
    for i, a in enumerate(args):
        for place in np.ndindex(a.shape):
            by = np.zeros_like(a)
            by[place] = step(a, a[place])
            yield (i, place), by[place], [*args[:i], a + by, *args[i + 1 :]]


def sizes(name, args, params, values):
    """|f| + Σ|∂f/∂x · x| for each output f."""
    total = [abs(y) for y in values]
    for _, _, others in moved(args, lambda a, entry: STEP * abs(entry)):
        for i, y in enumerate(reference(name, others, params)):
            total[i] = total[i] + np.nan_to_num(abs(y - values[i]) / STEP, posinf=0)
    return [t + np.nan_to_num(FLOORS[name](*args), nan=np.inf) if name in FLOORS else t for t in total]


def assert_answers(found, wanted, size, dtype):
    """Equal but for the roundings allowed; where what is added up might be too large, infinite or NaN."""
    info, found = np.finfo(dtype), found.astype(WIDE)
    allowed = K * (float(info.eps) * size + float(info.smallest_subnormal))
    right = (abs(found - wanted) <= allowed) | (found == wanted) | (np.isnan(found) & np.isnan(wanted))
    right |= ~np.isfinite(found) & (abs(wanted) + K * size > float(info.max)) & ~np.isnan(wanted)
    assert right.all(), f"{found} instead of {wanted}, allowed {allowed}"


REFUSES_WHOLE = {"dropout", "dropout_mask", "normal_like", "avg_unpool2d"}
WRAP = {  # sums and products of int8
    "weight_norm_composite", "project", "projection_matrix", "preconditioned_covariance", "scatter",
    "explicit_gradients_log_scale",
}  # fmt: skip
SPREAD = {  # infinity times zero is NaN: in products of another order, with zeros between pixels, and with a mask
    "einsum", "einsum with ...", "conv2d_input_gradient", "conv_transpose2d", "max_unpool2d", "max_gather2d",
}  # fmt: skip
EXACT = set(  # each entry by itself, by operations that IEEE 754 defines to the last bit, or not at all
    "add subtract multiply divide negative sqrt square abs sign relu where maximum minimum clip equal not_equal "
    "greater greater_equal less less_equal max min argmax broadcast_to reshape transpose swapaxes moveaxis expand_dims "
    "squeeze flip getitem take pad concatenate stack split astype max_pool2d max_gather2d".split()
)
every_case = pytest.mark.parametrize("name", CASES)


def snapshot(arrays):
    return [(a.tobytes(), a.dtype, a.strides, str(a.flags)) for a in arrays]


@every_case
@np.errstate(all="ignore")
@given(data=st.data(), small=st.booleans())
def test_the_answer_is_numpy_s_and_no_gradient_is_lost(name, data, small):
    case, degree = CASES[name], DEGREE.get(name, 1)
    args, params = data.draw(case.examples)
    one = data.draw(st.sampled_from(FLOATS))
    dtypes = [data.draw(st.sampled_from((one, one, *FLOATS))) for _ in args]
    powers = st.sampled_from([0, 0, 1, -1, 3, -3, 30, -30, 300, -300])
    args = [sized(a, dtype, data.draw(powers), degree) for a, dtype in zip(args, dtypes, strict=True)]
    params = laid_out(data, params)
    arrays = [LAYOUTS[data.draw(layouts)](a) for a in args]
    wide = [a.astype(WIDE) for a in args]
    values = reference(name, wide, params)
    size = sizes(name, wide, params, values)
    before = snapshot(arrays)
    tensors = [mg.Tensor(a) if a.dtype.isnative else mg.tensor(a) for a in arrays]  # Tensor does not copy
    chosen = [i for i in range(len(args)) if data.draw(st.integers(0, 3))] if case.differentiable else []
    for i in chosen:
        tensors[i].requires_grad = True
    mixed = [tensors[i] if i in chosen or len(set(dtypes)) > 1 else a for i, a in enumerate(arrays)]
    coarse = max(dtypes, key=lambda dtype: np.finfo(dtype).eps, default=np.float64)
    with pieces(small):
        for inputs in (arrays, tensors, mixed):
            outputs = all_of(case.function(*inputs, **params))
            for found, wanted, s in zip(outputs, values, size, strict=True):
                assert found.shape == wanted.shape
                if case.keeps_dtype and len(set(dtypes)) == 1 and name != "batch_moments":  # float32 at least
                    assert found.dtype.type is dtypes[0]
                found = found.numpy() if isinstance(found, mg.Tensor) else found
                assert_answers(np.asarray(found), wanted, s, coarse)
        if name in EXACT:
            for found, again in zip(outputs, all_of(case.function(*args, **params)), strict=True):
                np.testing.assert_array_equal(found.numpy() if isinstance(found, mg.Tensor) else found, again)
        if chosen:
            starts = [np.cos(1.0 + np.arange(o.size)).astype(o.dtype).reshape(o.shape) for o in outputs]
            found = mg.grad(outputs, [tensors[i] for i in chosen], starts)
    assert snapshot(arrays) == before
    if chosen:
        for i, g in zip(chosen, found, strict=True):
            assert (g.shape, g.dtype) == (args[i].shape, args[i].dtype)
        check_slopes(name, wide, params, values, size, starts, dict(zip(chosen, found, strict=True)), coarse)


def check_slopes(name, args, params, values, size, starts, found, dtype):
    """Each gradient lies between the slopes to the left and to the right, but for roundings."""
    weight = [s.astype(WIDE) for s in starts]
    accuracy = np.finfo(np.float64).eps  # some references compute in no more than that

    def slopes(direction):
        def step(a, entry):
            return direction * STEP * (max(abs(entry), abs(a).max() / 1000) or 1)

        for (i, place), by, others in moved(args, step):
            if i in found and not (name in ("sin", "cos") and abs(args[i][place]) > 1000):  # which turn at every step
                changes = [y - v for y, v in zip(reference(name, others, params), values, strict=True)]
                yield (i, place), abs(by), [c / by for c in changes]

    for ((i, place), by, right), (_, _, left) in zip(slopes(1), slopes(-1), strict=True):
        low, high = sorted(sum((w * s).sum() for w, s in zip(weight, side, strict=True)) for side in (left, right))
        # Slopes of logsumexp change by |x| times a rounding of x; those of softmax are differences of numbers near 1.
        one = abs(args[0]).max() if name == "logsumexp" else name == "softmax"
        of_size = sum((abs(w) * z).sum() for w, z in zip(weight, size, strict=True)) / by
        terms = sum((abs(w) * (abs(s) + one)).sum() for w, s in zip(weight, right, strict=True)) + of_size * STEP
        noise = of_size * accuracy
        g, info = found[i].numpy()[place].astype(WIDE), np.finfo(dtype)
        allowed = K * (float(info.eps) * terms + noise + float(info.smallest_subnormal))
        if np.isfinite(terms) and K * terms < float(info.max):
            assert low - allowed <= g <= high + allowed, (i, place, g, low, high, allowed)


# ---- whole numbers, NaN and infinities ------------------------------------------------------------------------------


def in_words(error, name):
    """Whether an error names the function (or the op within it) and says a sentence about it."""
    text = str(error)
    return len(text.split()) > 4 and any(word in text for word in (name.split()[0], "weight vector", *REGISTRY))


@every_case
@np.errstate(all="ignore")
@given(data=st.data(), small=st.booleans())
def test_whole_numbers_have_numpy_s_answer_or_are_refused_in_words(name, data, small):
    case = CASES[name]
    args, params = data.draw(case.examples)
    dtype = data.draw(st.sampled_from(WHOLE))
    args = [sized(a, dtype, data.draw(st.sampled_from([0, 1, 2]))) for a in args]
    params, arrays = laid_out(data, params), [LAYOUTS[data.draw(layouts)](a) for a in args]
    before, wide = snapshot(arrays), [a.astype(WIDE) for a in args]
    for inputs in (arrays, [mg.tensor(a) for a in arrays]):
        try:
            with pieces(small):
                outputs = [np.asarray(y) for y in all_of(case.function(*inputs, **params))]
        except (TypeError, ValueError) as error:
            assert in_words(error, name), error
            if name not in REFUSES_WHOLE and "weight vector" not in str(error):
                with pytest.raises((TypeError, ValueError, OverflowError)):  # as NumPy does
                    case.reference(*args, **params)
            continue
        except OverflowError:
            assert inputs is arrays and name == "power of a Python number"  # NumPy by itself
            continue
        values = reference(name, wide, params)
        exact = values
        with contextlib.suppress(TypeError, OverflowError):
            exact = all_of(case.reference(*args, **params))  # where it wraps around, NumPy's does
        for found, wanted, e, size in zip(outputs, values, exact, sizes(name, wide, params, values), strict=True):
            if found.dtype != bool and name not in WRAP and not np.array_equal(found, e):
                coarse = max(np.result_type(dtype, np.float16), found.dtype, key=lambda t: np.finfo(t).eps)
                assert_answers(found, wanted, size, coarse)
    assert snapshot(arrays) == before


@every_case
@np.errstate(all="ignore")
@given(data=st.data(), small=st.booleans())
def test_nan_and_infinities_go_where_they_go_in_numpy(name, data, small):
    case = CASES[name]
    args, params = data.draw(case.examples)
    dtype = data.draw(st.sampled_from(FLOATS))
    info, args = np.finfo(dtype), [np.asarray(a).astype(dtype) for a in args]
    special = [np.nan, np.inf, -np.inf, 0.0, -0.0]
    if name not in DEGREE:
        special += [info.max, info.min, info.tiny, info.smallest_subnormal]
    for a in args:
        for place in data.draw(st.lists(st.integers(0, a.size - 1), max_size=2)) if a.size else []:
            a.flat[place] = data.draw(st.sampled_from(special))
    wide = [a.astype(WIDE) for a in args]
    values = reference(name, wide, params)
    size = sizes(name, wide, params, values)
    tensors = [mg.tensor(LAYOUTS[data.draw(layouts)](a), requires_grad=case.differentiable) for a in args]
    try:
        with pieces(small):
            outputs = all_of(case.function(*tensors, **params))
            if case.differentiable:
                found = mg.grad(outputs, tensors, [np.ones(o.shape) for o in outputs])
                assert [(g.shape, g.dtype) for g in found] == [(a.shape, a.dtype) for a in args]
    except (TypeError, ValueError) as error:
        assert "weight vector" in str(error) and in_words(error, name)
        return
    for found, wanted, s in zip(outputs, values, size, strict=True):
        if name not in SPREAD:
            assert_answers(np.asarray(found), wanted, s, dtype)
