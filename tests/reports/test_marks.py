"""Ranks, heat maps, bars and distributions: texts and marks of their pictures."""

import math
import xml.etree.ElementTree as ElementTree
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest

from jaxbench.reports.charts.distributions import density
from jaxbench.reports.charts.labels import label_lines
from jaxbench.reports.charts.matrix import heat_table
from jaxbench.reports.charts.shades import contrast, shades_of, text_on
from jaxbench.reports.look import Look
from jaxbench.reports.page import Bars, Distributions, HeatMap, Ranks, Samples
from jaxbench.reports.stills import still
from tests.reports.browser.sample_page import (
    bars,
    boxes,
    heat_map,
    names,
    ranks,
    ridges,
)

NAN = float("nan")
HARD = ("$x_1$ costs $5", "_hidden", "x" * 300, "<b>&\"'</b>", "模型", "שלום עולם")
EMPTY = (
    Ranks("ranks", (), {}),
    Ranks("gaps", ("a", "b"), {"m": (None, None)}),
    HeatMap("heat", (), (), (), title="t"),
    HeatMap("missing", ("a",), ("b",), ((None,),), title="t"),
    Bars("bars", (), {}, "AUROC"),
    Bars("none", ("a",), {"s": (None,)}, "AUROC", reference=0.5),
    Distributions("ridges", {}, "ridge", "Accuracy"),
    Distributions("boxes", {"p": (Samples("a", (NAN,)),)}, "box", "Accuracy"),
    Distributions("nothing", {"p": ()}, "ridge", "Accuracy"),
)


def picture(chart):
    return ElementTree.fromstring(still(chart, Look.of([chart]), "svg"))


def texts(root):
    return ["".join(e.itertext()) for e in root.iter() if e.tag.endswith("}text")]


def lines(root):
    """Every line of every label."""
    found = []
    for element in root.iter():
        if element.tag.endswith(("}text", "}tspan")) and element.text:
            found.append(element.text)
    return found


def marks(root, kind):
    """The drawn elements of all marks of a kind, axes and legends left out."""
    groups = [
        e
        for e in root.iter()
        if {f"mark-{kind}", "role-mark"} <= set(e.get("class", "").split())
    ]
    return [item for group in groups for item in group.iter() if item is not group]


def test_heat_map_shows_its_numbers():
    chart = heat_map(diverging=True)
    heat = heat_table(chart)
    shown = [[cell["text"] for cell in cells] for _, cells in heat["rows"]]
    wanted = [["-" if v is None else f"{100 * v:.1f}" for v in r] for r in chart.values]
    assert shown == wanted
    assert heat["rows"][0][1][1]["style"] == ""
    assert heat["ends"][1] == "0.0"
    written = texts(picture(chart))
    assert not Counter(text for row in wanted for text in row) - Counter(written)


def test_table_and_picture_have_the_same_colours():
    chart = heat_map()
    cells = [cell for _, row in heat_table(chart)["rows"] for cell in row]
    rows = [e.get("fill") for e in marks(picture(chart), "rect")]
    assert not Counter(c["fill"] for c in cells if c["fill"]) - Counter(rows)
    assert heat_table(chart)["scale"][0] == "#440154"


def marked():
    chart = heat_map(size=3)
    (a, b, c), (d, e, _) = chart.rows, chart.columns
    words = {(a, e): "not trained", (b, d): "failed", (c, d): "diverged"}
    return replace(chart, marks=words)


def test_marks_of_a_heat_map_differ_without_colour():
    heat = heat_table(marked())
    cells = [cell for _, row in heat["rows"] for cell in row if cell["word"]]
    assert [cell["word"] for cell in cells] == ["not trained", "failed", "diverged"]
    assert len({cell["sign"] for cell in cells}) == 3
    assert len({cell["mark"] for cell in cells}) == 3
    # The number stays where there is one.
    assert [bool(cell["text"]) for cell in cells] == [False, True, True]
    assert [word for _, word, _ in heat["signs"]] == [
        "failed",
        "diverged",
        "not trained",
    ]
    root = picture(marked())
    borders = [e for e in marks(root, "rect") if e.get("stroke-dasharray")]
    assert len({e.get("stroke-dasharray") for e in borders}) == len(borders) == 3
    assert "\u00d7 failed, ! diverged, \u25cb not trained" in texts(root)


def test_limits_of_a_heat_map_leave_an_outlier_out():
    values = ((0.1, 0.9), (0.92, 0.95))
    chart = HeatMap("h", ("a", "b"), ("c", "d"), values, "t", limits=(0.9, 0.95))
    rows = heat_table(chart)["rows"]
    assert rows[0][1][0]["fill"] == rows[0][1][1]["fill"] == "#440154"
    assert rows[1][1][1]["fill"] == "#fde725"


def test_heat_map_can_be_read_on_every_colour():
    for diverging in (False, True):
        shades = shades_of([-1.0, 0.3, 2.0], diverging=diverging)
        for share in np.linspace(0, 1, 101):
            colour = shades.at(share)
            # 4.5 is the guidelines' ratio for text.
            assert contrast(colour, text_on(colour)) >= 4.5
    assert shades_of([-1.0, 0.5], diverging=True)[:2] == (-1.0, 1.0)
    assert shades_of([0.2, None, math.nan, 0.5], diverging=False)[:2] == (0.2, 0.5)
    same = shades_of([0.4, 0.4], diverging=False)
    assert same.colour(0.4) == same.at(0.5)


