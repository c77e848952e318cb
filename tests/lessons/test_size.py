"""A lesson of part one carries one argument: so many words, lines of code and claims, in cells that fit a screen."""

import ast
import json
import re
from typing import NamedTuple

import pytest

import lessons
from tests.lessons.courses import ROOT

MOST_WORDS, MOST_CODE, MOST_CLAIMS, LONGEST_CELL = 3_300, 450, 20, 30
FILES = {lessons.lesson_name(file): file for file in lessons.lesson_files().values()}
MARKER = re.compile(r"^# %%(.*)$", re.MULTILINE)


class Size(NamedTuple):
    """How much there is of a lesson; `longest_cell` in lines of code, of the cells that a reader is not to fold."""

    words: int
    code: int
    claims: int
    longest_cell: int

    def excess(self):
        """What is too much, in words."""
        most = (MOST_WORDS, MOST_CODE, MOST_CLAIMS, LONGEST_CELL)
        names = ("words", "lines of code", "claims", "lines of code in a cell that is not folded")
        return [f"{n} {what} (at most {m})" for n, m, what in zip(self, most, names, strict=True) if n > m]


def cells(source):
    """(what the marker says, the text) of each cell; what is before the first marker belongs to none."""
    pieces = MARKER.split(source)[1:]
    return list(zip(pieces[::2], pieces[1::2], strict=True))


def is_folded(marker):
    return '"hide-input"' in marker


def words(text):
    """How many words there are in the docstring and in the lines of comments; signs between them do not count."""
    prose = [ast.get_docstring(ast.parse(text)) or ""]
    prose += [line.strip("# ") for line in text.splitlines() if is_comment(line)]
    return sum(any(map(str.isalnum, word)) for line in prose for word in line.split())


def is_comment(line):
    return line.lstrip().startswith("#") and not MARKER.match(line)


def code_lines(cell):
    return sum(bool(line.strip()) and not line.lstrip().startswith("#") for line in cell.splitlines())


def static_claims(source):
    """How many claims a lesson reports, as far as its text tells: in a loop over a display, one for each element."""

    def count(node, times):
        if isinstance(node, ast.For) and isinstance(node.iter, (ast.Tuple, ast.List, ast.Set)):
            times *= len(node.iter.elts)
        is_claim = isinstance(node, ast.Call) and ast.unparse(node.func) == "lesson.claim"
        return times * is_claim + sum(count(child, times) for child in ast.iter_child_nodes(node))

    return count(ast.parse(source), 1)


def reported_claims(file):
    """How many claims the last run reported, if it is newer than the lesson's text; else 0."""
    metrics = ROOT / "results" / lessons.lesson_name(file) / "metrics.json"
    if metrics.exists() and metrics.stat().st_mtime > file.stat().st_mtime:
        return len(json.loads(metrics.read_text("utf-8"))["claims"])
    return 0


def size(file):
    source = file.read_text("utf-8")
    cell = max([code_lines(text) for marker, text in cells(source) if not is_folded(marker)], default=0)
    code = sum(code_lines(text) for _, text in cells(source))
    return Size(words(source), code, max(static_claims(source), reported_claims(file)), cell)


@pytest.mark.parametrize("name", sorted(FILES))
def test_a_lesson_carries_one_argument(name):
    found = size(FILES[name])
    assert not found.excess(), f"{name} has " + ", ".join(found.excess())


@pytest.mark.parametrize("name", sorted(FILES))
def test_no_lesson_of_part_one_needs_a_further_chapter(name):
    source = FILES[name].read_text("utf-8")
    first = re.search(r"^Read first:.*?(?=\n\n)", lessons.docstring(FILES[name]), re.MULTILINE | re.DOTALL)
    assert not first or "further" not in first[0], first[0]
    modules = [node.module or "" for node in ast.walk(ast.parse(source)) if isinstance(node, ast.ImportFrom)]
    assert not [module for module in modules if module.startswith("lessons.further")]


# ---- what docs/teaching.md says of them -----------------------------------------------------------------------------

ROW = re.compile(r"^\| \[[^]]*\]\(\.\./lessons/(.*)\.py\) \| (.*?) \| (.*?) \| (.*?) \| (.*?) \|", re.MULTILINE)


def test_teachers_are_told_how_long_lessons_are():
    """Words and lines of code to one part in ten, minutes to five, the time to run as the lesson states it."""
    rows = {row[0]: row[1:] for row in ROW.findall((ROOT / "docs" / "teaching.md").read_text("utf-8"))}
    files = FILES | {lessons.lesson_name(file): file for file in lessons.further_files()}
    assert sorted(rows) == sorted(files)
    for name, file in files.items():
        run, words_said, code_said, read = rows[name]
        found = size(file)
        assert f"\nTime: quick about {run}, full" in lessons.docstring(file), name
        assert int(words_said.replace(",", "")) == pytest.approx(found.words, rel=0.1), name
        assert int(code_said) == pytest.approx(found.code, rel=0.1), name
        hours, _, minutes = read.rpartition(" h")
        read = 60 * int(hours or 0) + int(minutes.removesuffix(" min") or 0)
        assert read == pytest.approx(found.words / 120 + found.code / 10, abs=5), name


# ---- the counting itself -------------------------------------------------------------------------------------------


SMALL = '''"""Two words

And three more.
"""

# %%
# Six words are in this line.

x = 1
if x:
    # one
    lesson.claim("a", 1, below=2)

# %% Drawing tags=["hide-input"]
for name in ("a", "b", "c"):
    lesson.claim(name, 1, below=2)
plot(x)
'''


def test_what_is_counted():
    assert words(SMALL) == 2 + 3 + 6 + 1
    assert [(marker, code_lines(text)) for marker, text in cells(SMALL)] == [
        ("", 3),
        (' Drawing tags=["hide-input"]', 3),
    ]
    assert [is_folded(marker) for marker, _ in cells(SMALL)] == [False, True]
    assert static_claims(SMALL) == 1 + 3


# ---- figures -------------------------------------------------------------------------------------------------------


def without_alt(file):
    """The figures that a lesson saves without alternative text."""
    calls = [node for node in ast.walk(ast.parse(file.read_text("utf-8"))) if isinstance(node, ast.Call)]
    figures = [call for call in calls if ast.unparse(call.func) == "lesson.figure"]
    return [ast.unparse(call.args[1]) for call in figures if "alt" not in [keyword.arg for keyword in call.keywords]]


@pytest.mark.parametrize("file", [*FILES.values(), *lessons.further_files()], ids=lessons.lesson_name)
def test_every_figure_can_be_read_aloud(file):
    assert not without_alt(file), 'lesson.figure(..., alt="one to three sentences: what is drawn, what it shows")'
