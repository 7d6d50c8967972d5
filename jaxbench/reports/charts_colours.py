"""Colours of heat maps, with a text colour that can be read on each."""

import math
from collections.abc import Iterable
from typing import NamedTuple

import matplotlib as mpl

from jaxbench.reports.page import Number

_DARK_TEXT, _LIGHT_TEXT = "#000000", "#ffffff"
# Both are safe for colour-blind readers.
_SEQUENTIAL, _DIVERGING = "viridis", "RdBu"


class Shades(NamedTuple):
    """A colour scale over a range of values.

    Attributes:
        low: The value of the first colour.
        high: The value of the last one.
        name: Of the colours in matplotlib.
    """

    low: float
    high: float
    name: str

    def colour(self, value: Number) -> str:
        """The colour of a value, `#rrggbb`."""
        span = self.high - self.low
        share = 0.5 if span <= 0 else (value - self.low) / span
        return self.at(min(1.0, max(0.0, share)))

    def at(self, share: float) -> str:
        """The colour at a share of the range, in [0, 1]."""
        red, green, blue, _ = mpl.colormaps[self.name](float(share))
        return "#" + "".join(f"{round(255 * part):02x}" for part in (red, green, blue))


def shades_of(values: Iterable[Number | None], *, diverging: bool) -> Shades:
    """The scale of a matrix: its range, or as far below zero as above it.

    Args:
        values: Of all cells; None and what is not finite is left out.
        diverging: Whether zero is the middle.
    """
    known = [float(v) for v in values if v is not None and math.isfinite(v)]
    if not known:
        return Shades(0.0, 0.0, _SEQUENTIAL)
    if diverging:
        far = max(abs(value) for value in known)
        return Shades(-far, far, _DIVERGING)
    return Shades(min(known), max(known), _SEQUENTIAL)


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
    parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [
        part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4
        for part in parts
    ]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]
