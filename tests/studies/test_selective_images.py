"""Metrics of resamples against the metrics, effects against simulated truth."""

import jax
import numpy as np
import pytest
from scipy.stats import t as student
from sklearn.metrics import roc_auc_score

from jaxbench.errors import UserError
from jaxbench.metrics import area_under_risk_coverage, expected_calibration_error
from jaxbench.studies import distillation_effect, find_students, paired_effect
from jaxbench.studies.selective_images import resampled_metrics, student_quantile
from tests.results.sample_runs import score_columns


def columns(rng, n=200, *, ties=False, skill=1.5, scale=1.0):
    labels = np.arange(n) % 5
    logits = rng.normal(0, 1, (n, 5))
    logits[np.arange(n), labels] += skill
    logits *= scale
    if ties:
        logits = np.round(logits)
    found = score_columns(logits, labels)
    scaled = score_columns(logits, labels, 1.7)
    for name in ("confidence", "log_one_minus_confidence"):
        found[f"{name}_ts"] = scaled[name]
    return found | {"id": np.array([f"image-{i:04d}" for i in range(n)])}


@pytest.mark.parametrize("ties", [False, True])
@pytest.mark.parametrize("suffix", ["", "_ts"])
def test_metrics_of_a_resample(ties, suffix):
    rng = np.random.default_rng(0)
    held = columns(rng, ties=ties)
    weights = rng.multinomial(200, np.full(200, 1 / 200), size=3)
    found = resampled_metrics(held, weights, suffix)
    for number in range(3):
        rows = np.repeat(np.arange(200), weights[number])
        correct = held["correct"][rows]
        order = -held["log_one_minus_confidence" + suffix][rows]
        confidence = held["confidence" + suffix][rows]
        expected = {
            "accuracy": correct.mean(),
            "auroc": roc_auc_score(correct, order),
            "aurc": float(area_under_risk_coverage(order, correct)),
            "ece": float(expected_calibration_error(confidence, correct)),
        }
        for metric, value in expected.items():
            # The metrics sum in float32.
            assert found[metric][number] == pytest.approx(value, abs=2e-6), metric


def test_auroc_without_wrong_answers_is_unknown():
    held = columns(np.random.default_rng(0), skill=30.0)
    found = resampled_metrics(held, np.ones((1, 200), np.int64))
    assert np.isnan(found["auroc"][0])
    assert found["accuracy"][0] == 1
    rows = paired_effect([(held, held)], key=jax.random.key(0), num_resamples=20)
    by_metric = {row.metric: row for row in rows}
    assert np.isnan(by_metric["auroc"].difference)
    assert by_metric["accuracy"].difference == 0


def test_one_pair_against_the_normal_interval():
    rng = np.random.default_rng(1)
    a, b = columns(rng, 400, skill=2.0), columns(rng, 400)
    rows = paired_effect([(a, b)], key=jax.random.key(0), num_resamples=2000)
    assert [row.metric for row in rows] == [
        *("accuracy", "auroc", "ece", "aurc", "auroc_ts", "ece_ts", "aurc_ts")
    ]
    gap = a["correct"].astype(float) - b["correct"].astype(float)
    row = rows[0]
    assert row.difference == pytest.approx(gap.mean())
    assert (row.with_it, row.without) == (a["correct"].mean(), b["correct"].mean())
    width = 1.96 * gap.std() / np.sqrt(400)
    # The error of a standard deviation of 2000 draws: 1.6 %.
    assert row.high - row.difference == pytest.approx(width, rel=0.06)
    assert row.difference - row.low == pytest.approx(width, rel=0.06)
    assert (row.num_better, row.num_pairs, row.num_images) == (1, 1, 400)


def test_order_of_the_rows_does_not_count():
    rng = np.random.default_rng(1)
    a, b = columns(rng), columns(rng)
    order = rng.permutation(200)
    shuffled = {name: values[order] for name, values in b.items()}
    settings = {"key": jax.random.key(0), "num_resamples": 50}
    assert paired_effect([(a, b)], **settings) == paired_effect(
        [(a, shuffled)], **settings
    )


