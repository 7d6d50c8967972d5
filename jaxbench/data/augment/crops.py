"""Crops and flips: uint8 in, uint8 out."""

from functools import partial
from typing import Literal

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from jaxbench.data.augment.arguments import (
    Images,
    PRNGKey,
    Range,
    box_demands,
    demand,
    row_keys,
)
from jaxbench.data.augment.boxes import Box, random_box
from jaxbench.errors import unknown_name


@partial(jax.jit, static_argnames=("padding", "mode"))
def random_crop(
    images: Images,
    key: PRNGKey,
    padding: int = 4,
    mode: Literal["reflect", "constant"] = "reflect",
) -> Images:
    """Pads every side and cuts a window of the old size at a random place.

    Krizhevsky's CIFAR recipe: all (2 * padding + 1)^2 offsets are equally likely.

    Args:
        images: uint8 images.
        key: A typed key; each row draws from its own.
        padding: Pixels added on every side, 0 or more.
        mode: "reflect" mirrors the image without repeating its edge (padding must be
            less than the sides); "constant" adds black.

    Raises:
        ValueError: If the padding does not fit the mode.
    """
    _, height, width, _ = images.shape
    most = min(height, width) - 1
    if padding < 0 or (mode == "reflect" and padding > most):
        raise ValueError(
            f"random_crop: padding is {padding}, wanted 0 or more and with "
            f"mode='reflect' at most {most} for {height}x{width} images"
        )
    if mode not in ("reflect", "constant"):
        raise ValueError(f"random_crop: {unknown_name('mode', mode, _MODES)}")
    widths = ((0, 0), (padding, padding), (padding, padding), (0, 0))
    padded = jnp.pad(images, widths, mode=mode)

    def crop(image: Array, row_key: Array) -> Array:
        top, left = jax.random.randint(row_key, (2,), 0, 2 * padding + 1)
        return jax.lax.dynamic_slice(
            image, (top, left, jnp.zeros_like(top)), (height, width, 3)
        )

    return jax.vmap(crop)(padded, row_keys(key, len(images)))


_MODES = ("reflect", "constant")


@jax.jit
def random_flip(images: Images, key: PRNGKey) -> Images:
    """Mirrors each image left to right with probability one half."""
    flips = jax.vmap(jax.random.bernoulli)(row_keys(key, len(images)))
    return jnp.where(flips[:, None, None, None], images[:, :, ::-1], images)


def crop_by_eighth(images: Images, key: PRNGKey) -> Images:
    """`random_crop` by an eighth of the shorter side: 4 of 32 pixels, as for CIFAR."""
    return random_crop(images, key, padding=max(1, min(images.shape[1:3]) // 8))


def shift(images: Images, key: PRNGKey) -> Images:
    """Moves each image by up to one pixel, black coming in: for tiny images."""
    return random_crop(images, key, padding=1, mode="constant")


@partial(jax.jit, static_argnames=("scale", "ratio", "interpolation"))
def random_resized_crop(
    images: Images,
    key: PRNGKey,
    *,
    scale: Range = (0.08, 1.0),
    ratio: Range = (3 / 4, 4 / 3),
    interpolation: Literal["bilinear", "bicubic"] = "bicubic",
) -> Images:
    """Cuts a random part of each image and resizes it to the image's own size.

    Szegedy et al. (2015), https://arxiv.org/abs/1409.4842, with the draws of
    torchvision's `RandomResizedCrop`: up to ten tries of a uniform area and a
    log-uniform aspect ratio, the first that fits counts, and after ten that do not fit
    the largest centred part within `ratio`.

    A part is never larger than its result, so there is nothing to antialias: the resize
    is two products with matrices of Pillow's weights, along the width and then the
    height, and 8 bits in between. It agrees with Pillow's to one level in each product,
    where a sum lies halfway between two levels and Pillow's 22-bit weights decide.

    Deviations: torchvision's result has a size of its choice, which takes the stored
    image's full resolution; here that is lost before, in loading. Its filter is
    bilinear unless asked; timm and DeiT take bicubic, the default here.

    Args:
        images: uint8 images.
        key: A typed key; each row draws from its own.
        scale: Range of the part's share of the area, in (0, 1].
        ratio: Range of the part's width divided by its height.
        interpolation: Pillow's filter of this name.

    Raises:
        ValueError: If a range is empty or out of bounds; all such are named.
    """
    demand(
        "random_resized_crop",
        *box_demands("scale", scale, ratio),
        (
            interpolation in _KERNELS,
            unknown_name("interpolation", interpolation, _KERNELS),
        ),
    )
    _, height, width, _ = images.shape
    draw = partial(part_to_enlarge, size=(height, width), scale=scale, ratio=ratio)
    parts = jax.vmap(draw)(row_keys(key, len(images)))
    weigh = partial(_resize_weights, interpolation=interpolation)
    down = jax.vmap(partial(weigh, length=height))(parts.top, parts.height)
    across = jax.vmap(partial(weigh, length=width))(parts.left, parts.width)
    # Accelerators would round the weights to fewer bits than a level needs.
    product = partial(jnp.einsum, precision=jax.lax.Precision.HIGHEST)
    wide = product("nxw,nhwc->nhxc", across, images.astype(jnp.float32))
    return _to_uint8(
        product("nyh,nhxc->nyxc", down, _to_uint8(wide).astype(jnp.float32))
    )


def _to_uint8(values: Float[Array, "n h w c"]) -> Images:
    return jnp.clip(jnp.floor(values + 0.5), 0, 255).astype(jnp.uint8)


def part_to_enlarge(
    key: PRNGKey, *, size: tuple[int, int], scale: Range, ratio: Range
) -> Box:
    """The part that `random_resized_crop` cuts out with a row's key."""
    height, width = size
    return random_box(
        key,
        size,
        scale,
        (1 / ratio[1], 1 / ratio[0]),
        smallest=1,
        largest=size,
        otherwise=(
            min(height, round(width / ratio[0])),
            min(width, round(height * ratio[1])),
        ),
    )


def _resize_weights(
    offset: Int[Array, ""],
    part: Int[Array, ""],
    *,
    length: int,
    interpolation: str,
) -> Float[Array, "length length"]:
    """What each pixel of a side adds to each pixel of its enlarged part."""
    places = jnp.arange(length)
    # The centre of each enlarged pixel, within the part, in whole numbers as long as
    # possible: a place of 200 in float32 would lose four of a weight's decimals.
    whole, rest = jnp.divmod((2 * places + 1) * part, 2 * length)
    fraction = rest.astype(jnp.float32) / (2 * length)
    steps = places[None, :] - offset - whole[:, None]
    distances = jnp.abs(steps.astype(jnp.float32) + 0.5 - fraction[:, None])
    inside = (places >= offset) & (places < offset + part)
    weights = jnp.where(inside[None, :], _KERNELS[interpolation](distances), 0.0)
    return weights / weights.sum(axis=1, keepdims=True)


def _bilinear(distance: Float[Array, "a b"]) -> Float[Array, "a b"]:
    return jnp.maximum(1 - distance, 0.0)


def _bicubic(distance: Float[Array, "a b"]) -> Float[Array, "a b"]:
    """Keys' cubic convolution with a = -0.5, as Pillow."""
    near = (1.5 * distance - 2.5) * distance**2 + 1
    far = ((-0.5 * distance + 2.5) * distance - 4) * distance + 2
    return jnp.where(distance < 1, near, jnp.where(distance < 2, far, 0.0))


_KERNELS = {"bilinear": _bilinear, "bicubic": _bicubic}
