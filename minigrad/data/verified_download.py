"""download: fetch a file once, and accept it only if its checksum is right.

Why not pooch: it has no mirrors and no checksum of what is inside a gzip file, so most of this file would stay, around
a call of `pooch.retrieve`. That call would bring eight packages (pooch 1.9, requests, urllib3, certifi, idna,
charset-normalizer, platformdirs, packaging) to everybody, for one or two files that few ever fetch. All that it would
replace is `_stream` and a comparison of checksums.
"""

import gzip
import hashlib
import http.client
import os
import shutil
import urllib.request
import zlib
from collections.abc import Sequence
from pathlib import Path

from minigrad.data.dataset import DataError, refuse_what_is_no_file
from minigrad.saving import replacing

TIMEOUT = 30  # seconds without a byte until a mirror is given up


def download(urls: Sequence[str], path: str | os.PathLike[str], md5: str, what: str, gzipped: bool = False) -> None:
    """Fetch a file from the first mirror that delivers it intact.

    The bytes go to a file of this download alone, which is renamed to `path` once the checksum is right: `path` never
    holds half a file, however many processes fetch it at once. If `path` has the right checksum already, nothing is
    fetched, so you may place the file by hand.

    Parameters
    ----------
    urls : sequence of str
        The same file on several mirrors, tried in this order.
    path : path-like
        Where to put the file; missing folders are created.
    md5 : str
        The expected MD5 sum in hexadecimal.
    what : str
        What the file is, for the progress bar and the error message.
    gzipped : bool
        Take the checksum of the decompressed contents. Mirrors may compress the same contents differently.

    Raises
    ------
    DataError
        If something other than a file is at `path`, or no mirror delivered. The message names addresses, path and
        checksum, so that you can place the file by hand.
    """
    path = Path(path)
    refuse_what_is_no_file(path)
    if path.exists() and _md5_of(path, gzipped) == md5:
        return
    failures = []
    for url in urls:
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with replacing(path) as file:
                _stream(url, file, what)
                file.flush()
                found = _md5_of(file.name, gzipped)
                if found != md5:
                    raise _DamagedError("a damaged gzip file" if found is None else f"MD5 {found}")
            return
        except _DamagedError as error:
            failures.append(f"{url}: {error}")
        except (OSError, http.client.HTTPException) as error:
            failures.append(f"{url}: {type(error).__name__}: {error}")
    raise DataError(
        f"{what} could not be downloaded ({'; '.join(failures)}); fetch it by hand from {' or '.join(urls)}, "
        f"check that {'its unpacked contents have' if gzipped else 'it has'} MD5 {md5}, and place it at {path}"
    )


class _DamagedError(Exception):
    """What came is not the file that was asked for."""


def _stream(url, file, what):
    """Copy the bytes at `url` to an open file, with a progress bar if standard error is a terminal."""
    from tqdm import tqdm

    with urllib.request.urlopen(url, timeout=TIMEOUT) as response:
        length = response.headers.get("Content-Length")
        total = None if length is None else int(length)
        with tqdm.wrapattr(response, "read", total=total, desc=what, unit="B", disable=None) as counted:
            shutil.copyfileobj(counted, file, 1 << 16)


def _md5_of(path, gzipped):
    """The MD5 sum of a file or of a gzip file's contents; None if the gzip file is damaged."""
    try:
        with gzip.open(path, "rb") if gzipped else open(path, "rb") as file:
            return hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()
    except (gzip.BadGzipFile, EOFError, zlib.error):
        return None
