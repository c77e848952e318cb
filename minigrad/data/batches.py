"""Minibatches: one pass over aligned arrays, in order or shuffled."""

import numpy as np


def batches(arrays, size, rng=None, drop_last=False):
    """Cut aligned arrays into minibatches.

    Parameters
    ----------
    arrays : sequence of ndarray
        Arrays of equal length, for example ``(images, labels)``.
    size : int
        Rows in a batch, at least 1.
    rng : numpy.random.Generator, optional
        Shuffles the rows by one ``rng.permutation``, drawn when `batches` is called. Without it the rows keep
        their order, and the batches are views of the arrays, not copies.
    drop_last : bool
        Leave out the last batch when fewer than `size` rows remain for it.

    Returns
    -------
    iterator of tuple of ndarray
        One epoch: one array per given array in each tuple, rows aligned.

    Raises
    ------
    TypeError
        If `arrays` is a single array.
    ValueError
        If there are no arrays, if their lengths differ, or if `size` is below 1.
    """
    if isinstance(arrays, np.ndarray):
        raise TypeError("batches takes a sequence of arrays such as (images, labels), not one array; write (array,)")
    lengths = [len(array) for array in arrays]
    if not lengths:
        raise ValueError("batches needs at least one array")
    if len(set(lengths)) > 1:
        raise ValueError(f"batches needs arrays of equal length, got lengths {lengths}")
    if size < 1:
        raise ValueError(f"batches needs a size of at least 1, got {size}")

    rows = lengths[0]
    order = None if rng is None else rng.permutation(rows)
    stop = rows - rows % size if drop_last else rows
    return one_epoch(arrays, size, stop, order)


def one_epoch(arrays, size, stop, order):
    """Yield the batches of one epoch; `batches` has checked the arguments, so that errors come at its call."""
    for start in range(0, stop, size):
        rows = slice(start, min(start + size, stop))
        if order is not None:
            rows = order[rows]
        yield tuple(array[rows] for array in arrays)
