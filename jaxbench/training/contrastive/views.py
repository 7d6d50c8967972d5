"""Two augmented views of a batch, on the device."""

from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Key, UInt8

from jaxbench.data.augment import random_flip, random_resized_crop
from jaxbench.data.augment.blur import gaussian_blur
from jaxbench.data.augment.jitter import color_jitter, random_grayscale
from jaxbench.data.preprocess import normalize
from jaxbench.errors import UserError, misfits
from model_zoo.input_spec import InputSpec


@dataclass(frozen=True)
class Views:
    """How a view is drawn; the defaults are SimCLR's (appendix A of its paper).

    Attributes:
        crop_scale: Range of the crop's share of the area; (1, 1) leaves the crop out.
        crop_ratio: Range of the crop's width over its height.
        flip: Whether half of the views are mirrored. Not for digits or letters.
        jitter: Strength s of the colour jitter: brightness, contrast and saturation by
            0.8 s, hue by 0.2 s; 0 leaves it out. At most 2.5.
        jitter_probability: That a view is jittered.
        grayscale: That a view loses its colour.
        blur: That a view is blurred, by a Gaussian of SimCLR's size. Images of fewer
            than 20 pixels are not, whatever the probability.

    Raises:
        UserError: If a value is out of its range; all such are named.
    """

    crop_scale: tuple[float, float] = (0.08, 1.0)
    crop_ratio: tuple[float, float] = (3 / 4, 4 / 3)
    flip: bool = True
    jitter: float = 1.0
    jitter_probability: float = 0.8
    grayscale: float = 0.2
    blur: float = 0.5

    def __post_init__(self) -> None:
        for name in ("crop_scale", "crop_ratio"):
            object.__setattr__(self, name, tuple(getattr(self, name)))
        scale, ratio = self.crop_scale, self.crop_ratio
        shares = ("jitter_probability", "grayscale", "blur")
        wanted = {
            "crop_scale": (
                len(scale) == 2 and 0 < scale[0] <= scale[1] <= 1,
                "(low, high) with 0 < low <= high <= 1",
            ),
            "crop_ratio": (
                len(ratio) == 2 and 0 < ratio[0] <= ratio[1] < float("inf"),
                "(low, high) with 0 < low <= high",
            ),
            "jitter": (0 <= self.jitter <= 2.5, "a number in [0, 2.5]"),
            **{n: (0 <= getattr(self, n) <= 1, "a number in [0, 1]") for n in shares},
        }
        if problems := misfits(self, wanted):
            raise UserError(f"Views: {'; '.join(problems)}")


def draw_views(
    images: UInt8[Array, "n h w 3"], key: Key[Array, ""], views: Views
) -> UInt8[Array, "n h w 3"]:
    """One view of each image; every image draws from a key of its own."""
    crop, flip, jitter, gray, blur = jax.random.split(key, 5)
    if views.crop_scale != (1, 1):
        images = random_resized_crop(
            images, crop, scale=views.crop_scale, ratio=views.crop_ratio
        )
    if views.flip:
        images = random_flip(images, flip)
    if views.jitter and views.jitter_probability:
        images = color_jitter(
            images,
            jitter,
            brightness=0.8 * views.jitter,
            contrast=0.8 * views.jitter,
            saturation=0.8 * views.jitter,
            hue=0.2 * views.jitter,
            probability=views.jitter_probability,
        )
    if views.grayscale:
        images = random_grayscale(images, gray, probability=views.grayscale)
    if views.blur:
        images = gaussian_blur(images, blur, probability=views.blur)
    return images


def two_views(
    images: UInt8[Array, "n h w 3"],
    key: Key[Array, ""],
    views: Views,
    spec: InputSpec,
) -> Float[Array, "m h w 3"]:
    """Two views of each image as a network sees them.

    Args:
        images: uint8 images.
        key: A typed key; both views are drawn from it, independently.
        views: How.
        spec: Whose mean and deviation normalise.

    Returns:
        The first view of all images, and then the second: 2 n images.
    """
    both = draw_views(jnp.concatenate([images, images]), key, views)
    return normalize(both, spec.mean, spec.std, np.float32)
