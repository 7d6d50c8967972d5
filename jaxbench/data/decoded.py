"""Decode once: preprocessed uint8 images on disk, memory-mapped, shared by all models.

One entry holds a dataset's images for one input geometry (size, crop, filter). It fills
row by row as images are first read, by any thread, process or host that shares the
folder, and is read instead of the files from then on. What a killed run has decoded
stays.

An entry's name digests the dataset's fingerprint, the geometry and Pillow's version, so
it never has to be invalidated. Entries that were used least recently make room for new
ones.
"""

import contextlib
import dataclasses
import json
import os
import shutil
import threading
import time
import weakref
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path

import numpy as np
import PIL

from jaxbench.data.cache import cache_folder, written_whole
from jaxbench.data.preparing import preparing
from jaxbench.data.source import (
    DecodeError,
    Example,
    Source,
    View,
    digest,
    example_ids,
)
from jaxbench.errors import UserError
from model_zoo.input_spec import InputSpec

# Images of fewer bytes than this are decoded faster than a file is opened.
_LEAST_BYTES = 4 * 2**20
_DEFAULT_LIMIT_GIB = 32.0
# Rows between two moments at which what was decoded is safe on disk.
_ROWS_PER_FLUSH = 512
_IMAGES, _DONE, _ABOUT = "images.npy", "done.npy", "about.json"
# Changes whenever `preprocess` gives other pixels.
_VERSION = 1


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


def geometry(spec: InputSpec) -> tuple:
    """What of a specification decides the pixels; normalisation comes later."""
    return (spec.size, spec.crop_fraction, spec.crop_mode, spec.interpolation)


@dataclasses.dataclass(frozen=True)
class DecodedEntry:
    """What the cache holds for one dataset and geometry.

    Attributes:
        path: Its folder.
        name: Address of the dataset that it was made from.
        geometry: Size, crop fraction, crop mode and filter, in words.
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


class DecodedSource:
    """A source whose images are preprocessed for one geometry, and kept once they were.

    Reads from the entry what is there; decodes, preprocesses and writes what is not. An
    image that cannot be read raises what the base raises, each time.

    Attributes:
        decoded_for: The geometry; images are used as they are where it is asked for.
    """

    def __init__(self, base: Source, spec: InputSpec, folder: Path) -> None:
        self._base, self._spec = base, spec
        self._prepare = preparing(base)
        self.decoded_for = geometry(spec)
        self.name, self.class_names = base.name, base.class_names
        self.labels = base.labels
        self.scoring = getattr(base, "scoring", None)
        self.partial = getattr(base, "partial", None)
        self._rows = _Rows(folder, (len(base), *spec.size, 3))

    @cached_property
    def ids(self) -> tuple[str, ...]:
        """The id of every row."""
        return example_ids(self._base)

    @property
    def fingerprint(self) -> str:
        """That of the images before they were decoded."""
        return self._base.fingerprint

    def fingerprint_of(self, indices: np.ndarray) -> str:
        """Digest of some rows' content; see `View.fingerprint_of`."""
        if fingerprint_of := getattr(self._base, "fingerprint_of", None):
            return fingerprint_of(indices)
        return digest(self.fingerprint, indices.astype("<i8").tobytes())

    def __len__(self) -> int:
        return len(self._base)

    def __getitem__(self, index: int) -> Example:
        image = self._rows.get(index)
        if image is not None:
            return Example(image, int(self.labels[index]), self.ids[index])
        example = self._base[index]
        try:
            image = self._prepare(example.image, self._spec)
        except ValueError as error:
            raise DecodeError(self.name, example.id, str(error)) from error
        self._rows.put(index, image)
        return example._replace(image=image)

    def images(self) -> np.ndarray | None:
        """All images, uint8 [N, h, w, 3], memory-mapped; None until all are held."""
        return self._rows.whole()

    def flush(self) -> None:
        """Makes what was decoded safe on disk."""
        self._rows.flush()


class _Rows:
    """An entry's files. Threads may read and write at once; no lock spans a decode."""

    def __init__(self, folder: Path, shape: tuple[int, ...]) -> None:
        self._folder = folder
        self._images = np.load(folder / _IMAGES, mmap_mode="r")
        self._done = np.load(folder / _DONE)
        if self._images.shape != shape or self._done.shape != shape[:1]:
            raise ValueError(f"{folder} holds {self._images.shape}, wanted {shape}")
        self._lock = threading.Lock()
        self._unsafe: list[int] = []
        # Written with `pwrite`: on a full disk a memory map ends the process.
        self._file: int | None = None
        if os.access(folder, os.W_OK) and os.access(folder / _IMAGES, os.W_OK):
            self._file = os.open(folder / _IMAGES, os.O_RDWR)
            weakref.finalize(self, os.close, self._file)

    def get(self, index: int) -> np.ndarray | None:
        return self._images[index] if self._done[index] else None

    def put(self, index: int, image: np.ndarray) -> None:
        if self._file is None:
            return
        offset = self._images.offset + index * image.nbytes
        try:
            # Two writers of one row write the same bytes.
            os.pwrite(self._file, np.ascontiguousarray(image).data, offset)
        except OSError:
            # The disk is full: what is held stays, nothing more is kept.
            self._file = None
            return
        with self._lock:
            self._done[index] = True
            self._unsafe.append(index)
            if len(self._unsafe) >= _ROWS_PER_FLUSH or self._done.all():
                self._write()

    def whole(self) -> np.ndarray | None:
        return self._images if self._done.all() else None

    def flush(self) -> None:
        with self._lock:
            if self._unsafe:
                self._write()

    def _write(self) -> None:
        # Another process may have made room by removing the entry, or filled the disk.
        with contextlib.suppress(OSError, ValueError):
            # The images first: a row that is marked is on disk whatever happens next.
            if self._file is not None:
                os.fsync(self._file)
            marked = np.load(self._folder / _DONE)
            # What another process has decoded meanwhile stays marked.
            self._done |= marked
            with (
                written_whole(self._folder / _DONE) as temporary,
                temporary.open("wb") as file,
            ):
                np.save(file, self._done)
        self._unsafe.clear()


