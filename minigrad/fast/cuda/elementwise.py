"""Elementwise functions, in one kernel each, made from an expression in C++.

    faster("leaky_relu", "cuda", compiled("x > 0 ? x : slope * x"))

The expression reads and writes each entry once. The names in it are the parameters of the function in whose place it
runs; a parameter with a default is a number.

The result has its entries in the order in which the first array has them in memory. CuPy's own functions would put
them into C order, and the convolutions, which keep the channels of a pixel together, would have to put them back.
"""

import functools
import inspect
import re

from minigrad import backend
from minigrad.fast.cuda import gpu
from minigrad.fast.cuda.kernel import Kernel, blocks_for, empty_like, has_no_gaps, like, usable
from minigrad.fast.replace import faster
from minigrad.ops.elementwise import divide, multiply, negative
from minigrad.ops.shape import unbroadcast

TEMPLATE = r"""
__device__ T value_of(%(parameters)s) { return %(expression)s; }

extern "C" __global__ void %(name)s(%(arrays)s, T* out_, %(scalars)s long long size, long long channels) {
    long long start = (blockIdx.x * (long long)blockDim.x + threadIdx.x) * W;
    unsigned long long addresses = (unsigned long long)out_ | %(addresses)s;
    if (addresses %% 16 == 0 && start + W <= size%(fits)s) {
        Pack<W> out%(packs)s;
        #pragma unroll
        for (int i = 0; i < W; i++) out.entry[i] = value_of(%(packed)s);
        *(Pack<W>*)(out_ + start) = out;
    } else {
        for (long long i = start; i < start + W && i < size; i++) out_[i] = value_of(%(single)s);
    }
}
"""


class Elementwise:
    """A kernel out of an expression in `arrays`, all of one shape, per-channel arrays, and numbers."""

    def __init__(self, name, expression, arrays, channels=(), scalars=()):
        self.arrays, self.channels, self.scalars = arrays, channels, scalars
        everything = [*arrays, *channels]
        packs = "".join(f", {a} = *(const Pack<W>*)({a}_ + start)" for a in arrays)
        packs += "".join(f", {c} = *(const Pack<W>*)({c}_ + start % channels)" for c in channels)
        numbers = [f"(T){s}_" for s in scalars]
        self.kernel = Kernel(
            name,
            TEMPLATE
            % {
                "name": name,
                "expression": expression,
                "parameters": ", ".join(f"T {p}" for p in (*everything, *scalars)),
                "arrays": ", ".join(f"const T* {a}_" for a in everything),
                "scalars": "".join(f"double {s}_, " for s in scalars),
                "addresses": " | ".join(f"(unsigned long long){a}_" for a in everything),
                "fits": " && channels % W == 0" if channels else "",
                "packs": packs,
                "packed": ", ".join([f"{a}.entry[i]" for a in everything] + numbers),
                "single": ", ".join([f"{a}_[i]" for a in arrays] + [f"{c}_[i % channels]" for c in channels] + numbers),
            },
        )

    def __call__(self, arrays, channels=(), scalars=(), out=None):
        """The values, in a new array or in `out`; None if the arrays' shapes differ.

        With per-channel arrays the first array must lie in memory channels last.
        """
        first = arrays[0]
        if not has_no_gaps(first):
            first = next((a for a in arrays if has_no_gaps(a)), None)
            if first is None:
                first = backend.array_module(arrays[0]).ascontiguousarray(arrays[0])
        for a in arrays:
            if a.shape != first.shape:
                return None
        arrays = [like(a, first) for a in arrays]
        if out is None:
            out = empty_like(first)
        width = 16 // first.itemsize
        count = first.shape[1] if channels else 1
        self.kernel(first.dtype, blocks_for(first.size, width), *arrays, *channels, out, *scalars, first.size, count)
        return out


_made = []


