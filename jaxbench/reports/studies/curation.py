"""The page of the curation study: can bad batches be recognised and left out?

The question is that of arXiv 2403.19579; the numbers are in
`jaxbench.studies.curation`.
"""

from collections.abc import Sequence
from dataclasses import replace

from jaxbench.errors import UserError
from jaxbench.reports.cells import (
    MISSING,
    Cell,
    Column,
    Table,
    format_interval,
    interval_cell,
    megabytes_cell,
    number_cell,
    percent_cell,
    significant_cell,
    text_cell,
)
from jaxbench.reports.page import Curves, Finding, Page, Section
from jaxbench.results import ResultStore
from jaxbench.studies.curation import (
    OUTCOME,
    SHARED_SETTINGS,
    Arm,
    ArmComparison,
    MeanInterval,
    compare_arms,
    find_arms,
    mean_interval,
)
from jaxbench.studies.curation_curves import (
    distance_quantiles,
    mean_curve,
    rejected_curve,
)

TITLE = "Batch curation"
QUESTION = "Can bad batches be recognised and left out, and what does that save?"
REFERENCE = "https://arxiv.org/abs/2403.19579"
_SHOWN = ("model", "dataset", "optimizer", "epochs", "train_batch_size", "tested_on")
_COST_HEADINGS = {
    "train_seconds": "Time saved %",
    "train_cpu_seconds": "Processor time saved %",
    "peak_memory_bytes": "Memory saved %",
    "images_seen": "Images saved %",
    "views_seen": "Forward saved %",
    "backward_passes": "Backward saved %",
    "updates": "Updates saved %",
}
_NOTES = (
    "arXiv 2403.19579 gives neither the threshold nor what replaces a rejected batch, "
    "nor the weight and delta of its Huber term: all are options here, and the savings "
    "and intervals are ours.",
    "A rejected draw has cost a forward pass of both views. On CPUs it has cost a "
    "backward pass too, whose outcome is dropped; on accelerators it has not.",
    "Savings are measured, and negative where curation cost more. Time is that of "
    "training without compilation, and other work on the machine is in it; processor "
    "time is the process's own on the host.",
)


def build(store: ResultStore, *, level: float = 0.95) -> Page:
    """Compares curated and plain contrastive runs of a results folder, seed by seed.

    Args:
        store: The folder.
        level: Coverage of the intervals over seeds, in (0, 1).

    Raises:
        UserError: If the folder has no finished contrastive run, or the level is out
            of range.
    """
    rows = [row for row in store.summary("trial").to_pylist() if row["status"] == "ok"]
    arms = find_arms(rows)
    if not arms:
        raise UserError(
            f"{str(store.path)!r} has no finished contrastive runs; make some with a "
            "[[pretrain]] table, as in configs/studies/curation-digits.toml"
        )
    comparisons = compare_arms(arms, level=level)
    sections = [
        Section(
            "arms",
            "Runs",
            "Means over seeds; in brackets Student's interval. A draw is a batch with "
            "two views of each image. The accuracy is that of a linear probe of the "
            "frozen features.",
            _arms_table(arms, level),
        ),
        *_comparison_sections(comparisons),
        *_curve_sections(store, arms),
    ]
    return Page(
        name="curation",
        title=TITLE,
        question=QUESTION,
        reference=REFERENCE,
        facts=_facts(arms, rows),
        findings=tuple(_findings(comparisons)),
        sections=tuple(sections),
        notes=_notes(arms, comparisons),
    )


def _arms_table(arms: Sequence[Arm], level: float) -> Table:
    columns = (
        Column("Curation"),
        Column("Seeds", True),
        Column("Probe accuracy % ↑", True, "of a linear layer on the frozen features"),
        Column("Final loss ↓", True, "mean of the last tenth of the used draws"),
        Column("Rejected %", True, "share of the draws"),
        Column("Draws", True, "forward passes of a batch with two views of each image"),
        Column("Updates", True, "draws that were used"),
        Column("Images", True, "that were taken, with repeats over epochs"),
        Column("Train s", True, "without compilation"),
        Column("CPU s", True, "of the process meanwhile, on all processors together"),
        Column("ms/draw", True),
        Column("Program MB", True, "largest need of the compiled step"),
    )
    return Table(columns, tuple(_arm_row(arm, level) for arm in arms))


def _arm_row(arm: Arm, level: float) -> tuple[Cell, ...]:
    def mean(name: str) -> float | None:
        values = arm.values(name)
        return sum(values) / len(values) if values else None

    outcome = mean_interval(arm.values(OUTCOME), level=level)
    loss, share, draw = (
        mean(name) for name in ("final_loss", "rejected_share", "seconds_per_draw")
    )
    return (
        text_cell(arm.title),
        number_cell(float(len(arm.rows))),
        interval_cell(*outcome[:3], percent=True),
        significant_cell(loss),
        percent_cell(float("nan") if share is None else share),
        *(significant_cell(mean(n)) for n in ("draws", "updates", "images_seen")),
        *(significant_cell(mean(n)) for n in ("train_seconds", "train_cpu_seconds")),
        significant_cell(None if draw is None else 1000 * draw),
        megabytes_cell(mean("peak_memory_bytes")),
    )


def _comparison_sections(comparisons: Sequence[ArmComparison]):
    for budget, heading, caption in (
        (
            "draws",
            "At equal draws",
            "Curated and plain runs judged the same number of batches: curated ones "
            "made fewer updates.",
        ),
        (
            "updates",
            "At equal updates",
            "Curated runs drew batches until they had as many updates as plain ones.",
        ),
    ):
        found = [c for c in comparisons if c.arm.budget == budget]
        if found:
            paired = " Differences and savings are paired by seed; saved is negative "
            yield Section(
                f"equal-{budget}",
                heading,
                caption + paired + "where curation cost more.",
                _comparison_table(found),
            )


