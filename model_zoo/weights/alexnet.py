"""How AlexNets are read: names as in torchvision."""

from typing import Any

from model_zoo.weights.rules import Rules, Unsupported

RULES = Rules()


def arguments_from_timm(variant: str, keywords: dict[str, Any]) -> dict[str, Any]:
    """Timm has no AlexNet.

    Raises:
        Unsupported: Always.
    """
    raise Unsupported(f"timm has no AlexNet to read {variant} {keywords} from")
