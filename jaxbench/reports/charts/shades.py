"""Colours of heat maps, with a text colour that can be read on each."""

import math
from collections.abc import Iterable
from itertools import pairwise
from typing import NamedTuple

from jaxbench.reports.page import Number

_DARK_TEXT, _LIGHT_TEXT = "#000000", "#ffffff"
# Both are safe for colour-blind readers. Nine colours of viridis, at equal distances
# (https://bids.github.io/colormap), and ColorBrewer's RdBu (https://colorbrewer2.org).
SEQUENTIAL = (
    "#440154",
    "#472d7b",
    "#3b528b",
    "#2c728e",
    "#21918c",
    "#28ae80",
    "#5ec962",
    "#addc30",
    "#fde725",
)
DIVERGING = (
    "#67001f",
    "#b2182b",
    "#d6604d",
    "#f4a582",
    "#fddbc7",
    "#f7f7f7",
    "#d1e5f0",
    "#92c5de",
    "#4393c3",
    "#2166ac",
    "#053061",
)


class Shades(NamedTuple):
    """A colour scale over a range of values.

    Attributes:
        low: The value of the first colour.
        high: The value of the last one.
        stops: Colours `#rrggbb` at equal distances, at least two.
    """

    low: float
    high: float
    stops: tuple[str, ...]

    def colour(self, value: Number) -> str:
        """The colour of a value, `#rrggbb`; of the nearer end where it is outside."""
        span = self.high - self.low
        share = 0.5 if span <= 0 else (value - self.low) / span
        return self.at(min(1.0, max(0.0, share)))

    def at(self, share: float) -> str:
        """The colour at a share of the range, in [0, 1], linear between stops."""
        place = share * (len(self.stops) - 1)
        index = min(int(place), len(self.stops) - 2)
        first, second = list(pairwise(self.stops))[index]
        mixed = (
            round(a + (place - index) * (b - a))
            for a, b in zip(_parts(first), _parts(second), strict=True)
        )
        return f"#{bytes(mixed).hex()}"


def shades_of(values: Iterable[Number | None], *, diverging: bool) -> Shades:
    """The scale of a matrix: its range, or as far below zero as above it.

    Args:
        values: Of all cells; None and what is not finite is left out.
        diverging: Whether zero is the middle.
    """
    known = [float(v) for v in values if v is not None and math.isfinite(v)]
    if not known:
        return Shades(0.0, 0.0, SEQUENTIAL)
    if diverging:
        far = max(abs(value) for value in known)
        return Shades(-far, far, DIVERGING)
    return Shades(min(known), max(known), SEQUENTIAL)


def text_on(background: str) -> str:
    """Dark or light text, whichever contrasts more with a background `#rrggbb`."""
    return max(_DARK_TEXT, _LIGHT_TEXT, key=lambda ink: contrast(ink, background))


def contrast(first: str, second: str) -> float:
    """Contrast ratio of two colours `#rrggbb`, from 1 to 21.

    Web Content Accessibility Guidelines 2.2, "contrast ratio".
    """
    lights = sorted((_luminance(first), _luminance(second)))
    return (lights[1] + 0.05) / (lights[0] + 0.05)


def _luminance(colour: str) -> float:
    """Relative luminance of sRGB, in [0, 1]."""
    linear = [
        part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4
        for part in (byte / 255 for byte in _parts(colour))
    ]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def _parts(colour: str) -> bytes:
    return bytes.fromhex(colour[1:])
