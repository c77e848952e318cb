"""Wrong answers, written from the stubs alone by people who had seen neither laws nor diagnoses: each one fails, and
the report says what is wrong with it and nothing else. Kept are the first five of each exercise, those that the report
could not explain at first, and all of lesson 10 and of the engine. (Those of lesson 12 are by the author of its laws.)

A file in `wrong/` holds the answers to one exercise. What is wrong comes first, in its author's words; then the cause
that the report names, where that says the same; then the answer. An engine is long: of a wrong one
`wrong/` holds what differs from its author's right one, my_engine.txt, in lines with - and +.
"""

import re
from pathlib import Path
from typing import NamedTuple

import pytest

from lessons.exercises import files, judge, load

FOLDER = Path(__file__).parent / "wrong"
SECTION = re.compile(r"^# %% Wrong: (.*)\n# (?:Cause: (.*)|No cause is named\.( It never ends\.)?)\n", re.MULTILINE)
PLACE = re.compile(r"^@@\n", re.MULTILINE)  # before each that differs
NAMED = 0.8  # the share of wrong answers of which the right cause has to be named, at least


class Wrong(NamedTuple):
    """One wrong answer: to which exercise, what is wrong, the cause that the report names or None, and its text."""

    exercise: str
    what: str
    cause: str | None
    never_ends: bool
    source: str


def wrong_answers():
    engine = (FOLDER / "my_engine.txt").read_text("utf-8")
    for number, path in files().items():
        collected = FOLDER / f"{path.stem}.txt"
        if collected.exists():
            _, *pieces = SECTION.split(collected.read_text("utf-8"))
            for what, cause, endless, source in zip(*(pieces[i::4] for i in range(4)), strict=True):
                source = changed(engine, source) if number.startswith("engine") else source
                yield Wrong(number, what, cause, bool(endless), source)


def changed(source, differences):
    """The source with lines taken out (-) and others put in (+), each place found by what stood there."""
    for place in PLACE.split(differences)[1:]:
        lines = [line or " " for line in place.strip("\n").split("\n")]
        old, new = ("\n".join(line[1:] for line in lines if line[0] in f" {sign}") for sign in "-+")
        assert source.count(f"\n{old}\n") == 1, place
        source = source.replace(f"\n{old}\n", f"\n{new}\n")
    return source


ANSWERS = list(wrong_answers())
FIRST = {answer.exercise: answer for answer in reversed(ANSWERS)}


def test_there_are_three_for_each_exercise_and_the_cause_of_most_is_named():
    counts = {number: sum(a.exercise == number for a in ANSWERS) for number, path in files().items()}
    assert all(count >= 3 for count in counts.values())
    assert sum(a.cause is not None for a in ANSWERS) >= NAMED * len(ANSWERS)


def test_the_engine_that_is_right(tmp_path):
    (tmp_path / "my_engine.py").write_text((FOLDER / "my_engine.txt").read_text("utf-8"), "utf-8")
    for number, path in files().items():
        if number.startswith("engine") and number != "engine.10":  # which trains for seconds
            assert judge.judge(load(path), tmp_path / "my_engine.py") == {"status": "right"}, number


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
    if answer.never_ends:
        assert judge.run(exercise, path, seconds=3.0)["status"] == "endless"
        return
    verdict = judge.judge(exercise, path)
    assert verdict["status"] in ("wrong", "error"), verdict
    if answer.cause is None:
        assert not verdict.get("causes"), verdict
    else:
        assert verdict.get("causes") and all(cause in answer.cause for cause in verdict["causes"]), verdict
