"""The `model_args` of timm's config.json: keywords that override an architecture's.

timm passes them to the function that builds the network, so they may change the forward
pass without changing a tensor (`global_pool`, `fc_norm`, `act_layer`). The registry
keeps the keywords that timm builds each architecture with; a family's
`arguments_from_timm` reads both together.
"""

import importlib
from dataclasses import replace
from typing import Any

from model_zoo import registry
from model_zoo.architecture import Architecture
from model_zoo.layers.activations import ACTIVATIONS

# They act in training, on initial values or on memory alone, whatever their value.
_WITHOUT_EFFECT = frozenset(
    {
        "attn_drop_rate",
        "bn_momentum",
        "cache_dir",
        "checkpoint_path",
        "drop",
        "drop_block_rate",
        "drop_block_size",
        "drop_connect_rate",
        "drop_path_rate",
        "drop_rate",
        "dynamic_img_size",  # here any size can be asked for
        "exportable",
        "fix_init",
        "grad_checkpointing",
        "head_init_bias",
        "head_init_scale",
        "init_scale",
        "memory_efficient",
        "nlhb",
        "no_jit",
        "patch_drop_rate",
        "pos_drop_rate",
        "pretrained",
        "proj_drop_rate",
        "scriptable",
        "strict_img_size",
        "weight_init",
        "zero_init_last",
    }
)
# `folders` reads these: the head's classes and the image's size.
_READ_ELSEWHERE = frozenset({"img_size", "num_classes"})
# timm's other names of activations that the zoo has.
_ALIASES = {"swish": "silu"}


def build_architecture(
    entry: registry.ArchitectureEntry, model_args: dict[str, Any]
) -> tuple[Architecture, dict[str, Any]]:
    """Builds an architecture with what a config.json changes of it.

    Args:
        entry: What the registry has under the architecture's name.
        model_args: Keywords as timm's config.json holds them; {} changes nothing.

    Returns:
        The architecture, and those of its arguments that differ from the registry's.

    Raises:
        ValueError: If a keyword changes the network in a way it cannot express here.
    """
    keywords = registry.timm_keywords(entry.name)
    given = _effective(keywords, model_args)
    if not given:
        return entry.build(), {}
    listed = ", ".join(f"{key}={value!r}" for key, value in sorted(given.items()))
    if keywords is None:
        raise ValueError(
            f"model_args {listed} cannot be applied: {entry.name} is not timm's"
        )
    try:
        before = _read(entry, keywords)
        after = _read(entry, keywords | given)
        changes = {
            key: after.get(key)
            for key in before.keys() | after.keys()
            if before.get(key) != after.get(key)
        }
        # What is read no more has its default again.
        kept = {k: v for k, v in entry.arguments.items() if k not in changes}
        changed = {k: v for k, v in after.items() if k in changes}
        return replace(entry, arguments=kept | changed).build(), changes
    except (
        ArithmeticError,
        AttributeError,
        LookupError,
        TypeError,
        ValueError,
    ) as error:
        raise ValueError(
            f"model_args {listed} cannot be applied to {entry.name}: {error}"
        ) from error


def _effective(
    keywords: dict[str, Any] | None, model_args: dict[str, Any]
) -> dict[str, Any]:
    """The keywords that change the network, under values as the readers know them."""
    if model_args.get("in_chans") not in (None, 3):
        raise ValueError(
            f"model_args in_chans={model_args['in_chans']!r}: networks here take "
            "images of 3 channels"
        )
    skipped = _WITHOUT_EFFECT | _READ_ELSEWHERE | {"in_chans"}
    found = {}
    for key, value in model_args.items():
        if key in skipped or value is None:  # timm drops what is None
            continue
        value = _plain(key, value)
        if keywords is None or not _says_the_same(value, _present(keywords, key)):
            found[key] = value
    return found


def _present(keywords: dict[str, Any], key: str) -> Any:
    """What timm builds the architecture with where a config.json says nothing."""
    nested = keywords.get("model_cfg")
    for source in (
        keywords,
        nested if isinstance(nested, dict) else {},
        registry.timm_defaults(keywords["model_class"]),
    ):
        if key in source:
            return source[key]
    return {"global_pool": "avg", "features_only": False, "dynamic_img_pad": False}.get(
        key
    )


def _plain(key: str, value: Any) -> Any:
    if key == "patch_size" and isinstance(value, list) and len(set(value)) == 1:
        return value[0]
    if key == "act_layer" and isinstance(value, str):
        return _ALIASES.get(value, value)
    return value


def _says_the_same(value: Any, present: Any) -> bool:
    if isinstance(value, str) and isinstance(present, str):
        return value.casefold() == present.casefold()  # "gelu" is the class GELU
    return type(value) in (type(present), int, float) and value == present


def _read(entry: registry.ArchitectureEntry, keywords: dict[str, Any]) -> dict:
    """The family's arguments, without the widths that the registry's row holds."""
    module = importlib.import_module(f"model_zoo.weights.{entry.family}")
    if entry.family == "efficientnet":
        keywords = {**keywords, "block_args": []}
    arguments = module.arguments_from_timm(entry.name, keywords)
    activation = arguments.get("activation", "gelu")
    if activation not in ACTIVATIONS:
        raise ValueError(
            f"activation {activation!r} is none of {', '.join(ACTIVATIONS)}"
        )
    return arguments
