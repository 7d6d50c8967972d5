"""ImageNet's validation images, and the datasets that are made of them.

The official archive is flat, and the names of its files give the label only together
with the challenge's ground truth, which lies in `classes/imagenet_validation.npz`. All
these datasets call an image by that name (`ILSVRC2012_val_00000293.JPEG`), so that
their rows pair up.
"""

import json
import re
from collections.abc import Iterable, Iterator
from functools import cache
from pathlib import Path

import numpy as np

from jaxbench.data.known.base import Item
from jaxbench.data.known.imagenet_classes import (
    CLASSES_FOLDER,
    NUM_CLASSES,
    labels_by_wordnet_id,
    wordnet_ids,
)
from jaxbench.data.known.reading import (
    ListedImage,
    Listing,
    folders,
    inner_root,
    inside,
    join,
    named,
    readable_tree,
)
from jaxbench.data.sources.tfds import (
    TfdsSource,
    prepared_versions,
    read_split,
)
from jaxbench.data.sources.trees import Tree
from jaxbench.errors import UserError

NUM_IMAGES = 50_000
ARCHIVE = "ILSVRC2012_img_val.tar"
# Stylized-ImageNet holds the same names with .png.
_NAME = re.compile(r"ILSVRC2012_val_(\d{8})\.(JPEG|png)")

# Corruption to the archive of ImageNet-C that holds it.
CORRUPTION_ARCHIVES = {
    "gaussian_noise": "noise",
    "shot_noise": "noise",
    "impulse_noise": "noise",
    "defocus_blur": "blur",
    "glass_blur": "blur",
    "motion_blur": "blur",
    "zoom_blur": "blur",
    "snow": "weather",
    "frost": "weather",
    "fog": "weather",
    "brightness": "weather",
    "contrast": "digital",
    "elastic_transform": "digital",
    "pixelate": "digital",
    "jpeg_compression": "digital",
    "speckle_noise": "extra",
    "gaussian_blur": "extra",
    "spatter": "extra",
    "saturate": "extra",
}


def image_name(number: int) -> str:
    """The official name of validation image 1 to 50,000."""
    return f"ILSVRC2012_val_{number:08}.JPEG"


@cache
def validation_labels() -> np.ndarray:
    """The challenge's label of each validation image in the order of names, [50000]."""
    with np.load(CLASSES_FOLDER / "imagenet_validation.npz") as file:
        labels = file["labels"].astype(np.int32)
    labels.flags.writeable = False
    return labels


def image_label(name: str) -> int | None:
    """The ground truth of a validation image by its official name; None if unknown."""
    match = _NAME.fullmatch(name)
    number = int(match[1]) if match else 0
    if not 1 <= number <= NUM_IMAGES:
        return None
    return int(validation_labels()[number - 1])


def read_validation(path: Path, config: str, split: str) -> Listing:
    """The validation images: the official tar, a flat folder, or one a class.

    Raises:
        UserError: If names are others than the official ones, or an image lies in the
            folder of another class than the ground truth says.
    """
    with readable_tree(_own_archive(path)) as (tree, prefix):
        return Listing(tree, _validation_images(tree, prefix))


def _own_archive(path: Path) -> Path:
    """The official archive in a folder, or the folder."""
    archive = path / ARCHIVE
    return archive if archive.is_file() else path


def _validation_images(tree: Tree, prefix: str) -> list[ListedImage]:
    """Every image under a folder, flat or in class folders, by name."""
    root = inner_root(tree, inside(tree, prefix, "val"), labels_by_wordnet_id())
    found = [(join(root, file), "") for file in tree.files(root)]
    strange_folders = []
    for folder in folders(tree, root):
        if folder in labels_by_wordnet_id():
            found += [(path, folder) for path in tree.images(join(root, folder))]
        else:
            strange_folders.append(folder)
    problems = []
    if strange_folders:
        problems.append(f"no classes are {named('folder', strange_folders)}")
    images, strangers, misplaced = _labelled(found)
    if strangers:
        problems.append(f"no validation images are {named('file', strangers)}")
    if misplaced:
        problems.append(
            f"in the folder of another class lies {named('file', misplaced)}"
        )
    if not found:
        problems.append(
            "found no image and no folder of ImageNet's classes (n01440764, ...)"
        )
    if problems:
        raise UserError("; ".join(problems))
    return sorted(images)


def _labelled(
    found: list[tuple[str, str]],
) -> tuple[list[ListedImage], list[str], list[str]]:
    """Images with their labels, files of other names, and files in wrong folders."""
    images, strangers, misplaced = [], [], []
    wnids = wordnet_ids()
    for path, folder in found:
        name = path.rpartition("/")[2]
        label = image_label(name)
        if label is None:
            strangers.append(path)
        elif folder and folder != wnids[label]:
            misplaced.append(f"{path} (of {wnids[label]})")
        else:
            official = name.removesuffix(".png").removesuffix(".JPEG") + ".JPEG"
            images.append(ListedImage(official, path, label))
    return images, strangers, misplaced


