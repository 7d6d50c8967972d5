"""How numbers and names are shown. Fractions become percent here and nowhere before."""

from dataclasses import dataclass
from typing import Any

import rich.box
import rich.table
import rich.text

from jaxbench.reports.entries import Row, is_number

MISSING = "-"


@dataclass(frozen=True)
class MetricText:
    """How a metric is shown: its heading, its unit, and what it means in a line."""

    heading: str
    meaning: str
    percent: bool = True
    direction: str = "↑"


METRIC_TEXTS = {
    "accuracy": MetricText(
        "Accuracy", "share of images whose most probable class is the label"
    ),
    "nll": MetricText(
        "NLL", "mean negative log-probability of the label, in nats", False, "↓"
    ),
    "brier": MetricText(
        "Brier",
        "mean squared distance of the probabilities to the label, from 0 to 2",
        False,
        "↓",
    ),
    "ece": MetricText(
        "ECE",
        "expected calibration error: mean gap between confidence and accuracy over 15 "
        "equal bins",
        direction="↓",
    ),
    "auroc": MetricText(
        "AUROC", "chance that a right answer has more confidence than a wrong one"
    ),
    "aurc": MetricText(
        "AURC",
        "error rate averaged over all coverages, answering the most confident first",
        False,
        "↓",
    ),
    "coverage_at_95_accuracy": MetricText(
        "Cov@95", "share that can be answered if 95% of the answers must be right"
    ),
    "coverage_at_99_accuracy": MetricText(
        "Cov@99", "share that can be answered if 99% of the answers must be right"
    ),
    "top_5_accuracy": MetricText(
        "Top-5", "share of images whose label is among the five most probable classes"
    ),
    "mean_confidence": MetricText(
        "Confidence",
        "mean probability of the predicted class; above accuracy means overconfident",
        direction="",
    ),
    "ood_auroc_max_softmax": MetricText(
        "OOD AUROC, softmax",
        "chance that a known image scores above a foreign one, by largest probability",
    ),
    "ood_auroc_max_logit": MetricText(
        "OOD AUROC, logit", "the same, scored by the largest logit"
    ),
    "ood_auroc_energy": MetricText(
        "OOD AUROC, energy", "the same, scored by the logsumexp of the logits"
    ),
    "ood_fpr95_max_softmax": MetricText(
        "OOD FPR95, softmax",
        "share of foreign images let in when 95% of the known ones are, by largest "
        "probability",
        direction="↓",
    ),
    "ood_fpr95_max_logit": MetricText(
        "OOD FPR95, logit", "the same, scored by the largest logit", direction="↓"
    ),
    "ood_fpr95_energy": MetricText(
        "OOD FPR95, energy",
        "the same, scored by the logsumexp of the logits",
        direction="↓",
    ),
}


@dataclass(frozen=True)
class Column:
    """A column's heading, whether it holds numbers, and its one-line explanation."""

    heading: str
    numeric: bool = False
    help: str = ""


@dataclass(frozen=True)
class Cell:
    """What is shown, and what the column is sorted by."""

    text: str
    value: float | int | str | None = None


@dataclass(frozen=True)
class Table:
    """Columns and rows of cells."""

    columns: tuple[Column, ...]
    rows: tuple[tuple[Cell, ...], ...]

    def texts(self) -> list[list[str]]:
        """The shown text of every cell."""
        return [[cell.text for cell in row] for row in self.rows]

    def to_rich(self, title: str | None = None) -> rich.table.Table:
        """The table for a terminal."""
        # Names come from users: Text, since a plain string is read as markup.
        table = rich.table.Table(title=title, box=rich.box.SIMPLE_HEAD, pad_edge=False)
        for number, column in enumerate(self.columns):
            justify = "right" if column.numeric else "left"
            # The first column is what a row is about: rather cut than folded.
            heading = rich.text.Text(column.heading)
            table.add_column(heading, justify=justify, no_wrap=number == 0)
        for row in self.texts():
            table.add_row(*(rich.text.Text(text) for text in row))
        return table


def metric_text(name: str) -> MetricText:
    """How to show a metric; one that is not in the table is shown as a plain number."""
    base = name.removesuffix("_ts")
    known = METRIC_TEXTS.get(base)
    if known is None:
        return MetricText(name, "", percent=False, direction="")
    if base == name:
        return known
    meaning = f"{known.heading} after temperature scaling"
    return MetricText(f"{known.heading} (T*)", meaning, known.percent, known.direction)


def metric_column(name: str) -> Column:
    """The column of a metric."""
    text = metric_text(name)
    unit = " %" if text.percent else ""
    arrow = f" {text.direction}" if text.direction else ""
    return Column(f"{text.heading}{unit}{arrow}", numeric=True, help=text.meaning)


def format_value(value: float | None, *, percent: bool = False, digits: int = 3) -> str:
    """A number as shown: 0.9312 is 93.1 in percent; a missing one is a dash."""
    if value is None:
        return MISSING
    if not is_number(value):
        return "NaN"
    return f"{100 * value:.1f}" if percent else f"{value:.{digits}f}"


def format_interval(
    value: float | None, low: float | None, high: float | None, *, percent: bool = False
) -> str:
    """`value [low, high]`, or the value alone where the interval is missing."""
    shown = format_value(value, percent=percent)
    if not (is_number(value) and is_number(low) and is_number(high)):
        return shown
    ends = (format_value(end, percent=percent) for end in (low, high))
    return f"{shown} [{', '.join(ends)}]"


def metric_cell(row: Row, name: str) -> Cell:
    """A metric of a row with its interval."""
    value = row.get(name)
    ends = (row.get(f"{name}_low"), row.get(f"{name}_high"))
    shown = format_interval(value, *ends, percent=metric_text(name).percent)
    return Cell(shown, value if is_number(value) else None)


def text_cell(value: Any) -> Cell:
    """A setting or a name."""
    if value is None:
        return Cell(MISSING, None)
    if isinstance(value, float):
        return Cell(f"{value:g}", value)
    return Cell(str(value), value if isinstance(value, int) else str(value))
