"""SQL over a store: DuckDB views of the summary and of the list columns.

A query sees these views and nothing else: it reads no other file, writes none, loads no
extension and cannot change that.
"""

import contextlib
import re
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import duckdb
import pyarrow as pa
import pyarrow.dataset as ds

from jaxbench.errors import UserError
from jaxbench.results.compaction import Parts, curves_of, parts_dataset
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
            for view in ("examples", "curves"):
                if not re.search(rf"\b{view}\b", query, re.IGNORECASE):
                    continue
                held = [(path, header) for path, header in parts if header[view]]
                if not held:
                    nothing = pa.table({"run_id": pa.array([], pa.string())})
                    connection.register(view, nothing)
                elif view == "curves":
                    _create_curves(connection, curves_of(held, check))
                else:
                    check([path for path, _ in held])
                    _create_examples(connection, held)
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
    schema = pa.unify_schemas(types, promote_options="permissive")
    lists = [(EXAMPLE_PREFIX + f.name, pa.list_(f.type)) for f in schema]
    cells = [
        f"unnest({_quoted(EXAMPLE_PREFIX + name)}) AS {_quoted(name)}"
        for name in schema.names
    ]
    dataset = parts_dataset(
        [path for path, _ in parts], pa.schema([("run_id", pa.string()), *lists])
    )
    _create_view(connection, "examples", dataset, cells)


def _create_curves(connection: Connection, table: pa.Table) -> None:
    names = [name for name in table.column_names if name != "run_id"]
    lengths = ", ".join(f"coalesce(len({_quoted(name)}), 0)" for name in names)
    epochs = f"unnest(range(1, greatest({lengths}) + 1)) AS epoch"
    curves = [
        f"unnest({_quoted(name)}) AS {_quoted(name.removeprefix(CURVE_PREFIX))}"
        for name in names
    ]
    _create_view(connection, "curves", table, [epochs, *curves])


def _create_view(
    connection: Connection,
    view: str,
    parts: pa.Table | ds.Dataset,
    cells: Sequence[str],
) -> None:
    connection.register(f"{view}_parts", parts)
    chosen = ", ".join(["run_id", *cells])
    connection.execute(f"CREATE VIEW {view} AS SELECT {chosen} FROM {view}_parts")


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'
