"""Files of weights, before they are read."""

import functools
import hashlib
from collections.abc import Iterable
from pathlib import Path

from safetensors import SafetensorError, safe_open

from jaxbench.errors import UserError


def file_digest(path: Path) -> str:
    """A digest of a file's bytes, taken once for as long as the file is not changed."""
    state = path.stat()
    return _file_digest(path, state.st_mtime_ns, state.st_size)


@functools.lru_cache(maxsize=256)
def _file_digest(path: Path, modified: int, size: int) -> str:
    del modified, size
    return _read_digest(path)


def _read_digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "blake2b").hexdigest()


def check_unchanged(files: Iterable[tuple[Path, str]]) -> None:
    """Compares files of weights with their digests, and reads them to do so.

    Args:
        files: Paths, and what `file_digest` gave when the work was planned.

    Raises:
        UserError: Names every file that is another one now.
    """
    changed = [str(path) for path, digest in files if _read_digest(path) != digest]
    if changed:
        raise UserError(
            f"{', '.join(changed)} changed after the work was planned, so results "
            "would carry the name of other weights; run the same command again, which "
            "takes the file as it is now"
        )


def was_trained_here(path: Path) -> bool:
    """Whether a sweep wrote a file of weights, by the file's own metadata."""
    if path.suffix != ".safetensors":
        return False
    try:
        with safe_open(path, framework="numpy") as file:
            return "trial_id" in (file.metadata() or {})
    except (OSError, SafetensorError):
        return False  # Reading the file says what is wrong with it.
