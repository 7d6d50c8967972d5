"""Metrics computed anew from the per-example columns of finished runs."""

import dataclasses
import datetime
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np

from jaxbench.engine.summary import summarize_columns, summarize_ood_columns
from jaxbench.errors import UserError, unknown_name
from jaxbench.metrics import OOD_METRICS, SCORE_METRICS, register_metric
from jaxbench.results import ResultStore, Run
from jaxbench.sweeps.claims import claim

# What runs had before they recorded it, unless the experiment file said otherwise.
_DEFAULT_RESAMPLES, _DEFAULT_SEED = 1000, 0
# Stored metrics that show whether a resampling is the one that a run was made with.
_WITNESSES = 5
# Another backend or another version of XLA moves the last digits, no more.
_TOLERANCE: dict[str, float] = {"rtol": 1e-4, "atol": 1e-6}
# What two runs of one model share, whatever they were measured on.
_OWNER = (
    *("model", "weights", "optimizer", "trial_id", "dtype", "zero_shot", "protocol"),
    *("probe_id", "num_neighbors", "image_size", "num_classes", "temperature"),
    "weights_digest",
)


@dataclasses.dataclass(frozen=True)
class Remeasured:
    """What computing metrics anew has changed.

    Attributes:
        num_runs: Runs that were measured anew.
        added: Metrics that some of them did not have.
        moved: The largest change of a stored value, by metric, where there is one.
        refused: Why a run was left as it is, by run id.
    """

    num_runs: int
    added: tuple[str, ...]
    moved: dict[str, float]
    refused: dict[str, str]


class _RefusedError(Exception):
    """A run that cannot be measured anew, and why."""


def remeasure(
    store: ResultStore,
    metrics: Sequence[str] | None = None,
    *,
    num_resamples: int | None = None,
    seed: int | None = None,
) -> Remeasured:
    """Computes metrics of finished evaluations from what is stored, without images.

    A run keeps its id and its columns; its part is replaced whole, with the other
    metrics as they were. Where there are scores at a fitted temperature, metrics at it
    are computed too, and intervals with the resamples that the run was made with. A
    run of an earlier version does not say which these were: the default is taken if it
    gives the intervals that are stored. The same goes for the clean images that
    out-of-distribution ones were compared with.

    Args:
        store: The results.
        metrics: Names; all that there are now when None. Those of `OOD_METRICS` are of
            out-of-distribution datasets, the others of clean and shifted ones.
        num_resamples: Of runs that do not say; not checked against what is stored.
        seed: Of these resamples.

    Raises:
        UserError: If a metric does not exist, or another process does the same.
    """
    for name in metrics or ():
        SCORE_METRICS.find(name, register_metric)
    known = (*SCORE_METRICS, *OOD_METRICS)
    names = tuple(known if metrics is None else dict.fromkeys(metrics))
    if unknown := [name for name in names if name not in known]:
        raise UserError("\n".join(unknown_name("metric", n, known) for n in unknown))
    given = None
    if num_resamples is not None or seed is not None:
        count = _DEFAULT_RESAMPLES if num_resamples is None else num_resamples
        given = (count, seed or _DEFAULT_SEED)
    with claim(Path(store.path) / "locks", "remeasure", wait=False) as ours:
        if not ours:
            raise UserError(f"{store.path}: another process measures its runs anew")
        return _remeasure(store, names, given)


def _remeasure(
    store: ResultStore, names: Sequence[str], given: tuple[int, int] | None
) -> Remeasured:
    rows = store.summary("evaluation").to_pylist()
    rows = [row for row in rows if row["status"] == "ok"]
    added: dict[str, None] = {}
    moved: dict[str, float] = {}
    refused: dict[str, str] = {}
    count = 0
    for row in rows:
        table = OOD_METRICS if row["role"] == "ood" else SCORE_METRICS
        asked = tuple(name for name in names if name in table)
        if not asked:
            continue
        run = store.read(row["run_id"])
        try:
            new, settings = _measured(store, rows, row, run, asked, given)
        except _RefusedError as error:
            refused[run.run_id] = str(error)
            continue
        added |= dict.fromkeys(name for name in asked if name not in run.metrics)
        for name, change in _changes(run.metrics, new):
            moved[name] = max(moved.get(name, 0.0), change)
        now = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
        changed = {
            "metrics": run.metrics | new,
            "settings": run.settings | settings,
            "provenance": run.provenance | {"remeasured_at": now},
        }
        store.replace(dataclasses.replace(run, **changed))
        count += 1
    return Remeasured(count, tuple(added), moved, refused)


