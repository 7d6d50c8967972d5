"""Temperature scaling: one number, fitted on held-out images, that mends confidence."""

import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Bool, Float, Int

from jaxbench.metrics.checks import refuse, require_arrays, require_rows
from jaxbench.metrics.logit_checks import logit_misfits, refuse_probabilities
from jaxbench.metrics.meshes import compiled
from jaxbench.metrics.ranked import valid_rows
from jaxbench.metrics.types import AnyArray, ClassMask, Flags, Labels, Logits, Scalar

MIN_TEMPERATURE = 0.01
MAX_TEMPERATURE = 100.0

# A relative error of 1e-6 in T is float32's own; bisection alone gets there from the
# widest bracket in 24 steps, Newton in about six.
_TOLERANCE = 1e-6
_MAX_STEPS = 40


class FitRows(NamedTuple):
    """What a calibration is fitted on: checked shapes, float32, no optional masks."""

    logits: Float[jax.Array, "n k"]
    labels: Int[jax.Array, " n"]
    valid: Bool[jax.Array, " n"]
    allowed: Bool[jax.Array, " k"]


class UsableRows(NamedTuple):
    """Which rows a fit sees, and whether it may be trusted.

    Attributes:
        label: The labels, clipped to [0, k).
        keep: Rows that count and have finite logits and a possible label.
        sound: Whether some row counts and every row that counts is kept.
    """

    label: Int[jax.Array, " n"]
    keep: Bool[jax.Array, " n"]
    sound: Bool[jax.Array, ""]


class _Bracket(NamedTuple):
    """log T, and bounds on it between which the derivative changes sign."""

    low: Float[jax.Array, ""]
    high: Float[jax.Array, ""]
    log_t: Float[jax.Array, ""]
    change: Float[jax.Array, ""]
    step: Int[jax.Array, ""]


def fit_temperature(
    logits: Logits,
    labels: Labels,
    *,
    mask: Flags | None = None,
    class_mask: ClassMask | None = None,
) -> Scalar:
    """The temperature at which softmax(logits / T) has the least mean NLL.

    Guo et al. (2017), section 4.2: https://arxiv.org/abs/1706.04599. The NLL is
    convex in 1 / T, so its derivative has one zero. Newton's method on log T finds
    it, kept inside a shrinking bracket: a step that would leave it bisects instead.
    It converges, to a relative 1e-6, without a learning rate or a step count to
    choose. Jitted; works under vmap (one temperature a model) and inside shard_map.

    Fit on images that are not evaluated: the fitted T is optimistic on its own.

    Args:
        logits: Any float dtype; raised to float32.
        labels: Classes in [0, k).
        mask: Rows that count; None counts all.
        class_mask: As in `score_examples`.

    Returns:
        T in [0.01, 100]. Where every image is right the NLL falls without bound as T
        goes to 0, and the result is 0.01, the lower bound; where the logits do worse
        than guessing it is 100. Where the NLL does not depend on T (equal logits), 1.
        NaN if a row that counts has a non-finite logit or a label outside [0, k) or
        `class_mask`, or, under jit, if no row counts.

    Raises:
        ValueError: If an array has a wrong shape or dtype (labels are integers, masks
            booleans), or no row counts (outside jit).
    """
    rows = as_fit_rows("fit_temperature", logits, labels, mask, class_mask)
    return least_nll_temperature(rows)


def as_fit_rows(
    name: str,
    logits: AnyArray,
    labels: AnyArray,
    mask: AnyArray | None,
    class_mask: AnyArray | None,
) -> FitRows:
    """Checks the arguments of a fit called `name`, and fills in its masks.

    Raises:
        ValueError: If an array has a wrong shape or dtype, or no row counts (outside
            jit).
    """
    require_arrays(logits=logits, labels=labels, mask=mask, class_mask=class_mask)
    problems = logit_misfits(logits, labels, mask, class_mask)
    refuse([f"{name}: {problem}" for problem in problems])
    num_rows, num_classes = logits.shape
    require_rows(num_rows, mask, "logits")
    refuse_probabilities(logits, mask)
    allowed = jnp.ones(num_classes, bool)
    if class_mask is not None:
        allowed = jnp.asarray(class_mask)
    return FitRows(
        logits=jnp.asarray(logits, jnp.float32),
        labels=jnp.asarray(labels, jnp.int32),
        valid=valid_rows(labels, mask),
        allowed=allowed,
    )


