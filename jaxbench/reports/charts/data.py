"""What the browser gets of a chart: plain lists, embedded in the page as JSON."""

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from jaxbench.reports.look import Look, by_size
from jaxbench.reports.metric_texts import MetricText, metric_text
from jaxbench.reports.page import Curves, Number, Panels, Point, Scatter

# Digits of a number in the page: a chart shows four, and 20 metrics of 700 models with
# intervals are 42,000 numbers.
_DIGITS = 6


def embed(data: Any) -> str:
    """JSON that can stand inside a script element, whatever its strings hold."""
    text = json.dumps(data, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    for character in "<>&":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return text


def metric_look(chart: Scatter, name: str) -> MetricText:
    """Heading, meaning and unit of a metric of a scatter."""
    text = metric_text(name)
    heading = chart.headings.get(name)
    if heading is None:
        arrow = f" {text.direction}" if text.direction else ""
        unit = "" if text.percent else text.unit
        heading = f"{text.heading}{unit}{arrow}"
    percent = text.percent or name in chart.percent
    return replace(text, heading=heading, percent=percent)


def metrics_of(chart: Scatter) -> list[str]:
    """The metrics of any point, in the order in which they first occur."""
    names = dict.fromkeys(name for point in chart.points for name in point.values)
    return list(names | dict.fromkeys((chart.x, chart.y)))


def groups_of(points: Sequence[Point], grouping: str) -> list[str]:
    """The groups of a grouping: the largest first, equals by name."""
    return by_size(p.groups[grouping] for p in points if grouping in p.groups)


def scatter_data(chart: Scatter, look: Look) -> dict[str, Any]:
    """Metrics by column, so that their names stand in the page once."""
    points = chart.points
    groupings = dict.fromkeys(name for point in points for name in point.groups)
    metrics = []
    for name in metrics_of(chart):
        text = metric_look(chart, name)
        triples = [point.values.get(name, (None, None, None)) for point in points]
        metric: dict[str, Any] = {
            "name": name,
            "heading": text.heading,
            "percent": text.percent,
            "scale": text.scale,
            "direction": text.direction,
            "value": numbers(triple[0] for triple in triples),
        }
        ends = [numbers(triple[i] for triple in triples) for i in (1, 2)]
        if any(value is not None for end in ends for value in end):
            metric |= {"low": ends[0], "high": ends[1]}
        metrics.append(metric)
    return {
        "labels": [point.label for point in points],
        "metrics": metrics,
        "groupings": [_grouping(points, name, look) for name in groupings],
        "details": [list(point.details.items()) for point in points],
        "x": chart.x,
        "y": chart.y,
        "group": chart.group,
    }


def _grouping(points: Sequence[Point], grouping: str, look: Look) -> dict[str, Any]:
    names = groups_of(points, grouping)
    index = {name: number for number, name in enumerate(names)}
    # Points that belong to no group come last, in grey.
    of = [index.get(point.groups.get(grouping, ""), -1) for point in points]
    slots = [look.group_slot(name) for name in names]
    return {"name": grouping, "groups": names, "of": of, "slots": slots}


def curves_data(chart: Curves, look: Look) -> dict[str, Any]:
    """Lines that share their positions, as those of one study do, share one list."""
    xs: list[list[Number | None]] = []
    lines = []
    for x, y in chart.lines.values():
        places = numbers(x)
        if places not in xs[-1:]:
            xs.append(places)
        lines.append({"x": len(xs) - 1, "y": numbers(y)})
    for line, label in zip(lines, chart.lines, strict=True):
        if label in chart.bands:
            line["low"], line["high"] = map(numbers, chart.bands[label])
    return {
        "labels": list(chart.lines),
        "slots": [look.model_slot(label) for label in chart.lines],
        "xs": xs,
        "lines": lines,
        "kind": chart.kind,
        "titles": [chart.x_title, chart.y_title],
        "percent": ["x" in chart.percent, "y" in chart.percent],
        "places": list(chart.x_labels),
        "shown": positions(chart.lines, chart.shown or tuple(chart.lines)[:12]),
    }


def positions(names: Mapping[str, Any], chosen: Iterable[str]) -> list[int]:
    """The numbers of the chosen among the names."""
    index = {name: number for number, name in enumerate(names)}
    return [index[name] for name in dict.fromkeys(chosen)]


def numbers(values: Iterable[Number | None]) -> list[Number | None]:
    """Short numbers; JSON has no NaN and no infinity, which count as missing."""
    return [_number(value) for value in values]


def _number(value: Number | None) -> Number | None:
    if value is None or not math.isfinite(value):
        return None
    short = float(f"{value:.{_DIGITS}g}")
    return int(short) if short.is_integer() and abs(short) < 1e15 else short


def panels_data(chart: Panels, look: Look) -> dict[str, Any]:
    """The curves of each panel, with its title."""
    return {
        "panels": [
            curves_data(curves, look) | {"title": title}
            for title, curves in chart.panels.items()
        ]
    }
