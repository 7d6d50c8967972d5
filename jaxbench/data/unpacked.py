"""Compressed tars, unpacked once into the cache; what they take counts in its limit."""

import bz2
import contextlib
import fcntl
import gzip
import lzma
import os
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from jaxbench.data.cache import cache_folder, file_stamp
from jaxbench.data.decoded_store import cache_limit, make_room
from jaxbench.data.source import digest
from jaxbench.errors import UserError
from jaxbench.files import written_whole

_CHUNK = 2**20
# Bytes between two looks at the room that is left.
_STEP = 16 * 2**20


def _open_zstd(path: str) -> Any:
    # Here, not above: importing it takes half a second.
    import pyarrow

    return pyarrow.input_stream(path, compression="zstd")


_OPENERS: dict[str, Callable[[str], Any]] = {
    "gzip": gzip.open,
    "bzip2": bz2.open,
    "xz": lzma.open,
    "zstd": _open_zstd,
}
# End of a name -> how it is packed.
UNPACKERS = {
    **{".tar.gz": "gzip", ".tgz": "gzip"},
    **{".tar.bz2": "bzip2", ".tbz2": "bzip2"},
    **{".tar.xz": "xz", ".txz": "xz"},
    **{".tar.zst": "zstd", ".tzst": "zstd"},
}


def unpacked(path: str) -> str:
    """The plain tar of an archive; made in the cache on the first call.

    Args:
        path: A name that ends as one of `UNPACKERS`; any other is plain already.

    Raises:
        UserError: If it is damaged, or unpacks to more than fits under the cache's
            limit or into half of what is free on its disk.
        OSError: If the archive cannot be looked at.
    """
    kind = next((UNPACKERS[end] for end in UNPACKERS if path.endswith(end)), None)
    if kind is None:
        return path
    stem = Path(path).name.partition(".")[0]
    plain = cache_folder() / "tar" / f"{stem}-{digest(file_stamp(path))}.tar"
    try:
        # What was used last is removed last.
        os.utime(plain)
    except OSError:
        _unpack(path, kind, plain)
    return str(plain)


def _unpack(path: str, kind: str, plain: Path) -> None:
    written, next_check = 0, 0
    try:
        with written_whole(plain) as temporary, temporary.open("wb") as file:
            # Held until the file is closed, however this process ends: a file that
            # no process has locked is left over.
            with contextlib.suppress(OSError):
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            for chunk in _chunks(path, kind):
                written += len(chunk)
                if written > next_check:
                    _check_room(path, written, written - len(chunk))
                    next_check = written + _STEP
                file.write(chunk)
            _check_room(path, written, written)
            # While it is locked: on the disk later, it could be taken for a leftover.
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        raise UserError(
            f"{path}: cannot be unpacked into {plain.parent} ({error}); set "
            "JAXBENCH_CACHE to a folder with room, or unpack it yourself"
        ) from error


def _check_room(path: str, nbytes: int, written: int) -> None:
    if not make_room(nbytes, written=written):
        raise UserError(
            f"{path}: unpacks to {nbytes / 2**30:.2f} GiB or more, which is over the "
            f"cache's limit of {cache_limit() / 2**30:g} GiB or half of what is free "
            f"on the disk of {cache_folder()}; set JAXBENCH_CACHE_LIMIT (GiB), set "
            "JAXBENCH_CACHE to a folder with room, or unpack it yourself"
        )


def _chunks(path: str, kind: str) -> Iterator[bytes]:
    try:
        with _OPENERS[kind](path) as packed:
            while chunk := packed.read(_CHUNK):
                yield chunk
    except (OSError, ValueError, EOFError, zlib.error, lzma.LZMAError) as error:
        # Of the decoders, none gives a number of the system's.
        if isinstance(error, OSError) and error.errno:
            raise UserError(f"{path}: cannot be read ({error.strerror})") from error
        raise UserError(
            f"{path}: not a whole {kind} file ({error}); get or make it again"
        ) from error
