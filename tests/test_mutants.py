"""Do the tests find mistakes? Each record in tests/mutants is one, small and typical: a piece of this library's own
text, what a mistaken author would have written in its place, and the test that is expected to find out.

Each mistake is made in a copy of the project, and the test is run there. It must fail, and on the copy without any
mistake it must pass.
"""

import os
import subprocess
import sys
import tomllib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import pytest

HERE = Path(__file__).parent
ROOT = HERE.parent
PROCESSES = 2
FOREVER = 6  # seconds; without the mistake such a test takes a thousandth of that
KILL = "test_the_mistake_is_found"


class Mutant(NamedTuple):
    """One mistake: in `file`, `old` is replaced by `new`; the test `killed_by` ("file::name") must then fail."""

    name: str
    mistake: str  # its class
    file: str
    old: str
    new: str
    killed_by: str
    never_ends: bool = False
    plain: bool = False  # killed with MINIGRAD_PLAIN=1: the mistake is in a form that a faster one stands in for


MUTANTS = [
    Mutant(mistake=record.pop("class"), **record)
    for path in sorted((HERE / "mutants").glob("*.toml"))
    if path.name != "lessons.toml"  # whose mistakes are for claims to find: tests/lessons/test_claim_mutants.py
    for record in tomllib.loads(path.read_text("utf-8"))["mutant"]
]
every_mutant = pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.name)


def copied(origin, target, only=("*",)):
    """A copy of what the tests need of the project; links would let a mistake through to the original."""
    parts = [origin / part for part in ("minigrad", "wn", "tests", "benchmarks")]
    files = [origin / "setup.cfg"]
    files += [path for part in parts for pattern in only for path in part.rglob(pattern) if path.is_file()]
    for path in files:
        name = path.relative_to(origin)
        if not {"lessons", "mutants"} & set(name.parts):
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            (target / name).write_bytes(path.read_bytes())
    return target


def run(where, *tests, limit=300, plain=False):
    command = [sys.executable, HERE / "mutants" / "run.py", *tests]
    environment = os.environ | {"MINIGRAD_PLAIN": str(int(plain))}
    return subprocess.run(command, cwd=where, env=environment, capture_output=True, text=True, timeout=limit)


@pytest.fixture(scope="module")
def runs(request, tmp_path_factory):
    """The run of each mutant that was asked for, by name; those of the project as it is, by whether it is plain."""
    folder = tmp_path_factory.mktemp("mutants")
    original = copied(ROOT, folder / "original", only=("*.py", "names.txt"))
    asked = [item.callspec.params["mutant"] for item in request.session.items if item.originalname == KILL]

    def run_one(number, mutant):
        where = copied(original, folder / str(number))
        path = where / mutant.file
        path.write_text(path.read_text("utf-8").replace(mutant.old, mutant.new), "utf-8")
        try:
            return run(where, mutant.killed_by, limit=FOREVER if mutant.never_ends else 300, plain=mutant.plain)
        except subprocess.TimeoutExpired as expired:
            return expired

    with ThreadPoolExecutor(PROCESSES) as pool:
        started = {mutant.name: pool.submit(run_one, number, mutant) for number, mutant in enumerate(asked)}
        for plain in (False, True):
            killers = {mutant.killed_by for mutant in asked or MUTANTS if mutant.plain == plain}
            started[plain] = pool.submit(run, original, *sorted(killers), plain=plain) if killers else None
        yield started


@every_mutant
def test_the_text_to_replace_is_there_once(mutant):
    assert (ROOT / mutant.file).read_text("utf-8").count(mutant.old) == 1, f"update {mutant.name!r} in tests/mutants"
    assert mutant.old != mutant.new


@every_mutant
def test_the_mistake_is_found(mutant, runs):
    done = runs[mutant.name].result()
    if mutant.never_ends:
        assert isinstance(done, subprocess.TimeoutExpired)
        return
    report = f"{mutant.killed_by} does not find: {mutant.name}\n{done.stdout[-2000:]}{done.stderr[-2000:]}"
    assert done.returncode == 1, report
    assert f"FAILED {mutant.killed_by}" in done.stdout, report
    assert "ERROR tests" not in done.stdout, report  # neither at collection nor in a fixture


@pytest.mark.parametrize("plain", [False, True])
def test_without_a_mistake_the_same_tests_pass(runs, plain):
    if runs[plain] is None:
        pytest.skip("none of the mutants asked for is killed this way")
    done = runs[plain].result()
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-2000:]


def test_names_are_unique():
    assert len({mutant.name for mutant in MUTANTS}) == len(MUTANTS)
