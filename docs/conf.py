"""Sphinx's settings for the website. `python -m lessons site DIR` builds it: see lessons/site.py."""

import json
import logging
import os
import re
import sys
from pathlib import Path

from docutils import nodes
from myst_nb.core.render import NbElementRenderer
from sphinxcontrib.katex import katex_version

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT))
os.environ["PYTHONPATH"] = str(ROOT)  # of the lessons' kernels

import lessons  # noqa: E402
import minigrad  # noqa: E402
from lessons import notebook  # noqa: E402

project, release, language = "minigrad", minigrad.__version__, "en"
project_copyright = "the minigrad authors, MIT licence"
extensions = [
    "myst_nb",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "sphinx.ext.viewcode",
    "sphinx_copybutton",
    "sphinxcontrib.katex",
]
default_role = "py:obj"  # `x` in docstrings

# ---- pages ----------------------------------------------------------------------------------------------------------

html_theme, html_title = "furo", "minigrad"
html_static_path, html_css_files, html_js_files = ["_static"], ["course.css"], [("plane.js", {"defer": "defer"})]
EXTRA = ROOT / "build" / "extra"  # the notebooks that readers download
EXTRA.mkdir(parents=True, exist_ok=True)  # Sphinx looks for it before it is filled
html_extra_path = [str(EXTRA)]
html_copy_source = html_show_sourcelink = False
html_show_search_summary = False  # it reads whole pages, which browsers refuse where the site is a folder
html_theme_options = {"footer_icons": []}
pygments_style, pygments_dark_style = "a11y-high-contrast-light", "a11y-high-contrast-dark"
katex_css_path = f"katex/{katex_version}/katex.min.css"  # here, and not on somebody's server: lessons/site.py

# ---- Markdown and notebooks -----------------------------------------------------------------------------------------

myst_enable_extensions = ["amsmath", "colon_fence", "dollarmath"]
myst_dmath_double_inline = True
myst_heading_anchors = 3
myst_url_schemes = {"http": None, "https": None, "mailto": None}
myst_url_schemes |= {"source": "_modules/{{path}}.html", "exercise": "lessons/{{path}}.html#exercise-{{fragment}}"}
nb_execution_mode = "cache"
nb_execution_cache_path = str(ROOT / "build" / "jupyter_cache")
nb_execution_in_temp = True
nb_execution_timeout = 1200
nb_execution_raise_on_error = True  # a lesson that fails is no page
if only := os.environ.get("MINIGRAD_SITE_ONLY", "").split():  # of site.py: the numbers of the lessons that run
    others = [f for n, f in lessons.lesson_files().items() if str(n) not in only] + lessons.further_files()
    nb_execution_excludepatterns = [f"lessons/{lessons.lesson_name(file)}.ipynb" for file in others]
nb_merge_streams = True
nb_output_stderr = "remove"  # progress bars
nb_code_prompt_show, nb_code_prompt_hide = "Show the code", "Hide the code"

logging.getLogger("traitlets").setLevel(logging.WARNING)  # which would say that something runs, but not what


# ---- API ------------------------------------------------------------------------------------------------------------

autodoc_member_order = "bysource"
autodoc_typehints = "none"
autodoc_preserve_defaults = True  # as they are written
autodoc_inherit_docstrings = False  # what a class has from its base is said there
napoleon_google_docstring = False
napoleon_use_rtype = False
add_module_names = False


# ---- lessons --------------------------------------------------------------------------------------------------------

LIVE = '<div class="live-plane" id="live-plane"></div>'
UNDER_THE_TITLE = """\
<p class="lesson-links"><a href="{up}notebooks/{name}.ipynb" download>Download this page as a notebook</a>, for Jupyter,
VS Code or <a href="https://colab.research.google.com">Google Colab</a> (<i>File → Upload notebook</i>)</p>"""
CHAPTERS = """\
```{{toctree}}
:hidden:

{names}
```"""


def write_lessons(app):
    """Lessons as notebooks: for the reader into build/extra/, and as sources of pages into docs/lessons/."""
    notebook.write_all(EXTRA / "notebooks", notebook.course(), replace=True)
    files = [*lessons.lesson_files().values(), *lessons.further_files()]
    pages = {Path(app.srcdir) / "lessons" / f"{lessons.lesson_name(file)}.ipynb": file for file in files}
    for path in (Path(app.srcdir) / "lessons").rglob("*.ipynb"):
        if path not in pages:
            path.unlink()
    texts = {path: json.dumps(page(file), indent=1, ensure_ascii=False) + "\n" for path, file in pages.items()}
    texts |= {Path(app.srcdir) / "lessons" / "engine.md": notebook.engine() + "\n"}
    for path, text in texts.items():
        if not path.exists() or path.read_text(encoding="utf-8") != text:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")


