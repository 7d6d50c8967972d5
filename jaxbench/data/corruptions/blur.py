"""Blurs; lengths in pixels grow with the image."""

import math

import numpy as np

from jaxbench.data.corruptions.filters import (
    SIDE,
    Pixels,
    correlate,
    gaussian,
    in_pixels,
    to_uint8,
    zoom_in,
)
from jaxbench.data.corruptions.filters import (
    motion_blur as blur_along,
)

_SUBPIXELS = 8


def image_scale(image: np.ndarray) -> float:
    """The shorter side over that of ImageNet-C."""
    return min(image.shape[:2]) / SIDE


def gaussian_blur(
    image: Pixels,
    severity: int,
    rng: np.random.RandomState,
    scale: float | None = None,
) -> Pixels:
    """Blurs with a standard deviation of 1 to 6 pixels at 224, 0.45 to 1.1 at 8."""
    sigma, least = ((1, 0.43), (2, 0.52), (3, 0.61), (4, 0.75), (6, 0.98))[severity - 1]
    scale = image_scale(image) if scale is None else scale
    return to_uint8(gaussian(image / 255, in_pixels(sigma, scale, least)))


def defocus_blur(
    image: Pixels,
    severity: int,
    rng: np.random.RandomState,
    scale: float | None = None,
) -> Pixels:
    """Blurs by a disc of radius 3 to 10 pixels at 224, 0.9 to 1.8 at 8."""
    radius, least = ((3, 0.8), (4, 0.9), (6, 1.0), (8, 1.2), (10, 1.5))[severity - 1]
    soft = (0.1, 0.5, 0.5, 0.5, 0.5)[severity - 1]
    scale = image_scale(image) if scale is None else scale
    kernel = _disc(in_pixels(radius, scale, least), soft)
    # Mirrored at the edges: the window must be narrower than the image.
    wanted, reach = len(kernel) // 2, min(image.shape[:2]) - 1
    if reach < wanted:
        inner = slice(wanted - reach, wanted + reach + 1)
        kernel = kernel[inner, inner] / kernel[inner, inner].sum()
    return to_uint8(correlate(image / 255, kernel))


def _disc(radius: float, soft: float) -> np.ndarray:
    """Weights of a disc; at whole radii those of ImageNet-C, else by covered area."""
    if radius == int(radius):
        reach = 8 if radius <= 8 else int(radius)
        steps = np.arange(-reach, reach + 1)
        disc = (steps**2 + steps[:, None] ** 2 <= radius**2).astype(float)
        taps = np.arange(-1, 2) if radius <= 8 else np.arange(-2, 3)
        weights = np.exp(-(taps**2) / (2 * soft**2))
        weights /= weights.sum()
        return correlate(disc / disc.sum(), weights[:, None] * weights)
    reach = math.ceil(radius)
    fine = (np.arange((2 * reach + 1) * _SUBPIXELS) + 0.5) / _SUBPIXELS - reach - 0.5
    inside = (fine**2 + fine[:, None] ** 2 <= radius**2).astype(float)
    side = 2 * reach + 1
    covered = inside.reshape(side, _SUBPIXELS, side, _SUBPIXELS).sum(axis=(1, 3))
    return covered / covered.sum()


def glass_blur(
    image: Pixels,
    severity: int,
    rng: np.random.RandomState,
    scale: float | None = None,
) -> Pixels:
    """Blurs, moves each pixel by some pixels at random, and blurs again.

    All pixels move at once. ImageNet-C moves them one after the other, so that a colour
    can travel further; its code also copies where its paper swaps.
    """
    sigma, least, delta, rounds = (
        (0.7, 0.3, 1, 2),
        (0.9, 0.35, 2, 1),
        (1.0, 0.4, 2, 3),
        (1.1, 0.45, 3, 2),
        (1.5, 0.5, 4, 2),
    )[severity - 1]
    scale = image_scale(image) if scale is None else scale
    sigma = in_pixels(sigma, scale, least)
    delta = max(1, round(delta * scale))
    moved = gaussian(image / 255, sigma)
    height, width = image.shape[:2]
    rows, columns = np.indices((height, width))
    for _ in range(rounds):
        down, right = rng.randint(-delta, delta, size=(2, height, width))
        moved = moved[
            np.clip(rows + down, 0, height - 1), np.clip(columns + right, 0, width - 1)
        ]
    return to_uint8(gaussian(moved, sigma))


def motion_blur(
    image: Pixels,
    severity: int,
    rng: np.random.RandomState,
    scale: float | None = None,
) -> Pixels:
    """Blurs along a line of up to 45 degrees, of 21 to 41 pixels at 224."""
    radius, sigma = ((10, 3), (15, 5), (15, 8), (15, 12), (20, 15))[severity - 1]
    scale = image_scale(image) if scale is None else scale
    angle = rng.uniform(-45, 45)
    radius = max(1, round(radius * scale))
    sigma = in_pixels(sigma, scale, 0.4 + 0.1 * severity)
    return to_uint8(blur_along(image / 255, radius, sigma, angle))


def zoom_blur(image: Pixels, severity: int, rng: np.random.RandomState) -> Pixels:
    """Averages magnifications of 1 up to 1.11 to 1.33."""
    most, step = ((1.11, 0.01), (1.16, 0.01), (1.21, 0.02), (1.26, 0.02), (1.31, 0.03))[
        severity - 1
    ]
    factors = np.arange(1, most, step)
    values = image / 255
    height, width = image.shape[:2]
    total = values.copy()
    for factor in factors:
        layer = zoom_in(values, float(factor))[:height, :width]
        total[: layer.shape[0], : layer.shape[1]] += layer
    return to_uint8(total / (len(factors) + 1))
