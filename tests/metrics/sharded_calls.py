"""One call of everything public in `jaxbench.metrics` that takes arrays.

A function whose parameters are all in `ARRAYS` or `SETTINGS` is called without being
named here: a new metric comes in by itself, and one with a parameter that neither knows
fails until it has a value.
"""

import inspect
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import numpy as np
from jax.sharding import PartitionSpec as P

from jaxbench import metrics as m
from tests.metrics.public import public_functions

ROWS, CLASSES, MODELS = 32, 4, 3


def _arrays() -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    logits = (2 * rng.normal(size=(ROWS, CLASSES))).astype(np.float32)
    # Rows that tie, and a few that do not count.
    logits[ROWS // 2 : ROWS // 2 + 4] = logits[:4]
    labels = rng.integers(0, CLASSES, ROWS).astype(np.int32)
    labels[::2] = logits.argmax(1)[::2]
    p = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    correct = logits.argmax(1) == labels
    features = rng.normal(size=(2, ROWS, 3)).astype(np.float32)
    return {
        "logits": logits,
        "labels": labels,
        "label_sets": np.stack([labels, np.where(labels > 1, -1, 3)], axis=1),
        "mask": np.arange(ROWS) % 7 > 0,
        "correct": correct,
        "correct_a": correct,
        "correct_b": rng.random(ROWS) < 0.5,
        "predictions": logits.argmax(1).astype(np.int32),
        "confidence": p.max(1),
        "nll": -np.log(p[np.arange(ROWS), labels]),
        "label_rank": (logits > logits[np.arange(ROWS), labels][:, None])
        .sum(1)
        .astype(np.int32),
        "sets": p > 0.2,
        "features_a": features[0],
        "features_b": features[1] + 1,
        "a": p[:, 0],
        "b": p[:, 1],
        "x": p[:, 0],
        "y": p[:, 1],
        "p_values": rng.random(ROWS).astype(np.float32),
        "values": rng.random((MODELS, ROWS)).astype(np.float32),
        "resampled": rng.random((ROWS, MODELS)).astype(np.float32),
        "severity": rng.random(ROWS).astype(np.float32),
        "classes": rng.permutation(ROWS).astype(np.int32),
        "id_confidence": p.max(1),
        "ood_confidence": p[:, 0],
        "ood_classes": np.arange(ROWS, dtype=np.int32),
        "successes": np.arange(ROWS, dtype=np.int32),
        "errors": np.arange(ROWS, dtype=np.int32),
        "trials": np.arange(ROWS, dtype=np.int32) + 5,
    }


ARRAYS = _arrays()
# The axis of the rows, where it is not the first.
ROW_AXIS = {"values": 1}

SETTINGS: dict[str, Any] = {
    "accuracy": 0.75,
    "alpha": 0.25,
    "coverage": 0.5,
    "delta": 0.1,
    "estimate": np.arange(MODELS, dtype=np.float32) / MODELS,
    "group_size": 4,
    "groups": np.arange(CLASSES, dtype=np.int32) % 2,
    "higher_is_better": True,
    "k": 2,
    "key": jax.random.key(0),
    "num_classes": CLASSES,
    "num_groups": 2,
    "num_permutations": 30,
    "num_resamples": 30,
    "threshold": 1.0,
}


class Call(NamedTuple):
    """function(**arrays); the arrays are those of its parameters in `ARRAYS`."""

    function: Callable[..., Any]
    names: tuple[str, ...]


def _filled(function: Callable[..., Any], **settings: Any) -> Call:
    """The call with every parameter that is needed, and the mask."""
    parameters = inspect.signature(function).parameters
    names = [n for n, p in parameters.items() if p.default is p.empty or n == "mask"]
    names = [name for name in names if name not in settings]
    unknown = set(names) - set(ARRAYS) - set(SETTINGS)
    assert not unknown, f"{function.__name__}: give {unknown} a value"
    given = {n: SETTINGS[n] for n in [*names, "num_resamples"] if n in SETTINGS}
    given = {n: v for n, v in given.items() if n in parameters} | settings
    arrays = tuple(name for name in names if name in ARRAYS)
    return Call(lambda **kw: function(**kw, **given), arrays)


def _scores(logits, labels, mask):
    return m.score_examples(logits, labels, mask=mask)


def _of_scores(function):
    return Call(
        lambda logits, labels, mask: function(_scores(logits, labels, mask)), LOGITS
    )


def _of_two_scores(function):
    def call(logits, labels, mask):
        scores = _scores(logits, labels, mask)
        return function(scores, m.score_examples(logits / 2, labels))

    return Call(call, LOGITS)


LOGITS = ("logits", "labels", "mask")


def _state(logits, labels, mask, **sizes):
    empty = m.ClassificationState.empty(num_classes=CLASSES, **sizes)
    return empty.update_from_logits(logits, labels, mask=mask)


def _moments(features_a, mask):
    return m.FeatureMoments.empty(3).update(features_a, mask)


def _methods() -> dict[str, Call]:
    """Public methods, under their dotted names."""
    state, features = m.ClassificationState, ("features_a", "mask")

    def update(logits, labels, mask):
        return state.empty(num_classes=CLASSES).update(_scores(logits, labels, mask))

    def merge(logits, labels, mask):
        part = _state(logits, labels, mask)
        return part.merge(part) + part

    def applied(fit):
        return lambda logits, labels, mask: fit(logits, labels, mask=mask).apply(logits)

    def merged_moments(features_a, mask):
        part = _moments(features_a, mask)
        return part.merge(part) + part

    table = {
        "ClassificationState.update": Call(update, LOGITS),
        "ClassificationState.update_from_logits": Call(
            lambda **kw: _state(**kw, classwise=True), LOGITS
        ),
        "ClassificationState.merge": Call(merge, LOGITS),
        "ClassificationState.compute": Call(
            lambda **kw: _state(**kw, classwise=True).compute(), LOGITS
        ),
        "ClassificationState.error_bounds": Call(
            lambda **kw: _state(**kw).error_bounds(), LOGITS
        ),
        "FeatureMoments.update": Call(_moments, features),
        "FeatureMoments.merge": Call(merged_moments, features),
        "FeatureMoments.covariance": Call(
            lambda **kw: _moments(**kw).covariance(), features
        ),
        "VectorScaling.apply": Call(applied(m.fit_vector_scaling), LOGITS),
        "BiasCorrectedTemperature.apply": Call(
            applied(m.fit_bias_corrected_temperature), LOGITS
        ),
    }
    # One row each: the kernels of all rows are measured by the two summaries.
    for rows, of in ((m.SCORE_METRICS, _of_scores), (m.OOD_METRICS, _of_two_scores)):
        first = next(iter(rows.values()))
        table[f"{type(first).__name__}.function"] = of(first.function)
    return table


def _functions() -> dict[str, Call]:
    """Public functions, under their names, and options that take another way."""
    key, some = jax.random.key(0), ("accuracy", "aurc")

    def severity(id_confidence, ood_confidence, ood_classes, severity):
        groups = m.severity_groups(severity, group_size=4, key=key)
        return m.severity_auroc(id_confidence, ood_confidence, ood_classes, groups)

    def moments(features_a, features_b, mask):
        a, b = _moments(features_a, mask), _moments(features_b, mask)
        return m.frechet_distance_of_moments(a, b)

    own = {
        "score_examples": Call(_scores, LOGITS),
        # Every row of the catalog of scores.
        "summarize": _of_scores(m.summarize),
        "summarize_ood": _of_two_scores(m.summarize_ood),
        "bootstrap_intervals": _of_scores(
            lambda scores: m.bootstrap_intervals(
                scores, some, key=key, num_resamples=30
            )
        ),
        "bootstrap_intervals bca": _of_scores(
            lambda scores: m.bootstrap_intervals(
                scores, some[:1], key=key, num_resamples=30, method="bca"
            )
        ),
        "bootstrap_ood_intervals": _of_two_scores(
            lambda a, b: m.bootstrap_ood_intervals(
                a, b, tuple(m.OOD_METRICS)[:1], key=key, num_resamples=30
            )
        ),
        "severity_auroc": Call(severity, tuple(inspect.signature(severity).parameters)),
        "frechet_distance_of_moments": Call(
            moments, ("features_a", "features_b", "mask")
        ),
        "class_severity": _filled(m.class_severity, num_classes=ROWS),
        "expected_calibration_error equal_mass": _filled(
            m.expected_calibration_error, binning="equal_mass"
        ),
        "correlation_interval fisher": _filled(m.correlation_interval, method="fisher"),
        "score_examples label_sets": Call(
            lambda logits, label_sets: m.score_examples(logits, label_sets=label_sets),
            ("logits", "label_sets"),
        ),
        "score_examples probabilities": Call(
            lambda logits, labels, mask: m.score_examples(
                jax.nn.softmax(logits), labels, mask=mask, inputs="probabilities"
            ),
            LOGITS,
        ),
    }
    others = set(public_functions()) - set(own)
    return own | {name: _filled(getattr(m, name)) for name in sorted(others)}


def _catalog() -> dict[str, Call]:
    """Rows of the catalog that are measured on wider arrays."""
    return {
        f"METRICS {name}": _filled(metric.function)
        for name, metric in m.ARRAY_METRICS.items()
    }


CALLS: dict[str, Call] = _functions() | _methods() | _catalog()


def spec_of(name: str, axis: str | tuple[str, ...]) -> P:
    """How an array of this name is sharded if its rows lie along a mesh axis."""
    return P(*[None] * ROW_AXIS.get(name, 0), axis)
