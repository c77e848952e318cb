"""The GPU's kernels, four ways.

1. Each compiles for the GPUs of the last years, where NVIDIA's compiler NVRTC is installed; that takes no GPU.
2. Their sources run on the CPU (kernels_on_cpu.py), where there is a C++ compiler: every op of the library obeys the
   laws of tests/test_ops_gradients.py with the kernels in the place of NumPy's functions.
3. The same kernels against the plain forms, for float32 and float64, sizes around the kernels' blocks, and arrays that
   are not contiguous; also what is no op: windows, sums per channel, Adam.
4. The tests of 3 on a GPU, where there is one.
"""

import importlib.util
import sys
import warnings

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

import minigrad as mg
import wn
from minigrad import backend, nn, optim
from minigrad.fast.cuda import adam, channels, convolution, cudnn, losses, pooling
from minigrad.fast.cuda.copying import copy_all
from minigrad.fast.cuda.kernel import KERNELS, usable
from minigrad.nn import functional as F
from minigrad.nn import recurrent
from minigrad.op import REGISTRY
from tests import test_ops_gradients as laws
from tests.fast import kernels_on_cpu, reference
from wn import fast as cuda_kernels

# ---- 1. they compile ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("architecture", ["sm_75", "sm_80", "sm_90"])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_every_kernel_compiles(architecture, dtype):
    if importlib.util.find_spec("cupy") is None:
        pytest.skip("needs CuPy and NVRTC: pip install cupy-cuda13x nvidia-cuda-nvrtc")
    from cupy.cuda import compiler

    try:
        from cupy.cuda import nvrtc

        nvrtc.getVersion()
    except Exception as error:  # whatever loading a library that is not there raises
        pytest.skip(f"needs NVRTC, pip install nvidia-cuda-nvrtc: {error}")
    sources = {k.source(np.dtype(dtype)): k.name for k in KERNELS}
    assert len(sources) > 40
    for source, name in sources.items():
        program = compiler._NVRTCProgram(source, name=f"{name}.cu")
        binary, _ = program.compile((f"--gpu-architecture={architecture}",))
        assert name.encode() in binary


# ---- where the kernels run -----------------------------------------------------------------------------------------


@pytest.fixture(scope="session")
def library(tmp_path_factory):
    if kernels_on_cpu.COMPILER is None:
        pytest.skip("needs g++ or clang++ to run the kernels' sources on the CPU")
    return kernels_on_cpu.Library(tmp_path_factory.mktemp("kernels"))


class OnCpu:
    def __init__(self, library):
        self.library = library

    def __call__(self, function, *args):
        """What the function makes of copies of the arrays, with the kernels."""
        with kernels_on_cpu.installed(self.library):
            return _each(function(*_each(args, _copy)), np.asarray)


class OnGpu:
    def __call__(self, function, *args):
        cupy = pytest.importorskip("cupy")

        def there(array):
            order = sorted(range(array.ndim), key=lambda axis: -abs(array.strides[axis]))
            moved = cupy.asarray(np.asarray(array.transpose(order), order="C"))
            return moved.transpose([order.index(axis) for axis in range(array.ndim)])

        with mg.config(tf32=False):
            return _each(function(*_each(args, there)), lambda a: a.get() if isinstance(a, cupy.ndarray) else a)


def _each(value, function):
    if isinstance(value, (tuple, list)):
        return type(value)(_each(v, function) for v in value)
    if isinstance(value, mg.Tensor):
        return function(value.data)
    return function(value) if hasattr(value, "strides") else value


def _copy(array):
    return array.copy(order="K")


@pytest.fixture(scope="session", params=["on the CPU", pytest.param("on the GPU", marks=pytest.mark.gpu)])
def run(request):
    """run(function, *arrays): the function's results with the kernels, as NumPy arrays."""
    if request.param == "on the CPU":
        return OnCpu(request.getfixturevalue("library"))
    if not mg.is_available("cuda"):
        pytest.skip("needs an NVIDIA GPU and CuPy")
    return OnGpu()


