import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from jaxbench.metrics import resampling, stability
from jaxbench.metrics.stability import (
    RankStability,
    rank_stability,
    rank_stability_of_resamples,
)
from tests.reference import statistics as reference

# One shape for most tests: a shape costs a compilation.
MODELS, IMAGES, DRAWS = 7, 100, 300
EVERY = np.ones(IMAGES, bool)


def zoo(values, models=MODELS, images=IMAGES, seed=0):
    """Values with equal models and equal means among them."""
    rng = np.random.default_rng(seed)
    drawn = rng.choice(values, (models, images)).astype(np.float32)
    drawn[4] = drawn[1]
    drawn[5] = drawn[2][::-1]
    return drawn


ZOOS = {
    "correct": (zoo([0.0, 1.0]), True),
    # Binary fractions: their sums are exact, so that ties agree with the twin's.
    "nll": (zoo(np.arange(24) / 8, seed=1), False),
    "signed": (zoo([-2.0, -0.0, 0.0, 1 / 1024], seed=2), True),
    "all equal": (np.full((MODELS, IMAGES), 0.5, np.float32), False),
}


def agrees(found, twin):
    for name, expected in twin.items():
        value = getattr(found, name)
        np.testing.assert_allclose(value, expected, rtol=2e-6, atol=1e-6, err_msg=name)


def measure(values, key, *, higher_is_better, mask=EVERY, level=0.95):
    return rank_stability(
        values,
        key=key,
        higher_is_better=higher_is_better,
        num_resamples=DRAWS,
        level=level,
        mask=mask,
    )


@pytest.mark.parametrize("name", ZOOS)
def test_places_are_those_of_literally_resampled_images(name, key):
    values, higher = ZOOS[name]
    mask = np.arange(IMAGES) % 4 > 0
    junk = np.where(mask, values, np.float32(np.nan))
    found = measure(junk, key, higher_is_better=higher, mask=mask, level=0.8)
    images, valid = stability._sort_images(jnp.array(junk), jnp.array(mask))
    assert valid.tolist() == [True] * 75 + [False] * 25
    assert sorted(images[:, :75].T.tolist()) == sorted(values[:, mask].T.tolist())
    draw = jax.jit(jax.vmap(resampling.draw_weights, (0, None)))
    weights = draw(jax.random.split(key, DRAWS), valid)
    resampled = reference.resampled_means(images, np.asarray(weights))
    estimate = values[:, mask].astype(np.float64).mean(axis=1)
    agrees(found, reference.rank_stability(resampled, estimate, higher, 0.8))


@settings(max_examples=60, deadline=None)
@given(
    resampled=arrays.arrays(
        np.float32,
        (5, 4),
        elements=st.sampled_from([-np.inf, 0.0, 0.1, 0.3, np.inf, np.nan]),
    ),
    estimate=arrays.arrays(
        np.float32, 4, elements=st.sampled_from([0.0, 0.1, 0.3, np.inf])
    ),
    higher=st.booleans(),
)
def test_any_metric_under_ties_and_undefined_resamples(resampled, estimate, higher):
    found = rank_stability_of_resamples(
        resampled, estimate, higher_is_better=higher, level=0.9
    )
    if np.isnan(resampled).any(axis=1).all():
        assert found.rank.tolist() == reference.places(estimate, higher)
        assert all(np.isnan(part).all() for part in found[1:])
        return
    # Infinite values keep their order as large ones; their difference is a number.
    finite = np.clip(resampled, -1e30, 1e30).astype(np.float64)
    agrees(found, reference.rank_stability(finite, estimate, higher, 0.9))


