"""What lies where in a tar, as if `tar -x` had extracted it into an empty folder."""

import posixpath
import tarfile
from collections.abc import Iterable
from typing import Any

import numpy as np

from jaxbench.data.sources.trees import is_image, may_hold_images
from jaxbench.errors import UserError

LINK_TO_NOTHING = "a link to nothing in the archive, or one of a loop"
# GNU tar's lists of folders, in incremental archives.
_DUMPED_FOLDER = b"D"
_SPECIAL = {
    tarfile.CHRTYPE: "a device",
    tarfile.BLKTYPE: "a device",
    tarfile.FIFOTYPE: "a pipe",
}
# What reading a damaged or hostile archive raises: headers that claim 2^70 bytes, long
# names of long names, numbers that are none.
_DAMAGED = (
    *(tarfile.TarError, EOFError, OSError, ValueError, OverflowError),
    *(MemoryError, RecursionError),
)
_NAMED = 5


def read_index(plain: str, path: str) -> dict[str, np.ndarray]:
    """Reads the headers of a plain tar.

    Args:
        plain: The file.
        path: What to call it in messages.

    Returns:
        `names` of the files with their `offsets` and `sizes`, int64; `extents` of the
        sparse ones, int64 rows (file, place in it, length); `folders`; symbolic `links`
        and their `targets`; `odd` members with the `reasons` why they cannot be read.
        Texts are joined, see `split_names`.

    Raises:
        UserError: If it is damaged, or does not fit together; members are named.
    """
    members = _Members()
    try:
        # Names that are not UTF-8 keep their bytes.
        with tarfile.open(
            plain, "r:", encoding="utf-8", errors="surrogateescape"
        ) as archive:
            for member in archive:
                members.add(member)
            _check_end(plain, archive.offset)
        problems = members.problems()
        arrays = members.arrays()
    except _DAMAGED as error:
        reason = str(error) or type(error).__name__
        raise UserError(
            f"{path}: not a whole tar file ({reason}); get or make it again"
        ) from error
    if problems:
        more = f" and {len(problems) - _NAMED} more" if len(problems) > _NAMED else ""
        raise UserError(
            f"{path}: `tar -x` would not extract {'; '.join(problems[:_NAMED])}{more}; "
            "make the archive anew"
        )
    return arrays


def split_names(joined: np.ndarray) -> list[str]:
    """Texts that were joined: as an array of texts, each would take the longest's."""
    return joined.tobytes().decode("utf-8", "surrogateescape").split("\0")[:-1]


def _joined(names: Iterable[str]) -> np.ndarray:
    text = "".join(f"{name}\0" for name in names)
    return np.frombuffer(text.encode("utf-8", "surrogateescape"), np.uint8)


class _Members:
    """The members so far; a later one of the same name replaces the earlier."""

    def __init__(self) -> None:
        self._files: dict[str, tuple[int, int, tuple]] = {}
        self._links: dict[str, str] = {}
        self._odd: dict[str, str] = {}
        self._folders: dict[str, None] = {}
        self._problems: list[str] = []

    def add(self, member: tarfile.TarInfo) -> None:
        """Does what extracting one more member would."""
        if not _is_safe(member.name) or "\0" in member.linkname:
            if may_hold_images(member.name):
                self._problems.append(
                    f'{member.name!r}: ".." or NUL in its path or target'
                )
            return
        name = _clean(member.name)
        for table in (self._files, self._links, self._odd):
            table.pop(name, None)
        if member.isdir() or member.type == _DUMPED_FOLDER:
            if name:
                self._folders[name] = None
        elif member.isreg():
            self._add_file(name, member)
        elif member.issym():
            self._links[name] = member.linkname
        elif member.islnk():
            self._add_hard_link(name, _clean(member.linkname))
        elif is_image(name):
            kind = f"a member of the unknown kind {member.type.decode('latin1')!r}"
            self._odd[name] = _SPECIAL.get(member.type, kind)

    def _add_file(self, name: str, member: tarfile.TarInfo) -> None:
        sparse = member.issparse()
        # GNU tar's old headers have four places for pieces, used or not.
        pieces: Any = member.sparse if sparse else ()
        extents = tuple((start, length) for start, length in pieces if length)
        end = 0
        for start, length in extents:
            if start < end or length < 0:
                raise tarfile.ReadError(f"a damaged map of the sparse member {name}")
            end = start + length
        if end > member.size:
            raise tarfile.ReadError(f"a damaged map of the sparse member {name}")
        if sparse and not extents:
            extents = ((0, 0),)  # Nothing but a hole.
        self._files[name] = (member.offset_data, member.size, extents)

    def _add_hard_link(self, name: str, target: str) -> None:
        """Another name of what the target is now, whatever replaces that later."""
        if target in self._files:
            self._files[name] = self._files[target]
        elif target in self._links:
            self._links[name] = self._links[target]
        elif may_hold_images(name):
            self._odd[name] = f"{LINK_TO_NOTHING}: no {target} before it"

    def problems(self) -> list[str]:
        """Members in the way of others, which tar would not extract."""
        names = (*self._files, *self._links, *self._odd)
        folders = set(self._folders)
        for name in (*names, *self._folders):
            above = posixpath.dirname(name)
            while above and above not in folders:
                folders.add(above)
                above = posixpath.dirname(above)
        clashes = (
            f"{name!r}: both a folder and a file or link"
            for name in names
            if name in folders
        )
        return [*self._problems, *clashes]

    def arrays(self) -> dict[str, np.ndarray]:
        """All of it, as `read_index` returns it."""
        places = [place[:2] for place in self._files.values()]
        table = np.array(places, dtype=np.int64).reshape(-1, 2)
        extents = [
            (position, start, length)
            for position, (*_, held) in enumerate(self._files.values())
            for start, length in held
        ]
        return {
            "names": _joined(self._files),
            "offsets": table[:, 0],
            "sizes": table[:, 1],
            "extents": np.array(extents, dtype=np.int64).reshape(-1, 3),
            "folders": _joined(self._folders),
            "links": _joined(self._links),
            "targets": _joined(self._links.values()),
            "odd": _joined(self._odd),
            "reasons": _joined(self._odd.values()),
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


def _is_safe(name: str) -> bool:
    """Whether a name stays inside the archive and can be a path."""
    return "\0" not in name and ".." not in name.split("/")


def _clean(name: str) -> str:
    """Without "./", "//" and a leading "/": `./a//b.png` is `a/b.png`, `.` is ``."""
    name = posixpath.normpath(name).lstrip("/")
    return "" if name == "." else name
