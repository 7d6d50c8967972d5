"""Batches of one fixed shape, decoded in threads, and whole datasets as one array."""

import os
from collections.abc import Generator, Iterator
from typing import Any, Literal, NamedTuple, get_args

import numpy as np
from jaxtyping import Bool, Int32, UInt8

from jaxbench.data.decoded import (
    DecodedSource,
    decoded_geometry,
    flush_decoded,
    geometry,
)
from jaxbench.data.preparing import preparing
from jaxbench.data.scoring import Scoring, scoring_of
from jaxbench.data.source import DecodeError, Source, memory_bytes
from jaxbench.errors import UserError, counted
from model_zoo.input_spec import InputSpec

OnError = Literal["raise", "skip"]
# Decoded images that wait for the consumer, per thread: bounds the memory.
_AHEAD_PER_THREAD = 16


class Batch(NamedTuple):
    """Rows of one fixed shape; only those marked `valid` hold an example.

    Attributes:
        images: Resized and cropped, not normalised.
        labels: Class of each row; 0 for padding.
        valid: False where the row pads the last batch or could not be read.
        ids: Identity of each row's example; "" where the row is padding.
    """

    images: UInt8[np.ndarray, "b h w 3"]
    labels: Int32[np.ndarray, " b"]
    valid: Bool[np.ndarray, " b"]
    ids: tuple[str, ...]


class Skipped(NamedTuple):
    """An example that could not be read, and why."""

    id: str
    reason: str


class ImageArrays(NamedTuple):
    """A whole dataset in memory; what could not be read is not among the N rows.

    `scoring` is that of the source, for these rows.
    """

    images: UInt8[np.ndarray, "n h w 3"]
    labels: Int32[np.ndarray, " n"]
    ids: tuple[str, ...]
    skipped: tuple[Skipped, ...]
    scoring: Scoring | None = None

    def __repr__(self) -> str:
        shape = " x ".join(map(str, self.images.shape[1:3]))
        return f"<ImageArrays: {counted(len(self.labels), 'image')} of {shape} pixels>"


class _Row(NamedTuple):
    image: np.ndarray
    label: int
    id: str


class _Unreadable(NamedTuple):
    error: DecodeError
    label: int
    id: str


class _Rows:
    """The decoded rows of a source by position: what Grain's threads call."""

    def __init__(self, source: Source, spec: InputSpec, positions: np.ndarray) -> None:
        self._source, self._spec, self._positions = source, spec, positions
        self._decoded = decoded_geometry(source) is not None
        self._prepare = preparing(source)

    def __len__(self) -> int:
        return len(self._positions)

    def __getitem__(self, index: int) -> _Row | _Unreadable:
        position = int(self._positions[index])
        label = int(self._source.labels[position])
        id = f"row {position}"
        # Bad rows come back as values: raised here, the first would end the iteration.
        try:
            image, label, id = self._source[position]
            if not self._decoded:
                image = self._prepare(image, self._spec)
            return _Row(np.asarray(image), label, id)
        except DecodeError as error:
            return _Unreadable(error, label, error.id)
        except (OSError, ValueError) as error:
            failure = DecodeError(self._source.name, id, str(error))
            failure.__cause__ = error
            return _Unreadable(failure, label, id)


def _read(
    source: Source, spec: InputSpec, positions: np.ndarray, num_threads: int
) -> Generator[_Row | _Unreadable, None, None]:
    """Yields the decoded rows in order, a bounded number of them ahead."""
    # Here, not above: Grain takes seconds to import, and listing datasets needs none.
    import grain

    dataset = grain.MapDataset.source(_Rows(source, spec, positions))
    options = grain.ReadOptions(
        num_threads=num_threads,
        prefetch_buffer_size=_AHEAD_PER_THREAD * num_threads,
    )
    rows: Any = iter(dataset.to_iter_dataset(options))
    try:
        yield from rows
    finally:
        # A consumer that stops early must not leave threads decoding.
        rows.close()
        flush_decoded(source)


