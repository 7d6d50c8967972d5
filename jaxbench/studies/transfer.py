"""Frozen features on other datasets: which probe is which backbone's."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from jaxbench.data.modifiers import split_modifiers
from jaxbench.results import ResultStore
from jaxbench.studies.entries import Results, Row, identity, is_number, labels_of
from jaxbench.studies.models import Model, published_of
from jaxbench.studies.regimes import group_of
from jaxbench.studies.shape_bias import Share, accuracy_shares
from jaxbench.studies.variant_average import variant_average

LINEAR = "linear_probe"
# The heads in the order of a table.
_PROTOCOLS = (LINEAR, "logistic_regression", "knn")


class Task(NamedTuple):
    """A column: images that probes were tested on, and those they were fitted on."""

    dataset: str
    train: str


class Line(NamedTuple):
    """One backbone under one kind of head.

    Attributes:
        backbone: Its label, name and group.
        head: Describes the kind.
        rows: Task to the result.
        mean: Mean accuracy over all tasks; None where one is missing.
    """

    backbone: Model
    head: str
    rows: Mapping[Task, Row]
    mean: Share | None

    @property
    def weights(self) -> tuple:
        """See `weights_of`."""
        return weights_of(_headless(next(iter(self.rows.values()))))


def probe_rows(results: Results) -> list[Row]:
    """Results of probes on the datasets they were made for."""
    return [
        row
        for row in results.evaluations
        if row.get("protocol") is not None
        and row["role"] == "clean"
        and is_number(row.get("accuracy"))
    ]


def find_backbones(results: Results, groups: Mapping[str, str]) -> dict[tuple, Model]:
    """The backbones that were probed, by `identity` without their heads."""
    rows = [_headless(row) for row in probe_rows(results)]
    labels = labels_of(rows)
    found: dict[tuple, Model] = {}
    for row in rows:
        place = identity(row)
        name, label = row["model"] or "(unnamed)", labels[place]
        group = group_of(name, label, row, None, groups)
        found[place] = Model(label, name, group, published=published_of(row))
    return found


def task_of(row: Row) -> Task:
    """The column that a probe's result belongs to."""
    return Task(row["dataset"] or "(unnamed)", row.get("probe_train") or "")


def transfer_lines(
    store: ResultStore,
    rows: Sequence[Row],
    tasks: Sequence[Task],
    backbones: Mapping[tuple, Model],
) -> list[Line]:
    """Every backbone under every head, the best mean of the first head first.

    Args:
        store: Has the outcomes of single images.
        rows: As `probe_rows` returns them. Of several probes of one kind, the one that
            was best where it was chosen counts.
        tasks: Of the rows, each once.
        backbones: As `find_backbones` returns them.
    """
    kept: dict[tuple, dict[Task, Row]] = {}
    for row in rows:
        cells = kept.setdefault((_head(row), identity(_headless(row))), {})
        task = task_of(row)
        if task not in cells or _chosen(row) > _chosen(cells[task]):
            cells[task] = row
    found = [
        (head, Line(backbones[place], head_words(*head[1:]), cells, mean))
        for (head, place), cells in kept.items()
        for mean in [_mean(store, cells) if len(cells) == len(tasks) else None]
    ]
    return [n for _, n in sorted(found, key=lambda pair: (pair[0], _order(pair[1])))]


def head_words(protocol: str, neighbors: int = 0) -> str:
    """What a kind of head is called."""
    return f"k-NN {neighbors}" if neighbors else protocol.replace("_", " ")


def weights_of(row: Row) -> tuple:
    """What one backbone has in common with a model that has a head.

    Everything that distinguishes models but what makes the head.
    """
    return identity(row | {"zero_shot": None, "class_order": None})


def probe_share(row: Row) -> Share:
    """A probe's accuracy with its Wilson interval."""
    return accuracy_shares([row["accuracy"]], int(row["num_examples"]))[0]


def wins(lines: Sequence[Line]) -> dict[str, int]:
    """On how many tasks a backbone is the best, ties included.

    Args:
        lines: Of one kind of head, each with all tasks, one or more.
    """
    found = dict.fromkeys((line.backbone.label for line in lines), 0)
    for task in lines[0].rows:
        top = max(line.rows[task]["accuracy"] for line in lines)
        for line in lines:
            found[line.backbone.label] += line.rows[task]["accuracy"] == top
    return found


def _headless(row: Row) -> Row:
    """The row as if its backbone had been evaluated: heads take no part in its name."""
    return row | dict.fromkeys(("protocol", "probe_id", "probe_train"))


def _head(row: Row) -> tuple[int, str, int]:
    """Kind of a head, as it sorts; several of one kind differ in the neighbours."""
    known = row["protocol"] in _PROTOCOLS
    place = _PROTOCOLS.index(row["protocol"]) if known else len(_PROTOCOLS)
    return place, row["protocol"], row.get("num_neighbors") or 0


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
        return probe_share(next(iter(rows.values())))
    values = {}
    for task, row in rows.items():
        columns = store.examples(row["run_id"], ("id", "correct"))
        base = split_modifiers(task.dataset)[0]
        ids = np.char.add(f"{base}\n", np.asarray(columns["id"], str))
        values[f"{task}"] = ids, columns["correct"].astype(np.float64)
    return variant_average(values)
