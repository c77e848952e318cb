"""Lessons as Jupyter notebooks. The lesson's file stays the only source: nobody edits a notebook.

The docstring and the comment at the top of each cell become Markdown, the rest of a cell becomes code. Cells tagged
"hide-input" are folded, and where they argue a tolerance, so is their text. A title or heading that is underlined
gets Markdown's other form, in which "1. Title" is no list; names of other lessons become links. The questions of a
lesson end with a link to the answers, and its exercises follow, whose text stands in `lessons/exercises`.
"""

import ast
import configparser
import html
import json
import os
import re
import textwrap
from contextlib import suppress
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

import lessons
from lessons import FOLDER, PACKAGE, Parser, lesson_name, lesson_number, runner, writable_folder, write_text
from lessons.exercises import FOLDER as EXERCISES
from lessons.exercises import files, learners_part

MARKER = re.compile(r"^# %%([^\n]*?)(?:tags=(\[[^\n]*\]))?[ ]*\n", re.MULTILINE)
FOLDED = "Tolerance"  # cells of this title, or whose text begins with it (or its plural), have it folded like the code
KERNEL = {"name": "python3", "display_name": "Python 3", "language": "python"}
INSTALL = """\
# Where the course is not installed yet, on Google Colab for instance, this installs it.
from importlib.util import find_spec

if not all(map(find_spec, ("lessons", "minigrad", "wn"))):
    %pip install -q "{requirement}\""""
ANSWERS = FOLDER.parent / "docs" / "answers.md"  # which an installed package lacks
ANSWERS_TO = re.compile(r"^#{2,3} \[(?P<heading>.*)\]\((?P<name>.*)\.ipynb\)$", re.MULTILINE)
QUESTIONS_PART = re.compile(r"^## Questions?\n.*?(?=\n*^## |\Z)", re.MULTILINE | re.DOTALL)
HOW = """\
These are programs that you write. The first command puts them into a folder, with gaps for you to fill in. The second
tries laws on your answers, and shows the smallest case that breaks one.

```sh
python -m lessons exercises DIR
python -m lessons check {which} --dir DIR
```"""
EXERCISE = """\
<details class="exercise">
<summary><b>{number}</b> {title}</summary>
<span id="exercise-{number}"></span>

{task}

*Where to look:* {where}.

</details>"""
ENGINE = """\
# An engine of your own

{about}

It grows in ten steps, in one file, and each is judged by the laws that lesson 01's engine obeys. You can begin after
[lesson 01](01_tensors_and_the_tape.ipynb); at the end of step 10, the network of
[lesson 03](03_weight_normalization.ipynb) trains on it, and its curve is drawn beside ours.

{exercises}"""


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
    _add_exercises(made, name)
    return _book(made)


def _book(made):
    """The notebook of these cells."""
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
    folded = re.sub(rf"^\*{FOLDED}s?\.\* ", "", text)
    if cell.title != FOLDED and (folded == text or "hide-input" not in cell.tags):
        return text
    return f"<details>\n<summary>{FOLDED}</summary>\n\n{folded}\n\n</details>"


def _linked(text, name):
    """`text` with a link at each chapter's ``05_adam.py``, each "lesson 05" and each number of "lessons 03 to 07".

    The lesson of this name itself gets none.
    """
    names = {f"{number:02d}": lesson_name(path) for number, path in lessons.lesson_files().items()}
    names |= {path.name: lesson_name(path) for path in lessons.further_files()}

    def link(shown, which):
        target = names.get(which)
        if target is None or target == name:
            return shown
        path = os.path.relpath(f"{target}.ipynb", os.path.dirname(name)).replace(os.sep, "/")
        return f"[{shown.strip('`')}]({path})"  # as code it would not look like a link in JupyterLab

    def links(match):
        if match["several"]:
            return re.sub(r"\b\d\d\b", lambda number: link(number[0], number[0]), match[0])
        return link(match[0], match["file"] or match["number"])

    file, number = r"``?(?:further/)?(?P<file>\d\d_\w+\.py)``?", r"\b[Ll]esson[ \n](?P<number>\d\d)\b"
    several = r"\b[Ll]essons(?P<several>(?:(?:,|,?[ \n](?:and|to|or))?[ \n]\d\d\b)+)"
    formula, heading = r"\$\$.*?\$\$|\$[^$]*\$|``[^`]+``|`[^`\n]+`", r"^#[^\n]*$"
    kept = re.compile(f"{file}|{number}|{several}|{formula}|{heading}", re.DOTALL | re.MULTILINE)
    return kept.sub(links, text)


def _quiet(code):
    """`code`, with a semicolon where a notebook would print the value of a last line that a script ignores."""
    last = ast.parse(code).body[-1]
    if not isinstance(last, ast.Expr) or re.match(r"print\(|lesson\.", ast.unparse(last)):
        return code
    lines = code.split("\n")
    line = lines[last.end_lineno - 1].encode()
    lines[last.end_lineno - 1] = (line[: last.end_col_offset] + b";" + line[last.end_col_offset :]).decode()
    return "\n".join(lines)


# ---- questions and exercises ----------------------------------------------------------------------------------------


def _add_exercises(made, name):
    """End the questions among a lesson's cells with their answers, and put its exercises after them, or last."""
    group = "" if "/" in name else exercises(lesson_number(name), name)
    added = [text for text in (_answers_link(name), group and f"## Exercises\n\n{group}") if text]
    for cell in made:
        if cell["cell_type"] == "markdown" and (part := QUESTIONS_PART.search(cell["source"])):
            cell["source"] = "\n\n".join([cell["source"][: part.end()], *added]) + cell["source"][part.end() :]
            return
    if group:
        made.append(_cell("markdown", "\n\n".join(added)))


