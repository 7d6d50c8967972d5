"""Augmentations on the device: the shape unchanged, each a pure function of a key.

Every example draws from its own key, `fold_in(key, row)`, so a row's result does not
depend on how many rows follow; only `mix`, which mixes a batch with itself, draws once
for all. All are jitted and may be vmapped over keys, or over keys and images.

`augment` goes by the names in AUGMENTATIONS, uint8 in and uint8 out. A recipe with more
has this order::

    images = augment(images, crop_key, ("resized_crop", "flip"))
    images = rand_augment(images, policy_key)
    inputs = normalize(images, spec.mean, spec.std)
    inputs = random_erasing(inputs, erase_key)
    mixed = mix(inputs, mix_key, mixup_alpha=0.8, cutmix_alpha=1.0)
"""

from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType

import jax

from jaxbench.data.augment.arguments import Images, PRNGKey
from jaxbench.data.augment.crops import (
    crop_by_eighth,
    random_crop,
    random_flip,
    random_resized_crop,
    shift,
)
from jaxbench.data.augment.erasing import random_erasing
from jaxbench.data.augment.mixing import Mixed, mix
from jaxbench.data.augment.policy import rand_augment
from jaxbench.errors import UserError, unknown_name

__all__ = [
    "AUGMENTATIONS",
    "Mixed",
    "augment",
    "mix",
    "rand_augment",
    "random_crop",
    "random_erasing",
    "random_flip",
    "random_resized_crop",
]

# Name -> fn(images uint8 [n, h, w, 3], key) -> uint8 [n, h, w, 3].
AUGMENTATIONS: Mapping[str, Callable[[Images, PRNGKey], Images]] = MappingProxyType(
    {
        "crop": crop_by_eighth,
        "flip": random_flip,
        "resized_crop": random_resized_crop,
        "shift": shift,
    }
)


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
