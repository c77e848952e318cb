"""The stand-in's functions and modules. Arguments are checked against those of the real CuPy."""

import math
import types

import numpy

from tests.strict_cupy import capture, counting
from tests.strict_cupy.array import NAMES, NO_NUMPY, ndarray, numpy_index, operand, silently, unwrapped, wrapped

# Functions that do what NumPy's do. The result is a view or keeps the order in memory:
KEEP = """atleast_1d atleast_2d atleast_3d broadcast_arrays diagonal empty_like expand_dims flip fliplr flipud
    full_like may_share_memory moveaxis ones_like ravel reshape rollaxis rot90 shares_memory split squeeze
    swapaxes transpose zeros_like""".split()
# … or a new array in C order:
COMPUTE = """all amax amin any argmax argmin argsort around clip concatenate cumprod diag dot dstack einsum eye
    full hstack identity inner isclose max mean median min outer pad prod ptp repeat roll sort stack std sum take
    take_along_axis tensordot tile trace tri tril triu var vdot vstack arange empty linspace ones zeros kron
    nanmax nanmin nansum nanmean average logspace meshgrid diff searchsorted bincount""".split()
# These must know on the host how much there is:
SYNCHRONIZE = ["argwhere", "extract", "flatnonzero", "nonzero", "unique"]
# What is NumPy's own in CuPy too: dtypes, constants, functions of dtypes.
SAME = """bool_ complex64 complex128 dtype e euler_gamma finfo float16 float32 float64 iinfo inf int8 int16 int32 int64
    intp isscalar nan newaxis ndindex pi promote_types can_cast issubdtype uint8 uint16 uint32 uint64 broadcast_shapes
    floating integer number generic""".split()
SCATTERED = {numpy.dtype(d) for d in ("int32", "int64", "uint32", "uint64", "float16", "float32", "float64")}
AT = {"add": numpy.add, "maximum": numpy.maximum, "minimum": numpy.minimum}


class ufunc:  # noqa: N801 - CuPy's name
    """A function of each entry. Results without `out` are in C order, whatever the order of the operands."""

    def __init__(self, name, numpys):
        self.name, self._numpys = f"cupy_{numpys.__name__}", numpys
        self.nin, self.nout, self.nargs = numpys.nin, numpys.nout, numpys.nargs
        self.__name__, self.__signature__ = name, NAMES[f"cupy.{name}"]

    def __repr__(self):
        return f"<ufunc {self.name!r}>"

    def __call__(self, *args, out=None, casting="same_kind", dtype=None, **others):
        if others:
            raise TypeError(f"Wrong arguments {others}")
        if not self.nin <= len(args) <= self.nargs:
            raise TypeError(f"Wrong number of arguments for {self.name!r}")
        outputs = args[self.nin :]
        if out is not None:
            if outputs:
                raise ValueError("Cannot specify 'out' as both a positional and keyword argument")
            outputs = out if isinstance(out, tuple) else (out,)
        if not all(o is None or isinstance(o, ndarray) for o in outputs):
            raise TypeError("Output arguments type must be cupy.ndarray")
        given = {"out": tuple(None if o is None else o._host for o in outputs)} if outputs else {"order": "C"}
        operands = [operand(a) for a in args[: self.nin]]
        with numpy.errstate(all="ignore"):
            result = self._numpys(*operands, dtype=dtype, casting=casting, **given)
        return wrapped(result) if not outputs else outputs[0] if self.nout == 1 else outputs

    def at(self, a, indices, b=None):
        if self.__name__ not in AT:
            raise NotImplementedError(f"`{self.name}.at` is not supported yet")
        index, has_arrays = numpy_index(indices, a.shape)
        if has_arrays and a.dtype not in SCATTERED:
            raise TypeError("scatter_add only supports int32, int64, float16, float32, float64, uint32, uint64")
        with numpy.errstate(all="ignore"):
            AT[self.__name__].at(a._host, index, operand(b))

    def reduce(self, array, axis=0, dtype=None, out=None, keepdims=False):
        name = {"add": "sum", "multiply": "prod"}.get(self.__name__)
        if name is None:
            raise NotImplementedError(f"`{self.name}.reduce` is not supported yet")
        return getattr(array, name)(axis, dtype, out, keepdims)

    def accumulate(self, array, axis=0, dtype=None, out=None):
        name = {"add": "cumsum", "multiply": "cumprod"}.get(self.__name__)
        if name is None:
            raise NotImplementedError(f"`{self.name}.accumulate` is not supported yet")
        return getattr(array, name)(axis, dtype, out)

    def outer(self, A, B, **kwargs):  # noqa: N803 - CuPy's names
        return self(A.reshape(A.shape + (1,) * B.ndim), B, **kwargs)

    __call__, at = capture.noted(__call__), capture.noted(at)


