"""A run goes on only with the sources that it began with."""

import os
import shutil

import pytest

import lessons
from tests.lessons.courses import ROOT, assert_one_line_error, script

TRAINING = '''"""A lesson that trains"""
from lessons import Lesson
lesson = Lesson(__file__, lambda parser: parser.add_argument("--stop", action="store_true"))
checkpoint = lesson.checkpoint("run", {"rate": 0.1})
epoch = (checkpoint.load() or {"epoch": 0})["epoch"] + 1
checkpoint.save({"epoch": epoch})
if lesson.flags.stop:
    lesson.stop(f"stopped after epoch {epoch}")
lesson.claim("epochs", epoch, near=2, within=0)
lesson.finish()
'''


@pytest.fixture
def training(tmp_path):
    """A function that runs a lesson with a copy of the project; it says where, and where the checkpoint is."""
    for package in ("lessons", "minigrad", "wn", "tests"):
        shutil.copytree(ROOT / package, tmp_path / package, ignore=shutil.ignore_patterns("__pycache__"))
    file = tmp_path / "lessons" / "01_training.py"
    file.write_text(TRAINING)

    def run(*arguments):
        flags = ("--data", "synthetic", "--device", "cpu", "--out", tmp_path / "out")
        return script(file, *flags, *arguments, PYTHONPATH=tmp_path)

    run.project = tmp_path
    run.checkpoint = tmp_path / "out" / "01_training" / "checkpoints" / "quick-synthetic-seed0" / "run.npz"
    return run


def test_a_run_goes_on_only_with_the_sources_that_it_began_with(training):
    assert training("--stop").returncode == 0
    before = training.checkpoint.read_bytes()
    for changed in ("minigrad/optim/adam.py", "minigrad/new.py", "wn/growth.py", "lessons/01_training.py"):
        file = training.project / changed
        source = file.read_text(encoding="utf-8") if file.exists() else None
        with open(file, "a") as stream:
            stream.write("# changed\n")
        assert_one_line_error(training(), training.checkpoint, "other sources", "--fresh")
        if source is None:
            file.unlink()
        else:
            file.write_text(source, encoding="utf-8")
    assert training.checkpoint.read_bytes() == before
    assert training().returncode == 0


def test_a_fresh_start_is_the_way_out(training):
    assert training("--stop").returncode == 0
    with open(training.project / "wn" / "growth.py", "a") as file:
        file.write("# changed\n")
    assert training("--stop", "--fresh").returncode == 0
    assert training().returncode == 0


def test_what_a_run_does_not_depend_on_may_change(training):
    assert training("--stop").returncode == 0
    for changed in ("tests/conftest.py", "lessons/02_checking_gradients.py", "minigrad/notes.md"):
        with open(training.project / changed, "a") as file:
            file.write("# changed\n")
    assert training().returncode == 0


def test_sources_changed_while_a_lesson_runs_do_not_count_for_what_it_saves(training):
    """What has been imported computes; the files may be newer."""
    file = training.project / "lessons" / "01_training.py"
    changing = "open(__file__, 'a').write('# changed')\n"
    file.write_text(TRAINING.replace("checkpoint =", changing + "checkpoint =", 1))
    assert training("--stop").returncode == 0
    assert_one_line_error(training(), "other sources")


@pytest.mark.parametrize(
    "tree",
    [
        5,
        {"epoch": 1},
        {"identity": "01_training run", "state": {"epoch": 1}},
        {"identity": {"lesson": "01_training", "run": "run", "rate": 0.1}, "state": {}},  # before there were sources
    ],
)
def test_a_checkpoint_of_an_older_structure_is_refused_in_one_line_and_kept(training, tree):
    training.checkpoint.parent.mkdir(parents=True)
    lessons.mg.save(training.checkpoint, tree)
    before = training.checkpoint.read_bytes()
    assert_one_line_error(training(), training.checkpoint, "--fresh")
    assert training.checkpoint.read_bytes() == before


def test_a_checkpoint_with_its_identity_and_no_state_is_refused(training):
    assert training("--stop").returncode == 0
    saved = lessons.mg.load(training.checkpoint)
    lessons.mg.save(training.checkpoint, {"identity": saved["identity"]})
    assert_one_line_error(training(), training.checkpoint, "--fresh")


def test_a_pipe_in_place_of_a_checkpoint_is_refused_at_once(training):
    training.checkpoint.parent.mkdir(parents=True)
    os.mkfifo(training.checkpoint)
    assert_one_line_error(training(), training.checkpoint, "not a file")
