"""Charts of a grid of optimizers and backbones."""

from collections.abc import Mapping, Sequence

import numpy as np

from jaxbench.reports.coupling_published import published_distances
from jaxbench.reports.page import (
    Chart,
    Curves,
    Distributions,
    HeatMap,
    Samples,
)
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
# Where the colours of gaps end: among smaller ones a point can be seen.
MAX_GAP = 0.1
NOT_TRAINED = "not trained"
_PROFILE_POINTS = 121
_NUM_SHOWN = 8
_MAX_PROFILES = 40


def grid_charts(sweep: Sweep, costs: Costs, rule: Rule) -> tuple[Chart, ...]:
    """Every chart that a grid has numbers for."""
    outcomes = grid_outcomes(sweep, rule)
    found = (
        _score_map(sweep, outcomes, rule),
        _gap_map(sweep, outcomes),
        _ridges(sweep, outcomes),
        _boxes(sweep),
        _profiles(sweep, costs),
    )
    return tuple(chart for chart in found if chart is not None)


def grid_outcomes(sweep: Sweep, rule: Rule) -> dict[tuple[str, str], str]:
    """What went wrong with a pair (optimizer, backbone); others are not in it.

    "failed" by the rule, "diverged" at every grid point, "error" where every trial
    raised one, or "not trained".
    """
    failures = marked_failures(sweep, rule)
    failed = set(failures.pairs()) if failures else set()
    backbones, optimizers = _names(sweep)
    found = {}
    for pair in ((o, b) for o in optimizers for b in backbones):
        if pair in sweep.table.diverged:
            found[pair] = "diverged"
        elif pair in failed:
            found[pair] = "failed"
        elif pair in sweep.broken:
            found[pair] = "error"
        elif pair not in sweep.best:
            found[pair] = NOT_TRAINED
    return found


def plain_heat_map(results: Results) -> HeatMap | None:
    """Of the best trial of each pair, where the folder has no grid of settings."""
    pairs = [entry for entry in results.entries if entry.optimizer is not None]
    lost = {(r["model"], r["optimizer"]) for r in results.failures if r["optimizer"]}
    rows = list(dict.fromkeys([_trained(e) for e in pairs] + sorted({*dict(lost)})))
    names = [entry.optimizer or "" for entry in pairs] + sorted(o for _, o in lost)
    columns = optimizer_order(dict.fromkeys(names))
    if len(rows) * len(columns) < 2:
        return None
    name, title = _plain_metric(results, pairs)
    values: dict[tuple[str, str], float] = {}
    marks = {(row, column): NOT_TRAINED for row in rows for column in columns}
    marks |= dict.fromkeys(lost, "error")
    for entry in pairs:
        cell = _trained(entry), entry.optimizer or ""
        row = results.clean_row(entry) if name == "accuracy" else entry.trial or {}
        if is_number(row.get(name)):
            values[cell] = row[name]
        marks.pop(cell, None)
        if diverged(entry.origin):
            marks[cell] = "diverged"
    return _heat_map(
        "optimizer_backbone",
        (rows, columns),
        values,
        marks,
        title=title,
        heading="Optimizer and backbone",
        caption=f"{title} of every pair, in percent, of its trial with the best "
        "validation accuracy. Diverged: the loss of every trial of the pair stopped "
        "being finite. Error: no trial finished. Not trained: nothing was tried.",
        limits=_limits(values.values()),
    )


def _names(sweep: Sweep) -> tuple[list[str], list[str]]:
    """Backbones and optimizers of a grid, those whose trials all failed among them."""
    broken = sweep.broken
    backbones = dict.fromkeys([*sweep.table.backbones, *(b for _, b in broken)])
    optimizers = dict.fromkeys([*sweep.table.optimizers, *(o for o, _ in broken)])
    return list(backbones), optimizer_order(optimizers)


def _heat_map(
    name: str,
    names: tuple[Sequence[str], Sequence[str]],
    values: Mapping[tuple[str, str], float],
    marks: Mapping[tuple[str, str], str],
    *,
    title: str,
    heading: str,
    caption: str,
    limits: tuple[float, float] | None,
) -> HeatMap:
    """A heat map in percent of values and marks by backbone and optimizer."""
    rows, columns = names
    titles = {column: optimizer_title(column) for column in columns}
    if limits is not None:
        low, high = (100 * end for end in limits)
        caption += (
            f" Colours go from {low:.1f} to {high:.1f}, so that one value far below "
            "the others leaves them apart; what is lower has the last colour."
        )
    return HeatMap(
        name=name,
        rows=tuple(rows),
        columns=tuple(titles.values()),
        values=tuple(tuple(values.get((r, c)) for c in columns) for r in rows),
        title=title,
        percent=True,
        limits=limits,
        marks={(r, titles[c]): word for (r, c), word in marks.items()},
        heading=heading,
        caption=caption,
    )


