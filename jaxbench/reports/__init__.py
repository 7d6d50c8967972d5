"""Reports: what a folder of results holds, as one page with its figures."""

from jaxbench.reports.overview import write_report

__all__ = ["write_report"]
