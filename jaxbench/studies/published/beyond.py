"""Accuracies and calibration errors that arXiv 2311.09215 published.

Source: the figures of the authors' project page, kirill-vish/kirill-vish.github.io on
GitHub, `assets/img/beyond-imagenet-accuracy`: `vtab_robust_{sup,clip}_abs.png` and
`ImageNet-{1K,R}_calibration_subplot-1.png`. Of each pair the better number is printed,
the other one is it less the printed difference. The file has percent.
"""

import csv
from importlib.resources import files
from typing import NamedTuple

_CALIBRATION = "ece "


class PublishedModel(NamedTuple):
    """One of the four models.

    Attributes:
        title: What the study calls it.
        accuracy: Address of a dataset to its accuracy, a fraction; `imagenet-c` is the
            mean over corruptions and severities.
        ece: Address of a dataset to its ECE in 15 bins, a fraction.
    """

    title: str
    accuracy: dict[str, float]
    ece: dict[str, float]


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
            {n: v for n, v in values.items() if not n.startswith(_CALIBRATION)},
            {
                n.removeprefix(_CALIBRATION): v
                for n, v in values.items()
                if n.startswith(_CALIBRATION)
            },
        )
    return found
