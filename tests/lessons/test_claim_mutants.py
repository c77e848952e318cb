"""Do the claims find a wrong law? Each record in tests/mutants/lessons.toml is one: a coefficient, an exponent or a
sign changed in a lesson's own formula, and the claim that must then fail.

Each mistake is made in a copy of the lesson, which is cut off behind the cell with the claim and run. (That the claim
holds without the mistake is what a run of the course shows.)
"""

import json
import tomllib
from typing import NamedTuple

import pytest

import lessons
from lessons.equations import lesson_file
from tests.lessons.courses import ROOT, script
from tests.lessons.test_size import cells


class Mutant(NamedTuple):
    """In a lesson, `old` is replaced by `new`; a claim whose text begins with `claim` must then fail.

    `lesson` is its number, or a further chapter's name; `law` says what is made wrong. The run ends with the cell that
    holds the text `until`: without it, with the first one that holds the text of `claim`.
    """

    lesson: int | str
    law: str
    file: str
    old: str
    new: str
    claim: str
    until: str = ""

    def source(self):
        return (ROOT / self.file).read_text("utf-8")


MUTANTS = [Mutant(**r) for r in tomllib.loads((ROOT / "tests/mutants/lessons.toml").read_text("utf-8"))["mutant"]]
every_mutant = pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: f"{mutant.lesson}: {mutant.law}")


def cut(source, text):
    """A lesson's source up to the end of the first cell that holds this text, and the end of a lesson."""
    end = source.index(cells(source)[0][1])
    for marker, cell in cells(source):
        end = source.index(cell, end) + len(cell)
        if text in marker + cell:
            return source[:end] + "\n# %%\nlesson.finish()\n"
    raise AssertionError(f"no cell holds {text!r}")


@every_mutant
def test_the_text_to_replace_is_there_once(mutant):
    assert mutant.source().count(mutant.old) == 1, f"update {mutant.law!r} in tests/mutants/lessons.toml"
    assert mutant.old != mutant.new
    assert ROOT / mutant.file == lesson_file(mutant.lesson)


@pytest.mark.claims
@every_mutant
def test_the_claim_fails(mutant, tmp_path):
    name = lessons.lesson_name(ROOT / mutant.file)
    copy = tmp_path / f"{name}.py"
    copy.parent.mkdir(exist_ok=True)
    wrong = cut(mutant.source(), mutant.until or mutant.claim).replace(mutant.old, mutant.new)
    assert mutant.new in wrong, "the cell with the claim comes before the mistake"
    copy.write_text(wrong, "utf-8")
    flags = ["--quick", "--data", "synthetic", "--device", "cpu", "--out", tmp_path / "out"]
    run = script(copy, *flags, limit=120, PYTHONPATH=ROOT)
    assert run.returncode == 1, run.stdout[-2000:] + run.stderr[-2000:]
    claims = json.loads((tmp_path / "out" / name / "metrics.json").read_text("utf-8"))["claims"]
    meant = [claim for claim in claims if claim["text"].startswith(mutant.claim)]
    assert meant, f"no claim begins with {mutant.claim!r}"
    assert not all(claim["holds"] for claim in meant), meant
