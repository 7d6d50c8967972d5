"""The metrics by name. To add one: a kernel, a row here, a float64 twin in the tests.

`METRICS` is the one table; what iterates over metrics, iterates over it. Its rows
differ in what they are measured on: the scores of one set of examples
(`SCORE_METRICS`), those of an in- and an out-of-distribution set (`OOD_METRICS`),
logits or features (`ARRAY_METRICS`).
"""

from collections import ChainMap
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from types import MappingProxyType
from typing import Any, ClassVar, Literal, cast

import jax.numpy as jnp

from jaxbench.metrics import binning, ranking, selective
from jaxbench.metrics.classwise import classwise_calibration_error
from jaxbench.metrics.frechet import frechet_distance
from jaxbench.metrics.meshes import compiled
from jaxbench.metrics.ranked import Ranking, TieCounts, as_float, count_ties, rank
from jaxbench.metrics.samples import Sample, sort_scores
from jaxbench.metrics.scores import ExampleScores, require_scores
from jaxbench.metrics.smooth import smooth_error
from jaxbench.metrics.types import Column, Scalar
from jaxbench.own import Table

Direction = Literal["higher", "lower", "none"]
Kind = Literal["mean", "bins", "order"]


@dataclass(frozen=True)
class ScoreMetric:
    """A number measured on the scores of one set of examples.

    Attributes:
        kernel: The number, from a sample.
        kind: A "mean" over examples, a sum over "bins" of confidence, or a function
            of the "order" by confidence alone, which any confidence function has.
        direction: Whether a higher or a lower value is better, or neither.
        range: Least and greatest value; infinite where there is none.
        reference: Where it is defined.
    """

    kernel: Callable[[Sample], Scalar]
    kind: Kind
    direction: Direction
    range: tuple[float, float]
    reference: str
    inputs: ClassVar[str] = "scores"

    def function(self, scores: ExampleScores) -> Scalar:
        """Measures one set of scores; `summarize` shares the sort among metrics."""
        require_scores(scores=scores)
        return _measure_one(self, scores)


@dataclass(frozen=True)
class OodMetric:
    """A number that separates in-distribution from out-of-distribution images.

    In-distribution images are the positive class.

    Attributes:
        kernel: The number, from block counts in which "correct" means positive.
        score: The column that ranks, higher for in-distribution images.
        direction: Whether a higher or a lower value is better.
        range: Least and greatest value.
        reference: Where it is defined.
        flipped: Whether out-of-distribution images are the positive class instead,
            ranked by the negative score.
    """

    kernel: Callable[[TieCounts], Scalar]
    score: Callable[[ExampleScores], Column]
    direction: Direction
    range: tuple[float, float]
    reference: str
    flipped: bool = False
    inputs: ClassVar[str] = "in- and out-of-distribution scores"

    def function(self, id_scores: ExampleScores, ood_scores: ExampleScores) -> Scalar:
        """Measures one pair of scores; `summarize_ood` shares sorts among metrics."""
        require_scores(id_scores=id_scores, ood_scores=ood_scores)
        return _measure_one_ood(self, id_scores, ood_scores)


@dataclass(frozen=True)
class ArrayMetric:
    """A number measured on arrays that are wider than a column.

    Attributes:
        function: The number, from the arrays.
        inputs: What they are: "logits" and labels, or two sets of "features".
        direction: Whether a higher or a lower value is better.
        range: Least and greatest value; infinite where there is none.
        reference: Where it is defined.
    """

    function: Callable[..., Scalar]
    inputs: Literal["logits", "features"]
    direction: Direction
    range: tuple[float, float]
    reference: str


Metric = ScoreMetric | OodMetric | ArrayMetric

# What ranks examples, by name: higher is more confident. Any other column will do, and
# an ODIN-style temperature is `score_examples(..., temperature=1000.0)`.
CONFIDENCES: Mapping[str, Callable[[ExampleScores], Column]] = MappingProxyType(
    {
        "max_softmax": lambda scores: -scores.log_one_minus_confidence,
        "margin": lambda scores: scores.margin,
        "negative_entropy": lambda scores: -scores.entropy,
        "max_logit": lambda scores: scores.max_logit,
        "energy": lambda scores: scores.energy,
    }
)


def _accuracy(sample: Sample) -> Scalar:
    return as_float(sample.counts.total_correct) / as_float(sample.counts.total)


def _top_5_accuracy(sample: Sample) -> Scalar:
    return sample.mean(jnp.where(sample.scores.label_rank < 5.0, 1.0, 0.0))


