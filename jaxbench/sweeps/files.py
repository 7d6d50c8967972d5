"""Files of weights, before they are read."""

import functools
import hashlib
from pathlib import Path

from safetensors import SafetensorError, safe_open


def file_digest(path: Path) -> str:
    """A digest of a file's bytes, taken once for as long as the file is not changed."""
    state = path.stat()
    return _file_digest(path, state.st_mtime_ns, state.st_size)


@functools.lru_cache(maxsize=256)
def _file_digest(path: Path, modified: int, size: int) -> str:
    del modified, size
    with path.open("rb") as file:
        return hashlib.file_digest(file, "blake2b").hexdigest()


def was_trained_here(path: Path) -> bool:
    """Whether a sweep wrote a file of weights, by the file's own metadata."""
    if path.suffix != ".safetensors":
        return False
    try:
        with safe_open(path, framework="numpy") as file:
            return "trial_id" in (file.metadata() or {})
    except (OSError, SafetensorError):
        return False  # Reading the file says what is wrong with it.