def _function(path, numpys, c_order):
    """A function with CuPy's name and arguments that computes what NumPy's does."""
    signature = NAMES[path]
    takes_any = any(p.kind is p.VAR_POSITIONAL for p in signature.parameters.values())

    def function(*args, **kwargs):
        bound = signature.bind(*args, **kwargs)
        out = kwargs.get("out")
        if takes_any:
            result = silently(numpys, *map(unwrapped, args), **{k: unwrapped(v) for k, v in kwargs.items()})
        else:
            given = dict(bound.arguments)
            out, extra = given.get("out"), given.pop("kwargs", {})
            # Operands by position, since NumPy may call them otherwise; the rest by name, in whatever order it comes.
            first = [
                unwrapped(given.pop(name))
                for name, p in signature.parameters.items()
                if p.default is p.empty and p.kind is not p.VAR_KEYWORD and name in given
            ]
            result = silently(numpys, *first, **{k: unwrapped(v) for k, v in (given | extra).items()})
        source = args[0] if args and isinstance(args[0], ndarray) and not c_order else None
        return wrapped(result, c_order, source) if out is None else out

    function.__name__, function.__signature__ = path.rpartition(".")[2], signature
    return function


# ---- what differs from NumPy ----------------------------------------------------------------------------------------


def array(obj, dtype=None, copy=True, order="K", subok=False, ndmin=0, *, blocking=False):
    """Numbers from the host, or an array of the stand-in; NumPy arrays are welcome here and nowhere else."""
    if not isinstance(obj, ndarray):
        counting.to_device("array()")
    host = obj if isinstance(obj, numpy.ndarray) else unwrapped(obj)
    if isinstance(host, numpy.ndarray) and host.dtype.kind in "OSUV":
        raise ValueError(f"Unsupported dtype {host.dtype}")
    copy = True if copy or not isinstance(obj, ndarray) else None  # None: if it must be
    made = silently(numpy.array, host, dtype, copy=copy, order=order, ndmin=ndmin)
    if made.dtype.kind in "OSUV":
        raise ValueError(f"Unsupported dtype {made.dtype}")
    return obj if isinstance(obj, ndarray) and made is host else wrapped(made)


def asarray(a, dtype=None, order=None, *, copy=None, blocking=False):
    return array(a, dtype, copy or False, order or "K")


def ascontiguousarray(a, dtype=None):
    return array(a, dtype, False, "C")


def asnumpy(a, stream=None, order="C", out=None, *, blocking=True):
    return a.get(stream, order, out) if isinstance(a, ndarray) else numpy.asarray(a, order=order)


def broadcast_to(array, shape):
    """A view that may be written into, all its repetitions at once: there is no read-only array in CuPy."""
    host = unwrapped(array)
    strides = numpy.broadcast_to(host, shape).strides
    view = numpy.lib.stride_tricks.as_strided(host, shape if isinstance(shape, tuple) else (shape,), strides)
    return wrapped(view, source=array)


def sliding_window_view(x, window_shape, axis=None, *, subok=False, writeable=False):
    view = numpy.lib.stride_tricks.sliding_window_view(unwrapped(x), window_shape, axis, writeable=True)
    return wrapped(view, source=x)


def where(condition, x=None, y=None):
    if x is None and y is None:
        return _function("cupy.nonzero", numpy.nonzero, True)(condition)
    if x is None or y is None:
        raise ValueError("Must provide both 'x' and 'y' or neither.")
    condition = condition.astype("?", copy=False)  # so it cannot be a number
    return wrapped(numpy.where(operand(condition), operand(x), operand(y)), c_order=True)


def copyto(dst, src, casting="same_kind", where=None):
    silently(numpy.copyto, dst._host, operand(src), casting, **({} if where is None else {"where": operand(where)}))


def matmul(
    *args, axes=None, axis=None, keepdims=False, casting="same_kind", dtype=None, signature=None, order="K", out=None
):
    if len(args) != 2 or axes is not None or axis is not None or keepdims or signature is not None:
        raise TypeError("the stand-in's matmul takes two arrays, out, dtype and casting")
    operands = [unwrapped(a) for a in args]
    if not all(isinstance(a, ndarray) for a in args):
        raise TypeError(f"Unsupported type {[type(a) for a in args]}")
    given = {} if out is None else {"out": out._host}
    result = silently(numpy.matmul, *operands, casting=casting, dtype=dtype, **given)
    return wrapped(result, c_order=True) if out is None else out


def result_type(*arrays_and_dtypes):
    return numpy.result_type(*map(unwrapped, arrays_and_dtypes))


def allclose(a, b, rtol=1e-05, atol=1e-08, equal_nan=False):
    return wrapped(numpy.asarray(silently(numpy.allclose, operand(a), operand(b), rtol, atol, equal_nan)))


def cumsum(a, axis=None, dtype=None, out=None):
    """In the order of `a` in memory, and along no axis of an array that has none."""
    host = unwrapped(a)
    if axis is not None and not -host.ndim <= axis < host.ndim:
        raise numpy.exceptions.AxisError(axis, host.ndim)
    result = numpy.cumsum(host, axis, dtype)
    if result.shape == host.shape:
        ordered = numpy.empty_like(host, dtype=result.dtype)
        ordered[...] = result
        result = ordered
    if out is None:
        return wrapped(result)
    out[...] = wrapped(result)
    return out


