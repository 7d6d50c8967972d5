"""Prepared TFDS datasets, read without TensorFlow.

Only reading: a dataset lies under `$TFDS_DATA_DIR` (or `~/tensorflow_datasets`) in the
ArrayRecord format, prepared by `jaxbench.data.prepare` or, with TensorFlow installed,
by `tfds build NAME --file_format=array_record`. Nothing is downloaded, and no dataset
code of TFDS runs.
"""

import os
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from jaxbench.data.cache import file_stamp, remembered
from jaxbench.data.source import DecodeError, Example, digest, read_only, source_repr
from jaxbench.data.sources.folder import default_split
from jaxbench.data.sources.tfds_files import (
    INFO_FILE,
    check_class_names,
    check_shards,
    open_builder,
)
from jaxbench.errors import UserError, unknown_name

_VERSION = re.compile(r"\d+\.\d+\.\d+")
# Features that name an example, in the order of preference.
ID_FEATURES = ("id", "file_name", "filename", "image/filename")
# The feature that lists all right classes of an image.
LABEL_SETS = "labels"
_AT_ONCE = 64


def data_dir() -> Path:
    """Where prepared datasets lie; read from the environment at every call."""
    chosen = os.environ.get("TFDS_DATA_DIR")
    return Path(chosen) if chosen else Path.home() / "tensorflow_datasets"


class TfdsSource:
    """One split of a prepared dataset; images stay encoded until they are asked for.

    Args:
        name: The address.
        records: TFDS's data source with undecoded images.
        features: Names of the image, the label and (or None) the id feature.
        class_names: One name a class.
        index: Labels, ids and digests of the contents; see `_read_index`.

    Attributes:
        label_sets: All right classes of each image, filled up with -1, int32 [N, m];
            None where they were not asked for.
        contents: Digest of each image's bytes as hex, bytes [N].
    """

    def __init__(
        self,
        name: str,
        records: Sequence,
        features: tuple[str, str, str | None],
        class_names: Sequence[str],
        index: dict[str, np.ndarray],
    ) -> None:
        self.name = name
        self._records = records
        self._image = features[0]
        self.class_names = tuple(class_names)
        self.labels = read_only(index["labels"])
        self.ids: tuple[str, ...] = tuple(index["ids"].tolist())
        sets = index["label_sets"]
        self.label_sets = read_only(sets) if sets.size else None
        self.contents = index["contents"]
        self.fingerprint = digest(str(index["digest"]), self.class_names)

    def __repr__(self) -> str:
        return source_repr(self)

    def __len__(self) -> int:
        return len(self.ids)

    def __getitem__(self, index: int) -> Example:
        try:
            image = self._records[index][self._image]
        except Exception as error:
            # ArrayRecord and the record's parser raise what they like on bad bytes.
            raise DecodeError(self.name, self.ids[index], str(error)) from error
        return Example(image, int(self.labels[index]), self.ids[index])


def open_tfds(path: str, split: str | None, name: str) -> TfdsSource:
    """Opens a split of a prepared dataset.

    The first call on a split reads its records once, for labels, ids and the digest of
    the contents, and remembers these in the cache.

    Args:
        path: `NAME`, `NAME/CONFIG`, either with `:VERSION` at the end.
        split: In TFDS's syntax, such as `test` or `train[:10%]`; if not given the only
            one, or the only one of validation and test.
        name: The address, for messages and results.

    Raises:
        UserError: If it is not prepared (the message says how to), lies in another
            format, has no image with a class label, or no such split.
    """
    return read_split(_prepared_folder(path, name), split, name)


def read_split(
    folder: Path, split: str | None, name: str, *, label_sets: bool = False
) -> TfdsSource:
    """Opens a split of the dataset in a folder `.../VERSION`; see `open_tfds`.

    Args:
        folder: Where it lies.
        split: As for `open_tfds`.
        name: The address, for messages and results.
        label_sets: Whether it has the feature `labels`, which counts too.
    """
    builder = _builder(folder, name)
    splits = list(builder.info.splits)
    if not splits:
        raise UserError(
            f"{name}: {folder / INFO_FILE} lists no splits; prepare it again"
        )
    split = split or default_split(splits, name)
    image, label, id = _features(builder.info.features, name)
    # Here, not above: importing it takes a second.
    import tensorflow_datasets as tfds

    try:
        records = builder.as_data_source(
            split=split, decoders={image: tfds.decode.SkipDecoding()}
        )
    except (ValueError, KeyError, AssertionError) as error:
        strangers = [
            unknown_name("split", part, splits)
            for part in re.findall(r"(?:^|\+)\s*([^\[+\s]*)", split)
            if part not in splits
        ]
        # Of a split that exists, the slice is wrong: past the end, or no number.
        wrong = "; ".join(strangers) or str(error) or type(error).__name__
        raise UserError(f"{name}: cannot read the split {split!r}: {wrong}") from error

    def read_index() -> dict[str, np.ndarray]:
        check_shards(builder, split, name)
        sets = LABEL_SETS if label_sets else None
        return _read_index(records, (image, label, id), split, name, sets)

    stamps = [file_stamp(file) for file in sorted(folder.iterdir()) if file.is_file()]
    key = "\n".join((split, str(label_sets), *stamps))
    index = remembered("tfds-rows", key, read_index)
    class_names = builder.info.features[label].names
    check_class_names(folder, label, class_names, name)
    if index["labels"].max(initial=-1) >= len(class_names):
        raise UserError(
            f"{name}: has the label {index['labels'].max()}, and {len(class_names)} "
            "class names; prepare the dataset again"
        )
    return TfdsSource(name, records, (image, label, id), class_names, index)


