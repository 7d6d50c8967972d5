"""A study's page and its still pictures, without a browser."""

import json
import math
import re
from dataclasses import replace

import numpy as np
import pytest
from matplotlib.figure import Figure

from jaxbench.errors import UserError
from jaxbench.reports.cells import Cell, Column, Table
from jaxbench.reports.charts_colours import contrast, shades_of, text_on
from jaxbench.reports.charts_data import curves_data, embed, ranks_data, scatter_data
from jaxbench.reports.charts_heat import heat_table
from jaxbench.reports.charts_still import spread, still
from jaxbench.reports.page import Curves, HeatMap, Page, Point, Ranks, Scatter, Section
from jaxbench.reports.study_page import write_page
from tests.reports.browser.sample_page import (
    HOSTILE,
    METRICS,
    curves,
    heat_map,
    names,
    ranks,
    sample_page,
    scatter,
    steps,
    table,
    values,
)
from tests.reports.parsed import Parsed

CHARTS = {
    "accuracy_calibration",
    "risk_curves",
    "reliability_curves",
    "invariance",
    "ranks",
    "ranks_grouped",
    "agreement",
    "drops",
}
EMPTY = (
    Scatter("scatter", (), x="accuracy", y="ece"),
    Curves("curves", {}, x_title="x", y_title="y"),
    Ranks("ranks", (), {}),
    HeatMap("heat", (), (), (), title="t"),
)


def page_with(*charts, **changes):
    section = Section("part", "Part", "A caption.", charts=charts)
    return replace(
        Page("study", "Study", "Why?", "A book", (), (), (section,)), **changes
    )


def problems_of(page, tmp_path):
    with pytest.raises(ValueError, match="cannot be drawn") as caught:
        write_page(page, tmp_path / "page.html")
    return str(caught.value)


def test_page_is_whole_and_loads_nothing(tmp_path):
    path = write_page(sample_page(12), tmp_path / "out" / "page.html")
    text = path.read_text()
    parsed = Parsed(text)
    assert [found.name for found in path.parent.iterdir()] == ["page.html"]
    assert len(parsed.ids) == len(set(parsed.ids))
    assert {f"figure-{name}" for name in CHARTS} <= set(parsed.ids)
    own = [link for link in parsed.loads if link != "https://arxiv.org/abs/2302.11874"]
    assert own
    assert {link[1:] for link in own if link.startswith("#")} <= set(parsed.ids)
    assert all(link.startswith("#") for link in own)
    assert not re.search(r"@import|url\((?!#)|<link|src=", text)
    for shown in ("Findings", "38 of 120", "Left out:", "How to read", "50,000"):
        assert shown in parsed.text
    # What a metric means is told once for the axis and the column.
    assert parsed.text.count("mean probability of the predicted class") == 1


def test_same_page_same_file(tmp_path):
    page = page_with(scatter(6), ranks(6), heat_map(size=3))
    first, again = tmp_path / "a", tmp_path / "b"
    for folder in (first, again):
        write_page(page, folder / "page.html", figures_dir=folder, formats=("svg",))
    files = sorted(path.name for path in first.iterdir())
    assert len(files) == 4
    for name in files:
        assert (first / name).read_bytes() == (again / name).read_bytes()


def test_every_number_of_a_table_is_in_the_page(tmp_path):
    rows = table(12)
    section = Section("zoo", "Zoo", "", table=rows)
    path = write_page(page_with(sections=(section,)), tmp_path / "page.html")
    body = path.read_text().partition("<tbody>")[2].partition("</tbody>")[0]
    cells = re.findall(r'<td class="n" data-v="([^"]*)">([^<]*)</td>', body)
    assert [text for _, text in cells] == [
        cell.text for row in rows.rows for cell in row[1:]
    ]
    wanted = values(12)
    wanted[2, 1] = np.nan
    found = [float(value or "nan") for value, _ in cells]
    np.testing.assert_array_equal(np.reshape(found, (12, 20)), wanted)


def test_hostile_names(tmp_path):
    page = replace(sample_page(9), title=HOSTILE, reference="javascript:alert(1)")
    text = write_page(page, tmp_path / "page.html").read_text()
    parsed = Parsed(text)
    assert HOSTILE in parsed.text
    assert "<dt>Paper</dt>" in text
    assert "javascript:alert(1)" not in parsed.loads
    assert "<script>alert" not in text
    # One script and the data of six charts.
    assert parsed.tags.count("script") == 7


def test_embedded_data_survives_any_name():
    name = "</script><!-- & \u2028 \\ \" ' é"
    text = embed({"name": name})
    assert not set("<>&") & set(text)
    assert json.loads(text) == {"name": name}
    with pytest.raises(ValueError, match="JSON"):
        embed([math.nan])


