"""The command line of the course: what runs, what is skipped, and what wrong input gets."""

import argparse
import json
import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

import lessons
from lessons import full_run
from lessons.__main__ import main, select
from tests.lessons.courses import COURSE, GOOD, ROOT, assert_one_line_error, script, small_cifar10

FALSE = GOOD.replace("near=1", "near=2")
CRASHING = GOOD.replace('lesson.claim("one is one", 1, near=1, within=0)', "1 / 0")


def test_a_course_whose_claims_hold_exits_with_0_and_leaves_a_summary(course, capfd):
    assert course({1: GOOD, 2: GOOD}) == 0
    summary = json.loads((course.out / "summary.json").read_text())
    assert [lesson["claims"][0]["holds"] for lesson in summary["lessons"]] == [True, True]
    assert "2 lessons, 2 of 2 claims hold" in capfd.readouterr().out
    assert "one is one" in (course.out / "01_some_lesson" / "log.txt").read_text()


@pytest.mark.parametrize("source", [FALSE, CRASHING], ids=["false claim", "crash"])
def test_a_lesson_that_fails_makes_the_course_fail_but_the_others_run(course, source, capfd):
    assert course({1: source, 2: GOOD}) == 1
    assert (course.out / "02_some_lesson" / "metrics.json").exists()
    assert course({1: source, 2: GOOD}, "--fresh", "-x") == 1
    assert "1 lessons" in capfd.readouterr().out


def test_the_table_has_its_verdicts_in_one_column_and_what_fails_again_at_the_end(course, capfd):
    long = GOOD.replace("one is one", "one is one, " + 20 * "however long it takes to say ")
    assert course({1: FALSE, 2: long, 3: CRASHING}) == 1
    table = capfd.readouterr().out.partition("lesson  verdict")[2].splitlines()[1:]
    assert [line[:2] for line in table[:3]] == ["01", "02", "03"]
    assert {line[8:].split("  ")[0] for line in table[:3]} == {"DOES NOT HOLD", "holds", "FAILED"}
    assert table[3] == "" and table[4:6] == [table[0], table[2]]


def test_a_finished_lesson_is_skipped_until_its_source_or_flags_change(course, capfd):
    def ran(sources, *arguments):
        course(sources, *arguments)
        return "not run again" not in capfd.readouterr().out

    assert ran({1: GOOD})
    assert not ran({1: GOOD})
    assert ran({1: GOOD}, "--seed", "1")
    assert ran({1: GOOD + "\n# a change\n"}, "--seed", "1")
    assert ran({1: GOOD + "\n# a change\n"}, "--seed", "1", "--fresh")
    assert ran({1: FALSE}) and ran({1: FALSE})  # one that failed is not finished


def test_a_lesson_depends_on_the_modules_that_it_imports_and_on_the_stored_runs_that_it_reads(tmp_path, monkeypatch):
    monkeypatch.setattr(lessons, "FOLDER", tmp_path / "lessons")
    file, flags = lessons.FOLDER / "01_first.py", argparse.Namespace(full=False, device="cpu", seed=0)
    contents = {
        file: "from lessons import Lesson, model\nruns = grid.stored('some', [])\n".replace("'", '"'),
        lessons.FOLDER / "model.py": "from lessons.layers import Layer\n",
        lessons.FOLDER / "layers.py": "import lessons.unused\n",
        tmp_path / "results" / "some" / "run.json": "{}",
    }
    others = {lessons.FOLDER / "02_second.py": "", tmp_path / "results" / "other" / "run.json": ""}
    for path, content in (contents | others).items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)

    def changes(path):
        before = lessons.fingerprint(file, flags, "synthetic")
        path.write_text(path.read_text() + " ")
        return lessons.fingerprint(file, flags, "synthetic") != before

    assert all(map(changes, contents)) and not any(map(changes, others))


@pytest.mark.parametrize("content", ["{}", "[]", "null", '{"lesson": "01", "claims": []}', "{", b"\xff"])
def test_metrics_of_another_structure_are_not_those_of_a_finished_run(course, content):
    metrics = course.out / "01_some_lesson" / "metrics.json"
    metrics.parent.mkdir(parents=True)
    metrics.write_bytes(content if isinstance(content, bytes) else content.encode())
    assert course({1: GOOD}) == 0
    assert json.loads(metrics.read_text())["claims"][0]["holds"]


