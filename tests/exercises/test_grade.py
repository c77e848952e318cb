"""Grading: marks, late rules, what the files say, and submissions that mean harm."""

import csv
import json
import os
import subprocess
import sys
import textwrap
from pathlib import Path

import numpy as np
import pytest

from lessons import UsageError
from lessons.__main__ import main
from lessons.exercises import grade, judge, remote, sandbox, screen
from lessons.exercises.folder import exercises

FILE = Path(__file__)
linux = pytest.mark.skipif(not grade.FORKS or sandbox.missing() != "", reason="needs a filter of system calls")


@pytest.fixture
def exercise():
    return exercises(["3.1"])[0]


LIES = """
remote = print.__self__.__import__('lessons.exercises.remote').exercises.remote
def send(self, message, values=None):
    data = {}
    self.writer.write(remote.struct.pack('<QQ', 1, len(data)) + data)
    self.writer.flush()
remote.Channel.send = send
def weight_norm(v, g):
    return v
"""


def submissions_module():
    """The thirty submissions, which are a script beside this file."""
    import importlib.util

    spec = importlib.util.spec_from_file_location("submissions", FILE.with_name("submissions.py"))
    loaded = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(loaded)
    return loaded


def hand_in(folder, exercise, **texts):
    for name, text in texts.items():
        (folder / name).mkdir(parents=True)
        (folder / name / exercise.answer).write_text(text, "utf-8")


def verdict_on(exercise, text, **manner):
    return grade.judged(grade.Manner(exercise, kinds=set(), **manner), text, 10.0)


# ---- what the teacher gets ------------------------------------------------------------------------------------------


def test_grade_tells_marks_in_a_table_in_csv_and_by_its_exit_code(exercise, tmp_path, capsys):
    hand_in(tmp_path / "class", exercise, ada=exercise.source() + "# mine\n", bob=exercise.mistakes[0].source)
    (tmp_path / "class" / "eve").mkdir()
    (tmp_path / "rules.toml").write_text('[points]\n"3" = 4\n', "utf-8")
    flags = ["--rules", str(tmp_path / "rules.toml"), "--csv", str(tmp_path / "marks.csv"), "--jobs", "2"]
    assert main(["grade", str(tmp_path / "class"), "3.1", *flags, "--feedback", str(tmp_path / "said")]) == 1
    assert [line.split() for line in capsys.readouterr().out.splitlines()[:4]] == [
        ["3", "of", "4", "late", "points"],
        ["ada", "+", "4", "4"],
        ["bob", "-", "0", "0"],
        ["eve", "0", "0"],
    ]
    rows = list(csv.DictReader((tmp_path / "marks.csv").read_text("utf-8").splitlines()))
    assert [(row["student"], float(row["points"]), row["3.1 verdict"]) for row in rows] == [
        ("ada", 4, "right"),
        ("bob", 0, "wrong"),
        ("eve", 0, "missing"),
    ]
    assert exercise.mistakes[0].cause[:40] in (tmp_path / "said" / "bob.txt").read_text("utf-8")
    assert main(["grade", str(tmp_path / "class" / "ada"), "3.1"]) == 0


def test_gradescope_reads_its_results(exercise, tmp_path):
    hand_in(tmp_path, exercise, bob=exercise.mistakes[0].source)
    assert main(["grade", str(tmp_path / "bob"), "3.1", "--gradescope", str(tmp_path / "results.json")]) == 1
    results = json.loads((tmp_path / "results.json").read_text("utf-8"))
    assert results["score"] == 0 and results["visibility"] == "visible"
    (test,) = results["tests"]
    assert (test["score"], test["max_score"], test["status"]) == (0, 1, "failed")
    assert test["name"] == f"3.1 {exercise.title}" and exercise.mistakes[0].cause[:40] in test["output"]


def test_late_rules(tmp_path):
    text = """
        [late]
        due = 2030-01-31T12:00:00+01:00
        per_day = 0.2
        at_most = 0.5
        [submitted]
        ada = 2030-01-31T12:10:00+01:00
        bob = 2030-02-01T12:30:00+01:00
        eve = 2030-03-01T12:00:00+01:00
        zoe = 2030-02-01T11:00:00Z
        [extension]
        zoe = 1
    """
    rules = grade.Rules(textwrap.dedent(text))
    days = {name: rules.days_late(grade.Submission(name, tmp_path)) for name in ("ada", "bob", "eve", "zoe")}
    assert days == {"ada": 0, "bob": 2, "eve": 29, "zoe": 0}
    assert [rules.kept(d) for d in (0, 1, 2, 3, 29)] == pytest.approx([1, 0.8, 0.6, 0.5, 0.5])


@pytest.mark.parametrize(
    "text",
    ["[points", "[marks]", "points = 3", '[points]\n"3.1" = "two"', "[late]\ndue = 3", "[late]\nper_week = 1"],
)
def test_rules_that_mean_nothing_are_refused(text):
    with pytest.raises(UsageError, match="the rules"):
        grade.Rules(text)


