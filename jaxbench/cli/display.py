"""What a person sees in the terminal."""

import dataclasses
import math
import os
import time
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    Task,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.table import Column, Table
from rich.text import Text

from jaxbench.errors import counted

if TYPE_CHECKING:
    from jaxbench.sweeps import Listener

# What a file or a pipe gets is not cut or folded: it has no width.
_UNFOLDED = 100_000


def _console(*, stderr: bool = False) -> Console:
    folded = Console(stderr=stderr)
    if folded.is_terminal or "COLUMNS" in os.environ:
        return folded
    return Console(stderr=stderr, width=_UNFOLDED)


console, errors = _console(), _console(stderr=True)


def reserve_stdout(wanted: bool) -> None:
    """Sends what people read to standard error: a program reads standard output."""
    console.stderr = wanted


def show_plan(plan) -> None:
    """Prints what an experiment would do."""
    from jaxbench.sweeps.jobs.evaluation import Evaluation
    from jaxbench.sweeps.jobs.probing import Probing

    table = Table(title=f"Plan of {plan.config.name!r}")
    for column in ("work", "what", "runs"):
        table.add_column(column, justify="right" if column == "runs" else "left")
    for job in plan.jobs:
        if (row := job.planned()) is not None:
            table.add_row(*row)
    owners = sum(len(job.models) for job in plan.of(Evaluation))
    for role in ("clean", "shifted", "ood"):
        targets = [target for target in plan.targets if target.role == role]
        if targets and (owners or plan.of(Probing)):
            listed = ", ".join(f"{t.address} ({len(t.source)})" for t in targets)
            models = counted(owners, "model")
            what = f"{models} on {counted(len(targets), f'{role} dataset')}: {listed}"
            table.add_row("evaluate", what, str(owners * len(targets)))
    console.print(table)
    # A probed backbone sees each dataset once, however many heads follow.
    passes = owners + len(plan.of(Probing))
    forward = passes * sum(len(target.source) for target in plan.targets)
    total = _training_steps(plan)
    steps = f", {counted(total, 'training step')}" if total else ""
    console.print(
        f"{counted(plan.num_trials, 'training run')}, "
        f"{counted(plan.num_evaluations, 'evaluation')} of "
        f"{counted(forward, 'image')} in all{steps}. Results: {plan.config.results}"
    )


