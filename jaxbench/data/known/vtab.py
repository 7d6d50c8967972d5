"""The 19 tasks of VTAB, the Visual Task Adaptation Benchmark, as TFDS has them.

Zhai et al. 2019: https://arxiv.org/abs/1910.04867. Its short form, VTAB-1k, trains on
800 images and validates on 200, or trains on these 1,000 at the end, and tests on all
test images. Splits and labels are those of its code,
https://github.com/google-research/task_adaptation.

TFDS prepares these datasets: `vtab/TASK@SPLIT` opens, and counts, what `tfds build NAME
--file_format=array_record` has written. Seven tasks make their labels out of other
features; `VtabTask.label` says how.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from jaxbench.data.known.base import Item, KnownDataset, NotPreparedError
from jaxbench.data.sources.tfds import data_dir, prepared_versions
from jaxbench.errors import UserError, unknown_name

_TRAIN, _VALIDATION = 800, 200


@dataclass(frozen=True)
class VtabTask:
    """One task.

    Attributes:
        group: "natural", "specialized" or "structured".
        dataset: TFDS's NAME or NAME/CONFIG.
        num_classes: How many there are.
        num_test: Images of the test split.
        splits: Split of VTAB-1k to the same in TFDS's syntax: train800, val200, both
            together as train800val200, and test.
        licence: Of the images; "unknown" where none is stated.
        target: What the label says.
        label: Makes the label of a TFDS record; None where it is the record's `label`.
        image: What becomes of the record's `image`, if it is not taken as it is.
    """

    group: str
    dataset: str
    num_classes: int
    num_test: int
    splits: Mapping[str, str]
    licence: str
    target: str
    label: Callable[[Mapping[str, Any]], int] | None = None
    image: str = ""

    def address(self, split: str) -> str:
        """The address of a split: `tfds:NAME/CONFIG@SPLIT`.

        Raises:
            UserError: If the split is unknown, or the labels must be made first: the
                message says how.
        """
        if split not in self.splits:
            raise UserError(unknown_name("split of VTAB", split, self.splits))
        where = f"{self.dataset}@{self.splits[split]}"
        if self.label is None:
            return f"tfds:{where}"
        image = f" {self.image}." if self.image else ""
        raise UserError(
            f"tfds:{where} has no label of its own for this task ({self.target}). Read "
            "the records with tfds.data_source, let `label` of the task make the label "
            f"of each, and save images and labels as a folder or .npz file.{image} "
            "folder:PATH or arrays:PATH.npz then opens them"
        )


def _of_train(count: int, test: str = "test") -> dict[str, str]:
    """Splits where validation is cut off the training split.

    Args:
        count: Images of the training split that are trained on; validation follows.
        test: The test split.
    """
    return _splits(f"train[{count}:{count + _VALIDATION}]", test)


def _splits(validation: str, test: str = "test") -> dict[str, str]:
    train = f"train[:{_TRAIN}]"
    return {
        "train800": train,
        "val200": validation,
        "train800val200": f"{train}+{validation}",
        "test": test,
    }


_OWN = _splits(f"validation[:{_VALIDATION}]")


def _bin(value: float, edges: tuple[float, ...]) -> int:
    """The last edge that is below a value."""
    return int(np.flatnonzero(np.array(edges) < value)[-1])


def _count(record: Mapping[str, Any]) -> int:
    # CLEVR's scenes have 3 to 10 objects.
    return len(record["objects"]["size"]) - 3


def _closest_object(record: Mapping[str, Any]) -> int:
    depth = np.asarray(record["objects"]["pixel_coords"])[:, 2].min()
    return _bin(depth, (0.0, 8.0, 8.5, 9.0, 9.5, 10.0, 100.0))


def _closest_vehicle(record: Mapping[str, Any]) -> int:
    objects = record["objects"]
    vehicles = np.asarray(objects["type"]) < 3  # Car, van, truck.
    depths = np.asarray(objects["location"], np.float64).reshape(-1, 3)[vehicles, 2]
    return _bin(min([*depths, 1000.0]), (-100.0, 8.0, 20.0, 999.0))


def _x_position(record: Mapping[str, Any]) -> int:
    return int(record["label_x_position"]) // 2


def _orientation(record: Mapping[str, Any]) -> int:
    return int(record["label_orientation"] // 2.5)


def _azimuth(record: Mapping[str, Any]) -> int:
    return int(record["label_azimuth"])


def _elevation(record: Mapping[str, Any]) -> int:
    return int(record["label_elevation"])


# Training and test parts of those that have one split, in TFDS's: 80, 10 and 10 % of
# dSprites' 737,280 images; the halves of small NORB's test split.
_DSPRITES = _of_train(589_824, "train[663552:]")
_NORB = _splits(f"test[:{_VALIDATION}]", "test[50%:]")
_CLEVR = _of_train(63_000, "validation")
_BINARY_PIXELS = "Pixels are 0 and 1 there: multiply them by 255"

VTAB: dict[str, VtabTask] = {
    "caltech101": VtabTask(
        "natural", "caltech101", 102, 6_084, _of_train(2_753), "CC BY 4.0", "object"
    ),
    "cifar100": VtabTask(
        "natural", "cifar100", 100, 10_000, _of_train(45_000), "unknown", "object"
    ),
    "dtd": VtabTask(
        "natural", "dtd", 47, 1_880, _OWN, "for research purposes", "texture"
    ),
    "flowers102": VtabTask(
        "natural", "oxford_flowers102", 102, 6_149, _OWN, "unknown", "flower"
    ),
    "pets": VtabTask(
        "natural",
        "oxford_iiit_pet",
        37,
        3_669,
        _of_train(2_944),
        "CC BY-SA 4.0",
        "breed",
    ),
    "svhn": VtabTask(
        "natural",
        "svhn_cropped",
        10,
        26_032,
        _of_train(65_931),
        "non-commercial use only",
        "digit",
    ),
    "sun397": VtabTask("natural", "sun397/tfds", 397, 21_750, _OWN, "unknown", "scene"),
    "patch_camelyon": VtabTask(
        "specialized",
        "patch_camelyon",
        2,
        32_768,
        _OWN,
        "CC0",
        "whether there is tumour",
    ),
    "eurosat": VtabTask(
        "specialized",
        "eurosat/rgb",
        10,
        5_400,
        _of_train(16_200, "train[21600:]"),
        "MIT",
        "land use",
    ),
    "resisc45": VtabTask(
        "specialized",
        "resisc45",
        45,
        6_300,
        _of_train(18_900, "train[25200:]"),
        "unknown",
        "land use",
    ),
    "retinopathy": VtabTask(
        "specialized",
        "diabetic_retinopathy_detection/btgraham-300",
        5,
        42_670,
        _OWN,
        "unknown",
        "severity of the retinopathy",
    ),
    "clevr_count": VtabTask(
        "structured",
        "clevr",
        8,
        15_000,
        _CLEVR,
        "CC BY 4.0",
        "number of objects, less 3",
        _count,
    ),
    "clevr_distance": VtabTask(
        "structured",
        "clevr",
        6,
        15_000,
        _CLEVR,
        "CC BY 4.0",
        "depth of the closest object, in bins that end at 8, 8.5, 9, 9.5 and 10",
        _closest_object,
    ),
    "dmlab": VtabTask(
        "structured",
        "dmlab",
        6,
        22_735,
        _OWN,
        "unknown",
        "distance and reward of the closest object",
    ),
    "kitti_distance": VtabTask(
        "structured",
        "kitti",
        4,
        711,
        _OWN,
        "CC BY-NC-SA 3.0",
        "metres to the closest car, van or truck: up to 8, up to 20, more, or none",
        _closest_vehicle,
    ),
    "dsprites_location": VtabTask(
        "structured",
        "dsprites",
        16,
        73_728,
        _DSPRITES,
        "Apache-2.0",
        "position from left to right, in 16 bins",
        _x_position,
        _BINARY_PIXELS,
    ),
    "dsprites_orientation": VtabTask(
        "structured",
        "dsprites",
        16,
        73_728,
        _DSPRITES,
        "Apache-2.0",
        "orientation, in 16 bins of 40 angles",
        _orientation,
        _BINARY_PIXELS,
    ),
    "smallnorb_azimuth": VtabTask(
        "structured",
        "smallnorb",
        18,
        12_150,
        _NORB,
        "for research purposes",
        "azimuth of the camera",
        _azimuth,
    ),
    "smallnorb_elevation": VtabTask(
        "structured",
        "smallnorb",
        9,
        12_150,
        _NORB,
        "for research purposes",
        "elevation of the camera",
        _elevation,
    ),
}


def _build(task: VtabTask) -> str:
    return f"`tfds build {task.dataset} --file_format=array_record`"


def _by_tfds(config: str, split: str) -> tuple[str, str]:
    """Path and split of a task's `tfds:` address.

    Raises:
        NotPreparedError: If TFDS has not prepared it, or its labels must be made first.
    """
    task = VTAB[config]
    try:
        task.address(split)
    except UserError as error:
        raise NotPreparedError(f"vtab/{config}@{split}: {error}") from error
    folder = data_dir() / task.dataset
    if not prepared_versions(folder):
        raise NotPreparedError(
            f"vtab/{config} is not prepared: there is nothing in {folder}. In an "
            f"environment with TensorFlow: {_build(task)} (licence: {task.licence}). "
            "Set TFDS_DATA_DIR if it is prepared elsewhere"
        )
    return task.dataset, task.splits[split]


def _nothing_to_read(path: Path, config: str, split: str) -> Iterable[Item]:
    raise UserError(
        "TFDS prepares VTAB, not this command: in an environment with TensorFlow, "
        f"{_build(VTAB[config])}"
    )


def _about(task: VtabTask) -> str:
    """What a task asks and where it comes from."""
    labels = "" if task.label is None else "; labels are to be made"
    return (
        f"{task.num_classes} classes ({task.target}); {task.num_test:,} images to "
        f"test, tfds:{task.dataset}@{task.splits['test']}{labels}; licence: "
        f"{task.licence}"
    )


ROWS: dict[str, KnownDataset] = {
    "vtab": KnownDataset(
        "VTAB, the Visual Task Adaptation Benchmark: 19 tasks, each with 800 images to "
        "train on and 200 to validate.",
        licence="of each task",
        obtain="each task's dataset in an environment with TensorFlow: tfds build NAME "
        "--file_format=array_record (resisc45 and diabetic_retinopathy_detection: from "
        "files that TFDS says where to download)",
        reference="https://arxiv.org/abs/1910.04867",
        layout="what TFDS has written under TFDS_DATA_DIR, NAME[/CONFIG]/VERSION; 7 "
        "tasks make their labels out of its records, and opening these says how.",
        num_examples={
            "train800": _TRAIN,
            "val200": _VALIDATION,
            "train800val200": _TRAIN + _VALIDATION,
            **{f"{name}@test": task.num_test for name, task in VTAB.items()},
        },
        # Each task has its own.
        class_names=tuple,
        read=_nothing_to_read,
        configs=tuple(VTAB),
        about={name: _about(task) for name, task in VTAB.items()},
        by_tfds=_by_tfds,
    )
}
