"""A user's own metric, beside those of the table."""

import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from jaxbench.errors import UserError
from jaxbench.metrics.catalog import (
    CONFIDENCES,
    SCORE_METRICS,
    Direction,
    Kind,
    ScoreMetric,
)
from jaxbench.metrics.samples import Sample, sort_scores
from jaxbench.metrics.scores import score_examples
from jaxbench.metrics.types import Scalar


def register_metric(
    name: str,
    kernel: Callable[[Sample], Any],
    *,
    direction: Direction = "none",
    range: tuple[float, float] = (-math.inf, math.inf),
    kind: Kind = "mean",
    reference: str = "",
) -> None:
    """Adds a user's own metric to those of this process.

    `summarize`, `bootstrap_intervals`, evaluations, sweeps and the command line then
    know its name.

    Args:
        name: Not one that the table has.
        kernel: From a `Sample` to a scalar. `sample.mean(column)` is the mean of one
            of the columns of `sample.scores`; `sample.counts.weights` says how often
            each example occurs, and `sample.counts.correct` whether it is right. It is
            traced: no value can be looked at. NaN means undefined.
        direction: Whether a higher or a lower value is better, or neither.
        range: Least and greatest value.
        kind: "order" if it depends on the order by confidence alone, and so is defined
            for every confidence function; else "mean" or "bins".
        reference: Where it is defined.

    Raises:
        UserError: If the name is taken, or the kernel fails or gives no real scalar.
    """
    if not SCORE_METRICS.is_new(name, kernel):
        return
    try:
        found = jax.eval_shape(
            lambda logits, labels: kernel(_sample(logits, labels)),
            jax.ShapeDtypeStruct((8, 3), jnp.float32),
            jax.ShapeDtypeStruct((8,), jnp.int32),
        )
    except Exception as error:
        raise UserError(
            f"metric {name!r}: its function raises {type(error).__name__} when traced "
            f"on a sample of 8 examples: {error}"
        ) from error
    shape, dtype = getattr(found, "shape", None), getattr(found, "dtype", None)
    if shape != () or not jnp.isrealobj(jnp.zeros((), dtype)):
        got = f"{dtype}{list(shape)}" if shape is not None else type(found).__name__
        raise UserError(
            f"metric {name!r} gives {got}, wanted a real scalar, such as "
            "sample.mean(column)"
        )

    def as_float32(sample: Sample) -> Scalar:
        return jnp.asarray(kernel(sample), jnp.float32)

    row = ScoreMetric(as_float32, kind, direction, range, reference)
    SCORE_METRICS.add(name, row, kernel)


def _sample(logits: jax.Array, labels: jax.Array) -> Sample:
    scores = score_examples(logits, labels)
    return Sample.of(sort_scores(scores, CONFIDENCES["max_softmax"](scores)))