def _training_steps(plan) -> int:
    from jaxbench.sweeps.jobs.training import Training
    from jaxbench.sweeps.jobs.trials import make_recipe

    total = 0
    for job in plan.of(Training):
        recipe = make_recipe(job.train, plan.config.limit)
        size = len(plan.datasets.open(job.train.dataset))
        total += recipe.epochs * (size // recipe.batch_size) * len(job.trials)
    return total


class _ImagesPerSecond(ProgressColumn):
    """The throughput of a stage, whose progress is in images."""

    def render(self, task: Task) -> Text:
        speed = task.finished_speed or task.speed
        known = "images" in task.fields and speed is not None
        return Text(f"{speed:,.0f} images/s" if known else "")


def watch(plan, store, loggers: Sequence["Listener"] = ()) -> list:
    """Runs a plan under a progress display.

    Args:
        plan: The experiment.
        store: Where results go.
        loggers: What else follows the sweep.

    Returns:
        The runs of this call, failed ones included.
    """
    from jaxbench.sweeps import Listener, combined, sweep

    started, runs = time.perf_counter(), []
    with Progress(
        TextColumn("{task.description}"),
        BarColumn(bar_width=20),
        MofNCompleteColumn(),
        _ImagesPerSecond(table_column=Column(no_wrap=True)),
        TimeElapsedColumn(),
        TextColumn("ETA"),
        TimeRemainingColumn(),
        console=console,
        # Epochs and runs take minutes; two of them are needed for an estimate.
        speed_estimate_period=3600,
    ) as progress:
        total = plan.num_trials + plan.num_evaluations
        overall = progress.add_task("runs", total=total)
        current = progress.add_task("starting", total=None)
        printed: set[tuple] = set()

        def stage(title: str) -> None:
            nonlocal current
            # `reset` would keep the total of the stage before.
            progress.remove_task(current)
            current = progress.add_task(title, total=None, images=True)

        def finished(run) -> None:
            progress.advance(overall)
            if run.status == "failed":
                _print_failure(run, printed)
            elif run.kind == "trial":
                progress.console.print(_trained(run), markup=False, highlight=False)

        display = Listener(
            stage=stage,
            progress=lambda done, of: progress.update(
                current, completed=done, total=of
            ),
            finished=finished,
            at_hand=lambda count: progress.update(overall, completed=count),
        )
        listener = combined([display, *loggers])
        runs.extend(sweep(plan, store=store, listener=listener))
    seconds = time.perf_counter() - started
    console.print(f"{counted(len(runs), 'run')} in {seconds:.0f} s")
    return runs


def _trained(run) -> str:
    """What was trained, and how good it is."""
    settings = run.settings
    what = (
        f"trained {settings['model']} + {settings['optimizer']} "
        f"lr {settings['learning_rate']:g} wd {settings['weight_decay']:g} "
        f"seed {settings['seed']}"
    )
    if not _is_contrastive(settings):
        accuracy = run.metrics.get("val_accuracy", math.nan)
        return f"{what}: validation accuracy {accuracy:.1%}"
    accuracy = run.metrics["probe_accuracy"]
    return f"{what}, curation {settings['curation']}: probe accuracy {accuracy:.1%}"


def _print_failure(run, printed: set[tuple]) -> None:
    """Prints an error once in full for a model: it mostly fails on every dataset."""
    model, message = run.settings.get("model"), run.error.message
    text = "the same error" if (model, message) in printed else message
    printed.add((model, message))
    errors.print(
        f"failed: {model} on {run.settings.get('dataset')}: {text}",
        style="red",
        markup=False,
        highlight=False,
    )


def results_table(
    store,
    *,
    run_ids: Collection[str] | None = None,
    columns: Sequence[str] | None = None,
    only: bool = False,
    form: str = "table",
    file: Path | None = None,
) -> None:
    """Prints the short table of a store: the chosen trials, or the models.

    Args:
        store: The results.
        run_ids: Runs to show; all when None.
        columns: The table's columns; see `short_table`.
        only: Likewise.
        form: A `TableFormat`.
        file: CSV file that gets the whole table too; `-` prints it.

    Raises:
        UserError: If the file cannot be written.
    """
    from jaxbench.cli.tables import TableFormat, print_as, write_csv
    from jaxbench.reports.summary import short_table
    from jaxbench.studies.entries import load_results

    results = load_results(store, run_ids)
    # Contrastive runs have no classifier that could be ranked.
    contrastive = [r for r in results.trials if _is_contrastive(r)]
    entries = [e for e in results.entries if not (e.trial and _is_contrastive(e.trial))]
    ranked = dataclasses.replace(results, entries=entries)
    if form != TableFormat.TABLE:
        print_as(short_table(ranked, columns, only=only), TableFormat(form))
        return
    if file is not None:
        write_csv(file, short_table(ranked, columns, only=only))
    if entries:
        trained = len(results.trials) > len(contrastive)
        _print_entries(ranked, trained, columns, only)
    if contrastive:
        console.print(
            f"{counted(len(contrastive), 'contrastive run')}, compared by: "
            f"jaxbench study curation {store.path}"
        )
    if results.failures:
        errors.print(
            f"{counted(len(results.failures), 'failed run')}, listed by: jaxbench "
            f"results {store.path} --failed"
        )
    elif not results.entries:
        console.print(f"{store.path} holds no finished run.")


def _print_entries(
    results, trained: bool, columns: Sequence[str] | None, only: bool
) -> None:
    from jaxbench.cli.tables import fitting
    from jaxbench.reports.summary import short_table

    table = short_table(results, columns, only=only)
    headings = [column.heading for column in table.columns]
    title = [] if "Dataset" in headings else [results.dataset or "no clean dataset"]
    title += ["best trial by validation accuracy"] if trained else []
    shown = fitting(table, console.width)
    console.print(shown.to_rich(", ".join(title)))
    texts = []
    if any(cell.low is not None for row in shown.rows for cell in row):
        texts.append("Brackets: 95 % bootstrap intervals.")
    if any(heading.startswith("Shift") for heading in headings):
        texts.append(
            "Shift: mean over the shifted datasets (severities of a corruption "
            "averaged first)."
        )
    if any(heading.startswith("OOD") for heading in headings):
        texts.append("OOD: AUROC, in-distribution against out-of-distribution.")
    if hidden := len(headings) - len(shown.columns):
        texts.append(
            f"{counted(hidden, 'more column')} in a wider terminal, or by --csv."
        )
    if texts:
        console.print(" ".join(texts), style="dim")


def _is_contrastive(trial: dict) -> bool:
    return trial.get("objective") is not None


def print_table(table) -> None:
    """Prints an Arrow table, a row a line."""
    shown = Table(*table.column_names)
    for row in zip(*(column.to_pylist() for column in table.columns), strict=True):
        shown.add_row(*map(_cell, row))
    console.print(shown)


def _cell(value: object) -> str:
    from rich.markup import escape

    if value is None:
        return "-"
    return f"{value:.6g}" if isinstance(value, float) else escape(str(value))
