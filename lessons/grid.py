"""Grids of runs that take hours: what a run found has a file of its own, so a grid can be trained in pieces.

And what is said about their results: means, deviations and intervals over seeds.

A run is a frozen dataclass of all that tells it from the others, `seed` among it, with a method `name` for its file.
"""

import json
import sys
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path

import numpy as np

import minigrad as mg
from lessons import FOLDER, UsageError, commit, versions, writable_folder, write_text
from minigrad import backend

RESULTS = FOLDER.parent / "results"  # what the repository has of runs that take hours


def result(lesson, run, name, train):
    """What is stored of a run in the folder `name` of the lesson's output; trained now if there is nothing.

    Parameters
    ----------
    lesson : Lesson
    run : dataclass instance
    name : str
    train : function
        Of the run: it trains, prints a line about the result and returns what to store, a dict for JSON: `curves`,
        `data` (a description of the pictures), and what else it takes to understand the numbers. What ran, when, on
        which machine, with which versions, is added here.

    Returns
    -------
    dict

    Raises
    ------
    UsageError
        What is stored cannot be read, or is of another run.
    """
    path = writable_folder(Path(lesson.flags.out) / name) / f"{run.name()}.json"
    if lesson.flags.fresh or not path.exists():
        began = datetime.now(UTC)
        record = {"run": asdict(run)} | train(run)
        record |= {"command": " ".join(["python", *sys.argv]), "commit": commit(), "versions": versions(),
                   "machine": backend.description(lesson.device), "blas": mg.config.blas_description(),
                   "date": f"{began:%Y-%m-%d %H:%M} UTC"}  # fmt: skip
        write_text(path, json.dumps(record, ensure_ascii=False) + "\n")
    record, wanted = read(path), json.loads(json.dumps(asdict(run)))
    if record["run"] != wanted:
        raise UsageError(f"{path} holds another run, {record['run']}, not {wanted}; move it, or choose another --out")
    return record


def read(path, keys=()):
    """What `result` stored in a file, of a run with these fields; UsageError if it is damaged or something else."""
    try:
        record = json.loads(path.read_text("utf-8"))
        if {"run", "curves", "data"} <= record.keys() and {"seed", *keys} <= record["run"].keys():
            return record
        why = "something is missing"
    except (ValueError, AttributeError) as error:  # cut off, or no dict
        why = error
    raise UsageError(f"{path} is not the file of such a run ({why}); remove it, and --full trains the run again")


def train_missing(lesson, runs, name, train):
    """Train each run that has no file yet; with ``--fresh``, all. The arguments are those of `result`."""
    for run in runs:
        result(lesson, run, name, train)


def stored(name, keys, folder=RESULTS, by=None):
    """The runs that the repository has in results/`name`, all on the same pictures.

    Parameters
    ----------
    name : str
    keys : list of str
        Names of a run's fields.
    folder : Path, optional
        In which to look for `name`.
    by : str, optional
        The field that names the pictures, where runs differ in them.

    Returns
    -------
    dict, str
        {values of the fields `keys`: {seed: curves}}, and the description of the pictures; with `by` {its value:
        description}.

    Raises
    ------
    UsageError
        There are no such files, one cannot be read, or their pictures differ.
    """
    folder, runs, described = Path(folder) / name, {}, {}
    if not folder.is_dir():
        raise UsageError(f"this chapter reads {folder}, which the repository has and the installed package lacks: "
                         "run it in a clone")  # fmt: skip
    for path in sorted(folder.glob("*.json")):
        record = read(path, keys)
        runs.setdefault(tuple(record["run"][key] for key in keys), {})[record["run"]["seed"]] = record["curves"]
        described.setdefault(record["run"].get(by), set()).add(record["data"])
    if not described or max(map(len, described.values())) > 1:
        found = sorted(set().union(*described.values()))
        raise UsageError(f"{folder} holds no runs, or runs on different pictures: {found}")
    described = {value: descriptions.pop() for value, descriptions in described.items()}
    return runs, described if by else described[None]


def best_rate(rates, first, score):
    """The rate with the best score of those tried: from `first` to the better neighbour, until both are worse.

    Parameters
    ----------
    rates : sequence of float
        In ascending order.
    first : float
        One of them.
    score : function
        Of a rate: a number, the larger the better; NaN if training failed; None if it cannot be had.

    Returns
    -------
    float or None
        None if a score that is needed cannot be had. At an end of `rates`, the only neighbour is worse.

    Raises
    ------
    UsageError
        If training failed at `first` and at its neighbours: that does not say where to look.
    """
    here, scores = first, {}
    while True:
        place = rates.index(here)
        for rate in rates[max(place - 1, 0) : place + 2]:
            if rate not in scores:
                if (found := score(rate)) is None:
                    return None
                scores[rate] = -np.inf if np.isnan(found) else found
        best = max(scores, key=scores.get)
        if scores[best] == -np.inf:
            raise UsageError(f"training failed at all rates that were tried, {sorted(scores)}: begin with another")
        if best == here:
            return best
        here = best


# ---- numbers over seeds, which are along the first axis -------------------------------------------------------------

STUDENT = {2: 12.71, 3: 4.30, 4: 3.18, 5: 2.78}  # how many standard errors are 95 %, by the number of seeds


def deviation(values):
    """The standard deviation over seeds; 0 if there is only one."""
    return np.std(values, axis=0, ddof=1) if len(values) > 1 else np.zeros(np.shape(values)[1:])


def shown(values, digits=1):
    """ "52.0 ± 1.9", mean and standard deviation; without the latter if there is one seed, a dash if there is none."""
    if not len(values):
        return "–"
    return f"{np.mean(values):.{digits}f}" + (f" ± {deviation(values):.{digits}f}" if len(values) > 1 else "")


def interval(values):
    """The 95 % interval of the mean of 2 to 5 seeds, by Student's distribution: its two ends."""
    half = STUDENT[len(values)] * deviation(values) / np.sqrt(len(values))
    return np.mean(values, axis=0) - half, np.mean(values, axis=0) + half
