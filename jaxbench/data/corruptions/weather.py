"""Weather: what falls on the scene or the lens."""

import numpy as np

from jaxbench.data.corruptions.blur import image_scale
from jaxbench.data.corruptions.filters import (
    Pixels,
    gaussian,
    gray,
    in_pixels,
    motion_blur,
    plasma,
    to_uint8,
    zoom_in,
)

_TURQUOISE = np.array([175, 238, 238]) / 255
_MUD = np.array([63, 42, 20]) / 255
_ICE = np.array([0.82, 0.93, 1.0])


def snow(
    image: Pixels,
    severity: int,
    rng: np.random.RandomState,
    scale: float | None = None,
) -> Pixels:
    """Adds flakes that fall in one direction, and whitens the scene."""
    mean, spread, zoom, least, radius, sigma, share = (
        (0.1, 0.3, 3, 0.5, 10, 4, 0.8),
        (0.2, 0.3, 2, 0.5, 12, 4, 0.7),
        (0.55, 0.3, 4, 0.9, 12, 8, 0.7),
        (0.55, 0.3, 4.5, 0.85, 12, 8, 0.65),
        (0.55, 0.3, 2.5, 0.85, 12, 12, 0.55),
    )[severity - 1]
    scale = image_scale(image) if scale is None else scale
    height, width = image.shape[:2]
    flakes = zoom_in(rng.normal(mean, spread, (height, width)), zoom)
    flakes = np.clip(np.where(flakes < least, 0, flakes), 0, 1)
    angle = rng.uniform(-135, -45)
    radius = max(1, round(radius * scale))
    flakes = motion_blur(flakes, radius, in_pixels(sigma, scale, 0.5), angle)
    fallen = np.zeros((height, width, 1))
    part = (np.round(flakes * 255) / 255)[:height, :width]
    fallen[: part.shape[0], : part.shape[1], 0] = part
    values = image / 255
    white = np.maximum(values, gray(values)[..., None] * 1.5 + 0.5)
    veiled = share * values + (1 - share) * white
    return to_uint8(veiled + fallen + fallen[::-1, ::-1])


def frost(image: Pixels, severity: int, rng: np.random.RandomState) -> Pixels:
    """Adds branches of ice over a dimmed scene.

    The ice is drawn: ridges of fractal noise, bluish white, dense in places. ImageNet-C
    cuts its ice out of six photographs; strengths are the same, patterns are not.
    """
    scene, ice = ((1, 0.4), (0.8, 0.6), (0.7, 0.7), (0.65, 0.7), (0.6, 0.75))[
        severity - 1
    ]
    height, width = image.shape[:2]
    side = _power_of_two(max(height, width))
    ridges = 1 - np.abs(2 * plasma(side, 1.7, rng) - 1)
    dense = plasma(side, 2.2, rng)
    # As bright on average as the photographs: about half.
    pattern = (0.2 + ridges**3 * (0.5 + 0.5 * dense))[:height, :width, None]
    return to_uint8(scene * image / 255 + ice * pattern * _ICE)


def fog(image: Pixels, severity: int, rng: np.random.RandomState) -> Pixels:
    """Adds fractal fog and keeps the brightest value as bright as it was."""
    strength, decay = ((1.5, 2), (2.0, 2), (2.5, 1.7), (2.5, 1.5), (3.0, 1.4))[
        severity - 1
    ]
    values = image / 255
    height, width = image.shape[:2]
    banks = plasma(_power_of_two(max(height, width)), decay, rng)[:height, :width]
    top = values.max()
    return to_uint8((values + strength * banks[..., None]) * top / (top + strength))


def spatter(
    image: Pixels,
    severity: int,
    rng: np.random.RandomState,
    scale: float | None = None,
) -> Pixels:
    """Splashes water (severity 1 to 3) or mud (4 and 5) on the lens.

    Mud is ImageNet-C's. Its water is shaded by edges and distances; here drops are lit
    from one side, at the same thresholds and strength.
    """
    mean, spread, sigma, least, strength = (
        (0.65, 0.3, 4, 0.69, 0.6),
        (0.65, 0.3, 3, 0.68, 0.6),
        (0.65, 0.3, 2, 0.68, 0.5),
        (0.65, 0.3, 1, 0.65, 1.5),
        (0.67, 0.4, 1, 0.65, 1.5),
    )[severity - 1]
    scale = image_scale(image) if scale is None else scale
    values = image / 255
    liquid = rng.normal(mean, spread, image.shape[:2])
    liquid = gaussian(liquid, in_pixels(sigma, scale, 0.6))
    liquid = np.where(liquid < least, 0, liquid)
    if severity > 3:
        mud = gaussian((liquid > least) * 1.0, in_pixels(strength, scale, 0.5))
        mud = np.where(mud < 0.8, 0, mud)[..., None]
        return to_uint8(values * (1 - mud) + mud * _MUD)
    drops = gaussian((liquid > 0) * 1.0, in_pixels(1.0, scale, 0.5))
    light = drops - np.roll(drops, (1, 1), (0, 1))
    lit = drops * (0.4 + np.clip(light / max(np.abs(light).max(), 1e-12), -0.4, 0.6))
    return to_uint8(values + strength * lit[..., None] * _TURQUOISE)


def _power_of_two(side: int) -> int:
    return 1 << max(1, (side - 1).bit_length())
