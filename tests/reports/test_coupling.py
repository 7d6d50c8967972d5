"""Grids, tables and findings of sweeps, against the study's functions."""

import dataclasses
import math

import numpy as np
import pytest

from jaxbench import studies
from jaxbench.reports.coupling_findings import find_coupling
from jaxbench.reports.coupling_published import (
    published_distances,
    published_spread_table,
    published_table,
)
from jaxbench.reports.coupling_sections import grid_sections
from jaxbench.reports.coupling_tables import (
    cost_table,
    failed_table,
    pair_table,
    profile_table,
    ranking_table,
    robustness_table,
    spread_table,
)
from jaxbench.studies import published
from jaxbench.studies.entries import load_results
from jaxbench.studies.grid_costs import ranking, read_costs, relative_costs
from jaxbench.studies.grid_failures import marked_failures, not_judged, too_few
from jaxbench.studies.grids import load_sweeps, optimizer_order
from jaxbench.training import OPTIMIZERS
from tests.reports.coupling_runs import (
    BEST,
    coupling_runs,
    coupling_trial,
    evaluations_of,
    write_store,
)
from tests.results.sample_runs import failed

PUBLISHED = {"resnet8": "resnet50_cifar", "vit_tiny": "convnext_tiny_cifar"}


def sweep_of(path, *runs):
    (sweep,) = load_sweeps(load_results(write_store(path, *runs)))
    return sweep


def cells_by(table, *names):
    """Rows by their first texts, as dictionaries of values by heading."""
    headings = [column.heading for column in table.columns]
    return {
        tuple(cell.text for cell in row[: len(names) or 1]): dict(
            zip(headings, (cell.value for cell in row), strict=True)
        )
        for row in table.rows
    }


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    return write_store(tmp_path_factory.mktemp("coupling"), *coupling_runs())


@pytest.fixture(scope="module")
def sweep(store):
    return load_sweeps(load_results(store))[0]


@pytest.fixture(scope="module")
def table(store):
    """The same grid by the study's functions alone."""
    rows = store.summary("trial").to_pylist()
    return studies.score_table(studies.best_pairs(rows))


def test_scores_are_the_studys_in_the_order_of_the_optimizers(sweep, table):
    assert sweep.table.optimizers == ("sgd", "lion", "adamw", "lamb", "rmsprop")
    assert sweep.table.diverged == table.diverged == {("sgd", "vit_tiny")}
    for optimizer in table.optimizers:
        for backbone in table.backbones:
            pair = optimizer, backbone
            assert sweep.table.value(*pair) == pytest.approx(
                table.value(*pair), nan_ok=True
            )
    assert sweep.table.value("lamb", "vit_tiny") == pytest.approx(0.80)


def test_titles_and_order_of_unknown_optimizers():
    names = ["mine", "rmsprop", "sgd momentum=0.5"]
    assert optimizer_order(names) == ["sgd momentum=0.5", "rmsprop", "mine"]
    assert list(OPTIMIZERS) == optimizer_order(list(OPTIMIZERS)[::-1])


@pytest.mark.parametrize("rule", ["fitted", "eq1"])
def test_failed_pairs_are_the_studys(sweep, table, rule):
    wanted = studies.failed_pairs(table, rule=rule)
    assert set(marked_failures(sweep, rule).pairs()) == set(wanted.pairs())
    rows = cells_by(failed_table(sweep, rule), "Optimizer", "Backbone")
    assert len(rows) == len(wanted.pairs())
    row = rows["LION", "resnet8"]
    place = wanted.backbones.index("resnet8")
    assert row["Threshold %"] == pytest.approx(wanted.thresholds[place])
    assert row["Median %"] == pytest.approx(np.median(BEST["resnet8"]))
    lost = rows["SGD-M", "vit_tiny"]
    assert lost["Score %"] is None
    assert lost["Reason"] == "every grid point diverged"


