"""The still picture of a chart, as SVG, PNG or PDF, without a browser."""

import html
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace

import vl_convert

from jaxbench.reports.charts import KINDS
from jaxbench.reports.charts.frame import (
    HEIGHT,
    WIDTH,
    LegendItem,
    Opening,
    filled,
    light,
)
from jaxbench.reports.charts.names import LETTER, shortened
from jaxbench.reports.look import FONT, LIGHT, Look
from jaxbench.reports.page import Chart, Curves, Distributions, Number, Panels

FORMATS = ("svg", "png", "pdf")
_SIZE = re.compile(r'<svg[^>]*? width="([0-9.]+)" height="([0-9.]+)"')
_ID = re.compile(r'(id="|url\(#)((?:gradient|clip)_?\d+)("|\))')
_ROW = 19  # pixels of a line of the legend
_COLUMNS = 3
_SYMBOLS = {
    "circle": "M-4.6,0a4.6,4.6 0 1,0 9.2,0a4.6,4.6 0 1,0 -9.2,0",
    "square": "M-4.2,-4.2h8.4v8.4h-8.4z",
    "triangle-up": "M0,-5L5,4H-5z",
    "diamond": "M0,-5.6L5.6,0L0,5.6L-5.6,0z",
    "triangle-down": "M0,5L5,-4H-5z",
}


def still(chart: Chart, look: Look, file_format: str = "svg") -> bytes:
    """A chart in the state in which its page opens.

    Args:
        chart: Of a page.
        look: The page's looks: a still has the colours of its page.
        file_format: One of `FORMATS`.
    """
    svg = still_svg(chart, look)
    if file_format == "png":
        return vl_convert.svg_to_png(svg, scale=2)
    return vl_convert.svg_to_pdf(svg) if file_format == "pdf" else svg.encode()


def still_svg(chart: Chart, look: Look) -> str:
    """The drawing of `still`: plot and legend, in light colours."""
    if isinstance(chart, Panels):
        return _panels(chart.panels, look)
    if isinstance(chart, Distributions):
        panels = chart.panels.items()
        return _panels({t: replace(chart, panels={t: p}) for t, p in panels}, look)
    opening, svg = _plot(chart, look)
    if opening.message:
        return _compose([], [], opening.message)
    return _compose([("", svg)], opening.legend)


def _plot(chart: Chart, look: Look) -> tuple[Opening, str]:
    kind = KINDS[type(chart)]
    if kind.opening is None:
        raise TypeError(f"{type(chart).__name__} is drawn by its parts")
    opening = kind.opening(chart, look)
    spec = light(filled(kind.spec(chart, look), opening))
    return opening, _renumbered(vl_convert.vega_to_svg(spec))


def _renumbered(svg: str) -> str:
    """Vega counts the ids of a process: the same chart would not be the same file."""
    ids: dict[str, int] = {}

    def renamed(match: re.Match[str]) -> str:
        number = ids.setdefault(match[2], len(ids))
        return f"{match[1]}part_{number}{match[3]}"

    return _ID.sub(renamed, svg)


def _panels(panels: Mapping[str, Curves | Distributions], look: Look) -> str:
    parts, legend = [], {}
    for title, chart in panels.items():
        opening, svg = _plot(chart, look)
        parts.append((title, svg))
        legend |= {item.text: item for item in opening.legend}
    return _compose(parts, tuple(legend.values()), "" if parts else "Nothing to show.")


def _compose(
    parts: Sequence[tuple[str, str]], legend: Sequence[LegendItem], message: str = ""
) -> str:
    """Plots beside each other and the legend below, as `compose` in `charts.js`."""
    sizes = [tuple(map(float, _SIZE.findall(svg)[0])) for _, svg in parts]
    columns = min(_COLUMNS, max(1, len(parts)))
    wide = max((width for width, _ in sizes), default=WIDTH)
    title = 22 if any(text for text, _ in parts) else 0
    tall = max((height for _, height in sizes), default=HEIGHT) + title
    drawn = []
    for k, (text, svg) in enumerate(parts):
        x, y = (k % columns) * wide, (k // columns) * tall
        if text:
            head = shortened(text, int((wide - 66) / (1.2 * LETTER)))
            drawn.append(_text(head, x + 66, y + 15, "ink", 13))
        drawn.append(f'<g transform="translate({x:g},{y + title:g})">{svg}</g>')
    if message:
        drawn.append(_text(message, WIDTH / 2, HEIGHT / 2, "muted", 13, "middle"))
    rows = -(-len(parts) // columns) or 1
    width, height = columns * wide, rows * tall
    each = max((LETTER * len(shortened(i.text, 60)) + 48 for i in legend), default=1)
    across = max(1, int((width - 20) // each))
    for k, item in enumerate(legend):
        place = (20 + (k % across) * each, height + 14 + (k // across) * _ROW)
        drawn.append(_legend_item(item, *place))
    if legend:
        height += -(-len(legend) // across) * _ROW + 12
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width:g}" '
        f'height="{height:g}" viewBox="0 0 {width:g} {height:g}" '
        f'font-family="{html.escape(FONT)}">'
        f'<rect width="100%" height="100%" fill="{LIGHT["card"]}"/>'
        f"{''.join(drawn)}</svg>"
    )


def _legend_item(item: LegendItem, x: Number, y: Number) -> str:
    colour = light(item.style.colour)
    if item.is_line:
        dash = " ".join(map(str, item.style.dash))
        mark = (
            f'<path d="M{x:g},{y:g}h22" stroke="{colour}" stroke-width="2" fill="none"'
            f' stroke-dasharray="{dash}"/>'
        )
    else:
        mark = (
            f'<path d="{_SYMBOLS[item.style.shape]}" fill="{colour}" '
            f'transform="translate({x + 11:g},{y:g})"/>'
        )
    return mark + _text(shortened(item.text, 60), x + 30, y + 4, "ink", 11)


def _text(
    text: str, x: Number, y: Number, colour: str, size: int, anchor: str = "start"
) -> str:
    return (
        f'<text x="{x:g}" y="{y:g}" fill="{LIGHT[colour]}" font-size="{size}" '
        f'text-anchor="{anchor}">{html.escape(text)}</text>'
    )