# ---- 2. every op obeys its laws with the kernels --------------------------------------------------------------------

LAWS = [
    laws.test_forward_is_what_numpy_computes,
    laws.test_gradients_to_second_order_are_those_of_central_differences,
    laws.test_float32_stays_float32_forward_and_backward,
    laws.test_the_layout_in_memory_does_not_matter,
    laws.test_operands_are_never_written_to,
]


@pytest.mark.parametrize("name", [name for name, case in laws.CASES.items() if case.differentiable])
@pytest.mark.parametrize("law", LAWS, ids=lambda law: law.__name__.removeprefix("test_"))
def test_the_laws_hold_with_kernels(library, name, law):
    with kernels_on_cpu.installed(library, threads=64):
        law.few(name=name, device="cpu")


# ---- 3. kernel and plain form ---------------------------------------------------------------------------------------

weight_norm_op = REGISTRY["weight_norm"]
dtypes = pytest.mark.parametrize("dtype", [np.float32, np.float64])


def numbers(*shape, dtype=np.float64, seed=0):
    return np.random.default_rng(seed).standard_normal(shape).astype(dtype)


def images(n, c, h, w, dtype, seed=0):
    """Images as the convolutions leave them in memory."""
    return numbers(n, h, w, c, dtype=dtype, seed=seed).transpose(0, 3, 1, 2)


def assert_close(found, wanted, dtype, roundings, size=1e-30):
    """As near as so many roundings allow of numbers of this size, or that of the largest result."""
    assert found.dtype == dtype and found.shape == wanted.shape
    largest = np.abs(wanted[np.isfinite(wanted)]).max(initial=size)
    np.testing.assert_allclose(found, wanted, rtol=0, atol=roundings * np.finfo(dtype).eps * largest)


seeds = st.integers(0, 2**32 - 2)
layouts = st.sampled_from(["as it is", *laws.LAYOUTS])


def arranged(array, layout):
    """The same numbers in another arrangement in memory."""
    return array if layout == "as it is" else laws.LAYOUTS[layout](backend.array_module(array), array)


SHAPES = [(), (1,), (3,), (4,), (1023,), (1025,), (0, 3), (7, 5), (2, 3, 4, 5)]


@dtypes
@pytest.mark.parametrize("shape", SHAPES)
def test_functions_of_each_entry(run, shape, dtype):
    x, g = numbers(*shape, dtype=dtype), numbers(*shape, dtype=dtype, seed=1)

    def both(x, g):
        x = mg.Tensor(x)
        x.requires_grad = True
        y = mg.leaky_relu(mg.multiply(mg.sigmoid(x), 3.0) - mg.elu(x, 0.5), 0.1)
        return y, mg.grad(y, x, mg.Tensor(g))

    found, wanted = run(both, x, g), both(x, g)
    for f, w in zip(found, wanted, strict=True):
        assert_close(f, w.numpy(), dtype, 16)


@dtypes
def test_what_is_not_finite_goes_through(run, dtype):
    x = np.array([np.nan, np.inf, -np.inf, 0.0, -0.0, 1.0, -1.0], dtype)
    for function in (mg.relu, mg.leaky_relu, mg.elu, mg.tanh, mg.softplus, mg.abs):
        with np.errstate(invalid="ignore"):
            np.testing.assert_allclose(run(function, x), function(x), rtol=1e-6)


