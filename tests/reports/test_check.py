"""A page whose parts contradict each other is refused, with all problems at once."""

from dataclasses import replace

import pytest

from jaxbench.reports.cells import Cell, Column, Table
from jaxbench.reports.check import check_page
from jaxbench.reports.page import (
    Bars,
    Curves,
    Distributions,
    HeatMap,
    Page,
    Panels,
    Picture,
    Ranks,
    Samples,
    Section,
)
from tests.reports.browser.sample_page import heat_map, sample_page, scatter, steps


def problems_of(*sections):
    with pytest.raises(ValueError, match="cannot be drawn") as caught:
        check_page(Page("study", "Study", "Why?", "A book", (), (), sections))
    return str(caught.value)


def part(*charts, **settings):
    return Section("part", "Part", "A caption.", charts=charts, **settings)


def test_the_sample_is_fine():
    check_page(sample_page(12))


def test_names_that_clash():
    part = Section("notes", "A", "", charts=(steps(), steps()))
    message = problems_of(part, replace(part, charts=(heat_map(),)), part)
    assert "3 sections are called 'notes'" in message
    assert "4 figures are called 'invariance'" in message
    assert "section name 'notes' is taken by the page itself" in message
    away = replace(steps(), name="../imagenet/v2")
    assert "not a file name" in problems_of(Section("a", "A", "", charts=(away,)))


def test_charts_that_contradict_themselves():
    ones = ([0.0, 1.0], [1.0, 1.0])
    charts = (
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
        HeatMap("h", ("a", "b"), ("c",), ((1.0,),), title="t", marks={("a", "z"): "x"}),
        Bars("b", ("a",), {"s": ((0.5, None, None), None)}, "AUROC"),
        Distributions("d", {"p": (Samples("a", (1.0,)),)}, "violin", "Accuracy"),
        Panels("p", {"one": replace(steps(), kind="roc")}),
    )
    message = problems_of(part(*charts, pictures=(Picture(b"GIF8", ""),)))
    for problem in (
        "no point has a group 'colour'; groupings are ['family', 'regime']",
        "c: kind 'roc' is unknown; choose from risk, reliability, plain",
        "c: percent names axes ['z']",
        "c: shown names what the chart does not have: ['z']",
        "c: the parts of 'a' differ in length",
        "c: the parts of 'b' differ in length",
        "invariance: 'vit' has an x that is not a position of the 2 x_labels",
        "r: shown names what the chart does not have: ['q']",
        "r: groups names what the chart does not have: ['w']",
        "r: 'a' has 1 ranks on 2 datasets",
        "h: 2 rows of 1 values are named",
        "h: marks names cells that the chart does not have: [('a', 'z')]",
        "b: series 's' has 2 values for 1 labels",
        "d: kind 'violin' is unknown; choose from ridge, box",
        "p: panel 'one': kind 'roc' is unknown",
        "part: picture 0 is neither PNG nor JPEG",
        "part: picture 0 has no title",
    ):
        assert problem in message


def test_table_with_a_short_row():
    short = Table((Column("Model"), Column("n")), ((Cell("m", "m"),),))
    section = Section("zoo", "Zoo", "", table=short)
    message = problems_of(section)
    assert "table zoo: 2 columns, but rows [0] have other lengths" in message
