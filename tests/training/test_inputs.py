"""What a step sees: the right rows, augmented and mixed as the recipe says."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxbench.data.preprocess import normalize
from jaxbench.training import Recipe
from jaxbench.training.inputs import Augmentation, Batches, seen_by, step_inputs
from model_zoo.input_spec import InputSpec
from tests.training.doubles import SPEC, make_images

IMAGES, LABELS = make_images(24)
ROWS = np.random.default_rng(0).permutation(24).astype(np.int32).reshape(3, 8)
KEY = jax.random.key(3)


def inputs(step=11, **changes):
    batches = Batches(*jax.device_put((IMAGES, LABELS, ROWS, np.int32(10))))
    augmentation = Augmentation.of(Recipe(**changes))
    return step_inputs(augmentation, SPEC, batches, jnp.int32(step), KEY)


def test_a_step_takes_its_row_of_the_order():
    found = inputs()
    np.testing.assert_array_equal(found.labels, LABELS[ROWS[1]])
    expected = normalize(jnp.asarray(IMAGES[ROWS[1]]), SPEC.mean, SPEC.std)
    np.testing.assert_array_equal(found.images, expected)
    np.testing.assert_array_equal(found.other_labels, found.labels)
    np.testing.assert_array_equal(found.weight, 1)


@pytest.mark.parametrize(
    "change",
    [
        {"augmentations": ("crop",)},
        {"rand_augment": 9.0},
        {"random_erasing": 1.0},
        {"mixup": 1.0},
        {"cutmix": 1.0},
    ],
    ids=lambda change: next(iter(change)),
)
def test_each_augmentation_changes_images_and_none_their_labels(change):
    plain, changed = inputs(), inputs(**change)
    assert (plain.images != changed.images).any()
    assert changed.images.shape == plain.images.shape
    np.testing.assert_array_equal(plain.labels, changed.labels)
    mixes = "mixup" in change or "cutmix" in change
    assert bool((changed.weight < 1).any()) == mixes


def test_mixed_images_are_what_their_labels_say():
    mixed, plain = inputs(mixup=1.0), inputs()
    share = mixed.weight[:, None, None, None]
    other = plain.images[::-1]
    np.testing.assert_array_equal(mixed.other_labels, plain.labels[::-1])
    expected = share * plain.images + (1 - share) * other
    np.testing.assert_allclose(mixed.images, expected, atol=1e-5)


def test_a_teacher_sees_the_same_pixels_in_its_own_terms():
    teacher = InputSpec((8, 8), mean=(0.1, 0.2, 0.3), std=(0.5, 0.6, 0.7))
    images = jnp.asarray(IMAGES[:4])
    seen = seen_by(normalize(images, SPEC.mean, SPEC.std), SPEC, teacher)
    np.testing.assert_allclose(
        seen, normalize(images, teacher.mean, teacher.std), atol=1e-5
    )
    larger = InputSpec((12, 10), mean=SPEC.mean, std=SPEC.std)
    constant = jnp.full((2, 8, 8, 3), 0.25)
    seen = seen_by(constant, SPEC, larger)
    assert seen.shape == (2, 12, 10, 3)
    np.testing.assert_allclose(seen, 0.25, atol=1e-6)
