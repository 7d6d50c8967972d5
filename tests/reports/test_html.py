import re
import time
from dataclasses import replace
from html.parser import HTMLParser

import numpy as np
import pytest

from jaxbench.errors import UserError
from jaxbench.reports import write_report
from jaxbench.reports.studies import STUDIES
from jaxbench.results import ResultStore
from tests.results.sample_runs import evaluation, failed, trial

VOID = {"meta", "input", "br", "link", "img"}
FIGURES = {
    "optimizer_backbone",
    "hyperparameter_ridges",
    "robustness",
    "accuracy_calibration",
    "reliability",
    "risk_coverage",
    "corruption_severity",
    "out_of_distribution",
    "learning_curves",
}


class Page(HTMLParser):
    """Collects what the tests ask for, and refuses tags that do not nest."""

    def __init__(self, text):
        super().__init__()
        self.open, self.ids, self.loads, self.tags, self.texts = [], [], [], [], []
        self.feed(text)
        self.close()
        assert not self.open

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        if tag not in VOID:
            self.open.append(tag)
        self._attributes(attrs)

    def handle_startendtag(self, tag, attrs):
        self.tags.append(tag)
        self._attributes(attrs)

    def _attributes(self, attrs):
        for name, value in attrs:
            if name == "id":
                self.ids.append(value)
            if name in ("src", "href", "xlink:href", "action", "data", "srcset"):
                self.loads.append(value)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.texts.append(data)

    @property
    def text(self):
        return "".join(self.texts)


def page_of(store, tmp_path, **settings):
    path = write_report(store, tmp_path / "out" / "report.html", **settings)
    text = path.read_text()
    page = Page(text)
    assert len(page.ids) == len(set(page.ids))
    # A picture inside the page (the colour bar) is no load.
    links = [link for link in page.loads if not link.startswith("data:image/png;")]
    assert all(link.startswith("#") for link in links)
    assert {link[1:] for link in links} <= set(page.ids)
    assert not re.search(r"https?://|@import|url\((?!#)", text)
    return page


def store_of(tmp_path, *runs):
    store = ResultStore(tmp_path / "store", create=True)
    for run in runs:
        store.write(run)
    return store


def test_sweep_report(sweep_store, tmp_path):
    start = time.process_time()
    page = page_of(sweep_store, tmp_path)
    # 3 s of one core measured, without the tests' type checks.
    assert time.process_time() - start < 15
    assert set(page.ids) >= FIGURES
    assert page.tags.count("svg") == len(FIGURES)
    assert "quickstart" in page.text
    assert "bad <script>x</script> & 'q'" in page.text  # shown, not run
    assert page.tags.count("script") == 1
    assert "2 failed, 2 diverged" in page.text
    assert (tmp_path / "out" / "report.html").stat().st_size < 1_500_000
    assert [p.name for p in (tmp_path / "out").iterdir()] == ["report.html"]


def test_same_store_same_page(sweep_store, tmp_path):
    pages = []
    for name in ("a", "b"):
        store = ResultStore(sweep_store.path)
        text = write_report(store, tmp_path / name).read_text()
        pages.append(re.sub(r'<time id="generated">[^<]*</time>', "", text))
    assert pages[0] == pages[1]


def test_figures_as_files(sweep_store, tmp_path):
    folder = tmp_path / "figures"
    page_of(sweep_store, tmp_path, figures_dir=folder, formats=("png",))
    assert {path.name for path in folder.iterdir()} == {f"{n}.png" for n in FIGURES}
    assert all(path.read_bytes()[:4] == b"\x89PNG" for path in folder.iterdir())


def test_empty_store(tmp_path):
    page = page_of(store_of(tmp_path), tmp_path)
    assert "No run has finished" in page.text
    assert "svg" not in page.tags


def test_failures_only(tmp_path):
    runs = [failed({"model": "m", "optimizer": "sgd"}, f"d{i}@test") for i in range(3)]
    page = page_of(store_of(tmp_path, *runs), tmp_path, title="A <title> & more")
    assert "All that ran failed" in page.text
    assert page.text.count("RESOURCE_EXHAUSTED") == 3
    assert "A <title> & more" in page.text


def test_evaluations_without_trials(tmp_path):
    runs = [
        evaluation(
            {"model": f"m{i}"}, name, "clean", skill=2.0 + i, n=60, scaling=False
        )
        for i in range(3)
        for name in ("imagenet@validation", "other@test")
    ]
    page = page_of(store_of(tmp_path, *runs), tmp_path)
    assert "learning_curves" not in page.ids
    assert "trials" not in page.ids
    assert "T*)" not in page.text
    assert {"reliability", "risk_coverage", "models"} <= set(page.ids)


