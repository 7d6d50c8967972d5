"""Readers of the datasets around ImageNet that have images of their own."""

import io
import json
import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from PIL import Image

from jaxbench.data.known.base import Item
from jaxbench.data.known.imagenet_classes import (
    NUM_CLASSES,
    labels_by_wordnet_id,
    shape_categories,
    subset,
)
from jaxbench.data.known.reading import (
    ListedImage,
    Listing,
    class_folders,
    folders,
    inner_root,
    join,
    named,
    readable_tree,
)
from jaxbench.data.sources.trees import Tree
from jaxbench.errors import UserError

# Config to what the names of ImageNet-V2's archive and folder begin with.
V2_NAMES = {
    "matched-frequency": "imagenetv2-matched-frequency",
    "threshold-0.7": "imagenetv2-threshold0.7",
    "top-images": "imagenetv2-top-images",
}
_STIMULUS = re.compile(r"([a-z]+)\d+-([a-z]+)\d+\.png")
# Pixels of ObjectNet's red frame, on each side.
OBJECTNET_BORDER = 2


def read_v2(path: Path, config: str, split: str) -> Listing:
    """ImageNet-V2: folders `0` to `999`, whose names are the labels.

    Raises:
        UserError: If there are other folders, or the files of another config.
    """
    begin = V2_NAMES[config]
    for name in (f"{begin}-format-val", f"{begin}.tar.gz", f"{begin}.tar"):
        if (path / name).exists():
            path = path / name
            break
    numbers = {str(label): label for label in range(NUM_CLASSES)}
    with readable_tree(path) as (tree, prefix):
        names = (*path.parts, *inner_root(tree, prefix, numbers).split("/"))
    others = [o for o in V2_NAMES.values() if o != begin]
    wrong = [name for name in names if name.startswith(tuple(others))]
    if wrong:
        raise UserError(f"{wrong[-1]!r} is not {config} but another of the three sets")
    return class_folders(path, numbers)


def read_classes(path: Path, config: str, split: str) -> Listing:
    """One folder for each of ImageNet's 1,000 classes."""
    return class_folders(path, labels_by_wordnet_id())


def read_a(path: Path, config: str, split: str) -> Listing:
    """ImageNet-A: one folder for each of its 200 classes."""
    return class_folders(path, subset("imagenet_a"))


def read_r(path: Path, config: str, split: str) -> Listing:
    """ImageNet-R: one folder for each of its 200 classes."""
    return class_folders(path, subset("imagenet_r"))


def read_o(path: Path, config: str, split: str) -> Listing:
    """ImageNet-O: its folders are classes that the images are taken for, not of."""
    return class_folders(path, dict.fromkeys(subset("imagenet_o"), -1))


def read_cue_conflict(path: Path, config: str, split: str) -> Listing:
    """Cue-conflict images: `SHAPE/SHAPE1-TEXTURE2.png`, labelled by shape.

    Raises:
        UserError: If folders or names are others.
    """
    categories = {name: i for i, name in enumerate(shape_categories())}
    listing = class_folders(path, categories)
    wrong = []
    for image in listing.images:
        try:
            shape, _ = shape_and_texture(image.id)
        except UserError:
            wrong.append(image.id)
            continue
        if shape != image.id.partition("/")[0]:
            wrong.append(image.id)
    if wrong:
        raise UserError(f"no names of stimuli have {named('file', wrong)}")
    return listing


def shape_and_texture(id: str) -> tuple[str, str]:
    """The two categories of a cue-conflict image: `bear/bear1-cat2.png` is (bear, cat).

    Raises:
        UserError: If the id is none of such an image.
    """
    match = _STIMULUS.fullmatch(id.rpartition("/")[2])
    if not match or not {match[1], match[2]} <= set(shape_categories()):
        raise UserError(
            f"{id!r} is not the id of a cue-conflict image; wanted such as "
            "bear/bear1-cat2.png (shape first, then texture)"
        )
    return match[1], match[2]


