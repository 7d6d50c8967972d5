"""Accuracies and calibration errors that arXiv 2311.09215 published.

Source: the figures of the authors' project page, kirill-vish/kirill-vish.github.io on
GitHub, `assets/img/beyond-imagenet-accuracy`: `vtab_robust_{sup,clip}_abs.png` and
`ImageNet-{1K,R}_calibration_subplot-1.png`. Of each pair the better number is printed,
the other one is it less the printed difference. The file has percent.
"""

import csv
import functools
from collections.abc import Mapping
from importlib.resources import files
from types import MappingProxyType
from typing import NamedTuple

from jaxbench.data.corruptions import CORRUPTIONS, SEVERITIES

_CALIBRATION, _TRANSFER = "ece ", "transfer "
_AVERAGE = "average"
# ImageNet-C's four corruptions for validation are not among the fifteen of its mean.
_FOR_VALIDATION = ("speckle_noise", "gaussian_blur", "spatter", "saturate")
# The datasets that the accuracy on `imagenet-c` is the mean over.
CORRUPTED = tuple(
    f"imagenet-c/{kind}_{severity}"
    for kind in CORRUPTIONS
    if kind not in _FOR_VALIDATION
    for severity in SEVERITIES
)
# Side of the images in pixels.
IMAGE_SIZE = 224
# Images that an accuracy is the mean over.
NUM_IMAGES: Mapping[str, int] = MappingProxyType(
    {
        "imagenet": 50_000,
        "imagenet-v2/matched-frequency": 10_000,
        "imagenet-a": 7_500,
        "imagenet-hard": 10_980,
        "imagenet-r": 30_000,
        "imagenet-sketch": 50_889,
        "imagenet-real": 46_837,
        **dict.fromkeys(CORRUPTED, 50_000),
    }
)


class PublishedModel(NamedTuple):
    """One of the four models.

    Attributes:
        title: What the study calls it.
        accuracy: Address of a dataset to its accuracy, a fraction; `imagenet-c` is the
            mean over `CORRUPTED`.
        average: Mean accuracy over these datasets without `imagenet`.
        ece: Address of a dataset to its ECE in 15 bins, a fraction.
        transfer: Name of a dataset of VTAB to the accuracy on it; "average" is over all
            19 tasks. The study does not say how features were classified.
    """

    title: str
    accuracy: dict[str, float]
    average: float
    ece: dict[str, float]
    transfer: dict[str, float]


@functools.cache
def load_published_models() -> dict[str, PublishedModel]:
    """The four models by the zoo's names.

    Supervised images were resized bilinearly there and not as the weights' authors do,
    which costs about 0.3 points on ImageNet.
    """
    text = files("jaxbench.studies.published").joinpath("beyond.csv").read_text("utf-8")
    found = {}
    for row in csv.DictReader(text.splitlines()):
        model, title = row.pop("model"), row.pop("title")
        values = {name: float(value) / 100.0 for name, value in row.items()}
        found[model] = PublishedModel(
            title,
            average=values.pop(_AVERAGE),
            ece=_popped(values, _CALIBRATION),
            transfer=_popped(values, _TRANSFER),
            accuracy=values,
        )
    return found


def _popped(values: dict[str, float], kind: str) -> dict[str, float]:
    """Takes the values of a kind out of a row, without the kind's name."""
    names = [name for name in values if name.startswith(kind)]
    return {name.removeprefix(kind): values.pop(name) for name in names}
