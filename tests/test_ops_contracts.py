"""What holds at the edges: kinks, ties, zeros, empty and 0-d arrays, dtypes, bad input."""

import operator
import re
import warnings

import numpy as np
import pytest
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

import minigrad as mg
import wn
from minigrad.nn import functional as F
from minigrad.nn import normalization, recurrent
from minigrad.op import REGISTRY
from minigrad.ops import convolution, elementwise, linear_algebra, reduction
from minigrad.ops import shape as rearranging
from tests.devices import given_on_each_device, host, on

OPS = {
    f.op.name: f
    for module in (
        convolution,
        elementwise,
        linear_algebra,
        reduction,
        rearranging,
        F,
        normalization,
        recurrent,
        wn.reparameterization,
        wn.mean_only_batch_norm,
    )
    for f in vars(module).values()
    if callable(f) and hasattr(f, "op")
}


def leaf(data, dtype=np.float64, device="cpu"):
    return mg.tensor(np.array(data, dtype), requires_grad=True, device=device)


def gradient(function, data, dtype=np.float64, device="cpu"):
    x = leaf(data, dtype, device)
    y = function(x)
    found = mg.grad(y, x, on(device, np.ones(y.shape)))
    assert y.device == found.device == device
    return found.numpy()


# ---- kinks and ties -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("function", "at_zero"),
    [(mg.relu, 0.0), (mg.abs, 0.0), (mg.sign, 0.0), (mg.norm, 0.0), (lambda x: mg.leaky_relu(x, 0.2), 0.2),
     (lambda x: mg.elu(x, 0.7), 0.7), (mg.square, 0.0), (lambda x: x**0, 0.0), (lambda x: x**1, 1.0),
     (lambda x: x**2, 0.0), (mg.std, 0.0)],
)  # fmt: skip
@pytest.mark.parametrize("shape", [(), (1,), (2, 3)])
def test_the_derivative_chosen_at_zero(function, at_zero, shape, device):
    np.testing.assert_array_equal(gradient(function, np.zeros(shape), device=device), np.full(shape, at_zero))


def test_sqrt_at_zero_is_infinite_as_in_numpy(device):
    with np.errstate(divide="ignore"):
        assert gradient(mg.sqrt, 0.0, device=device) == np.inf


def test_power_has_no_nan_at_zero(device):
    a, b = leaf([0.0, 0.0, 2.0], device=device), leaf([0.0, 2.0, 0.0], device=device)
    for found, wanted in zip(mg.grad((a**b).sum(), [a, b]), ([0, 0, 0], [0, 0, np.log(2)]), strict=True):
        np.testing.assert_allclose(found.numpy(), wanted, rtol=1e-15)


@pytest.mark.parametrize("function", [mg.max, mg.min])
@given_on_each_device(
    x=hnp.arrays(np.float64, hnp.array_shapes(max_dims=3, max_side=4), elements=st.integers(-1, 1)), data=st.data()
)
def test_ties_share_the_gradient_of_an_extreme_evenly(function, x, data, device):
    axis = data.draw(st.one_of(st.none(), st.integers(-x.ndim, x.ndim - 1)))
    attained = x == getattr(np, function.__name__)(x, axis=axis, keepdims=True)
    found = gradient(lambda t: function(t, axis=axis), x, device=device)
    np.testing.assert_allclose(found, attained / attained.sum(axis=axis, keepdims=True), rtol=1e-15)


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_ties_are_counted_in_half_precision_too(dtype, device):
    found = gradient(mg.max, np.zeros(5000), dtype, device)
    np.testing.assert_allclose(found.astype(float), 1 / 5000, rtol=2 * np.finfo(np.float16).eps)


@pytest.mark.parametrize("function", [mg.maximum, mg.minimum])
def test_ties_between_two_operands_split_the_gradient(function, device):
    x = leaf([1.0, 2.0], device=device)
    assert mg.grad(function(x, on(device, np.array([1.0, 2.0]))).sum(), x).numpy().tolist() == [0.5, 0.5]
    assert mg.grad(function(x, x).sum(), x).numpy().tolist() == [1.0, 1.0]


