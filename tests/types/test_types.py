"""Type checkers and editors see what `op(...)` makes: the stubs are current, and typical calls pass both checkers."""

import ast
import importlib.util
import json
import os
import shutil
import subprocess
import sys

import pytest

import minigrad as mg
import wn
from tests.types import stubs

CALLS = stubs.ROOT / "tests" / "types" / "typical_calls.py"


def checked(module, *arguments, **environment):
    """What a type checker prints; the test is skipped if it is not installed."""
    if importlib.util.find_spec(module) is None:
        pytest.skip(f"{module} is not installed: pip install -e '.[types]'")
    command = [sys.executable, "-m", module, *map(str, arguments)]
    run = subprocess.run(command, env=os.environ | environment, capture_output=True, text=True, timeout=300)
    return run.returncode, run.stdout + run.stderr


@pytest.mark.parametrize("file", stubs.STUBS)
def test_the_stubs_are_current(file):
    assert (stubs.ROOT / file).read_text("utf-8") == stubs.STUBS[file](), "python -m tests.types.stubs"


def test_a_parameter_without_a_type_is_named():
    with pytest.raises(KeyError, match="give f's parameter 'unheard_of' a type"):
        stubs.type_of("f", "unheard_of")


def test_every_public_name_is_in_the_stub():
    body = ast.parse((stubs.ROOT / "minigrad" / "__init__.pyi").read_text("utf-8")).body
    imported = [alias.asname for node in body if isinstance(node, ast.ImportFrom) for alias in node.names]
    assert set(mg.__all__) <= {*imported, *(node.name for node in body if isinstance(node, ast.FunctionDef))}
    shown = {name for name in vars(mg) if not name.startswith("_")} - {"backend", "blas", "fast", "hints", "ops"}
    modules = {name for name in shown if type(getattr(mg, name)) is type(mg)}
    assert shown - modules <= set(mg.__all__), "what is imported into minigrad is offered by it"
    text = (stubs.ROOT / "wn" / "__init__.pyi").read_text("utf-8")
    assert not [name for name in wn.__all__ if f"def {name}(" not in text and f" as {name}\n" not in text]


@pytest.mark.parametrize("package", [mg, wn])
def test_the_packages_say_that_they_have_types(package):
    assert (stubs.ROOT / package.__name__ / "py.typed").exists()


def test_the_typical_calls_run():
    run = subprocess.run(
        [sys.executable, CALLS], env=os.environ | {"PYTHONPATH": str(stubs.ROOT)}, capture_output=True, text=True
    )
    assert run.returncode == 0, run.stderr


def test_mypy_agrees(tmp_path):
    """With the calls and the stubs; of the library behind them mypy takes the types, and checks nothing."""
    files = [CALLS, *(stubs.ROOT / file for file in stubs.STUBS)]
    options = ["--follow-imports=silent", "--warn-unused-ignores", "--cache-dir", tmp_path]
    code, said = checked("mypy", *options, *files, MYPYPATH=str(stubs.ROOT))
    assert code == 0, said


def test_pyright_agrees(tmp_path):
    shutil.copy(CALLS, tmp_path)
    settings = {
        "include": [CALLS.name],
        "extraPaths": [str(stubs.ROOT)],
        "enableTypeIgnoreComments": False,  # those are mypy's
        "reportUnnecessaryTypeIgnoreComment": True,
    }
    (tmp_path / "pyrightconfig.json").write_text(json.dumps(settings))
    code, said = checked("pyright", "--project", tmp_path, "--pythonpath", sys.executable)
    assert code == 0, said
