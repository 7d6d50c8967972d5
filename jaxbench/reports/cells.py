"""How numbers and names are shown. Fractions become percent here and nowhere before."""

import csv
import io
import json
import math
import re
from collections import Counter
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from typing import Any

import rich.box
import rich.table
import rich.text

from jaxbench.reports.metric_texts import metric_text
from jaxbench.studies.entries import Row, is_number

MISSING = "-"


@dataclass(frozen=True)
class Column:
    """A column of a table.

    Attributes:
        heading: As shown.
        numeric: Whether it holds numbers.
        help: Its meaning in a line.
        name: In files, such as the metric's name; made from the heading when "".
    """

    heading: str
    numeric: bool = False
    help: str = ""
    name: str = ""

    @property
    def key(self) -> str:
        """The column's name in files."""
        return self.name or column_name(self.heading)


@dataclass(frozen=True)
class Cell:
    """What is shown, what the column is sorted by, and the ends of its interval."""

    text: str
    value: float | int | str | None = None
    low: float | None = None
    high: float | None = None

    @property
    def numbers(self) -> str:
        """Value and ends for a page: whole numbers in full, else seven digits."""
        if not isinstance(self.value, float | int) or not math.isfinite(self.value):
            return ""
        ends = () if self.low is None or self.high is None else (self.low, self.high)
        return " ".join(
            str(int(number)) if number == int(number) else f"{number:.7g}"
            for number in (self.value, *ends)
        )


@dataclass(frozen=True)
class Table:
    """Columns and rows of cells."""

    columns: tuple[Column, ...]
    rows: tuple[tuple[Cell, ...], ...]

    def keys(self) -> list[str]:
        """Names of the columns in files, `Kept %` kept_share beside `Kept`."""
        names = [column.key for column in self.columns]
        times = Counter(names)
        return [
            f"{name}_share"
            if times[name] > 1 and column.heading.endswith(" %")
            else name
            for name, column in zip(names, self.columns, strict=True)
        ]

    def only(self, kept: Iterable[int]) -> "Table":
        """The columns of these numbers."""
        kept = list(kept)
        columns = tuple(self.columns[i] for i in kept)
        return Table(columns, tuple(tuple(row[i] for i in kept) for row in self.rows))

    def without_empty(self, keep: Collection[str] = ()) -> "Table":
        """Without the columns that are empty in every row, but for those of `keep`."""
        return self.only(
            number
            for number, name in enumerate(self.keys())
            if name in keep
            or not self.rows
            or any(row[number].text not in ("", MISSING) for row in self.rows)
        )

    def values(self) -> tuple[list[str], list[list[Any]]]:
        """Names and values, unscaled; the ends of intervals as NAME_low, NAME_high."""
        header: list[str] = []
        parts: list[list[Any]] = []
        for place, name in enumerate(self.keys()):
            cells = [row[place] for row in self.rows]
            header.append(name)
            parts.append([cell.value for cell in cells])
            if any(cell.low is not None for cell in cells):
                header += [f"{name}_low", f"{name}_high"]
                parts += [[cell.low for cell in cells], [cell.high for cell in cells]]
        return header, [list(row) for row in zip(*parts, strict=True)]

    def to_csv(self) -> str:
        """Comma-separated values; see `values`."""
        header, rows = self.values()
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(header)
        for row in rows:
            writer.writerow("" if value is None else value for value in row)
        return text.getvalue()

    def to_json(self) -> str:
        """A list of objects, one a row; what is missing or not finite is null."""
        header, rows = self.values()
        records = [dict(zip(header, map(_plain, row), strict=True)) for row in rows]
        return json.dumps(records, indent=1, ensure_ascii=False) + "\n"

    def to_markdown(self) -> str:
        """A pipe table, as shown."""
        rules = ["---:" if column.numeric else "---" for column in self.columns]
        heads = [_markdown(column.heading) for column in self.columns]
        body = [[_markdown(text) for text in row] for row in self.texts()]
        lines = [f"| {' | '.join(line)} |" for line in (heads, rules, *body)]
        return "\n".join(lines) + "\n"

    def to_latex(self) -> str:
        """A `tabular` for the package booktabs, as shown."""
        kinds = "".join("r" if column.numeric else "l" for column in self.columns)
        lines = [
            f"\\begin{{tabular}}{{{kinds}}}",
            "\\toprule",
            _latex_line(latex(column.heading) for column in self.columns),
            "\\midrule",
        ]
        for row in self.texts():
            texts = (
                _INTERVAL.sub(r" {\\scriptsize \1}", latex(text))
                if column.numeric
                else latex(text)
                for text, column in zip(row, self.columns, strict=True)
            )
            lines.append(_latex_line(texts))
        return "\n".join([*lines, "\\bottomrule", "\\end{tabular}"]) + "\n"

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


_INTERVAL = re.compile(r" (\[[^\]]*\])$")
_LATEX = {
    **{
        "\\": r"\textbackslash{}",
        "~": r"\textasciitilde{}",
        "^": r"\textasciicircum{}",
    },
    **{"↑": r"$\uparrow$", "↓": r"$\downarrow$", "\u00d7": r"$\times$"},
    **{character: f"\\{character}" for character in "&%$#_{}"},
}
_MOST_DIGITS = 6


def latex(text: str) -> str:
    """A text for LaTeX: its special characters are escaped."""
    return "".join(_LATEX.get(character, character) for character in text)


def _latex_line(texts: Iterable[str]) -> str:
    return " & ".join(texts) + r" \\"


def _markdown(text: str) -> str:
    return re.sub(r"([\\|])", r"\\\1", " ".join(text.split()))


def _plain(value: Any) -> Any:
    is_finite = not isinstance(value, float) or math.isfinite(value)
    return value if is_finite else None


