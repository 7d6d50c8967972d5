"""Lists of class names: where they are read, and how two of them are matched.

A classifier's outputs have an order and a folder's classes have one; equal counts do
not make them equal. Folders are sorted plainly here, as torchvision's ImageFolder does.
timm's training script sorts them otherwise: digits count as numbers, and upper and
lower case are alike (`10` after `9`, `apple` before `Zebra`).
"""

import itertools
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Literal

from jaxbench.data.known.imagenet_classes import (
    labels_by_wordnet_id,
    lemmas,
    wordnet_ids,
)
from jaxbench.data.source import Source, relabel
from jaxbench.data.sources.folder import FolderSource
from jaxbench.errors import UserError

ClassOrder = Literal["torchvision", "timm"]

# The list that needs no file: ImageNet's thousand classes by their WordNet ids.
IMAGENET = "imagenet"

_WORDNET_ID = re.compile(r"(n\d{8})(?![0-9A-Za-z])")


def read_class_names(source: str) -> tuple[str, ...]:
    """Reads a list of class names.

    Args:
        source: "imagenet" for the WordNet ids of its thousand classes; or a text file
            with one class a line, whose name is what stands before the first tab.

    Raises:
        UserError: If the file cannot be read, or names a class twice.
    """
    if source == IMAGENET:
        return wordnet_ids()
    path = Path(source)
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(
            f"cannot read class names from {path}: {error}; wanted a text file with "
            f"one class name a line, or {IMAGENET!r}"
        ) from error
    names = tuple(line.partition("\t")[0].strip() for line in text.rstrip().split("\n"))
    if "" in names:
        raise UserError(
            f"{path}: line {names.index('') + 1} is empty; wanted one class name a "
            "line, line i = label i, so an empty line would move all that follow"
        )
    doubled = sorted({name for name in names if names.count(name) > 1})
    if doubled:
        raise UserError(
            f"{path} names twice: {', '.join(doubled[:5])}; wanted one class name a "
            "line, line i = label i"
        )
    return names


def ordered_classes(names: Iterable[str], order: ClassOrder) -> tuple[str, ...]:
    """Class names in the order that a library gives a folder's classes.

    Args:
        names: One a class.
        order: "torchvision" sorts plainly; "timm" sorts as its `natural_key` does
            (https://github.com/huggingface/pytorch-image-models, timm/utils/misc.py).

    Raises:
        UserError: If timm's order of two of them is undefined: they differ in case or
            leading zeros alone.
    """
    if order == "torchvision":
        return tuple(sorted(names))
    ranked = sorted(sorted(names), key=natural_key)
    for one, other in itertools.pairwise(ranked):
        if natural_key(one) == natural_key(other):
            raise UserError(
                f"timm has no fixed order of the classes {one!r} and {other!r}; give "
                "`classes`, a file with the model's class names in order"
            )
    return tuple(ranked)


def natural_key(name: str) -> list[int | str]:
    """What timm sorts class names by: text in lower case, digits as numbers."""
    parts = re.split(r"([0-9]+)", name.lower())
    return [int(part) if index % 2 else part for index, part in enumerate(parts)]


def folder_classes(source: object) -> tuple[str, ...] | None:
    """The class names of a source whose labels are the sorted names of folders.

    None of any other source: published datasets and arrays number their classes
    themselves.
    """
    base = source
    while base is not None and not isinstance(base, FolderSource):
        base = getattr(base, "base", None)
    names = tuple(getattr(source, "class_names", ()))
    return None if base is None or tuple(sorted(names)) != names else names


def folder_order_of(source: Source, order: ClassOrder) -> tuple[str, ...]:
    """A folder's classes in the order of a library.

    Raises:
        UserError: If the source is not a folder, or the order is undefined.
    """
    names = folder_classes(source)
    if names is None:
        raise UserError(
            f"{source.name} is not a folder whose classes are sorted by name, so "
            f"{order} has no order of its own for it; leave the class order out, or "
            "give a list of class names"
        )
    return ordered_classes(names, order)