def test_a_crash_after_a_finished_run_is_not_taken_for_it(course, capfd):
    assert course({1: GOOD}) == 0
    assert course({1: CRASHING}) == 1
    assert "FAILED" in capfd.readouterr().out


def test_lessons_are_chosen_by_number_and_range():
    numbers = [lessons.lesson_number(file) for file in select([])]
    assert numbers == sorted(numbers) and {1, 3, 9} <= set(numbers)
    assert select(["9", "1-3"]) == [lessons.lesson_files()[n] for n in numbers if n in (1, 2, 3, 9)]


def test_the_list_states_title_and_time_of_every_lesson(capsys):
    assert main(["--list"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == len(lessons.lesson_files()) + len(lessons.further_files())
    assert all("quick about" in line for line in lines)


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        (["77"], "there is no lesson 77"),
        (["one"], "'one' is not a lesson's number"),
        (["1", "--json", "/no/such/folder/x.json"], "/no/such/folder/x.json"),
    ],
)
def test_wrong_arguments_get_one_line_and_exit_code_2(arguments, word, tmp_path):
    assert_one_line_error(script("-m", "lessons", *arguments, "--out", tmp_path), word)


@pytest.mark.skipif(lessons.mg.is_available("cuda"), reason="there is a GPU here")
@pytest.mark.parametrize("command", [["-m", "lessons", "1"], ["lessons/01_tensors_and_the_tape.py"]])
def test_asking_for_a_gpu_where_there_is_none_is_an_error_not_a_fallback(command, tmp_path):
    assert_one_line_error(script(*command, "--device", "cuda", "--out", tmp_path), "no NVIDIA GPU")


@pytest.mark.parametrize("command", [["-m", "lessons", "1"], ["lessons/01_tensors_and_the_tape.py"]])
def test_an_output_folder_that_cannot_be_written_is_named(command, tmp_path):
    (tmp_path / "file").write_text("in the way")
    assert_one_line_error(script(*command, "--out", tmp_path / "file"), tmp_path / "file", "--out")
    assert (tmp_path / "file").read_text() == "in the way"


@pytest.mark.parametrize("command", [["-m", "lessons", "1"], ["lessons/01_tensors_and_the_tape.py"]])
@pytest.mark.parametrize("seed", ["-1", "1.5", "one"])
def test_a_seed_that_is_none_is_refused_before_anything_runs(command, seed, tmp_path):
    result = script(*command, "--seed", seed, "--out", tmp_path / "out")
    assert result.returncode == 2 and repr(seed) in result.stderr and "Traceback" not in result.stderr
    assert not (tmp_path / "out").exists()


def test_damaged_data_is_named_and_nothing_that_was_there_is_overwritten(tmp_path):
    batches = tmp_path / "data" / "cifar-10-batches-bin"
    batches.mkdir(parents=True)
    (batches / "data_batch_1.bin").write_bytes(bytes(3073))
    out = tmp_path / "out" / "09_cifar10_network"
    out.mkdir(parents=True)
    (out / "metrics.json").write_text("{}")
    (out / "log.txt").write_text("earlier")
    result = script(
        "-m", "lessons", "9", "--data", "cifar10", "--out", tmp_path / "out", MINIGRAD_DATA=tmp_path / "data"
    )
    assert_one_line_error(result, "data_batch_1.bin", "3,073")
    assert (out / "metrics.json").read_text() == "{}" and (out / "log.txt").read_text() == "earlier"


def test_a_lesson_may_have_pictures_of_its_own(course):
    file = lessons.FOLDER / "01_some_lesson.py"
    file.write_text(GOOD.replace("Lesson(__file__)", 'Lesson(__file__, sets=("mnist", "synthetic"))'))
    assert script(file, "--out", course.out, "--data", "mnist").returncode == 0
    assert json.loads((course.out / "01_some_lesson" / "metrics.json").read_text())["data"] == "mnist"
    assert_one_line_error(script(file, "--out", course.out, "--data", "cifar10"), "cifar10")


UNICODE = GOOD.replace("A lesson that works", "Σ ‖v‖² ≤ 1").replace("one is one", "‖v‖ grows → ∞, ünï")
ENCODINGS = [{"PYTHONIOENCODING": name} for name in ("ascii", "latin-1", "cp1252", "ascii:strict")]
ENCODINGS.append({"LC_ALL": "C", "PYTHONCOERCECLOCALE": "0", "PYTHONUTF8": "0"})


