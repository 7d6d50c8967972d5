import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxbench.metrics.conformal import (
    ALL_CLASSES,
    conformal_summary,
    conformal_threshold,
    conformal_top_k,
    prediction_sets,
    top_k_coverage,
)
from jaxbench.metrics.scores import score_examples
from tests.reference import operating as reference

# Masked rows make the shorter columns: one shape a function.
ROWS, CLASSES = 64, 10


def padded(values, fill):
    return np.pad(values, (0, ROWS - len(values)), constant_values=fill)


def first(rows):
    return np.arange(ROWS) < rows


ALPHAS = st.sampled_from([0.1, 0.05, 0.3, 0.02, 0.9])


@settings(max_examples=80, deadline=None)
@given(
    nll=st.lists(
        st.floats(0, 100, width=32) | st.sampled_from([0.0, 1.5, np.inf]),
        min_size=1,
        max_size=ROWS,
    ),
    alpha=ALPHAS,
)
def test_threshold_is_the_value_of_its_rank(nll, alpha):
    values = padded(np.float32(nll), np.nan)
    found = conformal_threshold(values, alpha=alpha, mask=first(len(nll)))
    assert float(found) == reference.conformal_threshold(nll, alpha)


@settings(max_examples=80, deadline=None)
@given(ranks=st.lists(st.integers(-1, 9), min_size=1, max_size=ROWS), alpha=ALPHAS)
def test_top_k_is_the_least_that_holds_enough(ranks, alpha):
    # -1 stands for a label without a rank, as does what `ExampleScores` has for it.
    values = padded(np.int32(ranks), 0)
    twin = reference.conformal_top_k(ranks, alpha) or ALL_CLASSES
    for unranked in (-1, 2**31 - 1):
        columns = np.where(values < 0, np.int32(unranked), values)
        found = conformal_top_k(columns, alpha=alpha, mask=first(len(ranks)))
        assert int(found) == twin


@pytest.mark.parametrize("alpha", [0.05, 0.1, 0.25])
def test_ranks_are_exact_where_floats_round(alpha):
    # (n + 1)(1 - alpha) is a whole number: the next rank would be one too many.
    for rows in (19, 39, 59):
        values = padded(np.arange(rows, dtype=np.float32), 0.0)
        found = conformal_threshold(values, alpha=alpha, mask=first(rows))
        assert float(found) == round((rows + 1) * (1 - alpha)) - 1


@pytest.mark.parametrize(("rows", "alpha"), [(20, 0.1), (64, 0.1), (33, 0.25)])
def test_marginal_coverage_is_exact(key, rows, alpha):
    # Scores are uniform, so the chance that a further one is below the threshold is
    # the threshold itself. Its mean lies in [1 - alpha, 1 - alpha + 1 / (n + 1)].
    draws = 40_000
    scores = jax.random.uniform(key, (draws, ROWS))
    thresholds = jax.jit(
        jax.vmap(lambda nll: conformal_threshold(nll, alpha=alpha, mask=first(rows)))
    )(scores)
    assert np.isfinite(thresholds).all()
    coverage = float(np.asarray(thresholds, np.float64).mean())
    rank = reference.conformal_rank(rows, alpha)
    error = np.sqrt(rank * (rows + 1 - rank) / (rows + 1) ** 2 / (rows + 2) / draws)
    assert coverage == pytest.approx(rank / (rows + 1), abs=4 * error)
    assert 1 - alpha - 4 * error < coverage < 1 - alpha + 1 / (rows + 1) + 4 * error


def make(seed, rows=ROWS):
    rng = np.random.default_rng(seed)
    logits = (rng.normal(size=(rows, CLASSES)) * 3).astype(np.float32)
    right = rng.random(rows) < 0.7
    labels = np.where(right, logits.argmax(1), rng.integers(0, CLASSES, rows))
    return logits, labels.astype(np.int32)


@pytest.mark.parametrize("class_mask", [None, np.arange(CLASSES) % 3 > 0])
@pytest.mark.parametrize("temperature", [1.0, 2.5])
def test_sets_are_those_of_float64(class_mask, temperature):
    logits, _ = make(0)
    for threshold in (0.0, 0.05, 1.0, 4.0, np.inf):
        found = prediction_sets(
            logits, threshold, class_mask=class_mask, temperature=temperature
        )
        twin = reference.prediction_sets(logits, threshold, class_mask, temperature)
        np.testing.assert_array_equal(found, twin)


def test_sets_tell_classes_apart_where_probabilities_round_to_one():
    # The label's probability is 1.0 in float32 on all rows, 1 - 1e-17 to 1 - 1e-26.
    logits = np.zeros((ROWS, CLASSES), np.float32)
    logits[:, 3] = np.linspace(42, 62, ROWS, dtype=np.float32)
    nll = score_examples(logits, np.full(ROWS, 3, np.int32)).nll
    threshold = conformal_threshold(nll, alpha=0.5)
    assert 0 < float(threshold) < 1e-10
    sets = prediction_sets(logits, threshold)
    assert np.asarray(sets).any(axis=1).sum() == reference.conformal_rank(ROWS, 0.5)


