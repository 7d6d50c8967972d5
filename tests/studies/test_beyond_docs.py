"""The examples of the page, run; and the experiment files of the study."""

import doctest
import tomllib
from pathlib import Path

import pytest

from jaxbench.config import load_config, parse_config
from jaxbench.reports.studies import find_study
from jaxbench.studies.published.beyond import load_published_models

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "studies" / "beyond.md"


def test_examples_of_the_page(monkeypatch):
    monkeypatch.chdir(ROOT)
    # Fences end an example's output, which doctest takes for a part of it.
    text = PAGE.read_text("utf-8").replace("```", "")
    parsed = doctest.DocTestParser().get_doctest(text, {}, PAGE.name, str(PAGE), 0)
    results = doctest.DocTestRunner().run(parsed, clear_globs=False)
    assert results.attempted > 12
    assert results.failed == 0
    # A file for each task of VTAB, made of one that is shipped.
    for name, text in parsed.globs["files"].items():
        config = parse_config(tomllib.loads(text), origin=name)
        assert (f"{config.name}.toml", config.results) == (name, "results/vtab")
        addresses = [config.probe[0].train, *config.evaluate.clean]
        assert all(address.startswith("vtab/") for address in addresses)


@pytest.mark.parametrize("name", ["beyond-digits", "beyond-imagenet"])
def test_experiment_files(name):
    config = load_config(ROOT / "configs" / "studies" / f"{name}.toml")
    assert config.name == name
    assert config.study is not None
    find_study(config.study.kind, config.study.options)
    assert len(config.evaluate.clean) == 1
    assert config.train or config.evaluate.models


@pytest.mark.parametrize(
    "names", [("digits", "digits-noise"), ("dtd", "flowers102")], ids=" ".join
)
def test_files_of_several_datasets_share_a_folder(names):
    folder = ROOT / "configs" / "studies"
    configs = [load_config(folder / f"beyond-transfer-{name}.toml") for name in names]
    for config in configs:
        assert config.study is not None
        find_study(config.study.kind, config.study.options)
    assert len({config.results for config in configs}) == 1
    assert len({config.probe[0].models for config in configs}) == 1
    assert len({config.probe[0].train for config in configs}) == len(configs)


def test_the_papers_models_are_evaluated_at_every_size():
    folder = ROOT / "configs" / "studies"
    plain = load_config(folder / "beyond-imagenet.toml")
    sizes = load_config(folder / "beyond-imagenet-resolution.toml")
    assert {one.name for one in plain.evaluate.models} == set(load_published_models())
    assert sizes.results == plain.results
    found = {(one.name, one.image_size) for one in sizes.evaluate.models}
    assert found == {
        (one.name, size)
        for one in plain.evaluate.models
        for size in (112, 336, 512, 640)
    }
