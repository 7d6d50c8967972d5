"""Ranks, heat maps, bars and distributions in a browser, by mouse and by keyboard."""

import re
from dataclasses import replace

import pytest

from jaxbench.reports.charts.shades import contrast
from jaxbench.reports.page import Page, Ranks, Section
from jaxbench.reports.writing import write_page
from tests.reports.browser.helpers import figure, lit, overflow, texts, tip, written
from tests.reports.browser.sample_page import (
    HOSTILE,
    bars,
    boxes,
    heat_map,
    names,
    ranks,
    ridges,
)

pytestmark = pytest.mark.browser
CHARTS = ("ranks", "ranks_grouped", "ood", "ridges", "boxes")


@pytest.fixture(scope="module")
def marks_file(tmp_path_factory):
    flows = (ranks(40), ranks(40, groups=True))
    sections = (
        Section("flows", "Ranks", "1 is the best.", charts=flows),
        Section("rows", "Rows", "Bars and boxes.", charts=(bars(), ridges(), boxes())),
        Section("matrices", "Matrices", "", charts=(marked(), heat_map(size=3))),
    )
    page = Page("marks", "Marks", "Which?", "", (), (), sections)
    return write_page(page, tmp_path_factory.mktemp("page") / "marks.html")


def marked():
    chart = heat_map(diverging=True)
    (a, b, *_), (_, d, e, *_) = chart.rows, chart.columns
    words = {(a, d): "not trained", (b, d): "failed", (b, e): "diverged"}
    return replace(chart, marks=words)


def test_every_line_is_drawn_and_the_best_are_named(visit, marks_file):
    with visit(marks_file) as page:
        for name in ("ranks", "ranks_grouped"):
            flow = figure(page, name)
            paths = flow.locator(".mark-line path")
            drawn = paths.evaluate_all("l => l.map(e => e.getAttribute('d'))")
            assert len([d for d in drawn if d]) == 40
            # The gap of one model ends a stretch.
            assert sum(d.count("M") for d in drawn if d) == 41
            assert lit(flow) == 5
            shown = ranks(40).shown
            assert {n.removesuffix("…") for n in texts(flow)} >= set(shown)


def test_one_model_has_one_colour_in_all_ranks(visit, marks_file):
    with visit(marks_file) as page:
        family = figure(page, "ranks_grouped").locator(".legend button svg line")
        strokes = family.evaluate_all("l => l.map(e => e.getAttribute('stroke'))")
        assert len(set(strokes)) == 7


def test_ranks_by_keyboard(visit, marks_file):
    with visit(marks_file) as page:
        flow = figure(page, "ranks")
        # One stop of the Tab key for all lines.
        assert flow.locator(".plot [tabindex='0']").count() == 1
        flow.locator(".plot svg").focus()
        page.keyboard.press("Home")
        assert ranks(40).shown[0] in tip(page)
        assert "imagenet-v2" in tip(page)
        page.keyboard.press("Enter")  # the best was highlighted
        assert lit(flow) == 4
        page.keyboard.press("Enter")
        assert lit(flow) == 5
        flow.locator(".legend button").first.click()
        assert lit(flow) == 4
        # Escape undoes what Enter did, and nothing else.
        flow.locator(".plot svg").focus()
        page.keyboard.press("End")
        page.keyboard.press("Enter")
        assert lit(flow) == 5
        page.keyboard.press("Escape")
        assert lit(flow) == 4
        assert page.locator("#tip").is_hidden()


def test_ranks_by_mouse_chooser_and_group(visit, marks_file):
    with visit(marks_file) as page:
        flow = figure(page, "ranks_grouped")
        flow.locator(".legend button").first.click()
        family = [n for i, n in enumerate(names(40)) if i % 7 == 2]
        assert lit(flow) == len(set(family) | set(ranks(40).shown))
        page.keyboard.press("Escape")
        assert lit(flow) == 5
        flow.locator("summary").click()
        flow.get_by_role("button", name="None listed").click()
        assert lit(flow) == 0
        flow.get_by_role("button", name="As at first").click()
        assert lit(flow) == 5
        flow.locator("summary").click()
        box = flow.locator(".plot svg").bounding_box()
        page.mouse.move(box["x"] + 90, box["y"] + box["height"] / 2)
        name = tip(page).split("\n")[0]
        before = lit(flow)
        page.mouse.click(box["x"] + 90, box["y"] + box["height"] / 2)
        assert name in names(40)
        assert abs(lit(flow) - before) == 1


