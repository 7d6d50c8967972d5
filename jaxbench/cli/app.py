"""The commands and how they end: exit status, messages, interruption."""

import functools
import os
import sys
from collections.abc import Callable

import typer

from jaxbench.cli import (
    cache,
    coupling,
    inspect,
    pretrain,
    probe,
    results,
    study,
    study_beyond,
    study_curation,
    study_lottery,
    study_selective,
    work,
    zoo,
)
from jaxbench.cli.display import errors, reserve_stdout
from jaxbench.cli.signals import as_interruption, end_on_signals
from jaxbench.errors import UserError

app = typer.Typer(
    name="jaxbench",
    help="Measure image classifiers, and the training choices behind them, in JAX.",
    no_args_is_help=True,
    rich_markup_mode="rich",
    pretty_exceptions_show_locals=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _guarded(command: Callable) -> Callable:
    """Turns user errors and interruptions into a message and an exit status."""

    @functools.wraps(command)
    def run(*arguments, **options):
        try:
            return command(*arguments, **options)
        except UserError as error:
            errors.print(f"[bold red]error:[/] {_escaped(error)}", highlight=False)
            raise typer.Exit(2) from None
        except KeyboardInterrupt as error:
            found = as_interruption(error)
            errors.print(f"\n{found.title}.")
            raise typer.Exit(found.status) from None

    return run


def _escaped(error: Exception) -> str:
    from rich.markup import escape

    return escape(str(error))


for _command in (work.run, zoo.models, inspect.metrics, work.evaluate, work.sweep):
    app.command(rich_help_panel=None)(_guarded(_command))
for _command in (results.results, results.report, results.compare, zoo.convert):
    app.command()(_guarded(_command))

app.command()(_guarded(probe.probe))
app.command()(_guarded(pretrain.pretrain))
app.command()(_guarded(coupling.coupling))

_data = typer.Typer(help="List, describe and prepare datasets.", no_args_is_help=True)
for _name, _command in (
    ("list", inspect.data_list),
    ("info", inspect.data_info),
    ("prepare", inspect.data_prepare),
    ("cache", cache.data_cache),
):
    _data.command(_name)(_guarded(_command))
app.add_typer(_data, name="data")

_study = typer.Typer(
    help="What finished results say: the studies.", no_args_is_help=True
)
for _name, _command in (
    ("list", study.list_studies),
    ("selective", study_selective.selective),
    ("beyond", study_beyond.beyond),
    ("coupling", study.study_coupling),
    ("lottery", study_lottery.lottery),
    ("curation", study_curation.curation),
):
    _study.command(_name)(_guarded(_command))
app.add_typer(_study, name="study")


@app.callback(invoke_without_command=True)
def _root(
    version: bool = typer.Option(False, "--version", help="Print versions and end."),
) -> None:
    reserve_stdout(False)
    if version:
        from jaxbench.engine.provenance import provenance

        for key, value in provenance().items():
            print(f"{key}: {value}")
        raise typer.Exit


def main() -> None:
    """The console script."""
    end_on_signals()
    try:
        app()
    except BrokenPipeError:
        # A closed pipe (`jaxbench models | head`) is the reader's choice, not an error.
        sys.stderr.close()
        raise SystemExit(0) from None
    except SystemExit as end:
        if isinstance(end.code, int) and end.code > 128:
            # After a signal nobody waits for threads that compile or read images.
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(end.code)
        raise
