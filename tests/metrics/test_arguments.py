"""Arguments of another kind than a function takes: refused by name on every route."""

import inspect
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from jaxbench import metrics as m
from jaxbench.adapters.clu import ClassificationMetric
from jaxbench.adapters.nnx import ClassificationMetric as NnxMetric
from tests.metrics.public import public_functions

ROWS, CLASSES = 12, 4
Z = np.random.default_rng(0).normal(size=(ROWS, CLASSES)).astype(np.float32)
Y = (np.arange(ROWS) % CLASSES).astype(np.int32)
C = np.linspace(0.1, 0.9, ROWS, dtype=np.float32)
R = np.arange(ROWS) % 3 > 0
SCORES = m.score_examples(Z, Y)

# A value for each argument of the package's functions, by its name: a function with a
# new one is a KeyError here.
VALUES = {
    **dict.fromkeys(("confidence", "id_confidence", "ood_confidence", "p_values"), C),
    **dict.fromkeys(("a", "b", "x", "y", "nll", "severity"), C),
    **dict.fromkeys(("correct", "correct_a", "correct_b"), R),
    **dict.fromkeys(("mask", "mask_a", "mask_b", "id_mask", "ood_mask"), R),
    **dict.fromkeys(("labels", "classes", "ood_classes", "predictions"), Y),
    **dict.fromkeys(("label_rank", "errors", "successes", "trials"), Y),
    **dict.fromkeys(("scores", "id_scores", "ood_scores"), SCORES),
    **dict.fromkeys(("features_a", "features_b", "logits"), Z),
    **dict.fromkeys(("num_classes", "group_size"), CLASSES),
    **dict.fromkeys(("alpha", "delta", "accuracy", "coverage"), 0.1),
    "values": np.stack([C, C]),
    "resampled": np.stack([C, C]),
    "estimate": C,
    "sets": Z > 0,
    "threshold": 1.0,
    "groups": np.array([0, 0, 1, 1]),
    "num_groups": 2,
    "k": 2,
    "key": jax.random.key(0),
    "higher_is_better": True,
    "class_mask": np.ones(CLASSES, bool),
    "label_sets": None,
}
LEVELS = m.SeverityGroups(C[:1], np.ones((1, CLASSES), bool), C[:CLASSES])
OF_STATES = {"severity_auroc": {"groups": LEVELS}}
OF_STATES["frechet_distance_of_moments"] = {
    name: m.FeatureMoments.empty(CLASSES).update(Z) for name in ("a", "b")
}
FUNCTIONS = public_functions()
# Element by element, of any shape: no rows to take a mean over.
ELEMENTWISE = {"clopper_pearson_upper", "wilson_interval"}


def arguments_of(name):
    """A valid call: the arguments without a default, and every mask."""
    parameters = inspect.signature(getattr(m, name)).parameters.values()
    wanted = {
        p.name
        for p in parameters
        if p.default is p.empty or p.name in ("labels", "mask", "class_mask")
    }
    return {p: VALUES[p] for p in wanted} | OF_STATES.get(name, {})


def arrays_of(arguments):
    return {n: v for n, v in arguments.items() if isinstance(v, np.ndarray)}


def refusal(name, arguments):
    with pytest.raises(ValueError, match=r"^\S.*") as caught:
        getattr(m, name)(**arguments)
    return str(caught.value)


@pytest.mark.parametrize("name", FUNCTIONS)
def test_case_42_a_list_is_refused_by_name(name, users_types):
    arguments = arguments_of(name)
    for argument, value in arguments.items():
        if isinstance(value, np.ndarray | m.ExampleScores | m.FeatureMoments):
            message = refusal(name, arguments | {argument: list(value)})
            assert f"{argument} is of type list; wanted" in message


@pytest.mark.parametrize("name", sorted(set(FUNCTIONS) - ELEMENTWISE))
def test_case_42_a_column_is_not_a_matrix(name, users_types):
    arguments = arguments_of(name)
    for argument, value in arrays_of(arguments).items():
        if value.ndim == 1:
            message = refusal(name, arguments | {argument: value[:, None]})
            assert argument in message
            assert "1)" in message


