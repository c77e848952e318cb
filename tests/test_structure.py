"""How the project is put together: imports run one way, and names mean one thing."""

import ast
import importlib
import os
import pkgutil
import re
import subprocess
import sys
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
MODULES = {
    ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): path
    for package in ("minigrad", "wn")
    for path in (ROOT / package).rglob("*.py")
}
LAYERS = ["minigrad", "wn", "lessons"]  # each may import those before it


def imported(module):
    """The project's modules that a module imports, anywhere in its text, also within functions."""
    found = set()
    for node in ast.walk(ast.parse(MODULES[module].read_text("utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, f"{module}: write imports with the package's name"
            found |= {name if (name := f"{node.module}.{a.name}") in MODULES else node.module for a in node.names}
    return {name for name in found if name.partition(".")[0] in LAYERS}


IMPORTS = {module: imported(module) for module in MODULES}


def is_fast(module):
    return f"{module}.".startswith("minigrad.fast.") or module == "wn.fast"


def test_nothing_imports_fast_but_the_line_that_switches_it_on():
    importers = {m for m, names in IMPORTS.items() if not is_fast(m) and any(map(is_fast, names))}
    assert importers == {"minigrad", "wn"}
    for module in importers:
        guarded = [
            node
            for node in ast.parse(MODULES[module].read_text("utf-8")).body
            if isinstance(node, ast.If) and ast.unparse(node.test).endswith("config.plain")
        ]
        inside = [line for node in guarded for line in node.body]
        assert [ast.unparse(line) for line in inside] == [f"from {module} import fast"]


def test_no_module_imports_itself_by_way_of_others():
    """A package's __init__ does import its modules, and they other modules of it; that is how Python packages are."""
    edges = {m: {n for n in names if n != m and not MODULES[n].name == "__init__.py"} for m, names in IMPORTS.items()}
    TopologicalSorter(edges).prepare()  # CycleError names the circle


@pytest.mark.parametrize("package", LAYERS[:2])
def test_imports_point_one_way(package):
    later = LAYERS[LAYERS.index(package) + 1 :]
    for module, names in IMPORTS.items():
        if module.partition(".")[0] == package:
            assert not [name for name in names if name.partition(".")[0] in later], module


CORE = "backend blas checkpointing cuda_graphs graph guard hints op settings tensors transforms ops".split()


def test_the_core_knows_nothing_of_layers_optimizers_and_data():
    for module, names in IMPORTS.items():
        if module.partition(".")[2].partition(".")[0] in CORE:
            assert not [n for n in names if n.split(".")[1:2] and n.split(".")[1] not in CORE], module


@pytest.mark.parametrize("name", sorted(m for m, path in MODULES.items() if path.name == "__init__.py"))
def test_no_public_object_hides_a_module_of_its_name(name):
    package = importlib.import_module(name)
    for info in pkgutil.iter_modules(package.__path__, f"{name}."):
        module = importlib.import_module(info.name)
        assert getattr(package, info.name.rpartition(".")[2]) is module, info.name


def test_environment_variables_are_read_in_one_place():
    readers = [m for m, path in MODULES.items() if re.search(r"os\.(environ|getenv)", path.read_text("utf-8"))]
    assert readers == ["minigrad.settings"]


PATH_OF_READING = [
    "tensors",
    "op",
    "graph",
    "guard",
    "ops",
    "ops.elementwise",
    "ops.linear_algebra",
    "ops.reduction",
    "ops.shape",
]


def test_the_path_of_reading_is_an_evening():
    lines = {m: len(MODULES[f"minigrad.{m}"].read_text("utf-8").splitlines()) for m in PATH_OF_READING}
    assert sum(lines.values()) <= 1600, lines


PROBE = """
import ctypes, os, random, signal, sys, threading, warnings
import numpy, threadpoolctl

def state():
    signals = {s: signal.getsignal(s) for s in signal.valid_signals()}
    blas = [library["num_threads"] for library in threadpoolctl.threadpool_info()]
    return (dict(os.environ), os.getcwd(), sys.path[:], warnings.filters[:], numpy.geterr(), numpy.get_printoptions(),
            numpy.random.get_state()[1].tolist(), random.getstate(), signals, threading.active_count(), blas,
            sys.getrecursionlimit(), sys.stdout, sys.excepthook)

before, (library, at_fork), asked = state(), (ctypes.CDLL, os.register_at_fork), []
ctypes.CDLL = os.register_at_fork = lambda *args, **kwargs: asked.append((args, sys._getframe(1).f_globals["__name__"]))
import minigrad, wn
ctypes.CDLL, os.register_at_fork = library, at_fork
assert state() == before
ours = [entry for entry in asked if entry[1].partition(".")[0] in ("minigrad", "wn")]
assert not ours, ours
unasked = {"matplotlib", "hypothesis", "cupy", "mpi4py", "torch", "tqdm"} & set(sys.modules)
assert not unasked, unasked
"""


@pytest.mark.parametrize("plain", ["0", "1"])
def test_importing_changes_nothing_in_the_process(plain):
    environment = os.environ | {"MINIGRAD_PLAIN": plain, "PYTHONPATH": str(ROOT)}
    run = subprocess.run([sys.executable, "-c", PROBE], env=environment, capture_output=True, text=True, timeout=60)
    assert run.returncode == 0, run.stderr


def test_plain_leaves_fast_out():
    code = "import sys, minigrad, wn; print([m for m in sys.modules if 'fast' in m.split('.')])"
    environment = os.environ | {"MINIGRAD_PLAIN": "1", "PYTHONPATH": str(ROOT)}
    run = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, timeout=60)
    assert run.stdout.strip() == "[]", run.stdout + run.stderr


def test_tests_beside_other_libraries_are_marked():
    """Only the mark `peers` makes a missing library an error where all of them should be there."""
    for path in (ROOT / "tests").rglob("test_*.py"):
        unmarked = re.findall(r"importorskip\(.(?:autograd|dezero|mygrad|torch)\b", path.read_text("utf-8"))
        assert not unmarked, f"{path}: use @pytest.mark.peers"
