"""A page as its reader has it: one file, both themes, phones, paper, and no script."""

import re

import pytest

from jaxbench.reports.charts.shades import contrast
from jaxbench.reports.look import DARK, LIGHT, NUM_COLOURS
from jaxbench.reports.page import Page, Section
from jaxbench.reports.writing import write_page
from tests.reports.browser.sample_page import (
    HOSTILE,
    names,
    sample_page,
    scatter,
    table,
)

pytestmark = pytest.mark.browser
NUM_CHARTS = 8


def figure(page, name):
    """A chart in sight, and so drawn."""
    found = page.locator(f"#figure-{name}")
    found.scroll_into_view_if_needed()
    if found.get_attribute("data-kind") != "heat":
        found.locator(".plot svg").first.wait_for()
    return found


def overflow(page):
    return page.evaluate("document.documentElement.scrollWidth - innerWidth")


def tip(page):
    return page.locator("#tip:not([hidden])").inner_text()


def background(page, selector="body"):
    colour = page.locator(selector).first.evaluate(
        "e => getComputedStyle(e).backgroundColor"
    )
    return f"#{bytes(map(int, re.findall(r'[0-9]+', colour)[:3])).hex()}"


@pytest.mark.parametrize("width", [1280, 360])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_every_chart_is_drawn(visit, sample_file, width, scheme):
    size = {"width": width, "height": 900}
    with visit(sample_file, viewport=size, color_scheme=scheme) as page:
        assert page.title() == "One accuracy on one test set"
        charts = page.locator(".chart").all()
        assert len(charts) >= NUM_CHARTS
        for chart in charts:
            figure(page, chart.get_attribute("id").removeprefix("figure-"))
            assert overflow(page) <= 0
        dots = figure(page, "accuracy_calibration")
        assert dots.locator(".point").count() == 40
        assert dots.locator(".mark-rule.role-mark line").count() >= 2 * 40
        assert dots.locator(".legend button").count() == 7
        assert figure(page, "risk_curves").locator(".mark-line").count() >= 5
        # A gap ends a stretch: two for the line that lacks a point.
        lines = figure(page, "invariance").locator(".mark-line path")
        assert lines.count() == 3
        assert figure(page, "agreement").locator("td").count() == 81
        ground = DARK if scheme == "dark" else LIGHT
        assert background(page, ".card") == ground["card"]


def test_hostile_names_are_shown_as_they_are(visit, sample_file):
    with visit(sample_file) as page:
        dots = figure(page, "accuracy_calibration")
        dots.locator("input[type=search]").fill("alert(1)")
        dots.locator(".point").nth(1).wait_for(state="detached")
        assert dots.locator(".point").count() == 1
        shown = dots.locator(".mark-text.role-mark text").all_text_contents()
        assert shown == [HOSTILE[:32] + "…"]
        dots.locator(".point").focus()
        assert HOSTILE in tip(page)
        rows = page.locator("#table-calibration tbody td:first-child")
        assert HOSTILE in rows.all_text_contents()
        assert page.locator("b:text-is('x')").count() == 0


def test_the_theme_is_chosen_and_kept(visit, sample_file):
    with visit(sample_file) as page:
        button = page.locator(".theme")
        assert background(page) == LIGHT["page"]
        button.click()
        assert "light" in button.inner_text()
        button.click()
        assert "dark" in button.inner_text()
        assert background(page) == DARK["page"]
        assert page.evaluate("localStorage.getItem('jaxbench-theme')") == "dark"


@pytest.mark.parametrize("colours", [LIGHT, DARK], ids=["light", "dark"])
def test_contrast(colours):
    for ground in ("card", "page", "stripe"):
        for text in ("ink", "muted", "accent"):
            assert contrast(colours[text], colours[ground]) >= 4.5, (text, ground)
    for slot in range(NUM_COLOURS):
        assert contrast(colours[f"c{slot}"], colours["card"]) >= 3, slot


