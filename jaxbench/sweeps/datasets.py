"""The datasets of an experiment: opened once, decoded once where they fit."""

import threading
import time
from collections.abc import Mapping, Sequence

import jax
import numpy as np

from jaxbench.config import ExperimentConfig
from jaxbench.data import (
    ImageArrays,
    Source,
    expand_addresses,
    load_images,
    open_dataset,
    split_calibration,
    take,
)
from jaxbench.data.class_names import read_class_names, relabelled
from jaxbench.data.decoded import DecodedSource, decoded_source, geometry
from jaxbench.data.scoring import scoring_of
from jaxbench.data.source import example_ids
from jaxbench.errors import UserError
from model_zoo import InputSpec

# Preprocessed images of all datasets that are kept in memory, in bytes. A dataset that
# does not fit beside the others is decoded again for every model and epoch.
RESIDENT_BYTES = 2 * 2**30
# On accelerators, instead: this share of the device's memory. Weights, activations and
# the states of a population need the rest.
_DEVICE_SHARE = 0.25


class Datasets:
    """Opens addresses for one experiment and remembers what it opened.

    Attributes:
        load_seconds: Spent so far on decoding whole datasets into memory.
    """

    def __init__(self, config: ExperimentConfig) -> None:
        self._config = config
        self._classes = read_class_names(config.classes) if config.classes else None
        self._sources: dict[tuple[str, bool], Source] = {}
        self._labelled: dict[tuple, Source] = {}
        self._resident: dict[tuple, ImageArrays] = {}
        # Programs are compiled in a second thread, which asks for images too.
        self._lock = threading.Lock()
        self.load_seconds = 0.0

    def open(self, address: str, *, other_classes: bool = False) -> Source:
        """The source behind an address, cut to the experiment's limit.

        Args:
            address: Where the images are.
            other_classes: Whether they are of other classes than the experiment's.
        """
        key = (address, other_classes)
        if key not in self._sources:
            classes = None if other_classes else self._classes
            source = open_dataset(address, class_names=classes)
            limit = self._config.limit
            if limit is not None and limit < len(source):
                source = take(source, limit)
            self._sources[key] = source
        return self._sources[key]

    def labelled_as(self, source: Source, class_names: tuple[str, ...]) -> Source:
        """An opened source with the labels of a model's classes; see `relabel`."""
        scoring = scoring_of(source)
        key = (source.fingerprint, scoring and scoring.digest, class_names)
        if key not in self._labelled:
            self._labelled[key] = relabelled(source, class_names)
        return self._labelled[key]

    def calibration(self) -> Source | None:
        """Where the temperature is fitted."""
        wanted = self._config.evaluate.calibration
        if wanted is None:
            return None
        return self._parts()[0] if isinstance(wanted, int) else self.open(wanted)

    def evaluated(self, address: str) -> Source:
        """What is scored under an address: without the images set apart, if any.

        A shifted version of the first clean dataset holds the same images, or a part of
        them, under the same ids: they are left out of it too.
        """
        source = self.open(address)
        if not isinstance(self._config.evaluate.calibration, int):
            return source
        calibration = self._parts()[0]
        label = dict(
            zip(example_ids(calibration), calibration.labels.tolist(), strict=True)
        )
        ids = example_ids(source)
        common = [row for row, id in enumerate(ids) if id in label]
        if not common or _by_chance(source, common, ids, label):
            return source
        if len(common) == len(ids):
            raise UserError(
                f"{address}: all {len(ids)} images are set apart for calibration; "
                "set fewer apart, or evaluate on others"
            )
        gone = set(common)
        return take(source, [row for row in range(len(ids)) if row not in gone])

    def _parts(self) -> tuple[Source, Source]:
        evaluate = self._config.evaluate
        assert isinstance(evaluate.calibration, int)
        (first, *_) = expand_addresses(evaluate.clean[:1])
        return split_calibration(
            self.open(first), evaluate.calibration, self._config.seed
        )

    def images(self, source: Source, spec: InputSpec) -> ImageArrays:
        """All of a source as uint8 in memory, decoded at the first call."""
        key = _resident_key(source, spec)
        with self._lock:
            if key not in self._resident:
                started = time.perf_counter()
                decoded = decoded_source(source, spec)
                images = load_images(
                    decoded,
                    spec,
                    on_error=self._config.on_error,
                    num_threads=self._config.workers,
                )
                self.load_seconds += time.perf_counter() - started
                self._resident[key] = images
            return self._resident[key]

    def feed(
        self, source: Source, spec: InputSpec, *, uses: int
    ) -> Source | ImageArrays:
        """The source, or its images in memory where that pays and they fit.

        What is decoded is kept on disk for other models and other runs.

        Args:
            source: What to read.
            spec: The input of the model that will see it.
            uses: How many passes there will be. For a single one, decoding while the
                model runs beats decoding first.
        """
        decoded = decoded_source(source, spec)
        at_hand = isinstance(decoded, DecodedSource) and decoded.images() is not None
        if at_hand or (uses >= 2 and self.fits(source, spec)):
            return self.images(source, spec)
        return decoded

    def fits(self, source: Source, spec: InputSpec) -> bool:
        """Whether a source's images are in memory, or may be beside the others."""
        if _resident_key(source, spec) in self._resident:
            return True
        height, width = spec.size
        held = sum(
            arrays.images.nbytes
            for arrays in list(self._resident.values())
            # A mapped file takes no memory that others could not have.
            if not isinstance(arrays.images, np.memmap)
        )
        return held + len(source) * height * width * 3 <= _resident_bytes()


def _by_chance(
    source: Source, rows: list[int], ids: Sequence[str], label: Mapping[str, int]
) -> bool:
    """Whether ids are common because they count positions, not name images.

    Rows of arrays are called 000042 in every file. Where such a dataset is a version of
    the other one, the labels of equal ids are equal.
    """
    counted = all(ids[row].rpartition("/")[2].isdigit() for row in rows)
    return counted and any(source.labels[row] != label[ids[row]] for row in rows)


def _resident_bytes() -> int:
    """What images in memory may take together."""
    device = jax.local_devices()[0]
    if device.platform == "cpu":
        return RESIDENT_BYTES
    limit = (device.memory_stats() or {}).get("bytes_limit", 0)
    return max(RESIDENT_BYTES, int(_DEVICE_SHARE * limit))


def _resident_key(source: Source, spec: InputSpec) -> tuple:
    scoring = scoring_of(source)
    scored = scoring.digest if scoring else ""
    return (source.fingerprint, scored, *geometry(spec))
