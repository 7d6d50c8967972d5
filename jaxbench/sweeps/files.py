"""Files of weights, before they are read."""

import functools
import hashlib
from collections.abc import Iterable
from pathlib import Path

from safetensors import SafetensorError, safe_open

from jaxbench.errors import UserError
from jaxbench.results import run_digest
from model_zoo.weights.files import parts as weight_parts


def file_digest(path: Path) -> str:
    """A digest of a file's bytes, taken once for as long as the file is not changed.

    That of weights in several files is of all of them.
    """
    states = [part.stat() for part in weight_parts(path)]
    return _file_digest(path, tuple((s.st_mtime_ns, s.st_size) for s in states))


@functools.lru_cache(maxsize=256)
def _file_digest(path: Path, states: tuple[tuple[int, int], ...]) -> str:
    del states
    return _read_digest(path)


def _read_digest(path: Path) -> str:
    found = []
    for part in weight_parts(path):
        with part.open("rb") as file:
            found.append(hashlib.file_digest(file, "blake2b").hexdigest())
    return found[0] if len(found) == 1 else run_digest({"parts": found})


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
