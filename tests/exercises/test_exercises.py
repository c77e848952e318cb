"""Every stub fails with a message of its own, every solution passes, every known mistake fails and is named."""

import ast
import re

import pytest

from lessons import lesson_files
from lessons.exercises import LAWS, REGION, files, folder, judge, learners_part, load
from lessons.exercises.check import report
from tests.exercises.conftest import without_new_ops

with without_new_ops():
    EXERCISES = [load(path) for path in files().values()]
every_exercise = pytest.mark.parametrize("exercise", EXERCISES, ids=lambda exercise: exercise.number)
ENGINE = [exercise for exercise in EXERCISES if exercise.shared]
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


@pytest.mark.parametrize(
    ("exercise", "mistake"),
    [
        pytest.param(e, m, id=f"{e.number}: {m.cause}", marks=[] if m in e.mistakes[:3] else pytest.mark.mistakes)
        for e, m in MISTAKES
    ],
)
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
    regions = re.findall(rf"# solution{exercise.mark}\n(.*?)# end", exercise.source(), re.DOTALL)
    lines = sum(len(region.splitlines()) for region in regions)
    assert lines <= 40 * max(1, len(exercise.functions()))


@every_exercise
def test_no_law_reads_the_solution(exercise):
    """Laws get the answer as their argument, and must not call the functions that stand above them."""
    text = exercise.file.read_text("utf-8")
    above, below = ast.parse(learners_part(exercise.file)), ast.parse(text.partition(LAWS)[2])
    ours = {node.name for node in above.body if isinstance(node, (ast.FunctionDef, ast.ClassDef))}
    names = [node for node in ast.walk(below) if isinstance(node, ast.Name)]
    own = {node.id for node in names if isinstance(node.ctx, ast.Store)}
    assert not ours & ({node.id for node in names} - own)


def steps_up_to(place):
    """my_engine.py as it is when a step is done: the solution of the steps so far, dots in the others."""
    text = ENGINE[0].source()
    return REGION.sub(lambda region: region[0] if int(region[2]) <= place else f"{region[1]}...\n", text)


@pytest.mark.parametrize("place", range(1, 11))
def test_the_engine_can_be_written_step_by_step(place, tmp_path):
    exercise = ENGINE[place - 1]
    verdict = verdict_on(exercise, steps_up_to(place), tmp_path)
    assert verdict == {"status": "right"}, "\n".join(report(exercise, verdict))


def test_the_engine_has_ten_steps_and_less_than_250_lines_that_say_something():
    lines = [line.strip() for line in ENGINE[0].source().splitlines()]
    assert [exercise.number for exercise in ENGINE] == [f"engine.{k}" for k in range(1, 11)]
    assert len([line for line in lines if line and not line.startswith("#")]) < 250


def test_what_is_done_stays_done_until_its_own_part_is_edited(tmp_path):
    folder.write(tmp_path)
    path, state = tmp_path / "my_engine.py", folder.State.of(tmp_path)
    assert "engine.4" in (tmp_path / ENGINE[3].task).read_text("utf-8")
    path.write_text(steps_up_to(2), "utf-8")
    for exercise in ENGINE[:2]:
        state.done[exercise.number] = exercise.counted(path.read_text("utf-8"))
    assert [state.is_done(exercise) for exercise in ENGINE[:3]] == [True, True, False]
    path.write_text(steps_up_to(5), "utf-8")
    assert state.is_done(ENGINE[0]) and state.is_done(ENGINE[1])
    path.write_text(steps_up_to(5).replace("waiting.pop()", "waiting.pop(0)"), "utf-8")
    assert state.is_done(ENGINE[0]) and not state.is_done(ENGINE[1])
    path.write_text(steps_up_to(5).replace("return self.data.shape", "return np.shape(self.data)"), "utf-8")
    assert not state.is_done(ENGINE[0]) and state.is_done(ENGINE[1])


def test_a_step_of_the_engine_is_put_back_alone(tmp_path):
    folder.write(tmp_path)
    path = tmp_path / "my_engine.py"
    path.write_text(steps_up_to(5), "utf-8")
    ((moved, kept),) = folder.reset(tmp_path, "engine.5")
    assert moved == path and kept.read_text("utf-8") == steps_up_to(5)
    assert judge.judge(ENGINE[4], path)["status"] == "todo"
    assert judge.judge(ENGINE[3], path)["status"] == "right"
    path.write_text(steps_up_to(5), "utf-8")
    folder.reset(tmp_path, "engine")
    assert ENGINE[0].functions() <= set(judge.judge(ENGINE[0], path)["names"])


def test_each_lesson_has_three_and_there_are_forty():
    numbers = [exercise.number for exercise in EXERCISES]
    for lesson in lesson_files():
        assert sum(number.startswith(f"{lesson}.") for number in numbers) >= 3, lesson
    assert sum(number[0].isdigit() for number in numbers) >= 40
