"""How fast minigrad is beside its peers: all tables in one run.

    python -m benchmarks [paper_network memory …] [--quick] [--json FILE] [--figure FILE]

Without names, all tables: about a quarter of an hour on two cores, or about a minute with --quick, which is for seeing
that everything works; its numbers are for smaller batches and from few repeats. Each table is a file here, whose
docstring says what it measures; `measure.py` says how. The peers are the `bench` extra: pip install -e '.[bench]'.
"""

import argparse
import importlib.metadata
import json
import os
import platform
import time
from datetime import UTC, datetime
from pathlib import Path

import minigrad as mg
from benchmarks import (
    autoencoder,
    convolutions,
    evaluation,
    measure,
    memory,
    operations,
    paper_network,
    parameterizations,
    q_learning,
    recurrent,
    resnet,
    scaling,
    small,
    workers,
)
from lessons import commit
from minigrad.fast.cpu import parallel

TABLES = {
    module.__name__.rpartition(".")[2]: module
    for module in (
        paper_network,
        memory,
        parameterizations,
        resnet,
        convolutions,
        operations,
        evaluation,
        recurrent,
        small,
        autoencoder,
        q_learning,
        scaling,
        workers,
    )
}
SIMD = ("avx", "avx2", "fma", "avx512f", "avx512_bf16", "amx_tile", "asimd", "sve")


def surroundings():
    """What the numbers depend on besides the code: {what: value}."""
    described = {"date": f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC", "commit": commit()}
    info = cpuinfo()
    described["CPU"] = f"{info.get('model name', platform.processor() or platform.machine())}, {parallel.cores()} cores"
    flags = info.get("flags", info.get("Features", "")).split()
    described["SIMD"] = " ".join(flag for flag in SIMD if flag in flags) or "unknown"
    load = f"{os.getloadavg()[0]:.1f}" if hasattr(os, "getloadavg") else "unknown"
    described["load before"] = f"{load} (of the last minute; whatever else runs now disturbs the numbers)"
    described["versions"] = f"Python {platform.python_version()}, {versions()}"
    described["BLAS of NumPy"] = mg.config.blas_description()
    try:
        import torch

        described["PyTorch's threads"] = torch.get_num_threads()
    except ImportError:
        pass
    return described


def cpuinfo():
    """The first processor's entries in /proc/cpuinfo; {} where there is none."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").split("\n\n")[0].splitlines()
    except OSError:
        return {}
    return dict([part.strip() for part in line.split(":", 1)] for line in lines if ":" in line)


def versions():
    """The libraries and their versions, or that they are not installed."""
    named = []
    for name in ("minigrad", "numpy", "torch", "mygrad", "dezero", "autograd"):
        try:
            named.append(f"{name} {importlib.metadata.version(name)}")
        except importlib.metadata.PackageNotFoundError:
            named.append(f"{name} not installed")
    return ", ".join(named)


def main():
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*", metavar="table", help=f"any of: {', '.join(TABLES)} (default: all)")
    parser.add_argument("--quick", action="store_true", help="small batches and few repeats: does it work?")
    parser.add_argument(
        "--json",
        metavar="FILE",
        type=Path,
        help="write what was measured into this file (a median with its 5 %% and 95 %%: a list of three)",
    )
    parser.add_argument("--figure", metavar="FILE", type=Path, help="draw the table `scaling` into this file")
    flags = parser.parse_args()
    names = flags.names or list(TABLES)
    if unknown := [name for name in names if name not in TABLES]:
        parser.error(f"there is no table {unknown[0]!r}; there are {', '.join(TABLES)}")
    if flags.figure and "scaling" not in names:
        parser.error("--figure draws the table `scaling`: name it too")

    size = measure.QUICK if flags.quick else measure.FULL
    described = surroundings() | {"size": size.name}
    print("\n".join(f"{what}: {value}" for what, value in described.items()))
    results = {}
    for name in names:
        started = time.perf_counter()
        tables = TABLES[name].run(size)
        results[name] = [vars(table) for table in tables]
        print(f"\n== {name} ({time.perf_counter() - started:.0f} s)\n")
        print("\n\n".join(map(str, tables)), flush=True)
        if flags.json:  # after each table: what was measured stays if the run is interrupted
            document = {"surroundings": described, "tables": results}
            flags.json.write_text(json.dumps(document, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
        if name == "scaling" and flags.figure:
            scaling.draw(tables, flags.figure, f"{size.name}, {described['CPU']}, {described['date']}")


if __name__ == "__main__":
    main()
