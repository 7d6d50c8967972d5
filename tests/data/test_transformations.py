"""Scale and shift as in arXiv 2311.09215, and addresses with a "+"."""

import numpy as np
import pytest

from jaxbench.data import ArraySource, expand_addresses, load_images, open_dataset, take
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
    both = open_dataset("digits@test+gaussian_noise_3+shift_1")
    noisy = open_dataset("digits@test+gaussian_noise_3")
    np.testing.assert_array_equal(both[4].image, noisy[4].image)
    assert both.fingerprint != noisy.fingerprint
    # The same corruption as the embedded one's.
    np.testing.assert_array_equal(
        noisy[4].image, open_dataset("digits-c/gaussian_noise_3")[4].image
    )


def test_wildcards():
    found = expand_addresses(["digits@test+*_2", "digits@test+shift_*"])
    assert len(found) == len(CORRUPTIONS) + 5
    assert found[0] == "digits@test+gaussian_noise_2"
    assert found[-1] == "digits@test+shift_100"
    assert expand_addresses("digits@test+snow_[12]+scale_2") == (
        "digits@test+snow_1+scale_2",
        "digits@test+snow_2+scale_2",
    )


def test_a_plus_in_a_path_is_part_of_it():
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
        ("digits@test+snow_1.5", "1.5"),
        ("digits@test+scale_0.5", "wanted 1 or more"),
        ("digits@test+nothing_*", "matches nothing"),
    ],
)
def test_refused(address, message):
    with pytest.raises(UserError, match=message):
        [open_dataset(a) for a in expand_addresses([address])]
