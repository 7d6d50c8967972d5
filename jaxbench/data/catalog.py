"""Addresses: `open_dataset` turns one into a source.

An address is `NAME[/CONFIG][@SPLIT]` for what is in the table, `MODULE:NAME[@SPLIT]`
for what a user's module opens, or `KIND:PATH[@SPLIT]` for files:
`digits@test`, `digits-c/gaussian_noise_3`, `imagenet-r`, `my_data:faces@test`,
`folder:/data/pets.tar.gz@validation`, `arrays:faces.npz`,
`tfds:imagenet_v2/topimages@test[:25%]`.
"""

import fnmatch
import itertools
import os
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from types import MappingProxyType
from typing import NamedTuple

from jaxbench.data.class_names import ClassOrder, labelled_as
from jaxbench.data.datasets import DATASETS, Dataset, register_dataset
from jaxbench.data.known.open import (
    NotPreparedError,
    check_prepared,
    known_address,
)
from jaxbench.data.modifiers import (
    apply_modifiers,
    expand_modifier,
    split_modifiers,
)
from jaxbench.data.source import Source, View
from jaxbench.data.sources.arrays import open_arrays
from jaxbench.data.sources.folder import open_folder
from jaxbench.data.sources.tfds import open_tfds, prepared_configs
from jaxbench.data.splits import STANDARD_SHARES, stratified_parts
from jaxbench.errors import UserError, printable, unknown_name
from jaxbench.own import is_module


def _open_arrays_part(path: str, split: str | None, name: str) -> Source:
    source = open_arrays(path, name)
    if split in (None, "all"):
        return source
    if split not in STANDARD_SHARES:
        known = ("all", *STANDARD_SHARES)
        raise UserError(f"{name}: {unknown_name('split', split, known)}")
    part = stratified_parts(source.labels, source.ids, STANDARD_SHARES)[split]
    if not len(part):
        raise UserError(f"{name}: of {len(source)} images no part is left for {split}")
    return View(source, part, name=name)


# Kind -> what opens (path, split, address).
KINDS: Mapping[str, Callable[[str, str | None, str], Source]] = MappingProxyType(
    {
        "arrays": _open_arrays_part,
        "folder": open_folder,
        "tfds": open_tfds,
    }
)
# What follows these is the path of a file or folder.
_PATH_KINDS = ("arrays", "folder")


class Address(NamedTuple):
    """The parts of an address; `split` is None where it names none."""

    kind: str
    path: str
    split: str | None


def parse_address(address: str) -> Address:
    """Takes an address apart.

    `kind` is "" for a name in DATASETS. An "@" inside the path of a file or folder is
    part of it where a "/" follows, or where there is something at the whole path. A
    "~" in front of it is the home folder.

    Raises:
        UserError: If the kind is unknown, something is empty, or the address cannot be
            a path or be written into results.
    """
    if "\0" in address or printable(address) != address:
        raise UserError(
            f"{address!r}: an address must be UTF-8 without NUL; rename the file or "
            "folder, or make a link to it under another name"
        )
    kind, colon, path = address.partition(":")
    if not colon or not re.fullmatch(r"[\w.-]+", kind):
        kind, path = "", address
    if kind in _PATH_KINDS:
        path = os.path.expanduser(path)
    head, at, split = path.rpartition("@")
    if not at or "/" in split or (kind in _PATH_KINDS and os.path.exists(path)):
        head, split = path, None
    if kind and kind not in KINDS:
        if not is_module(kind):
            raise UserError(
                f"{address!r}: {unknown_name('kind of dataset', kind, KINDS)}"
            )
        kind, head = "", f"{kind}:{head}"
        DATASETS.find(head, partial(register_dataset, any_split=True))
    if not head or split == "":
        raise UserError(
            f"{address!r} is not a dataset address; wanted NAME[/CONFIG][@SPLIT] or "
            f"KIND:PATH[@SPLIT] with KIND one of {', '.join(KINDS)}"
        )
    return Address(kind, head, split)


