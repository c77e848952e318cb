"""The course as a website: `python -m lessons site DIR`, in a clone of the repository with the extra `docs` and npm.

Every lesson runs while its page is built; build/jupyter_cache/ keeps the results until the lesson or the library
changes. A warning, a claim of a crashed lesson or a missing picture fails the build. Nothing that a page needs lies on
another server: KaTeX's style sheet and fonts, which the Python package lacks, come from npm, once.
"""

import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
from importlib.util import find_spec
from pathlib import Path

from lessons import FOLDER, Parser, UsageError, runner, whole_number, writable_folder

ROOT = FOLDER.parent
DOCS = ROOT / "docs"
NEEDED = ("furo", "ipykernel", "myst_nb", "sphinx", "sphinx_copybutton", "sphinxcontrib.katex")


def main(arguments):
    """`python -m lessons site DIR`; the exit code."""
    parser = Parser(prog=f"{runner()} site", description="Build the website into DIR; lessons run meanwhile.")
    parser.add_argument("folder", metavar="DIR", type=Path)
    only = "run only these lessons and no chapters, for a quick look; other pages show no results"
    parser.add_argument("--only", metavar="N", type=whole_number(1), nargs="+", help=only)
    flags = parser.parse_args(arguments)
    if not (DOCS / "conf.py").is_file():
        raise UsageError("the website is built in a clone of the repository, not from an installed package")
    if missing := [name for name in NEEDED if not available(name)]:
        raise UsageError(f"{', '.join(missing)} cannot be imported; first: pip install -e '.[docs]'")
    katex(DOCS / "_static" / "katex")
    return build(writable_folder(flags.folder), flags.only or ())


def available(name):
    """Whether a module could be imported."""
    try:
        return find_spec(name) is not None
    except ModuleNotFoundError:  # of the package that it is in
        return False


def katex(folder):
    """Bring KaTeX's style sheet, fonts and licence into `folder`, for the version of the script that Sphinx uses."""
    from sphinxcontrib.katex import katex_version

    if (folder / katex_version).is_dir():
        return
    npm = shutil.which("npm")
    if npm is None:
        raise UsageError("npm is not there, which brings KaTeX's style sheet and fonts; install Node.js, which has it")
    with tempfile.TemporaryDirectory() as temporary:
        command = [npm, "pack", "--silent", "--pack-destination", temporary, f"katex@{katex_version}"]
        done = subprocess.run(command, cwd=temporary, capture_output=True, text=True)
        if done.returncode:
            raise UsageError(
                f"npm could not fetch katex@{katex_version}: {done.stderr.strip() or 'it does not say why'}"
            )
        with tarfile.open(next(Path(temporary).glob("*.tgz"))) as package:
            package.extractall(temporary, filter="data")
        shutil.rmtree(folder, ignore_errors=True)
        whole, kept = Path(temporary) / "package", folder / katex_version
        shutil.copytree(whole / "dist" / "fonts", kept / "fonts", ignore=shutil.ignore_patterns("*.ttf", "*.woff"))
        for file in (whole / "LICENSE", whole / "dist" / "katex.min.css"):
            shutil.copy(file, kept)


def build(folder, only=()):
    """Have Sphinx build the site into `folder`; only the lessons with these numbers run, if any. Its exit code."""
    command = [sys.executable, "-m", "sphinx", "--quiet", "--fail-on-warning", "--keep-going"]
    command += ["-b", "html", "-d", str(folder / ".doctrees")]
    environment = os.environ | {"MINIGRAD_SITE_ONLY": " ".join(map(str, only))}
    output = {"stderr": subprocess.PIPE, "encoding": "utf-8", "errors": "replace"}
    with subprocess.Popen([*command, str(DOCS), str(folder)], cwd=ROOT, env=environment, **output) as sphinx:
        for line in sphinx.stderr:
            if line.strip() and "IPKernelApp" not in line:  # each kernel warns that it is not encrypted
                print(line, end="", file=sys.stderr, flush=True)
    return sphinx.returncode
