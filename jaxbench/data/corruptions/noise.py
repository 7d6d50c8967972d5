"""Noise: every sample by itself."""

import numpy as np

from jaxbench.data.corruptions.filters import Pixels, to_uint8


def gaussian_noise(image: Pixels, severity: int, rng: np.random.RandomState) -> Pixels:
    """Adds normal noise of standard deviation 0.08 to 0.38 (of the range [0, 1])."""
    scale = (0.08, 0.12, 0.18, 0.26, 0.38)[severity - 1]
    return to_uint8(image / 255 + rng.normal(scale=scale, size=image.shape))


def shot_noise(image: Pixels, severity: int, rng: np.random.RandomState) -> Pixels:
    """Counts photons: Poisson noise where white is 60 down to 3 photons a sample."""
    photons = (60, 25, 12, 5, 3)[severity - 1]
    return to_uint8(rng.poisson(image / 255 * photons) / photons)


def impulse_noise(image: Pixels, severity: int, rng: np.random.RandomState) -> Pixels:
    """Sets a share of 3 to 27 % of the samples to black or white (salt and pepper)."""
    share = (0.03, 0.06, 0.09, 0.17, 0.27)[severity - 1]
    draw = rng.random_sample(image.shape)
    salted = np.where(draw < share / 2, np.uint8(255), image)
    return np.where(draw >= 1 - share / 2, np.uint8(0), salted)


def speckle_noise(image: Pixels, severity: int, rng: np.random.RandomState) -> Pixels:
    """Adds normal noise in proportion to the sample: 15 to 60 % of it."""
    scale = (0.15, 0.2, 0.35, 0.45, 0.6)[severity - 1]
    values = image / 255
    return to_uint8(values + values * rng.normal(scale=scale, size=image.shape))
