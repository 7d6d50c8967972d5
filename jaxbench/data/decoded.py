"""Decode once: preprocessed uint8 images on disk, memory-mapped, shared by all models.

One entry holds a dataset's images for one input geometry (size, crop, filter). It fills
row by row as images are first read, by any thread, process or host that shares the
folder, and is read instead of the files from then on. What a killed run has decoded
stays.

An entry's name digests the dataset's fingerprint, the geometry and Pillow's version, so
it never has to be invalidated. Entries that were used least recently make room for new
ones.
"""

from functools import cached_property
from pathlib import Path

import numpy as np
import PIL

from jaxbench.data.decoded_store import (
    DAMAGED,
    DecodedRows,
    MadeAnew,
    cache_limit,
    open_entry,
    remove_entry,
)
from jaxbench.data.preparing import preparing
from jaxbench.data.source import (
    DecodeError,
    Example,
    Source,
    View,
    digest,
    example_ids,
    source_repr,
)
from model_zoo.input_spec import InputSpec

# Images of fewer bytes than this are decoded faster than a file is opened.
_LEAST_BYTES = 4 * 2**20
# Changes whenever `preprocess` gives other pixels, or an entry has other files.
_VERSION = 2


def geometry(spec: InputSpec) -> tuple:
    """What of a specification decides the pixels; normalisation comes later."""
    return (spec.size, spec.crop_fraction, spec.crop_mode, spec.interpolation)


class DecodedSource:
    """A source whose images are preprocessed for one geometry, and kept once they were.

    Reads from the entry what is there; decodes, preprocesses and writes what is not. An
    image that cannot be read raises what the base raises, each time.

    Attributes:
        decoded_for: The geometry; images are used as they are where it is asked for.
    """

    def __init__(self, base: Source, spec: InputSpec, folder: Path) -> None:
        self.base, self._spec = base, spec
        self._prepare = preparing(base)
        self.decoded_for = geometry(spec)
        self.name, self.class_names = base.name, base.class_names
        self.labels = base.labels
        self.scoring = getattr(base, "scoring", None)
        self.partial = getattr(base, "partial", None)
        self._rows = DecodedRows(folder, (len(base), *spec.size, 3))

    @cached_property
    def ids(self) -> tuple[str, ...]:
        """The id of every row."""
        return example_ids(self.base)

    @property
    def fingerprint(self) -> str:
        """That of the images before they were decoded."""
        return self.base.fingerprint

    def fingerprint_of(self, indices: np.ndarray) -> str:
        """Digest of some rows' content; see `View.fingerprint_of`."""
        if fingerprint_of := getattr(self.base, "fingerprint_of", None):
            return fingerprint_of(indices)
        return digest(self.fingerprint, indices.astype("<i8").tobytes())

    def __repr__(self) -> str:
        return source_repr(self)

    def __len__(self) -> int:
        return len(self.base)

    def __getitem__(self, index: int) -> Example:
        image = self._rows.get(index)
        if image is not None:
            return Example(image, int(self.labels[index]), self.ids[index])
        example = self.base[index]
        try:
            image = self._prepare(example.image, self._spec)
        except ValueError as error:
            raise DecodeError(self.name, example.id, str(error)) from error
        self._rows.put(index, image)
        return example._replace(image=image)

    def images(self) -> np.ndarray | None:
        """All images, uint8 [N, h, w, 3], memory-mapped; None until all are held."""
        return self._rows.whole()

    def flush(self) -> None:
        """Makes what was decoded safe on disk."""
        self._rows.flush()


def decoded_source(source: Source, spec: InputSpec) -> Source:
    """The source behind the cache of decoded images, where that pays.

    Args:
        source: What to read.
        spec: The input of the models that will see it.

    Returns:
        A source of the same rows whose images are preprocessed for `spec`. The source
        itself where its images are too few to matter, do not fit under the limit or on
        the disk, or the cache's folder cannot be written: a cache costs time, never a
        result.

    Raises:
        ValueError: If the source is decoded for another specification.
        UserError: If the limit is not a number.
    """
    held = decoded_geometry(source)
    if held == geometry(spec):
        return source
    if held is not None:
        raise ValueError(
            f"{source.name} is decoded for {held}; give what it was made of"
        )
    nbytes = len(source) * int(np.prod(spec.size)) * 3
    if nbytes < _LEAST_BYTES or not cache_limit():
        return source
    if isinstance(source, View) and 2 * len(source) >= len(source.base):
        # Most of a dataset is cached as the whole: its other views share the rows.
        base = decoded_source(source.base, spec)
        return source if base is source.base else source.over(base)
    key = digest(
        source.fingerprint, repr(geometry(spec)), PIL.__version__, f"{_VERSION}"
    )
    shape = (len(source), *spec.size, 3)
    for _ in range(4):
        try:
            folder = open_entry(key, source.name, _in_words(spec), shape)
            return source if folder is None else DecodedSource(source, spec, folder)
        except MadeAnew:
            continue
        except DAMAGED:
            remove_entry(key)
        except OSError:
            break
    return source


def decoded_geometry(source: Source) -> tuple | None:
    """What geometry a source's images are preprocessed for; None if they are not."""
    while isinstance(source, View):
        source = source.base
    return getattr(source, "decoded_for", None)


def flush_decoded(source: Source) -> None:
    """Makes what a source has decoded safe on disk, if it keeps any."""
    while isinstance(source, View):
        source = source.base
    if isinstance(source, DecodedSource):
        source.flush()


def _in_words(spec: InputSpec) -> str:
    height, width = spec.size
    return (
        f"{height}x{width} {spec.crop_mode} {spec.crop_fraction:g} {spec.interpolation}"
    )
