"""Values that are known without computing: closed forms, and what must not saturate."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import NamedSharding
from jax.sharding import PartitionSpec as P

from jaxbench.metrics import (
    ARRAY_METRICS,
    CONFIDENCES,
    METRICS,
    SCORE_METRICS,
    ClassificationState,
    area_under_roc,
    score_examples,
    summarize,
)
from tests.reference import metrics as reference
from tests.reference import selective

ROWS = 160


def scored(margins, right):
    """Two classes: the prediction leads by the margin."""
    margins, right = np.asarray(margins, np.float32), np.asarray(right)
    logits = np.stack([margins, np.zeros_like(margins)], axis=1)
    return score_examples(logits, np.where(right, 0, 1).astype(np.int32))


def test_all_tied_confidences_say_nothing():
    right = np.arange(ROWS) % 4 > 0
    found = summarize(scored(np.full(ROWS, 1.5), right))
    assert float(found["auroc"]) == 0.5
    # Every coverage has the error rate on average, up to 1/N.
    assert float(found["aurc"]) == pytest.approx(0.25, abs=1e-6)
    assert float(found["coverage_at_95_accuracy"]) == 0.0
    assert float(found["augrc"]) == pytest.approx(0.5 * 0.25 * 0.75 + 0.25**2 / 2)


def test_perfect_model():
    scores = scored(np.linspace(0.1, 8, ROWS), np.ones(ROWS, bool))
    found = summarize(scores)
    assert float(found["coverage_at_99_accuracy"]) == 1.0
    for name in ("aurc", "excess_aurc", "augrc", "excess_augrc"):
        assert float(found[name]) == 0.0
    doubt = 1 - float(found["mean_confidence"])
    assert float(found["ece"]) == pytest.approx(doubt, rel=1e-6)
    assert float(found["overconfidence"]) == pytest.approx(-doubt, rel=1e-6)
    assert np.isnan(found["auroc"])


def test_oracle_order_has_no_excess_and_the_reverse_has_the_most():
    right = np.arange(ROWS) < 120
    found = summarize(scored(np.linspace(8, 0.1, ROWS), right))
    assert float(found["auroc"]) == 1.0
    assert float(found["excess_aurc"]) == pytest.approx(0.0, abs=1e-7)
    assert float(found["excess_augrc"]) == 0.0
    # Geifman's closed form is that of infinitely many examples.
    error = 0.25
    limit = error + (1 - error) * np.log(1 - error)
    assert float(found["aurc"]) == pytest.approx(limit + error / (2 * ROWS), abs=2e-4)
    worst = summarize(scored(np.linspace(0.1, 8, ROWS), right))
    assert float(worst["auroc"]) == 0.0
    assert float(worst["excess_augrc"]) == pytest.approx(0.25 * 0.75)


def test_augrc_is_traubs_closed_form(cases):
    for name in ("random", "tied", "skilled"):
        found = summarize(score_examples(*cases[name]))
        a, auroc = float(found["accuracy"]), float(found["auroc"])
        closed = (1 - auroc) * a * (1 - a) + (1 - a) ** 2 / 2
        assert float(found["augrc"]) == pytest.approx(closed, rel=1e-5)


@pytest.mark.parametrize("scale", [20, 40, 60])
def test_order_agrees_with_float64_on_overconfident_logits(scale):
    rng = np.random.default_rng(scale)
    logits = (rng.normal(size=(ROWS, 10)) * scale).astype(np.float32)
    guess = rng.integers(0, 10, ROWS)
    right = rng.random(ROWS) < 0.7
    labels = np.where(right, logits.argmax(1), guess).astype(np.int32)
    scores = score_examples(logits, labels)
    saturated = np.asarray(scores.confidence) == 1.0
    assert saturated.sum() >= ROWS // 5
    found = summarize(scores)
    for name, metric in SCORE_METRICS.items():
        if metric.kind == "order":
            twin = reference.REFERENCES[name](logits, labels)
            assert float(found[name]) == pytest.approx(twin, rel=3e-6, abs=1e-6), name
    # The rounded confidence itself has lost the order.
    exact = reference.REFERENCES["auroc"](logits, labels)
    rounded = float(area_under_roc(scores.confidence, scores.correct))
    assert abs(rounded - exact) > 1e-4
    # Nor does the stream lose it: its bins reach to 1 - 10^-55.
    state = jax.jit(ClassificationState.update)(ClassificationState.empty(), scores)
    assert float(state.compute()["auroc"]) == pytest.approx(exact, abs=2e-3)


@pytest.mark.parametrize("name", CONFIDENCES)
def test_any_confidence_function_ranks(name, cases):
    case = cases["random"]
    z = case.logits.astype(np.float64)
    p = reference.softmax(z)
    twins = {
        "max_softmax": -reference.log_one_minus_confidence(z),
        "margin": reference.margin(z),
        "negative_entropy": -reference.entropy(z),
        "max_logit": z.max(1),
        "energy": reference.energy(z),
    }
    right = p.argmax(1) == case.labels
    found = summarize(score_examples(*case), confidence=name)
    assert set(found) >= {"auroc", "aurc", "augrc", "risk_at_80_coverage"}
    expected = reference.auroc(twins[name], right)
    assert float(found["auroc"]) == pytest.approx(expected, rel=1e-5)
    expected = selective.aurc(twins[name], right)
    assert float(found["aurc"]) == pytest.approx(expected, rel=1e-5)


def test_odin_temperature_is_a_confidence_like_any_other(cases):
    case = cases["random"]
    scores = score_examples(*case, temperature=1000.0)
    p = reference.softmax(case.logits.astype(np.float64) / 1000)
    expected = reference.auroc(p.max(1), p.argmax(1) == case.labels)
    # At this temperature confidences differ in the seventh digit of float32.
    assert float(summarize(scores)["auroc"]) == pytest.approx(expected, abs=2e-3)


def test_sharded_columns_and_batch_splits_change_nothing(cases, mesh):
    case = cases["skilled"]
    whole = score_examples(*case)
    expected = summarize(whole)
    rows = NamedSharding(mesh, P("data"))
    sharded = summarize(jax.device_put(whole, rows))
    parts = [
        score_examples(case.logits[i : i + 32], case.labels[i : i + 32])
        for i in range(0, ROWS, 32)
    ]
    joined = summarize(jax.tree.map(lambda *c: jnp.concatenate(c), *parts))
    for name, value in expected.items():
        for other in (sharded, joined):
            close = pytest.approx(float(value), rel=3e-6, abs=1e-6, nan_ok=True)
            assert float(other[name]) == close, name


def test_every_row_of_the_table_is_documented_data():
    kinds = {"scores", "in- and out-of-distribution scores", "logits", "features"}
    for name, metric in METRICS.items():
        assert metric.inputs in kinds, name
        assert metric.direction in ("higher", "lower", "none"), name
        low, high = metric.range
        assert low < high, name
        assert callable(metric.function), name
    assert set(ARRAY_METRICS) == {"classwise_ece", "frechet_distance"}
