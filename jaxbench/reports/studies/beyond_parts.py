"""What the parts of the page beyond accuracy are made from, and how numbers look."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from jaxbench.reports.cells import Cell, format_interval, interval_cell
from jaxbench.reports.page import Finding, Interval, Section
from jaxbench.reports.studies.beside import Beside
from jaxbench.results import ResultStore
from jaxbench.studies.models import Model
from jaxbench.studies.resampling import Resampling
from jaxbench.studies.shape_bias import Share


@dataclass(frozen=True)
class Study:
    """What every part of the page is made from.

    Attributes:
        store: The folder.
        models: The best on the reference first.
        reference: Address of the clean dataset.
        charted: Labels of the models with curves.
        resampling: The draws behind intervals.
    """

    store: ResultStore
    models: Sequence[Model]
    reference: str
    charted: tuple[str, ...]
    resampling: Resampling


@dataclass
class Part:
    """What one analysis adds to the page.

    Attributes:
        sections: Tables and charts.
        findings: Answers.
        notes: What was left out, and why.
        scores: Label of a model to measure to value with its interval.
        beside: Own numbers with the published ones.
        differs: In what these are of something else, in sentences.
    """

    sections: list[Section] = field(default_factory=list)
    findings: list[Finding] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    scores: dict[str, dict[str, Interval]] = field(default_factory=dict)
    beside: list[Beside] = field(default_factory=list)
    differs: list[str] = field(default_factory=list)

    def score(self, label: str, measure: str, value: Interval | Share) -> None:
        """Keeps a number for the comparison of models and groups."""
        if np.isfinite(value[0]):
            low, high = value[1], value[2]
            self.scores.setdefault(label, {})[measure] = (value[0], low, high)

    def compare(
        self,
        model: Model,
        measure: str,
        own: Interval | Share | None,
        published: float | None,
        *,
        percent: bool = True,
    ) -> None:
        """Keeps a number of a model beside the published one, if there are both."""
        if not model.published or own is None or published is None:
            return
        if np.isfinite(own[0]):
            ends = (own[0], own[1], own[2])
            title = model.published.title
            row = Beside(model.label, title, measure, ends, published, percent)
            self.beside.append(row)


def slug(text: str) -> str:
    """A name as part of a file name."""
    return re.sub(r"[^A-Za-z0-9_.-]+", "-", text).strip("-")


def share_text(value: Share | Interval) -> str:
    """A fraction in percent with its interval."""
    return format_interval(*value, percent=True)


def share_cell(value: Share | Interval | None) -> Cell:
    """The same as a cell; a dash where there is none."""
    if value is None or not np.isfinite(value[0]):
        return Cell("-", None)
    return interval_cell(*_floats(value), percent=True)


def signed_cell(value: Share | Interval | None) -> Cell:
    """A difference of fractions in points, with its sign."""
    if value is None or not np.isfinite(value[0]):
        return Cell("-", None)
    mean, low, high = _floats(value)
    return Cell(signed_text(value), mean, low, high)


def _floats(
    value: Share | Interval,
) -> tuple[float, float | None, float | None]:
    """Mean and ends; no ends where they are not finite."""
    mean, low, high = value
    if low is None or high is None or not np.isfinite([low, high]).all():
        return float(mean), None, None
    return float(mean), float(low), float(high)


def signed_text(value: Share | Interval) -> str:
    """A difference of fractions in points, with its sign and interval."""
    mean, low, high = _floats(value)
    if low is None or high is None:
        return f"{100 * mean:+.1f}"
    return f"{100 * mean:+.1f} [{100 * low:+.1f}, {100 * high:+.1f}]"
