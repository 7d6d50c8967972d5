"""How MetaFormers are read: timm's files, and those of both original repositories."""

import re
from dataclasses import fields
from typing import Any

from model_zoo.backbones.metaformer import MetaFormerArchitecture
from model_zoo.classifier import NetworkClassifier
from model_zoo.weights.rules import Rules, Tensors, Unsupported

_MIXERS = {
    "Identity": "identity",
    "Pooling": "pooling",
    "SepConv": "sep_conv",
    "Attention": "attention",
}
_NORMS = {
    "GroupNorm1": ("group", True),
    "GroupNorm1NoBias": ("group", False),
    "LayerNorm2dNoBias": ("layer", False),
    "LayerNormNoBias": ("layer", False),
}
_ACTIVATIONS = {"StarReLU": "star_relu", "GELU": "gelu"}
# PoolFormer keeps stages and what lies between them in one list.
_POOLFORMER = (
    (r"^network\.([024])\.", lambda m: f"stages.{int(m[1]) // 2}.blocks."),
    (r"^network\.6\.", "stages.3.blocks."),
    (r"^network\.([135])\.", lambda m: f"stages.{int(m[1]) // 2 + 1}.downsample."),
    (r"layer_scale_(\d)", r"layer_scale\1.scale"),
    (r"\.proj\.", ".conv."),
)
_METAFORMER = (
    (r"^downsample_layers\.0\.", "stem."),
    (r"^downsample_layers\.(\d)\.", r"stages.\1.downsample."),
    (r"^stages\.(\d)\.(\d+)\.", r"stages.\1.blocks.\2."),
    (r"\.(post|pre)_norm\.", ".norm."),
)
_BOTH = (
    (r"^patch_embed\.", "stem."),
    (r"^head\.", "head.fc."),
    (r"^norm\.", "head.norm."),
)


def _original_names(tensors: Tensors, _: NetworkClassifier) -> Tensors:
    """Brings the original repositories' names to timm's."""
    if "stem.conv.weight" in tensors:
        return tensors
    ours = _POOLFORMER if "network.0.0.mlp.fc1.weight" in tensors else _METAFORMER
    renamed = {}
    for name, array in tensors.items():
        for pattern, replacement in (*ours, *_BOTH):
            name = re.sub(pattern, replacement, name)
        renamed[name] = array
    return renamed


RULES = Rules(
    renames=(
        (r"_scale(\d)\.gamma$", r"_scale\1.scale"),
        (r"\.act(1?)\.weight$", r".act\1.scale"),
    ),
    legacy=_original_names,
)


def arguments_from_timm(variant: str, keywords: dict[str, Any]) -> dict[str, Any]:
    """The architecture's arguments from those of timm's `MetaFormer`.

    Raises:
        Unsupported: If an option has no counterpart here.
    """
    given = dict(keywords)
    given.pop("model_class", None)
    depths = given.pop("depths", [2, 2, 6, 2])
    widths = given.pop("dims", [64, 128, 320, 512])
    norm, norm_bias = _only(
        _each(given.pop("norm_layers", "LayerNorm2dNoBias")), _NORMS
    )
    downsample_norm = given.pop("downsample_norm", "LayerNorm2dNoBias")
    if downsample_norm not in (None, "LayerNorm2dNoBias"):
        raise Unsupported(f"{variant}: downsample_norm {downsample_norm}")
    mixers = _each(given.pop("token_mixers", "Pooling"), len(depths))
    arguments = {
        "depths": list(depths),
        "widths": list(widths),
        "token_mixers": [_known(mixer, _MIXERS) for mixer in mixers],
        "norm": norm,
        "norm_bias": norm_bias,
        "downsample_norm": downsample_norm is not None,
        "activation": _known(given.pop("mlp_act", "StarReLU"), _ACTIVATIONS),
        "mlp_bias": given.pop("mlp_bias", False),
        "layer_scale": given.pop("layer_scale_init_values", None),
        "num_res_scaled": _num_res_scaled(
            given.pop("res_scale_init_values", [None, None, 1.0, 1.0]), len(depths)
        ),
        "head_dim": given.pop("head_dim", 32),
        "mlp_head": given.pop("use_mlp_head", True),
    }
    if given:
        raise Unsupported(f"{variant}: {given}")
    defaults = {f.name: f.default for f in fields(MetaFormerArchitecture)}
    return {k: v for k, v in arguments.items() if v != defaults[k]}


def _each(value: Any, count: int = 1) -> list[Any]:
    return value if isinstance(value, list) else [value] * count


def _known(name: str, table: dict[str, Any]) -> Any:
    if name not in table:
        raise Unsupported(f"{name} is none of {', '.join(table)}")
    return table[name]


def _only(names: list[str], table: dict[str, Any]) -> Any:
    """What all stages share."""
    found = {_known(name, table) for name in names}
    if len(found) > 1:
        raise Unsupported(f"stages differ: {', '.join(names)}")
    return found.pop()


def _num_res_scaled(values: Any, num_stages: int) -> int:
    scaled = [value is not None for value in _each(values, num_stages)]
    count = sum(scaled)
    if scaled != [False] * (num_stages - count) + [True] * count or not all(
        value in (None, 1.0) for value in _each(values)
    ):
        raise Unsupported(f"shortcut scales {values}")
    return count
