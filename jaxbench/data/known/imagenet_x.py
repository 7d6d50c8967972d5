"""ImageNet-X: what is unusual about each of ImageNet's validation images.

Idrissi et al. (2022), https://arxiv.org/abs/2211.01866; the files lie in
`imagenet_x/annotations` of https://github.com/facebookresearch/imagenetx.
"""

import json
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

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


def read_imagenet_x(
    path: str | Path,
    *,
    prototypes: str | Path | None = None,
    ids: Collection[str] | None = None,
) -> dict[str, tuple[str, ...]]:
    """Reads a file of annotations of the validation images.

    Args:
        path: `imagenet_x_val_top_factor.jsonl` (one factor an image) or
            `imagenet_x_val_multi_factor.jsonl` (any number): a JSON object a line with
            `file_name`, `class` and each factor as 0 or 1.
        prototypes: `prototypical_paths.csv`, whose images the paper leaves out.
        ids: The images at hand, such as a source's; None for all that ImageNet has.

    Returns:
        Name of an image (`ILSVRC2012_val_00004487.JPEG`) to its factors, in the order
        of FACTORS; () where none is set.

    Raises:
        UserError: If a line is malformed, an image comes twice, is unknown (none of
            ImageNet's, of another class, or not in `ids`), or a prototype is unknown.
            All problems are named.
    """
    found: dict[str, tuple[str, ...]] = {}
    problems: dict[str, list[str]] = {
        "malformed line": [],
        "image that comes twice": [],
        "unknown image": [],
        "image of another class": [],
        "image that is not at hand": [],
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
        elif ids is not None and name not in ids:
            problems["image that is not at hand"].append(name)
        if name in found:
            problems["image that comes twice"].append(name)
        found[name] = tuple(factor for factor in FACTORS if row[factor])
    left_out = _prototypes(prototypes) if prototypes is not None else []
    problems["unknown prototype"] = [n for n in left_out if image_label(n) is None]
    worded = [named(what, names) for what, names in problems.items() if names]
    if worded or not found:
        raise UserError(
            f"{path}: {'; '.join(worded) or 'no annotation'}; wanted a JSON object a "
            "line: file_name (of ImageNet's validation images), class (0 to 999) and "
            f"0 or 1 for each of {', '.join(FACTORS)}"
        )
    return {name: found[name] for name in found if name not in set(left_out)}


def _lines(path: str | Path) -> list[str]:
    try:
        text = Path(path).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path} cannot be read: {error}") from error
    return [line for line in text.splitlines() if line.strip()]


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
