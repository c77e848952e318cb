"""Workers that train the paper's network, each on its part of every batch: processes started by mpiexec, or simulated.

Lesson 14 gives `run` a list of jobs, each the name of a function below and its arguments. With the extra `workers`
(mpi4py and Open MPI) `run` starts `mpiexec -n SIZE python -m lessons.data_parallel FILE`; without it the workers are
threads of this process, which make the same sums and get the same bits.
"""

import importlib.util
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

import minigrad as mg
import wn
from lessons.convpool import network
from minigrad import nn, optim
from minigrad.data import batches
from minigrad.nn import functional as F
from minigrad.workers import pairwise

# Open MPI: processes that wait leave the core to others, and there may be more of them than cores; root may start them.
ENVIRONMENT = {
    "OMPI_MCA_mpi_yield_when_idle": "1",
    "PRTE_MCA_rmaps_default_mapping_policy": ":oversubscribe",
    "OMPI_ALLOW_RUN_AS_ROOT": "1",
    "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1",
    "OPENBLAS_NUM_THREADS": "1",
}


def mpiexec(size):
    """The command that starts so many processes of this Python, up to its arguments; None without MPI."""
    beside = Path(sys.executable).with_name("mpiexec")
    command = str(beside) if beside.exists() else shutil.which("mpiexec")
    if command is None or importlib.util.find_spec("mpi4py") is None:
        return None
    return [command, "-n", str(size), sys.executable]


def environment():
    """The variables for `mpiexec`: this process's, `ENVIRONMENT`, and where lessons, wn and minigrad lie."""
    variables = mg.config.environment() | ENVIRONMENT
    root = str(Path(__file__).parent.parent)
    return variables | {"PYTHONPATH": os.pathsep.join([root, *filter(None, [variables.get("PYTHONPATH")])])}


def run(size, jobs):
    """What worker 0 of `size` returns for each of the jobs, (name of a function here, its keyword arguments)."""
    command = mpiexec(size)
    if command is None:
        return mg.workers.simulate(size, lambda workers: _results(workers, jobs))[0]
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "jobs.npz"
        mg.save(file, [{"name": name, "arguments": arguments} for name, arguments in jobs])
        command += ["-m", "lessons.data_parallel", str(file)]
        done = subprocess.run(command, env=environment(), capture_output=True, text=True, check=False)
        if done.returncode:
            raise RuntimeError(f"{size} processes failed: {done.stderr.strip() or done.stdout.strip()}")
        return mg.load(file)


def _results(workers, jobs):
    return [globals()[name](workers, **arguments) for name, arguments in jobs]


# ---- jobs -----------------------------------------------------------------------------------------------------------


def built(workers, parameterization, synchronized, widths, seed, dtype="float32"):
    """The network of table 1 without noise and dropout, which would be each worker's own, before initialization."""
    model = network(parameterization, widths, np.random.default_rng(seed), noise=0.0, dropout=0.0)
    for parameter in model.parameters():
        parameter.data = parameter.numpy().astype(dtype)
    for layer in model.modules():
        if synchronized and workers.size > 1 and isinstance(layer, (nn.BatchNorm, wn.MeanOnlyBatchNorm)):
            layer.workers = workers
    if parameterization in ("weight norm", "WN + mean-only BN"):
        wn.apply_weight_norm(model)
    return model


def train(
    workers,
    pictures,
    labels,
    parameterization,
    synchronized=True,
    pieces=1,
    first_alone=False,
    dtype="float64",
    widths=(8, 16),
    batch=48,
    steps=10,
    seed=0,
):
    """Adam for some steps, after data-dependent initialization with the first batch.

    Each worker divides its part of a batch into `pieces`, and adds up their gradients. With `first_alone` it takes the
    whole first batch for the initialization, so that nothing depends on how many workers there are.

    Returns
    -------
    dict
        All parameters in a row, at the `start` and at the `end`; for the `initialization`, and for all steps together
        for the `gradients` and for the `statistics` of the normalizations, (sums, bytes) of worker 0.
    """
    sent = {"initialization": np.zeros(2, int), "statistics": np.zeros(2, int), "gradients": np.zeros(2, int)}

    def counted(what, function, *args):
        before = np.array([workers.sums, workers.bytes])
        result = function(*args)
        sent[what] += np.array([workers.sums, workers.bytes]) - before
        return result

    pictures = pictures.astype(dtype)
    model = built(workers, parameterization, synchronized, widths, seed, dtype)
    if parameterization != "batch norm":
        among = mg.workers.Alone() if first_alone else workers
        (first,) = next(batches((pictures,), batch, workers=among))
        counted("initialization", wn.data_dependent_init, model, first, among)
    start, optimizer, rng = all_parameters(model), optim.Adam(model.parameters(), lr=0.003), np.random.default_rng(seed)
    while steps:
        for x, y in batches((pictures, labels), batch, rng, drop_last=True, workers=workers):
            counted("statistics", accumulate, model, x, y, workers.share(len(x)), pieces)
            counted("gradients", workers.sum_gradients, model.parameters())
            optimizer.step()
            steps -= 1
            if not steps:
                break
    return {"start": start, "end": all_parameters(model), **sent}


def accumulate(model, x, labels, weight, pieces=1):
    """Give the parameters the gradient of `weight` times the mean loss, from so many equal pieces of the batch."""
    parameters, found = model.parameters(), []
    for part, its_labels in zip(np.split(x, pieces), np.split(labels, pieces), strict=True):
        loss = F.cross_entropy(model(mg.tensor(part)), its_labels) * (weight / pieces)
        found.append([gradient.numpy() for gradient in mg.grad(loss, parameters)])
    for parameter, *gradients in zip(parameters, *found, strict=True):
        parameter.grad = mg.tensor(pairwise(gradients))


def all_parameters(model):
    """The numbers of all parameters in a row."""
    return np.concatenate([parameter.numpy().ravel() for parameter in model.parameters()])


def seconds_of_sums(workers, sizes, repeats=40):
    """How long a sum of so many bytes takes, in seconds, for each size: medians."""
    arrays = [np.zeros(n // 4, np.float32) for n in sizes]
    return [medians(repeats, lambda array=array: workers.sum(array))[0] for array in arrays]


def seconds_of_steps(workers, parameterization, examples, widths=(96, 192), repeats=3):
    """How long forward and backward pass take for so many pictures of 32 × 32: [computing, whole], medians in seconds.

    *Computing*: each worker by itself. *Whole*: statistics synchronized, and gradients summed. The two take turns.
    """
    alone, together = (built(workers, parameterization, how, widths, seed=0) for how in (False, True))
    x = np.random.default_rng(0).normal(size=(max(examples), 3, 32, 32)).astype(np.float32)
    found = []
    for count in examples:
        given = x[:count], np.zeros(count, int), 1 / workers.size

        def whole(given=given):
            accumulate(together, *given)
            workers.sum_gradients(together.parameters())

        found.append(medians(repeats, lambda given=given: accumulate(alone, *given), whole))
    return found


def medians(repeats, *functions):
    """The medians of how long calls of these functions take, which take turns; the first turn does not count."""
    found = [[] for _ in functions]
    for _ in range(repeats + 1):
        for function, seconds in zip(functions, found, strict=True):
            started = time.perf_counter()
            function()
            seconds.append(time.perf_counter() - started)
    return [statistics.median(seconds[1:]) for seconds in found]


if __name__ == "__main__":
    with mg.workers.MPI() as everyone:
        results = _results(everyone, [(job["name"], job["arguments"]) for job in mg.load(sys.argv[1])])
        if everyone.rank == 0:
            mg.save(sys.argv[1], results)
