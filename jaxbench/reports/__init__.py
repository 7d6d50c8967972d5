"""Reports: tables for the terminal, figures, and one self-contained page."""

from jaxbench.reports.html import write_report

__all__ = ["write_report"]
