import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats

from jaxbench.metrics import (
    METRICS,
    OOD_METRICS,
    bootstrap_intervals,
    bootstrap_ood_intervals,
    catalog,
    intervals,
    mcnemar,
    paired_bootstrap,
    score_examples,
    summarize,
)
from jaxbench.metrics.ranked import count_ties
from tests.reference import metrics as reference


@jax.jit
def measure_drawn(key, scores):
    """The weights of a resample in sorted order, and the metrics under them."""
    ordered = catalog.sort_scores(scores)
    weights = intervals.draw_weights(key, ordered.ranking.valid)
    counts = count_ties(ordered.ranking, weights)
    return weights, catalog.measure(ordered, counts, tuple(METRICS))


@pytest.mark.parametrize("name", ["random", "tied", "saturated", "all right"])
def test_metrics_under_weights_are_those_of_the_resampled_rows(name, cases):
    # Every fifth row does not count; the 160 others are drawn from.
    mask = np.arange(200) % 5 > 0
    held = np.maximum(np.cumsum(mask) - 1, 0)
    scores = jax.tree.map(
        lambda column: np.asarray(column)[held], score_examples(*cases[name])
    )
    scores = scores._replace(mask=mask)
    keys = (
        ~mask,
        scores.log_one_minus_confidence,
        scores.correct,
        scores.correct_top5,
        scores.nll,
        scores.brier,
        scores.confidence,
    )
    order = np.lexsort(keys[::-1])
    for seed in range(4):
        weights, found = measure_drawn(jax.random.key(seed), scores)
        assert weights.sum() == mask.sum() == 160
        assert weights.max() > 1
        rows = np.repeat(order, np.asarray(weights))
        assert mask[rows].all()
        literal = jax.tree.map(lambda column, rows=rows: column[rows], scores)
        for metric, value in summarize(literal).items():
            # Sums in another order; whole counts agree exactly.
            exact = metric.startswith("coverage") or "accuracy" in metric
            expected = pytest.approx(
                float(value),
                rel=0 if exact else 2e-6,
                abs=0 if exact else 1e-6,
                nan_ok=True,
            )
            assert float(found[metric]) == expected, (seed, metric)


def test_draws_are_multinomial(key):
    valid = np.arange(40) % 2 == 0
    draw = jax.jit(jax.vmap(intervals.draw_weights, in_axes=(0, None)))
    weights = np.asarray(draw(jax.random.split(key, 4000), jnp.asarray(valid)))
    assert (weights.sum(1) == 20).all()
    assert (weights[:, 1::2] == 0).all()
    counts = weights[:, ::2]
    # Mean 1, variance 1 - 1/20, covariance -1/20; 4000 draws give 0.016 of error.
    np.testing.assert_allclose(counts.mean(0), 1.0, atol=0.08)
    np.testing.assert_allclose(counts.var(0), 0.95, atol=0.12)
    assert np.cov(counts.T)[0, 1] == pytest.approx(-0.05, abs=0.06)


def test_intervals_agree_with_a_float64_bootstrap(cases, key):
    case = cases["random"]
    found = bootstrap_intervals(score_examples(*case), key=key, num_resamples=200)
    assert list(found) == list(METRICS)
    rng = np.random.default_rng(0)
    for name in ("accuracy", "nll", "auroc", "aurc", "ece"):
        values = []
        for _ in range(300):
            rows = rng.integers(0, 160, 160)
            twin = reference.REFERENCES[name](case.logits[rows], case.labels[rows])
            values.append(twin)
        low, high = np.quantile(values, [0.025, 0.975])
        # 200 and 300 resamples place an end to about 0.06 of the interval's width.
        tolerance = 0.25 * (high - low)
        assert float(found[name][0]) == pytest.approx(low, abs=tolerance), name
        assert float(found[name][1]) == pytest.approx(high, abs=tolerance), name


def test_intervals_hold_the_estimate_and_shrink_with_the_level(cases, key):
    scores = score_examples(*cases["random"])
    wide = bootstrap_intervals(scores, key=key, num_resamples=200)
    narrow = bootstrap_intervals(scores, key=key, num_resamples=200, level=0.5)
    for name in ("accuracy", "nll", "brier", "auroc", "aurc"):
        low, high = map(float, narrow[name])
        assert wide[name][0] < low < float(summarize(scores)[name]) < high
        assert high < wide[name][1]


