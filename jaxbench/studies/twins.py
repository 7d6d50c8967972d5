"""Models that differ in having had a teacher alone, found by their names."""

from collections.abc import Iterable
from typing import NamedTuple

# Words of a name that say "trained with a teacher".
_MARKS = frozenset({"distilled", "dist"})


class Twins(NamedTuple):
    """Two models of one architecture and one kind of training.

    Attributes:
        distilled: The one that had a teacher.
        plain: The one that had none.
    """

    distilled: str
    plain: str


def distillation_twins(models: Iterable[str]) -> tuple[Twins, ...]:
    """Pairs of models whose names are the same without the word for a teacher.

    `deit_small_distilled_patch16_224.fb_in1k` and `deit_small_patch16_224.fb_in1k` are
    such a pair, and so are `xcit_nano_12_p8_224.fb_dist_in1k` and
    `xcit_nano_12_p8_224.fb_in1k`; a model whose other half is not among `models` is
    left out. timm's older names, with the word at the end, pair up alike.

    Args:
        models: Names of the zoo, or older ones.

    Returns:
        Pairs in alphabetical order of the distilled names.
    """
    known = dict.fromkeys(models)
    pairs = []
    for name in sorted(known):
        plain = ".".join(_without_marks(part) for part in name.split("."))
        if plain != name and plain in known:
            pairs.append(Twins(name, plain))
    return tuple(pairs)


def _without_marks(part: str) -> str:
    return "_".join(word for word in part.split("_") if word not in _MARKS)
