"""Scores sorted once, and the same scores under integer weights.

Every metric in the table is a function of a `Sample`: the columns of n examples in
order of falling confidence, and how often each of them occurs. `summarize` measures the
sample as it is, `bootstrap_intervals` the same sample under random weights.

In this order a bin of confidence is a run of places.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, Int

from jaxbench.metrics.binning import NUM_BINS, BinSums, upper_edges
from jaxbench.metrics.ranked import (
    Ranking,
    TieCounts,
    around_blocks,
    as_float,
    count_ties,
    rank,
    running_sum,
    weighted_mean,
)
from jaxbench.metrics.scores import ExampleScores
from jaxbench.metrics.smooth import MESH_SIZE, place_on_mesh
from jaxbench.metrics.sums import accurate_sum
from jaxbench.metrics.types import Column, Flags, Scalar


class SortedScores(NamedTuple):
    """What the metrics need of `ExampleScores`, sorted by falling confidence.

    Attributes:
        ranking: Order and ties, by -log(1 - confidence).
        label_rank: As in `ExampleScores`, rounded to float32.
        nll: As in `ExampleScores`.
        brier: As in `ExampleScores`.
        confidence: As in `ExampleScores`.
        gap: confidence - correct.
        class_index: Number of the example's class among the classes that occur;
            0 where the example has none.
        has_class: 1 if every example that counts belongs to a class, else NaN.
        bin_gaps: `gap` spread over the equal-width bins, the highest first: each row
            holds its gap in its bin, and 0 elsewhere.
        bin_starts: Place at which each equal-width bin starts, the highest first.
        mesh_starts: Place at which confidence falls below the middle of each cell of
            the smooth calibration error's mesh.
    """

    ranking: Ranking
    label_rank: Float[jax.Array, " n"]
    nll: Float[jax.Array, " n"]
    brier: Float[jax.Array, " n"]
    confidence: Float[jax.Array, " n"]
    gap: Float[jax.Array, " n"]
    class_index: Int[jax.Array, " n"]
    has_class: Float[jax.Array, ""]
    bin_gaps: Float[jax.Array, "n bins"]
    bin_starts: Int[jax.Array, " edges"]
    mesh_starts: Int[jax.Array, " cells"]


class Sample(NamedTuple):
    """Sorted examples under integer weights: the argument of every metric's kernel."""

    scores: SortedScores
    counts: TieCounts

    @classmethod
    def of(
        cls, scores: SortedScores, weights: Int[jax.Array, " n"] | None = None
    ) -> "Sample":
        """The sample in which each example occurs as often as its weight says."""
        return cls(scores, count_ties(scores.ranking, weights))

    def mean(self, column: Float[jax.Array, " n"]) -> Scalar:
        """Mean of a column under the sample's weights."""
        return weighted_mean(column, self.counts.weights)

    def gap_terms(self) -> Float[jax.Array, " n"]:
        """Confidence - correct, as often as each example occurs."""
        return as_float(self.counts.weights) * self.scores.gap

    def gap_sums(self) -> Float[jax.Array, " n"]:
        """Cumulative sum of confidence - correct."""
        return running_sum(self.gap_terms())

    def largest_partial_gap(self) -> Scalar:
        """Largest |sum of gaps up to a block|, by rising confidence, over N."""
        sums = self.gap_sums()
        # What stands at or below a block is the total less what stands above it.
        above = jnp.pad(sums[:-1], (1, 0))
        starts = self.scores.ranking.first == jnp.arange(sums.shape[0], dtype=jnp.int32)
        largest = jnp.max(jnp.where(starts, jnp.abs(sums[-1] - above), 0.0))
        return largest / as_float(self.counts.total)

    def residuals(self) -> Float[jax.Array, " cells"]:
        """Sum of gaps in each cell of the smooth error's mesh, over N, from 1 down."""
        gap = self.gap_terms()
        upper = place_on_mesh(self.scores.confidence)[1] * gap
        sums = running_sum(jnp.stack([gap, upper]))
        whole, upper = (_differences(s, self.scores.mesh_starts) for s in sums)
        lower = whole - upper
        # What lies between two middles belongs to the cells of both; what lies above
        # the last is all its own.
        cells = lower[:-1] + upper[1:]
        return cells.at[0].add(upper[0]) / as_float(self.counts.total)

    def class_recalls(self) -> tuple[Float[jax.Array, " n"], Int[jax.Array, " n"]]:
        """Each class's share of right examples, and its examples; n classes at most."""
        weights, number = self.counts.weights, self.scores.class_index
        right = jnp.where(self.counts.correct, weights, 0)
        empty = jnp.zeros_like(weights)
        count = empty.at[number].add(weights)
        found = empty.at[number].add(right)
        return as_float(found) / as_float(jnp.maximum(count, 1)), count

    def bins(self) -> BinSums:
        """Sums over the equal-width bins of confidence, the highest first."""
        weights, starts = self.counts.weights, self.scores.bin_starts
        right = jnp.where(self.counts.correct, weights, 0)
        rows, rights = running_sum(jnp.stack([weights, right]))
        # Not from cumulative sums: a bin of one example would be the difference of
        # two numbers of the size of N.
        gap = accurate_sum(as_float(weights)[None, :] * self.scores.bin_gaps.T)
        return BinSums(_differences(rows, starts), _differences(rights, starts), gap)

    def equal_mass_bins(self, num_bins: int = NUM_BINS) -> BinSums:
        """Sums over bins that hold the same number of examples, the highest first."""
        sums, terms = self.gap_sums()[None], self.gap_terms()[None]
        (before,), (through,) = around_blocks(self.scores.ranking, sums, terms)
        return equal_mass_bins(self.counts, before, through, num_bins)


