"""Coarse classes out of fine ones: the mean probability of each group."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from jaxbench.metrics.checks import (
    check_count,
    is_known,
    refuse,
    require_arrays,
    require_rows,
)
from jaxbench.metrics.logit_checks import refuse_probabilities
from jaxbench.metrics.meshes import compiled
from jaxbench.metrics.types import AnyArray, Logits


def group_logits(
    logits: Logits, groups: Int[AnyArray, " k"], *, num_groups: int
) -> Float[Array, "n groups"]:
    """Logits of coarse classes: the log of the mean probability over their classes.

    With p = softmax(logits) over all k classes, the logit of group g is
    log(mean of p_c over the classes c of g), the rule by which Geirhos et al. (2019,
    https://arxiv.org/abs/1811.12231) reduce 1,000 classes to 16. Formed without leaving
    the log domain, so a group whose probability underflows keeps its order. The softmax
    of the result is a distribution over the groups alone: what classes of no group had
    is shared out in proportion.

    Args:
        logits: Any float dtype; raised to float32. Divide by a temperature first.
        groups: Group of each class, in [0, num_groups), or -1 for none. Every group has
            a class.
        num_groups: Number of groups.

    Returns:
        float32 logits, each at most 0. A row with a NaN is NaN, and so is, under jit,
        a group without a class.

    Raises:
        ValueError: If `logits` is not a matrix of floats with a row or more, `groups`
            not one integer for each of its classes, or `num_groups` below one; and,
            outside jit, if a group is out of range or has no class.
    """
    check_count("num_groups", num_groups)
    require_arrays(logits=logits, groups=groups)
    refuse(_misfits(logits, groups))
    require_rows(logits.shape[0], None, "logits")
    refuse_probabilities(logits, None)
    if is_known(groups):
        refuse(_bad_groups(np.asarray(groups), num_groups))
    return _group(logits, groups, num_groups)


@partial(compiled, static_argnames="num_groups", by_row=True)
def _group(
    logits: Logits, groups: Int[AnyArray, " k"], num_groups: int
) -> Float[Array, "n groups"]:
    log_p = jax.nn.log_softmax(jnp.asarray(logits, jnp.float32), axis=1)
    # One segment more collects the classes of no group, and is dropped.
    classes = jnp.asarray(groups)
    segment = jnp.where(classes < 0, num_groups, classes)
    by_class = log_p.T
    top = jax.ops.segment_max(by_class, segment, num_groups + 1)
    summed = jax.ops.segment_sum(
        jnp.exp(by_class - top[segment]), segment, num_groups + 1
    )
    sizes = jax.ops.segment_sum(jnp.ones_like(segment), segment, num_groups + 1)
    grouped = top + jnp.log(summed) - jnp.log(sizes.astype(jnp.float32))[:, None]
    return grouped[:num_groups].T


def _misfits(logits: AnyArray, groups: AnyArray) -> list[str]:
    problems = []
    if logits.ndim != 2 or not jnp.issubdtype(logits.dtype, jnp.floating):
        problems.append(
            f"logits of shape {logits.shape} and dtype {logits.dtype}; wanted floating "
            "point numbers [n, k]"
        )
    elif groups.shape != logits.shape[1:]:
        problems.append(
            f"groups of shape {groups.shape}; wanted {logits.shape[1:]}, one for each "
            "class of the logits"
        )
    if not jnp.issubdtype(groups.dtype, jnp.integer):
        problems.append(f"groups of dtype {groups.dtype}; wanted integers")
    return problems


def _bad_groups(groups: np.ndarray, num_groups: int) -> list[str]:
    if groups.size and not -1 <= groups.min() <= groups.max() < num_groups:
        return [
            f"groups lie in [{groups.min()}, {groups.max()}]; wanted [0, {num_groups}) "
            "or -1 for none"
        ]
    empty = sorted(set(range(num_groups)) - set(groups.tolist()))
    if empty:
        return [
            f"groups: no class belongs to {len(empty)} of them, first {empty[0]}; "
            f"wanted a class in each of the {num_groups}"
        ]
    return []
