"""The kernels that a benchmark is measured with: OpenBLAS's fastest, as PyTorch takes its fastest by itself."""

import os
import sys

import minigrad as mg
from minigrad import blas
from minigrad.settings import SETTINGS


def take_fastest():
    """Let this command begin again where `config.environment()` has faster kernels for it, and say so.

    OpenBLAS's kernels are fixed when NumPy is imported, which has happened. The new beginning finds the variable set,
    and goes on; so does every process that it starts.
    """
    variables, switch = mg.config.environment(), SETTINGS["blas_kernels"].variable
    if variables == dict(os.environ) or os.name != "posix":  # elsewhere the shell would not wait for the new beginning
        return
    why = f"faster here than {mg.config.blas_description()}; {switch}=0 leaves it at that"
    print(f"begins again with {blas.VARIABLE}={variables[blas.VARIABLE]} ({why})", file=sys.stderr, flush=True)
    os.execve(sys.executable, [sys.executable, *sys.orig_argv[1:]], variables)
