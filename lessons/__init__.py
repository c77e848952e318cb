"""What every lesson shares: the flags, the output folder, figures, claims and checkpoints.

A lesson is a script. Its first cell makes a `Lesson`, which reads the command line; its last cell calls `finish()`.
A cell that readers may fold, such as one that only draws, begins with `# %% Drawing tags=["hide-input"]`.
Everything that a learner should see is in the lesson; this file only keeps it tidy.
"""

import argparse
import ast
import errno
import hashlib
import io
import json
import math
import os
import platform
import re
import signal
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy

import minigrad as mg
import wn
from lessons.kernel import in_kernel, show_claim, show_figure
from minigrad import backend
from minigrad.data import DataError, cache_folder
from minigrad.saving import CheckpointError, replacing

FOLDER = Path(__file__).parent
PACKAGE = "minigrad-wn"  # the distribution, and the command that it installs

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


class UsageError(Exception):
    """Something the user asked for that cannot be had; the message is one line. Exit code 2."""


class Parser(argparse.ArgumentParser):
    """A parser of arguments that says in one line what is wrong with them."""

    def error(self, message):
        raise UsageError(f"{message}; see --help")


@dataclass(frozen=True)
class Claim:
    """A sentence, what should be measured if it is true, what was measured, and whether that agrees.

    Of several measurements it keeps the one that deviates most. `deviation` is in units of the tolerance, where there
    is one; `remark` says why a claim whose numbers agree does not hold.
    """

    text: str
    expected: str
    measured: float
    holds: bool
    deviation: float | None = None
    remark: str = ""


def runner():
    """What the reader has typed to start the runner: the installed command, or its form in a clone."""
    command = Path(sys.argv[0]).stem
    return command if command == PACKAGE else "python -m lessons"


def add_flags(parser, sets=("synthetic", "cifar10")):
    """The flags that all lessons and their runner take; `sets` are the values of --data, beside "auto"."""
    add_size_and_place_flags(parser, sets)
    parser.add_argument("--seed", type=whole_number(0), default=0)
    parser.add_argument("--show", action="store_true", help="show each figure in a window")


def add_size_and_place_flags(parser, sets=("synthetic", "cifar10")):
    """Those of them that a sweep of many seeds takes, too."""
    size = parser.add_mutually_exclusive_group()
    size.add_argument("--quick", dest="full", action="store_false", default=False, help="small (default)")
    size.add_argument("--full", dest="full", action="store_true", help="the paper's size")
    parser.add_argument("--device", choices=["auto", "cpu", "cuda"], default="auto")
    which = "auto: CIFAR-10 if it can be found, else synthetic"
    parser.add_argument("--data", choices=["auto", *sets], default="auto", help=which)
    parser.add_argument("--download", action="store_true", help="fetch CIFAR-10 (162 MB) if it is not there yet")
    parser.add_argument("--out", default="results", help="folder for figures and measurements (default: results)")
    parser.add_argument("--fresh", action="store_true", help="start anew: ignore finished results and checkpoints")


def whole_number(least):
    """The type, for argparse, of a whole number from `least` up."""

    def number(text):
        if not text.isdecimal() or int(text) < least:
            raise argparse.ArgumentTypeError(f"a whole number from {least} up is needed, not {text!r}")
        return int(text)

    return number


def positive(text):
    """The type, for argparse, of a number above 0 that is not infinite."""
    with suppress(ValueError):
        if 0 < float(text) < math.inf:
            return float(text)
    raise argparse.ArgumentTypeError(f"a number above 0 is needed, not {text!r}")


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
            sys.excepthook = _one_line_errors
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
            sys.stdout = _Tee(sys.stdout, io.StringIO())
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


# ---- claims -------------------------------------------------------------------------------------------------------

WRONG_BY = 1.5  # a prediction that is so many times too large or too small must be found out
CANNOT_FAIL = "cannot fail: 1.5 times the prediction would hold, too"


def bound(text, measured, below, above, near, within):
    """The `Claim` that a number lies within bounds."""
    if near is not None:
        expected = f"{near:.6g} ± {within:.2g}" if within else f"{near:.6g}"
        holds = abs(measured - near) <= within
        wrong = any(abs(measured - near * factor) <= within for factor in (WRONG_BY, 1 / WRONG_BY))
        if holds and near and wrong:
            return Claim(text, expected, measured, False, remark=CANNOT_FAIL)
    elif below is not None and above is not None:
        expected, holds = f"{above:.4g} to {below:.4g}", above < measured < below
    elif below is not None:
        expected, holds = f"< {below:.4g}", measured < below
    elif above is not None:
        expected, holds = f"> {above:.4g}", measured > above
    else:
        raise TypeError("claim() needs predicted= with rtol=, below=, above=, or near= with within=")
    return Claim(text, expected, measured, bool(holds))


