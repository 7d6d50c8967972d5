"""How ResNets are read: names as in timm and torchvision, which agree."""

from typing import Any

from model_zoo.weights.rules import Rules, Unsupported

RULES = Rules(renames=((r"\.se\.weight$", ".se.conv.weight"),))

_BLOCKS = {"BasicBlock": "basic", "Bottleneck": "bottleneck"}
_STEMS = {"": "imagenet", "deep": "deep", "deep_tiered": "deep_tiered"}
_ANTI_ALIAS = {None: None, "AvgPool2d": "avg", "BlurPool2d": "blur"}
_NORM_GROUPS = {"BatchNorm2d": None, "groupnorm": 32, "groupnorm1": 1}
# Channels that knapsack pruning left, https://arxiv.org/abs/2002.08258: those of each
# block's first two convolutions, stage by stage, and those that leave the stages.
_PRUNED: dict[str, dict[str, list]] = {
    "ecaresnet50d_pruned": {
        "pruned_outputs": [19, 171, 818, 2022],
        "pruned_inner": [
            [47, 18],
            [52, 22],
            [64, 35],
            [85, 37],
            [107, 80],
            [120, 85],
            [125, 87],
            [198, 126],
            [255, 232],
            [256, 233],
            [253, 235],
            [256, 225],
            [256, 239],
            [492, 237],
            [512, 500],
            [512, 490],
        ],
    },
    "ecaresnet101d_pruned": {
        "pruned_outputs": [26, 142, 278, 2042],
        "pruned_inner": [
            [45, 25],
            [53, 20],
            [60, 27],
            [81, 24],
            [93, 49],
            [102, 54],
            [122, 78],
            [101, 25],
            [239, 160],
            [234, 156],
            [250, 176],
            [253, 191],
            [251, 175],
            [230, 128],
            [244, 154],
            [244, 159],
            [238, 97],
            [244, 149],
            [253, 181],
            [245, 119],
            [255, 216],
            [256, 201],
            [253, 149],
            [254, 141],
            [256, 190],
            [256, 217],
            [255, 156],
            [256, 155],
            [256, 232],
            [256, 214],
            [499, 289],
            [512, 512],
            [512, 502],
        ],
    },
}
# Arguments that are called alike.
_ALIKE = ("cardinality", "base_width", "down_kernel_size", "avg_down", "zero_init_last")


def arguments_from_timm(variant: str, keywords: dict[str, Any]) -> dict[str, Any]:
    """Arguments of `ResNetArchitecture` from those of timm's `ResNet`.

    Raises:
        Unsupported: If it has no counterpart.
    """
    given = {k: v for k, v in keywords.items() if k != "model_class"}
    arguments: dict[str, Any] = {
        "block": _block(given.pop("block")),
        "depths": given.pop("layers"),
        "widths": given.pop("channels", [64, 128, 256, 512]),
        "reduce_first": given.pop("block_reduce_first", 1),
        "stem_pool": "conv" if given.pop("replace_stem_pool", False) else "max",
        "anti_alias": _known(_ANTI_ALIAS, "aa_layer", given.pop("aa_layer", None)),
        "norm_groups": _known(
            _NORM_GROUPS, "norm_layer", given.pop("norm_layer", "BatchNorm2d")
        ),
        **_stem(given.pop("stem_type", ""), given.pop("stem_width", 64)),
        **_attention(given.pop("block_args", {})),
        **{name: given.pop(name) for name in _ALIKE if name in given},
    }
    if given.pop("pruned", False):
        if variant not in _PRUNED:
            raise Unsupported(f"the pruned widths of {variant} are not listed")
        arguments |= _PRUNED[variant]
    if given:
        raise Unsupported(f"ResNet arguments {given}")
    if arguments["stem_width"] == arguments["widths"][0]:
        del arguments["stem_width"]
    return {k: v for k, v in arguments.items() if v != _DEFAULTS.get(k, ...)}


_DEFAULTS: dict[str, Any] = {
    "widths": [64, 128, 256, 512],
    "stem": "imagenet",
    "stem_pool": "max",
    "cardinality": 1,
    "base_width": 64,
    "reduce_first": 1,
    "down_kernel_size": 1,
    "avg_down": False,
    "anti_alias": None,
    "attention": None,
    "squeeze_ratio": 1 / 16,
    "norm_groups": None,
    "zero_init_last": True,
}


def _known(table: dict, name: str, value: Any) -> Any:
    if not isinstance(value, str | None) or value not in table:
        raise Unsupported(f"{name}={value!r}")
    return table[value]


def _block(value: str | list[str]) -> str | list[str]:
    if isinstance(value, str):
        return _known(_BLOCKS, "block", value)
    return [_known(_BLOCKS, "block", one) for one in value]


def _stem(kind: str, width: int) -> dict[str, Any]:
    stem = _known(_STEMS, "stem_type", kind)
    return {"stem": stem, "stem_width": 64 if stem == "imagenet" else 2 * width}


def _attention(given: dict[str, Any]) -> dict[str, Any]:
    given = dict(given)
    layer = given.pop("attn_layer", None)
    if given:
        raise Unsupported(f"block_args {given}")
    if layer in (None, "eca", "se"):
        return {"attention": layer}
    if isinstance(layer, dict):
        ratio = layer.get("rd_ratio")
        if layer == {"partial": "SEModule", "rd_ratio": ratio}:
            return {"attention": "se", "squeeze_ratio": ratio}
    raise Unsupported(f"attn_layer={layer!r}")
