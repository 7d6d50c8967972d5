"""Training losses, one number per example."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int


def cross_entropy(
    logits: Float[Array, "n k"],
    labels: Int[Array, " n"],
    *,
    label_smoothing: float = 0.0,
) -> Float[Array, " n"]:
    """Cross-entropy against labels smoothed towards the uniform distribution.

    With s the smoothing and p the softmax of the logits,
    `-(1 - s) log p[label] - (s / k) sum_j log p[j]`: the target keeps `1 - s + s / k`
    on the label, as in Szegedy et al. (2016), section 7, and in torch.
    https://arxiv.org/abs/1512.00567

    Args:
        logits: Unnormalised log-probabilities over k classes, of any float dtype.
        labels: Classes in [0, k).
        label_smoothing: s in [0, 1); 0 is the plain cross-entropy.

    Returns:
        Nats per example, float32 whatever the logits' dtype.
    """
    log_probabilities = jax.nn.log_softmax(logits.astype(jnp.float32))
    of_label = jnp.take_along_axis(log_probabilities, labels[:, None], axis=1)[:, 0]
    if not label_smoothing:
        return -of_label
    uniform = log_probabilities.mean(axis=1)
    return -(1 - label_smoothing) * of_label - label_smoothing * uniform
