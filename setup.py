"""What setup.cfg cannot say: the README as package indexes show it, where relative links would lead nowhere.

The address of the repository is `url` in setup.cfg, and stands nowhere else.
"""

import configparser
import re
from pathlib import Path

from setuptools import setup

HERE = Path(__file__).parent
config = configparser.ConfigParser()
config.read(HERE / "setup.cfg", "utf-8")
URL = config["metadata"]["url"]


def absolute(page):
    """A page of the repository, in Markdown, with pictures and links that work elsewhere."""
    page = re.sub(r"(!\[[^]]*\]\()(?![a-z]+:|#)", rf"\g<1>{URL}/raw/main/", page)
    return re.sub(r"(\]\()(?![a-z]+:|#)", rf"\g<1>{URL}/blob/main/", page)


setup(
    long_description=absolute((HERE / "README.md").read_text("utf-8")),
    long_description_content_type="text/markdown",
    project_urls={
        "Changelog": f"{URL}/blob/main/CHANGELOG.md",
        "Contributing": f"{URL}/blob/main/CONTRIBUTING.md",
        "Issues": f"{URL}/issues",
        "Paper": "https://arxiv.org/abs/1602.07868",
    },
)
