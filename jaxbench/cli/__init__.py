"""The `jaxbench` command."""

from jaxbench.cli.app import main

__all__ = ["main"]
