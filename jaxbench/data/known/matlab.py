"""Numeric arrays out of MATLAB's level 5 MAT-files.

The format is MathWorks's "MAT-File Format" (R2019b), chapter 1: a header of 128 bytes,
then elements of a tag and data; an element of type 15 is a zlib stream around another.
"""

import math
import zlib
from collections.abc import Collection
from typing import NamedTuple, Protocol, runtime_checkable

import numpy as np

_HEADER = 128
_CHUNK = 1 << 20
_COMPRESSED, _MATRIX = 15, 14
# Type of an element's data -> NumPy's (table 1-2); 16, UTF-8, is left out.
_TYPES = {
    1: "i1",
    2: "u1",
    3: "i2",
    4: "u2",
    5: "i4",
    6: "u4",
    7: "f4",
    9: "f8",
    12: "i8",
    13: "u8",
}
# Class of an array -> NumPy's (table 1-3); the others are not plain numbers.
_CLASSES = {
    6: "f8",
    7: "f4",
    8: "i1",
    9: "u1",
    10: "i2",
    11: "u2",
    12: "i4",
    13: "u4",
    14: "i8",
    15: "u8",
}
_COMPLEX = 1 << 11


@runtime_checkable
class _Stream(Protocol):
    def read(self, count: int) -> np.ndarray: ...
    def finish(self) -> None: ...


class _Plain:
    """Bytes as they lie in the file."""

    def __init__(self, content: np.ndarray) -> None:
        self._content = content
        self.position = 0

    def read(self, count: int) -> np.ndarray:
        start = self.position
        self.position += count
        if self.position > len(self._content):
            raise ValueError(f"cut short: ends at byte {len(self._content)}")
        return self._content[start : self.position]

    def finish(self) -> None:
        """Nothing: a plain element has no checksum."""


class _Inflated:
    """A zlib stream, unpacked piece by piece: an array may have gigabytes."""

    def __init__(self, packed: np.ndarray) -> None:
        self._packed = packed
        self._position = 0
        self._inflate = zlib.decompressobj()

    def read(self, count: int) -> np.ndarray:
        out = np.empty(count, np.uint8)
        filled = 0
        while filled < count:
            got = self._next(count - filled)
            if not got:
                raise ValueError("cut short: its compressed data ends too early")
            out[filled : filled + len(got)] = np.frombuffer(got, np.uint8)
            filled += len(got)
        return out

    def finish(self) -> None:
        """Reads to the end, where the checksum is."""
        while self._next(_CHUNK):
            pass
        if not self._inflate.eof:
            raise ValueError("cut short: its compressed data has no end")

    def _next(self, most: int) -> bytes:
        """Some bytes, but none at the end."""
        while not self._inflate.eof:
            piece = self._inflate.unconsumed_tail
            if not piece:
                piece = self._packed[self._position :][:_CHUNK].tobytes()
                self._position += len(piece)
            try:
                got = self._inflate.decompress(piece, most)
            except zlib.error as error:
                raise ValueError(f"its compressed data is damaged ({error})") from error
            if got or not piece:
                return got
        return b""


class _Tag(NamedTuple):
    kind: int
    size: int
    # Data of four bytes or less, which lies inside the tag.
    small: np.ndarray | None


def load_mat(content: np.ndarray, wanted: Collection[str]) -> dict[str, np.ndarray]:
    """Reads numeric arrays of a MAT-file.

    Args:
        content: The file, uint8 [size]; it may be mapped.
        wanted: Names of the arrays; others are passed over.

    Returns:
        Those of them that are there, in the shape that MATLAB shows, column-major as
        they lie. An array without compression is not copied.

    Raises:
        ValueError: If it is no MAT-file of level 5, is cut short or damaged, or a
            wanted array is not one of plain real numbers.
    """
    order = _byte_order(content)
    file = _Plain(content)
    file.position = _HEADER
    found: dict[str, np.ndarray] = {}
    while file.position < len(content) and len(found) < len(set(wanted)):
        tag = _read_tag(file, order)
        data = file.read(tag.size) if tag.small is None else tag.small
        stream: _Stream = _Plain(data)
        if tag.kind == _COMPRESSED:
            stream = _Inflated(data)
            tag = _read_tag(stream, order)
        else:
            # Elements end on eight bytes, compressed ones anywhere.
            file.position += -tag.size % 8
        if tag.kind == _MATRIX:
            found |= _read_matrix(stream, order, wanted)
    return found


def _byte_order(content: np.ndarray) -> str:
    header = content[:_HEADER].tobytes()
    if header.startswith(b"MATLAB 7.3"):
        raise ValueError("a MAT-file of version 7.3 (HDF5), wanted version 5")
    mark = header[126:128]
    if len(header) < _HEADER or mark not in (b"IM", b"MI"):
        raise ValueError("no MAT-file of version 5: its header is another")
    return "<" if mark == b"IM" else ">"


def _read_tag(stream: _Stream, order: str) -> _Tag:
    raw = stream.read(8)
    kind, size = raw.view(f"{order}u4").tolist()
    if kind >> 16:
        # A small element: two bytes of size, two of type, and its data.
        if kind >> 16 > 4:
            raise ValueError("it is damaged: a small element of more than 4 bytes")
        return _Tag(kind & 0xFFFF, kind >> 16, raw[4 : 4 + (kind >> 16)])
    return _Tag(kind, size, None)


def _read_element(stream: _Stream, order: str, *, last: bool = False) -> np.ndarray:
    tag = _read_tag(stream, order)
    if tag.kind not in _TYPES:
        raise ValueError(f"it is damaged, or has data of type {tag.kind}")
    data = tag.small
    if data is None:
        data = stream.read(tag.size)
        # Nothing is asked of what may follow the last.
        if not last:
            stream.read(-tag.size % 8)
    dtype = np.dtype(f"{order}{_TYPES[tag.kind]}")
    if len(data) % dtype.itemsize:
        raise ValueError("it is damaged: an element ends inside a number")
    return data.view(dtype)


def _read_matrix(
    stream: _Stream, order: str, wanted: Collection[str]
) -> dict[str, np.ndarray]:
    flags = int(_read_element(stream, order)[0])
    shape = _read_element(stream, order).tolist()
    name = _read_element(stream, order).tobytes().decode("latin1")
    if name not in wanted:
        return {}
    kind = flags & 0xFF
    if kind not in _CLASSES or flags & _COMPLEX:
        raise ValueError(f"{name} is not an array of real numbers (class {kind})")
    # Numbers may lie in a smaller type than they are of: doubles in bytes.
    numbers = _read_element(stream, order, last=True)
    if len(numbers) != math.prod(shape):
        raise ValueError(
            f"{name} is damaged: {len(numbers)} numbers for an array {shape}"
        )
    stream.finish()
    array = numbers.astype(_CLASSES[kind], copy=False)
    return {name: array.reshape(shape, order="F")}
