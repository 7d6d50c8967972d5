"""Where an evaluation's batches come from: a source on disk, or images in memory."""

from collections.abc import Iterator

import numpy as np

from jaxbench.data.batches import Batch, BatchLoader, ImageArrays, Skipped
from jaxbench.data.source import Source
from model_zoo import InputSpec

Dataset = Source | ImageArrays


class ArrayBatches:
    """Batches of images that are in memory and already have the model's size."""

    def __init__(
        self, arrays: ImageArrays, batch_size: int, *, share: tuple[int, int] = (0, 1)
    ) -> None:
        self.arrays = arrays
        self.batch_size = batch_size
        self.share = share
        self.skipped: list[Skipped] = []

    def __len__(self) -> int:
        return -(-len(self.arrays.images) // self.batch_size)

    def __iter__(self) -> Iterator[Batch]:
        index, count = self.share
        rows = self.batch_size // count
        for number in range(len(self)):
            start = number * self.batch_size + index * rows
            yield self._batch(slice(start, start + rows), rows)

    def _batch(self, part: slice, rows: int) -> Batch:
        images = self.arrays.images[part]
        labels = self.arrays.labels[part]
        missing = rows - len(images)
        if missing:
            images = np.concatenate(
                [images, np.zeros((missing, *self.arrays.images.shape[1:]), np.uint8)]
            )
            labels = np.concatenate([labels, np.zeros(missing, labels.dtype)])
        return Batch(
            images=images,
            labels=labels.astype(np.int32),
            valid=np.arange(rows) < rows - missing,
            ids=(*self.arrays.ids[part], *[""] * missing),
        )


def open_batches(
    dataset: Dataset,
    spec: InputSpec,
    batch_size: int,
    *,
    on_error: str,
    share: tuple[int, int],
    num_threads: int | None = None,
) -> BatchLoader | ArrayBatches:
    """Opens one pass over a dataset.

    Args:
        dataset: A source, whose images are decoded, resized and cropped as `spec`
            says; or images in memory, which must have that size.
        spec: The model's input.
        batch_size: Rows of a batch over all processes.
        on_error: "raise" or "skip".
        share: (index, count) of this process's part of every batch.
        num_threads: That decode a source; one a usable core when None.

    Raises:
        ValueError: If images in memory have another size than the model takes.
    """
    if not isinstance(dataset, ImageArrays):
        return BatchLoader(
            dataset,
            spec,
            batch_size,
            on_error=on_error,  # pyright: ignore[reportArgumentType]
            shard_index=share[0],
            shard_count=share[1],
            num_threads=num_threads,
        )
    came, wanted = dataset.images.shape[1:], (*spec.size, 3)
    if came != wanted:
        raise ValueError(
            f"images in memory are {came}, the model takes {wanted}; load them with "
            "load_images(source, model.input_spec)"
        )
    return ArrayBatches(dataset, batch_size, share=share)
