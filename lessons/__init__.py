"""What every lesson shares: the output folder, figures, claims, checkpoints, and a record of what was run.

A lesson is a script. Its first cell makes a `Lesson`, which reads the command line; its last cell calls `finish()`.
A cell that readers may fold, such as one that only draws, begins with `# %% Drawing tags=["hide-input"]`.
Everything that a learner should see is in the lesson; this file only keeps it tidy, with `command_line.py` (flags,
errors), `claims.py` and `checkpoints.py`.
"""

import ast
import errno
import hashlib
import io
import json
import os
import platform
import re
import signal
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path

import numpy

import minigrad as mg
import wn
from lessons.checkpoints import Checkpoint
from lessons.claims import CANNOT_FAIL, WRONG_BY, Claim, bound, prediction  # noqa: F401
from lessons.command_line import (  # noqa: F401 - what is not used here the other modules of the course take from here
    PACKAGE,
    Parser,
    Tee,
    UsageError,
    add_flags,
    add_size_and_place_flags,
    choose_data,
    choose_device,
    one_line_errors,
    positive,
    report_error,
    runner,
    show_what_can_be_shown,
    whole_number,
)
from lessons.kernel import in_kernel, show_claim, show_figure
from minigrad import backend
from minigrad.saving import replacing

FOLDER = Path(__file__).parent

# The same colour for the same parameterization in every lesson: Okabe and Ito's palette, safe for the colour-blind.
COLOURS = {
    "normal": "#0072B2",
    "weight norm": "#D55E00",
    "batch norm": "#000000",
    "WN + mean-only BN": "#009E73",
    "mean-only BN": "#CC79A7",
    "weight norm, log-scale": "#56B4E9",
}
FIGURE_STYLE = {
    "figure.constrained_layout.use": True,
    "figure.figsize": (7.0, 4.2),
    "savefig.dpi": 130,
    "font.size": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.alpha": 0.25,
    "lines.linewidth": 1.6,
    "legend.frameon": False,
}


