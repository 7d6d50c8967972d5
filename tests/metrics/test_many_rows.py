"""Sums over millions of rows, against float64: 1e-6 of the value, at any number."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxbench.metrics import (
    ClassificationState,
    ExampleScores,
    expected_calibration_error,
    smooth_calibration_error,
)
from jaxbench.metrics.binning import upper_edges
from jaxbench.metrics.ranked import (
    Ranking,
    count_ties,
    harmonic_between,
    ramp_between,
    running_sum,
    weighted_mean,
)
from jaxbench.metrics.ranking import auroc_of_counts
from jaxbench.metrics.selective import (
    augrc_of_counts,
    aurc_of_counts,
    excess_augrc_of_counts,
    excess_aurc_of_counts,
)
from jaxbench.metrics.smooth import MESH_SIZE, place_on_mesh, smooth_error_at
from jaxbench.metrics.sums import accurate_sum, scatter_sum

ROWS = 4_000_000


@pytest.fixture(scope="module")
def ranked():
    """Rows in order already: sorting them takes a minute, and rounds nothing."""
    rng = np.random.default_rng(0)
    right = rng.random(ROWS) < np.linspace(0.999, 0.6, ROWS)
    place = np.arange(ROWS, dtype=np.int32)
    # Blocks of 1 to 7 rows that tie.
    starts = np.r_[True, rng.random(ROWS - 1) < 0.4]
    first = np.maximum.accumulate(np.where(starts, place, 0))
    ends = np.r_[starts[1:], True]
    last = np.minimum.accumulate(np.where(ends, place, ROWS)[::-1])[::-1]
    everything = np.ones(ROWS, bool)
    return Ranking(
        *map(jnp.asarray, (right, everything, first, last)),
        has_ties=jnp.array(True),
        comparable=jnp.array(True),
    )


@pytest.fixture(scope="module")
def twins(ranked):
    """AURC and the others in float64, a tied block in the mean over its orders."""
    right, first, last = (
        np.asarray(x) for x in (ranked.correct, ranked.first, ranked.last)
    )
    before = np.r_[0, np.cumsum(~right)].astype(np.float64)
    size = (last + 1 - first).astype(np.float64)
    wrong = before[last + 1] - before[first]
    place = np.arange(1, ROWS + 1, dtype=np.float64)
    met = before[first] + (place - first) * wrong / size
    aurc = (met / place).mean()
    total = int(right.sum())
    late = np.arange(total + 1, ROWS + 1, dtype=np.float64)
    oracle = ((late - total) / late).sum() / ROWS
    inverted = (right * (before[first] + wrong / 2)).sum()
    errors = ROWS - total
    return {
        aurc_of_counts: aurc,
        excess_aurc_of_counts: aurc - oracle,
        auroc_of_counts: 1 - inverted / total / errors,
        excess_augrc_of_counts: inverted / ROWS**2,
        augrc_of_counts: inverted / ROWS**2 + (errors / ROWS) ** 2 / 2,
    }


def test_case_41_metrics_of_order_at_four_million_rows(ranked, twins):
    counts = jax.jit(count_ties)(ranked)
    for kernel, twin in twins.items():
        assert float(jax.jit(kernel)(counts)) == pytest.approx(twin, rel=5e-7)


def test_case_41_terms_of_the_risk_at_places_beyond_2_24():
    low = np.array([0, 3, 9, 1000, 16_777_217, 99_999_990, 99_990_000, 50_000_000])
    high = np.array([1, 20, 10, 1400, 16_777_218, 99_999_999, 100_000_000, 90_000_000])
    found = harmonic_between(*(jnp.asarray(x, jnp.int32) for x in (low, high)))
    risen = ramp_between(*(jnp.asarray(x, jnp.int32) for x in (low, high)))
    for start, end, one, other in zip(low, high, found, risen, strict=True):
        place = np.arange(start + 1, end + 1, dtype=np.float64)
        assert float(one) == pytest.approx((1 / place).sum(), rel=5e-7)
        assert float(other) == pytest.approx(((place - start) / place).sum(), rel=1e-6)


@pytest.fixture(scope="module")
def gaps():
    """Sums of them are a thousandth of the sum of their sizes."""
    rng = np.random.default_rng(1)
    confidence = np.repeat(np.float32([0.9, 0.8, 0.7]), [ROWS // 4, ROWS // 2, 1])
    confidence = np.r_[confidence, np.full(ROWS - len(confidence), 0.3, np.float32)]
    right = rng.random(ROWS) < confidence - 0.001
    # The worst order for a running sum: all the wrong ones of a confidence first.
    order = np.lexsort((right, -confidence))
    return confidence[order], right[order]


def test_case_41_means_and_running_sums_cancel_without_loss(gaps):
    confidence, right = gaps
    gap = (confidence - right).astype(np.float32)
    exact = np.cumsum(gap.astype(np.float64))
    assert float(jax.jit(accurate_sum)(gap)) == pytest.approx(exact[-1], rel=1e-6)
    sums = np.asarray(jax.jit(running_sum)(gap))
    scale = abs(exact[-1])
    np.testing.assert_allclose(sums[-1], exact[-1], rtol=1e-6)
    # Within a run of 16, float32's own rounding of the sum so far.
    np.testing.assert_allclose(sums, exact, rtol=2e-7, atol=1e-6 * scale)
    ones = jnp.ones(ROWS, jnp.int32)
    mean = float(jax.jit(weighted_mean)(jnp.asarray(confidence), ones))
    assert mean == pytest.approx(confidence.mean(dtype=np.float64), rel=1e-7)


def test_case_41_calibration_errors_of_tied_confidences(gaps):
    confidence, right = gaps
    gap = confidence.astype(np.float64) - right
    place = np.searchsorted(upper_edges(15), confidence)
    bins = np.bincount(place, gap)
    twin = np.abs(bins).sum() / ROWS
    assert float(expected_calibration_error(confidence, right)) == pytest.approx(
        twin, rel=1e-6
    )
    cell, share = (np.asarray(x) for x in place_on_mesh(jnp.asarray(confidence)))
    mesh = np.bincount(cell + 1, share * gap, MESH_SIZE)
    mesh += np.bincount(np.maximum(cell, 0), (1.0 - share) * gap, MESH_SIZE)
    residuals = jnp.asarray(mesh / ROWS, jnp.float32)
    found = float(smooth_calibration_error(confidence, right, bandwidth=0.1))
    twin = float(smooth_error_at(residuals, jnp.float32(0.1)))
    # A scatter sums 64 equal values in turn: 1e-6 of the mean size of a gap.
    assert found == pytest.approx(twin, abs=1e-6 * np.abs(gap).mean())


def test_case_41_a_scatter_of_equal_values():
    values = jnp.full(ROWS, 0.1, jnp.float32)
    found = jax.jit(lambda v: scatter_sum(jnp.zeros(ROWS, jnp.int32), v, 3))(values)
    assert float(found[0]) == pytest.approx(ROWS * float(np.float32(0.1)), rel=1e-6)
    assert not np.asarray(found[1:]).any()


def test_case_41_a_state_of_one_batch_and_of_many(gaps):
    confidence, right = gaps
    ones = np.ones(ROWS, bool)
    label = np.zeros(ROWS, np.int32)
    doubt = np.log1p(-confidence)
    nll = np.where(right, -np.log(confidence), 3.0).astype(np.float32)
    columns = (confidence, doubt, nll, nll, nll, *[confidence] * 3)
    scores = ExampleScores(label, label, right, label, *columns, ones, ones)
    update = jax.jit(ClassificationState.update)
    state = update(ClassificationState.empty(), scores)
    gap = confidence.astype(np.float64) - right
    bins = np.bincount(np.searchsorted(upper_edges(15), confidence), gap)
    found = state.compute()
    assert float(found["nll"]) == pytest.approx(nll.mean(dtype=np.float64), rel=1e-7)
    twin = np.abs(bins).sum() / ROWS
    assert float(found["ece"]) == pytest.approx(twin, rel=1e-6)
    # Three confidences are three bins of the histogram, which is exact then.
    falling = np.cumsum(gap)[np.flatnonzero(np.diff(confidence, append=2))]
    above = np.r_[0, falling[:-1]]
    twin = np.abs(falling[-1] - above).max() / ROWS
    assert float(found["ks_calibration_error"]) == pytest.approx(twin, rel=1e-6)
