"""The scatter under the reader's hands: axes, zoom, keys, clicks, and 700 models."""

import re

import numpy as np
import pytest
from playwright.sync_api import expect
from scipy.stats import spearmanr

from jaxbench.reports.page import Point, Scatter
from tests.reports.browser.helpers import BRIGHT, figure, places, redrawn, tip, written
from tests.reports.browser.sample_page import METRICS, names, scatter, table, values

pytestmark = pytest.mark.browser
NAME = "accuracy_calibration"


def plain(rows, groups=()):
    """A scatter of numbers without intervals, in a plane of accuracy and ECE."""
    points = []
    for i, row in enumerate(rows):
        numbers = {
            metric: (float(v), None, None)
            for metric, v in zip(("accuracy", "ece", "brier"), row, strict=False)
        }
        group = {"half": groups[i]} if groups else {"half": "one"}
        points.append(Point(f"m{i:02d}", numbers, group))
    return Scatter(NAME, tuple(points), "accuracy", "ece", group="half")


def span(dots, models):
    """How wide and how high the given models' points lie apart, in pixels."""
    found = places(dots)
    return np.ptp([found[i] for i in models if i in found], axis=0)


def test_axes_fit_what_is_shown(visit, sample_file):
    with visit(sample_file) as page:
        dots = figure(page, NAME)
        dots.get_by_label("Intervals").uncheck()
        dots.locator("input[type=search]").fill("swin")
        swin = [i for i in range(39) if i % 7 == 5]
        expect(dots.locator(".point")).to_have_count(len(swin))
        before = span(dots, swin)
        with redrawn(dots):
            dots.get_by_label("Fit axes").check()
        after = span(dots, swin)
        assert (after > before).all()
        # A twentieth of the range is left on each side.
        frame = dots.locator(".plot svg .background").first.bounding_box()
        np.testing.assert_allclose(after, [frame["width"] / 1.1, frame["height"] / 1.1])


def test_zoom_by_key_keeps_the_point_in_its_place(visit, sample_file):
    everyone = range(40)
    with visit(sample_file) as page:
        dots = figure(page, NAME)
        with redrawn(dots):
            dots.get_by_label("Intervals").uncheck()
        before, start = span(dots, everyone), places(dots)
        dots.locator(".point[tabindex='0']").focus()
        page.keyboard.press("Control+-")  # the browser's own zoom
        with redrawn(dots):
            page.keyboard.press("-")
        whole = dots.get_by_role("button", name="Whole range")
        expect(whole).to_be_visible()
        np.testing.assert_allclose(span(dots, everyone), before / 2, atol=0.01)
        with redrawn(dots):
            page.keyboard.press("+")
        np.testing.assert_allclose(list(places(dots).values()), list(start.values()))
        # However near, what has the focus stays in sight and can be left again.
        for _ in range(12):
            with redrawn(dots):
                page.keyboard.press("+")
        expect(dots.locator(".point")).to_have_count(1)
        expect(dots.locator(".point")).to_be_focused()
        whole.click()
        expect(dots.locator(".point")).to_have_count(40)


def test_every_key_that_moves_among_points(visit, sample_file):
    across = np.argsort(values(40)[:, 0]).tolist()
    down = np.argsort(-values(40)[:, METRICS.index("ece")]).tolist()
    here = across[0]
    wanted = [here]
    for order, move in ((across, 10), (across, 10), (across, -10), (down, 1)):
        here = order[min(39, max(0, order.index(here) + move))]
        wanted.append(here)
    wanted.append(down[max(0, down.index(here) - 1)])
    with visit(sample_file) as page:
        dots = figure(page, NAME)
        dots.locator(".point[tabindex='0']").focus()
        keys = ("Home", "PageDown", "PageDown", "PageUp", "ArrowDown", "ArrowUp")
        for key, model in zip(keys, wanted, strict=True):
            page.keyboard.press("Alt+ArrowDown")  # does not move
            page.keyboard.press(key)
            focused = dots.locator(".point:focus")
            assert focused.get_attribute("aria-label") == names(40)[model]
            assert names(40)[model] in tip(page)
            # A ring of 3 pixels is around it.
            ring = dots.locator(".plot svg path[stroke-width='3'][d]")
            expect(ring).to_have_count(1)
            place = focused.get_attribute("transform")
            assert ring.get_attribute("transform") == place


