"""A page as a value: what its template draws and its command writes.

A report or a study builds a `Page` from results; it knows neither HTML nor files. One
template shows every page, so that all of them read alike.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from jaxbench.reports.cells import Table

# A run-time checker separates int from float: positions and counts are welcome.
Number = float | int
Numbers = Sequence[Number]
# Value, lower and upper end; the ends are None without an interval.
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
class Chart:
    """What every chart of a page has.

    Attributes:
        name: Of the files of its still picture.
        heading: Over the chart; needed where a section has several.
        caption: How to read it.
    """

    name: str
    heading: str = field(default="", kw_only=True)
    caption: str = field(default="", kw_only=True)


@dataclass(frozen=True)
class Scatter(Chart):
    """Models as points; the reader chooses both axes and the grouping.

    Attributes:
        points: The models.
        x: Metric that the horizontal axis starts with.
        y: Likewise, the vertical one.
        group: Grouping that colours start with; "" for none.
        headings: Metric to how it is called; a metric that is not named here is looked
            up in `METRIC_TEXTS`.
        percent: Metrics that are shown in percent, besides those that `METRIC_TEXTS`
            shows so.
    """

    points: tuple[Point, ...]
    x: str
    y: str
    group: str = ""
    headings: Mapping[str, str] = field(default_factory=dict)
    percent: frozenset[str] = frozenset()


@dataclass(frozen=True)
class Curves(Chart):
    """Curves of models side by side; the reader chooses which are shown.

    Attributes:
        lines: Model to its points (x, y), at most some hundreds; a y that is not finite
            leaves a gap.
        x_title: Of the horizontal axis.
        y_title: Of the vertical one.
        kind: "risk" (risk-coverage), "reliability" (with its diagonal) or "plain".
        shown: Models shown at first; all when empty.
        bands: Model to (lower, upper) at each x, if there are intervals.
        percent: Axes ("x", "y") in percent.
        x_labels: Names of the positions 0, 1, ... where x is not a number.
    """

    lines: Mapping[str, tuple[Numbers, Numbers]]
    x_title: str
    y_title: str
    kind: str = "plain"
    shown: tuple[str, ...] = ()
    bands: Mapping[str, tuple[Numbers, Numbers]] = field(default_factory=dict)
    percent: frozenset[str] = frozenset()
    x_labels: tuple[str, ...] = ()


@dataclass(frozen=True)
class Ranks(Chart):
    """A rank-flow (bump) chart: one line a model over the datasets.

    Attributes:
        datasets: Columns, the reference first.
        ranks: Model to its rank on each dataset, 1 the best; None where it is missing.
            Tied models share the mean of their ranks.
        shown: Models that are highlighted at first.
        groups: Model to group, for colours.
    """

    datasets: tuple[str, ...]
    ranks: Mapping[str, tuple[Number | None, ...]]
    shown: tuple[str, ...] = ()
    groups: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Panels(Chart):
    """Curves of the same models side by side, with one legend for all panels.

    Attributes:
        panels: Title of a panel to its curves; `shown` is that of the first.
    """

    panels: Mapping[str, Curves]


@dataclass(frozen=True)
class Bars(Chart):
    """Horizontal bars, one group of bars a label and one colour a series.

    Attributes:
        labels: From the top.
        series: Series to a value with its interval for each label; None where missing.
        title: Of the axis of values.
        percent: Whether values are fractions shown in percent.
        reference: Where a dashed line stands, such as 0.5 for an AUROC.
    """

    labels: tuple[str, ...]
    series: Mapping[str, tuple[Interval | None, ...]]
    title: str
    percent: bool = False
    reference: float | None = None


@dataclass(frozen=True)
class Samples:
    """One distribution: its values, and what a reader must know about them.

    Attributes:
        label: Whose they are, such as an optimizer.
        values: The values; NaN is left out.
        group: For the colour, where several distributions share a label.
        note: Shown beside the label, such as "failed" or "3 diverged".
    """

    label: str
    values: Numbers
    group: str = ""
    note: str = ""


@dataclass(frozen=True)
class Distributions(Chart):
    """Distributions, a panel a grouping: ridges (densities) or boxes.

    Attributes:
        panels: Title of a panel to its distributions, in one order of labels.
        kind: "ridge" (a density with a point a value) or "box" (quartiles, whiskers to
            the extremes, points sized by the share of equal values).
        title: Of the axis of values.
        percent: Whether values are fractions shown in percent.
    """

    panels: Mapping[str, tuple[Samples, ...]]
    kind: str
    title: str
    percent: bool = False


@dataclass(frozen=True)
class HeatMap(Chart):
    """A matrix of numbers with names on both sides.

    Attributes:
        rows: Names, from the top.
        columns: Names, from the left.
        values: A row of numbers for each name of `rows`; None where there is none.
        title: Of the colour scale.
        percent: Whether values are fractions shown in percent.
        diverging: Whether zero is the middle of the colours.
        digits: Decimals of the numbers; one less in percent.
        limits: Values of the first and the last colour, which those beyond them have
            too; those of the numbers when None.
        marks: (row, column) to a word shown with or instead of the number, such as
            "failed", "diverged" or "not trained"; drawn apart from plain numbers.
    """

    rows: tuple[str, ...]
    columns: tuple[str, ...]
    values: tuple[tuple[Number | None, ...], ...]
    title: str
    percent: bool = False
    diverging: bool = False
    digits: int = 2
    limits: tuple[Number, Number] | None = None
    marks: Mapping[tuple[str, str], str] = field(default_factory=dict)


@dataclass(frozen=True)
class Picture:
    """A thumbnail.

    Attributes:
        content: Bytes of a PNG or JPEG file.
        title: What it shows, also read aloud.
        text: A line under it.
    """

    content: bytes
    title: str
    text: str = ""


@dataclass(frozen=True)
class Section:
    """A part of a page.

    Attributes:
        name: Its anchor, and the file name of its table.
        heading: Its title.
        caption: How to read it, and whose definition it is.
        table: Numbers, if any.
        charts: What the reader can work with; each also becomes a still picture.
        pictures: Thumbnails.
        folded: Whether the table is shown only when the reader opens it.
        texts: Heading to a text shown as it is when the reader opens it: tracebacks.
    """

    name: str
    heading: str
    caption: str
    table: Table | None = None
    charts: tuple[Chart, ...] = ()
    pictures: tuple[Picture, ...] = ()
    folded: bool = False
    texts: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True)
class Finding:
    """One of the page's answers, with its number.

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
    """A page.

    Attributes:
        name: The study's name in `STUDIES`, or "report".
        title: Heading.
        question: What the study asks, in a sentence; "" for the report.
        reference: Address of the paper; "" where there is none.
        facts: Heading to text: models, datasets, images, dates, versions.
        findings: The answers.
        sections: Tables and figures, in order.
        notes: What a reader must know: what is ours, what was left out and why.
        made: How this was made, heading to text: command, configuration digest.
        provenance: Key, its meaning, its values with the number of runs that have them.
    """

    name: str
    title: str
    question: str
    reference: str
    facts: tuple[tuple[str, str], ...]
    findings: tuple[Finding, ...]
    sections: tuple[Section, ...]
    notes: tuple[str, ...] = ()
    made: tuple[tuple[str, str], ...] = ()
    provenance: tuple[tuple[str, str, str], ...] = ()
