"""Grids of runs: a file for each, trained once, read back by any of their fields."""

import argparse
import json
from dataclasses import dataclass

import numpy as np
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


@pytest.mark.parametrize(
    "content", ["", "[1]", '{"run": {"rate": 0.1', '{"run": [], "curves": {}, "data": ""}', b"\xff"]
)
def test_a_file_that_is_not_of_a_run_is_named_in_one_line(training, tmp_path, content):
    training(RUNS)
    path = tmp_path / "some" / f"{RUNS[1].name()}.json"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    for read in (lambda: grid.stored("some", ["rate"], tmp_path), lambda: training(RUNS)):
        with pytest.raises(UsageError, match="is not the file of such a run") as error:
            read()
        assert str(path) in str(error.value) and "\n" not in str(error.value)


def test_files_of_runs_with_other_fields_and_of_another_run_are_refused(training, tmp_path):
    training(RUNS)
    with pytest.raises(UsageError, match="something is missing"):
        grid.stored("some", ["batch"], tmp_path)
    first, second = (tmp_path / "some" / f"{run.name()}.json" for run in RUNS[:2])
    first.write_text(second.read_text())
    with pytest.raises(UsageError, match=r"holds another run, .*'seed': 1.*, not .*'seed': 0"):
        training(RUNS)


def test_runs_on_several_sets_of_pictures_are_read_by_set(training, tmp_path):
    training(RUNS[:2])
    training(RUNS[2:], pictures="clothes")
    runs, pictures = grid.stored("some", ["rate"], tmp_path, by="rate")
    assert pictures == {0.1: "digits", 0.2: "clothes"} and len(runs) == 2
    with pytest.raises(UsageError, match=r"different pictures: \['clothes', 'digits'\]"):
        grid.stored("some", ["rate"], tmp_path, by="seed")


RATES = (0.001, 0.003, 0.01, 0.03, 0.1, 0.3)


@pytest.mark.parametrize("best", RATES)
@pytest.mark.parametrize("first", RATES)
def test_of_scores_with_one_peak_the_best_rate_is_found_by_way_of_those_between(best, first):
    asked = []

    def score(rate):
        asked.append(rate)
        return -abs(RATES.index(rate) - RATES.index(best))

    assert grid.best_rate(RATES, first, score) == best
    low, high = sorted([RATES.index(first), RATES.index(best)])
    assert sorted(asked) == list(RATES[max(low - 1, 0) : high + 2])


def test_a_rate_that_fails_is_worse_than_all_and_one_that_is_missing_leaves_the_best_unknown():
    assert grid.best_rate(RATES, 0.003, {0.001: np.nan, 0.003: -np.inf, 0.01: -7.0, 0.03: np.nan}.get) == 0.01
    assert grid.best_rate(RATES, 0.003, {0.001: 1.0, 0.003: 2.0, 0.01: 3.0}.get) is None


def test_where_all_rates_fail_none_is_the_best():
    """Also where one further away would do: what is known does not say where that is."""
    with pytest.raises(UsageError, match=r"failed at all rates that were tried, \[0.003, 0.01, 0.03\]"):
        grid.best_rate(RATES, 0.01, lambda rate: 1.0 if rate == 0.001 else np.nan)


def test_numbers_over_seeds_are_shown_with_their_deviation():
    assert grid.shown([]) == "–"
    assert grid.shown([1.26]) == "1.3"
    assert grid.shown(np.array([1.0, 3.0]), 2) == "2.00 ± 1.41"
    np.testing.assert_allclose(grid.deviation(np.array([[1.0, 5.0], [3.0, 5.0]])), [2**0.5, 0])
    assert grid.deviation([4.0]) == 0


@pytest.mark.parametrize("seeds", grid.STUDENT)
def test_the_interval_holds_the_mean_in_95_of_100_cases(seeds):
    """Of 20,000 cases, whose share scatters by 0.0015."""
    values = 7 + 3 * np.random.default_rng(seeds).standard_normal((seeds, 20_000))
    low, high = grid.interval(values)
    assert abs(np.mean((low < 7) & (7 < high)) - 0.95) < 0.006
