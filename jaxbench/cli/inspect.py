"""Commands that look: metrics, data, results, report, compare."""

import fnmatch
from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from jaxbench.cli.display import console, errors, print_table, results_table
from jaxbench.errors import UserError

Folder = Annotated[Path, typer.Argument(help="Folder of results.")]


def metrics(
    pattern: Annotated[
        list[str] | None, typer.Argument(help="Names, wildcards allowed.")
    ] = None,
) -> None:
    """List the metrics: what each is measured on, its range and where it is defined.

    Those of "scores" are measured by default, and --metric chooses among them.

    Example: [bold]jaxbench metrics '*ece*'[/]
    """
    from jaxbench.errors import unknown_name
    from jaxbench.metrics import METRICS

    names: dict[str, None] = {}
    for wanted in pattern or ["*"]:
        found = fnmatch.filter(METRICS, wanted)
        if not found:
            raise UserError(unknown_name("metric", wanted, METRICS))
        names |= dict.fromkeys(found)
    table = Table("metric", "measured on", "better", "range", "defined in")
    for name in names:
        metric = METRICS[name]
        low, high = metric.range
        reference = metric.reference.removeprefix("https://")
        table.add_row(
            name, metric.inputs, metric.direction, f"{low:g} to {high:g}", reference
        )
    console.print(table)


def results(
    folder: Folder,
    sql: Annotated[
        str | None,
        typer.Option(
            help="A query (DuckDB) over the views runs (a row each), examples (a row "
            "per run and image) and curves (a row per trial and epoch)."
        ),
    ] = None,
    csv: Annotated[
        Path | None, typer.Option(help="Write the table here as CSV.")
    ] = None,
    failed: Annotated[bool, typer.Option("--failed", help="Only failures.")] = False,
) -> None:
    """Show finished runs, or ask for anything in SQL.

    Example: [bold]jaxbench results results/quickstart --sql "select model, optimizer,
    max(accuracy) from runs where role = 'clean' group by all order by 3 desc"[/]
    """
    from pyarrow import csv as arrow_csv

    from jaxbench.results import ResultStore

    store = ResultStore(folder)
    for problem in store.problems:
        errors.print(f"unreadable: {problem}", style="yellow", markup=False)
    if failed and sql is not None:
        raise UserError("--failed is a query of its own; give it or --sql, not both")
    if failed:
        sql = (
            "select run_id, model, dataset, error_type, error_message from runs "
            "where status = 'failed'"
        )
    if sql is None and csv is None:
        results_table(store)
        return
    table = store.sql(sql) if sql else store.summary()
    if csv is None:
        print_table(table)
        return
    arrow_csv.write_csv(table, csv)
    console.print(f"{table.num_rows} rows in {csv}")


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
    b: Annotated[str, typer.Argument(help="The other one.")],
    resamples: Annotated[int, typer.Option(min=1, help="Bootstrap resamples.")] = 2000,
    seed: Annotated[int, typer.Option(help="Of the resamples.")] = 0,
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


def data_list() -> None:
    """List the datasets and the ways to address one's own.

    Example: [bold]jaxbench data list[/]
    """
    from jaxbench.data import DATASETS

    table = Table("address", "what it is", "licence")
    for name, row in DATASETS.items():
        table.add_row(name, row.description, row.licence)
    for address, meaning in (
        (
            "folder:PATH[@split]",
            "one folder a class, or a .tar/.tar.gz of such folders",
        ),
        ("arrays:PATH.npz[@split]", "images, labels (uint8, integers)"),
        ("tfds:NAME[/CONFIG][@split]", "a prepared TFDS dataset in ArrayRecord format"),
    ):
        table.add_row(address, meaning, "yours")
    console.print(table)


def data_info(
    address: Annotated[str, typer.Argument(help="Dataset address.")],
) -> None:
    """Describe one dataset: size, classes, fingerprint.

    Example: [bold]jaxbench data info digits@train[/]
    """
    import numpy as np

    from jaxbench.data import open_dataset

    source = open_dataset(address)
    counts = np.bincount(source.labels, minlength=len(source.class_names))
    table = Table(show_header=False)
    table.add_row("address", source.name)
    table.add_row("images", str(len(source)))
    table.add_row("classes", str(len(source.class_names)))
    table.add_row("per class", f"{counts.min()} to {counts.max()}")
    table.add_row("first classes", ", ".join(source.class_names[:8]))
    table.add_row("fingerprint", source.fingerprint)
    console.print(table)


def data_prepare(
    name: Annotated[str, typer.Argument(help="What the dataset will be called.")],
    source: Annotated[
        Path, typer.Option("--from", help="Folder of class folders, or a tar of them.")
    ],
    data_dir: Annotated[
        Path | None,
        typer.Option(
            help="TFDS data directory; TFDS_DATA_DIR or TFDS's own if not given."
        ),
    ] = None,
) -> None:
    """Turn a folder or tar into a TFDS dataset (ArrayRecord), without TensorFlow.

    Example: [bold]jaxbench data prepare pets --from PATH/TO/PETS[/], then use
    [bold]tfds:pets[/]
    """
    from jaxbench.data import prepare_dataset

    with console.status(f"writing {name}"):
        summary = prepare_dataset(source, name, data_dir)
    console.print(str(summary), markup=False)