def test_the_newest_file_tells_when_a_submission_came(exercise, tmp_path):
    hand_in(tmp_path, exercise, ada="")
    os.utime(tmp_path / "ada" / exercise.answer, (2e9, 2e9))
    rules = grade.Rules("[late]\ndue = 2033-05-17T00:00:00Z")
    assert rules.days_late(grade.Submission("ada", tmp_path / "ada").look([exercise])) == 2


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs special files")
def test_only_regular_files_of_the_submission_itself_are_taken(exercise, tmp_path):
    hand_in(tmp_path, exercise, ada=exercise.source())
    for name in ("link", "fifo", "folder", "nested"):
        (tmp_path / name).mkdir()
    (tmp_path / "link" / exercise.answer).symlink_to(tmp_path / "ada" / exercise.answer)
    os.mkfifo(tmp_path / "fifo" / exercise.answer)
    (tmp_path / "folder" / exercise.answer).mkdir()
    (tmp_path / "nested" / "inside").mkdir()
    (tmp_path / "nested" / "inside" / exercise.answer).write_text("", "utf-8")
    found = {s.name for s in grade.find(tmp_path, [exercise]) if s.answers}
    assert found == {"ada", "nested"}


@pytest.mark.parametrize("data", [b"\xff\xfe\x00", b"x" * (grade.LARGEST + 1)])
def test_a_file_that_is_no_text_is_not_read(data, tmp_path):
    (tmp_path / "answer.py").write_bytes(data)
    with pytest.raises(ValueError):
        grade.read_answer(tmp_path / "answer.py")


# ---- an answer in another process -----------------------------------------------------------------------------------


@linux
def test_values_travel_there_and_back():
    source = "def same(*a, **k):\n    return a, k\ndef twice(f):\n    return lambda x: f(f(x))\n"
    process = remote.Process(lambda channel: remote.Server(channel).run(), 20)
    client = remote.Client(process.channel)
    try:
        answer = client.load(source, "answer.py")
        given = [1, -2.5, True, None, "text", 1 + 2j, ..., slice(1, None), range(3), np.float32(2), np.arange(6.0)[::2]]
        given += [np.zeros((2, 0)), np.array(3), (1, [2, {"three": 4}]), float, np.dtype("float32"), {1, 2}]
        (came, _) = answer.same(*given)
        for a, b in zip(came, given, strict=True):
            assert type(a) is type(b) and (a == b if not isinstance(b, np.ndarray) else np.array_equal(a, b)), (a, b)
        assert answer.twice(lambda x: x * 3)(2) == 18
        rng = np.random.default_rng(1)
        assert answer.same(rng)[0][0].random() == np.random.default_rng(1).random()
        with pytest.raises(AttributeError):
            print(answer.other)
        with pytest.raises(TypeError, match="lists without end"):
            endless = []
            endless.append(endless)
            answer.same(endless)
    finally:
        process.end()


@linux
@pytest.mark.parametrize(
    ("code", "status"),
    [
        ("def weight_norm(v, g):\n    while True: pass", "endless"),
        ("def weight_norm(v, g):\n    raise SystemExit", "error"),
        ("def weight_norm(v, g):\n    return [v] * 1000000000", "error"),
        ("def weight_norm(v, g):\n    return np.zeros(40_000_000)", "error"),
        ("class Liar:\n    __array_priority__ = 1e9\n    def __getattr__(self, name): return lambda *a: self\n"
         "    def __eq__(self, other): return True\ndef weight_norm(v, g):\n    return Liar()", "error"),
        ("def weight_norm(v, g):\n    v[:], g[:] = 1, 0\n    return 0 * v", "wrong"),
        ("def weight_norm(v, g): return " + "(" * 5000 + "v" + ")" * 5000, "syntax"),
        ("def weight_norm(v, g):\n    return np.array([[object()]])", "error"),
        (LIES.format("b'[' * 100_000"), "error"),
        (LIES.format("bytes(64)"), "error"),
        (LIES.format("""b'{"call": 1, "with": [], "options": []}'"""), "endless"),
        (LIES.format("""b'{"result": {"array": ["O", [1], 0, true]}}'"""), "error"),
    ],
)  # fmt: skip
def test_an_answer_that_misbehaves_when_it_is_called(exercise, code, status):
    verdict = grade.judged(grade.Manner(exercise, kinds=set()), "import numpy as np\n" + code, 3.0)
    assert verdict["status"] in (status, "wrong" if status == "error" else status), verdict


@linux
def test_what_an_answer_changes_over_there_changes_here():
    source = "def step(v):\n    v -= 1.0\n"
    process = remote.Process(lambda channel: remote.Server(channel).run(), 20)
    try:
        v = np.ones(3)
        remote.Client(process.channel).load(source, "answer.py").step(v)
        assert (v == 0).all()
    finally:
        process.end()


