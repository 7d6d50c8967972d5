"""The command about decoded images that are kept: data cache."""

import datetime
from typing import Annotated

import typer
from rich.markup import escape
from rich.table import Table

from jaxbench.cli.display import console
from jaxbench.errors import UserError

_DAY = 24 * 3600.0


def data_cache(
    clear: Annotated[
        bool, typer.Option("--clear", help="Remove what is held.")
    ] = False,
    unused_for: Annotated[
        float,
        typer.Option(min=0, help="With --clear: only what was not used for DAYS."),
    ] = 0.0,
) -> None:
    """Show the decoded images that are kept, or remove them.

    Images are decoded, resized and cropped once for all models with the same input.
    The folder is $JAXBENCH_CACHE/decoded; it holds at most $JAXBENCH_CACHE_LIMIT GiB
    (32 if not set, 0 for no cache), and what was used least recently goes first.

    Example: [bold]jaxbench data cache --clear --unused-for 30[/]
    """
    from jaxbench.data.cache import cache_folder
    from jaxbench.data.decoded_store import (
        cache_limit,
        clear_decoded,
        decoded_entries,
    )

    if unused_for and not clear:
        raise UserError("--unused-for says what --clear removes; give both")
    if clear:
        freed = clear_decoded(unused_for=unused_for * _DAY)
        console.print(f"{_gibibytes(freed)} GiB freed")
    entries = decoded_entries()
    if entries:
        table = Table("dataset", "input", "images", "GiB", "last used")
        for entry in entries:
            used = datetime.datetime.fromtimestamp(entry.used)
            share = f"{entry.num_decoded:,} of {entry.num_examples:,}"
            table.add_row(
                escape(entry.name),
                entry.geometry,
                share,
                _gibibytes(entry.nbytes),
                used.strftime("%Y-%m-%d %H:%M"),
            )
        console.print(table)
    held = sum(entry.nbytes for entry in entries)
    console.print(
        f"{_gibibytes(held)} of at most {_gibibytes(cache_limit())} GiB in "
        f"{cache_folder() / 'decoded'}",
        markup=False,
    )


def _gibibytes(nbytes: int) -> str:
    return f"{nbytes / 2**30:.2f}"
