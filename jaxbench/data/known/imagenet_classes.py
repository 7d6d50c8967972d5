"""ImageNet's 1,000 classes and the parts of them that other datasets use."""

from collections.abc import Sequence
from functools import cache
from pathlib import Path

import numpy as np

from jaxbench.data.scoring import Scoring

CLASSES_FOLDER = Path(__file__).with_name("classes")
NUM_CLASSES = 1000


@cache
def _rows(file: str) -> tuple[tuple[str, ...], ...]:
    text = (CLASSES_FOLDER / file).read_text(encoding="utf-8")
    return tuple(tuple(line.split("\t")) for line in text.splitlines())


def wordnet_ids() -> tuple[str, ...]:
    """The WordNet ids of ImageNet-1k's classes, in the order of its labels."""
    return tuple(row[0] for row in _rows("imagenet.txt"))


def lemmas() -> tuple[str, ...]:
    """WordNet's words for the classes: `tench, Tinca tinca`."""
    return tuple(row[1] for row in _rows("imagenet.txt"))


@cache
def labels_by_wordnet_id() -> dict[str, int]:
    """WordNet id to label, 0 to 999."""
    return {wnid: label for label, wnid in enumerate(wordnet_ids())}


def subset(name: str) -> dict[str, int]:
    """The classes of a smaller dataset: WordNet id to label, 0 to 999.

    Args:
        name: A file in `classes/`, such as "imagenet_a".
    """
    labels = labels_by_wordnet_id()
    return {row[0]: labels[row[0]] for row in _rows(f"{name}.txt")}


def masked(name: str) -> Scoring:
    """A softmax over the classes of a smaller dataset alone; see `subset`."""
    return Scoring(NUM_CLASSES, class_mask=mask_of(list(subset(name).values())))


def mask_of(labels: Sequence[int]) -> np.ndarray:
    """Which of the 1,000 classes are listed, bool [1000]."""
    mask = np.zeros(NUM_CLASSES, bool)
    mask[list(labels)] = True
    return mask


@cache
def shape_categories() -> tuple[str, ...]:
    """The 16 categories of cue-conflict images, sorted by name."""
    return tuple(dict.fromkeys(row[1] for row in _rows("cue_conflict.txt")))


def shape_groups() -> Scoring:
    """Each class's category of the 16, or none."""
    number = {name: i for i, name in enumerate(shape_categories())}
    groups = np.full(NUM_CLASSES, -1, np.int32)
    labels = labels_by_wordnet_id()
    for wnid, category in _rows("cue_conflict.txt"):
        groups[labels[wnid]] = number[category]
    return Scoring(NUM_CLASSES, groups=groups, output_names=wordnet_ids())
