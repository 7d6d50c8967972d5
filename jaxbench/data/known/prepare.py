"""Official distributions into ArrayRecord files, counted and checked."""

import fnmatch
import os
from collections.abc import Iterable, Iterator, Sequence, Sized
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from jaxbench.data.known.base import Item, KnownDataset
from jaxbench.data.known.open import (
    VERSION,
    prepared_counts,
    prepared_folder,
    prepared_version,
)
from jaxbench.data.prepare import PreparedDataset, own_folder, verify_tfds, write_tfds
from jaxbench.data.sources.tfds import data_dir as default_data_dir
from jaxbench.errors import UserError, unknown_name

_NAMED = 10


@dataclass
class _Images:
    """The images of one split on their way into files; what passed is remembered."""

    split: str
    items: Iterable[Item]
    num_classes: int
    count: int = 0
    last: bytes | np.ndarray = b""
    seen: set[int] = field(default_factory=set)
    ids: set[str] = field(default_factory=set)

    def __iter__(self) -> Iterator[Item]:
        try:
            for item in self.items:
                self._check(item)
                self.ids.add(item.id)
                self.seen.update((item.label, *item.labels))
                self.count, self.last = self.count + 1, item.image
                yield item
        except OSError as error:
            # Of reading: what writes them is outside.
            raise UserError(f"an image cannot be read: {error}") from error
        if not self.count:
            raise UserError(f"found no image of {self.split}")

    def _check(self, item: Item) -> None:
        if item.id in self.ids:
            raise UserError(f"the image {item.id!r} comes more than once")
        labels = (item.label, *item.labels)
        if not -1 <= min(labels) <= max(labels) < self.num_classes:
            raise UserError(
                f"{item.id!r} has the labels {labels} and there are {self.num_classes} "
                "classes"
            )


def prepare_known(
    name: str,
    row: KnownDataset,
    path: str | Path,
    *,
    configs: str | Sequence[str] = (),
    splits: Sequence[str] = (),
    allow_partial: bool = False,
    data_dir: str | Path | None = None,
) -> list[PreparedDataset]:
    """Reads the official files of a published dataset and writes them for reading.

    Each config becomes a TFDS dataset of its own, which appears when it is whole and
    counted. Where several are asked for, those that are there already are kept: a
    preparation that was cut short goes on.

    Args:
        name: Of the row.
        row: What to prepare.
        path: The files as they were downloaded; see `row.layout`.
        configs: Names or wildcards; all of the row if not given.
        splits: All of the row if not given.
        allow_partial: Accepts another number of images than there should be. What was
            found is kept with the dataset, and `partial` of its source says it.
        data_dir: `$TFDS_DATA_DIR` or `~/tensorflow_datasets` if not given.

    Returns:
        What was written, or was there, of each config.

    Raises:
        UserError: If the files lie otherwise, are not as many as they should be, or
            the dataset is already there.
        OSError: If the data directory cannot be written.
    """
    root = Path(data_dir) if data_dir is not None else default_data_dir()
    if not any(place.exists() for place in (Path(path), Path(path).parent)):
        raise UserError(f"{name}: there is nothing at {str(path)!r}; check the path")
    chosen = _chosen_configs(name, row, configs)
    splits = tuple(dict.fromkeys(splits)) or row.splits
    for split in splits:
        if split not in row.splits:
            raise UserError(f"{name}: {unknown_name('split', split, row.splits)}")
    done = []
    for config in chosen:
        folder = prepared_folder(name, config, root)
        there = prepared_version(folder)
        if there and len(chosen) == 1:
            raise UserError(
                f"{name}: {there} is already there; remove it to prepare it again, "
                "with all its splits at once"
            )
        if there:
            done.append(_already(name, row, config, there))
            continue
        done.append(
            _prepare(name, row, Path(path), config, splits, allow_partial, root)
        )
    return done


def _already(
    name: str, row: KnownDataset, config: str, version: Path
) -> PreparedDataset:
    counts = {split: found for split, (_, found) in prepared_counts(version).items()}
    return PreparedDataset(_address(name, config), version, counts, row.class_names())