def open_dataset(
    address: str,
    *,
    class_names: Sequence[str] | str | None = None,
    class_order: ClassOrder | None = None,
) -> Source:
    """Opens the dataset that an address names.

    Args:
        address: `NAME[/CONFIG][@SPLIT]` or `KIND:PATH[@SPLIT]`, perhaps followed by
            `+CORRUPTION_SEVERITY`, `+scale_FACTOR` or `+shift_PIXELS`; see the module.
        class_names: The classes in the order of a classifier's outputs, "imagenet", or
            a file of them: the dataset's classes get their positions as labels.
        class_order: Instead: "torchvision" (the default) or "timm", of a folder.

    Returns:
        A source with random access; nothing is decoded yet.

    Raises:
        UserError: If the dataset, config or split is unknown, its files are wrong, it
            has classes that `class_names` lacks, or `class_order` needs a folder.
    """
    plain, modifiers = split_modifiers(address)
    kind, path, split = parse_address(plain)
    if kind:
        source = KINDS[kind](path, split, plain)
    else:
        source = _open_named(path, split, plain)
    source = apply_modifiers(source, modifiers, address)
    return labelled_as(source, class_names, class_order)


def _open_named(path: str, split: str | None, address: str) -> Source:
    dataset, config, split = _looked_up(path, split, address)
    return dataset.open(config, split)


def _looked_up(path: str, split: str | None, address: str) -> tuple[Dataset, str, str]:
    """The row, config and split that an address means.

    Raises:
        UserError: If the name, config or split is unknown.
    """
    name, _, config = path.partition("/")
    if "+" in path or "+" in (split or ""):
        raise UserError(
            f"{address!r}: what follows a + is not a corruption or transformation "
            "with a number; wanted ADDRESS[@SPLIT]+NAME_NUMBER, such as "
            "digits@test+snow_3"
        )
    if name not in DATASETS:
        if os.path.exists(os.path.expanduser(path)):
            kind = "arrays" if path.endswith(".npz") else "folder"
            raise UserError(
                f"{path!r} is a path, not a dataset's name; did you mean {kind}:{path}?"
            )
        hint = f"; for your own images: {', '.join(f'{k}:PATH' for k in KINDS)}"
        raise UserError(unknown_name("dataset", name or path, DATASETS) + hint)
    dataset = DATASETS[name]
    if dataset.configs and config not in dataset.configs:
        if not config:
            raise UserError(
                f"{address!r} names {len(dataset.configs)} datasets; choose one, such "
                f"as {name}/{dataset.configs[0]}, or give {name}/* where several fit"
            )
        raise UserError(
            f"{address!r}: {unknown_name('config', config, dataset.configs)}"
        )
    if config and not dataset.configs:
        raise UserError(f"{address!r}: {name} has no configs; leave out /{config}")
    split = split or dataset.default_split
    if split and not dataset.any_split and split not in dataset.splits:
        if not dataset.splits:
            raise UserError(f"{address!r}: {name} has no splits; leave out @{split}")
        raise UserError(f"{address!r}: {unknown_name('split', split, dataset.splits)}")
    return dataset, config, split


def catalog_addresses() -> tuple[str, ...]:
    """Every address in the table, one each, splits and configs spelled out.

    The split of a published dataset that has one split is left out.
    """
    return tuple(address for name in DATASETS for address in _addresses(name))


def _addresses(name: str) -> list[str]:
    dataset = DATASETS[name]
    configs, splits = dataset.configs or ("",), dataset.splits or ("",)
    if dataset.known is not None:
        row = dataset.known
        return [known_address(name, row, c, s) for c in configs for s in splits]
    return [
        f"{name}{f'/{config}' if config else ''}{f'@{split}' if split else ''}"
        for config in configs
        for split in splits
    ]


