"""The page of the coupling study holds the numbers of its functions."""

import dataclasses

import jax
import numpy as np
import pytest

from jaxbench.engine import weights_digest
from jaxbench.engine.trial_weights import weights_path
from jaxbench.errors import UserError
from jaxbench.reports.studies import STUDIES, find_study
from jaxbench.reports.studies.coupling import build
from jaxbench.reports.study_page import write_page
from jaxbench.results import ResultStore
from jaxbench.studies.entries import load_results
from jaxbench.studies.grid_failures import marked_failures
from jaxbench.studies.grids import load_sweeps
from model_zoo import create_model, save_variables
from tests.reports.coupling_runs import coupling_runs, coupling_trial, write_store


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    return write_store(tmp_path_factory.mktemp("coupling"), *coupling_runs())


def test_numbers_are_those_of_the_grid(store, tmp_path):
    page = build(store)
    (sweep,) = load_sweeps(load_results(store))
    failed = marked_failures(sweep).pairs()
    sections = {section.name: section for section in page.sections}
    assert len(sections["failures"].table.rows) == len(failed)
    (chart,) = sections["failures"].charts
    for row, backbone in zip(chart.values, sweep.table.backbones, strict=True):
        scores = [sweep.table.value(o, backbone) for o in sweep.table.optimizers]
        known = [s for s in scores if s == s]
        assert row == tuple(s - max(known) if s == s else None for s in scores)
    count = len([b for _, b in failed if b == sweep.table.backbones[0]])
    assert (f"({count} failed)" in chart.rows[0]) == (count > 0)
    path = write_page(page, tmp_path / "page.html")
    assert sections["spread"].heading in path.read_text()


@pytest.fixture(scope="module")
def weighted(tmp_path_factory):
    """Two optimizers on a backbone: one with weights, another with a damaged file."""
    path = tmp_path_factory.mktemp("weighted")
    runs = [
        coupling_trial("resnet_micro", optimizer, seed=seed)
        for optimizer in ("sgd", "adamw", "lamb")
        for seed in (0, 1)
    ]
    variables = create_model("resnet_micro", num_classes=3, image_size=8).init(
        jax.random.key(0)
    )
    variables["layer1.0.conv1.kernel"] = variables["layer1.0.conv1.kernel"] * np.nan
    # An optimizer is shown by the first seed of its best grid point.
    runs[0] = dataclasses.replace(
        runs[0],
        provenance=runs[0].provenance | {"weights_digest": weights_digest(variables)},
    )
    store = write_store(path, *runs)
    (path / "weights").mkdir()
    save_variables(weights_path(path, runs[0].run_id), variables)
    weights_path(path, runs[2].run_id).write_bytes(b"no weights")
    return store, variables


def test_weights_by_layer_are_those_of_the_files(weighted):
    store, variables = weighted
    sections = {section.name: section for section in build(store).sections}
    (chart,) = sections["weights"].charts
    assert chart.heading == "resnet_micro"
    assert list(chart.panels) == ["Alpha", "Entropy", "L2 norm", "PCA energy"]
    names = [row[3].text for row in sections["layers"].table.rows]
    # From the input to the output, not by the alphabet.
    assert (names[0], names[-1]) == ("conv1", "fc")
    x, norms = chart.panels["L2 norm"].lines["SGD-M"]
    assert x == list(range(1, len(names) + 1))
    for name, norm in zip(names, norms, strict=True):
        wanted = np.linalg.norm(np.asarray(variables[f"{name}.kernel"], np.float64))
        assert norm == pytest.approx(wanted, rel=1e-5, nan_ok=True)
    x, entropies = chart.panels["Entropy"].lines["SGD-M"]
    kernel = np.asarray(variables["fc.kernel"], np.float64).ravel()
    shares = np.histogram(kernel, bins=256)[0] / kernel.size
    wanted = -sum(p * np.log(p) for p in shares if p)
    # A weight on the edge of a bin may fall on either side in float32.
    assert entropies[-1] == pytest.approx(wanted, abs=0.05)
    (pair,) = sections["weights"].table.rows
    finite = [norm for norm in norms if np.isfinite(norm)]
    assert len(finite) == len(norms) - 1
    assert pair[5].value == pytest.approx(np.mean(finite))


