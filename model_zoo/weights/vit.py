"""How Vision Transformers are read: timm's files, CLIP's, DINOv2's and AIMv2's."""

import re
from dataclasses import fields
from math import isqrt
from typing import Any

import jax
import numpy as np

from model_zoo.backbones.vit import ViTArchitecture
from model_zoo.classifier import NetworkClassifier
from model_zoo.layers.activations import ACTIVATIONS
from model_zoo.weights.rules import Rules, Tensors, Unsupported

_ACTIVATIONS = {None: "gelu", "SiLU": "silu", **{name: name for name in ACTIVATIONS}}
_NORMS = {
    None: "layer",
    "LayerNorm": "layer",
    "layernorm": "layer",
    "RmsNorm": "rms",
    "rmsnorm": "rms",
}
_BLOCKS = {
    "Block": ("serial", None),
    "ResPostBlock": ("post_norm", None),
    "ParallelScalingBlock": ("parallel", "plain"),
    "DiffParallelScalingBlock": ("parallel", "differential"),
    "ParallelThingsBlock": ("double", None),
}
_POOLS = {"token": "token", "avg": "average", "map": "map"}
# timm's keyword, ours, timm's default.
_SAME = (
    ("embed_dim", "width", 768),
    ("depth", "depth", 12),
    ("num_heads", "num_heads", 12),
    ("patch_size", "patch_size", 16),
    ("qkv_bias", "qkv_bias", True),
    ("proj_bias", "proj_bias", True),
    ("qk_norm", "qk_norm", False),
    ("init_values", "layer_scale", None),
    ("class_token", "class_token", True),
    ("reg_tokens", "register_tokens", 0),
    ("pre_norm", "pre_norm", False),
    ("pool_include_prefix", "pool_prefix", False),
)
# Names that enclose all of a file, and those of the image tower in a larger model.
_WRAPPERS = ("model.", "state_dict.", "module.")
_TOWERS = ("visual.trunk.", "vision_encoder.", "encoder.module.")
_CLIP = (
    (r"^conv1", "patch_embed.proj"),
    (r"^class_embedding$", "cls_token"),
    (r"^positional_embedding$", "pos_embed"),
    (r"^transformer\.resblocks\.", "blocks."),
    (r"^ln_pre\.", "norm_pre."),
    (r"^ln_post\.", "norm."),
    (r"\.ln_(\d)\.", r".norm\1."),
    (r"\.in_proj_", ".qkv."),
    (r"\.out_proj\.", ".proj."),
    (r"\.c_fc\.", ".fc1."),
    (r"\.c_proj\.", ".fc2."),
)
_DINO = (
    (r"\.w12\.", ".fc1."),
    (r"\.w3\.", ".fc2."),
)
_AIM = (
    (r"^preprocessor\.patchifier\.", "patch_embed."),
    (r"^preprocessor\.", ""),
    (r"^trunk\.", ""),
    (r"^post_trunk_norm\.", "norm."),
    (r"\.norm_(\d)\.", r".norm\1."),
    (r"\.mlp\.fc1\.", ".mlp.fc1_g."),
    (r"\.mlp\.fc3\.", ".mlp.fc1_x."),
)
_DEIT = ((r"\.gamma_(\d)$", r".ls\1.gamma"),)


