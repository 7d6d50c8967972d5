"""Logs what a sweep reports to a tracker, whichever it is."""

import logging
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import wraps
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from jaxbench.errors import UserError, unknown_name
from jaxbench.loggers.tracker import (
    OF_DATASET,
    Point,
    Setting,
    Status,
    Subject,
    TrackedRun,
    Tracker,
    plain,
    subject_of,
    trial_subject,
)
from jaxbench.results import Run, run_digest
from jaxbench.sweeps.listener import Listener

_log = logging.getLogger(__name__)

# Kind to the package that its extra installs, and what follows the colon.
KINDS = {
    "tensorboard": ("tensorboardX", "DIR"),
    "wandb": ("wandb", "PROJECT"),
    "mlflow": ("mlflow", "URI"),
}
# More members of a population than these are logged when they are finished.
_MAX_OPEN = 64


@dataclass
class _Open:
    """A tracker's run, what it knows, and what becomes of it if it is closed now."""

    tracked: TrackedRun
    status: Status = "finished"
    settings: dict[str, Setting] = field(default_factory=dict)


class Logger:
    """Follows a sweep and logs it to one tracker.

    A tracker that fails is given up with one warning: it never stops a sweep.

    Args:
        place: Such as "wandb:project", for messages.
        tracker: Where to log to.
        experiment: Name of the experiment.
    """

    def __init__(self, place: str, tracker: Tracker, experiment: str) -> None:
        self._place, self._tracker, self._experiment = place, tracker, experiment
        self._failed = False
        self._open: dict[str, _Open] = {}
        # Name of a dataset in the tracker to its address.
        self._addresses: dict[str, str] = {}
        self.start = self._guarded(tracker.start)
        self.file = self._guarded(self._file)
        self.close = self._guarded(self._close)
        self.listener = Listener(
            finished=self._guarded(self._finished), curves=self._guarded(self._curves)
        )

    def _guarded(self, log: Callable[..., None]) -> Callable[..., None]:
        @wraps(log)
        def guarded(*arguments: Any) -> None:
            if self._failed:
                return
            try:
                log(*arguments)
            except UserError:
                raise
            except Exception as error:
                self._failed = True
                reason = str(error).strip().partition("\n")[0] or type(error).__name__
                _log.warning(
                    "nothing more is logged to %s: %s; results are stored as before",
                    self._place,
                    reason,
                )

        return guarded

    def _finished(self, run: Run) -> None:
        subject, settings = subject_of(run), _settings(run.settings)
        opened = self._opened(subject)
        opened.status = "finished" if run.error is None else "failed"
        outcome: dict[str, Setting] = {"run_id": run.run_id, "status": run.status}
        if run.error is not None:
            outcome["status"] = f"failed: {run.error.type}: {run.error.message}"
        if run.kind == "trial":
            self._log_settings(opened, settings | outcome)
            opened.tracked.points(list(_missing(run.curves, opened.tracked)))
            opened.tracked.metrics(run.metrics, "final")
            opened.tracked.metrics(run.timing, "timing")
            return
        group = self._name(str(settings.get("dataset", "")))
        of_dataset = {n: v for n, v in settings.items() if n in OF_DATASET}
        of_model = {n: v for n, v in settings.items() if n not in OF_DATASET}
        self._log_settings(opened, of_model)
        opened.tracked.settings(of_dataset | outcome, group)
        opened.tracked.metrics(run.metrics, group)

    def _curves(
        self, trial_id: str, settings: Mapping[str, Any], curves: Mapping[str, Any]
    ) -> None:
        training = [key for key, run in self._open.items() if run.status == "killed"]
        if trial_id not in self._open and len(training) >= _MAX_OPEN:
            return
        opened = self._opened(trial_subject(trial_id, settings, self._experiment))
        points = list(_missing(curves, opened.tracked))
        # None for a finished trial that trains again because its weights are lost.
        if not points:
            return
        opened.status = "killed"
        if opened.tracked.last_step < 0:
            self._log_settings(opened, _settings(settings))
        opened.tracked.points(points)

    def _log_settings(self, opened: _Open, settings: Mapping[str, Setting]) -> None:
        known = opened.settings
        new = {n: v for n, v in settings.items() if known.get(n) != v}
        if new:
            known.update(new)
            opened.tracked.settings(new, "")

    def _opened(self, subject: Subject) -> _Open:
        """The run of a subject, opened if it is not.

        Trackers hold threads or connections for open runs, so if there are many, the
        one that was used longest ago is closed: one that does not train, if possible.
        """
        opened = self._open.pop(subject.key, None)
        if opened is None:
            if len(self._open) >= _MAX_OPEN:
                idle = (k for k, run in self._open.items() if run.status != "killed")
                oldest = self._open.pop(next(idle, next(iter(self._open))))
                oldest.tracked.close(oldest.status)
            opened = _Open(self._tracker.open(subject))
        self._open[subject.key] = opened
        return opened

    def _name(self, address: str) -> str:
        """A dataset's name in the tracker."""
        name = plain(address)
        if self._addresses.setdefault(name, address) != address:
            name = f"{name}-{run_digest({'address': address})[:8]}"
        return name

    def _file(self, path: Path) -> None:
        """Keeps a report or a page of a study with the experiment."""
        key = run_digest({"report": self._experiment})
        subject = Subject(key, self._experiment, self._experiment, "report")
        self._opened(subject).tracked.file(path)

    def _close(self) -> None:
        while self._open:
            opened = self._open.pop(next(iter(self._open)))
            opened.tracked.close(opened.status)


