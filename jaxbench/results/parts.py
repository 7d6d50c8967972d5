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

from jaxbench.files import flush_folder, move_aside
from jaxbench.results.schema import (
    CURVE_PREFIX,
    EXAMPLE_PREFIX,
    Run,
    cell_values,
    example_values,
    from_arrow,
    read_header,
    scalars_differ,
    to_arrow,
)
from jaxbench.results.sealing import (
    check_body,
    footer_metadata,
    is_sealed,
    read_footer,
    write_sealed,
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
    """Scalars and groups of a part, from its footer, verified.

    The footer of a part of format 1 has no digest, so its scalars are compared with the
    columns that hold them once more, whose pages have checksums.

    Raises:
        UNREADABLE: If the file is damaged, not Parquet or no part.
    """
    footer = read_footer(path)
    sealed = is_sealed(footer)
    header = read_header(footer_metadata(footer).metadata)
    if header["version"] > 1 and not sealed:
        raise ValueError("the digest in its footer is missing")
    name = path.name.removesuffix(SUFFIX).removesuffix(".failed")
    if name != f"{header['kind']}-{header['run_id']}":
        raise ValueError(f"holds the run {header['run_id']}: the file was renamed")
    if not sealed and (differing := scalars_differ(header, _read_scalars(path))):
        raise ValueError(f"footer and columns differ in {', '.join(differing)}")
    return header


def check_part(path: Path) -> None:
    """Verifies every byte of a part.

    Raises:
        UNREADABLE: If the file is damaged.
    """
    footer = read_footer(path)
    if is_sealed(footer):
        check_body(path, footer)
    else:
        read_part(path)


def read_part(path: Path) -> Run:
    """The whole run of a part, verified."""
    header_of(path)
    return from_arrow(_read_columns(path))


def read_examples(path: Path, names: Sequence[str]) -> dict[str, np.ndarray]:
    """Some per-example columns of a part, verified."""
    header = header_of(path)
    table = _read_columns(path, [EXAMPLE_PREFIX + name for name in names])
    return example_values(table, {name: header["examples"][name] for name in names})


def read_curves(path: Path, names: Sequence[str]) -> dict[str, np.ndarray]:
    """Some curves of a trial's part, verified."""
    table = _read_columns(path, [CURVE_PREFIX + name for name in names])
    return {name: cell_values(table[CURVE_PREFIX + name]) for name in names}


def _read_columns(path: Path, columns: list[str] | None = None) -> pa.Table:
    footer = read_footer(path)
    if is_sealed(footer):
        check_body(path, footer)
    # Verified a second time where the body has a digest, and the first where not.
    with pq.ParquetFile(path, page_checksum_verification=True) as part:
        return part.read(columns=columns, use_threads=False)


def _read_scalars(path: Path) -> dict[str, Any]:
    with pq.ParquetFile(path, page_checksum_verification=True) as part:
        lists = (EXAMPLE_PREFIX, CURVE_PREFIX)
        names = [n for n in part.schema_arrow.names if not n.startswith(lists)]
        (row,) = part.read(columns=names, use_threads=False).to_pylist()
    return row


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
        write_sealed(temporary, to_arrow(run))
        if target == finished and not replace:
            _publish(temporary, finished)
        else:
            os.replace(temporary, target)
    finally:
        temporary.unlink(missing_ok=True)
    if target == finished:
        finished.with_name(finished.stem + FAILED_SUFFIX).unlink(missing_ok=True)
    flush_folder(folder)
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
        move_aside(path)


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


def describe(error: BaseException) -> str:
    """An unreadable file's error in one line."""
    if isinstance(error, json.JSONDecodeError | KeyError):
        return f"damaged metadata: {error}"
    return str(error).splitlines()[0] if str(error) else type(error).__name__
