"""The five studies' own pages in a browser, wide and light, narrow and dark."""

import pytest

from jaxbench.reports.page import HeatMap
from jaxbench.reports.studies import STUDIES
from jaxbench.reports.writing import write_page
from tests.reports.browser.helpers import overflow
from tests.reports.browser.study_pages import study_page

pytestmark = pytest.mark.browser
SCREENS = {
    "wide": {"viewport": {"width": 1280, "height": 900}},
    "narrow": {
        "viewport": {"width": 360, "height": 740},
        "is_mobile": True,
        "has_touch": True,
        "color_scheme": "dark",
    },
}


@pytest.mark.parametrize("name", STUDIES)
def test_the_page_of_a_study(visit, tmp_path, name):
    built = study_page(name, tmp_path / "results")
    path = write_page(built, tmp_path / f"{name}.html")
    charts = [chart for one in built.sections for chart in one.charts]
    assert charts
    for screen in SCREENS.values():
        # Leaving this block fails on any message in the browser's console.
        with visit(path, **screen) as page:
            assert page.title() == built.title
            for chart in charts:
                assert_drawn(page, chart)
            assert overflow(page) <= 0
            sort_and_filter(page)
            assert overflow(page) <= 0


def assert_drawn(page, chart):
    found = page.locator(f"#figure-{chart.name}")
    found.scroll_into_view_if_needed()
    if isinstance(chart, HeatMap):
        assert found.locator("td").count() > 0
        return
    found.locator(".plot svg").first.wait_for()
    plot = found.locator(".plot").bounding_box()["width"]
    assert 200 < plot <= page.viewport_size["width"]
    shapes = "[class*='mark-'] path, [class*='mark-'] rect, [class*='mark-'] line"
    marks = found.locator(f".plot svg :is({shapes})")
    assert marks.count() > 0, chart.name


def sort_and_filter(page):
    """The longest table: by its first column of several numbers, then by a name."""
    tools = page.locator("[data-for^=table-]:has(input[type=search])").all()
    names = [one.get_attribute("data-for") for one in tools]
    bodies = [page.locator(f"#{name} tbody").locator("tr") for name in names]
    size, longest = max((rows.count(), i) for i, rows in enumerate(bodies))
    table = page.locator(f"#{names[longest]}")
    columns = [i for i in range(table.locator("th").count()) if len(numbers(table, i))]
    place = next(i for i in columns if len(set(numbers(table, i))) > 1)
    head = table.locator("thead th").nth(place)
    head.locator("button").click()
    assert head.get_attribute("aria-sort") == "descending"
    values = numbers(table, place)
    assert values == sorted(values, reverse=True)
    word = table.locator("tbody td").first.inner_text()
    tools[longest].locator("input[type=search]").fill(word)
    shown = table.locator("tbody tr:not([hidden])").all_inner_texts()
    assert 0 < len(shown) < size
    assert all(word in text for text in shown)


def numbers(table, place):
    """The values of a column, in the order of the rows."""
    cells = table.locator(f"tbody tr > :nth-child({place + 1})")
    values = cells.evaluate_all("found => found.map(e => e.dataset.v)")
    return [float(value.split()[0]) for value in values if value]
