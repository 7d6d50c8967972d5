"""From per-example columns on the host to named numbers with intervals."""

import functools
from collections.abc import Mapping

import jax
import numpy as np

from jaxbench.engine.step import TEMPERED_COLUMNS
from jaxbench.metrics import (
    OOD_METRICS,
    ExampleScores,
    bootstrap_intervals,
    bootstrap_ood_intervals,
    pad_examples,
    summarize,
    summarize_ood,
)

Columns = Mapping[str, np.ndarray]


def summarize_columns(
    columns: Columns,
    metrics: tuple[str, ...],
    *,
    num_resamples: int,
    key: jax.Array | None,
) -> dict[str, float]:
    """Every metric of one dataset, at T = 1 and at the fitted temperature if any.

    Args:
        columns: As in `Evaluation.columns`, each [n].
        metrics: Names from `SCORE_METRICS`.
        num_resamples: Bootstrap resamples; 0 for no intervals.
        key: Randomness of the resamples; needed unless `num_resamples` is 0.

    Returns:
        `NAME`, `NAME_low`, `NAME_high` for every metric, and the same for `NAME_ts`
        where the columns hold scores at a fitted temperature.
    """
    values: dict[str, float] = {}
    for suffix in suffixes(columns):
        scores = to_scores(columns, suffix)
        found = jax.device_get(_summarize(scores, metrics))
        values |= {name + suffix: float(value) for name, value in found.items()}
        if num_resamples and key is not None:
            bounds = jax.device_get(_intervals(scores, metrics, key, num_resamples))
            values |= _named_bounds(bounds, suffix)
    return values


def summarize_ood_columns(
    clean: Columns, ood: Columns, *, num_resamples: int, key: jax.Array | None
) -> dict[str, float]:
    """How well out-of-distribution images are separated from clean ones.

    Args:
        clean: Columns of the clean dataset.
        ood: Columns of the out-of-distribution dataset, from the same model.
        num_resamples: Bootstrap resamples of both datasets; 0 for no intervals.
        key: Randomness of the resamples; needed unless `num_resamples` is 0.

    Returns:
        `OOD_METRICS` by name with `NAME_low` and `NAME_high`, and with `_ts` where
        both hold tempered scores.
    """
    values: dict[str, float] = {}
    for suffix in suffixes(ood):
        pair = (to_scores(clean, suffix), to_scores(ood, suffix))
        # Maximum logit and energy are taken at T = 1, whatever was fitted.
        names = tuple(n for n in OOD_METRICS if not suffix or n.endswith("max_softmax"))
        found = jax.device_get(_summarize_ood(*pair))
        values |= {name + suffix: float(found[name]) for name in names}
        if num_resamples and key is not None:
            bounds = jax.device_get(_ood_intervals(*pair, names, key, num_resamples))
            values |= _named_bounds(bounds, suffix)
    return values


def _named_bounds(bounds, suffix: str) -> dict[str, float]:
    values = {}
    for name, (low, high) in bounds.items():
        values[f"{name}{suffix}_low"] = float(low)
        values[f"{name}{suffix}_high"] = float(high)
    return values


def suffixes(columns: Columns) -> tuple[str, ...]:
    """The versions of the scores that the columns hold: "" and perhaps "_ts"."""
    return ("", "_ts") if "confidence_ts" in columns else ("",)


def to_scores(columns: Columns, suffix: str = "") -> ExampleScores:
    """Columns as the metrics take them, padded: a sweep meets many numbers of rows."""
    names = {name: name + suffix for name in TEMPERED_COLUMNS}
    fields = {
        name: columns[names.get(name, name)]
        for name in ExampleScores._fields
        if name != "mask"
    }
    every = np.ones(len(columns["label"]), bool)
    scores, _ = pad_examples(ExampleScores(**fields, mask=every))
    return jax.device_put(scores)


@functools.partial(jax.jit, static_argnums=1)
def _summarize(scores: ExampleScores, metrics: tuple[str, ...]):
    return summarize(scores, metrics)


@functools.partial(jax.jit, static_argnums=(1, 3))
def _intervals(scores: ExampleScores, metrics, key: jax.Array, num_resamples: int):
    return bootstrap_intervals(scores, metrics, key=key, num_resamples=num_resamples)


@functools.partial(jax.jit, static_argnums=(2, 4))
def _ood_intervals(clean, ood, metrics, key: jax.Array, num_resamples: int):
    return bootstrap_ood_intervals(
        clean, ood, metrics, key=key, num_resamples=num_resamples
    )


@jax.jit
def _summarize_ood(clean: ExampleScores, ood: ExampleScores):
    return summarize_ood(clean, ood)
