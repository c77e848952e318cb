"""Cases for laws: hypothesis strategies whose smallest examples are easy to read."""

import numpy as np
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

SIZES = st.integers(1, 4)
NUMBERS = st.integers(-16, 16).map(lambda k: k / 4)  # exact in binary, and short in print
POSITIVE = st.integers(1, 16).map(lambda k: k / 4)


def vectors(size=None, elements=NUMBERS):
    """Arrays (size,), or of 1 to 4 entries."""
    return arrays(float, SIZES if size is None else size, elements=elements)


@st.composite
def matrices(draw, rows=SIZES, columns=SIZES, elements=NUMBERS, rows_not_zero=False):
    """Arrays (rows, columns); each row has an entry that is not 0, if so wanted."""
    n, k = (size if isinstance(size, int) else draw(size) for size in (rows, columns))
    made = draw(arrays(float, (n, k), elements=elements))
    if rows_not_zero:
        made[:, 0] = np.where((made == 0).all(axis=1), 1.0, made[:, 0])
    return made