def test_intervals_cover_other_seeds_and_other_images():
    """The true difference is that of skills; the seeds' own skills vary around it."""
    hits, widths = 0, []
    for trial in range(20):
        rng = np.random.default_rng(trial)
        taught, alone = {}, {}
        for seed in range(4):
            taught[seed] = columns(rng, 100, skill=1.5 + 0.3 * rng.normal())
            alone[seed] = columns(rng, 100, skill=1.5 + 0.3 * rng.normal())
        rows = distillation_effect(
            taught, alone, key=jax.random.key(trial), num_resamples=40
        )
        row = rows[0]
        hits += row.low <= 0 <= row.high
        widths.append(row.high - row.low)
        assert row.num_pairs == 4
    # Conservative by design: of 20, 1 miss is expected at 95 %, 5 would be absurd.
    assert hits >= 16
    assert np.mean(widths) < 0.5


def test_seeds_add_to_the_interval():
    rng = np.random.default_rng(5)
    pairs = [(columns(rng, skill=2.0), columns(rng)) for _ in range(3)]
    row = paired_effect(pairs, key=jax.random.key(0), num_resamples=400)[0]
    gaps = [a["correct"].mean() - b["correct"].mean() for a, b in pairs]
    images = np.mean(
        [a["correct"].astype(float) - b["correct"] for a, b in pairs], axis=0
    )
    variance = np.var(gaps, ddof=1) / 3 + images.var() / 200
    assert row.difference == pytest.approx(np.mean(gaps))
    width = student.ppf(0.975, 2) * np.sqrt(variance)
    # The error of the images' part, of 400 draws.
    assert row.high - row.difference == pytest.approx(width, rel=0.06)
    assert row.num_better == sum(gap > 0 for gap in gaps)


@pytest.mark.parametrize("degrees", [1, 2, 4, 9, 100])
def test_student_quantile(degrees):
    expected = student.ppf(0.975, degrees)
    # betainc is float32.
    assert student_quantile(0.975, degrees) == pytest.approx(expected, rel=1e-4)


def test_other_images_are_refused():
    rng = np.random.default_rng(0)
    a, b = columns(rng), columns(rng)
    other = b | {"id": np.char.add(b["id"], "x")}
    with pytest.raises(UserError, match="differ in the ids"):
        paired_effect([(a, other)], key=jax.random.key(0))
    relabelled = b | {"label": b["label"] + 1}
    with pytest.raises(UserError, match="differ in the labels"):
        paired_effect([(a, relabelled)], key=jax.random.key(0))
    with pytest.raises(UserError, match="from the same seeds"):
        distillation_effect({0: a}, {1: b}, key=jax.random.key(0))
    with pytest.raises(ValueError, match="no pair"):
        paired_effect([], key=jax.random.key(0))


def settings(seed, teacher=None, **changes):
    found = {
        "model": "vit_micro",
        "optimizer": "adamw",
        "learning_rate": 0.01,
        "weight_decay": 0.0,
        "seed": seed,
        "epochs": 3,
        "teacher": teacher,
        "distillation": 0.5 if teacher else 0.0,
        "distillation_kind": "soft",
        "distillation_temperature": 2.0 if teacher else 1.0,
        "trial_id": f"{seed}{teacher}",
    }
    return found | changes


def test_students_are_found_by_their_settings():
    trials = {
        "seedless": {"model": "vit_micro", "optimizer": "adamw"},
        "a0": settings(0),
        "a1": settings(1),
        "t1": settings(1, "resnet best-trial"),
        "t2": settings(2, "resnet best-trial"),
        "hot": settings(0, "resnet best-trial", distillation_temperature=4.0),
        "longer": settings(1, "resnet best-trial", epochs=9),
    }
    found = find_students(trials)
    assert len(found) == 2
    assert (found[0].taught, found[0].alone) == ({1: "t1"}, {1: "a1"})
    assert found[0].teacher == "resnet best-trial"
    assert (found[0].weight, found[0].temperature) == (0.5, 2.0)
    assert (found[1].taught, found[1].temperature) == ({0: "hot"}, 4.0)
    assert find_students({"a0": settings(0)}) == ()
