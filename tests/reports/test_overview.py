"""The ordinary report holds the numbers of its store, whatever is in it."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from jaxbench.errors import UserError
from jaxbench.metrics import reliability_bins, risk_coverage_curve
from jaxbench.reports import write_report
from jaxbench.reports.check import check_page
from jaxbench.reports.overview import MAX_CELLS, build_report
from jaxbench.reports.overview_charts import MAX_DRAWN, MAX_KEPT, MAX_POINTS
from jaxbench.reports.overview_findings import find
from jaxbench.reports.studies import STUDIES
from jaxbench.results import ResultStore
from jaxbench.studies.entries import load_results
from jaxbench.studies.mistakes import Answers, confident_mistakes
from tests.reports.coupling_runs import coupling_runs, coupling_trial
from tests.reports.parsed import Parsed
from tests.results.sample_runs import evaluation, failed, trial

CHARTS = {
    "accuracy_calibration",
    "reliability",
    "risk_coverage",
    "corruption_severity",
    "out_of_distribution",
    "learning_curves",
    "optimizer_backbone",
    "gap_to_best",
    "hyperparameter_ridges",
    "robustness",
    "confusions",
}
NAN = float("nan")


def store_of(tmp_path, *runs):
    store = ResultStore(tmp_path / "store", create=True)
    for run in runs:
        store.write(run)
    return store


def report_of(tmp_path, *runs, **settings):
    page = build_report(store_of(tmp_path, *runs), **settings)
    check_page(page)
    return page


def charts_of(page) -> dict[str, Any]:
    return {chart.name: chart for s in page.sections for chart in s.charts}


def sections_of(page) -> dict[str, Any]:
    return {section.name: section for section in page.sections}


def models(count, **settings):
    """Evaluations of models of rising skill on one dataset."""
    return [
        evaluation(
            {"model": f"model_{i}"} | settings,
            "d@test",
            "clean",
            skill=2 + 2 * i / count,
            n=60,
        )
        for i in range(count)
    ]


@pytest.fixture(scope="module")
def page(sweep_store):
    page = build_report(sweep_store)
    check_page(page)
    return page


@pytest.fixture(scope="module")
def results(sweep_store):
    return load_results(sweep_store)


def test_a_sweep_has_findings_then_charts_then_tables_then_what_failed(page):
    assert set(charts_of(page)) == CHARTS
    assert page.findings
    pictures = [bool(section.charts) for section in page.sections]
    assert pictures == sorted(pictures, reverse=True)
    names = list(sections_of(page))
    assert names.index("models") < names.index("spread") < names.index("failed")
    assert names[-2:] == ["trials", "evaluations"]
    assert (page.title, page.name) == ("quickstart", "report")
    assert [s.name for s in page.sections if s.folded] == ["trials", "evaluations"]


def test_scatter_has_every_metric_with_its_interval(page, results):
    scatter = charts_of(page)["accuracy_calibration"]
    assert (scatter.x, scatter.y, scatter.group) == ("accuracy", "ece", "backbone")
    points = {point.label: point for point in scatter.points}
    assert set(points) == {entry.label for entry in results.entries}
    for entry in results.entries:
        row, values = results.clean_row(entry), points[entry.label].values
        for name in ("accuracy", "ece", "nll", "ece_ts", "images_per_second"):
            assert values[name][0] == row[name]
        assert values["accuracy"][1:] == (row["accuracy_low"], row["accuracy_high"])
        shifted = [other["accuracy"] for other in entry.shifted.values()]
        assert values["shifted_accuracy"][0] == pytest.approx(np.mean(shifted))
        assert (
            values["ood_auroc_energy"][0] == entry.ood["digits-ood"]["ood_auroc_energy"]
        )
        assert points[entry.label].groups == {
            "backbone": entry.model,
            "optimizer": entry.optimizer,
        }


def test_mistakes_are_of_the_models_whose_curves_are_drawn(page, results, sweep_store):
    answers = Answers()
    for entry, row in results.ranked():
        answers.add(entry.label, sweep_store.examples(row["run_id"]))
    rows = sections_of(page)["confident-mistakes"].table.rows
    assert [row[0].text for row in rows] == [
        one.id for one in confident_mistakes(answers, most=24)
    ]


def test_runs_without_answers_keep_their_curves(tmp_path):
    (run,) = models(1)
    kept = {n: v for n, v in run.examples.items() if n != "prediction"}
    page = report_of(tmp_path, replace(run, examples=kept))
    assert "reliability" in charts_of(page)
    assert "confusions" not in sections_of(page)


def test_curves_are_those_of_the_stored_columns(page, results, sweep_store):
    charts = charts_of(page)
    entry, row = results.ranked()[0]
    columns = sweep_store.examples(row["run_id"])
    bins = reliability_bins(columns["confidence"], columns["correct"])
    known = np.asarray(bins.num_examples) > 0
    chart = charts["reliability"]
    np.testing.assert_allclose(
        chart.lines[entry.label][1], np.asarray(bins.accuracy)[known], rtol=1e-6
    )
    np.testing.assert_allclose(
        chart.bands[entry.label][0], np.asarray(bins.low)[known], rtol=1e-6
    )
    risk = risk_coverage_curve(
        -columns["log_one_minus_confidence"], columns["correct"]
    )[1]
    assert charts["risk_coverage"].lines[entry.label][1][-1] == pytest.approx(risk[-1])
    assert entry.label in charts["reliability"].shown


def test_severities_and_detection_are_the_rows(page, results):
    charts = charts_of(page)
    panels = charts["corruption_severity"].panels
    assert set(panels) == {"gaussian noise", "brightness", "pixelate"}
    for entry in results.entries:
        x, y = panels["pixelate"].lines[entry.label]
        assert list(x) == [0, 1, 2, 3, 4, 5]
        assert y[0] == results.clean_row(entry)["accuracy"]
        assert y[5] == entry.shifted["digits-c/pixelate_5"]["accuracy"]
    bars = charts["out_of_distribution"]
    assert bars.reference == 0.5
    for label, (value, *_) in zip(bars.labels, bars.series["energy"], strict=True):
        (entry,) = [entry for entry in results.entries if entry.label == label]
        assert value == entry.ood["digits-ood"]["ood_auroc_energy"]


def test_findings_are_short_and_name_whose_they_are(results):
    found = {finding.title: finding for finding in find(results)}
    rows = [(e, e.clean["digits@test"]) for e in results.entries]
    best = max(rows, key=lambda pair: pair[1]["accuracy"])
    assert found["Most accurate"].text.startswith(f"{best[0].label}, the highest of 6")
    value = f"{100 * best[1]['accuracy']:.1f}% ["
    assert found["Most accurate"].value.startswith(value)
    calibrated = min(rows, key=lambda pair: pair[1]["ece"])
    assert found["Best calibrated"].text.startswith(calibrated[0].label)
    far = max(
        (
            (e, row["ood_auroc_energy"])
            for e in results.entries
            for row in e.ood.values()
        ),
        key=lambda pair: pair[1],
    )
    assert far[0].label in found["Best out-of-distribution detection"].text
    assert "points" in found["Largest drop under shift"].value
    assert list(found)[-1] == "Runs to look at"
    assert found["Runs to look at"].value == "2 failed, 2 diverged"
    assert all(len(finding.value) <= 30 for finding in found.values())


def test_failures_have_each_traceback_once(page):
    section = sections_of(page)["failed"]
    assert len(section.table.rows) == 2
    errors = [row[-1].text for row in section.table.rows]
    assert any("bad <script>x</script> & 'q'" in error for error in errors)
    ((heading, text),) = section.texts
    assert heading == "Traceback: mixer and 1 more"
    assert "line <1>" in text


def test_how_it_was_made(page, sweep_store):
    made = dict(page.made)
    assert made["Page"] == f"jaxbench report {sweep_store.path}"
    assert made["Experiments"] == "quickstart"
    keys = {key: text for key, _, text in page.provenance}
    assert keys["config_digest"] == made["Configuration digests"] == "feedbeef"
    assert "created_at" not in keys
    assert ("Dates", "2026-01-02") in page.facts


def test_same_store_same_file(sweep_store, tmp_path):
    files = [
        write_report(
            ResultStore(sweep_store.path), tmp_path / name, figures_dir=tmp_path / "f"
        ).read_text()
        for name in ("a", "b")
    ]
    assert files[0] == files[1]
    assert {path.name for path in (tmp_path / "f").iterdir()} == {
        f"{name}.{end}" for name in CHARTS for end in ("svg", "png")
    }


def test_nothing_finished(tmp_path):
    page = report_of(tmp_path)
    assert [section.name for section in page.sections] == ["nothing"]
    assert "No run has finished." in page.sections[0].caption
    assert "No run has finished" in write_report(
        ResultStore(tmp_path / "store"), tmp_path / "r.html"
    ).read_text("utf-8")


def test_everything_failed(tmp_path):
    runs = [failed({"model": "m", "optimizer": "sgd"}, f"d{i}@test") for i in range(3)]
    page = report_of(tmp_path, *runs, title="A <title> & more")
    assert page.title == "A <title> & more"
    assert "All that ran failed" in page.sections[0].caption
    assert len(sections_of(page)["failed"].table.rows) == 3


def test_evaluations_without_trials(tmp_path):
    runs = [
        evaluation(
            {"model": f"m{i}"}, name, "clean", skill=2.0 + i, n=60, scaling=False
        )
        for i in range(3)
        for name in ("imagenet@validation", "other@test")
    ]
    page = report_of(tmp_path, *runs)
    names = set(sections_of(page))
    assert {"overview", "confidence", "models", "evaluations"} <= names
    assert not {"training", "trials", "grid", "shift", "ood"} & names
    scatter = charts_of(page)["accuracy_calibration"]
    assert scatter.headings["accuracy on other@test"] == "Accuracy on other@test ↑"
    assert not any(name.endswith("_ts") for name in scatter.points[0].values)


def test_one_trial_without_evaluation(tmp_path):
    page = report_of(tmp_path, trial({"model": "m", "optimizer": "sgd"}, skill=3.0))
    assert set(charts_of(page)) == {"learning_curves"}
    assert "models" not in sections_of(page)


def test_one_model_has_nothing_to_compare_with(tmp_path):
    page = report_of(tmp_path, *models(1))
    assert "accuracy_calibration" not in charts_of(page)
    assert any(note.startswith("One model:") for note in page.notes)


def test_validation_only_sweep_has_its_heat_map(tmp_path):
    runs = [
        trial({"model": "m", "optimizer": name}, skill=3.0, diverged_step=lost)
        for name, lost in (("sgd", None), ("lion", 3))
    ]
    chart = charts_of(report_of(tmp_path, *runs))["optimizer_backbone"]
    assert chart.title == "Validation accuracy"
    assert chart.marks == {("m", "LION"): "diverged"}


def test_metrics_of_nan_are_named_and_on_no_axis(tmp_path):
    some, other = models(2)
    columns = {name: values.copy() for name, values in some.examples.items()}
    for values in columns.values():
        if values.dtype == np.float32:
            values[:] = np.nan
    runs = [
        replace(run, metrics=run.metrics | {"nll": NAN, "brier": NAN})
        for run in (some, other)
    ]
    page = report_of(tmp_path, replace(runs[0], examples=columns), runs[1])
    assert any("NaN for every model" in note and "NLL" in note for note in page.notes)
    scatter = charts_of(page)["accuracy_calibration"]
    assert all("nll" not in point.values for point in scatter.points)
    assert list(charts_of(page)["reliability"].lines) == ["model_1"]
    texts = [
        cell.text for row in sections_of(page)["models"].table.rows for cell in row
    ]
    assert "NaN" in texts


def test_evaluations_without_example_columns_have_no_curves(tmp_path):
    runs = [replace(run, examples={}) for run in models(2)]
    assert set(charts_of(report_of(tmp_path, *runs))) == {"accuracy_calibration"}


def test_two_models_of_one_name_are_two_everywhere(tmp_path):
    first, second = models(2)
    again = replace(
        second, settings=second.settings | {"model": "model_0", "weights": "b"}
    )
    page = report_of(tmp_path, first, again)
    labels = {point.label for point in charts_of(page)["accuracy_calibration"].points}
    assert len(labels) == len(charts_of(page)["risk_coverage"].lines) == 2
    assert len(sections_of(page)["models"].table.rows) == 2
    assert any("1 name of a model stands for several" in note for note in page.notes)


def test_case_16_names_that_differ_only_late_stay_apart(tmp_path):
    arms = [f"curation=quantile window=50 max_redraws={'1' * 200}{end}" for end in "ab"]
    runs = [
        evaluation({"model": arm}, "d@test", "clean", skill=3.0, n=40) for arm in arms
    ]
    charts = charts_of(report_of(tmp_path, *runs))
    assert set(charts["risk_coverage"].lines) == set(arms)


def test_missing_names_and_hostile_strings(tmp_path):
    hostile = "<img src='https://x.y/z'>${alert(1)}{{ 7 * 7 }}</script>"
    runs = [
        evaluation({"model": hostile}, hostile, "clean", skill=3.0, n=40),
        evaluation({"model": None}, "d@test", "clean", skill=3.0, n=40),
        evaluation({"model": None}, "d-ood", "ood", skill=3.0, n=40),
        *coupling_runs(hostile, {"resnet8": hostile, "vit_tiny": "<script>x</script>"}),
    ]
    path = write_report(store_of(tmp_path, *runs), tmp_path / "report.html")
    parsed = Parsed(path.read_text("utf-8"))
    assert "img" not in parsed.tags
    assert hostile in parsed.text
    assert "(unnamed)" in parsed.text


def test_unreadable_parts_are_listed(tmp_path):
    store = store_of(tmp_path, *models(1))
    (store.path / "runs" / "evaluation-broken.parquet").write_bytes(b"PAR1")
    page = build_report(store)
    ((name, _),) = sections_of(page)["problems"].table.rows
    assert name.text == "evaluation-broken.parquet"
    assert page.findings[-1].value == "1 unreadable"


def test_a_dataset_in_part_is_said_on_every_page(tmp_path):
    store = store_of(tmp_path, *models(2, num_published=7500))
    said = "d@test was prepared in part: 60 of its 7,500 published images were scored."
    assert said in build_report(store).notes
    assert STUDIES["lottery"].build(store, {"num_resamples": 20}).notes[-1] == said


@pytest.mark.parametrize(
    "folder",
    sorted((Path(__file__).parents[1] / "results" / "written").glob("format-*")),
    ids=lambda folder: folder.name,
)
def test_results_of_earlier_versions_have_a_page(folder):
    page = build_report(ResultStore(folder))
    check_page(page)
    assert {"risk_coverage", "learning_curves"} <= set(charts_of(page))


def test_many_models_keep_the_page_small(tmp_path):
    count = MAX_KEPT + 5
    page = report_of(tmp_path, *models(count))
    charts = charts_of(page)
    risk = charts["risk_coverage"]
    assert len(risk.lines) == len(charts["reliability"].lines) == MAX_KEPT
    assert len(risk.shown) <= MAX_DRAWN
    assert f"5 more models of {count} left out" in risk.caption
    assert len(charts["accuracy_calibration"].points) == count


def test_long_curves_are_thinned_and_keep_their_end(tmp_path):
    runs = [
        evaluation({"model": f"m{i}"}, "d@test", "clean", skill=3.0 + i, n=4000)
        for i in range(2)
    ]
    for x, y in charts_of(report_of(tmp_path, *runs))["risk_coverage"].lines.values():
        assert len(x) == len(y) == MAX_POINTS
        # Of 20 images, one mistake would be 5 %.
        assert x[0] == pytest.approx(41 / 4000)
        assert x[-1] == 1.0


def test_curves_drawn_at_first_share_a_scale(tmp_path):
    runs = [
        *models(5),
        evaluation({"model": "random"}, "d@test", "clean", skill=-3.0, n=60),
    ]
    (perfect,) = models(1)
    right = {"correct": np.ones(60, bool), "label": perfect.examples["prediction"]}
    runs.append(
        replace(
            perfect,
            run_id="f" * 32,
            settings=perfect.settings | {"model": "perfect"},
            examples=perfect.examples | right,
        )
    )
    risk = charts_of(report_of(tmp_path, *runs))["risk_coverage"]
    assert len(risk.lines) == 7
    ends = [risk.lines[name][1][-1] for name in risk.shown]
    assert len(ends) >= 3
    assert 0 < max(ends) <= 5 * min(ends)
    assert "perfect" not in risk.shown
    assert "similar error rates" in risk.caption


def test_tables_of_thousands_of_rows_are_cut_and_say_so(tmp_path, monkeypatch):
    monkeypatch.setattr("jaxbench.reports.overview.MAX_CELLS", MAX_CELLS // 50)
    page = report_of(tmp_path, *models(30))
    table = sections_of(page)["models"].table
    assert 1 <= len(table.rows) < 30
    assert (
        f"The first {len(table.rows)} of 30 rows" in sections_of(page)["models"].caption
    )
    cells = sum(
        len(s.table.rows) * len(s.table.columns)
        for s in page.sections
        if s.table and s.name not in ("confusions", "confident-mistakes")
    )
    assert cells <= MAX_CELLS // 50


def test_learning_curves_are_over_epochs_where_they_are_known(tmp_path):
    panels = charts_of(report_of(tmp_path / "a", *coupling_runs()))[
        "learning_curves"
    ].panels
    assert list(panels) == ["Train loss", "Validation accuracy"]
    assert {curves.x_title for curves in panels.values()} == {"Epoch"}
    # A trial that diverged is among those drawn at first.
    assert "vit_tiny sgd" in panels["Train loss"].shown
    run = coupling_trial()
    del run.settings["steps_per_epoch"]
    panels = charts_of(report_of(tmp_path / "b", run))["learning_curves"].panels
    assert panels["Train loss"].x_title == "Step"


def test_a_single_pair_is_not_a_grid(tmp_path):
    assert "spread" not in sections_of(report_of(tmp_path, coupling_trial()))


def test_refusals(tmp_path):
    store = store_of(tmp_path)
    with pytest.raises(UserError, match="'gif' are unknown; choose from svg, png"):
        write_report(store, tmp_path / "r.html", formats=("gif",))
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match=r"cannot be written .* choose another place"):
        write_report(store, tmp_path / "file" / "r.html")
