"""What trains the runs of figure 5: it may be killed at any time, and says in one line what it cannot do."""

import json
import os
import signal

import pytest

from lessons import UsageError
from tests.lessons.courses import ROOT, assert_one_line_error, script

CHAPTER = (ROOT / "lessons" / "further" / "12_figure_5.py").read_text(encoding="utf-8")
SMALL = """
import os
PLANS = {"orchard": Plan(LESSONS, 100, 400, (0,), 600, (3,), ("normal",), rates={"normal": 0.1}),
         "minatar": PLANS["minatar"], "atari": PLANS["atari"]}
moment, calls = os.environ.get("KILLED", ""), []


def killed_at(name, f):
    def g(*arguments):
        calls.append(name)
        if moment == f"{name} {calls.count(name)}":
            os.kill(os.getpid(), 9)
        return f(*arguments)

    return g


Training.run = killed_at("piece", Training.run)
grid.write_text = killed_at("result", grid.write_text)

"""


COMPARE = """
import json

for path in (grid.RESULTS / "figure_5").glob("*.json"):
    record = grid.read(path)
    settings = json.loads(json.dumps(asdict(plan_of(record["run"]["game"]).settings)))
    assert record["settings"] == settings, f"{path} was made with other settings than the chapter's"
    print("compared")
"""


def written(folder, more):
    """The chapter with `more` before what --full does, and with little else, as a file."""
    begin = CHAPTER[: CHAPTER.index("# %%\n# What a moving target")]
    plans, rest = (CHAPTER.index(text) for text in ("@dataclass(frozen=True)\nclass Plan", "if lesson.full:\n"))
    source = begin + CHAPTER[plans:rest] + more + CHAPTER[rest : CHAPTER.index("# %%\n# The grid")]
    parts = 'plan.piece // int(os.environ["PARTS"])'  # where there are two, a run is killed within a piece, too
    source = source.replace("min(plan.piece, 10_000)", parts)
    assert source.count("checkpoint.due(300)") == source.count(parts) == 1
    file = folder / "further" / "12_figure_5.py"
    file.parent.mkdir()
    file.write_text(source.replace("checkpoint.due(300)", "checkpoint.due(0)"), encoding="utf-8")
    return file


@pytest.fixture
def runner(tmp_path):
    """A function that runs the chapter's --full, with a small plan and a checkpoint for each piece."""
    file = written(tmp_path, SMALL)

    def run(*arguments, killed="", out="out", parts="2"):
        flags = ("--full", "--data", "synthetic", "--device", "cpu", "--out", tmp_path / out)
        return script(file, *flags, *arguments, PYTHONPATH=ROOT, KILLED=killed, PARTS=parts)

    run.out = tmp_path / "out"
    return run


def curves(out):
    (path,) = (out / "figure_5").glob("*.json")
    return json.loads(path.read_text())["curves"]


def test_a_run_that_is_killed_goes_on_and_its_curves_are_those_of_one_that_is_not(runner):
    """Killed before anything is kept, in the middle, and when all is trained but the result has no file yet."""
    assert runner(out="whole", parts="1").returncode == 0
    for moment in ("piece 1", "piece 4", "result 1"):
        assert runner(killed=moment).returncode == -signal.SIGKILL, moment
    last = runner(killed="piece 1")
    assert last.returncode == 0, last  # nothing was left to train
    assert json.dumps(curves(runner.out)) == json.dumps(curves(runner.out.parent / "whole"))
    assert len(curves(runner.out)["score"]) == 6
    assert not [*runner.out.rglob("*.npz")]


def test_the_stored_runs_were_made_with_the_settings_of_their_plans(tmp_path):
    run = script(written(tmp_path, COMPARE), "--data", "synthetic", "--out", tmp_path / "out", PYTHONPATH=ROOT)
    assert run.returncode == 0, run.stderr
    assert run.stdout.count("compared") == len([*(ROOT / "results" / "figure_5").glob("*.json")])


def test_what_it_cannot_do_is_one_line(runner):
    assert_one_line_error(runner("--game", "chess"), "there is no game 'chess'")
    assert_one_line_error(runner("--game", "minatar"), "there is no game 'minatar'")
    assert_one_line_error(runner("--only", "layer norm"), "invalid choice: 'layer norm'")
    assert runner().returncode == 0
    (path,) = (runner.out / "figure_5").glob("*.json")
    whole = path.read_text()
    path.write_text(whole[: len(whole) // 2])
    assert_one_line_error(runner(), path, "is not the file of such a run", "remove it")
    path.write_text(whole.replace('"orchard"', '"minatar/breakout"'))
    assert_one_line_error(runner(), path, "holds another run", "--out")
    assert os.listdir(path.parent) == [path.name]


def test_a_game_that_there_is_not_has_no_plan():
    """So the comparison that the chapter draws of it, without --full, is refused, too."""
    names = {"PLANS": {"minatar": 1}, "UsageError": UsageError}
    exec(CHAPTER[CHAPTER.index("def plan_of(game)") : CHAPTER.index("# %%\n\n\ndef new_game")], names)
    assert names["plan_of"]("minatar/breakout") == 1
    with pytest.raises(UsageError, match="there is no game 'chess'; there are orchard, "):
        names["plan_of"]("chess")
