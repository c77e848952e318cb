"""A strict stand-in for CuPy, for tests on machines without a GPU.

    with strict_cupy.installed():
        x = mg.tensor([1.0, 2.0], device="cuda")

It computes with NumPy, on arrays that are not NumPy's, and behaves as CuPy 14 does where the two differ. What CuPy
refuses it refuses: NumPy arrays as operands, implicit conversion to NumPy, `where=` and `initial=`, most of
`ufunc.reduce` and `ufunc.at`, names and arguments that CuPy does not have (names.txt, made from the real CuPy). It
wraps index arrays around at the end of an axis, has no read-only arrays and no warnings, gives 0-d arrays where NumPy
gives numbers, lays results of computations out in C order, and lets the first of repeated indices win an assignment,
of which CuPy promises nothing. Copies between host and device are counted: see `transfers`.

It offers a part of CuPy. What a test needs and does not find can be added to the tables in functions.py.
"""

import contextlib
import importlib.machinery
import sys

from tests.strict_cupy.array import ndarray
from tests.strict_cupy.counting import transfers
from tests.strict_cupy.functions import modules

__all__ = ["installed", "ndarray", "transfers"]

MODULES = modules()


@contextlib.contextmanager
def installed():
    """Within this, `import cupy` gives the stand-in, whether there is a real CuPy or not."""
    before = {name: module for name, module in sys.modules.items() if name.partition(".")[0] in ("cupy", "cupyx")}
    for name in before:
        del sys.modules[name]
    for name, module in MODULES.items():
        module.__spec__ = importlib.machinery.ModuleSpec(name, None)
        sys.modules[name] = module
    try:
        yield
    finally:
        for name in MODULES:
            del sys.modules[name]
        sys.modules.update(before)
