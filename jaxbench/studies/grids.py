"""The trials of a store as grids of optimizers and backbones, one grid a dataset.

Accuracies over different datasets do not compare, so each has a grid of its own. What
else sets trials apart becomes part of a name: a backbone under two recipes is two
columns, an optimizer at two values of a momentum is two rows.
"""

import re
from collections import Counter, defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

from jaxbench.studies import (
    EQ1_MARGINS,
    BestPair,
    RankDistances,
    ScoreTable,
    best_pairs,
    rank_distances,
    score_table,
    tuned_table,
)
from jaxbench.studies.entries import Results, Row, is_number
from jaxbench.studies.naming import differing, setting_texts
from jaxbench.studies.published import load_published_backbones
from jaxbench.studies.trainings import OPTIONS, RECIPE
from jaxbench.training import OPTIMIZERS

PublishedDataset = Literal["cifar100", "imagenet1k"]
_NEEDED = ("model", "optimizer", "learning_rate", "weight_decay", "seed")
_PUBLISHED: Mapping[PublishedDataset, tuple[re.Pattern, int]] = {
    # Not imagenette, imagenet-a, imagenet_v2, cifar100-c.
    "cifar100": (re.compile(r"(?<![a-z])cifar-?100(?![\w-])"), 100),
    "imagenet1k": (re.compile(r"(?<![a-z])imagenet(-?1k|2012)?(?![\w-])"), 1000),
}


@dataclass(frozen=True, eq=False)
class Sweep:
    """The finished trials on one dataset.

    Attributes:
        dataset: Address of the training images.
        rows: Trials, under the names of the grid.
        pairs: The best grid point of every pair of optimizer and backbone.
        table: Their scores; optimizers in the order of `OPTIMIZERS`.
        score: Describes the scores.
        tested_on: Dataset of the scores; None for validation accuracies.
        models: Column of the table to the model's name.
        titles: Row of the table to the optimizer's name as it is printed.
        broken: Pairs none of whose trials finished.
    """

    dataset: str
    rows: tuple[Row, ...]
    pairs: tuple[BestPair, ...]
    table: ScoreTable
    score: str
    tested_on: str | None
    models: Mapping[str, str]
    titles: Mapping[str, str]
    broken: tuple[tuple[str, str], ...]

    @cached_property
    def best(self) -> dict[tuple[str, str], BestPair]:
        """Pair (optimizer, backbone) to its best grid point."""
        return {(pair.optimizer, pair.backbone): pair for pair in self.pairs}

    @cached_property
    def groups(self) -> dict[tuple[str, str], list[Row]]:
        """Pair to its trials."""
        found: dict[tuple[str, str], list[Row]] = defaultdict(list)
        for row in self.rows:
            found[row["optimizer"], row["model"]].append(row)
        return dict(found)

    @cached_property
    def complete(self) -> tuple[str, ...]:
        """Optimizers that were trained on every backbone."""
        names = self.table.backbones
        return tuple(
            o
            for o in self.table.optimizers
            if all(self._has_outcome(o, backbone) for backbone in names)
        )

    @cached_property
    def distances(self) -> RankDistances | None:
        """Rank distances; None where no optimizer was tuned on two backbones."""
        try:
            return rank_distances(tuned_table(self.pairs))
        except ValueError:
            return None

    @cached_property
    def published(self) -> PublishedDataset | None:
        """The published table that these scores compare with, if there is one."""
        trained, tested = _known_as(self.dataset), _known_as(self.tested_on or "")
        if trained is None or (self.tested_on is not None and tested != trained):
            return None
        classes = {row.get("num_classes") for row in self.rows} - {None}
        models = {b.model for b in load_published_backbones(trained).values()}
        fits = classes <= {_PUBLISHED[trained][1]} and models & set(
            self.models.values()
        )
        return trained if fits else None

    @cached_property
    def margin(self) -> float:
        """Lambda of Eq. (1): the study's of this dataset, else that of CIFAR-100."""
        return EQ1_MARGINS[_known_as(self.dataset) or "cifar100"]

    @cached_property
    def ordered(self) -> tuple[tuple[str, str], ...]:
        """The pairs that were trained, backbone by backbone, in the table's order."""
        table = self.table
        cells = ((o, b) for b in table.backbones for o in table.optimizers)
        return tuple(pair for pair in cells if pair in self.best)

    def title(self, optimizer: str) -> str:
        """An optimizer's name as it is printed."""
        return self.titles.get(optimizer, optimizer)

    def chosen(self, pair: BestPair) -> list[Row]:
        """The trials of a pair's best grid point, one a seed."""
        return [
            row
            for row in self.groups[pair.optimizer, pair.backbone]
            if row["learning_rate"] == pair.learning_rate
            and row["weight_decay"] == pair.weight_decay
        ]

    def _has_outcome(self, optimizer: str, backbone: str) -> bool:
        pair = self.best.get((optimizer, backbone))
        return pair is not None and (pair.diverged or is_number(pair.score))


def load_sweeps(results: Results) -> tuple[Sweep, ...]:
    """Every dataset's grid, the largest first.

    Trials without an optimizer, a learning rate, a weight decay or a seed, and those
    that did not minimise a classifier's loss, are in no grid. Of two with the same
    settings, which another version of the code trained anew, the later one is.
    """
    groups: dict[str, list[Row]] = defaultdict(list)
    for row in _newest(results.trials):
        groups[row["dataset"] or "(unnamed)"].append(row)
    sizes = {name: len(rows) for name, rows in groups.items()}
    return tuple(
        _sweep(name, groups[name], results)
        for name in sorted(sizes, key=lambda name: (-sizes[name], name))
    )


