"""A page as a file: whole, on its own, the same for the same page."""

import json
import math
import re
from dataclasses import replace

import numpy as np
import pytest

from jaxbench.errors import UserError
from jaxbench.reports.cells import Column, Table
from jaxbench.reports.charts.data import curves_data, embed, scatter_data
from jaxbench.reports.look import Look
from jaxbench.reports.page import (
    Curves,
    HeatMap,
    Page,
    Panels,
    Picture,
    Point,
    Ranks,
    Scatter,
    Section,
)
from jaxbench.reports.writing import write_page
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

HARD = (
    HOSTILE,
    "x" * 300,
    "$5 & \"q\" 'a'",
    "\u05e9\u05dc\u05d5\u05dd \u202e evil",
    "",
)
PIXEL = b"\x89PNG\r\n\x1a\n" + b"\0" * 8


def page_with(*charts, **changes):
    section = Section("part", "Part", "A caption.", charts=charts)
    return replace(
        Page("study", "Study", "Why?", "A book", (), (), (section,)), **changes
    )


def charts_of(page):
    return {chart.name for section in page.sections for chart in section.charts}


def test_page_is_whole_and_loads_nothing(tmp_path):
    page = sample_page(12)
    path = write_page(page, tmp_path / "out" / "page.html")
    text = path.read_text()
    parsed = Parsed(text)
    assert [found.name for found in path.parent.iterdir()] == ["page.html"]
    assert len(parsed.ids) == len(set(parsed.ids))
    assert {f"figure-{name}" for name in charts_of(page)} <= set(parsed.ids)
    own = [link for link in parsed.loads if link != "https://arxiv.org/abs/2302.11874"]
    assert own
    inside = [link for link in own if not link.startswith("data:image/")]
    assert {link[1:] for link in inside} <= set(parsed.ids)
    assert all(link.startswith("#") for link in inside)
    ours = re.sub(r"<script>!function.*?</script>", "", text, flags=re.S)
    assert not re.search(r"@import|url\((?!#)|<link|src=(?!\"data:)", ours)
    for shown in ("Findings", "38 of 120", "Left out:", "How to read", "50,000"):
        assert shown in parsed.text
    # What a metric means is said once for the axis and the column.
    assert parsed.text.count("mean probability of the predicted class") == 1


def test_same_page_same_files(tmp_path):
    page = page_with(scatter(6), ranks(6), heat_map(size=3))
    first, again = tmp_path / "a", tmp_path / "b"
    formats = ("svg", "png", "pdf")
    for folder in (first, again):
        write_page(page, folder / "page.html", figures_dir=folder, formats=formats)
    files = sorted(path.name for path in first.iterdir())
    assert len(files) == 1 + 3 * 3
    for name in files:
        # A PDF carries the time of its making.
        if not name.endswith(".pdf"):
            assert (first / name).read_bytes() == (again / name).read_bytes()


def test_every_number_of_a_table_is_in_the_page(tmp_path):
    rows = table(12)
    section = Section("zoo", "Zoo", "", table=rows)
    path = write_page(page_with(sections=(section,)), tmp_path / "page.html")
    body = path.read_text().partition("<tbody>")[2].partition("</tbody>")[0]
    cells = re.findall(r'<td data-v="([^"]*)">([^<]*)</td>', body)
    assert [text for _, text in cells] == [
        cell.text for row in rows.rows for cell in row[1:]
    ]
    wanted = values(12)
    wanted[2, 1] = np.nan
    found = [float((value or "nan").split()[0]) for value, _ in cells]
    # Seven digits are kept.
    np.testing.assert_allclose(np.reshape(found, (12, 20)), wanted, rtol=1e-6)


@pytest.mark.parametrize("name", HARD)
def test_hostile_names(name, tmp_path):
    points = (Point(name, {"accuracy": (0.5, 0.4, 0.6), "ece": (0.1, None, None)}),)
    lines = {name: ((0.0, 1.0), (0.1, 0.2))}
    charts = (
        Scatter("s", points, x="accuracy", y="ece"),
        Curves("c", lines, x_title=name, y_title=name),
        Ranks("r", (name,), {name: (1.0,)}),
        HeatMap(
            "h", (name,), (name,), ((0.5,),), title=name, marks={(name, name): name}
        ),
    )
    picture = Picture(PIXEL, name or "none", name)
    page = page_with(title=name, reference="javascript:alert(1)", made=((name, name),))
    section = replace(page.sections[0], charts=charts, pictures=(picture,))
    page = replace(page, sections=(section,), provenance=((name, name, name),))
    path = write_page(
        page, tmp_path / "p.html", figures_dir=tmp_path / "f", formats=("svg",)
    )
    text = path.read_text()
    parsed = Parsed(text)
    assert name in parsed.text
    assert "javascript:alert(1)" not in parsed.loads
    assert "<script>alert" not in text
    assert len(list((tmp_path / "f").iterdir())) == 4


