"""RandAugment: random operations of random strength, as timm draws them."""

from functools import partial

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from jaxbench.data.augment.arguments import (
    Images,
    Number,
    PRNGKey,
    demand,
    row_keys,
    share_demand,
)
from jaxbench.data.augment.operations import KEEP, OPERATIONS, apply_operations

# timm's scale of magnitudes, whatever the operation.
MAX_MAGNITUDE = 10.0


@partial(
    jax.jit,
    static_argnames=("magnitude", "magnitude_std", "num_ops", "probability", "fill"),
)
def rand_augment(
    images: Images,
    key: PRNGKey,
    *,
    magnitude: Number = 9,
    magnitude_std: Number = 0.5,
    num_ops: int = 2,
    probability: Number = 0.5,
    fill: tuple[int, int, int] = (128, 128, 128),
) -> Images:
    """Applies random operations one after the other, each at a random strength.

    Cubuk et al. (2020), https://arxiv.org/abs/1909.13719, in the form of timm's
    "rand-m9-mstd0.5-inc1", that of DeiT and ConvNeXt: `num_ops` times one of the 15
    OPERATIONS is drawn with replacement and applied with `probability`, its magnitude
    from N(magnitude, magnitude_std), clipped to [0, 10]. Every operation gets stronger
    with it, save three that have no strength. See `operations.py` for what they do.

    Deviations from timm: the geometric operations resample bilinearly, where timm
    draws bilinear or bicubic with equal probability.

    The cost is that of all kinds of operation for every image, because one compiled
    program serves all draws.

    Args:
        images: uint8 images.
        key: A typed key; each row draws from its own.
        magnitude: Mean of the magnitudes, 0 to 10. DeiT: 9.
        magnitude_std: Their standard deviation before clipping, 0 or more.
        num_ops: How many operations, 0 or more.
        probability: That an operation drawn is applied; the paper has 1.
        fill: Colour of what comes in from outside the image. timm's training pipeline
            passes the data's mean, (124, 116, 104) for ImageNet.

    Raises:
        ValueError: If an argument is out of its range; all such are named.
    """
    demand(
        "rand_augment",
        (
            0 <= magnitude <= MAX_MAGNITUDE,
            f"magnitude is {magnitude}, wanted 0 to {MAX_MAGNITUDE:g}",
        ),
        (
            0 <= magnitude_std < float("inf"),
            f"magnitude_std is {magnitude_std}, wanted 0 or more",
        ),
        (num_ops >= 0, f"num_ops is {num_ops}, wanted 0 or more"),
        share_demand("probability", probability),
        (
            len(fill) == 3 and all(0 <= level <= 255 for level in fill),
            f"fill is {fill}, wanted three levels of 0 to 255",
        ),
    )
    draw = partial(
        draw_operations,
        num_ops=num_ops,
        magnitude=magnitude,
        magnitude_std=magnitude_std,
        probability=probability,
    )
    # A row of draws for each operation to apply.
    draws = jax.vmap(draw, out_axes=1)(row_keys(key, len(images)))

    def apply(images: Images, drawn: tuple[Array, ...]) -> tuple[Images, None]:
        return apply_operations(images, *drawn, fill=fill), None

    # A loop, not copies of its body: XLA would fuse the copies, and compute draws and
    # images anew for each pixel that reads them (three times slower on CPUs).
    images, _ = jax.lax.scan(apply, images, draws)
    return images


def draw_operations(
    key: PRNGKey,
    *,
    num_ops: int,
    magnitude: Number,
    magnitude_std: Number,
    probability: Number,
) -> tuple[Int[Array, " ops"], Float[Array, " ops"], Bool[Array, " ops"]]:
    """What an image goes through.

    Returns:
        Which operations (KEEP where one is left out), how strong, and whether in the
        negative direction.
    """
    uniform_key, normal_key = jax.random.split(key)
    # One draw for three: each one asked for adds to what there is to compile.
    which, apply, sign = jax.random.uniform(uniform_key, (3, num_ops))
    operations = jnp.floor(which * len(OPERATIONS)).astype(jnp.int32)
    strengths = magnitude + magnitude_std * jax.random.normal(normal_key, (num_ops,))
    return (
        jnp.where(apply < probability, operations, KEEP),
        jnp.clip(strengths, 0.0, MAX_MAGNITUDE),
        sign < 0.5,
    )