def test_a_dataset_in_part_is_told_on_every_page(tmp_path):
    runs = [
        evaluation(
            {"model": model, "num_published": 7500}, "a", "clean", skill=2.0, n=60
        )
        for model in ("m", "n")
    ]
    store = store_of(tmp_path, *runs)
    said = "a was prepared in part: 60 of its 7,500 published images were scored."
    assert said in page_of(store, tmp_path).text
    assert STUDIES["lottery"].build(store, {"num_resamples": 20}).notes[-1] == said


def test_one_trial_without_evaluation(tmp_path):
    run = trial({"model": "m", "optimizer": "sgd"}, skill=3.0)
    page = page_of(store_of(tmp_path, run), tmp_path)
    assert {"learning_curves", "trials"} <= set(page.ids)
    assert "models" not in page.ids


def test_validation_only_sweep_has_its_heat_map(tmp_path):
    runs = [
        trial({"model": "m", "optimizer": name}, skill=3.0, diverged_step=lost)
        for name, lost in (("sgd", None), ("lion", 3))
    ]
    page = page_of(store_of(tmp_path, *runs), tmp_path)
    assert "optimizer_backbone" in page.ids
    assert "Validation accuracy of every pair" in page.text


def test_nan_metrics_and_nonfinite_examples(tmp_path):
    run = evaluation({"model": "m"}, "d@test", "clean", skill=3.0, n=40)
    nan = {name: float("nan") for name in run.metrics if name != "accuracy"}
    columns = {name: values.copy() for name, values in run.examples.items()}
    for values in columns.values():
        if values.dtype == np.float32:
            values[:] = np.nan
    some = replace(run, metrics=run.metrics | nan, examples=columns)
    everything = evaluation({"model": "n"}, "d@test", "clean", skill=3.0, n=40)
    nan |= {"accuracy": float("nan")}
    page = page_of(store_of(tmp_path, some, replace(everything, metrics=nan)), tmp_path)
    assert "NaN" in page.text
    assert "reliability" not in page.ids


def test_evaluations_without_example_columns(tmp_path):
    run = evaluation({"model": "m"}, "d@test", "clean", skill=3.0, n=40)
    page = page_of(store_of(tmp_path, replace(run, examples={})), tmp_path)
    assert "models" in page.ids
    assert "reliability" not in page.ids


def test_missing_names_and_hostile_strings(tmp_path):
    hostile = "<img src='https://x.y/z'>${alert(1)}{{ 7 * 7 }}"
    settings = {"model": hostile, "optimizer": None}
    runs = [
        evaluation(settings, hostile, "clean", skill=3.0, n=40),
        evaluation({"model": None}, "d@test", "clean", skill=3.0, n=40),
        evaluation({"model": None}, "d-ood", "ood", skill=3.0, n=40),
    ]
    path = write_report(store_of(tmp_path, *runs), tmp_path / "report.html")
    page = Page(path.read_text())
    assert "img" not in page.tags
    assert hostile in page.text
    assert "(unnamed)" in page.text


def test_unreadable_parts_are_listed(tmp_path):
    run = evaluation({"model": "m"}, "d@test", "clean", skill=3.0, n=40)
    store = store_of(tmp_path, run)
    (store.path / "runs" / "evaluation-broken.parquet").write_bytes(b"PAR1")
    page = page_of(store, tmp_path)
    assert "evaluation-broken.parquet" in page.text
    assert "1 unreadable" in page.text


def test_many_models(tmp_path):
    runs = [
        evaluation({"model": f"model_{i}"}, name, role, skill=2.0 + i / 50, n=20)
        for i in range(30)
        for name, role in (("d@test", "clean"), ("d-c/fog_1", "shifted"), ("o", "ood"))
    ]
    page = page_of(store_of(tmp_path, *runs), tmp_path)
    assert "22 more not shown" in page.text
    assert "15 more not shown" in page.text


def test_refusals(tmp_path):
    store = store_of(tmp_path)
    with pytest.raises(UserError, match="'gif' are unknown; choose from svg, png"):
        write_report(store, tmp_path / "r.html", formats=("gif",))
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match=r"cannot be written .* choose another place"):
        write_report(store, tmp_path / "file" / "r.html")
