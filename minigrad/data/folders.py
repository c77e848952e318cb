"""cache_folder: where data sets, and what is computed from them, live on this machine."""

from pathlib import Path

from minigrad.settings import config


def cache_folder() -> Path:
    """The folder that holds data sets and what is computed from them.

    Returns
    -------
    Path
        ``$MINIGRAD_DATA``, else ``$XDG_CACHE_HOME/minigrad``, else ``~/.cache/minigrad``. It need not exist yet.
        A variable that is set but empty counts as not set.
    """
    return config.data_folder()


def data_folder(folder, name, files):
    """Where a data set's files are or should be: in `folder` itself, or in the folder `name` inside it.

    `folder` is what the caller of a loader gave: None stands for `cache_folder`.
    """
    folder = cache_folder() if folder is None else Path(folder)
    is_it = folder.name == name or any((folder / file).exists() for file in files)
    return folder if is_it else folder / name
