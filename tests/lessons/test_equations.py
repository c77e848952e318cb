"""The index of the paper's equations: everything that it names is there, and the page is up to date."""

import ast
import re
import subprocess
import sys
from functools import cache

import pytest

from lessons import equations
from lessons.__main__ import main

ROOT = equations.ROOT
ENTRIES = [entry for entries in equations.INDEX.values() for entry in entries]
every_entry = pytest.mark.parametrize("entry", ENTRIES, ids=lambda entry: f"{entry.place} {entry.says[:40]}")


@cache
def names_of_tests(file):
    """The names of the test functions of one file."""
    tree = ast.parse((ROOT / "tests" / file).read_text("utf-8"))
    return {node.name for node in tree.body if isinstance(node, ast.FunctionDef) and node.name.startswith("test_")}


@cache
def anchors(which):
    """The texts of a lesson's claims (numbers that are filled in stand as {}), and its parts' titles behind "# "."""
    source = equations.lesson_file(which).read_text("utf-8")
    found = re.findall(r"^(# .+)\n# -{3,}$", source, re.MULTILINE)
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Call) and getattr(node.func, "attr", None) == "claim":
            text = node.args[0]
            pieces = text.values if isinstance(text, ast.JoinedStr) else [text]
            found.append("".join(p.value if isinstance(p, ast.Constant) else "{}" for p in pieces))
    return found


@every_entry
def test_every_function_can_be_imported(entry):
    for name in entry.functions.split():
        assert callable(equations.resolve(name)), name


@every_entry
def test_every_test_exists(entry):
    for test in entry.tests:
        file, name = test.split("::")
        assert name in names_of_tests(file), test


@every_entry
def test_every_lesson_makes_that_claim_or_has_that_part(entry):
    for which, anchor in entry.lessons:
        having = [text for text in anchors(which) if text.startswith(anchor)]
        assert having, f"lesson {which} has no claim or part that begins with {anchor!r}; it has {anchors(which)}"


@every_entry
def test_something_is_there_or_said_to_be_missing(entry):
    assert entry.says and (entry.lessons or entry.tests or entry.pending), entry


def test_the_eight_equations_are_there_in_order_each_with_a_function_a_test_and_a_lesson():
    numbered = [entry for entry in ENTRIES if re.fullmatch(r"\(\d\)", entry.place)]
    assert [entry.place for entry in numbered] == [f"({n})" for n in range(1, 9)]
    for entry in numbered:
        assert entry.functions and entry.tests and entry.lessons and not entry.pending, entry


def test_an_entry_may_name_a_further_chapter():
    assert equations.lesson_file("further/05_adam") == ROOT / "lessons" / "further" / "05_adam.py"
    assert equations.lesson_file(5).name.startswith("05_")


def test_every_section_of_the_paper_is_there():
    places = " ".join(entry.place for entry in ENTRIES)
    for section in ("§ 1", "§ 2", "§ 2.1", "§ 2.2", "§ 3", "§ 4", "§ 5.1", "§ 5.2", "§ 5.3", "§ 5.4"):
        assert re.search(rf"{section}\b(?!\.\d)", places), section


def test_the_page_is_up_to_date():
    page = (ROOT / "docs" / "equations.md").read_text("utf-8")
    assert page == equations.markdown(), "python -m lessons.equations > docs/equations.md"
    for link in re.findall(r"\]\(([^)]+)\)", page):
        assert (ROOT / "docs" / link).is_file(), link


def test_it_is_printed_for_100_columns(capsys):
    assert main(["--equations"]) == 0
    printed = capsys.readouterr().out
    assert max(map(len, printed.splitlines())) <= 100
    words = {word.rstrip(",") for word in printed.split()}
    for entry in ENTRIES:
        assert {*entry.functions.split(), *(test.split("::")[1] for test in entry.tests)} <= words, entry


def test_the_page_is_made_by_one_command():
    run = subprocess.run([sys.executable, "-m", "lessons.equations"], cwd=ROOT, capture_output=True, text=True)
    assert run.returncode == 0 and run.stdout == equations.markdown() and not run.stderr
