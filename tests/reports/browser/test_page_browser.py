"""A page as its reader has it: one file, both themes, phones, paper, and no script."""

import io

import pytest
from PIL import Image
from playwright.sync_api import expect

from jaxbench.reports.cells import Cell, Column, Table
from jaxbench.reports.charts.shades import contrast
from jaxbench.reports.look import DARK, LIGHT, NUM_COLOURS
from jaxbench.reports.page import (
    Curves,
    Finding,
    HeatMap,
    Page,
    Point,
    Ranks,
    Scatter,
    Section,
)
from jaxbench.reports.writing import write_page
from tests.reports.browser.helpers import (
    background,
    column,
    figure,
    figures,
    overflow,
    tip,
)
from tests.reports.browser.sample_page import (
    HOSTILE,
    names,
    sample_page,
    scatter,
    table,
    values,
)

pytestmark = pytest.mark.browser
NUM_CHARTS = 8


@pytest.mark.parametrize("width", [1280, 360])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_every_chart_is_drawn(visit, sample_file, width, scheme):
    size = {"width": width, "height": 900}
    with visit(sample_file, viewport=size, color_scheme=scheme) as page:
        assert page.title() == "One accuracy on one test set"
        assert page.locator(".chart").count() >= NUM_CHARTS
        for _ in figures(page):
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
        page.reload()
        assert background(page) == DARK["page"]
        assert "dark" in button.inner_text()
        button.click()
        assert "as the system" in button.inner_text()
        assert background(page) == LIGHT["page"]


@pytest.mark.parametrize("colours", [LIGHT, DARK], ids=["light", "dark"])
def test_contrast(colours):
    for ground in ("card", "page", "stripe"):
        for text in ("ink", "muted", "accent"):
            assert contrast(colours[text], colours[ground]) >= 4.5, (text, ground)
        # The borders of controls.
        assert contrast(colours["edge"], colours[ground]) >= 3, ground
    for slot in range(NUM_COLOURS):
        assert contrast(colours[f"c{slot}"], colours["card"]) >= 3, slot


@pytest.mark.parametrize(("width", "scheme"), [(320, "dark"), (390, "light")])
def test_phone(visit, sample_file, width, scheme):
    size = {"width": width, "height": 700}
    phone = {"viewport": size, "is_mobile": True, "has_touch": True}
    with visit(sample_file, color_scheme=scheme, **phone) as page:
        for _ in figures(page):
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
        # Called after the page's own listener: what the printer finds.
        page.evaluate("""addEventListener("beforeprint", () => {
          const marks = "[class*=mark-] :is(path, line)";
          const look = (one) => [one.clientWidth, one.querySelectorAll(marks).length];
          const charts = [...document.querySelectorAll(".chart:has(.plot)")];
          window.printed = charts.map((e) =>
            [e.id, [...e.querySelectorAll(".plot svg")].map(look)]);
        })""")
        ready = page.locator(".chart[data-drawn]").count()
        assert page.pdf()[:4] == b"%PDF"
        printed = dict(page.evaluate("window.printed"))
        assert ready < len(printed) == page.locator(".plot").count()
        for name, pictures in printed.items():
            assert pictures, name
            assert all(200 < width <= 660 for width, _ in pictures), name
            assert all(marks for _, marks in pictures), name
        assert printed["figure-accuracy_calibration"][0][0] == 660
        # The screen has its width again.
        page.wait_for_function("""() => {
          const plot = document.querySelector("#figure-accuracy_calibration .plot");
          return plot.querySelector("svg").clientWidth === plot.clientWidth;
        }""")
        page.emulate_media(media="print", color_scheme="dark")
        assert background(page, ".card") == LIGHT["card"]
        assert page.locator(".controls").first.is_hidden()


def test_pictures_folded_tables_and_how_it_was_made(visit, sample_file):
    with visit(sample_file, viewport={"width": 390, "height": 700}) as page:
        picture = page.get_by_alt_text(HOSTILE)
        picture.scroll_into_view_if_needed()
        expect(picture).to_have_js_property("naturalWidth", 4)
        assert "truth cat" in page.locator(".pictures li").inner_text()
        folded = page.locator("#table-mistakes")
        assert folded.is_hidden()
        page.get_by_text("12 rows").click()
        folded.locator("thead th").nth(1).locator("button").click()
        best = max(float(v) for v in values(12)[:, 0])
        assert column(page, 1, "table-mistakes")[0].startswith(f"{100 * best:.1f}")
        page.locator("nav a[href='#made']").click()
        made = page.locator("#made")
        assert HOSTILE in made.locator("code").all_text_contents()
        made.get_by_text("Provenance of 2 keys").click()
        keys = made.locator("tbody th").all_text_contents()
        assert keys == ["jax_version", "config_digest"]
        assert HOSTILE in made.locator("tbody td").all_text_contents()
        assert overflow(page) <= 0


