"""Gaussian blur of a random width."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, UInt8

from jaxbench.data.augment.arguments import (
    Images,
    Number,
    PRNGKey,
    Range,
    demand,
    row_keys,
    share_demand,
)


@partial(jax.jit, static_argnames=("sigma", "kernel_size", "probability"))
def gaussian_blur(
    images: Images,
    key: PRNGKey,
    *,
    sigma: Range = (0.1, 2.0),
    kernel_size: int | None = None,
    probability: Number = 0.5,
) -> Images:
    """Blurs each image with a probability, by a Gaussian of random deviation.

    With r the kernel's radius and s the deviation, weights proportional to
    exp(-t^2 / (2 s^2)) for t = -r ... r that sum to 1, along the width and the height;
    edges are mirrored without repeating the outermost pixel. That is torchvision's
    `GaussianBlur`; the defaults are SimCLR's, Chen et al. (2020), appendix A:
    https://arxiv.org/abs/2002.05709.

    Args:
        images: uint8 images.
        key: A typed key; each row draws from its own.
        sigma: Range of the deviation, in pixels, above 0.
        kernel_size: Pixels of the kernel, odd, its radius less than the sides. SimCLR's
            when None: a tenth of the height, made odd. Below 10 pixels that is one, and
            nothing is blurred.
        probability: That an image is blurred, in [0, 1].

    Raises:
        ValueError: If an argument is out of its range; all such are named.
    """
    _, height, width, _ = images.shape
    size = simclr_kernel_size(height) if kernel_size is None else kernel_size
    most = 2 * min(height, width) - 1
    demand(
        "gaussian_blur",
        (
            len(sigma) == 2 and 0 < sigma[0] <= sigma[-1] < float("inf"),
            f"sigma is {sigma}, wanted (low, high) with 0 < low <= high",
        ),
        (
            size % 2 == 1 and 1 <= size <= most,
            f"kernel_size is {size}, wanted an odd number from 1 to {most}",
        ),
        share_demand("probability", probability),
    )
    if size == 1:
        return images
    keys = jax.vmap(jax.random.split)(row_keys(key, len(images)))
    deviations = jax.vmap(
        partial(jax.random.uniform, minval=sigma[0], maxval=sigma[1])
    )(keys[:, 0])
    chosen = jax.vmap(partial(jax.random.bernoulli, p=np.float32(probability)))(
        keys[:, 1]
    )
    return jnp.where(
        chosen[:, None, None, None], blurred(images, deviations, size), images
    )


def simclr_kernel_size(height: int) -> int:
    """A tenth of the height, odd: 23 pixels of 224, 9 of 96, 3 of 32."""
    return 2 * (height // 10 // 2) + 1


def blurred(
    images: Images, deviations: Float[Array, " n"], size: int
) -> UInt8[Array, "n h w 3"]:
    """Blurs each image by its own deviation, in pixels; see `gaussian_blur`."""
    _, height, width, _ = images.shape
    offsets = jnp.arange(size, dtype=jnp.float32) - size // 2
    weights = jnp.exp(-0.5 * (offsets[None, :] / deviations[:, None]) ** 2)
    weights = weights / weights.sum(axis=1, keepdims=True)
    # Accelerators would round the weights to fewer bits than a level needs.
    product = partial(jnp.einsum, precision=jax.lax.Precision.HIGHEST)
    down = product("nt,tyh->nyh", weights, _mirrored(size, height))
    across = product("nt,txw->nxw", weights, _mirrored(size, width))
    values = product("nyh,nhwc->nywc", down, images.astype(jnp.float32))
    values = product("nxw,nywc->nyxc", across, values)
    return jnp.clip(jnp.floor(values + 0.5), 0, 255).astype(jnp.uint8)


def _mirrored(size: int, length: int) -> np.ndarray:
    """Which pixel each place of the kernel reads: 1 at [place, pixel, pixel read]."""
    radius = size // 2
    padded = np.pad(np.arange(length), radius, mode="reflect")
    reads = padded[np.arange(size)[:, None] + np.arange(length)[None, :]]
    return (reads[:, :, None] == np.arange(length)).astype(np.float32)