def page(file):
    """A lesson's notebook, with what only its page has: links, its chapters in the margin, the live picture."""
    book, name = notebook.notebook(file), lessons.lesson_name(file)
    book["metadata"]["kernelspec"] |= {"sources": lessons.sources(file)}  # part of what the cache goes by
    up = "../" * (name.count("/") + 1)
    title, _, rest = book["cells"][0]["source"].partition("\n")
    if not name.count("/"):
        title = title.replace("# ", f"# {lessons.lesson_number(file):02d} ", 1)
    added = [title, UNDER_THE_TITLE.format(up=up, name=name), rest.strip()]
    chapters = [lessons.lesson_name(path) for path in lessons.further_files()]
    own = [chapter for chapter in chapters if not name.count("/") and chapter.startswith(f"further/{name[:2]}_")]
    if own:
        added.append(CHAPTERS.format(names="\n".join(own)))
    book["cells"][0]["source"] = "\n\n".join(added)
    for cell in book["cells"]:  # answers.md is a page of its own
        link = re.compile(r"\]\(((?:\.\./)*)answers\.ipynb#(.*?)\)")
        cell["source"] = link.sub(lambda link: f"](../{link[1]}answers.md#{link[2].lower()})", cell["source"])
    for place, cell in enumerate(book["cells"]):
        if cell["cell_type"] == "code" and 'lesson.figure(figure, "plane"' in cell["source"]:
            live = {"cell_type": "markdown", "id": "live", "metadata": {}, "source": LIVE}
            book["cells"].insert(place + 1, live)
            break
    return book


def with_alternative_text(render_image):
    """MyST-NB's way of rendering a picture, but with the alternative text that `lesson.figure` gave it."""

    def render(self, data):
        rendered = render_image(self, data)
        if alt := data.output_metadata.get(data.mime_type, {}).get("alt"):
            rendered[0]["alt"] = alt
        return rendered

    return render


def say_what_is_read(app, name, source):
    """The build takes minutes: say which lesson is being run, or taken from the cache."""
    if name.startswith("lessons/"):
        print(name, flush=True)


# ---- what is written for other readers ------------------------------------------------------------------------------


def links_into_the_repository(app, name, source):
    """docs/*.md link to files of the repository; here lessons and the library's modules have pages."""
    if (Path(app.srcdir) / f"{name}.md").exists():
        source[0] = re.sub(r"\]\(\.\./lessons/((?:further/)?\d\d_\w+)\.py\)", r"](lessons/\1.ipynb)", source[0])
        source[0] = re.sub(r"(?<=\bexercise )(\d+|engine)\.\d+", link_to_exercise, source[0], flags=re.IGNORECASE)
        source[0] = re.sub(r"\]\(\.\./((?:minigrad|wn)/[\w/]+)(?<!__init__)\.py\)", r"](source:\1)", source[0])


def link_to_exercise(number):
    """A link to an exercise, in the place of its number."""
    lesson = number[1] if number[1] == "engine" else lessons.lesson_name(lessons.lesson_files()[int(number[1])])
    return f"[{number[0]}](exercise:{lesson}#{number[0]})"


def literal_signs(app, what, name, obj, options, lines):
    """Docstrings are read in terminals as well: |x| and *x in them are no markup, and what is set off is verbatim."""
    for i, line in enumerate(lines):
        parts = re.split(r"(``.*?``|`[^`]*`)", line)
        parts[::2] = [re.sub(r"\||\*(?=[\w*])", r"\\\g<0>", part) for part in parts[::2]]
        parts[1::2] = [part if re.fullmatch(r"`[A-Za-z_][\w.]*`|``.*``", part) else f"`{part}`" for part in parts[1::2]]
        lines[i] = "".join(parts)
    for i in reversed(range(2, len(lines))):
        if lines[i].startswith("    ") and not lines[i - 1].strip() and re.match(r"[^\s-]", lines[i - 2]):
            end = next((j for j in range(i, len(lines)) if re.match(r"\S", lines[j])), len(lines))
            verbatim = [re.sub(r"\\(?=[|*])", "", line) for line in lines[i:end]]
            lines[i:end] = [".. code-block:: text", "", *verbatim]


