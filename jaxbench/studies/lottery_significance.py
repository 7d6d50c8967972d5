"""Which leads of a ranking are more than chance, and which carry over to variants?"""

import math
from collections.abc import Callable
from typing import Literal, NamedTuple

import jax
import numpy as np
from jaxtyping import Bool, Float, Int

from jaxbench.metrics import benjamini_hochberg, holm
from jaxbench.metrics.binomial import binomial_log_tails
from jaxbench.metrics.types import AnyArray
from jaxbench.studies.power import independent_discordance
from jaxbench.studies.variant_table import VariantTable

Pairs = Literal["adjacent", "all"]
Index = Int[np.ndarray, " pairs"]

# Fewer pairs than this are not worth a program of their own.
_LEAST_PAIRS = 2048

_erfc = np.frompyfunc(math.erfc, 1, 1)


class Improvements(NamedTuple):
    """Pairs of models of which the first is ahead on a dataset, and what tests say.

    Attributes:
        variant: The dataset.
        ahead: Row of the better model of each pair.
        behind: Row of the other. Pairs that are level are not in here.
        num_level: Pairs that are level.
        difference: Accuracy of the first less that of the second, above 0.
        only_ahead: Share of images on which only the first is right.
        only_behind: Likewise, only the second.
        p_value: Two-sided, for a difference of zero.
        holm: P-values adjusted by Holm over all pairs here, level ones included.
        bh: P-values adjusted by Benjamini and Hochberg, likewise.
        test: "mcnemar" (exact, paired) or "two-proportion" (accuracies alone).
    """

    variant: str
    ahead: Index
    behind: Index
    num_level: int
    difference: Float[np.ndarray, " pairs"]
    only_ahead: Float[np.ndarray, " pairs"]
    only_behind: Float[np.ndarray, " pairs"]
    p_value: Float[np.ndarray, " pairs"]
    holm: Float[np.ndarray, " pairs"]
    bh: Float[np.ndarray, " pairs"]
    test: str

    def significant(self, rule: str, alpha: float = 0.05) -> Bool[np.ndarray, " pairs"]:
        """Which pairs differ by a rule: "none" (as they come), "holm" or "bh"."""
        adjusted = {"none": self.p_value, "holm": self.holm, "bh": self.bh}
        return adjusted[rule] <= alpha


class Kept(NamedTuple):
    """How many improvements on the reference are there on a variant as well.

    Attributes:
        variant: The variant.
        chosen: Improvements that are looked at.
        kept: Of these, how many have the same sign.
        level: No difference.
        reversed: The other sign.
        missing: A model of the pair was not measured on the variant.
    """

    variant: str
    chosen: int
    kept: int
    level: int
    reversed: int
    missing: int


def improvements(
    table: VariantTable, variant: str | None = None, *, pairs: Pairs = "adjacent"
) -> Improvements:
    """Tests every improvement between ranks for being more than chance.

    With per-image rows, McNemar's exact test of the two models on the same images.
    From accuracies alone, the test of two independent proportions with the pooled
    variance,

        z = (a - b) / sqrt(2 p (1 - p) / n),  p = (a + b) / 2,  P = erfc(|z| / sqrt(2)),

    which is conservative where errors are positively correlated, as they are between
    classifiers on the same images: the variance of a - b is then smaller than assumed.

    Args:
        table: Models on datasets.
        variant: Where the ranking is made and tested; the reference when None.
        pairs: "adjacent" ranks, or "all" pairs.

    Returns:
        The pairs with a difference, those of the best models first. Adjacent ranks
        with equal accuracy are ordered as in the table and count as tests with P = 1.

    Raises:
        ValueError: If the variant is unknown.
    """
    variant = table.reference if variant is None else variant
    present = np.flatnonzero(table.present(variant))
    values = table.column(variant)
    order = present[np.argsort(-values[present], kind="stable")]
    if pairs == "adjacent":
        ahead, behind = order[:-1], order[1:]
    else:
        first, second = np.triu_indices(len(order), k=1)
        ahead, behind = order[first], order[second]
    p_value, p10, p01 = _tests(table, variant, ahead, behind)
    adjusted = [_adjusted(rule, p_value) for rule in (holm, benjamini_hochberg)]
    real = values[ahead] > values[behind]
    return Improvements(
        variant=variant,
        ahead=ahead[real],
        behind=behind[real],
        num_level=int((~real).sum()),
        difference=(values[ahead] - values[behind])[real],
        only_ahead=p10[real],
        only_behind=p01[real],
        p_value=p_value[real],
        holm=adjusted[0][real],
        bh=adjusted[1][real],
        test="mcnemar" if table.paired else "two-proportion",
    )


