"""What a lesson does otherwise in a Jupyter kernel: in a notebook, in an editor's cells, in the website's build."""

import html
import sys

COLOURS = {True: "#009e73", False: "#d55e00"}  # of a claim that holds, and of one that does not
VERDICTS = {True: "✓ holds", False: "✗ does not hold"}


def in_kernel():
    """Whether this process is a Jupyter kernel."""
    return "ipykernel" in sys.modules


def show_figure(path, inches, alt):
    """Show the picture `path` below the cell, so many inches wide, with its alternative text where it is kept."""
    from IPython.display import Image, display

    display(Image(filename=str(path), width=round(96 * inches), alt=alt or path.stem.replace("_", " ")))


def show_claim(claim, measured, plain):
    """Show a claim as a coloured line; `plain` is for whatever cannot show HTML."""
    from IPython.display import display

    lines = [
        f"<b>{VERDICTS[claim.holds]}</b>&ensp;{html.escape(claim.text)}",
        f"<small>{html.escape(measured)}</small>",
    ]
    if claim.remark:
        lines.append(html.escape(claim.remark))
    style = f"border-left: 4px solid {COLOURS[claim.holds]}; padding: 0 .8em; margin: .5em 0"
    name = "holds" if claim.holds else "fails"
    shown = f'<div class="claim {name}" style="{style}">{"<br>".join(lines)}</div>'
    display({"text/plain": plain, "text/html": shown}, raw=True)