def test_scatter_data_holds_every_value():
    chart = scatter(20)
    data = json.loads(embed(scatter_data(chart)))
    assert data["labels"] == names(20)
    by_name = {metric["name"]: metric for metric in data["metrics"]}
    assert set(by_name) == set(METRICS)
    wanted = values(20)
    for column, name in enumerate(METRICS):
        metric = by_name[name]
        for key, shift in (("value", 0.0), ("low", -0.013), ("high", 0.017)):
            expected = wanted[:, column] + shift
            if name == "nll":
                expected[::7] = np.nan
            found = np.array(metric[key], np.float64)
            # Six digits are kept.
            np.testing.assert_allclose(found, expected, rtol=5e-6)
    assert by_name["brier"]["heading"] == "Brier score"
    assert by_name["ece"]["heading"] == "ECE ↓"
    assert [by_name[name]["percent"] for name in ("accuracy", "brier")] == [True, False]
    family = data["groupings"][0]
    assert [family["groups"][i] for i in family["of"]] == [
        point.groups["family"] for point in chart.points
    ]


def test_what_is_not_finite_is_missing():
    point = Point("m", {"accuracy": (math.nan, None, None), "ece": (0.1, math.inf, 1)})
    data = scatter_data(Scatter("s", (point,), x="accuracy", y="ece"))
    assert data["metrics"][0]["value"] == [None]
    assert data["metrics"][1]["low"] == [None]
    assert "low" not in data["metrics"][0]
    lines = curves_data(steps())["lines"]
    assert lines[0]["y"] == [0.9, 0.7, None, 0.5, 0.4]
    assert ranks_data(ranks(9))["ranks"][0][3] is None


def test_groups_and_choices_are_those_of_the_page():
    data = ranks_data(ranks(20, groups=True))
    # Three of six families have a third member; equals stand by name.
    sizes = [data["of"].count(k) for k in range(len(data["groups"]))]
    assert sizes == sorted(sizes, reverse=True)
    assert data["groups"][:2] == sorted(data["groups"][:2])
    best = [data["labels"][i] for i in data["shown"]]
    assert best == list(ranks(20).shown)
    every = curves_data(replace(curves(9), shown=()))
    assert every["shown"] == list(range(9))
    assert len(every["xs"]) == 1


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


def test_heat_map_shows_its_numbers():
    heat = heat_table(heat_map(diverging=True))
    numbers = heat_map(diverging=True).values
    shown = [[cell["text"] for cell in cells] for _, cells in heat["rows"]]
    assert shown == [
        ["-" if v is None else f"{100 * v:.1f}" for v in row] for row in numbers
    ]
    assert heat["rows"][0][1][1] == {"text": "-", "value": "", "style": ""}
    middle = heat["ends"][1]
    assert middle == "0.0"


def test_still_pictures(tmp_path):
    page = sample_page(12)
    write_page(
        page, tmp_path / "page.html", figures_dir=tmp_path / "f", formats=["svg"]
    )
    pictures = {path.stem: path.read_text() for path in (tmp_path / "f").iterdir()}
    assert set(pictures) == CHARTS | {"still_risk"}
    assert "ConvNeXt" in pictures["accuracy_calibration"]
    assert names(12)[0] in pictures["risk_curves"]
    assert "gaussian noise" in pictures["invariance"]
    for name in ranks(12).shown[:2]:
        assert name in pictures["ranks"]
    assert "Cohen's kappa" in pictures["agreement"]


def test_formats_of_still_pictures(tmp_path):
    write_page(
        page_with(steps()), tmp_path / "p.html", figures_dir=tmp_path, formats=("png",)
    )
    assert (tmp_path / "invariance.png").read_bytes()[:4] == b"\x89PNG"
    with pytest.raises(UserError, match=r"'gif', 'tif' are unknown.*svg, png, pdf"):
        write_page(page_with(), tmp_path / "q.html", formats=("gif", "svg", "tif"))
    assert not (tmp_path / "q.html").exists()


def test_still_scatter_has_every_point_and_interval():
    (axis,) = still(scatter(20)).axes
    drawn = np.concatenate([line.get_xydata() for line in axis.lines])
    wanted = values(20)[:, [METRICS.index("accuracy"), METRICS.index("ece")]]
    np.testing.assert_array_equal(
        np.sort(drawn[:, 0]), np.sort(wanted[:, 0]), strict=True
    )
    segments = np.concatenate([bars.get_segments() for bars in axis.collections])
    assert len(segments) == 2 * 20
    (crowded,) = still(scatter(101)).axes
    assert not crowded.collections


