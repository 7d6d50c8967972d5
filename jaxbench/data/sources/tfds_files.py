"""Whether the files of a prepared TFDS dataset are there, whole, and of one dataset."""

import json
import re
from pathlib import Path
from typing import Any

from jaxbench.errors import UserError

INFO_FILE, FEATURES_FILE = "dataset_info.json", "features.json"
_NAMED = 5


def open_builder(folder: Path, name: str) -> Any:
    """TFDS's builder of a dataset in a folder `.../VERSION`.

    Raises:
        UserError: If a file of its description is missing, damaged, of another version
            or not understood; each is named.
    """
    # Here, not above: importing it takes a second.
    import tensorflow_datasets as tfds

    problems = _description_problems(folder)
    if not problems:
        try:
            return tfds.builder_from_directory(folder)
        except Exception as error:
            # Its parsers raise what they like, on many lines.
            reason = " ".join(str(error).split())
            problems.append(f"{INFO_FILE} and {FEATURES_FILE}: {reason}")
    raise UserError(f"{name}: {folder}: {'; '.join(problems)}; prepare it again")


def _description_problems(folder: Path) -> list[str]:
    problems = []
    for file in (INFO_FILE, FEATURES_FILE):
        try:
            content = json.loads((folder / file).read_text("utf-8"))
            if not isinstance(content, dict) or not content:
                problems.append(f"{file} describes nothing")
            elif file == INFO_FILE and content.get("version") != folder.name:
                version = content.get("version")
                problems.append(f"{file} is of version {version}, not {folder.name}")
        except OSError as error:
            problems.append(f"{file}: {error.strerror}")
        except ValueError as error:
            problems.append(f"{file} is damaged ({error})")
    for path in sorted(folder.glob("*.labels.txt")):
        try:
            # TFDS takes what it cannot read for a list of numbers.
            if not path.read_text("utf-8").strip():
                problems.append(f"{path.name} is empty")
        except (OSError, ValueError) as error:
            problems.append(f"{path.name} cannot be read ({error})")
    return problems


def check_class_names(folder: Path, label: str, names: list[str], name: str) -> None:
    """Refuses a list of class names that lost or won some.

    Args:
        folder: Of the dataset.
        label: The feature.
        names: What TFDS read from `LABEL.labels.txt`.
        name: The address, for messages.

    Raises:
        UserError: If the features say another number, or the list is missing where
            this package, which always writes one, prepared the dataset.
    """
    file = folder / f"{label}.labels.txt"
    about = json.loads((folder / INFO_FILE).read_text("utf-8"))
    ours = str(about.get("moduleName", "")).startswith("jaxbench.")
    if ours and not file.is_file():
        raise UserError(f"{name}: there is no {file}; prepare the dataset again")
    features = json.loads((folder / FEATURES_FILE).read_text("utf-8"))
    for key in ("featuresDict", "features", label, "classLabel"):
        features = features.get(key, {})
    wanted = features.get("numClasses")
    if wanted is not None and int(wanted) != len(names):
        raise UserError(
            f"{name}: {file} has {len(names)} class names, {FEATURES_FILE} "
            f"says {wanted}; prepare the dataset again"
        )


def check_shards(builder: Any, split: str, name: str) -> None:
    """Refuses shards that are missing, cut, or hold more or fewer records than listed.

    Args:
        builder: Of the dataset.
        split: In TFDS's syntax; shards of all splits that it names are looked at.
        name: The address, for messages.

    Raises:
        UserError: If there are such; they are named.
    """
    from array_record.python.array_record_module import ArrayRecordReader

    problems = []
    for part in re.findall(r"(?:^|\+)\s*([^\[+\s]*)", split):
        info = builder.info.splits[part]
        for file, wanted in zip(info.filepaths, info.shard_lengths, strict=True):
            try:
                reader = ArrayRecordReader(str(file))
                found = reader.num_records()
                reader.close()
            except Exception as error:
                problems.append(f"{file} cannot be read ({error})")
                continue
            if found != wanted:
                problems.append(
                    f"{file} holds {found} records, {INFO_FILE} says {wanted}"
                )
    if problems:
        more = f"; and {len(problems) - _NAMED} more" if len(problems) > _NAMED else ""
        raise UserError(
            f"{name}: {'; '.join(problems[:_NAMED])}{more}; prepare the dataset again"
        )
