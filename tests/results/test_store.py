import errno
import multiprocessing
import os
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from jaxbench.errors import UserError
from jaxbench.results import ResultStore, Run, RunError
from tests.results.sample_runs import assert_same, evaluation, failed, trial

ROOT = Path(__file__).parents[2]


def run_of(name, **settings):
    return evaluation(
        {"model": name, **settings}, "digits@test", "clean", skill=3.0, n=20
    )


@pytest.fixture
def store(tmp_path):
    return ResultStore(tmp_path / "results", create=True)


def files(store, pattern="*"):
    return sorted(path.name for path in (store.path / "runs").glob(pattern))


def test_written_runs_are_read_back(store):
    runs = [run_of("a"), trial({"model": "a"}, skill=2.0), failed({"model": "b"})]
    paths = [store.write(run) for run in runs]
    assert paths[0].name == f"evaluation-{runs[0].run_id}.parquet"
    assert store.completed() == {runs[0].run_id, runs[1].run_id}
    for run in runs:
        assert_same(ResultStore(store.path).read(run.run_id), run)
    assert store.summary().num_rows == 3
    assert store.problems == ()


def test_summary_is_the_union_of_columns(store):
    old = Run("old", "evaluation", "ok", metrics={"nll": 1.0}, settings={"extra": 1})
    new = Run(
        "new",
        "evaluation",
        "ok",
        settings={"extra": "text"},
        metrics={"nll": float("nan"), "novel": 2.0},
    )
    store.write(old)
    store.write(new)
    rows = {row["run_id"]: row for row in store.summary().to_pylist()}
    assert rows["old"]["novel"] is None
    assert rows["new"]["novel"] == 2.0
    assert np.isnan(rows["new"]["nll"])  # a NaN metric is not a missing metric
    assert (rows["old"]["extra"], rows["new"]["extra"]) == ("1", "text")
    assert store.metric_names() == ("nll", "novel")


def test_summary_of_an_empty_store_has_the_known_columns(store):
    table = store.summary()
    assert table.num_rows == 0
    assert {"run_id", "model", "learning_rate", "error_message"} <= set(
        table.column_names
    )


def test_summary_by_kind_leaves_list_columns_out(store):
    store.write(run_of("a"))
    store.write(trial({"model": "a"}, skill=2.0))
    table = store.summary("trial")
    assert table["kind"].to_pylist() == ["trial"]
    assert not [n for n in table.column_names if n.startswith(("example_", "curve_"))]


def test_a_finished_part_is_never_replaced(store):
    store.write(run_of("a"))
    name = files(store)[0]
    before = (store.path / "runs" / name).stat()
    other = Run(run_of("a").run_id, "evaluation", "ok", metrics={"accuracy": 0.0})
    store.write(other)
    store.write(Run(other.run_id, "evaluation", "failed", error=RunError("E", "late")))
    assert files(store) == [name]
    after = (store.path / "runs" / name).stat()
    assert (before.st_ino, before.st_mtime_ns) == (after.st_ino, after.st_mtime_ns)


def test_a_failed_part_is_replaced_by_what_comes_next(store):
    bad = Run("r", "evaluation", "failed", error=RunError("E", "first"))
    store.write(bad)
    store.write(Run("r", "evaluation", "failed", error=RunError("E", "second")))
    assert store.summary()["error_message"].to_pylist() == ["second"]
    store.write(Run("r", "evaluation", "ok"))
    assert store.summary()["status"].to_pylist() == ["ok"]
    assert files(store) == ["evaluation-r.parquet"]


def test_a_late_failure_does_not_hide_a_finished_run(store):
    """Two writers of one run: the failing one checked before the other finished."""
    store.write(Run("r", "evaluation", "failed", error=RunError("E", "m")))
    text = (store.path / "runs" / "evaluation-r.failed.parquet").read_bytes()
    store.write(Run("r", "evaluation", "ok"))
    (store.path / "runs" / "evaluation-r.failed.parquet").write_bytes(text)
    assert store.completed() == {"r"}
    assert store.summary()["status"].to_pylist() == ["ok"]
    assert store.read("r").status == "ok"


