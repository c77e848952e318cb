import gzip
import hashlib
import http.server
import os
import struct
import threading
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from minigrad.data import DataError, load_fashion_mnist, load_mnist, mnist
from minigrad.data.mnist import (
    FASHION_MNIST,
    MNIST,
    TEST_LABELS,
    TRAIN_IMAGES,
    TRAIN_LABELS,
    read_folder,
    read_idx,
    read_labels,
)

TRAIN, TEST = 12, 5  # the files of these tests are small


def idx(array):
    return struct.pack(f">{1 + array.ndim}I", 0x0800 + array.ndim, *array.shape) + array.astype(np.uint8).tobytes()


@pytest.fixture
def folder(tmp_path):
    folder = tmp_path / "mnist"
    folder.mkdir()
    rng = np.random.default_rng(0)
    for count, name in ((TRAIN, "train"), (TEST, "t10k")):
        images, labels = rng.integers(0, 256, (count, 28, 28)), np.arange(count) % 10
        (folder / f"{name}-images-idx3-ubyte.gz").write_bytes(gzip.compress(idx(images)))
        (folder / f"{name}-labels-idx1-ubyte.gz").write_bytes(gzip.compress(idx(labels)))
    return folder


@pytest.fixture
def small_files(monkeypatch):
    """Let the whole loader believe in files of TRAIN and TEST records."""
    monkeypatch.setattr(mnist, "TRAIN", TRAIN)
    monkeypatch.setattr(mnist, "TEST", TEST)


@pytest.mark.parametrize("make", [os.mkdir, os.mkfifo])
def test_a_folder_or_a_pipe_in_place_of_a_file_is_named(folder, make):
    (folder / TEST_LABELS).unlink()
    make(folder / TEST_LABELS)
    with pytest.raises(DataError, match=rf"{TEST_LABELS} is not a file"):
        read_folder(folder, TRAIN, TEST)


def test_reads_images_and_labels(folder):
    data = read_folder(folder, TRAIN, TEST)
    content = gzip.decompress((folder / TRAIN_IMAGES).read_bytes())
    assert data.train_images.shape == (TRAIN, 1, 28, 28)
    assert data.test_images.shape == (TEST, 1, 28, 28)
    assert data.train_images.dtype == np.uint8 and data.train_images.flags.writeable
    assert data.train_images[3, 0, 2, 1] == content[16 + 3 * 784 + 2 * 28 + 1]
    assert data.train_labels.dtype == np.int64
    assert data.train_labels.tolist() == [*range(10), 0, 1]


@pytest.mark.parametrize("place", ["root", "itself", "cache"])
def test_the_folder_may_be_the_root_itself_or_the_cache(folder, place, small_files, monkeypatch):
    monkeypatch.setenv("MINIGRAD_DATA", str(folder.parent))
    given_folder = {"root": folder.parent, "itself": str(folder), "cache": None}[place]
    assert len(load_mnist(given_folder).test_labels) == TEST


def test_a_missing_folder_says_what_to_do(tmp_path):
    with pytest.raises(DataError) as caught:
        load_mnist(tmp_path)
    message = str(caught.value)
    assert all(part in message for part in [str(tmp_path), "MINIGRAD_DATA", "download=True", "--data synthetic"])
    assert "\n" not in message


def test_a_missing_file_is_named(folder):
    (folder / TEST_LABELS).unlink()
    with pytest.raises(DataError, match=r"t10k-labels-idx1-ubyte\.gz is missing"):
        read_folder(folder, TRAIN, TEST)


@given(position=st.integers(0, 15), value=st.integers(0, 255))
def test_any_other_header_is_refused(tmp_path_factory, position, value):
    content = bytearray(idx(np.zeros((3, 28, 28))))
    changed = content[position] != value
    content[position] = value
    path = tmp_path_factory.mktemp("mnist") / "images.gz"
    path.write_bytes(gzip.compress(content, 1))
    if changed:
        with pytest.raises(DataError, match=r"images.gz is damaged: its IDX header should be 00000803 00000003"):
            read_idx(path, (3, 28, 28))
    else:
        assert read_idx(path, (3, 28, 28)).shape == (3, 28, 28)


