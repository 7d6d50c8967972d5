"""The `jaxbench` command."""

import sys


def main() -> None:
    """Runs the command; the entry point of the installed script."""
    try:
        from jaxbench.cli.app import main as run
    except ModuleNotFoundError as error:
        # The metrics are installed alone: one of the other packages is missing.
        sys.exit(
            f"jaxbench: the command needs the package {error.name!r}, which is not "
            "installed: pip install 'jaxbench[run]'"
        )
    run()