def _answers_link(name):
    """A line that leads to the answers to the questions of a lesson or chapter; nothing if there are none."""
    headings = {found["name"]: found["heading"] for found in ANSWERS_TO.finditer(answers())}
    if name not in headings:
        return ""
    up = "../" * name.count("/")
    return f"When you have your own, compare with the [answers]({up}answers.ipynb#{headings[name].replace(' ', '-')})."


def answers():
    """The answers to the questions, in Markdown, with links to notebooks; nothing where they are not installed."""
    text = ANSWERS.read_text("utf-8") if ANSWERS.is_file() else ""
    return re.sub(r"\]\(\.\./lessons/(.*?)\.py\)", r"](\1.ipynb)", text)


def exercises(group, page):
    """The exercises of lesson 3, or those of the "engine", in Markdown; nothing if there are none.

    `page` is the name of the lesson on whose page they stand. The exercises are read, and not imported: their laws need
    hypothesis.
    """
    texts = [_exercise(path, page) for number, path in files().items() if number.startswith(f"{group}.")]
    return "\n\n".join([HOW.format(which=group), *texts]) if texts else ""


def _exercise(file, page):
    """One exercise, folded below its title."""
    docstring = ast.get_docstring(ast.parse(learners_part(file)))
    first, _, task = docstring.partition("\n")
    number, _, title = first.partition(" ")
    calls = [node for node in ast.walk(ast.parse(file.read_text("utf-8"))) if isinstance(node, ast.Call)]
    where = next(ast.literal_eval(call.args[1]) for call in calls if ast.unparse(call.func) == "Exercise")
    where = _linked(re.sub(r"(further/\w+)(\.py)?", r"``\1.py``", where), page)
    return EXERCISE.format(number=number, title=html.escape(title, quote=False), task=_as_markdown(task), where=where)


def _as_markdown(text):
    """Plain text, in which indentation sets code and formulas apart, as Markdown."""
    parts = re.split(r"((?:^ {4}.*\n+)+)", text + "\n", flags=re.MULTILINE)
    parts[::2] = [_escaped(prose.strip()) for prose in parts[::2]]
    parts[1::2] = [_fenced(textwrap.dedent(code).strip()) for code in parts[1::2]]
    return "\n\n".join(filter(None, parts))


def _escaped(prose):
    """Prose whose stars, underlines and so on are no markup, but for `code` and a word in *stars*."""
    parts = re.split(r"(`[^`]*`|(?<!\S)\*\w+\*(?!\w))", prose)
    parts[::2] = [re.sub(r"[\\*_$<\[\]]", r"\\\g<0>", part) for part in parts[::2]]
    return "".join(parts)


def _fenced(code):
    """A block of code, with colours if it is Python throughout."""
    with suppress(SyntaxError):
        ast.parse(code)
        return f"```python\n{code}\n```"
    return f"```text\n{code}\n```"


def engine():
    """The page of the engine's ten steps, in Markdown."""
    about = ast.get_docstring(ast.parse(learners_part(EXERCISES / "my_engine.py"))).partition("\n\n")[0]
    return ENGINE.format(about=_escaped(about), exercises=exercises("engine", "engine"))


def write_all(folder, requirement=None, replace=False):
    """Write the notebook of each lesson and further chapter, of the engine and of the answers into `folder`.

    A file that is there already is left alone, since somebody may have worked in it, unless `replace`. With a
    `requirement` a notebook is one for elsewhere, where the others are not beside it: its links lead to the repository.
    Returns two lists of paths: those written, and those left alone.
    """
    sources = [*lessons.lesson_files().values(), *lessons.further_files()]
    books = {lesson_name(file): notebook(file, requirement) for file in sources}
    books |= {"engine": _book([_cell("markdown", engine())])}
    if text := answers():
        books["answers"] = _book([_cell("markdown", part.strip()) for part in re.split(r"\n(?=## )", text)])
    written, kept = [], []
    for name, book in books.items():
        if requirement:
            _lead_to_the_repository(book, name)
        path = Path(folder) / f"{name}.ipynb"
        if path.exists() and not replace:
            kept.append(path)
            continue
        writable_folder(path.parent)
        write_text(path, json.dumps(book, indent=1, ensure_ascii=False) + "\n")
        written.append(path)
    return written, kept


def _lead_to_the_repository(book, name):
    """Let the links of this notebook to others lead to the files in the repository that those are made from."""

    def link(match):
        other = os.path.normpath(os.path.join(os.path.dirname(name), match["name"])).replace(os.sep, "/")
        special = {"answers": "docs/answers.md", "engine": "lessons/exercises/my_engine.py"}
        page = special.get(other, f"lessons/{other}.py")
        return f"]({repository()}/blob/HEAD/{page}{(match['anchor'] or '').lower()})"

    for cell in book["cells"]:
        if cell["cell_type"] == "markdown":
            cell["source"] = re.sub(r"\]\((?P<name>[\w./]+)\.ipynb(?P<anchor>#.*?)?\)", link, cell["source"])


def repository():
    """The address of the course's repository: `url` in setup.cfg."""
    settings = configparser.ConfigParser()
    if settings.read(FOLDER.parent / "setup.cfg", "utf-8"):
        return settings["metadata"]["url"]
    return metadata.metadata(PACKAGE)["Home-page"]


def course():
    """What pip installs the course from."""
    return f"{PACKAGE} @ git+{repository()}"


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