def test_weights_that_are_gone_or_damaged_are_named(weighted, store):
    caption = {s.name: s for s in build(weighted[0]).sections}["weights"].caption
    assert "The weights of 1 pair are missing (LAMB on resnet_micro)" in caption
    assert "The weights of AdamW on resnet_micro cannot be measured" in caption
    page = build(store)
    assert not [section for section in page.sections if section.name == "weights"]
    assert "The weights of 9 pairs are missing" in page.notes[-1]
    assert not any("weights" in note for note in build(store, weights=False).notes)
    with pytest.raises(UserError, match="wanted true or false"):
        find_study("coupling", {"weights": {"mine": "file"}})


def test_a_table_of_very_many_layers_is_left_to_the_command(weighted, monkeypatch):
    monkeypatch.setattr("jaxbench.reports.studies.coupling._MOST_LAYERS", 3)
    page = build(weighted[0])
    assert not [section for section in page.sections if section.name == "layers"]
    assert page.notes[-1].startswith("Weights by layer: 7 rows, which jaxbench")


def test_the_rule_decides(store):
    rows = {
        rule: len(build(store, rule=rule).sections[0].table.rows)
        for rule in ("fitted", "eq1")
    }
    assert rows["eq1"] >= rows["fitted"] > 0
    with pytest.raises(UserError, match="did you mean 'fitted'"):
        build(store, rule="fited")


def test_a_grid_each_for_two_datasets(tmp_path):
    runs = [
        coupling_trial(optimizer=o, dataset=d, final=0.5 + 0.1 * i)
        for d in ("digits@train", "pets@train")
        for i, o in enumerate(("sgd", "adamw"))
    ]
    page = build(write_store(tmp_path, *runs))
    names = [section.name for section in page.sections]
    assert "spread" in names
    assert "spread_2" in names
    assert len(set(names)) == len(names)


def test_nothing_trained(tmp_path):
    with pytest.raises(UserError, match="no finished trials"):
        build(ResultStore(tmp_path, create=True))


def test_every_study_is_there_and_documents_its_options():
    for name, study in STUDIES.items():
        for option in study.options():
            assert f"{option}:" in study._build().__doc__, (name, option)


def test_unknown_study_and_option():
    with pytest.raises(UserError, match="did you mean 'coupling'"):
        find_study("couplin")
    with pytest.raises(UserError, match="unknown option 'rules'"):
        find_study("coupling", {"rules": 1})


@pytest.mark.parametrize(
    ("kind", "options", "words"),
    [
        ("selective", {"severity_levels": 1}, "'selective': severity_levels is 1"),
        ("selective", {"rank_by": "accurancy"}, "did you mean 'accuracy'"),
        ("selective", {"regimes": "absent.csv"}, "cannot read"),
        ("selective", {"regimes": [1], "shown": 3}, "regimes is .*; shown is 3"),
        ("lottery", {"alpha": 0, "power": 1}, "alpha is 0, .*; power is 1"),
        ("lottery", {"power": 0.4}, r"power is 0.4, wanted a fraction in \[1/2, 1\)"),
        ("lottery", {"num_resamples": 0}, "num_resamples is 0"),
        ("lottery", {"alpha": "0.05"}, "alpha is '0.05'"),
        ("lottery", {"tables": [], "percent": True}, "tables, percent say.*--table"),
    ],
)
def test_values_are_checked_without_results(kind, options, words):
    with pytest.raises(UserError, match=words):
        find_study(kind, options)


def test_values_in_range_are_taken():
    for kind in STUDIES:
        assert find_study(kind) is STUDIES[kind]
    assert find_study("lottery", {"alpha": 0.01, "power": 0.5, "own": "digits@test"})
    assert find_study("selective", {"rank_by": "aurc_ts", "shown": ["a*"]})
