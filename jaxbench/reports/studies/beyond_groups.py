"""Beyond accuracy: all measures side by side, by model and by group."""

import itertools
from collections.abc import Mapping
from typing import NamedTuple

from jaxbench.errors import counted
from jaxbench.reports.cells import Cell, Column, Table, text_cell
from jaxbench.reports.page import Finding, Interval, Point, Scatter, Section
from jaxbench.reports.studies.beyond_parts import (
    Part,
    Study,
    share_cell,
    share_text,
    signed_cell,
    signed_text,
)
from jaxbench.studies import UNKNOWN


class Measure(NamedTuple):
    """How one of the scores is shown.

    Attributes:
        heading: Over a column.
        form: "share" in percent, "signed" in points, or "ratio".
        meaning: In a line.
    """

    heading: str
    form: str
    meaning: str


MEASURES = {
    "accuracy": Measure("Accuracy", "share", "on the reference"),
    "ece": Measure("ECE", "share", "on the reference, 15 bins"),
    "gap": Measure("Confidence gap", "signed", "confidence less accuracy"),
    "variants": Measure("Variants", "share", "mean accuracy over variants"),
    "shape_bias": Measure("Shape bias", "share", "shape among shape and texture"),
    "error_ratio": Measure("Worst error ratio", "ratio", "of any factor"),
    "scale_change": Measure("Scale", "signed", "lowest less unchanged accuracy"),
    "shift_change": Measure("Shift", "signed", "lowest less unchanged accuracy"),
    "resolution_change": Measure(
        "Resolution", "signed", "lowest less unchanged accuracy"
    ),
    "transfer": Measure("Transfer", "share", "mean accuracy of linear probes"),
}
Scores = Mapping[str, Mapping[str, Interval]]


def overview_part(study: Study, scores: Scores) -> Part:
    """Every model with all its measures: table and scatter."""
    used = [name for name in MEASURES if any(name in one for one in scores.values())]
    columns = (
        Column("Model"),
        Column("Group"),
        *(_column(MEASURES[name]) for name in used),
    )
    rows = tuple(
        (
            text_cell(model.label),
            text_cell(model.group),
            *(_cell(MEASURES[n], scores.get(model.label, {}).get(n)) for n in used),
        )
        for model in study.models
    )
    points = tuple(
        Point(
            model.label,
            dict(scores.get(model.label, {})),
            {"group": model.group, "family": model.family},
        )
        for model in study.models
    )
    y = next((n for n in ("variants", "shape_bias", "gap") if n in used), "accuracy")
    chart = Scatter(
        "beyond-accuracy",
        points,
        x="accuracy",
        y=y,
        group="group",
        headings={name: MEASURES[name].heading for name in used},
        percent=frozenset(n for n in used if MEASURES[n].form != "ratio"),
    )
    section = Section(
        "models",
        "Models by every measure",
        f"Accuracy is that on {study.reference}; the other columns are what it does "
        "not say. Brackets are 95 % intervals. Definitions are in the sections below.",
        Table(columns, rows),
        charts=(chart,),
    )
    return Part(sections=[section], findings=_alike(scores))


def groups_part(study: Study, scores: Scores) -> Part:
    """Means of groups, where there are two and more."""
    members: dict[str, list[str]] = {}
    for model in study.models:
        members.setdefault(model.group, []).append(model.label)
    unknown = members.pop(UNKNOWN, [])
    part = Part()
    if unknown:
        part.notes.append(
            f"{len(unknown)} of {counted(len(study.models), 'model')} in no group: "
            "neither their names nor the option `groups` say."
        )
    if len(members) < 2:
        part.notes.append("No comparison of groups: fewer than two are known.")
        return part
    rows = []
    for name, measure in MEASURES.items():
        values = {
            group: [scores[m][name][0] for m in labels if name in scores.get(m, {})]
            for group, labels in members.items()
        }
        for group, found in sorted(values.items()):
            if found:
                mean = sum(found) / len(found)
                cells = (mean, min(found), max(found))
                rows.append(
                    (
                        text_cell(measure.heading),
                        text_cell(group),
                        text_cell(len(found)),
                        *(_cell(measure, (value, None, None)) for value in cells),
                    )
                )
        part.findings += _finding(name, measure, values, scores, members)
    columns = (
        Column("Measure"),
        Column("Group"),
        Column("Models", numeric=True),
        Column("Mean", numeric=True, help="% or points; error ratios as they are"),
        Column("Least", numeric=True),
        Column("Greatest", numeric=True),
    )
    part.sections.append(
        Section(
            "groups",
            "Groups of models",
            "Mean over the models of a group, with the least and the greatest. A few "
            "models do not represent all networks of their kind: a group's mean has no "
            "interval, and training data differ as well.",
            Table(columns, tuple(rows)),
        )
    )
    return part


