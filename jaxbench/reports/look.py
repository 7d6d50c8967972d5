"""Colours, shapes and dashes: one answer for all charts of a page and their stills."""

from collections.abc import Iterable, Iterator
from typing import NamedTuple

from jaxbench.reports.page import (
    Chart,
    Curves,
    Distributions,
    Page,
    Panels,
    Ranks,
    Scatter,
)

# Light and dark pages; stills are light. Wong (2011), Points of view: Color blindness,
# https://doi.org/10.1038/nmeth.1618, darkened or lightened for their page.
LIGHT = {
    **{"ink": "#1f2933", "muted": "#52606d", "grid": "#d9e2ec", "card": "#ffffff"},
    **{"page": "#f3f5f8", "accent": "#0b5cad", "stripe": "#f8fafc", "head": "#10243e"},
    **{"edge": "#7b8896", "line": "#c9d3dd"},
    **{"c0": "#0072b2", "c1": "#c75000", "c2": "#00875f", "c3": "#b55a8e"},
    **{"c4": "#a87400", "c5": "#2f8fc4", "c6": "#8c6bb1", "c7": "#6b7280"},
}
DARK = {
    **{"ink": "#e4e9ee", "muted": "#a3b1bf", "grid": "#33414f", "card": "#18222d"},
    **{"page": "#0f161d", "accent": "#6cb2f5", "stripe": "#1c2834", "head": "#0a1a2c"},
    **{"edge": "#6d7f91", "line": "#3a4959"},
    **{"c0": "#4aa8e0", "c1": "#f08a3c", "c2": "#2fc296", "c3": "#dd94bd"},
    **{"c4": "#f0b429", "c5": "#8fd0f5", "c6": "#b39ad6", "c7": "#9aa5b1"},
}
NUM_COLOURS = 8
DASHES = ((), (7, 3), (2, 3), (8, 3, 2, 3))
SHAPES = ("circle", "square", "triangle-up", "diamond", "triangle-down")
# Similar colours have unlike shapes: 40 names can be distinguished.
_FIRST_SHAPES = (0, 1, 2, 3, 4, 3, 2, 1)
FONT = "DejaVu Sans, Verdana, Helvetica, Arial, sans-serif"


def token(name: str) -> str:
    """A colour that follows the page's theme, such as "var(--muted)"."""
    return f"var(--{name})"


class Style(NamedTuple):
    """How a name is drawn: a token, lengths of dashes and gaps, a symbol."""

    colour: str
    dash: tuple[int, ...]
    shape: str


NO_GROUP = Style(token("muted"), (), SHAPES[0])


def style_at(index: int) -> Style:
    """The style of the slot `index`."""
    turn, colour = divmod(index, NUM_COLOURS)
    return Style(
        token(f"c{colour}"),
        DASHES[turn % len(DASHES)],
        SHAPES[(_FIRST_SHAPES[colour] + turn) % len(SHAPES)],
    )


class Look:
    """The registry of a page: a name has one style, whichever chart it is in.

    Models and groups are counted apart. Names that a chart shows at first come first,
    so that these differ where at most 32 are shown.
    """

    def __init__(self, models: Iterable[str] = (), groups: Iterable[str] = ()):
        self._models = {name: i for i, name in enumerate(dict.fromkeys(models))}
        self._groups = {name: i for i, name in enumerate(dict.fromkeys(groups))}

    @classmethod
    def of(cls, charts: Iterable[Chart]) -> "Look":
        """The registry for some charts, such as all charts of a page."""
        flat = list(_flat(charts))
        models = [name for chart in flat for name in _shown(chart)]
        models += [name for chart in flat for name in _models(chart)]
        return cls(models, [name for chart in flat for name in _groups(chart)])

    @classmethod
    def of_page(cls, page: Page) -> "Look":
        """The registry of a page."""
        return cls.of(chart for section in page.sections for chart in section.charts)

    def model_slot(self, name: str) -> int:
        """The slot of a model; the next free one where it has none yet."""
        return self._models.setdefault(name, len(self._models))

    def group_slot(self, name: str) -> int:
        """The slot of a group; the next free one where it has none yet."""
        return self._groups.setdefault(name, len(self._groups))

    def of_model(self, name: str) -> Style:
        """The style of a model."""
        return style_at(self.model_slot(name))

    def of_group(self, name: str | None) -> Style:
        """The style of a group; grey for those that belong to none."""
        return NO_GROUP if not name else style_at(self.group_slot(name))


def _flat(charts: Iterable[Chart]) -> Iterator[Chart]:
    for chart in charts:
        if isinstance(chart, Panels):
            yield from chart.panels.values()
        else:
            yield chart


def _shown(chart: Chart) -> Iterable[str]:
    if isinstance(chart, Curves):
        return chart.shown or tuple(chart.lines)[:NUM_COLOURS]
    return chart.shown if isinstance(chart, Ranks) else ()


def _models(chart: Chart) -> Iterable[str]:
    if isinstance(chart, Curves):
        return chart.lines
    return chart.ranks if isinstance(chart, Ranks) else ()


def _groups(chart: Chart) -> Iterable[str]:
    if isinstance(chart, Scatter):
        names = dict.fromkeys(n for point in chart.points for n in point.groups)
        order = [chart.group, *(name for name in names if name != chart.group)]
        for name in order:
            yield from by_size(p.groups[name] for p in chart.points if name in p.groups)
    elif isinstance(chart, Ranks):
        yield from by_size(chart.groups.values())
    elif isinstance(chart, Distributions):
        for samples in chart.panels.values():
            yield from (one.group for one in samples if one.group)


def by_size(names: Iterable[str]) -> list[str]:
    """Names, each once: the most frequent first, equals by name."""
    counts: dict[str, int] = {}
    for name in names:
        counts[name] = counts.get(name, 0) + 1
    return sorted(counts, key=lambda name: (-counts[name], name))
