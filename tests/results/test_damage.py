"""One changed bit of a part is refused on every route, never another number."""

import shutil
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from jaxbench.errors import UserError
from jaxbench.results import ResultStore
from jaxbench.results.sealing import read_footer
from tests.results.sample_runs import assert_same, evaluation, trial

OLD = Path(__file__).parent / "written" / "format-1"
NUM_FLIPS = 24
QUERIES = (
    "SELECT run_id, sum(nll), sum(correct::INT), min(id) FROM examples GROUP BY ALL",
    "SELECT run_id, count(*), sum(train_loss) FROM curves GROUP BY ALL",
)


@pytest.fixture
def store(tmp_path):
    store = ResultStore(tmp_path / "results", create=True)
    store.write(evaluation({"model": "a"}, "digits@test", "clean", skill=3.0, n=20))
    store.write(trial({"model": "a", "optimizer": "sgd"}, skill=2.0))
    return store


def flip(path, bit):
    content = bytearray(path.read_bytes())
    content[bit // 8] ^= 1 << bit % 8
    path.write_bytes(bytes(content))


def routes(store):
    """What each route reads, as text where NaN equals itself, or that it refused."""
    (run_id,) = [h.stem.split("-")[1] for h in store.path.glob("runs/evaluation-*")]
    (trial_id,) = [h.stem.split("-")[1] for h in store.path.glob("runs/trial-*")]
    readers = {
        "summary": lambda: store.summary().to_pylist(),
        "examples": lambda: _lists(store.examples(run_id)),
        "some": lambda: _lists(store.examples(run_id, ["nll", "id"])),
        "read": lambda: _lists(store.read(run_id).examples),
        "trial": lambda: _lists(store.read(trial_id).curves),
        **{query: lambda q=query: store.sql(q).to_pylist() for query in QUERIES},
    }
    found = {}
    for name, reader in readers.items():
        try:
            rows = reader()
        except UserError as error:
            found[name] = error
        else:
            found[name] = _texts(rows) if isinstance(rows, list) else repr(rows)
    return found


def _texts(rows):
    # A part that is missing takes along the columns that are its alone.
    return sorted(
        repr(sorted((k, v) for k, v in row.items() if v is not None)) for row in rows
    )


def _lists(columns):
    return {name: values.tolist() for name, values in columns.items()}


def assert_refused_or_equal(store, whole, path):
    found = routes(ResultStore(store.path))
    problems = [p.path for p in ResultStore(store.path).problems]
    for name, value in found.items():
        if isinstance(value, UserError):
            assert "damaged" in str(value) or problems == [path]
        elif problems:
            # A part that is known to be damaged is missing, and what is left is right.
            assert problems == [path]
            assert set(value) <= set(whole[name])
        else:
            assert value == whole[name]
    return bool(problems) or any(isinstance(v, UserError) for v in found.values())


@pytest.mark.parametrize("kind", ["evaluation", "trial"])
@pytest.mark.parametrize("place", ["body", "footer"])
def test_case_10_a_changed_bit_is_refused_on_every_route(store, kind, place):
    whole = routes(store)
    (path,) = store.path.glob(f"runs/{kind}-*")
    size, footer = path.stat().st_size, len(read_footer(path))
    first, last = (0, size - footer) if place == "body" else (size - footer, size)
    for bit in np.random.default_rng(10).integers(first * 8, last * 8, NUM_FLIPS):
        flip(path, int(bit))
        # Nothing of a part is without meaning to its digests.
        assert assert_refused_or_equal(store, whole, path), bit
        flip(path, int(bit))
    assert routes(ResultStore(store.path)) == whole


@pytest.mark.parametrize("kind", ["evaluation", "trial"])
def test_case_10_parts_without_digests_are_compared_with_their_columns(tmp_path, kind):
    store = ResultStore(shutil.copytree(OLD, tmp_path / "old"))
    first = sorted(store.path.glob("runs/evaluation-*"))[1]
    (second,) = store.path.glob("runs/trial-a48*")
    first.unlink()
    second.unlink()
    whole = routes(store)
    (path,) = store.path.glob(f"runs/{kind}-*")
    bits = np.random.default_rng(10).integers(0, path.stat().st_size * 8, NUM_FLIPS)
    refused = 0
    for bit in bits:
        flip(path, int(bit))
        refused += assert_refused_or_equal(store, whole, path)
        flip(path, int(bit))
    # Some bits of such a footer say nothing, such as those of unused statistics.
    assert refused > NUM_FLIPS / 2


def test_case_10_a_digest_cannot_be_lost(store):
    """A part whose digest has another name is damaged, not an old part."""
    (path,) = store.path.glob("runs/trial-*")
    content = path.read_bytes()
    path.write_bytes(content.replace(b"jaxbench_footer", b"jaxbench_fooser"))
    assert ["digest in its footer is missing" in p.reason for p in store.problems] == [
        True
    ]


def test_case_10_any_parquet_reader_reads_a_part(store):
    (path,) = store.path.glob("runs/evaluation-*")
    table = pq.read_table(path, page_checksum_verification=True)
    run = store.read(store.find("a/digits@test"))
    assert table["accuracy"].to_pylist() == [run.metrics["accuracy"]]
    np.testing.assert_array_equal(
        table["example_nll"].to_pylist()[0], run.examples["nll"].astype(float)
    )
    keys = set(pq.read_metadata(path).metadata)
    assert {b"jaxbench", b"jaxbench_body", b"jaxbench_footer"} <= keys


def test_case_10_damage_after_the_first_query_is_found(store):
    """Parts are verified once as long as they are the same, and again when changed."""
    query = "SELECT sum(nll) AS nll FROM examples"
    whole = store.sql(query)
    assert store.sql(query) == whole
    (path,) = store.path.glob("runs/evaluation-*")
    flip(path, 8 * 2000)
    with pytest.raises(UserError, match=r"is damaged .* delete it and run"):
        store.sql(query)


def test_a_damaged_part_is_written_again(store):
    run = store.read(store.find("a/digits@test"))
    (path,) = store.path.glob("runs/evaluation-*")
    flip(path, 8 * (path.stat().st_size - 100))
    assert run.run_id not in store.completed()
    store.write(run)
    assert_same(store.read(run.run_id), run)