def test_few_optimizers_have_no_failure_but_a_divergence(tmp_path):
    kept = ("sgd", "lamb", "lion")
    runs = [run for run in coupling_runs() if run.settings["optimizer"] in kept]
    few = sweep_of(tmp_path, *runs)
    assert too_few(few.table) == ("resnet8", "vit_tiny")
    assert marked_failures(few).pairs() == (("sgd", "vit_tiny"),)


def test_spread_is_the_studys(sweep, table):
    rows = cells_by(spread_table(sweep))
    for backbone in table.backbones:
        plain = studies.plain_statistics(table)[backbone]
        trimmed = studies.trimmed_statistics(table)[backbone]
        row = rows[backbone,]
        assert row["Optimizers"] == plain.num
        assert (row["Mean %"], row["Std"], row["Range"]) == pytest.approx(plain[:3])
        parts = ("Trimmed mean %", "Trimmed std", "Trimmed range")
        assert [row[name] for name in parts] == pytest.approx(trimmed[:3])
    assert rows["resnet8",]["Failed"] == "LION"
    assert rows["vit_tiny",]["Failures"] == 2  # SGD-M diverged, RMSProp is far below


def test_robustness_is_the_studys(store, sweep):
    pairs = studies.best_pairs(store.summary("trial").to_pylist())
    wanted = studies.rank_distances(studies.tuned_table(pairs))
    rows = cells_by(robustness_table(sweep), "Of", "Name")
    for name, found in wanted.per_optimizer().items():
        row = rows.get(("optimizer", OPTIMIZERS[name].title))
        if not found.num:
            assert row is None  # SGD-M has settings on one backbone alone
            continue
        assert row["Mean distance"] == pytest.approx(found.mean)
        assert row["Pairs"] == found.num
    assert rows["optimizer", "RMSProp"]["Mean distance"] == 0.5
    assert rows["optimizer", "LAMB"]["Mean distance"] == 0.0


def test_ranking_leaves_out_what_has_no_distance(sweep):
    table = ranking_table(sweep)
    names = [row[0].text for row in table.rows]
    assert "SGD-M" not in names
    ranked, columns = ranking(sweep)
    assert [row.optimizer for row in ranked] == [
        row.optimizer for row in studies.rank_optimizers(columns)
    ]
    kept = sweep.table.select(optimizers=("lion", "adamw", "lamb", "rmsprop"))
    wanted = studies.ranking_columns(
        kept,
        sweep.distances,
        studies.failed_pairs(sweep.table),
        {"lion": 1.0, "adamw": 1.0, "lamb": 2.0, "rmsprop": 1.0},
    )
    assert columns == wanted
    assert relative_costs(sweep)["lamb"] == 2.0
    text = next(s for s in _sections(sweep) if s.name == "ranking").caption
    assert "Not ranked" in text
    assert "SGD-M." in text


def _sections(sweep):
    costs = read_costs_of_nothing(sweep)
    return grid_sections(sweep, costs)


def read_costs_of_nothing(sweep):
    from jaxbench.studies.grid_costs import Costs

    shape = sweep.table.values.shape
    nan = np.full(shape, np.nan)
    return Costs(*(sweep.table.optimizers, sweep.table.backbones), nan[0], nan)


def test_costs(store, sweep):
    costs = read_costs(store, sweep)
    assert costs.targets == pytest.approx([0.95 * 0.83, 0.95 * 0.80])
    # Of four even steps to 0.83 the last is the first above 95 %.
    assert costs.value("lamb", "resnet8") == 8.0
    assert costs.value("adamw", "resnet8") == 4.0
    assert costs.value("lion", "resnet8") == math.inf
    assert costs.value("sgd", "vit_tiny") == math.inf
    rows = cells_by(cost_table(sweep, costs), "Optimizer", "Backbone")
    row = rows["LAMB", "resnet8"]
    assert (row["Seconds to target"], row["Steps/s"]) == (8.0, 50.0)
    assert (row["State MB"], row["Peak memory MB"]) == (2.0, 5.0)
    assert rows["LION", "resnet8"]["Seconds to target"] is None
    names, times = costs.workloads(sweep)
    wanted = studies.cost_profiles(names, times)
    found = cells_by(profile_table(sweep, costs))
    for profile in wanted:
        row = found[OPTIMIZERS[profile.optimizer].title,]
        assert row["Profile score"] == pytest.approx(profile.score)
        assert row["Targets reached"] == profile.num_reached


