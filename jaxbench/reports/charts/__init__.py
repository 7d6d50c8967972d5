"""Every chart once: an Altair chart for the page, its still and its saved figure.

A kind of chart is a row of `KINDS`: its Vega specification, its opening state, and
what the page's script gets to fill the specification with another state.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from jaxbench.reports.charts.bars import bars_data, bars_opening, bars_spec
from jaxbench.reports.charts.curves import curves_opening, curves_spec
from jaxbench.reports.charts.data import curves_data, panels_data, scatter_data
from jaxbench.reports.charts.distributions import (
    distributions_data,
    distributions_opening,
    distributions_spec,
)
from jaxbench.reports.charts.frame import Opening
from jaxbench.reports.charts.matrix import heat_table, matrix_opening, matrix_spec
from jaxbench.reports.charts.ranks import ranks_data, ranks_opening, ranks_spec
from jaxbench.reports.charts.scatter import scatter_opening, scatter_spec
from jaxbench.reports.look import Look
from jaxbench.reports.page import (
    Bars,
    Chart,
    Curves,
    Distributions,
    HeatMap,
    Panels,
    Ranks,
    Scatter,
)


@dataclass(frozen=True)
class Kind:
    """A kind of chart.

    Attributes:
        name: In the page: `data-kind`, and its function in `charts.js`.
        spec: The chart and the page's looks to its Vega specification.
        opening: Likewise, to the rows that it opens with; None for panels, which have
            one each.
        data: Likewise, to what the page's script needs besides.
    """

    name: str
    spec: Callable[[Any, Look], dict[str, Any]]
    opening: Callable[[Any, Look], Opening] | None
    data: Callable[[Any, Look], dict[str, Any]]


KINDS: Mapping[type[Chart], Kind] = {
    Scatter: Kind(
        "scatter", lambda chart, look: scatter_spec(), scatter_opening, scatter_data
    ),
    Curves: Kind(
        "curves", lambda chart, look: curves_spec(), curves_opening, curves_data
    ),
    # A still draws its panels one by one.
    Panels: Kind("curves", lambda chart, look: curves_spec(), None, panels_data),
    Ranks: Kind("ranks", lambda chart, look: ranks_spec(), ranks_opening, ranks_data),
    Bars: Kind("marks", lambda chart, look: bars_spec(), bars_opening, bars_data),
    Distributions: Kind(
        "marks",
        lambda chart, look: distributions_spec(),
        distributions_opening,
        distributions_data,
    ),
    HeatMap: Kind(
        "heat",
        lambda chart, look: matrix_spec(chart),
        lambda chart, look: matrix_opening(chart),
        lambda chart, look: heat_table(chart),
    ),
}
