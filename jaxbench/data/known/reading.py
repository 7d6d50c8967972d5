"""What readers of official distributions share."""

import contextlib
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from jaxbench.data.known.base import Item
from jaxbench.data.sources.folder import open_tree
from jaxbench.data.sources.trees import Tree, is_litter, join
from jaxbench.errors import UserError


class ListedImage(NamedTuple):
    """An image file that was found, and what it will be."""

    id: str
    path: str
    label: int
    labels: tuple[int, ...] = ()


class Listing:
    """Image files of a tree, counted before any of them is read.

    Args:
        tree: Where the files are.
        images: What was found, in the order to keep.
        decode: What to make of a file's bytes; None keeps them as they are.

    Attributes:
        images: As above.
        classes: Labels that some image has.
    """

    def __init__(
        self,
        tree: Tree,
        images: Sequence[ListedImage],
        decode: Callable[[bytes], bytes | np.ndarray] | None = None,
    ) -> None:
        self._tree = tree
        self.images = images
        self._decode = decode
        self.classes = {label for i in images for label in (i.label, *i.labels)}

    def __len__(self) -> int:
        return len(self.images)

    def __iter__(self) -> Iterator[Item]:
        for image in self.images:
            yield Item(image.id, self._read(image.path), image.label, image.labels)

    def _read(self, path: str) -> bytes | np.ndarray:
        try:
            content = self._tree.read(path)
        except OSError as error:
            raise UserError(f"{path} cannot be read: {error}") from error
        return content if self._decode is None else self._decode(content)


def folders(tree: Tree, prefix: str) -> list[str]:
    """Names of the folders under one, sorted, without hidden ones."""
    found = tree.folders(prefix)
    return [folder for folder in found if not is_litter(folder)]


def inner_root(tree: Tree, prefix: str, wanted: Collection[str]) -> str:
    """The folder that holds some of the wanted ones: goes in through wrappers.

    A wrapper is the only folder of its folder, without images beside it: an archive
    `imagenet-r.tar` holds `imagenet-r/n01443537/...`.
    """
    while True:
        found = folders(tree, prefix)
        if len(found) != 1 or found[0] in wanted or tree.files(prefix):
            return prefix
        prefix = join(prefix, found[0])


def class_folders(
    path: Path,
    classes: Mapping[str, int],
    *,
    under: str = "",
    new_id: Callable[[str], str] | None = None,
    decode: Callable[[bytes], bytes | np.ndarray] | None = None,
) -> Listing:
    """Images in one folder a class.

    Args:
        path: A folder or tar, with or without wrappers around the class folders.
        classes: Folder's name to label; others are an error, missing ones are not:
            whether images are missing shows in their number.
        under: A folder that may hold the class folders, such as "val"; "" for none.
        new_id: Makes an id of a path `CLASS/FILE`, which it is by default.
        decode: What to make of a file's bytes; None keeps them as they are.

    Raises:
        UserError: If there are other folders, or none of the classes.
    """
    with readable_tree(path) as (tree, prefix):
        if under:
            prefix = inside(tree, prefix, under)
        prefix = inner_root(tree, prefix, classes)
        return Listing(tree, _listed(tree, prefix, classes, new_id), decode)


@contextlib.contextmanager
def readable_tree(path: Path) -> Iterator[tuple[Tree, str]]:
    """A folder or tar, and the folder in it that the path names.

    Raises:
        UserError: If it cannot be read; also for errors of the block.
    """
    tree, prefix = open_tree(str(path), str(path))
    try:
        yield tree, prefix
    except (OSError, ValueError) as error:
        if isinstance(error, UserError):
            raise
        raise UserError(f"{error}; repair or remove it") from error


def inside(tree: Tree, prefix: str, name: str) -> str:
    """The folder of that name, here or under wrappers; else the given folder."""
    root = inner_root(tree, prefix, [name])
    return join(root, name) if name in folders(tree, root) else prefix


def _listed(
    tree: Tree,
    prefix: str,
    classes: Mapping[str, int],
    new_id: Callable[[str], str] | None,
) -> list[ListedImage]:
    found = folders(tree, prefix)
    known = [folder for folder in found if folder in classes]
    if not known:
        first = next(iter(classes))
        raise UserError(
            f"found no folder of its {len(classes)} classes ({first}, ...), but "
            + named("folder", found)
        )
    if len(known) < len(found):
        strangers = [folder for folder in found if folder not in classes]
        raise UserError(f"beside its classes lies {named('folder', strangers)}")
    start = len(prefix) + 1 if prefix else 0
    images = []
    for folder in known:
        for path in tree.images(join(prefix, folder)):
            id = path[start:] if new_id is None else new_id(path[start:])
            images.append(ListedImage(id, path, classes[folder]))
    return images


def named(what: str, names: Sequence[str], most: int = 10) -> str:
    """Words for a list of names: `no folder`, `the folder a`, `3 folders: a, b, c`."""
    if not names:
        return f"no {what}"
    if len(names) == 1:
        return f"the {what} {names[0]!r}"
    more = ", ..." if len(names) > most else ""
    return f"{len(names)} {what}s: {', '.join(names[:most])}{more}"