def usable_rows(rows: FitRows) -> UsableRows:
    """The rows that a fit can use."""
    num_classes = rows.logits.shape[1]
    label = jnp.clip(rows.labels, 0, num_classes - 1)
    usable = jnp.all(jnp.isfinite(rows.logits) | ~rows.allowed[None, :], axis=1)
    usable &= (rows.labels == label) & rows.allowed[label]
    sound = jnp.any(rows.valid) & ~jnp.any(rows.valid & ~usable)
    return UsableRows(label, rows.valid & usable, sound)


def logits_above_label(rows: FitRows, usable: UsableRows) -> Float[jax.Array, "n k"]:
    """Logits less the label's, so that logsumexp is the NLL; 0 where nothing counts."""
    label_logit = jnp.take_along_axis(rows.logits, usable.label[:, None], axis=1)
    counts = usable.keep[:, None] & rows.allowed[None, :]
    return jnp.where(counts, rows.logits - label_logit, 0.0)


@compiled
def least_nll_temperature(rows: FitRows) -> Scalar:
    """`fit_temperature` of checked arguments."""
    usable = usable_rows(rows)
    excess = logits_above_label(rows, usable)

    def slope_and_curvature(log_t):
        inverse = jnp.exp(-log_t)
        p = jax.nn.softmax(jnp.where(rows.allowed[None, :], excess * inverse, -jnp.inf))
        mean = jnp.sum(p * excess, axis=1)
        spread = jnp.square(excess - mean[:, None])
        return jnp.sum(mean), inverse * jnp.sum(p * spread)

    def unfinished(state: _Bracket):
        return (jnp.abs(state.change) > _TOLERANCE) & (state.step < _MAX_STEPS)

    def improve(state: _Bracket) -> _Bracket:
        # d NLL / d(1/T) is the sum of the rows' mean excess, which rises with 1/T:
        # positive means that T must grow.
        slope, curvature = slope_and_curvature(state.log_t)
        low = jnp.where(slope > 0, state.log_t, state.low)
        high = jnp.where(slope < 0, state.log_t, state.high)
        newton = state.log_t + slope / curvature
        inside = (newton > low) & (newton < high)
        log_t = jnp.where(inside, newton, (low + high) / 2)
        log_t = jnp.where(slope == 0, state.log_t, log_t)
        return _Bracket(low, high, log_t, log_t - state.log_t, state.step + 1)

    def constant(value: float) -> Scalar:
        # In the image of the data: a loop inside shard_map wants its state to vary
        # over devices from the start if it does so at the end.
        return jnp.full_like(excess, value, shape=())

    low = constant(math.log(MIN_TEMPERATURE))
    high = constant(math.log(MAX_TEMPERATURE))
    start = _Bracket(low, high, constant(0.0), constant(jnp.inf), jnp.int32(0))
    temperature = jnp.exp(jax.lax.while_loop(unfinished, improve, start).log_t)
    at_low, _ = slope_and_curvature(low)
    at_high, _ = slope_and_curvature(high)
    flat = jnp.all(excess == 0)
    temperature = jnp.where(at_low <= 0, MIN_TEMPERATURE, temperature)
    temperature = jnp.where(at_high >= 0, MAX_TEMPERATURE, temperature)
    temperature = jnp.where(flat, 1.0, temperature)
    return jnp.where(usable.sound, temperature, jnp.nan).astype(jnp.float32)
