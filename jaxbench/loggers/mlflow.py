"""MLflow: one run per model, found again by a tag."""

import itertools
import os
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from urllib.parse import urlparse

# Defaults of the environment, for a server that is gone is not to stop training.
os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "10")
os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1")
os.environ.setdefault("MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT", "true")
# Folders, which MLflow maintains but does not extend, are what it writes without a
# server or a database.
os.environ.setdefault("MLFLOW_ALLOW_FILE_STORE", "true")

from mlflow import MlflowClient
from mlflow.entities import Metric, Param, RunTag
from mlflow.exceptions import MlflowException

from jaxbench.errors import UserError
from jaxbench.loggers.tracker import (
    Point,
    Setting,
    Status,
    Subject,
    TrackedRun,
    grouped,
)

_KEY_TAG, _STEP_TAG = "jaxbench.key", "jaxbench.last_step"
_KIND_TAG = "jaxbench.kind"
# What one request may hold, and the length of a parameter.
_MAX_METRICS, _MAX_PARAMS, _MAX_LENGTH = 1000, 100, 6000


class MLflow:
    """Runs on a server, in a database or in a folder.

    Args:
        uri: As MLFLOW_TRACKING_URI.
    """

    def __init__(self, uri: str) -> None:
        self._uri = uri
        self._experiments: dict[str, str] = {}

    def start(self) -> None:
        """Connects, or makes the folder.

        Raises:
            UserError: If the folder cannot be written, or the URI needs a package that
                is not installed.
        """
        try:
            parts = urlparse(self._uri)
            if parts.scheme in ("", "file"):
                path = Path(parts.path)
                path.mkdir(parents=True, exist_ok=True)
                if not os.access(path, os.W_OK):
                    raise PermissionError(13, "permission denied")
            self._client = MlflowClient(self._uri)
        except (OSError, ImportError, MlflowException) as error:
            raise UserError(
                f"log 'mlflow:{self._uri}' cannot be used: {error}; give another URI, "
                "or install what this one needs"
            ) from error

    def open(self, subject: Subject) -> TrackedRun:
        """Finds the run that has the subject's tag, or creates it."""
        client, experiment = self._client, self._experiment(subject.experiment)
        found = client.search_runs(
            [experiment], f"tags.`{_KEY_TAG}` = '{subject.key}'", max_results=1
        )
        if found:
            run = found[0]
            client.update_run(run.info.run_id, status="RUNNING")
        else:
            tags = {_KEY_TAG: subject.key, _KIND_TAG: subject.kind}
            run = client.create_run(experiment, run_name=subject.name, tags=tags)
        return _Run(client, run)

    def _experiment(self, name: str) -> str:
        if name not in self._experiments:
            found = self._client.get_experiment_by_name(name)
            if found is None:
                try:
                    self._experiments[name] = self._client.create_experiment(name)
                except MlflowException:
                    # Another process made it just now.
                    found = self._client.get_experiment_by_name(name)
                    if found is None:
                        raise
            if found is not None:
                self._experiments[name] = found.experiment_id
        return self._experiments[name]


class _Run:
    def __init__(self, client: MlflowClient, run) -> None:
        self._client, self._id = client, run.info.run_id
        self._params = dict(run.data.params)
        self.last_step = int(run.data.tags.get(_STEP_TAG, -1))

    def settings(self, values: Mapping[str, Setting], group: str) -> None:
        """Logs settings as parameters."""
        # A parameter never changes, so a value that differs later is a tag, and so is
        # the status, which does after a failure.
        for part in _parts(grouped(values, group).items(), _MAX_PARAMS):
            texts = {name: str(value)[:_MAX_LENGTH] for name, value in part}
            known = {name: self._params.get(name, texts[name]) for name in texts}
            fixed = {n: v for n, v in texts.items() if n.rpartition("/")[2] != "status"}
            fixed = {n: v for n, v in fixed.items() if known[n] == v}
            tags = [RunTag(n, v) for n, v in texts.items() if n not in fixed]
            self._params |= fixed
            params = [Param(name, value) for name, value in fixed.items()]
            self._client.log_batch(self._id, params=params, tags=tags)

    def points(self, points: Sequence[Point]) -> None:
        """Logs points of curves as metrics."""
        now = int(time.time() * 1000)
        widest = max((len(values) for _, values in points), default=1)
        for part in _parts(points, max(1, _MAX_METRICS // widest)):
            rows = [Metric(n, v, now, step) for step, vs in part for n, v in vs.items()]
            last = part[-1][0]
            tag = RunTag(_STEP_TAG, str(last))
            self._client.log_batch(self._id, metrics=rows, tags=[tag])
            self.last_step = last

    def metrics(self, values: Mapping[str, float], group: str) -> None:
        """Logs final numbers as metrics of the last step."""
        now, step = int(time.time() * 1000), max(self.last_step, 0)
        named = grouped(values, group)
        rows = [Metric(name, value, now, step) for name, value in named.items()]
        for part in _parts(rows, _MAX_METRICS):
            self._client.log_batch(self._id, metrics=part)

    def file(self, path: Path) -> None:
        """Logs a file as an artifact."""
        self._client.log_artifact(self._id, str(path))

    def close(self, status: Status) -> None:
        """Ends the run with its status."""
        self._client.set_terminated(self._id, status.upper())


def _parts(items: Iterable, size: int) -> Iterator[list]:
    rest = iter(items)
    while part := list(itertools.islice(rest, size)):
        yield part


def make_tracker(target: str) -> MLflow:
    """The tracker of a URI."""
    return MLflow(str(Path(target).expanduser()) if target[0] == "~" else target)
