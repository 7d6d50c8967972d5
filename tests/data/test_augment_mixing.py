"""Random erasing, Mixup and CutMix against their rules in plain NumPy."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from jaxbench.data import mix, random_erasing

# Noise never hits it.
BLANK = jnp.full((1200, 24, 32, 3), 7.0)


def same_distribution(ours, theirs):
    """Kolmogorov and Smirnov's test of two samples, at 0.1 %."""
    return stats.ks_2samp(ours, theirs).pvalue > 1e-3


def rectangles(masks):
    """Height and width of each mask's bounding box, which it must fill."""
    rows, columns = masks.any(axis=2), masks.any(axis=1)
    np.testing.assert_array_equal(masks, rows[:, :, None] & columns[:, None, :])
    for line in (rows, columns):
        # Not more than one beginning and one end: the box is in one piece.
        assert (np.abs(np.diff(line.astype(int), axis=1)).sum(axis=1) <= 2).all()
    return rows.sum(axis=1), columns.sum(axis=1)


def timm_rectangle(rng, height, width):
    """timm's rule, one try after the other."""
    for _ in range(10):
        area = rng.uniform(0.02, 1 / 3) * height * width
        aspect = np.exp(rng.uniform(np.log(0.3), np.log(1 / 0.3)))
        h, w = round(np.sqrt(area * aspect)), round(np.sqrt(area / aspect))
        if w < width and h < height:
            return h, w, rng.integers(height - h + 1), rng.integers(width - w + 1)
    return 0, 0, 0, 0


@pytest.fixture(scope="module")
def half_erased():
    return np.asarray(random_erasing(BLANK, jax.random.key(0), probability=0.5))


def test_erased_rectangles_are_timms(half_erased):
    erased = half_erased != 7
    masks = erased.any(axis=3)
    np.testing.assert_array_equal(erased.all(axis=3), masks)
    hit = masks.any(axis=(1, 2))
    assert 0.44 < hit.mean() < 0.56  # sd 0.014
    heights, widths = rectangles(masks[hit])
    share = heights * widths / (24 * 32)
    # Each side is rounded by half a pixel at most.
    slack = (heights + widths) / 2 / (24 * 32)
    assert (share > 0.02 - slack).all()
    assert (share < 1 / 3 + slack).all()
    assert heights.max() < 24
    rng = np.random.default_rng(0)
    wanted = np.array([timm_rectangle(rng, 24, 32) for _ in range(4000)]).T
    ours = (heights, widths, masks[hit].any(2).argmax(1), masks[hit].any(1).argmax(1))
    assert all(map(same_distribution, ours, wanted))
    assert same_distribution(share, wanted[0] * wanted[1] / (24 * 32))


def test_erased_pixels_are_normal_noise_for_each_value(half_erased):
    noise = half_erased[:200][half_erased[:200] != 7].reshape(-1, 3)
    assert len(noise) > 5000
    assert stats.kstest(noise.ravel(), "norm").pvalue > 1e-3
    assert np.abs(np.corrcoef(noise.T) - np.eye(3)).max() < 0.05


def test_erasing_is_keyed_by_row(key):
    images = BLANK[:16].astype(jnp.bfloat16)
    result = random_erasing(images, key)
    assert result.dtype == jnp.bfloat16
    np.testing.assert_array_equal(result, random_erasing(images, key))
    assert not np.array_equal(result, random_erasing(images, jax.random.key(1)))
    keys = jnp.stack([key, jax.random.key(1)])
    members = jax.vmap(random_erasing, (None, 0))(images[:5], keys)
    for member, member_key in zip(members, keys, strict=True):
        np.testing.assert_array_equal(member, random_erasing(images, member_key)[:5])


def test_erasing_leaves_what_no_rectangle_fits(key):
    one = jnp.full((20, 1, 1, 3), 7.0)
    # A share of at least 0.9 rounds to one pixel, which is not less than the side.
    kept = random_erasing(one, key, probability=1.0, area=(0.9, 1.0), ratio=(1.0, 1.0))
    np.testing.assert_array_equal(kept, one)
    images = BLANK[:20]
    np.testing.assert_array_equal(random_erasing(images, key, probability=0.0), images)


def test_erasing_errors_are_named_together(key):
    with pytest.raises(
        ValueError,
        match=r"probability is -0.1.*; area is \(0.5, 0.2\).*; ratio is \(0, 1\)",
    ):
        random_erasing(BLANK[:1], key, probability=-0.1, area=(0.5, 0.2), ratio=(0, 1))


# Row 0 is all own (0), its partner row 1 all other (1): a mean is a share.
PAIR = jnp.stack([jnp.zeros((12, 16, 1)), jnp.ones((12, 16, 1))])
NUMBER = 3000


def mixed_pairs(**arguments):
    keys = jax.random.split(jax.random.key(0), NUMBER)
    return jax.vmap(lambda key: mix(PAIR, key, **arguments))(keys)


