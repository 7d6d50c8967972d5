"""How XCiTs are read: timm's files and the authors'."""

from dataclasses import fields
from typing import Any

import numpy as np

from model_zoo.backbones.xcit import XCiTArchitecture
from model_zoo.classifier import NetworkClassifier
from model_zoo.weights.rules import Rules, Tensors, Unsupported


def _legacy(tensors: Tensors, _: NetworkClassifier) -> Tensors:
    """The authors' position encoder has another name, and class attention one qkv."""
    renamed: Tensors = {}
    for name, array in tensors.items():
        module, dot, leaf = name.rpartition(".")
        if name.startswith("cls_attn_blocks.") and module.endswith(".qkv"):
            parts = zip("qkv", np.split(array, 3), strict=True)
            stem = module.removesuffix("qkv")
            renamed |= {stem + letter + dot + leaf: part for letter, part in parts}
        else:
            renamed[name.replace("pos_embeder.", "pos_embed.")] = array
    return renamed


RULES = Rules(
    # Activations stand between the stem's convolutions in timm's list.
    renames=(
        (r"^patch_embed\.proj\.3\.", "patch_embed.proj.6."),
        (r"^patch_embed\.proj\.2\.", "patch_embed.proj.4."),
        (r"^patch_embed\.proj\.1\.", "patch_embed.proj.2."),
    ),
    legacy=_legacy,
)


def arguments_from_timm(variant: str, keywords: dict[str, Any]) -> dict[str, Any]:
    """Arguments of `XCiTArchitecture` from those of timm's `Xcit`.

    Raises:
        Unsupported: If the architecture here lacks an option.
    """
    given = dict(keywords)
    given.pop("model_class", None)
    arguments = {
        "width": given.pop("embed_dim", 768),
        "depth": given.pop("depth", 12),
        "num_heads": given.pop("num_heads", 12),
        "patch_size": given.pop("patch_size", 16),
        "layer_scale": given.pop("eta", 1.0),
        "norm_tokens": given.pop("tokens_norm", False),
    }
    if given:
        raise Unsupported(f"{variant}: {given}")
    ours = {field.name: field.default for field in fields(XCiTArchitecture)}
    return {k: v for k, v in arguments.items() if v != ours[k]}
