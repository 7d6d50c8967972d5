"""Which models do your own images separate, and would more images do better?"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from jaxbench.errors import UserError, unknown_name
from jaxbench.studies.lottery_significance import Improvements, improvements
from jaxbench.studies.power import (
    detectable_difference,
    mcnemar_images_needed,
)
from jaxbench.studies.variant_table import VariantTable


class OwnImages(NamedTuple):
    """What a set of images says about every pair of models, and what it would take.

    Attributes:
        num_images: How many images there are.
        found: All pairs with a difference, tested and corrected.
        needed: For each pair, images after which McNemar's test would find a
            difference such as the observed one; see `mcnemar_images_needed`.
        needed_corrected: The same at alpha over the number of pairs, as Bonferroni
            corrects: infinite never occurs, for level pairs are not in `found`.
        detectable: The smallest difference that these images can show of each
            pair, given its discordance; NaN if none.
        alpha: Level of the tests.
        power: Probability of finding the difference that `needed` aims at.
    """

    num_images: int
    found: Improvements
    needed: Float[np.ndarray, " pairs"]
    needed_corrected: Float[np.ndarray, " pairs"]
    detectable: Float[np.ndarray, " pairs"]
    alpha: float
    power: float

    @property
    def num_pairs(self) -> int:
        """Pairs of models, level ones included."""
        return len(self.found.ahead) + self.found.num_level


def own_images(
    table: VariantTable,
    variant: str | None = None,
    *,
    alpha: float = 0.05,
    power: float = 0.8,
) -> OwnImages:
    """Which pairs of models a small set of images separates, and the power of more.

    The numbers of images are for a new set, of a pair with the observed discordance.
    That is itself an estimate from few images: of a lead that is mostly luck, too few
    images are asked for.

    Args:
        table: Per-image rows of the models on your own images.
        variant: Which dataset these are; the reference when None.
        alpha: Level of the tests, in (0, 1).
        power: Aimed at, in [1/2, 1).

    Raises:
        UserError: If the table knows accuracies only, or the variant is unknown.
        ValueError: If alpha or power is out of range.
    """
    variant = table.reference if variant is None else variant
    if variant not in table.variants:
        raise UserError(unknown_name("dataset", variant, table.variants))
    if not table.paired:
        raise UserError(
            "which images each model is right on is not known from a table of "
            "accuracies; evaluate the models on your images and give that folder"
        )
    found = improvements(table, variant, pairs="all")
    p10, p01, count = found.only_ahead, found.only_behind, table.images_of(variant)
    num_pairs = max(1, len(p10) + found.num_level)
    needed = mcnemar_images_needed(p10, p01, alpha=alpha, power=power)
    return OwnImages(
        count,
        found,
        needed,
        mcnemar_images_needed(p10, p01, alpha=alpha / num_pairs, power=power),
        detectable_difference(count, p10 + p01, alpha=alpha, power=power),
        alpha,
        power,
    )
