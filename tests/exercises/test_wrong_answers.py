"""Wrong answers, written from the stubs alone by people who had seen neither laws nor diagnoses: each one fails, and of
most the report says what is wrong with them.

A file in `wrong/` holds the answers to one exercise. What is wrong comes first, in its author's words; then the cause
that the report names, where the author found that it says the same; then the answer.
"""

import re
from pathlib import Path
from typing import NamedTuple

import pytest

from lessons.exercises import files, judge, load

FOLDER = Path(__file__).parent / "wrong"
SECTION = re.compile(r"^# %% Wrong: (.*)\n# (?:Cause: (.*)|No cause is named\.)\n", re.MULTILINE)
NAMED = 0.8  # the share of wrong answers of which the right cause has to be named, at least


class Wrong(NamedTuple):
    """One wrong answer: to which exercise, what is wrong, the cause that the report names or None, and its text."""

    exercise: str
    what: str
    cause: str | None
    source: str


def wrong_answers():
    for number, path in files().items():
        collected = FOLDER / f"{path.stem}.txt"
        if collected.exists():
            pieces = SECTION.split(collected.read_text("utf-8"))[1:]
            for what, cause, source in zip(pieces[::3], pieces[1::3], pieces[2::3], strict=True):
                yield Wrong(number, what, cause, source)


ANSWERS = list(wrong_answers())
FIRST = {answer.exercise: answer for answer in reversed(ANSWERS)}


def test_there_are_three_for_each_exercise_and_the_cause_of_most_is_named():
    counts = {number: sum(a.exercise == number for a in ANSWERS) for number, path in files().items()}
    assert all(count >= 3 for number, count in counts.items() if not number.startswith("engine"))
    assert sum(a.cause is not None for a in ANSWERS) >= NAMED * len(ANSWERS)


@pytest.mark.parametrize(
    "answer",
    [
        pytest.param(a, id=f"{a.exercise}: {a.what}", marks=[] if FIRST[a.exercise] is a else pytest.mark.mistakes)
        for a in ANSWERS
    ],
)
def test_a_wrong_answer_fails_and_its_cause_is_named(answer, tmp_path):
    exercise = load(files()[answer.exercise])
    path = tmp_path / exercise.answer
    path.write_text(answer.source, "utf-8")
    verdict = judge.judge(exercise, path)
    assert verdict["status"] in ("wrong", "error"), verdict
    if answer.cause is not None:
        assert any(cause in answer.cause for cause in verdict["causes"]), verdict
