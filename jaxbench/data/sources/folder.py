"""Image folders, one sub-folder a class, on disk or inside a tar file.

Labels and order are those of torchvision's ImageFolder. Top-level folders named train,
val (or validation) and test are splits. Files whose names begin with a WordNet id, as
ImageNet's do (`n01440764_tench.JPEG`), may lie flat, without class folders.
"""

import errno
import os
import re
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property
from pathlib import Path

import numpy as np

from jaxbench.data.cache import remembered
from jaxbench.data.source import DecodeError, Example, digest, read_only, source_repr
from jaxbench.data.sources.tar import ARCHIVES, TarTree
from jaxbench.data.sources.trees import (
    EXTENSIONS,
    DirectoryTree,
    Tree,
    as_text,
    is_litter,
    join,
    nothing_at,
)
from jaxbench.data.splits import STANDARD_SHARES, stratified_parts
from jaxbench.errors import UserError, counted, unknown_name

SPLIT_FOLDERS = {
    "train": "train",
    "val": "validation",
    "validation": "validation",
    "test": "test",
}
_WORDNET_ID = re.compile(r"(n\d{8})_")
_READERS = 8
_UNREADABLE = "unreadable:"


class FolderSource:
    r"""Encoded images of a tree.

    Args:
        name: The address.
        tree: Where the files are.
        prefix: The folder of the tree under which the ids are paths.
        ids: Path of each image under the prefix.
        labels: Class of each image.
        class_names: One name a class.

    Attributes:
        ids: The paths. Bytes that are not UTF-8 are written as `\xe9` in them and in
            `class_names`, which results, reports and other programs can hold.

    Raises:
        UserError: If two names are written alike then.
    """

    def __init__(
        self,
        name: str,
        tree: Tree,
        prefix: str,
        ids: Sequence[str],
        labels: np.ndarray,
        class_names: Sequence[str],
    ) -> None:
        self.name = name
        self._tree = tree
        self._prefix = prefix
        self._paths = tuple(join(prefix, id) for id in ids)
        self.ids = as_text(ids)
        self.labels = read_only(np.asarray(labels, np.int32))
        self.class_names = as_text(class_names)

    @property
    def fingerprint(self) -> str:
        """Digest of paths, contents, labels and class names; see `fingerprint_of`."""
        return self._fingerprint

    @cached_property
    def _fingerprint(self) -> str:
        every = np.arange(len(self))
        labels = self.labels.astype("<i4").tobytes()
        return digest(self.fingerprint_of(every), labels, self.class_names)

    def fingerprint_of(self, indices: np.ndarray) -> str:
        """Digest of (path, content) of some rows, in their order.

        Reads those files once; the digest is remembered in the cache under their
        paths, sizes and times of change. A folder, and a tar of it, digest alike. A
        file that cannot be read counts as the reason: whether it ends the run is for
        who asks for the image to say.
        """
        ids = [self.ids[i] for i in indices]
        paths = [self._paths[i] for i in indices]

        def compute() -> dict[str, np.ndarray]:
            with ThreadPoolExecutor(_READERS) as pool:
                contents = list(pool.map(self._content_digest, paths))
            rows = [f"{i}\0{c}" for i, c in zip(ids, contents, strict=True)]
            unreadable = any(content.startswith(_UNREADABLE) for content in contents)
            return {"digest": np.array(digest(rows)), "whole": np.array(not unreadable)}

        key = "\n".join((self._prefix, self._tree.stamp(paths)))
        # What could not be read may be readable the next time, under the same stamp.
        found = remembered(
            "fingerprints", key, compute, keep=lambda arrays: bool(arrays["whole"])
        )
        return str(found["digest"])

    def _content_digest(self, path: str) -> str:
        try:
            return digest(self._tree.read(path))
        except OSError as error:
            # The code, not the message: that names the place, and other machines
            # word it otherwise.
            reason = errno.errorcode.get(error.errno or 0, str(error))
            return f"{_UNREADABLE}{reason}"

    def __repr__(self) -> str:
        return source_repr(self)

    def __len__(self) -> int:
        return len(self.ids)

    def __getitem__(self, index: int) -> Example:
        id = self.ids[index]
        try:
            content = self._tree.read(self._paths[index])
        except OSError as error:
            raise DecodeError(self.name, id, str(error)) from error
        return Example(content, int(self.labels[index]), id)


