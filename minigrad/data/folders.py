"""Where data sets live on this machine, and the one error that says what is wrong with them."""

import os
from pathlib import Path


class DataError(Exception):
    """Data that is missing, damaged or out of reach.

    The message is one line that says what is wrong and what to do, fit to be shown without a traceback.
    """


def cache_folder():
    """Return the folder that holds data sets and what is computed from them.

    Returns
    -------
    Path
        ``$MINIGRAD_DATA``, else ``$XDG_CACHE_HOME/minigrad``, else ``~/.cache/minigrad``. It need not exist yet.
        A variable that is set but empty counts as not set.
    """
    if chosen := os.environ.get("MINIGRAD_DATA"):
        return Path(chosen).expanduser()
    if caches := os.environ.get("XDG_CACHE_HOME"):
        return Path(caches).expanduser() / "minigrad"
    return Path.home() / ".cache" / "minigrad"
