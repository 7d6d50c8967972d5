"""ImageNet-X: what is unusual about ImageNet's validation images.

Idrissi et al. (2022), https://arxiv.org/abs/2211.01866; the files lie in
`imagenet_x/annotations` of https://github.com/facebookresearch/imagenetx, and of the
Python package imagenet-x.
"""

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from jaxbench.data.known.base import Item, KnownDataset, NotPreparedError
from jaxbench.data.known.imagenet_classes import wordnet_ids
from jaxbench.data.known.imagenet_validation import image_label
from jaxbench.data.known.reading import named
from jaxbench.errors import UserError

FACTORS = (
    "pose",
    "background",
    "pattern",
    "color",
    "smaller",
    "shape",
    "partial_view",
    "subcategory",
    "texture",
    "larger",
    "darker",
    "object_blocking",
    "person_blocking",
    "style",
    "brighter",
    "multiple_objects",
)

# Lines of either file of validation images, each of another image (imagenet-x 0.0.7);
# 2,758 of them are among the 3,000 prototypes, so that 46,110 are left.
NUM_ANNOTATED = 48_868

_FOLDER = "imagenet_x/annotations of https://github.com/facebookresearch/imagenetx"
_USE = (
    "jaxbench study beyond FOLDER --annotations imagenet_x_val_top_factor.jsonl "
    "--prototypes prototypical_paths.csv"
)


class Annotations(dict[str, tuple[str, ...]]):
    """Name of an image (`ILSVRC2012_val_00004487.JPEG`) to its factors.

    Attributes:
        partial: Number of annotated images (published, found) with the prototypes,
            where these differ; None where the file is whole.
    """

    partial: tuple[int, int] | None = None


def read_imagenet_x(
    path: str | Path,
    *,
    prototypes: str | Path | None = None,
    allow_partial: bool = False,
) -> Annotations:
    """Reads a file of annotations of the validation images.

    Args:
        path: `imagenet_x_val_top_factor.jsonl` (one factor an image) or
            `imagenet_x_val_multi_factor.jsonl` (any number): a JSON object a line with
            `file_name`, `class` and each factor as 0 or 1.
        prototypes: `prototypical_paths.csv`, whose images the paper leaves out.
        allow_partial: Accepts another number of annotated images than `NUM_ANNOTATED`;
            `partial` of what is returned says how many.

    Returns:
        The factors of each image in the order of FACTORS; () where none is set.

    Raises:
        UserError: If a line is malformed, an image comes twice or is unknown (none of
            ImageNet's, or of another class), lines are missing, or a prototype is
            unknown. All problems are named.
    """
    found: dict[str, tuple[str, ...]] = {}
    problems: dict[str, list[str]] = {
        "malformed line": [],
        "image that comes twice": [],
        "unknown image": [],
        "image of another class": [],
    }
    for number, line in enumerate(_lines(path), start=1):
        row = _parsed(line)
        if row is None:
            problems["malformed line"].append(str(number))
            continue
        name = row["file_name"]
        if image_label(name) is None:
            problems["unknown image"].append(name)
        elif image_label(name) != row["class"]:
            problems["image of another class"].append(name)
        if name in found:
            problems["image that comes twice"].append(name)
        found[name] = tuple(factor for factor in FACTORS if row[factor])
    left_out = _prototypes(prototypes) if prototypes is not None else []
    problems["unknown prototype"] = [n for n in left_out if image_label(n) is None]
    worded = [named(what, names) for what, names in problems.items() if names]
    partial = (NUM_ANNOTATED, len(found)) if len(found) != NUM_ANNOTATED else None
    if not (found or worded):
        worded.append("no annotation")
    if partial and not allow_partial:
        worded.append(
            f"{len(found)} annotated images, the published file has {NUM_ANNOTATED}"
        )
    if worded:
        raise UserError(
            f"{path}: {'; '.join(worded)}; wanted a JSON object a line: file_name (of "
            "ImageNet's validation images), class (0 to 999) and 0 or 1 for each of "
            f"{', '.join(FACTORS)}. Get the whole file, in {_FOLDER}; allow_partial="
            "True accepts annotations of other numbers of images"
        )
    without = set(left_out)
    kept = Annotations({n: f for n, f in found.items() if n not in without})
    kept.partial = partial
    return kept


def is_imagenet_x(path: str | Path) -> bool:
    """Whether the first line of a file has the fields of ImageNet-X.

    Raises:
        UserError: If the file cannot be read.
    """
    try:
        row = json.loads(next(iter(_lines(path)), ""))
    except ValueError:
        return False
    return isinstance(row, dict) and {"file_name", "class", *FACTORS} <= row.keys()


def _lines(path: str | Path) -> list[str]:
    try:
        text = Path(path).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path} cannot be read: {error}") from error
    # Annotators' words may hold what `splitlines` takes for the end of a line.
    return [line.strip() for line in text.split("\n") if line.strip()]


def _parsed(line: str) -> Mapping[str, Any] | None:
    """The object of a line; None if it is malformed."""
    try:
        row = json.loads(line)
        whole = isinstance(row["file_name"], str) and isinstance(row["class"], int)
        return row if whole and all(row[f] in (0, 1) for f in FACTORS) else None
    except (ValueError, KeyError, TypeError):
        return None


def _prototypes(path: str | Path) -> list[str]:
    header, *names = _lines(path) or [""]
    if header != "file_name":
        raise UserError(
            f"{path} begins with {header!r}; wanted the one column file_name"
        )
    return names


def _no_images(config: str, split: str) -> tuple[str, str]:
    raise NotPreparedError(
        "imagenet-x is annotations of the images of imagenet and has none of its own: "
        f"evaluate models on imagenet, then {_USE} (the files: {_FOLDER})"
    )


def _nothing_to_read(path: Path, config: str, split: str) -> Iterable[Item]:
    raise UserError("it is annotations of imagenet's images, with none of its own")


ROWS: dict[str, KnownDataset] = {
    "imagenet-x": KnownDataset(
        "What is unusual about 48,868 of ImageNet's validation images, of 16 factors "
        "such as pose and background: annotations, no images.",
        licence="CC BY-NC 4.0",
        obtain="imagenet_x_val_top_factor.jsonl (one factor an image) or "
        "imagenet_x_val_multi_factor.jsonl, and prototypical_paths.csv (images that "
        f"the paper leaves out), in {_FOLDER}",
        reference="https://arxiv.org/abs/2211.01866",
        layout=f"nothing to prepare. With results on imagenet: {_USE}.",
        num_examples={"validation": NUM_ANNOTATED},
        class_names=wordnet_ids,
        read=_nothing_to_read,
        default_split="validation",
        role="annotations",
        by_tfds=_no_images,
    )
}