def test_clip_passes_the_gradient_at_its_bounds(device):
    found = gradient(lambda x: mg.clip(x, -1, 1), [-2.0, -1.0, 0.0, 1.0, 2.0], device=device)
    assert found.tolist() == [0, 1, 1, 1, 0]


@given_on_each_device(x=hnp.arrays(np.float64, (2, 2, 4, 5), elements=st.integers(0, 2)), stride=st.integers(1, 3))
def test_max_pooling_gives_the_gradient_to_the_first_of_ties(x, stride, device):
    wanted = np.zeros_like(x)
    for n, c in np.ndindex(x.shape[:2]):
        for r in range(0, 3, stride):
            for s in range(0, 4, stride):
                i, j = np.unravel_index(x[n, c, r : r + 2, s : s + 2].argmax(), (2, 2))
                wanted[n, c, r + i, s + j] += 1
    np.testing.assert_array_equal(gradient(lambda t: mg.max_pool2d(t, 2, stride), x, device=device), wanted)


@given_on_each_device(x=hnp.arrays(np.float64, 4, elements=st.sampled_from([0.0, 2.0, -3.0])))
def test_the_gradient_of_a_product_is_exact_with_zeros(x, device):
    wanted = [np.prod(np.delete(x, i)) for i in range(4)]
    np.testing.assert_array_equal(gradient(mg.prod, x, device=device), wanted)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_the_gradient_of_a_product_of_numbers_of_all_sizes(dtype, device):
    x = [1e20, 1e-30, 1e20, 1e-30]
    wanted = [1e-40, 1e10, 1e-40, 1e10]
    np.testing.assert_allclose(gradient(mg.prod, x, dtype, device), wanted, rtol=1e-6, atol=1e-44)
    assert gradient(mg.prod, [np.inf], dtype, device).tolist() == [1.0]


# ---- large and small ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "function",
    [
        mg.sigmoid,
        mg.softplus,
        mg.tanh,
        mg.elu,
        mg.erf,
        mg.softmax,
        mg.log_softmax,
        mg.logsumexp,
        lambda x: F.cross_entropy(x.reshape(1, -1), np.array([0])),
        lambda x: F.binary_cross_entropy_with_logits(x, x.detach() * 0 + 1),
    ],
)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_nothing_overflows_at_large_arguments(function, dtype, device):
    data = [1000.0, 0.0, -1000.0]
    assert np.isfinite(function(leaf(data, dtype, device)).numpy()).all()
    assert np.isfinite(gradient(function, data, dtype, device)).all()


# ---- zero-size and 0-d ----------------------------------------------------------------------------------------------

EMPTY = [
    lambda x: mg.sum(x), lambda x: mg.prod(x), lambda x: mg.norm(x), lambda x: mg.sum(x, axis=0),
    lambda x: mg.max(x, axis=1), lambda x: mg.mean(x, axis=1), lambda x: mg.var(x, axis=1), lambda x: mg.std(x, axis=1),
    lambda x: mg.softmax(x), lambda x: mg.logsumexp(x), lambda x: mg.cumsum(x), lambda x: mg.cumsum(x, 0),
    lambda x: mg.split(x, 2)[0], lambda x: mg.split(x, 3, axis=1)[2], lambda x: x @ on(x.device, np.ones((3, 2))),
    lambda x: mg.tensordot(x, on(x.device, np.ones((3, 2))), 1), lambda x: mg.take(x, np.zeros(0, int)),
    lambda x: x.T @ x, lambda x: mg.nn.Flatten()(x.reshape(0, 1, 3)), lambda x: F.normalize(x, (1,), 0.1),
    lambda x: x[x > 0],
]  # fmt: skip


@pytest.mark.parametrize("function", EMPTY)
def test_empty_arrays_go_forward_and_back(function, device):
    assert gradient(function, np.zeros((0, 3)), device=device).shape == (0, 3)


