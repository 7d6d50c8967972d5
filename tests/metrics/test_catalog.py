from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxbench.metrics import (
    METRICS,
    OOD_METRICS,
    SCORE_METRICS,
    score_examples,
    summarize,
    summarize_ood,
    summary,
)
from tests.reference.metrics import OOD_REFERENCES, REFERENCES

# float32 means over at most 160 rows.
CLOSE = {"rel": 3e-6, "abs": 1e-6, "nan_ok": True}


# The twin sums kernels at 1,000 points and halves the bandwidth 14 times; a gap of one
# image of a bin is a difference of cumulative sums.
LOOSER = {"smooth_ece": 5e-5, "mce_equal_mass": 3e-6, "ece_debiased": 3e-6}


def close(name, twin):
    return pytest.approx(twin, rel=3e-6, abs=LOOSER.get(name, 1e-6), nan_ok=True)


# Under jit a broken row is a result; on the host it is an error.
score_inside_jit = jax.jit(score_examples)


def measure(case, **options):
    return summarize(score_examples(case.logits, case.labels, **options))


@pytest.fixture(scope="module")
def inside_jit():
    """Every metric under jit: by its own function, and from the summaries."""

    @jax.jit
    def both(scores, other):
        alone = {name: m.function(scores) for name, m in SCORE_METRICS.items()}
        pairs = {name: m.function(scores, other) for name, m in OOD_METRICS.items()}
        together = summarize(scores) | summarize_ood(scores, other)
        return alone | pairs, together

    return both


@pytest.mark.parametrize("name", SCORE_METRICS)
def test_metric_matches_its_twin_and_its_declared_range(name, cases):
    for case_name, case in cases.items():
        value = float(measure(case)[name])
        twin = REFERENCES[name](case.logits, case.labels)
        assert value == close(name, twin), case_name
        low, high = SCORE_METRICS[name].range
        assert np.isnan(value) or low <= value <= high


def test_function_of_one_metric_is_its_entry_in_the_summary(
    inside_jit, cases, ood_logits
):
    scores = score_examples(*cases["tied"])
    other = score_examples(ood_logits, np.full(len(ood_logits), -1, np.int32))
    expected = summarize(scores) | summarize_ood(scores, other)
    for found in inside_jit(scores, other):
        assert found.keys() == expected.keys()
        for name, value in found.items():
            assert float(value) == pytest.approx(float(expected[name]), rel=1e-6), name
    eager = SCORE_METRICS["accuracy"].function(scores)
    assert float(eager) == float(expected["accuracy"])


@pytest.mark.parametrize("name", OOD_METRICS)
def test_ood_metric_matches_its_twin(name, cases, ood_logits):
    nobody = np.full(len(ood_logits), -1, np.int32)
    for case_name in ("random", "tied", "saturated", "equal logits"):
        case = cases[case_name]
        pair = score_examples(*case), score_examples(ood_logits, nobody)
        value = float(summarize_ood(*pair)[name])
        twin = OOD_REFERENCES[name](case.logits, ood_logits)
        assert value == pytest.approx(twin, **CLOSE), case_name


def test_every_metric_says_where_it_comes_from_and_which_way_is_up():
    for name, metric in METRICS.items():
        assert metric.reference.startswith("https://"), name
        assert metric.direction in ("higher", "lower", "none"), name


def test_order_of_the_rows_never_matters(case):
    order = np.random.default_rng(3).permutation(len(case.labels))
    shuffled = type(case)(case.logits[order], case.labels[order])
    before, after = measure(case), measure(shuffled)
    for name in SCORE_METRICS:
        # Bit for bit: rows that tie are themselves sorted before they are summed.
        np.testing.assert_array_equal(after[name], before[name], err_msg=name)


def test_masked_padding_changes_nothing(cases, pad):
    for name in ("random", "tied"):
        padded, mask = pad(cases[name], 23)
        with_padding, without = measure(padded, mask=mask), measure(cases[name])
        for metric in SCORE_METRICS:
            expected = pytest.approx(float(without[metric]), **CLOSE)
            assert float(with_padding[metric]) == expected, (name, metric)


def test_masked_padding_changes_no_ood_metric(cases, pad, ood_logits):
    other = score_examples(*cases["random"])
    padded, mask = pad(type(cases["random"])(ood_logits, np.zeros(90, np.int32)), 70)
    plain = score_examples(ood_logits, np.zeros(90, np.int32))
    masked = score_examples(*padded, mask=mask)
    for expected, found in (
        (summarize_ood(other, plain), summarize_ood(other, masked)),
        (summarize_ood(plain, other), summarize_ood(masked, other)),
    ):
        for name in OOD_METRICS:
            assert float(found[name]) == pytest.approx(float(expected[name]), rel=1e-6)