@dtypes
@pytest.mark.parametrize(
    "arrange",
    [
        lambda x: x[:, ::2],
        lambda x: x[::-1],
        lambda x: x.T,
        lambda x: x[1:],
        lambda x: x.transpose(2, 0, 1),
        lambda x: x[None, :, :1],
    ],
)
def test_arrays_that_are_not_contiguous(run, arrange, dtype):
    x, y = numbers(6, 5, 3, dtype=dtype), numbers(6, 5, 3, dtype=dtype, seed=1)
    found = run(lambda x, y: (mg.leaky_relu(arrange(x)), mg.add(arrange(x), arrange(y).copy())), x, y)
    np.testing.assert_array_equal(found[0], mg.leaky_relu(arrange(x)))
    np.testing.assert_array_equal(found[1], arrange(x) + arrange(y))


@dtypes
def test_the_order_in_memory_stays(run, dtype):
    """Convolutions keep the channels of a pixel together; so does all that stands between them in a network."""
    x = images(3, 8, 6, 4, dtype)
    seen = []

    def look_at(t):
        seen.append((t.shape, t.data.transpose(0, 2, 3, 1).flags.c_contiguous))

    def network(x):
        x = mg.Tensor(x)
        x.requires_grad = True
        steps = [x]
        for step in (
            lambda x: mg.conv2d(x, mg.Tensor(x.data.repeat(3, axis=3)[:, :, :3, :3].copy()), padding=1),
            lambda x: mg.leaky_relu(x, 0.1),
            lambda x: mg.max_pool2d(x, 2),
            lambda x: x * mg.Tensor(x.data.copy(order="K")),
            lambda x: x + 1.0,
            lambda x: wn.mean_only_batch_norm.mean_only(x, mg.Tensor(x.data[0, :, 0, 0].copy()))[0],
            lambda x: F.batch_norm(x, *[mg.Tensor(x.data[0, :, 0, 0].copy())] * 2, 0.1)[0],
        ):
            steps.append(step(steps[-1]))
        for t in steps:
            look_at(t)
            t.register_hook(look_at)  # at the gradient on its way back
        steps[-1].backward(mg.Tensor(steps[-1].data.copy(order="K")))
        return 0

    run(network, x)
    assert len(seen) == 16 and all(kept for _, kept in seen), seen


@dtypes
@pytest.mark.parametrize(
    "size, stride",
    [((2, 2), (2, 2)), ((1, 2), (1, 2)), ((7, 4), (7, 4)), ((3, 2), (2, 1)), ((2, 2), (3, 3)), ((1, 3), (1, 2))],
)
@pytest.mark.parametrize("channels_of_x", [1, 3, 4, 8])
def test_max_pooling(run, size, stride, channels_of_x, dtype):
    rng = np.random.default_rng(0)
    x = rng.integers(0, 3, (2, 7, 8, channels_of_x)).astype(dtype).transpose(0, 3, 1, 2)  # ties everywhere
    x[0, 0, 3, 3] = np.nan
    ops = mg.ops.convolution
    y = ops._max_pool2d(x, size, stride)
    v = images(*y.shape, dtype, seed=1)
    found = run(
        lambda x, v: (
            pooling.max_pool2d(x, size, stride),
            pooling.max_unpool2d(v, x, pooling.max_pool2d(x, size, stride), size, stride),
        ),
        x,
        v,
    )
    np.testing.assert_array_equal(found[0], y)
    assert_close(found[1], ops._max_unpool2d(v, x, y, size, stride), dtype, 8)  # a few gradients are added up


@st.composite
def windows(draw):
    """The shape of images, and the size and the stride of windows that may overlap, or leave gaps and a rest."""
    n, c, h, w = (draw(st.integers(low, high)) for low, high in ((0, 3), (0, 9), (1, 9), (1, 9)))
    size = draw(st.integers(1, h)), draw(st.integers(1, w))
    stride = draw(st.just(size) | st.tuples(st.integers(1, 4), st.integers(1, 4)))
    return (n, c, h, w), size, stride


