import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import PartitionSpec as P

from jaxbench.metrics import score_examples
from jaxbench.metrics.scores import UNRANKED
from tests.reference import metrics as reference

# float32 sums over at most 20 classes of numbers of size one.
RELATIVE, ABSOLUTE = 3e-6, 3e-6

TWINS = {
    "prediction": lambda z, y: reference.predictions(z),
    "correct": reference.correct,
    "label_rank": reference.label_rank,
    "confidence": lambda z, y: reference.confidence(z),
    "nll": reference.nll,
    "brier": reference.brier,
    "entropy": lambda z, y: reference.entropy(z),
    "margin": lambda z, y: reference.margin(z),
    "max_logit": lambda z, y: np.asarray(z, np.float64).max(1),
    "energy": lambda z, y: reference.energy(z),
    "log_one_minus_confidence": lambda z, y: reference.log_one_minus_confidence(z),
    "label": lambda z, y: y,
    "finite": lambda z, y: np.ones(len(y), bool),
    "mask": lambda z, y: np.ones(len(y), bool),
}


def test_every_column_matches_its_float64_twin(case):
    scores = score_examples(case.logits, case.labels)
    for name, column in scores._asdict().items():
        twin = TWINS[name](case.logits, case.labels)
        np.testing.assert_allclose(
            column, twin, rtol=RELATIVE, atol=ABSOLUTE, err_msg=name
        )


def test_rare_doubt_keeps_its_relative_precision(cases):
    # An absolute tolerance would pass 1 - float32(p) == 0 here.
    case = cases["saturated"]
    scores = score_examples(case.logits, case.labels)
    assert (np.asarray(scores.confidence) == 1.0).mean() > 0.9
    log_doubt = reference.log_one_minus_confidence(case.logits)
    np.testing.assert_allclose(scores.log_one_minus_confidence, log_doubt, rtol=1e-6)
    by_twin = np.argsort(log_doubt, kind="stable")
    by_column = np.argsort(scores.log_one_minus_confidence, kind="stable")
    np.testing.assert_array_equal(by_column, by_twin)
    right = np.asarray(scores.correct)
    doubt = np.exp(log_doubt[right])
    others = reference.softmax(case.logits)[right]
    others[np.arange(len(others)), others.argmax(1)] = 0
    brier = doubt**2 + (others**2).sum(1)
    shown = brier > 1e-35  # below that float32 flushes the square to zero
    # Exponentials of numbers up to 40 carry 40 roundings of float32.
    found = np.asarray(scores.brier)[right]
    np.testing.assert_allclose(found[shown], brier[shown], rtol=3e-5)


@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.float16])
def test_half_precision_is_raised_before_anything_is_computed(cases, dtype):
    case = cases["random"]
    half = case.logits.astype(dtype)
    scores = score_examples(half, case.labels)
    raised = score_examples(half.astype(np.float32), case.labels)
    for name in scores._fields:
        np.testing.assert_array_equal(getattr(scores, name), getattr(raised, name))
    assert scores.nll.dtype == scores.energy.dtype == jnp.float32


def test_jit_equals_eager_and_vmap_equals_a_loop(cases):
    case = cases["random"]
    jitted = score_examples(case.logits, case.labels)
    with jax.disable_jit():
        eager = score_examples(case.logits, case.labels)
    halves = jax.vmap(score_examples)(
        case.logits.reshape(2, 80, 10), case.labels.reshape(2, 80)
    )
    for name in eager._fields:
        expected = np.asarray(getattr(eager, name))
        np.testing.assert_allclose(getattr(jitted, name), expected, 1e-6, 1e-6)
        flat = np.asarray(getattr(halves, name)).reshape(-1)
        np.testing.assert_allclose(flat, expected, 1e-6, 1e-6)


def test_shards_score_as_one_device_does(cases, mesh):
    logits, labels = cases["random"]
    mask = jnp.arange(len(labels)) % 3 > 0
    sharded = jax.jit(
        jax.shard_map(
            lambda z, y, m: score_examples(z, y, mask=m),
            mesh=mesh,
            in_specs=P("data"),
            out_specs=P("data"),
        )
    )(logits, labels, mask)
    alone = score_examples(logits, labels, mask=mask)
    for name in alone._fields:
        expected = getattr(alone, name)
        np.testing.assert_allclose(getattr(sharded, name), expected, 1e-6, 1e-6)


def test_prediction_is_the_first_largest_and_top_five_agrees_with_it():
    labels = np.arange(160, dtype=np.int32) % 10
    scores = score_examples(np.zeros((160, 10), np.float32), labels)
    np.testing.assert_array_equal(scores.prediction, np.zeros(160))
    np.testing.assert_array_equal(scores.correct, labels == 0)
    np.testing.assert_array_equal(scores.label_rank < 5, labels < 5)


def test_fewer_than_five_classes_make_every_label_a_top_five_one():
    labels = np.full(3, 2, np.int32)
    scores = score_examples(2 * np.eye(3, dtype=np.float32), labels)
    assert (np.asarray(scores.label_rank) < 5).all()


