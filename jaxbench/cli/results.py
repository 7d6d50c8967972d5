"""Commands about finished runs: results, report, compare."""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from jaxbench.cli.display import (
    console,
    errors,
    print_table,
    reserve_stdout,
    results_table,
)
from jaxbench.cli.tables import TableFormat, print_as, table_of_arrow, writing_csv
from jaxbench.errors import UserError, counted, unknown_name

if TYPE_CHECKING:
    import pyarrow

    from jaxbench.results import ResultStore

Folder = Annotated[Path, typer.Argument(help="Folder of results.")]
_FAILURES = (
    "select run_id, model, dataset, error_type, error_message from runs "
    "where status = 'failed'"
)


def results(
    folder: Folder,
    columns: Annotated[
        str | None,
        typer.Option(
            help="Columns of the table, in order, with commas between: metrics, "
            "num_parameters, gmacs, image_size, images_per_second, run_id and every "
            "other stored column."
        ),
    ] = None,
    form: Annotated[
        TableFormat,
        typer.Option(
            "--format", help="How the table is printed.", case_sensitive=False
        ),
    ] = TableFormat.TABLE,
    metric: Annotated[
        list[str] | None,
        typer.Option(
            "--metric", "--metrics", help="Metric to --remeasure. Repeatable."
        ),
    ] = None,
    sql: Annotated[
        str | None,
        typer.Option(
            help="A query (DuckDB) over the views runs (a row each), examples (a row "
            "per run and image) and curves (a row per trial and epoch)."
        ),
    ] = None,
    csv: Annotated[
        Path | None,
        typer.Option(
            help="Write everything, or what --sql finds, as CSV; - prints it."
        ),
    ] = None,
    failed: Annotated[bool, typer.Option("--failed", help="Only failures.")] = False,
    remeasure: Annotated[
        bool,
        typer.Option(
            "--remeasure",
            help="First compute the metrics anew from the stored per-example columns, "
            "without images: those of --metric, or all that are known now.",
        ),
    ] = False,
    imports: Annotated[
        list[str] | None,
        typer.Option(
            "--import", help="Module to import first: it adds metrics to remeasure."
        ),
    ] = None,
    resamples: Annotated[
        int | None,
        typer.Option(
            min=0, max=1_000_000, help="Bootstrap resamples of runs that do not say."
        ),
    ] = None,
    seed: Annotated[
        int | None,
        typer.Option(
            min=0, max=2**32 - 1, help="Seed of these resamples; 0 if not given."
        ),
    ] = None,
) -> None:
    """Show finished runs, or ask for anything in SQL.

    Example: [bold]jaxbench results results/quickstart --sql "select model, optimizer,
    max(accuracy) from runs where role = 'clean' group by all order by 3 desc"[/]
    """
    from jaxbench.results import ResultStore

    reserve_stdout(form is not TableFormat.TABLE or str(csv) == "-")
    store = ResultStore(folder)
    for problem in store.problems:
        errors.print(f"unreadable: {problem}", style="yellow", markup=False)
    asked = _columns(columns)
    _check_options(
        {"--failed": failed, "--sql": sql is not None, "--csv": csv is not None},
        {"--columns": columns is not None, "--format": form is not TableFormat.TABLE},
        {
            "--metric": metric,
            "--import": imports,
            "--resamples": resamples,
            "--seed": seed,
        },
        remeasure=remeasure,
    )
    if remeasure:
        _remeasure(store, metric, imports or [], resamples, seed)
        asked = asked or metric
    if asked:
        _check_stored(store, asked)
    query = _FAILURES if failed else sql
    if csv is not None:
        _write_csv(store.summary() if query is None else store.sql(query), csv)
    elif query is not None and form is TableFormat.TABLE:
        print_table(store.sql(query))
    elif query is not None:
        print_as(table_of_arrow(store.sql(query)), form)
    else:
        results_table(store, columns=asked, only=columns is not None, form=form)


def _columns(text: str | None) -> list[str] | None:
    if text is None:
        return None
    names = [name.strip() for name in text.split(",") if name.strip()]
    if not names:
        raise UserError("--columns names no column; give names with commas between")
    return list(dict.fromkeys(names))


def _check_options(
    queries: dict[str, bool],
    shape: dict[str, bool],
    only_anew: dict[str, object],
    *,
    remeasure: bool,
) -> None:
    """Refuses options that say nothing together.

    Raises:
        UserError: Naming them.
    """
    given = [name for name, value in queries.items() if value]
    if "--failed" in given and "--sql" in given:
        raise UserError("--failed is a query of its own; give it or --sql, not both")
    if given and shape["--columns"]:
        raise UserError(
            f"--columns chooses the columns of the short table, which {given[0]} does "
            "not show; name the columns in --sql"
        )
    if "--csv" in given and shape["--format"]:
        raise UserError("--csv writes a file, --format prints; give one of them")
    idle = [name for name, value in only_anew.items() if value not in (None, [])]
    if idle and not remeasure:
        hint = "; --columns chooses what is shown" if "--metric" in idle else ""
        raise UserError(f"{', '.join(idle)}: only with --remeasure{hint}")


