"""How MLP-Mixers are read: timm's files, and ResMLP's by its authors."""

import re
from dataclasses import fields
from typing import Any

from model_zoo.backbones.mixer import MixerArchitecture
from model_zoo.classifier import NetworkClassifier
from model_zoo.weights.rules import Rules, Tensors, Unsupported

_BLOCKS = {"MixerBlock": "mixer", "ResBlock": "resmlp", "SpatialGatingBlock": "gmlp"}
# timm's class of MLP and of norm that each block goes with here, where it differs.
_MLPS = {
    ("mixer", "Mlp"): "plain",
    ("mixer", "GluMlp"): "glu",
    ("resmlp", "Mlp"): "plain",
    ("gmlp", "GatedMlp"): "plain",
}
_NORMS = {"resmlp": "Affine"}
_ACTIVATIONS = {"GELU": "gelu", "SiLU": "silu"}
_RESMLP = (
    (r"^patch_embed\.", "stem."),
    (r"\.attn\.", ".linear_tokens."),
    (r"\.mlp\.", ".mlp_channels."),
    (r"\.gamma_(\d)$", r".ls\1"),
)


def _legacy(tensors: Tensors, _: NetworkClassifier) -> Tensors:
    """Brings the names of ResMLP's authors to timm's."""
    if "patch_embed.proj.weight" not in tensors:
        return tensors
    renamed = {}
    for name, array in tensors.items():
        for pattern, replacement in _RESMLP:
            name = re.sub(pattern, replacement, name)
        renamed[name] = array
    return renamed


RULES = Rules(renames=((r"\.(ls\d)\.gamma$", r".\1"),), legacy=_legacy)


def arguments_from_timm(variant: str, keywords: dict[str, Any]) -> dict[str, Any]:
    """The architecture's arguments from those of timm's `MlpMixer`.

    Raises:
        Unsupported: If an option has no counterpart here.
    """
    given = dict(keywords)
    given.pop("model_class", None)
    layer = given.pop("block_layer", "MixerBlock")
    options = dict(layer) if isinstance(layer, dict) else {"partial": layer}
    block = _known(options.pop("partial"), _BLOCKS)
    scale = options.pop("init_values", 1e-4) if block == "resmlp" else 1e-4
    ratio = given.pop("mlp_ratio", [0.5, 4.0] if block == "mixer" else 4)
    tokens, channels = ratio if isinstance(ratio, list) else (ratio, ratio)
    arguments = {
        "width": given.pop("embed_dim", 512),
        "depth": given.pop("num_blocks", 8),
        "patch_size": given.pop("patch_size", 16),
        "mlp_ratio": float(channels),
        "block": block,
        "token_ratio": float(tokens) if block == "mixer" else 0.5,
        "mlp": _known((block, given.pop("mlp_layer", "Mlp")), _MLPS),
        "activation": _known(given.pop("act_layer", "GELU"), _ACTIVATIONS),
        "layer_scale": scale,
    }
    norm = given.pop("norm_layer", None)
    if norm != _NORMS.get(block) or given or options:
        raise Unsupported(f"{variant}: norm {norm} with {given | options}")
    defaults = {f.name: f.default for f in fields(MixerArchitecture)}
    return {k: v for k, v in arguments.items() if v != defaults[k]}


def _known(name: Any, table: dict[Any, str]) -> str:
    if name not in table:
        raise Unsupported(f"{name} is none of {', '.join(map(str, table))}")
    return table[name]
