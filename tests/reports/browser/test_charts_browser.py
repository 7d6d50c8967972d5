"""Points and curves in a browser: read, isolated, zoomed, linked to and saved."""

import re
import xml.etree.ElementTree as ElementTree

import numpy as np
import pytest
from playwright.sync_api import expect

from jaxbench.reports.charts.names import Spot, place_names, spread
from jaxbench.reports.look import Look, style_at
from jaxbench.reports.page import Curves
from jaxbench.reports.stills import still
from tests.reports.browser.helpers import (
    BRIGHT,
    NUMBER,
    figure,
    redrawn,
    tip,
    written,
)
from tests.reports.browser.sample_page import (
    METRICS,
    curves,
    names,
    sample_page,
    scatter,
    values,
)

pytestmark = pytest.mark.browser


def shapes(picture):
    """What is drawn: tag, text and geometry of every element."""
    found = []
    for element in ElementTree.fromstring(picture).iter():
        tag = element.tag.rpartition("}")[2]
        if tag in ("path", "line", "text"):
            keys = ("d", "transform", "x", "y", "x2", "y2")
            places = " ".join(element.get(key, "") for key in keys)
            numbers = [float(number) for number in NUMBER.findall(places)]
            found.append((tag, "".join(element.itertext()), numbers))
    return found


def test_names_stand_in_the_page_as_in_stills(visit, sample_file):
    rng = np.random.default_rng(7)
    spots = [
        Spot(name, float(x), float(y))
        for name, (x, y) in zip(names(40), rng.uniform(0, 400, (40, 2)), strict=True)
    ]
    places = rng.uniform(0, 300, 25).round().tolist()  # some are equal
    with visit(sample_file) as page:
        rows = page.evaluate(
            "spots => placeNames(spots, 420, 380)", [spot._asdict() for spot in spots]
        )
        ours = place_names(spots, 420, 380)
        assert 0 < len(ours) < 40
        assert [row["text"] for row in rows] == [row["text"] for row in ours]
        for key in ("px", "py"):
            assert [r[key] for r in rows] == pytest.approx([r[key] for r in ours])
        for high in (300, 200):  # with room for all and without
            theirs = page.evaluate(
                "([places, high]) => spread(places, 11, 0, high)", [places, high]
            )
            assert theirs == pytest.approx(spread(places, 11, 0, high))


CHARTS = [chart for section in sample_page(40).sections for chart in section.charts]


@pytest.mark.parametrize("chart", CHARTS, ids=lambda chart: chart.name)
def test_a_saved_figure_is_the_still(visit, sample_file, chart):
    expected = shapes(still(chart, Look.of_page(sample_page(40))))
    with visit(sample_file) as page:
        one = page.locator(f"#figure-{chart.name}")
        one.scroll_into_view_if_needed()
        with page.expect_download() as saved:
            one.get_by_role("button", name="SVG").click()
        assert saved.value.suggested_filename == f"{chart.name}.svg"
        found = shapes(saved.value.path().read_bytes())
    assert [item[:2] for item in found] == [item[:2] for item in expected]
    for (_, text, ours), (_, _, theirs) in zip(found, expected, strict=True):
        assert ours == pytest.approx(theirs, abs=0.5), text


def test_a_figure_is_saved_as_a_picture_and_printed_alone(visit, sample_file):
    with visit(sample_file) as page:
        dots = figure(page, "accuracy_calibration")
        with page.expect_download() as saved:
            dots.get_by_role("button", name="PNG").click()
        assert saved.value.path().read_bytes()[:4] == b"\x89PNG"
        page.evaluate("window.print = () => {}")
        dots.get_by_role("button", name="PDF").click()
        page.emulate_media(media="print")
        expect(page.locator("#sheet svg").first).to_be_visible()
        expect(page.locator("main")).to_be_hidden()
        assert page.pdf()[:4] == b"%PDF"
        expect(page.locator("#sheet")).to_have_count(0)


