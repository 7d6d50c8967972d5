"""Tar files as trees: an index read once, then reads by offset from any thread."""

import errno
import os
import weakref
from collections.abc import Hashable

import numpy as np

from jaxbench.data.cache import file_stamp, remembered
from jaxbench.data.sources.tar_index import (
    LINK_TO_NOTHING,
    read_index,
    split_names,
)
from jaxbench.data.sources.trees import (
    Listing,
    WalkedTree,
    check_size,
    is_image,
    join,
    may_hold_images,
)
from jaxbench.data.unpacked import UNPACKERS, unpacked
from jaxbench.errors import UserError

ARCHIVES = (".tar", *UNPACKERS)
# Links that are followed before a path counts as a loop, as in Linux.
_MOST_LINKS = 40


class TarTree(WalkedTree):
    """A `.tar`, or a compressed one, unpacked once into a plain tar in the cache.

    It is read as if `tar -x` had extracted it into an empty folder: where a name comes
    twice, the later member counts; symbolic and hard links are followed, to files and
    to folders, but not out of the archive; sparse members have their holes filled with
    zeros. Whatever has an image's name is read, or is one of the `problems`.

    Args:
        path: The archive.

    Raises:
        UserError: If it is not a tar file, or a damaged one, or cannot be unpacked.
    """

    def __init__(self, path: str) -> None:
        try:
            self._stamp = file_stamp(path)
            plain = unpacked(path)
            self._file = os.open(plain, os.O_RDONLY)
        except OSError as error:
            raise UserError(f"{path}: cannot be read ({error.strerror})") from error
        weakref.finalize(self, os.close, self._file)
        index = self._index(plain, path)
        self._offsets, self._sizes = index["offsets"], index["sizes"]
        # Rows (member, place in the file, length) of sparse members.
        self._extents = index["extents"]
        self._sparse = set(self._extents[:, 0].tolist())
        self._position = {n: i for i, n in enumerate(split_names(index["names"]))}
        links = (split_names(index[key]) for key in ("links", "targets"))
        self._links = dict(zip(*links, strict=True))
        odd = (split_names(index[key]) for key in ("odd", "reasons"))
        self._odd = dict(zip(*odd, strict=True))
        # Names of all that lies directly under each folder.
        self._inside: dict[str, list[str]] = {"": []}
        for folder in split_names(index["folders"]):
            self._add_folder(folder)
        for name in (*self._position, *self._links, *self._odd):
            folder, _, file = name.rpartition("/")
            self._add_folder(folder)
            self._inside[folder].append(file)

    def _index(self, plain: str, path: str) -> dict[str, np.ndarray]:
        try:
            return remembered(
                "tar-members", self._stamp, lambda: read_index(plain, path)
            )
        except UserError:
            # What is not a tar file is not kept.
            if plain != path:
                os.unlink(plain)
            raise

    def _add_folder(self, path: str) -> None:
        added = []
        while path not in self._inside:
            self._inside[path] = []
            parent, _, name = path.rpartition("/")
            added.append((parent, name))
            path = parent
        for parent, name in added:
            self._inside[parent].append(name)

    def has_folder(self, path: str) -> bool:
        """Whether a folder of that path is in the archive."""
        return self._resolved(path) in self._inside

    def has_file(self, path: str) -> bool:
        """Whether a file of that path is in the archive."""
        return self._resolved(path) in self._position

    def _resolved(self, path: str) -> str | None:
        """The member or folder that a path leads to; None if it leads to nothing."""
        if path in self._position or path in self._inside:
            return path
        done: list[str] = []
        pending = path.split("/")[::-1]
        followed = 0
        while pending:
            part = pending.pop()
            if part == "..":
                if not done:
                    return None  # Above the archive.
                done.pop()
                continue
            if part in ("", "."):
                continue
            here = "/".join((*done, part))
            target = self._links.get(here)
            if target is not None:
                followed += 1
                if target.startswith("/") or followed > _MOST_LINKS:
                    return None
                pending += target.split("/")[::-1]
            elif here in self._inside or (here in self._position and not pending):
                done.append(part)
            else:
                return None
        return "/".join(done)

    def _list(self, folder: str) -> Listing:
        listing = Listing([], [], [])
        resolved = self._resolved(folder)
        for name in self._inside[folder if resolved is None else resolved]:
            inner = join(resolved or "", name)
            target = self._resolved(inner)
            if target in self._inside:
                listing.folders.append(name)
            elif target in self._position:
                if is_image(name):
                    listing.images.append(name)
            elif inner in self._odd:
                listing.problems.append(f"{join(folder, name)}: {self._odd[inner]}")
            elif may_hold_images(name):
                listing.problems.append(f"{join(folder, name)}: {LINK_TO_NOTHING}")
        return listing

    def _identity(self, folder: str) -> Hashable:
        return self._resolved(folder)

    def _place(self, path: str) -> tuple[int, int, int]:
        """Number, offset and size of the member that a path leads to.

        Raises:
            FileNotFoundError: If it leads to none.
        """
        position = self._position.get(self._resolved(path) or "")
        if position is None:
            raise FileNotFoundError(errno.ENOENT, "not in the archive", path)
        return position, int(self._offsets[position]), int(self._sizes[position])

    def read(self, path: str) -> bytes:
        """Content of one member."""
        position, offset, size = self._place(path)
        check_size(size)
        if position not in self._sparse:
            return self._read(offset, size)
        content = bytearray(size)
        for start, length in self._extents[self._extents[:, 0] == position, 1:]:
            content[start : start + length] = self._read(offset, int(length))
            offset += int(length)
        return bytes(content)

    def _read(self, offset: int, size: int) -> bytes:
        content = os.pread(self._file, size, offset)
        if len(content) != size:
            raise OSError(f"the archive ends after {len(content)} of {size} bytes")
        return content

    def stamp(self, paths: list[str]) -> str:
        """Path, size and time of change of the archive, and the members asked for."""
        return "\n".join((self._stamp, *paths))
