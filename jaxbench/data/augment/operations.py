"""RandAugment's operations as Pillow computes them, for a batch at once.

Each image has its own operation, and no branch can be taken for one image alone. The 15
therefore share three programs, which run for all images: a lookup table (six), a blend
with a degenerate image (four) and an affine resampling (five). Each image takes the
result of the program that its operation belongs to.

With m the magnitude in [0, 10] and +- the drawn direction:

    auto_contrast  darkest to 0 and lightest to 255, each channel by itself
    equalize       flattens each channel's histogram
    invert         255 - x
    rotate         by +-3 m degrees
    posterize      keeps 4 - floor(0.4 m) high bits
    solarize       inverts what is 256 - floor(25.6 m) or lighter
    solarize_add   adds floor(11 m) to what is darker than 128
    color          blend from gray, by max(0.1, 1 +- 0.09 m)
    contrast       blend from the mean gray, by the same
    brightness     blend from black, by the same
    sharpness      blend from a smoothed image, by the same
    shear_x/_y     by +-0.03 m
    translate_x/_y by +-0.045 m of the width / height

The geometric ones are Pillow's `rotate` and `transform`, bilinear. The lookups agree
with Pillow exactly, the rest to one level: Pillow cuts off the fraction of a number
that may be so close to whole that float32 has it on the other side. So it is with
`auto_contrast`, where a quotient that is whole comes out of Pillow's float64 one level
lower in 18 % of the ranges (its lightest level is then 254); here it stays whole.
Pillow 13 refuses to posterize to 0 bits, which m = 10 asks for: black, as before.
"""

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, UInt8

from jaxbench.data.augment.affine import resample
from jaxbench.data.augment.arguments import Images

OPERATIONS = (
    "auto_contrast",
    "equalize",
    "invert",
    "rotate",
    "posterize",
    "solarize",
    "solarize_add",
    "color",
    "contrast",
    "brightness",
    "sharpness",
    "shear_x",
    "shear_y",
    "translate_x",
    "translate_y",
)
# The operation that leaves an image as it is.
KEEP = len(OPERATIONS)
_INDEX = {name: index for index, name in enumerate(OPERATIONS)}

_GEOMETRY = ("rotate", "shear_x", "shear_y", "translate_x", "translate_y")
_BLENDS = ("color", "contrast", "brightness", "sharpness")

Operations = Int[Array, " n"]
Strengths = Float[Array, " n"]
Tables = UInt8[Array, "n 3 256"]


def apply_operations(
    images: Images,
    operations: Operations,
    magnitudes: Strengths,
    negative: Bool[Array, " n"],
    *,
    fill: tuple[int, int, int],
) -> Images:
    """Applies to each image its operation.

    Args:
        images: uint8 images.
        operations: Places in OPERATIONS, or KEEP.
        magnitudes: From 0, weakest, to 10.
        negative: Whether a direction is the negative one, where there are two.
        fill: Colour of what comes in from outside the image.
    """
    signed = jnp.where(negative, -magnitudes, magnitudes)
    height, width = images.shape[1:3]
    moved = resample(images, _maps(operations, signed, height, width), fill)
    blended = _blend(
        _degenerates(images, operations), images, jnp.maximum(0.1, 1 + 0.09 * signed)
    )
    looked_up = _look_up(images, _tables(images, operations, magnitudes))
    is_moved = _one_of(operations, *_GEOMETRY)[:, None, None, None]
    is_blended = _one_of(operations, *_BLENDS)[:, None, None, None]
    # The table of an image that is kept changes nothing.
    return jnp.where(is_moved, moved, jnp.where(is_blended, blended, looked_up))


def _one_of(operations: Operations, *names: str) -> Bool[Array, " n"]:
    return jnp.isin(operations, jnp.asarray([_INDEX[name] for name in names]))


def _tables(images: Images, operations: Operations, magnitudes: Strengths) -> Tables:
    """The new level of each level, for each image and channel."""
    levels = jnp.arange(256)[None, None, :]
    counts = _histograms(images)
    strengths = magnitudes[:, None, None]
    threshold = 256 - jnp.floor(strengths * 256 / 10).astype(jnp.int32)
    dropped = 4 + jnp.floor(strengths * 4 / 10).astype(jnp.int32)
    added = jnp.floor(strengths * 11).astype(jnp.int32)
    tables = {
        "auto_contrast": _auto_contrast(counts),
        "equalize": _equalize(counts),
        "invert": 255 - levels,
        "posterize": (levels >> dropped) << dropped,
        "solarize": jnp.where(levels < threshold, levels, 255 - levels),
        "solarize_add": jnp.where(
            levels < 128, jnp.minimum(levels + added, 255), levels
        ),
    }
    result = jnp.broadcast_to(levels, counts.shape)
    for name, table in tables.items():
        chosen = (operations == _INDEX[name])[:, None, None]
        result = jnp.where(chosen, table, result)
    return result.astype(jnp.uint8)


def _channel_levels(images: Images) -> Int[Array, "n values"]:
    """Each value's place in its image's [3, 256] tables, flat."""
    channels = jnp.arange(3).reshape(1, 1, 1, 3)
    return (images.astype(jnp.int32) + 256 * channels).reshape(len(images), -1)


