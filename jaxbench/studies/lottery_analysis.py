"""Everything that the page of the benchmark lottery shows, measured once."""

from dataclasses import dataclass

import jax
import numpy as np
from jaxtyping import Float

from jaxbench.errors import UserError
from jaxbench.metrics import rank_stability_of_resamples
from jaxbench.studies.lottery import (
    Agreement,
    UnifiedScores,
    agreement_matrix,
    mean_ranks,
    rank_agreement,
    unified_scores,
)
from jaxbench.studies.lottery_own import OwnImages, own_images
from jaxbench.studies.lottery_significance import Improvements, improvements
from jaxbench.studies.lottery_survival import (
    Survival,
    ranking_survival,
    resampled_counts,
)
from jaxbench.studies.variant_table import VariantTable

LEVEL = 0.95


@dataclass(frozen=True, eq=False)
class Lottery:
    """The measures of one table.

    Attributes:
        table: Models on the reference and its variants.
        places: Place on each dataset; 1 is best.
        place_low: Lower end of the interval of each model's place on the reference.
        place_high: Upper end.
        adjacent: Improvements between adjacent ranks of the reference.
        everyone: Improvements between all pairs.
        agreement: Each variant's ranking against the reference's.
        matrix: Kendall's tau between all datasets.
        survival: How often each ranking comes out again.
        unified: Our unified scores.
        own: Which models the images of `own` separate; None for a table of accuracies.
        alpha: Level of all tests.
        power: That numbers of images aim at.
        num_resamples: Behind all intervals and shares.
    """

    table: VariantTable
    places: Float[np.ndarray, "models variants"]
    place_low: Float[np.ndarray, " models"]
    place_high: Float[np.ndarray, " models"]
    adjacent: Improvements
    everyone: Improvements
    agreement: tuple[Agreement, ...]
    matrix: Float[np.ndarray, "variants variants"]
    survival: tuple[Survival, ...]
    unified: UnifiedScores
    own: OwnImages | None
    alpha: float
    power: float
    num_resamples: int


def analyse(
    table: VariantTable,
    *,
    own: str | None = None,
    alpha: float = 0.05,
    power: float = 0.8,
    num_resamples: int = 1000,
    seed: int = 0,
) -> Lottery:
    """All measures of a table.

    Args:
        table: Models on the reference and its variants.
        own: The dataset that stands for your own images; the reference when None.
            Needs per-image rows.
        alpha: Level of all tests, in (0, 1).
        power: That numbers of images aim at, in [1/2, 1).
        num_resamples: Resamples behind intervals and shares, at least 1.
        seed: Chooses the resamples.

    Raises:
        UserError: If an option is out of range, or `own` is unknown or given for a
            table of accuracies.
    """
    problems = []
    if not 0 < alpha < 1:
        problems.append(f"alpha is {alpha}; wanted a fraction in (0, 1)")
    if not 0.5 <= power < 1:
        problems.append(f"power is {power}; wanted a fraction in [1/2, 1)")
    if num_resamples < 1:
        problems.append(f"num_resamples is {num_resamples}; wanted 1 or more")
    if problems:
        raise UserError("; ".join(problems))
    checked = None
    if table.paired or own is not None:
        checked = own_images(table, own, alpha=alpha, power=power)
    keys = jax.random.split(jax.random.key(seed), 3)
    drawn = resampled_counts(table, key=keys[0], num_resamples=num_resamples)
    stability = rank_stability_of_resamples(
        drawn[table.reference].astype(np.float32),
        table.counts(table.reference).astype(np.float32),
        higher_is_better=True,
        level=LEVEL,
    )
    return Lottery(
        table,
        mean_ranks(table.accuracy.T).T,
        np.asarray(stability.low, np.float64),
        np.asarray(stability.high, np.float64),
        improvements(table),
        improvements(table, pairs="all"),
        rank_agreement(table, key=keys[1], num_resamples=num_resamples, level=LEVEL),
        agreement_matrix(table),
        ranking_survival(table, key=keys[2], num_resamples=num_resamples),
        unified_scores(table),
        checked,
        alpha,
        power,
        num_resamples,
    )
