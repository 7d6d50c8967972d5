"""Datasets that were prepared in part, which a reader of their numbers must know."""

from collections.abc import Iterable, Mapping
from typing import Any


def partial_datasets(rows: Iterable[Mapping[str, Any]]) -> tuple[str, ...]:
    """A sentence for each dataset that lacks some of its published images.

    Args:
        rows: Evaluations.
    """
    found = {
        row["dataset"]: (row.get("num_examples"), row["num_published"])
        for row in rows
        if row.get("num_published") is not None
    }
    return tuple(
        f"{dataset} was prepared in part: {scored or 0:,} of its {published:,} "
        "published images were scored."
        for dataset, (scored, published) in sorted(found.items())
    )