def test_order_of_the_rows_changes_no_interval(cases, key):
    case = cases["tied"]
    order = np.random.default_rng(5).permutation(160)
    plain, shuffled = (
        bootstrap_intervals(scores, key=key, num_resamples=200)
        for scores in (
            score_examples(*case),
            score_examples(case.logits[order], case.labels[order]),
        )
    )
    for name in METRICS:
        np.testing.assert_array_equal(shuffled[name], plain[name])


def test_neither_padding_nor_chunks_change_an_interval(cases, pad, key, monkeypatch):
    case = cases["tied"]
    plain = bootstrap_intervals(score_examples(*case), key=key, num_resamples=200)
    padded, mask = pad(case, 23)
    longer = score_examples(*padded, mask=mask)
    # 200 resamples in 29 chunks of seven; the last fills up.
    monkeypatch.setattr(intervals, "_ROWS_IN_FLIGHT", 183 * 7)
    compiled = intervals._bootstrap._cache_size()
    found = bootstrap_intervals(longer, key=key, num_resamples=200)
    assert intervals._bootstrap._cache_size() == compiled + 1  # and so in chunks
    for name in METRICS:
        np.testing.assert_allclose(found[name], plain[name], 2e-6, 1e-6, err_msg=name)


def test_chunks_change_no_draw(key, monkeypatch):
    def draw():
        mapped = jax.jit(lambda key: intervals._map_keys(jax.random.bits, key, 50, 40))
        return np.asarray(mapped(key))

    whole = draw()
    assert len(set(whole.tolist())) == 50
    monkeypatch.setattr(intervals, "_ROWS_IN_FLIGHT", 40 * 7)
    np.testing.assert_array_equal(draw(), whole)


def test_bootstrap_compiles_once_a_shape(cases, key):
    bootstrap_intervals(score_examples(*cases["random"]), key=key, num_resamples=200)
    compiled = intervals._bootstrap._cache_size()
    for seed in (3, 4):
        other = score_examples(*cases["tied"])
        bootstrap_intervals(
            other, key=jax.random.key(seed), num_resamples=200, level=0.9
        )
    assert intervals._bootstrap._cache_size() == compiled


def test_broken_row_spoils_intervals_even_where_resamples_miss_it(cases, key):
    case = cases["random"]
    logits = case.logits.copy()
    logits[0, 0] = np.nan
    scores = score_examples(logits, case.labels)
    found = bootstrap_intervals(scores, key=key, num_resamples=200)
    for name, ends in found.items():
        finite = name in ("accuracy", "top_5_accuracy")
        assert np.isfinite(ends).all() == finite, name


def test_undefined_resamples_are_left_out(key):
    # One wrong row of eight: a third of the resamples have no wrong row at all.
    mask = np.arange(160) < 8
    logits = np.zeros((160, 10), np.float32)
    logits[np.arange(8), np.arange(8)] = np.arange(1, 9)
    labels = np.where(mask, np.arange(160), 0).astype(np.int32)
    labels[0] = 1
    scores = score_examples(logits, labels, mask=mask)
    assert np.asarray(scores.correct)[mask].sum() == 7
    found = bootstrap_intervals(scores, key=key, num_resamples=200)
    assert np.isfinite(found["auroc"]).all()
    # Such resamples were among them: all eight right.
    assert found["accuracy"][1] == 1.0


def test_ood_intervals_hold_the_estimate(cases, ood_logits, key):
    id_scores = score_examples(*cases["random"])
    ood_scores = score_examples(ood_logits, np.full(90, -1, np.int32))
    found = bootstrap_ood_intervals(id_scores, ood_scores, key=key, num_resamples=200)
    assert list(found) == list(OOD_METRICS)
    estimate = catalog.summarize_ood(id_scores, ood_scores)
    rng = np.random.default_rng(0)
    for name, (low, high) in found.items():
        assert low < estimate[name] < high, name
        values = [
            reference.OOD_REFERENCES[name](
                cases["random"].logits[rng.integers(0, 160, 160)],
                ood_logits[rng.integers(0, 90, 90)],
            )
            for _ in range(40)
        ]
        # The spread of 40 values is known to about a tenth, an interval's to a fifth.
        assert float(high - low) == pytest.approx(3.92 * np.std(values), rel=0.5), name


