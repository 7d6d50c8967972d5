"""A page as one file that needs nothing but itself, and the stills of its charts."""

import base64
import contextlib
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import jinja2
from markupsafe import Markup

from jaxbench.errors import UserError
from jaxbench.files import written_whole
from jaxbench.reports.charts import KINDS
from jaxbench.reports.charts.data import embed, metric_look, metrics_of
from jaxbench.reports.check import check_page
from jaxbench.reports.look import DARK, LIGHT, Look
from jaxbench.reports.page import Chart, HeatMap, Page, Picture, Scatter, Section
from jaxbench.reports.stills import FORMATS, still

_FOLDER = Path(__file__).parent
# In the order in which they need each other.
_SCRIPTS = (
    *("charts.js", "scatter.js", "curves.js", "ranks.js", "marks.js"),
    "start.js",
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
        page: From a report or a study.
        path: The file; its folder is made where it is missing.
        figures_dir: Where to write a still picture of every chart too, named after it.
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
    look = Look.of_page(page)
    with _writing(target):
        if figures_dir is not None:
            for section in page.sections:
                for chart in section.charts:
                    for name in formats:
                        file = Path(figures_dir) / f"{chart.name}.{name}"
                        _write_whole(file, still(chart, look, name))
        _write_whole(target, page_html(page, look).encode())
    return target


def check_formats(formats: Sequence[str]) -> None:
    """Refuses formats that figures cannot have.

    Raises:
        UserError: Naming all that are unknown.
    """
    if unknown := [name for name in formats if name not in FORMATS]:
        raise UserError(
            f"figure formats {', '.join(map(repr, unknown))} are unknown; choose from "
            + ", ".join(FORMATS)
        )


def page_html(page: Page, look: Look) -> str:
    """The page as text."""
    charted = any(section.charts for section in page.sections)
    vega = (_FOLDER / "vendor" / "vega.min.js").read_text() if charted else ""
    return _template("page.html.j2").render(
        page=page,
        is_link=page.reference.startswith(("https://", "http://")),
        tokens={"light": _tokens(LIGHT), "dark": _tokens(DARK)},
        # Not escaped: our own script, and JSON that cannot end a script element.
        light=Markup(embed(LIGHT)),
        vega=Markup(vega),
        charted=charted,
        first=next((s.name for s in page.sections if s.charts), ""),
        scripts=_SCRIPTS,
        sections=[_section(section, look) for section in page.sections],
        definitions=_definitions(page),
    )


def _tokens(colours: dict[str, str]) -> Markup:
    return Markup(" ".join(f"--{name}: {value};" for name, value in colours.items()))


def _section(section: Section, look: Look) -> dict[str, Any]:
    return {
        "name": section.name,
        "heading": section.heading,
        "caption": section.caption,
        "table": section.table and section.table.without_empty(),
        "folded": section.folded,
        "charts": [_chart(chart, look) for chart in section.charts],
        "pictures": [_picture(picture) for picture in section.pictures],
        "texts": section.texts,
    }


def _chart(chart: Chart, look: Look) -> dict[str, Any]:
    kind = KINDS[type(chart)]
    spec, data = kind.spec(chart, look), kind.data(chart, look)
    heat = data if isinstance(chart, HeatMap) else None
    whole = {"spec": spec} if heat else data | {"spec": spec}
    return {
        "name": chart.name,
        "heading": chart.heading,
        "caption": chart.caption,
        "kind": kind.name,
        "heat": heat,
        # Not escaped: JSON without a character that ends a script.
        "data": Markup(embed(whole)),
    }


def _picture(picture: Picture) -> dict[str, str]:
    kind = "png" if picture.content.startswith(b"\x89PNG") else "jpeg"
    content = base64.b64encode(picture.content).decode()
    source = f"data:image/{kind};base64,{content}"
    return {"source": source, "title": picture.title, "text": picture.text}


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
                text = metric_look(chart, name)
                if text.meaning and text.meaning not in found.values():
                    found.setdefault(text.heading, text.meaning)
    return list(found.items())


def _template(name: str) -> jinja2.Template:
    """A page's template; every text in it is escaped, a missing one is an error."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(_FOLDER / "templates"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template(name)


@contextlib.contextmanager
def _writing(target: Path) -> Iterator[None]:
    """Names the file that the disk refuses.

    Raises:
        UserError: In place of any OSError inside the block.
    """
    try:
        yield
    except OSError as error:
        raise UserError(
            f"the report cannot be written to {str(target)!r}: "
            f"{error.strerror or error} ({error.filename}); choose another place"
        ) from error


def _write_whole(path: Path, content: bytes) -> None:
    """Writes a file whole or not at all: a reader may have the old one open."""
    with written_whole(path) as temporary:
        temporary.write_bytes(content)
