"""The curves of thousands of trials in one file, beside the parts that hold them.

A query over curves reads every trial, and opening thousands of small files takes longer
than reading what is in them. `runs/.curves.parquet` is a copy of finished parts: a row
counts as long as its part is the same file (inode, size and time of change), so that a
part that was replaced, moved or copied elsewhere is read itself. The copy carries a
digest, is written whole or not at all, and where it is missing, damaged or cannot be
written everything is read from the parts.
"""

import contextlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.parquet as pq

from jaxbench.files import written_whole
from jaxbench.results.schema import CURVE_PREFIX
from jaxbench.results.sealing import check_body, is_sealed, read_footer, write_sealed

NAME = ".curves.parquet"
# Fewer files than this are read faster than a copy of them is written.
_WORTH_IT = 256
_SIGNATURE = ("inode", "size", "changed")
_PAGE_CHECKSUMS = ds.ParquetFileFormat(
    default_fragment_scan_options=ds.ParquetFragmentScanOptions(
        page_checksum_verification=True
    )
)
Parts = Sequence[tuple[Path, dict[str, Any]]]


def curves_of(parts: Parts, check: Callable[[Sequence[Path]], None]) -> pa.Table:
    """The curves of parts, one row a part: `run_id` and a list column for each curve.

    Args:
        parts: Finished parts of one folder, at least one, and their headers.
        check: Verifies the parts that are read, and raises where one is damaged.
    """
    names = list(dict.fromkeys(n for _, header in parts for n in header["curves"]))
    columns = [CURVE_PREFIX + name for name in names]
    copy = parts[0][0].with_name(NAME)
    copied = _copied(copy, parts)
    known = set(copied["name"].to_pylist()) if copied is not None else set()
    unread = [path for path, _ in parts if path.name not in known]
    tables = [] if copied is None else [copied]
    if unread:
        before = [_signature(path) for path in unread]
        check(unread)
        tables.append(_read(unread, columns, before))
    table = pa.concat_tables(tables, promote_options="default")
    if len(unread) >= max(_WORTH_IT, len(parts) // 8):
        _write(copy, table, unread)
    missing = [name for name in columns if name not in table.column_names]
    for name in missing:
        table = table.append_column(name, pa.nulls(len(table), pa.list_(pa.float64())))
    return table.select(["run_id", *columns])


def parts_dataset(paths: Sequence[Path], schema: pa.Schema) -> ds.Dataset:
    """Parts as one dataset, the checksums of whose pages are verified."""
    # Named files: a glob would trip over brackets in the folder's name.
    names = [str(path) for path in paths]
    return ds.dataset(names, schema=schema, format=_PAGE_CHECKSUMS)


def _signature(path: Path) -> tuple[int, int, int]:
    stat = path.stat()
    return stat.st_ino, stat.st_size, stat.st_mtime_ns


def _copied(path: Path, parts: Parts) -> pa.Table | None:
    """The rows of the copy that are still those of their parts; None without a copy."""
    try:
        footer = read_footer(path)
        if not is_sealed(footer):
            return None
        check_body(path, footer)
        table = pq.read_table(path, memory_map=True)
    except (OSError, ValueError):
        return None  # the parts are read instead, and the copy is written anew
    if not {"name", "run_id", *_SIGNATURE} <= set(table.column_names):
        return None
    wanted = {path.name: _signature(path) for path, _ in parts}
    found = zip(
        *(table[name].to_pylist() for name in ("name", *_SIGNATURE)), strict=True
    )
    same = [wanted.get(name) == tuple(signature) for name, *signature in found]
    return table.filter(pa.array(same, pa.bool_()))


def _read(
    paths: Sequence[Path], columns: Sequence[str], signatures: Sequence[tuple]
) -> pa.Table:
    lists = [(name, pa.list_(pa.float64())) for name in columns]
    schema = pa.schema([("run_id", pa.string()), *lists])
    table = parts_dataset(paths, schema).to_table()
    about = {"name": pa.array([path.name for path in paths], pa.string())}
    for position, name in enumerate(_SIGNATURE):
        values = [signature[position] for signature in signatures]
        about[name] = pa.array(values, pa.uint64() if name == "inode" else pa.int64())
    for name, values in about.items():
        table = table.append_column(name, values)
    return table


def _write(path: Path, table: pa.Table, read: Sequence[Path]) -> None:
    """Replaces the copy, without the parts that were replaced while they were read."""
    now = {p.name: _signature(p) for p in read if p.exists()}
    rows = zip(
        *(table[name].to_pylist() for name in ("name", *_SIGNATURE)), strict=True
    )
    same = [now.get(n, tuple(signature)) == tuple(signature) for n, *signature in rows]
    # Without rights or room there is no copy: it is faster, not needed.
    with contextlib.suppress(OSError), written_whole(path) as temporary:
        write_sealed(temporary, table.filter(pa.array(same, pa.bool_())))
