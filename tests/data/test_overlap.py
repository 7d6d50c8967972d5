"""Images that two datasets share are found; equal file names prove nothing."""

import numpy as np
import pytest
from PIL import Image

from jaxbench.data import ArraySource, CorruptedSource, open_dataset, take
from jaxbench.data.overlap import common_images
from jaxbench.data.transformations import TransformedSource


@pytest.fixture
def digits():
    return open_dataset("digits@test")


def test_parts_and_versions_of_a_dataset(digits):
    first, last = take(digits, np.arange(60)), take(digits, np.arange(40, 100))
    assert common_images(digits, digits) == len(digits)
    assert common_images(first, last) == 20
    assert common_images(first, CorruptedSource(last, "fog", 2)) == 20
    assert common_images(TransformedSource(first, "shift", 2.0), last) == 20
    assert common_images(first, take(digits, np.arange(60, 100))) == 0
    assert common_images(digits, open_dataset("digits@train")) == 0


def test_corruptions_of_the_embedded_digits_are_the_digits(digits):
    assert common_images(open_dataset("digits-c/fog_3"), digits) == len(digits)


def folder(path, seed):
    draw = np.random.default_rng(seed)
    for name in ("cat/1.png", "cat/2.png", "dog/1.png"):
        (path / name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(draw.integers(0, 256, (8, 8, 3), np.uint8)).save(path / name)
    return open_dataset(f"folder:{path}")


def test_other_images_of_the_same_names(tmp_path):
    one, other = folder(tmp_path / "a", 0), folder(tmp_path / "b", 1)
    assert one.ids == other.ids
    assert common_images(one, other) == 0
    # The same files elsewhere, in other hands.
    again = folder(tmp_path / "c", 0)
    assert common_images(take(one, [0, 2]), again) == 2
    assert common_images(one, take(again, [1])) == 1


def test_arrays_whose_ids_count_rows():
    draw = np.random.default_rng(0)
    images = draw.integers(0, 256, (6, 4, 4, 3), np.uint8)
    labels = np.arange(6, dtype=np.int32) % 2
    source = ArraySource("a", images, labels)
    assert common_images(source, ArraySource("b", images[::-1].copy(), labels)) == 0
    assert common_images(source, ArraySource("b", images, 1 - labels)) == 6
