"""The stubs that tell type checkers and editors what `op(...)` makes: `python -m tests.types.stubs` writes them.

Names, parameters, defaults and docstrings are those of the running library: of all that `minigrad`,
`minigrad.nn.functional` and `wn` offer, and of `Tensor` with the methods that it gets from ops. The tables here add the
types, by a parameter's name or, where that is not enough, by the function's. What is in neither stops the generator.

A function of arrays is written as overloads: with a Tensor among its operands it returns a Tensor, else an array.
Classes, `minigrad.optim` and `minigrad.data` have their types in their own files.
"""

import inspect
from pathlib import Path

import minigrad as mg
import wn
from minigrad import ops, tensors
from minigrad.nn import functional

ROOT = Path(mg.__file__).parent.parent
HEAD = '"""Written by `python -m tests.types.stubs`: types for checkers and editors, who cannot see what op() makes."""'

# By a function's operands it is known whether a Tensor comes out.
OPERANDS = {"x", "a", "b", "condition", "xs", "operands", "weight", "logits", "targets", "prediction", "target"}
AXIS, PAIR = "int | tuple[int, ...]", "int | tuple[int, int]"
TYPES = {  # parameter: its type
    "alpha": "float",
    "args": "Any",
    "axes": AXIS,
    "axis": f"{AXIS} | None",
    "axis1": "int",
    "axis2": "int",
    "c": "float",
    "centered": "bool",
    "classes": "int",
    "compress": "bool",
    "create_graph": "bool",
    "cycles": "int",
    "data": "Any",
    "ddof": "int",
    "delta": "float",
    "destination": "int",
    "device": "str",
    "dtype": "npt.DTypeLike",
    "eps": "float",
    "f": "Callable[..., Any]",
    "function": "Callable[..., Any]",
    "grad": "Operand | None",
    "grad_outputs": "Any",
    "high": "Array | float | None",
    "index": "Any",
    "indices": "Operand | Sequence[int]",
    "inputs": "Tensor | Sequence[Tensor]",
    "keepdims": "bool",
    "labels": "Operand | Sequence[int]",
    "layer": "Layer",
    "low": "Array | float | None",
    "model": "Layer",
    "module": "Layer",
    "modules": "Any",
    "name": "str",
    "optimizer": "Optimizer | None",
    "outputs": "Tensor | Sequence[Tensor]",
    "output_padding": PAIR,
    "p": "float",
    "pad_width": "int | Sequence[Sequence[int]]",
    "padding": PAIR,
    "path": "str | os.PathLike[str]",
    "requires_grad": "bool",
    "retain_graph": "bool",
    "rng": "numpy.random.Generator",
    "scale": 'Literal["linear", "exp"]',
    "sections": "int | Sequence[int]",
    "shape": "int | Sequence[int]",
    "size": PAIR,
    "slope": "float",
    "source": "int",
    "state": "Mapping[str, Any]",
    "stride": PAIR,
    "subscripts": "str",
    "tangents": "Any",
    "tolerance": "float",
    "tree": "Any",
    "value": "float",
    "vectors": "Any",
}
OF_WN = {  # the functions of arrays in wn, with their operands, and those whose result is a pair
    "explicit_gradients": ("grad_w", "v", "g"),
    "explicit_gradients_log_scale": ("grad_w", "v", "s"),
    "gradient_covariance": ("gradients",),
    "mean_only_gradients": ("grad",),
    "preconditioned_covariance": ("C", "v", "g"),
    "project": ("w", "x"),
    "projection_matrix": ("w",),
    "weight_norm": ("v", "g"),
    "weight_norm_composite": ("v", "g"),
}
PAIRS = {"explicit_gradients", "explicit_gradients_log_scale", "mean_only_gradients"}
OF_FUNCTION = {  # (function, parameter): its type, where the name alone does not tell
    ("WeightNorm", "axis"): 'Literal["output"] | int | tuple[int, ...] | None',
    ("argmax", "axis"): "int | None",
    ("concatenate", "axis"): "int | None",
    ("cumsum", "axis"): "int",
    ("data_dependent_init", "workers"): "Any",
    ("data_dependent_init", "x"): "Any",
    ("equi_normalize", "example"): "Any",
    ("expand_dims", "axis"): "int",
    ("hessian", "x"): "Operand",
    ("hvp", "args"): "Any",
    ("jacobian", "x"): "Operand",
    ("split", "axis"): "int",
    ("stack", "axis"): "int",
    ("take", "axis"): "int | None",
    ("tensordot", "axes"): "int | Sequence[int] | Sequence[Sequence[int]]",
    ("transpose", "axes"): "int | Sequence[int]",
}
RETURNS = {  # of functions that are no functions of arrays
    "WeightNorm": "Layer",
    "apply_weight_norm": "Layer",
    "checkpoint": "Any",
    "cuda_graph": "Callable[..., Any]",
    "data_dependent_init": "Layer",
    "detect_anomaly": "AbstractContextManager[None]",
    "enable_grad": "ContextDecorated",
    "equi_normalize": "Layer",
    "hessian": "Tensor",
    "hvp": "Any",
    "is_available": "bool",
    "jacobian": "Tensor",
    "jvp": "tuple[Tensor, Tensor]",
    "load": "Any",
    "load_torch_state_dict": "Layer",
    "no_grad": "ContextDecorated",
    "one_hot": "Array",
    "remove_weight_norm": "Layer",
    "save": "None",
    "tensor": "Tensor",
    "to_torch_state_dict": "dict[str, Array]",
    "vjp": "tuple[Tensor, Callable[..., Any]]",
}
ATTRIBUTES = {  # of Tensor
    "T": "Tensor",
    "data": "Any",  # an array of NumPy or CuPy; what is assigned may be anything that becomes one
    "device": 'Literal["cpu", "cuda"]',
    "dtype": "numpy.dtype[Any]",
    "grad": "Any",  # None before backward: that would have to be asked at each use
    "is_leaf": "bool",
    "ndim": "int",
    "requires_grad": "bool",
    "shape": "tuple[int, ...]",
    "size": "int",
}
METHODS = {  # what Tensor's own methods return
    "__bool__": "bool",
    "__float__": "float",
    "__format__": "str",
    "__hash__": "int",
    "__int__": "int",
    "__iter__": "Iterator[Tensor]",
    "__len__": "int",
    "__repr__": "str",
    "backward": "None",
    "detach": "Tensor",
    "item": "float",
    "numpy": "Array",
    "register_hook": "Callable[[], None]",
    "replace": "None",
    "retain_grad": "None",
}
# __array__ is left out: with it `array * tensor` would pass for an array, and numpy.sin(tensor) for right.
NOT_SHOWN = {"__array__", "__array_function__", "__getattr__", "__init__", "__reduce__", "__setitem__"}
# Of no operands at all nobody knows whether they are tensors: mypy objects to the overload of arrays.
OVERLAPPING = {("concatenate", "Array"), ("einsum", "Array"), ("stack", "Array")}
BINARY = "add sub mul truediv pow matmul".split()


