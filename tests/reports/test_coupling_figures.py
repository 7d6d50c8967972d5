"""Figures of sweeps: drawn without a warning, from numbers that are checked."""

import re
import xml.etree.ElementTree as ElementTree

import numpy as np
import pytest

from jaxbench.reports import coupling_figures as drawn
from jaxbench.reports import write_report
from jaxbench.reports.coupling_figures import Boxes, Ridge
from jaxbench.reports.style import render
from jaxbench.results import ResultStore
from tests.reports.coupling_runs import coupling_runs, coupling_trial, write_store
from tests.reports.test_figures import HARD_LABELS
from tests.reports.test_html import page_of

RIDGE = Ridge("SGD-M", np.array([0.5, 0.6, 0.62, 0.7]), 2)
LEVELS = np.array([0.0, 0.0, 1.0, 3.0])
TAUS = np.linspace(1, 4, 31)
FIGURES = {
    "ridges": lambda: drawn.ridges(
        {f"b{i}": [Ridge(x, RIDGE.values, 1) for x in HARD_LABELS] for i in range(4)},
        value_title="Accuracy",
    ),
    "ridges of 20": lambda: drawn.ridges(
        {
            f"b{i}": [Ridge(f"o{k}", np.linspace(0, 1, k), k) for k in range(20)]
            for i in range(6)
        },
        value_title="Accuracy",
    ),
    "ridge of equal values": lambda: drawn.ridges(
        {"b": [Ridge("o", np.full(5, 0.5))]}, value_title="Accuracy"
    ),
    "ridge of nothing": lambda: drawn.ridges(
        {"b": [Ridge("o", np.empty(0), 5, True)]}, value_title="Accuracy"
    ),
    "no ridges": lambda: drawn.ridges({}, value_title="Accuracy"),
    "boxes": lambda: drawn.distance_boxes(
        [
            Boxes("A", HARD_LABELS, {"own": [LEVELS] * 5, "other": [LEVELS] * 5}),
            Boxes("B", ["x"], {"own": [LEVELS], "other": [np.empty(0)]}),
        ],
        value_title="Distance",
    ),
    "boxes of 40": lambda: drawn.distance_boxes(
        [Boxes("A", [f"o{i}" for i in range(40)], {"own": [LEVELS] * 40})] * 2,
        value_title="Distance",
    ),
    "box of one": lambda: drawn.distance_boxes(
        [Boxes("A", ["x"], {"own": [np.zeros(1)]})], value_title="Distance"
    ),
    "no boxes": lambda: drawn.distance_boxes([], value_title="Distance"),
    "profiles": lambda: drawn.performance_profiles(
        {f"{x}{i}": TAUS / 4 for i in range(4) for x in HARD_LABELS}, TAUS
    ),
    "no profiles": lambda: drawn.performance_profiles({}, TAUS),
}


@pytest.mark.parametrize("name", FIGURES)
def test_renders_the_same_each_time_and_small(name):
    one = render(FIGURES[name](), "svg")
    assert one == render(FIGURES[name](), "svg")
    ElementTree.fromstring(one)
    assert len(one) < 700_000


@pytest.mark.parametrize("name", ["ridges", "boxes", "profiles"])
def test_texts_are_escaped_and_not_read_as_mathematics(name):
    text = render(FIGURES[name](), "svg").decode()
    shown = [e.text or "" for e in ElementTree.fromstring(text).iter()]
    for label in ("$x_1$ costs $5", "<b>&\"'"):
        assert any(label in one for one in shown), label


def test_a_ridge_has_all_its_trials_and_the_number_that_diverged():
    (axis,) = drawn.ridges({"b": [RIDGE]}, value_title="Accuracy").axes
    points = [line for line in axis.lines if line.get_marker() == "o"]
    assert points[0].get_xdata() == pytest.approx(RIDGE.values)
    (best,) = (line for line in axis.lines if line.get_marker() == "|")
    assert best.get_xdata() == pytest.approx([0.7])
    assert [text.get_text() for text in axis.texts] == ["2"]
    (area,) = axis.patches
    # The density's highest point stands over the densest values.
    x, y = area.get_xy().T
    assert 0.57 < x[np.argmax(y)] < 0.66


def test_few_trials_are_points_alone():
    few = Ridge("o", np.array([0.1, 0.2, 0.3]))
    (axis,) = drawn.ridges({"b": [few]}, value_title="Accuracy").axes
    assert not axis.patches
    assert len(axis.lines) == 2