def timm_share(rng, height, width, alpha):
    """What CutMix leaves of the own image, by timm's rule."""
    side = np.sqrt(1 - rng.beta(alpha, alpha))
    h, w = int(height * side), int(width * side)
    y, x = rng.integers(height), rng.integers(width)
    rows = np.clip(y + (h + 1) // 2, 0, height) - np.clip(y - h // 2, 0, height)
    columns = np.clip(x + (w + 1) // 2, 0, width) - np.clip(x - w // 2, 0, width)
    return 1 - rows * columns / (height * width)


def pixels(share):
    """Whole numbers, in which equal shares are equal whatever their type."""
    return np.round(np.asarray(share) * 12 * 16)


def test_mixing_switches_between_both_kinds(key):
    mixed = mixed_pairs(
        mixup_alpha=0.8, cutmix_alpha=1.0, switch_probability=0.3, probability=0.9
    )
    assert mixed.weight.dtype == jnp.float32
    assert mixed.partner.dtype == jnp.int32
    assert (mixed.partner == jnp.array([[1, 0]])).all()
    assert (mixed.weight[:, 0] == mixed.weight[:, 1]).all()
    weight, other = (
        np.asarray(mixed.weight[:, 0]),
        np.asarray(mixed.images[:, 0, ..., 0]),
    )
    # The label's share is the image's, whatever was done. float32 means of 192 values.
    np.testing.assert_allclose(weight, 1 - other.mean(axis=(1, 2)), atol=1e-6)
    np.testing.assert_array_equal(
        other == 0, np.asarray(mixed.images[:, 1, ..., 0]) == 1
    )
    untouched = weight == 1
    blended = ((other > 0) & (other < 1)).any(axis=(1, 2))
    pasted = ~untouched & ~blended
    assert abs(blended.mean() - 0.9 * 0.7) < 0.03  # sd 0.009
    # A box that has no pixel, 1 % here, looks untouched.
    assert abs(pasted.mean() - 0.9 * 0.3) < 0.03
    assert abs(untouched.mean() - 0.1) < 0.03
    assert stats.kstest(weight[blended], stats.beta(0.8, 0.8).cdf).pvalue > 1e-3
    rectangles(other[pasted] == 1)
    rng = np.random.default_rng(0)
    shares = np.array([timm_share(rng, 12, 16, 1.0) for _ in range(4000)])
    assert same_distribution(pixels(weight[pasted]), pixels(shares[shares < 1]))


def test_one_alpha_alone_is_one_kind(key):
    mixup = mixed_pairs(mixup_alpha=0.2, cutmix_alpha=0.0).weight[:, 0]
    assert stats.kstest(mixup, stats.beta(0.2, 0.2).cdf).pvalue > 1e-3
    cutmix = mixed_pairs(mixup_alpha=0, cutmix_alpha=0.5)
    assert np.isin(cutmix.images, [0.0, 1.0]).all()
    rng = np.random.default_rng(0)
    shares = [timm_share(rng, 12, 16, 0.5) for _ in range(4000)]
    assert same_distribution(pixels(cutmix.weight[:, 0]), pixels(shares))


def test_mixtures_are_those_of_numpy(key):
    rows, dtype = 5, jnp.bfloat16
    images = jax.random.normal(key, (rows, 6, 10, 3), dtype)
    exact = np.asarray(images, np.float64)
    labels = np.eye(4)[np.arange(rows) % 4]
    step = partial(mix, mixup_alpha=1.0, cutmix_alpha=1.0)
    mixtures = [step(images, jax.random.key(seed)) for seed in range(6)]
    kinds = set()
    for mixed in mixtures:
        assert mixed.images.dtype == dtype
        partner, weight = np.asarray(mixed.partner), np.float64(mixed.weight[0])
        np.testing.assert_array_equal(partner, np.arange(rows)[::-1])
        result = np.asarray(mixed.images, np.float64)
        is_other = (result == exact[partner]).all(axis=(0, 3))
        is_own = (result == exact).all(axis=(0, 3))
        kinds.add(is_own.any())
        if is_own.any():
            assert (is_own | is_other).all()
            wanted = is_own.mean()
            assert weight == pytest.approx(wanted, abs=1e-6)  # float32
        else:
            blend = weight * exact + (1 - weight) * exact[partner]
            # Float32 sums, rounded to eight bits.
            np.testing.assert_allclose(result, blend, rtol=2**-8, atol=1e-6)
        targets = weight * labels + (1 - weight) * labels[partner]
        np.testing.assert_allclose(targets.sum(axis=1), 1)
    assert kinds == {True, False}
    again = step(images, jax.random.key(0))
    jax.tree.map(np.testing.assert_array_equal, again, mixtures[0])


def test_mixing_errors_are_named_together(key):
    with pytest.raises(ValueError, match="both 0, which mixes nothing"):
        mix(PAIR, key, mixup_alpha=0.0, cutmix_alpha=0)
    with pytest.raises(
        ValueError,
        match=r"mixup_alpha is -1, wanted 0 or more; cutmix_alpha is nan.*; "
        "switch_probability is 2, wanted 0 to 1; probability is -1",
    ):
        mix(
            PAIR,
            key,
            mixup_alpha=-1,
            cutmix_alpha=float("nan"),
            switch_probability=2,
            probability=-1,
        )
