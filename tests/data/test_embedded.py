import io

import numpy as np
import pytest
from sklearn.datasets import load_digits

from jaxbench.data import load_images, open_dataset
from jaxbench.data.sources.embedded import DIGITS_FILE
from model_zoo.input_spec import InputSpec

AS_THEY_ARE = InputSpec(size=(8, 8), crop_fraction=1.0)


def digits_file_content():
    """What made `digits.npz`: run, and write the bytes, should scikit-learn change."""
    digits = load_digits()
    file = io.BytesIO()
    np.savez_compressed(
        file,
        images=digits.images.astype(np.uint8),
        labels=digits.target.astype(np.uint8),
    )
    return file.getvalue()


def test_shipped_file_is_scikit_learns_digits():
    made = np.load(io.BytesIO(digits_file_content()))
    shipped = np.load(DIGITS_FILE, allow_pickle=False)
    assert set(shipped.files) == {"images", "labels"}
    for key in shipped.files:
        assert shipped[key].dtype == np.uint8
        np.testing.assert_array_equal(shipped[key], made[key])
    np.testing.assert_array_equal(shipped["images"], load_digits().images)


def test_parts_hold_every_digit_once():
    parts = {
        split: open_dataset(f"digits@{split}")
        for split in ("train", "validation", "test")
    }
    ids = [id for part in parts.values() for id in part.ids]
    ids += open_dataset("digits-ood").ids
    assert sorted(ids) == [f"digits/{i:04}" for i in range(1797)]
    # Fixed once and for all: a change here changes every published number.
    assert {split: len(part) for split, part in parts.items()} == {
        "train": 866,
        "validation": 288,
        "test": 289,
    }
    assert parts["test"].ids[:4] == FIRST_TEST_IDS


FIRST_TEST_IDS = ("digits/0003", "digits/0005", "digits/0006", "digits/0007")


@pytest.mark.parametrize(
    ("split", "share"), [("train", 0.6), ("validation", 0.2), ("test", 0.2)]
)
def test_parts_are_stratified(split, share):
    target = load_digits().target
    counts = np.bincount(open_dataset(f"digits@{split}").labels, minlength=8)
    wanted = np.bincount(target[target < 8]) * share
    assert np.abs(counts - wanted).max() <= 1


def test_images_and_labels_are_the_digits():
    digits = load_digits()
    for address, first_class in {"digits@test": 0, "digits-ood": 8}.items():
        source = open_dataset(address)
        arrays = load_images(source, AS_THEY_ARE)
        images, labels, ids = arrays.images, arrays.labels, arrays.ids
        rows = [int(id.removeprefix("digits/")) for id in ids]
        gray = np.floor(digits.images[rows] * 255 / 16 + 0.5)
        np.testing.assert_array_equal(images, np.stack([gray] * 3, axis=-1))
        np.testing.assert_array_equal(labels + first_class, digits.target[rows])
        assert source.class_names[labels[0]] == str(digits.target[rows[0]])


def test_default_split_is_the_test_part():
    assert open_dataset("digits").ids == open_dataset("digits@test").ids
