"""The page of the coupling study holds the numbers of its functions."""

import dataclasses
from typing import Any

import jax
import numpy as np
import pytest

from jaxbench.engine import weights_digest
from jaxbench.engine.trial_weights import weights_path
from jaxbench.errors import UserError
from jaxbench.reports.charts.matrix import shades_of_map
from jaxbench.reports.studies import STUDIES, find_study
from jaxbench.reports.studies.coupling import build
from jaxbench.results import ResultStore
from jaxbench.studies import cost_profiles, performance_profile
from jaxbench.studies.entries import load_results
from jaxbench.studies.grid_costs import read_costs
from jaxbench.studies.grid_failures import marked_failures
from jaxbench.studies.grids import load_sweeps
from model_zoo import create_model, save_variables
from tests.reports.coupling_runs import coupling_runs, coupling_trial, write_store
from tests.results.sample_runs import failed


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    return write_store(tmp_path_factory.mktemp("coupling"), *coupling_runs())


def sections_of(page) -> dict[str, Any]:
    return {section.name: section for section in page.sections}


def charts_of(page) -> dict[str, Any]:
    return {chart.name: chart for s in page.sections for chart in s.charts}


def sweep_of(store):
    return load_sweeps(load_results(store))[0]


def test_numbers_are_those_of_the_grid(store):
    page, sweep = build(store), sweep_of(store)
    assert page.sections[0].charts
    failed = marked_failures(sweep).pairs()
    assert len(sections_of(page)["failures"].table.rows) == len(failed)
    charts = charts_of(page)
    scores, gaps = charts["optimizer_backbone"], charts["gap_to_best"]
    for row, gap, backbone in zip(
        scores.values, gaps.values, sweep.table.backbones, strict=True
    ):
        wanted = [sweep.table.value(o, backbone) for o in sweep.table.optimizers]
        known = [s for s in wanted if s == s]
        assert row == tuple(s if s == s else None for s in wanted)
        assert gap == tuple(s - max(known) if s == s else None for s in wanted)


def test_failed_diverged_broken_and_untrained_pairs_are_distinguished(tmp_path):
    runs = [
        run
        for run in coupling_runs()
        if (run.settings["model"], run.settings["optimizer"]) != ("vit_tiny", "adamw")
    ]
    lost = {"model": "mixer", "optimizer": "sgd", "dataset": "digits@train"}
    chart = charts_of(build(write_store(tmp_path, *runs, failed(lost))))
    marks = chart["optimizer_backbone"].marks
    assert marks == chart["gap_to_best"].marks
    assert marks["resnet8", "LION"] == "failed"
    assert marks["vit_tiny", "SGD-M"] == "diverged"
    assert marks["mixer", "SGD-M"] == "error"
    assert marks["vit_tiny", "AdamW"] == marks["mixer", "LION"] == "not trained"
    assert ("resnet8", "AdamW") not in marks
    caption = chart["optimizer_backbone"].caption
    assert "a score below the median" in caption
    assert "Diverged:" in caption
    assert "Not trained:" in caption


def test_colours_of_gaps_tell_a_point_from_ten(store):
    chart = charts_of(build(store))["gap_to_best"]
    assert min(v for row in chart.values for v in row if v is not None) < -0.4
    assert chart.limits == (-0.1, 0.0)
    assert "Colours go from -10.0 to 0.0" in chart.caption
    shown = shades_of_map(chart)
    # A tenth of the scale, at least.
    assert shown.colour(-0.01) != shown.colour(0.0)
    assert shown.colour(-0.1) == shown.colour(-0.43)


def test_a_ridge_has_every_trial_and_says_what_was_lost(store):
    ridges = charts_of(build(store))["hyperparameter_ridges"]
    samples = {(b, s.label): s for b, panel in ridges.panels.items() for s in panel}
    assert samples["resnet8", "LION"].note == "failed"
    assert samples["vit_tiny", "SGD-M"].note == "3 diverged"
    assert not samples["vit_tiny", "SGD-M"].values
    assert sorted(samples["resnet8", "LAMB"].values) == pytest.approx(
        [0.73, 0.73, 0.83]
    )


def test_boxes_are_the_rank_distances(store):
    sweep = sweep_of(store)
    boxes = charts_of(build(store))["robustness"]
    for word, summaries in (
        ("optimizer", sweep.distances.per_optimizer()),
        ("backbone", sweep.distances.per_backbone()),
    ):
        for sample in boxes.panels[f"By {word}"]:
            names = {sweep.title(name): name for name in summaries}
            found = summaries.get(names.get(sample.label, sample.label))
            assert sample.group == "own"
            if found is not None and found.num:
                assert np.mean(sample.values) == pytest.approx(found.mean)
                assert len(sample.values) == found.num
            else:
                assert not sample.values


def test_profiles_are_the_studys_the_best_first(store):
    sweep = sweep_of(store)
    names, times = read_costs(store, sweep).workloads(sweep)
    chart = charts_of(build(store))["performance_profiles"]
    order = [row.optimizer for row in cost_profiles(names, times)]
    assert list(chart.lines) == [sweep.title(name) for name in order]
    taus = np.array(chart.lines[sweep.title(order[0])][0])
    wanted = performance_profile(times, taus)
    for name, values in zip(names, wanted, strict=True):
        np.testing.assert_allclose(chart.lines[sweep.title(name)][1], values)


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
        rule: len(sections_of(build(store, rule=rule))["failures"].table.rows)
        for rule in ("fitted", "eq1")
    }
    assert rows["eq1"] >= rows["fitted"] > 0
    with pytest.raises(UserError, match="did you mean 'fitted'"):
        build(store, rule="fited")


def test_every_page_says_how_it_was_made(store):
    page = STUDIES["coupling"].build(store, {"rule": "eq1"})
    made = dict(page.made)
    assert made["Page"] == f"jaxbench study coupling {store.path}"
    assert made["Options"] == "rule = eq1"
    assert made["Configuration digests"] == "feedbeef"
    assert "jax 0.10.2" in made["Versions"]
    assert ("git_commit", "0123abcd") in [
        (key, text) for key, _, text in page.provenance
    ]
    assert "Options" not in dict(STUDIES["coupling"].build(store, {}).made)


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
    charts = charts_of(page)
    assert {"optimizer_backbone", "optimizer_backbone_2"} <= set(charts)
    headings = [section.heading for section in page.sections]
    assert "Spread over the optimizers (pets@train)" in headings
    # Pictures before tables, of every grid.
    tables = [section.table is not None for section in page.sections]
    assert tables == sorted(tables)


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