def _look_up(images: Images, tables: Tables) -> Images:
    flat = tables.reshape(len(images), -1)
    found = jnp.take_along_axis(
        flat, _channel_levels(images), axis=1, mode="promise_in_bounds"
    )
    return found.reshape(images.shape)


def _histograms(images: Images) -> Int[Array, "n 3 256"]:
    """How many pixels have each level."""
    places = _channel_levels(images)
    rows = jnp.arange(len(images))[:, None]
    counts = jnp.zeros((len(images), 3 * 256), jnp.int32)
    counts = counts.at[rows, places].add(1, mode="promise_in_bounds")
    return counts.reshape(-1, 3, 256)


def _auto_contrast(counts: Int[Array, "n 3 256"]) -> Int[Array, "n 3 256"]:
    levels = jnp.arange(256)[None, None, :]
    low = jnp.argmax(counts > 0, axis=2)[:, :, None]
    high = 255 - jnp.argmax(counts[:, :, ::-1] > 0, axis=2)[:, :, None]
    stretched = (levels - low) * 255 // jnp.maximum(high - low, 1)
    return jnp.where(high > low, jnp.clip(stretched, 0, 255), levels)


def _equalize(counts: Int[Array, "n 3 256"]) -> Int[Array, "n 3 256"]:
    """Pillow's: the lightest level does not count towards the step."""
    levels = jnp.arange(256)[None, None, :]
    high = 255 - jnp.argmax(counts[:, :, ::-1] > 0, axis=2)[:, :, None]
    lightest = jnp.take_along_axis(counts, high, axis=2)
    step = (counts.sum(axis=2, keepdims=True) - lightest) // 255
    darker = jnp.cumsum(counts, axis=2) - counts
    flattened = (step // 2 + darker) // jnp.maximum(step, 1)
    return jnp.where(step > 0, jnp.minimum(flattened, 255), levels)


def _degenerates(images: Images, operations: Operations) -> Int[Array, "n h w 3"]:
    """What each image is blended with: black, where it is not blended at all."""
    gray = _gray(images)
    _, height, width, _ = images.shape
    pixels = height * width
    # In whole numbers, rounded half up. 32 unsigned bits are enough up to 2048x2048.
    total = gray.sum(axis=(1, 2), dtype=jnp.uint32)
    mean = ((2 * total + pixels) // (2 * pixels)).astype(jnp.int32)

    def chosen(name: str) -> Bool[Array, "n 1 1 1"]:
        return _one_of(operations, name)[:, None, None, None]

    plain = jnp.where(chosen("contrast"), mean[:, None, None, None], 0)
    plain = jnp.where(chosen("color"), gray[..., None], plain)
    return jnp.where(chosen("sharpness"), _smooth(images), plain)


def _gray(images: Images) -> Int[Array, "n h w"]:
    """Pillow's conversion to L: ITU-R 601 in 16 fractional bits."""
    red, green, blue = (images[..., c].astype(jnp.int32) for c in range(3))
    return (19595 * red + 38470 * green + 7471 * blue + 32768) >> 16


def _smooth(images: Images) -> Int[Array, "n h w 3"]:
    """Pillow's SMOOTH: a 3x3 mean with the centre counted five times, but no edges."""
    whole = images.astype(jnp.int32)
    height, width = images.shape[1:3]
    if height < 3 or width < 3:
        return whole
    rows = whole[:, :-2] + whole[:, 1:-1] + whole[:, 2:]
    total = rows[:, :, :-2] + rows[:, :, 1:-1] + rows[:, :, 2:]
    total += 4 * whole[:, 1:-1, 1:-1]
    # total / 13 is never halfway between two levels, so rounding has one meaning.
    return whole.at[:, 1:-1, 1:-1].set((2 * total + 13) // 26)


def _blend(
    degenerates: Int[Array, "n h w 3"], images: Images, factors: Strengths
) -> Images:
    """From the degenerate image (0) over the image itself (1) and past it."""
    start = degenerates.astype(jnp.float32)
    step = images.astype(jnp.float32) - start
    values = start + factors[:, None, None, None] * step
    # Pillow cuts off the fraction.
    return jnp.clip(values, 0, 255).astype(jnp.uint8)


def _maps(
    operations: Operations, signed: Strengths, height: int, width: int
) -> Float[Array, "n 2 3"]:
    """From a place in the result to one in the image; both in pixels, (x, y)."""

    def only(name: str, values: Strengths) -> Strengths:
        return jnp.where(_one_of(operations, name), values, 0.0)

    angle = only("rotate", -jnp.radians(3 * signed))
    cosine, sine = jnp.cos(angle), jnp.sin(angle)
    x, y = width / 2, height / 2
    across = [
        cosine,
        sine + only("shear_x", 0.03 * signed),
        x - cosine * x - sine * y + only("translate_x", 0.045 * width * signed),
    ]
    down = [
        -sine + only("shear_y", 0.03 * signed),
        cosine,
        y + sine * x - cosine * y + only("translate_y", 0.045 * height * signed),
    ]
    return jnp.stack([jnp.stack(across, -1), jnp.stack(down, -1)], axis=1)
