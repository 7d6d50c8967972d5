"""CLIP models that are evaluated by the names of the classes."""

import dataclasses
import importlib.util
from pathlib import Path
from typing import Literal, Protocol, runtime_checkable

import numpy as np

from jaxbench.config import PRETRAINED, SubjectConfig
from jaxbench.errors import UserError, unknown_name
from model_zoo import Classifier, Variables, list_models, list_pretrained
from model_zoo.clip.pretrained import ClipPretrained, clip_checkpoints, find_clip
from model_zoo.clip.prompts import Prompts, load_prompts
from model_zoo.clip.tokenizer import find_vocabulary
from model_zoo.clip.zero_shot import zero_shot_classifier
from model_zoo.input_spec import TEST_SIZE, Interpolation


def zero_shot_problems(entry: SubjectConfig) -> list[str]:
    """What is wrong with a table whose `zero_shot` is set, before data is opened."""
    assert entry.zero_shot is not None
    problems = []
    if ":" in entry.name or entry.weights.startswith("random:"):
        problems.append("wanted a CLIP model of the zoo with trained weights")
    if entry.num_classes is not None:
        problems.append("num_classes is the number of class names; leave it out")
    if entry.classes is not None or entry.class_order is not None:
        problems.append(
            "its class names say which class an output means; leave classes and "
            "class_order out"
        )
    if importlib.util.find_spec("tokenizers") is None:
        problems.append(
            "the tokenizers library is not installed: pip install 'jaxbench[clip]'"
        )
    try:
        read_prompts(entry.zero_shot)
    except UserError as error:
        problems.append(str(error))
    try:
        if not problems:
            for name in expand_zero_shot(entry):
                find_towers(name, entry.weights, entry)
    except UserError as error:
        problems.append(str(error))
    return [f"zero_shot of model {entry.name!r}: {problem}" for problem in problems]


def read_prompts(source: str) -> Prompts:
    """Class names and templates.

    Raises:
        UserError: If there are none there.
    """
    try:
        return load_prompts(source)
    except (FileNotFoundError, ValueError) as error:
        raise UserError(str(error)) from error


def expand_zero_shot(entry: SubjectConfig) -> tuple[str, ...]:
    """Names of CLIP models that a pattern means, given where the weights come from.

    Raises:
        UserError: If there are none.
    """
    pattern, weights = entry.name, entry.weights
    if not any(mark in pattern for mark in "*?["):
        return (pattern,)
    if weights == PRETRAINED:
        known = clip_checkpoints()
        names = tuple(n for n in list_models(pattern, pretrained=True) if n in known)
    else:
        try:
            known = list_pretrained(weights)
        except FileNotFoundError as error:
            raise UserError(str(error)) from error
        names = tuple(list_pretrained(weights, pattern))
    if not names:
        raise UserError(unknown_name("CLIP model", pattern, known))
    return names


@runtime_checkable
class Choices(Protocol):
    """What a table asks for of a model's input; None is the weights' own."""

    @property
    def image_size(self) -> int | Literal["test"] | None: ...  # noqa: D102
    @property
    def crop_fraction(self) -> float | None: ...  # noqa: D102
    @property
    def interpolation(self) -> Interpolation | None: ...  # noqa: D102
    @property
    def dtype(self) -> str: ...  # noqa: D102


def find_towers(name: str, weights: str, choices: Choices) -> ClipPretrained:
    """A CLIP model and where its weights are.

    Args:
        name: Of the model.
        weights: Where they are.
        choices: Its input; its size is a number of pixels.

    Raises:
        UserError: If it is none, or the weights are not there.
    """
    source = None if weights == PRETRAINED else weights
    size = choices.image_size
    if size == TEST_SIZE:
        raise UserError(
            f"image_size {TEST_SIZE!r} is that of a head's published results; give a "
            "number of pixels"
        )
    try:
        found = find_clip(
            name, source=source, image_size=size, dtype=np.dtype(choices.dtype)
        )
        spec = found.input_spec.adjusted(choices.crop_fraction, choices.interpolation)
        return dataclasses.replace(found, input_spec=spec)
    except (FileNotFoundError, ValueError) as error:
        raise UserError(str(error)) from error


def check_count(entry: SubjectConfig, prompts: Prompts, known: int, data: str) -> None:
    """Raises UserError if the dataset has another number of classes than prompts."""
    count = len(prompts.class_names)
    if count != known:
        raise UserError(
            f"zero_shot of model {entry.name!r}: {entry.zero_shot!r} names {count} "
            f"classes, {data} has {known}; give a file with the dataset's class names "
            "in the order of its labels"
        )


def beside_weights(found: ClipPretrained) -> Path | None:
    """The vocabulary beside the weights, which decides numbers as they do."""
    return find_vocabulary(found.path.parent) if found.path else None


def make_zero_shot(
    found: ClipPretrained, prompts: Prompts
) -> tuple[Classifier, Variables]:
    """Reads a CLIP model and encodes the names of its classes."""
    tokenizer = found.tokenizer()
    clip, variables = found.load()
    return zero_shot_classifier(clip, variables, prompts, tokenizer)
