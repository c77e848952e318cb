"""What the README shows runs as it stands."""

import re
from pathlib import Path

import numpy as np
import pytest

README = Path(__file__).parent.parent / "README.md"


def test_the_example_runs_and_says_the_truth():
    (example,) = re.findall(r"```python\n(.*?)```", README.read_text(encoding="utf-8"), re.DOTALL)
    names = {}
    exec(example, names)
    layer = names["layer"]
    # float32, and three vectors of two numbers below 1: a few roundings of 1e-7
    assert (layer.weight_v.data * layer.weight_v.grad.data).sum(axis=1) == pytest.approx(np.zeros(3), abs=1e-6)


def test_every_folder_and_figure_that_is_named_exists():
    text = README.read_text(encoding="utf-8")
    named = re.findall(r"^\| `([a-z]+/)` \|", text, re.MULTILINE) + re.findall(r"!\[.*?\]\((.*?)\)", text)
    assert len(named) >= 6
    assert all((README.parent / path).exists() for path in named)
