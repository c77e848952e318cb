"""Lessons as notebooks: nothing is lost on the way, and they run in a kernel with all that they show."""

import ast
import importlib.util
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

import lessons
from lessons import exercises, notebook
from lessons.__main__ import main
from tests.lessons.courses import ROOT

FILES = [*lessons.lesson_files().values(), *lessons.further_files()]
NAMES = {f"{lessons.lesson_name(file)}.ipynb" for file in FILES} | {"engine.ipynb", "answers.ipynb"}
every_lesson = pytest.mark.parametrize("file", FILES, ids=lessons.lesson_name)


def sources(book, kind):
    return [cell["source"] for cell in book["cells"] if cell["cell_type"] == kind]


@every_lesson
def test_the_code_of_a_notebook_is_that_of_the_lesson(file):
    code = "\n".join(sources(notebook.notebook(file), "code"))
    code = code.replace(f'Lesson("{lessons.lesson_name(file)}"', "Lesson(__file__")
    script = ast.parse(Path(file).read_text("utf-8"))
    assert ast.dump(ast.parse(code)) == ast.dump(ast.Module(script.body[1:], []))


@every_lesson
def test_the_words_of_a_notebook_are_those_of_the_lesson(file):
    book = notebook.notebook(file)
    shown = "\n".join(sources(book, "markdown") + sources(book, "code"))
    source = Path(file).read_text("utf-8")
    comments = [line[2:] for line in source.splitlines() if line.startswith("# ") and not line.startswith("# %%")]
    for line in [*lessons.docstring(file).splitlines(), *comments]:
        words = re.sub(r"\W+", " ", re.sub(r"^\*Tolerances?\.\* ", "", line)).split()
        missing = [word for word in words if word not in shown]
        assert not missing, line
    for text in sources(book, "markdown"):
        assert not re.search(r"^\S.*\n[-=]{3,}$", text, re.MULTILINE), text  # a heading in the form of the script
    assert sources(book, "markdown")[0].startswith(f"# {lessons.title(file)}")
    assert not [text for text in sources(book, "markdown") if text.startswith("*Tolerance")]  # but folded


@every_lesson
def test_no_line_of_a_formula_begins_as_that_of_a_list_does(file):
    """Markdown would end the formula there."""
    text = "\n\n".join(sources(notebook.notebook(file), "markdown"))
    text = re.sub(r"```.*?```|`[^`]*`", "", text, flags=re.DOTALL)
    formulas = re.findall(r"\$[^$]+\$", re.sub(r"\$\$.*?\$\$", "", text, flags=re.DOTALL))
    assert not [formula for formula in formulas if re.search(r"^ *([-+*>]|\d+[.)]) ", formula, re.MULTILINE)]


@every_lesson
def test_no_line_within_a_sentence_begins_as_that_of_a_list_does(file):
    """Markdown would end the sentence there: of numbers, at 1 only."""
    text = "\n\n".join(sources(notebook.notebook(file), "markdown"))
    text = re.sub(r"```.*?```|<!--.*?-->", "", text, flags=re.DOTALL)
    item = r"(\d+[.)]|[-+*]) "
    for paragraph in re.split(r"\n\s*\n", text):
        if not re.match(item, paragraph):
            assert not re.search(r"\n(1[.)]|[-+*]) ", paragraph), paragraph


@every_lesson
def test_links_lead_to_other_notebooks(file):
    for text in sources(notebook.notebook(file), "markdown"):
        lead_to_notebooks(text, Path(lessons.lesson_name(file)).parent)


def lead_to_notebooks(text, here=Path()):
    """Each link to a notebook in the text of a notebook that is in this folder leads to one that is written."""
    for target in re.findall(r"\]\(([^)#]+\.ipynb)(?:#[^)]+)?\)", text):
        parts = (here / target).parts
        plain = Path(*parts[2:]) if parts[1:2] == ("..",) else Path(*parts)
        assert plain.as_posix() in NAMES, target


# ---- questions and exercises ----------------------------------------------------------------------------------------


def part_of(book, heading):
    """The text below a heading of a notebook, "Questions" or "Exercises", to the next heading of that size."""
    text = "\n\n".join(sources(book, "markdown"))
    (part,) = re.findall(rf"^## (?:{heading}|{heading[:-1]})$.*?(?=^## |\Z)", text, re.MULTILINE | re.DOTALL)
    return part


