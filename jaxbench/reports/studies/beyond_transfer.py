"""Beyond accuracy: frozen features on other datasets, by probes."""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from jaxbench.data.modifiers import split_modifiers
from jaxbench.errors import counted
from jaxbench.metrics import wilson_interval
from jaxbench.reports.cells import Column, Table, text_cell
from jaxbench.reports.page import Finding, HeatMap, Section
from jaxbench.reports.studies.beyond_models import (
    Model,
    Part,
    group_of,
    published_of,
    share_cell,
    share_text,
)
from jaxbench.results import ResultStore
from jaxbench.studies.entries import Results, Row, identity, is_number, labels_of
from jaxbench.studies.shape_bias import Share
from jaxbench.studies.variant_average import variant_average

_LINEAR = "linear_probe"
# The heads in the order of the table.
_PROTOCOLS = (_LINEAR, "logistic_regression", "knn")


class Task(NamedTuple):
    """A column: images that probes were tested on, and those they were fitted on."""

    dataset: str
    train: str


class Line(NamedTuple):
    """One backbone under one kind of head.

    Attributes:
        backbone: Its label, name and group.
        head: The kind, in words.
        rows: Task to the result.
        mean: Mean accuracy over all tasks; None where one is missing.
    """

    backbone: Model
    head: str
    rows: Mapping[Task, Row]
    mean: Share | None


def find_backbones(results: Results, groups: Mapping[str, str]) -> dict[tuple, Model]:
    """The backbones that were probed, by `identity` without their heads."""
    rows = [_headless(row) for row in measured(results)]
    labels = labels_of(rows)
    found: dict[tuple, Model] = {}
    for row in rows:
        place = identity(row)
        name, label = row["model"] or "(unnamed)", labels[place]
        group = group_of(name, label, row, None, groups)
        found[place] = Model(label, name, group, published=published_of(row))
    return found


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
    rows = measured(results)
    if not rows:
        return Part(
            notes=["No transfer table: the folder has no linear probes ([[probe]])."]
        )
    tasks = sorted({_task(row) for row in rows})
    lines = _lines(store, rows, tasks, backbones)
    titles = _titles(tasks)
    part = Part(sections=[_section(lines, titles)], notes=_notes(results, rows, lines))
    linear = [n for n in lines if n.head == _words(_LINEAR) and n.mean is not None]
    weights = {_weights(_headless(next(iter(n.rows.values())))): n for n in linear}
    # Rows of earlier versions do not say the size that a probe saw.
    named = {
        _weights(one): model.label
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


def measured(results: Results) -> list[Row]:
    """Results of probes on the datasets they were made for."""
    return [
        row
        for row in results.evaluations
        if row.get("protocol") is not None
        and row["role"] == "clean"
        and is_number(row.get("accuracy"))
    ]


def _headless(row: Row) -> Row:
    """The row as if its backbone had been evaluated: heads take no part in its name."""
    return row | dict.fromkeys(("protocol", "probe_id", "probe_train"))


def _weights(row: Row) -> tuple:
    """What one backbone has in common with a model that has a head.

    Everything that tells models apart but what makes the head.
    """
    return identity(row | {"zero_shot": None, "class_order": None})


def _task(row: Row) -> Task:
    return Task(row["dataset"] or "(unnamed)", row.get("probe_train") or "")


def _head(row: Row) -> tuple[int, str, int]:
    """Kind of a head, as it sorts; neighbours tell several of one kind apart."""
    known = row["protocol"] in _PROTOCOLS
    place = _PROTOCOLS.index(row["protocol"]) if known else len(_PROTOCOLS)
    return place, row["protocol"], row.get("num_neighbors") or 0


def _words(protocol: str, neighbors: int = 0) -> str:
    return f"k-NN {neighbors}" if neighbors else protocol.replace("_", " ")


def _lines(
    store: ResultStore,
    rows: Sequence[Row],
    tasks: Sequence[Task],
    backbones: Mapping[tuple, Model],
) -> list[Line]:
    """Every backbone under every head, the best mean of the first head first."""
    kept: dict[tuple, dict[Task, Row]] = {}
    for row in rows:
        cells = kept.setdefault((_head(row), identity(_headless(row))), {})
        task = _task(row)
        # Of several probes of one kind, the one that was best where it was chosen.
        if task not in cells or _chosen(row) > _chosen(cells[task]):
            cells[task] = row
    found = [
        (head, Line(backbones[place], _words(*head[1:]), cells, mean))
        for (head, place), cells in kept.items()
        for mean in [_mean(store, cells) if len(cells) == len(tasks) else None]
    ]
    return [n for _, n in sorted(found, key=lambda pair: (pair[0], _order(pair[1])))]


def _order(line: Line) -> tuple[float, str]:
    return -(line.mean.value if line.mean else -1.0), line.backbone.label


def _chosen(row: Row) -> float:
    value = row.get("probe_validation_accuracy")
    return float(value) if is_number(value) else -1.0


def _mean(store: ResultStore, rows: Mapping[Task, Row]) -> Share:
    """Over tasks, each with one weight.

    Images of one name are the same under a corruption, and others in another dataset.
    """
    if len(rows) == 1:
        return _wilson(next(iter(rows.values())))
    values = {}
    for task, row in rows.items():
        columns = store.examples(row["run_id"], ("id", "correct"))
        base = split_modifiers(task.dataset)[0]
        ids = np.char.add(f"{base}\n", np.asarray(columns["id"], str))
        values[f"{task}"] = ids, columns["correct"].astype(np.float64)
    return variant_average(values)


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
                    share_cell(_wilson(line.rows[task]) if task in line.rows else None)
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
        if published is None or line.head != _words(_LINEAR):
            continue
        for task, row in line.rows.items():
            value = published.transfer.get(_vtab_name(task.dataset))
            measure = f"linear probe, {titles[task]}"
            part.compare(line.backbone, measure, _wilson(row), value)
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
        wins = [f"{label} on {n}" for label, n in _wins(linear).items() if n]
        text += f" Most accurate on single datasets: {', '.join(wins)}."
    return [Finding("Best in transfer", f"{best[0]}, {best[1]} %", text)]


def _wins(linear: Sequence[Line]) -> dict[str, int]:
    """On how many tasks a backbone's linear probe is the best, ties included."""
    wins = dict.fromkeys((line.backbone.label for line in linear), 0)
    for task in linear[0].rows:
        top = max(line.rows[task]["accuracy"] for line in linear)
        for line in linear:
            wins[line.backbone.label] += line.rows[task]["accuracy"] == top
    return wins


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


def _wilson(row: Row) -> Share:
    count = int(row["num_examples"])
    low, high = wilson_interval(round(row["accuracy"] * count), count, level=0.95)
    return Share(row["accuracy"], float(low), float(high))