def decoded_source(source: Source, spec: InputSpec) -> Source:
    """The source behind the cache of decoded images, where that pays.

    Args:
        source: What to read.
        spec: The input of the models that will see it.

    Returns:
        A source of the same rows whose images are preprocessed for `spec`. The source
        itself where its images are too few to matter, do not fit under the limit or on
        the disk, or the cache's folder cannot be written: a cache costs time, never a
        result.
    """
    if isinstance(source, DecodedSource) and source.decoded_for == geometry(spec):
        return source
    nbytes = len(source) * int(np.prod(spec.size)) * 3
    if nbytes < _LEAST_BYTES:
        return source
    if isinstance(source, View) and 2 * len(source) >= len(source.base):
        # Most of a dataset is cached as the whole: its other views share the rows.
        base = decoded_source(source.base, spec)
        return source if base is source.base else source.over(base)
    try:
        folder = _entry_folder(source, spec, nbytes)
        return source if folder is None else DecodedSource(source, spec, folder)
    except (OSError, ValueError):
        return source


def decoded_geometry(source: Source) -> tuple | None:
    """What geometry a source's images are preprocessed for; None if they are not."""
    while isinstance(source, View):
        source = source.base
    return getattr(source, "decoded_for", None)


def flush_decoded(source: Source) -> None:
    """Makes what a source has decoded safe on disk, if it keeps any."""
    while isinstance(source, View):
        source = source.base
    if isinstance(source, DecodedSource):
        source.flush()


def _entry_folder(source: Source, spec: InputSpec, nbytes: int) -> Path | None:
    key = digest(
        source.fingerprint, repr(geometry(spec)), PIL.__version__, f"{_VERSION}"
    )
    folder = cache_folder() / "decoded" / key
    if not (folder / _ABOUT).is_file():
        if not _make_room(nbytes):
            return None
        _make_entry(folder, source, spec)
    os.utime(folder / _ABOUT)
    return folder


def _make_entry(folder: Path, source: Source, spec: InputSpec) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    about = {
        "name": source.name,
        "geometry": _in_words(spec),
        "num_examples": len(source),
    }
    with written_whole(folder / _IMAGES) as temporary:
        # A sparse file: rows take space when they are written.
        np.lib.format.open_memmap(
            temporary, "w+", np.uint8, (len(source), *spec.size, 3)
        ).flush()
    with written_whole(folder / _DONE) as temporary, temporary.open("wb") as file:
        np.save(file, np.zeros(len(source), bool))
    with written_whole(folder / _ABOUT) as temporary:
        temporary.write_text(json.dumps(about))


def _in_words(spec: InputSpec) -> str:
    height, width = spec.size
    return (
        f"{height}x{width} {spec.crop_mode} {spec.crop_fraction:g} {spec.interpolation}"
    )


def _make_room(nbytes: int) -> bool:
    """Removes what was used least recently until so many bytes fit under the limit."""
    limit, root = cache_limit(), cache_folder()
    root.mkdir(parents=True, exist_ok=True)
    if nbytes > limit:
        return False
    entries = sorted(decoded_entries(), key=lambda entry: entry.used)
    held = sum(_reserved(entry) for entry in entries)
    for entry in entries:
        if held + nbytes <= limit:
            break
        held -= _reserved(entry)
        shutil.rmtree(entry.path, ignore_errors=True)
    # Half of what is free: the results of the run go to a disk, too.
    return nbytes <= shutil.disk_usage(root).free / 2


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
            done = np.load(folder / _DONE)
            yield DecodedEntry(
                path=folder,
                name=about["name"],
                geometry=about["geometry"],
                num_examples=about["num_examples"],
                num_decoded=int(done.sum()),
                nbytes=status.st_blocks * 512,
                used=(folder / _ABOUT).stat().st_mtime,
            )
        except (OSError, ValueError, KeyError):
            # Half made, or being removed by another process.
            continue


def clear_decoded(*, unused_for: float = 0.0) -> int:
    """Removes entries.

    Args:
        unused_for: Only those that were not opened for so many seconds.

    Returns:
        How many bytes became free.
    """
    freed, now = 0, time.time()
    for entry in decoded_entries():
        if now - entry.used >= unused_for:
            freed += entry.nbytes
            shutil.rmtree(entry.path, ignore_errors=True)
    return freed
