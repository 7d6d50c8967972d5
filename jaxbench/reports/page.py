"""A study's page as a value: what its template draws and its command writes.

A study builds a `Page` from results; it knows neither HTML nor files. One template
shows every page, so that all studies read alike.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from jaxbench.reports.cells import Table
from jaxbench.reports.exhibit import Exhibit

# A run-time checker tells whole numbers from others: positions and counts are welcome.
Number = float | int
Numbers = Sequence[Number]
# Value, lower and upper end; the ends are None where there is no interval.
Interval = tuple[Number, Number | None, Number | None]


@dataclass(frozen=True)
class Point:
    """One model of a scatter.

    Attributes:
        label: Its name.
        values: Metric to value with its interval; fractions. A metric may be missing.
        groups: Grouping to group, such as {"family": "ResNet", "regime": "distilled"}.
        details: What a tooltip says besides: heading to text.
    """

    label: str
    values: Mapping[str, Interval]
    groups: Mapping[str, str] = field(default_factory=dict)
    details: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Scatter:
    """Models as points; the reader chooses both axes and the grouping.

    Attributes:
        name: Of the files of its still picture.
        points: The models.
        x: Metric that the horizontal axis starts with.
        y: Likewise, the vertical one.
        group: Grouping that colours start with; "" for none.
        headings: Metric to how it is called; a metric that is not named here is looked
            up in `METRIC_TEXTS`.
        percent: Metrics that are shown in percent, besides those that `METRIC_TEXTS`
            shows so.
        heading: Over the chart; needed where a section has several.
        caption: How to read it.
    """

    name: str
    points: tuple[Point, ...]
    x: str
    y: str
    group: str = ""
    headings: Mapping[str, str] = field(default_factory=dict)
    percent: frozenset[str] = frozenset()
    heading: str = ""
    caption: str = ""


@dataclass(frozen=True)
class Curves:
    """Curves of models side by side; the reader chooses which are shown.

    Attributes:
        name: Of the files of its still picture.
        lines: Model to its points (x, y), at most some hundreds; a y that is not finite
            leaves a gap.
        x_title: Of the horizontal axis.
        y_title: Of the vertical one.
        kind: "risk" (risk-coverage), "reliability" (with its diagonal) or "plain".
        shown: Models shown at first; all when empty.
        bands: Model to (lower, upper) at each x, if there are intervals.
        percent: Axes ("x", "y") in percent.
        x_labels: Names of the positions 0, 1, ... where x is no number.
        heading: Over the chart; needed where a section has several.
        caption: How to read it.
    """

    name: str
    lines: Mapping[str, tuple[Numbers, Numbers]]
    x_title: str
    y_title: str
    kind: str = "plain"
    shown: tuple[str, ...] = ()
    bands: Mapping[str, tuple[Numbers, Numbers]] = field(default_factory=dict)
    percent: frozenset[str] = frozenset()
    x_labels: tuple[str, ...] = ()
    heading: str = ""
    caption: str = ""


@dataclass(frozen=True)
class Ranks:
    """A rank-flow (bump) chart: one line a model over the datasets.

    Attributes:
        name: Of the files of its still picture.
        datasets: Columns, the reference first.
        ranks: Model to its rank on each dataset, 1 the best; None where it is missing.
            Tied models share the mean of their ranks.
        shown: Models that are highlighted at first.
        groups: Model to group, for colours.
        heading: Over the chart; needed where a section has several.
        caption: How to read it.
    """

    name: str
    datasets: tuple[str, ...]
    ranks: Mapping[str, tuple[Number | None, ...]]
    shown: tuple[str, ...] = ()
    groups: Mapping[str, str] = field(default_factory=dict)
    heading: str = ""
    caption: str = ""


@dataclass(frozen=True)
class HeatMap:
    """A matrix of numbers with names on both sides.

    Attributes:
        name: Of the files of its still picture.
        rows: Names, from the top.
        columns: Names, from the left.
        values: A row of numbers for each name of `rows`; None where there is none.
        title: Of the colour scale.
        percent: Whether values are fractions shown in percent.
        diverging: Whether zero is the middle of the colours.
        digits: Decimals of the numbers; one less in percent.
        heading: Over the chart; needed where a section has several.
        caption: How to read it.
    """

    name: str
    rows: tuple[str, ...]
    columns: tuple[str, ...]
    values: tuple[tuple[Number | None, ...], ...]
    title: str
    percent: bool = False
    diverging: bool = False
    digits: int = 2
    heading: str = ""
    caption: str = ""


Interactive = Scatter | Curves | Ranks | HeatMap


@dataclass(frozen=True)
class Section:
    """A part of a page.

    Attributes:
        name: Its anchor, and the file name of its table.
        heading: Its title.
        caption: How to read it, and whose definition it is.
        table: Numbers, if any.
        charts: What the reader can work with; each also becomes a still picture.
        exhibits: Still pictures.
    """

    name: str
    heading: str
    caption: str
    table: Table | None = None
    charts: tuple[Interactive, ...] = ()
    exhibits: tuple[Exhibit, ...] = ()


@dataclass(frozen=True)
class Finding:
    """One of the study's answers, with its number.

    Attributes:
        title: A few words.
        value: The number, with its interval, as shown.
        text: A sentence on what it means and how it was found.
    """

    title: str
    value: str
    text: str


@dataclass(frozen=True)
class Page:
    """A study's page.

    Attributes:
        name: The study's name in `STUDIES`.
        title: Heading.
        question: What the study asks, in a sentence.
        reference: Address of the paper.
        facts: Heading to text: models, datasets, images, dates, versions.
        findings: The answers.
        sections: Tables and figures, in order.
        notes: What a reader must know: what is ours, what was left out and why.
    """

    name: str
    title: str
    question: str
    reference: str
    facts: tuple[tuple[str, str], ...]
    findings: tuple[Finding, ...]
    sections: tuple[Section, ...]
    notes: tuple[str, ...] = ()
