"""Charts of the benchmark lottery."""

import math
import re

import numpy as np

from jaxbench.reports.page import HeatMap, Interval, Point, Ranks, Scatter
from jaxbench.studies.lottery_analysis import Lottery
from jaxbench.studies.regimes import UNKNOWN, model_family
from jaxbench.studies.shape_bias import accuracy_shares

# More lines than this no eye can follow, whatever is highlighted.
MOST_LINES = 200
_HIGHLIGHTED = 5


def ranks_chart(lottery: Lottery) -> Ranks:
    """Places from dataset to dataset, of the best models on the reference."""
    table = lottery.table
    order = np.argsort(-table.accuracy[:, 0], kind="stable")[:MOST_LINES]
    lines = {
        table.models[model]: tuple(
            None if math.isnan(place) else float(place)
            for place in lottery.places[model]
        )
        for model in order
    }
    return Ranks(
        "lottery-ranks",
        table.variants,
        lines,
        shown=tuple(lines)[:_HIGHLIGHTED],
        groups={name: family(name) for name in lines},
    )


def scatter_chart(lottery: Lottery) -> Scatter:
    """Accuracy on the reference against that on each variant."""
    table = lottery.table
    columns = {v: _intervals(lottery, v) for v in table.variants}
    points = tuple(
        Point(
            name,
            {
                v: found
                for v in table.variants
                if (found := columns[v][row]) is not None
            },
            {"family": family(name)},
        )
        for row, name in enumerate(table.models)
    )
    return Scatter(
        "lottery-scatter",
        points,
        x=table.reference,
        y=table.variants[1] if len(table.variants) > 1 else table.reference,
        group="family",
        headings={v: f"Accuracy on {v}" for v in table.variants},
        percent=frozenset(table.variants),
    )


def tau_chart(lottery: Lottery) -> HeatMap:
    """Kendall's tau between the rankings of all datasets."""
    values = tuple(
        tuple(None if math.isnan(value) else float(value) for value in row)
        for row in lottery.matrix
    )
    names = lottery.table.variants
    return HeatMap(
        "lottery-tau", names, names, values, "Kendall's tau-b", diverging=True
    )


def family(name: str) -> str:
    """The zoo's family of a model, else what its name begins with.

    A label may say more after the model's name: `resnet50.a1_in1k at 288`.
    """
    known = model_family(name.partition(" ")[0])
    if known != UNKNOWN:
        return known
    found = re.match(r"[A-Za-z]+", name)
    return found.group().lower() if found else name


def _intervals(lottery: Lottery, variant: str) -> list[Interval | None]:
    """Wilson's interval of every model's accuracy."""
    table = lottery.table
    found = accuracy_shares(table.column(variant), table.images_of(variant))
    return [None if math.isnan(one.value) else one for one in found]
