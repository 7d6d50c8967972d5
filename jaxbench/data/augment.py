"""Augmentations on the device: uint8 in, uint8 out, the shape unchanged.

All are pure functions of (images, key) and jitted; every example draws from its own
key, `fold_in(key, row)`, so a row's result does not depend on how many rows follow.
They may be vmapped over keys, or over keys and images.
"""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Literal

import jax
import jax.numpy as jnp
from jaxtyping import Array, Key, UInt8

from jaxbench.errors import UserError, unknown_name

Images = UInt8[Array, "n h w 3"]
PRNGKey = Key[Array, ""]


def _row_keys(key: PRNGKey, num_rows: int) -> Key[Array, " n"]:
    return jax.vmap(partial(jax.random.fold_in, key))(jnp.arange(num_rows))


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

    return jax.vmap(crop)(padded, _row_keys(key, len(images)))


_MODES = ("reflect", "constant")


@jax.jit
def random_flip(images: Images, key: PRNGKey) -> Images:
    """Mirrors each image left to right with probability one half."""
    flips = jax.vmap(jax.random.bernoulli)(_row_keys(key, len(images)))
    return jnp.where(flips[:, None, None, None], images[:, :, ::-1], images)


def crop_by_eighth(images: Images, key: PRNGKey) -> Images:
    """`random_crop` by an eighth of the shorter side: 4 of 32 pixels, as for CIFAR."""
    return random_crop(images, key, padding=max(1, min(images.shape[1:3]) // 8))


def shift(images: Images, key: PRNGKey) -> Images:
    """Moves each image by up to one pixel, black coming in: for tiny images."""
    return random_crop(images, key, padding=1, mode="constant")


# Name -> fn(images uint8 [n, h, w, 3], key) -> uint8 [n, h, w, 3].
AUGMENTATIONS: dict[str, Callable[[Images, PRNGKey], Images]] = {
    "crop": crop_by_eighth,
    "flip": random_flip,
    "shift": shift,
}


def augment(images: Images, key: PRNGKey, names: Sequence[str]) -> Images:
    """Applies augmentations one after the other, each with a key of its own.

    Args:
        images: uint8 images.
        key: A typed key.
        names: Of AUGMENTATIONS, in the order of use; none leaves the images as they
            are.

    Raises:
        UserError: If a name is unknown; all such are named.
    """
    unknown = [name for name in names if name not in AUGMENTATIONS]
    if unknown:
        messages = (unknown_name("augmentation", n, AUGMENTATIONS) for n in unknown)
        raise UserError("; ".join(messages))
    for place, name in enumerate(names):
        images = AUGMENTATIONS[name](images, jax.random.fold_in(key, place))
    return images