def titles(group):
    """The titles of the exercises "3.1", "3.2", … of a lesson, or of the "engine", with their numbers."""
    chosen = {number: path for number, path in exercises.files().items() if number.partition(".")[0] == group}
    docstrings = [ast.get_docstring(ast.parse(exercises.learners_part(path))) for path in chosen.values()]
    return [docstring.partition("\n")[0].split(" ", 1) for docstring in docstrings]


@pytest.mark.parametrize("file", lessons.lesson_files().values(), ids=lessons.lesson_name)
def test_a_lesson_ends_with_its_exercises(file):
    text = part_of(notebook.notebook(file), "Exercises")
    shown = re.findall(r"^<summary><b>(.*)</b> (.*)</summary>$", text, re.MULTILINE)
    assert [list(one) for one in shown] == titles(str(lessons.lesson_number(file)))


def test_the_page_of_the_engine_holds_its_ten_steps():
    text = notebook.engine()
    assert re.findall(r"<summary><b>(.*)</b>", text) == [f"engine.{step}" for step in range(1, 11)]
    assert all(title in text for _, title in titles("engine"))
    lead_to_notebooks(text)


@pytest.mark.parametrize("path", exercises.files().values(), ids=lambda path: path.stem)
def test_a_task_loses_nothing_in_markdown(path):
    docstring = ast.get_docstring(ast.parse(exercises.learners_part(path))).partition("\n")[2]
    text = notebook._as_markdown(docstring)
    fences = re.findall(r"^```(?:python|text)\n(.*?)\n```$", text, re.MULTILINE | re.DOTALL)
    indented = [line[4:] for line in docstring.split("\n") if line.startswith("    ")]
    assert [line for fence in fences for line in fence.split("\n") if line] == indented
    plain = re.sub(r"\\(?=[\\*_$<\[\]])|^```\w*$", "", text, flags=re.MULTILINE)
    assert plain.split() == docstring.split()


def test_stars_and_underlines_in_a_task_are_no_markup():
    assert notebook._as_markdown("Of w* and ∇_w, `a_b * c`:\n\n    w_*\n      1 +\n\nNow *one* g_*.") == (
        "Of w\\* and ∇\\_w, `a_b * c`:\n\n```text\nw_*\n  1 +\n```\n\nNow *one* g\\_\\*."
    )


def test_notebooks_are_written_without_hypothesis(tmp_path):
    """It is not installed with the course, and laws import it."""
    code = "import sys; from lessons import notebook; notebook.engine(); assert 'hypothesis' not in sys.modules"
    run = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert run.returncode == 0, run.stderr


ANSWERS = (ROOT / "docs" / "answers.md").read_text("utf-8")


@every_lesson
def test_each_question_has_an_answer_that_its_list_links_to(file):
    name, text = lessons.lesson_name(file), part_of(notebook.notebook(file), "Questions")
    heading, answers = re.search(
        rf"^##+ \[([^]]*)\]\(\.\./lessons/{name}\.py\)$(.*?)(?=^#|\Z)", ANSWERS, re.MULTILINE | re.DOTALL
    ).groups()
    questions = re.findall(r"^\d+\. ", text, re.MULTILINE)
    assert questions and re.findall(r"^\d+\. ", answers, re.MULTILINE) == questions
    assert "_" not in heading  # words, not the name of the file
    assert f"{'../' * name.count('/')}answers.ipynb#{heading.replace(' ', '-')})" in text


def test_the_answers_lead_to_lessons_and_exercises_that_there_are():
    for target in re.findall(r"\]\((?!https?:)([^)]*)\)", ANSWERS):
        assert (ROOT / "docs" / target).is_file(), target
    named = re.findall(r"\bexercise ((?:\d+|engine)\.\d+)", ANSWERS, re.IGNORECASE)
    assert named and set(named) <= exercises.files().keys()
    lead_to_notebooks(notebook.answers())


