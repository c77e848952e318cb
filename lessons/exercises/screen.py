"""Where laws and answer must share a process: what an answer may not reach for, and whether functions were exchanged.

A few exercises hand the answer objects of the library, which do not travel between processes. There the text of the
answer is looked at more strictly before it runs: no way to frames, modules or the attributes that hold Python together.
That keeps out the plain ways to a forged verdict, not every way that somebody may find.
"""

import ast
import sys
import types
from contextlib import suppress

NAMES = {"getattr", "setattr", "delattr", "locals", "open", "input", "breakpoint"}
NAMES |= {"__builtins__", "__loader__", "__spec__"}
OPERATORS = {
    *("init", "call", "len", "iter", "next", "getitem", "setitem", "contains", "repr", "str", "enter", "exit", "name"),
    *("add", "radd", "sub", "rsub", "mul", "rmul", "truediv", "rtruediv", "pow", "rpow", "matmul", "rmatmul", "neg"),
    *("iadd", "isub", "imul", "itruediv", "abs", "float", "int", "bool", "eq", "ne", "lt", "le", "gt", "ge", "hash"),
}
OF_MODULES = {"load", "ctypeslib", "f2py", "testing", "lib", "settings"}  # pickles run code; and what leads outside
OF_FRAMES = ("tb_", "f_", "gi_", "cr_", "ag_", "co_")
PACKAGES = ("numpy", "hypothesis", "minigrad", "wn", "lessons", "builtins", "math", "json", "os")


def refused(source, uses):
    """The verdict "forbidden" on an answer that reaches too far; None if it does not."""
    try:
        tree = ast.parse(source)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return None  # the judge will say so
    modules = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                name = alias.name if alias.asname else alias.name.partition(".")[0]
                modules[alias.asname or name] = name
        elif isinstance(node, ast.ImportFrom) and node.module:
            for alias in node.names:
                if f"{node.module}.{alias.name}" in sys.modules:
                    modules[alias.asname or alias.name] = f"{node.module}.{alias.name}"
    inner = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Attribute)}
    for node in ast.walk(tree):
        words = None
        if isinstance(node, ast.Name) and node.id in NAMES:
            words = f"{node.id} is not needed here"
        elif isinstance(node, ast.Name) and node.id in modules and id(node) not in inner:
            words = f"write what you need of {node.id}, as in {node.id}.name; {node.id} alone is not needed here"
        elif isinstance(node, ast.Attribute):
            words = _attribute(node, modules, uses, id(node) in inner)
        elif isinstance(node, ast.ImportFrom) and any(_hidden(alias.name) for alias in node.names):
            words = "import what you need by its name"
        if words:
            return {"status": "forbidden", "message": words, "line": node.lineno}
    return None


def _hidden(name):
    return name == "*" or name.startswith("_") or name in OF_MODULES


def _attribute(node, modules, uses, goes_on):
    """What is wrong with an attribute; None if nothing is."""
    name = node.attr
    if (name.startswith("__") and name.strip("_") not in OPERATORS) or name.startswith(OF_FRAMES):
        return f"{name} is not needed here"
    chain, base = [name], node.value
    while isinstance(base, ast.Attribute):
        chain.insert(0, base.attr)
        base = base.value
    if not (isinstance(base, ast.Name) and base.id in modules):
        return None
    if not isinstance(node.ctx, ast.Load):
        return f"{ast.unparse(node)} is not to be changed"
    found = sys.modules.get(modules[base.id])
    for place, part in enumerate(chain):
        then = chain[place + 1 :] or (["stride_tricks"] if goes_on else [])  # the longer chain is looked at as well
        if part.startswith("_") or (part in OF_MODULES and (part != "lib" or then[:1] != ["stride_tricks"])):
            return f"{ast.unparse(node)} is not needed here"
        found = getattr(found, part, None)
        if isinstance(found, types.ModuleType) and found.__name__.partition(".")[0] not in uses:
            return f"{ast.unparse(node)} is not needed here"
    if isinstance(found, types.ModuleType) and not goes_on:
        return f"write what you need of {ast.unparse(node)}, not {ast.unparse(node)} alone"
    return None


def functions():
    """{where: function or class} of all modules that judging stands on, and of their classes."""
    found = {}
    for name, module in list(sys.modules.items()):
        if isinstance(module, types.ModuleType) and name.partition(".")[0] in PACKAGES:
            for key, value in list(vars(module).items()):
                if callable(value):
                    found[name, key] = value
                if isinstance(value, type) and value.__module__ == name:
                    with suppress(TypeError):
                        found |= {(name, key, k): v for k, v in vars(value).items() if callable(v) or _describes(v)}
    return found


def exchanged(before):
    """Whether one of them is another one now, or gone."""
    now = functions()
    return any(now.get(where) is not value for where, value in before.items())


def _describes(value):
    return isinstance(value, (property, staticmethod, classmethod))
