"""The handwritten digits inside the package: real images that need no network.

The 1,797 8x8 digits of scikit-learn's `load_digits`, the test part of "Optical
Recognition of Handwritten Digits" (Alpaydin and Kaynak, 1998, CC BY 4.0):
https://archive.ics.uci.edu/dataset/80. Classes 0 to 7 are the dataset `digits`; 8 and
9 are kept out of it, as images that no class fits: `digits-ood`.
"""

from functools import lru_cache
from pathlib import Path

import numpy as np

from jaxbench.data.source import Source, View
from jaxbench.data.sources.arrays import ArraySource
from jaxbench.data.splits import stratified_parts

DIGITS_FILE = Path(__file__).with_name("digits.npz")
NUM_KNOWN_CLASSES = 8
DIGITS_SHARES = {"train": 0.6, "validation": 0.2, "test": 0.2}


@lru_cache(maxsize=1)
def _all_digits() -> ArraySource:
    with np.load(DIGITS_FILE, allow_pickle=False) as file:
        values, labels = file["images"], file["labels"]
    # 0..16 to 0..255 in whole numbers, halves up.
    images = ((values.astype(np.int32) * 255 + 8) // 16).astype(np.uint8)
    return ArraySource(
        "digits",
        np.repeat(images[..., None], 3, axis=-1),
        labels,
        ids=[f"digits/{i:04}" for i in range(len(labels))],
    )


def open_digits(split: str) -> Source:
    """Digits 0 to 7: a fixed stratified part, 60/20/20.

    Args:
        split: "train", "validation" or "test".

    Returns:
        uint8 RGB images of 8x8 pixels with three equal channels.
    """
    return _digits_splits()[split]


@lru_cache(maxsize=1)
def _digits_splits() -> dict[str, Source]:
    digits = _all_digits()
    known = np.flatnonzero(digits.labels < NUM_KNOWN_CLASSES)
    parts = stratified_parts(
        digits.labels[known], [digits.ids[i] for i in known], DIGITS_SHARES
    )
    names = digits.class_names[:NUM_KNOWN_CLASSES]
    return {
        split: View(digits, known[part], name=f"digits@{split}", class_names=names)
        for split, part in parts.items()
    }


@lru_cache(maxsize=1)
def open_digits_ood() -> Source:
    """Digits 8 and 9, which the classes of `digits` leave out; labels 0 and 1."""
    digits = _all_digits()
    unknown = np.flatnonzero(digits.labels >= NUM_KNOWN_CLASSES)
    return View(
        digits,
        unknown,
        name="digits-ood",
        labels=digits.labels[unknown] - NUM_KNOWN_CLASSES,
        class_names=digits.class_names[NUM_KNOWN_CLASSES:],
    )
