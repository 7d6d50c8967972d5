"""Array files that others wrote: NumPy's, pickled batches; and rows of them as items.

Nothing in a file is trusted: headers and sizes are checked, and a pickle may hold
arrays, numbers, texts, lists and dicts, nothing else.
"""

import io
import math
import pickle
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np

from jaxbench.data.known.base import Item

# More than the header of any array here; versions 1 and 2 of the format.
_HEADER = 1 << 16
_HEADERS = {
    (1, 0): np.lib.format.read_array_header_1_0,
    (2, 0): np.lib.format.read_array_header_2_0,
}
_RECONSTRUCT = np.zeros(0).__reduce__()[0]
# What the pickle of an array names, in NumPy 1 and in NumPy 2.
_GLOBALS = {
    ("numpy", "dtype"): np.dtype,
    ("numpy", "ndarray"): np.ndarray,
    ("numpy.core.multiarray", "_reconstruct"): _RECONSTRUCT,
    ("numpy._core.multiarray", "_reconstruct"): _RECONSTRUCT,
}


class Part(NamedTuple):
    """Rows of one array file.

    Attributes:
        name: Of the file, without its suffix; ids begin with it.
        images: One image a row, in the file's own layout.
        labels: Class of each row.
    """

    name: str
    images: np.ndarray
    labels: np.ndarray


class Rows:
    """Images of array files, made one by one.

    Ids are the part's name and the row's number, `test_batch/00042`.

    Args:
        parts: In the order to keep.
        make: Turns a row into pixels [h, w, 3].
        digits: Of the row's number.

    Attributes:
        classes: Labels that some image has.
    """

    def __init__(
        self,
        parts: Sequence[Part],
        make: Callable[[np.ndarray], np.ndarray],
        digits: int = 5,
    ) -> None:
        self._parts = parts
        self._make = make
        self._digits = digits
        self.classes = {int(c) for part in parts for c in np.unique(part.labels)}

    def __len__(self) -> int:
        return sum(len(part.labels) for part in self._parts)

    def __iter__(self) -> Iterator[Item]:
        for part in self._parts:
            for row, (image, label) in enumerate(
                zip(part.images, part.labels, strict=True)
            ):
                pixels = np.ascontiguousarray(self._make(image))
                yield Item(f"{part.name}/{row:0{self._digits}}", pixels, int(label))


def planes(row: np.ndarray) -> np.ndarray:
    """Pixels of a row of three planes of 32x32, red, green, blue: uint8 [32, 32, 3]."""
    return row.reshape(3, 32, 32).transpose(1, 2, 0)


def as_it_is(row: np.ndarray) -> np.ndarray:
    """Pixels of a row that is an image already."""
    return row


def label_problems(labels: np.ndarray, count: int, low: int, high: int) -> list[str]:
    """What is wrong with labels that should be `count` whole numbers in a range."""
    if labels.shape != (count,) or labels.dtype.kind not in "iu":
        return [
            f"labels are {labels.dtype} {list(labels.shape)}, wanted whole numbers "
            f"[{count}], one an image"
        ]
    if count and not (low <= labels.min() and labels.max() <= high):
        return [f"labels are {labels.min()} to {labels.max()}, wanted {low} to {high}"]
    return []


def load_npy(content: np.ndarray) -> np.ndarray:
    """The array in a `.npy` file, without a copy.

    Args:
        content: The file, uint8 [size], which may be mapped: only rows that are asked
            for are read.

    Raises:
        ValueError: If it is not such a file, is cut short, or holds Python objects.
    """
    file = io.BytesIO(content[:_HEADER].tobytes())
    try:
        version = np.lib.format.read_magic(file)
        if version not in _HEADERS:
            raise ValueError(f"version {version} of the format")
        shape, fortran, dtype = _HEADERS[version](file)
    except ValueError as error:
        raise ValueError(f"no .npy file that can be read ({error})") from error
    if dtype.hasobject:
        raise ValueError("an array of Python objects, which are not opened")
    size = math.prod(shape) * dtype.itemsize
    data = content[file.tell() :]
    if len(data) < size:
        raise ValueError(
            f"cut short: {len(data)} of the {size} bytes of {dtype} {list(shape)}"
        )
    return data[:size].view(dtype).reshape(shape, order="F" if fortran else "C")


class _ArrayUnpickler(pickle.Unpickler):
    """Builds what a pickle of arrays needs, and refuses to import anything else."""

    def find_class(self, module_name: str, global_name: str, /) -> Any:
        found = _GLOBALS.get((module_name, global_name))
        if found is None:
            raise pickle.UnpicklingError(
                f"it names {module_name}.{global_name}, which a pickle of arrays "
                "never does; it was not opened"
            )
        return found


def load_pickle(content: bytes) -> dict[str, Any]:
    """The dict in a pickle of arrays, numbers, texts and lists.

    Args:
        content: The file. Python 2 wrote most of them: their texts become bytes.

    Returns:
        Keys as text, values as they are.

    Raises:
        ValueError: If it is damaged, no dict, or names anything but NumPy's arrays.
    """
    try:
        found = _ArrayUnpickler(io.BytesIO(content), encoding="bytes").load()
    except Exception as error:
        # Anything may come out of damaged bytes.
        raise ValueError(f"no pickle that can be read ({error})") from error
    if not isinstance(found, dict):
        raise ValueError(f"a pickled {type(found).__name__}, wanted a dict")
    return {_text(key): value for key, value in found.items()}


def texts(values: Any) -> tuple[str, ...]:
    """Texts of a pickled list, which may be bytes."""
    return tuple(_text(value) for value in values)


def _text(value: Any) -> str:
    return value.decode("latin1") if isinstance(value, bytes) else str(value)
