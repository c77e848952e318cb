"""Checkpoints: what goes in comes out, or an error; never something else."""

import os
import pickle
import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

import minigrad as mg
from minigrad.saving import CheckpointError

arrays = hnp.arrays(
    st.sampled_from([np.float16, np.float32, np.float64, np.int8, np.int64, np.uint64, np.bool_, "U5"]),
    hnp.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=3),
)
numbers = st.one_of(st.integers(), st.floats(), st.booleans(), st.none(), st.text())
trees = st.recursive(
    st.one_of(numbers, arrays),
    lambda children: st.one_of(st.lists(children, max_size=3), st.dictionaries(st.text(), children, max_size=3)),
    max_leaves=8,
)


def same(a, b):
    if isinstance(a, np.ndarray):
        return isinstance(b, np.ndarray) and (a.dtype, a.shape, a.tobytes()) == (b.dtype, b.shape, b.tobytes())
    if isinstance(a, dict):
        return isinstance(b, dict) and list(a) == list(b) and all(same(a[k], b[k]) for k in a)
    if isinstance(a, list):
        return isinstance(b, list) and len(a) == len(b) and all(map(same, a, b))
    return type(a) is type(b) and (a == b or a != a)


@given(tree=trees, compress=st.booleans())
def test_a_tree_comes_back_as_it_was(tree, compress, tmp_path_factory):
    path = tmp_path_factory.mktemp("run") / "checkpoint"
    mg.save(path, tree, compress)
    assert same(mg.load(path), tree)


@pytest.mark.parametrize("compress", [False, True])
def test_keys_that_look_like_the_format_s_own_come_back(tmp_path, compress):
    tree = {"dict": {"array": 0, "dtype": "<f4", "tree": [{"dict": 1}]}, "array": np.ones(2), "array_0": "text"}
    mg.save(tmp_path / "a", tree, compress)
    assert same(mg.load(tmp_path / "a"), tree)


def test_compressed_arrays_can_be_written_to(tmp_path):
    """Also those that are not contiguous come back, as arrays of their own."""
    mg.save(tmp_path / "a", {"x": np.arange(12.0).reshape(3, 4).T[::2]}, compress=True)
    x = mg.load(tmp_path / "a")["x"]
    x += 1
    np.testing.assert_array_equal(x, np.arange(12.0).reshape(3, 4).T[::2] + 1)


def test_compression_saves_an_eighth_of_weights(tmp_path):
    """Weights of one size need 3 of the 8 bits of an exponent; the 23 bits of the fraction and the sign are noise."""
    weights = np.random.default_rng(0).standard_normal(100_000, dtype=np.float32)
    mg.save(tmp_path / "a", weights, compress=True)
    assert (tmp_path / "a").stat().st_size < 7 / 8 * weights.nbytes


def test_tensors_tuples_and_numpy_numbers_come_back_as_arrays_lists_and_numbers(tmp_path):
    mg.save(tmp_path / "a", {"t": mg.tensor([1.0]), "n": np.float32(0.5), "p": (1, 2)})
    assert same(mg.load(tmp_path / "a"), {"t": np.ones(1, np.float32), "n": 0.5, "p": [1, 2]})


@pytest.mark.parametrize(
    "tree", [{1: 2}, {"a": object()}, np.array([object()]), {"a": {1, 2}}, 1j, np.zeros(1, [("a", object)])]
)
def test_what_cannot_be_saved_is_refused_and_the_old_file_stays(tree, tmp_path):
    mg.save(tmp_path / "a", 1)
    with pytest.raises(TypeError):
        mg.save(tmp_path / "a", tree)
    assert mg.load(tmp_path / "a") == 1


TREE = {"weights": np.arange(6.0).reshape(2, 3), "epoch": 7, "rng": {"state": 2**100}, "name": "ünï"}


@pytest.fixture(scope="module")
def contents(tmp_path_factory):
    path = tmp_path_factory.mktemp("whole") / "checkpoint"
    mg.save(path, TREE)
    return path.read_bytes()


def error_or_right(path, data):
    """A damaged file is an error; damage to what is not data (dates, say) may go unnoticed."""
    path.write_bytes(data)
    try:
        loaded = mg.load(path)
    except CheckpointError as error:
        assert str(path) in str(error) and "\n" not in str(error)
        return
    assert same(loaded, TREE)