def test_intervals_colours_and_search(visit, sample_file):
    with visit(sample_file) as page:
        dots = figure(page, "accuracy_calibration")
        bars = dots.locator(".mark-rule.role-mark line")
        assert bars.count() >= 80
        dots.get_by_label("Intervals").uncheck()
        expect(bars).to_have_count(0)
        dots.get_by_label("Colour").select_option("regime")
        expect(dots.locator(".legend button")).to_have_count(3)
        dots.get_by_label("Colour").select_option("")
        expect(dots.locator(".legend button")).to_have_count(0)
        dots.locator("input[type=search]").fill("swin distilled")
        both = [i for i in range(40) if i % 7 == 5 and i % 3 == 1]
        expect(dots.locator(".point")).to_have_count(len(both))
        dots.locator("input[type=search]").fill("no such model")
        expect(dots.locator(".nothing")).to_have_text("No model matches the filter.")


def test_a_box_drawn_with_the_mouse_is_the_new_range(visit, sample_file):
    with visit(sample_file) as page:
        dots = figure(page, "accuracy_calibration")
        area = dots.locator(".plot svg").bounding_box()
        start = (area["x"] + 0.6 * area["width"], area["y"] + 0.1 * area["height"])
        page.mouse.move(*start)
        page.mouse.down()
        page.mouse.move(start[0] + 150, start[1] + 120, steps=4)
        page.mouse.up()
        expect(dots.get_by_role("button", name="Whole range")).to_be_visible()
        assert dots.locator(".point").count() < 40
        expect(dots.locator(BRIGHT)).to_have_count(dots.locator(".point").count())


def test_many_models_have_no_intervals_and_few_names(visit, tmp_path):
    with visit(written(tmp_path, scatter(120))) as page:
        dots = figure(page, "accuracy_calibration")
        expect(dots.locator(".point")).to_have_count(120)
        assert dots.locator(".mark-rule.role-mark line").count() == 0
        assert dots.locator(".mark-text.role-mark text").count() == 0
        dots.locator("input[type=search]").fill("swin")
        names_ = dots.locator(".mark-text.role-mark text")
        names_.first.wait_for()
        assert 0 < names_.count() <= 30


def test_curves_side_by_side_and_panels(visit, sample_file):
    with visit(sample_file) as page:
        lines = figure(page, "risk_curves")
        lines.get_by_label("Side by side").check()
        expect(lines.locator(".cell")).to_have_count(5)
        assert lines.locator("h4").all_text_contents() == list(curves(40).shown)
        both = figure(page, "side_by_side")
        expect(both.locator(".cell")).to_have_count(2)
        both.locator(".plot svg").first.focus()
        page.keyboard.press("ArrowRight")
        assert "clean" in tip(page)
        page.keyboard.press("ArrowDown")
        page.keyboard.press("ArrowRight")
        assert "Coverage" in tip(page)


def test_axes_and_correlation(visit, sample_file):
    known = [i for i in range(40) if i % 7]
    ranks = values(40)[known][:, [METRICS.index("accuracy"), METRICS.index("nll")]]
    rho = np.corrcoef(ranks.argsort(0).argsort(0).T)[0, 1]
    with visit(sample_file) as page:
        dots = figure(page, "accuracy_calibration")
        dots.get_by_label("Up").select_option("nll")
        expect(dots.locator(".point")).to_have_count(len(known))
        status = dots.locator(".status").inner_text()
        assert status.startswith(f"{len(known)} of 40 models, 6 without both numbers")
        # Three decimals are shown.
        shown = float(re.search(r"Spearman's \S (.*)", status)[1])
        assert shown == pytest.approx(rho, abs=6e-4)


def test_points_by_keyboard(visit, sample_file):
    order = np.argsort(values(40)[:, 0])
    with visit(sample_file) as page:
        dots = figure(page, "accuracy_calibration")
        # One stop of the Tab key for all points.
        expect(dots.locator(".point[tabindex='0']")).to_have_count(1)
        dots.locator(".point[tabindex='0']").focus()
        page.keyboard.press("Home")
        for i in order[:3]:
            said = page.evaluate("document.activeElement.getAttribute('aria-label')")
            assert said == names(40)[i]
            assert names(40)[i] in tip(page)
            assert f"{100 * values(40)[i, 0]:.1f}% [" in tip(page)
            assert f"{5 + i} M" in tip(page)
            page.keyboard.press("ArrowRight")
        page.keyboard.press("End")
        page.keyboard.press("Enter")
        expect(dots.locator(BRIGHT)).to_have_count(1)
        last = dots.locator(BRIGHT)
        assert last.get_attribute("aria-label") == names(40)[order[-1]]
        assert last.get_attribute("aria-pressed") == "true"
        page.keyboard.press("Escape")
        expect(dots.locator(BRIGHT)).to_have_count(40)
        expect(page.locator("#tip")).to_be_hidden()


