"""Proper scoring rules: smallest, in expectation, for the true probabilities.

Gneiting and Raftery (2007): https://doi.org/10.1198/016214506000001437.
"""

from jaxbench.metrics.ranked import masked_mean
from jaxbench.metrics.scores import score_examples
from jaxbench.metrics.types import Flags, Labels, Logits, Scalar


def negative_log_likelihood(
    logits: Logits, labels: Labels, *, mask: Flags | None = None
) -> Scalar:
    """Mean of -log softmax(logits)[label], in nats.

    Has gradients. Of `ExampleScores` it is the mean of the `nll` column.

    Args:
        logits: Any float dtype; raised to float32.
        labels: Classes in [0, k); any other value makes the result NaN.
        mask: Rows that count; None counts all.

    Returns:
        At least 0; NaN under jit if no row counts.

    Raises:
        ValueError: If no row counts (outside jit).
    """
    return masked_mean(score_examples(logits, labels).nll, mask)


def brier_score(logits: Logits, labels: Labels, *, mask: Flags | None = None) -> Scalar:
    """Mean squared distance between probabilities and one-hot labels.

    The sum over all classes, as Brier (1950) has it, so two classes give twice the
    one-sided binary score: https://doi.org/10.1175/1520-0493(1950)078<0001:VOFEIT>2.0.CO;2.
    Has gradients.

    Args:
        logits: Any float dtype; raised to float32.
        labels: Classes in [0, k); any other value makes the result NaN.
        mask: Rows that count; None counts all.

    Returns:
        In [0, 2]; NaN under jit if no row counts.

    Raises:
        ValueError: If no row counts (outside jit).
    """
    return masked_mean(score_examples(logits, labels).brier, mask)
