"""Still pictures: what is on them, and whose colour is whose."""

import re
import xml.etree.ElementTree as ElementTree
from dataclasses import replace

import numpy as np
import pytest

from jaxbench.reports.charts.names import LETTER, Spot, place_names, spread
from jaxbench.reports.look import LIGHT, Look, by_size
from jaxbench.reports.page import Curves, Panels, Ranks, Scatter
from jaxbench.reports.stills import still
from tests.reports.browser.sample_page import (
    METRICS,
    curves,
    names,
    ranks,
    sample_page,
    scatter,
    steps,
    values,
)

EMPTY = (
    Scatter("scatter", (), x="accuracy", y="ece"),
    Curves("curves", {}, x_title="x", y_title="y"),
    Panels("panels", {}),
)


def picture(chart, look=None):
    return ElementTree.fromstring(still(chart, look or Look.of([chart])))


def texts(root):
    found = []
    for element in root.iter():
        if element.tag.endswith("}text"):
            found.append("".join(element.itertext()))
    return found


def group(root, kind):
    """The drawn elements of the marks of a kind, such as "mark-symbol"."""
    return [
        list(element)
        for element in root.iter()
        if kind in element.get("class", "").split()
    ]


def test_scatter_has_every_point_name_and_interval():
    chart = scatter(20)
    root = picture(chart)
    symbols = max(group(root, "mark-symbol"), key=len)
    assert len(symbols) == 20
    places = [
        tuple(map(float, re.findall(r"[-0-9.]+", point.get("transform"))))
        for point in symbols
    ]
    wanted = values(20)[:, [METRICS.index("accuracy"), METRICS.index("ece")]]
    # Places are linear in the numbers, upwards in the second.
    for axis, sign in ((0, 1), (1, -1)):
        drawn = np.array([place[axis] for place in places])
        slope, start = np.polyfit(wanted[:, axis], drawn, 1)
        assert sign * slope > 0
        np.testing.assert_allclose(slope * wanted[:, axis] + start, drawn, atol=0.5)
    rules = sum(len(found) for found in group(root, "mark-rule"))
    assert rules >= 2 * 20
    shown = texts(root)
    assert "ConvNeXt" in shown
    assert "ECE ↓" in shown
    named = [name for name in names(20)[:-1] if name in shown]
    assert len(named) >= 10
    crowded = picture(scatter(101))
    assert not any(name in texts(crowded) for name in names(101))


def test_curves_have_lines_bands_and_a_legend():
    root = picture(curves(12))
    assert len(group(root, "mark-line")) >= 5
    assert len(group(root, "mark-area")) == 5
    assert set(curves(12).shown) <= set(texts(root))
    assert "gaussian noise" in texts(picture(steps()))


def test_a_model_has_one_colour_on_a_page():
    page = sample_page(12)
    look = Look.of_page(page)
    name = curves(12).shown[0]
    colour = LIGHT[look.of_model(name).colour[6:-1]]
    risk, reliability = (
        still(curves(12, k), look).decode() for k in ("risk", "reliability")
    )
    for text in (risk, reliability):
        mark = re.search(r'stroke="(#\w+)"[^<]*/><text[^>]*>' + re.escape(name), text)
        assert mark[1] == colour
        assert "var(--" not in text
    slots = {look.model_slot(label) for label in (*curves(12).shown, *ranks(12).shown)}
    assert len(slots) == len({*curves(12).shown, *ranks(12).shown})
    styles = {look.of_model(label) for label in names(12)}
    assert len(styles) == 12


def test_40_groups_can_be_distinguished():
    look = Look(groups=[f"g{k}" for k in range(40)])
    styles = {(s.colour, s.shape) for s in (look.of_group(f"g{k}") for k in range(40))}
    assert len(styles) == 40
    assert look.of_group(None) == look.of_group("")
    assert by_size(["b", "a", "a", "c"]) == ["a", "b", "c"]


@pytest.mark.parametrize("chart", EMPTY, ids=lambda chart: chart.name)
def test_empty_charts_say_so(chart):
    assert any(
        text in ("Nothing to show.", "No model has both numbers.")
        for text in texts(picture(chart))
    )


@pytest.mark.parametrize(
    "chart",
    [
        replace(scatter(2), points=scatter(2).points[:1]),
        Curves("c", {"m": ((0.5,), (0.5,))}, x_title="x", y_title="y", kind="risk"),
        Ranks("r", ("d",), {"m": (1.0,)}),
    ],
    ids=["scatter", "curves", "ranks"],
)
def test_one_model(chart):
    look = Look.of([chart])
    assert still(chart, look, "png").startswith(b"\x89PNG")
    assert still(chart, look, "pdf").startswith(b"%PDF")


def test_names_cover_neither_names_nor_points():
    rng = np.random.default_rng(0)
    spots = [Spot(f"model_{k}", *rng.uniform(0, 300, 2).tolist()) for k in range(30)]
    placed = place_names(spots, 320, 300)
    assert 10 < len(placed) <= 30
    boxes = [
        (
            row["px"],
            row["py"] - 11,
            row["px"] + LETTER * len(row["text"]),
            row["py"] + 3,
        )
        for row in placed
    ]
    for number, a in enumerate(boxes):
        for b in boxes[number + 1 :]:
            assert a[0] >= b[2] or b[0] >= a[2] or a[1] >= b[3] or b[1] >= a[3]
        for spot in spots:
            inside = a[0] < spot.x < a[2] and a[1] < spot.y < a[3]
            assert not inside


def test_labels_are_spread_and_keep_their_order():
    places = spread([5.0, 1.0, 1.1, 9.9], 1.0, 0.0, 10.0)
    assert places == pytest.approx([5.0, 1.0, 2.0, 9.9])
    crowded = spread([9.0, 9.5, 9.6], 1.0, 0.0, 10.0)
    assert crowded == pytest.approx([8.0, 9.0, 10.0])
    # Twelve do not fit into ten: they keep their distance and leave the range.
    many = spread([5.0] * 12, 1.0, 0.0, 10.0)
    assert sorted(np.diff(sorted(many))) == pytest.approx([1.0] * 11)
    assert min(many) == pytest.approx(0.0)
    assert spread([], 1.0, 0.0, 1.0) == []
