"""The network that a population learns from besides the labels."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from jaxbench.training.members import Trainable
from jaxbench.training.recipes import Recipe


@dataclass(frozen=True, eq=False)
class Teacher:
    """A trained network, run in evaluation mode inside the students' step.

    Attributes:
        classifier: Any of the zoo, of the students' classes; images are resized and
            normalised as it wants.
        variables: Its weights, flat.
        name: Says which weights these are, for the settings of a checkpoint.
    """

    classifier: Trainable
    variables: Mapping[str, Any]
    name: str


def teacher_problems(
    classifier: Trainable, teacher: Teacher | None, recipe: Recipe
) -> Iterator[str]:
    """Lists what does not fit."""
    if recipe.distillation and teacher is None:
        yield (
            f"distillation is {recipe.distillation} without a teacher; give one, "
            "or set distillation to 0"
        )
    if teacher is None:
        return
    if not recipe.distillation:
        yield (
            f"there is a teacher, {teacher.name}, and distillation is 0; give it a "
            "weight in (0, 1], or leave the teacher out"
        )
    if teacher.classifier.num_classes != classifier.num_classes:
        yield (
            f"the teacher {teacher.name} has {teacher.classifier.num_classes} classes "
            f"and {classifier.name} has {classifier.num_classes}; they must be the same"
        )
