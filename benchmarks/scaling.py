"""How the time of a picture grows with the batch, the width, and the picture: three convolutions, forward and backward.

One of the three varies, the others stay at batch 16, width 64, 32×32. A library without overhead takes the same time
for a picture in every batch, grows with the square of the width once the width is well above the picture's 3 channels,
and with the number of pixels.
"""

import numpy as np

from benchmarks import measure, three_layers

BASE = {"batch": 16, "width": 64, "size": 32}
SWEEPS = {
    "full": {"batch": [2**k for k in range(10)], "width": [2**k for k in range(3, 9)], "size": [8, 16, 24, 32, 48, 64]},
    "quick": {"batch": [1, 4, 16, 64], "width": [8, 32, 128], "size": [8, 16, 32]},
    "tiny": {"batch": [1, 2], "width": [2, 3], "size": [4, 5]},
}
NAMES = {"batch": "batch", "width": "width (channels)", "size": "picture (pixels a side)"}
# Okabe and Ito's colours, and a mark of its own for each, for those who see no colours.
LOOKS = {"minigrad": ("#D55E00", "o"), "PyTorch": ("#0072B2", "s"), "PyTorch, channels last": ("#56B4E9", "^")}


def run(size):
    base, tables = {**BASE, **({"batch": 2, "width": 2, "size": 4} if size.name == "tiny" else {})}, []
    for quantity, values in SWEEPS[size.name].items():
        rows = []
        for value in values:
            shape = {**base, quantity: value}
            steps, left_out = three_layers.steps(three_layers.FASTEST, **shape)
            times = measure.compare(steps, size, share=0.05)
            ours = times["minigrad"]
            row = {quantity: value}
            row |= {f"{name}: ms": measure.spread(1e3 / shape["batch"] * seconds) for name, seconds in times.items()}
            row["minigrad: GFLOP/s"] = three_layers.operations(**shape) / float(np.median(ours)) / 1e9
            row |= {f"÷ {name}": measure.spread(ours / times[name]) for name in times if name != "minigrad"}
            rows.append(row)
        others = ", ".join(f"{name} {base[name]}" for name in base if name != quantity)
        tables.append(measure.Table(f"Time of a picture by {NAMES[quantity]} ({others})", rows, left_out))
    return tables


def draw(tables, path, note):
    """The three tables as a figure: medians, and the middle 90 % as a band."""
    from matplotlib.figure import Figure
    from matplotlib.ticker import FixedLocator, NullFormatter, NullLocator, ScalarFormatter, StrMethodFormatter

    figure = Figure(figsize=(9.5, 3.6), layout="constrained")
    axes = figure.subplots(1, 3, sharey=True)
    for ax, table, quantity in zip(axes, tables, NAMES, strict=True):
        values = [row[quantity] for row in table.rows]
        for name, (colour, mark) in LOOKS.items():
            if f"{name}: ms" in table.rows[0]:
                median, low, high = zip(*(row[f"{name}: ms"] for row in table.rows), strict=True)
                ax.fill_between(values, low, high, color=colour, alpha=0.2, linewidth=0)
                ax.plot(values, median, color=colour, marker=mark, markersize=4, label=name)
        ax.set(xscale="log", yscale="log", xlabel=NAMES[quantity])
        ax.xaxis.set(major_locator=FixedLocator(values), minor_locator=NullLocator(), major_formatter=ScalarFormatter())
        ax.yaxis.set(major_formatter=StrMethodFormatter("{x:g}"), minor_formatter=NullFormatter())
        ax.tick_params(axis="x", labelsize=7)
        ax.grid(alpha=0.25)
        ax.spines[["top", "right"]].set_visible(False)
    axes[0].set_ylabel("time of a picture (ms)")
    handles, labels = axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper center", ncols=3, frameon=False)
    figure.supxlabel(f"three 3×3 convolutions, forward and backward; {note}", fontsize=7)
    figure.savefig(path, dpi=130)
