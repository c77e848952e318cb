"""How fast the code as it lies here is beside an older commit of it: has a change made anything slower?

    python -m benchmarks.against COMMIT [paper_network memory …] [--quick] [--seconds S] [--json FILE]
    python -m benchmarks.against HEAD --new-env MINIGRAD_PLAIN=1     # two settings instead of two commits
    python -m benchmarks.against HEAD matrix_products paper_network --old-env OPENBLAS_CORETYPE=Haswell \\
        --new-env OPENBLAS_CORETYPE=SkylakeX                         # or two of OpenBLAS's sets of kernels

One table: the ratio new ÷ old of the time of a step, its median and where the middle 90 % of the rounds lie; a mark
where the median is above 1.05; the ratio of the fastest turns; and the medians of both versions. Memory is the peak of
a training step (see `memory`). How much of that is noise, HEAD against an unchanged HEAD tells. What else runs on the
machine only ever adds time, so the fastest turns say more where much else runs, and a mark with 1.00 beside it asks
for another run. On a busy machine compare on one core, where threads need not wait for each other (Linux):

    OPENBLAS_NUM_THREADS=1 taskset -c 0 python -m benchmarks.against COMMIT

`minigrad` and `wn` of both versions go into a temporary folder, and each version works in a process of its own. The two
take turns of several steps, old first in one round, new first in the next, so that a slow drift of the machine cancels;
a round's ratio is that of the medians of its two turns. Turns are shorter than in `measure`, for the same reason.

Where arrays lie in memory matters, too: an operation has been seen to take 1.8 times as long in one of two equal
versions, in every process, since the name of its folder was longer and all addresses were shifted by that. So the two
folders' names have one length, arrays begin at a random distance from the start of the memory, and the rounds are
shared out among several pairs of fresh processes, in each of which each step is made several times.

What is timed is in `workloads.py`, the same file for both versions; what a version cannot do is left out and named.
Environment variables reach both.
"""

import argparse
import contextlib
import io
import json
import math
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

import numpy as np

from benchmarks import measure, workloads
from benchmarks.__main__ import surroundings

ROOT = Path(__file__).parent.parent
NAMES = (*workloads.NAMES, "memory")
SHARES = {"paper_network": 1.0, "three_layers": 0.5, "evaluation": 0.5, "operations": 0.15}  # of size.seconds
OTHERS = 0.25  # the share of a row of the other names
LIMIT = 1.05  # a ratio above is marked
PAIRS = 3  # of processes, for each name
LAYOUTS = 3  # how often each of them makes a step
TURN = 0.05  # seconds that a turn lasts at least, if a hundred steps last as long; a longer step is a turn


class NotMeasuredError(Exception):
    """A version could not do what was asked; the message says which and why."""


class Version:
    """minigrad and wn from one tree, with some environment variables of their own."""

    def __init__(self, name, tree, settings):
        path = [str(tree), str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]
        self.name, self.tree = name, tree
        self.environment = os.environ | settings | {"PYTHONPATH": os.pathsep.join(path)}

    def start(self, module, *arguments):
        """A process that runs a module of these benchmarks with this version; pipes for what it reads and writes."""
        return subprocess.Popen(
            [sys.executable, "-m", f"benchmarks.{module}", *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=self.tree,
            env=self.environment,
        )


class Worker:
    """A version that does the steps of one name in a process of its own, as long as the block lasts."""

    def __init__(self, version, name):
        self.version, self.process = version, version.start("workloads", name)

    def __enter__(self):
        return self

    def __exit__(self, *error):
        with contextlib.suppress(BrokenPipeError):
            self.process.__exit__(*error)  # closes its input, upon which it ends, and waits for that

    def ask(self, **question):
        with contextlib.suppress(BrokenPipeError):  # then there is no answer either
            print(json.dumps(question), file=self.process.stdin, flush=True)
        answer = json.loads(self.process.stdout.readline() or '{"error": "its process ended"}')
        if "error" in answer:
            raise NotMeasuredError(f"{self.version.name}: {answer['error']}")
        return answer

    def make(self, label, size):
        library = Path(self.ask(make=label, size=size)["library"])
        if not library.is_relative_to(self.version.tree):
            raise NotMeasuredError(f"{self.version.name}: its minigrad is {library}")

    def turn(self, steps):
        """Seconds of each of so many steps."""
        return self.ask(turn=steps)["seconds"]


# ---- measuring ------------------------------------------------------------------------------------------------------


def in_turn(functions, rounds):
    """What the functions return: a list for each of them; who is first in one round is last in the next."""
    found = [[] for _ in functions]
    both = list(zip(functions, found, strict=True))
    for i in range(rounds):
        for function, values in both[:: -1 if i % 2 else 1]:
            values.append(function())
    return found


def rounds_of(workers, label, size, seconds):
    """Seconds of a step, made anew: for each of the workers the medians of its turns, in so much time for each."""
    for worker in workers:
        worker.make(label, size)
    once = [worker.turn(1)[0] for worker in workers]
    turn = min(max(math.ceil(min(TURN, size.turn) / min(once)), 1), 100)
    rounds = max(int(seconds * len(workers) / (turn * sum(once))), 1)
    return in_turn([lambda worker=worker: float(np.median(worker.turn(turn))) for worker in workers], rounds)


def steps(versions, name, size):
    """Rows for the steps of one name, and what was left out."""
    found, left_out = {label: [[], []] for label in workloads.NAMES[name](size)}, {}
    seconds = SHARES.get(name, OTHERS) * size.seconds / (PAIRS * LAYOUTS)
    for _ in range(PAIRS):
        with contextlib.ExitStack() as stack:
            workers = [stack.enter_context(Worker(version, name)) for version in versions]
            for label in [label for label in found if label not in left_out] * LAYOUTS:
                try:
                    more = rounds_of(workers, label, size, seconds)
                except NotMeasuredError as error:
                    left_out[label] = f"{name}, {label}: left out ({error})"
                else:
                    found[label] = [[*old, *new] for old, new in zip(found[label], more, strict=True)]
    rows = [row(f"{name}: {x}", *(1e3 * np.array(s) for s in found[x]), "ms") for x in found if x not in left_out]
    return rows, list(left_out.values())


def memory(versions, size):
    """A row for the memory of a training step of the paper's network, each time in a process of its own."""
    if not Path("/proc/self/clear_refs").exists():
        return [], ["memory: left out (needs Linux)"]
    batch = min(size.batch, 50)
    arguments = json.dumps(["minigrad", size.widths, batch, 3])

    def mebibytes(version):
        with version.start("memory", arguments) as process:
            answer, _ = process.communicate()
        if process.returncode:
            raise NotMeasuredError(f"{version.name}: its process ended with {process.returncode}")
        return json.loads(answer)["MiB"]

    try:
        found = in_turn([lambda version=version: mebibytes(version) for version in versions], PAIRS)
    except NotMeasuredError as error:
        return [], [f"memory: left out ({error})"]
    return [row(f"memory: training step, weight norm, batch {batch}", *map(np.array, found), "MiB")], []


def row(label, old, new, unit):
    """A row of the table; entry i of old and of new is from the same round."""
    ratio = measure.spread(new / old)
    marked = "yes" if ratio.median > LIMIT else None
    fastest = float(min(new) / min(old))
    medians = {"old": float(np.median(old)), "new": float(np.median(new)), "unit": unit}
    return {"": label, "new ÷ old": ratio, f"above {LIMIT}": marked, "of the fastest": fastest} | medians


def compare(versions, names, size):
    """The table, for two versions: the old one and the new one."""
    rows, notes = [], []
    for name in names:
        print(f"{name} …", file=sys.stderr, flush=True)
        more, left_out = memory(versions, size) if name == "memory" else steps(versions, name, size)
        rows += more
        notes += left_out
    return measure.Table("Time and memory of the new version beside the old one", rows, notes)


# ---- the command line -----------------------------------------------------------------------------------------------


def git(*arguments):
    """What git prints, as bytes; NotMeasuredError with its complaint if it cannot do it."""
    try:
        run = subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True)
    except OSError as error:
        raise NotMeasuredError(f"git: {error}") from error
    if run.returncode:
        raise NotMeasuredError(run.stderr.decode(errors="replace").strip())
    return run.stdout


