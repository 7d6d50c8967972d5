"""What a dataset is to the rest of the project: rows of (image, label, id)."""

import dataclasses
import hashlib
import os
from collections.abc import Iterable, Sequence
from functools import cached_property
from typing import Any, NamedTuple, Protocol, runtime_checkable

import numpy as np

from jaxbench.data.splits import SPLIT_SEED, stratified_order
from jaxbench.errors import UserError, counted, unknown_name


class Example(NamedTuple):
    """One row of a dataset.

    Attributes:
        image: The encoded file, or decoded pixels, uint8 [h, w, 3].
        label: Position of the class in the source's `class_names`.
        id: Identity of the example, unique in its source and the same in every run.
    """

    image: bytes | np.ndarray
    label: int
    id: str


@runtime_checkable
class Source(Protocol):
    """Random access to labelled images, from many threads at once."""

    @property
    def name(self) -> str:
        """The address that opens it."""
        ...

    @property
    def class_names(self) -> tuple[str, ...]:
        """One name a class; a label is a position in it."""
        ...

    @property
    def fingerprint(self) -> str:
        """Hex digest of the content that decides every number: pixels and labels."""
        ...

    @property
    def labels(self) -> np.ndarray:
        """The label of each row, int32 [N]."""
        ...

    def __len__(self) -> int: ...

    def __getitem__(self, index: int, /) -> Example: ...


def source_repr(source: Source) -> str:
    """Class, address, images and classes: the `repr` of a source."""
    images = counted(len(source), "image")
    classes = counted(len(source.class_names), "class", "classes")
    return f"<{type(source).__name__} {source.name}: {images}, {classes}>"


def label_misfit(labels: np.ndarray) -> str | None:
    """What is wrong with the shape of a dataset's labels, which are [N]."""
    if labels.ndim == 1:
        return None
    return (
        f"labels have shape {labels.shape}, wanted [N], a class number an image; of "
        "one-hot rows, give labels.argmax(-1), of one column labels[:, 0]"
    )


class DecodeError(UserError):
    """An image that cannot be read.

    Attributes:
        id: The example's identity.
        reason: What is wrong with it.
    """

    def __init__(self, dataset: str, id: str, reason: str) -> None:
        super().__init__(
            f"{dataset}: cannot read image {id!r}: {reason}. Repair or remove the "
            'file, or set on_error="skip" to leave such images out and list them'
        )
        self.id = id
        self.reason = reason


def digest(*parts: bytes | str | Iterable[str]) -> str:
    """Hex digest of the parts; where one ends and the next begins matters."""
    hasher = hashlib.blake2b(digest_size=16)
    for part in parts:
        if not isinstance(part, bytes | str):
            part = digest(*part)
        if isinstance(part, str):
            # Names of files need not be Unicode.
            part = part.encode("utf-8", "surrogatepass")
        hasher.update(len(part).to_bytes(8))
        hasher.update(part)
    return hasher.hexdigest()


def example_ids(source: Source) -> tuple[str, ...]:
    """The id of every row.

    Sources of this package know their ids as `ids`; of any other, each row is read.
    """
    ids = getattr(source, "ids", None)
    if ids is None:
        return tuple(source[i].id for i in range(len(source)))
    return tuple(ids)


class View:
    """Rows of another source, in a given order and under given labels.

    Args:
        base: Where the rows are read.
        indices: Positions in `base`, int [n].
        name: The address, or a description, of what remains.
        labels: New labels, int [n]; those of `base` if not given.
        class_names: Names of the new labels; those of `base` if not given.
    """

    def __init__(
        self,
        base: Source,
        indices: np.ndarray,
        *,
        name: str,
        labels: np.ndarray | None = None,
        class_names: Sequence[str] | None = None,
    ) -> None:
        self.base = base
        self._indices = np.asarray(indices, dtype=np.int64)
        self.name = name
        scoring = getattr(base, "scoring", None)
        self.scoring = None if scoring is None else scoring.rows(self._indices)
        self.partial = getattr(base, "partial", None)
        kept = base.labels[self._indices] if labels is None else labels
        self.labels = read_only(np.asarray(kept, dtype=np.int32))
        self.class_names = tuple(
            base.class_names if class_names is None else class_names
        )

    @cached_property
    def ids(self) -> tuple[str, ...]:
        """The id of every row."""
        ids = example_ids(self.base)
        return tuple(ids[i] for i in self._indices)

    @property
    def fingerprint(self) -> str:
        """Digest of the rows taken, in their order, and their labels."""
        return self._fingerprint

    @cached_property
    def _fingerprint(self) -> str:
        parts = [
            self.fingerprint_of(np.arange(len(self))),
            self.labels.astype("<i4").tobytes(),
            self.class_names,
        ]
        # The same images and first labels may be scored in two ways.
        return digest(*parts, *([self.scoring.digest] if self.scoring else []))

    def fingerprint_of(self, indices: np.ndarray) -> str:
        """Digest of some rows' content.

        Asks the base for just these rows where it can say, so that a hundred images
        taken from a million do not cost a read of the million.
        """
        rows = self._indices[indices]
        if fingerprint_of := getattr(self.base, "fingerprint_of", None):
            return fingerprint_of(rows)
        return digest(self.base.fingerprint, rows.astype("<i8").tobytes())

    def over(self, base: Source) -> "View":
        """The same rows of another source that holds the same images."""
        view = View(
            base,
            self._indices,
            name=self.name,
            labels=self.labels,
            class_names=self.class_names,
        )
        view.scoring = self.scoring
        return view

    def __repr__(self) -> str:
        return source_repr(self)

    def __len__(self) -> int:
        return len(self._indices)

    def __getitem__(self, index: int) -> Example:
        example = self.base[int(self._indices[index])]
        return example._replace(label=int(self.labels[index]))


