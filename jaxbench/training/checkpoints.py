"""Checkpoints of a population: the one module that knows Orbax.

Its version 1 interface still changes names, and importing it takes seconds, so it is
imported when the first checkpoint is written or found. The leaves are packed into one
array of bytes: Orbax writes a file or two for each array, and for the some hundred
small leaves of a population that took twenty times as long.
"""

import hashlib
import json
import re
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

from jaxbench.errors import UserError
from jaxbench.files import move_aside, written_whole

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
        self._settings = _digest(_canonical(settings))
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            found = _read_settings(path)
            if found is None:
                found = settings
                content = {"settings": settings, "digest": self._settings}
                with written_whole(path) as temporary:
                    temporary.write_text(json.dumps(content, indent=2, sort_keys=True))
        except OSError as error:
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
            now.point, _pack(now, self._settings), force=True, overwrite=True
        )
        self._last = time.monotonic()
        return True

    def latest(self, like: Any) -> Progress | None:
        """The newest checkpoint that can be read.

        Args:
            like: A state whose structure, shapes and dtypes the saved one has.

        Returns:
            None where there is none. A damaged checkpoint, or one of other settings,
            is passed over with a warning, for the one before it or a new start.
        """
        names = (path.name for path in self._folder.iterdir())
        steps = {int(name) for name in names if re.fullmatch(r"\d+", name)}
        if not steps:
            return None
        checkpointer = self._checkpointer()
        known = list(checkpointer.checkpoints)
        if lost := sorted(steps - {found.step for found in known}):
            warnings.warn(
                f"checkpoints {lost} in {self._folder} are not recognised and are "
                "passed over",
                RuntimeWarning,
                stacklevel=2,
            )
        for found in reversed(known):
            # What Orbax raises depends on which of its files is damaged, and on its
            # version; the warning carries it.
            try:
                return _unpack(checkpointer.load(found.step), like, self._settings)
            except Exception as error:
                warnings.warn(
                    f"checkpoint {self._folder / str(found.step)} cannot be read and "
                    f"is passed over: {type(error).__name__}: {error}",
                    RuntimeWarning,
                    stacklevel=2,
                )
        return None


def _read_settings(path: Path) -> dict[str, Any] | None:
    """The settings in a file; None where there is none, or it is damaged.

    A damaged one is moved aside. The checkpoints beside it hold the digest of their
    settings, so that it says nothing that they do not.
    """
    try:
        content = json.loads(path.read_bytes())
        if content["digest"] != _digest(_canonical(content["settings"])):
            raise ValueError("its content is not what was written")
        return content["settings"]
    except FileNotFoundError:
        return None
    except (ValueError, KeyError, TypeError) as error:
        aside = move_aside(path)
        warnings.warn(
            f"{path} is damaged, or of an earlier version ({error}), and was moved to "
            f"{aside.name}",
            RuntimeWarning,
            stacklevel=4,
        )
        return None


def _canonical(values: Any) -> bytes:
    return json.dumps(values, sort_keys=True).encode()


def _pack(progress: Progress, settings: str) -> dict[str, np.ndarray]:
    leaves = [np.asarray(leaf) for leaf in jax.device_get(_leaves(progress.state))]
    # A copy, so that the training may go on in the buffers that the leaves came from.
    state = np.concatenate([np.frombuffer(leaf.tobytes(), np.uint8) for leaf in leaves])
    curves = np.stack(list(progress.curves.values()))
    header = {
        "point": progress.point,
        "stopped": progress.stopped,
        "seconds": progress.seconds,
        "curves": list(progress.curves),
        "settings": settings,
        "arrays": _arrays_digest(state, curves),
    }
    text = _canonical(header)
    return {
        "state": state,
        "curves": curves,
        "header": np.frombuffer(text, np.uint8),
        "digest": np.frombuffer(_digest(text).encode(), np.uint8),
    }


def _unpack(saved: Any, like: Any, settings: str) -> Progress:
    text = np.asarray(saved["header"]).tobytes()
    if _digest(text).encode() != np.asarray(saved["digest"]).tobytes():
        raise ValueError("the header's bytes are not those that were written")
    header = json.loads(text)
    if header["settings"] != settings:
        raise ValueError("it is of another population")
    state, curves = np.asarray(saved["state"]), np.asarray(saved["curves"])
    if _arrays_digest(state, curves) != header["arrays"]:
        raise ValueError("the arrays' bytes are not those that were written")
    named = dict(zip(header["curves"], np.array(curves), strict=True))
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
        named,
        header["seconds"],
        header["stopped"],
    )


def _leaves(state: Any) -> list[Any]:
    return jax.tree.leaves(state)


def _arrays_digest(state: np.ndarray, curves: np.ndarray) -> str:
    about = f"{state.dtype} {curves.shape} {curves.dtype} "
    return _digest(about.encode(), state.data, np.ascontiguousarray(curves).data)


def _digest(*parts: bytes | memoryview) -> str:
    found = hashlib.blake2b(digest_size=16)
    for part in parts:
        found.update(part)
    return found.hexdigest()
