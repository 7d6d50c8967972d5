"""Accuracy on the variants of a dataset, and its average over them."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from jaxbench.data.corruptions import CORRUPTIONS
from jaxbench.data.modifiers import split_modifiers
from jaxbench.results import ResultStore
from jaxbench.studies.entries import Row, corruption_of
from jaxbench.studies.invariance import view_of
from jaxbench.studies.models import Model, addresses
from jaxbench.studies.predictions import is_cue_conflict
from jaxbench.studies.shape_bias import Share
from jaxbench.studies.variant_average import Values, variant_average


class Robustness(NamedTuple):
    """One model on all variants.

    Attributes:
        accuracy: Variant to accuracy; only those with all their members.
        average: Over all variants without the reference; None if one is missing.
        drop: Average less accuracy on the reference.
        partial: Variants without an accuracy, with their members present and in all.
    """

    accuracy: dict[str, float]
    average: Share | None
    drop: float
    partial: dict[str, tuple[int, int]]


def variant_of(address: str) -> str | None:
    """The variant that a dataset belongs to: all corruptions are one.

    `imagenet-c/fog_3` is of `imagenet-c`, `imagenet+fog_3` of `imagenet+corruptions`;
    larger, moved and cue-conflict images are of none.
    """
    if view_of(address) is not None or is_cue_conflict(address):
        return None
    base, modifiers = split_modifiers(address)
    if modifiers:
        known = all(one.rpartition("_")[0] in CORRUPTIONS for one in modifiers)
        return f"{base}+corruptions" if known else address
    corruption = corruption_of(address)
    return address if corruption is None else f"{corruption.base}-c"


def variant_members(models: Sequence[Model]) -> dict[str, list[str]]:
    """Variant to the datasets of the models that belong to it."""
    members: dict[str, list[str]] = {}
    for address in addresses(models):
        variant = variant_of(address)
        if variant is not None:
            members.setdefault(variant, []).append(address)
    return members


def measure_robustness(
    store: ResultStore,
    model: Model,
    reference: str,
    members: Mapping[str, Sequence[str]],
) -> Robustness:
    """A model on the reference and its variants.

    Args:
        store: Has the outcomes of single images.
        model: Was evaluated on the reference.
        reference: The variant that the drop is from.
        members: See `variant_members`; one or more besides the reference.
    """
    variants = [name for name in members if name != reference]
    accuracy, values, partial = {}, {}, {}
    for name in [reference, *variants]:
        present = [model.rows[a] for a in members[name] if a in model.rows]
        if len(present) < len(members[name]):
            partial[name] = (len(present), len(members[name]))
            continue
        values[name] = _values(store, present)
        accuracy[name] = float(values[name][1].mean())
    whole = {name: values[name] for name in variants if name in values}
    average = variant_average(whole) if len(whole) == len(variants) else None
    drop = np.nan if average is None else average.value - accuracy[reference]
    return Robustness(accuracy, average, float(drop), partial)


def _values(store: ResultStore, rows: Sequence[Row]) -> Values:
    """Ids, and on what share of the datasets each image is recognised.

    The mean over datasets of equally many images is the mean over these.
    """
    ids, values = [], []
    for row in rows:
        columns = store.examples(row["run_id"], ("id", "correct"))
        ids.append(np.asarray(columns["id"], str))
        values.append(columns["correct"].astype(np.float64) / len(columns["id"]))
    names, place = np.unique(np.concatenate(ids), return_inverse=True)
    total = np.bincount(place.ravel(), weights=np.concatenate(values))
    return names, total * len(names) / len(rows)
