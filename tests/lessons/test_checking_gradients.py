"""Lesson 02 without hypothesis, which `pip install -e .` does not bring."""

import subprocess
import sys
from pathlib import Path

import lessons

LESSON = Path(lessons.FOLDER) / "02_checking_gradients.py"
WITHOUT_HYPOTHESIS = """
import runpy, sys
sys.modules["hypothesis"] = None  # makes its import fail
file, *sys.argv[1:] = sys.argv[1:]
runpy.run_path(file, run_name="__main__")
"""


def test_the_lesson_runs_without_hypothesis_and_says_what_is_left_out(tmp_path):
    command = [sys.executable, "-c", WITHOUT_HYPOTHESIS, LESSON, "--out", tmp_path, "--device", "cpu"]
    run = subprocess.run(command, capture_output=True, text=True, cwd=LESSON.parent.parent)
    assert run.returncode == 0, run.stdout + run.stderr
    assert "pip install hypothesis" in run.stdout and "property tests miss" not in run.stdout
