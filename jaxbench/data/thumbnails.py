"""Small pictures of images, for pages."""

import io

import numpy as np
from PIL import Image

from jaxbench.data.preprocess import decode, to_rgb

SIDE = 96
_QUALITY = 75


def thumbnail(image: bytes | np.ndarray) -> bytes:
    """A JPEG file of an image, its longer side at most `SIDE` pixels.

    An image of less than half of that is enlarged by a whole number, pixel by pixel.

    Args:
        image: As in an `Example`: an encoded file, or pixels, uint8 [h, w, 3].

    Raises:
        ValueError: If the file is not an image; see `decode`.
    """
    if isinstance(image, bytes):
        shown = decode(image)
    else:
        shown = to_rgb(Image.fromarray(image))
    if (factor := SIDE // max(shown.size)) > 1:
        size = (shown.width * factor, shown.height * factor)
        shown = shown.resize(size, Image.Resampling.NEAREST)
    shown.thumbnail((SIDE, SIDE))
    file = io.BytesIO()
    shown.save(file, "JPEG", quality=_QUALITY)
    return file.getvalue()
