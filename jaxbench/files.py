"""Files that are written whole or not at all, also when the power fails."""

import contextlib
import errno
import os
import uuid
from collections.abc import Iterator
from pathlib import Path


@contextlib.contextmanager
def written_whole(path: Path) -> Iterator[Path]:
    """Gives a temporary path that becomes `path` if the block ends without an error.

    The content is on the disk before it gets its name, and the name before this
    returns, so that a reader finds the old file or the new one, never an empty one.

    Args:
        path: The file; its folder is made where it is missing.

    Raises:
        OSError: If the folder cannot be written.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex}.tmp")
    try:
        yield temporary
        flush_file(temporary)
        os.replace(temporary, path)
        flush_folder(path.parent)
    finally:
        temporary.unlink(missing_ok=True)


def move_aside(path: Path) -> Path:
    """Renames a damaged file to `<name>.corrupt`, and returns that path.

    Raises:
        OSError: If it cannot be renamed; a file that is gone already is fine.
    """
    target = path.with_name(path.name + ".corrupt")
    # Another process may have moved it already.
    with contextlib.suppress(FileNotFoundError):
        os.replace(path, target)
    return target


def flush_file(path: Path) -> None:
    """Waits until a file's content is on the disk."""
    with path.open("rb+") as file:
        os.fsync(file.fileno())


def flush_folder(folder: Path) -> None:
    """Waits until the names in a folder are on the disk."""
    if not hasattr(os, "O_DIRECTORY"):
        return  # Windows neither opens a folder nor needs it flushed
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):
            raise  # some network file systems cannot flush a folder
    finally:
        os.close(handle)
