"""What tests do with a page that is open, and pages of a few charts."""

import re
from contextlib import contextmanager

from jaxbench.reports.page import Page, Section
from jaxbench.reports.writing import write_page

# The points that are not dimmed.
BRIGHT = ".point:not([opacity='0.12'])"
NUMBER = re.compile(r"-?\d+\.?\d*(?:e-?\d+)?")


def written(folder, *charts, table=None):
    """The file of a page of one section."""
    section = Section("all", "All", "What there is.", table=table, charts=charts)
    page = Page("few", "Few", "Which?", "", (), (), (section,))
    return write_page(page, folder / "page.html")


def figure(page, name):
    """A chart in sight, and so drawn."""
    found = page.locator(f"#figure-{name}")
    found.scroll_into_view_if_needed()
    if found.get_attribute("data-kind") != "heat":
        page.locator(f"#figure-{name}[data-drawn] .plot svg").first.wait_for()
    return found


@contextmanager
def redrawn(chart):
    """Ends when the chart is drawn anew for what was done in the block."""
    before = chart.get_attribute("data-drawn")
    yield
    later = (
        "([id, before]) => Number(document.getElementById(id).dataset.drawn) > before"
    )
    chart.page.wait_for_function(later, arg=[chart.get_attribute("id"), int(before)])


def figures(page):
    """Every chart in turn, in sight."""
    for chart in page.locator(".chart").all():
        yield figure(page, chart.get_attribute("id").removeprefix("figure-"))


def tip(page):
    return page.locator("#tip:not([hidden])").inner_text()


def texts(chart):
    return chart.locator(".plot svg text").all_text_contents()


def lit(flow):
    """How many lines of ranks have a colour."""
    strokes = flow.locator(".mark-line path").evaluate_all(
        "l => l.map(e => [e.getAttribute('stroke'), e.getAttribute('d')])"
    )
    return sum(bool(d) and re.match(r"var\(--c\d\)", s) is not None for s, d in strokes)


def places(dots):
    """Where each point of a scatter stands in its plot, by the number of its model."""
    found = dots.locator(".point").evaluate_all(
        "l => l.map(e => [e.dataset.i, e.getAttribute('transform')])"
    )
    numbers = {int(i): [*map(float, NUMBER.findall(at))][:2] for i, at in found}
    return dict(sorted(numbers.items()))


def overflow(page):
    return page.evaluate("document.documentElement.scrollWidth - innerWidth")


def background(page, selector="body"):
    colour = page.locator(selector).first.evaluate(
        "e => getComputedStyle(e).backgroundColor"
    )
    return f"#{bytes(map(int, re.findall(r'[0-9]+', colour)[:3])).hex()}"


def tools(page, name):
    """What stands over a table: filter, columns, files."""
    found = page.locator(f"[data-for={name}]")
    found.locator("button").first.wait_for()
    return found


def column(page, index, name):
    cells = page.locator(f"#{name} tbody tr:not([hidden]) > :nth-child({index + 1})")
    return cells.all_text_contents()


def saved(page, label, name):
    """The text of a table's file."""
    with page.expect_download() as download:
        tools(page, name).get_by_role("button", name=label).click()
    return download.value.path().read_text(encoding="utf-8")


def copied(page, label, name):
    """The text that a table's button copies."""
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    tools(page, name).get_by_role("button", name=label).click()
    page.get_by_text("Copied").wait_for()
    text = page.evaluate("navigator.clipboard.readText()")
    page.get_by_text("Copied").wait_for(state="detached")
    return text
