"""A figure of a report with its caption."""

from dataclasses import dataclass

from matplotlib.figure import Figure


@dataclass(frozen=True)
class Exhibit:
    """A figure, its name in a file, and how to read it."""

    name: str
    title: str
    caption: str
    figure: Figure