def test_times_are_the_mean_over_seeds(tmp_path):
    slow = coupling_trial(seed=1, final=0.8)
    slow.curves["seconds"] *= 3
    store = write_store(tmp_path, coupling_trial(seed=0, final=0.8), slow)
    (sweep,) = load_sweeps(load_results(store))
    assert read_costs(store, sweep).value("sgd", "resnet8") == (4 + 12) / 2


def test_curves_without_times_cost_nothing_known(tmp_path):
    run = coupling_trial()
    del run.curves["seconds"]
    store = write_store(tmp_path, run)
    (sweep,) = load_sweeps(load_results(store))
    costs = read_costs(store, sweep)
    assert math.isnan(costs.value("sgd", "resnet8"))
    assert costs.workloads(sweep)[0] == ()


def test_test_accuracy_reports_where_the_best_were_tested(tmp_path):
    runs = list(coupling_runs())
    tests = list(evaluations_of(runs))
    whole = sweep_of(tmp_path / "a", *runs, *tests)
    assert (whole.score, whole.tested_on) == ("Accuracy on digits@test", "digits@test")
    best = whole.best["lamb", "resnet8"]
    (row,) = whole.chosen(best)
    accuracy = next(
        t.metrics["accuracy"] for t in tests if t.settings["trial_id"] == row["run_id"]
    )
    assert best.score == accuracy
    assert best.val_accuracy == pytest.approx(0.83)
    part = sweep_of(tmp_path / "b", *runs, *tests[:4])
    assert (part.score, part.tested_on) == ("Validation accuracy", None)


def test_a_grid_for_each_dataset_and_a_name_for_each_recipe(tmp_path):
    runs = [
        coupling_trial(epochs=2),
        coupling_trial(epochs=4),
        coupling_trial(optimizer="adamw", beta1=0.9),
        coupling_trial(optimizer="adamw", beta1=0.8),
        coupling_trial(dataset="other@train"),
    ]
    first, second = load_sweeps(load_results(write_store(tmp_path, *runs)))
    assert (first.dataset, second.dataset) == ("digits@train", "other@train")
    assert set(first.table.backbones) == {"resnet8 (epochs=2)", "resnet8 (epochs=4)"}
    assert first.models["resnet8 (epochs=2)"] == "resnet8"
    assert set(first.titles.values()) == {"SGD-M", "AdamW beta1=0.9", "AdamW beta1=0.8"}
    assert second.table.backbones == ("resnet8",)


def test_of_two_trials_with_the_same_settings_the_later_counts(tmp_path):
    old = coupling_trial(final=0.9)
    new = dataclasses.replace(
        coupling_trial(final=0.7),
        run_id="new",
        provenance=old.provenance | {"created_at": "2026-02-02T03:04:05+00:00"},
    )
    assert sweep_of(tmp_path, old, new).table.values == pytest.approx(0.7)


def test_pairs_tell_their_settings_and_edges(sweep):
    rows = cells_by(pair_table(sweep), "Optimizer", "Backbone")
    row = rows["RMSProp", "vit_tiny"]
    assert (row["Learning rate"], row["At edge"]) == (0.1, "yes")
    assert rows["LAMB", "vit_tiny"]["At edge"] == ""
    assert rows["LION", "resnet8"]["Failed"] == "failed"
    lost = rows["SGD-M", "vit_tiny"]
    assert (lost["Failed"], lost["Usable"]) == ("diverged", 0)


