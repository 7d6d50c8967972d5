"""The table of datasets, and a user's own beside them."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

from jaxbench.data.corruptions import CORRUPTIONS, SEVERITIES, CorruptedSource
from jaxbench.data.known import KNOWN, KnownDataset
from jaxbench.data.known.open import open_known
from jaxbench.data.source import Source
from jaxbench.data.sources.embedded import (
    DIGITS_SHARES,
    open_digits,
    open_digits_ood,
)
from jaxbench.errors import UserError
from jaxbench.own import Table

_DIGITS_LICENCE = "CC BY 4.0"
_DIGITS_REFERENCE = "https://archive.ics.uci.edu/dataset/80"


@dataclass(frozen=True)
class Dataset:
    """A row of DATASETS.

    Attributes:
        open: Called with the config and the split; "" where the dataset has none.
        description: One sentence.
        licence: Of the images.
        reference: Where they come from.
        splits: Names after "@".
        default_split: The one meant by an address without.
        configs: Names after "/"; one of them must be given.
        any_split: Whether `open` takes other splits too.
        known: What is known of a published dataset, which has to be prepared; None for
            what lies in the package.
    """

    open: Callable[[str, str], Source]
    description: str
    licence: str
    reference: str
    splits: tuple[str, ...] = ()
    default_split: str = ""
    configs: tuple[str, ...] = ()
    any_split: bool = False
    known: KnownDataset | None = None


def _published(name: str, row: KnownDataset) -> Dataset:
    return Dataset(
        partial(open_known, name, row),
        row.description,
        row.licence,
        row.reference,
        splits=row.splits,
        default_split=row.default_split,
        configs=row.configs,
        known=row,
    )


def _open_corrupted_digits(config: str, split: str) -> Source:
    corruption, _, severity = config.rpartition("_")
    return CorruptedSource(
        open_digits(split or "test"),
        corruption,
        int(severity),
        name=f"digits-c/{config}",
    )


DATASETS: Table[Dataset] = Table(
    "dataset",
    {
        "digits": Dataset(
            lambda config, split: open_digits(split),
            "Handwritten digits 0 to 7, 1,443 gray images of 8x8 pixels, 60/20/20.",
            _DIGITS_LICENCE,
            _DIGITS_REFERENCE,
            splits=tuple(DIGITS_SHARES),
            default_split="test",
        ),
        "digits-ood": Dataset(
            lambda config, split: open_digits_ood(),
            "Handwritten digits 8 and 9, which no class of `digits` fits: 354 images.",
            _DIGITS_LICENCE,
            _DIGITS_REFERENCE,
        ),
        "digits-c": Dataset(
            _open_corrupted_digits,
            "The test part of `digits` under a corruption of severity 1 to 5.",
            _DIGITS_LICENCE,
            "https://arxiv.org/abs/1903.12261",
            configs=tuple(f"{name}_{s}" for name in CORRUPTIONS for s in SEVERITIES),
        ),
        **{name: _published(name, row) for name, row in KNOWN.items()},
    },
)


def register_dataset(
    name: str,
    open: Callable[[str], Source],
    *,
    splits: Sequence[str] = (),
    default_split: str = "",
    description: str = "",
    licence: str = "",
    reference: str = "",
    any_split: bool = False,
) -> None:
    """Adds a user's own dataset to those of this process.

    `open_dataset`, experiment files and the command line then know its name.

    Args:
        name: Not one that the table has; without "/", "@" and "+".
        open: `open(split)`, giving a source such as `ArraySource`; the split is ""
            where the dataset has none.
        splits: Names after "@".
        default_split: The one meant by an address without; the first where "".
        description: One sentence.
        licence: Of the images.
        reference: Where they come from.
        any_split: Whether `open` is asked for any other split too.

    Raises:
        UserError: If the name is taken, or `default_split` is not one of the splits.
    """
    if not callable(open):
        raise UserError(
            f"dataset {name!r} is a {type(open).__name__}, wanted a function of a split"
        )
    if default_split and default_split not in splits:
        raise UserError(
            f"dataset {name!r}: default_split is {default_split!r}, wanted one of "
            f"{', '.join(splits) or 'no splits'}"
        )

    def opened(config: str, split: str) -> Source:
        source = open(split)
        missing = [part for part in _PARTS if not hasattr(source, part)]
        if missing:
            raise UserError(
                f"dataset {name!r} opens as a {type(source).__name__} without "
                f"{', '.join(missing)}; wanted a source such as "
                "jaxbench.data.ArraySource"
            )
        return source

    row = Dataset(
        opened,
        description,
        licence,
        reference,
        splits=tuple(splits),
        default_split=default_split or next(iter(splits), ""),
        any_split=any_split,
    )
    DATASETS.add(name, row, open)


# What `Source` asks for, besides rows by number.
_PARTS = ("name", "labels", "class_names", "fingerprint", "__len__", "__getitem__")