def test_statistics_of_nothing_are_nan_as_in_numpy(device):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        for function in (mg.mean, mg.var, mg.std, lambda x: mg.var(x, ddof=1)):
            assert np.isnan(function(leaf(np.zeros(0), device=device)).item())
        assert np.isnan(mg.var(leaf([1.0], device=device), ddof=1).item())


@pytest.mark.parametrize(
    "function",
    [
        mg.sum,
        mg.mean,
        mg.max,
        mg.min,
        mg.prod,
        mg.norm,
        mg.var,
        mg.std,
        mg.cumsum,
        mg.transpose,
        mg.squeeze,
        mg.flip,
        lambda x: mg.pad(x, 1),
        lambda x: x[...],
        lambda x: x[None],
        lambda x: mg.logsumexp(x, axis=None),
        mg.relu,
        mg.erf,
        lambda x: mg.softmax(x, axis=None),
    ],
)
def test_0d_arrays_go_forward_and_back(function, device):
    found = gradient(function, 1.5, device=device)
    assert isinstance(found, np.ndarray) and found.shape == ()


# ---- dtypes ---------------------------------------------------------------------------------------------------------

OPERATORS = [
    mg.add,
    mg.subtract,
    mg.multiply,
    mg.divide,
    mg.power,
    mg.maximum,
    mg.minimum,
    lambda a, b: mg.where(on((a if isinstance(a, mg.Tensor) else b).device, np.array([True, False])), a, b),
]
FOLLOWERS = [2, 2.0, True, np.float64(2), np.int64(2), np.array(2), np.array([1, 2]), np.array([1, 2], np.uint8)]


@pytest.mark.parametrize("function", OPERATORS)
@pytest.mark.parametrize("other", FOLLOWERS, ids=lambda o: f"{type(o).__name__} {o}")
@pytest.mark.parametrize("swapped", [False, True])
def test_scalars_and_integers_follow_float32(function, other, swapped, device):
    x = leaf([1.0, 2.0], np.float32, device)
    other = on(device, other) if isinstance(other, np.ndarray) else other
    y = function(other, x) if swapped else function(x, other)
    first, second = mg.grad(y.sum(), x, create_graph=True), x
    assert y.dtype == first.dtype == np.float32
    if first.requires_grad:
        assert mg.grad(first.sum(), second).dtype == np.float32


@pytest.mark.parametrize("function", [
    lambda x, c: mg.leaky_relu(x, c), lambda x, c: mg.elu(x, alpha=c), lambda x, c: mg.clip(x, c), lambda x, c: x * c,
    lambda x, c: c - x, lambda x, c: x**c, lambda x, c: c**x, lambda x, c: F.huber_loss(x, x * 0, c),
    lambda x, c: F.normalize(x, (0,), c), lambda x, c: mg.leaky_relu(x, c + 2),
])  # fmt: skip
def test_numpy_scalars_as_parameters_do_not_promote(function, device):
    for number in (np.float64(0.5), np.int64(1), np.uint8(1)):
        x = leaf([1.0, -2.0], np.float32, device)
        y = function(mg.abs(x), number)
        assert y.dtype == mg.grad(y.sum(), x).dtype == np.float32


def test_an_explicit_float64_array_promotes_and_gradients_come_back_in_float32(device):
    x = leaf([1.0, 2.0], np.float32, device)
    y = x * on(device, np.array([1.0, 2.0]))
    assert y.dtype == np.float64 and mg.grad(y.sum(), x).dtype == np.float32


@pytest.mark.parametrize("function", [mg.sum, mg.prod, mg.cumsum])
@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.int64, bool])
def test_sums_of_small_integers_do_not_wrap_around(function, dtype, device):
    x = np.full(5, 100).astype(dtype)
    wanted = getattr(np, function.__name__)(x)
    for found in (function(on(device, x)), function(mg.tensor(x, device=device))):
        assert found.dtype == wanted.dtype and np.array_equal(host(found), wanted)


