"""A sweep: which runs it does, who does them, what becomes of those that are killed, and what the table says."""

import importlib.util
import json
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import lessons
from lessons import sweep
from lessons.data_parallel import environment, mpiexec
from lessons.sweep import Run
from tests.lessons.courses import COURSE, ROOT, assert_one_line_error, script

# A lesson that takes the flags of a run and leaves the checkpoint of one; before that it notes that it runs, and does
# what stands for BEFORE.
LESSON = '''"""A lesson to be swept

Time: quick about 1 s, full about 2 s.
"""
import os, signal, time
import numpy as np
from lessons import Lesson

def own_flags(parser):
    for name, kind in {"only": str, "rate": float, "epochs": int}.items():
        parser.add_argument(f"--{name}", type=kind, nargs="+" if name == "only" else None)

lesson = Lesson(__file__, own_flags)
[parameterization], rate, seed = lesson.flags.only, lesson.flags.rate, lesson.seed
noted = lesson.file.parent / "noted"
with open(noted, "a") as file:
    file.write(f"{parameterization} {rate} {seed} {os.getpid()} {os.environ['OPENBLAS_NUM_THREADS']}\\n")
BEFORE
curves = {kind: [90.0, 100 * rate + seed] for kind in ("training error", "test error", "loss")}
piece = {"seed": seed, "machine": "x", "commit": "y", "date": "2026-11-22 12:00 UTC", "settings": {}}
state = {"curves": curves, "pieces": [piece], "tracker": {"steps": [0, 1], "rows": {"1": {"norm": np.ones((2, 3))}}}}
lesson.checkpoint(parameterization, {"size": "Size(epochs=2, x=1)", "data": "digits", "rate": rate}).save(state)
lesson.stop("complete")
'''
ONCE = """
if not (lesson.file.parent / "killed").exists():
    (lesson.file.parent / "killed").touch()
    os.kill({}, signal.SIGKILL)
    time.sleep(60)
"""
HALFWAY = """
checkpoint = lesson.checkpoint(parameterization, {"size": "Size(epochs=2, x=1)", "data": "digits", "rate": rate})
if checkpoint.load() is None:
    checkpoint.save("halfway")
    os.kill(os.getpid(), signal.SIGKILL)
"""
KILLED = "if rate == 0.2: os.kill(os.getpid(), signal.SIGKILL)"
FALSE = "if rate == 0.2: raise ValueError('the rate is too large')"
ENDLESS = "while True: time.sleep(0.01)"
NEEDS_DASK = pytest.mark.skipif(not importlib.util.find_spec("distributed"), reason="needs the extra sweep")
NEEDS_MPI = pytest.mark.skipif(mpiexec(3) is None, reason="needs the extra workers")


def lesson(before="pass"):
    return {9: LESSON.replace("BEFORE", before)}


def noted(folder=None):
    """What has run, a line for each process: "normal 0.1 0 PID THREADS"."""
    path = (folder or lessons.FOLDER) / "noted"
    return [line.rsplit(maxsplit=2) for line in path.read_text().splitlines()] if path.exists() else []


def results(out, size="quick"):
    """The folder of the sweep."""
    return out / "09_some_lesson" / "sweep" / f"{size}-synthetic"


def seeds_by_rate(out, size="quick"):
    rows = json.loads((results(out, size) / "table.json").read_text())["rows"]
    return {row["rate"]: row["seeds"] for row in rows}


FEW = ["sweep", "9", "--only", "normal", "--rates", "0.1", "0.2", "--seeds", "0"]


@pytest.fixture
def shell(tmp_path):
    """The command that sweeps such a lesson as from a shell, and the folders of course and output."""
    folder, out, command = tmp_path / "some_lessons", tmp_path / "out", tmp_path / "course.py"
    folder.mkdir()
    command.write_text(COURSE + "if __name__ == '__main__': sys.exit(main(sys.argv[2:]))")

    def arguments(before="pass", few=FEW):
        (folder / "09_some_lesson.py").write_text(lesson(before)[9])
        return [str(command), str(folder), *few, "--out", str(out), "--data=synthetic", "--device=cpu"]

    return arguments, folder, out


# ---- which runs are done -------------------------------------------------------------------------------------------


