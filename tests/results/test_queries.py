import numpy as np
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


def test_statements_without_rows(store):
    assert store.sql("CREATE TABLE x (a INT)").num_rows == 0


@pytest.mark.parametrize(
    "query",
    [
        "SELECT * FROM '{file}'",
        "SELECT * FROM read_csv('{file}')",
        "SELECT * FROM read_text('{file}')",
        "SELECT * FROM parquet_scan('{part}')",
        "SELECT * FROM glob('{folder}/*')",
        "COPY (SELECT model FROM runs) TO '{folder}/out.csv'",
        "COPY runs TO '{folder}/out.parquet'",
        "EXPORT DATABASE '{folder}/out'",
        "ATTACH '{folder}/out.db'",
        "CREATE SECRET (TYPE s3)",
        "INSTALL httpfs",
        "LOAD httpfs",
        "SET enable_external_access = true",
        "RESET enable_external_access",
        "SET lock_configuration = false",
        "PRAGMA enable_external_access = true",
        "SET allow_community_extensions = true; INSTALL x FROM community",
        "SELECT 1; COPY runs TO '{folder}/out.csv'",
        "SELECT * FROM variable_of_the_caller",
    ],
)
def test_case_35_a_query_reaches_nothing_but_the_views(store, tmp_path, query):
    variable_of_the_caller = store.summary()
    file = tmp_path / "file.csv"
    file.write_text("a,b\n1,2\n")
    part = next((store.path / "runs").glob("*.parquet"))
    before = sorted(tmp_path.rglob("*"))
    quoted = {"file": file, "part": part, "folder": tmp_path}
    query = query.format(**{k: str(v).replace("'", "''") for k, v in quoted.items()})
    with pytest.raises(UserError, match="SQL: "):
        store.sql(query)
    assert sorted(tmp_path.rglob("*")) == before
    assert variable_of_the_caller.num_rows == 5


def test_case_35_a_refused_file_is_worded(store, tmp_path):
    with pytest.raises(UserError, match=r"the results alone.*--csv FILE"):
        store.sql(f"COPY runs TO '{tmp_path}/out.csv'")


def test_case_35_summary_queries_read_no_columns(store):
    """What a query does not name is not opened: columns are large, rows are not."""
    for path in (store.path / "runs").glob("evaluation-*.parquet"):
        content = bytearray(path.read_bytes())
        content[10] ^= 1
        path.write_bytes(bytes(content))
    rows = store.sql("SELECT count(*) AS n FROM runs").to_pylist()
    assert rows == [{"n": 5}]
    assert store.sql("SELECT count(*) AS n FROM curves").to_pylist() == [{"n": 4}]
    with pytest.raises(UserError, match="is damaged"):
        store.sql("SELECT count(*) FROM examples")
