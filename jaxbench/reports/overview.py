"""The report on a folder of results: findings, figures, tables, what went wrong."""

import os
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

from jaxbench.errors import counted
from jaxbench.reports.cells import Column, Table, text_cell
from jaxbench.reports.coupling_charts import plain_heat_map
from jaxbench.reports.coupling_sections import MAX_OPEN_ROWS, coupling_sections
from jaxbench.reports.metric_texts import metric_text
from jaxbench.reports.mistakes import mistake_sections
from jaxbench.reports.overview_charts import (
    confidence_curves,
    detection_bars,
    severity_panels,
)
from jaxbench.reports.overview_findings import find
from jaxbench.reports.overview_scatter import metrics_of_nan, models_scatter
from jaxbench.reports.overview_training import learning_panels
from jaxbench.reports.page import Chart, Page, Section
from jaxbench.reports.provenance import versions, with_origin
from jaxbench.reports.tables import (
    calibration_table,
    evaluation_table,
    failure_table,
    main_table,
    ood_table,
    selective_table,
    shift_table,
    trial_table,
)
from jaxbench.reports.writing import write_page
from jaxbench.results import ResultStore
from jaxbench.studies.entries import Results, Row, load_results
from jaxbench.studies.grid_costs import Costs, read_costs
from jaxbench.studies.grids import Sweep, load_sweeps
from jaxbench.studies.mistakes import Answers
from jaxbench.studies.partial import partial_datasets

# Cells of all tables of runs: a page stays in a few megabytes however many there are.
MAX_CELLS = 24_000
_MAX_TEXTS = 20
_CHOSEN = (
    "Of each backbone and optimizer, the row is the trial with the best validation "
    "accuracy. "
)
_LISTS = ("trials", "evaluations")


def write_report(
    store: ResultStore,
    path: str | os.PathLike[str],
    *,
    title: str | None = None,
    figures_dir: str | os.PathLike[str] | None = None,
    formats: Sequence[str] = ("svg", "png"),
) -> Path:
    """Writes one HTML file that needs nothing but itself.

    Style, script and figures are inside it, and it loads nothing. The same store gives
    the same file.

    Args:
        store: The results.
        path: The file; its folder is made where it is missing.
        title: Heading; the name of the experiment where None.
        figures_dir: Where to write the figures as files too.
        formats: Of these files: "svg", "png", "pdf".

    Returns:
        The path of the page.

    Raises:
        UserError: If a format is unknown, or a file cannot be written.
    """
    page = build_report(store, title=title)
    return write_page(page, path, figures_dir=figures_dir, formats=formats)


def build_report(store: ResultStore, *, title: str | None = None) -> Page:
    """The page of everything that a folder holds, finished or not.

    Args:
        store: The results.
        title: Heading; the name of the experiment where None.
    """
    store = store.keeping()
    results = load_results(store)
    studied = [(sweep, read_costs(store, sweep)) for sweep in load_sweeps(results)]
    rows = [*results.evaluations, *results.trials, *results.failures]
    experiments = ", ".join(_distinct(rows, "experiment"))
    # A single pair has nothing to be compared with.
    coupled = coupling_sections([(s, c) for s, c in studied if len(s.pairs) > 1])
    tables = _tables(results)
    answers = Answers()
    page = Page(
        name="report",
        title=title or experiments or "Results",
        question="",
        reference="",
        facts=_facts(results, rows, experiments),
        findings=tuple(find(results, [sweep for sweep, _ in studied])),
        sections=(
            *_nothing(results),
            *_figures(store, results, studied, answers),
            *(section for section in coupled if section.charts),
            *_mistakes(results, answers),
            *(section for section in tables if section.name not in _LISTS),
            *(section for section in coupled if not section.charts),
            *_failures(results),
            *_problems(results),
            *(section for section in tables if section.name in _LISTS),
        ),
        notes=_notes(results),
    )
    return with_origin(page, rows, ("report", str(store.path)))


def _nothing(results: Results) -> Iterator[Section]:
    if results.evaluations or results.trials:
        return
    failed = " All that ran failed; the errors are below." if results.failures else ""
    yield Section(
        "nothing",
        "Nothing to compare yet",
        f"No run has finished.{failed} The same command again does what is missing.",
    )


def _mistakes(results: Results, answers: Answers) -> list[Section]:
    """Confused classes and confident mistakes of the models whose curves are drawn."""
    rows = {entry.label: row for entry, row in results.ranked()}
    return mistake_sections(answers, rows[answers.models[0]]) if answers.models else []


def _figures(
    store: ResultStore,
    results: Results,
    studied: Sequence[tuple[Sweep, Costs]],
    answers: Answers,
) -> Iterator[Section]:
    """Charts that are not a grid's; `answers` are given what their models answered."""
    plain = None if studied else plain_heat_map(results)
    parts: tuple[tuple[str, str, str, tuple[Chart | None, ...]], ...] = (
        (
            "overview",
            "Models compared",
            "Every model as a point; any two of its numbers can be the axes.",
            (models_scatter(results),),
        ),
        (
            "confidence",
            "Confidence",
            "Whether confidence is what it says, and whether it separates right "
            "answers from wrong ones.",
            confidence_curves(store, results, answers),
        ),
        (
            "images",
            "Other images",
            "Shifted images of the known classes, and images of classes that the model "
            "does not know.",
            (severity_panels(results), detection_bars(results)),
        ),
        (
            "training",
            "Training",
            "How the trials went.",
            (plain, learning_panels(store, results)),
        ),
    )
    for name, heading, caption, charts in parts:
        if drawn := tuple(chart for chart in charts if chart is not None):
            yield Section(name, heading, caption, charts=drawn)


