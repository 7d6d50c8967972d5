"""SVHN, STL-10, Flowers-102, DTD and Places365: sets of their own classes."""

from functools import partial
from pathlib import Path

import numpy as np

from jaxbench.data.known.arrays_io import Part, Rows, as_it_is, label_problems
from jaxbench.data.known.base import KnownDataset
from jaxbench.data.known.class_lists import class_list
from jaxbench.data.known.files import (
    Files,
    all_there,
    found_names,
    open_files,
    root_of,
)
from jaxbench.data.known.matlab import load_mat
from jaxbench.data.known.reading import ListedImage, Listing, join, named
from jaxbench.errors import UserError

_STL_SIDE = 96
_FLOWERS = {"train": "trnid", "validation": "valid", "test": "tstid"}
_DTD = {"train": "train1.txt", "validation": "val1.txt", "test": "test1.txt"}


def digits() -> tuple[str, ...]:
    """The names of SVHN's classes, "0" to "9"."""
    return tuple(map(str, range(10)))


def load_mats(
    tree: Files, root: str, wanted: dict[str, list[str]]
) -> dict[str, np.ndarray]:
    """Arrays of MAT-files.

    Args:
        tree: Where the files are.
        root: Their folder.
        wanted: File to the names of the arrays that it must have.

    Raises:
        UserError: If files or arrays are missing or damaged: all of them are named.
    """
    arrays: dict[str, np.ndarray] = {}
    problems = []
    for file, names in wanted.items():
        place = join(root, file)
        if not tree.has_file(place):
            problems.append(f"{file} is missing; found {found_names(tree, root)}")
            continue
        try:
            found = load_mat(tree.array(place), names)
        except (OSError, ValueError) as error:
            problems.append(f"{file}: {error}")
            continue
        missing = [name for name in names if name not in found]
        if missing:
            problems.append(f"{file} lacks {named('array', missing)}")
        arrays |= found
    if problems:
        raise UserError("; ".join(problems))
    return arrays


def _read_svhn(path: Path, config: str, split: str) -> Rows:
    """Cropped digits: X [32, 32, 3, N], and y [N, 1] with 10 for the digit 0."""
    file = f"{split}_32x32.mat"
    tree = open_files(path)
    arrays = load_mats(tree, root_of(tree, [file]), {file: ["X", "y"]})
    images, labels = arrays["X"], arrays["y"].ravel()
    problems = []
    shape = images.shape
    if images.dtype != np.uint8 or images.ndim != 4 or shape[:3] != (32, 32, 3):
        problems.append(
            f"X is {images.dtype} {list(shape)}, wanted uint8 [32, 32, 3, N]"
        )
    # Doubles are what MATLAB holds labels in.
    with np.errstate(invalid="ignore"):
        whole = labels.astype(np.int64)
    if (whole != labels).any():
        problems.append("y holds numbers that are not whole")
    problems += [f"y: {p}" for p in label_problems(whole, shape[-1], 1, 10)]
    if problems:
        raise UserError("; ".join(f"{file}: {problem}" for problem in problems))
    part = Part(split, np.moveaxis(images, -1, 0), whole % 10)
    return Rows([part], as_it_is, digits=6)


def _columns(row: np.ndarray) -> np.ndarray:
    """Pixels of an STL-10 row: three planes, each column by column."""
    return row.reshape(3, _STL_SIDE, _STL_SIDE).transpose(2, 1, 0)


def _read_stl10(path: Path, config: str, split: str) -> Rows:
    tree = open_files(path)
    root = root_of(tree, [f"{split}_X.bin"])
    images = tree.array(join(root, f"{split}_X.bin"))
    size = 3 * _STL_SIDE**2
    problems = []
    if len(images) % size or not len(images):
        problems.append(
            f"{split}_X.bin: {len(images)} bytes are not a whole number of images of "
            f"{size}; is it cut short?"
        )
    count = len(images) // size
    labels = np.full(count, -1)
    if split != "unlabeled":
        file = f"{split}_y.bin"
        if tree.has_file(join(root, file)):
            labels = tree.array(join(root, file)).astype(np.int64) - 1
            problems += [
                f"{file}: {p}" for p in label_problems(labels + 1, count, 1, 10)
            ]
        else:
            problems.append(f"{file} is missing; found {found_names(tree, root)}")
    names = join(root, "class_names.txt")
    if tree.has_file(names):
        found = tuple(tree.read(names).decode("latin1").split())
        if found != class_list("stl10"):
            problems.append(f"class_names.txt: its classes are {', '.join(found)}")
    if problems:
        raise UserError("; ".join(problems))
    rows = images[: count * size].reshape(count, size)
    return Rows([Part(split, rows, labels)], _columns, digits=6)


