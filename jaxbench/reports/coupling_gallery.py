"""Which figures a report holds of each grid of optimizers and backbones."""

from collections.abc import Callable, Sequence

import numpy as np

from jaxbench.reports import coupling_figures, figures
from jaxbench.reports.coupling_figures import Boxes, Ridge
from jaxbench.reports.coupling_published import published_distances
from jaxbench.reports.exhibit import Exhibit
from jaxbench.studies import (
    RankDistances,
    cost_profiles,
    performance_profile,
    plain_statistics,
)
from jaxbench.studies.cost import TAU_MAX
from jaxbench.studies.entries import Entry, Results, diverged, is_number
from jaxbench.studies.grid_costs import TARGET_SHARE, Costs
from jaxbench.studies.grid_failures import (
    Rule,
    marked_failures,
    not_judged,
    rule_text,
    too_few,
)
from jaxbench.studies.grids import Sweep, optimizer_order, optimizer_title

MAX_BACKBONES = 6
_PROFILE_POINTS = 121


def coupling_exhibits(
    results: Results, studied: Sequence[tuple[Sweep, Costs]], rule: Rule = "fitted"
) -> list[Exhibit]:
    """The figures of every grid; the heat map of pairs that are in no grid.

    Args:
        results: Every run.
        studied: Grids and what their trials cost.
        rule: Which pairs count as failed.
    """
    found = []
    for number, (sweep, costs) in enumerate(studied):
        makers: tuple[Callable[[Sweep, Costs, Rule], Exhibit | None], ...] = (
            _heat_map,
            _ridges,
            _boxes,
            _profiles,
        )
        for exhibit in (maker(sweep, costs, rule) for maker in makers):
            if exhibit is not None:
                found.append(_told_apart(exhibit, sweep, number, len(studied)))
    if not studied:
        plain = _plain_heat_map(results)
        found += [plain] if plain else []
    return found


def _told_apart(exhibit: Exhibit, sweep: Sweep, number: int, count: int) -> Exhibit:
    """The first grid's figures have the plain names; each dataset is in its title."""
    if count == 1:
        return exhibit
    name = f"{exhibit.name}_{number + 1}" if number else exhibit.name
    title = f"{exhibit.title}: {sweep.dataset}"
    return Exhibit(name, title, exhibit.caption, exhibit.figure)


def _heat_map(sweep: Sweep, _: Costs, rule: Rule) -> Exhibit | None:
    table = sweep.table
    rows = list(dict.fromkeys([*table.backbones, *(b for _, b in sweep.broken)]))
    names = {*table.optimizers, *(o for o, _ in sweep.broken)}
    columns = optimizer_order(sorted(names, key=list(names).index))
    values = np.full((len(rows), len(columns)), np.nan)
    marks: dict[tuple[int, int], str] = {}
    for optimizer, backbone in sweep.broken:
        marks[rows.index(backbone), columns.index(optimizer)] = "error"
    failures = marked_failures(sweep, rule)
    failed = set(failures.pairs()) if failures else set()
    for optimizer, backbone in sweep.best:
        cell = rows.index(backbone), columns.index(optimizer)
        values[cell] = table.value(optimizer, backbone)
        if (optimizer, backbone) in failed:
            lost = (optimizer, backbone) in table.diverged
            marks[cell] = "diverged" if lost else "failed"
    if values.size < 2:
        return None
    return Exhibit(
        "optimizer_backbone",
        "Optimizer and backbone",
        _heat_caption(sweep, set(marks.values()), rule),
        figures.heat_map(
            values,
            rows,
            [optimizer_title(name) for name in columns],
            marks=marks,
            value_title=sweep.score,
        ),
    )


