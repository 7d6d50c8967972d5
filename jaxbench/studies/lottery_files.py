"""Published result tables, CSV files with a row for each model, as one table."""

import csv
import math
import os
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from jaxbench.errors import UserError, counted, unknown_name
from jaxbench.studies.variant_table import VariantTable

MODEL_COLUMN, SIZE_COLUMN, SCORE_COLUMN = "model", "img_size", "top1"

# Name of a file, less "timm-" and "results-", to the dataset and its number of images:
# https://github.com/huggingface/pytorch-image-models/tree/main/results.
KNOWN_FILES = {
    "imagenet": ("imagenet", 50_000),
    "imagenet-real": ("imagenet-real", 46_837),
    "imagenetv2": ("imagenet-v2/matched-frequency", 10_000),
    "imagenetv2-matched-frequency": ("imagenet-v2/matched-frequency", 10_000),
    "imagenet-a": ("imagenet-a", 7_500),
    "imagenet-r": ("imagenet-r", 30_000),
    "imagenet-sketch": ("imagenet-sketch", 50_889),
    "sketch": ("imagenet-sketch", 50_889),
}
_PREFIX = re.compile(r"^(timm-)?(results-)?")
_NUMBER = re.compile(r"[+-]?(\d{1,3}(,\d{3})+|\d+)?(\.\d*)?([eE][+-]?\d+)?")
_SHOWN = 5
# Share of accuracies that no whole number of right images explains. True numbers of
# images leave up to 6 % of timm's (rounded twice, it seems), wrong ones 8 to 100 %.
_TOLERATED = 0.2

Key = tuple[str, ...]


class _File(NamedTuple):
    """A file's scores: model to (fraction or NaN, half of the last digit's unit)."""

    path: Path
    variant: str
    num_images: int
    scores: dict[Key, tuple[float, float]]


def read_result_tables(
    paths: Sequence[str | os.PathLike[str]],
    *,
    images: Mapping[str, int] | None = None,
    reference: str | None = None,
    model_column: str | None = None,
    score_column: str = SCORE_COLUMN,
    percent: bool | None = None,
) -> VariantTable:
    """Reads result tables, one CSV file for each dataset.

    Args:
        paths: The files. A file's name says its dataset: those of `KNOWN_FILES`, with
            or without "timm-" and "results-", or else the name itself.
        images: Dataset to its number of images: needed for datasets that are not known,
            and stronger than what is known of the others.
        reference: The dataset that the others are compared with; "imagenet" where it is
            among the files and the first file otherwise, when None.
        model_column: Identifies a model; when None, the column `model`, and
            `img_size` as well where all files have it.
        score_column: The column of the accuracies.
        percent: Whether they are percent or fractions; may be None for `top1`, which
            is percent in timm's tables.

    Returns:
        Models in the order of the reference's file; those that it lacks are left out.
        Only accuracies are known: the table is not `paired`. Its notes say what is
        missing, and which accuracies are not multiples of 1 / images.

    Raises:
        UserError: If a file cannot be read, has other columns, a model twice or a score
            that is not a number, a dataset occurs twice or its number of images is not
            known, or it is not said whether scores are percent; all of it at once.
            If a file has no model of the reference's.
    """
    if not paths:
        raise UserError("no result table is given; name one CSV file or more")
    if percent is None:
        if score_column != SCORE_COLUMN:
            raise UserError(
                f"are the numbers of column {score_column!r} percent or fractions? "
                "say so (--percent or --fraction)"
            )
        percent = True
    problems: list[str] = []
    raw = [_read(Path(path), problems) for path in paths]
    _refuse(problems)
    keys = _key_columns(raw, model_column)
    files = []
    for path, rows in raw:
        wanted = (*keys, score_column)
        columns = list(rows[0][1]) if rows else []
        if missing := [name for name in wanted if name not in columns]:
            problems.append(
                f"{path} has no column {', '.join(map(repr, missing))}; its columns "
                f"are {', '.join(columns) or 'none'}; choose others with "
                "--model-column and --score-column"
            )
            continue
        variant, count = _dataset(path, images or {}, problems)
        scores = _scores(path, rows, keys, score_column, percent, problems)
        files.append(_File(path, variant, count, scores))
    _check_names(files, images or {}, problems)
    _refuse(problems)
    return _table(files, reference)