class Lesson:
    """One run of one lesson.

    Attributes
    ----------
    number, name : int, str
        5 and "05_norm_growth", from the file's name; of a further chapter 5 and "further/05_adam".
    full : bool
        Whether to run at the paper's size.
    device : {"cpu", "cuda"}
    data : str
        "synthetic" or "cifar10", or another of `sets`.
    seed : int
    out : Path
        The lesson's own output folder, which exists.

    Parameters
    ----------
    file : str
        The lesson's `__file__`; in a notebook, which has none, the lesson's name.
    add_own_flags : callable(parser), optional
        Adds flags that only this lesson has. With --only among them several processes can share the output folder,
        each with its own log; --epochs and --rate belong to the fingerprint of the results.
    sets : tuple of str
        What --data may name, where a lesson has other pictures than most.
    """

    def __init__(self, file, add_own_flags=None, sets=("synthetic", "cifar10")):
        self.file = Path(file) if Path(file).suffix else FOLDER / f"{file}.py"
        self.name, self.number = lesson_name(self.file), lesson_number(self.file)
        if not in_kernel():
            sys.excepthook = one_line_errors
            signal.signal(signal.SIGTERM, signal.default_int_handler)  # ends it as Ctrl-C does
        show_what_can_be_shown()
        parser = Parser(prog=f"lessons/{self.name}.py", description=title(self.file))
        add_flags(parser, sets)
        if add_own_flags:
            add_own_flags(parser)
        # A notebook or an editor's interactive window has arguments of its own: there the defaults hold.
        self.flags = parser.parse_args([] if in_kernel() else None)
        if in_kernel() and FOLDER in (Path.cwd(), *Path.cwd().parents):  # editors start it where the file is
            self.flags.out = FOLDER.parent / self.flags.out
        self.full, self.seed = self.flags.full, self.flags.seed
        self.device, self.data = choose_device(self.flags.device), choose_data(self.flags.data, self.flags.download)
        self.out = writable_folder(Path(self.flags.out) / self.name)
        self.claims, self.figures, self.measurements, self._checkpoints = [], [], {}, []
        self._started = time.time()
        self._sources = sources(self.file)  # now: they may be changed while the lesson runs
        self._fingerprint, self._commit = fingerprint(self.file, self.flags, self.data), commit()
        if not in_kernel():  # it keeps its output itself, and may run this again
            sys.stdout = Tee(sys.stdout, io.StringIO())
        import matplotlib

        if not self.flags.show and not in_kernel():
            matplotlib.use("Agg")
        colours = matplotlib.cycler(color=list(COLOURS.values()))
        matplotlib.rcParams.update(FIGURE_STYLE | {"axes.prop_cycle": colours})
        size = "full" if self.full else "quick"
        which = f"Lesson {self.number:02d}" + (", further reading" if is_further(self.file) else "")
        print(f"{which}: {title(self.file)} ({size}, device {self.device}, seed {self.seed})\n")

    def rng(self, *key):
        """A NumPy random generator that depends on the seed, the lesson's number and the integers in `key` only."""
        return numpy.random.default_rng(numpy.random.SeedSequence(self.seed, spawn_key=(self.number, *key)))

    def progress(self, iterable, description, **options):
        """`iterable` with a progress bar on standard error, if that is a terminal or a notebook's."""
        from tqdm import tqdm

        disable = False if in_kernel() else None
        return tqdm(iterable, desc=description, disable=disable, leave=False, dynamic_ncols=True, **options)

    def figure(self, figure, name, note="", alt=""):
        """Save a matplotlib figure as `name`.png in the output folder; in a notebook also show it.

        Parameters
        ----------
        note : str
            The data's description, written on the figure.
        alt : str
            One to three sentences for whoever cannot see the figure: what is drawn, and what it shows. They go into
            metrics.json, into the file as its Description, and to a web page.
        """
        _write_note(figure, note)
        path = self.out / f"{name}.png"
        with replacing(path) as file:
            figure.savefig(file, format="png", metadata={"Description": alt} if alt else None)
        self._show(figure, path, alt)

    def animation(self, figure, draw, frames, name, alt, note="", per_second=4):
        """Save a figure that moves as `name`.gif in the output folder; in a notebook also show it.

        Parameters
        ----------
        draw : callable
            Changes the figure; it is called with each of `frames` in turn.
        frames : sequence
        alt, note : str
            As for `figure`; a GIF has no place for the alternative text but metrics.json and the web page.
        per_second : float
            How many frames are shown in a second. It begins again when it is over.
        """
        from matplotlib.animation import FuncAnimation, PillowWriter

        _write_note(figure, note)
        path = self.out / f"{name}.gif"
        moving = FuncAnimation(figure, draw, frames, init_func=lambda: None)
        with tempfile.TemporaryDirectory() as folder:
            moving.save(Path(folder) / path.name, PillowWriter(per_second), dpi=100)
            with replacing(path) as file:
                file.write((Path(folder) / path.name).read_bytes())
        self._show(figure, path, alt)

    def _show(self, figure, path, alt):
        """Note what was saved, tell where it is, and show it where it can be seen."""
        self.figures.append({"file": path.name, "alt": alt})
        if in_kernel():
            show_figure(path, figure.get_figwidth(), alt)
        else:
            print(f"figure: {path}")
        import matplotlib.pyplot as plt

        if self.flags.show:
            plt.show()
        plt.close(figure)

    def claim(
        self,
        text,
        measured,
        *,
        predicted=None,
        rtol=None,
        atol=0.0,
        below=None,
        above=None,
        near=None,
        within=None,
    ):
        """Check a sentence against a measurement, and report it with the others.

        Where a formula says what should be measured, give the formula's value as `predicted`, with `rtol`. Otherwise
        give exactly one of: `below`, `above` (strict bounds), both (an interval), or `near` with an absolute tolerance
        `within`; if `near` is not 0, the claim must be able to fail, as below. A measured NaN never holds.

        Parameters
        ----------
        measured : float or array
            An array only with `predicted`.
        predicted : float or array, optional
            Broadcast against `measured`. The claim holds if |measured - predicted| <= rtol |predicted| + atol
            everywhere, and if it could have failed: with all predictions multiplied by 1.5, or divided by 1.5, it must
            not hold. So a coefficient that is wrong by half of its value never passes for the right one, and `rtol`
            must stay below 1/3. A prediction that is 0 everywhere cannot be tested so: use `near=0`.
        rtol, atol : float
            Relative and absolute tolerance; `rtol` must be given.
        """
        if (predicted is None) != (rtol is None):
            raise TypeError("claim() needs predicted= and rtol= together")
        if predicted is not None and any(x is not None for x in (below, above, near, within)):
            raise TypeError("claim() takes predicted= without below=, above=, near= and within=")
        if predicted is not None:
            claim = prediction(text, measured, predicted, rtol, atol)
        else:
            claim = bound(text, float(measured), below, above, near, within)
        self.claims.append(claim)
        verdict = "holds" if claim.holds else "DOES NOT HOLD"
        units = f" ({claim.deviation:.2g} of the tolerance)" if claim.deviation is not None else ""
        found = f"expected {claim.expected}, measured {claim.measured:.6g}{units}"
        lines = [f"claim: {text}", f"{found}: {verdict}", *([claim.remark] if claim.remark else [])]
        plain = "\n       ".join(lines)
        if in_kernel():
            show_claim(claim, found, plain)
        else:
            print(plain)

    def checkpoint(self, run, identity):
        """The `Checkpoint` of one training run of this lesson; `identity` says what exactly is being trained.

        The sources belong to it: a run that began with others is refused. In a full run the file is compressed.
        """
        size = "full" if self.full else "quick"
        folder = writable_folder(self.out / "checkpoints" / f"{size}-{self.data}-seed{self.seed}")
        identity = {"lesson": self.name, "run": run, **identity, "sources": self._sources}
        path = folder / f"{file_name(run)}.npz"
        self._checkpoints.append(path)
        return Checkpoint(path, identity, self.flags.fresh, compress=self.full)

    def time_is_up(self, needed=0.0):
        """Whether less than so many seconds are left of --minutes, counted from the beginning of the lesson."""
        minutes = getattr(self.flags, "minutes", None)
        return minutes is not None and time.time() - self._started + needed > 60 * minutes

    def stop(self, why):
        """End the lesson here, with exit code 0: a piece of the work is done and kept. Writes the log, no metrics."""
        print(f"\n{why}; {time.time() - self._started:.0f} s")
        self._write_log()
        sys.exit(0)

    def _write_log(self):
        """Write what was printed, and print without keeping it from here on. Each choice of --only has its own log."""
        if in_kernel():
            return
        sys.stdout, log = sys.stdout.streams
        part = "-".join(getattr(self.flags, "only", None) or ())
        write_text(self.out / (f"log-{file_name(part)}.txt" if part else "log.txt"), log.getvalue())

    def _clear_up(self):
        """Remove the checkpoints of this run, and of no other; what took days is kept."""
        for path in [] if self.full else self._checkpoints:
            path.unlink(missing_ok=True)
            with suppress(OSError):  # another run's are in there
                path.parent.rmdir()
                path.parent.parent.rmdir()

    def _metrics(self, seconds):
        """What metrics.json holds: what was run, how it came out, and on what."""
        return {
            "lesson": self.name,
            "title": title(self.file),
            "full": self.full,
            "seed": self.seed,
            "device": self.device,
            "data": self.data,
            "seconds": round(seconds, 1),
            "fingerprint": self._fingerprint,
            "claims": [asdict(claim) for claim in self.claims],
            "figures": self.figures,
            "measurements": self.measurements,
            "versions": versions(),
            "machine": backend.description(self.device),
            "blas": mg.config.blas_description(),
            "commit": self._commit,
        }

    def finish(self):
        """Write log.txt and, last, metrics.json; exit with code 1 if a claim does not hold.

        Until here, what an earlier run has written stays as it was, but for figures.
        """
        seconds = time.time() - self._started
        failed = [claim for claim in self.claims if not claim.holds]
        held = len(self.claims) - len(failed)
        print(f"\n{held} of {len(self.claims)} claims hold; {seconds:.0f} s; {self.out}/metrics.json")
        self._write_log()
        write_text(self.out / "metrics.json", json.dumps(self._metrics(seconds), indent=1, allow_nan=True) + "\n")
        self._clear_up()
        if failed and not in_kernel():
            sys.exit(1)


