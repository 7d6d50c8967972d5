"""How VGGs are read: names as in timm; torchvision's dense layers as convolutions."""

from typing import Any

from model_zoo.classifier import NetworkClassifier
from model_zoo.weights.rules import Rules, Tensors, Unsupported

_TORCHVISION = {
    "classifier.0": "pre_logits.fc1",
    "classifier.3": "pre_logits.fc2",
    "classifier.6": "head.fc",
}


def _legacy(tensors: Tensors, classifier: NetworkClassifier) -> Tensors:
    del classifier
    found = {}
    for name, tensor in tensors.items():
        module, _, leaf = name.rpartition(".")
        # Its first dense layer sees channels of 7x7 pixels, channels first.
        if name == "classifier.0.weight" and tensor.ndim == 2:
            tensor = tensor.reshape(len(tensor), -1, 7, 7)
        found[f"{_TORCHVISION.get(module, module)}.{leaf}"] = tensor
    return found


RULES = Rules(legacy=_legacy)


def arguments_from_timm(variant: str, keywords: dict[str, Any]) -> dict[str, Any]:
    """Arguments of `VGGArchitecture` from those of timm's `VGG`.

    Raises:
        Unsupported: If it has no counterpart.
    """
    del variant
    given = {k: v for k, v in keywords.items() if k != "model_class"}
    norm = given.pop("norm_layer", None)
    if norm not in (None, "BatchNorm2d"):
        raise Unsupported(f"norm_layer={norm!r}")
    depths, widths = _stages(given.pop("model_cfg"))
    arguments = {
        "depths": depths,
        "widths": widths,
        "hidden_widths": [int(4096 * given.pop("mlp_ratio", 1)), 4096],
        "batch_norm": norm is not None,
    }
    if given:
        raise Unsupported(f"VGG arguments {given}")
    return {k: v for k, v in arguments.items() if v != _DEFAULTS.get(k, ...)}


_DEFAULTS: dict[str, Any] = {
    "widths": [64, 128, 256, 512, 512],
    "hidden_widths": [4096, 4096],
    "batch_norm": False,
}


def _stages(layers: list[int | str]) -> tuple[list[int], list[int]]:
    """Depths and widths from a list of widths, with "M" after each stage."""
    depths, widths, stage = [], [], []
    for layer in layers:
        if layer != "M":
            stage.append(layer)
            continue
        if len(set(stage)) != 1:
            raise Unsupported(f"a stage of widths {stage}")
        depths.append(len(stage))
        widths.append(stage[0])
        stage = []
    if stage:
        raise Unsupported(f"no pool after {stage}")
    return depths, widths
