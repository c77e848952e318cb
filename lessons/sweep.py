"""The grid behind the paper's figures 1 and 2, by many processes or machines: `python -m lessons sweep 9`.

Parameterization × learning rate × seed. Each run is a process of its own, lesson 9 with ``--only``, ``--rate`` and
``--seed``, and leaves one file; runs that have one are not done again. Who starts the processes is an executor: threads
here, Dask's workers, or MPI's ranks. All have one interface, that of `concurrent.futures`.
"""

import json
import os
import re
import runpy
import signal
import subprocess
import sys
import tempfile
import threading
import traceback
from collections import Counter
from concurrent.futures import FIRST_COMPLETED, ThreadPoolExecutor, wait
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from importlib.util import find_spec
from pathlib import Path

import numpy as np

import minigrad as mg
from lessons import (
    Parser,
    UsageError,
    add_size_and_place_flags,
    choose_data,
    choose_device,
    file_name,
    full_run,
    grid,
    lesson_files,
    lesson_name,
    positive,
    report_error,
    runner,
    whole_number,
    writable_folder,
    write_text,
)
from lessons.convpool import PARAMETERIZATIONS

SWEPT = 9  # the lesson; it takes --only, --rate and --seed, and keeps what it found in a checkpoint
RATES, SEEDS = (0.0003, 0.001, 0.003, 0.01), (0, 1, 2)  # the paper's grid (section 5.1)
TRIES = 2  # of a run whose process is killed
ONE_THREAD = dict.fromkeys(("OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "OMP_NUM_THREADS"), "1")  # in each process


class KilledError(Exception):
    """A run's process was ended from outside; another may fare better."""


class FailedError(Exception):
    """A run's process ended with an error, as another would."""


@dataclass(frozen=True)
class Run:
    """What distinguishes one run from the others."""

    parameterization: str
    rate: float
    seed: int

    def name(self):
        return file_name(f"seed{self.seed}-{self.parameterization}-{self.rate}")

    def __str__(self):
        return f"{self.parameterization} at {self.rate:g}, seed {self.seed}"


def main(arguments):
    """`python -m lessons sweep 9`; the exit code: 0 all runs are there, 1 some failed."""
    flags = flags_of(arguments)
    file = lesson_files()[SWEPT]
    device = flags.device if "://" in flags.on else choose_device(flags.device)  # elsewhere there may be others
    data = choose_data(flags.data, flags.download)
    size, epochs = "full" if flags.full else "quick", [f"epochs={flags.epochs}"] * bool(flags.epochs)
    folder = Path(flags.out) / lesson_name(file) / "sweep" / file_name(" ".join([size, data, *epochs]))
    options = [f"--{option}" for option in (size, f"device={device}", f"data={data}", *epochs)]
    options += ["--download"] * flags.download
    runs = dict.fromkeys(Run(p, rate, seed) for seed in flags.seeds for rate in flags.rates for p in flags.only)
    missing = [run for run in runs if flags.fresh or not path_of(folder, run).exists()]
    checkpoints = (folder / "checkpoints").resolve() if flags.full else None
    with executor(flags.on, flags.jobs or (1 if device == "cuda" else os.cpu_count() or 1)) as pool:
        writable_folder(folder / "runs")
        print(f"{len(missing)} of {len(runs)} runs to do, {size}, device {device}, data {data}, in {folder}/")
        failed = train_all(pool, missing, folder, (str(file), options, checkpoints), flags.fresh)
    if records := [json.loads(path.read_text("utf-8")) for path in sorted((folder / "runs").glob("*.json"))]:
        document = summary(records)
        write_text(folder / "table.json", json.dumps(document, indent=1, ensure_ascii=False) + "\n")
        write_text(folder / "table.md", markdown(document))
        print(f"\n{markdown(document)}\nwritten: {folder}/table.md, table.json")
    for run, error in failed.items():
        print(f"FAILED: {run}: {error}", file=sys.stderr)
    return 1 if failed else 0


def flags_of(arguments):
    parser = Parser(prog=f"{runner()} sweep", description=__doc__.splitlines()[0])

    def values(name, kind, default, text, **options):
        parser.add_argument(f"--{name}", nargs="+", type=kind, default=default, help=text, **options)

    parser.add_argument("lesson", metavar="N", type=int, help=f"the lesson: {SWEPT}")
    values("rates", positive, RATES, f"learning rates; the paper's by default: {', '.join(map(str, RATES))}")
    values("seeds", whole_number(0), SEEDS, f"by default {', '.join(map(str, SEEDS))}")
    values("only", str, PARAMETERIZATIONS, f"of {', '.join(map(repr, PARAMETERIZATIONS))}", metavar="NAME",
           choices=PARAMETERIZATIONS)  # fmt: skip
    parser.add_argument("--epochs", type=whole_number(1), help="another number of epochs")
    where = (
        "processes (default); dask: a cluster on this machine; dask://HOST:PORT: that of a scheduler; mpi: the ranks"
    )
    where += " of `mpiexec -n N python -m mpi4py.futures -m lessons sweep 9 ...`"
    parser.add_argument("--on", default="processes", metavar="WHERE", help=where)
    at_a_time = "runs at a time, with processes and dask; by default one a core, on a GPU one"
    parser.add_argument("--jobs", type=whole_number(1), help=at_a_time)
    add_size_and_place_flags(parser)
    flags = parser.parse_args(arguments)
    if flags.lesson != SWEPT:
        raise UsageError(f"lesson {flags.lesson} is no grid of runs; sweep {SWEPT} is")
    return flags


# ---- where runs are done --------------------------------------------------------------------------------------------


@contextmanager
def executor(on, jobs):
    """An executor with the interface of `concurrent.futures`, for as long as this context lasts.

    If it ends with an error or Ctrl-C, so does this process, at once; and with it, wherever they are, those that it
    started (see `child`).
    """
    with _executor(on, jobs) as pool:
        try:
            yield pool
        except BaseException as error:
            if (code := report_error(type(error), error)) is None:
                traceback.print_exception(error)
            with suppress(OSError):  # on a full disk
                sys.stdout.flush()
            code = 1 if code is None else code
            if on == "mpi":
                sys.modules["mpi4py.MPI"].COMM_WORLD.Abort(code)  # else the other ranks would wait for more
            os._exit(code)


def _executor(on, jobs):
    """The same without what an error does: an object to be used with ``with``."""
    if on == "processes":
        return ThreadPoolExecutor(jobs)
    if on == "mpi":
        return mpi()
    if on == "dask" or re.fullmatch(r"dask://[^/]+:\d+", on):
        return dask(on.replace("dask", "tcp", 1) if on != "dask" else None, jobs)
    raise UsageError(f"--on {on}: there are processes, dask, dask://HOST:PORT and mpi")


def mpi():
    needs("mpi4py", "mpi", "-e '.[workers]'")
    from mpi4py import MPI
    from mpi4py.futures import MPIPoolExecutor

    if MPI.COMM_WORLD.Get_size() == 1:
        raise UsageError(f"--on mpi: start it as mpiexec -n 5 {sys.executable} -m mpi4py.futures -m lessons sweep ...: "
                         "one rank hands out runs, the others train")  # fmt: skip
    return MPIPoolExecutor()


@contextmanager
def dask(address, jobs):
    needs("distributed", "dask", "-e '.[sweep]'")
    from dask import config
    from distributed import Client, LocalCluster

    if address:
        try:
            client = Client(address, timeout=5)
        except OSError:
            raise UsageError(f"no Dask scheduler answers at {address}; `dask scheduler` starts one") from None
        with client:
            yield client.get_executor(pure=False)
        return
    config.set({"distributed.scheduler.allowed-failures": TRIES - 1})
    with (
        LocalCluster(n_workers=jobs, threads_per_worker=1, dashboard_address=None, silence_logs="CRITICAL") as cluster,
        Client(cluster) as client,
    ):
        yield client.get_executor(pure=False)


def needs(package, on, install):
    if find_spec(package) is None:
        raise UsageError(f"--on {on}: {package} is not installed; first: pip install {install}")


def train_all(pool, runs, folder, how, fresh):
    """Train these runs and write a file for each; return {run: error} of those that failed.

    A run whose process is killed has `TRIES` tries. `how` are the arguments of `train` after the run.
    """
    from tqdm import tqdm

    waiting = {pool.submit(train, run, *how, fresh): run for run in runs}
    tries, failed = Counter(runs), {}
    with tqdm(total=len(runs), desc="runs", disable=None, leave=False, dynamic_ncols=True) as bar:
        while waiting:
            done, _ = wait(waiting, return_when=FIRST_COMPLETED)
            for future in done:
                run = waiting.pop(future)
                try:
                    record = future.result()
                except KilledError as error:
                    if tries[run] < TRIES:
                        tries[run] += 1
                        bar.write(f"{run}: {error}; once more")
                        waiting[pool.submit(train, run, *how, False)] = run
                        continue
                    failed[run] = f"{error}, {TRIES} times"
                except Exception as error:  # whatever it was, the others go on
                    failed[run] = str(error) if isinstance(error, FailedError) else f"{type(error).__name__}: {error}"
                else:
                    write_text(path_of(folder, run), json.dumps(record, ensure_ascii=False) + "\n")
                    last = {name: record["curves"][name][-1] for name in ("training error", "test error")}
                    bar.write(f"{run}: " + ", ".join(f"{name} {value:.1f} %" for name, value in last.items()))
                if run in failed:
                    bar.write(f"{run}: FAILED: {failed[run]}")
                bar.update()
    return failed


# ---- one run, wherever that is --------------------------------------------------------------------------------------


def train(run, file, options, checkpoints, fresh):
    """Have lesson 9 train one network in a process of its own; what is stored of it.

    Parameters
    ----------
    run : Run
    file : str
        The lesson; machines share this path.
    options : list of str
        The lesson's flags for all runs.
    checkpoints : Path or None
        The folder in which a run that is interrupted leaves what it has come to, and goes on from; None for runs that
        are soon done again.
    fresh : bool
        Whether to start anew in any case.

    Raises
    ------
    KilledError, FailedError
        If the process does not come to its end.
    """
    with tempfile.TemporaryDirectory() as temporary:
        out = Path(checkpoints or temporary) / run.name()
        command = [sys.executable, "-m", "lessons.sweep", file, *options, f"--only={run.parameterization}"]
        command += [f"--rate={run.rate}", f"--seed={run.seed}", f"--out={out}", *(["--fresh"] if fresh else [])]
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.DEVNULL, "stderr": subprocess.PIPE}
        text = {"encoding": "utf-8", "errors": "replace"}
        with subprocess.Popen(command, env=mg.config.environment() | ONE_THREAD, **pipes, **text) as process:
            said = process.stderr.read().strip()  # not communicate(), which closes its standard input: see `child`
        if process.returncode < 0 or process.returncode == 130:  # so ends a lesson that was told to, and can clean up
            raise KilledError(f"its process was killed (exit code {process.returncode})")
        if process.returncode:
            raise FailedError(f"exit code {process.returncode}: {(said.splitlines() or ['it does not say why'])[-1]}")
        (path,) = out.rglob("*.npz")
        saved = mg.load(path)
    return {"run": asdict(run)} | full_run.digest(saved["identity"], saved["state"])


def child(arguments):
    """Run a lesson as a script with these flags, and end when its parent does.

    The other end of standard input is the parent's, and is closed when the parent ends, whatever ends it.
    """

    def end_with_parent():
        os.read(0, 1)
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=end_with_parent, daemon=True).start()
    sys.argv[:] = arguments
    runpy.run_path(arguments[0], run_name="__main__")


