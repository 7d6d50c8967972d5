from dataclasses import replace

import jax
import numpy as np
import pytest
from scipy.stats import binomtest

from jaxbench.errors import UserError
from jaxbench.metrics.selective import area_under_risk_coverage
from jaxbench.results import ResultStore, Run
from jaxbench.studies import compare_runs
from jaxbench.studies.compare import weighted_aurc
from tests.results.sample_runs import evaluation


def obvious_aurc(confidence, correct):
    """Repeats every example, averages the risk over random orders of tied rows."""
    totals = []
    rng = np.random.default_rng(0)
    for _ in range(4000):
        order = np.lexsort((rng.random(len(correct)), -confidence))
        errors = np.cumsum(~correct[order])
        totals.append(np.mean(errors / np.arange(1, len(correct) + 1)))
    return np.mean(totals), np.std(totals) / np.sqrt(len(totals))


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    store = ResultStore(tmp_path_factory.mktemp("s"), create=True)
    for model, skill in (("weak", 2.5), ("strong", 4.5), ("twin", 2.5)):
        store.write(
            evaluation({"model": model}, "digits@test", "clean", skill=skill, n=400)
        )
    store.write(evaluation({"model": "weak"}, "digits-ood", "ood", skill=2.5, n=40))
    return store


def compared(store, a, b, **settings):
    settings = {"key": jax.random.key(0), "num_resamples": 400} | settings
    return {row.metric: row for row in compare_runs(store, a, b, **settings)}


def test_every_row_against_its_twin(store):
    rows = compared(store, "strong/digits@test", "weak/digits@test")
    assert list(rows) == [
        *("accuracy", "nll", "brier", "aurc"),
        *("nll_ts", "brier_ts", "aurc_ts"),
    ]
    a, b = (store.examples(store.find(f"{m}/digits@test")) for m in ("strong", "weak"))
    for metric, column in (("accuracy", "correct"), ("nll", "nll"), ("brier", "brier")):
        gap = a[column].astype(float) - b[column].astype(float)
        row = rows[metric]
        assert row.n == 400
        assert row.a == pytest.approx(a[column].mean(), rel=1e-5)
        assert row.difference == pytest.approx(gap.mean(), rel=1e-4)
        # The normal interval: the bootstrap one differs by its own noise at most.
        error = gap.std() / np.sqrt(400)
        assert row.low == pytest.approx(gap.mean() - 1.96 * error, abs=0.4 * error)
        assert row.high == pytest.approx(gap.mean() + 1.96 * error, abs=0.4 * error)
    only_a = int((a["correct"] & ~b["correct"]).sum())
    only_b = int((b["correct"] & ~a["correct"]).sum())
    exact = binomtest(only_a, only_a + only_b, 0.5).pvalue
    assert rows["accuracy"].p_value == pytest.approx(exact, rel=1e-3)
    for name, columns in (("a", a), ("b", b)):
        kernel = area_under_risk_coverage(
            -columns["log_one_minus_confidence"], columns["correct"]
        )
        # float32 in the metric, float64 here.
        assert getattr(rows["aurc"], name) == pytest.approx(float(kernel), rel=1e-4)
    assert rows["aurc"].low <= rows["aurc"].difference <= rows["aurc"].high < 0


def test_order_of_the_pair_flips_the_sign(store):
    one = compared(store, "strong/digits@test", "weak/digits@test")
    two = compared(store, "weak/digits@test", "strong/digits@test")
    for metric, row in one.items():
        assert two[metric].difference == pytest.approx(-row.difference, rel=1e-5)
    assert two["accuracy"].p_value == one["accuracy"].p_value


def test_a_run_against_itself_differs_by_nothing(store):
    for row in compared(store, "weak/digits@test", "weak/digits@test").values():
        assert (row.difference, row.low, row.high, row.p_value) == (0, 0, 0, 1)


def test_twins_are_not_distinguished_and_others_are(store):
    twin = compared(store, "weak/digits@test", "twin/digits@test")
    other = compared(store, "weak/digits@test", "strong/digits@test")
    for metric in ("accuracy", "nll", "aurc"):
        assert twin[metric].p_value > 0.05
        assert twin[metric].low < 0 < twin[metric].high
        assert other[metric].p_value < 0.01


