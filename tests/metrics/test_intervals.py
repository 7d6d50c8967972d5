import inspect

import jax
import numpy as np
import pytest

from jaxbench.metrics import (
    SCORE_METRICS,
    bootstrap_intervals,
    bootstrap_ood_intervals,
    intervals,
    resampling,
    samples,
    score_examples,
    summarize,
    summarize_ood,
    summary,
)
from tests.reference import metrics as reference

# One of each kind: the rest is compiled once, for the test over the whole table.
SOME = (
    *("accuracy", "top_5_accuracy", "nll", "brier", "ece", "auroc", "aurc"),
    *("coverage_at_95_accuracy", "mean_confidence"),
)


@jax.jit
def measure_drawn(key, scores):
    """The weights of a resample in sorted order, and the metrics under them."""
    ordered = samples.sort_scores(scores, -scores.log_one_minus_confidence)
    weights = resampling.draw_weights(key, ordered.ranking.valid)
    sample = samples.Sample.of(ordered, weights)
    return weights, summary.measure(sample, tuple(SCORE_METRICS))


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
        scores.label_rank,
        scores.nll,
        scores.brier,
        scores.confidence,
        scores.label,
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
            exact = metric.startswith("coverage") or metric[-8:] == "accuracy"
            exact &= metric != "balanced_accuracy"
            expected = pytest.approx(
                float(value),
                rel=0 if exact else 5e-6,
                abs=0 if exact else 2e-6,
                nan_ok=True,
            )
            assert float(found[metric]) == expected, (seed, metric)


def test_intervals_agree_with_a_float64_bootstrap(cases, key):
    case = cases["random"]
    found = bootstrap_intervals(score_examples(*case), SOME, key=key, num_resamples=200)
    assert list(found) == list(SOME)
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
    wide = bootstrap_intervals(scores, SOME, key=key, num_resamples=200)
    narrow = bootstrap_intervals(scores, SOME, key=key, num_resamples=200, level=0.5)
    for name in ("accuracy", "nll", "brier", "auroc", "aurc"):
        low, high = map(float, narrow[name])
        assert wide[name][0] < low < float(summarize(scores, SOME)[name]) < high
        assert high < wide[name][1]


def test_order_of_the_rows_changes_no_interval(cases, key):
    case = cases["tied"]
    order = np.random.default_rng(5).permutation(160)
    plain, shuffled = (
        bootstrap_intervals(scores, SOME, key=key, num_resamples=200)
        for scores in (
            score_examples(*case),
            score_examples(case.logits[order], case.labels[order]),
        )
    )
    for name in SOME:
        np.testing.assert_array_equal(shuffled[name], plain[name])


def test_neither_padding_nor_chunks_change_an_interval(cases, pad, key, monkeypatch):
    case = cases["tied"]
    plain = bootstrap_intervals(score_examples(*case), SOME, key=key, num_resamples=200)
    padded, mask = pad(case, 23)
    longer = score_examples(*padded, mask=mask)
    # 200 resamples in 29 chunks of seven; the last fills up.
    monkeypatch.setattr(resampling, "_ROWS_IN_FLIGHT", 183 * 7)
    compiled = intervals._bootstrap._cache_size()
    found = bootstrap_intervals(longer, SOME, key=key, num_resamples=200)
    assert intervals._bootstrap._cache_size() == compiled + 1  # and so in chunks
    for name in SOME:
        np.testing.assert_allclose(found[name], plain[name], 2e-6, 1e-6, err_msg=name)


def test_bootstrap_compiles_once_a_shape(cases, key):
    bootstrap_intervals(
        score_examples(*cases["random"]), SOME, key=key, num_resamples=200
    )
    compiled = intervals._bootstrap._cache_size()
    for seed in (3, 4):
        other = score_examples(*cases["tied"])
        bootstrap_intervals(
            other, SOME, key=jax.random.key(seed), num_resamples=200, level=0.9
        )
    assert intervals._bootstrap._cache_size() == compiled


