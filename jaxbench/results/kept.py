"""Columns that were read, kept in memory for the next reader."""

from collections import OrderedDict
from collections.abc import Hashable

import numpy as np


class KeptColumns:
    """Arrays by key; the least recently used go where there are too many bytes.

    Args:
        max_bytes: Of all arrays together; 0 keeps nothing.
    """

    def __init__(self, max_bytes: int):
        self.max_bytes = max_bytes
        self._arrays: OrderedDict[Hashable, np.ndarray] = OrderedDict()
        self._bytes = 0

    def get(self, key: Hashable) -> np.ndarray | None:
        """The array of a key, if it is kept."""
        if key in self._arrays:
            self._arrays.move_to_end(key)
        return self._arrays.get(key)

    def put(self, key: Hashable, array: np.ndarray) -> None:
        """Keeps an array under a new key; it cannot be written to any more."""
        array.flags.writeable = False
        self._arrays[key] = array
        self._bytes += array.nbytes
        while self._bytes > self.max_bytes:
            _, oldest = self._arrays.popitem(last=False)
            self._bytes -= oldest.nbytes
