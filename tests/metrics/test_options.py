"""Every option of a metric acts, no two arguments are swapped, no header is stale.

Mistakes of other tools: timm parses options that reach nothing, big_vision swaps two
flags of a kind, torch-uncertainty appends rows under the header of the first run, and
timm fails where a later row has a further column. The same is tested of training
recipes in tests/training/test_population.py, of experiments in
tests/sweeps/test_sweep.py and tests/test_config.py, of stored runs in
tests/results/test_store.py.
"""

import csv
import inspect

import jax
import numpy as np
import pytest
from typer.testing import CliRunner

from jaxbench import metrics as m
from jaxbench.cli.app import app
from jaxbench.results import ResultStore, Run
from tests.metrics.public import public_functions

ROWS = 24


def columns(confidence, correct):
    return np.asarray(confidence, np.float32), np.asarray(correct, bool)


def of_logits(function, **options):
    rng = np.random.default_rng(5)
    logits = rng.dirichlet(np.ones(4), ROWS).astype(np.float32)
    # Probabilities, which are logits, too, if that is said.
    options = {"inputs": "logits"} | options
    return function(logits, rng.integers(0, 4, ROWS), **options)


def of_sets(function, label_sets):
    logits = np.random.default_rng(5).normal(size=(ROWS, 4)).astype(np.float32)
    return function(logits, label_sets=label_sets)


def of_columns(function, **options):
    rng = np.random.default_rng(1)
    confidence = rng.random(ROWS)
    return function(*columns(confidence, rng.random(ROWS) < confidence), **options)


CLASS_MASK = np.asarray([True, True, True, False])

# (function, option): who calls it, and two values that must give two results.
OPTIONS = {
    ("area_under_risk_coverage", "scale"): (of_columns, "mean", "trapezoid"),
    ("brier_decomposition", "num_bins"): (of_columns, 15, 4),
    ("classwise_calibration_error", "inputs"): (of_logits, "logits", "probabilities"),
    ("classwise_calibration_error", "num_bins"): (of_logits, 15, 4),
    ("coverage_at_accuracy", "accuracy"): (of_columns, 0.6, 0.9),
    ("debiased_calibration_error", "num_bins"): (of_columns, 15, 4),
    ("expected_calibration_error", "binning"): (
        of_columns,
        "equal_width",
        "equal_mass",
    ),
    ("expected_calibration_error", "num_bins"): (of_columns, 15, 4),
    ("fpr_at_tpr", "true_positive_rate"): (of_columns, 0.95, 0.5),
    ("maximum_calibration_error", "binning"): (of_columns, "equal_width", "equal_mass"),
    ("maximum_calibration_error", "num_bins"): (of_columns, 15, 4),
    ("reliability_bins", "binning"): (of_columns, "equal_width", "equal_mass"),
    ("reliability_bins", "level"): (of_columns, 0.95, 0.5),
    ("reliability_bins", "num_bins"): (of_columns, 15, 4),
    ("risk_at_coverage", "coverage"): (of_columns, 0.8, 0.3),
    ("root_mean_square_calibration_error", "debias"): (of_columns, False, True),
    ("root_mean_square_calibration_error", "num_bins"): (of_columns, 15, 4),
    ("score_examples", "class_mask"): (of_logits, None, CLASS_MASK),
    ("score_examples", "inputs"): (of_logits, "logits", "probabilities"),
    ("score_examples", "label_sets"): (
        of_sets,
        np.array([[0, -1]] * ROWS),
        np.array([[0, 1]] * ROWS),
    ),
    ("score_examples", "temperature"): (of_logits, 1.0, 2.0),
    ("smooth_calibration_error", "bandwidth"): (of_columns, 0.01, 0.3),
    ("top_k_accuracy", "k"): (
        lambda f, **options: f(np.arange(ROWS) % 3, **options),
        1,
        2,
    ),
}

# Tested elsewhere: what "galil" gives, in test_peers.py; masks and sizes, everywhere.
NOT_HERE = {"compat", "mask", "num_classes"}
MODULES = {
    f"jaxbench.metrics.{name}"
    for name in (
        "accuracy",
        "calibration",
        "classwise",
        "proper_scores",
        "ranking",
        "reliability",
        "scores",
        "selective",
    )
}


def options_there_are():
    for name in public_functions():
        function = getattr(m, name)
        if function.__module__ in MODULES:
            for option, parameter in inspect.signature(function).parameters.items():
                if parameter.kind is parameter.KEYWORD_ONLY and option not in NOT_HERE:
                    yield name, option


@pytest.mark.parametrize(("name", "option"), [*options_there_are()])
def test_no_option_is_ignored(name, option):
    call, one, other = OPTIONS[name, option]
    results = [call(getattr(m, name), **{option: value}) for value in (one, other)]
    one, other = (jax.tree.leaves(result) for result in results)
    assert any(
        a.shape != b.shape or not np.array_equal(a, b, equal_nan=True)
        for a, b in zip(one, other, strict=True)
    )


def test_labels_are_rows_and_predictions_columns():
    labels, predictions = np.asarray([0, 0, 1]), np.asarray([2, 2, 1])
    matrix = np.asarray(m.confusion_matrix(labels, predictions, num_classes=3))
    np.testing.assert_array_equal(matrix, [[0, 0, 2], [0, 1, 0], [0, 0, 0]])


def test_a_difference_is_the_first_less_the_second():
    better, worse = np.ones(ROWS, np.float32), np.zeros(ROWS, np.float32)
    found = m.paired_bootstrap(better, worse, key=jax.random.key(0), num_resamples=10)
    assert float(found.difference) == 1.0


def test_in_distribution_comes_first_and_is_positive():
    sharp, flat = np.eye(4, dtype=np.float32) * 9, np.eye(4, dtype=np.float32) * 2
    known, unknown = (m.score_examples(x, np.arange(4)) for x in (sharp, flat))
    names = ["ood_auroc_max_logit", "ood_fpr95_max_logit"]
    assert [float(x) for x in m.summarize_ood(known, unknown, names).values()] == [1, 0]
    assert [float(x) for x in m.summarize_ood(unknown, known, names).values()] == [0, 1]


def test_rows_of_a_csv_stand_under_their_own_header(tmp_path):
    """A later run with other metrics adds a column; no value moves under another."""
    store = ResultStore(tmp_path, create=True)
    store.write(Run("first", "evaluation", "ok", metrics={"aurc": 0.1, "nll": 1.0}))
    store.write(Run("second", "evaluation", "ok", metrics={"brier": 0.5, "nll": 2.0}))
    path = tmp_path / "runs.csv"
    done = CliRunner().invoke(app, ["results", str(tmp_path), "--csv", str(path)])
    assert done.exit_code == 0, done.output
    with path.open() as file:
        rows = {row["run_id"]: row for row in csv.DictReader(file)}
    values = {
        run: {name: row[name] for name in ("aurc", "brier", "nll")}
        for run, row in rows.items()
    }
    assert values == {
        "first": {"aurc": "0.1", "brier": "", "nll": "1"},
        "second": {"aurc": "", "brier": "0.5", "nll": "2"},
    }
