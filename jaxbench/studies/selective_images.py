"""Two models, or two ways to train one, on the same images: by how much do they differ?

Differences of metrics that are not means (AUROC, ECE, AURC) have no simple error: they
are computed anew on resamples of the images, the same ones for both sides, in float64.
"""

import functools
import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import jax
import numpy as np
from jax.scipy.special import betainc
from jaxtyping import Array, Bool, Float, Int, Key

from jaxbench.errors import UserError
from jaxbench.studies.compare import weighted_aurc

Columns = Mapping[str, np.ndarray]

# What is compared, and whether a higher value is better.
METRICS = {"accuracy": True, "auroc": True, "ece": False, "aurc": False}
NUM_BINS = 15
_ORDER = "log_one_minus_confidence"
# Resampled rows in flight together: bounds memory to some tens of MB.
_ROWS_IN_FLIGHT = 1 << 20


class Effect(NamedTuple):
    """A metric of two models on the same images, or of two ways over several seeds.

    Attributes:
        metric: Its name; with `_ts` after temperature scaling.
        with_it: Mean over the pairs of the value of the first of each.
        without: Likewise of the second.
        difference: with_it - without.
        low: Lower end of its interval.
        high: Upper end.
        num_better: Pairs in which the first is better.
        num_pairs: Pairs, such as seeds.
        num_images: Images that all were evaluated on.
    """

    metric: str
    with_it: float
    without: float
    difference: float
    low: float
    high: float
    num_better: int
    num_pairs: int
    num_images: int


def paired_effect(
    pairs: Sequence[tuple[Columns, Columns]],
    *,
    key: Key[Array, ""],
    num_resamples: int = 1000,
    level: float = 0.95,
) -> tuple[Effect, ...]:
    """What the first of each pair has over the second, over pairs and images.

    A pair is two models on the same images: a distilled model and its twin, or a
    student with and one without a teacher from the same seed. All pairs are of the
    same images, which is what leaves two sources of chance: other seeds and other
    images. The interval covers both: the mean difference -+ t s, where t is Student's
    quantile with S - 1 degrees of freedom and

        s^2 = (sample variance over the S pairs) / S + (variance over resamples of the
        images of the mean difference).

    What both parts hold, chance of seed and image together, counts twice, so it is
    rather too wide. One pair has the second part alone, and the normal quantile: the
    interval is then about other images, not about other seeds.

    Args:
        pairs: Per-example columns of both, `log_one_minus_confidence`, `confidence`,
            `correct` and `id` among them.
        key: Chooses the resamples.
        num_resamples: Resamples of the images.
        level: Coverage of the intervals, in (0, 1).

    Returns:
        Accuracy, AUROC, ECE (15 equal bins) and AURC, then the last three after
        temperature scaling where all have it. A metric that is undefined for a model
        (an AUROC without wrong answers) is NaN, and so is its row.

    Raises:
        UserError: If the images are not the same.
        ValueError: If `pairs` is empty.
    """
    if not pairs:
        raise ValueError("no pair to compare")
    flat = aligned([columns for pair in pairs for columns in pair])
    suffixes = [""]
    if all("confidence_ts" in columns for columns in flat):
        suffixes.append("_ts")
    num_images = len(flat[0]["correct"])
    rows = []
    for suffix in suffixes:
        once = [
            resampled_metrics(columns, np.ones((1, num_images), np.int64), suffix)
            for columns in flat
        ]
        drawn = _mean_differences(flat, suffix, key, num_resamples)
        for metric in METRICS:
            # Accuracy does not depend on the temperature.
            if suffix and metric == "accuracy":
                continue
            values = np.array([found[metric][0] for found in once]).reshape(-1, 2)
            rows.append(
                _effect(metric, suffix, values, drawn[metric], num_images, level)
            )
    return tuple(rows)


def distillation_effect(
    taught: Mapping[int, Columns],
    alone: Mapping[int, Columns],
    *,
    key: Key[Array, ""],
    num_resamples: int = 1000,
    level: float = 0.95,
) -> tuple[Effect, ...]:
    """What a teacher changes: the same student with and without one, seed by seed.

    Args:
        taught: Seed to the per-example columns of the student with the teacher.
        alone: Likewise of the one without.
        key: As for `paired_effect`.
        num_resamples: Likewise.
        level: Likewise.

    Returns:
        As `paired_effect`; `with_it` is the student with the teacher.

    Raises:
        UserError: If they share no seed, or differ in their images. Seeds that one
            side lacks are left out.
    """
    seeds = sorted(taught.keys() & alone.keys())
    if not seeds:
        raise UserError(
            f"students with a teacher have the seeds {sorted(taught)}, those without "
            f"{sorted(alone)}; train both from the same seeds"
        )
    pairs = [(taught[seed], alone[seed]) for seed in seeds]
    return paired_effect(pairs, key=key, num_resamples=num_resamples, level=level)


def resampled_metrics(
    columns: Columns, weights: Int[np.ndarray, "resamples n"], suffix: str = ""
) -> dict[str, Float[np.ndarray, " resamples"]]:
    """Accuracy, AUROC, ECE and AURC of resamples that hold image i weights[r, i] times.

    The definitions of `jaxbench.metrics`, ties included, in float64 and without
    sorting each resample. AUROC and AURC rank by log(1 - confidence), which does not
    saturate.

    Args:
        columns: Per-example columns.
        weights: Whole numbers, with one sum for all resamples.
        suffix: "_ts" for scores after temperature scaling.

    Returns:
        One number a resample each; AUROC is NaN where all answers are right, or none.
    """
    correct = columns["correct"].astype(bool)
    order = -columns[_ORDER + suffix].astype(np.float64)
    confidence = columns["confidence" + suffix]
    return {
        "accuracy": weights @ correct / weights.sum(axis=1),
        "auroc": _weighted_auroc(order, correct, weights),
        "ece": _weighted_ece(confidence, correct, weights),
        "aurc": weighted_aurc(order, correct, weights),
    }


