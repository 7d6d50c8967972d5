"""How an experiment is run and what is shown of it, whichever command asked for it."""

import logging
import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from jaxbench.cli.display import console, errors, results_table, show_plan, watch
from jaxbench.cli.inputs import check_weights, show_inputs
from jaxbench.cli.options import Execution
from jaxbench.cli.signals import as_interruption
from jaxbench.cli.study import write_study
from jaxbench.config import ExperimentConfig
from jaxbench.errors import UserError, counted

if TYPE_CHECKING:
    from jaxbench.loggers import Loggers


def execute(config: ExperimentConfig, how: Execution) -> None:
    """Plans, runs, shows and reports an experiment.

    Raises:
        UserError: If the experiment has a mistake, will have no table to write, or
            a tracker cannot be used.
        typer.Exit: With status 1 if a run failed, with 128 and the signal's number
            (130 for Ctrl-C, 143 for SIGTERM, 129 for SIGHUP) after a signal.
    """
    from jaxbench.engine import enable_persistent_cache
    from jaxbench.loggers import make_loggers
    from jaxbench.reports.studies import find_study
    from jaxbench.results import ResultStore
    from jaxbench.sweeps import make_plan

    logging.basicConfig(level=logging.WARNING, format="%(message)s")
    # It prints by a handler of its own.
    logging.getLogger("huggingface_hub").propagate = False
    if config.study is not None:
        # A misspelt option is an error now, not after hours of work.
        find_study(config.study.kind, config.study.options)
    loggers = make_loggers([*config.log, *(how.log or ())], config.name)
    if how.limit is not None:
        folder = f"{config.results}-limit{how.limit}"
        config = config.model_copy(update={"limit": how.limit, "results": folder})
    if how.workers is not None:
        config = config.model_copy(update={"workers": how.workers})
    enable_persistent_cache()
    with console.status("opening datasets"):
        plan = make_plan(config)
    if how.results_file is not None and not plan.num_evaluations:
        raise UserError(
            "--results-file: contrastive runs have no table of classifiers; leave it "
            f"out, and use: jaxbench results {config.results} --csv FILE"
        )
    if how.dry_run:
        show_plan(plan)
        show_inputs(plan)
        check_weights(plan)
        return
    store = ResultStore(config.results, create=True)
    for problem in store.problems:
        errors.print(f"[yellow]unreadable, will be computed again:[/] {problem}")
    with loggers:
        _work(config, plan, store, how.results_file, loggers)


def _work(
    config: ExperimentConfig,
    plan,
    store,
    results_file: Path | None,
    loggers: "Loggers",
) -> None:
    try:
        runs = watch(plan, store, loggers.listeners)
    except KeyboardInterrupt as error:
        found = as_interruption(error)
        count = len(store.completed() & set(plan.run_ids()))
        errors.print(
            f"\n{found.title}. Finished and kept in {config.results}: "
            f"{counted(count, 'run')}. The same command again does only what is "
            "missing:",
        )
        errors.print(f"  {shlex.join(['jaxbench', *sys.argv[1:]])}", markup=False)
        raise typer.Exit(found.status) from None
    _conclude(config, plan, store, runs, results_file, loggers)


def _conclude(
    config: ExperimentConfig,
    plan,
    store,
    runs,
    results_file: Path | None,
    loggers: "Loggers",
) -> None:
    """Shows what was asked for, new or not, and reports on the whole folder."""
    from jaxbench.reports import write_report

    metrics = config.evaluate.metrics
    ids = set(plan.run_ids())
    results_table(store, run_ids=ids, columns=metrics, file=results_file)
    _say_what_lacks(store, plan, metrics)
    report = write_report(
        store, Path(config.results) / "report.html", title=config.name
    )
    loggers.file(report)
    failed = [run for run in runs if run.status == "failed"]
    unfinished = False
    console.print(
        f"Results: {config.results}    Report on all that this folder holds: "
        f"[bold]{report.resolve()}[/]"
    )
    if config.study is not None:
        # What failed is reported whatever becomes of the study.
        try:
            kind, options = config.study.kind, config.study.options
            write_study(kind, Path(config.results), options)
            loggers.file(Path(config.results) / f"study-{kind}.html")
        except UserError as error:
            errors.print(f"no study page: {error}", markup=False)
            unfinished = True
    if failed or unfinished:
        raise typer.Exit(1)


def _say_what_lacks(store, plan, metrics: tuple[str, ...] | None) -> None:
    """Runs of earlier days lack the metrics that were not yet known then."""
    from jaxbench.metrics import SCORE_METRICS

    wanted, ids = metrics or tuple(SCORE_METRICS), set(plan.run_ids())
    rows = [
        row
        for row in store.summary("evaluation").to_pylist()
        if row["run_id"] in ids and row["status"] == "ok" and row["role"] != "ood"
    ]
    lacking = [name for name in wanted if any(row.get(name) is None for row in rows)]
    if lacking:
        errors.print(
            f"Stored runs lack {', '.join(lacking)}; computed from what is stored by: "
            f"jaxbench results {store.path} --remeasure",
            markup=False,
        )
