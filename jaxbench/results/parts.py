"""One file of a store: written whole or not at all, by any number of writers.

There is no lock. A part is written under a temporary name in the same folder, flushed
to the disk, and only then given its name. The name of a finished run is taken with a
hard link, which fails where the name exists, so of two writers of one run the first
stays. A failed run has a name of its own (`*.failed.parquet`) and can therefore never
replace a finished one, whatever the order in which two writers arrive.
"""

import contextlib
import errno
import json
import os
import secrets
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from jaxbench.results.schema import (
    EXAMPLE_PREFIX,
    Run,
    cell_values,
    from_arrow,
    read_header,
    to_arrow,
)

SUFFIX, FAILED_SUFFIX = ".parquet", ".failed.parquet"
_STALE_SECONDS = 24 * 3600
# What an unreadable file raises: pyarrow's errors are ValueErrors and OSErrors.
UNREADABLE = (OSError, ValueError, KeyError, TypeError)
_NO_HARD_LINKS = {errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS}


@dataclass(frozen=True)
class Problem:
    """A part that cannot be read, and why; its run counts as missing."""

    path: Path
    reason: str


def part_name(run: Run) -> str:
    """The file name of a run's part."""
    suffix = SUFFIX if run.status == "ok" else FAILED_SUFFIX
    return f"{run.kind}-{run.run_id}{suffix}"


def header_of(path: Path) -> dict[str, Any]:
    """Scalars and groups of a part, from its footer alone.

    Raises:
        UNREADABLE: If the file is cut off, not Parquet or no part.
    """
    with pq.ParquetFile(path) as part:
        header = read_header(part.metadata.metadata)
    name = path.name.removesuffix(SUFFIX).removesuffix(".failed")
    if name != f"{header['kind']}-{header['run_id']}":
        raise ValueError(f"holds the run {header['run_id']}: the file was renamed")
    return header


def read_part(path: Path) -> Run:
    """The whole run of a part, checksums verified."""
    with pq.ParquetFile(path, page_checksum_verification=True) as part:
        return from_arrow(part.read())


def read_examples(path: Path, names: Sequence[str]) -> dict[str, np.ndarray]:
    """Some per-example columns of a part, checksums verified."""
    columns = [EXAMPLE_PREFIX + name for name in names]
    with pq.ParquetFile(path, page_checksum_verification=True) as part:
        table = part.read(columns=columns, use_threads=False)
    return {name: cell_values(table[EXAMPLE_PREFIX + name]) for name in names}


def write_part(folder: Path, run: Run, *, replace: bool = False) -> Path:
    """Writes a run atomically; a finished part of it stays, unless it is to go."""
    finished = folder / f"{run.kind}-{run.run_id}{SUFFIX}"
    target = folder / part_name(run)
    for path in {finished, target}:
        _move_aside_if_unreadable(path)
    if finished.exists() and not replace:
        return finished
    temporary = folder / f".{target.name}.{os.getpid()}.{secrets.token_hex(4)}.tmp"
    try:
        _write_flushed(temporary, to_arrow(run))
        if target == finished and not replace:
            _publish(temporary, finished)
        else:
            os.replace(temporary, target)
    finally:
        temporary.unlink(missing_ok=True)
    if target == finished:
        finished.with_name(finished.stem + FAILED_SUFFIX).unlink(missing_ok=True)
    _flush_folder(folder)
    return target


def remove_stale(folder: Path) -> None:
    """Removes temporary files that writers left behind more than a day ago."""
    oldest = time.time() - _STALE_SECONDS
    for path in folder.glob(".*.tmp"):
        with contextlib.suppress(FileNotFoundError):
            if path.stat().st_mtime < oldest:
                path.unlink()


def _move_aside_if_unreadable(path: Path) -> None:
    try:
        header_of(path)
    except FileNotFoundError:
        return
    except UNREADABLE:
        # Another writer may have moved it already.
        with contextlib.suppress(FileNotFoundError):
            os.replace(path, path.with_name(path.name + ".corrupt"))


def _write_flushed(path: Path, table: pa.Table) -> None:
    with open(path, "xb") as file:
        # One row: dictionaries and statistics would be larger than the values.
        pq.write_table(
            table,
            file,
            compression="zstd",
            use_dictionary=False,
            write_statistics=False,
            write_page_checksum=True,
        )
        file.flush()
        os.fsync(file.fileno())


def _publish(temporary: Path, finished: Path) -> None:
    """Gives a part its name unless the name is taken."""
    try:
        os.link(temporary, finished)
    except FileExistsError:
        return
    except OSError as error:
        if error.errno not in _NO_HARD_LINKS:
            raise
        # Without hard links the later of two writers of one run wins; both hold the
        # same numbers, since the run's name is a digest of what determines them.
        os.replace(temporary, finished)


def _flush_folder(folder: Path) -> None:
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


def describe(error: BaseException) -> str:
    """An unreadable file's error in one line."""
    if isinstance(error, json.JSONDecodeError | KeyError):
        return f"damaged metadata: {error}"
    return str(error).splitlines()[0] if str(error) else type(error).__name__
