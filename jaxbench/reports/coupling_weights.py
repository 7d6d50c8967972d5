"""The weights of a grid's best trials: tables and charts, pair by pair and by layer."""

from collections.abc import Iterable, Sequence

import numpy as np

from jaxbench.errors import counted
from jaxbench.reports.cells import (
    Column,
    Table,
    decimal_cell,
    percent_cell,
    text_cell,
)
from jaxbench.reports.coupling_tables import PAIR, pair_cells
from jaxbench.reports.page import Curves, Panels, Section
from jaxbench.studies.grid_weights import TOP_K, GridWeights
from jaxbench.studies.grids import Sweep
from jaxbench.studies.weight_statistics import LayerStatistics

# Pairs that a sentence names.
_SHOWN = 3
# Field of `LayerStatistics` to what it is called.
_MEASURES = {
    "alpha": "Alpha",
    "entropy": "Entropy",
    "norm": "L2 norm",
    "pca_energy": "PCA energy",
}


def weight_sections(sweep: Sweep, found: GridWeights, end: str = "") -> list[Section]:
    """The weights of the best trial of each pair, by pair and by layer.

    Args:
        sweep: The grid.
        found: What `measure_grid_weights` found.
        end: What names of sections and charts end in, where a page has several grids.

    Returns:
        A section that says what is missing, if no weights are stored.
    """
    lost = _lost(sweep, found)
    if not found.layers:
        text = "No layer-wise statistics of the weights." + lost
        return [Section(f"weights{end}", "Weights of the best trials", text)]
    return [
        Section(
            f"weights{end}",
            "Weights of the best trials",
            "Alpha: exponent of the tail of a kernel's spectrum; the study calls a "
            "smaller one better, and below 2 or above 6 a risk. Entropy: of the "
            f"histogram of its weights. PCA energy: variance in the first {TOP_K} "
            "components. Means over the layers; of several seeds, the first one's."
            + lost,
            _pair_table(sweep, found),
            charts=tuple(_panels(sweep, found, end)),
        ),
        Section(
            f"layers{end}",
            "Weights by layer",
            "The same, a row a layer; a dash where a number is not defined.",
            _layer_table(sweep, found),
            folded=True,
        ),
    ]


def _lost(sweep: Sweep, found: GridWeights) -> str:
    """A sentence on the pairs without statistics, and why; "" if there are none."""
    texts = []
    if found.missing:
        names = ", ".join(_names(sweep, found.missing[:_SHOWN]))
        names += ", ..." if len(found.missing) > _SHOWN else ""
        texts.append(
            f" The weights of {counted(len(found.missing), 'pair')} are missing "
            f"({names}); the command that trained them trains them anew where its "
            "weights are needed."
        )
    for pair, reason in found.unreadable.items():
        (name,) = _names(sweep, [pair])
        texts.append(f" The weights of {name} cannot be measured: {reason}.")
    return "".join(texts)


def _names(sweep: Sweep, pairs: Iterable[tuple[str, str]]) -> list[str]:
    return [f"{sweep.title(optimizer)} on {backbone}" for optimizer, backbone in pairs]


def _panels(sweep: Sweep, found: GridWeights, end: str) -> list[Panels]:
    """A chart a backbone, a panel a measure, a line an optimizer."""
    backbones = dict.fromkeys(backbone for _, backbone in found.layers)
    charts = []
    for number, backbone in enumerate(backbones, start=1):
        name = f"weights_by_layer_{number}{end}"
        lines = {
            sweep.title(optimizer): list(layers.values())
            for (optimizer, other), layers in found.layers.items()
            if other == backbone
        }
        panels = {
            title: _curves(f"{name}_{field}", title, field, lines)
            for field, title in _MEASURES.items()
        }
        caption = "Layers from the input on; the table by layer has their names."
        charts.append(Panels(name, panels, heading=backbone, caption=caption))
    return charts


def _curves(
    name: str, title: str, field: str, lines: dict[str, list[LayerStatistics]]
) -> Curves:
    return Curves(
        name,
        {
            label: (
                list(range(1, len(layers) + 1)),
                [getattr(layer, field) for layer in layers],
            )
            for label, layers in lines.items()
        },
        "Layer",
        title,
        percent=frozenset({"y"} if field == "pca_energy" else ()),
    )


def _pair_table(sweep: Sweep, found: GridWeights) -> Table:
    """The mean over the layers of each pair."""
    columns = (
        *PAIR,
        Column("Layers", True),
        Column("Alpha", True, "exponent of the tail of the spectrum"),
        Column("Entropy", True, "of the weights' histogram, nats"),
        Column("L2 norm", True),
        Column("PCA energy %", True, f"variance in the first {TOP_K} components"),
    )
    rows = []
    for (optimizer, backbone), layers in found.layers.items():
        means = [_mean(column) for column in zip(*layers.values(), strict=True)]
        rows.append(
            (
                *pair_cells(sweep, optimizer, backbone),
                text_cell(len(layers)),
                *(decimal_cell(value, 3) for value in means[:3]),
                percent_cell(means[3]),
            )
        )
    return Table(columns, tuple(rows))


def _layer_table(sweep: Sweep, found: GridWeights) -> Table:
    measures = (Column(title, True) for title in _MEASURES.values())
    columns = (*PAIR, Column("Number", True), Column("Layer"), *measures)
    rows = (
        (
            *pair_cells(sweep, *pair),
            text_cell(number),
            text_cell(layer),
            *(decimal_cell(value, 3) for value in values),
        )
        for pair, layers in found.layers.items()
        for number, (layer, values) in enumerate(layers.items(), start=1)
    )
    return Table(columns, tuple(rows))


def _mean(values: Sequence[float]) -> float:
    """Of the layers that have the number; NaN where none has."""
    known = np.array(values)[np.isfinite(values)]
    return float(known.mean()) if known.size else float("nan")
