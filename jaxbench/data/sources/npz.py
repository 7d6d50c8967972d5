"""`.npz` files: looked through by their headers, and read only if those make sense."""

import math
import zipfile
import zlib
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from jaxbench.data.source import memory_bytes
from jaxbench.errors import UserError

# What reading a damaged, encrypted or otherwise packed archive raises.
_DAMAGED = (
    *(OSError, ValueError, EOFError, KeyError, RuntimeError, NotImplementedError),
    *(zipfile.BadZipFile, zlib.error, MemoryError),
)


class Header(NamedTuple):
    """What an array claims to be."""

    shape: tuple[int, ...]
    dtype: np.dtype


class NpzFile:
    """The arrays of an `.npz`; `headers` by key, without their content.

    Args:
        path: The file; arrays of objects (pickles) are refused.
        name: The address, for messages.

    Raises:
        UserError: If it is not such a file, or an array is not what its header claims.
    """

    def __init__(self, path: str, name: str) -> None:
        self._path, self._name = path, name
        self.headers: dict[str, Header] = {}
        try:
            with zipfile.ZipFile(path) as archive:
                files = archive.infolist()
                for info in files:
                    key = info.filename.removesuffix(".npy")
                    if key in self.headers:
                        raise ValueError(f"{key} comes twice")
                    with archive.open(info) as file:
                        self.headers[key] = _checked(file, info.file_size, key)
        except _DAMAGED as error:
            raise self._refused(error) from error

    def read(self, keys: Sequence[str]) -> dict[str, np.ndarray]:
        """Reads arrays into memory.

        Raises:
            UserError: If one is damaged.
        """
        arrays = {}
        try:
            with zipfile.ZipFile(self._path) as archive:
                for key in keys:
                    with archive.open(f"{key}.npy") as file:
                        array = np.lib.format.read_array(file, allow_pickle=False)
                        # What follows the array, and the checksum over all of it.
                        if file.read(1):
                            raise ValueError(f"{key} is longer than its header claims")
                    arrays[key] = array
        except _DAMAGED as error:
            raise self._refused(error) from error
        return arrays

    def _refused(self, error: Exception) -> UserError:
        reason = str(error) or type(error).__name__
        return UserError(
            f"{self._name}: not a readable .npz of plain arrays ({reason}); write one "
            "with numpy.savez(path, images=..., labels=...)"
        )


def _checked(file: Any, size: int, key: str) -> Header:
    """The header of a `.npy` of so many bytes, if it fits them and the memory."""
    version = np.lib.format.read_magic(file)
    readers = {
        (1, 0): np.lib.format.read_array_header_1_0,
        (2, 0): np.lib.format.read_array_header_2_0,
    }
    if version not in readers:
        raise ValueError(f"{key} has a header of version {version}")
    shape, _, dtype = readers[version](file)
    if dtype.hasobject:
        raise ValueError(f"{key} holds Python objects (pickles), wanted a plain array")
    claimed, held = math.prod(shape) * dtype.itemsize, size - file.tell()
    if min(shape, default=0) < 0 or claimed != held:
        raise ValueError(
            f"the header of {key} claims {claimed:,} bytes, shape {shape}, and "
            f"{held:,} are there"
        )
    if claimed > memory_bytes():
        raise ValueError(
            f"{key} needs {claimed / 2**30:.1f} GiB of this machine's "
            f"{memory_bytes() / 2**30:.1f}"
        )
    return Header(shape, dtype)


def texts(array: np.ndarray, key: str) -> list[str]:
    """Names as texts: of unicode, of bytes in UTF-8, or of whole numbers.

    Raises:
        ValueError: If they are not a list, or something else.
    """
    if array.ndim != 1:
        raise ValueError(f"{key} have shape {array.shape}, wanted one name each, [n]")
    if array.dtype.kind == "S":
        return [text.decode("utf-8", "backslashreplace") for text in array.tolist()]
    if array.dtype.kind not in "Uiu":
        raise ValueError(f"{key} are {array.dtype}, wanted text")
    return [str(text) for text in array.tolist()]


def key_problems(headers: Mapping[str, Header], known: Sequence[str]) -> str:
    """Words for keys that are missing or unknown; "" if all are right."""
    missing = "images" not in headers or not {"labels", "label_sets"} & set(headers)
    if not missing and set(headers) <= set(known):
        return ""
    return (
        f"has the arrays {', '.join(sorted(headers)) or '(none)'}; wanted images and "
        "labels, and ids, class_names and label_sets where there are any"
    )
