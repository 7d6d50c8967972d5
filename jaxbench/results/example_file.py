"""One Parquet file of arrays with a row an example, and a JSON header with the rest."""

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from jaxbench.errors import UserError
from jaxbench.files import written_whole
from jaxbench.results.parts import UNREADABLE, describe
from jaxbench.results.sealing import (
    check_body,
    footer_metadata,
    is_sealed,
    read_footer,
    write_sealed,
)

_HEADER = b"jaxbench_evaluation"
_VERSION = 1


def write_examples_file(
    path: Path, header: Mapping[str, Any], arrays: Mapping[str, np.ndarray]
) -> None:
    """Writes a file whole or not at all; one that exists is replaced.

    Args:
        path: The file; its folder is made where it is missing.
        header: What JSON can hold, NaN included.
        arrays: Name to array, [n] of numbers, booleans or strings, or [n, width] of
            numbers, all with the same n.

    Raises:
        UserError: If it cannot be written, such as on a full disk.
    """
    table = pa.table({name: _to_arrow(array) for name, array in arrays.items()})
    text = json.dumps({"version": _VERSION, **header})
    try:
        with written_whole(path) as temporary:
            write_sealed(temporary, table.replace_schema_metadata({_HEADER: text}))
    except OSError as error:
        raise UserError(
            f"{str(path)!r} cannot be written: {error.strerror or error}; choose "
            "another place, or make room or rights there"
        ) from error


def read_examples_file(
    path: str | os.PathLike[str],
) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """The header and the arrays of a file, verified against its digests.

    Raises:
        UserError: If the file is missing, damaged, or of another kind.
    """
    path = Path(path)
    try:
        footer = read_footer(path)
        metadata = footer_metadata(footer).metadata or {}
        if _HEADER not in metadata:
            raise UserError(
                f"{str(path)!r} is not a saved evaluation; give a file that "
                "`Evaluation.save` wrote. A folder of runs is read with ResultStore"
            )
        header = json.loads(metadata[_HEADER])
        if header.pop("version") != _VERSION:
            raise UserError(
                f"{str(path)!r} was written by a newer version of jaxbench; update it"
            )
        if not is_sealed(footer):
            raise ValueError("the digest in its footer is missing")
        check_body(path, footer)
        table = pq.read_table(path)
    except FileNotFoundError as error:
        raise UserError(f"{str(path)!r} does not exist; check the path") from error
    except UserError:
        raise
    except UNREADABLE as error:
        raise UserError(
            f"{str(path)!r} cannot be read ({describe(error)}); save it again"
        ) from error
    return header, {name: _to_numpy(table[name]) for name in table.column_names}


def _to_arrow(array: np.ndarray) -> pa.Array:
    if array.dtype.kind in "UO":
        return pa.array(array.tolist(), pa.string())
    if array.ndim == 2:
        flat = pa.array(np.ascontiguousarray(array).reshape(-1))
        return pa.FixedSizeListArray.from_arrays(flat, array.shape[1])
    return pa.array(array)


def _to_numpy(column: pa.ChunkedArray) -> np.ndarray:
    values = column.combine_chunks()
    if pa.types.is_string(values.type):
        return np.array(values.to_pylist(), dtype=object)
    if pa.types.is_fixed_size_list(values.type):
        flat = values.flatten().to_numpy(zero_copy_only=False)
        return flat.reshape(len(values), values.type.list_size).copy()
    # Arrow's own memory is read-only.
    return values.to_numpy(zero_copy_only=False).copy()