def compiled(expression):
    """A decorator: on a GPU the function is computed by this expression in its parameters."""

    def decorate(function):
        parameters = inspect.signature(function).parameters
        used = set(re.findall(r"[A-Za-z_]\w*", expression))
        places = [
            (i, name, parameter.default) for i, (name, parameter) in enumerate(parameters.items()) if name in used
        ]
        name = re.sub(r"\W", "_", f"{getattr(function, '__name__', '')}_{len(_made)}").strip("_")
        _made.append(name)
        kernels = {}  # which of the parameters are arrays → kernel
        first = places[0][0]

        @functools.wraps(function)
        def run(*args, **params):
            if not gpu.runs_kernels(args[first]):
                return function(*args, **params)
            names, arrays, scalars, numbers = [], [], [], []
            for i, parameter, default in places:
                value = args[i] if i < len(args) else params.get(parameter, default)
                if backend.is_array(value):
                    names.append(parameter)
                    arrays.append(value)
                elif isinstance(value, (int, float)):
                    scalars.append(parameter)
                    numbers.append(float(value))
                else:  # a Tensor: the rules of a recorded backward pass
                    return function(*args, **params)
            if not usable(*arrays):
                return function(*args, **params)
            key = tuple(names)
            if key not in kernels:
                kernels[key] = Elementwise(f"elementwise_{name}_{len(kernels)}", expression, names, (), scalars)
            result = kernels[key](arrays, (), numbers)
            return function(*args, **params) if result is None else result

        # The usual one now, so that tests can compile all: parameters with a default are numbers, the others arrays.
        names = [name for _, name, default in places if default is inspect.Parameter.empty]
        numbers = [name for _, name, default in places if default is not inspect.Parameter.empty]
        kernels[tuple(names)] = Elementwise(f"elementwise_{name}", expression, names, (), numbers)
        return run

    return decorate


# ---- in the place of the plain forms: a condition that is false for NaN leaves the NaN as it is ---------------------

SLOPE_OF_SIGMOID = "exp(-fabs(x)) / ((1 + exp(-fabs(x))) * (1 + exp(-fabs(x))))"

for name, forward in {"add": "a + b", "subtract": "a - b", "multiply": "a * b", "divide": "a / b"}.items():
    faster(name, "cuda", compiled(forward))

for name, forward, rule in [
    ("negative", "-x", "-g"),
    ("exp", "exp(x)", "g * y"),
    ("log", "log(x)", "g / x"),
    ("sqrt", "sqrt(x)", "g / (2 * y)"),
    ("square", "x * x", "g * 2 * x"),
    ("sin", "sin(x)", "g * cos(x)"),
    ("cos", "cos(x)", "-g * sin(x)"),
    ("tanh", "tanh(x)", "g * (1 - y * y)"),
    ("sigmoid", "exp(x <= 0 ? x : 0) / (1 + exp(-fabs(x)))", f"g * ({SLOPE_OF_SIGMOID})"),
    ("softplus", "(x <= 0 ? 0 : x) + log1p(exp(-fabs(x)))", "g * (exp(x <= 0 ? x : 0) / (1 + exp(-fabs(x))))"),
    ("erf", "erf(x)", "g * T(1.1283791670955126) * exp(-x * x)"),
    ("abs", "fabs(x)", "g * (x > 0 ? 1 : x < 0 ? -1 : x)"),
    ("sign", "x > 0 ? 1 : x < 0 ? -1 : x", "g * 0"),
    ("relu", "x <= 0 ? 0 : x", "y > 0 ? g : 0"),
    ("leaky_relu", "x > 0 ? x : slope * x", "y > 0 ? g : slope * g"),
    ("elu", "x > 0 ? x : alpha * expm1(x)", "x > 0 ? g : g * alpha * exp(x)"),
    ("inverse_deviation", "1 / sqrt(var + eps)", None),
    ("lerp", "a * (1 - fraction) + b * fraction", None),
]:
    faster(name, "cuda", compiled(forward), [compiled(rule)] if rule else ())

# The plain rules' operators would put gradients into C order: these are the ops, whose kernels keep the order.
faster("subtract", "cuda", rules=[None, lambda rule: lambda g, y, a, b: unbroadcast(negative(g), b)])
faster("divide", "cuda", rules=[lambda rule: lambda g, y, a, b: unbroadcast(divide(g, b), a)])
faster(
    "multiply",
    "cuda",
    rules=[
        lambda rule: lambda g, y, a, b: unbroadcast(multiply(g, b), a),
        lambda rule: lambda g, y, a, b: unbroadcast(multiply(g, a), b),
    ],
)