def _heat_caption(sweep: Sweep, words: set[str], rule: Rule) -> str:
    seeds = max(pair.num_seeds for pair in sweep.pairs)
    parts = [
        f"{sweep.score} of every pair, in percent. Each cell is the grid point with "
        "the best validation accuracy, so the test images chose nothing",
        f", and the mean over up to {seeds} seeds." if seeds > 1 else ".",
    ]
    if len(too_few(sweep.table)) < len(sweep.table.backbones):
        name = "the fitted rule" if rule == "fitted" else "Eq. (1)"
        parts.append(f" Failed, by {name}: a score {rule_text(sweep, rule)}")
        parts.append("." if "failed" in words else "; no pair is.")
    if open_questions := not_judged(sweep):
        parts.append(f" Failures are {open_questions}.")
    if "diverged" in words:
        parts.append(
            " Diverged: at every grid point of the pair a loss stopped being finite."
        )
    if "error" in words:
        parts.append(" Error: no trial of the pair finished.")
    return "".join(parts)


def _plain_heat_map(results: Results) -> Exhibit | None:
    """Of the best trial of each pair, where there are no settings to choose among."""
    pairs = [e for e in results.entries if e.optimizer is not None]
    lost = {(r["model"], r["optimizer"]) for r in results.failures if r["optimizer"]}
    rows = list(dict.fromkeys([_trained(e) for e in pairs] + sorted({*dict(lost)})))
    names = dict.fromkeys(
        [e.optimizer or "" for e in pairs] + sorted(o for _, o in lost)
    )
    columns = optimizer_order(names)
    if len(rows) * len(columns) < 2:
        return None
    name, shown = _heat_metric(results, pairs)
    values = np.full((len(rows), len(columns)), np.nan)
    marks = {(rows.index(m), columns.index(o)): "error" for m, o in lost}
    for entry in pairs:
        cell = rows.index(_trained(entry)), columns.index(entry.optimizer or "")
        row = results.clean_row(entry) if name == "accuracy" else entry.trial or {}
        value = row.get(name)
        values[cell] = value if is_number(value) else np.nan
        marks.pop(cell, None)
        if diverged(entry.trial):
            marks[cell] = "diverged"
    return Exhibit(
        "optimizer_backbone",
        "Optimizer and backbone",
        f"{shown} of every pair, in percent, of its trial with the best validation "
        "accuracy. Diverged: the loss of every trial of the pair stopped being "
        "finite. Error: no trial finished.",
        figures.heat_map(
            values,
            rows,
            [optimizer_title(name) for name in columns],
            marks=marks,
            value_title=shown,
        ),
    )


def _trained(entry: Entry) -> str:
    """A backbone, with what tells its trainings apart."""
    return f"{entry.model} ({entry.trained})" if entry.trained else entry.model


def _heat_metric(results: Results, pairs: Sequence[Entry]) -> tuple[str, str]:
    if any(is_number(results.clean_row(e).get("accuracy")) for e in pairs):
        return "accuracy", f"Accuracy on {results.dataset}"
    return "val_accuracy", "Validation accuracy"


def _ridges(sweep: Sweep, _: Costs, rule: Rule) -> Exhibit | None:
    if max(pair.num_points for pair in sweep.pairs) < 2:
        return None
    backbones = _widest(sweep)
    failures = marked_failures(sweep, rule)
    failed = set(failures.pairs()) if failures else set()
    panels = {
        backbone: [
            _ridge(sweep, optimizer, backbone, (optimizer, backbone) in failed)
            for optimizer in sweep.table.optimizers
            if (optimizer, backbone) in sweep.groups
        ]
        for backbone in backbones
    }
    hidden = len(sweep.table.backbones) - len(backbones)
    return Exhibit(
        "hyperparameter_ridges",
        "Accuracy over the hyper-parameters",
        "Validation accuracy of every trial, an optimizer a row: how much of an "
        "optimizer's grid works. A narrow ridge on the right needs little tuning. "
        "Crosses on the left, with their number, are trials that diverged. The "
        "height of a ridge has no scale."
        + (
            f" The {len(backbones)} backbones whose best scores spread most are shown, "
            f"{hidden} more are not."
            if hidden
            else ""
        ),
        coupling_figures.ridges(panels, value_title="Validation accuracy"),
    )


