from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

from jaxbench.data import (
    AUGMENTATIONS,
    augment,
    rand_augment,
    random_crop,
    random_flip,
    random_resized_crop,
)
from jaxbench.data.augment.crops import part_to_enlarge
from jaxbench.errors import UserError

IMAGES = jnp.asarray(
    np.random.default_rng(0).integers(0, 256, (64, 8, 8, 3)).astype(np.uint8)
)


def windows(image, padding, mode):
    """Every window that a padded crop can cut out, as NumPy pads."""
    widths = ((padding, padding), (padding, padding), (0, 0))
    padded = np.pad(np.asarray(image), widths, mode=mode)
    offsets = range(2 * padding + 1)
    return [padded[t : t + 8, left : left + 8] for t in offsets for left in offsets]


@pytest.mark.parametrize("mode", ["reflect", "constant"])
def test_crops_are_windows_of_the_padded_image_and_all_occur(mode, key):
    image = jnp.broadcast_to(IMAGES[0], (400, 8, 8, 3))
    cropped = np.asarray(random_crop(image, key, padding=2, mode=mode))
    possible = {w.tobytes(): i for i, w in enumerate(windows(IMAGES[0], 2, mode))}
    drawn = [possible[c.tobytes()] for c in cropped]  # KeyError: not a window
    counts = np.bincount(drawn, minlength=25)
    # 16 expected of each of 25; chi-squared with 24 degrees, 99.9 % below 51.2.
    assert ((counts - 16) ** 2 / 16).sum() < 51.2


def test_flips_mirror_half_of_the_images(key):
    images = jnp.broadcast_to(IMAGES[0], (1000, 8, 8, 3))
    flipped = np.asarray(random_flip(images, key))
    mirrored = (flipped == np.asarray(IMAGES[0])[:, ::-1]).all(axis=(1, 2, 3))
    same = (flipped == np.asarray(IMAGES[0])).all(axis=(1, 2, 3))
    assert (mirrored ^ same).all()
    assert 430 < mirrored.sum() < 570  # 500 with a standard deviation of 16


EVERY = {**AUGMENTATIONS, "rand_augment": rand_augment}


@pytest.mark.parametrize("name", EVERY)
def test_every_augmentation(name, key):
    fn = EVERY[name]
    result = fn(IMAGES, key)
    assert result.shape == IMAGES.shape
    assert result.dtype == jnp.uint8
    np.testing.assert_array_equal(result, fn(IMAGES, key))
    assert not np.array_equal(result, fn(IMAGES, jax.random.key(1)))
    # One population member a key; and a row depends on its place and the key, not on
    # the number of rows.
    keys = jnp.stack([key, jax.random.key(1)])
    members = jax.vmap(fn, (None, 0))(IMAGES[:5], keys)
    for member, member_key in zip(members, keys, strict=True):
        np.testing.assert_array_equal(member, fn(IMAGES, member_key)[:5])


def test_one_compilation_for_all_keys(key):
    traces = []

    @jax.jit
    def step(images, key):
        traces.append(images.shape)
        return augment(images, key, tuple(AUGMENTATIONS))

    for number in range(3):
        result = step(IMAGES, jax.random.fold_in(key, number))
    assert len(traces) == 1
    # Within another program they do what they do alone.
    alone = augment(IMAGES, jax.random.fold_in(key, 2), tuple(AUGMENTATIONS))
    np.testing.assert_array_equal(result, alone)


def test_augment_is_one_after_the_other_with_own_keys(key):
    wanted = random_flip(IMAGES, jax.random.fold_in(key, 0))
    wanted = AUGMENTATIONS["crop"](wanted, jax.random.fold_in(key, 1))
    np.testing.assert_array_equal(augment(IMAGES, key, ("flip", "crop")), wanted)
    assert augment(IMAGES, key, ()) is IMAGES
    twice = augment(IMAGES, key, ("shift", "shift"))
    assert not np.array_equal(twice, augment(IMAGES, key, ("shift",)))


@pytest.mark.parametrize(("side", "padding"), [(32, 4), (8, 1), (5, 1)])
def test_crop_pads_an_eighth(side, padding, key):
    images = jnp.resize(IMAGES, (16, side, side, 3))
    wanted = random_crop(images, key, padding=padding)
    np.testing.assert_array_equal(AUGMENTATIONS["crop"](images, key), wanted)


def test_errors(key):
    with pytest.raises(UserError, match=r"'flop'; did you mean 'flip'.*'crup'; did"):
        augment(IMAGES, key, ("flop", "crop", "crup"))
    with pytest.raises(ValueError, match=r"padding is 8, wanted 0 or more.* at most 7"):
        random_crop(IMAGES, key, padding=8)
    with pytest.raises(ValueError, match="padding is -1"):
        random_crop(IMAGES, key, padding=-1, mode="constant")
    assert random_crop(IMAGES, key, padding=9, mode="constant").shape == IMAGES.shape


