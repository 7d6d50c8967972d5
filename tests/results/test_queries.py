import numpy as np
import pyarrow.csv
import pytest

from jaxbench.errors import UserError
from jaxbench.results import ResultStore, Run
from tests.results.sample_runs import evaluation, failed, trial


@pytest.fixture
def store(tmp_path):
    # A folder that breaks naive quoting and globbing.
    store = ResultStore(tmp_path / 'it\'s [a] "test" *', create=True)
    for model, skill in (("a", 2.0), ("b", 4.0)):
        store.write(
            evaluation({"model": model}, "digits@test", "clean", skill=skill, n=50)
        )
    store.write(evaluation({"model": "a"}, "digits-ood", "ood", skill=2.0, n=30))
    store.write(trial({"model": "a", "optimizer": "sgd"}, skill=2.0, epochs=4))
    store.write(failed({"model": "c"}, "digits@test"))
    return store


def test_runs(store):
    rows = store.sql(
        "SELECT model, accuracy FROM runs WHERE role = 'clean' AND status = 'ok' "
        "ORDER BY accuracy DESC"
    ).to_pylist()
    assert [row["model"] for row in rows] == ["b", "a"]
    assert store.sql("SELECT count(*) AS n FROM runs")["n"].to_pylist() == [5]


def test_examples_join_runs(store):
    query = """
        SELECT model, role, avg(correct::INT) AS accuracy,
               avg(nll) AS nll, count(*) AS n
        FROM examples JOIN runs USING (run_id) GROUP BY ALL ORDER BY model, role
    """
    with pytest.raises(UserError, match=r"(?i)ambiguous"):
        store.sql(query)  # `nll` is a metric of the run and a column of the example
    rows = store.sql(query.replace("avg(nll)", "avg(examples.nll)")).to_pylist()
    assert [(row["model"], row["n"]) for row in rows] == [
        ("a", 50),
        ("a", 30),
        ("b", 50),
    ]
    run = store.read(store.find("b/digits@test"))
    assert rows[2]["accuracy"] == pytest.approx(run.examples["correct"].mean())
    assert rows[2]["nll"] == pytest.approx(run.examples["nll"].mean(), rel=1e-6)


def test_example_columns_unite_over_parts(store):
    store.write(
        Run(
            "wide", "evaluation", "ok", examples={"label": np.arange(3, dtype=np.int64)}
        )
    )
    rows = store.sql(
        "SELECT label, nll FROM examples WHERE run_id = 'wide'"
    ).to_pylist()
    assert rows == [{"label": label, "nll": None} for label in range(3)]


def test_example_columns_that_do_not_go_together(store):
    store.write(Run("odd", "evaluation", "ok", examples={"label": np.array(["cat"])}))
    with pytest.raises(UserError, match="do not go together"):
        store.sql("SELECT * FROM examples")
    assert store.sql("SELECT count(*) AS n FROM runs")["n"].to_pylist() == [6]


def test_curves(store):
    store.write(Run("t", "trial", "ok", curves={"lr": np.array([0.5, 0.25])}))
    rows = store.sql(
        "SELECT * FROM curves WHERE run_id = 't' ORDER BY epoch"
    ).to_pylist()
    assert [(row["epoch"], row["lr"]) for row in rows] == [(1, 0.5), (2, 0.25)]
    assert rows[0]["train_loss"] is None
    count = store.sql('SELECT count(*) AS n FROM "Curves" WHERE train_loss > 0')
    assert count["n"].to_pylist() == [4]


def test_empty_store(tmp_path):
    store = ResultStore(tmp_path / "s", create=True)
    for view in ("runs", "examples", "curves"):
        assert store.sql(f"SELECT run_id FROM {view}").num_rows == 0


@pytest.mark.parametrize(
    ("query", "message"),
    [
        ("SELECT nothing FROM runs", "Referenced column"),
        ("SELEC 1", "syntax error"),
        ("SELECT * FROM run", "DESCRIBE runs"),
        ("SELECT error('x') FROM runs", "SQL: "),
    ],
)
def test_bad_sql_shows_the_message(store, query, message):
    with pytest.raises(UserError, match=message):
        store.sql(query)


def test_copy_and_statements_without_rows(store, tmp_path):
    target = tmp_path / "out.csv"
    store.sql(f"COPY (SELECT model, accuracy FROM runs) TO '{target}' (HEADER)")
    assert pyarrow.csv.read_csv(target).num_rows == 5
    assert store.sql(f"SELECT * FROM '{target}'").num_rows == 5
    assert store.sql("CREATE TABLE x (a INT)").num_rows == 0
