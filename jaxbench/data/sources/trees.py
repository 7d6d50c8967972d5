"""Folders of images and tar files of such folders, read alike.

A tree lists its folders and images and reads a file by its path, from many threads at
once. Paths are relative to the root and use "/".
"""

import errno
import os
from collections import Counter
from collections.abc import Hashable, Iterable
from typing import NamedTuple, Protocol, runtime_checkable

from jaxbench.data.cache import file_stamp
from jaxbench.errors import UserError, printable

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
# A broken link of such a name was neither an image nor a folder of them.
_OTHER_FILES = (
    *(".csv", ".gz", ".html", ".json", ".jsonl", ".log", ".md", ".npy", ".npz"),
    *(".pdf", ".py", ".sh", ".tar", ".toml", ".tsv", ".txt", ".xml", ".yaml", ".yml"),
    ".zip",
)
_MOST_PATHS = 1000
_BROKEN_LINKS = {errno.ELOOP: "a loop of links", errno.ENOTDIR: "a link to nothing"}
# No image file is as large: it is refused before it fills the memory.
LARGEST_FILE = 2**31


@runtime_checkable
class Tree(Protocol):
    """Folders with images, wherever they lie."""

    def folders(self, prefix: str) -> list[str]:
        """Names of the folders directly under one, sorted."""
        ...

    def files(self, prefix: str) -> list[str]:
        """Names of the image files directly under a folder, sorted."""
        ...

    def problems(self, prefix: str) -> list[str]:
        """Paths directly under a folder that cannot be read, each with the reason.

        Only what may be an image, or a folder of images.
        """
        ...

    def images(self, prefix: str) -> list[str]:
        """Paths of all images under a folder, in torchvision's order.

        Raises:
            OSError: If a folder cannot be listed.
            ValueError: If something under it has problems, or links form a loop; the
                message names every one.
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


class Listing(NamedTuple):
    """Names of the folders and images in a folder, and problems as `Tree.problems`."""

    folders: list[str]
    images: list[str]
    problems: list[str]


def is_image(name: str) -> bool:
    """Whether a file's extension is one that torchvision's ImageFolder reads."""
    return name.lower().endswith(EXTENSIONS)


def may_hold_images(name: str) -> bool:
    """Whether a link that leads nowhere may have been an image or a folder of them."""
    if is_image(name):
        return True
    return not name.startswith(".") and not name.lower().endswith(_OTHER_FILES)


def is_litter(folder: str) -> bool:
    """Whether programs leave folders of that name behind, in folders and archives."""
    return folder.startswith(".") or folder in ("__MACOSX", "@eaDir")


def folder_order(paths: Iterable[str]) -> list[str]:
    """Sorts as ImageFolder does: by the folder's whole path, then by the file's name.

    (`a-b/1.png` comes before `a/1.png`'s sub-folder `a/c/1.png`: paths are compared
    as text, "-" before "/".)
    """
    return sorted(paths, key=lambda path: path.rpartition("/")[::2])


def join(prefix: str, name: str) -> str:
    """A path inside a tree."""
    return f"{prefix}/{name}" if prefix else name


def as_text(names: Iterable[str]) -> tuple[str, ...]:
    """File names as texts that any file format can hold; see `printable`.

    Raises:
        UserError: If two names become the same text.
    """
    names = tuple(names)
    texts = tuple(map(printable, names))
    if texts != names and len(set(texts)) < len(texts):
        twice = next(text for text in texts if texts.count(text) > 1)
        raise UserError(f"two names that are not UTF-8 are both {twice!r}; rename one")
    return texts


def nothing_at(path: str) -> str:
    """Words for a path that leads to no file and no folder."""
    reason = ""
    try:
        os.stat(path)
        reason = " (a device, pipe or socket)"
    except OSError as error:
        if error.errno not in (errno.ENOENT, errno.ENOTDIR):
            reason = f" ({error.strerror})"
    return f"there is nothing at {path!r}{reason}"


class WalkedTree:
    """What a tree does with its listings; links are followed, a loop is an error."""

    def _list(self, folder: str) -> Listing:
        raise NotImplementedError

    def _identity(self, folder: str) -> Hashable:
        """What two paths of one folder have in common."""
        raise NotImplementedError

    def folders(self, prefix: str) -> list[str]:
        """Names of the folders directly under one, sorted."""
        return sorted(self._list(prefix).folders)

    def files(self, prefix: str) -> list[str]:
        """Names of the image files directly under a folder, sorted."""
        return sorted(self._list(prefix).images)

    def problems(self, prefix: str) -> list[str]:
        """What directly under a folder cannot be read, with the reason."""
        return sorted(self._list(prefix).problems)

    def images(self, prefix: str) -> list[str]:
        """Paths of all images under a folder, in torchvision's order."""
        found: list[str] = []
        problems: list[str] = []
        # Not recursive: an archive may be thousands of folders deep.
        pending: list[tuple[str, tuple[Hashable, ...]]] = [(prefix, ())]
        times: Counter[Hashable] = Counter()
        while pending:
            folder, above = pending.pop()
            here = self._identity(folder)
            if here in above:
                problems.append(f"{folder}: a link to a folder above it (a loop)")
                continue
            times[here] += 1
            if times[here] > _MOST_PATHS:
                # Links that fan out double the images at every level.
                raise ValueError(
                    f"{folder}: links lead to it in over {_MOST_PATHS} ways"
                )
            listing = self._list(folder)
            found += [join(folder, name) for name in listing.images]
            problems += listing.problems
            below = (*above, here)
            pending += [(join(folder, name), below) for name in listing.folders]
        if problems:
            raise ValueError("; ".join(sorted(problems)))
        return folder_order(found)


class DirectoryTree(WalkedTree):
    """A folder on disk."""

    def __init__(self, root: str) -> None:
        self._root = root

    def _list(self, folder: str) -> Listing:
        listing = Listing([], [], [])
        with os.scandir(self._absolute(folder)) as entries:
            for entry in entries:
                try:
                    if entry.is_dir():
                        listing.folders.append(entry.name)
                    elif is_image(entry.name) and entry.is_file():
                        listing.images.append(entry.name)
                    elif reason := _reason(entry):
                        listing.problems.append(f"{join(folder, entry.name)}: {reason}")
                except OSError as error:
                    if may_hold_images(entry.name):
                        reason = _BROKEN_LINKS.get(error.errno or 0, error.strerror)
                        listing.problems.append(f"{join(folder, entry.name)}: {reason}")
        return listing

    def _identity(self, folder: str) -> Hashable:
        status = os.stat(self._absolute(folder))
        return status.st_dev, status.st_ino

    def read(self, path: str) -> bytes:
        """Content of one file."""
        with open(self._absolute(path), "rb") as file:
            check_size(os.fstat(file.fileno()).st_size)
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


def _reason(entry: os.DirEntry) -> str:
    """Why a file that is neither folder nor image cannot be read; "" for others."""
    if entry.is_symlink() and not os.path.exists(entry.path):
        return "a link to nothing" if may_hold_images(entry.name) else ""
    if is_image(entry.name):
        return "a device, pipe or socket, not a file"
    return ""


def check_size(size: int) -> None:
    """Refuses a file that is far too large for an image.

    Raises:
        OSError: If it is.
    """
    if size > LARGEST_FILE:
        raise OSError(errno.EFBIG, f"{size:,} bytes, too large for an image file")
