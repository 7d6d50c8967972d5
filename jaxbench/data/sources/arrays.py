"""Images that lie in memory, or in an `.npz` file."""

import os
from collections.abc import Sequence
from functools import cached_property

import numpy as np

from jaxbench.data.scoring import Scoring
from jaxbench.data.source import Example, digest, read_only, source_repr
from jaxbench.data.sources.npz import NpzFile, key_problems, texts
from jaxbench.data.sources.trees import nothing_at
from jaxbench.errors import UserError

_KEYS = ("images", "labels", "ids", "class_names", "label_sets")
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
        labels: Whole numbers [N], 0 or more, below 2**31; None with `label_sets`.
        class_names: One name a class; "0", "1", ... up to the highest label if not
            given, which must then be below 10 * max(N, 1000).
        ids: One unique name a row; "000000", "000001", ... if not given.
        label_sets: Instead of labels, where images have several right ones of which any
            will do: whole numbers [N, m], each row filled up with -1 at its end.

    Attributes:
        labels: Of `label_sets`, the first of each.
        scoring: Of `label_sets`; None without.

    Raises:
        UserError: If the arrays do not fit together; every problem is named.
    """

    def __init__(
        self,
        name: str,
        images: np.ndarray,
        labels: np.ndarray | Sequence[int] | None,
        class_names: Sequence[str] | None = None,
        ids: Sequence[str] | None = None,
        *,
        label_sets: np.ndarray | None = None,
    ) -> None:
        images = np.asarray(images)
        every = np.asarray(labels if label_sets is None else label_sets)
        odd_labels = _label_shape_problems(every, label_sets is not None)
        problems = [
            *_image_problems(images),
            *(odd_labels or _label_problems(every, class_names)),
            *_length_problems(images=images, labels=every, ids=ids),
        ]
        if labels is not None and label_sets is not None:
            problems.append("both labels and label_sets are given, wanted one of them")
        if ids is not None and len(set(ids)) < len(ids):
            problems.append(f"{len(ids) - len(set(ids))} ids come more than once")
        if problems:
            raise UserError(f"{name}: {'; '.join(problems)}")
        self.name = name
        self._images = images[..., None] if images.ndim == 3 else images
        count = len(images)
        self.ids = tuple(ids) if ids is not None else _numbered(count)
        names = class_names or [str(i) for i in range(int(every.max()) + 1)]
        self.class_names = tuple(names)
        # A copy, so that the caller's own array stays writable.
        every = read_only(every.astype(np.int32))
        self.labels, self.scoring = every, None
        if every.ndim == 2:
            self.labels = every[:, 0]
            self.scoring = Scoring(len(self.class_names), label_sets=every)

    @property
    def fingerprint(self) -> str:
        """Digest of pixels, labels, class names and ids, which key corruptions."""
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
            *([self.scoring.digest] if self.scoring else []),
        )

    def __repr__(self) -> str:
        return source_repr(self)

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> Example:
        image = self._images[index]
        if image.shape[-1] == 1:
            image = np.repeat(image, 3, axis=-1)
        return Example(image, int(self.labels[index]), self.ids[index])


def open_arrays(path: str, name: str) -> ArraySource:
    """Reads an `.npz` file with `images`, `labels` and optional others.

    Args:
        path: The file, with the arguments of `ArraySource` as keys. Arrays of objects
            (pickles) are refused; names may be text, bytes in UTF-8 or whole numbers.
        name: The address, for messages and results.

    Raises:
        UserError: If the file is missing or unreadable, or its arrays do not fit. What
            shapes and types rule out is refused before any array is read.
    """
    if not os.path.isfile(path):
        raise UserError(f"{name}: {nothing_at(path)}; give the path of an .npz")
    file = NpzFile(path, name)
    headers = file.headers
    if problem := key_problems(headers, _KEYS):
        raise UserError(f"{name}: {problem}")
    # Nothing is held: every element is the same zero.
    shells = {
        key: np.broadcast_to(np.zeros((), header.dtype), header.shape)
        for key, header in headers.items()
    }
    sets = shells.get("label_sets")
    labels = shells["labels"] if sets is None else sets
    problems = [
        *_image_problems(shells["images"]),
        *_label_shape_problems(labels, sets is not None),
        *_length_problems(
            images=shells["images"], labels=labels, ids=shells.get("ids")
        ),
    ]
    if problems:
        raise UserError(f"{name}: {'; '.join(problems)}")
    arrays = file.read(list(headers))
    names = {}
    for key in ("ids", "class_names"):
        try:
            if key in arrays:
                names[key] = texts(arrays[key], key)
        except ValueError as error:
            problems.append(str(error))
    if problems:
        raise UserError(f"{name}: {'; '.join(problems)}")
    return ArraySource(
        name,
        arrays["images"],
        arrays.get("labels"),
        label_sets=arrays.get("label_sets"),
        **names,
    )


def _numbered(count: int) -> tuple[str, ...]:
    width = max(6, len(str(count)))
    return tuple(f"{i:0{width}}" for i in range(count))


def _image_problems(images: np.ndarray) -> list[str]:
    problems = []
    if images.dtype != np.uint8:
        problems.append(
            f"images are {images.dtype}, wanted uint8: multiply values in [0, 1] by "
            "255 and round; give values in 0..255 as images.astype(numpy.uint8)"
        )
    shape = images.shape
    if len(shape) != 3 and not (len(shape) == 4 and shape[-1] in (1, 3)):
        hint = ""
        if len(shape) == 4 and shape[1] in (1, 3):
            hint = ": channels come last, images.transpose(0, 2, 3, 1)"
        elif len(shape) == 4 and shape[-1] == 4:
            hint = ": without alpha, images[..., :3]"
        problems.append(
            f"images have shape {shape}, wanted [N, h, w, 3], [N, h, w, 1] or "
            f"[N, h, w]{hint}"
        )
    if 0 in shape:
        problems.append(f"images have shape {shape}: there is nothing in them")
    return problems


def _label_shape_problems(labels: np.ndarray, sets: bool) -> list[str]:
    problems = []
    key, wanted = ("label_sets", "[N, m]") if sets else ("labels", "[N]")
    hint = ""
    if labels.ndim == 2 and not sets:
        labels_of = "labels[:, 0]" if labels.shape[1] == 1 else "labels.argmax(axis=1)"
        hint = f": give {labels_of}, or label_sets [N, m] where several are right"
    if labels.ndim != (2 if sets else 1):
        problems.append(f"{key} have shape {labels.shape}, wanted {wanted}{hint}")
    elif not labels.size:
        problems.append(f"{key} are empty")
    if labels.dtype.kind not in "iu":
        problems.append(f"{key} are {labels.dtype}, wanted whole numbers")
    return problems


def _label_problems(labels: np.ndarray, class_names: Sequence[str] | None) -> list[str]:
    """What is wrong with labels [N], or with sets of them [N, m]."""
    problems = _set_problems(labels) if labels.ndim == 2 else []
    lowest = labels.min() if labels.ndim == 1 else labels[:, 0].min()
    if lowest < 0:
        problems.append(f"the lowest label is {lowest}, wanted 0 or more")
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


def _set_problems(sets: np.ndarray) -> list[str]:
    problems = []
    if sets.min() < -1 or ((sets[:, 1:] >= 0) & (sets[:, :-1] < 0)).any():
        problems.append("label_sets are not filled up with -1 behind the labels")
    ordered = np.sort(sets, axis=1)
    if ((ordered[:, 1:] == ordered[:, :-1]) & (ordered[:, 1:] >= 0)).any():
        problems.append("label_sets hold a label of an image more than once")
    return problems


def _length_problems(**arrays: np.ndarray | Sequence[str] | None) -> list[str]:
    lengths = {
        key: np.shape(array)[0] if np.shape(array) else "no"
        for key, array in arrays.items()
        if array is not None
    }
    if len(set(lengths.values())) < 2:
        return []
    counts = ", ".join(f"{length} {key}" for key, length in lengths.items())
    return [f"lengths differ: {counts}"]