def _alike(scores: Scores) -> list[Finding]:
    """The two models of about one accuracy that are furthest apart elsewhere."""
    for name in ("variants", "shape_bias", "gap"):
        known = [label for label, one in scores.items() if {name, "accuracy"} <= {*one}]
        pairs = [
            (a, b)
            for a, b in itertools.combinations(known, 2)
            if _overlap(scores[a]["accuracy"], scores[b]["accuracy"])
        ]
        if not pairs:
            continue
        pair = max(
            pairs,
            key=lambda pair: abs(scores[pair[0]][name][0] - scores[pair[1]][name][0]),
        )
        measure = MEASURES[name]
        texts = [f"{label} {_text(measure, scores[label][name])}" for label in pair]
        accuracies = [share_text(scores[label]["accuracy"]) for label in pair]
        return [
            Finding(
                f"Alike in accuracy, apart in {measure.heading.lower()}",
                f"{texts[0]}, {texts[1]}",
                f"Their accuracies are {accuracies[0]} and {accuracies[1]} %. Of the "
                f"{counted(len(pairs), 'pair')} whose accuracy intervals overlap, "
                "these differ most.",
            )
        ]
    return []


def _overlap(a: Interval, b: Interval) -> bool:
    ends = (a[1], a[2], b[1], b[2])
    if any(end is None for end in ends):
        return False
    return max(a[1] or 0.0, b[1] or 0.0) <= min(a[2] or 0.0, b[2] or 0.0)


def _finding(
    name: str,
    measure: Measure,
    values: Mapping[str, list[float]],
    scores: Scores,
    members: Mapping[str, list[str]],
) -> list[Finding]:
    """The two extreme groups, of the measures with intervals other than accuracy."""
    known = {group: sum(v) / len(v) for group, v in values.items() if v}
    if name not in ("gap", "shape_bias", "variants", "transfer") or len(known) < 2:
        return []
    most, least = max(known, key=known.__getitem__), min(known, key=known.__getitem__)
    texts = []
    for group in (most, least):
        shown = [
            f"{label} {_text(measure, scores[label][name])}"
            for label in members[group]
            if name in scores.get(label, {})
        ]
        more = ", ..." if len(shown) > 2 else ""
        texts.append(f"{group}: {', '.join(shown[:2])}{more}")
    ends = [_text(measure, (known[group], None, None)) for group in (most, least)]
    return [
        Finding(
            f"{measure.heading} by group",
            f"{most} {ends[0]}, {least} {ends[1]}",
            f"Highest and lowest mean of {len(known)} groups, in percent or points. "
            f"{'; '.join(texts)}.",
        )
    ]


def _column(measure: Measure) -> Column:
    unit = " %" if measure.form == "share" else ""
    return Column(f"{measure.heading}{unit}", numeric=True, help=measure.meaning)


def _cell(measure: Measure, value: Interval | None) -> Cell:
    if measure.form == "share":
        return share_cell(value)
    if measure.form == "signed":
        return signed_cell(value)
    return Cell("-") if value is None else Cell(f"{value[0]:.2f}", float(value[0]))


def _text(measure: Measure, value: Interval) -> str:
    return share_text(value) if measure.form == "share" else signed_text(value)
