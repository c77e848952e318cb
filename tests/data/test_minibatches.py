from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from minigrad.data import batches


@given(rows=st.integers(0, 40), size=st.integers(1, 12), seed=st.none() | st.integers(0, 99), drop_last=st.booleans())
def test_batches_partition_aligned_arrays(rows, size, seed, drop_last):
    keys = np.arange(rows)
    rng = None if seed is None else np.random.default_rng(seed)
    parts = list(batches((keys, -keys), size, rng, drop_last))

    kept = rows - rows % size if drop_last else rows
    assert [len(a) for a, _ in parts[:-1]] == [size] * (len(parts) - 1)
    assert sum(len(a) for a, _ in parts) == kept
    assert all((a == -b).all() for a, b in parts)
    seen = np.concatenate([keys[:0], *(a for a, _ in parts)])
    assert len(np.unique(seen)) == kept
    if rng is None:
        assert (seen == keys[:kept]).all()
    else:
        assert (seen == np.random.default_rng(seed).permutation(rows)[:kept]).all()


@given(st.integers(1, 40), st.integers(1, 12), st.integers(1, 5), st.integers(0, 99), st.booleans())
def test_the_parts_of_all_workers_are_the_batches_of_one(rows, size, count, seed, drop_last):
    def those_of(workers):
        numbers = np.arange(rows)
        return [b for (b,) in batches((numbers,), size, np.random.default_rng(seed), drop_last, workers)]

    smallest = min(size, rows % size or size) if not drop_last else size
    workers = [SimpleNamespace(rank=rank, size=count) for rank in range(count)]
    if (rows >= size or not drop_last) and smallest < count:
        with pytest.raises(ValueError, match=f"{count} workers cannot share a batch of {smallest} rows"):
            those_of(workers[0])
        return
    parts = [those_of(worker) for worker in workers]
    whole = those_of(None)
    assert [np.concatenate(these).tolist() for these in zip(*parts, strict=True)] == [b.tolist() for b in whole]
    for these in zip(*parts, strict=True):
        assert max(map(len, these)) - min(map(len, these)) <= 1


def test_a_generator_gives_a_new_order_each_epoch_and_the_same_one_from_the_same_seed():
    rows = np.arange(100)

    def two_epochs():
        rng = np.random.default_rng(0)
        return [np.concatenate([b for (b,) in batches((rows,), 10, rng)]) for _ in range(2)]

    first, second = two_epochs()
    assert (first != second).any()
    assert (np.array(two_epochs()) == np.array([first, second])).all()


def test_errors_come_at_the_call():
    rows = np.arange(5)
    with pytest.raises(ValueError, match=r"lengths \[5, 4\]"):
        batches((rows, rows[:4]), 2)
    with pytest.raises(ValueError, match="at least 1, got 0"):
        batches((rows,), 0)
    with pytest.raises(ValueError, match="at least one array"):
        batches((), 2)
    with pytest.raises(TypeError, match="not one array"):
        batches(rows, 2)