@dtypes
@given(case=windows(), channels_last=st.booleans(), layout=layouts, of_gradient=layouts, ties=st.booleans(), seed=seeds)
def test_pooling_of_any_size(run, case, channels_last, layout, of_gradient, ties, seed, dtype):
    shape, size, stride = case
    x = images(*shape, dtype, seed) if channels_last else numbers(*shape, dtype=dtype, seed=seed)
    x = np.round(x) if ties else x
    ops = mg.ops.convolution
    v = numbers(*ops._avg_pool2d(x, size, stride).shape, dtype=dtype, seed=seed + 1)

    def all_four(x, v):
        x, v = arranged(x, layout), arranged(v, of_gradient)
        taken.append(pooling.takes(x, v))
        y = ops._max_pool2d(x, size, stride)
        return (
            y,
            ops._avg_pool2d(x, size, stride),
            ops._max_unpool2d(v, x, y, size, stride),
            ops._avg_unpool2d(v, shape[2:], size, stride),
        )

    taken = []
    found, wanted = run(all_four, x, v), all_four(x, v)
    assert taken == [x.size > 0, False]
    np.testing.assert_array_equal(found[0], wanted[0])
    for f, w in zip(found[1:], wanted[1:], strict=True):  # sums of at most 81 numbers of size 4
        assert_close(f, w, dtype, 81, size=4)


@dtypes
@given(
    shape=st.tuples(st.integers(0, 3), st.integers(0, 9), st.integers(0, 5), st.integers(0, 5)),
    layout=layouts,
    channels_last=st.booleans(),
    keepdims=st.booleans(),
)
def test_means_of_images(run, shape, layout, channels_last, keepdims, dtype):
    """No places at all make the mean NaN; its gradient has no entries then."""
    x = images(*shape, dtype) if channels_last else numbers(*shape, dtype=dtype)
    g = numbers(*shape[:2], *[1] * 2 * keepdims, dtype=dtype, seed=1)

    def both(x, g):
        x = mg.Tensor(arranged(x, layout))
        x.requires_grad = True
        with np.errstate(invalid="ignore"), warnings.catch_warnings():
            warnings.simplefilter("ignore", RuntimeWarning)  # the mean of nothing
            y = mg.mean(x, (2, 3), keepdims)
        return y, mg.grad(y, x, mg.Tensor(arranged(g, layout)))

    found, wanted = run(both, x, g), both(x, g)
    for f, w in zip(found, wanted, strict=True):
        assert_close(f, w.numpy(), dtype, 32, size=4)  # of at most 25 numbers of size 4


@dtypes
@pytest.mark.parametrize("n, c", [(1, 1), (2, 3), (100, 10), (63, 31), (64, 32), (130, 33), (2000, 5), (300, 96)])
def test_sums_per_channel(run, n, c, dtype):
    x, g = numbers(n, c, dtype=dtype) + 3, numbers(n, c, dtype=dtype, seed=1)
    weight, bias = numbers(c, dtype=dtype, seed=2), numbers(c, dtype=dtype, seed=3)
    mean, var = x.mean(0, dtype=float), x.var(0, dtype=float)
    inverse = (var + 0.1) ** -0.5
    normal = (x - mean) * inverse

    def everything(x, g, weight, bias, mean, inverse):
        return (
            channels.sums(x),
            channels.mean(x),
            channels.shifted(x, mean, bias),
            *channels.moments(x),
            *channels.without_mean_gradients(g),
            channels.normalized(x, mean, inverse * weight, bias),
            *channels.normalized_gradients(g, x, mean, inverse, weight),
        )

    along, across = g.sum(0, dtype=float), (g * normal).sum(0, dtype=float)
    wanted = (
        x.sum(0, dtype=float),
        mean,
        x - mean + bias,
        mean,
        var,
        g - g.mean(0, dtype=float),
        along,
        normal * weight + bias,
        (g - along / n - normal * across / n) * weight * inverse,
        across,
        along,
    )
    found = run(everything, x, g, weight, bias, mean.astype(dtype), inverse.astype(dtype))
    for f, w in zip(found, wanted, strict=True):
        assert_close(f, w, dtype, 16 + 4 * np.sqrt(n) if w.ndim == 1 else 64, size=5)  # x is about 3 ± 2


