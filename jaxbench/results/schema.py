"""What one run leaves behind: its columns, their types and what they mean.

A run is one row. Its scalars are flat columns; a per-example column is one cell that
holds a list, named `example_<name>`; a curve is one too, named `curve_<name>`. The
prefixes keep the per-example `nll` apart from the metric `nll`.

The scalars stand twice in a part: as columns, for whoever opens the file with another
tool, and as JSON in the footer, because a footer is read in a sixth of the time that a
hundred one-value columns take. Both are written from the same `Run` at once.
"""

import hashlib
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa

from jaxbench.errors import counted
from jaxbench.results.columns import CORE, SETTINGS

EXAMPLE_PREFIX, CURVE_PREFIX = "example_", "curve_"
PROVENANCE_PREFIX = "provenance_"
METADATA_KEY = b"jaxbench"
# 1 had no digests in the footer.
FORMAT_VERSION = 2


KINDS, _STATUSES = ("evaluation", "trial"), ("ok", "failed")
_RUN_ID = re.compile(r"[A-Za-z0-9_-]{1,128}")


def run_digest(payload: Mapping[str, Any]) -> str:
    """Names a run by what determines its numbers.

    The same payload gives the same name on every machine, whatever the order of its
    keys: SHA-256 of its canonical JSON, the first 32 hexadecimal digits. `1` and `1.0`
    are different values, as they are in JSON.

    Raises:
        ValueError: If a value has no canonical JSON form, such as NaN or an array.
    """
    try:
        text = json.dumps(
            payload,
            sort_keys=True,
            separators=(",", ":"),
            ensure_ascii=False,
            allow_nan=False,
        )
    except (TypeError, ValueError) as error:
        raise ValueError(
            f"run_digest: {error}; give strings, finite numbers, booleans, None, and "
            "lists and dictionaries of these"
        ) from error
    return hashlib.sha256(text.encode()).hexdigest()[:32]


@dataclass(frozen=True)
class RunError:
    """What a failed run raised."""

    type: str
    message: str
    traceback: str = ""


@dataclass(frozen=True, eq=False, repr=False)
class Run:
    """One finished run: an evaluation of a model on a dataset, or a training trial.

    Attributes:
        run_id: Letters, digits, `-` and `_`; `run_digest` makes one.
        kind: "evaluation" or "trial".
        status: "ok", or "failed" with `error`.
        settings: What was run; `SETTINGS` holds the known names, others may be added.
        metrics: Numbers by name, fractions; NaN is a value and stays one.
        timing: Seconds and rates by name.
        provenance: Versions, devices and digests as strings; see `PROVENANCE`.
        error: Set exactly when `status` is "failed".
        examples: Per-example columns [n] of equal length; see `EXAMPLES`.
        curves: Per-epoch lists of a trial.

    Raises:
        ValueError: Lists everything that does not fit.
    """

    run_id: str
    kind: str
    status: str
    settings: dict[str, Any] = field(default_factory=dict)
    metrics: dict[str, Any] = field(default_factory=dict)
    timing: dict[str, Any] = field(default_factory=dict)
    provenance: dict[str, Any] = field(default_factory=dict)
    error: RunError | None = None
    examples: dict[str, np.ndarray] = field(default_factory=dict)
    curves: dict[str, np.ndarray] = field(default_factory=dict)

    def __post_init__(self):
        settings = {k: _setting(k, _plain(v)) for k, v in self.settings.items()}
        object.__setattr__(self, "settings", settings)
        for group in ("metrics", "timing"):
            values = {k: _number(v) for k, v in getattr(self, group).items()}
            object.__setattr__(self, group, values)
        examples = {k: np.asarray(v) for k, v in self.examples.items()}
        object.__setattr__(self, "examples", examples)
        curves = {k: np.asarray(v, np.float64) for k, v in self.curves.items()}
        object.__setattr__(self, "curves", curves)
        problems = [
            *_identity_problems(self),
            *_value_problems(self),
            *_array_problems(self),
            *_name_problems(self),
        ]
        if problems:
            raise ValueError(f"run {self.run_id!r}: " + "; ".join(problems))

    def __repr__(self) -> str:
        settings = [self.settings.get(name) for name in ("model", "dataset")]
        what = " on ".join(str(value) for value in settings if value is not None)
        sizes = [
            counted(len(self.metrics), "metric"),
            counted(len(self.examples), "per-example column"),
            counted(len(self.curves), "curve"),
        ]
        failure = f", {self.error.type}" if self.error else ""
        return (
            f"<Run {self.run_id}: {self.kind}, {self.status}{failure}, "
            f"{', '.join([what] * bool(what) + sizes)}>"
        )

    def columns(self) -> dict[str, Any]:
        """The row of scalars, flat: core, settings, metrics, timing, provenance."""
        error = self.error or RunError("", "")
        failed = self.error is not None
        return {
            "run_id": self.run_id,
            "kind": self.kind,
            "status": self.status,
            "error_type": error.type if failed else None,
            "error_message": error.message if failed else None,
            "error_traceback": error.traceback if failed else None,
        } | flatten(self.settings, self.metrics, self.timing, self.provenance)