def test_a_package_without_answers_has_no_link_to_them(monkeypatch, tmp_path):
    monkeypatch.setattr(notebook, "ANSWERS", tmp_path / "answers.md")
    assert "answers.ipynb" not in json.dumps(notebook.notebook(FILES[0]))
    written, _ = notebook.write_all(tmp_path)
    assert {path.relative_to(tmp_path).as_posix() for path in written} == NAMES - {"answers.ipynb"}


SMALL = '''"""A title
=======

See lesson 01 and ``further/01_order.py``, not lesson 77. Or ``mg``, ``01_memory.py``. $x = \\\\text{lesson 01}$.
"""

# %%
# 1. A heading
# ------------
#
# Of [lists]:
#
# - one
import os

lesson = Lesson(__file__)
os.getpid()  # a comment; with a semicolon

# %% Tolerance tags=["hide-input"]
# *Tolerance.* None.

lesson.claim("é", 1, near=1, within=0)

# %%

# A comment of the code
x = """
# not a cell's
"""
'''


def test_a_small_lesson_as_a_notebook(tmp_path):
    (tmp_path / "77_small.py").write_text(SMALL, encoding="utf-8")
    book = notebook.notebook(tmp_path / "77_small.py", requirement="minigrad")
    title, heading, tolerance = sources(book, "markdown")
    order, first = "[further/01_order.py](further/01_order.ipynb)", "[lesson 01](01_tensors_and_the_tape.ipynb)"
    memory = "Or ``mg``, [01_memory.py](further/01_memory.ipynb)."
    assert title == f"# A title\n\nSee {first} and {order}, not lesson 77. {memory} $x = \\text{{lesson 01}}$."
    assert heading == "## 1. A heading\n\nOf [lists]:\n\n- one"
    assert tolerance == "<details>\n<summary>Tolerance</summary>\n\nNone.\n\n</details>"
    install, begin, claim, end = sources(book, "code")
    assert '%pip install -q "minigrad"' in install
    assert begin == 'import os\n\nlesson = Lesson("77_small")\nos.getpid();  # a comment; with a semicolon'
    assert claim == 'lesson.claim("é", 1, near=1, within=0)' and end.startswith("# A comment of the code")
    folded = [cell["metadata"] for cell in book["cells"] if cell["metadata"]]
    assert folded == [{"tags": ["hide-input"], "jupyter": {"source_hidden": True}}]
    ids = [cell["id"] for cell in book["cells"]]
    assert len(set(ids)) == len(ids) == 7


def test_each_number_after_lessons_is_a_link():
    first, last = "[01](01_tensors_and_the_tape.ipynb)", "[06](06_effective_learning_rate.ipynb)"
    assert notebook._linked("lessons 01, 04 and 06,", "04_projection") == f"lessons {first}, 04 and {last},"
    assert notebook._linked("Lessons\n01 to 77. 06", "04_projection") == f"Lessons\n{first} to 77. 06"


def test_exercises_need_no_questions_and_come_before_the_chapters(tmp_path):
    path = tmp_path / "05_small.py"
    path.write_text(SMALL, encoding="utf-8")
    text = part_of(notebook.notebook(path), "Exercises")
    assert text.startswith("## Exercises\n\nThese are programs") and "<b>5.1</b>" in text
    part = "\n# %%\n# Questions\n# ---------\n#\n# 1. One.\n#\n# Chapters\n# --------\n#\n# Two.\n"
    path.write_text(SMALL + part, encoding="utf-8")
    book = notebook.notebook(path)
    assert re.fullmatch(r"## Questions\s+1\. One\.\s+", part_of(book, "Questions"))
    text = part_of(book, "Exercises")
    assert "<b>5.1</b>" in text and text.endswith("</details>\n\n")
    assert sources(book, "markdown")[-1].endswith("\n\n## Chapters\n\nTwo.")


def test_notebooks_that_are_there_are_left_alone(tmp_path, capsys):
    assert main(["notebooks", str(tmp_path)]) == 0
    path = tmp_path / "05_norm_growth.ipynb"
    fresh = path.read_text("utf-8")
    path.write_text("worked in", encoding="utf-8")
    (tmp_path / "further" / "01_order.ipynb").unlink()
    assert main(["notebooks", str(tmp_path)]) == 0
    assert path.read_text("utf-8") == "worked in" and (tmp_path / "further" / "01_order.ipynb").exists()
    assert "1 notebooks written" in capsys.readouterr().out
    assert main(["notebooks", str(tmp_path), "--fresh"]) == 0
    assert path.read_text("utf-8") == fresh


