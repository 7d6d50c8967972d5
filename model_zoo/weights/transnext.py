"""How TransNeXts are read: the files of the original repository."""

from typing import Any

from model_zoo.weights.rules import Rules, Unsupported

RULES = Rules(
    renames=((r"\.mlp\.dwconv\.", ".mlp.dwconv.dwconv."),),
    # Tables of positions, which are computed here.
    ignored=(
        r"relative_(pos_index|coords_table)\d",
        r".*\.(seq_length_scale|padding_mask)",
    ),
)


def arguments_from_timm(variant: str, _: dict[str, Any]) -> dict[str, Any]:
    """Refuses: timm has no TransNeXt.

    Raises:
        Unsupported: Always.
    """
    raise Unsupported(f"{variant} is no TransNeXt: timm has none")