# ---- the table ------------------------------------------------------------------------------------------------------


def path_of(folder, run):
    return folder / "runs" / f"{run.name()}.json"


def summary(records):
    """What is in table.json: for each parameterization and rate the errors of the last epoch over seeds.

    The best rate of a parameterization is that with the lowest mean training error, which leaves test pictures out of
    the choice.

    Parameters
    ----------
    records : list of dict
        As `train` returns them.

    Returns
    -------
    dict
        "rows", each with `parameterization`, `rate`, `seeds`, `best`, and `mean`, `deviation` (None of one seed) and
        `values` of "training error" and "test error", in percent; "remarks", a list of sentences.

    Raises
    ------
    UsageError
        If runs differ in more than parameterization, rate and seed.
    """
    kinds = sorted({f"{record['data']}, {record['size']}" for record in records})
    if len(kinds) > 1:
        raise UsageError(f"runs of different kinds have no common mean: {'; '.join(kinds)}; move those of all but one "
                         "elsewhere, or use another --out")  # fmt: skip
    found = {}
    for record in sorted(records, key=lambda record: record["run"]["seed"]):
        run = record["run"]
        found.setdefault(run["parameterization"], {}).setdefault(run["rate"], []).append(record)
    rows, at_an_end = [], []
    for p in filter(found.get, PARAMETERIZATIONS):
        rates = sorted(found[p])
        errors = {rate: {kind: over_seeds([record["curves"][kind][-1] for record in found[p][rate]])
                         for kind in ("training error", "test error")} for rate in rates}  # fmt: skip
        best = min(rates, key=lambda rate: errors[rate]["training error"]["mean"])
        at_an_end += [p] * (best in (rates[0], rates[-1]))
        rows += [{"parameterization": p, "rate": rate, "best": rate == best,
                  "seeds": [record["run"]["seed"] for record in found[p][rate]]} | errors[rate]
                 for rate in rates]  # fmt: skip
    remarks = ["Errors of the last epoch in percent, mean ± standard deviation over seeds; bold: the rate with the "
               "lowest mean training error."]  # fmt: skip
    if at_an_end:
        remarks.append(f"The best of the rates is the smallest or largest tried: {', '.join(at_an_end)}.")
    remarks.append(f"Network and training: {records[0]['size']}.")
    remarks += full_run.remarks({str(Run(**record["run"])): record for record in records})
    return {"rows": rows, "remarks": remarks}


def over_seeds(values):
    deviation = float(grid.deviation(values)) if len(values) > 1 else None
    return {"mean": float(np.mean(values)), "deviation": deviation, "values": values}


def markdown(document):
    """The table as Markdown."""
    lines = ["| parameterization | learning rate | seeds | training error | test error |", "|---|---|---|---|---|"]
    for row in document["rows"]:
        cells = [row["parameterization"], f"{row['rate']:g}", str(len(row["seeds"]))]
        cells += [grid.shown(row[kind]["values"], 2) for kind in ("training error", "test error")]
        lines.append("| " + " | ".join(f"**{cell}**" if row["best"] else cell for cell in cells) + " |")
    return "\n".join([*lines, "", *document["remarks"], ""])


if __name__ == "__main__":
    child(sys.argv[1:])
