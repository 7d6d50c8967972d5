"""How DenseNets are read: names as in timm, and torchvision's of old."""

import re
from typing import Any

from model_zoo.classifier import NetworkClassifier
from model_zoo.weights.rules import Rules, Tensors, Unsupported

# torchvision's files still say norm.1 where its code has said norm1 for long.
_OLD_NAME = re.compile(r"(.*\.denselayer\d+\.(?:norm|conv))\.([12]\..*)")


def _legacy(tensors: Tensors, classifier: NetworkClassifier) -> Tensors:
    del classifier
    return {_OLD_NAME.sub(r"\1\2", name): tensor for name, tensor in tensors.items()}


RULES = Rules(legacy=_legacy)

_STEMS = {"": "imagenet", "deep": "deep"}


def arguments_from_timm(variant: str, keywords: dict[str, Any]) -> dict[str, Any]:
    """Arguments of `DenseNetArchitecture` from those of timm's `DenseNet`.

    Raises:
        Unsupported: If it has no counterpart.
    """
    del variant
    given = {k: v for k, v in keywords.items() if k != "model_class"}
    stem = given.pop("stem_type", "")
    anti_alias = given.pop("aa_layer", None)
    if stem not in _STEMS or anti_alias not in (None, "BlurPool2d"):
        raise Unsupported(f"stem_type={stem!r}, aa_layer={anti_alias!r}")
    arguments = {
        "growth_rate": given.pop("growth_rate", 32),
        "depths": given.pop("block_config", [6, 12, 24, 16]),
        "bottleneck_ratio": given.pop("bn_size", 4),
        "stem": _STEMS[stem],
        "blur": anti_alias is not None,
    }
    given.pop("memory_efficient", None)  # changes no number
    if given:
        raise Unsupported(f"DenseNet arguments {given}")
    return {k: v for k, v in arguments.items() if v != _DEFAULTS[k]}


_DEFAULTS = {
    "growth_rate": 32,
    "depths": [6, 12, 24, 16],
    "bottleneck_ratio": 4,
    "stem": "imagenet",
    "blur": False,
}
