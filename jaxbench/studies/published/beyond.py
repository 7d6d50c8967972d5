"""Numbers that arXiv 2311.09215 published of four models.

Source: the figures of the authors' project page, kirill-vish/kirill-vish.github.io on
GitHub, `assets/img/beyond-imagenet-accuracy`. `vtab_robust_{sup,clip}_abs.png` and
`ImageNet-{1K,R}_calibration_subplot-1.png` print their numbers; of each pair the better
one, the other is it less the printed difference. `invariance_all-1.png` and
`imagenetx_{sup,clip}-1.png` print none: those were measured in the pictures, to 0.1
points and to 0.01. The file has percent, and error ratios as they are.
"""

import csv
import functools
from collections.abc import Mapping
from importlib.resources import files
from types import MappingProxyType
from typing import NamedTuple

from jaxbench.data.corruptions import CORRUPTIONS, SEVERITIES

_TITLES = {
    "convnext_base.fb_in22k_ft_in1k": "ConvNeXt-sup",
    "deit3_base_patch16_224.fb_in22k_ft_in1k": "ViT-sup",
    "convnext_base.clip_laion400m": "ConvNeXt-clip",
    "vit_base_patch16_clip_224.laion400m_e31": "ViT-clip",
}
_VIEWS = ("scale", "shift", "resolution")
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
        transfer: Name of a task of VTAB to the accuracy on it; "average" is over all
            19 tasks. The study does not say how features were classified, and 98 % on
            `sun397` is not credible.
        views: "scale", "shift" or "resolution" to a value to the accuracy there, on
            `imagenet`; measured in a figure, to 0.1 points.
        error_ratio: Factor of ImageNet-X to the error ratio; "average" is the mean over
            factors; measured in a figure, to 0.01.
    """

    title: str
    accuracy: dict[str, float]
    average: float
    ece: dict[str, float]
    transfer: dict[str, float]
    views: dict[str, dict[float, float]]
    error_ratio: dict[str, float]


@functools.cache
def load_published_models() -> dict[str, PublishedModel]:
    """The four models by the zoo's names.

    Supervised images were resized bilinearly there and not as the weights' authors do,
    which costs about 0.3 points on ImageNet.
    """
    text = files("jaxbench.studies.published").joinpath("beyond.csv").read_text("utf-8")
    kinds: dict[str, dict[str, dict[str, float]]] = {name: {} for name in _TITLES}
    for row in csv.DictReader(text.splitlines()):
        unit = 1.0 if row["kind"] == "error_ratio" else 100.0
        values = kinds[row["model"]].setdefault(row["kind"], {})
        values[row["name"]] = float(row["value"]) / unit
    return {
        model: PublishedModel(
            _TITLES[model],
            average=found["accuracy"].pop("average"),
            accuracy=found["accuracy"],
            ece=found["ece"],
            transfer=found["transfer"],
            views={k: {float(x): y for x, y in found[k].items()} for k in _VIEWS},
            error_ratio=found["error_ratio"],
        )
        for model, found in kinds.items()
    }