def test_contrast_of_known_colours():
    assert contrast("#000000", "#ffffff") == pytest.approx(21)
    # The guidelines' own example: the palest grey that passes on white.
    assert contrast("#767676", "#ffffff") == pytest.approx(4.54, abs=0.005)


def test_ranks_draw_every_line_and_name_the_highlighted():
    chart = ranks(20)
    root = picture(chart)
    drawn = [e for e in marks(root, "line") if e.get("d")]
    assert len(drawn) == 20
    # A gap ends a stretch.
    assert sorted(e.get("d", "").count("M") for e in drawn) == [1] * 19 + [2]
    written = texts(root)
    assert set(chart.shown) <= set(written)
    assert not set(names(20)) - set(chart.shown) & set(written)
    assert set(chart.datasets) <= set(written)


def test_tied_ranks_end_at_one_place_and_their_names_apart():
    chart = Ranks("r", ("a", "b"), {"m": (1.5, 1), "n": (1.5, 3), "o": (3, 2)})
    root = picture(chart)
    starts = [
        e.get("d", "").partition("L")[0] for e in marks(root, "line") if e.get("d")
    ]
    assert len(starts) == 3
    assert len(set(starts)) == 2


def test_bars_have_intervals_and_a_reference():
    chart = bars()
    root = picture(chart)
    known = [v for s in chart.series.values() for v in s if v is not None]
    drawn = [e for e in marks(root, "rect") if e.get("d")]
    assert len(drawn) == len(known)
    rules = [e for e in marks(root, "rule") if e.tag.endswith("line")]
    assert len(rules) == len([v for v in known if v[1] is not None]) + 1
    assert len([e for e in rules if e.get("stroke-dasharray")]) == 1
    written = lines(root)
    assert {*chart.labels[:2], *chart.series, "AUROC", "60%"} <= set(written)


def test_ridges_have_every_value_and_every_note():
    chart = ridges()
    root = picture(chart)
    samples = [s for panel in chart.panels.values() for s in panel]
    points = [e for e in marks(root, "symbol") if e.get("d")]
    assert len(points) == sum(np.isfinite(s.values).sum() for s in samples)
    areas = [e for e in marks(root, "area") if e.get("d")]
    assert len(areas) == sum(len(s.values) >= 4 for s in samples)
    written = texts(root)
    assert {"resnet", "vit"} <= set(written)
    assert {"adamw (failed)", "lion (3 diverged)"} <= set(written)


def test_boxes_have_quartiles_of_every_sample():
    chart = boxes()
    root = picture(chart)
    samples = [s for panel in chart.panels.values() for s in panel if s.values]
    drawn = [e for e in marks(root, "rect") if e.get("d")]
    assert len(drawn) == len(samples)
    # Whiskers, and the tick of the median.
    rules = [e for e in marks(root, "rule") if e.tag.endswith("line")]
    assert len(rules) == 2 * len(samples)
    dots = [e for e in marks(root, "symbol") if e.get("d")]
    assert len(dots) == sum(len(set(s.values)) for s in samples)
    assert {"own", "published", "Rank distance"} <= set(texts(root))


def test_density_of_a_normal_sample():
    x = np.linspace(-3, 3, 61)
    values = np.random.default_rng(0).normal(size=2000)
    found = density(values, x)
    # A sample of this size and the kernel's width both flatten the curve a little.
    np.testing.assert_allclose(found, np.exp(-(x**2) / 2), atol=0.09)
    assert found.max() == 1
    # Equal values are a ridge of a few points, not a needle.
    assert (density(np.full(9, 0.5), np.linspace(0, 1, 101)) > 0.3).sum() > 3


@pytest.mark.parametrize("chart", EMPTY, ids=lambda chart: chart.name)
def test_charts_without_numbers(chart):
    picture(chart)


@pytest.mark.parametrize("label", HARD, ids=range(len(HARD)))
def test_names_are_text(label):
    charts = (
        Ranks("ranks", (label, "b"), {label: (1, 2), "m": (2, 1)}),
        HeatMap("heat", (label,), (label,), ((0.5,),), title=label),
        Bars("bars", (label,), {label: ((0.5, None, None),)}, label),
        Distributions("d", {label: (Samples(label, (1, 2, 3, 4)),)}, "ridge", label),
        Distributions("e", {label: (Samples(label, (1, 2, 3)),)}, "box", label),
    )
    for chart in charts:
        written = lines(picture(chart))
        first = label_lines(label)[0] if len(label) > 26 else label
        assert first[:20] in " ".join(written), chart.name


def test_labels_keep_both_ends():
    assert label_lines("short") == ["short"]
    long = [label_lines("a" * 200 + c + "b" * 200) for c in "xy"]
    assert long[0] != long[1]
    for found in long:
        assert len(found) <= 4
        assert found[0].startswith("aaa")
        assert found[-1].endswith("bbb")
    assert label_lines("") == [""]
