"""The files behind decoded images: one folder an entry, its rows, what all may take.

The rows are one file of uint8 and nothing else. Beside them lies a checksum for each, 0
where a row is not held. A row is compared with it when an opened entry first reads it;
one that differs is not held any more, so that it is decoded again.
"""

import contextlib
import dataclasses
import json
import logging
import os
import shutil
import tempfile
import threading
import time
import weakref
import zlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from jaxbench.data.cache import (
    Held,
    cache_folder,
    remove_unfinished,
    unpacked_archives,
)
from jaxbench.errors import UserError
from jaxbench.files import flush_folder, written_whole

_log = logging.getLogger(__name__)

_DEFAULT_LIMIT_GIB = 32.0
# Rows between two moments at which what was decoded is safe on disk.
_ROWS_PER_FLUSH = 512
_IMAGES, _SUMS, _ABOUT = "images.uint8", "sums.uint64", "about.json"
# Set in the checksum of every row that is held.
_HELD = 1 << 32
# Incomplete entries older than this, in seconds, are removed.
_HALF_MADE = 3600.0
# What reading a damaged or vanishing entry raises, and one that may not be read.
DAMAGED = (FileNotFoundError, ValueError, KeyError, EOFError)
_BROKEN = (OSError, *DAMAGED)


def cache_limit() -> int:
    """Bytes that all entries may take: `$JAXBENCH_CACHE_LIMIT` GiB, or 32.

    Raises:
        UserError: If the variable holds no number of 0 or more.
    """
    text = os.environ.get("JAXBENCH_CACHE_LIMIT")
    try:
        limit = _DEFAULT_LIMIT_GIB if text is None else float(text)
    except ValueError:
        limit = -1.0
    if not 0 <= limit < float("inf"):
        raise UserError(
            f"JAXBENCH_CACHE_LIMIT is {text!r}; wanted GiB, 0 or more (0: no cache)"
        )
    return int(limit * 2**30)


class MadeAnew(OSError):
    """Another process replaced an entry while it was opened."""


@dataclasses.dataclass(frozen=True)
class DecodedEntry:
    """What the cache holds for one dataset and geometry.

    Attributes:
        path: Its folder.
        name: Address of the dataset that it was made from.
        geometry: Describes size, crop fraction, crop mode and filter.
        num_examples: Images of the dataset.
        num_decoded: Images that are held.
        nbytes: Bytes on disk; rows that were not decoded take none.
        used: When it was last opened, in seconds since 1970.
    """

    path: Path
    name: str
    geometry: str
    num_examples: int
    num_decoded: int
    nbytes: int
    used: float


