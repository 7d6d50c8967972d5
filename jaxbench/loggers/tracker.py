"""What a tracker has to do, whichever it is; and what its runs are called.

A tracker's run is one model: a trial with its curves, or a pretrained classifier. Its
evaluations go into the same run, each under the name of its dataset, so that a
tracker's table has one row per model.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol, runtime_checkable

from jaxbench.results import Run, run_digest

Setting = str | int | float | bool
Status = Literal["finished", "failed", "killed"]
# Step, and the numbers of that step by name.
Point = tuple[int, Mapping[str, float]]

# Settings of an evaluation that describe its dataset, not its model.
OF_DATASET = frozenset(
    {
        *("dataset", "role", "reference_dataset", "batch_size", "num_devices"),
        *("num_examples", "num_published", "num_skipped", "num_nonfinite"),
        *("num_resamples", "resampling_seed", "temperature", "peak_memory_source"),
    }
)
_LONGEST = 100
# What identifies a model that was not trained here.
_OF_MODEL = (
    *("model", "weights", "network_changes", "dtype", "zero_shot", "class_order"),
    *("image_size", "crop_fraction", "interpolation"),
)


@dataclass(frozen=True)
class Subject:
    """What a tracker's run is about.

    Attributes:
        key: The same on every machine and after every interruption: letters and digits.
        name: For people; a long one is shortened.
        experiment: Name of the experiment, likewise.
        kind: "training", "evaluation" or "report".
    """

    key: str
    name: str
    experiment: str
    kind: Literal["training", "evaluation", "report"]

    def __post_init__(self) -> None:
        for name in ("name", "experiment"):
            object.__setattr__(self, name, shortened(getattr(self, name)))


@runtime_checkable
class TrackedRun(Protocol):
    """A run that a tracker has open.

    Attributes:
        last_step: The last step of a curve that the tracker has; -1 if none.
    """

    last_step: int

    def settings(self, values: Mapping[str, Setting], group: str) -> None:
        """Logs settings, under the group's name unless it is empty."""
        ...

    def points(self, points: Sequence[Point]) -> None:
        """Logs points of curves, in the order of their steps, all after `last_step`."""
        ...

    def metrics(self, values: Mapping[str, float], group: str) -> None:
        """Logs final numbers under the group's name."""
        ...

    def file(self, path: Path) -> None:
        """Keeps a file with the run."""
        ...

    def close(self, status: Status) -> None:
        """Ends the run; it may be opened again."""
        ...


@runtime_checkable
class Tracker(Protocol):
    """One place that runs are logged to."""

    def start(self) -> None:
        """Gets ready.

        Raises:
            UserError: If the place cannot be used, whatever happens later.
        """
        ...

    def open(self, subject: Subject) -> TrackedRun:
        """Opens the run of a subject: the one that exists, or a new one."""
        ...


def subject_of(run: Run) -> Subject:
    """The model that a run belongs to."""
    settings, experiment = run.settings, str(run.settings.get("experiment", ""))
    key = settings.get("trial_id") or settings.get("probe_id")
    if run.kind == "trial":
        return trial_subject(run.run_id, settings, experiment)
    if settings.get("trial_id"):
        return trial_subject(str(key), settings, experiment)
    if key is None:
        key = run_digest({name: settings.get(name) for name in _OF_MODEL})
    parts = [str(settings.get("model", "")), _weights(settings.get("weights"))]
    parts += [str(settings.get("protocol") or "")]
    if settings.get("num_neighbors"):
        parts.append(f"k{settings['num_neighbors']}")
    return Subject(str(key), " ".join(filter(None, parts)), experiment, "evaluation")


def trial_subject(key: str, settings: Mapping[str, Any], experiment: str) -> Subject:
    """A trial, from the settings that set it apart."""
    parts = [str(settings.get(name, "")) for name in ("model", "optimizer")]
    for name, short in (("learning_rate", "lr"), ("weight_decay", "wd")):
        if isinstance(settings.get(name), int | float):
            parts.append(f"{short}{settings[name]:g}")
    if "seed" in settings:
        parts.append(f"seed{settings['seed']}")
    return Subject(key, " ".join(filter(None, parts)), experiment, "training")


def _weights(weights: Any) -> str:
    text = str(weights or "")
    return "" if text == "pretrained" else text.rstrip("/").rpartition("/")[2]


def shortened(name: str) -> str:
    """A name that no tracker refuses: a long one is cut and ends with its digest.

    W&B takes 128 characters.
    """
    if len(name) <= _LONGEST:
        return name
    return f"{name[: _LONGEST - 9]}-{run_digest({'name': name})[:8]}"


def plain(name: str) -> str:
    """A name in letters, digits, dots, dashes and underscores, shortened."""
    return shortened(re.sub(r"[^A-Za-z0-9.-]+", "_", name).strip("_.") or "unnamed")


def grouped(values: Mapping[str, Any], group: str) -> dict[str, Any]:
    """The values with their group before their names."""
    return {f"{group}/{k}" if group else k: value for k, value in values.items()}
