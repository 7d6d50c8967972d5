"""Colour jitter, grayscale, blur and pairs of views against slow twins."""

import colorsys
import itertools
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxbench.data.augment.blur import blurred, gaussian_blur, simclr_kernel_size
from jaxbench.data.augment.jitter import (
    color_jitter,
    draw_jitter,
    jitter,
    random_grayscale,
)
from jaxbench.data.preprocess import normalize
from jaxbench.errors import UserError
from jaxbench.training.contrastive import Views, two_views
from model_zoo.input_spec import InputSpec

RNG = np.random.default_rng(0)
IMAGES = jnp.asarray(RNG.integers(0, 256, (24, 6, 7, 3)).astype(np.uint8))
PIXELS = np.asarray(IMAGES)
CHEAP = Views((1.0, 1.0), jitter=0.0, grayscale=0.5, blur=0.0)
LUMA = np.array([0.2989, 0.587, 0.114])


def torchvision_change(image, place, factor):
    """One change of an image in [0, 1], in float64."""
    gray = (image @ LUMA)[..., None]
    if place == 3:
        turned = [colorsys.rgb_to_hsv(*pixel) for pixel in image.reshape(-1, 3)]
        back = [colorsys.hsv_to_rgb((h + factor) % 1.0, s, v) for h, s, v in turned]
        return np.array(back).reshape(image.shape)
    start = {0: 0.0, 1: gray.mean(), 2: gray}[place]
    return np.clip(factor * image + (1 - factor) * start, 0, 1)


def test_jitter_is_torchvisions_formulas_in_every_order():
    orders = np.array(list(itertools.permutations(range(4))), np.int32)
    low, high = np.array([0.2, 0.2, 0.2, -0.2]), np.array([1.8, 1.8, 1.8, 0.2])
    factors = RNG.uniform(low, high, (24, 4)).astype(np.float32)
    found = np.asarray(jitter(IMAGES, jnp.asarray(orders), jnp.asarray(factors)))
    wanted = PIXELS / 255.0
    for row, order in enumerate(orders):
        for place in order:
            wanted[row] = torchvision_change(wanted[row], place, factors[row, place])
    # float32 can fall on the other side of a half: a level, and rarely.
    gap = np.abs(found.astype(int) - np.floor(255 * wanted + 0.5).astype(int))
    assert gap.max() <= 1
    assert (gap > 0).mean() < 0.01


def test_jitter_is_drawn_from_its_ranges():
    draw = partial(draw_jitter, strengths=(0.8, 0.4, 1.5), hue=0.2, probability=0.8)
    order, factors, applied = jax.vmap(draw)(jax.random.split(jax.random.key(1), 4800))
    low, high = np.array([0.2, 0.6, 0.0, -0.2]), np.array([1.8, 1.4, 2.5, 0.2])
    factors = np.asarray(factors)
    assert (factors >= low).all()
    assert (factors <= high).all()
    np.testing.assert_allclose(factors.mean(axis=0), (low + high) / 2, atol=0.03)
    _, counts = np.unique(np.asarray(order), axis=0, return_counts=True)
    assert len(counts) == 24
    # 200 expected of each; chi-squared with 23 degrees, 99.9 % below 49.7.
    assert ((counts - 200) ** 2 / 200).sum() < 49.7
    # 3840 expected, with a standard deviation of 28.
    assert abs(int(applied.sum()) - 3840) < 100


def test_a_jitter_of_no_strength_and_no_probability_changes_nothing(key):
    still = color_jitter(IMAGES, key, probability=0.0)
    np.testing.assert_array_equal(still, IMAGES)
    weak = {"brightness": 0, "contrast": 0, "saturation": 0, "hue": 0}
    found = color_jitter(IMAGES, key, **weak, probability=1.0)
    np.testing.assert_array_equal(found, IMAGES)
    assert not np.array_equal(color_jitter(IMAGES, key), IMAGES)


