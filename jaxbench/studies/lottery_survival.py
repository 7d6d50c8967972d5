"""How often would a ranking come out again on other images?"""

from typing import NamedTuple

import jax
import numpy as np
from jaxtyping import Array, Bool, Float, Int, Key

from jaxbench.studies.variant_table import VariantTable

# Drawn images in flight: some tens of MB.
_IN_FLIGHT = 1 << 22


class Survival(NamedTuple):
    """How often a ranking, or a part of it, is found again in resamples.

    Models of equal accuracy have no order, and so none to lose.

    Attributes:
        variant: The dataset whose ranking it is.
        order: Rows of its models, the best first.
        top: k to the share of resamples in which the same k models lead; a draw
            between the last of them and the best of the others counts one half. NaN
            where several models share the k-th place.
        adjacent: For each model of `order` but the last, the share of resamples in
            which it is ahead of the next; draws count one half. NaN for a pair of equal
            accuracy.
        whole: Share of resamples in which every model that is ahead of another
            is so again.
        over: "images", or "independent errors" where no image is known: right answers
            are drawn as if models failed independently of each other.
    """

    variant: str
    order: Int[np.ndarray, " models"]
    top: dict[int, float]
    adjacent: Float[np.ndarray, " pairs"]
    whole: float
    over: str


def resampled_counts(
    table: VariantTable, *, key: Key[Array, ""], num_resamples: int = 1000
) -> dict[str, Float[np.ndarray, "resamples models"]]:
    """How many images each model gets right in resamples of each dataset's images.

    With per-image rows, images are drawn with replacement, the same for all models;
    datasets with the same ids (a test set and its corruptions, or its new labels) are
    resampled together. Without, each count is binomial(n, accuracy), models
    independently: positively correlated errors, the usual case, would move two models
    together and leave more of a ranking standing.

    Args:
        table: Models on datasets.
        key: Chooses the resamples.
        num_resamples: Number of resamples.

    Returns:
        Dataset to whole numbers; NaN for models that are missing there.

    Raises:
        ValueError: If num_resamples < 1.
    """
    if num_resamples < 1:
        raise ValueError(f"num_resamples is {num_resamples}; wanted an integer >= 1")
    if not table.paired:
        return {
            variant: _binomial_counts(table, variant, _rng(key, i), num_resamples)
            for i, variant in enumerate(table.variants)
        }
    groups: dict[tuple, int] = {}
    found = {}
    for variant in table.variants:
        examples = table.examples[variant]
        # The same images, the same seed: the same draws.
        group = groups.setdefault(tuple(examples.ids.tolist()), len(groups))
        counts = _drawn_counts(examples.correct, _rng(key, group), num_resamples)
        found[variant] = np.where(table.present(variant)[None, :], counts, np.nan)
    return found


def ranking_survival(
    table: VariantTable,
    *,
    key: Key[Array, ""],
    num_resamples: int = 1000,
    top: tuple[int, ...] = (1, 3, 5, 10),
) -> tuple[Survival, ...]:
    """How often each dataset's ranking, and its parts, survive other images.

    A bootstrap flatters the observed ranking: of two models that are truly equal, the
    leader stays ahead in 3/4 of the resamples on average, but only on half of all new
    test sets. Hall and Miller (2009): https://doi.org/10.1214/09-AOS699.

    Args:
        table: Models on datasets.
        key: Chooses the resamples.
        num_resamples: Number of resamples.
        top: Values of k; those that no dataset has enough models for are left out.

    Returns:
        One row for each dataset.
    """
    drawn = resampled_counts(table, key=key, num_resamples=num_resamples)
    over = "images" if table.paired else "independent errors"
    found = []
    for variant in table.variants:
        present = np.flatnonzero(table.present(variant))
        at_hand = table.counts(variant)[present]
        order = np.argsort(-at_hand, kind="stable")
        ordered, counts = at_hand[order], drawn[variant][:, present[order]]
        found.append(
            Survival(
                variant,
                present[order],
                {k: _top(ordered, counts, k) for k in top if k < len(order)},
                _adjacent(ordered, counts),
                _whole(ordered, counts),
                over,
            )
        )
    return tuple(found)


def _top(
    ordered: Float[np.ndarray, " models"],
    counts: Float[np.ndarray, "resamples models"],
    k: int,
) -> float:
    if ordered[k - 1] == ordered[k]:
        return float("nan")
    last, next_best = counts[:, :k].min(axis=1), counts[:, k:].max(axis=1)
    return float(((last > next_best) + 0.5 * (last == next_best)).mean())


def _adjacent(
    ordered: Float[np.ndarray, " models"],
    counts: Float[np.ndarray, "resamples models"],
) -> Float[np.ndarray, " pairs"]:
    ahead, behind = counts[:, :-1], counts[:, 1:]
    share = ((ahead > behind) + 0.5 * (ahead == behind)).mean(axis=0)
    return np.where(ordered[:-1] > ordered[1:], share, np.nan)


def _whole(
    ordered: Float[np.ndarray, " models"],
    counts: Float[np.ndarray, "resamples models"],
) -> float:
    starts = np.flatnonzero(np.r_[True, ordered[1:] != ordered[:-1]])
    if len(starts) < 2:
        return float("nan")
    # Models of equal accuracy form a group; groups must keep apart.
    lowest = np.minimum.reduceat(counts, starts, axis=1)
    highest = np.maximum.reduceat(counts, starts, axis=1)
    return float((lowest[:, :-1] > highest[:, 1:]).all(axis=1).mean())


def _drawn_counts(
    correct: Bool[np.ndarray, "rows images"],
    rng: np.random.Generator,
    num_resamples: int,
) -> Float[np.ndarray, "resamples rows"]:
    num_images = correct.shape[1]
    # Whole numbers below 2^24: exact in float32, and half the time of float64.
    values = np.ascontiguousarray(correct.T, np.float32)
    blocks = []
    step = max(1, _IN_FLIGHT // num_images)
    for start in range(0, num_resamples, step):
        size = min(step, num_resamples - start)
        rows = rng.integers(0, num_images, (size, num_images))
        rows += np.arange(size)[:, None] * num_images
        weights = np.bincount(rows.ravel(), minlength=size * num_images)
        weights = weights.reshape(size, num_images).astype(np.float32)
        blocks.append((weights @ values).astype(np.float64))
    return np.concatenate(blocks)


def _binomial_counts(
    table: VariantTable, variant: str, rng: np.random.Generator, num_resamples: int
) -> Float[np.ndarray, "resamples models"]:
    present = table.present(variant)
    size = (num_resamples, int(present.sum()))
    drawn = np.full((num_resamples, len(present)), np.nan)
    accuracy = table.column(variant)[present]
    drawn[:, present] = rng.binomial(table.images_of(variant), accuracy, size)
    return drawn


def _rng(key: Key[Array, ""], number: int) -> np.random.Generator:
    folded = jax.random.fold_in(key, number)
    return np.random.default_rng(np.asarray(jax.random.key_data(folded)))
