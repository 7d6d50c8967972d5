"""Digests in a part's footer, so that no changed byte goes unnoticed.

A Parquet file is a body (the pages) and a footer (the schema, the places of the pages,
key-value metadata). Parquet's own checksums cover the content of a page alone: not its
header, and nothing of the footer. Two entries of the key-value metadata close the gap:
the digest of the body, and the digest of the footer, taken while its own value was all
zeros. Any Parquet reader reads such a file, and one that does not know them sees two
more entries.
"""

import hashlib
import mmap
import os
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from jaxbench.files import flush_file

_MAGIC = b"PAR1"
_BODY, _FOOTER = b"jaxbench_body", b"jaxbench_footer"
# How Thrift writes a string of 32 bytes that follows a string: its field and length.
_STRING_OF_32 = b"\x18\x20"
_UNKNOWN = b"0" * 32
# Of a part without examples, the footer is most of it.
_READ_AT_ONCE = 64 * 1024


def write_sealed(path: Path, table: pa.Table) -> None:
    """Writes a table of one row to a new file with both digests, flushed to disk."""
    with pq.ParquetWriter(
        str(path),
        table.schema,
        # One row: dictionaries and statistics would be larger than the values.
        compression="zstd",
        use_dictionary=False,
        write_statistics=False,
        write_page_checksum=True,
    ) as writer:
        writer.write_table(table)
        names = (_BODY.decode(), _FOOTER.decode())
        writer.add_key_value_metadata(dict.fromkeys(names, _UNKNOWN.decode()))
    footer = read_footer(path)
    body = _replaced(footer, _BODY, _body_digest(path, len(footer)))
    sealed = _replaced(body, _FOOTER, _digest(body))
    with open(path, "rb+") as file:
        file.seek(-len(sealed), os.SEEK_END)
        file.write(sealed)
    flush_file(path)


def read_footer(path: Path) -> bytes:
    """The last bytes of a Parquet file: its footer, the footer's length and the magic.

    Raises:
        OSError: If the file cannot be read.
        ValueError: If it is cut off or not Parquet.
    """
    with path.open("rb") as file:
        size = file.seek(0, os.SEEK_END)
        file.seek(max(size - _READ_AT_ONCE, 0))
        tail = file.read()
        length = int.from_bytes(tail[-8:-4], "little") + 8
        if tail[-4:] != _MAGIC or not 8 < length <= size - len(_MAGIC):
            raise ValueError("the file is cut off, or not a Parquet file")
        if length > len(tail):
            file.seek(size - length)
            tail = file.read(length)
    return tail[-length:]


def footer_metadata(footer: bytes) -> pq.FileMetaData:
    """What a footer says; pages are not read."""
    return pq.read_metadata(pa.BufferReader(_MAGIC + footer))


def is_sealed(footer: bytes) -> bool:
    """Whether a footer holds its own digest.

    Raises:
        ValueError: If it holds one that is not the footer's.
    """
    found = _value(footer, _FOOTER)
    if found is None:
        return False
    if _digest(_replaced(footer, _FOOTER, _UNKNOWN)) != found:
        raise ValueError("the bytes of its footer are not those that were written")
    return True


def check_body(path: Path, footer: bytes) -> None:
    """Compares the pages with the digest in a sealed footer.

    Raises:
        OSError: If the file cannot be read.
        ValueError: If they differ.
    """
    if _body_digest(path, len(footer)) != _value(footer, _BODY):
        raise ValueError("the bytes of its columns are not those that were written")


def _digest(content: bytes | memoryview) -> bytes:
    return hashlib.blake2b(content, digest_size=16).hexdigest().encode()


def _body_digest(path: Path, footer_length: int) -> bytes:
    with (
        path.open("rb") as file,
        mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content,
        memoryview(content) as view,
        view[: len(view) - footer_length] as body,
    ):
        return _digest(body)


def _value(footer: bytes, name: bytes) -> bytes | None:
    _, found, rest = footer.partition(name + _STRING_OF_32)
    return rest[:32] if found else None


def _replaced(footer: bytes, name: bytes, value: bytes) -> bytes:
    before, found, rest = footer.partition(name + _STRING_OF_32)
    return before + found + value + rest[32:]
