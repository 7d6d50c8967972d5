"""How UniRepLKNets are read: the original's files, with branches or merged."""

from typing import Any

from model_zoo.weights.rules import Rules, Unsupported

RULES = Rules(
    renames=(
        (r"\.layer_scale\.gamma$", ".gamma"),
        (r"\.act\.weight$", ".act.1.gamma"),
        (r"\.act\.bias$", ".act.1.beta"),
        (r"\.se\.fc1\.", ".se.down."),
        (r"\.se\.fc2\.", ".se.up."),
        # Layers that the original has in lists, between others without tensors.
        (r"\.pwconv1\.", ".pwconv1.1."),
        (r"\.pwconv2\.", ".pwconv2.0."),
        (r"\.pwconv2_norm\.", ".pwconv2.2."),
        (r"^downsample_layers\.0\.3\.", "downsample_layers.0.4."),
        (r"^downsample_layers\.0\.2\.", "downsample_layers.0.3."),
    ),
)


def arguments_from_timm(variant: str, _: dict[str, Any]) -> dict[str, Any]:
    """Refuses: timm has no UniRepLKNet.

    Raises:
        Unsupported: Always.
    """
    raise Unsupported(f"{variant} is no UniRepLKNet: timm has none")