CONVOLUTIONS = [  # n, c, h, w, o, size, stride, offset, dilation, span
    (2, 3, 6, 5, 4, (3, 3), (1, 1), (1, 1), (1, 1), (6, 5)),
    (2, 4, 6, 5, 8, (3, 3), (1, 1), (1, 1), (1, 1), (6, 5)),
    (3, 8, 5, 5, 2, (1, 1), (1, 1), (0, 0), (1, 1), (5, 5)),
    (3, 6, 5, 5, 2, (1, 1), (1, 1), (0, 0), (1, 1), (5, 5)),
    (3, 4, 7, 8, 5, (3, 2), (2, 3), (1, 0), (1, 1), (7, 7)),
    (2, 4, 5, 4, 3, (3, 3), (1, 1), (2, 1), (2, 3), (11, 10)),
    (2, 4, 5, 4, 3, (2, 2), (1, 1), (-1, -2), (1, 1), (3, 2)),
    (1, 1, 1, 1, 1, (1, 1), (1, 1), (0, 0), (1, 1), (1, 1)),
    (2, 20, 9, 9, 36, (5, 5), (1, 1), (2, 2), (1, 1), (9, 9)),
]


@dtypes
@pytest.mark.parametrize("case", CONVOLUTIONS)
@pytest.mark.parametrize("in_pieces", [False, True])
@pytest.mark.parametrize("in_c_order", [False, True])
def test_convolution(run, case, in_pieces, in_c_order, dtype, monkeypatch):
    n, c, h, w, o, size, stride, offset, dilation, span = case
    x, weight, bias = (
        images(n, c, h, w, dtype),
        numbers(o, c, *size, dtype=dtype, seed=1),
        numbers(o, dtype=dtype, seed=2),
    )
    x = np.ascontiguousarray(x) if in_c_order else x
    if in_pieces:
        monkeypatch.setattr(convolution, "BYTES", 1)
    wanted = reference.correlate(x, weight, stride, offset, dilation, span)
    gy = images(*wanted.shape, dtype, seed=3)

    def forward(x, weight, bias):
        arguments = (stride, offset, dilation, span)
        flipped = weight[:, :, ::-1, ::-1].copy()[:, :, ::-1, ::-1]  # of negative strides
        return (
            convolution.correlate(x, weight, *arguments),
            convolution.correlate(x, weight, *arguments, bias),
            convolution.correlate(x, flipped, *arguments),
        )

    plain, with_bias, again = run(forward, x, weight, bias)
    roundings = 4 + c * size[0] * size[1]  # of sums of so many products, each of moderate size
    assert_close(plain, wanted, dtype, roundings)
    assert_close(with_bias, wanted + bias.reshape(1, -1, 1, 1), dtype, roundings)
    np.testing.assert_array_equal(again, plain)

    if dilation == (1, 1) and min(offset) >= 0 and wanted.size:

        def backward(gy, x):
            return convolution.correlate_over_batch(gy, x, size, stride, offset)

        found = run(backward, gy, x)
        wanted = reference.correlate_over_batch(gy, x, size, stride, offset)
        assert_close(found, wanted, dtype, 4 + gy.size // o)


@pytest.mark.gpu
@pytest.mark.skipif(not mg.is_available("cuda"), reason="needs an NVIDIA GPU and CuPy")
def test_tf32_is_the_default_and_can_be_switched_off():
    """TF32 rounds factors to 11 bits, 2⁻¹² relative; in a sum of products of random sign errors grow like the sum."""
    x, w = images(4, 256, 12, 12, np.float32), numbers(64, 256, 3, 3, dtype=np.float32, seed=1)
    wanted = reference.correlate(x.astype(float), w.astype(float), (1, 1), (1, 1), (1, 1), (12, 12))

    def error():
        y = mg.conv2d(mg.tensor(x, device="cuda"), mg.tensor(w, device="cuda"), padding=1).numpy()
        return np.linalg.norm(y - wanted) / np.linalg.norm(wanted)

    assert 5e-5 < error() < 1e-3
    with mg.config(tf32=False):
        assert error() < 1e-5


@dtypes
@pytest.mark.parametrize(
    "shape, axis", [((1, 1), 0), ((5, 7), 0), ((3, 4, 3, 3), 0), ((2, 3, 300), (0, 1)), ((6, 50), None)]
)
def test_weight_normalization(run, shape, axis, dtype):
    counting = wn.gradients.counting_axes(len(shape), axis)
    v, grad_w = numbers(*shape, dtype=dtype), numbers(*shape, dtype=dtype, seed=1)
    g = numbers(*[shape[a] for a in counting], dtype=dtype, seed=2)

    def with_kernels(v, g, grad_w):
        assert cuda_kernels.takes(v, g, axis, grad_w)
        return wn.weight_norm(v, g, axis), *weight_norm_op.joint(grad_w, None, v, g, axis)

    found = run(with_kernels, v, g, np.asfortranarray(grad_w))
    wanted = (wn.weight_norm_composite(v, g, axis), *wn.explicit_gradients(grad_w, v, g, axis))
    for f, w in zip(found, wanted, strict=True):
        assert_close(
            f, w, dtype, 64, size=1
        )  # a vector of one entry has no gradient: the rest of two numbers of size 1


def test_a_weight_vector_of_zeros_is_nan_on_the_gpu(run):
    v = np.zeros((2, 3), np.float32)
    v[0] = 1
    w = run(cuda_kernels.weight_norm, v, np.ones(2, np.float32))
    np.testing.assert_array_equal(np.isnan(w).all(axis=1), [False, True])


@dtypes
@given(
    lead=hnp.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=9),
    hidden=st.integers(0, 70),
    scale=st.sampled_from([0.1, 1.0, 30.0]),
    layout=st.tuples(layouts, layouts, layouts),
    seed=seeds,
)
def test_the_gates_of_an_lstm(run, lead, hidden, scale, layout, seed, dtype):
    """Gates of size 30 close and open as far as they can."""
    gates = (scale * numbers(*lead, 4 * hidden, dtype=dtype, seed=seed)).astype(dtype)
    c, grad = numbers(2, *lead, hidden, dtype=dtype, seed=seed + 1)

    def everything(*arrays):
        grad, gates, c = (arranged(a, how) for a, how in zip(arrays, layout, strict=True))
        taken.append(usable(grad, gates, c))
        return (
            recurrent.lstm_cell_state(gates, c),
            recurrent.lstm_output(gates, c),
            *recurrent._cell_state_rule(grad, None, gates, c),
            *recurrent._output_rule(grad, None, gates, c),
        )

    taken = []
    found, wanted = run(everything, grad, gates, c), everything(grad, gates, c)
    assert taken == [c.size > 0, False]
    for f, w in zip(found, wanted, strict=True):
        assert_close(f, w, dtype, 32, size=4)  # a few functions and products of numbers of size 4


