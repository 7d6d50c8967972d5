"""The answers of the selective study, each with its number and interval."""

from collections.abc import Iterator, Sequence

from jaxbench.reports.cells import format_interval
from jaxbench.reports.metric_texts import metric_text
from jaxbench.reports.page import Finding
from jaxbench.reports.studies import selective_tables as tables
from jaxbench.reports.studies.selective_groups import Correlations, Scaling
from jaxbench.studies import Effect
from jaxbench.studies.entries import is_number
from jaxbench.studies.models import Model
from jaxbench.studies.teachers import StudentEffects, TwinChanges

# Groups of students among the findings; the table has all.
_MAX_STUDENTS = 3


def find(
    models: Sequence[Model],
    dataset: str,
    correlations: Correlations,
    scaling: Scaling,
    twins: TwinChanges,
    students: StudentEffects,
) -> Iterator[Finding]:
    """What the page says first."""
    yield from _best(models)
    yield from _coverage(models)
    yield from _correlated(correlations)
    yield from _scaled(scaling)
    yield from _twins(twins)
    yield from _students(students, dataset)


def _best(models: Sequence[Model]) -> Iterator[Finding]:
    known = [model for model in models if is_number(model.clean.get("auroc"))]
    if not known:
        return
    best = max(known, key=lambda model: (model.clean["auroc"], model.label))
    accurate = max(models, key=lambda model: (model.clean["accuracy"], model.label))
    same = (
        "It is the most accurate one too."
        if best is accurate
        else f"The most accurate one is {accurate.label}, with "
        f"{_shown(accurate, 'auroc')} %."
    )
    yield Finding(
        "Knows best when it is wrong",
        f"{best.label}: AUROC {_shown(best, 'auroc')} %",
        f"Of {len(known)} models, by the chance that a right answer has more "
        f"confidence than a wrong one. {same}",
    )


def _coverage(models: Sequence[Model]) -> Iterator[Finding]:
    for metric, percent in (
        ("coverage_at_99_accuracy", 99),
        ("coverage_at_95_accuracy", 95),
    ):
        known = [model for model in models if is_number(model.clean.get(metric))]
        if not known:
            continue
        best = max(known, key=lambda model: (model.clean[metric], model.label))
        none = sum(model.clean[metric] == 0 for model in known)
        yield Finding(
            f"Coverage at {percent} % accuracy",
            f"{best.label}: {_shown(best, metric)} %",
            f"The largest share of the images that can be answered with {percent} % of "
            f"the answers right. {none} of {len(known)} models reach that accuracy at "
            "no coverage.",
        )


def _correlated(correlations: Correlations) -> Iterator[Finding]:
    for pair, title, sign in (
        (("accuracy", "auroc"), "Does accuracy say who knows?", ""),
        (
            ("auroc", "ece"),
            "Do AUROC and calibration agree?",
            " ECE is better when lower, so -1 is agreement.",
        ),
    ):
        found = correlations.overall.get(pair)
        if found is None or not is_number(found.value):
            continue
        x, y = (metric_text(name).heading for name in pair)
        yield Finding(
            title,
            f"Spearman {tables.correlation_text(found)}",
            f"Rank correlation of {x} and {y} over {found.num_models} models, with its "
            f"bootstrap interval over models.{sign}",
        )


def _scaled(scaling: Scaling) -> Iterator[Finding]:
    for metric in ("auroc", "ece"):
        found = scaling.changes.get(metric)
        if found is None or not found.num_pairs:
            continue
        heading = metric_text(metric).heading
        yield Finding(
            f"Temperature scaling and {heading}",
            f"median change {tables.change_text(found, metric)} points",
            f"Over {found.num_pairs} models; {heading} got better in "
            f"{found.num_better} and worse in {found.num_worse} (sign test, p "
            f"{tables.p_text(found.p_value)}).",
        )


def _twins(twins: TwinChanges) -> Iterator[Finding]:
    found = twins.changes.get("auroc")
    if found is None:
        return
    moved = found.num_better + found.num_worse
    share = found.num_better / moved if moved else None
    interval = format_interval(share, found.share_low, found.share_high, percent=True)
    yield Finding(
        "Distilled twins",
        f"AUROC better in {found.num_better} of {moved} pairs ({interval} %)",
        f"Median change {tables.change_text(found, 'auroc')} points from the "
        "undistilled to the distilled model of one architecture; sign test, p "
        f"{tables.p_text(found.p_value)}.",
    )


def _students(students: StudentEffects, dataset: str) -> Iterator[Finding]:
    found = {
        t: rows for (t, address), rows in students.effects.items() if address == dataset
    }
    most = sorted(found, key=lambda title: -found[title][0].num_pairs)
    for title in most[:_MAX_STUDENTS]:
        effects = found[title]
        by_metric = {effect.metric: effect for effect in effects}
        shown = [
            f"{metric_text(name).heading} {tables.effect_text(by_metric[name])}"
            for name in ("accuracy", "auroc", "ece", "ece_ts")
            if name in by_metric and is_number(by_metric[name].difference)
        ]
        first = effects[0]
        single = first.num_pairs == 1
        yield Finding(
            f"What a teacher changed on {dataset}, one seed: {title}"
            if single
            else f"What a teacher changes on {dataset}: {title}",
            "; ".join(shown),
            "With the teacher less without, in points, over "
            f"{_count(first.num_pairs, 'seed')} and {first.num_images} images. "
            + _decided(effects),
        )


def _decided(effects: Sequence[Effect]) -> str:
    """How far the intervals of students go."""
    if effects[0].num_pairs == 1:
        return (
            "This decides nothing about the teacher: one seed says nothing of others, "
            "whatever an interval over images says."
        )
    if not any(is_number(effect.low) for effect in effects):
        return "Without resamples differences have no interval: nothing is decided."
    return "An interval that holds 0 leaves the question open."


def _count(number: int, word: str) -> str:
    return f"{number} {word}{'' if number == 1 else 's'}"


def _shown(model: Model, metric: str) -> str:
    row = model.clean
    ends = (row.get(f"{metric}_low"), row.get(f"{metric}_high"))
    return format_interval(row.get(metric), *ends, percent=True)