class BatchLoader:
    """Iterates over a source in batches of one fixed shape.

    Row r of the source is always in global batch r // batch_size. Each global batch is
    cut into `shard_count` equal runs of rows, of which this loader reads one, so that
    the shards' batches, laid end to end, are the global batch. Every iteration starts
    from the first row and gives the same batches whatever the number of threads.

    Attributes:
        skipped: What the current (or last) iteration could not read so far; only with
            `on_error="skip"`.

    Args:
        source: What to read.
        input_spec: Size, crop and filter of the images.
        batch_size: Rows of a global batch.
        on_error: "raise" a DecodeError at the first unreadable image, or "skip" it: it
            keeps its row with `valid` False.
        num_threads: Decoding threads; one a usable core if not given.
        shard_index: Which run of rows of each batch to read.
        shard_count: How many loaders share the work; divides `batch_size`.

    Raises:
        UserError: If an argument is outside its range; all such are named.
    """

    def __init__(
        self,
        source: Source,
        input_spec: InputSpec,
        batch_size: int,
        *,
        on_error: OnError = "raise",
        num_threads: int | None = None,
        shard_index: int = 0,
        shard_count: int = 1,
    ) -> None:
        threads = default_num_threads() if num_threads is None else num_threads
        problems = _argument_problems(source, input_spec, on_error, threads)
        if batch_size < 1:
            problems.append(f"batch_size is {batch_size}, wanted 1 or more")
        if shard_count < 1 or batch_size % max(shard_count, 1):
            problems.append(
                f"shard_count is {shard_count}, wanted a divisor of the batch_size "
                f"{batch_size}"
            )
        elif not 0 <= shard_index < shard_count:
            problems.append(
                f"shard_index is {shard_index}, wanted 0 to {shard_count - 1}"
            )
        if problems:
            raise UserError(f"BatchLoader: {'; '.join(problems)}")
        self._source, self._spec = source, input_spec
        self._on_error: OnError = on_error
        self._batch_size, self._num_threads = batch_size, threads
        self._rows_per_batch = batch_size // shard_count
        self._first_row = shard_index * self._rows_per_batch
        self.skipped: list[Skipped] = []

    def __len__(self) -> int:
        """Number of batches, the same for every shard."""
        return -(-len(self._source) // self._batch_size)

    def __iter__(self) -> Iterator[Batch]:
        self.skipped = []
        positions = np.arange(len(self) * self._batch_size)
        in_shard = (positions % self._batch_size) // self._rows_per_batch == (
            self._first_row // self._rows_per_batch
        )
        positions = positions[in_shard].reshape(len(self), self._rows_per_batch)
        counts = (positions < len(self._source)).sum(axis=1)
        positions = positions[positions < len(self._source)]
        rows = _read(self._source, self._spec, positions, self._num_threads)
        try:
            for count in counts:
                yield self._assemble(rows, int(count))
        finally:
            rows.close()

    def _assemble(self, rows: Iterator[_Row | _Unreadable], count: int) -> Batch:
        size = self._rows_per_batch
        images = np.zeros((size, *self._spec.size, 3), np.uint8)
        labels = np.zeros(size, np.int32)
        valid = np.zeros(size, bool)
        ids = [""] * size
        for i in range(count):
            row = next(rows)
            labels[i], ids[i] = row.label, row.id
            if isinstance(row, _Unreadable):
                self.skipped.append(_skip_or_raise(row, self._on_error))
            else:
                images[i], valid[i] = row.image, True
        return Batch(images, labels, valid, tuple(ids))


def load_images(
    source: Source,
    input_spec: InputSpec,
    *,
    on_error: OnError = "raise",
    num_threads: int | None = None,
) -> ImageArrays:
    """Decodes a whole source into one uint8 array.

    Where the cache of decoded images holds all of it, the array is the cache's file,
    memory-mapped and read-only.

    Args:
        source: What to read.
        input_spec: Size, crop and filter of the images.
        on_error: "raise" a DecodeError at the first unreadable image, or "skip" it: it
            is left out of the arrays and listed.
        num_threads: Decoding threads; one a usable core if not given.

    Raises:
        UserError: If an argument is outside its range, the array is larger than the
            machine's memory, or no image can be read.
        DecodeError: If an image cannot be read and `on_error` is "raise".
    """
    threads = default_num_threads() if num_threads is None else num_threads
    problems = _argument_problems(source, input_spec, on_error, threads)
    scoring = scoring_of(source)
    held = source.images() if isinstance(source, DecodedSource) else None
    if held is not None and not problems:
        return ImageArrays(held, source.labels, source.ids, (), scoring)  # pyright: ignore
    shape = (len(source), *input_spec.size, 3)
    needed, memory = int(np.prod(shape)), memory_bytes()
    if needed > memory:
        problems.append(
            f"{len(source)} images need {needed / 2**30:.1f} GiB of this machine's "
            f"{memory / 2**30:.1f}; read them in batches, or `take` fewer"
        )
    if problems:
        raise UserError(f"load_images: {'; '.join(problems)}")
    images = np.empty(shape, np.uint8)
    labels: list[int] = []
    ids: list[str] = []
    kept: list[int] = []
    skipped: list[Skipped] = []
    rows = _read(source, input_spec, np.arange(len(source)), threads)
    for position, row in enumerate(rows):
        if isinstance(row, _Unreadable):
            skipped.append(_skip_or_raise(row, on_error))
            continue
        images[len(ids)] = row.image
        labels.append(row.label)
        ids.append(row.id)
        kept.append(position)
    if not ids:
        raise UserError(
            f"{source.name}: none of {len(source)} images can be read; the first: "
            f"{skipped[0].id}: {skipped[0].reason}"
        )
    return ImageArrays(
        images[: len(ids)],
        np.asarray(labels, np.int32),
        tuple(ids),
        tuple(skipped),
        scoring and scoring.rows(np.asarray(kept)),
    )


def default_num_threads() -> int:
    """One a core that this process may use: decoding releases Python's lock."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _skip_or_raise(row: _Unreadable, on_error: OnError) -> Skipped:
    if on_error == "raise":
        raise row.error
    return Skipped(row.id, row.error.reason)


def _argument_problems(
    source: Source, spec: InputSpec, on_error: str, num_threads: int
) -> list[str]:
    problems = []
    held = decoded_geometry(source)
    if held not in (None, geometry(spec)):
        problems.append(
            f"{source.name} was decoded for {held}, wanted {geometry(spec)}; open the "
            "cache for this specification"
        )
    if not len(source):
        problems.append(f"{source.name} has no examples")
    if on_error not in get_args(OnError):
        problems.append(f"on_error is {on_error!r}, wanted 'raise' or 'skip'")
    if num_threads < 1:
        problems.append(f"num_threads is {num_threads}, wanted 1 or more")
    return problems
