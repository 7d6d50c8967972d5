"""Many metrics of one set of scores at once: one sort, one compiled program."""

import difflib
from collections.abc import Iterable, Mapping
from functools import partial
from typing import TypeVar

from jaxbench.metrics.catalog import (
    CONFIDENCES,
    OOD_METRICS,
    SCORE_METRICS,
    OodMetric,
    rank_both,
)
from jaxbench.metrics.meshes import compiled
from jaxbench.metrics.ranked import Ranking, TieCounts, count_ties
from jaxbench.metrics.samples import Sample, sort_scores
from jaxbench.metrics.scores import ExampleScores, require_scores
from jaxbench.metrics.types import Scalar

Row = TypeVar("Row")


def summarize(
    scores: ExampleScores,
    metrics: Iterable[str] | None = None,
    *,
    confidence: str = "max_softmax",
) -> dict[str, Scalar]:
    """Measures one set of scores: one sort for all metrics, compiled once a shape.

    Only the metrics asked for are compiled. `pad_examples` brings different numbers of
    rows to one shape.

    Where a row that counts has a non-finite logit, accuracy and top-5 accuracy count
    it as wrong, and every other metric is NaN: see docs/metrics.md.

    Args:
        scores: From `score_examples`; JAX or NumPy columns.
        metrics: Names in `SCORE_METRICS`, or one; None for all that `confidence` has.
        confidence: What ranks the examples, a name in `CONFIDENCES`. Only metrics of
            order are defined for another than "max_softmax", which is a probability.

    Returns:
        A scalar for each name; NaN under jit if no row counts.

    Raises:
        ValueError: If a name is unknown or no metric of the confidence, `scores` are
            not ExampleScores, or no row counts (outside jit).
    """
    names = choose(metrics, confidence)
    require_scores(scores=scores)
    values = _summarize(scores, names, confidence)
    return {name: values[name] for name in names}  # jit sorts the names


@partial(compiled, static_argnames=("names", "confidence"))
def _summarize(
    scores: ExampleScores, names: tuple[str, ...], confidence: str
) -> dict[str, Scalar]:
    sample = Sample.of(sort_scores(scores, CONFIDENCES[confidence](scores)))
    return measure(sample, names)


def measure(sample: Sample, names: tuple[str, ...]) -> dict[str, Scalar]:
    """Metrics by name on a sample."""
    return {name: SCORE_METRICS[name].kernel(sample) for name in names}


def choose(
    metrics: Iterable[str] | None, confidence: str = "max_softmax"
) -> tuple[str, ...]:
    """The names asked for, or all that the confidence function has.

    Raises:
        ValueError: If a name is unknown, or no metric of the confidence; all at once.
    """
    lookup("confidence", CONFIDENCES, (confidence,))
    probable = confidence == "max_softmax"
    ordered = {n: m for n, m in SCORE_METRICS.items() if probable or m.kind == "order"}
    asked = ordered if metrics is None else metrics
    names = tuple(lookup("metric", SCORE_METRICS, asked))
    misfits = [name for name in names if name not in ordered]
    if misfits:
        raise ValueError(
            f"{', '.join(misfits)}: not defined for confidence={confidence!r}, which "
            f"is not a probability of being right; known are {', '.join(ordered)}"
        )
    return names


def lookup(kind: str, table: Mapping[str, Row], names: Iterable[str]) -> dict[str, Row]:
    """The rows of a table by name.

    Args:
        kind: What the table holds, for the message.
        table: Rows by name.
        names: Names, or a single one.

    Raises:
        ValueError: If any name is unknown, with the nearest that exists; all at once.
    """
    # A string is one name, not a sequence of letters.
    names = (names,) if isinstance(names, str) else tuple(names)
    problems = []
    for name in names:
        if name not in table:
            near = [known for known in table if name and known.startswith(name)]
            near += difflib.get_close_matches(name, table, n=1, cutoff=0.5)
            hint = (
                f"did you mean {near[0]!r}?"
                if near
                else "known are " + ", ".join(table)
            )
            problems.append(f"unknown {kind} {name!r}; {hint}")
    if problems:
        raise ValueError("\n".join(problems))
    return {name: table[name] for name in names}


def summarize_ood(
    id_scores: ExampleScores,
    ood_scores: ExampleScores,
    metrics: Iterable[str] = tuple(OOD_METRICS),
) -> dict[str, Scalar]:
    """Measures how well scores separate in- from out-of-distribution images.

    Labels and predictions play no part. A row that counts and is not finite makes
    every metric NaN.

    Args:
        id_scores: Of in-distribution images, the positive class.
        ood_scores: Of out-of-distribution images.
        metrics: Names in `OOD_METRICS`, or one.

    Returns:
        A scalar for each name; NaN under jit if either has no row that counts.

    Raises:
        ValueError: If a name is unknown, or no row of either counts (outside jit).
    """
    names = tuple(lookup("metric", OOD_METRICS, metrics))
    require_scores(id_scores=id_scores, ood_scores=ood_scores)
    values = _summarize_ood(id_scores, ood_scores, names)
    return {name: values[name] for name in names}  # jit sorts the names


@partial(compiled, static_argnames="names")
def _summarize_ood(
    id_scores: ExampleScores, ood_scores: ExampleScores, names: tuple[str, ...]
) -> dict[str, Scalar]:
    values: dict[str, Scalar] = {}
    for ranking, rows in rank_once(names, id_scores, ood_scores):
        counts: TieCounts = count_ties(ranking)
        values |= {name: metric.kernel(counts) for name, metric in rows.items()}
    return values


def rank_once(
    names: Iterable[str], id_scores: ExampleScores, ood_scores: ExampleScores
) -> list[tuple[Ranking, dict[str, OodMetric]]]:
    """One ranking for all metrics that share it, and these metrics."""
    groups: dict[tuple, dict[str, OodMetric]] = {}
    for name in names:
        metric = OOD_METRICS[name]
        groups.setdefault((metric.score, metric.flipped), {})[name] = metric
    return [
        (rank_both(next(iter(rows.values())), id_scores, ood_scores), rows)
        for rows in groups.values()
    ]