def equal_mass_bins(
    counts: TieCounts,
    gaps_before: Float[jax.Array, " n"],
    gaps_through: Float[jax.Array, " n"],
    num_bins: int,
) -> BinSums:
    """Sums over bins that hold the same number of examples, the highest first.

    Bin b holds the places floor(b N / B) + 1 to floor((b + 1) N / B). Where an edge
    falls into a tied block, the block is spread evenly over its places.

    Args:
        counts: Of each example's block.
        gaps_before: Sum of confidence - correct before each example's block.
        gaps_through: The same, the block included.
        num_bins: Number of bins.
    """
    edges = _equal_edges(counts.total, num_bins)
    at = jnp.searchsorted(counts.rows_through, edges, side="left")
    at = jnp.minimum(at, counts.weights.shape[0] - 1)
    size = counts.rows_through[at] - counts.rows_before[at]
    inside = as_float(edges - counts.rows_before[at])
    share = jnp.where(size > 0, inside / as_float(jnp.maximum(size, 1)), 0.0)

    def up_to(before, through):
        return before[at] + share * (through[at] - before[at])

    right = up_to(as_float(counts.correct_before), as_float(counts.correct_through))
    return BinSums(
        num_examples=jnp.diff(edges),
        correct=jnp.diff(right),
        gap=jnp.diff(up_to(gaps_before, gaps_through)),
    )


def sort_scores(scores: ExampleScores, confidence: Column) -> SortedScores:
    """Sorts the columns that the metrics need, by falling confidence.

    Args:
        scores: From `score_examples`.
        confidence: The column to sort by.
    """
    columns = (
        scores.label_rank.astype(jnp.float32),
        scores.nll,
        scores.brier,
        scores.confidence,
        scores.label.astype(jnp.float32),
    )
    return _arrange(
        *rank(confidence, scores.correct, mask=scores.mask, columns=columns)
    )


def sort_columns(
    confidence: Column, correct: Flags, mask: Flags | None = None
) -> Sample:
    """The sample of two columns, for metrics of these alone."""
    ranking, (probability,) = rank(
        confidence, correct, mask=mask, columns=(confidence,)
    )
    nothing = jnp.zeros_like(probability)
    columns = (nothing, nothing, nothing, probability, nothing)
    return Sample.of(_arrange(ranking, columns))


def _arrange(
    ranking: Ranking, columns: tuple[Float[jax.Array, " n"], ...]
) -> SortedScores:
    label_rank, nll, brier, probability, label = columns
    gap = probability - ranking.correct.astype(jnp.float32)
    gap = jnp.where(ranking.valid, gap, 0.0)
    class_index, has_class = _number_classes(label, ranking.valid)
    # A broken row has a class, and no prediction of one.
    has_class = jnp.where(jnp.any(jnp.isnan(gap)), jnp.nan, has_class)
    num_valid = jnp.sum(ranking.valid, dtype=jnp.int32)
    mesh = ((np.arange(MESH_SIZE)[::-1] + 0.5) / MESH_SIZE).astype(np.float32)
    bin_starts = _starts(probability, upper_edges(NUM_BINS)[::-1], num_valid)
    place = jnp.arange(gap.shape[0], dtype=jnp.int32)[:, None]
    inside = (bin_starts[None, :-1] <= place) & (place < bin_starts[None, 1:])
    return SortedScores(
        ranking=ranking,
        label_rank=label_rank,
        nll=nll,
        brier=brier,
        confidence=probability,
        gap=gap,
        class_index=class_index,
        has_class=has_class,
        bin_gaps=jnp.where(inside, gap[:, None], 0.0),
        bin_starts=bin_starts,
        mesh_starts=_starts(probability, mesh, num_valid),
    )


def _starts(
    probability: Float[jax.Array, " n"],
    edges: np.ndarray,
    num_valid: Int[jax.Array, ""],
) -> Int[jax.Array, " edges"]:
    """Places at which falling probabilities pass falling edges; ends with N."""
    # -p rises; the rows that do not count stand behind it, past num_valid.
    place = jnp.arange(probability.shape[0], dtype=jnp.int32)
    rising = jnp.where(place < num_valid, -probability, jnp.inf)
    # p > edge counts for the bin above, so an equal one starts the bin below.
    inner = jnp.searchsorted(rising, jnp.asarray(-edges), side="left")
    return jnp.concatenate(
        [
            jnp.zeros(1, jnp.int32),
            inner.astype(jnp.int32),
            num_valid[None],
        ]
    )


def _differences(cumulative: jax.Array, starts: Int[jax.Array, " edges"]) -> jax.Array:
    return jnp.diff(jnp.pad(cumulative, (1, 0))[starts])


def _equal_edges(total: Int[jax.Array, ""], num_bins: int) -> Int[jax.Array, " edges"]:
    """floor(b N / B) for b = 0..B, in integers."""
    bins = jnp.arange(num_bins + 1, dtype=jnp.int32)
    return bins * (total // num_bins) + bins * (total % num_bins) // num_bins


def _number_classes(
    label: Float[jax.Array, " n"], valid: jax.Array
) -> tuple[Int[jax.Array, " n"], Float[jax.Array, ""]]:
    """Numbers the classes that occur; NaN instead of 1 if a row has none."""
    place = jnp.arange(label.shape[0], dtype=jnp.int32)
    ordered, at = jax.lax.sort_key_val(jnp.where(valid, label, -1.0), place)
    new = jnp.concatenate([jnp.zeros(1, bool), ordered[1:] != ordered[:-1]])
    number = jnp.zeros_like(place).at[at].set(jnp.cumsum(new, dtype=jnp.int32))
    every = ~jnp.any(valid & (label < 0.0))
    return number, jnp.where(every, 1.0, jnp.nan)