OF_INTEGERS = {
    "norm": mg.norm, "norm of rows": lambda x: mg.norm(x, axis=1), "softmax": mg.softmax, "log_softmax": mg.log_softmax,
    "logsumexp": mg.logsumexp, "softplus": mg.softplus, "std": mg.std, "var": mg.var, "elu": mg.elu,
    "sigmoid": mg.sigmoid, "leaky_relu": mg.leaky_relu, "cross_entropy": lambda x: F.cross_entropy(x, np.array([1, 0])),
    "bce": lambda x: F.binary_cross_entropy_with_logits(x, x > 1),
}  # fmt: skip


@pytest.mark.parametrize("function", OF_INTEGERS.values(), ids=OF_INTEGERS)
@pytest.mark.parametrize("dtype", [np.uint8, np.int8, np.int64, bool])
def test_functions_of_small_integers_do_not_wrap_around(function, dtype, device):
    x = np.array([[100, 3], [90, 0]]).astype(dtype)
    wanted = function(x.astype(float))
    for found in (function(on(device, x)), function(mg.tensor(x, device=device))):
        np.testing.assert_allclose(host(found), wanted, rtol=1e-6)


def test_what_is_not_floating_point_is_not_recorded(device):
    x = leaf([1.7, 2.2], device=device)
    whole = x.astype(int)
    assert not whole.requires_grad
    assert mg.grad((x * whole).sum(), x).numpy().tolist() == [1, 2]


# ---- bad input: each op says its name, what came, and what to do ----------------------------------------------------

A, B = mg.tensor(np.ones((2, 3))), mg.tensor(np.ones((4, 5)))
IMAGE, KERNEL = mg.tensor(np.ones((1, 2, 3, 3))), mg.tensor(np.ones((1, 3, 2, 2)))
ONE = {"stride": (1, 1), "padding": (0, 0)}
BAD = {
    **{name: lambda f: f(A, B) for name in ("add", "subtract", "multiply", "divide", "power", "maximum", "minimum",
                                            "equal", "not_equal", "greater", "greater_equal", "less", "less_equal",
                                            "matmul")},
    **{name: lambda f: f(A, axis=2) for name in ("sum", "mean", "max", "min", "argmax", "norm", "prod", "logsumexp",
                                                 "softmax", "log_softmax", "flip", "cumsum")},
    "where": lambda f: f(np.ones(2, bool), A, B),
    "clip": lambda f: f(A),
    "broadcast_to": lambda f: f(A, (3, 2)),
    "einsum": lambda f: f(A, B, subscripts="ij,jk->ik"),
    "reshape": lambda f: f(A, (4, 2)),
    "transpose": lambda f: f(A, (0, 2)),
    "swapaxes": lambda f: f(A, 0, 2),
    "getitem": lambda f: f(A, 5),
    "scatter": lambda f: f(A, (slice(0, 1),), (1, 4)),
    "pad": lambda f: f(A, ((1, 1), (1, 1), (1, 1))),
    "concatenate": lambda f: f(A, B, axis=0),
    "astype": lambda f: f(A, "no such dtype"),
    "to_device": lambda f: f(A, "cpu", "tpu"),
    "conv2d": lambda f: f(IMAGE, KERNEL, **ONE),
    "conv2d_with_bias": lambda f: f(IMAGE, mg.tensor(np.ones((3, 2, 2, 2))), mg.tensor(np.ones(2)), **ONE),
    "conv2d_input_gradient": lambda f: f(IMAGE, KERNEL, (4, 4), **ONE),
    "conv2d_weight_gradient": lambda f: f(IMAGE, A, (2, 2), **ONE),
    "max_pool2d": lambda f: f(IMAGE, (4, 4), (1, 1)),
    "avg_pool2d": lambda f: f(IMAGE, (4, 4), (1, 1)),
    "avg_unpool2d": lambda f: f(IMAGE, (2, 2), (3, 3), (1, 1)),
    "max_unpool2d": lambda f: f(IMAGE, np.ones((1, 2, 3, 3)), np.ones((1, 2, 2, 2)), (2, 2), (1, 1)),
    "max_gather2d": lambda f: f(IMAGE, np.ones((1, 1, 4, 4)), np.ones((1, 1, 3, 3)), (2, 2), (2, 2)),
    "linear": lambda f: f(A, B, mg.tensor(np.ones(4))),
    "normalize": lambda f: f(A, (2,), 0.1),
    "batch_norm": lambda f: f(A, mg.tensor(np.ones(1)), mg.tensor(np.ones(3)), np.zeros(3), np.ones(3), 0.1),
    "batch_moments": lambda f: f(mg.tensor(np.ones(3))),
    "lerp": lambda f: f(A, B, 0.5),
    **{name: lambda f: f(mg.tensor([1, 2]), 0.5, np.random.default_rng(0)) for name in ("dropout_mask", "normal_like")},
    "mean_only": lambda f: f(A, mg.tensor(np.ones(5)), np.zeros(3)),
    **{name: lambda f: f(A, B) for name in ("lstm_cell_state", "lstm_output")},
    "cross_entropy": lambda f: f(A, np.array([0, 7])),
    "weight_norm": lambda f: f(A, mg.tensor(np.ones(3)), 0),
}  # fmt: skip
ELEMENTWISE = set(  # any array will do
    "abs cos elu erf exp inverse_deviation leaky_relu log negative relu sigmoid sign sin softplus sqrt square "
    "tanh total".split()
)


