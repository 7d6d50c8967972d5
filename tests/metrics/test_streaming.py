import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import PartitionSpec as P

from jaxbench.metrics import ClassificationState, score_examples, summarize
from tests.reference.metrics import REFERENCES

update = jax.jit(ClassificationState.update)


def stream(case, batch_size):
    state = ClassificationState.empty()
    for start in range(0, len(case.labels), batch_size):
        rows = slice(start, start + batch_size)
        state = update(state, score_examples(case.logits[rows], case.labels[rows]))
    return state


def values(state):
    return {name: float(value) for name, value in state.compute().items()}


def test_batch_size_changes_nothing_and_twins_agree(cases):
    for name in ("random", "tied", "saturated"):
        case = cases[name]
        for batch_size in (160, 32):
            found = values(stream(case, batch_size))
            for metric, value in found.items():
                twin = REFERENCES[metric](*case)
                expected = pytest.approx(twin, rel=3e-6, abs=1e-6)
                assert value == expected, (name, batch_size, metric)


def test_state_agrees_with_the_summary(cases):
    scores = score_examples(*cases["skilled"], mask=np.arange(160) % 4 > 0)
    found = values(update(ClassificationState.empty(), scores))
    summary = summarize(scores)
    for metric, value in found.items():
        assert value == pytest.approx(float(summary[metric]), rel=2e-6, abs=1e-6)


def test_merge_is_associative_and_commutative(cases):
    a, b, c = (stream(cases[name], 160) for name in ("random", "tied", "saturated"))
    left = a.merge(b).merge(c)
    for other in (a.merge(b.merge(c)), c.merge(a).merge(b)):
        for one, two in zip(left, other, strict=True):
            if one.dtype == jnp.int32:
                np.testing.assert_array_equal(one, two)
            else:
                np.testing.assert_allclose(one, two, rtol=1e-6, atol=1e-5)
    empty = ClassificationState.empty()
    for one, two in zip(a.merge(empty), a, strict=True):
        np.testing.assert_array_equal(one, two)


def test_sum_over_devices_is_the_state_of_all(cases, mesh):
    case = cases["random"]
    mask = np.arange(160) % 7 > 0

    def local(logits, labels, mask):
        scores = score_examples(logits, labels, mask=mask)
        state = ClassificationState.empty().update(scores)
        return jax.lax.psum(state, "data")

    total = jax.jit(jax.shard_map(local, mesh=mesh, in_specs=P("data"), out_specs=P()))(
        *case, mask
    )
    alone = update(ClassificationState.empty(), score_examples(*case, mask=mask))
    for one, two in zip(total, alone, strict=True):
        np.testing.assert_allclose(one, two, rtol=1e-6, atol=1e-5)


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


def test_bins_are_counted_exactly(cases):
    scores = jax.device_get(score_examples(*cases["random"]))
    state = update(ClassificationState.empty(), scores)
    bins = np.clip(np.ceil(scores.confidence * 15).astype(int) - 1, 0, 14)
    np.testing.assert_array_equal(state.bin_count, np.bincount(bins, minlength=15))
    right = np.bincount(bins[scores.correct], minlength=15)
    np.testing.assert_array_equal(state.bin_correct, right)
    assert state.bin_count.sum() == state.num_examples == 160


def test_broken_rows_are_counted_and_padding_is_not(cases, pad):
    case = cases["random"]
    padded, mask = pad(case, 23)
    clean = update(ClassificationState.empty(), score_examples(*padded, mask=mask))
    assert clean.num_nonfinite == 0
    assert values(clean) == pytest.approx(values(stream(case, 160)), rel=1e-6)
    logits = case.logits.copy()
    logits[3] = np.nan
    broken = stream(type(case)(logits, case.labels), 160)
    assert broken.num_nonfinite == 1
    found = values(broken)
    assert np.isfinite([found["accuracy"], found["top_5_accuracy"]]).all()
    for name in ("nll", "brier", "ece", "mean_confidence"):
        assert np.isnan(found[name]), name


def test_empty_state_is_an_error_outside_jit_and_nan_inside():
    empty = ClassificationState.empty()
    with pytest.raises(ValueError, match="no example counts so far"):
        empty.compute()
    inside = jax.jit(ClassificationState.compute)(empty)
    assert all(np.isnan(value) for value in inside.values())


def test_states_of_different_bins_do_not_merge():
    with pytest.raises(ValueError, match="15 and 10 bins"):
        ClassificationState.empty().merge(ClassificationState.empty(10))
    with pytest.raises(ValueError, match="num_bins is 0"):
        ClassificationState.empty(0)