def _check_stored(store: "ResultStore", names: Sequence[str]) -> None:
    from jaxbench.reports.summary import COMPUTED

    metrics = store.metric_names()
    known = [*metrics, *COMPUTED, *store.summary().column_names]
    missing = [name for name in names if name not in known]
    if missing:
        raise UserError(
            "\n".join(unknown_name("stored column", name, known) for name in missing)
            + "\na metric that is known, but not stored yet, is computed by: jaxbench "
            f"results {store.path} --remeasure --metric {missing[0]}"
        )


def _write_csv(table: "pyarrow.Table", path: Path) -> None:
    from pyarrow import csv as arrow_csv

    if str(path) == "-":
        arrow_csv.write_csv(table, sys.stdout.buffer)
        return
    with writing_csv(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        arrow_csv.write_csv(table, path)
    console.print(f"{counted(table.num_rows, 'row')} in {path}", markup=False)


def _remeasure(
    store: "ResultStore",
    metrics: Sequence[str] | None,
    imports: Sequence[str],
    resamples: int | None,
    seed: int | None,
) -> None:
    """Computes metrics anew and says what changed.

    Raises:
        typer.Exit: With status 1 if a run could not be measured anew.
    """
    from jaxbench.engine import enable_persistent_cache
    from jaxbench.own import import_own
    from jaxbench.sweeps.remeasure import remeasure

    for module in imports:
        import_own(module)
    enable_persistent_cache()
    with console.status("computing metrics"):
        found = remeasure(store, metrics, num_resamples=resamples, seed=seed)
    added = ", ".join(found.added) or "no metric"
    console.print(
        f"{counted(found.num_runs, 'run')} measured anew; added: {added}", markup=False
    )
    if found.moved:
        shown = ", ".join(f"{name} by {by:.2g}" for name, by in found.moved.items())
        console.print(f"Moved, at most: {shown}", markup=False)
    console.print(
        f"The page shows them after: jaxbench report {store.path}", markup=False
    )
    for run_id, reason in found.refused.items():
        errors.print(
            f"not measured anew: {run_id}: {reason}", style="red", markup=False
        )
    if found.refused:
        raise typer.Exit(1)


def report(
    folder: Folder,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", help="FOLDER/report.html if not given."),
    ] = None,
    figures: Annotated[
        Path | None, typer.Option(help="Also write every figure into this folder.")
    ] = None,
    formats: Annotated[
        list[str] | None, typer.Option("--format", help="Of the figures: svg, png.")
    ] = None,
    title: Annotated[str | None, typer.Option(help="Heading of the report.")] = None,
) -> None:
    """Write one self-contained HTML report, and figures as files.

    Example: [bold]jaxbench report results/quickstart --figures figures --format png[/]
    """
    from jaxbench.reports import write_report
    from jaxbench.results import ResultStore

    path = write_report(
        ResultStore(folder),
        output or folder / "report.html",
        title=title,
        figures_dir=figures,
        formats=tuple(formats or ("svg", "png")),
    )
    console.print(f"Report: [bold]{path.resolve()}[/]")
    if figures:
        console.print(f"Figures: {figures}")


def compare(
    folder: Folder,
    a: Annotated[
        str, typer.Argument(help="Run id (a prefix is enough), or MODEL/DATASET.")
    ],
    b: Annotated[str, typer.Argument(help="The second run, in the same form.")],
    resamples: Annotated[
        int, typer.Option(min=1, max=1_000_000, help="Bootstrap resamples.")
    ] = 2000,
    seed: Annotated[
        int, typer.Option(min=0, max=2**32 - 1, help="Seed of the resamples.")
    ] = 0,
) -> None:
    """Test whether two models differ on the same images, without a new pass.

    Example: [bold]jaxbench compare results/quickstart 3f2a 91bc[/]
    """
    import jax

    from jaxbench.reports.tables import comparison_table
    from jaxbench.results import ResultStore
    from jaxbench.studies import compare_runs

    store = ResultStore(folder)
    first, second = store.find(a), store.find(b)
    rows = compare_runs(
        store, first, second, key=jax.random.key(seed), num_resamples=resamples
    )
    title = f"A = {first[:10]}   B = {second[:10]}"
    console.print(comparison_table(rows).to_rich(title))
