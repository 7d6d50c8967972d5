"""The examples of the selective study's page, run."""

import doctest
from pathlib import Path

PAGE = Path(__file__).parents[2] / "docs" / "studies" / "selective.md"


def test_examples_of_the_page():
    # Fences end an example's output, which doctest takes for a part of it.
    text = PAGE.read_text("utf-8").replace("```", "")
    parsed = doctest.DocTestParser().get_doctest(text, {}, PAGE.name, str(PAGE), 0)
    results = doctest.DocTestRunner().run(parsed)
    assert results.attempted > 10
    assert results.failed == 0
