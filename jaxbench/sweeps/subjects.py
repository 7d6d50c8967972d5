"""Models that are evaluated as they are: which ones a table means, whose weights."""

import dataclasses
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

from jaxbench.config import PRETRAINED, SubjectConfig
from jaxbench.data import Source
from jaxbench.data.class_names import IMAGENET, imagenet_ids
from jaxbench.data.known.imagenet_classes import NUM_CLASSES
from jaxbench.data.scoring import num_outputs
from jaxbench.errors import UserError
from jaxbench.results import run_digest
from jaxbench.sweeps.expansion import expand_subject, is_random, source_of
from jaxbench.sweeps.files import check_unchanged, file_digest, was_trained_here
from jaxbench.sweeps.outputs import Declared, Outputs, find_outputs
from jaxbench.sweeps.own import check_own, is_own, own_classifier
from jaxbench.sweeps.zero_shot import (
    expand_zero_shot,
    find_towers,
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
    load_variables,
)
from model_zoo.classifier import NetworkClassifier
from model_zoo.clip.tokenizer import find_vocabulary
from model_zoo.clip.zero_shot import zero_shot_classifier
from model_zoo.input_spec import TEST_SIZE


class FoundWeights(NamedTuple):
    """The weights that a table means for one model.

    Attributes:
        weights: A file or folder, "pretrained" or "random:SEED".
        identity: What they are, wherever they lie.
        spec: The images that the model gets: what the table asks for, and what the
            weights want for the rest.
        spec_from: Where the latter is said.
        declared: What they say of their outputs.
        changes: What a config.json changes of the network; None if nothing.
        files: Their files, with the digests that `identity` is made of.
    """

    weights: str
    identity: str
    spec: InputSpec
    spec_from: str
    declared: Declared
    changes: str | None = None
    files: tuple[tuple[Path, str], ...] = ()

    def subject(
        self,
        entry: SubjectConfig,
        name: str,
        num_classes: int,
        kind: str = "model",
        outputs: Outputs | None = None,
    ) -> "Subject":
        """A model of the table with these weights, of which `kind` is computed."""
        payload = {
            "kind": kind,
            "name": name,
            # The same tensors in another network are another model.
            "weights": " ".join(filter(None, [self.identity, self.changes])),
            "num_classes": num_classes,
            "dtype": entry.dtype,
            "input": dataclasses.asdict(self.spec),
        }
        # Whose list it is decides nothing, what stands in it does.
        if outputs is not None and outputs.class_names is not None:
            payload["classes"] = list(outputs.class_names)
        return Subject(name, entry, num_classes, run_digest(payload), self, outputs)


@dataclasses.dataclass(frozen=True)
class Subject:
    """A model with given weights, evaluated as it is.

    Attributes:
        name: Of the zoo, or a user's own.
        entry: Its table.
        num_classes: Outputs of the head.
        digest: Names whatever decides its numbers.
        found: Its weights and input.
        outputs: Which class each output means; None of a backbone.
    """

    name: str
    entry: SubjectConfig
    num_classes: int
    digest: str
    found: FoundWeights
    outputs: Outputs | None = None

    @property
    def title(self) -> str:
        """A name for the screen."""
        return self.name

    @property
    def weights(self) -> str:
        """A file or folder, "pretrained" or "random:SEED"."""
        return self.found.weights

    @property
    def is_local(self) -> bool:
        """Whether its weights are a file here: neither on the hub alone nor drawn."""
        return self.weights != PRETRAINED and not is_random(self.weights)

    @property
    def class_names(self) -> tuple[str, ...] | None:
        """The classes of its outputs where they are not simply the dataset's."""
        return self.outputs and self.outputs.class_names

    def settings(self) -> dict[str, Any]:
        """What identifies it in a row."""
        return {
            "model": self.name,
            "weights": self.weights,
            "network_changes": self.found.changes,
            "dtype": self.entry.dtype,
            "zero_shot": self.entry.zero_shot,
            "class_order": self.outputs and (self.outputs.said_by or "dataset"),
        }

    def classifier(self) -> Classifier:
        """The network, or a user's own."""
        if self.entry.zero_shot is not None:
            towers = find_towers(self.name, self.weights, self.entry)
            return towers.classifier(self.num_classes)
        if is_own(self.name):
            return own_classifier(self.name)
        if is_random(self.weights):
            return _untrained(self.name, self.num_classes, self.entry)
        return self._pretrained().classifier

    def variables(self, classifier: Classifier) -> Variables:
        """Its weights: drawn from a seed, or read and checked against the classifier.

        What weights a user's own function wants, only the function knows. A CLIP
        model's text tower encodes the names of its classes here.

        Raises:
            UserError: If a file changed since the work was planned.
        """
        variables = self._read(classifier)
        check_unchanged(self.found.files)
        return variables

    def _read(self, classifier: Classifier) -> Variables:
        if self.entry.zero_shot is not None:
            towers = find_towers(self.name, self.weights, self.entry)
            prompts, tokenizer = read_prompts(self.entry.zero_shot), towers.tokenizer()
            return zero_shot_classifier(*towers.load(), prompts, tokenizer)[1]
        if is_own(self.name):
            return load_variables(self.weights)
        if is_random(self.weights):
            seed = int(self.weights.removeprefix("random:"))
            return classifier.init(jax.random.key(seed))
        return self._pretrained().load()

    def _pretrained(self) -> Pretrained:
        return _find_pretrained(self.name, self.weights, self.num_classes, self.entry)