@pytest.mark.parametrize("name", sorted(set(FUNCTIONS) - ELEMENTWISE))
def test_case_42_no_rows_are_refused_by_name(name, users_types):
    def empty(value):
        return value[..., :0] if value.shape == (2, ROWS) else value[:0]

    arguments = arguments_of(name)
    rows = {n: empty(v) for n, v in arrays_of(arguments).items() if ROWS in v.shape}
    for argument, value in arguments.items():
        if isinstance(value, m.ExampleScores):
            rows[argument] = m.ExampleScores(*(column[:0] for column in value))
        if isinstance(value, m.FeatureMoments):
            rows[argument] = m.FeatureMoments.empty(CLASSES)
    message = refusal(name, arguments | rows)
    assert any(argument in message for argument in rows)
    wanted = ("0 rows", "that count: 0", "no model")
    assert any(words in message for words in wanted)


def test_case_42_adapters_and_states_refuse_lists_and_columns(users_types):
    for wrong in (Y.tolist(), Y[:, None]):
        for route in ROUTES.values():
            with pytest.raises(ValueError, match=r"labels (is of type list|of shape)"):
                route(Z, labels=wrong)


def one_hot(dtype):
    return np.eye(CLASSES)[Y].astype(dtype)


def updated(logits, **right):
    return m.ClassificationState.empty().update_from_logits(logits, **right)


def by_clu(logits, **right):
    return ClassificationMetric.from_model_output(logits=logits, **right)


def by_nnx(logits, **right):
    NnxMetric().update(logits=logits, **right)


# Every way from logits and labels into a measurement.
ROUTES = {
    "score_examples": m.score_examples,
    "state": updated,
    "CLU": by_clu,
    "nnx": by_nnx,
    **{
        name: getattr(m, name)
        for name in FUNCTIONS
        if {"logits", "labels"} <= set(inspect.signature(getattr(m, name)).parameters)
    },
}


@pytest.mark.parametrize("dtype", ["int32", "int64", "uint8", "bool", "float32"])
@pytest.mark.parametrize("route", ROUTES)
def test_case_01_one_hot_labels_are_refused_by_name(route, dtype, users_types):
    labels = one_hot(dtype)
    wanted = r"labels of shape \(12, 4\).*look like one-hot rows: give labels.argmax"
    with pytest.raises(ValueError, match=wanted):
        ROUTES[route](Z, labels=labels)


@pytest.mark.parametrize("dtype", ["int32", "uint8", "bool", "float32"])
@pytest.mark.parametrize("route", [r for r in ROUTES if r != "nnx"])
def test_case_01_the_shape_is_refused_under_jit(route, dtype, users_types):
    def inside(logits, labels):
        return ROUTES[route](logits, labels=labels)

    wanted = r"labels of shape \(12, 4\).*of one-hot rows, give labels.argmax"
    with pytest.raises(ValueError, match=wanted):
        jax.jit(inside)(Z, one_hot(dtype))


def test_case_01_nnx_refuses_the_shape_under_jit(users_types):
    @nnx.jit
    def inside(metric, labels):
        metric.update(logits=Z, labels=labels)

    with pytest.raises(ValueError, match=r"of one-hot rows, give labels\.argmax"):
        inside(NnxMetric(), one_hot(np.int32))


