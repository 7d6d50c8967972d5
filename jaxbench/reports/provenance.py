"""How a page's numbers were made: commands, configuration, versions, machines."""

import inspect
import shlex
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from jaxbench.reports.page import Page
from jaxbench.results.columns import PROVENANCE
from jaxbench.studies.entries import Row

_MAX_VALUES = 6


def with_origin(
    page: Page,
    rows: Sequence[Row],
    command: Sequence[str],
    options: Mapping[str, Any] | None = None,
) -> Page:
    """The page with how it was made and where the numbers come from.

    Args:
        page: Any page.
        rows: The runs that it is of.
        command: What writes the page anew, the words after `jaxbench`.
        options: What was chosen on top of them.
    """
    shown = ", ".join(f"{name} = {value}" for name, value in (options or {}).items())
    made = [
        ("Page", shlex.join(["jaxbench", *command])),
        ("Options", shown),
        ("Experiments", listed(rows, "experiment")),
        ("Configuration digests", listed(rows, "config_digest")),
        ("Versions", versions(rows)),
        ("Commits", listed(rows, "git_commit")),
    ]
    return replace(
        page,
        made=tuple((name, text) for name, text in made if text),
        provenance=tuple(provenance(rows)),
    )


def changed_options(build: Any, options: Mapping[str, Any]) -> dict[str, Any]:
    """The options that are not a function's own defaults."""
    usual = inspect.signature(build).parameters
    return {n: v for n, v in options.items() if v != usual[n].default}


def provenance(rows: Sequence[Row]) -> list[tuple[str, str, str]]:
    """Each key, its meaning, and its values with the number of runs that have them."""
    found = []
    for name, meaning in PROVENANCE.items():
        column = "provenance_num_devices" if name == "num_devices" else name
        # Every run has a time of its own: the facts have the first and the last day.
        if name != "created_at" and (text := listed(rows, column)):
            found.append((name, meaning, text))
    return found


def versions(rows: Sequence[Row]) -> str:
    """Versions of what computed the numbers."""
    names = ("jaxbench", "jax", "flax", "python")
    found = [(name, listed(rows, f"{name}_version")) for name in names]
    return ", ".join(f"{name} {text}" for name, text in found if text)


def listed(rows: Sequence[Row], column: str) -> str:
    """A column's values, the most frequent first, with their counts if they differ."""
    counts = Counter(row[column] for row in rows if row.get(column) is not None)
    values = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    texts = [f"{value} ({n:,})" if len(counts) > 1 else value for value, n in values]
    more = len(texts) - _MAX_VALUES
    return ", ".join(texts[:_MAX_VALUES]) + (f", and {more} more" if more > 0 else "")
