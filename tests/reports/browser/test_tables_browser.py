"""Tables of a page: sorted, filtered, narrowed, and saved as they are seen."""

import csv
import io

import numpy as np
import pytest

from jaxbench.reports.cells import metric_column
from tests.reports.browser.sample_page import METRICS, names, table, values

pytestmark = pytest.mark.browser
NAME = "calibration"


def column(page, index, name=f"table-{NAME}"):
    cells = page.locator(f"#{name} tbody tr:not([hidden]) > :nth-child({index + 1})")
    return cells.all_text_contents()


def tools(page, name=f"table-{NAME}"):
    found = page.locator(f"[data-for={name}]")
    found.locator("button").first.wait_for()
    return found


def saved(page, name):
    with page.expect_download() as download:
        tools(page).get_by_role("button", name=name).click()
    return download.value.path().read_text(encoding="utf-8")


def copied(page, name):
    tools(page).get_by_role("button", name=name).click()
    page.get_by_text("Copied").wait_for()
    return page.evaluate("navigator.clipboard.readText()")


def test_sorting_by_click_and_by_key(visit, sample_file):
    top_5 = values(40)[:, 1]
    top_5[2] = np.nan  # last in both orders, as in the page
    rising = [names(40)[i] for i in np.argsort(top_5)]
    falling = [names(40)[i] for i in np.argsort(-top_5)]
    with visit(sample_file) as page:
        head = page.locator(f"#table-{NAME} thead th").nth(2)
        head.locator("button").click()
        assert column(page, 0) == falling
        assert head.get_attribute("aria-sort") == "descending"
        page.keyboard.press("Enter")  # the heading has the focus
        assert column(page, 0) == rising
        assert head.get_attribute("aria-sort") == "ascending"
        page.keyboard.press("Space")
        assert column(page, 0) == names(40)
        assert head.get_attribute("aria-sort") is None
        page.locator("#heat-agreement thead button").nth(3).click()
        sorted_column = list(map(float, column(page, 3, "heat-agreement")))
        assert sorted_column == sorted(sorted_column, reverse=True)


def test_a_filtered_table_is_saved_with_its_numbers(visit, sample_file):
    with visit(sample_file) as page:
        tools(page).locator("input[type=search]").fill("vit 1k")
        kept = [name for name in names(40) if name.startswith("vit")]
        assert column(page, 0) == kept
        count = tools(page).locator(".count").text_content()
        assert count == f"{len(kept)} of 40 rows"
        rows = list(csv.DictReader(io.StringIO(saved(page, "CSV"))))
        assert [row["model"] for row in rows] == kept
        accuracy = [float(row["accuracy"]) for row in rows]
        wanted = [values(40)[names(40).index(name), 0] for name in kept]
        np.testing.assert_allclose(accuracy, wanted, rtol=1e-6)


def test_files_of_the_page_are_those_of_the_command_line(visit, sample_file):
    ours = table(40)
    with visit(sample_file) as page:
        page.context.grant_permissions(["clipboard-read", "clipboard-write"])
        theirs = list(csv.reader(io.StringIO(saved(page, "CSV"))))
        wanted = list(csv.reader(io.StringIO(ours.to_csv())))
        assert theirs[0] == wanted[0]
        assert len(theirs) == len(wanted)
        for row, other in zip(theirs[1:], wanted[1:], strict=True):
            assert row[0] == other[0]
            numbers = [[float(v or "nan") for v in line[1:]] for line in (row, other)]
            # Seven digits are in the page.
            np.testing.assert_allclose(*numbers, rtol=1e-6)
        assert copied(page, "Markdown") == ours.to_markdown()
        page.get_by_text("Copied").wait_for(state="detached")
        assert copied(page, "LaTeX") == ours.to_latex()


def test_columns_are_hidden_and_intervals_left_out(visit, sample_file):
    with visit(sample_file) as page:
        assert "[" in column(page, 1)[0]
        tools(page).get_by_label("Intervals").uncheck()
        assert not any("[" in text for text in column(page, 1))
        tools(page).get_by_label("Intervals").check()
        assert "[" in column(page, 1)[0]
        tools(page).locator("summary").click()
        heading = metric_column(METRICS[0]).heading
        tools(page).locator(".list").get_by_label(heading, exact=True).uncheck()
        assert page.locator(f"#table-{NAME} thead th").nth(1).is_hidden()
        assert page.locator(f"#table-{NAME} tbody td").nth(1).is_hidden()
        header = saved(page, "CSV").splitlines()[0].split(",")
        assert METRICS[0] not in header
        assert METRICS[1] in header


def test_name_and_heading_stay_in_sight_on_a_phone(visit, sample_file):
    with visit(sample_file, viewport={"width": 390, "height": 700}) as page:
        box = page.locator(f".scroll:has(#table-{NAME})")
        box.scroll_into_view_if_needed()
        box.evaluate("e => e.scrollTo(400, 300)")
        outer = box.bounding_box()
        head = page.locator(f"#table-{NAME} thead th").first.bounding_box()
        assert head["x"] == pytest.approx(outer["x"], abs=2)
        assert head["y"] == pytest.approx(outer["y"], abs=2)
        # A metric is in sight beside the name.
        assert head["width"] < 0.6 * outer["width"]
