"""Runs as data frames of pandas and polars."""

import sys

import numpy as np
import pandas as pd
import polars as pl
import pytest

from jaxbench.errors import UserError
from jaxbench.results import ResultStore, Run


@pytest.fixture
def store(tmp_path):
    store = ResultStore(tmp_path / "results", create=True)
    first = {"model": "a", "seed": 2**60 + 1}
    store.write(Run("a", "evaluation", "ok", first, {"nll": float("nan"), "x": 0.5}))
    store.write(Run("b", "evaluation", "ok", {"model": "b"}, {"nll": 2.0}))
    store.write(Run("c", "trial", "ok", {"model": "b", "seed": 1}))
    return store


def test_pandas_has_a_row_a_run_and_keeps_integers(store):
    frame = store.to_pandas().set_index("run_id")
    assert isinstance(frame, pd.DataFrame)
    assert list(frame.columns) == store.summary().column_names[1:]
    assert frame.loc["a", "seed"] == 2**60 + 1
    assert frame.loc["b", "seed"] is pd.NA
    assert frame.loc["b", "nll"] == 2.0
    assert np.isnan(frame.loc["b", "x"])
    assert store.to_pandas("trial")["model"].tolist() == ["b"]


def test_polars_has_a_row_a_run_and_keeps_nan_apart_from_null(store):
    frame = store.to_polars()
    assert isinstance(frame, pl.DataFrame)
    assert frame.columns == store.summary().column_names
    assert frame["seed"].to_list() == [2**60 + 1, None, 1]
    assert np.isnan(frame["nll"][0])
    assert frame["nll"].to_list()[1:] == [2.0, None]
    assert store.to_polars("trial")["model"].to_list() == ["b"]


@pytest.mark.parametrize("package", ["pandas", "polars"])
def test_missing_package_is_named(store, monkeypatch, package):
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(UserError, match=f"pip install {package}"):
        getattr(store, f"to_{package}")()


def test_store_has_a_short_repr(store):
    assert repr(store) == f"ResultStore({str(store.path)!r})"