def _limits(values) -> tuple[float, float] | None:
    """Ends of the colours where some value is far below all others, by Tukey's fence.

    The fence is not nearer to the best value than a tenth.
    """
    known = np.array(list(values), np.float64)
    if known.size < 4:
        return None
    first, third = np.percentile(known, (25, 75))
    fence = min(first - 1.5 * (third - first), known.max() - MAX_GAP)
    return (float(fence), float(known.max())) if known.min() < fence else None


def _scores(sweep: Sweep) -> dict[tuple[str, str], float]:
    """Score by backbone and optimizer, where there is one."""
    found = {(b, o): sweep.table.value(o, b) for o, b in sweep.best}
    return {cell: score for cell, score in found.items() if is_number(score)}


def _flipped(
    outcomes: Mapping[tuple[str, str], str],
) -> dict[tuple[str, str], str]:
    return {(b, o): word for (o, b), word in outcomes.items()}


def _score_map(
    sweep: Sweep, outcomes: Mapping[tuple[str, str], str], rule: Rule
) -> HeatMap | None:
    names, values = _names(sweep), _scores(sweep)
    if len(names[0]) * len(names[1]) < 2:
        return None
    return _heat_map(
        "optimizer_backbone",
        names,
        values,
        _flipped(outcomes),
        title=sweep.score,
        heading="Optimizer and backbone",
        caption=_score_caption(sweep, set(outcomes.values()), rule),
        limits=_limits(values.values()),
    )


def _score_caption(sweep: Sweep, outcomes: set[str], rule: Rule) -> str:
    seeds = max(pair.num_seeds for pair in sweep.pairs)
    parts = [
        f"{sweep.score} of every pair, in percent. Each cell is the grid point with "
        "the best validation accuracy, so the test images chose nothing",
        f", and the mean over up to {seeds} seeds." if seeds > 1 else ".",
    ]
    if len(too_few(sweep.table)) < len(sweep.table.backbones):
        name = "the fitted rule" if rule == "fitted" else "Eq. (1)"
        parts.append(f" Failed, by {name}: a score {rule_text(sweep, rule)}")
        parts.append("." if "failed" in outcomes else "; no pair has.")
    if open_questions := not_judged(sweep):
        parts.append(f" Failures are {open_questions}.")
    texts = {
        "diverged": "at every grid point of the pair a loss stopped being finite",
        "error": "no trial of the pair finished",
        NOT_TRAINED: "the pair was not tried",
    }
    parts += [
        f" {word.capitalize()}: {text}."
        for word, text in texts.items()
        if word in outcomes
    ]
    return "".join(parts)


def _gap_map(sweep: Sweep, outcomes: Mapping[tuple[str, str], str]) -> HeatMap | None:
    """Distance of every score from the best of its backbone."""
    scores = _scores(sweep)
    best: dict[str, float] = {}
    for (backbone, _), score in scores.items():
        best[backbone] = max(score, best.get(backbone, score))
    gaps = {(b, o): score - best[b] for (b, o), score in scores.items()}
    if len(sweep.table.optimizers) < 2 or not gaps:
        return None
    return _heat_map(
        "gap_to_best",
        _names(sweep),
        gaps,
        _flipped(outcomes),
        title="Score less the backbone's best, points",
        heading="Gap to the best optimizer",
        caption="A column of dark cells is an optimizer that fits nothing; a row, a "
        "backbone that few optimizers fit.",
        limits=(-MAX_GAP, 0.0) if min(gaps.values()) < -MAX_GAP else None,
    )


def _ridges(
    sweep: Sweep, outcomes: Mapping[tuple[str, str], str]
) -> Distributions | None:
    if max(pair.num_points for pair in sweep.pairs) < 2:
        return None
    backbones = _widest(sweep)
    hidden = len(sweep.table.backbones) - len(backbones)
    return Distributions(
        name="hyperparameter_ridges",
        panels={
            backbone: tuple(
                _ridge(sweep, optimizer, backbone, outcomes)
                for optimizer in sweep.table.optimizers
                if (optimizer, backbone) in sweep.groups
            )
            for backbone in backbones
        },
        kind="ridge",
        title="Validation accuracy",
        percent=True,
        heading="Accuracy over the hyper-parameters",
        caption="Validation accuracy of every trial, an optimizer a row: how much of "
        "an optimizer's grid works. A narrow ridge on the right needs little tuning. "
        "The height of a ridge has no scale."
        + (
            f" The {len(backbones)} backbones whose best scores spread most are shown, "
            f"{hidden} more are not: jaxbench results has every trial."
            if hidden
            else ""
        ),
    )


