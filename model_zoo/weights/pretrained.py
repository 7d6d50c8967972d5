"""Classifiers with the weights that were trained for them."""

import dataclasses
import fnmatch
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import jax.numpy as jnp
from jax.typing import DTypeLike

from model_zoo import registry
from model_zoo.architecture import Settings
from model_zoo.catalog import find_architecture, find_checkpoint, make_classifier
from model_zoo.classifier import NetworkClassifier, Variables
from model_zoo.input_spec import TEST_SIZE, Interpolation
from model_zoo.weights import folders, hub
from model_zoo.weights.files import read_tensors
from model_zoo.weights.model_args import build_architecture
from model_zoo.weights.prefixes import find_network
from model_zoo.weights.rules import Rules, Tensors, convert
from model_zoo.weights.ssl_layouts import take_backbone

Source = str | os.PathLike[str]


@dataclass(frozen=True)
class Pretrained:
    """A classifier, and where the weights that fit it are.

    Attributes:
        classifier: Made for the weights' classes, size and normalisation.
        path: A local file; None while the weights are on the hub alone.
        checkpoint: What the registry says of them; None of a user's own.
        declared_classes: Logits that the registry or a config.json says they have;
            None where nothing says so.
        label_names: The classes in the order of the logits, where a config.json names
            them; None where it does not.
        label_descriptions: Name to description of these classes, as far as it says.
        configured: Whether a config.json beside the weights says what the input is.
        changes: Arguments of the architecture that its config.json changes.
    """

    classifier: NetworkClassifier
    path: Path | None
    checkpoint: registry.Checkpoint | None
    declared_classes: int | None
    label_names: tuple[str, ...] | None = None
    label_descriptions: Mapping[str, str] = field(default_factory=dict)
    configured: bool = False
    changes: dict[str, Any] = field(default_factory=dict, hash=False)

    @property
    def changes_text(self) -> str | None:
        """The changes as text; None without any."""
        listed = sorted(f"{key}={value!r}" for key, value in self.changes.items())
        return ", ".join(listed) or None

    def load(self) -> Variables:
        """Reads the weights, fetching them first where they are not here.

        Raises:
            FileNotFoundError: If they cannot be fetched and are not cached.
            ValueError: If the file is damaged, or not this classifier's weights.
        """
        path = self.path
        if path is None:
            assert self.checkpoint is not None
            path = hub.fetch(self.checkpoint)
        return load_weights(path, self.classifier)


def load_pretrained(
    name: str,
    *,
    source: Source | None = None,
    num_classes: int | None = None,
    image_size: int | Literal["test"] | None = None,
    crop_fraction: float | None = None,
    interpolation: Interpolation | None = None,
    dtype: DTypeLike = jnp.float32,
) -> tuple[NetworkClassifier, Variables]:
    """Makes a classifier and reads its pretrained weights.

    Args:
        name: A checkpoint ("resnet50.a1_in1k"), or an architecture: its default tag
            then, or with `source` whatever the source holds.
        source: None fetches from the Hugging Face hub (with its cache, its token and
            its offline mode). Else a file, `.safetensors` or `.npz`, in timm's layout,
            in this zoo's or in one of `ssl_layouts`; or a folder as `find_pretrained`
            searches it.
        num_classes: Logits that the weights have; None is what the registry or the
            folder's config.json says. 0 leaves the head out.
        image_size: Height and width in pixels; None is the weights' own. "test" is the
            size and crop of published results, as timm's validation script has them:
            `test_input_size` and `test_crop_pct`, the weights' own where they have
            none. Position embeddings are resized where the family can.
        crop_fraction: Share of the resized image that the crop keeps; None is the
            weights' own.
        interpolation: The resize filter; None is the weights' own.
        dtype: Computation's dtype, float32 or bfloat16; variables are float32.

    Raises:
        FileNotFoundError: If the file does not exist, or the hub cannot be reached and
            nothing is cached.
        ValueError: If the name is unknown, the file is damaged or a pickle, or its
            tensors are not this model's; all differences are named.
    """
    found = find_pretrained(
        name,
        source=source,
        num_classes=num_classes,
        image_size=image_size,
        crop_fraction=crop_fraction,
        interpolation=interpolation,
        dtype=dtype,
    )
    return found.classifier, found.load()


