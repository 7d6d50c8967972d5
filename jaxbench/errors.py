"""Messages that say what came, what was wanted and what to do."""

import difflib
from collections.abc import Iterable, Mapping


def unknown_name(kind: str, name: str, known: Iterable[str]) -> str:
    """Words the refusal of a name, with the nearest names that exist.

    Args:
        kind: What was looked up, in the singular: "metric", "dataset", "key".
        name: What came.
        known: Every name that would have been accepted.

    Returns:
        One sentence or two, for the message of a `ValueError`.
    """
    known = sorted(known)
    # What a short form begins is meant rather than what looks like it.
    begun = [full for full in known if len(name) > 1 and full.startswith(name)]
    alike = difflib.get_close_matches(name, known, n=3, cutoff=0.5)
    nearest = list(dict.fromkeys([*begun[:3], *alike]))[:3]
    if len(begun) == 1:
        nearest = begun
    if nearest:
        hint = f"did you mean {' or '.join(map(repr, nearest))}?"
    elif len(known) <= 20:
        hint = f"known are {', '.join(known)}"
    else:
        hint = f"{len(known)} are known, the first is {known[0]!r}"
    return f"unknown {kind} {name!r}; {hint}"


def misfits(owner: object, wanted: Mapping[str, tuple[bool, str]]) -> list[str]:
    """Words the attributes of an object whose values do not fit.

    Args:
        owner: Has the attributes.
        wanted: By attribute, whether its value fits, and what would.
    """
    return [
        f"{name} is {getattr(owner, name)!r}, wanted {what}"
        for name, (fits, what) in wanted.items()
        if not fits
    ]


def counted(number: int, noun: str, plural: str | None = None) -> str:
    """A number with its noun: "1 run", "2,048 runs"; `plural` where it is no -s."""
    return f"{number:,} {noun if number == 1 else plural or noun + 's'}"


def printable(name: str) -> str:
    r"""A name with the bytes that were not UTF-8 written as `\xe9`, as in Python.

    Python keeps such bytes of file names as lone surrogates, which no terminal, Parquet
    or HTML file can hold.
    """
    try:
        content = name.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        # Other surrogates than Python's own, in a damaged text.
        content = name.encode("utf-8", "backslashreplace")
    return content.decode("utf-8", "backslashreplace")


class UserError(ValueError):
    """A mistake in what the user gave: shown as a message, without a traceback."""

    def __str__(self) -> str:
        return printable(super().__str__())
