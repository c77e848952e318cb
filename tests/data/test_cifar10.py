import hashlib
import io
import os
import tarfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from minigrad.data import DataError, cifar10, load_cifar10, looks_jpeg_compressed
from minigrad.data.cifar10 import FILES, FOLDER, RECORD_BYTES, read_batch, read_folder, unpack

RECORDS = 20  # the files of these tests are small


def batch_bytes(seed):
    table = np.random.default_rng(seed).integers(0, 256, (RECORDS, RECORD_BYTES), np.uint8)
    table[:, 0] = np.arange(RECORDS) % 10
    return table.tobytes()


@pytest.fixture
def folder(tmp_path):
    folder = tmp_path / FOLDER
    folder.mkdir()
    for seed, name in enumerate(FILES):
        (folder / name).write_bytes(batch_bytes(seed))
    return folder


@pytest.fixture
def small_files(monkeypatch):
    """Let the whole loader believe in files of RECORDS records."""
    monkeypatch.setattr(cifar10, "RECORDS", RECORDS)


def write_archive(path, entries):
    with tarfile.open(path, "w:gz") as tar:
        for name, content in entries:
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))


def test_reads_planes_rows_and_labels(folder):
    data = read_folder(folder, RECORDS)
    assert data.train_images.shape == (5 * RECORDS, 3, 32, 32)
    assert data.train_images.dtype == data.test_images.dtype == np.uint8
    assert data.train_labels.dtype == data.test_labels.dtype == np.int64
    assert data.class_names[3] == "cat"
    # Pixel (channel 1, row 2, column 3) of record 4 in the second file.
    expected = batch_bytes(1)[4 * RECORD_BYTES + 1 + 1 * 1024 + 2 * 32 + 3]
    assert data.train_images[RECORDS + 4, 1, 2, 3] == expected
    assert data.train_labels[RECORDS + 4] == 4


@pytest.mark.parametrize("place", ["root", "itself", "cache"])
def test_the_folder_may_be_the_root_itself_or_the_cache(folder, place, small_files, monkeypatch):
    monkeypatch.setenv("MINIGRAD_DATA", str(folder.parent))
    given_folder = {"root": folder.parent, "itself": str(folder), "cache": None}[place]
    assert len(load_cifar10(given_folder).test_labels) == RECORDS


def test_a_missing_folder_says_what_to_do(tmp_path):
    with pytest.raises(DataError) as caught:
        load_cifar10(tmp_path)
    message = str(caught.value)
    assert all(part in message for part in [str(tmp_path), "MINIGRAD_DATA", "download=True", "--data synthetic"])
    assert "\n" not in message


def test_a_missing_batch_is_named(folder):
    (folder / "data_batch_4.bin").unlink()
    with pytest.raises(DataError, match=r"data_batch_4\.bin is missing"):
        read_folder(folder, RECORDS)


@pytest.mark.parametrize("make", [os.mkdir, os.mkfifo])
def test_a_folder_or_a_pipe_in_place_of_a_batch_is_named(folder, make):
    (folder / "test_batch.bin").unlink()
    make(folder / "test_batch.bin")
    with pytest.raises(DataError, match=r"test_batch\.bin is not a file"):
        read_folder(folder, RECORDS)


def test_a_batch_that_cannot_be_read_is_named(folder, monkeypatch):
    def refuse(*_):
        raise PermissionError("not yours")

    monkeypatch.setattr(np, "fromfile", refuse)
    with pytest.raises(DataError, match=r"data_batch_1\.bin could not be read: not yours"):
        read_folder(folder, RECORDS)


@given(change=st.integers(-RECORDS * RECORD_BYTES, 2 * RECORD_BYTES).filter(bool))
def test_a_batch_of_any_other_length_is_refused(tmp_path_factory, change):
    path = tmp_path_factory.mktemp("cifar") / "data_batch_1.bin"
    content = batch_bytes(0) + bytes(max(change, 0))
    path.write_bytes(content[: len(batch_bytes(0)) + change])
    with pytest.raises(DataError, match=rf"expected 61,460 bytes, got {61_460 + change:,};") as caught:
        read_batch(path, RECORDS)
    assert str(path) in str(caught.value)


def test_the_expected_length_of_the_real_files(folder):
    with pytest.raises(DataError, match="expected 30,730,000 bytes, got 61,460"):
        load_cifar10(folder)


@given(record=st.integers(0, RECORDS - 1), label=st.integers(10, 255))
def test_a_label_above_nine_is_refused_with_its_record(tmp_path_factory, record, label):
    path = tmp_path_factory.mktemp("cifar") / "data_batch_1.bin"
    content = bytearray(batch_bytes(0))
    content[record * RECORD_BYTES] = label
    path.write_bytes(content)
    with pytest.raises(DataError, match=rf"data_batch_1.bin .* record {record} .* label {label},"):
        read_batch(path, RECORDS)


def test_unpack_takes_only_the_expected_files(tmp_path, small_files):
    archive, folder = tmp_path / "archive.tar.gz", tmp_path / "data" / FOLDER
    traps = [("../escaped.bin", b"x"), (f"{FOLDER}/../../escaped.bin", b"x"), ("data_batch_1.bin", b"x")]
    files = [(f"{FOLDER}/{name}", batch_bytes(i)) for i, name in enumerate(FILES)]
    write_archive(archive, traps + files + [(f"{FOLDER}/readme.html", b"x")])
    unpack(archive, folder)
    assert sorted(path.name for path in folder.iterdir()) == sorted(FILES)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["archive.tar.gz", "data"]


