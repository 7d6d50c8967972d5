import hashlib
import inspect
from pathlib import Path

import numpy as np
import pytest

from jaxbench.data import (
    CORRUPTIONS,
    ArraySource,
    BatchLoader,
    CorruptedSource,
    DecodeError,
    load_images,
    open_dataset,
    take,
)
from jaxbench.data.corruptions import SEVERITIES, keyed_rng
from jaxbench.data.corruptions.blur import gaussian_blur
from jaxbench.errors import UserError
from model_zoo.input_spec import InputSpec

SPEC = InputSpec(size=(8, 8), crop_fraction=1.0)


with np.load(Path(__file__).with_name("corruptions.npz")) as _file:
    GOLDENS = {name: _file[name] for name in _file.files}


@pytest.mark.parametrize("name", [n for n in GOLDENS if n != "image"])
def test_agrees_with_imagecorruptions(name):
    """scripts/make_goldens_corruptions.py made them."""
    corruption, _, severity = name.rpartition("_")
    corrupt = CORRUPTIONS[corruption]
    # That package has one strength for all sizes: the one of 224 pixels.
    whole = "scale" in inspect.signature(corrupt).parameters
    options = {"scale": 1.0} if whole else {}
    rng = np.random.RandomState(int(severity))
    found = corrupt(GOLDENS["image"], int(severity), rng, **options)
    levels = np.abs(found.astype(int) - GOLDENS[name])
    if corruption == "jpeg_compression":
        # Encoders of other versions round otherwise.
        assert levels.mean() < 2
    else:
        # It cuts the fraction off, here values are rounded.
        assert levels.max() <= 1


# Mean distance from the picture that imagecorruptions has at severities 1, 3 and 5,
# over ten draws.
STRENGTHS = {
    "glass_blur": (16.8, 28.6, 28.8),
    "frost": (51.7, 65.5, 65.4),
    "impulse_noise": (3.8, 11.5, 35.4),
    "spatter": (3.6, 9.3, 18.3),
}


@pytest.mark.parametrize("name", STRENGTHS)
def test_own_algorithms_are_about_as_strong(name):
    corrupt, image = CORRUPTIONS[name], GOLDENS["image"]
    options = {"scale": 1.0} if "scale" in inspect.signature(corrupt).parameters else {}
    for severity, strength in zip((1, 3, 5), STRENGTHS[name], strict=True):
        draws = [
            corrupt(image, severity, keyed_rng(0, name, 1, str(i)), **options)
            for i in range(10)
        ]
        distance = np.abs(np.stack(draws).astype(float) - image).mean()
        # Patterns differ, strengths should not.
        assert 0.6 * strength < distance < 1.7 * strength, (severity, distance)


def photo(height=60, width=90):
    """A smooth image with edges: what corruptions are meant for."""
    y, x = np.mgrid[0:height, 0:width]
    waves = np.stack([np.sin(x / 9), np.cos(y / 7), np.sin((x + y) / 11)], axis=-1)
    discs = ((x % 30 - 15) ** 2 + (y % 30 - 15) ** 2 < 80)[..., None]
    return np.round(127 + 80 * waves * np.where(discs, 1, 0.4)).astype(np.uint8)


@pytest.mark.parametrize("name", CORRUPTIONS)
@pytest.mark.parametrize("shape", [(8, 8), (1, 1), (13, 30), (64, 48)])
def test_shape_and_input_stay(name, shape):
    image = photo(*shape)
    before = image.copy()
    for severity in SEVERITIES:
        corrupted = CORRUPTIONS[name](image, severity, keyed_rng(0, name, 1, "a"))
        assert corrupted.shape == image.shape
        assert corrupted.dtype == np.uint8
    np.testing.assert_array_equal(image, before)


# The others move pixels or colours, in ways that are not ordered by this distance.
ORDERED = [
    name
    for name in CORRUPTIONS
    if name
    not in {
        *("glass_blur", "snow", "frost", "fog", "elastic_transform", "pixelate"),
        *("jpeg_compression", "spatter", "saturate", "motion_blur", "defocus_blur"),
    }
]


@pytest.mark.parametrize("name", ORDERED)
@pytest.mark.parametrize("side", [8, 32, 96])
def test_each_severity_moves_further_from_the_image(name, side):
    # Eight pixels of a photograph are nearly flat; of a digit they are not.
    image = open_dataset("digits")[0].image if side == 8 else photo(side, side)
    distances = [0.0]
    for severity in SEVERITIES:
        draws = [
            CORRUPTIONS[name](image, severity, keyed_rng(0, name, severity, str(i)))
            for i in range(1 if side > 100 else 20)
        ]
        distances.append(np.abs(np.stack(draws).astype(float) - image).mean())
    assert np.all(np.diff(distances) > 0)


def test_digits_c_is_harder_at_every_severity():
    """By the nearest mean of the clean training images, averaged over corruptions."""

    def pixels(address):
        source = open_dataset(address)
        images = [source[i].image.astype(float).ravel() for i in range(len(source))]
        return np.stack(images), source.labels

    images, labels = pixels("digits@train")
    means = np.stack([images[labels == c].mean(axis=0) for c in range(8)])

    def accuracy(address):
        images, labels = pixels(address)
        nearest = ((images[:, None] - means) ** 2).sum(axis=-1).argmin(axis=1)
        return (nearest == labels).mean()

    accuracies = [accuracy("digits@test")] + [
        np.mean([accuracy(f"digits-c/{name}_{s}") for name in ORDERED])
        for s in SEVERITIES
    ]
    assert np.all(np.diff(accuracies) < 0), accuracies
    assert accuracies[0] > 0.85
    # Hard, and yet better than guessing among eight.
    assert 0.2 < accuracies[-1] < accuracies[0] - 0.1