def test_grayscale_is_luma_for_a_share_of_the_images(key):
    found = np.asarray(random_grayscale(IMAGES, key, probability=1.0))
    wanted = np.floor(PIXELS.astype(np.float64) @ LUMA + 0.5)[..., None]
    assert (np.abs(found - wanted) <= 1).all()
    assert (found != wanted).mean() < 0.01
    many = jnp.broadcast_to(IMAGES[0], (2000, 6, 7, 3))
    gray = (
        np.ptp(np.asarray(random_grayscale(many, key)), axis=-1).max(axis=(1, 2)) == 0
    )
    # 400 expected, with a standard deviation of 18.
    assert abs(int(gray.sum()) - 400) < 65


@pytest.mark.parametrize("size", [3, 5, 9])
def test_blur_is_torchvisions_formula(size):
    deviations = RNG.uniform(0.1, 2.0, len(IMAGES)).astype(np.float32)
    found = np.asarray(blurred(IMAGES, jnp.asarray(deviations), size))
    radius = size // 2
    for image, deviation, result in zip(PIXELS, deviations, found, strict=True):
        weights = np.exp(-0.5 * (np.arange(-radius, radius + 1) / deviation) ** 2)
        weights /= weights.sum()
        wanted = image.astype(np.float64)
        for axis in (0, 1):
            widths = [(radius, radius) if a == axis else (0, 0) for a in range(3)]
            padded = np.pad(wanted, widths, mode="reflect")
            shape = wanted.shape[axis]
            parts = [padded.take(range(t, t + shape), axis) for t in range(size)]
            wanted = sum(w * part for w, part in zip(weights, parts, strict=True))
        # float32 can fall on the other side of a half.
        assert np.abs(result - np.floor(wanted + 0.5)).max() <= 1
        assert (result != np.floor(wanted + 0.5)).mean() < 0.02


def test_the_kernel_is_simclrs_and_tiny_images_stay_sharp(key):
    assert [simclr_kernel_size(n) for n in (224, 96, 64, 32, 8)] == [23, 9, 7, 3, 1]
    blurry = gaussian_blur(IMAGES, key, probability=1.0)
    np.testing.assert_array_equal(blurry, IMAGES)


EACH = [color_jitter, random_grayscale, partial(gaussian_blur, kernel_size=3)]


@pytest.mark.parametrize("function", EACH)
def test_a_row_depends_on_its_place_and_the_key_alone(function, key):
    found = np.asarray(function(IMAGES, key))
    assert found.dtype == np.uint8
    np.testing.assert_array_equal(found, function(IMAGES, key))
    np.testing.assert_array_equal(found[:5], function(IMAGES[:5], key))
    assert not np.array_equal(found, function(IMAGES, jax.random.key(5)))


def test_two_views_are_independent_and_normalised(key):
    spec = InputSpec((6, 7), mean=(0.1, 0.2, 0.3), std=(0.5, 0.6, 0.7))
    both = two_views(IMAGES, key, CHEAP, spec)
    assert both.shape == (48, 6, 7, 3)
    assert not np.array_equal(both[:24], both[24:])
    np.testing.assert_array_equal(both, two_views(IMAGES, key, CHEAP, spec))
    plain = Views((1.0, 1.0), flip=False, jitter=0.0, grayscale=0.0, blur=0.0)
    still = two_views(IMAGES, key, plain, spec)
    twice = jnp.concatenate([IMAGES, IMAGES])
    np.testing.assert_array_equal(still, normalize(twice, spec.mean, spec.std))


def test_all_misfits_are_reported_at_once(key):
    with pytest.raises(ValueError, match=r"hue is 0.6.*probability is 2"):
        color_jitter(IMAGES, key, hue=0.6, probability=2)
    with pytest.raises(ValueError, match=r"contrast is -1, wanted 0 or more"):
        color_jitter(IMAGES, key, contrast=-1)
    with pytest.raises(ValueError, match=r"sigma is \(0, 1\).*kernel_size is 13"):
        gaussian_blur(IMAGES, key, sigma=(0, 1), kernel_size=13)
    with pytest.raises(UserError, match=r"crop_scale is \(0.0, 1.0\).*blur is 1.5"):
        Views(crop_scale=(0.0, 1.0), blur=1.5)
