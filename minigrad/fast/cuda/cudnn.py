"""Convolutions by cuDNN, which makes the windows while it multiplies and so never writes them to memory.

It is used where `nvidia-cudnn-frontend` (the extra `cudnn`) and cuDNN itself are installed, and only when asked for, by
`mg.config.cudnn`. It computes in TF32; what has to be exact, in float64, or of a shape that cuDNN's plans do not take,
goes the way of convolution.py.

For each shape there is a graph of one operation. At first sight of it the first `PLANS` of cuDNN's suggestions are
timed, and the fastest is kept: that takes some ten milliseconds, and makes results differ by roundings from one process
to the next if the choice does.
"""

from minigrad import backend
from minigrad.fast.cuda import gpu
from minigrad.settings import config

PLANS = 8
_graphs = {}  # shapes → a function of the arrays, or None where cuDNN has no plan
_handles = []


def takes(x, size, stride, offset, dilation, out):
    """Whether cuDNN computes this correlation of images x (N, H, W, C); see `convolution.correlate`."""
    if not (config.cudnn and config.tf32) or x.dtype.itemsize != 4 or dilation != (1, 1) or size == (1, 1):
        return False
    return min(*offset, *_after(x, size, stride, offset, out)) >= 0


def correlate(x, weight, y, size, stride, offset):
    """Write into y (N, H', W', O) the images x (N, H, W, C) correlated with weight (O, kh·kw·C); whether it could."""
    return _run("forward", (x, weight, y), x, y, size, stride, offset)


def correlate_over_batch(gy, x, gradient, size, stride, offset):
    """Write into `gradient` (O, kh·kw·C) that of the weight, from gy (N, H', W', O); whether it could."""
    return _run("weight", (x, gy, gradient), x, gy, size, stride, offset)


def _after(x, size, stride, offset, out):
    """Rows and columns of zeros after the last pixel."""
    return [(m - 1) * s + k - o - n for m, s, k, o, n in zip(out, stride, size, offset, x.shape[1:3], strict=True)]


def _run(kind, arrays, x, y, size, stride, offset):
    key = (kind, x.shape, y.shape, size, stride, offset)
    if key not in _graphs:
        _graphs[key] = _planned(kind, arrays, x, y, size, stride, offset)
    graph = _graphs[key]
    if graph is None:
        return False
    graph(arrays)
    return True


def _planned(kind, arrays, x, y, size, stride, offset):
    """A function that computes the convolution for these shapes by the fastest plan."""
    try:
        import cudnn
    except ImportError as error:
        raise RuntimeError("cuDNN's frontend is not installed: pip install 'minigrad[cudnn]'") from error

    if not _handles:
        _handles.append(cudnn.create_handle())
    handle, number = _handles[0], cudnn.data_type.FLOAT
    graph = cudnn.pygraph(handle=handle, io_data_type=number, intermediate_data_type=number, compute_data_type=number)

    def tensor(name, n, h, w, c):
        return graph.tensor(name=name, dim=[n, c, h, w], stride=[h * w * c, 1, w * c, c], data_type=number)

    def as_output(result, n, h, w, c):
        result.set_output(True).set_dim([n, c, h, w]).set_stride([h * w * c, 1, w * c, c]).set_data_type(number)
        return result

    after = _after(x, size, stride, offset, y.shape[1:3])
    geometry = {"pre_padding": list(offset), "post_padding": after, "stride": list(stride), "dilation": [1, 1]}
    weight = (y.shape[3], *size, x.shape[3])
    image = tensor("x", *x.shape)
    if kind == "forward":
        other = tensor("w", *weight)
        result = as_output(graph.conv_fprop(image=image, weight=other, **geometry), *y.shape)
    else:
        other = tensor("gy", *y.shape)
        result = as_output(graph.conv_wgrad(image=image, loss=other, **geometry), *weight)
    try:
        graph.validate()
        graph.build_operation_graph()
        graph.create_execution_plans([cudnn.heur_mode.A, cudnn.heur_mode.FALLBACK])
        graph.check_support()
    except (RuntimeError, cudnn.cudnnGraphNotSupportedError):
        return None

    xp = backend.array_module(x)

    def run(arrays):
        cudnn.set_stream(handle=handle, stream=gpu.stream())
        workspace = xp.ndarray(max(1, size_of_workspace), "uint8")
        pointers = dict(zip((image, other, result), map(gpu.address, arrays), strict=True))
        graph.execute(pointers, gpu.address(workspace), handle=handle)

    times = {}
    for plan in range(min(PLANS, graph.get_execution_plan_count())):
        try:
            graph.build_plan_at_index(plan)
            size_of_workspace = graph.get_workspace_size()
            times[plan] = gpu.seconds(lambda: run(arrays))
        except Exception as error:  # whatever it raises for a plan that does not work here; others may
            if isinstance(error, MemoryError):
                raise
    if not times:
        return None
    graph.build_plan_at_index(min(times, key=times.get))
    size_of_workspace = graph.get_workspace_size()
    return run
