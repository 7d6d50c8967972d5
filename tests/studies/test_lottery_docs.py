"""The examples of the page, run; and the experiment files of the study."""

import doctest
from pathlib import Path

import pytest

from jaxbench.config import load_config

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "studies" / "lottery.md"


def test_examples_of_the_page():
    # Fences end an example's output, which doctest takes for a part of it.
    text = PAGE.read_text("utf-8").replace("```", "")
    parsed = doctest.DocTestParser().get_doctest(text, {}, PAGE.name, str(PAGE), 0)
    results = doctest.DocTestRunner().run(parsed)
    assert results.attempted > 5
    assert results.failed == 0


@pytest.mark.parametrize("name", ["lottery-digits", "lottery-imagenet"])
def test_experiment_files(name):
    config = load_config(ROOT / "configs" / "studies" / f"{name}.toml")
    assert config.name == name
    assert config.study is not None
    assert config.study.kind == "lottery"
    assert len(config.evaluate.clean) == 1
    assert config.evaluate.shifted
    assert config.train or len(config.evaluate.models) > 1