def _balanced_accuracy(sample: Sample) -> Scalar:
    recall, count = sample.class_recalls()
    present = jnp.sum(count > 0, dtype=jnp.int32)
    return sample.scores.has_class * jnp.sum(recall) / as_float(present)


def _over_bins(kernel: Callable[[binning.BinSums], Scalar]):
    return lambda sample: kernel(sample.bins())


def _over_equal_mass(kernel: Callable[[binning.BinSums], Scalar]):
    return lambda sample: kernel(sample.equal_mass_bins())


def _over_counts(kernel: Callable[..., Scalar], *parameters: float):
    return lambda sample: kernel(sample.counts, *parameters)


def _root_mean_square(bins: binning.BinSums) -> Scalar:
    return jnp.sqrt(binning.squared_error(bins))


_IMAGENET = "https://arxiv.org/abs/1409.0575"
_BALANCED = "https://doi.org/10.1109/ICPR.2010.764"
_SCORING_RULES = "https://doi.org/10.1198/016214506000001437"
_BRIER = "https://doi.org/10.1175/1520-0493(1950)078<0001:VOFEIT>2.0.CO;2"
_MURPHY = "https://doi.org/10.1175/1520-0450(1973)012<0595:ANVPOT>2.0.CO;2"
_GUO = "https://arxiv.org/abs/1706.04599"
_ADAPTIVE = "https://arxiv.org/abs/1508.05154"
_KUMAR = "https://arxiv.org/abs/1909.10155"
_KS = "https://arxiv.org/abs/2006.12800"
_SMOOTH = "https://arxiv.org/abs/2309.12236"
_CLASSWISE = "https://arxiv.org/abs/1910.12656"
_GALIL = "https://arxiv.org/abs/2302.11874"
_GEIFMAN = "https://arxiv.org/abs/1805.08206"
_SELECTIVE = "https://arxiv.org/abs/1705.08500"
_TRAUB = "https://arxiv.org/abs/2407.01032"
_MAX_SOFTMAX = "https://arxiv.org/abs/1610.02136"
_MAX_LOGIT = "https://arxiv.org/abs/1911.11132"
_ENERGY = "https://arxiv.org/abs/2010.03759"
_FID = "https://arxiv.org/abs/1706.08500"

UNIT = (0.0, 1.0)
SIGNED = (-1.0, 1.0)
HALF = (0.0, 0.5)
QUARTER = (0.0, 0.25)
POSITIVE = (0.0, float("inf"))


def _means() -> dict[str, ScoreMetric]:
    """Accuracy and proper scores."""

    def mean(kernel, direction: Direction, range_, reference: str) -> ScoreMetric:
        return ScoreMetric(kernel, "mean", direction, range_, reference)

    return {
        "accuracy": mean(_accuracy, "higher", UNIT, _IMAGENET),
        "top_5_accuracy": mean(_top_5_accuracy, "higher", UNIT, _IMAGENET),
        "balanced_accuracy": mean(_balanced_accuracy, "higher", UNIT, _BALANCED),
        "nll": mean(lambda s: s.mean(s.scores.nll), "lower", POSITIVE, _SCORING_RULES),
        "brier": mean(lambda s: s.mean(s.scores.brier), "lower", (0.0, 2.0), _BRIER),
        "mean_confidence": mean(
            lambda s: s.mean(s.scores.confidence), "none", UNIT, _GUO
        ),
        "overconfidence": mean(lambda s: s.mean(s.scores.gap), "none", SIGNED, _GALIL),
    }


def _calibration() -> dict[str, ScoreMetric]:
    """Gaps between confidence and accuracy, and Murphy's parts of the Brier score."""

    def bins(kernel, reference: str, range_=UNIT, direction: Direction = "lower"):
        return ScoreMetric(kernel, "bins", direction, range_, reference)

    return {
        "ece": bins(_over_bins(binning.expected_error), _GUO),
        "mce": bins(_over_bins(binning.maximum_error), _GUO),
        "ece_equal_mass": bins(_over_equal_mass(binning.expected_error), _ADAPTIVE),
        "mce_equal_mass": bins(_over_equal_mass(binning.maximum_error), _ADAPTIVE),
        "ece_debiased": bins(
            _over_bins(binning.debiased_expected_error), _KUMAR, SIGNED
        ),
        "rms_calibration_error": bins(_over_bins(_root_mean_square), _KUMAR),
        "ks_calibration_error": bins(lambda s: s.largest_partial_gap(), _KS),
        "smooth_ece": bins(lambda s: smooth_error(s.residuals()), _SMOOTH),
        "brier_reliability": bins(_over_bins(binning.reliability), _MURPHY),
        "brier_resolution": bins(
            _over_bins(binning.resolution), _MURPHY, QUARTER, "higher"
        ),
        "brier_uncertainty": bins(
            _over_bins(binning.uncertainty), _MURPHY, QUARTER, "none"
        ),
    }


