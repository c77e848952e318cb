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
from lessons import notebook
from lessons.__main__ import main
from tests.lessons.courses import ROOT

FILES = [*lessons.lesson_files().values(), *lessons.further_files()]
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
        words = re.sub(r"\W+", " ", line.removeprefix("*Tolerance.* ")).split()
        missing = [word for word in words if word not in shown]
        assert not missing, line
    for text in sources(book, "markdown"):
        assert not re.search(r"^\S.*\n[-=]{3,}$", text, re.MULTILINE), text  # a heading in the form of the script
    assert sources(book, "markdown")[0].startswith(f"# {lessons.title(file)}")


@every_lesson
def test_links_lead_to_other_notebooks(file):
    here = Path(lessons.lesson_name(file)).parent
    names = {f"{lessons.lesson_name(other)}.ipynb" for other in FILES}
    for text in sources(notebook.notebook(file), "markdown"):
        for target in re.findall(r"\]\(([^)]+\.ipynb)\)", text):
            parts = (here / target).parts
            plain = Path(*parts[2:]) if parts[1:2] == ("..",) else Path(*parts)
            assert plain.as_posix() in names, target


SMALL = '''"""A title
=======

See lesson 01 and ``further/01_order.py``, not lesson 77. $x = \\\\text{lesson 01}$.
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
    (tmp_path / "05_small.py").write_text(SMALL, encoding="utf-8")
    book = notebook.notebook(tmp_path / "05_small.py", requirement="minigrad")
    title, heading, tolerance = sources(book, "markdown")
    order, first = "[``further/01_order.py``](further/01_order.ipynb)", "[lesson 01](01_tensors_and_the_tape.ipynb)"
    assert title == f"# A title\n\nSee {first} and {order}, not lesson 77. $x = \\text{{lesson 01}}$."
    assert heading == "## 1. A heading\n\nOf [lists]:\n\n- one"
    assert tolerance == "<details>\n<summary>Tolerance</summary>\n\nNone.\n\n</details>"
    install, begin, claim, end = sources(book, "code")
    assert '%pip install -q "minigrad"' in install
    assert begin == 'import os\n\nlesson = Lesson("05_small")\nos.getpid();  # a comment; with a semicolon'
    assert claim == 'lesson.claim("é", 1, near=1, within=0)' and end.startswith("# A comment of the code")
    folded = [cell["metadata"] for cell in book["cells"] if cell["metadata"]]
    assert folded == [{"tags": ["hide-input"], "jupyter": {"source_hidden": True}}]
    ids = [cell["id"] for cell in book["cells"]]
    assert len(set(ids)) == len(ids) == 7


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
