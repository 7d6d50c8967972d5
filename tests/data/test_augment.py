from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxbench.data import AUGMENTATIONS, augment, random_crop, random_flip
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


@pytest.mark.parametrize("name", AUGMENTATIONS)
def test_every_augmentation(name, key):
    fn = AUGMENTATIONS[name]
    result = fn(IMAGES, key)
    assert result.shape == IMAGES.shape
    assert result.dtype == jnp.uint8
    np.testing.assert_array_equal(result, fn(IMAGES, key))
    assert not np.array_equal(result, fn(IMAGES, jax.random.key(1)))
    # A row depends on its place and the key, not on the number of rows.
    np.testing.assert_array_equal(fn(IMAGES[:5], key), result[:5])
    np.testing.assert_array_equal(jax.jit(fn)(IMAGES, key), result)
    # One population member a key.
    keys = jax.random.split(key, 3)
    members = jax.vmap(fn, (None, 0))(IMAGES, keys)
    for member, member_key in zip(members, keys, strict=True):
        np.testing.assert_array_equal(member, fn(IMAGES, member_key))


def test_one_compilation_for_all_keys(key):
    traces = []

    @jax.jit
    def step(images, key):
        traces.append(images.shape)
        return augment(images, key, tuple(AUGMENTATIONS))

    for number in range(3):
        step(IMAGES, jax.random.fold_in(key, number))
    assert len(traces) == 1


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