def _comparison_table(found: Sequence[ArmComparison]) -> Table:
    columns = (
        Column("Curation"),
        Column("Pairs", True, "seeds that both have"),
        Column("Accuracy gain, points", True, "curated minus plain, of the probe"),
        *(Column(heading, True) for heading in _COST_HEADINGS.values()),
    )
    rows = []
    for comparison in found:
        saved = (comparison.saved.get(name) for name in _COST_HEADINGS)
        rows.append(
            (
                text_cell(comparison.arm.title),
                number_cell(float(len(comparison.seeds))),
                _interval_cell(comparison.difference),
                *(_interval_cell(interval) for interval in saved),
            )
        )
    return Table(columns, tuple(rows))


def _interval_cell(interval: MeanInterval | None) -> Cell:
    if interval is None:
        return Cell(MISSING, None)
    return interval_cell(*interval[:3], percent=True)


def _findings(comparisons: Sequence[ArmComparison]):
    for comparison in comparisons:
        arm, gain = comparison.arm, comparison.difference
        title = arm.title
        if gain.low is None or gain.high is None:
            verdict = "One seed says nothing about chance."
        elif gain.low > 0:
            verdict = "Curation helped: the interval is above zero."
        elif gain.high < 0:
            verdict = "Curation hurt: the interval is below zero."
        else:
            verdict = "The interval holds zero: no difference is shown."
        spent = comparison.saved.get(_time_of(arm))
        cost = ""
        if spent is not None:
            word = "less" if spent.mean > 0 else "more"
            time = _TIME_WORDS[_time_of(arm)]
            cost = f" It took {abs(spent.mean):.1%} {word} {time} to train."
        yield Finding(
            f"{title}: accuracy gain at equal {arm.budget}",
            f"{format_interval(*gain[:3], percent=True)} points",
            f"{verdict}{cost} {_pairs(len(comparison.seeds))} of seeds.",
        )


def _pairs(number: int) -> str:
    return f"{number} pair{'' if number == 1 else 's'}"


_TIME_WORDS = {"train_seconds": "time", "train_cpu_seconds": "processor time"}


def _time_of(arm: Arm) -> str:
    """The time that other work disturbs least: processor time, on CPUs."""
    on_cpu = all(row.get("platform") == "cpu" for row in arm.rows.values())
    return "train_cpu_seconds" if on_cpu else "train_seconds"


def _curve_sections(store: ResultStore, arms: Sequence[Arm]):
    # No two arms share a title, so none takes the place of another.
    read = {
        arm.title: [store.curves(arm.rows[seed]["run_id"]) for seed in sorted(arm.rows)]
        for arm in arms
    }
    measured = {arm.title for arm in arms if arm.measured}
    charts = [
        _curves("loss", "Loss", {n: mean_curve(c, "loss") for n, c in read.items()}),
        _curves(
            "distance",
            "Frechet distance of the two views",
            {n: mean_curve(c, "distance") for n, c in read.items() if n in measured},
        ),
        _curves(
            "rejected",
            "Rejected so far",
            {
                n: rejected_curve(c)
                for n, c in read.items()
                if n in {a.title for a in arms if a.curated}
            },
            percent=frozenset({"y"}),
        ),
        _curves(
            "distances",
            "Frechet distance of the two views",
            {n: distance_quantiles(c) for n, c in read.items() if n in measured},
            x_title="Share of the draws with at most this distance",
            percent=frozenset({"x"}),
        ),
    ]
    headings = {
        "loss": "Loss over the draws",
        "distance": "Distance over the draws",
        "rejected": "Share of the draws rejected",
        "distances": "How the distances are spread",
    }
    yield Section(
        "curves",
        "Over the training",
        "Means over seeds, and over neighbouring draws where there are many.",
        charts=tuple(
            replace(chart, heading=headings[chart.name])
            for chart in charts
            if chart.lines
        ),
    )


def _curves(
    name: str,
    y_title: str,
    lines: dict[str, tuple[Sequence[float], Sequence[float]]],
    *,
    x_title: str = "Draws",
    percent: frozenset[str] = frozenset(),
) -> Curves:
    return Curves(name, lines, x_title, y_title, percent=percent)


def _facts(arms: Sequence[Arm], rows) -> tuple[tuple[str, str], ...]:
    settings = [dict(zip(SHARED_SETTINGS, arm.setting, strict=True)) for arm in arms]
    facts = []
    for name in _SHOWN:
        values = dict.fromkeys(str(setting[name]) for setting in settings)
        facts.append((name.replace("_", " ").capitalize(), ", ".join(values)))
    seeds = sorted({seed for arm in arms for seed in arm.rows})
    facts.append(("Seeds", ", ".join(map(str, seeds))))
    for name in ("device", "jax_version", "jaxbench_version"):
        values = dict.fromkeys(str(row[name]) for row in rows if row.get(name))
        if values:
            facts.append((name.replace("_", " ").capitalize(), ", ".join(values)))
    return tuple(facts)


def _notes(
    arms: Sequence[Arm], comparisons: Sequence[ArmComparison]
) -> tuple[str, ...]:
    notes: list[str] = [*_NOTES]
    compared = {id(comparison.arm) for comparison in comparisons}
    alone = [arm.title for arm in arms if arm.curated and id(arm) not in compared]
    if alone:
        notes.append(
            f"Without a plain run of the same settings and seeds, and so not compared: "
            f"{'; '.join(alone)}."
        )
    return tuple(notes)
