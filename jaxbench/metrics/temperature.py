"""Temperature scaling: one number, fitted on held-out images, that mends confidence."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Bool, Float, Int

from jaxbench.metrics.ranked import require_examples, valid_rows
from jaxbench.metrics.types import ClassMask, Flags, Labels, Logits, Scalar

MIN_TEMPERATURE = 0.01
MAX_TEMPERATURE = 100.0

# A relative error of 1e-6 in T is float32's own; bisection alone gets there from the
# widest bracket in 24 steps, Newton in about six.
_TOLERANCE = 1e-6
_MAX_STEPS = 40


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
    It converges, to a relative 1e-6; there is no learning rate and no step count to
    choose. Jitted; works under vmap (one temperature a model).

    Fit on images that are not evaluated: the fitted T is optimistic on its own.

    Args:
        logits: Any float dtype; raised to float32.
        labels: Classes in [0, k).
        mask: Rows that count; None counts all.
        class_mask: As in `score_examples`.

    Returns:
        T in [0.01, 100]. Where every image is right the NLL falls for ever as T goes
        to 0, and the result is 0.01, the lower bound; where the logits do worse than
        guessing it is 100. Where the NLL does not depend on T (equal logits), 1. NaN
        if a row that counts has a non-finite logit or a label outside [0, k) or
        `class_mask`, or, under jit, if no row counts.

    Raises:
        ValueError: If no row counts (outside jit).
    """
    require_examples(labels, mask)
    valid = valid_rows(labels, mask)
    allowed = jnp.ones(logits.shape[1], bool)
    if class_mask is not None:
        allowed = jnp.asarray(class_mask)
    return _fit(
        jnp.asarray(logits, jnp.float32), jnp.asarray(labels, jnp.int32), valid, allowed
    )


@jax.jit
def _fit(
    logits: Float[jax.Array, "n k"],
    labels: Int[jax.Array, " n"],
    valid: Bool[jax.Array, " n"],
    allowed: Bool[jax.Array, " k"],
) -> Scalar:
    num_classes = logits.shape[1]
    index = jnp.clip(labels, 0, num_classes - 1)
    usable = jnp.all(jnp.isfinite(logits) | ~allowed[None, :], axis=1)
    usable &= (labels >= 0) & (labels < num_classes) & allowed[index]
    keep = (valid & usable)[:, None] & allowed[None, :]
    label_logit = jnp.take_along_axis(logits, index[:, None], axis=1)
    # Relative to the label's: the NLL is then logsumexp(excess / T), and a row that
    # does not count has no excess.
    excess = jnp.where(keep, logits - label_logit, 0.0)

    def slope_and_curvature(log_t):
        inverse = jnp.exp(-log_t)
        p = jax.nn.softmax(jnp.where(allowed[None, :], excess * inverse, -jnp.inf))
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

    low, high = jnp.log(jnp.float32([MIN_TEMPERATURE, MAX_TEMPERATURE]))
    start = _Bracket(low, high, jnp.float32(0), jnp.float32(jnp.inf), jnp.int32(0))
    temperature = jnp.exp(jax.lax.while_loop(unfinished, improve, start).log_t)
    at_low, _ = slope_and_curvature(low)
    at_high, _ = slope_and_curvature(high)
    flat = jnp.all(excess == 0)
    temperature = jnp.where(at_low <= 0, MIN_TEMPERATURE, temperature)
    temperature = jnp.where(at_high >= 0, MAX_TEMPERATURE, temperature)
    temperature = jnp.where(flat, 1.0, temperature)
    sound = jnp.any(valid) & ~jnp.any(valid & ~usable)
    return jnp.where(sound, temperature, jnp.nan).astype(jnp.float32)