@pytest.mark.parametrize(("width", "scheme"), [(320, "dark"), (390, "light")])
def test_phone(visit, sample_file, width, scheme):
    size = {"width": width, "height": 700}
    phone = {"viewport": size, "is_mobile": True, "has_touch": True}
    with visit(sample_file, color_scheme=scheme, **phone) as page:
        for chart in page.locator(".chart").all():
            figure(page, chart.get_attribute("id").removeprefix("figure-"))
            assert overflow(page) <= 0
        # What is wide scrolls inside its own box.
        assert page.locator("#table-calibration").bounding_box()["width"] > width
        dots = figure(page, "accuracy_calibration")
        assert dots.locator(".plot svg").bounding_box()["width"] <= width
        dots.locator(".point").first.tap()
        dim = dots.locator(".point[opacity='0.12']")
        dim.nth(38).wait_for(state="attached")
        assert dim.count() == 39
        assert "ECE" in tip(page)
        dots.get_by_role("button", name="Show all").tap()
        dim.first.wait_for(state="detached")
        assert page.locator("#tip").is_hidden()
        lines = figure(page, "reliability_curves")
        lines.locator(".plot svg").tap(position={"x": 150, "y": 120})
        assert names(40)[0] in tip(page)


def test_keyboard_reaches_everything(visit, sample_file):
    with visit(sample_file) as page:
        page.keyboard.press("Tab")
        assert page.evaluate("document.activeElement.className") == "skip"
        page.keyboard.press("Enter")
        assert page.evaluate("location.hash") == "#main"
        stops = page.locator("#figure-accuracy_calibration .plot [tabindex='0']")
        figure(page, "accuracy_calibration")
        assert stops.count() == 1
        boxes = page.locator(".scroll:has(table)")
        assert boxes.evaluate_all("l => l.every(e => e.tabIndex === 0)")


def test_print_draws_what_was_never_in_sight(visit, sample_file):
    with visit(sample_file) as page:
        drawn = page.locator(".chart:not([data-kind=heat]) .plot svg")
        before = drawn.count()
        assert page.pdf()[:4] == b"%PDF"
        charts = page.locator(".chart:not([data-kind=heat])").count()
        assert before < charts
        assert drawn.count() >= charts
        page.emulate_media(media="print", color_scheme="dark")
        assert background(page, ".card") == LIGHT["card"]
        assert page.locator(".controls").first.is_hidden()


def test_without_its_script_the_tables_are_there(visit, sample_file):
    with visit(sample_file, java_script_enabled=False) as page:
        assert page.locator("noscript").count() == 1
        assert page.locator("#table-calibration tbody td").count() == 40 * 21
        assert page.locator("#heat-agreement td").count() == 81


def test_a_whole_page_fits_into_one_picture(visit, tmp_path):
    section = Section("zoo", "Zoo", "Many rows.", table=table(150))
    path = write_page(
        Page("zoo", "Zoo", "?", "", (), (), (section,)), tmp_path / "p.html"
    )
    with visit(path) as page:
        box = page.locator("#zoo").bounding_box()
        assert page.screenshot(full_page=True)[:4] == b"\x89PNG"
        assert page.locator("#zoo").bounding_box() == box
        assert page.locator("#table-zoo tbody tr").last.is_visible()


def test_reduced_motion(visit, sample_file):
    with visit(sample_file, reduced_motion="reduce") as page:
        motion = "getComputedStyle(document.documentElement).scrollBehavior"
        assert page.evaluate(motion) == "auto"


@pytest.mark.parametrize("count", [0, 1])
def test_page_of_one_model_and_page_of_none(visit, tmp_path, count):
    whole = scatter(40)
    points = whole.points[1 : 1 + count]
    one = type(whole)(whole.name, points, "accuracy", "nll", group="family")
    section = Section("all", "All", "", charts=(one,))
    page = Page("sparse", "Few", "?", "a book", (), (), (section,))
    path = write_page(page, tmp_path / "page.html")
    with visit(path) as opened:
        dots = opened.locator("#figure-accuracy_calibration")
        if count:
            dots.locator(".point").wait_for()
        else:
            message = dots.locator(".nothing")
            message.wait_for()
            assert "No model has both numbers" in message.inner_text()


def test_the_sample_page_is_small(sample_file):
    assert sample_file.stat().st_size < 1.2e6
    assert len(sample_page(40).sections) >= 4