def test_zoom_and_front_by_key(visit, sample_file):
    with visit(sample_file) as page:
        dots = figure(page, "accuracy_calibration")
        whole = dots.get_by_role("button", name="Whole range")
        expect(whole).to_be_hidden()
        dots.get_by_role("button", name="Zoom in").press("Enter")
        expect(whole).to_be_visible()
        assert 0 < dots.locator(".point").count() < 40
        whole.press("Enter")
        expect(dots.locator(".point")).to_have_count(40)
        dots.get_by_label("Pareto front").check()
        accuracy, ece = values(40)[:, 0], values(40)[:, METRICS.index("ece")]
        beaten = (accuracy > accuracy[:, None]) & (ece < ece[:, None])
        best = set(np.flatnonzero(~beaten.any(1)).tolist())
        dots.locator(".plot .mark-line path[d^='M']").first.wait_for()
        assert on_front(dots) == best
        # Zoomed in, no other model is called the best.
        dots.get_by_role("button", name="Zoom in").press("Enter")
        expect(whole).to_be_visible()
        assert on_front(dots) < best


def on_front(dots):
    """The models at whose points the front has a corner."""
    line = dots.locator(".plot .mark-line path[d^='M']")
    if not line.count():
        return set()
    numbers = [float(n) for n in NUMBER.findall(line.first.get_attribute("d"))]
    corners = np.reshape(numbers, (-1, 2))
    found = set()
    for point in dots.locator(".point").all():
        place = [float(n) for n in NUMBER.findall(point.get_attribute("transform"))]
        if (np.abs(corners - place[:2]).max(1) < 0.01).any():
            found.add(int(point.get_attribute("data-i")))
    return found


def test_a_link_restores_what_is_isolated_everywhere(visit, sample_file):
    with visit(sample_file) as page:
        dots = figure(page, "accuracy_calibration")
        dots.get_by_label("Across").select_option("brier")
        point = dots.locator(f".point[aria-label='{names(40)[1]}']")
        point.focus()
        page.keyboard.press("Enter")
        expect(dots.locator(BRIGHT)).to_have_count(1)
        # The same model is isolated among the curves.
        pressed = figure(page, "risk_curves").locator("[aria-pressed='true']")
        expect(pressed).to_have_text([names(40)[1]])
        link = page.evaluate("link('selective')")
    assert link.startswith("#selective~")
    with visit() as page:
        page.goto(sample_file.as_uri() + link)
        expect(page.locator("#selective")).to_be_in_viewport()
        dots = figure(page, "accuracy_calibration")
        assert dots.get_by_label("Across").input_value() == "brier"
        expect(dots.locator(BRIGHT)).to_have_count(1)
        assert dots.locator(BRIGHT).get_attribute("aria-label") == names(40)[1]


def test_choosing_and_reading_curves(visit, sample_file):
    with visit(sample_file) as page:
        lines = figure(page, "risk_curves")
        lines.locator("summary").click()
        lines.locator(".chooser input[type=search]").fill("swin")
        lines.get_by_role("button", name="All listed").click()
        expect(lines.locator(".legend button")).to_have_count(10)
        assert "10 of 40 shown" in lines.locator("summary").inner_text()
        lines.get_by_role("button", name="As at first").click()
        expect(lines.locator(".legend button")).to_have_count(5)
        steps_ = figure(page, "invariance")
        steps_.locator(".plot svg").focus()
        page.keyboard.press("ArrowRight")
        page.keyboard.press("ArrowRight")
        assert "gaussian noise" in tip(page)
        assert tip(page).index("vit") < tip(page).index("resnet")  # by value


