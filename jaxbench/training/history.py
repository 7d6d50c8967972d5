"""What is written down while a population trains."""

from collections.abc import Mapping, Sequence

import numpy as np

from jaxbench.training.steps import SOUND

# Name to float64 [members, epochs].
Curves = dict[str, np.ndarray]


class History:
    """Curves, divergences and times of a population.

    Attributes:
        epochs: Length of a curve.
        curves: NaN where nothing was measured.
        diverged: Per member, its `diverged_step`, or `SOUND`.
        seconds: Spent on compilation, training and validation.
    """

    def __init__(self, num_members: int, epochs: int) -> None:
        self.epochs = epochs
        self.curves: Curves = {"train_loss": self._blank(num_members)}
        self.diverged = np.full(num_members, SOUND, np.int32)
        self.seconds = {
            "compile_seconds": 0.0,
            "train_seconds": 0.0,
            "validate_seconds": 0.0,
        }

    def _blank(self, num_members: int) -> np.ndarray:
        return np.full((num_members, self.epochs), np.nan)

    def sound_members(self) -> Sequence[int]:
        """Members that have not diverged."""
        return np.flatnonzero(self.diverged == SOUND).tolist()

    def record(self, epoch: int, diverged: np.ndarray, losses: np.ndarray) -> None:
        """Notes an epoch's outcome; the losses of diverged members stay NaN."""
        self.diverged = diverged
        sound = diverged == SOUND
        self.curves["train_loss"][sound, epoch] = losses[sound]

    def validated(self, epoch: int, member: int, numbers: Mapping[str, float]) -> None:
        """Notes what `validate` gave for a member."""
        for name, value in numbers.items():
            curve = f"val_{name}"
            if curve not in self.curves:
                self.curves[curve] = self._blank(len(self.diverged))
            self.curves[curve][member, epoch] = value

    def until(self, epoch: int) -> Curves:
        """The curves up to and including an epoch, as copies."""
        return {
            name: curve[:, : epoch + 1].copy() for name, curve in self.curves.items()
        }

    @property
    def diverged_step(self) -> tuple[int | None, ...]:
        """Per member, the step at which it diverged."""
        steps = self.diverged.tolist()
        return tuple(None if step == SOUND else step for step in steps)

    def timing(self, steps_per_epoch: int, batch_size: int) -> dict[str, float]:
        """Seconds, steps and images per second."""
        # A member trained in the epochs up to the one in which it diverged.
        trained = np.where(
            self.diverged == SOUND,
            self.epochs,
            self.diverged // steps_per_epoch + 1,
        )
        steps = int(trained.sum()) * steps_per_epoch
        seconds = self.seconds["train_seconds"]
        return {
            **self.seconds,
            "steps": float(steps),
            "images_per_second": steps * batch_size / seconds,
        }
