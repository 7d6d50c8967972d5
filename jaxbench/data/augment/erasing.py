"""Random erasing of normalised images."""

from functools import partial

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Int

from jaxbench.data.augment.arguments import (
    Normalized,
    Number,
    PRNGKey,
    Range,
    box_demands,
    demand,
    row_keys,
    share_demand,
)
from jaxbench.data.augment.boxes import random_box


@partial(jax.jit, static_argnames=("probability", "area", "ratio"))
def random_erasing(
    images: Normalized,
    key: PRNGKey,
    *,
    probability: Number = 0.25,
    area: Range = (0.02, 1 / 3),
    ratio: Range = (0.3, 10 / 3),
) -> Normalized:
    """Fills a random rectangle of some images with noise, N(0, 1) for each value.

    Zhong et al. (2017), https://arxiv.org/abs/1708.04896, as timm's `RandomErasing` in
    mode "pixel" with one rectangle: up to ten tries of a uniform area and a log-uniform
    aspect ratio; the first rectangle that is lower and narrower than the image counts,
    at a uniform place; after ten that are not, nothing is erased. A rectangle may round
    to zero pixels in images of a few pixels. This does not deviate from timm.

    Args:
        images: Normalised images, of any float type; the noise is drawn in it.
        key: A typed key; each row draws from its own.
        probability: Of erasing something, for each image.
        area: Range of the rectangle's share of the area, in (0, 1].
        ratio: Range of the rectangle's height divided by its width.

    Raises:
        ValueError: If a range is empty or out of bounds; all such are named.
    """
    demand(
        "random_erasing",
        share_demand("probability", probability),
        *box_demands("area", area, ratio),
    )

    _, height, width, _ = images.shape

    def erase(image: Array, row_key: PRNGKey) -> Array:
        apply_key, box_key, noise_key = jax.random.split(row_key, 3)
        erased = _random_rectangle(box_key, (height, width), area, ratio)
        erased &= jax.random.bernoulli(apply_key, probability)
        noise = jax.random.normal(noise_key, image.shape, image.dtype)
        return jnp.where(erased[:, :, None], noise, image)

    return jax.vmap(erase)(images, row_keys(key, len(images)))


def _random_rectangle(
    key: PRNGKey,
    size: tuple[int, int],
    area: Range,
    ratio: Range,
) -> Bool[Array, "h w"]:
    """Which pixels lie in it; none, if ten tries did not fit."""
    height, width = size
    box = random_box(
        key,
        size,
        area,
        ratio,
        smallest=0,
        largest=(height - 1, width - 1),
        otherwise=(0, 0),
    )
    return (
        _between(height, box.top, box.height)[:, None]
        & _between(width, box.left, box.width)[None, :]
    )


def _between(
    length: int, start: Int[Array, ""], size: Int[Array, ""]
) -> Bool[Array, " length"]:
    places = jnp.arange(length)
    return (places >= start) & (places < start + size)
