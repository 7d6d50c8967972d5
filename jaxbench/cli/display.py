"""What a person sees in the terminal."""

import dataclasses
import time

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
)
from rich.table import Table

console = Console()
errors = Console(stderr=True)


def show_plan(plan) -> None:
    """Prints what an experiment would do."""
    table = Table(title=f"Plan of {plan.config.name!r}")
    for column in ("work", "what", "runs"):
        table.add_column(column, justify="right" if column == "runs" else "left")
    for population in plan.populations:
        trials = len(population.trials)
        table.add_row("train", population.title, str(trials))
    for job in plan.pretrainings:
        table.add_row("pretrain", job.title, str(len(job.trials)))
    for subject in plan.subjects:
        table.add_row("load", f"{subject.name} ({subject.weights})", "")
    for job in plan.probes:
        heads = ", ".join(head.title for head in job.heads)
        what = f"{job.subject.name} ({job.subject.weights}): {heads}"
        table.add_row("probe", what, str(len(job.heads) * len(plan.targets)))
    owners = plan.num_models
    for role in ("clean", "shifted", "ood"):
        targets = [target for target in plan.targets if target.role == role]
        if targets:
            listed = ", ".join(f"{t.address} ({len(t.source)})" for t in targets)
            what = f"{owners} models on {len(targets)} {role} dataset(s): {listed}"
            table.add_row("evaluate", what, str(owners * len(targets)))
    console.print(table)
    # A probed backbone sees each dataset once, however many heads follow.
    passes = owners + len(plan.probes)
    forward = passes * sum(len(target.source) for target in plan.targets)
    steps = f", {total} training steps" if (total := _training_steps(plan)) else ""
    console.print(
        f"{plan.num_trials} training runs, {plan.num_evaluations} evaluations of "
        f"{forward} images in all{steps}. Results: {plan.config.results}"
    )


def _training_steps(plan) -> int:
    from jaxbench.sweeps.training import make_recipe

    total = 0
    for population in plan.populations:
        recipe = make_recipe(population.train, plan.config.limit)
        size = len(plan.datasets.open(population.train.dataset))
        each = recipe.epochs * (size // recipe.batch_size)
        total += each * len(population.trials)
    return total


def watch(plan, store) -> list:
    """Runs a plan under a progress display.

    Returns:
        The runs of this call, failed ones included.
    """
    from jaxbench.sweeps import Listener, sweep
    from jaxbench.sweeps.records import headline

    started, runs = time.perf_counter(), []
    with Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        console=console,
    ) as progress:
        total = plan.num_trials + plan.num_evaluations
        overall = progress.add_task("runs", total=total)
        current = progress.add_task("starting", total=None)

        def stage(title: str) -> None:
            progress.reset(current, description=title, total=None)

        def finished(run) -> None:
            progress.advance(overall)
            settings = run.settings
            if run.status == "failed":
                progress.console.print(
                    f"failed: {settings['model']} on {settings.get('dataset')}: "
                    f"{run.error.message}",
                    style="red",
                    markup=False,
                )
            elif run.kind == "trial":
                progress.console.print(
                    f"trained {settings['model']} + {settings['optimizer']} "
                    f"lr {settings['learning_rate']:g} "
                    f"wd {settings['weight_decay']:g} seed {settings['seed']}: "
                    f"validation accuracy {headline(run):.1%}",
                    markup=False,
                    highlight=False,
                )

        listener = Listener(
            stage=stage,
            progress=lambda done, of: progress.update(
                current, completed=done, total=of
            ),
            finished=finished,
            at_hand=lambda count: progress.update(overall, completed=count),
        )
        runs.extend(sweep(plan, store=store, listener=listener))
    seconds = time.perf_counter() - started
    console.print(f"{len(runs)} runs in {seconds:.0f} s")
    return runs


def results_table(store) -> None:
    """Prints the short table of a store: the chosen trials, or the models."""
    from jaxbench.reports.entries import load_results
    from jaxbench.reports.summary import short_table

    results = load_results(store)
    # Contrastive runs have no classifier that could be ranked.
    contrastive = [r for r in results.trials if _is_contrastive(r)]
    entries = [e for e in results.entries if not (e.trial and _is_contrastive(e.trial))]
    if entries or not contrastive:
        trained = len(results.trials) > len(contrastive)
        chosen = ", best trial by validation accuracy" if trained else ""
        title = f"{results.dataset or store.path}{chosen}"
        shown = dataclasses.replace(results, entries=entries)
        console.print(short_table(shown).to_rich(title))
        console.print(
            "Brackets: 95 % bootstrap intervals. Shift: mean accuracy over the shifted "
            "datasets, a corruption counting once. OOD: AUROC of telling foreign "
            "images apart.",
            style="dim",
        )
    if contrastive:
        console.print(
            f"{len(contrastive)} contrastive run(s), compared by: jaxbench study "
            f"curation {store.path}"
        )
    if results.failures:
        console.print(
            f"{len(results.failures)} failed run(s), listed by: jaxbench results "
            f"{store.path} --failed"
        )


def _is_contrastive(trial: dict) -> bool:
    return trial.get("objective") is not None


def print_table(table) -> None:
    """Prints an Arrow table, a row a line."""
    shown = Table(*table.column_names)
    for row in table.to_pylist():
        shown.add_row(*(_cell(value) for value in row.values()))
    console.print(shown)


def _cell(value: object) -> str:
    from rich.markup import escape

    if value is None:
        return "-"
    return f"{value:.6g}" if isinstance(value, float) else escape(str(value))