def find_pretrained(
    name: str,
    *,
    source: Source | None = None,
    num_classes: int | None = None,
    image_size: int | Literal["test"] | None = None,
    crop_fraction: float | None = None,
    interpolation: Interpolation | None = None,
    dtype: DTypeLike = jnp.float32,
) -> Pretrained:
    """Finds weights and makes the classifier they fit, without reading a tensor.

    A folder is searched for NAME/model.safetensors, NAME.safetensors and the hub
    cache's own layout, in that order; a bare architecture is whichever one tag the
    folder holds. A config.json beside the weights, as timm writes it, says classes,
    size and normalisation, also of tags that the registry lacks; its `model_args`
    change the architecture as they do in timm.

    Args:
        name: As `load_pretrained`.
        source: As `load_pretrained`.
        num_classes: As `load_pretrained`.
        image_size: As `load_pretrained`.
        crop_fraction: As `load_pretrained`.
        interpolation: As `load_pretrained`.
        dtype: As `load_pretrained`.

    Raises:
        FileNotFoundError: If the source does not exist or holds no such weights.
        ValueError: If the name is unknown, or the configuration is another model's or
            asks for a network that the architecture cannot be.
    """
    architecture = name.partition(".")[0]
    entry = find_architecture(architecture)
    path, config = None, None
    if source is not None:
        known = registry.checkpoints().get(name)
        path = folders.locate(Path(source), name, known.repository if known else "")
        name = folders.stored_name(Path(source), path, name)
        config = folders.read_config(path)
    checkpoint = None
    if source is None or name in registry.checkpoints():
        checkpoint = find_checkpoint(name)
        name = checkpoint.name
    testing = image_size == TEST_SIZE
    spec = checkpoint.input_spec if checkpoint else entry.input_spec
    if testing and checkpoint:
        spec = checkpoint.test_spec
    declared = checkpoint.num_classes if checkpoint else None
    built, changes = entry.build(), {}
    if config is not None:
        folders.check_architecture(config, architecture, path)
        spec = folders.configured_spec(config, spec, path, testing=testing)
        declared = folders.configured_classes(config, declared, path)
        try:
            model_args = folders.configured_arguments(config, path)
            built, changes = build_architecture(entry, model_args)
        except ValueError as error:
            raise ValueError(
                f"the config.json beside {path}: {error}; its weights are of another "
                "network than this zoo builds"
            ) from error
    spec = spec.adjusted(crop_fraction, interpolation)
    chosen = (num_classes, declared, 1000)
    settings = Settings(
        next(count for count in chosen if count is not None),
        (image_size, image_size) if isinstance(image_size, int) else spec.size,
        jnp.dtype(dtype),
    )
    classifier = make_classifier(name, built, spec, settings)
    names, descriptions = folders.configured_labels(config or {}, path)
    return Pretrained(
        classifier,
        path,
        checkpoint,
        declared,
        names,
        descriptions,
        configured=config is not None,
        changes=changes,
    )


def list_pretrained(folder: Source, pattern: str = "*") -> dict[str, Path]:
    """Lists the weights in a folder whose name or architecture matches.

    Args:
        folder: Searched as `find_pretrained` does.
        pattern: A shell pattern.

    Returns:
        Files by name, alphabetical; files of unknown architectures are left out.

    Raises:
        FileNotFoundError: If the folder does not exist.
    """
    known = registry.architectures()
    return {
        name: path
        for name, path in folders.search(Path(folder)).items()
        if name.partition(".")[0] in known
        and (
            fnmatch.fnmatchcase(name, pattern)
            or fnmatch.fnmatchcase(name.partition(".")[0], pattern)
        )
    }


def load_weights(path: Source, classifier: NetworkClassifier) -> Variables:
    """Reads a file of weights for a classifier, in timm's layout or this zoo's.

    Raises:
        FileNotFoundError: If the file does not exist.
        ValueError: If it is damaged or a pickle, or its tensors are not this
            classifier's; all differences are named.
    """
    tensors = read_tensors(path)
    entry = find_architecture(classifier.name.partition(".")[0])
    rules = entry.rules()
    if "kernel" in {name.rpartition(".")[2] for name in tensors}:
        # Written by save_variables: the leaves' own names and layout.
        rules = dataclasses.replace(rules, as_is=True)
    try:
        return _converted(tensors, classifier, rules)
    except ValueError as error:
        raise ValueError(f"{os.fspath(path)}: {error}") from None


def _converted(
    tensors: Tensors, classifier: NetworkClassifier, rules: Rules
) -> Variables:
    """Reads tensors under the names they have, then without a wrapper's prefix."""
    if rules.as_is:
        return convert(tensors, classifier, rules)
    backbone = take_backbone(tensors)
    tensors = tensors if backbone is None else backbone
    try:
        return convert(tensors, classifier, rules)
    except ValueError:
        network = find_network(tensors, original_names(classifier))
        if not network.prefix:
            raise
    # What lies beside keeps its name, and is named as unknown.
    beside = {name: tensors[name] for name in network.beside}
    return convert(network.tensors | beside, classifier, rules)


def original_names(classifier: NetworkClassifier) -> frozenset[str]:
    """What a classifier's tensors are called in its original's files."""
    rules = find_architecture(classifier.name.partition(".")[0]).rules()
    return frozenset(rules.source_name(leaf) for leaf in classifier.shapes)
