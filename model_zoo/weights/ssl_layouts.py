"""Checkpoints of self-supervised training: where the backbone is, what lies beside it.

Pre-training saves a network with its projection head, a second network that follows it,
queues and prototypes. What is wanted is the backbone under its own names. Every tensor
of such a file belongs to the backbone or is listed here as ignored; anything else is an
error, as in every other conversion.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TypeVar

Value = TypeVar("Value")

# What data-parallel and compiled modules put before every name.
_WRAPPED = ("module.", "_orig_mod.", "_forward_module.")
# A torchvision ResNet's children by position, as `Sequential(*net.children())` has them
_CHILDREN = tuple(
    (rf"^{place}\.", f"{name}.")
    for place, name in (
        (0, "conv1"),
        (1, "bn1"),
        (4, "layer1"),
        (5, "layer2"),
        (6, "layer3"),
        (7, "layer4"),
    )
)
_BLOCKS = (
    (r"^0\.Conv\.", "conv1."),
    (r"^0\.bn\.", "bn1."),
    (r"^([1-4])\.", r"layer\1."),
)
# A head of several layers in the place of a classifier.
_FC, _HEAD = r"fc\..*", r"head\..*"
_SHOWN = 20


@dataclass(frozen=True)
class Layout:
    """How the checkpoints of some methods are laid out.

    Names are those without `module.`.

    Attributes:
        methods: Whose checkpoints these are.
        prefix: What the backbone's names begin with; "" where they stand at the top.
        ignored: Patterns of whole names of tensors that are not the backbone's. Names
            inside the backbone (a projection head in the place of `fc`) are written
            with the prefix.
        marker: A pattern; the layout is meant only where some name matches it.
        renames: Pairs for `re.sub` that bring the backbone's names to its own.
        source: Where the layout is written down.
    """

    methods: str
    prefix: str
    ignored: tuple[str, ...]
    marker: str
    source: str
    renames: tuple[tuple[str, str], ...] = ()


_GITHUB = "https://github.com"
LAYOUTS: tuple[Layout, ...] = (
    Layout(
        "MoCo v1 and v2, PCL",
        "encoder_q.",
        (r"encoder_q\." + _FC, r"encoder_k\..*", r"queue(_ptr)?"),
        r"encoder_q\..*",
        f"{_GITHUB}/facebookresearch/moco, {_GITHUB}/salesforce/PCL",
    ),
    Layout(
        "MoCo v3",
        "base_encoder.",
        (
            r"base_encoder\." + _FC,
            r"base_encoder\." + _HEAD,
            r"momentum_encoder\..*",
            r"predictor\..*",
        ),
        r"base_encoder\..*",
        f"{_GITHUB}/facebookresearch/moco-v3, moco/builder.py",
    ),
    Layout(
        "BYOL",
        "online_network.encoder.",
        (r"online_network\.projetion\..*", r"target_network\..*", r"predictor\..*"),
        r"online_network\.encoder\..*",
        f"{_GITHUB}/yaox12/BYOL-PyTorch, model/basic_modules.py",
        _CHILDREN,
    ),
    Layout(
        "BYOL (online network alone)",
        "encoder.",
        (r"projetion\..*",),
        r"projetion\..*",
        f"{_GITHUB}/sthalles/PyTorch-BYOL, models/resnet_base_network.py",
        _CHILDREN,
    ),
    Layout(
        "SimSiam",
        "encoder.",
        (r"encoder\." + _FC, r"predictor\..*"),
        r"predictor\..*",
        f"{_GITHUB}/facebookresearch/simsiam, simsiam/builder.py",
    ),
    Layout(
        "SimCLR (with a projector)",
        "encoder.",
        (r"projector\..*", r"projection\..*"),
        r"(projector|projection)\..*",
        f"{_GITHUB}/Spijkervet/SimCLR, simclr/simclr.py",
    ),
    Layout(
        "InstDis, PIRL, InfoMin",
        "encoder.",
        (_HEAD, r"head_jig\..*", r"jigsaw.*", r"encoder\." + _FC),
        r"(encoder\.fc|head|head_jig|jigsaw[^.]*)\..*",
        f"{_GITHUB}/linusericsson/ssl-transfer, download_and_prepare_models.py",
    ),
    Layout(
        "Barlow Twins, VICReg",
        "backbone.",
        (r"projector\..*", r"bn\..*"),
        r"projector\..*",
        f"{_GITHUB}/facebookresearch/barlowtwins, {_GITHUB}/facebookresearch/vicreg",
    ),
    Layout(
        "DINO, iBOT",
        "backbone.",
        (_HEAD, r"backbone\.masked_embed"),
        r"head\.(mlp|last_layer).*",
        f"{_GITHUB}/facebookresearch/dino, main_dino.py and utils.py",
    ),
    Layout(
        "SimCLR (head in the backbone's fc)",
        "backbone.",
        (r"backbone\.fc\.[02]\..*",),
        r"backbone\.fc\.0\..*",
        f"{_GITHUB}/sthalles/SimCLR, models/resnet_simclr.py",
    ),
    Layout(
        "methods of MMPretrain",
        "backbone.",
        (r"data_preprocessor\..*", r"neck\..*", _HEAD),
        r"(neck|data_preprocessor)\..*",
        f"{_GITHUB}/open-mmlab/mmpretrain",
    ),
    Layout(
        "SwAV, DeepCluster-v2, SeLa-v2",
        "",
        (r"projection_head\..*", r"prototypes\..*"),
        r"(projection_head|prototypes)\..*",
        f"{_GITHUB}/facebookresearch/swav, src/resnet50.py",
    ),
    Layout(
        "OBoW",
        "_feature_blocks.",
        (),
        r"_feature_blocks\.0\.Conv\.weight",
        f"{_GITHUB}/valeoai/obow, obow/feature_extractor.py",
        _BLOCKS,
    ),
    Layout(
        "methods of VISSL (trunk)",
        "_feature_blocks.",
        (r"projection_head\..*", r"prototypes\..*"),
        r"_feature_blocks\.conv1\.weight",
        f"{_GITHUB}/facebookresearch/vissl",
    ),
    Layout(
        "MAE",
        "",
        (r"mask_token", r"decoder_.*"),
        r"decoder_embed\.weight",
        f"{_GITHUB}/facebookresearch/mae, models_mae.py",
    ),
)


def find_layout(names: Iterable[str]) -> Layout | None:
    """The layout that tensors of these names are in; None where they are in none.

    Of several that may be meant, the one that leaves the fewest names unexplained, and
    of these the one whose backbone has the longest prefix: without its prefix, a
    backbone's names are not a network's.
    """
    bare = unwrapped(names)
    meant = [
        layout
        for layout in LAYOUTS
        if any(name.startswith(layout.prefix) for name in bare)
        and any(re.fullmatch(layout.marker, name) for name in bare)
    ]
    return min(
        meant,
        key=lambda one: (len(_unexplained(one, bare)), -len(one.prefix)),
        default=None,
    )


def take_backbone(tensors: Mapping[str, Value]) -> dict[str, Value] | None:
    """The backbone of a self-supervised checkpoint under its own names.

    Args:
        tensors: By the checkpoint's names, with or without `module.`.

    Returns:
        The backbone's tensors alone; None if this is not such a checkpoint.

    Raises:
        ValueError: If there are tensors that are neither the backbone's nor known to
            lie beside it; they are named.
    """
    layout = find_layout(tensors)
    if layout is None:
        return None
    bare = dict(zip(unwrapped(tensors), tensors.values(), strict=True))
    left = _unexplained(layout, bare)
    if left:
        rest = f" and {len(left) - _SHOWN} more" if len(left) > _SHOWN else ""
        raise ValueError(
            f"this looks like a checkpoint of {layout.methods}, whose backbone is "
            f"{layout.prefix or '(no prefix)'}* and whose other tensors are "
            f"{' '.join(layout.ignored)}; it holds others too: "
            f"{', '.join(left[:_SHOWN])}{rest}. Save the backbone's tensors alone"
        )
    found = {}
    for name, tensor in bare.items():
        if name.startswith(layout.prefix) and not _ignored(layout, name):
            own = name.removeprefix(layout.prefix)
            for pattern, replacement in layout.renames:
                own = re.sub(pattern, replacement, own)
            found[own] = tensor
    return found


def unwrapped(names: Iterable[str]) -> list[str]:
    """The names without what wrappers put before every one of them, in order."""
    names = list(names)
    while names and (
        prefix := next(
            (w for w in _WRAPPED if all(name.startswith(w) for name in names)), None
        )
    ):
        names = [name.removeprefix(prefix) for name in names]
    return names


def _ignored(layout: Layout, name: str) -> bool:
    return any(re.fullmatch(pattern, name) for pattern in layout.ignored)


def _unexplained(layout: Layout, names: Iterable[str]) -> list[str]:
    """Names that are neither inside the backbone nor listed as ignored."""
    return sorted(
        name
        for name in names
        if not name.startswith(layout.prefix) and not _ignored(layout, name)
    )
