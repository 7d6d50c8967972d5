"""Models that are evaluated as they are: which ones a name means, whose weights."""

import dataclasses
import functools
import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

from jaxbench.config import PRETRAINED, SubjectConfig
from jaxbench.errors import UserError, unknown_name
from jaxbench.results import run_digest
from jaxbench.sweeps.own import is_own, own_classifier
from jaxbench.sweeps.zero_shot import (
    beside_weights,
    check_count,
    expand_zero_shot,
    find_towers,
    make_zero_shot,
    read_prompts,
    zero_shot_problems,
)
from model_zoo import (
    Classifier,
    InputSpec,
    Pretrained,
    Variables,
    create_model,
    find_pretrained,
    list_models,
    list_pretrained,
    load_variables,
)
from model_zoo.clip.pretrained import ClipPretrained
from model_zoo.weights.files import parts as weight_parts


@dataclasses.dataclass(frozen=True)
class Subject:
    """A model with given weights, evaluated as it is.

    Attributes:
        name: Of the zoo, or a user's own.
        weights: A file or folder, "pretrained" or "random:SEED".
        num_classes: Outputs of the head.
        image_size: Height and width in pixels; the model's own when None.
        dtype: What activations are computed in.
        digest: Whatever decides its numbers.
        zero_shot: Where the names of its classes are, of a CLIP model.
        changes: What a config.json changes of the network, in words; None if nothing.
    """

    name: str
    weights: str
    num_classes: int
    image_size: int | None
    dtype: str
    digest: str
    zero_shot: str | None = None
    changes: str | None = None

    def classifier(self) -> Classifier:
        """The network, or a user's own."""
        if self.zero_shot is not None:
            return self._towers().classifier(self.num_classes)
        if is_own(self.name):
            return own_classifier(self.name)
        if _is_random(self.weights):
            return create_model(self.name, **self._choices())
        return self._pretrained().classifier

    def variables(self, classifier: Classifier) -> Variables:
        """Its weights: drawn from a seed, or read and checked against the classifier.

        What weights a user's own function wants, only the function knows. A CLIP
        model's text tower encodes the names of its classes here.
        """
        if self.zero_shot is not None:
            prompts = read_prompts(self.zero_shot)
            return make_zero_shot(self._towers(), prompts)[1]
        if is_own(self.name):
            return load_variables(self.weights)
        if _is_random(self.weights):
            seed = int(self.weights.removeprefix("random:"))
            return classifier.init(jax.random.key(seed))
        return self._pretrained().load()

    def _choices(self) -> dict[str, Any]:
        return {
            "num_classes": self.num_classes,
            "image_size": self.image_size,
            "dtype": np.dtype(self.dtype),
        }

    def _towers(self) -> ClipPretrained:
        return find_towers(self.name, self.weights, self.image_size, self.dtype)

    def _pretrained(self) -> Pretrained:
        return find_pretrained(
            self.name, source=_source(self.weights), **self._choices()
        )


def check_subjects(entries: tuple[SubjectConfig, ...]) -> list[str]:
    """What is wrong with the names and weights of models, before any data is opened."""
    problems = []
    for entry in entries:
        if entry.zero_shot is not None:
            problems += zero_shot_problems(entry)
            continue
        try:
            if not is_own(entry.name):
                expand_subject(entry)
        except UserError as error:
            problems.append(str(error))
    return problems


