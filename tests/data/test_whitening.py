import os

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from minigrad.data import ZCA, scale_pixels, whitening, zca_cached
from minigrad.saving import save


def correlated_pictures(seed, count=200, shape=(2, 3, 2), dtype=np.float32):
    rng = np.random.default_rng(seed)
    values = int(np.prod(shape))
    mixing = rng.standard_normal((values, values)) + 3 * np.eye(values)
    return (rng.standard_normal((count, values)) @ mixing + 5).reshape(count, *shape).astype(dtype)


seeds = st.integers(0, 2**32 - 1)


def test_scale_pixels():
    scaled = scale_pixels(np.array([[0, 127, 128, 255]], np.uint8))
    assert scaled.dtype == np.float32
    assert scaled.tolist() == [[-127.5 / 128, -0.5 / 128, 0.5 / 128, 127.5 / 128]]  # exact in float32


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.int64, bool])
def test_pictures_are_not_scaled_twice(dtype):
    with pytest.raises(TypeError, match=np.dtype(dtype).name):
        scale_pixels(np.ones((1, 3), dtype))


def test_pictures_that_were_not_scaled_are_not_whitened():
    images = np.random.default_rng(0).integers(0, 256, (50, 1, 2, 2), np.uint8)
    zca = ZCA.fit(scale_pixels(images))
    with pytest.raises(TypeError, match=r"ZCA.*uint8.*scale_pixels"):
        zca(images)


@given(seed=seeds, dtype=st.sampled_from([np.float32, np.float64]))
def test_whitened_pictures_have_mean_zero_and_covariance_s_over_s_plus_epsilon(seed, dtype):
    images = correlated_pictures(seed, dtype=dtype)
    rows = images.reshape(len(images), -1).astype(np.float64)
    variances, directions = np.linalg.eigh(np.cov(rows.T, bias=True))
    epsilon = 1e-3
    whitened = ZCA.fit(images, epsilon)(images)
    assert whitened.dtype == np.float32 and whitened.shape == images.shape
    white_rows = whitened.reshape(len(images), -1).astype(np.float64)
    expected = (directions * (variances / (variances + epsilon))) @ directions.T
    # Entries of the matrix reach 1/sqrt(epsilon) = 32, pixels about 20, float32 rounds at 6e-8: errors stay near 1e-4.
    np.testing.assert_allclose(white_rows.mean(axis=0), 0, atol=1e-3)
    np.testing.assert_allclose(np.cov(white_rows.T, bias=True), expected, atol=2e-3)


@given(seed=seeds)
def test_the_matrix_is_symmetric_and_positive(seed):
    matrix = ZCA.fit(correlated_pictures(seed), 1e-3).matrix
    np.testing.assert_allclose(matrix, matrix.T, atol=1e-5)
    assert (np.linalg.eigvalsh(matrix) > 0).all()


def test_white_pictures_stay_as_they_are():
    rows = np.random.default_rng(0).standard_normal((50, 4))
    rows = np.linalg.qr(rows - rows.mean(axis=0))[0] * np.sqrt(50)  # mean 0, covariance 1
    np.testing.assert_allclose(ZCA.fit(rows, 1e-9)(rows), rows, atol=1e-5)


def test_directions_without_variance_stay_finite():
    images = correlated_pictures(0, count=3)
    zca = ZCA.fit(images, epsilon=0.01)
    assert np.linalg.eigvalsh(zca.matrix).max() == pytest.approx(10, rel=1e-4)
    assert np.isfinite(zca(images)).all()


