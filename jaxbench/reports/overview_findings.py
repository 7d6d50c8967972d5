"""What a reader of the report should know first, computed from the results."""

from collections.abc import Callable, Iterator, Sequence

from jaxbench.reports.cells import format_value, metric_cell
from jaxbench.reports.coupling_findings import find_coupling
from jaxbench.reports.metric_texts import metric_text
from jaxbench.reports.page import Finding
from jaxbench.reports.tables import drops
from jaxbench.studies.entries import (
    Entry,
    Results,
    Row,
    diverged,
    is_number,
    superseded,
)
from jaxbench.studies.grids import Sweep

# Grids with findings of their own: more would bury the others.
_MAX_SWEEPS = 2


def find(results: Results, sweeps: Sequence[Sweep] = ()) -> list[Finding]:
    """The findings that the results have numbers for; what went wrong stands last.

    Args:
        results: Every run.
        sweeps: Their grids of optimizers and backbones, the largest first.
    """
    makers: tuple[Callable[[Results], Iterator[Finding]], ...] = (
        _most_accurate,
        _best_calibrated,
        _knows_its_errors,
        _largest_drop,
        _best_detector,
    )
    return [
        *(finding for maker in makers for finding in maker(results)),
        *(f for sweep in sweeps[:_MAX_SWEEPS] for f in find_coupling(sweep)),
        *_lost(results),
    ]


def _most_accurate(results: Results) -> Iterator[Finding]:
    ranked = results.ranked()
    if not ranked:
        return
    entry, row = ranked[0]
    text = f"{entry.label}, the highest of {len(ranked)} models on {results.dataset}."
    if len(ranked) == 1:
        text = f"{entry.label}, the only model, on {results.dataset}."
    elif _overlap(row, ranked[1][1]):
        text += (
            f" {ranked[1][0].label} follows with {_plain(ranked[1][1], 'accuracy')} "
            "and an overlapping interval: jaxbench compare tests the two in pairs."
        )
    yield Finding("Most accurate", _shown(row, "accuracy"), text)


def _best_calibrated(results: Results) -> Iterator[Finding]:
    found = [pair for pair in results.ranked() if is_number(pair[1].get("ece"))]
    if not found:
        return
    entry, row = min(found, key=lambda pair: pair[1]["ece"])
    text = f"{entry.label}, the smallest calibration error on {results.dataset}."
    scaled = [pair for pair in found if is_number(pair[1].get("ece_ts"))]
    if scaled:
        best, after = min(scaled, key=lambda pair: pair[1]["ece_ts"])
        text += (
            f" After temperature scaling: {best.label} with {_plain(after, 'ece_ts')}."
        )
    yield Finding("Best calibrated", _shown(row, "ece"), text)


def _knows_its_errors(results: Results) -> Iterator[Finding]:
    found = [pair for pair in results.ranked() if is_number(pair[1].get("aurc"))]
    if len(found) < 2:
        return
    entry, row = min(found, key=lambda pair: pair[1]["aurc"])
    text = metric_text("aurc")
    words = (
        f"{entry.label}, the smallest area under the risk-coverage curve "
        f"({text.heading}{text.unit}): it errs least when it may decline."
    )
    if is_number(row.get("coverage_at_99_accuracy")):
        share = _plain(row, "coverage_at_99_accuracy")
        words += f" It can answer {share} of the images at 99% accuracy."
    yield Finding("Best selective prediction", _shown(row, "aurc"), words)


def _largest_drop(results: Results) -> Iterator[Finding]:
    found = [
        (drop, name, entry)
        for entry in results.entries
        if not diverged(entry.origin)
        for name, drop in drops(entry, results.dataset).items()
        if is_number(drop)
    ]
    if not found:
        return
    drop, name, entry = max(found, key=lambda item: (item[0], item[1]))
    means = [(_mean_drop(e, results), e.label) for e in results.entries if e.shifted]
    means = [pair for pair in means if is_number(pair[0])]
    text = (
        f"{entry.label} under {name.replace('_', ' ')}, mean over the severities, if "
        "any."
    )
    if len(means) > 1:
        least, label = min(means)
        points = format_value(least, percent=True)
        text += f" Most robust over all shifts: {label}, which loses {points} points."
    value = f"{format_value(drop, percent=True)} points"
    yield Finding("Largest drop under shift", value, text)


def _best_detector(results: Results) -> Iterator[Finding]:
    found = [
        (row[name], name, row, entry, dataset)
        for entry in results.entries
        for dataset, row in entry.ood.items()
        for name in row
        if name.startswith("ood_auroc_") and metric_text(name).meaning
        if is_number(row[name])
    ]
    if not found:
        return
    _, name, row, entry, dataset = max(found, key=lambda item: item[0])
    kind = name.removeprefix("ood_auroc_")
    after = " after temperature scaling" if kind.endswith("_ts") else ""
    score = kind.removesuffix("_ts").replace("max_", "maximum ") + after
    text = f"{entry.label}, the highest AUROC against {dataset}, by {score}."
    yield Finding("Best out-of-distribution detection", _shown(row, name), text)


def _lost(results: Results) -> Iterator[Finding]:
    failed = len(results.failures)
    lost = sum(map(diverged, results.trials))
    unreadable = len(results.problems)
    older = superseded(results.evaluations)
    total = failed + unreadable + len(results.trials) + len(results.evaluations)
    counts = {
        "failed": failed,
        "diverged": lost,
        "unreadable": unreadable,
        "superseded": older,
    }
    parts = [f"Of {total:,} runs."]
    if failed or unreadable:
        parts.append(
            "The errors are below; the same command again does what is missing."
        )
    elif lost:
        parts.append("Their loss stopped being finite; they are marked in the figures.")
    if older:
        parts.append(
            "Of several results of one model on one dataset, made by other code or of "
            "other images, the latest is shown; the last table has all."
        )
    if shown := [f"{count} {word}" for word, count in counts.items() if count]:
        yield Finding("Runs to look at", ", ".join(shown), " ".join(parts))


def _shown(row: Row, name: str) -> str:
    """A metric with its interval, as tables have it, and its unit."""
    value, *interval = metric_cell(row, name).text.split(" ", 1)
    return value + _unit(name) + "".join(f" {ends}" for ends in interval)


def _plain(row: Row, name: str) -> str:
    """A metric without its interval."""
    return _shown({name: row[name]}, name)


def _unit(name: str) -> str:
    return "%" if metric_text(name).percent else ""


def _overlap(a: Row, b: Row) -> bool:
    low, high = a.get("accuracy_low"), b.get("accuracy_high")
    return is_number(low) and is_number(high) and low <= high


def _mean_drop(entry: Entry, results: Results) -> float | None:
    values = [v for v in drops(entry, results.dataset).values() if is_number(v)]
    return sum(values) / len(values) if values else None