def order_difference(names: Sequence[str]) -> str | None:
    """How timm's order of a folder's classes differs from torchvision's."""
    try:
        other = ordered_classes(names, "timm")
    except UserError as error:
        return str(error)
    for label, (ours, theirs) in enumerate(zip(sorted(names), other, strict=True)):
        if ours != theirs:
            return f"label {label} is {ours!r} to torchvision and {theirs!r} to timm"
    return None


def match_classes(
    names: Sequence[str],
    class_names: Sequence[str],
    descriptions: Mapping[str, str] | None = None,
) -> tuple[str, ...] | None:
    """What a dataset's classes are called in a classifier's list.

    Args:
        names: The dataset's classes.
        class_names: The classifier's, in the order of its outputs.
        descriptions: What describes some of these; a dataset may call its classes so.

    Returns:
        One of `class_names` for each of `names`: the same name, the same class of
        ImageNet, or the one with that description. None where a class has none, or two
        have the same.
    """
    known = set(class_names)
    if known.issuperset(names):
        return tuple(names)
    if (ours := imagenet_ids(names)) and (theirs := imagenet_ids(class_names)):
        by_id = dict(zip(theirs, class_names, strict=True))
        found = [by_id.get(id) for id in ours]
    else:
        described: dict[str, list[str]] = {}
        for name, description in (descriptions or {}).items():
            described.setdefault(description, []).append(name)
        unique = {d: held[0] for d, held in described.items() if len(held) == 1}
        found = [name if name in known else unique.get(name) for name in names]
    if not known.issuperset(found) or len(set(found)) < len(found):
        return None
    return tuple(name for name in found if name is not None)


def labelled_as(
    source: Source,
    class_names: Sequence[str] | str | None,
    class_order: ClassOrder | None,
) -> Source:
    """A source with the labels that `open_dataset` is asked for.

    Raises:
        UserError: As `open_dataset`.
    """
    if class_order is not None:
        if class_names is not None:
            raise UserError(f"{source.name}: give class_names or class_order, not both")
        class_names = folder_order_of(source, class_order)
    if isinstance(class_names, str):
        class_names = read_class_names(class_names)
    return source if class_names is None else relabelled(source, class_names)


def relabelled(
    source: Source,
    class_names: Sequence[str],
    descriptions: Mapping[str, str] | None = None,
) -> Source:
    """A source with the labels of a classifier's list; see `match_classes`.

    Raises:
        UserError: If the list lacks a class of the source; all of them are named.
    """
    matched = match_classes(source.class_names, class_names, descriptions)
    return relabel(source, class_names, known_as=matched)


def imagenet_ids(names: Sequence[str]) -> tuple[str, ...] | None:
    """The WordNet id of every class, where all are among ImageNet's thousand.

    A class may be called by its id (`n01440764`), by a name that begins with it
    (`n01440764_tench`), or by ImageNet's words for it, all of them or the first
    (`tench, Tinca tinca`, `tench`; "_" stands for a space, case does not matter).

    Returns:
        None if a name is not among these, names several classes, or two names are one
        class.
    """
    found = [_imagenet_id(name) for name in names]
    if not found or None in found or len(set(found)) < len(found):
        return None
    return tuple(id for id in found if id is not None)


def are_wordnet_ids(names: Iterable[str]) -> bool:
    """Whether all names are WordNet ids, of whatever list."""
    return all(_WORDNET_ID.match(name) for name in names)


def _imagenet_id(name: str) -> str | None:
    match = _WORDNET_ID.match(name)
    if match:
        return match[1] if match[1] in labels_by_wordnet_id() else None
    return _ids_by_words().get(_plain(name))


@cache
def _ids_by_words() -> dict[str, str]:
    """ImageNet's words to the id, those of several classes left out."""
    pairs = [
        (words, id)
        for id, lemma in zip(wordnet_ids(), lemmas(), strict=True)
        for words in {_plain(lemma), _plain(lemma.partition(",")[0])}
    ]
    counts = Counter(words for words, _ in pairs)
    return {words: id for words, id in pairs if counts[words] == 1}


def _plain(name: str) -> str:
    return " ".join(name.replace("_", " ").lower().split())
