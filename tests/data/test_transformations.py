"""Scale and shift as in arXiv 2311.09215, and addresses with a "+"."""

import numpy as np
import pytest

from jaxbench.data import (
    ArraySource,
    CorruptedSource,
    expand_addresses,
    load_images,
    open_dataset,
    take,
)
from jaxbench.data.corruptions import CORRUPTIONS
from jaxbench.data.modifiers import split_modifiers
from jaxbench.data.preprocess import preprocess
from jaxbench.data.transformations import TransformedSource
from jaxbench.errors import UserError
from model_zoo import InputSpec

SPEC = InputSpec(size=(28, 28), crop_fraction=0.875, interpolation="bilinear")


def photos(height=64, width=96):
    draw = np.random.default_rng(0)
    coarse = draw.integers(0, 256, (3, height // 8, width // 8, 3), dtype=np.uint8)
    images = coarse.repeat(8, axis=1).repeat(8, axis=2)
    return ArraySource("photos", images, np.arange(3, dtype=np.int32))


def pixels(source):
    return load_images(source, SPEC).images.astype(int)


def test_scale_resizes_further_and_crops_the_same():
    source = photos()
    found = pixels(TransformedSource(source, "scale", 1.5))
    # int(1.5 * 32) = 48 pixels before a crop of 28.
    spec = InputSpec(size=(28, 28), crop_fraction=28 / 48, interpolation="bilinear")
    wanted = [preprocess(source[i].image, spec) for i in range(3)]
    np.testing.assert_array_equal(found, wanted)
    np.testing.assert_array_equal(
        pixels(TransformedSource(source, "scale", 1.0)), pixels(source)
    )


def test_no_shift_is_the_usual_crop():
    source = photos()
    moved = pixels(TransformedSource(source, "shift", 0.0))
    # Resized after the crop, not before: filters end at its edge. Blocks of 8 pixels
    # are 4 wide here, so that edges blur over a fourth of the pixels.
    assert np.median(np.abs(moved - pixels(source))) <= 1


@pytest.mark.parametrize(("height", "width"), [(64, 96), (96, 64)])
def test_shift_moves_along_the_longer_side(height, width):
    source = photos(height, width)
    side = round(0.875 * 64)
    moved = pixels(TransformedSource(source, "shift", 8.0))
    for i in range(3):
        image = source[i].image
        top, left = round((height - side) / 2), round((width - side) / 2)
        top, left = (top, left + 8) if width > height else (top + 8, left)
        crop = image[top : top + side, left : left + side]
        whole = InputSpec(size=(28, 28), crop_fraction=1.0, interpolation="bilinear")
        np.testing.assert_array_equal(moved[i], preprocess(crop, whole))


def test_shift_of_a_model_that_squashes():
    spec = InputSpec(size=(28, 28), crop_fraction=1.0, crop_mode="squash")
    source = photos()
    moved = load_images(TransformedSource(source, "shift", 0.0), spec).images
    np.testing.assert_array_equal(moved, load_images(source, spec).images)


def test_a_corrupted_photograph_is_cropped_once():
    """An identity corruption shows what a clean image shows."""
    ramp = np.broadcast_to(np.linspace(0, 255, 400), (300, 400))
    image = np.repeat(ramp[None, ..., None], 3, axis=3).astype(np.uint8)
    source = ArraySource("ramp", image, np.zeros(1, np.int32))
    spec = InputSpec(size=(224, 224), crop_fraction=0.875, interpolation="bilinear")
    clean = load_images(source, spec).images.astype(int)
    blurred = CorruptedSource(source, "gaussian_blur", 1)
    found = load_images(blurred, spec).images.astype(int)
    assert np.abs(found - clean).max() <= 1


def test_black_beyond_the_edge():
    moved = pixels(TransformedSource(photos(), "shift", 60.0))
    # The crop begins at 20 + 60 of 96: 16 of its 56 pixels are left.
    assert (moved[:, :, 10:] == 0).all()
    assert (moved[:, :, :7].max(axis=(1, 2, 3)) > 0).all()


def test_identity_of_a_transformed_source():
    source = photos()
    found = TransformedSource(source, "shift", 5.0)
    other = TransformedSource(source, "shift", 6.0)
    assert found.ids == source.ids
    assert len({found.fingerprint, other.fingerprint, source.fingerprint}) == 3
    few = take(found, [2, 0])
    np.testing.assert_array_equal(pixels(few), pixels(found)[[2, 0]])
    assert few.fingerprint != take(other, [2, 0]).fingerprint


def test_addresses():
    source = open_dataset("digits@test+scale_1.5")
    assert source.name == "digits@test+scale_1.5"
    both = open_dataset("digits@test+gaussian_noise_3+contrast_1")
    noisy = open_dataset("digits@test+gaussian_noise_3")
    assert both.fingerprint != noisy.fingerprint
    assert np.ptp(both[4].image) < np.ptp(noisy[4].image)
    # The same corruption as the embedded one's.
    np.testing.assert_array_equal(
        noisy[4].image, open_dataset("digits-c/gaussian_noise_3")[4].image
    )


def test_wildcards():
    found = expand_addresses(["digits@test+*_2", "digits@test+shift_*"])
    assert len(found) == len(CORRUPTIONS) + 5
    assert found[0] == "digits@test+gaussian_noise_2"
    assert found[-1] == "digits@test+shift_100"
    assert expand_addresses("digits@test+snow_[12]+fog_2") == (
        "digits@test+snow_1+fog_2",
        "digits@test+snow_2+fog_2",
    )


def test_a_plus_in_a_path_is_part_of_it(tmp_path):
    (tmp_path / "cats+dogs_2").mkdir()
    address = f"folder:{tmp_path}/cats+dogs_2"
    assert split_modifiers(address) == (address, ())
    assert split_modifiers(f"{address}+snow_2") == (address, ("snow_2",))
    parts = "tfds:x@train[:50%]+train[50%:]"
    assert split_modifiers(parts) == (parts, ())
    assert split_modifiers(f"{parts}+fog_*") == (parts, ("fog_*",))
    assert split_modifiers("folder:/a+b/c") == ("folder:/a+b/c", ())
    assert split_modifiers("arrays:x+y.npz+snow_2") == ("arrays:x+y.npz", ("snow_2",))
    assert split_modifiers("tfds:a@test[:5%]+snow_*") == (
        "tfds:a@test[:5%]",
        ("snow_*",),
    )


@pytest.mark.parametrize(
    ("address", "message"),
    [
        ("digits@test+snw_2", "did you mean 'snow'"),
        ("digits@test+snow_6", "severity is 6"),
        ("digits@test+snow_1.5", r"severity is 1\.5, wanted 1 to 5"),
        ("digits+snow_3@test", r"ADDRESS\[@SPLIT\]\+NAME_NUMBER"),
        ("digits@test+SNOW_3", r"ADDRESS\[@SPLIT\]\+NAME_NUMBER"),
        ("digits@test+snow_3+scale_2", "in its own way already"),
        ("digits@test+scale_2+snow_3", "corrupt the images as they are"),
        ("digits@test+scale_2+shift_3", "in its own way already"),
        ("digits@test+scale_0.5", "wanted 1 or more"),
        ("digits@test+nothing_*", "matches nothing"),
    ],
)
def test_refused(address, message):
    with pytest.raises(UserError, match=message):
        [open_dataset(a) for a in expand_addresses([address])]
