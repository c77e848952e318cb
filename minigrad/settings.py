"""config: every setting of the library in one object. Environment variables are read here and nowhere else.

    mg.config.tf32 = False               # from now on, everywhere
    with mg.config(winograd=False):      # only inside, and only in this thread
        ...
    print(mg.config)                     # what is set, what each setting means, and the variable that sets it

What may be set changes speed, memory and rounding, and where data lies: never what a function means.
"""

import contextlib
import contextvars
import os
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple

from minigrad import blas


class Setting(NamedTuple):
    """A setting's default, the environment variable that replaces the default, and what it means."""

    default: object
    variable: str
    meaning: str


SETTINGS = {
    "plain": Setting(False, "MINIGRAD_PLAIN", "leave out minigrad/fast; decided when minigrad is imported"),
    "winograd": Setting(True, "MINIGRAD_WINOGRAD", "CPU: 3×3 convolutions in float32 by Winograd's algorithm"),
    "keep_memory": Setting(
        True, "MINIGRAD_KEEP_MEMORY", "CPU: from the first backward pass or eval() on, freed memory is reused (glibc)"
    ),
    "blas_kernels": Setting(
        True,
        "MINIGRAD_BLAS_KERNELS",
        "CPU: `python -m lessons` starts lessons with faster kernels than OpenBLAS's own choice, if it has them",
    ),
    "tf32": Setting(True, "MINIGRAD_TF32", "GPU: convolutions in float32 multiply in TF32, as PyTorch's do"),
    "cudnn": Setting(False, "MINIGRAD_CUDNN", "GPU: convolutions by cuDNN, in TF32 (needs the extra cudnn)"),
    "cuda_graph": Setting(False, "MINIGRAD_CUDA_GRAPH", "GPU: lessons replay their training step as a CUDA graph"),
    "data": Setting(None, "MINIGRAD_DATA", "the folder of the data sets; by default one in the user's cache"),
}
OFF = ("", "0", "false", "no", "off")


class Config:
    """The settings as attributes. Calling it, `mg.config(name=value, ...)`, changes some within a `with` block.

    A setting is what the innermost `with` block says, else what was assigned, else what its variable says, else its
    default. In a variable "", 0, false, no and off mean False.
    """

    def __init__(self):
        super().__setattr__("_assigned", {"plain": _from_environment(SETTINGS["plain"])})  # decided now, for good
        super().__setattr__("_inside", contextvars.ContextVar("minigrad.config", default=MappingProxyType({})))

    def __getattr__(self, name):
        if name not in SETTINGS:
            raise AttributeError(_unknown(name))
        for values in (self._inside.get(), self._assigned):
            if name in values:
                return values[name]
        return _from_environment(SETTINGS[name])

    def __setattr__(self, name, value):
        self._assigned[name] = _checked_value(name, value)

    @contextlib.contextmanager
    def __call__(self, **changes):
        changes = {name: _checked_value(name, value) for name, value in changes.items()}
        token = self._inside.set({**self._inside.get(), **changes})
        try:
            yield self
        finally:
            self._inside.reset(token)

    def __dir__(self):
        return [*super().__dir__(), *SETTINGS]

    def __repr__(self):
        lines = [f"{name} = {getattr(self, name)!r}  # {s.meaning} [{s.variable}]" for name, s in SETTINGS.items()]
        lines.append(f"BLAS: {self.blas_description()}")
        if (kernels := blas.faster()) and os.environ.get(blas.VARIABLE) != kernels:
            lines.append(f"      faster on this processor: start Python with {blas.VARIABLE}={kernels}")
        return "\n".join(["minigrad.config", *(f"  {line}" for line in lines)])

    def as_dict(self):
        """{name: value}, for the record of a run."""
        return {name: getattr(self, name) for name in SETTINGS}

    def blas_description(self):
        """Which BLAS runs, with which kernels and threads, and what the environment told it, for the record of a run.

        Results depend on it in their last bits.
        """
        told = sorted(f"{name}={value}" for name, value in os.environ.items() if name.startswith("OPENBLAS_"))
        return ", ".join([blas.description(), *told])

    def environment(self):
        """The environment variables for a process that is to be started, to which minigrad may add one.

        It is OpenBLAS's, for faster kernels than those that it took in this process (see `blas.py`). What the
        environment says of them already stands; and `blas_kernels` False leaves everything as it is.
        """
        variables = dict(os.environ)
        if self.blas_kernels and blas.VARIABLE not in variables and (kernels := blas.faster()):
            variables[blas.VARIABLE] = kernels
        return variables

    def data_folder(self):
        """Where data sets lie: `data` if it is set, else minigrad's folder in the user's cache. It need not exist."""
        if self.data:
            return Path(self.data).expanduser()
        return Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "minigrad"


def _from_environment(setting):
    text = os.environ.get(setting.variable)
    if not text:
        return False if text == "" and isinstance(setting.default, bool) else setting.default
    return text.lower() not in OFF if isinstance(setting.default, bool) else text


def _checked_value(name, value):
    if name not in SETTINGS:
        raise AttributeError(_unknown(name))
    if name == "plain":
        raise AttributeError("plain is decided when minigrad is imported: set MINIGRAD_PLAIN=1 before")
    if isinstance(SETTINGS[name].default, bool):
        if not isinstance(value, bool):
            raise TypeError(f"the setting {name!r} is True or False, not {value!r}")
        return value
    return None if value is None else os.fspath(value)


def _unknown(name):
    return f"there is no setting {name!r}; there are {', '.join(SETTINGS)}"


config = Config()
