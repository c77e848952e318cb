"""Lesson 9's full run in a few small files: python -m lessons.full_run CHECKPOINTS [--out results/cifar10]

CHECKPOINTS is the folder in which `lessons/09_cifar10_network.py --full` keeps its runs, such as
results/09_cifar10_network/checkpoints/full-cifar10-seed0. Neither the pictures nor a GPU are needed. Runs that are not
complete are shown as far as they have come, and everything says so. Written are

- cifar10.json: the curves, and with which commands, versions, machines and seed each was computed;
- figure1.png: the paper's figure 1, training error by epoch, and beside it the test error;
- table.md: the table in the paper's figure 2, test errors, with the paper's own beside them.
"""

import argparse
import json
import sys
from pathlib import Path

import numpy as np

import minigrad as mg
from lessons import COLOURS, UsageError, report_error, show_what_can_be_shown, writable_folder, write_text
from minigrad.saving import CheckpointError

PAPER = {"normal": 8.43, "weight norm": 8.46, "batch norm": 8.05, "mean-only BN": 8.52, "WN + mean-only BN": 7.31}
PAPERS_EPOCHS = 200


def read(folder):
    """{parameterization: what is worth keeping of its run}, in the paper's order."""
    found = {}
    for path in sorted(Path(folder).glob("*.npz")):
        saved = mg.load(path)
        try:
            run = saved["identity"]["run"]
            if run in PAPER and "curves" in saved["state"]:
                found[run] = digest(saved["identity"], saved["state"])
                table({run: found[run]})  # what is missing shows here, where the file is known
        except (LookupError, TypeError, ValueError, AttributeError):
            why = f"{path} does not hold what this version of lesson 9 saves; read it with the version that wrote it"
            raise CheckpointError(why) from None
    if not found:
        raise UsageError(f"{folder} holds no runs of lesson 9")
    return {run: found[run] for run in PAPER if run in found}


def digest(identity, state):
    """What is worth keeping of one run."""
    curves, tracker = state["curves"], state["tracker"]
    norms = {layer: rows["norm"] for layer, rows in tracker["rows"].items()}
    return {
        "data": identity["data"],
        "size": identity["size"],
        "learning rate": identity["rate"],
        "epochs": len(curves["loss"]),
        "pieces": state["pieces"],
        "curves": {name: [round(value, 5) for value in values] for name, values in curves.items()},
        # ‖v‖, or ‖w‖ where there is no v, relative to its first value; the mean over units
        "growth by layer": {layer: (n / n[0]).mean(axis=1).round(4).tolist() for layer, n in norms.items()},
        "steps of the growth": tracker["steps"],
    }


def planned(run):
    """The number of epochs that the run's learning rate was planned for."""
    return int(run["size"].partition("epochs=")[2].partition(",")[0])


def remarks(runs):
    """What has to be said beside every number: which pictures, how far, from which seed, computed on what."""
    data = sorted({run["data"] for run in runs.values()})
    said = [f"Pictures: {', '.join(data)}."]
    if any("JPEG" in name for name in data):
        said.append(
            "They went through JPEG compression, so errors are not to be compared with those on the original CIFAR-10 "
            "to the last percent."
        )
    short = {planned(run) for run in runs.values()} - {PAPERS_EPOCHS}
    for epochs in sorted(short):
        said.append(f"The schedule was {epochs} epochs long, the paper's {PAPERS_EPOCHS}.")
    unfinished = {name: run for name, run in runs.items() if run["epochs"] < planned(run)}
    if unfinished:
        reached = ", ".join(f"{name} {run['epochs']} of {planned(run)}" for name, run in unfinished.items())
        said.append(f"Not complete, numbers of the last epoch so far: {reached}.")
    pieces = [piece for run in runs.values() for piece in run["pieces"]]
    seeds = sorted({piece["seed"] for piece in pieces})
    said.append(f"Seed{'s' if len(seeds) > 1 else ''}: {', '.join(map(str, seeds))}; one run of each.")
    said.append(f"Computed on {'; '.join(sorted({piece['machine'] for piece in pieces}))}.")
    on_gpu = [piece["settings"] for piece in pieces if "CUDA" in piece["machine"]]
    if on_gpu:
        exact = [not settings["tf32"] for settings in on_gpu]
        cudnn = [settings["cudnn"] for settings in on_gpu]
        precision = "float32" if all(exact) else "float32 and TF32" if any(exact) else "TF32"
        by = ", by cuDNN" if all(cudnn) else ", in part by cuDNN" if any(cudnn) else ""
        said.append(f"Convolutions in {precision}{by}.")
    commits = sorted({str(piece["commit"]) for piece in pieces})
    dates = sorted(piece["date"][:10] for piece in pieces)
    said.append(f"Commit {', '.join(commits)}; {dates[0]} to {dates[-1]}.")
    return said


