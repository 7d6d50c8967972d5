"""Affine resampling as Pillow's `Image.transform(..., AFFINE, ..., BILINEAR)`."""

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, UInt32

from jaxbench.data.augment.arguments import Images

Plane = Float[Array, "n h w"]


def resample(
    images: Images, maps: Float[Array, "n 2 3"], fill: tuple[int, int, int]
) -> Images:
    """Looks up where each pixel of the result comes from, and interpolates there.

    Args:
        images: uint8 images.
        maps: For each image (a, b, c), (d, e, f): the pixel with the centre (x, y)
            comes from (a x + b y + c, d x + e y + f).
        fill: Colour of pixels that come from outside the image.

    Returns:
        uint8 images: Pillow's values to one level, because Pillow cuts off the fraction
        of what it computes in float64. Edges are repeated for half a pixel.
    """
    _, height, width, _ = images.shape
    x, y = _sources(maps, height, width)
    inside = (x >= 0) & (x < width) & (y >= 0) & (y < height)
    column, row = jnp.floor(x - 0.5), jnp.floor(y - 0.5)
    across, down = x - 0.5 - column, y - 0.5 - row
    column, row = column.astype(jnp.int32), row.astype(jnp.int32)
    packed = _packed(images)
    # [top or bottom][left or right]
    corners = [[_at(packed, row + i, column + j) for j in (0, 1)] for i in (0, 1)]

    def channel(index: int) -> Array:
        top, bottom = (
            _between(_unpacked(left, index), _unpacked(right, index), across)
            for left, right in corners
        )
        value = _between(top, bottom, down).astype(jnp.uint8)
        return jnp.where(inside, value, np.uint8(fill[index]))

    return jnp.stack([channel(index) for index in range(3)], axis=-1)


def _sources(
    maps: Float[Array, "n 2 3"], height: int, width: int
) -> tuple[Plane, Plane]:
    x = (jnp.arange(width, dtype=jnp.float32) + 0.5).reshape(1, 1, -1)
    y = (jnp.arange(height, dtype=jnp.float32) + 0.5).reshape(1, -1, 1)
    (a, b, c), (d, e, f) = (
        [maps[:, i, j].reshape(-1, 1, 1) for j in range(3)] for i in range(2)
    )
    return a * x + b * y + c, d * x + e * y + f


def _packed(images: Images) -> UInt32[Array, "n h w"]:
    """Three channels in one number, so that one lookup serves all three."""
    red, green, blue = (images[..., c].astype(jnp.uint32) for c in range(3))
    return red | (green << 8) | (blue << 16)


def _unpacked(packed: UInt32[Array, "n h w"], channel: int) -> Plane:
    return ((packed >> (8 * channel)) & 255).astype(jnp.float32)


def _at(
    packed: UInt32[Array, "n h w"],
    row: Int[Array, "n h w"],
    column: Int[Array, "n h w"],
) -> UInt32[Array, "n h w"]:
    """The pixels at these places, or the nearest that there is."""
    n, height, width = packed.shape
    place = jnp.clip(row, 0, height - 1) * width + jnp.clip(column, 0, width - 1)
    found = jnp.take_along_axis(
        packed.reshape(n, -1), place.reshape(n, -1), axis=1, mode="promise_in_bounds"
    )
    return found.reshape(packed.shape)


def _between(start: Plane, end: Plane, share: Plane) -> Plane:
    return start + (end - start) * share
