import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from minigrad.data import looks_jpeg_compressed, synthetic_pictures


@pytest.fixture(scope="module")
def pictures():
    return synthetic_pictures(train=1100, test=500)


def test_shapes_dtypes_and_names(pictures):
    assert pictures.train_images.shape == (1100, 3, 32, 32)
    assert pictures.test_images.shape == (500, 3, 32, 32)
    assert pictures.train_images.dtype == pictures.test_images.dtype == np.uint8
    assert pictures.train_labels.dtype == pictures.test_labels.dtype == np.int64
    assert len(set(pictures.class_names)) == 10
    assert pictures.description == "synthetic pictures"


@settings(max_examples=15)
@given(train=st.integers(0, 1100), test=st.integers(0, 500))
def test_a_smaller_set_is_the_beginning_of_a_larger_one(pictures, train, test):
    smaller = synthetic_pictures(train, test)
    assert (smaller.train_images == pictures.train_images[:train]).all()
    assert (smaller.train_labels == pictures.train_labels[:train]).all()
    assert (smaller.test_images == pictures.test_images[:test]).all()
    assert (smaller.test_labels == pictures.test_labels[:test]).all()


def test_each_ten_pictures_show_every_class_in_random_order(pictures):
    tens = pictures.train_labels.reshape(-1, 10)
    assert (np.sort(tens, axis=1) == np.arange(10)).all()
    assert len(np.unique(tens, axis=0)) > 100


def test_seed_split_and_chunk_each_give_other_pictures(pictures):
    other_seed = synthetic_pictures(10, 0, seed=1)
    firsts = [
        pictures.train_images[0],
        pictures.train_images[500],
        pictures.train_images[1000],
        pictures.test_images[0],
        other_seed.train_images[0],
    ]
    assert len(np.unique(firsts, axis=0)) == len(firsts)


def test_pictures_use_the_whole_range_of_values_and_are_not_jpeg(pictures):
    assert pictures.train_images.min() == 0 and pictures.train_images.max() == 255
    assert (pictures.train_images.reshape(1100, -1).std(axis=1) > 5).all()
    assert not looks_jpeg_compressed(pictures.train_images)


def test_a_linear_classifier_learns_little():
    data = synthetic_pictures(train=2000, test=500)
    mean = data.train_images.mean(axis=0)
    train, test = ((images - mean).reshape(len(images), -1) / 128 for images in (data.train_images, data.test_images))
    targets = np.eye(10)[data.train_labels] - 0.1
    for ridge in (1e2, 1e3, 1e4):  # ridge regression on one-hot labels, in its dual form
        weights = train.T @ np.linalg.solve(train @ train.T + ridge * np.eye(len(train)), targets)
        error = np.mean((test @ weights).argmax(axis=1) != data.test_labels)
        assert error > 0.6


@pytest.mark.parametrize("numbers", [{"train": -1}, {"test": -1}, {"seed": -1}])
def test_negative_numbers_are_refused(numbers):
    with pytest.raises(ValueError, match="=-1"):
        synthetic_pictures(**numbers)
