"""Learning rates over the steps of a run, as functions of traced values."""

import jax.numpy as jnp
from jaxtyping import Array, Float, Int, Shaped


def warmup_cosine(
    step: Int[Array, ""],
    *,
    peak: Float[Array, ""],
    warmup_steps: Int[Array, ""],
    total_steps: Int[Array, ""],
) -> Shaped[Array, ""]:
    """Linear warm-up to `peak`, then half a cosine down to zero.

    With w warm-up and t total steps, step s (from 0) takes
    `peak (s + 1) / (w + 1)` while s < w and
    `peak (1 + cos(pi (s - w) / (t - w))) / 2` after it. No step is lost at rate zero:
    the first takes `peak / (w + 1)`, and zero is reached at s = t, the step after the
    last. Loshchilov & Hutter (2017), eq. 5, without restarts:
    https://arxiv.org/abs/1608.03983

    Args:
        step: Index of the step.
        peak: Largest rate, taken at s = w.
        warmup_steps: w, at most t; 0 starts at the peak.
        total_steps: t, positive.

    Returns:
        The float32 rate in [0, peak]; zero from s = t on.
    """
    at, warmup, total = (
        value.astype(jnp.float32) for value in (step, warmup_steps, total_steps)
    )
    rising = (at + 1) / (warmup + 1)
    # w = t leaves no step to the cosine, and its fraction would be 0 / 0.
    fraction = jnp.clip((at - warmup) / jnp.maximum(total - warmup, 1), 0, 1)
    falling = (1 + jnp.cos(jnp.pi * fraction)) / 2
    return peak * jnp.where(at < warmup, rising, falling)