def test_every_op_has_a_bad_input_check():
    assert REGISTRY.keys() == BAD.keys() | ELEMENTWISE == OPS.keys() | ELEMENTWISE


@pytest.mark.parametrize("name", BAD)
def test_bad_input_raises_an_error_that_names_the_op(name, device):
    def op(*args, **params):
        moved = [a.to(device) if isinstance(a, mg.Tensor) else on(device, a) for a in args]
        if name == "cross_entropy":  # labels are looked at on the host
            moved[1] = args[1]
        return OPS[name](*moved, **params)

    with pytest.raises((ValueError, TypeError, IndexError), match=name):
        BAD[name](op)


@pytest.mark.parametrize("name", sorted(REGISTRY))
def test_a_tensor_given_by_keyword_is_refused_rather_than_not_recorded(name):
    with pytest.raises(TypeError, match=name):
        OPS[name](**{next(iter(OPS[name].__signature__.parameters)): A})


def test_a_second_tensor_given_by_keyword_is_refused_too():
    with pytest.raises(TypeError, match="add"):
        mg.add(A, b=A)
    with pytest.raises(TypeError, match="clip"):
        mg.clip(A, low=leaf(0.0))


def test_a_parameter_that_has_no_derivative_must_not_want_one():
    with pytest.raises(TypeError, match="clip"):
        mg.clip(A, leaf(0.0))


def test_operands_that_are_no_numbers_are_refused():
    for other in ([1, 2, 3], "a", None):
        with pytest.raises(TypeError, match=r"add.*mg\.tensor"):
            A + other


def test_shape_errors_name_the_shapes():
    with pytest.raises(ValueError, match=r"add.*\(2, 3\).*\(4, 5\)"):
        A + B
    with pytest.raises(ValueError, match=r"matmul.*\(2, 3\).*\(4, 5\)"):
        A @ B
    with pytest.raises(ValueError, match=r"\(\).*use \*"):
        A @ mg.tensor(1.0)


@pytest.mark.parametrize(
    "call",
    [lambda: mg.expand_dims(A, 3), lambda: mg.expand_dims(A, -4), lambda: mg.moveaxis(A, 0, 2),
     lambda: mg.moveaxis(A, 2, 0), lambda: mg.swapaxes(A, 0, 2), lambda: mg.transpose(A, 0, 3),
     lambda: mg.transpose(A, 0, 0), lambda: mg.transpose(A, 0), lambda: mg.squeeze(A, 2), lambda: mg.take(A, [0], 2),
     lambda: mg.stack([A, A], 3), lambda: mg.concatenate([A, A], 2), lambda: mg.split(A, 2, 2)],
)  # fmt: skip
def test_axes_out_of_range_do_not_wrap_around(call):
    with pytest.raises((ValueError, IndexError)):
        call()