def _read_flowers(path: Path, config: str, split: str) -> Listing:
    """The images that `setid.mat` lists for a split, in its order."""
    tree = open_files(path)
    root = root_of(tree, ["imagelabels.mat", "setid.mat"])
    chosen = _FLOWERS[split]
    wanted = {"imagelabels.mat": ["labels"], "setid.mat": [chosen]}
    arrays = load_mats(tree, root, wanted)
    labels, numbers = arrays["labels"].ravel(), arrays[chosen].ravel()
    labels, numbers = labels.astype(np.int64), numbers.astype(np.int64)
    problems = [
        f"imagelabels.mat: {problem}"
        for problem in label_problems(labels, len(labels), 1, 102)
    ]
    problems += [
        f"setid.mat: {problem}"
        for problem in label_problems(numbers, len(numbers), 1, len(labels))
    ]
    if problems:
        raise UserError("; ".join(problems))
    images, folder = _beside(tree, path, root, "jpg", "102flowers.tgz")
    listed = []
    for number in numbers.tolist():
        name = f"image_{number:05}.jpg"
        label = int(labels[number - 1]) - 1
        listed.append(ListedImage(f"jpg/{name}", join(folder, name), label))
    return all_there(images, listed)


def _beside(
    tree: Files, path: Path, root: str, folder: str, archive: str
) -> tuple[Files, str]:
    """Where images lie: in a folder beside other files, or in a tar beside them.

    Returns:
        A tree, and the folder in it.
    """
    if tree.has_folder(join(root, folder)):
        return tree, join(root, folder)
    if path.is_dir() and tree.has_file(join(root, archive)):
        inner = open_files(path / root / archive)
        return inner, join(root_of(inner, folders=[folder]), folder)
    raise UserError(f"expected {folder}/ or {archive}, found {found_names(tree, root)}")


def _read_dtd(path: Path, config: str, split: str) -> Listing:
    """The images of the first of ten partitions, in the order of its list."""
    tree = open_files(path)
    file = f"labels/{_DTD[split]}"
    root = root_of(tree, [file])
    number = {name: label for label, name in enumerate(class_list("dtd"))}
    lines = tree.read(join(root, file)).decode("latin1").split()
    strangers = sorted({line.partition("/")[0] for line in lines} - set(number))
    if strangers:
        raise UserError(f"{file}: {named('class', strangers)} is none of the 47")
    listed = [
        ListedImage(line, join(root, f"images/{line}"), number[line.partition("/")[0]])
        for line in lines
    ]
    return all_there(tree, listed)


def _read_places(path: Path, config: str, split: str) -> Listing:
    """The validation images, in the order of their list of labels."""
    tree = open_files(path)
    root = root_of(tree, ["places365_val.txt"])
    lines = tree.read(join(root, "places365_val.txt")).decode("latin1").splitlines()
    rows = [line.split() for line in lines if line.strip()]
    wrong = [
        " ".join(row)
        for row in rows
        if len(row) != 2 or not row[1].isdecimal() or int(row[1]) > 364
    ]
    if wrong:
        raise UserError(
            f"places365_val.txt: {len(wrong)} lines are not a name and label 0 to 364, "
            f"the first {wrong[0]!r}"
        )
    images, folder = _beside(tree, path, root, "val_256", "val_256.tar")
    listed = [ListedImage(name, join(folder, name), int(label)) for name, label in rows]
    return all_there(images, listed)