def literal(default):
    """A default as it is written; what has no such form is an ellipsis."""
    return repr(default) if default is None or isinstance(default, (bool, int, float, str)) else "..."


def written(parameter, kind):
    """`x: Operand`, `axis: int | None = None`, `*shape: int`."""
    stars = {parameter.VAR_POSITIONAL: "*", parameter.VAR_KEYWORD: "**"}.get(parameter.kind, "")
    if parameter.default is parameter.empty:
        return f"{stars}{parameter.name}: {kind}"
    kind = kind if parameter.default is not None or kind.endswith(("None", "Any")) else f"{kind} | None"
    return f"{parameter.name}: {kind} = {literal(parameter.default)}"


def type_of(function, parameter):
    """The type of a parameter where no overload says more. KeyError, with what to do, if the tables lack it."""
    try:
        found = OF_FUNCTION.get((function, parameter))
        return found or ("Operand" if parameter in OPERANDS else TYPES[parameter])
    except KeyError:
        raise KeyError(f"give {function}'s parameter {parameter!r} a type in the tables of {__file__}") from None


def docstring(function, indent):
    """The docstring as it stands in a function's body."""
    lines = inspect.getdoc(function).splitlines()
    text = f"\n{indent}".join([f'r"""{lines[0]}', *lines[1:]]).replace(f"\n{indent}\n", "\n\n")
    return f'{indent}{text}"""\n' if len(lines) == 1 else f'{indent}{text}\n{indent}"""\n'