def test_without_its_script_the_tables_are_there(visit, sample_file):
    with visit(sample_file, java_script_enabled=False) as page:
        assert page.locator("noscript").count() == 1
        assert page.locator("#table-calibration tbody td").count() == 40 * 21
        assert page.locator("#heat-agreement td").count() == 81


def test_a_picture_of_the_whole_page_has_its_tables(visit, tmp_path):
    parts = tuple(
        Section(name, name, "Many rows.", table=table(250)) for name in ("a", "b", "c")
    )
    path = write_page(Page("zoo", "Zoo", "?", "", (), (), parts), tmp_path / "p.html")
    with visit(path) as page:
        page.locator("[data-for=table-c] button").first.wait_for()
        box = page.locator("#c .scroll").bounding_box()
        assert box["y"] > page.viewport_size["height"]
        # What the picture has of the last table: neither one colour nor nothing.
        seen = page.screenshot(full_page=True, clip=box)
    with Image.open(io.BytesIO(seen)) as picture:
        colours = picture.convert("RGB").getcolors(1_000_000)
    assert len(colours) > 50
    most = max(count for count, _ in colours)
    assert most < 0.97 * sum(count for count, _ in colours)


LONG = "n" * 300
RIGHT_TO_LEFT = "\u05e9\u05dc\u05d5\u05dd \u202e evil"


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [320, 360, 1280])
def test_long_and_right_to_left_names_fit(visit, tmp_path, width, scheme):
    labels = (LONG, RIGHT_TO_LEFT, HOSTILE)
    numbers = {"accuracy": (0.5, 0.4, 0.6), "ece": (0.1, 0.05, 0.2)}
    lines = {name: ((0.0, 1.0), (0.1, 0.2)) for name in labels}
    cells = tuple((0.1, 0.2, 0.3) for _ in labels)
    charts = (
        Scatter("s", tuple(Point(name, numbers) for name in labels), "accuracy", "ece"),
        Curves("c", lines, x_title=LONG, y_title=RIGHT_TO_LEFT),
        Ranks("r", labels, {name: (1.0, 2.0, 3.0) for name in labels}),
        HeatMap("h", labels, labels, cells, title=LONG),
    )
    rows = Table((Column(LONG),), tuple((Cell(name, name),) for name in labels))
    part = Section("part", LONG, RIGHT_TO_LEFT, table=rows, charts=charts)
    whole = Page(
        "names",
        LONG,
        RIGHT_TO_LEFT,
        "",
        ((LONG, LONG),),
        (Finding(LONG, LONG, LONG), Finding("a", RIGHT_TO_LEFT, HOSTILE)),
        (part,),
        notes=(LONG,),
        made=(("Command", LONG),),
        provenance=((LONG, LONG, LONG),),
    )
    path = write_page(whole, tmp_path / "names.html")
    size = {"width": width, "height": 800}
    with visit(path, viewport=size, color_scheme=scheme) as page:
        for name in "scrh":
            figure(page, name)
            assert overflow(page) <= 0, name
        page.locator("#made summary").click()
        assert overflow(page) <= 0


def test_without_storage_the_theme_still_changes(visit, sample_file):
    with visit() as page:
        page.add_init_script(
            "Object.defineProperty(window, 'localStorage', {get() { throw 1; }})"
        )
        page.goto(sample_file.as_uri())
        page.locator(".theme").click()
        page.locator(".theme").click()
        assert background(page) == DARK["page"]


def test_a_linked_heading_is_not_under_the_navigation(visit, sample_file):
    with visit(sample_file) as page:
        page.locator("nav a[href='#lottery']").click()
        page.wait_for_timeout(900)  # the page scrolls smoothly
        nav = page.locator("nav").bounding_box()
        heading = page.locator("#lottery h2").bounding_box()
        assert heading["y"] >= nav["y"] + nav["height"] - 1


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
