"""Weights that training starts from, and networks that it learns from."""

import dataclasses
from pathlib import Path
from typing import NamedTuple

from jaxbench.config import PRETRAINED, SubjectConfig, TeacherConfig, TrainConfig
from jaxbench.data import Source
from jaxbench.errors import UserError
from jaxbench.results import run_digest
from jaxbench.sweeps.expansion import source_of
from jaxbench.sweeps.files import check_unchanged, file_digest
from jaxbench.sweeps.subjects import Subject, make_subjects
from jaxbench.training import Start
from model_zoo import Pretrained, find_pretrained


class FoundStart(NamedTuple):
    """Trained weights that trials of a model start from, not read yet.

    Attributes:
        pretrained: The network that they fit: its head has its own classes.
        digest: Of the file, or the name on the hub, and of the images that the network
            wants.
        files: The file with its digest, if it is one.
    """

    pretrained: Pretrained
    digest: str
    files: tuple[tuple[Path, str], ...]


def find_start(train: TrainConfig, model: str, num_classes: int) -> FoundStart:
    """Finds the weights that a table's `weights` means for a model.

    Args:
        train: The table, whose `weights` are given.
        model: Name in the zoo.
        num_classes: Of the dataset: what weights have that do not say themselves.

    Raises:
        UserError: If there are none.
    """
    assert train.weights is not None
    where = {"source": source_of(train.weights), "image_size": train.image_size}
    try:
        found = find_pretrained(model, **where)
        if found.declared_classes is None:
            found = find_pretrained(model, **where, num_classes=num_classes)
    except (ValueError, FileNotFoundError) as error:
        raise UserError(f"weights of {model}: {error}") from error
    if found.changes:
        raise UserError(
            f"weights of {model}: their config.json makes another network of it "
            f"({found.changes_text}), and trials train {model} as the zoo has it; "
            "start from weights of that, or evaluate these as they are"
        )
    path = found.path
    weights = file_digest(path) if path else f"{PRETRAINED}:{found.classifier.name}"
    spec = dataclasses.asdict(found.classifier.input_spec)
    files = ((path, weights),) if path else ()
    return FoundStart(found, run_digest({"weights": weights, "input": spec}), files)


def load_start(
    train: TrainConfig, model: str, found: FoundStart | None
) -> Start | None:
    """Reads what trials of a model start from; None from scratch.

    Args:
        train: The table.
        model: Name in the zoo.
        found: The weights, if the table has some.

    Raises:
        UserError: If the file changed since the work was planned.
    """
    if found is None:
        plain = train.layer_decay == 1 and not train.frozen
        return None if plain else Start(None, train.layer_decay, train.frozen)
    variables = found.pretrained.load()
    check_unchanged(found.files)
    name = f"{model} {train.weights} {found.digest}"
    return Start(variables, train.layer_decay, train.frozen, name)


def teacher_subject(
    train: TrainConfig, source: Source, *, stated: bool = False
) -> Subject | None:
    """The teacher that a table names, as a model with given weights.

    Args:
        train: The table.
        source: The images that it teaches on.
        stated: Whether the user listed their classes in order.

    Raises:
        UserError: If it is not exactly one network, or its outputs are in another
            order than the images' labels.
    """
    if train.teacher is None:
        return None
    entry = teacher_entry(train.teacher)
    found = list(make_subjects(entry, source, train.dataset, stated=stated))
    if len(found) != 1:
        names = ", ".join(subject.name for subject in found) or "none"
        raise UserError(
            f"teacher {entry.name!r} with weights {entry.weights!r} stands for "
            f"{names}; wanted exactly one network"
        )
    outputs = found[0].outputs
    if outputs and outputs.class_names not in (None, tuple(source.class_names)):
        raise UserError(
            f"teacher {entry.name!r}: its outputs are other classes, or in another "
            f"order, than the labels of {train.dataset} ({outputs.said_by}); give "
            "`classes`, a file with its class names in order, so that the images are "
            "labelled as it has them"
        )
    return found[0]


def teacher_entry(teacher: TeacherConfig) -> SubjectConfig:
    """The table of a teacher as that of a model that is evaluated."""
    return SubjectConfig(
        name=teacher.name, weights=teacher.weights, image_size=teacher.image_size
    )
