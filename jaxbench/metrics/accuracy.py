"""Accuracy: the share of examples that are right, overall and class by class."""

from functools import partial

import jax
import jax.numpy as jnp
from jaxtyping import Float, Int

from jaxbench.metrics.checks import (
    check_classes,
    check_columns,
    check_count,
    takes_scores,
)
from jaxbench.metrics.meshes import compiled
from jaxbench.metrics.ranked import as_float, masked_mean, valid_rows
from jaxbench.metrics.types import Flags, Labels, Scalar


@takes_scores
def accuracy(correct: Flags, *, mask: Flags | None = None) -> Scalar:
    """The share of right examples.

    Args:
        correct: Whether each example is right.
        mask: Rows that count; None counts all.

    Returns:
        A fraction in [0, 1], higher is better; NaN under jit if no row counts.

    Raises:
        ValueError: If columns do not fit, or no row counts (outside jit).
    """
    check_columns(mask, flags={"correct": correct})
    return masked_mean(correct.astype("float32"), mask)


@takes_scores
def top_k_accuracy(label_rank: Labels, *, k: int, mask: Flags | None = None) -> Scalar:
    """The share of examples whose label is beaten by fewer than k classes.

    Russakovsky et al. (2015), section 4.1: https://arxiv.org/abs/1409.0575.

    Args:
        label_rank: How many classes beat the label; see `ExampleScores`.
        k: Number of guesses, >= 1.
        mask: Rows that count; None counts all.

    Returns:
        A fraction in [0, 1], higher is better; NaN under jit if no row counts.

    Raises:
        ValueError: If columns do not fit, k < 1, or no row counts (outside jit).
    """
    check_count("k", k)
    check_columns(mask, integers={"label_rank": label_rank})
    return masked_mean((jnp.asarray(label_rank) < k).astype(jnp.float32), mask)


def per_class_accuracy(
    labels: Labels, correct: Flags, *, num_classes: int, mask: Flags | None = None
) -> Float[jax.Array, " k"]:
    """The share of right examples of each class: its recall.

    Args:
        labels: Classes in [0, num_classes).
        correct: Whether each example is right.
        num_classes: Number of classes; known when tracing.
        mask: Rows that count; None counts all.

    Returns:
        A fraction in [0, 1] for each class; NaN for a class without examples, and
        throughout under jit if a label that counts is not a class.

    Raises:
        ValueError: If columns do not fit, num_classes < 1, a label that counts is no
            class, or no row counts (the last two outside jit).
    """
    _check_classes(num_classes, mask, labels=labels)
    check_columns(mask, flags={"correct": correct}, integers={"labels": labels})
    return _recalls(labels, correct, mask, num_classes)


def balanced_accuracy(
    labels: Labels, correct: Flags, *, num_classes: int, mask: Flags | None = None
) -> Scalar:
    """The mean over classes of the share of their examples that are right.

    Classes without examples are left out. Brodersen et al. (2010):
    https://doi.org/10.1109/ICPR.2010.764.

    Args:
        labels: Classes in [0, num_classes).
        correct: Whether each example is right.
        num_classes: Number of classes; known when tracing.
        mask: Rows that count; None counts all.

    Returns:
        A fraction in [0, 1], higher is better; NaN under jit if no row counts or a
        label that counts is not a class.

    Raises:
        ValueError: As `per_class_accuracy`.
    """
    recalls = per_class_accuracy(labels, correct, num_classes=num_classes, mask=mask)
    valid = valid_rows(labels, mask)
    known = (jnp.asarray(labels) >= 0) & (jnp.asarray(labels) < num_classes)
    sane = ~jnp.any(valid & ~known)
    return jnp.where(sane, jnp.nanmean(recalls), jnp.nan)


def confusion_matrix(
    labels: Labels,
    predictions: Labels,
    *,
    num_classes: int,
    mask: Flags | None = None,
) -> Int[jax.Array, "k k"]:
    """How often each label (row) was given each prediction (column).

    Args:
        labels: Classes in [0, num_classes).
        predictions: Classes in [0, num_classes).
        num_classes: Number of classes; known when tracing.
        mask: Rows that count; None counts all.

    Returns:
        Counts, int32. An integer knows no NaN: under jit, a row that counts and
        holds no class is left out, and the sum of the matrix shows it.

    Raises:
        ValueError: If columns do not fit, num_classes < 1, a label or prediction
            that counts is not a class, or no row counts (the last two outside jit).
    """
    _check_classes(num_classes, mask, labels=labels, predictions=predictions)
    return _confusion(labels, predictions, mask, num_classes)


@partial(compiled, static_argnames="num_classes")
def _recalls(labels, correct, mask, num_classes: int) -> Float[jax.Array, " k"]:
    labels, valid = jnp.asarray(labels), valid_rows(labels, mask)
    known = valid & (labels >= 0) & (labels < num_classes)
    # Out of range is dropped; a negative index would count from the end.
    place = jnp.where(known, labels, num_classes)
    count = jnp.zeros(num_classes, jnp.int32).at[place].add(1, mode="drop")
    right = jnp.asarray(correct).astype(jnp.int32)
    found = jnp.zeros(num_classes, jnp.int32).at[place].add(right, mode="drop")
    sane = ~jnp.any(valid & ~known)
    return jnp.where(sane, as_float(found) / as_float(count), jnp.nan)


@partial(compiled, static_argnames="num_classes")
def _confusion(labels, predictions, mask, num_classes: int) -> Int[jax.Array, "k k"]:
    valid = valid_rows(labels, mask)
    places = []
    for column in (labels, predictions):
        column = jnp.asarray(column)
        known = valid & (column >= 0) & (column < num_classes)
        places.append(jnp.where(known, column, num_classes))
    empty = jnp.zeros((num_classes, num_classes), jnp.int32)
    return empty.at[places[0], places[1]].add(1, mode="drop")


def _check_classes(num_classes: int, mask: Flags | None, **columns: Labels) -> None:
    check_count("num_classes", num_classes)
    check_columns(mask, integers=columns)
    for name, column in columns.items():
        check_classes(name, column, mask, num_classes)
