"""Checkpoints of a population: the one module that knows Orbax.

Its version 1 interface still changes names, and importing it takes seconds, so it is
imported when the first checkpoint is written or found. The leaves are packed into one
array of bytes: Orbax writes a file or two for each array, and for the some hundred
small leaves of a population that took twenty times as long.
"""

import hashlib
import json
import os
import re
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

from jaxbench.errors import UserError

_SETTINGS_FILE = "population.json"
# Two, so that one is whole whatever happens to the other.
_KEPT = 2


class Progress(NamedTuple):
    """What a checkpoint holds.

    Attributes:
        point: Points of the curves that are behind.
        state: The runner's state; NumPy leaves once restored.
        curves: Name to float64 [members, points], NaN where nothing was measured yet.
        seconds: Name to seconds spent so far.
        stopped: Per member, `History.stopped`.
    """

    point: int
    state: Any
    curves: dict[str, np.ndarray]
    seconds: dict[str, float]
    stopped: list[int]


class PopulationCheckpoints:
    """The checkpoints of one population in a folder of their own.

    Saves run in a thread of Orbax; what is being written has another name until it is
    complete. Use as a context manager: leaving it waits for the last save.

    Args:
        folder: Made where it is missing.
        settings: Everything that determines the numbers, as JSON values. A folder that
            was begun with other settings is refused.
        seconds: Least time between two saves; 0 saves after every validation.

    Raises:
        UserError: If the folder holds another population, or cannot be written.
    """

    def __init__(
        self, folder: str | Path, settings: dict[str, Any], *, seconds: float = 10.0
    ) -> None:
        self._folder = Path(folder).absolute()
        self._seconds = seconds
        self._last = time.monotonic()
        self._orbax: Any = None
        self._claim(json.loads(json.dumps(settings)))

    def __enter__(self) -> "PopulationCheckpoints":
        return self

    def __exit__(self, *_: object) -> None:
        if self._orbax is not None:
            self._orbax.close()

    def _claim(self, settings: dict[str, Any]) -> None:
        """Writes the settings beside the checkpoints, or compares with those there."""
        path = self._folder / _SETTINGS_FILE
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            if not path.exists():
                partial = path.with_suffix(f".{os.getpid()}.tmp")
                partial.write_text(json.dumps(settings, indent=2, sort_keys=True))
                partial.replace(path)
            found = json.loads(path.read_text())
        except (OSError, ValueError) as error:
            raise UserError(
                f"checkpoint folder {self._folder} cannot be used ({error}); "
                "give another folder, or delete this one to start afresh"
            ) from error
        names = sorted(settings.keys() | found.keys())
        differing = [
            f"{name} is {found.get(name)!r} there and {settings.get(name)!r} here"
            for name in names
            if found.get(name) != settings.get(name)
        ]
        if differing:
            raise UserError(
                f"checkpoint folder {self._folder} belongs to another population: "
                f"{'; '.join(differing)}; give another folder, or delete this one to "
                "start afresh"
            )

    def _checkpointer(self) -> Any:
        if self._orbax is None:
            from orbax.checkpoint import v1

            policies = v1.training.preservation_policies
            self._orbax = v1.training.Checkpointer(
                str(self._folder),
                preservation_policy=policies.LatestN(_KEPT),  # pyright: ignore[reportArgumentType]
                cleanup_tmp_directories=True,
            )
        return self._orbax

    def save_if_due(self, progress: Callable[[], Progress]) -> bool:
        """Saves unless the last save, or the start, is less than `seconds` ago.

        Args:
            progress: Asked only if a save is due.

        Returns:
            Whether a save was begun.
        """
        if time.monotonic() - self._last < self._seconds:
            return False
        now = progress()
        self._checkpointer().save_async(
            now.point, _pack(now), force=True, overwrite=True
        )
        self._last = time.monotonic()
        return True

    def latest(self, like: Any) -> Progress | None:
        """The newest checkpoint that can be read.

        Args:
            like: A state whose structure, shapes and dtypes the saved one has.

        Returns:
            None where there is none. A damaged checkpoint is passed over with a
            warning, for the one before it or a new start.
        """
        steps = [p for p in self._folder.iterdir() if re.fullmatch(r"\d+", p.name)]
        if not steps:
            return None
        checkpointer = self._checkpointer()
        for found in reversed(checkpointer.checkpoints):
            # What Orbax raises depends on which of its files is damaged, and on its
            # version; the warning carries it.
            try:
                return _unpack(checkpointer.load(found.step), like)
            except Exception as error:
                warnings.warn(
                    f"checkpoint {self._folder / str(found.step)} cannot be read and "
                    f"is passed over: {type(error).__name__}: {error}",
                    RuntimeWarning,
                    stacklevel=2,
                )
        return None


def _pack(progress: Progress) -> dict[str, np.ndarray]:
    leaves = [np.asarray(leaf) for leaf in jax.device_get(_leaves(progress.state))]
    # A copy, so that the training may go on in the buffers that the leaves came from.
    state = np.concatenate([np.frombuffer(leaf.tobytes(), np.uint8) for leaf in leaves])
    header = {
        "point": progress.point,
        "stopped": progress.stopped,
        "seconds": progress.seconds,
        "curves": list(progress.curves),
        "state_digest": _digest(state),
    }
    return {
        "state": state,
        "curves": np.stack(list(progress.curves.values())),
        "header": np.frombuffer(json.dumps(header).encode(), np.uint8),
    }


def _unpack(saved: Any, like: Any) -> Progress:
    header = json.loads(np.asarray(saved["header"]).tobytes())
    state = np.asarray(saved["state"])
    if _digest(state) != header["state_digest"]:
        raise ValueError("the state's bytes are not those that were written")
    curves = dict(zip(header["curves"], np.array(saved["curves"]), strict=True))
    leaves, structure = jax.tree.flatten(like)
    restored, at = [], 0
    for leaf in leaves:
        size = leaf.size * leaf.dtype.itemsize
        part = state[at : at + size].view(leaf.dtype)
        restored.append(part.reshape(leaf.shape))
        at += size
    if at != state.size:
        raise ValueError(f"the state has {state.size} bytes, wanted {at}")
    return Progress(
        header["point"],
        jax.tree.unflatten(structure, restored),
        curves,
        header["seconds"],
        header["stopped"],
    )


def _leaves(state: Any) -> list[Any]:
    return jax.tree.leaves(state)


def _digest(array: np.ndarray) -> str:
    """A fingerprint of an array's bytes."""
    return hashlib.blake2b(array.tobytes(), digest_size=16).hexdigest()
