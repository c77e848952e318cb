"""Hypothesis strategies for property tests of ops: arrays away from kinks and ties, shapes, shapes that broadcast.

Central differences mean nothing at a kink or a tie, so the arrays keep a distance from both that no difference spans.
`mg.testing` imports this file, and with it hypothesis, when you first ask for one of the strategies.
"""

import math

import numpy

from minigrad import backend

try:
    from hypothesis import strategies as st
    from hypothesis.extra import numpy as hnp
except ImportError as error:
    need = "minigrad.testing.arrays, shapes and broadcastable_shapes need hypothesis: pip install hypothesis"
    raise ImportError(need) from error


def shapes(min_dims=0, max_dims=3, min_side=0, max_side=3):
    """Shapes of small arrays, 0-d and empty ones among them.

    Parameters
    ----------
    min_dims, max_dims, min_side, max_side : int
        Bounds for the number of axes and for their sizes.

    Returns
    -------
    strategy of tuple of int
    """
    return hnp.array_shapes(min_dims=min_dims, max_dims=max_dims, min_side=min_side, max_side=max_side)


def broadcastable_shapes(n, max_dims=3, min_side=0, max_side=3):
    """`n` shapes that broadcast against each other: with axes of size 1, missing axes, and empty ones.

    Parameters
    ----------
    n : int
    max_dims, min_side, max_side : int

    Returns
    -------
    strategy of tuple of `n` shapes
    """
    bounds = {"max_dims": max_dims, "min_side": min_side, "max_side": max_side}
    return hnp.mutually_broadcastable_shapes(num_shapes=n, **bounds).map(lambda drawn: drawn.input_shapes)


def arrays(
    shape=None,
    dtype=numpy.float64,
    min_value=-2.0,
    max_value=2.0,
    away_from=(),
    distinct=False,
    distance=0.01,
    device="cpu",
):
    """Arrays of finite numbers at which a function can be differentiated.

    Parameters
    ----------
    shape : int, tuple of int, or strategy of them, optional
        `shapes()` by default.
    dtype : floating-point dtype
    min_value, max_value : float
        Inclusive bounds. Keep them moderate: rounding errors grow with the size of the function's values.
    away_from : sequence of float
        Points to keep a distance from, kinks and poles: (0,) for abs.
    distinct : bool
        Whether the entries of one array also keep that distance from each other, so that there are no ties. They then
        lie on a grid.
    distance : float
        More than a thousand times the step of `check_grads` by default, so that no difference reaches across a kink.
    device : {"cpu", "cuda"}
        Where the arrays are.

    Returns
    -------
    strategy of ndarray

    Raises
    ------
    ValueError
        If no number, or with `distinct` too few of them, are left between the bounds.
    """
    dtype = numpy.dtype(dtype)
    shape = shapes() if shape is None else shape
    if distinct:
        made = _distinct(shape, dtype, min_value, max_value, away_from, distance)
    else:
        intervals = _intervals(min_value, max_value, away_from, distance)
        made = hnp.arrays(dtype, shape, elements=st.one_of([_floats(low, high, dtype) for low, high in intervals]))
    return made if device == "cpu" else made.map(lambda array: backend.to_device(array, device))


def _intervals(low, high, away_from, distance):
    """The parts of [low, high] that are at least `distance` from each of the points."""
    intervals = []
    for point in sorted(away_from):
        if low <= min(high, point - distance):
            intervals.append((low, min(high, point - distance)))
        low = max(low, point + distance)
    if low <= high:
        intervals.append((low, high))
    if not intervals:
        raise ValueError(f"no number between the bounds is {distance} away from all of {tuple(away_from)}")
    return intervals


def _floats(low, high, dtype):
    """Floats of a dtype, between bounds that are rounded inwards to it."""
    first, last = dtype.type(low), dtype.type(high)
    first = numpy.nextafter(first, dtype.type(math.inf)) if float(first) < low else first
    last = numpy.nextafter(last, dtype.type(-math.inf)) if float(last) > high else last
    return st.floats(float(first), float(last), width=8 * dtype.itemsize)


def _distinct(shape, dtype, low, high, away_from, distance):
    """Entries from a grid with 1.5 times the distance between points: rounding cannot bring two closer than it."""
    grid = numpy.arange(low, high, 1.5 * distance)
    for point in away_from:
        grid = grid[abs(grid - point) >= 1.01 * distance]

    def fill(drawn):
        size = math.prod(drawn) if isinstance(drawn, tuple) else drawn
        if size > len(grid):
            raise ValueError(
                f"{size} distinct entries do not fit between the bounds, which have room for {len(grid)} numbers at "
                f"distance {distance}; widen the bounds, or draw fewer entries"
            )
        places = hnp.arrays(numpy.intp, drawn, elements=st.integers(0, len(grid) - 1), unique=True)
        return places.map(lambda index: grid[index].astype(dtype))

    return (shape if isinstance(shape, st.SearchStrategy) else st.just(shape)).flatmap(fill)