@pytest.mark.parametrize("axis", [(0, 1), (0,), None])
@pytest.mark.parametrize(
    "function",
    [
        mg.expand_dims,
        lambda x, axis: mg.split(x, 1, axis),
        lambda x, axis: mg.stack([x, x], axis),
        lambda x, axis: mg.moveaxis(x, axis, 0),
        lambda x, axis: mg.take(x, [0], axis or ()),
    ],
)
def test_other_than_one_axis_where_one_is_meant_is_refused(function, axis):
    with pytest.raises(TypeError, match="one axis"):
        function(A, axis)


def test_concatenate_without_an_axis_flattens_as_numpy_does(device):
    x = leaf(np.arange(6.0).reshape(2, 3), device=device)
    y = mg.concatenate([x, x[0]], axis=None)
    assert y.numpy().tolist() == [0, 1, 2, 3, 4, 5, 0, 1, 2]
    assert mg.grad(y.sum(), x).numpy().tolist() == [[2, 2, 2], [1, 1, 1]]


def test_split_takes_numpy_s_integers_and_no_zero():
    assert [part.shape for part in mg.split(A, np.int64(3), 1)] == [(2, 1)] * 3
    for sections in (0, -1):
        with pytest.raises(ValueError, match="split"):
            mg.split(A, sections)


INDICES = {
    "an array in a tuple": lambda i: (slice(None), i),
    "arrays in a tuple": lambda i: (np.array([1, 0]), i),
    "an array": lambda i: i,
    "a list": lambda i: i.tolist(),
    "a list in a tuple": lambda i: (slice(None), i.tolist()),
    "a mask in a tuple": lambda i: (slice(None), np.isin(np.arange(2), i)),
    "a tensor": mg.tensor,
    "a tensor in a tuple": lambda i: (slice(None), mg.tensor(i)),
}


@pytest.mark.parametrize("make", INDICES.values(), ids=INDICES)
def test_an_index_that_is_changed_before_backward_does_not_move_the_gradient(make):
    def gradient_of(index, change=lambda index: None):
        x = leaf(np.arange(4.0).reshape(2, 2))
        y = (x * x)[index]
        change(index)
        return mg.grad(y.sum(), x).numpy()

    def overwrite(index):
        for part in index if isinstance(index, tuple) else (index,):
            if not isinstance(part, slice):
                try:
                    (part.data if isinstance(part, mg.Tensor) else part)[0] = 0
                except ValueError as error:
                    assert "assign new ones" in str(error)

    wanted = gradient_of(make(np.array([1, 1])))
    np.testing.assert_array_equal(gradient_of(make(np.array([1, 1])), overwrite), wanted)


@pytest.mark.parametrize(
    "call",
    [lambda: mg.split(A, 2, 1), lambda: mg.squeeze(A, 0), lambda: mg.stack([A, B]), lambda: mg.tensordot(A, B, 1),
     lambda: mg.tensordot(np.ones((3, 4)), np.ones((3, 3)), ([0, 0], [0, 1])),
     lambda: mg.tensordot(A, mg.tensor(np.ones((3, 2))), 2), lambda: mg.tensordot(A, A, ((0,), (1,))),
     lambda: mg.conv2d(A, KERNEL), lambda: mg.conv2d(IMAGE, IMAGE[:, :, :2, :2], stride=0),
     lambda: mg.conv2d(IMAGE, IMAGE[:, :, :2, :2], stride=(1, 2, 3)), lambda: mg.conv2d(IMAGE, IMAGE, stride=1.5),
     lambda: mg.conv_transpose2d(IMAGE, KERNEL), lambda: mg.max_pool2d(A, 2), lambda: mg.avg_pool2d(IMAGE, 4),
     lambda: mg.max_pool2d(IMAGE, 2, 0), lambda: mg.max_pool2d(IMAGE[0], 2), lambda: mg.avg_pool2d(IMAGE[0], 2)],
)  # fmt: skip
def test_shapes_that_do_not_fit_are_refused(call):
    with pytest.raises(ValueError):
        call()


