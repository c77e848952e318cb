"""The files that runs write: whole or as they were, whatever happens, and whoever else writes there."""

import json
import os
import subprocess
import sys

import pytest

import lessons
from tests.lessons.courses import COURSE, GOOD, ROOT, assert_one_line_error, script

FULL_DISK = "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (100, 100))\n"


def on_a_full_disk(source):
    """The same lesson, whose last cell cannot write more than 100 bytes into a file."""
    return source.replace("lesson.finish()", FULL_DISK + "lesson.finish()")


def parts(folder):
    return [path.name for path in folder.rglob("*") if "part" in path.name or "probe" in path.name]


def test_a_lesson_on_a_full_disk_is_one_line_and_keeps_what_was_there(course):
    assert course({1: GOOD}) == 0
    before = {path: path.read_bytes() for path in course.out.rglob("*.*")}
    file = lessons.FOLDER / "01_some_lesson.py"
    file.write_text(on_a_full_disk(GOOD))
    assert_one_line_error(script(file, "--out", course.out, "--data", "synthetic"), "log.txt could not be written")
    assert {path: path.read_bytes() for path in course.out.rglob("*.*")} == before


def test_a_summary_on_a_full_disk_keeps_the_one_before(course):
    assert course({1: GOOD}) == 0
    (course.out / "summary.json").write_text("earlier")
    code = COURSE + FULL_DISK + "sys.exit(main(sys.argv[2:]))"
    flags = ["--out", course.out, "--data", "synthetic", "--device", "cpu"]
    assert_one_line_error(script("-c", code, lessons.FOLDER, *flags), "summary.json could not be written")
    assert (course.out / "summary.json").read_text() == "earlier" and not parts(course.out)


def test_a_run_that_comes_to_nothing_leaves_no_empty_summary(course):
    assert course({1: GOOD.replace("lesson =", "import sys; sys.exit(2)\nlesson =")}, "--json", f"{course.out}/x") == 2
    assert list(course.out.iterdir()) == []


def test_the_summary_goes_into_a_pipe_too(course):
    read, write = os.pipe()
    with os.fdopen(read) as file:
        assert course({1: GOOD}, "--json", f"/dev/fd/{write}") == 0
        os.close(write)
        assert json.load(file)["lessons"][0]["lesson"] == "01_some_lesson"


def test_a_checkpoint_that_does_not_fit_on_the_disk_leaves_the_one_before(tmp_path):
    lessons.mg.save(tmp_path / "a", {"epoch": 1})
    code = FULL_DISK + "import minigrad, numpy; minigrad.save({!r}, numpy.ones(99))"
    result = script("-c", code.format(str(tmp_path / "a")))
    assert "File too large" in result.stderr and str(tmp_path / "a") in result.stderr
    assert lessons.mg.load(tmp_path / "a") == {"epoch": 1} and [path.name for path in tmp_path.iterdir()] == ["a"]


def test_what_is_not_a_file_is_not_replaced(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "folder").mkdir()
    for name in ("pipe", "folder"):
        with pytest.raises(OSError, match=name):
            lessons.mg.save(tmp_path / name, 1)
    assert len(list(tmp_path.iterdir())) == 2 and not (tmp_path / "pipe").is_file()


def test_a_file_is_as_readable_to_others_as_any_new_one_and_a_link_stays_one(tmp_path):
    (tmp_path / "plain").touch()
    (tmp_path / "link").symlink_to(tmp_path / "saved")
    lessons.mg.save(tmp_path / "link", 1)
    assert (tmp_path / "link").is_symlink() and lessons.mg.load(tmp_path / "saved") == 1
    assert (tmp_path / "saved").stat().st_mode == (tmp_path / "plain").stat().st_mode


# ---- several runs side by side -------------------------------------------------------------------------------------


WAITING = '''"""A lesson that waits to be told to go on"""
from lessons import Lesson
lesson = Lesson(__file__, lambda parser: parser.add_argument("--only", nargs="+"))
state = lesson.checkpoint("run", {})
state.save(1)
print("ready", flush=True)
input()
state.save(2)
lesson.claim("one is one", 1, near=1, within=0)
lesson.finish()
'''


@pytest.mark.parametrize("flags", [[], ["--only", "x"]], ids=["whole", "a part"])
def test_two_equal_runs_do_not_disturb_each_other(tmp_path, flags):
    """Both have begun before either goes on; the second still trains when the first has cleared up."""
    file = tmp_path / "01_waiting.py"
    file.write_text(WAITING)
    command = [sys.executable, str(file), "--out", str(tmp_path / "out"), "--data", "synthetic", *flags]
    pipes = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.PIPE)
    both = [subprocess.Popen(command, cwd=ROOT, text=True, **pipes) for _ in range(2)]
    for process in both:
        while "ready" not in (line := process.stdout.readline()):
            assert line, process.stderr.read()
    for process in both:
        _, error = process.communicate("go on\n")
        assert process.returncode == 0, error
    out = tmp_path / "out" / "01_waiting"
    assert sorted(path.name for path in out.iterdir()) == ["log-x.txt" if flags else "log.txt", "metrics.json"]


def test_a_crash_is_not_hidden_by_the_results_of_a_run_beside_it(course, capfd):
    """Good results have appeared, but not from this process."""
    assert course({1: GOOD + "1 / 0\n"}) == 1
    assert "FAILED" in capfd.readouterr().out


def test_the_output_folder_is_tried_without_a_file_that_others_see(tmp_path):
    (tmp_path / ".probe").mkdir()
    assert lessons.writable_folder(tmp_path) == tmp_path
    assert (tmp_path / ".probe").exists()


def test_a_quick_run_keeps_the_checkpoints_of_other_runs(course):
    """Of a full one above all, which took days."""
    source = GOOD.replace("lesson.claim", 'lesson.checkpoint("run", {}).save(1)\nlesson.claim', 1)
    days = course.out / "01_some_lesson" / "checkpoints" / "full-cifar10-seed0" / "run.npz"
    days.parent.mkdir(parents=True)
    days.write_bytes(b"8 days of work")
    assert course({1: source}) == 0
    assert [path for path in days.parent.parent.rglob("*") if path.is_file()] == [days]