@pytest.mark.parametrize(
    ("dataset", "num_classes", "wanted"),
    [
        ("tfds:cifar100@train[:90%]", 100, "cifar100"),
        ("folder:/data/CIFAR-100/train", 100, "cifar100"),
        ("tfds:cifar100@train", 20, None),
        ("cifar100-c/fog_1", 100, None),
        ("tfds:imagenette@train", 1000, None),
        ("imagenet-a@test", 1000, None),
        ("digits@train", 100, None),
    ],
)
def test_published_numbers_are_of_the_same_dataset(
    tmp_path, dataset, num_classes, wanted
):
    run = coupling_trial("resnet50_cifar", dataset=dataset, num_classes=num_classes)
    assert sweep_of(tmp_path, run).published == wanted


def test_imagenet_has_its_own_margin(tmp_path):
    run = coupling_trial("resnet50", dataset="tfds:imagenet2012@x", num_classes=1000)
    sweep = sweep_of(tmp_path, run)
    assert (sweep.published, sweep.margin) == ("imagenet1k", 0.01)
    assert published_table(sweep).rows[0][3].value == pytest.approx(0.7882)


def test_own_beside_published(tmp_path):
    runs = coupling_runs("tfds:cifar100@train", PUBLISHED, num_classes=100)
    sweep = sweep_of(tmp_path, *runs)
    theirs = published.load_published_scores("cifar100")
    rows = cells_by(published_table(sweep), "Optimizer", "Backbone")
    assert len(rows) == 9  # SGD-M diverged on one of the two
    row = rows["LAMB", "resnet50_cifar"]
    printed = theirs.value("LAMB", "R-50")
    assert (row["Own %"], row["Published %"]) == pytest.approx((0.83, printed))
    assert row["Difference"] == pytest.approx(0.83 - printed)
    names = ("SGD-M", "LION", "AdamW", "LAMB", "RMSProp")
    wanted = studies.trimmed_statistics(
        theirs.select(optimizers=names, backbones=["R-50"])
    )["R-50"]
    spread = cells_by(published_spread_table(sweep))["resnet50_cifar",]
    assert spread["Published Mean %"] == pytest.approx(wanted.mean)
    assert spread["Published Std"] == pytest.approx(wanted.std)
    distances = published_distances(sweep)
    assert set(distances.backbones) == set(PUBLISHED.values())
    assert set(distances.optimizers) == set(sweep.table.optimizers)


def test_no_published_column_on_another_dataset(sweep):
    assert not published_table(sweep).rows
    assert not published_spread_table(sweep).rows
    assert not {"published", "published_spread"} & {s.name for s in _sections(sweep)}


def test_validation_against_another_test_set_is_not_published(tmp_path):
    runs = list(coupling_runs("tfds:cifar100@train", PUBLISHED, num_classes=100))
    sweep = sweep_of(tmp_path, *runs, *evaluations_of(runs, "svhn@test"))
    assert sweep.tested_on == "svhn@test"
    assert sweep.published is None


def test_findings_name_the_failing_backbones_and_the_best_optimizer(sweep):
    found = {f.title: f for f in find_coupling(sweep)}
    coupling = found["Backbone-optimizer coupling"]
    assert coupling.value == "3 of 10 pairs failed"
    assert coupling.text.startswith("Most on vit_tiny (2), resnet8 (1).")
    assert "SGD-M, RMSProp" in coupling.text
    best = [r.optimizer for r in ranking(sweep)[0] if r.place == 1]
    assert found["Best-ranked optimizer"].value == OPTIMIZERS[best[0]].title


def finding(sweep, title, rule="fitted"):
    (found,) = [f for f in find_coupling(sweep, rule) if f.title == title]
    return found


def test_case_15_below_four_optimizers_nothing_is_said_to_hold(tmp_path):
    runs = [
        coupling_trial(model, optimizer, final=final)
        for model, scores in {
            "convnext_micro": (0.90, 0.84, 0.85),
            "vit_micro": (0.952, 0.758, 0.94),
        }.items()
        for optimizer, final in zip(("adamw", "sgd", "adam"), scores, strict=True)
    ]
    sweep = sweep_of(tmp_path, *runs)
    words = "fewer than 4 optimizers; largest gap 19.4 points, SGD-M on vit_micro"
    assert not_judged(sweep) == f"not judged: {words}"
    found = finding(sweep, "Backbone-optimizer coupling")
    assert found.value == "Not judged"
    assert found.text.startswith(f"F{words[1:]}.")
    tables = {section.name: section for section in _sections(sweep)}
    assert f"not judged: {words}" in tables["failures"].caption
    (scores, *_) = tables["grid"].charts
    assert f"not judged: {words}" in scores.caption
    pairs = cells_by(pair_table(sweep), "Optimizer", "Backbone")
    assert {row["Failed"] for row in pairs.values()} == {"not judged"}
    spread = cells_by(spread_table(sweep))
    assert {row["Failures"] for row in spread.values()} == {"not judged"}


