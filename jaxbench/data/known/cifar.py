"""CIFAR-10 and CIFAR-100, their new test set and their corrupted test sets."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from jaxbench.data.known.arrays_io import (
    Part,
    Rows,
    as_it_is,
    label_problems,
    load_npy,
    load_pickle,
    planes,
    texts,
)
from jaxbench.data.known.base import KnownDataset
from jaxbench.data.known.class_lists import class_list
from jaxbench.data.known.files import (
    Files,
    find_root,
    found_names,
    open_files,
    root_of,
)
from jaxbench.data.known.reading import join
from jaxbench.errors import UserError

# The file names of CIFAR-10-C and CIFAR-100-C: 15 of the benchmark, 4 for validation.
CORRUPTIONS = (
    "gaussian_noise",
    "shot_noise",
    "impulse_noise",
    "defocus_blur",
    "glass_blur",
    "motion_blur",
    "zoom_blur",
    "snow",
    "frost",
    "fog",
    "brightness",
    "contrast",
    "elastic_transform",
    "pixelate",
    "jpeg_compression",
    "speckle_noise",
    "gaussian_blur",
    "spatter",
    "saturate",
)
_SEVERITIES = 5
_PIXELS = 3 * 32 * 32
_TEST = 10_000

cifar10_classes = partial(class_list, "cifar10")
cifar100_classes = partial(class_list, "cifar100")


@dataclass(frozen=True)
class _Layout:
    """How the files of a dataset are called, and what is in them.

    Attributes:
        classes: Name of the list of class names.
        batches: Split to its files, without a suffix.
        labels: Key of the labels in the pickles.
        label_bytes: Bytes before the pixels of a binary record; the last is the label.
        meta: File of the pickles with the names of the classes, and the key there.
        names: File of the binary version with the names, one a line.
        corrupted: The folder of the corrupted test sets.
    """

    classes: str
    batches: Mapping[str, tuple[str, ...]]
    labels: str
    label_bytes: int
    meta: tuple[str, str]
    names: str
    corrupted: str


_CIFAR10 = _Layout(
    "cifar10",
    {
        "train": tuple(f"data_batch_{i}" for i in range(1, 6)),
        "test": ("test_batch",),
    },
    labels="labels",
    label_bytes=1,
    meta=("batches.meta", "label_names"),
    names="batches.meta.txt",
    corrupted="CIFAR-10-C",
)
_CIFAR100 = _Layout(
    "cifar100",
    {"train": ("train",), "test": ("test",)},
    labels="fine_labels",
    label_bytes=2,
    meta=("meta", "fine_label_names"),
    names="fine_label_names.txt",
    corrupted="CIFAR-100-C",
)


def _read_batches(layout: _Layout, path: Path, config: str, split: str) -> Rows:
    """Rows of the python version, or of the binary one."""
    tree = open_files(path)
    pickles = layout.batches[split]
    binaries = tuple(f"{name}.bin" for name in pickles)
    binary = False
    root = find_root(tree, pickles)
    if root is None:
        root, binary = find_root(tree, binaries), True
    if root is None:
        raise UserError(
            f"expected the files {', '.join(pickles)}, or {', '.join(binaries)} of the "
            f"binary version, and found {found_names(tree)}"
        )
    parts, problems = [], _meta_problems(layout, tree, root, binary)
    for name in pickles:
        file = f"{name}.bin" if binary else name
        place = join(root, file)
        if not tree.has_file(place):
            problems.append(f"{file} is missing beside the others")
            continue
        try:
            read = _binary_part if binary else _pickled_part
            parts.append(read(layout, name, tree.array(place)))
        except (OSError, ValueError) as error:
            problems.append(f"{file}: {error}")
    if problems:
        raise UserError("; ".join(problems))
    return Rows(parts, planes)


def _pickled_part(layout: _Layout, name: str, content: np.ndarray) -> Part:
    batch = load_pickle(content.tobytes())
    missing = [key for key in ("data", layout.labels) if key not in batch]
    if missing:
        raise ValueError(
            f"holds {', '.join(sorted(batch)) or 'nothing'}, wanted data and "
            f"{layout.labels}"
        )
    images = batch["data"]
    if not isinstance(images, np.ndarray) or images.dtype != np.uint8:
        raise ValueError(f"data is {_kind(images)}, wanted uint8 [N, {_PIXELS}]")
    if images.ndim != 2 or images.shape[1] != _PIXELS:
        raise ValueError(f"data is {_kind(images)}, wanted uint8 [N, {_PIXELS}]")
    labels = np.asarray(batch[layout.labels])
    return _checked(layout, Part(name, images, labels))


def _binary_part(layout: _Layout, name: str, content: np.ndarray) -> Part:
    size = layout.label_bytes + _PIXELS
    if len(content) % size or not len(content):
        raise ValueError(
            f"{len(content)} bytes are not a whole number of records of {size}; is it "
            "cut short?"
        )
    records = content.reshape(-1, size)
    labels = records[:, layout.label_bytes - 1]
    return _checked(layout, Part(name, records[:, layout.label_bytes :], labels))


def _checked(layout: _Layout, part: Part) -> Part:
    highest = len(class_list(layout.classes)) - 1
    problems = label_problems(part.labels, len(part.images), 0, highest)
    if problems:
        raise ValueError("; ".join(problems))
    return part


def _meta_problems(layout: _Layout, tree: Files, root: str, binary: bool) -> list[str]:
    """What the file of class names says against ours; it may be missing."""
    file, key = (layout.names, "") if binary else layout.meta
    if not tree.has_file(join(root, file)):
        return []
    try:
        content = tree.read(join(root, file))
        if binary:
            found = tuple(content.decode("latin1").split())
        else:
            found = texts(load_pickle(content).get(key, ()))
    except (OSError, ValueError) as error:
        return [f"{file}: {error}"]
    wanted = class_list(layout.classes)
    if found == wanted:
        return []
    return [
        f"{file} has the {len(found)} classes {', '.join(found[:5])}, ..., wanted the "
        f"{len(wanted)} classes {', '.join(wanted[:5])}, ..."
    ]


def _kind(value: Any) -> str:
    if isinstance(value, np.ndarray):
        return f"{value.dtype} {list(value.shape)}"
    return f"a {type(value).__name__}"


def _read_new_test(path: Path, config: str, split: str) -> Rows:
    """CIFAR-10.1: one file of images and one of labels a version."""
    files = [f"cifar10.1_{config}_{what}.npy" for what in ("data", "labels")]
    images, labels = _load_arrays(path, files)
    problems = _image_problems(files[0], images)
    problems += [
        f"{files[1]}: {problem}"
        for problem in label_problems(labels, len(images), 0, 9)
    ]
    if problems:
        raise UserError("; ".join(problems))
    return Rows([Part(config, images, labels)], as_it_is)


def _read_corrupted(layout: _Layout, path: Path, config: str, split: str) -> Rows:
    """One severity of one corruption: the rows of the clean test set, in its order."""
    corruption, _, severity = config.rpartition("_")
    files = [f"{corruption}.npy", "labels.npy"]
    images, labels = _load_arrays(path, files, called=(layout.corrupted,))
    problems = _image_problems(files[0], images)
    num_classes = len(class_list(layout.classes))
    found = label_problems(labels, len(images), 0, num_classes - 1)
    count = len(images) // _SEVERITIES
    if len(images) % _SEVERITIES or not count:
        problems.append(
            f"{files[0]}: {len(images)} images, wanted as many of each of the "
            f"{_SEVERITIES} severities"
        )
    elif not found and (labels.reshape(_SEVERITIES, count) != labels[:count]).any():
        found = [f"wanted the same {count} labels {_SEVERITIES} times"]
    elif not found and count == _TEST and len(np.unique(labels)) < num_classes:
        # The files of CIFAR-10-C and CIFAR-100-C are called alike.
        found = [f"{len(np.unique(labels))} classes, wanted {num_classes}"]
    problems += [f"{files[1]}: {problem}" for problem in found]
    if problems:
        raise UserError("; ".join(problems))
    start = (int(severity) - 1) * count
    rows = slice(start, start + count)
    # The clean images' ids: what is compared image by image must be found again.
    (clean,) = layout.batches["test"]
    return Rows([Part(clean, images[rows], labels[rows])], as_it_is)


def _load_arrays(
    path: Path, files: list[str], *, called: tuple[str, ...] = ()
) -> list[np.ndarray]:
    tree = open_files(path)
    root = root_of(tree, files, called=called)
    arrays, problems = [], []
    for file in files:
        try:
            if not tree.has_file(join(root, file)):
                raise ValueError(f"is missing; found {found_names(tree, root)}")
            arrays.append(load_npy(tree.array(join(root, file))))
        except (OSError, ValueError) as error:
            problems.append(f"{file}: {error}")
    if problems:
        raise UserError("; ".join(problems))
    return arrays


def _image_problems(file: str, images: np.ndarray) -> list[str]:
    if (
        images.dtype == np.uint8
        and images.ndim == 4
        and images.shape[1:] == (32, 32, 3)
    ):
        return []
    return [f"{file}: {_kind(images)}, wanted uint8 [N, 32, 32, 3]"]


_CONFIGS = tuple(f"{c}_{s}" for c in CORRUPTIONS for s in range(1, _SEVERITIES + 1))
_KRIZHEVSKY = "https://www.cs.toronto.edu/~kriz/learning-features-2009-TR.pdf"
_CORRUPTED_LAYOUT = (
    "one file CORRUPTION.npy each, uint8 [50000, 32, 32, 3] with the 10,000 images of "
    "severity 1 first and of 5 last, and labels.npy [50000]."
)

ROWS: dict[str, KnownDataset] = {
    "cifar10": KnownDataset(
        "Small photographs of 10 classes of animals and vehicles, 32x32: 50,000 to "
        "train on and 10,000 to test.",
        licence="unknown",
        obtain="cifar-10-python.tar.gz or cifar-10-binary.tar.gz from "
        "https://www.cs.toronto.edu/~kriz/cifar.html",
        reference=_KRIZHEVSKY,
        layout="cifar-10-python.tar.gz or cifar-10-binary.tar.gz, or their folder: "
        "data_batch_1 to data_batch_5 and test_batch, pickled, or with .bin behind.",
        num_examples={"train": 50_000, "test": 10_000},
        class_names=cifar10_classes,
        read=partial(_read_batches, _CIFAR10),
        sources={"cifar10.txt": "batches.meta.txt of the binary version"},
    ),
    "cifar100": KnownDataset(
        "Small photographs of 100 classes, 32x32: 50,000 to train on and 10,000 to "
        "test. Labels are the fine ones.",
        licence="unknown",
        obtain="cifar-100-python.tar.gz or cifar-100-binary.tar.gz from "
        "https://www.cs.toronto.edu/~kriz/cifar.html",
        reference=_KRIZHEVSKY,
        layout="cifar-100-python.tar.gz or cifar-100-binary.tar.gz, or their folder: "
        "train and test, pickled, or with .bin behind.",
        num_examples={"train": 50_000, "test": 10_000},
        class_names=cifar100_classes,
        read=partial(_read_batches, _CIFAR100),
        sources={
            "cifar100.txt": "fine_label_names.txt of the binary version, alphabetical"
        },
    ),
    "cifar10.1": KnownDataset(
        "A new test set of CIFAR-10, collected as the first was: version v4 with "
        "2,021 images, v6 with 2,000 and classes of one size.",
        licence="MIT, of the repository; of the images unknown",
        obtain="cifar10.1_v6_data.npy and cifar10.1_v6_labels.npy (or v4) in datasets/ "
        "of https://github.com/modestyachts/CIFAR-10.1",
        reference="https://arxiv.org/abs/1806.00451",
        layout="a folder with cifar10.1_VERSION_data.npy, uint8 [N, 32, 32, 3], and "
        "cifar10.1_VERSION_labels.npy [N].",
        num_examples={"v4": 2_021, "v6": 2_000},
        class_names=cifar10_classes,
        read=_read_new_test,
        configs=("v4", "v6"),
        role="shifted",
    ),
    "cifar10-c": KnownDataset(
        "The 10,000 test images of CIFAR-10 under 19 corruptions of 5 severities; 15 "
        "are the benchmark's, the last 4 are for validation.",
        licence="CC BY 4.0",
        obtain="CIFAR-10-C.tar from https://zenodo.org/records/2535967",
        reference="https://arxiv.org/abs/1903.12261",
        layout=f"CIFAR-10-C.tar, or its folder: {_CORRUPTED_LAYOUT}",
        num_examples={"test": 10_000},
        class_names=cifar10_classes,
        read=partial(_read_corrupted, _CIFAR10),
        configs=_CONFIGS,
        role="shifted",
    ),
    "cifar100-c": KnownDataset(
        "The 10,000 test images of CIFAR-100 under 19 corruptions of 5 severities; 15 "
        "are the benchmark's, the last 4 are for validation.",
        licence="CC BY 4.0",
        obtain="CIFAR-100-C.tar from https://zenodo.org/records/3555552",
        reference="https://arxiv.org/abs/1903.12261",
        layout=f"CIFAR-100-C.tar, or its folder: {_CORRUPTED_LAYOUT}",
        num_examples={"test": 10_000},
        class_names=cifar100_classes,
        read=partial(_read_corrupted, _CIFAR100),
        configs=_CONFIGS,
        role="shifted",
    ),
}