def flatten(
    settings: Mapping, metrics: Mapping, timing: Mapping, provenance: Mapping
) -> dict[str, Any]:
    """One row of the four groups, each value under the name of its column.

    A provenance entry with the name of a setting (`num_devices`: those jax saw, and
    those the batch was split over) becomes `provenance_<name>`.
    """
    columns = {
        PROVENANCE_PREFIX + name if name in SETTINGS or name in settings else name: v
        for name, v in provenance.items()
    }
    return {**settings, **metrics, **timing, **columns}


def arrow_type(values: list[Any], name: str = "") -> pa.DataType:
    """The column type that holds these values; a known name has a fixed one."""
    known = CORE.get(name) or SETTINGS.get(name)
    if known is not None:
        return pa.type_for_alias(known.type)
    kinds = {type(value) for value in values if value is not None}
    if kinds == {bool}:
        return pa.bool_()
    if kinds == {int}:
        return pa.int64()
    if kinds and kinds <= {int, float}:
        return pa.float64()
    return pa.string()


def arrow_column(name: str, values: list[Any]) -> pa.Array:
    """A nullable column of scalars; a name that mixes types is stored as text."""
    dtype = arrow_type(values, name)
    if dtype == pa.string():
        values = [value if value is None else str(value) for value in values]
    # from_pandas=False: NaN is a value here, not a missing one.
    return pa.array(values, dtype, from_pandas=False)


def to_arrow(run: Run) -> pa.Table:
    """The run as a table of one row, its groups in the schema's metadata."""
    columns = {name: arrow_column(name, [v]) for name, v in run.columns().items()}
    for name, values in run.examples.items():
        columns[EXAMPLE_PREFIX + name] = _cell(values)
    for name, values in run.curves.items():
        columns[CURVE_PREFIX + name] = _cell(values)
    table = pa.table(columns)
    header = {
        "version": FORMAT_VERSION,
        "run_id": run.run_id,
        "kind": run.kind,
        "status": run.status,
        "error": vars(run.error) if run.error else None,
        "settings": run.settings,
        "metrics": run.metrics,
        "timing": run.timing,
        "provenance": run.provenance,
        "examples": {
            name: str(table.schema.field(EXAMPLE_PREFIX + name).type.value_type)
            for name in run.examples
        },
        "curves": list(run.curves),
    }
    return table.replace_schema_metadata({METADATA_KEY: json.dumps(header)})


def read_header(metadata: Mapping[bytes, bytes] | None) -> dict[str, Any]:
    """The scalars and groups of a part from its schema metadata.

    Raises:
        ValueError: If the file is Parquet but no part of a store of this version.
    """
    if not metadata or METADATA_KEY not in metadata:
        raise ValueError("a Parquet file, but not one that jaxbench wrote")
    header = json.loads(metadata[METADATA_KEY])
    if header["version"] not in range(1, FORMAT_VERSION + 1):
        raise ValueError(
            f"written in format {header['version']}, this version of jaxbench reads "
            f"formats 1 to {FORMAT_VERSION}"
        )
    return header


def scalars_differ(header: Mapping[str, Any], row: Mapping[str, Any]) -> list[str]:
    """The names of scalars whose value in a header is another one than in a row."""
    wanted = {
        name: arrow_column(name, [value]).to_pylist()[0]
        for name, value in header_row(header).items()
    }
    # As text, where NaN equals itself.
    names = {**wanted, **row}
    return [name for name in names if repr(wanted.get(name)) != repr(row.get(name))]


def header_row(header: Mapping[str, Any]) -> dict[str, Any]:
    """The row of scalars of a header, as `Run.columns` gives it."""
    error = header["error"] or {}
    core = {name: header.get(name, error.get(name[6:])) for name in CORE}
    groups = ("settings", "metrics", "timing", "provenance")
    return core | flatten(*(header[group] for group in groups))


def from_arrow(table: pa.Table) -> Run:
    """The run that `to_arrow` was given, to the bit."""
    header = read_header(table.schema.metadata)
    del header["version"]
    error = header.pop("error")
    examples = example_values(table, header.pop("examples"))
    curves = {
        name: cell_values(table[CURVE_PREFIX + name]) for name in header.pop("curves")
    }
    error = RunError(**error) if error else None
    return Run(**header, error=error, examples=examples, curves=curves)


