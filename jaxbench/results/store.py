"""A folder of results: one immutable Parquet part per run, many writers, no lock."""

import os
import re
import secrets
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from jaxbench.errors import UserError, unknown_name
from jaxbench.results import frames, naming, parts
from jaxbench.results.columns import CORE, SETTINGS
from jaxbench.results.kept import KeptColumns
from jaxbench.results.parts import Problem
from jaxbench.results.queries import connect, run_query
from jaxbench.results.schema import KINDS, Run, arrow_column, header_row

if TYPE_CHECKING:
    import pandas
    import polars

_MAX_CANDIDATES = 10
# What may stand in the name of a file; anything else is unknown, not looked for.
_RUN_ID = re.compile(r"[\w.-]{1,200}")


class ResultStore:
    """Reads and writes the runs under one folder.

    The parts lie in `<path>/runs`. Any number of processes may write at the same time;
    a killed one leaves nothing that a reader sees. A part that cannot be read never
    stops the others from being read: it is listed in `problems`, its run counts as
    missing, and when the run is written again the part is moved to `*.corrupt`.

    Args:
        path: The folder.
        create: Make the folder where it is missing, and check that it can be written,
            before hours of work have gone into a run that cannot be stored.

    Raises:
        UserError: If the folder is missing (without `create`) or cannot be written.
    """

    def __init__(self, path: str | os.PathLike[str], *, create: bool = False):
        self.path = Path(path)
        self._kept = KeptColumns(0)
        self._folder = self.path / "runs"
        # Parts never change, so a footer is read once as long as the file is the same.
        self._cache: dict[str, tuple[tuple[int, ...], dict[str, Any] | Problem]] = {}
        self._checked: dict[str, tuple[int, ...]] = {}
        if create:
            self._check_writable()
        elif not self._folder.is_dir():
            what = "holds no runs" if self.path.is_dir() else "does not exist"
            raise UserError(
                f"results folder {str(self.path)!r} {what}; give the folder that an "
                "evaluation or a sweep wrote to"
            )

    def __repr__(self) -> str:
        return f"ResultStore({str(self.path)!r})"

    def keeping(self, num_bytes: int = 2**30) -> "ResultStore":
        """A reader of the same folder that reads no column twice.

        Args:
            num_bytes: Of the columns of examples and curves that stay in memory,
                read-only; with more, those used longest ago are read again.
        """
        store = ResultStore(self.path)
        store._kept = KeptColumns(num_bytes)
        return store

    def write(self, run: Run) -> Path:
        """Stores a run, whole or not at all.

        A finished run is never replaced: the part that exists stays. A failed one is
        replaced by whatever comes next.

        Returns:
            The part.

        Raises:
            UserError: If the part cannot be written, such as on a full disk.
        """
        return self._write(run)

    def replace(self, run: Run) -> Path:
        """Puts a finished run in the place of the one with the same id, at once.

        For what is computed anew from a run's own columns: a reader sees the old part
        or the new one, whole.

        Raises:
            UserError: If the part cannot be written; the old one stays.
        """
        return self._write(run, replace=True)

    def _write(self, run: Run, *, replace: bool = False) -> Path:
        try:
            return parts.write_part(self._folder, run, replace=replace)
        except OSError as error:
            raise UserError(
                f"run {run.run_id} cannot be written to {str(self._folder)!r}: "
                f"{error.strerror or error}; make room or rights there and run the "
                "same command again, which does only what is missing"
            ) from error

    def completed(self) -> frozenset[str]:
        """The ids of the runs that are done; a failed or unreadable one is not."""
        return frozenset(
            header["run_id"] for header in self._headers() if header["status"] == "ok"
        )

    @property
    def problems(self) -> tuple[Problem, ...]:
        """The parts that cannot be read, each with the reason."""
        found = self._scan().values()
        return tuple(part for part in found if isinstance(part, Problem))

    def summary(self, kind: str | None = None) -> pa.Table:
        """The scalars of every run, one row each, failed runs included.

        Columns are the union over all runs; a run without a column has null there. The
        core columns and the known settings are always present.

        Args:
            kind: "evaluation" or "trial"; both where None.

        Returns:
            The rows in the order of their file names.
        """
        rows = [header_row(header) for header in self._headers(kind)]
        names = dict.fromkeys([*CORE, *SETTINGS])
        for row in rows:
            names.update(dict.fromkeys(row))
        return pa.table(
            {
                name: arrow_column(name, [row.get(name) for row in rows])
                for name in names
            }
        )

    def to_pandas(self, kind: str | None = None) -> "pandas.DataFrame":
        """`summary` as a pandas data frame.

        Integers and booleans have pandas' nullable types, so that a missing seed does
        not turn the others into floats; a missing float is NaN.

        Raises:
            UserError: If pandas is not installed.
        """
        return frames.to_pandas(self.summary(kind))

    def to_polars(self, kind: str | None = None) -> "polars.DataFrame":
        """`summary` as a polars data frame.

        Raises:
            UserError: If polars is not installed.
        """
        return frames.to_polars(self.summary(kind))

    def metric_names(self) -> tuple[str, ...]:
        """The summary's columns that are metrics, in the order they were written."""
        names = (name for header in self._headers() for name in header["metrics"])
        return tuple(dict.fromkeys(names))

    def read(self, run_id: str) -> Run:
        """A run as it was written, failed ones included."""
        path = self._path(self._header(run_id))
        with _damage(path):
            return parts.read_part(path)

    def examples(
        self, run_id: str, columns: Sequence[str] | None = None
    ) -> dict[str, np.ndarray]:
        """The per-example columns of a finished run.

        Args:
            run_id: The whole id; `find` turns a short form into it.
            columns: Which of them; all where None.

        Returns:
            Arrays [n] by name, row i of each the same example.

        Raises:
            UserError: If the run failed, is unknown, or lacks a column.
        """
        header = self._header(run_id)
        if header["error"]:
            error = header["error"]
            raise UserError(
                f"run {run_id} failed and has no examples: {error['type']}: "
                f"{error['message']}"
            )
        names = list(header["examples"]) if columns is None else list(columns)
        missing = [name for name in names if name not in header["examples"]]
        if missing:
            refusals = [unknown_name("column", n, header["examples"]) for n in missing]
            raise UserError(f"run {run_id}: " + "; ".join(refusals))
        return self._columns(header, names, parts.read_examples)

    def example_names(self, run_id: str) -> tuple[str, ...]:
        """The names of a run's per-example columns; none of a failed run."""
        return tuple(self._header(run_id)["examples"])

    def curves(self, run_id: str) -> dict[str, np.ndarray]:
        """The curves of a trial: arrays [points] by name."""
        header = self._header(run_id)
        return self._columns(header, list(header["curves"]), parts.read_curves)

    def settings(self, run_id: str) -> dict[str, Any]:
        """What a run was made with."""
        return self._header(run_id)["settings"]

    def _columns(
        self, header: dict[str, Any], names: Sequence[str], read: Any
    ) -> dict[str, np.ndarray]:
        """Columns of a part by name; those that are kept are not read again."""
        path = self._path(header)
        with _damage(path):
            place = (path.name, _signature(path.stat()), read.__name__)
            found = {name: self._kept.get((place, name)) for name in names}
            unread = [name for name, array in found.items() if array is None]
            for name, array in read(path, unread).items() if unread else ():
                found[name] = array
                if self._kept.max_bytes:
                    self._kept.put((place, name), array)
        return {name: array for name, array in found.items() if array is not None}

    def find(self, query: str) -> str:
        """The id of the one finished run that a short form means.

        Args:
            query: The beginning of a run id, or `model/dataset`, or
                `trial id/dataset` where several trials trained the model.

        Raises:
            UserError: If none fits, or several do; the message lists them.
        """
        headers = [header for header in self._headers() if header["status"] == "ok"]
        found = [h for h in headers if query and h["run_id"].startswith(query)]
        exact = [header for header in found if header["run_id"] == query]
        found = exact or found or [h for h in headers if query in naming.addresses(h)]
        if len(found) == 1:
            return found[0]["run_id"]
        if found:
            names = [n for n in naming.MODEL_SETTINGS if naming.differs(n, found)]
            listed = found[:_MAX_CANDIDATES]
            shown = "\n".join(naming.describe(header, names) for header in listed)
            more = len(found) - _MAX_CANDIDATES
            rest = f"\n  and {more} more" if more > 0 else ""
            raise UserError(
                f"{query!r} means {len(found)} runs; give the id of one:\n{shown}{rest}"
            )
        known = {header["run_id"] for header in headers}
        known |= {address for header in headers for address in naming.addresses(header)}
        if not known:
            raise UserError(f"{str(self.path)!r} holds no finished run")
        raise UserError(unknown_name("run", query, known))

    def sql(self, query: str) -> pa.Table:
        """Answers a DuckDB query over the views of this store.

        `runs` has one row per run (the columns of `summary`), `examples` one per
        evaluated example (`run_id` and the per-example columns), and `curves` one per
        epoch of a trial (`run_id`, `epoch` from 1, and the curves).

        Raises:
            UserError: With the database's message, if the query cannot be run.
        """
        finished = [
            (self._folder / f"{header['kind']}-{header['run_id']}.parquet", header)
            for header in self._headers()
            if header["status"] == "ok"
        ]
        with connect(query, self.summary(), finished, self._check) as connection:
            return run_query(connection, query)

    def _check(self, paths: Sequence[Path]) -> None:
        """Verifies every byte of some parts, once as long as they are the same."""
        damaged = []
        for path in paths:
            try:
                signature = _signature(path.stat())
                if self._checked.get(path.name) != signature:
                    parts.check_part(path)
                    self._checked[path.name] = signature
            except parts.UNREADABLE as error:
                damaged.append(_damaged(path, error))
        if damaged:
            raise UserError("\n".join(damaged))

    def _check_writable(self) -> None:
        probe = self._folder / f".probe.{os.getpid()}.{secrets.token_hex(4)}.tmp"
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            probe.touch()
            probe.unlink()
            parts.remove_stale(self._folder)
        except OSError as error:
            raise UserError(
                f"results folder {str(self.path)!r} cannot be written: "
                f"{error.strerror or error}; choose another folder or change the "
                "rights of this one"
            ) from error

    def _scan(self) -> dict[str, dict[str, Any] | Problem]:
        """Header or problem of every part, in the order of the file names."""
        cache = {}
        for entry in sorted(os.scandir(self._folder), key=lambda entry: entry.name):
            if not entry.name.endswith(parts.SUFFIX) or entry.name.startswith("."):
                continue
            if (found := self._part(entry.name)) is not None:
                cache[entry.name] = found
        self._cache = cache
        return {name: part for name, (_, part) in cache.items()}

    def _part(
        self, name: str
    ) -> tuple[tuple[int, ...], dict[str, Any] | Problem] | None:
        """A part's signature, and its header or problem, read if it is another file.

        None where there is no such file: another writer may have replaced or moved it.
        """
        try:
            signature = _signature(os.stat(f"{self._folder}/{name}"))
        except FileNotFoundError:
            return None
        known = self._cache.get(name)
        if known is not None and known[0] == signature:
            return known
        part = _read(self._folder / name)
        return None if part is None else (signature, part)

    def _headers(self, kind: str | None = None) -> Iterator[dict[str, Any]]:
        """Headers of the readable parts, a finished run's over its failed ones."""
        headers = [part for part in self._scan().values() if isinstance(part, dict)]
        done = {(h["kind"], h["run_id"]) for h in headers if h["status"] == "ok"}
        for header in headers:
            superseded = header["error"] and (header["kind"], header["run_id"]) in done
            if not superseded and kind in (None, header["kind"]):
                yield header

    def _header(self, run_id: str) -> dict[str, Any]:
        # Looked up by name: a listing for each run makes a page quadratic in runs.
        for suffix in (parts.SUFFIX, parts.FAILED_SUFFIX):
            for kind in KINDS if _RUN_ID.fullmatch(run_id) else ():
                name = f"{kind}-{run_id}{suffix}"
                found = self._part(name)
                if found is not None and isinstance(found[1], dict):
                    self._cache[name] = found
                    return found[1]
        known = [header["run_id"] for header in self._headers()]
        raise UserError(
            unknown_name("run", run_id, known)
            if known
            else f"{str(self.path)!r} holds no run"
        )

    def _path(self, header: dict[str, Any]) -> Path:
        suffix = parts.FAILED_SUFFIX if header["error"] else parts.SUFFIX
        return self._folder / f"{header['kind']}-{header['run_id']}{suffix}"


@contextmanager
def _damage(path: Path) -> Iterator[None]:
    """Turns what a damaged part raises into a `UserError` that names it."""
    try:
        yield
    except parts.UNREADABLE as error:
        raise UserError(_damaged(path, error)) from error


def _signature(stat: os.stat_result) -> tuple[int, ...]:
    return (stat.st_ino, stat.st_size, stat.st_mtime_ns)


def _damaged(path: Path, error: BaseException) -> str:
    return (
        f"{path} is damaged ({parts.describe(error)}); delete it and run the same "
        "command again, which does only what is missing"
    )


def _read(path: Path) -> dict[str, Any] | Problem | None:
    try:
        return parts.header_of(path)
    except FileNotFoundError:
        return None
    except parts.UNREADABLE as error:
        return Problem(path, parts.describe(error))
