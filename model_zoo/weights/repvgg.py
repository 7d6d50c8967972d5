"""How RepVGGs are read: timm's files, which hold all branches."""

import re
from dataclasses import fields
from typing import Any

from model_zoo.backbones.repvgg import RepVGGArchitecture
from model_zoo.weights.rules import Rules, Unsupported

RULES = Rules()

# What timm's configuration has beside the blocks, as it stands in a RepVGG.
_FIXED = {
    "downsample": "conv1x1",
    "stem_type": "rep",
    "width_factor": 1.0,
    "num_features": 0,
    "fixed_input_size": False,
    "act_layer": "relu",
    "norm_layer": "batchnorm",
    "aa_layer": "",
    "head_hidden_size": None,
    "head_type": "classifier",
    "self_attn_layer": None,
    "self_attn_kwargs": {},
    "block_kwargs": {},
}
# Neither a RepVGG's stem nor its blocks look at these.
_UNUSED = ("stem_pool", "zero_init_last", "model_class")


def arguments_from_timm(variant: str, keywords: dict[str, Any]) -> dict[str, Any]:
    """The architecture's arguments from those of timm's `ByobNet`.

    Raises:
        Unsupported: If it is no RepVGG.
    """
    given = {**keywords}
    given |= given.pop("model_cfg", None) or given.pop("cfg", {})
    blocks = given.pop("blocks")
    for name, value in _FIXED.items():
        found = given.pop(name, value)
        if found != value:
            raise Unsupported(f"{variant}: {name} is {found!r}, RepVGG has {value!r}")
    for name in _UNUSED:
        given.pop(name, None)
    arguments = {
        "depths": [block["d"] for block in blocks],
        "widths": [_width(block["c"]) for block in blocks],
        "stem_width": given.pop("stem_chs"),
        "groups": _groups(variant, blocks),
        "squeeze_ratio": _squeeze_ratio(
            given.pop("attn_layer", None), given.pop("attn_kwargs", {})
        ),
    }
    if given:
        raise Unsupported(f"{variant}: {given}")
    for block in blocks:
        others = {k: v for k, v in block.items() if k not in ("d", "c", "gs")}
        kept = {k: v for k, v in others.items() if v is not None}
        if kept != {"type": "rep", "s": 2, "br": 1.0}:
            raise Unsupported(f"{variant}: a block of {kept}")
    defaults = {f.name: f.default for f in fields(RepVGGArchitecture)}
    return {k: v for k, v in arguments.items() if v != defaults[k]}


def _width(channels: int | float) -> int:
    if channels % 8:
        raise Unsupported(f"{channels} channels, which timm rounds to eights")
    return int(channels)


def _groups(variant: str, blocks: list[dict[str, Any]]) -> int:
    """Timm has a function of the block's index there; the name says what it gives."""
    named = re.search(r"g(\d+)$", variant)
    sizes = {block["gs"] for block in blocks}
    if sizes == {0}:
        return 1
    if named and sizes == {"<lambda>"}:
        return int(named[1])
    raise Unsupported(f"{variant}: group sizes {sizes}")


def _squeeze_ratio(layer: str | None, keywords: dict[str, Any]) -> float | None:
    if layer is None:
        return None
    rest = {k: v for k, v in keywords.items() if k != "rd_ratio"}
    if layer != "se" or rest != {"rd_divisor": 1}:
        raise Unsupported(f"gates {layer} with {rest}")
    return keywords["rd_ratio"]