def test_broken_row_spoils_intervals_even_where_resamples_miss_it(cases, key):
    case = cases["random"]
    logits = case.logits.copy()
    logits[0, 0] = np.nan
    # Under jit: outside, such a row is refused.
    scores = jax.jit(score_examples)(logits, case.labels)
    found = bootstrap_intervals(scores, SOME, key=key, num_resamples=200)
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
    found = bootstrap_intervals(scores, SOME, key=key, num_resamples=200)
    assert np.isfinite(found["auroc"]).all()
    # Such resamples were among them: all eight right.
    assert found["accuracy"][1] == 1.0


OOD = ("ood_auroc_energy", "ood_fpr95_energy")


def test_ood_intervals_hold_the_estimate(cases, ood_logits, key):
    id_scores = score_examples(*cases["random"])
    ood_scores = score_examples(ood_logits, np.full(90, -1, np.int32))
    found = bootstrap_ood_intervals(
        id_scores, ood_scores, OOD, key=key, num_resamples=2000
    )
    assert list(found) == list(OOD)
    estimate = summarize_ood(id_scores, ood_scores, OOD)
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


def test_ood_bca_corrects_the_percentile_interval(cases, ood_logits, key):
    id_scores = score_examples(*cases["random"])
    ood_scores = score_examples(ood_logits, np.full(90, -1, np.int32))
    plain, found = (
        bootstrap_ood_intervals(
            id_scores, ood_scores, OOD, key=key, num_resamples=2000, method=method
        )
        for method in ("percentile", "bca")
    )
    estimate = summarize_ood(id_scores, ood_scores, OOD)
    for name in OOD:
        low, high = found[name]
        assert low < estimate[name] < high
        width = float(plain[name][1] - plain[name][0])
        np.testing.assert_allclose(found[name], plain[name], atol=0.3 * width)
        assert (np.asarray(found[name]) != np.asarray(plain[name])).any()


@pytest.mark.parametrize("name", ["random", "tied"])
def test_bca_holds_the_estimate_and_knows_no_order(name, cases, pad, key):
    case = cases[name]
    order = np.random.default_rng(5).permutation(160)
    plain, shuffled = (
        bootstrap_intervals(scores, SOME, key=key, num_resamples=200, method="bca")
        for scores in (
            score_examples(*case),
            score_examples(case.logits[order], case.labels[order]),
        )
    )
    estimate = summarize(score_examples(*case), SOME)
    for metric in SOME:
        np.testing.assert_array_equal(shuffled[metric], plain[metric])
    for metric in ("accuracy", "nll", "brier", "auroc", "aurc"):
        low, high = plain[metric]
        assert low < estimate[metric] < high


def test_bca_says_where_it_is_undefined(cases, key):
    scores = score_examples(*cases["all right"])
    for method, expected in (("percentile", 1.0), ("bca", np.nan)):
        found = bootstrap_intervals(
            scores, SOME, key=key, num_resamples=200, method=method
        )
        np.testing.assert_array_equal(found["accuracy"], [expected, expected])
        assert np.isfinite(found["nll"]).all()
    # One wrong row: without its group there is no AUROC.
    scores = score_examples(*cases["random"])
    lone = np.arange(160) != 3
    found = bootstrap_intervals(
        scores._replace(correct=lone), SOME, key=key, num_resamples=200, method="bca"
    )
    assert np.isnan(found["auroc"]).all()
    assert np.isfinite(found["accuracy"]).all()


def test_settings_out_of_range_are_refused_together(cases, key):
    scores = score_examples(*cases["random"])
    with pytest.raises(ValueError, match=r"(?s)num_resamples is 0.*level is 95"):
        bootstrap_intervals(scores, key=key, num_resamples=0, level=95.0)
    with pytest.raises(ValueError, match="did you mean 'aurc'"):
        bootstrap_intervals(scores, ("aurcc",), key=key)
    nothing = scores._replace(mask=np.zeros(160, bool))
    with pytest.raises(ValueError, match="excludes all 160 rows"):
        bootstrap_intervals(nothing, key=key)
    with pytest.raises(ValueError, match="method is 'normal'"):
        inspect.unwrap(bootstrap_intervals)(scores, key=key, method="normal")