def _ridge(
    sweep: Sweep,
    optimizer: str,
    backbone: str,
    outcomes: Mapping[tuple[str, str], str],
) -> Samples:
    rows = sweep.groups[optimizer, backbone]
    values = [row.get("val_accuracy") for row in rows if not diverged(row)]
    lost = sum(map(diverged, rows))
    words = [
        "failed" if outcomes.get((optimizer, backbone)) == "failed" else "",
        f"{lost} diverged" if lost else "",
    ]
    return Samples(
        sweep.title(optimizer),
        tuple(value for value in values if is_number(value)),
        note=", ".join(filter(None, words)),
    )


def _widest(sweep: Sweep) -> list[str]:
    """At most `MAX_BACKBONES`, those of the widest spread, in the table's order."""
    names = list(sweep.table.backbones)
    if len(names) <= MAX_BACKBONES or np.isnan(sweep.table.values).all():
        return names[:MAX_BACKBONES]
    spreads = plain_statistics(sweep.table)
    order = sorted(names, key=lambda name: -np.nan_to_num(spreads[name].std))
    return [name for name in names if name in order[:MAX_BACKBONES]]


def _boxes(sweep: Sweep) -> Distributions | None:
    own = sweep.distances
    if own is None or len(own.optimizers) * len(own.backbones) < 4:
        return None
    theirs = published_distances(sweep)
    caption = (
        "How far the best learning rate and weight decay of a pair are from the "
        "optimizer's usual ones, in ranks among its best values: 0 where a backbone "
        "asks for nothing special. Small boxes carry over to a new backbone without a "
        "search."
    )
    if theirs:
        caption += (
            " Published: arXiv 2410.06373, on the same optimizers and backbones; its "
            "grids differ, so compare the order, not the heights."
        )
    kinds = {"own": own} | ({"published": theirs} if theirs else {})
    return Distributions(
        name="robustness",
        panels={
            f"By {word}": tuple(
                sample
                for kind, distances in kinds.items()
                for sample in _along(sweep, distances, word, kind)
            )
            for word in ("optimizer", "backbone")
        },
        kind="box",
        title="Rank distance",
        heading="Robustness of the hyper-parameters",
        caption=caption,
    )


def _along(sweep: Sweep, given: RankDistances, word: str, kind: str) -> list[Samples]:
    """Distances of each optimizer or backbone of the grid; empty where unknown."""
    found = []
    by_optimizer = word == "optimizer"
    names = sweep.table.optimizers if by_optimizer else sweep.table.backbones
    known = given.optimizers if by_optimizer else given.backbones
    for name in names:
        # Published backbones have the names of their models.
        theirs = name if name in known else sweep.models.get(name, name)
        line = np.empty(0)
        if theirs in known:
            place = known.index(theirs)
            line = given.distances[place] if by_optimizer else given.distances[:, place]
        values = tuple(map(float, line[np.isfinite(line)]))
        label = sweep.title(name) if by_optimizer else name
        found.append(Samples(label, values, group=kind))
    return found


def _profiles(sweep: Sweep, costs: Costs) -> Curves | None:
    names, times = costs.workloads(sweep)
    if len(names) < 2 or not np.isfinite(times).any():
        return None
    taus = np.linspace(1.0, TAU_MAX, _PROFILE_POINTS)
    shares = dict(zip(names, performance_profile(times, taus), strict=True))
    order = [row.optimizer for row in cost_profiles(names, times)][:_MAX_PROFILES]
    left_out = len(sweep.table.optimizers) - len(names)
    lines = {sweep.title(n): (taus.tolist(), shares[n].tolist()) for n in order}
    return Curves(
        name="performance_profiles",
        lines=lines,
        x_title="Time to the target over the fastest optimizer's",
        y_title="Share of backbones",
        shown=tuple(lines)[:_NUM_SHOWN],
        percent=frozenset({"y"}),
        heading="Time to accuracy",
        caption="Share of the backbones on which an optimizer reaches "
        f"{TARGET_SHARE:.0%} of the backbone's best validation accuracy within so many "
        "times the seconds of the fastest optimizer there. Upper left is best; a line "
        "that ends below 100% did not get there on the other backbones. Seconds are "
        "those of training the best grid point alone, without compilation and "
        "validation, at the first validation that shows the target."
        + (f" {left_out} optimizers lack a backbone." if left_out else ""),
    )


def _trained(entry: Entry) -> str:
    """A backbone, with what distinguishes its trainings."""
    return f"{entry.model} ({entry.trained})" if entry.trained else entry.model


def _plain_metric(results: Results, pairs: Sequence[Entry]) -> tuple[str, str]:
    if any(is_number(results.clean_row(e).get("accuracy")) for e in pairs):
        return "accuracy", f"Accuracy on {results.dataset}"
    return "val_accuracy", "Validation accuracy"