def test_case_15_some_backbones_have_too_few_optimizers(tmp_path):
    finals = {"sgd": 0.80, "adam": 0.81, "adamw": 0.82, "lamb": 0.83}
    runs = [coupling_trial("resnet8", o, final=value) for o, value in finals.items()]
    runs += [
        coupling_trial("vit_tiny", o, final=f) for o, f in (("sgd", 0.3), ("adam", 0.8))
    ]
    sweep = sweep_of(tmp_path, *runs)
    found = finding(sweep, "Backbone-optimizer coupling")
    assert found.value == "0 of 4 judged pairs failed"
    assert (
        "Not judged on vit_tiny: fewer than 4 optimizers with a score; largest gap "
        "50.0 points, SGD-M on vit_tiny."
    ) in found.text


def test_case_15_a_rule_that_marks_nothing_has_the_largest_gap_beside_it(tmp_path):
    # Half of the optimizers collapse: no quartile sees it.
    finals = {"sgd": 0.2, "adam": 0.95, "adamw": 0.95, "lamb": 0.2}
    runs = [coupling_trial("resnet8", o, final=value) for o, value in finals.items()]
    found = finding(sweep_of(tmp_path, *runs), "Backbone-optimizer coupling")
    assert found.value == "0 of 4 pairs failed"
    assert "largest gap 75.0 points, SGD-M on resnet8" in found.text
    assert "collapse" not in found.text


def test_case_14_the_best_ranked_optimizer_is_named_with_its_failures(tmp_path):
    # LION is the best on five backbones and collapses on the sixth.
    names = ("sgd", "adam", "adamw", "lamb", "lion")
    finals = {f"net{i}": (0.5, 0.52, 0.51, 0.53, 0.99) for i in range(5)}
    finals["hard"] = (0.80, 0.81, 0.82, 0.83, 0.3)
    runs = [
        coupling_trial(model, optimizer, rate=rate, final=final - 0.1 * (rate != 0.1))
        for model, scores in finals.items()
        for optimizer, final in zip(names, scores, strict=True)
        for rate in (0.1, 0.2)
    ]
    sweep = sweep_of(tmp_path, *runs)
    assert ("lion", "hard") in marked_failures(sweep).pairs()
    found = finding(sweep, "Best-ranked optimizer")
    assert "LION" in found.value
    assert "LION failed on hard." in found.text or "Failed on hard." in found.text
    assert "53.0 points, on hard" in found.text
    rows = cells_by(ranking_table(sweep))
    assert rows["LION",]["Failed on"] == "hard"
    assert rows["Adam",]["Failed on"] == ""


def test_findings_follow_the_rule(sweep):
    count = len(marked_failures(sweep, "eq1").pairs())
    found = finding(sweep, "Backbone-optimizer coupling", "eq1")
    assert found.value == f"{count} of 10 pairs failed"
    assert "by Eq. (1)" in found.text


def test_trials_without_settings_are_in_no_grid(tmp_path):
    run = coupling_trial()
    del run.settings["weight_decay"]
    results = load_results(write_store(tmp_path, run))
    assert load_sweeps(results) == ()


def test_pairs_that_crashed_are_named(tmp_path):
    lost = {"model": "mixer", "optimizer": "sgd", "dataset": "digits@train"}
    sweep = sweep_of(tmp_path, coupling_trial(), failed(lost))
    assert sweep.broken == (("sgd", "mixer"),)