def _address(name: str, config: str) -> str:
    return f"{name}/{config}" if config else name


def _chosen_configs(
    name: str, row: KnownDataset, configs: str | Sequence[str]
) -> tuple[str, ...]:
    patterns = [configs] if isinstance(configs, str) else list(configs)
    patterns = [pattern for pattern in patterns if pattern]
    if not row.configs:
        if patterns:
            raise UserError(f"{name} has no configs; leave out {', '.join(patterns)}")
        return ("",)
    chosen: dict[str, None] = {}
    for pattern in patterns or ["*"]:
        found = fnmatch.filter(row.configs, pattern)
        if not found:
            raise UserError(f"{name}: {unknown_name('config', pattern, row.configs)}")
        chosen |= dict.fromkeys(found)
    return tuple(chosen)


def _prepare(
    name: str,
    row: KnownDataset,
    path: Path,
    config: str,
    splits: Sequence[str],
    allow_partial: bool,
    root: Path,
) -> PreparedDataset:
    address = _address(name, config)
    class_names = row.class_names()
    images: dict[str, _Images] = {}
    try:
        for split in splits:
            read = row.read(path, config, split)
            images[split] = _Images(split, read, len(class_names))
            # A reader that has listed its files can say how many before any is read.
            if isinstance(read, Sized) and not allow_partial:
                _check_count(
                    row, config, split, len(read), getattr(read, "classes", None)
                )
        with own_folder(root) as temporary:
            _write(prepared_folder(name, "").name, row, config, images, temporary)
            for split, found in images.items():
                if not allow_partial:
                    _check_count(row, config, split, found.count, found.seen)
            written = temporary / prepared_folder(name, "").name / VERSION
            wanted = {s: (found.count, found.last) for s, found in images.items()}
            counts = verify_tfds(written, wanted)
            final = prepared_folder(name, config, root) / VERSION
            final.parent.mkdir(parents=True, exist_ok=True)
            os.rename(written, final)
    except UserError as error:
        raise UserError(
            f"{address} from {str(path)!r}: {error}. Expected: {row.layout}"
        ) from error
    return PreparedDataset(address, final, counts, class_names)


def _write(
    name: str,
    row: KnownDataset,
    config: str,
    images: dict[str, _Images],
    data_dir: Path,
) -> None:
    """Writes all splits, and what was expected of each beside them."""

    def counted() -> dict[str, Any]:
        counts = {
            split: {"images": found.count, "expected": row.expected(config, split)}
            for split, found in images.items()
        }
        return {"config": config, "splits": counts}

    write_tfds(
        images,
        name,
        VERSION,
        row.class_names(),
        row.description,
        data_dir,
        label_sets=row.label_sets,
        metadata=counted,
    )


def _check_count(
    row: KnownDataset, config: str, split: str, count: int, seen: set[int] | None
) -> None:
    """Refuses another number of images than there should be.

    Args:
        row: What is prepared.
        config: Of the row.
        split: Of the row.
        count: Images that were found.
        seen: Classes of which there was an image; None where that is not known.
    """
    expected = row.expected(config, split)
    if expected is None or count == expected:
        return
    missing = "" if seen is None else _missing_classes(row, seen)
    raise UserError(
        f"expected {expected} images of {split} and found {count}{missing}; get the "
        "rest, or accept what is there with --allow-partial (allow_partial=True), "
        "which is then kept with the dataset and with every result on it"
    )


def _missing_classes(row: KnownDataset, seen: set[int]) -> str:
    names = row.class_names()
    scoring = row.scoring() if row.scoring else None
    mask = None if scoring is None else scoring.class_mask
    wanted = range(len(names)) if mask is None else np.flatnonzero(mask).tolist()
    missing = [names[label] for label in wanted if label not in seen]
    # Images of no class at all (-1) miss none.
    if not missing or seen <= {-1}:
        return ""
    more = ", ..." if len(missing) > _NAMED else ""
    return (
        f", none of {len(missing)} of {len(wanted)} classes: "
        f"{', '.join(missing[:_NAMED])}{more}"
    )
