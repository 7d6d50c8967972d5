"""A published dataset as a row: what it is, where to get it, how its files lie.

A row knows how to read the official distribution, exactly as downloaded. `jaxbench data
prepare NAME --from PATH` reads it once, counts it, and writes it as ArrayRecord; the
address NAME then opens what was written.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import numpy as np

from jaxbench.data.scoring import Scoring
from jaxbench.errors import UserError


class NotPreparedError(UserError):
    """A row that cannot be opened here: its files are not prepared, or no images."""


class Item(NamedTuple):
    """One image of an official distribution.

    Attributes:
        id: Stable: the path of its file under the root, or its position in an array
            file (`test_batch/00042`).
        image: The encoded file, or pixels uint8 [h, w, 3], which are kept losslessly.
        label: Position in the row's class names; -1 where the images belong to none of
            the classifier's classes.
        labels: All right classes, where there may be several.
    """

    id: str
    image: bytes | np.ndarray
    label: int
    labels: tuple[int, ...] = ()


@dataclass(frozen=True)
class KnownDataset:
    """A row of the table of published datasets.

    Attributes:
        description: One sentence: what the images are, and how many.
        licence: Of the images; "unknown" where none is stated, never guessed.
        obtain: Where the files are to be had, and which of them.
        reference: Address of the paper.
        layout: What PATH must look like, for documentation and messages.
        num_examples: Split to how many images it has. Where configs differ, "CONFIG"
            or "CONFIG@SPLIT" may stand instead.
        class_names: Gives the names that labels are positions in. Called, not stored:
            some are read from data files.
        read: Called with (PATH, config, split); yields the images in a fixed order.
            Raises UserError that says what was expected, what was found, and what to
            do: all problems at once.
        configs: Names after "/"; () where there is only one.
        default_split: The one meant by an address without.
        role: How it is usually used: "clean", "shifted" or "ood"; "annotations" where
            it has no images of its own.
        scoring: Gives how a classifier's outputs are scored, less the label sets, which
            come with the images; None where labels are the classifier's classes.
        label_sets: Whether the images come with all their right classes.
        cropped: Whether the images are centre crops already, of which nothing more is
            to be cut off.
        sources: Data files behind masks and maps, each with where it comes from.
        about: Config to what it is, where a name does not say it.
        by_tfds: What TFDS prepares: called with (config, split), gives the path and the
            split of a `tfds:` address. Raises NotPreparedError that says what to do.
            None for what `jaxbench data prepare` writes.
    """

    description: str
    licence: str
    obtain: str
    reference: str
    layout: str
    num_examples: Mapping[str, int]
    class_names: Callable[[], tuple[str, ...]]
    read: Callable[[Path, str, str], Iterable[Item]]
    configs: tuple[str, ...] = ()
    default_split: str = "test"
    role: str = "clean"
    scoring: Callable[[], Scoring] | None = None
    label_sets: bool = False
    cropped: bool = False
    sources: Mapping[str, str] = field(default_factory=dict)
    about: Mapping[str, str] = field(default_factory=dict)
    by_tfds: Callable[[str, str], tuple[str, str]] | None = None

    @property
    def splits(self) -> tuple[str, ...]:
        """Names after "@"."""
        names = (key.rpartition("@")[2] for key in self.num_examples)
        found = tuple(dict.fromkeys(n for n in names if n not in self.configs))
        return found or (self.default_split,)

    def expected(self, config: str, split: str) -> int | None:
        """How many images there should be; None where that is not known."""
        keys = (f"{config}@{split}", config, split)
        return next(
            (self.num_examples[k] for k in keys if k in self.num_examples), None
        )
