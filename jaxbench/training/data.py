"""Training images: resident on the device, or streamed through it."""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
from jaxtyping import Int, UInt8

from jaxbench.data import BatchLoader, ImageArrays, Source, take
from jaxbench.data.batches import OnError
from jaxbench.errors import UserError
from model_zoo.input_spec import InputSpec


class TrainingImages(NamedTuple):
    """A training set that fits on the device whole.

    Attributes:
        images: Pixels in [0, 255].
        labels: Classes.
    """

    images: UInt8[np.ndarray, "n h w 3"]
    labels: Int[np.ndarray, " n"]

    @property
    def size(self) -> tuple[int, ...]:
        """Height and width."""
        return self.images.shape[1:3]

    def fingerprint(self) -> str:
        """A digest of every pixel and label."""
        digest = hashlib.blake2b(np.ascontiguousarray(self.images).data, digest_size=16)
        digest.update(np.ascontiguousarray(self.labels).data)
        return digest.hexdigest()


@dataclass(frozen=True, eq=False)
class ImageStream:
    """A training set that is decoded anew in every epoch, by threads, ahead of use.

    All members of a population see the same images in the same step, in an order that
    `seed` decides; each augments them in its own way.

    Attributes:
        source: Where the images are.
        input_spec: Size, crop and filter.
        on_error: What an unreadable image does: "raise" ends the training, "skip" puts
            the first readable image of its batch in its place.
        seed: Of the order.
        num_threads: That decode; one a usable core when None.
        skipped: Ids of what could not be read so far.
    """

    source: Source
    input_spec: InputSpec
    on_error: OnError = "raise"
    seed: int = 0
    num_threads: int | None = None
    skipped: set[str] = field(default_factory=set)

    @property
    def labels(self) -> np.ndarray:
        """Classes of all images."""
        return np.asarray(self.source.labels)

    @property
    def size(self) -> tuple[int, ...]:
        """Height and width."""
        return tuple(self.input_spec.size)

    def fingerprint(self) -> str:
        """The source's, with what decides the pixels and their order."""
        spec = self.input_spec
        made = (spec.size, spec.crop_fraction, spec.crop_mode, spec.interpolation)
        return f"{self.source.fingerprint} {made} {self.seed} {self.on_error}"

    def batches(
        self, rows: Int[np.ndarray, "steps batch"]
    ) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Images uint8 [batch, h, w, 3] and labels int32 [batch] of each step.

        Args:
            rows: Positions in the source.

        Raises:
            UserError: At an unreadable image under `on_error="raise"`, or where no
                image of a batch can be read.
        """
        steps, batch = rows.shape
        if not steps:
            return
        loader = BatchLoader(
            take(self.source, rows.ravel().tolist()),
            self.input_spec,
            batch,
            on_error=self.on_error,
            num_threads=self.num_threads,
        )
        for found in loader:
            valid = np.flatnonzero(found.valid)
            self.skipped.update(skipped.id for skipped in loader.skipped)
            if not len(valid):
                last = loader.skipped[-1]
                raise UserError(
                    f"{self.source.name}: no image of a batch of {batch} can be read; "
                    f"the last: {last.id}: {last.reason}"
                )
            order = np.where(found.valid, np.arange(batch), valid[0])
            yield found.images[order], found.labels[order]


TrainingData = TrainingImages | ImageStream


def training_data(data: TrainingData | ImageArrays) -> TrainingData:
    """Images in memory as training takes them."""
    if isinstance(data, ImageArrays):
        return TrainingImages(data.images, data.labels)
    return data