def test_a_page_without_charts_carries_no_vega(tmp_path):
    section = Section("zoo", "Zoo", "", table=table(3))
    path = write_page(page_with(sections=(section,)), tmp_path / "page.html")
    assert path.stat().st_size < 100_000


def test_origin_pictures_and_folded_tables_are_in_the_page(tmp_path):
    section = Section(
        "zoo",
        "Zoo",
        "",
        table=table(3),
        folded=True,
        pictures=(Picture(PIXEL, "a cat", "taken for a dog"),),
    )
    page = page_with(
        sections=(section,),
        made=(("Command", "jaxbench run x.toml"),),
        provenance=(("jax_version", "of JAX", "0.10"),),
    )
    parsed = Parsed(write_page(page, tmp_path / "page.html").read_text())
    for shown in (
        "jaxbench run x.toml",
        "of JAX",
        "a cat",
        "taken for a dog",
        "3 rows",
    ):
        assert shown in parsed.text
    assert any(link.startswith("data:image/png;base64,iVBO") for link in parsed.loads)
    assert parsed.tags.count("details") == 2


def test_embedded_data_survives_any_name():
    name = "</script><!-- & \u2028 \\ \" ' é"
    text = embed({"name": name})
    assert not set("<>&") & set(text)
    assert json.loads(text) == {"name": name}
    with pytest.raises(ValueError, match="JSON"):
        embed([math.nan])


def test_scatter_data_holds_every_value():
    chart = scatter(20)
    data = json.loads(embed(scatter_data(chart, Look())))
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
    chart = Scatter("s", (point,), x="accuracy", y="ece")
    data = scatter_data(chart, Look())
    assert data["metrics"][0]["value"] == [None]
    assert data["metrics"][1]["low"] == [None]
    assert "low" not in data["metrics"][0]
    lines = curves_data(steps(), Look())["lines"]
    assert lines[0]["y"] == [0.9, 0.7, None, 0.5, 0.4]


def test_curves_share_their_positions():
    data = curves_data(curves(9), Look())
    assert len(data["xs"]) == 1


def test_an_empty_column_is_left_out(tmp_path):
    whole = table(3)
    rows = tuple((*row, row[0].__class__("-")) for row in whole.rows)
    wide = Table((*whole.columns, Column("Nothing", True)), rows)
    section = Section("zoo", "Zoo", "", table=wide)
    text = write_page(page_with(sections=(section,)), tmp_path / "p.html").read_text()
    assert "Nothing" not in text


def test_empty_table_and_page_without_parts(tmp_path):
    bare = Table((Column("Model"), Column("Accuracy", numeric=True)), ())
    section = Section("zoo", "Zoo", "", table=bare)
    text = write_page(page_with(sections=(section,)), tmp_path / "p.html").read_text()
    assert "No rows." in text
    empty = Page("study", "Study", "Why?", "", (), (), ())
    Parsed(write_page(empty, tmp_path / "q.html").read_text())


def test_unwritable_places(tmp_path):
    blocked = tmp_path / "file"
    blocked.write_text("")
    with pytest.raises(UserError, match=r"cannot be written to .*choose another place"):
        write_page(page_with(), blocked / "page.html")
    with pytest.raises(UserError, match="cannot be written"):
        write_page(page_with(steps()), tmp_path / "p.html", figures_dir=blocked / "f")
    assert not (tmp_path / "p.html").exists()


def test_unknown_formats(tmp_path):
    with pytest.raises(UserError, match=r"'gif', 'tif' are unknown.*svg, png, pdf"):
        write_page(page_with(), tmp_path / "q.html", formats=("gif", "svg", "tif"))
    assert not (tmp_path / "q.html").exists()


def test_panels_are_written(tmp_path):
    chart = Panels("both", {"Loss": steps(), "Risk": curves(4)})
    path = write_page(
        page_with(chart), tmp_path / "p.html", figures_dir=tmp_path, formats=("svg",)
    )
    picture = (tmp_path / "both.svg").read_text()
    assert "Loss" in picture
    assert "Risk" in picture
    assert 'data-kind="curves"' in path.read_text()
