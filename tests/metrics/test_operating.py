import jax
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxbench.metrics.operating import GuaranteedThreshold, guaranteed_threshold
from tests.reference import operating as reference

# One shape for nearly all: masked rows make the shorter ones.
ROWS = 400
LOOSE = {"accuracy": 0.8, "delta": 0.1}


def draw(seed, *, rows=ROWS, levels=None, steepness=1.0):
    """Confidences in [0, 1], and errors that grow rarer as they rise."""
    rng = np.random.default_rng(seed)
    confidence = rng.random(rows)
    if levels:
        confidence = np.round(confidence * levels) / levels
    correct = rng.random(rows) < 1 - 0.5 * (1 - confidence) ** steepness
    return confidence.astype(np.float32), correct


def assert_same(found, twin):
    if twin is None:
        assert not found.feasible
        assert float(found.threshold) == np.inf
        assert float(found.coverage) == 0.0
        assert np.isnan([found.risk, found.risk_bound]).all()
        return
    assert found.feasible
    assert [float(found.threshold)] == [twin[0]]
    np.testing.assert_allclose(found[1:4], twin[1:], rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("settings", [LOOSE, {"accuracy": 0.95}, {"accuracy": 0.6}])
@pytest.mark.parametrize("levels", [None, 50, 5, 1])
def test_threshold_is_that_of_the_float64_search(settings, levels):
    settings = {"delta": 0.001} | settings
    for seed in range(6):
        confidence, correct = draw(seed, levels=levels, steepness=2.0)
        found = guaranteed_threshold(confidence, correct, **settings)
        assert_same(
            found, reference.guaranteed_threshold(confidence, correct, **settings)
        )


@settings(max_examples=80, deadline=None)
@given(
    blocks=st.lists(
        st.tuples(st.integers(1, 80), st.integers(0, 80)), min_size=1, max_size=10
    ),
    scale=st.sampled_from([1.0, 1e-30, -1e30]),
)
def test_any_blocks_are_searched_alike(blocks, scale):
    # (rows, wrong ones) of blocks of equal confidence, cut at ROWS; the rest is masked
    # and holds rubbish.
    sizes = np.array([size for size, _ in blocks])
    levels = np.repeat(np.arange(len(blocks)), sizes)[:ROWS]
    wrong = np.concatenate([np.arange(s) < w for s, w in blocks])[:ROWS]
    confidence = (levels.astype(np.float32) * np.float32(scale)).astype(np.float32)
    padding = ROWS - len(levels)
    found = guaranteed_threshold(
        np.pad(confidence, (0, padding), constant_values=np.nan),
        np.pad(~wrong, (0, padding)),
        mask=np.arange(ROWS) < len(levels),
        **LOOSE,
    )
    assert_same(found, reference.guaranteed_threshold(confidence, ~wrong, **LOOSE))


@pytest.mark.parametrize("rows", [1, 15, 16, 17, 255, 256, 257])
def test_every_number_of_rows_reaches_both_ends(rows):
    # Powers of two are where the number of tests steps.
    mask = np.arange(ROWS) < rows
    confidence = np.arange(ROWS, dtype=np.float32)
    for correct in (np.ones(ROWS, bool), np.zeros(ROWS, bool)):
        found = guaranteed_threshold(confidence, correct, mask=mask, **LOOSE)
        twin = reference.guaranteed_threshold(
            confidence[:rows], correct[:rows], **LOOSE
        )
        assert_same(found, twin)
    # All right: everything is answered as soon as there is enough of it.
    found = guaranteed_threshold(confidence, np.ones(ROWS, bool), mask=mask, **LOOSE)
    enough = 0.8**rows <= 0.1 / np.ceil(np.log2(rows + 1))
    assert float(found.coverage) == float(enough)


def test_true_risk_exceeds_the_target_in_at_most_delta_of_draws():
    # Risk of answering above t is the mean of 0.5 (1 - c) over c > t: 0.25 (1 - t).
    draws, delta, target = 1500, 0.3, 0.1
    rng = np.random.default_rng(0)
    confidence = rng.random((draws, ROWS), np.float32)
    correct = rng.random((draws, ROWS)) > 0.5 * (1 - confidence)

    options = {"accuracy": 1 - target, "delta": delta}
    search = jax.jit(jax.vmap(lambda c, r: guaranteed_threshold(c, r, **options)))
    found = search(confidence, correct)
    for i in range(5):
        alone = guaranteed_threshold(confidence[i], correct[i], **options)
        np.testing.assert_allclose([c[i] for c in found], alone, rtol=1e-6)
    answered = np.asarray(found.feasible)
    true_risk = 0.25 * (1 - np.asarray(found.threshold, np.float64))
    failures = (answered & (true_risk > target)).mean()
    # Three standard errors of slack; the union bound keeps it well below.
    assert 0 < failures <= delta + 3 * np.sqrt(delta / draws)
    assert answered.mean() > 0.2
    assert (np.asarray(found.risk_bound)[answered] <= target * 1.00001).all()

    # The test would notice: the largest coverage with the target on these examples,
    # which promises nothing, fails in more than half of the draws.
    order = np.argsort(-confidence, axis=1)
    wrong = np.cumsum(~np.take_along_axis(correct, order, axis=1), axis=1)
    kept = wrong <= target * np.arange(1, ROWS + 1)
    naive = np.where(kept, np.arange(1, ROWS + 1), 0).max(axis=1) / ROWS
    assert (0.25 * naive > target).mean() > delta + 0.1


def test_order_of_the_rows_changes_nothing():
    confidence, correct = draw(3, levels=30)
    order = np.random.default_rng(0).permutation(ROWS)
    plain = guaranteed_threshold(confidence, correct, **LOOSE)
    shuffled = guaranteed_threshold(confidence[order], correct[order], **LOOSE)
    np.testing.assert_array_equal(shuffled, plain)


def test_answers_nothing_it_cannot_know_under_jit():
    confidence, correct = draw(0)

    @jax.jit
    def every(confidence, mask):
        return guaranteed_threshold(confidence, correct, mask=mask, **LOOSE)

    broken = confidence.copy()
    broken[7] = np.nan
    for found in (
        every(broken, np.ones(ROWS, bool)),
        every(confidence, np.zeros(ROWS, bool)),
    ):
        assert isinstance(found, GuaranteedThreshold)
        assert np.isnan(found[:4]).all()
        assert not found.feasible


def test_arguments_that_make_no_sense_are_refused():
    confidence, correct = draw(0)
    with pytest.raises(ValueError, match="accuracy is 1"):
        guaranteed_threshold(confidence, correct, accuracy=1.0)
    with pytest.raises(ValueError, match="delta is 0"):
        guaranteed_threshold(confidence, correct, accuracy=0.9, delta=0.0)
    with pytest.raises(ValueError, match="excludes all 400 rows"):
        guaranteed_threshold(
            confidence, correct, accuracy=0.9, mask=np.zeros(ROWS, bool)
        )
    confidence[0] = np.nan
    with pytest.raises(ValueError, match="confidence is NaN in 1"):
        guaranteed_threshold(confidence, correct, accuracy=0.9)
