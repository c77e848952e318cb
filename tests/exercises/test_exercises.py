"""Every stub fails with a message of its own, every solution passes, every known mistake fails and is named."""

import ast
import re

import pytest

from lessons import lesson_files
from lessons.exercises import LAWS, files, judge, learners_part, load
from lessons.exercises.check import report

EXERCISES = [load(path) for path in files().values()]
every_exercise = pytest.mark.parametrize("exercise", EXERCISES, ids=lambda exercise: exercise.number)
MISTAKES = [(exercise, mistake) for exercise in EXERCISES for mistake in exercise.mistakes]


def verdict_on(exercise, source, folder):
    path = folder / exercise.answer
    path.write_text(source, "utf-8")
    return judge.judge(exercise, path)


@every_exercise
def test_the_stub_is_not_written_yet(exercise, tmp_path):
    verdict = verdict_on(exercise, exercise.stub(), tmp_path)
    assert verdict["status"] == "todo" and set(verdict["names"]) == exercise.functions()
    assert all(name in "\n".join(report(exercise, verdict)) for name in verdict["names"])


@every_exercise
def test_the_solution_is_right(exercise, tmp_path):
    verdict = verdict_on(exercise, exercise.source(), tmp_path)
    assert verdict == {"status": "right"}, "\n".join(report(exercise, verdict))


@pytest.mark.parametrize(("exercise", "mistake"), MISTAKES, ids=[f"{e.number}: {m.cause}" for e, m in MISTAKES])
def test_a_known_mistake_is_found_and_named(exercise, mistake, tmp_path):
    verdict = verdict_on(exercise, mistake.source, tmp_path)
    assert verdict["status"] in ("wrong", "error"), verdict
    if verdict["status"] == "wrong":
        assert mistake.cause in verdict["causes"], verdict


@every_exercise
def test_the_task_is_complete(exercise):
    assert re.fullmatch(r"\S+ [A-Z].*", exercise.docstring.partition("\n")[0])
    assert exercise.docstring.startswith(f"{exercise.number} ")
    assert 2 <= len(exercise.hints) <= 3 and len(exercise.laws) >= 2 and len(exercise.mistakes) >= 3
    assert exercise.where.startswith(("lesson ", "further/"))
    lines = sum(len(region.splitlines()) for region in re.findall(r"# solution.*?\n(.*?)# end", exercise.source(), re.S))
    assert lines <= 40 * max(1, len(exercise.functions()))


@every_exercise
def test_no_law_reads_the_solution(exercise):
    """Laws get the answer as their argument, and must not call the functions that stand above them."""
    text = exercise.file.read_text("utf-8")
    above, below = ast.parse(learners_part(exercise.file)), ast.parse(text.partition(LAWS)[2])
    ours = {node.name for node in above.body if isinstance(node, (ast.FunctionDef, ast.ClassDef))}
    names = {node.id for node in ast.walk(below) if isinstance(node, ast.Name)}
    assert not ours & names


def test_each_lesson_has_three_and_there_are_forty():
    numbers = [exercise.number for exercise in EXERCISES]
    for lesson in lesson_files():
        assert sum(number.startswith(f"{lesson}.") for number in numbers) >= 3, lesson
    assert sum(number[0].isdigit() for number in numbers) >= 40
