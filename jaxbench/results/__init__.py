"""Runs as files: one immutable Parquet part per run, queried with SQL."""

from jaxbench.results.parts import Problem
from jaxbench.results.schema import Run, RunError, run_digest
from jaxbench.results.store import ResultStore

__all__ = ["Problem", "ResultStore", "Run", "RunError", "run_digest"]