def example_values(table: pa.Table, types: Mapping[str, str]) -> dict[str, np.ndarray]:
    """The per-example columns of a table of one row.

    Args:
        table: As `to_arrow` gives it.
        types: Names of the columns to their types, as the header has them.

    Raises:
        ValueError: If a column has another type.
        KeyError: If one is missing.
    """
    for name, wanted in types.items():
        found = table.schema.field(EXAMPLE_PREFIX + name).type
        if not pa.types.is_list(found) or str(found.value_type) != wanted:
            raise ValueError(f"example column {name!r} is {found}, wanted {wanted}")
    return {name: cell_values(table[EXAMPLE_PREFIX + name]) for name in types}


def cell_values(column: pa.ChunkedArray) -> np.ndarray:
    """The array of a one-row list column."""
    values = column.combine_chunks().values
    if pa.types.is_string(values.type):
        return np.array(values.to_pylist(), dtype=np.str_)
    return values.to_numpy(zero_copy_only=False)


def _cell(values: np.ndarray) -> pa.Array:
    strings = values.dtype.kind in "UO"
    flat = pa.array(values.tolist(), pa.string()) if strings else pa.array(values)
    return pa.ListArray.from_arrays(pa.array([0, len(flat)], pa.int32()), flat)


def _plain(value: Any) -> Any:
    return value.item() if isinstance(value, np.generic) else value


def _number(value: Any) -> Any:
    """A float where the value is a number; refused later where it is none."""
    try:
        return value if isinstance(value, (bool, str)) else float(value)
    except (TypeError, ValueError):
        return value


def _setting(name: str, value: Any) -> Any:
    """A whole number given for a float column becomes a float."""
    known = SETTINGS.get(name)
    is_float = known is not None and known.type == "float64"
    return float(value) if is_float and type(value) is int else value


def _identity_problems(run: Run) -> Iterator[str]:
    if not _RUN_ID.fullmatch(run.run_id):
        yield "run_id must be 1 to 128 letters, digits, '-' or '_'"
    if run.kind not in KINDS:
        yield f"kind is {run.kind!r}, wanted one of {', '.join(KINDS)}"
    if run.status not in _STATUSES:
        yield f"status is {run.status!r}, wanted one of {', '.join(_STATUSES)}"
    if (run.status == "failed") != (run.error is not None):
        yield f"status is {run.status!r} and error is {run.error!r}"


def _value_problems(run: Run) -> Iterator[str]:
    wanted = {"string": str, "int64": int, "float64": float, "bool": bool}
    for name, value in run.settings.items():
        known = SETTINGS.get(name)
        types = (wanted[known.type],) if known else tuple(wanted.values())
        if value is not None and type(value) not in types:
            names = " or ".join(kind.__name__ for kind in types)
            yield f"setting {name!r} is {value!r}, wanted {names}"
    for group in ("metrics", "timing"):
        for name, value in getattr(run, group).items():
            if type(value) is not float:
                yield f"{group} {name!r} is {value!r}, wanted a number"
    for name, value in run.provenance.items():
        if not isinstance(value, str):
            yield f"provenance {name!r} is {value!r}, wanted a string"


def _array_problems(run: Run) -> Iterator[str]:
    for group in ("examples", "curves"):
        for name, values in getattr(run, group).items():
            strings = values.dtype.kind == "O" and all(
                isinstance(value, str) for value in values.flat
            )
            if values.ndim != 1 or (values.dtype.kind not in "biufU" and not strings):
                yield (
                    f"{group} {name!r} has shape {values.shape} and type "
                    f"{values.dtype}, wanted one axis of booleans, numbers or strings"
                )
    lengths = {name: len(v) for name, v in run.examples.items() if v.ndim}
    if len(set(lengths.values())) > 1:
        yield f"per-example columns differ in length: {lengths}"
    if "id" in run.examples and run.examples["id"].dtype.kind not in "UO":
        yield f"per-example ids are {run.examples['id'].dtype}, wanted strings"


def _name_problems(run: Run) -> Iterator[str]:
    owner = {name: "the core columns" for name in CORE}
    reserved = (EXAMPLE_PREFIX, CURVE_PREFIX, PROVENANCE_PREFIX)
    for group in ("settings", "metrics", "timing", "provenance"):
        names = getattr(run, group)
        for name in names:
            # SQL names ignore case, so two columns may not differ by case alone.
            other = owner.setdefault(name.lower(), group)
            if other != group and (group, other) != ("provenance", "settings"):
                yield f"{group} {name!r} has the name of a column of {other}"
            if name.startswith(reserved) or not name:
                yield f"{group} {name!r}: the name is empty or has a reserved prefix"
        if len({name.lower() for name in names}) < len(names):
            yield f"{group} has names that differ by case alone"
