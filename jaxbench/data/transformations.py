"""Views of the same images for invariance curves: larger, moved.

Those of arXiv 2311.09215: an object that is larger in the frame, or off its middle. The
third, another resolution, is the model's: evaluate it at other values of `image_size`.
"""

import dataclasses
import math
from collections.abc import Callable, Mapping
from functools import cached_property
from types import MappingProxyType

import numpy as np
from PIL import Image

from jaxbench.data.preparing import Prepare, preparing
from jaxbench.data.preprocess import FILTERS, decode, preprocess
from jaxbench.data.source import Example, Source, digest, example_ids, source_repr
from jaxbench.errors import UserError, unknown_name
from model_zoo.input_spec import InputSpec


def scaled(factor: float | int) -> Prepare:
    """Resizes to `factor` times the usual size before the centre crop.

    With a crop of 224 of 256 pixels the image is resized to int(factor * 256).
    """

    def larger(image: bytes | np.ndarray, spec: InputSpec) -> np.ndarray:
        fraction = spec.crop_fraction / factor
        return preprocess(image, dataclasses.replace(spec, crop_fraction=fraction))

    return larger


def shifted(pixels: float | int) -> Prepare:
    """Moves the crop along the longer side by pixels of the original image.

    The crop is a square of `crop_fraction` times the shorter side (of both sides, where
    the model's `crop_mode` is "squash"), centred and then moved right, or down in an
    upright image; what lies outside is black. It is resized to the input's size.
    """

    def moved(image: bytes | np.ndarray, spec: InputSpec) -> np.ndarray:
        picture = decode(image) if isinstance(image, bytes) else Image.fromarray(image)
        width, height = picture.size
        sides = [min(width, height)] * 2
        if spec.crop_mode == "squash":
            sides = [width, height]
        wide, high = (max(1, round(spec.crop_fraction * side)) for side in sides)
        left, top = (width - wide) / 2, (height - high) / 2
        if width >= height:
            left += pixels
        else:
            top += pixels
        box = (round(left), round(top), round(left) + wide, round(top) + high)
        crop = picture.crop(box)  # Pillow fills what lies outside with black.
        size = (spec.size[1], spec.size[0])
        return np.asarray(crop.resize(size, FILTERS[spec.interpolation]))

    return moved


@dataclasses.dataclass(frozen=True)
class Transformation:
    """A row of TRANSFORMATIONS.

    Attributes:
        wrap: Called with the value.
        published: The values of arXiv 2311.09215, which wildcards stand for.
        least: The smallest value that makes sense.
        unit: What a value counts.
    """

    wrap: Callable[[float | int], Prepare]
    published: tuple[float, ...]
    least: float
    unit: str


TRANSFORMATIONS: Mapping[str, Transformation] = MappingProxyType(
    {
        "scale": Transformation(
            scaled, (1.0, 1.25, 1.5, 2.0, 3.0), 1.0, "times the usual size"
        ),
        "shift": Transformation(
            shifted, (0.0, 5.0, 30.0, 75.0, 100.0), 0.0, "original pixels"
        ),
    }
)


class TransformedSource:
    """A source's images under one transformation; ids and labels stay.

    Args:
        base: Any source.
        transformation: A name in TRANSFORMATIONS.
        value: How much; see there.
        name: What to call it; the base's name and the transformation if not given.

    Raises:
        UserError: If the transformation is unknown, the value is out of range, or the
            base resizes and crops in its own way: transformations do not add up.
    """

    def __init__(
        self,
        base: Source,
        transformation: str,
        value: float | int,
        *,
        name: str | None = None,
    ) -> None:
        if transformation not in TRANSFORMATIONS:
            raise UserError(
                unknown_name("transformation", transformation, TRANSFORMATIONS)
            )
        if preparing(base) is not preprocess:
            raise UserError(
                f"{base.name} is resized and cropped in its own way already; transform "
                "the images as they are"
            )
        row = TRANSFORMATIONS[transformation]
        if not (math.isfinite(value) and value >= row.least):
            raise UserError(
                f"{transformation} is {value}, wanted {row.least:g} or more {row.unit}"
            )
        self.base, self._what = base, f"{transformation} {value!r}"
        self.prepare = row.wrap(value)
        self.name = name or f"{base.name}+{transformation}_{value:g}"
        self.class_names, self.labels = base.class_names, base.labels
        self.scoring = getattr(base, "scoring", None)
        self.partial = getattr(base, "partial", None)

    @cached_property
    def ids(self) -> tuple[str, ...]:
        """The id of every row: those of the images as they are."""
        return example_ids(self.base)

    @property
    def fingerprint(self) -> str:
        """Digest of the images' fingerprint and what is done to them."""
        return digest(self.base.fingerprint, self._what)

    def fingerprint_of(self, indices: np.ndarray) -> str:
        """Digest of some rows' content; see `View.fingerprint_of`."""
        if fingerprint_of := getattr(self.base, "fingerprint_of", None):
            return digest(fingerprint_of(indices), self._what)
        return digest(self.fingerprint, indices.astype("<i8").tobytes())

    def __repr__(self) -> str:
        return source_repr(self)

    def __len__(self) -> int:
        return len(self.base)

    def __getitem__(self, index: int) -> Example:
        return self.base[index]
