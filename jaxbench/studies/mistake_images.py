"""The images behind stored answers: class names, and thumbnails where available."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

import numpy as np
from jaxtyping import Int

from jaxbench.data.catalog import DATASETS, open_dataset
from jaxbench.data.known.imagenet_classes import (
    labels_by_wordnet_id,
    lemmas,
    wordnet_ids,
)
from jaxbench.data.scoring import scoring_of
from jaxbench.data.source import Source, example_ids
from jaxbench.data.thumbnails import thumbnail
from jaxbench.errors import UserError
from jaxbench.studies.entries import Row
from jaxbench.studies.mistakes import Answers

# Bytes of all pictures of a page.
MOST_BYTES = 150_000
# Digesting the content of more images takes longer than a page may.
_MOST_DIGESTED = 20_000
_UNCHECKED = (
    "Pictures were found by the names of the images; their content was not compared "
    "with that of the evaluation."
)


@dataclass(frozen=True)
class SeenImages:
    """What is known of the images of an evaluation.

    Attributes:
        class_names: Label to name, as far as known.
        note: In a sentence why pictures are missing, or what was not checked; "".
        source: The dataset, if it is available.
        places: Name of an image to its row in it.
    """

    class_names: Mapping[int, str] = field(default_factory=dict)
    note: str = ""
    source: Source | None = None
    places: Mapping[str, int] = field(default_factory=dict)

    def class_name(self, label: int) -> str:
        """What a class is called; its number where nothing names it."""
        return self.class_names.get(label, f"class {label}")

    def pictures(self, ids: Iterable[str]) -> dict[str, bytes]:
        """Thumbnails, JPEG, of some images, until they are `MOST_BYTES` in all.

        Only these images are read; one that cannot be read has no picture.
        """
        found: dict[str, bytes] = {}
        source, room = self.source, MOST_BYTES
        if source is None:
            return found
        for name in ids:
            try:
                content = thumbnail(source[self.places[name]].image)
            except (UserError, OSError, ValueError):
                continue
            room -= len(content)
            if room < 0:
                break
            found[name] = content
        return found


def find_images(row: Row, answers: Answers) -> SeenImages:
    """Opens the dataset of an evaluation, if it is available and has the same images.

    Every stored image must be in it by its name, with the same class. Where the
    evaluation had all images, and they are not too many, their content must have the
    stored digest too.

    Args:
        row: The evaluation.
        answers: The stored images and labels.
    """
    try:
        source = open_dataset(row["dataset"] or "")
        places = {name: place for place, name in enumerate(example_ids(source))}
        found = [places[name] for name in answers.ids.tolist() if name in places]
        if lost := len(answers.ids) - len(found):
            raise UserError(f"it lacks {lost:,} of the evaluated images")
        rows = np.array(found, np.int64)
        names = _class_names(source, rows, answers.label)
        is_checked = len(source) == len(rows) <= _MOST_DIGESTED and np.array_equal(
            source.labels[rows], answers.label
        )
        if is_checked and source.fingerprint != row.get("dataset_fingerprint"):
            raise UserError("its images have changed since the evaluation")
    except (UserError, OSError, ValueError, ImportError) as error:
        note = f"No pictures, since {row['dataset']} is not available: {error}."
        return SeenImages(_known_names(row), note)
    return SeenImages(_worded(names), "" if is_checked else _UNCHECKED, source, places)


def _class_names(
    source: Source, rows: Int[np.ndarray, " n"], label: Int[np.ndarray, " n"]
) -> dict[int, str]:
    """Names of the labels, which may be in a model's own order.

    Raises:
        UserError: If images of one label are of several classes.
    """
    scoring, theirs = scoring_of(source), source.labels[rows]
    has_several = scoring is not None and scoring.label_sets is not None
    if has_several or np.array_equal(theirs, label):
        return dict(enumerate(source.class_names))
    pairs = set(zip(label.tolist(), theirs.tolist(), strict=True))
    names = {one: source.class_names[other] for one, other in pairs if other >= 0}
    if len(set(names.values())) < len(pairs):
        raise UserError("the classes are not those of the evaluation")
    known = labels_by_wordnet_id()
    if all(known.get(name) == one for one, name in names.items()):
        return dict(enumerate(wordnet_ids()))
    return names


def _known_names(row: Row) -> dict[int, str]:
    """The class names of a published dataset that is not available."""
    dataset = DATASETS.get(re.split("[@/+]", row["dataset"] or "")[0])
    order = row.get("class_order")
    if dataset is None or dataset.known is None:
        return {}
    names = wordnet_ids() if order == "imagenet" else dataset.known.class_names()
    if order not in (None, "dataset", "imagenet") or len(names) != row["num_classes"]:
        return {}
    return _worded(dict(enumerate(names)))


def _worded(names: Mapping[int, str]) -> dict[int, str]:
    """ImageNet's classes by their first word, others as they are."""
    labels, words = labels_by_wordnet_id(), lemmas()
    return {
        label: words[labels[name]].partition(",")[0] if name in labels else name
        for label, name in names.items()
    }
