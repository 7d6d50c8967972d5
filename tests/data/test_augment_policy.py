"""RandAugment against Pillow's own operations, and how it draws them."""

from functools import partial
from itertools import product

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image, ImageEnhance, ImageOps

from jaxbench.data import rand_augment
from jaxbench.data.augment.operations import KEEP, OPERATIONS, apply_operations
from jaxbench.data.augment.policy import draw_operations

FILL = (124, 116, 104)
OUTSIDE = {"fillcolor": FILL, "resample": Image.Resampling.BILINEAR}
LEVELS = (0, 1, 2.5, 4.999, 5, 7, 8.7, 9, 9.8, 10)


def affine(image, *matrix):
    return image.transform(image.size, Image.Transform.AFFINE, matrix, **OUTSIDE)


def solarize_add(image, add):
    return image.point([min(255, i + add) if i < 128 else i for i in range(256)] * 3)


def posterize(image, bits):
    # Pillow 13 refuses 0 bits; before, it gave black.
    return ImageOps.posterize(image, bits) if bits else Image.new("RGB", image.size)


def factor(m):
    return max(0.1, 1 + m / 10 * 0.9)


# fn(image, m): m is the magnitude, negative for the negative direction. timm's levels.
PILLOW = {
    "auto_contrast": lambda i, m: ImageOps.autocontrast(i),
    "equalize": lambda i, m: ImageOps.equalize(i),
    "invert": lambda i, m: ImageOps.invert(i),
    "rotate": lambda i, m: i.rotate(m / 10 * 30, **OUTSIDE),
    "posterize": lambda i, m: posterize(i, 4 - int(abs(m) / 10 * 4)),
    "solarize": lambda i, m: ImageOps.solarize(i, 256 - int(abs(m) / 10 * 256)),
    "solarize_add": lambda i, m: solarize_add(i, int(abs(m) / 10 * 110)),
    "color": lambda i, m: ImageEnhance.Color(i).enhance(factor(m)),
    "contrast": lambda i, m: ImageEnhance.Contrast(i).enhance(factor(m)),
    "brightness": lambda i, m: ImageEnhance.Brightness(i).enhance(factor(m)),
    "sharpness": lambda i, m: ImageEnhance.Sharpness(i).enhance(factor(m)),
    "shear_x": lambda i, m: affine(i, 1, m / 10 * 0.3, 0, 0, 1, 0),
    "shear_y": lambda i, m: affine(i, 1, 0, 0, m / 10 * 0.3, 1, 0),
    "translate_x": lambda i, m: affine(i, 1, 0, m / 10 * 0.45 * i.width, 0, 1, 0),
    "translate_y": lambda i, m: affine(i, 1, 0, 0, 0, 1, m / 10 * 0.45 * i.height),
}
APPLY = jax.jit(partial(apply_operations, fill=FILL))
# Whole-number arithmetic on both sides.
EXACT = ("equalize", "invert", "posterize", "solarize", "solarize_add")