def test_isolating_by_click(visit, sample_file):
    with visit(sample_file) as page:
        dots = figure(page, "accuracy_calibration")
        first = dots.locator(".legend button").first
        size = int(first.inner_text().split()[-1])
        first.click()
        expect(dots.locator(BRIGHT)).to_have_count(size)
        assert dots.locator(".status").inner_text().startswith(f"{size} of 40")
        dots.get_by_role("button", name="Show all").click()
        expect(dots.locator(BRIGHT)).to_have_count(40)
        box = dots.locator(f".point[aria-label='{names(40)[5]}']").bounding_box()
        # Near is enough, for fingers.
        place = (box["x"] + box["width"] / 2 + 4, box["y"] + box["height"] / 2)
        page.mouse.move(*place)
        assert names(40)[5] in tip(page)
        page.mouse.click(*place)
        expect(dots.locator(BRIGHT)).to_have_count(1)


def test_styles_in_the_page_are_those_of_stills(visit, sample_file):
    with visit(sample_file) as page:
        found = page.evaluate("[...Array(40).keys()].map(styleAt)")
    ours = [style_at(slot) for slot in range(40)]
    assert len(set(ours)) == 40  # as many names can be distinguished
    assert [tuple(one.values()) for one in found] == [
        (one.colour, list(one.dash), one.shape) for one in ours
    ]


def test_choosing_no_curve_and_others_by_key(visit, sample_file):
    with visit(sample_file) as page:
        lines = figure(page, "risk_curves")
        legend = lines.locator(".legend button")
        colours = """l => Object.fromEntries(l.map(e =>
            [e.dataset.key, e.querySelector("line").getAttribute("stroke")]))"""
        before = legend.evaluate_all(colours)
        lines.locator("summary").click()
        boxes = lines.locator(".chooser input[type=checkbox]")
        # One stop of the Tab key for all boxes.
        stop = lines.locator(".chooser .list [tabindex='0']")
        stop.focus()
        page.keyboard.press("ArrowDown")
        page.keyboard.press("Space")
        expect(boxes.nth(1)).not_to_be_checked()
        expect(stop).to_have_count(1)
        assert stop.input_value() == "1"
        lines.get_by_role("button", name="None listed").click()
        expect(lines.locator(".nothing")).to_have_text("No model is chosen.")
        expect(legend).to_have_count(0)
        lines.get_by_role("button", name="All listed").click()
        expect(legend).to_have_count(40)
        # Who was there before has the colour of before.
        assert before.items() <= legend.evaluate_all(colours).items()


def test_many_curves_are_read_from_the_top(visit, sample_file):
    whole = curves(40)
    xs = whole.lines[names(40)[0]][0]
    with visit(sample_file) as page:
        lines = figure(page, "risk_curves")
        lines.locator("summary").click()
        with redrawn(lines):
            lines.get_by_role("button", name="All listed").click()
        lines.locator(".plot svg").focus()
        page.keyboard.press("End")
        read = page.locator("#tip dt").all_text_contents()
        last = {name: y[-1] for name, (_, y) in whole.lines.items()}
        assert read == sorted(last, key=lambda name: -last[name])[:12]
        assert "and 28 more" in tip(page)
        first = page.locator("#tip dd").first.inner_text()
        assert first.startswith(f"{100 * last[read[0]]:.1f}% [")
        page.keyboard.press("PageUp")
        assert f"Coverage {100 * xs[-11]:.1f}%" in tip(page)


def test_dots_of_short_curves_and_the_diagonal(visit, tmp_path):
    short, long = (
        Curves(name, {"m": (range(size), [0.5] * size)}, x_title="x", y_title="y")
        for name, size in (("short", 25), ("long", 26))
    )
    path = written(tmp_path, short, long, curves(2, "reliability"))
    with visit(path) as page:
        dots = ".mark-symbol path"
        assert figure(page, "short").locator(dots).count() == 25
        assert figure(page, "long").locator(dots).count() == 0
        diagonal = ".mark-line path[stroke-dasharray='5,4'][d^='M']"
        assert page.locator(f"#figure-long {diagonal}").count() == 0
        calibrated = figure(page, "reliability_curves").locator(diagonal)
        x0, y0, x1, y1 = map(float, NUMBER.findall(calibrated.get_attribute("d")))
        frame = page.locator("#figure-reliability_curves .plot .background").first
        box = frame.bounding_box()
        ends = (x1 - x0, y0 - y1)
        assert ends == pytest.approx((box["width"], box["height"]), abs=1)
