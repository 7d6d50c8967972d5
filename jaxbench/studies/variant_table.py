"""Accuracies of models on a reference dataset and its variants, in one table."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from jaxtyping import Bool, Float

from jaxbench.errors import UserError, counted
from jaxbench.results import ResultStore
from jaxbench.studies.entries import load_results
from jaxbench.studies.models import diverged_note, runs_of_models

_SHOWN = 3


@dataclass(frozen=True, eq=False)
class Examples:
    """Which images of a variant each model is right on.

    Attributes:
        ids: Names of the images, in rising order.
        correct: A row for each model of the table; all false for one that is missing.
    """

    ids: np.ndarray
    correct: Bool[np.ndarray, "models images"]


@dataclass(frozen=True, eq=False)
class VariantTable:
    """Accuracies of models on variants of a dataset.

    Attributes:
        models: Names of the rows, two or more.
        variants: Names of the columns; the first one is the reference.
        accuracy: Fractions in [0, 1]; NaN where a model was not measured. All models
            have a number on the reference.
        num_images: How many images each variant has.
        examples: Variant to what every model got right; empty where only accuracies
            are known. Either all variants are in it or none.
        notes: What was left out, and why.

    Raises:
        UserError: If there are fewer than two models or no variant, a name occurs
            twice, an accuracy is not a fraction, the reference lacks a number, or the
            parts do not fit together; all problems at once.
    """

    models: tuple[str, ...]
    variants: tuple[str, ...]
    accuracy: Float[np.ndarray, "models variants"]
    num_images: tuple[int, ...]
    examples: Mapping[str, Examples] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    def __post_init__(self):
        accuracy = np.array(self.accuracy, np.float64)
        if problems := _problems(self, accuracy):
            raise UserError("; ".join(problems))
        accuracy.setflags(write=False)
        object.__setattr__(self, "accuracy", accuracy)

    @property
    def reference(self) -> str:
        """The variant that all others are compared with."""
        return self.variants[0]

    @property
    def paired(self) -> bool:
        """Whether it is known which images each model is right on."""
        return bool(self.examples)

    def column(self, variant: str) -> Float[np.ndarray, " models"]:
        """Accuracies on a variant."""
        return self.accuracy[:, self.variants.index(variant)]

    def images_of(self, variant: str) -> int:
        """How many images a variant has."""
        return self.num_images[self.variants.index(variant)]

    def present(self, *variants: str) -> Bool[np.ndarray, " models"]:
        """Whether each model was measured on all of some variants."""
        columns = np.stack([self.column(variant) for variant in variants])
        return np.asarray(~np.isnan(columns).any(axis=0))

    def counts(self, variant: str) -> Float[np.ndarray, " models"]:
        """Right images of each model, whole numbers; NaN where it is missing.

        Rounded: published accuracies have few digits.
        """
        return np.round(self.column(variant) * self.images_of(variant))


def table_of_store(store: ResultStore, reference: str | None = None) -> VariantTable:
    """Models and labelled datasets of a results folder, the reference first.

    Args:
        store: The folder.
        reference: The clean dataset that most models have when None.

    Raises:
        UserError: As `runs_of_models` and `table_of_runs`, or if there is no
            evaluation with labels.
    """
    results = load_results(store)
    runs = runs_of_models(results)
    reference = reference or results.dataset
    if reference is None or not runs:
        raise UserError(
            "the folder has no finished evaluation of a clean dataset, so there is no "
            "ranking; run an experiment with [evaluate] clean, or name a --reference"
        )
    table = table_of_runs(store, runs, reference=reference)
    return replace(table, notes=(*table.notes, *diverged_note(results)))


def table_of_runs(
    store: ResultStore,
    runs: Mapping[str, Mapping[str, str]],
    *,
    reference: str,
) -> VariantTable:
    """The table of evaluations whose per-example rows are stored.

    A variant counts the images that all its models were measured on, so that every
    pair of models is compared on the same ones.

    Args:
        store: Holds the runs.
        runs: Model to dataset address to run id.
        reference: Address of the reference dataset.

    Returns:
        Models in the order of `runs`, the reference first, other variants in the order
        of their first appearance. Models without the reference are left out, which is
        noted.

    Raises:
        UserError: If no model has the reference, a run has no `correct` column or an
            id twice, the models of a variant have no image in common or saw different
            data, or a table cannot be made of what is left.
    """
    addresses = list(dict.fromkeys(a for found in runs.values() for a in found))
    if reference not in addresses:
        raise UserError(
            f"no model was evaluated on {reference!r}; there are results on "
            f"{', '.join(sorted(addresses)) or 'nothing'}"
        )
    models = [model for model, found in runs.items() if reference in found]
    notes = _left_out([m for m in runs if m not in models], reference)
    variants = [reference, *(a for a in addresses if a != reference)]
    kept = [v for v in variants if any(v in runs[model] for model in models)]
    summary = store.summary("evaluation").to_pylist()
    prints = {row["run_id"]: row.get("dataset_fingerprint") for row in summary}
    accuracy = np.full((len(models), len(kept)), np.nan)
    examples = {}
    for place, variant in enumerate(kept):
        present = [i for i, model in enumerate(models) if variant in runs[model]]
        rows = {i: _rows(store, runs[models[i]][variant]) for i in present}
        _check_contents(
            variant, rows, [prints.get(runs[models[i]][variant]) for i in present]
        )
        ids, correct, lost = _aligned(variant, rows)
        if lost:
            notes.append(f"{variant}: {lost} images were not seen by all its models")
        whole = np.zeros((len(models), len(ids)), bool)
        whole[present] = correct
        examples[variant] = Examples(ids, whole)
        accuracy[present, place] = correct.mean(axis=1)
    return VariantTable(
        tuple(models),
        tuple(kept),
        accuracy,
        tuple(len(examples[variant].ids) for variant in kept),
        examples,
        tuple(notes),
    )


def _left_out(models: Sequence[str], reference: str) -> list[str]:
    if not models:
        return []
    return [
        f"{counted(len(models), 'model')} without a result on {reference} left out: "
        f"{_some(models)}"
    ]


def _rows(store: ResultStore, run_id: str) -> tuple[np.ndarray, np.ndarray]:
    """Ids in rising order and correctness.

    Raises:
        UserError: If a column is missing or an id occurs twice.
    """
    columns = store.examples(run_id, ("id", "correct"))
    order = np.argsort(columns["id"], kind="stable")
    ids = columns["id"][order]
    twice = ids[1:][ids[1:] == ids[:-1]]
    if len(twice):
        raise UserError(
            f"run {run_id} has the id {str(twice[0])!r} more than once; images can "
            "only be paired by unique ids"
        )
    return ids, columns["correct"][order].astype(bool)


def _aligned(
    variant: str, rows: Mapping[int, tuple[np.ndarray, np.ndarray]]
) -> tuple[np.ndarray, Bool[np.ndarray, "models images"], int]:
    """The common ids, correctness of each model on them, and how many ids are lost.

    Raises:
        UserError: If no id is common to all.
    """
    first, *others = (ids for ids, _ in rows.values())
    common, everyone = first, first
    for ids in others:
        if not np.array_equal(ids, common):
            common = np.intersect1d(common, ids, assume_unique=True)
            everyone = np.union1d(everyone, ids)
    if not len(common):
        raise UserError(
            f"{variant}: its {len(rows)} models have no image in common; evaluate them "
            "all on the same images"
        )
    correct = [
        values if len(ids) == len(common) else values[np.isin(ids, common)]
        for ids, values in rows.values()
    ]
    return common, np.stack(correct), len(everyone) - len(common)


def _check_contents(
    variant: str, rows: Mapping[int, tuple[np.ndarray, np.ndarray]], prints: Sequence
) -> None:
    """Refuses runs on images of the same names and another content.

    Raises:
        UserError: If there are some.
    """
    # Where the names differ too, one run saw a part of what another saw.
    seen = {
        (ids.tobytes(), one)
        for (ids, _), one in zip(rows.values(), prints, strict=True)
    }
    if len(seen) > len({ids for ids, _ in seen}):
        raise UserError(
            f"{variant}: models saw images of the same names but different content "
            f"({len(set(prints))} fingerprints); evaluate them all on one version of "
            "the dataset"
        )


def _problems(table: VariantTable, accuracy: np.ndarray) -> list[str]:
    shape = (len(table.models), len(table.variants))
    problems = []
    if shape[0] < 2:
        problems.append(
            f"{counted(shape[0], 'model')} with a result on the reference; ranking "
            "needs two or more"
        )
    for kind, names in (("models", table.models), ("variants", table.variants)):
        if twice := sorted({name for name in names if names.count(name) > 1}):
            problems.append(f"{kind} occur more than once: {_some(twice)}")
    if not shape[1] or accuracy.shape != shape or len(table.num_images) != shape[1]:
        problems.append(
            f"accuracy has shape {accuracy.shape} and num_images length "
            f"{len(table.num_images)}; wanted {shape[0]} models x {shape[1]} variants, "
            "one or more"
        )
        return problems
    outside = ~np.isnan(accuracy) & ~((accuracy >= 0) & (accuracy <= 1))
    if outside.any():
        row, column = np.argwhere(outside)[0]
        problems.append(
            f"{outside.sum()} accuracies are outside [0, 1], the first is "
            f"{accuracy[row, column]:g} ({table.models[row]} on "
            f"{table.variants[column]}); give fractions, or say that these are percent"
        )
    if (missing := np.isnan(accuracy[:, 0])).any():
        names = [table.models[i] for i in np.flatnonzero(missing)]
        problems.append(f"no number on {table.reference} for {_some(names)}")
    few = [
        f"{v}: {n}"
        for v, n in zip(table.variants, table.num_images, strict=True)
        if n < 1
    ]
    if few:
        problems.append(f"numbers of images must be at least 1, got {', '.join(few)}")
    if table.examples and set(table.examples) != set(table.variants):
        problems.append("examples are needed of every variant or of none")
    return problems


def _some(names: Sequence[str]) -> str:
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return f"{', '.join(names[:_SHOWN])}{more}"
