"""The command about decoded images and unpacked archives that are kept: data cache."""

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
    """Show the decoded images and unpacked archives that are kept, or remove them.

    Images are decoded, resized and cropped once for all models with the same input, and
    compressed archives are unpacked once. $JAXBENCH_CACHE holds at most
    $JAXBENCH_CACHE_LIMIT GiB of both (32 if not set, 0 for neither), and what was used
    least recently goes first.

    Example: [bold]jaxbench data cache --clear --unused-for 30[/]
    """
    from jaxbench.data.cache import cache_folder, unpacked_archives
    from jaxbench.data.decoded_store import cache_limit, clear_cache, decoded_entries

    if unused_for and not clear:
        raise UserError("--unused-for says what --clear removes; give both")
    if clear:
        freed = clear_cache(unused_for=unused_for * _DAY)
        console.print(f"{_gibibytes(freed)} GiB freed")
    entries, archives = decoded_entries(), unpacked_archives()
    rows = [
        (
            escape(entry.name),
            entry.geometry,
            f"{entry.num_decoded:,} of {entry.num_examples:,}",
            entry.nbytes,
            entry.used,
        )
        for entry in entries
    ]
    for held in sorted(archives, key=lambda held: -held.used):
        rows.append((escape(held.path.name), "unpacked", "", held.nbytes, held.used))
    if rows:
        table = Table("dataset", "input", "images", "GiB", "last used")
        for name, kind, share, nbytes, seconds in rows:
            used = datetime.datetime.fromtimestamp(seconds).strftime("%Y-%m-%d %H:%M")
            table.add_row(name, kind, share, _gibibytes(nbytes), used)
        console.print(table)
    console.print(
        f"{_gibibytes(sum(nbytes for *_, nbytes, _ in rows))} of at most "
        f"{_gibibytes(cache_limit())} GiB in {cache_folder()}",
        markup=False,
    )


def _gibibytes(nbytes: int) -> str:
    return f"{nbytes / 2**30:.2f}"
