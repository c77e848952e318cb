"""Saving and restoring a whole run, so that it goes on after being killed as if nothing had happened.

A checkpoint is a tree of dicts, lists, strings, numbers and arrays. It is written to a file beside the target, forced
to disk, and renamed: the target is at any moment either the old checkpoint or the new one, complete. The format is
NumPy's .npz with one JSON text in it; no pickle, so loading a checkpoint cannot run code.
"""

import errno
import glob
import json
import os
import time
from contextlib import contextmanager, suppress
from pathlib import Path

import numpy

from minigrad import backend
from minigrad.tensors import Tensor

DAY = 24 * 60 * 60  # seconds: no file takes longer to write


class CheckpointError(Exception):
    """A checkpoint that cannot be read; the message is one line that names the file."""


@contextmanager
def replacing(path):
    """A new binary file to write, which takes the place of `path` once it is complete and on disk.

    Until then, and if anything goes wrong, `path` stays as it was, and nothing is left beside it. No two writers share
    the new file: of several, the last to finish counts. What a writer left that was killed goes after a day.

    Raises
    ------
    OSError
        If the file cannot be written, or if `path` is a folder, a pipe or a device; it names `path`.
    """
    path = Path(os.path.realpath(path))
    if path.exists() and not path.is_file():
        raise OSError(errno.EEXIST, "It is not a file", str(path))
    partial = path.with_name(f".{path.name}.{os.urandom(4).hex()}.part")
    for left in path.parent.glob(f".{glob.escape(path.name)}.{'[0-9a-f]' * 8}.part"):
        with suppress(OSError):
            if time.time() - left.stat().st_mtime > DAY:
                left.unlink()
    try:
        with open(partial, "xb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(partial, path)
    except OSError as error:
        error.filename = str(path)
        raise
    finally:
        with suppress(OSError):
            partial.unlink(missing_ok=True)


def save(path, tree, compress=False):
    """Write `tree` (dicts with string keys, lists, strings, numbers, None, arrays, Tensors) to the file `path`.

    Arrays come back as NumPy arrays, bit for bit; integers of any size and floats come back exactly.

    With `compress` the file is smaller, for weights by about a sixth, and takes half a second for 20 MB. Most of what
    can be saved is in the exponents, of which a network has few different ones. So the bytes of all numbers are stored
    in groups: first bytes, second bytes, and so on.
    """
    arrays = []
    text = json.dumps(_skeleton(tree, arrays, compress))
    write = numpy.savez_compressed if compress else numpy.savez
    with replacing(path) as file:
        write(file, tree=numpy.array(text), **{f"array_{i}": array for i, array in enumerate(arrays)})


def load(path):
    """Read what `save` wrote.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    CheckpointError
        If it is not a file, not a checkpoint, or damaged.
    """
    if os.path.exists(path) and not os.path.isfile(path):
        raise CheckpointError(f"{path} is not a file; remove it to start anew")  # a pipe would keep us waiting
    with open(path, "rb") as file:
        try:
            with numpy.load(file, allow_pickle=False) as archive:
                return _restored(json.loads(str(archive["tree"])), archive)
        except Exception as error:  # damaged bytes make zipfile and NumPy raise errors of a dozen kinds
            reason = " ".join(f"{type(error).__name__}: {error}".split())
            raise CheckpointError(f"{path} is not a readable checkpoint ({reason}); delete it to start anew") from None


def _skeleton(tree, arrays, grouped):
    """The tree with {"array": i} in place of each array, which is appended to `arrays`, its bytes `grouped` or not."""
    if isinstance(tree, dict):
        if not all(isinstance(key, str) for key in tree):
            raise TypeError(f"the keys of a checkpoint's dicts must be strings, not {list(tree)}")
        return {"dict": {key: _skeleton(value, arrays, grouped) for key, value in tree.items()}}
    if isinstance(tree, (list, tuple)):
        return [_skeleton(value, arrays, grouped) for value in tree]
    if isinstance(tree, numpy.generic):
        return tree.item()
    tree = tree.data if isinstance(tree, Tensor) else tree
    if backend.is_array(tree):
        if tree.dtype.hasobject:
            raise TypeError("a checkpoint holds arrays of numbers and strings, not of objects")
        array = backend.to_numpy(tree)
        if grouped and array.dtype.kind in "fiu" and array.itemsize > 1:
            numbers = numpy.frombuffer(array.tobytes(), numpy.uint8).reshape(-1, array.itemsize)
            arrays.append(numpy.ascontiguousarray(numbers.T))
            return {"array": len(arrays) - 1, "dtype": array.dtype.str, "shape": list(array.shape)}
        arrays.append(array)
        return {"array": len(arrays) - 1}
    if tree is None or isinstance(tree, (str, int, float, bool)):
        return tree
    raise TypeError(f"a checkpoint cannot hold {type(tree).__name__}")


def _restored(skeleton, archive):
    if isinstance(skeleton, list):
        return [_restored(value, archive) for value in skeleton]
    if isinstance(skeleton, dict):
        if "array" in skeleton:
            array = archive[f"array_{skeleton['array']}"]
            if "dtype" not in skeleton:
                return array
            return numpy.ascontiguousarray(array.T).view(skeleton["dtype"]).reshape(skeleton["shape"])
        return {key: _restored(value, archive) for key, value in skeleton["dict"].items()}
    return skeleton
