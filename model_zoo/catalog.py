"""Every model by name: the families' tables, joined."""

import difflib
import fnmatch
from dataclasses import replace

import jax.numpy as jnp
from jax.typing import DTypeLike

from model_zoo.architecture import Architecture, Settings
from model_zoo.backbones import convnext, mixer, resnet, vit
from model_zoo.classifier import Classifier, NetworkClassifier

MODELS: dict[str, Architecture] = {
    **resnet.VARIANTS,
    **vit.VARIANTS,
    **convnext.VARIANTS,
    **mixer.VARIANTS,
}


def list_models(pattern: str = "*") -> tuple[str, ...]:
    """Lists the models whose name matches, in alphabetical order.

    Args:
        pattern: A shell pattern: `*` any run of characters, `?` one, `[ab]` either.
    """
    return tuple(sorted(fnmatch.filter(MODELS, pattern)))


def create_model(
    name: str,
    *,
    num_classes: int = 1000,
    image_size: int | None = None,
    dtype: DTypeLike = jnp.float32,
    drop_rate: float = 0.0,
    drop_path_rate: float = 0.0,
) -> Classifier:
    """Creates a classifier; it holds no weights, so this takes no time or memory.

    Args:
        name: One of `list_models()`.
        num_classes: Number of logits, positive.
        image_size: Height and width in pixels; None is the size that the variant was
            made for. Position embeddings and token MLPs change shape with it.
        dtype: Computation's dtype, float32 or bfloat16. Parameters, statistics,
            features and logits are float32 always.
        drop_rate: Dropout before the last layer, in [0, 1).
        drop_path_rate: Stochastic depth, in [0, 1): of the last block (growing from 0
            in the first), in MLP-Mixer of every block.

    Raises:
        ValueError: If the name is unknown (the nearest are suggested) or arguments are
            outside their range; all of them are named.
    """
    if name not in MODELS:
        raise ValueError(_unknown(name))
    architecture = MODELS[name]
    spec = architecture.input_spec
    size = spec.size if image_size is None else (image_size, image_size)
    dtype = jnp.dtype(dtype)
    checks = {
        f"num_classes={num_classes}": None if num_classes > 0 else "a positive integer",
        f"image_size={image_size}": (
            architecture.check_size(size) if min(size) > 0 else "a positive integer"
        ),
        f"dtype={dtype.name}": (
            None if dtype in (jnp.float32, jnp.bfloat16) else "float32 or bfloat16"
        ),
        f"drop_rate={drop_rate}": _rate_problem(drop_rate),
        f"drop_path_rate={drop_path_rate}": _rate_problem(drop_path_rate),
    }
    problems = [f"{got}, wanted {want}" for got, want in checks.items() if want]
    if problems:
        raise ValueError(f"{name}: {'; '.join(problems)}")
    settings = Settings(num_classes, size, dtype, drop_rate, drop_path_rate)
    spec = replace(spec, size=size)
    return NetworkClassifier(name, num_classes, spec, architecture, settings)


def _rate_problem(rate: float) -> str | None:
    return None if 0 <= rate < 1 else "a number in [0, 1)"


def _unknown(name: str) -> str:
    nearest = difflib.get_close_matches(name, MODELS, n=3, cutoff=0.5)
    hint = f"did you mean {' or '.join(map(repr, nearest))}? " if nearest else ""
    return f"unknown model {name!r}; {hint}list_models() names all {len(MODELS)}"
