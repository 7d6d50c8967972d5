"""How ConvNeXts are read: timm's files, the authors', and the towers of CLIP models."""

import re
from dataclasses import fields
from typing import Any

import numpy as np

from model_zoo.backbones.convnext import ConvNeXtArchitecture
from model_zoo.classifier import NetworkClassifier
from model_zoo.weights.rules import Rules, Tensors, Unsupported

# The authors' names and timm's, applied in turn.
_AUTHORS = (
    (r"^downsample_layers\.0\.", "stem."),
    (r"^stages\.(\d+)\.(\d+)\.", r"stages.\1.blocks.\2."),
    (r"^downsample_layers\.(\d+)\.", r"stages.\1.downsample."),
    (r"\.dwconv\.", ".conv_dw."),
    (r"\.pwconv(\d)\.", r".mlp.fc\1."),
    (r"\.grn\.gamma$", ".mlp.grn.weight"),
    (r"\.grn\.beta$", ".mlp.grn.bias"),
    (r"^head\.", "head.fc."),
    (r"^norm\.", "head.norm."),
)
# Names of an OpenCLIP model's image tower, and timm's.
_TOWER = (
    (r"^visual\.trunk\.", ""),
    (r"^visual\.head\.proj\.", "head.fc."),
    (r"^visual\.head\.mlp\.fc1\.", "head.pre_logits.fc."),
    (r"^visual\.head\.mlp\.fc2\.", "head.fc."),
)


def _legacy(tensors: Tensors, classifier: NetworkClassifier) -> Tensors:
    if "visual.trunk.stem.0.weight" in tensors:
        return _tower(tensors)
    if {"head.norm.weight", "norm_pre.weight"} & tensors.keys():
        return tensors
    renamed = {_rename(name, _AUTHORS): array for name, array in tensors.items()}
    norm = classifier.shapes.get("head.norm.scale")
    if classifier.num_classes == 0 and norm and "head.norm.weight" not in renamed:
        # Masked autoencoders were trained without the last norm; timm starts a new one.
        renamed["head.norm.weight"] = np.ones(norm.shape, np.float32)
        renamed["head.norm.bias"] = np.zeros(norm.shape, np.float32)
    return renamed


def _tower(tensors: Tensors) -> Tensors:
    """The image tower of a CLIP model, whose projection is the head."""
    tower = {
        _rename(name, _TOWER): array
        for name, array in tensors.items()
        if name.startswith(("visual.trunk.", "visual.head."))
    }
    if "head.fc.weight" in tower:
        classes = len(tower["head.fc.weight"])
        tower.setdefault("head.fc.bias", np.zeros(classes, np.float32))
    return tower


def _rename(name: str, pairs: tuple[tuple[str, str], ...]) -> str:
    for pattern, replacement in pairs:
        name = re.sub(pattern, replacement, name)
    return name


RULES = Rules(
    renames=(
        (r"\.mlp\.norm\.", ".mlp.grn."),
        (r"^head\.pre_logits\.", "head.pre_logits.fc."),
    ),
    # What models were distilled with.
    ignored=(r"(projectors|norms)\..*",),
    legacy=_legacy,
)

_NORMS = {
    None: "layer",
    "layernorm": "layer",
    "layernorm2d": "layer",
    "rmsnorm": "rms",
    "rmsnorm2d": "rms",
    "simplenorm": "simple",
    "simplenorm2d": "simple",
}


def arguments_from_timm(variant: str, keywords: dict[str, Any]) -> dict[str, Any]:
    """Arguments of `ConvNeXtArchitecture` from those of timm's `ConvNeXt`.

    Raises:
        Unsupported: If the architecture here lacks an option.
    """
    given = dict(keywords)
    given.pop("model_class", None)
    widths = given.pop("dims", [96, 192, 384, 768])
    stem_type = given.pop("stem_type", "patch")
    norm = given.pop("norm_layer", None)
    epsilon = given.pop("norm_eps", None)
    if norm not in _NORMS:
        raise Unsupported(f"{variant}: norm_layer {norm}")
    arguments = {
        "depths": given.pop("depths", [3, 3, 9, 3]),
        "widths": widths,
        "conv_mlp": given.pop("conv_mlp", False),
        "patch_size": given.pop("patch_size", 4),
        "kernel_size": given.pop("kernel_sizes", 7),
        "layer_scale": given.pop("ls_init_value", 1e-6),
        "stem_width": _stem_width(stem_type, widths[0]),
        "stem_activation": stem_type == "overlap_act",
        "response_norm": given.pop("use_grn", False),
        "norm": _NORMS[norm],
        "epsilon": 1e-6 if epsilon is None else epsilon,
        "activation": given.pop("act_layer", "gelu"),
        "norm_first": given.pop("head_norm_first", False),
        "head_width": given.pop("head_hidden_size", None) or 0,
    }
    if given or arguments["patch_size"] != 4:
        # With patches of 2 pixels timm halves the image in the first stage as well.
        raise Unsupported(f"{variant}: {given}, patch_size {arguments['patch_size']}")
    ours = {field.name: field.default for field in fields(ConvNeXtArchitecture)}
    return {k: v for k, v in arguments.items() if v != ours[k]}


def _stem_width(stem_type: str, width: int) -> int | None:
    """Channels after the first of two convolutions; None for a stem of one."""
    if stem_type == "patch":
        return None
    if stem_type != "overlap_tiered":
        return width
    half = width // 2
    rounded = max(8, (half + 4) // 8 * 8)
    return rounded + 8 if rounded < 0.9 * half else rounded