def test_still_ranks_have_every_line():
    chart = ranks(20)
    (axis,) = still(chart).axes
    (others,) = axis.collections
    assert len(others.get_segments()) + len(axis.lines) == 20
    lines = {tuple(line.get_ydata()) for line in axis.lines}
    assert lines == {chart.ranks[name] for name in chart.shown}
    low, high = axis.get_ylim()
    assert low > high  # the best is above


@pytest.mark.parametrize("chart", EMPTY, ids=lambda chart: chart.name)
def test_empty_charts(chart, tmp_path):
    assert isinstance(still(chart), Figure)
    text = write_page(page_with(chart), tmp_path / "page.html").read_text()
    Parsed(text)
    assert f'id="figure-{chart.name}"' in text


def test_one_model_everywhere(tmp_path):
    one = HeatMap("heat", ("m",), ("d",), ((0.5,),), title="t")
    lines = Curves("c", {"m": ((0.5,), (0.5,))}, x_title="x", y_title="y", kind="risk")
    points = Scatter("s", scatter(2).points[:1], x="accuracy", y="ece", group="family")
    flow = Ranks("r", ("d",), {"m": (1.0,)})
    page = page_with(one, lines, points, flow)
    write_page(page, tmp_path / "page.html", figures_dir=tmp_path, formats=("png",))
    assert len(list(tmp_path.glob("*.png"))) == 4


def test_empty_table_and_page_without_parts(tmp_path):
    bare = Table((Column("Model"), Column("Accuracy", numeric=True)), ())
    section = Section("zoo", "Zoo", "", table=bare)
    text = write_page(page_with(sections=(section,)), tmp_path / "p.html").read_text()
    assert "No rows." in text
    empty = Page("study", "Study", "Why?", "", (), (), ())
    Parsed(write_page(empty, tmp_path / "q.html").read_text())


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


def test_unwritable_places(tmp_path):
    blocked = tmp_path / "file"
    blocked.write_text("")
    with pytest.raises(UserError, match=r"cannot be written to .*choose another place"):
        write_page(page_with(), blocked / "page.html")
    with pytest.raises(UserError, match="cannot be written"):
        write_page(page_with(steps()), tmp_path / "p.html", figures_dir=blocked / "f")
    assert not (tmp_path / "p.html").exists()


def test_names_that_clash(tmp_path):
    part = Section("notes", "A", "", charts=(steps(), steps()))
    page = page_with(sections=(part, replace(part, charts=(heat_map(),)), part))
    message = problems_of(page, tmp_path)
    assert "3 sections are called 'notes'" in message
    assert "4 figures are called 'invariance'" in message
    assert "section name 'notes' is taken by the page itself" in message
    away = replace(steps(), name="../imagenet/v2")
    assert "no file name" in problems_of(page_with(away), tmp_path)
    assert not (tmp_path / "page.html").exists()


def test_charts_that_contradict_themselves(tmp_path):
    ones = ([0.0, 1.0], [1.0, 1.0])
    page = page_with(
        replace(scatter(3), group="colour"),
        Curves(
            "c",
            {"a": ones, "b": ([0.0], [1.0, 2.0])},
            x_title="x",
            y_title="y",
            kind="roc",
            shown=("z",),
            bands={"a": ([0.0], [1.0])},
            percent=frozenset({"z"}),
        ),
        replace(steps(), x_labels=("clean", "noise")),
        Ranks("r", ("d", "e"), {"a": (1.0,)}, shown=("q",), groups={"w": "g"}),
        HeatMap("h", ("a", "b"), ("c",), ((1.0,),), title="t"),
    )
    message = problems_of(page, tmp_path)
    for problem in (
        "no point has a group 'colour'; groupings are ['family', 'regime']",
        "c: kind 'roc' is unknown; choose from risk, reliability, plain",
        "c: percent names axes ['z']",
        "c: shown names models that the chart does not have: ['z']",
        "c: the parts of 'a' differ in length",
        "c: the parts of 'b' differ in length",
        "invariance: 'vit' has an x that is no position of the 2 x_labels",
        "r: shown names models that the chart does not have: ['q']",
        "r: groups names models that the chart does not have: ['w']",
        "r: 'a' has 1 ranks on 2 datasets",
        "h: 2 rows of 1 values are named",
    ):
        assert problem in message


def test_table_with_a_short_row(tmp_path):
    short = Table((Column("Model"), Column("n")), ((Cell("m", "m"),),))
    section = Section("zoo", "Zoo", "", table=short)
    message = problems_of(page_with(sections=(section,)), tmp_path)
    assert "table zoo: 2 columns, but rows [0] have other lengths" in message
