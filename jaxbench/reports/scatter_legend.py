"""Colours, markers and legend of a scatter plot of groups and kinds."""

from collections.abc import Mapping
from typing import Any

from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from jaxbench.reports.style import CARD, MARKERS, MUTED, PALETTE, label_text

_MAX_KINDS = 2 * len(MARKERS)


def group_colour(index: int, count: int) -> str:
    """The colour of group number `index` of `count`; the last one is shared."""
    last = len(PALETTE) - 1
    return PALETTE[index if count <= len(PALETTE) else min(index, last)]


def marker_look(index: int, colour: str) -> dict[str, Any]:
    """The marker of kind number `index`: filled or hollow, unlike for the first 24."""
    is_hollow = index // len(MARKERS) % 2 == 1
    return {
        "linestyle": "none",
        "color": colour,
        "marker": MARKERS[index % len(MARKERS)],
        "markerfacecolor": "none" if is_hollow else colour,
        "markeredgecolor": colour if is_hollow else CARD,
        "markeredgewidth": 1.3 if is_hollow else 0.7,
    }


def scatter_legend(
    figure: Figure,
    groups: Mapping[str, int],
    kinds: Mapping[str, int],
    titles: tuple[str, str],
) -> None:
    """A legend to the right, for which the figure grows where it is long.

    Args:
        figure: With the points.
        groups: Name to number.
        kinds: Likewise; one alone is not named.
        titles: Of the groups and of the kinds.
    """
    last = len(PALETTE) - 1
    shared = len(groups) > len(PALETTE)
    handles = [Line2D([], [], linestyle="none", label=f"{titles[0]}:")]
    for name, index in groups.items():
        if shared and index > last:
            break
        text = "others" if shared and index == last else label_text(name)
        colour = PALETTE[index]
        handles.append(
            Line2D([], [], marker="o", color=colour, linestyle="", label=text)
        )
    if len(kinds) > 1:
        handles.append(Line2D([], [], linestyle="none", label=f"{titles[1]}:"))
    for name, index in kinds.items() if len(kinds) > 1 else ():
        if index >= _MAX_KINDS:
            more = f"{len(kinds) - _MAX_KINDS} more"
            handles.append(Line2D([], [], linestyle="none", label=more))
            break
        look = marker_look(index, MUTED)
        handles.append(Line2D([], [], label=label_text(name), **look))
    # 9 points and the space between two lines.
    needed = 0.206 * len(handles) + 0.3
    figure.set_figheight(max(figure.get_figheight(), needed))
    figure.legend(handles=handles, loc="outside right upper")