def pictures(height, width):
    """Noise, something smooth in full range, the same pale, and one gray."""
    rng = np.random.default_rng(0)
    y, x = np.mgrid[:height, :width]
    waves = [
        np.sin(a * x / width + b * y / height) for a, b in ((3, 5), (6, 2), (1, 9))
    ]
    smooth = 127 + 100 * np.stack(waves, -1) + rng.normal(0, 8, (height, width, 3))
    smooth = np.clip(smooth, 0, 255)
    flat = np.full_like(smooth, 77)
    noise = rng.integers(0, 256, smooth.shape)
    return [np.uint8(values) for values in (noise, smooth, smooth // 3 + 40, flat)]


@pytest.fixture(scope="module", params=[(24, 40), (7, 5)])
def results(request):
    """Every operation at every level on every picture, as one batch: {name: results}.

    Results are (picture, signed magnitude, ours). The batch is mixed on purpose: each
    image must get its own operation.
    """
    signed = [sign * level for level in LEVELS for sign in (1, -1)]
    cases = list(product(OPERATIONS, pictures(*request.param), signed))
    ours = APPLY(
        jnp.asarray(np.stack([picture for _, picture, _ in cases])),
        jnp.asarray([OPERATIONS.index(name) for name, _, _ in cases]),
        jnp.asarray([abs(m) for _, _, m in cases], jnp.float32),
        jnp.asarray([m < 0 for _, _, m in cases]),
    )
    found = {name: [] for name in OPERATIONS}
    for (name, picture, m), result in zip(cases, np.asarray(ours), strict=True):
        found[name].append((picture, m, result))
    return found


def picture_size(results):
    height, width, _ = results["invert"][0][0].shape
    return height * width


@pytest.mark.parametrize("name", OPERATIONS)
def test_operations_are_pillows(name, results):
    wanted = [
        np.asarray(PILLOW[name](Image.fromarray(picture), m))
        for picture, m, _ in results[name]
    ]
    ours = np.stack([result for _, _, result in results[name]])
    gap = np.abs(ours.astype(int) - np.stack(wanted))
    # Pillow cuts off fractions: a value that is whole but for rounding may land on
    # either side. About one in 100 is, where a shift is a whole number of tenths.
    assert gap.max() <= (0 if name in EXACT else 1)
    assert (gap > 0).mean() < 0.02
    does_something = any(
        (want != picture).any()
        for want, (picture, _, _) in zip(wanted, results[name], strict=True)
    )
    # Equalizing needs 256 pixels.
    assert does_something or (name == "equalize" and picture_size(results) < 256)


ROWS = 150


def apply(images, operations, magnitude):
    """One compiled program for all: every second row in the negative direction."""
    return np.asarray(
        APPLY(
            jnp.asarray(images),
            jnp.asarray(operations),
            jnp.full(ROWS, magnitude),
            jnp.arange(ROWS) % 2 == 1,
        )
    )


def test_auto_contrast_differs_from_pillow_only_in_whole_quotients():
    rng = np.random.default_rng(0)
    bounds = np.sort(rng.integers(0, 256, (ROWS, 2, 3)), axis=1)
    pictures = rng.integers(bounds[:, :1], bounds[:, 1:] + 1, (ROWS, 24 * 24, 3))
    pictures[:, :2] = bounds
    images = np.uint8(pictures.reshape(ROWS, 24, 24, 3))
    ours = apply(images, np.full(ROWS, OPERATIONS.index("auto_contrast")), 0.0)
    for picture, limits, result in zip(pictures, bounds, np.asarray(ours), strict=True):
        image = Image.fromarray(np.uint8(picture.reshape(24, 24, 3)))
        gap = result.reshape(-1, 3) - np.asarray(
            ImageOps.autocontrast(image), int
        ).reshape(-1, 3)
        low, span = limits[0], np.maximum(limits[1] - limits[0], 1)
        whole = (picture - low) * 255 % span == 0
        assert ((gap == 0) | ((gap == 1) & whole)).all()


TWO_WAYS = ("rotate", "color", "contrast", "brightness", "sharpness")
TWO_WAYS += ("shear_x", "shear_y", "translate_x", "translate_y")


def test_all_operations_are_drawn_alike_in_both_directions(key):
    # Levels of 5 to 196, so that no two operations do the same.
    picture = pictures(24, 24)[1] // 4 * 3 + 5
    rows = jnp.broadcast_to(picture, (1500, 24, 24, 3))
    drawn = rand_augment(
        rows, key, magnitude_std=0.0, num_ops=1, probability=1.0, fill=FILL
    )
    repeated = np.broadcast_to(picture, (ROWS, 24, 24, 3))
    known = apply(repeated, np.arange(ROWS) // 2 % len(OPERATIONS), 9.0)[:30]
    known = np.int16(known.reshape(30, -1))
    flat = np.asarray(drawn, np.int16).reshape(1500, -1)
    # One level, for two programs that may contract a product and a sum or not.
    matches = np.stack([np.abs(flat - one).max(axis=1) <= 1 for one in known], axis=1)
    assert matches.any(axis=1).all()
    counts = np.bincount(np.argmax(matches, axis=1), minlength=30).reshape(15, 2)
    # 100 expected of each; chi-squared with 14 degrees, 99.9 % below 36.1.
    assert ((counts.sum(axis=1) - 100) ** 2 / 100).sum() < 36.1
    both = [counts[OPERATIONS.index(name)] for name in TWO_WAYS]
    assert min(np.min(pair) for pair in both) > 20
    assert 0.44 < np.sum(both, axis=0)[0] / np.sum(both) < 0.56  # 900 draws: sd 0.017


def test_each_of_two_operations_is_left_out_half_of_the_time(key):
    rows = jnp.broadcast_to(jnp.asarray(pictures(24, 24)[2]), (1500, 24, 24, 3))
    kept = (rand_augment(rows, key) == rows).all(axis=(1, 2, 3))
    # A quarter, and inverted twice; were the two draws one, it would be a half.
    assert 0.21 < kept.mean() < 0.30  # sd 0.011
    np.testing.assert_array_equal(
        rand_augment(rows[:9], key, probability=0.0), rows[:9]
    )


def test_magnitudes_are_normal_and_clipped(key):
    operations, strengths, _ = draw_operations(
        key, num_ops=4000, magnitude=9, magnitude_std=0.5, probability=0.7
    )
    assert abs((operations == KEEP).mean() - 0.3) < 0.03  # sd 0.007
    assert operations.min() == 0
    assert strengths.dtype == jnp.float32
    quantiles = np.quantile(strengths, [0.023, 0.159, 0.5, 0.841])
    # Mean -2, -1, 0 and +1 standard deviations; the first one's sd is 0.02.
    np.testing.assert_allclose(quantiles, [8.0, 8.5, 9.0, 9.5], atol=0.08)
    assert strengths.max() == 10
    assert 0.013 < (strengths == 10).mean() < 0.033  # beyond +2 sd: 0.023, sd 0.0024


def test_what_comes_in_has_the_fill_colour():
    black = np.zeros((ROWS, 24, 24, 3), np.uint8)
    moved = apply(black, np.full(ROWS, OPERATIONS.index("translate_x")), 10.0)
    # By 10.8 of 24 columns, from the right and from the left.
    assert (moved[0, :, 13:] == FILL).all()
    assert (moved[0, :, :13] == 0).all()
    np.testing.assert_array_equal(moved[1], moved[0, :, ::-1])


def test_errors_are_named_together(key):
    images = jnp.zeros((1, 4, 4, 3), jnp.uint8)
    with pytest.raises(
        ValueError,
        match=r"magnitude is 11, wanted 0 to 10; magnitude_std is -1.*; num_ops is -2"
        r".*; probability is 1.5, wanted 0 to 1; fill is \(0, 0, 256\)",
    ):
        rand_augment(
            images,
            key,
            magnitude=11,
            magnitude_std=-1,
            num_ops=-2,
            probability=1.5,
            fill=(0, 0, 256),
        )
    with pytest.raises(ValueError, match="magnitude is nan"):
        rand_augment(images, key, magnitude=float("nan"))
