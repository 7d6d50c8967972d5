"""Folders of images and tar files of such folders, read alike.

A tree lists its folders and images and reads a file by its path, from many threads at
once. Paths are relative to the root and use "/".
"""

import os
from collections.abc import Iterable
from typing import Protocol, runtime_checkable

from jaxbench.data.cache import file_stamp

# torchvision.datasets.folder.IMG_EXTENSIONS.
EXTENSIONS = (
    ".jpg",
    ".jpeg",
    ".png",
    ".ppm",
    ".bmp",
    ".pgm",
    ".tif",
    ".tiff",
    ".webp",
)


@runtime_checkable
class Tree(Protocol):
    """Folders with images, wherever they lie."""

    def folders(self, prefix: str) -> list[str]:
        """Names of the folders directly under one, sorted."""
        ...

    def files(self, prefix: str) -> list[str]:
        """Names of the image files directly under a folder, sorted."""
        ...

    def images(self, prefix: str) -> list[str]:
        """Paths of all images under a folder, in torchvision's order.

        Raises:
            OSError: If a folder cannot be listed.
            ValueError: If links make no sense; the message names every one.
        """
        ...

    def read(self, path: str) -> bytes:
        """Content of one file.

        Raises:
            OSError: If it cannot be read whole.
        """
        ...

    def stamp(self, paths: list[str]) -> str:
        """Text that changes when one of the files does, without reading them."""
        ...


def is_image(name: str) -> bool:
    """Whether a file's extension is one that torchvision's ImageFolder reads."""
    return name.lower().endswith(EXTENSIONS)


def folder_order(paths: Iterable[str]) -> list[str]:
    """Sorts as ImageFolder does: by the folder's whole path, then by the file's name.

    (`a-b/1.png` comes before `a/1.png`'s sub-folder `a/c/1.png`: paths are compared
    as text, "-" before "/".)
    """
    return sorted(paths, key=lambda path: path.rpartition("/")[::2])


class DirectoryTree:
    """A folder on disk; links are followed, and a loop of links is an error."""

    def __init__(self, root: str) -> None:
        self._root = root

    def folders(self, prefix: str) -> list[str]:
        """Names of the folders directly under one, sorted."""
        with os.scandir(self._absolute(prefix)) as entries:
            return sorted(entry.name for entry in entries if entry.is_dir())

    def files(self, prefix: str) -> list[str]:
        """Names of the image files directly under a folder, sorted."""
        with os.scandir(self._absolute(prefix)) as entries:
            return sorted(e.name for e in entries if is_image(e.name) and e.is_file())

    def images(self, prefix: str) -> list[str]:
        """Paths of all images under a folder, in torchvision's order."""
        found: list[str] = []
        problems: list[str] = []
        self._walk(prefix, (), found, problems)
        if problems:
            raise ValueError("; ".join(sorted(problems)))
        return folder_order(found)

    def _walk(
        self,
        folder: str,
        above: tuple[tuple[int, int], ...],
        found: list[str],
        problems: list[str],
    ) -> None:
        status = os.stat(self._absolute(folder))
        here = (status.st_dev, status.st_ino)
        if here in above:
            problems.append(f"{folder}: a link to a folder above it (a loop)")
            return
        with os.scandir(self._absolute(folder)) as entries:
            for entry in entries:
                path = f"{folder}/{entry.name}" if folder else entry.name
                if entry.is_dir():
                    self._walk(path, (*above, here), found, problems)
                elif not is_image(entry.name):
                    continue
                elif entry.is_file():
                    found.append(path)
                elif entry.is_symlink():
                    problems.append(f"{path}: a link to nothing")

    def read(self, path: str) -> bytes:
        """Content of one file."""
        with open(self._absolute(path), "rb") as file:
            return file.read()

    def stamp(self, paths: list[str]) -> str:
        """Path, size and time of change of every file."""
        return "\n".join(self._stamp(self._absolute(path)) for path in paths)

    def _stamp(self, path: str) -> str:
        try:
            return file_stamp(path)
        except OSError as error:
            # Reading it fails as well, and says so by name.
            return f"{path}\0{error}"

    def _absolute(self, path: str) -> str:
        return os.path.join(self._root, path) if path else self._root
