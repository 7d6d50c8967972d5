"""Error consistency: do two observers fail on the same images?"""

import itertools
from collections.abc import Sequence
from typing import NamedTuple

import jax
import numpy as np
from jaxtyping import Array, Bool, Float, Key

from jaxbench.errors import UserError
from jaxbench.studies.predictions import Responses
from jaxbench.studies.resampling import Resampling


class ErrorConsistency(NamedTuple):
    """How much two observers agree beyond what their accuracies make them agree.

    Attributes:
        kappa: (observed - expected) / (1 - expected), in [-1, 1]: 1 if they are right
            and wrong on the same images, 0 for independent errors.
        low: Lower end of its percentile interval over resampled images.
        high: Upper end.
        observed: Share of images on which both are right or both are wrong.
        expected: The same if they erred independently: p q + (1 - p) (1 - q).
        num_images: Images.
    """

    kappa: float
    low: float
    high: float
    observed: float
    expected: float
    num_images: int


def pairwise_consistency(
    observers: Sequence[Responses], resampling: Resampling
) -> dict[tuple[str, str], ErrorConsistency]:
    """Error consistency of every pair of observers of the same images."""
    return {
        (a.observer, b.observer): error_consistency(
            a.correct,
            b.correct,
            key=resampling.key("consistency", *sorted((a.observer, b.observer))),
            num_resamples=resampling.num_resamples,
        )
        for a, b in itertools.combinations(observers, 2)
    }


def error_consistency(
    correct_a: Bool[np.ndarray, " images"],
    correct_b: Bool[np.ndarray, " others"],
    *,
    key: Key[Array, ""],
    num_resamples: int = 1000,
    level: float = 0.95,
) -> ErrorConsistency:
    """Cohen's kappa of being right, of two observers on the same images.

    kappa is 1 where they always agree, also if both are always right. Geirhos, Meding
    and Wichmann (2020), section 2: https://arxiv.org/abs/2006.16736.

    Args:
        correct_a: Whether one is right on each image.
        correct_b: Whether the other is, image for image.
        key: Chooses the resamples.
        num_resamples: Resamples of the images behind the interval, 1 or more.
        level: Coverage of the interval, in (0, 1).

    Raises:
        UserError: If the columns are empty or their lengths differ.
    """
    a, b = np.asarray(correct_a, bool), np.asarray(correct_b, bool)
    if a.shape != b.shape or not a.size:
        raise UserError(
            f"error consistency of {a.size} and {b.size} images; wanted the same "
            "images, one or more"
        )
    cells = np.array([(a & b).sum(), (a & ~b).sum(), (~a & b).sum(), (~a & ~b).sum()])
    # Only the counts of the four cells matter: resampling images is drawing them.
    rng = np.random.default_rng(np.asarray(jax.random.key_data(key)).tolist())
    drawn = rng.multinomial(a.size, cells / a.size, size=num_resamples)
    tail = (1 - level) / 2
    low, high = np.quantile(_kappa(drawn)[0], [tail, 1 - tail])
    kappa, observed, expected = (float(v[0]) for v in _kappa(cells[None]))
    return ErrorConsistency(
        kappa, float(low), float(high), observed, expected, int(a.size)
    )


def _kappa(
    cells: np.ndarray,
) -> tuple[Float[np.ndarray, " n"], Float[np.ndarray, " n"], Float[np.ndarray, " n"]]:
    """Kappa, observed and expected agreement of rows of four counts."""
    total = cells.sum(axis=1)
    p, q = (cells[:, 0] + cells[:, 1]) / total, (cells[:, 0] + cells[:, 2]) / total
    observed = (cells[:, 0] + cells[:, 3]) / total
    expected = p * q + (1 - p) * (1 - q)
    agreed = cells[:, 0] + cells[:, 3] == total
    room = np.where(agreed, 1.0, 1.0 - expected)
    return np.where(agreed, 1.0, (observed - expected) / room), observed, expected
