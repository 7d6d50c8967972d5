"""What makes two trainings of one network two models, and what they are called.

Learning rate, weight decay, seed and the optimizer's own options are tried, and the
best of them is the model. Everything else that a training is given is part of what the
model is: a student with a teacher is another model than the same network without.
"""

import dataclasses
from collections.abc import Collection, Sequence
from typing import Any

from jaxbench.studies.curation import ARM_SETTINGS, SHARED_SETTINGS
from jaxbench.studies.naming import setting_texts
from jaxbench.training import OPTIMIZERS, SHARED_OPTIONS, Recipe

Training = tuple[Any, ...]

OPTIONS = tuple(
    dict.fromkeys(
        [
            *SHARED_OPTIONS,
            *(n for o in OPTIMIZERS.values() for n in o.options),
            "own_options",
        ]
    )
)
_RENAMED = {"batch_size": "train_batch_size"}
RECIPE = (
    "recipe",
    *(
        _RENAMED.get(field.name, field.name)
        for field in dataclasses.fields(Recipe)
        if field.name not in SHARED_OPTIONS
    ),
    *(
        "image_size",
        "crop_fraction",
        "interpolation",
        "dtype",
        "layer_decay",
        "started_from",
        "frozen",
        "teacher",
    ),
    # Two tables of teachers may share the name and not the network.
    "teacher_trial",
    "image_limit",
)
_TRIED = ("model", "optimizer", "learning_rate", "weight_decay", *OPTIONS)
# In the order in which names prefer them.
TRAINING = tuple(
    dict.fromkeys(
        [
            *("dataset", "objective", "started_from", "frozen", "teacher"),
            *RECIPE,
            *ARM_SETTINGS,
            *(name for name in SHARED_SETTINGS if name not in _TRIED),
        ]
    )
)
_SHORT = {"dataset": "train", "image_size": "size"}


def training_of(trial: dict[str, Any]) -> Training:
    """The values of `TRAINING` in a trial's row.

    An empty text says as little as None, and becomes it; zero is a value.
    """
    values = (trial.get(name) for name in TRAINING)
    return tuple(None if value == "" else value for value in values)


def training_words(trainings: Collection[Training]) -> dict[Training, str]:
    """What distinguishes trainings of one network, such as "teacher=resnet_micro".

    Of settings that differ together the first in `TRAINING` is named, and none where
    nothing was given: a student without a teacher, or a single training, has "".
    """
    places = _distinguishing(trainings)
    texts = {place: _texts({one[place] for one in trainings}) for place in places}
    return {
        one: " ".join(
            f"{_SHORT.get(TRAINING[place], TRAINING[place])}={texts[place][one[place]]}"
            for place in places
            if one[place] is not None
        )
        for one in trainings
    }


def _distinguishing(trainings: Collection[Training]) -> Sequence[int]:
    """Places of settings that distinguish all trainings, none of them in vain."""
    places: list[int] = []
    count = 1
    for place in range(len(TRAINING)):
        found = {tuple(one[i] for i in (*places, place)) for one in trainings}
        if len(found) > count:
            places, count = [*places, place], len(found)
    return places


def _texts(values: set[Any]) -> dict[Any, str]:
    """How values are shown: a network without its weights where that is enough."""
    texts = setting_texts(values)
    short = {v: text.partition(" ")[0] for v, text in texts.items()}
    return short if len(set(short.values())) == len(values) else texts
