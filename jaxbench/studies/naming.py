"""Names for runs made of the settings in which they differ."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any


def differing(
    rows: Collection[Mapping[str, Any]], names: Iterable[str]
) -> tuple[str, ...]:
    """The settings of which rows have several values.

    An empty text says as little as None, and is equal to it; zero is a value.

    Args:
        rows: Each with its settings; a missing one is None.
        names: Of settings.
    """
    return tuple(
        name for name in names if len({_value(row.get(name)) for row in rows}) > 1
    )


def setting_texts(values: Collection[Any]) -> dict[Any, str]:
    """Short texts of the values of one setting; two values never share a text."""
    exact = {v: repr(v) if isinstance(v, float) else str(v) for v in values}
    short = {v: f"{v:g}" if isinstance(v, float) else exact[v] for v in values}
    return short if len(set(short.values())) == len(short) else exact


def setting_words(
    rows: Sequence[Mapping[str, Any]],
    names: Iterable[str],
    *,
    words: Mapping[str, str] | None = None,
) -> list[tuple[str, ...]]:
    """What distinguishes each row, a word a setting, such as "batch 64".

    Args:
        rows: With their settings.
        names: Of settings, in the order of the words.
        words: Setting to what it is called, empty for a value that needs no name; a
            setting that it lacks is called by its own name without underscores.

    Returns:
        For each row the words of the settings in which the rows differ and of which it
        has a value. Rows that differ in one of `names` have different words.
    """
    found: list[list[str]] = [[] for _ in rows]
    for name in differing(rows, names):
        texts = setting_texts({_value(row.get(name)) for row in rows})
        called = (words or {}).get(name, name.replace("_", " "))
        for row, own in zip(rows, found, strict=True):
            value = _value(row.get(name))
            if value is not None:
                own.append(f"{called} {texts[value]}".strip())
    return [tuple(own) for own in found]


def _value(value: Any) -> Any:
    return None if value == "" else value
