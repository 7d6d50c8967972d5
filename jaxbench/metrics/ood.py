"""Class-out-of-distribution detection at rising severity.

The choice of out-of-distribution classes decides how well a model detects them. Galil
et al. (2023), https://arxiv.org/abs/2302.11893, let the model rank them: a class is the
more severe the more confident the model is on its images, and detection is measured on
groups of classes from the easiest to the hardest.
"""

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, Key

from jaxbench.metrics.checks import (
    check_classes,
    check_columns,
    check_count,
    is_known,
    require_arrays,
    require_rows,
)
from jaxbench.metrics.meshes import compiled
from jaxbench.metrics.ranked import as_float, over_ranking, valid_rows
from jaxbench.metrics.ranking import auroc_of_counts
from jaxbench.metrics.records import record
from jaxbench.metrics.resampling import check_key
from jaxbench.metrics.sums import scatter_sum
from jaxbench.metrics.types import AnyArray, Column, Flags, Labels

NUM_LEVELS = 11


@record
class SeverityGroups(NamedTuple):
    """Groups of out-of-distribution classes by rising severity.

    Attributes:
        severity: Mean over the group's classes of their severity, one a level.
        contains: Whether each class belongs to the group of each level.
        class_severity: Mean confidence on each class's images.
    """

    severity: Float[jax.Array, " levels"]
    contains: Bool[jax.Array, "levels classes"]
    class_severity: Float[jax.Array, " classes"]


def class_severity(
    confidence: Column, classes: Labels, *, num_classes: int, mask: Flags | None = None
) -> Float[jax.Array, " classes"]:
    """Mean confidence on the images of each class; higher is harder to detect.

    Args:
        confidence: Any confidence function on out-of-distribution images.
        classes: Their classes, in [0, num_classes).
        num_classes: Number of out-of-distribution classes; known when tracing.
        mask: Rows that count: in the protocol the three quarters of each class that
            estimate severity. None counts all.

    Returns:
        The severity of each class; NaN for one without images, and throughout under
        jit if a class that counts is out of range.

    Raises:
        ValueError: If columns do not fit, num_classes < 1, a confidence is NaN, a
            class is out of range, or no row counts (the last three outside jit).
    """
    check_count("num_classes", num_classes)
    check_columns(
        mask, floats={"confidence": confidence}, integers={"classes": classes}
    )
    check_classes("classes", classes, mask, num_classes)
    return _class_means(confidence, classes, mask, num_classes)


def severity_groups(
    severity: Float[AnyArray, " classes"],
    *,
    group_size: int,
    key: Key[Array, ""],
    num_levels: int = NUM_LEVELS,
) -> SeverityGroups:
    """Groups of equally many classes, at evenly spaced percentiles of severity.

    Classes are sorted by severity, ties in random order. Every run of `group_size`
    successive classes is a group; the group at level q of 0, 0.1, ..., 1 is number
    floor(q G) of the G groups, the last one at q = 1. Galil et al. (2023), section 3:
    https://arxiv.org/abs/2302.11893.

    Args:
        severity: From `class_severity`.
        group_size: Classes of a group; the number of in-distribution classes in the
            paper.
        key: Orders tied classes.
        num_levels: Number of levels, >= 2; 11 in the paper.

    Returns:
        The groups. NaN severities throughout if a class has none.

    Raises:
        ValueError: If there are fewer than `group_size` classes, a number is below
            its least, or a class has no severity (outside jit).
    """
    require_arrays(severity=severity)
    check_key(key)
    if severity.ndim != 1:
        raise ValueError(f"severity of shape {severity.shape}; wanted a value a class")
    require_rows(severity.shape[0], None, "severity")
    num_classes = severity.shape[0]
    check_count("group_size", group_size)
    if num_levels < 2:
        raise ValueError(f"num_levels is {num_levels}; wanted an integer >= 2")
    if group_size > num_classes:
        raise ValueError(
            f"group_size is {group_size} and num_classes {num_classes}; "
            "wanted at least one group of them"
        )
    if is_known(severity) and bool(jnp.any(jnp.isnan(severity))):
        raise ValueError(
            f"severity is NaN for {int(jnp.sum(jnp.isnan(severity)))} classes: they "
            "have no images to estimate it from; leave them out"
        )
    return _groups(jnp.asarray(severity, jnp.float32), key, group_size, num_levels)


