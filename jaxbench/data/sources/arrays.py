"""Images that lie in memory, or in an `.npz` file."""

import zipfile
import zlib
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path

import numpy as np

from jaxbench.data.source import Example, digest, read_only
from jaxbench.errors import UserError

_KEYS = ("images", "labels", "ids", "class_names")
# Without class_names, the highest label decides the number of classes. One absurd label
# must not make billions of them, so they may not be more than ten an example, and any
# dataset may have 10,000.
_CLASSES_PER_EXAMPLE = 10
_EXAMPLES_AT_LEAST = 1000


class ArraySource:
    """A user's own arrays as a source.

    Args:
        name: What to call it in results.
        images: uint8 [N, h, w, 3], or gray [N, h, w] or [N, h, w, 1].
        labels: Whole numbers [N], 0 or more, below 2**31.
        class_names: One name a class; "0", "1", ... up to the highest label if not
            given, which must then be below 10 * max(N, 1000).
        ids: One unique name a row; "000000", "000001", ... if not given.

    Raises:
        UserError: If the arrays do not fit together; every problem is named.
    """

    def __init__(
        self,
        name: str,
        images: np.ndarray,
        labels: np.ndarray | Sequence[int],
        class_names: Sequence[str] | None = None,
        ids: Sequence[str] | None = None,
    ) -> None:
        images, labels = np.asarray(images), np.asarray(labels)
        problems = [
            *_image_problems(images),
            *_label_problems(labels, class_names),
            *_length_problems(images, labels, ids),
        ]
        if problems:
            raise UserError(f"{name}: {'; '.join(problems)}")
        self.name = name
        self._images = images[..., None] if images.ndim == 3 else images
        # A copy, so that the caller's own array stays writable.
        self.labels = read_only(labels.astype(np.int32))
        count = len(images)
        self.ids = tuple(ids) if ids is not None else _numbered(count)
        names = class_names or [str(i) for i in range(int(labels.max()) + 1)]
        self.class_names = tuple(names)

    @property
    def fingerprint(self) -> str:
        """Digest of pixels, labels, class names and ids (they key corruptions)."""
        return self._fingerprint

    @cached_property
    def _fingerprint(self) -> str:
        images = np.ascontiguousarray(self._images)
        return digest(
            str(images.shape),
            images.tobytes(),
            self.labels.astype("<i4").tobytes(),
            self.class_names,
            self.ids,
        )

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> Example:
        image = self._images[index]
        if image.shape[-1] == 1:
            image = np.repeat(image, 3, axis=-1)
        return Example(image, int(self.labels[index]), self.ids[index])


def open_arrays(path: str, name: str) -> ArraySource:
    """Reads an `.npz` file with `images`, `labels` and optional `ids`, `class_names`.

    Args:
        path: The file; arrays of objects (pickles) are refused.
        name: The address, for messages and results.

    Raises:
        UserError: If the file is missing or unreadable, or its arrays do not fit.
    """
    if not Path(path).is_file():
        raise UserError(f"{name}: there is no file {path!r}; give the path of an .npz")
    try:
        # Opened here: np.load leaves its own file open when the archive is damaged.
        with open(path, "rb") as file:
            loaded = np.load(file, allow_pickle=False)
            if isinstance(loaded, np.ndarray):
                raise ValueError("a single array, as .npy files hold")
            arrays = dict(loaded)
    # ValueError: pickled objects, too, or a broken header.
    except (OSError, ValueError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        raise UserError(
            f"{name}: not a readable .npz of plain arrays ({error}); write one with "
            "numpy.savez(path, images=..., labels=...)"
        ) from error
    missing = [key for key in ("images", "labels") if key not in arrays]
    unknown = [key for key in arrays if key not in _KEYS]
    if missing or unknown:
        raise UserError(
            f"{name}: has the arrays {', '.join(sorted(arrays)) or '(none)'}; wanted "
            "images and labels, and ids and class_names where there are any"
        )
    texts = {
        key: [str(text) for text in arrays[key]]
        for key in ("ids", "class_names")
        if key in arrays
    }
    return ArraySource(name, arrays["images"], arrays["labels"], **texts)


def _numbered(count: int) -> tuple[str, ...]:
    width = max(6, len(str(count)))
    return tuple(f"{i:0{width}}" for i in range(count))


def _image_problems(images: np.ndarray) -> list[str]:
    problems = []
    if images.dtype != np.uint8:
        problems.append(
            f"images are {images.dtype}, wanted uint8 (multiply values in [0, 1] by "
            "255 and round)"
        )
    if images.dtype.kind == "f" and not np.isfinite(images).all():
        problems.append("images hold NaN or infinite values")
    gray_or_rgb = images.ndim == 3 or (images.ndim == 4 and images.shape[-1] in (1, 3))
    if not gray_or_rgb:
        problems.append(
            f"images have shape {images.shape}, wanted [N, h, w, 3], [N, h, w, 1] "
            "or [N, h, w]"
        )
    if 0 in images.shape:
        problems.append(f"images have shape {images.shape}: there is nothing in them")
    return problems


def _label_problems(labels: np.ndarray, class_names: Sequence[str] | None) -> list[str]:
    if labels.ndim != 1:
        return [f"labels have shape {labels.shape}, wanted [N]"]
    if labels.dtype.kind not in "iu":
        return [f"labels are {labels.dtype}, wanted whole numbers"]
    if not len(labels):
        return ["there are no labels"]
    problems = []
    if labels.min() < 0:
        problems.append(f"the lowest label is {labels.min()}, wanted 0 or more")
    if class_names is not None:
        if labels.max() >= len(class_names):
            problems.append(
                f"the highest label is {labels.max()}, but there are "
                f"{len(class_names)} class_names"
            )
        if len(set(class_names)) < len(class_names):
            problems.append("class_names come more than once")
        return problems
    count = _CLASSES_PER_EXAMPLE * max(len(labels), _EXAMPLES_AT_LEAST)
    # At most what int32 can hold.
    limit = min(count, 2**31)
    if labels.max() >= limit:
        problems.append(
            f"the highest label is {labels.max()} of {len(labels)} examples; without "
            f"class_names, wanted labels below {limit}: number the classes from 0, or "
            "give class_names"
        )
    return problems


def _length_problems(
    images: np.ndarray, labels: np.ndarray, ids: Sequence[str] | None
) -> list[str]:
    problems = []
    lengths = {"images": images.shape[:1], "labels": labels.shape[:1]}
    if ids is not None:
        lengths["ids"] = (len(ids),)
        if len(set(ids)) < len(ids):
            problems.append(f"{len(ids) - len(set(ids))} ids come more than once")
    if len(set(lengths.values())) > 1:
        counts = ", ".join(
            f"{len_[0] if len_ else 'no'} {key}" for key, len_ in lengths.items()
        )
        problems.append(f"lengths differ: {counts}")
    return problems