@dtypes
def test_an_lstm_over_time(run, dtype):
    """Three steps, weight-normalized, and back: what the network is made of, put together."""
    cell = wn.apply_weight_norm(nn.LSTMCell(5, 7, rng=np.random.default_rng(0)))
    names, weights = zip(*((name, p.numpy().astype(dtype)) for name, p in cell.named_parameters()), strict=True)

    def train(xs, *weights):
        for name, w in zip(names, weights, strict=True):
            setattr(cell, name, nn.Parameter(w))
        state = None
        for x in xs:
            state = cell(x, state)
        loss = mg.sum(state[0] * state[0]) + mg.sum(state[1])
        return loss, *mg.grad(loss, cell.parameters())

    xs = numbers(3, 33, 5, dtype=dtype)
    for f, w in zip(run(train, xs, *weights), train(xs, *weights), strict=True):
        assert_close(f, w.numpy(), dtype, 512)  # sums over 99 examples, through three steps


@dtypes
@pytest.mark.parametrize("n, classes", [(1, 1), (100, 10), (3, 33), (5, 1000)])
def test_cross_entropy(run, n, classes, dtype):
    x = 20 * numbers(n, classes, dtype=dtype)
    labels = np.random.default_rng(1).integers(0, classes, n)
    g = np.array(0.7, dtype)
    found = run(
        lambda x, labels, g: (losses.cross_entropy(x, labels), losses.cross_entropy_gradient(g, x, labels)),
        x,
        labels,
        g,
    )
    tensor = mg.tensor(x.astype(float), requires_grad=True)
    loss = F.cross_entropy(tensor, labels)
    loss.backward(0.7)
    assert_close(found[0], loss.numpy(), dtype, 64)
    assert_close(found[1], tensor.grad.numpy(), dtype, 64 + classes)