def column_name(heading: str) -> str:
    """A heading as a column name: `Mean %` is mean, `ECE (T*) %` ece_ts."""
    text = heading.replace("(T*)", "ts").replace("T*", "temperature")
    text = text.replace("Δ", "delta").lower()
    # A point stays inside a number: `scale 1.5`.
    text = re.sub(r"(?<!\d)\.|\.(?!\d)", "_", text)
    return re.sub(r"[^a-z0-9.]+", "_", text).strip("_")


def metric_heading(name: str) -> str:
    """A metric's heading with its unit."""
    text = metric_text(name)
    return f"{text.heading}{text.unit}"


def metric_column(name: str) -> Column:
    """The column of a metric."""
    text = metric_text(name)
    arrow = f" {text.direction}" if text.direction else ""
    heading = f"{metric_heading(name)}{arrow}"
    return Column(heading, numeric=True, help=text.meaning, name=name)


def format_numbers(values: Collection[float], digits: int, sign: str = "") -> list[str]:
    """Numbers with the same decimals, more than asked where all would be zeros.

    Args:
        values: Finite numbers that are shown together, such as a value and the ends of
            its interval.
        digits: Decimals, where they say something.
        sign: "+" to show the sign of positive numbers.
    """
    largest = max(map(abs, values), default=0.0)
    if largest == 0:
        return ["0"] * len(values) if len(values) > 1 else [f"{0:.{digits}f}"]
    if largest < 10.0**-digits:
        digits = 1 - math.floor(math.log10(largest))
    form = f"{sign}.1e" if digits > _MOST_DIGITS else f"{sign}z.{digits}f"
    return [format(value, form) for value in values]


def format_value(
    value: float | None, *, percent: bool = False, digits: int = 3, scale: int = 1
) -> str:
    """A number as shown: 0.9312 is 93.1 in percent; a missing one is a dash."""
    if value is None:
        return MISSING
    if not is_number(value):
        return "NaN"
    if math.isinf(value):
        return str(value)
    scale, digits = (100, 1) if percent else (scale, digits)
    return format_numbers([scale * value], digits)[0]


def format_interval(
    value: float | None,
    low: float | None,
    high: float | None,
    *,
    percent: bool = False,
    digits: int = 3,
    scale: int = 1,
    sign: str = "",
) -> str:
    """`value [low, high]`, or the value alone where the interval is missing."""
    if not (is_number(value) and is_number(low) and is_number(high)):
        if sign and is_number(value):
            scale, digits = (100, 1) if percent else (scale, digits)
            return format_numbers([scale * value], digits, sign)[0]
        return format_value(value, percent=percent, digits=digits, scale=scale)
    scale, digits = (100, 1) if percent else (scale, digits)
    if not all(map(math.isfinite, (value, low, high))):
        return f"{scale * value:g} [{scale * low:g}, {scale * high:g}]"
    texts = format_numbers(
        [scale * number for number in (value, low, high)], digits, sign
    )
    return f"{texts[0]} [{texts[1]}, {texts[2]}]"


def metric_value(value: float | None, name: str) -> str:
    """A value of a metric as shown, in its unit."""
    text = metric_text(name)
    return format_value(value, percent=text.percent, scale=text.scale)


def metric_interval(
    value: float | None, low: float | None, high: float | None, name: str
) -> str:
    """A value of a metric with its interval, in its unit."""
    text = metric_text(name)
    return format_interval(value, low, high, percent=text.percent, scale=text.scale)


def metric_cell(row: Row, name: str) -> Cell:
    """A metric of a row with its interval."""
    ends = (row.get(f"{name}_low"), row.get(f"{name}_high"))
    return measured_cell(row.get(name), *ends, name)


def measured_cell(
    value: float | None, low: float | None, high: float | None, name: str
) -> Cell:
    """A value of a metric with its interval."""
    return _cell(metric_interval(value, low, high, name), value, low, high)


def interval_cell(
    value: float | None, low: float | None, high: float | None, *, percent: bool = False
) -> Cell:
    """A number with its interval, whose ends a file has in columns of their own."""
    text = format_interval(value, low, high, percent=percent)
    return _cell(text, value, low, high)


def _cell(
    text: str, value: float | None, low: float | None, high: float | None
) -> Cell:
    if not is_number(value):
        return Cell(text)
    if not (is_number(low) and is_number(high)):
        return Cell(text, value)
    return Cell(text, value, low, high)


def text_cell(value: Any) -> Cell:
    """A setting or a name."""
    if value is None:
        return Cell(MISSING, None)
    if isinstance(value, float):
        return Cell(f"{value:g}", value)
    return Cell(str(value), value if isinstance(value, int) else str(value))


def percent_cell(value: float) -> Cell:
    """A fraction in percent; a dash where it is not finite."""
    return _finite_cell(value, format_value(value, percent=True))


def decimal_cell(value: float, digits: int) -> Cell:
    """A number to some decimals."""
    return _finite_cell(value, format_value(value, digits=digits))


def number_cell(value: float) -> Cell:
    """A setting, as short as it can be written."""
    return _finite_cell(value, f"{value:g}")


def significant_cell(value: float | None) -> Cell:
    """A positive number to three digits or to the whole number."""
    if value is None or not math.isfinite(value):
        return Cell(MISSING, None)
    digits = max(0, 2 - math.floor(math.log10(value))) if value > 0 else 0
    return Cell(f"{value:,.{digits}f}", value)


def megabytes_cell(value: float | None) -> Cell:
    """Bytes in units of a million."""
    return significant_cell(None if value is None else value / 1e6)


def _finite_cell(value: float, text: str) -> Cell:
    return Cell(text, value) if math.isfinite(value) else Cell(MISSING, None)
