import numpy as np
import pytest

from jaxbench.training import HyperParameters, Recipe, TrainingImages, train_population
from tests.training.doubles import ConvNet, make_images

MEMBERS = (
    HyperParameters(0.05, 1e-3, seed=0),
    HyperParameters(0.01, 0.0, seed=1),
    HyperParameters(0.05, 1e-3, seed=2),
)
RECIPE = Recipe(
    epochs=2,
    batch_size=16,
    warmup_epochs=0.5,
    label_smoothing=0.1,
    augmentations=("shift", "flip"),
    clip_norm=1.0,
)


@pytest.fixture
def train():
    """`train_population` on small defaults, any of which may be replaced."""

    def call(
        classifier=None,
        optimizer="sgd",
        members=MEMBERS,
        recipe=RECIPE,
        data=None,
        **options,
    ):
        images, labels = data or make_images()
        classifier = classifier or ConvNet("net", drop_rate=0.2)
        return train_population(
            classifier,
            optimizer,
            members,
            TrainingImages(images, labels),
            recipe,
            **options,
        )

    return call


@pytest.fixture
def assert_same():
    """Compares two results member by member, exactly or to a tolerance."""

    def compare(first, second, atol=0.0):
        assert len(first.variables) == len(second.variables)
        for ours, theirs in zip(first.variables, second.variables, strict=True):
            assert ours.keys() == theirs.keys()
            for name, value in ours.items():
                np.testing.assert_allclose(
                    value, theirs[name], rtol=atol, atol=atol, err_msg=name
                )
        assert first.curves.keys() == second.curves.keys()
        for name in first.curves.keys() - {"seconds"}:
            curve = first.curves[name]
            np.testing.assert_allclose(
                curve, second.curves[name], rtol=atol, atol=atol, err_msg=name
            )
        assert first.diverged_step == second.diverged_step
        assert first.stopped_step == second.stopped_step

    return compare
