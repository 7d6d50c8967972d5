"""The commands and how they end: exit status, messages, interruption."""

import functools
import sys
from collections.abc import Callable

import typer

from jaxbench.cli import (
    cache,
    coupling,
    inspect,
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
from jaxbench.cli.display import errors
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
    """Words the user's mistakes and an interruption; anything else is our bug."""

    @functools.wraps(command)
    def run(*arguments, **options):
        try:
            return command(*arguments, **options)
        except UserError as error:
            errors.print(f"[bold red]error:[/] {_escaped(error)}", highlight=False)
            raise typer.Exit(2) from None
        except KeyboardInterrupt:
            errors.print("\nInterrupted.")
            raise typer.Exit(130) from None

    return run


def _escaped(error: Exception) -> str:
    from rich.markup import escape

    return escape(str(error))


for _command in (work.run, zoo.models, inspect.metrics, work.evaluate, work.sweep):
    app.command(rich_help_panel=None)(_guarded(_command))
for _command in (results.results, results.report, results.compare, zoo.convert):
    app.command()(_guarded(_command))

app.command()(_guarded(probe.probe))
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
    if version:
        from jaxbench.engine.provenance import provenance

        for key, value in provenance().items():
            print(f"{key}: {value}")
        raise typer.Exit


def main() -> None:
    """The console script."""
    # A closed pipe (`jaxbench models | head`) is the reader's choice, not an error.
    try:
        app()
    except BrokenPipeError:
        sys.stderr.close()
        raise SystemExit(0) from None
