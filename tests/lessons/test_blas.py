"""Lessons that the course starts take faster kernels than OpenBLAS by itself, and the record of a run names them."""

import json

import pytest

import lessons
from minigrad import blas
from tests.lessons.courses import GOOD


@pytest.fixture
def fastest(monkeypatch):
    """As if OpenBLAS had chosen older kernels here; it takes no notice of a name that it does not know."""
    monkeypatch.setattr(blas, "faster", lambda: "Fastest")
    monkeypatch.delenv(blas.VARIABLE, raising=False)
    monkeypatch.setenv("MINIGRAD_BLAS_KERNELS", "1")


def recorded(course):
    """What the record of the lesson, and that of the course, say of BLAS."""
    (summary,) = json.loads((course.out / "summary.json").read_text())["lessons"]
    metrics = json.loads((course.out / "01_some_lesson" / "metrics.json").read_text())
    assert summary["blas"] == metrics["blas"]
    return metrics["blas"]


@pytest.mark.usefixtures("fastest")
def test_lessons_are_given_the_variable_and_the_record_says_so(course, capfd):
    assert course({1: GOOD}) == 0
    assert recorded(course).startswith(blas.description()[:8]) and "OPENBLAS_CORETYPE=Fastest" in recorded(course)
    said = capfd.readouterr().out
    assert "lessons run with OPENBLAS_CORETYPE=Fastest" in said and "MINIGRAD_BLAS_KERNELS=0" in said


@pytest.mark.usefixtures("fastest")
@pytest.mark.parametrize("variable, value", [("MINIGRAD_BLAS_KERNELS", "0"), (blas.VARIABLE, "Mine")])
def test_who_wants_other_kernels_keeps_them(course, capfd, monkeypatch, variable, value):
    monkeypatch.setenv(variable, value)
    assert course({1: GOOD}) == 0
    assert "Fastest" not in recorded(course) and "Fastest" not in capfd.readouterr().out
    assert (f"{blas.VARIABLE}=Mine" in recorded(course)) == (variable == blas.VARIABLE)


def test_a_run_that_goes_on_with_another_blas_says_that_its_bits_are_others(tmp_path, monkeypatch, capsys):
    run = lessons.Checkpoint(tmp_path / "run.npz", {"run": "a"}, fresh=False)
    run.save({"epoch": 1})
    assert run.load() == {"epoch": 1} and capsys.readouterr().out == ""
    monkeypatch.setattr(blas, "description", lambda: "another BLAS")
    assert run.load() == {"epoch": 1}
    said = capsys.readouterr().out
    assert said.startswith("run.npz was computed with ") and "goes on with another BLAS" in said
    run.save({"epoch": 2})
    assert run.load() == {"epoch": 2} and capsys.readouterr().out == ""
