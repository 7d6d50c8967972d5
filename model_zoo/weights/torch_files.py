"""Torch checkpoints as safetensors: read once, where torch is installed.

Training code wraps a network's weights in dictionaries and prefixes; what is found
inside is the network's own tensors under the original's names.
"""

import os
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from model_zoo.weights.file_kinds import file_kind, not_weights
from model_zoo.weights.files import parts, read_tensors
from model_zoo.weights.prefixes import Network, find_network
from model_zoo.weights.torch_globals import allowed, refusal

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


def read_checkpoint(
    path: str | os.PathLike[str],
    names: Collection[str] = (),
    *,
    averaged: bool = True,
) -> Network[np.ndarray]:
    """Reads a network's tensors from a checkpoint, of torch or in safetensors.

    What torch saved is read with `weights_only=True`: no code in the file runs, and
    what else training code left in it (`torch_globals`) is passed over.

    Args:
        path: What `torch.save` wrote, a safetensors file, or the index of either in
            parts (`pytorch_model.bin.index.json`).
        names: As `network_tensors`.
        averaged: As `network_tensors`.

    Raises:
        ImportError: If torch is needed and not installed.
        FileNotFoundError: If the file does not exist.
        ValueError: If it is not a checkpoint, its pickle does more than hold tensors,
            or it holds none.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"no file at {path}")
    stored: Any = {}
    files = parts(path)
    for part in files:
        if problem := not_weights(part):
            raise ValueError(problem)
        kind = file_kind(part)
        if kind == "unknown":
            raise ValueError(f"{part} is neither torch's, safetensors nor .npz")
        held = _torch_load(part) if kind == "pickle" else read_tensors(part)
        stored = {**stored, **held} if len(files) > 1 else held
    return network_tensors(stored, names, averaged=averaged)


def _torch_load(path: Path) -> Any:
    try:
        import torch  # pyright: ignore[reportMissingImports]
    except ImportError as error:
        raise ImportError(
            "reading a torch checkpoint needs torch, which is not installed; run this "
            "where it is (`pip install torch jaxbench`), or get a .safetensors file"
        ) from error
    try:
        with allowed(torch):
            return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # pickle, zip and torch have an error each
        raise ValueError(f"{path} cannot be read: {refusal(error)}") from error


def network_tensors(
    stored: Any, names: Collection[str] = (), *, averaged: bool = True
) -> Network[np.ndarray]:
    """Takes a network's tensors out of what training code stored.

    Args:
        stored: Nested dictionaries with tensors at the bottom.
        names: What the network's tensors are called, where that is known.
        averaged: Whether an exponential moving average is taken where there is one.

    Returns:
        Arrays by the network's own names, without the prefixes that wrappers add, and
        the names of what lay beside the network.

    Raises:
        ValueError: If tensors are missing, or a self-supervised checkpoint holds some
            that `ssl_layouts` does not know.
    """
    tensors = _unwrapped(stored, averaged)
    if tensors is None:
        held = list(stored) if isinstance(stored, Mapping) else type(stored).__name__
        raise ValueError(
            f"no tensors in this checkpoint; at its top it holds {held}, wanted a "
            f"state dict, alone or under one of {', '.join(_WRAPPERS)}"
        )
    found = find_network(tensors, names, averaged=averaged)
    arrays = {name: _array(tensor) for name, tensor in found.tensors.items()}
    return Network(arrays, found.prefix, found.beside)


def _unwrapped(stored: Any, averaged: bool) -> dict[str, Any] | None:
    """The first state dict inside that holds a tensor."""
    if not isinstance(stored, Mapping):
        return None
    for key in _WRAPPERS:
        if key in stored and (averaged or key not in _AVERAGED):
            inner = _unwrapped(stored[key], averaged)
            if inner is not None:
                return inner
    found = {str(k): v for k, v in stored.items() if hasattr(v, "shape")}
    # NumPy's numbers have a shape too: they are metrics.
    return {k: v for k, v in found.items() if not isinstance(v, np.generic)} or None


def _array(tensor: Any) -> np.ndarray:
    if hasattr(tensor, "detach"):
        tensor = tensor.detach()
        if tensor.is_floating_point():
            tensor = tensor.float()  # NumPy has no bfloat16
        tensor = tensor.cpu().numpy()
    return np.asarray(tensor)
