"""Who works on what, when several processes share a results folder."""

import contextlib
import fcntl
from collections.abc import Iterator
from pathlib import Path


@contextlib.contextmanager
def claim(folder: Path, name: str, *, wait: bool) -> Iterator[bool]:
    """Takes a piece of work for this process.

    A file lock, which the system drops when the process ends however it ends. It
    spares processes the same work twice and keeps them out of each other's
    checkpoints; results stay right without it, for a finished part is never replaced.

    Args:
        folder: Where lock files live; made if missing.
        name: The piece of work.
        wait: Whether to wait for the process that has it.

    Yields:
        Whether this process has it now. On a file system without locks, always.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / f"{name}.lock").open("a") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        except BlockingIOError:
            yield False
            return
        except OSError:
            # Some network file systems have no locks: work goes on, perhaps twice.
            yield True
            return
        try:
            yield True
        finally:
            fcntl.flock(file, fcntl.LOCK_UN)