def optimizer_order(names: Collection[str]) -> list[str]:
    """Names in the order of the table of optimizers, unknown ones last."""
    known = list(OPTIMIZERS)
    words = {name: name.split(" ")[0] for name in names}
    return sorted(
        names,
        key=lambda n: known.index(words[n]) if words[n] in known else len(known),
    )


def optimizer_title(name: str) -> str:
    """An optimizer's name as it is printed: `sgd` is SGD-M."""
    first, *rest = name.split(" ")
    if first not in OPTIMIZERS:
        return name
    return " ".join([OPTIMIZERS[first].title, *rest])


def _newest(trials: Sequence[Row]) -> list[Row]:
    """The trials that fit in a grid; of two with the same settings, the later one."""
    kept: dict[tuple, Row] = {}
    for row in sorted(trials, key=lambda row: row.get("created_at") or ""):
        # Contrastive trials have another objective, and their accuracy is a probe's.
        if row.get("objective") is None and all(
            row.get(name) is not None for name in _NEEDED
        ):
            names = ("dataset", *_NEEDED, *RECIPE, *OPTIONS)
            kept[tuple(row.get(name) for name in names)] = row
    ids = {row["run_id"] for row in kept.values()}
    return [row for row in trials if row["run_id"] in ids]


def _sweep(dataset: str, trials: Sequence[Row], results: Results) -> Sweep:
    rows = tuple(_named_apart(trials))
    models = {new["model"]: old["model"] for new, old in zip(rows, trials, strict=True)}
    pairs = best_pairs(rows)
    tested_on, scores = _test_scores(trials, results)
    score, source = "Validation accuracy", None
    if scores and _all_tested(pairs, rows, scores):
        pairs = best_pairs(rows, scores=scores)
        score, source = f"Accuracy on {tested_on}", tested_on
    grid = score_table(pairs)
    table = grid.select(optimizers=optimizer_order(grid.optimizers))
    lost = {
        (row["optimizer"], row["model"])
        for row in results.failures
        if row["kind"] == "trial" and row["optimizer"] and row["dataset"] == dataset
    }
    finished = {(row["optimizer"], row["model"]) for row in trials}
    return Sweep(
        dataset=dataset,
        rows=rows,
        pairs=pairs,
        table=table,
        score=score,
        tested_on=source,
        models=models,
        titles={name: optimizer_title(name) for name in table.optimizers},
        broken=tuple(sorted(lost - finished)),
    )


def _named_apart(trials: Sequence[Row]) -> list[Row]:
    """The trials with what their pair has several values of in the pair's names."""
    by_model: dict[str, list[Row]] = defaultdict(list)
    by_pair: dict[tuple[str, str], list[Row]] = defaultdict(list)
    for row in trials:
        by_model[row["model"]].append(row)
        by_pair[row["model"], row["optimizer"]].append(row)
    recipes = {name: _values(rows, RECIPE) for name, rows in by_model.items()}
    options = {pair: _values(rows, OPTIONS) for pair, rows in by_pair.items()}
    found = []
    for row in trials:
        model, optimizer = row["model"], row["optimizer"]
        words = _words(row, options[model, optimizer])
        recipe = ", ".join(_words(row, recipes[model]))
        names = {
            "model": f"{model} ({recipe})" if recipe else model,
            "optimizer": " ".join([optimizer, *words]),
        }
        found.append(row | names)
    return found


def _values(rows: Sequence[Row], names: Sequence[str]) -> dict[str, dict[Any, str]]:
    """The settings in which rows differ, with the texts of their values."""
    return {
        name: setting_texts({row.get(name) for row in rows})
        for name in differing(rows, names)
    }


def _words(row: Row, values: Mapping[str, Mapping[Any, str]]) -> list[str]:
    return [f"{name}={texts[row.get(name)]}" for name, texts in values.items()]


def _test_scores(
    trials: Sequence[Row], results: Results
) -> tuple[str | None, dict[str, float]]:
    """The clean dataset that most of the trials were tested on, and their accuracies.

    Ties go to the first in alphabetical order.
    """
    ids = {row["run_id"] for row in trials}
    tests = [
        row
        for row in results.evaluations
        if row["role"] == "clean"
        and row["trial_id"] in ids
        and is_number(row.get("accuracy"))
    ]
    counts = Counter(row["dataset"] for row in tests)
    if not counts:
        return None, {}
    name = min(counts, key=lambda name: (-counts[name], name))
    chosen = (row for row in tests if row["dataset"] == name)
    return name, {row["trial_id"]: row["accuracy"] for row in chosen}


def _all_tested(
    pairs: Sequence[BestPair], rows: Sequence[Row], scores: Mapping[str, float]
) -> bool:
    best = {
        (p.optimizer, p.backbone, p.learning_rate, p.weight_decay) for p in pairs
    }  # NaN is in no row
    keys = ("optimizer", "model", "learning_rate", "weight_decay")
    return all(
        row["run_id"] in scores
        for row in rows
        if tuple(row[name] for name in keys) in best
    )


def _known_as(address: str) -> PublishedDataset | None:
    for name, (pattern, _) in _PUBLISHED.items():
        if pattern.search(address.lower().split("@")[0]):
            return name
    return None