def _write_note(figure, note):
    """Write on a figure which data it shows."""
    if note and (title := figure.get_suptitle()):
        figure.suptitle(f"{title}\n{note}", fontsize=11)
    elif note:
        figure.text(0.997, 0.995, note, ha="right", va="top", fontsize=7, color="0.4")
        figure.get_layout_engine().set(rect=(0, 0, 1, 0.965))


def file_name(words):
    """`words` without anything that a shell or a file system may dislike."""
    return re.sub("[^A-Za-z0-9]+", "-", words)


def writable_folder(path):
    """`path`, made if need be; UsageError if nothing can be written there."""
    try:
        path.mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=path).close()
    except OSError as error:
        why = f"cannot write to the output folder {path}: {error.strerror}; choose another with --out"
        raise UsageError(why) from None
    return path


def check_writable(path):
    """UsageError if `write_text` could not write the file `path`, which stays as it is."""
    try:
        if path.is_dir():
            raise IsADirectoryError(errno.EISDIR, "it is a folder")
        if path.is_file() or not path.exists():
            tempfile.TemporaryFile(dir=path.parent).close()
    except OSError as error:
        raise UsageError(f"cannot write {path}: {error.strerror}") from None


def write_text(path, text):
    """Replace the file `path` by this text, in UTF-8, all or nothing; a pipe or a device is written to."""
    content = text.encode("utf-8", "backslashreplace")
    if path.exists() and not path.is_file():
        path.write_bytes(content)
        return
    with replacing(path) as file:
        file.write(content)


