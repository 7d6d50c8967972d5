"""Every model by name: architectures, and checkpoints as "architecture.tag"."""

import difflib
import fnmatch
from collections.abc import Iterable
from dataclasses import replace

import jax.numpy as jnp
from jax.typing import DTypeLike

from model_zoo import registry
from model_zoo.architecture import Architecture, Settings
from model_zoo.classifier import NetworkClassifier
from model_zoo.input_spec import InputSpec
from model_zoo.own import ModuleArchitecture, ModuleClassifier


def list_models(
    pattern: str = "*", *, pretrained: bool | None = None
) -> tuple[str, ...]:
    """Lists the models whose name matches, in alphabetical order.

    Args:
        pattern: A shell pattern: `*` any run of characters, `?` one, `[ab]` either.
        pretrained: True lists checkpoints ("resnet50.a1_in1k"), whose name or whose
            architecture matches; False lists architectures ("resnet50"); None lists
            architectures too, or checkpoints where the pattern holds a dot.
    """
    if pretrained is None:
        pretrained = "." in pattern
    if not pretrained:
        return tuple(fnmatch.filter(registry.architectures(), pattern))
    return tuple(
        name
        for name, checkpoint in registry.checkpoints().items()
        if fnmatch.fnmatchcase(name, pattern)
        or fnmatch.fnmatchcase(checkpoint.architecture, pattern)
    )


def create_model(
    name: str,
    *,
    num_classes: int | None = None,
    image_size: int | None = None,
    dtype: DTypeLike = jnp.float32,
    drop_rate: float = 0.0,
    drop_path_rate: float = 0.0,
) -> NetworkClassifier:
    """Creates a classifier; it holds no weights, so this takes no time or memory.

    Args:
        name: One of `list_models()`, or a checkpoint's name for the classifier that
            its weights fit: its classes, size and normalisation are the defaults then.
        num_classes: Number of logits; 0 makes a backbone that gives features and empty
            logits. None is the checkpoint's, 1000 for an architecture.
        image_size: Height and width in pixels; None is the size that the model was
            made for. Position embeddings and token MLPs change shape with it.
        dtype: Computation's dtype, float32 or bfloat16. Parameters, statistics,
            features and logits are float32 always.
        drop_rate: Dropout before the last layer, in [0, 1).
        drop_path_rate: Stochastic depth, in [0, 1): of the last block (growing from 0
            in the first; EfficientNets end one block's step below it), in MLP-Mixer and
            XCiT of every block.

    Raises:
        ValueError: If the name is unknown (the nearest are suggested) or arguments are
            outside their range; all of them are named.
    """
    architecture_name, dot, _ = name.partition(".")
    entry = find_architecture(architecture_name)
    spec, classes = entry.input_spec, 1000
    if dot:
        checkpoint = find_checkpoint(name)
        spec, classes = checkpoint.input_spec, checkpoint.num_classes
    if num_classes is not None:
        classes = num_classes
    size = spec.size if image_size is None else (image_size, image_size)
    settings = Settings(classes, size, jnp.dtype(dtype), drop_rate, drop_path_rate)
    return make_classifier(name, entry.build(), spec, settings)


def make_classifier(
    name: str, architecture: Architecture, spec: InputSpec, settings: Settings
) -> NetworkClassifier:
    """Makes a classifier of an architecture, also of one that no table lists.

    Args:
        name: What results call it.
        architecture: Its dimensions.
        spec: Crop and normalisation; the size is that of `settings`.
        settings: The user's choices.

    Raises:
        ValueError: If settings are outside their range; all of them are named.
    """
    size, dtype = settings.size, settings.dtype
    checks = {
        f"num_classes={settings.num_classes}": (
            None if settings.num_classes >= 0 else "0 or a positive integer"
        ),
        f"image_size={_sides(size)}": (
            architecture.check_size(size) if min(size) > 0 else "a positive integer"
        ),
        f"dtype={dtype.name}": (
            None if dtype in (jnp.float32, jnp.bfloat16) else "float32 or bfloat16"
        ),
        f"drop_rate={settings.drop_rate}": _rate_problem(settings.drop_rate),
        f"drop_path_rate={settings.drop_path_rate}": (
            _rate_problem(settings.drop_path_rate)
        ),
    }
    problems = [f"{got}, wanted {want}" for got, want in checks.items() if want]
    if problems:
        raise ValueError(f"{name}: {'; '.join(problems)}")
    spec = replace(spec, size=size)
    num_classes = settings.num_classes
    if isinstance(architecture, ModuleArchitecture):
        return ModuleClassifier(name, num_classes, spec, architecture, settings)
    return NetworkClassifier(name, num_classes, spec, architecture, settings)


def find_architecture(name: str) -> registry.ArchitectureEntry:
    """Looks an architecture up.

    Raises:
        ValueError: If there is none; the nearest names are suggested.
    """
    known = registry.architectures()
    if name not in known:
        raise ValueError(
            f"unknown model {name!r}; {_nearest(name, known)}list_models() names all "
            f"{len(known)}"
        )
    return known[name]


def find_checkpoint(name: str) -> registry.Checkpoint:
    """Looks a checkpoint up; a bare architecture means its default tag.

    Raises:
        ValueError: If there is none; the tags of the architecture are listed.
    """
    architecture, _, tag = name.partition(".")
    entry = find_architecture(architecture)
    known = registry.checkpoints()
    tags = [c.tag for c in known.values() if c.architecture == architecture]
    wanted = tag or entry.default_tag
    if wanted in tags:
        return known[f"{architecture}.{wanted}"]
    if not tags:
        raise ValueError(
            f"no weights of {architecture} are known; give a file of them as source, "
            "or list_models(pretrained=True) names the models that have some"
        )
    listed = ", ".join(tags)
    if not tag:
        raise ValueError(
            f"{architecture} has no default weights; name one as {architecture}.TAG: "
            f"it has {listed}"
        )
    hint = _nearest(tag, tags)
    raise ValueError(f"unknown tag {tag!r} of {architecture}; {hint}it has {listed}")


def _sides(size: tuple[int, int]) -> str:
    return str(size[0]) if size[0] == size[1] else f"{size[0]}x{size[1]}"


def _rate_problem(rate: float) -> str | None:
    return None if 0 <= rate < 1 else "a number in [0, 1)"


def _nearest(name: str, known: Iterable[str]) -> str:
    nearest = difflib.get_close_matches(name, known, n=3, cutoff=0.5)
    return f"did you mean {' or '.join(map(repr, nearest))}? " if nearest else ""