def test_what_has_a_file_is_not_done_again_and_all_of_it_is_in_the_table(course, capsys):
    assert course(lesson(), *FEW) == 0
    assert sorted(run for run, _, _ in noted()) == ["normal 0.1 0", "normal 0.2 0"]
    assert {threads for _, _, threads in noted()} == {"1"}
    assert course({}, *FEW[:-1], "0", "1", "--rates", "0.1") == 0
    assert len(noted()) == 3 and noted()[-1][0] == "normal 0.1 1"
    assert "1 of 2 runs to do" in capsys.readouterr().out
    assert seeds_by_rate(course.out) == {0.1: [0, 1], 0.2: [0]}
    assert course({}, *FEW, "--fresh") == 0
    assert len(noted()) == 5


def test_a_run_is_read_back_like_those_of_other_grids(course):
    assert course(lesson(), *FEW) == 0
    runs, pictures = sweep.grid.stored("runs", ["parameterization", "rate"], results(course.out))
    assert pictures == "digits"
    assert {key: by_seed[0]["test error"] for key, by_seed in runs.items()} == {
        ("normal", 0.1): [90, 10],
        ("normal", 0.2): [90, 20],
    }


@pytest.mark.parametrize("by", ["SIGKILL", "SIGTERM"])
def test_a_run_whose_process_is_killed_is_done_again(course, capsys, by):
    assert course(lesson(ONCE.format("os.getpid()").replace("SIGKILL", by)), *FEW) == 0
    assert len(noted()) == 3 and seeds_by_rate(course.out) == {0.1: [0], 0.2: [0]}
    assert f"its process was killed (exit code {-9 if by == 'SIGKILL' else 130}); once more" in capsys.readouterr().out


def test_a_full_run_that_is_killed_goes_on_from_its_checkpoint(course):
    assert course(lesson(HALFWAY), *FEW, "--full") == 0
    assert len(noted()) == 4 and seeds_by_rate(course.out, "full") == {0.1: [0], 0.2: [0]}
    assert course({}, *FEW, "--full", "--fresh") == 0
    assert len(noted()) == 8


@pytest.mark.parametrize(
    ("before", "times", "why"),
    [
        (KILLED, 2, "its process was killed (exit code -9), 2 times"),
        (FALSE, 1, "exit code 1: ValueError: the rate is too large"),
    ],
    ids=["killed", "error"],
)
def test_a_run_that_fails_is_named_and_the_others_go_on(course, capsys, before, times, why):
    assert course(lesson(before), *FEW) == 1
    assert capsys.readouterr().err.splitlines()[-1] == f"FAILED: normal at 0.2, seed 0: {why}"
    assert [run for run, _, _ in noted()].count("normal 0.2 0") == times
    assert seeds_by_rate(course.out) == {0.1: [0]}


def test_two_sweeps_on_one_folder_do_not_disturb_each_other(shell):
    arguments, _, out = shell
    command = [sys.executable, *arguments("time.sleep(1)")]
    both = [subprocess.Popen(command, cwd=ROOT, env=environment(), stdout=subprocess.DEVNULL) for _ in range(2)]
    assert [process.wait(60) for process in both] == [0, 0]
    names = sorted(path.name for path in results(out).rglob("*.*"))
    assert names == ["seed0-normal-0-1.json", "seed0-normal-0-2.json", "table.json", "table.md"]
    assert seeds_by_rate(out) == {0.1: [0], 0.2: [0]}


