"""The website: links lead somewhere, a browser finds nothing amiss, the live picture computes as the library does.

What needs the extra `docs`, npm, Node.js or Chromium skips where that is missing, and says so. With MINIGRAD_SITE set
to a folder that `python -m lessons site` has built, the tests look at that one instead of building two lessons of it.
"""

import html.parser
import json
import os
import re
import shutil
import subprocess
import sys
import urllib.parse
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest

import lessons
import minigrad as mg
import wn
from lessons import site
from lessons.exercises import files

ROOT = Path(__file__).parent.parent
PAGES = ("lessons/03_weight_normalization", "lessons/05_norm_growth")

# ---- the live picture -----------------------------------------------------------------------------------------------

COMPUTE = """
const { paths } = require(process.argv[1]);
let asked = "";
process.stdin.on("data", (text) => (asked += text));
process.stdin.on("end", () => console.log(JSON.stringify(JSON.parse(asked).map((one) => paths(...one)))));
"""


def paths_of_the_script(asked):
    """What plane.js computes for each of these (eta, length, start, steps)."""
    node = shutil.which("node")
    if node is None:
        pytest.skip("runs the website's script, which needs Node.js")
    command = [node, "-e", COMPUTE, str(ROOT / "docs" / "_static" / "plane.js")]
    run = subprocess.run(command, input=json.dumps(asked), capture_output=True, text=True, timeout=60)
    assert run.returncode == 0, run.stderr
    return json.loads(run.stdout)


def paths_of_the_library(eta, length, start, steps):
    """The same by autograd, through `wn.weight_norm` and `mg.optim.SGD`."""
    towards, across = np.array([np.sqrt(3), 1]) / 2, np.array([-1, np.sqrt(3)]) / 2
    curvature = mg.tensor(0.1 * np.outer(towards, towards) + np.outer(across, across))
    start = np.array(start)
    plain = mg.tensor(start, requires_grad=True)
    v = mg.tensor(length * start[None] / np.linalg.norm(start), requires_grad=True)
    g = mg.tensor(np.linalg.norm(start)[None], requires_grad=True)
    found = {"plain": [plain.numpy().copy()], "v": [v.numpy()[0].copy()], "w": [start]}
    optimizer = mg.optim.SGD([plain, v, g], lr=eta)
    for _ in range(steps):
        optimizer.zero_grad()
        for w in (plain, wn.weight_norm(v, g)[0]):
            off = w - 2 * towards
            ((off @ curvature) @ off / 2).backward()
        optimizer.step()
        found["plain"].append(plain.numpy().copy())
        found["v"].append(v.numpy()[0].copy())
        found["w"].append(wn.weight_norm(v, g).numpy()[0].copy())
    return found


def test_the_live_picture_takes_the_steps_of_the_library():
    """40 starts all over the sliders' ranges. In each of six steps an error of 1e-16 grows by the rate at most."""
    rng = np.random.default_rng(0)
    starts = []
    for _ in range(40):
        eta, length, turn, far = np.exp(rng.uniform(np.log([0.05, 0.2, 1, 0.2]), np.log([20, 5, 500, 3])))
        starts.append((eta, length, [far * np.cos(turn), far * np.sin(turn)], 6))
    for one, drawn in zip(starts, paths_of_the_script(starts), strict=True):
        for name, path in paths_of_the_library(*one).items():
            tolerance = 1e-16 * max(1, one[0]) ** 6 * np.abs(path).max() + 1e-12 * np.abs(path).max()
            np.testing.assert_allclose(drawn[name], path, rtol=0, atol=tolerance, err_msg=f"{name}, {one}")


# ---- the pages ------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """A built website: that of MINIGRAD_SITE, or one on which lessons 3 and 5 have run."""
    if given_folder := os.environ.get("MINIGRAD_SITE"):
        return Path(given_folder).resolve()
    missing = [name for name in site.NEEDED if not site.available(name)] + ([] if shutil.which("npm") else ["npm"])
    if missing:
        pytest.skip(f"builds the website, which needs {', '.join(missing)}: pip install -e '.[docs]', and Node.js")
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "lessons", "site", str(folder), "--only", "3", "5"]
    run = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=900)
    assert run.returncode == 0, run.stdout + run.stderr
    return folder