def _legacy(tensors: Tensors, _: NetworkClassifier) -> Tensors:
    """Brings originals' names and layouts to timm's."""
    for wrapper in _WRAPPERS:
        if all(name.startswith(wrapper) for name in tensors):
            tensors = _inside(tensors, wrapper)
    projection = tensors.get("visual.head.proj.weight")
    for tower in _TOWERS:
        if any(name.startswith(tower) for name in tensors):
            tensors = _inside(tensors, tower)
    if projection is not None:
        tensors |= _head(projection)
    if "visual.class_embedding" in tensors:
        tensors = _from_clip(_inside(tensors, "visual."))
    elif "mask_token" in tensors:
        tensors = _from_dino(tensors)
    elif "preprocessor.patchifier.proj.weight" in tensors:
        tensors = _renamed(tensors, _AIM)
    tensors = _renamed(tensors, _DEIT)
    patches = tensors.get("patch_embed.proj.weight")
    if patches is not None and patches.ndim == 2:
        side = isqrt(patches.shape[1] // 3)
        tensors["patch_embed.proj.weight"] = patches.reshape(-1, 3, side, side)
    return tensors


def _from_clip(tensors: Tensors) -> Tensors:
    """The image tower of OpenAI's CLIP, also as OpenCLIP stores it."""
    tensors = _renamed(tensors, _CLIP)
    # Stored without the axis of the batch, which resizing counts on.
    tensors["pos_embed"] = tensors["pos_embed"].reshape(
        1, -1, tensors["pos_embed"].shape[-1]
    )
    projection = tensors.pop("proj", None)
    return tensors if projection is None else tensors | _head(projection.T)


def _from_dino(tensors: Tensors) -> Tensors:
    """DINOv2; with registers the class token's position goes into the token."""
    tensors = _renamed(tensors, _DINO)
    del tensors["mask_token"]
    if "register_tokens" in tensors:
        positions = tensors["pos_embed"]
        tensors["reg_token"] = tensors.pop("register_tokens")
        tensors["cls_token"] = tensors["cls_token"] + positions[:, :1]
        tensors["pos_embed"] = positions[:, 1:]
    return tensors


def _head(projection: np.ndarray) -> Tensors:
    """The projection to the space of images and texts, as the last layer."""
    bias = np.zeros(len(projection), projection.dtype)
    return {"head.weight": projection, "head.bias": bias}


def _inside(tensors: Tensors, prefix: str) -> Tensors:
    return {
        name.removeprefix(prefix): array
        for name, array in tensors.items()
        if name.startswith(prefix)
    }


def _renamed(tensors: Tensors, renames: tuple[tuple[str, str], ...]) -> Tensors:
    found = {}
    for name, array in tensors.items():
        for pattern, replacement in renames:
            name = re.sub(pattern, replacement, name)
        found[name] = array
    return found


def resize_positions(
    array: np.ndarray, shape: tuple[int, ...], classifier: NetworkClassifier
) -> np.ndarray:
    """Fits position embeddings of a square image to another size, in float32.

    Those of class and register tokens stay as they are.
    """
    config = classifier.architecture
    assert isinstance(config, ViTArchitecture)
    prefix = config.num_prefix if config.embed_prefix else 0
    side = isqrt(max(array.shape[1] - prefix, 0))
    if side == 0 or side**2 + prefix != array.shape[1] or array.shape[2] != shape[2]:
        return array
    new = [length // config.patch_size for length in classifier.input_spec.size]
    corners = config.position_resize == "linear_corners" and side > 1
    scale = np.array([(n - corners) / (side - corners) for n in new], np.float32)
    resized = jax.image.scale_and_translate(
        array[0, prefix:].reshape(side, side, -1),
        (*new, shape[2]),
        (0, 1),
        scale,
        (1 - scale) / 2 if corners else np.zeros(2, np.float32),
        method="cubic" if config.position_resize == "cubic" else "linear",
        antialias=config.position_resize == "cubic",
    )
    patches = np.asarray(resized).reshape(1, -1, shape[2])
    return np.concatenate([array[:, :prefix], patches], axis=1)


RULES = Rules(
    renames=(
        (r"\.attns\.(\d)\.layer\.", r".attns.\1.attn."),
        (r"\.ffns\.(\d)\.layer\.", r".ffns.\1.mlp."),
    ),
    # Pooling that an average replaces; the representation layer of pre-training.
    ignored=(r"attn_pool\..*", r"pre_logits\..*"),
    legacy=_legacy,
    resized=((r"pos_embed", resize_positions),),
)


def arguments_from_timm(variant: str, keywords: dict[str, Any]) -> dict[str, Any]:
    """The architecture's arguments from those of timm's `VisionTransformer`.

    Raises:
        Unsupported: If an option has no counterpart here.
    """
    given = dict(keywords)
    arguments = {ours: given.pop(theirs, by) for theirs, ours, by in _SAME}
    arguments |= {
        "mlp_ratio": float(given.pop("mlp_ratio", 4.0)),
        "activation": _known(given.pop("act_layer", None), _ACTIVATIONS),
        "mlp": _mlp(given.pop("mlp_layer", "Mlp")),
        "distilled": given.pop("model_class", "") == "VisionTransformerDistilled",
        "embed_prefix": not given.pop("no_embed_class", False),
        "position_resize": _position_resize(variant),
        **_block(given),
        **_norms(given),
        **_pooling(given),
    }
    # Here any size can be asked for.
    given.pop("dynamic_img_size", None)
    if given:
        raise Unsupported(f"{variant}: {given}")
    defaults = {f.name: f.default for f in fields(ViTArchitecture)}
    arguments = {k: v for k, v in arguments.items() if v != defaults[k]}
    try:
        ViTArchitecture(**arguments)
    except ValueError as error:
        raise Unsupported(f"{variant}: {error}") from None
    return arguments


def _block(given: dict[str, Any]) -> dict[str, Any]:
    block, attention = _known(given.pop("block_fn", "Block"), _BLOCKS)
    named = given.pop("attn_layer", "attn")
    inner = given.pop("scale_attn_norm", False)
    if given.pop("scale_mlp_norm", False) != inner:
        raise Unsupported("a norm inside attention or MLP alone")
    kinds = {"attn": "plain", "": "plain", "Attention": "plain", "diff": "differential"}
    return {
        "block": block,
        "attention": attention or _known(named, kinds),
        "inner_norm": inner,
    }


def _norms(given: dict[str, Any]) -> dict[str, Any]:
    layer = given.pop("norm_layer", None)
    patches = given.pop("embed_norm_layer", None)
    if patches not in (None, layer):
        raise Unsupported(f"patches normalised by {patches}, all else by {layer}")
    options = dict(layer) if isinstance(layer, dict) else {"partial": layer}
    norm = _known(options.pop("partial"), _NORMS)
    epsilon = options.pop("eps", 1e-6)
    if options:
        raise Unsupported(f"norm with {options}")
    return {"norm": norm, "epsilon": epsilon, "patch_norm": patches is not None}


def _pooling(given: dict[str, Any]) -> dict[str, Any]:
    pool = _known(given.pop("global_pool", "token"), _POOLS)
    pooled = given.pop("fc_norm", None)
    pooled = pool == "average" if pooled is None else pooled
    norm = "pooled" if pooled else "tokens"
    return {
        "pool": pool,
        "last_norm": norm if given.pop("final_norm", True) else "none",
    }


def _mlp(layer: Any) -> str:
    packed = {"partial": "GluMlp", "act_layer": "SiLU", "gate_last": False}
    if layer == packed:
        return "glu_packed"
    return _known(layer, {"Mlp": "plain", "SwiGLU": "glu"})


def _position_resize(variant: str) -> str:
    """What the originals' positions were made for."""
    if re.search("(base|huge)_patch16_radio_v3", variant):
        return "linear_corners"
    return "linear" if re.search("flexi|radio", variant) else "cubic"


def _known(name: Any, table: dict[Any, Any]) -> Any:
    if not isinstance(name, str | None) or name not in table:
        raise Unsupported(f"{name} is none of {', '.join(map(str, table))}")
    return table[name]