def _ridge(sweep: Sweep, optimizer: str, backbone: str, failed: bool) -> Ridge:
    rows = sweep.groups[optimizer, backbone]
    kept = [
        row["val_accuracy"]
        for row in rows
        if not diverged(row) and is_number(row.get("val_accuracy"))
    ]
    lost = sum(map(diverged, rows))
    return Ridge(sweep.title(optimizer), np.array(kept, np.float64), lost, failed)


def _widest(sweep: Sweep) -> list[str]:
    """At most `MAX_BACKBONES`, those of the widest spread, in the table's order."""
    names = list(sweep.table.backbones)
    if len(names) <= MAX_BACKBONES or np.isnan(sweep.table.values).all():
        return names[:MAX_BACKBONES]
    spreads = plain_statistics(sweep.table)
    order = sorted(names, key=lambda name: -np.nan_to_num(spreads[name].std))
    return [name for name in names if name in order[:MAX_BACKBONES]]


def _boxes(sweep: Sweep, _: Costs, __: Rule) -> Exhibit | None:
    own = sweep.distances
    if own is None or len(own.optimizers) * len(own.backbones) < 4:
        return None
    theirs = published_distances(sweep)
    kinds = {"own": own} | ({"published": theirs} if theirs else {})
    caption = (
        "How far the best learning rate and weight decay of a pair are from the "
        "optimizer's usual ones, in ranks among its best values: 0 where a backbone "
        "asks for nothing special. Small boxes carry over to a new backbone without a "
        "search. Dots grow with the share of pairs."
    )
    if theirs:
        caption += (
            " Published: arXiv 2410.06373, on the same optimizers and backbones; its "
            "grids differ, so compare the order, not the heights."
        )
    return Exhibit(
        "robustness",
        "Robustness of the hyper-parameters",
        caption,
        coupling_figures.distance_boxes(
            [
                Boxes(
                    "By optimizer",
                    [sweep.title(name) for name in sweep.table.optimizers],
                    {k: _along(sweep, d, "optimizer") for k, d in kinds.items()},
                ),
                Boxes(
                    "By backbone",
                    sweep.table.backbones,
                    {k: _along(sweep, d, "backbone") for k, d in kinds.items()},
                ),
            ],
            value_title="Rank distance",
        ),
    )


def _along(sweep: Sweep, given: RankDistances, kind: str) -> list[np.ndarray]:
    """Distances of each optimizer or backbone of the grid; empty where unknown."""
    groups: list[np.ndarray] = []
    table = sweep.table
    for name in table.optimizers if kind == "optimizer" else table.backbones:
        known = given.optimizers if kind == "optimizer" else given.backbones
        # Published backbones have the names of their models.
        word = name if name in known else sweep.models.get(name, name)
        if word not in known:
            groups.append(np.empty(0))
            continue
        place = known.index(word)
        values = given.distances
        line = values[place] if kind == "optimizer" else values[:, place]
        groups.append(line[np.isfinite(line)])
    return groups


def _profiles(sweep: Sweep, costs: Costs, _: Rule) -> Exhibit | None:
    names, times = costs.workloads(sweep)
    if len(names) < 2 or not np.isfinite(times).any():
        return None
    taus = np.linspace(1.0, TAU_MAX, _PROFILE_POINTS)
    shares = dict(zip(names, performance_profile(times, taus), strict=True))
    order = [row.optimizer for row in cost_profiles(names, times)]
    left_out = len(sweep.table.optimizers) - len(names)
    return Exhibit(
        "performance_profiles",
        "Time to accuracy",
        f"Share of the backbones on which an optimizer reaches {TARGET_SHARE:.0%} of "
        "the backbone's best validation accuracy within so many times the seconds of "
        "the fastest optimizer there. Upper left is best; a line that ends below 100% "
        "did not get there on the other backbones. Seconds are those of training the "
        "best grid point alone, without compilation and validation, at the first "
        "validation that shows the target."
        + (f" {left_out} optimizers lack a backbone." if left_out else ""),
        coupling_figures.performance_profiles(
            {sweep.title(name): shares[name] for name in order}, taus
        ),
    )
