"""What to write instead, for whoever writes PyTorch's or NumPy's words where minigrad has others.

Nothing here is called unless something has gone wrong, but for `ArrayUfunc` (`array * tensor`), `array_function`
(`numpy.allclose(tensor, array)`) and `other_words`.
"""

import functools
import re
import sys

OPERATORS = set(
    "add subtract multiply divide power matmul equal not_equal greater greater_equal less less_equal".split()
)

KEYWORDS = {  # of functions
    "dim": "axis=",
    "dims": "axis=",
    "keepdim": "keepdims=",
    "input": "the tensor by position",
    "other": "the other operand by position",
    "tensors": "the sequence of tensors by position",
    "correction": "ddof=",
    "unbiased": "ddof=1 for True, ddof=0 for False",
    "out": "mg.{0}(x), without out=",
    "dtype": "mg.{0}(x.astype(dtype)), without dtype=",
    "p": "norm(x), which is Euclidean, or the sum of powers itself",
}

ATTRIBUTES = {  # of tensors
    "argmin": "(-x).argmax(axis)",
    "backwards": "x.backward()",
    "clamp": "x.clip(low, high)",
    "clone": "mg.tensor(x) for a copy, or x itself: no operation changes it",
    "contiguous": "x itself",
    "copy": "mg.tensor(x)",
    "cpu": 'x.to("cpu")',
    "cuda": 'x.to("cuda")',
    "dim": "x.ndim",
    "dot": "x @ y",
    "double": 'x.astype("float64")',
    "expand": "mg.broadcast_to(x, shape)",
    "fill_": "x.data = array",
    "flatten": "x.reshape(-1)",
    "float": 'x.astype("float32")',
    "gather": "x[numpy.arange(len(x)), indices]",
    "half": 'x.astype("float16")',
    "int": 'x.astype("int32")',
    "long": 'x.astype("int64")',
    "mm": "x @ y",
    "numel": "x.size",
    "permute": "x.transpose(axes)",
    "ravel": "x.reshape(-1)",
    "requires_grad_": "x.requires_grad = True",
    "t": "x.T",
    "tolist": "x.numpy().tolist()",
    "type": "x.astype(dtype)",
    "unsqueeze": "mg.expand_dims(x, axis)",
    "view": "x.reshape(shape)",
    "zero_": "x.data = numpy.zeros(x.shape), or x.grad = None for a gradient",
}

NAMES = {  # of the module minigrad
    "Parameter": "mg.nn.Parameter",
    "arange": "mg.tensor(numpy.arange(n))",
    "array": "mg.tensor(data)",
    "as_tensor": "mg.tensor(data)",
    "cat": "mg.concatenate(tensors, axis)",
    "clamp": "mg.clip(x, low, high)",
    "cross_entropy": "mg.nn.functional.cross_entropy(logits, labels)",
    "dot": "x @ y",
    "eye": 'mg.tensor(numpy.eye(n, dtype="float32"))',
    "float16": "numpy.float16",
    "float32": "numpy.float32",
    "float64": "numpy.float64",
    "from_numpy": "mg.tensor(array)",
    "int64": "numpy.int64",
    "log1p": "mg.log(1 + x)",
    "manual_seed": "rng = numpy.random.default_rng(seed), and pass rng on",
    "mm": "x @ y",
    "ones": 'mg.tensor(numpy.ones(shape, "float32"))',
    "permute": "mg.transpose(x, axes)",
    "pow": "x**y",
    "rand": 'mg.tensor(rng.random(shape, "float32"))',
    "randn": 'mg.tensor(rng.standard_normal(shape, "float32"))',
    "unsqueeze": "mg.expand_dims(x, axis)",
    "zeros": 'mg.tensor(numpy.zeros(shape, "float32"))',
}

NUMPYS = {  # of NumPy's functions, those that neither minigrad nor PyTorch has
    "amax": "mg.max(x)",
    "amin": "mg.min(x)",
    "column_stack": "mg.stack(tensors, axis=1)",
    "hstack": "mg.concatenate(tensors, axis)",
    "vstack": "mg.stack(tensors), or mg.concatenate(tensors)",
}


def about(error, name):
    """What to write instead of what made the function `name` raise this, as the end of its message; "" if unknown."""
    message = str(error)
    if "; write " in message:
        return ""
    if "axes don't match array" in message:
        return "; write all axes in their new order, or swapaxes(axis1, axis2) to exchange two"
    found = re.search(r"unexpected keyword argument '(\w+)'", message)
    return f"; write {KEYWORDS[found[1]].format(name)}" if found and found[1] in KEYWORDS else ""