def kept_signs(
    table: VariantTable,
    found: Improvements,
    chosen: Bool[np.ndarray, " pairs"] | None = None,
) -> tuple[Kept, ...]:
    """On each other dataset, how many improvements keep their sign.

    Args:
        table: The table that `found` was made of.
        found: Improvements on one dataset.
        chosen: Those to look at, such as the significant ones; all when None.

    Returns:
        One row for each dataset besides that of `found`.
    """
    chosen = np.ones(len(found.ahead), bool) if chosen is None else chosen
    rows = []
    for variant in table.variants:
        if variant == found.variant:
            continue
        signs = sign_on(table, found, variant)[chosen]
        rows.append(
            Kept(
                variant,
                int(chosen.sum()),
                int((signs > 0).sum()),
                int((signs == 0).sum()),
                int((signs < 0).sum()),
                int(np.isnan(signs).sum()),
            )
        )
    return tuple(rows)


def sign_on(
    table: VariantTable, found: Improvements, variant: str
) -> Float[np.ndarray, " pairs"]:
    """1 where an improvement is there on a variant, 0 level, -1 reversed, else NaN."""
    values = table.column(variant)
    return np.sign(values[found.ahead] - values[found.behind])


def mcnemar_p_values(
    only_a: Int[np.ndarray, " pairs"], only_b: Int[np.ndarray, " pairs"]
) -> Float[np.ndarray, " pairs"]:
    """McNemar's exact two-sided p-values from counts of discordant images.

    min(1, 2 P(X <= min(a, b))) for X ~ binomial(a + b, 1/2): `jaxbench.metrics.mcnemar`
    of many pairs at once, without their images.
    """
    few = _padded(np.minimum(only_a, only_b).astype(np.int32))
    total = _padded((only_a + only_b).astype(np.int32))
    lower = np.asarray(_log_lower_tails(few, total), np.float64)[: len(only_a)]
    return np.where(only_a == only_b, 1.0, np.minimum(1.0, 2 * np.exp(lower)))


def two_proportion_p_values(
    a: Float[np.ndarray, " pairs"], b: Float[np.ndarray, " pairs"], num_images: int
) -> Float[np.ndarray, " pairs"]:
    """Two-sided p-values of the pooled test of two independent proportions.

    Args:
        a: Accuracies, fractions.
        b: Those they are compared with.
        num_images: Images behind each.

    Returns:
        In [0, 1]; 1 where both are equal.
    """
    pooled = (a + b) / 2
    error = np.sqrt(2 * pooled * (1 - pooled) / num_images)
    with np.errstate(divide="ignore", invalid="ignore"):
        z = np.where(a == b, 0.0, np.abs(a - b) / error)
    return np.asarray(_erfc(z / math.sqrt(2)), np.float64)


@jax.jit
def _log_lower_tails(
    few: Int[AnyArray, " n"], total: Int[AnyArray, " n"]
) -> Float[jax.Array, " n"]:
    return binomial_log_tails(few, total, 0.5)[0]


def _adjusted(
    rule: Callable[..., jax.Array], p_value: Float[np.ndarray, " pairs"]
) -> Float[np.ndarray, " pairs"]:
    if not len(p_value):
        return p_value
    values = _padded(p_value.astype(np.float32))
    counted = np.arange(len(values)) < len(p_value)
    return np.asarray(rule(values, mask=counted), np.float64)[: len(p_value)]


def _padded(values: np.ndarray) -> np.ndarray:
    """Zeros up to a power of two: numbers of pairs vary, and each is a program."""
    size = max(_LEAST_PAIRS, 1 << max(0, len(values) - 1).bit_length())
    return np.pad(values, (0, size - len(values)))


def _tests(
    table: VariantTable, variant: str, ahead: Index, behind: Index
) -> tuple[Float[np.ndarray, " pairs"], ...]:
    """P-value of each pair, and on what shares of images only one of it is right."""
    count = table.images_of(variant)
    if not table.paired:
        a, b = (table.column(variant)[rows] for rows in (ahead, behind))
        p_value = two_proportion_p_values(a, b, count)
        return p_value, *independent_discordance(a, b)
    correct = table.examples[variant].correct
    if len(ahead) < len(correct):
        both = (correct[ahead] & correct[behind]).sum(axis=1)
    else:
        # Whole numbers below 2^24: exact in float32.
        flags = correct.astype(np.float32)
        both = (flags @ flags.T)[ahead, behind]
    right = correct.sum(axis=1)
    only_ahead = (right[ahead] - both).astype(np.int64)
    only_behind = (right[behind] - both).astype(np.int64)
    p_value = mcnemar_p_values(only_ahead, only_behind)
    return p_value, only_ahead / count, only_behind / count