def make_subjects(
    entry: SubjectConfig, known: int, dataset: str, classes: str | None
) -> Iterator[Subject]:
    """The models that one table means.

    Args:
        entry: The table.
        known: Classes of the first clean dataset.
        dataset: Its address, for messages.
        classes: The file of class names that it is read with, if any.

    Raises:
        UserError: If weights are missing, or made for another number of classes.
    """

    def refuse(name: str, count: int, what: str) -> UserError:
        return UserError(
            f"{name} has {what}{count}, {dataset} has {known} classes, so its label "
            "numbers are not the model's; give `classes`, a file with the model's "
            "class names in order" + (f" ({classes} has {known})" if classes else "")
        )

    if entry.zero_shot is not None:
        yield from _zero_shot_subjects(entry, known, dataset)
        return
    if entry.num_classes not in (None, known):
        raise refuse(entry.name, entry.num_classes, "num_classes=")
    if is_own(entry.name):
        check_own(entry, known)
    names = (entry.name,) if is_own(entry.name) else expand_subject(entry)
    for name in names:
        found = find_weights(entry, name)
        if found.declared_classes not in (None, known):
            raise refuse(name, found.declared_classes, "num_classes=")
        yield found.subject(entry, name, known)


class FoundWeights(NamedTuple):
    """The weights that a table means for one model.

    Attributes:
        weights: As `Subject` has them.
        identity: What they are, wherever they lie.
        spec: How they want images: a file beside them may say. None where there is no
            file, and the network's name says it.
        declared_classes: Of the head, if they say.
        changes: As `Subject` has them.
    """

    weights: str
    identity: str
    spec: InputSpec | None
    declared_classes: int | None = None
    changes: str | None = None

    def subject(
        self, entry: SubjectConfig, name: str, num_classes: int, kind: str = "model"
    ) -> Subject:
        """A model of the table with these weights, of which `kind` is computed."""
        found = Subject(
            name, self.weights, num_classes, entry.image_size, entry.dtype, ""
        )
        # The same tensors in another network are another model.
        identity = " ".join(filter(None, [self.identity, self.changes]))
        found = _digested(found, identity, self.spec, kind)
        return dataclasses.replace(found, changes=self.changes)


def find_weights(
    entry: SubjectConfig, name: str, num_classes: int | None = None
) -> FoundWeights:
    """Finds the weights of one of a table's models.

    Args:
        entry: The table.
        name: Of the model.
        num_classes: Of the head that is wanted; the weights' own when None.

    Raises:
        UserError: If there are none.
    """
    given = entry.weights
    if is_own(name):
        path, spec = Path(given), own_classifier(name).input_spec
        return FoundWeights(given, file_digest(path), spec)
    if _is_random(given):
        return FoundWeights(given, given, None)
    try:
        found = find_pretrained(name, source=_source(given), num_classes=num_classes)
    except (ValueError, FileNotFoundError) as error:
        raise UserError(str(error)) from error
    path = found.path
    return FoundWeights(
        str(path) if path else PRETRAINED,
        file_digest(path) if path else f"{PRETRAINED}:{name}",
        found.classifier.input_spec,
        found.declared_classes,
        found.changes_text,
    )


def _zero_shot_subjects(
    entry: SubjectConfig, known: int, dataset: str
) -> Iterator[Subject]:
    """CLIP models whose classes are given by name; see `make_subjects`."""
    assert entry.zero_shot is not None
    prompts = read_prompts(entry.zero_shot)
    check_count(entry, prompts, known, dataset)
    for name in expand_zero_shot(entry):
        found = find_towers(name, entry.weights, entry.image_size, entry.dtype)
        weights = entry.weights if found.path is None else str(found.path)
        files = [p for p in (found.path, beside_weights(found)) if p is not None]
        parts = [file_digest(path) for path in files] or [f"{PRETRAINED}:{name}"]
        parts += [str(found.num_heads), found.activation, prompts.digest]
        subject = Subject(
            found.name,
            weights,
            known,
            entry.image_size,
            entry.dtype,
            "",
            entry.zero_shot,
        )
        yield _digested(subject, " ".join(parts), found.input_spec, "model")


def _digested(
    subject: Subject, identity: str, spec: InputSpec | None, kind: str
) -> Subject:
    payload = dataclasses.asdict(subject) | {"kind": kind, "weights": identity}
    if spec is not None:
        payload["input"] = dataclasses.asdict(spec)
    # What a file is called decides nothing, what is in it does.
    del payload["changes"]  # the identity has them
    if payload.pop("zero_shot") is not None:
        payload["kind"] = "zero-shot model"
    return dataclasses.replace(subject, digest=run_digest(payload))