def definition(name, parameters, returns, doc="", indent="", overload=False):
    """One def; with `doc` its docstring is the body."""
    head = f"{indent}@overload\n" if overload else ""
    ignored = "  # type: ignore[overload-overlap]" if overload and (name, returns) in OVERLAPPING else ""
    body = f"{ignored}\n{doc}" if doc else f" ...{ignored}\n"
    return f"{head}{indent}def {name}({', '.join(parameters)}) -> {returns}:{body}"


def function_of_arrays(name, function, operands=()):
    """The overloads of a function of arrays; its operands are these, or those that the table of operands has."""
    parameters = list(inspect.signature(function).parameters.values())
    operands = operands or [p.name for p in parameters if p.name in OPERANDS and p.default is p.empty]
    bundle = "list[{}]" if name == "split" else "tuple[{0}, {0}]" if name in PAIRS else "{}"

    def signature(types):
        return [written(p, types.get(p.name) or type_of(name, p.name)) for p in parameters]

    if "xs" in operands:
        kinds = [("Sequence[Tensor]", "Tensor"), ("Sequence[Array]", "Array"), ("Sequence[Tensor | Array]", "Tensor")]
        choices = [({"xs": kind}, returns) for kind, returns in kinds]
    elif "operands" in operands:
        choices = [({"operands": "Array"}, "Array"), ({"operands": "Operand"}, "Tensor")]
    else:
        other = {"bias": "Operand"}
        choices = [(dict.fromkeys(operands, "Operand") | {name: "Tensor"} | other, "Tensor") for name in operands]
        alone = "Array" if len(operands) == 1 else "Array | float"
        choices.append((dict.fromkeys(operands, alone) | {"bias": "Array"}, "Array"))
    text = ""
    for i, (types, returns) in enumerate(choices):
        doc = docstring(function, "    ") if not i else ""
        text += definition(name, signature(types), bundle.format(returns), doc, overload=True)
    return text


def plain_function(name, function):
    """A function whose result does not depend on what it is given."""
    parameters = inspect.signature(function).parameters.values()
    types = [written(p, type_of(name, p.name)) for p in parameters]
    return definition(name, types, RETURNS[name], docstring(function, "    "))


def method(name, function):
    """A method of Tensor, whose first parameter is the tensor."""
    parameters = list(inspect.signature(function).parameters.values())[1:]
    types = ["self", *(written(p, type_of(name, p.name)) for p in parameters if not name.startswith("__"))]
    returns = METHODS.get(name) or ("list[Tensor]" if name == "split" else "Tensor")
    documented = inspect.getdoc(function) and not name.startswith("__")
    return definition(name, types, returns, docstring(function, " " * 8) if documented else "", " " * 4)


GRAD = """@overload
def grad(outputs: Tensor | Sequence[Tensor], inputs: Tensor, {rest}) -> Tensor:
{doc}@overload
def grad(outputs: Tensor | Sequence[Tensor], inputs: Sequence[Tensor], {rest}) -> list[Tensor]: ...
"""


def gradients():
    """`grad`, whose result is like its inputs."""
    rest = [written(p, type_of("grad", n)) for n, p in inspect.signature(mg.grad).parameters.items()]
    return GRAD.format(rest=", ".join(rest[2:]), doc=docstring(mg.grad, "    "))


def of_minigrad():
    """minigrad/__init__.pyi"""
    functions = {name: getattr(mg, name) for name in mg.__all__ if inspect.isfunction(getattr(mg, name))}
    modules = sorted(name for name in mg.__all__ if inspect.ismodule(getattr(mg, name)))
    text = f"""{HEAD}

import os
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from typing import Any, Protocol, TypeVar, overload

import numpy
import numpy.typing as npt

from minigrad import {", ".join(f"{name} as {name}" for name in modules)}
from minigrad.settings import config as config
from minigrad.tensors import Array as Array
from minigrad.tensors import Operand as Operand
from minigrad.tensors import Tensor as Tensor

__version__: str
__all__ = {sorted(mg.__all__)!r}

_F = TypeVar("_F", bound=Callable[..., Any])

class ContextDecorated(AbstractContextManager[None], Protocol):
    def __call__(self, function: _F) -> _F: ...

"""
    for name, function in sorted(functions.items()):
        if name == "grad":
            text += gradients()
        else:
            text += (function_of_arrays if name in ops.__all__ else plain_function)(name, function)
    return text


