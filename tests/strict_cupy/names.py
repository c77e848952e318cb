"""What CuPy offers: names and arguments, read from the list beside this file, or made anew where CuPy is installed.

    python -m tests.strict_cupy > tests/strict_cupy/names.txt

needs CuPy but no GPU. A line is a name, with its arguments if it can be called: "cupy.sum(a, axis=None, …)". Defaults
that are not a number, a string, a boolean or None are written as "...".
"""

import importlib
import inspect
import re
from pathlib import Path

import numpy

LIST = Path(__file__).with_name("names.txt")
MODULES = ("cupy", "cupy.cuda", "cupy.lib.stride_tricks", "cupy.linalg", "cupy.random", "cupyx", "cupyx.scipy.special")
CLASSES = ("cupy.ndarray", "cupy.random.Generator", "cupy.ufunc")


def read():
    """{name: inspect.Signature, or None for what cannot be called}."""
    names = {}
    for line in LIST.read_text("utf-8").splitlines():
        if line and not line.startswith("#"):
            name, opening, arguments = line.partition("(")
            names[name] = signature(arguments.removesuffix(")")) if opening else None
    return names


def signature(arguments):
    """The inspect.Signature of a text such as "a, axis=None"."""
    return inspect.signature(eval(f"lambda {arguments}: None"))


def made_anew():
    """The lines of the list for the CuPy that is installed here."""
    import cupy

    yield f"# CuPy {cupy.__version__}, NumPy {numpy.__version__}"
    yield "# made by: python -m tests.strict_cupy > tests/strict_cupy/names.txt"
    for path in MODULES:
        yield from _lines(path, importlib.import_module(path))
    for path in CLASSES:
        owner, _, name = path.rpartition(".")
        yield path
        yield from _lines(path, getattr(importlib.import_module(owner), name), is_class=True)


def _lines(path, holder, is_class=False):
    for name in sorted(dir(holder)):
        value = getattr(holder, name, None)
        if is_class and name.startswith("__"):
            yield f"{path}.{name}"  # operators and the like
        if name.startswith("_") or name == "annotations" or f"{path}.{name}" in CLASSES or inspect.ismodule(value):
            continue
        arguments = _arguments(value, is_class) if callable(value) and not isinstance(value, type) else None
        yield f"{path}.{name}" + ("" if arguments is None else f"({arguments})")


def _arguments(value, is_method):
    """The arguments as text; of compiled functions, from the first line of the docstring."""
    if type(value).__name__ == "ufunc":
        operands = "x" if value.nin == 1 else ", ".join(f"x{i + 1}" for i in range(value.nin))
        return f"{operands}, /, out=None, *, casting='same_kind', dtype=None"
    try:
        found = inspect.signature(value)
    except (TypeError, ValueError):
        # Such as "_ndarray_base.sum(self, axis=None) -> _ndarray_base", with C types before some names.
        first = (value.__doc__ or "").strip().partition("\n")[0].replace("\\", "")
        match = re.match(r"[\w.]+\((.*)\)(?: ->.*)?$", first)
        if not match:
            return "*args, **kwargs"
        try:
            found = signature(re.sub(r"\b[\w.]+ (\w+)", r"\1", match[1]))
        except (SyntaxError, NameError):
            return "*args, **kwargs"
    parameters = [p for p in found.parameters.values() if not (is_method and p.name == "self")]
    plain = [p.replace(annotation=p.empty, default=_plain(p.default)) for p in parameters]
    return str(inspect.Signature(plain)).replace("Ellipsis", "...")[1:-1]


def _plain(default):
    is_plain = default is inspect.Parameter.empty or default is None or type(default) in (bool, int, float, str)
    return default if is_plain else ...