def open_folder(path: str, split: str | None, name: str) -> FolderSource:
    """Opens a folder, a `.tar`, plain or compressed, or a folder inside such a file.

    Args:
        path: `photos`, `photos.tar.gz`, or `photos.tar.gz/train`.
        split: Of a tree with split folders, one of them (if not given: the only one, or
            the only one of validation and test). Of any other, "all" (if not given), or
            "train", "validation", "test": fixed stratified parts of 80, 10 and 10 %.
        name: The address, for messages and results.

    Raises:
        UserError: If nothing is there, it holds no images, class folders are empty
            (all are named), something that may be an image or a class cannot be read,
            the split does not exist, or the only folder holds folders alone (the path
            that holds the classes is named).
    """
    tree, prefix = open_tree(path, name)
    try:
        splits = _split_folders(tree, prefix, name)
        if splits:
            return _own_split(tree, prefix, splits, split, name, path)
        if split not in (None, "all", *STANDARD_SHARES):
            known = ("all", *STANDARD_SHARES)
            raise UserError(f"{name}: {unknown_name('split', split, known)}")
        ids, labels, class_names = _classify(tree, prefix, None, name)
        _check_wrapper(tree, prefix, class_names, name, path)
    except (OSError, ValueError) as error:
        if isinstance(error, UserError):
            raise
        raise UserError(f"{name}: {error}; repair or remove it") from error
    if split not in (None, "all"):
        part = stratified_parts(labels, ids, STANDARD_SHARES)[split]
        if not len(part):
            raise UserError(f"{name}: of {len(ids)} images no part is left for {split}")
        ids, labels = [ids[i] for i in part], labels[part]
    return FolderSource(name, tree, prefix, ids, labels, class_names)


def folder_splits(path: str, name: str) -> dict[str, FolderSource]:
    """Every split folder of a tree, by split; all images under "" if it has none.

    Raises:
        UserError: As `open_folder`.
    """
    tree, prefix = open_tree(path, name)
    splits = _split_folders(tree, prefix, name)
    if not splits:
        return {"": open_folder(path, None, name)}
    return {split: open_folder(path, split, f"{name}@{split}") for split in splits}


def open_tree(path: str, name: str) -> tuple[Tree, str]:
    """The tree, and the folder in it that the path names."""
    if os.path.isdir(path):
        return DirectoryTree(path), ""
    place = Path(path)
    while not os.path.exists(place) and place != place.parent:
        place = place.parent
    if not os.path.isfile(place):
        raise UserError(f"{name}: {nothing_at(path)}; check the path")
    if not place.name.endswith(ARCHIVES):
        raise UserError(
            f"{name}: {str(place)!r} is a file; wanted a folder with one sub-folder a "
            f"class, or such a folder as {', '.join(ARCHIVES)}"
        )
    tree = TarTree(str(place))
    inside = Path(path).relative_to(place).as_posix()
    if inside == ".":
        return tree, ""
    if not tree.has_folder(inside):
        raise UserError(f"{name}: folder {inside!r} is not inside {str(place)!r}")
    return tree, inside


def _split_folders(tree: Tree, prefix: str, name: str) -> dict[str, str]:
    """Split name -> folder; empty where the top-level folders are classes.

    A class may be called "train": it is a split only if it holds folders and no images.
    """
    if problems := tree.problems(prefix):
        raise ValueError("; ".join(problems))
    top = [folder for folder in tree.folders(prefix) if not folder.startswith(".")]
    named = [
        folder
        for folder in top
        if folder in SPLIT_FOLDERS
        and tree.folders(join(prefix, folder))
        and not tree.files(join(prefix, folder))
    ]
    if not named:
        return {}
    others = [folder for folder in top if folder not in named]
    if others:
        raise UserError(
            f"{name}: beside the splits {', '.join(named)} lie the folders "
            f"{', '.join(others[:10])}; name the folder to read in the address "
            f"(.../{named[0]}), or move the others away"
        )
    splits = {SPLIT_FOLDERS[folder]: folder for folder in named}
    if len(splits) < len(named):
        raise UserError(f"{name}: has both val and validation; remove one")
    return splits