def severity_auroc(
    id_confidence: Column,
    ood_confidence: Float[AnyArray, " m"],
    ood_classes: Int[AnyArray, " m"],
    groups: SeverityGroups,
    *,
    id_mask: Flags | None = None,
    ood_mask: Bool[AnyArray, " m"] | None = None,
) -> Float[jax.Array, " levels"]:
    """AUROC of in- against out-of-distribution images at each level of severity.

    Args:
        id_confidence: On in-distribution images, the positive class.
        ood_confidence: On out-of-distribution images, others than those that
            estimated the severity.
        ood_classes: Their classes.
        groups: From `severity_groups`.
        id_mask: In-distribution rows that count; None counts all.
        ood_mask: Out-of-distribution rows that count; None counts all.

    Returns:
        One AUROC a level, in [0, 1], higher is better. NaN at a level without images.

    Raises:
        ValueError: If columns do not fit, a confidence is NaN, a class is out of
            range, or no row of either counts (the last three outside jit).
    """
    check_columns(id_mask, floats={"id_confidence": id_confidence})
    check_columns(
        ood_mask,
        floats={"ood_confidence": ood_confidence},
        integers={"ood_classes": ood_classes},
    )
    num_classes = groups.contains.shape[1]
    check_classes("ood_classes", ood_classes, ood_mask, num_classes)
    return _level_aurocs(
        id_confidence, ood_confidence, ood_classes, groups.contains, id_mask, ood_mask
    )


@partial(compiled, static_argnames="num_classes")
def _class_means(confidence, classes, mask, num_classes: int):
    classes, valid = jnp.asarray(classes), valid_rows(classes, mask)
    known = valid & (classes >= 0) & (classes < num_classes)
    place = jnp.where(known, classes, num_classes)
    values = jnp.where(known, jnp.asarray(confidence, jnp.float32), 0.0)
    total = scatter_sum(place, values, num_classes)
    count = jnp.zeros(num_classes, jnp.int32).at[place].add(1, mode="drop")
    sane = ~jnp.any(valid & ~known)
    return jnp.where(sane, total / as_float(count), jnp.nan)


@partial(compiled, static_argnames=("group_size", "num_levels"))
def _groups(severity, key, group_size: int, num_levels: int) -> SeverityGroups:
    num_classes = severity.shape[0]
    shuffled = jax.random.permutation(key, num_classes).astype(jnp.int32)
    order = shuffled[jnp.argsort(severity[shuffled], stable=True)]
    num_groups = num_classes - group_size + 1
    # floor(q G) in integers: 0.3 * 10 is no 3 in floating point.
    last = num_levels - 1
    starts = jnp.array(
        [min(level * num_groups // last, num_groups - 1) for level in range(num_levels)]
    )
    place = jnp.zeros(num_classes, jnp.int32)
    place = place.at[order].set(jnp.arange(num_classes, dtype=jnp.int32))
    inside = place[None, :] - starts[:, None]
    contains = (inside >= 0) & (inside < group_size)
    means = jnp.sum(jnp.where(contains, severity[None, :], 0.0), axis=1) / group_size
    whole = ~jnp.any(jnp.isnan(severity))
    return SeverityGroups(jnp.where(whole, means, jnp.nan), contains, severity)


@compiled
def _level_aurocs(
    id_confidence, ood_confidence, ood_classes, contains, id_mask, ood_mask
):
    confidence = jnp.concatenate(
        [jnp.asarray(c, jnp.float32) for c in (id_confidence, ood_confidence)]
    )
    id_valid = valid_rows(id_confidence, id_mask)
    ood_valid = valid_rows(ood_confidence, ood_mask)
    classes = jnp.asarray(ood_classes)
    known = (classes >= 0) & (classes < contains.shape[1])
    index = jnp.clip(classes, 0, contains.shape[1] - 1)
    is_id = jnp.arange(confidence.shape[0]) < id_valid.shape[0]

    def at(inside: Bool[jax.Array, " classes"]):
        mask = jnp.concatenate([id_valid, ood_valid & known & inside[index]])
        return over_ranking(auroc_of_counts, confidence, is_id, mask)

    sane = ~jnp.any(ood_valid & ~known)
    return jnp.where(sane, jax.lax.map(at, contains), jnp.nan)