@linux
def test_no_process_is_left(exercise):
    before = set(os.listdir("/proc"))
    verdict_on(exercise, "import numpy as np\ndef weight_norm(v, g):\n    while True: pass")
    for name in set(os.listdir("/proc")) - before:
        if name.isdecimal() and os.path.exists(f"/proc/{name}/stat"):
            assert int(Path(f"/proc/{name}/stat").read_text().rpartition(")")[2].split()[1]) != os.getpid()


def test_a_new_interpreter_serves_as_well_as_a_fork(exercise, tmp_path, monkeypatch):
    """As on systems without fork."""
    monkeypatch.setattr(grade, "FORKS", False)
    assert verdict_on(exercise, exercise.source())["status"] == "right"
    assert verdict_on(exercise, exercise.mistakes[0].source)["status"] == "wrong"


# ---- in the same process as the laws --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "code",
    [
        "np.allclose = lambda *a, **k: True",
        "m = np",
        "print.__self__",
        "(lambda: 0).__globals__",
        "np.ma.core.builtins",
        "np.linalg.norm = abs",
        "getattr(np, 'os')",
        "(x for x in ()).gi_frame",
        "open('/etc/passwd')",
        "from numpy import *",
        "l = np.linalg",
        "np.load(File(), allow_pickle=True)",
        "from numpy import load",
        "[].__class__.__base__.__subclasses__()",
    ],
)
def test_plain_ways_out_are_refused(code):
    assert screen.refused(f"import numpy as np\n{code}\n", ("numpy", "math"))["status"] == "forbidden"


def test_every_solution_may_be_judged_in_the_same_process():
    for exercise in exercises():
        assert screen.refused(exercise.source(), exercise.uses) is None, exercise.number


def test_exchanged_functions_are_seen(monkeypatch):
    before = screen.functions()
    assert not screen.exchanged(before)
    monkeypatch.setattr(np, "allclose", lambda *a, **k: True)
    assert screen.exchanged(before)


def test_cases_are_drawn_once_and_others_with_a_seed(exercise):
    (law, *_) = exercise.laws
    judge.keep_cases(law)
    ours = len(law.kept)
    judge.keep_cases(law, seed=3)
    assert 0 < ours < len(law.kept)
    assert judge.try_laws(exercise, exercise.solution(), "") == {"status": "right"}


# ---- harm -----------------------------------------------------------------------------------------------------------


@linux
def test_the_sandbox_holds():
    assert sandbox.missing() == ""


# One that shares a process with its laws, one with classes, one with the library, one of plain arrays, one that is
# given functions, and a step of the engine.
KINDS_OF_EXERCISES = ["1.2", "1.6", "2.4", "3.1", "10.4", "engine.4"]


@linux
@pytest.mark.grading
def test_thirty_submissions_get_the_right_marks():
    """On one exercise of each kind, with all that students are told: a minute or two. CI runs it."""
    subprocess.run([sys.executable, FILE.with_name("submissions.py"), "--feedback", *KINDS_OF_EXERCISES], check=True)


@linux
@pytest.mark.whole_grading
def test_thirty_submissions_of_all_exercises_get_the_right_marks():
    """Minutes on every core; CI does without: python -m pytest -m whole_grading"""
    subprocess.run([sys.executable, FILE.with_name("submissions.py")], check=True)


@linux
def test_a_mark_does_not_depend_on_whether_students_are_told_why(exercise):
    for mistake in exercise.mistakes[:3]:
        verdicts = [verdict_on(exercise, mistake.source, diagnose=diagnose) for diagnose in (True, False)]
        assert [(v["status"], v["law"]) for v in verdicts[:1]] == [(v["status"], v["law"]) for v in verdicts[1:]]
        assert verdicts[0]["causes"] and not verdicts[1]["causes"]


@linux
@pytest.mark.parametrize("change", ["copy.deepcopy(key)", "np.array(data, dtype=float)"])
def test_an_engine_that_keeps_what_it_is_given_is_found_out(change):
    """Arguments are copied on their way to the answer's process: what a law changes later lies over there."""
    (engine,) = exercises(["engine.9"])
    (wrong, *_) = (m.source for m in engine.mistakes if change not in m.source)
    verdict = grade.judged(grade.Manner(engine, diagnose=False), wrong, 30.0)
    assert verdict["status"] == "wrong" and ("key" in verdict["law"] or "copy" in verdict["law"]), verdict


@linux
@pytest.mark.parametrize("name", ["deletes", "patches", "forges", "looks_up_the_stack", "kills", "fork_bomb", "exits"])
def test_harm_does_no_harm_and_earns_no_mark(name, exercise, tmp_path):
    thirty = submissions_module()
    thirty.HOSTILE = {name: thirty.HOSTILE[name]}
    wanted = thirty.write(tmp_path, [exercise])
    submissions = [s for s in grade.find(tmp_path, [exercise]) if s.name in (name, "right_0", "wrong_0")]
    manner = grade.Manner(exercise, kinds=set())
    grade.grade(submissions, {exercise.number: manner}, 2)
    assert thirty.found(submissions) == {s.name: wanted[s.name] for s in submissions}
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(wanted)