def _read(path: Path, problems: list[str]) -> tuple[Path, list[tuple[int, dict]]]:
    """Rows with their line numbers."""
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.DictReader(file)
            rows = [(reader.line_num, row) for row in reader]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        reason = getattr(error, "strerror", None) or error
        problems.append(f"{path} cannot be read as a CSV file: {reason}")
        return path, []
    if not rows:
        problems.append(
            f"{path} has no rows; wanted a line of headings and one a model"
        )
    # A row with too many cells has them under None; one with too few has None in them.
    ragged = [line for line, row in rows if None in row or None in row.values()]
    if ragged:
        problems.append(
            f"{path}: line {ragged[0]} has another number of cells than the headings"
        )
    return path, rows


def _key_columns(raw: Sequence, model_column: str | None) -> tuple[str, ...]:
    if model_column is not None:
        return (model_column,)
    sized = all(rows and SIZE_COLUMN in rows[0][1] for _, rows in raw)
    return (MODEL_COLUMN, SIZE_COLUMN) if sized else (MODEL_COLUMN,)


def _dataset(
    path: Path, images: Mapping[str, int], problems: list[str]
) -> tuple[str, int]:
    """Which dataset a file is about and how many images that has."""
    stem = _PREFIX.sub("", path.stem)
    variant, count = KNOWN_FILES.get(stem, (stem, 0))
    count = images.get(variant, count)
    if count < 1:
        problems.append(
            f"{path}: how many images has {variant!r}? give --images {variant}=N, a "
            "whole number of 1 or more"
        )
    return variant, count


def _scores(
    path: Path,
    rows: Sequence[tuple[int, dict]],
    keys: tuple[str, ...],
    column: str,
    percent: bool,
    problems: list[str],
) -> dict[Key, tuple[float, float]]:
    scores: dict[Key, tuple[float, float]] = {}
    twice, wrong = [], []
    for line, row in rows:
        key, text = tuple(row[name].strip() for name in keys), row[column].strip()
        if key in scores:
            twice.append(f"{' at '.join(key)} (line {line})")
        value = _number(text)
        if value is None:
            wrong.append(f"line {line}: {text!r}")
        else:
            scale = 100.0 if percent else 1.0
            scores[key] = (value / scale, _half_unit(text) / scale)
    if twice:
        problems.append(
            f"{path} has {counted(len(twice), 'model')} twice: {_some(twice)}"
        )
    if wrong:
        problems.append(f"{path}: {column} is not a number in {_some(wrong)}")
    values = [value for value, _ in scores.values() if not math.isnan(value)]
    unit, other = ("percent", "fraction") if percent else ("fraction", "percent")
    if percent and values and max(values) <= 0.01:
        problems.append(
            f"{path}: all of {column} are at most 1, read as {unit}; if these are "
            f"{other}s, say --fraction"
        )
    if outside := [v for v in values if not 0 <= v <= 1]:
        problems.append(
            f"{path}: {len(outside)} of {column}, read as {unit}, are outside the "
            f"range{'' if percent else '; if these are percent, say --percent'}"
        )
    return scores


def _number(text: str) -> float | None:
    """The number; NaN for an empty cell, None for what is neither."""
    if text.lower() in ("", "nan"):
        return float("nan")
    if not _NUMBER.fullmatch(text) or not any(c.isdigit() for c in text):
        return None
    return float(text.replace(",", ""))


def _half_unit(text: str) -> float:
    """Half a unit of the last digit that a number is written with."""
    mantissa, _, exponent = text.lower().partition("e")
    digits = len(mantissa.partition(".")[2])
    return 0.5 * 10.0 ** (int(exponent or 0) - digits)