@given(chunk=st.integers(1, 60), seed=seeds)
def test_chunks_do_not_show(chunk, seed):
    images = correlated_pictures(seed, count=50)
    whole = ZCA.fit(images, 0.1)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(whitening, "CHUNK", chunk)
        parts = ZCA.fit(images, 0.1)
        whitened = parts(images)
    np.testing.assert_allclose(parts.matrix, whole.matrix, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(whitened, whole(images), rtol=1e-4, atol=1e-4)


def test_the_pictures_are_not_changed():
    images = correlated_pictures(0)
    before = images.copy()
    ZCA.fit(images)(images)
    assert (images == before).all()


def test_errors():
    images = correlated_pictures(0)
    with pytest.raises(TypeError, match="got uint8; use scale_pixels"):
        ZCA.fit(images.astype(np.uint8))
    with pytest.raises(ValueError, match="at least one picture"):
        ZCA.fit(images[:0])
    with pytest.raises(ValueError, match="epsilon above 0, got 0"):
        ZCA.fit(images, epsilon=0)
    with pytest.raises(ValueError, match=r"12 values, got images of shape \(200, 2, 3\)"):
        ZCA.fit(images)(images[..., 0])


@pytest.fixture
def fits(monkeypatch):
    """Count how often a map is really computed."""
    calls = []
    fit = ZCA.fit

    def counted(images, epsilon):
        calls.append(epsilon)
        return fit(images, epsilon)

    monkeypatch.setattr(ZCA, "fit", counted)
    return calls


def test_the_cache_gives_the_same_map_back(tmp_path, fits):
    images = correlated_pictures(0)
    first, second = (zca_cached(images, 1e-3, tmp_path) for _ in range(2))
    assert len(fits) == 1
    assert (first.matrix == second.matrix).all() and (first.mean == second.mean).all()
    assert first.epsilon == second.epsilon == 1e-3
    assert second.matrix.dtype == second.mean.dtype == np.float32
    (file,) = (tmp_path / "zca").iterdir()  # and no .part is left
    assert file.suffix == ".npz"


def test_the_cache_folder_is_the_default(tmp_path, monkeypatch):
    monkeypatch.setenv("MINIGRAD_DATA", str(tmp_path))
    zca_cached(correlated_pictures(0))
    assert len(list((tmp_path / "zca").iterdir())) == 1


def test_every_other_input_is_computed_anew(tmp_path, fits):
    images = correlated_pictures(0)
    changed = images.copy()
    changed[7, 1, 2, 1] += 1e-3
    for other in (images, changed, images.reshape(200, 12), images.astype(np.float64), images[:-1]):
        zca_cached(other, 1e-3, tmp_path)
    zca_cached(images, 1e-4, tmp_path)
    assert len(fits) == 6


@pytest.mark.parametrize("damage", ["empty", "half", "flipped", "other", "pickle"])
def test_a_damaged_cache_file_is_computed_anew(tmp_path, fits, damage):
    images = correlated_pictures(0)
    zca = zca_cached(images, 1e-3, tmp_path)
    (file,) = (tmp_path / "zca").iterdir()
    content = bytearray(file.read_bytes())
    if damage == "empty":
        content = b""
    elif damage == "half":
        content = content[: len(content) // 2]
    elif damage == "flipped":
        content[content.index(zca.matrix.tobytes())] ^= 1
    file.write_bytes(content)
    if damage == "other":
        np.savez(file, mean=zca.mean[:5], matrix=zca.matrix)
    elif damage == "pickle":
        np.savez(file, mean=np.array([None] * 12), matrix=zca.matrix)

    again = zca_cached(images, 1e-3, tmp_path)
    assert len(fits) == 2
    assert (again.matrix == zca.matrix).all()
    zca_cached(images, 1e-3, tmp_path)
    assert len(fits) == 2  # the damaged file was replaced


CACHED = {"mean": np.zeros(12, np.float32), "matrix": np.eye(12, dtype=np.float32), "epsilon": 1e-3}


@pytest.mark.parametrize(
    "tree",
    [
        5,
        [CACHED],
        {},
        CACHED | {"version": 2},
        CACHED | {"mean": np.zeros(5, np.float32)},
        CACHED | {"matrix": np.eye(12)},
        CACHED | {"mean": [0.0] * 12},
        CACHED | {"epsilon": 1e-4},
        CACHED | {"epsilon": None},
        CACHED | {"epsilon": np.ones(2)},
    ],
)
def test_a_cache_file_of_another_structure_is_computed_anew(tmp_path, fits, tree):
    images = correlated_pictures(0)
    right = zca_cached(images, 1e-3, tmp_path)
    (file,) = (tmp_path / "zca").iterdir()
    save(file, tree)
    for _ in range(2):
        again = zca_cached(images, 1e-3, tmp_path)
        assert (again.matrix == right.matrix).all() and (again.mean == right.mean).all() and again.epsilon == 1e-3
    assert len(fits) == 2


@pytest.mark.parametrize("make", [os.mkdir, os.mkfifo])
def test_a_folder_or_a_pipe_in_place_of_the_cache_file_is_no_error(tmp_path, fits, make):
    images = correlated_pictures(0)
    zca_cached(images, 1e-3, tmp_path)
    (file,) = (tmp_path / "zca").iterdir()
    file.unlink()
    make(file)
    zca_cached(images, 1e-3, tmp_path)
    assert len(fits) == 2


def test_an_unwritable_folder_is_no_error(tmp_path):
    blocked = tmp_path / "a file, not a folder"
    blocked.touch()
    zca_cached(correlated_pictures(0), 1e-3, blocked)
    assert blocked.read_bytes() == b""