def _tables(results: Results) -> list[Section]:
    """The tables that have rows, long ones cut to what a page can hold."""
    chosen = _CHOSEN if results.trials else ""
    parts = (
        (
            "models",
            "Models",
            f"{chosen}Brackets hold bootstrap intervals. T* means after temperature "
            "scaling.",
            main_table(results),
        ),
        (
            "calibration",
            "Calibration",
            "Every measure of how far confidence is from accuracy; T* after "
            "temperature scaling.",
            calibration_table(results),
        ),
        (
            "selective",
            "Selective prediction",
            "Every measure of how well confidence separates right answers from wrong.",
            selective_table(results),
        ),
        (
            "shift",
            "Under shift",
            "Accuracy on shifted images, of a corruption the mean over its severities; "
            "the drop is in points.",
            shift_table(results),
        ),
        (
            "ood",
            "Out-of-distribution detection",
            "Images of classes that the model does not know.",
            ood_table(results),
        ),
        ("trials", "All trials", "Every training run.", trial_table(results)),
        (
            "evaluations",
            "All evaluations",
            "Every model on every dataset, chosen or not.",
            evaluation_table(results),
        ),
    )
    found, left = [], MAX_CELLS
    for name, heading, caption, whole in parts:
        # Half of what is left, so that the tables after it have rows too.
        table = Table(
            whole.columns, whole.rows[: max(1, left // 2 // len(whole.columns))]
        )
        left -= len(table.rows) * len(table.columns)
        if hidden := len(whole.rows) - len(table.rows):
            caption += (
                f" The first {len(table.rows):,} of {len(whole.rows):,} rows: jaxbench "
                f"results FOLDER --csv FILE writes the other {hidden:,} too."
            )
        folded = len(table.rows) > MAX_OPEN_ROWS or name in _LISTS
        if table.rows:
            found.append(Section(name, heading, caption, table, folded=folded))
    return found


def _failures(results: Results) -> Iterator[Section]:
    """Failed runs, and each of their tracebacks once."""
    if not results.failures:
        return
    subjects: dict[str, list[str]] = {}
    for row in results.failures:
        if row["error_traceback"]:
            where = f" on {row['dataset']}" if row["dataset"] else ""
            model = f"{row['model'] or '(unnamed)'}{where}"
            subjects.setdefault(row["error_traceback"], []).append(model)
    texts = [
        (f"Traceback: {of[0]}" + (f" and {len(of) - 1} more" * (len(of) > 1)), text)
        for text, of in list(subjects.items())[:_MAX_TEXTS]
    ]
    yield Section(
        "failed",
        "Failures",
        "Runs that raised an error. They are rows like any other, and are done again "
        "by the same command.",
        failure_table(results),
        folded=len(results.failures) > MAX_OPEN_ROWS,
        texts=tuple(texts),
    )


def _problems(results: Results) -> Iterator[Section]:
    if not results.problems:
        return
    rows = [
        (text_cell(problem.path.name), text_cell(problem.reason))
        for problem in results.problems
    ]
    yield Section(
        "problems",
        "Unreadable results",
        "Files that cannot be read. Their runs count as missing and are done again by "
        "the same command.",
        Table((Column("File"), Column("Reason")), tuple(rows)),
        folded=len(rows) > MAX_OPEN_ROWS,
    )


def _facts(
    results: Results, rows: Sequence[Row], experiments: str
) -> tuple[tuple[str, str], ...]:
    """The header's lines: what was run, when, on what, with which versions."""
    dates = sorted(date[:10] for date in _distinct(rows, "created_at"))
    datasets = _distinct(results.evaluations, "dataset")
    counts = (
        f"{counted(len(results.evaluations), 'evaluation')} of "
        f"{counted(len(results.entries), 'model')} on "
        f"{counted(len(datasets), 'dataset')}, "
        f"{counted(len(results.trials), 'trial')}, "
        f"{counted(len(results.failures), 'failure')}"
    )
    facts = (
        ("Experiment", experiments),
        ("Runs", counts),
        ("Dates", " to ".join(dict.fromkeys([*dates[:1], *dates[-1:]]))),
        ("Devices", ", ".join(_distinct(rows, "device"))),
        ("Versions", versions(rows)),
    )
    return tuple((name, text) for name, text in facts if text)


def _notes(results: Results) -> tuple[str, ...]:
    """What is missing from the page, and why."""
    notes = [*partial_datasets(results.evaluations)]
    if count := results.num_outdated:
        notes.append(
            f"{count:,} of the evaluations are left out: their models were measured "
            "again later by numbers computed in another way. SQL still reads them."
        )
    if results.evaluations and len(results.entries) == 1:
        notes.append("One model: there is nothing to compare it with in a scatter.")
    if names := metrics_of_nan(results):
        headings = ", ".join(metric_text(name).heading for name in names)
        notes.append(f"NaN for every model, so on no axis: {headings}.")
    twice = Counter((e.model, e.optimizer) for e in results.entries)
    if repeated := sum(count > 1 for count in twice.values()):
        notes.append(
            f"{counted(repeated, 'name')} of a model stands for several: what they "
            "differ in, or the beginning of their id, is added to it."
        )
    return tuple(notes)


def _distinct(rows: Sequence[Row], name: str) -> list[str]:
    return sorted({row[name] for row in rows if row.get(name)})
