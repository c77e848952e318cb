"""batches: one epoch of minibatches, in order or shuffled."""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy

from minigrad import backend


def batches(
    arrays: Sequence[Any],
    size: int,
    rng: numpy.random.Generator | None = None,
    drop_last: bool = False,
    workers: Any = None,
) -> Iterator[tuple[Any, ...]]:
    """Minibatches of aligned arrays: one pass over all rows.

    Parameters
    ----------
    arrays : sequence of array
        Arrays of equal length, such as ``(images, labels)``, each on the CPU or on a GPU. Batches stay where their
        array is; a GPU gets the order of the rows, which is drawn on the host, once an epoch.
    size : int
        Rows in a batch, at least 1.
    rng : numpy.random.Generator, optional
        Shuffles the rows by one ``rng.permutation``, drawn when `batches` is called. Without it the rows keep their
        order, and the batches are views, not copies.
    drop_last : bool
        Drop the last batch if fewer than `size` rows remain for it.
    workers : minigrad.workers.Workers, optional
        Of each batch of `size` rows only this worker's part, by rank, equally large but for one row. With equal
        generators the parts of all workers are the batches of one.

    Returns
    -------
    iterator of tuple of array
        Each tuple has one array per given array, with the rows aligned.

    Raises
    ------
    TypeError
        If `arrays` is a single array.
    ValueError
        If there are no arrays, their lengths differ, `size` is below 1, or a batch has fewer rows than there are
        workers.
    """
    if backend.is_array(arrays):
        raise TypeError("batches takes a sequence of arrays such as (images, labels), not one array; write (array,)")
    lengths = [len(array) for array in arrays]
    if not lengths:
        raise ValueError("batches needs at least one array")
    if len(set(lengths)) > 1:
        raise ValueError(f"batches needs arrays of equal length, got lengths {lengths}")
    if size < 1:
        raise ValueError(f"batches needs a size of at least 1, got {size}")

    rows = lengths[0]
    orders = [None] * len(arrays)
    if rng is not None:
        order = rng.permutation(rows)
        orders = [backend.to_device(order, backend.device_of(array)) for array in arrays]
    stop = rows - rows % size if drop_last else rows
    rank, parts = (workers.rank, workers.size) if workers else (0, 1)
    if stop and (smallest := min(size, stop % size or size)) < parts:
        raise ValueError(
            f"batches: {parts} workers cannot share a batch of {smallest} rows; use larger batches, or drop_last=True"
        )
    return _epoch(arrays, size, stop, orders, rank, parts)


def _epoch(arrays, size, stop, orders, rank, parts):
    """The batches, as a generator; it is apart from `batches` so that errors come at the call of that."""
    for start in range(0, stop, size):
        count = min(size, stop - start)
        rows = slice(start + count * rank // parts, start + count * (rank + 1) // parts)
        pairs = zip(arrays, orders, strict=True)
        yield tuple(array[rows if order is None else order[rows]] for array, order in pairs)
