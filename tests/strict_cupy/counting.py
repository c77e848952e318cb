"""Copies between host and device: how many, and who made them."""

import contextlib
import sys
from pathlib import Path

HERE = str(Path(__file__).parent)
_watching = []
refuse = None  # capture.py's: what must not happen while a stream is captured


class Transfers:
    """What was copied: for each copy, what did it, and the functions from which it was called, the innermost first."""

    def __init__(self):
        self.to_host, self.to_device = [], []


@contextlib.contextmanager
def transfers():
    """Within `with transfers() as seen:` every copy is noted in `seen.to_host` or `seen.to_device`, as a text.

    Reading a number of an array is a copy to the host: `float(x)`, `bool(x)`, `if x > 0`, `.item()`, printing.
    So is what must be known on the host before it can go on: how many entries of a mask are true.
    """
    seen = Transfers()
    _watching.append(seen)
    try:
        yield seen
    finally:
        _watching.remove(seen)


def to_host(what):
    refuse(what)
    for seen in _watching:
        seen.to_host.append(f"{what} in {_callers()}")


def to_device(what):
    refuse(what)
    for seen in _watching:
        seen.to_device.append(f"{what} in {_callers()}")


def _callers(most=6):
    frame, names = sys._getframe(2), []
    while frame is not None and len(names) < most:
        code = frame.f_code
        if not code.co_filename.startswith(HERE):
            op = frame.f_locals.get("record")
            name = f"{code.co_name} of {op.name}" if hasattr(op, "rules") else code.co_name
            names.append(f"{name} ({Path(code.co_filename).name}:{frame.f_lineno})")
        frame = frame.f_back
    return " < ".join(names)
