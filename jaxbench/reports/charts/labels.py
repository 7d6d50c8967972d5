"""Users' names as labels: wrapped, cut in the middle."""

import json
import textwrap
import zlib
from collections.abc import Sequence
from typing import Any

_HALF_LINE = 6


def label_lines(text: str, *, width: int = 30, most: int = 4) -> list[str]:
    """The lines of a label; one of too many loses its middle.

    Names often differ at their ends alone, so a checksum stands in the middle's place.

    Args:
        text: A name.
        width: Characters of a line.
        most: Lines.
    """
    room = width * most - most
    if len(text) > room:
        cut = f"...{zlib.crc32(text.encode()):08x}..."
        text = text[: room // 2 - len(cut)] + cut + text[-room // 2 :]
    return textwrap.wrap(text, width, break_on_hyphens=False) or [""]


def axis_labels(names: Sequence[str], **limits: int) -> dict[str, Any]:
    """Properties of an axis whose values are the positions of names.

    Names stand in its expression as JSON strings, never as parts of the expression.

    Args:
        names: Position to name.
        limits: `width` and `most` of `label_lines`.
    """
    lines = [label_lines(name, **limits) for name in names]
    texts = [line[0] if len(line) == 1 else line for line in lines]
    found = {"labelExpr": f"{json.dumps(texts)}[datum.value]", "labelOverlap": False}
    if any(len(line) > 1 for line in lines):
        # Vega puts the first line of several at the tick, not their middle.
        moved = [-_HALF_LINE * (len(line) - 1) for line in lines]
        found["labelOffset"] = {"expr": f"{json.dumps(moved)}[datum.value]"}
    return found
