"""A course of a test's own lessons."""

import pytest

import lessons
from lessons.__main__ import main


@pytest.fixture
def course(tmp_path, monkeypatch):
    """A function that makes a course of these lessons and runs it with these arguments."""
    folder, out = tmp_path / "lessons", tmp_path / "out"
    folder.mkdir()
    monkeypatch.setattr(lessons, "FOLDER", folder)

    def run(sources, *arguments):
        for number, source in sources.items():
            (folder / f"{number:02d}_some_lesson.py").write_text(source)
        return main([*arguments, "--out", str(out), "--data", "synthetic", "--device", "cpu"])

    run.out = out
    return run
