"""What several corruptions are made of: blurs, zooms, colour, fractal noise.

Images are float arrays [h, w] or [h, w, c]. Nothing here calls BLAS, whose order of
addition differs between machines: the same input gives the same bytes everywhere.
"""

import math

import numpy as np
from jaxtyping import Float, UInt8

Values = Float[np.ndarray, "h w *c"]
Resized = Float[np.ndarray, "_ _ *c"]
Pixels = UInt8[np.ndarray, "h w 3"]

# Strengths that ImageNet-C counts in pixels are for images of this side.
SIDE = 224


def to_uint8(values: Float[np.ndarray, "h w 3"]) -> Pixels:
    """Values in [0, 1] as bytes, clipped and rounded."""
    return np.round(np.clip(values, 0, 1) * 255).astype(np.uint8)


def in_pixels(value: float | int, scale: float, least: float) -> float:
    """A length of `value` pixels at scale 1, and not much less than `least` at 0.

    At 8 pixels the strengths of 224 would all be less than one pixel.
    """
    return least + (value - least) * scale


def gray(image: Float[np.ndarray, "h w 3"]) -> Float[np.ndarray, "h w"]:
    """Luminance (ITU-R BT.601)."""
    return 0.299 * image[..., 0] + 0.587 * image[..., 1] + 0.114 * image[..., 2]


def gaussian(
    image: Values,
    sigma: float | tuple[float, float],
    *,
    mode: str = "edge",
    truncate: float = 4.0,
) -> Values:
    """Separable Gaussian blur.

    Args:
        image: Any float values.
        sigma: Standard deviation in pixels; of rows and columns where they differ.
        mode: What lies outside, as `np.pad` calls it.
        truncate: Where the window ends, in standard deviations.
    """
    sigmas = (sigma, sigma) if isinstance(sigma, float | int) else sigma
    for axis, width in enumerate(sigmas):
        reach = int(truncate * width + 0.5)
        weights = np.exp(-0.5 * (np.arange(-reach, reach + 1) / width) ** 2)
        image = _along(image, weights / weights.sum(), reach, axis, mode)
    return image


def _along(
    image: Values, weights: Float[np.ndarray, " k"], reach: int, axis: int, mode: str
) -> Values:
    length = image.shape[axis]
    widths = [(0, 0)] * image.ndim
    widths[axis] = (reach, reach)
    padded = np.pad(image, widths, mode=mode)  # pyright: ignore[reportArgumentType, reportCallIssue]
    blurred = np.zeros_like(image)
    for shift, weight in enumerate(weights):
        window = (slice(None),) * axis + (slice(shift, shift + length),)
        blurred += weight * padded[window]
    return blurred


def correlate(image: Values, kernel: Float[np.ndarray, "k k"]) -> Values:
    """Correlation with a square kernel of odd side, mirrored at the edges."""
    reach = len(kernel) // 2
    height, width = image.shape[:2]
    padded = np.pad(
        image,
        [(reach, reach), (reach, reach)] + [(0, 0)] * (image.ndim - 2),
        mode="reflect",
    )
    found = np.zeros_like(image)
    for row, column in zip(*np.nonzero(kernel), strict=True):
        window = padded[row : row + height, column : column + width]
        found += kernel[row, column] * window
    return found


def motion_blur(image: Values, radius: int, sigma: float | int, angle: float) -> Values:
    """Blur along a line: half a Gaussian of 2 * radius + 1 steps, edges repeated.

    Args:
        image: Any float values.
        radius: Half the number of steps, in pixels.
        sigma: Of the weights along the line.
        angle: Of the line, in degrees.
    """
    steps = np.arange(2 * radius + 1)
    weights = np.exp(-(steps**2) / (2 * sigma**2))
    weights /= weights.sum()
    sine, cosine = math.sin(math.radians(angle)), math.cos(math.radians(angle))
    height, width = image.shape[:2]
    reach = 2 * radius
    padded = np.pad(
        image, [(reach, reach)] * 2 + [(0, 0)] * (image.ndim - 2), mode="edge"
    )
    blurred = np.zeros_like(image)
    for step, weight in zip(steps, weights, strict=True):
        down = -math.ceil(step * sine - 0.5)
        right = -math.ceil(step * cosine - 0.5)
        if abs(down) >= height or abs(right) >= width:
            break
        top, left = reach - down, reach - right
        blurred += weight * padded[top : top + height, left : left + width]
    return blurred


def zoom_in(image: Values, factor: float | int) -> Resized:
    """The middle of an image, magnified bilinearly to about its own size."""
    for axis in (0, 1):
        length = image.shape[axis]
        kept = math.ceil(length / factor)
        start = (length - kept) // 2
        image = np.take(image, np.arange(start, start + kept), axis)
        image = _stretched(image, round(kept * factor), axis)
    return image


def _stretched(image: Resized, length: int, axis: int) -> Resized:
    last = image.shape[axis] - 1
    place = np.arange(length) * (last / max(1, length - 1))
    below = np.minimum(place.astype(int), last)
    above = np.minimum(below + 1, last)
    shape = [1] * image.ndim
    shape[axis] = length
    share = (place - below).reshape(shape)
    return (
        np.take(image, below, axis) * (1 - share) + np.take(image, above, axis) * share
    )


def plasma(
    side: int, decay: float | int, rng: np.random.RandomState
) -> Float[np.ndarray, "s s"]:
    """Fractal noise in [0, 1] by the diamond-square algorithm.

    Args:
        side: A power of two.
        decay: By how much the noise falls from one scale to the next finer one.
        rng: Where it is drawn.
    """
    noise = np.zeros((side, side))
    step, strength = side, 100.0

    def middle(corners: np.ndarray) -> np.ndarray:
        draw = rng.uniform(-strength, strength, corners.shape)
        return corners / 4 + strength * draw

    while step >= 2:
        half = step // 2
        corners = noise[::step, ::step]
        pairs = corners + np.roll(corners, -1, 0)
        noise[half::step, half::step] = middle(pairs + np.roll(pairs, -1, 1))
        centres = noise[half::step, half::step]
        across = centres + np.roll(centres, 1, 0)
        corners = noise[::step, ::step]
        noise[::step, half::step] = middle(across + corners + np.roll(corners, -1, 1))
        along = centres + np.roll(centres, 1, 1)
        noise[half::step, ::step] = middle(along + corners + np.roll(corners, -1, 0))
        step, strength = half, strength / decay
    noise -= noise.min()
    return noise / max(noise.max(), 1e-12)
