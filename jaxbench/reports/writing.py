"""How a page and its figures become files: one template folder, whole files or none."""

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import jinja2
from markupsafe import Markup
from matplotlib.figure import Figure

from jaxbench.errors import UserError
from jaxbench.files import written_whole
from jaxbench.reports.exhibit import Exhibit
from jaxbench.reports.style import inline_svg, render

FORMATS = ("svg", "png", "pdf")


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


def template(name: str) -> jinja2.Template:
    """A page's template; every text in it is escaped, a missing one is an error."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent / "templates"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template(name)


def inline_figure(exhibit: Exhibit) -> dict[str, Any]:
    """An exhibit as the templates want it: its picture is markup."""
    svg = inline_svg(render(exhibit.figure, "svg"), exhibit.name)
    # Not escaped: made by matplotlib, which escapes its texts.
    return {
        "name": exhibit.name,
        "title": exhibit.title,
        "caption": exhibit.caption,
        "svg": Markup(svg),
    }


@contextlib.contextmanager
def writing(target: Path) -> Iterator[None]:
    """Says where a page was to go when the disk refuses it.

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


def write_figures(
    figures: Mapping[str, Figure], folder: Path, formats: Sequence[str]
) -> None:
    """Writes every figure in every format, named after it."""
    for name, figure in figures.items():
        for file_format in formats:
            write_file(folder / f"{name}.{file_format}", render(figure, file_format))


def write_file(path: Path, content: bytes) -> None:
    """Writes a file whole or not at all: a reader may have the old one open."""
    with written_whole(path) as temporary:
        temporary.write_bytes(content)