def test_unpack_names_what_the_archive_lacks(tmp_path):
    archive = tmp_path / "archive.tar.gz"
    write_archive(archive, [(f"{FOLDER}/{name}", b"x") for name in FILES[1:]])
    with pytest.raises(DataError, match=r"does not contain cifar-10-batches-bin/data_batch_1.bin;"):
        unpack(archive, tmp_path / FOLDER)


@pytest.mark.parametrize("content", [b"", b"no archive at all", "half"])
def test_a_damaged_archive_is_a_data_error(tmp_path, content):
    archive = tmp_path / "archive.tar.gz"
    write_archive(archive, [(f"{FOLDER}/{name}", batch_bytes(0)) for name in FILES])
    whole = archive.read_bytes()
    archive.write_bytes(whole[: len(whole) // 2] if content == "half" else content)
    with pytest.raises(DataError, match="could not be unpacked"):
        unpack(archive, tmp_path / FOLDER)


def test_download_fetches_once_and_completes_what_is_there(tmp_path, small_files, monkeypatch):
    mirror = tmp_path / "mirror.tar.gz"
    write_archive(mirror, [(f"{FOLDER}/{name}", batch_bytes(i)) for i, name in enumerate(FILES)])
    monkeypatch.setattr(cifar10, "URLS", [mirror.as_uri()])
    monkeypatch.setattr(cifar10, "MD5", hashlib.md5(mirror.read_bytes()).hexdigest())
    root = tmp_path / "cache"
    first = load_cifar10(root, download=True)

    mirror.unlink()  # from here on the archive beside the folder must do
    (root / FOLDER / "data_batch_2.bin").unlink()
    (root / FOLDER / "test_batch.bin").write_bytes(b"truncated")
    second = load_cifar10(root, download=True)
    assert (first.train_images == second.train_images).all()
    assert (first.test_images == second.test_images).all()

    (root / "cifar-10-binary.tar.gz").unlink()  # and now the files must
    load_cifar10(root, download=True)


def photographs(count=60):
    """Return what photographs share, as far as it matters here: edges, slopes and a little grain, (N, 3, 32, 32)."""
    rng = np.random.default_rng(0)
    y, x = np.mgrid[:32, :32]
    pictures = np.full((count, 3, 32, 32), 128.0)
    for picture in pictures:
        for _ in range(6):
            a, b = rng.standard_normal(2)
            inside = a * (x - rng.uniform(0, 32)) + b * (y - rng.uniform(0, 32)) > 0
            picture += inside * rng.uniform(-40, 40, (3, 1, 1))
    pictures += 4 * rng.standard_normal(pictures.shape)
    return np.clip(np.rint(pictures), 0, 255).astype(np.uint8)


def through_jpeg(pictures, quality):
    image = pytest.importorskip("PIL.Image", reason="needs Pillow to compress pictures")
    decoded = []
    for picture in pictures:
        file = io.BytesIO()
        image.fromarray(picture.transpose(1, 2, 0)).save(file, "JPEG", quality=quality)
        decoded.append(np.asarray(image.open(file)).transpose(2, 0, 1))
    return np.stack(decoded)


def test_uncompressed_pictures_do_not_look_jpeg_compressed():
    assert not looks_jpeg_compressed(photographs())
    assert not looks_jpeg_compressed(np.full((10, 3, 32, 32), 77, np.uint8))
    slope = np.broadcast_to(np.arange(32, dtype=np.uint8) * 8, (10, 3, 32, 32))
    assert not looks_jpeg_compressed(slope)


@pytest.mark.parametrize("quality", [50, 75, 90])
def test_jpeg_leaves_its_footprint_on_its_own_grid_only(quality):
    compressed = through_jpeg(photographs(), quality)
    assert looks_jpeg_compressed(compressed)
    assert not looks_jpeg_compressed(np.roll(compressed, (3, 3), axis=(2, 3)))


real = Path(os.environ.get("MINIGRAD_DATA", "")) / FOLDER


@pytest.mark.skipif(not real.is_dir(), reason="MINIGRAD_DATA does not hold CIFAR-10")
def test_real_cifar10():
    data = load_cifar10()
    assert data.train_images.shape == (50_000, 3, 32, 32)
    assert data.test_images.shape == (10_000, 3, 32, 32)
    assert (np.bincount(data.train_labels) == 5000).all()
    assert (np.bincount(data.test_labels) == 1000).all()
    assert data.train_labels[:5].tolist() == [6, 9, 9, 4, 1]
    assert data.description in ("CIFAR-10", "CIFAR-10 (JPEG-compressed)")
    rng = np.random.default_rng(0)
    some = data.train_images[:1000]
    noisy = np.clip(some + rng.integers(-4, 5, some.shape), 0, 255).astype(np.uint8)
    assert not looks_jpeg_compressed(noisy)
    assert not looks_jpeg_compressed(np.roll(some, (3, 3), axis=(2, 3)))