def test_boxes_stand_at_their_quartiles():
    (axis,) = FIGURES["box of one"]().axes
    assert len(axis.patches) == 1
    boxes = drawn.distance_boxes([Boxes("A", ["x"], {"own": [LEVELS]})], value_title="")
    (box,) = boxes.axes[0].patches
    heights = box.get_path().vertices[:, 1]
    assert (heights.min(), heights.max()) == (0.0, np.percentile(LEVELS, 75))


def test_only_the_first_profiles_have_names():
    (legend,) = FIGURES["profiles"]().legends
    assert len(legend.get_texts()) == 9
    assert legend.get_texts()[-1].get_text() == "12 more"


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    return write_store(tmp_path_factory.mktemp("coupling"), *coupling_runs())


def test_page_of_a_sweep(store, tmp_path):
    page = page_of(store, tmp_path)
    figures = {"hyperparameter_ridges", "robustness", "optimizer_backbone"}
    assert figures | {"learning_curves"} <= set(page.ids)
    # SGD-M never arrives on vit_tiny, which is a time too.
    assert "performance_profiles" in page.ids
    sections = ("failures", "spread", "ranking", "robustness", "pairs", "cost")
    assert {f"coupling-{name}" for name in sections} <= set(page.ids)
    assert "coupling-published" not in page.ids
    assert "3 of 10 pairs failed" in page.text
    assert {"SGD-M", "RMSProp", "Epoch"} <= {text.strip() for text in page.texts}
    assert "Failed, by the fitted rule: a score below the median" in page.text


def test_learning_curves_are_over_epochs(store, tmp_path):
    write_report(store, tmp_path / "r.html", figures_dir=tmp_path, formats=("svg",))
    text = (tmp_path / "learning_curves.svg").read_text()
    words = set(re.findall(r">([^<>]+)</text>", text))
    assert {"Epoch", "Train loss", "Validation accuracy"} <= words
    assert not {"Seconds", "Step", "Validation ece"} & words
    heat = (tmp_path / "optimizer_backbone.svg").read_text()
    assert re.findall(r">(failed|diverged|error)</text>", heat).count("failed") == 2
    assert ">diverged<" in heat


def test_curves_without_the_length_of_an_epoch_are_over_steps(tmp_path):
    run = coupling_trial()
    del run.settings["steps_per_epoch"]
    store = write_store(tmp_path / "store", run)
    write_report(store, tmp_path / "r.html", figures_dir=tmp_path, formats=("svg",))
    assert ">Step<" in (tmp_path / "learning_curves.svg").read_text()


def test_case_15_few_optimizers_are_not_judged_and_their_largest_gap_is_named(tmp_path):
    runs = [r for r in coupling_runs() if r.settings["optimizer"] in ("lion", "lamb")]
    page = page_of(write_store(tmp_path / "store", *runs), tmp_path)
    assert "0 of 4 pairs failed" not in page.text
    # The finding, the caption of the table and that of the heat map.
    reason, gap = "fewer than 4 optimizers", "largest gap 43.0 points, LION on resnet8"
    assert f"not judged: {reason}" in page.text
    assert gap in page.text
    assert f"Of the other pairs, not judged: {reason}; {gap}." in page.text
    assert f"Failures are not judged: {reason}; {gap}." in page.text


def test_two_datasets_have_figures_and_tables_of_their_own(tmp_path):
    runs = [*coupling_runs(), *coupling_runs("other@train")]
    page = page_of(write_store(tmp_path / "store", *runs), tmp_path)
    assert {"robustness", "robustness_2", "coupling-cost_2"} <= set(page.ids)
    assert "Optimizer and backbone: other@train" in page.text


def test_one_pair_has_no_study(tmp_path):
    page = page_of(write_store(tmp_path / "store", coupling_trial()), tmp_path)
    assert not [name for name in page.ids if name.startswith("coupling")]


def test_hostile_names_are_shown_and_not_run(tmp_path):
    hostile = "<img src='https://x.y/z'>$a$ {{ 7 * 7 }}"
    names = {"resnet8": hostile, "vit_tiny": "<script>x</script>"}
    runs = coupling_runs(hostile, names, recipe=hostile)
    path = tmp_path / "store"
    write_store(path, *runs)
    written = write_report(ResultStore(path), tmp_path / "report.html").read_text()
    assert "<img" not in written
    assert written.count("<script>") == 1
