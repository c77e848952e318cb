"""The stand-in's array: a NumPy array inside, CuPy's manners outside."""

import warnings

import numpy

from tests.strict_cupy import capture, counting, names

NAMES = names.read()
NO_NUMPY = (
    "Implicit conversion to a NumPy array is not allowed. Please use `.get()` to construct a NumPy array explicitly."
)


def operand(value):
    """What NumPy computes with in the place of an operand: arrays of the stand-in and numbers are allowed."""
    if isinstance(value, ndarray):
        return value._host
    if isinstance(value, (bool, int, float, complex, numpy.generic)):
        return value
    raise TypeError(f"Unsupported type {type(value)}")


def unwrapped(value):
    """Arguments of functions: arrays anywhere in lists and tuples, and all that is not an array."""
    if isinstance(value, numpy.ndarray):
        raise TypeError(f"Unsupported type {type(value)}")
    if isinstance(value, (list, tuple)):
        return type(value)(map(unwrapped, value))
    return value._host if isinstance(value, ndarray) else value


def wrapped(result, c_order=False, source=None):
    """NumPy's results, numbers included, as arrays of the stand-in. They may be views of the array `source`."""
    if isinstance(result, (list, tuple)):
        return type(result)(wrapped(r, c_order, source) for r in result)
    if isinstance(result, (numpy.ndarray, numpy.generic)):
        made = object.__new__(ndarray)
        is_view = source is not None and numpy.may_share_memory(result, source._host)
        made.base = (source if source.base is None else source.base) if is_view else None
        made._host = numpy.asarray(result, order="C" if c_order else None)
        if not made._host.flags.writeable:  # CuPy knows no such thing
            made._host = made._host.copy()
        return made
    return result


def silently(function, *args, **kwargs):
    """What NumPy computes, without warnings: a GPU gives none."""
    with numpy.errstate(all="ignore"), warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        return function(*args, **kwargs)


# ---- indices --------------------------------------------------------------------------------------------------------


def numpy_index(index, shape):
    """(an index for NumPy that does what CuPy does with this one, whether arrays are in it)."""
    parts = [_part(p) for p in (index if isinstance(index, tuple) else (index,))]
    arrays = [p for p in parts if isinstance(p, numpy.ndarray)]
    if any(a.dtype.kind == "b" for a in arrays):
        counting.to_host("counting the true entries of a mask")
    taken = sum(_axes_taken(p) for p in parts)
    axis, fitted = 0, []
    for part in parts:
        if isinstance(part, numpy.ndarray) and part.dtype.kind in "iu" and axis < len(shape) and shape[axis]:
            part = part % shape[axis]  # what is out of range comes in again at the other end
        fitted.append(part)
        axis += len(shape) - taken if part is Ellipsis else _axes_taken(part)
    return (*fitted, ...) if not any(p is Ellipsis for p in fitted) else tuple(fitted), bool(arrays)


def _part(part):
    if isinstance(part, ndarray):
        return part._host
    if part is None or part is Ellipsis or isinstance(part, slice):
        return part
    if isinstance(part, (int, numpy.integer)) and not isinstance(part, bool):
        return int(part)
    if not isinstance(part, (list, tuple, bool, numpy.bool_, numpy.ndarray)):
        raise IndexError(
            "only integers, slices (`:`), ellipsis (`...`),numpy.newaxis (`None`) and integer or boolean "
            "arrays are valid indices"
        )
    counting.to_device("copying an index")  # CuPy does, silently
    array = numpy.asarray(unwrapped(part) if isinstance(part, (list, tuple)) else part)
    return array.astype(numpy.int32) if isinstance(part, (list, tuple)) and not array.size else array


def _axes_taken(part):
    if part is None or part is Ellipsis:
        return 0
    return part.ndim if isinstance(part, numpy.ndarray) and part.dtype.kind == "b" else 1


# ---- the array ------------------------------------------------------------------------------------------------------


class Flags:
    """Of CuPy's flags there are three, and none about writing."""

    def __init__(self, flags):
        self.c_contiguous, self.f_contiguous, self.owndata = flags.c_contiguous, flags.f_contiguous, flags.owndata

    def __getitem__(self, name):
        return getattr(self, name.lower())