def read_real(path: Path, config: str, split: str) -> Listing:
    """The validation images with the reassessed labels of `real.json`.

    Images for which no label was found right are left out.

    Raises:
        UserError: As `read_validation`; or if `real.json` is missing or malformed.
    """
    with readable_tree(path) as (tree, prefix):
        sets = _reassessed(_text(tree, join(prefix, "real.json")))
    return _with_sets(path, sets)


def _with_sets(path: Path, sets: dict[str, tuple[int, ...]]) -> Listing:
    with readable_tree(_own_archive(path)) as (tree, prefix):
        images = _validation_images(tree, prefix)
    return Listing(
        tree, [i._replace(labels=sets[i.id]) for i in images if sets.get(i.id)]
    )


def _reassessed(text: str) -> dict[str, tuple[int, ...]]:
    try:
        sets = [tuple(map(int, labels)) for labels in json.loads(text)]
    except (ValueError, TypeError) as error:
        raise UserError(
            f"real.json is not a list of lists of labels: {error}"
        ) from error
    outside = sorted({i for s in sets for i in s if not 0 <= i < NUM_CLASSES})
    if len(sets) != NUM_IMAGES or outside:
        raise UserError(
            f"real.json has {len(sets)} lists, wanted {NUM_IMAGES}, one an image, of "
            f"labels 0 to {NUM_CLASSES - 1} (others: {outside[:5] or 'none'})"
        )
    return {image_name(i): labels for i, labels in enumerate(sets, start=1)}


def read_annotators(path: Path, config: str, split: str) -> Listing:
    """The validation images with the labels that 16 networks gave (ImageNet-PI).

    Raises:
        UserError: As `read_validation`; or if `labels/validation.csv` is missing,
            malformed or names unknown files.
    """
    with readable_tree(path) as (tree, prefix):
        text = _text(tree, join(prefix, "labels/validation.csv"))
    sets, wrong = {}, []
    for line in text.splitlines():
        name, *labels = line.split(",")
        known = _NAME.fullmatch(name) and len(labels) == 16
        if not known or not all(_is_label(label) for label in labels):
            wrong.append(line)
            continue
        sets[name] = tuple(sorted(set(map(int, labels))))
    if wrong or not sets:
        raise UserError(
            f"labels/validation.csv: {len(wrong)} lines are not a validation image's "
            f"name with 16 labels: {'; '.join(wrong[:3]) or 'it is empty'}"
        )
    return _with_sets(path, sets)


def _is_label(text: str) -> bool:
    return text.strip().isdecimal() and int(text) < NUM_CLASSES


def _text(tree: Tree, path: str) -> str:
    try:
        return tree.read(path).decode()
    except (OSError, KeyError, UnicodeDecodeError) as error:
        raise UserError(f"{path} cannot be read ({error!r})") from error


def read_corrupted(path: Path, config: str, split: str) -> Iterable[Item]:
    """ImageNet-C: its folders or archives, or what TFDS prepared.

    Raises:
        UserError: If the corruption or severity is not there, or files are wrong.
    """
    corruption, _, severity = config.rpartition("_")
    if version := _tfds_version(path, config):
        return CorruptedRecords(read_split(version, "validation", str(version)))
    archive = path / f"{CORRUPTION_ARCHIVES[corruption]}.tar"
    if archive.is_file() and not (path / corruption).is_dir():
        path = archive
    with readable_tree(path) as (tree, prefix):
        root = inner_root(tree, prefix, CORRUPTION_ARCHIVES)
        for wanted in (corruption, severity):
            found = folders(tree, root)
            if wanted not in found:
                raise UserError(
                    f"found no folder {wanted!r} but {named('folder', found)}; leave "
                    "out what is not there: --config 'NAME_*'"
                )
            root = join(root, wanted)
        if not folders(tree, root):
            raise UserError(f"{root} holds no folder of ImageNet's classes")
        return Listing(tree, _validation_images(tree, root))


def _tfds_version(path: Path, config: str) -> Path | None:
    """The newest version of a config that TFDS has prepared, if that is what it is."""
    here = [path] if path.parent.name == config else []
    versions = [
        *(version for version in here if (version / "dataset_info.json").is_file()),
        *(prepared_versions(path) if path.name == config else []),
        *prepared_versions(path / config),
        *prepared_versions(path / "imagenet2012_corrupted" / config),
    ]
    return versions[-1] if versions else None


class CorruptedRecords:
    """A prepared config of TFDS's `imagenet2012_corrupted`, in the order of names."""

    def __init__(self, records: TfdsSource) -> None:
        self._records = records
        self._order = np.argsort(records.ids)
        names = [records.ids[i] for i in self._order]
        found = [(name, "") for name in names]
        images, strangers, _ = _labelled(found)
        if strangers:
            raise UserError(f"no validation images are {named('file', strangers)}")
        theirs = records.labels[self._order]
        ours = np.array([image.label for image in images], np.int32)
        if records.class_names != wordnet_ids() or (theirs != ours).any():
            raise UserError("its classes or labels are not those of ImageNet-1k")
        self._images = images
        self.classes = set(ours.tolist())

    def __len__(self) -> int:
        return len(self._images)

    def __iter__(self) -> Iterator[Item]:
        for position, image in zip(self._order, self._images, strict=True):
            content = self._records[int(position)].image
            yield Item(image.id, content, image.label)
