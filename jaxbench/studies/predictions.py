"""Answers to cue-conflict images: of stored evaluations, and of response files.

A cue-conflict image shows the shape of one category with the texture of another; an
observer, a network or a person, names one of the 16 categories. Geirhos et al. (2019):
https://arxiv.org/abs/1811.12231.
"""

import csv
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Int

from jaxbench.data.known.imagenet_classes import shape_categories
from jaxbench.data.known.imagenet_variants import shape_and_texture
from jaxbench.data.modifiers import split_modifiers
from jaxbench.errors import UserError
from jaxbench.results import ResultStore
from jaxbench.studies.models import Model

# What response files say where a person gave no answer: neither shape nor texture.
NO_ANSWER = "na"
CUE_CONFLICT = "cue-conflict"
RESPONSE_COLUMNS = (
    *("subj", "session", "trial", "rt", "object_response", "category"),
    *("condition", "imagename"),
)
_SHOWN = 3


@dataclass(frozen=True, eq=False)
class Responses:
    """One observer's answers, images in the order of their names.

    Attributes:
        observer: Who answered: a model, or a person.
        images: File names without folders, each once, such as `bear1-cat2.png`.
        shape: Category of each image's shape, 0 to 15 in the order of their names.
        texture: Category of its texture.
        answer: Category that was answered; -1 for no answer.
    """

    observer: str
    images: tuple[str, ...]
    shape: Int[np.ndarray, " images"]
    texture: Int[np.ndarray, " images"]
    answer: Int[np.ndarray, " images"]

    @property
    def correct(self) -> Bool[np.ndarray, " images"]:
        """Whether each answer is the shape."""
        return self.answer == self.shape

    @property
    def conflicting(self) -> Bool[np.ndarray, " images"]:
        """Images whose shape and texture differ: 1,200 of the published 1,280."""
        return self.shape != self.texture

    def of(self, rows: Bool[np.ndarray, " images"]) -> "Responses":
        """The answers to some of the images."""
        images = tuple(np.array(self.images)[rows].tolist())
        return Responses(
            self.observer,
            images,
            self.shape[rows],
            self.texture[rows],
            self.answer[rows],
        )


def make_responses(
    observer: str, images: Sequence[str], answers: Sequence[str]
) -> Responses:
    """An observer's answers to images.

    Args:
        observer: Who answered.
        images: Ids or file names of the images; of a name such as
            `0001_x_dog10-bird2.png` the last word counts.
        answers: The category of each, or "na" for none.

    Raises:
        UserError: If a name is none of a cue-conflict image, an image comes twice, or
            an answer is not a category; all problems at once.
    """
    names = [_file_name(image) for image in images]
    number = {name: i for i, name in enumerate(shape_categories())} | {NO_ANSWER: -1}
    found, strange = [], []
    for name in names:
        try:
            found.append(shape_and_texture(name))
        except UserError:
            strange.append(name)
    twice = [name for name, count in Counter(names).items() if count > 1]
    unknown = [answer for answer in answers if answer not in number]
    problems = []
    if strange:
        problems.append(
            f"{_some(strange, 'name')} of no cue-conflict image, wanted such as "
            "bear1-cat2.png"
        )
    if twice:
        problems.append(f"{_some(twice, 'image')} more than once")
    if unknown:
        problems.append(
            f"{_some(unknown, 'answer')} outside the 16 categories "
            f"({', '.join(shape_categories())}, or {NO_ANSWER})"
        )
    if problems:
        raise UserError(f"{observer}: {'; '.join(problems)}")
    order = sorted(range(len(names)), key=names.__getitem__)
    return Responses(
        observer,
        tuple(names[i] for i in order),
        np.array([number[found[i][0]] for i in order], np.int32),
        np.array([number[found[i][1]] for i in order], np.int32),
        np.array([number[answers[i]] for i in order], np.int32),
    )


def stored_responses(
    observer: str, ids: Sequence[str], prediction: Int[np.ndarray, " n"]
) -> Responses:
    """The answers of an evaluation on `cue-conflict`.

    Args:
        observer: Who answered.
        ids: The column `id`.
        prediction: The column of that name: numbers of the 16 categories.

    Raises:
        UserError: As `make_responses`, or if a number does not stand for a category.
    """
    categories = shape_categories()
    outside = [int(i) for i in prediction if not 0 <= i < len(categories)]
    if outside:
        raise UserError(
            f"{observer}: {_some(sorted(set(outside)), 'prediction')} of no category; "
            "an evaluation on cue-conflict has 16 classes"
        )
    return make_responses(observer, ids, [categories[int(i)] for i in prediction])


def is_cue_conflict(address: str) -> bool:
    """Whether a dataset has the 16 categories of cue-conflict images."""
    return split_modifiers(address)[0].partition("@")[0] == CUE_CONFLICT


