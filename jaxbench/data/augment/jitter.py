"""Colour jitter and grayscale, as the contrastive methods draw them."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int, Key

from jaxbench.data.augment.arguments import (
    Images,
    Number,
    PRNGKey,
    demand,
    row_keys,
    share_demand,
)

# ITU-R 601 luma, to the four digits that torchvision has.
LUMA = (0.2989, 0.587, 0.114)
_BRIGHTNESS, _CONTRAST, _SATURATION, _HUE = range(4)

Colours = Float[Array, "n h w 3"]
Factors = Float[Array, " n"]


@partial(
    jax.jit,
    static_argnames=("brightness", "contrast", "saturation", "hue", "probability"),
)
def color_jitter(
    images: Images,
    key: PRNGKey,
    *,
    brightness: Number = 0.8,
    contrast: Number = 0.8,
    saturation: Number = 0.8,
    hue: Number = 0.2,
    probability: Number = 0.8,
) -> Images:
    """Changes brightness, contrast, saturation and hue of each image in a random order.

    torchvision's `ColorJitter`, applied with a probability: with x in [0, 1], g the
    gray value of each pixel and factors f from U[max(0, 1 - s), 1 + s],

        brightness  clip(f x)
        contrast    clip(f x + (1 - f) mean(g))
        saturation  clip(f x + (1 - f) g)
        hue         turned by U[-hue, hue] of the circle of HSV

    The defaults are those of SimCLR at strength 1, Chen et al. (2020), appendix A:
    https://arxiv.org/abs/2002.05709.

    Deviation: torchvision cuts an uint8 image off to whole levels after each of the
    four; here the chain is float32 and is rounded once, at its end.

    Args:
        images: uint8 images.
        key: A typed key; each row draws from its own.
        brightness: s of the brightness, 0 or more.
        contrast: s of the contrast, 0 or more.
        saturation: s of the saturation, 0 or more.
        hue: Largest turn, in [0, 0.5].
        probability: That an image is changed at all, in [0, 1].

    Raises:
        ValueError: If an argument is out of its range; all such are named.
    """
    strengths = {
        "brightness": brightness,
        "contrast": contrast,
        "saturation": saturation,
    }
    demand(
        "color_jitter",
        *(
            (0 <= value < float("inf"), f"{name} is {value}, wanted 0 or more")
            for name, value in strengths.items()
        ),
        (0 <= hue <= 0.5, f"hue is {hue}, wanted 0 to 0.5"),
        share_demand("probability", probability),
    )
    draw = partial(
        draw_jitter,
        strengths=(brightness, contrast, saturation),
        hue=hue,
        probability=probability,
    )
    order, factors, applied = jax.vmap(draw)(row_keys(key, len(images)))
    jittered = jitter(images, order, factors)
    return jnp.where(applied[:, None, None, None], jittered, images)


def draw_jitter(
    key: Key[Array, ""],
    *,
    strengths: tuple[Number, Number, Number],
    hue: Number,
    probability: Number,
) -> tuple[Int[Array, "4"], Float[Array, "4"], Bool[Array, ""]]:
    """What an image goes through.

    Returns:
        The order of the four changes, the factor of each (by change, not by place; of
        the hue the turn), and whether the image is changed at all.
    """
    order_key, factor_key, apply_key = jax.random.split(key, 3)
    low = jnp.asarray([max(0.0, 1.0 - s) for s in strengths] + [-hue], jnp.float32)
    high = jnp.asarray([1.0 + s for s in strengths] + [hue], jnp.float32)
    factors = low + (high - low) * jax.random.uniform(factor_key, (4,))
    order = jax.random.permutation(order_key, 4)
    return order, factors, jax.random.bernoulli(apply_key, probability)


def jitter(
    images: Images, order: Int[Array, "n 4"], factors: Float[Array, "n 4"]
) -> Images:
    """Applies the four changes to each image in its own order; see `color_jitter`."""
    colours = images.astype(jnp.float32) / 255

    def change(colours: Colours, place: Int[Array, " n"]) -> tuple[Colours, None]:
        factor = jnp.take_along_axis(factors, place[:, None], axis=1)[:, 0]
        mixed = _blended(colours, place, factor)
        turned = turn_hue(colours, factor)
        is_hue = (place == _HUE)[:, None, None, None]
        return jnp.where(is_hue, turned, mixed), None

    # A loop, not four copies: XLA would fuse them and compute each pixel anew.
    colours, _ = jax.lax.scan(change, colours, order.T)
    return jnp.floor(255 * colours + 0.5).astype(jnp.uint8)


def _blended(colours: Colours, place: Int[Array, " n"], factor: Factors) -> Colours:
    """From what has no brightness, contrast or saturation over the image itself."""
    gray = gray_values(colours)[..., None]
    mean = gray.mean(axis=(1, 2, 3), keepdims=True)
    place, factor = (v[:, None, None, None] for v in (place, factor))
    start = jnp.where(place == _CONTRAST, mean, 0.0)
    start = jnp.where(place == _SATURATION, gray, start)
    return jnp.clip(factor * colours + (1 - factor) * start, 0.0, 1.0)


def gray_values(colours: Colours) -> Float[Array, "n h w"]:
    """Luma of each pixel, in the unit of the colours."""
    # Summed by hand: a product with a matrix loses bits on accelerators.
    red, green, blue = (weight * colours[..., i] for i, weight in enumerate(LUMA))
    return red + green + blue


def turn_hue(colours: Colours, turn: Factors) -> Colours:
    """Turns the hue of HSV by a share of the circle; gray pixels have none.

    Smith (1978), "Color gamut transform pairs": value the largest channel, chroma the
    largest minus the smallest, hue the place on the hexagon of full colours.
    """
    red, green, blue = (colours[..., i] for i in range(3))
    value = colours.max(axis=-1)
    chroma = value - colours.min(axis=-1)
    divisor = jnp.where(chroma > 0, chroma, 1.0)
    # Places on the hexagon, in sixths.
    place = jnp.where(
        value == red,
        (green - blue) / divisor,
        jnp.where(
            value == green, (blue - red) / divisor + 2, (red - green) / divisor + 4
        ),
    )
    place = place + 6 * turn[:, None, None]
    channels = []
    for corner in (5, 3, 1):
        distance = jnp.mod(corner + place, 6.0)
        lacking = jnp.clip(jnp.minimum(distance, 4 - distance), 0.0, 1.0)
        channels.append(value - chroma * lacking)
    return jnp.stack(channels, axis=-1)


@partial(jax.jit, static_argnames=("probability",))
def random_grayscale(
    images: Images, key: PRNGKey, *, probability: Number = 0.2
) -> Images:
    """Takes the colour from each image with a probability; three equal channels remain.

    torchvision's `RandomGrayscale`: 0.2989 R + 0.587 G + 0.114 B. Deviation: the level
    is rounded, where torchvision cuts it off.

    Args:
        images: uint8 images.
        key: A typed key; each row draws from its own.
        probability: In [0, 1]; 0.2 in SimCLR.

    Raises:
        ValueError: If the probability is out of its range.
    """
    demand("random_grayscale", share_demand("probability", probability))
    draw = partial(jax.random.bernoulli, p=np.float32(probability))
    chosen = jax.vmap(draw)(row_keys(key, len(images)))
    gray = jnp.floor(gray_values(images.astype(jnp.float32)) + 0.5)
    # The weights sum to 0.9999: white stays white to rounding, and never overflows.
    gray = jnp.broadcast_to(gray.astype(jnp.uint8)[..., None], images.shape)
    return jnp.where(chosen[:, None, None, None], gray, images)
