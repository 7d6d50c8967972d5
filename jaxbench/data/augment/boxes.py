"""Random rectangles, as torchvision and timm draw them."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Int

from jaxbench.data.augment.arguments import PRNGKey, Range

# As torchvision and timm: after ten rectangles that do not fit, they give up.
NUM_TRIES = 10

Whole = Int[Array, "*n"]


class Box(NamedTuple):
    """A rectangle of whole pixels."""

    top: Whole
    left: Whole
    height: Whole
    width: Whole


def random_box(
    key: PRNGKey,
    size: tuple[int, int],
    area: Range,
    ratio: Range,
    *,
    smallest: int,
    largest: tuple[int, int],
    otherwise: tuple[int, int],
) -> Box:
    """The first of ten rectangles that fits, at a uniform place.

    All ten are drawn at once, which changes no probability: the area is uniform, the
    aspect ratio log-uniform, and the sides are rounded.

    Args:
        key: A typed key.
        size: Height and width of the image.
        area: Range of the rectangle's share of the image's.
        ratio: Range of the rectangle's height divided by its width.
        smallest: Number of pixels that either side must have.
        largest: Height and width that it must not exceed.
        otherwise: Height and width where none fits; the place is then the centre.
    """
    # One draw for all: each one asked for adds to what there is to compile.
    tries = jax.random.uniform(key, (NUM_TRIES + 1, 2))
    areas = size[0] * size[1] * (area[0] + tries[:-1, 0] * (area[1] - area[0]))
    low, high = (jnp.log(jnp.float32(bound)) for bound in ratio)
    ratios = jnp.exp(low + tries[:-1, 1] * (high - low))
    sides = jnp.sqrt(jnp.stack([areas * ratios, areas / ratios], axis=1))
    sides = jnp.round(sides).astype(jnp.int32)
    fits = ((sides >= smallest) & (sides <= jnp.asarray([largest]))).all(axis=1)
    found = fits.any()
    chosen = jnp.where(found, sides[jnp.argmax(fits)], jnp.asarray(otherwise))
    free = jnp.asarray(size) - chosen
    place = jnp.floor(tries[-1] * (free + 1).astype(jnp.float32)).astype(jnp.int32)
    return Box(*jnp.where(found, place, free // 2), *chosen)