@pytest.mark.parametrize("label", [-1, 5, 2**40])
def test_a_label_out_of_range_is_nan_in_its_row_and_in_the_loss(run, label):
    x, labels = numbers(3, 5, dtype=np.float32), np.array([0, label, 4])

    def both(x, labels, g):
        return losses.cross_entropy(x, labels), losses.cross_entropy_gradient(g, x, labels)

    loss, gradient = run(both, x, labels, np.array(1, np.float32))
    assert np.isnan(loss)
    np.testing.assert_array_equal(np.isnan(gradient).all(axis=1), [False, True, False])
    assert np.isfinite(gradient[[0, 2]]).all()


@dtypes
@pytest.mark.parametrize(
    "kind, options", [(optim.Adam, {}), (optim.Adam, {"weight_decay": 0.1}), (optim.AdamW, {"betas": (0.5, 0.9)})]
)
def test_adam(run, kind, options, dtype):
    """Three steps; the second without a gradient for one parameter; 5000 entries take more than one block."""
    shapes = [(3, 5), (5000,), (), (2, 3, 4, 4), (1,)]
    start = [numbers(*s, dtype=dtype, seed=i) for i, s in enumerate(shapes)]
    grads = [[numbers(*s, dtype=dtype, seed=10 * t + i) for i, s in enumerate(shapes)] for t in range(3)]

    def train(start, grads):
        params = [nn.Parameter(x) for x in start]
        optimizer = kind(params, lr=0.1, **options)
        before = [p.data for p in params]
        for t, of_step in enumerate(grads):
            for i, (p, g) in enumerate(zip(params, of_step, strict=True)):
                p.grad = None if (t, i) == (1, 3) else mg.Tensor(g.T.copy().T if i == 0 else g)
            optimizer.step()
        state = [s[name] for s in optimizer.state for name in ("m", "v")]
        return [p.data for p in params], before, state, [s["steps"] for s in optimizer.state]

    found, wanted = run(train, start, grads), train(start, grads)
    assert found[3] == wanted[3] == [3, 3, 3, 2, 3]
    for f, w in zip(found[0] + found[2], wanted[0] + wanted[2], strict=True):
        assert_close(f, w, dtype, 64)
    for before, x in zip(found[1], start, strict=True):  # a graph may need the arrays of before the step
        np.testing.assert_array_equal(before, x)


def test_adam_takes_the_fused_way(run):
    def takes(x):
        return adam.takes([x], [x])

    assert run(takes, np.ones(3, np.float32)) is True
    assert not takes(np.ones(3, np.float32))