def test_bars_are_read_by_keyboard(visit, marks_file):
    with visit(marks_file) as page:
        rows = figure(page, "ood")
        rows.locator(".plot").focus()
        page.keyboard.press("Home")
        value, *_ = bars().series["energy"][0] or (0.0,)
        assert tip(page).split("\n") == [
            "resnet50.a1_in1k",
            "energy",
            f"{100 * value:.1f}%",
        ]
        page.keyboard.press("ArrowRight")
        assert "max logit" in tip(page)
        assert "[" in tip(page)
        page.keyboard.press("End")
        assert HOSTILE in tip(page)
        assert rows.locator(".mark-rect path[stroke='var(--ink)']").count() == 1


def test_isolating_a_series_dims_the_others(visit, marks_file):
    with visit(marks_file) as page:
        rows = figure(page, "ood")
        pale = rows.locator(".mark-rect path[opacity='0.15']")
        assert pale.count() == 0
        rows.locator(".legend button").nth(1).click()
        assert pale.count() == 5
        page.keyboard.press("Escape")
        assert pale.count() == 0
        # A label that another chart isolates is isolated here, too.
        rows.locator(".mark-rect path").first.click()
        assert pale.count() == 5


def test_distributions_are_read_by_mouse_and_keyboard(visit, marks_file):
    with visit(marks_file) as page:
        ridge = figure(page, "ridges")
        assert ridge.locator(".plot svg").count() == 3
        written = texts(ridge)
        assert "adamw (failed)" in written
        ridge.locator(".mark-area path").first.hover()
        assert tip(page).split("\n")[:3] == ["adamw (failed)", "values", "12"]
        ridge.locator(".plot").focus()
        page.keyboard.press("Home")
        page.keyboard.press("ArrowDown")
        assert tip(page).startswith("lion (3 diverged)")
        box = figure(page, "boxes")
        assert box.locator(".mark-rect path").count() == 12
        box.locator(".legend button").first.click()
        assert box.locator(".mark-rect path[opacity='0.15']").count() == 6


def test_heat_map_marks_what_failed(visit, marks_file):
    with visit(marks_file) as page:
        table = page.locator("#figure-drops table.heat")
        table.scroll_into_view_if_needed()
        cells = table.locator("td.mark")
        assert cells.count() == 3
        styles = "l => l.map(e => getComputedStyle(e).outlineStyle)"
        assert len(set(cells.evaluate_all(styles))) == 3
        for word in ("failed", "diverged", "not trained"):
            assert table.locator(f"td.mark:has-text('{word}')").count() == 1
            assert word in page.locator("#figure-drops .key").inner_text()
        # The number stays beside the sign.
        assert re.match(r"-?\d", table.locator("td.mark").nth(1).inner_text())
        colours = """l => l.map(e => [getComputedStyle(e).color,
            getComputedStyle(e).backgroundColor]
            .map(c => c.match(/[0-9]+/g).map(Number)))"""
        for ink, ground in table.locator("td[style]").evaluate_all(colours):
            pair = [f"#{bytes(part[:3]).hex()}" for part in (ink, ground)]
            assert contrast(*pair) >= 4.5


@pytest.mark.parametrize(("width", "scheme"), [(320, "dark"), (390, "light")])
def test_phone(visit, marks_file, width, scheme):
    size = {"width": width, "height": 700}
    phone = {"viewport": size, "is_mobile": True, "has_touch": True}
    with visit(marks_file, color_scheme=scheme, **phone) as page:
        for name in CHARTS:
            figure(page, name)
            assert overflow(page) <= 0
        for name in ("ood", "ridges", "boxes"):
            for drawn in page.locator(f"#figure-{name} .plot svg").all():
                assert drawn.bounding_box()["width"] <= width
        rows = figure(page, "ood")
        rows.locator(".mark-rect path").first.tap()
        assert "resnet50.a1_in1k" in tip(page)


def test_dark_pages_have_dark_charts(visit, marks_file):
    with visit(marks_file, color_scheme="dark") as page:
        for name in CHARTS:
            drawn = figure(page, name).locator(".plot svg > rect")
            fills = drawn.evaluate_all("l => l.map(e => getComputedStyle(e).fill)")
            assert set(fills) <= {"rgba(0, 0, 0, 0)"}
            grounds = page.locator(f"#figure-{name} .plot svg").evaluate_all(
                "l => l.map(e => getComputedStyle(e).backgroundColor)"
            )
            assert set(grounds) == {"rgba(0, 0, 0, 0)"}


def test_charts_of_one_model(visit, tmp_path):
    flow = Ranks("flow", ("d",), {"m": (1.0,)})
    with visit(written(tmp_path, flow, Ranks("none", (), {}))) as page:
        assert "m" in texts(figure(page, "flow"))
        assert page.locator("#figure-none .plot").inner_text() == "Nothing to show."
