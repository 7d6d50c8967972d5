"""Accuracy and AUROC of ImageNet classifiers, as released with arXiv 2302.11893.

Source: mdabbah/COOD_benchmarking on GitHub, `paper_results/all_paper_results.csv`, the
rows of the confidence "softmax". These are the authors' classifiers of arXiv 2302.11874
and CLIP models; their full table for that paper is not released.
"""

import csv
from importlib.resources import files
from typing import NamedTuple


class PublishedClassifier(NamedTuple):
    """One classifier on ImageNet's 50,000 validation images.

    Attributes:
        released: What the release calls it.
        model: timm's "architecture.tag"; empty where timm has none today.
        accuracy: Top-1, a fraction.
        auroc: Of right against wrong by the largest probability, a fraction.
        is_clip: Whether it is CLIP, zero-shot or with a linear head.
    """

    released: str
    model: str
    accuracy: float
    auroc: float
    is_clip: bool


def load_published_classifiers() -> tuple[PublishedClassifier, ...]:
    """All 536, in alphabetical order of their released names.

    Rounded to 0.001 points. Three released rows of untrained networks are left out.
    timm's weights of a name may have changed since 2022.
    """
    text = (
        files("jaxbench.studies.published")
        .joinpath("selective_imagenet.csv")
        .read_text("utf-8")
    )
    return tuple(
        PublishedClassifier(
            row["released"],
            row["model"],
            float(row["top1_percent"]) / 100.0,
            float(row["auroc_percent"]) / 100.0,
            row["released"].startswith("CLIP_"),
        )
        for row in csv.DictReader(text.splitlines())
    )
