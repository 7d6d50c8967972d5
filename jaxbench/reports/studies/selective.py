"""The page of the selective study: which models know when they are wrong?

The questions are those of arXiv 2302.11874; the numbers are in `jaxbench.studies`.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from jaxbench.errors import UserError, counted, unknown_name
from jaxbench.reports.metric_texts import (
    CALIBRATION,
    METRIC_TEXTS,
    SELECTIVE,
    metric_text,
)
from jaxbench.reports.page import Page, Point, Scatter, Section
from jaxbench.reports.studies import selective_tables as tables
from jaxbench.reports.studies.selective_curves import (
    curve_sections,
    severity_sections,
)
from jaxbench.reports.studies.selective_findings import find
from jaxbench.reports.studies.selective_groups import (
    correlation_section,
    group_sections,
    scaling_sections,
)
from jaxbench.reports.studies.selective_pairs import student_sections, twin_sections
from jaxbench.reports.studies.selective_published import (
    interval_of,
    published_sections,
)
from jaxbench.results import ResultStore
from jaxbench.studies import mean_ranks, read_regimes
from jaxbench.studies.entries import Results, is_number, load_results
from jaxbench.studies.models import (
    Model,
    choose,
    extremes,
    find_models,
    find_reference,
    strangers,
)
from jaxbench.studies.resampling import Resampling
from jaxbench.studies.selective_severity import SeverityOptions
from jaxbench.studies.teachers import compare_students, compare_twins

TITLE = "Selective prediction"
QUESTION = "Which classifiers know when they are wrong, and what made them so?"
REFERENCE = "https://arxiv.org/abs/2302.11874"
# What the first table shows, each before and after temperature scaling.
HEADLINES = (
    *("accuracy", "auroc", "aurc", "ece"),
    *("coverage_at_99_accuracy", "coverage_at_95_accuracy"),
)
_OOD = "ood_auroc_max_softmax"


def build(
    store: ResultStore,
    *,
    reference: str | None = None,
    regimes: Mapping[str, str] | str | Path | None = None,
    rank_by: str = "auroc",
    shown: Sequence[str] = (),
    severity_group_size: int | None = None,
    severity_levels: int = 11,
    num_resamples: int = 1000,
    seed: int = 0,
) -> Page:
    """Analyses a results folder as arXiv 2302.11874 does 523 ImageNet classifiers.

    Args:
        store: The folder.
        reference: Address of the clean dataset; the one that most models were
            evaluated on when None.
        regimes: How your own models were trained: name to regime, or a CSV file
            with columns `model` and `regime`. They come before what names say.
        rank_by: Metric of the ranking, any of the table's; `_ts` for after scaling.
        shown: Models whose curves are shown, by label or name, wildcards allowed; some
            of the best and worst when empty.
        severity_group_size: Out-of-distribution classes of a level of severity;
            as many as known classes when None.
        severity_levels: Levels of severity, 2 or more.
        num_resamples: Resamples behind the intervals over models and over pairs; 0
            leaves both out, and the twin by twin table.
        seed: Seed of the resamples.

    Returns:
        The page. What a folder cannot answer (no temperature, out-of-distribution
        images or twins) is left out of it and named in its notes.

    Raises:
        UserError: If no model was evaluated on the clean dataset, or an option names
            something that is not there.
    """
    check(
        reference=reference,
        regimes=regimes,
        rank_by=rank_by,
        shown=shown,
        severity_group_size=severity_group_size,
        severity_levels=severity_levels,
        num_resamples=num_resamples,
        seed=seed,
    )
    results = load_results(store)
    dataset = find_reference(results, reference)
    own = _own_regimes(regimes)
    models, notes = find_models(results, dataset, regimes=own)
    notes += strangers(models, own, "Regimes")
    if not models:
        none = f"no model has an accuracy on {dataset}; evaluate some on it"
        raise UserError(" ".join([none, *(f"({note})" for note in notes)]))
    names = tables.metric_names(models, HEADLINES)
    ranks = _ranks(models, rank_by)
    resampling = Resampling(seed, num_resamples)
    chosen = choose(models, tuple(shown)) if shown else extremes(models)

    correlations = correlation_section(models, resampling)
    scaled = scaling_sections(models)
    twins = compare_twins(store, models, resampling)
    students = compare_students(store, results, dataset, resampling)
    curves, curve_notes = curve_sections(store, chosen)
    severity = SeverityOptions(seed, severity_group_size, severity_levels)
    severities, severity_notes = severity_sections(store, models, chosen, severity)
    sections = [
        _ranking(models, names, ranks, rank_by, dataset),
        *correlations.sections,
        *scaled.sections,
        *group_sections(models, names),
        *twin_sections(twins),
        *student_sections(students),
        *curves,
        *severities,
        *published_sections(models, dataset),
        _everything(models, ranks),
    ]
    notes += [*correlations.notes, *scaled.notes, *twins.notes, *students.notes]
    notes += [*curve_notes, *severity_notes, *_notes(results, models)]
    return Page(
        name="selective",
        title=TITLE,
        question=QUESTION,
        reference=REFERENCE,
        facts=_facts(models, dataset),
        findings=tuple(find(models, dataset, correlations, scaled, twins, students)),
        sections=tuple(sections),
        notes=tuple(notes),
    )


def check(
    *,
    reference: Any = None,
    regimes: Any = None,
    rank_by: Any = "auroc",
    shown: Any = (),
    severity_group_size: Any = None,
    severity_levels: Any = 11,
    num_resamples: Any = 1000,
    seed: Any = 0,
) -> None:
    """Checks the options of `build` that need no results, types included.

    They may come from a file, long before there are any results.

    Raises:
        UserError: Naming all that do not fit.
    """
    problems = []
    if reference is not None and not isinstance(reference, str):
        problems.append(f"reference is {reference!r}, wanted a dataset's address")
    try:
        _own_regimes(regimes)
    except UserError as error:
        problems.append(str(error))
    ranked = [name for name, text in METRIC_TEXTS.items() if text.direction]
    if not isinstance(rank_by, str):
        problems.append(f"rank_by is {rank_by!r}, wanted the name of a metric")
    elif rank_by.removesuffix("_ts") not in ranked:
        problems.append(unknown_name("metric to rank by", rank_by, ranked))
    names = shown if isinstance(shown, list | tuple) else [None]
    if not all(isinstance(name, str) for name in names):
        problems.append(f"shown is {shown!r}, wanted a list of names")
    size = 1 if severity_group_size is None else severity_group_size
    for name, value, least in (
        ("severity_group_size", size, 1),
        ("severity_levels", severity_levels, 2),
        ("num_resamples", num_resamples, 0),
        ("seed", seed, 0),
    ):
        if not isinstance(value, int) or isinstance(value, bool) or value < least:
            problems.append(f"{name} is {value!r}, wanted a whole number from {least}")
    if problems:
        raise UserError("; ".join(problems))


def _own_regimes(regimes: Any) -> dict[str, str]:
    if regimes is None:
        return {}
    if isinstance(regimes, str | Path):
        return read_regimes(regimes)
    if not isinstance(regimes, Mapping):
        raise UserError(f"regimes is {regimes!r}, wanted names with regimes, or a file")
    wrong = {n: r for n, r in regimes.items() if not isinstance(r, str) or not r}
    if wrong:
        raise UserError(f"regimes: got {wrong}, wanted a word for each model")
    return dict(regimes)


def _ranks(models: Sequence[Model], metric: str) -> dict[str, float]:
    """Label to rank; equal values share the mean of their ranks."""
    base = metric.removesuffix("_ts")
    known = {m.label: m.clean[metric] for m in models if is_number(m.clean.get(metric))}
    if not known or not metric_text(base).direction:
        ranked = (n for n in tables.all_metrics(models) if metric_text(n).direction)
        raise UserError(unknown_name("metric to rank by", metric, list(ranked)))
    sign = 1 if metric_text(base).direction == "↑" else -1
    places = mean_ranks(np.array([sign * value for value in known.values()]))
    return dict(zip(known, places.tolist(), strict=True))


def _ranking(
    models: Sequence[Model],
    names: Sequence[str],
    ranks: Mapping[str, float],
    rank_by: str,
    dataset: str,
) -> Section:
    points = tuple(_point(model, names) for model in models)
    shown = sorted({name for point in points for name in point.values})
    y = next((n for n in ("auroc", "aurc", "ece") if n in shown), "accuracy")
    return Section(
        "models",
        "Models",
        f"On {dataset}, ranked by {metric_text(rank_by).heading}; T* marks numbers "
        "after temperature scaling. Brackets are 95 % bootstrap intervals over the "
        "images. Coverage at 99 or 95 % accuracy is the largest share of the images "
        "that can be answered so.",
        table=tables.model_table(models, names, ranks),
        charts=(
            Scatter(
                "accuracy-uncertainty",
                points,
                x="accuracy",
                y=y,
                group="regime",
            ),
        ),
    )


def _point(model: Model, names: Sequence[str]) -> Point:
    values = {
        n: interval_of(model.clean, n) for n in names if is_number(model.clean.get(n))
    }
    ood = next((r for r in model.ood.values() if is_number(r.get(_OOD))), None)
    details = {}
    if ood is not None:
        values[_OOD] = interval_of(ood, _OOD)
        details["Out-of-distribution"] = str(ood["dataset"])
    temperature = model.clean.get("temperature")
    if is_number(temperature):
        details["T*"] = f"{temperature:.3f}"
    groups = {"regime": model.regime, "family": model.family}
    return Point(model.label, values, groups, details)


def _everything(models: Sequence[Model], ranks: Mapping[str, float]) -> Section:
    wanted = tables.metric_names(
        models, ("nll", "brier", *CALIBRATION, "mean_confidence", *SELECTIVE)
    )
    return Section(
        "metrics",
        "All selective and calibration metrics",
        "Before and after temperature scaling; definitions are in the documentation of "
        "the metrics.",
        table=tables.model_table(models, wanted, ranks),
    )


def _facts(models: Sequence[Model], dataset: str) -> tuple[tuple[str, str], ...]:
    images = {model.clean.get("num_examples") for model in models}
    shown = ", ".join(
        str(count) for count in sorted(i for i in images if i is not None)
    )
    scaled = sum(is_number(model.clean.get("temperature")) for model in models)
    regimes = Counter(model.regime for model in models).most_common()
    families = Counter(model.family for model in models).most_common()
    return (
        ("Models", str(len(models))),
        ("Dataset", dataset),
        ("Images", shown or "unknown"),
        ("With a fitted temperature", f"{scaled} of {len(models)}"),
        ("Regimes", ", ".join(f"{name} {count}" for name, count in regimes)),
        ("Families", ", ".join(f"{name} {count}" for name, count in families)),
    )


def _notes(results: Results, models: Sequence[Model]) -> list[str]:
    notes = [
        "The regime of a model is read off its tag by a table of the package; what no "
        "row fits is unknown, and nothing is guessed; so is the regime of weights that "
        "are not the tag's (a file, random ones) and of probes. Trials of this folder "
        "are "
        "distilled with a teacher and plain without; of the trials of one network, "
        "optimizer and teacher, the best by validation accuracy is shown.",
        "Rankings are by -log(1 - p) of the largest probability p, which does not "
        "saturate.",
    ]
    if results.failures:
        notes.append(f"{counted(len(results.failures), 'run')} failed: left out.")
    if not any(model.ood for model in models):
        notes.append("No out-of-distribution images were evaluated.")
    return notes
