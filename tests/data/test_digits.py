import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from minigrad.data import synthetic_digits


@pytest.fixture(scope="module")
def digits():
    return synthetic_digits(train=1100, test=500)


def test_shapes_dtypes_and_names(digits):
    assert digits.train_images.shape == (1100, 1, 28, 28)
    assert digits.test_images.shape == (500, 1, 28, 28)
    assert digits.train_images.dtype == digits.test_images.dtype == np.uint8
    assert digits.train_labels.dtype == digits.test_labels.dtype == np.int64
    assert digits.class_names == tuple("0123456789")
    assert digits.description == "synthetic digits"
    assert synthetic_digits(3, 2, side=16).test_images.shape == (2, 1, 16, 16)


@settings(max_examples=10)
@given(train=st.integers(0, 1100), test=st.integers(0, 500))
def test_a_smaller_set_is_the_beginning_of_a_larger_one(digits, train, test):
    smaller = synthetic_digits(train, test)
    assert (smaller.train_images == digits.train_images[:train]).all()
    assert (smaller.train_labels == digits.train_labels[:train]).all()
    assert (smaller.test_images == digits.test_images[:test]).all()
    assert (smaller.test_labels == digits.test_labels[:test]).all()


def test_each_ten_pictures_show_every_digit_in_random_order(digits):
    tens = digits.train_labels.reshape(-1, 10)
    assert (np.sort(tens, axis=1) == np.arange(10)).all()
    assert len(np.unique(tens, axis=0)) > 100


def test_seed_split_and_chunk_each_give_other_pictures(digits):
    firsts = [digits.train_images[i] for i in (0, 500, 1000)]
    firsts += [digits.test_images[0], synthetic_digits(10, 0, seed=1).train_images[0]]
    assert len(np.unique(firsts, axis=0)) == len(firsts)


def test_strokes_stay_inside_and_cover_what_mnist_covers(digits):
    images = np.concatenate([digits.train_images, digits.test_images])[:, 0]
    assert images.min() == 0 and images.max() == 255
    border = np.concatenate([images[:, 0], images[:, -1], images[:, :, 0], images[:, :, -1]], axis=1)
    assert (border == 0).mean() > 0.99
    assert 0.08 < images.mean() / 255 < 0.18  # MNIST: 0.13
    assert (images.reshape(len(images), -1).max(axis=1) > 200).all()


def test_a_linear_classifier_reads_them():
    data = synthetic_digits(train=2000, test=500)
    train, test = (x.reshape(len(x), -1) / 255 - 0.13 for x in (data.train_images, data.test_images))
    weights = np.linalg.solve(train.T @ train + 30 * np.eye(784), train.T @ (np.eye(10)[data.train_labels] - 0.1))
    assert np.mean((test @ weights).argmax(axis=1) != data.test_labels) < 0.1


@pytest.mark.parametrize("numbers", [{"train": -1}, {"test": -1}, {"seed": -1}, {"side": 7}])
def test_numbers_that_make_no_sense_are_refused(numbers):
    with pytest.raises(ValueError, match=str(next(iter(numbers.values())))):
        synthetic_digits(**numbers)