def take(source: Source, which: int | Sequence[int] | np.ndarray) -> Source:
    """A smaller source.

    Args:
        source: Where to take from.
        which: The positions to take, in that order; or how many examples at most. A
            number takes a fixed stratified sample (classes keep their proportions) and
            keeps the source's order: the first rows of a folder are all of one class.

    Raises:
        UserError: If a position is outside the source or comes twice, or nothing is
            asked for.
    """
    if isinstance(which, int | np.integer):
        if which < 1:
            raise UserError(f"take: asked for {which} examples; give 1 or more")
        order = stratified_order(source.labels, example_ids(source), SPLIT_SEED)
        indices = np.sort(order[:which])
        return View(source, indices, name=f"{source.name}[:{len(indices)}]")
    indices = np.asarray(which)
    _check_positions(source, indices)
    chosen = digest(indices.astype("<i8").tobytes())[:8]
    return View(source, indices, name=f"{source.name}[{len(indices)} rows {chosen}]")


def _check_positions(source: Source, indices: np.ndarray) -> None:
    if indices.ndim != 1 or not len(indices) or indices.dtype.kind not in "iu":
        raise UserError(
            f"take: positions of shape {indices.shape} and type {indices.dtype}; "
            "wanted a list of one or more whole numbers"
        )
    outside = indices[(indices < 0) | (indices >= len(source))]
    values, counts = np.unique(indices, return_counts=True)
    problems = [
        f"{what}: {', '.join(map(str, positions[:10]))}"
        for what, positions in {
            f"outside 0..{len(source) - 1}": outside,
            "more than once": values[counts > 1],
        }.items()
        if len(positions)
    ]
    if problems:
        raise UserError(f"take: positions in {source.name} {'; '.join(problems)}")


def split_calibration(
    source: Source, num_examples: int, seed: int
) -> tuple[Source, Source]:
    """Draws a calibration part, stratified by class; the rest is the second.

    The draw hashes (seed, id), so it does not depend on the order of the rows.

    Args:
        source: What to split.
        num_examples: Size of the calibration part.
        seed: Another seed, another draw.

    Returns:
        The calibration part and the rest, both in the source's order.

    Raises:
        UserError: If one of the two parts would be empty.
    """
    if not 0 < num_examples < len(source):
        raise UserError(
            f"{source.name} has {len(source)} examples and {num_examples} were asked "
            f"for calibration; give 1 to {len(source) - 1}"
        )
    order = stratified_order(source.labels, example_ids(source), seed)
    of = f"{num_examples}, seed {seed}"
    calibration, rest = np.sort(order[:num_examples]), np.sort(order[num_examples:])
    return (
        View(source, calibration, name=f"{source.name}[calibration {of}]"),
        View(source, rest, name=f"{source.name}[without calibration {of}]"),
    )


def relabel(
    source: Source,
    class_names: Sequence[str],
    *,
    known_as: Sequence[str] | None = None,
) -> Source:
    """Gives a source's classes the numbers that their names have in another list.

    A folder of 250 of ImageNet's classes becomes a source with labels in 0..999.

    Args:
        source: Any source.
        class_names: The classes in the order of a classifier's outputs.
        known_as: What the source's classes are called in that list, one name a class;
            what the source calls them if not given.

    Raises:
        UserError: If a class of the source is not in the list (all are named), or a
            name comes twice.
    """
    wanted = tuple(class_names)
    scoring = getattr(source, "scoring", None)
    if wanted == source.class_names:
        return source
    if scoring is not None and scoring.groups is not None:
        return _regrouped(source, scoring, wanted)
    own = source.class_names if known_as is None else tuple(known_as)
    number = {name: i for i, name in enumerate(wanted)}
    if len(number) < len(wanted):
        twice = sorted({name for name in wanted if wanted.count(name) > 1})
        raise UserError(f"class_names: more than once: {', '.join(twice)}")
    unknown = [name for name in own if name not in number]
    if unknown:
        raise UserError(
            f"{source.name}: {len(unknown)} of {len(own)} classes are "
            f"not in class_names: {', '.join(unknown[:20])}"
            f"{', ...' if len(unknown) > 20 else ''}; "
            + unknown_name("class", unknown[0], wanted)
        )
    numbers = np.array([number[name] for name in own], dtype=np.int32)
    view = View(
        source,
        np.arange(len(source)),
        name=source.name,
        # Foreign images have no class in any list.
        labels=np.where(source.labels < 0, -1, numbers[source.labels]),
        class_names=wanted,
    )
    if view.scoring is not None:
        view.scoring = view.scoring.relabelled(numbers, len(wanted))
    return view


def _regrouped(source: Source, scoring: Any, wanted: tuple[str, ...]) -> Source:
    """Coarse classes keep their numbers; the outputs that they are made of move."""
    if scoring.output_names == wanted:
        return source
    number = {name: i for i, name in enumerate(wanted)}
    missing = [name for name in scoring.output_names if name not in number]
    if not scoring.output_names or missing:
        lacking = f"lack {', '.join(missing[:5])}" if missing else "cannot be matched"
        raise UserError(
            f"{source.name} has coarse classes made of {scoring.num_outputs} outputs, "
            f"and class_names {lacking}; name all of those"
        )
    view = View(source, np.arange(len(source)), name=source.name)
    numbers = np.array([number[name] for name in scoring.output_names])
    view.scoring = dataclasses.replace(
        scoring.relabelled(numbers, len(wanted)), output_names=wanted
    )
    return view


def read_only(array: np.ndarray) -> np.ndarray:
    """The same array, protected from writing: sources hand theirs out."""
    array.flags.writeable = False
    return array


def memory_bytes() -> int:
    """Bytes of this machine's memory."""
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