def unpack(commit, folder):
    """The library as it was in a commit into folder/old, and as it lies here into folder/new."""
    with tarfile.open(fileobj=io.BytesIO(git("archive", "--format=tar", commit, "minigrad", "wn"))) as archive:
        archive.extractall(folder / "old", filter="data")
    for package in ("minigrad", "wn"):
        shutil.copytree(ROOT / package, folder / "new" / package, ignore=shutil.ignore_patterns("__pycache__"))


def setting(text):
    name, equals, value = text.partition("=")
    if not (name and equals):
        raise argparse.ArgumentTypeError(f"{text!r} is not NAME=VALUE")
    return name, value


def main():
    parser = argparse.ArgumentParser(prog="python -m benchmarks.against", description=__doc__.splitlines()[0])
    parser.add_argument("commit", metavar="COMMIT", help="what to compare with: a commit, a branch, HEAD~3 …")
    parser.add_argument("names", nargs="*", metavar="name", help=f"any of: {', '.join(NAMES)} (default: all)")
    parser.add_argument("--quick", action="store_true", help="a minute or two, smaller batches, more noise")
    parser.add_argument(
        "--seconds",
        type=float,
        metavar="S",
        help="for each version of a row of paper_network; other rows take a part of it (20, or 1 with --quick)",
    )
    parser.add_argument("--json", metavar="FILE", type=Path, help="write what was measured into this file")
    for which in ("old", "new"):
        parser.add_argument(
            f"--{which}-env",
            metavar="NAME=VALUE",
            type=setting,
            action="append",
            default=[],
            help=f"an environment variable for the {which} version only (repeatable)",
        )
    flags = parser.parse_intermixed_args()  # names may follow the options
    if unknown := [name for name in flags.names if name not in NAMES]:
        parser.error(f"there is no {unknown[0]!r}; there are {', '.join(NAMES)}")

    size = measure.QUICK if flags.quick else measure.FULL
    size = size._replace(seconds=size.seconds if flags.seconds is None else flags.seconds)
    with tempfile.TemporaryDirectory() as folder:
        folder = Path(folder).resolve()
        try:
            unpack(flags.commit, folder)
            named = git("rev-parse", "--short", flags.commit).decode().strip()
        except NotMeasuredError as error:
            parser.error(str(error))
        versions = [
            Version("old", folder / "old", dict(flags.old_env)),
            Version("new", folder / "new", dict(flags.new_env)),
        ]
        described = surroundings() | {"size": size.name}
        described["old"] = " ".join([named, *map("=".join, flags.old_env)])
        described["new"] = " ".join([described.pop("commit"), *map("=".join, flags.new_env)])
        print("\n".join(f"{what}: {value}" for what, value in described.items()), flush=True)
        table = compare(versions, flags.names or NAMES, size)
    print(f"\n{table}")
    if flags.json:
        document = {"surroundings": described, "tables": {"against": [vars(table)]}}
        flags.json.write_text(json.dumps(document, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
