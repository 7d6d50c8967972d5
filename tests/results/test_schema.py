import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxbench.results import Run, RunError, run_digest
from jaxbench.results import columns as tables
from jaxbench.results.schema import METADATA_KEY, from_arrow, to_arrow
from tests.results.sample_runs import assert_same, evaluation, failed, trial


def simple(**changes):
    return Run(**({"run_id": "a1", "kind": "evaluation", "status": "ok"} | changes))


@pytest.mark.parametrize(
    "run",
    [
        evaluation({"model": "m", "seed": 3}, "digits@test", "clean", skill=3.0),
        evaluation({"model": "m"}, "digits-ood", "ood", skill=3.0, n=7),
        trial({"model": "m", "optimizer": "sgd"}, skill=2.0, diverged_step=4),
        failed({"model": "m", "optimizer": None}, "digits@test"),
        simple(),
        simple(metrics={"ece": float("nan"), "nll": float("inf"), "x": -0.0}),
        simple(settings={"flag": True, "none": None, "text": "ü\n\"'", "big": 2**62}),
        simple(examples={"id": np.array([], str), "nll": np.array([], np.float32)}),
        simple(settings={"num_devices": 2}, provenance={"num_devices": "8"}),
    ],
)
def test_a_run_round_trips_exactly(run):
    assert_same(from_arrow(to_arrow(run)), run)


@settings(max_examples=50, deadline=None)
@given(
    values=st.lists(st.floats(width=32), max_size=20),
    metrics=st.dictionaries(st.sampled_from("abcdef"), st.floats(), max_size=6),
    text=st.dictionaries(st.sampled_from("uvw"), st.text(max_size=5), max_size=3),
)
def test_any_values_round_trip(values, metrics, text):
    examples = {"energy": np.array(values, np.float32)}
    run = simple(metrics=metrics, settings=text, examples=examples)
    assert_same(from_arrow(to_arrow(run)), run)


def test_columns_and_footer_say_the_same():
    run = evaluation({"model": "m", "seed": 3}, "digits@test", "clean", skill=3.0, n=20)
    table = to_arrow(run)
    header = json.loads(table.schema.metadata[METADATA_KEY])
    assert table.num_rows == 1
    row = table.to_pylist()[0]
    for group in ("settings", "metrics", "timing"):
        for name, value in header[group].items():
            assert row[name] == value
    assert row["example_nll"] == run.examples["nll"].tolist()
    assert row["nll"] == run.metrics["nll"]
    assert row["provenance_num_devices"] == "8"
    assert row["num_devices"] == 1


def test_fixed_types_of_known_columns():
    schema = to_arrow(simple(settings={"learning_rate": 1, "seed": None})).schema
    assert str(schema.field("learning_rate").type) == "double"
    assert str(schema.field("seed").type) == "int64"
    assert str(schema.field("error_type").type) == "string"
    numpy_scalars = simple(
        settings={"seed": np.int64(3)}, metrics={"nll": np.float32(0.5)}
    )
    assert type(numpy_scalars.settings["seed"]) is int
    assert numpy_scalars.metrics == {"nll": 0.5}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"run_id": "../x"}, "letters, digits"),
        ({"kind": "training"}, "wanted one of evaluation, trial"),
        ({"status": "done"}, "wanted one of ok, failed"),
        ({"status": "failed"}, "error is None"),
        ({"error": RunError("E", "m")}, "status is 'ok'"),
        ({"settings": {"seed": "one"}}, "'seed' is 'one', wanted int"),
        ({"settings": {"seed": True}}, "wanted int"),
        ({"settings": {"extra": [1]}}, "wanted str or int or float or bool"),
        ({"metrics": {"nll": "low"}}, "wanted a number"),
        ({"metrics": {"nll": None}}, "wanted a number"),
        ({"provenance": {"device": 3}}, "wanted a string"),
        ({"metrics": {"model": 1.0}, "settings": {"model": "m"}}, "name of a column"),
        ({"metrics": {"x": 1.0}, "timing": {"x": 1.0}}, "name of a column of metrics"),
        ({"metrics": {"X": 1.0}, "timing": {"x": 1.0}}, "name of a column of metrics"),
        ({"metrics": {"x": 1.0, "X": 1.0}}, "differ by case"),
        ({"settings": {"status": "x"}}, "the core columns"),
        ({"settings": {"example_x": 1}}, "reserved prefix"),
        ({"examples": {"a": np.zeros(2), "b": np.zeros(3)}}, "differ in length"),
        ({"examples": {"a": np.zeros((2, 2))}}, "wanted one axis"),
        ({"examples": {"id": np.arange(3)}}, "wanted strings"),
        ({"examples": {"a": np.array([None, 1])}}, "wanted one axis"),
    ],
)
def test_what_does_not_fit_is_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        simple(**changes)


def test_all_problems_are_reported_at_once():
    with pytest.raises(ValueError, match=r"(?s)run_id must.*kind is.*'nll'"):
        simple(run_id="", kind="x", metrics={"nll": "y"})


def test_run_digest_depends_on_content_alone():
    one = run_digest({"model": "m", "grid": {"b": 1, "a": [1, 2.5, None]}})
    assert one == run_digest({"grid": {"a": [1, 2.5, None], "b": 1}, "model": "m"})
    assert one != run_digest({"grid": {"a": [1, 2.5, None], "b": 2}, "model": "m"})
    assert run_digest({}) == "44136fa355b3678a1146ad16f7e8649e"  # sha256 of "{}"


@pytest.mark.parametrize("value", [float("nan"), float("inf"), np.zeros(2), {1, 2}])
def test_run_digest_refuses_what_has_no_canonical_form(value):
    with pytest.raises(ValueError, match="give strings, finite numbers"):
        run_digest({"x": value})


def test_the_documentation_names_every_column():
    text = (Path(__file__).parents[2] / "docs" / "results.md").read_text()
    known = (tables.CORE, tables.SETTINGS, tables.PROVENANCE, tables.EXAMPLES)
    missing = [n for table in known for n in table if f"`{n}`" not in text]
    assert not missing