def _own_split(
    tree: Tree,
    prefix: str,
    splits: dict[str, str],
    split: str | None,
    name: str,
    path: str,
) -> FolderSource:
    split = SPLIT_FOLDERS.get(split, split) if split else default_split(splits, name)
    if split not in splits:
        raise UserError(f"{name}: {unknown_name('split', split, splits)}")
    # All splits share one list of classes: a label means the same in each.
    folders = [join(prefix, folder) for folder in splits.values()]
    if problems := [text for folder in folders for text in tree.problems(folder)]:
        raise ValueError("; ".join(problems))
    class_names = sorted({c for folder in folders for c in tree.folders(folder)})
    root = join(prefix, splits[split])
    ids, labels, _ = _classify(tree, root, class_names, name)
    _check_wrapper(tree, root, class_names, name, f"{path}/{splits[split]}")
    return FolderSource(name, tree, root, ids, labels, class_names)


def default_split(splits: Sequence[str] | dict[str, str], name: str) -> str:
    """The split meant by an address that names none.

    Raises:
        UserError: If there are several to choose from.
    """
    held_out = [split for split in ("validation", "test") if split in splits]
    if len(splits) == 1:
        return next(iter(splits))
    if len(held_out) == 1:
        return held_out[0]
    raise UserError(
        f"{name}: has the splits {', '.join(splits)}; say which one: "
        f"{name}@{next(iter(held_out or splits))}"
    )


def _classify(
    tree: Tree, root: str, class_names: list[str] | None, name: str
) -> tuple[list[str], np.ndarray, list[str]]:
    """Ids, labels and class names of the images under a folder."""
    classes = tree.folders(root)
    if not classes:
        return _classify_flat(tree, root, name)
    class_names = classes if class_names is None else class_names
    start = len(root) + 1 if root else 0
    ids: list[str] = []
    labels: list[int] = []
    empty: list[str] = []
    problems: list[str] = []
    number = {name: label for label, name in enumerate(class_names)}
    for folder in classes:
        try:
            found = tree.images(join(root, folder))
        except ValueError as error:
            problems.append(str(error))
            continue
        if not found:
            empty.append(folder)
        ids += [path[start:] for path in found]
        labels += [number[folder]] * len(found)
        if found and is_litter(folder):
            problems.append(
                f"{folder} holds {counted(len(found), 'image')} and would be a class "
                "of its own"
            )
    if empty and len(empty) == len(classes):
        problems.append(
            f"no image under any of {len(classes)} folders (of {', '.join(EXTENSIONS)})"
        )
    elif empty:
        problems.append(
            f"{len(empty)} class folders without an image: {', '.join(empty)}"
        )
    if problems:
        raise ValueError("; ".join(problems))
    return ids, np.array(labels, np.int32), class_names


def _check_wrapper(
    tree: Tree, root: str, class_names: list[str], name: str, path: str
) -> None:
    """Refuses one class that is a folder around the classes: `photos/{cat,dog}`.

    Args:
        tree: Where the files are.
        root: The folder of the tree whose sub-folders are the classes.
        class_names: All classes.
        name: The address.
        path: What leads the user to the root.
    """
    if len(class_names) > 1:
        return
    inner = ""
    folders = tree.folders(root)
    # Down to the first folder with images, with several folders, or with splits.
    while len(folders) == 1 and folders[0] not in SPLIT_FOLDERS:
        below = join(root, join(inner, folders[0]))
        if tree.files(below):
            break
        inner, folders = join(inner, folders[0]), tree.folders(below)
    if inner:
        raise UserError(
            f"{name}: its only folder, {class_names[0]!r}, holds no images but "
            "folders, so that all images would be of one class; name the folder that "
            f"holds the classes: {path.rstrip('/')}/{inner}"
        )


def _classify_flat(
    tree: Tree, root: str, name: str
) -> tuple[list[str], np.ndarray, list[str]]:
    files = tree.files(root)
    wordnet = [_WORDNET_ID.match(file) for file in files]
    if not files:
        raise UserError(
            f"{name}: no class folders and no images (of {', '.join(EXTENSIONS)}); "
            "wanted one sub-folder a class"
        )
    if not all(wordnet):
        strangers = [f for f, match in zip(files, wordnet, strict=True) if not match]
        raise UserError(
            f"{name}: {len(files)} images and no class folders, and the names have no "
            f"class in them ({', '.join(strangers[:3])}); wanted one sub-folder a "
            "class, or names that begin with a WordNet id (n01440764_...)"
        )
    ids = [match[1] for match in wordnet if match]
    class_names, labels = np.unique(ids, return_inverse=True)
    return files, labels.astype(np.int32), [str(c) for c in class_names]