def read_objectnet(path: Path, config: str, split: str) -> Listing:
    """ObjectNet's images of the 113 classes that overlap with ImageNet's.

    An image's right labels are all of ImageNet's classes that its object maps to. The
    red frame is cut off; the rest is kept losslessly.

    Raises:
        UserError: If the folders `images` and `mappings` are missing, or a mapping is
            malformed.
    """
    with readable_tree(path) as (tree, prefix):
        root = inner_root(tree, prefix, ["images", "mappings"])
        found = folders(tree, root)
        if "images" not in found or "mappings" not in found:
            raise UserError(
                f"found no folders images and mappings but {named('folder', found)}"
            )
        right = _objectnet_labels(tree, join(root, "mappings"))
        start = join(root, "images")
        unknown = [name for name in folders(tree, start) if name not in right]
        if unknown:
            raise UserError(f"the mappings do not name {named('folder', unknown)}")
        images = [
            ListedImage(image[len(start) + 1 :], image, labels[0], labels)
            for folder, labels in sorted(right.items())
            if labels and folder in folders(tree, start)
            for image in tree.images(join(start, folder))
        ]
        if not images:
            raise UserError("found no image of a class that ImageNet has too")
        return Listing(tree, images, _without_border)


def _objectnet_labels(tree: Tree, folder: str) -> dict[str, tuple[int, ...]]:
    """Folder to ImageNet's labels; () for objects that ImageNet lacks."""
    try:
        names = json.loads(tree.read(f"{folder}/folder_to_objectnet_label.json"))
        to_imagenet = json.loads(tree.read(f"{folder}/objectnet_to_imagenet_1k.json"))
        lines = json.loads(tree.read(f"{folder}/pytorch_to_imagenet_2012_id.json"))
        words = tree.read(f"{folder}/imagenet_to_label_2012_v2").decode().splitlines()
        # Label to the line of its words, counted from 0.
        label_of = {words[line].strip(): int(label) for label, line in lines.items()}
        return {
            folder: tuple(
                label_of[text] for text in to_imagenet.get(name, "").split("; ") if text
            )
            for folder, name in names.items()
        }
    except (OSError, ValueError, KeyError, IndexError, AttributeError) as error:
        raise UserError(
            f"{folder} lacks a mapping or has a malformed one: {error!r}"
        ) from error


def _without_border(content: bytes) -> np.ndarray:
    try:
        with Image.open(io.BytesIO(content)) as image:
            pixels = np.asarray(image.convert("RGB"))
    except (OSError, ValueError) as error:
        raise UserError(f"an image cannot be decoded: {error}") from error
    inner = slice(OBJECTNET_BORDER, -OBJECTNET_BORDER)
    return np.ascontiguousarray(pixels[inner, inner])


class HardRecords:
    """ImageNet-Hard's Parquet files: encoded images with all their right labels.

    Args:
        path: The files' folder, the folder above (`data/`), or one file.

    Raises:
        UserError: If the file does not exist, or columns are missing.
    """

    def __init__(self, path: Path) -> None:
        # Here, not above: listing datasets need not wait for it.
        from pyarrow import ArrowException, parquet

        places = [path] if path.is_file() else [path, path / "data"]
        self._files = [
            file
            for place in places
            for file in ([place] if place.is_file() else sorted(place.glob("*")))
            if file.suffix == ".parquet" and file.name.startswith("validation")
        ]
        if not self._files:
            raise UserError("found no file validation-*.parquet, here or in data/")
        problems = []
        self._count = 0
        for file in self._files:
            try:
                table = parquet.ParquetFile(file)
            except (OSError, ArrowException) as error:
                problems.append(f"{file.name}: {error}")
                continue
            missing = {"image", "label"} - set(table.schema_arrow.names)
            if missing:
                problems.append(f"{file.name} lacks {', '.join(sorted(missing))}")
            self._count += table.metadata.num_rows
        if problems:
            raise UserError("; ".join(problems))

    def __len__(self) -> int:
        return self._count

    def __iter__(self) -> Iterator[Item]:
        from pyarrow import parquet

        number = 0
        for file in self._files:
            table = parquet.ParquetFile(file)
            for batch in table.iter_batches(64, columns=["image", "label"]):
                for row in batch.to_pylist():
                    found: list[int] = row["label"] or []
                    labels = tuple(dict.fromkeys(found))
                    content = (row["image"] or {}).get("bytes")
                    if not content:
                        raise UserError(f"row {number} holds no encoded image")
                    if not labels or not all(0 <= i < NUM_CLASSES for i in labels):
                        raise UserError(
                            f"row {number} has the labels {labels}, wanted one or more "
                            f"of 0 to {NUM_CLASSES - 1}"
                        )
                    yield Item(f"validation/{number:05}", content, labels[0], labels)
                    number += 1


def read_hard(path: Path, config: str, split: str) -> HardRecords:
    """ImageNet-Hard; see `HardRecords`."""
    return HardRecords(path)
