"""What all programs of the course share: flags and what they mean, errors in one line, and what is printed."""

import argparse
import errno
import math
import os
import sys
from contextlib import suppress
from pathlib import Path

import minigrad as mg
from minigrad.data import DataError, cache_folder
from minigrad.saving import CheckpointError

PACKAGE = "minigrad-wn"  # the distribution, and the command that it installs


class UsageError(Exception):
    """Something the user asked for that cannot be had; the message is one line. Exit code 2."""


class Parser(argparse.ArgumentParser):
    """A parser of arguments that says in one line what is wrong with them."""

    def error(self, message):
        raise UsageError(f"{message}; see --help")


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


# ---- standard output and errors -------------------------------------------------------------------------------------


def show_what_can_be_shown():
    """Print a question mark for each character that standard output's encoding lacks; that is not an error."""
    if hasattr(sys.stdout, "reconfigure"):  # a notebook's has no encoding
        sys.stdout.reconfigure(errors="replace")


class Tee:
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


def one_line_errors(kind, error, traceback):
    code = report_error(kind, error)
    if code is None:
        sys.__excepthook__(kind, error, traceback)
        return
    with suppress(OSError):  # on a full disk
        sys.stdout.flush()
    os._exit(code)  # the hook has no other way to choose the exit code