class Page(html.parser.HTMLParser):
    """The anchors and links of one page, and its pictures' alternative texts."""

    def __init__(self, path):
        super().__init__()
        self.anchors, self.links, self.pictures = set(), [], []
        self.feed(path.read_text("utf-8"))

    def handle_starttag(self, tag, attributes):
        attributes = dict(attributes)
        self.anchors.add(attributes.get("id"))
        self.links += [attributes[key] for key in ("href", "src") if attributes.get(key)]
        if tag == "img":
            self.pictures.append(attributes.get("alt"))


def test_every_link_of_the_site_leads_somewhere(built):
    pages = {path.resolve(): Page(path) for path in built.rglob("*.html")}
    assert len(pages) > 50
    broken = []
    for path, page in pages.items():
        for link in page.links:
            parts = urllib.parse.urlsplit(link)
            if parts.scheme:
                continue
            target = (path.parent / urllib.parse.unquote(parts.path)).resolve() if parts.path else path
            anchor = urllib.parse.unquote(parts.fragment)
            if not target.exists() or (anchor and target in pages and anchor not in pages[target].anchors):
                broken.append(f"{path.relative_to(built)}: {link}")
        assert all(page.pictures), f"{path}: a picture without alternative text"
    assert not broken


def test_no_page_loads_anything_from_elsewhere(built):
    """Links to elsewhere are there to be clicked; scripts, styles and pictures are not."""
    for path in built.rglob("*.html"):
        text = path.read_text("utf-8")
        assert 'src="http' not in text and "url(http" not in text, path
        assert not [line for line in text.splitlines() if "<link" in line and 'href="http' in line], path


@pytest.fixture(scope="module")
def browser():
    """Chromium, without a window."""
    if find_spec("playwright") is None:
        pytest.skip("drives a browser, which needs playwright: pip install -e '.[docs]'")
    program = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if program is None:
        pytest.skip("looks at pages in Chromium, which is not installed")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as play:
        chromium = play.chromium.launch(executable_path=program, args=["--no-sandbox"])
        yield chromium
        chromium.close()


@pytest.fixture
def page(browser):
    """A page, 400 pixels wide; in the end there must have been no error, no warning and no request outside the site."""
    opened = browser.new_page(viewport={"width": 400, "height": 900})
    complaints = []
    opened.on("console", lambda said: complaints.append(said.text) if said.type in ("error", "warning") else None)
    opened.on("pageerror", lambda error: complaints.append(str(error)))
    opened.on("requestfailed", lambda request: complaints.append(request.url))
    opened.on("request", lambda r: None if r.url.startswith(("file:", "data:")) else complaints.append(r.url))
    yield opened
    opened.close()
    assert not complaints


@pytest.mark.parametrize("name", PAGES)
def test_a_lesson_in_the_browser(built, page, name):
    page.goto(f"{(built / name).as_uri()}.html")
    page.wait_for_function("document.querySelectorAll('.math').length == document.querySelectorAll('.katex').length")
    assert page.locator(".katex").count() > 50
    assert page.locator(".katex-error").count() == 0
    page.evaluate("document.querySelectorAll('img').forEach((picture) => { picture.loading = 'eager'; })")
    page.wait_for_function("[...document.images].every((picture) => picture.complete)")
    widths = page.evaluate("[...document.querySelectorAll('.cell_output img')].map((picture) => picture.naturalWidth)")
    notebook = (built / "notebooks" / f"{name.removeprefix('lessons/')}.ipynb").read_text("utf-8")
    assert len(widths) == notebook.count("lesson.figure(") and all(widths)
    assert page.locator(".claim.holds").count() > 5 and page.locator(".claim.fails").count() == 0
    formulas = "[...document.querySelectorAll('.katex-display .katex-html')]"
    assert page.evaluate(f"{formulas}.every((formula) => formula.scrollWidth <= formula.clientWidth)")  # they break
    for width in (400, 320, 1024, 1366):
        page.set_viewport_size({"width": width, "height": 900})
        assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth"), width  # nothing hangs out


def test_a_figure_opens_its_file(built, page):
    page.goto(f"{(built / PAGES[0]).as_uri()}.html")
    page.locator(".cell_output a.figure img").first.click()
    page.wait_for_function("document.images.length == 1 && document.images[0].naturalWidth > 600")
    assert "/_images/" in page.url


