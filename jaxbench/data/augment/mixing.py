"""Mixup and CutMix of a batch with itself."""

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from jaxbench.data.augment.arguments import (
    Normalized,
    Number,
    PRNGKey,
    demand,
    share_demand,
)


class Mixed(NamedTuple):
    """A mixed batch and what its labels are.

    Row i's loss is `weight[i] * loss(labels[i]) + (1 - weight[i]) *
    loss(labels[partner[i]])`, or one loss of the labels mixed so.

    Attributes:
        images: The mixed images.
        partner: The row that each row was mixed with.
        weight: The share of a row's own label, in [0, 1]; 1 where nothing was mixed.
    """

    images: Float[Array, "*members n h w c"]
    partner: Int[Array, "*members n"]
    weight: Float[Array, "*members n"]


@partial(
    jax.jit,
    static_argnames=(
        "mixup_alpha",
        "cutmix_alpha",
        "switch_probability",
        "probability",
    ),
)
def mix(
    images: Normalized,
    key: PRNGKey,
    *,
    mixup_alpha: Number,
    cutmix_alpha: Number,
    switch_probability: Number = 0.5,
    probability: Number = 1.0,
) -> Mixed:
    """Mixes a batch with itself in reverse order, by Mixup or by CutMix.

    Mixup, Zhang et al. (2018), https://arxiv.org/abs/1710.09412: the weighted mean of
    two images, the own one's weight drawn from Beta(alpha, alpha). CutMix, Yun et al.
    (2019), https://arxiv.org/abs/1905.04899: a box of share 1 - weight of the partner's
    image pasted over the own one, centred anywhere and cut off at the image's border;
    the weight of the labels is corrected to the area that was pasted.

    As timm's `Mixup` in mode "batch": one kind, one weight and one box for the batch,
    and row i's partner is row n - 1 - i. The papers draw the partners at random, which
    in a shuffled batch is the same. Of an odd number of rows, which timm refuses, the
    middle one is its own partner.

    Args:
        images: Normalised images.
        key: A typed key, used for the whole batch.
        mixup_alpha: Of the Beta distribution, 0 for no Mixup. DeiT: 0.8.
        cutmix_alpha: Of the Beta distribution, 0 for no CutMix. DeiT: 1.0.
        switch_probability: Of CutMix, where both have an alpha above 0.
        probability: Of mixing at all.

    Raises:
        ValueError: If both alphas are 0 or an argument is out of its range; all such
            are named.
    """
    demand(
        "mix",
        *(
            (0 <= alpha < float("inf"), f"{name} is {alpha}, wanted 0 or more")
            for name, alpha in (
                ("mixup_alpha", mixup_alpha),
                ("cutmix_alpha", cutmix_alpha),
            )
        ),
        (
            not mixup_alpha == cutmix_alpha == 0,
            "mixup_alpha and cutmix_alpha are both 0, which mixes nothing; wanted one "
            "above 0",
        ),
        share_demand("switch_probability", switch_probability),
        share_demand("probability", probability),
    )
    apply_key, switch_key, beta_key, box_key = jax.random.split(key, 4)
    apply = jax.random.bernoulli(apply_key, probability)
    if mixup_alpha and cutmix_alpha:
        cut = jax.random.bernoulli(switch_key, switch_probability)
    else:
        cut = jnp.asarray(not mixup_alpha)
    alpha = jnp.where(cut, jnp.float32(cutmix_alpha), jnp.float32(mixup_alpha))
    share = jax.random.beta(beta_key, alpha, alpha)
    pasted, kept_share = _cutmix(images, box_key, share)
    mixed = jnp.where(cut, pasted, _mixup(images, share))
    weight = jnp.where(apply, jnp.where(cut, kept_share, share), 1.0)
    rows = jnp.arange(len(images), dtype=jnp.int32)
    return Mixed(
        jnp.where(apply, mixed, images), rows[::-1], jnp.full(len(images), weight)
    )


def _mixup(images: Normalized, share: Float[Array, ""]) -> Normalized:
    # float32 whatever the images are: the two shares would not sum to one in bfloat16.
    exact = images.astype(jnp.float32)
    return (share * exact + (1 - share) * exact[::-1]).astype(images.dtype)


def _cutmix(
    images: Normalized, key: PRNGKey, share: Float[Array, ""]
) -> tuple[Normalized, Float[Array, ""]]:
    """The images with a box of their partners, and the share of pixels outside it."""
    _, height, width, _ = images.shape
    # Sides of this share of the image's, so that the area is 1 - share of the image's.
    side = jnp.sqrt(1 - share)
    row_key, column_key = jax.random.split(key)
    rows = _box_side(row_key, height, side)
    columns = _box_side(column_key, width, side)
    inside = rows[None, :, None, None] & columns[None, None, :, None]
    kept = height * width - rows.sum() * columns.sum()
    return (
        jnp.where(inside, images[::-1], images),
        kept.astype(jnp.float32) / (height * width),
    )


def _box_side(
    key: PRNGKey, length: int, share: Float[Array, ""]
) -> Bool[Array, " length"]:
    """Which places along a side of the image the box covers."""
    size = jnp.floor(length * share).astype(jnp.int32)
    center = jax.random.randint(key, (), 0, length)
    places = jnp.arange(length)
    return (places >= center - size // 2) & (places < center + (size + 1) // 2)