def prepared_configs(name: str) -> list[str]:
    """Configs of a dataset that are prepared under the data directory."""
    folder = data_dir() / name
    if not os.path.isdir(folder):
        return []
    return sorted(sub.name for sub in folder.iterdir() if prepared_versions(sub))


def prepared_versions(folder: Path) -> list[Path]:
    """Folders of prepared versions, the newest last."""
    return [sub for sub in _version_folders(folder) if (sub / INFO_FILE).is_file()]


def _version_folders(folder: Path) -> list[Path]:
    # Not Path.is_dir, which raises for names that are too long.
    if not os.path.isdir(folder):
        return []
    versions = [sub for sub in folder.iterdir() if _VERSION.fullmatch(sub.name)]
    return sorted(versions, key=lambda sub: [int(n) for n in sub.name.split(".")])


def _prepared_folder(path: str, name: str) -> Path:
    path, _, version = path.partition(":")
    folder = data_dir() / path
    versions = prepared_versions(folder)
    if version:
        versions = [sub for sub in versions if sub.name == version]
    if versions:
        return versions[-1]
    if configs := prepared_configs(path):
        raise UserError(
            f"{name}: {path} has the configs {', '.join(configs)}; say which one: "
            f"tfds:{path}/{configs[0]}"
        )
    half = [sub for sub in _version_folders(folder) if version in ("", sub.name)]
    if half:
        raise UserError(f"{name}: there is no {half[-1] / INFO_FILE}; prepare it again")
    raise UserError(
        f"{name}: no prepared dataset in {folder}{f'/{version}' if version else ''}. "
        "Set TFDS_DATA_DIR to where yours lie; or prepare it with "
        "jaxbench.data.prepare_dataset from a folder or tar of images, or, in an "
        f"environment with TensorFlow, with `tfds build {path} "
        "--file_format=array_record`"
    )


def _builder(folder: Path, name: str) -> Any:
    builder = open_builder(folder, name)
    format = builder.info.file_format
    if format is None or format.value != "array_record":
        raise UserError(
            f"{name}: {folder} is prepared as {format.value if format else 'nothing'}; "
            "random access needs array_record: convert it, with TensorFlow installed, "
            "by `tfds convert_format --out_file_format=array_record`"
        )
    return builder


def _features(features: Any, name: str) -> tuple[str, str, str | None]:
    """Names of the image, the label and the id feature."""
    import tensorflow_datasets as tfds

    by_kind = {
        "image": (tfds.features.Image, "Image"),
        "label": (tfds.features.ClassLabel, "ClassLabel"),
    }
    chosen, problems = [], []
    for usual, (kind, kind_name) in by_kind.items():
        found = [key for key, feature in features.items() if type(feature) is kind]
        if usual in found or len(found) == 1:
            chosen.append(usual if usual in found else found[0])
        else:
            problems.append(f"{len(found)} features of kind {kind_name}, wanted one")
    if problems:
        raise UserError(
            f"{name}: {'; '.join(problems)}. Its features: {', '.join(features)}"
        )
    ids = [key for key in ID_FEATURES if key in features]
    return chosen[0], chosen[1], ids[0] if ids else None


def _read_index(
    # A bare Sequence: checking the items' type would read one, and it may be damaged.
    records: Sequence,
    features: tuple[str, str, str | None],
    split: str,
    name: str,
    all_labels: str | None,
) -> dict[str, np.ndarray]:
    image, label, id = features
    labels, ids, contents, sets = [], [], [], []
    for record in _each_record(records, name):
        labels.append(int(record[label]))
        ids.append(_text(record[id]) if id else "")
        contents.append(digest(record[image]))
        # A published list may name a label twice; it stands for a set.
        right = dict.fromkeys(map(int, record[all_labels])) if all_labels else ()
        sets.append(tuple(right))
    if id is None or len(set(ids)) < len(ids):
        # No ids of its own, or not one an example: the place in the split is stable.
        ids = [f"{split}/{position:07}" for position in range(len(labels))]
    rows = [f"{i}\0{c}\0{y}" for i, c, y in zip(ids, contents, labels, strict=True)]
    if all_labels:
        rows = [f"{row}\0{right}" for row, right in zip(rows, sets, strict=True)]
    longest = max(map(len, sets), default=0)
    filled = [(*right, *[-1] * (longest - len(right))) for right in sets]
    return {
        "labels": np.array(labels, np.int32),
        "ids": np.array(ids, dtype=str),
        "digest": np.array(digest(rows)),
        "contents": np.array(contents, dtype="S"),
        "label_sets": np.array(filled, np.int32),
    }


def _each_record(records: Any, name: str) -> Iterator[Any]:
    """All records in order, read some at once: four times as fast as one by one."""
    for start in range(0, len(records), _AT_ONCE):
        positions = list(range(start, min(start + _AT_ONCE, len(records))))
        try:
            found = records.__getitems__(positions)
        except Exception:
            found = [None]
        # Of a cut file, records come as None.
        if any(record is None for record in found):
            found = [_record(records, position, name) for position in positions]
        yield from found


def _record(records: Sequence, position: int, name: str) -> Any:
    try:
        record = records[position]
        if record is None:
            raise EOFError("the file is cut")
        return record
    except Exception as error:
        # As above: anything may come out of a damaged file.
        raise UserError(
            f"{name}: record {position} cannot be read ({error}); prepare the "
            "dataset again"
        ) from error


def _text(value: Any) -> str:
    if isinstance(value, bytes):
        # As file names that are not UTF-8: see `as_text`.
        return value.decode("utf-8", "backslashreplace")
    return str(value)
