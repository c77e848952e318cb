"""What names the project outside of its code agrees with it. (.ci/package builds it and looks at what it holds.)"""

import configparser
import re
import tomllib
from pathlib import Path

import lessons
import minigrad as mg

ROOT = Path(__file__).parent.parent
SETUP = configparser.ConfigParser()
SETUP.read(ROOT / "setup.cfg", "utf-8")


def read(name):
    return (ROOT / name).read_text("utf-8")


def test_there_is_one_version():
    assert re.findall(r"^version: (.*)$", read("CITATION.cff"), re.MULTILINE) == [mg.__version__]
    assert re.search(rf"\b{re.escape(mg.__version__)}\b", read("CHANGELOG.md"))


def test_there_is_one_name():
    name = SETUP["metadata"]["name"]
    assert tomllib.loads(read("pyproject.toml"))["project"]["name"] == name
    assert lessons.PACKAGE == name
    assert f"`{name}`" in read("README.md") and f"{name} = lessons" in SETUP["options.entry_points"]["console_scripts"]


def test_the_address_stands_in_one_place():
    address = SETUP["metadata"]["url"]
    pages = [path for path in ROOT.iterdir() if path.is_file() and path.name != "setup.cfg"]
    pages += [path for folder in ("docs", "lessons", "minigrad", "wn") for path in (ROOT / folder).rglob("*.*")]
    pages = [path for path in pages if path.is_file()]
    assert len(pages) > 100
    assert not [path for path in pages if path.suffix != ".pyc" and address.encode() in path.read_bytes()]