def aligned(several: Sequence[Columns]) -> list[Columns]:
    """The rows of all in the order of their ids.

    Raises:
        UserError: If they are not of the same images with the same labels.
    """
    found = []
    for columns in several:
        order = np.argsort(columns["id"], kind="stable")
        found.append({name: values[order] for name, values in columns.items()})
    first = found[0]
    for number, columns in enumerate(found[1:], start=2):
        for name in ("id", "label"):
            if not np.array_equal(first[name], columns[name]):
                raise UserError(
                    f"models 1 and {number} of {len(found)} differ in the {name}s of "
                    f"their images ({len(first['id'])} and {len(columns['id'])} "
                    "images); evaluate all on the same dataset"
                )
    return found


@functools.cache
def student_quantile(probability: float, degrees: int) -> float:
    """Student's t quantile for a probability above one half, by bisection.

    P(T <= t) = 1 - I(v / (v + t^2); v / 2, 1 / 2) / 2, I the regularised incomplete
    beta function (Abramowitz and Stegun 1964, 26.7.1). In float32: good to 1e-4 of its
    value.
    """
    low, high = 0.0, 1e4
    for _ in range(60):
        middle = (low + high) / 2
        share = degrees / (degrees + middle**2)
        tail = float(betainc(degrees / 2, 0.5, share)) / 2
        low, high = (middle, high) if tail > 1 - probability else (low, middle)
    return (low + high) / 2


def _mean_differences(
    flat: Sequence[Columns], suffix: str, key: Key[Array, ""], num_resamples: int
) -> dict[str, Float[np.ndarray, " resamples"]]:
    """The mean difference of all pairs on resamples of the images."""
    num_images = len(flat[0]["correct"])
    # Both suffixes see the same resamples.
    rng = np.random.default_rng(np.asarray(jax.random.key_data(key)).ravel())
    parts: dict[str, list[np.ndarray]] = {metric: [] for metric in METRICS}
    step = max(1, _ROWS_IN_FLIGHT // num_images)
    for start in range(0, num_resamples, step):
        size = min(step, num_resamples - start)
        share = np.full(num_images, 1 / num_images)
        weights = rng.multinomial(num_images, share, size=size)
        found = [resampled_metrics(columns, weights, suffix) for columns in flat]
        for metric, kept in parts.items():
            values = np.stack([values[metric] for values in found])
            kept.append((values[0::2] - values[1::2]).mean(axis=0))
    return {metric: np.concatenate(kept) for metric, kept in parts.items()}


def _effect(
    metric: str,
    suffix: str,
    values: Float[np.ndarray, "pairs 2"],
    drawn: Float[np.ndarray, " resamples"],
    num_images: int,
    level: float,
) -> Effect:
    differences = values[:, 0] - values[:, 1]
    num_pairs = len(differences)
    signed = differences if METRICS[metric] else -differences
    # A resample without a wrong answer has no AUROC.
    drawn = drawn[np.isfinite(drawn)]
    variance = float(np.var(drawn, ddof=1)) if len(drawn) > 1 else math.nan
    quantile = float(jax.scipy.special.ndtri((1 + level) / 2))
    if num_pairs > 1:
        variance += float(np.var(differences, ddof=1)) / num_pairs
        quantile = student_quantile((1 + level) / 2, num_pairs - 1)
    difference = float(differences.mean())
    width = quantile * math.sqrt(variance)
    return Effect(
        metric + suffix,
        float(values[:, 0].mean()),
        float(values[:, 1].mean()),
        difference,
        difference - width,
        difference + width,
        int((signed > 0).sum()),
        num_pairs,
        num_images,
    )


def _weighted_auroc(
    confidence: Float[np.ndarray, " n"],
    correct: Bool[np.ndarray, " n"],
    weights: Int[np.ndarray, "resamples n"],
) -> Float[np.ndarray, " resamples"]:
    """The share of pairs with the right answer on top, ties one half."""
    if np.isnan(confidence).any():
        return np.full(len(weights), math.nan)
    order = np.argsort(confidence, kind="stable")
    ordered = confidence[order]
    starts = np.flatnonzero(np.r_[True, ordered[1:] != ordered[:-1]])
    right = np.add.reduceat(weights[:, order] * correct[order], starts, axis=1)
    wrong = np.add.reduceat(weights[:, order] * ~correct[order], starts, axis=1)
    below = np.cumsum(wrong, axis=1) - wrong
    concordant = (right * (below + wrong / 2)).sum(axis=1)
    pairs = right.sum(axis=1) * wrong.sum(axis=1)
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(pairs > 0, concordant / pairs, math.nan)


def _weighted_ece(
    confidence: Float[np.ndarray, " n"],
    correct: Bool[np.ndarray, " n"],
    weights: Int[np.ndarray, "resamples n"],
) -> Float[np.ndarray, " resamples"]:
    """ECE over equal bins (b / B, (b + 1) / B]."""
    # A confidence on an edge belongs to the bin below it.
    edges = np.linspace(0, 1, NUM_BINS + 1, dtype=np.float32)
    bins = np.clip(np.searchsorted(edges, confidence, side="left") - 1, 0, NUM_BINS - 1)
    gaps = np.zeros((len(confidence), NUM_BINS))
    gaps[np.arange(len(confidence)), bins] = confidence.astype(np.float64) - correct
    return np.abs(weights @ gaps).sum(axis=1) / weights.sum(axis=1)