def test_paired_bootstrap_measures_the_difference(key):
    rng = np.random.default_rng(0)
    common = rng.normal(size=300) * 10
    a = (common + rng.normal(size=300) * 0.1 + 0.05).astype(np.float32)
    b = common.astype(np.float32)
    found = paired_bootstrap(a, b, key=key)
    assert float(found.difference) == pytest.approx((a - b).mean(), rel=1e-5)
    error = (a - b).std() / np.sqrt(300)
    assert float(found.low) == pytest.approx(
        (a - b).mean() - 1.96 * error, abs=error / 4
    )
    assert float(found.high) == pytest.approx(
        (a - b).mean() + 1.96 * error, abs=error / 4
    )
    assert float(found.p_value) == pytest.approx(2 / 1001)
    swapped = paired_bootstrap(b, a, key=key)
    assert float(swapped.difference) == -float(found.difference)


def test_paired_p_value_is_that_of_the_z_test(key):
    rng = np.random.default_rng(1)
    a, b = rng.normal(size=(2, 300)).astype(np.float32)
    a += np.float32(b.mean() - a.mean() + 0.1)
    found = paired_bootstrap(a, b, key=key)
    expected = 2 * scipy.stats.norm.sf(0.1 / ((a - b).std() / np.sqrt(300)))
    # Twice a share near 0.1 of 1000 resamples has a standard error of 0.02.
    assert float(found.p_value) == pytest.approx(expected, abs=0.06)


def test_paired_bootstrap_of_equal_models_finds_nothing(key):
    values = np.random.default_rng(0).random(300).astype(np.float32)
    found = paired_bootstrap(values, values, key=key)
    assert tuple(map(float, found)) == (0, 0, 0, 1)


def test_paired_bootstrap_skips_masked_rows_and_flags_nan(key):
    values = np.random.default_rng(0).random((2, 300)).astype(np.float32)
    mask = np.arange(300) % 7 > 0
    junk = np.where(mask, values, np.float32(np.nan))
    found = paired_bootstrap(*junk, key=key, mask=mask)
    expected = (values[0] - values[1])[mask].mean()
    assert float(found.difference) == pytest.approx(expected, rel=1e-5)
    np.testing.assert_array_equal(found, paired_bootstrap(*values, key=key, mask=mask))
    assert np.isnan(paired_bootstrap(*junk, key=key)).all()


# One shape: every pair of counts is a mask on this many rows.
INDEX = np.arange(1_000_000)


def outcomes(only_a, only_b):
    first = only_a > INDEX
    return first, ~first & (only_a + only_b > INDEX)


@pytest.mark.parametrize(
    ("only_a", "only_b"),
    [
        *[(0, 0), (1, 0), (0, 1), (3, 3), (0, 5), (2, 9), (40, 61), (500, 499)],
        *[(12, 90), (1000, 1100), (1900, 2100), (0, 60), (1, 100), (300, 500)],
    ],
)
def test_mcnemar_is_the_exact_binomial_test(only_a, only_b):
    a, b = outcomes(only_a, only_b)
    twin = reference.mcnemar(a, b)
    assert float(mcnemar(a, b)) == pytest.approx(twin, rel=1e-4)
    assert float(mcnemar(b, a)) == pytest.approx(twin, rel=1e-4)


@pytest.mark.parametrize(
    ("only_a", "only_b"),
    [
        *[(200_500, 199_500), (499_999, 500_001), (20_000, 21_000)],
        *[(480_000, 484_000), (495_000, 505_000), (0, 100)],
    ],
)
def test_mcnemar_holds_for_a_million_images(only_a, only_b):
    # From p = 1 down to p = 1e-30.
    exact = scipy.stats.binomtest(min(only_a, only_b), only_a + only_b).pvalue
    assert float(mcnemar(*outcomes(only_a, only_b))) == pytest.approx(exact, rel=1e-4)


def test_mcnemar_skips_masked_rows():
    a, b = outcomes(1000, 1100)
    twin = reference.mcnemar(*outcomes(0, 1100))
    assert float(mcnemar(a, b, mask=INDEX >= 1000)) == pytest.approx(twin, rel=1e-4)
    assert float(mcnemar(a, b, mask=INDEX >= 2100)) == 1.0


def test_settings_out_of_range_are_refused_together(cases, key):
    scores = score_examples(*cases["random"])
    with pytest.raises(ValueError, match=r"(?s)num_resamples is 0.*level is 95"):
        bootstrap_intervals(scores, key=key, num_resamples=0, level=95.0)
    with pytest.raises(ValueError, match="did you mean 'aurc'"):
        bootstrap_intervals(scores, ("aurcc",), key=key)
    nothing = scores._replace(mask=np.zeros(160, bool))
    with pytest.raises(ValueError, match="excludes all 160 rows"):
        bootstrap_intervals(nothing, key=key)
