"""What all charts share: fonts and colours, sizes, axes, and the way to Vega.

A chart is an Altair chart that draws named data sets. Python fills them for the state
in which a page opens, which makes the still; the page's script fills them again for
whatever its reader chooses. Sizes and padding are explicit, so that a place on the
chart does not depend on how a machine measures text.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import altair as alt
import vl_convert

from jaxbench.reports.look import FONT, LIGHT, Style, token

VEGALITE = "6.4"
# Of a still, in pixels, without its legend; a page uses its own width.
WIDTH, HEIGHT = 640, 400
LEFT, RIGHT, TOP, BOTTOM = 66, 18, 12, 46
_SIGNAL = "signal: "
_TOKEN = re.compile(r"var\(--(\w+)\)")
_NUMBER = (
    "{0}_percent ? format(datum.value, '~%') : abs(datum.value) >= 1e4 ? "
    "format(datum.value, '~s') : format(datum.value, '~g')"
)
CONFIG = alt.Config(
    font=FONT,
    view=alt.ViewConfig(stroke=None),
    axis=alt.AxisConfig(
        domainColor=token("edge"),
        gridColor=token("grid"),
        labelColor=token("muted"),
        labelFontSize=12,
        ticks=False,
        labelPadding=6,
        titleColor=token("ink"),
        titleFontSize=12.5,
        titleFontWeight="normal",
    ),
    axisX=alt.AxisConfig(labelFlush=False),
    text=alt.MarkConfig(color=token("ink"), fontSize=12),
    rule=alt.MarkConfig(color=token("muted")),
    header=alt.HeaderConfig(labelColor=token("ink"), titleColor=token("ink")),
    title=alt.TitleConfig(color=token("ink"), fontSize=12.5, fontWeight="normal"),
)


@dataclass(frozen=True)
class LegendItem:
    """A line of a still's legend: a name and how it is drawn."""

    text: str
    style: Style
    is_line: bool


@dataclass(frozen=True)
class Opening:
    """A chart in the state in which its page opens.

    Attributes:
        rows: Data set to its rows.
        signals: Parameter to its value.
        legend: What its colours mean.
        bottom: Room below the axis, in pixels.
        left: Room beside the axis.
        right: Room right of the plot.
        width: With all rooms.
        height: Likewise; None where the chart has sizes of its own.
        message: What is shown instead of an empty chart; "" otherwise.
    """

    rows: Mapping[str, list[dict[str, Any]]]
    signals: Mapping[str, Any]
    legend: tuple[LegendItem, ...] = ()
    bottom: int = BOTTOM
    left: int = LEFT
    right: int = RIGHT
    width: int = WIDTH
    height: int | None = HEIGHT
    message: str = ""


def signal_title(name: str) -> str:
    """An axis title that follows a parameter, which Vega-Lite's schema lacks."""
    return _SIGNAL + name


def axis_of(direction: str, **settings: Any) -> alt.Axis:
    """A numeric axis with title and unit from the parameters of `direction`."""
    across = direction == "x"
    place = {"titleY": 30} if across else {"titleX": -48}
    given = {
        "labelExpr": _NUMBER.format(direction),
        "tickCount": alt.ExprRef("width / 85" if across else "height / 60"),
        "title": signal_title(f"{direction}_title"),
        **place,
    }
    return alt.Axis(**(given | settings))


def scale_of(direction: str) -> alt.Scale:
    """A linear scale whose domain is the parameter of `direction`."""
    domain = alt.ExprRef(f"{direction}_domain")
    return alt.Scale(domain=domain, nice=False, zero=False)


def raw(shorthand: str, kind: type) -> Any:
    """An encoding whose values are used as they are: colours, dashes, opacities."""
    return kind(shorthand, scale=None, legend=None)


def compile_chart(chart: alt.TopLevelMixin) -> dict[str, Any]:
    """The Vega specification of an Altair chart with this house's looks."""
    spec = chart.to_dict()
    spec["config"] = CONFIG.to_dict()
    vega = vl_convert.vegalite_to_vega(spec, vl_version=VEGALITE)
    # White where nothing is said, also on a dark page; stills have their card.
    vega["background"] = None
    return _with_signals(vega)


def framed(chart: alt.LayerChart | alt.FacetChart) -> dict[str, Any]:
    """As `compile_chart`, with explicit sizes and padding."""
    sized = chart.properties(
        width=WIDTH - LEFT - RIGHT,
        height=HEIGHT - TOP - BOTTOM,
        autosize="none",
        padding={"left": LEFT, "right": RIGHT, "top": TOP, "bottom": BOTTOM},
    )
    return compile_chart(sized)


def filled(spec: dict[str, Any], opening: Opening) -> dict[str, Any]:
    """A specification with the rows and parameters of the opening state."""
    data = [
        {**item, "values": list(opening.rows[item["name"]])}
        if item["name"] in opening.rows
        else item
        for item in spec["data"]
    ]
    signals = [
        {**item, "value": opening.signals[item["name"]]}
        if item["name"] in opening.signals
        else item
        for item in spec["signals"]
    ]
    spec = spec | {"data": data, "signals": signals}
    if opening.height is None:
        return spec
    padding = {"left": opening.left, "right": opening.right}
    padding |= {"top": TOP, "bottom": opening.bottom}
    return spec | {
        "padding": padding,
        "width": opening.width - opening.left - opening.right,
        "height": opening.height - TOP - opening.bottom,
    }


def light(value: Any) -> Any:
    """A specification or SVG part with the light page's colours for its tokens."""
    if isinstance(value, str):
        match = _TOKEN.fullmatch(value)
        return LIGHT[match[1]] if match else value
    if isinstance(value, Mapping):
        return {key: light(item) for key, item in value.items()}
    return [light(item) for item in value] if isinstance(value, list) else value


def _with_signals(value: Any) -> Any:
    if isinstance(value, str) and value.startswith(_SIGNAL):
        return {"signal": value.removeprefix(_SIGNAL)}
    if isinstance(value, dict):
        return {key: _with_signals(item) for key, item in value.items()}
    return [_with_signals(item) for item in value] if isinstance(value, list) else value
