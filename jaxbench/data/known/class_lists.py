"""Names of classes that no file of a distribution says, or that must not change."""

from functools import cache
from pathlib import Path

LISTS_FOLDER = Path(__file__).with_name("lists")


@cache
def class_list(name: str) -> tuple[str, ...]:
    """The class names of a dataset, in the order of its labels.

    Args:
        name: A file in `lists/`, such as "cifar10": one name a line.
    """
    text = (LISTS_FOLDER / f"{name}.txt").read_text(encoding="utf-8")
    return tuple(text.splitlines())