def expand_subject(entry: SubjectConfig) -> tuple[str, ...]:
    """Names of the zoo that a pattern means, given where the weights come from.

    Raises:
        UserError: If there are none, or the weights are no such thing.
    """
    pattern, weights = entry.name, entry.weights
    if _is_random(weights):
        _check_seed(weights)
    elif weights != PRETRAINED and not Path(weights).exists():
        raise UserError(
            f"no weights at {weights!r}; give a .safetensors file, a folder of them, "
            f"{PRETRAINED!r} for those on the hub, or random:SEED for an untrained "
            "network"
        )
    elif Path(weights).is_dir():
        return _names_in_folder(weights, pattern)
    elif weights == PRETRAINED and any(mark in pattern for mark in "*?["):
        names = list_models(pattern, pretrained=True)
        if not names:
            raise UserError(
                unknown_name("model", pattern, list_models(pretrained=True))
            )
        return names
    names = list_models(pattern)
    if weights != PRETRAINED and not _is_random(weights):
        if len(names) > 1:
            raise UserError(
                f"{pattern!r} means {len(names)} models, and {weights} is one file; "
                "name the model, or give a folder of weights"
            )
        if not names and list_models(pattern.partition(".")[0]):
            return (pattern,)  # an own tag: the file says what it is
    if not names:
        raise UserError(unknown_name("model", pattern, list_models()))
    return names


def _names_in_folder(weights: str, pattern: str) -> tuple[str, ...]:
    held = list_pretrained(weights)
    names = tuple(list_pretrained(weights, pattern))
    if not names and not held and pattern in list_models():
        return (pattern,)  # the folder is one model's own
    if not names:
        raise UserError(f"{weights}: {unknown_name('weights', pattern, held)}")
    return names


def _source(weights: str) -> str | None:
    return None if weights == PRETRAINED else weights


def _is_random(weights: str) -> bool:
    return weights.startswith("random:")


def _check_seed(weights: str) -> None:
    seed = weights.removeprefix("random:")
    if not seed.isdecimal() or int(seed) >= 2**32:
        raise UserError(f"weights {weights!r}: wanted random:SEED, such as random:0")


def check_own(entry: SubjectConfig, num_classes: int | None) -> None:
    """What can be told of a user's own classifier before anything is computed.

    Args:
        entry: Its table.
        num_classes: What its head must have; None if no head is looked at.

    Raises:
        UserError: If anything does not fit; all of it is told.
    """
    classes = own_classifier(entry.name).num_classes
    problems = []
    if num_classes not in (None, classes):
        problems.append(f"it has {classes} classes, the clean dataset {num_classes}")
    if not Path(entry.weights).is_file():
        problems.append(
            f"its weights cannot be {entry.weights!r}; give a .safetensors file"
        )
    if entry.image_size is not None or entry.dtype != "float32":
        problems.append("its image size and dtype are set in its own module")
    if problems:
        raise UserError(f"model {entry.name!r}: {'; '.join(problems)}")


def file_digest(path: Path) -> str:
    """A digest of a file's bytes, taken once for as long as the file is not changed.

    That of weights in several files is of all of them.
    """
    states = [part.stat() for part in weight_parts(path)]
    return _file_digest(path, tuple((s.st_mtime_ns, s.st_size) for s in states))


@functools.lru_cache(maxsize=256)
def _file_digest(path: Path, states: tuple[tuple[int, int], ...]) -> str:
    del states
    return _read_digest(path)


def _read_digest(path: Path) -> str:
    found = []
    for part in weight_parts(path):
        with part.open("rb") as file:
            found.append(hashlib.file_digest(file, "blake2b").hexdigest())
    return found[0] if len(found) == 1 else run_digest({"parts": found})
