"""The numbers that the coupling study printed, as tables of this project.

Source of every file: arXiv 2410.06373 (https://arxiv.org/abs/2410.06373). Files have
percent as printed; everything returned here is a fraction.
"""

import csv
from importlib.resources import files
from typing import Literal, NamedTuple

import numpy as np
from jaxtyping import Bool

from jaxbench.studies.coupling_bias import Spread
from jaxbench.studies.optimizer_ranking import RankingColumns
from jaxbench.studies.score_table import ScoreTable
from jaxbench.studies.tuning import TunedTable

__all__ = [
    "PublishedBackbone",
    "load_published_backbones",
    "load_published_failures",
    "load_published_hyperparameters",
    "load_published_optimizers",
    "load_published_places",
    "load_published_ranking",
    "load_published_scores",
    "load_published_statistics",
]

Dataset = Literal["cifar100", "imagenet1k"]


class PublishedBackbone(NamedTuple):
    """What the study calls a backbone, and what the zoo calls it.

    Attributes:
        model: Architecture in the zoo.
        image_size: Width of its images in the study.
        recipe: The study's training recipe of it: PyTorch, DeiT, ConvNeXt or RSB A2.
    """

    model: str
    image_size: int
    recipe: str


def load_published_scores(dataset: Dataset) -> ScoreTable:
    """Top-1 accuracies of 20 optimizers, the mean of three trials.

    Args:
        dataset: "cifar100" has 20 backbones, "imagenet1k" two.

    Returns:
        The table under the study's names; `ScoreTable.renamed` with
        `load_published_optimizers` and `load_published_backbones` gives the project's.
    """
    rows = _rows(f"{dataset}_top1.csv")
    optimizers, backbones = _axes(rows)
    return ScoreTable(optimizers, backbones, _grid(rows, "top1_percent") / 100.0)


def load_published_failures() -> Bool[np.ndarray, "optimizers backbones"]:
    """The 50 pairs that the study prints in grey as failed on CIFAR-100.

    Returns:
        In the order of `load_published_scores("cifar100")`.
    """
    return _grid(_rows("cifar100_top1.csv"), "greyed_as_failed") == 1


def load_published_hyperparameters() -> TunedTable:
    """Best learning rate and weight decay on CIFAR-100, 20 optimizers x 16 backbones.

    R-101 and R-101(DeiT), which table 1 lacks, are one architecture under two recipes;
    DN-121, RVGG-A1, CNXV2-T, URLK-T, TNX-T and CAF-12 have no published values.
    """
    rows = _rows("cifar100_hyperparameters.csv")
    grids = [_grid(rows, name) for name in ("learning_rate", "weight_decay")]
    return TunedTable(*_axes(rows), *grids)


def load_published_statistics() -> dict[str, Spread]:
    """Mean, standard deviation and range under the CIFAR-100 table, by backbone.

    Standard deviations are printed to 0.1 points, ranges to a point. `num` is 17, the
    number of scores that the printed means are of; see `trimmed_statistics`.
    """
    return {
        row["backbone"]: Spread(
            float(row["mean_percent"]) / 100.0,
            float(row["std_points"]) / 100.0,
            float(row["range_points"]) / 100.0,
            20 if row["backbone"] == "CNX-T" else 17,
        )
        for row in _rows("cifar100_statistics.csv")
    }


def load_published_ranking() -> dict[str, RankingColumns]:
    """The four rank columns of the study's table 4, by optimizer."""
    return {
        row["optimizer"]: RankingColumns(
            *(float(row[name]) for name in RankingColumns._fields)
        )
        for row in _rows("optimizer_ranking.csv")
    }


def load_published_places() -> dict[str, int]:
    """The overall place of each optimizer in the study's table 4, from 1."""
    rows = _rows("optimizer_ranking.csv")
    return {row["optimizer"]: int(row["overall"]) for row in rows}


def load_published_optimizers() -> dict[str, str]:
    """The study's title of every optimizer, and this project's name of it."""
    return {row["title"]: row["optimizer"] for row in _rows("optimizers.csv")}


def load_published_backbones(dataset: Dataset) -> dict[str, PublishedBackbone]:
    """The study's title of every backbone, and what it is in the zoo.

    Args:
        dataset: On CIFAR-100 some backbones have a stem for small images.
    """
    return {
        row["title"]: PublishedBackbone(
            row["model"], int(row["image_size"]), row["recipe"]
        )
        for row in _rows("backbones.csv")
        if row["dataset"] == dataset
    }


def _rows(name: str) -> list[dict[str, str]]:
    text = files(__name__).joinpath(name).read_text("utf-8")
    return list(csv.DictReader(text.splitlines()))


def _axes(rows: list[dict[str, str]]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    optimizers = dict.fromkeys(row["optimizer"] for row in rows)
    return tuple(optimizers), tuple(dict.fromkeys(row["backbone"] for row in rows))


def _grid(rows: list[dict[str, str]], column: str) -> np.ndarray:
    """One column of a long table as [optimizers, backbones]."""
    optimizers, backbones = _axes(rows)
    grid = np.full((len(optimizers), len(backbones)), np.nan)
    for row in rows:
        cell = optimizers.index(row["optimizer"]), backbones.index(row["backbone"])
        grid[cell] = float(row[column])
    return grid
