"""What a classifier wants its images to look like.

The one thing that data code needs to know of a model, so this file imports neither
Flax nor JAX and can be read by every decoding worker at no cost.
"""

from dataclasses import dataclass, replace
from typing import Literal, get_args

CropMode = Literal["center", "squash"]
Interpolation = Literal["nearest", "bilinear", "bicubic", "lanczos"]

# Stands for an image size: the one that published results were measured at.
TEST_SIZE = "test"

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
HALF = (0.5, 0.5, 0.5)


@dataclass(frozen=True)
class InputSpec:
    """Size, crop and normalisation of a classifier's input.

    Attributes:
        size: Height and width in pixels.
        crop_fraction: Share of the resized image's side that the crop keeps, in
            (0, 1]: the image is resized to `size / crop_fraction` first. 1 keeps the
            whole shorter side, and leaves an image of `size` as it is.
        crop_mode: "center" resizes the shorter side and crops the middle; "squash"
            resizes both sides to `size`, losing the aspect ratio.
        interpolation: The resize filter, with Pillow's semantics.
        mean: Per-channel mean (red, green, blue) of images in [0, 1].
        std: Per-channel standard deviation of images in [0, 1], positive.

    Raises:
        ValueError: If a value is outside its range; all such values are named.
    """

    size: tuple[int, int] = (224, 224)
    crop_fraction: float = 1.0
    crop_mode: CropMode = "center"
    interpolation: Interpolation = "bicubic"
    mean: tuple[float, float, float] = IMAGENET_MEAN
    std: tuple[float, float, float] = IMAGENET_STD

    def __post_init__(self) -> None:
        wanted = {
            "size": (_is_size(self.size), "two positive integers (height, width)"),
            "crop_fraction": (0 < self.crop_fraction <= 1, "a number in (0, 1]"),
            "crop_mode": (self.crop_mode in get_args(CropMode), _choices(CropMode)),
            "interpolation": (
                self.interpolation in get_args(Interpolation),
                _choices(Interpolation),
            ),
            "mean": (len(self.mean) == 3, "three numbers"),
            "std": (
                len(self.std) == 3 and all(s > 0 for s in self.std),
                "three positive numbers",
            ),
        }
        problems = [
            f"{name} is {getattr(self, name)!r}, wanted {what}"
            for name, (holds, what) in wanted.items()
            if not holds
        ]
        if problems:
            raise ValueError(f"InputSpec: {'; '.join(problems)}")

    def adjusted(
        self,
        crop_fraction: float | None = None,
        interpolation: Interpolation | None = None,
    ) -> "InputSpec":
        """The same input with another crop or filter; None keeps this one's.

        Raises:
            ValueError: If a value is outside its range.
        """
        given = {"crop_fraction": crop_fraction, "interpolation": interpolation}
        return replace(self, **{k: v for k, v in given.items() if v is not None})


def _is_size(size: object) -> bool:
    return (
        isinstance(size, tuple)
        and len(size) == 2
        and all(isinstance(side, int) and side > 0 for side in size)
    )


def _choices(literal: object) -> str:
    return "one of " + ", ".join(map(repr, get_args(literal)))