class ndarray:  # noqa: N801 - CuPy's name
    """Stands in for cupy.ndarray."""

    __slots__ = ("__weakref__", "_host", "base")
    __array_priority__ = 100
    __hash__ = None

    def __init__(self, shape, dtype=float, memptr=None, strides=None, order="C"):
        if memptr is not None or strides is not None:
            raise NotImplementedError("the stand-in has no memory to point to")
        self._host, self.base = numpy.empty(shape, dtype, order), None

    # ---- to the host, each time counted ----

    def get(self, stream=None, order="C", out=None, blocking=True):
        counting.to_host("get()")
        if out is not None:
            out[...] = self._host
            return out
        return numpy.array(self._host, order="K" if order == "A" else order)

    def item(self):
        counting.to_host("item()")
        return self._host.item()

    def tolist(self):
        counting.to_host("tolist()")
        return self._host.tolist()

    def tobytes(self, order="C"):
        counting.to_host("tobytes()")
        return self._host.tobytes(order)

    def __bool__(self):
        counting.to_host("bool()")
        return bool(self._host)

    def __int__(self):
        counting.to_host("int()")
        return int(self._host)

    def __float__(self):
        counting.to_host("float()")
        return float(self._host)

    def __repr__(self):
        counting.to_host("printing")
        return repr(self._host)

    def __str__(self):
        counting.to_host("printing")
        return str(self._host)

    def __format__(self, spec):
        counting.to_host("printing")
        return format(self._host[()], spec)

    def __reduce__(self):
        counting.to_host("pickling")
        return _unpickled, (self._host.copy(),)

    def __array__(self, dtype=None, copy=None):
        raise TypeError(NO_NUMPY)

    def __array_ufunc__(self, ufunc, method, *inputs, **kwargs):
        """np.exp(x) of an array of the stand-in is the stand-in's exp(x)."""
        import cupy

        ours = getattr(cupy, ufunc.__name__, None)
        if ours is None or (method != "__call__" and not hasattr(ours, method)):
            return NotImplemented
        return (ours if method == "__call__" else getattr(ours, method))(*inputs, **kwargs)

    def __array_function__(self, function, types, args, kwargs):
        import cupy

        if not all(issubclass(t, (ndarray, numpy.ndarray)) for t in types):
            return NotImplemented
        ours = cupy
        for name in (*function.__module__.split(".")[1:], function.__name__):
            ours = getattr(ours, name, None)
        return NotImplemented if ours is None else ours(*args, **kwargs)

    # ---- what it is ----

    shape = property(lambda self: self._host.shape)
    strides = property(lambda self: self._host.strides)
    dtype = property(lambda self: self._host.dtype)
    ndim = property(lambda self: self._host.ndim)
    size = property(lambda self: self._host.size)
    itemsize = property(lambda self: self._host.itemsize)
    nbytes = property(lambda self: self._host.nbytes)
    flags = property(lambda self: Flags(self._host.flags))
    T = property(lambda self: self.transpose())
    real = property(lambda self: wrapped(self._host.real, source=self))
    imag = property(lambda self: wrapped(self._host.imag, source=self))

    def __len__(self):
        if not self.ndim:
            raise TypeError("len() of unsized object")
        return len(self._host)

    def __iter__(self):
        return (self[i] for i in range(len(self)))

    def __copy__(self):
        return self.copy()

    def __deepcopy__(self, memo):
        return self.copy()

    # ---- entries ----

    def __getitem__(self, index):
        index, has_arrays = numpy_index(index, self.shape)
        found = self._host[index]
        return wrapped(found.copy() if has_arrays else found, source=self)

    def __setitem__(self, index, value):
        index, has_arrays = numpy_index(index, self.shape)
        if isinstance(value, ndarray):
            value = value._host
        elif isinstance(value, (numpy.ndarray, list, tuple)):
            if not has_arrays and numpy.ndim(value):
                raise ValueError("non-scalar numpy.ndarray cannot be used for fill")
            counting.to_device("assigning")
            value = numpy.asarray(unwrapped(value) if not isinstance(value, numpy.ndarray) else value)
        elif not isinstance(value, (bool, int, float, complex, numpy.generic)):
            raise TypeError(f"Unsupported type {type(value)}")
        if not has_arrays:
            silently(self._host.__setitem__, index, value)
            return
        # Where an entry is named several times, CuPy does not say which value it gets; here the first, not the last.
        places = numpy.arange(self.size).reshape(self.shape)[index]
        values = numpy.broadcast_to(value, places.shape).reshape(-1)[::-1]
        self._host[numpy.unravel_index(places.reshape(-1)[::-1], self.shape or (1,))[: self.ndim]] = values

    def fill(self, value):
        if isinstance(value, (numpy.ndarray, ndarray)) and value.ndim:
            raise ValueError("non-scalar numpy.ndarray cannot be used for fill")
        self._host.fill(operand(value))

    # ---- copies and views ----

    def astype(self, dtype, order="K", casting=None, subok=None, copy=True):
        if subok is not None:
            raise TypeError("subok is not supported yet")
        return wrapped(silently(self._host.astype, dtype, order=order, casting=casting or "unsafe", copy=copy))

    def copy(self, order="C"):
        return wrapped(self._host.copy(order))

    def view(self, dtype=None, type=None):
        return wrapped(self._host.view() if dtype is None else self._host.view(dtype), source=self)

    def reshape(self, *shape, order="C", copy=None):
        return wrapped(self._host.reshape(*shape, order=order), source=self)

    def transpose(self, *axes):
        return wrapped(self._host.transpose(*axes), source=self)

    def cumsum(self, axis=None, dtype=None, out=None):
        import cupy

        return cupy.cumsum(self, axis, dtype, out)

    def dot(self, b, out=None):
        return _multiplied(numpy.dot, self, b, out)

    def __matmul__(self, other):
        return NotImplemented if leaves_it(other) else _multiplied(numpy.matmul, self, other)

    def __rmatmul__(self, other):
        return _multiplied(numpy.matmul, other, self)


