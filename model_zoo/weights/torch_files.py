"""Torch checkpoints as safetensors: read once, where torch is installed.

Training code wraps a network's weights in dictionaries and prefixes; what is found
inside is the network's own tensors under the original's names.
"""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from model_zoo.weights.ssl_layouts import take_backbone

# Where training code keeps a state dict, averaged weights first: they were evaluated.
_WRAPPERS = (
    "state_dict_ema",
    "model_ema",
    "ema",
    "state_dict",
    "model_state",
    "model_state_dict",
    "model",
    "module",
    "network",
    "teacher",
    "student",
    "classy_state_dict",
    "base_model",
    "trunk",
    "online_backbone",
    "online_network_state_dict",
)
_AVERAGED = frozenset({"state_dict_ema", "model_ema", "ema", "teacher"})
# What wrappers put before a network's own names, the encoder that is trained first.
PREFIXES = (
    "module.",
    "model.",
    "_orig_mod.",
    "encoder_q.",
    "base_encoder.",
    "backbone.",
    "encoder.",
    "visual.",
    "ema.",
)


def read_torch_file(
    path: str | os.PathLike[str], *, averaged: bool = True
) -> dict[str, np.ndarray]:
    """Reads a network's tensors from a checkpoint that torch saved.

    Read with `weights_only=True`: no code in the file runs.

    Args:
        path: What `torch.save` wrote.
        averaged: Whether an exponential moving average is taken where there is one.

    Raises:
        ImportError: If torch is not installed.
        FileNotFoundError: If there is no such file.
        ValueError: If it holds more than tensors and plain values, or no tensors.
    """
    try:
        import torch  # pyright: ignore[reportMissingImports]
    except ImportError as error:
        raise ImportError(
            "reading a torch checkpoint needs torch, which is not installed; run this "
            "where it is (`pip install torch jaxbench`), or get a .safetensors file"
        ) from error
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"no file at {path}")
    try:
        stored = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # pickle, zip and torch have an error each
        raise ValueError(
            f"{path} cannot be read with weights_only=True ({error}); only a file of "
            "tensors and plain values is safe to read"
        ) from error
    return network_tensors(stored, averaged=averaged)


def network_tensors(stored: Any, *, averaged: bool = True) -> dict[str, np.ndarray]:
    """Takes a network's tensors out of what training code stored.

    Args:
        stored: Nested dictionaries with tensors at the bottom.
        averaged: Whether an exponential moving average is taken where there is one.

    Returns:
        Arrays by the network's own names: prefixes that wrappers add are gone, and so
        is all that lies beside the network where a prefix tells them apart.

    Raises:
        ValueError: If there are no tensors, or a self-supervised checkpoint holds some
            that `ssl_layouts` does not know.
    """
    tensors = _unwrapped(stored, averaged)
    backbone = take_backbone(tensors)
    if backbone is not None:
        return {name: _array(tensor) for name, tensor in backbone.items()}
    while (prefix := _prefix(tensors)) is not None:
        tensors = {
            name.removeprefix(prefix): tensor
            for name, tensor in tensors.items()
            if name.startswith(prefix)
        }
    return {name: _array(tensor) for name, tensor in tensors.items()}


def _unwrapped(stored: Any, averaged: bool) -> dict[str, Any]:
    while isinstance(stored, Mapping):
        inner = [
            key
            for key in _WRAPPERS
            if isinstance(stored.get(key), Mapping)
            and (averaged or key not in _AVERAGED)
        ]
        if not inner:
            break
        stored = stored[inner[0]]
    found = stored.items() if isinstance(stored, Mapping) else ()
    tensors = {str(k): v for k, v in found if hasattr(v, "shape")}
    if not tensors:
        held = list(stored) if isinstance(stored, Mapping) else type(stored).__name__
        raise ValueError(
            f"no tensors in this checkpoint; at its top it holds {held}, wanted a "
            f"state dict, alone or under one of {', '.join(_WRAPPERS)}"
        )
    return tensors


def _prefix(tensors: Mapping[str, Any]) -> str | None:
    """The wrapper's prefix; encoders stand beside what is of no use, others alone."""
    # The families' rules know CLIP's towers by this prefix.
    clip = any(n.startswith(("visual.trunk.", "visual.class_emb")) for n in tensors)
    for prefix in PREFIXES:
        if prefix == "visual." and clip:
            continue
        count = sum(name.startswith(prefix) for name in tensors)
        beside = prefix in ("encoder_q.", "base_encoder.", "backbone.", "visual.")
        if count == len(tensors) or (count and beside):
            return prefix
    return None


def _array(tensor: Any) -> np.ndarray:
    if hasattr(tensor, "detach"):
        tensor = tensor.detach()
        if tensor.is_floating_point():
            tensor = tensor.float()  # NumPy has no bfloat16
        tensor = tensor.cpu().numpy()
    return np.asarray(tensor)
