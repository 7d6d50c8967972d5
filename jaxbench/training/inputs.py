"""From stored images to what a network sees in a step: all of it on the device."""

from dataclasses import dataclass
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, Key, UInt8

from jaxbench.data.augment import augment, mix, rand_augment, random_erasing
from jaxbench.data.preprocess import normalize
from jaxbench.training.recipes import Recipe
from model_zoo.input_spec import InputSpec


class Batches(NamedTuple):
    """Images on the device, and which of them make which step's batch.

    Resident images are the whole training set, and the rows an epoch's order; streamed
    ones are the next few batches.

    Attributes:
        images: Pixels in [0, 255].
        labels: Classes.
        rows: Positions of the images of each step.
        first: The step, counted from the start of training, that `rows[0]` is for.
    """

    images: UInt8[Array, "n h w 3"]
    labels: Int[Array, " n"]
    rows: Int[Array, "*members steps batch"]
    first: Int[Array, ""]


class StepInputs(NamedTuple):
    """What a step trains on.

    Attributes:
        images: Augmented, normalised and perhaps mixed.
        labels: Classes.
        other_labels: Those of the images that were mixed in; `labels` without mixing.
        weight: Share of the own label; 1 without mixing.
    """

    images: Float[Array, "b h w 3"]
    labels: Int[Array, " b"]
    other_labels: Int[Array, " b"]
    weight: Float[Array, " b"]


@dataclass(frozen=True)
class Augmentation:
    """What is done to a batch, besides normalisation; see `Recipe` for the fields."""

    names: tuple[str, ...] = ()
    rand_augment: float | None = None
    random_erasing: float = 0.0
    mixup: float = 0.0
    cutmix: float = 0.0

    @classmethod
    def of(cls, recipe: Recipe) -> "Augmentation":
        """The augmentation of a recipe."""
        return cls(
            tuple(recipe.augmentations),
            recipe.rand_augment,
            recipe.random_erasing,
            recipe.mixup,
            recipe.cutmix,
        )

    @property
    def mixes(self) -> bool:
        """Whether an image may carry two labels."""
        return bool(self.mixup or self.cutmix)


def step_inputs(
    augmentation: Augmentation,
    spec: InputSpec,
    batches: Batches,
    step: Int[Array, ""],
    key: Key[Array, ""],
) -> StepInputs:
    """Gathers, augments and normalises the batch of a step.

    Args:
        augmentation: What to do.
        spec: Whose mean and deviation normalise.
        batches: One member's; `rows` is [steps, batch].
        step: Counted from the start of training.
        key: Everything is drawn from it.
    """
    at = step - batches.first
    rows = jax.lax.dynamic_index_in_dim(batches.rows, at, keepdims=False)
    # "clip": the rows are in bounds by construction, so nothing needs filling.
    images = jnp.take(batches.images, rows, axis=0, mode="clip")
    labels = jnp.take(batches.labels, rows, axis=0, mode="clip")
    pixel_key, random_key, erase_key, mix_key = jax.random.split(key, 4)
    if augmentation.names:
        images = augment(images, pixel_key, augmentation.names)
    if augmentation.rand_augment is not None:
        # What comes in at the edges is the mean colour, as in timm's training.
        red, green, blue = (round(255 * mean) for mean in spec.mean)
        images = rand_augment(
            images,
            random_key,
            magnitude=augmentation.rand_augment,
            fill=(red, green, blue),
        )
    normalized = normalize(images, spec.mean, spec.std)
    if augmentation.random_erasing:
        normalized = random_erasing(
            normalized, erase_key, probability=augmentation.random_erasing
        )
    if not augmentation.mixes:
        return StepInputs(normalized, labels, labels, jnp.ones(len(rows)))
    mixed = mix(
        normalized,
        mix_key,
        mixup_alpha=augmentation.mixup,
        cutmix_alpha=augmentation.cutmix,
    )
    others = jnp.take(labels, mixed.partner, axis=0, mode="clip")
    return StepInputs(mixed.images, labels, others, mixed.weight)


def seen_by(
    images: Float[Array, "b h w 3"], student: InputSpec, teacher: InputSpec
) -> Float[Array, "b th tw 3"]:
    """A student's normalised images as its teacher wants them.

    Normalised with the teacher's mean and deviation, and resized to its size where that
    is another: bicubic, with antialiasing.
    """
    if (student.mean, student.std) != (teacher.mean, teacher.std):
        old_mean, old_std, mean, std = (
            jnp.asarray(values, images.dtype)[None, None, None]
            for values in (student.mean, student.std, teacher.mean, teacher.std)
        )
        images = (images * old_std + old_mean - mean) / std
    if tuple(student.size) != tuple(teacher.size):
        shape = (len(images), *teacher.size, 3)
        images = jax.image.resize(images, shape, method="cubic")
    return images