def test_one_class_leaves_no_doubt():
    scores = score_examples(jnp.array([[3.0], [-2.0]]), jnp.array([0, 0]))
    np.testing.assert_array_equal(scores.confidence, 1.0)
    np.testing.assert_array_equal(scores.margin, 1.0)
    np.testing.assert_array_equal(scores.log_one_minus_confidence, -np.inf)
    for column in (scores.nll, scores.brier, scores.entropy):
        np.testing.assert_array_equal(column, 0.0)


def test_temperature_divides_the_logits_and_is_traced(cases):
    case = cases["random"]
    traces = []

    @jax.jit
    def at(temperature):
        traces.append(1)
        return score_examples(case.logits, case.labels, temperature=temperature)

    for temperature in (0.5, 2.0):
        scores = at(jnp.float32(temperature))
        divided = case.logits / np.float32(temperature)
        np.testing.assert_allclose(
            scores.nll, reference.nll(divided, case.labels), 1e-5, 1e-5
        )
        np.testing.assert_allclose(
            scores.confidence, reference.confidence(divided), 1e-5
        )
    assert len(traces) == 1


def test_class_mask_leaves_the_other_classes_out(cases):
    logits, labels = cases["random"].logits.copy(), cases["random"].labels
    keep = np.arange(10) % 2 == 1
    narrow = score_examples(logits[:, keep], labels // 2)
    logits[:, 0] = np.nan  # a class that is left out may hold anything
    logits[:, 2] = 1e30
    labels = labels // 2 * 2 + 1
    masked = score_examples(logits, labels, class_mask=jnp.asarray(keep))
    np.testing.assert_array_equal(masked.prediction, narrow.prediction * 2 + 1)
    for name in narrow._fields:
        if name not in ("prediction", "label"):
            expected = getattr(narrow, name)
            np.testing.assert_allclose(getattr(masked, name), expected, 2e-6, 1e-6)


def test_label_outside_the_class_mask_is_impossible():
    logits = jnp.array([[1.0, 2.0, 3.0]])
    keep = jnp.array([True, True, False])
    scores = score_examples(logits, jnp.array([2]), class_mask=keep)
    assert np.isposinf(scores.nll[0])
    assert not scores.correct[0]
    assert scores.label_rank[0] == UNRANKED
    p = reference.softmax(logits[:, :2])
    assert float(scores.brier[0]) == pytest.approx(1 + (p**2).sum(), rel=1e-6)


@pytest.mark.parametrize("label", [-1, 3, 100])
def test_label_of_no_class_is_never_right(label):
    labels = np.array([label, 1, 2], np.int32)
    logits = np.eye(3, dtype=np.float32)
    scores = jax.device_get(jax.jit(score_examples)(logits, labels))
    np.testing.assert_array_equal(scores.correct[1:], True)
    assert np.isnan(scores.nll[0])
    assert np.isnan(scores.brier[0])
    assert not scores.correct[0]
    assert scores.label_rank[0] == UNRANKED
    assert np.isfinite(scores.confidence[0])


@pytest.mark.parametrize("broken", [np.nan, np.inf, -np.inf])
def test_broken_row_is_flagged_and_touches_no_other(broken):
    logits = np.array([[1, 2, 3], [3, 1, 2], [1, 2, 3]], np.float32)
    labels = np.array([2, 0, 0], np.int32)
    clean = jax.device_get(score_examples(logits, labels))
    logits[0, 2] = broken
    with pytest.raises(ValueError, match="the first is row 0"):
        score_examples(logits, labels)
    scores = jax.device_get(jax.jit(score_examples)(logits, labels))
    np.testing.assert_array_equal(scores.finite, [False, True, True])
    assert scores.prediction[0] == -1
    assert not scores.correct[0]
    assert scores.label_rank[0] == UNRANKED
    for name in ("confidence", "nll", "brier", "entropy", "margin", "energy"):
        column = getattr(scores, name)
        assert np.isnan(column[0]), name
        np.testing.assert_array_equal(column[1:], getattr(clean, name)[1:])


def test_gradients_are_those_of_the_textbook(cases):
    case = cases["random"]

    def loss(logits):
        return score_examples(logits, case.labels).nll.sum()

    gradient = jax.jit(jax.grad(loss))(case.logits)
    onehot = np.eye(10)[case.labels]
    expected = reference.softmax(case.logits) - onehot
    np.testing.assert_allclose(gradient, expected, atol=2e-6)


def test_gradients_survive_broken_rows_and_masked_classes():
    logits = jnp.array([[1.0, 2.0, jnp.nan], [jnp.inf, 1.0, jnp.nan]])
    keep = jnp.array([True, True, False])

    def loss(z):
        scores = score_examples(z, jnp.array([0, 0]), class_mask=keep)
        columns = scores.nll + scores.brier + scores.entropy + scores.margin
        return jnp.sum(jnp.where(scores.finite, columns, 0.0))

    gradient = np.asarray(jax.jit(jax.grad(loss))(logits))
    assert np.isfinite(gradient).all()
    assert gradient[0, 0] != 0
    np.testing.assert_array_equal(gradient[1], 0)
    np.testing.assert_array_equal(gradient[:, 2], 0)


def test_no_classes_are_refused():
    with pytest.raises(ValueError, match=r"wanted \[n, k\] with k >= 1"):
        score_examples(jnp.zeros((3, 0)), jnp.zeros(3, jnp.int32))