@given_on_each_device(
    stride=st.integers(1, 3), padding=st.integers(0, 3), extra=st.integers(0, 3), kernel=st.integers(1, 3)
)
def test_a_transposed_convolution_makes_only_what_a_convolution_takes_back(stride, padding, extra, kernel, device):
    x, w = leaf(np.ones((1, 2, 2, 2)), device=device), leaf(np.ones((2, 3, kernel, kernel)), device=device)
    size = stride - 2 * padding + kernel + extra
    if size < 1 or (size + 2 * padding - kernel) // stride + 1 != 2:
        with pytest.raises(ValueError, match=r"conv_transpose2d.*output_padding"):
            mg.conv_transpose2d(x, w, None, stride, padding, extra)
    else:
        y = mg.conv_transpose2d(x, w, None, stride, padding, extra)
        assert y.shape == (1, 3, size, size)
        assert [g.shape for g in mg.grad(y.sum(), [x, w])] == [x.shape, w.shape]


LOSSES = [F.mse_loss, F.huber_loss, F.binary_cross_entropy_with_logits]


@pytest.mark.parametrize("loss", LOSSES, ids=lambda f: f.__name__)
@given_on_each_device(shapes=hnp.mutually_broadcastable_shapes(num_shapes=2, max_dims=3, max_side=3))
def test_a_loss_compares_as_many_pairs_as_there_are_predictions(loss, shapes, device):
    (shape, other), whole = shapes.input_shapes, shapes.result_shape
    rng = np.random.default_rng(0)
    prediction, target = rng.standard_normal(shape), rng.random(other)
    on_device = [leaf(prediction, device=device), on(device, np.asarray(target))]
    if whole != shape:
        with pytest.raises(ValueError, match=loss.__name__):
            loss(*on_device)
    else:
        repeated = on(device, np.array(np.broadcast_to(target, shape)))
        np.testing.assert_allclose(loss(*on_device).numpy(), loss(on_device[0], repeated).numpy(), rtol=1e-14)


@pytest.mark.parametrize("loss", LOSSES, ids=lambda f: f.__name__)
def test_a_loss_refuses_targets_that_cannot_be_compared(loss):
    with pytest.raises(ValueError, match=rf"{loss.__name__}.*\(2, 3\)|{loss.__name__}.*\(4, 5\)"):
        loss(A, B)
    assert loss(A, 1.0).shape == ()


@pytest.mark.parametrize("delta", [0, -1.0, float("nan")])
def test_huber_loss_wants_a_positive_delta(delta):
    with pytest.raises(ValueError, match="huber_loss: delta"):
        F.huber_loss(A, A, delta)


@pytest.mark.parametrize(
    "subscripts",
    [
        "ij,ij->ij",
        "ij",
        "ij,jk->ik",
        "ijk,ab",
        "i1,ab",
        "ij,ab->ijj",
        "ij,ab->x",
        "ii,ab",
        "...i,ab->i",
        "ij,a.b",
        "i",
        "ij,abc...",
        "ij->ab,ij",
    ],
)
def test_einsum_names_the_subscripts_and_the_shapes(subscripts):
    with pytest.raises(ValueError, match=rf"einsum\('{re.escape(subscripts)}'\).*\(2, 3\), \(4, 5\)"):
        mg.einsum(subscripts, A, B)


def test_numbers_are_operands_of_einsum_without_indices(device):
    x = leaf([1.0, 2.0], np.float32, device)
    for number in (3, 3.0, np.float64(3)):
        y = mg.einsum(",i->i", number, x)
        assert y.dtype == np.float32 and y.numpy().tolist() == [3, 6]
        assert mg.grad(y.sum(), x).numpy().tolist() == [3, 3]


