"""What wrappers put before a network's names: found, and taken away.

Trainers, averaged models and compilers keep a network inside a module of their own, so
its tensors are called `module.conv1.weight` beside those of the wrapper
(`n_averaged`, `criterion.weight`). A network is looked for where the names of one lie.
"""

import re
from collections import Counter
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Generic, TypeVar

from model_zoo.weights.ssl_layouts import take_backbone

Value = TypeVar("Value")

# What the first layers of the families here are called, in files of timm and others.
_FIRST = re.compile(
    r"(?:^|(?<=\.))(?:"
    r"conv1|conv_stem|conv_proj|stem|patch_embed|patch_embed1|patch_embeds|to_patch_"
    r"|features|downsample_layers|cls_token|class_token|pos_embed"
    r"|preprocessor|visual\.trunk|visual\.class_embedding"
    r")(?:\.|$)"
)
# Networks inside a wrapper that follow another one, and those that are averages of it.
_FOLLOWERS = re.compile(r"encoder_k|momentum_encoder|target")
_AVERAGES = re.compile(r"(^|[._])ema|averag|teacher|shadow")
# CLIP's image tower, which the families' rules know by its name.
_TOWER = ("visual.trunk.", "visual.class_embedding")


@dataclass(frozen=True)
class Network(Generic[Value]):
    """A network's tensors, and what lay beside them.

    Attributes:
        tensors: By the network's own names.
        prefix: What stood before each of them.
        beside: Names of the tensors without the prefix.
    """

    tensors: dict[str, Value]
    prefix: str
    beside: tuple[str, ...]


def find_network(
    tensors: Mapping[str, Value],
    names: Collection[str] = (),
    *,
    averaged: bool = True,
) -> Network[Value]:
    """Takes the network out of its wrappers, and out of what pre-training adds to it.

    Args:
        tensors: By the file's names.
        names: Those of the network that is wanted, where it is known. Without them, or
            where fewer than half are found, names of usual first layers stand for it.
        averaged: Whether of two networks the moving average is taken.

    Raises:
        ValueError: If a self-supervised checkpoint holds tensors that `ssl_layouts`
            does not know.
    """
    backbone = take_backbone(tensors)
    if backbone is not None:
        return Network(backbone, "", ())
    prefix = _prefix_of(tensors, set(names), averaged)
    if prefix is None:
        prefix = _prefix_of_first_layers(tensors, averaged)
    inside = {
        name.removeprefix(prefix): tensor
        for name, tensor in tensors.items()
        if name.startswith(prefix)
    }
    beside = tuple(name for name in tensors if not name.startswith(prefix))
    return Network(inside, prefix, beside)


def has_network(names: Collection[str]) -> bool:
    """Whether a usual first layer is among the names, without any prefix."""
    return any(_FIRST.match(name) for name in names)


def _prefix_of(
    tensors: Collection[str], wanted: set[str], averaged: bool
) -> str | None:
    """The prefix under which most of the wanted names lie; None below half of them."""
    counts: Counter[str] = Counter()
    for name in tensors:
        for start in (0, *(found.end() for found in re.finditer(r"\.", name))):
            if name[start:] in wanted:
                counts[name[:start]] += 1
    usual = {k: v for k, v in counts.items() if 2 * v > len(wanted)}
    return _best(usual, averaged)


def _prefix_of_first_layers(tensors: Collection[str], averaged: bool) -> str:
    """The prefix of a usual first layer with most tensors under it; "" without one."""
    found = {name[: at.start()] for name in tensors if (at := _FIRST.search(name))}
    clip = any(tower in name for name in tensors for tower in _TOWER)
    if clip:
        found = {prefix for prefix in found if not _inside_clip(prefix)}
    counts = {p: sum(name.startswith(p) for name in tensors) for p in found}
    return _best(counts, averaged) or ""


def _inside_clip(prefix: str) -> bool:
    return (
        re.search(r"(^|\.)(visual|text|text_model|transformer)\.", prefix) is not None
    )


def _best(counts: Mapping[str, int], averaged: bool) -> str | None:
    """The prefix with most tensors, of nearly as many the one that is preferred."""
    most = max(counts.values(), default=0)
    near = [prefix for prefix, count in counts.items() if count >= 0.9 * most]
    return min(
        near,
        key=lambda p: (
            _FOLLOWERS.search(p) is not None,
            (_AVERAGES.search(p) is None) is averaged,
            -counts[p],
            len(p),
        ),
        default=None,
    )