class DecodedRows:
    """An entry's files. Threads may read and write at once; no lock spans a decode.

    What is read and what is written is one open file, whatever happens to its name: an
    entry that is removed and made anew by another process is another file.

    Args:
        folder: Of the entry.
        shape: [N, h, w, 3].

    Raises:
        OSError: If the files cannot be opened.
        ValueError: If they hold something else.
    """

    def __init__(self, folder: Path, shape: tuple[int, ...]) -> None:
        self._folder = folder
        writable = os.access(folder, os.W_OK) and os.access(folder / _IMAGES, os.W_OK)
        file = os.open(folder / _IMAGES, os.O_RDWR if writable else os.O_RDONLY)
        weakref.finalize(self, os.close, file)
        self._inode = os.fstat(file).st_ino
        # None once nothing more can be kept.
        self._file = file if writable else None
        # `os.pwrite` writes: on a full disk a writable map would end the process.
        with os.fdopen(os.dup(file), "rb") as opened:
            if os.fstat(file).st_size != np.prod(shape):
                raise ValueError(f"{folder} holds no images of shape {shape}")
            self._images = np.memmap(opened, np.uint8, "r", 0, shape)
        self._sums = _read_sums(folder, shape[0])
        self._checked = np.zeros(len(self._sums), bool)
        if not self._is_ours():
            raise MadeAnew(f"{folder} was made anew just now")
        self._lock = threading.Lock()
        self._unsafe: list[int] = []

    def get(self, index: int) -> np.ndarray | None:
        """One image, read-only; None until it is held, or if it is not as written."""
        row = range(len(self._sums))[index]
        if not self._sums[row] or not self._is_sound(row):
            return None
        return self._images[row]

    def _is_sound(self, row: int) -> bool:
        if not self._checked[row]:
            if self._sums[row] != _checksum(row, self._images[row]):
                _log.warning(
                    "%s: image %d is not what was kept; it is decoded again",
                    *(self._folder, row),
                )
                self._sums[row] = 0
                return False
            self._checked[row] = True
        return True

    def put(self, index: int, image: np.ndarray) -> None:
        """Keeps one image, if it can."""
        file = self._file
        if file is None:
            return
        row = range(len(self._sums))[index]
        offset = row * image.nbytes
        try:
            # Two writers of one row write the same bytes.
            written = os.pwrite(file, np.ascontiguousarray(image).data, offset)
        except OSError:
            written = 0
        if written != image.nbytes:
            # The disk is full: what is held stays, nothing more is kept.
            self._file = None
            return
        with self._lock:
            self._sums[row] = _checksum(row, image)
            self._checked[row] = True
            self._unsafe.append(row)
            if len(self._unsafe) >= _ROWS_PER_FLUSH or self._sums.all():
                self._write()

    def whole(self) -> np.ndarray | None:
        """All images, compared with their checksums; None until all are held."""
        for row in np.flatnonzero(~self._checked) if self._sums.all() else ():
            self._is_sound(int(row))
        return self._images if self._sums.all() else None

    def flush(self) -> None:
        """Makes what was kept safe on disk."""
        with self._lock:
            if self._unsafe:
                self._write()

    def _is_ours(self) -> bool:
        return os.stat(self._folder / _IMAGES).st_ino == self._inode

    def _write(self) -> None:
        file = self._file
        try:
            if file is None or not self._is_ours():
                raise OSError("the entry was removed, or the disk is full")
            # The images first: a row that is marked is on disk whatever happens next.
            os.fsync(file)
            # What another process has kept stays so there. It is not read here:
            # on a shared disk its rows may not have arrived yet.
            sums = _read_sums(self._folder, len(self._sums))
            sums[self._unsafe] = self._sums[self._unsafe]
            _write_sums(self._folder, sums)
        except _BROKEN:
            # This process goes on with what it wrote; others are not notified.
            self._file = None
        self._unsafe.clear()


def _checksum(row: int, image: np.ndarray) -> int:
    """Never 0, and another one for the same image in another row."""
    return _HELD | zlib.crc32(np.ascontiguousarray(image).data, row)


def _read_sums(folder: Path, count: int) -> np.ndarray:
    """Raises a ValueError if there are not as many as rows."""
    sums = np.frombuffer((folder / _SUMS).read_bytes(), np.dtype("<u8")).copy()
    if len(sums) != count:
        raise ValueError(f"{folder} holds {len(sums)} checksums of {count} images")
    return sums


def _write_sums(folder: Path, sums: np.ndarray) -> None:
    with written_whole(folder / _SUMS) as temporary:
        temporary.write_bytes(sums.astype("<u8").tobytes())


def open_entry(key: str, name: str, words: str, shape: tuple[int, ...]) -> Path | None:
    """The folder of an entry, made if it is not there.

    Args:
        key: Names the folder.
        name: Address of the dataset.
        words: The input geometry.
        shape: [N, h, w, 3].

    Returns:
        None if it does not fit under the limit or on the disk.

    Raises:
        OSError: If it cannot be made.
    """
    folder = cache_folder() / "decoded" / key
    if not (folder / _ABOUT).is_file():
        if not make_room(int(np.prod(shape))):
            return None
        about = {"name": name, "geometry": words, "num_examples": shape[0]}
        _make_entry(folder, about, shape)
    os.utime(folder / _ABOUT)
    return folder