def _check_names(
    files: Sequence[_File], images: Mapping[str, int], problems: list[str]
) -> None:
    variants = [file.variant for file in files]
    if twice := sorted({name for name in variants if variants.count(name) > 1}):
        problems.append(f"more than one file is about {', '.join(twice)}")
    if not problems:
        problems += [
            f"--images: {unknown_name('dataset', name, variants)}"
            for name in images
            if name not in variants
        ]


def _table(files: Sequence[_File], reference: str | None) -> VariantTable:
    """The files side by side, the reference first."""
    variants = [file.variant for file in files]
    if reference is None:
        reference = "imagenet" if "imagenet" in variants else variants[0]
    if reference not in variants:
        raise UserError(f"--reference: {unknown_name('dataset', reference, variants)}")
    first = files[variants.index(reference)]
    ordered = [first, *(file for file in files if file is not first)]
    keys = [key for key, (value, _) in first.scores.items() if not math.isnan(value)]
    known, notes = set(keys), []
    if blank := [" at ".join(key) for key in first.scores if key not in known]:
        notes.append(
            f"{reference}: {counted(len(blank), 'model')} with an empty cell left out: "
            f"{_some(blank)}"
        )
    if known:
        _refuse([_shared_problem(file, first, known) for file in ordered[1:]])
    for file in ordered[1:]:
        if extra := [" at ".join(key) for key in file.scores if key not in known]:
            notes.append(
                f"{file.variant}: {counted(len(extra), 'model')} without a result on "
                f"{reference} left out: {_some(extra)}"
            )
    nothing = (float("nan"), 0.0)
    accuracy = np.array(
        [[file.scores.get(key, nothing)[0] for file in ordered] for key in keys]
    ).reshape(len(keys), len(ordered))
    for place, file in enumerate(ordered):
        if absent := int(np.isnan(accuracy[:, place]).sum()):
            notes.append(
                f"{file.variant}: {absent} of {len(keys)} models are missing and in "
                "none of its pairs"
            )
        impossible = _impossible(file)
        if impossible > _TOLERATED * len(file.scores):
            notes.append(
                f"{file.variant}: {impossible} of {len(file.scores)} accuracies are "
                f"not shares of {file.num_images:,} images; check the number of images"
            )
    return VariantTable(
        _names(keys),
        tuple(file.variant for file in ordered),
        accuracy,
        tuple(file.num_images for file in ordered),
        notes=tuple(notes),
    )


def _shared_problem(file: _File, first: _File, known: set[Key]) -> str:
    """What is wrong where a file and the reference's have no model in common."""
    if any(k in known and not math.isnan(v) for k, (v, _) in file.scores.items()):
        return ""
    own, wanted = (_some([" at ".join(key) for key in f.scores]) for f in (file, first))
    return (
        f"{file.path} has no model of {first.path}: it has {own}, the reference "
        f"{wanted}; leave it out, or say what the models are called by "
        "(--model-column)"
    )


def _impossible(file: _File) -> int:
    """Scores that no whole number of right images gives, to their last digit."""
    count = 0
    for value, half in file.scores.values():
        nearest = np.round(value * file.num_images) / file.num_images
        count += bool(abs(nearest - value) > half * (1 + 1e-6) + 1e-12)
    return count


def _names(keys: Sequence[Key]) -> tuple[str, ...]:
    """Model names; with the image size where one name has several."""
    times = Counter(key[0] for key in keys if key)
    return tuple(
        " at ".join(key) if times[key[0]] > 1 else key[0] for key in keys if key
    )


def _some(items: Sequence[str]) -> str:
    more = f" and {len(items) - _SHOWN} more" if len(items) > _SHOWN else ""
    return f"{', '.join(items[:_SHOWN])}{more}"


def _refuse(problems: Sequence[str]) -> None:
    if found := [problem for problem in problems if problem]:
        raise UserError("\n".join(found))