def test_correlation_gives_ties_their_mean_rank(visit, tmp_path):
    rng = np.random.default_rng(8)
    rows = rng.integers(0, 4, (30, 2)) / 4
    rows = np.column_stack([rows, np.full(30, 0.5)])
    groups = ["odd" if i % 2 else "even" for i in range(30)]
    with visit(written(tmp_path, plain(rows, groups))) as page:
        dots = figure(page, NAME)
        status = dots.locator(".status")
        for words, chosen in (("", rows), ("even", rows[::2])):
            dots.locator("input[type=search]").fill(words)
            expect(status).to_contain_text(f"{len(chosen)} of 30 models")
            shown = float(re.search(r"Spearman's \S (.*)", status.inner_text())[1])
            rho = spearmanr(chosen[:, 0], chosen[:, 1]).statistic
            assert shown == pytest.approx(rho, abs=6e-4)
        # A constant has no ranks.
        dots.get_by_label("Up").select_option("brier")
        expect(status).to_have_text("15 of 30 models")


def test_a_click_nearby_chooses_a_point(visit, tmp_path):
    corners = [(0.1, 0.1), (0.5, 0.5), (0.9, 0.9)]
    with visit(written(tmp_path, plain(corners))) as page:
        dots = figure(page, NAME)

        def click(away, i=1):
            box = dots.locator(f".point[data-i='{i}']").bounding_box()
            x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
            page.mouse.click(x + away, y)

        def chosen():
            pressed = dots.locator(".point[aria-pressed='true']")
            return [e.get_attribute("data-i") for e in pressed.all()]

        click(27)
        expect(dots.locator(BRIGHT)).to_have_count(3)
        assert chosen() == []
        click(21)
        expect(dots.locator(BRIGHT)).to_have_count(1)
        assert chosen() == ["1"]
        page.keyboard.press("Escape")
        expect(dots.locator(BRIGHT)).to_have_count(3)
        click(0, i=0)
        expect(dots.locator(BRIGHT)).to_have_count(1)
        # A point that is dimmed has to be met more closely.
        click(12)
        assert chosen() == ["0"]
        click(6)
        expect(dots.locator(BRIGHT)).to_have_count(2)


def test_700_models_by_20_metrics(visit, tmp_path):
    path = written(tmp_path, scatter(700), table=table(700))
    assert path.stat().st_size < 4e6
    with visit() as page:
        session = page.context.new_cdp_session(page)
        session.send("Performance.enable", {"timeDomain": "threadTicks"})

        def busy():
            measured = session.send("Performance.getMetrics")["metrics"]
            return {item["name"]: item["value"] for item in measured}["TaskDuration"]

        page.goto(path.as_uri(), wait_until="commit")
        page.locator(".point").first.wait_for()
        first = busy()
        expect(page.locator(".point")).to_have_count(700)
        assert page.locator(".mark-rule.role-mark line").count() == 0
        page.locator("[data-for=table-all] button").first.wait_for()
        assert page.locator("#table-all tbody tr").count() == 700
        page.get_by_label("Intervals").first.check()
        expect(page.locator(".mark-rule.role-mark line")).to_have_count(1400)
        page.get_by_label("Intervals").first.uncheck()
        opened = busy()
        with redrawn(page.locator(".chart")):
            page.locator(".chart").get_by_label("Up").select_option("brier")
        changed = busy() - opened
    # Processor time of the page's thread, which other programs do not add to.
    assert first < 3
    assert changed < 0.3