def test_shares_add_up(key):
    values, _ = ZOOS["correct"]
    found = measure(values, key, higher_is_better=True)
    assert float(found.rank.sum()) == MODELS * (MODELS + 1) / 2
    assert float(found.top.sum()) == pytest.approx(1, rel=1e-5)
    np.testing.assert_allclose(found.win + found.win.T, 1, rtol=1e-6)
    assert (found.low <= found.high).all()
    # Models 1 and 4 are the same model.
    for part in (found.rank, found.keep_place, found.low, found.high, found.top):
        assert part[1] == part[4]
    assert float(found.win[1, 4]) == pytest.approx(0.5, rel=1e-6)
    np.testing.assert_array_equal(
        np.delete(found.win[1], [1, 4]), np.delete(found.win[4], [1, 4])
    )
    # Without a mask, every image counts.
    same = rank_stability(values, key=key, higher_is_better=True, num_resamples=DRAWS)
    jax.tree.map(np.testing.assert_array_equal, same, found)


def test_win_is_the_normal_tail_of_the_paired_difference(key):
    rng = np.random.default_rng(3)
    # What the models have in common is large, and cancels.
    common = rng.normal(size=IMAGES) * 20
    values = (common + rng.normal(size=(MODELS, IMAGES))).astype(np.float32)
    values[2:] -= 100
    difference = (values[0] - values[1]).astype(np.float64)
    error = difference.std() / np.sqrt(IMAGES)
    values[0] += np.float32(error - difference.mean())
    found = measure(values, key, higher_is_better=True)
    # A share of 300 resamples is known to 0.02.
    assert float(found.win[0, 1]) == pytest.approx(scipy.stats.norm.cdf(1), abs=0.06)
    # Of two models, a place is kept by winning; the others are far behind.
    np.testing.assert_allclose(found.keep_place[:2], found.win[0, 1], rtol=1e-6)
    np.testing.assert_allclose(found.top[:2], found.win[[0, 1], [1, 0]], rtol=1e-6)
    assert not found.top[2:].any()
    assert found.rank[:2].tolist() == [1, 2]
    # As losses, the same models win in reverse.
    losses = measure(values, key, higher_is_better=False)
    np.testing.assert_allclose(losses.win, found.win.T, rtol=1e-6)
    assert losses.rank.tolist() == (MODELS + 1 - found.rank).tolist()


def test_order_of_the_images_changes_nothing(key):
    for values, higher in ZOOS.values():
        plain = measure(values, key, higher_is_better=higher)
        order = np.random.default_rng(6).permutation(IMAGES)
        shuffled = measure(values[:, order], key, higher_is_better=higher)
        jax.tree.map(np.testing.assert_array_equal, shuffled, plain)


def test_images_are_weighed_by_which_model_is_right():
    # Two models, each right on half of the images: sums alone would tie them all.
    values = np.zeros((MODELS, IMAGES), np.float32)
    values[0, ::2] = values[1, 1::2] = 1
    images, _ = stability._sort_images(jnp.array(values), jnp.array(EVERY))
    assert np.abs(np.diff(images[0])).sum() == 1


def test_order_of_the_models_changes_no_place():
    rng = np.random.default_rng(7)
    resampled = rng.integers(0, 5, (DRAWS, MODELS)).astype(np.float32)
    estimate = np.array([3, 1, 2, 2, 3, 3, 0], np.float32)
    order = rng.permutation(MODELS)
    plain, moved = (
        rank_stability_of_resamples(
            resampled[:, models], estimate[models], higher_is_better=True
        )
        for models in (np.arange(MODELS), order)
    )
    assert plain.rank.tolist() == [2, 6, 4.5, 4.5, 2, 2, 7]
    for name in set(RankStability._fields) - {"win", "top"}:
        np.testing.assert_array_equal(getattr(moved, name), getattr(plain, name)[order])
    np.testing.assert_array_equal(moved.win, plain.win[order][:, order])
    np.testing.assert_allclose(moved.top, plain.top[order], rtol=1e-6)