@pytest.mark.parametrize("damage", ["cut", "empty", "text", "another", "renamed"])
def test_an_unreadable_part_is_missing_and_reported(store, tmp_path, damage):
    good, bad = run_of("good"), run_of("bad")
    store.write(good)
    path = store.write(bad)
    whole = path.read_bytes()
    if damage == "another":
        pq.write_table(store.summary().select(["run_id"]), path)
    elif damage == "renamed":
        path.write_bytes(
            (store.path / "runs" / f"evaluation-{good.run_id}.parquet").read_bytes()
        )
    else:
        kept = {"cut": whole[: len(whole) // 2], "empty": b"", "text": b"not parquet"}
        path.write_bytes(kept[damage])
    for reader in (store, ResultStore(store.path)):
        assert reader.completed() == {good.run_id}
        assert reader.summary()["model"].to_pylist() == ["good"]
        assert [problem.path for problem in reader.problems] == [path]
        assert reader.problems[0].reason
        assert reader.sql("SELECT count(*) AS n FROM examples")["n"].to_pylist() == [20]
    store.write(bad)
    assert store.problems == ()
    assert store.completed() == {good.run_id, bad.run_id}
    assert files(store, "*.corrupt") == [f"{path.name}.corrupt"]


def test_examples_and_their_columns(store):
    run = run_of("a")
    store.write(run)
    assert list(store.examples(run.run_id)) == list(run.examples)
    some = store.examples(run.run_id, ["nll", "id"])
    assert list(some) == ["nll", "id"]
    np.testing.assert_array_equal(some["nll"], run.examples["nll"])
    assert some["id"][0] == "digits-00000"
    with pytest.raises(UserError, match="did you mean 'confidence"):
        store.examples(run.run_id, ["confidense"])
    with pytest.raises(UserError, match="unknown run"):
        store.examples("nothing")
    bad = failed({"model": "b"}, "digits@test")
    store.write(bad)
    with pytest.raises(UserError, match="RESOURCE_EXHAUSTED"):
        store.examples(bad.run_id)


def test_find(store):
    runs = [run_of("a", seed=0), run_of("b", seed=0), run_of("b", seed=1)]
    runs.append(run_of("c", trial_id="t1"))
    for run in runs:
        store.write(run)
    assert store.find(runs[0].run_id) == runs[0].run_id
    assert store.find(runs[0].run_id[:12]) == runs[0].run_id
    assert store.find("a/digits@test") == runs[0].run_id
    assert store.find("t1/digits@test") == runs[3].run_id
    with pytest.raises(UserError, match=r"(?s)means 2 runs.*model=b.*seed=1"):
        store.find("b/digits@test")
    with pytest.raises(UserError, match="did you mean 'a/digits@test'"):
        store.find("a/digits@tests")
    with pytest.raises(UserError, match="unknown run"):
        store.find("")


def test_find_prefers_an_exact_id_and_knows_an_empty_store(store):
    with pytest.raises(UserError, match="holds no finished run"):
        store.find("a")
    for name in ("a", "ab"):
        store.write(Run(name, "evaluation", "ok"))
    assert store.find("a") == "a"


def test_missing_folder_is_named(tmp_path):
    with pytest.raises(UserError, match="does not exist; give the folder"):
        ResultStore(tmp_path / "nothing")
    with pytest.raises(UserError, match="holds no runs"):
        ResultStore(tmp_path)


def test_folder_that_cannot_be_made_is_refused_before_any_work(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="cannot be written: Not a directory; choose"):
        ResultStore(tmp_path / "file" / "results", create=True)


def test_full_disk_is_a_user_error_and_leaves_nothing(store, monkeypatch):
    def full(_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(UserError, match="No space left on device; make room"):
        store.write(run_of("a"))
    assert files(store) == []
    assert list((store.path / "runs").iterdir()) == []


def test_file_systems_without_hard_links(store, monkeypatch):
    def refuse(*_):
        raise OSError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(os, "link", refuse)
    run = run_of("a")
    store.write(run)
    store.write(run)
    assert store.completed() == {run.run_id}
    assert files(store) == [f"evaluation-{run.run_id}.parquet"]


def test_left_over_temporary_files(store):
    folder = store.path / "runs"
    old, young = folder / ".x.parquet.1.aa.tmp", folder / ".y.parquet.2.bb.tmp"
    for path in (old, young):
        path.write_bytes(b"PAR1 half")
    two_days_ago = time.time() - 2 * 24 * 3600
    os.utime(old, (two_days_ago, two_days_ago))
    assert store.completed() == frozenset()
    assert store.problems == ()
    ResultStore(store.path, create=True)
    assert (old.exists(), young.exists()) == (False, True)


def test_a_writer_killed_half_way_leaves_no_part(store):
    script = """
    import os, sys
    from jaxbench.results import ResultStore, parts
    from tests.results.sample_runs import evaluation
    parts.os.fsync = lambda _: os._exit(9)  # dies after the bytes, before the name
    run = evaluation({"model": "a"}, "digits@test", "clean", skill=3.0, n=20)
    ResultStore(sys.argv[1]).write(run)
    """
    command = [sys.executable, "-c", textwrap.dedent(script), str(store.path)]
    done = subprocess.run(command, cwd=ROOT, check=False)
    assert done.returncode == 9
    left = [path.name for path in (store.path / "runs").iterdir()]
    assert len(left) == 1
    assert left[0].endswith(".tmp")
    assert store.completed() == frozenset()
    run = run_of("a")
    store.write(run)
    assert_same(store.read(run.run_id), run)


def _write_many(path, start, barrier):
    store = ResultStore(path, create=True)
    barrier.wait()
    for index in range(start, start + 15):
        store.write(Run(f"r{index}", "evaluation", "ok", metrics={"x": float(index)}))
        store.write(Run("same", "evaluation", "ok", metrics={"x": -1.0}))
        late = RunError("E", "m")
        store.write(Run(f"r{index - 5}", "evaluation", "failed", error=late))


def test_concurrent_writers_lose_and_double_nothing(tmp_path):
    context = multiprocessing.get_context("spawn")
    barrier = context.Barrier(3)
    starts = (100, 110, 120)  # overlapping: both write r110 to r114, and so on
    workers = [
        context.Process(target=_write_many, args=(tmp_path / "s", start, barrier))
        for start in starts
    ]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(60)
        assert worker.exitcode == 0
    store = ResultStore(tmp_path / "s")
    wanted = {f"r{i}" for i in range(100, 135)} | {"same"}
    assert store.completed() == wanted
    rows = store.summary().to_pylist()
    assert sorted(r["run_id"] for r in rows if r["status"] == "ok") == sorted(wanted)
    assert {row["run_id"] for row in rows if row["status"] == "failed"} <= {
        f"r{i}" for i in range(95, 100)
    }
    assert len(rows) == len({row["run_id"] for row in rows})
    assert not list((store.path / "runs").glob(".*"))


def test_summary_of_many_parts_is_quick(store):
    run = run_of("a")
    source = store.write(run)
    for index in range(300):
        name = f"r{index}"
        copy = Run(name, "evaluation", "ok", run.settings, run.metrics, run.timing)
        store.write(copy)
    source.unlink()
    start = time.process_time()
    assert ResultStore(store.path).summary().num_rows == 300
    # 1 ms a part measured; reading the columns takes 4 ms.
    assert time.process_time() - start < 300 * 0.0035