def test_row_order_does_not_matter(store, tmp_path):
    shuffled = ResultStore(tmp_path, create=True)
    rng = np.random.default_rng(1)
    for model in ("strong", "weak"):
        run = store.read(store.find(f"{model}/digits@test"))
        order = rng.permutation(400)
        rows = {name: values[order] for name, values in run.examples.items()}
        shuffled.write(replace(run, examples=rows))
    one = compared(store, "strong/digits@test", "weak/digits@test")
    two = compared(shuffled, "strong/digits@test", "weak/digits@test")
    assert one == two


def test_weighted_aurc_is_the_aurc_of_the_repeated_rows():
    rng = np.random.default_rng(0)
    confidence = rng.integers(0, 6, 30) / 6.0  # many ties
    correct = rng.random(30) < 0.4 + 0.5 * confidence
    weights = rng.multinomial(30, np.full(30, 1 / 30), size=3)
    values = weighted_aurc(confidence, correct, weights)
    for value, weight in zip(values, weights, strict=True):
        repeated = np.repeat(np.arange(30), weight)
        wanted, error = obvious_aurc(confidence[repeated], correct[repeated])
        assert value == pytest.approx(wanted, abs=5 * error)
        kernel = area_under_risk_coverage(
            confidence[repeated].astype(np.float32), correct[repeated]
        )
        assert value == pytest.approx(float(kernel), rel=1e-5)  # float32


def test_nonfinite_rows_make_all_but_accuracy_nan(store, tmp_path):
    broken = ResultStore(tmp_path, create=True)
    run = store.read(store.find("weak/digits@test"))
    columns = {name: values.copy() for name, values in run.examples.items()}
    for name, values in columns.items():
        if values.dtype == np.float32:
            columns[name][0] = np.nan
    broken.write(replace(run, run_id="broken", examples=columns))
    broken.write(run)
    rows = compared(broken, "broken", run.run_id)
    assert rows["accuracy"].difference == 0
    for metric in ("nll", "brier", "aurc"):
        shown = (rows[metric].difference, rows[metric].low, rows[metric].p_value)
        assert np.isnan(shown).all()


def with_examples(store, tmp_path, change):
    """A store with the run `a` and a changed copy `b`."""
    other = ResultStore(tmp_path, create=True)
    run = store.read(store.find("weak/digits@test"))
    columns = {name: values.copy() for name, values in run.examples.items()}
    other.write(replace(run, run_id="a"))
    other.write(replace(run, run_id="b", examples=change(columns)))
    return other


def relabel(columns):
    columns["label"][:7] = (columns["label"][:7] + 1) % 10
    return columns


def repeat_id(columns):
    columns["id"][1] = columns["id"][0]
    return columns


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (relabel, r"different labels on 7 of 400 images \(digits-00000, .*\.\.\.\)"),
        (repeat_id, "'digits-00000' more than once"),
        (
            lambda c: {name: values[5:] for name, values in c.items()},
            r"395 are common, 5 are only in the first \(digits-00000.*, 0 only in",
        ),
        (lambda c: {"id": c["id"]}, "no per-example columns brier, correct, label"),
        (lambda c: {n: v[:0] for n, v in c.items()}, "without a label"),
    ],
)
def test_runs_that_cannot_be_paired(store, tmp_path, change, message):
    with pytest.raises(UserError, match=message):
        compared(with_examples(store, tmp_path, change), "a", "b")


def test_unlabelled_and_unknown_runs(store):
    with pytest.raises(UserError, match="out-of-distribution"):
        compared(store, "weak/digits-ood", "weak/digits@test")
    with pytest.raises(UserError, match="unknown run 'nobody/digits@test'"):
        compared(store, "nobody/digits@test", "weak/digits@test")


def test_a_run_without_examples(store, tmp_path):
    empty = ResultStore(tmp_path, create=True)
    empty.write(Run("a", "trial", "ok"))
    with pytest.raises(UserError, match="compare two evaluations"):
        compared(empty, "a", "a")


def test_settings_out_of_range(store):
    with pytest.raises(ValueError, match="level is 2"):
        compared(store, "weak/digits@test", "twin/digits@test", level=2.0)