@pytest.mark.parametrize("class_mask", [None, np.arange(CLASSES) != 4])
def test_a_set_holds_the_label_where_its_nll_is_within(class_mask):
    # At the thresholds themselves: images recur in both sets.
    logits, labels = make(1)
    if class_mask is not None:
        labels = np.where(labels == 4, 5, labels)
    options = {"class_mask": class_mask, "temperature": 1.7}
    nll = np.asarray(score_examples(logits, labels, **options).nll)
    for threshold in np.sort(nll)[::5]:
        sets = prediction_sets(logits, threshold, **options)
        held = np.asarray(sets)[np.arange(ROWS), labels]
        np.testing.assert_array_equal(held, nll <= threshold * (1 + 1e-5))
        assert held[nll == threshold].all()


def test_sets_claim_nothing_where_nothing_is_known():
    logits, _ = make(2)
    logits[3, 1] = np.nan
    logits[4, 2] = np.inf
    allowed = np.arange(CLASSES) != 7
    sets = np.asarray(prediction_sets(logits, 0.01, class_mask=allowed))
    np.testing.assert_array_equal(sets[3:5], [allowed, allowed])
    assert not sets[5:].all(axis=1).any()
    unknown = np.asarray(prediction_sets(logits, np.nan, class_mask=allowed))
    assert (unknown == allowed).all()


def test_summary_counts_labels_and_classes():
    logits, labels = make(3)
    labels[5] = -1
    mask = np.arange(ROWS) % 4 > 0
    sets = np.asarray(prediction_sets(logits, 0.4))
    held = np.array([y >= 0 and row[y] for row, y in zip(sets, labels, strict=True)])
    size = sets.sum(axis=1)
    found = conformal_summary(sets, labels, mask=mask)
    assert float(found.coverage) == pytest.approx(held[mask].mean())
    assert float(found.mean_size) == pytest.approx(size[mask].mean())
    assert float(found.empty) == pytest.approx((size[mask] == 0).mean())
    assert 0 < float(found.empty) < 1


def test_promises_are_kept_on_other_images():
    # One draw of each; both coverages have a spread of about 0.006.
    calibration, evaluation = make(4, rows=4096), make(5, rows=4096)
    scores, others = score_examples(*calibration), score_examples(*evaluation)
    threshold = conformal_threshold(scores.nll, alpha=0.1)
    found = conformal_summary(prediction_sets(evaluation[0], threshold), evaluation[1])
    assert float(found.coverage) == pytest.approx(0.9, abs=0.03)
    k = conformal_top_k(scores.label_rank, alpha=0.1)
    covered = float(top_k_coverage(others.label_rank, k=k))
    fewer = float(top_k_coverage(others.label_rank, k=k - 1))
    assert fewer < 0.9 < covered + 0.03
    by_hand = (np.asarray(others.label_rank) < int(k)).mean()
    assert covered == pytest.approx(by_hand)


def test_a_label_without_a_rank_is_never_held():
    ranks = np.zeros(ROWS, np.int32)
    ranks[:4], ranks[4:8] = -1, 2**31 - 1
    assert float(top_k_coverage(ranks, k=1)) == 56 / 64
    assert float(top_k_coverage(ranks, k=ALL_CLASSES)) == 56 / 64


def test_what_is_unknown_is_nan_under_jit():
    nll = np.random.default_rng(0).random(ROWS).astype(np.float32)
    none = np.zeros(ROWS, bool)

    @jax.jit
    def threshold(nll, mask):
        return conformal_threshold(nll, alpha=0.1, mask=mask)

    assert np.isnan(threshold(nll, none))
    broken = np.where(np.arange(ROWS) == 3, np.float32(np.nan), nll)
    assert np.isnan(threshold(broken, ~none))
    assert np.isfinite(threshold(broken, np.arange(ROWS) > 3))
    ranks = jnp.zeros(ROWS, jnp.int32)
    counted = jax.jit(lambda mask: conformal_top_k(ranks, alpha=0.1, mask=mask))
    assert int(counted(none)) == ALL_CLASSES


def test_arguments_that_make_no_sense_are_refused():
    logits, labels = make(0)
    ranks = np.zeros(ROWS, np.int32)
    for alpha in (0.0, 1.0, 1e-5, np.nan):
        with pytest.raises(ValueError, match="alpha is"):
            conformal_threshold(np.ones(ROWS, np.float32), alpha=alpha)
        with pytest.raises(ValueError, match="alpha is"):
            conformal_top_k(ranks, alpha=alpha)
    with pytest.raises(ValueError, match="nll is NaN in 64"):
        conformal_threshold(np.full(ROWS, np.nan, np.float32), alpha=0.1)
    with pytest.raises(ValueError, match="excludes all 64 rows"):
        conformal_top_k(ranks, alpha=0.1, mask=np.zeros(ROWS, bool))
    with pytest.raises(ValueError, match="temperature is 0"):
        prediction_sets(logits, 1.0, temperature=0.0)
    with pytest.raises(ValueError, match="excludes all 64 rows"):
        conformal_summary(logits > 0, labels, mask=np.zeros(ROWS, bool))
