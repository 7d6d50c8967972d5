import pytest

from jaxbench.data.augment import AUGMENTATIONS
from jaxbench.errors import UserError
from jaxbench.training import HyperParameters, Recipe


def test_defaults_are_valid_and_equal_recipes_hash_alike():
    assert Recipe() == Recipe()
    assert hash(Recipe(augmentations=["flip"])) == hash(Recipe(augmentations=("flip",)))
    assert Recipe(epochs=2, warmup_epochs=2.0, clip_norm=1.0).clip_norm == 1


def test_every_augmentation_of_the_table_is_accepted():
    assert Recipe(augmentations=tuple(AUGMENTATIONS)).augmentations == tuple(
        AUGMENTATIONS
    )


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("epochs", 0),
        ("epochs", True),
        ("batch_size", 0),
        ("warmup_epochs", -1.0),
        ("warmup_epochs", 11.0),
        ("warmup_epochs", float("nan")),
        ("label_smoothing", 1.0),
        ("label_smoothing", float("nan")),
        ("clip_norm", 0.0),
        ("drop_rate", 1.0),
        ("drop_path_rate", -0.1),
        ("augmentations", "flip"),
    ],
)
def test_a_value_out_of_range_is_named(field, value):
    unchecked = {field: value}
    with pytest.raises(UserError, match=f"{field} is {value!r}"):
        Recipe(**unchecked)


def test_all_problems_are_named_at_once():
    with pytest.raises(UserError) as caught:
        Recipe(epochs=0, batch_size=-2, augmentations=("flipp",), drop_rate=2.0)
    message = str(caught.value)
    for part in ("epochs", "batch_size", "drop_rate", "'flipp'; did you mean 'flip'"):
        assert part in message


@pytest.mark.parametrize(
    "wrong",
    [
        {"learning_rate": 0.0},
        {"learning_rate": float("inf")},
        {"learning_rate": 0.1, "weight_decay": -1e-4},
        {"learning_rate": 0.1, "seed": -1},
        {"learning_rate": 0.1, "seed": 2**32},
    ],
)
def test_hyper_parameters_out_of_range_are_refused(wrong):
    name = list(wrong)[-1]
    with pytest.raises(UserError, match=f"{name} is"):
        HyperParameters(**wrong)
