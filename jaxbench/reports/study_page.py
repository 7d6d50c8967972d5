"""A study's page as one file that needs nothing but itself, and its still pictures."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from markupsafe import Markup

from jaxbench.reports.charts_check import check_page
from jaxbench.reports.charts_data import (
    curves_data,
    embed,
    metric_look,
    metrics_of,
    ranks_data,
    scatter_data,
)
from jaxbench.reports.charts_heat import heat_table
from jaxbench.reports.charts_still import still
from jaxbench.reports.page import (
    Curves,
    HeatMap,
    Interactive,
    Page,
    Scatter,
    Section,
)
from jaxbench.reports.style import PALETTE
from jaxbench.reports.writing import (
    check_formats,
    inline_figure,
    template,
    write_figures,
    write_file,
    writing,
)


def write_page(
    page: Page,
    path: str | os.PathLike[str],
    *,
    figures_dir: str | os.PathLike[str] | None = None,
    formats: Sequence[str] = ("svg", "png"),
) -> Path:
    """Writes one HTML file whose tables and charts the reader can work with.

    Style, script, numbers and pictures are inside it, and it loads nothing. The same
    page gives the same file.

    Args:
        page: From a study.
        path: The file; its folder is made where it is missing.
        figures_dir: Where to write a still picture of every chart and exhibit too,
            named after them.
        formats: Of these pictures: "svg", "png", "pdf".

    Returns:
        The path of the page.

    Raises:
        UserError: If a format is unknown, or a file cannot be written.
        ValueError: If the parts of the page contradict each other.
    """
    check_formats(formats)
    check_page(page)
    target = Path(path)
    with writing(target):
        if figures_dir is not None:
            figures = {
                chart.name: still(chart)
                for section in page.sections
                for chart in section.charts
            }
            for section in page.sections:
                figures |= {item.name: item.figure for item in section.exhibits}
            write_figures(figures, Path(figures_dir), formats)
        write_file(target, _html(page).encode())
    return target


def _html(page: Page) -> str:
    is_link = page.reference.startswith(("https://", "http://"))
    return template("study.html.j2").render(
        page=page,
        is_link=is_link,
        palette=PALETTE,
        sections=[_section(section) for section in page.sections],
        definitions=_definitions(page),
    )


def _section(section: Section) -> dict[str, Any]:
    return {
        "name": section.name,
        "heading": section.heading,
        "caption": section.caption,
        "table": section.table,
        "charts": [_chart(chart) for chart in section.charts],
        "figures": [inline_figure(exhibit) for exhibit in section.exhibits],
    }


def _chart(chart: Interactive) -> dict[str, Any]:
    common = {"name": chart.name, "heading": chart.heading, "caption": chart.caption}
    if isinstance(chart, HeatMap):
        return common | {"kind": "heat", "heat": heat_table(chart)}
    if isinstance(chart, Scatter):
        kind, data = "scatter", scatter_data(chart)
    elif isinstance(chart, Curves):
        kind, data = "curves", curves_data(chart)
    else:
        kind, data = "ranks", ranks_data(chart)
    # Not escaped: JSON without a character that ends a script.
    return common | {"kind": kind, "data": Markup(embed(data))}


def _definitions(page: Page) -> list[tuple[str, str]]:
    """What the headings of tables and axes mean, each once, in the page's order."""
    found: dict[str, str] = {}
    for section in page.sections:
        for column in section.table.columns if section.table else ():
            if column.help:
                found.setdefault(column.heading, column.help)
        for chart in section.charts:
            if not isinstance(chart, Scatter):
                continue
            for name in metrics_of(chart):
                look = metric_look(chart, name)
                if look.meaning and look.meaning not in found.values():
                    found.setdefault(look.heading, look.meaning)
    return list(found.items())
