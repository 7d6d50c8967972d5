"""Training losses, one number per example.

Both losses are linear in the target, so an example that is mixed of two images needs no
dense target: its loss is the mean of the losses against either label.
"""

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Literal

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

Logits = Float[Array, "n k"]
Labels = Int[Array, " n"]
Losses = Float[Array, " n"]
Smoothing = float | Float[Array, ""]
LossName = Literal["cross_entropy", "binary_cross_entropy"]
DistillationKind = Literal["soft", "hard"]


def cross_entropy(
    logits: Logits, labels: Labels, *, label_smoothing: Smoothing = 0.0
) -> Losses:
    """Cross-entropy against labels smoothed towards the uniform distribution.

    With s the smoothing and p the softmax of the logits,
    `-(1 - s) log p[label] - (s / k) sum_j log p[j]`: the target keeps `1 - s + s / k`
    on the label, as in Szegedy et al. (2016), section 7, and in torch.
    https://arxiv.org/abs/1512.00567

    Args:
        logits: Unnormalised log-probabilities over k classes, of any float dtype.
        labels: Classes in [0, k).
        label_smoothing: s in [0, 1), may be traced; 0 is the plain cross-entropy.

    Returns:
        Nats per example, float32 whatever the logits' dtype.
    """
    log_probabilities = jax.nn.log_softmax(logits.astype(jnp.float32))
    of_label = _at(log_probabilities, labels)
    uniform = log_probabilities.mean(axis=1)
    return -(1 - label_smoothing) * of_label - label_smoothing * uniform


def binary_cross_entropy(
    logits: Logits, labels: Labels, *, label_smoothing: Smoothing = 0.0
) -> Losses:
    """One logistic loss a class, summed over the classes.

    With the target t of `cross_entropy`, `sum_j softplus(x[j]) - t[j] x[j]`: each class
    is a yes or no of its own, so that mixed images may be both. Wightman et al. (2021),
    section 3.1, https://arxiv.org/abs/2110.00476. The sum is k times what timm takes,
    the mean: rates are then those of cross-entropy. Optimizers that do not see the
    scale of a gradient do not see the difference either.

    Args:
        logits: Of any float dtype.
        labels: Classes in [0, k).
        label_smoothing: s in [0, 1), may be traced.

    Returns:
        Nats per example, float32.
    """
    logits = logits.astype(jnp.float32)
    targeted = (1 - label_smoothing) * _at(logits, labels)
    targeted = targeted + label_smoothing * logits.mean(axis=1)
    return jax.nn.softplus(logits).sum(axis=1) - targeted


# Name -> fn(logits [n, k], labels [n], label_smoothing=) -> losses [n].
LOSSES: Mapping[LossName, Callable[..., Losses]] = MappingProxyType(
    {
        "cross_entropy": cross_entropy,
        "binary_cross_entropy": binary_cross_entropy,
    }
)


def distillation(
    logits: Logits,
    teacher_logits: Logits,
    *,
    kind: DistillationKind = "soft",
    temperature: float = 1.0,
) -> Losses:
    """How far a student's logits are from a teacher's.

    "soft": `T^2 KL(q || p)`, q and p the softmax of the teacher's and the student's
    logits over T. Hinton et al. (2015), section 2, https://arxiv.org/abs/1503.02531;
    T^2 keeps the gradient's scale at every T.

    "hard": cross-entropy against the teacher's decision; T plays no part. Touvron et
    al. (2021), eq. 3, https://arxiv.org/abs/2012.12877.

    Args:
        logits: The student's.
        teacher_logits: The teacher's; no gradient reaches them.
        kind: See above.
        temperature: T, positive.

    Returns:
        Nats per example, float32, not negative.
    """
    teacher_logits = jax.lax.stop_gradient(teacher_logits.astype(jnp.float32))
    if kind == "hard":
        return cross_entropy(logits, teacher_logits.argmax(axis=1))
    student = jax.nn.log_softmax(logits.astype(jnp.float32) / temperature)
    teacher = jax.nn.log_softmax(teacher_logits / temperature)
    divergence = (jnp.exp(teacher) * (teacher - student)).sum(axis=1)
    return temperature**2 * divergence


def _at(values: Float[Array, "n k"], labels: Labels) -> Losses:
    return jnp.take_along_axis(values, labels[:, None], axis=1)[:, 0]
