"""KNOWN: published datasets, what is known of each and how its files are read.

A row says what the images are, where to get them, under which licence, how they lie and
how many they are. `jaxbench data prepare NAME --from PATH` reads the official files,
counts them and writes them as ArrayRecord; `open_dataset(NAME)` opens what was written.
VTAB's tasks are prepared by TFDS; ImageNet-X has annotations and nothing to open.
"""

import importlib
import pkgutil
from collections.abc import Mapping
from types import MappingProxyType

from jaxbench.data.known.base import Item, KnownDataset

_rows: dict[str, KnownDataset] = {}
for _module in ("imagenet", "imagenet_x", "cifar", "small", "ood", "vtab"):
    if _module in {m.name for m in pkgutil.iter_modules(__path__)}:
        _rows |= importlib.import_module(f"{__name__}.{_module}").ROWS
KNOWN: Mapping[str, KnownDataset] = MappingProxyType(_rows)

__all__ = ["KNOWN", "Item", "KnownDataset"]
