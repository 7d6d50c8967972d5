"""Factors of your own images, such as "dark" or "seen from behind", from a file."""

import csv
import io
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from jaxbench.errors import UserError

_ID = "id"
_YES, _NO = ("1", "true", "yes"), ("0", "false", "no", "")
_SHOWN = 5
_WANTED = (
    "wanted a CSV file (.csv) with a header, or JSON lines (.jsonl) with an object an "
    "image: one column id, the image's id as the results have it, and a column a "
    "factor with 1 or 0 (true or false), or with a word for a factor COLUMN=WORD"
)


def read_factors(path: str | Path) -> dict[str, tuple[str, ...]]:
    """Reads which factors each image has, for `error_ratios`.

    Args:
        path: A CSV file (`.csv`) with a header and a line an image, or JSON lines
            (`.jsonl`) with an object an image. The column `id` is the image's id in the
            per-example columns of results. Every other column is a factor: 1, true or
            yes where the image has it; 0, false, no or nothing where it does not. Any
            other word makes a factor of its own: "dark" in a column `light` is the
            factor "light=dark".

    Returns:
        Id of an image to its factors in the order of the columns; () where none is set.

    Raises:
        UserError: If the file cannot be read, has no image, no factor or no ids, a line
            is malformed, or an image comes twice. All problems are named.
    """
    target = Path(path)
    readers = {".csv": _csv_rows, ".jsonl": _json_rows}
    if target.suffix.lower() not in readers:
        raise UserError(f"{path} is of no kind that holds factors; {_WANTED}")
    found: dict[str, tuple[str, ...]] = {}
    malformed, twice = [], []
    for number, row in readers[target.suffix.lower()](_text(target)):
        factors = None if row is None else _factors(row)
        if row is None or factors is None:
            malformed.append(str(number))
            continue
        name = str(row[_ID])
        if name in found:
            twice.append(name)
        found[name] = factors
    problems = []
    if malformed:
        problems.append(f"malformed or without an id: line {_some(malformed)}")
    if twice:
        problems.append(f"images that come twice: {_some(twice)}")
    if not found and not problems:
        problems.append("no image")
    if found and not any(found.values()):
        problems.append(f"no image has a factor, of {len(found)}")
    if problems:
        raise UserError(f"{path}: {'; '.join(problems)}; {_WANTED}")
    return found


def _text(path: Path) -> str:
    try:
        # Spreadsheet programs begin a CSV file with a byte order mark.
        return path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path} cannot be read: {error}") from error


def _csv_rows(text: str) -> Iterator[tuple[int, Mapping[str, Any] | None]]:
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    header: list[str] | None = None
    try:
        for row in reader:
            if not row:
                continue
            if header is None:
                header = [name.strip() for name in row]
                # A column twice would hide one of its values.
                if len(set(header)) < len(header) or "" in header or _ID not in header:
                    yield reader.line_num, None
                    return
                continue
            fits = len(row) == len(header)
            yield reader.line_num, dict(zip(header, row, strict=True)) if fits else None
    except csv.Error:
        yield reader.line_num, None


def _json_rows(text: str) -> Iterator[tuple[int, Mapping[str, Any] | None]]:
    # Words may hold what `splitlines` takes for the end of a line.
    for number, line in enumerate(text.split("\n"), start=1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except ValueError:
            row = None
        yield number, row if isinstance(row, dict) else None


def _factors(row: Mapping[str, Any]) -> tuple[str, ...] | None:
    """The factors that a row sets; None if the id is missing or a value is not text."""
    name = row.get(_ID)
    if not isinstance(name, str | int) or isinstance(name, bool) or name == "":
        return None
    found = []
    for column, value in row.items():
        if column == _ID or value is None:
            continue
        if not isinstance(value, str | int | bool):
            return None
        word = str(value).strip()
        if word.lower() in _YES:
            found.append(column)
        elif word.lower() not in _NO:
            found.append(f"{column}={word}")
    return tuple(found)


def _some(items: list[str]) -> str:
    more = f" and {len(items) - _SHOWN} more" if len(items) > _SHOWN else ""
    return f"{', '.join(items[:_SHOWN])}{more}"
