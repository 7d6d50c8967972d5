"""The streaming state against the exact summary, and against its own promises."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import PartitionSpec as P

from jaxbench.metrics import (
    SCORE_METRICS,
    ClassificationState,
    classwise_calibration_error,
    score_examples,
    summarize,
)
from jaxbench.metrics.scores import ExampleScores
from tests.reference import calibration
from tests.reference import metrics as reference

update = jax.jit(ClassificationState.update)
# Under jit a broken row is a result; on the host it is an error.
score = jax.jit(score_examples)
compute = jax.jit(ClassificationState.compute)
bounds_of = jax.jit(ClassificationState.error_bounds)

BOUNDED = {
    *(name for name, metric in SCORE_METRICS.items() if metric.kind == "order"),
    "ks_calibration_error",
    "ece_equal_mass",
    "mce_equal_mass",
    "smooth_ece",
}


def stream(case, batch_size, **sizes):
    state = ClassificationState.empty(**sizes)
    for start in range(0, len(case.labels), batch_size):
        rows = slice(start, start + batch_size)
        state = update(state, score(case.logits[rows], case.labels[rows]))
    return state


def values(state):
    return {name: float(value) for name, value in compute(state).items()}


def same_states(one, two):
    for a, b in zip(jax.tree.leaves(one), jax.tree.leaves(two), strict=True):
        if a.dtype == jnp.int32:
            np.testing.assert_array_equal(a, b)
        else:
            np.testing.assert_allclose(a, b, rtol=1e-6, atol=1e-5)


def columns(confidence, correct):
    """Scores of which only what a state looks at is real."""
    confidence = jnp.asarray(confidence, jnp.float32)
    doubt = jnp.log1p(-confidence)
    right = jnp.asarray(correct)
    rows = len(confidence)
    zeros, yes = jnp.zeros(rows), jnp.ones(rows, bool)
    label = jnp.zeros(rows, jnp.int32)
    rank = jnp.where(right, 0, 1).astype(jnp.int32)
    return ExampleScores(
        *(label, label, right, rank, confidence, doubt),
        *(zeros, zeros, zeros, zeros, zeros, zeros, yes, yes),
    )


def test_sums_match_their_twins_for_every_batch_size(cases):
    for name in ("random", "tied", "saturated"):
        case = cases[name]
        for batch_size in (160, 80, 32):
            found = values(stream(case, batch_size, num_classes=10))
            assert found.keys() == SCORE_METRICS.keys()
            for metric, value in found.items():
                if metric in BOUNDED:
                    continue
                twin = reference.REFERENCES[metric](*case)
                # Debiasing subtracts a quadrature's 1e-6.
                absolute = 3e-6 if metric == "ece_debiased" else 1e-6
                expected = pytest.approx(twin, rel=3e-6, abs=absolute)
                assert value == expected, (name, batch_size, metric)


def test_metrics_of_order_stay_within_their_bounds(cases):
    for name in ("random", "skilled", "tied", "saturated", "all right", "all wrong"):
        state = stream(cases[name], 160)
        exact = summarize(score(*cases[name]))
        found, bounds = values(state), bounds_of(state)
        assert bounds.keys() <= BOUNDED
        for metric, bound in bounds.items():
            off = abs(found[metric] - float(exact[metric]))
            undefined = np.isnan(float(exact[metric])) and np.isnan(found[metric])
            assert undefined or off <= float(bound) + 1e-6, (name, metric)


def test_bounds_hold_for_the_worst_orders_and_are_met_by_them():
    # All confidences in one bin: the truth may be any order, and the bound says so.
    count = 60
    confidence = 0.7 + 1e-6 * np.arange(count)
    for right in (np.arange(count) >= 40, np.arange(count) < 40):
        scores = columns(confidence, right)
        state = update(ClassificationState.empty(), scores)
        exact = summarize(scores, ("auroc", "aurc", "augrc", "risk_at_80_coverage"))
        found, bounds = values(state), bounds_of(state)
        deviations = {}
        for metric, value in exact.items():
            deviations[metric] = abs(found[metric] - float(value))
            assert deviations[metric] <= float(bounds[metric]) + 1e-6, metric
        assert deviations["auroc"] == pytest.approx(0.5)
        for metric in ("auroc", "augrc"):
            assert deviations[metric] == pytest.approx(float(bounds[metric]), rel=1e-4)


def test_a_million_examples_are_within_1e_4_of_exact():
    rng = np.random.default_rng(0)
    count = 1_000_000
    confidence = rng.beta(3.0, 0.6, count).astype(np.float32)
    confidence = np.clip(confidence, 0.001, 1 - 1e-6)
    right = rng.random(count) < confidence**1.3
    scores = columns(confidence, right)
    names = ("auroc", "aurc", "excess_aurc", "augrc", "smooth_ece", "ece_equal_mass")
    exact = summarize(scores, names)
    state = update(ClassificationState.empty(), scores)
    found, bounds = values(state), bounds_of(state)
    for metric in names:
        off = abs(found[metric] - float(exact[metric]))
        assert off < 1e-4, metric
        assert off <= float(bounds[metric]) + 1e-6, metric
    assert float(bounds["auroc"]) < 1e-3


def test_counts_are_exact_to_2_31_and_means_to_1e_6_after_10_8_examples():
    rng = np.random.default_rng(1)
    rows = 4096
    right = rng.random(rows) < 0.8
    scores = columns(rng.uniform(0.3, 1.0, rows), right)
    nll = rng.exponential(0.7, rows).astype(np.float32)
    scores = scores._replace(nll=jnp.asarray(nll), brier=jnp.asarray(nll / 3))
    steps = 24_415  # 10^8 examples

    def run(state):
        return jax.lax.fori_loop(0, steps, lambda _, s: s.update(scores), state)

    state = jax.jit(run)(ClassificationState.empty())
    assert int(state.num_examples) == rows * steps >= 100_000_000
    assert int(state.num_correct) == int(right.sum()) * steps
    found = values(state)
    confidence = np.asarray(scores.confidence, np.float64)
    expected = {
        "nll": nll.mean(dtype=np.float64),
        "brier": (nll / 3).mean(dtype=np.float64),
        "mean_confidence": confidence.mean(),
        "ece": calibration.ece_of(calibration.bin_table(confidence, right)),
    }
    for name, value in expected.items():
        assert found[name] == pytest.approx(value, rel=1e-6), name
    # Twenty times that many still fit into the counts.
    largest = state
    for _ in range(20):
        largest = largest.merge(state)
    assert int(largest.num_examples) == 21 * rows * steps < 2**31
    assert int(largest.order.num_examples.sum()) == 21 * rows * steps


def test_state_of_1000_classes_is_under_96_kb():
    state = ClassificationState.empty(num_classes=1000)
    assert sum(leaf.nbytes for leaf in jax.tree.leaves(state)) < 96_000


def test_state_agrees_with_the_summary(cases):
    scores = score_examples(*cases["skilled"], mask=np.arange(160) % 4 > 0)
    found = values(update(ClassificationState.empty(), scores))
    summary = summarize(scores)
    for metric, value in found.items():
        absolute = 1e-2 if metric in BOUNDED else 1e-6
        assert value == pytest.approx(float(summary[metric]), rel=2e-6, abs=absolute)


def test_merge_is_associative_and_commutative(cases):
    a, b, c = (stream(cases[name], 160) for name in ("random", "tied", "saturated"))
    left = a.merge(b).merge(c)
    same_states(left, a.merge(b.merge(c)))
    same_states(left, c.merge(a).merge(b))
    for one, two in zip(
        jax.tree.leaves(a.merge(ClassificationState.empty())),
        jax.tree.leaves(a),
        strict=True,
    ):
        np.testing.assert_array_equal(one, two)


def test_case_29_a_state_is_the_carry_of_a_scan_inside_shard_map(cases, mesh):
    case = cases["random"]
    mask = np.arange(160) % 7 > 0

    def local(logits, labels, mask):
        def step(state, batch):
            return state.update(score_examples(batch[0], batch[1], mask=batch[2])), None

        empty = ClassificationState.empty(num_classes=10, varying="data")
        halves = jax.tree.map(
            lambda x: x.reshape(2, 10, *x.shape[1:]), (logits, labels, mask)
        )
        return jax.lax.psum(jax.lax.scan(step, empty, halves)[0], "data")

    total = jax.jit(jax.shard_map(local, mesh=mesh, in_specs=P("data"), out_specs=P()))(
        *case, mask
    )
    empty = ClassificationState.empty(num_classes=10)
    same_states(total, update(empty, score_examples(*case, mask=mask)))


def test_scan_over_batches_keeps_the_types(cases):
    logits, labels = cases["random"]

    def step(state, batch):
        return state.update(score_examples(*batch)), None

    batches = logits.reshape(5, 32, 10), labels.reshape(5, 32)
    state, _ = jax.jit(lambda b: jax.lax.scan(step, ClassificationState.empty(), b))(
        batches
    )
    found, expected = values(state), values(stream(cases["random"], 32))
    assert found == pytest.approx(expected, rel=1e-6)
    assert state.num_examples.dtype == jnp.int32


def test_a_fresh_state_may_be_donated(cases):
    step = jax.jit(ClassificationState.update_from_logits, donate_argnums=0)
    state = step(ClassificationState.empty(num_classes=10), *cases["random"])
    state = step(state, *cases["tied"])
    expected = stream(cases["random"], 160, num_classes=10)
    expected = update(expected, score(*cases["tied"]))
    assert values(state) == pytest.approx(values(expected), rel=1e-6)


def test_bins_are_counted_exactly(cases):
    scores = jax.device_get(score_examples(*cases["random"]))
    state = update(ClassificationState.empty(), scores)
    bins = np.clip(np.ceil(scores.confidence * 15).astype(int) - 1, 0, 14)
    np.testing.assert_array_equal(state.bin_count, np.bincount(bins, minlength=15))
    right = np.bincount(bins[scores.correct], minlength=15)
    np.testing.assert_array_equal(state.bin_correct, right)
    assert state.bin_count.sum() == state.order.num_examples.sum() == 160


def test_classwise_tables_give_the_classwise_error(cases):
    case = cases["random"]
    mask = np.arange(160) % 5 > 0
    state = ClassificationState.empty(num_classes=10, classwise=True)
    step = jax.jit(lambda s, z, y, m: s.update_from_logits(z, y, mask=m))
    for rows in (slice(0, 80), slice(80, 160)):
        state = step(state, case.logits[rows], case.labels[rows], mask[rows])
    found = values(state)
    exact = float(classwise_calibration_error(*case, mask=mask))
    twin = calibration.classwise_ece(
        reference.softmax(case.logits[mask]), case.labels[mask]
    )
    assert exact == pytest.approx(twin, abs=1e-6)
    assert found["classwise_ece"] == pytest.approx(twin, abs=1e-6)
    right = (case.logits.argmax(1) == case.labels)[mask]
    recalls = [right[case.labels[mask] == k].mean() for k in range(10)]
    assert found["balanced_accuracy"] == pytest.approx(np.mean(recalls), rel=1e-6)


def test_tables_refuse_what_they_cannot_hold(cases):
    case = cases["random"]
    state = ClassificationState.empty(num_classes=10, classwise=True)
    with pytest.raises(ValueError, match="give the logits to update_from_logits"):
        state.update(score_examples(*case))
    with pytest.raises(ValueError, match="neither sets of labels nor a class mask"):
        state.update_from_logits(*case, class_mask=np.ones(10, bool))
    with pytest.raises(ValueError, match=r"\(160, 10\).*num_classes=4; wanted as many"):
        ClassificationState.empty(num_classes=4).update_from_logits(*case)
    with pytest.raises(ValueError, match="num_classes is 0; wanted the number"):
        ClassificationState.empty(classwise=True)


def test_broken_rows_are_counted_and_padding_is_not(cases, pad):
    case = cases["random"]
    padded, mask = pad(case, 23)
    clean = update(ClassificationState.empty(), score_examples(*padded, mask=mask))
    assert clean.num_nonfinite == 0
    assert values(clean) == pytest.approx(values(stream(case, 160)), rel=1e-6)
    logits = case.logits.copy()
    logits[3] = np.nan
    broken = stream(type(case)(logits, case.labels), 160, num_classes=10)
    assert broken.num_nonfinite == 1
    for name, value in values(broken).items():
        assert np.isfinite(value) == (name in ("accuracy", "top_5_accuracy")), name


def test_label_of_no_class_spoils_what_needs_one(cases):
    case = cases["random"]
    labels = case.labels.copy()
    labels[0] = -1
    found = values(stream(type(case)(case.logits, labels), 160, num_classes=10))
    spoilt = {name for name, value in found.items() if np.isnan(value)}
    assert spoilt == {"nll", "brier", "balanced_accuracy"}


def test_empty_state_is_an_error_outside_jit_and_nan_inside():
    empty = ClassificationState.empty()
    with pytest.raises(ValueError, match="no example counts so far"):
        empty.compute()
    with pytest.raises(ValueError, match="no example counts so far"):
        empty.error_bounds()
    inside = compute(empty) | bounds_of(empty)
    assert all(np.isnan(value) for value in inside.values())


def test_states_of_different_sizes_do_not_merge():
    with pytest.raises(ValueError, match=r"'bins': 15.*'bins': 10.*do not merge"):
        ClassificationState.empty().merge(ClassificationState.empty(10))
    with pytest.raises(ValueError, match=r"'classes': 3.*do not merge"):
        ClassificationState.empty(num_classes=3).merge(ClassificationState.empty())
    with pytest.raises(ValueError, match="num_bins is 0"):
        ClassificationState.empty(0)
