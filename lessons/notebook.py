"""Lessons as Jupyter notebooks. The lesson's file stays the only source: nobody edits a notebook.

The docstring and the comment at the top of each cell become Markdown, the rest of a cell becomes code. Cells tagged
"hide-input" are folded, and where they argue a tolerance, so is their text. A title or heading that is underlined
gets Markdown's other form, in which "1. Title" is no list; names of other lessons become links.
"""

import ast
import configparser
import json
import os
import re
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

import lessons
from lessons import FOLDER, PACKAGE, Parser, lesson_name, runner, writable_folder, write_text

MARKER = re.compile(r"^# %%([^\n]*?)(?:tags=(\[[^\n]*\]))?[ ]*\n", re.MULTILINE)
FOLDED = "Tolerance"  # the cells of this title, or whose text begins with it, have their text folded like the code
KERNEL = {"name": "python3", "display_name": "Python 3", "language": "python"}
INSTALL = """\
# Where the course is not installed yet, on Google Colab for instance, this installs it.
from importlib.util import find_spec

if not all(map(find_spec, ("lessons", "minigrad", "wn"))):
    %pip install -q "{requirement}\""""


@dataclass(frozen=True)
class Cell:
    """One cell of a lesson: the title and tags of its marker, its text in Markdown, its code."""

    title: str
    tags: tuple
    prose: str
    code: str


def cells(source):
    """The cells of a lesson's source; the first is the docstring, and any code before the first marker."""
    docstring = ast.parse(source).body[0]
    before, *rest = MARKER.split("\n".join(source.splitlines()[docstring.end_lineno :]) + "\n")
    found = [Cell("", (), docstring.value.value.strip(), before.strip())]
    for title, tags, text in zip(rest[::3], rest[1::3], rest[2::3], strict=True):
        comment = re.match(r"(?:#.*\n)*", text).group()
        prose = re.sub(r"^# ?", "", comment, flags=re.MULTILINE).strip()
        found.append(Cell(title.strip(), tuple(json.loads(tags or "[]")), prose, text[len(comment) :].strip()))
    return found


def notebook(file, requirement=None):
    """The notebook of the lesson in `file`, as the dictionary that its JSON stands for.

    Parameters
    ----------
    requirement : str, optional
        What pip installs, in a cell after the first, where the course is not there: "minigrad @ git+https://…".
    """
    name, made = lesson_name(file), []
    for cell in cells(Path(file).read_text(encoding="utf-8")):
        if cell.prose:
            made.append(_cell("markdown", _markdown(cell, name)))
        if requirement and len(made) == 1:
            made.append(_cell("code", INSTALL.format(requirement=requirement)))
        if cell.code:
            code = _quiet(cell.code.replace("Lesson(__file__", f'Lesson("{name}"'))
            folded = {"jupyter": {"source_hidden": True}} if "hide-input" in cell.tags else {}
            made.append(_cell("code", code, {"tags": list(cell.tags), **folded} if cell.tags else {}))
    for number, cell in enumerate(made):
        cell["id"] = f"cell-{number}"
    metadata = {"kernelspec": KERNEL, "language_info": {"name": "python"}}
    return {"cells": made, "metadata": metadata, "nbformat": 4, "nbformat_minor": 5}


def _cell(kind, source, metadata=None):
    own = {"execution_count": None, "outputs": []} if kind == "code" else {}
    return {"cell_type": kind, "id": "", "metadata": metadata or {}, "source": source} | own


def _markdown(cell, name):
    """The text of a cell of the lesson of this name."""
    text = re.sub(r"^(\S.*)\n=+$", r"# \1", cell.prose, flags=re.MULTILINE)
    text = _linked(re.sub(r"^(\S.*)\n-{3,}$", r"## \1", text, flags=re.MULTILINE), name)
    folded = text.removeprefix(f"*{FOLDED}.* ")
    if cell.title != FOLDED and (folded == text or "hide-input" not in cell.tags):
        return text
    return f"<details>\n<summary>{FOLDED}</summary>\n\n{folded}\n\n</details>"


def _linked(text, name):
    """`text` with a link at each ``further/05_adam.py`` and each "lesson 05" but the lesson of this name itself."""
    names = {number: lesson_name(path) for number, path in lessons.lesson_files().items()}
    names |= {f"{chapter}.py": chapter for chapter in map(lesson_name, lessons.further_files())}

    def link(match):
        target = names.get(match["file"] or int(match["number"] or 0))
        if target is None or target == name:
            return match[0]
        path = os.path.relpath(f"{target}.ipynb", os.path.dirname(name)).replace(os.sep, "/")
        return f"[{match[0]}]({path})"

    file, number = r"``?(?P<file>further/\w+\.py)``?", r"\b[Ll]esson[ \n](?P<number>\d\d)\b"
    formula, heading = r"\$\$.*?\$\$|\$[^$]*\$|`[^`\n]+`", r"^#[^\n]*$"
    kept = re.compile(f"{file}|{number}|{formula}|{heading}", re.DOTALL | re.MULTILINE)
    return kept.sub(lambda match: link(match) if match["file"] or match["number"] else match[0], text)


def _quiet(code):
    """`code`, with a semicolon where a notebook would print the value of a last line that a script ignores."""
    last = ast.parse(code).body[-1]
    if not isinstance(last, ast.Expr) or re.match(r"print\(|lesson\.", ast.unparse(last)):
        return code
    lines = code.split("\n")
    line = lines[last.end_lineno - 1].encode()
    lines[last.end_lineno - 1] = (line[: last.end_col_offset] + b";" + line[last.end_col_offset :]).decode()
    return "\n".join(lines)


def write_all(folder, requirement=None, replace=False):
    """Write the notebook of each lesson and further chapter into `folder`.

    A file that is there already is left alone, since somebody may have worked in it, unless `replace`. Returns two
    lists of paths: those written, and those left alone.
    """
    written, kept = [], []
    for file in [*lessons.lesson_files().values(), *lessons.further_files()]:
        path = Path(folder) / f"{lesson_name(file)}.ipynb"
        if path.exists() and not replace:
            kept.append(path)
            continue
        writable_folder(path.parent)
        write_text(path, json.dumps(notebook(file, requirement), indent=1, ensure_ascii=False) + "\n")
        written.append(path)
    return written, kept


def course():
    """What pip installs the course from: its repository, whose address is `url` in setup.cfg."""
    settings = configparser.ConfigParser()
    if settings.read(FOLDER.parent / "setup.cfg", "utf-8"):
        address = settings["metadata"]["url"]
    else:
        address = metadata.metadata(PACKAGE)["Home-page"]
    return f"{PACKAGE} @ git+{address}"


def main(arguments):
    """`python -m lessons notebooks DIR`; the exit code."""
    parser = Parser(prog=f"{runner()} notebooks", description="Write every lesson as a Jupyter notebook.")
    parser.add_argument("folder", metavar="DIR", type=Path)
    install = "add a cell that installs the course where it is missing, as on Google Colab: from its repository"
    parser.add_argument("--install", metavar="REQUIREMENT", nargs="?", const="", help=f"{install}, or from here")
    parser.add_argument("--fresh", action="store_true", help="replace notebooks that are there already")
    flags = parser.parse_args(arguments)
    requirement = course() if flags.install == "" else flags.install
    written, kept = write_all(flags.folder, requirement, flags.fresh)
    print(f"{len(written)} notebooks written to {flags.folder}/")
    if kept:
        print(f"{len(kept)} were there already and are as they were; --fresh replaces them")
    return 0