def prediction(text, measured, predicted, rtol, atol):
    """The `Claim` that measurements agree with predictions, which they would not do with others."""
    measured, predicted = (numpy.atleast_1d(numpy.asarray(backend.to_numpy(x), float)) for x in (measured, predicted))
    measured, predicted = numpy.broadcast_arrays(measured, predicted)
    if not measured.size:
        raise ValueError(f"nothing was measured for the claim {text!r}")

    def deviations(predicted):
        """|measured - predicted| in units of the tolerance; infinite where one of them is NaN or infinite."""
        with numpy.errstate(all="ignore"):
            difference, tolerance = abs(measured - predicted), rtol * abs(predicted) + atol
            units = numpy.where(difference == 0, 0.0, difference / tolerance)
        return numpy.where(numpy.isfinite(measured) & numpy.isfinite(predicted), units, numpy.inf)

    found = deviations(predicted)
    worst = numpy.unravel_index(found.argmax(), found.shape)
    agrees = bool((found <= 1).all())
    remark = ""
    if agrees and any((deviations(predicted * factor) <= 1).all() for factor in (WRONG_BY, 1 / WRONG_BY)):
        remark = CANNOT_FAIL
    value = float(predicted[worst])
    expected = f"{value:.6g} ± {rtol * abs(value) + atol:.2g}" + (f" (of {found.size})" if found.size > 1 else "")
    return Claim(text, expected, float(measured[worst]), agrees and not remark, float(found[worst]), remark)


class Checkpoint:
    """The state of one training run, in one file that is replaced whole each time."""

    def __init__(self, path, identity, fresh, compress=False):
        self.path, self.identity, self.compress = path, identity, compress
        self._saved = time.monotonic()
        if fresh:
            path.unlink(missing_ok=True)

    def load(self):
        """The state last saved, or None at the beginning. CheckpointError if the file is of another run or sources."""
        if not self.path.exists():
            return None
        saved = mg.load(self.path)
        identity = saved.get("identity") if isinstance(saved, dict) else None
        if not isinstance(identity, dict) or "state" not in saved:
            raise CheckpointError(f"{self.path} is not a lesson's checkpoint; use --fresh to start anew")
        if identity | {"sources": None} != self.identity | {"sources": None}:
            raise CheckpointError(
                f"{self.path} is the checkpoint of another run ({identity}); "
                "use --fresh to start anew, or another --out"
            )
        if identity != self.identity:
            raise CheckpointError(
                f"{self.path} was begun with other sources of this lesson, minigrad or wn; "
                "go on with those, or use --fresh to start anew"
            )
        before, now = saved.get("blas"), mg.config.blas_description()
        if before != now:
            print(
                f"{self.path.name} was computed with {before or 'an unknown BLAS'}, and goes on with {now}: "
                "its numbers are not those of an uninterrupted run to the last bit"
            )
        return saved["state"]

    def save(self, state):
        """Replace the file by one that holds `state`, atomically."""
        self.path.parent.mkdir(parents=True, exist_ok=True)  # an equal run beside this one may have cleared up
        mg.save(
            self.path, {"identity": self.identity, "blas": mg.config.blas_description(), "state": state}, self.compress
        )
        self._saved = time.monotonic()

    def due(self, seconds):
        """Whether the state was last saved, or loaded, more than so many seconds ago."""
        return time.monotonic() - self._saved >= seconds


# ---- what the flags mean --------------------------------------------------------------------------------------------


def choose_device(wanted):
    """ "cpu" or "cuda"; UsageError if a GPU is asked for and there is none."""
    if wanted == "auto":
        return "cuda" if mg.is_available("cuda") else "cpu"
    if not mg.is_available(wanted):
        raise UsageError("--device cuda: no NVIDIA GPU, or CuPy is not installed (pip install -e '.[gpu]')")
    return wanted


def choose_data(wanted, download=False):
    """The pictures' name; for "auto" "cifar10" or "synthetic"."""
    if wanted == "auto":
        found = download or (cache_folder() / "cifar-10-batches-bin").is_dir()
        return "cifar10" if found else "synthetic"
    return wanted


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

    That is: sources, this file, the flags, versions, and the stored runs that it reads (lessons/grid.py).
    """
    digest = hashlib.sha256(Path(__file__).read_bytes())
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


# ---- standard output and errors -------------------------------------------------------------------------------------


def show_what_can_be_shown():
    """Print a question mark for each character that standard output's encoding lacks; that is not an error."""
    if hasattr(sys.stdout, "reconfigure"):  # a notebook's has no encoding
        sys.stdout.reconfigure(errors="replace")


class _Tee:
    """Standard output that also goes into the log."""

    def __init__(self, *streams):
        self.streams = streams

    def write(self, text):
        for stream in self.streams:
            stream.write(text)
            stream.flush()

    def flush(self):
        for stream in self.streams:
            stream.flush()

    def __getattr__(self, name):
        return getattr(self.streams[0], name)


def report_error(kind, error):
    """Print what went wrong in one line if it is the user's to mend, and return the exit code; None if it is not."""
    if issubclass(kind, KeyboardInterrupt):
        print("\ninterrupted; the last checkpoint is kept", file=sys.stderr)
        return 130
    if issubclass(kind, (UsageError, DataError, CheckpointError)):
        print(f"error: {error}", file=sys.stderr)
        return 2
    if issubclass(kind, BrokenPipeError):  # `| head` has read enough: what is left to flush at the end goes nowhere
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        return 141
    if issubclass(kind, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
        what = error.filename or "the output"
        print(f"error: {what} could not be written: {error.strerror}; make room and start again", file=sys.stderr)
        return 2
    return None


def _one_line_errors(kind, error, traceback):
    code = report_error(kind, error)
    if code is None:
        sys.__excepthook__(kind, error, traceback)
        return
    with suppress(OSError):  # on a full disk
        sys.stdout.flush()
    os._exit(code)  # the hook has no other way to choose the exit code