def table(runs):
    """The table of the paper's figure 2, as Markdown."""
    lines = [
        "| parameterization | learning rate | epochs | training error | test error | mean of the last 10 epochs "
        "| the paper's test error |",
        "|---|---|---|---|---|---|---|",
    ]
    for name, run in runs.items():
        test = run["curves"]["test error"]
        lines.append(
            f"| {name} | {run['learning rate']} | {run['epochs']} of {planned(run)} "
            f"| {run['curves']['training error'][-1]:.2f} % | {test[-1]:.2f} % | {np.mean(test[-10:]):.2f} % "
            f"| {PAPER[name]:.2f} % |"
        )
    return "\n".join([*lines, "", *remarks(runs), ""])


def draw(runs, path):
    """The paper's figure 1, and the test error beside it."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 4), layout="constrained", dpi=130)
    for ax, quantity in zip(figure.subplots(1, 2), ("training error", "test error"), strict=True):
        for name, run in runs.items():
            values = run["curves"][quantity]
            ax.plot(range(1, len(values) + 1), values, color=COLOURS[name], linewidth=1.1, label=name)
        lowest = [min(run["curves"][quantity]) for run in runs.values()]
        ax.set(xlabel="epoch", title=f"{quantity} (%)", yscale="log" if min(lowest) > 0 else "linear")
        ax.grid(alpha=0.25, which="both")
        ax.spines[["top", "right"]].set_visible(False)
        ax.yaxis.set_major_formatter("{x:g}")
        ax.yaxis.set_minor_formatter("{x:g}")
        ax.tick_params(axis="y", which="both", labelsize=8)
    figure.legend(*ax.get_legend_handles_labels(), loc="outside lower center", ncols=len(runs), fontsize=8)
    epochs = ", ".join(sorted({f"{run['epochs']} of {planned(run)}" for run in runs.values()}))
    data = ", ".join(sorted({run["data"] for run in runs.values()}))
    figure.suptitle(f"Table 1's network in {len(runs)} parameterizations: {data}, {epochs} epochs", fontsize=10)
    figure.savefig(path)


def main(arguments=None):
    show_what_can_be_shown()
    parser = argparse.ArgumentParser(prog="python -m lessons.full_run", description=__doc__.splitlines()[0])
    parser.add_argument("checkpoints", metavar="CHECKPOINTS", help="the folder with the runs")
    parser.add_argument("--out", default="results/cifar10", help="where to write (default: results/cifar10)")
    flags = parser.parse_args(arguments)
    try:
        runs, out = read(flags.checkpoints), writable_folder(Path(flags.out))
        document = {"paper's test error": PAPER, "remarks": remarks(runs), "runs": runs}
        write_text(out / "cifar10.json", json.dumps(document, ensure_ascii=False) + "\n")
        write_text(out / "table.md", table(runs))
        draw(runs, out / "figure1.png")
    except Exception as error:
        if (code := report_error(type(error), error)) is None:
            raise
        return code
    print(table(runs))
    print(f"written: {out}/cifar10.json, table.md, figure1.png")
    return 0


if __name__ == "__main__":
    sys.exit(main())
