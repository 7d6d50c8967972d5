"""The short forms that name a run, and its description in one line."""

import re
from collections.abc import Iterable
from typing import Any

# What distinguishes runs of one model on one dataset, beside how it was trained.
MODEL_SETTINGS = (
    *("weights", "dtype", "image_size", "crop_fraction", "interpolation"),
    *("class_order", "protocol", "num_neighbors"),
)


def addresses(header: dict[str, Any]) -> tuple[str, ...]:
    """`model/dataset`, and `trial id/dataset` where a trial made the weights."""
    settings = header["settings"]
    names = (settings.get("model"), settings.get("trial_id"))
    return tuple(f"{name}/{settings.get('dataset')}" for name in names if name)


def differs(name: str, headers: list[dict[str, Any]]) -> bool:
    """Whether a setting has several values among some runs."""
    return len({header["settings"].get(name) for header in headers}) > 1


def describe(header: dict[str, Any], names: Iterable[str]) -> str:
    """A run on one line, with those of `names` that are set."""
    shown = ("model", "dataset", "optimizer", "learning_rate", "weight_decay", "seed")
    shown += tuple(names)
    settings = header["settings"]
    pairs = [f"{n}={settings[n]}" for n in shown if settings.get(n) is not None]
    short = re.sub(r"^(.{12}).+", r"\1", header["run_id"])
    return f"  {short}  {header['kind']} {' '.join(pairs)}"
