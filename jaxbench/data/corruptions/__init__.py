"""Keyed corruptions of five severities, after ImageNet-C (arXiv 1903.12261).

The fifteen corruptions of ImageNet-C and its four for validation, by own code: numbers
on ImageNet-C itself need its files. Where algorithm and random draws are the same,
images are those of the `imagecorruptions` package to within a level of 255;
`impulse_noise`, `glass_blur`, `frost` and the water of `spatter` differ, and say how.

Strengths that are counted in pixels grow with the shorter side of the image and are
ImageNet-C's at 224, so that the same severity is sensible for an 8x8 digit, too.
"""

from jaxbench.data.corruptions.source import (
    CORRUPTIONS,
    SEVERITIES,
    CorruptedSource,
    keyed_rng,
    register_corruption,
)

__all__ = [
    "CORRUPTIONS",
    "SEVERITIES",
    "CorruptedSource",
    "keyed_rng",
    "register_corruption",
]