@pytest.mark.parametrize("file", [*lessons.lesson_files().values(), *lessons.further_files()], ids=lessons.lesson_name)
def test_formulas_break_and_nothing_hangs_out_on_a_phone(built, page, file):
    page.goto(f"{(built / 'lessons' / lessons.lesson_name(file)).as_uri()}.html")
    page.wait_for_function("document.querySelectorAll('.math').length == document.querySelectorAll('.katex').length")
    formulas = "[...document.querySelectorAll('.katex-display .katex-html')]"
    assert page.evaluate(f"{formulas}.every((formula) => formula.scrollWidth <= formula.clientWidth)")
    assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")


@pytest.mark.parametrize("name", ("contract", "equations", "notation", "teaching"))
def test_wide_tables_need_no_scrolling_on_a_phone(built, page, name):
    page.goto(f"{(built / name).as_uri()}.html")
    assert page.evaluate(
        "[...document.querySelectorAll('.table-wrapper')].every((table) => table.scrollWidth <= table.clientWidth)"
    )


def test_a_row_on_a_phone_says_what_its_cells_are(built, page):
    page.goto(f"{(built / 'teaching').as_uri()}.html")
    cells = page.locator("table").first.locator("tbody tr").first.locator("td")
    said = cells.evaluate_all("cells => cells.map((cell) => getComputedStyle(cell, '::before').content)")
    assert said[1:] == [f'"{title}: "' for title in ("run", "words", "code lines", "read", "builds on", "the paper")]


def test_a_printed_table_scrolls_and_sentences_wrap(built, page):
    page.goto(f"{(built / PAGES[1]).as_uri()}.html")
    page.set_viewport_size({"width": 800, "height": 900})
    for text, style in (("excess: least", "pre"), ("(least) to", "pre-wrap")):
        printed = page.locator(".cell_output .stream pre", has_text=text).first
        assert printed.evaluate("pre => getComputedStyle(pre).whiteSpace") == style, text


def test_no_formula_in_a_table_has_double_bars():
    r"""In a table ``\|`` is a single bar, in a formula, too. There it is ‖v‖ without dollars."""
    for path in (ROOT / "docs").glob("*.md"):
        assert not re.findall(r"^\|.*\\\|.*", path.read_text("utf-8"), re.MULTILINE), path


def test_what_docstrings_set_off_is_verbatim(built):
    """And not a quotation, which would run its lines and spaces together."""
    for path in (built / "api").glob("*.html"):
        assert "<blockquote" not in path.read_text("utf-8"), path
    assert "M_w C M_w = C - u qᵀ - q uᵀ + (u·q) u uᵀ\n" in (built / "api" / "wn.html").read_text("utf-8")


def test_an_exercise_unfolds(built, page):
    page.goto(f"{(built / PAGES[0]).as_uri()}.html")
    task = page.get_by_text("which turns it into the gradients of the two parameters")
    assert page.locator("details.exercise").count() == sum(number.startswith("3.") for number in files())
    assert not task.is_visible()
    page.locator("details.exercise summary", has_text="Equation 3").click()
    assert task.is_visible()
    assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")


def test_answers_and_exercises_lead_to_each_other(built, page):
    page.goto(f"{(built / PAGES[0]).as_uri()}.html")
    page.get_by_role("link", name="answers", exact=True).last.click()
    assert page.url.endswith("/answers.html#weight-normalization")
    page.get_by_role("link", name="3.4", exact=True).last.click()
    assert page.url.endswith("/lessons/03_weight_normalization.html#exercise-3.4")
    page.get_by_text("So each of the two has a largest learning rate").wait_for(state="visible")


def test_search_finds_a_word(built, page):
    page.goto(f"{(built / 'search').as_uri()}.html?q=orthogonal")
    page.wait_for_selector("#search-results li a")
    assert page.locator("#search-results li a").count() >= 1


def test_the_live_picture_follows_the_keyboard(built, page):
    page.goto(f"{(built / PAGES[0]).as_uri()}.html")
    says = page.locator("#live-plane p[aria-live]")
    before = says.inner_text()
    assert "beyond all bounds with gradient descent on w" in before
    page.locator("#plane-eta").focus()
    for _ in range(8):
        page.keyboard.press("ArrowLeft")
    assert float(page.locator("output[for=plane-eta]").inner_text()) < 2
    assert says.inner_text() != before and "beyond all bounds" not in says.inner_text()


def test_without_scripts_the_still_picture_stays(built, browser):
    context = browser.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto(f"{(built / PAGES[0]).as_uri()}.html")
    assert not page.locator("#live-plane").is_visible()
    assert page.locator(".cell_output img").count() == 3
    context.close()
