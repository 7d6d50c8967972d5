"""A folder for what is slow to find out: unpacked archives, indices, digests.

The folder is `$JAXBENCH_CACHE`, or `~/.cache/jaxbench`. Everything in it can be deleted
at any time.
"""

import contextlib
import fcntl
import os
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np

from jaxbench.data.source import digest
from jaxbench.files import written_whole


def cache_folder() -> Path:
    """Where cached files go; read from the environment at every call."""
    chosen = os.environ.get("JAXBENCH_CACHE")
    return Path(chosen) if chosen else Path.home() / ".cache" / "jaxbench"


def remembered(
    kind: str,
    key: str,
    compute: Callable[[], dict[str, np.ndarray]],
    *,
    keep: Callable[[dict[str, np.ndarray]], bool] = lambda arrays: True,
) -> dict[str, np.ndarray]:
    """Arrays that were computed once for a key, or are computed now.

    A cache that cannot be read or written costs time, never a result: the arrays are
    then computed.

    Args:
        kind: Sub-folder of the cache.
        key: Text that changes whenever the arrays would.
        compute: Called where nothing is remembered.
        keep: Whether to remember what was computed.
    """
    path = cache_folder() / kind / f"{digest(key)}.npz"
    try:
        # Opened here: np.load leaves its own file open when the archive is damaged.
        with path.open("rb") as file:
            return dict(np.load(file, allow_pickle=False))
    except Exception:  # zlib, zipfile, tokenize: damage has many names
        arrays = compute()
    if not keep(arrays):
        return arrays
    with (
        contextlib.suppress(OSError),
        written_whole(path) as temporary,
        temporary.open("wb") as file,
    ):
        np.savez(file, allow_pickle=False, **arrays)
    return arrays


def file_stamp(path: str | Path) -> str:
    """Path, size and time of change: what a new content of the file alters."""
    status = os.stat(path)
    return f"{os.path.abspath(path)}\0{status.st_size}\0{status.st_mtime_ns}"


class Held(NamedTuple):
    """A file or folder of the cache that counts in its limit.

    Attributes:
        path: Where it is.
        nbytes: Bytes that it takes.
        used: When it was last used, in seconds since 1970.
    """

    path: Path
    nbytes: int
    used: float

    def remove(self) -> None:
        """Removes it; who has it open can read on."""
        if self.path.is_dir():
            shutil.rmtree(self.path, ignore_errors=True)
        else:
            self.path.unlink(missing_ok=True)


def unpacked_archives() -> list[Held]:
    """The plain tars that compressed ones were unpacked to."""
    return [_held(path) for path in _in_tar_folder() if not path.name.startswith(".")]


def remove_unfinished(older_than: float) -> None:
    """Removes what a killed process left half unpacked.

    Args:
        older_than: Where the file system has no locks, which show what is in use: only
            what was last written to at least this many seconds ago.
    """
    for path in _in_tar_folder():
        if not path.name.startswith("."):
            continue
        with contextlib.suppress(OSError), path.open("rb") as file:
            old = time.time() - os.fstat(file.fileno()).st_mtime >= older_than
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                continue
            except OSError:
                if not old:
                    continue
            path.unlink()


def _in_tar_folder() -> list[Path]:
    folder = cache_folder() / "tar"
    return sorted(folder.iterdir()) if folder.is_dir() else []


def _held(path: Path) -> Held:
    status = path.stat()
    return Held(path, status.st_blocks * 512, status.st_mtime)
