"""What is chosen in one chart holds in all, and in a link."""

from urllib.parse import unquote

import pytest
from playwright.sync_api import expect

from jaxbench.reports.page import Bars, Distributions, Panels, Samples
from tests.reports.browser.helpers import (
    BRIGHT,
    figure,
    lit,
    places,
    texts,
    tip,
    written,
)
from tests.reports.browser.sample_page import FAMILIES, curves, names, ranks, scatter

pytestmark = pytest.mark.browser
MODELS = names(9)
# Among the curves and not among the ranks that are in colour at first.
CHOSEN = next(name for name in curves(9).shown if name not in ranks(9).shown)


@pytest.fixture(scope="module")
def linked_file(tmp_path_factory):
    """The same nine models in every kind of chart."""
    bars = {"energy": tuple((k / 10, None, None) for k in range(9))}
    boxes = {"all": tuple(Samples(name, (0.1, 0.2, 0.5)) for name in MODELS)}
    quantities = {"Risk": curves(9), "Again": curves(9)}
    return written(
        tmp_path_factory.mktemp("page"),
        scatter(9),
        curves(9),
        Panels("panels", quantities),
        ranks(9),
        ranks(9, groups=True),
        Bars("bars", tuple(MODELS), bars | {"knn": bars["energy"]}, "AUROC"),
        Distributions("boxes", boxes, "box", "Accuracy"),
    )


def by_key(page, name):
    """Isolates the model by moving through the marks of a chart."""
    chart = figure(page, name)
    stop = ".point[tabindex='0']" if name == "accuracy_calibration" else ".plot"
    chart.locator(stop).focus()
    page.keyboard.press("Home")
    while CHOSEN not in tip(page):
        page.keyboard.press("ArrowRight")
    page.keyboard.press("Enter")


def by_legend(page, name):
    figure(page, name).locator(".legend button", has_text=CHOSEN).click()
    page.mouse.move(0, 0)  # what is under the pointer is emphasised, too


def pale(chart):
    return chart.locator("[class*='mark-'] path[opacity='0.15']")


@pytest.mark.parametrize(
    ("isolate", "source"),
    [
        (by_key, "accuracy_calibration"),
        (by_legend, "risk_curves"),
        (by_legend, "panels"),
        (by_key, "bars"),
        (by_key, "boxes"),
    ],
)
def test_a_model_is_isolated_in_every_chart(visit, linked_file, isolate, source):
    with visit(linked_file) as page:
        isolate(page, source)
        dots = figure(page, "accuracy_calibration")
        expect(dots.locator(BRIGHT)).to_have_count(1)
        assert dots.locator(BRIGHT).get_attribute("aria-label") == CHOSEN
        for name in ("risk_curves", "panels"):
            pressed = figure(page, name).locator("[aria-pressed='true']")
            expect(pressed).to_have_text([CHOSEN])
            assert pale(page.locator(f"#figure-{name}")).count() >= 4
        for name in ("ranks", "ranks_grouped"):
            flow = figure(page, name)
            assert lit(flow) == len(ranks(9).shown) + 1
            assert CHOSEN in texts(flow)
        assert pale(figure(page, "bars")).count() == 16
        assert pale(figure(page, "boxes")).count() > 0
        page.keyboard.press("Escape")
        expect(dots.locator(BRIGHT)).to_have_count(9)
        assert pale(page).count() == 0
        # The legend of ranks ends it, too.
        isolate(page, source)
        by_legend(page, "ranks")
        expect(dots.locator(BRIGHT)).to_have_count(9)
        assert lit(figure(page, "ranks")) == len(ranks(9).shown)


def test_a_group_is_isolated_in_every_chart(visit, linked_file):
    with visit(linked_file) as page:
        family = figure(page, "ranks_grouped").locator(".legend button").first
        family.click()
        dots = figure(page, "accuracy_calibration")
        pressed = dots.locator(".legend [aria-pressed='true']")
        expect(pressed).to_have_text(family.inner_text().replace("\n", ""))
        expect(dots.locator(BRIGHT)).to_have_count(2)


def seen(page):
    """What a reader has chosen, and what is to be seen of it."""
    dots, lines = figure(page, "accuracy_calibration"), figure(page, "risk_curves")
    flow = figure(page, "ranks")
    return {
        "pressed": dots.locator(".legend [aria-pressed='true']").all_inner_texts(),
        "status": dots.locator(".status").inner_text(),
        "words": dots.locator("input[type=search]").input_value(),
        "axes": [e.input_value() for e in dots.locator("select").all()],
        "boxes": [e.is_checked() for e in dots.locator("input[type=checkbox]").all()],
        "places": places(dots),
        "curves": lines.locator(".legend button").all_inner_texts(),
        "plots": lines.locator("h4").all_text_contents(),
        "ranks": flow.locator(".legend button").all_inner_texts(),
    }


def test_a_link_restores_all_that_was_chosen(visit, sample_file):
    with visit(sample_file) as page:
        page.context.grant_permissions(["clipboard-read", "clipboard-write"])
        untouched = seen(page)
        dots = figure(page, "accuracy_calibration")
        dots.get_by_label("Across").select_option("brier")
        dots.get_by_label("Intervals").uncheck()
        dots.get_by_label("Pareto front").check()
        dots.locator("input[type=search]").fill("ViT 224")
        dots.get_by_role("button", name="Zoom out").click()
        dots.locator(".legend button", has_text="ViT").click()
        lines = figure(page, "risk_curves")
        lines.get_by_label("Side by side").check()
        for chart in (lines, figure(page, "ranks")):
            chart.locator("summary").click()
            chart.get_by_role("button", name="None listed").click()
            chart.locator(".chooser input[type=search]").fill("swin")
            chart.get_by_role("button", name="All listed").click()
        lines.get_by_role("button", name="Copy link").click()
        lines.get_by_role("button", name="Link copied").wait_for()
        link = page.evaluate("navigator.clipboard.readText()")
        assert link == page.url
        chosen = seen(page)
    assert len(chosen["pressed"]) == 1
    assert all(chosen[key] != value for key, value in untouched.items())
    # A page of other models in another order understands it.
    assert unquote(link).count(names(40)[FAMILIES.index("Swin")]) == 2
    with visit() as page:
        page.goto(link)
        expect(page.locator("#selective")).to_be_in_viewport()
        assert seen(page) == chosen
    with visit() as page:  # as a message's line breaks leave it
        page.goto(link[:-30])
        assert seen(page) == untouched