@pytest.mark.parametrize("name", CORRUPTIONS)
def test_the_same_for_every_order_and_thread_count(name):
    source = open_dataset(f"digits-c/{name}_3")
    wanted = load_images(source, SPEC, num_threads=1)
    rows = np.random.default_rng(0).permutation(len(source))[:100]
    shuffled = load_images(take(source, rows), SPEC, num_threads=8)
    np.testing.assert_array_equal(shuffled.images, wanted.images[rows])
    shards = [
        np.concatenate([b.images for b in BatchLoader(source, SPEC, 34, shard_index=i,
                                                      shard_count=2)])
        for i in range(2)
    ]  # fmt: skip
    np.testing.assert_array_equal(shards[0][:17], wanted.images[:17])
    np.testing.assert_array_equal(shards[1][:17], wanted.images[17:34])
    assert source.ids == open_dataset("digits@test").ids
    np.testing.assert_array_equal(source.labels, open_dataset("digits@test").labels)


PINNED = {
    "gaussian_noise": "a2391feb74ff",
    "shot_noise": "a2d052d2944d",
    "impulse_noise": "b836a1dc3bb5",
    "defocus_blur": "6913d55e229e",
    "glass_blur": "9269386b2c31",
    "motion_blur": "9a52e55686de",
    "zoom_blur": "6c7aec9c5f60",
    "snow": "3a41693e7c6f",
    "frost": "302f9085739e",
    "fog": "40d68f74ee76",
    "brightness": "242b3b310068",
    "contrast": "c8a52e425be5",
    "elastic_transform": "b7d5df3de55a",
    "pixelate": "5ebd1632c70f",
    "speckle_noise": "263d7f582f1c",
    "gaussian_blur": "51a325785975",
    "spatter": "58f7eb58ee15",
    "saturate": "c2a4f390bcb5",
}


# JPEG's depend on the encoder that is installed.
@pytest.mark.parametrize("name", PINNED)
def test_pixels_are_pinned(name):
    """Across NumPy and Pillow releases and machines: recorded numbers depend on it."""
    images = load_images(take(open_dataset(f"digits-c/{name}_3"), 50), SPEC).images
    assert hashlib.sha256(images.tobytes()).hexdigest()[:12] == PINNED[name]


def test_examples_severities_and_seeds_draw_anew():
    def noise(**changes):
        key = {"seed": 0, "corruption": "shot_noise", "severity": 1, "id": "a"}
        return tuple(keyed_rng(**key | changes).random_sample(4))

    changes = ({}, {"seed": 1}, {"corruption": "x"}, {"severity": 2}, {"id": "b"})
    draws = {noise(**change) for change in changes}
    assert len(draws) == 5
    assert noise() == noise()


def test_noise_has_the_strength_it_says():
    grey = np.full((200, 200, 3), 128, np.uint8)
    rng = keyed_rng(0, "x", 1, "a")
    noisy = CORRUPTIONS["gaussian_noise"](grey, 1, rng) / 255
    # 120,000 draws: standard errors of 2e-4; rounding to bytes adds less.
    assert noisy.std() == pytest.approx(0.08, abs=1e-3)
    shot = CORRUPTIONS["shot_noise"](grey, 1, rng) / 255
    assert shot.std() == pytest.approx(np.sqrt(128 / 255 / 60), abs=1e-3)
    salted = CORRUPTIONS["impulse_noise"](grey, 5, rng)
    assert (salted == 255).mean() == pytest.approx(0.135, abs=3e-3)
    assert (salted == 0).mean() == pytest.approx(0.135, abs=3e-3)


def test_blur_is_the_separable_gaussian():
    image = photo(12, 17)
    sigma = 0.61 + (3 - 0.61) * 12 / 224
    reach = int(4 * sigma + 0.5)

    def matrix(length):
        weights = np.zeros((length, length))
        for row in range(length):
            for step in range(-reach, reach + 1):
                column = min(max(row + step, 0), length - 1)
                weights[row, column] += np.exp(-(step**2) / (2 * sigma**2))
        return weights / weights.sum(axis=1, keepdims=True)

    blurred = np.einsum("ij,jkc,lk->ilc", matrix(12), image / 255, matrix(17))
    wanted = blurred * 255
    result = gaussian_blur(image, 3, keyed_rng(0, "x", 3, "a"))
    assert np.abs(result - wanted).max() <= 0.5 + 1e-6  # rounded to bytes


def test_any_source_can_be_corrupted(tmp_path, write_tree, photos):
    photos["cat/00.jpg"] = b"no image"
    folder = open_dataset(f"folder:{write_tree(tmp_path / 'photos', photos)}")
    corrupted = CorruptedSource(folder, "contrast", 2)
    assert corrupted.name == f"{folder.name}[contrast_2]"
    assert corrupted.fingerprint != folder.fingerprint
    assert corrupted[1].image.shape == (10, 19, 3)
    assert corrupted[1][1:] == folder[1][1:]
    with pytest.raises(DecodeError, match=r"cannot read image 'cat/00.jpg'"):
        corrupted[0]


def test_unknown_corruptions_and_severities():
    source = ArraySource("a", photo()[None], [0])
    with pytest.raises(UserError, match=r"did you mean 'gaussian_.*severity is 6"):
        CorruptedSource(source, "gausian_blur", 6)
