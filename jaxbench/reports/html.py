"""One self-contained page: a store's tables, figures and findings, all offline."""

import datetime
import os
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from jaxbench.errors import counted
from jaxbench.reports.coupling_sections import coupling_sections
from jaxbench.reports.findings import find
from jaxbench.reports.gallery import build_exhibits
from jaxbench.reports.metric_texts import METRIC_TEXTS
from jaxbench.reports.tables import (
    Table,
    calibration_table,
    evaluation_table,
    failure_table,
    main_table,
    ood_table,
    selective_table,
    shift_table,
    trial_table,
)
from jaxbench.reports.writing import (
    check_formats,
    inline_figure,
    template,
    write_figures,
    write_file,
    writing,
)
from jaxbench.results import ResultStore
from jaxbench.results.columns import PROVENANCE
from jaxbench.studies.entries import Results, Row, load_results
from jaxbench.studies.grid_costs import Costs, read_costs
from jaxbench.studies.grids import Sweep, load_sweeps
from jaxbench.studies.partial import partial_datasets

_MAX_VALUES = 6
_CHOSEN = (
    "Of each backbone and optimizer, the row is the trial with the best validation "
    "accuracy."
)
_TABLE_TEXTS = {
    "models": (
        "Models",
        "Brackets hold bootstrap intervals. T* means after temperature scaling.",
    ),
    "calibration": (
        "Calibration",
        "Every measure of how far confidence is from accuracy; T* after temperature "
        "scaling.",
    ),
    "selective": (
        "Selective prediction",
        "Every measure of how well confidence tells right answers from wrong ones.",
    ),
    "shift": (
        "Under shift",
        "Accuracy on shifted images, of a corruption the mean over its severities; the "
        "drop is in points.",
    ),
    "ood": (
        "Out-of-distribution detection",
        "Images of classes that the model does not know.",
    ),
    "trials": ("All trials", "Every training run."),
    "evaluations": ("All evaluations", "Every model on every dataset, chosen or not."),
}


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
    the same file, apart from the date in its header.

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
    check_formats(formats)
    target = Path(path)
    results = load_results(store)
    studied = [(sweep, read_costs(store, sweep)) for sweep in load_sweeps(results)]
    exhibits = build_exhibits(store, results, studied)
    figures = [inline_figure(exhibit) for exhibit in exhibits]
    with writing(target):
        if figures_dir is not None:
            drawn = {exhibit.name: exhibit.figure for exhibit in exhibits}
            write_figures(drawn, Path(figures_dir), formats)
        write_file(target, _page(results, studied, figures, title).encode())
    return target


def _page(
    results: Results,
    studied: Sequence[tuple[Sweep, Costs]],
    figures: list[dict[str, Any]],
    title: str | None,
) -> str:
    rows = [*results.evaluations, *results.trials, *results.failures]
    experiments = ", ".join(_distinct(rows, "experiment"))
    tables = {
        "models": main_table(results),
        "calibration": calibration_table(results),
        "selective": selective_table(results),
        "shift": shift_table(results),
        "ood": ood_table(results),
        "trials": trial_table(results),
        "evaluations": evaluation_table(results),
    }
    now = datetime.datetime.now(datetime.UTC)
    return template("report.html.j2").render(
        title=title or experiments or "Results",
        experiments=experiments,
        generated=now.strftime("%Y-%m-%d %H:%M UTC"),
        facts=_facts(results, rows),
        findings=find(results, [sweep for sweep, _ in studied]),
        coupling=_coupling(studied),
        tables={
            name: _table(name, t, trained=bool(results.trials))
            for name, t in tables.items()
            if t.rows
        },
        figures=figures,
        failures=_failures(results),
        problems=results.problems,
        provenance=_provenance(rows),
        metrics=_shown_metrics(results),
        empty=not results.evaluations and not results.trials,
    )


def _table(name: str, table: Table, *, trained: bool) -> dict[str, Any]:
    heading, caption = _TABLE_TEXTS[name]
    if name == "models" and trained:
        caption = f"{_CHOSEN} {caption}"
    return {"heading": heading, "caption": caption, "table": table}


def _coupling(studied: Sequence[tuple[Sweep, Costs]]) -> list[dict[str, Any]]:
    """The tables of every grid of more than one pair."""
    found = []
    for number, (sweep, costs) in enumerate(studied):
        if len(sweep.pairs) < 2:
            continue
        for section in coupling_sections(sweep, costs):
            where = f" ({sweep.dataset})" if len(studied) > 1 else ""
            name = f"{section.name}_{number + 1}" if number else section.name
            heading = f"{section.heading}{where}"
            found.append(section._asdict() | {"name": name, "heading": heading})
    return found


def _facts(results: Results, rows: Sequence[Row]) -> list[tuple[str, str]]:
    """The header's line: what was run, when, on what, with which versions."""
    dates = sorted(date[:10] for date in _distinct(rows, "created_at"))
    period = " to ".join(dict.fromkeys([dates[0], dates[-1]])) if dates else ""
    versions = [
        f"{name} {', '.join(_distinct(rows, f'{name}_version'))}"
        for name in ("jaxbench", "jax", "flax", "python")
        if _distinct(rows, f"{name}_version")
    ]
    datasets = _distinct(results.evaluations, "dataset")
    counts = (
        f"{counted(len(results.evaluations), 'evaluation')} of "
        f"{counted(len(results.entries), 'model')} on "
        f"{counted(len(datasets), 'dataset')}, "
        f"{counted(len(results.trials), 'trial')}, "
        f"{counted(len(results.failures), 'failure')}"
    )
    facts = [
        ("Runs", counts),
        ("Dates", period),
        ("Devices", ", ".join(_distinct(rows, "device"))),
        ("Versions", ", ".join(versions)),
        ("Left out", _outdated(results.num_outdated)),
        ("Not whole", " ".join(partial_datasets(results.evaluations))),
    ]
    return [(name, text) for name, text in facts if text]


def _outdated(count: int) -> str:
    if not count:
        return ""
    return (
        f"{count:,} of the evaluations, whose models were measured again later by "
        "numbers computed in another way; SQL still reads them"
    )


def _failures(results: Results) -> dict[str, Any] | None:
    if not results.failures:
        return None
    tracebacks = [
        (f"{row['model']} on {row['dataset']}", row["error_traceback"])
        for row in results.failures
        if row["error_traceback"]
    ]
    return {"table": failure_table(results), "tracebacks": tracebacks}


def _provenance(rows: Sequence[Row]) -> list[tuple[str, str, str]]:
    """Each key, its meaning, and its values with the number of runs that have them."""
    shown = []
    for name, meaning in PROVENANCE.items():
        column = "provenance_num_devices" if name == "num_devices" else name
        if name == "created_at":
            continue  # in the header
        counts = Counter(row[column] for row in rows if row.get(column) is not None)
        if not counts:
            continue
        values = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
        texts = [
            f"{value} ({n:,})" if len(counts) > 1 else value for value, n in values
        ]
        more = (
            f", and {len(texts) - _MAX_VALUES} more" if len(texts) > _MAX_VALUES else ""
        )
        shown.append((name, meaning, ", ".join(texts[:_MAX_VALUES]) + more))
    return shown


def _shown_metrics(results: Results) -> list[tuple[str, str]]:
    rows = results.evaluations
    return [
        (text.heading, text.meaning)
        for name, text in METRIC_TEXTS.items()
        if any(row.get(name) is not None for row in rows)
    ]


def _distinct(rows: Sequence[Row], name: str) -> list[str]:
    return sorted({row[name] for row in rows if row.get(name)})
