"""Folders and tars of official distributions that hold more than images."""

import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Protocol, runtime_checkable

import numpy as np

from jaxbench.data.known.reading import ListedImage, Listing, join, named
from jaxbench.data.sources.tar import ARCHIVES, TarTree
from jaxbench.data.sources.trees import DirectoryTree, Tree
from jaxbench.errors import UserError

# How deep under PATH the distribution's own folder may lie.
_DEPTH = 2
_NAMED = 5


@runtime_checkable
class Files(Tree, Protocol):
    """A tree whose other files can be read as well."""

    def has_file(self, path: str) -> bool:
        """Whether there is a file of that path."""
        ...

    def has_folder(self, path: str) -> bool:
        """Whether there is a folder of that path."""
        ...

    def names(self, prefix: str) -> list[str]:
        """Names of all that lies directly under a folder, sorted."""
        ...

    def array(self, path: str) -> np.ndarray:
        """Content of a file, uint8 [size], mapped into memory, not read.

        Raises:
            OSError: If it cannot be opened, or is cut short.
        """
        ...


class Directory(DirectoryTree):
    """A folder on disk."""

    def has_file(self, path: str) -> bool:
        """Whether there is a file of that path."""
        return os.path.isfile(self._absolute(path))

    def has_folder(self, path: str) -> bool:
        """Whether there is a folder of that path."""
        return os.path.isdir(self._absolute(path))

    def names(self, prefix: str) -> list[str]:
        """Names of all that lies directly under a folder, sorted."""
        return sorted(os.listdir(self._absolute(prefix)))

    def array(self, path: str) -> np.ndarray:
        """Content of a file, uint8 [size], mapped into memory."""
        place = self._absolute(path)
        if not os.path.getsize(place):
            return np.empty(0, np.uint8)
        return np.memmap(place, np.uint8, "r")


class Archive(TarTree):
    """A tar; a packed one is unpacked once into the cache."""

    def names(self, prefix: str) -> list[str]:
        """Names of all that lies directly under a folder, sorted."""
        folder = self._resolved(prefix)
        return [] if folder is None else sorted(self._inside.get(folder, []))

    def array(self, path: str) -> np.ndarray:
        """Content of a member, uint8 [size], mapped into memory."""
        position, offset, size = self._place(path)
        if position in self._sparse or not size:
            return np.frombuffer(self.read(path), np.uint8)
        # A copy of the descriptor: closing the one must not close the other.
        with os.fdopen(os.dup(self._file), "rb") as file:
            if offset + size > os.fstat(file.fileno()).st_size:
                raise OSError(f"the archive ends before the end of {path}")
            return np.memmap(file, np.uint8, "r", offset, size)


def open_files(path: str | Path) -> Files:
    """Opens a folder or a tar.

    Raises:
        UserError: If there is neither at the path.
    """
    place = Path(path)
    if place.is_dir():
        return Directory(str(place))
    if not place.is_file():
        raise UserError(f"there is nothing at {str(place)!r}; check the path")
    if place.suffix == ".zip":
        raise UserError(f"{str(place)!r} is a zip; unpack it and give its folder")
    if not place.name.endswith(ARCHIVES):
        kinds = ", ".join(ARCHIVES)
        raise UserError(f"{str(place)!r} is a file; wanted a folder, or one of {kinds}")
    return Archive(str(place))


def find_root(
    tree: Files,
    files: Sequence[str] = (),
    folders: Sequence[str] = (),
    *,
    called: Sequence[str] = (),
) -> str | None:
    """The first folder, from the outside in, with one of these files or folders.

    Args:
        tree: Where to look: at the top and in two levels of folders.
        files: Paths of files; folders of the same names do not count.
        folders: Paths of folders.
        called: Names that it may have, in any case, where it is not the top. Where
            several distributions have the same files, another's must not be taken.

    Returns:
        Its path in the tree; None if there is none.
    """
    for prefix in prefixes(tree):
        name = prefix.rpartition("/")[2].lower()
        if prefix and called and name not in map(str.lower, called):
            continue
        if any(tree.has_file(join(prefix, file)) for file in files):
            return prefix
        if any(tree.has_folder(join(prefix, folder)) for folder in folders):
            return prefix
    return None


def prefixes(tree: Files) -> Iterator[str]:
    """The top and the folders in two levels under it, from the outside in."""
    level = [""]
    for depth in range(_DEPTH + 1):
        yield from level
        if depth < _DEPTH:
            level = [join(above, f) for above in level for f in _folders(tree, above)]


def _folders(tree: Files, prefix: str) -> list[str]:
    try:
        return tree.folders(prefix)
    except PermissionError:
        # Not ours, such as lost+found at the top of a disk.
        return []


def root_of(
    tree: Files,
    files: Sequence[str] = (),
    folders: Sequence[str] = (),
    *,
    called: Sequence[str] = (),
) -> str:
    """The folder with one of these files or folders; see `find_root`.

    Raises:
        UserError: If there is none.
    """
    root = find_root(tree, files, folders, called=called)
    if root is None:
        wanted = [*files, *(f"{folder}/" for folder in folders)]
        inside = f" (in {' or '.join(called)}, or at the top)" if called else ""
        raise UserError(
            f"expected {' or '.join(wanted)}{inside}, and found {found_names(tree)}"
        )
    return root


def all_there(tree: Files, listed: Sequence[ListedImage]) -> Listing:
    """The images of a list.

    Raises:
        UserError: If some have no file: how many, and the first of them.
    """
    missing = [image.path for image in listed if not tree.has_file(image.path)]
    if missing:
        raise UserError(
            f"{len(missing)} of {len(listed)} listed images are missing: "
            f"{', '.join(missing[:_NAMED])}{', ...' if len(missing) > _NAMED else ''}"
        )
    return Listing(tree, listed)


def found_names(tree: Files, prefix: str = "") -> str:
    """Words for what lies under a folder."""
    names = [name for name in tree.names(prefix) if not name.startswith(".")]
    return named("name", names) if names else "nothing"
