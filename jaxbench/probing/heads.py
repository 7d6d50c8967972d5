"""What a probe leaves: a linear map over features that were brought to one scale."""

import dataclasses
import functools
from typing import Literal, get_args

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from jaxbench.data.source import label_misfit
from jaxbench.data.splits import stratified_order
from jaxbench.errors import UserError, unknown_name
from jaxbench.probing.features import Features

FeatureNorm = Literal["none", "l2", "standardize", "batch_norm"]
FEATURE_NORMS: tuple[str, ...] = get_args(FeatureNorm)

# Rows whose logits are computed at a time.
_ROWS = 4096


@dataclasses.dataclass(frozen=True, eq=False)
class LinearHead:
    """logits = ((x - mean) / scale) @ kernel + bias, with x of unit length if so asked.

    Attributes:
        kernel: float32 [width, classes].
        bias: float32 [classes].
        mean: float32 [width], subtracted from features.
        scale: float32 [width], what they are divided by.
        unit_length: Whether each feature vector is divided by its Euclidean length
            first.
    """

    kernel: Float[np.ndarray, "w c"]
    bias: Float[np.ndarray, " c"]
    mean: Float[np.ndarray, " w"]
    scale: Float[np.ndarray, " w"]
    unit_length: bool = False

    def logits(self, features: Features) -> Float[np.ndarray, "n c"]:
        """Logits of every example, float32 [n, classes]."""
        parts = []
        for start in range(0, len(features), _ROWS):
            rows = np.asarray(features.values[start : start + _ROWS])
            padded = np.pad(rows, ((0, _ROWS - len(rows)), (0, 0)))
            weights = (self.kernel, self.bias, self.mean, self.scale)
            found = _apply(padded, *weights, unit_length=self.unit_length)
            parts.append(np.asarray(found)[: len(rows)])
        return np.concatenate(parts)


def scaling(
    norm: FeatureNorm, values: Float[np.ndarray, "n w"]
) -> tuple[Float[np.ndarray, " w"], Float[np.ndarray, " w"]]:
    """Mean and scale of training features, from one pass in float64.

    A feature that never varies keeps scale 1. Under "none" and "l2" nothing is
    subtracted or divided, and "batch_norm" takes its statistics batch by batch.

    Raises:
        ValueError: If the norm is unknown.
    """
    if norm not in FEATURE_NORMS:
        raise ValueError(unknown_name("feature norm", norm, FEATURE_NORMS))
    width = values.shape[1]
    if norm != "standardize":
        return np.zeros(width, np.float32), np.ones(width, np.float32)
    total, count = np.zeros(width), len(values)
    for start in range(0, count, _ROWS):
        total += np.asarray(values[start : start + _ROWS], np.float64).sum(axis=0)
    mean = total / count
    squares = np.zeros(width)
    for start in range(0, count, _ROWS):
        rows = np.asarray(values[start : start + _ROWS], np.float64)
        squares += ((rows - mean) ** 2).sum(axis=0)
    std = np.sqrt(squares / count)
    # Rounding leaves a constant feature a spread of its own size times 1e-7.
    std[std <= 1e-6 * np.abs(mean)] = 1.0
    std[std == 0] = 1.0
    return mean.astype(np.float32), std.astype(np.float32)


def to_unit_length(x: Float[Array, "n w"]) -> Float[Array, "n w"]:
    """Rows divided by their Euclidean length; a row of zeros stays one."""
    length = jnp.sqrt(jnp.sum(x * x, axis=1, keepdims=True))
    return x / jnp.maximum(length, 1e-12)


def check_features(
    train: Features, others: tuple[Features, ...], num_classes: int
) -> None:
    """Refuses features that no probe can be fitted on.

    Raises:
        UserError: If there are none, widths differ, or labels are not [n] or out of
            range; all of it is named.
    """
    problems = []
    if not len(train):
        problems.append("the training features are empty")
    widths = {part.values.shape[1] for part in (train, *others)}
    if len(widths) > 1:
        problems.append(f"features have widths {sorted(widths)}, wanted one")
    for part in (train, *others):
        if misfit := label_misfit(part.labels):
            problems.append(misfit)
            continue
        outside = (part.labels < 0) | (part.labels >= num_classes)
        if outside.any():
            problems.append(
                f"{int(outside.sum())} labels are outside 0 to {num_classes - 1}"
            )
    if len(train) and len(np.unique(train.labels)) < 2:
        problems.append("all training labels are the same class")
    if problems:
        raise UserError(f"probe: {'; '.join(problems)}")


def validation_rows(
    labels: Int[np.ndarray, " n"], ids: np.ndarray, share: float, seed: int
) -> tuple[Int[np.ndarray, " a"], Int[np.ndarray, " b"]]:
    """Splits training examples: positions to fit on, and stratified ones to choose by.

    Args:
        labels: Class of each example.
        ids: Name of each example; with the seed and the labels they decide the draw.
        share: Part of the examples to choose by, in (0, 1).
        seed: Another seed, another draw.

    Raises:
        UserError: If one of the two parts would be empty.
    """
    count = round(share * len(labels))
    if not 0 < count < len(labels):
        raise UserError(
            f"a share of {share:g} of {len(labels)} training images is {count}; give a "
            "validation set, or another share"
        )
    order = stratified_order(labels, list(ids), seed)
    return np.sort(order[count:]), np.sort(order[:count])


@functools.partial(jax.jit, static_argnames="unit_length")
def _apply(x, kernel, bias, mean, scale, *, unit_length: bool):
    rows = to_unit_length(x) if unit_length else x
    # Full float32: a probe is small, and accelerators would round to 10 bits.
    scaled = (rows - mean[None]) / scale[None]
    return jnp.matmul(scaled, kernel, precision="highest") + bias[None]