def of_functional():
    """minigrad/nn/functional.pyi"""
    text = f"""{HEAD}

from collections.abc import Sequence
from typing import Any, overload

import numpy
import numpy.typing as npt

from minigrad.tensors import Array, Operand, Tensor

__all__ = {functional.__all__!r}

"""
    for name in functional.__all__:
        text += (plain_function if name in RETURNS else function_of_arrays)(name, getattr(functional, name))
    for name, function in sorted(vars(functional).items()):  # what layers use and users need not
        if getattr(function, "__module__", "") == functional.__name__ and name not in functional.__all__:
            text += definition(name, ["*args: Any", "**params: Any"], "Any")
    return text


def of_wn():
    """wn/__init__.pyi"""
    text = f"""{HEAD}

from collections.abc import Mapping
from typing import Any, Literal, TypeVar, overload

from minigrad.nn import Module
from minigrad.optim import Optimizer
from minigrad.tensors import Array, Operand, Tensor
"""
    for name in wn.__all__:
        if inspect.isclass(kind := getattr(wn, name)):
            text += f"from {kind.__module__} import {name} as {name}\n"
    text += f'\n__all__ = {wn.__all__!r}\n\nLayer = TypeVar("Layer", bound=Module)\n\n'
    for name in wn.__all__:
        function = getattr(wn, name)
        if name in OF_WN:
            text += function_of_arrays(name, function, OF_WN[name])
        elif inspect.isfunction(function):
            text += plain_function(name, function)
    return text


def of_tensors():
    """minigrad/tensors.pyi"""
    members = vars(mg.Tensor)
    text = f"""{HEAD}

from collections.abc import Callable, Iterator, Sequence
from typing import Any, Literal, TypeAlias

import numpy
import numpy.typing as npt

Array: TypeAlias = npt.NDArray[Any]
Operand: TypeAlias = Tensor | Array | numpy.number[Any] | float  # what an op takes beside a tensor

class Node:
    def __getattr__(self, name: str) -> Any: ...

class Tensor:
{docstring(mg.Tensor, "    ")}
    _data: Any
    _node: Any
    def __init__(self, data: Array, node: Node | None = None) -> None: ...
"""
    for name, member in sorted(members.items()):
        if isinstance(member, property):
            text += f"    @property\n    def {name}(self) -> {ATTRIBUTES[name]}: ...\n"
            if member.fset:
                text += f"    @{name}.setter\n    def {name}(self, value: Any) -> None: ...\n"
    for name in BINARY:
        for side in ("", "r", "i"):
            assert f"__{side}{name}__" in members
            text += f"    def __{side}{name}__(self, other: Operand) -> Tensor: ...\n"
    for name in "eq ne gt ge lt le".split():
        ignored = "override" if name in ("eq", "ne") else "misc"  # object's give a bool; mypy fears x < y and y > x
        text += f"    def __{name}__(self, other: Operand) -> Tensor: ...  # type: ignore[{ignored}]\n"
    text += "    def __getitem__(self, index: Any) -> Tensor: ...\n"
    done = {f"__{side}{name}__" for name in [*BINARY, *"eq ne gt ge lt le getitem".split()] for side in ("", "r", "i")}
    for name, function in sorted(members.items()):
        if name == "__format__":
            text += "    def __format__(self, spec: str) -> str: ...\n"
        elif name == "replace":
            text += definition(name, ["self", "array: Any"], "None", docstring(function, " " * 8), "    ")
        elif name == "register_hook":
            types = ["self", "function: Callable[[Tensor], Tensor | None]"]
            text += definition(name, types, METHODS[name], docstring(function, " " * 8), "    ")
        elif (inspect.isfunction(function) or name == "__hash__") and name not in done | NOT_SHOWN:
            text += method(name, function)
    return text + "\n" + plain_function("tensor", tensors.tensor)


STUBS = {
    "minigrad/__init__.pyi": of_minigrad,
    "minigrad/tensors.pyi": of_tensors,
    "minigrad/nn/functional.pyi": of_functional,
    "wn/__init__.pyi": of_wn,
}

if __name__ == "__main__":
    for file, make in STUBS.items():
        (ROOT / file).write_text(make(), "utf-8")
