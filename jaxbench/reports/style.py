"""The look of every figure, and its way into a file or a page.

Figures use matplotlib's object interface: no pyplot, so no state that two reports
could share. Text stays text in SVG, which keeps the files small and searchable.
"""

import io
import itertools
import re
import textwrap
import warnings
import zlib
from collections.abc import Iterable, Sequence
from typing import Any

import matplotlib as mpl
from cycler import cycler
from matplotlib.axes import Axes
from matplotlib.figure import Figure

# Okabe and Ito's palette, safe for colour-blind readers, without its yellow, which is
# too pale for lines: https://jfly.uni-koeln.de/color/.
PALETTE = (
    "#0072b2",
    "#d55e00",
    "#009e73",
    "#cc79a7",
    "#e69f00",
    "#56b4e9",
    "#8c6bb1",
    "#6b7280",
)
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "<", ">", "*", "h", "p")
DASHES = ("-", "--", ":", "-.")

# Colours that a page replaces by its own, so that figures follow light and dark.
INK, MUTED, GRID, CARD = "#1f2933", "#52606d", "#d9e2ec", "#fefefe"
_PAGE_COLOURS = {INK: "--ink", MUTED: "--muted", GRID: "--grid", CARD: "--card"}

STYLE: dict[Any, Any] = {
    "font.family": "sans-serif",
    "font.size": 10,
    "axes.titlesize": 10.5,
    "axes.titleweight": "bold",
    "axes.labelsize": 10,
    "axes.edgecolor": MUTED,
    "axes.facecolor": CARD,
    "axes.labelcolor": INK,
    "axes.titlecolor": INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "axes.grid": True,
    "axes.prop_cycle": cycler(color=PALETTE),
    "figure.facecolor": CARD,
    "grid.color": GRID,
    "grid.linewidth": 0.8,
    "legend.frameon": False,
    "legend.fontsize": 9,
    "lines.linewidth": 1.8,
    "text.color": INK,
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "xtick.labelsize": 9,
    "ytick.labelsize": 9,
}
# A fixed salt makes the SVG's ids, and so the file, the same for the same figure.
_SAVE: dict[Any, Any] = {"svg.fonttype": "none", "svg.hashsalt": "jaxbench"}
_MAX_LABEL, _MAX_LINES = 44, 4

styled = mpl.rc_context(STYLE)


def new_figure(width: float, height: float) -> Figure:
    """An empty figure, in inches, whose labels never overlap its axes."""
    return Figure(figsize=(width, height), layout="constrained")