# ---- what is known about a lesson without running it ----------------------------------------------------------------


def lesson_files():
    """{number: path} of the lessons of part one."""
    return {lesson_number(path): path for path in sorted(FOLDER.glob("[0-9][0-9]_*.py"))}


def further_files():
    """The paths of the further chapters, in order."""
    return sorted((FOLDER / "further").glob("[0-9][0-9]_*.py"))


def is_further(file):
    """Whether a lesson is a further chapter, by the folder that it is in."""
    return Path(file).parent.name == "further"


def lesson_name(file):
    """ "05_norm_growth", or "further/05_adam" for a further chapter."""
    return f"further/{Path(file).stem}" if is_further(file) else Path(file).stem


def lesson_number(file):
    """5 for "05_norm_growth", and for a further chapter of that lesson."""
    return int(Path(file).name.split("_")[0])


def docstring(file):
    """The lesson's docstring."""
    return re.match(r'\s*r?"""(.*?)"""', Path(file).read_text(encoding="utf-8"), re.DOTALL).group(1)


def title(file):
    """The first line of the lesson's docstring."""
    return docstring(file).strip().splitlines()[0].rstrip(".")


def sources(file):
    """A digest of what computes a lesson's numbers: its source, modules of lessons/, and all of minigrad and wn."""
    digest = hashlib.sha256()
    for path in [Path(file), *imported_modules(file)]:
        digest.update(path.read_bytes())
    for library in (Path(mg.__file__).parent, Path(wn.__file__).parent):
        for path in sorted(library.rglob("*.py")):
            content = hashlib.sha256(path.read_bytes()).hexdigest()
            digest.update(f"{path.relative_to(library.parent).as_posix()} {content}\n".encode())
    return digest.hexdigest()[:16]


def imported_modules(file):
    """The paths of the modules of lessons/ that a file imports, itself or through another of them."""
    found, unread = set(), [Path(file)]
    while unread:
        tree = ast.parse(unread.pop().read_text(encoding="utf-8"))
        imports = [
            n for n in ast.walk(tree) if isinstance(n, ast.ImportFrom) and (n.module or "").startswith("lessons")
        ]
        names = {name for n in imports for name in (n.module.split(".")[1:2] or [alias.name for alias in n.names])}
        new = {path for name in names if (path := FOLDER / f"{name}.py").is_file()} - found
        found |= new
        unread += new
    return sorted(found)


def fingerprint(file, flags, data):
    """A digest of everything that a lesson's results depend on.

    That is: sources, this file and its parts, the flags, versions, and the stored runs that it reads (lessons/grid.py).
    """
    digest = hashlib.sha256()
    for name in ("__init__", "checkpoints", "claims", "command_line"):
        digest.update((Path(__file__).parent / f"{name}.py").read_bytes())
    for name in re.findall(r'grid\.stored\("(\w+)"', Path(file).read_text(encoding="utf-8")):
        for path in sorted((FOLDER.parent / "results" / name).glob("*.json")):
            digest.update(path.read_bytes())
    digest.update(json.dumps([sources(file), flags.full, flags.device, data, flags.seed, versions()]).encode())
    for name in ("epochs", "rate"):
        if (value := getattr(flags, name, None)) is not None:
            digest.update(f"{value} {name}".encode())
    return digest.hexdigest()[:16]


def versions():
    """The versions that results may depend on."""
    import matplotlib

    return {
        "minigrad": mg.__version__,
        "python": platform.python_version(),
        "numpy": numpy.__version__,
        "matplotlib": matplotlib.__version__,
    }


def commit():
    """The commit of the source tree, with a + if it has been changed since; "unknown" outside a checkout of its own."""
    try:
        top = _git("rev-parse", "--show-toplevel")
        if os.path.samefile(top, FOLDER.parent):  # and not a project's that has a copy of this one in it
            return _git("describe", "--always", "--dirty=+")
    except (OSError, subprocess.CalledProcessError):
        pass
    return "unknown"


def _git(*arguments):
    run = subprocess.run(["git", *arguments], cwd=FOLDER, capture_output=True, check=True)
    return os.fsdecode(run.stdout).rstrip("\n")
