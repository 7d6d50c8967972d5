"""RegNet's originals: timm's names and torchvision's, timm's generating parameters."""

import math
import re
from dataclasses import fields
from typing import Any

import numpy as np

from model_zoo.backbones.regnet import RegNetArchitecture
from model_zoo.classifier import NetworkClassifier
from model_zoo.weights.rules import Rules, Tensors, Unsupported

# Parts of torchvision's names and timm's, applied in turn.
_TORCHVISION = (
    (r"^stem\.0\.", "stem.conv."),
    (r"^stem\.1\.", "stem.bn."),
    (r"^fc\.", "head.fc."),
    (r"\.f\.a\.0\.", ".conv1.conv."),
    (r"\.f\.a\.1\.", ".conv1.bn."),
    (r"\.f\.b\.0\.", ".conv2.conv."),
    (r"\.f\.b\.1\.", ".conv2.bn."),
    (r"\.f\.c\.0\.", ".conv3.conv."),
    (r"\.f\.c\.1\.", ".conv3.bn."),
    (r"\.f\.se\.", ".se."),
    (r"\.proj\.0\.", ".downsample.conv."),
    (r"\.proj\.1\.", ".downsample.bn."),
)
_TORCHVISION_BLOCK = re.compile(r"^trunk_output\.block(\d)\.block\d+-(\d+)\.")


def _legacy(tensors: Tensors, classifier: NetworkClassifier) -> Tensors:
    del classifier
    if "stem.0.weight" not in tensors:
        return tensors
    return {_from_torchvision(name): array for name, array in tensors.items()}


def _from_torchvision(name: str) -> str:
    name = _TORCHVISION_BLOCK.sub(lambda m: f"s{m[1]}.b{int(m[2]) + 1}.", name)
    for pattern, replacement in _TORCHVISION:
        name = re.sub(pattern, replacement, name)
    return name


RULES = Rules(
    # An unpooled projection stands alone in timm, a pooled one behind its pool.
    renames=((r"\.downsample\.0\.", ".downsample."),),
    legacy=_legacy,
)

_DEFAULTS = {
    "depth": 21,
    "w0": 80,
    "wa": 42.63,
    "wm": 2.66,
    "group_size": 24,
    "bottle_ratio": 1.0,
    "se_ratio": 0.0,
    "group_min_ratio": 0.0,
    "stem_width": 32,
    "downsample": "conv1x1",
    "linear_out": False,
    "preact": False,
    "num_features": 0,
    "act_layer": "relu",
    "norm_layer": "batchnorm",
}
_SHORTCUTS = {"conv1x1": "conv", "avg": "avg", "": "none", None: "none"}
_NORMS = ("batchnorm", {"partial": "GroupNormAct", "group_size": 16})


def arguments_from_timm(variant: str, keywords: dict[str, Any]) -> dict[str, Any]:
    """Arguments of `RegNetArchitecture` from those of timm's `RegNet`.

    timm gives the parameters of the paper's rule; its outcome is what is stored.

    Raises:
        Unsupported: If the architecture here lacks an option.
    """
    given = dict(keywords)
    given.pop("model_class", None)
    zero_init_last = given.pop("zero_init_last", True)
    # Keywords of the model class override those of its configuration.
    config = {**_DEFAULTS, **given.pop("model_cfg"), **given}
    if unknown := sorted(config.keys() - _DEFAULTS.keys()):
        raise Unsupported(f"{variant}: {', '.join(unknown)}")
    if config["norm_layer"] not in _NORMS:
        raise Unsupported(f"{variant}: norm_layer {config['norm_layer']}")
    depths, widths = _stages(config)
    arguments = {
        "depths": depths,
        "widths": widths,
        "group_width": config["group_size"],
        "stem_width": config["stem_width"],
        "bottleneck_ratio": config["bottle_ratio"],
        "squeeze_ratio": config["se_ratio"],
        "shortcut": _SHORTCUTS[config["downsample"]],
        "pre_activation": config["preact"],
        "linear_out": config["linear_out"],
        "head_width": config["num_features"],
        "activation": config["act_layer"],
        "norm": "batch" if config["norm_layer"] == "batchnorm" else "group",
        "zero_init_last": zero_init_last,
    }
    ours = {field.name: field.default for field in fields(RegNetArchitecture)}
    return {k: v for k, v in arguments.items() if v != ours[k]}


def _stages(config: dict[str, Any]) -> tuple[list[int], list[int]]:
    """Depths and widths of the stages: section 3.3 of the paper.

    Block j wants w0 + wa * j channels; that is rounded to a power of wm times w0, then
    to a multiple of 8, and blocks of equal width are a stage. Widths then give way so
    that groups divide them. Float32 throughout, which decides ties as timm does.
    """
    first, slope, factor = config["w0"], config["wa"], config["wm"]
    wanted = np.arange(config["depth"], dtype=np.float32) * np.float32(slope)
    wanted += np.float32(first)
    exponents = np.round(
        np.log(wanted / np.float32(first)) / np.float32(math.log(factor))
    )
    blocks = np.float32(first) * np.power(np.float32(factor), exponents)
    blocks = (np.round(blocks / 8) * 8).astype(int)
    widths, depths = np.unique(blocks, return_counts=True)
    fitted = [_fit(int(width), config) for width in widths]
    return depths.tolist(), fitted


def _fit(width: int, config: dict[str, Any]) -> int:
    """The width nearest to `width` whose 3x3 convolutions split into whole groups."""
    ratio = config["bottle_ratio"]
    inner = int(width * ratio)
    group = min(config["group_size"], inner)
    if config["group_min_ratio"]:
        # torchvision's rounding: half up, and never more than a tenth down.
        fitted = int(inner + group / 2) // group * group
        fitted += group if fitted < 0.9 * inner else 0
    else:
        fitted = round(inner / group) * group
    return int(fitted / ratio)