def _settings(settings: Mapping[str, Any]) -> dict[str, Setting]:
    return {name: value for name, value in settings.items() if value is not None}


def _missing(curves: Mapping[str, Any], tracked: TrackedRun) -> Iterator[Point]:
    """The points that a tracker lacks; those without a number are none."""
    if not curves:
        return
    named = {name: np.asarray(c) for name, c in curves.items() if name != "step"}
    length = len(next(iter(curves.values())))
    # Contrastive curves have a point for every draw, counted from 1.
    steps = np.asarray(curves.get("step", np.arange(1, length + 1))).astype(int)
    for point in np.flatnonzero(steps > tracked.last_step):
        values = {name: float(curve[point]) for name, curve in named.items()}
        values = {name: value for name, value in values.items() if math.isfinite(value)}
        if values:
            yield int(steps[point]), values


class Loggers:
    """The loggers of an experiment, as a context: started, and closed at its end."""

    def __init__(self, loggers: Sequence[Logger]) -> None:
        self._loggers = loggers

    @property
    def listeners(self) -> list[Listener]:
        """One for each."""
        return [logger.listener for logger in self._loggers]

    def file(self, path: Path) -> None:
        """Keeps a report or a page of a study with the experiment in every tracker."""
        for logger in self._loggers:
            logger.file(path)

    def __enter__(self) -> "Loggers":
        """Gets the trackers ready.

        Raises:
            UserError: If one cannot be used.
        """
        for logger in self._loggers:
            logger.start()
        return self

    def __exit__(self, *_: object) -> None:
        for logger in self._loggers:
            logger.close()


def make_loggers(places: Sequence[str], experiment: str) -> Loggers:
    """The loggers that places name; nothing is written or connected yet.

    Args:
        places: Such as "tensorboard:DIR", "wandb:PROJECT" and "mlflow:URI".
        experiment: Name of the experiment.

    Raises:
        UserError: If a place is not of this form, or its package is not installed; all
            such are named.
    """
    loggers, problems = [], []
    for place in dict.fromkeys(places):
        try:
            loggers.append(Logger(place, _tracker(place), experiment))
        except UserError as error:
            problems.append(str(error))
    if problems:
        raise UserError("\n".join(problems))
    return Loggers(loggers)


def _tracker(place: str) -> Tracker:
    kind, _, target = place.partition(":")
    if kind not in KINDS:
        raise UserError(f"log {place!r}: {unknown_name('tracker', kind, KINDS)}")
    package, what = KINDS[kind]
    if not target:
        raise UserError(f"log {place!r} does not say where to; give {kind}:{what}")
    _import(package, place, kind)
    return import_module(f"jaxbench.loggers.{kind}").make_tracker(target)


def _import(package: str, place: str, extra: str) -> ModuleType:
    try:
        return import_module(package)
    except ImportError as error:
        raise UserError(
            f"log {place!r} needs the package {package}, which cannot be imported "
            f"({error}); install it: pip install 'jaxbench[{extra}]'"
        ) from error