def _unpickled(array):
    counting.to_device("unpickling")
    return wrapped(array)


def _multiplied(function, a, b, out=None):
    for value in (a, b):
        if not isinstance(value, ndarray):
            raise TypeError(f"Unsupported type {type(value)}")
    result = silently(function, a._host, b._host, **({} if out is None else {"out": out._host}))
    return out if out is not None else wrapped(result, c_order=True)


def leaves_it(other):
    """Whether an operator leaves the work to the other operand, which has said that it wants to do it."""
    return getattr(other, "__array_ufunc__", NotImplemented) is None


# Methods that do what NumPy's do. Of those in the second row the result is a new array, in C order.
VIEWS = ["conj", "diagonal", "flatten", "ravel", "squeeze", "swapaxes"]
COMPUTED = [
    "all",
    "any",
    "argmax",
    "argmin",
    "argsort",
    "clip",
    "cumprod",
    "max",
    "mean",
    "min",
    "prod",
    "ptp",
    "repeat",
    "round",
    "std",
    "sum",
    "take",
    "trace",
    "var",
]


def _method(name, c_order):
    signature = NAMES[f"cupy.ndarray.{name}"]

    def method(self, *args, **kwargs):
        bound = signature.bind(*args, **kwargs).arguments  # TypeError for what CuPy does not take
        out = bound.get("out")
        given = {key: unwrapped(value) for key, value in bound.items()}
        first = [given.pop(key) for key, p in signature.parameters.items() if p.default is p.empty]
        if name == "prod" and given.get("keepdims", 1) is None:
            del given["keepdims"]
        own = numpy.ptp if name == "ptp" else getattr(numpy.ndarray, name)
        result = wrapped(silently(own, self._host, *first, **given), c_order, None if c_order else self)
        return result if out is None else out

    method.__name__, method.__signature__ = name, signature
    return method


for _name in VIEWS + COMPUTED:
    setattr(ndarray, _name, _method(_name, _name in COMPUTED))


def _operator(ufunc_name, reflected=False, inplace=False):
    def apply(self, other):
        import cupy

        if leaves_it(other):
            return NotImplemented
        ufunc = getattr(cupy, ufunc_name)
        if inplace:
            return ufunc(self, other, self)
        return ufunc(other, self) if reflected else ufunc(self, other)

    return apply


for _name, _ufunc in {
    "add": "add",
    "sub": "subtract",
    "mul": "multiply",
    "truediv": "true_divide",
    "pow": "power",
    "floordiv": "floor_divide",
    "mod": "remainder",
    "and": "bitwise_and",
    "or": "bitwise_or",
    "xor": "bitwise_xor",
}.items():
    setattr(ndarray, f"__{_name}__", _operator(_ufunc))
    setattr(ndarray, f"__r{_name}__", _operator(_ufunc, reflected=True))
    setattr(ndarray, f"__i{_name}__", _operator(_ufunc, inplace=True))
for _name, _ufunc in {
    "eq": "equal",
    "ne": "not_equal",
    "lt": "less",
    "le": "less_equal",
    "gt": "greater",
    "ge": "greater_equal",
}.items():
    setattr(ndarray, f"__{_name}__", _operator(_ufunc))


def _unary(ufunc_name):
    def apply(self):
        import cupy

        return getattr(cupy, ufunc_name)(self)

    return apply


for _name, _ufunc in {"neg": "negative", "pos": "positive", "abs": "absolute", "invert": "invert"}.items():
    setattr(ndarray, f"__{_name}__", _unary(_ufunc))


# Methods that compute, or make a view of what is computed.
for _name, _value in list(vars(ndarray).items()):
    if callable(_value) and _name not in (
        "__init__",
        "__len__",
        "__iter__",
        "__array__",
        "__array_ufunc__",
        "__array_function__",
        "__class__",
        "__reduce__",
    ):
        setattr(ndarray, _name, capture.noted(_value))
