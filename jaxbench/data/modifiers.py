"""What follows "+" in an address: `imagenet+snow_3`, `folder:PATH+scale_1.5`."""

import fnmatch
import os
import re

from jaxbench.data.corruptions import (
    CORRUPTIONS,
    SEVERITIES,
    CorruptedSource,
    register_corruption,
)
from jaxbench.data.source import Source
from jaxbench.data.transformations import TRANSFORMATIONS, TransformedSource
from jaxbench.errors import UserError, unknown_name

_MODIFIER = re.compile(r"((?:[\w.]+:)?[a-z]+(?:_[a-z]+)*)_([0-9.]+)")


def split_modifiers(address: str) -> tuple[str, tuple[str, ...]]:
    """Takes the modifiers off an address.

    A "+" in a path is part of it, unless what follows the last ones looks like a
    modifier: words and a number joined by "_", or a pattern of these.

    Returns:
        The address of the images as they are, and the modifiers in the order in which
        they are applied.
    """
    found: list[str] = []
    while True:
        base, plus, last = address.rpartition("+")
        path = os.path.expanduser(address.partition(":")[2])
        # Where there is something at the whole path, its "+" is part of it.
        if not (plus and base and _looks_like_modifier(last)) or os.path.exists(path):
            return address, tuple(reversed(found))
        found.append(last)
        address = base


def _looks_like_modifier(text: str) -> bool:
    plain = re.split(r"[*?\[]", text)[0]
    if plain != text:
        # Not the second part of a split such as `test[:10%]+train[90%:]`.
        names = [*CORRUPTIONS, *TRANSFORMATIONS]
        known = any(f"{name}_".startswith(plain) for name in names)
        severity = any(plain.startswith(f"{name}_") for name in names)
        return (known or severity) and "/" not in text and "@" not in text
    return _MODIFIER.fullmatch(text) is not None


def apply_modifiers(source: Source, modifiers: tuple[str, ...], address: str) -> Source:
    """The source under each of the modifiers in turn.

    Args:
        source: The images as they are.
        modifiers: Such as "snow_3", "scale_1.5".
        address: What the result is called.

    Raises:
        UserError: If the corruption or transformation is unknown, or its number is
            out of range.
    """
    for modifier in modifiers:
        match = _MODIFIER.fullmatch(modifier)
        name, number = match.groups() if match else (modifier, "")
        CORRUPTIONS.find(name, register_corruption)
        if name not in CORRUPTIONS and name not in TRANSFORMATIONS:
            names = [*CORRUPTIONS, *TRANSFORMATIONS]
            problem = unknown_name("corruption or transformation", name, names)
            raise UserError(f"{address!r}: {problem}")
        if name in CORRUPTIONS and not number.isdecimal():
            raise UserError(f"{address!r}: severity is {number}, wanted 1 to 5")
        try:
            if name in CORRUPTIONS:
                source = CorruptedSource(source, name, int(number), name=address)
            else:
                source = TransformedSource(source, name, float(number), name=address)
        except ValueError as error:
            raise UserError(f"{address!r}: {error}") from error
    return source


def expand_modifier(pattern: str) -> list[str]:
    """Replaces wildcards by the modifiers that match; a plain one stays as it is.

    Corruptions stand at severities 1 to 5; transformations, where they are named, at
    their published values.

    Raises:
        UserError: If nothing matches.
    """
    if not any(mark in pattern for mark in "*?["):
        return [pattern]
    known = [f"{name}_{s}" for name in CORRUPTIONS for s in SEVERITIES]
    for name, row in TRANSFORMATIONS.items():
        # "*_3" means every corruption at severity 3, not an image three times as large.
        if pattern.startswith(f"{name}_"):
            known += [f"{name}_{value:g}" for value in row.published]
    found = fnmatch.filter(known, pattern)
    if not found:
        raise UserError(
            f"+{pattern} matches nothing among "
            f"{', '.join([*CORRUPTIONS, *TRANSFORMATIONS])}, each with a number"
        )
    return found
