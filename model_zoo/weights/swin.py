"""How Swin Transformers are read: timm's files and the authors'."""

import re
from dataclasses import fields
from typing import Any

import numpy as np

from model_zoo.backbones.swin import SwinArchitecture
from model_zoo.classifier import NetworkClassifier
from model_zoo.weights.relative_positions import resize_bias_table
from model_zoo.weights.rules import Rules, Tensors, Unsupported


def _legacy(tensors: Tensors, _: NetworkClassifier) -> Tensors:
    """The authors merge patches at the end of a stage, timm at the next one's start."""
    if "layers.0.downsample.reduction.weight" not in tensors:
        return tensors
    return {_renamed(name): array for name, array in tensors.items()}


def _renamed(name: str) -> str:
    name = re.sub(r"^head\.(?!fc\.)", "head.fc.", name)
    return re.sub(
        r"^layers\.(\d+)\.downsample\.",
        lambda match: f"layers.{int(match[1]) + 1}.downsample.",
        name,
    )


def _resize(
    table: np.ndarray, shape: tuple[int, ...], classifier: NetworkClassifier
) -> np.ndarray:
    """Windows follow the image size where they would be larger than the grid."""
    swin = classifier.architecture
    assert isinstance(swin, SwinArchitecture)
    for stage, num_heads in enumerate(swin.num_heads):
        window = swin.window(classifier.settings.size, stage)
        sides = (2 * window[0] - 1, 2 * window[1] - 1)
        if (sides[0] * sides[1], num_heads) == shape:
            return resize_bias_table(table, sides)
    return table


RULES = Rules(
    ignored=(r".*\.relative_position_index", r".*\.attn_mask"),
    legacy=_legacy,
    resized=((r".*\.relative_position_bias_table", _resize),),
)


def arguments_from_timm(variant: str, keywords: dict[str, Any]) -> dict[str, Any]:
    """Arguments of `SwinArchitecture` from those of timm's `SwinTransformer`.

    Raises:
        Unsupported: If the architecture here lacks an option.
    """
    given = dict(keywords)
    given.pop("model_class", None)
    arguments = {
        "width": given.pop("embed_dim", 96),
        "depths": given.pop("depths", [2, 2, 6, 2]),
        "num_heads": given.pop("num_heads", [3, 6, 12, 24]),
        "window_size": given.pop("window_size", 7),
        "patch_size": given.pop("patch_size", 4),
    }
    if given:
        raise Unsupported(f"{variant}: {given}")
    ours = {field.name: field.default for field in fields(SwinArchitecture)}
    return {k: v for k, v in arguments.items() if v != ours[k]}