def other_words(function):
    """`function`, whose error says which keyword to write where it is given another library's."""

    @functools.wraps(function)
    def explained(*args, **params):
        try:
            return function(*args, **params)
        except TypeError as error:
            if hint := about(error, function.__name__):
                raise TypeError(f"{error}{hint}") from None
            raise

    return explained


def no_attribute(tensor, name):
    """`Tensor.__getattr__`: asked only for what is not there."""
    kind = type(tensor).__name__
    hint = f"; write {ATTRIBUTES[name]}" if name in ATTRIBUTES else ""
    if hasattr(type(tensor), name):  # a property of it has failed
        hint = f" because what it holds is not an array; write mg.tensor(data) instead of mg.{kind}(data)"
    raise AttributeError(f"{kind!r} object has no attribute {name!r}{hint}", name=name, obj=tensor)


def no_name(module, name):
    """The AttributeError for a name that `module`, which is minigrad, lacks."""
    hint = f"; write {NAMES[name]}" if name in NAMES else ""
    return AttributeError(f"module {module!r} has no attribute {name!r}{hint}", name=name, obj=sys.modules[module])


class Size(int):
    """How many entries a tensor has: an int, which says what to write to those who call it."""

    def __call__(self, *_):
        raise TypeError("size is the number of entries: write x.size without (), and for PyTorch's x.size() x.shape")


class ArrayUfunc:
    """`Tensor.__array_ufunc__`: array * tensor, a numpy.multiply to NumPy, is minigrad's; numpy.sin(tensor) an error.

    NumPy, which would take the numbers and lose the gradient, asks the class. CuPy asks the tensor: None makes it
    leave `array * tensor` to Tensor.__rmul__.
    """

    def __get__(self, tensor, kind):
        return _ufunc_of_tensors if tensor is None else None


def _ufunc_of_tensors(tensor, ufunc, method, *inputs, **options):
    from minigrad import ops

    name = {"absolute": "abs"}.get(ufunc.__name__, ufunc.__name__)
    if method == "__call__" and not options and name in OPERATORS:
        return getattr(ops, name)(*inputs)
    called = f"numpy.{ufunc.__name__}" + (f".{method}" if method != "__call__" else "")
    if options.get("out"):
        raise TypeError(f"{called} cannot write a tensor's numbers into an array: write a = a + x in place of a += x")
    ours = f"mg.{name}(x), or " if method == "__call__" and name in ops.__all__ else ""
    numbers = f"{called}(x.numpy()) for the numbers without their gradient"
    raise TypeError(f"{called} takes arrays, not tensors: write {ours}{numbers}")


def array_function(self, function, types, args, options):
    """`Tensor.__array_function__`: what NumPy's other functions, such as numpy.concatenate, do with tensors.

    They compute with the numbers. Where that gives floating-point numbers, the gradient would be lost without a word:
    an error. numpy.allclose, argsort, shape or zeros_like have no gradient to lose.
    """
    from minigrad import ops

    found = function(*_numbers(args), **_numbers(options))
    name = function.__name__
    if name.endswith("_like") or not _holds_floats(found):
        return found
    ours = f"mg.{name}(…)" if name in ops.__all__ else {**ATTRIBUTES, **NAMES, **NUMPYS}.get(name)
    called = f"{function.__module__}.{name}"
    numbers = f"{called} of x.numpy() for the numbers without their gradient"
    raise TypeError(f"{called} takes arrays, not tensors: write {ours + ', or ' if ours else ''}{numbers}")


def _numbers(arguments):
    """`arguments` with the array of each tensor in the tensor's place, also in lists, tuples and dicts."""
    if isinstance(arguments, (list, tuple)):
        return (list if isinstance(arguments, list) else tuple)(map(_numbers, arguments))
    if isinstance(arguments, dict):
        return {key: _numbers(value) for key, value in arguments.items()}
    return arguments.data if hasattr(arguments, "_node") else arguments


def _holds_floats(found):
    """Whether there is an array of floating-point numbers, or one such number, in what a function of NumPy returned."""
    if isinstance(found, (list, tuple)):
        return any(map(_holds_floats, found))
    return hasattr(found, "dtype") and found.dtype.kind in "fc"
