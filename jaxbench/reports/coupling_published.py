"""Own results beside those that the coupling study printed, on the same dataset."""

import numpy as np

from jaxbench.reports.cells import Column, Table, percent_cell, text_cell
from jaxbench.reports.coupling_tables import PAIR, pair_cells, spread_cells
from jaxbench.studies import (
    RankDistances,
    ScoreTable,
    SideBySide,
    TunedTable,
    rank_distances,
    side_by_side,
    trimmed_statistics,
)
from jaxbench.studies.grids import Sweep
from jaxbench.studies.published import (
    load_published_backbones,
    load_published_hyperparameters,
    load_published_optimizers,
    load_published_scores,
)

_KINDS = ("Own", "Published")


def published_table(sweep: Sweep) -> Table:
    """Own and published accuracy of every pair that both have."""
    columns = (
        *PAIR,
        Column("Own %", True, sweep.score),
        Column("Published %", True, "arXiv 2410.06373"),
        Column("Difference", True, "own less published, in points"),
    )
    rows = (
        (
            *pair_cells(sweep, row.optimizer, row.backbone),
            *map(percent_cell, (row.own, row.published, row.difference)),
        )
        for row in _beside(sweep)
    )
    return Table(columns, tuple(rows))


def published_spread_table(sweep: Sweep) -> Table:
    """Own and published spread of every backbone, over the same optimizers."""
    measures = ("Mean %", "Std", "Range")
    columns = (
        Column("Backbone"),
        Column("Optimizers", True, "that both have"),
        *(Column(f"{kind} {word}", True) for word in measures for kind in _KINDS),
    )
    groups: dict[str, list[SideBySide]] = {}
    for row in _beside(sweep):
        groups.setdefault(row.backbone, []).append(row)
    rows = []
    for backbone, pairs in groups.items():
        names = tuple(row.optimizer for row in pairs)
        both = np.array([[row.own, row.published] for row in pairs])
        found = trimmed_statistics(ScoreTable(names, _KINDS, both))
        spreads = [spread_cells(found[kind]) for kind in _KINDS]
        cells = (cell for word in zip(*spreads, strict=True) for cell in word)
        rows.append((text_cell(backbone), text_cell(len(pairs)), *cells))
    return Table(columns, tuple(rows))


def published_distances(sweep: Sweep) -> RankDistances | None:
    """Published rank distances of the optimizers and backbones that both have.

    None without any, and for ImageNet-1K, of which the study gives no settings.
    """
    if sweep.published != "cifar100" or sweep.distances is None:
        return None
    tuned = load_published_hyperparameters()
    names = load_published_optimizers()
    backbones = load_published_backbones("cifar100")
    models = set(sweep.models.values())
    rows = [i for i, n in enumerate(tuned.optimizers) if names[n] in sweep.titles]
    columns = []
    for index, title in enumerate(tuned.backbones):
        # R-101 is there twice, under two recipes: the first stands for it.
        earlier = {backbones[tuned.backbones[i]].model for i in columns}
        model = backbones[title].model
        if model in models and model not in earlier:
            columns.append(index)
    if not rows or len(columns) < 2:
        return None
    common = TunedTable(
        tuple(names[tuned.optimizers[i]] for i in rows),
        tuple(backbones[tuned.backbones[i]].model for i in columns),
        tuned.learning_rate[rows][:, columns],
        tuned.weight_decay[rows][:, columns],
    )
    return rank_distances(common)


def _beside(sweep: Sweep) -> list[SideBySide]:
    """Pairs with a published score, under the names of the grid."""
    if sweep.published is None:
        return []
    backbones = load_published_backbones(sweep.published)
    theirs = load_published_scores(sweep.published).renamed(
        optimizers=load_published_optimizers(),
        backbones={title: row.model for title, row in backbones.items()},
    )
    found = []
    for name in sweep.table.backbones:
        one = sweep.table.select(backbones=[name])
        own = one.renamed(optimizers={}, backbones={name: sweep.models[name]})
        try:
            rows = side_by_side(own, theirs)
        except ValueError:
            continue  # a backbone that was not published, or none of its optimizers
        found += [row._replace(backbone=name) for row in rows]
    return found