def grid_of_axes(
    count: int, *, columns: int = 3, width: float = 3.1, height: float = 2.9
) -> tuple[Figure, list[Axes]]:
    """A figure of `count` panels, left to right and top to bottom."""
    columns = max(1, min(columns, count))
    rows = -(-max(count, 1) // columns)
    # One panel alone is a whole figure.
    wide = 5.6 if columns == 1 else width * columns
    figure = new_figure(wide, 3.4 if rows == columns == 1 else height * rows)
    axes = figure.subplots(rows, columns, squeeze=False)
    panels = list(axes.flat)
    for extra in panels[count:]:
        extra.set_axis_off()
    return figure, panels[:count]


def line_style(index: int) -> dict[str, Any]:
    """Colour and dash of curve number `index`; unlike for the first 32."""
    dash = DASHES[index // len(PALETTE) % len(DASHES)]
    return {"color": PALETTE[index % len(PALETTE)], "linestyle": dash}


def label_text(text: str) -> str:
    """A user's name as a label: never read as mathematics, never too long.

    A long one goes on in another line, since names often differ at their ends alone;
    one of too many lines loses its middle and has a checksum in its place.
    """
    most = _MAX_LABEL * _MAX_LINES
    if len(text) > most:
        cut = f"...{zlib.crc32(text.encode()):08x}..."
        text = text[: most // 2 - len(cut)] + cut + text[len(cut) - most // 2 :]
    if len(text) > _MAX_LABEL:
        text = textwrap.fill(text, _MAX_LABEL, break_on_hyphens=False)
    # A legend leaves out labels that begin with an underscore.
    text = f" {text}" if text.startswith("_") else text
    return text.replace("$", r"\$")


def label_inches(labels: Iterable[str]) -> float:
    """Room that the longest line of labels needs, in inches."""
    lines = (line for label in labels for line in label_text(label).split("\n"))
    return 0.075 * max(map(len, lines), default=0)


def legend_below(figure: Figure, axes: Sequence[Axes], note: str = "") -> None:
    """One legend for all panels, under them, with a note on what is not shown."""
    entries = {}
    for handle, label in itertools.chain.from_iterable(
        zip(*axis.get_legend_handles_labels(), strict=True) for axis in axes
    ):
        entries.setdefault(label, handle)
    if not entries and not note:
        return
    lines = [label.split("\n") for label in entries]
    longest = max((len(line) for label in lines for line in label), default=1)
    # About 12 characters of this size to the inch, and six for the line before them.
    fitting = int(figure.get_figwidth() * 12 / (longest + 6))
    columns = max(1, min(len(entries), fitting))
    each = max(map(len, lines), default=1)
    rows = -(-len(entries) // columns) * each + bool(note)
    figure.set_figheight(figure.get_figheight() + 0.19 * rows)
    figure.legend(
        list(entries.values()),
        list(entries),
        loc="outside lower center",
        ncols=columns,
        title=note or None,
        title_fontsize=9,
    )


def show_nothing(axis: Axes, text: str) -> None:
    """Says in an empty panel why it is empty."""
    axis.grid(visible=False)
    axis.set_xticks([])
    axis.set_yticks([])
    axis.text(0.5, 0.5, text, ha="center", va="center", transform=axis.transAxes)


def render(figure: Figure, file_format: str) -> bytes:
    """A figure as the content of a file, the same for the same figure.

    Args:
        figure: From `jaxbench.reports.figures`.
        file_format: "svg", "png" or "pdf".
    """
    metadata = {"svg": {"Date": None}, "pdf": {"CreationDate": None}}
    buffer = io.BytesIO()
    with mpl.rc_context(_SAVE), warnings.catch_warnings():
        # A browser has the glyphs that matplotlib's own font lacks.
        warnings.filterwarnings("ignore", message="Glyph .* missing from")
        figure.savefig(
            buffer,
            format=file_format,
            dpi=150,
            metadata=metadata.get(file_format, {"Software": None}),
        )
    # The layout stands after the first drawing; another format need not redo it.
    figure.set_layout_engine("none")
    return buffer.getvalue()


def inline_svg(content: bytes, name: str) -> str:
    """An SVG file as an element of a page.

    The page's colours replace the figure's, ids get a prefix so that figures do not
    share them, and everything that a page does not need is left out.
    """
    text = content.decode()
    text = text[text.index("<svg") :]
    text = re.sub(r"<metadata>.*?</metadata>", "", text, flags=re.DOTALL)
    text = re.sub(r'\s(xmlns(:\w+)?|version)="[^"]*"', "", text)
    text = re.sub(r'(?<=\bid=")', f"{name}-", text)
    text = re.sub(r'(?<=xlink:href="#)', f"{name}-", text).replace("xlink:href", "href")
    text = re.sub(r"(?<=url\(#)", f"{name}-", text)
    for colour, variable in _PAGE_COLOURS.items():
        text = text.replace(colour, f"var({variable})")
    text = re.sub(r"<!--.*?-->", "", text, flags=re.DOTALL)
    box = re.search(r'viewBox="0 0 ([\d.]+) [\d.]+"', text)
    if box is None:
        raise ValueError(f"figure {name!r}: the SVG has no viewBox, so no size")
    width = 1.25 * float(box[1])
    opening = f'<svg role="img" {box[0]} style="max-width:{width:.0f}px">'
    text = re.sub(r"<svg[^>]*>", opening, text, count=1)
    return re.sub(r"\n\s*", "\n", text).strip()