@pytest.mark.parametrize(
    "call",
    [lambda: A[2], lambda: mg.take(A, [3], 1), lambda: A[np.array([0, 2])],
     lambda: F.cross_entropy(A, np.array([0, 3])), lambda: F.one_hot(np.array([-1]), 3)],
)  # fmt: skip
def test_indices_out_of_range_are_refused(call):
    with pytest.raises(IndexError):
        call()


@pytest.mark.parametrize("labels", [np.array([0.0, 1.0]), np.array([[0], [1]])])
def test_labels_must_be_a_row_of_integers(labels):
    with pytest.raises(TypeError, match="labels"):
        F.cross_entropy(A, labels)


def test_cross_entropy_wants_one_label_for_each_row():
    with pytest.raises(ValueError, match="cross_entropy"):
        F.cross_entropy(A, np.array([0]))


# ---- the operators --------------------------------------------------------------------------------------------------


@given_on_each_device(seed=st.integers(0, 2**32 - 1))
def test_operators_are_the_functions_and_work_from_both_sides(seed, device):
    a, b = on(device, list(np.random.default_rng(seed).uniform(0.5, 2, (2, 3, 3))))
    x, y = mg.tensor(a), mg.tensor(b)
    pairs = [
        (x + y, a + b),
        (x - y, a - b),
        (x * y, a * b),
        (x / y, a / b),
        (x**y, a**b),
        (x @ y, a @ b),
        (-x, -a),
        (a + y, a + b),
        (a - y, a - b),
        (a * y, a * b),
        (a / y, a / b),
        (a**y, a**b),
        (a @ y, a @ b),
        (1 + y, 1 + b),
        (1 - y, 1 - b),
        (2 * y, 2 * b),
        (1 / y, 1 / b),
        (2**y, 2**b),
        (abs(-x), a),
        (np.float64(2) * y, 2 * b),
        (x > y, a > b),
        (x >= 1, a >= 1),
        (x < y, a < b),
        (x <= y, a <= b),
        (x == x, a == a),
        (x != y, a != b),
        (x.T, a.T),
        (x[0], a[0]),
    ]
    for found, wanted in pairs:
        assert isinstance(found, mg.Tensor)
        np.testing.assert_allclose(found.numpy(), host(wanted), rtol=1e-14)


IN_PLACE = [operator.iadd, operator.isub, operator.imul, operator.itruediv, operator.ipow, operator.imatmul]


@pytest.mark.parametrize("change", IN_PLACE, ids=lambda f: f.__name__)
def test_a_leaf_is_not_left_behind_by_an_operator_that_looks_as_if_it_changed_it(change, device):
    other = on(device, np.array([1.0, 2.0]))
    x = leaf([3.0, 4.0], device=device)
    with mg.no_grad(), pytest.raises(RuntimeError, match=r"x\.data"):
        change(x, other)
    for y in (x * 1, x.detach()):  # of any other tensor, x += y is x = x + y
        before, found = y.numpy().copy(), change(y, other)
        wanted = change(before.copy(), host(other)) if change is not operator.imatmul else before @ host(other)
        np.testing.assert_array_equal(found.numpy(), wanted)
        np.testing.assert_array_equal(y.numpy(), before)
        assert found is not y and found.requires_grad == y.requires_grad


@pytest.mark.parametrize(
    "name",
    [
        "abs",
        "argmax",
        "clip",
        "cumsum",
        "exp",
        "log",
        "max",
        "mean",
        "min",
        "norm",
        "prod",
        "relu",
        "sigmoid",
        "softmax",
        "sqrt",
        "square",
        "std",
        "sum",
        "tanh",
        "transpose",
        "var",
    ],
)
def test_methods_are_the_functions(name, device):
    x = mg.tensor(np.linspace(0.5, 2, 6).reshape(2, 3), device=device)
    args = (0.7,) if name == "clip" else ()
    np.testing.assert_array_equal(getattr(x, name)(*args).numpy(), getattr(mg, name)(x, *args).numpy())
