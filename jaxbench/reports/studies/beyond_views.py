"""Beyond accuracy: larger, moved and finer images."""

from collections.abc import Mapping

from jaxbench.reports.cells import Column, Table, number_cell, text_cell
from jaxbench.reports.page import Curves, Finding, Section
from jaxbench.reports.studies.beyond_parts import (
    Part,
    Study,
    share_cell,
    signed_cell,
    signed_text,
    slug,
)
from jaxbench.studies.invariance import RESOLUTION, Curve, view_curve, view_rows

_TITLES = {
    "scale": ("Scale", "Size relative to the usual one"),
    "shift": ("Shift", "Original pixels along the longer side"),
    RESOLUTION: ("Resolution", "Side of the input in pixels"),
}
_CAPTIONS = {
    "scale": "The image is enlarged before the centre is cut out.",
    "shift": "The crop moves off the middle; what lies outside is black.",
    RESOLUTION: "The network gets finer or coarser images than it was trained on.",
}
# The images of the published curves.
_PUBLISHED_ON = "imagenet"
# A shift by 0 resizes in another order than an evaluation of the images themselves.
_MISSING = {"shift": "; evaluate on +shift_0"}


def views_part(study: Study) -> Part:
    """Curves of accuracy and mean true-class probability, one section a kind."""
    part = Part()
    sizes = {model.label: model.size for model in study.models}
    for (kind, base), rows in view_rows(study.models).items():
        curves = {
            label: view_curve(study.store, kind, found, sizes[label], study.resampling)
            for label, found in rows.items()
        }
        name = kind if base == study.reference else f"{kind}-{slug(base)}"
        absent = [m.label for m in study.models if m.label not in curves]
        if absent:
            part.notes.append(
                f"{_TITLES[kind][0]} of {base}: {len(absent)} of {len(study.models)} "
                "models have no curve."
            )
        part.sections.append(_section(study, name, kind, base, curves))
        if base == _PUBLISHED_ON:
            _compare(study, part, kind, curves)
        if all(curve.change is None for curve in curves.values()):
            part.notes.append(
                f"{_TITLES[kind][0]} of {base}: no change is given, since no model has "
                f"a result on unchanged images{_MISSING.get(kind, '')}."
            )
        if base == study.reference:
            for label, curve in curves.items():
                if curve.change is not None:
                    part.score(label, f"{kind}_change", curve.change)
            part.findings += _findings(kind, curves)
    if not part.sections:
        part.notes.append(
            "No invariance curves: evaluate on addresses such as "
            f"{study.reference}+scale_2 and {study.reference}+shift_30, or at several "
            "image sizes."
        )
    return part


def _compare(study: Study, part: Part, kind: str, curves: dict[str, Curve]) -> None:
    """Accuracies beside the published ones, which are of ImageNet."""
    for model in study.models:
        if model.published is not None and model.label in curves:
            published = model.published.views[kind]
            for level in curves[model.label].levels:
                measure = f"accuracy, {_TITLES[kind][0].lower()} {level.value:g}"
                value = published.get(level.value)
                part.compare(model, measure, level.accuracy, value)


def _section(
    study: Study, name: str, kind: str, base: str, curves: dict[str, Curve]
) -> Section:
    title, axis = _TITLES[kind]
    charts = tuple(
        _chart(
            f"{name}-{measure}",
            measure,
            axis,
            study,
            curves,
            _published(study, kind) if base == _PUBLISHED_ON else {},
        )
        for measure in ("accuracy", "probability")
    )
    values = sorted({level.value for c in curves.values() for level in c.levels})
    columns = (
        Column("Model"),
        Column("Group"),
        *(Column(f"{value:g}", numeric=True, help="accuracy, %") for value in values),
        Column("Lowest at", numeric=True),
        Column("Change", numeric=True, help="lowest less unchanged, in points"),
    )
    groups = {model.label: model.group for model in study.models}
    rows = []
    for label, curve in curves.items():
        by_value = {level.value: level.accuracy for level in curve.levels}
        rows.append(
            (
                text_cell(label),
                text_cell(groups[label]),
                *(share_cell(by_value.get(value)) for value in values),
                number_cell(curve.worst),
                signed_cell(curve.change),
            )
        )
    return Section(
        name,
        f"{title}: {base}",
        f"{_CAPTIONS[kind]} Accuracy in percent with Wilson intervals; the change is "
        "from unchanged images to the lowest place of the curve, image by image, with "
        "a bootstrap interval. The lowest place is chosen by the same images, so the "
        "change is a little too large. The other chart has the mean probability of the "
        "true class.",
        Table(columns, tuple(rows)),
        charts=charts,
    )


def _published(study: Study, kind: str) -> dict[str, dict[float, float]]:
    """Titles of published curves beside the charted ones, and the curves."""
    return {
        f"{model.published.title} (published)": model.published.views[kind]
        for model in study.models
        if model.published is not None and model.label in study.charted
    }


def _chart(
    name: str,
    measure: str,
    axis: str,
    study: Study,
    curves: dict[str, Curve],
    published: Mapping[str, Mapping[float, float]],
) -> Curves:
    shown = [label for label in study.charted if label in curves]
    lines, bands = {}, {}
    for label in shown:
        levels = curves[label].levels
        shares = [getattr(level, measure) for level in levels]
        lines[label] = [level.value for level in levels], [s.value for s in shares]
        bands[label] = [s.low for s in shares], [s.high for s in shares]
    if measure == "accuracy":
        for title, values in published.items():
            lines[title] = list(values), list(values.values())
    heading = "Accuracy" if measure == "accuracy" else "Probability of the true class"
    return Curves(
        name,
        lines,
        axis,
        heading,
        bands=bands,
        percent=frozenset({"y"}),
        heading=heading,
    )


def _findings(kind: str, curves: dict[str, Curve]) -> list[Finding]:
    known = {n: c.change for n, c in curves.items() if c.change is not None}
    if not known:
        return []
    best = max(known, key=lambda name: known[name].value)
    worst = min(known, key=lambda name: known[name].value)
    title = _TITLES[kind][0].lower()
    text = (
        f"Change of accuracy from unchanged images to {title} {curves[best].worst:g}."
    )
    if worst != best:
        text += (
            f" {worst} loses most: {signed_text(known[worst])} points at "
            f"{curves[worst].worst:g}."
        )
    return [
        Finding(
            f"Least hurt by {title}",
            f"{best}, {signed_text(known[best])} points",
            text,
        )
    ]