def _make_entry(folder: Path, about: dict, shape: tuple[int, ...]) -> None:
    """Makes it under another name first: of two makers, the first one's stays."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    half = Path(tempfile.mkdtemp(prefix=".half-", dir=folder.parent))
    try:
        # A sparse file: rows take space when they are written.
        with (half / _IMAGES).open("xb") as file:
            file.truncate(int(np.prod(shape)))
        _write_sums(half, np.zeros(shape[0], np.uint64))
        with written_whole(half / _ABOUT) as temporary:
            temporary.write_text(json.dumps(about))
        half.chmod(0o755)
        os.rename(half, folder)
        flush_folder(folder.parent)
    except OSError:
        shutil.rmtree(half, ignore_errors=True)
        if not (folder / _ABOUT).is_file():
            raise


def remove_entry(key: str) -> None:
    """Removes an entry that cannot be read."""
    shutil.rmtree(cache_folder() / "decoded" / key, ignore_errors=True)


def make_room(nbytes: int, *, written: int = 0) -> bool:
    """Removes what was used least recently, until more fits under the limit.

    Args:
        nbytes: What is to be kept in the end.
        written: Bytes of it that are on the disk already.

    Returns:
        Whether it fits under the limit, and into half of what is free on the disk: the
        results of the run go to a disk, too.
    """
    limit, root = cache_limit(), cache_folder()
    root.mkdir(parents=True, exist_ok=True)
    _remove_litter(_HALF_MADE)
    if nbytes > limit:
        return False
    entries = [Held(e.path, _reserved(e), e.used) for e in decoded_entries()]
    candidates = sorted((*entries, *unpacked_archives()), key=lambda held: held.used)
    taken = sum(held.nbytes for held in candidates)
    for held in candidates:
        if taken + nbytes <= limit:
            break
        taken -= held.nbytes
        held.remove()
    return nbytes <= (shutil.disk_usage(root).free + written) / 2


def _reserved(entry: DecodedEntry) -> int:
    """What an entry takes once all of its rows are decoded."""
    return (entry.path / _IMAGES).stat().st_size


def decoded_entries() -> tuple[DecodedEntry, ...]:
    """What the cache holds, the entry that was used last first."""
    found = list(_read_entries(cache_folder() / "decoded"))
    return tuple(sorted(found, key=lambda entry: -entry.used))


def _read_entries(root: Path) -> Iterator[DecodedEntry]:
    for folder in root.iterdir() if root.is_dir() else ():
        try:
            about = json.loads((folder / _ABOUT).read_text())
            status = (folder / _IMAGES).stat()
            sums = _read_sums(folder, about["num_examples"])
            yield DecodedEntry(
                path=folder,
                name=about["name"],
                geometry=about["geometry"],
                num_examples=about["num_examples"],
                num_decoded=int(np.count_nonzero(sums)),
                nbytes=status.st_blocks * 512,
                used=(folder / _ABOUT).stat().st_mtime,
            )
        except _BROKEN:
            # Half made, damaged, or being removed by another process.
            continue


def clear_cache(*, unused_for: float = 0.0) -> int:
    """Removes entries and unpacked archives.

    Args:
        unused_for: Only those that were last opened at least this many seconds ago.

    Returns:
        How many bytes became free.
    """
    _remove_litter(min(unused_for, _HALF_MADE))
    entries = [Held(e.path, e.nbytes, e.used) for e in decoded_entries()]
    freed, now = 0, time.time()
    for held in (*entries, *unpacked_archives()):
        if now - held.used >= unused_for:
            freed += held.nbytes
            held.remove()
    return freed


def _remove_litter(older_than: float) -> None:
    """Removes incomplete entries, once that old, and half unpacked archives."""
    remove_unfinished(older_than)
    root = cache_folder() / "decoded"
    entries = {entry.path for entry in decoded_entries()}
    for folder in root.iterdir() if root.is_dir() else ():
        with contextlib.suppress(OSError):
            if (
                folder not in entries
                and time.time() - folder.stat().st_mtime >= older_than
            ):
                shutil.rmtree(folder, ignore_errors=True)