def test_a_crop_without_padding_changes_nothing(key):
    unpadded = partial(random_crop, padding=0)
    np.testing.assert_array_equal(unpadded(IMAGES, key), IMAGES)


def boxes_of(keys, height, width, scale=(0.08, 1.0), ratio=(3 / 4, 4 / 3)):
    draw = partial(part_to_enlarge, size=(height, width), scale=scale, ratio=ratio)
    return np.stack(jax.jit(jax.vmap(draw))(keys), axis=1)


@pytest.mark.parametrize(
    ("interpolation", "height", "width"),
    [("bilinear", 31, 47), ("bicubic", 31, 47), ("bicubic", 8, 8)],
)
def test_resized_crops_are_pillows(interpolation, height, width, key):
    rng = np.random.default_rng(1)
    images = rng.integers(0, 256, (40, height, width, 3)).astype(np.uint8)
    resize = partial(random_resized_crop, interpolation=interpolation)
    resized = np.asarray(resize(jnp.asarray(images), key)).astype(int)
    row_keys = jax.vmap(partial(jax.random.fold_in, key))(jnp.arange(40))
    boxes = boxes_of(row_keys, height, width)
    assert len(np.unique(boxes, axis=0)) > 30
    for image, result, (top, left, h, w) in zip(images, resized, boxes, strict=True):
        part = Image.fromarray(image[top : top + h, left : left + w])
        filter = Image.Resampling[interpolation.upper()]
        wanted = np.asarray(part.resize((width, height), filter)).astype(int)
        # A bilinear sum lies halfway between two levels in one pixel of about 60 (the
        # weights' denominator), and Pillow's weights of 22 bits decide which it takes.
        assert np.abs(result - wanted).max() <= 1
        assert (result != wanted).mean() < 0.02


def torchvision_box(rng, height, width, scale, ratio):
    """The published rule in NumPy float64, one try after the other."""
    for _ in range(10):
        area = height * width * rng.uniform(*scale)
        aspect = np.exp(rng.uniform(*np.log(ratio)))
        w, h = round(np.sqrt(area * aspect)), round(np.sqrt(area / aspect))
        if 0 < w <= width and 0 < h <= height:
            return rng.integers(height - h + 1), rng.integers(width - w + 1), h, w
    w, h = width, height
    if width / height < ratio[0]:
        h = round(w / ratio[0])
    elif width / height > ratio[1]:
        w = round(h * ratio[1])
    return (height - h) // 2, (width - w) // 2, h, w


@pytest.mark.parametrize(
    ("height", "width", "scale"),
    # In the wide image most tries fail.
    [(32, 32, (0.08, 1.0)), (20, 40, (0.5, 1.0))],
)
def test_resized_crops_boxes_are_torchvisions(height, width, scale, key):
    number = 4000
    ratio = (3 / 4, 4 / 3)
    drawn = boxes_of(jax.random.split(key, number), height, width, scale, ratio)
    rng = np.random.default_rng(0)
    wanted = np.array(
        [torchvision_box(rng, height, width, scale, ratio) for _ in range(number)]
    )
    assert (drawn.min(axis=0) >= [0, 0, 1, 1]).all()
    assert (drawn[:, :2] + drawn[:, 2:] <= [height, width]).all()
    measures = [*drawn.T, drawn[:, 2] * drawn[:, 3]]
    for ours, theirs in zip(
        measures, [*wanted.T, wanted[:, 2] * wanted[:, 3]], strict=True
    ):
        # Two samples' distribution functions: 99.9 % stay below 1.95 sqrt(2 / n).
        places = np.union1d(ours, theirs)
        gap = [np.mean(ours <= p) - np.mean(theirs <= p) for p in places]
        assert np.abs(gap).max() < 1.95 * np.sqrt(2 / number)


@pytest.mark.parametrize(
    ("height", "width", "wanted"),
    [(8, 64, (0, 26, 8, 11)), (64, 8, (26, 0, 11, 8))],
)
def test_after_ten_misfits_the_centre_is_cut(height, width, wanted, key):
    # All of the area, at an aspect ratio that the image has not.
    boxes = boxes_of(
        jax.random.split(key, 50), height, width, (1.0, 1.0), (0.75, 4 / 3)
    )
    np.testing.assert_array_equal(boxes, np.broadcast_to(wanted, boxes.shape))


def test_resized_crop_errors_are_named_together(key):
    with pytest.raises(
        ValueError, match=r"scale is \(0, 1\), wanted .* 0 < low.*; ratio is \(2, 1\)"
    ):
        random_resized_crop(IMAGES, key, scale=(0, 1), ratio=(2, 1))
    with pytest.raises(ValueError, match=r"scale is \(0.5, 1.5\)"):
        random_resized_crop(IMAGES, key, scale=(0.5, 1.5))
