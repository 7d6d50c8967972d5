"""Accuracy: the share of examples that are right."""

from jaxbench.metrics.ranked import masked_mean
from jaxbench.metrics.types import Flags, Scalar


def accuracy(correct: Flags, *, mask: Flags | None = None) -> Scalar:
    """The share of right examples; top-5 accuracy on the `correct_top5` column.

    Args:
        correct: Whether each example is right.
        mask: Rows that count; None counts all.

    Returns:
        A fraction in [0, 1]; NaN under jit if no row counts.

    Raises:
        ValueError: If no row counts (outside jit).
    """
    return masked_mean(correct.astype("float32"), mask)