@pytest.mark.parametrize("environment", ENCODINGS, ids=lambda environment: "-".join(environment.values()))
def test_a_terminal_of_few_characters_gets_question_marks_and_the_log_has_them_all(course, environment):
    file = lessons.FOLDER / "01_some_lesson.py"
    file.write_text(UNICODE, encoding="utf-8")
    result = script(file, "--out", course.out, "--data", "synthetic", **environment)
    assert result.returncode == 0 and not result.stderr, result.stderr
    assert "grows ? ?" in result.stdout
    assert "‖v‖ grows → ∞, ünï" in (course.out / "01_some_lesson" / "log.txt").read_text(encoding="utf-8")

    flags = ["--out", course.out, "--data", "synthetic", "--device", "cpu", "--json", course.out / "x"]
    result = script("-c", COURSE + "sys.exit(main(sys.argv[2:]))", lessons.FOLDER, *flags, **environment)
    assert result.returncode == 0 and not result.stderr, result.stderr
    assert json.loads((course.out / "x").read_text(encoding="utf-8"))["lessons"][0]["claims"][0]["holds"]


@pytest.mark.parametrize("flag", ["--list", "--equations", "--help"])
def test_what_the_course_says_of_itself_needs_no_more_than_ascii(flag):
    result = script("-m", "lessons", flag, PYTHONIOENCODING="ascii")
    assert result.returncode == 0 and not result.stderr and result.stdout, result.stderr


@pytest.mark.parametrize("epochs", ["-1", "0", "1.5", "many"])
def test_a_number_of_epochs_that_is_none_is_one_line(epochs, tmp_path):
    result = script("lessons/09_cifar10_network.py", "--epochs", epochs, "--out", tmp_path / "out")
    assert_one_line_error(result, "--epochs", repr(epochs))
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("minutes", ["nan", "inf", "-1", "0", "nine"])
def test_minutes_that_never_end_are_one_line(minutes, tmp_path):
    result = script("lessons/09_cifar10_network.py", "--minutes", minutes, "--out", tmp_path / "out")
    assert_one_line_error(result, "--minutes", repr(minutes))
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("arguments", [["--seed", "-1"], ["--data", "mnist"], ["--nonsense"]])
@pytest.mark.parametrize("command", [["-m", "lessons", "1"], ["lessons/01_tensors_and_the_tape.py"]])
def test_wrong_flags_are_one_line(command, arguments, tmp_path):
    assert_one_line_error(script(*command, "--out", tmp_path, *arguments), arguments[0], "--help")


# ---- where the sources come from -----------------------------------------------------------------------------------