def is_running(pid):
    """Whether there is such a process, and not only what is left of it until its parent asks."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def end_while_running(command, folder, by):
    """Send the sweep this signal when two runs have begun; its exit code, once these are gone."""
    pipes = {"stderr": subprocess.PIPE, "stdout": subprocess.DEVNULL, "text": True}
    with subprocess.Popen(command, cwd=ROOT, env=environment(), **pipes) as process:
        deadline = time.monotonic() + 60
        while len(noted(folder)) < 2 and process.poll() is None and time.monotonic() < deadline:
            time.sleep(0.05)
        process.send_signal(by)
        said = process.stderr.read()
    pids = [int(pid) for _, pid, _ in noted(folder)]
    while any(map(is_running, pids)) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert len(pids) == 2 and not any(map(is_running, pids)), said
    assert "Traceback" not in said
    return process.returncode


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="asks /proc which processes there are")
@pytest.mark.parametrize(
    ("by", "code", "on"),
    [
        (signal.SIGINT, 130, "processes"),
        (signal.SIGKILL, -9, "processes"),
        pytest.param(signal.SIGINT, 130, "dask", marks=NEEDS_DASK),
        pytest.param(signal.SIGINT, 1, "mpi", marks=NEEDS_MPI),  # the code is Open MPI's own
    ],
)
def test_a_sweep_that_ends_early_takes_its_runs_along(shell, by, code, on):
    arguments, folder, _ = shell
    before = [*mpiexec(3), "-m", "mpi4py.futures"] if on == "mpi" else [sys.executable]
    command = [*before, *arguments(ENDLESS), "--on", on, "--jobs", "2"]
    assert end_while_running(command, folder, by) == code


# ---- Dask and MPI --------------------------------------------------------------------------------------------------


@NEEDS_DASK
def test_on_a_dask_cluster_of_this_machine_the_run_of_a_killed_worker_is_done_by_another(shell):
    arguments, folder, out = shell
    done = script(*arguments(ONCE.format("os.getppid()")), "--on", "dask", "--jobs", 2, limit=120)
    assert done.returncode == 0, done.stderr
    assert len(noted(folder)) == 3 and seeds_by_rate(out) == {0.1: [0], 0.2: [0]}


@NEEDS_DASK
def test_a_run_that_kills_every_dask_worker_is_given_up(shell):
    arguments, folder, out = shell
    done = script(
        *arguments(KILLED.replace("getpid", "getppid") + "; time.sleep(60)"), "--on", "dask", "--jobs", 1, limit=120
    )
    assert done.returncode == 1 and "FAILED: normal at 0.2, seed 0: " in done.stderr, done.stderr
    assert [run for run, _, _ in noted(folder)].count("normal 0.2 0") == 2 and seeds_by_rate(out) == {0.1: [0]}


@NEEDS_DASK
def test_on_the_cluster_of_a_dask_scheduler(shell, tmp_path):
    arguments, _, out = shell
    python = [sys.executable, "-m"]
    quiet = {"cwd": ROOT, "stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    found = tmp_path / "scheduler.json"
    started = []
    try:
        for name, *flags in (["dask_scheduler", "--port=0"], ["dask_worker", "--nworkers=2", "--nthreads=1"]):
            flags += ["--no-dashboard", f"--scheduler-file={found}"]
            started.append(subprocess.Popen([*python, f"distributed.cli.{name}", *flags], **quiet))
        deadline = time.monotonic() + 60
        while not found.exists() and time.monotonic() < deadline:
            time.sleep(0.05)
        address = json.loads(found.read_text())["address"].replace("tcp://", "dask://")
        done = script(*arguments(), "--on", address, limit=120)
    finally:
        for process in reversed(started):
            process.terminate()
            process.wait()
    assert done.returncode == 0, done.stderr
    assert seeds_by_rate(out) == {0.1: [0], 0.2: [0]}


@NEEDS_DASK
def test_a_scheduler_that_does_not_answer_is_one_line(shell):
    arguments, _, out = shell
    assert_one_line_error(script(*arguments(), "--on", "dask://127.0.0.1:1"), "no Dask scheduler answers at", "1")
    assert not out.exists()


@NEEDS_MPI
def test_on_the_ranks_of_mpi_a_killed_run_is_done_again_and_one_that_fails_is_named(shell):
    arguments, folder, out = shell
    what = arguments(ONCE.format("os.getpid()") + FALSE)
    command = [*mpiexec(3), "-m", "mpi4py.futures", *what, "--on", "mpi"]
    done = subprocess.run(command, cwd=ROOT, env=environment(), capture_output=True, text=True, timeout=120)
    assert done.returncode == 1 and "FAILED: normal at 0.2, seed 0: exit code 1: ValueError" in done.stderr, done.stderr
    assert len(noted(folder)) == 3 and seeds_by_rate(out) == {0.1: [0]}


@NEEDS_MPI
def test_without_mpiexec_there_are_no_ranks(shell):
    arguments, _, out = shell
    assert_one_line_error(script(*arguments(), "--on", "mpi"), "mpiexec -n")
    assert not out.exists()


# ---- what is asked for ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("flags", "word"),
    [
        (["8"], "lesson 8 is no grid of runs; sweep 9 is"),
        (["9", "--only", "layer norm"], "'WN + mean-only BN'"),
        (["9", "--rates", "0.1", "fast"], "a number above 0 is needed, not 'fast'"),
        (["9", "--rates", "0"], "a number above 0 is needed, not '0'"),
        (["9", "--seeds", "one"], "a whole number from 0 up is needed, not 'one'"),
        (["9", "--on", "the moon"], "dask://HOST:PORT"),
        (["9", "--on", "dask://nowhere"], "dask://HOST:PORT"),
    ],
)
def test_wrong_arguments_are_one_line(course, capsys, flags, word):
    assert course(lesson(), "sweep", *flags) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert word in line and not noted() and not course.out.exists()


@pytest.mark.parametrize(("on", "install"), [("dask", "'.[sweep]'"), ("mpi", "'.[workers]'")])
def test_what_is_not_installed_is_named(course, capsys, monkeypatch, on, install):
    monkeypatch.setattr(sweep, "find_spec", lambda name: None)
    assert course(lesson(), *FEW, "--on", on) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "is not installed" in line and install in line


# ---- the table -----------------------------------------------------------------------------------------------------


def record(run, training, test):
    piece = {"seed": run.seed, "machine": "x", "commit": "y", "date": "2026-11-22 12:00 UTC", "settings": {}}
    curves = {"training error": [90.0, training], "test error": [90.0, test]}
    about = {"data": "digits", "size": "Size(epochs=2, x=1)", "epochs": 2, "pieces": [piece]}
    return {"run": sweep.asdict(run), "curves": curves} | about


PERCENT = st.floats(0, 100)
RUNS = st.builds(Run, st.sampled_from(sweep.PARAMETERIZATIONS), st.sampled_from(sweep.RATES), st.integers(0, 3))


@given(st.dictionaries(RUNS, st.tuples(PERCENT, PERCENT), min_size=1))
def test_the_table_has_means_deviations_and_best_rates(errors):
    rows = sweep.summary([record(run, *both) for run, both in errors.items()])["rows"]
    assert {Run(row["parameterization"], row["rate"], seed) for row in rows for seed in row["seeds"]} == set(errors)
    for row in rows:
        both = np.array([errors[Run(row["parameterization"], row["rate"], seed)] for seed in row["seeds"]])
        for kind, values in zip(("training error", "test error"), both.T, strict=True):
            assert row[kind]["values"] == list(values)
            assert row[kind]["mean"] == pytest.approx(np.mean(values), abs=1e-9)
            spread = None if len(values) == 1 else pytest.approx(np.sqrt(np.var(values, ddof=1)), abs=1e-9)
            assert row[kind]["deviation"] == spread
    for p in {row["parameterization"] for row in rows}:
        (best,) = (row for row in rows if row["parameterization"] == p and row["best"])
        assert best["training error"]["mean"] == min(
            row["training error"]["mean"] for row in rows if row["parameterization"] == p
        )


def test_the_table_in_markdown():
    ends = {
        (0.001, 0): (30, 5),
        (0.001, 1): (32, 6),
        (0.003, 0): (20, 40.5),
        (0.003, 1): (22, 43.5),
        (0.01, 0): (50, 1),
    }
    document = sweep.summary([record(Run("normal", *key), *both) for key, both in ends.items()])
    table, _, remarks = sweep.markdown(document).partition("\n\n")
    assert table.splitlines()[2:] == [
        "| normal | 0.001 | 2 | 31.00 ± 1.41 | 5.50 ± 0.71 |",
        "| **normal** | **0.003** | **2** | **21.00 ± 1.41** | **42.00 ± 2.12** |",
        "| normal | 0.01 | 1 | 50.00 | 1.00 |",
    ]
    assert "digits" in remarks and "Seeds: 0, 1" in remarks and "smallest or largest" not in remarks
    at_an_end = sweep.summary([record(Run("normal", 0.001, 0), 30, 5), record(Run("normal", 0.003, 0), 20, 5)])
    assert "The best of the rates is the smallest or largest tried: normal." in at_an_end["remarks"]


@pytest.mark.parametrize("other", [{"data": "clothes"}, {"size": "Size(epochs=3, x=1)"}])
def test_runs_of_different_kinds_are_not_averaged(other):
    records = [record(Run("normal", 0.1, 0), 30, 5), record(Run("normal", 0.1, 1), 20, 5) | other]
    with pytest.raises(lessons.UsageError, match=re.escape(f"{next(iter(other.values()))}")):
        sweep.summary(records)
