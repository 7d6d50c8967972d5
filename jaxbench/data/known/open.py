"""Prepared published datasets as sources."""

import contextlib
import json
from functools import cached_property
from pathlib import Path

import numpy as np

from jaxbench.data.known.base import KnownDataset, NotPreparedError
from jaxbench.data.preparing import uncropped
from jaxbench.data.preprocess import preprocess
from jaxbench.data.scoring import Scoring
from jaxbench.data.source import Example, digest, source_repr
from jaxbench.data.sources.tfds import (
    TfdsSource,
    data_dir,
    open_tfds,
    prepared_versions,
    read_split,
)
from jaxbench.errors import UserError

# Of what `data prepare` writes: the order, ids and features of the examples.
VERSION = "1.0.0"
_PREFIX = "jaxbench_"
_METADATA = "metadata.json"


class KnownSource:
    """A split of a published dataset that was prepared.

    Args:
        name: The address.
        records: What lies on disk.
        row: What the dataset is.
        partial: Number of images (expected, found), where these differ.

    Attributes:
        scoring: How a classifier's outputs become decisions; None where labels are
            the classifier's classes.
        prepare: How its images become a classifier's input.
        partial: As above; None where the dataset is whole.
    """

    def __init__(
        self,
        name: str,
        records: TfdsSource,
        row: KnownDataset,
        partial: tuple[int, int] | None,
    ) -> None:
        self.name = name
        self._records = records
        self.class_names = records.class_names
        self.labels = records.labels
        self.ids = records.ids
        self.partial = partial
        self.scoring = _scoring(row, records)
        self.prepare = uncropped if row.cropped else preprocess
        self._shown = ("uncropped",) if row.cropped else ()

    @property
    def fingerprint(self) -> str:
        """Digest of ids, contents, labels, label sets, class names and cropping."""
        return self._seen(self._records.fingerprint)

    @cached_property
    def _rows(self) -> list[str]:
        contents = self._records.contents.tolist()
        return [f"{i}\0{c.decode()}" for i, c in zip(self.ids, contents, strict=True)]

    def fingerprint_of(self, indices: np.ndarray) -> str:
        """Digest of (id, content) of some rows, in their order, and of cropping."""
        return self._seen(digest([self._rows[i] for i in indices]))

    def _seen(self, contents: str) -> str:
        """A digest of what a model sees: files are the same, cropped or not."""
        return digest(contents, *self._shown) if self._shown else contents

    def __repr__(self) -> str:
        return source_repr(self)

    def __len__(self) -> int:
        return len(self._records)

    def __getitem__(self, index: int) -> Example:
        return self._records[index]


def _scoring(row: KnownDataset, records: TfdsSource) -> Scoring | None:
    scoring = row.scoring() if row.scoring else None
    if records.label_sets is None:
        return scoring
    if scoring is None:
        return Scoring(len(records.class_names), label_sets=records.label_sets)
    return Scoring(scoring.num_outputs, scoring.class_mask, records.label_sets)


def prepared_folder(name: str, config: str, root: Path | None = None) -> Path:
    """Where a prepared dataset lies, without its version.

    Args:
        name: Of the row.
        config: Of the row, or "".
        root: The TFDS data directory; from the environment if not given.
    """
    root = data_dir() if root is None else root
    folder = root / (_PREFIX + name.replace("-", "_").replace(".", "_"))
    return folder / config if config else folder


def prepared_version(folder: Path) -> Path | None:
    """The version in a folder that this program can read; None if there is none."""
    return next((v for v in prepared_versions(folder) if v.name == VERSION), None)


def check_prepared(name: str, row: KnownDataset, config: str, split: str) -> Path:
    """The folder of a prepared dataset.

    Raises:
        NotPreparedError: If it is not prepared, or not that split, or has no images;
            the message says where to get it and what to do.
        UserError: If it was damaged since.
    """
    if row.by_tfds is not None:
        return data_dir() / row.by_tfds(config, split)[0]
    folder = prepared_folder(name, config)
    version = prepared_version(folder)
    address = f"{name}/{config}" if config else name
    if version is None:
        raise NotPreparedError(
            f"{address} is not prepared: there is nothing in {folder}. To get it: "
            f"{row.obtain} (licence: {row.licence}). Then: jaxbench data prepare "
            f"{address} --from PATH. PATH: {row.layout} Set TFDS_DATA_DIR if it is "
            "prepared elsewhere"
        )
    there = prepared_counts(version)
    if split not in there:
        raise NotPreparedError(
            f"{address} is prepared without {split}, with {', '.join(there)} alone. "
            f"Remove {version} and prepare all: jaxbench data prepare {address} "
            f"--from PATH. PATH: {row.layout}"
        )
    return version


def configs_by_tfds(row: KnownDataset) -> list[str]:
    """Configs of a row that TFDS has prepared here, and that can be opened."""
    found = []
    if row.by_tfds is None:
        return found
    for config in row.configs:
        with contextlib.suppress(NotPreparedError):
            row.by_tfds(config, row.default_split)
            found.append(config)
    return found


def prepared_counts(version: Path) -> dict[str, tuple[int | None, int]]:
    """Images (expected, found) of each split of a prepared dataset.

    Raises:
        UserError: If the file that says so is missing or damaged.
    """
    path = version / _METADATA
    try:
        splits = json.loads(path.read_text())["splits"]
        return {s: (c["expected"], c["images"]) for s, c in splits.items()}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(
            f"{path} is missing or damaged ({error!r}); remove {version} and prepare "
            "the dataset again"
        ) from error


def open_known(name: str, row: KnownDataset, config: str, split: str) -> KnownSource:
    """Opens a prepared dataset; names and split have been checked.

    Raises:
        UserError: If it is not prepared, was damaged since, or TFDS prepared another
            number of images.
    """
    if row.by_tfds is not None:
        return _open_by_tfds(name, row, config, split, row.by_tfds(config, split))
    version = check_prepared(name, row, config, split)
    expected, found = prepared_counts(version)[split]
    address = known_address(name, row, config, split)
    records = read_split(version, split, address, label_sets=row.label_sets)
    partial = None
    if expected is not None and expected != found:
        partial = (expected, found)
    return KnownSource(address, records, row, partial)


def _open_by_tfds(
    name: str, row: KnownDataset, config: str, split: str, place: tuple[str, str]
) -> KnownSource:
    """Opens what TFDS prepared, and counts it."""
    address = known_address(name, row, config, split)
    records = open_tfds(*place, address)
    expected = row.expected(config, split)
    if expected is not None and len(records) != expected:
        theirs = "@".join(place)
        raise UserError(
            f"{address}: expected {expected} images and found {len(records)} in "
            f"tfds:{theirs}; prepare it again, or open what is there as it is: "
            f"tfds:{theirs}"
        )
    return KnownSource(address, records, row, None)


def known_address(name: str, row: KnownDataset, config: str, split: str) -> str:
    """The one address of a split: it names the split where there are several."""
    address = f"{name}/{config}" if config else name
    return f"{address}@{split}" if len(row.splits) > 1 else address
