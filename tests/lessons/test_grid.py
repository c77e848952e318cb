"""Grids of runs: a file for each, trained once, read back by any of their fields."""

import argparse
import json
from dataclasses import dataclass

import pytest

from lessons import UsageError, grid


@dataclass(frozen=True)
class Run:
    rate: float
    seed: int

    def name(self):
        return f"{self.rate}-{self.seed}"


RUNS = [Run(rate, seed) for rate in (0.1, 0.2) for seed in (0, 1)]


@pytest.fixture
def training(tmp_path):
    """Train runs on `pictures`; return which were trained."""

    def train(runs, pictures="digits", fresh=False):
        trained = []

        def record(run):
            trained.append(run)
            return {"curves": {"bound": [run.rate, run.seed]}, "data": pictures}

        flags = argparse.Namespace(out=tmp_path, fresh=fresh)
        grid.train_missing(argparse.Namespace(flags=flags, device="cpu"), runs, "some", record)
        return trained

    return train


def test_what_has_a_file_is_not_trained_again(training):
    assert training(RUNS[:1]) == RUNS[:1]
    assert training(RUNS) == RUNS[1:]
    assert training(RUNS) == []
    assert training(RUNS[:2], fresh=True) == RUNS[:2]


def test_runs_are_read_back_by_some_of_their_fields_and_seed(training, tmp_path):
    training(RUNS)
    runs, pictures = grid.stored("some", ["rate"], tmp_path)
    assert pictures == "digits"
    assert runs == {(rate,): {seed: {"bound": [rate, seed]} for seed in (0, 1)} for rate in (0.1, 0.2)}


def test_a_file_says_what_ran(training, tmp_path):
    training(RUNS[:1])
    record = json.loads((tmp_path / "some" / f"{RUNS[0].name()}.json").read_text())
    assert record["run"] == {"rate": 0.1, "seed": 0}
    assert {"command", "commit", "versions", "machine", "blas", "date"} < set(record)


def test_no_runs_and_runs_on_different_pictures_are_refused(training, tmp_path):
    with pytest.raises(UsageError, match="run it in a clone"):
        grid.stored("some", ["rate"], tmp_path)
    (tmp_path / "some").mkdir()
    with pytest.raises(UsageError, match="holds no runs"):
        grid.stored("some", ["rate"], tmp_path)
    training(RUNS[:2])
    training(RUNS[2:], pictures="clothes")
    with pytest.raises(UsageError, match=r"different pictures: \['clothes', 'digits'\]"):
        grid.stored("some", ["rate"], tmp_path)