ROWS: dict[str, KnownDataset] = {
    "svhn": KnownDataset(
        "House numbers of Google Street View, cropped to one digit, 32x32: 73,257 to "
        "train on, 26,032 to test, 531,131 easier ones beside.",
        licence="non-commercial use only",
        obtain="train_32x32.mat, test_32x32.mat and, if wanted, extra_32x32.mat from "
        "http://ufldl.stanford.edu/housenumbers",
        reference="http://ufldl.stanford.edu/housenumbers/nips2011_housenumbers.pdf",
        layout="a folder with SPLIT_32x32.mat of each split asked for: MAT-files of "
        "version 5 with X, uint8 [32, 32, 3, N], and y [N, 1], where 10 is digit 0.",
        num_examples={"train": 73_257, "test": 26_032, "extra": 531_131},
        class_names=digits,
        read=_read_svhn,
        role="ood",
    ),
    "stl10": KnownDataset(
        "Photographs of 10 classes of animals and vehicles from ImageNet, 96x96: 5,000 "
        "to train on, 8,000 to test, and 100,000 of these and other classes without "
        "labels.",
        licence="unknown",
        obtain="stl10_binary.tar.gz from https://cs.stanford.edu/~acoates/stl10",
        reference="https://proceedings.mlr.press/v15/coates11a.html",
        layout="stl10_binary.tar.gz, or its folder: SPLIT_X.bin, three planes of 96x96 "
        "an image, each column by column, and SPLIT_y.bin with labels 1 to 10.",
        num_examples={"train": 5_000, "test": 8_000, "unlabeled": 100_000},
        class_names=partial(class_list, "stl10"),
        read=_read_stl10,
        sources={"stl10.txt": "class_names.txt of the archive"},
    ),
    "flowers102": KnownDataset(
        "Photographs of 102 kinds of flowers: 1,020 to train on, 1,020 to validate, "
        "6,149 to test.",
        licence="unknown",
        obtain="102flowers.tgz, imagelabels.mat and setid.mat from "
        "https://www.robots.ox.ac.uk/~vgg/data/flowers/102",
        reference="https://www.robots.ox.ac.uk/~vgg/publications/2008/Nilsback08/",
        layout="a folder with imagelabels.mat, setid.mat, and 102flowers.tgz or its "
        "folder jpg/ with image_00001.jpg to image_08189.jpg.",
        num_examples={"train": 1_020, "validation": 1_020, "test": 6_149},
        class_names=partial(class_list, "flowers102"),
        read=_read_flowers,
        sources={"flowers102.txt": "names of TFDS's oxford_flowers102, version 2.1.1"},
    ),
    "dtd": KnownDataset(
        "Describable Textures: 47 kinds of textures, the first of ten partitions: "
        "1,880 each to train on, to validate and to test.",
        licence="for research purposes",
        obtain="dtd-r1.0.1.tar.gz from https://www.robots.ox.ac.uk/~vgg/data/dtd",
        reference="https://arxiv.org/abs/1311.3618",
        layout="dtd-r1.0.1.tar.gz, or its folder: images/CLASS/*.jpg, and "
        "labels/train1.txt, labels/val1.txt, labels/test1.txt.",
        num_examples={"train": 1_880, "validation": 1_880, "test": 1_880},
        class_names=partial(class_list, "dtd"),
        read=_read_dtd,
        sources={"dtd.txt": "the folders of images/, sorted"},
    ),
    "places365": KnownDataset(
        "Photographs of 365 kinds of scenes: the 36,500 of the validation set.",
        licence="non-commercial research and education",
        obtain="val_256.tar and filelist_places365-standard.tar (for "
        "places365_val.txt) from http://places2.csail.mit.edu/download.html",
        reference="http://places2.csail.mit.edu/PAMI_places.pdf",
        layout="a folder with places365_val.txt, and val_256.tar or its folder "
        "val_256/ with Places365_val_00000001.jpg and so on.",
        num_examples={"validation": 36_500},
        class_names=partial(class_list, "places365"),
        read=_read_places,
        default_split="validation",
        role="ood",
        sources={
            "places365.txt": "categories_places365.txt, without the first letter's "
            "folder and the number, as TFDS 4.9.10 has it"
        },
    ),
}
