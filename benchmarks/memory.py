"""How much memory a training step of the paper's network takes, each library in a process of its own.

What counts is the largest resident memory during the steps, less the resident memory when the library is imported, the
data made, and a step of a tiny network done: the library's code, and what it loads on its first step, do not count;
weights, Adam's means, everything kept for the backward pass and every temporary array do.

The peak is Linux's VmHWM, set back before the steps. `resource.getrusage`'s ru_maxrss would not do: a child process
inherits the largest value that its parent ever had.

The time of the same steps stands beside it. Measured alone it should be that of `paper_network`, where the libraries
take turns in one process; if it is not, they disturb each other there. (minigrad's first backward pass
tells the C library to keep freed memory, `minigrad/fast/cpu/memory.py`; in one process with minigrad PyTorch has that
too, here it has not.)
"""

import json
import statistics
import subprocess
import sys
import time
from pathlib import Path

from benchmarks import measure

ROOT = Path(__file__).parent.parent
LIBRARIES = ("minigrad", "PyTorch", "PyTorch, channels last")


def step_in(library, widths, batch):
    """A training step in one library, which alone is imported."""
    if library == "minigrad":
        from benchmarks import in_minigrad as here

        options = {}
    else:
        from benchmarks import in_torch as here

        options = {"channels_last": library.endswith("channels last")}
    return here.training_step(here.paper_network(widths), *measure.pictures(batch), **options)


def kibibytes(entry):
    """An entry of this process's status, such as VmRSS: the memory that it occupies."""
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(entry + ":"))


def measure_here(library, widths, batch, steps):
    """{"MiB": what some training steps need, "seconds": of each of them}; meant for a fresh process."""
    step_in(library, (8, 8), 2)()
    before = kibibytes("VmRSS")
    Path("/proc/self/clear_refs").write_text("5", encoding="ascii")  # VmHWM starts again from what there is now
    step, seconds = step_in(library, widths, batch), []
    for _ in range(steps + 1):
        started = time.perf_counter()
        step()
        seconds.append(time.perf_counter() - started)
    return {"MiB": (kibibytes("VmHWM") - before) / 1024, "seconds": seconds[1:]}


def convolutions_mebibytes(widths, batch):
    """What the outputs of the nine convolutions take in float32, which any library must keep or compute again."""
    a, b = widths
    return 4 * batch * (3 * a * 32 * 32 + 3 * b * 16 * 16 + 3 * b * 6 * 6) / 2**20


def run(size):
    if not Path("/proc/self/clear_refs").exists():
        return [measure.Table("Memory of that step", [], ["needs Linux: left out"])]
    rows, notes = [], []
    kept = convolutions_mebibytes(size.widths, size.batch)
    for library in LIBRARIES:
        arguments = json.dumps([library, size.widths, size.batch, size.rounds])
        child = subprocess.run(
            [sys.executable, "-m", "benchmarks.memory", arguments], cwd=ROOT, capture_output=True, text=True
        )
        if child.returncode:
            notes.append(f"{library}: left out ({child.stderr.strip().splitlines()[-1]})")
            continue
        found = json.loads(child.stdout)
        rows.append(
            {
                "": library,
                "MiB above start": found["MiB"],
                "÷ outputs of the convolutions": found["MiB"] / kept,
                "ms a step, alone": 1e3 * statistics.median(found["seconds"]),
            }
        )
    notes.append(f"the outputs of the nine convolutions: {kept:.0f} MiB")
    return [measure.Table(f"Memory of that step, batch {size.batch}, {size.rounds + 1} steps", rows, notes)]


if __name__ == "__main__":
    print(json.dumps(measure_here(*json.loads(sys.argv[1]))))