def test_a_notebook_for_elsewhere_installs_the_course_from_its_repository(tmp_path):
    address = re.search(r"^url = (.*)$", (ROOT / "setup.cfg").read_text("utf-8"), re.MULTILINE)[1]
    assert main(["notebooks", str(tmp_path), "--install"]) == 0
    for file in FILES:
        install = json.loads((tmp_path / f"{lessons.lesson_name(file)}.ipynb").read_text("utf-8"))["cells"][1]
        assert f'%pip install -q "minigrad-wn @ git+{address}"' in install["source"]


def test_the_links_of_a_notebook_for_elsewhere_lead_to_the_repository(tmp_path):
    written, _ = notebook.write_all(tmp_path, requirement="minigrad-wn")
    files, number = f"{notebook.repository()}/blob/HEAD/", 0
    for path in written:
        text = "\n".join(sources(json.loads(path.read_text("utf-8")), "markdown"))
        assert ".ipynb" not in text, path
        for target in re.findall(rf"\]\({re.escape(files)}([^)#]*)", text):
            assert (ROOT / target).is_file(), target
            number += 1
    assert number > 200
    further = json.loads((tmp_path / "further" / "05_weight_decay.ipynb").read_text("utf-8"))
    text = "\n".join(sources(further, "markdown"))
    assert f"[lesson 05]({files}lessons/05_norm_growth.py)" in text
    assert f"[answers]({files}docs/answers.md#05-weight-decay)" in text


# ---- in a kernel ----------------------------------------------------------------------------------------------------

# In a process of its own, because whatever imports ipykernel is a kernel to `Lesson`.
EXECUTE = """
import sys
import nbclient, nbformat
book = nbformat.read(sys.argv[1], 4)
nbformat.validate(book)
resources = {"metadata": {"path": sys.argv[2]}}
nbclient.NotebookClient(book, timeout=300, kernel_name="python3", resources=resources).execute()
nbformat.write(book, sys.argv[1])
"""


@pytest.mark.parametrize("name", ["03_weight_normalization", "further/01_order"])
def test_a_notebook_shows_its_figures_and_claims(tmp_path, name):
    for module in ("ipykernel", "nbclient"):
        if importlib.util.find_spec(module) is None:
            pytest.skip(f"runs a notebook, which needs {module}: pip install -e '.[docs]'")
    book = notebook.notebook(lessons.FOLDER / f"{name}.py")
    begin = next(i for i, cell in enumerate(book["cells"]) if "lesson = Lesson(" in cell["source"])
    again = dict(book["cells"][begin], id="again")
    book["cells"].insert(begin, again)  # as whoever runs the first cell twice
    path = tmp_path / "lesson.ipynb"
    path.write_text(json.dumps(book), encoding="utf-8")
    run = subprocess.run(
        [sys.executable, "-c", EXECUTE, str(path), str(tmp_path)],
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=400,
    )
    assert run.returncode == 0, run.stderr
    cells = [cell for cell in json.loads(path.read_text("utf-8"))["cells"] if cell["cell_type"] == "code"]
    for cell in cells:
        pictures = [out for out in cell["outputs"] if "image/png" in out.get("data", {})]
        claims = [out for out in cell["outputs"] if "text/html" in out.get("data", {})]
        assert len(pictures) == len(re.findall(r"lesson\.figure\(", "".join(cell["source"])))
        assert all(len(out["metadata"]["image/png"]["alt"]) > 60 for out in pictures)
        assert len(claims) >= len(re.findall(r"^lesson\.claim\(", "".join(cell["source"]), re.MULTILINE))
        assert all('class="claim holds"' in "".join(out["data"]["text/html"]) for out in claims)
        assert not [out for out in cell["outputs"] if out["output_type"] == "execute_result"]
    metrics = json.loads((tmp_path / "results" / name / "metrics.json").read_text("utf-8"))
    assert metrics["claims"] and all(claim["holds"] for claim in metrics["claims"])
    assert len(metrics["figures"]) == sum("image/png" in o.get("data", {}) for c in cells for o in c["outputs"])
