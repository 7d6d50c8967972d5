"""CLIP models that are evaluated by the names of the classes."""

import dataclasses
import importlib.util

import numpy as np

from jaxbench.config import PRETRAINED, SubjectConfig
from jaxbench.errors import UserError, unknown_name
from model_zoo import list_models, list_pretrained
from model_zoo.clip.pretrained import ClipPretrained, clip_checkpoints, find_clip
from model_zoo.clip.prompts import Prompts, load_prompts
from model_zoo.input_spec import TEST_SIZE


def zero_shot_problems(entry: SubjectConfig) -> list[str]:
    """Problems of a table whose `zero_shot` is set, before data is opened."""
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
    """Class names and templates; UserError if they cannot be read."""
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


def find_towers(name: str, weights: str, entry: SubjectConfig) -> ClipPretrained:
    """A CLIP model and where its weights are.

    Args:
        name: Of the model.
        weights: Where they are.
        entry: Its table; the size is a number of pixels.

    Raises:
        UserError: If it is not a CLIP model, or the weights are not there.
    """
    size = entry.image_size
    if size == TEST_SIZE:
        raise UserError(
            f"image_size {TEST_SIZE!r} is that of a head's published results; give a "
            "number of pixels"
        )
    source = None if weights == PRETRAINED else weights
    try:
        found = find_clip(
            name, source=source, image_size=size, dtype=np.dtype(entry.dtype)
        )
        spec = found.input_spec.adjusted(entry.crop_fraction, entry.interpolation)
        return dataclasses.replace(found, input_spec=spec)
    except (FileNotFoundError, ValueError) as error:
        raise UserError(str(error)) from error