@pytest.mark.parametrize("count", [1, 7, 400])
def test_many_arrays_are_copied(run, count):
    """Of all sizes, dtypes and orders, also those that begin in the middle of 16 bytes."""
    rng = np.random.default_rng(count)
    shapes = [(), (0, 3), (1,), (3,), (5, 7), (2, 3, 4, 5), (4097,), (1025, 5)]
    kinds = [np.float32, np.float64, np.int64, np.int8, bool]
    sources = []
    for i in range(count):
        shape, kind = shapes[rng.integers(len(shapes))], kinds[rng.integers(len(kinds))]
        array = rng.integers(0, 100, (3, *shape)).astype(kind)[i % 3]
        sources.append(np.asarray(array).T if i % 2 else np.asarray(array))
    targets = [np.zeros_like(s, order="CK"[i % 4 > 0]) for i, s in enumerate(sources)]

    def copy(targets, sources):
        copy_all(list(zip(targets, sources, strict=True)))
        return targets

    for found, wanted in zip(run(copy, targets, sources), sources, strict=True):
        np.testing.assert_array_equal(found, wanted)


# ---- cuDNN ----------------------------------------------------------------------------------------------------------


def test_cudnn_is_used_only_when_asked_for_and_refused_where_it_is_missing(monkeypatch):
    x = np.ones((1, 5, 5, 4), np.float32)
    assert not cudnn.takes(x, (3, 3), (1, 1), (1, 1), (1, 1), (5, 5))
    monkeypatch.setenv("MINIGRAD_CUDNN", "1")
    monkeypatch.setitem(sys.modules, "cudnn", None)  # importing it is an ImportError
    with pytest.raises(RuntimeError, match="minigrad\\[cudnn\\]"):
        cudnn.correlate(x, x, x, (3, 3), (1, 1), (1, 1))
    assert cudnn.takes(x, (3, 3), (1, 1), (1, 1), (1, 1), (5, 5))
    with mg.config(tf32=False):
        assert not cudnn.takes(x, (3, 3), (1, 1), (1, 1), (1, 1), (5, 5))
    assert not cudnn.takes(x.astype(float), (3, 3), (1, 1), (1, 1), (1, 1), (5, 5))  # float64
    assert not cudnn.takes(x, (1, 1), (1, 1), (0, 0), (1, 1), (5, 5))  # a product does it
    assert not cudnn.takes(x, (3, 3), (1, 1), (-1, 0), (1, 1), (5, 5))  # pixels cut off
    assert not cudnn.takes(x, (3, 3), (1, 1), (1, 1), (2, 2), (5, 5))  # pixels set apart


@pytest.mark.gpu
@pytest.mark.skipif(not mg.is_available("cuda"), reason="needs an NVIDIA GPU and CuPy")
@pytest.mark.parametrize("stride, padding", [(1, 1), (2, 1), (1, 0), ((1, 2), (2, 0))])
@pytest.mark.parametrize("n, c, o", [(4, 32, 48), (2, 3, 5)])
def test_cudnn_agrees_with_the_plain_way(stride, padding, n, c, o):
    """In TF32: factors rounded to 11 bits. The gradient for w is of y², whose gradient is rounded once more."""
    pytest.importorskip("cudnn", reason="needs cuDNN's frontend: pip install 'minigrad[cudnn]'")
    x, w = images(n, c, 9, 10, np.float32), numbers(o, c, 3, 3, dtype=np.float32, seed=1)

    def both():
        a, b = (mg.tensor(t, device="cuda", requires_grad=True) for t in (x, w))
        y = mg.conv2d(a, b, stride=stride, padding=padding)
        return [t.numpy() for t in (y, *mg.grad(mg.sum(y * y), [a, b]))]

    with mg.config(tf32=False):
        wanted = both()
    with mg.config(cudnn=True):
        before = len(cudnn._graphs)
        found = both()
        assert len(cudnn._graphs) > before and any(cudnn._graphs.values())
    for f, w in zip(found, wanted, strict=True):
        assert np.linalg.norm(f - w) < 2e-3 * np.linalg.norm(w)