def test_jit_equals_eager_and_vmap_equals_a_loop(cases):
    chosen = [cases["random"], cases["tied"], cases["saturated"]]
    # `score_examples` has a vmapped and an eager run of its own.
    scores = [jax.device_get(score_examples(*case)) for case in chosen]
    stacked = jax.tree.map(lambda *columns: np.stack(columns), *scores)
    together = jax.jit(jax.vmap(summarize))(stacked)
    with jax.disable_jit():
        eager = summarize(scores[1])
    for i, case in enumerate(chosen):
        alone = measure(case)
        for name in SCORE_METRICS:
            assert float(together[name][i]) == pytest.approx(
                float(alone[name]), **CLOSE
            )
            if i == 1:
                assert float(eager[name]) == pytest.approx(float(alone[name]), **CLOSE)


def test_bfloat16_logits_give_float32_metrics(cases):
    half = cases["random"].logits.astype(jnp.bfloat16)
    found = summarize(score_examples(half, cases["random"].labels))
    for name, value in found.items():
        assert value.dtype == jnp.float32
        twin = REFERENCES[name](half.astype(np.float32), cases["random"].labels)
        assert float(value) == close(name, twin), name


def test_broken_row_is_wrong_for_accuracy_and_spoils_every_other_metric(cases):
    case = cases["random"]
    logits = case.logits.copy()
    logits[4, 2] = np.nan
    with pytest.raises(ValueError, match="rows of logits with NaN or infinity: 1,"):
        score_examples(logits, case.labels)
    found = summarize(score_inside_jit(logits, case.labels))
    assert not np.isfinite(REFERENCES["nll"](logits, case.labels))
    right = (case.logits.argmax(1) == case.labels) & (np.arange(160) != 4)
    assert float(found["accuracy"]) == pytest.approx(right.mean())
    for name in SCORE_METRICS:
        if name not in ("accuracy", "top_5_accuracy"):
            assert np.isnan(found[name]), name


def test_broken_row_spoils_every_ood_metric(cases):
    case = cases["random"]
    logits = case.logits.copy()
    logits[4, 2] = np.inf
    broken = score_inside_jit(logits, case.labels)
    found = summarize_ood(broken, score_examples(*case))
    assert all(np.isnan(value) for value in found.values())


def test_nothing_to_measure_is_an_error_outside_jit_and_nan_inside(
    inside_jit, cases, ood_logits
):
    nothing = np.zeros(160, bool)
    scores = score_examples(*cases["random"], mask=nothing)
    with pytest.raises(ValueError, match="excludes all 160 rows"):
        summarize(scores)
    with pytest.raises(ValueError, match="excludes all 160 rows"):
        summarize_ood(score_examples(*cases["random"]), scores)
    with pytest.raises(ValueError, match="scores has 0 rows"):
        SCORE_METRICS["ece"].function(jax.tree.map(lambda column: column[:0], scores))
    other = score_examples(ood_logits, np.full(len(ood_logits), -1, np.int32))
    for found in inside_jit(scores, other._replace(mask=np.zeros(90, bool))):
        assert all(np.isnan(value) for value in found.values())
    # One side without a row is enough.
    full = score_examples(*cases["random"])
    for pair in ((scores, other), (full, other._replace(mask=np.zeros(90, bool)))):
        for found in inside_jit(*pair):
            assert all(np.isnan(found[name]) for name in OOD_METRICS)


def test_unknown_names_are_all_reported_with_the_nearest(cases):
    scores = score_examples(*cases["random"])
    with pytest.raises(ValueError, match=r"(?s)'acuracy'; did you mean 'accuracy'.*ec"):
        summarize(scores, ("acuracy", "nll", "ecee"))
    with pytest.raises(ValueError, match="unknown metric 'zzz'; known are accuracy"):
        summarize(scores, ("zzz",))
    with pytest.raises(ValueError, match="did you mean 'ood_auroc_energy'"):
        summarize_ood(scores, scores, ("auroc_energy",))


def test_summary_is_compiled_once_a_shape_and_takes_numpy_columns(cases):
    scores = score_examples(*cases["random"])
    expected = summarize(scores, ("aurc", "accuracy"))
    assert list(expected) == ["aurc", "accuracy"]
    compiled = summary._summarize._cache_size()
    stored = jax.tree.map(np.asarray, scores)
    for _ in range(3):
        found = summarize(stored, ("aurc", "accuracy"))
    assert summary._summarize._cache_size() <= compiled + 1
    assert found == expected


def test_documentation_has_one_row_a_metric():
    text = Path(__file__).parents[2].joinpath("docs", "metrics.md").read_text()
    for name in METRICS:
        assert text.count(f"\n| `{name}` |") == 1, name
