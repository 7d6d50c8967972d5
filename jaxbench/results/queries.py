"""SQL over a store: DuckDB views of the summary and of the list columns.

A query sees these views and nothing else: it reads no other file, writes none, loads no
extension and cannot change that.
"""

import contextlib
import re
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import duckdb
import pyarrow as pa
import pyarrow.dataset as ds

from jaxbench.errors import UserError
from jaxbench.results.schema import CURVE_PREFIX, EXAMPLE_PREFIX

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection as Connection
else:
    # Checkers of annotations keep what they check against until the process ends, and
    # DuckDB's bindings report everything that is kept so long as a leak.
    Connection = object

_CLOSED: dict[str, str | bool | int | float | list[str]] = {
    "autoinstall_known_extensions": "false",
    "autoload_known_extensions": "false",
    "allow_community_extensions": "false",
    # A name that is not a view would be looked for among the variables of the callers.
    "python_enable_replacements": "false",
}
# After the views are made: with these, not even Python may open a file.
_LOCKS = ("enable_external_access = false", "lock_configuration = true")
_PAGE_CHECKSUMS = ds.ParquetFileFormat(
    default_fragment_scan_options=ds.ParquetFragmentScanOptions(
        page_checksum_verification=True
    )
)
Parts = Sequence[tuple[Path, dict[str, Any]]]


@contextlib.contextmanager
def connect(
    query: str,
    summary: pa.Table,
    parts: Parts,
    check: Callable[[Sequence[Path]], None],
) -> Iterator[Connection]:
    """A database in memory with the views that a query names.

    Args:
        query: Views over the list columns are made only where it names them, since
            each costs a look at the parts.
        summary: Becomes `runs`.
        parts: Finished parts and their headers, behind `examples` and `curves`.
        check: Verifies the parts that a view reads, and raises where one is damaged.
    """
    with duckdb.connect(config=_CLOSED) as connection:
        connection.register("runs", summary)
        try:
            for view, create in _LIST_VIEWS.items():
                if re.search(rf"\b{view}\b", query, re.IGNORECASE):
                    held = [(path, header) for path, header in parts if header[view]]
                    check([path for path, _ in held])
                    create(connection, held)
            for lock in _LOCKS:
                connection.execute(f"SET {lock}")
        except (duckdb.Error, pa.ArrowException) as error:
            raise UserError(f"the runs' columns do not go together: {error}") from error
        yield connection


def run_query(connection: Connection, query: str) -> pa.Table:
    """Runs a query; a statement without rows, such as CREATE, gives an empty table."""
    try:
        relation = connection.sql(query)
        return pa.table({}) if relation is None else relation.to_arrow_table()
    except duckdb.PermissionException as error:
        raise UserError(
            f"SQL: {error}\na query sees the results alone, no other file and no "
            "extension; `jaxbench results FOLDER --sql QUERY --csv FILE` writes rows"
        ) from error
    except (duckdb.Error, pa.ArrowException) as error:
        raise UserError(
            f"SQL: {error}\nviews are runs, examples and curves; `DESCRIBE runs` lists "
            "the columns of one"
        ) from error


def _create_examples(connection: Connection, parts: Parts) -> None:
    types = [
        pa.schema((n, pa.type_for_alias(t)) for n, t in header["examples"].items())
        for _, header in parts
    ]
    schema = pa.unify_schemas([pa.schema([]), *types], promote_options="permissive")
    columns = [(EXAMPLE_PREFIX, field.name, field.type) for field in schema]
    files = [path for path, _ in parts]
    unnested = [
        f"unnest({_quoted(EXAMPLE_PREFIX + name)}) AS {_quoted(name)}"
        for name in schema.names
    ]
    _create_view(connection, "examples", files, columns, unnested)


def _create_curves(connection: Connection, parts: Parts) -> None:
    names = list(dict.fromkeys(n for _, header in parts for n in header["curves"]))
    columns = [(CURVE_PREFIX, name, pa.float64()) for name in names]
    files = [path for path, _ in parts]
    lists = [_quoted(CURVE_PREFIX + name) for name in names]
    lengths = ", ".join(f"coalesce(len({cell}), 0)" for cell in lists)
    epochs = [f"unnest(range(1, greatest({lengths}) + 1)) AS epoch"] if names else []
    unnested = [
        f"unnest({cell}) AS {_quoted(name)}"
        for cell, name in zip(lists, names, strict=True)
    ]
    _create_view(connection, "curves", files, columns, epochs + unnested)


def _create_view(
    connection: Connection,
    view: str,
    files: Sequence[Path],
    columns: Sequence[tuple[str, str, pa.DataType]],
    unnested: Sequence[str],
) -> None:
    if not files:
        connection.register(view, pa.table({"run_id": pa.array([], pa.string())}))
        return
    lists = [(prefix + name, pa.list_(kind)) for prefix, name, kind in columns]
    schema = pa.schema([("run_id", pa.string()), *lists])
    # A dataset of named files: a glob would trip over brackets in the folder's name.
    names = [str(path) for path in files]
    parts = ds.dataset(names, schema=schema, format=_PAGE_CHECKSUMS)
    connection.register(f"{view}_parts", parts)
    cells = ", ".join(["run_id", *unnested])
    connection.execute(f"CREATE VIEW {view} AS SELECT {cells} FROM {view}_parts")


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


_LIST_VIEWS = {"examples": _create_examples, "curves": _create_curves}