def git(folder, *arguments):
    names = {f"GIT_{who}_{what}": "a@b" for who in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")}
    quiet = {"capture_output": True, "text": True, "check": True, "env": os.environ | names}
    return subprocess.run(["git", *arguments], cwd=folder, **quiet).stdout.strip()


@pytest.fixture
def checkout(tmp_path):
    """A repository with one commit, in which there is a folder within a folder."""
    (tmp_path / "project" / "lessons").mkdir(parents=True)
    (tmp_path / "project" / "lessons" / "file").touch()
    for arguments in (["init", "-q"], ["add", "-A"], ["commit", "-qm", "first"]):
        git(tmp_path, *arguments)
    return tmp_path


def test_the_commit_of_another_repository_is_not_ours(checkout, monkeypatch):
    monkeypatch.setattr(lessons, "FOLDER", checkout / "project" / "lessons")
    assert lessons.commit() == "unknown"


def test_the_commit_is_the_one_that_is_checked_out(checkout, monkeypatch):
    monkeypatch.setattr(lessons, "FOLDER", checkout / "project")
    assert lessons.commit() == git(checkout, "rev-parse", "--short", "HEAD")
    (checkout / "project" / "lessons" / "file").write_text("changed")
    assert lessons.commit().endswith("+")


def test_outside_a_checkout_and_before_the_first_commit_it_is_unknown(tmp_path, monkeypatch):
    monkeypatch.setattr(lessons, "FOLDER", tmp_path / "lessons")
    assert lessons.commit() == "unknown"
    (tmp_path / "lessons").mkdir()
    assert lessons.commit() == "unknown"
    git(tmp_path, "init", "-q")
    assert lessons.commit() == "unknown"
    monkeypatch.setenv("PATH", "")  # no git at all
    assert lessons.commit() == "unknown"


# ---- a run that is killed ------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def small_lesson(tmp_path_factory):
    """Lesson 09 made tiny, and a function that starts it."""
    folder = tmp_path_factory.mktemp("small")
    file = folder / "09_cifar10_network.py"
    file.write_text(small_cifar10())

    def start(out, *arguments, before=(), plain=False, **options):
        command = [sys.executable, *before, str(file), "--data", "synthetic", "--out", str(folder / out), *arguments]
        environment = os.environ | {"XDG_CACHE_HOME": str(folder / "cache"), "MINIGRAD_DATA": str(folder / "cache")}
        environment["MINIGRAD_PLAIN"] = str(int(plain))
        return subprocess.Popen(
            command, cwd=ROOT, env=environment, stderr=subprocess.PIPE, text=True, stdout=subprocess.DEVNULL, **options
        )

    start.folder, start.results = folder, lambda out: folder / out / "09_cifar10_network"
    return start


def curves(folder):
    """What was measured, without the times."""
    measured = json.loads((folder / "metrics.json").read_text())["measurements"]["curves"]
    return {run: {name: values for name, values in c.items() if name != "seconds"} for run, c in measured.items()}


def wait_for(path, process):
    for _ in range(600):
        if path.exists():
            return
        assert process.poll() is None, process.stderr.read()
        time.sleep(0.05)
    raise AssertionError(f"{path} did not appear")


def finished(process):
    """Let it run to its end. Claims about learning need not hold for a network this small: 0 or 1."""
    _, error = process.communicate()
    assert process.returncode in (0, 1) and "Traceback" not in error, error


@pytest.fixture(scope="module")
def undisturbed(small_lesson):
    finished(small_lesson("undisturbed"))
    return curves(small_lesson.results("undisturbed"))


ENDLESS = """
import os, time
print("pid", os.getpid(), flush=True)
while True:
    time.sleep(0.01)
"""


def test_a_course_that_is_terminated_takes_its_lesson_along(tmp_path):
    """The lesson is gone, and cleaned up after itself, when the course is."""
    folder, out = tmp_path / "lessons", tmp_path / "out"
    folder.mkdir()
    for number in (1, 2):
        (folder / f"{number:02d}_some_lesson.py").write_text(GOOD.replace("lesson.claim", ENDLESS + "lesson.claim"))
    command = [sys.executable, "-c", COURSE + "sys.exit(main(sys.argv[2:]))", folder, "--out", out, "--data=synthetic"]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    course = subprocess.Popen([str(word) for word in command], cwd=ROOT, **pipes)
    while not (line := course.stdout.readline()).startswith("pid"):
        assert line, course.stderr.read()
    course.terminate()
    course.wait(30)
    with pytest.raises(ProcessLookupError):
        os.kill(int(line.split()[1]), signal.SIGKILL)  # an orphan is not left to the machine either
    _, error = course.communicate()
    assert course.returncode == 143 and "interrupted" in error and "Traceback" not in error, error
    assert not (out / "02_some_lesson").exists() and not (out / "summary.json").exists()


@pytest.mark.parametrize(
    "signal_number", [signal.SIGKILL, signal.SIGINT, signal.SIGTERM], ids=["kill -9", "Ctrl-C", "kill"]
)
def test_a_run_that_was_killed_goes_on_to_bit_identical_results(small_lesson, undisturbed, signal_number):
    out = f"killed by {signal_number}"
    process = small_lesson(out)
    checkpoints = small_lesson.results(out) / "checkpoints" / "quick-synthetic-seed0"
    wait_for(checkpoints / "weight-norm.npz", process)  # three networks are done, the fourth is on its way
    process.send_signal(signal_number)
    _, error = process.communicate()
    if signal_number != signal.SIGKILL:
        assert process.returncode == 130 and "interrupted" in error and "Traceback" not in error
    assert not (small_lesson.results(out) / "metrics.json").exists()
    assert (checkpoints / "weight-norm.npz").exists()
    finished(small_lesson(out))
    assert curves(small_lesson.results(out)) == undisturbed


def test_a_run_in_pieces_comes_to_bit_identical_results(small_lesson, undisturbed, tmp_path, capsys):
    """One epoch of one network, the rest of it beside another network, then all together."""
    out = small_lesson.results("pieces")
    checkpoint = out / "checkpoints" / "quick-synthetic-seed0" / "weight-norm.npz"

    def pieces(*arguments):
        processes = [small_lesson("pieces", *each) for each in arguments]
        for process in processes:
            _, error = process.communicate()
            assert process.returncode == 0 and "Traceback" not in error, error
        assert not (out / "metrics.json").exists()
        return len(lessons.mg.load(checkpoint)["state"]["curves"]["loss"])

    assert pieces(["--only", "weight norm", "--minutes", "1e-9"]) == 1
    assert "stopped after epoch 1 of 4" in (out / "log-weight-norm.txt").read_text()
    assert full_run.main([str(checkpoint.parent), "--out", str(tmp_path)]) == 0
    assert "| weight norm | 0.003 | 1 of 4 |" in capsys.readouterr().out

    assert pieces(["--only", "weight norm"], ["--only", "normal", "mean-only BN"]) == 4
    saved = lessons.mg.load(checkpoint)["state"]
    assert saved["optimizer"] == {} and [piece["from epoch"] for piece in saved["pieces"]] == [0, 1]

    assert full_run.main([str(checkpoint.parent), "--out", str(tmp_path)]) == 0
    table = (tmp_path / "table.md").read_text(encoding="utf-8")
    assert capsys.readouterr().out.startswith(table) and table.count(" 4 of 4 ") == 3
    assert "synthetic" in table and "schedule was 4 epochs" in table and "Not complete" not in table
    written = json.loads((tmp_path / "cifar10.json").read_text(encoding="utf-8"))
    assert list(written["runs"]) == ["normal", "weight norm", "mean-only BN"]
    assert (tmp_path / "figure1.png").read_bytes().startswith(b"\x89PNG")

    finished(small_lesson("pieces"))
    assert curves(out) == undisturbed


def test_a_sweep_trains_what_the_lesson_trains(small_lesson, undisturbed, monkeypatch):
    """At the lesson's rate it comes to the lesson's curves, but for rounding (BLAS has one thread); at another not."""
    monkeypatch.setattr(lessons, "FOLDER", small_lesson.folder)
    for variable in ("XDG_CACHE_HOME", "MINIGRAD_DATA"):
        monkeypatch.setenv(variable, str(small_lesson.folder / "cache"))
    out, flags = small_lesson.folder / "sweep", ["--data=synthetic", "--device=cpu", "--seeds=0", "--epochs=4"]
    assert main(["sweep", "9", "--only", "normal", "--rates", "0.003", "0.01", *flags, "--out", str(out)]) == 0
    folder = out / "09_cifar10_network" / "sweep" / "quick-synthetic-epochs-4"
    records = [json.loads(path.read_text()) for path in sorted((folder / "runs").iterdir())]
    assert [record["learning rate"] for record in records] == [0.003, 0.01]
    same = pytest.approx(undisturbed["normal"]["loss"], rel=1e-4)
    assert records[0]["curves"]["loss"] == same and records[1]["curves"]["loss"] != same
    assert f"| {records[0]['curves']['training error'][-1]:.2f} |" in (folder / "table.md").read_text().replace("*", "")


ON_THE_STAND_IN = """
import runpy, sys
from minigrad import backend
from tests import strict_cupy
sys.argv[:] = sys.argv[1:]
with strict_cupy.installed(), strict_cupy.transfers() as seen:
    backend.description = lambda device: "the stand-in for CuPy"
    try:
        runpy.run_path(sys.argv[0], run_name="__main__")
    finally:
        checkpoints = [text for text in seen.to_host if "state_dict" in text]
        training = [text for text in seen.to_host if any(f" {name} (09_" in text for name in ("train", "test_error"))]
        print(f"read in training: {len([t for t in training if t not in checkpoints])} times", file=sys.stderr)
"""


def test_an_epoch_on_a_gpu_is_looked_at_three_times_and_learns_the_same(small_lesson):
    """On the stand-in for CuPy: errors and losses after training, errors after the test; no step copies to the host.

    Both take the plain forms, so that sums are rounded nearly alike: where a rounding decides which pixel of a window
    is the largest, the losses of two runs come to differ by 1e-3 to 1e-2. Other noise changes them by 1e-2 and more.
    """
    only, before = ("--only", "batch norm", "mean-only BN"), ["-c", ON_THE_STAND_IN]
    process = small_lesson("stand-in", "--device", "cuda", *only, before=before, plain=True)
    _, error = process.communicate()
    assert process.returncode == 0 and f"read in training: {2 * 4 * 3} times" in error, error
    _, error = small_lesson("plain", *only, plain=True).communicate()

    def states(out):
        folder = small_lesson.results(out) / "checkpoints" / "quick-synthetic-seed0"
        return [lessons.mg.load(folder / f"{run}.npz")["state"] for run in ("batch-norm", "mean-only-BN")]

    for found, wanted in zip(states("stand-in"), states("plain"), strict=True):
        assert found["pieces"][0]["machine"] == "the stand-in for CuPy"
        assert found["curves"]["loss"] == pytest.approx(wanted["curves"]["loss"], rel=1e-4)


def test_runs_that_are_not_there_or_damaged_are_one_line(tmp_path, capsys):
    assert full_run.main([str(tmp_path), "--out", str(tmp_path)]) == 2
    assert "holds no runs" in capsys.readouterr().err
    (tmp_path / "normal.npz").write_bytes(b"PK")
    assert full_run.main([str(tmp_path), "--out", str(tmp_path)]) == 2
    assert "normal.npz" in capsys.readouterr().err


def test_remarks_say_what_is_compressed_and_what_is_not_complete():
    piece = {
        "seed": 3,
        "machine": "a GPU, CUDA 13.0",
        "commit": "abc",
        "date": "2026-11-20 12:00 UTC",
        "settings": {"tf32": True, "cudnn": False},
    }
    run = {"data": "CIFAR-10 (JPEG-compressed)", "size": "Size(epochs=200, x=1)", "epochs": 7, "pieces": [piece]}
    said = " ".join(full_run.remarks({"normal": run}))
    assert (
        "Convolutions in TF32." in said
        and "JPEG compression" in said
        and "normal 7 of 200" in said
        and "schedule" not in said
    )
    assert all(word in said for word in ("Seed: 3", "a GPU", "abc", "2026-11-20"))
    exact = piece | {"settings": {"tf32": False, "cudnn": True}}
    said = " ".join(full_run.remarks({"normal": run | {"pieces": [piece, exact]}}))
    assert "float32 and TF32, in part by cuDNN" in said
    whole = run | {"data": "CIFAR-10", "size": "Size(epochs=50, x=1)", "epochs": 50}
    said = " ".join(full_run.remarks({"normal": whole}))
    assert "JPEG" not in said and "Not complete" not in said and "50 epochs long, the paper's 200" in said


@pytest.mark.parametrize(
    "tree",
    [
        {},
        [],
        {"identity": {"run": "normal"}, "state": {"curves": {"loss": [1.0]}}},
        {"identity": {"run": "normal", "data": "", "size": "epochs", "rate": 1}, "state": {"curves": {}, "tracker": 1}},
    ],
)
def test_runs_of_an_older_structure_are_one_line(tmp_path, capsys, tree):
    lessons.mg.save(tmp_path / "normal.npz", tree)
    assert full_run.main([str(tmp_path), "--out", str(tmp_path)]) == 2
    assert "normal.npz does not hold what this version" in capsys.readouterr().err


@pytest.mark.parametrize("content", ["another run", "half a file"])
def test_a_foreign_or_damaged_checkpoint_is_refused_and_kept(small_lesson, content):
    folder = small_lesson.results(content) / "checkpoints" / "quick-synthetic-seed0"
    folder.mkdir(parents=True)
    path = folder / "normal.npz"
    lessons.mg.save(path, {"identity": {"lesson": "02_another"}, "state": {"x": np.zeros(3)}})
    if content == "half a file":
        path.write_bytes(path.read_bytes()[:100])
    before = path.read_bytes()
    process = small_lesson(content)
    _, error = process.communicate()
    assert process.returncode == 2 and len(error.strip().splitlines()) == 1 and "normal.npz" in error, error
    assert path.read_bytes() == before


@pytest.mark.parametrize("flag", ["--list", "--equations"])
def test_where_nobody_reads_any_more_it_ends_without_a_word(flag):
    """As `python -m lessons --list | head -1` does, whichever of the two is faster."""
    reading, writing = os.pipe()
    os.close(reading)
    command = [sys.executable, "-m", "lessons", flag]
    ended = subprocess.run(command, cwd=ROOT, stdout=writing, stderr=subprocess.PIPE, timeout=60)
    os.close(writing)
    assert (ended.returncode, ended.stderr) == (141, b"")


def test_a_reader_who_has_read_enough_ends_a_lesson_without_a_word(tmp_path):
    command = [sys.executable, "-u", "-m", "lessons", "1", "--fresh", "--out", str(tmp_path), "--data", "synthetic"]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with subprocess.Popen(command, cwd=ROOT, env=environment, **pipes) as process:
        process.stdout.readline()
        process.stdout.close()
        assert process.stderr.read() == b"" and process.wait() == 141