def _measured(
    store: ResultStore,
    rows: Sequence[Mapping[str, Any]],
    row: Mapping[str, Any],
    run: Run,
    asked: Sequence[str],
    given: tuple[int, int] | None,
) -> tuple[dict[str, float], dict[str, Any]]:
    """The metrics of a run, and the settings that they were computed with."""
    count, seed = (run.settings.get(n) for n in ("num_resamples", "resampling_seed"))
    sampled = any(name.endswith("_low") for name in run.metrics)
    default = (_DEFAULT_RESAMPLES if sampled else 0, _DEFAULT_SEED)
    certain = given is not None
    if count is None or seed is None:
        count, seed = given or default
    else:
        certain = True
    resampling = {"num_resamples": count, "key": jax.random.key(seed)}
    settings = {"num_resamples": count, "resampling_seed": seed}
    if row["role"] == "ood":
        reference, found = _against_clean(store, rows, row, run, resampling)
        settings["reference_dataset"] = reference
    else:
        witnesses = [name for name in SCORE_METRICS if name in run.metrics]
        names = dict.fromkeys([*asked, *witnesses[:_WITNESSES]])
        found = summarize_columns(run.examples, tuple(names), **resampling)
    if not certain and not _agree(run.metrics, found, ends=True):
        raise _RefusedError(
            f"its intervals are not those of {count} resamples with the seed {seed}; "
            "give --resamples and --seed as they were"
        )
    endings = ("", "_low", "_high")
    wanted = {f"{n}{t}{e}" for n in asked for t in ("", "_ts") for e in endings}
    return {name: found[name] for name in found if name in wanted}, settings


def _against_clean(
    store: ResultStore,
    rows: Sequence[Mapping[str, Any]],
    row: Mapping[str, Any],
    run: Run,
    resampling: dict[str, Any],
) -> tuple[str, dict[str, float]]:
    """The clean dataset that a run was compared with, and its metrics against it."""
    recorded = row.get("reference_dataset")
    clean = [
        other
        for other in rows
        if other["role"] == "clean"
        and all(other.get(name) == row.get(name) for name in _OWNER)
        and recorded in (None, other["dataset"])
    ]
    for other in clean:
        columns = store.examples(other["run_id"])
        found = summarize_ood_columns(columns, run.examples, **resampling)
        if _agree(run.metrics, found, ends=False):
            return other["dataset"], found
    raise _RefusedError(
        f"none of the model's {len(clean)} clean runs in this folder gives what is "
        f"stored of {row['dataset']}"
    )


def _agree(
    stored: Mapping[str, Any], found: Mapping[str, float], *, ends: bool
) -> bool:
    """Whether most stored values are found again: one may have a new definition.

    Args:
        stored: Metrics of the run.
        found: The same, computed anew.
        ends: Whether to compare the ends of intervals, or all but these.
    """
    verdicts = []
    for name in stored.keys() & found.keys():
        is_end = name.endswith(("_low", "_high"))
        base = name.removesuffix("_low").removesuffix("_high")
        # An interval without width is the same under any resampling.
        flat = is_end and stored.get(f"{base}_low") == stored.get(f"{base}_high")
        if is_end == ends and not flat:
            verdicts.append(_close(stored[name], found[name]))
    return not verdicts or 2 * sum(verdicts) > len(verdicts)


def _changes(
    stored: Mapping[str, Any], new: Mapping[str, float]
) -> Iterable[tuple[str, float]]:
    for name, value in new.items():
        if name in stored and not _close(stored[name], value):
            base = name.removesuffix("_low").removesuffix("_high")
            yield base, abs(value - stored[name])


def _close(a: float, b: float) -> bool:
    return bool(np.isclose(a, b, **_TOLERANCE, equal_nan=True))
