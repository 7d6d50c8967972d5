"""What cameras, screens and files do to images."""

import io

import numpy as np
from PIL import Image

from jaxbench.data.corruptions.filters import Pixels, gaussian, to_uint8


def brightness(image: Pixels, severity: int, rng: np.random.RandomState) -> Pixels:
    """Adds 0.1 to 0.5 to the value of each pixel; hue and saturation stay."""
    values = image / 255
    value = values.max(axis=2, keepdims=True)
    added = (0.1, 0.2, 0.3, 0.4, 0.5)[severity - 1]
    brighter = np.minimum(value + added, 1)
    others = values * (brighter / np.where(value > 0, value, 1))
    # The largest channel is the value itself, and all are in a gray pixel.
    return to_uint8(np.where(values == value, brighter, others))


def contrast(image: Pixels, severity: int, rng: np.random.RandomState) -> Pixels:
    """Keeps 40 down to 5 % of each sample's distance from its channel's mean."""
    share = (0.4, 0.3, 0.2, 0.1, 0.05)[severity - 1]
    # The sum is of whole numbers, so that no machine's order of addition shows.
    total = image.sum(axis=(0, 1), dtype=np.int64, keepdims=True)
    mean = total / (255 * image.shape[0] * image.shape[1])
    return to_uint8((image / 255 - mean) * share + mean)


def saturate(image: Pixels, severity: int, rng: np.random.RandomState) -> Pixels:
    """Multiplies the saturation by 0.3 and 0.1 (1, 2) or 2 to 20 (3 to 5).

    Severities 4 and 5 add to it, too; a gray pixel, whose hue counts as red, becomes
    reddish there, as in ImageNet-C.
    """
    factor, added = ((0.3, 0), (0.1, 0), (2, 0), (5, 0.1), (20, 0.2))[severity - 1]
    values = image / 255
    top = values.max(axis=2, keepdims=True)
    spread = top - values
    before = spread.max(axis=2, keepdims=True) / np.where(top > 0, top, 1)
    after = np.clip(before * factor + added, 0, 1)
    red = np.array([0.0, 1.0, 1.0]) * top * after
    colour = spread * after / np.where(before > 0, before, 1)
    return to_uint8(top - np.where(before > 0, colour, red))


def pixelate(image: Pixels, severity: int, rng: np.random.RandomState) -> Pixels:
    """Averages over boxes: sides shrink to 60 down to 25 % and are blown up again."""
    share = (0.6, 0.5, 0.4, 0.3, 0.25)[severity - 1]
    height, width = image.shape[:2]
    small = (max(1, int(width * share)), max(1, int(height * share)))
    boxes = Image.fromarray(image).resize(small, Image.Resampling.BOX)
    return np.asarray(boxes.resize((width, height), Image.Resampling.NEAREST))


def jpeg_compression(
    image: Pixels, severity: int, rng: np.random.RandomState
) -> Pixels:
    """Writes and reads a JPEG file of quality 25 down to 7; by this encoder."""
    quality = (25, 18, 15, 10, 7)[severity - 1]
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, "JPEG", quality=quality)
    return np.asarray(Image.open(buffer).convert("RGB"))


def elastic_transform(
    image: Pixels, severity: int, rng: np.random.RandomState
) -> Pixels:
    """Moves pixels along a smooth random field, bilinearly, mirrored at the edges."""
    strength = 250 * (0.05, 0.065, 0.085, 0.1, 0.12)[severity - 1]
    height, width = image.shape[:2]
    reach, sigma = height * 0.005, (height * 0.01, width * 0.01)

    def field() -> np.ndarray:
        draw = rng.uniform(-reach, reach, (height, width))
        return gaussian(draw, sigma, mode="symmetric", truncate=3.0) * strength

    right, down = field(), field()
    rows, columns = np.indices((height, width))
    return to_uint8(_sampled(image / 255, rows + down, columns + right))


def _sampled(values: np.ndarray, rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
    """Bilinear samples at real positions."""
    top, left = np.floor(rows).astype(int), np.floor(columns).astype(int)
    below, beside = (rows - top)[..., None], (columns - left)[..., None]

    def at(row: np.ndarray, column: np.ndarray) -> np.ndarray:
        return values[
            _mirrored(row, values.shape[0]), _mirrored(column, values.shape[1])
        ]

    upper = at(top, left) * (1 - beside) + at(top, left + 1) * beside
    lower = at(top + 1, left) * (1 - beside) + at(top + 1, left + 1) * beside
    return upper * (1 - below) + lower * below


def _mirrored(index: np.ndarray, length: int) -> np.ndarray:
    """Indices of an image that is mirrored again and again, its edges doubled."""
    index = index % (2 * length)
    return np.where(index < length, index, 2 * length - 1 - index)
