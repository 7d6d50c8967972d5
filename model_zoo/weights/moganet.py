"""How MogaNets are read: the files of the original repository."""

from typing import Any

from model_zoo.weights.rules import Rules, Unsupported

RULES = Rules(
    renames=(
        (r"sigma\.gamma$", "sigma.scale"),
        (r"(layer_scale_\d)\.gamma$", r"\1"),
        # The original counts the activation between the stem's convolutions.
        (r"^patch_embed1\.projection\.3\.", "patch_embed1.projection.4."),
        (r"^patch_embed1\.projection\.2\.", "patch_embed1.projection.3."),
    ),
)


def arguments_from_timm(variant: str, _: dict[str, Any]) -> dict[str, Any]:
    """Refuses: timm has no MogaNet.

    Raises:
        Unsupported: Always.
    """
    raise Unsupported(f"{variant} is no MogaNet: timm has none")
