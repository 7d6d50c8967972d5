"""Beyond accuracy: frozen features on other datasets, by probes."""

from collections import Counter
from collections.abc import Mapping, Sequence

from jaxbench.data.modifiers import split_modifiers
from jaxbench.errors import counted
from jaxbench.reports.cells import Column, Table, text_cell
from jaxbench.reports.page import Finding, HeatMap, Section
from jaxbench.reports.studies.beyond_parts import Part, share_cell, share_text
from jaxbench.results import ResultStore
from jaxbench.studies.entries import Results, Row
from jaxbench.studies.models import Model
from jaxbench.studies.transfer import (
    LINEAR,
    Line,
    Task,
    head_words,
    probe_rows,
    probe_share,
    task_of,
    transfer_lines,
    weights_of,
    wins,
)


def transfer_part(
    store: ResultStore,
    results: Results,
    backbones: Mapping[tuple, Model],
    models: Sequence[Model] = (),
) -> Part:
    """Accuracies of probes on frozen features: a line a head, a column a dataset.

    Args:
        store: Has the scores of single images.
        results: Its rows.
        backbones: As `find_backbones` returns them.
        models: Those with a head of their own.

    Returns:
        Sections, findings and notes. As scores the mean accuracy of the linear probes
        of each model with the same weights; without models, of each backbone.
    """
    rows = probe_rows(results)
    if not rows:
        return Part(
            notes=["No transfer table: the folder has no linear probes ([[probe]])."]
        )
    tasks = sorted({task_of(row) for row in rows})
    lines = transfer_lines(store, rows, tasks, backbones)
    titles = _titles(tasks)
    part = Part(sections=[_section(lines, titles)], notes=_notes(results, rows, lines))
    linear = [n for n in lines if n.head == head_words(LINEAR) and n.mean is not None]
    weights = {n.weights: n for n in linear}
    # Rows of earlier versions do not say the size that a probe saw.
    named = {
        weights_of(one): model.label
        for model in models
        for row in model.rows.values()
        for one in (row, row | {"image_size": None})
    }
    for place, line in weights.items():
        label = named.get(place) if models else line.backbone.label
        if label is not None and line.mean is not None:
            part.score(label, "transfer", line.mean)
    part.findings += _findings(linear, len(tasks))
    _compare(part, lines, titles)
    return part


def _titles(tasks: Sequence[Task]) -> dict[Task, str]:
    """Headings of columns: what was fitted on is named where several were."""
    counts = Counter(task.dataset for task in tasks)
    return {
        task: task.dataset
        if counts[task.dataset] == 1
        else f"{task.dataset} from {task.train}"
        for task in tasks
    }


def _section(lines: Sequence[Line], titles: Mapping[Task, str]) -> Section:
    several = len(titles) > 1
    columns = (
        Column("Model"),
        Column("Group"),
        Column("Head"),
        *(Column(f"{title} %", numeric=True) for title in titles.values()),
        *([Column("Mean %", numeric=True, help="of all columns")] if several else []),
    )
    rows = []
    for line in lines:
        rows.append(
            (
                text_cell(line.backbone.label),
                text_cell(line.backbone.group),
                text_cell(line.head),
                *(
                    share_cell(
                        probe_share(line.rows[task]) if task in line.rows else None
                    )
                    for task in titles
                ),
                *([share_cell(line.mean)] if several else []),
            )
        )
    return Section(
        "transfer",
        "Transfer: probes on frozen features",
        "Accuracy of a classifier that was fitted on the features of the frozen "
        "backbone, for each dataset anew. Where a backbone has several of one kind on "
        "a dataset, the one with the best validation accuracy is shown. Brackets are "
        "Wilson intervals; that of the mean is over the images of all datasets, each "
        "dataset with one weight.",
        Table(columns, tuple(rows)),
        charts=(_chart(lines, titles),),
    )


def _compare(part: Part, lines: Sequence[Line], titles: Mapping[Task, str]) -> None:
    """Linear probes beside the published accuracies on VTAB's tasks."""
    for line in lines:
        published = line.backbone.published
        if published is None or line.head != head_words(LINEAR):
            continue
        for task, row in line.rows.items():
            value = published.transfer.get(_vtab_name(task.dataset))
            measure = f"linear probe, {titles[task]}"
            part.compare(line.backbone, measure, probe_share(row), value)
    if any(one.measure.startswith("linear probe") for one in part.beside):
        part.differs.append(
            "The figures do not say how features were classified for transfer; their "
            "98 % on sun397 are not credible."
        )


def _vtab_name(address: str) -> str:
    """Whose test images these are, as VTAB calls them; "" for other images."""
    base, modifiers = split_modifiers(address)
    name, _, split = base.partition("@")
    return "" if modifiers or split != "test" else name.removeprefix("vtab/")


def _chart(lines: Sequence[Line], titles: Mapping[Task, str]) -> HeatMap:
    return HeatMap(
        "transfer",
        tuple(f"{line.backbone.label} ({line.head})" for line in lines),
        tuple(titles.values()),
        tuple(
            tuple(
                line.rows[task]["accuracy"] if task in line.rows else None
                for task in titles
            )
            for line in lines
        ),
        "Accuracy",
        percent=True,
    )


def _findings(linear: Sequence[Line], num_tasks: int) -> list[Finding]:
    """The backbone whose linear probes are best over all tasks.

    Args:
        linear: Lines of linear probes with a mean, the best first.
        num_tasks: Columns.
    """
    if not linear:
        return []
    best, *others = (
        (line.backbone.label, share_text(line.mean)) for line in linear if line.mean
    )
    text = (
        f"Mean accuracy of linear probes on {counted(num_tasks, 'dataset')}, of "
        f"{counted(len(linear), 'backbone')}."
    )
    if others:
        text += f" {others[0][0]} follows with {others[0][1]} %."
        best_on = [f"{label} on {n}" for label, n in wins(linear).items() if n]
        text += f" Most accurate on single datasets: {', '.join(best_on)}."
    return [Finding("Best in transfer", f"{best[0]}, {best[1]} %", text)]


def _notes(results: Results, rows: Sequence[Row], lines: Sequence[Line]) -> list[str]:
    notes = []
    if hidden := len(rows) - sum(len(line.rows) for line in lines):
        notes.append(
            f"Not in the table of transfer: {counted(hidden, 'result')} of probes; "
            "another probe of the same kind, backbone and dataset was better where it "
            "was chosen."
        )
    if partial := sorted({n.backbone.label for n in lines if n.mean is None}):
        notes.append(
            f"No mean over the datasets of transfer, since one or more are missing: "
            f"{', '.join(partial)}."
        )
    others = {
        row["dataset"]
        for row in results.evaluations
        if row.get("protocol") is not None and row["role"] != "clean"
    }
    if others:
        notes.append(
            "Not in the table of transfer, but in the report and the study of the "
            "lottery: "
            f"{counted(len(others), 'shifted or out-of-distribution dataset')} that "
            "probes were measured on."
        )
    return notes
