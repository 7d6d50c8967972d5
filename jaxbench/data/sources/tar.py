"""Tar files as trees: an index read once, then reads by offset from any thread."""

import gzip
import os
import posixpath
import shutil
import tarfile
import weakref
import zlib
from pathlib import Path

import numpy as np

from jaxbench.data.cache import cache_folder, file_stamp, remembered, written_whole
from jaxbench.data.source import digest
from jaxbench.data.sources.trees import folder_order, is_image
from jaxbench.errors import UserError

ARCHIVES = (".tar", ".tar.gz", ".tgz")


class TarTree:
    """A `.tar`, or a `.tar.gz` that is unpacked once into a plain tar in the cache.

    Links inside the archive are followed. Where a name comes twice, the later member
    counts, as it does when a tar is extracted.

    Args:
        path: The archive.

    Raises:
        UserError: If it is no tar, or a damaged one, or cannot be unpacked.
    """

    def __init__(self, path: str) -> None:
        plain = path if path.endswith(".tar") else _unpacked(path)
        self._stamp = file_stamp(path)
        index = remembered("tar-index", self._stamp, lambda: _read_index(plain, path))
        self._offsets = index["offsets"]
        self._sizes = index["sizes"]
        names = index["names"].tolist()
        self._position = {name: i for i, name in enumerate(names)}
        self._broken: list[str] = index["broken"].tolist()
        # Names of the folders and images directly under each folder.
        self._folders: dict[str, set[str]] = {"": set()}
        self._images: dict[str, list[str]] = {"": []}
        for folder in index["folders"].tolist():
            self._add_folder(folder)
        for name in filter(is_image, names):
            folder, _, file = name.rpartition("/")
            self._add_folder(folder)
            self._images[folder].append(file)
        self._file = os.open(plain, os.O_RDONLY)
        weakref.finalize(self, os.close, self._file)

    def _add_folder(self, path: str) -> None:
        if path not in self._folders:
            self._folders[path], self._images[path] = set(), []
            parent, _, name = path.rpartition("/")
            self._add_folder(parent)
            self._folders[parent].add(name)

    def has_folder(self, path: str) -> bool:
        """Whether a folder of that path is in the archive."""
        return path in self._folders

    def folders(self, prefix: str) -> list[str]:
        """Names of the folders directly under one, sorted."""
        return sorted(self._folders[prefix])

    def files(self, prefix: str) -> list[str]:
        """Names of the image files directly under a folder, sorted."""
        return sorted(self._images[prefix])

    def images(self, prefix: str) -> list[str]:
        """Paths of all images under a folder, in torchvision's order."""
        start = f"{prefix}/" if prefix else ""
        problems = [
            f"{name}: a link to nothing, or one of a loop"
            for name in self._broken
            if name.startswith(start)
        ]
        if problems:
            raise ValueError("; ".join(problems))
        found = [start + file for file in self._images[prefix]]
        for folder in self._folders[prefix]:
            found += self.images(start + folder)
        return folder_order(found)

    def read(self, path: str) -> bytes:
        """Content of one member."""
        position = self._position[path]
        size = int(self._sizes[position])
        content = os.pread(self._file, size, int(self._offsets[position]))
        if len(content) != size:
            raise OSError(f"the archive ends after {len(content)} of {size} bytes")
        return content

    def stamp(self, paths: list[str]) -> str:
        """Path, size and time of change of the archive, and the members asked for."""
        return "\n".join((self._stamp, *paths))


def _unpacked(path: str) -> str:
    """The plain tar of a `.tar.gz`, made in the cache on the first call."""
    stem = Path(path).name.partition(".")[0]
    plain = cache_folder() / "tar" / f"{stem}-{digest(file_stamp(path))}.tar"
    if plain.exists():
        return str(plain)
    try:
        with (
            written_whole(plain) as temporary,
            gzip.open(path) as packed,
            temporary.open("wb") as file,
        ):
            shutil.copyfileobj(packed, file, 1 << 20)
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise UserError(
            f"{path}: not a whole gzip file ({error}); get or make it again"
        ) from error
    except OSError as error:
        raise UserError(
            f"{path}: cannot be unpacked into {plain.parent} ({error}); set "
            "JAXBENCH_CACHE to a folder with room, or unpack it yourself"
        ) from error
    return str(plain)


def _read_index(plain: str, path: str) -> dict[str, np.ndarray]:
    places: dict[str, tuple[int, int]] = {}
    links: dict[str, str] = {}
    folders: list[str] = []
    try:
        with tarfile.open(plain, "r:") as archive:
            for member in archive:
                name = _clean(member.name)
                if member.isdir():
                    folders.append(name)
                elif member.isreg() and not member.issparse():
                    places[name] = (member.offset_data, member.size)
                elif member.islnk():
                    links[name] = _clean(member.linkname)
                elif member.issym():
                    target = posixpath.join(posixpath.dirname(name), member.linkname)
                    links[name] = _clean(target)
            _check_end(plain, archive.offset)
    except (tarfile.TarError, EOFError, OSError) as error:
        raise UserError(
            f"{path}: not a whole tar file ({error}); get or make it again"
        ) from error
    broken = []
    for name in links:
        place = _follow(name, links, places)
        if place is not None:
            places[name] = place
        elif is_image(name):
            broken.append(name)
    table = np.array(list(places.values()), dtype=np.int64).reshape(-1, 2)
    return {
        "names": np.array(list(places), dtype=str),
        "offsets": table[:, 0],
        "sizes": table[:, 1],
        "folders": np.array([name for name in folders if name], dtype=str),
        "broken": np.array(sorted(broken), dtype=str),
    }


def _check_end(plain: str, end: int) -> None:
    """Refuses an archive that goes on, or stops, where its index came to an end.

    tarfile takes a damaged header, and a file cut between two members, for the end.
    POSIX ends an archive with two blocks of zeros, and programs pad it with more; one
    block is enough here, as it is for GNU tar.

    Raises:
        tarfile.ReadError: If the rest of the file is anything but zeros.
    """
    with open(plain, "rb") as file:
        file.seek(end)
        rest = file.read(tarfile.BLOCKSIZE)
        if len(rest) < tarfile.BLOCKSIZE:
            raise tarfile.ReadError(f"cut at byte {end}: no end-of-archive block")
        if any(rest):
            raise tarfile.ReadError(f"a damaged header at byte {end}")
        while rest:
            if rest.count(0) < len(rest):
                raise tarfile.ReadError(
                    f"more data behind an end-of-archive block at byte {end}: a "
                    "damaged header, or archives laid end to end"
                )
            rest = file.read(1 << 20)


def _clean(name: str) -> str:
    """Without "./", "//" and a leading "/": `./a//b.png` is `a/b.png`, `.` is ``."""
    name = posixpath.normpath(name).lstrip("/")
    return "" if name == "." else name


def _follow(
    name: str, links: dict[str, str], places: dict[str, tuple[int, int]]
) -> tuple[int, int] | None:
    seen: set[str] = set()
    while name in links and name not in seen:
        seen.add(name)
        name = links[name]
    return places.get(name)