def _selective() -> dict[str, ScoreMetric]:
    """Functions of the order by confidence."""

    def order(kernel, reference: str, range_=UNIT, direction: Direction = "lower"):
        return ScoreMetric(kernel, "order", direction, range_, reference)

    def coverage(accuracy: float) -> ScoreMetric:
        kernel = _over_counts(selective.coverage_of_counts, accuracy)
        return order(kernel, _GALIL, direction="higher")

    return {
        "auroc": order(
            _over_counts(ranking.auroc_of_counts), _GALIL, direction="higher"
        ),
        "aurc": order(_over_counts(selective.aurc_of_counts), _GEIFMAN),
        "excess_aurc": order(_over_counts(selective.excess_aurc_of_counts), _GEIFMAN),
        "augrc": order(_over_counts(selective.augrc_of_counts), _TRAUB, HALF),
        "excess_augrc": order(
            _over_counts(selective.excess_augrc_of_counts), _TRAUB, QUARTER
        ),
        "coverage_at_95_accuracy": coverage(0.95),
        "coverage_at_99_accuracy": coverage(0.99),
        "risk_at_80_coverage": order(
            _over_counts(selective.risk_of_counts, 0.8), _SELECTIVE
        ),
    }


def _out_of_distribution() -> dict[str, OodMetric]:
    """Four measures of three scores."""
    scores = {
        "max_softmax": _MAX_SOFTMAX,
        "max_logit": _MAX_LOGIT,
        "energy": _ENERGY,
    }
    fpr95 = partial(ranking.fpr_of_counts, true_positive_rate=0.95)
    precision = ranking.average_precision_of_counts
    measures: dict[str, tuple[Any, Direction, bool]] = {
        "auroc": (ranking.auroc_of_counts, "higher", False),
        "aupr_in": (precision, "higher", False),
        "aupr_out": (precision, "higher", True),
        "fpr95": (fpr95, "lower", False),
    }
    return {
        f"ood_{measure}_{name}": OodMetric(
            kernel, CONFIDENCES[name], direction, UNIT, reference, flipped
        )
        for measure, (kernel, direction, flipped) in measures.items()
        for name, reference in scores.items()
    }


SCORE_METRICS: Table[ScoreMetric] = Table(
    "metric", {**_means(), **_calibration(), **_selective()}
)
OOD_METRICS: Mapping[str, OodMetric] = MappingProxyType(_out_of_distribution())
ARRAY_METRICS: Mapping[str, ArrayMetric] = MappingProxyType(
    {
        "classwise_ece": ArrayMetric(
            classwise_calibration_error, "logits", "lower", UNIT, _CLASSWISE
        ),
        "frechet_distance": ArrayMetric(
            frechet_distance, "features", "lower", POSITIVE, _FID
        ),
    }
)
# A chain iterates its last map first.
METRICS: Mapping[str, Metric] = MappingProxyType(
    ChainMap(*cast(Any, (ARRAY_METRICS, OOD_METRICS, SCORE_METRICS)))
)


def rank_both(
    metric: OodMetric, id_scores: ExampleScores, ood_scores: ExampleScores
) -> Ranking:
    """Sorts in- and out-of-distribution images together; the positives are right."""
    both = (id_scores, ood_scores)
    score = metric.score
    values = jnp.concatenate([jnp.asarray(score(s), jnp.float32) for s in both])
    mask = jnp.concatenate([jnp.asarray(s.mask) for s in both])
    is_id = jnp.arange(values.shape[0]) < id_scores.mask.shape[0]
    if metric.flipped:
        return rank(-values, ~is_id, mask=mask)[0]
    return rank(values, is_id, mask=mask)[0]


@partial(compiled, static_argnames="metric")
def _measure_one(metric: ScoreMetric, scores: ExampleScores) -> Scalar:
    ordered = sort_scores(scores, CONFIDENCES["max_softmax"](scores))
    return metric.kernel(Sample.of(ordered))


@partial(compiled, static_argnames="metric")
def _measure_one_ood(
    metric: OodMetric, id_scores: ExampleScores, ood_scores: ExampleScores
) -> Scalar:
    return metric.kernel(count_ties(rank_both(metric, id_scores, ood_scores)))