def array_equal(a1, a2, equal_nan=False):
    return wrapped(numpy.asarray(numpy.array_equal(operand(a1), operand(a2), equal_nan)))


def get_array_module(*args):
    import cupy

    return cupy if any(isinstance(a, ndarray) for a in args) else numpy


def synchronizing(name):
    plain = _function(f"cupy.{name}", getattr(numpy, name), True)

    def function(*args, **kwargs):
        counting.to_host(f"{name}()")
        return plain(*args, **kwargs)

    function.__name__, function.__signature__ = name, plain.__signature__
    return function


class Generator:
    """Random numbers of its own: not NumPy's for the same seed, and only some of the distributions."""

    def __init__(self, bit_generator):
        self._numpys = numpy.random.Generator(bit_generator)

    def random(self, size=None, dtype=numpy.float64, out=None):
        return wrapped(self._numpys.random(size, dtype))

    def uniform(self, low=0.0, high=1.0, size=None, dtype=numpy.float64):
        return wrapped(self._numpys.uniform(low, high, size).astype(dtype))

    def standard_normal(self, size=None, dtype=numpy.float64, out=None):
        return wrapped(self._numpys.standard_normal(size, dtype))

    def integers(self, low, high=None, size=None, dtype=numpy.int64, endpoint=False):
        return wrapped(self._numpys.integers(low, high, size, dtype, endpoint))


def default_rng(seed=None):
    return Generator(numpy.random.Philox(None if seed is None else [seed, 3]))


def _erf(x):
    return numpy.asarray(numpy.frompyfunc(math.erf, 1, 1)(x), numpy.result_type(x, numpy.float16))


def erf(x, /, out=None, *, casting="same_kind", dtype=None):
    if out is not None or dtype is not None:
        raise TypeError("the stand-in's erf takes an array only")
    return wrapped(numpy.asarray(_erf(operand(x))), c_order=True)


# ---- modules --------------------------------------------------------------------------------------------------------


class Missing(types.ModuleType):
    """A module that says, of a name that it lacks, whether CuPy has it."""

    def __getattr__(self, name):
        has = f"{self.__name__}.{name}" in NAMES
        raise AttributeError(
            f"module {self.__name__!r} has no attribute {name!r}"
            + (": CuPy has it, its stand-in does not (see tests/strict_cupy/functions.py)" if has else ", nor has CuPy")
        )


def modules():
    """{name: module} for all that CuPy is stood in for."""
    made = {}
    for name in (
        "cupy",
        "cupy.linalg",
        "cupy.lib",
        "cupy.lib.stride_tricks",
        "cupy.random",
        "cupy.cuda",
        "cupyx",
        "cupyx.scipy",
        "cupyx.scipy.special",
    ):
        made[name] = Missing(name)
        owner, _, last = name.rpartition(".")
        if owner:
            setattr(made[owner], last, made[name])
    cupy = made["cupy"]
    for name in (n.removeprefix("cupy.") for n in NAMES if n.startswith("cupy.")):
        numpys = getattr(numpy, name, None)
        if isinstance(numpys, numpy.ufunc) and name not in ("matmul", "vecdot", "matvec", "vecmat"):
            setattr(cupy, name, ufunc(name, numpys))
    for name in SAME:
        setattr(cupy, name, getattr(numpy, name))
    for names, c_order in ((KEEP, False), (COMPUTE, True)):
        for name in names:
            setattr(cupy, name, _function(f"cupy.{name}", getattr(numpy, name), c_order))
    for name in SYNCHRONIZE:
        setattr(cupy, name, synchronizing(name))
    for function in (
        allclose,
        array,
        array_equal,
        asarray,
        ascontiguousarray,
        asnumpy,
        broadcast_to,
        copyto,
        cumsum,
        get_array_module,
        matmul,
        ndarray,
        result_type,
        ufunc,
        where,
    ):
        setattr(cupy, function.__name__, function)
    cupy.asanyarray = asarray
    for name in ("norm", "solve", "inv", "det", "eigvalsh", "svd", "qr", "eigh", "cholesky"):
        setattr(cupy.linalg, name, _function(f"cupy.linalg.{name}", getattr(numpy.linalg, name), True))
    cupy.lib.stride_tricks.sliding_window_view = sliding_window_view
    cupy.random.default_rng, cupy.random.Generator = default_rng, Generator
    cupy.cuda.is_available = lambda: True
    for kind in (capture.Event, capture.MemoryPool, capture.Stream):
        setattr(cupy.cuda, kind.__name__, kind)
    cupy.cuda.get_current_stream, cupy.cuda.using_allocator = capture.get_current_stream, capture.using_allocator
    made["cupyx.scipy.special"].erf = erf
    computes = [module for module in made.values() if module is not cupy.cuda]
    for module, (name, value) in ((m, item) for m in computes for item in vars(m).items()):
        if isinstance(value, types.FunctionType) and name not in ("empty", "empty_like"):
            setattr(module, name, capture.noted(value))
    return made


__all__ = ["NO_NUMPY", "modules"]
