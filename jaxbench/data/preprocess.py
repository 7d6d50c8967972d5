"""From an encoded image to a classifier's input: decode, resize, crop, normalise.

Decoding, resizing and cropping happen on the host with Pillow, because published
accuracies assume its antialiased filters; the sizes are rounded as torchvision and timm
round them. Images travel as uint8 and are normalised on the device.
"""

import io
import math
import re
from types import MappingProxyType

import jax.numpy as jnp
import numpy as np
from jax.typing import DTypeLike
from jaxtyping import Array, Float, UInt8
from PIL import Image

from model_zoo.input_spec import InputSpec

FILTERS = MappingProxyType(
    {
        "nearest": Image.Resampling.NEAREST,
        "bilinear": Image.Resampling.BILINEAR,
        "bicubic": Image.Resampling.BICUBIC,
        "lanczos": Image.Resampling.LANCZOS,
    }
)
# "Magic number" of AppleDouble, RFC 1740.
_APPLE_DOUBLE = b"\0\5\x16\7"


def decode(encoded: bytes) -> Image.Image:
    """Decodes a file as 8-bit RGB, as Pillow's `convert("RGB")` does.

    Gray, palette and CMYK images become RGB; alpha is dropped, not blended; of an
    animation the first frame counts; an EXIF orientation is not applied (torchvision's
    loader does not either). 16-bit colour keeps its high byte.

    Raises:
        ValueError: If the bytes are not an image, a broken one, or one whose samples do
            not fit 8 bits (16-bit gray, 32-bit whole or real numbers): Pillow would
            clip these at 255, not scale them. Also if it has more pixels than
            `PIL.Image.MAX_IMAGE_PIXELS`, from where on Pillow warns of bombs.
    """
    if not encoded:
        raise ValueError("the file is empty (0 bytes)")
    if encoded.startswith(_APPLE_DOUBLE):
        raise ValueError("no image, but attributes that macOS keeps beside a file")
    try:
        image = Image.open(io.BytesIO(encoded))
        _check_pixels(image.width, image.height, "the image has")
        image.load()
    except Exception as error:
        # Pillow's plugins raise nearly anything on broken files: OSError, SyntaxError,
        # struct.error, IndexError, DecompressionBombError.
        raise ValueError(f"{len(encoded)} bytes, {_without_address(error)}") from error
    return to_rgb(image)


def _check_pixels(width: int, height: int, what: str) -> None:
    """Refuses an image that would fill the memory: a few bytes can claim any size."""
    limit = Image.MAX_IMAGE_PIXELS
    if limit is not None and width * height > limit:
        raise ValueError(
            f"{what} {width}x{height} pixels, more than the {limit:,} of "
            "PIL.Image.MAX_IMAGE_PIXELS; make it smaller first"
        )


def _without_address(error: Exception) -> str:
    """Pillow's message less "<_io.BytesIO object at 0x...>", new in every run."""
    text = re.sub(r" ?<_io\.\w+ object at 0x\w+>", "", str(error))
    return text or type(error).__name__


def to_rgb(image: Image.Image) -> Image.Image:
    """Converts any 8-bit mode to RGB, and refuses those that would lose their data."""
    if image.mode == "RGB":
        return image
    if image.mode in ("I", "F") or image.mode.startswith("I;16"):
        raise ValueError(
            f"its mode is {image.mode!r}: more than 8 bits a pixel, which Pillow would "
            "clip at 255; scale it to 8 bits first"
        )
    if image.mode == "P" and isinstance(image.info.get("transparency"), bytes):
        # Straight to RGB, Pillow warns about the transparency; the colours are equal.
        image = image.convert("RGBA")
    return image.convert("RGB")


def resized_size(height: int, width: int, spec: InputSpec) -> tuple[int, int]:
    """Height and width to resize to, before the centre crop.

    "squash" resizes both sides to floor(size / crop_fraction). "center" keeps the
    aspect ratio: for a square input the shorter side goes to that length and the longer
    one is truncated (torchvision's `Resize(int)`); for any other input the image covers
    the target and sides are rounded (timm's `ResizeKeepRatio`).
    """
    target_h, target_w = (math.floor(side / spec.crop_fraction) for side in spec.size)
    if spec.crop_mode == "squash":
        return target_h, target_w
    if target_h == target_w:
        if height <= width:
            return target_h, int(target_h * width / height)
        return int(target_w * height / width), target_w
    ratio = min(height / target_h, width / target_w)
    return round(height / ratio), round(width / ratio)


def crop_offset(length: int, crop: int) -> int:
    """Where a centre crop begins: torchvision's rounding (halves to even)."""
    return round((length - crop) / 2)


def preprocess(
    image: bytes | UInt8[np.ndarray, "h w 3"], spec: InputSpec
) -> UInt8[np.ndarray, "size_h size_w 3"]:
    """Decodes, resizes and crops one image; one that fits already stays as it is.

    Args:
        image: An encoded file, or pixels.
        spec: The size, crop and filter wanted.

    Returns:
        uint8 RGB of `spec.size`.

    Raises:
        ValueError: If the bytes cannot be decoded, see `decode`; or if it is so long
            and thin that it would become as large by resizing.
    """
    if isinstance(image, np.ndarray):
        if spec.crop_fraction == 1 and image.shape[:2] == spec.size:
            return image
        picture = Image.fromarray(image)
    else:
        picture = decode(image)
    height, width = resized_size(picture.height, picture.width, spec)
    if 0 in (height, width):
        raise ValueError(f"{picture.width}x{picture.height} pixels cannot be resized")
    _check_pixels(width, height, "before the crop, it would be resized to")
    # Width first, in a step of its own: so did Pillow until release 13, which begins
    # with the height where that shrinks much more. With 8 bits between the steps the
    # order shows (by up to 15 levels in noise), and published accuracies had this one.
    for size in ((width, picture.height), (width, height)):
        if size != picture.size:
            picture = picture.resize(size, FILTERS[spec.interpolation])
    crop_h, crop_w = spec.size
    top, left = crop_offset(height, crop_h), crop_offset(width, crop_w)
    return np.asarray(picture.crop((left, top, left + crop_w, top + crop_h)))


def normalize(
    images: UInt8[Array, "*b h w 3"],
    mean: tuple[float, float, float],
    std: tuple[float, float, float],
    dtype: DTypeLike = jnp.float32,
) -> Float[Array, "*b h w 3"]:
    """(x / 255 - mean) / std per channel, on the device.

    Args:
        images: uint8 images.
        mean: Per-channel mean of images in [0, 1].
        std: Per-channel standard deviation of images in [0, 1].
        dtype: Of the result; the arithmetic is float32 whatever it is.
    """
    channels = (1,) * (images.ndim - 1) + (3,)
    mean_, std_ = (jnp.asarray(v, jnp.float32).reshape(channels) for v in (mean, std))
    return ((images.astype(jnp.float32) / 255 - mean_) / std_).astype(dtype)