def test_a_file_cut_off_anywhere_is_an_error(contents, tmp_path):
    path = tmp_path / "a"
    for length in range(len(contents)):
        path.write_bytes(contents[:length])
        with pytest.raises(CheckpointError):
            mg.load(path)


@pytest.mark.parametrize("change", [0x01, 0x80, 0xFF])
def test_a_changed_byte_anywhere_is_an_error_or_without_effect(contents, tmp_path, change):
    for position in range(len(contents)):
        damaged = bytearray(contents)
        damaged[position] ^= change
        error_or_right(tmp_path / "a", bytes(damaged))


@settings(max_examples=100)
@given(data=st.data())
def test_a_damaged_stretch_is_an_error_or_without_effect(contents, tmp_path_factory, data):
    start = data.draw(st.integers(0, len(contents) - 1))
    rubbish = data.draw(st.binary(min_size=1, max_size=40))
    damaged = contents[:start] + rubbish + contents[start + len(rubbish) :]
    error_or_right(tmp_path_factory.mktemp("damaged") / "a", damaged)


@pytest.mark.parametrize("data", [b"", b"text", pickle.dumps({"a": 1}), b"PK\x05\x06" + bytes(18)])
def test_another_kind_of_file_is_an_error(data, tmp_path):
    (tmp_path / "a").write_bytes(data)
    with pytest.raises(CheckpointError):
        mg.load(tmp_path / "a")


def test_an_npy_or_npz_file_is_an_error(tmp_path):
    np.save(tmp_path / "a.npy", np.ones(2))
    np.savez(tmp_path / "b.npz", x=np.ones(2))
    np.savez(tmp_path / "c.npz", tree=np.array("{not json"))
    np.savez(tmp_path / "d.npz", tree=np.array('{"array": 5}'))
    np.savez(tmp_path / "e.npz", tree=np.array('{"something": 5}'))
    for path in sorted(tmp_path.iterdir()):
        with pytest.raises(CheckpointError):
            mg.load(path)


class Trap:
    def __reduce__(self):
        return os.mkdir, ("trap",)


def test_loading_never_unpickles(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    np.savez(tmp_path / "a.npz", tree=np.array([Trap()], object))
    (tmp_path / "b").write_bytes(pickle.dumps(Trap()))
    for name in ("a.npz", "b"):
        with pytest.raises(CheckpointError):
            mg.load(tmp_path / name)
    assert not (tmp_path / "trap").exists()


def test_a_missing_file_is_file_not_found(tmp_path):
    with pytest.raises(FileNotFoundError):
        mg.load(tmp_path / "nothing")


@pytest.mark.parametrize("step", ["os.fsync", "os.replace", "numpy.savez"])
def test_a_crash_while_saving_leaves_the_old_checkpoint(step, tmp_path, monkeypatch):
    path = tmp_path / "a"
    mg.save(path, {"epoch": 1})

    def crash(file, *args, **kwargs):
        if step == "numpy.savez":
            file.write(b"half a file")
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(step, crash)
        with pytest.raises(KeyboardInterrupt):
            mg.save(path, {"epoch": 2})
    assert mg.load(path) == {"epoch": 1}
    mg.save(path, {"epoch": 3})
    assert mg.load(path) == {"epoch": 3}
    assert [p.name for p in tmp_path.iterdir()] == ["a"]


@pytest.mark.parametrize("dtype, times", [(np.uint8, 1), (np.float32, 2)])
def test_large_arrays_are_loaded_with_few_copies(tmp_path, dtype, times):
    """Bytes, of which a replay memory has gigabytes, with none; numbers whose bytes were stored in groups with one."""
    array = np.zeros(20_000_000 // np.dtype(dtype).itemsize, dtype)
    array[::1000] = 7
    mg.save(tmp_path / "checkpoint", {"frames": array}, compress=True)
    tracemalloc.start()
    try:
        loaded = mg.load(tmp_path / "checkpoint")["frames"]
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert loaded.dtype == dtype and (loaded == array).all() and loaded.flags.writeable
    assert peak < times * array.nbytes + 4e6
