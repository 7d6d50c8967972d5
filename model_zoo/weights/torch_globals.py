"""Classes that training code leaves in checkpoints, and what stands for them here.

torch reads a checkpoint with `weights_only=True`, and then takes no class that it was
not given by name. Every name below is given a stand-in of this file, which forgets what
it is called with, so nothing of another library is imported or run. Arrays and numbers
of NumPy alone are themselves: some checkpoints hold their weights so.
"""

import contextlib
import re
from collections import OrderedDict
from collections.abc import Callable
from typing import Any

import numpy as np


class _Value:
    """Stands for a path, a date, a function: read, and not looked at."""

    def __init__(self, *arguments: object) -> None:
        del arguments

    def __setstate__(self, state: object) -> None:
        """Forgets what the pickle says of it."""


class _Table:
    """Stands for a configuration: a plain dictionary, which torch can fill."""

    def __new__(cls, *arguments: object) -> Any:
        del arguments
        return OrderedDict()


def _sequence(*arguments: object) -> list[object]:
    """Stands for a queue: a plain list, which torch can fill."""
    del arguments
    return []


_TYPES = "bool bytearray complex dict float frozenset getattr int list object range set"
_VALUES = (
    *(f"builtins.{name}" for name in (*_TYPES.split(), "slice", "str", "tuple")),
    *(
        f"{module}.{name}"
        for module in ("pathlib", "pathlib._local")
        for name in (
            *("Path", "PosixPath", "PurePath", "PurePosixPath"),
            *("PureWindowsPath", "WindowsPath"),
        )
    ),
    *(f"datetime.{n}" for n in ("date", "datetime", "time", "timedelta", "timezone")),
    "decimal.Decimal",
    "fractions.Fraction",
    "torch.torch_version.TorchVersion",
    "typing.Any",
    "uuid.UUID",
)
_TABLES = (
    "addict.addict.Dict",
    "argparse.Namespace",
    "collections.defaultdict",
    "easydict.EasyDict",
    "fvcore.common.config.CfgNode",
    "lightning.fabric.utilities.data.AttributeDict",
    "lightning_fabric.utilities.data.AttributeDict",
    "ml_collections.config_dict.config_dict.ConfigDict",
    "mmcv.utils.config.ConfigDict",
    "mmengine.config.config.ConfigDict",
    "mmengine.logging.history_buffer.HistoryBuffer",
    "omegaconf.base.ContainerMetadata",
    "omegaconf.base.Metadata",
    "omegaconf.dictconfig.DictConfig",
    "omegaconf.listconfig.ListConfig",
    *(
        f"omegaconf.nodes.{kind}Node"
        for kind in ("Any", "Boolean", "Bytes", "Float", "Integer", "Path", "String")
    ),
    "pytorch_lightning.utilities.parsing.AttributeDict",
    "types.SimpleNamespace",
    "yacs.config.CfgNode",
)


def _arrays() -> dict[str, Callable[..., Any]]:
    """What NumPy's arrays and numbers are made by, under its old and new names."""
    from numpy._core import multiarray

    found: dict[str, Callable[..., Any]] = {
        "numpy.dtype": np.dtype,
        "numpy.ndarray": np.ndarray,
    }
    for module in ("numpy.core.multiarray", "numpy._core.multiarray"):
        found[f"{module}.scalar"] = multiarray.scalar
        found[f"{module}._reconstruct"] = multiarray._reconstruct
    for code in "?bBhHiIlLqQefdFD":
        kind = type(np.dtype(code))
        found[f"numpy.dtypes.{kind.__name__}"] = kind
    return found


def harmless() -> list[tuple[Callable[..., Any], str]]:
    """Stand-ins with the names they answer to, as `safe_globals` takes them."""
    named: dict[str, Callable[..., Any]] = {
        **dict.fromkeys(_VALUES, _Value),
        **dict.fromkeys(_TABLES, _Table),
        "collections.deque": _sequence,
        **_arrays(),
    }
    return [(made, name) for name, made in named.items()]


def allowed(torch: Any) -> contextlib.AbstractContextManager[Any]:
    """Lets torch read the harmless names for as long as the context lasts."""
    allow = getattr(getattr(torch, "serialization", None), "safe_globals", None)
    return contextlib.nullcontext() if allow is None else allow(harmless())


def refusal(error: Exception) -> str:
    """Why torch could not read a file, without its advice to read it unsafely."""
    text = re.sub(r"\x1b\[[0-9;]*m", "", str(error))
    named = re.search(r"GLOBAL (\S+?)[,;]? ", text + " ")
    if named and ("not an allowed global" in text or "unsupported GLOBAL" in text):
        return (
            f"it holds {named[1]}, which is neither a tensor nor a plain value, and "
            "reading it could run code; where the training code is, save the tensors "
            "alone: torch.save(model.state_dict(), PATH)"
        )
    cause = text.rpartition("WeightsUnpickler error: ")[2].strip()
    return cause.splitlines()[0] if cause else type(error).__name__
