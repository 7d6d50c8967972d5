"""What a reader should know first, in a sentence each, computed from the results."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from jaxbench.reports.cells import format_interval, format_value
from jaxbench.reports.metric_texts import metric_text
from jaxbench.reports.tables import drops
from jaxbench.studies.entries import (
    Entry,
    Results,
    Row,
    diverged,
    is_number,
    superseded,
)
from jaxbench.studies.grid_costs import ranking
from jaxbench.studies.grid_failures import (
    Rule,
    gap_words,
    largest_gap,
    marked_failures,
    not_judged,
    too_few,
)
from jaxbench.studies.grids import Sweep

_TO_LOOK_AT = "Runs to look at"
_SHOWN, _SHOWN_NAMES = 3, 6


@dataclass(frozen=True)
class Finding:
    """A heading, the number, whose it is, and what to make of it."""

    title: str
    value: str
    subject: str
    text: str


def find(results: Results, sweeps: Sequence[Sweep] = ()) -> list[Finding]:
    """The findings that the results have numbers for, the most important first.

    Args:
        results: Every run.
        sweeps: Their grids of optimizers and backbones, which have findings of theirs.
    """
    makers: tuple[Callable[[Results], Iterator[Finding]], ...] = (
        _most_accurate,
        _best_calibrated,
        _knows_its_errors,
        _largest_drop,
        _best_detector,
        _lost,
    )
    found = [finding for maker in makers for finding in maker(results)]
    coupled = [finding for sweep in sweeps for finding in find_coupling(sweep)]
    # What went wrong stands last.
    place = len(found) - any(f.title == _TO_LOOK_AT for f in found)
    return found[:place] + coupled + found[place:]


def find_coupling(sweep: Sweep, rule: Rule = "fitted") -> list[Finding]:
    """What a grid of optimizers and backbones says."""
    return [*_coupling(sweep, rule), *_ranked(sweep, rule)]


def _most_accurate(results: Results) -> Iterator[Finding]:
    ranked = results.ranked()
    if not ranked:
        return
    entry, row = ranked[0]
    text = f"Highest accuracy on {results.dataset}, of {len(ranked)} models."
    if len(ranked) == 1:
        text = f"Accuracy on {results.dataset}, the only model."
    elif _overlap(row, ranked[1][1]):
        other = format_value(ranked[1][1]["accuracy"], percent=True)
        text += (
            f" {ranked[1][0].label} follows with {other}% and an overlapping interval: "
            "a paired test (jaxbench compare) decides better."
        )
    yield Finding("Most accurate", _percent_value(row, "accuracy"), entry.label, text)


def _best_calibrated(results: Results) -> Iterator[Finding]:
    found = [pair for pair in results.ranked() if is_number(pair[1].get("ece"))]
    if not found:
        return
    entry, row = min(found, key=lambda pair: pair[1]["ece"])
    text = f"Smallest calibration error on {results.dataset}."
    scaled = [pair for pair in found if is_number(pair[1].get("ece_ts"))]
    if scaled:
        best, after = min(scaled, key=lambda pair: pair[1]["ece_ts"])
        number = format_value(after["ece_ts"], percent=True)
        text += f" After temperature scaling: {best.label} with {number}%."
    yield Finding("Best calibrated", _percent_value(row, "ece"), entry.label, text)


def _knows_its_errors(results: Results) -> Iterator[Finding]:
    found = [pair for pair in results.ranked() if is_number(pair[1].get("aurc"))]
    if len(found) < 2:
        return
    entry, row = min(found, key=lambda pair: pair[1]["aurc"])
    value = format_interval(row["aurc"], row.get("aurc_low"), row.get("aurc_high"))
    text = (
        "Smallest area under the risk-coverage curve: errs least when it may decline."
    )
    coverage = row.get("coverage_at_99_accuracy")
    if is_number(coverage):
        share = format_value(coverage, percent=True)
        text += f" Answers {share}% of the images at 99% accuracy."
    yield Finding("Best selective prediction", value, entry.label, text)


def _largest_drop(results: Results) -> Iterator[Finding]:
    found = [
        (drop, name, entry)
        for entry in results.entries
        if not diverged(entry.trial)
        for name, drop in drops(entry, results.dataset).items()
        if is_number(drop)
    ]
    if not found:
        return
    drop, name, entry = max(found, key=lambda item: (item[0], item[1]))
    means = [(_mean_drop(e, results), e.label) for e in results.entries if e.shifted]
    means = [pair for pair in means if is_number(pair[0])]
    text = f"Accuracy lost under {name.replace('_', ' ')}, mean over its severities."
    if len(means) > 1:
        least, label = min(means)
        points = format_value(least, percent=True)
        text += f" Most robust over all shifts: {label}, which loses {points} points."
    value = f"{format_value(drop, percent=True)} points"
    yield Finding("Largest drop under shift", value, entry.label, text)


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
    text = f"Highest AUROC in telling {dataset} from known images, by {score}."
    yield Finding(
        "Best at foreign images", _percent_value(row, name), entry.label, text
    )


def _lost(results: Results) -> Iterator[Finding]:
    failed = len(results.failures)
    lost = sum(map(diverged, results.trials))
    unreadable = len(results.problems)
    older = superseded(results.evaluations)
    total = failed + unreadable + len(results.trials) + len(results.evaluations)
    parts = [
        f"{failed} failed" if failed else "",
        f"{lost} diverged" if lost else "",
        f"{unreadable} unreadable" if unreadable else "",
        f"{older} superseded" if older else "",
    ]
    text = (
        "Listed below with their errors; the same command again does what is missing."
    )
    if not failed and not unreadable:
        text = "Training whose loss stopped being finite; marked in the figures."
        if not lost:
            text = ""
    if older:
        text += (
            " Of several results of one model on one dataset, made by other code or of "
            "other images, the latest is shown; the last table has all."
        )
        text = text.strip()
    if any(parts):
        shown = ", ".join(filter(None, parts))
        yield Finding(_TO_LOOK_AT, shown, f"of {total:,} runs", text)


def _coupling(sweep: Sweep, rule: Rule) -> Iterator[Finding]:
    failures = marked_failures(sweep, rule)
    if failures is None or len(sweep.table.optimizers) < 2:
        return
    title, named = "Backbone-optimizer coupling", _RULE_NAMES[rule]
    pairs, few = failures.pairs(), too_few(sweep.table)
    open_questions = not_judged(sweep)
    more = f" {_sentence(open_questions)}" if open_questions else ""
    # A diverged pair failed whatever the other scores of its backbone are.
    judged = [p for p in sweep.best if p[1] not in few or p in sweep.table.diverged]
    value = f"{len(pairs)} of {len(judged)}{' judged' if few else ''} pairs failed"
    if pairs:
        shown, text = _failing(sweep, pairs)
        text = f"Optimizers that fail, by {named}, on {sweep.dataset}. {text}{more}"
        yield Finding(title, value, shown, text)
    elif len(few) == len(sweep.table.backbones):
        reason, _, gap = open_questions.partition("; ")
        text = (
            f"{sweep.score} less the backbone's best, trained on {sweep.dataset}. The "
            "rule needs the quartiles of a backbone's scores."
        )
        yield Finding(title, reason, gap, text)
    else:
        text = f"No score fails by {named}, on {sweep.dataset}; {gap_words(sweep)}."
        yield Finding(title, value, "no backbone", text + more)


_RULE_NAMES = {"fitted": "the fitted rule", "eq1": "Eq. (1)"}


def _failing(sweep: Sweep, pairs: Sequence[tuple[str, str]]) -> tuple[str, str]:
    """The backbones with the most failures, and the optimizers of the first."""
    counts = {b: [o for o, c in pairs if c == b] for b in sweep.table.backbones}
    failing = sorted((b for b in counts if counts[b]), key=lambda b: -len(counts[b]))
    shown = ", ".join(f"{b} ({len(counts[b])})" for b in failing[:_SHOWN])
    if len(failing) > _SHOWN:
        shown += f" and {len(failing) - _SHOWN} more"
    worst = ", ".join(map(sweep.title, counts[failing[0]][:_SHOWN_NAMES]))
    hidden = len(counts[failing[0]]) - _SHOWN_NAMES
    worst += f" and {hidden} more" if hidden > 0 else ""
    return shown, f"On {failing[0]}: {worst}."


def _ranked(sweep: Sweep, rule: Rule) -> Iterator[Finding]:
    found = ranking(sweep, rule)
    failures = marked_failures(sweep, rule)
    if found is None or failures is None:
        return
    places = found[0]
    best = [row.optimizer for row in places if row.place == 1]
    after = [sweep.title(row.optimizer) for row in places if row.place > 1]
    text = (
        "By accuracy, robustness of the settings, failures and cost over "
        f"{len(sweep.table.backbones)} backbones, on {sweep.dataset}."
    )
    gap = largest_gap(sweep.table, best)
    if gap is not None and gap.size == 0:
        text += " It has the best score of every backbone."
    elif gap is not None:
        whose = f"{sweep.title(gap.optimizer)} " if len(best) > 1 else ""
        text += (
            f" Its largest gap to the best score of a backbone: {whose}"
            f"{100 * gap.size:.1f} points, on {gap.backbone}."
        )
    if after:
        text += f" Then: {', '.join(after[:_SHOWN])}."
    shown = []
    for name in best:
        lost = [b for o, b in failures.pairs() if o == name]
        words = f" (failed on {', '.join(lost)})" if lost else ""
        shown.append(sweep.title(name) + words)
    count = f"place 1 of {len(places)}"
    yield Finding("Best-ranked optimizer", ", ".join(shown), count, text)


def _sentence(text: str) -> str:
    return f"{text[0].upper()}{text[1:]}."


def _percent_value(row: Row, name: str) -> str:
    ends = (row.get(f"{name}_low"), row.get(f"{name}_high"))
    value, *interval = format_interval(row[name], *ends, percent=True).split(" ", 1)
    return f"{value}%" + "".join(f" {rest}" for rest in interval)


def _overlap(a: Row, b: Row) -> bool:
    low, high = a.get("accuracy_low"), b.get("accuracy_high")
    return is_number(low) and is_number(high) and low <= high


def _mean_drop(entry: Entry, results: Results) -> float | None:
    values = [v for v in drops(entry, results.dataset).values() if is_number(v)]
    return sum(values) / len(values) if values else None