def test_neither_padding_nor_blocks_change_a_place(key, monkeypatch):
    values, higher = ZOOS["nll"]
    plain = measure(values, key, higher_is_better=higher)
    mask = np.arange(IMAGES + 3) >= 3
    padded = np.concatenate([np.full((MODELS, 3), np.nan, np.float32), values], axis=1)
    # 300 draws in blocks of 43 (the last fills up), each made in chunks of at most 9,
    # and models compared one by one.
    monkeypatch.setattr(stability, "_DRAWS_IN_FLIGHT", (IMAGES + 3) * 44)
    monkeypatch.setattr(resampling, "_ROWS_IN_FLIGHT", (IMAGES + 3) * 9)
    monkeypatch.setattr(stability, "_compare", stability._compare.__wrapped__)
    found = measure(padded, key, higher_is_better=higher, mask=mask)
    jax.tree.map(np.testing.assert_array_equal, found, plain)


def test_broken_model_leaves_no_ranking(key):
    values, _ = ZOOS["nll"]
    inside = jax.jit(lambda values: measure(values, key, higher_is_better=False))
    for junk in (np.nan, np.inf):
        broken = values.copy()
        broken[2, 3] = junk
        with pytest.raises(ValueError, match=r"values of 1 of 7 models .* row 2;"):
            measure(broken, key, higher_is_better=False)
        assert all(np.isnan(part).all() for part in inside(broken))
        mask = np.arange(IMAGES) != 3
        found = measure(broken, key, higher_is_better=False, mask=mask)
        assert all(np.isfinite(part).all() for part in found)
    resampled, estimate = np.zeros((5, 4), np.float32), np.arange(4, dtype=np.float32)
    estimate[1] = np.nan

    def compare(estimate):
        return rank_stability_of_resamples(resampled, estimate, higher_is_better=True)

    with pytest.raises(ValueError, match=r"estimate of 1 of 4 models .* row 1;"):
        compare(estimate)
    assert all(np.isnan(part).all() for part in jax.jit(compare)(estimate))


def test_one_model_is_first():
    found = rank_stability_of_resamples(
        np.arange(5, dtype=np.float32)[:, None],
        np.zeros(1, np.float32),
        higher_is_better=False,
    )
    assert [part.ravel().tolist() for part in found] == [[1], [1], [1], [1], [0.5], [1]]


def test_transforms(key):
    values = np.stack([ZOOS["nll"][0], ZOOS["signed"][0], ZOOS["correct"][0]])
    masks = np.stack([EVERY, np.arange(IMAGES) % 3 > 0, ~EVERY])

    @jax.jit
    @jax.vmap
    def mapped(values, mask):
        return measure(values, key, higher_is_better=False, mask=mask)

    found = mapped(values, masks)
    for i in range(2):
        one = measure(values[i], key, higher_is_better=False, mask=masks[i])
        for name, part in one._asdict().items():
            value = getattr(found, name)[i]
            np.testing.assert_allclose(value, part, rtol=1e-6, err_msg=name)
    # No image counts, which a mask known only when run cannot refuse.
    assert all(np.isnan(part[2]).all() for part in found)


def test_bad_settings_are_refused(key):
    values, _ = ZOOS["nll"]
    with pytest.raises(ValueError, match=r"(?s)num_resamples is 0.*level is 95"):
        rank_stability(
            values, key=key, higher_is_better=True, num_resamples=0, level=95.0
        )
    with pytest.raises(ValueError, match="a model or more"):
        rank_stability(values[:0], key=key, higher_is_better=True)
    with pytest.raises(ValueError, match="excludes all 100 rows"):
        rank_stability(values, key=key, higher_is_better=True, mask=~EVERY)
    with pytest.raises(ValueError, match="0 rows"):
        rank_stability(values[:, :0], key=key, higher_is_better=True)
    with pytest.raises(ValueError, match="num_resamples is 0"):
        rank_stability_of_resamples(
            np.zeros((0, 2), np.float32), np.zeros(2, np.float32), higher_is_better=True
        )
