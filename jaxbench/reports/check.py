"""Refuses a page whose parts contradict each other, before anything is drawn."""

import re
from collections import Counter
from collections.abc import Iterator

from jaxbench.reports.cells import Table
from jaxbench.reports.page import (
    Bars,
    Chart,
    Curves,
    Distributions,
    HeatMap,
    Page,
    Panels,
    Picture,
    Ranks,
    Scatter,
)

CURVE_KINDS = ("risk", "reliability", "plain")
DISTRIBUTION_KINDS = ("ridge", "box")
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*")
_RESERVED = (
    *("findings", "notes", "definitions", "made", "main", "tip", "sheet"),
    "light-colours",
)


def check_page(page: Page) -> None:
    """Checks names, lengths and references of everything on a page.

    Names become anchors and file names, so they hold only letters, digits, `_`, `-` and
    `.`, and none is used twice.

    Raises:
        ValueError: Naming all problems at once; the study that built the page is wrong.
    """
    if problems := list(_problems(page)):
        raise ValueError(
            f"page {page.name!r} cannot be drawn:\n"
            + "\n".join(f"- {problem}" for problem in problems)
        )


def _problems(page: Page) -> Iterator[str]:
    charts = [chart for section in page.sections for chart in section.charts]
    for what, names in (
        ("section", [section.name for section in page.sections]),
        ("figure", [chart.name for chart in charts]),
    ):
        for name, count in Counter(names).items():
            if count > 1:
                yield f"{count} {what}s are called {name!r}; give each its own name"
            if not _NAME.fullmatch(name):
                yield (
                    f"{what} name {name!r} is not a file name; use letters, digits, "
                    "'_', '-' and '.'"
                )
    for section in page.sections:
        reserved = section.name.startswith(("figure-", "table-", "heat-"))
        if section.name in _RESERVED or reserved:
            yield f"section name {section.name!r} is taken by the page itself"
        if section.table is not None:
            yield from _table(section.name, section.table)
        for number, picture in enumerate(section.pictures):
            yield from _picture(f"{section.name}: picture {number}", picture)
    for chart in charts:
        yield from (f"{chart.name}: {problem}" for problem in _chart(chart))


def _table(name: str, table: Table) -> Iterator[str]:
    width = len(table.columns)
    if wrong := [n for n, row in enumerate(table.rows) if len(row) != width]:
        yield f"table {name}: {width} columns, but rows {wrong} have other lengths"


def _picture(name: str, picture: Picture) -> Iterator[str]:
    if not picture.content.startswith((b"\x89PNG", b"\xff\xd8")):
        yield f"{name} is neither PNG nor JPEG"
    if not picture.title:
        yield f"{name} has no title, which is read aloud in its place"


def _chart(chart: Chart) -> Iterator[str]:
    checks = {
        Scatter: _scatter,
        Curves: _curves,
        Panels: _panels,
        Ranks: _ranks,
        Bars: _bars,
        Distributions: _distributions,
        HeatMap: _heat_map,
    }
    yield from checks[type(chart)](chart)


def _panels(chart: Panels) -> Iterator[str]:
    for title, curves in chart.panels.items():
        yield from (f"panel {title!r}: {problem}" for problem in _curves(curves))


def _distributions(chart: Distributions) -> Iterator[str]:
    if chart.kind not in DISTRIBUTION_KINDS:
        known = ", ".join(DISTRIBUTION_KINDS)
        yield f"kind {chart.kind!r} is unknown; choose from {known}"


def _scatter(chart: Scatter) -> Iterator[str]:
    groupings = sorted({name for point in chart.points for name in point.groups})
    if chart.points and chart.group and chart.group not in groupings:
        yield f"no point has a group {chart.group!r}; groupings are {groupings}"


def _curves(chart: Curves) -> Iterator[str]:
    if chart.kind not in CURVE_KINDS:
        yield f"kind {chart.kind!r} is unknown; choose from {', '.join(CURVE_KINDS)}"
    if unknown := sorted(chart.percent - {"x", "y"}):
        yield f"percent names axes {unknown}; they are called 'x' and 'y'"
    yield from _strangers("shown", chart.shown, chart.lines)
    yield from _strangers("bands", chart.bands, chart.lines)
    for label, (x, y) in chart.lines.items():
        lengths = {"x": len(x), "y": len(y)}
        if label in chart.bands:
            low, high = chart.bands[label]
            lengths |= {"lower": len(low), "upper": len(high)}
        if len(set(lengths.values())) > 1:
            yield f"the parts of {label!r} differ in length: {lengths}"
        places = len(chart.x_labels)
        if places and not all(value in range(places) for value in x):
            yield f"{label!r} has an x that is not a position of the {places} x_labels"


def _ranks(chart: Ranks) -> Iterator[str]:
    yield from _strangers("shown", chart.shown, chart.ranks)
    yield from _strangers("groups", chart.groups, chart.ranks)
    for label, ranks in chart.ranks.items():
        if len(ranks) != len(chart.datasets):
            count = len(chart.datasets)
            yield f"{label!r} has {len(ranks)} ranks on {count} datasets"


def _bars(chart: Bars) -> Iterator[str]:
    for name, values in chart.series.items():
        if len(values) != len(chart.labels):
            count = len(chart.labels)
            yield f"series {name!r} has {len(values)} values for {count} labels"


def _heat_map(chart: HeatMap) -> Iterator[str]:
    found = [len(row) for row in chart.values]
    wanted = [len(chart.columns)] * len(chart.rows)
    if found != wanted:
        yield (
            f"{len(chart.rows)} rows of {len(chart.columns)} values are named, but the "
            f"rows of values have the lengths {found}"
        )
    if chart.limits is not None and not chart.limits[0] < chart.limits[1]:
        yield f"limits {chart.limits} do not rise"
    known = {(row, column) for row in chart.rows for column in chart.columns}
    if strangers := [cell for cell in chart.marks if cell not in known]:
        yield f"marks names cells that the chart does not have: {strangers}"


def _strangers(what: str, names, known) -> Iterator[str]:
    if strangers := [name for name in names if name not in known]:
        yield f"{what} names what the chart does not have: {strangers}"
