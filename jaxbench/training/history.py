"""What is written down while a population trains."""

from collections.abc import Mapping, Sequence

import numpy as np

from jaxbench.training.specs import SOUND

# Name to float64 [members, points].
Curves = dict[str, np.ndarray]


class History:
    """Curves, divergences, stops and times of a population.

    Attributes:
        stops: Steps gone by at each point of a curve, increasing.
        curves: NaN where nothing was measured.
        diverged: Per member, its `diverged_step`, or `SOUND`.
        stopped: Per member, the step at which it was stopped early, or `SOUND`.
        seconds: Spent on compilation, training and validation.
    """

    def __init__(self, num_members: int, stops: Sequence[int]) -> None:
        self.stops = np.asarray(stops)
        self._num_members = num_members
        self.curves: Curves = {"train_loss": self._blank(), "seconds": self._blank()}
        self.diverged = np.full(num_members, SOUND, np.int32)
        self.stopped = np.full(num_members, SOUND, np.int32)
        self.seconds = {
            "compile_seconds": 0.0,
            "train_seconds": 0.0,
            "validate_seconds": 0.0,
        }

    def _blank(self) -> np.ndarray:
        return np.full((self._num_members, len(self.stops)), np.nan)

    def active(self) -> Sequence[int]:
        """Members that neither diverged nor were stopped."""
        going = (self.diverged == SOUND) & (self.stopped == SOUND)
        return np.flatnonzero(going).tolist()

    def trained(
        self, point: int, active: Sequence[int], diverged, loss_sums, seconds: float
    ) -> None:
        """Notes the outcome of the steps up to a point.

        Args:
            point: Its index.
            active: Members that were trained.
            diverged: Their `diverged_step`, of all members.
            loss_sums: Since the point before, of all members.
            seconds: That the steps took, all members together.
        """
        begin = self.stops[point - 1] if point else 0
        self.seconds["train_seconds"] += seconds
        before = self.curves["seconds"][:, point - 1] if point else 0.0
        share = np.full(self._num_members, np.nan)
        share[list(active)] = seconds / len(active)
        self.curves["seconds"][:, point] = before + share
        self.diverged = diverged
        sound = np.zeros(self._num_members, bool)
        sound[list(active)] = True
        sound &= diverged == SOUND
        losses = loss_sums / (self.stops[point] - begin)
        self.curves["train_loss"][sound, point] = losses[sound]

    def validated(self, point: int, member: int, numbers: Mapping[str, float]) -> None:
        """Notes what `validate` gave for a member."""
        for name, value in numbers.items():
            curve = f"val_{name}"
            if curve not in self.curves:
                self.curves[curve] = self._blank()
            self.curves[curve][member, point] = value

    def stop(self, members: Sequence[int], point: int) -> None:
        """Notes that members are trained no longer."""
        self.stopped[list(members)] = self.stops[point]

    def until(self, point: int) -> Curves:
        """The curves up to and including a point, as copies, and their steps."""
        steps = np.float64(self.stops[: point + 1])
        return {
            "step": np.tile(steps, (self._num_members, 1)),
            **{n: curve[:, : point + 1].copy() for n, curve in self.curves.items()},
        }

    @property
    def diverged_step(self) -> tuple[int | None, ...]:
        """Per member, the step at which it diverged."""
        return _or_none(self.diverged)

    @property
    def stopped_step(self) -> tuple[int | None, ...]:
        """Per member, the step at which it was stopped early."""
        return _or_none(self.stopped)

    def timing(self, batch_size: int) -> dict[str, float]:
        """Seconds, steps and images per second."""
        # What was trained is what has a time: members are trained from point to point.
        lengths = np.diff(self.stops, prepend=0)
        steps = int((np.isfinite(self.curves["seconds"]) * lengths).sum())
        # A population that a checkpoint finished took no time that is known.
        seconds = self.seconds["train_seconds"] or np.nan
        return {
            **self.seconds,
            "steps": float(steps),
            "steps_per_second": steps / seconds,
            "images_per_second": steps * batch_size / seconds,
        }


def _or_none(steps: np.ndarray) -> tuple[int | None, ...]:
    return tuple(None if step == SOUND else step for step in steps.tolist())
