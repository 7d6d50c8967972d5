"""Studies: pure functions of stored results."""

from jaxbench.studies.compare import Comparison, compare_runs

__all__ = ["Comparison", "compare_runs"]