@pytest.mark.parametrize("route", ["score_examples", "state", "CLU", "nnx"])
def test_case_01_sets_are_said_and_hold_a_label_once(route, users_types):
    call = ROUTES[route]
    sets = np.stack([Y, np.full(ROWS, -1)], axis=1)
    call(Z, label_sets=sets)
    wrong = {
        r"label_sets of shape \(12, 4\) look like one-hot": one_hot(np.int32),
        "label_sets of 12 rows hold a label twice, the first in row 0": sets * 0,
        "label_sets of 12 rows hold.*numbers": (one_hot(np.int32) + one_hot(int)[::-1]),
        "label_sets of dtype float32": sets.astype(np.float32),
        r"label_sets of shape \(12,\); wanted \(12, m\)": Y,
        r"label_sets of shape \(12, 0\)": sets[:, :0],
        r"rows of label_sets outside \[0, 4\): 12,": sets + CLASSES,
        "label_sets is of type list": sets.tolist(),
    }
    for message, given in wrong.items():
        with pytest.raises(ValueError, match=message):
            call(Z, label_sets=given)
    with pytest.raises(ValueError, match="labels and label_sets are both given"):
        call(Z, labels=Y, label_sets=sets)
    with pytest.raises(ValueError, match="labels are missing"):
        call(Z)
    with pytest.raises(ValueError, match=r"labels of shape.*label_sets=\.\.\."):
        call(Z, labels=sets)


def test_case_01_sets_in_masked_rows_may_hold_anything():
    sets = np.stack([Y, Y], axis=1)
    sets[1:, 1] = -1
    scores = m.score_examples(Z, label_sets=sets, mask=np.arange(ROWS) > 0)
    plain = m.score_examples(Z, Y)
    np.testing.assert_array_equal(scores.correct[1:], plain.correct[1:])


def test_case_01_one_hot_sets_are_nan_under_jit():
    scores = jax.jit(lambda z, s: m.score_examples(z, label_sets=s))(
        Z, one_hot(np.int32)
    )
    assert not scores.finite.any()
    found = m.summarize(scores)
    assert np.isnan(float(found["ece"]))
    assert float(found["accuracy"]) == 0.0


def test_probabilities_given_as_logits_are_refused_until_said(users_types):
    p = np.asarray(jax.nn.softmax(Z))
    masked = np.where(R[:, None], p, np.nan)
    wanted = r"logits of all \d+ rows lie in \[0, 1\] and sum to 1"
    calls = [partial(route, p, labels=Y) for route in ROUTES.values()]
    calls += [
        lambda: m.score_examples(p.astype(jnp.bfloat16), Y),
        lambda: m.score_examples(masked, Y, mask=R),
        lambda: m.prediction_sets(p, 1.0),
        lambda: m.group_logits(p, VALUES["groups"], num_groups=2),
    ]
    for call in calls:
        with pytest.raises(ValueError, match=wanted):
            call()
    for inputs in ("logits", "probabilities"):
        m.score_examples(p, Y, inputs=inputs)
    # One row that is none decides.
    m.score_examples(np.concatenate([p[:-1], Z[-1:]]), Y)
    said = m.score_examples(p, Y, inputs="probabilities")
    np.testing.assert_allclose(said.nll, SCORES.nll, rtol=1e-5)


def test_a_string_is_one_metric():
    for found in (
        m.summarize(SCORES, "accuracy"),
        m.bootstrap_intervals(SCORES, "accuracy", key=VALUES["key"], num_resamples=2),
    ):
        assert list(found) == ["accuracy"]
    with pytest.raises(ValueError, match="unknown metric 'acc'; did you mean 'accura"):
        m.summarize(SCORES, "acc")


@pytest.mark.parametrize("name", [n for n in FUNCTIONS if "key" in arguments_of(n)])
def test_keys_that_are_none_are_refused_by_name(name, users_types):
    for wrong in (0, np.arange(3), jax.random.split(VALUES["key"])):
        with pytest.raises(ValueError, match=r"key is .*jax\.random\.key\(0\)"):
            getattr(m, name)(**arguments_of(name) | {"key": wrong})


def test_functions_of_a_column_hint_at_the_scores(users_types):
    for name, column in {
        "accuracy": "correct",
        "top_k_accuracy": "label_rank",
        "mean_confidence": "confidence",
        "top_k_coverage": "label_rank",
    }.items():
        hint = rf"{name}\(score_examples\(logits, labels\)\.{column}\)"
        with pytest.raises(TypeError, match=hint):
            getattr(m, name)(Z, Y, **({"k": 1} if "top_k" in name else {}))
    with pytest.raises(ValueError, match="makes such columns of logits"):
        m.expected_calibration_error(Z, Y)
