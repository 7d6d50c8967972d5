"""Where names stand on a chart: beside their points, and apart from each other.

The page's script does the same (`placeNames` and `spread` in `charts.js`), so that a
figure that its reader saves is the still.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

from jaxbench.reports.page import Number

MOST_LETTERS = 34
LETTER = 6.7  # pixels, of 11 px text; an average, as no text is measured


class Spot(NamedTuple):
    """A name and the place of its point, in pixels."""

    text: str
    x: float
    y: float


def shortened(text: str, most: int = MOST_LETTERS) -> str:
    """A name of at most so many characters; the end of a long one is cut."""
    return text if len(text) <= most else f"{text[: most - 2]}…"


def place_names(
    spots: Sequence[Spot], right: Number, bottom: Number
) -> list[dict[str, Any]]:
    """Names beside their points, where they cover neither a name nor another point.

    Args:
        spots: Points with their names, the most important first.
        right: Where the room for names ends.
        bottom: Likewise, below.

    Returns:
        Rows with px, py (left end and baseline, in pixels) and text; a name that has
        no room is left out.
    """
    taken = [(s.x - 5, s.y - 5, s.x + 5, s.y + 5) for s in spots]
    placed = []
    for spot in spots:
        text = shortened(spot.text)
        wide = LETTER * len(text)
        middle = spot.x - wide / 2
        for left, base in (
            (spot.x + 9, spot.y + 4),
            (spot.x - 9 - wide, spot.y + 4),
            (middle, spot.y - 9),
            (middle, spot.y + 18),
        ):
            own = (left, base - 11, left + wide, base + 3)
            inside = own[0] > 0 and own[2] < right and own[1] > -10 and own[3] < bottom
            if inside and not any(_meet(own, other) for other in taken):
                taken.append(own)
                placed.append({"px": left, "py": base, "text": text})
                break
    return placed


def _meet(a: tuple[float, ...], b: tuple[float, ...]) -> bool:
    return a[0] < b[2] and b[0] < a[2] and a[1] < b[3] and b[1] < a[3]


def spread(
    places: Sequence[Number], room: Number, low: Number, high: Number
) -> list[Number]:
    """Places in the same order, at least `room` apart, within a range if they fit.

    Args:
        places: Where labels want to stand.
        room: Least distance of two neighbours.
        low: Lower end of the range.
        high: Upper end; exceeded only where the labels need more than the range.

    Returns:
        A place for each, in the order given.
    """
    order = sorted(range(len(places)), key=lambda i: places[i])
    found = [0.0] * len(places)
    last = low - room
    for i in order:
        found[i] = last = max(places[i], last + room)
    last = high + room
    for i in reversed(order):
        found[i] = last = min(found[i], last - room)
    short = low - last if order else 0.0
    return [place + max(0.0, short) for place in found]
