"""A headless Chromium, started once, and pages opened in it from files."""

import shutil
from contextlib import contextmanager

import pytest
from playwright.sync_api import sync_playwright

from jaxbench.reports.writing import write_page
from tests.reports.browser.sample_page import sample_page

NAMES = ("chromium", "chromium-browser", "google-chrome")


@pytest.fixture(scope="session")
def chromium():
    found = [path for path in map(shutil.which, NAMES) if path]
    if not found:
        pytest.fail(
            f"none of {', '.join(NAMES)} is on PATH: install chromium, or leave these "
            "tests out with -m 'not slow and not browser'"
        )
    with sync_playwright() as playwright:
        # Containers lack the rights that the sandbox needs; the page is our own.
        arguments = ["--no-sandbox", "--disable-gpu"]
        browser = playwright.chromium.launch(executable_path=found[0], args=arguments)
        yield browser
        browser.close()


@pytest.fixture(scope="session")
def sample_file(tmp_path_factory):
    return write_page(sample_page(40), tmp_path_factory.mktemp("page") / "sample.html")


@pytest.fixture
def visit(chromium):
    """Opens a file; what goes wrong in the page until its end fails the test.

    Without a file, the page is empty and the test itself goes where it wants, alone.
    """

    @contextmanager
    def opened(path=None, **settings):
        settings = {"viewport": {"width": 1280, "height": 900}} | settings
        context = chromium.new_context(**settings)
        context.set_default_timeout(10_000)
        page = context.new_page()
        problems, requests = [], []
        page.on("console", lambda message: problems.append(message.text))
        page.on("pageerror", lambda error: problems.append(str(error)))
        page.on("dialog", lambda dialog: problems.append(dialog.message))
        page.on("requestfailed", lambda request: problems.append(request.url))
        page.on("request", lambda request: requests.append(request.url))
        try:
            if path is not None:
                page.goto(path.as_uri())
            yield page
        finally:
            context.close()
        assert not problems
        # The page itself, what it holds, and what it saves.
        kinds = {url.partition(":")[0] for url in requests}
        assert kinds <= {"file", "blob", "data"}
        assert len({url for url in requests if url.startswith("file:")}) == 1

    return opened