def expand_addresses(patterns: str | Iterable[str]) -> tuple[str, ...]:
    """Replaces wildcards by the addresses that match.

    `*`, `?` and `[...]` match within DATASETS (`digits-c/*_3`, `digits@*`) and among
    the prepared configs of a TFDS dataset (`tfds:cifar10_corrupted/*@test`). The name
    of a dataset with configs stands for all of them (`digits-c`). Paths of other kinds
    are left as they are; their splits, and those of TFDS, are named one by one.

    Returns:
        Addresses in the order of the patterns, each once.

    Raises:
        UserError: If a pattern matches nothing, or asks for several splits of what is
            not in DATASETS; all such patterns are named.
    """
    patterns = [patterns] if isinstance(patterns, str) else list(patterns)
    found: dict[str, None] = {}
    problems = []
    for pattern in patterns:
        try:
            found.update(dict.fromkeys(_expand(pattern)))
        except UserError as error:
            problems.append(str(error))
    if problems:
        raise UserError("; ".join(problems))
    return tuple(found)


def _expand(pattern: str) -> list[str]:
    plain, modifiers = split_modifiers(pattern)
    if modifiers:
        chosen = list(itertools.product(*map(expand_modifier, modifiers)))
        return ["+".join((address, *m)) for address in _expand(plain) for m in chosen]
    kind, path, split = parse_address(pattern)
    name, slash, config = path.partition("/")
    # TFDS's own syntax has brackets: `test[:25%]`.
    if kind and any(c in (split or "") for c in ("*?" if kind == "tfds" else "*?[")):
        raise UserError(
            f"{pattern!r}: wildcards after @ match the splits of named datasets only "
            f"({next(iter(DATASETS))}, ...); of {kind}: name each split in an address "
            "of its own"
        )
    if kind == "tfds" and any(c in config for c in "*?["):
        matches = fnmatch.filter(prepared_configs(name), config)
        end = "" if split is None else f"@{split}"
        addresses = [f"tfds:{name}/{match}{end}" for match in matches]
    elif kind:
        return [pattern]
    elif any(c in pattern for c in "*?["):
        addresses = _matching(pattern)
    elif name in DATASETS and DATASETS[name].configs and not slash:
        end = "" if split is None else f"@{split}"
        return [f"{name}/{config}{end}" for config in DATASETS[name].configs]
    else:
        _check_named(path, split, pattern)
        return [pattern]
    if not addresses:
        raise UserError(f"{pattern!r} matches nothing among {_known(kind, split)}")
    return addresses


def _known(kind: str, split: str | None) -> str:
    """What a pattern could have matched."""
    if kind:
        return "its prepared configs"
    if not split:
        return ", ".join(DATASETS)
    with_splits = (f"{n}@{'|'.join(d.splits)}" for n, d in DATASETS.items() if d.splits)
    return f"{', '.join(with_splits)}; other names have no splits"


def _matching(pattern: str) -> list[str]:
    """Addresses of the table that a pattern fits, each once.

    `imagenet-c/*_3` and `imagenet-c/*_3@test` mean the same: a split that need not be
    named may be.
    """
    found = []
    for name, dataset in DATASETS.items():
        if dataset.known is not None and dataset.known.role == "annotations":
            continue  # It has no images to open.
        for address in _addresses(name):
            spelled = address
            if dataset.splits and "@" not in address:
                spelled = f"{address}@{dataset.default_split}"
            if any(fnmatch.fnmatchcase(form, pattern) for form in (address, spelled)):
                found.append(address)
    return found


def _check_named(path: str, split: str | None, address: str) -> None:
    """Refuses what could not be opened, without reading its images."""
    dataset, config, split = _looked_up(path, split, address)
    if dataset.known is None:
        dataset.open(config, split)
    else:
        check_prepared(path.partition("/")[0], dataset.known, config, split)


def can_open(address: str) -> bool:
    """Whether a published dataset is prepared; `NAME` alone asks for one config.

    Raises:
        UserError: If the name, config or split is unknown.
    """
    _, path, split = parse_address(address)
    name, _, config = path.partition("/")
    if not config and DATASETS[name].configs:
        return False
    try:
        _check_named(path, split, address)
    except NotPreparedError:
        return False
    return True
