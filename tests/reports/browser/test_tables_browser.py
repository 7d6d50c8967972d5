"""Tables of a page: sorted, filtered, narrowed, and saved as they are seen."""

import csv
import io

import numpy as np
import pytest

from jaxbench.reports.cells import MISSING, latex, metric_column
from tests.reports.browser.helpers import column, copied, saved, tools
from tests.reports.browser.sample_page import METRICS, heat_map, names, table, values

pytestmark = pytest.mark.browser
NAME = "table-calibration"


def test_sorting_by_click_and_by_key(visit, sample_file):
    top_5 = values(40)[:, 1]
    top_5[2] = np.nan  # last in both orders, as in the page
    rising = [names(40)[i] for i in np.argsort(top_5)]
    falling = [names(40)[i] for i in np.argsort(-top_5)]
    with visit(sample_file) as page:
        head = page.locator(f"#{NAME} thead th").nth(2)
        head.locator("button").click()
        assert column(page, 0, NAME) == falling
        assert head.get_attribute("aria-sort") == "descending"
        page.keyboard.press("Enter")  # the heading has the focus
        assert column(page, 0, NAME) == rising
        assert head.get_attribute("aria-sort") == "ascending"
        page.keyboard.press("Space")
        assert column(page, 0, NAME) == names(40)
        assert head.get_attribute("aria-sort") is None
        page.locator("#heat-agreement thead button").nth(3).click()
        sorted_column = list(map(float, column(page, 3, "heat-agreement")))
        assert sorted_column == sorted(sorted_column, reverse=True)


def test_a_filtered_table_is_saved_with_its_numbers(visit, sample_file):
    with visit(sample_file) as page:
        tools(page, NAME).locator("input[type=search]").fill("vit 1k")
        kept = [name for name in names(40) if name.startswith("vit")]
        assert column(page, 0, NAME) == kept
        count = tools(page, NAME).locator(".count").text_content()
        assert count == f"{len(kept)} of 40 rows"
        rows = list(csv.DictReader(io.StringIO(saved(page, "CSV", NAME))))
        assert [row["model"] for row in rows] == kept
        accuracy = [float(row["accuracy"]) for row in rows]
        wanted = [values(40)[names(40).index(name), 0] for name in kept]
        np.testing.assert_allclose(accuracy, wanted, rtol=1e-6)


def test_files_of_the_page_are_those_of_the_command_line(visit, sample_file):
    ours = table(40)
    with visit(sample_file) as page:
        theirs = list(csv.reader(io.StringIO(saved(page, "CSV", NAME))))
        wanted = list(csv.reader(io.StringIO(ours.to_csv())))
        assert theirs[0] == wanted[0]
        assert len(theirs) == len(wanted)
        for row, other in zip(theirs[1:], wanted[1:], strict=True):
            assert row[0] == other[0]
            numbers = [[float(v or "nan") for v in line[1:]] for line in (row, other)]
            # Seven digits are in the page.
            np.testing.assert_allclose(*numbers, rtol=1e-6)
        assert copied(page, "Markdown", NAME) == ours.to_markdown()
        assert copied(page, "LaTeX", NAME) == ours.to_latex()


def test_columns_are_hidden_and_intervals_left_out(visit, sample_file):
    with visit(sample_file) as page:
        assert "[" in column(page, 1, NAME)[0]
        tools(page, NAME).get_by_label("Intervals").uncheck()
        assert not any("[" in text for text in column(page, 1, NAME))
        tools(page, NAME).get_by_label("Intervals").check()
        assert "[" in column(page, 1, NAME)[0]
        tools(page, NAME).locator("summary").click()
        heading = metric_column(METRICS[0]).heading
        tools(page, NAME).locator(".list").get_by_label(heading, exact=True).uncheck()
        assert page.locator(f"#{NAME} thead th").nth(1).is_hidden()
        assert page.locator(f"#{NAME} tbody td").nth(1).is_hidden()
        header = saved(page, "CSV", NAME).splitlines()[0].split(",")
        assert METRICS[0] not in header
        assert METRICS[1] in header


def test_name_and_heading_stay_in_sight_on_a_phone(visit, sample_file):
    with visit(sample_file, viewport={"width": 390, "height": 700}) as page:
        box = page.locator(f".scroll:has(#{NAME})")
        box.scroll_into_view_if_needed()
        box.evaluate("e => e.scrollTo(400, 300)")
        outer = box.bounding_box()
        head = page.locator(f"#{NAME} thead th").first.bounding_box()
        assert head["x"] == pytest.approx(outer["x"], abs=2)
        assert head["y"] == pytest.approx(outer["y"], abs=2)
        # A metric is in sight beside the name.
        assert head["width"] < 0.6 * outer["width"]


@pytest.mark.parametrize("chart", [heat_map(), heat_map(diverging=True)])
def test_a_heat_map_is_filtered_and_saved(visit, sample_file, chart):
    name = f"heat-{chart.name}"
    with visit(sample_file) as page:
        head, *rows = csv.reader(io.StringIO(saved(page, "CSV", name)))
        assert head == ["name", *chart.columns]
        assert [row[0] for row in rows] == list(chart.rows)
        numbers = [[float(text or "nan") for text in row[1:]] for row in rows]
        # Numbers of the results, not the percent that is shown.
        np.testing.assert_allclose(
            numbers, np.asarray(chart.values, np.float64), rtol=1e-6
        )
        shown = [column(page, k, name) for k in range(len(head))]
        assert shown[2][0] == MISSING
        assert page.locator(f"#{name}.tall").count() == 1
        tools(page, name).locator("input[type=search]").fill("resnet")
        kept = [row for row in zip(*shown, strict=True) if "resnet" in row[0]]
        lines = copied(page, "Markdown", name).splitlines()
        wanted = [f"| {' | '.join(row)} |" for row in (("Name", *chart.columns), *kept)]
        assert lines == [wanted[0], "| --- |" + " ---: |" * 9, *wanted[1:]]
        rows = [
            line for line in copied(page, "LaTeX", name).splitlines() if "&" in line
        ]
        assert rows == [
            f"{' & '.join(map(latex, row))} \\\\"
            for row in (("Name", *chart.columns), *kept)
        ]