def skip_fields_without_words(app, what, name, obj, skip, options):
    """Leave out the fields of named tuples that the class's own docstring explains."""
    return True if str(getattr(obj, "__doc__", "")).startswith("Alias for field number") else None


def displayed_formulas(app, tree):
    """Let formulas break between their parts, and write < and > in words: HTML would take `s<t` for a tag."""
    for formula in tree.findall(nodes.math_block):
        text = formula.astext().replace("<", r"\lt ").replace(">", r"\gt ")
        text = re.sub(r"(?<!\\)\\(q?quad\b|[ ;])", r"\g<0>\\allowbreak ", text)
        formula[:] = [nodes.Text(text)]


def units(app, tree):
    """No line begins with the % of a number."""
    for paragraph in tree.findall(nodes.paragraph):
        for text in list(paragraph.findall(lambda node: type(node) is nodes.Text)):
            if not isinstance(text.parent, nodes.literal | nodes.math) and " %" in text:
                text.parent.replace(text, nodes.Text(re.sub(r"(?<=\d) (?=%)", "\u00a0", text)))


def figures_tables_formulas(app, name, template, context, tree):
    """Details of finished pages.

    A figure is a link to its file, where it can be enlarged. Long names in tables break after underlines and dots. A
    cell knows the title of its column, which stands before it where a phone shows a row as a block. A comma after a
    formula becomes part of it, or a line may begin with the comma. A printed table is told from printed sentences.
    """
    if body := context.get("body"):
        body = re.sub(r'(<img [^>]*src="([^"]*_images/[^"]+)"[^>]*>)', r'<a class="figure" href="\2">\1</a>', body)
        body = re.sub(r"<td.*?</td>", breakable, body, flags=re.DOTALL)
        body = re.sub(r'<table class="docutils.*?</table>', labelled, body, flags=re.DOTALL)
        body = re.sub(r'(?<=<div class="output stream )(.*?<pre>)(.*?)(?=</pre>)', printed, body, flags=re.DOTALL)
        formula = r'(<span class="math[^<]*[^\\<])\\\)</span>([.,;:]+)'
        context["body"] = re.sub(formula, r"\1\\text{\2}\\)</span>", body)


def breakable(cell):
    """A table's cell, in which long names may break after underlines and dots."""
    parts = re.split(r"(<span class=\"math.*?</span>|<[^>]*>)", cell[0], flags=re.DOTALL)
    parts[::2] = [re.sub(r"(?<=\w)(_|\.(?=[A-Za-z]))(?=\w)", r"\1<wbr>", text) for text in parts[::2]]
    return "".join(parts)


def printed(output):
    """What a cell has printed, marked as a table if two lines have three columns, and no sentence is too long."""
    lines = re.sub(r"\[.*?\]", "", output[2]).splitlines()  # an array's columns do not count
    sentences = [line for line in lines if not re.search(r"\S {2,}\S.*\S {2,}\S", line)]
    table = len(lines) > len(sentences) + 1 and all(len(line) <= 120 for line in sentences)
    return "printed-table " * table + output[0]


def labelled(table):
    """A table, in which each cell has the title of its column as an attribute."""
    titles = [re.sub(r"<.*?>", "", title) for title in re.findall(r"<th\b.*?</th>", table[0], flags=re.DOTALL)]

    def row(match):
        left = iter(titles)
        return re.sub(r"<td\b", lambda cell: f'{cell[0]} data-title="{next(left)}"', match[0])

    return re.sub(r"<tr\b.*?</tr>", row, table[0], flags=re.DOTALL)


def links_back_from_sources(app, name, template, context, tree):
    """viewcode's links from a source to its documentation, without those that name the wrong module."""
    if name.startswith("_modules/"):
        known = app.env.domains.python_domain.objects
        back = re.compile(r'<a class="viewcode-back" href="[^"#]*#([^"]*)">.*?</a>')
        context["body"] = back.sub(lambda link: link[0] if link[1] in known else "", context["body"])


def setup(app):
    """Connect the functions above."""
    NbElementRenderer.render_image = with_alternative_text(NbElementRenderer.render_image)
    app.connect("builder-inited", write_lessons)
    app.connect("doctree-read", displayed_formulas)
    app.connect("doctree-read", units)
    app.connect("html-page-context", figures_tables_formulas)
    app.connect("html-page-context", links_back_from_sources)
    app.connect("source-read", say_what_is_read)
    app.connect("source-read", links_into_the_repository)
    app.connect("autodoc-process-docstring", literal_signs, priority=400)
    app.connect("autodoc-skip-member", skip_fields_without_words)
