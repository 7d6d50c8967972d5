"""Images from wherever they lie into batches of one fixed shape.

    >>> from jaxbench.data import BatchLoader, open_dataset
    >>> from model_zoo.input_spec import InputSpec
    >>> digits = open_dataset("digits@test")
    >>> spec = InputSpec(size=(8, 8), crop_fraction=1.0)
    >>> for batch in BatchLoader(digits, spec, batch_size=128):
    ...     batch.images, batch.labels, batch.valid

`Source` is the one interface between places and batches: anything with a name, class
names, labels, a fingerprint and thread-safe random access.
"""

from jaxbench.data.augment import (
    AUGMENTATIONS,
    Mixed,
    augment,
    mix,
    rand_augment,
    random_crop,
    random_erasing,
    random_flip,
    random_resized_crop,
)
from jaxbench.data.batches import (
    Batch,
    BatchLoader,
    ImageArrays,
    Skipped,
    load_images,
)
from jaxbench.data.catalog import expand_addresses, open_dataset
from jaxbench.data.corruptions import (
    CORRUPTIONS,
    CorruptedSource,
    register_corruption,
)
from jaxbench.data.datasets import DATASETS, register_dataset
from jaxbench.data.known import KNOWN, KnownDataset
from jaxbench.data.known.prepare import prepare_known
from jaxbench.data.prepare import PreparedDataset, prepare_dataset
from jaxbench.data.preprocess import normalize, preprocess
from jaxbench.data.source import (
    DecodeError,
    Example,
    Source,
    split_calibration,
    take,
)
from jaxbench.data.sources.arrays import ArraySource

__all__ = [
    "AUGMENTATIONS",
    "CORRUPTIONS",
    "DATASETS",
    "KNOWN",
    "ArraySource",
    "Batch",
    "BatchLoader",
    "CorruptedSource",
    "DecodeError",
    "Example",
    "ImageArrays",
    "KnownDataset",
    "Mixed",
    "PreparedDataset",
    "Skipped",
    "Source",
    "augment",
    "expand_addresses",
    "load_images",
    "mix",
    "normalize",
    "open_dataset",
    "prepare_dataset",
    "prepare_known",
    "preprocess",
    "rand_augment",
    "random_crop",
    "random_erasing",
    "random_flip",
    "random_resized_crop",
    "register_corruption",
    "register_dataset",
    "split_calibration",
    "take",
]