@given(length=st.integers(0, 3000))
def test_any_other_length_is_refused(tmp_path_factory, length):
    content = idx(np.zeros((3, 28, 28)))
    path = tmp_path_factory.mktemp("mnist") / "images.gz"
    path.write_bytes(gzip.compress(content[:length] + bytes(max(length - len(content), 0)), 1))
    if length == len(content):
        assert read_idx(path, (3, 28, 28)).shape == (3, 28, 28)
    else:
        expected = "header" if length < 16 else f"expected 2,352 bytes after the header, got {length - 16:,};"
        with pytest.raises(DataError, match=expected):
            read_idx(path, (3, 28, 28))


@given(record=st.integers(0, 19), label=st.integers(10, 255))
def test_a_label_above_nine_is_refused_with_its_record(tmp_path_factory, record, label):
    labels = np.zeros(20)
    labels[record] = label
    path = tmp_path_factory.mktemp("mnist") / "labels.gz"
    path.write_bytes(gzip.compress(idx(labels)))
    with pytest.raises(DataError, match=rf"labels.gz .* record {record} .* label {label},"):
        read_labels(path, 20)


@pytest.mark.parametrize("damage", [lambda b: b[:-9], lambda b: b"not gzip" + b, lambda b: b[:20] + b"??" + b[22:]])
def test_a_damaged_gzip_file_is_a_data_error(folder, damage):
    path = folder / TRAIN_LABELS
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(DataError, match=r"train-labels-idx1-ubyte\.gz could not be read"):
        read_folder(folder, TRAIN, TEST)


@pytest.fixture
def server(folder):
    """The address of a server on this machine that has the files."""

    class Handler(http.server.SimpleHTTPRequestHandler):
        def __init__(self, *args):
            super().__init__(*args, directory=folder)

        def log_message(self, *args):
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield f"http://127.0.0.1:{server.server_address[1]}/"
        server.shutdown()
        thread.join()


@pytest.mark.parametrize("load, source", [(load_mnist, MNIST), (load_fashion_mnist, FASHION_MNIST)])
def test_download_tries_both_mirrors_and_checks_the_files(
    folder, server, tmp_path, small_files, monkeypatch, load, source
):
    packed = {name: (folder / name).read_bytes() for name in source.md5}
    contents = {name: gzip.decompress(file) if source.of_contents else file for name, file in packed.items()}
    sums = {name: hashlib.md5(content).hexdigest() for name, content in contents.items()}
    nowhere, here = server + "nothing/", server

    def mirrors(*addresses, md5=sums):
        monkeypatch.setattr(
            mnist, load.__name__.removeprefix("load_").upper(), replace(source, mirrors=addresses, md5=md5)
        )

    mirrors(nowhere, here)
    fetched = load(tmp_path / "cache", download=True)
    assert (fetched.train_images == load_mnist(folder).train_images).all()
    assert fetched.description == source.name and len(fetched.class_names) == 10
    assert (tmp_path / "cache" / source.folder).is_dir()

    mirrors(nowhere)
    load(tmp_path / "cache", download=True)  # all there: no mirror is asked

    mirrors(here, md5=sums | {TEST_LABELS: "0" * 32})
    with pytest.raises(DataError, match=f"{source.name} {TEST_LABELS}"):
        load(tmp_path / "cache", download=True)


@pytest.mark.parametrize("load, source", [(load_mnist, MNIST), (load_fashion_mnist, FASHION_MNIST)])
def test_what_is_missing_is_said_with_the_name_of_the_set(tmp_path, load, source):
    with pytest.raises(DataError, match=rf"{source.name} is not at .*{load.__name__}\(download=True\)"):
        load(tmp_path)
    (tmp_path / source.folder).mkdir()
    with pytest.raises(DataError, match=rf"{TRAIN_IMAGES} is missing: call {load.__name__}\(download=True\)"):
        load(tmp_path)


real = Path(os.environ.get("MINIGRAD_DATA", "")) / "mnist"


@pytest.mark.skipif(not real.is_dir(), reason="MINIGRAD_DATA does not hold MNIST")
def test_real_mnist():
    data = load_mnist()
    assert data.train_images.shape == (60_000, 1, 28, 28)
    assert data.test_images.shape == (10_000, 1, 28, 28)
    assert data.train_labels[:5].tolist() == [5, 0, 4, 1, 9]
