"""What arXiv 2302.11893 released of ImageNet classifiers: accuracy, AUROC, confidence.

Source: mdabbah/COOD_benchmarking on GitHub, `paper_results/all_paper_results.csv`, the
rows of the confidence "softmax". These are the authors' classifiers of arXiv 2302.11874
and CLIP models; their full table for that paper is not released.
"""

import csv
import functools
import math
from importlib.resources import files
from typing import NamedTuple

# CLIP's image encoder under a linear head.
_LINEAR_HEAD = "CLIP_finetuned_"


class PublishedClassifier(NamedTuple):
    """One classifier on ImageNet's 50,000 validation images.

    Attributes:
        released: What the release calls it.
        model: timm's "architecture.tag"; empty where timm has none today.
        accuracy: Top-1, a fraction.
        auroc: Of right against wrong by the largest probability, a fraction.
        confidence: Mean of the largest probability; NaN of CLIP with a linear head,
            whose released logits were not scaled and give a confidence of 0.2 %.
        is_clip: Whether it is CLIP, zero-shot or with a linear head.
    """

    released: str
    model: str
    accuracy: float
    auroc: float
    confidence: float
    is_clip: bool

    @property
    def gap(self) -> float:
        """Confidence less accuracy: above 0 the classifier is overconfident."""
        return self.confidence - self.accuracy


@functools.cache
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
            _confidence(row),
            row["released"].startswith("CLIP_"),
        )
        for row in csv.DictReader(text.splitlines())
    )


def _confidence(row: dict[str, str]) -> float:
    is_unscaled = row["released"].startswith(_LINEAR_HEAD)
    return math.nan if is_unscaled else float(row["confidence_percent"]) / 100.0
