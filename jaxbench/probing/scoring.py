"""From a probe's logits to the columns and metrics of any other evaluation."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from jaxbench.data.scoring import Scoring
from jaxbench.engine.decisions import decide, decision_rules, decision_shape
from jaxbench.engine.step import TEMPERED_COLUMNS
from jaxbench.errors import UserError
from jaxbench.metrics import fit_temperature
from jaxbench.probing.features import Features

# Rows that are scored at a time; the last block is filled up.
_ROWS = 4096


def score_columns(
    logits: Float[np.ndarray, "n c"],
    features: Features,
    *,
    scoring: Scoring | None = None,
    positions: np.ndarray | None = None,
    unlabelled: bool = False,
    temperature: float | None = None,
) -> dict[str, np.ndarray]:
    """Per-example columns of logits, as `jaxbench.evaluate` leaves them.

    Args:
        logits: [n, classes].
        features: Whose labels and ids these are.
        scoring: How the dataset asks for decisions; None for one label an image.
        positions: Row of each example in the dataset that `scoring` is of; needed for
            sets of labels.
        unlabelled: Whether labels are not looked at (out-of-distribution images).
        temperature: A second temperature to score at: columns `NAME_ts`.

    Returns:
        `id`, `label` and the columns of `ExampleScores`, each [n].
    """
    if unlabelled and scoring is not None:
        scoring = scoring.without_sets()
    labels = np.full(len(features), -1, np.int32) if unlabelled else features.labels
    if scoring is not None and scoring.label_sets is not None:
        assert positions is not None
        labels = scoring.label_sets[positions].astype(np.int32)
    shape, rules = decision_shape(scoring), decision_rules(scoring)
    parts = []
    for start in range(0, len(features), _ROWS):
        block = slice(start, start + _ROWS)
        missing = _ROWS - len(features.labels[block])
        rows = _fill(logits[block], missing, 0)
        marks = np.arange(_ROWS) < _ROWS - missing
        found = _score(
            rules,
            rows,
            _fill(labels[block], missing, -1),
            marks,
            None if temperature is None else np.float32(temperature),
            shape=shape,
        )
        found = jax.device_get(found)
        parts.append({name: column[marks] for name, column in found.items()})
    columns = {
        name: np.concatenate([part[name] for part in parts]) for name in parts[0]
    }
    return {"id": features.ids.astype(object)} | columns


def fit_probe_temperature(
    logits: Float[np.ndarray, "n c"], features: Features, scoring: Scoring | None
) -> float:
    """The temperature with the least mean NLL on calibration features.

    Raises:
        UserError: If the dataset's labels are sets or coarse classes.
        ValueError: If no row of logits is finite.
    """
    if scoring and (scoring.groups is not None or scoring.label_sets is not None):
        raise UserError(
            "the calibration set has sets of labels or coarse classes; fit the "
            "temperature on images with one label each of the probe's own classes"
        )
    finite = np.asarray(np.isfinite(logits).all(axis=1))
    if not finite.any():
        raise ValueError("every logit on the calibration images is NaN or infinite")
    allowed = scoring.class_mask if scoring else None
    found = fit_temperature(logits, features.labels, mask=finite, class_mask=allowed)
    return float(found)


def _fill(rows: np.ndarray, missing: int, value: int) -> np.ndarray:
    widths = [(0, missing)] + [(0, 0)] * (rows.ndim - 1)
    return np.pad(rows, widths, constant_values=value)


@functools.partial(jax.jit, static_argnames="shape")
def _score(rules, logits, labels, mask, temperature, *, shape):
    scores = decide(shape, rules, logits, labels, mask)._asdict()
    columns = {name: column for name, column in scores.items() if name != "mask"}
    if temperature is not None:
        warm = decide(shape, rules, logits, labels, mask, jnp.asarray(temperature))
        columns |= {f"{name}_ts": getattr(warm, name) for name in TEMPERED_COLUMNS}
    return columns
