"""Saving and restoring a whole run, so that it goes on after being killed as if nothing had happened.

A checkpoint is a tree of dicts, lists, strings, numbers and arrays. It is written to a file beside the target, forced
to disk, and renamed: the target is at any moment either the old checkpoint or the new one, complete. The format is
NumPy's .npz with one JSON text in it; no pickle, so loading a checkpoint cannot run code.
"""

import json
import os
from pathlib import Path

import numpy

from minigrad import backend
from minigrad.tensor import Tensor


class CheckpointError(Exception):
    """A checkpoint that cannot be read; the message is one line that names the file."""


def save(path, tree):
    """Write `tree` (dicts with string keys, lists, strings, numbers, None, arrays, Tensors) to the file `path`.

    Arrays come back as NumPy arrays, bit for bit; integers of any size and floats come back exactly.
    """
    path = Path(path)
    arrays = []
    text = json.dumps(_skeleton(tree, arrays))
    partial = path.with_name(path.name + ".part")
    with open(partial, "wb") as file:
        numpy.savez(file, tree=numpy.array(text), **{f"array_{i}": array for i, array in enumerate(arrays)})
        file.flush()
        os.fsync(file.fileno())
    os.replace(partial, path)


def load(path):
    """Read what `save` wrote.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    CheckpointError
        If the file is not a checkpoint or is damaged.
    """
    with open(path, "rb") as file:
        try:
            with numpy.load(file, allow_pickle=False) as archive:
                return _restored(json.loads(str(archive["tree"])), archive)
        except Exception as error:  # damaged bytes make zipfile and NumPy raise errors of a dozen kinds
            reason = " ".join(f"{type(error).__name__}: {error}".split())
            raise CheckpointError(f"{path} is not a readable checkpoint ({reason}); delete it to start anew") from None


def _skeleton(tree, arrays):
    """The tree with {"array": i} in place of each array, which is appended to `arrays`."""
    if isinstance(tree, dict):
        if not all(isinstance(key, str) for key in tree):
            raise TypeError(f"the keys of a checkpoint's dicts must be strings, not {list(tree)}")
        return {"dict": {key: _skeleton(value, arrays) for key, value in tree.items()}}
    if isinstance(tree, (list, tuple)):
        return [_skeleton(value, arrays) for value in tree]
    if isinstance(tree, numpy.generic):
        return tree.item()
    tree = tree.data if isinstance(tree, Tensor) else tree
    if backend.is_array(tree):
        if tree.dtype.hasobject:
            raise TypeError("a checkpoint holds arrays of numbers and strings, not of objects")
        arrays.append(backend.to_numpy(tree))
        return {"array": len(arrays) - 1}
    if tree is None or isinstance(tree, (str, int, float, bool)):
        return tree
    raise TypeError(f"a checkpoint cannot hold {type(tree).__name__}")


def _restored(skeleton, archive):
    if isinstance(skeleton, list):
        return [_restored(value, archive) for value in skeleton]
    if isinstance(skeleton, dict):
        if "array" in skeleton:
            return archive[f"array_{skeleton['array']}"]
        return {key: _restored(value, archive) for key, value in skeleton["dict"].items()}
    return skeleton