def responses_of_models(
    store: ResultStore, models: Sequence[Model]
) -> tuple[list[Responses], list[str]]:
    """Answers of the evaluations on cue-conflict, and labels of models without one.

    Raises:
        UserError: If some are malformed; all models with such are named.
    """
    found, problems, absent = [], [], []
    for model in models:
        address = next((a for a in model.rows if is_cue_conflict(a)), None)
        if address is None:
            absent.append(model.label)
            continue
        run_id = model.rows[address]["run_id"]
        columns = store.examples(run_id, ("id", "prediction"))
        ids, answers = columns["id"].tolist(), columns["prediction"]
        try:
            found.append(stored_responses(model.label, ids, answers))
        except UserError as error:
            problems.append(str(error))
    if problems:
        raise UserError("\n".join(problems))
    return found, absent


def read_responses(paths: Iterable[str | Path]) -> tuple[Responses, ...]:
    """Reads files of answers, one row an image, as `modelvshuman` stores them.

    The columns are subj, session, trial, rt, object_response, category, condition and
    imagename; `category` is the image's shape. Rows of one subject may be spread over
    files (sessions).

    Args:
        paths: CSV files, or folders of them.

    Returns:
        The subjects in the order in which they appear.

    Raises:
        UserError: If a file cannot be read or has other columns, a category is not the
            image's shape, or an answer or a name is none; all problems at once.
    """
    rows: dict[str, list[tuple[str, str]]] = defaultdict(list)
    problems = []
    for path in _files(paths):
        try:
            for row in _rows(path):
                rows[row["subj"]].append((row["imagename"], row["object_response"]))
        except UserError as error:
            problems.append(str(error))
    found = []
    for observer, pairs in rows.items():
        images, answers = zip(*pairs, strict=True)
        try:
            found.append(make_responses(observer, images, answers))
        except UserError as error:
            problems.append(str(error))
    if problems:
        raise UserError("\n".join(problems))
    return tuple(found)


def check_same_images(observers: Sequence[Responses]) -> None:
    """Refuses observers who did not all see the same images.

    Raises:
        UserError: If an image that one saw is missing of another, or an observer is
            there twice; all of them are named, with counts.
    """
    everything = sorted({image for one in observers for image in one.images})
    problems = []
    for one in observers:
        if missing := sorted(set(everything) - set(one.images)):
            problems.append(
                f"{one.observer} lacks {len(missing)} of {len(everything)} images: "
                f"{_names(missing)}"
            )
    names = Counter(one.observer for one in observers)
    problems += [
        f"{name} has answers from {count} places; rename one"
        for name, count in names.items()
        if count > 1
    ]
    if problems:
        raise UserError("cue-conflict: " + "; ".join(problems))


def _file_name(image: str) -> str:
    return image.rpartition("/")[2].rpartition("_")[2]


def _files(paths: Iterable[str | Path]) -> list[Path]:
    """The CSV files that paths mean.

    Raises:
        UserError: If one does not exist, or a folder has none.
    """
    found: list[Path] = []
    problems = []
    for path in map(Path, paths):
        inside = sorted(path.glob("*.csv")) if path.is_dir() else [path]
        if not inside:
            problems.append(f"{path} is a folder without CSV files")
        elif not path.exists():
            problems.append(f"{path} does not exist")
        found += inside
    if problems:
        raise UserError("responses: " + "; ".join(problems))
    return found


def _rows(path: Path) -> list[dict[str, str]]:
    """The rows of a file whose columns are as they should be.

    Raises:
        UserError: If it cannot be read, or has other columns or categories.
    """
    try:
        with path.open(newline="", encoding="utf-8") as file:
            reader = csv.DictReader(file)
            rows = list(reader)
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise UserError(f"{path} cannot be read: {error}") from error
    columns = tuple(reader.fieldnames or ())
    if set(columns) != set(RESPONSE_COLUMNS):
        raise UserError(
            f"{path} has columns {', '.join(columns) or 'none'}; wanted "
            f"{', '.join(RESPONSE_COLUMNS)}"
        )
    if broken := [i for i, row in enumerate(rows, 2) if None in row.values()]:
        raise UserError(f"{path}: {_some(broken, 'line')} too short")
    wrong = [row["imagename"] for row in rows if not _has_shape(row)]
    if wrong:
        raise UserError(
            f"{path}: {_some(wrong, 'image')} whose category is not the shape in its "
            "name"
        )
    if not rows:
        raise UserError(f"{path} has no rows")
    return rows


def _has_shape(row: dict[str, str]) -> bool:
    """Whether a row's category is its image's shape; bad names are reported later."""
    try:
        return shape_and_texture(_file_name(row["imagename"]))[0] == row["category"]
    except UserError:
        return True


def _some(items: Sequence[object], what: str) -> str:
    words = what if len(items) == 1 else f"{what}s"
    return f"{len(items)} {words} ({_names(items)})"


def _names(items: Sequence[object]) -> str:
    more = ", ..." if len(items) > _SHOWN else ""
    return f"{', '.join(map(str, items[:_SHOWN]))}{more}"