def check_subjects(entries: Iterable[SubjectConfig]) -> list[str]:
    """Problems with names and weights of models, before any data is opened."""
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
    entry: SubjectConfig, source: Source, dataset: str, *, stated: bool = False
) -> Iterator[Subject]:
    """The models that one table means.

    Args:
        entry: The table.
        source: The first clean dataset.
        dataset: Its address, for messages.
        stated: Whether the user listed the dataset's classes in order.

    Raises:
        UserError: If weights are missing, or it is not known which class of the
            dataset each output means.
    """
    if entry.zero_shot is not None:
        yield from _zero_shot_subjects(entry, source, dataset)
        return
    for name in subject_names(entry):
        found = find_weights(entry, name)
        outputs = find_outputs(found.declared, entry, source, dataset, stated=stated)
        yield found.subject(entry, name, outputs.count, outputs=outputs)


def subject_names(entry: SubjectConfig) -> tuple[str, ...]:
    """The names of the models that a table means, a user's own checked."""
    if not is_own(entry.name):
        return expand_subject(entry)
    check_own(entry)
    return (entry.name,)


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
        own, identity = own_classifier(name), file_digest(Path(given))
        declared = Declared(name, own.num_classes)
        files = ((Path(given), identity),)
        spec = own.input_spec
        return FoundWeights(given, identity, spec, "its module", declared, files=files)
    try:
        if is_random(given):
            spec = _untrained(name, num_classes, entry).input_spec
            declared = Declared(name, in_own_order=True)
            return FoundWeights(given, given, spec, "the zoo's table", declared)
        found = _find_pretrained(name, given, num_classes, entry)
    except (ValueError, FileNotFoundError) as error:
        raise UserError(str(error)) from error
    path, listed = found.path, found.checkpoint is not None
    identity = file_digest(path) if path else f"{PRETRAINED}:{name}"
    declared = Declared(
        name,
        found.declared_classes,
        found.label_names,
        found.label_descriptions,
        of_imagenet=listed and found.declared_classes == NUM_CLASSES,
        in_own_order=path is not None and was_trained_here(path),
    )
    return FoundWeights(
        *(str(path) if path else PRETRAINED, identity),
        found.classifier.input_spec,
        "config.json" if found.configured else "the zoo's table",
        declared,
        changes=found.changes_text,
        files=((path, identity),) if path else (),
    )


def _untrained(
    name: str, num_classes: int | None, entry: SubjectConfig
) -> NetworkClassifier:
    """A network of the zoo without weights, with the input that is asked for."""
    if entry.image_size == TEST_SIZE:
        raise ValueError(
            f"{name}: image_size {TEST_SIZE!r} is that of trained weights' published "
            "results, and random ones have none; give a number of pixels"
        )
    classifier = create_model(
        name,
        num_classes=num_classes,
        image_size=entry.image_size,
        dtype=np.dtype(entry.dtype),
    )
    spec = classifier.input_spec.adjusted(entry.crop_fraction, entry.interpolation)
    return dataclasses.replace(classifier, input_spec=spec)


def _find_pretrained(
    name: str, weights: str, num_classes: int | None, entry: SubjectConfig
) -> Pretrained:
    return find_pretrained(
        name,
        source=source_of(weights),
        num_classes=num_classes,
        image_size=entry.image_size,
        crop_fraction=entry.crop_fraction,
        interpolation=entry.interpolation,
        dtype=np.dtype(entry.dtype),
    )


def _zero_shot_subjects(
    entry: SubjectConfig, source: Source, dataset: str
) -> Iterator[Subject]:
    """CLIP models whose classes are given by name; see `make_subjects`."""
    assert entry.zero_shot is not None
    prompts, known = read_prompts(entry.zero_shot), num_outputs(source)
    count, imagenet = len(prompts.class_names), entry.zero_shot == IMAGENET
    if count != known and not (imagenet and imagenet_ids(source.class_names)):
        raise UserError(
            f"zero_shot of model {entry.name!r}: {entry.zero_shot!r} names {count} "
            f"classes, {dataset} has {known}; give a file with the dataset's class "
            "names in the order of its labels"
        )
    # A user's texts are in the order of the labels, whatever that is.
    declared = Declared(entry.name, count, of_imagenet=imagenet)
    outputs = find_outputs(declared, entry, source, dataset, stated=True)
    for name in expand_zero_shot(entry):
        found = find_towers(name, entry.weights, entry)
        # The vocabulary beside the weights decides numbers as they do.
        beside = find_vocabulary(found.path.parent) if found.path else None
        files = [p for p in (found.path, beside) if p is not None]
        digests = [(path, file_digest(path)) for path in files]
        parts = [digest for _, digest in digests] or [f"{PRETRAINED}:{name}"]
        if (path := Path(entry.zero_shot)).is_file():
            digests.append((path, file_digest(path)))
        parts += [str(found.num_heads), found.activation, prompts.digest]
        yield FoundWeights(
            entry.weights if found.path is None else str(found.path),
            " ".join(parts),
            dataclasses.replace(found.input_spec, size=found.settings.size),
            "CLIP's authors or open_clip_config.json",
            declared,
            files=tuple(digests),
        ).subject(entry, found.name, outputs.count, "zero-shot model", outputs)
